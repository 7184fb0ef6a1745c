"""Parse each dataset once, into a memory-mapped .npy table with one row per face and its checksum at the end."""

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
WAY_OUT = "make room, or set FERVT_CACHE to another folder"


def cache_folder() -> Path:
    """`$FERVT_CACHE`, else `fervt_lib` in the user's cache folder. Safe to delete: we rebuild it when needed."""
    if folder := os.environ.get("FERVT_CACHE"):
        return Path(folder).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "fervt_lib"


def open_table(path: Path) -> np.memmap:
    """Memory-map a table: a page is read only when a face on it is. Raises DataError if the file is gone or damaged."""
    if _is_whole(path):
        return open_memmap(path, mode="r")
    raise DataError(f"{path} is not the cache it was: the dataset has changed, or the cache was removed; load it again")


def cached(
    name: str, root: Path, sources: Iterable[Path], columns: list[tuple], rows: Callable[[], Iterable[tuple]]
) -> Path:
    """The file with the table of dataset `name` at `root`; we write it if it is missing or if a source has changed.

    Args:
        sources: the files that the rows come from; their names, sizes and times are the key of the cache. These times
            include the system's own (ctime), so we notice a changed file even if its old modification time is restored.
        columns: of a row, in numpy's structured-type notation: `[("picture", "u1", (1, 48, 48)), ("label", "u1")]`.
        rows: yields the rows one by one, so only one has to be in memory.

    Raises:
        DataError: `rows` raises it, or the cache folder cannot be written (full disk, no permission).
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
            with suppress(OSError):  # it may belong to another user
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
    except (OSError, ValueError):  # missing, empty, or owned by another user
        return False


@lru_cache
def _is_as_written(path: Path, *_state: int) -> bool:
    """Whether a file ends in the checksum of the rest; checked once per process, and again if the file has changed."""
    content = np.memmap(path, mode="r")
    return hashlib.sha256(content[:-CHECKSUM]).digest() == content[-CHECKSUM:].tobytes()


def _write(part: Path, dtype: np.dtype, rows: Iterable[tuple]) -> None:
    """Write row by row, and put the count into the header last: numpy leaves room there for any count."""
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (0,)}
    with open(part, "xb+") as file:
        npy.write_array_header_1_0(file, header)
        count = sum(1 for row in rows if file.write(np.array(row, dtype).tobytes()))
        file.seek(0)
        npy.write_array_header_1_0(file, header | {"shape": (count,)})
        file.seek(0)
        checksum = hashlib.file_digest(file, "sha256").digest()
        file.write(checksum)
