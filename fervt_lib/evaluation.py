"""Score a model under the protocol of each dataset."""

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


@torch.no_grad()  # not inference_mode: attribution methods cannot use its tensors as targets
def predict(
    model: FERVT,
    faces: Faces | Subset | Tensor,
    *,
    mirror: bool = True,
    calibrated: bool = True,
    prior: Literal["training", "uniform"] = "training",
) -> Tensor:
    """Probabilities `(n, classes)` on the CPU, float32.

    This runs on the model's device, in the precision of its weights or of the surrounding autocast, and leaves the
    model in eval mode.

    Args:
        faces: a set of faces, or a batch that `as_face` accepts.
        mirror: average the predictions for a face and its mirror image.
        calibrated: use the temperature that came with the weights, so that 80 % is right four times in five.
        prior: "training" assumes that expressions are as frequent as in training, which is right for similar faces.
            "uniform" assumes that all are equally frequent, as in posed pictures: the model finds rare expressions
            more often and misses frequent ones more often (Saerens et al. 2002).

    Raises:
        FervtError: there are no faces, the answers are not finite numbers (from damaged weights, for example), or the
            weights do not say how frequent the expressions were.
    """
    check_prior(model, prior)
    images = as_face(faces) if isinstance(faces, Tensor) else as_faces(faces).pictures
    weight = next(model.parameters())
    if not len(images):
        raise FervtError("there are no faces to predict: choose another split, or another selection")
    transforms = to_side(model.side)
    model.eval()
    batches = []
    step = 32 if weight.device.type == "cpu" else 1024  # faces at a time; the fastest on each, with the same answers
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
        `faces` and, rounded to 4 digits, `accuracy`, `macro_f1` and `recall` (per expression) over the expressions that
        occur, and `ece` (expected calibration error, 15 bins).
    """
    from torchmetrics.functional import classification as metrics  # imported here: it loads SciPy, which is slow

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
    """The temperature at which probabilities `(n, classes)` of validation faces best fit their labels `(n,)`.

    It minimizes the mean -log p(label) after `apply_temperature` (Guo et al. 2017). Above 1, the model was
    overconfident; below 1, it was underconfident.
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
    """Probabilities `(n, classes)` at a temperature: softmax(log p / T). This keeps their order, and so the answer."""
    return (probabilities.clamp(min=1e-9).log() / temperature).softmax(dim=1)


def uniform_prior(probabilities: Tensor, prior: Sequence[float]) -> Tensor:
    """Adjust probabilities `(n, classes)`, made under the class frequencies in `prior`, to equal frequencies."""
    answers = probabilities / torch.tensor(prior)
    return answers / answers.sum(dim=1, keepdim=True)


def mask_classes(probabilities: Tensor, labels: list[int]) -> Tensor:
    """Probabilities `(n, classes)` with those of the given labels set to 0; each row sums to 1 again."""
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
    """Score a model on a split under each protocol: `{protocol: scores}`, see `score`.

    We score FER+ under both its protocols, *majority* and *argmax*. If a dataset lacks an expression, a second entry
    gives the scores with that answer masked: a model trained elsewhere may give it, and is wrong each time. For a fold,
    the scores include its number.

    Args:
        model: one model, or several; we score the mean of their predictions.
        temperature: see `apply_temperature`; only the calibration error changes. None: the weights' own temperature.
        options: options for the dataset's loader; `load_ckplus` takes `fold` and `classes`.
    """
    scores, sets = {}, _sets(dataset, split, options)
    largest = max(sets, key=len)  # for FER+, the argmax faces, which include the majority faces
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
    """Score a weights file on the faces held out from its training.

    Args:
        split: None means the test split; for a dataset with folds, the fold held out from training, or all folds for
            weights trained elsewhere.
        classes: CK+ only, for weights trained elsewhere.
        how: `mirror` and `temperature`, see `evaluate`.

    Returns:
        The split, the scores, and warnings about overlap between its faces and the training faces.
    """
    check_choice("dataset", dataset, DATASETS)
    provenance = read_provenance(path)
    split, options = _kept_from_training(dataset, split, classes, provenance.get("recipe", {}))
    scores = evaluate(load_weights(path), split, dataset=dataset, **how, **options)
    warnings = [] if split == "train" else training_overlap(provenance, dataset, split, options)
    return split, scores, warnings


def _kept_from_training(dataset: str, split: str | None, classes: int | None, recipe: dict) -> tuple[str, dict]:
    """The split and the loader options for a test."""
    defaults, options = DATASETS[dataset].options, {}
    if "fold" in defaults:
        if recipe.get("dataset") != dataset:  # weights trained elsewhere
            return split or "all", {"classes": classes or defaults["classes"]}
        if missing := defaults.keys() - recipe.keys():
            raise CheckpointError(f"the record beside the weights does not say the {min(missing)}; copy it again")
        options = {name: recipe[name] for name in defaults}
    if classes not in (None, options.get("classes")):
        only = "only weights from elsewhere have the choice, on CK+; leave the option out"
        raise FervtError(f"--classes {classes}: {only}")
    return split or "test", options


def training_overlap(provenance: dict, dataset: str, split: str, options: dict) -> list[str]:
    """Warnings about overlap between the test faces and the weights' training faces; empty if there is none.

    Args:
        provenance: what `read_provenance` returns for the weights.
    """
    recipe = provenance.get("recipe")
    if not recipe:
        return ["these weights have no record, so nobody knows whether they were trained on these faces"]
    try:
        trained_on = DATASETS[recipe["dataset"]].options if recipe["dataset"] in DATASETS else ()
        train = load(recipe["dataset"], "train", **{name: recipe[name] for name in trained_on if name in recipe})
    except FervtError as error:  # for example, the training faces were a user's own
        return [f"the training faces ({recipe['dataset']}) were not compared with these: {error}"]
    found = [
        f"{faces.protocol}: {count:,} {what} of {split} are in the training set of these weights too"
        for faces in _sets(dataset, split, options)
        for what, count in overlap(train, faces).items()
        if count
    ]
    if recipe.get("start"):  # weights that started from others have seen their training faces too
        found += training_overlap(provenance.get("start", {}), dataset, split, options)
    return list(dict.fromkeys(found))


def check_folds(recipes: list[dict], dataset: str) -> None:
    """Raise FervtError unless the weights come from different folds of one cross-validation on `dataset`."""
    folds = [recipe.get("fold") for recipe in recipes if recipe.get("dataset") == dataset]
    is_one = "fold" in DATASETS[dataset].options and len({recipe.get("classes") for recipe in recipes}) == 1
    if not is_one or not len(recipes) == len(folds) == len(set(folds)):
        raise FervtError(f"only different folds of CK+, all with 7 or all with 8 classes, have a mean; here: {folds}")


def mean_over_folds(folds: list[dict]) -> dict:
    """Combine the scores of several folds, each as `evaluate` returns them for one fold.

    Returns:
        For each protocol: the number of `folds` and `faces`; `accuracy` and `macro_f1`, the means over the folds;
        `deviation`, the accuracy's standard deviation over folds; and `pooled`, the accuracy over all faces together.
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
    """Format scores from `evaluate` or `mean_over_folds` as lines for people to read."""
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
