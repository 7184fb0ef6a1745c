"""Checks of notebook 07: how many answers are left, another prior, how steady an answer is."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .verdict import no, verdict


def _answers(n: int, seed: int) -> Tensor:
    """Made-up probabilities of n faces `(n, 8)`."""
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(dim=1)


def effective_number(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 07, exercise 1. answer takes probabilities `(n, 8)`; returns e to the entropy of each row, `(n,)`."""
    p = _answers(3, 0)
    p[0] = torch.eye(8)[2]  # sure
    entropy = torch.special.entr(p).sum(dim=1)
    mistakes = {
        "that is the entropy itself: raise e to that power": entropy,
        "the minus sign of the entropy is missing": (-entropy).exp(),
        "the entropy is in base 2: take the natural logarithm, or raise 2 to it": (entropy / math.log(2)).exp(),
        "the entropy is the sum over the expressions, not their mean": (entropy / 8).exp(),
        "the sum comes first, then the exponential": torch.special.entr(p).exp().sum(dim=1),
        "that is 1 / max p, which looks only at the largest probability": 1 / p.amax(dim=1),
        "that is 1 / the sum of squares, a different count; here we want e to the entropy": 1 / p.square().sum(1),
    }
    return verdict(answer(p.clone()), entropy.exp(), mistakes, "a sure answer gives 1, eight equal answers give 8")


def reweigh(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str:
    """Notebook 07, exercise 2. answer takes probabilities `(n, 8)`, old and new prior `(8,)`; returns `(n, 8)`."""
    p, (old, new) = _answers(3, 1), _answers(2, 2)
    odds, back = p * new / old, p * old / new
    mistakes = {
        "each row must add up to 1 again: divide by its sum": odds,
        "divide each row by its own sum; you summed over the faces": odds / odds.sum(dim=0),
        "divide each row by its own sum; you divided by the total": odds / odds.sum(),
        "that goes the other way: divide by the old prior, multiply by the new": back / back.sum(1, keepdim=True),
        "the old prior is still in it: divide by it": p * new / (p * new).sum(dim=1, keepdim=True),
        "the new prior is missing: multiply by it": p / old / (p / old).sum(dim=1, keepdim=True),
        "the answers are unchanged": p,
    }
    found = answer(p.clone(), old.clone(), new.clone())
    return verdict(found, odds / odds.sum(dim=1, keepdim=True), mistakes, "p · new / old, then make each row sum to 1")


def steadiness(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Notebook 07, exercise 3. answer takes answers before `(n, 8)` and after changes `(k, n, 8)`; returns `(n,)`."""
    n, k = 4, 5
    before, after = _answers(n, 3), _answers(k * n, 4).reshape(k, n, 8)
    kept = torch.arange(k)[:, None, None] < torch.tensor([1, 3, 4, 5])[:, None]  # how many changes barely move it
    after = torch.where(kept, (9 * before + after) / 10, after)
    stays = (after.argmax(dim=2) == before.argmax(dim=1)).float()  # (k, n)
    mean = after.mean(dim=0).argmax(dim=1) == before.argmax(dim=1)
    mistakes = {
        "that is the share of changes where the answer becomes another one: take 1 minus it": 1 - stays.mean(dim=0),
        "that is how many changes, not what share of them": stays.sum(dim=0),
        "that averages the probabilities first: look at the first answer after each change": mean.float(),
    }
    found = answer(before.clone(), after.clone())
    if not isinstance(found, str | None) and torch.as_tensor(found).shape == (k,):
        return no("you return one number for each change: average over the changes, for each face")
    return verdict(found, stays.mean(dim=0), mistakes, "1 if no change moves the first answer, 0 if all do")
