"""Training on whatever device is there: `fervt train --help`.

Several devices: `accelerate launch -m fervt_lib train …`; two CPU processes:
`OMP_NUM_THREADS=1 python -m torch.distributed.run --standalone --nproc_per_node=2 -m fervt_lib train …`.
"""

import errno
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.utils.data import Subset

from .data import (
    AUGMENTATIONS,
    DATASETS,
    EXPRESSIONS,
    Augment,
    Faces,
    as_faces,
    checksum,
    load,
    repeat_rare,
    to_distribution,
)
from .data.ckplus import FOLDS
from .disk import MAX_SEED, CheckpointError, FervtError, check_choice, check_number
from .engine import Engine, LossError, to_model_input
from .evaluation import predict, score
from .model import FERVT, PRESETS, load_weights, read_safetensors, save_weights, write_safetensors
from .model.weights import fingerprint

__all__ = ["LossError", "Recipe", "check_same_recipe", "choose_precision", "read_recipe", "to_model_input", "train"]
CHECKPOINT, WEIGHTS, RECORD = "checkpoint.safetensors", "model.safetensors", "model.json"  # the files of a run
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # what a file system that knows no locks answers
RANGES = {  # of a recipe's numbers, both ends included
    "fold": (0, FOLDS - 1),
    "epochs": (1, 10**6),
    "batch_size": (1, 10**6),
    "peak_lr": (1e-12, 1e30),
    "weight_decay": (0, 1000),
    "clip_norm": (1e-12, math.inf),
    "ema_decay": (0, 1 - 1e-9),
    "rare_share": (0, 1),
    "teacher_share": (0, 1),
    "seed": (0, MAX_SEED),
}
RENAMED = {"average_decay": "ema_decay"}  # fields of recipes that earlier versions wrote


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of a run, besides the code and the machine. A wrong choice raises FervtError."""

    dataset: str = "ferplus"  # where the faces come from: ferplus, fer2013, ckplus, rafdb or drawn
    protocol: Literal["majority", "argmax"] = "majority"  # of FER+ training faces; validation is always majority
    fold: int = 0  # of CK+, 0 to 9: the fold that is kept for the test
    classes: Literal[7, 8] = 7  # of CK+: 7, or 8 with neutral
    preset: Literal["compact", "tiny", "paper", "wide"] = "compact"  # the size of the model
    variant: str = ""  # the name of what `build` makes, where `train` is given one; empty: the preset
    start: str = ""  # a file of the preset's weights to go on from; empty: random weights
    targets: Literal["votes", "hard"] = "votes"  # votes: the distribution over expressions; hard: the label
    augmentation: Literal["usual", "strong"] = "usual"  # strong: more light and size, for faces unlike the dataset's
    teachers: tuple[str, ...] = ()  # files of weights; what they answer to the same changed faces joins the target
    teacher_share: float = 0.5  # of the teachers' mean answer in the target; the rest is the votes or the label
    epochs: int = 24  # passes over the training faces
    batch_size: int = 128  # faces per process and step
    schedule: Literal["one-cycle", "constant"] = "one-cycle"  # of the learning rate; constant: peak_lr throughout
    peak_lr: float = 2e-3  # the highest learning rate
    weight_decay: float = 0.05  # of matrices and kernels, not of biases and normalisation
    clip_norm: float = 1.0  # the longest gradient; a longer one is shortened
    ema_decay: float = 0.998  # per step, of the averaged weights; lower in the first steps
    rare_share: float = 0.1  # an expression rarer than this among the labels has its faces repeated; 0: none
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"  # auto: bf16 where the hardware has it
    seed: int = 0  # of the first weights, the order of the faces, their changes, stochastic depth

    def __post_init__(self):
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if name == "teachers":
                if not isinstance(value, tuple) or not all(isinstance(path, str) for path in value):
                    raise FervtError(f"teachers {value!r}: give a tuple of names of files")
            elif choices := get_args(hint):
                check_choice(name, value, choices)
            elif isinstance(value, bool) or not isinstance(value, (int, float) if hint is float else hint):
                raise FervtError(f"{name} {value!r}: give {'a number' if hint is float else hint.__name__}")
            elif name in RANGES:
                check_number(name, value, *RANGES[name])


def read_recipe(facts: dict) -> dict:
    """The fields of a recipe as any version of the library wrote them, in today's names.

    What a version did not know yet had today's default. Variants were once a part of the preset's name.
    """
    found = {RENAMED.get(name, name): value for name, value in facts.items()}
    if "variant" not in found and "preset" in found:
        found["preset"], _, found["variant"] = found["preset"].partition("-")
    if found.get("protocol") == "drawn":  # once the protocol of faces that have only one
        del found["protocol"]
    return _as_json(Recipe()) | found


def _as_json(recipe: Recipe) -> dict:
    """A recipe's fields as they come back from a file, where a tuple is a list."""
    return json.loads(json.dumps(asdict(recipe)))


