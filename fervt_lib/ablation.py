"""What each part of FER-VT and each fault is worth: `python -m fervt_lib.ablation` trains them all at one budget.

    python -m fervt_lib.ablation                               every variant, seeds 0 to 2 (hours on a CPU)
    python -m fervt_lib.ablation scrambled_map --seeds 0       one of them
    python -m fervt_lib.ablation pretrained wiped pretrained_unnormalised --preset paper --epochs 10
                                                               what ImageNet's weights are worth: needs them and a GPU

Each run leaves one JSON file in data/results/ and is not made again while that is there. At the end the comparison of
all runs of this budget is printed.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from . import faults
from .data import Augment, load
from .evaluation import predict, score
from .model import FERVT, PRESETS, CheckpointError, LevelTokens, fervt_paper
from .model.backbone import Pyramid
from .training import Recipe, train

RESULTS = Path(__file__).parents[1] / "data" / "results"
BUDGET = Recipe(preset="tiny", epochs=3, batch_size=64)


@dataclass(frozen=True)
class Variant:
    """One change to a sound FER-VT; all else, the random weights of untouched parts too, stays as it is.

    Attributes:
        says: the change in words.
        against: the variant it is to be compared with.
        change: what is done to the model.
        recipe: fields of the recipe that differ.
        augment: changes to the training faces.
        build: makes the model where a preset does not.
    """

    says: str
    against: str = "reference"
    change: Callable[[FERVT], FERVT] = lambda model: model
    recipe: dict = field(default_factory=dict)
    augment: Augment = field(default_factory=Augment)
    build: Callable[[], FERVT] | None = None


class EqualWeights(nn.Module):
    """Stands for grid-wise attention that finds all regions alike: the attended image is the image."""

    def __init__(self, grid: int):
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(b, c, H, W)` to itself and the weights `(b, G, c)`, each 1/G."""
        return x, x.new_full((len(x), self.grid**2, x.shape[1]), 1 / self.grid**2)


class ImageAlone(nn.Module):
    """Stands for a fusion that leaves the image as it is."""

    def forward(self, image: Tensor, attended: Tensor) -> Tensor:
        return image


class MeanOfLastMap(nn.Module):
    """Stands for tokens: what a CNN without a transformer reads."""

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Three maps to the mean of the last one, `(b, c)`."""
        return pyramid[-1].mean(dim=(2, 3))


class LinearHead(nn.Module):
    """Stands for the transformer: a linear layer that attends to nothing."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`(b, channels)` to logits `(b, classes)` and no attention."""
        return self.head(x), []


def equal_weights(model: FERVT) -> FERVT:
    model.grid_attention = EqualWeights(model.grid_attention.grid)
    return model


def no_low_level(model: FERVT) -> FERVT:
    model.fusion = ImageAlone()
    return equal_weights(model)


def no_transformer(model: FERVT) -> FERVT:
    model.tokens = MeanOfLastMap()
    model.transformer = LinearHead(model.backbone.channels[-1], model.transformer.head.out_features)
    return model


def bare_cnn(model: FERVT) -> FERVT:
    return no_transformer(no_low_level(model))


def level_tokens(model: FERVT) -> FERVT:
    dim = model.transformer.cls.shape[-1]
    model.tokens = LevelTokens(model.backbone.channels, dim)
    model.transformer.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 4, dim), std=0.02))
    return model


