"""`Faces`, the set that every loader returns, and `Dataset`, which keeps all we know about a dataset in one place."""

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
ALL, SUBJECTS = "all", "subjects"  # what we count besides the expressions

Counts = dict[str, dict[str, int]]  # by part of a dataset, then by expression, ALL and SUBJECTS


class Pictures:
    """Some pictures of a cached table, read from disk only when you ask for them: `pictures[7]`, `pictures[[3, 1]]`.

    Args:
        path: the file of the table, as `cached` returns it.
        rows: `(n,)` int64, which rows of the table to use, in this order.
    """

    def __init__(self, path: Path, rows: Tensor | np.ndarray, table: np.memmap | None = None):
        self.path, self.rows = path, torch.as_tensor(rows)
        # (all, channels, height, width) uint8, on disk; an open table stays usable even when the cache is rebuilt
        self.table = open_table(path)["picture"] if table is None else table

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> Tensor:
        return torch.from_numpy(np.array(self.table[self.rows[index].numpy()]))

    def __reduce__(self) -> tuple:
        return Pictures, (self.path, self.rows.numpy())  # another process opens the table itself


@dataclass(frozen=True)
class Faces(TorchDataset):
    """Faces and their raters' votes, as plain uint8 tensors.

    An item or a batch (`faces[7]`, `faces[[3, 1]]`) is the pair `(images, votes)`.

    Attributes:
        pictures: `(n, channels, height, width)` uint8, 0-255. Pictures from a dataset's files stay on disk until you
            ask for them, so a set may be larger than memory. `images` loads them all into memory.
        votes: `(n, 8)` uint8, votes per expression in the order of `EXPRESSIONS`, after we apply the protocol's rules.
        raw_votes: `(n, 10)` uint8, as the raters gave them, with *unknown* and *NF* last.
        rows: `(n,)` int64, the face's row in its source (ferplus, fer2013) or a sequential number (the others).
        protocol: the rule that selected the faces; we state it with every accuracy.
        dataset: the name of the dataset they come from.
        expressions: those that can occur in the dataset; a model trained elsewhere may answer with others.
        subjects: `(n,)` int64, who each face shows, if the dataset tells us.
        fold: which of ten, if the dataset is split into folds.
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
            raise FervtError("pictures, votes, raw_votes and rows must be torch tensors: use torch.from_numpy")
        shapes = [tuple(tensor.shape) for tensor in (self.votes, self.raw_votes, self.rows)]
        if [*shapes, len(pictures)] != [(n, len(EXPRESSIONS)), (n, len(VOTE_COLUMNS)), (n,), n]:
            raise FervtError(f"votes, raw_votes and rows {shapes} do not fit {len(pictures)} pictures: see `Faces`")
        is_picture = isinstance(pictures, Pictures) or (pictures.ndim == 4 and pictures.dtype == torch.uint8)
        if not is_picture or (isinstance(pictures, Tensor) and pictures.shape[1] not in (1, 3)):
            found = f"{tuple(pictures.shape)}, {pictures.dtype}"
            raise FervtError(f"pictures {found}: give (n, 1 or 3, height, width) in uint8 from 0 to 255")
        if n and not (self.votes.min() >= 0 and self.votes.sum(dim=1).min() > 0):
            raise FervtError("every face needs at least one vote, and no vote may be negative")

    def __len__(self) -> int:
        return len(self.votes)

    def __getstate__(self) -> dict:
        # as arrays: torch passes tensors to another process through shared memory, and Docker provides only 64 MB of it
        kept = {key: value for key, value in vars(self).items() if key != "images"}
        return {key: value.numpy() if isinstance(value, Tensor) else value for key, value in kept.items()}

    def __setstate__(self, state: dict) -> None:
        vars(self).update({k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in state.items()})

    def __getitem__(self, index) -> tuple[Tensor, Tensor]:
        return self.pictures[index], self.votes[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        # if a dataset has this method, torch's DataLoader fetches whole batches with it, and then collates the items
        return list(zip(*self[torch.as_tensor(indices, dtype=torch.int64)], strict=True))

    @cached_property
    def images(self) -> Tensor:
        """`(n, channels, height, width)` uint8: all pictures, read on first use."""
        return self.pictures[:]

    @property
    def labels(self) -> Tensor:
        """`(n,)` int64: the expression with the most votes; in a tie, the first in label order."""
        return self.votes.argmax(dim=1)

    @property
    def absent(self) -> list[int]:
        """Labels of the expressions that cannot occur in the dataset."""
        return [label for label, name in enumerate(EXPRESSIONS) if name not in self.expressions]

    def take(self, chosen: Tensor) -> "Faces":
        """A new set with only the chosen faces, `(n,)` bool or their indices; pictures on disk stay there."""
        parts = {part.name: getattr(self, part.name) for part in fields(Faces)}
        parts = {name: part[chosen] if isinstance(part, Tensor) else part for name, part in parts.items()}
        if isinstance(whole := self.pictures, Pictures):
            parts["pictures"] = Pictures(whole.path, whole.rows[chosen], whole.table)
        return Faces(**parts)


def as_faces(faces: "Faces | Subset") -> Faces:
    """Return `Faces` unchanged, and turn a torch Subset of them (say, from `random_split`) into `Faces` too.

    Raises:
        FervtError: `faces` is neither.
    """
    if isinstance(faces, Subset):
        return as_faces(faces.dataset).take(torch.as_tensor(faces.indices, dtype=torch.int64))
    if not isinstance(faces, Faces):
        raise FervtError(f"faces must be a set of `Faces` or a torch Subset of one, not {type(faces).__name__}")
    return faces


def repeat_rare(faces: Faces, share: float, generator: torch.Generator) -> Tensor:
    """Indices of the faces, `(n,)`: those of rare expressions appear √(share / frequency) times, all others once.

    This is repeat-factor sampling, which LVIS (Gupta, Dollár and Girshick 2019) uses for rare objects. On a log scale,
    it takes us halfway from the original set to one where every expression has at least that share. The fractional
    part of the factor is the probability of one more copy.

    Raises:
        FervtError: the share is not from 0 to 1, or there are no faces.
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
    """Turn votes `(n, 8)`, integers or floats, into probabilities; each row sums to 1."""
    return votes / votes.sum(dim=1, keepdim=True)


