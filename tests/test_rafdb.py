"""RAF-DB comes back the same from both layouts, its validation share by a seed, and damage is named, never loaded."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import (
    ALIGNED,
    CODES,
    LABEL_FILE,
    bomb,
    cut,
    dangle,
    lead_out,
    picture,
    put_folder,
    replace,
    state_of,
)

from fervt_lib.data import EXPRESSIONS, load

NAME_OF = {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"}
INSIDE = {"official": "basic", "kaggle": "DATASET"}


def names(faces) -> list[str]:
    return [EXPRESSIONS[label] for label in faces.labels]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("layout", INSIDE)
def test_every_layout_gives_the_same_faces_with_labels_by_name(rafdb_tree, layout, inside):
    root = rafdb_tree(layout)
    before = state_of(root)
    root = root / INSIDE[layout] if inside else root
    train, validation, test = (load("rafdb", split, root=root) for split in ("train", "validation", "test"))
    assert names(test) == [NAME_OF[code] for code in CODES["test"]]
    assert [names(train)[i] for i in (0, 9, 62)] == ["surprise", "fear", "neutral"]
    for faces in (train, validation, test):
        assert faces.images.dtype == torch.uint8 and faces.images.shape[1:] == (3, 100, 100)
        assert torch.equal(faces.votes.sum(1), torch.full((len(faces),), 10)) and faces.raw_votes.shape[1] == 10
        number = faces.rows % 70 + 1  # of the picture, in its part
        colours = torch.stack([number, torch.full_like(number, 100), 250 - number], 1)
        assert (faces.images.float().mean((2, 3)) - colours).abs().max() < 3
    assert state_of(root.parent if inside else root) == before


def test_validation_is_a_tenth_of_each_label_by_its_seed(rafdb_tree):
    root = rafdb_tree("official")
    validation, train = load("rafdb", "validation", root=root, seed=3), load("rafdb", "train", root=root, seed=3)
    assert sorted(names(validation)) == sorted(NAME_OF.values())
    assert sorted(torch.cat([validation.rows, train.rows]).tolist()) == list(range(70))
    assert torch.equal(validation.rows, load("rafdb", "validation", root=rafdb_tree("kaggle"), seed=3).rows)
    assert not torch.equal(validation.rows, load("rafdb", "validation", root=root, seed=4).rows)
    assert load("rafdb", "test", root=root, seed=4).rows.tolist() == list(range(70, 77))


def test_the_share_of_seed_0_is_what_it_always_was(rafdb_tree):
    assert load("rafdb", "validation", root=rafdb_tree("kaggle")).rows.tolist() == [4, 11, 27, 33, 49, 52, 64]


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
    assert names(load("rafdb", "test", root=root)) == [NAME_OF[code] for code in CODES["test"]]


def test_a_second_load_reads_no_picture_and_a_changed_source_is_seen(rafdb_tree, monkeypatch):
    root = rafdb_tree("official")
    load("rafdb", "test", root=root)
    replace(root / LABEL_FILE, "test_00001.jpg 3", "test_00001.jpg 4")
    assert names(load("rafdb", "test", root=root))[0] == "happiness"
    picture(200).save(root / ALIGNED / "test_00002_aligned.jpg")
    assert abs(load("rafdb", "test", root=root).images[1, 0].float().mean() - 200) < 3
    monkeypatch.setattr("fervt_lib.data.rafdb.read_picture", lambda *_: pytest.fail("read again"))
    assert len(load("rafdb", "test", root=root)) == 7


def test_hidden_files_and_those_of_file_managers_are_passed_over(rafdb_tree):
    root = rafdb_tree("kaggle")
    for name in ("._test_00001_aligned.jpg", ".DS_Store", "Thumbs.db"):
        (root / "DATASET/test/3" / name).write_bytes(b"no picture")
    assert len(load("rafdb", "test", root=root)) == 7


def test_links_that_stay_inside_are_followed_and_the_folder_may_be_one(rafdb_tree, tmp_path):
    root = rafdb_tree("kaggle")
    face(root).rename(root / "kept.jpg")
    face(root).symlink_to(root / "kept.jpg")
    (tmp_path / "link").symlink_to(root)
    assert len(load("rafdb", "test", root=tmp_path / "link")) == 7


def test_no_more_than_a_few_pictures_are_held(rafdb_tree):
    root = rafdb_tree("official")
    load("rafdb", root=rafdb_tree("kaggle"))  # what is imported on the way does not count
    tracemalloc.start()
    try:
        load("rafdb", root=root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6  # all pictures: 2.3 MB


def test_an_unknown_split_is_refused(rafdb_tree):
    with pytest.raises(ValueError, match="'dev'.*validation"):
        load("rafdb", "dev", root=rafdb_tree("kaggle"))


def test_a_gap_in_the_numbers_is_warned_of(rafdb_tree):
    root = rafdb_tree("kaggle")
    (root / "DATASET/train/2/train_00012_aligned.jpg").unlink()
    with pytest.warns(
        UserWarning, match="rafdb: its train pictures are not numbered 1 to 70: 1 are missing, the first is 12"
    ):
        load("rafdb", "test", root=root)


# --- damage ------------------------------------------------------------------------------------------------------


def swap(one: Path, other: Path) -> None:
    one.rename(beside := one.with_name("beside"))
    other.rename(one)
    beside.rename(other)


LABELS, FACE = r"list_patition_label\.txt", r"test_00002_aligned\.jpg"
BAD = {  # what is wrong: (layout, how it is made, what the message must say)
    "nothing at all": ("official", lambda r: shutil.rmtree(r / "basic"), "no RAF-DB in .*data/rafdb.*README"),
    "no label file": ("official", lambda r: (r / LABEL_FILE).unlink(), LABELS + ": not a readable text file"),
    "an empty label file": ("official", lambda r: (r / LABEL_FILE).write_text(" \n"), LABELS + " is empty"),
    "a binary label file": (
        "official",
        lambda r: (r / LABEL_FILE).write_bytes(b"\xff\x00\x81"),
        LABELS + ": not a rea",
    ),
    "labels cut mid row": ("official", lambda r: cut(r / LABEL_FILE, 3), LABELS + ", row 77: 'test_00007.jpg'"),
    "labels cut after train": ("official", lambda r: cut_after_train(r), LABELS + " has no test faces"),
    "a code of 8": ("official", lambda r: replace(r / LABEL_FILE, "jpg 7", "jpg 8"), LABELS + ", row 61: code '8'"),
    "a code of 0": ("official", lambda r: replace(r / LABEL_FILE, "jpg 1", "jpg 0"), LABELS + ", row 1: code '0'"),
    "a third column": ("official", lambda r: replace(r / LABEL_FILE, "jpg 7", "jpg 7 1"), LABELS + ", row 61: 'train"),
    "a row twice": (
        "official",
        lambda r: replace(r / LABEL_FILE, "test_00003.jpg", "test_00002.jpg"),
        LABELS + ", row 73 names " + FACE + " a second time",
    ),
    "a picture outside": (
        "official",
        lambda r: replace(r / LABEL_FILE, "test_00002.jpg", "../../x.jpg"),
        LABELS + ", row 72",
    ),
    "a picture missing": (
        "official",
        lambda r: (r / ALIGNED / "test_00002_aligned.jpg").unlink(),
        LABELS + ", row 72 names " + FACE + r", which is not in .* \(rows like that: 1\)",
    ),
    "two pictures missing": (
        "official",
        lambda r: [(r / ALIGNED / f"test_0000{i}_aligned.jpg").unlink() for i in (2, 4)],
        LABELS + ", row 72 names " + FACE + r", which is not in .* \(rows like that: 2\)",
    ),
    "train and test swapped": (
        "kaggle",
        lambda r: swap(r / "DATASET/train", r / "DATASET/test"),
        r"DATASET/train/1/test_\d+_aligned.jpg is not named like train_00001_aligned.jpg",
    ),
    "a picture no row names": (
        "official",
        lambda r: replace(r / LABEL_FILE, "test_00002.jpg 7\n", ""),
        FACE + ": no row of .*" + LABELS + r" names it \(pictures like that: 1\)",
    ),
    "no pictures": ("official", lambda r: shutil.rmtree(r / "basic/Image"), "aligned cannot be listed"),
    "a text among the pictures": (
        "official",
        lambda r: (r / ALIGNED / "readme.txt").write_text("x"),
        r"readme\.txt: neither a JPEG nor a PNG",
    ),
    "a link out": (
        "official",
        lambda r: lead_out(r / ALIGNED / "test_00002_aligned.jpg", r),
        FACE + " is a link out of",
    ),
    "a folder that leads out": ("official", lambda r: lead_out(r / "basic/Image", r), "aligned.jpg is a link out of"),
    "labels that lead out": ("official", lambda r: lead_out(r / LABEL_FILE, r), LABELS + " is a link out of"),
    "labels that link to themselves": (
        "official",
        lambda r: ((r / LABEL_FILE).unlink(), (r / LABEL_FILE).symlink_to(LABEL_FILE.name)),
        LABELS + " cannot be read",
    ),
    "a link to nothing": (
        "official",
        lambda r: dangle(r / ALIGNED / "test_00002_aligned.jpg"),
        FACE + " cannot be read",
    ),
    "a picture that is none": ("kaggle", lambda r: face(r).write_text("<html>"), FACE + ": not a readable picture"),
    "an empty picture": ("kaggle", lambda r: face(r).write_text(""), FACE + ": not a readable picture"),
    "a picture cut short": ("kaggle", lambda r: cut(face(r), 400), FACE + ": not a readable picture"),
    "a folder in a picture's place": ("kaggle", lambda r: put_folder(face(r)), FACE + ": not a readable picture"),
    "a picture of 99x100": (
        "kaggle",
        lambda r: picture(2).crop((0, 0, 99, 100)).save(face(r)),
        FACE + ": 99×100 pixels, not 100×100",
    ),
    "a bomb": ("kaggle", lambda r: bomb(face(r)), FACE + ": 9000×9000 pixels"),
    "16 bits": (
        "kaggle",
        lambda r: Image.fromarray(np.zeros((100, 100), np.uint16)).save(face(r), "PNG"),
        FACE + ": more than 8 bits",
    ),
    "a GIF": ("kaggle", lambda r: picture(2).save(face(r), "GIF"), FACE + ": not a readable picture"),
    "no test folder": ("kaggle", lambda r: shutil.rmtree(r / "DATASET/test"), "test cannot be listed"),
    "no folder 7": ("kaggle", lambda r: shutil.rmtree(r / "DATASET/test/7"), "test has no folder 7"),
    "an empty folder 7": ("kaggle", lambda r: face(r).unlink(), "test/7 holds no pictures"),
    "a folder 8": ("kaggle", lambda r: (r / "DATASET/train/8").mkdir(), "train/8: code '8'"),
    "one name in two folders": (
        "kaggle",
        lambda r: shutil.copy(face(r), r / "DATASET/test/1"),
        FACE + " has the name of .*test/1",
    ),
}


def face(root: Path) -> Path:
    return root / "DATASET/test/7/test_00002_aligned.jpg"


def cut_after_train(root: Path) -> None:
    text = (root / LABEL_FILE).read_text()
    (root / LABEL_FILE).write_text(text[: text.index("test")])
    for path in (root / ALIGNED).glob("test*"):
        path.unlink()


@pytest.mark.parametrize("wrong", BAD)
def test_damage_is_named_and_nothing_is_cached(rafdb_tree, refused, wrong):
    layout, damage, message = BAD[wrong]
    refused("rafdb", rafdb_tree(layout), damage, message)
