"""Every variant can be trained; a run leaves one file with all its facts and is not made again."""

import json
from dataclasses import replace
from urllib.error import URLError

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import ResNet34_Weights, resnet34

from fervt_lib import ablation
from fervt_lib.ablation import ABLATIONS, BUDGET, FAULTS, IMAGENET, VARIANTS, compare, make, read_runs, run
from fervt_lib.data import load_drawn
from fervt_lib.evaluation import predict
from fervt_lib.model import CheckpointError, load_weights
from fervt_lib.training import Recipe

FROM_SCRATCH = ABLATIONS | FAULTS
SMALL = Recipe(dataset="drawn", protocol="drawn", preset="tiny", epochs=1, batch_size=16, precision="no")


def parameters(name: str) -> int:
    return sum(p.numel() for p in make(name).parameters())


# --- the models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_every_variant_learns_from_faces(name):
    torch.manual_seed(0)
    model = make(name).train()
    logits = model(torch.rand(2, 3, 48, 48))
    loss = F.cross_entropy(logits, torch.tensor([1, 6]))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert logits.shape == (2, 8) and loss.isfinite()
    assert all(g.isfinite().all() for g in gradients)
    # what no gradient reaches is dead weight: only fault 5 is about that
    idle = {key.rsplit(".", 2)[0] for key, p in model.named_parameters() if p.grad is None}
    assert idle == ({"fusion.attended"} if name == "shared_fusion" else set())


