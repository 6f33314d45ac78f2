"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

import fastnn
from fastnn._core import Tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples joined along a new first dimension, within whatever holds them.

    Tensors and arrays are stacked; ints give int64, bools bool, and Python floats
    float64; strings and bytes stay a list. Mappings, named tuples and sequences are
    joined entry by entry; a plain tuple becomes a list.

    Parameters: batch : sequence of samples of one form, at least one.

    Returns: that form, holding batches; tensors are fresh.

    Raises: ValueError for shapes or lengths that differ; TypeError for other types.

    Example:
        >>> from fastnn.data import default_collate
        >>> default_collate([(1, {"name": "a"}), (2, {"name": "b"})])
        [tensor([1, 2]), {'name': ['a', 'b']}]
    """
    if len(batch) == 0:
        raise ValueError("default_collate: expected at least one sample, got none")
    sample = batch[0]
    if isinstance(sample, Tensor):
        return _stack(batch)
    if isinstance(sample, (np.ndarray, np.generic)):
        if sample.dtype.kind not in "biuf":
            raise TypeError(
                f"default_collate: expected arrays of numbers, got dtype {sample.dtype}"
            )
        return fastnn.as_tensor(_stack_arrays(batch))
    if isinstance(sample, float):
        return fastnn.tensor(batch, dtype=fastnn.float64)
    if isinstance(sample, int):
        return fastnn.tensor(batch)
    if isinstance(sample, (str, bytes)):
        return batch
    if isinstance(sample, (Mapping, Sequence)):
        return _joined(sample, batch)
    raise TypeError(
        "default_collate: expected samples of tensors, arrays, numbers, strings, "
        f"mappings or sequences, got {type(sample).__name__} (hint: write a collate_fn)"
    )


def _joined(sample: Any, batch: Sequence[Any]) -> Any:
    """Mappings and sequences, entry by entry."""
    kind = type(sample)
    if isinstance(sample, Mapping):
        return _refilled(
            sample, {key: default_collate([s[key] for s in batch]) for key in sample}
        )
    lengths = {len(s) for s in batch}
    if len(lengths) > 1:
        raise ValueError(
            "default_collate: expected samples of equal length, got lengths "
            f"{sorted(lengths)}"
        )
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    if hasattr(sample, "_fields"):
        return kind(*columns)
    return columns if isinstance(sample, tuple) else _rebuilt(kind, columns)


def _refilled(sample: Any, entries: dict[Any, Any]) -> Any:
    """A mapping of the sample's kind with these entries, one for each of its keys."""
    if not isinstance(sample, MutableMapping):
        return _rebuilt(type(sample), entries)
    other = copy.copy(sample)  # keeps what else it has, as a defaultdict its factory
    other.update(entries)
    return other


def _rebuilt(kind: Callable[[Any], Any], entries: Any) -> Any:
    """The entries in a container of the samples' kind, where it can be made of them."""
    try:
        return kind(entries)
    except TypeError:
        return entries


def _stack(batch: Sequence[Tensor]) -> Tensor:
    first = batch[0]
    shapes = {t.shape for t in batch}
    if len(shapes) > 1:
        raise ValueError(
            "default_collate: expected samples of equal shape, got shapes "
            f"{sorted(map(tuple, shapes))}"
        )
    if first.ndim > 0:
        return fastnn.cat(batch).reshape((len(batch), *first.shape))
    if any(t.requires_grad or t.dtype is not first.dtype for t in batch):
        return fastnn.stack(batch)
    # Labels, mostly: by way of Python numbers is exact, and ten times as fast.
    return fastnn.tensor([t.item() for t in batch], dtype=first.dtype)


def _stack_arrays(batch: Sequence[Any]) -> Any:
    shapes = {s.shape for s in batch}
    if len(shapes) > 1:
        raise ValueError(
            f"default_collate: expected samples of equal shape, got shapes {sorted(shapes)}"
        )
    return np.stack(batch)


def default_convert(data: Any) -> Any:
    """A sample as it is, its arrays made tensors; what a loader does without batches.

    Parameters: data : a sample of any form.

    Returns: the same form; tensors share the memory of the arrays.

    Example:
        >>> import numpy
        >>> from fastnn.data import default_convert
        >>> default_convert({"x": numpy.ones(2), "name": "a"})
        {'x': tensor([1., 1.], dtype=fastnn.float64), 'name': 'a'}
    """
    if isinstance(data, (np.ndarray, np.generic)):
        return fastnn.as_tensor(data) if data.dtype.kind in "biuf" else data
    if isinstance(data, Mapping):
        return _refilled(data, {k: default_convert(v) for k, v in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(v) for v in data))
    if isinstance(data, tuple):
        return [default_convert(v) for v in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(type(data), [default_convert(v) for v in data])
    return data
