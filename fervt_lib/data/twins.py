"""Pictures that are the same, pixel for pixel, and people who are on both sides of a split."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from .faces import Faces


def find_twins(parts: dict[Hashable, Faces]) -> list[list[tuple[Hashable, int]]]:
    """Groups of two or more identical pictures, as pairs of their part and their place in it.

    Pictures are read one batch at a time.
    """
    places = defaultdict(list)
    for part, faces in parts.items():
        for place, digest in enumerate(_digests(faces)):
            places[digest].append((part, place))
    return [group for group in places.values() if len(group) > 1]


def seen(train: Faces, faces: Faces) -> Tensor:
    """`(n,)` bool: which of `faces` are pixel for pixel a face of `train`."""
    known = set(_digests(train))
    return torch.tensor([digest in known for digest in _digests(faces)], dtype=torch.bool)


def shared(train: Faces, test: Faces) -> dict[str, int]:
    """What a test set has in common with a training set: it should be nothing.

    Returns:
        `faces`: test faces that are pixel for pixel a training face. Where both are of one dataset that names its
        people (CK+, the drawn faces), `subjects` too: people who are in both.
    """
    common = {"faces": int(seen(train, test).sum())}
    people = _people(train), _people(test)
    if type(train) is type(test) and None not in people:
        common["subjects"] = len(set(people[0].tolist()) & set(people[1].tolist()))
    return common


def _people(faces: Faces) -> Tensor | None:
    return getattr(faces, "subjects", getattr(faces, "identities", None))


def _digests(faces: Faces) -> Iterator[bytes]:
    for start in range(0, len(faces), 1024):
        images, _ = faces[start : start + 1024]
        yield from (hashlib.sha256(image.numpy().tobytes()).digest() for image in images)
