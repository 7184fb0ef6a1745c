"""Measure what the protocol alone is worth, in points, and how good explanations are: `fervt protocol --help`."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import autocontrast, center_crop, equalize, resize
from tyro.conf import Positional

from fervt_lib.data import EXPRESSIONS, Augment, Faces, is_duplicate, load, to_distribution
from fervt_lib.data.crop import cut, find_faces
from fervt_lib.data.fer import PROTOCOLS
from fervt_lib.disk import CheckpointError, write_json
from fervt_lib.evaluation import apply_temperature, predict, score, uniform_prior
from fervt_lib.model import FERVT, FERVT_Compact_Weights, load_weights, read_safetensors
from fervt_lib.pictures import as_face
from fervt_lib.training import Recipe, train

from .records import RESULTS

# As in the unofficial `train.py`: no warmup, no averaged weights, keep the best epoch. Its learning rate of 1e-3 decays
# to a fifth over 100 epochs, so it hardly changes in the first ten.
BEST_OF_EPOCHS = Recipe(
    preset="tiny", epochs=10, batch_size=64, schedule="constant", peak_lr=1e-3, ema_decay=0.0, rare_share=0.0
)
MARGINS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
SEQUENCES, FRAMES = 320, 3
FEW_FACES = Recipe(dataset="drawn", preset="tiny", epochs=40, batch_size=64)
# The changed versions play the part of files on disk, as in other pipelines: training itself augments nothing.
FACES, VERSIONS, STILL = 4000, 4, Augment(0, 0, 0, 0, 0, 0, 0)
ON_DISK = Recipe(preset="tiny", epochs=12, batch_size=64, targets="hard", rare_share=0.0)


def split_by_image(n: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw a share of the images one by one for the test, `(n,)` bool."""
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n, generator=generator)[: round(share * n)]] = True
    return chosen


