"""Grid-wise attention: how much each region of the face counts, per color channel (paper: low-level learning)."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn


class GridWiseAttention(nn.Module):
    """Weighs the n×n regions of an image against each other and multiplies each pixel by its own region's weight.

    The extractor (two 1×1 convolutions) mixes no pixels, so it runs once over the whole image, before the split.

    Args:
        grid: n; the image's sides must be multiples of it. Both square regions and regions wider than high work.
        channels: color channels, 3 in the paper.
        hidden: width of the extractor, 64 in the paper as the unofficial code reads it.
        keep_brightness: multiply weights by the number of regions G, so that their mean is 1 and the attended image
            is as bright as the original. The formula alone (False) gives an image G times darker.
    """

    def __init__(self, grid: int = 4, channels: int = 3, hidden: int = 64, keep_brightness: bool = True):
        super().__init__()
        self.grid = grid
        self.gain = grid**2 if keep_brightness else 1
        self.extract = Extractor(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
            ImageNorm(channels),
            nn.LeakyReLU(0.1, inplace=True),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn `(b, c, H, W)` into the attended image of the same shape and the weights `(b, G, c)`, Σ over G = 1."""
        weights = region_weights(self.extract(x), self.grid)
        attended = x * self.gain * weights_to_map(weights, self.grid, x.shape[-2:])
        return attended, weights


PIECES = 8  # number of pieces of a batch of pixels, each small enough for the caches


class ImageNorm(nn.BatchNorm2d):
    """BatchNorm for a few channels, which torch computes several times faster plane by plane than channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous())


class Extractor(nn.Sequential):
    """A 1×1 convolution, BatchNorm and the layers after them, with the first two fused into one.

    After a 1×1 convolution of c channels, the mean and variance of every hidden channel follow from the mean `(c,)` and
    covariance `(c, c)` of its input. So we fold BatchNorm into the convolution as a scale and a bias before it runs,
    which saves a few writes and reads of the hidden pixels with their 64 channels. Results are equal up to rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Turn `(b, c, h, w)` into features of the same shape."""
        first, norm, activation, second, *rest = self
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = _folded(x, first, norm)
        if self.training and x.device.type == "cpu":  # piece by piece, so that hidden pixels stay in the caches
            pieces = rearrange(x, "b c h w -> (b h w) c").chunk(PIECES)
            hidden = (activation(F.linear(piece, weight, bias)) for piece in pieces)
            features = torch.cat([F.linear(piece, second.weight.flatten(1)) for piece in hidden])
            x = rearrange(features, "(b h w) c -> b c h w", h=x.shape[2], w=x.shape[3])
        else:
            x = second(activation(F.conv2d(x, weight[:, :, None, None], bias)))
        for part in rest:
            x = part(x)
        return x


def _folded(x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight `(hidden, c)` and bias `(hidden,)` with BatchNorm folded in; training updates BatchNorm's statistics."""
    dtype = torch.promote_types(convolution.weight.dtype, torch.float32)
    weight = convolution.weight.flatten(1).to(dtype)  # (hidden, c)
    mean, variance = norm.running_mean, norm.running_var
    if norm.training:
        pixels = rearrange(x, "b c h w -> (b h w) c").to(dtype)
        centre, n = pixels.mean(dim=0), len(pixels)
        spread = pixels - centre
        mean, variance = weight @ centre, (weight @ (spread.mT @ spread / n) * weight).sum(dim=1)
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (n / (n - 1)), norm.momentum)
            norm.num_batches_tracked += 1
    scale = norm.weight * (variance + norm.eps).rsqrt()
    folded = weight * scale[:, None], norm.bias - scale * mean
    return tuple(tensor.to(convolution.weight.dtype) for tensor in folded)


def region_weights(features: Tensor, grid: int) -> Tensor:
    """Turn features `(b, c, H, W)` into weights `(b, G, c)` that sum to 1 over the regions G = grid².

    For region g and channel c: S = F Fᵀ / √w, then a softmax over the regions, then the mean over the h×h entries.

    Raises:
        ValueError: the sides are not multiples of `grid`.
    """
    if features.shape[-2] % grid or features.shape[-1] % grid:
        raise ValueError(f"an image of {tuple(features.shape[-2:])} cannot be cut into {grid}×{grid} equal regions")
    regions = rearrange(features, "b c (n h) (m w) -> b (n m) c h w", n=grid, m=grid)
    scores = regions @ regions.mT / regions.shape[-1] ** 0.5  # (b, regions, c, h, h)
    return scores.softmax(dim=1).mean(dim=(-2, -1))  # (b, regions, c)


def weights_to_map(weights: Tensor, grid: int, size: tuple[int, int]) -> Tensor:
    """Turn weights `(b, G, c)` into a map `(b, c, H, W)`: each pixel gets the weight of its own region."""
    h, w = size[0] // grid, size[1] // grid
    return repeat(weights, "b (n m) c -> b c (n h) (m w)", n=grid, h=h, w=w)


class Fusion(nn.Module):
    """Joins the image and the attended image; the result looks like an image again, in (0, 1).

    Each input has its own 3×3 convolution; the sum goes to a residual pair of convolutions, then one with a sigmoid.
    """

    def __init__(self, channels: int = 3):
        super().__init__()
        self.image = _conv_norm(channels, nn.ReLU(inplace=True))
        self.attended = _conv_norm(channels, nn.ReLU(inplace=True))
        self.residual = nn.Sequential(_conv_norm(channels, nn.PReLU()), _conv_norm(channels, nn.PReLU()))
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, image: Tensor, attended: Tensor) -> Tensor:
        """Turn two images `(b, c, H, W)` into one of the same shape, with values in (0, 1)."""
        x = self.image(image) + self.attended(attended)
        x = x + self.residual(x)
        return torch.sigmoid(self.last(x))


def _conv_norm(channels: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), ImageNorm(channels), activation)
