"""Every exercise check accepts the right answer and names the mistake in each wrong one."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from einops import rearrange
from numpy import s_
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from fervt_course import checks
from fervt_lib.data import EXPRESSIONS, FER2013_CODES, RAFDB_CODES, to_distribution

RAFDB = torch.tensor([2, 6, 5, 1, 3, 4, 0])
FER2013 = torch.tensor([EXPRESSIONS.index(name) for name in FER2013_CODES])
NUMBERS = torch.arange(16.0).reshape(1, 16, 1)


def rank(who):
    return who.unique(return_inverse=True)[1]


def recalls(labels, answers, classes=None, by="labels", least=1, missed=True, mean=lambda x: sum(x) / len(x)):
    found = []
    for k in labels.unique().tolist() if classes is None else classes:
        right = ((labels == k) & (answers == k)).sum()
        sizes = {"labels": (labels == k).sum(), "answers": (answers == k).sum()}
        size = sizes[by] if by in sizes else sum(sizes.values()) / 2  # hits over the mean of both give F1
        found.append(right / size.clamp(min=least))
    return mean([share for share in found if missed or share > 0])


def by_loops(F, n, m):
    h, w = F.shape[2] // n, F.shape[3] // m
    regions = [F[:, :, i * h : (i + 1) * h, j * w : (j + 1) * w] for i in range(n) for j in range(m)]
    entries = torch.stack([r @ r.mT / math.sqrt(w) for r in regions])  # (G, b, c, h, h)
    return (entries.exp() / entries.exp().sum(dim=0)).mean(dim=(-2, -1)).transpose(0, 1)


def einsum_weights(F, n, m):
    b, c, height, width = F.shape
    regions = F.reshape(b, c, n, height // n, m, width // m).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    S = torch.einsum("bgciw,bgcjw->bgcij", regions, regions) * (width // m) ** -0.5
    return torch.softmax(S, dim=1).flatten(3).mean(dim=3)


def swapped(x, i):
    other = x.clone()
    other[:, i] = x[:, (i + 1) % 55]
    return other


def row_by_loops(x, weight, bias, heads):
    q, k, _ = (x @ weight.T + bias).chunk(3, dim=-1)
    d = q.shape[-1] // heads
    parts = [slice(h * d, (h + 1) * d) for h in range(heads)]
    return torch.stack([(q[:, :1, p] @ k[..., p].mT)[:, 0].div(d**0.5).softmax(dim=-1) for p in parts], dim=1)


def clipped_in_parts(parameters, limit):
    length = torch.stack([p.grad.square().sum() for p in parameters]).sum().sqrt()
    if length > limit:
        for p in parameters:
            p.grad = p.grad * limit / length


def clipped_as_a_vector(parameters, limit):
    flat = torch.cat([p.grad for p in parameters])
    flat = flat / max(1.0, float(torch.linalg.vector_norm(flat)) / limit)
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(part)


def part_of_dark(heat, light):
    dark = light <= torch.quantile(light, 0.2)
    return float(heat[dark].abs().sum() / heat.abs().sum())


def telescoped(f, x, baseline, steps):
    corners = [torch.cat([x[:, :i], baseline[:, i:]], dim=1) for i in range(x.shape[1] + 1)]
    values = f(torch.cat(corners))
    return (values[1:] - values[:-1])[None]


def grid_weights(F, n, m, scale=10, axis=1, cut="b c (n h) (m w) -> b (n m) c h w", early=False):
    regions = rearrange(F, cut, n=n, m=m)
    S = regions @ regions.mT / scale**0.5
    return S.mean(dim=(-2, -1)).softmax(dim=1) if early else S.softmax(dim=axis).mean(dim=(-2, -1))


def mark(row, column):
    return torch.zeros(48, 48).index_put((torch.tensor(row), torch.tensor(column)), torch.tensor(0.01))


def stays(before, after):
    return (after.argmax(dim=2) == before.argmax(dim=1)).float()  # (k, n)


def reweighed(p, old, new):
    odds = p * new / old  # (n, 8)
    return odds / odds.sum(dim=1, keepdim=True)


def entropy(weights):
    return torch.special.entr(weights).sum(dim=-1)


def reader(head, states, shift=0):
    states = states.clone().requires_grad_()
    head(states).square().sum().backward()
    return int(states.grad.abs().sum(dim=(0, 2)).argmax()) + shift


def every(head, states):
    return torch.stack([(head(swapped(states, i)) - head(states)).abs().sum() for i in range(55)])


def looks(*layers):  # a layer's attention: the one token that each of the three looks at
    return [torch.eye(3)[list(tokens)][None, None] for tokens in layers]


def class_row(x, weight, bias, heads, scale=4, axis=-1, at=s_[:, :, 0], split="(three heads d)", order=(0, 1, 2)):
    qkv = rearrange(x @ weight.T + bias, f"b t {split} -> three b heads t d", three=3, heads=heads)
    q, k, _ = (qkv[i] for i in order)
    return (q @ k.mT / scale**0.5).softmax(dim=axis)[at]


def scaled(parameters, limit, measure=lambda grads: torch.cat(grads).norm(), always=False):
    factor = limit / float(measure([p.grad for p in parameters]))
    for p in parameters:
        p.grad *= factor if always else min(1.0, factor)


def cam(maps, slopes, over=(2, 3), weights=None, after=Tensor.relu):
    weights = slopes.mean(dim=over, keepdim=True) if weights is None else weights
    return after((weights * maps).sum(dim=1))


def against(heat):
    return -heat.clamp(max=0).sum()


def each_share(heat):
    return -heat.clamp(max=0).sum(dim=(1, 2)) / heat.abs().sum(dim=(1, 2))


def dark_share(heat, light, end=0.2, size=Tensor.abs, count=None, level=None):
    count = count or (lambda dark, every: (dark.sum(dim=(1, 2)) / every.sum(dim=(1, 2))).mean())
    level = light.flatten(1).quantile(end, dim=1)[:, None, None] if level is None else level
    return count(size(heat) * (light <= level if end < 0.5 else light >= level), size(heat))


def walk(f, x, baseline, steps, at=0.5, order=(0, 1, 2), stay=True, wait=None, far=None):
    shares, now = torch.zeros_like(x), (baseline if wait is None else wait).clone()
    for i in order:
        points = now.repeat(steps, 1)
        points[:, i] = baseline[0, i] + (torch.arange(steps) + at) / steps * (x - baseline)[0, i]
        slopes = torch.autograd.grad(f(points.requires_grad_()).sum(), points)[0][:, i]
        shares[0, i] = slopes.mean() * (x - baseline if far is None else far)[0, i]
        now[0, i] = x[0, i] if stay else now[0, i]
    return shares


def straight(f, x, baseline, steps, at=None):
    at = (torch.arange(steps)[:, None] + 0.5) / steps if at is None else at
    points = (baseline + at * (x - baseline)).requires_grad_()
    return (x - baseline) * torch.autograd.grad(f(points).sum(), points)[0].mean(dim=0)


def in_place(make, weights=NUMBERS, agree=torch.eq):
    right = rearrange(weights[..., None, None].expand(1, 16, 1, 12, 12), "b (n m) c h w -> b c (n h) (m w)", n=4)
    return agree(make(weights), right).float().mean()


def differ(loaded, module, same=torch.equal):
    return [name for name, t in module.state_dict().items() if not same(loaded[name], t)]


def no_gradient(model, x, clear=True, gone=lambda g: g is None):
    if clear:
        model.zero_grad()
    model(x).sum().backward()
    return [name for name, p in model.named_parameters() if gone(p.grad)]


def by_rows(confusion, counts, same=torch.equal):
    return next((name for name, true in counts.items() if same(confusion.sum(dim=1), true)), "neither")


def seen(asked, among):
    return torch.isin(asked, among).float().mean()


# The answers to each exercise: the right one, and wrong ones keyed by what the check must say about them. A number
# multiplies the right answer, a dict sets its options, and a function is an answer of its own. "right" followed by
# blanks is also right, in another form.
CASES = {
    checks.rafdb_labels: (
        {"right": lambda codes, table=RAFDB, first=1: table[codes - first], "next code": {"table": RAFDB.roll(-1)}},
        {"own numbers": lambda codes: codes - 1, "FER2013's order": {"table": FER2013}, "past the end": {"first": 0}},
        {"name by name": {"table": RAFDB % 6}, "as they came": lambda codes: codes},
    ),
    checks.accuracy_between: (
        {"right": lambda m, a: (a * 3546 - m * 3153) / 393, "mean of the two": lambda m, a: (m + a) / 2},
        {"in between by": lambda m, a: m * a, "same size": lambda m, a: 2 * a - m, "all argmax faces": lambda m, a: a},
        {"divide by how many": 393, "sign is reversed": -1, "in percent": 100},
    ),
    checks.balanced_accuracy: (
        {"right": recalls, "plain accuracy": lambda y, a: (y == a).float().mean(), "that counts": {"missed": False}},
        {"leave it out; do not": {"classes": range(8)}, "0 / 0": {"classes": range(8), "least": 0}},
        {"is precision;": {"by": "answers"}, "exchanged": lambda y, a: recalls(a, y), "macro-F1": {"by": "both"}},
        {"yes-or-no": lambda y, a: torch.stack([((y == k) == (a == k)).double().mean() for k in y.unique()]).mean()},
        {"the shape is (8,)": lambda y, a: torch.ones(8), "sum of the recalls": lambda y, a: recalls(y, a, mean=sum)},
        {"by its faces": lambda y, a: recalls(y, a).sqrt(), "missed faces": lambda y, a: 1 - recalls(y, a)},
        {"in percent": 100},
    ),
    checks.folds: (
        {"right": lambda who: rank(who) % 10, "blocks": lambda who: rank(who) * 10 // (rank(who).max() + 1)},
        {"Deal subjects": lambda who: torch.arange(len(who)) % 10, "count from 1": lambda who: (rank(who) + 1) % 10},
        {"ascending": lambda who: rank(-who) % 10, "a fold is empty": lambda who: who % 10, "ten folds": rank},
    ),
    checks.constant_weight: (
        {"right": lambda h: 1 / h, "never looks": lambda h: 1 / (48 // h) ** 2, "over its h entries": lambda h: 1.0},
        {"all entries": lambda h: 1 / h**2, "depends on h": lambda h: 1 / 12, "what do the h entries": 2},
    ),
    checks.layout: (
        {"right": lambda b, s, to="b c n h m w": rearrange(b, f"b n m c h w -> {to}").reshape(2, -1, s, s)},
        {"the shape is": lambda b, s: b.permute(0, 3, 1, 4, 2, 5), "after its pixel axis": {"to": "b c n h w m"}},
        {"channels come second": {"to": "b n h m w c"}, "inside a region": {"to": "b c n w m h"}},
        {"transposed grid": {"to": "b c m h n w"}, "both grid axes": {"to": "b c n m h w"}},
        {"cycle through": {"to": "b c h n m w"}},
    ),
    checks.tiles: (
        {"right": lambda p: p.repeat(1, 4, 4)[None], "begin with the patch": lambda p: p.flip(1).repeat(1, 4, 4)[None]},
        {"the same patch": lambda p: torch.cat([p.repeat(1, 4, 4)[:, :36], 0 * p.repeat(1, 1, 4)], dim=1)[None]},
        {"enlarged": lambda p: p.repeat_interleave(4, 1).repeat_interleave(4, 2)[None]},
        {
            "(1, 3, 48, 48)": lambda p: p.repeat(1, 4, 4),
            "same patch?": lambda p: p.repeat(1, 4, 4)[None] + mark(47, 47),
        },
    ),
    checks.rectangular_weights: (
        {"right": grid_weights, "transposed grid": {"cut": "b c (n h) (m w) -> b (m n) c h w"}, "√h": {"scale": 12}},
        {"step by step": {"cut": "b c (h n) (w m) -> b (n m) c h w"}, "over the channels": {"axis": 2}},
        {"the shape is": lambda *a: grid_weights(*a).mean(dim=-1), "Fᵀ F": {"cut": "b c (n h) (m w) -> b (n m) c w h"}},
        {"divided by w": {"scale": 100}, "not before": {"early": True}, "softmax axis": {"axis": -1}},
        {"no scale": {"scale": 1}},
    ),
    checks.row_entropy: (
        {"right": lambda w: entropy(w).mean(), "not a number": lambda w: -(w * w.log()).sum(dim=-1).mean()},
        {"sum over the keys": 1 / 5, "the shape is": entropy, "were added up": 24, "base 2": 1.442695},
        {"minus sign": -1},
    ),
    checks.token_read: (
        {"right": reader, "token 52": lambda *a: 52 - reader(*a), "off by one": {"shift": 1}, "you give 55": every},
        {"reads token 3": lambda *a: 3},
        # adds a constant, which the head's LayerNorm removes again
        {"whatever": lambda h, x: max(range(55), key=lambda i: (h(x + torch.eye(55)[i][:, None]) - h(x)).norm() > 1)},
    ),
    checks.telling_attention: (
        {"right": lambda: looks((0, 2, 2), (1, 1, 2)), "token 0 look": lambda: [torch.full((1, 1, 3, 3), 1 / 3)] * 2},
        {"transposed matrix": lambda: [a.mT for a in looks((0, 2, 2), (1, 1, 2))]},
        {"layers swapped": lambda: looks((1, 1, 2), (0, 2, 2)), "only 0.00": lambda: looks((0, 1, 2)) * 2},
        {"(1, 1, 3, 3)": lambda: looks((0, 2, 2))},
    ),
    checks.class_row: (
        {"right": class_row, "bias is missing": lambda x, weight, bias, heads: class_row(x, weight, 0 * bias, heads)},
        {"interleaved": {"split": "(three d heads)"}, "token dropped": {"at": s_[:, :, 0, 1:]}, "√dim": {"scale": 12}},
        {"step by step": {"order": (2, 1, 0)}, "the shape is": {"at": s_[:, 0, 0]}, "off by one": {"at": s_[:, :, 1]}},
        {"the column": {"at": s_[..., 0]}, "mixed up": {"order": (0, 2, 1)}, "over the queries": {"axis": 2}},
        {"divided by d": {"scale": 16}, "no scale": {"scale": 1}},
    ),
    checks.clip: (
        {"right": scaled, "clamped": lambda p, limit: [q.grad.clamp_(-limit, limit) for q in p] and None},
        {"by itself": lambda p, limit: [scaled([q], limit) for q in p] and None, "short enough": {"always": True}},
        {"too short": {"measure": lambda grads: sum(g.norm() for g in grads)}},
        {"too long": {"measure": lambda grads: max(g.norm() for g in grads)}},
        {"in place": lambda p, limit: [q.grad / 2 for q in p]},
    ),
    checks.share_of_first: (
        {"right": lambda d, n: d ** (n - 1), "by 1 - d": lambda d, n: (1 - d) * d ** (n - 1)},
        {"later weights": lambda d, n: 1 - d ** (n - 1), "on paper": lambda d, n: d ** (n - 2)},
        {"plain mean": lambda d, n: 1 / n, "off by one": lambda d, n: d**n},
    ),
    checks.least_loss: (
        {"right": lambda v: entropy(to_distribution(v)).mean(), "over the expressions": 1 / 8, "sign": -1},
        {"0 · log 0": lambda v: -(to_distribution(v) * to_distribution(v).log()).sum(dim=1).mean(), "bits": 1.442695},
        {"majority label": lambda v: -to_distribution(v).amax(dim=1).log().mean(), "hard label": 0, "the sum": 3},
    ),
    checks.effective_number: (
        {"right": lambda p: entropy(p).exp(), "not a number": lambda p: (-(p * p.log()).sum(dim=1)).exp()},
        {"right ": lambda p: torch.distributions.Categorical(p, validate_args=False).perplexity()},
        {"right  ": lambda p: [float(entropy(row).exp()) for row in p]},
        {
            "entropy itself": entropy,
            "base 2": lambda p: torch.exp(entropy(p) / math.log(2)),
            "the shape is": lambda p: entropy(p).exp()[:, None],
        },
        {"not their mean": lambda p: torch.special.entr(p).mean(dim=1).exp()},
        {"sum comes first": lambda p: torch.special.entr(p).exp().sum(dim=1)},
        {"minus sign": lambda p: (-entropy(p)).exp(), "the shape is ()": lambda p: entropy(p).mean().exp()},
        {"1 / max p": lambda p: 1 / p.amax(dim=1), "sum of squares": lambda p: 1 / p.square().sum(dim=1)},
    ),
    checks.reweigh: (
        {"right": reweighed, "right ": lambda p, old, new: torch.softmax(p.log() + new.log() - old.log(), dim=1)},
        {"right  ": lambda p, old, new: [reweighed(row[None], old, new)[0].tolist() for row in p]},
        {"add up to 1": lambda p, old, new: p * new / old, "the other way": lambda p, old, new: reweighed(p, new, old)},
        {"old prior": lambda p, old, new: reweighed(p, 1, new), "new prior": lambda p, old, new: reweighed(p, old, 1)},
        {
            "over the faces": lambda p, old, new: p * new / old / (p * new / old).sum(dim=0),
            "unchanged": lambda p, *_: p,
        },
    ),
    checks.steadiness: (
        {"right": lambda b, a: stays(b, a).mean(dim=0), "right ": lambda b, a: 1 - (1 - stays(b, a)).sum(0) / len(a)},
        {"right  ": lambda b, a: np.mean([(x.argmax(1) == b.argmax(1)).numpy() for x in a], axis=0).tolist()},
        {"becomes another": lambda b, a: 1 - stays(b, a).mean(dim=0), "how many": lambda b, a: stays(b, a).sum(dim=0)},
        {"for each change": lambda b, a: stays(b, a).mean(dim=1), "the shape is ()": lambda b, a: stays(b, a).mean()},
        {
            "no change moves": lambda b, a: stays(b, a)[0] / 3,
            "probabilities first": lambda b, a: stays(b, a.mean(dim=0)[None])[0],
        },
    ),
    checks.grad_cam: (
        {"right": cam, "after the sum": lambda m, s: (s.mean(dim=(2, 3), keepdim=True) * m).relu().sum(dim=1)},
        {"the shape is": {"after": lambda heat: heat.relu()[:, None]}, "averaged over the channels": {"over": 1}},
        {"its own slope": lambda m, s: cam(m, s, weights=s), "over the faces too": {"over": (0, 2, 3)}},
        {"no ReLU": {"after": Tensor.positive}, "on paper": {"after": Tensor.abs}, "not weighted": {"weights": 1}},
        {"not averaged": 1 / 3, "not added up": 16},
    ),
    checks.negative_share: (
        {"right": lambda heat: against(heat) / heat.abs().sum(), "positive part;": lambda h: against(h) / against(-h)},
        {
            "over all of": lambda h: against(h * h.abs()) / h.square().sum(),
            "signs cancel": lambda h: against(h) / h.sum(),
            "each face's share": lambda h: each_share(h).mean(),
        },
        {"of the positive": lambda h: against(-h) / h.abs().sum(), "counts pixels": lambda h: (h < 0).float().mean()},
        {"heat itself": against, "not negative": -1},
    ),
    checks.dark_share: (
        {"right": dark_share, "one threshold": lambda heat, light: dark_share(heat, light, level=light.quantile(0.2))},
        {"of a dark pixel": {"count": lambda d, e: d.sum() / (d > 0).sum()}, "darkest fifth of each": {"end": 0.4}},
        {"how many pixels": {"count": lambda d, e: (d > 0).float().mean()}, "absolute": {"size": Tensor.positive}},
        {"thrown together": {"count": lambda d, e: d.sum() / e.sum()}, "brightest": {"end": 0.8}, "added up": 2},
        {"the shape is": {"count": lambda d, e: d.sum(dim=(1, 2))}},
    ),
    checks.runner_up: (
        {"right": lambda z: z.topk(2).indices[:, 1], "third choice": lambda z: z.topk(3).indices[:, 2], "sort": 0},
        {"rank of class 1": lambda z: z.argsort(descending=True).argsort()[:, 1]},
        {"the logits": lambda z: z.topk(2).values[:, 1], "the shape is": lambda z: z.topk(2).indices},
        {"first choice": lambda z: z.argmax(dim=1), "least likely": lambda z: z.argmin(dim=1)},
    ),
    checks.staircase: (
        {"right": walk, "x alone is not": lambda f, x, b, n: walk(f, x, b, n, far=x), "walked alone": {"stay": False}},
        {"slopes at x alone": partial(straight, at=torch.ones(1, 1)), "the shape is": lambda *a: walk(*a)[0]},
        {"how far its input walks, x": {"far": torch.ones(1, 3)}, "last input": {"order": (2, 1, 0)}},
        {"not at x": lambda f, x, b, n: walk(f, x, b, n, wait=x), "0 and 6": {"order": (1, 0, 2)}, "turned round": -1},
        {"starts at 0": lambda f, x, b, n: walk(f, x, 0 * b, n), "straight line": straight, "right ends": {"at": 1}},
        {"left ends": {"at": 0}, "take their mean": 4},
    ),
    checks.place_share: (
        {"right": in_place, "place by place": {"agree": lambda a, b: a.flatten().sort()[0] == b.flatten().sort()[0]}},
        {"down the columns": lambda make: in_place(lambda w: make(w.reshape(4, 4).T.reshape(1, 16, 1)))},
        {"compare pixels": {"agree": lambda a, b: avg_pool2d(a, 12) == avg_pool2d(b, 12)}, "numbers 0 to 15": 1 / 2},
        {"by chance": {"weights": torch.eye(16)[5].reshape(1, 16, 1)}, "wrong place": lambda make: 1 - in_place(make)},
        {"yes or no": lambda make: in_place(make) == 1, "one number": lambda make: make(NUMBERS) == 0},
        {"counts pixels": 2304, "in percent": 100},
    ),
    checks.changed: (
        {"right": differ, "that stayed": lambda *a: (found := differ(*a)) and [n for n in a[0] if n not in found]},
        {"buffers": lambda *a: [k for k in differ(*a) if k.split(".")[1] in ("weight", "bias")]},
        {"in another order": {"same": lambda a, b: a.float().mean().isclose(b.float().mean())}},
        {"yet your list has": lambda *a: (found := differ(*a)) and [*found, "1.weight"], "new values": lambda *a: []},
        {"whole numbers": lambda *a: [k for k in differ(*a) if "tracked" not in k]},
        {"norm is the same": {"same": lambda a, b: a.abs().equal(b.abs())}, "sixth digit": {"same": torch.allclose}},
        {"one changed": {"same": lambda a, b: (a == b).any()}, "nothing was": lambda loaded, module: list(loaded)},
        {"list of names": lambda *a: len(differ(*a))},
    ),
    checks.dead: (
        {"right": no_gradient, "is found, but": lambda *a: (found := no_gradient(*a)) and [*found, "first.weight"]},
        {"every parameter: which": lambda model, x: list(model.state_dict()), "earlier pass": {"clear": False}},
        {"parameter is used": lambda *a: ["second.weight", "second.bias"], "stays None": lambda *a: []},
        {"not None": {"gone": lambda g: g is None or not g.any()}, "parameter names": lambda *a: len(no_gradient(*a))},
        {"that are used": {"gone": lambda g: g is not None}},
    ),
    checks.protocol_of: (
        {"right": by_rows, "close, not": {"same": lambda a, b: torch.allclose(a.float(), b.float(), rtol=0.01)}},
        {"the columns fit": lambda c, n: found if (found := by_rows(c, n)) != "neither" else by_rows(c.T, n)},
        {"not None": lambda *a: None if (found := by_rows(*a)) == "neither" else found, "'plain'": lambda *a: "plain"},
        {"not that of each": {"same": lambda a, b: a.sum() == b.sum()}, "sum each row": lambda *a: "neither"},
        {"one face off": {"same": lambda a, b: a[0] == b[0]}},
    ),
    checks.siblings: (
        {"right": lambda s, t: seen(s[t], s[~t]), "number of images": lambda s, t: seen(s[t], s[~t]) * t.sum()},
        {"not of all images": lambda s, t: seen(s[t], s[~t]) * t.float().mean(), "which test images": 1 / 2},
        {"counts subjects": lambda s, t: seen(s[t].unique(), s[~t]), "of all images; ask": lambda s, t: seen(s, s[~t])},
        {"without a sibling": lambda s, t: 1 - seen(s[t], s[~t]), "share of training": lambda s, t: seen(s[~t], s[t])},
        {"yes or no": lambda s, t: torch.isin(s[t], s[~t]).any(), "one number": lambda s, t: torch.isin(s[t], s[~t])},
        {"its own sibling": lambda s, t: seen(s[t], s), "in percent": 100},
    ),
}


# More correct answers, written differently: loops, lists, numpy, a PyTorch function.
ALSO_RIGHT = {
    checks.rafdb_labels: (
        lambda codes: [EXPRESSIONS.index(RAFDB_CODES[int(code) - 1]) for code in codes],
        lambda codes: RAFDB.numpy()[codes.numpy() - 1],
        lambda codes: torch.cat([torch.tensor([-1]), RAFDB])[codes],
    ),
    checks.accuracy_between: (
        lambda m, a: (round(a * 3546, 6) - m * 3153) / (3546 - 3153),
        lambda m, a: a + (a - m) * 3153 / 393,
        lambda m, a: torch.tensor([a, -m]) @ torch.tensor([3546.0, 3153.0]) / 393,
    ),
    checks.balanced_accuracy: (
        lambda y, a: np.mean([np.mean((a[y == k] == k).numpy()) for k in set(y.tolist())]),
        lambda y, a: float(recalls(y, a)),
        lambda y, a: ((torch.eye(8)[y] * (y == a)[:, None]).sum(0) / y.bincount(minlength=8)).nanmean().numpy(),
        lambda y, a: ((y == a) / y.bincount()[y]).sum(dtype=torch.float64).reshape(1) / len(y.unique()),
    ),
    checks.folds: (
        lambda who: [sorted(set(who.tolist())).index(each) % 10 for each in who.tolist()],
        lambda who: np.searchsorted(np.unique(who.numpy()), who.numpy()) % 10,
        lambda who: (who[:, None] > who.unique()).sum(dim=1) % 10,
    ),
    checks.constant_weight: (
        lambda h: torch.tensor(1 / h),
        lambda h: [1 / h],
        lambda h: float(torch.rand(h, h).softmax(dim=-1).mean()),
    ),
    checks.layout: (
        lambda b, s: b.permute(0, 3, 1, 4, 2, 5).reshape(2, 3, s, s),
        lambda b, s: torch.cat([torch.cat([*b[:, i].unbind(1)], dim=-1) for i in range(4)], dim=-2),
        lambda b, s: b.permute(0, 3, 1, 4, 2, 5).numpy().reshape(2, 3, s, s),
    ),
    checks.tiles: (
        lambda p: torch.tile(p, (1, 1, 4, 4)),
        lambda p: torch.cat([torch.cat([p] * 4, dim=2)] * 4, dim=1)[None],
        lambda p: np.tile(p.numpy(), (4, 4))[None],
    ),
    checks.rectangular_weights: (by_loops, einsum_weights, lambda *given: grid_weights(*given).double().numpy()),
    checks.row_entropy: (
        lambda w: -torch.xlogy(w, w).sum(dim=-1).mean(),
        lambda w: torch.distributions.Categorical(probs=w).entropy().mean(),
        lambda w: -(w * w.clamp(min=1e-12).log()).sum() / w[..., 0].numel(),
        lambda w: np.mean([-sum(p * math.log(p) for p in row if p) for row in w.flatten(0, 2).tolist()]),
    ),
    checks.token_read: (
        lambda head, x: int(
            torch.autograd.grad(head(x.requires_grad_()).square().sum(), x)[0].norm(dim=2).sum(0).argmax()
        ),
        lambda head, x: next(i for i in range(55) if not torch.equal(head(swapped(x, i)), head(x))),
        lambda head, x: [(head(swapped(x, i)) - head(x)).abs().sum() for i in range(55)].index(
            max((head(swapped(x, i)) - head(x)).abs().sum() for i in range(55))
        ),
        lambda head, x: torch.tensor([reader(head, x)]),
    ),
    checks.telling_attention: (
        lambda: [torch.eye(3)[[0, 2, 2]].int()[None, None], torch.eye(3)[[1, 1, 2]].int()[None, None]],
        lambda: np.stack([layer.numpy() for layer in looks((0, 2, 2), (1, 1, 2))]),
        lambda: (looks((0, 2, 1))[0], looks((1, 2, 2))[0] * 0.9 + looks((1, 1, 1))[0] * 0.1),
    ),
    checks.class_row: (
        row_by_loops,
        lambda x, w, b, h: row_by_loops(x, w, b, h).double().numpy(),
        lambda x, w, b, h: class_row(x, w, b, h, at=s_[:]).unbind(dim=2)[0],
    ),
    checks.clip: (
        lambda p, limit: nn.utils.clip_grad_norm_(p, limit) and None,
        lambda p, limit: clipped_in_parts(p, limit),
        lambda p, limit: clipped_as_a_vector(p, limit),
    ),
    checks.share_of_first: (
        lambda d, n: math.exp((n - 1) * math.log(d)),
        lambda d, n: math.prod([d] * (n - 1)),
        lambda d, n: torch.tensor(d) ** (n - 1),
    ),
    checks.least_loss: (
        lambda v: torch.distributions.Categorical(probs=v.float()).entropy().mean(),
        lambda v: nn.functional.cross_entropy(to_distribution(v).clamp(min=1e-12).log(), to_distribution(v)),
        lambda v: np.mean([-sum(n / sum(row) * math.log(n / sum(row)) for n in row if n) for row in v.tolist()]),
    ),
    checks.grad_cam: (
        lambda m, s: torch.einsum("bc,bchw->bhw", s.mean(dim=(2, 3)), m).clamp(min=0),
        lambda m, s: torch.stack([sum(s[i, c].mean() * m[i, c] for c in range(3)).relu() for i in range(2)]),
        lambda m, s: np.maximum((s.numpy().mean(axis=(2, 3), keepdims=True) * m.numpy()).sum(axis=1), 0),
    ),
    checks.negative_share: (
        lambda heat: -heat[heat < 0].sum() / heat.abs().sum(),
        lambda heat: 0.5 - 0.5 * heat.sum() / heat.abs().sum(),
        lambda heat: np.minimum(heat.numpy(), 0).sum() / -np.abs(heat.numpy()).sum(),
    ),
    checks.dark_share: (
        lambda heat, light: np.mean([part_of_dark(h, x) for h, x in zip(heat, light, strict=True)]),
        lambda heat, light: dark_share(heat, light, level=light.flatten(1).sort(dim=1)[0][:, 5][:, None, None]),
        lambda heat, light: sum(part_of_dark(h, x) for h, x in zip(heat, light, strict=True)) / 2,
    ),
    checks.runner_up: (
        lambda z: z.argsort(dim=1)[:, -2],
        lambda z: [row.index(sorted(row)[-2]) for row in z.tolist()],
        lambda z: z.kthvalue(3, dim=1).indices,
    ),
    checks.staircase: (
        telescoped,
        lambda f, x, b, n: walk(f, x, b, 3 * n),
        lambda f, x, b, n: telescoped(f, x.double(), b.double(), n).numpy(),
    ),
    checks.place_share: (
        lambda make: in_place(make, agree=lambda a, b: (a - b).abs() < 1e-6),
        lambda make: 1 - in_place(make, agree=torch.ne),
        lambda make: float(in_place(make)),
    ),
    checks.changed: (
        lambda loaded, module: [n for n, t in loaded.items() if (t != module.state_dict()[n]).any()],
        lambda loaded, module: tuple(differ(loaded, module)),
        lambda loaded, module: set(differ(loaded, module)),
    ),
    checks.dead: (
        lambda model, x: set(no_gradient(model, x)),
        lambda model, x: [
            name
            for (name, p), g in zip(
                model.named_parameters(),
                torch.autograd.grad(model(x).sum(), [*model.parameters()], allow_unused=True),
                strict=True,
            )
            if g is None
        ],
        lambda model, x: tuple(no_gradient(model, x)),
    ),
    checks.protocol_of: (
        lambda c, n: ({tuple(v.tolist()): k for k, v in n.items()}).get(tuple(c.sum(dim=1).tolist()), "neither"),
        lambda c, n: next((k for k, v in n.items() if not (c.sum(1) - v).any()), "neither"),
        lambda c, n: ([k for k, v in n.items() if c.sum(dim=1).equal(v)] + ["neither"])[0],
    ),
    checks.siblings: (
        lambda s, t: np.isin(s[t].numpy(), s[~t].numpy()).mean(),
        lambda s, t: sum(int(who) in set(s[~t].tolist()) for who in s[t]) / int(t.sum()),
        lambda s, t: (s[t][:, None] == s[~t]).any(dim=1).double().mean(),
    ),
}


def answer(right, wrong):
    if isinstance(wrong, dict):
        return partial(right, **wrong)
    return wrong if callable(wrong) else lambda *given: wrong * right(*given)


ANSWERS = {check: {says: a for group in groups for says, a in group.items()} for check, groups in CASES.items()}
WRONG = [
    pytest.param(check, answer(answers["right"], wrong), says, id=f"{check.__name__}: {says}")
    for check, answers in ANSWERS.items()
    for says, wrong in answers.items()
    if says.strip() != "right"
]
RIGHT = [
    pytest.param(check, answers[says], id=f"{check.__name__} {len(says) - 4}")
    for check, answers in ANSWERS.items()
    for says in answers
    if says.strip() == "right"
]
RIGHT += [
    pytest.param(check, also, id=f"{check.__name__}, another way {i}")
    for check, answers in ALSO_RIGHT.items()
    for i, also in enumerate(answers, 1)
]


@pytest.mark.parametrize(("check", "right"), RIGHT)
def test_the_right_answer_is_right_whatever_its_form_and_an_empty_stub_is_not_written_yet(check, right):
    assert check(right) == "right"
    assert check(lambda *given: None).startswith("not written yet")


def test_every_check_meets_three_right_answers_and_five_wrong_ones():
    right, wrong = ([case.values[0].__name__ for case in cases] for cases in (RIGHT, WRONG))
    assert [name for name in checks.__all__ if right.count(name) < 3 or wrong.count(name) < 5] == []


@pytest.mark.parametrize("check", [getattr(checks, name) for name in checks.__all__], ids=checks.__all__)
@pytest.mark.parametrize("strange", ["a word", {}, [None], object()], ids=["word", "dict", "list", "object"])
def test_an_answer_of_another_kind_gets_a_sentence_and_an_error_of_the_reader_stays_the_readers(check, strange):
    if check is not checks.clip or strange is None:
        assert check(lambda *given: strange).startswith("no: ")

    def wrong(*given):
        raise KeyError("the reader's own")

    with pytest.raises(KeyError) as error:
        check(wrong)
    assert error.traceback[-1].name == "wrong" and len(error.traceback) <= 3


@pytest.mark.parametrize(("check", "wrong", "says"), WRONG)
def test_a_wrong_answer_is_refused_by_a_sentence_about_its_mistake(check, wrong, says):
    sentence = check(wrong)
    assert sentence.startswith("no: ") and says in sentence


@pytest.mark.parametrize("check", [checks.changed, checks.dead], ids=lambda check: check.__name__)
def test_names_may_come_from_a_generator(check):
    assert check(lambda *given: (name for name in ANSWERS[check]["right"](*given))) == "right"
