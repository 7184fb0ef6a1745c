"""Parsed datasets kept as one memory-mapped safetensors file each."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .faces import DataError

Table = dict[str, torch.Tensor]


def cache_folder() -> Path:
    """`$FERVT_CACHE`, else `fervt_lib` in the user's cache folder. Safe to delete: made again when needed."""
    if folder := os.environ.get("FERVT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fervt_lib"


def cached(name: str, root: Path, fingerprint: str, parse: Callable[[], Table]) -> Table:
    """The table of dataset `name` at `root`: from the cache while `fingerprint` stays, else parsed and kept.

    Tensors from the cache are memory-mapped: a page is read when a face on it is.

    Raises:
        DataError: what `parse` raises, or a cache folder that cannot be written (full disk, no permission).
    """
    key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    path = cache_folder() / f"{name}-{key}.safetensors"
    table = _read(path, fingerprint)
    if table is None:
        _write(path, fingerprint, parse())
        table = _read(path, fingerprint)
    return table


def _read(path: Path, fingerprint: str) -> Table | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            if file.metadata().get("fingerprint") != fingerprint:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return None  # damaged from outside: made again


def _write(path: Path, fingerprint: str, table: Table) -> None:
    """Write beside, then rename: another process sees the old file or the whole new one, never a part."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(table, part, metadata={"fingerprint": fingerprint})
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        size = sum(tensor.nbytes for tensor in table.values()) / 2**20
        raise DataError(
            f"the cache {path} ({size:.0f} MB) cannot be written: {error}. "
            "Make room, or name another folder in FERVT_CACHE"
        ) from error
