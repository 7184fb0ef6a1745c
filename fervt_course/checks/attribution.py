"""Checks of notebooks 05 and A2: Grad-CAM, signs, paths; baselines and the second choice."""

from collections.abc import Callable

import torch
from torch import Tensor

from .verdict import verdict


def grad_cam(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Notebook 05, exercise 2. answer takes maps and slopes, both `(b, c, h, w)`, and returns heat `(b, h, w)`."""
    generator = torch.Generator().manual_seed(0)
    maps, slopes = torch.rand(2, 3, 4, 4, generator=generator), torch.randn(2, 3, 4, 4, generator=generator)
    weights = slopes.mean(dim=(2, 3), keepdim=True)  # (b, c, 1, 1)
    weighted = weights * maps  # (b, c, h, w)
    signed = weighted.sum(dim=1)
    mistakes = {
        "there is no ReLU: a cell that speaks against the class must count as 0": signed,
        "the ReLU comes after the sum: channels that speak against the class count, too": weighted.relu().sum(dim=1),
        "the channels are not weighted: the slopes say which of them speak for the class": maps.sum(dim=1),
        "every cell kept its own slope: each channel gets one weight, the mean over its cells": (slopes * maps)
        .sum(1)
        .relu(),
        "you have averaged over the channels: average the slopes over the cells": (slopes.mean(1) * maps.sum(1)).relu(),
        "you averaged over the faces too: each face has its own mean slopes": (weights.mean(0) * maps).sum(1).relu(),
        "the channels must be added up, not averaged": signed.relu() / 3,
        "the slopes must be averaged over the cells, not added up": signed.relu() * 16,
    }
    other = "compare with the numbers on paper: one weight per channel, weighted sum over the channels, ReLU"
    return verdict(answer(maps, slopes), signed.relu(), mistakes, other)


def negative_share(answer: Callable[[Tensor], float]) -> str:
    """Notebook 05, exercise 3. answer takes heat `(n, h, w)` of both signs; returns the negative share of |heat|."""
    heat = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.2
    against, whole = -heat.clamp(max=0), heat.abs()
    share = against.sum() / whole.sum()
    mistakes = {
        "that is the share of the positive part": 1 - share,
        "a share is not negative: take the absolute value of the negative part": -share,
        "that counts pixels; add up their heat": (heat < 0).float().mean(),
        "you divided by the positive part; divide by all of the |heat|": share / (1 - share),
        "you divided by the sum, in which the signs cancel; divide by the sum of |heat|": against.sum() / heat.sum(),
        "that is the negative heat itself; divide it by all of the |heat|": against.sum(),
        "that is the mean of each face's share; here, pool the |heat| of all faces": (
            against.sum(dim=(1, 2)) / whole.sum(dim=(1, 2))
        ).mean(),
    }
    return verdict(answer(heat), share, mistakes, "the negative heat, over all of the |heat|")


def dark_share(answer: Callable[[Tensor, Tensor], float]) -> str:
    """Notebook A2, exercise 2. answer takes heat and light, `(n, h, w)`; returns |heat|'s mean share on dark pixels."""
    generator = torch.Generator().manual_seed(0)
    heat, light = torch.randn(2, 5, 6, generator=generator), torch.rand(2, 5, 6, generator=generator)
    light[1] += 0.3  # the second face is brighter
    size, dark = heat.abs(), light <= light.flatten(1).quantile(0.2, dim=1)[:, None, None]
    share = (size * dark).sum(dim=(1, 2)) / size.sum(dim=(1, 2))  # (n,)
    bright = light >= light.flatten(1).quantile(0.8, dim=1)[:, None, None]
    mistakes = {
        "take the absolute value first; otherwise the signs cancel": (
            (heat * dark).sum(dim=(1, 2)) / heat.sum(dim=(1, 2))
        ).mean(),
        "that is about how many pixels are dark; add up their |heat| instead": dark.float().mean(),
        "these are the brightest pixels": ((size * bright).sum(dim=(1, 2)) / size.sum(dim=(1, 2))).mean(),
        "you use one threshold for all faces; each face has its own darkest fifth": (
            (size * (light <= light.quantile(0.2))).sum(dim=(1, 2)) / size.sum(dim=(1, 2))
        ).mean(),
        "the faces are thrown together: take each face's share, then the mean": (size * dark).sum() / size.sum(),
        "that is the mean |heat| of a dark pixel; divide their sum by the face's total": size[dark].mean(),
        "these are the shares of all faces added up; take their mean": share.sum(),
    }
    return verdict(
        answer(heat, light),
        share.mean(),
        mistakes,
        "find the darkest fifth of each face, and add up |heat| there",
    )


def runner_up(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook A2, exercise 1. answer takes logits `(b, classes)` and returns each face's second choice, `(b,)`."""
    logits = torch.tensor([[0.1, 2.0, 5.0, -1.0], [3.0, -2.0, 1.5, 2.5], [-4.0, -1.0, -3.0, -2.0]])
    ranks = logits.argsort(dim=1, descending=True)  # (b, classes)
    mistakes = {
        "that is the first choice": ranks[:, 0],
        "that is the third choice: indices count from 0": ranks[:, 2],
        "that is the least likely class": ranks[:, -1],
        "these are the logits; return their classes": logits.gather(1, ranks[:, 1:2])[:, 0],
        "that is the rank of class 1, not the class of rank 1": ranks.argsort(dim=1)[:, 1],
    }
    return verdict(answer(logits), ranks[:, 1], mistakes, "sort the classes of each face by their logits")


def staircase(answer: Callable[[Callable[[Tensor], Tensor], Tensor, Tensor, int], Tensor]) -> str:
    """Notebook 05, exercise 1. answer takes f, `(b, n)` to `(b,)`, x, baseline `(1, n)`, steps; returns `(1, n)`."""
    x, baseline, steps = torch.tensor([[1.5, -1.0, 2.0]]), torch.tensor([[0.5, 1.0, -1.0]]), 4
    zero, way = torch.zeros_like(x), x - baseline
    straight = (torch.arange(steps) + 0.5)[:, None] / steps
    mean = _leg_slopes(x, baseline, steps)  # (1, n)
    mistakes = {
        "multiply each mean slope by how far its input walks, x − x′": mean,
        "the sign is turned round: x − x′, not x′ − x": -way * mean,
        "the slopes were added up: take their mean over the steps": steps * way * mean,
        "this path starts at 0, not at the baseline": x * _leg_slopes(x, zero, steps),
        "the path is right, but x alone is not how far an input walks: multiply by x − x′": x * mean,
        "these are the slopes at x alone: walk the path": way * _slopes(x),
        "all inputs walked at once: that is the straight line of section 2": way
        * _slopes(baseline + straight * way).mean(dim=0),
        "these are the left ends of the steps: take their midpoints": way * _leg_slopes(x, baseline, steps, at=0.0),
        "these are the right ends of the steps: take their midpoints": way * _leg_slopes(x, baseline, steps, at=1.0),
        "the last input walked first": way * _leg_slopes(x, baseline, steps, backwards=True),
        "each input walked alone: those that have arrived stay at x": way
        * _leg_slopes(x, baseline, steps, done=baseline),
        "the inputs that wait must stay at the baseline, not at x": way * _leg_slopes(x, baseline, steps, waiting=x),
    }
    other = "try f = z₁ · z₂ from (0, 0) to (3, 2): the shares are 0 and 6"
    return verdict(answer(_bent, x, baseline, steps), way * mean, mistakes, other)


def _bent(z: Tensor) -> Tensor:
    """`(b, 3) -> (b,)`; its slope along each input is a straight line, so the steps' midpoints are exact."""
    return z[:, 0] ** 2 * z[:, 1] + z[:, 1] * z[:, 2] ** 2 - 2 * z[:, 0] * z[:, 1] ** 2 * z[:, 2]


def _slopes(points: Tensor) -> Tensor:
    points = points.detach().requires_grad_()
    return torch.autograd.grad(_bent(points).sum(), points)[0]


def _leg_slopes(
    x: Tensor,
    baseline: Tensor,
    steps: int,
    at: float = 0.5,
    backwards: bool = False,
    done: Tensor | None = None,
    waiting: Tensor | None = None,
) -> Tensor:
    """Mean slope `(1, n)` of each input while it walks alone from baseline to x, one after the other."""
    done, waiting = x if done is None else done, baseline if waiting is None else waiting
    before, after = (waiting, done) if backwards else (done, waiting)
    means = torch.zeros_like(x)
    for i in range(x.shape[1]):
        points = torch.cat([before[:, :i], after[:, i:]], dim=1).repeat(steps, 1)  # (steps, n)
        points[:, i] = baseline[0, i] + (torch.arange(steps) + at) / steps * (x - baseline)[0, i]
        means[0, i] = _slopes(points)[:, i].mean()
    return means
