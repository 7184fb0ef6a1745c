"""The benchmark measures every rung, says why one is missing, and takes its ratios from one run."""

import json

import pytest
import torch

from fervt_lib import benchmark
from fervt_lib.benchmark import RUNGS, BareCNN, Bench, ratios


def test_the_command_writes_a_row_for_each_rung_and_the_ratios_of_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(benchmark.STEPS, "cpu", 1)
    monkeypatch.setitem(benchmark.MATMUL, "cpu", 64)
    monkeypatch.setitem(benchmark.BATCHES, "cpu", {"tiny": 2})
    benchmark.benchmark(tmp_path / "out.json", presets=("tiny",))
    facts = json.loads((tmp_path / "out.json").read_text())
    rows = [row for row in facts["rows"] if row["model"] == "tiny"]
    assert [row["rung"] for row in rows] == list(RUNGS)
    is_cuda = torch.cuda.is_available()
    assert all(row["ms"] > 0 and row["faces/s"] > 0 for row in rows[: None if is_cuda else -1])
    assert is_cuda or rows[-1]["why not"] == "only CUDA captures steps"
    assert set(facts["ratios"]) == {"tiny / bare CNN of tiny"} and facts["matmul FLOP/s"] > 0
    printed = capsys.readouterr().out
    assert all(rung in printed for rung in RUNGS) and facts["device"] in printed


def test_flops_are_three_times_those_of_the_way_forward():
    model = BareCNN("tiny")
    flops = Bench(torch.device("cpu")).flops(model, 2)
    convolutions = [part for part in model.modules() if isinstance(part, torch.nn.Conv2d)]
    sides = {}
    hooks = [c.register_forward_hook(lambda part, _, y: sides.update({part: y.shape[-1]})) for c in convolutions]
    model(torch.rand(2, 3, 48, 48))
    forward = sum(2 * 2 * sides[c] ** 2 * c.weight.numel() for c in convolutions)
    assert hooks and 2.8 * forward < flops < 3.05 * forward


def test_ratios_take_the_best_rung_of_each():
    rows = [{"model": "a", "rung": "no waits", "ms": 3.0}, {"model": "a", "rung": "captured", "ms": 2.0}]
    rows += [{"model": "a", "rung": "float32", "ms": 1.0}, {"model": "bare CNN of a", "rung": "no waits", "ms": 4.0}]
    assert ratios([*rows, {"model": "b", "rung": "captured", "why not": "no"}]) == {
        "a / bare CNN of a": pytest.approx(0.5)
    }
