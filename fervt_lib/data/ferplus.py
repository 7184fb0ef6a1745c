"""FER+ (Barsoum et al. 2016): the faces of FER2013 with the votes of ten raters.

Two layouts are read, and either may be offered as a folder:

* the CSV pair: `fer2013.csv` (or Kaggle's `icml_face_data.csv`; plain or gzipped) and `fer2013new.csv`;
* pictures: `data/FER2013{Train,Valid,Test}/` with PNG files and `label.csv`.
"""

import csv
import gzip
import hashlib
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm

from .cache import cached
from .faces import DataError, Faces
from .labels import EXPRESSIONS, USAGES, VOTE_COLUMNS

SIDE = 48
FACE_FILES = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
VOTE_FILES = ("fer2013new.csv", "fer2013new.csv.gz")
PICTURE_FOLDERS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
SPLITS = tuple(USAGES)
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, pd.errors.ParserError, pd.errors.EmptyDataError)
HOW_TO_GET = (
    "FER+ needs FER2013's faces (fer2013.csv from Kaggle) and Microsoft's votes (fer2013new.csv) in one folder, "
    "data/ferplus or $FERVT_DATA/ferplus; data/README.md says where each comes from."
)


def load_ferplus(split: str = "train", protocol: str = "majority", root: str | Path | None = None) -> Faces:
    """Load one split of FER+.

    Args:
        split: "train", "validation" (PublicTest) or "test" (PrivateTest).
        protocol: "majority" (Microsoft's rules) or "argmax" (most votes over the ten columns), see `choose_faces`.
        root: the dataset's folder; None means `$FERVT_DATA/ferplus`, else `data/ferplus`.

    Returns:
        Faces of 48×48 gray pixels. Counted on the CSV pair, majority keeps 25,060 / 3,199 / 3,153 faces and
        argmax 28,389 / 3,553 / 3,546.

    Raises:
        DataError: a file is missing or damaged; the message names file, row and the way out.
        ValueError: no such split or protocol.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: FER+ has {', '.join(SPLITS)}")
    root = find_root("ferplus") if root is None else Path(root)
    table = cached("ferplus", root, _fingerprint(root), lambda: _parse(root))
    rows = (table["split"] == SPLITS.index(split)).nonzero().squeeze(1)
    raw_votes = table["votes"][rows]
    kept, votes = choose_faces(raw_votes, table["named"][rows], protocol)
    rows = rows[kept]
    return Faces(table["images"][rows], votes, raw_votes[kept], rows, protocol)


def find_root(name: str) -> Path:
    """The folder of dataset `name`: below `$FERVT_DATA` when that is set, else below `data/` of the course."""
    base = os.environ.get("FERVT_DATA") or Path(__file__).parents[2] / "data"
    return Path(base) / name


def choose_faces(raw_votes: torch.Tensor, named: torch.Tensor, protocol: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply a FER+ protocol to raw votes.

    *majority* (Microsoft's FERPlus reader, mode "majority"): counts of 1 become 0, in all ten columns; the largest
    count must exceed half of what is left; faces won by *unknown* or *NF* go. *argmax*: the column with most votes
    wins, faces won by *unknown* or *NF* go, no vote is changed.

    Args:
        raw_votes: `(n, 10)` uint8. named: `(n,)` bool, False where FER+ dropped the face (empty image name).

    Returns:
        `kept`: `(n,)` bool; `votes`: `(kept.sum(), 8)` uint8, at least one vote in every row.
    """
    if protocol not in ("majority", "argmax"):
        raise ValueError(f"protocol {protocol!r}: FER+ has 'majority' and 'argmax'")
    votes = torch.where(raw_votes > 1, raw_votes, 0) if protocol == "majority" else raw_votes
    most, winner = votes.max(dim=1)
    kept = named & (winner < len(EXPRESSIONS)) & (most > 0)
    if protocol == "majority":
        kept &= 2 * most > votes.sum(dim=1)
    return kept, votes[kept, : len(EXPRESSIONS)]


# --- which layout is there ---------------------------------------------------------------------------------------


def _csv_pair(root: Path) -> tuple[Path, Path] | None:
    faces = [root / name for name in FACE_FILES if (root / name).is_file()]
    votes = [root / name for name in VOTE_FILES if (root / name).is_file()]
    if faces and votes:
        return faces[0], votes[0]
    if faces:
        raise DataError(f"{root}: {faces[0].name} is there, but not the votes, fer2013new.csv. {HOW_TO_GET}")
    return None


