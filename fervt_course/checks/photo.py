"""Checks of notebook 07: how many answers are left, another prior, how far an answer moved."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .verdict import verdict


def _answers(n: int, seed: int) -> Tensor:
    """Made-up probabilities of n faces `(n, 8)`."""
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(dim=1)


def effective_number(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 07, exercise 1. answer: probabilities `(n, 8)` to e to the entropy of each row, `(n,)`."""
    p = _answers(3, 0)
    p[0] = torch.eye(8)[2]  # sure
    entropy = torch.special.entr(p).sum(dim=1)
    mistakes = {
        "that is the entropy itself: raise e to it": entropy,
        "the minus sign of the entropy is missing": (-entropy).exp(),
        "entropy base 2 under e: take the natural logarithm, or raise 2 to it": (entropy / math.log(2)).exp(),
        "that is 1 / max p, which looks at the largest probability alone": 1 / p.amax(dim=1),
        "that is 1 / the sum of squares, another count of its own; here it is e to the entropy": 1 / p.square().sum(1),
    }
    return verdict(answer(p), entropy.exp(), mistakes, "a sure face has 1, a face with eight even answers 8")


def reweigh(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str:
    """Notebook 07, exercise 2. answer: probabilities `(n, 8)`, old and new prior `(8,)`, to probabilities `(n, 8)`."""
    p, (old, new) = _answers(3, 1), _answers(2, 2)
    odds, back = p * new / old, p * old / new
    mistakes = {
        "each row must add up to 1 again: divide by its sum": odds,
        "divide each row by its own sum; you divided over the faces": odds / odds.sum(dim=0),
        "that goes the other way: divide by the old prior, multiply by the new": back / back.sum(1, keepdim=True),
        "the old prior is still in it: divide by it": p * new / (p * new).sum(dim=1, keepdim=True),
        "the new prior is missing: multiply by it": p / old / (p / old).sum(dim=1, keepdim=True),
        "the answers are unchanged": p,
    }
    return verdict(
        answer(p, old, new), odds / odds.sum(dim=1, keepdim=True), mistakes, "p · new / old, then add up to 1"
    )


def moved(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Notebook 07, exercise 3. answer: two answers `(n, 8)` to half the sum of their differences, `(n,)`."""
    p, q = _answers(3, 3), _answers(3, 4)
    away = (p - q).abs()
    mistakes = {
        "take half of it: what one expression loses, another wins, and you count both": away.sum(dim=1),
        "that is a mean over the expressions; take half their sum": away.mean(dim=1),
        "gains and losses cancel: take the absolute differences": (p - q).sum(dim=1) / 2,
        "that is the largest difference alone; take half the sum of all": away.amax(dim=1),
        "that is the root of the sum of squares; here it is half the sum of absolute differences": away.norm(dim=1),
    }
    return verdict(answer(p, q), away.sum(dim=1) / 2, mistakes, "0 for the same answer, 1 for two sure and different")
