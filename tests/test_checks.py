"""Every check of an exercise takes the right answer, and names the mistake of each wrong one."""

import math
from functools import partial

import pytest
import torch
from einops import rearrange
from numpy import s_
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fervt_course import checks
from fervt_lib.data import EXPRESSIONS, FER2013_CODES, to_distribution

RAFDB = torch.tensor([2, 6, 5, 1, 3, 4, 0])
FER2013 = torch.tensor([EXPRESSIONS.index(name) for name in FER2013_CODES])
NUMBERS = torch.arange(16.0).reshape(1, 16, 1)

# --- right answers, with switches that make them wrong -----------------------------------------------------------


def rank(who):
    return who.unique(return_inverse=True)[1]


def grid_weights(F, n, m, scale=10, axis=1, cut="b c (n h) (m w) -> b (n m) c h w", early=False, turned=False):
    regions = rearrange(F, cut, n=n, m=m)
    regions = regions.mT if turned else regions
    S = regions @ regions.mT / scale**0.5
    return S.mean(dim=(-2, -1)).softmax(dim=1) if early else S.softmax(dim=axis).mean(dim=(-2, -1))


def entropy(weights):
    return torch.special.entr(weights).sum(dim=-1)


def reader(head, states, shift=0):
    states = states.clone().requires_grad_()
    head(states).square().sum().backward()
    return int(states.grad.abs().sum(dim=(0, 2)).argmax()) + shift


def blind_reader(head, states):  # adds a constant, which the LayerNorm takes away again
    moved = [(head(states + 5 * (torch.arange(55) == i)[:, None]) - head(states)).abs().sum() > 1 for i in range(55)]
    return moved.index(True) if True in moved else 0


def looks(*layers):  # attention of a layer: at which one token each of the three looks
    return [torch.eye(3)[list(tokens)][None, None] for tokens in layers]


def class_row(x, weight, bias, heads, scale=4, axis=-1, at=s_[:, :, 0], split="(three heads d)", order=(0, 1, 2)):
    qkv = rearrange(x @ weight.T + bias, f"b t {split} -> three b heads t d", three=3, heads=heads)
    q, k, _ = (qkv[i] for i in order)
    return (q @ k.mT / scale**0.5).softmax(dim=axis)[at]


def scaled(parameters, limit, measure=lambda grads: torch.cat(grads).norm(), always=False):
    factor = limit / float(measure([p.grad for p in parameters]))
    for p in parameters:
        p.grad *= factor if always else min(1.0, factor)


def floor(votes):
    return entropy(to_distribution(votes)).mean()


def cam(maps, slopes, over=(2, 3), weights=None, after=Tensor.relu):
    weights = slopes.mean(dim=over, keepdim=True) if weights is None else weights
    return after((weights * maps).sum(dim=1))


def against(heat):
    return -heat.clamp(max=0).sum()


def share_by_face(dark, every):
    return (dark.sum(dim=(1, 2)) / every.sum(dim=(1, 2))).mean()


def dark_share(heat, light, end=0.2, size=Tensor.abs, count=share_by_face, level=None):
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


def with_sibling(subjects, test, asked=None, among=None):
    asked, among = test if asked is None else asked, ~test if among is None else among
    return torch.isin(subjects[asked], subjects[among]).float().mean()


# --- the table ---------------------------------------------------------------------------------------------------

