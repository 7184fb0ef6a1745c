"""CK+ comes from both layouts in folds that share no subject, whole pictures are cropped, and damage is named."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from trees import CODE_OF, FRAMES, SUBJECTS, copy, cut, gray, remove, rename, state_of, write

from fervt_lib.data import CKPLUS_CODES, EXPRESSIONS, DataError, load
from fervt_lib.data.crop import crop_face

SPLITS = ("train", "validation", "test")
EMOTION, FRAME = "Emotion/S005/001/S005_001_00000006_emotion.txt", "cohn-kanade-images/S005/001/S005_001_0000000{}.png"
PEAK, CK48 = FRAME.format(6), "CK+48/anger/S005_001_00000004.png"
no_face_found = pytest.mark.filterwarnings("ignore:CK")


def frames_of(faces) -> list[tuple[int, str, int]]:
    """Subject, label and gray level of each face."""
    labels = [EXPRESSIONS[label] for label in faces.labels]
    return list(zip(faces.subjects.tolist(), labels, faces.images[:, 0, 24, 24].tolist(), strict=True))


def expected(subjects, classes: int = 7) -> list[tuple[int, str, int]]:
    first = {7: [], 8: [("neutral", 1)]}[classes]
    return [
        (subject, name, gray(subject, frame))
        for subject in subjects
        for name, frame in first + [(CKPLUS_CODES[CODE_OF[subject]], frame) for frame in FRAMES[-3:]]
    ]


@no_face_found
@pytest.mark.parametrize(("layout", "inside"), [("official", ""), ("ck48", ""), ("ck48", "CK+48")])
def test_both_layouts_give_the_last_three_frames_with_labels_by_name(ckplus_tree, layout, inside):
    root = ckplus_tree(layout)
    before = state_of(root)
    train, validation, test = (load("ckplus", split, root=root / inside) for split in SPLITS)
    assert frames_of(test) == expected([5, 999])
    assert frames_of(validation) == expected([10])
    assert frames_of(train) == expected(SUBJECTS[2:-1])
    assert frames_of(everyone := load("ckplus", "all", root=root / inside)) == expected(SUBJECTS)
    assert test.images.shape == (6, 1, 48, 48) and test.images.dtype == torch.uint8
    assert test.sequences.tolist() == [5001] * 3 + [999_001] * 3
    assert (test.protocol, test.fold) == ("7 classes", 0) and torch.equal(test.votes.sum(1), torch.full((6,), 10))
    assert (everyone.protocol, everyone.fold) == ("all subjects, 7 classes", None)
    assert state_of(root) == before


@no_face_found
def test_with_8_classes_the_first_frame_is_neutral_which_ck48_does_not_have(ckplus_tree):
    assert frames_of(load("ckplus", "test", classes=8, root=ckplus_tree("official"))) == expected([5, 999], 8)
    with pytest.raises(DataError, match="CK.48.*neutral.*cohn-kanade-images with Emotion"):
        load("ckplus", classes=8, root=ckplus_tree("ck48"))


def test_folds_share_no_subject_and_cover_all(ckplus_tree):
    root, tested = ckplus_tree("ck48"), []
    for fold in range(10):
        splits = {split: load("ckplus", split, fold=fold, root=root) for split in SPLITS}
        people = {split: set(faces.subjects.tolist()) for split, faces in splits.items()}
        assert sum(map(len, people.values())) == len(set.union(*people.values())) == len(SUBJECTS)
        assert people["validation"] == set(load("ckplus", "test", fold=(fold + 1) % 10, root=root).subjects.tolist())
        assert splits["test"].fold == fold
        tested += people["test"]
    assert sorted(tested) == sorted(SUBJECTS)


def test_nine_subjects_are_too_few_for_ten_folds(ckplus_tree):
    root = ckplus_tree("ck48")
    for subject in SUBJECTS[9:]:
        for picture in root.glob(f"CK+48/*/S{subject:03}_*"):
            picture.unlink()
    with pytest.raises(DataError, match="9 subjects"):
        load("ckplus", root=root)


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"fold": 10}, {"fold": -1}, {"classes": 6}])
def test_unknown_options_are_refused(ckplus_tree, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))!r}: choose from"):
        load("ckplus", root=ckplus_tree("ck48"), **wrong)


@no_face_found
@pytest.mark.parametrize("text", ["\ufeff3", " 3.0e+00 \r\n\r\n", "3"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_other_ways_to_write_an_emotion_are_read(ckplus_tree, text, encoding):
    root = ckplus_tree("official")
    (root / EMOTION).write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
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
    write(FRAME.format(5), Image.fromarray(whole_picture()))(root)
    for _ in range(2):  # parsed, then from the cache
        with pytest.warns(UserWarning, match=r"CK\+ test: no face was found in 5 of 6 pictures.*centre"):
            load("ckplus", "test", root=root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("ckplus", root=ckplus_tree("ck48"))  # cropped already


# --- damage ------------------------------------------------------------------------------------------------------


def too_few_frames(root: Path) -> None:
    for frame in (1, 2, 3):
        remove(FRAME.format(frame))(root)


BAD = [  # layout, how the damage is made, what must be said
    ("ck48", lambda r: shutil.rmtree(r / "CK+48"), r"no CK\+ in .*data/ckplus.*README"),
    ("official", lambda r: shutil.rmtree(r / "Emotion"), "Emotion cannot be read"),
    ("official", lambda r: shutil.rmtree(r / "cohn-kanade-images/S005/001"), "cohn-kanade-images/S005/001 cannot"),
    ("official", write(EMOTION, " 8.0e+00"), f"{EMOTION}: '8.0e.00'"),
    ("official", write(EMOTION, "1.5"), f"{EMOTION}: '1.5'"),
    ("official", write(EMOTION, "1.0 2.0"), f"{EMOTION}: '1.0 2.0'"),
    ("official", write(EMOTION, "\n"), f"{EMOTION} is empty"),
    ("official", write(EMOTION, b"\x81\x00"), f"{EMOTION} cannot be read"),
    ("official", copy(EMOTION, EMOTION.replace("06_", "05_")), "0000000[56]_emotion.txt"),
    ("official", rename(EMOTION, EMOTION.replace("/S005_", "/S010_")), "/S010_.* another sequence"),
    ("official", copy(PEAK, PEAK.replace("/S005_", "/S010_")), "/S010_.* another sequence"),
    ("official", remove(PEAK), f"{EMOTION}.*S005_001_00000006.png"),
    ("official", too_few_frames, "S005/001.* 3 frames"),
    ("official", copy(PEAK, PEAK.replace("S005_001_00000006", "peak")), "peak.png is not named like"),
    ("official", write(PEAK, Image.new("L", (640, 59))), f"{PEAK}: 640×59 pixels"),
    ("official", write(PEAK, Image.new("1", (2049, 480))), f"{PEAK}: 2049×480 pixels"),
    ("official", cut(PEAK, 40), f"{PEAK}: not a readable picture"),
    ("ck48", write(CK48, Image.new("L", (47, 48))), "anger/S005_001_00000004.png: 47×48 pixels"),
    ("ck48", remove(CK48), "anger/S005_001_0000000[56].png.* 2 pictures"),
    ("ck48", copy(CK48, CK48.replace("anger", "fear")), "S005_001_0000000[456].png.* 4 in all"),
    ("ck48", rename(CK48, CK48.replace("anger", "fear")), "S005_001_0000000[456].png.* 3 in all"),
    ("ck48", lambda r: (r / "CK+48/neutral").mkdir(), "neutral is not one of"),
    ("ck48", lambda r: shutil.rmtree(r / "CK+48/happy"), "happy cannot be read"),
    ("ck48", write("CK+48/fear/a.txt", "x"), "a.txt is neither a JPEG nor a PNG"),
]


@pytest.mark.parametrize(("layout", "damage", "message"), BAD)
def test_damage_is_named_and_nothing_is_cached(refused, layout, damage, message):
    refused("ckplus", layout, damage, message)
