"""What all tests share: where the real faces are, a private cache, small trees, a check that damage is refused."""

import os
from functools import partial
from pathlib import Path

import pytest
from trees import WRITERS, Change, state_of

from fervt_lib.data import DATASETS, DataError, find_root, load

BESIDE = Path(__file__).parents[2] / "shared" / "data"
if "FERVT_DATA" not in os.environ and (BESIDE / "ferplus").is_dir():
    os.environ["FERVT_DATA"] = str(BESIDE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """When CI is set, a skipped test counts as failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()  # shared by all workers
        patch.setenv("FERVT_CACHE", str((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"))
        yield


@pytest.fixture
def real_ferplus():
    """For tests on the real files: skips the test if they are missing."""
    if not list(find_root("ferplus").glob("*.csv*")):
        pytest.skip(f"no FER+ in {find_root('ferplus')}")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that writes a small dataset tree in one layout; each test has its own cache folder."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(name: str, layout: str = "csv") -> Path:
        root = tmp_path / layout / DATASETS[name].folder
        WRITERS[name](root, layout)
        for folder in [path for path in root.rglob("*") if path.is_dir()]:  # file managers leave these
            (folder / "Thumbs.db").write_bytes(b"no picture")
            (folder / "._face.png").write_bytes(b"no picture")
        return root

    return write


@pytest.fixture
def ferplus_tree(tree):
    return partial(tree, "ferplus")


@pytest.fixture
def ckplus_tree(tree):
    return partial(tree, "ckplus")


@pytest.fixture
def refused(tree, tmp_path):
    """A function that damages a small tree: loading it must report that, change no file and leave no cache."""

    def check(name: str, layout: str, damage: Change, message: str) -> None:
        root = tree(name, layout)
        damage(root)
        before = state_of(root)
        with pytest.raises(DataError, match=message) as error:
            load(name, root=root)
        assert str(root) in str(error.value)
        assert state_of(root) == before and not list((tmp_path / "cache").glob(f"*{name}*"))

    return check
