"""FER2013 (Goodfellow et al. 2013): its one file of faces, and the label that it gives each of them.

`fer2013.csv`, or Kaggle's `icml_face_data.csv`, plain or gzipped: a row a face, with 48×48 gray pixels as text.
"""

import gzip
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .cache import Write, cached
from .faces import DataError, Faces, Pictures, unanimous
from .files import Layout, encoding_of, find_root, fingerprint, not_found, refuse_outside
from .labels import EXPRESSIONS, FER2013_CODES, USAGES

SIDE = 48
FACE_FILES = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
SPLITS = tuple(USAGES)
SPLIT_CODES = {usage: code for code, usage in enumerate(USAGES.values())}
DAMAGE = (OSError, EOFError, zlib.error, pd.errors.ParserError, pd.errors.EmptyDataError)
HOW_TO_GET = (
    "It needs fer2013.csv from Kaggle in data/ferplus or $FERVT_DATA/ferplus (folders of pictures, train/angry/…, are "
    "not read); see data/README.md."
)
LABELS = {str(code): EXPRESSIONS.index(name) for code, name in enumerate(FER2013_CODES)}


def load_fer2013(split: str = "train", *, root: str | Path | None = None) -> Faces:
    """Load one split of FER2013 with its own labels, from `fer2013.csv`; FER+'s votes are not needed.

    Args:
        split: "train" (28,709 faces), "validation" (PublicTest, 3,589) or "test" (PrivateTest, 3,589).
        root: the dataset's folder; None means `$FERVT_DATA/ferplus`, else `data/ferplus`.

    Returns:
        Faces of 48×48 gray pixels, `(n, 1, 48, 48)` uint8, each with ten votes for its one label. None is contempt.

    Raises:
        DataError: the file is missing or damaged; the message names file, row and the way out.
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: FER2013 has {', '.join(SPLITS)}")
    root = find_root("ferplus", root)
    file = _face_file(root)
    table = cached("fer2013", root, fingerprint([file], root), (1, SIDE, SIDE), lambda write: parse_faces(file, write))
    rows = (table["split"] == SPLITS.index(split)).nonzero().squeeze(1)
    votes = unanimous(table["label"][rows].long())
    return Faces(Pictures(table["images"], rows), **votes, rows=rows, protocol="fer2013")


def fer2013_layout(root: Path) -> Layout:
    """The one layout of FER2013 that is read. Raises DataError where it is not there."""
    return Layout(f"one table, {_face_file(root).name}", [])


def _face_file(root: Path) -> Path:
    file = find_face_file(root)
    if file is None:
        raise not_found("FER2013", root, HOW_TO_GET)
    return file


def find_face_file(root: Path) -> Path | None:
    """The first of `FACE_FILES` that is in the folder `root`."""
    return next((root / name for name in FACE_FILES if (root / name).is_file()), None)


def parse_faces(path: Path, write: Write) -> dict[str, np.ndarray]:
    """Write the faces of fer2013.csv, 1,000 rows in memory at a time; returns `(n,)` split codes and labels."""
    splits, labels = [], []
    with tqdm(desc=f"reading {path.name}", unit=" faces", leave=False) as bar:
        for chunk in chunks(path, 1000):
            require_columns(path, chunk, ("emotion", "pixels", "Usage"))
            for row, text in chunk["pixels"].items():
                write(_pixels(path, row + 2, text))
            splits.append(look_up(path, chunk["Usage"], SPLIT_CODES))
            labels.append(look_up(path, chunk["emotion"], LABELS))
            bar.update(len(chunk))
    splits = np.concatenate(splits)
    if absent := [usage for usage, code in SPLIT_CODES.items() if code not in splits]:
        raise DataError(f"{path} has no {absent[0]} faces; the file is cut short: fetch it again")
    return {"split": splits, "label": np.concatenate(labels)}


def chunks(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """A CSV file in pieces, all columns as text, names stripped of blanks; gzip is told by its first bytes."""
    refuse_outside(path, path.parent)
    try:
        with open(path, "rb") as raw:
            opener = gzip.open if raw.read(2) == b"\x1f\x8b" else open
        with opener(path, "rb") as file:
            how = {"encoding": encoding_of(file.peek(2)), "dtype": str, "keep_default_na": False, "chunksize": rows}
            with pd.read_csv(file, **how) as reader:
                for chunk in reader:
                    _check_chunk(path, chunk)
                    yield chunk.rename(columns=str.strip)
    except UnicodeError as error:
        raise DataError(f"{path}: not a text file ({error}); fetch the file again") from error
    except DAMAGE as error:
        raise DataError(f"{path}: damaged or cut short ({error}); fetch the file again") from error


def _check_chunk(path: Path, chunk: pd.DataFrame) -> None:
    if chunk.empty:
        raise DataError(f"{path}: a header and no faces; fetch the file again")
    if not isinstance(chunk.index, pd.RangeIndex):
        raise DataError(f"{path}, row 2: more fields than the header has names; fetch the file again")


def require_columns(path: Path, chunk: pd.DataFrame, columns: tuple[str, ...]) -> None:
    for name in columns:
        if (found := list(chunk.columns).count(name)) != 1:
            raise DataError(
                f"{path}: {f'{found} columns' if found else 'no column'} {name}; its header reads "
                f"{', '.join(chunk.columns)[:200]}; fetch the file again"
            )


def look_up(path: Path, column: pd.Series, codes: dict[str, int]) -> np.ndarray:
    """The code of each word of a column, `(n,)` uint8; blanks about a word do not count."""
    found = column.str.strip().map(codes)
    if found.isna().any():
        row = found.isna().idxmax()
        raise DataError(
            f"{path}, row {row + 2}: {column.name} is {column[row]!r}, not {', '.join(codes)}; "
            "the file is cut short or of another layout: fetch it again"
        )
    return found.to_numpy(np.uint8)


def _pixels(path: Path, row: int, text: str) -> np.ndarray:
    """One face as `(2304,)` uint8. `row` is the line of the file, the header being line 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's word for text that is not a number
            values = np.fromstring(text, np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise DataError(f"{path}, row {row}: the pixels are not all whole numbers; fetch the file again") from None
    if len(values) != SIDE * SIDE:
        raise DataError(f"{path}, row {row}: {len(values)} pixels, not {SIDE * SIDE}; fetch the file again")
    if values.min() < 0 or values.max() > 255:
        wrong = values[(values < 0) | (values > 255)][0]
        raise DataError(f"{path}, row {row}: a pixel of {wrong}, outside 0-255; fetch the file again")
    return values.astype(np.uint8)
