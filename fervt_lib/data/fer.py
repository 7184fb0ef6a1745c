"""FER2013 (Goodfellow et al. 2013) and FER+ (Barsoum et al. 2016): the same faces, with one label or ten votes each.

We read FER+ from one of two layouts:

* a pair of tables: `fer2013.csv` (or Kaggle's `icml_face_data.csv`; plain or gzipped) and FER+'s `fer2013new.csv`;
* pictures: `data/FER2013{Train,Valid,Test}/` with PNG files and `label.csv`, as FER+'s own script makes them.

FER2013 needs only the first table, or Kaggle's folders: `train/angry/Training_3908.jpg`,
`test/angry/PrivateTest_10131363.jpg`. The folders have lost the order of the rows, which we need to join FER+'s votes.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..disk import DataError, check_choice
from .faces import ALL, SPLITS, Dataset, Faces, Layout, NotFoundError, Pictures, known_counts, unanimous
from .files import code_of, find_root, list_folder, list_pictures, match_names, read_picture, read_table
from .labels import EXPRESSIONS, FER2013_CODES, FER2013_FOLDERS, VOTE_COLUMNS
from .store import cached, open_table

SIDE = 48
FACE_FILES = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
VOTE_FILES = ("fer2013new.csv", "fer2013new.csv.gz")
PICTURE_FOLDERS = ("FER2013Train", "FER2013Valid", "FER2013Test")  # in the order of SPLITS
SPLIT_CODES = {"Training": 0, "PublicTest": 1, "PrivateTest": 2}  # the dataset's names for SPLITS (column Usage)
USAGES_OF = {"train": ("Training",), "test": ("PublicTest", "PrivateTest")}  # Kaggle's folders
LABELS = {str(code): EXPRESSIONS.index(name) for code, name in enumerate(FER2013_CODES)}
PROTOCOLS = ("majority", "argmax")
PICTURE = ("picture", "u1", (1, SIDE, SIDE))


# --- FER2013 -----------------------------------------------------------------------------------------------------


def load_fer2013(split: str = "train", *, root: str | Path | None = None) -> Faces:
    """Load one split of FER2013 with its own labels; FER+'s votes are not needed.

    Args:
        split: "train" (28,709 faces), "validation" (PublicTest, 3,589) or "test" (PrivateTest, 3,589).
        root: the dataset's folder; None means `$FERVT_DATA/ferplus`, else `data/ferplus`.

    Returns:
        Faces of 48×48 gray pixels, `(n, 1, 48, 48)` uint8, each with ten votes for its one label. No label is contempt.

    Raises:
        DataError: the file is missing or damaged; the message names the file, the row and how to fix it.
    """
    check_choice("split", split, SPLITS)
    path, labels, splits = _labelled(find_root(FER2013.folder, root))
    rows = torch.from_numpy(np.flatnonzero(splits == SPLITS.index(split)))
    votes = unanimous(torch.from_numpy(labels.astype(np.int64))[rows])
    return Faces(
        Pictures(path, rows), **votes, rows=rows, protocol="fer2013", dataset="fer2013", expressions=FER2013_CODES
    )


def fer2013_layout(root: Path) -> Layout:
    if file := _first(root, FACE_FILES):
        return Layout(f"one table, {file.name}", FER2013_COUNTS)
    pictures = [path for path, _, _ in _face_folders(root)]
    return Layout("pictures, train/angry to test/surprise", FER2013_COUNTS, pictures, size=(SIDE, SIDE))


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _labelled(root: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """The path to the table of pictures, and `(n,)` labels and splits."""
    if file := _first(root, FACE_FILES):
        table = open_table(path := _face_table(file))
        return path, table["label"], table["split"]
    pictures, labels, splits = zip(*_face_folders(root), strict=True)
    rows = ((read_picture(path, "L", (SIDE, SIDE))[None],) for path in pictures)
    return cached("fer2013", root, pictures, [PICTURE], lambda: rows), np.array(labels), np.array(splits)


def _face_folders(root: Path) -> list[tuple[Path, int, int]]:
    """Picture, label and split from Kaggle's folders; `test` mixes two splits, which the file names tell apart."""
    if not all((root / part).is_dir() for part in USAGES_OF):
        raise NotFoundError(FER2013, root)
    faces, seen = [], {}
    for part, usages in USAGES_OF.items():
        if odd := {path.name for path in list_folder(root / part)} ^ FER2013_FOLDERS.keys():
            raise DataError(f"{root / part / min(odd)}: {part} must hold {', '.join(FER2013_FOLDERS)}, no others")
        for path in (path for name in FER2013_FOLDERS for path in list_pictures(root / part / name)):
            usage, _, number = path.stem.partition("_")
            if usage not in usages or not number.isdecimal():
                raise DataError(f"{path} is not named like {' or '.join(f'{u}_123.jpg' for u in usages)}; move it away")
            if (first := seen.setdefault(path.stem, path)) != path:
                raise DataError(f"{path} has the name of {first}; keep one of them")
            faces.append((path, EXPRESSIONS.index(FER2013_FOLDERS[path.parent.name]), SPLIT_CODES[usage]))
    if absent := SPLIT_CODES.keys() - {path.stem.partition("_")[0] for path, _, _ in faces}:
        raise DataError(f"{root} has no picture of {min(absent)}; it is incomplete: restore the original")
    return faces


