"""The blocks of residual networks: y = shortcut(x) + branch(x), in four kinds.

Convolutions have a bias only where no norm follows that would take it away again
(`norm_layer=nn.Identity`). `residual=False` leaves the shortcut out: what is left is a plain
network of the same layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastnn import nn
from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn import init

Norm = Callable[[int], nn.Module]


def conv(
    channels_in: int,
    channels_out: int,
    kernel_size: int,
    norm: Norm,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
) -> nn.Conv2d:
    """A convolution that keeps height and width, but for its stride."""
    return nn.Conv2d(
        channels_in,
        channels_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2 * dilation,
        dilation=dilation,
        groups=groups,
        bias=norm is nn.Identity,
    )


class ZeroPadShortcut(nn.Module):
    """Every stride-th pixel, and channels of zeros behind x's: a shortcut that learns nothing.

    Parameters:
        stride : int: between pixels kept.
        more : int: channels to add.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
        section 3.3, option A.

    Example:
        >>> import fastnn
        >>> shortcut = fastnn.models.ZeroPadShortcut(2, 3)
        >>> tuple(shortcut(fastnn.ones(1, 4, 8, 8)).shape)
        (1, 7, 4, 4)
    """

    def __init__(self, stride: int, more: int) -> None:
        super().__init__()
        self.stride = stride
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c + more, ceil(h / stride), ceil(w / stride))."""
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.more))

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return f"stride={self.stride}, more={self.more}"


class _Shape(NamedTuple):
    """What a block's layers are made of: channels in, of the branch, and of a bottleneck's
    3x3 convolution, with its stride, groups and dilation; and the norm."""

    inplanes: int
    planes: int
    width: int
    stride: int
    groups: int
    dilation: int
    norm: Norm


class _Block(nn.Module):
    """What blocks share. A block's arguments:

    inplanes : int: channels of x.
    planes : int: channels of the branch; the result has planes * expansion.
    stride : int: of the (first) 3x3 convolution.
    downsample : Module of the shortcut, or None for x itself.
    groups, base_width, dilation : int, of the 3x3 convolution of bottlenecks, which has
        planes * base_width / 64 * groups channels.
    norm_layer : class of the norms; None is BatchNorm2d.
    residual : bool: whether there is a shortcut.
    dropout : float: probability, between the convolutions of pre-activation blocks.
    """

    expansion = 1
    downsample: nn.Module | None

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.residual = residual
        norm = norm_layer if norm_layer is not None else nn.BatchNorm2d
        width = planes * base_width // 64 * groups
        self._layers(_Shape(inplanes, planes, width, stride, groups, dilation, norm))
        self.relu = nn.ReLU()
        self.downsample = downsample
        if dropout:
            self._add_dropout(dropout)

    def _layers(self, s: _Shape) -> None:
        raise NotImplementedError

    def _expect_plain(self, s: _Shape) -> None:
        if s.groups != 1 or s.width != s.planes:
            raise ValueError(
                f"{type(self).__name__}: expected groups 1 and base_width 64, got groups "
                f"{s.groups} and a width of {s.width} for {s.planes} planes"
            )

    def _add_dropout(self, probability: float) -> None:
        raise ValueError(
            f"{type(self).__name__}: expected dropout 0, got {probability}: only "
            "pre-activation blocks have it"
        )

    def _add(self, y: Tensor, x: Tensor) -> Tensor:
        """y and the shortcut of x."""
        if not self.residual:
            return y
        return y + (x if self.downsample is None else self.downsample(x))

    def _zero(self, last: nn.Module, weight: nn.Conv2d) -> None:
        """Let the branch begin at zero, by its last norm if it has a scale."""
        scale = getattr(last, "weight", None)
        init.zeros_(scale if isinstance(scale, nn.Parameter) else weight.weight)

    def zero_last(self) -> None:
        """Zero what the branch ends with, so that the block begins as its shortcut."""
        raise NotImplementedError


class BasicBlock(_Block):
    """relu(shortcut(x) + norm(conv3(relu(norm(conv3(x)))))).

    Parameters: inplanes, planes, stride, downsample, groups, base_width, dilation,
        norm_layer as torchvision's; groups must be 1 and base_width 64. residual : bool:
        whether there is a shortcut. dropout : 0.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
        figure 5, left.

    Example:
        >>> import fastnn
        >>> block = fastnn.models.BasicBlock(8, 8)
        >>> tuple(block(fastnn.ones(2, 8, 5, 5)).shape)
        (2, 8, 5, 5)
    """

    def _layers(self, s: _Shape) -> None:
        self._expect_plain(s)
        self.conv1 = conv(
            s.inplanes, s.planes, 3, s.norm, s.stride, dilation=s.dilation
        )
        self.bn1 = s.norm(s.planes)
        self.conv2 = conv(s.planes, s.planes, 3, s.norm, dilation=s.dilation)
        self.bn2 = s.norm(s.planes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inplanes, h, w) to (n, planes, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self._add(self.bn2(self.conv2(y)), x))
        return result

    def zero_last(self) -> None:
        """Zero the scale of bn2."""
        self._zero(self.bn2, self.conv2)


