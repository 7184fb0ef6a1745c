"""RAF-DB, basic expressions (Li, Deng & Du 2017): faces from the web, each with one label that its raters agreed on.

We read three layouts. The dataset's folder may be the one that holds them, or one level further in:

* official: `basic/Image/aligned/train_00001_aligned.jpg` and `basic/EmoLabel/list_patition_label.txt`;
* flat: `train/train_00001_aligned.jpg` and `test/test_0001_aligned.jpg` next to `list_patition_label.txt`;
* Kaggle: `DATASET/train/1/train_00001_aligned.jpg`; the folder's name is the label's code.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..disk import DataError, check_choice
from .faces import SPLITS, Dataset, Faces, Layout, NotFoundError, Pictures, known_counts, unanimous
from .files import code_of, find_root, list_folder, list_pictures, match_names, read_picture, read_text, warn_of_gaps
from .labels import EXPRESSIONS, RAFDB_CODES
from .store import cached

SIDE = 100
PARTS = ("train", "test")  # as the dataset is distributed
VALIDATION_SHARE = 0.1
LABEL_FILE = "list_patition_label.txt"
NAME = re.compile(r"(train|test)_(\d+)(_aligned)?\.(jpg|jpeg|png)", re.IGNORECASE)
LABELS = {str(code): EXPRESSIONS.index(name) for code, name in enumerate(RAFDB_CODES, 1)}

Labels = dict[Path, int]  # picture → label


def load_rafdb(split: str = "train", *, seed: int = 0, root: str | Path | None = None) -> Faces:
    """Load one split of RAF-DB's basic expressions, from the aligned pictures.

    All layouts give the same faces in the same order.

    Args:
        split: "train", "validation" (a tenth of each label, from the 12,271 train faces) or "test" (3,068, official).
        seed: decides which train faces we hold out for validation.
        root: the dataset's folder; None means `$FERVT_DATA/rafdb`, else `data/rafdb`.

    Returns:
        Faces of 100×100 pixels in color, `(n, 3, 100, 100)` uint8, each with ten votes for its one label. No label is
        contempt. `rows` numbers the pictures by name, train before test.

    Raises:
        DataError: a file is missing, damaged or does not belong there; the message names the file, the row and the fix.
    """
    check_choice("split", split, SPLITS)
    root = find_root(RAFDB.folder, root)
    _, parts = _find(root)
    for part in PARTS:
        warn_of_gaps(root / f"{part}_*", [int(NAME.fullmatch(path.name)[2]) for path in parts[part]])
    pictures, labels = zip(*_in_order(parts), strict=True)
    path = cached("rafdb", root, pictures, [("picture", "u1", (3, SIDE, SIDE))], lambda: _read(pictures))
    rows = _rows_of(split, torch.tensor(labels), len(parts["train"]), seed)
    protocol = "official" if split == "test" else f"official, validation by seed {seed}"
    votes = unanimous(torch.tensor(labels)[rows])
    return Faces(Pictures(path, rows), **votes, rows=rows, protocol=protocol, dataset="rafdb", expressions=RAFDB_CODES)


def rafdb_layout(root: Path) -> Layout:
    name, parts = _find(root)
    return Layout(name, COUNTS, [path for path, _ in _in_order(parts)], "RGB", (SIDE, SIDE))


def _in_order(parts: dict[str, Labels]) -> list[tuple[Path, int]]:
    """The faces as `rows` numbers them: train before test, by name."""
    return [face for part in PARTS for face in sorted(parts[part].items(), key=lambda face: face[0].name)]


def _rows_of(split: str, labels: Tensor, train: int, seed: int) -> Tensor:
    """The row numbers of a split's faces, in ascending order. train: the number of train faces, which come first."""
    if split == "test":
        return torch.arange(train, len(labels))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(train, dtype=torch.bool)
    for label in range(len(EXPRESSIONS)):
        faces = (labels[:train] == label).nonzero().squeeze(1)
        faces = faces[torch.randperm(len(faces), generator=generator)]
        chosen[faces[: round(VALIDATION_SHARE * len(faces))]] = True
    return (chosen if split == "validation" else ~chosen).nonzero().squeeze(1)


