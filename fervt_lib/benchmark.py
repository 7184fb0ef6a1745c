"""How fast a training step runs on this device, rung by rung, and how well it uses the device: `fervt benchmark`."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet34

from .data import Augment, Faces, to_distribution
from .disk import write_json
from .engine import Engine, to_model_input
from .model import PRESETS
from .training import Recipe, choose_precision

STEPS = {"cpu": 3, "cuda": 5, "mps": 5}  # bursts for the median; half as many more warm up first
BURST = {"cpu": 1, "cuda": 10, "mps": 5}  # steps between two waits for the device, so that Python can run ahead
BATCHES = {
    "cpu": {"compact": 32, "tiny": 32, "paper": 2, "wide": 8},
    "cuda": {"compact": 256, "tiny": 256, "paper": 128, "wide": 256},
}
MATMUL = {"cpu": 2048, "cuda": 8192, "mps": 4096}  # side of the square matrices in the speed test
RUNGS = ("float32", "bf16", "channels_last", "faces on the device", "no waits", "captured")


class BareCNN(nn.Module):
    """The baseline for FER-VT: a preset's backbone, the mean of its last map, and a linear layer."""

    def __init__(self, preset: str):
        super().__init__()
        model = PRESETS[preset]()
        self.backbone, self.side = model.backbone, model.side
        self.head = nn.Linear(self.backbone.channels[-1], 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x)[-1].mean(dim=(2, 3)))


def at_side(model: nn.Module, side: int) -> nn.Module:
    """Set the size of a model's faces to side² pixels."""
    model.side = side
    return model


