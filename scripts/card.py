"""Write the model card, data/checkpoints/README.md, from the records beside the weights: `python scripts/card.py`."""

from pathlib import Path

from fervt_lib.ablation import RESULTS, read_record, read_runs
from fervt_lib.data import EXPRESSIONS
from fervt_lib.model import CHECKPOINTS

FIRST_RUN = "compact-reference-24-0"  # from random weights; the shipped run went on from it
SPREAD_EPOCHS = 2  # of the second part of the runs that show how far seeds lie apart
FEW = 30  # test faces below which a recall is marked
TEMPLATE = Path(__file__).with_name("card.md")


def recalls(counts: list[list[int]]) -> str:
    """A table of a row per expression from the confusion matrix `[true][predicted]`."""
    rows = []
    for i, (name, row) in enumerate(zip(EXPRESSIONS, counts, strict=True)):
        faces = sum(row)
        wrong = max((n, other) for j, (n, other) in enumerate(zip(row, EXPRESSIONS, strict=True)) if j != i)
        few = " ⚠" if faces < FEW else ""
        rows.append(f"| {name} | {faces:,}{few} | {row[i] / faces:.2f} | {wrong[1]} ({wrong[0]}) |")
    heads = ["| expression | test faces | recall | most often taken for |", "|---|---|---|---|"]
    return "\n".join(heads + rows)


def card() -> str:
    """The card's text."""
    ferplus, drawn = (read_record(CHECKPOINTS / f"compact-{name}.json") for name in ("ferplus", "drawn"))
    first, look = (read_record(RESULTS / f"{name}.json") for name in (FIRST_RUN, "protocol-weights"))
    validation = look["validation"]["majority, mirror-averaged"]
    new = look["validation"]["majority, mirror-averaged, no copy in training"]
    runs = read_runs().query(f"variant == 'restart' and epochs == {SPREAD_EPOCHS}")
    if runs.empty:
        raise FileNotFoundError(f"no compact-restart-{SPREAD_EPOCHS}-SEED.json in {RESULTS}: python scripts/spread.py")
    majority, drawn_test = ferplus["test"]["majority"], drawn["test"]["drawn"]
    p, faces = majority["accuracy"], majority["faces"]
    protocols = [
        f"| {name} | {s['faces']:,} | {100 * s['accuracy']:.2f} % | {s['macro_f1']:.3f} | {s['ece']:.3f} |"
        for name, s in ferplus["test"].items()
    ]
    return TEMPLATE.read_text(encoding="utf-8").format(
        **ferplus["recipe"],
        **ferplus["calibration"],
        rare=100 * ferplus["recipe"]["rare_share"],
        threads=ferplus["threads"],
        minutes=round(ferplus["seconds"] / 60),
        first=FIRST_RUN,
        first_epochs=first["recipe"]["epochs"],
        first_minutes=round(first["seconds"] / 60),
        first_lr=first["recipe"]["peak_lr"],
        protocols="\n".join(protocols),
        noise=100 * 1.96 * (2 * p * (1 - p) / faces) ** 0.5,
        faces=faces,
        seeds=len(runs),
        spread_epochs=SPREAD_EPOCHS,
        lowest=runs["test"].min(),
        highest=runs["test"].max(),
        test_copies=look["test_copies"]["majority"],
        validation=100 * validation["accuracy"],
        validation_faces=validation["faces"],
        validation_f1=validation["macro_f1"],
        validation_new=100 * new["accuracy"],
        validation_new_f1=new["macro_f1"],
        validation_new_faces=new["faces"],
        few=FEW,
        recalls=recalls(ferplus["confusion"]),
        drawn_recalls=recalls(drawn["confusion"]),
        drawn_temperature=drawn["calibration"]["temperature"],
        drawn_ece=drawn["calibration"]["ece"],
        drawn_tempered=drawn["calibration"]["ece_tempered"],
        drawn_epochs=drawn["recipe"]["epochs"],
        drawn_minutes=drawn["seconds"] / 60,
        drawn_accuracy=100 * drawn_test["accuracy"],
        drawn_faces=drawn_test["faces"],
        drawn_f1=drawn_test["macro_f1"],
    )


def write() -> None:
    (CHECKPOINTS / "README.md").write_text(card(), encoding="utf-8")


if __name__ == "__main__":
    write()
