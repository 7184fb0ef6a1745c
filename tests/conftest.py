"""What all tests share: where the real faces are, a cache of their own, damage refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from trees import state_of, write_ckplus, write_ferplus, write_rafdb

from fervt_lib.data import DataError, find_root, load
from fervt_lib.data.fer2013 import FACE_FILES

BESIDE = Path(__file__).parents[2] / "shared" / "data"
if "FERVT_DATA" not in os.environ and (BESIDE / "ferplus").is_dir():
    os.environ["FERVT_DATA"] = str(BESIDE)


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
    """A function that writes a small FER+ tree in one layout; the cache is a folder of this test's own."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(layout: str = "csv") -> Path:
        root = tmp_path / layout / "ferplus"
        write_ferplus(root, layout)
        return root

    return write


@pytest.fixture
def ckplus_tree(tmp_path, monkeypatch):
    """A function that writes a sequence of each subject in one layout; the cache is a folder of this test's own."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(layout: str) -> Path:
        root = tmp_path / layout / "ckplus"
        write_ckplus(root, layout)
        return root

    return write


@pytest.fixture
def rafdb_tree(tmp_path, monkeypatch):
    """A function that writes 70 train and 7 test faces in one layout; the cache is a folder of this test's own."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(layout: str) -> Path:
        root = tmp_path / layout / "rafdb"
        write_rafdb(root, layout)
        return root

    return write


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
