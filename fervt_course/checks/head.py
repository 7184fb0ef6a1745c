"""Checks of notebook 03: attention, class token, rollout."""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from fervt_lib.explain import rollout

from .verdict import RIGHT, UNWRITTEN, no, verdict


def row_entropy(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 03, exercise 1. answer takes weights `(b, heads, query, key)`; returns a row's mean entropy, in nats."""
    weights = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).mul(2).softmax(dim=-1)
    weights[0, 1, 2] = torch.eye(5)[3]  # a row that looks at only one key
    rows = torch.special.entr(weights).sum(dim=-1)  # (b, heads, query)
    mistakes = {
        "the minus sign is missing": -rows.mean(),
        "that is the logarithm in base 2: use ln": rows.mean() / math.log(2),
        "that is a mean over the keys: sum over the keys, mean over the rest": rows.mean() / 5,
        "the rows were added up: take the mean over batch, heads and queries": rows.sum(),
        "that is -ln of each row's largest weight; all keys count": -weights.amax(dim=-1).log().mean(),
        "the mean came first: take the entropy of each row, then the mean": torch.special.entr(
            weights.mean(dim=(0, 1, 2))
        ).sum(),
        "that is the entropy of equal weights, ln of the number of keys: these weights differ": math.log(5),
    }
    found = answer(weights)
    if isinstance(found, Tensor) and found.isnan().any():
        return no("it is not a number when a weight is 0: count 0 · log 0 as 0")
    return verdict(found, rows.mean(), mistakes, "four equal weights give ln 4 = 1.386, a single key gives 0")


def token_read(answer: Callable[[Callable[[Tensor], Tensor], Tensor], int]) -> str:
    """Notebook 03, exercise 2. answer takes a head and states `(b, tokens, dim)`; returns the token number it reads."""
    generator = torch.Generator().manual_seed(0)
    states, out = (torch.randn(*size, generator=generator) for size in ((2, 55, 192), (192, 8)))
    norm = nn.LayerNorm(192)
    for index in (0, 1, 17, 54):
        found = answer(lambda states, index=index: norm(states[:, index]) @ out, states.clone())
        if found is None:
            return f"{UNWRITTEN} (or it returned None, since it found no token)"
        if torch.as_tensor(found).numel() != 1:
            return no(f"return one number, the token that the head reads; you give {torch.as_tensor(found).numel()}")
        if int(found) != index:
            return no(_reading_mistake(int(found), index))
    return RIGHT


def _reading_mistake(found: int, index: int) -> str:
    mistake = f"this head reads token {index}, but you say that it reads token {found}"
    if found == 0:
        return f"{mistake}: do you return 0 whatever the head does? Change the tokens by more than a constant"
    if abs(found - index) == 1:
        return f"{mistake}, off by one: token 0 is the class token"
    return mistake


def class_row(answer: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> str:
    """Notebook 03, exercise 3. answer takes tokens `(b, t, dim)`, weight, bias and heads; returns `(b, heads, t)`."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*size, generator=generator) for size in ((2, 5, 12), (36, 12), (36,)))
    q, k, v = ((x @ weight.T + bias)[..., i : i + 12] for i in (0, 12, 24))
    q, k, v = (rearrange(part, "b t (heads d) -> b heads t d", heads=3) for part in (q, k, v))
    scores = q @ k.mT / 2  # (b, heads, query, key), d = 4
    weights = scores.softmax(dim=-1)
    mistakes = {
        "there is no scale: divide the scores by √d": (2 * scores).softmax(dim=-1)[:, :, 0],
        "you divided by √dim; divide by √d, with d = dim / heads, the size of a single head": (
            2 * scores / 12**0.5
        ).softmax(dim=-1)[:, :, 0],
        "your softmax is over the queries: a row must sum to 1 over its keys": scores.softmax(dim=2)[:, :, 0],
        "you divided by d; divide by √d": (scores / 2).softmax(dim=-1)[:, :, 0],
        "the bias is missing": _row(x, weight, 0 * bias, "(three heads d)"),
        "this is the row of token 1, off by one: the class token is token 0": weights[:, :, 1],
        "this is how much each token attends to the class token: the column, not the row": weights[..., 0],
        "the heads are interleaved: a head's numbers lie side by side, (heads d)": _row(
            x, weight, bias, "(three d heads)"
        ),
        "query and key are exchanged: weight holds q, k, v in this order": (k @ q.mT / 2).softmax(dim=-1)[:, :, 0],
        "the 3 · dim numbers split into q, k, v first, not into heads": _row(x, weight, bias, "(heads three d)"),
        "key and value are mixed up: weight holds q, k, v in this order": (q @ v.mT / 2).softmax(-1)[:, :, 0],
    }
    found = answer(x, weight, bias, 3)
    if isinstance(found, Tensor) and found.shape == (2, 3, 4):
        return no("a key is missing: was the class token dropped? It attends to itself too")
    return verdict(found, weights[:, :, 0], mistakes, "compare with section 5, step by step")


def _row(x: Tensor, weight: Tensor, bias: Tensor, split: str) -> Tensor:
    q, k, _ = rearrange(x @ weight.T + bias, f"b t {split} -> three b heads t d", three=3, heads=3)
    return (q @ k.mT / 2).softmax(dim=-1)[:, :, 0]


def telling_attention(answer: Callable[[], list[Tensor]]) -> str:
    """Notebook 03, exercise 4. answer takes nothing; returns two attention layers `(1, 1, 3, 3)`, rows summing to 1."""
    attention = answer()
    if attention is None:
        return UNWRITTEN
    attention = [torch.as_tensor(layer, dtype=torch.float32) for layer in attention]
    if [tuple(a.shape) for a in attention] != [(1, 1, 3, 3)] * 2:
        return no("return two layers of shape (1, 1, 3, 3)")
    if any((a < 0).any() or (a.sum(dim=-1) - 1).abs().max() > 1e-5 for a in attention):
        return no("weights must not be negative, and rows must sum to 1: is it a transposed matrix?")
    right, wrong = (rollout(layers)[0, 1] for layers in (attention, attention[::-1]))  # what token 2 gets
    if right < 0.2:
        swapped = ": are the layers swapped?" if wrong >= 0.2 else ""
        return no(f"the right rollout gives token 2 only {float(right):.2f}{swapped}")
    return RIGHT if wrong == 0 else no(f"the wrong order gives token 2 {float(wrong):.2f}: does token 0 look at it?")
