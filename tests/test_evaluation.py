"""Scores match those worked out by hand, and come with faces, protocol and the overlap with training."""

import json

import pytest
import torch
from torchvision.transforms.v2.functional import horizontal_flip

from fervt_lib import FERVT_Compact_Weights, FervtError, cli, fervt_compact
from fervt_lib.data import EXPRESSIONS, load_drawn, load_ferplus
from fervt_lib.evaluation import (
    apply_temperature,
    fit_temperature,
    mask_classes,
    mean_over_folds,
    predict,
    score,
    training_overlap,
)
from fervt_lib.model import PRESETS, face_transforms, load_weights, save_weights


@pytest.fixture
def checkpoint(tmp_path, ferplus_tree, monkeypatch):
    """Random weights on disk, and the small FER+ tree as the data."""
    monkeypatch.setenv("FERVT_DATA", str(ferplus_tree().parent))
    torch.manual_seed(0)
    save_weights(PRESETS["tiny"](), tmp_path / "w.safetensors", "tiny", {})
    return tmp_path / "w.safetensors"


def evaluate_cli(*options: object) -> None:
    cli.main(["evaluate", *map(str, options)])


def probabilities(predictions: list[int], confidence: float) -> torch.Tensor:
    rest = (1 - confidence) / 7
    return torch.eye(8)[predictions] * (confidence - rest) + rest


# --- scores ------------------------------------------------------------------------------------------------------


def test_scores_equal_those_worked_out_by_hand():
    labels = torch.tensor([0, 0, 1, 1, 2])
    scores = score(probabilities([0, 1, 1, 1, 2], confidence=0.9), labels)
    f1 = [2 * 1 * 0.5 / 1.5, 2 * (2 / 3) * 1 / (5 / 3), 1]  # precision 1, 2/3, 1; recall 1/2, 1, 1
    assert scores == {
        "faces": 5,
        "accuracy": 0.8,
        "macro_f1": round(sum(f1) / 3, 4),
        "ece": 0.1,  # 0.9 confident, 0.8 right
        "recall": {"neutral": 0.5, "happiness": 1, "surprise": 1},
    }


def test_mirror_averaging_is_the_mean_of_a_face_and_its_mirror_image(ferplus_tree):
    model, faces = fervt_compact().train(), load_ferplus("train", root=ferplus_tree())
    both = predict(model, faces)
    assert not model.training
    with torch.inference_mode():
        x = face_transforms(48)(faces.images)
        alone, mirrored = model(x).softmax(1), model(horizontal_flip(x)).softmax(1)
    assert not torch.allclose(alone, mirrored)
    torch.testing.assert_close(both, (alone + mirrored) / 2)
    torch.testing.assert_close(predict(model, faces, mirror=False), alone)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(true_temperature):
    generator = torch.Generator().manual_seed(0)
    honest = (2 * torch.randn(20_000, 8, generator=generator)).softmax(dim=1)
    labels = torch.multinomial(honest, 1, generator=generator).squeeze(1)  # right as often as the model says
    found = fit_temperature(apply_temperature(honest, 1 / true_temperature), labels)
    assert found == pytest.approx(true_temperature, rel=0.05)


