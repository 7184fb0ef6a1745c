"""A run depends only on its recipe, survives being killed, and refuses what it cannot resume."""

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import Subset
from trees import fail, state_of

from fervt_lib import CheckpointError, FervtError, cli
from fervt_lib.data import AUGMENTATIONS, Augment, Faces
from fervt_lib.engine import Engine
from fervt_lib.evaluation import predict
from fervt_lib.model import FERVT, PRESETS, load_weights, read_safetensors, write_safetensors
from fervt_lib.training import LossError, Recipe, read_recipe, to_model_input, train

RECIPE = Recipe(dataset="random", preset="tiny", epochs=3, batch_size=32, precision="no")  # 3 steps per epoch


def random_faces(count: int = 96) -> Faces:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 48, 48), dtype=torch.uint8, generator=generator)
    votes = torch.randint(0, 4, (count, 8), dtype=torch.uint8, generator=generator)
    votes[torch.arange(count), torch.arange(count) % 8] = 9
    return Faces(images, votes, torch.nn.functional.pad(votes, (0, 2)), torch.arange(count), "random")


def run(
    folder: Path, *, hooks: dict | None = None, validation: Faces | None = None, **changes
) -> dict[str, torch.Tensor]:
    """The weights of a run; hooks: build, augment, on_epoch_end."""
    sets = random_faces(), random_faces(16) if validation is None else validation
    return train(replace(RECIPE, **changes), folder, *sets, **hooks or {}).state_dict()


def short_run(folder: Path, **changes) -> dict[str, torch.Tensor]:
    return run(folder, **{"epochs": 1, "batch_size": 48} | changes)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs Python in this file's folder, so that a script can import this file."""
    env, command = os.environ | environment, [sys.executable, *arguments]
    return subprocess.run(command, cwd=Path(__file__).parent, env=env, capture_output=True, text=True, timeout=300)


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "unbroken"


@pytest.fixture(scope="module")
def unbroken(folder):
    """The weights of an uninterrupted run."""
    return run(folder)


# --- stop and resume ---------------------------------------------------------------------------------------------

KILLED_MID_EPOCH = """
import os, signal, sys
from pathlib import Path
from fervt_lib.engine import Engine
from test_training import run

step, steps = Engine._step, []
def step_or_die(self, *arguments):
    steps.append(1)
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)

Engine._step = step_or_die
run(Path(sys.argv[1]))
"""


def test_a_run_killed_mid_epoch_and_resumed_ends_with_the_same_weights(unbroken, tmp_path):
    threads = str(torch.get_num_threads())
    assert python("-c", KILLED_MID_EPOCH, str(tmp_path), OMP_NUM_THREADS=threads).returncode == -signal.SIGKILL
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.safetensors", ".lock"}  # of epoch 1
    assert not differing(run(tmp_path), unbroken)
    history = json.loads((tmp_path / "model.json").read_text())["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]


def test_a_finished_run_leaves_its_model_and_says_that_it_is_not_trained_again(unbroken, folder, capsys):
    assert {file.name for file in folder.iterdir()} == {"checkpoint.safetensors", "model.safetensors", "model.json"}
    facts = json.loads((folder / "model.json").read_text())
    assert facts["recipe"] == asdict(RECIPE) | {"teachers": []} and len(facts["history"]) == 3
    saved = load_weights(folder / "model.safetensors").state_dict()
    for name, tensor in unbroken.items():
        torch.testing.assert_close(saved[name], tensor, atol=1e-3, rtol=1e-3)
    before = state_of(folder)
    assert not differing(run(folder), unbroken) and state_of(folder) == before
    assert "this run is finished" in capsys.readouterr().out


def dark() -> FERVT:
    model = PRESETS["tiny"]()
    model.grid_attention.gain = 1
    return model


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("faces", {"faces": random_faces(104)}),
        ("faces", {"faces": random_faces(96).take(torch.arange(96).flip(0))}),
        ("validation faces", {"validation": random_faces(24)}),
        ("augmentation", {"augment": Augment(flip=0.25)}),
        ("model", {"build": dark}),
        ("model", {"build": lambda: PRESETS["tiny"]().requires_grad_(False).train()}),
        ("model", {"build": lambda: torch.manual_seed(7) and PRESETS["tiny"]()}),
    ],
)
def test_a_run_is_not_gone_on_with_by_another(tmp_path, what, changes):
    recipe = replace(RECIPE, epochs=1, batch_size=48, variant="mine")
    usual = {"faces": random_faces(), "validation": random_faces(16), "build": PRESETS["tiny"]}
    train(recipe, tmp_path, **usual)
    with pytest.raises(CheckpointError, match=f"comes from a run with other {what}:"):
        train(recipe, tmp_path, **usual | changes)


