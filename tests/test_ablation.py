"""Every variant trains and changes only what it says; a run leaves one record and is not made again."""

import json
import re
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import ResNet34_Weights, resnet34

from fervt_course import ablation
from fervt_course.ablation import ABLATIONS, BUDGET, FAULTS, IMAGENET, VARIANTS, make, run
from fervt_lib.cli import main
from fervt_lib.data import DATASETS, load_drawn
from fervt_lib.disk import CheckpointError, FervtError, write_json
from fervt_lib.evaluation import predict
from fervt_lib.model import load_weights
from fervt_lib.training import Recipe

FROM_SCRATCH = ABLATIONS | FAULTS
SMALL = Recipe(dataset="drawn", preset="tiny", epochs=1, batch_size=16, precision="no")

# --- the models --------------------------------------------------------------------------------------------------

# Names of the weights that a variant may change, take away or add; all others are those of its baseline, bit for bit.
TOUCHED = {
    "equal_weights": r"grid_attention\.",
    "no_low_level": r"grid_attention\.|fusion\.",
    "no_transformer": r"tokens\.|transformer\.",
    "bare_cnn": r"grid_attention\.|fusion\.|tokens\.|transformer\.",
    "level_tokens": r"tokens\.|transformer\.positions",
    "dense_split": r"grid_attention\.extract\.",
    "shared_levels": r"tokens\.|transformer\.(cls|positions)",
}


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_every_variant_learns_from_faces(name):
    model = make(name).train()
    logits = model(torch.rand(2, 3, 48, 48))
    loss = F.cross_entropy(logits, torch.tensor([1, 6]))
    loss.backward()
    idle = {key for key, p in model.named_parameters() if p.grad is None}
    assert logits.shape == (2, 8) and loss.isfinite()
    assert all(p.grad.isfinite().all() for key, p in model.named_parameters() if key not in idle)
    assert idle == ({"fusion.attended.0.weight"} if name == "shared_fusion" else set())


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_variant_touches_only_the_weights_that_it_is_about(name):
    states = []
    for each in (name, VARIANTS[name].against):
        torch.manual_seed(0)
        states.append({key.replace("backbone.backbone.", "backbone."): t for key, t in make(each).state_dict().items()})
    variant, baseline = states
    same = {key for key in variant.keys() & baseline.keys() if torch.equal(variant[key], baseline[key])}
    touched = (variant.keys() | baseline.keys()) - same
    assert any(key.startswith("backbone.") for key in same) and bool(touched) == (name in TOUCHED)
    assert not [key for key in touched if not re.match(TOUCHED[name], key)]


def test_what_an_ablation_leaves_out_is_out():
    x = torch.rand(1, 3, 48, 48)
    for name in ("no_low_level", "bare_cnn"):
        assert torch.equal(make(name).eval().trace(x).fused, x)
    attended, weights = make("equal_weights").grid_attention(x)
    assert torch.equal(attended, x) and (weights == 1 / 16).all()
    for name, tokens in {
        "no_transformer": [],
        "bare_cnn": [],
        "level_tokens": [4, 4, 4],
    }.items():  # 3 and a class token
        assert [a.shape[-1] for a in make(name).eval().trace(x).attention] == tokens


