"""Each fault spoils what it says and nothing else, and stays out of the sound library."""

import json
import re
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from einops import rearrange
from test_house import NOTEBOOKS, imports, library_imports
from torch import nn

from fervt_lib import faults
from fervt_lib.ablation import level_tokens
from fervt_lib.data import Augment
from fervt_lib.model import (
    PRESETS,
    CompactPyramid,
    Fusion,
    GridWiseAttention,
    LevelTokens,
    MultiHeadAttention,
    region_weights,
    spread,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tiny(change=lambda model: model) -> nn.Module:
    """A tiny FER-VT of one seed, changed."""
    torch.manual_seed(0)
    return change(PRESETS["tiny"]())


def lively_attention() -> GridWiseAttention:
    """In training mode BatchNorm gives features of size 1, so that the regions' weights differ clearly."""
    return GridWiseAttention(4).train()


# What a fault may change, as a pattern of parameter names; everything else must be the sound model's, bit for bit.
TOUCHED = {
    faults.wiped: r"backbone\.",
    faults.scrambled_map: r"(?!)",
    faults.dark_attention: r"(?!)",
    faults.dense_split: r"grid_attention\.extract\.",
    faults.shared_fusion: r"(?!)",
    faults.no_normalisation: r"(?!)",
    faults.shared_levels: r"tokens\.|transformer\.(cls|positions)",
    faults.fixed_scale: r"transformer\.layers\.\d\.attention\.",
}


@pytest.mark.parametrize("fault", TOUCHED, ids=lambda fault: fault.__name__)
def test_a_fault_leaves_all_other_weights_as_they_were(fault):
    sound = level_tokens if fault is faults.shared_levels else lambda model: model
    before = tiny(sound).state_dict()
    # the wrapper of fault 6 puts its own name in front
    after = {
        name.replace("backbone.backbone.", "backbone."): tensor
        for name, tensor in fault(tiny(sound)).state_dict().items()
    }
    same = {name for name in before.keys() & after.keys() if torch.equal(before[name], after[name])}
    assert same, "the seed does not decide the weights"
    assert [name for name in (before.keys() | after.keys()) - same if not re.match(TOUCHED[fault], name)] == []


# --- 1: wiped weights --------------------------------------------------------------------------------------------


def test_wiping_draws_every_kernel_anew_and_keeps_running_statistics():
    backbone = CompactPyramid(width=8)
    for tensor in backbone.state_dict().values():  # as if loaded: nothing is at its initial value
        tensor.copy_(torch.rand(tensor.shape) + 2)
    loaded = deepcopy(backbone.state_dict())
    wiped = faults.wipe_weights(backbone).state_dict()
    kernels = {f"{name}.weight" for name, part in backbone.named_modules() if isinstance(part, nn.Conv2d)}
    for name, tensor in wiped.items():
        if name in kernels:
            assert tensor.abs().max() < 2 and tensor.min() < 0, name  # everything loaded is above 2
        elif name.endswith("weight"):
            assert (tensor == 1).all(), name
        elif name.endswith("bias"):
            assert (tensor == 0).all(), name
        else:  # running_mean, running_var, num_batches_tracked
            assert torch.equal(tensor, loaded[name]), name


def test_wiped_wipes_the_backbone_of_a_model():
    before, after = tiny().backbone.state_dict(), tiny(faults.wiped).backbone.state_dict()
    kernels = [name for name, tensor in before.items() if tensor.ndim == 4]
    assert kernels and not any(torch.equal(before[name], after[name]) for name in kernels)


# --- 2, 3, 4: grid-wise attention --------------------------------------------------------------------------------


def test_a_scrambled_map_gives_a_quarter_of_the_pixels_their_own_weight():
    weights = torch.rand(2, 16, 3)
    sound, scrambled = spread(weights, 4, (48, 48)), faults.scrambled_spread(weights, 4, (48, 48))
    rows = torch.arange(48)
    agree = rows // 12 == rows % 4
    assert torch.equal(scrambled[:, :, agree], sound[:, :, agree])
    assert (scrambled == sound).float().mean() == 0.25  # all others get another region's weight
    for r in rows.tolist():  # row r shows grid row r mod 4; columns are as they should be
        assert torch.equal(scrambled[:, :, r], sound[:, :, 12 * (r % 4)])


def test_scrambled_map_spreads_the_sound_weights_wrongly():
    sound, x = lively_attention(), torch.rand(2, 3, 48, 48)
    model = tiny()
    model.grid_attention = deepcopy(sound)
    attended, weights = faults.scrambled_map(model).grid_attention(x)
    assert torch.equal(weights, sound(x)[1])
    torch.testing.assert_close(attended, x * 16 * faults.scrambled_spread(weights, 4, (48, 48)))


def test_dark_attention_is_16_times_darker():
    x = torch.rand(2, 3, 48, 48)
    (bright, weights), (dark, same) = (tiny(c).grid_attention(x) for c in (lambda m: m, faults.dark_attention))
    torch.testing.assert_close(16 * dark, bright)
    assert torch.equal(weights, same)


def test_a_dense_split_at_the_papers_size_has_88_5_million_weights():
    with torch.device("meta"):  # 354 MB that need not be there to be counted
        split = faults.DenseSplit(224, 4)
    assert sum(p.numel() for p in split.parameters()) == (3 * 56 * 56) ** 2 == 88_510_464


def test_a_dense_split_mixes_all_of_a_region_and_nothing_beyond():
    split, x = faults.DenseSplit(24, 4), torch.rand(1, 3, 24, 24)
    changed = x.clone()
    changed[0, 1, 8, 13] += 1  # in grid row 1 and column 2
    expected = torch.zeros(3, 24, 24, dtype=torch.bool)
    expected[:, 6:12, 12:18] = True
    assert torch.equal((split(changed) != split(x))[0], expected)


def test_a_dense_split_puts_the_regions_back_where_they_were():
    split, x = faults.DenseSplit(24, 4), torch.rand(2, 3, 24, 24)
    nn.init.dirac_(split.mix.weight)  # each value to itself
    torch.testing.assert_close(split(x), x)


def test_dense_split_stands_before_the_extractor():
    sound, attention, x = tiny().grid_attention, tiny(faults.dense_split).grid_attention, torch.rand(2, 3, 48, 48)
    mixed = attention.extract[0](x)
    assert torch.equal(attention(x)[1], region_weights(sound.extract(mixed), 4))


# --- 5, 6: fusion and backbone -----------------------------------------------------------------------------------


def test_shared_fusion_never_uses_the_second_convolution():
    fusion = tiny(faults.shared_fusion).fusion
    fusion(torch.rand(2, 3, 48, 48), torch.rand(2, 3, 48, 48)).sum().backward()
    assert [name for name, p in fusion.named_parameters() if p.grad is None] == ["attended.0.weight"]


def test_shared_fusion_is_a_sound_one_with_the_same_convolution_twice():
    shared = tiny(faults.shared_fusion).fusion.eval()
    twice = Fusion().eval()
    twice.load_state_dict(shared.state_dict())
    twice.attended[0].load_state_dict(shared.image[0].state_dict())
    image, attended = torch.rand(2, 2, 3, 48, 48)
    assert torch.equal(shared(image, attended), twice(image, attended))


def test_without_normalisation_the_backbone_gets_the_fused_image_itself():
    seen = []
    model, x = tiny(faults.no_normalisation).eval(), torch.rand(2, 3, 48, 48)
    model.backbone.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fused = model.trace(x).fused
    torch.testing.assert_close(seen[0], fused)
    assert seen[0].min() > 0 and seen[0].max() < 1
    assert model.backbone.channels == tiny().backbone.channels


# --- 7: level tokens ---------------------------------------------------------------------------------------------


def test_shared_levels_share_norm_and_linear_but_not_the_convolution():
    model = faults.shared_levels(tiny(level_tokens))
    first, *others = model.tokens.levels
    for level in others:
        assert level[3].weight is first[3].weight and level[3].bias is first[3].bias
        assert level[4].weight is first[4].weight and level[4].bias is first[4].bias
    assert len({id(level[0].weight) for level in model.tokens.levels}) == 3
    assert [level[0].in_channels for level in model.tokens.levels] == list(model.backbone.channels)
    assert not model.transformer.cls.any() and not model.transformer.positions.any()


def test_shared_levels_give_what_sound_ones_with_equal_weights_give():
    shared, pyramid = faults.SharedLevelTokens((8, 16, 32), 64), [torch.rand(2, c, 9, 9) for c in (8, 16, 32)]
    sound = LevelTokens((8, 16, 32), 64)
    sound.load_state_dict(shared.state_dict())
    assert torch.equal(shared(pyramid), sound(pyramid))


# --- 14: fixed scale and dropped attention -----------------------------------------------------------------------


def fixed_scale_of(sound: GridWiseAttention) -> nn.Module:
    model = tiny()
    model.grid_attention = deepcopy(sound)
    return faults.fixed_scale(model).grid_attention


@pytest.mark.parametrize("side", [48, 224])
def test_a_fixed_scale_divides_by_56_whatever_the_width(side):
    sound, x = lively_attention(), torch.rand(2, 3, side, side)
    regions = rearrange(sound.extract(x), "b c (n h) (m w) -> b (n m) c h w", n=4, m=4)
    expected = (regions @ regions.mT / 56).softmax(1).mean((-2, -1))
    attended, weights = fixed_scale_of(sound)(x)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(attended, x * 16 * spread(expected, 4, (side, side)))
    assert (weights - sound(x)[1]).abs().max() > 1e-3


def test_dropped_attention_no_longer_sums_to_1_and_differs_from_call_to_call():
    attention, x = faults.DroppedAttention(64, 4).train(), torch.rand(2, 30, 64)
    (mixed, weights), (mixed_again, again) = attention(x), attention(x)
    assert not torch.equal(weights, again) and not torch.equal(mixed, mixed_again)
    assert ((weights.sum(-1) - 1).abs() > 1e-3).float().mean() > 0.9
    assert 0.08 < (weights == 0).float().mean() < 0.12


def test_dropped_attention_is_sound_in_eval_mode():
    dropped, sound, x = faults.DroppedAttention(64, 4).eval(), MultiHeadAttention(64, 4), torch.rand(2, 30, 64)
    sound.load_state_dict(dropped.state_dict())
    for one, other in zip(dropped(x), sound(x), strict=True):
        assert torch.equal(one, other)


def test_fixed_scale_drops_attention_in_every_layer():
    model = tiny(faults.fixed_scale).train()
    attention = model.trace(torch.rand(2, 3, 48, 48)).attention
    assert len(attention) == 3 and all((weights == 0).any() for weights in attention)


# --- 11: upside-down faces ---------------------------------------------------------------------------------------

STILL = {name: 0 for name in asdict(Augment())}


def test_without_turns_upside_down_flips_two_of_seven_faces_and_changes_no_other():
    faces = torch.randint(0, 256, (1400, 1, 8, 8), dtype=torch.uint8)
    still, flipped = (upside_down(faces, expected) for expected in (faces, faces.flip(2)))
    assert not (still & flipped).any()
    assert 340 < flipped.sum() < 460  # 2 of 7: 400
    assert 130 < (~still & ~flipped).sum() < 270  # 1 of 7, turned: 200


def upside_down(faces: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    changed = faults.UpsideDown(**STILL)(faces, torch.Generator().manual_seed(0))
    return torch.isclose(changed, expected / 255, atol=1e-4).flatten(1).all(1)


def test_faces_that_are_not_turned_get_the_small_turns_of_augment():
    bars = torch.zeros(1400, 1, 24, 24, dtype=torch.uint8)
    bars[:, :, 10:14] = 255  # a lying bar, the same upside down
    changed = faults.UpsideDown(**STILL | {"degrees": 12.0})(bars, torch.Generator().manual_seed(0))
    standing = changed[:, 0, 12, 6:18].amin(dim=1) < 0.1  # the middle is dark somewhere: turned by more than 12°
    assert 100 < standing.sum() < 200  # most of 1 of 7


@pytest.mark.parametrize("seed", range(12))  # one face is turned in 1 of 7 seeds
def test_upside_down_takes_a_single_face(seed):
    face = torch.randint(0, 256, (1, 1, 8, 8), dtype=torch.uint8)
    assert faults.UpsideDown()(face, torch.Generator().manual_seed(seed)).shape == face.shape


def test_upside_down_is_repeated_by_its_generator():
    faces = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    one, same, other = (faults.UpsideDown()(faces, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


# --- who may use them --------------------------------------------------------------------------------------------


def test_nothing_in_the_library_but_ablation_imports_faults():
    users = {path for path, module in library_imports() if module.startswith("fervt_lib.faults")}
    assert users == {Path("ablation.py")}


OTHER_NOTEBOOKS = [path for path in NOTEBOOKS if not path.name.startswith("06")]


@pytest.mark.parametrize("path", OTHER_NOTEBOOKS, ids=lambda path: path.name)
def test_no_notebook_but_06_imports_faults(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "fervt_lib" in code
    assert not uses_faults(code)


@pytest.mark.parametrize(
    "code",
    [
        "from fervt_lib import (\n    checks,\n    faults,\n)",
        "import fervt_lib.faults",
        "def f():\n    from fervt_lib.faults import wiped",
        "import fervt_lib\nfervt_lib.faults",
    ],
)
def test_every_use_of_faults_in_a_notebook_is_seen(code):
    assert uses_faults(code) and not uses_faults(code.replace("faults", "plots"))


def uses_faults(code: str) -> bool:
    return "fervt_lib.faults" in code or any(
        module.startswith("fervt_lib.faults") for module in imports(code, "notebook")
    )
