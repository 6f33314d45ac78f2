"""MobileNetV2: inverted residuals with depthwise convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastnn import nn
from fastnn._core import Tensor
from fastnn.models.blocks import Norm, conv
from fastnn.nn import init

# Of each group of blocks: expansion, channels, blocks, stride of the first. Table 2.
SETTING = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _rounded(channels: float, to: int) -> int:
    """The multiple of `to` nearest to channels, but no less than nine tenths of them."""
    nearest = max(to, int(channels + to / 2) // to * to)
    return nearest if nearest >= 0.9 * channels else nearest + to


def _conv_norm_act(
    channels_in: int,
    channels_out: int,
    kernel_size: int,
    norm: Norm,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    return nn.Sequential(
        conv(channels_in, channels_out, kernel_size, norm, stride, groups),
        norm(channels_out),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """x + project(depthwise(expand(x))): wide inside, narrow where blocks meet.

    Parameters:
        inp, oup : int: channels of x and of the result.
        stride : int: 1 or 2, of the depthwise convolution.
        expand_ratio : how many times wider the inside is; 1 has no expansion.
        norm_layer : class of the norms; None is BatchNorm2d.

    x is added where stride is 1 and inp is oup.

    Raises: ValueError for another stride.

    Source: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and
        linear bottlenecks", CVPR 2018, section 3.3 and table 1.

    Example:
        >>> import fastnn
        >>> block = fastnn.models.InvertedResidual(8, 16, 2, 6)
        >>> tuple(block(fastnn.ones(1, 8, 6, 6)).shape)
        (1, 16, 3, 3)
    """

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        expand_ratio: float,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual: expected stride 1 or 2, got {stride}")
        norm = norm_layer if norm_layer is not None else nn.BatchNorm2d
        self.stride = stride
        self.out_channels = oup
        self.use_res_connect = stride == 1 and inp == oup
        inside = round(inp * expand_ratio)
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(_conv_norm_act(inp, inside, 1, norm))
        layers += [
            _conv_norm_act(inside, inside, 3, norm, stride, inside),
            conv(inside, oup, 1, norm),
            norm(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inp, h, w) to (n, oup, h / stride, w / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.use_res_connect else y


class MobileNetV2(nn.Module):
    """A stem, inverted residuals, a 1x1 convolution, the mean over pixels, a linear layer.

    Parameters:
        num_classes : int.
        width_mult : float: factor on the channels of every layer.
        inverted_residual_setting : rows (expansion, channels, blocks, stride); None is the
            paper's.
        round_nearest : int: channels are multiples of this.
        block : class of the blocks; None is InvertedResidual.
        norm_layer : class of the norms; None is BatchNorm2d.
        dropout : float: probability, before the linear layer.

    Arguments and the names of parameters are torchvision's. Convolutions start as He's
    normal, by fan_out, the linear layer normal with deviation 0.01.

    Raises: ValueError for a setting that is not rows of four.

    Source: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and
        linear bottlenecks", CVPR 2018, table 2.

    Example:
        >>> import fastnn
        >>> net = fastnn.models.MobileNetV2(10, 0.25).eval()
        >>> tuple(net(fastnn.zeros(1, 3, 32, 32)).shape)
        (1, 10)
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Norm | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        setting: Sequence[Sequence[int]] = SETTING
        if inverted_residual_setting is not None:
            setting = inverted_residual_setting
        if not setting or any(len(row) != 4 for row in setting):
            raise ValueError(
                "MobileNetV2: expected inverted_residual_setting of rows (expansion, "
                f"channels, blocks, stride), got {inverted_residual_setting}"
            )
        make = block if block is not None else InvertedResidual
        norm = norm_layer if norm_layer is not None else nn.BatchNorm2d
        channels = _rounded(32 * width_mult, round_nearest)
        self.last_channel = _rounded(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [_conv_norm_act(3, channels, 3, norm, 2)]
        for expansion, planes, count, stride in setting:
            out = _rounded(planes * width_mult, round_nearest)
            for k in range(count):
                features.append(
                    make(
                        channels,
                        out,
                        stride if k == 0 else 1,
                        expand_ratio=expansion,
                        norm_layer=norm,
                    )
                )
                channels = out
        features.append(_conv_norm_act(channels, self.last_channel, 1, norm))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(self.last_channel, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                init.normal_(module.weight, 0.0, 0.01)
            else:
                continue
            if module.bias is not None:
                init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to logits (n, num_classes)."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


def mobilenet_v2(**options: Any) -> MobileNetV2:
    """MobileNetV2 as in the paper. options: MobileNetV2's. 3,504,872 parameters.

    Source: Sandler, Howard, Zhu, Zhmoginov, Chen, CVPR 2018.
    """
    return MobileNetV2(**options)