def test_pretrained_keeps_imagenets_weights_and_wiped_does_not(monkeypatch):
    state = {k: torch.rand_like(t) + 2 if t.is_floating_point() else t for k, t in resnet34().state_dict().items()}
    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", lambda self, *args, **kwargs: state)
    pretrained, wiped, unnormalised = (make(name, "paper").backbone.state_dict() for name in IMAGENET)
    for name, tensor in pretrained.items():
        assert torch.equal(tensor, state[name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")]), name
        assert torch.equal(tensor, unnormalised[f"backbone.{name}"]), name
        assert torch.equal(tensor, wiped[name]) == ("running" in name or "tracked" in name), name


def test_without_a_network_the_missing_file_is_named(monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", no_network)
    with pytest.raises(RuntimeError, match=r"resnet34-\w+\.pth into .*checkpoints"):
        make("wiped", "paper")


# --- a run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of a variant with an augmentation of its own: its facts, its folder, and what it looked at."""
    folder, looks = tmp_path_factory.mktemp("ablation"), []

    def few(split="train", **options):
        looks.append(split)
        return load_drawn(split, count=32)

    def watched(model, faces, *, mirror=True):
        looks.append(mirror)
        return predict(model, faces, mirror=mirror)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "drawn", replace(DATASETS["drawn"], load=few))
        patch.setattr(ablation, "predict", watched)
        facts = run("upside_down", SMALL, folder / "runs", folder / "results")
    return facts, folder, looks


def test_a_run_writes_one_file_with_all_its_facts_and_looks_at_the_test_faces_once(done):
    facts, folder, looks = done
    (written,) = (folder / "results").iterdir()
    assert written.name == "tiny-upside_down-1-0.json" and json.loads(written.read_text()) == facts
    assert facts["variant"] == facts["recipe"]["variant"] == "upside_down" and facts["recipe"]["preset"] == "tiny"
    assert facts["recipe"]["batch_size"] == 16 and facts["augmentation"]["class"] == "UpsideDown"
    assert facts["parameters"] == sum(p.numel() for p in make("reference").parameters())
    assert facts["seconds"] >= 0 and facts["hardware"].startswith("1 ×") and facts["torch"] == torch.__version__
    assert [(entry["epoch"], entry["validation"]["faces"]) for entry in facts["history"]] == [(1, 32)]
    assert looks == ["train", "validation", "test", True] and facts["mirror"] is True
    assert list(facts["test"]) == ["drawn"] and facts["test"]["drawn"]["faces"] == 32


def test_a_finished_run_is_not_made_again(done, monkeypatch, tmp_path):
    facts, folder, _ = done
    monkeypatch.delattr(ablation, "train")  # NameError if it were called
    assert run("upside_down", SMALL, tmp_path, folder / "results") == facts
    # a shipped run was trained as the preset itself
    shipped = facts | {"variant": "reference", "recipe": facts["recipe"] | {"variant": ""}}
    write_json(tmp_path / "tiny-reference-1-0.json", shipped)
    assert run("reference", SMALL, tmp_path / "runs", tmp_path) == shipped
    with pytest.raises(
        CheckpointError, match=r"tiny-upside_down-1-0\.json .*another recipe \(peak_lr 0\.002, not 0\.1"
    ):
        run("upside_down", replace(SMALL, peak_lr=0.1), tmp_path, folder / "results")


def test_the_weights_of_a_variant_are_refused_by_the_builders(done):
    (path,) = (done[1] / "runs").rglob("model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*variant upside_down"):
        load_weights(path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("reference", {}),
        ("hard_labels", {"targets": "hard"}),
        ("all_votes", {"protocol": "argmax"}),
        ("no_warm_up", {"schedule": "constant", "peak_lr": 1e-3}),
    ],
)
def test_a_variant_changes_its_own_fields_of_the_budget(name, changes, monkeypatch, tmp_path):
    seen = []

    def stopped(recipe, folder, **options):
        seen.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(name, SMALL, tmp_path, tmp_path)
    assert seen == [replace(SMALL, variant=name, **changes)]
    assert not list(tmp_path.iterdir())  # no record of a run that did not end


def test_the_report_has_the_runs_of_its_budget(done, tmp_path):
    for preset, name, correct in (("tiny", "reference", 0.7), ("tiny", "bare_cnn", 0.75), ("paper", "wiped", 0.1)):
        scores = {"accuracy": correct, "macro_f1": 0.5}
        facts = done[0] | {"variant": name, "history": [{"validation": scores}], "test": {"drawn": scores}}
        facts["recipe"] = facts["recipe"] | {"preset": preset, "variant": name}
        write_json(tmp_path / f"{name}.json", facts)
    reference, bare_cnn = (line.split() for line in ablation.report("tiny", 1, tmp_path).splitlines()[2:])
    assert reference[0] == "reference"
    assert bare_cnn == ["bare_cnn", "75.0", "reference", "1", "5.0", "5.0", "5.0", "5.0"]


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What `fervt ablate` would train; runs of no_warm_up fail."""
    calls = []

    def fake(name, budget, runs):
        calls.append((name, budget))
        if name == "no_warm_up":
            raise FervtError("step 3: the loss is nan")

    monkeypatch.setattr(ablation, "run", fake)
    monkeypatch.setattr(ablation, "report", lambda preset, epochs: f"runs of {preset}, {epochs} epochs")
    return calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reference", "scrambled"], f"variant 'scrambled': .*{', '.join(VARIANTS)}"),
        (["reference", "--epochs", "0"], "--epochs 0"),
        (["reference", "--batch-size", "0"], "--batch-size 0"),
        (["pretrained", "wiped"], "add --preset paper"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(asked, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["ablate", *arguments])
    assert not asked


def test_without_a_name_all_that_needs_no_download_is_trained_with_three_seeds(asked):
    with pytest.raises(SystemExit):  # no_warm_up fails, and does not stop the others
        main(["ablate"])
    assert len(asked) == 3 * len(FROM_SCRATCH)
    assert {(name, budget.seed) for name, budget in asked} == {(n, seed) for n in FROM_SCRATCH for seed in (0, 1, 2)}


def test_the_command_passes_its_options_on_and_ends_with_the_comparison(asked, capsys):
    main("ablate wiped --preset paper --epochs 10 --batch-size 8 --seeds 4".split())
    assert asked == [("wiped", replace(BUDGET, preset="paper", epochs=10, batch_size=8, seed=4))]
    assert capsys.readouterr().out == "runs of paper, 10 epochs\n"


@pytest.mark.parametrize("error", [FervtError, RuntimeError, OSError])
def test_a_run_that_fails_is_named_and_does_not_stop_the_others(asked, monkeypatch, error, capsys):
    with pytest.raises(SystemExit, match="error: no_warm_up, seed 2: step 3: the loss is nan"):
        main("ablate no_warm_up reference --seeds 2".split())
    assert [name for name, _ in asked] == ["no_warm_up", "reference"]
    assert "runs of tiny" in capsys.readouterr().out
