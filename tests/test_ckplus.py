"""CK+ comes from both layouts in folds that share no subject, whole pictures are cropped, and damage is named."""

import shutil
import warnings

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from trees import CODE_OF, EMOTION_OF, SUBJECTS, copy, cut, gray, remove, write

from fervt_lib.data import EXPRESSIONS, DataError, load

SPLITS = ("train", "validation", "test")
EMOTION, FRAME = "Emotion/S005/001/S005_001_00000006_emotion.txt", "cohn-kanade-images/S005/001/S005_001_0000000{}.png"
PEAK, CK48 = FRAME.format(6), "CK+48/anger/S005_001_00000004.png"
pytestmark = pytest.mark.filterwarnings("ignore:CK")  # no face is found in a plain gray picture
HEAD = Image.fromarray(skimage.data.astronaut()[10:230, 110:330]).convert("L").resize((320, 320))
PHOTO = np.pad(HEAD, ((100, 70), (320, 0)), constant_values=90)  # a face on the right of a gray picture


def copy_folder(folder: str, to: str):
    return lambda root: shutil.copytree(root / folder, root / to)


def frames_of(faces) -> list[tuple[int, str, int]]:
    """Subject, label and gray level of each face."""
    labels = [EXPRESSIONS[label] for label in faces.labels]
    return list(zip(faces.subjects.tolist(), labels, faces.images[:, 0, 24, 24].tolist(), strict=True))


def expected(subjects, frames=(4, 5, 6)) -> list[tuple[int, str, int]]:
    names = {subject: EMOTION_OF[CODE_OF[subject]] for subject in subjects}
    return [(s, "neutral" if frame == 1 else names[s], gray(s, frame)) for s in subjects for frame in frames]


@pytest.mark.parametrize(
    ("layout", "inside"),
    [("official", ""), ("ck48", ""), ("ck48", "CK+48"), ("capitals", ""), ("capitals", "CK+48"), ("unzipped", "")],
)
def test_both_layouts_give_the_last_three_frames_with_labels_by_name(ckplus_tree, layout, inside):
    root = ckplus_tree(layout) / inside
    train, validation, test, everyone = (load("ckplus", split, root=root) for split in (*SPLITS, "all"))
    assert frames_of(test) == expected([5, 999]) and frames_of(validation) == expected([10])
    assert frames_of(train) == expected(SUBJECTS[2:-1]) and frames_of(everyone) == expected(SUBJECTS)
    assert test.images.shape == (6, 1, 48, 48) and test.images.dtype == torch.uint8
    assert test.sequences.tolist() == [5001] * 3 + [999_001] * 3 and test.votes.sum(1).tolist() == [10] * 6
    assert (test.protocol, test.fold) == ("7 classes", 0)
    assert (everyone.protocol, everyone.fold) == ("all subjects, 7 classes", None)


def test_with_8_classes_the_first_frame_is_neutral_which_ck48_does_not_have(ckplus_tree):
    faces = load("ckplus", "test", classes=8, root=ckplus_tree("official"))
    assert frames_of(faces) == expected([5, 999], (1, 4, 5, 6))
    with pytest.raises(DataError, match="CK.48.*neutral.*cohn-kanade-images with Emotion"):
        load("ckplus", classes=8, root=ckplus_tree("ck48"))


def test_folds_share_no_subject_and_cover_all(ckplus_tree):
    root, tested = ckplus_tree("ck48"), []
    for fold in range(10):
        train, validation, test = (set(load("ckplus", s, fold=fold, root=root).subjects.tolist()) for s in SPLITS)
        assert len(train) + len(validation) + len(test) == len(train | validation | test) == len(SUBJECTS)
        after = load("ckplus", "test", fold=(fold + 1) % 10, root=root)
        assert validation == set(after.subjects.tolist()) and after.fold == (fold + 1) % 10
        tested += test
    assert sorted(tested) == sorted(SUBJECTS)


def test_whole_pictures_are_cropped_to_the_face_or_else_the_centre_and_every_load_warns_how_many(ckplus_tree):
    write(FRAME.format(5), Image.fromarray(PHOTO))(root := ckplus_tree("official"))
    write(FRAME.format(6), Image.fromarray(np.pad(np.full((100, 100), 200, "u1"), ((0, 0), (30, 30)))))(root)
    for _ in range(2):  # parsed, then from the cache
        with pytest.warns(UserWarning, match=r"CK\+ test: no face was found in 5 of 6 pictures.*centre"):
            _, face, square = load("ckplus", "test", root=root).images[:3, 0].numpy()
    mouth_to_brows = np.asarray(Image.fromarray(PHOTO[190:320, 420:550]).resize((48, 48)), float)
    assert np.corrcoef(face.ravel(), mouth_to_brows.ravel())[0, 1] > 0.5
    assert (face == 90).mean() < 0.05 and (square > 180).all()  # almost no gray, and no black sides
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("ckplus", root=ckplus_tree("ck48"))  # already cropped


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("ck48", lambda r: shutil.rmtree(r / "CK+48"), r"no CK\+ in .*data/ckplus.*README"),
        ("official", lambda r: shutil.rmtree(r / "cohn-kanade-images/S005/001"), "cohn-kanade-images/S005/001 cannot"),
        ("official", write(EMOTION, b" 8.0e+00"), f"{EMOTION}: '8.0e.00'"),
        ("official", copy(EMOTION, EMOTION.replace("06_", "05_")), "0000000[56]_emotion.txt"),
        ("official", copy(PEAK, PEAK.replace("/S005_", "/S010_")), "/S010_.* another sequence"),
        ("official", remove(PEAK), f"{EMOTION}.*S005_001_00000006.png"),
        ("official", lambda r: [remove(FRAME.format(i))(r) for i in (1, 2, 3)], "S005/001.* 3 frames"),
        ("official", write(PEAK, Image.new("1", (2049, 480))), f"{PEAK}: 2049×480 pixels"),
        ("official", cut(PEAK, 40), f"{PEAK} cannot be read"),
        ("ck48", write(CK48, Image.new("L", (47, 48))), "anger/S005_001_00000004.png: 47×48 pixels"),
        ("ck48", lambda r: [file.unlink() for file in r.glob("*/*/S[09][39]?_*")], "8 subjects"),
        ("ck48", remove(CK48), "anger/S005_001_0000000[56].png.* 2 pictures"),
        ("ck48", copy(CK48, CK48.replace("anger", "fear")), "S005_001_0000000[456].png.* 4 in all"),
        ("ck48", lambda r: (r / CK48).rename(r / CK48.replace("anger", "fear")), "S005_001_.*png.* 3 in all"),
        ("ck48", lambda r: shutil.rmtree(r / "CK+48/happy"), "happy cannot be read"),
        ("ck48", copy_folder("CK+48/anger", "CK+48/Anger"), "CK.48 holds Anger, anger,.* one of them twice"),
        ("unzipped", copy_folder("Emotion_labels/Emotion", "Emotion"), "Emotion and .*Emotion are both there"),
        ("capitals", lambda r: shutil.rmtree(r / "CK+48/Happy"), "happy cannot be read"),
        ("unzipped", lambda r: shutil.rmtree(r / "Emotion_labels"), "Emotion cannot be read"),
        ("unzipped", lambda r: shutil.rmtree(r / "extended-cohn-kanade-images"), "cohn-kanade-images.* cannot be read"),
    ],
)
def test_damage_is_named_and_nothing_is_cached(refused, layout, damage, message):
    refused("ckplus", layout, damage, message)
