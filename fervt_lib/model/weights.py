"""Weights on disk and the builders that load them, in torchvision's manner."""

import json
import os
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import ResNet34_Weights, Weights, WeightsEnum
from torchvision.transforms import v2

from .fervt import FERVT
from .presets import PRESETS

CHECKPOINTS = Path(__file__).parents[2] / "data" / "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or of another preset. The message names the file and the way out."""


def face_transforms(side: int) -> v2.Compose:
    """uint8 faces `(…, 1 or 3, h, w)` or a PIL picture to float32 in [0, 1], gray in 3 channels, `side`² pixels."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Grayscale(num_output_channels=3),
            v2.Resize((side, side), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        CheckpointError: no such file, or it is damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or cut short ({error}); copy or train it again") from error


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside, then rename: `path` is the old file or the whole new one, never a part."""
    part = path.with_suffix(".part")
    try:
        save_file(tensors, part, metadata=metadata)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_weights(model: FERVT, path: Path, preset: str, meta: dict) -> None:
    """Weights in fp16 at `path`, and `meta` as JSON beside it. Counters of whole numbers stay as they are."""
    tensors = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in model.state_dict().items()}
    write_safetensors(path, tensors, {"preset": preset})
    path.with_suffix(".json").write_text(json.dumps({"preset": preset, **meta}, indent=1) + "\n")


def load_weights(path: Path, preset: str | None = None) -> FERVT:
    """A model in eval mode with the weights of `path`.

    Raises:
        CheckpointError: the file is missing, damaged, or holds another preset than the one asked for.
    """
    tensors, metadata = read_safetensors(Path(path))
    found = metadata.get("preset")
    if found not in PRESETS:
        raise CheckpointError(f"{path}: not weights of a preset of FER-VT (its metadata names {found or 'none'})")
    if preset not in (None, found):
        raise CheckpointError(f"{path}: weights of the {found} preset, not {preset}; load_weights(path) builds any")
    model = PRESETS[found](classes=len(tensors.get("transformer.head.bias", range(8))))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors are not those of the {found} preset ({error})") from error
    return model.eval()


def _shipped(name: str) -> Weights:
    path = CHECKPOINTS / f"{name}.safetensors"
    made = path.with_suffix(".json")
    meta = json.loads(made.read_text()) if made.is_file() else {}
    return Weights(url=path.as_uri(), transforms=partial(face_transforms, 48), meta=meta)


class FERVT_Compact_Weights(WeightsEnum):
    """Weights that come with the course; `meta` (classes, protocol, accuracy, recipe) is the JSON beside them."""

    FERPLUS = _shipped("compact-ferplus")
    DRAWN = _shipped("compact-drawn")
    DEFAULT = FERPLUS

    @property
    def path(self) -> Path:
        return CHECKPOINTS / Path(self.url).name

    def get_state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return read_safetensors(self.path)[0]


def fervt_compact(*, weights: FERVT_Compact_Weights | str | None = None, classes: int = 8) -> FERVT:
    """The compact preset, 48² faces.

    Args:
        weights: None for random weights; "ferplus", "drawn" or a member of FERVT_Compact_Weights for shipped ones
            (eval mode); a path to a safetensors file for your own.
        classes: number of logits of a model with random weights.
    """
    if weights is None:
        return PRESETS["compact"](classes=classes)
    return load_weights(_weights_path(weights), "compact")


def fervt_paper(
    *,
    weights: str | Path | None = None,
    weights_backbone: ResNet34_Weights | str | None = None,
    classes: int = 8,
) -> FERVT:
    """The paper's preset, 224² faces.

    Args:
        weights: None, or a path to weights of your own; none are shipped.
        weights_backbone: torchvision's enum or its name ("IMAGENET1K_V1") for an ImageNet backbone, None for random.

    Raises:
        RuntimeError: ImageNet weights are asked for and cannot be fetched; the message says what to do.
        TypeError: backbone weights were given as `weights`.
    """
    if isinstance(weights, ResNet34_Weights):
        raise TypeError("these are weights of the backbone alone: fervt_paper(weights_backbone=…)")
    if weights is None:
        return PRESETS["paper"](weights_backbone, classes=classes)
    return load_weights(Path(weights), "paper")


def _weights_path(weights: FERVT_Compact_Weights | str | Path) -> Path:
    if isinstance(weights, FERVT_Compact_Weights):
        return weights.path
    if Path(weights).suffix == ".safetensors":
        return Path(weights)
    names = [member.name.lower() for member in FERVT_Compact_Weights]
    if str(weights).lower() not in (*names, "default"):
        raise ValueError(f"weights {str(weights)!r}: there are {', '.join(names)}, or a path to a .safetensors file")
    return FERVT_Compact_Weights[str(weights).upper()].path
