"""Releases: `fervt ship` scores and stores a finished run, `fervt spread` repeats its recipe, `fervt card` reports."""

import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import torch
from tyro.conf import Positional

from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.disk import CheckpointError, FervtError, write_json, written_whole
from fervt_lib.evaluation import apply_temperature, evaluate, fit_temperature, predict, report, score
from fervt_lib.model import SHIPPED, load_weights, read_safetensors
from fervt_lib.training import Recipe, train

from .records import RESULTS, read_record, read_runs

FIRST = Recipe(epochs=4)  # the first two parts of the shipped recipe, shortened
SECOND = Recipe(epochs=2, peak_lr=1e-3, protocol="argmax")
FIRST_RUN, SECOND_RUN = "compact-reference-24-0", "compact-restart-32-0"  # the shipped run started from these
SPANS = ("accuracy", "macro_f1")  # the card gives these scores with an interval
FEW = 30  # the card marks recalls based on fewer test faces


# --- ship --------------------------------------------------------------------------------------------------------


def ship(run: Positional[Path], name: Positional[str]) -> None:
    """Score a finished run once on the test split and add it to the shipped weights.

    This scores the fp16 weights exactly as they ship, before it touches any file, and fits the temperature on
    validation faces. A run on FER+ also writes its record to data/results, which must not exist yet. Afterward, run
    `fervt protocol weights` to check its validation faces for copies of training faces, and `fervt card` to write
    the model card.

    Args:
        run: the folder of the run
        name: name for the shipped weights, such as compact-ferplus
    """
    facts = read_record(run / "model.json")
    recipe = facts["recipe"]
    variant = "restart" if recipe.get("start") else "reference"
    record = RESULTS / f"{recipe['preset']}-{variant}-{recipe['epochs']}-{recipe['seed']}.json"
    if recipe["dataset"] == "ferplus" and record.exists():
        raise FervtError(f"{record} is the record of such a run already: delete it if this run replaces it")
    facts |= judge(run / "model.safetensors", recipe["dataset"])
    target = SHIPPED / f"{name}.safetensors"
    with written_whole(target) as part:
        shutil.copyfile(run / "model.safetensors", part)
    write_json(target.with_suffix(".json"), facts)
    if recipe["dataset"] == "ferplus":
        write_json(record, facts | {"variant": variant})
    print(report(facts["test"]), facts["calibration"], sep="\n")