def _picture_folder(root: Path) -> Path | None:
    for folder in (root, root / "data"):
        if any((folder / name).is_dir() for name in PICTURE_FOLDERS.values()):
            return folder
    return None


def _missing(root: Path) -> DataError:
    if (root / "train").is_dir():
        return DataError(
            f"{root} holds folders of pictures (train/angry/…), Kaggle's folder variant of FER2013. It has no row "
            f"order, so FER+ votes cannot be joined to it: the file fer2013.csv is needed instead. {HOW_TO_GET}"
        )
    return DataError(f"no FER+ in {root}. {HOW_TO_GET} With no download: load('drawn').")


def _fingerprint(root: Path) -> str:
    """Name, size and time of every source file: when one changes, the cache is rebuilt."""
    digest = hashlib.sha256()
    if pair := _csv_pair(root):
        entries = [(path.name, path.stat()) for path in pair]
    elif folder := _picture_folder(root):
        scans = (os.scandir(folder / name) for name in PICTURE_FOLDERS.values() if (folder / name).is_dir())
        entries = sorted((entry.path, entry.stat()) for scan in scans for entry in scan)
    else:
        raise _missing(root)
    for name, stat in entries:
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _parse(root: Path) -> dict[str, torch.Tensor]:
    if pair := _csv_pair(root):
        return _parse_csv_pair(*pair)
    return _parse_pictures(_picture_folder(root))


# --- layout 1: the CSV pair --------------------------------------------------------------------------------------


def _chunks(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """A CSV file in pieces, all columns as text, names stripped of blanks; gzip is told by its first bytes."""
    with open(path, "rb") as raw:
        opener = gzip.open if raw.read(2) == b"\x1f\x8b" else open
    with opener(path, "rb") as file:
        try:
            for chunk in pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=rows):
                if chunk.empty:
                    raise DataError(f"{path}: a header and no faces; fetch the file again")
                yield chunk.rename(columns=str.strip)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not a text file ({error}); fetch the file again") from error
        except DAMAGE as error:
            raise DataError(f"{path}: damaged or cut short ({error}); fetch the file again") from error


