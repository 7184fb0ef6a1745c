"""Checks of notebook 06: a diagnostic is right when it finds the fault, and finds none where there is none."""

from collections.abc import Callable

import torch
from einops import repeat
from torch import Tensor, nn

from .verdict import RIGHT, UNWRITTEN, no, verdict

ORDERS = {"sound": "(n h) (m w)", "scrambled": "(h n) (m w)", "turned": "(m h) (n w)", "columns": "(n h) (w m)"}


def place_share(answer: Callable[[Callable[[Tensor], Tensor]], float]) -> str:
    """Notebook 06, exercise 1. answer: a function from weights `(1, 16, 1)` to a map `(1, 1, 48, 48)` to a share."""
    makers = [_maker(order) for order in ORDERS.values()]
    found = [answer(make) for make in makers]
    if any(share is None for share in found):
        return UNWRITTEN
    numbers = torch.arange(16.0).reshape(1, 16, 1)
    own = makers[0](numbers)
    one = torch.zeros(1, 16, 1).index_fill(1, torch.tensor([5]), 1.0)
    sums = [float(_means(make(numbers)).eq(_means(own)).float().mean()) for make in makers]
    mistakes = {
        "a map that is 0 nearly everywhere agrees by chance: give every region a value of its own": torch.tensor(
            [float((make(one) == makers[0](one)).float().mean()) for make in makers]
        ),
        "sorted values, sums and histograms are the same in a scrambled map: compare place by place": torch.ones(4),
        "you compare means of regions; compare pixels": torch.tensor(sums),
        "that is the share of pixels in the wrong place": torch.tensor([0.0, 0.75, 0.75, 0.75]),
    }
    other = "fill the map with the numbers 0 to 15 and compare each pixel with the number of its region"
    return verdict(torch.tensor(found), torch.tensor([1.0, 0.25, 0.25, 0.25]), mistakes, other)


def _maker(order: str) -> Callable[[Tensor], Tensor]:
    return lambda weights: repeat(weights, f"b (n m) c -> b c {order}", n=4, m=4, h=12, w=12)


def _means(x: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(x, 12)


def changed(answer: Callable[[dict[str, Tensor], nn.Module], list[str]]) -> str:
    """Notebook 06, exercise 2. answer: loaded tensors by name and the module to the names whose values differ."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    generator = torch.Generator().manual_seed(0)
    loaded = {name: torch.rand(t.shape, generator=generator) + 1 for name, t in module.state_dict().items()}
    loaded |= {name: torch.tensor(7) for name in loaded if name.endswith("num_batches_tracked")}
    cases = {  # what is done to the module after loading, and what to say to an answer that misses it
        "": "nothing was changed here, yet your list names tensors",
        "0.weight": "a kernel with new values was missed: compare the values, not the names or the shapes",
        "1.running_mean": "BatchNorm's running statistics are buffers, no parameters: go through state_dict()",
        "2.weight": "a kernel whose numbers were only reordered was missed: its mean is the same, its values are not",
        "3.bias": "a bias was missed: go through every entry of state_dict()",
    }
    for name, mistake in cases.items():
        module.load_state_dict(loaded)
        if name:
            tensor = module.state_dict()[name]
            tensor.copy_(tensor.flip(0) if name == "2.weight" else torch.zeros_like(tensor))
        found = answer({key: t.clone() for key, t in loaded.items()}, module)
        if found is None:
            return UNWRITTEN
        if set(found) != ({name} if name else set()):
            return no(mistake if name not in found else f"only {name} was changed, yet your list has {sorted(found)}")
    return RIGHT


class _Forgetful(nn.Module):
    """Uses `first` twice and `second` never; `closed` is used, but lets no gradient through to `first` when 0."""

    def __init__(self, closed: float, uses_second: bool):
        super().__init__()
        self.first, self.second, self.closed = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1, bias=False)
        self.uses_second = uses_second
        nn.init.constant_(self.closed.weight, closed)

    def forward(self, x: Tensor) -> Tensor:
        return self.closed(self.first(x) + (self.second if self.uses_second else self.first)(x))


def dead(answer: Callable[[nn.Module, Tensor], list[str]]) -> str:
    """Notebook 06, exercise 3. answer: a model and an input to the names of the parameters that no output uses."""
    x, unused = torch.rand(2, 4, generator=torch.Generator().manual_seed(0)), {"second.weight", "second.bias"}
    cases = [  # weight of `closed`, is `second` used, was there a backward pass before, what to say
        (1.0, False, False, "second is never used, so its gradient stays None: run backward and look for None"),
        (1.0, True, False, "every parameter is used here, yet your list names some"),
        (0.0, True, False, "a gradient of 0 is not None: here the layer is used, but behind it stands a weight of 0"),
        (1.0, False, True, "a gradient of an earlier pass was still there: set all to None before your backward"),
    ]
    for closed, uses_second, stale, mistake in cases:
        model = _Forgetful(closed, uses_second)
        if stale:
            for p in model.parameters():
                p.grad = torch.ones_like(p)
        found = answer(model, x)
        if found is None:
            return UNWRITTEN
        if set(found) != (set() if uses_second else unused):
            return no(mistake)
    return RIGHT


def protocol_of(answer: Callable[[Tensor, dict[str, Tensor]], str]) -> str:
    """Notebook 06, exercise 4. answer: a confusion matrix and faces per expression by protocol to a protocol's name."""
    counts = {"majority": torch.tensor([40, 30, 20, 10]), "argmax": torch.tensor([44, 33, 25, 13])}
    spread = torch.tensor([[7, 1, 1, 1], [2, 6, 1, 1], [0, 1, 8, 1], [3, 3, 3, 1]]) / 10  # answers of each true class
    cases = {
        name: (_confusion(true, spread), name, "the rows hold the true expressions: sum each row, and compare")
        for name, true in counts.items()
    }
    turned = _confusion(counts["argmax"], spread).T
    cases["columns"] = (turned, "neither", "the sums over the answers fit, those over the true expressions do not")
    mixed = _confusion(counts["majority"].flip(0), spread)
    cases["total"] = (mixed, "neither", "the number of faces fits, but not the number in each expression")
    for confusion, truth, mistake in cases.values():
        found = answer(confusion, counts)
        if found is None:
            return UNWRITTEN
        if found not in (*counts, "neither"):
            return no(f"{found!r} is none of 'majority', 'argmax', 'neither'")
        if found != truth:
            return no(mistake)
    return RIGHT


def _confusion(true: Tensor, spread: Tensor) -> Tensor:
    counts = (true[:, None] * spread).floor().long()
    return counts + torch.diag(true - counts.sum(dim=1))  # what rounding lost goes to the right answers


def siblings(answer: Callable[[Tensor, Tensor], float]) -> str:
    """Notebook 06, exercise 5. answer: subjects `(n,)` and test `(n,)` bool to a share of the test images."""
    subjects = torch.tensor([1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5])
    test = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0], dtype=torch.bool)
    known = torch.isin(subjects[test], subjects[~test]).float()
    mistakes = {
        "that counts subjects; count test images": 3 / 4,
        "that is the share of training images with a sibling in the test": float(
            torch.isin(subjects[~test], subjects[test]).float().mean()
        ),
        "an image is its own sibling in your count: look for its subject among the training images only": 1.0,
        "the share is of the test images, not of all images": float(known.sum() / len(subjects)),
        "that is the share without a sibling": float(1 - known.mean()),
    }
    return verdict(answer(subjects, test), known.mean(), mistakes, "torch.isin asks of each value whether it occurs")
