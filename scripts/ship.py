"""Ship a finished run: `python scripts/ship.py RUN_FOLDER NAME` fills data/checkpoints/NAME.{safetensors,json}.

The test split is looked at here, once, with the fp16 weights as they are shipped.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.evaluation import evaluate, predict, report
from fervt_lib.model import CHECKPOINTS, load_weights


def confusion(model: torch.nn.Module, dataset: str) -> list[list[int]]:
    """Counts `[true][predicted]` on the test split (FER+: majority), mirror-averaged."""
    faces = load(dataset, "test")
    cell = faces.labels * len(EXPRESSIONS) + predict(model, faces).argmax(dim=1)
    return cell.bincount(minlength=len(EXPRESSIONS) ** 2).reshape(len(EXPRESSIONS), -1).tolist()


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
    facts |= {
        "protocol": "drawn" if dataset == "drawn" else "majority",
        "mirror": True,
        "accuracy": {name: s["accuracy"] for name, s in scores.items()},
        "test": scores,
        "confusion": confusion(model, dataset),
    }
    target.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    print(report(scores))


if __name__ == "__main__":
    main()
