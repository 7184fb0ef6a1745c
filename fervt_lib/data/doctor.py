"""What a folder of faces holds, what is odd about it, and what keeps it from being read."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .ckplus import CKPlusFaces, ckplus_layout, load_ckplus
from .faces import DataError, Faces
from .fer2013 import fer2013_layout, load_fer2013
from .ferplus import ferplus_layout, load_ferplus
from .files import Layout, NotFoundError, read_picture
from .labels import EXPRESSIONS
from .rafdb import load_rafdb, rafdb_layout
from .twins import find_twins

ALL, SUBJECTS = "all", "subjects"  # rows below those of the expressions
SHOWN = 3  # examples of each oddity, and faces of each example
SPLITS = ("train", "validation", "test")

Counts = dict[str, dict[str, int]]  # of each part, by expression and in all


class Dataset(NamedTuple):
    """How to look at a dataset.

    Attributes:
        parts: its faces, split as it is given out.
        known: the counts that it should have.
        pattern, size: of the pictures in a folder whose layout cannot be read, see `read_picture`.
    """

    layout: Callable[[Path], Layout]
    parts: Callable[[Path, Layout], dict[str, list[Faces]]]
    known: Callable[[Layout], Counts]
    pattern: str
    size: Callable[[Path], tuple[int, int] | None]


class Findings(NamedTuple):
    """Of one folder: counts (a column per part), oddities that keep nothing from being read, faults that do.

    `protocol` says which faces are counted.
    """

    layout: str
    protocol: str
    counts: pd.DataFrame
    odd: list[str]
    faults: list[str]


def examine(name: str, root: Path) -> Findings:
    """Look at the dataset in a folder, and fill its cache on the way. No file in the folder is changed.

    Args:
        name: "ckplus", "fer2013", "ferplus" or "rafdb".

    Returns:
        Where pictures are bad, every one of them is named among the faults, also beside a fault that keeps the layout
        itself from being read.
    """
    dataset, layout = DATASETS[name], None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            layout = dataset.layout(root)
            parts = dataset.parts(root, layout)
        except DataError as error:
            layout = layout or _guess(dataset, root, error)
            faults = dict.fromkeys([str(error), *_bad_pictures(layout, root)])
            return Findings(layout.name, "", pd.DataFrame(), _unique(said), list(faults))
    counts = pd.DataFrame({part: _count(sets) for part, sets in parts.items()})
    odd = [*_unique(said), *_unlike(counts, dataset.known(layout)), *_twins(parts, layout, root)]
    protocol = list(parts.values())[-1][0].protocol
    return Findings(layout.name, protocol, counts, odd, [])


def _unique(said: list[warnings.WarningMessage]) -> list[str]:
    return list(dict.fromkeys(str(warning.message) for warning in said))


def _guess(dataset: Dataset, root: Path, error: DataError) -> Layout:
    """The pictures of a dataset whose layout has a fault; none where the dataset is not there at all."""
    if isinstance(error, NotFoundError):
        return Layout("not found", [])
    return Layout("found, but with a fault", sorted(root.rglob(dataset.pattern)), size=dataset.size(root))


def _bad_pictures(layout: Layout, root: Path) -> Iterator[str]:
    for path in filter(Path.exists, layout.pictures):
        try:
            read_picture(path, root, layout.mode, layout.size)
        except DataError as error:
            yield str(error)


def _count(sets: list[Faces]) -> dict[str, int]:
    counts = sum(faces.labels.bincount(minlength=len(EXPRESSIONS)) for faces in sets)
    numbers = dict(zip(EXPRESSIONS, counts.tolist(), strict=True)) | {ALL: int(counts.sum())}
    if isinstance(sets[0], CKPlusFaces):
        numbers[SUBJECTS] = len(sets[0].subjects.unique())
    return numbers


def _unlike(counts: pd.DataFrame, known: Counts) -> Iterator[str]:
    for part, numbers in known.items():
        for name, number in numbers.items():
            if (found := counts.loc[name, part]) != number:
                what = {ALL: "faces in all", SUBJECTS: SUBJECTS}.get(name, f"faces of {name}")
                yield f"{part}: {found:,} {what}, {number:,} are known"


def _twins(parts: dict[str, list[Faces]], layout: Layout, root: Path) -> Iterator[str]:
    flat = {(part, i): faces for part, sets in parts.items() for i, faces in enumerate(sets)}
    labels = {key: faces.labels.tolist() for key, faces in flat.items()}
    groups = [
        [(key[0], labels[key][place], int(flat[key].rows[place])) for key, place in group] for group in find_twins(flat)
    ]
    across = [group for group in groups if len({part for part, _, _ in group}) > 1]
    unlike = [group for group in groups if len({label for _, label, _ in group}) > 1]
    kinds = {"pictures": groups, "pictures in two splits": across, "pictures with different labels": unlike}
    for kind, found in kinds.items():
        if found:
            examples = "".join(f"\n       {_members(group, layout, root)}" for group in found[:SHOWN])
            yield f"identical {kind}: {sum(map(len, found)):,} in {len(found):,} groups, such as{examples}"


def _members(group: list[tuple[str, int, int]], layout: Layout, root: Path) -> str:
    """One face of each part and label first, since that is what a reader looks for."""
    kinds = {(part, label): (part, label, row) for part, label, row in reversed(group)}
    order = [*reversed(kinds.values()), *(face for face in group if face not in kinds.values())]
    shown = [f"{layout.where(row, root)} ({part}, {EXPRESSIONS[label]})" for part, label, row in order[:SHOWN]]
    return " = ".join(shown) + f" and {len(group) - SHOWN} more" * (len(group) > SHOWN)


# --- what is known of each dataset (FER2013, CK+, RAF-DB: as quoted by others; FER+: counted in Microsoft's votes) ---


def _known(part: str, counts: str, **more: int) -> Counts:
    """Counts in the order of EXPRESSIONS as text; what does not occur is 0."""
    numbers = dict(zip(EXPRESSIONS, map(int, counts.split()), strict=True))
    return {part: numbers | {ALL: sum(numbers.values())} | more}


def _in_all(**counts: int) -> Counts:
    return {part: {ALL: count} for part, count in counts.items()}


KNOWN_FER2013 = (
    _known("train", "4965 7215 3171 4830 3995 436 4097 0")
    | _known("validation", "607 895 415 653 467 56 496 0")
    | _known("test", "626 879 416 594 491 55 528 0")
)
KNOWN_FERPLUS_PICTURES = _in_all(train=25_045, validation=3_191, test=3_137)
KNOWN_FERPLUS = (
    _known("train", "8740 7287 3149 3014 2100 119 532 119")
    | _known("validation", "1182 865 415 351 287 24 62 13")
    | _known("test", "1090 893 396 384 273 18 83 16")
)
KNOWN_RAFDB = _known("train", "2524 4772 1290 1982 705 717 281 0") | _known("test", "680 1185 329 478 162 160 74 0")
KNOWN_CK48 = _known("all", "0 207 249 84 135 177 75 54", subjects=118)
KNOWN_CKPLUS = _known("all", "327 207 249 84 135 177 75 54", subjects=118)

DATASETS = {
    "ckplus": Dataset(
        ckplus_layout,
        lambda root, layout: {"all": [load_ckplus("all", classes=7 if layout.size else 8, root=root)]},
        lambda layout: KNOWN_CK48 if layout.size else KNOWN_CKPLUS,
        "S*_*_*.png",
        lambda root: None if (root / "cohn-kanade-images").is_dir() else (48, 48),
    ),
    "fer2013": Dataset(
        fer2013_layout,
        lambda root, layout: {split: [load_fer2013(split, root=root)] for split in SPLITS},
        lambda layout: KNOWN_FER2013,
        "fer*.png",
        lambda root: (48, 48),
    ),
    "ferplus": Dataset(
        ferplus_layout,
        lambda root, layout: {split: [load_ferplus(split, root=root)] for split in SPLITS},
        lambda layout: KNOWN_FERPLUS_PICTURES if layout.pictures else KNOWN_FERPLUS,
        "fer*.png",
        lambda root: (48, 48),
    ),
    "rafdb": Dataset(
        rafdb_layout,
        lambda root, layout: {
            "train": [load_rafdb("train", root=root), load_rafdb("validation", root=root)],
            "test": [load_rafdb("test", root=root)],
        },
        lambda layout: KNOWN_RAFDB,
        "*_aligned.*",
        lambda root: (100, 100),
    ),
}