def _face_table(file: Path) -> Path:
    columns = [PICTURE, ("label", "u1"), ("split", "u1")]
    return cached("fer2013", file.parent, [file], columns, lambda: _read_faces(file))


def _read_faces(path: Path) -> Iterator[tuple[np.ndarray, int, int]]:
    """Picture, label and split of every row of fer2013.csv, with 1,000 rows in memory at a time."""
    absent = set(SPLIT_CODES)
    for chunk in read_table(path, columns := ("emotion", "pixels", "Usage")):
        for row, emotion, text, usage in zip(chunk.index + 2, *(chunk[name] for name in columns), strict=True):
            label = code_of(emotion, LABELS, path, row, "emotion")
            yield (_pixels(path, row, text), label, code_of(usage, SPLIT_CODES, path, row, "Usage"))
        absent -= set(chunk["Usage"].str.strip())
    if absent:
        raise DataError(f"{path} has no {min(absent)} faces; the file is cut short: download it again")


def _pixels(path: Path, row: int, text: str) -> np.ndarray:
    """One face, `(1, 48, 48)` uint8. `row` is the line in the file; the header is line 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how numpy reports text that is not a number
            values = np.fromstring(text, np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise DataError(f"{path}, row {row}: the pixels are not all whole numbers; download it again") from None
    if len(values) != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        found = f"{len(values)} pixels from {min(values, default=0)} to {max(values, default=0)}"
        raise DataError(f"{path}, row {row}: {found}, not {SIDE * SIDE} from 0 to 255; download it again")
    return values.astype(np.uint8).reshape(1, SIDE, SIDE)


# --- FER+ --------------------------------------------------------------------------------------------------------


def load_ferplus(split: str = "train", protocol: str = "majority", root: str | Path | None = None) -> Faces:
    """Load one split of FER+.

    Args:
        split: "train", "validation" (PublicTest) or "test" (PrivateTest).
        protocol: "majority" (Microsoft's rules) or "argmax" (most votes in the ten columns), see `choose_faces`.
        root: the dataset's folder; None means `$FERVT_DATA/ferplus`, else `data/ferplus`.

    Returns:
        Faces of 48×48 gray pixels. Counted on the pair of tables, majority keeps 25,060 / 3,199 / 3,153 faces and
        argmax 28,389 / 3,553 / 3,546.

    Raises:
        DataError: a file is missing or damaged; the message names the file, the row and how to fix it.
    """
    check_choice("split", split, SPLITS)
    check_choice("protocol", protocol, PROTOCOLS)
    root = find_root(FERPLUS.folder, root)
    path, raw_votes, named, splits = _join(*pair) if (pair := _pair_of_tables(root)) else _read_folders(root)
    rows = torch.from_numpy(np.flatnonzero(splits == SPLITS.index(split)))
    raw_votes = torch.tensor(raw_votes)[rows]
    kept, votes = choose_faces(raw_votes, torch.tensor(named)[rows], protocol)
    return Faces(Pictures(path, rows[kept]), votes, raw_votes[kept], rows[kept], protocol, "ferplus")


def choose_faces(raw_votes: Tensor, named: Tensor, protocol: str) -> tuple[Tensor, Tensor]:
    """Apply a FER+ protocol to raw votes.

    *majority* (Microsoft's FERPlus reader, mode "majority"): counts of 1 become 0 in all ten columns, and the largest
    count must exceed half of the remaining votes. *argmax*: the column with the most votes wins, and no vote changes.
    Both drop the faces that *unknown* or *NF* wins.

    Args:
        raw_votes: `(n, 10)` uint8. named: `(n,)` bool, False where FER+ dropped the face (empty image name).

    Returns:
        `kept`: `(n,)` bool; `votes`: `(kept.sum(), 8)` uint8, at least one vote in every row.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    votes = torch.where(raw_votes > 1, raw_votes, 0) if protocol == "majority" else raw_votes
    most, winner = votes.max(dim=1)
    kept = named & (winner < len(EXPRESSIONS)) & (most > 0)
    if protocol == "majority":
        kept &= 2 * most > votes.sum(dim=1)
    return kept, votes[kept, : len(EXPRESSIONS)]


def ferplus_layout(root: Path) -> Layout:
    if pair := _pair_of_tables(root):
        return Layout(f"a pair of tables, {pair[0].name} and {pair[1].name}", FERPLUS_COUNTS)
    pictures = [folder / name for folder in _folders(root) for name in _read_label_file(folder)[0].values()]
    return Layout("pictures with label.csv", FERPLUS_PICTURE_COUNTS, pictures, size=(SIDE, SIDE))


def _pair_of_tables(root: Path) -> tuple[Path, Path] | None:
    faces, votes = _first(root, FACE_FILES), _first(root, VOTE_FILES)
    if faces and votes:
        return faces, votes
    if (faces or votes) and not any(root.glob("**/FER2013*/*.png")):  # a clone of FER+ has the folders but no faces
        found, missing = (faces, "votes, fer2013new.csv") if faces else (votes, "faces, fer2013.csv")
        raise DataError(f"{root}: {found.name} is there, but not the {missing}. {FERPLUS.how_to_get}")
    return None


def _join(face_file: Path, vote_file: Path) -> tuple[Path, np.ndarray, np.ndarray, np.ndarray]:
    """Join by row, and check Usage and names: path of the table, `(n, 10)` votes, `(n,)` named and `(n,)` splits."""
    votes = pd.concat(read_table(vote_file, ("Usage", "Image name", *VOTE_COLUMNS)))
    names, usages = votes["Image name"].str.strip(), votes["Usage"].str.strip().map(SPLIT_CODES)
    _check_names(vote_file, names)
    counts = _counts(vote_file, votes[list(VOTE_COLUMNS)].set_axis(votes.index + 2), range(9, 11))
    path = _face_table(face_file)
    splits = np.array(open_table(path)["split"])
    if len(splits) != len(counts):
        raise DataError(
            f"{face_file} has {len(splits)} faces, {vote_file} votes on {len(counts)}: the two are joined by row, so "
            "both must be complete; download the shorter one again"
        )
    if (differs := splits != usages.to_numpy()).any():
        both = f"Usage differs between {face_file} and {vote_file}"
        raise DataError(f"row {differs.argmax() + 2}: {both}; one of them was sorted: download both again")
    return path, counts, names.ne("").to_numpy(bool), splits


def _check_names(path: Path, names: pd.Series) -> None:
    """Check that names look like fer0000000.png and their numbers rise, except for repeated names (four come twice)."""
    numbers = names[names.ne("")].str.extract(r"^fer([0-9]{7})\.png$")[0]
    falls = numbers[~numbers.duplicated(keep=False)].astype(float).diff() < 0
    for wrong, what in ((numbers.isna(), "is not like fer0000000.png"), (falls, "is out of FER2013's order")):
        if wrong.any():
            row = wrong.idxmax()
            raise DataError(f"{path}, row {row + 2}: the image name {names[row]!r} {what}; download it again")


def _counts(path: Path, columns: pd.DataFrame, totals: range) -> np.ndarray:
    """Turn votes as text, indexed by row of the file, into `(n, 10)` uint8. totals: allowed sums of a face's votes."""
    votes = columns.apply(pd.to_numeric, errors="coerce")
    good = votes.isin(range(11)).all(axis=1) & votes.sum(axis=1).isin(totals)
    if not good.all():
        found = list(columns.loc[row := good.idxmin()])
        wanted = f"ten counts that add up to {totals[0]} to {totals[-1]}"
        raise DataError(f"{path}, row {row}: votes {found} are not {wanted}; download it again")
    return votes.to_numpy(np.uint8)


def _folders(root: Path) -> list[Path]:
    for folder in (root, root / "data"):
        if any((folder / name).is_dir() for name in PICTURE_FOLDERS):
            return [folder / name for name in PICTURE_FOLDERS]
    raise NotFoundError(FERPLUS, root)


def _read_folders(root: Path) -> tuple[Path, np.ndarray, np.ndarray, np.ndarray]:
    """Return the same as `_join`, but from folders of pictures."""
    pictures, counts = [], []
    for folder in _folders(root):
        names, votes = _read_label_file(folder)
        match_names(folder / "label.csv", names, (path for path in list_folder(folder) if path.name != "label.csv"))
        pictures += [folder / name for name in names.values()]
        counts.append(votes)
    rows = ((read_picture(path, "L", (SIDE, SIDE))[None],) for path in pictures)
    path = cached("ferplus", root, pictures, [PICTURE], lambda: rows)
    splits = np.repeat(np.arange(len(SPLITS)), [len(votes) for votes in counts])
    return path, np.concatenate(counts), np.ones(len(splits), bool), splits


def _read_label_file(folder: Path) -> tuple[dict[int, str], np.ndarray]:
    """File names by row, and `(n, 10)` votes. label.csv has no header; a row is: name, "(0, 0, 48, 48)", ten counts."""
    path, names = folder / "label.csv", [str(i) for i in range(12)]
    table = pd.concat(read_table(path, names, header=None, names=names, skip_blank_lines=False))
    table = table.set_axis(table.index + 1)[table["0"].fillna("").str.strip().ne("").to_numpy()]
    return table["0"].to_dict(), _counts(path, table[names[2:]], range(11))


# --- known facts (FER2013's counts as quoted by others; FER+'s counted in Microsoft's votes) ----------------------

FER2013_COUNTS = (
    known_counts("train", "4965 7215 3171 4830 3995 436 4097 0")
    | known_counts("validation", "607 895 415 653 467 56 496 0")
    | known_counts("test", "626 879 416 594 491 55 528 0")
)
FERPLUS_COUNTS = (
    known_counts("train", "8740 7287 3149 3014 2100 119 532 119")
    | known_counts("validation", "1182 865 415 351 287 24 62 13")
    | known_counts("test", "1090 893 396 384 273 18 83 16")
)
FERPLUS_PICTURE_COUNTS = {"train": {ALL: 25_045}, "validation": {ALL: 3_191}, "test": {ALL: 3_137}}
FER2013 = Dataset(
    "fer2013",
    "FER2013",
    load_fer2013,
    fer2013_layout,
    "ferplus",
    "It needs fer2013.csv from Kaggle, or Kaggle's folders of pictures (train/angry to test/surprise), in data/ferplus "
    "or $FERVT_DATA/ferplus; see data/README.md.",
)
FERPLUS = Dataset(
    "ferplus",
    "FER+",
    load_ferplus,
    ferplus_layout,
    "ferplus",
    "FER+ needs FER2013's faces (fer2013.csv from Kaggle: its folders train/angry/… have lost the order of the rows) "
    "and Microsoft's votes (fer2013new.csv) in one folder, data/ferplus or $FERVT_DATA/ferplus; see data/README.md.",
    options={"protocol": "majority"},
    scored=tuple({"protocol": protocol} for protocol in PROTOCOLS),
)
