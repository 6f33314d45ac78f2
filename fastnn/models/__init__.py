"""Networks by name: LeNet, residual networks, MobileNetV2.

Parameters have the names that torchvision gives them, so its files load with
`load_state_dict`. Nothing is downloaded: networks start from random weights.
"""

from fastnn.models.blocks import (
    BasicBlock,
    Bottleneck,
    PreActBlock,
    PreActBottleneck,
    ZeroPadShortcut,
)
from fastnn.models.cifar import (
    cifar_resnet,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
    wide_resnet,
)
from fastnn.models.lenet import LeNet
from fastnn.models.mobilenetv2 import InvertedResidual, MobileNetV2, mobilenet_v2
from fastnn.models.resnet import (
    ResNet,
    preact_resnet18,
    preact_resnet34,
    preact_resnet50,
    preact_resnet101,
    preact_resnet152,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
    wide_resnet101_2,
)

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "InvertedResidual",
    "LeNet",
    "MobileNetV2",
    "PreActBlock",
    "PreActBottleneck",
    "ResNet",
    "ZeroPadShortcut",
    "cifar_resnet",
    "mobilenet_v2",
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet152",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
