"""Arrays to pictures: numpy for what a slider redraws, matplotlib for figures that stand still."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from torch import Tensor

HEAT = "viridis"
"""The colour map of all heat maps: even in lightness and safe for colour-blind readers."""


def use_style() -> None:
    """One look for all figures of the course; called once at the top of a notebook."""
    plt.rcParams.update(
        {
            "figure.figsize": (8, 3.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.cmap": HEAT,
            "image.interpolation": "nearest",
            "axes.prop_cycle": mpl.cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]),
        }
    )


def to_rgb(face: Tensor | np.ndarray) -> np.ndarray:
    """A face `(1 or 3, h, w)`, uint8 or float in [0, 1], as `(h, w, 3)` uint8."""
    face = np.asarray(face)
    if face.dtype != np.uint8:
        face = (face.clip(0, 1) * 255).round().astype(np.uint8)
    return np.broadcast_to(face.transpose(1, 2, 0), (*face.shape[1:], 3)).copy()


def heat_rgb(
    values: Tensor | np.ndarray, low: float | None = None, high: float | None = None, cmap: str = HEAT
) -> np.ndarray:
    """Values `(h, w)` as colours `(h, w, 3)` uint8; low and high default to the smallest and the largest value."""
    values = np.asarray(values, dtype=np.float64)
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    unit = (values - low) / max(high - low, 1e-12)
    return mpl.colormaps[cmap](unit.clip(0, 1), bytes=True)[..., :3]


def enlarge(picture: np.ndarray, side: int, smooth: bool = False) -> np.ndarray:
    """A picture `(h, w, 3)` uint8 at `side` pixels of height; `smooth` blends, else each pixel becomes a square."""
    width = round(side * picture.shape[1] / picture.shape[0])
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((width, side), how))


def overlay(face: np.ndarray, heat: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """A heat picture laid over a face, both `(h, w, 3)` uint8; opacity 0 shows the face alone, 1 the heat alone."""
    return ((1 - opacity) * face + opacity * heat).round().astype(np.uint8)


def beside(*pictures: np.ndarray, gap: int = 12) -> np.ndarray:
    """Pictures `(h, w, 3)` of one height in a row, with a white gap."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=1)


def show_pictures(pictures: list, titles: list[str] | None = None, columns: int = 8, size: float = 1.25) -> None:
    """A sheet of pictures, each `(h, w, 3)` or `(h, w)`, with titles; `size` is inches per picture."""
    rows = -(-len(pictures) // columns)
    extra = 0.3 if titles else 0
    _, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * (size + extra)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, picture in enumerate(pictures):
        axes.flat[i].imshow(picture)
        if titles:
            axes.flat[i].set_title(titles[i], fontsize=10)
    plt.show()


def show_matrix(values: Tensor | np.ndarray, rows: list[str], columns: list[str], title: str, digits: int = 2) -> None:
    """A matrix as coloured cells with its numbers: confusion, attention, correlations."""
    values = np.asarray(values)
    _, axis = plt.subplots(figsize=(1.6 + 0.75 * len(columns), 1.2 + 0.45 * len(rows)))
    axis.imshow(values, aspect="auto")
    middle = (values.min() + values.max()) / 2
    for (i, j), value in np.ndenumerate(values):
        axis.text(
            j,
            i,
            f"{value:.{digits}f}",
            ha="center",
            va="center",
            color="black" if value > middle else "white",
            fontsize=9,
        )
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_title(title)
    plt.show()
