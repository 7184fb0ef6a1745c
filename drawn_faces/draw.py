"""From a seed to faces: check the request, then draw one face after another.

A person and a shot, drawn at random → the strength of each action unit → shapes in *face coordinates* (x to the
right, y down, the top of the head at y = -1, the chin at y = 1) → pose → polygons → light, blur and noise.
"""

from typing import NamedTuple

import numpy as np

from .expressions import ACTION_UNITS, EXPRESSIONS, UNITS_OF
from .face import face_shapes
from .people import COUNTS, PEOPLE, SPLITS, Person, Shot
from .picture import fill_masks, take_picture

LEAST = {"count": 1, "size": 24, "seed": 0, "frames": 1}  # below 24 pixels, a brow is less than a pixel thick


class DrawnFaces(NamedTuple):
    """`n` faces and their ground truth."""

    images: np.ndarray
    """`(n, size, size, channels)` uint8: 1 channel (gray) or 3 (red, green, blue)."""
    labels: np.ndarray
    """`(n,)` int64: the expression, as a position in `EXPRESSIONS`."""
    people: np.ndarray
    """`(n,)` int64: who is drawn. No person is in two splits."""
    units: np.ndarray
    """`(n, n_units)` bool: the active action units, in the order of `ACTION_UNITS`."""
    masks: np.ndarray
    """`(n, n_units, size, size)` bool: what each active unit changes, even where hidden. Empty for other units."""


def draw_faces(
    split: str = "train",
    *,
    count: int | None = None,
    size: int = 48,
    color: bool = False,
    seed: int = 0,
    expression: str | None = None,
    without: int | None = None,
    frames: int = 1,
) -> DrawnFaces:
    """Draw one split. Face i does not depend on `count`, and its label is i mod 8.

    Args:
        split: "train", "validation" or "test".
        count: how many faces to draw. None means 4,000 for train and 800 for validation and test.
        size: height and width in pixels, at least 24.
        color: draw 3 channels (red, green, blue) instead of 1.
        seed: a different seed gives different people and different pictures.
        expression: give every face this expression and keep everything else: person, pose, light and noise. With
            "neutral" you get each face's neutral twin; the difference between the two shows what the units do.
        without: an action unit to switch off in every face; everything else stays the same. Compare a model's answers
            for a face and for this twin to see how much the unit matters to the model.
        frames: if above 1, draw posed sequences like those of CK+. Faces with the same k = i // frames form one
            sequence: one person, pose and light. From frame to frame, the expression grows, the head moves slightly,
            and the noise is new. The last frame equals face k with frames=1; the label is k mod 8.

    Raises:
        ValueError: the split, the expression or the unit does not exist, or a number is too small.
    """
    _check(split, expression, without, count=count, size=size, seed=seed, frames=frames)
    count = COUNTS[split] if count is None else count
    images = np.empty((count, size, size, 3 if color else 1), np.uint8)
    masks = np.zeros((count, len(ACTION_UNITS), size, size), bool)
    people = np.empty(count, np.int64)
    sequences, frame = np.divmod(np.arange(count, dtype=np.int64), frames)
    labels = sequences % len(EXPRESSIONS)
    if expression is not None:
        labels[:] = EXPRESSIONS.index(expression)
    for i, label in enumerate(labels):
        key = (seed, SPLITS.index(split), int(sequences[i]))
        to_apex = frames - 1 - int(frame[i])
        people[i] = _draw_face(key, EXPRESSIONS[label], without, images[i], masks[i], to_apex)
    units_of = np.array([[unit in UNITS_OF[name] and unit != without for unit in ACTION_UNITS] for name in EXPRESSIONS])
    return DrawnFaces(images, labels, people, units_of[labels], masks)


def _check(split: str, expression: str | None, without: int | None, **numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < LEAST[name]:
            raise ValueError(f"{name} {value}: must be at least {LEAST[name]}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: choose one of {', '.join(SPLITS)}")
    if expression not in (None, *EXPRESSIONS):
        raise ValueError(f"expression {expression!r}: choose one of {', '.join(EXPRESSIONS)}, or None for all in turn")
    if without not in (None, *ACTION_UNITS):
        raise ValueError(f"without {without!r}: choose an action unit, {', '.join(map(str, ACTION_UNITS))}, or None")


def _draw_face(
    key: tuple[int, int, int],
    expression: str,
    without: int | None,
    image: np.ndarray,
    masks: np.ndarray,
    to_apex: int,
) -> int:
    """Fill `image` `(size, size, channels)` and `masks` `(n_units, size, size)`; return who is drawn.

    `key` (seed, split, number in the split) fixes all random draws; `to_apex`: frames to the last, strongest one.
    """
    rng = np.random.default_rng(key)
    seed, split, _ = key
    who = int(rng.choice(PEOPLE[SPLITS[split]]))
    person, shot = Person(seed, who), Shot(rng)
    if to_apex:
        rng = np.random.default_rng((*key, to_apex))
        shot.go_back(to_apex, rng)
    strengths = shot.strengths(expression, without)
    take_picture(image, face_shapes(person, strengths, shot), person, shot, rng)
    fill_masks(masks, person, strengths, shot)
    return who
