"""Checks of notebook 06: a diagnostic is right when it finds the fault, and stays silent where there is none."""

from collections.abc import Callable, Iterable

import torch
from einops import repeat
from torch import Tensor, nn

from .verdict import RIGHT, UNWRITTEN, no, verdict

ORDERS = {"sound": "(n h) (m w)", "scrambled": "(h n) (m w)", "turned": "(m h) (n w)", "columns": "(n h) (w m)"}


def place_share(answer: Callable[[Callable[[Tensor], Tensor]], float]) -> str:
    """Notebook 06, exercise 3. answer takes a function, `(1, 16, 1)` to `(1, 1, 48, 48)`, and returns a share."""
    makers = [_maker(order) for order in ORDERS.values()]
    found = [answer(make) for make in makers]
    if any(share is None for share in found):
        return UNWRITTEN
    if any(torch.as_tensor(share).numel() != 1 for share in found):
        return no("return one number, the share of the pixels")
    if any(torch.as_tensor(share).dtype == torch.bool for share in found):
        return no("yes or no is not enough: return the share of the pixels")
    numbers = torch.arange(16.0).reshape(1, 16, 1)
    own = makers[0](numbers)
    one = torch.zeros(1, 16, 1).index_fill(1, torch.tensor([5]), 1.0)
    sums = [float(_means(make(numbers)).eq(_means(own)).float().mean()) for make in makers]
    mistakes = {
        "a map that is 0 nearly everywhere agrees by chance: give every region its own value": torch.tensor(
            [float((make(one) == makers[0](one)).float().mean()) for make in makers]
        ),
        "it gives a scrambled map a 1: sums and histograms stay the same, so compare place by place": torch.ones(4),
        "that is in percent": torch.tensor([100.0, 25.0, 25.0, 25.0]),
        "that counts pixels: divide by how many there are": torch.tensor([2304.0, 576.0, 576.0, 576.0]),
        "you number the regions down the columns; number them row by row": torch.tensor([0.25, 0.0625, 1.0, 0.0625]),
        "you compare means of regions; compare pixels": torch.tensor(sums),
        "that is the share of pixels in the wrong place": torch.tensor([0.0, 0.75, 0.75, 0.75]),
    }
    other = "fill the map with the numbers 0 to 15 and compare each pixel with the number of its region"
    shares = torch.tensor([float(share) for share in found])
    return verdict(shares, torch.tensor([1.0, 0.25, 0.25, 0.25]), mistakes, other)


def _maker(order: str) -> Callable[[Tensor], Tensor]:
    return lambda weights: repeat(weights, f"b (n m) c -> b c {order}", n=4, m=4, h=12, w=12)


