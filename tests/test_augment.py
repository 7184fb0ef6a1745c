"""Augmentation: every face gets its own change, within bounds, and a seed repeats it."""

import pytest
import torch

from fervt_lib.data import Augment

NOTHING = {"flip": 0, "degrees": 0, "shift": 0, "zoom": 0, "brightness": 0, "contrast": 0, "erase": 0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def faces():
    return torch.randint(0, 256, (64, 1, 48, 48), dtype=torch.uint8, generator=generator())


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf"), 200])
@pytest.mark.parametrize("name", ["flip", "degrees", "brightness", "erase"])
def test_a_strength_out_of_its_range_is_refused(name, strength):
    with pytest.raises(ValueError, match=f"{name} {strength}: from 0 to"):
        Augment(**{name: strength})


def test_no_strength_no_change(faces):
    changed = Augment(**NOTHING)(faces, generator())
    torch.testing.assert_close(changed, faces / 255, atol=1 / 255, rtol=0)


def test_a_sure_flip_mirrors_and_does_nothing_else(faces):
    changed = Augment(**NOTHING | {"flip": 1})(faces, generator())
    torch.testing.assert_close(changed, faces.flip(-1) / 255, atol=1 / 255, rtol=0)


def test_a_flip_of_one_half_mirrors_about_half_of_the_faces(faces):
    changed = Augment(**NOTHING | {"flip": 0.5})(faces, generator())
    mirrored = ((changed - faces.flip(-1) / 255).abs() < 1 / 255).flatten(1).all(1)
    assert 20 <= mirrored.sum() <= 44


def test_the_seed_decides(faces):
    first, again, other = (Augment()(faces, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_output_is_float32_between_0_and_1_of_the_same_shape(channels):
    faces = torch.randint(0, 2, (32, channels, 48, 40), dtype=torch.uint8) * 255  # black and white: the extremes
    changed = Augment(brightness=0.9, contrast=0.9)(faces, generator())
    assert changed.shape == faces.shape and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 1


@pytest.mark.parametrize("change", ["degrees", "shift", "zoom", "brightness", "contrast", "erase"])
def test_each_face_of_a_batch_gets_its_own_change(faces, change):
    strength = 1 if change == "erase" else getattr(Augment(), change)
    changed = Augment(**NOTHING | {change: strength})(faces[:1].expand(16, -1, -1, -1), generator())
    assert len(changed.unique(dim=0)) == 16


def test_erasing_paints_one_rectangle_of_at_most_a_fifth(faces):
    changed = Augment(**NOTHING | {"erase": 1})(faces, generator())
    for painted, face in zip((changed - faces / 255).abs()[:, 0] > 1e-5, faces, strict=True):
        rows, columns = painted.any(1).sum(), painted.any(0).sum()
        assert 0.01 < rows * columns / 48**2 < 0.22  # 2-20 %, in whole pixels
        assert painted.sum() >= 0.9 * rows * columns  # a pixel in the mean gray already does not show
        assert face.float().std() > 0


def test_no_erasing_where_its_probability_is_0(faces):
    torch.testing.assert_close(Augment(**NOTHING)(faces, generator()), faces / 255, atol=1e-5, rtol=0)


def test_brightness_and_contrast_stay_within_their_bounds():
    faces = torch.randint(90, 110, (64, 1, 48, 48), dtype=torch.uint8, generator=generator())
    before = faces.flatten(1) / 255
    brighter = Augment(**NOTHING | {"brightness": 0.25})(faces, generator()).flatten(1).mean(1) / before.mean(1)
    assert 0.75 <= brighter.min() < 0.85 and 1.15 < brighter.max() <= 1.25
    steeper = Augment(**NOTHING | {"contrast": 0.25})(faces, generator()).flatten(1)
    ratio = steeper.std(1) / before.std(1)
    assert 0.74 <= ratio.min() < 0.85 and 1.15 < ratio.max() <= 1.26
    torch.testing.assert_close(steeper.mean(1), before.mean(1))
