"""Faces drawn by code from FACS action units: the dataset that is always there, with its truth known.

The way from units to picture: a person and a shot are drawn by lot → strengths of the action units → shapes in
*face coordinates* (x to the right, y down, crown at y = -1, chin at y = 1) → pose → Pillow polygons at several
times the size → light, blur, noise. The masks take the same way through the pose.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from .faces import Faces, unanimous
from .labels import EXPRESSIONS

UNITS_OF: dict[str, tuple[int, ...]] = {
    "neutral": (),
    "happiness": (6, 12),
    "surprise": (1, 2, 5, 26),
    "sadness": (1, 4, 15),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "contempt": (12, 14),
}
"""The action units drawn for each expression; contempt has them on one side only."""

ACTION_UNITS: tuple[int, ...] = tuple(sorted({unit for units in UNITS_OF.values() for unit in units}))
"""The units in the order of `DrawnFaces.units` and `DrawnFaces.masks`."""

COUNTS = {"train": 4000, "validation": 800, "test": 800}
PEOPLE = {"train": range(60), "validation": range(60, 80), "test": range(80, 100)}
SPLITS = tuple(COUNTS)
LEAST_SIZE = 24  # below this a brow is thinner than a pixel
ZOOM = 0.47  # a face of half height 1 fills 0.94 of the picture's height
SIDES = (-1, 1)  # left and right in the picture

Points = np.ndarray  # (k, 2) float64, x and y
Colour = np.ndarray  # (3,) float64, red, green, blue, 0-255
Shape = tuple[Points, Colour]
Strengths = dict[int, dict[int, float]]  # side → action unit → 0-1


@dataclass(frozen=True)
class DrawnFaces(Faces):
    """Drawn faces with the truth behind them; `rows` is the number of each face in its split.

    Attributes:
        units: `(n, n_units)` bool, the action units at work, in the order of `ACTION_UNITS`.
        masks: `(n, n_units, height, width)` bool, the part of the face that a unit changes, also where something
            hides it; empty where the unit is not at work. For contempt on the side of the raised corner only.
        identities: `(n,)` int64, who is drawn. No person is in two splits.
    """

    units: Tensor
    masks: Tensor
    identities: Tensor


def load_drawn(
    split: str = "train",
    *,
    count: int | None = None,
    size: int = 48,
    color: bool = False,
    seed: int = 0,
    expression: str | None = None,
    frames: int = 1,
) -> DrawnFaces:
    """Draw one split of the drawn faces. Face i is the same whatever `count` is; its label is i mod 8.

    Args:
        split: "train", "validation" or "test".
        count: number of faces; None means 4,000 for train and 800 for validation and test.
        size: height and width in pixels, at least 24.
        color: 3 channels (red, green, blue) instead of 1.
        seed: another seed, other people and other pictures.
        expression: None, or draw every face with this expression and all else unchanged (person, pose, light,
            noise): `expression="neutral"` gives the neutral twins, and their difference shows what a unit does.
        frames: more than 1 draws posed sequences, as CK+ has them: faces i with the same i // frames are the last
            frames of one sequence (one person, pose and light, each frame a little stronger than the one before, with
            noise of its own), and the label is that number mod 8.

    Raises:
        ValueError: no such split or expression, or a count, size, seed or number of frames too small.
    """
    _check(split, count, size, seed, expression, frames)
    count = COUNTS[split] if count is None else count
    images = np.empty((count, size, size, 3 if color else 1), np.uint8)
    masks = np.zeros((count, len(ACTION_UNITS), size, size), bool)
    sequences, frame = np.divmod(np.arange(count), frames)
    labels = sequences % len(EXPRESSIONS) if expression is None else np.full(count, EXPRESSIONS.index(expression))
    people = np.empty(count, np.int64)
    for i, label in enumerate(labels):
        place = (seed, SPLITS.index(split), int(sequences[i]))
        people[i] = _draw_face(place, EXPRESSIONS[label], images[i], masks[i], frames - 1 - int(frame[i]))
    units = torch.tensor([[unit in UNITS_OF[name] for unit in ACTION_UNITS] for name in EXPRESSIONS])
    return DrawnFaces(
        pictures=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        **unanimous(torch.from_numpy(labels)),
        rows=torch.arange(count),
        protocol="drawn",
        units=units[torch.from_numpy(labels)],
        masks=torch.from_numpy(masks),
        identities=torch.from_numpy(people),
    )


def _check(split: str, count: int | None, size: int, seed: int, expression: str | None, frames: int) -> None:
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: the drawn faces have {', '.join(SPLITS)}")
    if count is not None and count < 1:
        raise ValueError(f"count {count}: draw at least 1 face, or None for the split's own number")
    if size < LEAST_SIZE:
        raise ValueError(f"size {size}: the drawn faces need at least {LEAST_SIZE} pixels")
    if seed < 0:
        raise ValueError(f"seed {seed}: 0 or more")
    if frames < 1:
        raise ValueError(f"frames {frames}: a sequence has at least 1")
    if expression is not None and expression not in EXPRESSIONS:
        raise ValueError(f"expression {expression!r}: there are {', '.join(EXPRESSIONS)}, or None for all in turn")


def _draw_face(place: tuple[int, int, int], expression: str, image: np.ndarray, masks: np.ndarray, to_apex: int) -> int:
    """Fill `image` `(size, size, channels)` and `masks` `(n_units, size, size)` in place; returns the identity.

    `place` is (seed, split, number in the split); `to_apex` counts the frames from here to the strongest one.
    """
    rng = np.random.default_rng(place)
    seed, split, _ = place
    identity = int(rng.choice(PEOPLE[SPLITS[split]]))
    person, shot = _person(seed, identity), _shot(rng)
    if to_apex:  # an earlier frame: weaker, moved by a hair, other noise
        rng = np.random.default_rng((*place, to_apex))
        shift = shot.shift + rng.normal(0, 0.004, 2)
        shot = replace(shot, intensity=shot.intensity * 0.93**to_apex, shift=shift)
    strengths = _strengths(expression, shot)
    picture = _paint(_shapes(person, strengths, shot), person, shot, len(image))
    image[:] = _develop(picture, person, shot, image.shape, rng)
    _fill_masks(masks, person, strengths, shot)
    return identity


# --- chance: who is drawn, and how the picture is taken ----------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of one identity. Lengths in face coordinates."""

    width: float  # half width of the face
    jaw: float  # 0-1, how much the face narrows to the chin
    eye_x: float
    eye_y: float
    eye_w: float
    eye_h: float
    brow_gap: float
    brow_w: float
    nose_y: float
    nose_w: float
    mouth_y: float
    mouth_w: float
    lip: float
    hairline: float
    hair_style: int
    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour


