"""The drawn faces: the same seed gives the same faces, and the truth that comes with them is true."""

import pytest
import torch

from fervt_lib.data import ACTION_UNITS, EXPRESSIONS, UNITS_OF, load, load_drawn


@pytest.fixture(scope="module")
def faces():
    return load_drawn("test", count=160)


def test_same_seed_same_faces_other_seed_others(faces):
    again, other = load("drawn", "test", count=160), load_drawn("test", count=160, seed=1)
    assert torch.equal(again.images, faces.images) and torch.equal(again.masks, faces.masks)
    assert (other.images != faces.images).flatten(1).any(1).all()


def test_a_face_does_not_depend_on_count(faces):
    few = load_drawn("test", count=11)
    assert torch.equal(few.images, faces.images[:11]) and torch.equal(few.identities, faces.identities[:11])


def test_labels_take_turns_and_units_are_those_of_the_label(faces):
    assert faces.labels.tolist() == [index % 8 for index in range(160)]
    assert torch.equal(faces.raw_votes[:, :8], faces.votes) and (faces.raw_votes.sum(1) == 10).all()
    for label, units in zip(faces.labels, faces.units, strict=True):
        at_work = tuple(unit for unit, on in zip(ACTION_UNITS, units, strict=True) if on)
        assert at_work == tuple(sorted(UNITS_OF[EXPRESSIONS[label]]))


def test_masks_are_there_exactly_for_units_at_work(faces):
    assert faces.masks.shape == (160, len(ACTION_UNITS), 48, 48) and faces.masks.dtype == torch.bool
    assert torch.equal(faces.masks.flatten(2).any(2), faces.units)


@pytest.mark.parametrize("expression", [name for name in EXPRESSIONS if name != "neutral"])
def test_an_expression_changes_pixels_inside_its_masks(expression):
    acted = load_drawn("test", count=24, size=96, expression=expression)
    neutral = load_drawn("test", count=24, size=96, expression="neutral")
    change = (acted.images.int() - neutral.images.int()).abs()[:, 0]
    inside = acted.masks.any(1)
    assert (change * inside).sum() > 0.8 * change.sum()
    assert inside.float().mean() < 0.4  # or a mask of the whole picture would pass


def test_contempt_is_on_one_side():
    contempt, happiness = (load_drawn("test", count=24, expression=name) for name in ("contempt", "happiness"))
    corner = ACTION_UNITS.index(12)
    share = contempt.masks[:, corner].sum((1, 2)) / happiness.masks[:, corner].sum((1, 2))
    assert (share < 0.75).all()


@pytest.mark.parametrize(("size", "color", "channels"), [(24, False, 1), (64, True, 3), (224, False, 1)])
def test_sizes_and_channels(size, color, channels):
    faces = load_drawn("train", count=3, size=size, color=color)
    assert faces.images.shape == (3, channels, size, size) and faces.images.dtype == torch.uint8
    assert faces.masks.shape[2:] == (size, size) and faces.images.float().std() > 10


def test_no_person_is_in_two_splits():
    people = [
        set(load_drawn(split, count=200, size=24).identities.tolist()) for split in ("train", "validation", "test")
    ]
    assert all(len(group) > 15 for group in people)
    assert len(set.union(*people)) == sum(len(group) for group in people)


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"count": 0}, {"size": 23}, {"seed": -1}, {"expression": "joy"}])
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=str(*wrong.values())):
        load_drawn(**wrong)
