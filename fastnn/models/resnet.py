"""Residual networks for images of 224 pixels, and the class that all of them are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn import nn
from fastnn._core import Tensor
from fastnn.models.blocks import (
    BasicBlock,
    Bottleneck,
    Norm,
    PreActBlock,
    PreActBottleneck,
    ZeroPadShortcut,
    _Block,
    _PreAct,
    conv,
)
from fastnn.nn import init


class ResNet(nn.Module):
    """A residual network: a stem, stages of blocks, the mean over pixels, a linear layer.

    Stage i has layers[i] blocks of base_channels 2^i planes; from the second on the first
    block halves height and width. Convolutions start as He's normal, by fan_out.

    Parameters:
        block : class of the blocks, as BasicBlock.
        layers : ints: blocks in each stage; there may be any number of stages.
        num_classes : int.
        zero_init_residual : bool: every block begins as its shortcut.
        groups, width_per_group : int, of bottlenecks' 3x3 convolutions.
        replace_stride_with_dilation : bools, one for each stage but the first: keep the
            size there, and dilate instead; None is never.
        norm_layer : class of the norms; None is BatchNorm2d, and nn.Identity leaves them
            out.
        stem : "imagenet", 7x7 with stride 2 and a max pool; or "cifar", 3x3.
        in_channels : int, of images.
        base_channels : int: planes of the first stage.
        stem_channels : int: of the stem's convolution; None is base_channels.
        shortcut : where a block changes the shape: "projection", a 1x1 convolution and a
            norm; or "padding", pixels left out and channels of zeros.
        residual : bool: whether there are shortcuts at all.
        dropout : float: probability, in pre-activation blocks.

    The first arguments are torchvision's, and so are the names of parameters: conv1, bn1,
    layer1.0.conv1, ..., fc. With pre-activation blocks, bn1 is the norm after the last
    stage, and a projection is a 1x1 convolution alone.

    Raises: ValueError for arguments that are not among these.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016;
        the same, "Identity mappings in deep residual networks", ECCV 2016; He's start:
        "Delving deep into rectifiers", ICCV 2015, section 2.2; zero_init_residual: Goyal et
        al., arXiv:1706.02677, section 5.1.

    Example:
        >>> import fastnn
        >>> net = fastnn.models.ResNet(
        ...     fastnn.models.BasicBlock, [1, 1], num_classes=10, stem="cifar",
        ...     base_channels=4,
        ... )
        >>> tuple(net(fastnn.ones(2, 3, 8, 8)).shape)
        (2, 10)
    """

    def __init__(
        self,
        block: type[_Block],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Norm | None = None,
        *,
        stem: str = "imagenet",
        in_channels: int = 3,
        base_channels: int = 64,
        stem_channels: int | None = None,
        shortcut: str = "projection",
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _expect("stem", stem, ("imagenet", "cifar"))
        _expect("shortcut", shortcut, ("projection", "padding"))
        if not layers or min(layers) < 1:
            raise ValueError(
                f"ResNet: expected layers, numbers of blocks, got {list(layers)}"
            )
        dilate = list(replace_stride_with_dilation or [False] * (len(layers) - 1))
        if len(dilate) != len(layers) - 1:
            raise ValueError(
                f"ResNet: expected replace_stride_with_dilation for {len(layers) - 1} "
                f"stages, got {replace_stride_with_dilation}"
            )
        norm = norm_layer if norm_layer is not None else nn.BatchNorm2d
        channels = stem_channels if stem_channels is not None else base_channels
        self.pre_activation = issubclass(block, _PreAct)
        self.stages = len(layers)
        if stem == "imagenet":
            self.conv1 = conv(in_channels, channels, 7, norm, 2)
        else:
            self.conv1 = conv(in_channels, channels, 3, norm)
        if not self.pre_activation:
            self.bn1 = norm(channels)
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = (
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
            if stem == "imagenet"
            else nn.Identity()
        )
        dilation = 1
        for i, count in enumerate(layers):
            stride, inside = (1 if i == 0 else 2), dilation
            if i > 0 and dilate[i - 1]:
                stride, dilation = 1, 2 * dilation
            blocks: list[nn.Module] = []
            planes = base_channels * 2**i
            for k in range(count):
                way = None
                if k == 0 and residual:
                    way = self._shortcut(
                        shortcut, channels, planes * block.expansion, stride, norm
                    )
                blocks.append(
                    block(
                        channels,
                        planes,
                        stride if k == 0 else 1,
                        way,
                        groups,
                        width_per_group,
                        inside if k == 0 else dilation,
                        norm,
                        residual,
                        dropout,
                    )
                )
                channels = planes * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        if self.pre_activation:
            self.bn1 = norm(channels)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        self._start(zero_init_residual)

    def _shortcut(
        self, kind: str, channels: int, planes: int, stride: int, norm: Norm
    ) -> nn.Module | None:
        """The shortcut of a stage's first block; None is the identity."""
        if stride == 1 and channels == planes:
            return None
        if kind == "padding":
            if planes < channels:
                raise ValueError(
                    f"ResNet: expected stages that grow for shortcut 'padding', got "
                    f"{channels} channels, then {planes}"
                )
            return ZeroPadShortcut(stride, planes - channels)
        if self.pre_activation:
            return nn.Sequential(conv(channels, planes, 1, norm, stride))
        return nn.Sequential(conv(channels, planes, 1, norm, stride), norm(planes))

    def _start(self, zero_init_residual: bool) -> None:
        """Draw the first values."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    init.zeros_(module.bias)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, _Block):
                    module.zero_last()

    def features(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to the last stage's (n, c, h', w')."""
        x = self.conv1(x)
        if not self.pre_activation:
            x = self.relu(self.bn1(x))
        x = self.maxpool(x)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.relu(self.bn1(x)) if self.pre_activation else x

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits (n, num_classes)."""
        logits: Tensor = self.fc(self.avgpool(self.features(x)).flatten(1))
        return logits


def _expect(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"ResNet: expected {name} {' or '.join(map(repr, choices))}, got {value!r}"
        )


def resnet18(**options: Any) -> ResNet:
    """ResNet-18: basic blocks [2, 2, 2, 2]. options: ResNet's. 11,689,512 parameters.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.

    Example:
        >>> import fastnn
        >>> net = fastnn.models.resnet18(num_classes=10, stem="cifar", base_channels=16)
        >>> net.fc
        Linear(in_features=128, out_features=10, bias=True)
    """
    return ResNet(BasicBlock, [2, 2, 2, 2], **options)


def resnet34(**options: Any) -> ResNet:
    """ResNet-34: basic blocks [3, 4, 6, 3]. options: ResNet's. 21,797,672 parameters.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.
    """
    return ResNet(BasicBlock, [3, 4, 6, 3], **options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50: bottlenecks [3, 4, 6, 3]. options: ResNet's. 25,557,032 parameters.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.
    """
    return ResNet(Bottleneck, [3, 4, 6, 3], **options)