def train(
    recipe: Recipe,
    folder: str | Path,
    faces: Faces | Subset | None = None,
    validation: Faces | Subset | None = None,
    *,
    build: Callable[[], FERVT] | None = None,
    augment: Augment | None = None,
    on_epoch_end: Callable[[int, FERVT], None] | None = None,
) -> FERVT:
    """Train, or go on with the run that `folder` holds, and return the averaged model in eval mode.

    `folder` gets `checkpoint.safetensors` after every epoch (resume goes on as if never stopped), and at the end
    `model.safetensors` (fp16) with `model.json`: the recipe, time, and every epoch's scores on validation faces
    (averaged weights, no mirror image).

    Args:
        faces, validation: sets to use instead of the recipe's dataset; both, or none.
        build: makes a model of your own; the recipe names it in `variant`. It is called after the seed is set.
        augment: changes to the training faces instead of those that the recipe names.
        on_epoch_end: called after every epoch with its number, from 1, and the averaged model; it must change neither.

    Raises:
        LossError: the loss is not finite; step and learning rate are named.
        CheckpointError: the folder's checkpoint is damaged, or comes from another recipe, other faces or another model,
            or the recipe's `start` does not hold weights of its preset.
        FervtError: the folder cannot be written, or another process trains in it.
    """
    build = _builder(recipe, build)
    if (faces is None) != (validation is None):
        raise FervtError("give both `faces` and `validation`, on which every epoch is scored, or neither")
    faces, validation = map(as_faces, _load_faces(recipe) if faces is None else (faces, validation))
    AcceleratorState._reset_state()  # else a second run in one process could not have another precision
    accelerator = Accelerator(
        mixed_precision=choose_precision(recipe.precision), cpu=not torch.accelerator.is_available()
    )
    with _reserved(Path(folder), accelerator):
        augment = augment or AUGMENTATIONS[recipe.augmentation]
        run = _Run(recipe, Path(folder), accelerator, (faces, validation), build, augment)
        done = run.resume()
        for epoch in range(done, recipe.epochs):
            run.history.append(run.train_and_score(epoch))
            if on_epoch_end is not None:
                on_epoch_end(epoch + 1, run.engine.average)
            run.save(epoch + 1)
        if done == recipe.epochs:
            accelerator.print(f"{folder}: this run is finished, its {done} epochs are done; nothing was trained")
        if done < recipe.epochs or not all((Path(folder) / name).is_file() for name in (WEIGHTS, RECORD)):
            run.export()
    return run.engine.average.requires_grad_(True)


def _builder(recipe: Recipe, build: Callable[[], FERVT] | None) -> Callable[[], FERVT]:
    if (build is None) != (not recipe.variant) or (build and recipe.start):
        raise FervtError("a model of your own needs `build`, a name in the recipe's `variant`, and no `start`")
    return partial(load_weights, recipe.start, recipe.preset) if recipe.start else build or PRESETS[recipe.preset]


def _load_faces(recipe: Recipe) -> tuple[Faces, Faces]:
    check_choice("dataset", recipe.dataset, DATASETS)
    dataset = DATASETS[recipe.dataset]
    options = {name: getattr(recipe, name) for name in dataset.options}
    train = load(recipe.dataset, "train", **options)
    return train, load(recipe.dataset, "validation", **options | dataset.scored[0])


