"""Every check of an exercise takes the right answer, and names the mistake of each wrong one."""

import pytest
import torch
from einops import rearrange

from fervt_lib import checks
from fervt_lib.data import EXPRESSIONS, FER2013_CODES, to_distribution

RAFDB = torch.tensor([2, 6, 5, 1, 3, 4, 0])
FER2013 = torch.tensor([EXPRESSIONS.index(name) for name in FER2013_CODES])


def place(identities):
    return torch.unique(identities, return_inverse=True)[1]


def grid_weights(F, n, m, scale=None, axis=1, cut="b c (n h) (m w) -> b (n m) c h w", early=False, turned=False):
    regions = rearrange(F, cut, n=n, m=m)
    regions = regions.mT if turned else regions
    S = regions @ regions.mT / (scale or F.shape[-1] // m) ** 0.5
    return S.mean(dim=(-2, -1)).softmax(dim=1) if early else S.softmax(dim=axis).mean(dim=(-2, -1))


def attention_row(x, weight, bias, heads, scale=None, axis=-1, row=0, split="(three heads d)", order=(0, 1, 2)):
    qkv = rearrange(x @ weight.T + bias, f"b t {split} -> three b heads t d", three=3, heads=heads)
    q, k, _ = (qkv[i] for i in order)
    return (q @ k.mT / (scale or q.shape[-1]) ** 0.5).softmax(dim=axis)[:, :, row]


def entropy(weights):
    return torch.special.entr(weights).sum(dim=-1)


def reader(head, states, shift=0):
    states = states.clone().requires_grad_()
    head(states).square().sum().backward()
    return int(states.grad.abs().sum(dim=(0, 2)).argmax()) + shift


def blind_reader(head, states):  # adds a constant, which the LayerNorm takes away again
    moved = [(head(states + 5 * (torch.arange(55) == i)[:, None]) - head(states)).abs().sum() > 1 for i in range(55)]
    return moved.index(True) if True in moved else 0


def telling(*, wrong_way=False):
    first, second = torch.eye(3), torch.eye(3)
    first[1] = torch.tensor([0.0, 0.0, 1.0])
    second[0] = torch.tensor([0.0, 1.0, 0.0])
    layers = [first[None, None], second[None, None]]
    return layers[::-1] if wrong_way else layers


def scaled(parameters, limit, measure=None, always=False):
    measure = measure or (lambda grads: torch.cat(grads).norm())
    whole = float(measure([p.grad for p in parameters]))
    for p in parameters:
        p.grad *= limit / whole if always else min(1.0, limit / whole)


def clamped(parameters, limit):
    for p in parameters:
        p.grad.clamp_(-limit, limit)


def each_alone(parameters, limit):
    for p in parameters:
        p.grad *= min(1.0, limit / float(p.grad.norm()))


def floor(votes):
    return torch.special.entr(to_distribution(votes)).sum(dim=1).mean()


def cam(maps, slopes, over=(2, 3), weigh=None):
    weights = slopes.mean(dim=over, keepdim=True) if weigh is None else weigh
    return (weights * maps).sum(dim=1)


def dark_part(heat, light, end=0.2, level=None):
    level = light.flatten(1).quantile(end, dim=1)[:, None, None] if level is None else level
    return heat * (light <= level if end < 0.5 else light >= level)


def dark_mean(heat, light, **how):
    return (dark_part(heat, light, **how).sum(dim=(1, 2)) / heat.sum(dim=(1, 2))).mean()


def walk(f, x, baseline, steps, place=0.5, order=(0, 1, 2), start=None, wait=None, stay=True, mean=True, far=None):
    start, shares = baseline if start is None else start, torch.zeros_like(x)
    now = (start if wait is None else wait).clone()
    for i in order:
        points = now.repeat(steps, 1)
        points[:, i] = start[0, i] + (torch.arange(steps) + place) / steps * (x - start)[0, i]
        points.requires_grad_()
        slopes = torch.autograd.grad(f(points).sum(), points)[0][:, i]
        shares[0, i] = (slopes.mean() if mean else slopes.sum()) * (x - start if far is None else far)[0, i]
        if stay:
            now[0, i] = x[0, i]
    return shares


def straight(f, x, baseline, steps, alphas=None):
    alphas = (torch.arange(steps)[:, None] + 0.5) / steps if alphas is None else alphas
    points = (baseline + alphas * (x - baseline)).requires_grad_()
    return (x - baseline) * torch.autograd.grad(f(points).sum(), points)[0].mean(dim=0)


def in_place(make, weights=None, agree=None):
    weights = torch.arange(16.0).reshape(1, 16, 1) if weights is None else weights
    right = rearrange(weights[..., None, None].expand(1, 16, 1, 12, 12), "b (n m) c h w -> b c (n h) (m w)", n=4)
    agree = agree or (lambda a, b: a == b)
    return agree(make(weights), right).float().mean()


def region_means(x):
    return torch.nn.functional.avg_pool2d(x, 12)


def differ(loaded, module, entries=None, same=torch.equal):
    entries = module.state_dict() if entries is None else entries
    return [name for name, t in entries.items() if not same(loaded[name], t)]


def no_gradient(model, x, clear=True, gone=lambda g: g is None):
    if clear:
        model.zero_grad()
    model(x).sum().backward()
    return [name for name, p in model.named_parameters() if gone(p.grad)]


def by_rows(confusion, counts, sums=lambda c: c.sum(dim=1), same=torch.equal):
    return next((name for name, true in counts.items() if same(sums(confusion), true)), "neither")


def with_sibling(subjects, test, asked=None, among=None):
    asked, among = test if asked is None else asked, ~test if among is None else among
    return torch.isin(subjects[asked], subjects[among]).float().mean()


# The check, the right answer, and wrong ones by what the check must say of them.
CASES = {
    checks.rafdb_labels: (
        lambda codes: RAFDB[codes - 1],
        {
            "as they came": lambda codes: codes,
            "own numbers from 0": lambda codes: codes - 1,
            "past the end of your table": lambda codes: RAFDB[codes],
            "name of the next code": lambda codes: RAFDB.roll(-1)[codes - 1],
            "FER2013's order": lambda codes: FER2013[codes - 1],
            "compare name by name": lambda codes: RAFDB[codes - 1] % 6,
        },
    ),
    checks.accuracy_between: (
        lambda m, a: (a * 3546 - m * 3153) / 393,
        {
            "all argmax faces": lambda m, a: a,
            "mean of the two": lambda m, a: (m + a) / 2,
            "same size": lambda m, a: 2 * a - m,
            "divide by how many": lambda m, a: a * 3546 - m * 3153,
            "in percent": lambda m, a: 100 * (a * 3546 - m * 3153) / 393,
            "sign is reversed": lambda m, a: (m * 3153 - a * 3546) / 393,
            "right answers in between by": lambda m, a: m * a,
        },
    ),
    checks.folds: (
        lambda identities: place(identities) % 10,
        {
            "Deal subjects": lambda identities: torch.arange(len(identities)) % 10,
            "a fold is empty": lambda identities: identities % 10,
            "more than ten folds": place,
            "count from 1": lambda identities: (place(identities) + 1) % 10,
            "ascending": lambda identities: (place(identities).max() - place(identities)) % 10,
            "blocks": lambda identities: place(identities) * 10 // (place(identities).max() + 1),
        },
    ),
    checks.constant_weight: (
        lambda h: 1 / h,
        {
            "never looks at another region": lambda h: 1 / (48 // h) ** 2,
            "all entries": lambda h: 1 / h**2,
            "the mean over its h entries": lambda h: 1.0,
            "depends on h": lambda h: 1 / 12,
            "what do the h entries": lambda h: 2 / h,
        },
    ),
    checks.layout: (
        lambda blocks, side: rearrange(blocks, "b n m c h w -> b c (n h) (m w)"),
        {
            "transposed grid": lambda b, s: b.permute(0, 3, 2, 4, 1, 5).reshape(len(b), -1, s, s),
            "cycle through": lambda b, s: b.permute(0, 3, 4, 1, 2, 5).reshape(len(b), -1, s, s),
            "after its pixel axis": lambda b, s: b.permute(0, 3, 1, 4, 5, 2).reshape(len(b), -1, s, s),
            "both grid axes": lambda b, s: b.permute(0, 3, 1, 2, 4, 5).reshape(len(b), -1, s, s),
            "channels come second": lambda b, s: b.permute(0, 1, 4, 2, 5, 3).reshape(len(b), -1, s, s),
            "inside a region are swapped": lambda b, s: b.permute(0, 3, 1, 5, 2, 4).reshape(len(b), -1, s, s),
            "the shape is": lambda b, s: b.permute(0, 3, 1, 4, 2, 5),
        },
    ),
    checks.tiles: (
        lambda patch: patch.repeat(1, 4, 4)[None],
        {
            "(1, 3, 48, 48)": lambda patch: patch.repeat(1, 4, 4),
            "enlarged": lambda patch: patch.repeat_interleave(4, 1).repeat_interleave(4, 2)[None],
            "begin with the patch": lambda patch: patch.flip(1).repeat(1, 4, 4)[None],
            "the same patch": lambda p: torch.cat([p.repeat(1, 4, 4)[:, :36], 0 * p.repeat(1, 1, 4)], dim=1)[None],
        },
    ),
    checks.rectangular_weights: (
        grid_weights,
        {
            "no scale": lambda F, n, m: grid_weights(F, n, m, scale=1),
            "√h": lambda F, n, m: grid_weights(F, n, m, scale=F.shape[-2] // n),
            "divided by w": lambda F, n, m: grid_weights(F, n, m, scale=(F.shape[-1] // m) ** 2),
            "softmax axis": lambda F, n, m: grid_weights(F, n, m, axis=-1),
            "over the channels": lambda F, n, m: grid_weights(F, n, m, axis=2),
            "transposed grid": lambda F, n, m: grid_weights(F, n, m, cut="b c (n h) (m w) -> b (m n) c h w"),
            "not before": lambda F, n, m: grid_weights(F, n, m, early=True),
            "Fᵀ F": lambda F, n, m: grid_weights(F, n, m, turned=True),
            "step by step": lambda F, n, m: grid_weights(F, n, m, cut="b c (h n) (w m) -> b (n m) c h w"),
            "the shape is": lambda F, n, m: grid_weights(F, n, m).mean(dim=-1),
        },
    ),
    checks.row_entropy: (
        lambda w: entropy(w).mean(),
        {
            "not a number": lambda w: -(w * w.log()).sum(dim=-1).mean(),
            "minus sign": lambda w: -entropy(w).mean(),
            "base 2": lambda w: entropy(w).mean() / torch.log(torch.tensor(2.0)),
            "sum over the keys": lambda w: torch.special.entr(w).mean(),
            "were added up": lambda w: entropy(w).sum(),
            "the shape is": entropy,
        },
    ),
    checks.token_read: (
        reader,
        {
            "whatever the head does": blind_reader,
            "off by one": lambda head, states: reader(head, states, shift=1),
            "was said to read token 52": lambda head, states: 52 - reader(head, states),
        },
    ),
    checks.telling_attention: (
        telling,
        {
            "layers swapped": lambda: telling(wrong_way=True),
            "transposed matrix": lambda: [a.mT for a in telling()],
            "does token 0 look": lambda: [torch.full((1, 1, 3, 3), 1 / 3)] * 2,
            "(1, 1, 3, 3)": lambda: telling()[:1],
            "only 0.00": lambda: [torch.eye(3)[None, None]] * 2,
        },
    ),
    checks.class_row: (
        attention_row,
        {
            "no scale": lambda *a: attention_row(*a, scale=1),
            "√dim": lambda *a: attention_row(*a, scale=12),
            "divided by d": lambda *a: attention_row(*a, scale=16),
            "bias is missing": lambda x, weight, bias, heads: attention_row(x, weight, 0 * bias, heads),
            "over the queries": lambda *a: attention_row(*a, axis=2),
            "off by one": lambda *a: attention_row(*a, row=1),
            "the column": lambda *a: attention_row(*a, row=slice(None))[..., 0],
            "interleaved": lambda *a: attention_row(*a, split="(three d heads)"),
            "mixed up": lambda *a: attention_row(*a, order=(0, 2, 1)),
            "class token dropped": lambda *a: attention_row(*a)[..., 1:],
            "the shape is": lambda *a: attention_row(*a)[:, 0],
            "step by step": lambda *a: attention_row(*a, order=(2, 1, 0)),
        },
    ),
    checks.clip: (
        scaled,
        {
            "in place": lambda p, limit: [q.grad / 2 for q in p],
            "clamped": clamped,
            "by itself": each_alone,
            "short enough": lambda p, limit: scaled(p, limit, always=True),
            "too long": lambda p, limit: scaled(p, limit, measure=lambda grads: max(g.norm() for g in grads)),
        },
    ),
    checks.share_of_first: (
        lambda d, n: d ** (n - 1),
        {
            "off by one": lambda d, n: d**n,
            "not multiplied by 1 - d": lambda d, n: (1 - d) * d ** (n - 1),
            "plain mean": lambda d, n: 1 / n,
            "all later weights": lambda d, n: 1 - d ** (n - 1),
            "on paper": lambda d, n: d ** (n - 2),
        },
    ),
    checks.least_loss: (
        floor,
        {
            "0 · log 0": lambda v: -(to_distribution(v) * to_distribution(v).log()).sum(dim=1).mean(),
            "the sum": lambda v: 3 * floor(v),
            "bits": lambda v: floor(v) / torch.log(torch.tensor(2.0)),
            "majority label": lambda v: -to_distribution(v).amax(dim=1).log().mean(),
            "sum over the expressions": lambda v: floor(v) / 8,
            "hard label": lambda v: 0.0,
            "mean entropy": lambda v: -floor(v),
        },
    ),
    checks.grad_cam: (
        lambda maps, slopes: cam(maps, slopes).relu(),
        {
            "no ReLU": cam,
            "after the sum": lambda m, s: (s.mean(dim=(2, 3), keepdim=True) * m).relu().sum(dim=1),
            "not weighted": lambda m, s: m.sum(dim=1),
            "its own slope": lambda m, s: cam(m, s, weigh=s).relu(),
            "averaged over the channels": lambda m, s: cam(m, s, over=1).relu(),
            "over the faces too": lambda m, s: cam(m, s, over=(0, 2, 3)).relu(),
            "not averaged": lambda m, s: (s.mean(dim=(2, 3), keepdim=True) * m).mean(dim=1).relu(),
            "not added up": lambda m, s: 16 * cam(m, s).relu(),
            "numbers on paper": lambda m, s: cam(m, s).abs(),
            "the shape is": lambda m, s: cam(m, s).relu()[:, None],
        },
    ),
    checks.negative_share: (
        lambda heat: heat.clamp(max=0).abs().sum() / heat.abs().sum(),
        {
            "positive part;": lambda heat: -heat.clamp(max=0).sum() / heat.clamp(min=0).sum(),
            "share of the positive": lambda heat: heat.clamp(min=0).sum() / heat.abs().sum(),
            "not negative": lambda heat: heat.clamp(max=0).sum() / heat.abs().sum(),
            "counts pixels": lambda heat: (heat < 0).float().mean(),
            "signs cancel": lambda heat: -heat.clamp(max=0).sum() / heat.sum(),
            "heat itself": lambda heat: heat.clamp(max=0).abs().sum(),
            "9 of 20": lambda heat: heat.clamp(max=0).square().sum() / heat.square().sum(),
        },
    ),
    checks.dark_share: (
        lambda heat, light: dark_mean(heat.abs(), light),
        {
            "absolute value first": dark_mean,
            "how many pixels": lambda heat, light: dark_part(torch.ones_like(heat), light).mean(),
            "brightest": lambda heat, light: dark_mean(heat.abs(), light, end=0.8),
            "one threshold": lambda heat, light: dark_mean(heat.abs(), light, level=light.quantile(0.2)),
            "thrown together": lambda heat, light: dark_part(heat.abs(), light).sum() / heat.abs().sum(),
            "added up": lambda heat, light: len(heat) * dark_mean(heat.abs(), light),
            "of a dark pixel": lambda heat, light: dark_part(heat.abs(), light).sum() / dark_part(heat**0, light).sum(),
            "the darkest fifth of each": lambda heat, light: dark_mean(heat.abs(), light, end=0.4),
            "the shape is": lambda heat, light: dark_part(heat.abs(), light).sum(dim=(1, 2)),
        },
    ),
    checks.runner_up: (
        lambda logits: logits.topk(2, dim=1).indices[:, 1],
        {
            "first choice": lambda logits: logits.argmax(dim=1),
            "third choice": lambda logits: logits.topk(3, dim=1).indices[:, 2],
            "least likely": lambda logits: logits.argmin(dim=1),
            "these are the logits": lambda logits: logits.topk(2, dim=1).values[:, 1],
            "rank of class 1": lambda logits: logits.argsort(dim=1, descending=True).argsort(dim=1)[:, 1],
            "sort the classes": lambda logits: torch.zeros(len(logits)),
            "the shape is": lambda logits: logits.topk(2, dim=1).indices,
        },
    ),
    checks.staircase: (
        walk,
        {
            "how far its input walks, x": lambda *a: walk(*a, far=torch.ones(1, 3)),
            "turned round": lambda *a: -walk(*a),
            "take their mean": lambda *a: walk(*a, mean=False),
            "starts at 0": lambda f, x, b, n: walk(f, x, b, n, start=torch.zeros_like(x)),
            "x alone is not how far": lambda f, x, b, n: walk(f, x, b, n, far=x),
            "slopes at x alone": lambda *a: straight(*a, alphas=torch.ones(1, 1)),
            "straight line": straight,
            "left ends": lambda *a: walk(*a, place=0.0),
            "right ends": lambda *a: walk(*a, place=1.0),
            "the last input walked first": lambda *a: walk(*a, order=(2, 1, 0)),
            "those that have walked stay": lambda *a: walk(*a, stay=False),
            "not at x": lambda f, x, b, n: walk(f, x, b, n, wait=x),
            "0 and 6": lambda *a: walk(*a, order=(1, 0, 2)),
            "the shape is": lambda *a: walk(*a)[0],
        },
    ),
    checks.place_share: (
        in_place,
        {
            "by chance": lambda make: in_place(make, torch.eye(16)[5].reshape(1, 16, 1)),
            "place by place": lambda make: in_place(
                make, agree=lambda a, b: a.flatten().sort()[0] == b.flatten().sort()[0]
            ),
            "compare pixels": lambda make: in_place(make, agree=lambda a, b: region_means(a) == region_means(b)),
            "wrong place": lambda make: 1 - in_place(make),
            "in percent": lambda make: 100 * in_place(make),
            "counts pixels": lambda make: 2304 * in_place(make),
            "down the columns": lambda make: in_place(lambda w: make(w.reshape(4, 4).T.reshape(1, 16, 1))),
            "one number": lambda make: make(torch.arange(16.0).reshape(1, 16, 1)) == 0,
            "yes or no": lambda make: in_place(make) == 1,
            "numbers 0 to 15": lambda make: in_place(make) / 2,
        },
    ),
    checks.changed: (
        differ,
        {
            "nothing was changed": lambda loaded, module: list(loaded),
            "new values was missed": lambda loaded, module: [],
            "buffers": lambda loaded, module: differ(loaded, module, dict(module.named_parameters())),
            "in another order": lambda loaded, module: differ(
                loaded, module, same=lambda a, b: torch.isclose(a.float().mean(), b.float().mean())
            ),
            "norm is the same": lambda loaded, module: differ(
                loaded,
                module,
                same=lambda a, b: (
                    torch.isclose(a.float().pow(2).sum(), b.float().pow(2).sum())
                    and torch.isclose(a.float().abs().flatten()[0], b.float().abs().flatten()[0])
                ),
            ),
            "one changed number": lambda loaded, module: differ(loaded, module, same=lambda a, b: (a == b).any()),
            "list of names": lambda loaded, module: len(differ(loaded, module)),
            "sixth digit": lambda loaded, module: differ(loaded, module, same=torch.allclose),
            "whole numbers": lambda loaded, module: [n for n in differ(loaded, module) if "tracked" not in n],
            "that stayed": lambda loaded, module: (
                [n for n in loaded if n not in differ(loaded, module)] if differ(loaded, module) else []
            ),
            "yet your list has": lambda loaded, module: [
                *differ(loaded, module),
                *(["1.weight"] if differ(loaded, module) else []),
            ],
        },
    ),
    checks.dead: (
        no_gradient,
        {
            "stays None": lambda model, x: [],
            "every parameter is used": lambda model, x: ["second.weight", "second.bias"],
            "every parameter: which": lambda model, x: list(model.state_dict()),
            "that are used": lambda model, x: [
                n for n, _ in model.named_parameters() if n not in no_gradient(model, x)
            ],
            "not None": lambda model, x: no_gradient(model, x, gone=lambda g: g is None or not g.any()),
            "parameter names": lambda model, x: len(no_gradient(model, x)),
            "second is found, but": lambda model, x: (
                [*found, "first.weight"] if (found := no_gradient(model, x)) else []
            ),
            "earlier pass": lambda model, x: no_gradient(model, x, clear=False),
        },
    ),
    checks.protocol_of: (
        by_rows,
        {
            "sum each row": lambda confusion, counts: "neither",
            "the columns fit": lambda confusion, counts: (
                found if (found := by_rows(confusion, counts)) != "neither" else by_rows(confusion.T, counts)
            ),
            "not that of each": lambda confusion, counts: by_rows(
                confusion,
                counts,
                same=lambda a, b: a.sum() == b.sum() and not torch.equal(confusion.sum(dim=0), counts["argmax"]),
            ),
            "close, not equal": lambda confusion, counts: by_rows(
                confusion, counts, same=lambda a, b: torch.allclose(a.float(), b.float(), rtol=0.01)
            ),
            "one face off": lambda confusion, counts: by_rows(confusion, counts, same=lambda a, b: a[0] == b[0]),
            "not None": lambda confusion, counts: (
                None if by_rows(confusion, counts) == "neither" else by_rows(confusion, counts)
            ),
            "is none of": lambda confusion, counts: "plain",
        },
    ),
    checks.siblings: (
        with_sibling,
        {
            "counts subjects": lambda s, t: len(set(s[t].tolist()) & set(s[~t].tolist())) / len(set(s[t].tolist())),
            "share of training images": lambda s, t: with_sibling(s, t, asked=~t, among=t),
            "its own sibling": lambda s, t: with_sibling(s, t, among=slice(None)),
            "not of all images": lambda s, t: with_sibling(s, t) * t.sum() / len(t),
            "without a sibling": lambda s, t: 1 - with_sibling(s, t),
            "of all images; ask": lambda s, t: with_sibling(s, t, asked=slice(None)),
            "in percent": lambda s, t: 100 * with_sibling(s, t),
            "number of images": lambda s, t: with_sibling(s, t) * t.sum(),
            "one number": lambda s, t: torch.isin(s[t], s[~t]),
            "yes or no": lambda s, t: torch.isin(s[t], s[~t]).any(),
            "of which test images": lambda s, t: with_sibling(s, t) / 2,
        },
    ),
}
WRONG = [
    pytest.param(check, wrong, says, id=f"{check.__name__}: {says}")
    for check, (_, wrongs) in CASES.items()
    for says, wrong in wrongs.items()
]


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
def test_the_right_answer_is_right(check):
    assert check(CASES[check][0]) == "right"


@pytest.mark.parametrize("check", [checks.changed, checks.dead], ids=lambda check: check.__name__)
def test_names_may_come_from_a_generator(check):
    assert check(lambda *given: (name for name in CASES[check][0](*given))) == "right"


@pytest.mark.parametrize(("check", "wrong", "says"), WRONG)
def test_a_wrong_answer_is_refused_by_its_name(check, wrong, says):
    said = check(wrong)
    assert said.startswith("no: ") and says in said


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
def test_each_check_refuses_three_or_more_with_messages_of_their_own(check):
    said = [check(wrong) for wrong in CASES[check][1].values()]
    assert len(said) >= 3 and len(set(said)) == len(said)


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
def test_an_empty_stub_is_not_written_yet(check):
    assert check(lambda *_: None).startswith("not written yet")


def test_every_check_is_tested():
    assert {check.__name__ for check in CASES} == set(checks.__all__)
