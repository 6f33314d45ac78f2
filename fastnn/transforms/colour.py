"""Transforms of what pixels hold: normalisation, colours, blur, noise."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor
from fastnn.ops._registry import op
from fastnn.transforms import _options as options
from fastnn.transforms.base import Images, Transform

_filter2 = op("filter2")
GREY = (0.2989, 0.587, 0.114)  # what red, green and blue give to brightness (Rec. 601)


class Normalize(Transform):
    """(x - mean) / std, channel by channel.

    Parameters: mean, std : number, or one for each channel; std not 0. inplace : whether
        float Tensors and arrays are changed themselves.

    Raises: ValueError for other numbers of channels; TypeError for uint8.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.Normalize(0.5, 0.25)(np.array([[0.0, 1.0]])).tolist()
        [[-2.0, 2.0]]
    """

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        super().__init__()
        self.mean = _channels("mean", mean)
        self.std = _channels("std", std)
        if 0 in self.std:
            raise ValueError(f"Normalize: expected std other than 0, got {std}")
        self.inplace = bool(inplace)

    def __call__(self, *inputs: Any) -> Any:
        if inputs and getattr(getattr(inputs[0], "dtype", None), "name", "") == "uint8":
            raise TypeError(
                "Normalize: expected float images, got uint8 (hint: ConvertImageDtype "
                "before)"
            )
        result = super().__call__(*inputs)
        if not self.inplace:
            return result
        given, y = inputs[0], result if len(inputs) == 1 else result[0]
        if isinstance(given, Tensor):
            with fastnn.no_grad():
                given.copy_(y)
        else:
            given[...] = y
        return given if len(inputs) == 1 else (given, *inputs[1:])

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """(x - mean) / std"""
        parts = []
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, x.shape[1]):
                raise ValueError(
                    f"Normalize: expected {what} for {x.shape[1]} channels, got "
                    f"{len(values)} numbers"
                )
            parts.append(fastnn.tensor(values, dtype=x.dtype).reshape(-1, 1, 1))
        return (x - parts[0]) / parts[1]


def _channels(argument: str, value: Any) -> tuple[float, ...]:
    if isinstance(value, int | float | np.number):
        value = (value,)
    value = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
    if not hasattr(value, "__len__") or isinstance(value, str) or len(value) == 0:
        raise TypeError(
            f"Normalize: expected {argument} as one or more numbers, got {value!r}"
        )
    return options.numbers("Normalize", argument, value, len(value))


def blur(x: Tensor, size: tuple[int, int], sigma: Any) -> Tensor:
    """Images convolved with Gaussians of sizes (x, y), mirrored at the border.

    Parameters: x : (n, c, h, w). sigma : NumPy (n, 2), above 0.
    """
    weights = []
    for k in range(2):
        places = np.arange(size[k]) - size[k] // 2
        exponent = -0.5 * (places / sigma[:, k : k + 1]) ** 2
        heights = fastnn.exp(fastnn.from_numpy(exponent))  # the same bits everywhere
        weights.append((heights / heights.sum(1, keepdim=True)).to(x.dtype))
    result: Tensor = _filter2(x, weights[0], weights[1])
    return result


class GaussianBlur(Transform):
    """A Gaussian blur whose deviation is drawn for each image; mirrored at the border.

    Parameters:
        kernel_size : odd int, or two for x and y: pixels that are averaged.
        sigma : number above 0, or (low, high), in pixels.
        generator : see Transform.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.GaussianBlur(3, sigma=1.0)(np.ones((4, 4), np.float32)).max()
        np.float32(1.0)
    """

    def __init__(
        self,
        kernel_size: Any,
        sigma: Any = (0.1, 2.0),
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        name = "GaussianBlur"
        self.kernel_size = options.pair(name, "kernel_size", kernel_size, 1)
        if any(k % 2 == 0 for k in self.kernel_size):
            raise ValueError(f"{name}: expected odd kernel_size, got {kernel_size}")
        both = (sigma, sigma) if isinstance(sigma, int | float) else sigma
        self.sigma = options.interval(name, "sigma", both, 1e-6)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """Deviations in pixels (NumPy, (n,))."""
        low, high = self.sigma
        return low + (high - low) * self.uniform(shape[0], 1)[:, 0]

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """Each image blurred by its deviation."""
        return blur(x, self.kernel_size, np.stack([params, params], 1))


class GaussianNoise(Transform):
    """x + mean + sigma times a normal number for each element.

    Parameters:
        mean : number. sigma : number of at least 0. Both for pixels from 0 to 1; those of
            uint8 count 255 times.
        clip : whether the result is limited to [0, 1].
        generator : see Transform.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.GaussianNoise(sigma=0.1)(np.zeros((3, 8, 8), np.float32)).shape
        (3, 8, 8)
    """

    def __init__(
        self,
        mean: float = 0.0,
        sigma: float = 0.1,
        clip: bool = True,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.mean = options.number("GaussianNoise", "mean", mean)
        self.sigma = options.number("GaussianNoise", "sigma", sigma, 0)
        self.clip = bool(clip)

    def __call__(self, *inputs: Any) -> Any:
        return in_unit_range(super().__call__, *inputs)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """What is added (Tensor of that shape, float32)."""
        return fastnn.normal(self.mean, self.sigma, shape, generator=self.generator)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """x + params"""
        y: Tensor = x + params.to(x.dtype)
        return y.clamp(0.0, 1.0) if self.clip else y


def in_unit_range(call: Any, *inputs: Any) -> Any:
    """call(*inputs), uint8 images being divided by 255 for it, and back."""
    x = inputs[0] if inputs else None
    if getattr(getattr(x, "dtype", None), "name", "") != "uint8":
        return call(*inputs)
    images = Images("Transform", x)
    result = call(images.batch / 255, *inputs[1:])
    y = result[0] if isinstance(result, tuple) else result
    y = images.back(y * 255)
    return (y, *inputs[1:]) if isinstance(result, tuple) else y


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed at random, for each image.

    In random order, the same for a whole batch: x f; f x + (1 - f) times the mean of its
    grey; f x + (1 - f) times its grey; and the hue turned. After each, pixels are limited to
    [0, 1] (uint8: to [0, 255]).

    Parameters:
        brightness, contrast, saturation : number v >= 0 for a factor f from max(0, 1 - v)
            to 1 + v; or (low, high).
        hue : number v from 0 to 0.5 for a turn from -v to v; or (low, high).
        generator : see Transform.

    Images have 3 channels, or 1, whose saturation and hue stay. Pixels are expected from 0
    to 1, or uint8.

    Raises: ValueError for other numbers of channels.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
        >>> jitter(np.full((8, 3, 4, 4), 0.5, np.float32)).shape
        (8, 3, 4, 4)
    """

    def __init__(
        self,
        brightness: Any = 0,
        contrast: Any = 0,
        saturation: Any = 0,
        hue: Any = 0,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.brightness = self._factors("brightness", brightness)
        self.contrast = self._factors("contrast", contrast)
        self.saturation = self._factors("saturation", saturation)
        if isinstance(hue, int | float):
            width = options.number("ColorJitter", "hue", hue, 0, 0.5)
            hue = (-width, width)
        self.hue = options.interval("ColorJitter", "hue", hue, -0.5, 0.5)

    @staticmethod
    def _factors(argument: str, value: Any) -> tuple[float, float]:
        if isinstance(value, int | float):
            width = options.number("ColorJitter", argument, value, 0)
            return max(0.0, 1 - width), 1 + width
        return options.interval("ColorJitter", argument, value, 0)

    def __call__(self, *inputs: Any) -> Any:
        return in_unit_range(super().__call__, *inputs)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """(order of the four, their factors (NumPy, (n, 4)))"""
        order = fastnn.randperm(4, generator=self.generator).tolist()
        limits = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        low, high = limits.T
        return order, low + (high - low) * self.uniform(shape[0], 4)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The four changes in their order."""
        if x.shape[1] not in (1, 3):
            raise ValueError(
                f"ColorJitter: expected 1 or 3 channels, got {x.shape[1]} of them"
            )
        order, factors = params
        steps = (_brighter, _more_contrast, _more_colour, _turned)
        for k in order:
            if x.numel() == 0 or bool((factors[:, k] == (k < 3)).all()):
                continue  # nothing would change
            f = fastnn.tensor(factors[:, k], dtype=x.dtype).reshape(-1, 1, 1, 1)
            x = steps[k](x, f).clamp(0.0, 1.0)
        return x


def _grey(x: Tensor) -> Tensor:
    """Brightness, (n, 1, h, w)."""
    if x.shape[1] == 1:
        return x
    share = fastnn.tensor(GREY, dtype=x.dtype).reshape(3, 1, 1)
    grey: Tensor = (x * share).sum(1, keepdim=True)
    return grey


def _brighter(x: Tensor, f: Tensor) -> Tensor:
    return x * f


def _more_contrast(x: Tensor, f: Tensor) -> Tensor:
    mean = _grey(x).mean((1, 2, 3), keepdim=True)
    return x * f + (1 - f) * mean


def _more_colour(x: Tensor, f: Tensor) -> Tensor:
    return x * f + (1 - f) * _grey(x) if x.shape[1] == 3 else x


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """The hue turned by so many whole turns.

    Source: Smith, "Color gamut transform pairs", SIGGRAPH 1978 (hexcone); back by v - v s
        max(0, min(k, 4 - k, 1)), k = n + 6 h modulo 6, n = 5, 3, 1 for red, green, blue.
    """
    if x.shape[1] != 3:
        return x
    r, g, b = (x[:, k : k + 1] for k in range(3))
    value = x.amax(1, keepdim=True)
    spread = value - x.amin(1, keepdim=True)
    some = fastnn.where(spread.eq(0), 1.0, spread)
    from_red = (g - b) / some
    from_green = (b - r) / some + 2
    from_blue = (r - g) / some + 4
    hue = fastnn.where(
        value.eq(r), from_red, fastnn.where(value.eq(g), from_green, from_blue)
    )
    sector = fastnn.tensor([5.0, 3.0, 1.0], dtype=x.dtype).reshape(3, 1, 1)
    k = fastnn.remainder(sector + hue + 6 * turn, 6.0)
    return value - spread * fastnn.minimum(k, 4 - k).clamp(0.0, 1.0)
