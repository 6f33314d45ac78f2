"""Reductions written in others: prod, logsumexp, count_nonzero, median, unique."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._core import bool as bool_
from fastnn._core import float64, from_numpy, int64, uint8
from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import Tensor, op, public, reference
from fastnn.ops.creation import full, ones
from fastnn.ops.reductions import Dims, reduced_dims
from fastnn.ops.sorting import Sorted
from fastnn.ops.views import dimension, movedim, unsqueeze

_sum, _amax, _exp, _log = op("sum"), op("amax"), op("exp"), op("log")
_add, _sub, _mul, _eq, _ne = op("add"), op("sub"), op("mul"), op("eq"), op("ne")
_or = op("bitwise_or")
_where, _cat, _slice, _copy = op("where"), op("cat"), op("slice"), op("copy")
_gather, _argsort, _reshape = op("gather"), op("argsort"), op("reshape")


@public(method=True, composite=True)
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Product over dim (int, or None for all), in a fixed tree of pairs.

    Parameters: input : Tensor. keepdim : keep the reduced dimension with size 1.
        dtype : of the result; the input is converted first.
    Returns: input's dtype, int64 for integers and bool; fresh. float32 is multiplied in
        float64 and rounded once. The empty product is 1.
    Gradient: gy times the product of the others, right for zeros too.
    Raises: IndexError for a dimension that is not there.
    Example:
        >>> fastnn.prod(fastnn.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
        tensor([3., 8.])
    """
    expect_tensors("prod", input=input)
    if dtype is not None:
        input = input.to(dtype)
    result = input.dtype if input.is_floating_point() else dtype or int64
    x = input.to(float64 if input.is_floating_point() else int64)
    shape: tuple[int, ...]
    if dim is None:
        at, x, shape = 0, x.reshape(-1), ()
        if keepdim:
            raise TypeError("prod: expected dim with keepdim, got none")
    else:
        at = dimension("prod", dim, input.ndim or 1)
        size = input.shape
        shape = (*size[:at], *([1] if keepdim and size else []), *size[at + 1 :])
        x = x if input.ndim else unsqueeze(x, 0)
    if x.shape[at] == 0:
        return ones(shape, dtype=result)
    while (n := x.shape[at]) > 1:
        half = n // 2
        y = _mul(_slice(x, at, 0, half, 1), _slice(x, at, half, 2 * half, 1))
        x = _cat([y, _slice(x, at, n - 1, n, 1)], at) if n % 2 else y
    return _copy(_reshape(x, shape), result.code)


@public(method=True, composite=True)
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over dim, without overflow: max + log(sum(exp(input - max))).

    Parameters: input : Tensor; integers give float32. dim : int or tuple. keepdim : keep
        reduced dimensions with size 1.
    Returns: fresh; -inf where there is no element. Gradient: gy softmax(input).
    Raises: IndexError for a dimension that is not there.
    Example:
        >>> fastnn.logsumexp(fastnn.tensor([1000.0, 1.0]), 0)
        tensor(1000.)
    """
    expect_tensors("logsumexp", input=input)
    x = input if input.is_floating_point() else input.float()
    dims = reduced_dims(dim)
    if x.numel() == 0:
        return _log(_sum(x, dims, keepdim))
    most = _amax(x.detach(), dims, True)
    most = _where(_eq(most.abs(), math.inf), 0.0, most)  # infinities meet in exp
    total = _log(_sum(_exp(_sub(x, most)), dims, keepdim))
    return _add(total, _reshape(most, total.shape))


@public(method=True, composite=True)
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements over dim (int, tuple, or None for all) are not 0 (int64).

    Example:
        >>> fastnn.count_nonzero(fastnn.tensor([0.0, 2.0, -1.0]))
        tensor(2)
    """
    expect_tensors("count_nonzero", input=input)
    return _sum(_ne(input, 0), reduced_dims(dim), False)


