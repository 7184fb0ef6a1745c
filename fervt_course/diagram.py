"""A diagram of the model, and a strip that shows which parts a notebook is about."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from fervt_lib import plots

STAGES = {
    "face": "3 × 48 × 48",
    "grid-wise\nattention": "16 regions,\n3 weights each",
    "fusion": "3 × 48 × 48",
    "pyramid": "64 × 24 × 24\n128 × 12 × 12\n256 × 6 × 6",
    "tokens": "1 + 54 tokens\nof 192 numbers",
    "transformer": "3 layers\nof 6 heads",
    "answer": "8 logits",
}
"""The parts of the compact model in the order a face passes through them, and the shape of each part's output."""
PARTS = tuple(name.replace("\n", " ") for name in STAGES)
HERE, THERE, LINE = "#e66100", "#dfe7ee", "#555555"


def show_model(pictures: dict[str, np.ndarray] | None = None, *, alt: str) -> None:
    """Show the parts of the model from left to right, each with the shape of its output.

    Args:
        pictures: one for each part, keyed by its title: square `(h, w, 3)` uint8, shown above the part.
        alt: a description of the diagram.
    """
    top = 1.62 if pictures else 0.9
    _, axis = plt.subplots(figsize=(12, 12 * (top + (1.15 if pictures else 0.95)) / len(STAGES)))
    axis.set(xlim=(-0.5, len(STAGES) - 0.5), ylim=(-0.95, top + (0.2 if pictures else 0)), aspect="equal")
    _row(axis, set(), size=11.5, height=0.5)
    for x, shape in enumerate(STAGES.values()):
        axis.text(x, -0.36, shape, ha="center", va="top", fontsize=10.5, color="#333333")
    way = {"connectionstyle": "arc3,rad=-0.2", "arrowstyle": "-|>", "mutation_scale": 14, "color": LINE}
    axis.add_patch(FancyArrowPatch((0.1, 0.28), (1.9, 0.28), **way))
    axis.text(1, 0.49, "the face itself", ha="center", va="bottom", fontsize=10, color=LINE)
    for x, (title, picture) in enumerate((pictures or {}).items()):
        axis.text(x, top, title, ha="center", va="bottom", fontsize=9.5)
        axis.imshow(picture, extent=(x - 0.43, x + 0.43, top - 0.88, top - 0.02), zorder=3)
    axis.set_axis_off()
    plots.show(alt)


def you_are_here(*parts: str) -> None:
    """Show the model as a narrow strip and mark the parts that a notebook takes apart."""
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    _, axis = plt.subplots(figsize=(10, 0.6))
    axis.set(xlim=(-0.6, len(STAGES) - 0.4), ylim=(-0.5, 0.5))
    _row(axis, {name for name, part in zip(STAGES, PARTS, strict=True) if part in parts}, size=9, height=0.7)
    axis.set_axis_off()
    plots.show(f"The parts of the model in a row; this notebook is about: {', '.join(parts)}.")


def _row(axis: Axes, marked: set[str], size: float, height: float) -> None:
    """Draw a box for each part, with arrows between them."""
    for x, name in enumerate(STAGES):
        colour = HERE if name in marked else THERE
        box = FancyBboxPatch(
            (x - 0.4, -height / 2), 0.8, height, "round,pad=0.02,rounding_size=0.08", fc=colour, ec=LINE
        )
        axis.add_patch(box)
        axis.text(x, 0, name, ha="center", va="center", fontsize=size, color=plots.ink(colour))
        if x:
            ends = (x - 0.57, 0), (x - 0.42, 0)
            axis.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=11, color=LINE))
