"""A run is decided by its recipe alone, survives being killed, and refuses what it cannot go on with."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from fervt_lib import evaluation, training
from fervt_lib.data import Augment, Faces
from fervt_lib.evaluation import predict
from fervt_lib.model import (
    PRESETS,
    CheckpointError,
    fervt_compact,
    load_weights,
    read_safetensors,
    save_weights,
    write_safetensors,
)
from fervt_lib.training import Recipe, _Run, to_model_input, train

RECIPE = Recipe(dataset="random", epochs=3, batch_size=32, precision="no")  # 3 steps an epoch
NAMES = {"checkpoint.safetensors", "model.safetensors", "model.json"}


def random_faces(count: int = 96) -> Faces:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 48, 48), dtype=torch.uint8, generator=generator)
    votes = torch.randint(0, 4, (count, 8), dtype=torch.uint8, generator=generator)
    votes[torch.arange(count), torch.arange(count) % 8] = 9
    return Faces(images, votes, torch.nn.functional.pad(votes, (0, 2)), torch.arange(count), "random")


def run(folder: Path, **changes) -> dict[str, torch.Tensor]:
    return train(replace(RECIPE, **changes), folder, random_faces(), random_faces(16)).state_dict()


def short_run(folder: Path, *, hooks: dict | None = None, **changes) -> dict[str, torch.Tensor]:
    """A run of the tiny preset, two epochs of 3 small steps; hooks: build, augment, watch."""
    recipe = replace(RECIPE, **{"preset": "tiny", "epochs": 2, "batch_size": 8} | changes)
    return train(recipe, folder, random_faces(24), random_faces(16), **hooks or {}).state_dict()


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Python in the folder of this file, so that a script can import it."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=Path(__file__).parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "whole"


@pytest.fixture(scope="module")
def whole(folder):
    """The weights of a run that nothing stopped."""
    return run(folder)


KILLED_MID_EPOCH = """
import os, signal, sys
from pathlib import Path
from fervt_lib.training import _Run
from test_training import run

step, steps = _Run.step, []
def step_or_die(self, *arguments):
    steps.append(1)
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)

