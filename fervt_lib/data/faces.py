"""A set of faces, which every loader returns; and a dataset, with all that is known about it in one place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ..disk import DataError
from .labels import EXPRESSIONS, VOTE_COLUMNS
from .store import open_table

SPLITS = ("train", "validation", "test")
ALL, SUBJECTS = "all", "subjects"  # what is counted beside the expressions

Counts = dict[str, dict[str, int]]  # of each part of a dataset, by expression, in all, and of its subjects


class Pictures:
    """Some rows of a cached table's column `picture`, read when they are asked for: `pictures[7]`, `pictures[[3, 1]]`.

    Args:
        path: of the table, as `cached` returns it.
        rows: `(n,)` int64, which of them, in this order.
    """

    def __init__(self, path: Path, rows: Tensor):
        self.path, self.rows = path, rows
        self.table = open_table(path)["picture"]  # (all, channels, height, width) uint8, on the disk

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> Tensor:
        return torch.from_numpy(np.array(self.table[self.rows[index].numpy()]))

    def __reduce__(self) -> tuple:
        return Pictures, (self.path, self.rows)  # another process opens the table itself


@dataclass(frozen=True)
class Faces(TorchDataset):
    """Faces with the votes of their raters, as plain uint8 tensors.

    An item or a batch (`faces[7]`, `faces[[3, 1]]`) is the pair `(images, votes)`.

    Attributes:
        pictures: `(n, channels, height, width)` uint8, 0-255; those of a dataset's files stay on the disk until they
            are asked for, so that a set may be larger than the memory. `images` has them all in memory.
        votes: `(n, 8)` uint8, votes per expression in the order of `EXPRESSIONS`, after the protocol's rules.
        raw_votes: `(n, 10)` uint8, as the raters gave them, with *unknown* and *NF* last.
        rows: `(n,)` int64, the face's row in its source (ferplus, fer2013) or its number in the series (the others).
        protocol: the rule that chose the faces, stated beside every accuracy.
        dataset: the name of the dataset that they come from.
        expressions: those that can occur in it; a model from elsewhere may answer with others.
        subjects: `(n,)` int64, who each face shows, where the dataset says so.
        fold: of ten, where the dataset is split into folds.
    """

    pictures: Tensor | Pictures
    votes: Tensor
    raw_votes: Tensor
    rows: Tensor
    protocol: str
    dataset: str = ""
    expressions: tuple[str, ...] = EXPRESSIONS
    subjects: Tensor | None = None
    fold: int | None = None

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

    @property
    def absent(self) -> list[int]:
        """Labels of the expressions that cannot occur."""
        return [label for label, name in enumerate(EXPRESSIONS) if name not in self.expressions]

    def take(self, chosen: Tensor) -> "Faces":
        """The chosen faces, `(n,)` bool or their indices, as a set of its own in memory."""
        subjects = None if self.subjects is None else self.subjects[chosen]
        votes = self.votes[chosen], self.raw_votes[chosen]
        where = self.protocol, self.dataset, self.expressions, subjects, self.fold
        return Faces(self.images[chosen], *votes, self.rows[chosen], *where)


def to_distribution(votes: Tensor) -> Tensor:
    """Votes `(n, 8)` of any number type as float32 probabilities whose rows sum to 1."""
    return votes / votes.sum(dim=1, keepdim=True)


def unanimous(labels: Tensor) -> dict[str, Tensor]:
    """`votes` and `raw_votes` of faces with one label each, `(n,)` int64: ten votes of ten for it."""
    raw_votes = 10 * torch.eye(len(VOTE_COLUMNS), dtype=torch.uint8)[labels]
    return {"votes": raw_votes[:, : len(EXPRESSIONS)].clone(), "raw_votes": raw_votes}


class Layout(NamedTuple):
    """How the files of a dataset's folder are laid out."""

    name: str
    """in words"""
    known: Counts
    """the counts of a complete copy"""
    pictures: tuple[Path, ...] | list[Path] = ()
    """files that are a face each, in the order of the dataset's rows; none where a table holds the faces"""
    mode: str = "L"
    size: tuple[int, int] | None = None
    """of the pictures, see `read_picture`"""
    all_classes: bool = False
    """whether it has faces that the loader gives with 8 classes only"""


@dataclass(frozen=True)
class Dataset:
    """Everything that the library knows about a dataset beyond its faces."""

    name: str
    title: str
    load: Callable[..., Faces]
    """from a split and options to faces"""
    layout: Callable[[Path], Layout] | None = None
    """which layout a folder has; raises DataError where it has none. None: the faces are drawn"""
    folder: str = ""
    """below the data folder"""
    how_to_get: str = ""
    options: dict = field(default_factory=dict)
    """those of `load` that a training recipe decides, with their defaults"""
    scored: tuple[dict, ...] = ({},)
    """options under which a model is scored one after the other; training validates under the first"""
    splits: tuple[str, ...] = SPLITS
    parts: dict[str, tuple[str, ...]] = field(default_factory=lambda: {split: (split,) for split in SPLITS})
    """the faces as they are given out: the splits that make up each part"""


class NotFoundError(DataError):
    """A folder holds no layout of a dataset."""

    def __init__(self, dataset: Dataset, root: Path):
        look = f"`fervt data {dataset.name}` tells what is there instead. With no download: load('drawn')."
        super().__init__(f"no {dataset.title} in {root}. {dataset.how_to_get} {look}")


def known_counts(part: str, counts: str, **more: int) -> Counts:
    """Counts in the order of EXPRESSIONS as text; 0 where an expression does not occur."""
    numbers = dict(zip(EXPRESSIONS, map(int, counts.split()), strict=True))
    return {part: numbers | {ALL: sum(numbers.values())} | more}