@contextmanager
def _reserved(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """The folder of a run, made where it is not there, for this run alone; looked at before any work is done."""
    if not accelerator.is_main_process:
        yield
        return
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(NotImplementedError):  # a file system without locks: there the user must see to it
            lock.acquire()  # the system lets go of it when the process dies
        if blocked := [folder / name for name in (CHECKPOINT, WEIGHTS, RECORD) if (folder / name).is_dir()]:
            raise IsADirectoryError(f"{blocked[0].name} is a folder")
    except Timeout:
        way_out = f"wait for it, choose another folder, or remove {folder / '.lock'} where no process is left"
        raise FervtError(f"{folder}: another process trains in it; {way_out}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise FervtError(f"{folder} cannot hold a run ({error}); choose another folder") from error
    try:
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()


class _Run:
    """The state of a run and how it goes to disk and comes back."""

    def __init__(self, recipe: Recipe, folder: Path, accelerator: Accelerator, sets, build, augment: Augment):
        self.recipe, self.accelerator, (faces, self.validation) = recipe, accelerator, sets
        if not len(self.validation):
            raise FervtError("there are no validation faces, on which every epoch is scored")
        self.checkpoint, self.weights = folder / CHECKPOINT, folder / WEIGHTS
        rows = repeat_rare(faces, recipe.rare_share, torch.Generator().manual_seed(recipe.seed))
        torch.manual_seed(recipe.seed)
        model = build().to(memory_format=torch.channels_last)
        shares = to_distribution(faces.votes[rows]).mean(dim=0).tolist()  # of each expression among an epoch's votes
        model.temperature, model.prior = 1.0, tuple(round(share, 5) for share in shares)
        self.augmentation, self.history = _described(augment), []
        self.start = fingerprint(Path(recipe.start)) if recipe.start else None
        teachers = [_teacher(path).to(accelerator.device) for path in recipe.teachers]
        self.teachers = [fingerprint(Path(path)) for path in recipe.teachers]
        self.fingerprint = dict(zip(("faces", "validation faces"), map(checksum, sets), strict=True))
        self.fingerprint |= {"augmentation": self.augmentation, "model": _structure(model)}
        self.fingerprint |= {"number of processes": accelerator.num_processes}
        self.fingerprint |= {"teachers": [teacher["sha256"] for teacher in self.teachers]}
        model = model.to(accelerator.device)
        self.engine = Engine(recipe, accelerator, model, faces, rows, augment, teachers)

    def train_and_score(self, epoch: int) -> dict:
        """One epoch and the averaged model's scores after it, as the record tells them."""
        start = time.perf_counter()
        loss = self.engine.epoch(epoch)
        seconds = time.perf_counter() - start
        scores = score(self._answers(), self.validation.labels)
        self.accelerator.print(
            f"epoch {epoch + 1}/{self.recipe.epochs}: loss {loss:.4f}, validation {100 * scores['accuracy']:.2f} %, "
            f"macro-F1 {scores['macro_f1']:.3f}, {len(self.engine.rows) / seconds:.0f} faces/s"
        )
        return {"epoch": epoch + 1, "loss": round(loss, 4), "seconds": round(seconds, 1), "validation": scores}

    def _answers(self) -> Tensor:
        """The averaged model's probabilities `(n, 8)` of the validation faces, shared out among the processes."""
        n, many, model = len(self.validation), self.accelerator.num_processes, self.engine.average
        if many > 1:
            for buffer in model.buffers():  # each process has moved BatchNorm's statistics by its own batches
                torch.distributed.broadcast(buffer, src=0)
        mine = torch.arange(self.accelerator.process_index, n + -n % many, many) % n  # the first again, to fill up
        with self.accelerator.autocast():
            answers = predict(model, self.validation if many == 1 else self.validation.take(mine), mirror=False)
        every = self.accelerator.gather(answers.to(self.accelerator.device)).cpu()  # process by process
        return every.view(many, -1, every.shape[1]).transpose(0, 1).flatten(0, 1)[:n]

    def save(self, epochs_done: int) -> None:
        if not self.accelerator.is_main_process:
            return
        engine = self.engine
        parts = {"model": engine.inner.state_dict(), "average": engine.average.state_dict()}
        parts |= {f"optimizer.{i}": moments for i, moments in engine.optimizer.state_dict()["state"].items()}
        tensors = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
        # a copy of each: safetensors refuses channels_last strides and shared memory
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        facts = {
            "recipe": asdict(self.recipe),
            "fingerprint": self.fingerprint,
            "epochs_done": epochs_done,
            "schedule": {k: v for k, v in engine.schedule.state_dict().items() if not callable(v)},
            "history": self.history,
            "start": self.start,
        }
        write_safetensors(
            self.checkpoint, tensors, {name: json.dumps(value, default=float) for name, value in facts.items()}
        )

    def resume(self) -> int:
        """Take up the folder's checkpoint, if there is one; returns the number of epochs already done."""
        if not self.checkpoint.is_file():
            return 0
        tensors, metadata = read_safetensors(self.checkpoint)
        if "fingerprint" not in metadata:
            where = f"{self.checkpoint}: not the checkpoint of a run of this version of the library"
            raise CheckpointError(f"{where}; give this run another folder")
        facts = {name: json.loads(value) for name, value in metadata.items()}
        check_same_recipe(self.checkpoint, facts["recipe"], self.recipe)
        if other := [name for name, value in self.fingerprint.items() if facts["fingerprint"][name] != value]:
            way_out = "go on with the same, or choose another folder"
            raise CheckpointError(f"{self.checkpoint} comes from a run with other {', '.join(other)}: {way_out}")
        engine = self.engine
        engine.inner.load_state_dict(_without_prefix("model.", tensors))
        engine.average.load_state_dict(_without_prefix("average.", tensors))
        params = [p for group in engine.optimizer.param_groups for p in group["params"]]
        state = {i: _laid_out_as(p, _without_prefix(f"optimizer.{i}.", tensors)) for i, p in enumerate(params)}
        engine.optimizer.load_state_dict(engine.optimizer.state_dict() | {"state": state})
        engine.schedule.load_state_dict(facts["schedule"])
        engine.set_rates(engine.schedule.get_last_lr())
        self.history, self.start = facts["history"], facts.get("start")
        return facts["epochs_done"]

    def export(self) -> None:
        if not self.accelerator.is_main_process:
            return
        facts = {
            "classes": list(EXPRESSIONS),
            "recipe": asdict(self.recipe),
            "start": self.start,
            "teachers": self.teachers,
            "prior": self.engine.average.prior,
            "augmentation": self.augmentation,
            "hardware": f"{self.accelerator.num_processes} × {self.accelerator.device.type}",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "seconds": round(sum(entry["seconds"] for entry in self.history)),
            "history": self.history,
        }
        save_weights(self.engine.average, self.weights, self.recipe.preset, facts, self.recipe.variant)


def _teacher(path: str) -> FERVT:
    """A model that is only asked; its answers are for the eight expressions."""
    model = load_weights(path).requires_grad_(False)
    if (classes := model.transformer.head.out_features) != len(EXPRESSIONS):
        raise FervtError(f"{path}: a teacher answers {len(EXPRESSIONS)} expressions, this one {classes}")
    return model.to(memory_format=torch.channels_last)


def _described(augment: Augment) -> dict:
    """An augmentation as the record tells it."""
    try:
        return json.loads(json.dumps({"class": type(augment).__name__, **asdict(augment)}))
    except TypeError as error:
        text = "an augmentation is a dataclass of numbers and texts, such as a subclass of Augment"
        raise FervtError(f"{type(augment).__name__}: {text} ({error})") from error


def check_same_recipe(file: Path, found: dict, recipe: Recipe) -> None:
    """Raise CheckpointError unless the recipe found in a file is the one asked for; what differs is named."""
    wanted, found = _as_json(recipe), read_recipe(found)
    if differs := [f"{name} {found[name]!r}, not {wanted[name]!r}" for name in wanted if found[name] != wanted[name]]:
        raise CheckpointError(
            f"{file} comes from another recipe ({'; '.join(differs)}): go on with that one, or choose another folder"
        )


def _structure(model: nn.Module) -> str:
    """A checksum of a model before its training: its parts, their settings, its tensors and which of them learn."""
    facts = [(name, p.requires_grad) for name, p in model.named_parameters()]
    facts += [(name, tuple(t.shape), f"{t.cpu().double().sum():.3g}") for name, t in model.state_dict().items()]
    for name, part in model.named_modules():
        plain = {key: value for key, value in vars(part).items() if isinstance(value, int | float | str)}
        settings = {key: value for key, value in plain.items() if key != "training" and key[0] != "_"}
        facts.append((name, type(part).__qualname__, settings))
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def choose_precision(name: str) -> str:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "no"


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _laid_out_as(parameter: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
    # the fused AdamW walks parameter and moments side by side in memory, so channels_last must be theirs too
    return {name: torch.empty_like(parameter).copy_(t) if t.ndim else t for name, t in state.items()}
