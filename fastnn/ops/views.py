"""Views: other shapes over the same memory. No data moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._core import install, same_storage
from fastnn.ops import _record
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)

_reshape, _permute, _expand = op("reshape"), op("permute"), op("expand")
_slice, _unslice, _copy = op("slice"), op("unslice"), op("copy")


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """f(2, 3) and f((2, 3)) alike."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(args[0])
    return args


def dimension(name: str, dim: int, ndim: int) -> int:
    """dim in [0, ndim), from [-ndim, ndim)."""
    if not -ndim <= dim < ndim:
        raise IndexError(
            f"{name}: expected a dimension from {-ndim} to {ndim - 1}, got {dim}"
        )
    return dim + ndim if dim < 0 else dim


def renamed(e: Exception, inner: str, name: str) -> Exception:
    """The error of an inner op, said by the function that was called."""
    return type(e)(str(e).replace(f"{inner}: ", f"{name}: ", 1))


@public(method="view", function=False)
def view(self: Tensor, *shape: Any) -> Tensor:
    """self with another shape over the same memory; one size may be -1.

    Gradient: gy in self's shape. Raises: ValueError where memory would have to move.
    """
    try:
        return _reshape(self, sizes(shape))
    except (TypeError, ValueError) as e:
        raise renamed(e, "reshape", "view") from None


@public(method=True, function=False)
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """view with other's shape."""
    return view(self, other.shape)


@public()
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """input with another shape: a view where memory allows, else a copy; one -1 is free.

    Returns: a view, or fresh memory. Gradient: gy in input's shape.
    Raises: ValueError for a shape of another number of elements.
    """
    try:
        return _reshape(input, tuple(shape))
    except ValueError:
        if input.is_contiguous():
            raise
        return _reshape(_copy(input), tuple(shape))


@public(method="reshape", function=False)
def _reshape_method(self: Tensor, *shape: Any) -> Tensor:
    """As fastnn.reshape; x.reshape(2, 3) and x.reshape((2, 3)) alike."""
    return reshape(self, sizes(shape))


@public()
def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Dimensions in the order dims; a view. Gradient: gy in the old order."""
    return _permute(input, tuple(dims))


@public(method="permute", function=False)
def _permute_method(self: Tensor, *dims: Any) -> Tensor:
    """As fastnn.permute; x.permute(1, 0) and x.permute((1, 0)) alike."""
    return _permute(self, sizes(dims))


@public(method=True)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Dimensions dim0 and dim1 exchanged; a view. Gradient: gy, exchanged back."""
    if input.ndim == 0 and dim0 in (0, -1) and dim1 in (0, -1):
        return _reshape(input, ())
    dims = list(range(input.ndim))
    a = dimension("transpose", dim0, input.ndim)
    b = dimension("transpose", dim1, input.ndim)
    dims[a], dims[b] = b, a
    return _permute(input, dims)


@public(method=True)
def t(input: Tensor) -> Tensor:
    """A matrix transposed; a view. Raises: ValueError above two dimensions."""
    if input.ndim > 2:
        raise ValueError(f"t: expected at most two dimensions, got shape {input.shape}")
    return _permute(input, tuple(range(input.ndim))[::-1])


install(
    "T",
    property(
        lambda self: _permute(self, tuple(range(self.ndim))[::-1]),
        doc="All dimensions in reverse order; a view.",
    ),
)
install(
    "mT",
    property(
        lambda self: transpose(self, -2, -1),
        doc="The last two dimensions exchanged; a view.",
    ),
)


@public(method=True, function=False)
def expand(self: Tensor, *shape: Any) -> Tensor:
    """Size 1 stretched, new dimensions in front; -1 keeps a size; a view.

    Gradient: gy summed over what was stretched. Raises: ValueError if it does not broadcast.
    """
    return _expand(self, sizes(shape))


@public(method=True, function=False)
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """expand to other's shape."""
    return _expand(self, other.shape)


@public()
def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """input expanded to shape; a view."""
    return _expand(input, tuple(shape))


