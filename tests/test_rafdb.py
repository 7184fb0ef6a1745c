"""RAF-DB comes back the same from both layouts, its validation share by a seed, and damage is named, never loaded."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import ALIGNED, CODES, LABEL_FILE, copy, cut, picture, remove, replace, state_of, write

from fervt_lib.data import EXPRESSIONS, RAFDB_CODES, load

INSIDE = {"official": "basic", "kaggle": "DATASET"}
KAGGLE = "DATASET/test/7/test_00002_aligned.jpg"


def names(faces) -> list[str]:
    return [EXPRESSIONS[label] for label in faces.labels]


TEST_NAMES = [RAFDB_CODES[code - 1] for code in CODES["test"]]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("layout", INSIDE)
def test_every_layout_gives_the_same_faces_with_labels_by_name(rafdb_tree, layout, inside):
    root = rafdb_tree(layout)
    before = state_of(root)
    folder = root / INSIDE[layout] if inside else root
    train, validation, test = (load("rafdb", split, root=folder) for split in ("train", "validation", "test"))
    assert names(test) == TEST_NAMES
    assert [names(train)[i] for i in (0, 9, 62)] == ["surprise", "fear", "neutral"]
    assert validation.rows.tolist() == [4, 11, 27, 33, 49, 52, 64]  # the share of seed 0 is what it always was
    for faces in (train, validation, test):
        assert faces.images.dtype == torch.uint8 and faces.images.shape[1:] == (3, 100, 100)
        assert torch.equal(faces.votes.sum(1), torch.full((len(faces),), 10)) and faces.raw_votes.shape[1] == 10
        number = faces.rows % 70 + 1  # in the name of the picture
        colours = torch.stack([number, torch.full_like(number, 100), 250 - number], 1)
        assert (faces.images.float().mean((2, 3)) - colours).abs().max() < 3
    assert state_of(root) == before


def test_validation_is_a_tenth_of_each_label_by_its_seed(rafdb_tree):
    root = rafdb_tree("official")
    validation, train = (load("rafdb", split, root=root, seed=3) for split in ("validation", "train"))
    assert sorted(names(validation)) == sorted(RAFDB_CODES)
    assert sorted(torch.cat([validation.rows, train.rows]).tolist()) == list(range(70))
    assert torch.equal(validation.rows, load("rafdb", "validation", root=rafdb_tree("kaggle"), seed=3).rows)
    assert not torch.equal(validation.rows, load("rafdb", "validation", root=root, seed=4).rows)
    assert load("rafdb", "test", root=root, seed=4).rows.tolist() == list(range(70, 77))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: ("\ufeff" + text).encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: ("\n" + text.replace(" ", " \t ").replace("\n", "  \n\n")).encode(),
        lambda text: text.strip().encode(),
    ],
    ids=["UTF-8 with a mark", "UTF-16", "CRLF", "stray blanks", "no last line end"],
)
def test_other_ways_to_write_the_label_file_are_read(rafdb_tree, change):
    root = rafdb_tree("official")
    (root / LABEL_FILE).write_bytes(change((root / LABEL_FILE).read_text()))
    assert names(load("rafdb", "test", root=root)) == TEST_NAMES


def test_files_of_file_managers_are_passed_over_and_links_followed(rafdb_tree, tmp_path):
    root = rafdb_tree("kaggle")
    for name in ("._test_00001_aligned.jpg", ".DS_Store", "Thumbs.db"):
        (root / "DATASET/test/3" / name).write_bytes(b"no picture")
    (root / KAGGLE).rename(tmp_path / "kept.jpg")
    (root / KAGGLE).symlink_to(tmp_path / "kept.jpg")
    (tmp_path / "link").symlink_to(root)
    assert names(load("rafdb", "test", root=tmp_path / "link")) == TEST_NAMES


def test_unknown_splits_are_refused(rafdb_tree):
    with pytest.raises(ValueError, match="split 'dev': choose from train, validation, test"):
        load("rafdb", "dev", root=rafdb_tree("kaggle"))


# --- damage ------------------------------------------------------------------------------------------------------


def swap_train_and_test(root: Path) -> None:
    (root / "DATASET/train").rename(root / "other")
    (root / "DATASET/test").rename(root / "DATASET/train")
    (root / "other").rename(root / "DATASET/test")


def remove_test(root: Path) -> None:
    rows = (root / LABEL_FILE).read_text().splitlines(keepends=True)
    (root / LABEL_FILE).write_text("".join(rows[:70]))
    for path in (root / ALIGNED).glob("test*"):
        path.unlink()


FACE, LABELS = ALIGNED + "/test_00002_aligned.jpg", "list_patition_label.txt"
BAD = [  # layout, how the damage is made, what must be said
    ("official", lambda r: shutil.rmtree(r / "basic"), "no RAF-DB in .*data/rafdb.*README"),
    ("official", remove(LABEL_FILE), LABELS),
    ("official", write(LABEL_FILE, " \n"), f"{LABELS} is empty"),
    ("official", write(LABEL_FILE, b"\xff\x00\x81"), f"{LABELS} cannot be read"),
    ("official", cut(LABEL_FILE, 3), f"{LABELS}, row 77: 'test_00007.jpg'"),
    ("official", remove_test, f"{LABELS} has no test faces"),
    ("official", replace(LABEL_FILE, "jpg 7", "jpg 8"), f"{LABELS}, row 61: code is '8'"),
    ("official", replace(LABEL_FILE, "jpg 7", "jpg 7 1"), f"{LABELS}, row 61: 'train"),
    ("official", replace(LABEL_FILE, "test_00003", "test_00002"), f"{LABELS}, row 73 names test_00002_aligned.jpg"),
    ("official", replace(LABEL_FILE, "test_00002.jpg", "../../x.jpg"), f"{LABELS}, row 72"),
    ("official", remove(FACE), f"{LABELS}, row 72 names test_00002_aligned.jpg"),
    ("official", replace(LABEL_FILE, "test_00002.jpg 7\n", ""), f"{FACE}: no row of .*{LABELS}"),
    ("official", write(ALIGNED + "/readme.txt", "x"), "readme.txt is neither a JPEG nor a PNG"),
    ("kaggle", swap_train_and_test, "DATASET/train/1/test_.* is not named like train_00001_aligned.jpg"),
    ("kaggle", write(KAGGLE, ""), f"{KAGGLE}: not a readable picture"),
    ("kaggle", cut(KAGGLE, 400), f"{KAGGLE}: not a readable picture"),
    ("kaggle", write(KAGGLE, picture(2).resize((99, 100))), f"{KAGGLE}: 99×100 pixels, not 100×100"),
    ("kaggle", lambda r: Image.fromarray(np.zeros((100, 100), np.uint16)).save(r / KAGGLE, "PNG"), "more than 8 bits"),
    ("kaggle", lambda r: shutil.rmtree(r / "DATASET/test"), "test cannot be read"),
    ("kaggle", lambda r: shutil.rmtree(r / "DATASET/test/7"), "test/7"),
    ("kaggle", remove(KAGGLE), "test/7 holds no pictures"),
    ("kaggle", copy(KAGGLE, KAGGLE.replace("/7/", "/1/")), "test_00002_aligned.jpg"),
]


@pytest.mark.parametrize(("layout", "damage", "message"), BAD)
def test_damage_is_named_and_nothing_is_cached(refused, layout, damage, message):
    refused("rafdb", layout, damage, message)
