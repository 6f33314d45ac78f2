"""The op families: public functions, gradients and references, one file per family."""

from fastnn.ops import (
    activations,
    aggregates,
    alike,
    attention,
    blends,
    convolution,
    copies,
    creation,
    distances,
    elementwise,
    embedding,
    indexing,
    lists,
    logarithms,
    logic,
    losses,
    normalization,
    optim,
    padding,
    patches,
    pooling,
    products,
    random,
    rearranging,
    recurrent,
    reductions,
    resizing,
    rounding,
    selection,
    softmax,
    sorting,
    statistics,
    views,
    warping,
)
from fastnn.ops._registry import PUBLIC

globals().update(PUBLIC)
__all__ = [*PUBLIC]
