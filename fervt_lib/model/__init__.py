"""FER-VT and its parts."""

from .backbone import CompactPyramid, ResNet34Pyramid
from .fervt import FERVT, Trace
from .grid import Fusion, GridWiseAttention, region_weights, spread
from .presets import PRESETS
from .tokens import LevelTokens, SpatialTokens
from .transformer import EncoderLayer, MultiHeadAttention, VisualTransformer
from .weights import (
    CHECKPOINTS,
    CheckpointError,
    FERVT_Compact_Weights,
    face_transforms,
    fervt_compact,
    fervt_paper,
    load_weights,
    read_safetensors,
    save_weights,
    write_safetensors,
)

__all__ = [
    "CHECKPOINTS",
    "FERVT",
    "PRESETS",
    "CheckpointError",
    "CompactPyramid",
    "EncoderLayer",
    "FERVT_Compact_Weights",
    "Fusion",
    "GridWiseAttention",
    "LevelTokens",
    "MultiHeadAttention",
    "ResNet34Pyramid",
    "SpatialTokens",
    "Trace",
    "VisualTransformer",
    "face_transforms",
    "fervt_compact",
    "fervt_paper",
    "load_weights",
    "read_safetensors",
    "region_weights",
    "save_weights",
    "spread",
    "write_safetensors",
]