ABLATIONS = {
    "reference": Variant("FER-VT, tiny preset"),
    "equal_weights": Variant("no attention: every region weighs the same", change=equal_weights),
    "no_low_level": Variant("neither attention nor fusion: the backbone sees the face", change=no_low_level),
    "no_transformer": Variant("no transformer: mean of the last map, linear layer", change=no_transformer),
    "bare_cnn": Variant("no attention, fusion or transformer: the bare CNN", change=bare_cnn),
    "level_tokens": Variant("level tokens: one per pyramid level (3), not per cell (54)", change=level_tokens),
    "hard_labels": Variant("the winning label as the target, not the votes", recipe={"targets": "hard"}),
    "all_votes": Variant("trained on ambiguous faces too (argmax), votes as cast", recipe={"protocol": "argmax"}),
}
FAULTS = {
    "scrambled_map": Variant("2 · scrambled map: its rows cycle through the grid", change=faults.scrambled_map),
    "dark_attention": Variant("3 · dark: weights of mean 1/16 without a scale", change=faults.dark_attention),
    "dense_split": Variant("4 · dense convolution where regions are cut", change=faults.dense_split),
    "shared_fusion": Variant("5 · one convolution for both inputs of the fusion", change=faults.shared_fusion),
    "no_normalisation": Variant("6 · no normalisation before the backbone", change=faults.no_normalisation),
    "shared_levels": Variant(
        "7 · levels share weights, zeros at the start (against level tokens)",
        against="level_tokens",
        change=lambda model: faults.shared_levels(level_tokens(model)),
    ),
    "upside_down": Variant("11 · of 7 faces 2 upside down, 1 turned by up to 90°", augment=faults.UpsideDown()),
    "no_warm_up": Variant(
        "13 · learning rate 1e-3 throughout, no warm-up", recipe={"schedule": "constant", "peak_lr": 1e-3}
    ),
    "fixed_scale": Variant("14 · scores over 56, dropout on the attention that is kept", change=faults.fixed_scale),
}
IMAGENET = {
    "pretrained": Variant(
        "ResNet-34 with ImageNet's weights",
        against="pretrained",
        build=lambda: fervt_paper(weights_backbone="IMAGENET1K_V1"),
    ),
    "wiped": Variant(
        "1 · ImageNet's weights wiped by a second initialisation",
        against="pretrained",
        build=lambda: fervt_paper(weights_backbone="IMAGENET1K_V1"),
        change=faults.wiped,
    ),
    "pretrained_unnormalised": Variant(
        "6 · no normalisation before ImageNet's weights",
        against="pretrained",
        build=lambda: fervt_paper(weights_backbone="IMAGENET1K_V1"),
        change=faults.no_normalisation,
    ),
}
VARIANTS = ABLATIONS | FAULTS | IMAGENET


def make(name: str, preset: str = "tiny") -> FERVT:
    """A model of variant `name` before training. Its run writes that name as the preset, so no builder loads it."""
    variant = VARIANTS[name]
    return variant.change((variant.build or PRESETS[preset])())


def run(name: str, budget: Recipe, runs: Path, results: Path = RESULTS) -> dict:
    """Train variant `name`, score it once on the test split (majority, mirror-averaged), write and return the facts.

    Args:
        budget: the recipe that all variants share; the variant changes its own fields of it.
        runs: folder for checkpoints; a run goes on from there.
    """
    variant = VARIANTS[name]
    recipe = replace(budget, preset=f"{budget.preset}-{name}", **variant.recipe)
    folder = runs / f"{recipe.preset}-{recipe.epochs}-{recipe.seed}"
    written = results / f"{folder.name}.json"
    if written.is_file():
        return _same_run(written, recipe)
    model = train(recipe, folder, build=lambda: make(name, budget.preset), augment=variant.augment)
    test = load(recipe.dataset, "test")
    facts = json.loads((folder / "model.json").read_text()) | {
        "variant": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "mirror": True,
        "test": {test.protocol: score(predict(model, test), test.labels)},
    }
    write_json(written, facts)
    return facts


def _same_run(path: Path, recipe: Recipe) -> dict:
    facts = read_record(path)
    mine, found = asdict(recipe), asdict(Recipe(**facts["recipe"]))
    found["preset"] = mine["preset"]  # a shipped run has it without the variant; both are in the file's name
    if differs := [f"{name} {found[name]!r}, not {mine[name]!r}" for name in mine if found[name] != mine[name]]:
        raise CheckpointError(
            f"{path} is a run of another recipe ({'; '.join(differs)}): "
            "ask for that one, for other epochs or another seed"
        )
    return facts


def read_record(path: Path) -> dict:
    """The facts of a JSON file in data/results/.

    Raises:
        CheckpointError: the file is not there or damaged; `data/results/README.md` says which command makes it.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:  # not there, no JSON, or no text at all
        raise CheckpointError(
            f"{path}: no readable record ({error}); copy it again, or make it again: data/results/README.md says how"
        ) from error


def write_json(path: Path, facts: dict) -> None:
    """Write beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(facts, indent=1) + "\n")
    os.replace(part, path)


def read_runs(results: Path = RESULTS) -> pd.DataFrame:
    """The runs of all variants, a row each: variant, preset, epochs, seed, validation and test scores, minutes.

    `validation` is the accuracy after the last epoch (averaged weights, face alone); `test` and `macro_f1` are of the
    one look at the test split (majority, mirror-averaged). Accuracies are in percent.

    Raises:
        FileNotFoundError: no run is there; the message says what makes one.
        CheckpointError: a file is damaged; it is named.
    """
    records = {path: read_record(path) for path in sorted(results.glob("*.json"))}
    rows = [_row(path, facts) for path, facts in records.items() if "variant" in facts]
    if not rows:
        raise FileNotFoundError(f"no run in {results}: python -m fervt_lib.ablation makes them")
    return pd.DataFrame(rows)


