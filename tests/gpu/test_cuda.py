"""On CUDA the captured step equals the plain one, waits for nothing, resumes, and is fast: `make test-gpu`."""

import json
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from fervt_lib.benchmark import benchmark, made_up_faces
from fervt_lib.data import Augment
from fervt_lib.engine import Engine
from fervt_lib.model import PRESETS
from fervt_lib.training import Recipe, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
RECIPE = Recipe(dataset="made up", preset="compact", epochs=2, batch_size=32, precision="bf16")
STEPS = 20


def engine(capture: bool, precision: str = "bf16", steps: int = STEPS) -> Engine:
    """An engine on made-up faces, with `steps` steps per epoch and no random numbers drawn on the device."""
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=precision)
    torch.manual_seed(0)
    model = PRESETS["compact"]()
    for layer in model.transformer.layers:
        layer.drop_path.p = 0.0
    model = model.to(accelerator.device, memory_format=torch.channels_last)
    recipe = replace(RECIPE, epochs=100)  # its first steps are short: 1/25 of the peak
    made = Engine(recipe, accelerator, model, made_up_faces(steps * 32, 48), torch.arange(steps * 32), Augment())
    assert made.why_plain == ""
    made.why_plain = "" if capture else "asked for"
    return made


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-3), ("bf16", 2e-2)])
def test_the_captured_step_is_the_plain_step(precision, tolerance):
    losses = [engine(capture, precision).epoch(0) for capture in (True, False)]
    assert losses[0] == pytest.approx(losses[1], abs=tolerance)
    # one step: over twenty, AdamW turns gradients that differ only by rounding into full-length steps
    captured, plain = (engine(capture, precision, steps=1) for capture in (True, False))
    losses = [made.epoch(0) for made in (captured, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=tolerance)
    assert captured.graph is not None and plain.graph is None
    for found, wanted in ((captured.inner, plain.inner), (captured.average, plain.average)):
        for (name, a), b in zip(found.state_dict().items(), wanted.state_dict().values(), strict=True):
            torch.testing.assert_close(a.float(), b.float(), atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize("capture", [True, False])
def test_no_step_waits_for_the_device(capture):
    made = engine(capture)
    made.epoch(0)
    rows, draws = made._plan(1, torch.Generator().manual_seed(0))
    batches = list(made._batches(rows))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for (images, votes), numbers in zip(batches, draws, strict=True):
            made._step(images, votes, numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_run_resumes(tmp_path):
    faces, validation = made_up_faces(640, 48), made_up_faces(64, 48)
    whole = train(RECIPE, tmp_path / "whole", faces, validation)

    def stop(epoch, model):
        raise KeyboardInterrupt

    train(RECIPE, tmp_path / "cut", faces, validation, on_epoch_end=lambda *_: None)
    (tmp_path / "cut" / "checkpoint.safetensors").unlink()
    with pytest.raises(KeyboardInterrupt):
        train(
            RECIPE, tmp_path / "cut", faces, validation, on_epoch_end=lambda epoch, _: epoch == 2 and stop(epoch, None)
        )
    resumed = train(RECIPE, tmp_path / "cut", faces, validation)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a.float(), b.float(), atol=0.02, rtol=0.02, msg=name)


def test_fp16_trains_without_a_graph_and_says_why(tmp_path):
    train(replace(RECIPE, precision="fp16", epochs=1), tmp_path, made_up_faces(640, 48), made_up_faces(64, 48))


def test_the_speeds_that_are_promised(tmp_path):
    benchmark(tmp_path / "benchmark.json", presets=("compact", "paper"))
    facts = json.loads((tmp_path / "benchmark.json").read_text())
    fastest = max(row.get("faces/s", 0) for row in facts["rows"] if row["model"] == "compact")
    print(facts["device"], fastest, facts["ratios"])
    if "H100" in facts["device"]:
        assert fastest >= 25_000 and facts["ratios"]["paper / ResNet-34 of paper"] <= 1.5
