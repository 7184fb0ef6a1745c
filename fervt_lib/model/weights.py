"""Weights on disk, where they come from, and the builders that load them, in torchvision's manner."""

import hashlib
import json
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torchvision.models import ResNet34_Weights, Weights, WeightsEnum
from torchvision.transforms import v2

from ..disk import CheckpointError, FervtError, read_json, write_json, written_whole
from .fervt import FERVT, PRESETS

SHIPPED = Path(__file__).parents[1] / "weights"


def face_transforms(side: int) -> v2.Compose:
    """uint8 faces `(…, 1 or 3, h, w)` or a PIL picture to float32 in [0, 1], gray in 3 channels, `side`² pixels."""
    gray, resized = v2.Grayscale(num_output_channels=3), v2.Resize((side, side), antialias=True)
    return v2.Compose([v2.ToImage(), gray, resized, v2.ToDtype(torch.float32, scale=True)])


# --- files -------------------------------------------------------------------------------------------------------


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
    """Write a safetensors file, whole or not at all."""
    with written_whole(path) as part:
        part.write_bytes(save(tensors, metadata))


def save_weights(model: FERVT, path: str | Path, preset: str, meta: dict, variant: str = "") -> None:
    """Weights in fp16 at `path`, and `meta` as JSON beside it. Counters of whole numbers stay as they are.

    Args:
        variant: the name of a change to the preset; builders of presets refuse such weights.
    """
    tensors = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in model.state_dict().items()}
    built = {"preset": preset, "variant": variant}
    write_safetensors(Path(path), tensors, built)
    write_json(Path(path).with_suffix(".json"), built | meta)


def load_weights(path: str | Path, preset: str | None = None) -> FERVT:
    """A model in eval mode with the weights of `path`.

    Raises:
        CheckpointError: the file is missing, damaged, or holds another preset than the one asked for.
    """
    tensors, metadata = read_safetensors(Path(path))
    found = metadata.get("preset")
    if found not in PRESETS:
        raise CheckpointError(f"{path}: not weights of a preset of FER-VT (its metadata names {found or 'none'})")
    if metadata.get("variant"):
        raise CheckpointError(f"{path}: weights of the variant {metadata['variant']}, which no preset builds")
    if preset not in (None, found):
        raise CheckpointError(f"{path}: weights of the {found} preset, not {preset}; load_weights(path) builds any")
    model = PRESETS[found](classes=len(tensors.get("transformer.head.bias", range(8))))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors are not those of the {found} preset ({error})") from error
    return model.eval()


# --- provenance --------------------------------------------------------------------------------------------------


def read_provenance(path: Path) -> dict:
    """How a weights file was made, from the JSON beside it: `recipe`, and in `start` the same of the weights that the
    run began from, if any. Empty where there is no JSON.

    Raises:
        CheckpointError: the JSON is damaged, or not the record of a run.
    """
    record = path.with_suffix(".json")
    facts = read_json(record) if record.is_file() else {}
    if not _is_record(facts):
        raise CheckpointError(f"{record}: not the record of a run of this library; copy it again, or remove it")
    return {name: facts[name] for name in ("recipe", "start") if facts.get(name)}


def _is_record(facts: object) -> bool:
    """Whether these are facts of a run and of the runs before it, or empty."""
    if not (isinstance(facts, dict) and isinstance(facts.get("recipe", {}), dict)):
        return False
    recipe, start = facts.get("recipe"), facts.get("start")
    return (not recipe or "dataset" in recipe) and (not start or _is_record(start))


def fingerprint(path: Path) -> dict:
    """What a run records of the weights that it begins from: a checksum and how they were made."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()} | read_provenance(path)


# --- builders ----------------------------------------------------------------------------------------------------


def _shipped(name: str) -> Weights:
    path = SHIPPED / f"{name}.safetensors"
    meta = json.loads(path.with_suffix(".json").read_text())
    return Weights(url=path.as_uri(), transforms=partial(face_transforms, 48), meta=meta)


class FERVT_Compact_Weights(WeightsEnum):
    """Weights that come with the library; `meta` (classes, protocol, accuracy, recipe) is the JSON beside them."""

    FERPLUS = _shipped("compact-ferplus")
    DRAWN = _shipped("compact-drawn")
    DEFAULT = FERPLUS

    @property
    def path(self) -> Path:
        return SHIPPED / Path(self.url).name

    def get_state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return read_safetensors(self.path)[0]


def fervt_compact(*, weights: FERVT_Compact_Weights | str | Path | None = None, classes: int = 8) -> FERVT:
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
    *, weights: str | Path | None = None, weights_backbone: ResNet34_Weights | str | None = None, classes: int = 8
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
    return load_weights(weights, "paper")


def _weights_path(weights: FERVT_Compact_Weights | str | Path) -> Path:
    if isinstance(weights, FERVT_Compact_Weights):
        return weights.path
    if Path(weights).suffix == ".safetensors":
        return Path(weights)
    names = [member.name.lower() for member in FERVT_Compact_Weights]
    if str(weights).lower() not in (*names, "default"):
        raise FervtError(f"weights {str(weights)!r}: choose from {', '.join(names)}, or name a .safetensors file")
    return FERVT_Compact_Weights[str(weights).upper()].path
