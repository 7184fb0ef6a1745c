"""Turn arrays into pictures: numpy for what a slider redraws, matplotlib for static figures."""

import base64
import html
import io
import os

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

HEAT = "viridis"
"""Colormap for values of 0 or more: attention, weights, heat. Even in lightness and safe for color-blind readers."""

SIGNED = "RdBu_r"
"""Colormap for signed values, drawn from -m to m: red is evidence for, blue is evidence against, white is 0."""

ORANGE, BLUE = (230, 97, 0), (0, 114, 178)
"""Marked and unmarked parts of a picture; safe for color-blind readers next to each other and on `HEAT`."""

FONT = ImageFont.load_default(size=15)


def use_style() -> None:
    """Give all figures in the course the same look; call it once at the top of a notebook."""
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


def ink(colour: str | tuple[float, float, float]) -> str:
    """Black or white, whichever is easier to read on a matplotlib color (WCAG 2.2, relative luminance)."""
    linear = ((np.array(mpl.colors.to_rgb(colour)) + 0.055) / 1.055) ** 2.4
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.18 else "white"


def to_rgb(face: Tensor | np.ndarray) -> np.ndarray:
    """Turn a face `(1 or 3, h, w)`, uint8 or float in [0, 1], into `(h, w, 3)` uint8."""
    face = np.asarray(face)
    if face.dtype != np.uint8:
        face = (face.clip(0, 1) * 255).round().astype(np.uint8)
    return np.broadcast_to(face.transpose(1, 2, 0), (*face.shape[1:], 3)).copy()


def heat_rgb(
    values: Tensor | np.ndarray, low: float | None = None, high: float | None = None, cmap: str = HEAT
) -> np.ndarray:
    """Turn values `(h, w)` into colors `(h, w, 3)` uint8; low and high default to the smallest and largest value."""
    values = np.asarray(values, dtype=np.float64)
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    unit = (values - low) / max(high - low, 1e-12)
    return mpl.colormaps[cmap](unit.clip(0, 1), bytes=True)[..., :3]


def enlarge(picture: np.ndarray, side: int, smooth: bool = False) -> np.ndarray:
    """Resize a picture `(h, w, 3)` uint8 to height `side`; `smooth` blends pixels, otherwise each becomes a square."""
    width = round(side * picture.shape[1] / picture.shape[0])
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((width, side), how))