SKINS = np.array([(250, 218, 194), (240, 196, 164), (222, 170, 130), (190, 132, 94), (150, 100, 70), (112, 74, 54)])
HAIRS = np.array([(38, 28, 26), (74, 48, 34), (128, 84, 48), (206, 166, 98), (160, 76, 42), (150, 148, 146)])
IRISES = np.array([(70, 44, 28), (96, 66, 40), (64, 104, 140), (82, 116, 74)])
HAIR_STYLES = ("short", "long", "bald", "parted")

RANGES = {
    "width": (0.70, 0.80),
    "jaw": (0.2, 0.9),
    "eye_x": (0.30, 0.36),
    "eye_y": (-0.16, -0.08),
    "eye_w": (0.155, 0.185),
    "eye_h": (0.085, 0.105),
    "brow_gap": (0.19, 0.23),
    "brow_w": (0.045, 0.085),
    "nose_y": (0.20, 0.27),
    "nose_w": (0.11, 0.16),
    "mouth_y": (0.49, 0.55),
    "mouth_w": (0.26, 0.32),
    "lip": (0.04, 0.065),
    "hairline": (-0.74, -0.64),
}


@lru_cache(maxsize=256)
def _person(seed: int, identity: int) -> Person:
    rng = np.random.default_rng((seed, len(SPLITS), identity))
    lengths = {name: rng.uniform(*limits) for name, limits in RANGES.items()}
    skin = rng.choice(SKINS) + rng.uniform(-8, 8, 3)
    # Fair hair over the darkest skins would leave brows lighter than the face.
    hair = rng.choice(HAIRS if skin[0] > 170 else HAIRS[:2])
    return Person(
        **lengths,
        hair_style=int(rng.choice(len(HAIR_STYLES), p=(0.35, 0.3, 0.1, 0.25))),
        skin=skin,
        hair=hair + rng.uniform(-8, 8, 3),
        iris=rng.choice(IRISES).astype(float),
        shirt=rng.uniform(40, 210, 3),
    )


