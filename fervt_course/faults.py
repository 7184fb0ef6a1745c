"""FAULTS of the unofficial FER-VT, rebuilt one by one so that notebook 06 can show them and measure their cost.

Nothing here is part of the model. Each function takes a sound FER-VT, breaks one thing in it and returns it; the fault
numbers match the notebook's table. We wrote them ourselves after reading that code (ZBigFish/FER-VT, commit d33f204;
`model/FERVT.py` unless we name another file). Where our model differs too much, the docstring says what we did instead.
"""

from dataclasses import asdict, dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torchvision.transforms.v2.functional import vertical_flip

from fervt_lib.data import Augment
from fervt_lib.model import (
    FERVT,
    Fusion,
    GridWiseAttention,
    LevelTokens,
    MultiHeadAttention,
    region_weights,
    weights_to_map,
)
from fervt_lib.model.backbone import Pyramid
from fervt_lib.model.fervt import IMAGENET_MEAN, IMAGENET_STD

FIXED_SCALE = 56  # the width of a region of a 224² face cut 4×4


def survivors(loaded: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    """The names of the tensors in a state dict that still have their loaded values."""
    return [name for name in loaded if torch.equal(loaded[name], now[name])]


def swap(old: nn.Module, new: nn.Module) -> nn.Module:
    """Copy the weights of an old module into a new one with the same parameters, and return it."""
    new.load_state_dict(old.state_dict())
    return new.train(old.training)


class ScrambledAttention(GridWiseAttention):
    """Fault 2: the region axis sits between the two pixel axes when the map is viewed as an image."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Like the sound one, but pixel row r gets the weights of grid row r mod n."""
        weights = super().forward(x)[1]
        return x * self.gain * scrambled_weights_to_map(weights, self.grid, x.shape[-2:]), weights


def scrambled_weights_to_map(weights: Tensor, grid: int, size: tuple[int, int]) -> Tensor:
    """Turn weights `(b, G, c)` into a map `(b, c, H, W)` whose rows cycle through the grid: `(h n)`, not `(n h)`."""
    return repeat(weights, "b (n m) c -> b c (h n) (m w)", n=grid, h=size[0] // grid, w=size[1] // grid)


class DenseSplit(nn.Module):
    """Fault 4: before the extractor, a dense convolution where regions should only be cut out.

    Every pixel and channel of a region becomes a sum over all of them: (c·h·w)² weights, 88.5 million at 224² and 4×4.
    """

    def __init__(self, side: int, grid: int, channels: int = 3):
        super().__init__()
        self.grid = grid
        values = channels * (side // grid) ** 2
        self.mix = nn.Conv2d(values, values, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each region within itself; `(b, c, H, W)` keeps its shape."""
        regions = rearrange(x, "b c (n h) (m w) -> b (c h w) n m", n=self.grid, m=self.grid)
        h = x.shape[-2] // self.grid
        return rearrange(self.mix(regions), "b (c h w) n m -> b c (n h) (m w)", c=x.shape[1], h=h)


class SharedFusion(Fusion):
    """Fault 5: image and attended image go through the same convolution, then each through its own BatchNorm; the
    attended image's own convolution never sees a pixel.
    """

    def forward(self, image: Tensor, attended: Tensor) -> Tensor:
        """Fuse two images `(b, c, H, W)` into one of the same shape with values in (0, 1)."""
        conv, *_ = self.image
        _, norm, activation = self.attended
        x = self.image(image) + activation(norm(conv(attended)))
        x = x + self.residual(x)
        return torch.sigmoid(self.last(x))


class UnnormalisedBackbone(nn.Module):
    """Fault 6: the backbone gets the sigmoid's raw values. We undo ImageNet's normalization to get there."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone, self.channels = backbone, backbone.channels
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Pyramid:
        """Take normalized faces `(b, 3, H, W)`; return the backbone's maps of the faces without normalization."""
        return self.backbone(x * self.std + self.mean)


class SharedLevelTokens(LevelTokens):
    """Fault 7: the three levels share one LayerNorm and one Linear."""

    def __init__(self, channels: tuple[int, ...], dim: int):
        super().__init__(channels, dim)
        *_, norm, linear = self.levels[0]
        own = ((conv, pool, flatten) for conv, pool, flatten, *_ in self.levels)
        self.levels = nn.ModuleList(nn.Sequential(*parts, norm, linear) for parts in own)


class FixedScaleAttention(GridWiseAttention):
    """Fault 14, first half: the scores are divided by 56, not by the root of a region's width w."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Like the sound one, but with a flatter softmax."""
        width = x.shape[-1] // self.grid
        features = self.extract(x) * (width**0.5 / FIXED_SCALE) ** 0.5  # F Fᵀ / √w becomes F Fᵀ / 56
        weights = region_weights(features, self.grid)
        return x * self.gain * weights_to_map(weights, self.grid, x.shape[-2:]), weights


class DroppedAttention(MultiHeadAttention):
    """Fault 14, second half (`model/transformer.py`): dropout changes the attention that we return and plot."""

    def __init__(self, dim: int, heads: int, drop: float = 0.1):
        super().__init__(dim, heads)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `(b, t, dim)` to tokens and weights `(b, heads, t, t)`, which no longer sum to 1 during training."""
        q, k, v = rearrange(self.qkv(x), "b t (three heads d) -> three b heads t d", three=3, heads=self.heads)
        weights = self.dropout((q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1))  # (b, heads, query, key)
        return self.out(rearrange(weights.to(v.dtype) @ v, "b heads t d -> b t (heads d)")), weights

    def of_first(self, x: Tensor) -> Tensor:
        return self(x)[0][:, :1]


@dataclass(frozen=True)
class UpsideDown(Augment):
    """Fault 11 (`dataset/generate_training_data.py`): of seven faces, two are upside down and one turns by up to ±90°.

    That code writes an original and six changed copies to disk (option 1); we draw the same shares anew every epoch.
    """

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment uint8 `(b, c, h, w)`; return float32 in [0, 1] of the same shape."""
        share = torch.rand(len(images), generator=generator).to(images.device)
        on_head, turned = share < 2 / 7, share >= 6 / 7
        changed = super().__call__(torch.where(on_head[:, None, None, None], vertical_flip(images), images), generator)
        if turned.any():  # an empty batch has nothing to resample
            changed[turned] = Augment(**asdict(self) | {"degrees": 90.0})(images[turned], generator)
        return changed


def wiped(model: FERVT) -> FERVT:
    """Fault 1: initialize the loaded backbone a second time. BatchNorm's running statistics stay as loaded."""
    for part in model.backbone.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_uniform_(part.weight)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    return model


def scrambled_map(model: FERVT) -> FERVT:
    """Fault 2 in a model."""
    model.grid_attention = swap(model.grid_attention, ScrambledAttention(model.grid_attention.grid))
    return model


def dark_attention(model: FERVT) -> FERVT:
    """Fault 3: the weights average 1/G, so the attended image is G times darker than the image we add it to."""
    model.grid_attention.gain = 1
    return model


def dense_split(model: FERVT) -> FERVT:
    """Fault 4 in a model."""
    attention = model.grid_attention
    attention.extract = nn.Sequential(DenseSplit(model.side, attention.grid), *attention.extract)
    return model


def shared_fusion(model: FERVT) -> FERVT:
    """Fault 5 in a model."""
    model.fusion = swap(model.fusion, SharedFusion())
    return model


def no_normalisation(model: FERVT) -> FERVT:
    """Fault 6 in a model."""
    model.backbone = UnnormalisedBackbone(model.backbone)
    return model


def shared_levels(model: FERVT) -> FERVT:
    """Fault 7 in a model with level tokens: class token and positions start at zero as well."""
    model.tokens = SharedLevelTokens(model.backbone.channels, model.tokens.dim)
    nn.init.zeros_(model.transformer.cls)
    nn.init.zeros_(model.transformer.positions)
    return model


def fixed_scale(model: FERVT) -> FERVT:
    """Fault 14 in a model, both halves."""
    model.grid_attention = swap(model.grid_attention, FixedScaleAttention(model.grid_attention.grid))
    for layer in model.transformer.layers:
        layer.attention = swap(layer.attention, DroppedAttention(model.tokens.dim, layer.attention.heads))
    return model