def test_a_subset_is_trained_on_as_the_faces_that_it_holds(tmp_path):
    faces, chosen = random_faces(), list(range(0, 96, 2))
    recipe = replace(RECIPE, epochs=1, batch_size=16)
    subset = train(recipe, tmp_path / "a", Subset(faces, chosen), Subset(faces, [1, 3])).state_dict()
    taken = train(recipe, tmp_path / "b", faces.take(torch.tensor(chosen)), faces.take(torch.tensor([1, 3])))
    assert not differing(subset, taken.state_dict())


# --- the folder of a run -----------------------------------------------------------------------------------------


def test_a_second_process_in_the_folder_is_refused_and_leaves_the_first_alone(tmp_path):
    def intrude(epoch, model):
        with pytest.raises(FervtError, match="another process trains in it"):
            short_run(tmp_path)

    run(tmp_path, hooks={"on_epoch_end": intrude}, epochs=1)
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.safetensors", "model.safetensors", "model.json"}


@pytest.mark.parametrize("name", ["", "checkpoint.safetensors", "model.safetensors", "model.json"])
def test_a_folder_that_cannot_hold_the_run_is_refused_before_the_first_epoch(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Engine, "_step", lambda *_: pytest.fail("it has begun to train"))
    folder = tmp_path / "run"
    (folder / name).mkdir(parents=True) if name else folder.write_text("a file")
    with pytest.raises(FervtError, match=f"{folder} cannot hold a run .*; choose another folder"):
        short_run(folder)


def test_a_file_system_without_locks_and_a_tidy_user_do_not_stop_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("filelock.FileLock.acquire", fail(OSError(errno.ENOLCK, "No locks available")))
    short_run(tmp_path)
    monkeypatch.undo()
    run(tmp_path / "tidied", epochs=1, hooks={"on_epoch_end": lambda *_: (tmp_path / "tidied" / ".lock").unlink()})
    assert (tmp_path / "tidied" / "model.json").is_file()


@dataclass(frozen=True)
class Tinted(Augment):
    """An augmentation whose settings change in JSON."""

    shades: tuple[float, ...] = (0.5, 0.25)

    def __post_init__(self):
        pass  # no checks: a tuple is not a strength


def test_a_run_with_an_augmentation_of_your_own_is_gone_on_with(tmp_path):
    before = short_run(tmp_path, hooks={"augment": Tinted()})
    assert not differing(short_run(tmp_path, hooks={"augment": Tinted()}), before)
    for wrong in (Tinted(shades=torch.zeros(1)), lambda images, generator: images / 255):
        with pytest.raises(FervtError, match="an augmentation is a dataclass of numbers and texts"):
            short_run(tmp_path / "other", hooks={"augment": wrong})


@pytest.mark.parametrize("faces", [{"faces": random_faces(), "validation": None}, {"validation": random_faces()}])
def test_faces_without_validation_faces_are_refused_before_the_first_epoch(tmp_path, faces):
    with pytest.raises(FervtError, match="give both"):
        train(RECIPE, tmp_path, **faces)
    for some, message in (((96, 0), "no validation faces"), ((0, 16), "no faces")):
        with pytest.raises(FervtError, match=message):
            train(RECIPE, tmp_path, *map(random_faces, some))


