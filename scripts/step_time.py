"""Training step time of the compact preset against its own bare CNN, taken in turn in one run.

Both see the same augmented faces, in the precision that training chooses; the median of each is printed.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervt_lib.ablation import make
from fervt_lib.data import Augment, load
from fervt_lib.model import fervt_compact
from fervt_lib.training import choose_precision, to_model_input

BATCH, STEPS = 128, 20


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """Seconds that one whole step takes, augmentation and optimiser included."""
    start = time.perf_counter()
    x = to_model_input(Augment()(images, torch.Generator().manual_seed(0)), 48)
    with torch.autocast("cpu", torch.bfloat16, enabled=choose_precision("auto") == "bf16"):
        logits = model(x)
    F.cross_entropy(logits.float(), labels).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    torch.manual_seed(0)
    faces = load("drawn", "train", count=BATCH)
    models = {"compact": fervt_compact(), "bare CNN": make("bare_cnn", "compact")}
    models = {name: model.to(memory_format=torch.channels_last) for name, model in models.items()}
    optimizers = {name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in models.items()}
    seconds = {name: [] for name in models}
    for _ in range(STEPS + 2):
        for name, model in models.items():
            seconds[name].append(step(model, optimizers[name], faces.images, faces.labels))
    medians = {name: statistics.median(values[2:]) for name, values in seconds.items()}  # the first two warm up
    for name, median in medians.items():
        print(f"{name}: {1000 * median:.0f} ms a step of {BATCH}, {BATCH / median:.0f} faces/s")
    print(f"ratio: {medians['compact'] / medians['bare CNN']:.2f}")


if __name__ == "__main__":
    main()