@public(method=True, composite=True)
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; along dim, (values, indices). NaN if there is one.

    Parameters: input : Tensor, not bool. dim : int, or None for all. keepdim : keep the
        reduced dimension with size 1.
    Returns: input's dtype, indices int64 (the first of equals in order); fresh. NaN for a
        float tensor without elements.
    Gradient: for the whole tensor, gy in equal parts to all that are equal to the median;
        along dim, gy to the element at the index.
    Raises: TypeError for bool; IndexError for a dimension that is not there; ValueError
        where there is no element along dim.
    Example:
        >>> fastnn.median(fastnn.tensor([3.0, 1.0, 2.0, 4.0]))
        tensor(2.)
    """
    expect_tensors("median", input=input)
    if input.dtype is bool_:
        raise TypeError("median: expected numbers, got bool (hint: .float())")
    if dim is not None:
        at = dimension("median", dim, input.ndim or 1)
        if input.ndim == 0:
            return Sorted(_copy(input), _argsort(input, 0, False))
        values, index = _middle(input, at)
        if keepdim:
            return Sorted(values, index)
        shape = (*input.shape[:at], *input.shape[at + 1 :])
        return Sorted(_reshape(values, shape), _reshape(index, shape))
    if input.numel() == 0 and input.is_floating_point():
        return full((), math.nan, dtype=input.dtype)
    flat = input.reshape(-1)
    y = _reshape(_middle(flat.detach(), 0)[0], ())
    if not input.requires_grad:
        return y
    kept = _or(_eq(flat, y), _ne(y, y))  # all where it is NaN
    return _amax(_where(kept, flat, -math.inf), ())  # shares among the equal


def _middle(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Lower median along dim and its index, with keepdim; the first NaN where there is one."""
    n = x.shape[dim]
    if n == 0:
        raise ValueError(f"median: expected elements along dim {dim}, got none")
    order = _argsort(x, dim, False)
    middle = _slice(order, dim, (n - 1) // 2, (n - 1) // 2 + 1, 1)
    if x.is_floating_point():  # NaN comes last
        missing = _ne(x, x)
        first = op("argmax")(missing.to(uint8), dim, True)
        there = _amax(missing.to(uint8), dim, True).to(bool_)
        middle = _where(there, first, middle)
    middle = _copy(middle)
    return _gather(x, middle, dim), middle


@public(method=True, composite=True)
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements of input, in order; or slices along dim.

    Parameters: sorted : they come in order in any case. return_inverse : also where in the
        result each element is (int64, input's shape, or (n,) along dim). return_counts :
        also how often each occurs (int64). dim : int, or None for the flat tensor.
    Returns: (n,), or a tuple with what was asked for; fresh. Every NaN is one of its own.
        Gradient: none.
    Raises: IndexError for a dimension that is not there.
    Example:
        >>> fastnn.unique(fastnn.tensor([3, 1, 3]), return_counts=True)
        (tensor([1, 3]), tensor([1, 2]))
    """
    expect_tensors("unique", input=input)
    if dim is None:
        at, slices = 0, input.detach().reshape(-1)
        order = _argsort(slices, 0, False).numpy()
    else:
        at = dimension("unique", dim, input.ndim)
        slices = movedim(input.detach(), at, 0)
        if slices.numel() == 0:
            raise ValueError(
                f"unique: expected elements along dim {dim}, got shape {input.shape}"
            )
        columns = slices.numpy().reshape(slices.shape[0], -1).T
        order = np.lexsort(columns[::-1])  # stable, as argsort is
    kept = slices.numpy()[order]
    new = np.ones(len(order), np.bool_)
    differ = kept[1:] != kept[:-1]
    new[1:] = differ.reshape(len(differ), -1).any(1) if len(differ) else False
    group = np.cumsum(new) - 1
    result = [movedim(from_numpy(kept[new]), 0, at).contiguous()]
    if return_inverse:
        inverse = np.empty(len(order), np.int64)
        inverse[order] = group
        shape = input.shape if dim is None else (len(order),)
        result.append(from_numpy(inverse.reshape(shape)))
    if return_counts:
        result.append(from_numpy(np.bincount(group, minlength=0).astype(np.int64)))
    return result[0] if len(result) == 1 else tuple(result)


@reference("prod")
def _(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    axis = None if np.ndim(x) == 0 else dim
    return np.prod(x, axis=axis, keepdims=keepdim and np.ndim(x) > 0)


@reference("logsumexp")
def _(x: Any, dim: Any, keepdim: bool = False) -> Any:
    axis = tuple(dim) if isinstance(dim, list) else dim
    most = np.max(x, axis=axis, keepdims=True) if np.size(x) else 0.0
    most = np.where(np.isinf(most), 0.0, most)
    total = np.log(np.sum(np.exp(x - most), axis=axis, keepdims=keepdim))
    return total + np.reshape(most, total.shape) if np.size(x) else total


@reference("count_nonzero")
def _(x: Any, dim: Any = None) -> Any:
    return np.asarray(np.count_nonzero(x, axis=dim))


@reference("median")
def _(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if np.ndim(x) == 0:
        return x if dim is None else (x, np.zeros((), np.int64))
    if dim is None:
        x, dim = np.reshape(x, -1), 0
        return _median(x, 0, False)[0]
    return _median(x, dim, keepdim)


def _median(x: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    order = np.argsort(x, axis=dim, kind="stable")
    k = (x.shape[dim] - 1) // 2
    middle = np.take(order, [k], axis=dim)
    missing = np.isnan(x)
    middle = np.where(
        missing.any(axis=dim, keepdims=True),
        np.argmax(missing, axis=dim, keepdims=True),
        middle,
    )
    value = np.take_along_axis(x, middle, dim)
    return (
        (value, middle)
        if keepdim
        else (
            np.squeeze(value, dim),
            np.squeeze(middle, dim),
        )
    )


@reference("unique")
def _(
    x: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
) -> Any:
    find: Any = np.unique
    values, *rest = find(x, False, True, return_counts, axis=dim, equal_nan=False)
    inverse = rest[0].reshape(np.shape(x) if dim is None else -1)
    rest = [inverse, *rest[1:]] if return_inverse else rest[1:]
    return (values, *rest) if rest else values
