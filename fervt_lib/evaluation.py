"""Scores of a model: `python -m fervt_lib.evaluation` evaluates the shipped weights on the FER+ test split."""

import argparse
import json
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

from .data import EXPRESSIONS, DataError, Faces, load
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


def evaluate(model: FERVT, split: str = "test", *, dataset: str = "ferplus", mirror: bool = True) -> dict:
    """Scores under both FER+ protocols, `{"majority": {…}, "argmax": {…}}`; a drawn set has one, `{"drawn": {…}}`."""
    if dataset == "drawn":
        sets = {"drawn": load("drawn", split)}
    else:
        sets = {protocol: load(dataset, split, protocol=protocol) for protocol in PROTOCOLS}
    return {name: score(predict(model, faces, mirror=mirror), faces.labels) for name, faces in sets.items()}


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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m fervt_lib.evaluation", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=FERVT_Compact_Weights.DEFAULT.path, help="a weights file")
    parser.add_argument("--dataset", choices=("ferplus", "drawn"), default="ferplus")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument(
        "--no-mirror", action="store_true", help="predict from the face alone, not its mirror image too"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, and write it beside the checkpoint")
    args = parser.parse_args(arguments)
    try:
        model = load_weights(args.checkpoint)
        scores = evaluate(model, args.split, dataset=args.dataset, mirror=not args.no_mirror)
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(scores) if args.json else report(scores))
    if args.json:
        mirror = "" if not args.no_mirror else "-no-mirror"
        path = args.checkpoint.with_suffix(f".{args.dataset}-{args.split}{mirror}.json")
        path.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
