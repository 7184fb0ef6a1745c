"""A set of faces, which every loader returns; and a dataset, with all that is known about it in one place."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset

from ..disk import DataError, FervtError, check_number
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

    def __init__(self, path: Path, rows: Tensor | np.ndarray, table: np.memmap | None = None):
        self.path, self.rows = path, torch.as_tensor(rows)
        # (all, channels, height, width) uint8, on the disk; what is open stays there though the cache is made again
        self.table = open_table(path)["picture"] if table is None else table

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> Tensor:
        return torch.from_numpy(np.array(self.table[self.rows[index].numpy()]))

    def __reduce__(self) -> tuple:
        return Pictures, (self.path, self.rows.numpy())  # another process opens the table itself


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

    def __post_init__(self):
        n, pictures = len(self.votes), self.pictures
        if not all(isinstance(part, Tensor | Pictures) for part in (pictures, self.votes, self.raw_votes, self.rows)):
            raise FervtError("pictures, votes, raw_votes and rows must be torch tensors: torch.from_numpy makes them")
        shapes = [tuple(tensor.shape) for tensor in (self.votes, self.raw_votes, self.rows)]
        if [*shapes, len(pictures)] != [(n, len(EXPRESSIONS)), (n, len(VOTE_COLUMNS)), (n,), n]:
            raise FervtError(f"votes, raw_votes and rows {shapes} of {len(pictures)} pictures: see Faces")
        is_picture = isinstance(pictures, Pictures) or (pictures.ndim == 4 and pictures.dtype == torch.uint8)
        if not is_picture or (isinstance(pictures, Tensor) and pictures.shape[1] not in (1, 3)):
            found = f"{tuple(pictures.shape)}, {pictures.dtype}"
            raise FervtError(f"pictures {found}: give (n, 1 or 3, height, width) in uint8 from 0 to 255")
        if n and not (self.votes.min() >= 0 and self.votes.sum(dim=1).min() > 0):
            raise FervtError("every face needs a vote, and none may be negative")

    def __len__(self) -> int:
        return len(self.votes)

    def __getstate__(self) -> dict:
        # arrays: torch would hand its tensors to another process through shared memory, of which Docker gives 64 MB
        kept = {key: value for key, value in vars(self).items() if key != "images"}
        return {key: value.numpy() if isinstance(value, Tensor) else value for key, value in kept.items()}

    def __setstate__(self, state: dict) -> None:
        vars(self).update({k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in state.items()})

    def __getitem__(self, index) -> tuple[Tensor, Tensor]:
        return self.pictures[index], self.votes[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        # torch's DataLoader asks for a batch at once where this method is there, and puts the items together itself
        return list(zip(*self[torch.as_tensor(indices, dtype=torch.int64)], strict=True))

    @cached_property
    def images(self) -> Tensor:
        """`(n, channels, height, width)` uint8: all pictures, read at the first use."""
        return self.pictures[:]

    @property
    def labels(self) -> Tensor:
        """`(n,)` int64: the expression with most votes; the first in label order where two tie."""
        return self.votes.argmax(dim=1)

    @property
    def absent(self) -> list[int]:
        """Labels of the expressions that cannot occur."""
        return [label for label, name in enumerate(EXPRESSIONS) if name not in self.expressions]

    def take(self, chosen: Tensor) -> "Faces":
        """The chosen faces, `(n,)` bool or their indices, as a set of its own; pictures on the disk stay there."""
        parts = {part.name: getattr(self, part.name) for part in fields(Faces)}
        parts = {name: part[chosen] if isinstance(part, Tensor) else part for name, part in parts.items()}
        if isinstance(whole := self.pictures, Pictures):
            parts["pictures"] = Pictures(whole.path, whole.rows[chosen], whole.table)
        return Faces(**parts)


def as_faces(faces: "Faces | Subset") -> Faces:
    """Faces as they are; a torch Subset of faces, as `random_split` makes them, as a set of its own.

    Raises:
        FervtError: it is neither.
    """
    if isinstance(faces, Subset):
        return as_faces(faces.dataset).take(torch.as_tensor(faces.indices, dtype=torch.int64))
    if not isinstance(faces, Faces):
        raise FervtError(f"faces must be a set of `Faces` or a torch Subset of one, not {type(faces).__name__}")
    return faces


def repeat_rare(faces: Faces, share: float, generator: torch.Generator) -> Tensor:
    """Indices of the faces, `(n,)`: those of rare expressions come √(share / frequency) times, all others once.

    Repeat-factor sampling, as LVIS (Gupta, Dollár and Girshick 2019) does it for rare objects: half-way, on a log
    scale, from the set as it is to one where every expression has at least that share. The fraction of
    the factor is the probability of one more copy.

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
    return torch.arange(len(labels)).repeat_interleave(copies)


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


def found_below(dataset: Dataset, root: Path) -> Path | None:
    """The folder in `root` that holds the dataset, as where an archive was unpacked into a folder of its own name."""
    for folder in filter(Path.is_dir, sorted(root.iterdir()) if root.is_dir() else ()):
        try:
            dataset.layout(folder)
        except (NotFoundError, OSError):  # the second: a folder that may not be entered
            continue
        except DataError:
            pass  # it is there, and damaged
        return folder
    return None


def known_counts(part: str, counts: str, **more: int) -> Counts:
    """Counts in the order of EXPRESSIONS as text; 0 where an expression does not occur."""
    numbers = dict(zip(EXPRESSIONS, map(int, counts.split()), strict=True))
    return {part: numbers | {ALL: sum(numbers.values())} | more}
