"""Backbones that return a pyramid: three feature maps, each half the side, with more channels than the one before."""

from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights, resnet34
from torchvision.models.resnet import BasicBlock

Pyramid = tuple[Tensor, Tensor, Tensor]


class ResNet34Pyramid(nn.Module):
    """torchvision's ResNet-34 without its head; the maps of layer2, layer3 and layer4.

    We re-initialize nothing after loading the weights.
    """

    channels = (128, 256, 512)

    def __init__(self, weights: ResNet34_Weights | str | None = None):
        super().__init__()
        resnet = resnet34(weights=None)
        if weights is not None:
            resnet.load_state_dict(_fetch(ResNet34_Weights.verify(weights)))
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4

    def forward(self, x: Tensor) -> Pyramid:
        """Turn `(b, 3, 224, 224)` into maps of 28², 14² and 7² cells."""
        level2 = self.layer2(self.layer1(self.stem(x)))
        level3 = self.layer3(level2)
        return level2, level3, self.layer4(level3)


def _fetch(weights: ResNet34_Weights) -> dict[str, Tensor]:
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        raise RuntimeError(
            f"the ImageNet weights could not be fetched ({error}). Put the file {weights.url} into "
            f"{torch.hub.get_dir()}/checkpoints by other means, or start from random weights with weights_backbone=None"
        ) from error


class CompactPyramid(nn.Module):
    """A small ResNet for 48² faces: a stem, then three stages of two residual blocks.

    Args:
        width: channels of the first stage; each stage doubles them.
        stride: stride of the stem; 1 keeps all pixels for the first stage, at four times the cost.
    """

    def __init__(self, width: int = 64, stride: int = 2):
        super().__init__()
        self.channels = (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.stage1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.stage2 = _halving_stage(width, 2 * width)
        self.stage3 = _halving_stage(2 * width, 4 * width)
        for module in self.modules():  # as torchvision initializes its ResNets
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Pyramid:
        """Turn `(b, 3, 48, 48)` into maps of 24², 12² and 6² cells; with stride 1, of 48², 24² and 12²."""
        level1 = self.stage1(self.stem(x))
        level2 = self.stage2(level1)
        return level1, level2, self.stage3(level2)


def _halving_stage(channels: int, width: int) -> nn.Sequential:
    shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(channels, width, stride=2, downsample=shortcut), BasicBlock(width, width))
