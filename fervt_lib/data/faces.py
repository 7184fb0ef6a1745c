"""A set of faces: what every loader returns."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .labels import EXPRESSIONS, VOTE_COLUMNS


class DataError(ValueError):
    """A dataset file is missing, damaged or of another layout. The message names file, row and the way out."""


class Pictures:
    """Some rows of a table of pictures, read when they are asked for: `pictures[7]`, `pictures[[3, 1]]`.

    Args:
        table: `(all, channels, height, width)` uint8, memory-mapped as `cached` returns it.
        rows: `(n,)` int64, which of them, in this order.
    """

    def __init__(self, table: Tensor, rows: Tensor):
        self.table, self.rows = table, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> Tensor:
        return self.table[self.rows[index]]


@dataclass(frozen=True)
class Faces(Dataset):
    """Faces with the votes of their raters, as plain uint8 tensors.

    An item or a batch (`faces[7]`, `faces[[3, 1]]`) is the pair `(images, votes)`.

    Attributes:
        pictures: `(n, channels, height, width)` uint8, 0-255; those of a dataset's files stay on the disk until they
            are asked for, so that a set may be larger than the memory. `images` has them all in memory.
        votes: `(n, 8)` uint8, votes per expression in the order of `EXPRESSIONS`, after the protocol's rules.
        raw_votes: `(n, 10)` uint8, as the raters gave them, with *unknown* and *NF* last.
        rows: `(n,)` int64, the face's row in its source (ferplus, fer2013) or its number in the series (the others).
        protocol: the rule that chose the faces, said beside every accuracy.
    """

    pictures: Tensor | Pictures
    votes: Tensor
    raw_votes: Tensor
    rows: Tensor
    protocol: str

    def __len__(self) -> int:
        return len(self.votes)

    def __getitem__(self, index) -> tuple[Tensor, Tensor]:
        return self.pictures[index], self.votes[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        # torch's DataLoader asks for a whole batch at once when this method is there: one indexing, no stacking.
        return self[torch.as_tensor(indices)]

    @cached_property
    def images(self) -> Tensor:
        """`(n, channels, height, width)` uint8: all pictures, read at the first use."""
        return self.pictures[:]

    @property
    def labels(self) -> Tensor:
        """`(n,)` int64: the expression with most votes; the first in label order where two tie."""
        return self.votes.argmax(dim=1)

    @property
    def distribution(self) -> Tensor:
        """`(n, 8)` float32: the votes as probabilities; rows sum to 1."""
        return to_distribution(self.votes)


def to_distribution(votes: Tensor) -> Tensor:
    """Votes `(n, 8)` of any number type as float32 probabilities whose rows sum to 1."""
    return votes / votes.sum(dim=1, keepdim=True)


def unanimous(labels: Tensor) -> dict[str, Tensor]:
    """`votes` and `raw_votes` of faces with one label each, `(n,)` int64: ten votes of ten for it."""
    raw_votes = 10 * torch.eye(len(VOTE_COLUMNS), dtype=torch.uint8)[labels]
    return {"votes": raw_votes[:, : len(EXPRESSIONS)].clone(), "raw_votes": raw_votes}
