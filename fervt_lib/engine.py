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

CHECK_EVERY = 50  # steps; reading a loss means waiting for the device. On a CPU, we check after every step
RESIDENT_SHARE = 0.5  # the share of the device's free memory that the faces may fill


class LossError(FervtError, FloatingPointError):
    """The loss is not finite."""


class Engine:
    """A model in training with its optimizer, its learning rate and its averaged weights.

    Args:
        recipe: the run's recipe; see `Recipe`.
        faces: the training faces. rows: `(n,)` int64, the rows of one epoch; some may repeat.
        augment: if it overrides `__call__`, it draws random numbers in every step, and we cannot capture the steps.
        teachers: models in eval mode whose predictions join the target.
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
        self.steps = len(rows) // (recipe.batch_size * accelerator.num_processes)  # per epoch
        if not self.steps:
            raise FervtError(f"{len(rows)} faces make no batch of {recipe.batch_size}: lower batch_size")
        self.draws_ahead = type(augment).__call__ is Augment.__call__
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        is_cuda = self.device.type == "cuda"
        rate = torch.tensor(recipe.peak_lr, device=self.device) if is_cuda else recipe.peak_lr
        optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=rate, fused=True, capturable=is_cuda)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.inner = accelerator.unwrap_model(self.model)  # without the wrapper for several processes
        self.schedule = _schedule(recipe, optimizer, recipe.epochs * self.steps)
        self.decay = torch.zeros((), device=self.device)  # the average's decay in the next step
        self.resident = self._to_device() if is_cuda else None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.why_plain = self._why_plain()

    def _to_device(self) -> tuple[Tensor, Tensor] | None:
        """Images and votes on the device, or None if they do not fit."""
        free, _ = torch.cuda.mem_get_info(self.device)
        image, votes = self.faces[:1]
        if len(self.faces) * (image.numel() + votes.numel()) > RESIDENT_SHARE * free:
            return None
        return self.faces.images.to(self.device), self.faces.votes.to(self.device)

    def _why_plain(self) -> str:
        """Why we do not capture the steps in a CUDA graph; empty if we do."""
        reasons = {
            "only CUDA captures steps": self.device.type != "cuda",
            "several processes train": self.accelerator.num_processes > 1,
            "fp16 checks every gradient": self.accelerator.mixed_precision == "fp16",
            "the faces do not fit on the device": self.resident is None,
            f"{type(self.augment).__name__} draws random numbers in its own __call__": not self.draws_ahead,
        }
        return next((why for why, holds in reasons.items() if holds), "")

    def set_rates(self, rates: list[float]) -> None:
        """Set the learning rate of each parameter group. On CUDA it is a tensor, which a captured step reads."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    # --- an epoch ------------------------------------------------------------------------------------------------

    def epoch(self, epoch: int) -> float:
        """Make one pass over the faces and return the mean loss. Seed and epoch determine the random numbers.

        Raises:
            LossError: a loss is not finite; the message gives its step and its learning rate.
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
        """This process's rows `(steps, b)` and random draws `(steps, b, k)`, made in advance and copied once.

        We draw for all processes together, so that several processes see what a single one would see.
        """
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(self.recipe.seed + epoch))
        shape = self.steps, self.accelerator.num_processes, self.recipe.batch_size
        rows = self.rows[order][: math.prod(shape)].view(shape)[:, self.accelerator.process_index]
        if not self.draws_ahead:
            return rows, None
        draws = torch.stack([self.augment.draw(shape[1] * shape[2], generator) for _ in range(self.steps)])
        return rows, draws.view(*shape, -1)[:, self.accelerator.process_index].to(self.device)

    def _batches(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and votes for each batch in `rows`. A captured step gathers them itself, so it gets the rows twice."""
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
        # early on, the average would be mostly the random initial weights, so the decay grows with the steps done
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
        """The part of a step that runs entirely on the device."""
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
        """The targets for augmented faces, `(b, 8)`; the teachers see the same augmented faces as the model."""
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
        """Update the averaged model. We average BatchNorm's statistics like the weights, and copy its counters."""
        pairs = list(zip(_tensors(self.average), _tensors(self.inner), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, currents = (list(tensors) for tensors in zip(*floats, strict=True))
        torch._foreach_mul_(averages, self.decay)
        torch._foreach_add_(averages, torch._foreach_mul(currents, 1 - self.decay))
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)

    def _capture(self) -> None:
        """Record a step as one CUDA graph: one launch instead of thousands. The state of the run does not change."""
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
                for _ in range(3):  # we must not capture what is created on first use
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
                tensor.zero_() if value is None else tensor.copy_(value)  # None: created in the optimizer's first step

    def _state(self) -> list[Tensor]:
        """All tensors that a step changes, the optimizer's last."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*_tensors(self.inner), *_tensors(self.average), *moments]


def to_model_input(x: Tensor, side: int) -> Tensor:
    """Turn augmented float faces in [0, 1] into model input: 3 channels of side² pixels, channels last."""
    return to_side(side)(x).contiguous(memory_format=torch.channels_last)


def _tensors(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels; none for biases and normalization."""
    matrices, others = ([p for p in model.parameters() if (p.ndim > 1) == many] for many in (True, False))
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(recipe, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    # AdamW's first beta stays fixed: a captured step could not change it
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=steps, cycle_momentum=False)
