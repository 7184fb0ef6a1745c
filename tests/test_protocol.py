"""The protocol experiments: who is held out, what is counted, and that no half-finished curve is written."""

from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import pytest
import torch

from fervt_course import protocol
from fervt_course.protocol import split_by_image, split_by_subject
from fervt_lib.cli import main
from fervt_lib.data import DATASETS, EXPRESSIONS, load_drawn
from fervt_lib.disk import CheckpointError, read_json
from fervt_lib.evaluation import predict, score
from fervt_lib.model import PRESETS, FERVT_Compact_Weights, load_weights, read_safetensors
from fervt_lib.training import train


@pytest.fixture
def few(monkeypatch):
    """Replaces FER+ with up to 32 drawn faces, the same people in every split; returns the mock that loads them."""
    counts = {"train": 24, "validation": 32, "test": 28}  # so the first 24 are the same everywhere
    asked = Mock(side_effect=lambda split, **options: load_drawn("train", count=counts[split]))
    monkeypatch.setitem(DATASETS, "ferplus", replace(DATASETS["ferplus"], load=asked))
    return asked


def test_a_split_holds_out_a_share_of_the_images_or_of_the_people_with_all_their_images():
    for n, share, held_out in ((55, 0.3, 16), (10, 0.1, 1), (7, 0.0, 0), (7, 1.0, 7)):
        assert split_by_image(n, share, torch.Generator()).sum() == held_out
    subjects = torch.tensor([7, 3, 90, 41, 5, 12, 66, 2, 8, 30]).repeat_interleave(torch.arange(1, 11))
    for split in (partial(split_by_image, 55, 0.3), partial(split_by_subject, subjects, 0.3)):
        first, again, other = (split(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)
    for test in (first, other):
        tested, trained = set(subjects[test].tolist()), set(subjects[~test].tolist())
        assert len(tested) == 3 and len(trained) == 7 and not tested & trained


def test_epochs_gives_both_accuracies_after_every_epoch_and_is_not_resumed(few, tmp_path):
    recipe = replace(protocol.BEST_OF_EPOCHS, epochs=2, batch_size=16, precision="no")
    facts = protocol.epochs(tmp_path, recipe)
    assert facts["recipe"]["schedule"] == "constant" and facts["recipe"]["epochs"] == 2 and facts["mirror"] is False
    # the run's own record of the same weights on the same faces, also without mirror images
    (run,) = tmp_path.rglob("model.json")
    recorded = [(entry["epoch"], entry["validation"]["accuracy"]) for entry in read_json(run)["history"]]
    assert [(entry["epoch"], entry["validation"]) for entry in facts["history"]] == recorded and len(recorded) == 2
    model, test = PRESETS["tiny"](), load_drawn("train", count=28)
    model.load_state_dict(read_safetensors(run.with_name("model.safetensors"))[0])
    after_the_last = score(predict(model, test, mirror=False), test.labels)["accuracy"]
    assert facts["history"][-1]["test"] == pytest.approx(after_the_last, abs=1 / 28)  # the file rounds weights to fp16
    few.reset_mock()
    with pytest.raises(CheckpointError, match="protocol-epochs holds this run or a part of it: delete the folder"):
        protocol.epochs(tmp_path, recipe)
    assert not few.called


def test_subjects_compares_both_splits_on_the_same_sequences(monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "SEQUENCES", 24)
    monkeypatch.setattr(protocol, "train", trained := Mock(wraps=train))
    facts = protocol.subjects(tmp_path, replace(protocol.FEW_FACES, epochs=1, batch_size=32, precision="no"), seeds=2)
    found = [(entry["split"], entry["seed"]) for entry in facts["runs"]]
    assert found == [(split, seed) for seed in (0, 1) for split in ("by image", "by subject")]
    assert (facts["sequences"], facts["frames"], facts["mirror"]) == (24, 3, False)
    for entry, call in zip(facts["runs"], trained.mock_calls, strict=True):
        faces, held_out = call.args[2:]
        assert sorted(faces.rows.tolist() + held_out.rows.tolist()) == list(range(72))
        sequences = set((faces.rows // 3).tolist())
        siblings = [row // 3 in sequences for row in held_out.rows.tolist()]
        assert entry["siblings"] == round(sum(siblings) / len(siblings), 4) and entry["test"]["faces"] == len(siblings)
        shared = set(faces.subjects.tolist()) & set(held_out.subjects.tolist())
        assert not shared if entry["split"] == "by subject" else entry["siblings"] > 0.8 and len(siblings) == 7


def test_copies_splits_the_same_changed_faces_after_augmenting_and_before(few, monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "FACES", 20)
    monkeypatch.setattr(protocol, "train", trained := Mock(wraps=train))
    facts = protocol.copies(tmp_path, replace(protocol.ON_DISK, epochs=1, batch_size=16, precision="no"), seeds=1)
    assert [entry["split"] for entry in facts["runs"]] == ["after", "before"] and facts["faces"] == 80
    pictures = []
    for entry, call in zip(facts["runs"], trained.mock_calls, strict=True):
        faces, held_out = call.args[2:]
        shared = set(faces.rows.tolist()) & set(held_out.rows.tolist())
        assert bool(shared) == (entry["split"] == "after") == (entry["siblings"] > 0.8)
        assert (len(faces), len(held_out)) == (64, 16) and entry["test"]["faces"] == 16
        still = call.kwargs["augment"](faces.images, torch.Generator())
        assert torch.equal((255 * still).round().byte(), faces.images)  # what is on disk is not changed again
        pictures.append(sorted(image.numpy().tobytes() for image in (*faces.images, *held_out.images)))
    assert pictures[0] == pictures[1] and len(set(pictures[0])) == 80


def test_weights_scores_validation_faces_and_counts_copies_apart(few, monkeypatch):
    monkeypatch.setattr(protocol, "predict", predicted := Mock(wraps=predict))
    facts, faces = protocol.weights(), load_drawn("train", count=32)
    looks = ("mirror-averaged", "face alone", "mirror-averaged, no copy in training")
    assert set(facts["validation"]) == {f"{name}, {look}" for name in protocol.PROTOCOLS for look in looks}
    for name in protocol.PROTOCOLS:
        few.assert_any_call("validation", protocol=name)
    averaged, alone, new = (facts["validation"][f"majority, {look}"] for look in looks)
    assert averaged["faces"] == alone["faces"] == 32 and alone["ece"] != averaged["ece"]
    unseen = faces.take(faces.rows >= 24)
    model = load_weights(FERVT_Compact_Weights.FERPLUS.path)
    assert new == score(predict(model, unseen, calibrated=False), unseen.labels)
    counts = load_drawn("train", count=28).labels.bincount(minlength=8).tolist()
    assert facts["test_faces"]["argmax"] == dict(zip(EXPRESSIONS, counts, strict=True))
    assert facts["test_copies"] == {"majority": 24, "argmax": 24}
    # the test scores are those that came with the weights: nothing looks at the 28 test pictures again
    assert 28 not in {len(call.args[1]) for call in predicted.mock_calls}
    assert facts["test"] == FERVT_Compact_Weights.FERPLUS.meta["test"] and facts["test_mirror"] is True


@pytest.mark.parametrize("names", [["subjects", "epochs"], []])
def test_the_command_writes_one_file_for_each_experiment(monkeypatch, tmp_path, names):
    monkeypatch.setattr(protocol, "RESULTS", tmp_path / "results")
    for name in protocol.EXPERIMENTS:
        monkeypatch.setitem(protocol.EXPERIMENTS, name, lambda runs, name=name: {"made": name, "runs": str(runs)})
    main(["protocol", *names, "--runs", "here"])
    written = {path.name: read_json(path) for path in (tmp_path / "results").iterdir()}
    names = names or list(protocol.EXPERIMENTS)
    assert written == {f"protocol-{name}.json": {"made": name, "runs": "here"} for name in names}


def test_a_record_that_is_there_stays_and_asking_for_help_changes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(protocol, "RESULTS", tmp_path)
    monkeypatch.setitem(protocol.EXPERIMENTS, "weights", lambda runs: pytest.fail("measured again"))
    (tmp_path / "protocol-weights.json").write_text("kept")
    main(["protocol", "weights"])
    assert (tmp_path / "protocol-weights.json").read_text() == "kept"
    assert "is there already and stays; delete it to measure again" in capsys.readouterr().out


@pytest.mark.parametrize("name", protocol.PROTOCOLS)
def test_a_rater_is_right_where_the_other_nine_say_the_same(name):
    votes = [[5, 5, 0, 0, 0, 0, 0, 0, 0, 0], [9, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 3, 0, 0, 0, 0, 0, 7, 0]]
    votes += [[2, 2, 2, 2, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 10, 0, 0]]
    found = protocol.rater_hits(torch.tensor(votes, dtype=torch.uint8), name).tolist()
    for counts, hits in zip(votes, found, strict=True):
        raters = [label for label, count in enumerate(counts) for _ in range(count)]
        agree = 0
        for i, rater in enumerate(raters):
            others = torch.tensor(raters[:i] + raters[i + 1 :]).bincount(minlength=10)
            others = others * (others > 1) if name == "majority" else others
            agree += rater == int(others[:8].argmax())
        assert hits == agree
    assert found[0] == 0 and found[1] == 9 and found[4] == 10


def test_faces_are_changed_as_their_names_say_and_stay_faces():
    images = load_drawn("test", count=16).images
    changed = {name: change(images) for name, change in protocol.CHANGES.items()}
    assert all(x.shape == images.shape and x.dtype == torch.uint8 for x in changed.values())
    assert torch.equal(changed.pop("as it is"), images)
    assert all((x != images).float().mean() > 0.2 for x in changed.values())
    assert (changed["contrast stretched"].amax(dim=(1, 2, 3)) >= 254).all()
    assert torch.equal(changed["shifted by 4 pixels"][..., 4:, 4:], images[..., :-4, :-4])
    assert (changed["darkened"].float().mean() / images.float().mean()) == pytest.approx(0.4, abs=0.02)
    larger, smaller = (changed[f"15 % {how}"].float() for how in ("larger", "smaller"))
    inner = torch.nn.functional.interpolate(smaller[..., 3:-3, 3:-3], size=(48, 48), mode="bilinear")
    assert (inner - images.float()).abs().mean() < (larger - images.float()).abs().mean()


def test_changes_scores_the_same_faces_under_every_change(few, monkeypatch):
    facts = protocol.changes()
    few.assert_any_call("validation")
    scores = [*facts["changes"].values(), facts["uniform prior"]]
    assert len(facts["changes"]) == 7 and {s["faces"] for s in scores} == {32}
    assert sum(group["faces"] for group in facts["by_agreement"]) == 32


def test_framing_scores_the_same_found_faces_at_every_margin(few):
    facts = protocol.framing()
    few.assert_called_once_with("validation")
    assert facts["faces"] == 32 and 24 <= facts["found"] <= 32
    assert list(facts["accuracy"]) == ["as it is", *map(str, protocol.MARGINS)]
    whole = {name: value * facts["found"] for name, value in facts["accuracy"].items()}
    assert all(hits == pytest.approx(round(hits), abs=0.01) for hits in whole.values())
    assert len(set(facts["accuracy"].values())) > 2  # how a face is cropped matters
