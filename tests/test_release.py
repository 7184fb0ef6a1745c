"""Releases overwrite nothing and check everything before they write, and the model card says what the records say."""

from dataclasses import replace

import pytest
import torch

from fervt_course import release
from fervt_lib.cli import main
from fervt_lib.data import DATASETS, load_drawn
from fervt_lib.disk import read_json, write_json
from fervt_lib.evaluation import predict, score
from fervt_lib.model import SHIPPED, fervt_compact, save_weights
from fervt_lib.training import Recipe

RECIPE = {"dataset": "ferplus", "preset": "compact", "epochs": 3, "seed": 0}
SCORES = {"faces": 32, "accuracy": 0.5, "macro_f1": 0.4, "ece": 0.1, "recall": {}}


@pytest.fixture
def few(monkeypatch):
    """Replaces every set with 32 drawn faces."""
    for name in ("drawn", "ferplus"):
        drawn = replace(DATASETS[name], load=lambda split, **options: load_drawn(split, count=32))
        monkeypatch.setitem(DATASETS, name, drawn)


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """A function that ships a run with the given recipe; weights go to shipped/, records to results/."""
    monkeypatch.setattr(release, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(release, "RESULTS", tmp_path / "results")

    def call(recipe, weights=True):
        write_json(tmp_path / "run" / "model.json", {"recipe": recipe})
        if weights:
            save_weights(fervt_compact(), tmp_path / "run" / "model.safetensors", "compact", {"recipe": recipe})
        main(["ship", str(tmp_path / "run"), "mine"])

    return call


@pytest.mark.parametrize(("dataset", "records"), [("drawn", []), ("ferplus", ["compact-reference-3-0.json"])])
def test_shipped_weights_have_their_scores_beside_them(few, ship, tmp_path, capsys, dataset, records):
    ship(RECIPE | {"dataset": dataset})
    assert {path.name for path in (tmp_path / "shipped").iterdir()} == {"mine.json", "mine.safetensors"}
    facts, test = read_json(tmp_path / "shipped" / "mine.json"), load_drawn("test", count=32)
    model = fervt_compact(weights=tmp_path / "shipped" / "mine.safetensors")
    scores = score(predict(model, test, calibrated=False), test.labels)
    assert model.temperature == facts["calibration"]["temperature"]
    assert facts["test"]["drawn"] == scores and facts["protocol"] == "drawn" and facts["recipe"]["dataset"] == dataset
    assert [sum(row) for row in facts["confusion"]] == test.labels.bincount(minlength=8).tolist()
    assert sum(facts["confusion"][i][i] for i in range(8)) == pytest.approx(32 * scores["accuracy"], abs=0.01)
    assert facts["calibration"]["temperature"] > 0 and facts["calibration"]["ece"] == scores["ece"]
    written = {path.name: read_json(path) for path in (tmp_path / "results").glob("*")}
    assert written == {name: facts | {"variant": "reference"} for name in records}
    assert f"accuracy {100 * scores['accuracy']:.2f} %" in capsys.readouterr().out


def test_what_is_missing_or_there_already_is_named_before_anything_is_written(ship, tmp_path, monkeypatch):
    monkeypatch.setenv("FERVT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match=r"error: .*model\.safetensors"):
        ship(RECIPE, weights=False)
    with pytest.raises(SystemExit, match="error: .*nowhere"):
        ship(RECIPE)
    for variant, start in {"reference": "", "restart": "runs/first/model.safetensors"}.items():
        write_json(record := tmp_path / "results" / f"compact-{variant}-3-0.json", {})
        with pytest.raises(SystemExit, match=f"error: .*{record.name} is the record of such a run already"):
            ship(RECIPE | {"start": start})
        assert read_json(record) == {} and not (tmp_path / "shipped").exists()


def test_the_spread_goes_on_from_the_weights_of_its_own_seed(few, tmp_path, monkeypatch):
    small = Recipe(dataset="drawn", preset="tiny", epochs=1, batch_size=16, precision="no")
    for name, value in {"FIRST": small, "SECOND": replace(small, peak_lr=1e-3), "RESULTS": tmp_path}.items():
        monkeypatch.setattr(release, name, value)
    monkeypatch.setattr(release, "evaluate", lambda model: {"majority": SCORES})
    command = ["spread", "--seeds", "1", "2", "--runs", str(tmp_path / "runs")]
    main(command)
    monkeypatch.delattr(release, "train")  # NameError if a second call trained again
    main(command)
    for seed in (1, 2):
        facts = read_json(tmp_path / f"compact-restart-1-{seed}.json")
        assert (facts["variant"], facts["recipe"]["seed"], facts["recipe"]["peak_lr"]) == ("restart", seed, 1e-3)
        assert facts["recipe"]["start"] == str(tmp_path / "runs" / f"spread-first-{seed}" / "model.safetensors")
        first = facts["start"]["recipe"]
        assert (first["seed"], first["peak_lr"]) == (seed, small.peak_lr)
        assert len(facts["history"]) == 1 and facts["test"] == {"majority": SCORES}


def test_the_model_card_says_what_the_records_say(tmp_path, monkeypatch):
    assert (SHIPPED / "README.md").read_text(encoding="utf-8") == release.card_text(), "run `fervt card` to rewrite it"
    for name in ("compact-ferplus.json", "compact-drawn.json"):
        facts = read_json(SHIPPED / name)
        facts["test"].get("majority", {})["accuracy"] = 0.1234
        write_json(tmp_path / name, facts)
    monkeypatch.setattr(release, "SHIPPED", tmp_path)
    main(["card"])
    assert "| 12.34 % |" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_interval_of_an_accuracy_is_about_the_binomial_one():
    labels = torch.arange(800) % 8
    answers = torch.where(torch.arange(800) % 4 == 0, (labels + 1) % 8, labels)
    low, high = release.intervals(torch.nn.functional.one_hot(answers, 8).float(), labels)["accuracy"]
    half = 1.96 * (0.75 * 0.25 / 800) ** 0.5
    assert (low, high) == (pytest.approx(0.75 - half, abs=0.006), pytest.approx(0.75 + half, abs=0.006))
