"""Training on whatever device is there: `python -m fervt_lib.training --help`.

Several devices: `accelerate launch -m fervt_lib.training …`; two CPU processes:
`OMP_NUM_THREADS=1 python -m torch.distributed.run --standalone --nproc_per_node=2 -m fervt_lib.training …`.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, DistributedSampler, Subset
from tqdm.auto import tqdm

from .data import EXPRESSIONS, LOADER_OPTIONS, Augment, Faces, load, repeat_rare, to_distribution
from .evaluation import made_by, predict, score
from .model import (
    FERVT,
    PRESETS,
    CheckpointError,
    face_transforms,
    load_weights,
    read_safetensors,
    save_weights,
    write_safetensors,
)

MAJORITY = {"ferplus": {"protocol": "majority"}}  # of the validation faces, whatever is trained on


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of a run, besides the code and the machine."""

    dataset: str = "ferplus"
    protocol: str = "majority"  # which FER+ faces are trained on; validation is always majority
    fold: int = 0  # of CK+
    classes: int = 7  # of CK+: 7, or 8 with neutral
    preset: str = "compact"  # a name in PRESETS, or your own name for what `build` makes
    start: str = ""  # a file of the preset's weights to go on from; empty: random weights
    targets: str = "votes"  # "votes": the distribution over expressions; "hard": the label
    epochs: int = 24
    batch_size: int = 128  # faces per process and step
    schedule: str = "one-cycle"  # or "constant": peak_lr from the first step to the last
    peak_lr: float = 2e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    average_decay: float = 0.998  # per step, of the averaged weights; lower in the first steps
    rare_share: float = 0.1  # an expression rarer than this among the labels has its faces repeated; 0: none
    precision: str = "auto"  # "no", "bf16", "fp16"; "auto": bf16 where the hardware has it
    seed: int = 0


def train(
    recipe: Recipe,
    folder: str | Path,
    faces: Faces | None = None,
    validation: Faces | None = None,
    *,
    build: Callable[[], FERVT] | None = None,
    augment: Augment | None = None,
    watch: Callable[[int, FERVT], None] | None = None,
) -> FERVT:
    """Train, or go on with the run that `folder` holds, and return the averaged model in eval mode.

    `folder` gets `checkpoint.safetensors` after every epoch (resume goes on as if never stopped), and at the end
    `model.safetensors` (fp16) with `model.json`: the recipe, time, and every epoch's scores on validation faces
    (averaged weights, no mirror image).

    Args:
        faces, validation: sets to use instead of the recipe's dataset.
        build: makes a model of your own instead of the recipe's preset; it is called after the seed is set.
        augment: changes to the training faces instead of `Augment()`.
        watch: called after every epoch with its number, from 1, and the averaged model; it must change neither.

    Raises:
        FloatingPointError: the loss is not finite; step and learning rate are named.
        CheckpointError: the folder's checkpoint is damaged or comes from another recipe, or the recipe's `start` is no
            file of weights of its preset.
        ValueError: both `build` and the recipe's `start` say where the model comes from.
    """
    accelerator = Accelerator(
        mixed_precision=choose_precision(recipe.precision), cpu=not torch.accelerator.is_available()
    )
    if faces is None:
        options = {name: getattr(recipe, name) for name in LOADER_OPTIONS.get(recipe.dataset, ())}
        faces = load(recipe.dataset, "train", **options)
        validation = load(recipe.dataset, "validation", **options | MAJORITY.get(recipe.dataset, {}))
    faces = repeat_rare(faces, recipe.rare_share, torch.Generator().manual_seed(recipe.seed))
    run = _Run(recipe, Path(folder), accelerator, faces, _builder(recipe, build), augment or Augment())
    for epoch in range(run.resume(), recipe.epochs):
        start = time.perf_counter()
        loss = run.epoch(epoch)
        seconds = time.perf_counter() - start
        with accelerator.autocast():
            scores = score(predict(run.average.module, validation, mirror=False), validation.labels)
        entry = {
            "epoch": epoch + 1,
            "loss": round(loss, 4),
            "seconds": round(seconds, 1),
            "validation": scores,
        }
        run.history.append(entry)
        accelerator.print(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.4f}, validation {100 * scores['accuracy']:.2f} %, "
            f"macro-F1 {scores['macro_f1']:.3f}, {len(faces) / seconds:.0f} faces/s",
        )
        if watch is not None:
            watch(epoch + 1, run.average.module)
        run.save(epoch + 1)
    run.export()
    return run.average.module.eval()


