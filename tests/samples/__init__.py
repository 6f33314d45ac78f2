"""Samples, hostile inputs and tolerances of every op: the fourth stop of an op's journey.

Every generic test (reference, gradients, bits, strides, batches, out=, replay) runs over
all ops from these rows alone. One file per family, as in fastnn/ops; _rows.py says what a
row is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers import tensors

import fastnn
from fastnn.ops._registry import COMPOSITES, PUBLIC
from samples import (
    activations,
    aggregates,
    attention,
    blends,
    convolution,
    copies,
    distances,
    elementwise,
    embedding,
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
    sorting,
    statistics,
    views,
    warping,
)
from samples._rows import ROWS as ROWS
from samples._rows import Hostile as Hostile
from samples._rows import Row as Row
from samples._rows import Sample as Sample


def callable_for(name: str) -> Callable[..., Any]:
    """The op of that name, or the composite."""
    return PUBLIC[name] if name in COMPOSITES else fastnn._core.op_named(name)


def arguments(name: str, sample: Sample, dtype: Any, **how: Any) -> tuple[Any, ...]:
    """The sample's arguments as tensors, float ones in dtype (but see Row.float64)."""
    fixed = ROWS[name].float64
    return tuple(
        tensors(
            a, fastnn.float64 if i in fixed else dtype, **({} if i in fixed else how)
        )
        for i, a in enumerate(sample.args)
    )
