"""Transforms of size, place and dtype: crops, padding, resizing, conversion."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor
from fastnn.ops.warping import FILL
from fastnn.transforms import _options as options
from fastnn.transforms.base import Images, Transform, as_tensor
from fastnn.transforms.geometry import identity, warp


def _window(
    x: Tensor, left: Any, top: Any, size: tuple[int, int], padding: int, fill: float
) -> Tensor:
    """Windows of that size (h, w) from (left, top) on, which may lie outside."""
    theta = identity(len(x))
    theta[:, 0, 2] = left
    theta[:, 1, 2] = top
    return warp(x, theta, size, "nearest", padding, fill)


class Pad(Transform):
    """A border around each image.

    Parameters:
        padding : int for all sides, (x, y), or (left, top, right, bottom), pixels.
        fill : number of a constant border.
        padding_mode : "constant"; "edge", the outermost pixels; "reflect", the image mirrored
            at them; "symmetric", with them.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.Pad((1, 0), padding_mode="edge")(np.array([[1.0, 2.0]])).tolist()
        [[1.0, 1.0, 2.0, 2.0]]
    """

    def __init__(
        self, padding: Any, fill: float = 0, padding_mode: str = "constant"
    ) -> None:
        super().__init__()
        self.padding = options.borders("Pad", padding)
        self.fill = options.number("Pad", "fill", fill)
        self.padding_mode = options.word(
            "Pad", "padding_mode", padding_mode, options.PADDINGS
        )

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The window that is larger by the border."""
        left, top, right, bottom = self.padding
        size = (x.shape[2] + top + bottom, x.shape[3] + left + right)
        code = options.PADDINGS[self.padding_mode]
        return _window(x, -left, -top, size, code, self.fill)


class CenterCrop(Transform):
    """The middle of each image; zeros where it is smaller.

    Parameters: size : int, or (height, width).

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.CenterCrop((1, 2))(np.arange(12.0).reshape(3, 4)).tolist()
        [[5.0, 6.0]]
    """

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = options.pair("CenterCrop", "size", size, 1)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The window in the middle."""
        h, w = x.shape[2:]
        top, left = round((h - self.size[0]) / 2), round((w - self.size[1]) / 2)
        return _window(x, left, top, self.size, FILL, 0.0)


class RandomCrop(Transform):
    """A window of each image, anywhere within it.

    Parameters:
        size : int, or (height, width).
        padding : border put around before; see Pad. None for none.
        pad_if_needed : whether images smaller than size are padded on both sides till they
            are not.
        fill, padding_mode : of these borders; see Pad.
        generator : see Transform.

    Raises: ValueError for images smaller than size.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> crop = transforms.RandomCrop(32, padding=4)
        >>> crop(np.zeros((16, 3, 32, 32), np.float32)).shape
        (16, 3, 32, 32)
    """

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        name = "RandomCrop"
        self.size = options.pair(name, "size", size, 1)
        self.padding = None if padding is None else options.borders(name, padding)
        self.pad_if_needed = bool(pad_if_needed)
        self.fill = options.number(name, "fill", fill)
        self.padding_mode = options.word(
            name, "padding_mode", padding_mode, options.PADDINGS
        )

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """(left, top) of each window in the image without its border (NumPy, (n, 2))."""
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        starts = []
        u = self.uniform(shape[0], 2)
        for k, (size, before, after) in enumerate(
            ((shape[3], left, right), (shape[2], top, bottom))
        ):
            wanted, start, total = self.size[1 - k], -before, size + before + after
            if self.pad_if_needed and total < wanted:
                start -= wanted - total
                total = wanted + (wanted - total)
            if total < wanted:
                raise ValueError(
                    f"RandomCrop: expected images of at least {self.size}, got "
                    f"{tuple(shape[2:])} and padding {self.padding} (hint: "
                    "pad_if_needed=True)"
                )
            starts.append(start + np.floor(u[:, k] * (total - wanted + 1)))
        return np.stack(starts, 1)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """Each image's window."""
        code = options.PADDINGS[self.padding_mode]
        return _window(x, params[:, 0], params[:, 1], self.size, code, self.fill)


