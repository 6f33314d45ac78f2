"""What a transform is: drawn parameters and their application, for one image or a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor
from fastnn.nn import _checks as checks


class Transform:
    """A change of images, with random numbers of their own for each image of a batch.

    Subclasses write make_params and apply, which see batches (n, c, h, w) of floats alone.

    Called with images, and with whatever belongs to them, it gives back the images changed
    and the rest as it is: transform(x), or transform(x, y). Images are NumPy arrays or
    Tensors, (h, w), (c, h, w) or (n, c, h, w), of float32, float64 or uint8; so is the
    result, of the same dtype: uint8 is calculated in float32, rounded and limited.

    Parameters: generator : Generator of the random numbers. None: the one in force, which
        is the default one, or, in a DataLoader's batch_transform, the batch's own.
    """

    def __init__(self, generator: fastnn.Generator | None = None) -> None:
        if generator is not None and not isinstance(generator, fastnn.Generator):
            raise TypeError(
                f"{type(self).__name__}: expected generator as a Generator, got "
                f"{generator!r}"
            )
        self.generator = generator

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """What apply needs for a batch of that shape (n, c, h, w), drawn now."""
        return None

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The batch x, float Tensor (n, c, h, w), changed as params say; x stays as it is."""
        raise NotImplementedError(
            f"{type(self).__name__}: expected a method apply(x, params)"
        )

    def uniform(self, n: int, k: int) -> Any:
        """Uniform numbers in [0, 1) (NumPy, (n, k), float64)."""
        shape, own = (n, k), self.generator
        return fastnn.uniform(shape, generator=own, dtype=fastnn.float64).numpy()

    def __call__(self, *inputs: Any) -> Any:
        if not inputs:
            raise TypeError(f"{type(self).__name__}: expected images, got nothing")
        images = Images(type(self).__name__, inputs[0])
        with fastnn.no_grad():
            x = images.batch
            y = images.back(self.apply(x, self.make_params(x.shape)))
        return y if len(inputs) == 1 else (y, *inputs[1:])

    def extra_repr(self) -> str:
        """The options, as they would be written."""
        own = (
            f"{k}={v!r}"
            for k, v in vars(self).items()
            if k[0] != "_" and k != "generator"
        )
        return ", ".join(own)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class Images:
    """Images as a batch, and the way back to what they were.

    Attributes: given : Tensor (n, c, h, w) of their dtype. batch : the same in floats.
    """

    def __init__(self, name: str, x: Any) -> None:
        self.is_array = isinstance(x, np.ndarray)
        if not self.is_array and not isinstance(x, Tensor):
            raise TypeError(
                f"{name}: expected images as a NumPy array or a Tensor, got "
                f"{type(x).__name__}"
            )
        kind = x.dtype.name
        if kind not in ("float32", "float64", "uint8"):
            raise TypeError(
                f"{name}: expected images of float32, float64 or uint8, got {kind}"
            )
        self.ndim = x.ndim
        if not 2 <= self.ndim <= 4:
            raise ValueError(
                f"{name}: expected images (h, w), (c, h, w) or (n, c, h, w), got shape "
                f"{tuple(x.shape)}"
            )
        t = as_tensor(x).detach()
        self.whole = kind == "uint8"
        self.given: Tensor = t.reshape((1,) * (4 - self.ndim) + tuple(t.shape))

    @property
    def batch(self) -> Tensor:
        """The images as floats: uint8 as float32."""
        return self.given.float() if self.whole else self.given

    def back(self, y: Tensor) -> Any:
        """A batch as the images came: their dimensions, dtype and kind."""
        if self.whole and y.is_floating_point():
            y = y.round().clamp(0, 255).to(fastnn.uint8)
        if self.ndim == 2 and y.shape[1] == 1:
            y = y.reshape(y.shape[2:])
        elif self.ndim < 4:
            y = y.reshape(y.shape[1:])
        return y.numpy() if self.is_array else y