# Names that stand for something else in the ablated model.
REPLACED = {
    "no_transformer": "transformer.head.",
    "bare_cnn": "transformer.head.",
    "level_tokens": "transformer.positions",
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_keeps_the_weights_of_what_it_leaves_in(name):
    states = []
    for each in ("reference", name):
        torch.manual_seed(0)
        states.append(make(each).state_dict())
    sound, ablated = states
    kept = [key for key in sound if key in ablated and not key.startswith(REPLACED.get(name, "nothing"))]
    assert any(key.startswith("backbone.") for key in kept)
    assert all(torch.equal(sound[key], ablated[key]) for key in kept)


@pytest.mark.parametrize("name", ["no_transformer", "bare_cnn"])
def test_without_a_transformer_nothing_attends(name):
    assert make(name).eval().trace(torch.rand(1, 3, 48, 48)).attention == []
    assert parameters(name) < parameters("reference") / 1.1


def test_without_low_level_learning_the_backbone_sees_the_face():
    x = torch.rand(2, 3, 48, 48)
    for name in ("no_low_level", "bare_cnn"):
        assert torch.equal(make(name).eval().trace(x).fused, x)
    attended, weights = make("equal_weights").grid_attention(x)
    assert torch.equal(attended, x) and (weights == 1 / 16).all()


def test_level_tokens_are_three():
    attention = make("level_tokens").eval().trace(torch.rand(1, 3, 48, 48)).attention
    assert [tuple(a.shape[-2:]) for a in attention] == [(4, 4)] * 3  # the class token comes on top


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_compared_with_one_that_is_there(name):
    variant = VARIANTS[name]
    assert variant.against in VARIANTS and (variant.against != name or name in ("reference", "pretrained"))
    replace(BUDGET, **variant.recipe)  # TypeError: no such field


# --- a run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of a variant with an augmentation of its own: its facts, its folders, and what it looked at."""
    folder, loaded, predicted = tmp_path_factory.mktemp("ablation"), [], []

    def few(name, split, **options):
        loaded.append(split)
        return load_drawn(split, count=32)

    def watched(model, faces, **options):
        predicted.append(options.get("mirror", True))
        return predict(model, faces, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fervt_lib.training.load", few)
        patch.setattr("fervt_lib.ablation.load", few)
        patch.setattr("fervt_lib.ablation.predict", watched)
        facts = run("upside_down", SMALL, folder / "runs", folder / "results")
    return facts, folder, loaded, predicted


def test_a_run_writes_one_file_with_all_its_facts(done):
    facts, folder, _, _ = done
    (written,) = (folder / "results").iterdir()
    assert written.name == "tiny-upside_down-1-0.json"
    assert json.loads(written.read_text()) == facts
    assert facts["variant"] == "upside_down" and facts["parameters"] == parameters("reference")
    assert facts["recipe"]["batch_size"] == 16 and facts["recipe"]["dataset"] == "drawn"
    assert facts["augmentation"]["class"] == "UpsideDown"
    assert facts["seconds"] >= 0 and facts["hardware"].startswith("1 ×") and facts["torch"] == torch.__version__
    assert [entry["epoch"] for entry in facts["history"]] == [1]
    assert facts["history"][0]["validation"]["faces"] == 32


def test_the_test_faces_are_looked_at_once(done):
    facts, _, loaded, predicted = done
    assert loaded == ["train", "validation", "test"] and predicted == [True]  # with the mirror image
    assert facts["mirror"] is True
    assert list(facts["test"]) == ["drawn"] and facts["test"]["drawn"]["faces"] == 32


def test_a_finished_run_is_not_made_again(done, monkeypatch):
    facts, folder, _, _ = done
    monkeypatch.delattr("fervt_lib.ablation.train")  # NameError if it were called
    assert run("upside_down", SMALL, folder / "runs", folder / "results") == facts


@pytest.mark.parametrize("change", [{"batch_size": 8}, {"peak_lr": 0.1}, {"dataset": "ferplus"}])
def test_a_finished_run_of_another_recipe_is_refused(done, change):
    _, folder, _, _ = done
    (field,) = change
    with pytest.raises(CheckpointError, match=rf"tiny-upside_down-1-0\.json is a run of another recipe \({field} "):
        run("upside_down", replace(SMALL, **change), folder / "runs", folder / "results")


def test_the_record_of_a_shipped_run_counts_as_that_run(done, tmp_path):
    facts = done[0] | {"variant": "reference", "recipe": done[0]["recipe"] | {"preset": "tiny"}}
    ablation.write_json(tmp_path / "tiny-reference-1-0.json", facts)
    assert run("reference", SMALL, tmp_path / "runs", tmp_path) == facts and not (tmp_path / "runs").exists()


def test_the_weights_of_a_variant_are_refused_by_the_builders(done):
    (path,) = (done[1] / "runs").rglob("model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_weights(path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("reference", {}),
        ("hard_labels", {"targets": "hard"}),
        ("no_warm_up", {"schedule": "constant", "peak_lr": 1e-3}),
    ],
)
def test_a_variant_changes_its_own_fields_of_the_budget(name, changes, monkeypatch, tmp_path):
    seen = []

    def asked(recipe, folder, **options):
        seen.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr("fervt_lib.ablation.train", asked)
    with pytest.raises(KeyboardInterrupt):
        run(name, SMALL, tmp_path, tmp_path)
    assert seen == [replace(SMALL, preset=f"tiny-{name}", **changes)]
    assert not list(tmp_path.iterdir())  # no file of a run that did not end


# --- what the runs say -------------------------------------------------------------------------------------------


def test_runs_are_read_back_and_other_results_left_out(done, tmp_path):
    facts, folder, _, _ = done
    (written,) = (folder / "results").iterdir()
    (tmp_path / written.name).write_bytes(written.read_bytes())
    ablation.write_json(tmp_path / "protocol-epochs.json", {"history": []})
    (row,) = read_runs(tmp_path).to_dict("records")
    assert (row["variant"], row["preset"], row["epochs"], row["seed"]) == ("upside_down", "tiny", 1, 0)
    assert row["validation"] == 100 * facts["history"][0]["validation"]["accuracy"]
    assert row["test"] == 100 * facts["test"]["drawn"]["accuracy"]


def test_without_runs_the_command_that_makes_them_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m fervt_lib.ablation"):
        read_runs(tmp_path)


@pytest.mark.parametrize("text", ["{", "", '{"variant": "reference", "recipe": {}}', "\udcff"])
def test_a_damaged_record_is_named(done, tmp_path, text):
    ablation.write_json(tmp_path / "a.json", done[0])
    (tmp_path / "tiny-reference-1-0.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"tiny-reference-1-0\.json: .*make it again"):
        read_runs(tmp_path)


def test_seeds_of_all_variants_tell_how_far_seeds_lie_apart():
    scores = {"reference": [70, 72], "bare_cnn": [80, 81, 82], "hard_labels": [50]}
    runs = pd.DataFrame([{"variant": v, "test": float(x)} for v, by_seed in scores.items() for x in by_seed])
    # around their own means: 1 + 1 and 1 + 0 + 1 squared points, over 1 + 2 degrees of freedom; one seed tells nothing
    assert ablation.seed_deviation(runs, "test") == pytest.approx((4 / 3) ** 0.5)


def test_the_report_has_the_runs_of_its_budget(done, tmp_path):
    for name, seed, correct in (("reference", 0, 0.7), ("bare_cnn", 0, 0.75), ("wiped", 0, 0.1)):
        scores = {"accuracy": correct, "macro_f1": 0.5}
        facts = done[0] | {"variant": name, "history": [{"validation": scores}], "test": {"drawn": scores}}
        facts["recipe"] = facts["recipe"] | {"preset": f"tiny-{name}" if name != "wiped" else "paper-wiped"}
        ablation.write_json(tmp_path / f"{name}-{seed}.json", facts)
    lines = ablation.report("tiny", 1, tmp_path).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["reference", "bare_cnn"]
    assert lines[-1].split()[1:] == ["75.0", "reference", "1", "5.0", "5.0", "5.0", "5.0"]


def test_variants_are_compared_seed_by_seed_with_their_own_baseline():
    scores = {
        "reference": {0: 80, 1: 82, 2: 84},
        "level_tokens": {0: 70, 1: 71},
        "shared_levels": {0: 69, 1: 73, 2: 50},  # level_tokens has no seed 2
    }
    runs = pd.DataFrame(
        [{"variant": v, "seed": s, "validation": x} for v, by_seed in scores.items() for s, x in by_seed.items()]
    )
    table = compare(runs.sample(frac=1, random_state=0))
    assert list(table.index) == ["reference", "level_tokens", "shared_levels"]  # the order of VARIANTS
    columns = ["against", "validation", "seeds", "mean", "low", "high"]
    assert table.loc["level_tokens", columns].tolist() == ["reference", 70.5, 2, -10.5, -11, -10]
    assert table.loc["shared_levels", columns].tolist() == ["level_tokens", 64, 2, 0.5, -1, 2]


@pytest.mark.parametrize("names", [["shared_levels"], ["wiped", "reference"]])
def test_without_a_baseline_there_is_nothing_to_compare(names):
    table = compare(pd.DataFrame([{"variant": name, "seed": 0, "validation": 70.0} for name in names]))
    row = table.loc[names[0]]
    assert row["validation"] == 70 and row["seeds"] == 0 and pd.isna(row["mean"])


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the command would train."""
    calls = []
    monkeypatch.setattr("fervt_lib.ablation.run", lambda name, budget, runs: calls.append((name, budget)))
    monkeypatch.setattr("fervt_lib.ablation.report", lambda preset, epochs: f"runs of {preset}, {epochs} epochs")
    return calls


def test_an_unknown_variant_is_refused_by_naming_all(asked, capsys):
    with pytest.raises(SystemExit) as stop:
        ablation.main(["reference", "scrambled"])
    assert stop.value.code == 2 and not asked
    message = capsys.readouterr().err.split("error: ")[1]
    assert message.startswith("no variant scrambled:") and all(name in message for name in VARIANTS)


def test_the_command_trains_what_needs_no_download_with_three_seeds(asked):
    ablation.main([])
    assert {name for name, _ in asked} == set(FROM_SCRATCH)
    assert {(name, budget.seed) for name, budget in asked} == {(n, s) for n in FROM_SCRATCH for s in (0, 1, 2)}
    assert len(asked) == 3 * len(FROM_SCRATCH)


def test_the_command_ends_with_the_comparison(asked, capsys):
    ablation.main(["bare_cnn", "--preset", "compact", "--epochs", "4", "--seeds", "0"])
    assert capsys.readouterr().out == "runs of compact, 4 epochs\n"


@pytest.mark.parametrize("option", [["--epochs", "0"], ["--batch-size", "0"]])
def test_a_budget_of_nothing_is_refused(asked, capsys, option):
    with pytest.raises(SystemExit):
        ablation.main(["reference", *option])
    assert "1 or more" in capsys.readouterr().err and not asked


def test_the_command_passes_its_options_on(asked):
    ablation.main(["wiped", "--preset", "paper", "--epochs", "10", "--batch-size", "8", "--seeds", "4"])
    assert asked == [("wiped", replace(BUDGET, preset="paper", epochs=10, batch_size=8, seed=4))]


def test_an_error_of_a_run_names_variant_and_seed(monkeypatch):
    def refuse(*arguments):
        raise CheckpointError("made up")

    monkeypatch.setattr("fervt_lib.ablation.run", refuse)
    with pytest.raises(SystemExit, match="error: reference, seed 2: made up"):
        ablation.main(["reference", "--seeds", "2"])


# --- ImageNet's weights ------------------------------------------------------------------------------------------


def test_pretrained_keeps_imagenets_weights_and_wiped_does_not(monkeypatch):
    state = {k: torch.rand_like(t) + 2 if t.is_floating_point() else t for k, t in resnet34().state_dict().items()}
    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", lambda self, *args, **kwargs: state)
    names = ("pretrained", "wiped", "pretrained_unnormalised")
    pretrained, wiped, unnormalised = (make(name, "paper").backbone.state_dict() for name in names)
    assert set(names) == set(IMAGENET) and {key.removeprefix("backbone.") for key in unnormalised} == pretrained.keys()
    assert all(torch.equal(t, pretrained[key.removeprefix("backbone.")]) for key, t in unnormalised.items())
    for name, tensor in pretrained.items():
        source = name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")
        assert torch.equal(tensor, state[source]), name
        running = "running" in name or "tracked" in name
        assert torch.equal(wiped[name], tensor) == running, name


@pytest.mark.parametrize("name", IMAGENET)
def test_without_a_network_the_missing_file_is_named(name, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", no_network)
    with pytest.raises(RuntimeError, match=r"resnet34-\w+\.pth into .*checkpoints"):
        make(name, "paper")


def test_variants_with_imagenets_weights_need_the_paper_preset(asked, capsys):
    with pytest.raises(SystemExit):
        ablation.main(["pretrained", "wiped"])
    assert "add --preset paper" in capsys.readouterr().err and not asked
    ablation.main(["pretrained", "wiped", "--preset", "paper", "--seeds", "0"])
    assert [name for name, _ in asked] == ["pretrained", "wiped"]


@pytest.mark.parametrize("error", [FloatingPointError, RuntimeError, OSError, ValueError])
def test_a_run_that_fails_does_not_stop_the_others(monkeypatch, asked, error):
    calls = []

    def fail(name, budget, runs):
        calls.append(name)
        if name == "no_warm_up":
            raise error("step 3: the loss is nan")

    monkeypatch.setattr("fervt_lib.ablation.run", fail)
    with pytest.raises(SystemExit, match="no_warm_up, seed 0: step 3: the loss is nan"):
        ablation.main(["no_warm_up", "reference", "--seeds", "0"])
    assert calls == ["no_warm_up", "reference"]
