"""What all tests share: where the real faces are, a cache of their own, small FER+ trees."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervt_lib.data import VOTE_COLUMNS, find_root
from fervt_lib.data.ferplus import FACE_FILES, PICTURE_FOLDERS

BESIDE = Path(__file__).parents[2] / "shared" / "data"
if "FERVT_DATA" not in os.environ and (BESIDE / "ferplus").is_dir():
    os.environ["FERVT_DATA"] = str(BESIDE)

USAGE = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
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
    faces = [(usage, " ".join(map(str, face.ravel()))) for usage, face in zip(USAGE, PIXELS, strict=True)]
    if layout == "icml":
        name, lines = "icml_face_data.csv", ["emotion, Usage, pixels"] + [f"0,{u},{p}" for u, p in faces]
    else:
        name, lines = "fer2013.csv", ["emotion,pixels,Usage"] + [f"0,{p},{u}" for u, p in faces]
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
