"""From shapes to pixels: pose, paint, light, blur and noise; and the masks of the action units."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .expressions import ACTION_UNITS, SIDES, Strengths
from .people import Person, Shot
from .shapes import Points, Shape, ellipse

ZOOM = 0.47  # a face 2 units high fills 0.94 of the picture's height


def take_picture(image: np.ndarray, shapes: list[Shape], person: Person, shot: Shot, rng: np.random.Generator) -> None:
    """Fill `image` `(size, size, channels)` uint8 with the shapes as the camera sees them."""
    size, _, channels = image.shape
    picture = _paint(shapes, person, shot, size)
    if shot.blur > 0:
        picture = picture.filter(ImageFilter.GaussianBlur(shot.blur * size / 48))
    if channels == 1:
        picture = picture.convert("L")
    pixels = np.asarray(picture, np.float32).reshape(image.shape) * _shading(person, shot, size)[:, :, None]
    pixels = (pixels - 128) * shot.contrast + 128 + shot.brightness
    image[:] = np.clip(pixels + shot.noise * rng.standard_normal(image.shape, np.float32), 0, 255)


def _pose(points: Points, person: Person, shot: Shot, size: int) -> Points:
    """Face coordinates → pixels. Yaw moves what is near the viewer sideways; then turn, scale and shift."""
    x, y = points[:, 0], points[:, 1]
    depth = 0.55 * np.maximum(1 - (x / person.width) ** 2 - 0.3 * y**2, -0.3)
    x = x * np.cos(shot.yaw) + depth * np.sin(shot.yaw)
    cos, sin = np.cos(shot.turn), np.sin(shot.turn)
    turned = np.stack((x * cos - y * sin, x * sin + y * cos), 1)
    return size * (0.5 + ZOOM * shot.scale * (turned + shot.shift))


def _paint(shapes: list[Shape], person: Person, shot: Shot, size: int) -> Image.Image:
    """An RGB picture, painted larger and then averaged down, so that edges are smooth."""
    larger = 4 if size <= 96 else 2
    posed = _pose(np.concatenate([points for points, _ in shapes]), person, shot, size * larger)
    pieces = np.split(posed, np.cumsum([len(points) for points, _ in shapes])[:-1])
    colors = np.clip([shot.background, *(color for _, color in shapes)], 0, 255).astype(int).tolist()
    canvas = Image.new("RGB", (size * larger, size * larger), tuple(colors[0]))
    pen = ImageDraw.Draw(canvas)
    for piece, color in zip(pieces, colors[1:], strict=True):
        pen.polygon(piece.ravel().tolist(), fill=tuple(color))
    return canvas.reduce(larger)


def _shading(person: Person, shot: Shot, size: int) -> np.ndarray:
    """`(size, size)` float32 around 1: how much light falls on the head, modeled as an egg."""
    steps = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) / (ZOOM * shot.scale)
    x = (steps - shot.shift[0])[None, :] / (person.width * 1.15)
    y = (steps - shot.shift[1])[:, None] / 1.2
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0.08))
    light = shot.light / np.linalg.norm(shot.light)
    return (0.62 + 0.5 * np.maximum(light[0] * x + light[1] * y + light[2] * z, 0)).astype(np.float32)


def fill_masks(masks: np.ndarray, person: Person, strengths: Strengths, shot: Shot) -> None:
    """Draw the regions of the active units into `masks` `(n_units, size, size)` bool."""
    size = masks.shape[-1]
    for mask, unit in zip(masks, ACTION_UNITS, strict=True):
        canvas = Image.new("1", (size, size))
        pen = ImageDraw.Draw(canvas)
        for side in SIDES:
            if strengths[side][unit] > 0:
                pen.polygon(_pose(_region(unit, person, side), person, shot, size).ravel().tolist(), fill=1)
        mask[:] = np.asarray(canvas)


def _region(unit: int, person: Person, side: int) -> Points:
    """The part of one side of the face that a unit changes at any strength, both before and after the change."""
    x, y, w = person.eye_x, person.eye_y, person.eye_w
    brow, lips, corner = y - person.brow_gap, person.mouth_y, person.mouth_w
    center_and_radii = {
        1: (x - 0.18, brow - 0.08, 0.25, 0.23),  # inner brow raiser
        2: (x + 0.08, brow - 0.11, 0.22, 0.22),  # outer brow raiser
        4: (x - 0.11, brow + 0.03, 0.32, 0.17),  # brow lowerer
        5: (x, y - 0.06, w + 0.04, 0.16),  # upper lid raiser
        6: (x + 0.06, y + 0.1, w + 0.11, 0.26),  # cheek raiser
        7: (x, y, w + 0.04, 0.14),  # lid tightener
        9: (0.12, person.nose_y - 0.08, 0.32, 0.46),  # nose wrinkler
        12: (corner - 0.04, lips - 0.03, 0.26, 0.25),  # lip corner puller
        14: (corner + 0.06, lips - 0.07, 0.17, 0.17),  # dimpler
        15: (corner - 0.14, lips + 0.06, 0.34, 0.23),  # lip corner depressor
        16: (0.12, lips + 0.12, corner, 0.24),  # lower lip depressor
        20: (corner - 0.02, lips + 0.06, 0.3, 0.2),  # lip stretcher
        23: (0.1, lips + 0.02, corner - 0.02, 0.14),  # lip tightener
        26: (0.1, lips + 0.24, corner + 0.16, 0.38),  # jaw drop
    }
    px, py, rx, ry = center_and_radii[unit]
    return ellipse(side * px, py, rx, ry)
