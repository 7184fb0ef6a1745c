"""How far seeds of the shipped recipe lie apart, at a shorter budget: `python scripts/spread.py`.

Like the shipped weights, each run begins on *majority* faces and goes on from there on *argmax* faces with half the
learning rate; it takes 4 and 2 epochs in place of 24 and 32: about 35 minutes of one CPU thread. Its record
goes to data/results/, and it is not made again while that is there.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from fervt_lib.ablation import RESULTS, read_record, write_json
from fervt_lib.evaluation import evaluate, report
from fervt_lib.training import Recipe, train

FIRST = Recipe(epochs=4)
SECOND = Recipe(epochs=2, peak_lr=1e-3, protocol="argmax")


def run(seed: int, runs: Path) -> dict:
    """Train both parts with a seed and score the end once on the test split; the folders in `runs` resume."""
    first, second = (runs / f"spread-{part}-{seed}" for part in ("first", "second"))
    train(replace(FIRST, seed=seed), first)
    model = train(replace(SECOND, seed=seed, start=str(first / "model.safetensors")), second)
    facts = read_record(second / "model.json")
    return facts | {"variant": "restart", "mirror": True, "test": evaluate(model)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()
    for seed in args.seeds:
        written = RESULTS / f"compact-restart-{SECOND.epochs}-{seed}.json"
        if not written.is_file():
            write_json(written, run(seed, args.runs))
        print(report(read_record(written)["test"]))


if __name__ == "__main__":
    main()
