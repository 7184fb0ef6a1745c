"""The drawn faces: the same seed gives the same faces, and their ground truth is correct."""

import hashlib
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from drawn_faces import ACTION_UNITS, EXPRESSIONS, SPLITS, UNITS_OF, draw_faces

BAD = {"split": "dev", "count": 0, "size": 23, "seed": -1, "expression": "joy", "without": 3, "frames": 0}


@pytest.fixture(scope="module")
def faces():
    return draw_faces("test", count=160)


@pytest.fixture(scope="module")
def sequences():
    return draw_faces("train", count=96, frames=3)


def test_these_are_the_faces_that_weights_and_notebooks_rest_on():
    digest = hashlib.sha256()
    for split, size, color, frames in (("train", 48, False, 1), ("validation", 24, True, 1), ("test", 96, False, 3)):
        faces = draw_faces(split, count=24, size=size, color=color, frames=frames)
        digest.update(faces.images.tobytes() + faces.masks.tobytes())
    assert digest.hexdigest() == "97c86b9f5494a445e0a1a0fd994ce5d3c0a706ba8eea01f31da1d09af4bcf201"


def test_the_package_stands_alone():
    code = "import sys, drawn_faces; print([m for m in ('torch', 'fervt_lib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).strip() == b"[]"


def test_same_seed_same_faces_other_seed_others(faces):
    again, other = draw_faces("test", count=160), draw_faces("test", count=160, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(again, faces, strict=True))
    assert (other.images != faces.images).any((1, 2, 3)).all()


def test_a_face_does_not_depend_on_count(faces):
    assert all(np.array_equal(a, b[:11]) for a, b in zip(draw_faces("test", count=11), faces, strict=True))


def test_labels_take_turns_and_units_are_those_of_the_label(faces):
    assert faces.labels.tolist() == [i % 8 for i in range(160)]
    for label, units in zip(faces.labels, faces.units, strict=True):
        assert set(np.array(ACTION_UNITS)[units]) == set(UNITS_OF[EXPRESSIONS[label]])


def test_masks_are_there_exactly_for_units_at_work(faces, sequences):
    assert faces.masks.shape == (160, len(ACTION_UNITS), 48, 48) and faces.masks.dtype == faces.units.dtype == bool
    assert all(np.array_equal(some.masks.any((2, 3)), some.units) for some in (faces, sequences))


@pytest.mark.parametrize("expression", EXPRESSIONS[1:])
def test_an_expression_changes_pixels_inside_its_masks(expression):
    acted, twins = (draw_faces("test", count=24, size=96, expression=name) for name in (expression, "neutral"))
    change = np.abs(acted.images.astype(int) - twins.images)[..., 0]
    inside = acted.masks.any(1)  # under 40 %: otherwise a mask of the whole picture would pass
    assert change[inside].sum() > 0.8 * change.sum() and inside.mean() < 0.4


def test_a_unit_switched_off_changes_its_own_region_and_nothing_else(faces):
    for k, unit in enumerate(ACTION_UNITS):
        twins = draw_faces("test", count=48, without=unit)
        change = np.abs(faces.images[:48].astype(int) - twins.images)[..., 0]  # (48, 48, 48)
        on = faces.units[:48, k]
        assert (change[on].max((1, 2)) > 5).all() and not change[~on].any(), unit
        assert change[faces.masks[:48, k]].sum() > 0.7 * change.sum(), unit
        assert not twins.units[:, k].any() and not twins.masks[:, k].any()
        assert np.array_equal(np.delete(twins.units, k, 1), np.delete(faces.units[:48], k, 1))
        assert np.array_equal(twins.labels, faces.labels[:48])  # labels stay as they were


def test_contempt_is_on_one_side():
    contempt, happiness = (draw_faces("test", count=24, expression=name) for name in ("contempt", "happiness"))
    one, both = (faces.masks[:, ACTION_UNITS.index(12)].sum((1, 2)) for faces in (contempt, happiness))
    assert (one < 0.75 * both).all()


@pytest.mark.parametrize(("size", "color", "channels"), [(24, False, 1), (64, True, 3), (224, False, 1)])
def test_sizes_and_channels(size, color, channels):
    faces = draw_faces("train", count=3, size=size, color=color)
    assert faces.images.shape == (3, size, size, channels) and faces.images.dtype == np.uint8
    assert faces.masks.shape[2:] == (size, size) and faces.images.std() > 10


def test_no_person_is_in_two_splits():
    groups = [set(draw_faces(split, count=200, size=24).people.tolist()) for split in SPLITS]
    assert min(map(len, groups)) > 15 and len(set.union(*groups)) == sum(map(len, groups))


def test_a_sequence_is_one_person_with_one_expression_and_ends_with_the_single_face(sequences):
    single = draw_faces("train", count=32)
    assert all(np.array_equal(a[2::3], b) for a, b in zip(sequences, single, strict=True))
    assert all(np.array_equal(a, b.repeat(3, axis=0)) for a, b in zip(sequences[1:4], single[1:4], strict=True))


def test_frames_are_closer_to_each_other_than_two_sequences_of_one_person(sequences):
    images, people = sequences.images.reshape(32, 3, -1).astype(float), sequences.people[::3]
    within = [np.abs(a - b).mean() for frames in images for a, b in combinations(frames, 2)]
    pairs = [(a, b) for a, b in combinations(range(32), 2) if people[a] == people[b]]
    between = [np.abs(images[a, 0] - images[b, 0]).mean() for a, b in pairs]
    assert len(pairs) > 5 and min(within) > 0 and max(within) < min(between) / 2


def test_an_expression_grows_from_frame_to_frame():
    acted, twins = (draw_faces("test", count=48, size=96, frames=3, expression=e) for e in ("surprise", "neutral"))
    change = np.abs(acted.images.astype(float) - twins.images)  # noise and pose cancel out
    assert (np.diff(change.reshape(16, 3, -1).mean((0, 2))) > 0).all()


@pytest.mark.parametrize(("option", "value"), BAD.items())
def test_bad_arguments_are_refused(option, value):
    with pytest.raises(ValueError, match=f"^{option} '?{value}"):
        draw_faces(**{option: value})
