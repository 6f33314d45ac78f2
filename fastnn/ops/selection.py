"""cat, index_select and indexing with brackets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._core import install, tensor_from
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.views import reshape, select, unsqueeze

_cat, _index_select, _index_add = op("cat"), op("index_select"), op("index_add")
_slice, _reshape, _permute, _expand = (
    op("slice"),
    op("reshape"),
    op("permute"),
    op("expand"),
)
_copy_, _add, _mul = op("copy_"), op("add"), op("mul")


@public()
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along dim.

    Parameters: tensors : of equal shapes but for dim. dim : int.
    Returns: promoted dtype; fresh. Gradient: the pieces of gy.
    Raises: ValueError for shapes that differ elsewhere or an empty sequence.
    Example:
        >>> fastnn.cat([fastnn.tensor([1, 2]), fastnn.tensor([3])])
        tensor([1, 2, 3])
    """
    return _cat(tensors, dim)


@public(composite=True)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension. Gradient: the slices of gy."""
    if len({x.shape for x in tensors}) > 1:
        raise ValueError(
            f"stack: expected equal shapes, got {[x.shape for x in tensors]}"
        )
    return _cat([unsqueeze(x, dim) for x in tensors], dim)


@public(method=True)
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of input at index along dim.

    Parameters: input : Tensor. index : integer Tensor (n,), negatives from the end.
    Returns: input's shape with n along dim; fresh.
    Gradient: gy added up at index, in index order. index : none.
    Raises: IndexError for an index out of range, before anything is copied.
    """
    return _index_select(input, index, dim)


@public()
def index_add(source: Tensor, index: Tensor, dim: int, size: int) -> Tensor:
    """Zeros of `size` along dim, with source's slices added at index, in index order.

    Gradient: gy at index. Raises: IndexError for an index out of range.
    """
    return _index_add(source, index, dim, size)


def take_along_last(x: Tensor, index: Tensor) -> Tensor:
    """x[..., index[...]]: one element of each last-dimension row; index is non-negative."""
    rows, n = index.numel(), x.shape[-1]
    flat = reshape(x, (rows * n,))
    start = tensor_from(np.arange(rows, dtype=np.int64) * n, None, False)
    chosen = _index_select(flat, _add(reshape(index, (rows,)), start), 0)
    return _reshape(chosen, index.shape)


@gradient("cat")
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,) = node.attrs
    grads, at = [], 0
    for i in range(len(node.next_functions)):
        n = node.shape(i)[dim]
        grads.append(_slice(gy, dim, at, at + n, 1) if node.needs(i) else None)
        at += n
    return tuple(grads)


