"""The face, back to front: hair, head, nose, cheeks, and what covers them. Eyes and mouth have their own files."""

import numpy as np

from .expressions import SIDES, Pulls, Strengths
from .eyes import brow, eye
from .mouth import mouth
from .people import Person, Shot
from .shapes import ACROSS, Shape, band, crease, curve, ellipse, mix, stroke


def face_shapes(person: Person, strengths: Strengths, shot: Shot) -> list[Shape]:
    """Everything in the picture, back to front."""
    shapes = [*_behind(person), *_head(person, strengths[1]), *_nose(person, strengths[1])]
    for side, pull in strengths.items():
        shapes += [*_cheek(person, pull, side), *_raised_cheek(person, pull[6], side)]
        shapes += [*eye(person, pull, side, shot.gaze), *brow(person, pull, side)]
    return [*shapes, *mouth(person, strengths, shot.parted), *_fringe(person), *_cover(person, shot)]


def _behind(person: Person) -> list[Shape]:
    """The hair behind the head, the neck and the shirt."""
    neck = np.array([(-0.36, 0.5), (0.36, 0.5), (0.42, 1.3), (-0.42, 1.3)])
    shapes = [(neck, person.skin * 0.72), (ellipse(0, 1.62, 1.15, 0.5), person.shirt)]
    if person.hair_style == "long":
        return [(ellipse(0, 0.1, person.width + 0.2, 1.2), person.hair * 0.8), *shapes]
    if person.hair_style in ("short", "parted"):
        return [(ellipse(0, -0.22, person.width + 0.09, 0.9), person.hair * 0.9), *shapes]
    return shapes


def _head(person: Person, pull: Pulls) -> list[Shape]:
    """The ears and the area of the face; AU 26 lowers the chin."""
    ears = [(ellipse(side * person.width, 0.02, 0.11, 0.2), person.skin * 0.9) for side in SIDES]
    holes = [(ellipse(side * (person.width + 0.02), 0.02, 0.05, 0.12), person.skin * 0.7) for side in SIDES]
    angles = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    low = np.maximum(np.sin(angles), 0)
    x = person.width * np.cos(angles) * (1 + 0.18 * low * (1 - person.jaw)) * (1 - 0.08 * person.jaw * low)
    y = np.sin(angles) * (1 + 0.1 * pull[26] * low)
    return [*ears, *holes, (np.stack((x, y), 1), person.skin)]


def _nose(person: Person, pull: Pulls) -> list[Shape]:
    y, w, skin = person.nose_y - 0.05 * pull[9], person.nose_w + 0.02 * pull[9], person.skin
    shapes = [
        (stroke(curve((0.07, person.eye_y), (0.08, y - 0.07), (-0.025, 0)), 0.05), skin * 0.86),
        (ellipse(0, y - 0.01, w * 0.62, 0.07), mix(skin, (255, 240, 225), 0.22)),
        (stroke(curve((-w * 0.5, y + 0.06), (w * 0.5, y + 0.06), (0, 0.025)), 0.03), skin * 0.68),
    ]
    for side in SIDES:
        wing = curve((w * 0.8, y - 0.06), (w * 0.75, y + 0.06), (0.04, 0), side)
        shapes += [(stroke(wing, 0.03), skin * 0.7), (ellipse(side * w * 0.45, y + 0.055, 0.038, 0.02), skin * 0.36)]
    for step in range(3):  # AU 9 bunches the skin across the bridge of the nose
        height, half = person.eye_y + 0.02 + 0.085 * step, 0.07 + 0.02 * step
        shapes += crease(curve((-half, height + 0.02), (half, height + 0.02), (0, -0.03)), skin, pull[9], 0.034)
    return shapes


