"""CK+ comes from both layouts in folds that share no subject, whole pictures are cropped, and damage is named."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from trees import (
    CODE_OF,
    EMOTIONS,
    FRAMES,
    IMAGES,
    SEQUENCE,
    SUBJECTS,
    bomb,
    cut,
    gray,
    lead_out,
    state_of,
)

from fervt_lib.data import EXPRESSIONS, DataError, load
from fervt_lib.data.crop import crop_face

NAME_OF = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happiness", 6: "sadness", 7: "surprise"}


def frames_of(faces) -> list[tuple[int, str, int]]:
    """Subject, label and gray level of each face."""
    labels = [EXPRESSIONS[label] for label in faces.labels]
    return list(zip(faces.subjects.tolist(), labels, faces.images[:, 0, 24, 24].tolist(), strict=True))


def expected(subjects, classes: int = 7) -> list[tuple[int, str, int]]:
    first = {7: [], 8: [("neutral", 1)]}[classes]
    return [
        (subject, name, gray(subject, frame))
        for subject in subjects
        for name, frame in first + [(NAME_OF[CODE_OF[subject]], frame) for frame in FRAMES[-3:]]
    ]


@pytest.mark.filterwarnings("ignore:CK")
@pytest.mark.parametrize(("layout", "inside"), [("official", ""), ("ck48", ""), ("ck48", "CK+48")])
def test_both_layouts_give_the_last_three_frames_with_labels_by_name(ckplus_tree, layout, inside):
    root = ckplus_tree(layout)
    before = state_of(root)
    test, validation, train = (load("ckplus", split, root=root / inside) for split in ("test", "validation", "train"))
    assert frames_of(test) == expected([5, 999])
    assert frames_of(validation) == expected([10])
    assert frames_of(train) == expected(SUBJECTS[2:-1])
    assert test.images.shape == (6, 1, 48, 48) and test.images.dtype == torch.uint8
    assert test.sequences.tolist() == [5001] * 3 + [999_001] * 3 and test.sequences.dtype == torch.int64
    assert test.protocol == "fold 0 of 10, 7 classes" and torch.equal(test.votes.sum(1), torch.full((6,), 10))
    assert state_of(root) == before


@pytest.mark.filterwarnings("ignore:CK")
def test_with_8_classes_the_first_frame_is_neutral(ckplus_tree):
    assert frames_of(load("ckplus", "test", classes=8, root=ckplus_tree("official"))) == expected([5, 999], 8)


def test_8_classes_of_ck48_are_refused_by_the_layout_that_is_needed(ckplus_tree):
    with pytest.raises(DataError, match=r"CK\+48.*no neutral.*cohn-kanade-images with Emotion"):
        load("ckplus", classes=8, root=ckplus_tree("ck48"))


def test_folds_share_no_subject_and_cover_all(ckplus_tree):
    root, tested = ckplus_tree("ck48"), []
    for fold in range(10):
        parts = [load("ckplus", split, fold=fold, root=root) for split in ("train", "validation", "test")]
        people = [set(part.subjects.tolist()) for part in parts]
        assert sum(map(len, people)) == len(set.union(*people)) == len(SUBJECTS)
        assert people[1] == set(load("ckplus", "test", fold=(fold + 1) % 10, root=root).subjects.tolist())
        tested += people[2]
    assert sorted(tested) == sorted(SUBJECTS)


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"fold": 10}, {"fold": -1}, {"classes": 6}])
def test_unknown_options_are_refused(ckplus_tree, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))!r}"):
        load("ckplus", root=ckplus_tree("ck48"), **wrong)


@pytest.mark.filterwarnings("ignore:CK")
@pytest.mark.parametrize("text", ["\ufeff3", " 3.0e+00 \r\n\r\n", "3"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_other_ways_to_write_an_emotion_are_read(ckplus_tree, text, encoding):
    root = ckplus_tree("official")
    label_of(root).write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    assert frames_of(load("ckplus", "test", root=root))[0][1] == "disgust"


# --- whole pictures ----------------------------------------------------------------------------------------------


def whole_picture(size: int = 320) -> np.ndarray:
    """`(490, 640)` uint8: a photo of a face at the right of a gray picture."""
    head = Image.fromarray(skimage.data.astronaut()[10:230, 110:330]).convert("L").resize((size, size))
    picture = Image.new("L", (640, 490), 90)
    picture.paste(head, (640 - size, 100))
    return np.asarray(picture)


def test_a_whole_picture_is_cropped_to_its_face():
    face, found = crop_face(whole_picture(), 48)
    mouth_to_brows = np.asarray(Image.fromarray(whole_picture()[190:320, 420:550]).resize((48, 48)), float)
    assert found and face.shape == (48, 48)
    assert np.corrcoef(face.ravel(), mouth_to_brows.ravel())[0, 1] > 0.5
    assert (face == 90).mean() < 0.05  # little of the empty picture is left


def test_without_a_face_the_centre_square_stands_in():
    picture = np.zeros((100, 160), np.uint8)
    picture[:, 30:130] = 200
    square, found = crop_face(picture, 48)
    assert not found and (square > 180).all()  # nothing of the black sides


def test_every_load_warns_how_many_pictures_show_the_centre(ckplus_tree):
    root = ckplus_tree("official")
    face = root / IMAGES / SEQUENCE / "S005_001_00000005.png"
    Image.fromarray(whole_picture()).save(face)
    for _ in range(2):  # parsed, then from the cache
        with pytest.warns(UserWarning, match=r"CK\+ test: no face was found in 5 of 6 pictures.*centre"):
            load("ckplus", "test", root=root)


def test_ck48_warns_of_nothing(ckplus_tree):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("ckplus", root=ckplus_tree("ck48"))


@pytest.mark.filterwarnings("ignore:CK")
@pytest.mark.parametrize("gone", [1, 2, 5])
def test_a_frame_missing_before_the_peak_is_warned_of(ckplus_tree, gone):
    root = ckplus_tree("official")
    (root / IMAGES / SEQUENCE / f"S005_001_{gone:08}.png").unlink()
    with pytest.warns(UserWarning, match="S005/001: its frames do not run from 1 to its peak"):
        load("ckplus", "test", root=root)


# --- damage ------------------------------------------------------------------------------------------------------


def label_of(root: Path) -> Path:
    return root / EMOTIONS / SEQUENCE / "S005_001_00000006_emotion.txt"


def peak_of(root: Path) -> Path:
    return root / IMAGES / SEQUENCE / "S005_001_00000006.png"


def first_of(root: Path) -> Path:
    return root / "CK+48/anger/S005_001_00000004.png"


def keep_subjects(root: Path, kept: int) -> None:
    for subject in SUBJECTS[kept:]:
        shutil.rmtree(root / EMOTIONS / f"S{subject:03}")


LABEL, PEAK, FIRST = r"S005_001_00000006_emotion\.txt", r"S005_001_00000006\.png", r"S005_001_00000004\.png"
BAD = {  # what is wrong: (layout, how it is made, what the message must say)
    "nothing at all": ("ck48", lambda r: shutil.rmtree(r / "CK+48"), r"no CK\+ in .*data/ckplus.*README"),
    "no labels": ("official", lambda r: shutil.rmtree(r / EMOTIONS), "Emotion cannot be listed"),
    "empty label folders": ("official", lambda r: keep_subjects(r, 0), "Emotion holds no labels"),
    "no pictures": ("official", lambda r: shutil.rmtree(r / IMAGES), "cohn-kanade-images/S005/001 cannot be listed"),
    "a sequence missing": (
        "official",
        lambda r: shutil.rmtree(r / IMAGES / SEQUENCE),
        "images/S005/001 cannot be listed",
    ),
    "nine subjects": ("official", lambda r: keep_subjects(r, 9), "9 subjects, too few for 10 folds"),
    "a code of 8": ("official", lambda r: label_of(r).write_text(" 8.0e+00"), LABEL + ": '8.0e.00' is not one of"),
    "a code of 0": ("official", lambda r: label_of(r).write_text("0"), LABEL + ": '0' is not one of"),
    "a code in other digits": ("official", lambda r: label_of(r).write_text("٣"), LABEL + ": '٣' is not one of"),
    "a code of 1.5": ("official", lambda r: label_of(r).write_text("1.5"), LABEL + ": '1.5' is not one of"),
    "two codes": ("official", lambda r: label_of(r).write_text("1.0 2.0"), LABEL + ": '1.0 2.0' is not one of"),
    "a code of nan": ("official", lambda r: label_of(r).write_text("nan"), LABEL + ": 'nan' is not one of"),
    "an empty label": ("official", lambda r: label_of(r).write_text("\n"), LABEL + " is empty"),
    "a binary label": ("official", lambda r: label_of(r).write_bytes(b"\x81\x00"), LABEL + ": not a readable text"),
    "a label out of the tree": ("official", lambda r: lead_out(label_of(r), r), LABEL + " is a link out of"),
    "two labels": (
        "official",
        lambda r: shutil.copy(label_of(r), label_of(r).with_name("S005_001_00000007_emotion.txt")),
        "S005/001: two labels of one sequence, .*0006_emotion.txt and .*0007_emotion.txt; keep one",
    ),
    "a label of another sequence": (
        "official",
        lambda r: label_of(r).rename(label_of(r).with_name("S010_001_00000006_emotion.txt")),
        "S005/001/S010_001_00000006_emotion.txt is of another sequence",
    ),
    "a frame of another sequence": (
        "official",
        lambda r: shutil.copy(peak_of(r), peak_of(r).with_name("S010_001_00000006.png")),
        "S005/001/S010_001_00000006.png is of another sequence",
    ),
    "the peak missing": ("official", lambda r: peak_of(r).unlink(), LABEL + " is named after the frame .*" + PEAK),
    "three frames": (
        "official",
        lambda r: [peak_of(r).with_name(f"S005_001_{i:08}.png").unlink() for i in (1, 2, 3)],
        "S005/001: 3 frames up to the peak, 4 are needed",
    ),
    "a name of no frame": (
        "official",
        lambda r: shutil.copy(peak_of(r), peak_of(r).with_name("peak.png")),
        r"peak\.png: not named like",
    ),
    "a bomb": ("official", lambda r: bomb(peak_of(r)), PEAK + ": 9000×9000 pixels; sides of 60 to 2048"),
    "a bomb that Pillow meets": ("official", lambda r: bomb(peak_of(r), 50_000), PEAK + ": .*decompression bomb"),
    "a picture too small": ("official", lambda r: Image.new("L", (640, 59)).save(peak_of(r)), PEAK + ": 640×59 pixels"),
    "a picture cut short": ("official", lambda r: cut(peak_of(r), 40), PEAK + ": not a readable picture"),
    "a picture out of the tree": ("official", lambda r: lead_out(peak_of(r), r), PEAK + " is a link out of"),
    "47x48": ("ck48", lambda r: Image.new("L", (47, 48)).save(first_of(r)), FIRST + ": 47×48 pixels, not 48×48"),
    "a picture that is none": ("ck48", lambda r: first_of(r).write_text("x"), FIRST + ": not a readable picture"),
    "a picture missing": ("ck48", lambda r: first_of(r).unlink(), "there are 2 pictures in this folder, 2 in all"),
    "a picture in two folders": (
        "ck48",
        lambda r: shutil.copy(first_of(r), r / "CK+48/fear"),
        "there are 3 pictures in this folder, 4 in all",
    ),
    "a sequence in two folders": (
        "ck48",
        lambda r: first_of(r).rename(r / "CK+48/fear" / first_of(r).name),
        "there are 2 pictures in this folder, 3 in all",
    ),
    "a folder of another name": (
        "ck48",
        lambda r: (r / "CK+48/neutral").mkdir(),
        r"CK\+48/neutral: CK\+48 has anger, .*happy",
    ),
    "a folder missing": ("ck48", lambda r: shutil.rmtree(r / "CK+48/happy"), r"CK\+48/happy is missing"),
    "an empty folder": ("ck48", lambda r: [f.unlink() for f in (r / "CK+48/happy").iterdir()], "happy holds no pict"),
    "a text among the pictures": (
        "ck48",
        lambda r: (r / "CK+48/fear/a.txt").write_text("x"),
        r"a\.txt: neither a JPEG",
    ),
}


@pytest.mark.parametrize("wrong", BAD)
def test_damage_is_named_and_nothing_is_cached(ckplus_tree, refused, wrong):
    layout, damage, message = BAD[wrong]
    refused("ckplus", ckplus_tree(layout), damage, message)