# The check, the right answer, and wrong ones by what the check must say of them: a number is what the right answer is
# multiplied by, a dict has switches of the right answer, a function is an answer of its own.
CASES = {
    checks.rafdb_labels: (
        lambda codes, table=RAFDB, first=1: table[codes - first],
        {"as they came": lambda codes: codes, "own numbers from 0": lambda codes: codes - 1},
        {"past the end of your table": {"first": 0}, "name of the next code": {"table": RAFDB.roll(-1)}},
        {"FER2013's order": {"table": FER2013}, "compare name by name": {"table": RAFDB % 6}},
    ),
    checks.accuracy_between: (
        lambda m, a: (a * 3546 - m * 3153) / 393,
        {"divide by how many": 393, "in percent": 100, "sign is reversed": -1, "all argmax faces": lambda m, a: a},
        {"mean of the two": lambda m, a: (m + a) / 2, "same size": lambda m, a: 2 * a - m},
        {"right answers in between by": lambda m, a: m * a},
    ),
    checks.folds: (
        lambda who: rank(who) % 10,
        {"Deal subjects": lambda who: torch.arange(len(who)) % 10, "a fold is empty": lambda who: who % 10},
        {"more than ten folds": rank, "count from 1": lambda who: (rank(who) + 1) % 10},
        {"ascending": lambda who: rank(-who) % 10, "blocks": lambda who: rank(who) * 10 // (rank(who).max() + 1)},
    ),
    checks.constant_weight: (
        lambda h: 1 / h,
        {"never looks at another region": lambda h: 1 / (48 // h) ** 2, "all entries": lambda h: 1 / h**2},
        {"the mean over its h entries": lambda h: 1.0, "depends on h": lambda h: 1 / 12, "what do the h entries": 2},
    ),
    checks.layout: (
        lambda blocks, side, to="b c n h m w": rearrange(blocks, f"b n m c h w -> {to}").reshape(2, -1, side, side),
        {"transposed grid": {"to": "b c m h n w"}, "cycle through": {"to": "b c h n m w"}},
        {"after its pixel axis": {"to": "b c n h w m"}, "both grid axes": {"to": "b c n m h w"}},
        {"channels come second": {"to": "b n h m w c"}, "inside a region are swapped": {"to": "b c n w m h"}},
        {"the shape is": lambda blocks, side: rearrange(blocks, "b n m c h w -> b c n h m w")},
    ),
    checks.tiles: (
        lambda patch: patch.repeat(1, 4, 4)[None],
        {"(1, 3, 48, 48)": lambda patch: patch.repeat(1, 4, 4)},
        {"enlarged": lambda patch: patch.repeat_interleave(4, 1).repeat_interleave(4, 2)[None]},
        {"begin with the patch": lambda patch: patch.flip(1).repeat(1, 4, 4)[None]},
        {"the same patch": lambda p: torch.cat([p.repeat(1, 4, 4)[:, :36], 0 * p.repeat(1, 1, 4)], dim=1)[None]},
    ),
    checks.rectangular_weights: (
        grid_weights,
        {"no scale": {"scale": 1}, "√h": {"scale": 12}, "divided by w": {"scale": 100}, "softmax axis": {"axis": -1}},
        {"over the channels": {"axis": 2}, "not before": {"early": True}, "Fᵀ F": {"turned": True}},
        {"transposed grid": {"cut": "b c (n h) (m w) -> b (m n) c h w"}},
        {"step by step": {"cut": "b c (h n) (w m) -> b (n m) c h w"}},
        {"the shape is": lambda *given: grid_weights(*given).mean(dim=-1)},
    ),
    checks.row_entropy: (
        lambda weights: entropy(weights).mean(),
        {"minus sign": -1, "base 2": 1 / math.log(2), "sum over the keys": 1 / 4, "were added up": 24},
        {"not a number": lambda w: -(w * w.log()).sum(dim=-1).mean(), "the shape is": entropy},
    ),
    checks.token_read: (
        reader,
        {"whatever the head does": blind_reader, "off by one": {"shift": 1}},
        {"was said to read token 52": lambda *given: 52 - reader(*given)},
    ),
    checks.telling_attention: (
        lambda: looks((0, 2, 2), (1, 1, 2)),
        {"layers swapped": lambda: looks((1, 1, 2), (0, 2, 2)), "(1, 1, 3, 3)": lambda: looks((0, 2, 2))},
        {"transposed matrix": lambda: [a.mT for a in looks((0, 2, 2), (1, 1, 2))]},
        {"does token 0 look": lambda: [torch.full((1, 1, 3, 3), 1 / 3)] * 2, "only 0.00": lambda: looks((0, 1, 2)) * 2},
    ),
    checks.class_row: (
        class_row,
        {"no scale": {"scale": 1}, "√dim": {"scale": 12}, "divided by d": {"scale": 16}},
        {"bias is missing": lambda x, weight, bias, heads: class_row(x, weight, 0 * bias, heads)},
        {"off by one": {"at": s_[:, :, 1]}, "the column": {"at": s_[..., 0]}, "the shape is": {"at": s_[:, 0, 0]}},
        {"class token dropped": {"at": s_[:, :, 0, 1:]}, "interleaved": {"split": "(three d heads)"}},
        {"over the queries": {"axis": 2}, "mixed up": {"order": (0, 2, 1)}, "step by step": {"order": (2, 1, 0)}},
    ),
    checks.clip: (
        scaled,
        {"in place": lambda parameters, limit: [p.grad / 2 for p in parameters], "short enough": {"always": True}},
        {"clamped": lambda parameters, limit: [p.grad.clamp_(-limit, limit) for p in parameters] and None},
        {"by itself": lambda parameters, limit: [scaled([p], limit) for p in parameters] and None},
        {"too long": {"measure": lambda grads: max(g.norm() for g in grads)}},
    ),
    checks.share_of_first: (
        lambda d, n: d ** (n - 1),
        {"off by one": lambda d, n: d**n, "not multiplied by 1 - d": lambda d, n: (1 - d) * d ** (n - 1)},
        {"plain mean": lambda d, n: 1 / n, "all later weights": lambda d, n: 1 - d ** (n - 1)},
        {"on paper": lambda d, n: d ** (n - 2)},
    ),
    checks.least_loss: (
        floor,
        {"the sum": 3, "bits": 1 / math.log(2), "sum over the expressions": 1 / 8, "hard label": 0, "mean entropy": -1},
        {"0 · log 0": lambda v: -(to_distribution(v) * to_distribution(v).log()).sum(dim=1).mean()},
        {"majority label": lambda v: -to_distribution(v).amax(dim=1).log().mean()},
    ),
    checks.grad_cam: (
        cam,
        {"no ReLU": {"after": Tensor.positive}, "not weighted": {"weights": 1}, "not averaged": 1 / 3},
        {"after the sum": lambda m, s: (s.mean(dim=(2, 3), keepdim=True) * m).relu().sum(dim=1)},
        {"its own slope": lambda m, s: cam(m, s, weights=s), "averaged over the channels": {"over": 1}},
        {"over the faces too": {"over": (0, 2, 3)}, "not added up": 16, "numbers on paper": {"after": Tensor.abs}},
        {"the shape is": {"after": lambda heat: heat.relu()[:, None]}},
    ),
    checks.negative_share: (
        lambda heat: against(heat) / heat.abs().sum(),
        {"positive part;": lambda h: against(h) / against(-h), "heat itself": against, "not negative": -1},
        {"share of the positive": lambda h: against(-h) / h.abs().sum()},
        {"counts pixels": lambda h: (h < 0).float().mean(), "signs cancel": lambda h: against(h) / h.sum()},
        {"9 of 20": lambda h: against(h * h.abs()) / h.square().sum()},
    ),
    checks.dark_share: (
        dark_share,
        {"absolute value first": {"size": Tensor.positive}, "brightest": {"end": 0.8}, "added up": 2},
        {"how many pixels": {"count": lambda dark, every: (dark > 0).float().mean()}},
        {"one threshold": lambda heat, light: dark_share(heat, light, level=light.quantile(0.2))},
        {"thrown together": {"count": lambda dark, every: dark.sum() / every.sum()}},
        {"of a dark pixel": {"count": lambda dark, every: dark.sum() / (dark > 0).sum()}},
        {"darkest fifth of each": {"end": 0.4}, "the shape is": {"count": lambda dark, every: dark.sum(dim=(1, 2))}},
    ),
    checks.runner_up: (
        lambda logits: logits.topk(2).indices[:, 1],
        {"first choice": lambda logits: logits.argmax(dim=1), "least likely": lambda logits: logits.argmin(dim=1)},
        {"third choice": lambda logits: logits.topk(3).indices[:, 2]},
        {"these are the logits": lambda logits: logits.topk(2).values[:, 1]},
        {"rank of class 1": lambda logits: logits.argsort(descending=True).argsort()[:, 1]},
        {"sort the classes": 0, "the shape is": lambda logits: logits.topk(2).indices},
    ),
    checks.staircase: (
        walk,
        {"how far its input walks, x": {"far": torch.ones(1, 3)}, "turned round": -1, "take their mean": 4},
        {"starts at 0": lambda f, x, baseline, steps: walk(f, x, 0 * baseline, steps)},
        {"x alone is not how far": lambda f, x, baseline, steps: walk(f, x, baseline, steps, far=x)},
        {"slopes at x alone": partial(straight, at=torch.ones(1, 1)), "straight line": straight},
        {"left ends": {"at": 0}, "right ends": {"at": 1}, "the last input walked first": {"order": (2, 1, 0)}},
        {"those that have walked stay": {"stay": False}, "0 and 6": {"order": (1, 0, 2)}},
        {"not at x": lambda f, x, baseline, steps: walk(f, x, baseline, steps, wait=x)},
        {"the shape is": lambda *given: walk(*given)[0]},
    ),
    checks.place_share: (
        in_place,
        {"by chance": {"weights": torch.eye(16)[5].reshape(1, 16, 1)}, "in percent": 100, "counts pixels": 2304},
        {"place by place": {"agree": lambda a, b: a.flatten().sort()[0] == b.flatten().sort()[0]}},
        {"compare pixels": {"agree": lambda a, b: avg_pool2d(a, 12) == avg_pool2d(b, 12)}, "numbers 0 to 15": 1 / 2},
        {"wrong place": lambda make: 1 - in_place(make), "yes or no": lambda make: in_place(make) == 1},
        {"down the columns": lambda make: in_place(lambda w: make(w.reshape(4, 4).T.reshape(1, 16, 1)))},
        {"one number": lambda make: make(NUMBERS) == 0},
    ),
    checks.changed: (
        differ,
        {"nothing was changed": lambda loaded, module: list(loaded), "new values was missed": lambda *given: []},
        {"buffers": lambda *given: [name for name in differ(*given) if "running" not in name and "num" not in name]},
        {"in another order": {"same": lambda a, b: a.float().mean().isclose(b.float().mean())}},
        {"norm is the same": {"same": lambda a, b: a.abs().equal(b.abs())}},
        {"one changed number": {"same": lambda a, b: (a == b).any()}, "sixth digit": {"same": torch.allclose}},
        {"list of names": lambda *given: len(differ(*given))},
        {"whole numbers": lambda *given: [name for name in differ(*given) if "tracked" not in name]},
        {"that stayed": lambda *given: (found := differ(*given)) and [n for n in given[0] if n not in found]},
        {"yet your list has": lambda *given: (found := differ(*given)) and [*found, "1.weight"]},
    ),
    checks.dead: (
        no_gradient,
        {"stays None": lambda *given: [], "every parameter is used": lambda *given: ["second.weight", "second.bias"]},
        {"every parameter: which": lambda model, x: list(model.state_dict()), "earlier pass": {"clear": False}},
        {"parameter names": lambda *given: len(no_gradient(*given))},
        {"that are used": {"gone": lambda g: g is not None}, "not None": {"gone": lambda g: g is None or not g.any()}},
        {"second is found, but": lambda *given: (found := no_gradient(*given)) and [*found, "first.weight"]},
    ),
    checks.protocol_of: (
        by_rows,
        {"sum each row": lambda *given: "neither", "one face off": {"same": lambda a, b: a[0] == b[0]}},
        {"the columns fit": lambda c, n: found if (found := by_rows(c, n)) != "neither" else by_rows(c.T, n)},
        {"not that of each": {"same": lambda a, b: a.sum() == b.sum()}},
        {"close, not equal": {"same": lambda a, b: torch.allclose(a.float(), b.float(), rtol=0.01)}},
        {"is none of": lambda *given: "plain"},
        {"not None": lambda *given: None if (found := by_rows(*given)) == "neither" else found},
    ),
    checks.siblings: (
        with_sibling,
        {"counts subjects": lambda s, test: torch.isin(s[test].unique(), s[~test]).float().mean(), "in percent": 100},
        {"share of training images": lambda s, test: with_sibling(s, ~test), "of which test images": 1 / 2},
        {"its own sibling": {"among": slice(None)}, "of all images; ask": {"asked": slice(None)}},
        {"not of all images": lambda s, test: with_sibling(s, test) * test.float().mean()},
        {"without a sibling": lambda s, test: 1 - with_sibling(s, test)},
        {"number of images": lambda s, test: with_sibling(s, test) * test.sum()},
        {"one number": lambda s, t: torch.isin(s[t], s[~t]), "yes or no": lambda s, t: torch.isin(s[t], s[~t]).any()},
    ),
}


def answer(right, wrong):
    if callable(wrong):
        return wrong
    return partial(right, **wrong) if isinstance(wrong, dict) else lambda *given: wrong * right(*given)


WRONG = [
    pytest.param(check, answer(right, wrong), says, id=f"{check.__name__}: {says}")
    for check, (right, *groups) in CASES.items()
    for says, wrong in (case for group in groups for case in group.items())
]
every_check = pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)


@every_check
def test_the_right_answer_is_right(check):
    assert check(CASES[check][0]) == "right"


@pytest.mark.parametrize(("check", "wrong", "says"), WRONG)
def test_a_wrong_answer_is_refused_by_a_sentence_about_its_mistake(check, wrong, says):
    sentence = check(wrong)
    assert sentence.startswith("no: ") and says in sentence


@every_check
def test_an_empty_stub_is_not_written_yet(check):
    assert check(lambda *given: None).startswith("not written yet")


@pytest.mark.parametrize("check", [checks.changed, checks.dead], ids=lambda check: check.__name__)
def test_names_may_come_from_a_generator(check):
    assert check(lambda *given: (name for name in CASES[check][0](*given))) == "right"


def test_every_check_is_tested():
    assert {check.__name__ for check in CASES} == set(checks.__all__)
