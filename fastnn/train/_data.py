"""What a Trainer takes as data, made batches of tensors: arrays, datasets, loaders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.data import DataLoader, Dataset, Subset, TensorDataset
from fastnn.datasets import Split
from fastnn.nn import Module

HELD_OUT_SEED = 0  # of the share held out for validation: the same in every run
BATCH_SIZE = 32


def model_dtype(model: Module) -> fastnn.dtype:
    """The dtype of the first floating parameter; float32 without one."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return fastnn.float32


def as_tensor(value: Any, dtype: fastnn.dtype, who: str) -> Tensor:
    """An array, list or Tensor as a Tensor: numbers in dtype, integers as int64.

    bool and uint8 stay what they are.
    """
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = array.astype(dtype.numpy, copy=False)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64, copy=False)
    elif array.dtype.kind != "b" and array.dtype != np.uint8:
        raise TypeError(
            f"{who}: expected numbers, got an array of {array.dtype} "
            f"(from {type(value).__name__}, shape {array.shape})"
        )
    if not array.flags.writeable:
        array = array.copy()
    return fastnn.as_tensor(array)


def _columns(value: Any, dtype: fastnn.dtype, who: str) -> tuple[Tensor, ...]:
    """x as one input, or a tuple of inputs, made tensors of one length."""
    parts = value if isinstance(value, tuple) else (value,)
    tensors = tuple(as_tensor(part, dtype, who) for part in parts)
    for tensor in tensors:
        if tensor.ndim == 0:
            raise ValueError(f"{who}: expected samples along dimension 0, got a scalar")
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f"{who}: expected inputs of one length, got {lengths}")
    return tensors


def is_arrays(value: Any) -> bool:
    """Whether it is one array: a Tensor, a NumPy array or what turns into one."""
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "__array__")


def pair(data: Any, dtype: fastnn.dtype, who: str) -> Dataset[Any]:
    """A Dataset of samples (x, y) from arrays (x, y)."""
    if len(data) != 2:
        raise ValueError(f"{who}: expected arrays (x, y), got {len(data)} of them")
    x, y = data
    inputs = _columns(x, dtype, who)
    target = as_tensor(y, dtype, who)
    if target.ndim == 0 or len(inputs[0]) != len(target):
        got = len(target) if target.ndim else "a scalar"
        raise ValueError(
            f"{who}: expected as many targets as samples, got {len(inputs[0])} samples "
            f"and {got} targets"
        )
    return TensorDataset(*inputs, target)


def batches(
    data: Any,
    dtype: fastnn.dtype,
    who: str,
    *,
    batch_size: int | None,
    shuffle: bool | None,
) -> tuple[Iterable[Any], bool]:
    """Batches from whatever was given, and whether each is a flat row of tensors.

    Parameters:
        data : arrays (x, y); a Dataset; or an iterable of batches, taken as it is.
        batch_size, shuffle : for arrays and Datasets; others have their own.

    Returns: (iterable, flat): flat batches are (x1, ..., y) from arrays, others (x, y).
    """
    if isinstance(data, tuple):
        data, flat = pair(data, dtype, who), True
    elif isinstance(data, Dataset):
        flat = isinstance(data, TensorDataset)
    elif is_arrays(data):
        raise TypeError(f"{who}: expected (x, y), got x alone")
    else:
        return _loader(data, who, batch_size, shuffle), False
    size = BATCH_SIZE if batch_size is None else batch_size
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"{who}: expected batch_size of at least 1, got {size!r}")
    if length(data) == 0:
        raise ValueError(f"{who}: expected at least one sample, got none")
    return DataLoader(data, batch_size=int(size), shuffle=bool(shuffle)), flat


def _loader(
    data: Any, who: str, batch_size: int | None, shuffle: bool | None
) -> Iterable[Any]:
    if not hasattr(data, "__iter__") or isinstance(data, str | dict):
        raise TypeError(
            f"{who}: expected arrays (x, y), a Dataset or a DataLoader, got "
            f"{type(data).__name__}"
        )
    if hasattr(data, "__next__"):
        raise TypeError(
            f"{who}: an iterator is used up after one epoch; expected a DataLoader or "
            "another iterable that can be run through again"
        )
    for name, value in (("batch_size", batch_size), ("shuffle", shuffle)):
        if value is not None:
            raise ValueError(
                f"{who}: {name} is the loader's own; expected it for arrays and Datasets "
                f"only, got {value!r} with {type(data).__name__}"
            )
    if length(data) == 0:
        raise ValueError(f"{who}: expected at least one batch, got none")
    loader: Iterable[Any] = data
    return loader


