"""The protocol experiments: who is held out, what is counted, and that no half-made curve is written."""

import json
from dataclasses import fields, replace

import pytest
import torch
from fervt_lib.protocol import (
    BEST_OF_EPOCHS,
    FEW_FACES,
    share_with_siblings,
    split_by_image,
    split_by_subject,
    take,
)

from fervt_lib import protocol
from fervt_lib.data import EXPRESSIONS, Faces, load_drawn
from fervt_lib.evaluation import PROTOCOLS, predict, score
from fervt_lib.model import PRESETS, CheckpointError, FERVT_Compact_Weights, load_weights, read_safetensors
from fervt_lib.training import train

TWO_EPOCHS = replace(BEST_OF_EPOCHS, dataset="drawn", epochs=2, batch_size=16, precision="no")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def few(monkeypatch):
    """32 drawn faces of a split, whatever dataset is asked for; the list gets what was asked for."""
    asked = []

    def load(name, split, **options):
        asked.append((split, options))
        return load_drawn(split, count=32)

    monkeypatch.setattr("fervt_lib.training.load", load)
    monkeypatch.setattr("fervt_lib.protocol.load", load)
    return asked


# --- splits ------------------------------------------------------------------------------------------------------

SUBJECTS = torch.tensor([7, 3, 90, 41, 5, 12, 66, 2, 8, 30]).repeat_interleave(torch.arange(1, 11))  # 1 to 10 images


def by_subject(generator: torch.Generator) -> torch.Tensor:
    return split_by_subject(SUBJECTS, 0.3, generator)


def by_image(generator: torch.Generator) -> torch.Tensor:
    return split_by_image(55, 0.3, generator)


@pytest.mark.parametrize("split", [by_image, by_subject])
def test_a_split_is_decided_by_its_generator(split):
    test = split(seeded())
    assert test.shape == (55,) and test.dtype == torch.bool
    assert torch.equal(split(seeded()), test)
    assert not torch.equal(split(seeded(1)), test)


@pytest.mark.parametrize(("n", "share", "held_out"), [(55, 0.3, 16), (10, 0.1, 1), (7, 0.0, 0), (7, 1.0, 7)])
def test_a_split_by_image_holds_out_the_share(n, share, held_out):
    assert split_by_image(n, share, seeded()).sum() == held_out


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_subject_holds_out_a_share_of_the_people_and_all_their_images(seed):
    test = by_subject(seeded(seed))
    tested, trained = set(SUBJECTS[test].tolist()), set(SUBJECTS[~test].tolist())
    assert len(tested) == 3 and len(trained) == 7 and not tested & trained


@pytest.mark.parametrize(
    ("groups", "test", "share"),
    [
        ([1, 1, 2, 2], [1, 0, 1, 0], 1.0),
        ([1, 1, 2, 2], [1, 1, 0, 0], 0.0),  # one another's siblings, but none in training
        ([1, 2, 3, 4], [1, 0, 1, 0], 0.0),
        ([1, 1, 1, 2, 3], [1, 1, 0, 1, 1], 0.5),
        ([5, 5, 5, 9], [1, 0, 0, 0], 1.0),  # two siblings count once
    ],
)
def test_share_with_siblings_is_that_of_the_test_images(groups, test, share):
    assert share_with_siblings(torch.tensor(groups), torch.tensor(test, dtype=torch.bool)) == share


def test_taken_faces_keep_their_rows_together():
    faces = load_drawn("train", count=24)
    chosen = split_by_image(24, 0.3, seeded())
    some = take(faces, chosen)
    assert len(some) == 7 and some.protocol == "drawn"
    assert some.rows.tolist() == chosen.nonzero().flatten().tolist()
    for name in (f.name for f in fields(Faces) if f.name != "protocol"):
        assert torch.equal(getattr(some, name), getattr(faces, name)[some.rows]), name


# --- the experiments ---------------------------------------------------------------------------------------------


def test_epochs_gives_both_accuracies_after_every_epoch(few, tmp_path):
    facts = protocol.epochs(tmp_path, TWO_EPOCHS)
    history = facts["history"]
    assert [entry.keys() for entry in history] == [{"epoch", "validation", "test"}] * 2
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert facts["recipe"]["schedule"] == "constant" and facts["recipe"]["epochs"] == 2 and facts["mirror"] is False
    # the run's own record of the same weights on the same faces, without a mirror image either
    (run,) = tmp_path.rglob("model.json")
    recorded = [entry["validation"]["accuracy"] for entry in json.loads(run.read_text())["history"]]
    assert [entry["validation"] for entry in history] == recorded
    model = PRESETS["tiny"]()
    model.load_state_dict(read_safetensors(run.with_name("model.safetensors"))[0])
    test = load_drawn("test", count=32)
    after_the_last = score(predict(model, test, mirror=False), test.labels)["accuracy"]
    assert history[-1]["test"] == pytest.approx(after_the_last, abs=1 / 32)  # the file rounds weights to fp16


