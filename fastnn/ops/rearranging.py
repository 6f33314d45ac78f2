"""Elements in other places: stacks, rolls, repeats, diagonals and grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._core import bool as bool_
from fastnn._core import from_numpy
from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import Tensor, op, public, reference
from fastnn.ops.copies import contiguous
from fastnn.ops.creation import full
from fastnn.ops.views import dimension, movedim, reshape, transpose, unsqueeze

_cat, _slice, _reshape, _expand = op("cat"), op("slice"), op("reshape"), op("expand")
_copy, _unslice, _index_select = op("copy"), op("unslice"), op("index_select")


@public()
def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Another name of cat."""
    return _cat(tensors, dim)


@public()
def concatenate(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Another name of cat."""
    return _cat(tensors, dim)


def _at_least(name: str, tensors: Any, ndim: int) -> list[Tensor]:
    """The tensors with dimensions of size 1 in front, up to ndim."""
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(
            f"{name}: expected a sequence of tensors, got {type(tensors).__name__}"
        )
    expect_tensors(name, **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    return [
        x if x.ndim >= ndim else reshape(x, (1,) * (ndim - x.ndim) + x.shape)
        for x in tensors
    ]


@public(composite=True)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined side by side: along dim 1, and along dim 0 for vectors. As cat.

    Example:
        >>> fastnn.hstack([fastnn.tensor([[1], [2]]), fastnn.tensor([[3], [4]])])
        tensor([[1, 3],
                [2, 4]])
    """
    parts = _at_least("hstack", tensors, 1)
    return _cat(parts, 0 if not parts or parts[0].ndim == 1 else 1)


@public(composite=True)
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined one under the other, along dim 0; vectors are rows. As cat.

    Example:
        >>> fastnn.vstack([fastnn.tensor([1, 2]), fastnn.tensor([3, 4])])
        tensor([[1, 2],
                [3, 4]])
    """
    return _cat(_at_least("vstack", tensors, 2), 0)


def _whole(name: str, argument: str, value: Any) -> int:
    """value as an int; TypeError unless it is an integer (bool is none)."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{name}: expected {argument} as integers, got {type(value).__name__}"
        )
    return int(value)


def _listed(name: str, argument: str, value: Any) -> list[int]:
    several = value if isinstance(value, (tuple, list)) else (value,)
    return [_whole(name, argument, v) for v in several]


@public(method=True, composite=True)
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """input moved on by shifts along dims; what leaves at the end enters at the start.

    Parameters: shifts : int or tuple, negative towards the start. dims : int or tuple, one
        for each shift; None rolls the flat tensor.
    Returns: input's shape; fresh. Gradient: gy rolled back.
    Raises: IndexError for a dimension that is not there; ValueError unless there is one
        dim for each shift.
    Example:
        >>> fastnn.roll(fastnn.tensor([1, 2, 3]), 1)
        tensor([3, 1, 2])
    """
    expect_tensors("roll", input=input)
    moves = _listed("roll", "shifts", shifts)
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        if len(moves) != 1:
            raise ValueError(f"roll: expected dims for each of the shifts {moves}")
        return _reshape(_rolled(_copy(input.reshape(-1)), moves[0], 0), input.shape)
    axes = _listed("roll", "dims", dims)
    if len(axes) != len(moves):
        raise ValueError(
            f"roll: expected one dim for each shift, got {axes} for {moves}"
        )
    x = _copy(input)
    for move, axis in zip(moves, axes, strict=True):
        x = _rolled(x, move, dimension("roll", axis, input.ndim))
    return x


def _rolled(x: Tensor, move: int, dim: int) -> Tensor:
    n = x.shape[dim]
    cut = -move % n if n else 0
    if cut == 0:
        return x
    return _cat([_slice(x, dim, cut, n, 1), _slice(x, dim, 0, cut, 1)], dim)


