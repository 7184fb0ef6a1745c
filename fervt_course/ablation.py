"""Measure what each part of FER-VT gains and each fault costs, all variants on one budget: `fervt ablate --help`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from tyro.conf import Positional

from fervt_lib.data import Augment, load
from fervt_lib.disk import FervtError, check_choice, write_json
from fervt_lib.evaluation import predict, score
from fervt_lib.model import FERVT, PRESETS, EncoderLayer, LevelTokens, fervt_paper
from fervt_lib.model.backbone import Pyramid
from fervt_lib.training import Recipe, check_same_recipe, train

from . import faults
from .records import RESULTS, compare, read_record, read_runs

BUDGET = Recipe(preset="tiny", epochs=3, batch_size=64)


@dataclass(frozen=True)
class Variant:
    """One change to a sound FER-VT. Everything else stays the same, even the random weights of untouched parts.

    Attributes:
        says: the change in words.
        against: the baseline we compare it with.
        change: applies the change to a model.
        recipe: the recipe fields that differ.
        augment: augmentation of the training faces.
        build: builds the model if it does not come from a preset.
    """

    says: str
    against: str = "reference"
    change: Callable[[FERVT], FERVT] = lambda model: model
    recipe: dict = field(default_factory=dict)
    augment: Augment = field(default_factory=Augment)
    build: Callable[[], FERVT] | None = None


class EqualWeights(nn.Module):
    """Replaces grid-wise attention with equal weights for all regions: the attended image is the image itself."""

    def __init__(self, grid: int):
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(b, c, H, W)` unchanged, and weights `(b, G, c)` that are all 1/G."""
        return x, x.new_full((len(x), self.grid**2, x.shape[1]), 1 / self.grid**2)


class ImageAlone(nn.Module):
    """Replaces the fusion and returns the image unchanged."""

    def forward(self, image: Tensor, attended: Tensor) -> Tensor:
        return image


class MeanOfLastMap(nn.Module):
    """Replaces the tokens with what a CNN without a transformer would read."""

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Take three maps and return the mean of the last one, `(b, c)`."""
        return pyramid[-1].mean(dim=(2, 3))


class LinearHead(nn.Module):
    """Replaces the transformer with a linear layer that attends to nothing."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`(b, channels)` to logits `(b, classes)` and no attention."""
        return self.head(x), []

    def logits(self, x: Tensor) -> Tensor:
        return self.head(x)


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
    model.tokens = LevelTokens(model.backbone.channels, model.tokens.dim)
    model.transformer.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 4, model.tokens.dim), std=0.02))
    return model


ABLATIONS = {
    "reference": Variant("FER-VT as it is"),
    "equal_weights": Variant("no attention: all regions weighted equally", change=equal_weights),
    "no_low_level": Variant("no attention or fusion: the backbone sees the face", change=no_low_level),
    "no_transformer": Variant("no transformer: linear layer on the last map's mean", change=no_transformer),
    "bare_cnn": Variant("no attention, fusion or transformer: the bare CNN", change=bare_cnn),
    "level_tokens": Variant("level tokens: one per pyramid level (3), not per cell (54)", change=level_tokens),
    "hard_labels": Variant("one hard label as the target, not the votes", recipe={"targets": "hard"}),
    "all_votes": Variant("contested faces in training too (argmax), raw votes", recipe={"protocol": "argmax"}),
}
FAULTS = {
    "scrambled_map": Variant("2 · scrambled map: its rows cycle through the grid", change=faults.scrambled_map),
    "dark_attention": Variant("3 · dark: weights average 1/16, not scaled up", change=faults.dark_attention),
    "dense_split": Variant("4 · regions pass through a dense convolution", change=faults.dense_split),
    "shared_fusion": Variant("5 · one convolution for both fusion inputs", change=faults.shared_fusion),
    "no_normalisation": Variant("6 · no normalization before the backbone", change=faults.no_normalisation),
    "shared_levels": Variant(
        "7 · levels share weights, zero init (vs. level tokens)",
        against="level_tokens",
        change=lambda model: faults.shared_levels(level_tokens(model)),
    ),
    "upside_down": Variant("11 · 2 of 7 faces upside down, 1 turned by up to 90°", augment=faults.UpsideDown()),
    "no_warm_up": Variant(
        "13 · constant learning rate 1e-3, no warm-up", recipe={"schedule": "constant", "peak_lr": 1e-3}
    ),
    "fixed_scale": Variant("14 · scores divided by 56, dropout on attention", change=faults.fixed_scale),
}


def deep(model: FERVT) -> FERVT:
    """Twelve encoder layers, as in the paper's preset."""
    transformer, layer = model.transformer, model.transformer.layers[0]
    sizes = layer.norm1.normalized_shape[0], layer.attention.heads, layer.ffn[0].out_features, layer.drop_path.p
    transformer.layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(12))
    return model


def grid_of_3(model: FERVT) -> FERVT:
    model.grid_attention.grid, model.grid_attention.gain = 3, 9
    return model