def _require_columns(path: Path, chunk: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if absent := [name for name in columns if name not in chunk.columns]:
        raise DataError(f"{path}: no column {', '.join(absent)}; its header reads {', '.join(chunk.columns)}")


def _split_codes(path: Path, usage: pd.Series) -> np.ndarray:
    codes = usage.str.strip().map({name: i for i, name in enumerate(USAGES.values())})
    if codes.isna().any():
        row = codes.isna().idxmax()
        raise DataError(
            f"{path}, row {row + 2}: Usage is {usage[row]!r}, not {', '.join(USAGES.values())}; "
            "the file is cut short or of another layout: fetch it again"
        )
    return codes.to_numpy(np.uint8)


def _pixels(path: Path, row: int, text: str) -> np.ndarray:
    """One face as `(2304,)` uint8. `row` is the line of the file, the header being line 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's word for text that is not a number
            values = np.fromstring(text, np.int32, sep=" ")
    except (ValueError, DeprecationWarning):
        raise DataError(f"{path}, row {row}: the pixels are not all whole numbers; fetch the file again") from None
    if len(values) != SIDE * SIDE:
        raise DataError(f"{path}, row {row}: {len(values)} pixels, not {SIDE * SIDE}; fetch the file again")
    if values.min() < 0 or values.max() > 255:
        wrong = values[(values < 0) | (values > 255)][0]
        raise DataError(f"{path}, row {row}: a pixel of {wrong}, outside 0-255; fetch the file again")
    return values.astype(np.uint8)


def _parse_faces(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`(n, 1, 48, 48)` pixels and `(n,)` split codes of fer2013.csv, 1,000 rows in memory at a time."""
    images, splits = [], []
    with tqdm(desc=f"reading {path.name}", unit=" faces", leave=False) as bar:
        for chunk in _chunks(path, 1000):
            _require_columns(path, chunk, ("emotion", "pixels", "Usage"))
            rows = [_pixels(path, row + 2, text) for row, text in chunk["pixels"].items()]
            images.append(np.stack(rows))
            splits.append(_split_codes(path, chunk["Usage"]))
            bar.update(len(chunk))
    return np.concatenate(images).reshape(-1, 1, SIDE, SIDE), np.concatenate(splits)


def _parse_votes(path: Path) -> tuple[pd.Series, np.ndarray, np.ndarray]:
    """Image names, `(n, 10)` votes and `(n,)` split codes of fer2013new.csv."""
    table = pd.concat(_chunks(path, 100_000))
    _require_columns(path, table, ("Usage", "Image name", *VOTE_COLUMNS))
    return (
        table["Image name"].str.strip(),
        _votes(path, table[list(VOTE_COLUMNS)], 2),
        _split_codes(path, table["Usage"]),
    )


def _votes(path: Path, columns: pd.DataFrame, first_row: int) -> np.ndarray:
    votes = columns.apply(pd.to_numeric, errors="coerce")
    bad = ~(votes.isin(range(11)).all(axis=1) & votes.sum(axis=1).le(10))
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise DataError(
            f"{path}, row {row + first_row}: votes {list(columns.iloc[row])} are not counts up to 10 in all"
        )
    return votes.to_numpy(np.uint8)


def _parse_csv_pair(face_file: Path, vote_file: Path) -> dict[str, torch.Tensor]:
    names, votes, vote_splits = _parse_votes(vote_file)
    images, splits = _parse_faces(face_file)
    if len(images) != len(votes):
        raise DataError(
            f"{face_file} has {len(images)} faces, {vote_file} votes on {len(votes)}: the two are joined by row, so "
            "they must be whole and belong together; fetch the shorter one again"
        )
    _check_join(face_file, vote_file, names, splits != vote_splits)
    return _table(images, votes, splits, names.ne("").to_numpy())


def _check_join(face_file: Path, vote_file: Path, names: pd.Series, other_usage: np.ndarray) -> None:
    """Joined by row, checked by name: Usage must agree, and numbers in the names rise but for four known repeats."""
    if other_usage.any():
        row = int(other_usage.argmax()) + 2
        raise DataError(f"row {row}: Usage differs between {face_file} and {vote_file}; one of them was re-sorted")
    numbers = names[names.ne("")].str.extract(r"^fer(\d{7})\.png$")[0]
    if numbers.isna().any():
        row = numbers.index[numbers.isna()][0]
        raise DataError(f"{vote_file}, row {row + 2}: image name {names[row]!r} is not like fer0000000.png")
    if (numbers.astype(int).diff() < 0).sum() > max(8, len(numbers) // 1000):
        raise DataError(f"{vote_file}: its image names are not in FER2013's order; fetch Microsoft's file again")


# --- layout 2: pictures and label.csv ----------------------------------------------------------------------------


def _parse_pictures(folder: Path) -> dict[str, torch.Tensor]:
    images, votes, splits = [], [], []
    for code, name in enumerate(PICTURE_FOLDERS.values()):
        names, part = _parse_label_file(folder / name / "label.csv")
        images += [
            _picture(folder / name / file, row) for row, file in enumerate(tqdm(names, desc=name, leave=False), 1)
        ]
        votes.append(part)
        splits.append(np.full(len(names), code, np.uint8))
    votes = np.concatenate(votes)
    return _table(np.stack(images)[:, None], votes, np.concatenate(splits), np.ones(len(votes), bool))


def _parse_label_file(path: Path) -> tuple[list[str], np.ndarray]:
    """File names and `(n, 10)` votes of a label.csv, which has no header: name, "(0, 0, 48, 48)", ten counts."""
    if not path.is_file():
        raise DataError(f"{path} is missing: each of {', '.join(PICTURE_FOLDERS.values())} must hold a label.csv")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a text file ({error}); fetch the file again") from error
    for number, row in enumerate(rows, 1):
        if len(row) != 12 or not re.fullmatch(r"[\w-]+\.png", row[0]):
            raise DataError(f"{path}, row {number}: not a picture's name, a box and ten votes; fetch the file again")
    if not rows:
        raise DataError(f"{path} is empty; fetch the file again")
    return [row[0] for row in rows], _votes(path, pd.DataFrame([row[2:] for row in rows]), 1)


def _picture(path: Path, row: int) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path} is missing, though row {row} of {path.parent / 'label.csv'} names it")
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path}: not a readable picture ({error}); fetch it again") from error
    if pixels.shape != (SIDE, SIDE):
        raise DataError(f"{path}: {pixels.shape[1]}×{pixels.shape[0]} pixels, not {SIDE}×{SIDE}")
    return pixels


def _table(images: np.ndarray, votes: np.ndarray, splits: np.ndarray, named: np.ndarray) -> dict[str, torch.Tensor]:
    arrays = {"images": images, "votes": votes, "split": splits, "named": named}
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
