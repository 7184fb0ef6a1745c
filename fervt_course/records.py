"""Read and compare the records of runs in data/results, for notebook 06 and the model card."""

import math
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fervt_lib.disk import CheckpointError, FervtError, project_folder, read_json
from fervt_lib.training import read_recipe

RESULTS = project_folder() / "data" / "results"


def read_record(path: Path) -> dict | list:
    """Read a file in data/results; the recipe of a run always has today's field names, however old the file is.

    Raises:
        CheckpointError: the file is missing or damaged; `data/results/README.md` names the command that makes it.
    """
    try:
        facts = read_json(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: data/results/README.md says how") from error
    if isinstance(facts, dict) and isinstance(facts.get("recipe"), dict) and facts["recipe"]:
        facts["recipe"] = read_recipe(facts["recipe"])
    return facts


def read_runs(results: Path = RESULTS) -> pd.DataFrame:
    """The runs of all variants, one row per run: variant, preset, epochs, seed, validation and test scores, minutes.

    `validation` is the accuracy after the last epoch (averaged weights, face alone); `test` and `macro_f1` come
    from the single test on the test split (majority, mirror-averaged). Accuracies are in percent. `answers` has one
    digit per test face, the label the model answered; it is None for runs recorded before November 27, 2026.

    Raises:
        CheckpointError: there is no run, or a file is damaged; the message names the command to run.
    """
    records = {path: read_record(path) for path in sorted(results.glob("*.json"))}
    rows = [_row(path, facts) for path, facts in records.items() if "variant" in facts]
    if not rows:
        raise CheckpointError(f"no run in {results}: `fervt ablate` makes them")
    return pd.DataFrame(rows)


def _row(path: Path, facts: dict) -> dict:
    if missing := {"recipe", "history", "test", "seconds"} - {name for name in facts if facts[name] not in ({}, [])}:
        raise CheckpointError(f"{path}: this run lacks {', '.join(sorted(missing))}; delete the file and make it again")
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
        runs: runs of one preset and one number of epochs, see `read_runs`.
        baselines: the baseline of each variant; its order is the order of the rows.
        score: the column to compare.

    Returns:
        A row per variant: `against`, `score` (mean over its seeds), `seeds` (how many both have; 0 if the baseline is
        missing), and the `mean`, `low` (smallest) and `high` (largest) of the differences (nan without seeds).
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
    """How much two models differ on the same faces, trained with the same seeds.

    Args:
        first, second: the answers of their runs, one digit per face, seed by seed.
        labels: `(n,)`, the right answers.

    Returns:
        `points`: the mean difference in accuracy; `low` and `high`: its 95 % interval from a bootstrap over faces and
        seeds (with one seed it cannot account for the luck of training); and, seed by seed, `only`: how many faces only
        the first and only the second got right, and `mcnemar`: how likely a split this uneven or worse is if both are
        equally good.

    Raises:
        FervtError: the two do not have the same number of runs.
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
    """`paired` for two variants, over the `seeds` that they share.

    Args:
        runs: runs of one preset and one number of epochs, see `read_runs`.
        labels: `(n,)`, the right answers for the test faces.

    Raises:
        CheckpointError: they have no seed in common.
    """
    answers = runs.pivot(index="seed", columns="variant", values="answers")[[first, second]].dropna()
    if answers.empty:
        raise CheckpointError(f"{first} and {second} have no seed in common: train both with `fervt ablate`")
    return paired(answers[first].tolist(), answers[second].tolist(), labels) | {"seeds": answers.index.tolist()}


def _mcnemar(a: int, b: int) -> float:
    """The exact two-sided p-value for a fair coin that lands a times on one side and b times on the other."""
    return min(1.0, 2 * sum(math.comb(a + b, i) for i in range(min(a, b) + 1)) / 2 ** (a + b))


def seed_deviation(runs: pd.DataFrame, score: str = "validation") -> float:
    """Standard deviation between seeds of a variant, in points, pooled over all variants with at least two seeds.

    Args:
        runs: runs of one preset and one number of epochs, see `read_runs`.
        score: the column to use.
    """
    seeds = runs.groupby("variant")[score]
    freedom = seeds.count() - 1
    return float((seeds.var() * freedom).sum() / freedom.sum()) ** 0.5