def unanimous(labels: Tensor) -> dict[str, Tensor]:
    """`votes` and `raw_votes` of faces with one label each, `(n,)` int64: all ten votes go to that label."""
    raw_votes = 10 * torch.eye(len(VOTE_COLUMNS), dtype=torch.uint8)[labels]
    return {"votes": raw_votes[:, : len(EXPRESSIONS)].clone(), "raw_votes": raw_votes}


class Layout(NamedTuple):
    """How a dataset's folder arranges its files."""

    name: str
    """the layout in words"""
    known: Counts
    """the counts of a complete copy"""
    pictures: tuple[Path, ...] | list[Path] = ()
    """one file per face, in the order of the dataset's rows; none if a table holds the faces"""
    mode: str = "L"
    size: tuple[int, int] | None = None
    """width and height of the pictures, see `read_picture`"""
    all_classes: bool = False
    """whether it has faces that the loader returns only with 8 classes"""


@dataclass(frozen=True)
class Dataset:
    """Everything the library knows about a dataset besides its faces."""

    name: str
    title: str
    load: Callable[..., Faces]
    """loads faces, given a split and options"""
    layout: Callable[[Path], Layout] | None = None
    """finds the layout of a folder; raises DataError if it has none. None: the faces are drawn"""
    folder: str = ""
    """its subfolder of the data folder"""
    how_to_get: str = ""
    options: dict = field(default_factory=dict)
    """the options of `load` that a training recipe sets, with their defaults"""
    scored: tuple[dict, ...] = ({},)
    """we score a model with each of these sets of options in turn; training validates with the first"""
    splits: tuple[str, ...] = SPLITS
    parts: dict[str, tuple[str, ...]] = field(default_factory=lambda: {split: (split,) for split in SPLITS})
    """each part of the dataset as distributed, and the splits that make up that part"""


class NotFoundError(DataError):
    """A folder has none of a dataset's layouts."""

    def __init__(self, dataset: Dataset, root: Path):
        look = f"`fervt data {dataset.name}` shows what is there instead. To start without a download: load('drawn')."
        super().__init__(f"no {dataset.title} in {root}. {dataset.how_to_get} {look}")


def found_below(dataset: Dataset, root: Path) -> Path | None:
    """The folder in `root` that holds the dataset, say because an archive was unpacked into its own folder."""
    for folder in filter(Path.is_dir, sorted(root.iterdir()) if root.is_dir() else ()):
        try:
            dataset.layout(folder)
        except (NotFoundError, OSError):  # OSError: a folder that we may not enter
            continue
        except DataError:
            pass  # the dataset is there, but damaged
        return folder
    return None


def known_counts(part: str, counts: str, **more: int) -> Counts:
    """Parse counts from text, in the order of EXPRESSIONS; 0 if an expression does not occur."""
    numbers = dict(zip(EXPRESSIONS, map(int, counts.split()), strict=True))
    return {part: numbers | {ALL: sum(numbers.values())} | more}