@dataclass(frozen=True)
class Shot:
    """What changes from picture to picture. Drawn before the expression is known, so that twins share it."""

    intensity: float
    jitter: np.ndarray  # (n_units,) factors around 1
    side: int  # of contempt
    parted: float  # 0-1, how far a smile shows the teeth
    gaze: float
    turn: float  # radians in the picture plane
    yaw: float  # radians about the vertical
    scale: float
    shift: np.ndarray  # (2,)
    light: np.ndarray  # (3,) direction towards the lamp, z towards the viewer
    brightness: float
    contrast: float
    blur: float  # in pixels of a 48-pixel picture
    noise: float  # standard deviation, 0-255 scale
    background: Colour
    cover: str  # what hides a part of the face, or ""
    cover_at: np.ndarray  # (3,) 0-1: where


def _shot(rng: np.random.Generator) -> Shot:
    u = rng.uniform
    return Shot(
        intensity=u(0.5, 1.0),
        jitter=u(0.85, 1.15, len(ACTION_UNITS)),
        side=SIDES[rng.integers(2)],
        parted=max(0.0, u(-0.6, 1.0)),
        gaze=u(-0.25, 0.25),
        turn=np.clip(rng.normal(0, 0.08), -0.22, 0.22),
        yaw=u(-0.3, 0.3),
        scale=u(0.9, 1.08),
        shift=u(-0.07, 0.07, 2),
        light=np.array((u(-0.7, 0.7), u(-0.7, 0.1), 1.0)),
        brightness=u(-12, 24),
        contrast=u(0.7, 1.1),
        blur=max(0.0, u(-0.6, 0.6)),
        noise=u(1, 7),
        background=u(40, 220) + u(-25, 25, 3),
        cover=str(rng.choice(("", "glasses", "fingers", "strand"), p=(0.72, 0.12, 0.08, 0.08))),
        cover_at=u(0, 1, 3),
    )


def _strengths(expression: str, shot: Shot) -> Strengths:
    """How strongly each unit pulls on each side of the face, 0 where it is not at work."""
    one_sided = expression == "contempt"
    pulls = np.minimum(shot.intensity * shot.jitter, 1.0)
    return {
        side: {
            unit: float(pull) if unit in UNITS_OF[expression] and (not one_sided or side == shot.side) else 0.0
            for unit, pull in zip(ACTION_UNITS, pulls, strict=True)
        }
        for side in SIDES
    }


# --- geometry: small helpers in face coordinates -----------------------------------------------------------------

STEPS = np.linspace(0, 1, 9)
ANGLES = np.linspace(0, 2 * np.pi, 28, endpoint=False)
CIRCLE = np.stack((np.cos(ANGLES), np.sin(ANGLES)), 1)
ACROSS = np.linspace(-1, 1, 21)  # along a lid or a lip, corner to corner
ARCH = 1 - ACROSS**2


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    return CIRCLE * (rx, ry) + (x, y)


def _curve(start: tuple, end: tuple, bend: tuple = (0.0, 0.0)) -> Points:
    """`(9, 2)` points from start to end, the middle pushed aside by `bend`."""
    t = STEPS[:, None]
    return np.asarray(start) * (1 - t) + np.asarray(end) * t + np.asarray(bend) * (4 * t * (1 - t))


def _stroke(line: Points, width: float, tip: float = 0.25) -> Points:
    """The outline of a brush stroke along a line: full width in the middle, `tip` times the width at its ends."""
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
    half = width / 2 * (tip + (1 - tip) * np.sin(np.linspace(0, np.pi, len(line))))[:, None]
    aside = along[:, ::-1] * (-1, 1) * half
    return np.concatenate((line + aside, (line - aside)[::-1]))


