"""The scripts that write weights and records: nothing is written over, nothing before all is known."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fervt_lib.data import load, load_drawn
from fervt_lib.evaluation import predict, score
from fervt_lib.model import fervt_compact, save_weights
from fervt_lib.training import Recipe

RECIPE = {"dataset": "ferplus", "preset": "compact", "epochs": 3, "seed": 0}


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def few(name, split, **options):
    return load_drawn(split, count=32)


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """A function that ships a run with a recipe of its own into empty folders, and these folders."""
    module, run = script("ship"), tmp_path / "run"
    monkeypatch.setattr("fervt_lib.evaluation.load", few)
    for name in ("CHECKPOINTS", "RESULTS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module, "load", lambda name, split: few(name, split) if name == "drawn" else load(name, split))
    run.mkdir()

    def call(recipe, weights=True):
        (run / "model.json").write_text(json.dumps({"recipe": recipe}))
        if weights:
            save_weights(fervt_compact(), run / "model.safetensors", "compact", {"recipe": recipe})
        monkeypatch.setattr(sys, "argv", ["ship.py", str(run), "mine"])
        module.main()

    return call, tmp_path / "CHECKPOINTS", tmp_path / "RESULTS"


def test_shipped_drawn_weights_have_their_scores_beside_them(ship, capsys):
    call, checkpoints, results = ship
    call(RECIPE | {"dataset": "drawn"})
    facts = json.loads((checkpoints / "mine.json").read_text())
    test = few("drawn", "test")
    scores = score(predict(fervt_compact(weights=checkpoints / "mine.safetensors"), test), test.labels)
    assert facts["test"] == {"drawn": scores} and facts["protocol"] == "drawn" and facts["recipe"]["dataset"] == "drawn"
    assert sum(map(sum, facts["confusion"])) == len(test) and facts["calibration"]["temperature"] > 0
    assert {path.name for path in checkpoints.iterdir()} == {"mine.json", "mine.safetensors"}
    assert not list(results.iterdir()) and f"accuracy {100 * scores['accuracy']:.2f} %" in capsys.readouterr().out


@pytest.mark.parametrize("start", ["", "runs/first/model.safetensors"])
def test_a_record_that_is_there_is_not_written_over(ship, start):
    call, checkpoints, results = ship
    record = results / f"compact-{'restart' if start else 'reference'}-3-0.json"
    record.write_text("{}")
    with pytest.raises(SystemExit, match=rf"error: .*{record.name} is the record of such a run already"):
        call(RECIPE | {"start": start})
    assert record.read_text() == "{}" and not list(checkpoints.iterdir())


@pytest.mark.parametrize("missing", ["data", "weights"])
def test_what_is_missing_is_named_before_anything_is_written(ship, tmp_path, monkeypatch, missing):
    call, checkpoints, results = ship
    monkeypatch.setenv("FERVT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match=f"error: .*{'nowhere' if missing == 'data' else 'model.safetensors'}"):
        call(RECIPE, weights=missing == "data")
    assert not list(checkpoints.iterdir()) and not list(results.iterdir())


def test_the_spread_goes_on_from_the_weights_of_its_own_seed(tmp_path, monkeypatch):
    spread = script("spread")
    small = Recipe(dataset="drawn", protocol="drawn", preset="tiny", epochs=1, batch_size=16, precision="no")
    monkeypatch.setattr("fervt_lib.training.load", few)
    monkeypatch.setattr(spread, "FIRST", small)
    monkeypatch.setattr(spread, "SECOND", replace(small, peak_lr=1e-3))
    monkeypatch.setattr(spread, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(spread, "evaluate", lambda model: {"majority": {"accuracy": 0.5, "macro_f1": 0.4}})
    monkeypatch.setattr(spread, "report", lambda scores: "scored")
    monkeypatch.setattr(sys, "argv", ["spread.py", "--seeds", "1", "2", "--runs", str(tmp_path / "runs")])
    spread.main()
    monkeypatch.delattr(spread, "train")  # NameError if a second call trained again
    spread.main()
    for seed in (1, 2):
        facts = json.loads((tmp_path / "results" / f"compact-restart-1-{seed}.json").read_text())
        assert facts["recipe"]["seed"] == seed and facts["recipe"]["peak_lr"] == 1e-3 and facts["variant"] == "restart"
        assert facts["recipe"]["start"] == str(tmp_path / "runs" / f"spread-first-{seed}" / "model.safetensors")
        assert facts["start"]["recipe"]["seed"] == seed and facts["start"]["recipe"]["peak_lr"] == small.peak_lr
        assert len(facts["history"]) == 1 and facts["test"]["majority"]["accuracy"] == 0.5
