"""Rollout, token heat, scores and curves, on numbers you can work out on paper."""

import pytest
import torch
from torch import nn

from fervt_lib import FervtError, explain
from fervt_lib.explain import deletion_curve, insertion_curve, mass_inside, pointing_game, rollout, token_heat
from fervt_lib.model import PRESETS, fervt_compact

# Two layers on three tokens: first token 1 attends to token 2, then the class token attends to token 1.
FIRST = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]])
SECOND = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 1]])

# A 2×2 face with mean 0.5, and what each pixel's distance from the mean adds to the score below: 2, 1, 1, 0.
FACE = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(3, 2, 2)
HEAT = torch.tensor([[2.0, 1.0], [1.0, 0.0]])


class Linear(nn.Module):
    """Two logits: the score 4 a - 2 b + 2 c of the first channel's pixels a, b, c, d, and 0."""

    def forward(self, x):
        score = (x[:, 0] * torch.tensor([[4.0, -2.0], [2.0, 0.0]])).sum(dim=(1, 2))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def curve(how, heat=HEAT, steps=4, **options):
    """The scores behind the probabilities of class 0."""
    return how(Linear(), FACE, heat, 0, steps, **options).logit()


def layers(*matrices, batch=1, heads=1):
    return [m.expand(batch, heads, 3, 3) for m in matrices]


def test_rollout_follows_attention_from_layer_to_layer():
    # row 0 of (SECOND + 1)/2 is (½, ½, 0); row 1 of (FIRST + 1)/2 is (0, ½, ½): token 1 gets ¼, token 2 gets ¼
    torch.testing.assert_close(rollout(layers(FIRST, SECOND)), torch.tensor([[0.25, 0.25]]))


def test_rollout_multiplies_the_last_layer_on_the_left():
    torch.testing.assert_close(rollout(layers(SECOND, FIRST)), torch.tensor([[0.5, 0.0]]))


def test_rollout_of_one_layer_is_half_the_class_tokens_row():
    weights = torch.rand(2, 6, 5, 5).softmax(dim=-1)
    torch.testing.assert_close(rollout([weights]), weights.mean(dim=1)[:, 0, 1:] / 2)


@pytest.mark.parametrize(
    ("token", "rows", "columns"),
    [
        (0, slice(0, 16), slice(0, 16)),  # level 1, first cell of 3×3
        (8, slice(32, 48), slice(32, 48)),  # level 1, last cell
        (10, slice(0, 16), slice(16, 32)),  # level 2, second cell
        (24, slice(8, 16), slice(0, 8)),  # level 3, second row of 6×6
        (53, slice(40, 48), slice(40, 48)),  # level 3, last cell
    ],
)
def test_token_heat_fills_the_tokens_own_cell_evenly(token, rows, columns):
    heat = token_heat(torch.eye(54)[token], (9, 9, 36), side=48)
    truth = torch.zeros(48, 48)
    truth[rows, columns] = 1 / truth[rows, columns].numel()
    torch.testing.assert_close(heat, truth)


def test_token_heat_adds_the_levels():
    both, a, b = (torch.eye(13)[i].sum(dim=0) for i in ([0, 6], [0], [6]))  # one cell of the 2×2 grid, one of the 3×3
    parts = [token_heat(w, (4, 9), side=12) for w in (a, b)]
    torch.testing.assert_close(token_heat(both, (4, 9), side=12), sum(parts))
    assert all((part > 0).any() for part in parts)


@pytest.mark.parametrize(("place", "hit"), [((0, 1), False), ((1, 1), True), ((2, 0), True)])
def test_pointing_game_asks_the_hottest_pixel(place, hit):
    mask = torch.tensor([[False, False], [False, True], [True, False]])
    heat = torch.zeros(3, 2)
    heat[place] = 1.0
    assert pointing_game(heat, mask) is hit


def test_pointing_game_takes_the_hottest_pixel_not_the_farthest_from_0():
    assert pointing_game(torch.tensor([[-5.0, 1.0]]), torch.tensor([[False, True]]))


def test_mass_inside_counts_positive_heat_only():
    heat = torch.tensor([[-3.0, 1.0, 0.0], [2.0, 4.0, 1.0], [0.0, 2.0, -1.0]])
    mask = torch.tensor([[True, False, False], [False, True, True], [False, True, True]])
    assert mass_inside(heat, mask) == pytest.approx(7 / 10)
    assert mass_inside(heat, ~mask) == pytest.approx(3 / 10)


@pytest.mark.parametrize(
    ("heat", "deleted", "put_back"),
    [
        (HEAT, [6.0, 4.0, 3.0, 2.0, 2.0], [2.0, 4.0, 5.0, 6.0, 6.0]),
        (torch.tensor([[1.0, 3.0], [2.0, 0.0]]), [6.0, 5.0, 4.0, 2.0, 2.0], [2.0, 3.0, 4.0, 6.0, 6.0]),
    ],
    ids=["true order", "b c a d"],
)
def test_the_hottest_pixels_go_first(heat, deleted, put_back):
    torch.testing.assert_close(curve(deletion_curve, heat), torch.tensor(deleted))
    torch.testing.assert_close(curve(insertion_curve, heat), torch.tensor(put_back))


def test_insertion_of_the_coldest_first_is_deletion_backwards():
    cold_first = torch.tensor([[0.0, 1.0], [2.0, 3.0]])  # no ties, because their order would not reverse
    torch.testing.assert_close(curve(insertion_curve, -cold_first), curve(deletion_curve, cold_first).flip(0))


