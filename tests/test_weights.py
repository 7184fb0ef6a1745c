"""Weights on disk: whole or refused by name; those that are shipped keep what their meta says."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import multiclass_confusion_matrix

from fervt_lib import CheckpointError, FERVT_Compact_Weights, FervtError, fervt_compact, fervt_paper
from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.evaluation import apply_temperature, predict, score
from fervt_lib.model import save_weights, write_safetensors


@pytest.fixture
def saved(tmp_path):
    """A compact model and the file that holds it."""
    model = fervt_compact(classes=7).eval()
    save_weights(model, tmp_path / "mine.safetensors", "compact", {"made": "here"})
    return model, tmp_path / "mine.safetensors"


def test_weights_come_back_as_they_were_saved(saved):
    model, path = saved
    again = fervt_compact(weights=path)
    assert not again.training and path.stat().st_size < 10e6
    for name, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(again.state_dict()[name], expected), name
    assert json.loads(path.with_suffix(".json").read_text()) == {"preset": "compact", "variant": "", "made": "here"}


@pytest.mark.parametrize("left", [0, 5, 200, 1_000_000])
def test_weights_cut_short_are_refused(saved, left):
    _, path = saved
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(CheckpointError, match=r"mine\.safetensors: damaged or cut short"):
        fervt_compact(weights=path)


def test_weights_of_the_other_preset_are_refused(tmp_path, saved):
    write_safetensors(tmp_path / "p.safetensors", {"x": torch.zeros(1)}, {"preset": "paper"})
    with pytest.raises(CheckpointError, match=r"p\.safetensors.*paper preset, not compact"):
        fervt_compact(weights=tmp_path / "p.safetensors")
    with pytest.raises(CheckpointError, match=r"mine\.safetensors.*compact preset, not paper"):
        fervt_paper(weights=saved[1])


@pytest.mark.parametrize("metadata", [{"preset": "compact"}, {}, None])
def test_tensors_of_something_else_are_refused(tmp_path, metadata):
    write_safetensors(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, metadata)
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        fervt_compact(weights=tmp_path / "other.safetensors")


def test_a_missing_file_and_an_unknown_name_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such checkpoint"):
        fervt_compact(weights=tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"'rafdb'.*ferplus, drawn"):
        fervt_compact(weights="rafdb")


def test_a_write_that_fails_leaves_the_old_file_unchanged(saved, monkeypatch):
    _, path = saved
    before = path.read_bytes()

    def write_half(part, data):
        with open(part, "wb") as file:
            file.write(data[:1000])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(FervtError, match="mine.safetensors cannot be written .No space left"):
        write_safetensors(path, {"x": torch.zeros(1)}, {})
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"mine.safetensors", "mine.json"}


# --- the weights that are shipped --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ferplus", "drawn"])
def test_shipped_weights_say_what_they_are(name):
    weights = FERVT_Compact_Weights[name.upper()]
    assert weights.path.stat().st_size < 10e6
    assert weights.meta["classes"] == list(EXPRESSIONS) and weights.meta["recipe"]["dataset"] == name
    assert weights.meta["protocol"] == {"ferplus": "majority", "drawn": "drawn"}[name]
    assert 0.5 < weights.meta["accuracy"][weights.meta["protocol"]] <= 1
    x = weights.transforms()(Image.new("RGB", (100, 80), (250, 120, 0)))
    assert x.shape == (3, 48, 48) and x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    model = fervt_compact(weights=name)
    assert model(x[None]).shape == (1, 8) and not model.training


def check_promises(name: str) -> None:
    """Scores, calibration and confusion of shipped weights are those of their card, but for a face on an edge."""
    meta, faces = FERVT_Compact_Weights[name.upper()].meta, load(name, "test")
    promised, temperature = meta["test"][faces.protocol], meta["calibration"]["temperature"]
    probabilities = predict(fervt_compact(weights=name), faces)
    found = score(probabilities, faces.labels)
    assert found["faces"] == promised["faces"]
    assert found["accuracy"] == pytest.approx(promised["accuracy"], abs=0.002)
    assert found["macro_f1"] == pytest.approx(promised["macro_f1"], abs=0.02)
    assert found["ece"] == pytest.approx(meta["calibration"]["ece"], abs=0.002)
    tempered = score(apply_temperature(probabilities, temperature), faces.labels)
    assert tempered["ece"] == pytest.approx(meta["calibration"]["ece_tempered"], abs=0.002)
    confusion = multiclass_confusion_matrix(probabilities, faces.labels, len(EXPRESSIONS))
    assert (confusion - torch.tensor(meta["confusion"])).abs().sum() <= 12


def test_shipped_drawn_weights_score_what_they_promise():
    check_promises("drawn")
