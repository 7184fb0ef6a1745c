"""Scores equal those worked out by hand, and are said with faces and protocol."""

import json

import pytest
import torch
from torchvision.transforms.v2.functional import horizontal_flip

from fervt_lib import fervt_compact
from fervt_lib.data import EXPRESSIONS, load_ckplus, load_drawn, load_ferplus, shared
from fervt_lib.evaluation import (
    absent_expressions,
    average,
    evaluate,
    fit_temperature,
    main,
    predict,
    report,
    rule_out,
    score,
    temper,
    warn_of_shared,
)
from fervt_lib.model import PRESETS, face_transforms, save_weights


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


def test_a_temperature_changes_the_calibration_error_alone(checkpoint, capsys):
    printed = {}
    for temperature in ("1", "0.1"):
        main(["--checkpoint", str(checkpoint), "--json", "--temperature", temperature])
        printed[temperature] = json.loads(capsys.readouterr().out)["argmax"]
    plain, tempered = printed.values()
    assert tempered.pop("ece") != plain.pop("ece") and tempered == plain
    assert checkpoint.with_suffix(".ferplus-test-temperature-0.1.json").is_file()  # beside those without one
    for temperature in ("0", "-1", "nan", "inf"):
        with pytest.raises(SystemExit):
            main(["--checkpoint", str(checkpoint), "--temperature", temperature])
        assert "a temperature is above 0" in capsys.readouterr().err


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


@pytest.fixture
def ck_weights(tmp_path, ckplus_tree, monkeypatch):
    """A function that leaves random weights with the recipe of one fold of CK+; the small CK+48 tree is the data."""
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("ck48").parent))
    torch.manual_seed(0)

    def write(fold: int, classes: int = 7) -> str:
        path = tmp_path / f"fold{fold}.safetensors"
        save_weights(
            PRESETS["tiny"](), path, "tiny", {"recipe": {"dataset": "ckplus", "fold": fold, "classes": classes}}
        )
        return str(path)

    return write


def test_weights_of_a_fold_are_tested_on_it_and_their_mean_is_over_the_folds(ck_weights, capsys):
    main(["--dataset", "ckplus", "--checkpoint", ck_weights(0), ck_weights(1)])
    said, warned = capsys.readouterr()
    assert "fold 0 of 10, 7 classes: 6 faces" in said and "fold 1 of 10, 7 classes: 3 faces" in said
    assert "7 classes, neutral ruled out: mean of 2 folds" in said and "all 9 faces together" in said
    assert "without fold 2, 3, 4, 5, 6, 7, 8, 9 of 10" in warned


def test_the_mean_over_folds_is_that_worked_out_by_hand():
    folds = [
        {f"fold {i} of 10, 7 classes": {"faces": n, "accuracy": a, "macro_f1": a}}
        for i, (n, a) in enumerate([(30, 0.9), (10, 0.5)])
    ]
    assert average(folds) == {
        "7 classes": {
            "folds": 2,
            "faces": 40,
            "accuracy": 0.7,
            "deviation": 0.2828,  # √(2 × 0.2²)
            "macro_f1": 0.7,
            "pooled": 0.8,
        }
    }


def test_weights_from_elsewhere_are_tested_on_all_of_ckplus(ck_weights, checkpoint, ckplus_tree, monkeypatch, capsys):
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("official").parent))
    main(["--dataset", "ckplus", "--checkpoint", str(checkpoint), "--classes", "8"])
    said, warned = capsys.readouterr()
    assert "all subjects, 8 classes: 44 faces" in said and "ruled out" not in said
    assert "no recipe of the weights is here" in warned


