"""Transforms that move pixels: flips, rotations, affine maps, elastic distortions.

Each image has a matrix (2, 3) that says where in the image an output pixel is read, in pixels:
(x, y) = theta (column, row, 1). So one pass over memory does it all, and what only exchanges
pixels copies them as they are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor
from fastnn.nn import _checks as checks
from fastnn.ops._registry import op
from fastnn.ops.warping import FILL, PIXELS, readable
from fastnn.transforms import _options as options
from fastnn.transforms.base import Transform
from fastnn.transforms.colour import blur

_affine_sample, _grid_sample = op("affine_sample"), op("grid_sample")


def identity(n: int) -> Any:
    """Matrices that leave n images as they are (NumPy, (n, 2, 3), float64)."""
    return np.tile(np.eye(2, 3), (n, 1, 1))


def warp(
    x: Tensor,
    theta: Any,
    size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    padding: int = FILL,
    fill: float = 0.0,
) -> Tensor:
    """The batch x read at theta (NumPy, (n, 2, 3)), in images of that size (h, w)."""
    h, w = x.shape[2:] if size is None else size
    mode = options.INTERPOLATIONS[interpolation]
    matrices = fastnn.from_numpy(theta.astype(x.dtype.numpy))
    result: Tensor = _affine_sample(readable(x), matrices, h, w, mode, padding, fill)
    return result


def sine_and_cosine(degrees: Any) -> tuple[Any, Any]:
    """Of angles in degrees (NumPy float64): exact at right angles, the same everywhere.

    Source: the Taylor series about the nearest right angle, to terms below 2^-60.
    """
    quarters = np.round(degrees / 90)
    r = (degrees - 90 * quarters) * (math.pi / 180)
    square = r * r
    sine, cosine = np.zeros_like(r), np.zeros_like(r)
    for k in range(18, -1, -2):  # Horner's rule
        sign = 1 - k % 4
        cosine = cosine * square + sign / math.factorial(k)
        sine = sine * square + sign / math.factorial(k + 1)
    sine *= r
    turn = np.mod(quarters, 4)
    odd, back = turn % 2 == 1, turn >= 2
    s, c = np.where(odd, cosine, sine), np.where(odd, -sine, cosine)
    return np.where(back, -s, s), np.where(back, -c, c)


def inverse_affine(
    centre: tuple[float, float],
    angle: Any,
    translate: Any,
    scale: Any,
    shear: Any,
) -> Any:
    """The matrices that read at A^-1 (p - centre - translate) + centre.

    A = scale R(angle) Y(shear_y) X(shear_x): a rotation, clockwise as y points down, after
    shears x - tan(shear_x) y and y - tan(shear_y) x.

    Parameters: centre : (x, y), pixels. angle, scale : (n,). translate, shear : (n, 2);
        angles in degrees.
    Returns: NumPy (n, 2, 3), float64.
    """
    (s, sx, sy), (c, cx, cy) = sine_and_cosine(np.stack([angle, *shear.T]))
    tan_x, tan_y = sx / cx, sy / cy
    # R Y X, whose determinant is 1; its inverse exchanges the diagonal
    a, b = c + s * tan_y, -s
    d, e = s - c * tan_y, c
    b, e = b - a * tan_x, e - d * tan_x
    theta = np.zeros((len(angle), 2, 3))
    theta[:, 0, 0], theta[:, 0, 1] = e / scale, -b / scale
    theta[:, 1, 0], theta[:, 1, 1] = -d / scale, a / scale
    back = -np.array(centre) - translate
    theta[:, :, 2] = (theta[:, :, :2] * back[:, None]).sum(2) + np.array(centre)
    return theta


class RandomHorizontalFlip(Transform):
    """Left and right exchanged, with probability p for each image.

    Parameters: p : probability, 0 to 1. generator : see Transform.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.RandomHorizontalFlip(p=1.0)(np.array([[1.0, 2.0, 3.0]]))
        array([[3., 2., 1.]])
    """

    _axis = 0  # x

    def __init__(
        self, p: float = 0.5, generator: fastnn.Generator | None = None
    ) -> None:
        super().__init__(generator)
        self.p = checks.probability(type(self).__name__, p)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """Which images are flipped (NumPy, (n,), bool)."""
        return self.uniform(shape[0], 1)[:, 0] < self.p

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The images that params name, flipped."""
        theta = identity(len(x))
        theta[params, self._axis, self._axis] = -1
        theta[params, self._axis, 2] = x.shape[3 - self._axis] - 1
        return warp(x, theta)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Top and bottom exchanged, with probability p for each image.

    Parameters: p : probability, 0 to 1. generator : see Transform.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.RandomVerticalFlip(p=1.0)(np.array([[1.0], [2.0]])).tolist()
        [[2.0], [1.0]]
    """

    _axis = 1  # y


def _centre(center: Any, shape: tuple[int, ...]) -> tuple[float, float]:
    """(x, y) about which is turned, in pixels from the middle of the first."""
    if center is None:
        return (shape[3] - 1) / 2, (shape[2] - 1) / 2
    return center[0] - 0.5, center[1] - 0.5


class RandomRotation(Transform):
    """Turned counter-clockwise by an angle from degrees, drawn for each image.

    Parameters:
        degrees : number d for (-d, d), or (low, high).
        interpolation : "nearest" or "bilinear".
        expand : False: images keep their size, the corners are lost.
        center : (x, y) to turn about, from the upper left corner; None: the middle.
        fill : number: what comes in from outside.
        generator : see Transform.

    Multiples of 90 degrees of square images move pixels as they are.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> turn = transforms.RandomRotation((90, 90))
        >>> turn(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[2.0, 4.0], [1.0, 3.0]]
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = "nearest",
        expand: bool = False,
        center: Any = None,
        fill: float = 0,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        name = "RandomRotation"
        if expand:
            raise ValueError(
                f"{name}: expected expand=False, as the images of a batch have one size, "
                f"got {expand!r} (hint: Pad before)"
            )
        self.degrees = options.around(name, "degrees", degrees)
        self.interpolation = options.word(
            name, "interpolation", interpolation, options.INTERPOLATIONS
        )
        self.center = (
            None if center is None else options.numbers(name, "center", center, 2)
        )
        self.fill = options.number(name, "fill", fill)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """Angles in degrees (NumPy, (n,))."""
        low, high = self.degrees
        return low + (high - low) * self.uniform(shape[0], 1)[:, 0]

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """Each image turned by its angle."""
        n, zeros = len(x), np.zeros((len(x), 2))
        centre = _centre(self.center, x.shape)
        theta = inverse_affine(centre, -params, zeros, np.ones(n), zeros)
        return warp(x, theta, interpolation=self.interpolation, fill=self.fill)


