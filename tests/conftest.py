"""What all tests share: where the real faces are, a cache of their own, small trees, damage refused."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from trees import WRITERS, state_of

from fervt_lib.data import DATASETS, DataError, find_root, load
from fervt_lib.data.fer import FACE_FILES

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
def tree(tmp_path, monkeypatch):
    """A function that writes a small tree of a dataset in one layout; the cache is a folder of this test's own."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(name: str, layout: str = "csv") -> Path:
        root = tmp_path / layout / DATASETS[name].folder
        WRITERS[name](root, layout)
        return root

    return write


@pytest.fixture
def ferplus_tree(tree):
    return partial(tree, "ferplus")


@pytest.fixture
def ckplus_tree(tree):
    return partial(tree, "ckplus")


@pytest.fixture
def rafdb_tree(tree):
    return partial(tree, "rafdb")


@pytest.fixture
def refused(tree, tmp_path):
    """A function that damages a small tree: loading it must say so, change no file and leave no cache of it."""

    def check(name: str, layout: str, damage: Callable[[Path], object], message: str) -> None:
        root = tree(name, layout)
        damage(root)
        before = state_of(root)
        with pytest.raises(DataError, match=message) as error:
            load(name, root=root)
        assert str(root) in str(error.value)
        assert state_of(root) == before and not list((tmp_path / "cache").glob(f"*{name}*"))

    return check
