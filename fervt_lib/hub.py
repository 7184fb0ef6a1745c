"""A model in a folder laid out for the Hugging Face Hub: config.json and model.safetensors."""

from pathlib import Path

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from .disk import check_choice
from .model import PRESETS, fervt_compact


class HubModel(nn.Module, PyTorchModelHubMixin, library_name="fervt_lib", license="mit"):
    """FER-VT, built from a few settings; `model` is the FERVT itself, for `predict`, `trace` and attributions.

    `HubModel.of("ferplus").save_pretrained(folder)` saves it, `HubModel.from_pretrained(folder)` loads it.

    Args:
        preset: compact, tiny, wide or paper.
        classes: how many logits the model returns.
        temperature: see `FERVT.temperature`.
        prior: see `FERVT.prior`.
    """

    def __init__(
        self, preset: str = "compact", classes: int = 8, temperature: float = 1.0, prior: list[float] | None = None
    ):
        super().__init__()
        check_choice("preset", preset, PRESETS)
        self.model = PRESETS[preset](classes=classes)
        self.model.temperature, self.model.prior = temperature, None if prior is None else tuple(prior)

    @classmethod
    def of(cls, weights: str | Path = "ferplus") -> "HubModel":
        """Load shipped weights of the compact preset by name, or your own weights file, in eval mode."""
        loaded = fervt_compact(weights=weights)
        made = cls("compact", loaded.transformer.head.out_features, loaded.temperature, loaded.prior)
        made.model.load_state_dict(loaded.state_dict())
        return made.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Turn faces `(b, 3, side, side)` in [0, 1] into logits `(b, classes)`."""
        return self.model(x)
