"""Joining tensors, and choosing slices or elements by an index tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._core import bool as bool_
from fastnn._core import int64
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.copies import changed, written
from fastnn.ops.creation import arange, ones, zeros
from fastnn.ops.views import dimension, unsqueeze

_cat, _index_select, _index_add = op("cat"), op("index_select"), op("index_add")
_gather, _scatter, _scatter_add = op("gather"), op("scatter"), op("scatter_add")
_index_copy_, _nonzero = op("index_copy_"), op("nonzero")
_as_index = op("as_index")
_slice, _reshape, _expand, _copy = op("slice"), op("reshape"), op("expand"), op("copy")
_where, _eq = op("where"), op("eq")


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
    return _reshape(_gather(x, unsqueeze(index, -1), -1), index.shape)


@public(method=True)
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The element of input at index along dim, at every place of index.

    y[i, j] = input[index[i, j], j] for dim 0 of a matrix.

    Parameters: input : Tensor. dim : int. index : integer Tensor of input's number of
        dimensions, no larger than input but along dim; from 0 to input's size - 1.
    Returns: index's shape, input's dtype; fresh.
    Gradient: gy added up at index. index : none.
    Raises: IndexError for an index out of range; ValueError for shapes that do not fit.
    Example:
        >>> fastnn.gather(fastnn.tensor([[1, 2], [3, 4]]), 1, fastnn.tensor([[1], [0]]))
        tensor([[2],
                [3]])
    """
    return _gather(input, index, dim)


def _within(src: Any, index: Tensor) -> Any:
    """src cut to index's shape, where it is larger."""
    if isinstance(src, Tensor) and src.ndim == index.ndim:
        for d, n in enumerate(index.shape):
            if src.shape[d] > n:
                src = _slice(src, d, 0, n, 1)
    return src


@public(method=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Tensor | float) -> Tensor:
    """A copy of input with src written at index along dim; gather's inverse.

    Parameters: input, dim, index : as in gather. src : Tensor at least as large as index,
        of input's dtype, or a number.
    Returns: input's shape and dtype; fresh. Where places repeat, the last one stays.
    Gradient: gy, 0 at what was written; gy gathered at index (all of those that repeat).
    Raises: as gather; TypeError for a src of another dtype.
    """
    return _scatter(input, index, _within(src, index), dim)


