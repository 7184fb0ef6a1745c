"""Notebook 04's live picture of a training run: the loss curve above eight faces and the model's answers to them."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from fervt_lib import plots
from fervt_lib.data import EXPRESSIONS, Faces
from fervt_lib.training import to_model_input

SIZE, UNIT, MEAN_OF = (928, 210), 80, 15  # the curve: its size, pixels per unit of loss, steps per point


@torch.no_grad()
def answers(model: nn.Module, faces: Faces) -> Tensor:
    """The model's probabilities for faces, `(n, 8)`. Leaves the model in eval mode."""
    images = faces.images.to(next(model.parameters()).device)
    return model.eval()(to_model_input(images / 255, 48)).float().softmax(dim=1).cpu()


def draw_training(step: int, steps: int, losses: list[Tensor], seen: dict[int, Tensor], faces: Faces) -> np.ndarray:
    """Draw the run up to a step, `(382, 928, 3)` uint8; `seen` holds the answers for the eight faces, by step."""
    step = max(at for at in seen if at <= step)
    curve = Image.new("RGB", SIZE, "white")
    pen, chance = ImageDraw.Draw(curve), SIZE[1] - UNIT * np.log(8)
    pen.line((0, chance, SIZE[0], chance), fill="gray")
    means = [float(torch.stack(losses[i : i + MEAN_OF]).mean()) for i in range(0, step, MEAN_OF)]
    points = [((i + 0.5) * MEAN_OF * SIZE[0] / steps, SIZE[1] - UNIT * mean) for i, mean in enumerate(means)]
    pen.line(points, fill=plots.BLUE, width=3)
    right = int((seen[step].argmax(dim=1) == faces.labels).sum())
    loss = f"loss {means[-1]:.2f} (blue)" if means else "no loss yet"
    words = f"step {step} of {steps}, {right} of 8 right, {loss}. Gray: {np.log(8):.2f}, a model that knows nothing."
    tiles = [_tile(*each) for each in zip(faces.images, seen[step], faces.labels, strict=True)]
    return np.concatenate([plots.caption(words, SIZE[0]), np.asarray(curve), np.concatenate(tiles, axis=1)])


def _tile(image: Tensor, p: Tensor, label: Tensor) -> np.ndarray:
    framed = plots.frame(plots.enlarge(plots.to_rgb(image), 108), plots.BLUE if p.argmax() == label else plots.ORANGE)
    return np.concatenate([framed, plots.caption(f"{EXPRESSIONS[p.argmax()]} {float(p.max()):.0%}", 116)])
