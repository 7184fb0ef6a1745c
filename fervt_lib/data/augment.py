"""Augment whole batches on their device, with a different change for each face, or write augmented sets to disk."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype, to_pil_image
from tqdm.auto import tqdm

from ..disk import MAX_SEED, FervtError, check_number, written_whole
from .faces import Faces, repeat_rare
from .labels import EXPRESSIONS


@dataclass(frozen=True)
class Augment:
    """Flip, small affine moves, brightness, contrast and erasing. A strength of 0 turns that change off.

    torchvision's transforms draw one change per call, so a whole batch shares it; here each face gets its own.

    Attributes:
        flip: probability of a mirror image.
        degrees: largest rotation, either way.
        shift: largest move, as a share of the side.
        zoom: largest relative change of size, either way.
        brightness, contrast: largest relative change, either way.
        erase: probability that one rectangle (2-20 % of the face) is filled with the face's mean gray.
        equalize: probability that the face is blended with its equalized version, where every gray is equally
            frequent; half of these faces are fully equalized.

    Raises:
        FervtError: a strength is below 0, above 1 (degrees: 180) or nan.
    """

    flip: float = 0.5
    degrees: float = 12.0
    shift: float = 0.08
    zoom: float = 0.12
    brightness: float = 0.25
    contrast: float = 0.25
    erase: float = 0.3
    equalize: float = 0.0

    def __post_init__(self):
        for name, strength in asdict(self).items():
            check_number(name, strength, 0, 180 if name == "degrees" else 1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the random numbers `(count, 14)` in [0, 1) that decide how each of `count` faces changes."""
        return torch.cat([torch.rand(count, 10, generator=generator), torch.rand(count, 4, generator=generator)], 1)

    def __call__(self, images: Tensor, draws: torch.Generator | Tensor) -> Tensor:
        """Augment uint8 faces `(b, c, h, w)`; you get float32 faces in [0, 1] of the same shape.

        Args:
            draws: the output of `draw`, on the images' device; or a CPU generator for it, whatever the device, so that
                a seed gives the same faces everywhere.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            found = f"{tuple(images.shape)}, {images.dtype}"
            raise FervtError(f"faces {found}: give them as they were read, (b, c, h, w) in uint8 from 0 to 255")
        if isinstance(draws, torch.Generator):
            draws = self.draw(len(images), draws).to(images.device)
        x = self._move(images.float() / 255, draws[:, :5] * 2 - 1)
        if self.equalize:
            x = self._equalize(x, draws[:, 8] < self.equalize, draws[:, 9])
        x = self._light(x, draws[:, 5:7] * 2 - 1)
        return self._erase(x, draws[:, 7] < self.erase, draws[:, 10:])

    def _move(self, x: Tensor, draws: Tensor) -> Tensor:
        """Mirror, rotate, zoom and shift in a single resampling step. draws: `(b, 5)` in [-1, 1]."""
        mirror = 1 - 2 * (draws[:, 0] < 2 * self.flip - 1).float()  # -1 or 1, with no number copied from the CPU
        angle = torch.deg2rad(self.degrees * draws[:, 1])
        size = 1 + self.zoom * draws[:, 2]
        cos, sin = size * angle.cos(), size * angle.sin()
        shift = 2 * self.shift * draws[:, 3:5]  # grid coordinates run from -1 to 1
        rows = [torch.stack([mirror * cos, -sin, shift[:, 0]], 1), torch.stack([mirror * sin, cos, shift[:, 1]], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _equalize(self, x: Tensor, chosen: Tensor, amount: Tensor) -> Tensor:
        """Blend chosen faces with their equalized versions, where each pixel is the share of pixels not above it."""
        grays = x.flatten(1).contiguous()  # (b, c·h·w)
        ranks = torch.searchsorted(grays.sort(dim=1).values, grays, right=True) / grays.shape[1]
        return torch.lerp(x, ranks.view_as(x), (chosen * (2 * amount).clamp(max=1))[:, None, None, None])

    def _light(self, x: Tensor, draws: Tensor) -> Tensor:
        """Change the contrast around the face's mean, then the brightness. draws: `(b, 2)` in [-1, 1]."""
        brightness = (1 + self.brightness * draws[:, 0])[:, None, None, None]
        contrast = (1 + self.contrast * draws[:, 1])[:, None, None, None]
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return (((x - mean) * contrast + mean) * brightness).clamp(0, 1)

    def _erase(self, x: Tensor, chosen: Tensor, draws: Tensor) -> Tensor:
        """Paint one rectangle of each chosen face. draws: `(b, 4)` in [0, 1]: area, shape, column, row."""
        h, w = x.shape[-2:]
        area, aspect = (0.02 + 0.18 * draws[:, 0], torch.exp(2 * draws[:, 1] - 1))  # 0.37 to 2.7
        height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        top, left = draws[:, 3] * (1 - height), draws[:, 2] * (1 - width)
        row = (torch.arange(h, device=x.device) + 0.5) / h
        column = (torch.arange(w, device=x.device) + 0.5) / w
        in_rows = (row >= top[:, None]) & (row < (top + height)[:, None])  # (b, h)
        in_columns = (column >= left[:, None]) & (column < (left + width)[:, None])  # (b, w)
        hole = in_rows[:, None, :, None] & in_columns[:, None, None, :] & chosen[:, None, None, None]
        return torch.where(hole, x.mean(dim=(1, 2, 3), keepdim=True), x)


