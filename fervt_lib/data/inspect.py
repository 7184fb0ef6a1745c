"""A closer look at the data: what a folder holds, what is wrong with it, and which pictures occur twice."""

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ..disk import DataError
from .faces import ALL, SUBJECTS, Counts, Dataset, Faces, Layout, NotFoundError, found_below
from .files import PICTURE_ENDINGS, encoding_of, list_folder, read_picture
from .labels import EXPRESSIONS

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
MAX_EXAMPLES = 3  # per warning, and faces per example


class Findings(NamedTuple):
    """What we found in a folder."""

    layout: str
    protocol: str
    """which faces we counted"""
    counts: pd.DataFrame
    """one column per part of the dataset, one row per expression"""
    warnings: list[str]
    """oddities; the data still load"""
    faults: list[str]
    """problems that keep the data from loading"""


def examine(dataset: Dataset, root: Path) -> Findings:
    """Check a dataset's folder, and fill its cache along the way. No file in the folder changes.

    If a folder of a known layout does not load, the faults list every damaged picture, not only the first.
    """
    layout = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            layout = dataset.layout(root)
            options = {"root": root} | ({"classes": 8} if layout.all_classes else {})
            parts = {part: [dataset.load(s, **options) for s in splits] for part, splits in dataset.parts.items()}
        except DataError as error:
            closer = _instead(dataset, root) if isinstance(error, NotFoundError) else _bad_files(root, layout)
            faults = [str(error), *closer]
            name = layout.name if layout else "not recognized"
            return Findings(name, "", pd.DataFrame(), _texts(caught), list(dict.fromkeys(faults)))
    counts = pd.DataFrame({part: _count(sets) for part, sets in parts.items()})
    odd = [*_texts(caught), *_unlike(counts, layout.known), *_links(root), *_twice(parts, layout, root)]
    return Findings(layout.name, parts[next(iter(parts))][0].protocol, counts, odd, [])


def _texts(caught: list[warnings.WarningMessage]) -> list[str]:
    return list(dict.fromkeys(str(warning.message) for warning in caught))


# --- what keeps a folder from loading -----------------------------------------------------------------------------


def _instead(dataset: Dataset, root: Path) -> Iterator[str]:
    """What is there instead of a dataset's folder."""
    if not root.exists():
        yield f"{root} does not exist"
    elif not root.is_dir():
        yield f"{root} is a file; name the folder that holds the unpacked dataset"
    else:
        if below := found_below(dataset, root):
            yield f"{below} holds it, one level down; name that folder, or move its contents up"
        held = list_folder(root)
        packed = [path for path in held if path.suffix.lower() in ARCHIVES and not path.name.endswith(".csv.gz")]
        yield from (f"{path} is an archive; unpack it" for path in packed)
        if len(folders := [path for path in held if path.is_dir()]) == 1:
            yield f"is the dataset in {folders[0]}? Then name that folder"


def _bad_files(root: Path, layout: Layout | None) -> Iterator[str]:
    """Every picture that cannot be read, every text file that is not text, and every broken link."""
    how = (layout.mode, layout.size) if layout else ("L", None)
    for path in sorted(root.rglob("*")) if root.is_dir() else []:
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.is_symlink() and not path.exists():
            yield f"{path} is a link to nothing; put the file itself in its place"
        elif path.suffix.lower() in PICTURE_ENDINGS:
            try:
                read_picture(path, *how)
            except DataError as error:
                yield str(error)
        elif path.suffix in (".csv", ".txt") and path.is_file():
            with open(path, "rb") as file:
                start = file.read(4096)
            if b"\0" in start and encoding_of(start) != "utf-16":
                yield f"{path}: not a text file, or neither UTF-8 nor UTF-16; download it again"


# --- what is odd, although the data load -------------------------------------------------------------------------


