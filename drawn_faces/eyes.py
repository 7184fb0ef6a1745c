"""Eyes, brows and the creases of the forehead."""

import numpy as np

from .expressions import Pulls
from .people import Person
from .shapes import ACROSS, ARCH, Shape, band, crease, curve, ellipse, mix, stroke


def eye(person: Person, pull: Pulls, side: int, gaze: float) -> list[Shape]:
    """One eye, back to front."""
    upper, lower = _lids(person, pull)
    x = side * (person.eye_x + person.eye_w * ACROSS)
    return [
        (stroke(np.stack((x, upper - 0.045), 1)[2:-2], 0.02), person.skin * 0.72),
        (band(x, upper, lower), (246, 243, 238)),
        *_iris(person, x, upper, lower, side, gaze),
        (stroke(np.stack((x, upper), 1), 0.045, 0.4), (36, 26, 24)),
        (stroke(np.stack((x, lower), 1), 0.022), person.skin * 0.5),
    ]


def _lids(person: Person, pull: Pulls) -> tuple[np.ndarray, np.ndarray]:
    """`(21,)` y of the upper and the lower lid, from the inner corner to the outer one."""
    raised, cheek, tight, oblique = pull[5], pull[6], pull[7], pull[1] * (1 - pull[2])
    upper = person.eye_h * (1 + 0.65 * raised - 0.1 * cheek - 0.3 * tight)
    lower = person.eye_h * (0.65 + 0.15 * raised - 1.0 * cheek - 0.45 * tight)
    tilt = 0.035 * oblique * ACROSS
    return person.eye_y - upper * ARCH**0.8 + tilt, person.eye_y + lower * ARCH**0.9 + tilt


def _iris(person: Person, x: np.ndarray, upper: np.ndarray, lower: np.ndarray, side: int, gaze: float) -> list[Shape]:
    """Iris, pupil and glint, cut off where the lids cover them."""
    center, radius = side * person.eye_x + gaze * person.eye_w, 0.085
    shapes = []
    for r, color in ((radius, person.iris), (radius * 0.52, (16, 14, 14))):
        disc = ellipse(center, person.eye_y - 0.015, r, r)
        top, bottom = (np.interp(disc[:, 0], x[::side], lid[::side]) for lid in (upper, lower))
        disc[:, 1] = np.clip(disc[:, 1], top, np.maximum(top, bottom))
        shapes.append((disc, color))
    glint = ellipse(center - 0.03, max(person.eye_y - 0.045, upper.min() + 0.035), 0.018, 0.018)
    return [*shapes, (glint, (255, 255, 255))]


def brow(person: Person, pull: Pulls, side: int) -> list[Shape]:
    """One brow and the creases above and beside it."""
    inner_up, outer_up, low, nose = pull[1], pull[2], pull[4], pull[9]
    base, drop = person.eye_y - person.brow_gap, 0.12 * low * (1 - 0.9 * inner_up)
    inner = person.eye_x - 0.19 - 0.05 * low, base + 0.02 - 0.13 * inner_up + drop + 0.07 * nose
    middle = person.eye_x + 0.03, base - 0.045 - 0.02 * inner_up - 0.1 * outer_up + 0.5 * drop + 0.02 * nose
    outer = person.eye_x + 0.23, base + 0.03 - 0.10 * outer_up + 0.04 * inner_up * (1 - outer_up) - 0.02 * low
    bend = np.asarray(middle) - (np.asarray(inner) + outer) / 2
    hairs = stroke(curve(inner, outer, bend, side), person.brow_w, 0.45)
    return [*_forehead(person, pull, side, base), (hairs, mix(person.hair * 0.75, person.skin * 0.4, 0.2))]


def _forehead(person: Person, pull: Pulls, side: int, base: float) -> list[Shape]:
    """Creases across the forehead (AU 1 in the middle, AU 2 at the side) and upright ones between the brows (AU 4)."""
    shapes, x, skin = [], person.eye_x, person.skin
    for y in (base - 0.17, base - 0.25):
        shapes += crease(curve((0, y - 0.01), (x - 0.06, y), (0, -0.01), side), skin, 0.6 * pull[1], 0.022)
        shapes += crease(curve((x - 0.04, y), (x + 0.2, y + 0.03), (0, -0.02), side), skin, 0.6 * pull[2], 0.022)
    upright = curve((0.06, base - 0.04), (0.045, base + 0.13), (-0.015, 0), side)
    return shapes + crease(upright, skin, 0.8 * pull[4], 0.03)
