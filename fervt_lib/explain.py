"""What a prediction relies on: attention laid over the face, and scores for any heat map."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .disk import FervtError, check_number


def _check(name: str, tensor: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype | None = None) -> None:
    """Raise FervtError unless a tensor holds finite numbers in this shape (None: any length) and dtype, if given."""
    if not isinstance(tensor, Tensor):
        raise FervtError(f"{name} is {type(tensor).__name__}: give a torch tensor")
    fits = tensor.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
    if not fits or dtype not in (None, tensor.dtype) or not tensor.isfinite().all():
        kind = "truth values" if dtype == torch.bool else "finite numbers"
        wanted = f"{kind} in ({', '.join('any' if n is None else str(n) for n in shape)})"
        raise FervtError(f"{name} {tuple(tensor.shape)}, {tensor.dtype}: give {wanted}{f', {dtype}' if dtype else ''}")


@contextmanager
def _evaluating(model: Callable) -> Iterator[None]:
    """Run the model in eval mode without gradients, then restore the mode of each of its modules."""
    owner = getattr(model, "__self__", model)  # for a bound method, such as model.forward
    modes = {module: module.training for module in (owner.modules() if isinstance(owner, nn.Module) else ())}
    for module in modes:
        module.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def rollout(attention: list[Tensor]) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020): how much of each input token reaches the class token.

    For each layer, we average the heads, add the identity for the residual path, and normalize the rows. Then we
    multiply the layers' matrices, last layer on the left.

    Args:
        attention: per layer `(b, heads, 1 + t, 1 + t)`.

    Returns:
        `(b, t)`, non-negative, without the class token's own share.
    """
    if not isinstance(attention, list | tuple) or not attention or attention[0].ndim != 4:
        raise FervtError("attention must be a list of (b, heads, 1 + t, 1 + t), one per layer: `trace.attention`")
    total, (b, _, t) = None, attention[0].shape[:3]
    for weights in attention:
        _check("attention", weights, (b, None, t, t))
        mixed = weights.float().mean(dim=1)  # (b, 1 + t, 1 + t)
        mixed = (mixed + torch.eye(mixed.shape[-1], device=mixed.device)) / 2
        total = mixed if total is None else mixed @ total
    return total[:, 0, 1:]


def relevance(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Transformer relevance (Chefer et al. 2021): attention counts to the extent that it supports the class.

    For each layer, we multiply the attention weights by the gradient of the class logit with respect to them, set
    negative products to 0, and average the heads. We add the identity for the residual path and multiply the layers'
    matrices, last layer on the left.

    Args:
        model: a `FERVT`, in eval mode. x: faces `(b, 3, h, w)`. target: the class of each, `(b,)` int64.

    Returns:
        `(b, t)`, non-negative: the relevance of each input token, without the class token's own.
    """
    trace = model.trace(x.detach().clone().requires_grad_())
    slopes = torch.autograd.grad(trace.logits.gather(1, target[:, None]).sum(), trace.attention)
    total = torch.eye(slopes[0].shape[-1]).to(slopes[0]).expand(len(x), -1, -1)
    for weights, slope in zip(trace.attention, slopes, strict=True):  # (b, heads, 1 + t, 1 + t)
        total = total + (weights.detach() * slope).clamp(min=0).mean(dim=1) @ total
    return total[:, 0, 1:]


def token_heat(weights: Tensor, cells: tuple[int, ...], side: int) -> Tensor:
    """Lay the weights of spatial tokens `(t,)` over the face as a map `(side, side)` with the same sum.

    We spread each token's weight evenly over its cell, then add the maps of all levels.

    Args:
        cells: number of tokens per level, each a perfect square: `model.tokens.cells`.
    """
    _check("weights", weights, (sum(cells),))
    heat = torch.zeros(side, side)
    for level in weights.detach().float().cpu().split(list(cells)):
        n = round(len(level) ** 0.5)
        grid = level.reshape(1, 1, n, n) * n * n / side**2
        heat += F.interpolate(grid, size=(side, side), mode="nearest")[0, 0]
    return heat


def pointing_game(heat: Tensor, mask: Tensor) -> bool:
    """Whether the hottest pixel of `heat` `(h, w)` lies inside `mask` `(h, w)` (Zhang et al. 2016)."""
    _check("heat", heat, (None, None))
    _check("mask", mask, heat.shape, torch.bool)
    return bool(mask.flatten()[heat.flatten().argmax()])


def mass_inside(heat: Tensor, mask: Tensor) -> float:
    """Share of the positive heat that lies inside the mask, 0 to 1; 0 where no heat is positive."""
    _check("heat", heat, (None, None))
    _check("mask", mask, heat.shape, torch.bool)
    positive = heat.clamp(min=0)
    return float(positive[mask].sum() / positive.sum().clamp(min=1e-12))


def deletion_curve(
    model: nn.Module, x: Tensor, heat: Tensor, target: int, steps: int = 12, fill: Tensor | None = None
) -> Tensor:
    """Probability of `target` while the hottest pixels are replaced, more at each step (Petsiuk et al. 2018).

    Args:
        model: logits of `(b, 3, h, w)`. x: one face `(3, h, w)`. heat: `(h, w)`; equally hot pixels go in pixel order.
        fill: what replaces a pixel, `(3, h, w)` or a shape that broadcasts to it; None is the face's mean color.

    Returns:
        `(steps + 1,)`: from nothing deleted to everything. With a good explanation, it falls early.
    """
    return _curve(model, x, heat, target, steps, fill, deletes=True)


def insertion_curve(
    model: nn.Module, x: Tensor, heat: Tensor, target: int, steps: int = 12, fill: Tensor | None = None
) -> Tensor:
    """Probability of `target` while the hottest pixels are put back into an empty picture: the reverse of deletion.

    Args: as for `deletion_curve`; `fill` is the empty picture.

    Returns:
        `(steps + 1,)`: from nothing put back to the whole face. With a good explanation, it rises early.
    """
    return _curve(model, x, heat, target, steps, fill, deletes=False)


def _curve(
    model: nn.Module, x: Tensor, heat: Tensor, target: int, steps: int, fill: Tensor | None, *, deletes: bool
) -> Tensor:
    """Probabilities `(steps + 1,)` for mixtures of face and fill, in which the hottest pixels change first."""
    _check("heat", heat, (None, None))
    _check("x, one face,", x, (None, *heat.shape))
    steps, target = operator.index(steps), operator.index(target)
    check_number("steps", steps, 1, heat.numel())
    if not x.is_floating_point():
        raise FervtError(f"x, one face, is {x.dtype}: give floats from 0 to 1")
    try:
        filled = (x.mean(dim=(1, 2), keepdim=True) if fill is None else fill).expand_as(x)
    except (AttributeError, RuntimeError) as error:
        raise FervtError(f"fill: give a tensor that fits {tuple(x.shape)} ({error})") from error
    _check("fill", filled, x.shape)
    hot, cold = (filled, x) if deletes else (x, filled)
    order = heat.flatten().argsort(descending=True, stable=True)
    rank = order.argsort().reshape(heat.shape)  # 0 is the hottest pixel
    count = torch.arange(steps + 1, device=heat.device) * heat.numel() / steps
    taken = rank < count[:, None, None]  # (steps + 1, h, w)
    with _evaluating(model):
        probabilities = model(torch.where(taken[:, None], hot, cold)).softmax(dim=1)
    check_number("target", target, 0, probabilities.shape[1] - 1)
    return probabilities[:, target]
