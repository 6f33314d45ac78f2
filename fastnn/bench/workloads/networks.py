"""Convolutional networks, of the modules of any library that has PyTorch's names for them."""

from __future__ import annotations

from typing import Any


def small(nn: Any) -> Any:
    """Two convolutions and two linear layers, for digits of 28 x 28 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def resnet18(nn: Any, *, channels: int = 64, classes: int = 10, stem: int = 3) -> Any:
    """Eight blocks of two convolutions.

    Parameters:
        channels : after the stem; twice as many in each further pair of blocks.
        classes : how many logits.
        stem : 3: a convolution of 3 x 3, for small images; 7: of 7 x 7 with stride 2, and
            pooling.

    Source: He et al., "Deep residual learning for image recognition", 2015.
    """

    def conv(inputs: int, outputs: int, size: int, stride: int) -> Any:
        return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)

    class Block(nn.Module):  # type: ignore[misc]
        """relu(x + bn(conv(relu(bn(conv(x)))))), with a projection of x where it needs one."""

        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = conv(inputs, outputs, 3, stride)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.relu1 = nn.ReLU()
            self.conv2 = conv(outputs, outputs, 3, 1)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.relu2 = nn.ReLU()
            self.shortcut = (
                nn.Identity()
                if inputs == outputs
                else nn.Sequential(
                    conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
                )
            )

        def forward(self, x: Any) -> Any:
            y = self.relu1(self.bn1(self.conv1(x)))
            return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))

    layers = [
        conv(3, channels, stem, 1 if stem == 3 else 2),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        *([nn.MaxPool2d(3, 2, 1)] if stem == 7 else []),
    ]
    inputs = channels
    for k in range(4):
        outputs = channels << k
        layers += [Block(inputs, outputs, 1 + (k > 0)), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)
    )