@public(method=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of input with src added at index along dim, in src's logical order.

    As scatter. Gradient: gy; gy gathered at index.
    """
    return _scatter_add(input, index, _within(src, index), dim)


@public(method=True, function=False)
def scatter_(self: Tensor, dim: int, index: Tensor, src: Tensor | float) -> Tensor:
    """Writes src into self at index along dim; returns self. As scatter."""
    return written(self, scatter(changed(self), dim, index, src))


@public(method=True, function=False)
def scatter_add_(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Adds src to self at index along dim; returns self. As scatter_add."""
    return written(self, scatter_add(changed(self), dim, index, src))


@public(method=True, function=False)
def index_copy_(self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Writes source's slices into self at index along dim; returns self.

    Parameters: index : integer Tensor (n,), from 0. source : self's shape with n along dim.
    Gradient: gy, 0 at index; gy at index. Where indices repeat, the last slice stays.
    Raises: IndexError for an index out of range, before anything is written.
    """
    return _index_copy_(self, index, source, dim)


@public(method=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """gather, with input and indices broadcast but along dim; of the flat tensors for None.

    Example:
        >>> x = fastnn.tensor([[3, 1, 2]])
        >>> fastnn.take_along_dim(x, fastnn.argsort(x, dim=1), dim=1)
        tensor([[1, 2, 3]])
    """
    if dim is None:
        return _gather(input.reshape(-1), indices.reshape(-1), 0)
    if input.ndim != indices.ndim:
        raise ValueError(
            "take_along_dim: expected input and indices of one number of dimensions, got "
            f"shapes {input.shape} and {indices.shape}"
        )
    at = dimension("take_along_dim", dim, input.ndim)
    both = [
        (m, n) if d == at else (m if n == 1 else n,) * 2
        for d, (m, n) in enumerate(zip(input.shape, indices.shape, strict=True))
    ]
    return _gather(
        _expand(input, [m for m, _ in both]), _expand(indices, [n for _, n in both]), at
    )


# ---- masks and where they hold ------------------------------------------------------------


@public(method=True)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where input is not 0: indices (int64, (n, input.ndim)), in logical order.

    Parameters: as_tuple : one (n,) tensor for each dimension instead, for brackets.
    """
    index = _nonzero(input)
    if not as_tuple:
        return index
    return tuple(index[:, d] for d in range(input.ndim))


@public(method=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements of input where mask holds (both broadcast), one-dimensional; fresh.

    Gradient: gy at the elements, 0 elsewhere. Raises: TypeError unless mask is bool.
    """
    _expect_mask("masked_select", mask)
    shape = _broadcast("masked_select", input, mask)
    flat = _nonzero(_expand(mask, shape).reshape(-1))
    return _index_select(_expand(input, shape).reshape(-1), flat.reshape(-1), 0)


@public(method=True, composite=True)
def masked_fill(input: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """value where mask holds, else input; input's dtype.

    Parameters: mask : bool Tensor, broadcast with input. value : number or Tensor ().
    Returns: broadcast shape; fresh. Gradient: gy, 0 under the mask; value: gy's sum there.
    Raises: TypeError unless mask is bool; ValueError for a value with dimensions.
    """
    _expect_mask("masked_fill", mask)
    if isinstance(value, Tensor) and value.ndim:
        raise ValueError(
            f"masked_fill: expected one value, got shape {value.shape} (hint: where)"
        )
    return _where(mask, value, input).to(input.dtype)


@public(method=True, function=False)
def masked_fill_(self: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """Writes value into self where mask holds; returns self. As masked_fill."""
    return written(self, masked_fill(changed(self), mask, value))


def _broadcast(name: str, a: Tensor, b: Tensor) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"{name}: expected shapes that broadcast, got {a.shape} and {b.shape}"
        ) from None


def _expect_mask(name: str, mask: Any) -> None:
    if not isinstance(mask, Tensor) or mask.dtype is not bool_:
        got = mask.dtype.name if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name}: expected mask as a bool tensor, got {got}")


# ---- counting -----------------------------------------------------------------------------


def _expect_classes(name: str, input: Tensor) -> None:
    if input.is_floating_point() or input.dtype is bool_:
        raise TypeError(f"{name}: expected integers, got {input.dtype.name}")


def _classes(name: str, input: Tensor) -> int:
    """One more than the largest of integers that are at least 0."""
    _expect_classes(name, input)
    if input.numel() == 0:
        return 0
    least, most = int(op("amin")(input)), int(op("amax")(input))
    if least < 0:
        raise ValueError(f"{name}: expected integers of at least 0, got {least}")
    return most + 1


@public(composite=True)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a 1 at the class: y[..., k] = (tensor[...] == k).

    Parameters: tensor : integer Tensor, classes from 0. num_classes : int; -1 takes one
        more than the largest class there is.
    Returns: tensor's shape with num_classes behind (int64); fresh.
    Raises: ValueError for a class below 0 or from num_classes on.
    Example:
        >>> fastnn.one_hot(fastnn.tensor([0, 2]))
        tensor([[1, 0, 0],
                [0, 0, 1]])
    """
    n = _classes("one_hot", tensor) if num_classes == -1 else num_classes
    if num_classes == -1 and n == 0:
        raise ValueError("one_hot: expected num_classes for a tensor without elements")
    if num_classes != -1:
        _expect_classes("one_hot", tensor)
        if n < 1:
            raise ValueError(f"one_hot: expected num_classes from 1, got {n}")
        try:
            tensor = _as_index(tensor, n, False)
        except IndexError as e:
            found = str(e).rpartition(" ")[2]
            raise ValueError(
                f"one_hot: expected classes from 0, below num_classes {n}, got {found}"
            ) from None
    return _copy(_eq(unsqueeze(tensor, -1), arange(n)), int64.code)


@public(method=True, composite=True)
def bincount(
    input: Tensor, weights: Tensor | None = None, minlength: int = 0
) -> Tensor:
    """How often each integer from 0 occurs, or the sum of its weights.

    Parameters: input : integer Tensor (n,), at least 0. weights : Tensor (n,). minlength :
        the least length of the result.
    Returns: (max(largest + 1, minlength),), int64, or the dtype of weights; fresh.
    Raises: ValueError for a negative integer or shapes that do not fit.
    Example:
        >>> fastnn.bincount(fastnn.tensor([1, 1, 3]))
        tensor([0, 2, 0, 1])
    """
    if input.ndim != 1 or (weights is not None and weights.shape != input.shape):
        raise ValueError(
            "bincount: expected input (n,) and weights of its shape, got "
            f"{input.shape}" + ("" if weights is None else f" and {weights.shape}")
        )
    if minlength < 0:
        raise ValueError(f"bincount: expected minlength of at least 0, got {minlength}")
    n = max(_classes("bincount", input), minlength)
    if weights is None:
        weights = ones(input.shape, dtype=int64)
    elif not weights.is_floating_point():
        weights = weights.double()
    return _index_add(weights, input, 0, n)


@gradient("gather", saves={"index": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,) = node.attrs
    nothing = zeros(node.shape(0), dtype=gy.dtype)
    return _scatter_add(nothing, node.saved[0], gy, dim), None


@gradient("scatter", saves={"index": "x src"})
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,), (index,) = node.attrs, node.saved
    gx = _scatter(gy, index, 0, dim) if node.needs(0) else None
    return gx, None, _gather(gy, index, dim) if node.needs(2) else None


@gradient("scatter_add", saves={"index": "src"})
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,), (index,) = node.attrs, node.saved
    return gy, None, _gather(gy, index, dim) if node.needs(2) else None


@gradient("index_copy_", saves={"index": "x source"})
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,), (index,) = node.attrs, node.saved
    gx = _index_copy_(_copy(gy), index, 0, dim) if node.needs(0) else None
    return gx, None, _index_select(gy, index, dim) if node.needs(2) else None


no_gradient("nonzero", "as_index")


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
    dim, size, *skip = node.attrs
    (index,) = node.saved
    gx = _index_select(gy, index, dim)
    if skip and skip[0] >= 0:
        shape = [1] * gx.ndim
        shape[dim] = index.shape[0]
        left_out = _eq(_as_index(index, size), skip[0])
        gx = _where(_reshape(left_out, shape), 0.0, gx)
    return gx, None


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
def _(source: Any, index: Any, dim: int, size: int, skip: int = -1) -> Any:
    moved = np.moveaxis(source, dim, 0)
    y = np.zeros((size, *moved.shape[1:]), source.dtype)
    taken = index % size != skip if skip >= 0 else slice(None)
    np.add.at(y, index[taken], moved[taken])
    return np.moveaxis(y, 0, dim)


def _at(index: Any, dim: int) -> Any:
    """index for NumPy's brackets: its values along dim, its own place elsewhere."""
    where = list(np.indices(index.shape))
    where[dim] = index
    return tuple(where)


@reference("gather")
def _(x: Any, index: Any, dim: int) -> Any:
    return x[_at(index, dim)] if x.ndim else x


@reference("scatter")
def _(x: Any, index: Any, src: Any, dim: int) -> Any:
    y = np.array(x)
    y[_at(index, dim)] = src
    return y


@reference("scatter_add")
def _(x: Any, index: Any, src: Any, dim: int) -> Any:
    y = np.array(x)
    np.add.at(y, _at(index, dim), src)
    return y


@reference("index_copy_")
def _(x: Any, index: Any, source: Any, dim: int) -> Any:
    y = np.array(x)
    np.moveaxis(y, dim, 0)[index] = (
        source if np.ndim(source) == 0 else np.moveaxis(source, dim, 0)
    )
    return y


@reference("as_index")
def _(index: Any, size: int, negative: bool = True) -> Any:
    index = index.astype(np.int64)
    return np.where(index < 0, index + size, index)


reference("nonzero")(lambda x: np.argwhere(x))
reference("masked_fill")(
    lambda x, mask, value: np.where(mask, value, x).astype(x.dtype)
)


@reference("one_hot")
def _(tensor: Any, num_classes: int = -1) -> Any:
    n = tensor.max() + 1 if num_classes < 0 else num_classes
    return np.eye(n, dtype=np.int64)[tensor]


@reference("bincount")
def _(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    return np.bincount(x, weights, minlength)