def judge(weights: Path, dataset: str) -> dict:
    """Score a run's fp16 weights on the test split, with and without a temperature fitted on validation faces."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix  # here for the reason in `score`

    model, test, validation = load_weights(weights), load(dataset, "test"), load(dataset, "validation")
    scores = evaluate(model, dataset=dataset, temperature=1.0)
    probabilities, known = (predict(model, faces, calibrated=False) for faces in (test, validation))
    temperature = round(fit_temperature(known, validation.labels), 3)
    before, after = (score(apply_temperature(probabilities, t), test.labels)["ece"] for t in (1.0, temperature))
    return {
        "protocol": test.protocol,
        "mirror": True,
        "accuracy": {name: s["accuracy"] for name, s in scores.items()},
        "test": scores,
        "confusion": multiclass_confusion_matrix(probabilities, test.labels, len(EXPRESSIONS)).tolist(),
        "calibration": {"temperature": temperature, "ece": before, "ece_tempered": after},
    }


def spread(seeds: tuple[int, ...] = (0, 1, 2), runs: Path = Path("runs")) -> None:
    """Train several seeds of the shipped recipe on a shorter budget to see how much they differ.

    Like the shipped weights, each run starts on *majority* faces and then continues on *argmax* faces with half the
    learning rate. It takes 4 and 2 epochs instead of 24 and 32: about 35 minutes on one CPU thread. (It leaves out
    the third part, on stronger changes.) Its record goes to data/results, and the run is skipped while that record
    exists.

    Args:
        seeds: one run per seed
        runs: folder for checkpoints; a run resumes from there
    """
    for seed in seeds:
        written = RESULTS / f"compact-restart-{SECOND.epochs}-{seed}.json"
        if not written.is_file():
            write_json(written, train_both_parts(seed, runs))
        print(report(read_record(written)["test"]))


def train_both_parts(seed: int, runs: Path) -> dict:
    """Train both parts with one seed and score the final model once on the test split."""
    first, second = (runs / f"spread-{name}-{seed}" for name in ("first", "second"))
    train(replace(FIRST, seed=seed), first)
    model = train(replace(SECOND, seed=seed, start=str(first / "model.safetensors")), second)
    return read_record(second / "model.json") | {"variant": "restart", "mirror": True, "test": evaluate(model)}


# --- card --------------------------------------------------------------------------------------------------------


def card() -> None:
    """Write the model card, the README.md next to the shipped weights, from their records."""
    with written_whole(SHIPPED / "README.md") as part:
        part.write_text(card_text(), encoding="utf-8")


def card_text() -> str:
    ferplus, drawn = (read_record(SHIPPED / f"compact-{name}.json") for name in ("ferplus", "drawn"))
    first, second, look = (
        read_record(RESULTS / f"{name}.json") for name in (FIRST_RUN, SECOND_RUN, "protocol-weights")
    )
    validation = look["validation"]["majority, mirror-averaged"]
    new = look["validation"]["majority, mirror-averaged, no copy in training"]
    runs = read_runs().query(f"variant == 'restart' and epochs == {SECOND.epochs}")
    if runs.empty:
        raise CheckpointError(f"no compact-restart-{SECOND.epochs}-SEED.json in {RESULTS}: `fervt spread` makes them")
    answers, _ = read_safetensors(RESULTS / "ferplus-answers.safetensors")
    spans = intervals(answers["test.probabilities"].float(), answers["test.labels"].long())
    majority, drawn_test = ferplus["test"]["majority"], drawn["test"]["drawn"]
    changes, earlier = (read_record(RESULTS / f"protocol-changes{of}.json") for of in ("", "-second"))
    p, faces = majority["accuracy"], majority["faces"]
    protocols = [
        f"| {name} | {s['faces']:,} | {100 * s['accuracy']:.2f} % | {s['macro_f1']:.3f} | {s['ece']:.3f} |"
        for name, s in ferplus["test"].items()
    ]
    template = files("fervt_course").joinpath("card.md").read_text(encoding="utf-8")
    return template.format(
        **ferplus["recipe"],
        **ferplus["calibration"],
        rare=100 * ferplus["recipe"]["rare_share"],
        minutes=ferplus["seconds"] / 60,
        first=first,
        first_name=FIRST_RUN,
        first_minutes=first["seconds"] / 60,
        second=second,
        second_name=SECOND_RUN,
        second_minutes=second["seconds"] / 60,
        second_test=100 * second["test"]["majority"]["accuracy"],
        test=100 * p,
        protocols="\n".join(protocols),
        lowest_accuracy=100 * spans["accuracy"][0],
        highest_accuracy=100 * spans["accuracy"][1],
        f1s=spans["macro_f1"],
        noise=100 * 1.96 * (2 * p * (1 - p) / faces) ** 0.5,
        faces=faces,
        seeds=len(runs),
        spread_epochs=SECOND.epochs,
        lowest=runs["test"].min(),
        highest=runs["test"].max(),
        look=look,
        validation=validation,
        validation_percent=100 * validation["accuracy"],
        new=new,
        new_percent=100 * new["accuracy"],
        few=FEW,
        recalls=recalls(ferplus["confusion"]),
        changes=changes_table(changes, earlier),
        second_plain=100 * earlier["changes"]["as it is"]["accuracy"],
        drawn=drawn,
        drawn_recalls=recalls(drawn["confusion"]),
        drawn_minutes=drawn["seconds"] / 60,
        drawn_percent=100 * drawn_test["accuracy"],
    )


def intervals(probabilities: torch.Tensor, labels: torch.Tensor, draws: int = 1000) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of the scores, drawing as many faces with replacement from `(n, 8)` and `(n,)`."""
    generator = torch.Generator().manual_seed(0)
    chosen = [torch.randint(len(labels), (len(labels),), generator=generator) for _ in range(draws)]
    scores = [score(probabilities[faces], labels[faces]) for faces in chosen]
    edges = torch.tensor([0.025, 0.975])
    return {name: tuple(torch.tensor([s[name] for s in scores]).quantile(edges).tolist()) for name in SPANS}


def changes_table(record: dict, before: dict) -> str:
    """A table with one row per change of the faces, and one for a prior that expects all expressions equally often.

    `before` is the record of the weights that the last run started from.
    """
    now, then = (
        facts["changes"] | {'as it is, `prior="uniform"`': facts["uniform prior"]} for facts in (record, before)
    )
    lines = [
        "| faces | after two runs | accuracy | macro-F1 | recall of disgust, fear, contempt |",
        "|---|---|---|---|---|",
    ]
    for name, s in now.items():
        rare = ", ".join(f"{s['recall'][label]:.2f}" for label in ("disgust", "fear", "contempt"))
        accuracies = f"{100 * then[name]['accuracy']:.1f} % | {100 * s['accuracy']:.1f} %"
        lines.append(f"| {name} | {accuracies} | {s['macro_f1']:.2f} | {rare} |")
    return "\n".join(lines)


def recalls(counts: list[list[int]]) -> str:
    """A table with one row per expression, from the confusion matrix `[true][predicted]`."""
    rows = []
    for i, (name, row) in enumerate(zip(EXPRESSIONS, counts, strict=True)):
        faces = sum(row)
        wrong = max((n, other) for j, (n, other) in enumerate(zip(row, EXPRESSIONS, strict=True)) if j != i)
        few = " ⚠" if faces < FEW else ""
        rows.append(f"| {name} | {faces:,}{few} | {row[i] / faces:.2f} | {wrong[1]} ({wrong[0]}) |")
    heads = ["| expression | test faces | recall | most often taken for |", "|---|---|---|---|"]
    return "\n".join(heads + rows)