def test_a_temperature_changes_confidence_and_no_answer():
    probabilities = torch.rand(50, 8, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    cold, hot = apply_temperature(probabilities, 0.1), apply_temperature(probabilities, 10.0)
    assert torch.equal(cold.argmax(dim=1), probabilities.argmax(dim=1))
    assert cold.amax(dim=1).mean() > probabilities.amax(dim=1).mean() > hot.amax(dim=1).mean()
    torch.testing.assert_close(cold.sum(dim=1), torch.ones(50))


def test_masked_classes_give_their_share_to_the_others():
    torch.testing.assert_close(mask_classes(torch.tensor([[0.5, 0.3, 0.2]]), [0]), torch.tensor([[0.0, 0.6, 0.4]]))


# --- by protocol -------------------------------------------------------------------------------------------------


def test_json_is_the_only_thing_on_stdout_and_is_kept_beside_the_weights(checkpoint, capsys):
    evaluate_cli("--checkpoint", checkpoint, "--json")
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["majority", "argmax"]
    for scores in printed.values():
        assert set(scores) == {"faces", "accuracy", "macro_f1", "ece", "recall"}
        assert set(scores["recall"]) <= set(EXPRESSIONS) and scores["faces"] == 2
    assert json.loads(checkpoint.with_suffix(".ferplus-test.json").read_text()) == printed


def test_a_temperature_changes_the_calibration_error_alone(checkpoint, capsys):
    printed = []
    for temperature in ("1", "0.1"):
        evaluate_cli("--checkpoint", checkpoint, "--json", "--temperature", temperature)
        printed.append(json.loads(capsys.readouterr().out)["argmax"])
    plain, calibrated = printed
    assert calibrated.pop("ece") != plain.pop("ece") and calibrated == plain
    assert checkpoint.with_suffix(".ferplus-test-temperature-0.1.json").is_file()  # beside the scores without one
    for temperature in ("0", "-1", "nan", "inf"):
        with pytest.raises(SystemExit, match="choose a number from 0.001 to 1000"):
            evaluate_cli("--checkpoint", checkpoint, "--temperature", temperature)


@pytest.mark.parametrize("missing", ["checkpoint", "data"])
def test_what_is_missing_ends_the_command_with_its_name(checkpoint, tmp_path, monkeypatch, capsys, missing):
    if missing == "checkpoint":
        checkpoint.unlink()
    else:
        monkeypatch.setenv("FERVT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as end:
        evaluate_cli("--checkpoint", checkpoint, "--json")
    assert str(end.value.code).startswith("error: ") and capsys.readouterr().out == ""
    assert str(checkpoint if missing == "checkpoint" else tmp_path / "nowhere") in str(end.value.code)


# --- folds, and what was trained on ------------------------------------------------------------------------------


@pytest.fixture
def ck_weights(tmp_path, ckplus_tree, monkeypatch):
    """A function that saves random weights with the recipe of one CK+ fold; the data is the small CK+48 tree."""
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("ck48").parent))
    torch.manual_seed(0)

    def write(fold: int, classes: int = 7) -> str:
        path = tmp_path / f"fold{fold}-{classes}.safetensors"
        recipe = {"dataset": "ckplus", "fold": fold, "classes": classes}
        save_weights(PRESETS["tiny"](), path, "tiny", {"recipe": recipe})
        return str(path)

    return write


def test_weights_of_a_fold_are_tested_on_it_and_their_mean_is_over_the_folds(ck_weights, capsys):
    evaluate_cli("--dataset", "ckplus", "--checkpoint", ck_weights(0), ck_weights(1))
    printed, warned = capsys.readouterr()
    assert "fold 0 of 10, 7 classes: 6 faces" in printed and "fold 1 of 10, 7 classes: 3 faces" in printed
    assert "7 classes, neutral masked: mean of 2 folds" in printed and "all 9 faces together" in printed
    assert "without fold 2, 3, 4, 5, 6, 7, 8, 9 of 10" in warned
    folds = [{"7 classes": {"faces": n, "accuracy": a, "macro_f1": a}} for n, a in [(30, 0.9), (10, 0.5)]]
    mean = {"folds": 2, "faces": 40, "accuracy": 0.7, "deviation": 0.2828, "macro_f1": 0.7, "pooled": 0.8}  # √0.08
    assert mean_over_folds(folds) == {"7 classes": mean}


def test_weights_from_elsewhere_are_tested_on_all_of_ckplus(ck_weights, checkpoint, ckplus_tree, monkeypatch, capsys):
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("official").parent))
    evaluate_cli("--dataset", "ckplus", "--checkpoint", checkpoint, "--classes", "8")
    printed, warned = capsys.readouterr()
    assert "all subjects, 8 classes: 44 faces" in printed and "masked" not in printed
    assert "these weights have no record" in warned


def test_weights_that_have_no_mean_are_refused(ck_weights, checkpoint):
    for dataset, weights in (
        ("ckplus", [ck_weights(3), checkpoint]),
        ("ckplus", [ck_weights(3), ck_weights(4, 8)]),
        ("ckplus", [ck_weights(3), ck_weights(3)]),
        ("ferplus", [ck_weights(0), ck_weights(1)]),
    ):
        with pytest.raises(SystemExit, match="error: only different folds of CK"):
            evaluate_cli("--dataset", dataset, "--checkpoint", *weights)


@pytest.mark.parametrize("dataset", ["drawn", "ckplus"])
def test_classes_that_cannot_be_chosen_are_refused(ck_weights, dataset):
    with pytest.raises(SystemExit, match="--classes 8: only weights from elsewhere have the choice"):
        evaluate_cli("--dataset", dataset, "--classes", "8", "--checkpoint", ck_weights(0))