class Bottleneck(_Block):
    """relu(shortcut(x) + norm(conv1(relu(norm(conv3(relu(norm(conv1(x))))))))).

    The stride is in the 3x3 convolution. Wide networks and ResNeXt are bottlenecks with
    another base_width and groups.

    Parameters: inplanes, planes, stride, downsample, groups, base_width, dilation,
        norm_layer as torchvision's. residual : bool: whether there is a shortcut.
        dropout : 0.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
        figure 5, right; Goyal et al., arXiv:1706.02677, section 5.1, for the stride.

    Example:
        >>> import fastnn
        >>> block = fastnn.models.Bottleneck(16, 4)
        >>> tuple(block(fastnn.ones(2, 16, 5, 5)).shape)
        (2, 16, 5, 5)
    """

    expansion = 4

    def _layers(self, s: _Shape) -> None:
        self.conv1 = conv(s.inplanes, s.width, 1, s.norm)
        self.bn1 = s.norm(s.width)
        self.conv2 = conv(s.width, s.width, 3, s.norm, s.stride, s.groups, s.dilation)
        self.bn2 = s.norm(s.width)
        self.conv3 = conv(s.width, s.planes * self.expansion, 1, s.norm)
        self.bn3 = s.norm(s.planes * self.expansion)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inplanes, h, w) to (n, 4 planes, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        result: Tensor = self.relu(self._add(self.bn3(self.conv3(y)), x))
        return result

    def zero_last(self) -> None:
        """Zero the scale of bn3."""
        self._zero(self.bn3, self.conv3)


class _PreAct(_Block):
    """A block whose norms come before its convolutions. Where the shortcut is a layer, it
    takes what the first norm made of x."""

    def _before(self, x: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
        """relu(norm(x)), and what the shortcut takes."""
        y = self.relu(norm(x))
        projects = self.downsample is not None and not isinstance(
            self.downsample, ZeroPadShortcut
        )
        return y, y if projects else x


class PreActBlock(_PreAct):
    """shortcut(x) + conv3(dropout(relu(norm(conv3(relu(norm(x))))))).

    Parameters: inplanes, planes, stride, downsample, groups (1), base_width (64), dilation,
        norm_layer as BasicBlock's. residual : bool: whether there is a shortcut.
        dropout : float: probability between the convolutions.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016,
        figure 4 (e); dropout: Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016,
        section 2.4.

    Example:
        >>> import fastnn
        >>> block = fastnn.models.PreActBlock(8, 8, dropout=0.1)
        >>> tuple(block(fastnn.ones(2, 8, 5, 5)).shape)
        (2, 8, 5, 5)
    """

    def _layers(self, s: _Shape) -> None:
        self._expect_plain(s)
        self.bn1 = s.norm(s.inplanes)
        self.conv1 = conv(
            s.inplanes, s.planes, 3, s.norm, s.stride, dilation=s.dilation
        )
        self.bn2 = s.norm(s.planes)
        self.conv2 = conv(s.planes, s.planes, 3, s.norm, dilation=s.dilation)
        self.dropout: nn.Module = nn.Identity()

    def _add_dropout(self, probability: float) -> None:
        self.dropout = nn.Dropout(probability)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inplanes, h, w) to (n, planes, h / stride, w / stride)."""
        y, x = self._before(x, self.bn1)
        y = self.relu(self.bn2(self.conv1(y)))
        return self._add(self.conv2(self.dropout(y)), x)

    def zero_last(self) -> None:
        """Zero conv2."""
        init.zeros_(self.conv2.weight)


class PreActBottleneck(_PreAct):
    """shortcut(x) + conv1(relu(norm(conv3(relu(norm(conv1(relu(norm(x))))))))).

    Parameters: inplanes, planes, stride, downsample, groups, base_width, dilation,
        norm_layer as Bottleneck's. residual : bool: whether there is a shortcut.
        dropout : 0.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016,
        figure 4 (e) and appendix.

    Example:
        >>> import fastnn
        >>> block = fastnn.models.PreActBottleneck(16, 4)
        >>> tuple(block(fastnn.ones(2, 16, 5, 5)).shape)
        (2, 16, 5, 5)
    """

    expansion = 4

    def _layers(self, s: _Shape) -> None:
        self.bn1 = s.norm(s.inplanes)
        self.conv1 = conv(s.inplanes, s.width, 1, s.norm)
        self.bn2 = s.norm(s.width)
        self.conv2 = conv(s.width, s.width, 3, s.norm, s.stride, s.groups, s.dilation)
        self.bn3 = s.norm(s.width)
        self.conv3 = conv(s.width, s.planes * self.expansion, 1, s.norm)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inplanes, h, w) to (n, 4 planes, h / stride, w / stride)."""
        y, x = self._before(x, self.bn1)
        y = self.relu(self.bn2(self.conv1(y)))
        y = self.relu(self.bn3(self.conv2(y)))
        return self._add(self.conv3(y), x)

    def zero_last(self) -> None:
        """Zero conv3."""
        init.zeros_(self.conv3.weight)