def overlay(face: np.ndarray, heat: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Lay a heat picture over a face, both `(h, w, 3)` uint8; opacity 0 shows only the face, 1 only the heat."""
    return ((1 - opacity) * face + opacity * heat).round().astype(np.uint8)


def beside(*pictures: np.ndarray, gap: int = 12) -> np.ndarray:
    """Put pictures `(h, w, 3)` of the same height side by side, with a white gap."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=1)


def cut_lines(picture: np.ndarray, cells: int) -> np.ndarray:
    """Draw yellow lines that cut a square picture into cells × cells parts."""
    image, step = Image.fromarray(picture), len(picture) / cells
    pen = ImageDraw.Draw(image)
    for i in range(1, cells):
        pen.line((i * step, 0, i * step, len(picture)), fill=(255, 200, 0), width=3)
        pen.line((0, i * step, len(picture), i * step), fill=(255, 200, 0), width=3)
    return np.asarray(image)


def mark_cell(picture: np.ndarray, index: int, cells: int) -> np.ndarray:
    """Frame one of the cells × cells parts of a square picture, counted row by row, in orange."""
    image, step = Image.fromarray(picture), len(picture) / cells
    top, left = (step * n for n in divmod(index, cells))
    ImageDraw.Draw(image).rectangle((left, top, left + step - 1, top + step - 1), outline=ORANGE, width=4)
    return np.asarray(image)


def outline(picture: np.ndarray, mask: Tensor | np.ndarray) -> np.ndarray:
    """Draw the border of a mask `(h, w)` of any size into a square picture, in orange."""
    inside = enlarge(to_rgb(np.asarray(mask, dtype=np.uint8)[None] * 255), len(picture))[..., 0] > 127
    padded, n = np.pad(inside, 2), len(picture)
    shifted = [padded[2 + i : 2 + i + n, 2 + j : 2 + j + n] for i in (-2, 0, 2) for j in (-2, 0, 2)]
    border = inside & ~np.all(shifted, axis=0)
    return np.where(border[..., None], np.array(ORANGE, np.uint8), picture)


def frame(picture: np.ndarray, colour: tuple[int, int, int], width: int = 3) -> np.ndarray:
    """Put a colored frame around a picture, and a thin white one around that."""
    framed = np.pad(picture, ((width + 1, width + 1), (width + 1, width + 1), (0, 0)), constant_values=255)
    framed[1:-1, 1:-1] = colour
    framed[width + 1 : -width - 1, width + 1 : -width - 1] = picture
    return framed


def caption(text: str, width: int, height: int = 28) -> np.ndarray:
    """Black text on a white strip `(height, width, 3)`; a line feed starts a new line."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((4, 4), text, fill="black", font=FONT)
    return np.asarray(image)


def bars(values: Tensor | np.ndarray, chosen: int, width: int = 320, height: int = 288) -> np.ndarray:
    """Positive values as bars below a white strip, the chosen one in orange, and their mean as a black line."""
    values, image = np.asarray(values), Image.new("RGB", (width, height), "white")
    pen, step = ImageDraw.Draw(image), width / len(values)
    unit = (height - 60) / max(values.max(), 2 * values.mean())  # pixels; the mean never rises above half of the height
    for i, value in enumerate(values):
        box = (i * step, height - unit * value, (i + 0.8) * step, height)
        pen.rectangle(box, fill=ORANGE if i == chosen else BLUE)
    mean = height - unit * values.mean()
    pen.line((0, mean, width, mean), fill="black", width=2)
    return np.asarray(image)


def shares(values: Tensor | np.ndarray, names: list[str], width: int = 320, height: int = 288) -> np.ndarray:
    """Numbers from 0 to 1 as bars with their names and percentages, the largest in orange."""
    values, step = np.asarray(values), height / len(names)
    image = Image.new("RGB", (width, height), "white")
    pen, left, room = ImageDraw.Draw(image), 92, width - 92 - 52
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        middle, end = (i + 0.5) * step, left + room * float(value)
        pen.text((left - 6, middle), name, fill="black", font=FONT, anchor="rm")
        pen.rectangle((left, middle - 0.36 * step, end, middle + 0.36 * step), ORANGE if i == values.argmax() else BLUE)
        pen.text((end + 6, middle), f"{100 * value:.0f} %", fill="black", font=FONT, anchor="lm")
    return np.asarray(image)


def show(alt: str) -> None:
    """Show the current figure in the notebook and close it.

    Args:
        alt: a description of the figure, stored with the picture for screen readers and viewers without pictures.
    """
    buffer = io.BytesIO()
    plt.gcf().savefig(buffer, format="png")
    plt.close()
    data = {"image/png": buffer.getvalue(), "text/plain": alt}
    if "JPY_SESSION_NAME" in os.environ:  # JupyterLab drops the alt text of a PNG, but not of an HTML image
        source = base64.b64encode(buffer.getvalue()).decode()
        data["text/html"] = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{source}">'
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def show_pictures(
    pictures: list, titles: list[str] | None = None, columns: int = 8, size: float = 1.25, *, alt: str
) -> None:
    """A sheet of pictures, each `(h, w, 3)` or `(h, w)`, with titles; `size` is inches per picture."""
    rows = -(-len(pictures) // columns)
    extra = 0.12 + 0.18 * max(title.count("\n") + 1 for title in titles) if titles else 0
    _, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * (size + extra)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, picture in enumerate(pictures):
        axes.flat[i].imshow(picture)
        if titles:
            axes.flat[i].set_title(titles[i], fontsize=10)
    show(alt)


def show_matrix(
    values: Tensor | np.ndarray, rows: list[str], columns: list[str], title: str, digits: int = 2, *, alt: str
) -> None:
    """A matrix as colored cells with its numbers: confusion, attention, correlations."""
    values = np.asarray(values)
    _, axis = plt.subplots(figsize=(max(3.6, 1.6 + 0.75 * len(columns)), 1.2 + 0.45 * len(rows)))
    image = axis.imshow(values, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        colour = ink(image.to_rgba(value))
        axis.text(j, i, f"{value:.{digits}f}", ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_title(title)
    show(alt)