def _means(x: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(x, 12)


def changed(answer: Callable[[dict[str, Tensor], nn.Module], list[str]]) -> str:
    """Notebook 06, exercise 4. answer takes loaded tensors by name and the module; returns the names that differ."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    generator = torch.Generator().manual_seed(0)
    loaded = {name: torch.rand(t.shape, generator=generator) + 1 for name, t in module.state_dict().items()}
    loaded |= {name: torch.tensor(7) for name in loaded if name.endswith("num_batches_tracked")}
    changes = {  # tensor: how we change it after loading, and the sentence for an answer that misses this
        "": (
            lambda t: t,
            "nothing was changed here, yet your list names tensors: do you look for values that differ?",
        ),
        "0.weight": (torch.zeros_like, "you missed a kernel with new values: compare values, not names or shapes"),
        "1.running_mean": (
            torch.zeros_like,
            "BatchNorm's running statistics are buffers, not parameters: go through state_dict()",
        ),
        "2.weight": (
            lambda t: t.flip(0),
            "you missed a kernel in another order: its mean is the same, but its values are not",
        ),
        "3.weight": (torch.neg, "you missed a tensor with flipped signs: its norm is the same, its values are not"),
        "3.bias": (
            _with_another_end,
            "one changed number is enough: you missed a bias whose last value differs",
        ),
        "0.bias": (
            lambda t: t * (1 + 1e-6),
            "you missed a change in the sixth digit: values are equal or they are not",
        ),
        "1.num_batches_tracked": (
            lambda t: t + 1,
            "you missed a tensor of whole numbers: every tensor in state_dict() counts, even a zero-dimensional one",
        ),
    }
    for name, (change, mistake) in changes.items():
        module.load_state_dict(loaded)
        if name:
            tensor = module.state_dict()[name]
            tensor.copy_(change(tensor.clone()))
        found = answer({key: t.clone() for key, t in loaded.items()}, module)
        if found is None:
            return UNWRITTEN
        if (found := _names(found)) is None:
            return no("return a list of names")
        if set(found) == set(loaded) - {name} and name:
            return no("those are the tensors that stayed as they were")
        if set(found) != ({name} if name else set()):
            return no(mistake if name not in found else f"only {name} was changed, yet your list has {sorted(found)}")
    return RIGHT


def _names(found: object) -> list[str] | None:
    """The strings in an answer; None if it is not a collection of strings."""
    if isinstance(found, str) or not isinstance(found, Iterable):
        return None
    found = list(found)
    return found if all(isinstance(name, str) for name in found) else None


def _with_another_end(t: Tensor) -> Tensor:
    t[-1] += 1
    return t


class _Forgetful(nn.Module):
    """Uses `first` twice or both layers once; `closed` is always used, but lets no gradient through when it is 0."""

    def __init__(self, closed: float, uses_second: bool):
        super().__init__()
        self.first, self.second, self.closed = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1, bias=False)
        self.uses_second = uses_second
        nn.init.constant_(self.closed.weight, closed)

    def forward(self, x: Tensor) -> Tensor:
        return self.closed(self.first(x) + (self.second if self.uses_second else self.first)(x))


def dead(answer: Callable[[nn.Module, Tensor], list[str]]) -> str:
    """Notebook 06, exercise 5. answer takes a model and an input; returns the names of unused parameters."""
    x, unused = torch.rand(2, 4, generator=torch.Generator().manual_seed(0)), {"second.weight", "second.bias"}
    cases = [  # weight of `closed`; is `second` used? was there a backward pass before? the sentence
        (1.0, False, False, "second is never used, so its gradient stays None: run backward and look for None"),
        (1.0, True, False, "every parameter is used here, yet your list names some"),
        (
            0.0,
            True,
            False,
            "every layer is used here, but a weight of 0 hides its effect: a gradient of 0 is not None",
        ),
        (1.0, False, True, "a gradient from an earlier pass was still there: set all to None before you run backward"),
    ]
    for closed, uses_second, stale, mistake in cases:
        model = _Forgetful(closed, uses_second)
        if stale:
            for p in model.parameters():
                p.grad = torch.ones_like(p)
        found = answer(model, x)
        if found is None:
            return UNWRITTEN
        if (found := _names(found)) is None or not set(found) <= dict(model.named_parameters()).keys():
            return no("return a list of parameter names, as named_parameters() gives them")
        if not uses_second and not unused & set(found) and set(found):
            return no("those are parameters that are used")
        if not uses_second and unused < set(found) and len(found) < 5:
            return no(f"second is found, but {sorted(set(found) - unused)} is used")
        if set(found) != (set() if uses_second else unused):
            return no(mistake if len(found) < 5 else "your list has every parameter: which of them got no gradient?")
    return RIGHT


def protocol_of(answer: Callable[[Tensor, dict[str, Tensor]], str]) -> str:
    """Notebook 06, exercise 1. answer takes a confusion matrix and counts by protocol; returns a protocol's name."""
    counts = {
        "majority": torch.tensor([40, 30, 25, 20, 15, 4, 6, 3]),
        "argmax": torch.tensor([46, 33, 28, 24, 18, 5, 7, 4]),
    }
    spread = (6 * torch.eye(8) + 0.5).softmax(dim=1) * 0.8 + 0.2 / 8  # answers of each true class
    near = counts["argmax"] + torch.tensor([0, 0, 0, 0, 0, 0, 1, -1])
    cases = [
        *(
            (_confusion(true, spread), name, "the rows hold the true expressions: sum each row")
            for name, true in counts.items()
        ),
        (
            _confusion(counts["majority"].flip(0), spread),
            "neither",
            "the total number of faces fits, but not that of each expression: the answer here is 'neither'",
        ),
        (_confusion(counts["argmax"], spread).T, "neither", "here the columns fit; the rows are the true expressions"),
        (_confusion(near, spread), "neither", "two rare expressions are one face off: compare all rows exactly"),
        (_confusion(counts["argmax"] * 100 + near - counts["argmax"], spread), "neither", "that is close, not equal"),
    ]
    for number, (confusion, truth, mistake) in enumerate(cases):
        large = int(confusion.sum()) > 1000
        found = answer(confusion, {name: faces * 100 if large else faces for name, faces in counts.items()})
        if found is None:
            return UNWRITTEN if number == 0 else no("return 'neither', not None")
        if found not in (*counts, "neither"):
            return no(f"{found!r}: return 'majority', 'argmax' or 'neither'")
        if found != truth:
            return no(mistake)
    return RIGHT


def _confusion(true: Tensor, spread: Tensor) -> Tensor:
    counts = (true[:, None] * spread).floor().long()
    return counts + torch.diag(true - counts.sum(dim=1))  # rounding losses go to the right answers


def siblings(answer: Callable[[Tensor, Tensor], float]) -> str:
    """Notebook 06, exercise 2. answer takes subjects `(n,)` and test `(n,)` bool; returns a share of test images."""
    subjects = torch.tensor([1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5])
    test = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0], dtype=torch.bool)
    known = torch.isin(subjects[test], subjects[~test]).float()
    mistakes = {
        "that counts subjects; count test images": 3 / 4,
        "that is the share of training images with a sibling in the test": float(
            torch.isin(subjects[~test], subjects[test]).float().mean()
        ),
        "your count makes an image its own sibling: look for its subject among the training images only": 1.0,
        "give the share of the test images, not of all images": float(known.sum() / len(subjects)),
        "you took the share of all images; ask about the test images only": float(
            torch.isin(subjects, subjects[~test]).float().mean()
        ),
        "that is the share without a sibling": float(1 - known.mean()),
        "that is in percent": float(100 * known.mean()),
        "that is the number of images: divide by how many are in the test": float(known.sum()),
    }
    found = answer(subjects, test)
    if found is not None and torch.as_tensor(found).numel() != 1:
        return no("return one number, the share")
    if found is not None and torch.as_tensor(found).dtype == torch.bool:
        return no("that is yes or no; what share of the test images is it?")
    return verdict(found, known.mean(), mistakes, "which test images have their subject among the training images?")
