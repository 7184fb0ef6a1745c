"""FER-VT, taken apart: inspect data, train, score weights, and run the course's own commands."""

import codecs
import os
import sys
from importlib.metadata import distributions
from json import dumps as to_json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from .data import DATASETS, EXPRESSIONS, Augment, examine, find_root, load, write_augmented
from .data.ckplus import FOLDS
from .data.store import cache_folder
from .disk import FervtError, check_number, write_json, written_whole
from .evaluation import check_folds, evaluate_weights, mean_over_folds, report, training_overlap
from .evaluation import evaluate as evaluate_model
from .export import export_onnx
from .model import FERVT_Compact_Weights, load_weights, read_provenance
from .photo import Photo, recognise
from .photo import annotate as draw_answers
from .training import Recipe
from .training import train as run_recipe

GROUP = "fervt.commands"
MAX_FAULTS = 20  # how many we show
PLAIN = {"×": "x", "…": "...", "–": "-", "√": "root "}  # for terminals that show only ASCII
DatasetName = Literal[tuple(DATASETS)]
FolderName = Literal[tuple(name for name, dataset in DATASETS.items() if dataset.layout)]


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Errors that the user can fix end in one message and exit code 1.

    Commands are entry points in the group `fervt.commands`, so the course can add its own.
    """
    codecs.register_error("plain", lambda error: (PLAIN.get(error.object[error.start], "?"), error.start + 1))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's streams accept any character
            stream.reconfigure(errors="plain")
    # search all distributions: an old fervt_lib.egg-info in the working folder would hide the installed one
    points = {point.name: point for dist in distributions() for point in dist.entry_points if point.group == GROUP}
    if not points:
        sys.exit("error: this installation is older than the code; reinstall it: pip install -e '.[course]'")
    commands = {name: points[name].load() for name in sorted(points)}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="fervt", description=__doc__, args=arguments, config=(OmitArgPrefixes,)
        )
    except (FervtError, OSError) as error:
        sys.exit(f"error: {error}")


def data(dataset: Positional[FolderName], path: Positional[Path | None] = None) -> None:
    """Check a dataset's folder and prepare it for loading.

    The report gives the layout, the number of faces per expression, and anything missing or odd: counts that differ
    from a complete copy, identical pictures, unreadable files. The command also caches the dataset, which then
    loads right away. It changes no file in the folder. The exit code is 1 if the data cannot be loaded.

    Args:
        dataset: the dataset you expect in the folder
        path: the dataset's folder; by default, the one that the loaders use
    """
    usual = find_root(DATASETS[dataset].folder)
    root = find_root(DATASETS[dataset].folder, path)
    found = examine(DATASETS[dataset], root)
    lines = [f"{dataset} in {root}", f"layout: {found.layout}"]
    if not found.faults:
        counts = found.counts.map("{:,}".format).to_string()
        lines += [f"faces ({found.protocol}):", "", counts, "", f"prepared: cached in {cache_folder()}"]
        if root.resolve() != usual.resolve():
            lines += [f"to use it: load({dataset!r}, root={str(root)!r}); commands look in {usual}, so link it there"]
    lines += [f"warning: {text}" for text in found.warnings]
    if not (found.warnings or found.faults):
        lines += ["nothing odd: the counts match a complete copy, and no picture occurs twice"]
    lines += [f"fault: {text}" for text in found.faults[:MAX_FAULTS]]
    if len(found.faults) > MAX_FAULTS:
        lines += [f"and {len(found.faults) - MAX_FAULTS:,} more faults"]
    print("\n".join(lines))
    sys.exit(bool(found.faults))


def augment(
    dataset: Positional[DatasetName],
    out: Positional[Path],
    changes: Annotated[Augment, arg(name="")],
    protocol: Literal["majority", "argmax"] = "majority",
    fold: int = 0,
    classes: Literal[7, 8] = 7,
    copies: int = 2,
    rare_share: float = 0.1,
    vertical_flips: float = 0.0,
    seed: int = 0,
) -> None:
    """Write an augmented training set to disk, for programs that read folders of pictures.

    OUT/happiness/0000012-1.png is copy 1 of the face in row 12; OUT/faces.csv lists the votes for every picture.

    Args:
        dataset: the dataset whose training faces you want to augment
        out: the new folder to create
        protocol: FER+ only: which faces to use
        fold: CK+ only, 0 to 9: the fold held out for testing; eight of the others hold the training faces
        classes: CK+ only: 7, or 8 with neutral
        copies: number of copies per face; rare expressions get more
        rare_share: an expression is rare below this share of the labels; 0: no expression is rare
        vertical_flips: probability that a copy is upside down
        seed: random seed for all changes
    """
    given = {"protocol": protocol, "fold": fold, "classes": classes}
    faces = load(dataset, "train", **{name: given[name] for name in DATASETS[dataset].options})
    options = {"copies": copies, "rare_share": rare_share, "vertical_flips": vertical_flips, "seed": seed}
    table = write_augmented(faces, out, changes, **options)
    fold_used = "" if faces.fold is None else f"fold {faces.fold} of 10, "
    print(f"{out}: {len(table):,} pictures of {len(faces):,} training faces ({fold_used}{faces.protocol})")
    print(table["label"].value_counts().reindex(EXPRESSIONS, fill_value=0).to_string())


def photo(
    files: Positional[tuple[Path, ...]],
    prior: Literal["training", "uniform"] = "training",
    whole: bool = False,
    json: bool = False,
    annotate: Path | None = None,
) -> None:
    """Find the faces in photos and read their expressions. The photos stay on this machine.

    You learn how a face looks to a model trained on the votes of ten strangers per face, not what the person feels.
    The exit code is 1 if a photo could not be read; you still get answers for the others.

    Args:
        files: pictures, up to 50 megapixels each
        prior: uniform assumes that all expressions are equally frequent, as in posed pictures
        whole: if no face is found, read the middle of the picture
        json: print one JSON object per photo
        annotate: save a copy of a single photo with faces and answers drawn in, as a new .png, .jpg or .webp file
    """
    if not files:
        raise FervtError("give at least one photo: fervt photo FILE…")
    kinds = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    if annotate and (len(files) > 1 or annotate.suffix.lower() not in kinds or annotate.exists()):
        raise FervtError(f"--annotate {annotate}: give one photo, and the name of a new .png, .jpg or .webp file")
    if annotate and not os.access(annotate.parent, os.W_OK):
        raise FervtError(f"--annotate {annotate}: there is no folder {annotate.parent} that you may write to")
    photos = recognise(list(files), prior=prior, whole=whole)
    for found in photos:
        if json:
            print(to_json(_photo_facts(found)))
        else:
            print(_photo_text(found), file=sys.stderr if found.fault else sys.stdout)
    if annotate and not photos[0].fault:
        with written_whole(annotate) as part:
            draw_answers(files[0], photos[0]).save(part, kinds[annotate.suffix.lower()])
    sys.exit(any(found.fault for found in photos))


def export(out: Positional[Path], weights: Path = FERVT_Compact_Weights.DEFAULT.path, int8: bool = False) -> None:
    """Export weights to an ONNX file, which programs can run without torch, and compare it with torch.

    The model in the file takes any number of faces and returns calibrated probabilities, region weights and each
    layer's attention. The file's metadata describe how to prepare faces.

    Args:
        out: the file to write; its name ends in .onnx
        weights: the weights file; by default, the shipped weights
        int8: run convolutions in 8 bits: half the file size, but probabilities are a little off
    """
    if out.suffix != ".onnx":
        raise FervtError(f"{out}: give a name that ends in .onnx")
    recipe = read_provenance(weights).get("recipe", {})
    protocol = recipe.get("dataset", "")
    if protocol == "ferplus":
        protocol += f", {recipe.get('protocol', 'majority')} faces"
    found = export_onnx(load_weights(weights), out, protocol, int8)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
    print(f"largest difference from torch's probabilities: {found['difference']:.0e}")
    print(f"milliseconds a face: onnxruntime {found['onnxruntime']:.2f}, torch {found['torch']:.2f}")


def _photo_facts(photo: Photo) -> dict:
    faces = [{"box": face.box, "answer": face.answer, "probabilities": face.probabilities} for face in photo.faces]
    return {"name": photo.name, "size": photo.size, "faces": faces, "note": photo.note, "fault": photo.fault}


def _photo_text(photo: Photo) -> str:
    if photo.fault:
        return f"error: {photo.fault}"
    number = len(photo.faces)
    if not number:
        return f"{photo.name}: {photo.note}"
    lines = [f"{photo.name}: {number} face{'s' * (number != 1)}" + (f" ({photo.note})" if photo.note else "")]
    for face in photo.faces:
        first = sorted(face.probabilities.items(), key=lambda pair: -pair[1])[:3]
        left, top, right, _ = face.box
        numbers = ", ".join(f"{name} {p:.2f}" for name, p in first)
        lines += [f"  at {left},{top}, {right - left} wide: {face.answer} ({numbers})"]
    return "\n".join(lines)


def train(recipe: Annotated[Recipe, arg(name="")], folder: Path = Path("runs/latest")) -> None:
    """Train a model, or resume the run in a folder.

    The folder gets a checkpoint after every epoch, then model.safetensors and model.json at the end. If the run stops,
    the same command resumes it as if nothing had happened. Several devices: accelerate launch -m fervt_lib train …

    Args:
        folder: the run's folder
    """
    run_recipe(recipe, folder)


def evaluate(
    checkpoint: tuple[Path, ...] = (FERVT_Compact_Weights.DEFAULT.path,),
    dataset: DatasetName = "ferplus",
    split: Literal["train", "validation", "test", "all"] | None = None,
    classes: Literal[7, 8] | None = None,
    mirror: bool = True,
    temperature: float | None = None,
    ensemble: bool = False,
    json: bool = False,
) -> None:
    """Score weights under a dataset's protocol; by default, the shipped weights on the FER+ test split.

    On CK+, we test weights on the fold held out from their training; for weights of several folds, you also get the
    mean. We test weights trained elsewhere on all of CK+.

    Args:
        checkpoint: one or more weights files
        dataset: the dataset to score on
        split: by default, the faces held out from training
        classes: CK+ only, for weights trained elsewhere; by default, 7
        mirror: average the predictions for a face and its mirror image
        temperature: calibrates the probabilities and changes no answer; by default, the weights' own temperature
        ensemble: average the predictions of all files and score them as one model
        json: print one JSON object, and save each file's scores next to that file
    """
    if temperature is not None:
        check_number("temperature", temperature, 1e-3, 1e3)
    if ensemble:
        if "fold" in DATASETS[dataset].options:
            raise FervtError(f"--ensemble: on {dataset} each may have seen a different fold; score them one by one")
        split, models = split or "test", [load_weights(path) for path in checkpoint]
        scores = evaluate_model(models, split, dataset=dataset, mirror=mirror, temperature=temperature)
        seen = (text for path in checkpoint for text in training_overlap(read_provenance(path), dataset, split, {}))
        for text in dict.fromkeys(seen):
            print(f"warning: {text}", file=sys.stderr)
        print(to_json(scores) if json else f"{dataset}, {split}, mean of {len(models)}\n{report(scores)}")
        return
    if len(checkpoint) > 1:
        recipes = [read_provenance(path).get("recipe", {}) for path in checkpoint]
        check_folds(recipes, dataset)
        if missing := set(range(FOLDS)) - {recipe["fold"] for recipe in recipes}:
            print(f"warning: without fold {', '.join(map(str, sorted(missing)))} of {FOLDS}", file=sys.stderr)
    every = []
    for path in checkpoint:
        options = {"mirror": mirror, "temperature": temperature}
        used_split, scores, warnings = evaluate_weights(path, dataset, split, classes, **options)
        for text in warnings:
            print(f"warning: {text}", file=sys.stderr)
        if json:
            with_options = f"{used_split}{f'-{classes}' if classes else ''}{'' if mirror else '-no-mirror'}"
            tempered = "" if temperature is None else f"-temperature-{temperature:g}"
            write_json(path.with_suffix(f".{dataset}-{with_options}{tempered}.json"), scores)
        every.append(scores)
    mean = mean_over_folds(every) if len(every) > 1 else {}
    if json:
        print(to_json({"folds": every, "mean": mean} if mean else every[0]))
    else:
        print(f"{dataset}, {used_split}")
        print("\n".join(map(report, [*every, *([mean] if mean else [])])))
