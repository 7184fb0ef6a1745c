"""What every check says, and how it tells which of the known mistakes an answer is."""

from collections.abc import Callable

import torch
from torch import Tensor

RIGHT, UNWRITTEN = "right", "not written yet"


def no(mistake: str) -> str:
    return f"no: {mistake}"


def attempt(answer: Callable, *given: Tensor) -> Tensor | float | str | None:
    """What an answer gives, or the sentence about shapes that do not fit: an error with a traceback teaches less."""
    try:
        return answer(*given)
    except RuntimeError as error:
        if "must match" not in str(error):
            raise
        return no("the shapes do not fit: a sum over an axis drops it; keepdim=True keeps it, with length 1")


def verdict(
    found: Tensor | float | str | None, truth: Tensor | float, mistakes: dict[str, Tensor | float], other: str
) -> str:
    """The sentence for an answer that is a number or a tensor.

    Args:
        found: what the answer gave, or a sentence about it.
        truth: what it should give.
        mistakes: what known mistakes give, by the sentence that names them; the first that fits is the answer.
        other: the sentence for any other wrong answer.
    """
    if found is None:
        return UNWRITTEN
    if isinstance(found, str):
        return found
    found, truth = (torch.as_tensor(value, dtype=torch.float64) for value in (found, truth))
    if found.shape != truth.shape:
        return no(f"the shape is {tuple(found.shape)}, not {tuple(truth.shape)}")
    if _close(found, truth):
        return RIGHT
    for mistake, value in mistakes.items():
        if _close(found, torch.as_tensor(value, dtype=torch.float64)):
            return no(mistake)
    return no("it is not a number: is there a 0 · log 0 or a 0 / 0?" if found.isnan().any() else other)


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)
