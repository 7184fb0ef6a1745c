"""Datasets are parsed once: a table of one row a face, kept as a memory-mapped .npy file that ends in its checksum."""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.lib.format import open_memmap

from ..disk import DataError, FervtError, remove_abandoned, written_whole
from .files import readable

CHECKSUM = hashlib.sha256().digest_size  # bytes
WAY_OUT = "make room, or name another folder in FERVT_CACHE"


def cache_folder() -> Path:
    """`$FERVT_CACHE`, else `fervt_lib` in the user's cache folder. Safe to delete: made again when needed."""
    if folder := os.environ.get("FERVT_CACHE"):
        return Path(folder).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "fervt_lib"


def open_table(path: Path) -> np.memmap:
    """A table, memory-mapped: a page is read when a face on it is. Raises DataError: it is gone, or damaged."""
    if _is_whole(path):
        return open_memmap(path, mode="r")
    raise DataError(f"{path} is not the cache it was: the dataset has changed, or the cache was removed; load it again")


def cached(
    name: str, root: Path, sources: Iterable[Path], columns: list[tuple], rows: Callable[[], Iterable[tuple]]
) -> Path:
    """The file that holds the table of dataset `name` at `root`; written when it is not there, or a source changed.

    Args:
        sources: the files that the rows are read from; their names, sizes and times are the key of the cache. The
            system's own time of the last change is one of them, so a file that was given its old time back is noticed.
        columns: of a row, as numpy's structured types name them: `[("picture", "u1", (1, 48, 48)), ("label", "u1")]`.
        rows: yields the rows one by one; no more than one need be in memory.

    Raises:
        DataError: what `rows` raises, or a cache folder that cannot be written (full disk, no permission).
    """
    dtype = np.dtype(columns)
    stem = f"{name}-{_digest([str(root.resolve())])}"
    path = cache_folder() / f"{stem}-{_digest(_facts(sources, root))}.npy"
    if not _is_whole(path) or open_table(path).dtype != dtype:
        try:
            remove_abandoned(path.parent.glob(f".{stem}-*.part"))
            with written_whole(path, WAY_OUT) as part:
                _write(part, dtype, rows())
        except DataError:
            raise
        except FervtError as error:
            raise DataError(f"the cache {error}") from error
        for old in set(path.parent.glob(f"{stem}-*.npy")) - {path}:
            with suppress(OSError):  # another user's
                old.unlink()
    return path


def _facts(sources: Iterable[Path], root: Path) -> Iterable[str]:
    for path in sources:
        with readable(path):
            stat = path.stat()
        yield f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="surrogateescape")).hexdigest()[:12]


def _is_whole(path: Path) -> bool:
    try:
        stat = path.stat()
        return _is_as_written(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError):  # not there, empty, or another user's
        return False


@lru_cache
def _is_as_written(path: Path, *_state: int) -> bool:
    """Whether a file ends in the checksum of the rest; looked at once per process, and when its state is another."""
    content = np.memmap(path, mode="r")
    return hashlib.sha256(content[:-CHECKSUM]).digest() == content[-CHECKSUM:].tobytes()


def _write(part: Path, dtype: np.dtype, rows: Iterable[tuple]) -> None:
    """Row by row. The count goes into the header at the end: numpy leaves room there for any count."""
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (0,)}
    with open(part, "xb+") as file:
        npy.write_array_header_1_0(file, header)
        count = sum(1 for row in rows if file.write(np.array(row, dtype).tobytes()))
        file.seek(0)
        npy.write_array_header_1_0(file, header | {"shape": (count,)})
        file.seek(0)
        checksum = hashlib.file_digest(file, "sha256").digest()
        file.write(checksum)