SETTINGS = {  # settings where grid-wise attention might matter more or less; each has an equal-weights partner
    "level_equal": Variant(
        "level tokens, equal weights", "level_tokens", change=lambda model: equal_weights(level_tokens(model))
    ),
    "deep": Variant("twelve encoder layers", change=deep),
    "deep_equal": Variant("twelve layers, equal weights", "deep", change=lambda model: equal_weights(deep(model))),
    "hard_equal": Variant("hard labels, equal weights", "hard_labels", equal_weights, {"targets": "hard"}),
    "grid_of_3": Variant("3×3 regions, another reading of the paper at 48²", change=grid_of_3),
}


def pretrained() -> FERVT:
    return fervt_paper(weights_backbone="IMAGENET1K_V1")


IMAGENET = {
    name: Variant(says, "pretrained", change, build=pretrained)
    for name, says, change in (
        ("pretrained", "ResNet-34 with ImageNet's weights", lambda model: model),
        ("wiped", "1 · ImageNet's weights wiped by a second initialization", faults.wiped),
        ("pretrained_unnormalised", "6 · no normalization before pretrained weights", faults.no_normalisation),
    )
}
VARIANTS = ABLATIONS | FAULTS | SETTINGS | IMAGENET
BASELINES = {name: variant.against for name, variant in VARIANTS.items()}


def make(name: str, preset: str = "tiny") -> FERVT:
    """Build an untrained model of variant `name`."""
    variant = VARIANTS[name]
    return variant.change((variant.build or PRESETS[preset])())


def run(name: str, budget: Recipe, runs: Path, results: Path = RESULTS) -> dict:
    """Train variant `name` and score it once on the test split (majority, mirror-averaged). Write and return the facts.

    Args:
        budget: the recipe that all variants share; each variant overrides only its own fields.
        runs: folder for checkpoints; an interrupted run resumes from there.

    Raises:
        CheckpointError: a record of this run already exists, but for a different recipe.
    """
    variant = VARIANTS[name]
    recipe = replace(budget, variant=name, **variant.recipe)
    folder = runs / f"{recipe.preset}-{name}-{recipe.epochs}-{recipe.seed}"
    written = results / f"{folder.name}.json"
    if written.is_file():
        facts = read_record(written)
        # a shipped run was trained as the plain preset; only its record names the variant
        check_same_recipe(written, facts["recipe"] | {"variant": name}, recipe)
        return facts
    model = train(recipe, folder, build=lambda: make(name, budget.preset), augment=variant.augment)
    test = load(recipe.dataset, "test")
    probabilities = predict(model, test)
    facts = read_record(folder / "model.json") | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "mirror": True,
        "test": {test.protocol: score(probabilities, test.labels)},
        "answers": "".join(map(str, probabilities.argmax(dim=1).tolist())),  # one digit per face, for paired tests
    }
    write_json(written, facts)
    return facts


def report(preset: str, epochs: int, results: Path = RESULTS) -> str:
    """Report what each variant gained or lost on a budget, as readable text."""
    runs = read_runs(results)
    runs = runs[(runs["preset"] == preset) & (runs["epochs"] == epochs)]
    gains, tested = compare(runs, BASELINES), compare(runs, BASELINES, "test")
    names = {"validation": "validation, %", "mean": "points", "low": "least", "high": "greatest"}
    table = gains[["validation", "against", "seeds", "mean", "low", "high"]].rename(columns=names)
    return table.assign(**{"on the test": tested["mean"]}).to_string(float_format="{:.1f}".format, na_rep="")


def ablate(
    variants: Positional[tuple[str, ...]] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    preset: Literal["compact", "tiny", "paper", "wide"] = BUDGET.preset,
    epochs: int = BUDGET.epochs,
    batch_size: int = BUDGET.batch_size,
    runs: Path = Path("runs/ablation"),
) -> None:
    """Train FER-VT without one part or with one fault, each on the same small budget, and compare.

    If you name no variant, all that need no download are trained (hours on a CPU). Each run writes one JSON file to
    data/results and is skipped while that file exists. ImageNet's weights need a network connection and a GPU:
    fervt ablate pretrained wiped pretrained_unnormalised --preset paper --epochs 10

    Args:
        variants: names of the variants to train
        seeds: one run per seed
        preset: the size of the model
        epochs: epochs per run
        batch_size: faces per step
        runs: folder for checkpoints; a run resumes from there
    """
    for name in variants:
        check_choice("variant", name, VARIANTS)
    budget = replace(BUDGET, preset=preset, epochs=epochs, batch_size=batch_size)
    if set(variants) & set(IMAGENET) and preset != "paper":
        raise FervtError(f"{' and '.join(IMAGENET)} are variants of the paper preset: add --preset paper")
    wanted, failures = [(name, seed) for seed in seeds for name in variants or ABLATIONS | FAULTS], []
    for name, seed in wanted:
        try:
            run(name, replace(budget, seed=seed), runs)
        except (FervtError, RuntimeError, OSError) as error:  # keep training the others
            failures.append(f"{name}, seed {seed}: {error}")
    if len(failures) < len(wanted):
        print(report(preset, epochs))
    if failures:
        raise FervtError("\n".join(failures))