def resnet101(**options: Any) -> ResNet:
    """ResNet-101: bottlenecks [3, 4, 23, 3]. options: ResNet's. 44,549,160 parameters.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], **options)


def resnet152(**options: Any) -> ResNet:
    """ResNet-152: bottlenecks [3, 8, 36, 3]. options: ResNet's. 60,192,808 parameters.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.
    """
    return ResNet(Bottleneck, [3, 8, 36, 3], **options)


def wide_resnet50_2(**options: Any) -> ResNet:
    """ResNet-50 with bottlenecks twice as wide. options: ResNet's. 68,883,240 parameters.

    Source: Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016, section 3.
    """
    return ResNet(Bottleneck, [3, 4, 6, 3], **{"width_per_group": 128, **options})


def wide_resnet101_2(**options: Any) -> ResNet:
    """ResNet-101 with bottlenecks twice as wide. options: ResNet's. 126,886,696 parameters.

    Source: Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016, section 3.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], **{"width_per_group": 128, **options})


def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt-50, 32 groups of width 4. options: ResNet's. 25,028,904 parameters.

    Source: Xie, Girshick, Dollár, Tu, He, "Aggregated residual transformations for deep
        neural networks", CVPR 2017, table 1.
    """
    options = {"groups": 32, "width_per_group": 4, **options}
    return ResNet(Bottleneck, [3, 4, 6, 3], **options)


def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt-101, 32 groups of width 8. options: ResNet's. 88,791,336 parameters.

    Source: Xie, Girshick, Dollár, Tu, He, "Aggregated residual transformations for deep
        neural networks", CVPR 2017.
    """
    options = {"groups": 32, "width_per_group": 8, **options}
    return ResNet(Bottleneck, [3, 4, 23, 3], **options)


def preact_resnet18(**options: Any) -> ResNet:
    """ResNet-18 with norms before convolutions. options: ResNet's.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016.
    """
    return ResNet(PreActBlock, [2, 2, 2, 2], **options)


def preact_resnet34(**options: Any) -> ResNet:
    """ResNet-34 with norms before convolutions. options: ResNet's.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016.
    """
    return ResNet(PreActBlock, [3, 4, 6, 3], **options)


def preact_resnet50(**options: Any) -> ResNet:
    """ResNet-50 with norms before convolutions. options: ResNet's.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016.
    """
    return ResNet(PreActBottleneck, [3, 4, 6, 3], **options)


def preact_resnet101(**options: Any) -> ResNet:
    """ResNet-101 with norms before convolutions. options: ResNet's.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016.
    """
    return ResNet(PreActBottleneck, [3, 4, 23, 3], **options)


def preact_resnet152(**options: Any) -> ResNet:
    """ResNet-152 with norms before convolutions. options: ResNet's.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016.
    """
    return ResNet(PreActBottleneck, [3, 8, 36, 3], **options)
