"""Faces drawn by code from FACS action units: always there, and the true region of every unit is known.

Geometry is in face units: the face is centred on (0, 0), about 1 wide to each side, y pointing down.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from .faces import Faces
from .labels import EXPRESSIONS

UNITS_OF = {
    "neutral": (),
    "happiness": (6, 12),
    "surprise": (1, 2, 5, 26),
    "sadness": (1, 4, 15),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "contempt": (12, 14),
}
"""Action units of each expression (FACS, Ekman and Friesen); contempt's are on one side of the face only."""

ACTION_UNITS = tuple(sorted({unit for units in UNITS_OF.values() for unit in units}))
COUNTS = {"train": 4000, "validation": 800, "test": 800}
IDENTITIES = 60  # per split; no split shares one
OVERSAMPLING = 4


@dataclass(frozen=True)
class DrawnFaces(Faces):
    """Drawn faces with their truth.

    Attributes:
        units: `(n, 13)` bool, the action units at work, in the order of `ACTION_UNITS`.
        masks: `(n, 13, h, w)` bool, the region that each unit at work changes; empty for the others.
        identities: `(n,)` int64, who is drawn.
    """

    units: Tensor
    masks: Tensor
    identities: Tensor


@dataclass(frozen=True)
class Sketch:
    """One face before it is drawn: who, which units how strongly on which side, and how it is seen."""

    identity: int
    strength: dict[int, float]
    sides: tuple[int, ...]  # -1 and 1, or one of them: where AU 12 and 14 act
    turn: float  # radians
    size: float
    shift: tuple[float, float]
    yaw: float  # inner features move sideways by this much


def load_drawn(
    split: str = "train", *, count: int | None = None, size: int = 48, color: bool = False, seed: int = 0
) -> DrawnFaces:
    """Draw a split. Face i is the same whatever `count` is; its expression is number i mod 8.

    Args:
        split: "train", "validation" or "test"; they share no identity.
        count: number of faces; None means 4,000 / 800 / 800.
        size: height and width in pixels, at least 24.
        color: 3 channels instead of 1.
        seed: another seed gives other people and other pictures.

    Raises:
        ValueError: an argument is outside these.
    """
    if split not in COUNTS:
        raise ValueError(f"split {split!r}: the drawn faces have {', '.join(COUNTS)}")
    count = COUNTS[split] if count is None else count
    if size < 24 or count < 1:
        raise ValueError(f"size {size}, count {count}: size must be at least 24 pixels and count at least 1")
    number = list(COUNTS).index(split)
    drawn = [_draw(seed, number, i, size, color) for i in range(count)]
    images, masks, units, identities = (np.stack(part) for part in zip(*drawn, strict=True))
    raw_votes = torch.zeros(count, 10, dtype=torch.uint8)
    raw_votes[torch.arange(count), torch.arange(count) % 8] = 10
    return DrawnFaces(
        images=torch.from_numpy(images),
        votes=raw_votes[:, :8].clone(),
        raw_votes=raw_votes,
        rows=torch.arange(count),
        protocol="drawn",
        units=torch.from_numpy(units),
        masks=torch.from_numpy(masks),
        identities=torch.from_numpy(identities),
    )


def _draw(seed: int, split: int, index: int, size: int, color: bool) -> tuple[np.ndarray, ...]:
    """One face: picture `(c, h, w)` uint8, masks `(13, h, w)`, units `(13,)`, identity."""
    rng = np.random.default_rng([seed, split, index])
    sketch = _sketch(rng, EXPRESSIONS[index % 8], split)
    picture = _Canvas(sketch, seed, size).picture()
    picture = _camera(picture, rng, size)
    if not color:
        picture = np.round(picture @ [0.299, 0.587, 0.114])[..., None]
    masks = _masks(sketch, size)
    units = np.array([unit in sketch.strength for unit in ACTION_UNITS])
    return picture.transpose(2, 0, 1).astype(np.uint8), masks, units, np.int64(sketch.identity)


def _sketch(rng: np.random.Generator, expression: str, split: int) -> Sketch:
    base = rng.uniform(0.55, 1.0)
    one_side = (int(rng.choice([-1, 1])),)
    return Sketch(
        identity=int(rng.integers(IDENTITIES)) + IDENTITIES * split,
        strength={unit: float(np.clip(base + rng.normal(0, 0.08), 0.45, 1)) for unit in UNITS_OF[expression]},
        sides=one_side if expression == "contempt" else (-1, 1),
        turn=float(rng.normal(0, 0.09)),
        size=float(rng.uniform(0.9, 1.08)),
        shift=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
        yaw=float(rng.normal(0, 0.05)),
    )