def _count(sets: list[Faces]) -> dict[str, int]:
    counts = sum(faces.labels.bincount(minlength=len(EXPRESSIONS)) for faces in sets)
    numbers = dict(zip(EXPRESSIONS, counts.tolist(), strict=True)) | {ALL: int(counts.sum())}
    if sets[0].subjects is not None:
        numbers[SUBJECTS] = len(sets[0].subjects.unique())
    return numbers


def _unlike(counts: pd.DataFrame, known: Counts) -> Iterator[str]:
    for part, numbers in known.items():
        for name, number in numbers.items():
            if (found := counts.loc[name, part]) != number:
                what = {ALL: "faces in all", SUBJECTS: SUBJECTS}.get(name, f"faces of {name}")
                yield f"{part}: {found:,} {what}, a complete copy has {number:,}"


def _links(root: Path) -> Iterator[str]:
    inside = root.resolve()
    for path in root.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            yield f"{path} is a link that leads out of the folder, to {path.resolve()}"


def _twice(parts: dict[str, list[Faces]], layout: Layout, root: Path) -> Iterator[str]:
    found = defaultdict(list)
    for part, faces in ((part, faces) for part, sets in parts.items() for faces in sets):
        for digest, label, row in zip(_digests(faces), faces.labels.tolist(), faces.rows.tolist(), strict=True):
            found[digest].append((part, label, row))
    groups = [group for group in found.values() if len(group) > 1]
    kinds = {
        "pictures": groups,
        "pictures in two splits": [group for group in groups if len({part for part, _, _ in group}) > 1],
        "pictures with different labels": [group for group in groups if len({label for _, label, _ in group}) > 1],
    }
    for kind, found in kinds.items():
        if found:
            examples = "".join(f"\n       {_example(group, layout, root)}" for group in found[:MAX_EXAMPLES])
            yield f"identical {kind}: {sum(map(len, found)):,} in {len(found):,} groups, such as{examples}"


def _example(group: list[tuple[str, int, int]], layout: Layout, root: Path) -> str:
    """List one face of each part and label first: those matter most to the reader."""
    first = {(part, label): (part, label, row) for part, label, row in reversed(group)}
    order = [*reversed(first.values()), *(face for face in group if face not in first.values())]
    shown = []
    for part, label, row in order[:MAX_EXAMPLES]:
        source = layout.pictures[row].relative_to(root) if layout.pictures else f"row {row + 2}"
        shown.append(f"{source} ({part}, {EXPRESSIONS[label]})")
    return " = ".join(shown) + (f" and {len(group) - MAX_EXAMPLES} more" if len(group) > MAX_EXAMPLES else "")


# --- pictures that occur twice -----------------------------------------------------------------------------------


def is_duplicate(train: Faces, faces: Faces) -> Tensor:
    """`(n,)` bool: which of `faces` match a face of `train` pixel for pixel."""
    known = set(_digests(train))
    return torch.tensor([digest in known for digest in _digests(faces)], dtype=torch.bool)


def overlap(train: Faces, test: Faces) -> dict[str, int]:
    """Count what a test set has in common with a training set; there should be nothing.

    Returns:
        `faces`: how many test faces match a training face pixel for pixel. If both sets come from the same dataset
        and it tells who each face shows, also `subjects`: how many people are in both.
    """
    common = {"faces": int(is_duplicate(train, test).sum())}
    if train.dataset == test.dataset and train.subjects is not None and test.subjects is not None:
        common["subjects"] = len(set(train.subjects.tolist()) & set(test.subjects.tolist()))
    return common


def checksum(faces: Faces) -> str:
    """A checksum of all pictures and votes, in their order. It reads the pictures one batch at a time."""
    total = hashlib.sha256(faces.votes.numpy().tobytes())
    for digest in _digests(faces):
        total.update(digest)
    return total.hexdigest()


def _digests(faces: Faces) -> Iterator[bytes]:
    for start in range(0, len(faces), 1024):
        images, _ = faces[start : start + 1024]
        yield from (hashlib.sha256(image.numpy().tobytes()).digest() for image in images)
