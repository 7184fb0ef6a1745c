"""The model survives export: it takes batches of any size and gives the same answers as before."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch

from fervt_lib import FERVT_Compact_Weights, export
from fervt_lib.cli import main
from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.evaluation import predict
from fervt_lib.hub import HubModel
from fervt_lib.model import face_transforms, fervt_compact

ROOT = Path(__file__).parents[1]


def test_fervt_export_writes_probabilities_and_how_to_get_them(tmp_path, capsys, monkeypatch):
    traced, program = [], export._program  # both files hold the same model, and tracing it takes most of the time
    monkeypatch.setattr(export, "_program", lambda *how: (traced or traced.append(program(*how)) or traced)[0])
    faces = load("drawn", "test", count=24)
    x, model = face_transforms(48)(faces.images).numpy(), fervt_compact(weights="drawn")
    wanted, answers, sizes = predict(model, faces, mirror=False), {}, {}
    for name, options in {"full": [], "int8": ["--int8"]}.items():
        path = tmp_path / f"{name}.onnx"
        main(["export", str(path), "--weights", str(FERVT_Compact_Weights.DRAWN.path), *options])
        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        assert names == ["probabilities", "region_weights", "attention_1", "attention_2", "attention_3"]
        facts = session.get_modelmeta().custom_metadata_map
        assert json.loads(facts["classes"]) == list(EXPRESSIONS) and "48×48" in facts["preprocessing"]
        assert facts["protocol"] == "drawn" and facts["temperature"].endswith("applied")
        answers[name], sizes[name] = torch.from_numpy(session.run(None, {"faces": x})[0]), path.stat().st_size
    assert (answers["full"] - wanted).abs().max() < 1e-4
    assert (answers["int8"] - wanted).abs().max() < 0.2 and sizes["int8"] < 0.6 * sizes["full"]
    assert "milliseconds a face" in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(SystemExit, match=r"ends in \.onnx"):
        main(["export", str(tmp_path / "model.pt")])


def test_torch_hub_and_a_folder_of_hugging_faces_give_the_same_model(tmp_path):
    model, faces = fervt_compact(weights="ferplus"), load("drawn", "test", count=16)
    by_hub = torch.hub.load(str(ROOT), "fervt_compact", source="local", weights="ferplus")
    HubModel.of("ferplus").save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    by_folder = HubModel.from_pretrained(tmp_path).model
    for found in (by_hub, by_folder):
        assert (found.temperature, found.prior, found.training) == (model.temperature, model.prior, False)
        assert torch.equal(predict(found, faces), predict(model, faces))