AUGMENTATIONS = {
    "usual": Augment(),
    "strong": Augment(shift=0.12, zoom=0.2, brightness=0.5, contrast=0.5, equalize=0.3),
}
"""The augmentations that a recipe can name; "strong" is for faces from other cameras and other face detectors."""


def write_augmented(
    faces: Faces,
    folder: str | Path,
    augment: Augment | None = None,
    *,
    copies: int = 2,
    rare_share: float = 0.1,
    vertical_flips: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Write augmented copies of faces as PNG files, one folder per expression, and list them in `faces.csv`.

    Use this for programs that read folders. Our own training augments the faces anew in every epoch.

    Args:
        folder: must not exist yet; it appears once everything is written.
        augment: the changes; None means `Augment()`.
        copies: how many of each face, at least 1; faces with rare expressions get more, see `repeat_rare`.
        vertical_flips: probability that a copy is upside down. Real data have none, so a model learns worse with them.

    Returns:
        The contents of faces.csv, one row per picture: `file`, `row` in the source, `label` and votes per expression.

    Raises:
        FervtError: the folder already exists or cannot be written, or a number is out of range.
    """
    folder = Path(folder)
    if folder.exists():
        raise FervtError(f"{folder} exists already; choose a new folder, or remove this one")
    check_number("copies", copies, 1, 10**6)
    check_number("vertical_flips", vertical_flips, 0, 1)
    check_number("seed", seed, 0, MAX_SEED)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.cat([repeat_rare(faces, rare_share, generator) for _ in range(copies)])
    entries, numbers, augment = [], Counter(), augment or Augment()
    with written_whole(folder) as part:
        for name in EXPRESSIONS:
            (part / name).mkdir(parents=True)
        for batch in tqdm(chosen.split(256), desc="augmenting", leave=False):
            images, votes = faces[batch]
            upside_down = torch.rand(len(images), generator=generator) < vertical_flips
            images = augment(images, generator)
            images = torch.where(upside_down[:, None, None, None], images.flip(2), images)
            for image, row, of_face in zip(images, faces.rows[batch].tolist(), votes, strict=True):
                numbers[row] += 1
                label = EXPRESSIONS[of_face.argmax()]
                file = f"{label}/{row:07}-{numbers[row]}.png"  # copy 1 of the face in this row
                to_pil_image(to_dtype(image, torch.uint8, scale=True)).save(part / file)
                named_votes = dict(zip(EXPRESSIONS, of_face.tolist(), strict=True))
                entries.append({"file": file, "row": row, "label": label} | named_votes)
        table = pd.DataFrame(entries)
        table.to_csv(part / "faces.csv", index=False)
    return table