def test_runs_of_two_precisions_fit_into_one_process(tmp_path):
    weights = [short_run(tmp_path / precision, precision=precision) for precision in ("no", "bf16", "no")[:2]]
    assert differing(*weights)


@pytest.mark.parametrize("change", [{"seed": 1}, {"preset": "paper"}, {"epochs": 4}, {"targets": "hard"}])
def test_a_checkpoint_of_another_recipe_is_refused(unbroken, folder, tmp_path, change):
    with pytest.raises(CheckpointError, match=f"checkpoint.safetensors comes from another recipe.*{min(change)}"):
        run(folder, **change)
    if "seed" in change:  # in a folder of its own it trains other weights
        assert differing(run(tmp_path, **change), unbroken)


@pytest.mark.parametrize("left", [0, 1_000_000])
def test_a_checkpoint_cut_short_is_refused(unbroken, folder, tmp_path, left):
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes((folder / file.name).read_bytes()[:left])
    with pytest.raises(CheckpointError, match="checkpoint.safetensors"):
        run(tmp_path)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_with(tmp_path):
    short_run(tmp_path)
    tensors, metadata = read_safetensors(tmp_path / "checkpoint.safetensors")
    recipe = json.loads(metadata["recipe"])
    recipe["average_decay"] = recipe.pop("ema_decay")
    for name in ("start", "fold", "classes", "variant"):  # fields added later
        del recipe[name]
    write_safetensors(tmp_path / "checkpoint.safetensors", tensors, metadata | {"recipe": json.dumps(recipe)})
    short_run(tmp_path)
    with pytest.raises(CheckpointError, match="fold 0, not 3"):
        short_run(tmp_path, fold=3)


def test_a_recipe_of_any_version_is_read_in_todays_names():
    old = {"dataset": "drawn", "protocol": "drawn", "preset": "tiny-bare_cnn", "average_decay": 0.98, "epochs": 3}
    wanted = Recipe(dataset="drawn", preset="tiny", variant="bare_cnn", ema_decay=0.98, epochs=3)
    assert read_recipe(old) == asdict(wanted) | {"teachers": []} == read_recipe(json.loads(json.dumps(asdict(wanted))))


