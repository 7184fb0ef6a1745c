"""The model leaves torch whole: exported, it takes batches of any size and gives what it gave before."""

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fervt_lib.model import FERVT, PRESETS, fervt_compact

SIZES = (1, 2, 5)  # the example has 3


class Traced(nn.Module):
    """The trace as a module, since that is what exporters take: logits, region weights, attention of each layer."""

    def __init__(self, model: FERVT):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        trace = self.model.trace(x)
        return trace.logits, trace.region_weights, *trace.attention


def by_export(model: nn.Module, x: Tensor):
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()


def by_jit(model: nn.Module, x: Tensor):
    return torch.jit.trace(model, x)


def by_onnx(model: nn.Module, x: Tensor):
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=dynamic, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {session.get_inputs()[0].name: x.numpy()})]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", [by_export, by_jit, by_onnx])
@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_an_exported_model_takes_batches_of_any_size(how, preset):
    model = Traced(fervt_compact(weights="drawn") if preset == "compact" else PRESETS["paper"]()).eval()
    side = model.model.side
    with torch.no_grad():
        exported = how(model, torch.rand(3, 3, side, side))
        for size in SIZES:
            x = torch.rand(size, 3, side, side)
            for found, wanted in zip(exported(x), model(x), strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