def length(data: Any) -> int | None:
    """len(data), or None where it has none."""
    try:
        return len(data)
    except TypeError:
        return None


def hold_out(data: Any, share: float, dtype: fastnn.dtype, who: str) -> tuple[Any, Any]:
    """Cut data in two at random: what is left, and the share held out.

    The cut depends on the number of samples alone, so a resumed run makes it again.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"{who}: expected a share between 0 and 1 as validation, got {share}"
        )
    data = pair(data, dtype, who) if isinstance(data, tuple) else data
    n = length(data) if isinstance(data, Dataset) else None
    if n is None:
        raise TypeError(
            f"{who}: a share can be held out of arrays and Datasets, not of "
            f"{type(data).__name__}; give validation its own data"
        )
    count = round(n * share)
    if not 0 < count < n:
        raise ValueError(
            f"{who}: {share} of {n} samples held out leaves no samples on one side"
        )
    order = fastnn.randperm(n, generator=fastnn.Generator(HELD_OUT_SEED))
    rows = (order[count:], order[:count])
    if isinstance(data, TensorDataset):
        kept, held = (TensorDataset(*(t[r] for t in data.tensors)) for r in rows)
        return kept, held
    return tuple(Subset(data, r.tolist()) for r in rows)  # type: ignore[return-value]


def unpack(
    batch: Any, dtype: fastnn.dtype, flat: bool, who: str
) -> tuple[tuple[Any, ...], Any]:
    """A batch as (inputs, target), tensors; arrays are converted, tensors left alone."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else "one"
        raise TypeError(
            f"{who}: expected batches (x, y), got {what} ({type(batch).__name__})"
        )
    if flat:
        *inputs, target = batch
        return tuple(inputs), target
    if len(batch) != 2:
        raise TypeError(
            f"{who}: expected batches (x, y), got {len(batch)} parts; several inputs are "
            "written ((x1, x2), y)"
        )
    x, target = batch
    if not isinstance(target, Tensor | dict) and not is_several(target):
        target = as_tensor(target, dtype, who)
    return inputs_of(x, dtype, who), target


def is_several(part: Any) -> bool:
    """Whether it is a tuple, or the list of Tensors that default_collate makes of one."""
    if isinstance(part, list):
        return bool(part) and all(isinstance(p, Tensor) for p in part)
    return isinstance(part, tuple)


def inputs_of(x: Any, dtype: fastnn.dtype, who: str) -> tuple[Any, ...]:
    """A batch's x as the arguments of the model."""
    parts = x if is_several(x) else (x,)
    return tuple(
        p if isinstance(p, Tensor) else as_tensor(p, dtype, who) for p in parts
    )


def prediction_batches(
    data: Any, dtype: fastnn.dtype, who: str, batch_size: int | None
) -> Iterable[tuple[Any, ...]]:
    """The model's arguments, batch by batch: from x, (x1, x2), a Dataset or a loader."""
    if isinstance(data, Split):
        data = data.images
    if is_arrays(data) or isinstance(data, tuple):
        data = TensorDataset(*_columns(data, dtype, who))
        inputs = len(data.tensors)
    elif isinstance(data, list) and not any(isinstance(d, tuple) for d in data):
        data, inputs = TensorDataset(as_tensor(data, dtype, who)), 1
    elif isinstance(data, TensorDataset):
        inputs = max(len(data.tensors) - 1, 1)
    else:
        inputs = 0
    if isinstance(data, Dataset):
        loader, _ = batches(data, dtype, who, batch_size=batch_size, shuffle=None)
    else:
        loader = _loader(data, who, batch_size, None)
    for batch in loader:
        if inputs:
            yield tuple(batch[:inputs])
        elif isinstance(batch, tuple | list):
            yield inputs_of(batch[0], dtype, who)
        else:
            yield inputs_of(batch, dtype, who)
