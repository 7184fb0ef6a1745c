"""Scores of explanations are right where we know the answer by hand, and the record covers these methods."""

import pytest
import torch
from torch import nn

from drawn_faces import ACTION_UNITS
from fervt_course import attribution
from fervt_course.attribution import METHODS, RECORD, REGIONS, mean_gray, random_numbers
from fervt_course.records import read_record
from fervt_lib.data import load

W = torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(0)) / 100


class Linear(nn.Module):
    """Logits of two classes, the first linear in the face, so every way to explain has one right answer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x * W).flatten(1).sum(dim=1)
        return torch.stack([score, -score], dim=1)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return load("drawn", "test", count=4).images.expand(-1, 3, -1, -1) / 255


@pytest.fixture(scope="module")
def shares(faces) -> torch.Tensor:
    """Each pixel's true share, `(4, 48, 48)`."""
    return ((faces - mean_gray(faces)) * W).sum(dim=1)


TARGET = torch.zeros(4, dtype=torch.int64)


def test_of_a_linear_model_pixels_and_regions_get_their_true_shares(faces, shares):
    assert torch.allclose(attribution.integrated_gradients(Linear(), faces, TARGET), shares, atol=1e-5)
    of_regions = torch.stack([shares[:, REGIONS[0, 0] == g].sum(dim=1) for g in range(16)], dim=1)  # (4, 16)
    for method in (attribution.occlusion, attribution.shapley):
        heat = method(Linear(), faces, TARGET)
        found = torch.stack([heat[:, REGIONS[0, 0] == g].mean(dim=1) for g in range(16)], dim=1)
        assert torch.allclose(found, of_regions, atol=1e-4), method.__name__
    exact = attribution.exact_shapley(Linear(), faces[:1], TARGET[:1])
    assert torch.allclose(exact.float(), of_regions[0], atol=1e-4)


def test_true_shares_leave_nothing_unexplained_and_an_empty_map_explains_nothing(faces, shares):
    whole, half, nothing = (
        attribution.unexplained(Linear(), faces, heat, TARGET)
        for heat in (shares, torch.where(torch.arange(48) < 24, shares, 0), torch.zeros_like(shares))
    )
    assert (whole < 1e-6).all() and torch.allclose(nothing, torch.ones(4, dtype=torch.double))
    assert ((half > 0.01) & (half < 1)).all()


def test_a_map_that_never_asks_the_model_holds_still_and_one_that_does_moves(faces):
    noise = attribution.unsteady(Linear(), faces, lambda model, x, target: x[:, 0], TARGET)
    still = attribution.unsteady(Linear(), faces, attribution.middle, TARGET)
    assert (still == 0).all() and ((noise > 0.005) & (noise < 0.1)).all()


def test_the_unit_with_most_heat_is_compared_with_the_one_that_matters_most():
    on = torch.tensor([[True, True, False], [True, True, True]])
    drops = torch.tensor([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]])  # the 9 belongs to a unit that is off
    heat = torch.tensor([[0.1, 0.3, 0.9], [0.2, 0.3, 0.1]])
    assert attribution.picks_the_unit(heat, drops, on).tolist() == [1, 0]
    assert torch.allclose(attribution.pairs_in_order(heat, drops, on), torch.tensor([1, 2 / 3]).double())


def test_a_unit_is_followed_from_face_to_face():
    on = torch.ones(12, 2, dtype=torch.bool)
    on[3:, 1] = False  # too few faces to say anything
    drops = torch.arange(12.0)[:, None].expand(-1, 2)
    assert attribution.follows_the_unit(drops**3, drops, on).tolist() == pytest.approx([1])
    assert attribution.follows_the_unit(-drops, drops, on).tolist() == pytest.approx([-1])


def test_switching_a_unit_off_costs_what_the_model_reads_there(faces):
    chosen, target = torch.arange(1, 4), torch.zeros(3, dtype=torch.int64)
    drops = attribution.unit_drops(Linear(), chosen, faces[1:], target)
    units = load("drawn", "test", count=4).units[1:]
    assert drops.shape == (3, len(ACTION_UNITS)) and (drops[~units] == 0).all() and (drops[units] != 0).all()


def test_the_record_is_of_these_methods_on_three_models_and_200_faces_each():
    models = read_record(RECORD)["models"]
    assert [model["seed"] for model in models] == [0, 1, 2] and {model["faces"] for model in models} == {200}
    for model in models:
        assert [*model["methods"]] == [*METHODS, "random numbers"]
        assert {len(scores) for scores in model["methods"].values()} == {19}
    assert random_numbers(None, torch.zeros(2, 3, 8, 8), None).unique().numel() == 128
