"""The model's parts match slow or third-party versions of themselves; both presets keep their promises."""

import copy
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import ResNet34_Weights, resnet34

from fervt_lib import fervt_compact, fervt_paper
from fervt_lib.model import (
    GridWiseAttention,
    LevelTokens,
    MultiHeadAttention,
    SpatialTokens,
    region_weights,
    weights_to_map,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# --- grid-wise attention -----------------------------------------------------------------------------------------


def slow_region_weights(features: torch.Tensor, grid: int) -> torch.Tensor:
    """The formula, one face, channel and region at a time: S = F Fᵀ / √w, softmax over regions, mean of h×h."""
    b, channels, height, width = features.shape
    h, w = height // grid, width // grid
    weights = torch.empty(b, grid**2, channels)
    for face in range(b):
        for c in range(channels):
            scores = []
            for g in range(grid**2):
                top, left = g // grid * h, g % grid * w
                region = features[face, c, top : top + h, left : left + w]
                scores.append(region @ region.T / w**0.5)
            shares = torch.stack(scores).exp() / torch.stack(scores).exp().sum(0)
            for g in range(grid**2):
                weights[face, g, c] = shares[g].mean()
    return weights


@pytest.mark.parametrize(("size", "grid"), [((48, 48), 4), ((12, 24), 3), ((10, 6), 2), ((5, 7), 1)])
def test_region_weights_equal_the_formula_in_loops(size, grid):
    features = torch.randn(2, 3, *size)
    weights = region_weights(features, grid)
    torch.testing.assert_close(weights, slow_region_weights(features, grid))
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 3))


def test_each_pixel_gets_the_weight_of_its_own_region():
    for region in range(6 * 6):
        weights = torch.zeros(1, 36, 1)
        weights[0, region] = 1
        expected = torch.zeros(12, 24)
        expected[region // 6 * 2 :, region % 6 * 4 :][:2, :4] = 1
        assert torch.equal(weights_to_map(weights, 6, (12, 24))[0, 0], expected)


def test_the_image_is_multiplied_by_its_own_extractors_weights():
    x, attention = torch.rand(2, 3, 24, 24), GridWiseAttention(4).eval()
    attended, weights = attention(x)
    torch.testing.assert_close(weights, slow_region_weights(attention.extract(x), 4).detach())
    torch.testing.assert_close(attended, x * 16 * weights_to_map(weights, 4, (24, 24)))


def test_sides_that_the_grid_does_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"\(48, 46\).*4×4"):
        GridWiseAttention(4)(torch.rand(1, 3, 48, 46))


# --- tokens and transformer --------------------------------------------------------------------------------------


def test_spatial_tokens_go_level_by_level_and_row_by_row():
    tokens = SpatialTokens((4, 4, 4), 8, sides=(2, 2, 3))
    pyramid = [torch.zeros(1, 4, 6, 6) for _ in range(3)]
    before = tokens(pyramid)
    assert before.shape == (1, 4 + 4 + 9, 8)
    pyramid[2][0, 0, 2:4, 4:6] = 1  # level 3, cell in row 1 and column 2 of 3×3
    changed = (tokens(pyramid) != before).any(-1)[0].nonzero().flatten().tolist()
    assert changed == [4 + 4 + 1 * 3 + 2]


def test_a_level_token_must_be_a_multiple_of_64():
    with pytest.raises(ValueError, match="100"):
        LevelTokens((8, 8, 8), 100)


def test_attention_equals_torchs_own_under_the_same_weights():
    ours, torchs = MultiHeadAttention(48, 6), nn.MultiheadAttention(48, 6, batch_first=True)
    state = {"in_proj_weight": ours.qkv.weight, "in_proj_bias": torch.randn(144)}
    ours.qkv.bias.data = state["in_proj_bias"]
    torchs.load_state_dict(state | {"out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias})
    x = torch.randn(3, 11, 48)
    mixed, weights = ours(x)
    expected, expected_weights = torchs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(weights, expected_weights)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_extractor_is_its_parts_one_after_the_other(layout):
    folded = GridWiseAttention(4).extract.to(torch.float64)
    plain = nn.Sequential(*copy.deepcopy(folded))
    for is_training in (True, True, False):
        x = torch.rand(6, 3, 8, 12, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
        y = x.detach().clone().requires_grad_()
        found, wanted = folded.train(is_training)(x), plain.train(is_training)(y)
        torch.testing.assert_close(found, wanted)
        found.square().sum().backward(), wanted.square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
    for one, other in zip(folded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for name, buffer in folded.named_buffers():  # the running statistics
        torch.testing.assert_close(buffer, plain.get_buffer(name))


# --- presets -----------------------------------------------------------------------------------------------------


def check_trace(model: nn.Module, side: int, tokens: int, layers: int, heads: int) -> None:
    x = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        trace = model.eval().trace(x)
        torch.testing.assert_close(model(x), trace.logits)
    assert trace.logits.shape == (2, 8) and trace.region_weights.shape == (2, 16, 3)
    assert trace.fused.shape == x.shape and trace.fused.min() > 0 and trace.fused.max() < 1
    assert [tuple(a.shape) for a in trace.attention] == [(2, heads, 1 + tokens, 1 + tokens)] * layers
    for attention in trace.attention:
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, heads, 1 + tokens))


def test_compact_has_54_tokens_and_about_3_8_million_parameters():
    model = fervt_compact()
    check_trace(model, side=48, tokens=54, layers=3, heads=6)
    assert 3.7e6 < sum(p.numel() for p in model.parameters()) < 3.9e6


def test_paper_has_3_tokens_and_12_layers():
    check_trace(fervt_paper(weights=None), side=224, tokens=3, layers=12, heads=8)


def test_a_part_of_the_face_changes_only_its_own_regions_scores():
    """The extractor mixes no pixels: a change in one region reaches another's weight only through the softmax."""
    features = GridWiseAttention(4).eval().extract
    x = torch.rand(1, 3, 48, 48)
    y = x.clone()
    y[..., :12, :12] = 0
    changed = (features(x) != features(y)).any(1)[0]
    assert changed[:12, :12].any() and not changed[12:].any() and not changed[:, 12:].any()


def test_every_parameter_of_the_compact_preset_learns():
    model = fervt_compact().eval()
    model(torch.rand(2, 3, 48, 48)).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]


# --- ImageNet weights --------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty torch.hub folder, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("weights", [ResNet34_Weights.IMAGENET1K_V1, "IMAGENET1K_V1"])
def test_imagenet_weights_stay_as_they_were_loaded(hub, weights):
    state = {k: torch.rand_like(t) if t.is_floating_point() else t + 7 for k, t in resnet34().state_dict().items()}
    torch.save(state, hub / ResNet34_Weights.IMAGENET1K_V1.url.rsplit("/")[-1])
    backbone = fervt_paper(weights_backbone=weights).backbone.state_dict()
    names = {k: k.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.") for k in backbone}
    assert set(names.values()) == {k for k in state if not k.startswith("fc.")}
    assert all(torch.equal(backbone[ours], state[torchs]) for ours, torchs in names.items())


def test_without_network_the_message_offers_random_weights(hub):
    with pytest.raises(RuntimeError, match=r"weights_backbone=None"):
        fervt_paper(weights_backbone="IMAGENET1K_V1")
    fervt_paper(weights_backbone=None)


def test_backbone_weights_given_as_weights_are_refused():
    with pytest.raises(TypeError, match="weights_backbone="):
        fervt_paper(weights=ResNet34_Weights.IMAGENET1K_V1)
