"""Scores of a model, by the protocol of each dataset.

python -m fervt_lib.evaluation                                        the shipped weights, FER+ test split
python -m fervt_lib.evaluation --temperature 0.514                    the same, calibrated as their card says
python -m fervt_lib.evaluation --dataset ckplus                       the same weights on all of CK+
python -m fervt_lib.evaluation --dataset ckplus --checkpoint runs/ckplus-*/model.safetensors
                                                each fold's weights on its fold, and the mean over the folds
python -m fervt_lib.evaluation --dataset rafdb --checkpoint runs/rafdb/model.safetensors
"""

import argparse
import json
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_recall,
)
from torchvision.transforms.v2.functional import horizontal_flip
from tqdm.auto import tqdm

from .data import (
    CK48_FOLDERS,
    CKPLUS_CODES,
    EXPRESSIONS,
    FER2013_CODES,
    LOADER_OPTIONS,
    LOADERS,
    RAFDB_CODES,
    Faces,
    load,
    shared,
)
from .model import FERVT, CheckpointError, FERVT_Compact_Weights, face_transforms, load_weights

PROTOCOLS = ("majority", "argmax")


@torch.no_grad()  # not inference_mode: its tensors cannot be targets of an attribution
def predict(model: FERVT, faces: Faces, *, mirror: bool = True) -> Tensor:
    """Probabilities `(n, classes)` on the CPU, float32; with `mirror`, the mean of a face's and its mirror image's.

    Runs in float32 on the model's device and leaves the model in eval mode.
    """
    device = next(model.parameters()).device
    transforms = face_transforms(model.side)
    model.eval()
    batches = []
    for start in tqdm(range(0, len(faces), 256), desc="predicting", leave=False):
        images, _ = faces[start : start + 256]
        x = transforms(images.to(device))
        probabilities = model(x).float().softmax(dim=1)
        if mirror:
            probabilities = (probabilities + model(horizontal_flip(x)).float().softmax(dim=1)) / 2
        batches.append(probabilities.cpu())
    return torch.cat(batches)


def score(probabilities: Tensor, labels: Tensor) -> dict:
    """Scores of probabilities `(n, 8)` against labels `(n,)`.

    Returns:
        `faces`, and rounded to 4 digits: `accuracy`, `macro_f1` and `recall` (by expression) over the expressions that
        occur, `ece` (expected calibration error, 15 bins).
    """
    classes = len(EXPRESSIONS)
    present = labels.bincount(minlength=classes) > 0
    recall = multiclass_recall(probabilities, labels, classes, average="none")
    f1 = multiclass_f1_score(probabilities, labels, classes, average="none")
    return {
        "faces": len(labels),
        "accuracy": _rounded(multiclass_accuracy(probabilities, labels, classes, average="micro")),
        "macro_f1": _rounded(f1[present].mean()),
        "ece": _rounded(multiclass_calibration_error(probabilities, labels, classes)),
        "recall": {name: _rounded(recall[i]) for i, name in enumerate(EXPRESSIONS) if present[i]},
    }


