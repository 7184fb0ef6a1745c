"""The strokes and areas that a face is made of, in face coordinates."""

import numpy as np

Points = np.ndarray  # (k, 2) float64, x and y
Color = np.ndarray | tuple[float, float, float]  # red, green, blue, 0-255
Shape = tuple[Points, Color]

STEPS = np.linspace(0, 1, 9)[:, None]
ANGLES = np.linspace(0, 2 * np.pi, 28, endpoint=False)
CIRCLE = np.stack((np.cos(ANGLES), np.sin(ANGLES)), 1)
ACROSS = np.linspace(-1, 1, 21)  # along a lid or a lip, corner to corner
ARCH = 1 - ACROSS**2


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """`(28, 2)` points around the center (x, y)."""
    return CIRCLE * (rx, ry) + (x, y)


def curve(start: tuple, end: tuple, bend: tuple = (0, 0), side: int = 1) -> Points:
    """`(9, 2)` points from start to end, the middle pushed aside by `bend`; side -1 is the mirror image."""
    line = np.asarray(start) * (1 - STEPS) + np.asarray(end) * STEPS + np.asarray(bend) * (4 * STEPS * (1 - STEPS))
    return line * (side, 1)


def stroke(line: Points, width: float, tip: float = 0.25) -> Points:
    """The outline of a brush stroke along a line: full width in the middle, `tip` times the width at its ends."""
    along = np.concatenate((line[1:2] - line[:1], line[2:] - line[:-2], line[-1:] - line[-2:-1]))
    along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
    half = width / 2 * (tip + (1 - tip) * np.sin(np.linspace(0, np.pi, len(line))))[:, None]
    aside = along[:, ::-1] * (-1, 1) * half
    return np.concatenate((line + aside, (line - aside)[::-1]))


def band(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> Points:
    """The area between two curves over the same x."""
    return np.concatenate((np.stack((x, top), 1), np.stack((x, bottom), 1)[::-1]))


def mix(a: Color, b: Color, share: float) -> Color:
    """Color a with a share of color b in it."""
    return a + (np.asarray(b) - a) * share


def crease(line: Points, skin: Color, strength: float, width: float = 0.028) -> list[Shape]:
    """A crease in the skin, darker as its unit pulls harder; none up to a strength of 0.1."""
    return [(stroke(line, width), mix(skin, skin * 0.45, strength))] if strength > 0.1 else []
