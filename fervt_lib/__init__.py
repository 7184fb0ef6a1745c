"""FER-VT, taken apart: data, model, training, evaluation and explanations."""

from .disk import CheckpointError, DataError, FervtError
from .model import FERVT_Compact_Weights, fervt_compact, fervt_paper
from .photo import recognise

__all__ = [
    "CheckpointError",
    "DataError",
    "FERVT_Compact_Weights",
    "FervtError",
    "fervt_compact",
    "fervt_paper",
    "recognise",
]
