"""The training loop: the same on every device, and no step waits for the device."""

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from .data import Augment, Faces, to_distribution
from .disk import FervtError
from .model import FERVT
from .model.weights import to_side

CHECK_EVERY = 50  # steps; to look at a loss is to wait for the device. A CPU is looked at after every step
RESIDENT_SHARE = 0.5  # of the device's free memory, which the faces may take


class LossError(FervtError, FloatingPointError):
    """The loss is not finite."""


class Engine:
    """A model in training with its optimizer, its learning rate and its averaged weights.

    Args:
        recipe: of the run; what it says is explained at `Recipe`.
        faces: the training faces. rows: `(n,)` int64, those of one epoch; some may come more than once.
        augment: one with a call of its own draws in every step, which cannot be captured.
        teachers: models in eval mode whose answers join the target.
    """

    def __init__(
        self,
        recipe,
        accelerator: Accelerator,
        model: FERVT,
        faces: Faces,
        rows: Tensor,
        augment: Augment,
        teachers: Sequence[FERVT] = (),
    ):
        self.recipe, self.accelerator, self.device = recipe, accelerator, accelerator.device
        self.faces, self.rows, self.augment, self.teachers = faces, rows, augment, teachers
        self.steps = len(rows) // (recipe.batch_size * accelerator.num_processes)  # of an epoch
        if not self.steps:
            raise FervtError(f"{len(rows)} faces make no batch of {recipe.batch_size}: lower batch_size")
        self.draws_ahead = type(augment).__call__ is Augment.__call__
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        is_cuda = self.device.type == "cuda"
        rate = torch.tensor(recipe.peak_lr, device=self.device) if is_cuda else recipe.peak_lr
        optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=rate, fused=True, capturable=is_cuda)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.inner = accelerator.unwrap_model(self.model)  # without what several processes wrap it in
        self.schedule = _schedule(recipe, optimizer, recipe.epochs * self.steps)
        self.decay = torch.zeros((), device=self.device)  # of the average, in the step that comes
        self.resident = self._to_device() if is_cuda else None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.why_plain = self._why_plain()

    def _to_device(self) -> tuple[Tensor, Tensor] | None:
        """Images and votes on the device, where they fit."""
        free, _ = torch.cuda.mem_get_info(self.device)
        image, votes = self.faces[:1]
        if len(self.faces) * (image.numel() + votes.numel()) > RESIDENT_SHARE * free:
            return None
        return self.faces.images.to(self.device), self.faces.votes.to(self.device)

    def _why_plain(self) -> str:
        """Why the steps are not captured in a graph; empty where they are."""
        reasons = {
            "only CUDA captures steps": self.device.type != "cuda",
            "several processes train": self.accelerator.num_processes > 1,
            "fp16 looks at every gradient": self.accelerator.mixed_precision == "fp16",
            "the faces do not fit on the device": self.resident is None,
            f"{type(self.augment).__name__} draws in its own call": not self.draws_ahead,
        }
        return next((why for why, holds in reasons.items() if holds), "")

    def set_rates(self, rates: list[float]) -> None:
        """Give each group of parameters its learning rate, which on CUDA is a tensor that a captured step reads."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    # --- an epoch ------------------------------------------------------------------------------------------------

    def epoch(self, epoch: int) -> float:
        """One pass over the training faces; returns the mean loss. Its random numbers come from seed and epoch.

        Raises:
            LossError: a loss is not finite; its step and its learning rate are named.
        """
        if not self.why_plain and self.graph is None:
            self._capture()
        process, seed = self.accelerator.process_index, 1000 * self.recipe.seed + epoch
        torch.manual_seed(seed + 10**6 * process)
        generator = torch.Generator().manual_seed(seed if self.draws_ahead else seed + 10**6 * process)
        rows, draws = self._plan(epoch, generator)
        losses, rates = torch.zeros(self.steps, device=self.device), []
        every = 1 if self.device.type == "cpu" else CHECK_EVERY
        self.model.train()
        bar = tqdm(total=self.steps, desc=f"epoch {epoch + 1}", leave=False, disable=process > 0)
        for i, (images, votes) in enumerate(self._batches(rows)):
            rates.append(self.schedule.get_last_lr()[0])
            losses[i] = self._step(images, votes, generator if draws is None else draws[i])
            if (i + 1) % every == 0 or i + 1 == self.steps:
                self._check(losses[: i + 1], rates)
                bar.update(i + 1 - bar.n)
        bar.close()
        return float(self.accelerator.reduce(losses.double().mean(), "mean"))

    def _plan(self, epoch: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Rows `(steps, b)` and random draws `(steps, b, k)` of this process, made ahead and copied once.

        They are made for the batches of all processes together, so that several see what one would see.
        """
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(self.recipe.seed + epoch))
        shape = self.steps, self.accelerator.num_processes, self.recipe.batch_size
        rows = self.rows[order][: math.prod(shape)].view(shape)[:, self.accelerator.process_index]
        if not self.draws_ahead:
            return rows, None
        draws = torch.stack([self.augment.draw(shape[1] * shape[2], generator) for _ in range(self.steps)])
        return rows, draws.view(*shape, -1)[:, self.accelerator.process_index].to(self.device)

    def _batches(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and votes of each row of `rows`; for a captured step, which gathers them itself, their rows twice."""
        if self.graph is not None:
            yield from ((at, at) for at in rows.to(self.device))
        elif self.resident is not None:
            yield from ((self.resident[0][at], self.resident[1][at]) for at in rows.to(self.device))
        elif self.device.type == "cuda":
            loader = DataLoader(self.faces, batch_sampler=rows.tolist(), num_workers=4, pin_memory=True)
            yield from (tuple(part.to(self.device, non_blocking=True) for part in pair) for pair in loader)
        else:
            yield from (tuple(part.to(self.device) for part in self.faces[at]) for at in rows)

    def _check(self, losses: Tensor, rates: list[float]) -> None:
        if len(bad := (~losses.isfinite()).nonzero()):
            first = int(bad[0])
            step = self.schedule.last_epoch - len(losses) + first + 1
            found = f"step {step}: the loss is {float(losses[first])} at learning rate {rates[first]:.2e}"
            raise LossError(f"{found}; lower peak_lr, or use precision 'no'")

    # --- a step --------------------------------------------------------------------------------------------------

    def _step(self, images: Tensor, votes: Tensor, draws: Tensor | torch.Generator) -> Tensor:
        """One update from uint8 images `(b, c, h, w)` and votes `(b, 8)`; returns the loss, on the device."""
        done = self.schedule.last_epoch
        # a young average would be mostly the random weights it began with, so its decay grows with the steps done
        self.decay.fill_(min(self.recipe.ema_decay, (1 + done) / (10 + done)) if done else 0.0)
        if self.graph is None:
            loss = self._update(images, votes, draws)
        else:
            self.static_rows.copy_(images)
            self.static_draws.copy_(draws)
            self.graph.replay()
            loss = self.static_loss
        self.schedule.step()
        return loss

    def _update(self, images: Tensor, votes: Tensor, draws: Tensor | torch.Generator) -> Tensor:
        """The part of a step that runs on the device alone."""
        self.optimizer.zero_grad()
        changed = self.augment(images, draws)
        loss = F.cross_entropy(self.model(to_model_input(changed, self.average.side)), self._targets(changed, votes))
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self._move_average()
        return loss.detach()

    @torch.no_grad()
    def _targets(self, changed: Tensor, votes: Tensor) -> Tensor:
        """What the model should answer to changed faces, `(b, 8)`; teachers see the faces that it sees."""
        targets = to_distribution(votes)
        if self.recipe.targets == "hard":
            targets = torch.zeros_like(targets).scatter_(1, votes.argmax(dim=1, keepdim=True), 1.0)
        if not self.teachers:
            return targets
        with self.accelerator.autocast():
            answers = [teacher(to_model_input(changed, teacher.side)).float().softmax(1) for teacher in self.teachers]
        return torch.lerp(targets, torch.stack(answers).mean(dim=0), self.recipe.teacher_share)

    @torch.no_grad()
    def _move_average(self) -> None:
        """BatchNorm's statistics are averaged like the weights that they belong to; counters are copied."""
        pairs = list(zip(_tensors(self.average), _tensors(self.inner), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, currents = (list(tensors) for tensors in zip(*floats, strict=True))
        torch._foreach_mul_(averages, self.decay)
        torch._foreach_add_(averages, torch._foreach_mul(currents, 1 - self.decay))
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)

    def _capture(self) -> None:
        """Record a step as one CUDA graph: one launch in place of thousands. Nothing of the run is changed by it."""
        b = self.recipe.batch_size
        self.static_rows = torch.zeros(b, dtype=torch.int64, device=self.device)
        self.static_draws = self.augment.draw(b, torch.Generator().manual_seed(0)).to(self.device)
        saved = [tensor.clone() for tensor in self._state()]
        self.model.train()

        def update() -> Tensor:
            images, votes = (part[self.static_rows] for part in self.resident)
            return self._update(images, votes, self.static_draws)

        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):  # what is made at the first use must not be captured
                    update()
            torch.cuda.current_stream().wait_stream(stream)
            self.optimizer.zero_grad()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.static_loss = update()
            self.graph = graph
        except RuntimeError as error:
            self.why_plain = str(error).partition("\n")[0]
            warnings.warn(f"the steps are not captured in a graph: {self.why_plain}", stacklevel=3)
        with torch.no_grad():
            for tensor, value in zip_longest(self._state(), saved):
                tensor.zero_() if value is None else tensor.copy_(value)  # the optimizer's are made in its first step

    def _state(self) -> list[Tensor]:
        """All tensors that a step changes; those of the optimizer last."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*_tensors(self.inner), *_tensors(self.average), *moments]


def to_model_input(x: Tensor, side: int) -> Tensor:
    """Augmented float faces in [0, 1] as the model's 3 channels of side² pixels, channels last."""
    return to_side(side)(x).contiguous(memory_format=torch.channels_last)


def _tensors(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels; none for biases and normalisation."""
    matrices, others = ([p for p in model.parameters() if (p.ndim > 1) == many] for many in (True, False))
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(recipe, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    # AdamW's first beta stays: a captured step could not change it
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=steps, cycle_momentum=False)