def _band(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> Points:
    """The area between two curves over the same x."""
    return np.concatenate((np.stack((x, top), 1), np.stack((x, bottom), 1)[::-1]))


def _mix(a: Colour, b: Colour | tuple, share: float) -> Colour:
    return a + (np.asarray(b) - a) * share


def _wrinkle(line: Points, skin: Colour, strength: float, width: float = 0.028) -> list[Shape]:
    """A crease in the skin that darkens with the strength of its unit; none below a tenth."""
    return [(_stroke(line, width), _mix(skin, skin * 0.45, strength))] if strength > 0.1 else []


# --- geometry: the parts of the face -----------------------------------------------------------------------------


def _shapes(person: Person, strengths: Strengths, shot: Shot) -> list[Shape]:
    """Everything in the picture, back to front."""
    shapes = [*_behind(person), *_head(person, strengths), *_nose(person, strengths)]
    for side in SIDES:
        shapes += _cheek(person, strengths[side], side)
        shapes += _eye(person, strengths[side], side, shot.gaze)
        shapes += _brow(person, strengths[side], side)
    return [*shapes, *_mouth(person, strengths, shot.parted), *_fringe(person), *_cover(person, shot)]


def _behind(person: Person) -> list[Shape]:
    neck = np.array([(-0.36, 0.5), (0.36, 0.5), (0.42, 1.3), (-0.42, 1.3)])
    shapes = [(neck, person.skin * 0.72), (_ellipse(0, 1.62, 1.15, 0.5), person.shirt)]
    style = HAIR_STYLES[person.hair_style]
    if style == "long":
        shapes.insert(0, (_ellipse(0, 0.1, person.width + 0.2, 1.2), person.hair * 0.8))
    if style in ("short", "parted"):
        shapes.insert(0, (_ellipse(0, -0.22, person.width + 0.09, 0.9), person.hair * 0.9))
    return shapes


def _outline(person: Person, drop: float, grow: float = 1.0) -> Points:
    """The face's edge; `drop` 0-1 lowers the chin."""
    angles = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    low = np.maximum(np.sin(angles), 0)
    x = person.width * np.cos(angles) * (1 + 0.18 * low * (1 - person.jaw)) * (1 - 0.08 * person.jaw * low)
    return grow * np.stack((x, np.sin(angles) * (1 + 0.1 * drop * low)), 1)


def _head(person: Person, strengths: Strengths) -> list[Shape]:
    ears = [(_ellipse(side * person.width, 0.02, 0.11, 0.2), person.skin * 0.9) for side in SIDES]
    holes = [(_ellipse(side * (person.width + 0.02), 0.02, 0.05, 0.12), person.skin * 0.7) for side in SIDES]
    return [*ears, *holes, (_outline(person, strengths[1][26]), person.skin)]


def _nose(person: Person, strengths: Strengths) -> list[Shape]:
    pull = strengths[1][9]
    y, w, skin = person.nose_y - 0.05 * pull, person.nose_w + 0.02 * pull, person.skin
    shapes = [
        (_stroke(_curve((0.07, person.eye_y), (0.08, y - 0.07), (-0.025, 0)), 0.05), skin * 0.86),
        (_ellipse(0, y - 0.01, w * 0.62, 0.07), _mix(skin, (255, 240, 225), 0.22)),
        (_stroke(_curve((-w * 0.5, y + 0.06), (w * 0.5, y + 0.06), (0, 0.025)), 0.03), skin * 0.68),
    ]
    for side in SIDES:
        shapes.append(
            (
                _stroke(_curve((side * w * 0.8, y - 0.06), (side * w * 0.75, y + 0.06), (side * 0.04, 0)), 0.03),
                skin * 0.7,
            )
        )
        shapes.append((_ellipse(side * w * 0.45, y + 0.055, 0.038, 0.02), skin * 0.36))
    for step in range(3):  # AU 9 bunches the skin across the bridge
        height, half = person.eye_y + 0.02 + 0.085 * step, 0.07 + 0.02 * step
        shapes += _wrinkle(_curve((-half, height + 0.02), (half, height + 0.02), (0, -0.03)), skin, pull, 0.034)
    return shapes


def _cheek(person: Person, pull: dict[int, float], side: int) -> list[Shape]:
    """The folds: beside the nose (9, 12), below and outside the eye (6), the dimple (14), below the corner (15)."""
    skin, x, y = person.skin, person.mouth_w, person.mouth_y
    lift, nose = pull[12], pull[9]
    fold = _curve(
        (side * (person.nose_w + 0.05), person.nose_y - 0.02),
        (side * (x + 0.11), y - 0.1 * lift),
        (side * 0.05, -0.02),
    )
    dimple = _curve((side * (x + 0.14), y - 0.18), (side * (x + 0.14), y + 0.03), (side * 0.05, 0))
    droop = _curve((side * (x + 0.03), y + 0.12), (side * (x + 0.05), y + 0.25), (side * 0.02, 0))
    shapes = _wrinkle(fold, skin, max(0.75 * lift, 0.85 * nose), 0.035)
    shapes += _wrinkle(dimple, skin, pull[14], 0.05) + _wrinkle(droop, skin, 0.7 * pull[15])
    return shapes + _raised_cheek(person, pull[6], side)


def _raised_cheek(person: Person, pull: float, side: int) -> list[Shape]:
    x, y, skin = person.eye_x, person.eye_y, person.skin
    if pull <= 0:
        return []
    bulge = _curve((side * (x - 0.15), y + 0.13), (side * (x + 0.19), y + 0.1), (0, 0.05))
    shapes = [(_ellipse(side * (x + 0.06), y + 0.24, 0.15, 0.085), _mix(skin, (255, 150, 130), 0.28 * pull))]
    shapes += _wrinkle(bulge, skin, 0.7 * pull)
    for step in (-1, 0, 1):  # crow's feet
        start = (side * (x + person.eye_w + 0.045), y + 0.02 * step)
        shapes += _wrinkle(_curve(start, (side * (x + person.eye_w + 0.13), y + 0.06 * step)), skin, 0.8 * pull, 0.02)
    return shapes


def _lids(person: Person, pull: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """`(21,)` y of upper and lower lid, from the inner corner to the outer one."""
    raised, cheek, tight, oblique = pull[5], pull[6], pull[7], pull[1] * (1 - pull[2])
    upper = person.eye_h * (1 + 0.65 * raised - 0.1 * cheek - 0.3 * tight)
    lower = person.eye_h * (0.65 + 0.15 * raised - 1.0 * cheek - 0.45 * tight)
    tilt = 0.035 * oblique * ACROSS
    return person.eye_y - upper * ARCH**0.8 + tilt, person.eye_y + lower * ARCH**0.9 + tilt


def _eye(person: Person, pull: dict[int, float], side: int, gaze: float) -> list[Shape]:
    upper, lower = _lids(person, pull)
    x = side * (person.eye_x + person.eye_w * ACROSS)
    lid, crease = np.stack((x, upper), 1), np.stack((x, upper - 0.045), 1)[2:-2]
    return [
        (_stroke(crease, 0.02), person.skin * 0.72),
        (_band(x, upper, lower), np.array((246.0, 243, 238))),
        *_iris(person, x, upper, lower, side, gaze),
        (_stroke(lid, 0.045, 0.4), np.array((36.0, 26, 24))),
        (_stroke(np.stack((x, lower), 1), 0.022), person.skin * 0.5),
    ]


def _iris(person: Person, x: np.ndarray, upper: np.ndarray, lower: np.ndarray, side: int, gaze: float) -> list[Shape]:
    """Iris, pupil and glint, cut off where the lids cover them."""
    centre, radius = side * person.eye_x + gaze * person.eye_w, 0.085
    shapes = []
    for r, colour in ((radius, person.iris), (radius * 0.52, np.array((16.0, 14, 14)))):
        disc = _ellipse(centre, person.eye_y - 0.015, r, r)
        top, bottom = (np.interp(disc[:, 0], x[::side], lid[::side]) for lid in (upper, lower))
        disc[:, 1] = np.clip(disc[:, 1], top, np.maximum(top, bottom))
        shapes.append((disc, colour))
    glint = _ellipse(centre - 0.03, max(person.eye_y - 0.045, upper.min() + 0.035), 0.018, 0.018)
    return [*shapes, (glint, np.array((255.0, 255, 255)))]


def _brow(person: Person, pull: dict[int, float], side: int) -> list[Shape]:
    inner_up, outer_up, low, nose = pull[1], pull[2], pull[4], pull[9]
    base, drop = person.eye_y - person.brow_gap, 0.12 * low * (1 - 0.9 * inner_up)
    inner = person.eye_x - 0.19 - 0.05 * low, base + 0.02 - 0.13 * inner_up + drop + 0.07 * nose
    middle = person.eye_x + 0.03, base - 0.045 - 0.02 * inner_up - 0.1 * outer_up + 0.5 * drop + 0.02 * nose
    outer = person.eye_x + 0.23, base + 0.03 - 0.10 * outer_up + 0.04 * inner_up * (1 - outer_up) - 0.02 * low
    bend = np.asarray(middle) - (np.asarray(inner) + outer) / 2
    line = _curve(inner, outer, bend) * (side, 1)
    shapes = [(_stroke(line, person.brow_w, 0.45), _mix(person.hair * 0.75, person.skin * 0.4, 0.2))]
    return _forehead(person, pull, side, base) + shapes


def _forehead(person: Person, pull: dict[int, float], side: int, base: float) -> list[Shape]:
    """Creases across the forehead (1 in the middle, 2 at the side) and upright ones between the brows (4)."""
    shapes, x = [], person.eye_x
    for y in (base - 0.17, base - 0.25):
        shapes += _wrinkle(_curve((0, y - 0.01), (side * (x - 0.06), y), (0, -0.01)), person.skin, 0.6 * pull[1], 0.022)
        shapes += _wrinkle(
            _curve((side * (x - 0.04), y), (side * (x + 0.2), y + 0.03), (0, -0.02)),
            person.skin,
            0.6 * pull[2],
            0.022,
        )
    upright = _curve((side * 0.06, base - 0.04), (side * 0.045, base + 0.13), (side * -0.015, 0))
    return shapes + _wrinkle(upright, person.skin, 0.8 * pull[4], 0.03)


@dataclass(frozen=True)
class Lips:
    """The four edges of the lips, `(21,)` y over `x`, from left to right."""

    x: np.ndarray
    upper_out: np.ndarray
    upper_in: np.ndarray
    lower_in: np.ndarray
    lower_out: np.ndarray


def _corner(person: Person, pull: dict[int, float]) -> tuple[float, float]:
    """A lip corner: its distance from the middle, and how far it is below the middle of the lips."""
    oval = pull[26] * (1 - pull[20])
    out = 0.08 * pull[12] + 0.13 * pull[20] - 0.06 * pull[23] - 0.10 * oval + 0.03 * pull[14] + 0.01 * pull[15]
    down = 0.15 * pull[15] - 0.16 * pull[12] + 0.04 * pull[20] - 0.03 * pull[14]
    return person.mouth_w + out, down


def _lips(person: Person, strengths: Strengths, parted: float) -> Lips:
    (left, left_down), (right, right_down) = (_corner(person, strengths[side]) for side in SIDES)
    pull = {unit: min(strengths[side][unit] for side in SIDES) for unit in ACTION_UNITS}  # what moves the middle
    middle = person.mouth_y + 0.04 * pull[12] - 0.05 * pull[15] - 0.02 * pull[9]
    line = middle + np.where(ACROSS < 0, left_down, right_down) * ACROSS**2
    gap = 0.32 * pull[26] * (1 - 0.5 * pull[20]) + 0.15 * pull[12] * parted + 0.09 * pull[16]
    opening = gap * ARCH ** (0.7 - 0.4 * pull[20])
    full = person.lip * ARCH**0.6 * (1 - 0.7 * pull[23] - 0.3 * pull[12] - 0.25 * pull[20])
    bow = 1 - 0.3 * np.exp(-((ACROSS / 0.15) ** 2))
    upper, lower = line - 0.2 * opening, line + 0.8 * opening
    return Lips(
        np.where(ACROSS < 0, left, right) * ACROSS,
        upper - full * bow,
        upper,
        lower,
        lower + (1.25 + 0.6 * pull[16]) * full,
    )


def _mouth(person: Person, strengths: Strengths, parted: float) -> list[Shape]:
    lips = _lips(person, strengths, parted)
    pull, red = strengths[1], _mix(person.skin * 0.8, (176, 62, 66), 0.5)
    shapes = [
        (_band(lips.x, lips.upper_out, lips.upper_in), red * 0.88),
        (_band(lips.x, lips.lower_in, lips.lower_out), red),
        (_band(lips.x, lips.upper_in, lips.lower_in), np.array((62.0, 20, 24))),
        *_teeth(lips, pull),
    ]
    seam = np.stack((lips.x, lips.upper_in), 1)
    shapes.append((_stroke(seam, 0.03 + 0.015 * pull[23], 0.7), red * 0.38))
    chin = _curve((-0.12, lips.lower_out[10] + 0.07), (0.12, lips.lower_out[10] + 0.07), (0, 0.02))
    return [*shapes, (_stroke(chin, 0.03), person.skin * 0.84)]


def _teeth(lips: Lips, pull: dict[int, float]) -> list[Shape]:
    """Upper teeth in an open smile or a stretched mouth, lower teeth where 16 pulls the lower lip down."""
    inner, gap = slice(2, -2), (lips.lower_in - lips.upper_in)[10]
    if gap < 0.03:
        return []
    x, white = lips.x[inner], np.array((240.0, 236, 226))
    if pull[16] > 0:
        return [
            (
                _band(x, (lips.lower_in - 0.7 * (lips.lower_in - lips.upper_in))[inner], lips.lower_in[inner]),
                white,
            )
        ]
    deep = 0.8 if pull[12] > 0 else 0.22
    return [
        (
            _band(x, lips.upper_in[inner], (lips.upper_in + deep * (lips.lower_in - lips.upper_in))[inner]),
            white,
        )
    ]


def _fringe(person: Person) -> list[Shape]:
    """Hair in front of the forehead: between the crown and a hairline of the person's style."""
    style = HAIR_STYLES[person.hair_style]
    if style == "bald":
        return []
    x = ACROSS * (person.width + 0.03)
    crown = -1.07 * np.sqrt(np.maximum(1 - (ACROSS * 0.97) ** 2, 0))
    sides = 0.42 if style == "short" else 0.62
    line = person.hairline + sides * np.abs(ACROSS) ** 4
    if style == "parted":
        line = line + 0.12 * np.abs(ACROSS - 0.35) - 0.1
    return [
        (_band(x, np.minimum(crown, line), line), person.hair),
        (_stroke(np.stack((x, (crown + line) / 2), 1)[5:12], 0.05), _mix(person.hair, (255, 255, 255), 0.14)),
    ]


# --- what hides a part of the face -------------------------------------------------------------------------------


def _cover(person: Person, shot: Shot) -> list[Shape]:
    if shot.cover == "":
        return []
    draw = {"glasses": _glasses, "fingers": _fingers, "strand": _strand}[shot.cover]
    return draw(person, shot.cover_at)


def _glasses(person: Person, at: np.ndarray) -> list[Shape]:
    x, y, frame = person.eye_x, person.eye_y + 0.02, np.full(3, 25.0 + 60 * at[0])
    lines = [_curve((-0.13, y - 0.02), (0.13, y - 0.02), (0, -0.04))]
    for side in SIDES:
        ring = _ellipse(side * x, y, 0.215, 0.16 + 0.04 * at[1])
        lines += [
            np.concatenate((ring, ring[:2])),
            _curve((side * (x + 0.21), y - 0.04), (side * person.width, y - 0.07)),
        ]
    return [(_stroke(line, 0.035, 1.0), frame) for line in lines]


def _fingers(person: Person, at: np.ndarray) -> list[Shape]:
    """Three fingers laid over the edge of the face from one side."""
    side, y = SIDES[int(at[0] > 0.5)], -0.2 + 0.9 * at[1]
    shapes = []
    for step in range(3):
        height, tip = y + 0.13 * step, 0.36 + 0.12 * at[2] + 0.05 * abs(step - 1)
        line = _curve((side * 1.3, height + 0.25), (side * tip, height), (0, 0.02))
        shapes += [
            (_stroke(line, 0.145, 0.75), person.skin * 0.6),
            (_stroke(line, 0.12, 0.75), person.skin * 0.93),
        ]
    return shapes


def _strand(person: Person, at: np.ndarray) -> list[Shape]:
    side = SIDES[int(at[0] > 0.5)]
    start, end = (side * 0.15, -0.95), (side * (0.45 + 0.2 * at[1]), -0.1 + 0.4 * at[2])
    return [(_stroke(_curve(start, end, (side * 0.14, 0)), 0.12, 0.1), person.hair * 0.9)]


# --- picture -----------------------------------------------------------------------------------------------------


def _pose(points: Points, person: Person, shot: Shot, size: int) -> Points:
    """Face coordinates → pixels: yaw moves what is near the viewer sideways, then turn, scale and shift."""
    x, y = points[:, 0], points[:, 1]
    depth = 0.55 * np.maximum(1 - (x / person.width) ** 2 - 0.3 * y**2, -0.3)
    x = x * np.cos(shot.yaw) + depth * np.sin(shot.yaw)
    cos, sin = np.cos(shot.turn), np.sin(shot.turn)
    turned = np.stack((x * cos - y * sin, x * sin + y * cos), 1)
    return size * (0.5 + ZOOM * shot.scale * (turned + shot.shift))


def _paint(shapes: list[Shape], person: Person, shot: Shot, size: int) -> Image.Image:
    """The shapes as an RGB picture, `size` pixels wide, drawn larger and averaged: anti-aliased."""
    larger = 4 if size <= 96 else 2
    posed = _pose(np.concatenate([points for points, _ in shapes]), person, shot, size * larger)
    pieces = np.split(posed, np.cumsum([len(points) for points, _ in shapes])[:-1])
    canvas = Image.new("RGB", (size * larger,) * 2, _rgb(shot.background))
    pen = ImageDraw.Draw(canvas)
    for piece, (_, colour) in zip(pieces, shapes, strict=True):
        pen.polygon(piece.ravel().tolist(), fill=_rgb(colour))
    return canvas.reduce(larger)


def _rgb(colour: Colour) -> tuple[int, ...]:
    return tuple(min(max(int(value), 0), 255) for value in colour)


def _develop(
    picture: Image.Image, person: Person, shot: Shot, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Light, brightness, contrast, blur and noise; `(size, size, channels)` uint8."""
    if shot.blur > 0:
        picture = picture.filter(ImageFilter.GaussianBlur(shot.blur * shape[0] / 48))
    if shape[2] == 1:
        picture = picture.convert("L")
    pixels = np.asarray(picture, np.float32).reshape(shape) * _shading(person, shot, shape[0])[:, :, None]
    pixels = (pixels - 128) * shot.contrast + 128 + shot.brightness
    pixels += shot.noise * rng.standard_normal(shape, np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _shading(person: Person, shot: Shot, size: int) -> np.ndarray:
    """`(size, size)` float32 around 1: how much light falls on the head, taken as an egg-shaped ball."""
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    steps = steps / (ZOOM * shot.scale)
    x = (steps - shot.shift[0])[None, :] / (person.width * 1.15)
    y = (steps - shot.shift[1])[:, None] / 1.2
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0.08))
    light = shot.light / np.linalg.norm(shot.light)
    shade = 0.62 + 0.5 * np.clip(light[0] * x + light[1] * y + light[2] * z, 0, None)
    return shade.astype(np.float32)


# --- masks -------------------------------------------------------------------------------------------------------


def _fill_masks(masks: np.ndarray, person: Person, strengths: Strengths, shot: Shot) -> None:
    """Draw the regions of the active units into `masks` `(n_units, size, size)` bool, in place."""
    size = masks.shape[-1]
    for row, unit in enumerate(ACTION_UNITS):
        regions = [_region(unit, person, side) for side in SIDES if strengths[side][unit] > 0]
        if not regions:
            continue
        canvas = Image.new("1", (size, size))
        pen = ImageDraw.Draw(canvas)
        for region in regions:
            pen.polygon(_pose(region, person, shot, size).ravel().tolist(), fill=1)
        masks[row] = np.asarray(canvas)


def _region(unit: int, person: Person, side: int) -> Points:
    """The part of one side of the face that a unit changes at any strength: where its parts are before and after."""
    x, y, w = person.eye_x, person.eye_y, person.eye_w
    brow, lips, corner = y - person.brow_gap, person.mouth_y, person.mouth_w
    centre_and_radii = {
        1: (x - 0.18, brow - 0.08, 0.25, 0.23),
        2: (x + 0.08, brow - 0.11, 0.22, 0.22),
        4: (x - 0.11, brow + 0.03, 0.32, 0.17),
        5: (x, y - 0.06, w + 0.04, 0.16),
        6: (x + 0.06, y + 0.1, w + 0.11, 0.26),
        7: (x, y, w + 0.04, 0.14),
        9: (0.12, person.nose_y - 0.08, 0.32, 0.46),
        12: (corner - 0.04, lips - 0.03, 0.26, 0.25),
        14: (corner + 0.06, lips - 0.07, 0.17, 0.17),
        15: (corner - 0.14, lips + 0.06, 0.34, 0.23),
        16: (0.12, lips + 0.12, corner, 0.24),
        20: (corner - 0.02, lips + 0.06, 0.3, 0.2),
        23: (0.1, lips + 0.02, corner - 0.02, 0.14),
        26: (0.1, lips + 0.24, corner + 0.16, 0.38),
    }
    px, py, rx, ry = centre_and_radii[unit]
    return _ellipse(side * px, py, rx, ry)
