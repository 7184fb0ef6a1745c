"""Models for torch.hub: torch.hub.load(FOLDER_OF_THIS_CLONE, "fervt_compact", source="local", weights="ferplus")."""

dependencies = ["accelerate", "einops", "safetensors", "torch", "torchvision"]

from fervt_lib.model import fervt_compact, fervt_paper  # noqa: E402, F401  hub reads the list above first