class RandomAffine(Transform):
    """Turned clockwise, shifted, zoomed and sheared about the middle, each image anew.

    y(p) = x(A^-1 (p - c - t) + c), with A = s R(angle) Y(shear_y) X(shear_x).

    Parameters:
        degrees : number d for (-d, d), or (low, high); 0 for no rotation.
        translate : (a, b): shifts of up to a times the width and b times the height, in
            whole pixels; None for none.
        scale : (low, high) of the zoom, above 0; None for none.
        shear : number, or (low, high), of the x shear in degrees; or (x low, x high,
            y low, y high); None for none.
        interpolation : "nearest" or "bilinear".
        fill : number: what comes in from outside.
        center : (x, y) to turn about, from the upper left corner; None: the middle.
        generator : see Transform.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> augment = transforms.RandomAffine(
        ...     15, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation="bilinear"
        ... )
        >>> augment(np.ones((64, 1, 28, 28), np.float32)).shape
        (64, 1, 28, 28)
    """

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        interpolation: Any = "nearest",
        fill: float = 0,
        center: Any = None,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        name = "RandomAffine"
        self.degrees = options.around(name, "degrees", degrees)
        self.translate = (
            None
            if translate is None
            else options.numbers(name, "translate", translate, 2, 0, 1)
        )
        self.scale = (
            None if scale is None else options.interval(name, "scale", scale, 1e-6)
        )
        self.shear = None if shear is None else self._shears(shear)
        self.interpolation = options.word(
            name, "interpolation", interpolation, options.INTERPOLATIONS
        )
        self.fill = options.number(name, "fill", fill)
        self.center = (
            None if center is None else options.numbers(name, "center", center, 2)
        )

    @staticmethod
    def _shears(shear: Any) -> tuple[float, ...]:
        """(x low, x high, y low, y high)"""
        if hasattr(shear, "__len__") and len(shear) == 4:
            ways = (shear[:2], shear[2:])
            x, y = (options.interval("RandomAffine", "shear", s, -89, 89) for s in ways)
            return *x, *y
        return *options.around("RandomAffine", "shear", shear), 0.0, 0.0

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """Matrices (NumPy, (n, 2, 3)) that say where each image is read, in pixels."""
        n, _, h, w = shape
        u = self.uniform(n, 6)

        def between(k: int, limits: tuple[float, ...]) -> Any:
            return limits[0] + (limits[1] - limits[0]) * u[:, k]

        shift = np.array(self.translate or (0.0, 0.0)) * (w, h)
        translate = np.round(shift * (2 * u[:, 1:3] - 1))
        shears = self.shear or (0.0,) * 4
        shear = np.stack([between(4, shears[:2]), between(5, shears[2:])], 1)
        angle, scale = between(0, self.degrees), between(3, self.scale or (1.0, 1.0))
        return inverse_affine(
            _centre(self.center, shape), angle, translate, scale, shear
        )

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """Each image read where its matrix says."""
        return warp(x, params, interpolation=self.interpolation, fill=self.fill)


