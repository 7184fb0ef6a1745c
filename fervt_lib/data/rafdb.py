"""RAF-DB, basic expressions (Li, Deng & Du 2017): faces from the web, each with one label agreed on by its raters.

Two layouts are read, and the dataset's folder may be the one that holds them or one step inside:

* official: `basic/Image/aligned/train_00001_aligned.jpg` and `basic/EmoLabel/list_patition_label.txt`;
* Kaggle: `DATASET/train/1/train_00001_aligned.jpg`, the code of the label being the folder's name.
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .cache import Write, cached
from .faces import DataError, Faces, Pictures, unanimous
from .files import (
    LEFT_OVER,
    Layout,
    find_root,
    fingerprint,
    list_folder,
    list_pictures,
    match_rows,
    not_found,
    read_picture,
    read_text,
)
from .labels import EXPRESSIONS, RAFDB_CODES

SIDE = 100
SPLITS = ("train", "validation", "test")
PARTS = ("train", "test")  # of the dataset itself
VALIDATION_SHARE = 0.1
NAME = {part: re.compile(rf"{part}_(\d+)") for part in PARTS}  # how the name of a picture begins
LABELS = {str(code): EXPRESSIONS.index(name) for code, name in enumerate(RAFDB_CODES, 1)}
HOW_TO_GET = (
    "RAF-DB is given out by its authors on request; it goes to data/rafdb or $FERVT_DATA/rafdb, as basic/Image/aligned "
    "with basic/EmoLabel, or as Kaggle's DATASET/train and DATASET/test; see data/README.md."
)

Labels = dict[Path, int]  # of each picture


def load_rafdb(split: str = "train", *, seed: int = 0, root: str | Path | None = None) -> Faces:
    """Load one split of RAF-DB's basic expressions, aligned pictures.

    RAF-DB has train (12,271 faces) and test (3,068). Validation is a tenth of each label's train faces, chosen by
    `seed`; the test split is the official one, whole. Both layouts give the same faces in the same order.

    Args:
        split: "train", "validation" or "test".
        seed: which train faces are kept for validation.
        root: the dataset's folder; None means `$FERVT_DATA/rafdb`, else `data/rafdb`.

    Returns:
        Faces of 100×100 pixels in colour, `(n, 3, 100, 100)` uint8, each with ten votes for its one label. None is
        contempt. `rows` counts the pictures by name, train before test.

    Raises:
        DataError: a file is missing, damaged or left over; the message names file, row and the way out.
        ValueError: no such split.

    Warns:
        UserWarning: the numbers in the names of the train or the test pictures do not run from 1.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: RAF-DB has {', '.join(SPLITS)}")
    root = find_root("rafdb", root)
    _, parts = _find(root)
    for part in PARTS:
        _warn_of_gaps(root, part, parts[part])
    faces = _in_order(parts)
    pictures, labels = [path for path, _ in faces], torch.tensor([label for _, label in faces])
    table = cached(
        "rafdb", root, fingerprint(pictures, root), (3, SIDE, SIDE), lambda write: _parse(pictures, root, write)
    )
    rows = _rows(labels, len(parts["train"]), split, seed)
    protocol = "official" + f", validation by seed {seed}" * (split != "test")
    return Faces(Pictures(table["images"], rows), **unanimous(labels[rows]), rows=rows, protocol=protocol)


def rafdb_layout(root: Path) -> Layout:
    """Which of the two layouts is there. Raises DataError where neither is, or a part of it is missing or left over."""
    name, parts = _find(root)
    pictures = [path for path, _ in _in_order(parts)]
    return Layout(name, pictures, "RGB", (SIDE, SIDE))


def _in_order(parts: dict[str, Labels]) -> list[tuple[Path, int]]:
    """The faces as `rows` counts them: train before test, by name."""
    return [face for part in PARTS for face in sorted(parts[part].items(), key=lambda face: face[0].name)]


def _rows(labels: Tensor, train: int, split: str, seed: int) -> Tensor:
    """The faces of a split, ascending. train: how many faces, the first ones, are train faces."""
    if split == "test":
        return torch.arange(train, len(labels))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(train, dtype=torch.bool)
    for label in range(len(EXPRESSIONS)):
        faces = (labels[:train] == label).nonzero().squeeze(1)
        faces = faces[torch.randperm(len(faces), generator=generator)]
        chosen[faces[: round(VALIDATION_SHARE * len(faces))]] = True
    return (chosen if split == "validation" else ~chosen).nonzero().squeeze(1)