def _row(path: Path, facts: dict) -> dict:
    if missing := {"recipe", "history", "test", "seconds"} - facts.keys():
        raise CheckpointError(f"{path}: a run without {', '.join(sorted(missing))}; delete it and make it again")
    recipe, name = facts["recipe"], facts["variant"]
    test = next(iter(facts["test"].values()))  # majority comes first
    return {
        "variant": name,
        "preset": recipe["preset"].removesuffix(f"-{name}"),
        "epochs": recipe["epochs"],
        "seed": recipe["seed"],
        "validation": 100 * facts["history"][-1]["validation"]["accuracy"],
        "test": 100 * test["accuracy"],
        "macro_f1": test["macro_f1"],
        "minutes": facts["seconds"] / 60,
    }


def compare(runs: pd.DataFrame, score: str = "validation") -> pd.DataFrame:
    """What each variant gains over the one it is compared with, in points, seed by seed.

    Args:
        runs: of one preset and number of epochs, see `read_runs`.
        score: the column that is compared.

    Returns:
        A row per variant, in the order of `VARIANTS`: `says`, `against`, `score` (mean over its seeds), `seeds` (that
        both have, 0 where the other is not there), and of the differences `mean`, `low` and `high` (the least and the
        greatest; nan without seeds).
    """
    scores = runs.pivot(index="seed", columns="variant", values=score)
    rows = []
    for name in [name for name in VARIANTS if name in scores]:
        gain = (scores[name] - scores.get(VARIANTS[name].against, math.nan)).dropna()
        mean, low, high = gain.mean(), gain.min(), gain.max()
        row = {"variant": name, "says": VARIANTS[name].says, "against": VARIANTS[name].against}
        rows.append(row | {score: scores[name].mean(), "seeds": len(gain), "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows).set_index("variant")


def seed_deviation(runs: pd.DataFrame, score: str = "validation") -> float:
    """Standard deviation between seeds of one variant, in points, pooled over all variants with two seeds or more.

    Args:
        runs: of one preset and number of epochs, see `read_runs`.
        score: the column that is looked at.
    """
    seeds = runs.groupby("variant")[score]
    freedom = seeds.count() - 1
    return float((seeds.var() * freedom).sum() / freedom.sum()) ** 0.5


def report(preset: str, epochs: int, results: Path = RESULTS) -> str:
    """What each variant gained or lost at a budget, as lines a person reads."""
    runs = read_runs(results)
    runs = runs[(runs["preset"] == preset) & (runs["epochs"] == epochs)]
    gains, tested = compare(runs), compare(runs, "test")
    columns = {"validation, %": gains["validation"], "against": gains["against"], "seeds": gains["seeds"]}
    columns |= {
        "points": gains["mean"],
        "least": gains["low"],
        "greatest": gains["high"],
        "on the test": tested["mean"],
    }
    return pd.DataFrame(columns).to_string(float_format="{:.1f}".format, na_rep="")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fervt_lib.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"from: {', '.join(VARIANTS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--preset", choices=PRESETS, default=BUDGET.preset)
    parser.add_argument("--epochs", type=int, default=BUDGET.epochs)
    parser.add_argument("--batch-size", type=int, default=BUDGET.batch_size)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/ablation"), help="checkpoints; a run resumes from there"
    )
    args = parser.parse_args(arguments)
    if unknown := set(args.variants) - set(VARIANTS):
        parser.error(f"no variant {', '.join(sorted(unknown))}: there are {', '.join(VARIANTS)}")
    if args.epochs < 1 or args.batch_size < 1:
        parser.error("epochs and batch size are 1 or more")
    if set(args.variants) & set(IMAGENET) and args.preset != "paper":
        parser.error(f"{' and '.join(IMAGENET)} are variants of the paper preset: add --preset paper")
    budget = replace(BUDGET, preset=args.preset, epochs=args.epochs, batch_size=args.batch_size)
    failures = []
    for seed in args.seeds:
        for name in args.variants or ABLATIONS | FAULTS:
            try:
                run(name, replace(budget, seed=seed), args.runs)
            except (ValueError, FloatingPointError, RuntimeError, OSError) as error:  # the others are worth training
                failures.append(f"{name}, seed {seed}: {error}")
    if len(failures) < len(args.seeds) * len(args.variants or ABLATIONS | FAULTS):
        print(report(args.preset, args.epochs))
    if failures:
        sys.exit("error: " + "\n".join(failures))


if __name__ == "__main__":
    main()
