"""Every variant trains and changes only what it says; a run leaves one record and is not repeated."""

import json
import re
from dataclasses import replace
from unittest.mock import Mock
from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet34_Weights, resnet34

from fervt_course import ablation
from fervt_course.ablation import ABLATIONS, BUDGET, FAULTS, IMAGENET, SETTINGS, VARIANTS, make, run
from fervt_lib.cli import main
from fervt_lib.data import DATASETS, load_drawn
from fervt_lib.disk import CheckpointError, FervtError, write_json
from fervt_lib.evaluation import predict
from fervt_lib.model import load_weights
from fervt_lib.training import Recipe

FROM_SCRATCH = ABLATIONS | FAULTS | SETTINGS
SMALL = Recipe(dataset="drawn", preset="tiny", epochs=1, batch_size=16, precision="no")

# Names of the weights that a variant may change, remove or add; all others equal its baseline's, bit for bit.
LOW, HIGH = r"grid_attention\.|fusion\.", r"tokens\.|transformer\."
TOUCHED = {"equal_weights": r"grid_attention\.", "no_low_level": LOW, "no_transformer": HIGH}
TOUCHED |= {"bare_cnn": f"{LOW}|{HIGH}", "dense_split": r"grid_attention\.extract\."}
TOUCHED |= {"level_tokens": r"tokens\.|transformer\.positions"}
TOUCHED |= dict.fromkeys(("level_equal", "deep_equal", "hard_equal"), r"grid_attention\.")
TOUCHED |= {"deep": r"transformer\.layers\."}
TOUCHED |= {"shared_levels": r"tokens\.|transformer\.(cls|positions)"}


def weights_of(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)  # "backbone.backbone.": a wrapper adds its own name in front
    return {key.replace("backbone.backbone.", "backbone."): t for key, t in make(name).state_dict().items()}


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_variant_learns_and_touches_only_the_weights_that_it_is_about(name):
    model = make(name).train()
    logits = model(torch.rand(2, 3, 48, 48))
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 6])).backward()
    gradients = {key: p.grad for key, p in model.named_parameters()}
    idle = {key for key, gradient in gradients.items() if gradient is None}
    assert logits.shape == (2, 8) and idle == ({"fusion.attended.0.weight"} if name == "shared_fusion" else set())
    assert all(gradients[key].isfinite().all() for key in gradients.keys() - idle)
    variant, baseline = weights_of(name), weights_of(VARIANTS[name].against)
    same = {key for key in variant.keys() & baseline.keys() if torch.equal(variant[key], baseline[key])}
    touched = (variant.keys() | baseline.keys()) - same
    assert bool(touched) == (name in TOUCHED) and not [key for key in touched if not re.match(TOUCHED[name], key)]


def test_what_an_ablation_leaves_out_is_out():
    x = torch.rand(1, 3, 48, 48)
    for name in ("no_low_level", "bare_cnn"):
        assert torch.equal(make(name).eval().trace(x).fused, x)
    attended, weights = make("equal_weights").grid_attention(x)
    assert torch.equal(attended, x) and (weights == 1 / 16).all()
    for name, tokens in {"no_transformer": [], "bare_cnn": [], "level_tokens": [4] * 3}.items():  # 3 plus a class token
        assert [a.shape[-1] for a in make(name).eval().trace(x).attention] == tokens