@public(method=True)
def squeeze(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Without dimensions of size 1: all, or those of dim that have it; a view."""
    if dim is None:
        chosen = set(range(input.ndim))
    else:
        dims = dim if isinstance(dim, tuple) else (dim,)
        chosen = {dimension("squeeze", d, input.ndim or 1) for d in dims}
    shape = [n for d, n in enumerate(input.shape) if n != 1 or d not in chosen]
    return _reshape(input, shape)


@public(method=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of size 1 at dim; a view."""
    at = dimension("unsqueeze", dim, input.ndim + 1)
    return _reshape(input, (*input.shape[:at], 1, *input.shape[at:]))


@public(method=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim made one; a view where memory allows."""
    if input.ndim == 0:
        return _reshape(input, (1,))
    a = dimension("flatten", start_dim, input.ndim)
    b = dimension("flatten", end_dim, input.ndim)
    if a > b:
        raise ValueError(f"flatten: expected start_dim <= end_dim, got {a} and {b}")
    merged = 1
    for n in input.shape[a : b + 1]:
        merged *= n
    return reshape(input, (*input.shape[:a], merged, *input.shape[b + 1 :]))


@public(method=True)
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """input[start : start + length] along dim; a view. Gradient: gy, zeros elsewhere."""
    at = dimension("narrow", dim, input.ndim)
    size = input.shape[at]
    start += size if start < 0 else 0
    if not (0 <= start <= size and 0 <= length <= size - start):
        raise ValueError(
            f"narrow: expected a range within size {size}, got {start} to {start + length}"
        )
    return _slice(input, at, start, start + length, 1)


@public(method=True)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """input[index] along dim, without that dimension; a view."""
    at = dimension("select", dim, input.ndim)
    size = input.shape[at]
    if not -size <= index < size:
        raise IndexError(
            f"select: expected an index from {-size} to {size - 1}, got {index}"
        )
    index += size if index < 0 else 0
    one = _slice(input, at, index, index + 1, 1)
    return _reshape(one, (*input.shape[:at], *input.shape[at + 1 :]))


@public(method=True)
def split(
    input: Tensor, split_size: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Pieces of split_size (the last may be smaller), or of the sizes given; views."""
    at = dimension("split", dim, input.ndim)
    size = input.shape[at]
    if isinstance(split_size, int):
        if split_size < 1:
            raise ValueError(f"split: expected a size of at least 1, got {split_size}")
        if _record.active is not None and size % split_size:
            _record.active.cut()
        lengths = [min(split_size, size - i) for i in range(0, size, split_size)] or [0]
    else:
        lengths = list(split_size)
        if sum(lengths) != size or min(lengths, default=0) < 0:
            raise ValueError(
                f"split: expected sizes that add up to {size}, got {lengths}"
            )
    starts = np.cumsum([0, *lengths]).tolist()
    return tuple(
        _slice(input, at, a, a + n, 1) for a, n in zip(starts, lengths, strict=False)
    )


@public(method=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size (the last may be smaller); views."""
    if chunks < 1:
        raise ValueError(f"chunk: expected at least 1 chunk, got {chunks}")
    size = input.shape[dimension("chunk", dim, input.ndim)]
    return split(input, max(1, -(-size // chunks)), dim)


@public(method=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along dim, without that dimension; views."""
    at = dimension("unbind", dim, input.ndim)
    return tuple(select(input, at, i) for i in range(input.shape[at]))


@public(method=True)
def movedim(
    input: Tensor, source: int | tuple[int, ...], destination: int | tuple[int, ...]
) -> Tensor:
    """The dimensions source moved to destination, the others in their order; a view.

    Example:
        >>> fastnn.movedim(fastnn.zeros(2, 3, 4), 0, -1).shape
        (3, 4, 2)
    """
    a, b = (
        [
            dimension("movedim", d, input.ndim or 1)
            for d in ((v,) if isinstance(v, int) else v)
        ]
        for v in (source, destination)
    )
    if len(a) != len(b) or len(set(a)) < len(a) or len(set(b)) < len(b):
        raise ValueError(
            "movedim: expected as many dimensions to go as to come, each once, got "
            f"{source} and {destination}"
        )
    if input.ndim == 0:
        return _reshape(input, ())
    rest = iter(d for d in range(input.ndim) if d not in a)
    return _permute(
        input, [a[b.index(d)] if d in b else next(rest) for d in range(input.ndim)]
    )


@public()
def numel(input: Tensor) -> int:
    """Number of elements (int)."""
    return input.numel()


# ---- copies in other arrangements -------------------------------------------------------


@public(method=True, composite=True)
def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """input repeated dims times along its dimensions, counted from the last; fresh.

    Parameters: dims : as many counts as dimensions, or fewer or more: ones go in front.
    Gradient: gy summed over the repetitions. Raises: ValueError for a negative count.
    Example:
        >>> fastnn.tile(fastnn.tensor([1, 2]), (2, 2))
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]])
    """
    counts = [1] * (input.ndim - len(dims)) + list(dims)
    if any(n < 0 for n in counts):
        raise ValueError(f"tile: expected counts of at least 0, got {tuple(dims)}")
    x = _reshape(input, (1,) * (len(counts) - input.ndim) + input.shape)
    for d, n in enumerate(counts):
        if n != 1:
            shape = x.shape
            x = _expand(unsqueeze(x, d), (*shape[:d], n, *shape[d:]))
            x = reshape(x, (*shape[:d], n * shape[d], *shape[d + 1 :]))
    return _copy(x) if same_storage(x, input) else x


@public(method="tile", function=False)
def _tile_method(self: Tensor, *dims: Any) -> Tensor:
    """As fastnn.tile; x.tile(2, 3) and x.tile((2, 3)) alike."""
    return tile(self, sizes(dims))


@public(method=True, function=False)
def repeat(self: Tensor, *sizes_: Any) -> Tensor:
    """As tile, with a count for every dimension at least; fresh."""
    counts = sizes(sizes_)
    if len(counts) < self.ndim:
        raise ValueError(
            f"repeat: expected a count for each of {self.ndim} dimensions, got {counts}"
        )
    return tile(self, counts)


@public(composite=True)
def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """input in reverse order along dims; fresh. Gradient: gy, reversed back."""
    x = input
    for d in (dims,) if isinstance(dims, int) else dims:
        at = dimension("flip", d, input.ndim or 1)
        if x.numel() and x.ndim:
            x = _slice(x, at, x.shape[at] - 1, -1, -1)
    return _copy(x)


@public(method="flip", function=False)
def _flip_method(self: Tensor, *dims: Any) -> Tensor:
    """As fastnn.flip; x.flip(0, 1) and x.flip((0, 1)) alike."""
    return flip(self, sizes(dims))


@gradient("reshape")
def _(node: Node, gy: Tensor) -> Gradients:
    return (reshape(gy, node.shape(0)),)


@gradient("permute")
def _(node: Node, gy: Tensor) -> Gradients:
    (dims,) = node.attrs
    back = [0] * len(dims)
    for i, d in enumerate(dims):
        back[d] = i
    return (_permute(gy, back),)


@gradient("expand")
def _(node: Node, gy: Tensor) -> Gradients:
    return (gy,)  # the tape sums what was broadcast


@gradient("slice")
def _(node: Node, gy: Tensor) -> Gradients:
    dim, start, _, step = node.attrs
    shape = node.shape(0)
    size = shape[dim]
    start = min(start, size if step > 0 else size - 1)
    return (_unslice(gy, size, dim, start, step),)


@gradient("unslice")
def _(node: Node, gy: Tensor) -> Gradients:
    _, dim, start, step = node.attrs
    n = node.shape(0)[dim]
    stop = start + (n - 1) * step + (1 if step > 0 else -1) if n else start
    return (_slice(gy, dim, start, stop, step),)


@reference("reshape")
def _(x: Any, shape: Any) -> Any:
    return np.reshape(x, shape)


@reference("permute")
def _(x: Any, dims: Any) -> Any:
    return np.transpose(x, dims)


@reference("expand")
def _(x: Any, shape: Any) -> Any:
    lead = len(shape) - x.ndim
    full = [x.shape[d - lead] if n == -1 else n for d, n in enumerate(shape)]
    return np.broadcast_to(x, full)


@reference("slice")
def _(x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None if stop < 0 else stop, step)
    return x[tuple(index)]


@reference("unslice")
def _(x: Any, size: int, dim: int, start: int, step: int) -> Any:
    shape = list(x.shape)
    shape[dim] = size
    y = np.zeros(shape, x.dtype)
    for i in range(x.shape[dim]):
        index: list[Any] = [slice(None)] * x.ndim
        index[dim] = start + i * step
        y[tuple(index)] = np.take(x, i, axis=dim)
    return y


@reference("tile")
def _(x: Any, dims: Any) -> Any:
    return np.tile(x, dims)


@reference("flip")
def _(x: Any, dims: Any) -> Any:
    return np.flip(x, dims)
