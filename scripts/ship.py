"""Ship a finished run: `python scripts/ship.py RUN_FOLDER NAME` fills data/checkpoints/NAME.{safetensors,json}.

The test split is looked at here, once, with the fp16 weights as they are shipped, before any file is touched. The
temperature is fitted on validation faces. A run on FER+ leaves its record in data/results/, which must not be there
yet. Then `python -m fervt_lib.protocol weights` looks at its validation faces for copies of training faces, and
`python scripts/card.py` writes the model card.
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch

from fervt_lib.ablation import RESULTS, read_record, write_json
from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.evaluation import evaluate, fit_temperature, predict, report, score, temper
from fervt_lib.model import CHECKPOINTS, load_weights


def confusion(probabilities: torch.Tensor, labels: torch.Tensor) -> list[list[int]]:
    """Counts `[true][predicted]`."""
    cell = labels * len(EXPRESSIONS) + probabilities.argmax(dim=1)
    return cell.bincount(minlength=len(EXPRESSIONS) ** 2).reshape(len(EXPRESSIONS), -1).tolist()


def calibration(probabilities: torch.Tensor, labels: torch.Tensor, model: torch.nn.Module, dataset: str) -> dict:
    """Temperature fitted on validation faces, and the test's calibration error with and without it."""
    validation = load(dataset, "validation")
    temperature = round(fit_temperature(predict(model, validation), validation.labels), 3)
    before, after = (score(temper(probabilities, t), labels)["ece"] for t in (1.0, temperature))
    return {"temperature": temperature, "ece": before, "ece_tempered": after}


def judge(weights: Path, dataset: str) -> dict:
    """What a run's fp16 weights score on the test split."""
    model = load_weights(weights)
    test = load(dataset, "test")
    scores, probabilities = evaluate(model, dataset=dataset), predict(model, test)
    return {
        "protocol": test.protocol,
        "mirror": True,
        "accuracy": {name: s["accuracy"] for name, s in scores.items()},
        "test": scores,
        "confusion": confusion(probabilities, test.labels),
        "calibration": calibration(probabilities, test.labels, model, dataset),
    }


def record_of(recipe: dict) -> tuple[Path, str]:
    """The file in data/results/ that a run on FER+ leaves, and what it is there."""
    variant = "restart" if recipe.get("start") else "reference"
    return RESULTS / f"{recipe['preset']}-{variant}-{recipe['epochs']}-{recipe['seed']}.json", variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    args = parser.parse_args()
    try:
        facts = read_record(args.run / "model.json")
        recipe = facts["recipe"]
        record, variant = record_of(recipe)
        if recipe["dataset"] == "ferplus" and record.exists():
            sys.exit(f"error: {record} is the record of such a run already: delete it if this one takes its place")
        facts |= judge(args.run / "model.safetensors", recipe["dataset"])
    except ValueError as error:  # DataError, CheckpointError
        sys.exit(f"error: {error}")
    target = CHECKPOINTS / f"{args.name}.safetensors"
    shutil.copyfile(args.run / "model.safetensors", target.with_suffix(".part"))
    target.with_suffix(".part").replace(target)
    write_json(target.with_suffix(".json"), facts)
    if recipe["dataset"] == "ferplus":
        write_json(record, facts | {"variant": variant})
    print(report(facts["test"]), facts["calibration"], sep="\n")


if __name__ == "__main__":
    main()
