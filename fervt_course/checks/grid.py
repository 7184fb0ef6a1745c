"""Checks of notebook 02: grid-wise attention."""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from .verdict import UNWRITTEN, no, verdict


def constant_weight(answer: Callable[[int], float]) -> str:
    """Notebook 02, exercise 1. answer takes a region's rows h; returns its weight for a softmax over the last axis."""
    mistakes = {
        "1/G would need a sum of 1 over the regions, but this softmax never looks at another region": 1 / 16,
        "1/h² would be a softmax over all entries of S; this one is over each row": 1 / 12**2,
        "a row of S sums to 1, but a weight is the mean over its h entries": 1.0,
    }
    found = [answer(12), answer(24)]
    if found[0] is None:
        return UNWRITTEN
    found = [torch.as_tensor(each, dtype=torch.float64).squeeze() for each in found]
    if torch.equal(*found) and not any(abs(float(found[0].mean()) - known) < 1e-6 for known in (1, 1 / 16)):
        return no("regions of 12 and of 24 rows do not get the same weight: it depends on h")
    return verdict(found[0], 1 / 12, mistakes, "what do the h entries of a row sum to, and what is their mean?")


def layout(answer: Callable[[Tensor, int], Tensor]) -> str:
    """Notebook 02, exercise 2. answer takes blocks `(b, n, m, c, h, w)` and side; returns `(b, c, side, side)`."""
    blocks = torch.arange(13_824.0).reshape(2, 4, 4, 3, 12, 12)  # a different value in every place
    right = "b n m c h w -> b c (n h) (m w)"
    orders = {
        "the grid axes are swapped, a transposed grid": "b m n c h w -> b c (n h) (m w)",
        "a pixel axis stands before its grid axis: rows cycle through the grid": "b n m c h w -> b c (h n) (m w)",
        "the grid column's axis stands after its pixel axis": "b n m c h w -> b c (n h) (w m)",
        "both grid axes stand before both pixel axes": "b n m c h w -> b c (n m) (h w)",
        "rows and columns inside a region are swapped": "b n m c w h -> b c (n h) (m w)",
    }
    mistakes = {name: rearrange(blocks, order).reshape(2, 3, 48, 48) for name, order in orders.items()}
    mistakes["there is no permute: reshape alone reads the numbers in the order of the blocks"] = blocks.reshape(
        2, 3, 48, 48
    )
    other = "channels come second, and each grid axis stands just before its pixel axis"
    return verdict(answer(blocks, 48), rearrange(blocks, right), mistakes, other)


def tiles(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 02, exercise 3. answer takes a patch `(3, 12, 12)`; returns `(1, 3, 48, 48)` of equal regions."""
    patch = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    x = answer(patch)
    if x is None:
        return UNWRITTEN
    x = torch.as_tensor(x)
    if x.shape != (1, 3, 48, 48):
        return no(f"the image must have the shape (1, 3, 48, 48), not {tuple(x.shape)}")
    if not torch.equal(x[0, :, :12, :12], patch):
        enlarged = torch.equal(x[0, :, ::4, ::4], patch)
        return no("you enlarged each pixel; repeat the patch" if enlarged else "the image must begin with the patch")
    return verdict(x, patch.repeat(1, 4, 4)[None], {}, "are all sixteen regions the same patch?")


def rectangular_weights(answer: Callable[[Tensor, int, int], Tensor]) -> str:
    """Notebook 02, exercise 4. answer takes features `(b, c, H, W)`, grid rows, columns; returns `(b, G, c)`."""
    F = torch.rand(2, 3, 24, 30, generator=torch.Generator().manual_seed(0)) * 2
    regions = rearrange(F, "b c (n h) (m w) -> b (n m) c h w", n=2, m=3)  # regions of 12 × 10 pixels
    S = regions @ regions.mT / 10**0.5
    truth = _mean_weight(S.softmax(dim=1))  # (b, regions, c)
    turned = rearrange(F, "b c (n h) (m w) -> b (n m) c h w", n=3, m=2)  # regions of 8 × 15 pixels
    mistakes = {
        "there is no scale: divide the products by √w": _mean_weight((S * 10**0.5).softmax(dim=1)),
        "you divided by √h; divide by √w, because a product sums over the w columns": _mean_weight(
            (S * (10 / 12) ** 0.5).softmax(dim=1)
        ),
        "you divided by √(h·w); a product sums over the w columns only": _mean_weight((S / 12**0.5).softmax(dim=1)),
        "you added up the h × h entries; take their mean": S.softmax(dim=1).sum(dim=(-2, -1)),
        "you divided by w; divide by √w": _mean_weight((S / 10**0.5).softmax(dim=1)),
        "the weights sum to 1 over pixels, not over regions: look at the softmax axis": _mean_weight(S.softmax(dim=-1)),
        "your softmax is over the channels; it must be over the regions": _mean_weight(S.softmax(dim=2)),
        "this is a transposed grid: count the regions row by row": rearrange(truth, "b (n m) c -> b (m n) c", n=2),
        "the mean comes after the softmax, not before": _mean_weight(S).softmax(dim=1),
        "the sides are swapped: n counts regions from top to bottom, m from left to right": _mean_weight(
            (turned @ turned.mT / 15**0.5).softmax(dim=1)
        ),
        "Fᵀ F compares columns; use F Fᵀ for rows": _mean_weight((regions.mT @ regions / 10**0.5).softmax(dim=1)),
    }
    other = "compare with section 3, step by step: regions, products, scale, softmax over the regions, mean"
    return verdict(answer(F, 2, 3), truth, mistakes, other)


def _mean_weight(entries: Tensor) -> Tensor:
    return entries.mean(dim=(-2, -1))  # (b, regions, c, h, h) to (b, regions, c)
