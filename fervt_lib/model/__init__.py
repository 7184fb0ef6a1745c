"""FER-VT and its parts."""

from ..disk import CheckpointError
from .backbone import CompactPyramid, ResNet34Pyramid
from .fervt import FERVT, PRESETS, Trace
from .grid import Fusion, GridWiseAttention, region_weights, weights_to_map
from .tokens import LevelTokens, SpatialTokens
from .transformer import EncoderLayer, MultiHeadAttention, VisualTransformer
from .weights import (
    SHIPPED,
    FERVT_Compact_Weights,
    face_transforms,
    fervt_compact,
    fervt_paper,
    load_weights,
    read_provenance,
    read_safetensors,
    save_weights,
    write_safetensors,
)
