"""The sentences that checks return, and how they match a wrong answer to a known mistake."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import torch
from torch import Tensor

from fervt_course.exercises import remember

RIGHT, UNWRITTEN = "right", "not written yet"


def no(mistake: str) -> str:
    return f"no: {mistake}"


def kind(check: Callable) -> Callable:
    """Wrap a check so that an unreadable return value and shapes that do not match get a sentence, too.

    Errors in the reader's own code are raised, with a traceback that starts at the reader's own line.
    """

    @wraps(check)
    def checked(answer: Callable) -> str:
        if not callable(answer):
            return no("pass the function itself: its name, without parentheses")
        try:
            says = check(answer)
        except Exception as error:
            place = error.__traceback__
            while place and Path(place.tb_frame.f_code.co_filename).parent == Path(__file__).parent:
                place = place.tb_next
            if place is None or "site-packages" in place.tb_frame.f_code.co_filename:
                return no(f"this check cannot read what you return ({type(error).__name__}: {error})")
            if isinstance(error, RuntimeError) and "must match" in str(error):
                return no("the shapes do not match: a sum over an axis drops it; keepdim=True keeps it with length 1")
            raise error.with_traceback(place) from None
        if says == RIGHT:
            remember(check.__name__, answer)
        return says

    return checked


def verdict(
    found: Tensor | float | None, truth: Tensor | float, mistakes: dict[str, Tensor | float], other: str
) -> str:
    """The sentence for an answer that is a number or a tensor.

    Args:
        found: what the answer returned.
        truth: what it should return.
        mistakes: what known mistakes return, keyed by the sentence that names them; the first match wins.
        other: the sentence for any other wrong answer.
    """
    if found is None:
        return UNWRITTEN
    if isinstance(found, list | tuple):
        found = torch.stack([torch.as_tensor(part, dtype=torch.float64) for part in found])
    found, truth = (torch.as_tensor(value, dtype=torch.float64) for value in (found, truth))
    if found.shape != truth.shape:
        return no(f"the shape is {tuple(found.shape)}, not {tuple(truth.shape)}")
    if _close(found, truth):
        return RIGHT
    for mistake, value in mistakes.items():
        if _close(found, torch.as_tensor(value, dtype=torch.float64)):
            return no(mistake)
    return no("it is NaN, not a number: is there a 0 · log 0 or 0 / 0?" if found.isnan().any() else other)


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)
