"""Weights on disk, where they come from, and the builders that load them, in torchvision's style."""

import hashlib
import json
from functools import lru_cache, partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torchvision.models import ResNet34_Weights, Weights, WeightsEnum
from torchvision.transforms import v2

from ..disk import CheckpointError, FervtError, check_choice, read_json, write_json, written_whole
from ..pictures import as_face
from .fervt import FERVT, PRESETS

PROMISE = {"checksum": "sha256"}  # marks a file with a checksum, so that we notice if the key "sha256" is damaged
SHIPPED = Path(__file__).parents[1] / "weights"


def face_transforms(side: int) -> v2.Compose:
    """Turn faces, or a PIL picture of one, into gray float32 in [0, 1], 3 channels, `side`² pixels; see `as_face`."""
    return v2.Compose([as_face, to_side(side)])


@lru_cache
def to_side(side: int) -> v2.Compose:
    """`face_transforms` without the check of the faces, which would wait for a GPU."""
    gray, resized = v2.Grayscale(num_output_channels=3), v2.Resize((side, side), antialias=True)
    return v2.Compose([gray, resized, v2.ToDtype(torch.float32, scale=True)])


# --- files -------------------------------------------------------------------------------------------------------


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and metadata of a safetensors file.

    Raises:
        CheckpointError: the file is missing or damaged, or its checksum differs from the one in its metadata or record.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or cut short ({error}); copy or train it again") from error
    wanted = metadata.pop("sha256", PROMISE["checksum"] if PROMISE.items() <= metadata.items() else None)
    if (wanted or _record(path).get("sha256")) not in (None, _checksum(tensors, metadata)):
        raise CheckpointError(f"{path}: damaged, its checksum is another; copy or train it again")
    return tensors, {name: text for name, text in metadata.items() if name not in PROMISE}


def write_safetensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file with a checksum, whole or not at all."""
    metadata = metadata | PROMISE
    with written_whole(Path(path)) as part:
        part.write_bytes(save(tensors, metadata | {"sha256": _checksum(tensors, metadata)}))


def _checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """A checksum over the names, types, shapes and values of all tensors, and over the metadata."""
    total = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.cpu().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def save_weights(model: FERVT, path: str | Path, preset: str, meta: dict, variant: str = "") -> None:
    """Save weights in fp16 at `path`, and `meta` as JSON next to it. Integer counters stay as they are.

    If a model is compiled, or wrapped for several devices or for averaging, we save the model inside.

    Args:
        path: ends in .safetensors.
        variant: the name of a change to the preset; the preset builders refuse these weights.

    Raises:
        FervtError: `load_weights` could not read the file: the preset does not fit, or values are beyond fp16.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise FervtError(f"{path}: give a weights file a name that ends in .safetensors")
    while inner := getattr(model, "_orig_mod", None) or getattr(model, "module", None):
        model = inner
    state = model.state_dict()
    tensors = {name: (t.half() if t.is_floating_point() else t).cpu().contiguous() for name, t in state.items()}
    check_choice("preset", preset, PRESETS)
    _check_weights(path, tensors, None if variant else preset)
    built = {"preset": preset, "variant": variant}
    try:
        record = json.loads(json.dumps(meta | built))
    except TypeError as error:
        raise FervtError(f"the record of {path} is not JSON: {error}") from error
    if not _is_record(record):
        raise FervtError(f"the record of {path} must describe a run: its recipe names the dataset")
    write_safetensors(path, tensors, built)
    write_json(path.with_suffix(".json"), record)


def _check_weights(path: Path, tensors: dict[str, Tensor], preset: str | None) -> None:
    """Raise CheckpointError unless all values are valid for weights, and the tensors fit the preset."""
    for name, tensor in tensors.items():
        is_number = tensor.dtype in (torch.half, torch.bfloat16, torch.float32, torch.float64, torch.int64)
        is_finite = is_number and tensor.float().isfinite().all()
        if not is_finite or (name.endswith("running_var") and (tensor < 0).any()):
            found = f"its {name} ({tensor.dtype}) has invalid values"
            raise CheckpointError(f"{path}: {found}, such as nan, infinity or a negative variance; train it again")
    if preset:
        head = tensors.get("transformer.head.bias", torch.empty(0))
        with torch.device("meta"):  # shapes without memory: the file decides how large the head is
            model = PRESETS[preset](classes=max(1, head.numel()))
        wanted, found = (
            {n: (t.shape, t.is_floating_point()) for n, t in s.items()} for s in (model.state_dict(), tensors)
        )
        if other := sorted(name for name in wanted | found if wanted.get(name) != found.get(name)):
            raise CheckpointError(f"{path}: its {other[0]} does not fit the {preset} preset; choose another file")


