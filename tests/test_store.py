"""The cache is written face by face, never read half-written, and rebuilt when a source changes."""

import errno
import multiprocessing
import os
import pickle
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from trees import ALIGNED, LABEL_FILE, copy, fail, replace, state_of

from fervt_lib.data import DataError, load
from fervt_lib.data.store import cached, open_table

COUNT, SHAPE = 200, (3, 100, 100)


def rows(count: int = COUNT, then=lambda: None):
    """Yields `count` pictures of 30 kB, picture i filled with i, then calls `then`."""
    yield from ((np.full(SHAPE, i, np.uint8), i) for i in range(count))
    then()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that makes the cached table of a one-file dataset, "source"."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "source").write_text("a")
    columns = [("picture", "u1", SHAPE), ("number", "i8")]
    return lambda rows=rows: cached("made", tmp_path, [tmp_path / "source"], columns, rows)


def is_whole(path: Path) -> bool:
    table, numbers = open_table(path), np.arange(COUNT)
    return np.array_equal(table["number"], numbers) and bool((numbers == table["picture"].T).all())


def test_rows_are_parsed_once_until_a_source_changes_or_the_cache_is_cut_short(make, tmp_path):
    path = make()
    assert is_whole(path) and make(lambda: pytest.fail("parsed again")) == path
    content = path.read_bytes()
    for left in (0, 5, 100, 3000, -1):
        path.write_bytes(content[:left])
        assert is_whole(make()) and path.read_bytes() == content
    (tmp_path / "source").write_text("ab")
    other = make()
    assert is_whole(other) and list((tmp_path / "cache").iterdir()) == [other]


@pytest.mark.parametrize("place", [0, 20, 64, 127, 128, 1_000_000, -33, -32, -1])
@pytest.mark.parametrize("length", [1, 30_000])
def test_bytes_of_a_finished_cache_that_change_are_noticed(make, place, length):
    path = make()
    content = bytearray(path.read_bytes())
    damaged = slice(place % len(content), min(place % len(content) + length, len(content)))
    content[damaged] = bytes(byte ^ 255 for byte in content[damaged])
    path.write_bytes(content)
    assert is_whole(make())


def test_a_source_that_was_given_its_old_size_and_time_back_is_noticed(make, tmp_path):
    source, path = tmp_path / "source", make()
    before = source.stat()
    source.write_text("b")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert make() != path


def test_faces_in_use_stay_when_the_cache_is_made_again_and_a_damaged_one_is_not_unpickled(tree):
    faces = load("rafdb", root=(root := tree("rafdb", "kaggle")))
    sent, before = pickle.dumps(faces), faces.pictures[:]
    path = faces.pictures.path
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(DataError, match="is not the cache it was.*load it again"):
        pickle.loads(sent)
    os.utime(next(root.rglob("*.jpg")))
    load("rafdb", root=root)  # a new file; the old one is gone
    assert not path.exists() and torch.equal(faces.take(torch.arange(9)).pictures[:][:9], before[:9])


def test_a_cache_that_another_user_fills_too_is_used(make, tmp_path, monkeypatch):
    path = make()
    (tmp_path / "source").write_text("ab")
    (tmp_path / "cache" / f".{path.name}.0.part").write_text("")
    os.utime(tmp_path / "cache" / f".{path.name}.0.part", (0, 0))
    monkeypatch.setattr(Path, "unlink", fail(PermissionError("another user's")))
    assert is_whole(make())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_that_fill_one_cache_at_once_leave_it_whole(make):
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=make) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert is_whole(make(lambda: pytest.fail("parsed again")))


def test_rows_are_written_in_constant_memory(tree):
    load("rafdb", root=tree("rafdb", "kaggle"))  # imports along the way should not count
    root = tree("rafdb", "official")
    tracemalloc.start()
    load("rafdb", root=root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6  # all pictures: 2.3 MB


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("count", [0, 1, 100, 199, 200])
def test_what_a_killed_process_has_written_is_not_read_and_goes_when_it_is_old(make, tmp_path, count):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=make, args=(lambda: rows(count, die),))
    process.start()
    process.join()
    (left,) = (tmp_path / "cache").iterdir()
    path = make()
    assert process.exitcode == -signal.SIGKILL and is_whole(path) and left.exists()  # may still be in use
    os.utime(left, (0, 0))
    path.unlink()
    assert is_whole(make()) and not left.exists()


def test_an_error_half_way_leaves_nothing_and_where_the_disk_is_to_blame_names_the_way_out(make, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    for error in (DataError("a bad picture"), KeyboardInterrupt("a bad picture")):
        with pytest.raises(type(error), match="a bad picture"):
            make(lambda error=error: rows(3, fail(error)))
        assert not list(cache.iterdir())
    monkeypatch.setattr("os.fsync", fail(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DataError, match=f"{cache}.*No space left.*FERVT_CACHE"):
        make()
    assert not list(cache.iterdir())
    cache.rmdir()
    cache.write_text("a file")
    with pytest.raises(DataError, match=f"{cache}.*cannot be written.*FERVT_CACHE"):
        make()


@pytest.mark.parametrize(
    ("name", "layout", "change"),
    [
        ("fer2013", "csv", replace("fer2013.csv", "PublicTest", "PrivateTest")),
        ("ferplus", "csv", replace("fer2013new.csv", "0,1,0,0,9,", "9,1,0,0,0,")),
        ("ferplus", "pictures", copy("data/FER2013Test/fer0000006.png", "data/FER2013Test/fer0000007.png")),
        ("rafdb", "official", copy(ALIGNED.format("test_00003"), ALIGNED.format("test_00002"))),
        ("rafdb", "official", replace(LABEL_FILE, "test_00001.jpg 3", "test_00001.jpg 4")),
        ("ckplus", "ck48", copy("CK+48/anger/S029_001_00000004.png", "CK+48/anger/S005_001_00000004.png")),
    ],
)
def test_a_dataset_is_parsed_again_when_a_file_changes_and_only_then(tree, monkeypatch, tmp_path, name, layout, change):
    root = tree(name, layout)
    before, cache = load(name, "test", root=root), state_of(tmp_path / "cache")
    root.with_name("link").symlink_to(root)
    monkeypatch.chdir(root.parent)
    monkeypatch.setenv("HOME", str(root.parent))
    for other in (root, "link", root.name, f"~/{root.name}"):
        assert torch.equal(load(name, "test", root=other).images, before.images)
    assert state_of(tmp_path / "cache") == cache
    change(root)
    after = load(name, "test", root=root)
    assert not (torch.equal(after.labels, before.labels) and torch.equal(after.images, before.images))