def split_by_subject(subjects: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Draw a share of the subjects `(n,)` for the test, with all their images, `(n,)` bool."""
    people = subjects.unique()
    chosen = people[split_by_image(len(people), share, generator)]
    return torch.isin(subjects, chosen)


def share_with_siblings(groups: Tensor, test: Tensor) -> float:
    """The share of test images whose group (sequence or subject) also has an image in training.

    groups: `(n,)`, the group of each image; test: `(n,)` bool.
    """
    return float(torch.isin(groups[test], groups[~test]).float().mean())


def weights() -> dict:
    """Validation scores of the shipped FER+ weights, with and without exact pixel copies of training faces, and for
    each protocol the number of test faces per expression and the number of such copies among them.

    The model does not see the test pictures here: its scores on them come from the JSON file next to the weights.
    """
    model = load_weights(FERVT_Compact_Weights.FERPLUS.path)
    facts = {"test": FERVT_Compact_Weights.FERPLUS.meta["test"], "test_mirror": True, "test_faces": {}}
    facts |= {"test_copies": {}, "validation": {}}
    train = load("ferplus", "train", protocol="argmax")  # all faces the weights were trained on
    for protocol in PROTOCOLS:
        test = load("ferplus", "test", protocol=protocol)
        counts = test.labels.bincount(minlength=8).tolist()
        facts["test_faces"][protocol] = dict(zip(EXPRESSIONS, counts, strict=True))
        facts["test_copies"][protocol] = int(is_duplicate(train, test).sum())
        faces = load("ferplus", "validation", protocol=protocol)
        averaged, alone = (predict(model, faces, mirror=mirror, calibrated=False) for mirror in (True, False))
        new = ~is_duplicate(train, faces)
        facts["validation"] |= {
            f"{protocol}, mirror-averaged": score(averaged, faces.labels),
            f"{protocol}, face alone": score(alone, faces.labels),
            f"{protocol}, mirror-averaged, no copy in training": score(averaged[new], faces.labels[new]),
        }
    return facts


def epochs(runs: Path, recipe: Recipe = BEST_OF_EPOCHS) -> dict:
    """Validation and test accuracy after every epoch: the only place that looks at test faces this often."""
    folder = runs / "protocol-epochs"
    if folder.exists():  # a resumed run would lack the scores of its first epochs
        raise CheckpointError(f"{folder} holds this run or a part of it: delete the folder and start again")
    sets = {split: load("ferplus", split) for split in ("validation", "test")}
    history = []

    def score_both(epoch: int, model: FERVT) -> None:
        accuracy = {s: score(predict(model, f, mirror=False), f.labels)["accuracy"] for s, f in sets.items()}
        history.append({"epoch": epoch, **accuracy})

    train(recipe, folder, on_epoch_end=score_both)
    return {"recipe": asdict(recipe), "mirror": False, "history": history}


def subjects(runs: Path, recipe: Recipe = FEW_FACES, seeds: int = 6) -> dict:
    """Test accuracy of one recipe on drawn sequences, with a tenth held out by image and by subject."""
    faces = load("drawn", "train", count=SEQUENCES * FRAMES, frames=FRAMES)
    sequence, found = faces.rows // FRAMES, []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        by_image = split_by_image(len(faces), 0.1, generator)
        by_subject = split_by_subject(faces.subjects, 0.1, generator)
        for name, test in {"by image": by_image, "by subject": by_subject}.items():
            folder = runs / f"protocol-{name.replace(' ', '-')}-{seed}"
            scores = _held_out(faces, test, replace(recipe, seed=seed), folder)
            siblings = _share(share_with_siblings(sequence, test))
            found.append({"split": name, "seed": seed, "siblings": siblings, "test": scores})
    return {"recipe": asdict(recipe), "sequences": SEQUENCES, "frames": FRAMES, "mirror": False, "runs": found}


def _held_out(faces: Faces, test: Tensor, recipe: Recipe, folder: Path, augment: Augment | None = None) -> dict:
    """Train on all faces outside the test, `(n,)` bool, and score the test faces, face alone."""
    held_out = faces.take(test)
    model = train(recipe, folder, faces.take(~test), held_out, augment=augment)
    return score(predict(model, held_out, mirror=False), held_out.labels)


def copies(runs: Path, recipe: Recipe = ON_DISK, seeds: int = 2) -> dict:
    """Test accuracy when we split faces after and before augmentation, with the same faces, changes and recipe.

    We hold out a fifth of the changed versions, drawn version by version or face by face.
    """
    whole, found = load("ferplus", "train"), []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        face = torch.randperm(len(whole), generator=generator)[:FACES].repeat(VERSIONS)
        faces = whole.take(face)
        changed = (255 * Augment()(faces.images, generator)).round().to(torch.uint8)
        after = split_by_image(len(face), 0.2, generator)
        before = split_by_subject(face, 0.2, generator)
        for name, test in {"after": after, "before": before}.items():
            folder = runs / f"protocol-split-{name}-{seed}"
            scores = _held_out(replace(faces, pictures=changed), test, replace(recipe, seed=seed), folder, STILL)
            siblings = _share(share_with_siblings(face, test))
            found.append({"split": name, "seed": seed, "siblings": siblings, "test": scores})
    return {"recipe": asdict(recipe), "faces": len(face), "versions": VERSIONS, "mirror": False, "runs": found}


# --- limits set by faces and raters -------------------------------------------------------------------------------


def rater_hits(raw_votes: Tensor, protocol: str) -> Tensor:
    """How many raters of each face agree with the label that a protocol gives it from the other raters, `(n,)`.

    raw_votes: `(n, 10)`. A rater who says *unknown* or *not a face* agrees with no label.
    """
    hits = torch.zeros(len(raw_votes), dtype=torch.int64)
    for label in range(len(EXPRESSIONS)):
        others = raw_votes.clone()
        others[:, label] -= (others[:, label] > 0).to(others.dtype)
        counted = torch.where(others > 1, others, 0) if protocol == "majority" else others
        hits += raw_votes[:, label] * (counted[:, : len(EXPRESSIONS)].argmax(dim=1) == label)
    return hits


def ceiling() -> dict:
    """What a human scores on FER+'s test faces, one rater against the others, next to the shipped model's answers.

    `by_agreement` groups *majority* faces by the share of votes for their label.
    """
    facts = {name: _human(load("ferplus", "test", protocol=name), name) for name in PROTOCOLS}
    faces, (answers, _) = load("ferplus", "test"), read_safetensors(RESULTS / "ferplus-answers.safetensors")
    temperature = FERVT_Compact_Weights.FERPLUS.meta["calibration"]["temperature"]
    probabilities = apply_temperature(answers["test.probabilities"].float(), temperature)
    hits = (probabilities.argmax(dim=1) == faces.labels).float()
    share = faces.raw_votes.gather(1, faces.labels[:, None])[:, 0] / faces.raw_votes.sum(dim=1)
    human = rater_hits(faces.raw_votes, "majority") / faces.raw_votes.sum(dim=1)
    groups = []
    for low, high in ((0, 0.6), (0.6, 0.8), (0.8, 1), (1, 2)):
        inside = (share >= low) & (share < high)
        group = {"from": low, "faces": int(inside.sum()), "model": _share(hits[inside].mean())}
        groups.append(group | {"rater": _share(human[inside].mean())})
    of_votes, of_model = (torch.special.entr(p).sum(dim=1) for p in (to_distribution(faces.raw_votes), probabilities))
    together = _share(torch.corrcoef(torch.stack([of_votes, of_model]))[0, 1])
    entropy = {"votes": _share(of_votes.mean()), "model": _share(of_model.mean()), "correlation": together}
    return facts | {"by_agreement": groups, "entropy": entropy}


def _human(faces: Faces, protocol: str) -> dict:
    """How often one rater agrees with the others, over all votes and over votes for one of the eight expressions."""
    hits, votes = rater_hits(faces.raw_votes, protocol).sum(), faces.raw_votes
    named = _share(hits / votes[:, : len(EXPRESSIONS)].sum())
    return {"faces": len(faces), "rater": _share(hits / votes.sum()), "rater_who_names_an_expression": named}


def _share(value: Tensor | float) -> float:
    return round(float(value), 4)


def _resized(images: Tensor, side: int) -> Tensor:
    """Crop the middle side² pixels (repeating the border if there are too few) and resize them to the old size."""
    n = images.shape[-1]
    more = max(0, (side - n + 1) // 2)
    padded = F.pad(images.float(), [more] * 4, mode="replicate")
    return resize(center_crop(padded, [side, side]), [n, n]).round().clamp(0, 255).to(torch.uint8)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda images: images,
    "contrast stretched": autocontrast,
    "histogram equalized": equalize,
    "darkened": lambda images: (0.4 * images).to(torch.uint8),
    "shifted by 4 pixels": lambda images: F.pad(images.float(), [4, 0, 4, 0], mode="replicate")[..., :-4, :-4].byte(),
    "15 % larger": lambda images: _resized(images, 42),
    "15 % smaller": lambda images: _resized(images, 56),
}


def changes(weights: Path = FERVT_Compact_Weights.FERPLUS.path) -> dict:
    """Scores on FER+'s *majority* validation faces, changed the way other cameras and detectors would change them.

    Mirror-averaged. `by_agreement` groups the plain faces by the share of votes for their label; `uniform prior`
    expects all expressions equally often.
    """
    model, faces = load_weights(weights), load("ferplus", "validation")
    facts = {"weights": weights.name, "changes": {}, "by_agreement": []}
    for name, change in CHANGES.items():
        changed = replace(faces, pictures=change(faces.images))
        facts["changes"][name] = score(probabilities := predict(model, changed), faces.labels)
        if name == "as it is":
            plain = probabilities
    facts["uniform prior"] = score(uniform_prior(plain, model.prior), faces.labels)
    share = faces.votes.amax(dim=1) / faces.votes.sum(dim=1)
    for low, high in ((0, 0.7), (0.7, 1), (1, 2)):
        if (inside := (share >= low) & (share < high)).any():
            facts["by_agreement"].append({"from": low} | score(plain[inside], faces.labels[inside]))
    return facts


def framing(weights: Path = FERVT_Compact_Weights.FERPLUS.path) -> dict:
    """Accuracy on FER+'s *majority* validation faces that we detect and recrop, by the width of the crop.

    Mirror-averaged. `1.0` is the frame that `recognise` uses. Beyond its border, a picture repeats its edge pixels.
    """
    model, faces = load_weights(weights), load("ferplus", "validation")
    found, cuts = [], {margin: [] for margin in MARGINS}
    for row, picture in enumerate(faces.images[:, 0].numpy()):  # (48, 48)
        around = np.asarray(Image.fromarray(np.pad(picture, 24, mode="edge")).resize((192, 192)))
        if frames := find_faces(around):
            found.append(row)
            for margin in MARGINS:
                cuts[margin].append(as_face(cut(around, frames[0].scaled(margin), 48)))
    pictures = {"as it is": faces.images[found]} | {str(margin): torch.stack(cuts[margin]) for margin in MARGINS}
    right = {name: predict(model, images).argmax(dim=1) == faces.labels[found] for name, images in pictures.items()}
    return {"weights": weights.name, "faces": len(faces), "found": len(found)} | {
        "accuracy": {name: _share(hit.float().mean()) for name, hit in right.items()}
    }


def attribution(runs: Path) -> dict:
    """Score ways to explain a decision on drawn faces: see `fervt_course.attribution`, which needs Captum."""
    from .attribution import measure_all  # here, because no other command needs Captum

    return measure_all(runs / "attribution")


EXPERIMENTS = {
    "weights": lambda runs: weights(),
    "epochs": epochs,
    "subjects": subjects,
    "copies": copies,
    "ceiling": lambda runs: ceiling(),
    "changes": lambda runs: changes(),
    "framing": lambda runs: framing(),
    "attribution": attribution,
}
Experiment = Literal[tuple(EXPERIMENTS)]


def protocol(
    experiments: Positional[tuple[Experiment, ...]] = tuple(EXPERIMENTS),
    runs: Path = Path("runs/protocol"),
) -> None:
    """Measure what the protocol alone is worth, in points, and write data/results/protocol-*.json.

    weights: the shipped weights under both FER+ protocols. epochs: picking the best epoch on the test split versus
    on validation. subjects: splitting posed sequences by image versus by subject, on drawn faces. copies: splitting
    faces after versus before augmentation. ceiling: what a human rater scores. changes: the shipped weights on
    faces that are stretched, equalized, darker, shifted, larger or smaller. framing: the shipped weights on faces
    that we detect and recrop, wider and narrower. attribution: ways to explain an answer, on drawn faces and three
    models.

    Args:
        experiments: which experiments to run; without a name, all of them
        runs: folder for checkpoints; a run resumes from there
    """
    for name in experiments:
        path = RESULTS / f"protocol-{name}.json"
        if path.exists():
            print(f"{path} is there already and stays; delete it to measure again")
            continue
        write_json(path, EXPERIMENTS[name](runs))
        print(f"written: {path}")
