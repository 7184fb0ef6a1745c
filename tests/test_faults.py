"""Each fault spoils what it claims to; test_ablation checks that it leaves all other weights alone."""

from copy import deepcopy
from dataclasses import asdict

import torch
from einops import rearrange
from torch import nn

from fervt_course import faults
from fervt_course.ablation import level_tokens
from fervt_lib.data import Augment
from fervt_lib.model import PRESETS, Fusion, region_weights, weights_to_map


def tiny(change=lambda model: model) -> nn.Module:
    """A tiny FER-VT from a fixed seed, changed; in training mode, so that the region weights clearly differ."""
    torch.manual_seed(0)
    return change(PRESETS["tiny"]()).train()


def test_wiping_draws_every_kernel_anew_and_keeps_running_statistics():
    loaded = tiny()
    for tensor in loaded.state_dict().values():  # nothing is at its initial value
        tensor.copy_(torch.rand(tensor.shape) + 2)
    before, after = deepcopy(loaded.state_dict()), faults.wiped(loaded).state_dict()
    kernels = {f"{name}.weight" for name, module in loaded.named_modules() if isinstance(module, nn.Conv2d)}
    for name, tensor in after.items():
        if not name.startswith("backbone.") or "running" in name or "tracked" in name:
            assert torch.equal(tensor, before[name]), name
        elif name in kernels:
            assert tensor.abs().max() < 2 and tensor.min() < 0, name
        else:
            assert (tensor == float(name.endswith("weight"))).all(), name


def test_a_scrambled_map_gives_a_quarter_of_the_pixels_their_own_weight():
    x = torch.rand(2, 3, 48, 48)
    attended, weights = tiny(faults.scrambled_map).grid_attention(x)
    assert torch.equal(weights, tiny().grid_attention(x)[1])
    sound, scrambled = weights_to_map(weights, 4, (48, 48)), faults.scrambled_weights_to_map(weights, 4, (48, 48))
    torch.testing.assert_close(attended, x * 16 * scrambled)
    assert (scrambled == sound).float().mean() == 0.25
    for row in range(48):  # shows grid row `row mod 4`; the columns are correct
        assert torch.equal(scrambled[:, :, row], sound[:, :, 12 * (row % 4)])


def test_dark_attention_is_16_times_darker():
    x = torch.rand(2, 3, 48, 48)
    (bright, weights), (dark, same) = (tiny(c).grid_attention(x) for c in (lambda m: m, faults.dark_attention))
    torch.testing.assert_close(16 * dark, bright)
    assert torch.equal(weights, same)


def test_a_dense_split_mixes_all_of_a_region_and_nothing_beyond():
    with torch.device("meta"):  # at the paper's size: we can count 354 MB without allocating them
        assert sum(p.numel() for p in faults.DenseSplit(224, 4).parameters()) == 88_510_464
    split, x = faults.DenseSplit(24, 4), torch.rand(1, 3, 24, 24)
    changed = x.clone()
    changed[0, 1, 8, 13] += 1  # in grid row 1 and column 2
    expected = torch.zeros(3, 24, 24, dtype=torch.bool)
    expected[:, 6:12, 12:18] = True
    assert torch.equal((split(changed) != split(x))[0], expected)
    nn.init.dirac_(split.mix.weight)  # maps each value to itself
    torch.testing.assert_close(split(x), x)
    # and it comes before the extractor
    sound, spoilt, x = tiny().grid_attention, tiny(faults.dense_split).grid_attention, torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(spoilt(x)[1], region_weights(sound.extract(spoilt.extract[0](x)), 4))


def test_a_fixed_scale_divides_by_56_whatever_the_width():
    x = torch.rand(2, 3, 48, 96)
    regions = rearrange(tiny().grid_attention.extract(x), "b c (n h) (m w) -> b (n m) c h w", n=4, m=4)
    expected = (regions @ regions.mT / 56).softmax(1).mean((-2, -1))
    attended, weights = tiny(faults.fixed_scale).grid_attention(x)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(attended, x * 16 * weights_to_map(expected, 4, (48, 96)))


def test_a_fixed_scale_drops_attention_in_every_layer_while_training():
    model, x = tiny(faults.fixed_scale), torch.rand(2, 3, 48, 48)
    for weights, others in zip(model.trace(x).attention, model.trace(x).attention, strict=True):
        assert 0.05 < (weights == 0).float().mean() < 0.15 and not torch.equal(weights, others)
        assert ((weights.sum(-1) - 1).abs() > 1e-3).float().mean() > 0.9
    dropped, sound = (m.eval().transformer.layers[0].attention for m in (model, tiny()))
    tokens = torch.rand(2, 55, model.tokens.dim)
    assert all(map(torch.equal, dropped(tokens), sound(tokens)))  # eval mode drops nothing


def test_shared_fusion_is_a_sound_one_with_the_same_convolution_twice():
    shared, twice = tiny(faults.shared_fusion).fusion.eval(), Fusion().eval()
    twice.load_state_dict(shared.state_dict())
    twice.attended[0].load_state_dict(shared.image[0].state_dict())
    image, attended = torch.rand(2, 2, 3, 48, 48)
    assert torch.equal(shared(image, attended), twice(image, attended))


def test_without_normalisation_the_backbone_gets_the_fused_image_itself():
    model, seen = tiny(faults.no_normalisation).eval(), []
    model.backbone.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fused = model.trace(torch.rand(2, 3, 48, 48)).fused
    torch.testing.assert_close(seen[0], fused)


def test_shared_levels_share_norm_and_linear_but_not_the_convolution():
    model = faults.shared_levels(tiny(level_tokens))
    assert not model.transformer.cls.any() and not model.transformer.positions.any()
    conv, norm, linear = ({id(level[i].weight) for level in model.tokens.levels} for i in (0, 3, 4))
    assert (len(conv), len(norm), len(linear)) == (3, 1, 1)


def test_of_seven_faces_two_are_upside_down_and_one_is_turned():
    generator, still = torch.Generator(), dict.fromkeys(asdict(Augment()), 0)
    faces = torch.randint(0, 256, (1400, 1, 8, 8), dtype=torch.uint8, generator=generator)
    changed = faults.UpsideDown(**still)(faces, generator)
    same, flipped = (torch.isclose(changed, x / 255, atol=1e-4).flatten(1).all(1) for x in (faces, faces.flip(2)))
    assert not (same & flipped).any()
    assert 340 < flipped.sum() < 460 and 130 < (~same & ~flipped).sum() < 270  # expected: 400 and 200
    first, again, other = (faults.UpsideDown()(faces, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    for face in faces[:24].split(1):  # one at a time, flipped or not
        assert faults.UpsideDown()(face, generator).shape == face.shape
