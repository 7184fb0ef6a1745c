"""The cache is written picture by picture, never read back in part, and is an ordinary safetensors file."""

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from fervt_lib.data.cache import cached
from safetensors.torch import load_file
from tqdm.auto import tqdm

from fervt_lib.data import DataError, load

SHAPE = (3, 100, 100)
COUNT = 400


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_all(write) -> dict[str, np.ndarray]:
    """COUNT pictures of 30 kB, picture i filled with i % 256."""
    for i in range(COUNT):
        write(np.full(SHAPE, i % 256, np.uint8))
    return {"odd": np.arange(COUNT) % 2 == 1, "number": np.arange(COUNT)}


def is_whole(table: dict[str, torch.Tensor]) -> bool:
    expected = torch.arange(COUNT)
    pictures = (expected % 256).to(torch.uint8)[:, None, None, None]
    right = table["images"].shape == (COUNT, *SHAPE) and bool((table["images"] == pictures).all())
    return right and torch.equal(table["number"], expected) and torch.equal(table["odd"], expected % 2 == 1)


def test_what_was_written_comes_back_and_others_can_read_it(folder, tmp_path):
    assert is_whole(cached("made", tmp_path, "a", SHAPE, write_all))
    (file,) = folder.iterdir()
    assert is_whole(load_file(file))


def test_it_is_parsed_once_until_the_fingerprint_changes(tmp_path):
    cached("made", tmp_path, "a", SHAPE, write_all)
    assert is_whole(cached("made", tmp_path, "a", SHAPE, lambda write: pytest.fail("parsed again")))
    with pytest.raises(ZeroDivisionError):
        cached("made", tmp_path, "b", SHAPE, lambda write: 1 / 0)


def test_pictures_are_written_in_constant_memory(tmp_path):
    tracemalloc.start()
    try:
        cached("made", tmp_path, "a", SHAPE, write_all)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6  # all pictures: 12 MB


def test_an_error_half_way_leaves_nothing(folder, tmp_path):
    def stop(write):
        write(np.zeros(SHAPE, np.uint8))
        raise DataError("a picture is damaged")

    with pytest.raises(DataError, match="a picture is damaged"):
        cached("made", tmp_path, "a", SHAPE, stop)
    assert not list(folder.iterdir())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_killed_at_any_moment_leaves_no_cache_that_is_read(folder, tmp_path):
    start = time.perf_counter()
    cached("timed", tmp_path, "a", SHAPE, write_all)
    duration = time.perf_counter() - start
    lots, parts = random.Random(0), 0
    for attempt in range(20):
        process = multiprocessing.get_context("fork").Process(
            target=cached, args=(f"killed{attempt}", tmp_path, "a", SHAPE, write_all)
        )
        process.start()
        time.sleep(lots.uniform(0, duration))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        parts += len(list(folder.glob(f"killed{attempt}-*.part")))
        parsed = []
        table = cached(
            f"killed{attempt}", tmp_path, "a", SHAPE, lambda write, seen=parsed: seen.append(1) or write_all(write)
        )
        assert is_whole(table)
        assert parsed or not list(folder.glob(f"killed{attempt}-*.part"))  # what was read had been renamed
    assert parts >= 5, "hardly any process was killed while it wrote"


def prepare(root: Path) -> None:
    tqdm.set_lock(
        threading.RLock()
    )  # the usual one is shared with the test: whoever is killed holding it stops that too
    load("rafdb", root=root)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_dataset_whose_preparation_was_killed_50_times_loads_as_if_it_never_was(folder, rafdb_tree):
    root, lots, parts = rafdb_tree("official"), random.Random(0), 0
    expected = load("rafdb", root=root).images
    shutil.rmtree(folder)
    start = time.perf_counter()
    load("rafdb", root=root)
    duration = time.perf_counter() - start
    for _ in range(50):
        shutil.rmtree(folder)
        process = multiprocessing.get_context("fork").Process(target=prepare, args=(root,))
        process.start()
        time.sleep(lots.uniform(0, duration))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        parts += bool(list(folder.glob("*.part")))
        assert torch.equal(load("rafdb", root=root).images, expected)
    assert parts >= 10, "hardly any process was killed while it wrote"


def test_what_a_killed_process_left_goes_when_it_is_old(folder, tmp_path):
    cached("made", tmp_path, "a", SHAPE, write_all)
    (file,) = folder.iterdir()
    old, new = file.with_suffix(".1.part"), file.with_suffix(".2.part")
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    cached("made", tmp_path, "b", SHAPE, write_all)
    assert sorted(folder.iterdir()) == sorted([file, new])  # the other may still be written