def _cheek(person: Person, pull: Pulls, side: int) -> list[Shape]:
    """The fold beside the nose (AU 9, 12), the dimple (AU 14), and the crease below the corner of the mouth (AU 15)."""
    skin, x, y, top = person.skin, person.mouth_w, person.mouth_y, (person.nose_w + 0.05, person.nose_y - 0.02)
    fold = curve(top, (x + 0.11, y - 0.1 * pull[12]), (0.05, -0.02), side)
    dimple = curve((x + 0.14, y - 0.18), (x + 0.14, y + 0.03), (0.05, 0), side)
    droop = curve((x + 0.03, y + 0.12), (x + 0.05, y + 0.25), (0.02, 0), side)
    shapes = crease(fold, skin, max(0.75 * pull[12], 0.85 * pull[9]), 0.035)
    return [*shapes, *crease(dimple, skin, pull[14], 0.05), *crease(droop, skin, 0.7 * pull[15])]


def _raised_cheek(person: Person, pull: float, side: int) -> list[Shape]:
    """What AU 6 does: the cheek bulges below the eye, and crow's feet show beside it."""
    if pull <= 0:
        return []
    x, y, skin = person.eye_x, person.eye_y, person.skin
    shapes = [(ellipse(side * (x + 0.06), y + 0.24, 0.15, 0.085), mix(skin, (255, 150, 130), 0.28 * pull))]
    shapes += crease(curve((x - 0.15, y + 0.13), (x + 0.19, y + 0.1), (0, 0.05), side), skin, 0.7 * pull)
    for step in (-1, 0, 1):
        start, end = (x + person.eye_w + 0.045, y + 0.02 * step), (x + person.eye_w + 0.13, y + 0.06 * step)
        shapes += crease(curve(start, end, side=side), skin, 0.8 * pull, 0.02)
    return shapes


def _fringe(person: Person) -> list[Shape]:
    """The hair in front of the forehead, from the top of the head to the hairline."""
    if person.hair_style == "bald":
        return []
    x = ACROSS * (person.width + 0.03)
    crown = -1.07 * np.sqrt(np.maximum(1 - (ACROSS * 0.97) ** 2, 0))
    line = person.hairline + (0.42 if person.hair_style == "short" else 0.62) * np.abs(ACROSS) ** 4
    if person.hair_style == "parted":
        line = line + 0.12 * np.abs(ACROSS - 0.35) - 0.1
    shine = np.stack((x, (crown + line) / 2), 1)[5:12]
    bright = mix(person.hair, (255, 255, 255), 0.14)
    return [(band(x, np.minimum(crown, line), line), person.hair), (stroke(shine, 0.05), bright)]


def _cover(person: Person, shot: Shot) -> list[Shape]:
    """Whatever hides part of the face; in most shots, nothing."""
    covers = {"glasses": _glasses, "fingers": _fingers, "strand": _strand}
    return covers[shot.cover](person, *shot.cover_at) if shot.cover else []


def _glasses(person: Person, dark: float, high: float, _: float) -> list[Shape]:
    x, y, gray = person.eye_x, person.eye_y + 0.02, 25 + 60 * dark
    lines = [curve((-0.13, y - 0.02), (0.13, y - 0.02), (0, -0.04))]
    for side in SIDES:
        ring = ellipse(side * x, y, 0.215, 0.16 + 0.04 * high)
        temple = curve((x + 0.21, y - 0.04), (person.width, y - 0.07), side=side)
        lines += [np.concatenate((ring, ring[:2])), temple]
    return [(stroke(line, 0.035, 1.0), (gray, gray, gray)) for line in lines]


def _fingers(person: Person, right: float, low: float, far: float) -> list[Shape]:
    """Three fingers laid over the edge of the face from one side."""
    side, shapes = SIDES[int(right > 0.5)], []
    for step in range(3):
        height, tip = -0.2 + 0.9 * low + 0.13 * step, 0.36 + 0.12 * far + 0.05 * abs(step - 1)
        line = curve((1.3, height + 0.25), (tip, height), (0, 0.02), side)
        shapes += [(stroke(line, 0.145, 0.75), person.skin * 0.6), (stroke(line, 0.12, 0.75), person.skin * 0.93)]
    return shapes


def _strand(person: Person, right: float, out: float, low: float) -> list[Shape]:
    line = curve((0.15, -0.95), (0.45 + 0.2 * out, -0.1 + 0.4 * low), (0.14, 0), SIDES[int(right > 0.5)])
    return [(stroke(line, 0.12, 0.1), person.hair * 0.9)]
