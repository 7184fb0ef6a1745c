"""FER-VT, taken apart: data, model, training, evaluation and explanations."""

from .model import FERVT_Compact_Weights, fervt_compact, fervt_paper

__all__ = ["FERVT_Compact_Weights", "fervt_compact", "fervt_paper"]