def fit_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature under which probabilities `(n, classes)` of validation faces fit their labels `(n,)` best.

    It has the least mean -log p(label) after `temper` (Guo et al. 2017). Above 1 the model was too sure, below 1 not
    sure enough.
    """
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.nll_loss(temper(probabilities, log_temperature.exp()).log(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().exp())


def temper(probabilities: Tensor, temperature: Tensor | float) -> Tensor:
    """Probabilities `(n, classes)` at a temperature: softmax(log p / T). Their order, and so the answer, stays."""
    return (probabilities.clamp(min=1e-9).log() / temperature).softmax(dim=1)


def evaluate(
    model: FERVT,
    split: str = "test",
    *,
    dataset: str = "ferplus",
    mirror: bool = True,
    temperature: float = 1.0,
    **options,
) -> dict:
    """Scores on a split by protocol, `{protocol: scores}`, see `score`.

    FER+ is scored under both its protocols, *majority* and *argmax*. Where a dataset lacks an expression, a second
    entry has the scores with that answer ruled out: a model from elsewhere may give it, and is wrong each time.

    Args:
        temperature: see `temper`; it changes the calibration error alone.
        options: of the dataset's loader; `load_ckplus` takes `fold` and `classes`.
    """
    scores = {}
    for name, faces in _sets(dataset, split, options).items():
        probabilities = predict(model, faces, mirror=mirror)
        if temperature != 1:
            probabilities = temper(probabilities, temperature)
        scores[name] = score(probabilities, faces.labels)
        if absent := absent_expressions(dataset, options.get("classes", 7)):
            named = " and ".join(EXPRESSIONS[label] for label in absent)
            scores[f"{name}, {named} ruled out"] = score(rule_out(probabilities, absent), faces.labels)
    return scores


def _sets(dataset: str, split: str, options: dict) -> dict[str, Faces]:
    if dataset == "ferplus":
        return {protocol: load(dataset, split, protocol=protocol, **options) for protocol in PROTOCOLS}
    faces = load(dataset, split, **options)
    return {faces.protocol: faces}


def absent_expressions(dataset: str, classes: int = 7) -> list[int]:
    """Labels that do not occur in a dataset; classes: of CK+."""
    occur = {
        "ckplus": CKPLUS_CODES if classes == 8 else CK48_FOLDERS.values(),
        "fer2013": FER2013_CODES,
        "rafdb": RAFDB_CODES,
    }.get(dataset, EXPRESSIONS)
    return [label for label, name in enumerate(EXPRESSIONS) if name not in occur]


def rule_out(probabilities: Tensor, labels: list[int]) -> Tensor:
    """Probabilities `(n, classes)` with those of some labels at 0; rows sum to 1 again."""
    kept = probabilities.index_fill(1, torch.tensor(labels), 0.0)
    return kept / kept.sum(dim=1, keepdim=True)


def report(scores: dict) -> str:
    """Scores as lines a person reads."""
    lines = []
    for protocol, s in scores.items():
        lines.append(
            f"{protocol}: {s['faces']:,} faces, accuracy {100 * s['accuracy']:.2f} %, "
            f"macro-F1 {s['macro_f1']:.3f}, calibration error {s['ece']:.3f}"
        )
        lines.append("  recall " + ", ".join(f"{name} {value:.2f}" for name, value in s["recall"].items()))
    return "\n".join(lines)


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)


def average(folds: list[dict]) -> dict:
    """The scores of several folds, each as `evaluate` gives it for one fold, put together.

    Returns:
        For each protocol, its name without the fold: `folds`, `faces` in all, mean `accuracy` and `macro_f1` over the
        folds, `deviation` of the accuracy between them, and `pooled`, the accuracy over all faces together.
    """
    together = {}
    for entries in zip(*(scores.items() for scores in folds), strict=True):
        faces, accuracy, macro_f1 = torch.tensor(
            [[s["faces"], s["accuracy"], s["macro_f1"]] for _, s in entries], dtype=torch.float64
        ).unbind(1)
        together[re.sub(r"fold \d+ of \d+, ", "", entries[0][0])] = {
            "folds": len(folds),
            "faces": int(faces.sum()),
            "accuracy": _rounded(accuracy.mean()),
            "deviation": _rounded(accuracy.std()),
            "macro_f1": _rounded(macro_f1.mean()),
            "pooled": _rounded((accuracy * faces).sum() / faces.sum()),
        }
    return together


def report_average(together: dict) -> str:
    """What `average` returns as lines a person reads."""
    return "\n".join(
        f"{name}: mean of {s['folds']} folds, accuracy {100 * s['accuracy']:.2f} % "
        f"(standard deviation {100 * s['deviation']:.2f}), macro-F1 {s['macro_f1']:.3f}; "
        f"all {s['faces']:,} faces together {100 * s['pooled']:.2f} %"
        for name, s in together.items()
    )


def made_by(checkpoint: Path) -> dict:
    """How a weights file was made, from the JSON beside it: `recipe`, and in `start` the same of the weights that the
    run began from, if any. Empty where there is no JSON.

    Raises:
        CheckpointError: the JSON is damaged, or no record of a run.
    """
    made = checkpoint.with_suffix(".json")
    try:
        facts = json.loads(made.read_text()) if made.is_file() else {}
    except ValueError as error:  # no JSON, or no text at all
        raise CheckpointError(f"{made}: no readable JSON ({error}); copy it again, or remove it") from error
    if not _is_record(facts):
        raise CheckpointError(f"{made}: no record of a run of this library; copy it again, or remove it")
    return {name: facts[name] for name in ("recipe", "start") if facts.get(name)}


def _is_record(facts: object) -> bool:
    """Are these facts empty, or those of a run and of the runs before it?"""
    if not (isinstance(facts, dict) and isinstance(facts.get("recipe", {}), dict)):
        return False
    recipe, start = facts.get("recipe", {}), facts.get("start")
    needed = LOADER_OPTIONS["ckplus"] if recipe.get("dataset") == "ckplus" else ()
    whole = not recipe or recipe.keys() >= {"dataset", *needed}
    return whole and (not start or _is_record(start))


def _place(dataset: str, split: str | None, classes: int | None, recipe: dict) -> tuple[str, dict]:
    """Split and options of a test: the fold that was kept from the training; all of CK+ for weights from elsewhere."""
    if dataset != "ckplus":
        if classes:
            raise ValueError(f"--classes {classes}: only CK+ has a choice of them")
        return split or "test", {}
    if recipe.get("dataset") != "ckplus":
        return split or "all", {"classes": classes or 7}
    if classes not in (None, recipe["classes"]):
        raise ValueError(f"--classes {classes}: these weights are of {recipe['classes']}; leave the option out")
    return split or "test", {name: recipe[name] for name in LOADER_OPTIONS["ckplus"]}


def warn_of_shared(made: dict, dataset: str, split: str, options: dict) -> list[str]:
    """What the faces of a test share with those that the weights were trained on, in words; empty: nothing.

    Args:
        made: what `made_by` says of the weights.
    """
    recipe = made.get("recipe")
    if not recipe:
        return ["no recipe of the weights is here, so nobody knows whether they were trained on these faces"]
    trained = {name: recipe[name] for name in LOADER_OPTIONS.get(recipe["dataset"], ()) if name in recipe}
    try:
        train = load(recipe["dataset"], "train", **trained)
    except ValueError as error:  # DataError, or faces of a user's own
        return [f"the training faces ({recipe['dataset']}) were not compared with these: {error}"]
    said = []
    for name, faces in _sets(dataset, split, options).items():
        for what, count in shared(train, faces).items():
            if count:
                said.append(f"{name}: {count:,} {what} of {split} are in the training set of these weights too")
    if recipe.get("start"):  # weights that began from others have seen the faces of those too
        said += warn_of_shared(made.get("start", {}), dataset, split, options)
    return list(dict.fromkeys(said))


def _check_folds(recipes: list[dict], dataset: str, split: str | None) -> None:
    """Several weights are the folds of one cross-validation, or their mean says nothing."""
    if dataset != "ckplus" or split not in (None, "test", "validation"):
        raise ValueError("several weights: only folds of CK+ have a mean, with --dataset ckplus, test or validation")
    folds = [recipe.get("fold") for recipe in recipes if recipe.get("dataset") == "ckplus"]
    if len(folds) < len(recipes) or len({recipe["classes"] for recipe in recipes}) > 1:
        raise ValueError("several weights: they must be folds of CK+, all with 7 or all with 8 classes")
    if len(set(folds)) < len(folds):
        raise ValueError(f"two weights of one fold: the folds are {', '.join(map(str, sorted(folds)))}")
    if missing := set(range(10)) - set(folds):
        print(f"warning: without fold {', '.join(map(str, sorted(missing)))} of 10", file=sys.stderr)


def _evaluate_file(path: Path, args: argparse.Namespace) -> tuple[str, dict]:
    """The split, and the scores on it."""
    made = made_by(path)
    split, options = _place(args.dataset, args.split, args.classes, made.get("recipe", {}))
    how = {"mirror": not args.no_mirror, "temperature": args.temperature}
    scores = evaluate(load_weights(path), split, dataset=args.dataset, **how, **options)
    if split != "train":
        for text in warn_of_shared(made, args.dataset, split, options):
            print(f"warning: {text}", file=sys.stderr)
    if args.json:
        mirror = "" if not args.no_mirror else "-no-mirror"
        classes = f"-{options['classes']}" if "classes" in options else ""
        tempered = f"-temperature-{args.temperature:g}" if args.temperature != 1 else ""
        written = path.with_suffix(f".{args.dataset}-{split}{classes}{mirror}{tempered}.json")
        written.write_text(json.dumps(scores, indent=1) + "\n")
    return split, scores


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fervt_lib.evaluation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        nargs="+",
        default=[FERVT_Compact_Weights.DEFAULT.path],
        help="a weights file; several: the folds of CK+",
    )
    parser.add_argument("--dataset", choices=sorted(LOADERS), default="ferplus")
    parser.add_argument("--classes", type=int, choices=(7, 8), help="of CK+, for weights from elsewhere; default: 7")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test", "all"),
        help="default: test; all for CK+ and weights from elsewhere",
    )
    parser.add_argument(
        "--no-mirror", action="store_true", help="predict from the face alone, not its mirror image too"
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="calibrates the probabilities; no answer changes"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, and write each weights' scores beside them"
    )
    args = parser.parse_args(arguments)
    if not 0 < args.temperature < float("inf"):
        parser.error(f"--temperature {args.temperature}: a temperature is above 0")
    try:
        if len(args.checkpoint) > 1:
            _check_folds([made_by(path).get("recipe", {}) for path in args.checkpoint], args.dataset, args.split)
        splits, all_scores = zip(*(_evaluate_file(path, args) for path in args.checkpoint), strict=True)
    except (ValueError, OSError) as error:  # DataError, CheckpointError, a split that the dataset lacks, no permission
        sys.exit(f"error: {error}")
    together = average(all_scores) if len(all_scores) > 1 else {}
    if args.json:
        print(json.dumps({"folds": all_scores, "mean": together} if together else all_scores[0]))
    else:
        print(f"{args.dataset}, {splits[0]}")
        print("\n".join([*map(report, all_scores), *([report_average(together)] if together else [])]))


if __name__ == "__main__":
    main()
