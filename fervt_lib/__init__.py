"""FER-VT, taken apart: data, model, training, evaluation and explanations."""

from .disk import CheckpointError, DataError, FervtError
from .model import FERVT_Compact_Weights, fervt_compact, fervt_paper

__all__ = [
    "CheckpointError",
    "DataError",
    "FERVT_Compact_Weights",
    "FervtError",
    "fervt_compact",
    "fervt_paper",
    "recognise",
]


def __getattr__(name: str) -> object:
    if name == "recognise":  # at its first use, because it imports what scores models, which takes a second
        from .photo import recognise

        return recognise
    raise AttributeError(f"module 'fervt_lib' has no attribute {name!r}")
