"""Larger images and sequences, by nearest neighbours or linear interpolation."""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module


class Upsample(Module):
    """input at another size; interpolate as a layer.

    Parameters:
        size : int or one for each dimension; or else
        scale_factor : number or one for each dimension.
        mode : "nearest", "linear" for (n, c, l), "bilinear" for (n, c, h, w); also
            "nearest-exact" and "area".
        align_corners : bool, for "linear" and "bilinear": whether the outermost elements
            keep their places.
        recompute_scale_factor : bool: whether positions follow from the sizes even where
            scale_factor was given.

    Raises: in forward(), ValueError for sizes, modes and options that do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Upsample(scale_factor=2, mode="bilinear")
        >>> tuple(layer(fastnn.ones(1, 3, 8, 8)).shape)
        (1, 3, 16, 16)
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = tuple(size) if isinstance(size, list) else size
        if isinstance(scale_factor, tuple | list):
            self.scale_factor: Any = tuple(float(s) for s in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h', w'); (n, c, l) likewise."""
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        """The size, or the scale, and the mode."""
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor}, mode={self.mode!r}"
        return f"size={self.size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images at another size, of nearest neighbours.

    Parameters:
        size : int or (h, w); or else
        scale_factor : number or (h, w).

    Raises: in forward(), ValueError for sizes that do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.UpsamplingNearest2d(scale_factor=2)
        >>> layer(fastnn.tensor([[[[1.0, 2.0]]]])).tolist()
        [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images at another size, by bilinear interpolation between aligned corners.

    Parameters:
        size : int or (h, w); or else
        scale_factor : number or (h, w).

    Raises: in forward(), ValueError for sizes that do not fit.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.UpsamplingBilinear2d(size=(1, 3))
        >>> layer(fastnn.tensor([[[[1.0, 2.0]]]])).tolist()
        [[[[1.0, 1.5, 2.0]]]]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