def as_tensor(x: Any) -> Tensor:
    """An array as a Tensor over its memory, where that can be."""
    if isinstance(x, np.ndarray) and not (
        x.flags.writeable and x.dtype.isnative and x.flags.aligned
    ):
        x = np.array(x, dtype=x.dtype.newbyteorder("="))
    return fastnn.as_tensor(x)


class Compose:
    """Transforms one after the other; any callables will do.

    Parameters: transforms : sequence of callables. What one gives back, the next is called
        with: a tuple as so many arguments.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> augment = transforms.Compose(
        ...     [transforms.Pad(2), transforms.RandomCrop(28), transforms.Normalize(0.5, 0.5)]
        ... )
        >>> augment(np.zeros((64, 1, 28, 28), np.float32)).shape
        (64, 1, 28, 28)
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = callables("Compose", transforms)

    def __call__(self, *inputs: Any) -> Any:
        result: Any = inputs if len(inputs) > 1 else inputs[0]
        for transform in self.transforms:
            result = (
                transform(*result) if isinstance(result, tuple) else transform(result)
            )
        return result

    def __repr__(self) -> str:
        inner = "".join(f"    {t!r},\n" for t in self.transforms)
        return f"Compose([\n{inner}])"


def callables(name: str, transforms: Any) -> list[Callable[..., Any]]:
    """Transforms as a list; TypeError for what cannot be called."""
    if callable(transforms) or not hasattr(transforms, "__iter__"):
        raise TypeError(
            f"{name}: expected a sequence of transforms, got {transforms!r}"
        )
    found = list(transforms)
    for transform in found:
        if not callable(transform):
            raise TypeError(
                f"{name}: expected transforms that can be called, got {transform!r}"
            )
    return found


class Lambda:
    """A function as a transform, for a name in what Compose prints.

    Parameters: lambd : callable.

    Example:
        >>> from fastnn import transforms
        >>> transforms.Lambda(lambda x: x * 2)(3)
        6
    """

    def __init__(self, lambd: Callable[..., Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: expected a function, got {lambd!r}")
        self.lambd = lambd

    def __call__(self, *inputs: Any) -> Any:
        return self.lambd(*inputs)

    def __repr__(self) -> str:
        return "Lambda()"


class RandomApply(Transform):
    """Transforms for a share p of the images, each for itself; the others stay as they are.

    Parameters:
        transforms : sequence of transforms that keep the images' shape.
        p : probability, 0 to 1.
        generator : of the choice; see Transform.

    Raises: ValueError where the transforms change a shape.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> noisy = transforms.RandomApply([transforms.GaussianNoise()], p=0.3)
        >>> noisy(np.zeros((8, 1, 4, 4), np.float32)).shape
        (8, 1, 4, 4)
    """

    def __init__(
        self,
        transforms: Sequence[Callable[..., Any]],
        p: float = 0.5,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.transforms = callables("RandomApply", transforms)
        self.p = checks.probability("RandomApply", p)

    def __call__(self, *inputs: Any) -> Any:
        if not inputs:
            raise TypeError("RandomApply: expected images, got nothing")
        images = Images("RandomApply", inputs[0])
        with fastnn.no_grad():
            x = images.given  # of their dtype: the transforms convert for themselves
            y = images.back(self.apply(x, self.make_params(x.shape)))
        return y if len(inputs) == 1 else (y, *inputs[1:])

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """The numbers of the images that are changed (NumPy, int64)."""
        return np.flatnonzero(self.uniform(shape[0], 1)[:, 0] < self.p)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """The chosen images by all transforms."""
        if len(params) == 0:
            return x.clone()
        index = fastnn.from_numpy(params)
        y = fastnn.index_select(x, 0, index)
        for transform in self.transforms:
            y = transform(y)
        if tuple(y.shape[1:]) != tuple(x.shape[1:]):
            raise ValueError(
                "RandomApply: expected transforms that keep the shape "
                f"{tuple(x.shape[1:])}, got {tuple(y.shape[1:])}"
            )
        return x.clone().index_copy_(0, index, y)