_Run.step = step_or_die
run(Path(sys.argv[1]))
"""


def test_a_run_killed_mid_epoch_and_resumed_ends_with_the_same_weights(whole, tmp_path):
    assert python("-c", KILLED_MID_EPOCH, str(tmp_path)).returncode == -signal.SIGKILL
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.safetensors"}  # of epoch 1
    assert not differing(run(tmp_path), whole)
    history = json.loads((tmp_path / "model.json").read_text())["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]


def test_the_same_seed_gives_the_same_weights_and_another_others(whole, tmp_path):
    assert not differing(run(tmp_path / "same"), whole)
    assert differing(run(tmp_path / "other", seed=1), whole)


def test_a_finished_run_leaves_its_model_and_is_not_trained_again(whole, folder):
    assert {file.name for file in folder.iterdir()} == NAMES
    facts = json.loads((folder / "model.json").read_text())
    assert facts["recipe"]["epochs"] == 3 and len(facts["history"]) == 3
    saved = load_weights(folder / "model.safetensors").state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(saved[name], tensor, atol=1e-3, rtol=1e-3)
    assert not differing(run(folder), whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"preset": "paper"}, {"epochs": 4}, {"targets": "hard"}])
def test_a_checkpoint_of_another_recipe_is_refused(whole, folder, change):
    with pytest.raises(
        CheckpointError, match=f"checkpoint.safetensors comes from another recipe.*{next(iter(change))}"
    ):
        run(folder, **change)


def test_plain_weights_are_no_training_checkpoint(tmp_path):
    save_weights(fervt_compact(), tmp_path / "checkpoint.safetensors", "compact", {})
    with pytest.raises(CheckpointError, match="checkpoint.safetensors"):
        run(tmp_path)


@pytest.mark.parametrize("left", [0, 100, 1_000_000])
def test_a_checkpoint_cut_short_is_refused(whole, folder, tmp_path, left):
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes((folder / file.name).read_bytes()[:left])
    with pytest.raises(CheckpointError, match="checkpoint.safetensors"):
        run(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path):
    with pytest.raises(FloatingPointError, match=r"step \d+: the loss is (nan|inf) at learning rate \d\.\d+e\+\d+"):
        run(tmp_path, peak_lr=1e30)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    monkeypatch.setattr("fervt_lib.training._Run.resume", lambda self: 0)
    monkeypatch.setattr("fervt_lib.training.to_distribution", lambda votes: votes / 0.0)
    with pytest.raises(FloatingPointError, match="step 1: "):
        run(tmp_path, epochs=1)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_hard_targets_train_another_model_than_votes(tmp_path):
    assert differing(run(tmp_path / "hard", epochs=1, targets="hard"), run(tmp_path / "votes", epochs=1))


def rates(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes) -> list[float]:
    """The learning rate that the optimizer used in every step of a run."""
    used, step = [], _Run.step

    def watched(self, *arguments):
        used.append({group["lr"] for group in self.optimizer.param_groups})
        return step(self, *arguments)

    monkeypatch.setattr(_Run, "step", watched)
    short_run(folder, **changes)
    return [rate for (rate,) in used]


def test_a_constant_schedule_keeps_the_rate_and_one_cycle_does_not(tmp_path, monkeypatch):
    assert rates(tmp_path / "constant", monkeypatch, schedule="constant", peak_lr=3e-4) == [3e-4] * 6
    cycle = rates(tmp_path / "cycle", monkeypatch, peak_lr=3e-4)
    assert len(set(cycle)) == 6 and max(cycle) <= 3e-4


def test_an_unknown_schedule_is_refused_by_naming_both(tmp_path):
    with pytest.raises(ValueError, match="'cosine'.*'one-cycle'.*'constant'"):
        short_run(tmp_path, schedule="cosine")
    assert not list(tmp_path.iterdir())


def test_a_run_with_a_constant_rate_goes_on_where_it_stopped(tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt  # before the checkpoint of epoch 2

    with pytest.raises(KeyboardInterrupt):
        short_run(tmp_path / "stopped", hooks={"watch": stop}, schedule="constant")
    resumed, whole = (short_run(tmp_path / name, schedule="constant") for name in ("stopped", "whole"))
    assert not differing(resumed, whole)


def test_watch_sees_every_epochs_averaged_model_and_changes_nothing(tmp_path):
    seen = []

    def watch(epoch, model):
        predict(model, random_faces(16))  # as the protocol experiments do
        seen.append((epoch, {name: tensor.clone() for name, tensor in model.state_dict().items()}))

    watched = short_run(tmp_path / "watched", hooks={"watch": watch})
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert not differing(seen[-1][1], watched) and differing(seen[0][1], watched)
    assert not differing(short_run(tmp_path / "alone"), watched)


def test_a_model_of_your_own_is_built_from_the_seed(tmp_path):
    def build():
        model = PRESETS["tiny"]()
        model.grid_attention.gain = 1
        return model

    own, same = (short_run(tmp_path / name, hooks={"build": build}, preset=name) for name in ("my own", "compact"))
    assert not differing(own, same)
    assert differing(own, short_run(tmp_path / "tiny"))  # in the weights: the names are the same
    assert json.loads((tmp_path / "my own" / "model.json").read_text())["preset"] == "my own"


@dataclass(frozen=True)
class Black(Augment):
    """Leaves nothing to be seen."""

    def __call__(self, images, generator):
        return torch.zeros(images.shape)


def test_an_augmentation_of_your_own_is_used_and_recorded(tmp_path, monkeypatch):
    seen, made = [], to_model_input
    monkeypatch.setattr("fervt_lib.training.to_model_input", lambda x, side: seen.append(x.any()) or made(x, side))
    short_run(tmp_path, hooks={"augment": Black(flip=0.25)})
    assert len(seen) == 6 and not any(seen)
    recorded = json.loads((tmp_path / "model.json").read_text())["augmentation"]
    assert recorded["class"] == "Black" and recorded["flip"] == 0.25


def test_too_few_faces_for_a_batch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="96 faces make no batch of 97"):
        run(tmp_path, batch_size=97)


TWO_PROCESSES = """
import os, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from test_training import run