def _to_pixels(points: np.ndarray, sketch: Sketch, side: int) -> list[tuple[float, float]]:
    """Face units `(k, 2)` to pixels of a square picture, after turn, size and shift."""
    cos, sin = math.cos(sketch.turn) * sketch.size, math.sin(sketch.turn) * sketch.size
    turned = points @ np.array([[cos, sin], [-sin, cos]]) + np.array(sketch.shift)
    return [tuple(p) for p in (turned * 0.39 + 0.52) * side]


def _ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def _curve(*points: tuple[float, float]) -> np.ndarray:
    """A smooth curve through three points: (14, 2)."""
    (a, b, c), t = np.array(points, float), np.linspace(0, 1, 14)[:, None]
    middle = 2 * b - (a + c) / 2  # the control point that makes the curve pass through b
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * middle + t**2 * c


class _Canvas:
    """Draws one sketch, enlarged by OVERSAMPLING; every method paints one part of the face."""

    def __init__(self, sketch: Sketch, seed: int, size: int):
        self.sketch, self.side = sketch, size * OVERSAMPLING
        who = np.random.default_rng([seed, 77, sketch.identity])
        tone, hair = who.uniform(0, 1), who.uniform(0, 1)
        self.skin = np.array([112, 74, 54]) * (1 - tone) + np.array([240, 204, 178]) * tone
        self.hair = np.array([36, 26, 22]) * (1 - hair) + np.array([176, 130, 78]) * hair
        self.width, self.jaw = who.uniform(0.78, 0.9), who.uniform(0.98, 1.1)
        self.eyes, self.eye_size = who.uniform(0.34, 0.41), who.uniform(0.15, 0.18)
        self.brow_weight, self.mouth_width = who.uniform(0.05, 0.085), who.uniform(0.3, 0.37)
        self.fringe, self.long_hair = who.uniform(-0.75, -0.52), who.uniform() < 0.4
        back = who.integers(60, 200, 3)
        self.image = Image.new("RGB", (self.side, self.side), tuple(int(c) for c in back))
        self.pen = ImageDraw.Draw(self.image)

    def au(self, unit: int) -> float:
        return self.sketch.strength.get(unit, 0.0)

    def picture(self) -> Image.Image:
        self.head()
        for side in (-1, 1):
            self.cheek(side)
            self.eye(side)
            self.brow(side)
        self.nose()
        self.mouth()
        return self.image

    def fill(self, points: np.ndarray, color: np.ndarray) -> None:
        self.pen.polygon(_to_pixels(points, self.sketch, self.side), fill=_rgb(color))

    def stroke(self, points: np.ndarray, color: np.ndarray, width: float) -> None:
        pixels = _to_pixels(points, self.sketch, self.side)
        self.pen.line(pixels, fill=_rgb(color), width=max(1, round(width * 0.39 * self.side)), joint="curve")

    def inner(self, points: np.ndarray) -> np.ndarray:
        """Inner features move sideways when the head turns."""
        return points + np.array([self.sketch.yaw, 0])

    def head(self) -> None:
        if self.long_hair:
            self.fill(_ellipse(0, -0.05, self.width + 0.16, 1.18), self.hair)
        self.fill(_ellipse(0, -0.12, self.width + 0.08, 1.02), self.hair)
        for side in (-1, 1):
            self.fill(_ellipse(side * self.width, 0.0, 0.1, 0.18), self.skin * 0.88)
        face = _ellipse(0, 0.05, self.width, 0.95)
        face[face[:, 1] > 0.05, 1] *= self.jaw + 0.06 * self.au(26)
        self.fill(face, self.skin)
        top = face[face[:, 1] < self.fringe + 0.12]
        self.fill(top, self.hair)

    def cheek(self, side: int) -> None:
        x, raised = side * 0.46, self.au(6)
        if raised:
            self.fill(self.inner(_ellipse(x, 0.2, 0.2, 0.13)), self.skin * np.array([1.04, 0.93, 0.92]))
            under_eye = _curve((x - 0.17, 0.06), (x, 0.11), (x + 0.17, 0.06))
            self.stroke(self.inner(under_eye), self.skin * 0.68, 0.03 * raised)
            for k in (-1, 1):
                out = side * np.array([0.2, 0.3]) + x
                self.stroke(self.inner(np.stack([out, [-0.1 + 0.04 * k, -0.12 + 0.1 * k]], 1)), self.skin * 0.66, 0.025)

    def eye(self, side: int) -> None:
        x, y = side * self.eyes, -0.1
        opened = self.eye_size * (0.55 + 0.6 * self.au(5) - 0.3 * self.au(6) - 0.18 * self.au(7) - 0.2 * self.au(9))
        white = self.inner(_ellipse(x, y, self.eye_size, opened))
        self.fill(white, np.array([245, 245, 240]))
        iris = min(0.085, opened * 1.05)
        self.fill(self.inner(_ellipse(x, y, 0.08, iris)), np.array([62, 48, 40]))
        self.fill(self.inner(_ellipse(x, y, 0.04, iris * 0.55)), np.array([10, 10, 10]))
        lid = _curve((x - self.eye_size, y), (x, y - opened), (x + self.eye_size, y))
        self.stroke(self.inner(lid), self.skin * 0.35, 0.035)
        if self.au(7):
            low = _curve((x - self.eye_size, y + 0.02), (x, y + opened), (x + self.eye_size, y + 0.02))
            self.stroke(self.inner(low), self.skin * 0.5, 0.03)

    def brow(self, side: int) -> None:
        inner, outer = side * 0.14, side * 0.58
        inner_y = -0.36 - 0.2 * self.au(1) + 0.19 * self.au(4) * (1 - 0.75 * (self.au(1) > 0)) + 0.1 * self.au(9)
        outer_y = -0.34 - 0.17 * self.au(2) - 0.02 * self.au(4) + 0.09 * (self.au(1) - self.au(2)) * (self.au(1) > 0)
        inner -= side * 0.05 * self.au(4)
        middle = ((inner + outer) / 2, (inner_y + outer_y) / 2 - 0.06 - 0.05 * self.au(2))
        self.stroke(
            self.inner(_curve((inner, inner_y), middle, (outer, outer_y))), self.hair * 0.6, self.brow_weight + 0.03
        )
        if self.au(4):
            fold = np.array([[side * 0.05, -0.42], [side * 0.06, -0.24]])
            self.stroke(self.inner(fold), self.skin * 0.6, 0.025)

    def nose(self) -> None:
        tip = self.inner(_curve((-0.12, 0.2), (0, 0.27), (0.12, 0.2)))
        self.stroke(self.inner(np.array([[0.03, -0.08], [0.07, 0.16]])), self.skin * 0.8, 0.03)
        self.stroke(tip, self.skin * 0.55, 0.04)
        for k in range(3 if self.au(9) else 0):
            y = -0.14 + 0.09 * k
            wrinkle = _curve((-0.12, y), (0, y - 0.05), (0.12, y))
            self.stroke(self.inner(wrinkle), self.skin * 0.55, 0.03 * self.au(9))
        for side in (-1, 1) if self.au(9) else ():
            wing = _curve((side * 0.14, 0.1), (side * 0.25, 0.18), (side * 0.34, 0.4))
            self.stroke(self.inner(wing), self.skin * 0.6, 0.03)

    def mouth(self) -> None:
        corners = {side: self.corner(side) for side in (-1, 1)}
        y = 0.52 - 0.07 * self.au(9)
        opening = 0.27 * self.au(26) * (0.55 if self.au(20) else 1) + 0.06 * self.au(12) * (len(self.sketch.sides) > 1)
        lips = (0.055 - 0.033 * self.au(23)) * (1 - 0.3 * self.au(20))
        top = _curve(corners[-1], (0, y - 0.3 * opening), corners[1])
        bottom = _curve(corners[-1], (0, y + opening + 0.09 * self.au(16)), corners[1])
        lip_color = self.skin * np.array([0.78, 0.5, 0.5])
        if opening > 0.03 or self.au(16):
            self.fill(self.inner(np.concatenate([top, bottom[::-1]])), np.array([58, 20, 24]))
            self.teeth(top, bottom, opening)
        self.stroke(self.inner(top), lip_color, lips)
        self.stroke(self.inner(bottom), lip_color, lips * 1.25)
        for side in self.sketch.sides if self.au(14) else ():
            x, cy = corners[side]
            dent = _curve((x + side * 0.06, cy - 0.1), (x + side * 0.1, cy), (x + side * 0.05, cy + 0.1))
            self.stroke(self.inner(dent), self.skin * 0.5, 0.04 * self.au(14))

    def teeth(self, top: np.ndarray, bottom: np.ndarray, opening: float) -> None:
        if self.au(12) or self.au(20) or self.au(16):
            share = 0.75 if self.au(12) else 0.45
            middle = slice(2, -2)
            edge = top[middle] * (1 - share) + bottom[middle] * share
            self.fill(self.inner(np.concatenate([top[middle], edge[::-1]])), np.array([240, 236, 226]))

    def corner(self, side: int) -> tuple[float, float]:
        """Where a lip corner is: pulled up by 12, down by 15, sideways by 20, inwards by 23 and a dropped jaw."""
        up = 0.17 * self.au(12) if side in self.sketch.sides else 0.0
        wide = self.mouth_width + 0.09 * self.au(20) + 0.5 * up - 0.06 * self.au(23)
        if self.au(26) and not self.au(20):
            wide -= 0.14 * self.au(26)
        return side * wide, 0.53 + 0.15 * self.au(15) - up + 0.08 * self.au(26) + 0.03 * self.au(20)


