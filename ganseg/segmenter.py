"""Stage 2: the segmentation network and its loss (section 3, introduction; DeepLab V3 of torchvision)."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3

from ganseg.config import Config, SegmenterConfig
from ganseg.plus import both_ways


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    r"""$1/2$ cross-entropy + $1/2$ Dice; Dice: $1 - 2|p \cap y| / (|p| + |y|)$, mean over images and classes.

    `logits` (B, K + 1, H, W), `labels` (B, H, W) in 0..K. Source: the released code.
    """
    probabilities = logits.softmax(dim=1)
    truth = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2)  # (B, K + 1, H, W)
    shared = (probabilities * truth).sum(dim=(2, 3))
    total = probabilities.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    dice = 1 - (2 * shared + 1e-7) / (total + 1e-7)
    return 0.5 * F.cross_entropy(logits, labels) + 0.5 * dice.mean()


class Segmenter(nn.Module):
    """DeepLab V3 that labels each pixel with a part.

    `parts`: K; `config.backbone`: torchvision's "resnet50" as in the paper, or "resnet18-light", which keeps more
    resolution for images of 32 to 64 px. All weights are random. `flip`: `probabilities` look at mirror images, too.
    """

    def __init__(self, config: SegmenterConfig, parts: int, flip: bool = False) -> None:
        super().__init__()
        self.parts, self.flip = parts, flip
        if config.backbone == "resnet50":
            self.network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=parts + 1)
        else:
            self.network = _resnet18_light(config, parts + 1)

    @classmethod
    def of(cls, config: Config) -> Self:
        """The network that an experiment asks for."""
        return cls(config.segmenter, config.generator.parts, config.plus.flip_at_test)

    def forward(self, images: Tensor) -> Tensor:
        """`images` (B, 3, H, W) in [-1, 1] -> logits (B, K + 1, H, W), background first."""
        return self.network(images.contiguous(memory_format=torch.channels_last))["out"].float()

    def probabilities(self, images: Tensor) -> Tensor:
        """As `forward`, but softmax probabilities."""
        return both_ways(self, images) if self.flip else self(images).softmax(dim=1)


def _resnet18_light(config: SegmenterConfig, classes: int) -> nn.Module:
    """The first half of ResNet-18, without max-pooling, at `output_stride` 2 or 4, under a DeepLab V3 head."""
    width, stride = config.width, config.output_stride // 2
    shortcut = nn.Sequential(nn.Conv2d(width, 2 * width, 1, stride, bias=False), nn.BatchNorm2d(2 * width))
    stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    first = [BasicBlock(width, width), BasicBlock(width, width)]
    second = [BasicBlock(width, 2 * width, stride, shortcut), BasicBlock(2 * width, 2 * width)]
    features = IntermediateLayerGetter(nn.Sequential(stem, *first, *second), {"4": "out"})
    head = [ASPP(2 * width, (3, 6, 9), 4 * width), nn.Conv2d(4 * width, 4 * width, 3, padding=1, bias=False)]
    head += [nn.BatchNorm2d(4 * width), nn.ReLU(), nn.Conv2d(4 * width, classes, 1)]
    return DeepLabV3(features, nn.Sequential(*head))
