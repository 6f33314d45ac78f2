"""Transforms that blot out parts of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor
from fastnn.nn import _checks as checks
from fastnn.transforms import _options as options
from fastnn.transforms.base import Transform

_TRIES = 10  # rectangles drawn for an image, of which the first that fits is taken


def inside(boxes: Any, shape: tuple[int, ...]) -> Tensor:
    """Which pixels lie in the boxes (n, 4) of top, left, bottom, right: (n, 1, h, w)."""
    top, left, bottom, right = np.moveaxis(boxes, -1, 0)[..., None]
    rows, columns = np.arange(shape[2]), np.arange(shape[3])
    down = (rows >= top) & (rows < bottom)
    across = (columns >= left) & (columns < right)
    return fastnn.from_numpy((down[:, :, None] & across[:, None, :])[:, None])


class RandomErasing(Transform):
    """A rectangle of each image replaced, with probability p.

    Parameters:
        p : probability, 0 to 1.
        scale : (low, high), share of the image's area.
        ratio : (low, high) above 0, of height to width, evenly in their logarithm.
        value : number, one for each channel, or "random" for normal numbers.
        inplace : PyTorch's; only False: images stay as they are.
        generator : see Transform.

    An image for which no rectangle of ten fits stays whole.

    Source: Zhong et al., "Random erasing data augmentation", 2017, algorithm 1.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> erase = transforms.RandomErasing(p=1.0, scale=(0.1, 0.1), ratio=(1.0, 1.0))
        >>> int((erase(np.ones((10, 10), np.float32)) == 0).sum())
        9
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Any = (0.02, 0.33),
        ratio: Any = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        name = "RandomErasing"
        self.p = checks.probability(name, p)
        self.scale = options.interval(name, "scale", scale, 0, 1)
        self.ratio = options.interval(name, "ratio", ratio, 1e-6)
        if inplace:
            raise ValueError(f"{name}: expected inplace=False, got {inplace!r}")
        self.value = _value(name, value)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """(boxes (n, 4) of top, left, bottom, right, noise or None); empty boxes for none."""
        n, _, h, w = shape
        u = self.uniform(n, 1 + 4 * _TRIES)
        chosen, u = u[:, 0] < self.p, u[:, 1:].reshape(n, _TRIES, 4)
        low, high = self.scale
        area = h * w * (low + (high - low) * u[..., 0])
        log_low, log_high = fastnn.log(
            fastnn.tensor(self.ratio, dtype=fastnn.float64)
        ).tolist()
        logs = log_low + (log_high - log_low) * u[..., 1]
        ratio = fastnn.exp(fastnn.from_numpy(logs)).numpy()
        height, width = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
        fits = (height < h) & (width < w)
        taken = np.arange(n), fits.argmax(1) if n else np.zeros(0, int)
        height, width = height[taken], width[taken]
        top = np.floor(u[..., 2][taken] * (h - height + 1))
        left = np.floor(u[..., 3][taken] * (w - width + 1))
        boxes = np.stack([top, left, top + height, left + width], 1)
        boxes[~(chosen & fits.any(1))] = 0
        noise = (
            fastnn.normal(0.0, 1.0, shape, generator=self.generator)
            if self.value == "random"
            else None
        )
        return boxes, noise

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The boxes filled."""
        boxes, noise = params
        return _filled("RandomErasing", x, inside(boxes, x.shape), self.value, noise)


class Cutout(Transform):
    """Squares of each image replaced; they may reach beyond its border.

    Parameters:
        size : int, or (height, width), pixels.
        num_holes : int >= 1: squares in each image.
        value : number, or one for each channel.
        p : probability, 0 to 1.
        generator : see Transform.

    Source: DeVries, Taylor, "Improved regularization of convolutional neural networks with
        Cutout", 2017.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.Cutout(8)(np.ones((64, 1, 28, 28), np.float32)).shape
        (64, 1, 28, 28)
    """

    def __init__(
        self,
        size: Any,
        num_holes: int = 1,
        value: Any = 0,
        p: float = 1.0,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.size = options.pair("Cutout", "size", size, 1)
        self.num_holes = checks.size("Cutout", "num_holes", num_holes, 1)
        self.value = _value("Cutout", value)
        if self.value == "random":
            raise ValueError("Cutout: expected value as numbers, got 'random'")
        self.p = checks.probability("Cutout", p)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """Boxes (n, num_holes, 4) of top, left, bottom, right; empty ones for none."""
        n, _, h, w = shape
        u = self.uniform(n, 1 + 2 * self.num_holes)
        places = u[:, 1:].reshape(n, self.num_holes, 2)
        start = np.floor(places * (h, w)) - np.array(self.size) // 2
        boxes = np.concatenate([start, start + self.size], 2)
        boxes[u[:, 0] >= self.p] = 0
        return boxes

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The boxes filled."""
        mask = inside(params[:, 0], x.shape)
        for k in range(1, self.num_holes):
            mask = mask | inside(params[:, k], x.shape)
        return _filled("Cutout", x, mask, self.value, None)


def _value(name: str, value: Any) -> Any:
    """A number, numbers or "random"."""
    if isinstance(value, str):
        if value != "random":
            raise ValueError(
                f"{name}: expected value as numbers or 'random', got {value!r}"
            )
        return value
    if isinstance(value, int | float):
        return options.number(name, "value", value)
    if not hasattr(value, "__len__") or len(value) == 0:
        raise TypeError(f"{name}: expected value as numbers, got {value!r}")
    return options.numbers(name, "value", value, len(value))


def _filled(name: str, x: Tensor, mask: Tensor, value: Any, noise: Any) -> Tensor:
    if noise is not None:
        return fastnn.where(mask, noise.to(x.dtype), x)
    if not isinstance(value, tuple):
        return fastnn.where(mask, value, x)
    if len(value) not in (1, x.shape[1]):
        raise ValueError(
            f"{name}: expected value for {x.shape[1]} channels, got {len(value)} numbers"
        )
    colours = fastnn.tensor(value, dtype=x.dtype).reshape(-1, 1, 1)
    return fastnn.where(mask, colours, x)
