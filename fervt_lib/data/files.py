"""Find, list and read the files in a dataset's folder. We never change a file."""

import gzip
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ..disk import DataError, project_folder
from ..pictures import as_viewed

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini", "__MACOSX")  # file managers leave them in every folder
MAX_SIDE = 2048  # pixels, for datasets whose pictures come in many sizes


def find_root(folder: str, root: str | Path | None = None) -> Path:
    """A dataset's folder: `root` if given, else `folder` in `$FERVT_DATA`, else in the project's `data/`."""
    base = os.environ.get("FERVT_DATA") or project_folder() / "data"
    return Path(root or Path(base) / folder).expanduser()


def list_folder(folder: Path) -> list[Path]:
    """The contents of a folder, sorted by name, without hidden files and those that file managers leave behind."""
    with readable(folder):
        found = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in SYSTEM_FILES]
    return sorted(found, key=lambda path: path.name)


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name. Raises DataError if there are none, or if there are other files too."""
    pictures = list_folder(folder)
    if others := [path for path in pictures if path.suffix.lower() not in PICTURE_ENDINGS]:
        raise DataError(f"{others[0]} is neither a JPEG nor a PNG picture; move it out of the dataset")
    if not pictures:
        raise DataError(f"{folder} holds no pictures: the dataset is incomplete, download it again")
    return pictures


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn any error while reading `path`, a file or a folder, into a DataError that names it."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading it would block
            raise DataError(f"{path} is a pipe or a device, not a file; move it out of the dataset")
        yield
    except DataError:
        raise
    except Exception as error:  # pandas, zlib and Pillow raise many kinds of errors on damaged files
        raise DataError(f"{path} cannot be read ({error}); download it again if it is damaged") from error


def encoding_of(start: bytes) -> str:
    """The encoding of a text that starts with `start`: UTF-16 if it has that byte order mark, else UTF-8."""
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def read_text(path: Path) -> str:
    """Read a text file, which must not be empty."""
    with readable(path):
        data = path.read_bytes()
        text = data.decode(encoding_of(data))
    if not text.strip():
        raise DataError(f"{path} is empty; download it again")
    return text


def read_table(path: Path, columns: Iterable[str], **how) -> Iterator[pd.DataFrame]:
    """Read a CSV file, plain or gzipped, in chunks of 1,000 rows; all values stay text.

    Args:
        columns: names that the header must have exactly once; we ignore spaces around them.
        how: more options for pandas' read_csv.
    """
    with readable(path):
        with open(path, "rb") as raw:
            opener = gzip.open if raw.read(2) == b"\x1f\x8b" else open
        with opener(path, "rb") as file:
            how |= {"encoding": encoding_of(file.peek(2)), "dtype": str, "keep_default_na": False, "chunksize": 1000}
            with pd.read_csv(file, **how) as reader:
                for chunk in reader:
                    chunk = chunk.rename(columns=lambda name: str(name).strip())
                    header = list(chunk.columns)
                    if wrong := [name for name in columns if header.count(name) != 1]:
                        raise DataError(
                            f"{path}: its header {header} must have exactly one column {wrong[0]}; restore the original"
                        )
                    if not isinstance(chunk.index, pd.RangeIndex):
                        raise DataError(f"{path}, row 2: more fields than the header has names; download it again")
                    yield chunk


def code_of(word: str, codes: dict[str, int], path: Path, row: int, column: str) -> int:
    """Look up the code of a word in a table; we ignore spaces around the word."""
    code = codes.get(word.strip())
    if code is None:
        known = ", ".join(codes)
        raise DataError(f"{path}, row {row}: {column} is {word!r}, not one of {known}; download it again")
    return code


def match_names(file: Path, names: dict[int, str], pictures: Iterable[Path]) -> None:
    """Raise DataError unless exactly one row of `file` names each picture. names: file names by row number."""
    pictures = {path.name: path for path in pictures}
    seen = set()
    for row, name in names.items():
        if name in seen:
            raise DataError(f"{file}, row {row} names {name} a second time; download the file again")
        if name not in pictures:
            raise DataError(f"{file}, row {row} names {name}, which is not there; unpack the pictures again")
        seen.add(name)
    if unnamed := sorted(pictures.keys() - seen):
        raise DataError(f"{pictures[unnamed[0]]}: no row of {file} names it; move it out of the dataset")


def warn_of_gaps(pictures: Path, numbers: Collection[int]) -> None:
    """Warn if the numbers in the pictures' names do not run from 1 without gaps: some pictures may be missing."""
    if absent := set(range(1, max(numbers, default=0) + 1)).difference(numbers):
        text = f"{len(absent)} numbers up to {max(numbers)} are missing, the first is {min(absent)}; is it complete?"
        warnings.warn(f"{pictures}: {text}", stacklevel=3)


def read_picture(path: Path, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a JPEG or PNG picture as uint8: `(height, width)` for mode "L", `(height, width, 3)` for "RGB".

    Args:
        size: the width and height it must have; None accepts sides of up to MAX_SIDE.
    """
    with readable(path), Image.open(path, formats=("JPEG", "PNG")) as picture:
        width, height = picture.size  # from the header: a small file can claim billions of pixels
        if (picture.size != size) if size else max(width, height) > MAX_SIDE:
            wanted = f"{size[0]}×{size[1]}" if size else f"{MAX_SIDE} or less along a side"
            raise DataError(f"{path}: {width}×{height} pixels, not {wanted}; restore the original")
        if picture.mode[0] in "IF":
            raise DataError(f"{path}: more than 8 bits per pixel (mode {picture.mode}); restore the original")
        return np.asarray(as_viewed(picture).convert(mode))
