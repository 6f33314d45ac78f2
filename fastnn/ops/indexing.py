"""Brackets: reading and writing by integers, slices, None, ..., integer arrays and masks."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from fastnn._core import bool as bool_
from fastnn._core import install, is_grad_enabled, tensor_from
from fastnn.ops import _record
from fastnn.ops._registry import Tensor, op
from fastnn.ops.selection import masked_fill_
from fastnn.ops.views import reshape, select, unsqueeze

_slice, _reshape, _permute = op("slice"), op("reshape"), op("permute")
_expand, _copy, _copy_ = op("expand"), op("copy"), op("copy_")
_add, _mul, _nonzero = op("add"), op("mul"), op("nonzero")
_as_index = op("as_index")
_index_select, _index_copy_ = op("index_select"), op("index_copy_")


def _is_array(i: Any) -> bool:
    return isinstance(i, np.ndarray) or (isinstance(i, Tensor) and i.ndim > 0)


def _normalise(x: Tensor, index: Any) -> list[Any]:
    """The index as one entry for each dimension of x, with None for new ones; a mask as
    the index arrays of where it holds."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = 0
    for k, i in enumerate(items):
        if isinstance(i, (list, np.ndarray)):
            i = tensor_from(i, None, False)
            # no numbers: no say on the dtype
            i = items[k] = i if i.numel() or i.dtype is bool_ else i.long()
        mask = isinstance(i, Tensor) and i.dtype is bool_
        if isinstance(i, (bool, np.bool_)) or (mask and i.ndim == 0):
            raise TypeError(
                "index: expected integers, slices, None, ..., integer arrays or masks with "
                "dimensions, got one truth value (hint: None makes a dimension)"
            )
        used += i.ndim if mask else i is not None and i is not Ellipsis
    if used > x.ndim:
        raise IndexError(
            f"index: expected at most {x.ndim} indices for shape {x.shape}, got {used}"
        )
    dots = [k for k, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise IndexError("index: expected one ... at most")
    at = dots[0] if dots else len(items)
    items[at : at + 1 if dots else at] = [slice(None)] * (x.ndim - used)
    whole: list[Any] = []
    dim = 0
    for i in items:
        if isinstance(i, Tensor) and i.dtype is bool_:
            if i.shape != x.shape[dim : dim + i.ndim]:
                raise IndexError(
                    f"index: expected a mask of shape {x.shape[dim : dim + i.ndim]}, got "
                    f"{i.shape}"
                )
            places = _nonzero(i)
            whole += [select(places, 1, d) for d in range(i.ndim)]
            dim += i.ndim
        else:
            whole.append(i)
            dim += i is not None
    return whole


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
            if _record.active is not None and _is_cut(i, x.shape[dim]):
                _record.active.cut()
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


def _is_cut(i: slice, size: int) -> bool:
    """Whether an end of the slice lies outside, so that the size takes its place."""
    down = i.step is not None and i.step < 0
    return any(
        v is not None and not -size <= index(v) < size + (not down)
        for v in (i.start, i.stop)
    )


def _index_array(i: Tensor, size: int) -> Tensor:
    """An index array as int64, counted from the start; checked where the op runs."""
    if i.is_floating_point():
        raise TypeError(f"index: expected integers, got {i.dtype.name}")
    return _as_index(i, size)


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
    if type(index) is int and self.ndim:  # data sets do it once a sample
        return select(self, 0, index)
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
    if not isinstance(value, (Tensor, int, float)):
        value = tensor_from(value, None, False)
    if (
        isinstance(index, Tensor)
        and index.dtype is bool_
        and index.shape == self.shape
        and self.ndim
        and (not isinstance(value, Tensor) or value.ndim == 0)
    ):
        masked_fill_(self, index, value)
        return
    x, rest = _basic(self, _normalise(self, index))
    if not any(_is_array(i) for i in rest):
        _copy_(x, value)
        return
    dims, flat, shape, at = _gather_plan(x, rest)
    others = [d for d in range(x.ndim) if d not in dims]
    kept = [x.shape[d] for d in others]
    if isinstance(value, Tensor) and value.ndim:
        value = _slices(value, shape, kept, at)
    # the indexed dimensions first, as one; a copy where memory does not allow that
    first = x if dims == [0] else _permute(x, (*dims, *others))
    merged = (int(np.prod([x.shape[d] for d in dims])), *kept)
    recorded = is_grad_enabled() and (
        self.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
    )
    if first is x and len(dims) == 1:
        _index_copy_(x, flat, value, 0)
    elif not recorded and _viewable(first, merged):
        _index_copy_(_reshape(first, merged), flat, value, 0)
    else:
        y = _index_copy_(reshape(_copy(first), merged), flat, value, 0)
        order = np.argsort([*dims, *others]).tolist()
        _copy_(x, _permute(reshape(y, first.shape), order))


def _slices(value: Tensor, shape: tuple[int, ...], kept: list[int], at: int) -> Tensor:
    """value broadcast to the selection's shape, as slices (n, *kept)."""
    result = (*kept[:at], *shape, *kept[at:])
    while value.ndim > len(result) and value.shape[0] == 1:
        value = _reshape(value, value.shape[1:])
    try:
        value = _expand(value, result)
    except ValueError:
        raise ValueError(
            f"index: expected a value that broadcasts to {result}, got {value.shape}"
        ) from None
    n = len(shape)
    order = [*range(at, at + n), *range(at), *range(at + n, len(result))]
    return reshape(_permute(value, order), (int(np.prod(shape)), *kept))


def _viewable(x: Tensor, shape: tuple[int, ...]) -> bool:
    try:
        _reshape(x, shape)
    except ValueError:
        return False
    return True


install("getitem", _getitem)
install("setitem", _setitem)
