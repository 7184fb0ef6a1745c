"""The model without torch: an ONNX file that takes any number of faces and returns probabilities and all attention."""

import json
import timeit
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from .data import EXPRESSIONS, load
from .disk import FervtError, written_whole
from .model import FERVT, face_transforms

AGREES, AGREES_INT8 = 1e-4, 0.25  # largest allowed difference from torch's probabilities
BATCH = 32


class Answers(nn.Module):
    """Turn faces `(b, 3, side, side)` in [0, 1] into calibrated probabilities, region weights and all attention."""

    def __init__(self, model: FERVT):
        super().__init__()
        self.model = model

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        trace = self.model.trace(faces)
        return (trace.logits / self.model.temperature).softmax(dim=1), trace.region_weights, *trace.attention


@torch.no_grad()
def export_onnx(model: FERVT, path: Path, protocol: str = "", int8: bool = False) -> dict[str, float]:
    """Export a model to ONNX, and compare it with torch on drawn faces.

    Args:
        path: the file to write.
        protocol: what the model was trained on, in words; we store it in the file.
        int8: run convolutions in 8 bits, with ranges from drawn faces: half the file size.

    Returns:
        `difference`, the largest difference between two probabilities; and `onnxruntime` and `torch`, the milliseconds
        per face of each, in batches of 32.

    Raises:
        FervtError: onnx or onnxruntime is not installed, or the file's probabilities differ from torch's (by more
            than 1e-4, or 0.25 in int8). Then we write nothing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch needs it to export
    except ImportError as error:
        raise FervtError(f"{error}; to export, pip install '.[export]'") from error
    faces = face_transforms(model.side)(load("drawn", "train", count=256, size=model.side).images)
    batch, answers = faces[:BATCH], Answers(model).eval()
    wanted = answers(batch)[0]
    program = _program(answers, faces[:3], protocol)
    with written_whole(path) as part:
        program.save(part)
        if int8:
            _to_int8(part, faces)
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])

        def run() -> Tensor:
            return torch.from_numpy(session.run(["probabilities"], {"faces": batch.numpy()})[0])

        difference = float((run() - wanted).abs().max())
        if not difference <= (AGREES_INT8 if int8 else AGREES):  # catches nan too
            raise FervtError(f"{path.name}: its probabilities differ from torch's by up to {difference:.1g}")
        times = {"onnxruntime": _per_face(run), "torch": _per_face(lambda: model(batch))}
    return {"difference": difference} | times


def _program(answers: Answers, example: Tensor, protocol: str) -> torch.onnx.ONNXProgram:
    side, layers = answers.model.side, len(answers(example)) - 2
    program = torch.onnx.export(
        answers,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["faces"],
        output_names=["probabilities", "region_weights", *(f"attention_{layer + 1}" for layer in range(layers))],
        verbose=False,
    )
    program.model.metadata_props.update(
        classes=json.dumps(EXPRESSIONS),
        protocol=protocol,
        preprocessing=f"cropped like FER+'s faces, {side}×{side}, gray, the same in all three channels, from 0 to 1",
        temperature=f"{answers.model.temperature:g}, applied",
    )
    return program


def _to_int8(path: Path, faces: Tensor) -> None:
    """Replace an ONNX file with a version whose convolutions run in 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        batches = ({"faces": batch.numpy()} for batch in faces.split(BATCH))

        def get_next(self) -> dict | None:
            return next(self.batches, None)

    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        options = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8, "per_channel": True}
        quantize_static(
            prepared, path, Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], **options
        )


def _per_face(run: Callable[[], object]) -> float:
    """Milliseconds per face: the median of nine passes, after two warmup passes."""
    return 1000 * median(timeit.repeat(run, number=1, repeat=11)[2:]) / BATCH