class _Run:
    """The state of a run and how it goes to disk and comes back."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        accelerator: Accelerator,
        faces: Subset,
        build: Callable[[], FERVT],
        augment: Augment,
    ):
        self.recipe, self.folder, self.accelerator, self.augment = recipe, folder, accelerator, augment
        torch.manual_seed(recipe.seed)
        model = build().to(memory_format=torch.channels_last)
        model.to(accelerator.device)
        # use_buffers: BatchNorm's statistics are averaged like the weights that they belong to.
        average = partial(_average, decay=recipe.average_decay)
        self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        # With one replica this sampler is torch's way to shuffle by (seed, epoch); accelerate shares out its batches.
        sampler = DistributedSampler(faces, 1, 0, shuffle=True, seed=recipe.seed)
        loader = DataLoader(faces, recipe.batch_size, sampler=sampler, collate_fn=_as_is, drop_last=True)
        optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=recipe.peak_lr, fused=True)
        self.model, self.optimizer, self.loader = accelerator.prepare(model, optimizer, loader)
        if not len(self.loader):
            raise ValueError(f"{len(faces)} faces make no batch of {recipe.batch_size}: lower batch_size")
        self.schedule = _schedule(recipe, self.optimizer.optimizer, steps=recipe.epochs * len(self.loader))
        self.history: list[dict] = []
        self.start = _start(Path(recipe.start)) if recipe.start else None

    def epoch(self, epoch: int) -> float:
        """One pass over the training faces; returns the mean loss. Its random numbers come from seed and epoch."""
        self.loader.set_epoch(epoch)  # accelerate counts epochs itself, from 0 after a resume, unless told
        seed = 1000 * self.recipe.seed + epoch
        torch.manual_seed(seed + 10**6 * self.accelerator.process_index)
        generator = torch.Generator().manual_seed(seed + 10**6 * self.accelerator.process_index)
        self.model.train()
        total = 0.0
        bar = tqdm(self.loader, desc=f"epoch {epoch + 1}", leave=False, disable=not self.accelerator.is_main_process)
        for images, votes in bar:
            total += self.step(images, votes, generator)
        return total / len(self.loader)

    def step(self, images: Tensor, votes: Tensor, generator: torch.Generator) -> float:
        """One update from uint8 images `(b, c, h, w)` and votes `(b, 8)`; returns the loss."""
        x = to_model_input(self.augment(images, generator), self.average.module.side)
        targets = to_distribution(votes) if self.recipe.targets == "votes" else votes.argmax(dim=1)
        loss = F.cross_entropy(self.model(x), targets)
        value = loss.item()
        if not math.isfinite(value):
            lr = self.schedule.get_last_lr()[0]
            raise FloatingPointError(
                f"step {self.schedule.last_epoch + 1}: the loss is {value} at learning rate {lr:.2e}; "
                "lower peak_lr, or use precision 'no'"
            )
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.average.update_parameters(self.accelerator.unwrap_model(self.model))
        return value

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def save(self, epochs_done: int) -> None:
        if not self.accelerator.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self.optimizer.state_dict()
        tensors = dict(_prefixed("model", self.accelerator.unwrap_model(self.model).state_dict()))
        tensors |= _prefixed("average", self.average.state_dict())
        for index, values in state["state"].items():
            tensors |= _prefixed(f"optimizer.{index}", values)
        facts = {
            "recipe": asdict(self.recipe),
            "epochs_done": epochs_done,
            "schedule": {k: v for k, v in self.schedule.state_dict().items() if not callable(v)},
            "groups": state["param_groups"],
            "history": self.history,
            "start": self.start,
        }
        write_safetensors(self.checkpoint, tensors, {name: json.dumps(value) for name, value in facts.items()})

    def resume(self) -> int:
        """Take up the folder's checkpoint, if there is one; returns the number of epochs already done."""
        if not self.checkpoint.is_file():
            return 0
        tensors, metadata = read_safetensors(self.checkpoint)
        if "recipe" not in metadata:
            raise CheckpointError(f"{self.checkpoint}: no checkpoint of a training run; give this run another folder")
        facts = {name: json.loads(value) for name, value in metadata.items()}
        self._check_recipe(facts.get("recipe", {}))
        self.accelerator.unwrap_model(self.model).load_state_dict(_part(tensors, "model."))
        self.average.load_state_dict(_part(tensors, "average."))
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        state = {i: _laid_out_as(p, _part(tensors, f"optimizer.{i}.")) for i, p in enumerate(params)}
        self.optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
        self.schedule.load_state_dict(facts["schedule"])
        self.history, self.start = facts["history"], facts.get("start")
        return facts["epochs_done"]

    def _check_recipe(self, found: dict) -> None:
        mine, found = asdict(self.recipe), asdict(Recipe()) | found  # a field that is younger had its default
        if differs := [
            f"{name} {found.get(name)!r}, not {mine[name]!r}" for name in mine if found.get(name) != mine[name]
        ]:
            raise CheckpointError(
                f"{self.checkpoint} comes from another recipe ({'; '.join(differs)}): "
                "go on with that recipe, or give this run a folder of its own"
            )

    def export(self) -> None:
        if not self.accelerator.is_main_process:
            return
        facts = {
            "classes": list(EXPRESSIONS),
            "recipe": asdict(self.recipe),
            "start": self.start,
            "augmentation": {"class": type(self.augment).__name__, **asdict(self.augment)},
            "hardware": f"{self.accelerator.num_processes} × {self.accelerator.device.type}",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "seconds": round(sum(entry["seconds"] for entry in self.history)),
            "history": self.history,
        }
        save_weights(self.average.module, self.folder / "model.safetensors", self.recipe.preset, facts)


