"""Constants, and the limits of the dtypes: pi, e, inf, nan, finfo, iinfo."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._core import dtype, float32

__all__ = ["e", "finfo", "iinfo", "inf", "nan", "pi"]

pi, e, inf, nan = math.pi, math.e, math.inf, math.nan


class finfo:  # noqa: N801 (PyTorch's name)
    """Limits of a float dtype.

    Parameters: type : fastnn.float32 (the default) or float64.
    Attributes: bits (int); eps, the step above 1; max, min; tiny and smallest_normal, the
        least normal number above 0; resolution; dtype (str).
    Raises: TypeError for another dtype.
    Example:
        >>> fastnn.finfo(fastnn.float32).eps
        1.1920928955078125e-07
    """

    def __init__(self, type: Any = float32) -> None:
        if not isinstance(type, dtype) or not type.is_floating_point:
            raise TypeError(
                f"finfo: expected float32 or float64, got {type} (hint: iinfo)"
            )
        limits = np.finfo(type.numpy)
        self.bits: int = int(limits.bits)
        self.eps = float(limits.eps)
        self.max = float(limits.max)
        self.min = float(limits.min)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = float(f"1e-{limits.precision}")
        self.dtype = type.name

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.tiny:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:  # noqa: N801 (PyTorch's name)
    """Limits of an integer dtype.

    Parameters: type : fastnn.uint8, int32 or int64.
    Attributes: bits, max, min (int); dtype (str).
    Raises: TypeError for another dtype.
    Example:
        >>> fastnn.iinfo(fastnn.uint8).max
        255
    """

    def __init__(self, type: Any) -> None:
        if not isinstance(type, dtype) or np.dtype(type.numpy).kind not in "iu":
            raise TypeError(f"iinfo: expected an integer dtype, got {type}")
        limits = np.iinfo(type.numpy)
        self.bits: int = int(limits.bits)
        self.max, self.min = int(limits.max), int(limits.min)
        self.dtype = type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
