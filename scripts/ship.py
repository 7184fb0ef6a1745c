"""Ship a finished run: `python scripts/ship.py RUN_FOLDER NAME` fills data/checkpoints/NAME.{safetensors,json}.

The test split is looked at here, once, with the fp16 weights as they are shipped. The temperature is fitted on
validation faces. The model card is written again, and a run on FER+ leaves its record in data/results/; then
`python -m fervt_lib.protocol weights` and `python scripts/card.py` look at its validation faces for twins.
"""

import argparse
import json
import shutil
from pathlib import Path

import card
import torch

from fervt_lib.ablation import RESULTS, write_json
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    args = parser.parse_args()
    facts = json.loads((args.run / "model.json").read_text())
    target = CHECKPOINTS / f"{args.name}.safetensors"
    shutil.copyfile(args.run / "model.safetensors", target)
    model = load_weights(target)
    dataset = facts["recipe"]["dataset"]
    scores = evaluate(model, dataset=dataset)
    test = load(dataset, "test")
    probabilities = predict(model, test)
    facts |= {
        "protocol": "drawn" if dataset == "drawn" else "majority",
        "mirror": True,
        "accuracy": {name: s["accuracy"] for name, s in scores.items()},
        "test": scores,
        "confusion": confusion(probabilities, test.labels),
        "calibration": calibration(probabilities, test.labels, model, dataset),
    }
    write_json(target.with_suffix(".json"), facts)
    card.write()
    if dataset == "ferplus":
        recipe = facts["recipe"]
        variant = "restart" if recipe.get("start") else "reference"
        name = f"{recipe['preset']}-{variant}-{recipe['epochs']}-{recipe['seed']}.json"
        write_json(RESULTS / name, facts | {"variant": variant})
    print(report(scores))
    print(facts["calibration"])


if __name__ == "__main__":
    main()