def _average(averages: list[Tensor], currents: list[Tensor], done: Tensor, decay: float) -> None:
    # a young average would be mostly the random weights it began with, so its decay grows with the steps done
    get_ema_multi_avg_fn(min(decay, (1 + int(done)) / (10 + int(done))))(averages, currents, done)


def to_model_input(x: Tensor, side: int) -> Tensor:
    """Augmented float faces in [0, 1] as the model's 3 channels of side² pixels, channels last."""
    return face_transforms(side)(x).contiguous(memory_format=torch.channels_last)


def _builder(recipe: Recipe, build: Callable[[], FERVT] | None) -> Callable[[], FERVT]:
    if not recipe.start:
        return build or PRESETS[recipe.preset]
    if build is not None:
        raise ValueError(f"the model comes from {recipe.start} or from `build`, not from both: leave one out")
    return partial(load_weights, Path(recipe.start), recipe.preset)


def _schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    if recipe.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=steps)
    raise ValueError(f"schedule {recipe.schedule!r}: there are 'one-cycle' and 'constant'")


def _as_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels; none for biases and normalisation."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def choose_precision(name: str) -> str:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "no"


def _start(weights: Path) -> dict:
    """What a run says of the weights that it begins from."""
    with open(weights, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()} | made_by(weights)


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    # a copy of each: safetensors refuses channels_last strides and shared memory
    return ((f"{prefix}.{name}", t.detach().contiguous().clone()) for name, t in tensors.items())


def _laid_out_as(parameter: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
    # the fused AdamW walks parameter and moments side by side in memory, so channels_last must be theirs too
    return {name: torch.empty_like(parameter).copy_(t) if t.ndim else t for name, t in state.items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fervt_lib.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/latest"), help="where the run lives; it resumes from there"
    )
    for field in fields(Recipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=field.default)
    args = vars(parser.parse_args(arguments))
    folder = args.pop("folder")
    try:
        train(Recipe(**args), folder)
    except (ValueError, FloatingPointError) as error:  # DataError, CheckpointError, a name or number that is none
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
