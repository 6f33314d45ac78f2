"""Lists of tensors as if they were one vector: norm, one factor, whether it is finite.

Nothing is read out: the results are tensors, so that a training step that clips can be
recorded as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.ops._registry import Tensor, no_gradient, op, reference

_total_norm, _scale_, _all_finite = op("total_norm"), op("scale_"), op("all_finite")
no_gradient("total_norm", "scale_", "all_finite")


def total_norm(tensors: Sequence[Tensor], p: float = 2.0) -> Tensor:
    """(sum |x|^p)^(1/p) over all elements of all tensors, summed in float64.

    Parameters: tensors : float Tensors of any shapes and strides. p : number above 0;
        infinity gives the largest |x|.
    Returns: (), in the widest dtype among the tensors, float32 where there are none; fresh.
    Raises: TypeError for integers; ValueError for p.
    """
    return _total_norm(list(tensors), p)


def scale_(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Every tensor times factor, in place.

    Parameters: tensors : float Tensors of any shapes and strides, each with memory of its
        own. factor : float Tensor ().
    Raises: TypeError for integers; ValueError for another shape, or memory that is shared.
    """
    _scale_(factor, list(tensors))


def all_finite(tensors: Sequence[Tensor]) -> Tensor:
    """Whether no element of any tensor is infinite or NaN.

    Parameters: tensors : Tensors of any dtypes, shapes and strides.
    Returns: bool (); True where there are none; fresh.
    """
    return _all_finite(list(tensors))


@reference("total_norm")
def _(xs: list[Any], p: float = 2.0) -> Any:
    every = [np.abs(x, dtype=np.float64).reshape(-1) for x in xs]
    x = np.concatenate([np.zeros(1), *every])
    return x.max() if p == math.inf else (x**p).sum() ** (1 / p)


@reference("scale_")
def _(factor: Any, xs: list[Any]) -> Any:
    return [x * factor for x in xs]


@reference("all_finite")
def _(xs: list[Any]) -> Any:
    return np.asarray(all(np.isfinite(x).all() for x in xs))
