"""Scores of a model, by the protocol of each dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms.v2.functional import horizontal_flip
from tqdm.auto import tqdm

from .data import DATASETS, EXPRESSIONS, Faces, as_faces, load, overlap
from .disk import CheckpointError, FervtError, check_choice
from .model import FERVT, load_weights, read_provenance
from .model.weights import to_side
from .pictures import as_face


@torch.no_grad()  # not inference_mode: its tensors cannot be targets of an attribution
def predict(
    model: FERVT,
    faces: Faces | Subset | Tensor,
    *,
    mirror: bool = True,
    calibrated: bool = True,
    prior: Literal["training", "uniform"] = "training",
) -> Tensor:
    """Probabilities `(n, classes)` on the CPU, float32.

    Runs on the model's device, in the precision of its weights or of the autocast around the call, and leaves the
    model in eval mode.

    Args:
        faces: a set of faces, or a batch of them as `as_face` takes it.
        mirror: the mean of the answers to a face and to its mirror image.
        calibrated: at the temperature that came with the weights, so that 80 % is right four times in five.
        prior: "training" expects each expression as often as it occurred in training, which is right for faces like
            those. "uniform" expects all alike, as in posed pictures: rare expressions are found more often, and
            frequent ones are missed more often (Saerens et al. 2002).

    Raises:
        FervtError: there are no faces, the answers are not numbers, as those of damaged weights, or the weights do not
            say how frequent the expressions were.
    """
    check_prior(model, prior)
    images = as_face(faces) if isinstance(faces, Tensor) else as_faces(faces).pictures
    weight = next(model.parameters())
    if not len(images):
        raise FervtError("there are no faces to predict: choose another split, or another selection")
    transforms = to_side(model.side)
    model.eval()
    batches = []
    step = 32 if weight.device.type == "cpu" else 1024  # faces at a time: what is fastest there, with the same answers
    for start in tqdm(range(0, len(images), step), desc="predicting", leave=False, disable=len(images) <= step):
        x = transforms(images[start : start + step].to(weight.device)).to(weight.dtype)
        probabilities = model(x).float().softmax(dim=1)
        if mirror:
            probabilities = (probabilities + model(horizontal_flip(x)).float().softmax(dim=1)) / 2
        batches.append(probabilities)
    answers = torch.cat(batches).cpu()
    if not answers.isfinite().all():
        raise FervtError("the model's answers are not numbers: its weights or its precision are at fault")
    if calibrated and model.temperature != 1:
        answers = apply_temperature(answers, model.temperature)
    return uniform_prior(answers, model.prior) if prior == "uniform" else answers


def check_prior(model: FERVT, prior: str) -> None:
    """Raise FervtError unless `predict` can use this prior with this model."""
    check_choice("prior", prior, ("training", "uniform"))
    if prior == "uniform" and model.prior is None:
        raise FervtError("prior 'uniform': the record of these weights does not say how frequent the expressions were")


def score(probabilities: Tensor, labels: Tensor) -> dict:
    """Scores of probabilities `(n, 8)` against labels `(n,)`.

    Returns:
        `faces`, and rounded to 4 digits: `accuracy`, `macro_f1` and `recall` (by expression) over the expressions that
        occur, `ece` (expected calibration error, 15 bins).
    """
    from torchmetrics.functional import classification as metrics  # here, since it imports SciPy, which takes seconds

    classes = len(EXPRESSIONS)
    if probabilities.shape != (len(labels), classes) or not probabilities.isfinite().all():
        raise FervtError(
            f"probabilities {tuple(probabilities.shape)} of {len(labels)} faces: give finite (n, {classes})"
        )
    present = labels.bincount(minlength=classes) > 0
    recall = metrics.multiclass_recall(probabilities, labels, classes, average="none")
    f1 = metrics.multiclass_f1_score(probabilities, labels, classes, average="none")
    return {
        "faces": len(labels),
        "accuracy": _rounded(metrics.multiclass_accuracy(probabilities, labels, classes, average="micro")),
        "macro_f1": _rounded(f1[present].mean()),
        "ece": _rounded(metrics.multiclass_calibration_error(probabilities, labels, classes)),
        "recall": {name: _rounded(recall[i]) for i, name in enumerate(EXPRESSIONS) if present[i]},
    }


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)


def fit_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature under which probabilities `(n, classes)` of validation faces fit their labels `(n,)` best.

    It has the least mean -log p(label) after `apply_temperature` (Guo et al. 2017). Above 1 the model was too sure,
    below 1 not sure enough.
    """
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.nll_loss(apply_temperature(probabilities, log_temperature.exp()).log(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().exp())


def apply_temperature(probabilities: Tensor, temperature: Tensor | float) -> Tensor:
    """Probabilities `(n, classes)` at a temperature: softmax(log p / T). Their order, and so the answer, stays."""
    return (probabilities.clamp(min=1e-9).log() / temperature).softmax(dim=1)


def uniform_prior(probabilities: Tensor, prior: Sequence[float]) -> Tensor:
    """Probabilities `(n, classes)` of a model that expected each expression as often as `prior`, had it expected all
    alike."""
    answers = probabilities / torch.tensor(prior)
    return answers / answers.sum(dim=1, keepdim=True)


def mask_classes(probabilities: Tensor, labels: list[int]) -> Tensor:
    """Probabilities `(n, classes)` with those of some labels at 0; rows sum to 1 again."""
    kept = probabilities.index_fill(1, torch.tensor(labels), 0.0)
    return kept / kept.sum(dim=1, keepdim=True)


# --- by dataset and protocol -------------------------------------------------------------------------------------


def evaluate(
    model: FERVT | Sequence[FERVT],
    split: str = "test",
    *,
    dataset: str = "ferplus",
    mirror: bool = True,
    temperature: float | None = None,
    **options,
) -> dict:
    """Scores on a split by protocol, `{protocol: scores}`, see `score`.

    FER+ is scored under both its protocols, *majority* and *argmax*. Where a dataset lacks an expression, a second
    entry has the scores with that answer masked: a model from elsewhere may give it, and is wrong each time. Scores of
    a fold also say which one it is.

    Args:
        model: of several, the mean of their answers is scored.
        temperature: see `apply_temperature`; it changes the calibration error alone. None: the weights' own.
        options: of the dataset's loader; `load_ckplus` takes `fold` and `classes`.
    """
    scores, sets = {}, _sets(dataset, split, options)
    largest = max(sets, key=len)  # of FER+ the argmax faces; those of majority are among them
    models = [model] if isinstance(model, FERVT) else model
    answers = [predict(each, largest, mirror=mirror, calibrated=temperature is None) for each in models]
    predicted = torch.stack(answers).mean(dim=0)
    for faces in sets:
        probabilities = predicted[torch.isin(largest.rows, faces.rows)]
        if temperature not in (None, 1):
            probabilities = apply_temperature(probabilities, temperature)
        fold = {} if faces.fold is None else {"fold": faces.fold}
        scores[faces.protocol] = fold | score(probabilities, faces.labels)
        if faces.absent:
            absent = " and ".join(EXPRESSIONS[label] for label in faces.absent)
            masked = mask_classes(probabilities, faces.absent)
            scores[f"{faces.protocol}, {absent} masked"] = fold | score(masked, faces.labels)
    return scores


def _sets(dataset: str, split: str, options: dict) -> list[Faces]:
    check_choice("dataset", dataset, DATASETS)
    return [load(dataset, split, **options | protocol) for protocol in DATASETS[dataset].scored]


def evaluate_weights(
    path: Path, dataset: str = "ferplus", split: str | None = None, classes: int | None = None, **how
) -> tuple[str, dict, list[str]]:
    """Scores of a weights file on the faces that were kept from its training.

    Args:
        split: None means the test split; for a dataset in folds, the fold kept from the training, or all of it for
            weights from elsewhere.
        classes: of CK+, for weights from elsewhere.
        how: `mirror` and `temperature`, see `evaluate`.

    Returns:
        The split, the scores, and warnings about what its faces share with those of the training.
    """
    check_choice("dataset", dataset, DATASETS)
    provenance = read_provenance(path)
    split, options = _kept_from_training(dataset, split, classes, provenance.get("recipe", {}))
    scores = evaluate(load_weights(path), split, dataset=dataset, **how, **options)
    warnings = [] if split == "train" else training_overlap(provenance, dataset, split, options)
    return split, scores, warnings


def _kept_from_training(dataset: str, split: str | None, classes: int | None, recipe: dict) -> tuple[str, dict]:
    """Split and options of a test."""
    defaults, options = DATASETS[dataset].options, {}
    if "fold" in defaults:
        if recipe.get("dataset") != dataset:  # weights from elsewhere
            return split or "all", {"classes": classes or defaults["classes"]}
        if missing := defaults.keys() - recipe.keys():
            raise CheckpointError(f"the record beside the weights does not say the {min(missing)}; copy it again")
        options = {name: recipe[name] for name in defaults}
    if classes not in (None, options.get("classes")):
        only = "only weights from elsewhere have the choice, on CK+; leave the option out"
        raise FervtError(f"--classes {classes}: {only}")
    return split or "test", options


def training_overlap(provenance: dict, dataset: str, split: str, options: dict) -> list[str]:
    """What the faces of a test share with those that the weights were trained on, in words; empty: nothing.

    Args:
        provenance: what `read_provenance` says of the weights.
    """
    recipe = provenance.get("recipe")
    if not recipe:
        return ["these weights have no record, so nobody knows whether they were trained on these faces"]
    try:
        trained_on = DATASETS[recipe["dataset"]].options if recipe["dataset"] in DATASETS else ()
        train = load(recipe["dataset"], "train", **{name: recipe[name] for name in trained_on if name in recipe})
    except FervtError as error:  # also faces of a user's own
        return [f"the training faces ({recipe['dataset']}) were not compared with these: {error}"]
    found = [
        f"{faces.protocol}: {count:,} {what} of {split} are in the training set of these weights too"
        for faces in _sets(dataset, split, options)
        for what, count in overlap(train, faces).items()
        if count
    ]
    if recipe.get("start"):  # weights that began from others have seen the faces of those too
        found += training_overlap(provenance.get("start", {}), dataset, split, options)
    return list(dict.fromkeys(found))


def check_folds(recipes: list[dict], dataset: str) -> None:
    """Raise FervtError unless several weights are different folds of one cross-validation on `dataset`."""
    folds = [recipe.get("fold") for recipe in recipes if recipe.get("dataset") == dataset]
    is_one = "fold" in DATASETS[dataset].options and len({recipe.get("classes") for recipe in recipes}) == 1
    if not is_one or not len(recipes) == len(folds) == len(set(folds)):
        raise FervtError(f"only different folds of CK+, all with 7 or all with 8 classes, have a mean; here: {folds}")


def mean_over_folds(folds: list[dict]) -> dict:
    """The scores of several folds, each as `evaluate` gives it for one fold, put together.

    Returns:
        For each protocol: `folds` and `faces`, their numbers; `accuracy` and `macro_f1`, the means over the folds;
        `deviation` of the accuracy between them; and `pooled`, the accuracy over all faces together.
    """
    means = {}
    for protocol in folds[0]:
        scores = [[fold[protocol][name] for name in ("faces", "accuracy", "macro_f1")] for fold in folds]
        faces, accuracy, macro_f1 = torch.tensor(scores, dtype=torch.float64).unbind(1)
        means[protocol] = {
            "folds": len(folds),
            "faces": int(faces.sum()),
            "accuracy": _rounded(accuracy.mean()),
            "deviation": _rounded(accuracy.std()),
            "macro_f1": _rounded(macro_f1.mean()),
            "pooled": _rounded((accuracy * faces).sum() / faces.sum()),
        }
    return means


def report(scores: dict) -> str:
    """Scores, of `evaluate` or `mean_over_folds`, as lines a person reads."""
    lines = []
    for protocol, s in scores.items():
        correct, f1 = f"accuracy {100 * s['accuracy']:.2f} %", f"macro-F1 {s['macro_f1']:.3f}"
        if "folds" in s:
            spread = f"(standard deviation {100 * s['deviation']:.2f})"
            together = f"all {s['faces']:,} faces together {100 * s['pooled']:.2f} %"
            lines.append(f"{protocol}: mean of {s['folds']} folds, {correct} {spread}, {f1}; {together}")
            continue
        fold = f"fold {s['fold']} of 10, " if "fold" in s else ""
        lines.append(f"{fold}{protocol}: {s['faces']:,} faces, {correct}, {f1}, calibration error {s['ece']:.3f}")
        lines.append("  recall " + ", ".join(f"{name} {value:.2f}" for name, value in s["recall"].items()))
    return "\n".join(lines)