def _rgb(color: np.ndarray) -> tuple[int, ...]:
    return tuple(int(c) for c in np.clip(color, 0, 255))


def _camera(picture: Image.Image, rng: np.random.Generator, size: int) -> np.ndarray:
    """Occlusion, blur, light and noise; returns `(size, size, 3)` float in 0-255."""
    if rng.uniform() < 0.15:
        _occlude(picture, rng)
    small = picture.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 0.5) * size / 48))
    pixels = np.asarray(small, float)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.3) * (across * np.cos(angle) + down * np.sin(angle)) + rng.normal(0, 0.1)
    pixels = (pixels - 128) * rng.uniform(0.75, 1.1) + 128
    pixels = pixels * light[..., None] + rng.normal(0, rng.uniform(1, 7), (size, size, 1))
    return np.clip(np.round(pixels), 0, 255)


def _occlude(picture: Image.Image, rng: np.random.Generator) -> None:
    """A bar, such as a hand or a strand of hair, over a part of the picture."""
    pen, side = ImageDraw.Draw(picture), picture.width
    (x, y), length, angle = rng.uniform(0.1, 0.9, 2), rng.uniform(0.2, 0.4), rng.uniform(0, np.pi)
    end = (x + length * np.cos(angle), y + length * np.sin(angle))
    tone = int(rng.integers(30, 200))
    line = [(x * side, y * side), (end[0] * side, end[1] * side)]
    pen.line(line, (tone, tone, tone), round(rng.uniform(0.06, 0.12) * side))


