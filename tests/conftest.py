"""What all tests share: where the real faces are, a cache of their own, small FER+ trees."""

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervt_lib.data import VOTE_COLUMNS, DataError, find_root, load
from fervt_lib.data.fer2013 import FACE_FILES
from fervt_lib.data.ferplus import PICTURE_FOLDERS

BESIDE = Path(__file__).parents[2] / "shared" / "data"
if "FERVT_DATA" not in os.environ and (BESIDE / "ferplus").is_dir():
    os.environ["FERVT_DATA"] = str(BESIDE)

USAGE = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
EMOTIONS = [3, 6, 0, 1, 2, 4, 5, 0]  # FER2013's codes
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
VOTES = [  # one face a row, in the order of VOTE_COLUMNS
    [8, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    [0, 9, 0, 0, 0, 0, 0, 1, 0, 0],
    [0, 0, 6, 2, 0, 0, 2, 0, 0, 0],
    [4, 0, 0, 4, 2, 0, 0, 0, 0, 0],  # no majority
    [0, 0, 0, 0, 0, 7, 0, 3, 0, 0],
    [1, 0, 0, 0, 0, 0, 0, 0, 9, 0],  # unknown
    [0, 1, 0, 0, 9, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 10, 0, 0, 0],
]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With CI set, a skipped test is a failed one."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def real_ferplus():
    """For tests of the real files: skips the test where there are none."""
    root = find_root("ferplus")
    if not any((root / name).is_file() for name in FACE_FILES):
        pytest.skip(f"no FER+ in {root}")


@pytest.fixture
def ferplus_tree(tmp_path, monkeypatch):
    """A function that writes the eight faces above in one layout; the cache is a folder of this test's own."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(layout: str = "csv") -> Path:
        root = tmp_path / layout / "ferplus"
        root.mkdir(parents=True)
        (_write_pictures if layout == "pictures" else _write_csv_pair)(root, layout)
        return root

    return write


def _write_csv_pair(root: Path, layout: str) -> None:
    pixels = (" ".join(map(str, face.ravel())) for face in PIXELS)
    faces = list(zip(EMOTIONS, USAGE, pixels, strict=True))
    if layout == "icml":
        name, lines = "icml_face_data.csv", ["emotion, Usage, pixels"] + [f"{e},{u},{p}" for e, u, p in faces]
    else:
        name, lines = "fer2013.csv", ["emotion,pixels,Usage"] + [f"{e},{p},{u}" for e, u, p in faces]
    text = "".join(f"{line}\n" for line in lines).encode()
    if layout == "gz":
        (root / f"{name}.gz").write_bytes(gzip.compress(text))
    else:
        (root / name).write_bytes(text)
    rows = [
        f"{usage},fer{i:07}.png,{','.join(map(str, votes))}"
        for i, (usage, votes) in enumerate(zip(USAGE, VOTES, strict=True))
    ]
    header = ",".join(("Usage", "Image name", *VOTE_COLUMNS))
    (root / "fer2013new.csv").write_text("\n".join((header, *rows, "")))


def _write_pictures(root: Path, layout: str) -> None:
    for folder, usage in zip(PICTURE_FOLDERS.values(), dict.fromkeys(USAGE), strict=True):
        (root / "data" / folder).mkdir(parents=True)
        lines = []
        for i in (i for i, other in enumerate(USAGE) if other == usage):
            Image.fromarray(PIXELS[i]).save(root / "data" / folder / f"fer{i:07}.png")
            lines.append(f'fer{i:07}.png,"(0, 0, 48, 48)",{",".join(map(str, VOTES[i]))}\n')
        (root / "data" / folder / "label.csv").write_text("".join(lines))


def replace(file: Path, old: str, new: str, count: int = 1) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))


def cut(file: Path, bytes_gone: int) -> None:
    file.write_bytes(file.read_bytes()[:-bytes_gone])


def state_of(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of everything in a folder: what may never change when it is loaded."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


@pytest.fixture
def refused(tmp_path):
    """A function that damages a dataset's tree: loading it must name the damage, change no file and leave no cache."""

    def check(name: str, root: Path, damage: Callable[[Path], object], message: str) -> None:
        damage(root)
        before = state_of(root)
        with pytest.raises(DataError, match=message):
            load(name, root=root)
        assert state_of(root) == before
        assert not list((tmp_path / "cache").glob("*"))

    return check


def bomb(file: Path, side: int = 9000) -> None:
    """A PNG of 80 bytes whose header claims `side` × `side` pixels."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = block(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + block(b"IDAT", zlib.compress(b"")) + block(b"IEND", b""))


def lead_out(path: Path, root: Path) -> None:
    """Move a file or folder out of the dataset in `root` and leave a link to it."""
    outside = root.parent / path.name
    path.rename(outside)
    path.symlink_to(outside)
