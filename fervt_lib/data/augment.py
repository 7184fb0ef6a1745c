"""Augmentation of whole batches on their device; every face of a batch gets its own change."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Flip, small affine moves, brightness, contrast and erasing. Strength 0 leaves that change out.

    torchvision's transforms draw one change per call, hence one per batch; here each face has its own.

    Attributes:
        flip: probability of a mirror image.
        degrees: largest rotation, either way.
        shift: largest move, as a share of the side.
        zoom: largest relative change of size, either way.
        brightness, contrast: largest relative change, either way.
        erase: probability that one rectangle (2-20 % of the face) is painted in the face's mean gray.

    Raises:
        ValueError: a strength below 0 or above 1 (degrees: 180), or nan.
    """

    flip: float = 0.5
    degrees: float = 12.0
    shift: float = 0.08
    zoom: float = 0.12
    brightness: float = 0.25
    contrast: float = 0.25
    erase: float = 0.3

    def __post_init__(self):
        for name, strength in asdict(self).items():
            most = 180 if name == "degrees" else 1
            if not 0 <= strength <= most:
                raise ValueError(f"{name} {strength}: from 0 to {most}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 `(b, c, h, w)` to changed float32 in [0, 1] of the same shape.

        `generator` is a CPU generator whatever the images' device, so that a seed means the same faces everywhere.
        """
        b = len(images)
        draws = torch.rand(b, 10, generator=generator).to(images.device)
        x = self._move(images.float() / 255, draws[:, :5] * 2 - 1)
        x = self._light(x, draws[:, 5:7] * 2 - 1)
        rectangles = torch.rand(b, 4, generator=generator).to(images.device)
        return self._erase(x, draws[:, 7] < self.erase, rectangles)

    def _move(self, x: Tensor, draws: Tensor) -> Tensor:
        """Mirror, rotate, zoom and shift in one resampling. draws: `(b, 5)` in [-1, 1]."""
        mirror = torch.where(draws[:, 0] < 2 * self.flip - 1, -1.0, 1.0)
        angle = torch.deg2rad(self.degrees * draws[:, 1])
        size = 1 + self.zoom * draws[:, 2]
        cos, sin = size * angle.cos(), size * angle.sin()
        shift = 2 * self.shift * draws[:, 3:5]  # grid coordinates run from -1 to 1
        rows = [
            torch.stack([mirror * cos, -sin, shift[:, 0]], 1),
            torch.stack([mirror * sin, cos, shift[:, 1]], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _light(self, x: Tensor, draws: Tensor) -> Tensor:
        """Contrast about the face's mean, then brightness. draws: `(b, 2)` in [-1, 1]."""
        brightness = (1 + self.brightness * draws[:, 0])[:, None, None, None]
        contrast = (1 + self.contrast * draws[:, 1])[:, None, None, None]
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return (((x - mean) * contrast + mean) * brightness).clamp(0, 1)

    def _erase(self, x: Tensor, chosen: Tensor, draws: Tensor) -> Tensor:
        """Paint one rectangle of each chosen face. draws: `(b, 4)` in [0, 1]: area, shape, column, row."""
        h, w = x.shape[-2:]
        area, aspect = 0.02 + 0.18 * draws[:, 0], torch.exp(2 * draws[:, 1] - 1)  # 0.37 to 2.7
        height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        top, left = draws[:, 3] * (1 - height), draws[:, 2] * (1 - width)
        row = (torch.arange(h, device=x.device) + 0.5) / h
        column = (torch.arange(w, device=x.device) + 0.5) / w
        in_rows = (row >= top[:, None]) & (row < (top + height)[:, None])  # (b, h)
        in_columns = (column >= left[:, None]) & (column < (left + width)[:, None])  # (b, w)
        hole = in_rows[:, None, :, None] & in_columns[:, None, None, :] & chosen[:, None, None, None]
        return torch.where(hole, x.mean(dim=(1, 2, 3), keepdim=True), x)