def _regions(unit: int, sides: tuple[int, ...]) -> list[np.ndarray]:
    """The region of a unit as outlines in face units."""
    both = (-1, 1)
    if unit in (9, 16, 20, 23, 26):
        return {
            9: [_ellipse(0, 0.05, 0.34, 0.3)],
            16: [_ellipse(0, 0.62, 0.42, 0.2)],
            20: [_ellipse(0, 0.58, 0.56, 0.24)],
            23: [_ellipse(0, 0.53, 0.42, 0.16)],
            26: [_ellipse(0, 0.66, 0.42, 0.36)],
        }[unit]
    if unit == 4:
        return [_ellipse(0, -0.3, 0.44, 0.22)]
    x, y, rx, ry = {
        1: (0.2, -0.42, 0.24, 0.22),
        2: (0.5, -0.42, 0.22, 0.22),
        5: (0.38, -0.12, 0.24, 0.17),
        6: (0.48, 0.05, 0.3, 0.24),
        7: (0.38, -0.08, 0.24, 0.16),
        12: (0.38, 0.46, 0.24, 0.22),
        14: (0.42, 0.5, 0.18, 0.18),
        15: (0.34, 0.6, 0.22, 0.2),
    }[unit]
    return [_ellipse(side * x, y, rx, ry) for side in (sides if unit in (12, 14) else both)]


def _masks(sketch: Sketch, size: int) -> np.ndarray:
    """`(13, size, size)` bool: where each unit at work changes the face."""
    masks = np.zeros((len(ACTION_UNITS), size, size), bool)
    for unit in sketch.strength:
        image = Image.new("L", (size, size))
        for outline in _regions(unit, sketch.sides):
            moved = outline + np.array([sketch.yaw, 0])
            ImageDraw.Draw(image).polygon(_to_pixels(moved, sketch, size), fill=1)
        masks[ACTION_UNITS.index(unit)] = np.asarray(image, bool)
    return masks