def test_a_half_finished_curve_is_refused_before_any_work(few, tmp_path):
    (tmp_path / "protocol-epochs").mkdir()
    with pytest.raises(CheckpointError, match="protocol-epochs holds this run or a part of it: delete the folder"):
        protocol.epochs(tmp_path, TWO_EPOCHS)
    assert few == []  # refused before any work


def test_subjects_compares_both_splits_on_the_same_sequences(monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "SEQUENCES", 24)
    sets = []

    def watched(recipe, folder, faces, validation):
        sets.append((faces, validation))
        return train(recipe, folder, faces, validation)

    monkeypatch.setattr(protocol, "train", watched)
    facts = protocol.subjects(tmp_path, replace(FEW_FACES, epochs=1, batch_size=32, precision="no"), seeds=2)
    found = facts["runs"]
    assert [(f["split"], f["seed"]) for f in found] == [(n, s) for s in (0, 1) for n in ("by image", "by subject")]
    assert (facts["sequences"], facts["frames"], facts["mirror"]) == (24, 3, False)
    people = load_drawn("train", count=72, frames=3).identities
    for entry, (faces, held_out) in zip(found, sets, strict=True):
        assert entry["test"]["faces"] == len(held_out)
        assert sorted(faces.rows.tolist() + held_out.rows.tolist()) == list(range(72))
        seen = set(people[faces.rows].tolist()) & set(people[held_out.rows].tolist())
        if entry["split"] == "by subject":
            assert entry["siblings"] == 0 and not seen
        else:
            assert entry["siblings"] > 0.8 and len(held_out) == 7 and seen


def test_weights_scores_validation_faces_with_and_without_mirror_and_counts_test_faces(few, monkeypatch):
    predicted = []

    def watched(model, faces, mirror):
        predicted.append(faces)
        return predict(model, faces, mirror=mirror)

    monkeypatch.setattr("fervt_lib.protocol.predict", watched)
    facts = protocol.weights()
    looks = ("mirror-averaged", "face alone", "mirror-averaged, no copy in training")
    assert set(facts["validation"]) == {f"{p}, {look}" for p in ("majority", "argmax") for look in looks}
    assert {(split, options["protocol"]) for split, options in few} >= {("validation", p) for p in PROTOCOLS}
    averaged, alone = (facts["validation"][f"majority, {m}"] for m in looks[:2])
    assert alone["faces"] == 32 and alone["ece"] != averaged["ece"]
    assert facts["test_faces"]["argmax"] == dict.fromkeys(EXPRESSIONS, 4)
    # the test scores are those that were shipped with the weights: its pictures are not looked at again
    validation = load_drawn("validation", count=32).images
    assert predicted and all(torch.equal(faces.images, validation) for faces in predicted)
    assert facts["test"] == FERVT_Compact_Weights.FERPLUS.meta["test"] and facts["test_mirror"] is True


def test_weights_scores_validation_faces_that_are_in_training_too_apart(monkeypatch):
    counts = {"train": 32, "validation": 40, "test": 33}  # the first of them are the same
    monkeypatch.setattr(protocol, "load", lambda name, split, **options: load_drawn("train", count=counts[split]))
    facts = protocol.weights()
    faces = load_drawn("train", count=40)
    new = take(faces, faces.rows >= 32)
    scores = facts["validation"]["majority, mirror-averaged, no copy in training"]
    assert scores == score(predict(load_weights(FERVT_Compact_Weights.FERPLUS.path), new), new.labels)
    assert facts["validation"]["majority, mirror-averaged"]["faces"] == 40
    assert facts["test_copies"] == {"majority": 32, "argmax": 32}


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_writes_one_file_for_each_experiment(monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "RESULTS", tmp_path / "results")
    for name in ("epochs", "subjects"):
        monkeypatch.setattr(protocol, name, lambda runs, name=name: {"made": name, "runs": str(runs)})
    protocol.main(["subjects", "epochs", "--runs", "here"])
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "results").iterdir()}
    assert written == {f"protocol-{name}.json": {"made": name, "runs": "here"} for name in ("epochs", "subjects")}


def test_the_command_runs_all_experiments_when_none_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "RESULTS", tmp_path)
    for name in ("weights", "epochs", "subjects"):
        monkeypatch.setattr(protocol, name, lambda *runs: {})
    protocol.main([])
    assert {path.name for path in tmp_path.iterdir()} == {
        f"protocol-{name}.json" for name in ("weights", "epochs", "subjects")
    }


def test_the_command_refuses_an_unknown_experiment(capsys):
    with pytest.raises(SystemExit) as stop:
        protocol.main(["subject"])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert all(name in message for name in ("subject", "weights", "epochs", "subjects"))


def test_a_half_finished_curve_ends_the_command_without_a_file(monkeypatch, tmp_path):
    def refuse(runs):
        raise CheckpointError("made up")

    monkeypatch.setattr(protocol, "RESULTS", tmp_path)
    monkeypatch.setattr(protocol, "epochs", refuse)
    with pytest.raises(SystemExit, match="error: made up"):
        protocol.main(["epochs"])
    assert not list(tmp_path.iterdir())
