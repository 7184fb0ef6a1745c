"""How the library reports errors and writes files: errors name the fix, and no file is left half-written."""

import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from numbers import Real
from pathlib import Path

MAX_SEED = 2**32 - 1  # the largest that every random generator accepts
ABANDONED = 3600  # seconds without a write until we remove the leftovers of a killed process


class FervtError(ValueError):
    """Something you can fix. The message names the file, the row or the option, and how to fix it."""


class DataError(FervtError):
    """A dataset file is missing or damaged, or its layout is unexpected."""


class CheckpointError(FervtError):
    """Weights, a checkpoint or a record is missing, damaged or belongs to another model."""


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Raise FervtError, listing all choices, unless `value` is one of them."""
    if value not in choices:
        raise FervtError(f"{name} {value!r}: choose from {', '.join(map(str, choices))}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raise FervtError unless `value` is a number from `low` to `high`, both included."""
    if not isinstance(value, Real) or not low <= value <= high:
        raise FervtError(f"{name} {value}: choose a number from {low:g} to {high:g}")


def project_folder() -> Path:
    """The clone that the library runs from, or the working folder if it is installed without a clone."""
    clone = Path(__file__).parents[1]
    return clone if (clone / "pyproject.toml").is_file() else Path.cwd()


@contextmanager
def written_whole(path: Path, way_out: str = "make room, or choose another folder") -> Iterator[Path]:
    """Yield a path to write a file or folder to; it replaces `path` when the block ends without an error.

    Other processes see the old file or the complete new one, never a part of it. An error leaves nothing behind.

    Raises:
        FervtError: the disk is full, or the folder cannot be written; the message ends with `way_out`.
    """
    name = path.name[:100]  # the suffix can make a long name too long
    part = path.with_name(f".{name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent.glob(f".{glob.escape(name)}.*.part"))
        yield part
        if part.is_file():
            with open(part, "rb+") as file:
                os.fsync(file.fileno())  # the data must reach the disk before the new name does
        os.replace(part, path)
    except OSError as error:
        raise FervtError(f"{path} cannot be written ({error}); {way_out}") from error
    finally:
        _remove(part)


def remove_abandoned(parts: Iterable[Path]) -> None:
    """Remove what killed processes left behind, but no recent parts: their processes may still be writing."""
    for part in parts:
        with suppress(OSError):  # another process was faster, or it belongs to another user
            if time.time() - part.stat().st_mtime > ABANDONED:
                _remove(part)


def _remove(part: Path) -> None:
    with suppress(OSError):  # it may not exist
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def write_json(path: Path, facts: dict) -> None:
    with written_whole(path) as part:
        part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict | list:
    """Read a JSON file.

    Raises:
        CheckpointError: the file is missing, damaged, or not text at all.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")  # reading a pipe would block
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no readable JSON ({error}); copy it again, or make it again") from error