def _parse(pictures: list[Path], root: Path, write: Write) -> dict[str, np.ndarray]:
    for path in tqdm(pictures, desc="RAF-DB", leave=False):
        write(np.ascontiguousarray(read_picture(path, root, "RGB", (SIDE, SIDE)).transpose(2, 0, 1)))
    return {}


def _find(root: Path) -> tuple[str, dict[str, Labels]]:
    """The layout's name, and the pictures of train and test with their labels."""
    for folder in (root, root / "basic"):
        if (folder / "EmoLabel").is_dir() or (folder / "Image").is_dir():
            return "official, Image/aligned with EmoLabel", _official(folder, root)
    for folder in (root, root / "DATASET"):
        if any((folder / part).is_dir() for part in PARTS):
            return "Kaggle's, train/1 to test/7", _kaggle(folder)
    raise not_found("RAF-DB", root, HOW_TO_GET)


def _warn_of_gaps(root: Path, part: str, pictures: Labels) -> None:
    """RAF-DB numbers its pictures, train and test each from 1."""
    numbers = [int(NAME[part].match(path.name)[1]) for path in pictures]
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        absent = set(range(1, max(numbers) + 1)).difference(numbers)
        what = f"{len(absent)} are missing, the first is {min(absent)}" if absent else "some come twice"
        warnings.warn(
            f"{root}: its {part} pictures are not numbered 1 to {max(numbers)}: {what}; is it whole?", stacklevel=3
        )


# --- layout 1: official ------------------------------------------------------------------------------------------


def _official(folder: Path, root: Path) -> dict[str, Labels]:
    file, place = folder / "EmoLabel" / "list_patition_label.txt", folder / "Image" / "aligned"
    pictures, rows = list_pictures(place), list(_label_rows(file, root))
    match_rows(file, {row: name for row, _, name, _ in rows}, pictures, place)
    parts = {part: {place / name: label for _, of, name, label in rows if of == part} for part in PARTS}
    if absent := [part for part in PARTS if not parts[part]]:
        raise DataError(f"{file} has no {absent[0]} faces; the file is cut short: fetch it again")
    return parts


def _label_rows(file: Path, root: Path) -> Iterator[tuple[int, str, str, int]]:
    """Row, part, name of the aligned picture and label of each row that is not blank."""
    for row, line in enumerate(read_text(file, root).splitlines(), 1):
        match = re.fullmatch(r"\s*((train|test)_\d+)\.jpg\s+(\S+)\s*", line)
        if match:
            yield row, match[2], f"{match[1]}_aligned.jpg", _label(f"{file}, row {row}", match[3])
        elif line.strip():
            raise DataError(f"{file}, row {row}: {line!r} is not like 'train_00001.jpg 5'; fetch the file again")


def _label(where: Path | str, code: str) -> int:
    if code not in LABELS:
        raise DataError(f"{where}: code {code!r}; RAF-DB has {', '.join(LABELS)}. {LEFT_OVER.capitalize()}")
    return LABELS[code]


# --- layout 2: Kaggle --------------------------------------------------------------------------------------------


def _kaggle(folder: Path) -> dict[str, Labels]:
    parts, seen = {}, {}
    for part in PARTS:
        labels = {place: _label(place, place.name) for place in list_folder(folder / part)}
        if absent := sorted(LABELS.keys() - {place.name for place in labels}):
            raise DataError(
                f"{folder / part} has no folder {', '.join(absent)}; the dataset is not whole: fetch it again"
            )
        parts[part] = {path: label for place, label in labels.items() for path in list_pictures(place)}
        for path in parts[part]:
            if not NAME[part].match(path.name):
                raise DataError(f"{path} is not named like {part}_00001_aligned.jpg; {LEFT_OVER}")
            if seen.setdefault(path.name, path) != path:
                raise DataError(f"{path} has the name of {seen[path.name]}: one face twice, or two labels; keep one")
    return parts
