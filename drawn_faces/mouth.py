"""Lips, teeth and the shadow on the chin."""

import numpy as np

from .expressions import ACTION_UNITS, SIDES, Pulls, Strengths
from .people import Person
from .shapes import ACROSS, ARCH, Shape, band, curve, mix, stroke


def mouth(person: Person, strengths: Strengths, parted: float) -> list[Shape]:
    """The mouth, back to front."""
    x, upper_out, upper_in, lower_in, lower_out = _lips(person, strengths, parted)
    pull, red, chin = strengths[1], mix(person.skin * 0.8, (176, 62, 66), 0.5), lower_out[10] + 0.07
    return [
        (band(x, upper_out, upper_in), red * 0.88),
        (band(x, lower_in, lower_out), red),
        (band(x, upper_in, lower_in), (62, 20, 24)),
        *_teeth(x, upper_in, lower_in, pull),
        (stroke(np.stack((x, upper_in), 1), 0.03 + 0.015 * pull[23], 0.7), red * 0.38),
        (stroke(curve((-0.12, chin), (0.12, chin), (0, 0.02)), 0.03), person.skin * 0.84),
    ]


def _lips(person: Person, strengths: Strengths, parted: float) -> tuple[np.ndarray, ...]:
    """`(21,)` x from left to right, and for each x the y of the four edges of the lips, from top to bottom."""
    (left, left_down), (right, right_down) = (_corner(person, strengths[side]) for side in SIDES)
    pull = {unit: min(strengths[side][unit] for side in SIDES) for unit in ACTION_UNITS}  # the pull both sides share
    middle = person.mouth_y + 0.04 * pull[12] - 0.05 * pull[15] - 0.02 * pull[9]
    line = middle + np.where(ACROSS < 0, left_down, right_down) * ACROSS**2
    gap = 0.32 * pull[26] * (1 - 0.5 * pull[20]) + 0.15 * pull[12] * parted + 0.09 * pull[16]
    opening = gap * ARCH ** (0.7 - 0.4 * pull[20])
    full = person.lip * ARCH**0.6 * (1 - 0.7 * pull[23] - 0.3 * pull[12] - 0.25 * pull[20])
    bow = 1 - 0.3 * np.exp(-((ACROSS / 0.15) ** 2))
    upper, lower = line - 0.2 * opening, line + 0.8 * opening
    x = np.where(ACROSS < 0, left, right) * ACROSS
    return x, upper - full * bow, upper, lower, lower + (1.25 + 0.6 * pull[16]) * full


def _corner(person: Person, pull: Pulls) -> tuple[float, float]:
    """A corner of the lips: how far it is from the middle of the mouth, and how far below it."""
    oval = pull[26] * (1 - pull[20])
    out = 0.08 * pull[12] + 0.13 * pull[20] - 0.06 * pull[23] - 0.10 * oval + 0.03 * pull[14] + 0.01 * pull[15]
    down = 0.15 * pull[15] - 0.16 * pull[12] + 0.04 * pull[20] - 0.03 * pull[14]
    return person.mouth_w + out, down


def _teeth(x: np.ndarray, upper: np.ndarray, lower: np.ndarray, pull: Pulls) -> list[Shape]:
    """Lower teeth where AU 16 pulls the lower lip down; upper teeth in any other open mouth, most in a smile."""
    gap = lower - upper
    if gap[10] < 0.03:
        return []
    top, bottom = upper, upper + (0.8 if pull[12] > 0 else 0.22) * gap
    if pull[16] > 0:
        top, bottom = lower - 0.7 * gap, lower
    return [(band(x[2:-2], top[2:-2], bottom[2:-2]), (240, 236, 226))]
