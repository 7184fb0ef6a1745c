"""Runs first in every kernel of these tests: a figure with hard-to-read words makes its cell fail."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.text import Text

from fervt_lib import plots

LEAST = 4.5  # WCAG 2.2, level AA, for text of normal size
SHOW = plots.show


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of colors `(..., 3)` in [0, 1], as WCAG defines it."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Contrast ratio, from 1 (no difference) to 21 (black on white)."""
    low, high = np.sort([one, other], axis=0)
    return (high + 0.05) / (low + 0.05)


def faint_words(figure: plt.Figure) -> list[str]:
    """A figure's texts that have too little contrast with more than a fifth of the pixels behind them."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    colours = [plt.matplotlib.colors.to_rgb(text.get_color()) for text in texts]
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts]
    for text in texts:
        text.set_alpha(0)
    figure.canvas.draw()
    behind = luminance(np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255)
    for text in texts:
        text.set_alpha(1)
    faint = []
    for text, colour, box in zip(texts, colours, boxes, strict=True):
        left, right = (int(max(0, at)) for at in (box.x0, box.x1))
        bottom, top = (len(behind) - int(max(0, at)) for at in (box.y0, box.y1))
        part = behind[max(0, top) : bottom + 1, left : right + 1]
        ink = np.full(part.shape, luminance(np.array(colour)))
        if part.size and (contrast(part, ink) < LEAST).mean() > 0.2:
            faint.append(text.get_text())
    return faint


def show(alt: str) -> None:
    """Does what `plots.show` does, but only for readable figures."""
    if words := faint_words(plt.gcf()):
        raise ValueError(f"hard to read on what is behind them: {words}")
    SHOW(alt)


plots.show = show
