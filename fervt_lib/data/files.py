"""The files of a dataset's folder: found and read, every fault named. No file is ever changed."""

import codecs
import hashlib
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .faces import DataError

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")
OF_FILE_MANAGERS = ("Thumbs.db", "desktop.ini", "__MACOSX")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
SIDES = range(60, 2049)  # of a picture whose size is not known beforehand
LEFT_OVER = "fetch the dataset again, or move what does not belong to it elsewhere"


class Layout(NamedTuple):
    """How the files of a dataset's folder are laid out.

    Attributes:
        name: of the layout, in words.
        pictures: files that are a face each, in the order of the dataset's rows; empty where the rows of a table are
            the faces.
        mode, size: of the pictures, see `read_picture`.
    """

    name: str
    pictures: list[Path]
    mode: str = "L"
    size: tuple[int, int] | None = None

    def where(self, row: int, root: Path) -> str:
        """Where the face of a row comes from, for people: its picture below `root`, or the line of the table."""
        return str(self.pictures[row].relative_to(root)) if self.pictures else f"row {row + 2}"


def find_root(name: str, root: str | Path | None = None) -> Path:
    """The folder of dataset `name`: `root` if given, else below `$FERVT_DATA` when that is set, else below `data/`."""
    base = os.environ.get("FERVT_DATA") or Path(__file__).parents[2] / "data"
    return Path(root or Path(base) / name).expanduser()


class NotFoundError(DataError):
    """A folder holds no layout of the dataset."""


def not_found(what: str, root: Path, how_to_get: str) -> NotFoundError:
    """The error for a folder in which no layout of a dataset was found; it says what is there instead."""
    return NotFoundError(f"no {what} in {root}{_instead(root)}. {how_to_get} With no download: load('drawn').")


def _instead(root: Path) -> str:
    if not root.exists():
        return ", which does not exist"
    if not root.is_dir():
        return ", which is a file: name the folder" + " that it is unpacked in" * (root.suffix in ARCHIVES)
    held = list_folder(root)
    if packed := [p.name for p in held if p.suffix.lower() in ARCHIVES and not p.name.endswith(".csv.gz")]:
        return f": {packed[0]} is there, unpack it"
    folders = [path for path in held if path.is_dir()]
    return f": is it in {folders[0]}? Then name that folder" if len(folders) == 1 else ""


def list_folder(folder: Path) -> list[Path]:
    """What a folder holds, by name. Hidden files and those of file managers are no part of a dataset.

    Raises:
        DataError: there is no such folder, or it cannot be listed.
    """
    try:
        found = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in OF_FILE_MANAGERS]
    except OSError as error:
        raise DataError(
            f"{folder} cannot be listed ({error.strerror}); it must be a folder that you may read: if the dataset is "
            "not whole, fetch it again"
        ) from error
    return sorted(found, key=lambda path: path.name)


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, by name.

    Raises:
        DataError: there is no such folder, no picture in it, or something that is no picture.
    """
    pictures = list_folder(folder)
    if not pictures:
        raise DataError(f"{folder} holds no pictures; the dataset is not whole: fetch it again")
    for path in pictures:
        if path.suffix.lower() not in PICTURE_ENDINGS:
            raise DataError(f"{path}: neither a JPEG nor a PNG picture; {LEFT_OVER}")
    return pictures


def match_rows(file: Path, names: dict[int, str], pictures: Iterable[Path], place: Path) -> None:
    """Raise DataError unless each of the pictures in the folder `place` is named by one row of `file`.

    Args:
        names: of the pictures, by number of the row.
    """
    there, seen = {path.name for path in pictures}, set()
    for row, name in names.items():
        if name in seen:
            raise DataError(f"{file}, row {row} names {name} a second time; fetch the file again")
        seen.add(name)
    if absent := {row: name for row, name in names.items() if name not in there}:
        row, name = next(iter(absent.items()))
        raise DataError(
            f"{file}, row {row} names {name}, which is not in {place} (rows like that: {len(absent)}); unpack the "
            "pictures again"
        )
    if unnamed := there - seen:
        first = place / min(unnamed)
        raise DataError(f"{first}: no row of {file} names it (pictures like that: {len(unnamed)}); {LEFT_OVER}")


def fingerprint(files: Iterable[Path], root: Path) -> str:
    """Name below `root`, size and time of every source file, in order: when one changes, the cache is made again.

    Raises:
        DataError: a file cannot be looked at.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); fetch it again") from error
        digest.update(os.fsencode(path.relative_to(root)) + f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def refuse_outside(path: Path, root: Path) -> None:
    """Raise DataError where `path` is, or lies behind, a symbolic link that leads out of the folder `root`."""
    try:
        place = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: Python 3.11 and 3.12 meet a link to itself with it
        raise DataError(f"{path} cannot be read ({error}); put the file itself in its place") from error
    if not place.is_relative_to(root.resolve()):
        raise DataError(f"{path} is a link out of {root}, to {place}; put the file itself in its place")


def encoding_of(start: bytes) -> str:
    """The encoding of a text that begins with `start`: UTF-16 where its mark is there, else UTF-8."""
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def read_text(path: Path, root: Path) -> str:
    """A text file of the dataset in `root`.

    Raises:
        DataError: the file cannot be read, is empty, no text, or a link out of `root`.
    """
    refuse_outside(path, root)
    try:
        data = path.read_bytes()
        text = data.decode(encoding_of(data))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable text file ({error}); fetch the file again") from error
    if not text.strip():
        raise DataError(f"{path} is empty; fetch the file again")
    return text


def read_picture(path: Path, root: Path, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture of the dataset in `root` as uint8: `(height, width)` for mode "L", `(height, width, 3)` for "RGB".

    Args:
        size: width and height that it must have; None takes sides of 60 to 2,048 pixels.

    Raises:
        DataError: not a readable JPEG or PNG picture, of another size, or a link out of `root`.
    """
    refuse_outside(path, root)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("JPEG", "PNG")) as picture:
                _check_header(path, picture, size)
                return np.asarray(picture.convert(mode))
    except DataError:
        raise
    except Exception as error:  # Pillow meets damage with errors of many kinds
        raise DataError(f"{path}: not a readable picture ({error}); fetch it again") from error


def _check_header(path: Path, picture: Image.Image, size: tuple[int, int] | None) -> None:
    """Before any pixel is unpacked: a small file can claim billions of them."""
    width, height = picture.size
    if size and picture.size != size:
        raise DataError(f"{path}: {width}×{height} pixels, not {size[0]}×{size[1]}; fetch it again")
    if not size and not (width in SIDES and height in SIDES):
        raise DataError(f"{path}: {width}×{height} pixels; sides of {SIDES[0]} to {SIDES[-1]} are read. Fetch it again")
    if picture.mode[0] in "IF":
        raise DataError(f"{path}: more than 8 bits a pixel (mode {picture.mode}); fetch it again")
