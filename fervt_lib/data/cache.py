"""Parsed datasets kept as one memory-mapped safetensors file each, written picture by picture."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from .faces import DataError

Table = dict[str, torch.Tensor]
Write = Callable[[np.ndarray], object]
Parse = Callable[[Write], dict[str, np.ndarray]]

ROOM = 1024  # bytes kept free for the header
DTYPES = {"uint8": "U8", "int64": "I64", "bool": "BOOL"}
SECONDS_OF_SILENCE = 3600


def cache_folder() -> Path:
    """`$FERVT_CACHE`, else `fervt_lib` in the user's cache folder. Safe to delete: made again when needed."""
    if folder := os.environ.get("FERVT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fervt_lib"


def cached(name: str, root: Path, fingerprint: str, shape: tuple[int, ...], parse: Parse) -> Table:
    """The table of dataset `name` at `root`: from the cache while `fingerprint` stays, else parsed and kept.

    Args:
        shape: of every picture.
        parse: calls the function that it is given with each picture, uint8 and contiguous, in order, and returns the
            other columns. No more than one picture need be in memory.

    Returns:
        `images`, `(n, *shape)` uint8, and the other columns. They are memory-mapped: a page is read when a face on
        it is.

    Raises:
        DataError: what `parse` raises, or a cache folder that cannot be written (full disk, no permission).
    """
    key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    path = cache_folder() / f"{name}-{key}.safetensors"
    table = _read(path, fingerprint)
    if table is None:
        _write(path, fingerprint, shape, parse)
        table = _read(path, fingerprint)
    return table


def _read(path: Path, fingerprint: str) -> Table | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return None  # damaged from outside: made again


def _write(path: Path, fingerprint: str, shape: tuple[int, ...], parse: Parse) -> None:
    """Write beside, then rename: another process sees the old file or the whole new one, never a part."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        try:
            with open(part, "wb") as file:
                _fill(file, fingerprint, shape, parse)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache {path} cannot be written: {error}. Make room, or name another folder in FERVT_CACHE"
        ) from error


def _remove_abandoned(path: Path) -> None:
    """A process that is killed leaves its part behind; one that still writes has touched it lately."""
    for part in path.parent.glob(f"{path.stem}.*.part"):
        if time.time() - part.stat().st_mtime > SECONDS_OF_SILENCE:
            part.unlink(missing_ok=True)


def _fill(file: BinaryIO, fingerprint: str, shape: tuple[int, ...], parse: Parse) -> None:
    """The safetensors format: length of the header (8 bytes, little-endian), header (JSON, blanks after it), data.

    The header goes in last: only then is the number of pictures known, and without it the file is none.
    """
    file.seek(ROOM)
    columns = parse(file.write)
    end = file.tell() - ROOM
    images = {"dtype": "U8", "shape": [end // math.prod(shape), *shape], "data_offsets": [0, end]}
    header = {"__metadata__": {"fingerprint": fingerprint}, "images": images}
    for name, column in columns.items():
        start, end = end, end + column.nbytes
        file.write(np.ascontiguousarray(column))
        header[name] = {"dtype": DTYPES[str(column.dtype)], "shape": column.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    assert len(text) <= ROOM - 8, "more columns than there is room for in the header"
    file.seek(0)
    file.write((ROOM - 8).to_bytes(8, "little") + text.ljust(ROOM - 8))
    file.flush()
    os.fsync(file.fileno())  # the data must be on the disk before the new name is
