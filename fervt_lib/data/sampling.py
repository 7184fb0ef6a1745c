"""Class-balanced sampling."""

import torch
from torch.utils.data import Subset

from ..disk import FervtError, check_number
from .faces import Faces
from .labels import EXPRESSIONS


def repeat_rare(faces: Faces, share: float, generator: torch.Generator) -> Subset:
    """A view of the faces in which those of rare expressions come √(share / frequency) times, all others once.

    Repeat-factor sampling, as LVIS (Gupta, Dollár and Girshick 2019) does it for rare objects: half-way, on a log
    scale, from the set as it is to one where every expression has at least that share. The fraction of
    the factor is the probability of one more copy. No picture is copied.

    Raises:
        FervtError: a share that is not from 0 to 1, or no faces.
    """
    check_number("rare_share", share, 0, 1)
    if not len(faces):
        raise FervtError("there are no faces: choose another split, or another selection")
    labels = faces.labels
    frequency = labels.bincount(minlength=len(EXPRESSIONS)) / len(labels)
    factors = (share / frequency).sqrt().clamp(min=1)[labels]
    copies = (factors + torch.rand(len(labels), generator=generator)).long()
    return Subset(faces, torch.arange(len(labels)).repeat_interleave(copies).tolist())