@public(method=True, composite=True)
def repeat_interleave(
    input: Tensor,
    repeats: int | Tensor,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """Each slice along dim so many times, one behind the other.

    Parameters: repeats : int, or integer Tensor with one number for each slice. dim : int;
        None repeats the elements of the flat tensor. output_size : the size that dim gets,
        if known.
    Returns: fresh. Gradient: gy, added up over the repeats.
    Raises: TypeError for fractions; ValueError for negative repeats or sizes that do not fit.
    Example:
        >>> fastnn.repeat_interleave(fastnn.tensor([1, 2]), 2)
        tensor([1, 1, 2, 2])
    """
    expect_tensors("repeat_interleave", input=input)
    if dim is None:
        at, x = 0, input.reshape(-1)
    else:
        at = dimension("repeat_interleave", dim, input.ndim or 1)
        x = input if input.ndim else unsqueeze(input, 0)
    n = x.shape[at]
    if isinstance(repeats, Tensor):
        if repeats.is_floating_point() or repeats.dtype is bool_:
            raise TypeError(
                "repeat_interleave: expected repeats as integers, got "
                f"{repeats.dtype.name}"
            )
        counts = repeats.numpy()
    else:
        counts = np.asarray(_whole("repeat_interleave", "repeats", repeats))
    if counts.size not in (1, n) or counts.ndim > 1 or (counts < 0).any():
        raise ValueError(
            "repeat_interleave: expected repeats of at least 0, one number or one for "
            f"each of {n} slices, got {counts.tolist()}"
        )
    order = np.repeat(np.arange(n), counts if counts.ndim else int(counts))
    if output_size is not None and output_size != len(order):
        raise ValueError(
            f"repeat_interleave: expected output_size {len(order)}, got {output_size}"
        )
    return _index_select(x, from_numpy(order.astype(np.int64)), at)


# ---- diagonals ----------------------------------------------------------------------------


@public(method=True)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements with index i along dim1 and i + offset along dim2; a view.

    Parameters: offset : int, above 0 right of the main diagonal, below 0 under it.
    Returns: a view, the diagonal as its last dimension in the place of both.
    Gradient: gy on the diagonal, 0 elsewhere.
    Raises: IndexError for a dimension that is not there; ValueError for equal dimensions,
        or where memory would have to move (hint: contiguous).
    Example:
        >>> fastnn.diagonal(fastnn.tensor([[1, 2], [3, 4]]))
        tensor([1, 4])
    """
    expect_tensors("diagonal", input=input)
    offset = _whole("diagonal", "offset", offset)
    a = dimension("diagonal", dim1, input.ndim)
    b = dimension("diagonal", dim2, input.ndim)
    if a == b:
        raise ValueError(f"diagonal: expected two dimensions, got {dim1} and {dim2}")
    x = movedim(input, (a, b), (-2, -1))
    if x.stride(-2) < x.stride(-1):  # the transpose's, from the other side
        x, offset = transpose(x, -2, -1), -offset
    n, m = x.shape[-2:]
    length = min(n - max(-offset, 0), m - max(offset, 0))
    if length <= 0:
        return _slice(x.select(-2, 0) if n else x.select(-1, 0), -1, 0, 0, 1)
    try:
        flat = _reshape(x, (*x.shape[:-2], n * m))
    except ValueError:
        raise ValueError(
            f"diagonal: expected memory without gaps, got strides {input.stride()} "
            f"(hint: .contiguous())"
        ) from None
    start = offset if offset >= 0 else -offset * m
    return _slice(flat, -1, start, start + (length - 1) * (m + 1) + 1, m + 1)


@public(method=True, composite=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with the vector input on a diagonal, or the diagonal of a matrix.

    Parameters: input : (n,) or (n, m). diagonal : int, which one, as in diagonal.
    Returns: (n + |diagonal|,) squared, or a vector; fresh.
    Gradient: gy on the diagonal; gy there, 0 elsewhere.
    Raises: ValueError for other numbers of dimensions.
    Example:
        >>> fastnn.diag(fastnn.tensor([1, 2]))
        tensor([[1, 0],
                [0, 2]])
    """
    expect_tensors("diag", input=input)
    k = _whole("diag", "diagonal", diagonal)
    if input.ndim == 2:
        return _copy(globals()["diagonal"](contiguous(input), k))
    if input.ndim != 1:
        raise ValueError(f"diag: expected 1 or 2 dimensions, got shape {input.shape}")
    n = input.shape[0] + abs(k)
    if input.shape[0] == 0:
        return full((n, n), 0, dtype=input.dtype)
    start = k if k >= 0 else -k * n
    return _reshape(_unslice(input, n * n, 0, start, n + 1), (n, n))


# ---- grids ------------------------------------------------------------------------------


@public()
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Every vector expanded over the grid that they span: y_k[i, j, ...] = x_k[i_k].

    Parameters: tensors : (n,) or () Tensors of one dtype. indexing : "ij" (the default), one
        dimension for each tensor in order; "xy" swaps the first two, as on a map.
    Returns: one view for each tensor. Gradient: gy, added up over the others.
    Raises: ValueError for matrices; TypeError for dtypes that differ.
    Example:
        >>> fastnn.meshgrid(fastnn.tensor([1, 2]), fastnn.tensor([3, 4]))[0]
        tensor([[1, 1],
                [2, 2]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    expect_tensors("meshgrid", **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    if indexing not in (None, "ij", "xy"):
        raise ValueError(f'meshgrid: expected indexing "ij" or "xy", got {indexing!r}')
    if not tensors or any(x.ndim > 1 for x in tensors):
        raise ValueError(
            "meshgrid: expected at least one tensor of 0 or 1 dimensions, got shapes "
            f"{[x.shape for x in tensors]}"
        )
    if len({x.dtype.name for x in tensors}) > 1:
        raise TypeError(
            f"meshgrid: expected one dtype, got {[x.dtype.name for x in tensors]}"
        )
    shape = tuple(x.numel() for x in tensors)
    grids = []
    for k, x in enumerate(tensors):
        alone = tuple(n if i == k else 1 for i, n in enumerate(shape))
        y = _expand(reshape(x, alone), shape)
        swap = indexing == "xy" and len(tensors) > 1
        grids.append(transpose(y, 0, 1) if swap else y)
    return tuple(grids)


@reference("hstack")
def _(tensors: Any) -> Any:
    return np.hstack(tensors)


@reference("vstack")
def _(tensors: Any) -> Any:
    return np.vstack(tensors)


@reference("roll")
def _(x: Any, shifts: Any, dims: Any = None) -> Any:
    return np.roll(x, shifts, dims)


@reference("repeat_interleave")
def _(x: Any, repeats: Any, dim: Any = None) -> Any:
    return np.repeat(x, repeats, dim)


@reference("diag")
def _(x: Any, diagonal: int = 0) -> Any:
    return np.diag(x, diagonal)
