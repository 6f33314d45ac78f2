"""LeNet-5, the first convolutional network to read digits for a living."""

from __future__ import annotations

from collections.abc import Callable

from fastnn import nn
from fastnn._core import Tensor


class LeNet(nn.Module):
    """conv5(6), pool, conv5(16), pool, then layers of 120, 84 and num_classes.

    Parameters:
        num_classes : int.
        in_channels : int, of images.
        image_size : int: height and width; 28 (MNIST) is padded to the paper's 32.
        activation : class of the activations: nn.Tanh as in the paper, or nn.ReLU.
        pool : "avg" as in the paper, or "max".

    What the paper has besides, a table of which maps see which, trained averages and a
    radial output, is left out, as is usual.

    Raises: ValueError for an image too small, or another pool.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
        recognition", Proceedings of the IEEE, 1998, section II.B.

    Example:
        >>> import fastnn
        >>> net = fastnn.models.LeNet()
        >>> tuple(net(fastnn.zeros(2, 1, 28, 28)).shape)
        (2, 10)
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        activation: Callable[[], nn.Module] = nn.Tanh,
        pool: str = "avg",
    ) -> None:
        super().__init__()
        padding = 2 if image_size == 28 else 0
        size = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        if size < 1:
            raise ValueError(
                f"LeNet: expected images of 16 pixels or more, got {image_size}"
            )
        if pool not in ("avg", "max"):
            raise ValueError(f"LeNet: expected pool 'avg' or 'max', got {pool!r}")
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.AvgPool2d(2) if pool == "avg" else nn.MaxPool2d(2)
        self.act = activation()
        self.fc1 = nn.Linear(16 * size * size, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, image_size, image_size) to logits (n, num_classes)."""
        x = self.pool(self.act(self.conv1(x)))
        x = self.pool(self.act(self.conv2(x)))
        x = self.act(self.fc2(self.act(self.fc1(x.flatten(1)))))
        logits: Tensor = self.fc3(x)
        return logits
