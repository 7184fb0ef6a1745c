"""Checks of notebook 04: clipping, averaging, the lowest loss."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fervt_lib.data import to_distribution

from .verdict import RIGHT, UNWRITTEN, no, verdict


def clip(answer: Callable[[list[nn.Parameter], float], None]) -> str:
    """Notebook 04, exercise 1. answer shortens the gradient of all parameters together, in place."""
    for size, limit in ((50.0, 1.0), (50.0, 2.0), (0.001, 1.0)):
        mine, theirs = ([nn.Parameter(torch.zeros(n)) for n in (3, 5)] for _ in range(2))
        for a, b, start in zip(mine, theirs, (1.0, 2.0), strict=True):
            a.grad, b.grad = (size * torch.arange(start, start + len(p)) for p in (a, b))
        before = [a.grad.clone() for a in mine]
        nn.utils.clip_grad_norm_(theirs, limit)
        if answer(mine, limit) is not None:
            return no("return nothing: change each p.grad in place, p.grad *= factor")
        if not all(torch.allclose(a.grad, b.grad, rtol=1e-4) for a, b in zip(mine, theirs, strict=True)):
            return _clip_mistake([a.grad for a in mine], before, size, limit)
    return RIGHT


def _clip_mistake(after: list[Tensor], before: list[Tensor], size: float, limit: float) -> str:
    if size < 1:
        return no("this gradient was short enough and must stay as it is")
    if all(torch.equal(a, b) for a, b in zip(after, before, strict=True)):
        return f"{UNWRITTEN}: the gradients are unchanged. Is the factor below 1 for a long gradient?"
    if all(abs(float(a.norm()) - limit) < 1e-3 for a in after):
        return no("you clipped each parameter by itself; measure the whole gradient")
    if all(torch.equal(a, b.clamp(-limit, limit)) for a, b in zip(after, before, strict=True)):
        return no("you clamped each entry, which turns the gradient; multiply all entries by one factor")
    length = float(torch.cat(after).norm())
    found = f"it is now too {'short' if length < limit else 'long'}, {length:.2f} instead of {limit:g}"
    if length < 0.999 * limit and abs(length - 1) < 1e-3:
        return no(f"{found}: use the limit you are given")
    return no(f"{found}: measure the whole gradient once, the root of the sum of squares, before you change any of it")


def share_of_first(answer: Callable[[float, int], float]) -> str:
    """Notebook 04, exercise 2. answer takes decay and number of updates; returns the first weights' share."""
    decay, n = 0.9, 5
    net = nn.Linear(1, 1, bias=False)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for step in range(n):
        net.weight.data.fill_(1.0 if step == 0 else 0.0)  # only the first weights are not 0
        average.update_parameters(net)
    mistakes = {
        "off by one: the first update copies, only the other n - 1 multiply by d": decay**n,
        "the first update copies, so it is not multiplied by 1 - d": (1 - decay) * decay ** (n - 1),
        "that is how much one new step counts; the question is about the first": 1 - decay,
        "that is a plain mean of n; this average forgets": 1 / n,
        "that is the share of all later weights together": 1 - decay ** (n - 1),
    }
    return verdict(answer(decay, n), float(average.module.weight.data), mistakes, "try n = 1 and n = 2 on paper")


def least_loss(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 04, exercise 3. answer takes votes `(n, 8)`; returns the lowest possible mean cross-entropy."""
    votes = torch.tensor([[10, 0, 0, 0, 0, 0, 0, 0], [4, 4, 0, 0, 0, 0, 0, 0], [3, 6, 1, 0, 0, 0, 0, 0]])
    target = to_distribution(votes)
    each = torch.special.entr(target).sum(dim=1)  # (n,)
    mistakes = {
        "that is the sum; the loss is the mean over the faces": each.sum(),
        "these are bits; the loss uses the natural logarithm": each.mean() / math.log(2),
        "that is the loss of the majority label alone; the target is the distribution": -target.amax(1).log().mean(),
        "that is a mean over faces and expressions: sum over the expressions": each.mean() / 8,
        "you divided by 10; a row's own sum turns it into a distribution": (
            torch.special.entr(votes / 10).sum(dim=1).mean()
        ),
        "that is the entropy of the mean distribution; take each face's own, then the mean": torch.special.entr(
            target.mean(dim=0)
        ).sum(),
        "the sign is reversed: an entropy is not negative": -each.mean(),
        "0 is the lowest loss for a hard label; votes that disagree leave some entropy": 0.0,
    }
    return verdict(answer(votes), each.mean(), mistakes, "it is the mean entropy of the votes")