def load_weights(path: str | Path, preset: str | None = None) -> FERVT:
    """Load a model with the weights in `path`, in eval mode.

    Raises:
        CheckpointError: the file is missing or damaged, or holds a different preset from the one you gave.
    """
    path = Path(path)
    tensors, metadata = read_safetensors(path)
    found = metadata.get("preset")
    if found not in PRESETS:
        raise CheckpointError(f"{path}: not weights of a preset of FER-VT (its metadata names {found or 'none'})")
    if metadata.get("variant"):
        raise CheckpointError(f"{path}: weights of the variant {metadata['variant']}, which no preset builds")
    if preset not in (None, found):
        raise CheckpointError(f"{path}: weights of the {found} preset, not {preset}; load_weights(path) builds any")
    _check_weights(path, tensors, found)
    model = PRESETS[found](classes=len(tensors["transformer.head.bias"]))
    model.load_state_dict(tensors)
    facts = _record(path)
    model.temperature = float(facts.get("calibration", {}).get("temperature", 1.0))
    model.prior = tuple(facts["prior"]) if "prior" in facts else None
    return model.eval()


# --- provenance --------------------------------------------------------------------------------------------------


def read_provenance(path: str | Path) -> dict:
    """How a weights file was made, from the JSON next to it: its `recipe` and, in `start`, the same for the weights
    that the run started from, if any. Empty if there is no JSON.

    Raises:
        CheckpointError: the JSON is damaged, or is not the record of a run.
    """
    facts = _record(Path(path))
    return {name: facts[name] for name in ("recipe", "start") if facts.get(name)}


def _record(weights: Path) -> dict:
    """The JSON next to a weights file; empty if there is none."""
    record = weights.with_suffix(".json")
    facts = read_json(record) if record.is_file() else {}
    if not _is_record(facts):
        raise CheckpointError(f"{record}: not the record of a run of this library; copy it again, or remove it")
    return facts


def _is_record(facts: object) -> bool:
    """Whether these facts describe a run and the runs before it, or are empty."""
    if not (isinstance(facts, dict) and isinstance(facts.get("recipe", {}), dict)):
        return False
    recipe, start = facts.get("recipe"), facts.get("start")
    return (not recipe or isinstance(recipe.get("dataset"), str)) and (not start or _is_record(start))


def fingerprint(path: Path) -> dict:
    """What a run records about the weights that it builds on: a checksum and how they were made."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()} | read_provenance(path)


# --- builders ----------------------------------------------------------------------------------------------------


def _shipped(name: str) -> Weights:
    path = SHIPPED / f"{name}.safetensors"
    return Weights(url=path.as_uri(), transforms=partial(face_transforms, 48), meta={})


class FERVT_Compact_Weights(WeightsEnum):
    """Weights that come with the library; `meta` (classes, protocol, accuracy, recipe) is the JSON next to them."""

    FERPLUS = _shipped("compact-ferplus")
    DRAWN = _shipped("compact-drawn")
    DEFAULT = FERPLUS

    @property
    def path(self) -> Path:
        return SHIPPED / Path(self.url).name

    @property
    def meta(self) -> dict:  # read on access: a damaged file must not break the import
        return _record(self.path)

    def get_state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return read_safetensors(self.path)[0]


def fervt_compact(*, weights: FERVT_Compact_Weights | str | Path | None = None, classes: int = 8) -> FERVT:
    """The compact preset, 48² faces.

    Args:
        weights: None for random weights; "ferplus", "drawn" or a member of FERVT_Compact_Weights for shipped ones
            (eval mode); a path to a safetensors file for your own.
        classes: number of logits for a model with random weights.
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
        RuntimeError: the ImageNet weights cannot be downloaded; the message says what to do.
        TypeError: you passed backbone weights as `weights`.
    """
    if isinstance(weights, ResNet34_Weights):
        raise TypeError("these are backbone weights: pass them as fervt_paper(weights_backbone=…)")
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
