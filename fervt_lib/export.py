"""The model without torch: an ONNX file that takes any number of faces and gives probabilities and every attention."""

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

AGREES, AGREES_INT8 = 1e-4, 0.25  # how far a probability of onnxruntime's may be from torch's
BATCH = 32


class Answers(nn.Module):
    """Faces `(b, 3, side, side)` in [0, 1] to calibrated probabilities, region weights and each layer's attention."""

    def __init__(self, model: FERVT):
        super().__init__()
        self.model = model

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        trace = self.model.trace(faces)
        return (trace.logits / self.model.temperature).softmax(dim=1), trace.region_weights, *trace.attention


@torch.no_grad()
def export_onnx(model: FERVT, path: Path, protocol: str = "", int8: bool = False) -> dict[str, float]:
    """Write a model as ONNX, and compare it with torch on drawn faces.

    Args:
        path: the file.
        protocol: what the model was trained on, in words; it goes into the file.
        int8: convolutions in 8 bits, their ranges from drawn faces: half the size.

    Returns:
        `difference`, the largest one of two probabilities; and milliseconds a face, in batches of 32, of `onnxruntime`
        and of `torch`.

    Raises:
        FervtError: onnx or onnxruntime is not installed, or the file gives other answers than torch (by more
            than 1e-4, or 0.25 in int8). Then nothing is written.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  what torch exports with
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
        if not difference <= (AGREES_INT8 if int8 else AGREES):  # nor where it is not a number
            raise FervtError(f"{path.name} gives other answers than torch, by up to {difference:.1g}")
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
        preprocessing=f"cropped as FER+'s faces are, {side}×{side}, gray, the same in three channels, from 0 to 1",
        temperature=f"{answers.model.temperature:g}, applied",
    )
    return program


def _to_int8(path: Path, faces: Tensor) -> None:
    """Replace an ONNX file by one whose convolutions take 8-bit numbers."""
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
    """Milliseconds a face: the median of nine passes, after two that warm up."""
    return 1000 * median(timeit.repeat(run, number=1, repeat=11)[2:]) / BATCH
