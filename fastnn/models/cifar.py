"""Residual networks for images of 32 pixels: depth 6n + 2, and the wide ones."""

from __future__ import annotations

from typing import Any

from fastnn import nn
from fastnn.models.blocks import BasicBlock, PreActBlock
from fastnn.models.resnet import ResNet


def cifar_resnet(
    depth: int,
    num_classes: int = 10,
    *,
    batch_norm: bool = True,
    pre_activation: bool = False,
    **options: Any,
) -> ResNet:
    """A residual network of 6n + 2 layers: three stages of n basic blocks, 16, 32, 64 channels.

    Parameters:
        depth : int: 8, 14, 20, 26, 32, ...
        num_classes : int.
        batch_norm : bool: whether there are norms; without, convolutions have biases.
        pre_activation : bool: norms before convolutions.
        options : ResNet's: residual=False is the plain network of the same depth; shortcut
            is "padding" as in the paper, "projection" learns one; base_channels 16.

    Returns: ResNet, images (n, 3, h, w) to logits (n, num_classes).
    Raises: ValueError for another depth.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
        section 4.2.

    Example:
        >>> import fastnn
        >>> plain = fastnn.models.cifar_resnet(20, residual=False, batch_norm=False)
        >>> tuple(plain(fastnn.zeros(1, 3, 32, 32)).shape)
        (1, 10)
    """
    if depth < 8 or (depth - 2) % 6 != 0:
        raise ValueError(
            f"cifar_resnet: expected depth 6 n + 2, as 20, 32 or 56, got {depth}"
        )
    options = {
        "stem": "cifar",
        "base_channels": 16,
        "shortcut": "padding",
        **options,
    }
    if not batch_norm:
        options["norm_layer"] = nn.Identity
    block = PreActBlock if pre_activation else BasicBlock
    return ResNet(block, [(depth - 2) // 6] * 3, num_classes, **options)


def resnet20(**options: Any) -> ResNet:
    """cifar_resnet(20), which see. 269,722 parameters."""
    return cifar_resnet(20, **options)


def resnet32(**options: Any) -> ResNet:
    """cifar_resnet(32), which see. 464,154 parameters."""
    return cifar_resnet(32, **options)


def resnet44(**options: Any) -> ResNet:
    """cifar_resnet(44), which see. 658,586 parameters."""
    return cifar_resnet(44, **options)


def resnet56(**options: Any) -> ResNet:
    """cifar_resnet(56), which see. 853,018 parameters."""
    return cifar_resnet(56, **options)


def resnet110(**options: Any) -> ResNet:
    """cifar_resnet(110), which see. 1,727,962 parameters."""
    return cifar_resnet(110, **options)


def wide_resnet(
    depth: int = 28,
    widen_factor: int = 10,
    num_classes: int = 10,
    dropout: float = 0.0,
    **options: Any,
) -> ResNet:
    """WRN-depth-widen_factor: three stages of pre-activation blocks, 16, 32, 64 times wider.

    Parameters:
        depth : int: 6n + 4, as 16, 28 or 40.
        widen_factor : int: how much wider than 16, 32, 64 channels.
        num_classes : int.
        dropout : float: probability, between the convolutions of a block.
        options : ResNet's.

    Returns: ResNet, images (n, 3, h, w) to logits (n, num_classes).
    Raises: ValueError for another depth.

    Source: Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016, table 1.

    Example:
        >>> import fastnn
        >>> net = fastnn.models.wide_resnet(16, 1, dropout=0.3)
        >>> sum(p.numel() for p in net.parameters())
        175066
    """
    if depth < 10 or (depth - 4) % 6 != 0:
        raise ValueError(
            f"wide_resnet: expected depth 6 n + 4, as 16, 28 or 40, got {depth}"
        )
    options = {"stem": "cifar", "stem_channels": 16, **options}
    return ResNet(
        PreActBlock,
        [(depth - 4) // 6] * 3,
        num_classes,
        base_channels=16 * widen_factor,
        dropout=dropout,
        **options,
    )
