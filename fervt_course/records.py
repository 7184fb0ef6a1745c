"""The records of runs in data/results, read and compared: notebook 06 and the model card take their numbers here."""

import math
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fervt_lib.disk import CheckpointError, FervtError, project_folder, read_json
from fervt_lib.training import read_recipe

RESULTS = project_folder() / "data" / "results"


def read_record(path: Path) -> dict | list:
    """What a file in data/results holds; a run's recipe is in today's names, whenever it was written.

    Raises:
        CheckpointError: the file is not there or damaged; `data/results/README.md` says which command makes it.
    """
    try:
        facts = read_json(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: data/results/README.md says how") from error
    if isinstance(facts, dict) and isinstance(facts.get("recipe"), dict) and facts["recipe"]:
        facts["recipe"] = read_recipe(facts["recipe"])
    return facts


def read_runs(results: Path = RESULTS) -> pd.DataFrame:
    """The runs of all variants, a row each: variant, preset, epochs, seed, validation and test scores, minutes.

    `validation` is the accuracy after the last epoch (averaged weights, face alone); `test` and `macro_f1` are of the
    one look at the test split (majority, mirror-averaged). Accuracies are in percent. `answers` has a digit for each
    test face, the label that was answered; None for runs recorded before November 27, 2026.

    Raises:
        CheckpointError: no run is there, or a file is damaged; the message says what makes one.
    """
    records = {path: read_record(path) for path in sorted(results.glob("*.json"))}
    rows = [_row(path, facts) for path, facts in records.items() if "variant" in facts]
    if not rows:
        raise CheckpointError(f"no run in {results}: `fervt ablate` makes them")
    return pd.DataFrame(rows)


def _row(path: Path, facts: dict) -> dict:
    if missing := {"recipe", "history", "test", "seconds"} - {name for name in facts if facts[name] not in ({}, [])}:
        raise CheckpointError(f"{path}: a run without {', '.join(sorted(missing))}; delete it and make it again")
    recipe = facts["recipe"]
    test = next(iter(facts["test"].values()))  # majority comes first
    return {
        "variant": facts["variant"],
        "preset": recipe["preset"],
        "epochs": recipe["epochs"],
        "seed": recipe["seed"],
        "validation": 100 * facts["history"][-1]["validation"]["accuracy"],
        "test": 100 * test["accuracy"],
        "macro_f1": test["macro_f1"],
        "minutes": facts["seconds"] / 60,
        "answers": facts.get("answers"),
    }


def compare(runs: pd.DataFrame, baselines: dict[str, str], score: str = "validation") -> pd.DataFrame:
    """What each variant gains over its baseline, in points, seed by seed.

    Args:
        runs: of one preset and number of epochs, see `read_runs`.
        baselines: the variant that each variant is compared with; it gives the order of the rows.
        score: the column that is compared.

    Returns:
        A row per variant: `against`, `score` (mean over its seeds), `seeds` (that both have, 0 where the baseline is
        not there), and of the differences `mean`, `low` and `high` (the least and the greatest; nan without seeds).
    """
    scores = runs.pivot(index="seed", columns="variant", values=score)
    rows = {}
    for name, baseline in baselines.items():
        if name in scores:
            gain = (scores[name] - scores.get(baseline, math.nan)).dropna()
            found = {"seeds": len(gain), "mean": gain.mean(), "low": gain.min(), "high": gain.max()}
            rows[name] = {"against": baseline, score: scores[name].mean()} | found
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def paired(first: list[str], second: list[str], labels: Tensor, draws: int = 2000) -> dict:
    """How far two models lie apart on the same faces, each trained with the same seeds.

    Args:
        first, second: the answers of their runs, a digit a face, seed by seed.
        labels: `(n,)`, the right answers.

    Returns:
        `points`: the mean difference of accuracy; `low` and `high`: its 95 % interval, by a bootstrap over faces and
        seeds, which with one seed knows nothing of the luck of training; and, seed by seed, `only`: how many faces only
        the first and only the second got right, and `mcnemar`: the chance of a split at least as uneven if both were
        equally good.

    Raises:
        FervtError: the two have not the same number of runs.
    """
    if len(first) != len(second):
        raise FervtError(f"{len(first)} and {len(second)} runs: give one of each model for every seed")
    one, other = (torch.tensor([[int(digit) for digit in run] for run in runs]) == labels for runs in (first, second))
    apart = one.float() - other.float()  # (seeds, n)
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(len(labels), (draws, len(labels)), generator=generator)
    seeds = torch.randint(len(apart), (draws, len(apart)), generator=generator)
    means = torch.stack([apart[s].mean(dim=0)[f].mean() for s, f in zip(seeds, faces, strict=True)])
    low, high = (100 * means).quantile(torch.tensor([0.025, 0.975])).tolist()
    only = list(zip((one & ~other).sum(dim=1).tolist(), (other & ~one).sum(dim=1).tolist(), strict=True))
    facts = {"points": 100 * float(apart.mean()), "low": low, "high": high}
    return facts | {"only": only, "mcnemar": [_mcnemar(*pair) for pair in only]}


def paired_variants(runs: pd.DataFrame, first: str, second: str, labels: Tensor) -> dict:
    """`paired` for two variants, over the `seeds` that both were trained with.

    Args:
        runs: of one preset and number of epochs, see `read_runs`.
        labels: `(n,)`, the right answers to the test faces.

    Raises:
        CheckpointError: they have no seed in common.
    """
    answers = runs.pivot(index="seed", columns="variant", values="answers")[[first, second]].dropna()
    if answers.empty:
        raise CheckpointError(f"{first} and {second} have no seed in common: train both with `fervt ablate`")
    return paired(answers[first].tolist(), answers[second].tolist(), labels) | {"seeds": answers.index.tolist()}


def _mcnemar(a: int, b: int) -> float:
    """The exact two-sided test that a fair coin falls a times on one side and b times on the other."""
    return min(1.0, 2 * sum(math.comb(a + b, i) for i in range(min(a, b) + 1)) / 2 ** (a + b))


def seed_deviation(runs: pd.DataFrame, score: str = "validation") -> float:
    """Standard deviation between seeds of one variant, in points, pooled over all variants with two seeds or more.

    Args:
        runs: of one preset and number of epochs, see `read_runs`.
        score: the column that is looked at.
    """
    seeds = runs.groupby("variant")[score]
    freedom = seeds.count() - 1
    return float((seeds.var() * freedom).sum() / freedom.sum()) ** 0.5