def test_pretrained_keeps_imagenets_weights_and_wiped_does_not(monkeypatch):
    state = {k: torch.rand_like(t) + 2 if t.is_floating_point() else t for k, t in resnet34().state_dict().items()}
    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", fetch := Mock(return_value=state))
    pretrained, wiped, unnormalised = (make(name, "paper").backbone.state_dict() for name in IMAGENET)
    for name, tensor in pretrained.items():
        assert torch.equal(tensor, state[name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")]), name
        assert torch.equal(tensor, unnormalised[f"backbone.{name}"]), name
        assert torch.equal(tensor, wiped[name]) == ("running" in name or "tracked" in name), name
    fetch.side_effect = URLError("no network")
    with pytest.raises(RuntimeError, match=r"resnet34-\w+\.pth into .*checkpoints"):
        make("wiped", "paper")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of a variant with its own augmentation: its facts, folder, loaded splits and `predict` calls."""
    folder, load = tmp_path_factory.mktemp("ablation"), Mock(side_effect=lambda split: load_drawn(split, count=32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "drawn", replace(DATASETS["drawn"], load=load))
        patch.setattr(ablation, "predict", predicted := Mock(wraps=predict))
        facts = run("upside_down", SMALL, folder / "runs", folder / "results")
    return facts, folder, [call.args[0] for call in load.mock_calls], predicted


def test_a_run_writes_one_file_with_all_its_facts_and_looks_at_the_test_faces_once(done):
    facts, folder, splits, predicted = done
    (written,) = (folder / "results").iterdir()
    assert written.name == "tiny-upside_down-1-0.json" and json.loads(written.read_text()) == facts
    assert (facts["variant"], facts["recipe"]["preset"], facts["recipe"]["batch_size"]) == ("upside_down", "tiny", 16)
    assert facts["augmentation"]["class"] == "UpsideDown" and facts["torch"] == torch.__version__
    assert facts["hardware"].startswith("1 ×") and facts["seconds"] >= 0
    assert facts["parameters"] == sum(p.numel() for p in make("reference").parameters())
    assert [(entry["epoch"], entry["validation"]["faces"]) for entry in facts["history"]] == [(1, 32)]
    assert splits == ["train", "validation", "test"] and predicted.call_count == 1
    assert predicted.call_args.kwargs.get("mirror", True) and facts["mirror"] is True
    assert list(facts["test"]) == ["drawn"] and facts["test"]["drawn"]["faces"] == 32
    answers = torch.tensor([int(digit) for digit in facts["answers"]])
    hits = float((answers == load_drawn("test", count=32).labels).float().mean())
    assert round(hits, 4) == facts["test"]["drawn"]["accuracy"]
    (weights,) = (folder / "runs").rglob("model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*variant upside_down"):  # has no builder
        load_weights(weights)
    assert "upside_down" in ablation.report("tiny", 1, folder / "results")


def test_a_finished_run_is_not_made_again(done, monkeypatch, tmp_path):
    facts, folder, *_ = done
    monkeypatch.delattr(ablation, "train")  # a call would raise NameError
    assert run("upside_down", SMALL, tmp_path, folder / "results") == facts
    # a shipped run was trained as the preset itself
    shipped = facts | {"variant": "reference", "recipe": facts["recipe"] | {"variant": ""}}
    write_json(tmp_path / "tiny-reference-1-0.json", shipped)
    assert run("reference", SMALL, tmp_path / "runs", tmp_path) == shipped
    with pytest.raises(CheckpointError, match=r"upside_down-1-0\.json .*another recipe \(peak_lr 0\.002, not 0\.1"):
        run("upside_down", replace(SMALL, peak_lr=0.1), tmp_path, folder / "results")


def test_a_variant_changes_its_own_fields_of_the_budget(monkeypatch, tmp_path):
    changes = {"reference": {}, "hard_labels": {"targets": "hard"}, "all_votes": {"protocol": "argmax"}}
    changes |= {"no_warm_up": {"schedule": "constant", "peak_lr": 1e-3}}
    monkeypatch.setattr(ablation, "train", train := Mock(side_effect=KeyboardInterrupt))
    for name, fields in changes.items():
        with pytest.raises(KeyboardInterrupt):
            run(name, SMALL, tmp_path, tmp_path)
        assert train.call_args.args[0] == replace(SMALL, variant=name, **fields)
    assert not list(tmp_path.iterdir())  # an unfinished run leaves no record


@pytest.fixture
def asked(monkeypatch):
    """What `fervt ablate` would train."""
    monkeypatch.setattr(ablation, "report", lambda preset, epochs: f"runs of {preset}, {epochs} epochs")
    monkeypatch.setattr(ablation, "run", asked := Mock())
    return asked


def test_the_command_trains_what_its_options_say_and_ends_with_the_comparison(asked, capsys):
    main(["ablate", "wiped", "--preset", "paper", "--epochs", "10", "--batch-size", "8", "--seeds", "4"])
    assert asked.call_args.args[:2] == ("wiped", replace(BUDGET, preset="paper", epochs=10, batch_size=8, seed=4))
    assert asked.call_count == 1 and capsys.readouterr().out == "runs of paper, 10 epochs\n"
    main(["ablate"])  # everything that needs no download, with three seeds
    trained = [(name, budget.seed) for name, budget, _ in (call.args for call in asked.mock_calls[1:])]
    assert sorted(trained) == sorted((name, seed) for name in ABLATIONS | FAULTS for seed in (0, 1, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("odd", f"'odd': .*{', '.join(VARIANTS)}"),
        ("wiped --epochs 0", "epochs 0: choose"),
        ("wiped", "add --preset paper"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(asked, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["ablate", *arguments.split()])
    assert not asked.called


@pytest.mark.parametrize("error", [FervtError, RuntimeError, OSError])
def test_a_run_that_fails_is_named_and_does_not_stop_the_others(asked, capsys, error):
    asked.side_effect = [error("step 3: the loss is nan"), None]
    with pytest.raises(SystemExit, match="error: no_warm_up, seed 2: step 3: the loss is nan"):
        main(["ablate", "no_warm_up", "reference", "--seeds", "2"])
    assert asked.call_count == 2 and "runs of tiny" in capsys.readouterr().out
