"""embedding: rows of a table, and gradients of those rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core import RowGradient, is_grad_enabled, set_grad_enabled
from fastnn.ops._checks import expect_tensors, whole
from fastnn.ops._registry import (
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.creation import ones
from fastnn.ops.statistics import norm
from fastnn.ops.views import reshape

_embedding, _sum_repeats = op("embedding"), op("sum_repeats")
_index_select, _index_add = op("index_select"), op("index_add")
_index_copy_, _as_index = op("index_copy_"), op("as_index")
_where, _eq, _gt = op("where"), op("eq"), op("gt")
_div, _add, _mul = op("div"), op("add"), op("mul")


@public()
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of weight that input names: y[..., :] = weight[input[...], :].

    Parameters:
        input : integer Tensor of any shape, from 0 to num_embeddings - 1.
        weight : Tensor (num_embeddings, embedding_dim).
        padding_idx : int: a row whose gradient is 0; negative counts from the end.
        max_norm : number: rows that are read and longer are first scaled to this length, in
            place; each once.
        norm_type : number: p of the p-norm for max_norm.
        scale_grad_by_freq : bool: divide each row's gradient by how often input names it.
        sparse : bool: the gradient is a RowGradient, whose cost, like that of the
            optimizer's step, follows input and not num_embeddings. SGD without momentum,
            Adagrad, Adam and SparseAdam take it. Where the backward pass is recorded
            (create_graph), and where weight is not a leaf, it is dense.
    Returns: input's shape with embedding_dim behind, weight's dtype; fresh.
    Gradient: weight: gy added up at input, in input's order.
    Raises: IndexError for an index out of range; TypeError for input that is no integer
        tensor; ValueError for other shapes of weight, a padding_idx out of range, or sparse
        together with scale_grad_by_freq.
    Example:
        >>> table = fastnn.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
        >>> fastnn.nn.functional.embedding(fastnn.tensor([2, 0]), table)
        tensor([[2. , 2.5],
                [0. , 0.5]])
    """
    expect_tensors("embedding", input=input, weight=weight)
    padding = -1
    if padding_idx is not None:
        padding = whole("embedding", "padding_idx", padding_idx)
        size = weight.shape[0] if weight.ndim else 0
        if not -size <= padding < size:
            raise ValueError(
                f"embedding: expected padding_idx from {-size} to {size - 1}, got "
                f"{padding}"
            )
        padding += size if padding < 0 else 0
    if sparse and scale_grad_by_freq:
        raise ValueError(
            "embedding: expected sparse or scale_grad_by_freq, got both; counts would be "
            "taken anew where gradients are accumulated"
        )
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    return _embedding(weight, input, padding, scale_grad_by_freq, sparse)


def _renormalise(weight: Tensor, input: Tensor, longest: float, p: float) -> None:
    """Rows of weight that input names, scaled in place to `longest` where they are longer. A
    row that is named again is written again with the same bits."""
    recorded = set_grad_enabled(False)
    try:
        rows = _embedding(weight, input)
        rows = reshape(rows, (input.numel(), weight.shape[1]))
        length = norm(rows, p, 1, True)
        # the 1e-7 is PyTorch's
        factor = _where(_gt(length, longest), _div(longest, _add(length, 1e-7)), 1.0)
        _index_copy_(weight, reshape(input, (input.numel(),)), _mul(rows, factor), 0)
    finally:
        set_grad_enabled(recorded)


@gradient("embedding", saves={"index": "weight"})
def _(node: Node, gy: Tensor) -> tuple[Any, None]:
    padding, by_frequency, sparse = op("embedding").all_attributes(
        (None, None, *node.attrs)
    )
    size, dim = node.shape(0)
    (index,) = node.saved
    index = reshape(index, (index.numel(),))
    gy = reshape(gy, (index.shape[0], dim))
    if by_frequency:
        counts = _index_add(ones(index.shape[0], dtype=gy.dtype), index, 0, size)
        gy = _mul(gy, reshape(_index_select(_div(1.0, counts), index), (-1, 1)))
    if not sparse or is_grad_enabled():
        return _index_add(gy, index, 0, size, padding), None
    if padding >= 0:
        gy = _where(reshape(_eq(index, padding), (index.shape[0], 1)), 0.0, gy)
    return RowGradient(_as_index(index, size, False), gy, (size, dim)), None


no_gradient("sum_repeats")


@reference("embedding")
def _(weight: Any, index: Any, *of_gradient: Any) -> Any:
    return weight[index]


@reference("sum_repeats")
def _(indices: Any, values: Any) -> Any:
    y = np.zeros_like(values)
    for i in range(len(indices)):
        first = np.flatnonzero(indices == indices[i])[0]
        y[first] += values[i]
    return y
