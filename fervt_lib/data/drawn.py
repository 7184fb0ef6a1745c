"""The drawn faces as a dataset: always available, with known ground truth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from drawn_faces import draw_faces

from ..disk import FervtError
from .faces import Dataset, Faces, unanimous


@dataclass(frozen=True, kw_only=True)
class DrawnFaces(Faces):
    """Drawn faces with their ground truth; `rows` numbers the faces of a split, and `subjects` says who is drawn."""

    units: Tensor
    """`(n, n_units)` bool, the active action units, in the order of `drawn_faces.ACTION_UNITS`"""
    masks: Tensor
    """`(n, n_units, height, width)` bool, the part of the face that a unit changes, even where something hides it"""


def load_drawn(split: str = "train", **options) -> DrawnFaces:
    """Draw one split of the drawn faces. See `drawn_faces.draw_faces` for the options.

    Returns:
        Faces `(n, 1 or 3, size, size)` uint8, each with ten votes for its one label.

    Raises:
        FervtError: the split, expression or action unit does not exist, or a number is out of range.
    """
    try:
        drawn = draw_faces(split, **options)
    except ValueError as error:
        raise FervtError(str(error)) from error
    return DrawnFaces(
        pictures=torch.from_numpy(drawn.images).permute(0, 3, 1, 2).contiguous(),
        **unanimous(torch.from_numpy(drawn.labels)),
        rows=torch.arange(len(drawn.labels)),
        protocol="drawn",
        dataset="drawn",
        subjects=torch.from_numpy(drawn.people),
        units=torch.from_numpy(drawn.units),
        masks=torch.from_numpy(drawn.masks),
    )


DRAWN = Dataset("drawn", "the drawn faces", load_drawn)
