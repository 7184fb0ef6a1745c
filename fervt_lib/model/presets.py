"""The sizes of the course."""

from torchvision.models import ResNet34_Weights

from .backbone import CompactPyramid, ResNet34Pyramid
from .fervt import FERVT
from .tokens import LevelTokens, SpatialTokens


def paper(weights_backbone: ResNet34_Weights | str | None = None, classes: int = 8) -> FERVT:
    """224², 4×4 regions, ResNet-34, one token per level, dim 192, 12 layers, 8 heads, FFN 768 (paper, second-hand)."""
    backbone = ResNet34Pyramid(weights_backbone)
    tokens = LevelTokens(backbone.channels, 192)
    return FERVT(backbone, tokens, side=224, layers=12, heads=8, ffn=768, classes=classes, drop_path=0.1)


def compact(classes: int = 8) -> FERVT:
    """48², 4×4 regions, a small ResNet, 54 spatial tokens, dim 192, 3 layers, 6 heads, FFN 384: trains on a CPU."""
    backbone = CompactPyramid()
    tokens = SpatialTokens(backbone.channels, 192)
    return FERVT(backbone, tokens, side=48, layers=3, heads=6, ffn=384, classes=classes, drop_path=0.1)


def tiny(classes: int = 8) -> FERVT:
    """The compact preset at half its width (dim 128, 4 heads, FFN 256): small enough to train dozens of variants."""
    backbone = CompactPyramid(width=32)
    tokens = SpatialTokens(backbone.channels, 128)
    return FERVT(backbone, tokens, side=48, dim=128, layers=3, heads=4, ffn=256, classes=classes, drop_path=0.1)


PRESETS = {"paper": paper, "compact": compact, "tiny": tiny}