# --- the loss and the options ------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(LossError, match=r"step \d+: the loss is (nan|inf) at learning rate \d\.\d+e\+\d+"):
        run(tmp_path / "new", peak_lr=1e30)
    assert not list((tmp_path / "new").iterdir()) and issubclass(LossError, FloatingPointError)
    short_run(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    monkeypatch.setattr("fervt_lib.training._Run.resume", lambda self: 0)
    monkeypatch.setattr("fervt_lib.engine.to_distribution", lambda votes: votes / 0.0)
    with pytest.raises(LossError, match="step 1: "):
        short_run(tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


NAN = float("nan")
OUT_OF_RANGE = [
    *({"epochs": value} for value in (0, -1, 1.5, True, "3")),
    *({"batch_size": value} for value in (0, -8)),
    *({"peak_lr": value} for value in (0, -1e-3, NAN, float("inf"))),
    *({"weight_decay": value} for value in (-1, NAN)),
    *({"clip_norm": value} for value in (-1, 0, NAN)),
    *({"ema_decay": value} for value in (-0.1, 1, 2, NAN)),
    *({"rare_share": value} for value in (-1, 2, NAN)),
    *({"seed": value} for value in (-1, 10**30, 0.5)),
    *({"fold": value} for value in (-1, 10)),
    *({"dataset": value} for value in (None, 3)),
]


@pytest.mark.parametrize("wrong", OUT_OF_RANGE, ids=str)
def test_a_number_out_of_its_range_or_of_another_type_is_refused_when_the_recipe_is_made(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(FervtError, match=f"^{name} '?{re.escape(str(value))}'?: (choose a number from|give)"):
        Recipe(**wrong)


@pytest.mark.parametrize("wrong", [{"schedule": "cosine"}, {"targets": "vote"}, {"preset": "large"}, {"classes": 6}])
def test_a_choice_that_does_not_exist_is_refused_when_the_recipe_is_made(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(FervtError, match=f"{name} {value!r}: choose from"):
        Recipe(**wrong)


def test_a_constant_schedule_keeps_the_rate_and_one_cycle_does_not(tmp_path, monkeypatch):
    used, step = [], Engine._step

    def noted(self, *arguments):
        used.extend({group["lr"] for group in self.optimizer.param_groups})
        return step(self, *arguments)

    monkeypatch.setattr(Engine, "_step", noted)
    for schedule in ("constant", "one-cycle"):
        run(tmp_path / schedule, schedule=schedule, peak_lr=3e-4, epochs=1)
    assert used[:3] == [3e-4] * 3
    assert len(set(used[3:])) == 3 and max(used[3:]) <= 3e-4


# --- what you can give a run -------------------------------------------------------------------------------------


def test_on_epoch_end_sees_every_epochs_averaged_model_and_changes_nothing(unbroken, tmp_path):
    seen = []

    def on_epoch_end(epoch, model):
        predict(model, random_faces(16))  # as the protocol experiments do
        seen.append((epoch, {name: tensor.clone() for name, tensor in model.state_dict().items()}))

    assert not differing(run(tmp_path, hooks={"on_epoch_end": on_epoch_end}), unbroken)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert not differing(seen[-1][1], unbroken) and differing(seen[0][1], unbroken)


def test_a_model_of_your_own_is_built_from_the_seed_and_named(unbroken, tmp_path):
    own = [run(tmp_path / f"{i}", hooks={"build": dark}, variant="dark") for i in range(2)]
    assert not differing(*own) and differing(own[0], unbroken)
    facts = json.loads((tmp_path / "0" / "model.json").read_text())
    assert (facts["preset"], facts["variant"], facts["recipe"]["variant"]) == ("tiny", "dark", "dark")
    with pytest.raises(CheckpointError, match="weights of the variant dark"):
        load_weights(tmp_path / "0" / "model.safetensors")


@pytest.mark.parametrize(
    ("build", "fields"),
    [(PRESETS["tiny"], {}), (None, {"variant": "mine"}), (PRESETS["tiny"], {"variant": "mine", "start": "some"})],
)
def test_a_model_that_comes_from_nowhere_or_from_two_places_is_refused(tmp_path, build, fields):
    with pytest.raises(FervtError, match="a model of your own needs"):
        run(tmp_path, hooks={"build": build}, **fields)


@dataclass(frozen=True)
class Black(Augment):
    """Turns every face black."""

    def __call__(self, images, generator):
        return torch.zeros(images.shape)


def test_an_augmentation_of_your_own_is_used_and_recorded(tmp_path, monkeypatch):
    seen, made = [], to_model_input
    monkeypatch.setattr("fervt_lib.engine.to_model_input", lambda x, side: seen.append(x.any()) or made(x, side))
    run(tmp_path, hooks={"augment": Black(flip=0.25)})
    assert len(seen) == 9 and not any(seen)
    recorded = json.loads((tmp_path / "model.json").read_text())["augmentation"]
    assert recorded["class"] == "Black" and recorded["flip"] == 0.25
    with pytest.raises(FervtError, match="96 faces make no batch of 97"):
        run(tmp_path / "large", batch_size=97)


def test_a_run_can_go_on_from_the_weights_of_another(unbroken, folder, tmp_path):
    start = folder / "model.safetensors"
    once = run(tmp_path, start=str(start), peak_lr=1e-12, ema_decay=0.0)
    saved = load_weights(start).state_dict()
    moved = [name for name in differing(once, saved) if "running" not in name and "tracked" not in name]
    assert all((once[name] - saved[name]).abs().max() < 1e-6 for name in moved)  # it started there and barely moved
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["recipe"]["start"] == str(start) and facts["start"]["recipe"]["epochs"] == 3
    assert facts["start"]["sha256"] == hashlib.sha256(start.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match="tiny preset, not compact"):
        run(tmp_path / "compact", start=str(start), preset="compact")
    with pytest.raises(CheckpointError, match="nowhere.safetensors: no such file of weights"):
        run(tmp_path / "nowhere", start=str(tmp_path / "nowhere.safetensors"))


def test_a_student_is_pulled_toward_what_its_teachers_answer_to_the_faces_it_sees(unbroken, folder, tmp_path):
    path, seen = str(folder / "model.safetensors"), []

    class Noted(FERVT):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    teacher, model = load_weights(path), PRESETS["tiny"]()
    teacher.__class__ = model.__class__ = Noted
    accelerator = Accelerator(cpu=True)
    for share, targets in ((1.0, "votes"), (0.25, "hard")):
        recipe = replace(RECIPE, teachers=(path,), teacher_share=share, targets=targets)
        engine = Engine(recipe, accelerator, model, random_faces(), torch.arange(96), Augment(), [teacher])
        images, votes = random_faces()[:32]
        changed = engine.augment(images, torch.Generator().manual_seed(0))
        wanted = torch.nn.functional.one_hot(votes.argmax(1), 8) * (1 - share) + share * teacher(
            to_model_input(changed, 48)
        ).softmax(1)
        torch.testing.assert_close(engine._targets(changed, votes), wanted)
    seen.clear()
    engine._update(images, votes, torch.Generator().manual_seed(0))
    assert len(seen) == 2 and torch.equal(*seen)  # teacher and student see the same faces
    frozen = {name: t.clone() for name, t in teacher.state_dict().items()}
    run(tmp_path / "student", teachers=(path, path), epochs=1)
    assert not differing(frozen, load_weights(path).state_dict())
    facts = json.loads((tmp_path / "student" / "model.json").read_text())
    assert [fact["sha256"] for fact in facts["teachers"]] == [hashlib.sha256(Path(path).read_bytes()).hexdigest()] * 2
    with pytest.raises(CheckpointError, match="teacher_share 0.5, not 0.75"):
        run(tmp_path / "student", teachers=(path, path), epochs=1, teacher_share=0.75)
    with pytest.raises(CheckpointError, match="nowhere.safetensors: no such file of weights"):
        run(tmp_path / "other", teachers=("nowhere.safetensors",))
    with pytest.raises(FervtError, match="give a tuple of names of files"):
        replace(RECIPE, teachers="one.safetensors")


def test_a_recipe_names_its_augmentation(tmp_path):
    facts = {}
    for name in AUGMENTATIONS:
        run(tmp_path / name, epochs=1, augmentation=name)
        facts[name] = json.loads((tmp_path / name / "model.json").read_text())["augmentation"]
    assert facts["usual"] == {"class": "Augment"} | asdict(Augment())
    assert facts["strong"]["equalize"] > 0 and facts["strong"]["brightness"] > facts["usual"]["brightness"]
    with pytest.raises(FervtError, match="usual, strong"):
        replace(RECIPE, augmentation="stronger")


def test_several_processes_share_out_what_one_would_see():
    def plan(processes: int, index: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        accelerator = Mock(wraps=Accelerator(cpu=True), num_processes=processes, process_index=index)
        accelerator.device, accelerator.prepare = torch.device("cpu"), lambda *parts: parts
        accelerator.unwrap_model = lambda model: model
        recipe, faces = replace(RECIPE, batch_size=batch_size), random_faces()
        engine = Engine(recipe, accelerator, PRESETS["tiny"](), faces, torch.arange(96), Augment())
        return engine._plan(1, torch.Generator().manual_seed(5))

    alone, both = plan(1, 0, 32), [plan(2, index, 16) for index in (0, 1)]
    for one, parts in zip(alone, zip(*both, strict=True), strict=True):
        assert torch.equal(one, torch.cat(parts, dim=1))
    assert sorted(alone[0].flatten().tolist()) == list(range(96))


TWO_PROCESSES = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from fervt_lib.engine import Engine
from test_training import random_faces, run

folder, dies_at, step, steps = Path(sys.argv[1]), int(sys.argv[3]), Engine._step, []
def step_or_die(self, *arguments):
    steps.append(1)
    if len(steps) == dies_at and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)

Engine._step = step_or_die
weights = run(folder, epochs=2, batch_size=16, validation=random_faces(17))
torch.save(weights, folder / f"rank{os.environ['RANK']}.pt")
"""


def two_processes(folder: Path, dies_at: int = 0) -> subprocess.CompletedProcess:
    """A run of two processes; if `dies_at` is given, the second is killed before that step."""
    folder.mkdir(exist_ok=True)
    (script := folder.parent / "script.py").write_text(TWO_PROCESSES)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    return python(*launcher, str(script), str(folder), str(Path(__file__).parent), str(dies_at), OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of an uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("two") / "together"
    done = two_processes(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_end_with_the_same_weights(together, tmp_path):
    first, second = (torch.load(together / f"rank{rank}.pt") for rank in (0, 1))
    # Each rank's last batch moves its own BatchNorm statistics; rank 0's are the ones that are saved.
    assert all(name.rsplit(".")[-1] in ("running_mean", "running_var") for name in differing(first, second))
    facts = json.loads((together / "model.json").read_text())
    assert facts["hardware"].startswith("2 ×") and facts["history"][0]["validation"]["faces"] == 17
    run(tmp_path / "alone", epochs=2, batch_size=32, validation=random_faces(17))
    history = json.loads((tmp_path / "alone" / "model.json").read_text())["history"]
    for found, wanted in zip(facts["history"], history, strict=True):  # BatchNorm sees half as many faces at a time
        assert found["loss"] == pytest.approx(wanted["loss"], abs=0.2)
    with pytest.raises(CheckpointError, match="comes from a run with other number of processes"):
        run(together, epochs=2, batch_size=16, validation=random_faces(17))


def test_a_killed_process_ends_the_run_within_a_minute_and_the_same_command_goes_on(together, tmp_path):
    start = time.monotonic()
    stopped = two_processes(tmp_path / "cut", dies_at=5)
    assert stopped.returncode and time.monotonic() - start < 60
    assert re.search(r"rank +: 1 ", stopped.stderr) and "SIGKILL" in stopped.stderr
    assert {file.name for file in (tmp_path / "cut").iterdir()} - {".lock"} == {"checkpoint.safetensors"}  # of epoch 1
    assert two_processes(tmp_path / "cut").returncode == 0
    assert not differing(*(torch.load(folder / "rank0.pt") for folder in (tmp_path / "cut", together)))


# --- the command -------------------------------------------------------------------------------------------------


def test_a_fold_of_ckplus_is_trained_and_then_tested_on_the_faces_that_were_kept_from_it(
    ckplus_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("ck48").parent))
    small = ["--precision", "no", "--preset", "tiny", "--epochs", "1", "--batch-size", "8"]
    cli.main(["train", "--dataset", "ckplus", "--fold", "1", "--folder", str(tmp_path / "run"), *small])
    cli.main(["evaluate", "--dataset", "ckplus", "--checkpoint", str(tmp_path / "run" / "model.safetensors")])
    output, errors = capsys.readouterr()
    assert "fold 1 of 10, 7 classes: 3 faces" in output and "warning" not in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [("--dataset affectnet", "choose from ckplus"), ("--dataset ckplus --fold 10", "from 0 to 9")],
)
def test_an_option_that_does_not_exist_ends_the_command_with_those_that_do(tmp_path, options, message):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        cli.main(["train", *options.split(), "--precision", "no", "--folder", str(tmp_path)])


def test_help_explains_every_option_of_the_recipe_with_its_choices(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert not end.value.code and all(f"--{name.replace('_', '-')}" in text for name in asdict(RECIPE))
    assert "{one-cycle,constant}" in text and "the highest learning rate" in text