@gradient("index_select", saves={"index": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,) = node.attrs
    return _index_add(gy, node.saved[0], dim, node.shape(0)[dim]), None


@gradient("index_add", saves={"index": "source"})
def _(node: Node, gy: Tensor) -> Gradients:
    dim, _ = node.attrs
    return _index_select(gy, node.saved[0], dim), None


# ---- brackets ---------------------------------------------------------------------------


def _is_array(i: Any) -> bool:
    return isinstance(i, np.ndarray) or (isinstance(i, Tensor) and i.ndim > 0)


def _normalise(x: Tensor, index: Any) -> list[Any]:
    """The index as one entry for each dimension of x, with None for new ones."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = 0
    for k, i in enumerate(items):
        if isinstance(i, list):
            i = tensor_from(i, None, False)
            i = items[k] = (
                i if i.numel() else i.long()
            )  # no numbers: no say on the dtype
        if isinstance(i, (bool, np.bool_)) or (
            isinstance(i, (Tensor, np.ndarray)) and str(i.dtype).endswith("bool")
        ):
            raise TypeError(
                "index: expected integers, slices, None, ... or integer arrays, got a bool "
                "mask, whose result's shape depends on values (hint: where)"
            )
        used += i is not None and i is not Ellipsis
    if used > x.ndim:
        raise IndexError(
            f"index: expected at most {x.ndim} indices for shape {x.shape}, got {used}"
        )
    dots = [k for k, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise IndexError("index: expected one ... at most")
    at = dots[0] if dots else len(items)
    items[at : at + 1 if dots else at] = [slice(None)] * (x.ndim - used)
    return items


def _basic(x: Tensor, items: list[Any]) -> tuple[Tensor, list[Any]]:
    """A view by integers, slices and None; arrays are left for later, in their place."""
    dim = 0
    rest: list[Any] = []
    for i in items:
        if i is None:
            x = unsqueeze(x, dim)
            rest.append(slice(None))
        elif isinstance(i, slice):
            start, stop, step = i.indices(x.shape[dim])
            if (start, stop, step) != (0, x.shape[dim], 1):
                x = _slice(x, dim, start, stop, step)
            rest.append(slice(None))
        elif _is_array(i):
            rest.append(i)
        else:
            try:
                number = i.__index__()
            except (AttributeError, TypeError):
                raise TypeError(
                    "index: expected integers, slices, None, ... or integer arrays, got "
                    f"{type(i).__name__}"
                ) from None
            x = select(x, dim, number)
            continue
        dim += 1
    return x, rest


def _index_array(i: Any, size: int) -> Tensor:
    """An index array as int64, counted from the start."""
    t = tensor_from(i, None, False)
    if t.is_floating_point():
        raise TypeError(f"index: expected integers, got {t.dtype.name}")
    values = t.numpy().astype(np.int64)
    bad = (values < -size) | (values >= size)
    if bad.any():
        raise IndexError(
            f"index: expected indices from {-size} to {size - 1}, got {values[bad].flat[0]}"
        )
    return tensor_from(np.where(values < 0, values + size, values), None, False)


def _gather_plan(
    x: Tensor, rest: list[Any]
) -> tuple[list[int], Tensor, tuple[int, ...], int]:
    """Indexed dimensions, one flat index over them, its shape, where its shape goes."""
    dims = [d for d, i in enumerate(rest) if _is_array(i)]
    arrays = [_index_array(rest[d], x.shape[d]) for d in dims]
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        raise IndexError(
            "index: expected index arrays that broadcast, got shapes "
            f"{[a.shape for a in arrays]}"
        ) from None
    flat = None
    for d, a in zip(dims, arrays, strict=True):
        flat = a if flat is None else _add(_mul(flat, x.shape[d]), a)
    assert flat is not None
    together = dims == list(range(dims[0], dims[-1] + 1))
    index = (
        reshape(_expand(flat, shape), (-1,)) if flat.numel() else reshape(flat, (0,))
    )
    if index.numel() != int(np.prod(shape)):
        index = reshape(_expand(flat, shape), (int(np.prod(shape)),))
    return dims, index, tuple(shape), dims[0] if together else 0


def _getitem(self: Tensor, index: Any) -> Tensor:
    x, rest = _basic(self, _normalise(self, index))
    if not any(_is_array(i) for i in rest):
        return x if x is not self else _reshape(self, self.shape)
    dims, flat, shape, at = _gather_plan(x, rest)
    others = [d for d in range(x.ndim) if d not in dims]
    kept = [x.shape[d] for d in others]
    merged = int(np.prod([x.shape[d] for d in dims]))
    if len(dims) > 1:
        x = reshape(_permute(x, (*dims, *others)), (merged, *kept))
        result = _index_select(x, flat, 0)
        front = len(shape)
        result = reshape(result, (*shape, *kept))
        if at > 0:  # the indexed dimensions go back between the others
            order = [
                *range(front, front + at),
                *range(front),
                *range(front + at, front + len(kept)),
            ]
            result = _permute(result, order)
        return result
    d = dims[0]
    result = _index_select(x, flat, d)
    return reshape(result, (*x.shape[:d], *shape, *x.shape[d + 1 :]))


def _setitem(self: Tensor, index: Any, value: Any) -> None:
    x, rest = _basic(self, _normalise(self, index))
    if any(_is_array(i) for i in rest):
        raise TypeError(
            "index: expected integers, slices, None or ... on the left of =, got an index "
            "array (hint: where builds the result)"
        )
    if not isinstance(value, (Tensor, int, float)):
        value = tensor_from(value, None, False)
    _copy_(x, value)


install("getitem", _getitem)
install("setitem", _setitem)


@reference("cat")
def _(xs: Any, dim: int = 0) -> Any:
    return np.concatenate(xs, axis=dim)


@reference("stack")
def _(xs: Any, dim: int = 0) -> Any:
    return np.stack(xs, axis=dim)


@reference("index_select")
def _(x: Any, index: Any, dim: int = 0) -> Any:
    return np.take(x, index, axis=dim)


@reference("index_add")
def _(source: Any, index: Any, dim: int, size: int) -> Any:
    moved = np.moveaxis(source, dim, 0)
    y = np.zeros((size, *moved.shape[1:]), source.dtype)
    np.add.at(y, index, moved)
    return np.moveaxis(y, 0, dim)