def _read(pictures: tuple[Path, ...]) -> Iterator[tuple[np.ndarray]]:
    for path in tqdm(pictures, desc="RAF-DB", leave=False):
        yield (read_picture(path, "RGB", (SIDE, SIDE)).transpose(2, 0, 1),)


def _find(root: Path) -> tuple[str, dict[str, Labels]]:
    """The layout's name, and the pictures of train and test with their labels."""
    for folder in (root, root / "basic"):
        if (folder / "EmoLabel").is_dir() or (folder / "Image").is_dir():
            places = dict.fromkeys(PARTS, folder / "Image" / "aligned")
            return "official, Image/aligned with EmoLabel", _listed(folder / "EmoLabel" / LABEL_FILE, places)
        if (folder / LABEL_FILE).is_file() and all((folder / part).is_dir() for part in PARTS):
            return f"flat, train and test with {LABEL_FILE}", _listed(
                folder / LABEL_FILE, {part: folder / part for part in PARTS}
            )
    for folder in (root, root / "DATASET"):
        if any((folder / part).is_dir() for part in PARTS):
            return "Kaggle's, train/1 to test/7", _kaggle(folder)
    raise NotFoundError(RAFDB, root)


def _listed(file: Path, places: dict[str, Path]) -> dict[str, Labels]:
    """Read a list of labels. places: the folders with the pictures of train and of test."""
    names, parts = {}, {part: {} for part in PARTS}
    for row, line in enumerate(read_text(file).splitlines(), 1):
        match = re.fullmatch(r"\s*((train|test)_\d+)\.jpg\s+(\S+)\s*", line)
        if match:
            names[row] = f"{match[1]}_aligned.jpg"
            parts[match[2]][places[match[2]] / names[row]] = code_of(match[3], LABELS, file, row, "code")
        elif line.strip():
            raise DataError(f"{file}, row {row}: {line!r} is not like 'train_00001.jpg 5'; download the file again")
    match_names(file, names, [path for place in dict.fromkeys(places.values()) for path in list_pictures(place)])
    if absent := [part for part in PARTS if not parts[part]]:
        raise DataError(f"{file} has no {absent[0]} faces; the file is cut short: download it again")
    return parts


def _kaggle(folder: Path) -> dict[str, Labels]:
    parts, numbered = {part: {} for part in PARTS}, {}
    for part in PARTS:
        codes = [path.name for path in list_folder(folder / part)]
        if sorted(codes) != sorted(LABELS):
            odd = sorted(set(codes) ^ set(LABELS))[0]
            wanted = f"{part} must hold the folders 1 to 7, or pictures that a {LABEL_FILE} beside it lists"
            raise DataError(f"{folder / part / odd}: {wanted}; restore the original")
        for code in codes:
            for path in list_pictures(folder / part / code):
                match = NAME.fullmatch(path.name)
                if not match or match[1] != part:
                    raise DataError(f"{path} is not named like {part}_00001_aligned.jpg; move it out of the dataset")
                if (first := numbered.setdefault((part, int(match[2])), path)) != path:
                    raise DataError(f"{path} has the number of {first}; keep one of them")
                parts[part][path] = LABELS[code]
    return parts


# --- known facts (the counts as quoted by others) -----------------------------------------------------------------

COUNTS = known_counts("train", "2524 4772 1290 1982 705 717 281 0") | known_counts(
    "test", "680 1185 329 478 162 160 74 0"
)
RAFDB = Dataset(
    "rafdb",
    "RAF-DB",
    load_rafdb,
    rafdb_layout,
    "rafdb",
    "The authors of RAF-DB share it on request; put it into data/rafdb or $FERVT_DATA/rafdb, as basic/Image/aligned "
    "with basic/EmoLabel, as train and test with list_patition_label.txt, or as Kaggle's DATASET/train and "
    "DATASET/test; see data/README.md.",
    parts={"train": ("train", "validation"), "test": ("test",)},
)