@dataclass
class Bench:
    """Measures steps on one device."""

    device: torch.device

    def __post_init__(self):
        self.steps = STEPS.get(self.device.type, 10)
        self.precision = "bf16" if choose_precision("auto") == "bf16" else "no"

    def wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def median_ms(self, step: Callable[[], object]) -> float:
        """Median milliseconds per step; we wait for the device before and after each burst of steps."""
        burst, times = BURST.get(self.device.type, 10), []
        for _ in range(self.steps + self.steps // 2):
            self.wait()
            start = time.perf_counter()
            for _ in range(burst):
                step()
            self.wait()
            times.append(1000 * (time.perf_counter() - start) / burst)
        return sorted(times[self.steps // 2 :])[self.steps // 2]

    def matmul_rate(self) -> float:
        """FLOP/s of a large matrix product in the precision that training uses."""
        n, dtype = MATMUL.get(self.device.type, 4096), torch.bfloat16 if self.precision == "bf16" else torch.float32
        a, b = (torch.randn(n, n, device=self.device, dtype=dtype) for _ in range(2))
        return 2 * n**3 / (self.median_ms(lambda: a @ b) / 1000)

    def plain_step(self, model: nn.Module, batch: int, rung: str) -> Callable[[], None]:
        """A step of the loop you would write first, improved rung by rung; each step reads the loss."""
        height = RUNGS.index(rung)
        layout = torch.channels_last if height >= 2 else torch.contiguous_format
        model = model.to(self.device, memory_format=layout).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        faces, augment = made_up_faces(batch, model.side), Augment()
        images, votes = (part.to(self.device if height >= 3 else "cpu") for part in faces[:])
        precise = self.precision == "no" or height < 1

        def step() -> None:
            x = augment(images.to(self.device), torch.Generator().manual_seed(0))
            x = to_model_input(x, model.side).contiguous(memory_format=layout)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=not precise):
                loss = F.cross_entropy(model(x).float(), to_distribution(votes.to(self.device)))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

        return step

    def engine_step(self, model: nn.Module, batch: int, capture: bool) -> Callable[[], None] | str:
        """A step of the library's own loop, or the reason why we cannot capture it."""
        AcceleratorState._reset_state()
        accelerator = Accelerator(mixed_precision=self.precision, cpu=self.device.type == "cpu")
        recipe = Recipe(dataset="made up", batch_size=batch, epochs=10**4, precision=self.precision)
        faces = made_up_faces(batch, model.side)
        model = model.to(accelerator.device, memory_format=torch.channels_last).train()
        engine = Engine(recipe, accelerator, model, faces, torch.arange(batch), Augment())
        if capture and not engine.why_plain:
            engine._capture()
        if capture and engine.why_plain:
            return engine.why_plain
        draws = engine.augment.draw(batch, torch.Generator().manual_seed(0)).to(self.device)
        pair = next(iter(engine._batches(torch.arange(batch)[None])))
        return lambda: engine._step(*pair, draws)

    def flops(self, model: nn.Module, batch: int) -> int:
        """FLOPs of the matrix products and convolutions in one step, forward and backward."""
        model = model.to(self.device).train()
        with FlopCounterMode(display=False) as counter:
            model(torch.rand(batch, 3, model.side, model.side, device=self.device)).sum().backward()
        return counter.get_total_flops()

    def row(self, name: str, build: Callable[[], nn.Module], batch: int, rung: str, rate: float) -> dict:
        """One row of the table."""
        row = {"model": name, "side": build().side, "batch": batch, "rung": rung}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        is_engine = rung in RUNGS[4:]
        step = self.engine_step(build(), batch, rung == "captured") if is_engine else None
        step = step or self.plain_step(build(), batch, rung)
        if isinstance(step, str):
            return row | {"why not": step}
        ms = self.median_ms(step)
        row |= {"ms": round(ms, 2), "faces/s": round(1000 * batch / ms)}
        row["utilisation"] = round(self.flops(build(), batch) / (ms / 1000) / rate, 3)
        if self.device.type == "cuda":
            row["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return row


def made_up_faces(count: int, side: int) -> Faces:
    """Random noise with votes; a step takes as long on it as on real faces."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)
    raw_votes = torch.randint(1, 4, (count, 10), dtype=torch.uint8, generator=generator)
    return Faces(images, raw_votes[:, :8], raw_votes, torch.arange(count), "made up")


def benchmark(
    out: Path = Path("benchmark.json"),
    presets: tuple[Literal["compact", "tiny", "paper", "wide"], ...] = ("compact", "paper"),
    scaling: bool = False,
) -> None:
    """Measure a training step on this device, rung by rung, and write one JSON file.

    We start with a plain loop in float32. The next rungs are bfloat16, channels_last, faces on the device, the
    library's loop, which never waits, and that loop's step captured in a CUDA graph. For comparison, the same run
    trains the bare CNN and torchvision's ResNet-34 with the library's loop. Utilization is the share of the speed that
    the device reaches in a large matrix product.

    Args:
        out: the JSON file to write
        presets: the model sizes to measure
        scaling: also measure other batch sizes and image sizes
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    bench = Bench(device)
    rate, rows = bench.matmul_rate(), []
    batches = BATCHES.get(device.type, BATCHES["cpu"])
    last = RUNGS[4]
    for preset in presets:
        rows += [bench.row(preset, PRESETS[preset], batches[preset], rung, rate) for rung in RUNGS]
        rivals = {"bare CNN": partial(BareCNN, preset)}
        if preset == "paper":
            rivals["ResNet-34"] = lambda: at_side(resnet34(num_classes=8), 224)
        for name, build in rivals.items():
            rows += [bench.row(f"{name} of {preset}", build, batches[preset], rung, rate) for rung in (last, RUNGS[5])]
    if scaling:
        for factor in (1, 2, 4, 8):
            rows.append(bench.row("compact", PRESETS["compact"], batches["compact"] * factor // 2, last, rate))
            side = 48 * factor
            rows.append(bench.row("compact", lambda side=side: at_side(PRESETS["compact"](), side), 16, last, rate))
    facts = {"device": device_name(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    facts |= {"precision": bench.precision, "matmul FLOP/s": round(rate), "rows": rows, "ratios": ratios(rows)}
    write_json(out, facts)
    print(f"{facts['device']}, torch {facts['torch']}: {rate / 1e12:.2f} TFLOP/s in a matrix product")
    print(pd.DataFrame(rows).astype(object).fillna("").to_string(index=False))
    print("\n".join(f"{name}: {ratio}" for name, ratio in facts["ratios"].items()), f"written: {out}", sep="\n")


def ratios(rows: list[dict]) -> dict[str, float]:
    """The time of a preset's best step, divided by that of each rival in the same run."""
    best = {}
    for row in rows:
        if "ms" in row and row["rung"] in RUNGS[4:]:
            best[row["model"]] = min(row["ms"], best.get(row["model"], row["ms"]))
    pairs = [(name, rival) for name in best for rival in best if rival.endswith(f" of {name}")]
    return {f"{name} / {rival}": round(best[name] / best[rival], 2) for name, rival in pairs}


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