class Resize(Transform):
    """Images of another size.

    Bilinear: each pixel is the mean of those around its place, weighted by a triangle that
    reaches one pixel to each side; with antialias, and where images become smaller, as many
    pixels as they shrink by. Two matrix products.

    Parameters:
        size : int, of the smaller side, the other one in proportion; or (height, width).
        interpolation : "bilinear" or "nearest".
        max_size : most pixels of the larger side, with an int; None for any.
        antialias : bool.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.Resize((1, 2))(np.array([[1.0, 3.0, 5.0, 7.0]])).tolist()
        [[2.4285714285714284, 5.571428571428571]]
    """

    def __init__(
        self,
        size: Any,
        interpolation: Any = "bilinear",
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        one = isinstance(size, int) or (hasattr(size, "__len__") and len(size) == 1)
        sizes = options.pair("Resize", "size", size, 1)
        self.size: int | tuple[int, int] = sizes[0] if one else sizes
        self.interpolation = options.word(
            "Resize", "interpolation", interpolation, options.INTERPOLATIONS
        )
        if max_size is not None and (not one or max_size < sizes[0]):
            raise ValueError(
                "Resize: expected max_size with size as an int, and no smaller, got "
                f"{max_size} and {size}"
            )
        self.max_size = max_size
        self.antialias = bool(antialias)

    def _sizes(self, h: int, w: int) -> tuple[int, int]:
        """(height, width) of the result."""
        if isinstance(self.size, tuple):
            return self.size
        short, long = min(h, w), max(h, w)
        new_short, new_long = self.size, int(self.size * long / short)
        if self.max_size is not None and new_long > self.max_size:
            new_short = int(self.max_size * new_short / new_long)
            new_long = self.max_size
        return (new_short, new_long) if h <= w else (new_long, new_short)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """Rows, then columns, weighted."""
        h, w = x.shape[2:]
        if min(h, w) < 1:
            raise ValueError(f"Resize: expected images with pixels, got {h} by {w}")
        height, width = self._sizes(h, w)
        if self.interpolation == "nearest":
            rows = fastnn.from_numpy(np.arange(height) * h // height)
            columns = fastnn.from_numpy(np.arange(width) * w // width)
            return x.index_select(2, rows).index_select(3, columns)
        if width != w:
            x = x @ self._weights(w, width, x.dtype).T
        if height != h:
            x = self._weights(h, height, x.dtype) @ x
        return x

    def _weights(self, n: int, m: int, dtype: Any) -> Tensor:
        """(m, n): what each of m pixels takes of n."""
        scale = n / m
        reach = max(scale, 1.0) if self.antialias else 1.0
        places = (np.arange(m) + 0.5) * scale - 0.5
        if reach == 1:
            places = np.clip(places, 0, n - 1)
        distance = np.abs(np.arange(n) - places[:, None])
        weights = np.maximum(1 - distance / reach, 0)
        return fastnn.tensor(weights / weights.sum(1, keepdims=True), dtype=dtype)


class ConvertImageDtype(Transform):
    """Another dtype; uint8 from 0 to 255 is float from 0 to 1, and back.

    Parameters: dtype : float32, float64 or uint8.

    Example:
        >>> import numpy as np
        >>> import fastnn
        >>> from fastnn import transforms
        >>> to_float = transforms.ConvertImageDtype(fastnn.float32)
        >>> to_float(np.array([[0, 255]], np.uint8)).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, dtype: Any = fastnn.float32) -> None:
        super().__init__()
        if dtype not in (fastnn.float32, fastnn.float64, fastnn.uint8):
            raise TypeError(
                "ConvertImageDtype: expected dtype float32, float64 or uint8, got "
                f"{dtype!r}"
            )
        self.dtype = dtype

    def __call__(self, *inputs: Any) -> Any:
        """The first of inputs converted, the others as they are."""
        if not inputs:
            raise TypeError("ConvertImageDtype: expected images, got nothing")
        x = inputs[0]
        images = Images("ConvertImageDtype", x)
        t = as_tensor(x).detach()
        if images.whole and self.dtype is not fastnn.uint8:
            t = t.to(self.dtype) / 255
        elif not images.whole and self.dtype is fastnn.uint8:
            t = (t * 255).round().clamp(0, 255).to(fastnn.uint8)
        else:
            t = t.to(self.dtype)
        y = t.numpy() if images.is_array else t
        return y if len(inputs) == 1 else (y, *inputs[1:])


class ToTensor:
    """Pictures with channels last as a Tensor with channels first, uint8 divided by 255.

    (h, w), (h, w, c) or a batch (n, h, w, c) becomes (c, h, w) or (n, c, h, w), float32; floats
    keep their values and dtype.

    Raises: TypeError for other dtypes; ValueError for other dimensions.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.ToTensor()(np.full((28, 30, 3), 255, np.uint8)).shape
        (3, 28, 30)
    """

    def __call__(self, *inputs: Any) -> Any:
        """The first of inputs converted, the others as they are."""
        if not inputs:
            raise TypeError("ToTensor: expected pictures, got nothing")
        x = inputs[0] if isinstance(inputs[0], Tensor) else np.asarray(inputs[0])
        images = Images("ToTensor", x)
        t = as_tensor(x).detach()
        t = t.unsqueeze(-1) if images.ndim == 2 else t
        t = t.permute(2, 0, 1) if t.ndim == 3 else t.permute(0, 3, 1, 2)
        y = (t.float() / 255 if images.whole else t).contiguous()
        return y if len(inputs) == 1 else (y, *inputs[1:])

    def __repr__(self) -> str:
        return "ToTensor()"