def test_equal_pixels_go_in_reading_order():
    torch.testing.assert_close(curve(deletion_curve, torch.zeros(2, 2)), torch.tensor([6.0, 4.0, 3.0, 2.0, 2.0]))
    large = torch.zeros(2, 40, 40)[0]  # large enough for an unstable sort to shuffle
    first = torch.zeros(3, 40, 40)
    first[:, 0] = 1.0  # the top row

    def top_row(x):
        return torch.stack([x[:, 0, 0].sum(dim=1), torch.zeros(len(x))], dim=1)

    gone = deletion_curve(top_row, first, large, 0, steps=40, fill=torch.zeros(3, 1, 1)).logit()
    torch.testing.assert_close(gone[1:], torch.zeros(40))


def test_steps_that_do_not_divide_the_pixels_end_at_all_of_them():
    full = curve(deletion_curve, steps=3)
    assert len(full) == 4
    torch.testing.assert_close(full[[0, -1]], torch.tensor([6.0, 2.0]))


def test_a_filled_pixel_gets_the_value_of_its_own_place():
    fill = torch.tensor([[0.0, 0.0], [0.0, 5.0]]).expand(3, 2, 2)  # the score ignores the pixel with the 5
    torch.testing.assert_close(curve(deletion_curve, fill=fill), torch.tensor([6.0, 2.0, 2.0, 0.0, 0.0]))
    torch.testing.assert_close(curve(insertion_curve, fill=fill), torch.tensor([0.0, 4.0, 4.0, 6.0, 6.0]))


@pytest.mark.parametrize("how", [deletion_curve, insertion_curve])
def test_curves_are_probabilities_of_the_class_asked_for(how):
    model, face = fervt_compact().eval(), torch.rand(3, 48, 48)
    heat = torch.rand(48, 48)
    curves = torch.stack([how(model, face, heat, target, steps=4) for target in range(8)])  # (8, 5)
    torch.testing.assert_close(curves.sum(dim=0), torch.ones(5))
    with torch.inference_mode():
        whole = model(face[None]).softmax(dim=1)[0]
    torch.testing.assert_close(curves[:, 0 if how is deletion_curve else -1], whole)


# --- wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [deletion_curve, insertion_curve])
def test_curves_change_nothing_of_the_model_and_are_those_of_eval_mode(how):
    model, face, heat = fervt_compact(weights="drawn"), torch.rand(3, 48, 48), torch.rand(48, 48)
    wanted = how(model, face, heat, 1)
    model.train()
    model.fusion.eval()  # a part that its owner keeps frozen
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    for called in (model, model.forward):
        torch.testing.assert_close(how(called, face, heat, torch.tensor(1)), wanted)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [part.training for part in model.modules()] == modes


WRONG = {
    "a batch of one": {"x": FACE[None]},
    "a face of another size": {"x": FACE[:, :1]},
    "the heat of a batch": {"heat": HEAT[None]},
    "heat that is no number": {"heat": HEAT * torch.nan},
    "no steps": {"steps": 0},
    "heat of numpy": {"heat": HEAT.numpy()},
    "a face of bytes": {"x": FACE.byte()},
    "a fill of another size": {"fill": torch.zeros(3, 5, 5)},
    "a fill that is no tensor": {"fill": 0.5},
    "a fill that is no number": {"fill": torch.full((3, 1, 1), torch.nan)},
    "no such class": {"target": 2},
    "a class from the end": {"target": -1},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("how", [deletion_curve, insertion_curve])
def test_curves_of_other_things_than_a_face_are_refused(how, wrong):
    with pytest.raises(FervtError, match=f"^{min(wrong)}"):
        how(**{"model": Linear(), "x": FACE, "heat": HEAT, "target": 0, "steps": 4} | wrong)


MASK = HEAT > 1


@pytest.mark.parametrize("mask", [MASK.long(), MASK.byte(), MASK.float(), MASK[None], MASK[0], MASK[:1]])
@pytest.mark.parametrize("how", [mass_inside, pointing_game])
def test_masks_are_of_the_heats_size_and_bool(how, mask):
    with pytest.raises(FervtError, match="^mask"):
        how(HEAT, mask)
    with pytest.raises(FervtError, match="^heat"):
        how(HEAT * torch.nan, MASK)


def test_rollout_and_token_heat_refuse_what_is_no_attention():
    good = torch.rand(1, 2, 5, 5)
    for wrong in ([], good, None, [good, torch.rand(1, 2, 4, 4)], [torch.rand(2, 5, 5)], [torch.rand(1, 2, 5, 4)]):
        with pytest.raises(FervtError, match="attention"):
            rollout(wrong)
    for weights in (torch.rand(53), torch.rand(1, 54), torch.rand(55)):
        with pytest.raises(FervtError, match="weights"):
            token_heat(weights, (9, 9, 36), 48)


def test_relevance_is_a_rollout_of_what_speaks_for_the_class():
    model, x = PRESETS["tiny"]().eval(), torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    fear, joy = (explain.relevance(model, x, torch.full((2,), k)) for k in (6, 1))
    assert fear.shape == (2, 54) and (fear >= 0).all() and not torch.allclose(fear, joy)
    assert torch.allclose(explain.relevance(model, x[1:], torch.tensor([6])), fear[1:], rtol=1e-3)  # one face at a time
