"""RAF-DB loads the same from both layouts, a seed picks the validation share, and damage is named, never loaded."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from trees import ALIGNED, LABEL_FILE, copy, cut, picture, remove, replace, write

from fervt_lib.data import EXPRESSIONS, load

NAMES = ["disgust", "neutral", "surprise", "fear", "anger", "sadness", "happiness"]  # of the test faces
FACE, KAGGLE = ALIGNED.format("test_00002"), "DATASET/test/7/test_00002_aligned.jpg"
TWICE = KAGGLE.replace(".jpg", " (1).jpg")
LABELS = "list_patition_label.txt"


def names(faces) -> list[str]:
    return [EXPRESSIONS[label] for label in faces.labels]


@pytest.mark.parametrize(
    ("layout", "inside"), [("official", ""), ("official", "basic"), ("kaggle", "DATASET"), ("flat", "")]
)
def test_every_layout_gives_the_same_faces_with_labels_by_name(tree, layout, inside):
    root = tree("rafdb", layout) / inside
    train, validation, test = (load("rafdb", split, root=root) for split in ("train", "validation", "test"))
    assert names(test) == NAMES and [names(train)[i] for i in (0, 9, 62)] == ["surprise", "fear", "neutral"]
    assert validation.rows.tolist() == [4, 11, 27, 33, 49, 52, 64]  # seed 0's share is what it always was
    for faces in (train, validation, test):
        assert faces.images.dtype == torch.uint8 and faces.images.shape[1:] == (3, 100, 100)
        assert (faces.votes.sum(1) == 10).all() and (faces.raw_votes.sum(1) == 10).all()
        number = faces.rows % 70 + 1  # in the picture's file name
        colours = torch.stack([number, torch.full_like(number, 100), 250 - number], 1)
        assert (faces.images[:, :, :40].float().mean((2, 3)) - colours).abs().max() < 3
        assert faces.images[:, :, 56:].max() < 9  # upright


def test_validation_is_a_tenth_of_each_label_by_its_seed(tree):
    root = tree("rafdb", "official")
    validation, train = (load("rafdb", split, root=root, seed=3) for split in ("validation", "train"))
    assert sorted(names(validation)) == sorted(NAMES)
    assert sorted(torch.cat([validation.rows, train.rows]).tolist()) == list(range(70))
    assert torch.equal(validation.rows, load("rafdb", "validation", root=tree("rafdb", "kaggle"), seed=3).rows)
    assert not torch.equal(validation.rows, load("rafdb", "validation", root=root, seed=4).rows)
    assert load("rafdb", "test", root=root, seed=4).rows.tolist() == list(range(70, 77))


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("official", lambda r: shutil.rmtree(r / "basic"), "no RAF-DB in .*data/rafdb.*README"),
        ("official", write(LABEL_FILE, b"\xff\x00\x81"), f"{LABELS} cannot be read"),
        ("official", cut(LABEL_FILE, 3), f"{LABELS}, row 77: 'test_00007.jpg'"),
        ("official", replace(LABEL_FILE, "jpg 7", "jpg 8"), f"{LABELS}, row 61: code is '8'"),
        ("official", replace(LABEL_FILE, "test_00003", "test_00002"), f"{LABELS}, row 73 names test_00002_aligned.jpg"),
        ("official", remove(FACE), f"{LABELS}, row 72 names test_00002_aligned.jpg"),
        ("official", replace(LABEL_FILE, "test_00002.jpg 7\n", ""), f"{FACE}: no row of .*{LABELS}"),
        ("kaggle", copy(KAGGLE, KAGGLE.replace("test/", "train/")), "train/7/test_.* is not named like train_00001_"),
        ("kaggle", cut(KAGGLE, 400), f"{KAGGLE} cannot be read"),
        ("kaggle", write(KAGGLE, picture(2).resize((99, 100))), f"{KAGGLE}: 99×100 pixels, not 100×100"),
        ("kaggle", lambda r: Image.fromarray(np.zeros((100, 100), "u2")).save(r / KAGGLE, "PNG"), "more than 8 bits"),
        ("kaggle", lambda r: shutil.rmtree(r / "DATASET/test/7"), "test/7"),
        ("kaggle", copy(KAGGLE, KAGGLE.replace("/7/", "/1/")), "test_00002_aligned.jpg"),
        ("kaggle", copy(KAGGLE, TWICE), r"aligned \(1\).jpg is not named like test_00001"),
        ("kaggle", copy(KAGGLE, TWICE.replace("/7/", "/1/")), r"test/1/.*aligned \(1\).jpg is not named like"),
        ("kaggle", copy(KAGGLE, KAGGLE.replace("_00002_", "_2_").replace("/7/", "/1/")), "has the number of"),
        ("kaggle", copy(KAGGLE, KAGGLE.replace(".jpg", ".PNG")), "has the number of"),
        ("official", copy(FACE, FACE.replace(".jpg", " (1).jpg")), r"aligned \(1\).jpg: no row of"),
        (
            "flat",
            remove(LABELS),
            f"/train/.*: train must hold the folders 1 to 7, or pictures that a {LABELS} beside it lists",
        ),
        ("flat", replace(LABELS, "jpg 7", "jpg 8"), f"{LABELS}, row 61: code is '8'"),
    ],
)
def test_damage_is_named_and_nothing_is_cached(refused, layout, damage, message):
    refused("rafdb", layout, damage, message)