def test_folds_that_do_not_belong_together_are_refused(ck_weights, checkpoint):
    for weights, message in (
        ([ck_weights(3), str(checkpoint)], "folds of CK"),
        ([ck_weights(3), ck_weights(4, 8)], "all with 7 or all with 8"),
        ([ck_weights(3), ck_weights(3)], "two weights of one fold"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["--dataset", "ckplus", "--checkpoint", *weights])
        assert message in str(end.value.code)


def test_faces_and_subjects_that_were_trained_on_are_warned_of(ck_weights, capsys):
    main(["--dataset", "ckplus", "--checkpoint", ck_weights(0), "--split", "validation"])
    assert "warning" not in capsys.readouterr().err  # subjects are on one side
    made = {"recipe": {"dataset": "ckplus", "fold": 0, "classes": 7}}
    assert warn_of_shared(made, "ckplus", "test", {"fold": 2, "classes": 7}) == [
        "fold 2 of 10, 7 classes: 3 faces of test are in the training set of these weights too",
        "fold 2 of 10, 7 classes: 1 subjects of test are in the training set of these weights too",
    ]


def test_an_answer_that_a_dataset_lacks_is_ruled_out_and_no_other():
    assert absent_expressions("ckplus", 7) == [0] and absent_expressions("ckplus", 8) == []
    assert absent_expressions("rafdb") == absent_expressions("fer2013") == [7] and absent_expressions("ferplus") == []
    kept = rule_out(torch.tensor([[0.5, 0.3, 0.2]]), [0])
    torch.testing.assert_close(kept, torch.tensor([[0.0, 0.6, 0.4]]))


def test_people_of_two_datasets_are_not_taken_for_each_other(ck_weights):
    people = load_ckplus("all"), load_drawn("train", count=80)
    assert set(people[0].subjects.tolist()) & set(people[1].identities.tolist())  # by number alone
    assert shared(*people) == {"faces": 0} and shared(people[0], people[0]) == {"faces": 33, "subjects": 11}


def test_faces_that_the_weights_before_were_trained_on_are_warned_of_too(ck_weights):
    first, second = ({"dataset": "ckplus", "fold": fold, "classes": 7} for fold in (0, 2))
    test = "ckplus", "test", {"fold": 2, "classes": 7}
    assert warn_of_shared({"recipe": second}, *test) == []
    restarted = {"recipe": second | {"start": "first.safetensors"}, "start": {"recipe": first}}
    assert any("3 faces of test" in said for said in warn_of_shared(restarted, *test))
    assert any("no recipe" in said for said in warn_of_shared({"recipe": restarted["recipe"]}, *test))


def test_training_faces_that_no_loader_reads_are_said_not_to_be_compared():
    said = warn_of_shared({"recipe": {"dataset": "mine"}}, "drawn", "test", {})
    assert len(said) == 1 and "(mine) were not compared with these: dataset 'mine'" in said[0]


@pytest.mark.parametrize("options", [["--dataset", "ferplus"], ["--dataset", "ckplus", "--split", "all"]])
def test_a_mean_over_what_are_no_folds_is_refused(ck_weights, options):
    with pytest.raises(SystemExit, match="only folds of CK"):
        main([*options, "--checkpoint", ck_weights(0), ck_weights(1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--dataset", "drawn"], "only CK"), (["--dataset", "ckplus"], "these weights are of 7")],
)
def test_classes_that_are_not_to_be_chosen_are_refused(ck_weights, options, message):
    with pytest.raises(SystemExit, match=f"--classes 8: {message}"):
        main([*options, "--classes", "8", "--checkpoint", ck_weights(0)])


@pytest.mark.parametrize("text", [b"{", b'"\xff"'])
def test_a_damaged_record_beside_the_weights_is_named(checkpoint, text):
    checkpoint.with_suffix(".json").write_bytes(text)
    with pytest.raises(SystemExit, match="w.json: no readable JSON"):
        main(["--checkpoint", str(checkpoint)])


@pytest.mark.parametrize(
    "facts",
    [
        [],
        {"recipe": "mine"},
        {"recipe": {"epochs": 3}},
        {"recipe": {"dataset": "ckplus", "classes": 7}},
        {"recipe": {"dataset": "drawn"}, "start": {"recipe": []}},
    ],
)
def test_a_record_of_something_else_is_named(checkpoint, facts):
    checkpoint.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(SystemExit, match="w.json: no record of a run"):
        main(["--checkpoint", str(checkpoint)])