folder = Path(sys.argv[1])
torch.save(run(folder, epochs=1, batch_size=16), folder / f"rank{os.environ['RANK']}.pt")
"""


def test_two_processes_end_with_the_same_weights(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = python(*launcher, str(script), str(tmp_path), str(Path(__file__).parent), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    # Each rank's last batch moves its own BatchNorm statistics; rank 0's are the ones that are saved.
    assert all(name.rsplit(".")[-1] in ("running_mean", "running_var") for name in differing(first, second))
    assert json.loads((tmp_path / "model.json").read_text())["hardware"].startswith("2 ×")


def test_a_young_average_follows_the_weights_and_an_old_one_is_slow(tmp_path):
    # After 9 steps an average of the constant decay 0.998 would be 98 % the random weights that the run began with.
    name = "transformer.head.weight"
    begin = run(tmp_path / "begin", peak_lr=1e-12)[name]
    slow, last = (run(tmp_path / str(decay), average_decay=decay)[name] for decay in (0.998, 0.0))
    assert (slow - begin).norm() > 0.3 * (last - begin).norm()
    assert not torch.equal(slow, last)


def test_a_run_can_go_on_from_the_weights_of_another(whole, folder, tmp_path):
    start = folder / "model.safetensors"
    once = run(tmp_path / "once", start=str(start), peak_lr=1e-12, average_decay=0.0)
    saved = load_weights(start).state_dict()
    moved = [name for name in differing(once, saved) if "running" not in name and "tracked" not in name]
    assert all((once[name] - saved[name]).abs().max() < 1e-6 for name in moved)  # it began there, and crept
    facts = json.loads((tmp_path / "once" / "model.json").read_text())
    assert facts["recipe"]["start"] == str(start)
    assert facts["start"]["recipe"]["epochs"] == 3
    assert facts["start"]["sha256"] == hashlib.sha256(start.read_bytes()).hexdigest()


def test_weights_that_a_run_cannot_start_from_are_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="compact preset, not tiny"):
        short_run(tmp_path, start=str(folder / "model.safetensors"))
    with pytest.raises(CheckpointError, match="nowhere.safetensors: no such checkpoint"):
        run(tmp_path, start=str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(ValueError, match="not from both"):
        short_run(tmp_path, start="some.safetensors", hooks={"build": PRESETS["tiny"]})


def test_a_fold_of_ckplus_is_trained_and_then_tested_on_the_faces_that_were_kept_from_it(
    ckplus_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("ck48").parent))
    small = ["--precision", "no", "--preset", "tiny", "--epochs", "1", "--batch-size", "8"]
    training.main(["--dataset", "ckplus", "--fold", "1", "--folder", str(tmp_path / "run"), *small])
    evaluation.main(["--dataset", "ckplus", "--checkpoint", str(tmp_path / "run" / "model.safetensors")])
    said, warned = capsys.readouterr()
    assert "fold 1 of 10, 7 classes: 3 faces" in said and "warning" not in warned


def test_a_dataset_or_fold_that_is_none_ends_the_command_with_a_message(tmp_path):
    for arguments, message in (
        (["--dataset", "affectnet"], "there are ckplus"),
        (["--dataset", "ckplus", "--fold", "10"], "0 to 9"),
    ):
        with pytest.raises(SystemExit, match=message):
            training.main([*arguments, "--precision", "no", "--folder", str(tmp_path)])


def test_a_checkpoint_from_before_a_field_of_the_recipe_was_there_is_gone_on_with(tmp_path):
    short_run(tmp_path)
    tensors, metadata = read_safetensors(tmp_path / "checkpoint.safetensors")
    recipe = json.loads(metadata["recipe"])
    for name in ("start", "fold", "classes"):
        del recipe[name]
    write_safetensors(tmp_path / "checkpoint.safetensors", tensors, metadata | {"recipe": json.dumps(recipe)})
    short_run(tmp_path)
    with pytest.raises(CheckpointError, match="fold 0, not 3"):
        short_run(tmp_path, fold=3)
