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


# --- posed sequences ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sequences():
    return load_drawn("train", count=96, frames=3)


def test_single_frames_are_the_default_and_a_sequence_ends_with_the_single_face(sequences):
    single, default = load_drawn("train", count=32, frames=1), load_drawn("train", count=32)
    assert torch.equal(single.images, default.images) and torch.equal(single.masks, default.masks)
    assert torch.equal(sequences.images[2::3], default.images)
    assert torch.equal(sequences.identities[2::3], default.identities)


def test_the_frames_of_a_sequence_share_person_label_and_units(sequences):
    assert sequences.labels.tolist() == [i // 3 % 8 for i in range(96)]
    for truth in (sequences.identities, sequences.votes, sequences.units):
        assert torch.equal(truth, truth[2::3].repeat_interleave(3, dim=0))
    assert torch.equal(sequences.masks.flatten(2).any(2), sequences.units)


def test_frames_are_closer_to_each_other_than_two_sequences_of_one_person(sequences):
    images = sequences.images.float().unflatten(0, (32, 3))
    people = sequences.identities[::3]
    pairs = [(a, b) for a in range(32) for b in range(a) if people[a] == people[b]]
    assert len(pairs) > 5

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return (a - b).abs().mean().item()

    within = [distance(images[s, a], images[s, b]) for s in range(32) for a, b in ((0, 1), (1, 2), (0, 2))]
    between = [distance(images[a, 0], images[b, 0]) for a, b in pairs]
    assert min(within) > 0 and max(within) < min(between) / 2


def test_an_expression_grows_from_frame_to_frame():
    acted, neutral = (
        load_drawn("test", count=48, size=96, frames=3, expression=name).images.float()
        for name in ("surprise", "neutral")
    )
    change = (acted - neutral).abs().mean((1, 2, 3)).view(16, 3).mean(0)  # noise and pose cancel out
    assert change[0] < change[1] < change[2]


@pytest.mark.parametrize(
    "wrong",
    [{"split": "dev"}, {"count": 0}, {"size": 23}, {"seed": -1}, {"expression": "joy"}, {"frames": 0}, {"frames": -3}],
)
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=str(*wrong.values())):
        load_drawn(**wrong)
