"""What the protocol alone is worth, in points, see `fervt protocol --help`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tyro.conf import Positional

from fervt_lib.data import EXPRESSIONS, is_duplicate, load
from fervt_lib.data.fer import PROTOCOLS
from fervt_lib.disk import CheckpointError, write_json
from fervt_lib.evaluation import predict, score
from fervt_lib.model import FERVT, FERVT_Compact_Weights, load_weights
from fervt_lib.training import Recipe, train

from .records import RESULTS

# As in the unofficial `train.py`: no warm-up, no averaged weights, the best epoch kept. Its rate of 1e-3 goes down to a
# fifth along 100 epochs, so it hardly moves in the first ten.
BEST_OF_EPOCHS = Recipe(
    preset="tiny", epochs=10, batch_size=64, schedule="constant", peak_lr=1e-3, ema_decay=0.0, rare_share=0.0
)
SEQUENCES, FRAMES = 320, 3
FEW_FACES = Recipe(dataset="drawn", preset="tiny", epochs=40, batch_size=64)


def split_by_image(n: int, share: float, generator: torch.Generator) -> Tensor:
    """`(n,)` bool: a share of the images, drawn one by one, for the test."""
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n, generator=generator)[: round(share * n)]] = True
    return chosen


def split_by_subject(subjects: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`(n,)` bool: all images of a share of the subjects `(n,)`, for the test."""
    people = subjects.unique()
    chosen = people[split_by_image(len(people), share, generator)]
    return torch.isin(subjects, chosen)


def share_with_siblings(groups: Tensor, test: Tensor) -> float:
    """The share of the test images that have an image of their own group (sequence or subject) in training.

    groups: `(n,)`, the group of each image; test: `(n,)` bool.
    """
    return float(torch.isin(groups[test], groups[~test]).float().mean())


def weights() -> dict:
    """Validation scores of the shipped FER+ weights, also without the faces that are pixel for pixel a training face,
    and of the test faces how many each protocol counts per expression and how many are such copies.

    The model is not shown the test pictures: the scores on them stand in the file beside the weights.
    """
    model = load_weights(FERVT_Compact_Weights.FERPLUS.path)
    facts = {"test": FERVT_Compact_Weights.FERPLUS.meta["test"], "test_mirror": True, "test_faces": {}}
    facts |= {"test_copies": {}, "validation": {}}
    train = load("ferplus", "train", protocol="argmax")  # all faces that the weights have seen
    for protocol in PROTOCOLS:
        test = load("ferplus", "test", protocol=protocol)
        counts = test.labels.bincount(minlength=8).tolist()
        facts["test_faces"][protocol] = dict(zip(EXPRESSIONS, counts, strict=True))
        facts["test_copies"][protocol] = int(is_duplicate(train, test).sum())
        faces = load("ferplus", "validation", protocol=protocol)
        averaged, alone = (predict(model, faces, mirror=mirror) for mirror in (True, False))
        new = ~is_duplicate(train, faces)
        facts["validation"] |= {
            f"{protocol}, mirror-averaged": score(averaged, faces.labels),
            f"{protocol}, face alone": score(alone, faces.labels),
            f"{protocol}, mirror-averaged, no copy in training": score(averaged[new], faces.labels[new]),
        }
    return facts


def epochs(runs: Path, recipe: Recipe = BEST_OF_EPOCHS) -> dict:
    """Accuracy after every epoch on validation and on test faces: the one place that looks at the latter so often."""
    folder = runs / "protocol-epochs"
    if folder.exists():  # a resumed run would be scored from its middle on only
        raise CheckpointError(f"{folder} holds this run or a part of it: delete the folder and start again")
    sets = {split: load("ferplus", split) for split in ("validation", "test")}
    history = []

    def score_both(epoch: int, model: FERVT) -> None:
        accuracy = {s: score(predict(model, f, mirror=False), f.labels)["accuracy"] for s, f in sets.items()}
        history.append({"epoch": epoch, **accuracy})

    train(recipe, folder, on_epoch_end=score_both)
    return {"recipe": asdict(recipe), "mirror": False, "history": history}


def subjects(runs: Path, recipe: Recipe = FEW_FACES, seeds: int = 6) -> dict:
    """Test accuracy of one recipe on drawn sequences, a tenth of them held out by image and by subject."""
    faces = load("drawn", "train", count=SEQUENCES * FRAMES, frames=FRAMES)
    sequence, found = faces.rows // FRAMES, []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        by_image = split_by_image(len(faces), 0.1, generator)
        by_subject = split_by_subject(faces.subjects, 0.1, generator)
        for name, test in {"by image": by_image, "by subject": by_subject}.items():
            held_out = faces.take(test)
            folder = runs / f"protocol-{name.replace(' ', '-')}-{seed}"
            model = train(replace(recipe, seed=seed), folder, faces.take(~test), held_out)
            scores = score(predict(model, held_out, mirror=False), held_out.labels)
            siblings = round(share_with_siblings(sequence, test), 4)
            found.append({"split": name, "seed": seed, "siblings": siblings, "test": scores})
    return {"recipe": asdict(recipe), "sequences": SEQUENCES, "frames": FRAMES, "mirror": False, "runs": found}


EXPERIMENTS = {"weights": lambda runs: weights(), "epochs": epochs, "subjects": subjects}


def protocol(
    experiments: Positional[tuple[Literal["weights", "epochs", "subjects"], ...]] = ("weights", "epochs", "subjects"),
    runs: Path = Path("runs/protocol"),
) -> None:
    """Measure what the protocol alone is worth, in points, and write data/results/protocol-*.json.

    weights: the shipped weights under both FER+ protocols. epochs: the best epoch picked on the test split against
    picked on validation. subjects: posed sequences split by image against by subject, on drawn faces.

    Args:
        experiments: which; all of them without a name
        runs: folder for checkpoints, to resume from
    """
    for name in experiments:
        path = RESULTS / f"protocol-{name}.json"
        if path.exists():
            print(f"{path} is there already and stays; delete it to measure again")
            continue
        write_json(path, EXPERIMENTS[name](runs))
        print(f"written: {path}")