def test_faces_and_subjects_that_were_trained_on_are_warned_of(ck_weights, capsys):
    evaluate_cli("--dataset", "ckplus", "--checkpoint", ck_weights(0), "--split", "validation")
    assert "warning" not in capsys.readouterr().err  # no subject is on both sides
    provenance = {"recipe": {"dataset": "ckplus", "fold": 0, "classes": 7}}
    assert training_overlap(provenance, "ckplus", "test", {"fold": 2, "classes": 7}) == [
        "7 classes: 3 faces of test are in the training set of these weights too",
        "7 classes: 1 subjects of test are in the training set of these weights too",
    ]


def test_faces_that_the_weights_before_were_trained_on_are_warned_of_too(ck_weights):
    first, second = ({"dataset": "ckplus", "fold": fold, "classes": 7} for fold in (0, 2))
    test = "ckplus", "test", {"fold": 2, "classes": 7}
    assert training_overlap({"recipe": second}, *test) == []
    restarted = {"recipe": second | {"start": "first.safetensors"}, "start": {"recipe": first}}
    assert any("3 faces of test" in text for text in training_overlap(restarted, *test))
    assert any("no record" in text for text in training_overlap({"recipe": restarted["recipe"]}, *test))


def test_training_faces_that_no_loader_reads_are_said_not_to_be_compared():
    (text,) = training_overlap({"recipe": {"dataset": "mine"}}, "drawn", "test", {})
    assert "(mine) were not compared with these: dataset 'mine'" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "w.json: no readable JSON"),
        (b'"\xff"', "w.json: no readable JSON"),
        (b"[]", "w.json: not the record of a run"),
        (b'{"recipe": "mine"}', "w.json: not the record of a run"),
        (b'{"recipe": {"epochs": 3}}', "w.json: not the record of a run"),
        (b'{"recipe": {"dataset": "drawn"}, "start": {"recipe": []}}', "w.json: not the record of a run"),
        (b'{"recipe": {"dataset": "ckplus", "classes": 7}}', "does not say the fold"),
    ],
)
def test_a_damaged_record_beside_the_weights_is_named(checkpoint, text, message):
    checkpoint.with_suffix(".json").write_bytes(text)
    with pytest.raises(SystemExit, match=message):
        evaluate_cli("--dataset", "ckplus", "--checkpoint", checkpoint)


def test_predict_brings_the_weights_temperature_and_a_prior_if_it_is_asked():
    model, faces = fervt_compact(weights="ferplus"), load_drawn("test", count=16)
    raw, usual = predict(model, faces, calibrated=False), predict(model, faces)
    torch.testing.assert_close(usual, apply_temperature(raw, model.temperature))
    assert model.temperature == FERVT_Compact_Weights.FERPLUS.meta["calibration"]["temperature"] != 1
    fair = predict(model, faces, prior="uniform")
    prior = torch.tensor(model.prior)
    assert prior.sum() == pytest.approx(1, abs=1e-3) and prior.argmax() == 0  # neutral
    torch.testing.assert_close(fair * prior / (fair * prior).sum(dim=1, keepdim=True), usual)
    assert fair[:, 7].mean() > usual[:, 7].mean() and fair[:, 0].mean() < usual[:, 0].mean()  # contempt, neutral
    with pytest.raises(FervtError, match="does not say how frequent"):
        predict(fervt_compact(), faces, prior="uniform")
    with pytest.raises(FervtError, match="choose from training, uniform"):
        predict(model, faces, prior="balanced")


def test_an_ensemble_is_scored_as_one_model(checkpoint, tmp_path, capsys):
    torch.manual_seed(1)
    save_weights(PRESETS["tiny"](), other := tmp_path / "other.safetensors", "tiny", {})
    evaluate_cli("--checkpoint", checkpoint, other, "--ensemble", "--json")
    found = json.loads(capsys.readouterr().out)["majority"]
    faces = load_ferplus("test")
    answers = [predict(load_weights(path), faces) for path in (checkpoint, other)]
    assert found == score(torch.stack(answers).mean(dim=0), faces.labels)
    evaluate_cli("--checkpoint", checkpoint, other, "--ensemble", "--split", "validation")
    output, errors = capsys.readouterr()
    assert "ferplus, validation, mean of 2" in output and errors.count("these weights have no record") == 1
    with pytest.raises(SystemExit, match="error: --ensemble: on ckplus"):
        evaluate_cli("--checkpoint", checkpoint, other, "--ensemble", "--dataset", "ckplus")
