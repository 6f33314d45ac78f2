"""Whole batches from data sets that are rows of tensors: no Python for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, cast

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.data.dataset import Subset, TensorDataset
from fastnn.data.sampler import BatchSampler, OrderedSampler, index_tensor

Reader = Callable[[Tensor], Any]  # indices of a batch -> the batch


def index_batches(sampler: Iterable[Any], skip: int, tensors: bool) -> Iterator[Any]:
    """The batches of indices of an epoch, its order drawn now; the first `skip` left out.

    They come as tensors, or else as the sampler gives them.
    """
    ordered = _ordered(sampler.sampler) if type(sampler) is BatchSampler else None
    if type(sampler) is BatchSampler and ordered is not None:
        order, size = ordered.order(), sampler.batch_size
        n = len(order)
        end = n // size * size if sampler.drop_last else n
        starts = range(skip * size, end, size)
        if tensors:
            return (order.narrow(0, a, min(size, end - a)) for a in starts)
        return (order.narrow(0, a, min(size, end - a)).tolist() for a in starts)
    batches = iter(sampler)
    # Generators begin with the first item: ask for it, so that random ones draw now.
    first = list(islice(batches, skip, skip + 1))
    batches = chain(first, batches)
    return (index_tensor("DataLoader", b) for b in batches) if tensors else batches


def _ordered(sampler: Any) -> OrderedSampler | None:
    """The sampler, where order() is what iteration gives: subclasses may differ."""
    if getattr(type(sampler), "__iter__", None) is OrderedSampler.__iter__:
        return cast(OrderedSampler, sampler)
    return None


def reader(dataset: Any) -> Reader | None:
    """How to read whole batches of a data set as default_collate would make them.

    None where samples have to be asked for one by one. Batches never share memory with
    the data set: whoever writes into a batch changes no sample.
    """
    select = fastnn.index_select
    if isinstance(dataset, Subset) and _reads_as(dataset, Subset):
        read = reader(dataset.dataset)
        if read is None:
            return None
        chosen = index_tensor("Subset", dataset.indices)
        return lambda index: read(select(chosen, 0, index))
    if isinstance(dataset, TensorDataset) and _reads_as(dataset, TensorDataset):
        tensors = dataset.tensors
        return lambda index: [select(t, 0, index) for t in tensors]
    rows = dataset if isinstance(dataset, Tensor) else _shared(dataset)
    if rows is None or rows.ndim == 0:
        return None
    return lambda index: select(rows, 0, index)


def _reads_as(dataset: Any, kind: Any) -> bool:
    """Whether a data set of that kind, or of a subclass, reads samples as the kind does."""
    own = type(dataset)
    names = ("__getitem__", "__getitems__")
    return all(getattr(own, n, None) is getattr(kind, n, None) for n in names)


def _shared(dataset: Any) -> Tensor | None:
    """A plain NumPy array as a Tensor over its memory, where that can be."""
    if type(dataset) is np.ndarray:
        with suppress(TypeError, ValueError):
            return fastnn.from_numpy(dataset)
    return None