class ElasticTransform(Transform):
    """Pixels displaced at random, neighbours alike: y(p) = x(p + d(p)).

    d = alpha / 2 times a field of uniform numbers in [-1, 1), blurred by a Gaussian of
    deviation sigma: pixels, as torchvision counts alpha.

    Parameters:
        alpha : number >= 0, or two for x and y: strength.
        sigma : number >= 0, or two, in pixels: smoothness.
        interpolation : "bilinear" or "nearest".
        fill : number: what comes in from outside.
        generator : see Transform.

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks
        applied to visual document analysis", 2003, section 2.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> bend = transforms.ElasticTransform(alpha=30.0, sigma=4.0)
        >>> bend(np.ones((28, 28), np.float32)).shape
        (28, 28)
    """

    def __init__(
        self,
        alpha: Any = 50.0,
        sigma: Any = 5.0,
        interpolation: Any = "bilinear",
        fill: float = 0,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        name = "ElasticTransform"
        self.alpha = _both(name, "alpha", alpha)
        self.sigma = _both(name, "sigma", sigma)
        self.interpolation = options.word(
            name, "interpolation", interpolation, options.INTERPOLATIONS
        )
        self.fill = options.number(name, "fill", fill)

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """Displacements in pixels (Tensor (n, 2, h, w), float32): x, then y."""
        n, _, h, w = shape
        noise = fastnn.uniform((n, 2, h, w), -1.0, 1.0, generator=self.generator)
        fields = []
        for k, (alpha, sigma) in enumerate(zip(self.alpha, self.sigma, strict=True)):
            same = k == 0 and self.sigma[0] == self.sigma[1]
            part = noise if same else noise[:, k : k + 1]
            if sigma > 0:  # as many taps as torchvision takes
                size = int(8 * sigma + 1) | 1
                part = blur(part, (size, size), np.full((n, 2), sigma))
            if same:
                strength = fastnn.tensor(self.alpha, dtype=fastnn.float32) / 2
                return part * strength.reshape(2, 1, 1)
            fields.append(part * (alpha / 2))
        return fastnn.cat(fields, 1)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """Each pixel read where its displacement says."""
        _, _, h, w = x.shape
        rows, columns = np.mgrid[:h, :w]
        base = fastnn.from_numpy(np.stack([columns, rows]).astype(x.dtype.numpy))
        grid = (params.to(x.dtype) + base).permute(0, 2, 3, 1)
        mode = options.INTERPOLATIONS[self.interpolation]
        result: Tensor = _grid_sample(readable(x), grid, mode, FILL, PIXELS, self.fill)
        return result


def _both(name: str, argument: str, value: Any) -> tuple[float, ...]:
    """A number of at least 0 for x and y, or two."""
    if isinstance(value, int | float):
        value = (value, value)
    if hasattr(value, "__len__") and len(value) == 1:
        value = (value[0], value[0])
    return options.numbers(name, argument, value, 2, 0)
