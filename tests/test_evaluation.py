"""Scores equal those worked out by hand, and are said with faces and protocol."""

import json

import pytest
import torch
from torchvision.transforms.v2.functional import horizontal_flip

from fervt_lib import fervt_compact
from fervt_lib.data import EXPRESSIONS, load_ferplus
from fervt_lib.evaluation import evaluate, fit_temperature, main, predict, report, score, temper
from fervt_lib.model import face_transforms, save_weights


@pytest.fixture
def checkpoint(tmp_path, ferplus_tree, monkeypatch):
    """Random weights on disk, and the small FER+ tree as the data."""
    monkeypatch.setenv("FERVT_DATA", str(ferplus_tree().parent))
    torch.manual_seed(0)
    save_weights(fervt_compact(), tmp_path / "w.safetensors", "compact", {})
    return tmp_path / "w.safetensors"


def probabilities(predictions: list[int], confidence: float) -> torch.Tensor:
    rest = (1 - confidence) / 7
    return torch.eye(8)[predictions] * (confidence - rest) + rest


def test_scores_equal_those_worked_out_by_hand():
    labels = torch.tensor([0, 0, 1, 1, 2])
    scores = score(probabilities([0, 1, 1, 1, 2], confidence=0.9), labels)
    f1 = [2 * 1 * 0.5 / 1.5, 2 * (2 / 3) * 1 / (5 / 3), 1]  # precision 1, 2/3, 1; recall 1/2, 1, 1
    assert scores == {
        "faces": 5,
        "accuracy": 0.8,
        "macro_f1": round(sum(f1) / 3, 4),
        "ece": 0.1,  # 0.9 sure, 0.8 right
        "recall": {"neutral": 0.5, "happiness": 1, "surprise": 1},
    }


def test_an_expression_that_does_not_occur_is_left_out_but_costs_precision():
    scores = score(probabilities([7, 3], confidence=1), torch.tensor([3, 3]))
    assert scores["recall"] == {"sadness": 0.5} and scores["macro_f1"] == round(2 / 3, 4)


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


def test_evaluate_scores_both_protocols_and_report_names_them(checkpoint):
    scores = evaluate(fervt_compact(weights=str(checkpoint)), "train")
    assert {name: s["faces"] for name, s in scores.items()} == {"majority": 3, "argmax": 4}
    lines = report(scores)
    assert "majority: 3 faces" in lines and "argmax: 4 faces" in lines and "recall neutral" in lines
    assert f"{100 * scores['majority']['accuracy']:.2f} %" in lines


def test_json_is_the_only_thing_on_stdout(checkpoint, capsys):
    main(["--checkpoint", str(checkpoint), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["majority", "argmax"]
    for scores in printed.values():
        assert set(scores) == {"faces", "accuracy", "macro_f1", "ece", "recall"}
        assert set(scores["recall"]) <= set(EXPRESSIONS) and scores["faces"] == 2
    assert json.loads(checkpoint.with_suffix(".ferplus-test.json").read_text()) == printed


@pytest.mark.parametrize("missing", ["checkpoint", "data"])
def test_what_is_missing_ends_the_command_with_its_name(checkpoint, tmp_path, monkeypatch, capsys, missing):
    if missing == "checkpoint":
        checkpoint.unlink()
    else:
        monkeypatch.setenv("FERVT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as end:
        main(["--checkpoint", str(checkpoint), "--json"])
    assert str(end.value.code).startswith("error: ")
    assert str(checkpoint if missing == "checkpoint" else tmp_path / "nowhere") in str(end.value.code)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(true_temperature):
    generator = torch.Generator().manual_seed(0)
    honest = (2 * torch.randn(20_000, 8, generator=generator)).softmax(dim=1)
    labels = torch.multinomial(honest, 1, generator=generator).squeeze(1)  # right as often as the model says
    found = fit_temperature(temper(honest, 1 / true_temperature), labels)
    assert found == pytest.approx(true_temperature, rel=0.05)


def test_a_temperature_changes_confidence_and_no_answer():
    probabilities = torch.rand(50, 8, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    cold, hot = temper(probabilities, 0.1), temper(probabilities, 10.0)
    assert torch.equal(cold.argmax(dim=1), probabilities.argmax(dim=1))
    assert cold.amax(dim=1).mean() > probabilities.amax(dim=1).mean() > hot.amax(dim=1).mean()
    torch.testing.assert_close(cold.sum(dim=1), torch.ones(50))


def test_a_sure_answer_has_a_finite_temperature():
    probabilities = torch.eye(8).repeat(4, 1)  # exact zeros, whose logarithm is infinite
    labels = torch.arange(8).repeat(4)
    labels[:4] = 7  # and four of them wrong
    assert 0 < fit_temperature(probabilities, labels) < 100
