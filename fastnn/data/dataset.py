"""Data sets: anything with __getitem__ and __len__, or with __iter__.

A data set may also have __getitems__(indices), which gives the samples of a whole batch
as a list; the loader then calls that instead of __getitem__ for each.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np

import fastnn
from fastnn._core import Tensor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by index: subclass it, and write __getitem__(index) and __len__().

    Example:
        >>> from fastnn.data import DataLoader, Dataset
        >>> class Squares(Dataset):
        ...     def __getitem__(self, index):
        ...         return index, index * index
        ...     def __len__(self):
        ...         return 3
        >>> [y.tolist() for x, y in DataLoader(Squares(), batch_size=2)]
        [[0, 1], [4]]
    """

    def __getitem__(self, index: Any) -> T_co:
        name = type(self).__name__
        raise NotImplementedError(f"{name}: expected a method __getitem__(index)")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Samples in the order in which __iter__ gives them: streams, files, generators.

    Example:
        >>> from fastnn.data import DataLoader, IterableDataset
        >>> class Count(IterableDataset):
        ...     def __iter__(self):
        ...         return iter(range(5))
        >>> [batch.tolist() for batch in DataLoader(Count(), batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(
            f"{type(self).__name__}: expected a method __iter__()"
        )


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """The rows of tensors: sample i is (tensors[0][i], tensors[1][i], ...), views.

    A loader gathers whole batches of it natively, one call for each tensor.

    Parameters:
        tensors : Tensors or NumPy arrays of equal length; arrays are not copied where
            fastnn has their dtype.

    Raises: ValueError for unequal lengths, no tensor at all, or one without dimensions.

    Example:
        >>> import fastnn
        >>> from fastnn.data import TensorDataset
        >>> data = TensorDataset(fastnn.zeros(3, 2), fastnn.arange(3))
        >>> len(data), data[2]
        (3, (tensor([0., 0.]), tensor(2)))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(fastnn.as_tensor(t) for t in tensors)
        shapes = [tuple(t.shape) for t in self.tensors]
        if not shapes:
            raise ValueError("TensorDataset: expected at least one tensor, got none")
        if () in shapes:
            raise ValueError(
                f"TensorDataset: expected tensors with dimensions, got shapes {shapes}"
            )
        if len({shape[0] for shape in shapes}) > 1:
            raise ValueError(
                "TensorDataset: expected tensors of equal length, got lengths "
                f"{[shape[0] for shape in shapes]}"
            )

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        if isinstance(index, int):  # the same, faster
            return tuple(t.select(0, index) for t in self.tensors)
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class Subset(Dataset[T_co]):
    """Those samples of a data set that indices names, in that order.

    Parameters:
        dataset : Dataset.
        indices : sequence of int: list, range, array or Tensor.

    Example:
        >>> from fastnn.data import Subset
        >>> part = Subset("abcdef", [5, 0])
        >>> part[0], len(part)
        ('f', 2)
    """

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return self.dataset[[int(self.indices[i]) for i in index]]
        return self.dataset[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int]) -> list[T_co]:
        chosen = [int(self.indices[i]) for i in indices]
        together = getattr(self.dataset, "__getitems__", None)
        if callable(together):
            return cast("list[T_co]", together(chosen))
        return [self.dataset[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[T_co]):
    """Data sets one after the other; the same as a + b.

    Parameters: datasets : iterable of Datasets, at least one.

    Raises: ValueError where there is none; TypeError for an IterableDataset.

    Example:
        >>> from fastnn.data import ConcatDataset
        >>> both = ConcatDataset(["ab", "cde"])
        >>> len(both), both[2], both[-1]
        (5, 'c', 'e')
    """

    datasets: list[Dataset[T_co]]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Dataset[T_co]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: expected at least one dataset, got none")
        for part in self.datasets:
            if isinstance(part, IterableDataset):
                raise TypeError(
                    "ConcatDataset: expected datasets with indices, got the "
                    f"IterableDataset {type(part).__name__} (hint: itertools.chain)"
                )
        lengths = [len(cast("Sequence[Any]", part)) for part in self.datasets]
        self.cumulative_sizes = list(itertools.accumulate(lengths))

    def __getitem__(self, index: Any) -> T_co:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(
                f"ConcatDataset: expected an index from {-n} to {n - 1}, got {index}"
            )
        index += n if index < 0 else 0
        part = bisect.bisect_right(self.cumulative_sizes, index)
        before = self.cumulative_sizes[part - 1] if part else 0
        return self.datasets[part][index - before]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def random_split(
    dataset: Dataset[T],
    lengths: Sequence[int | float],
    generator: fastnn.Generator | None = fastnn.default_generator,
) -> list[Subset[T]]:
    """Cut a data set at random into parts that do not overlap.

    Parameters:
        dataset : Dataset with a length.
        lengths : sequence of int that adds up to len(dataset); or of float that adds up
            to 1: each part gets floor(n * fraction), and what is left goes to the parts
            in turn, one sample each.
        generator : Generator, or None for the default one.

    Returns: list of Subset.

    Raises: ValueError for lengths that do not add up.

    Example:
        >>> import fastnn
        >>> from fastnn.data import random_split
        >>> train, test = random_split(range(10), [0.8, 0.2])
        >>> len(train), len(test)
        (8, 2)
    """
    total = len(cast("Sequence[Any]", dataset))
    counts = _counts(lengths, total)
    order = fastnn.randperm(total, generator=generator).tolist()
    ends = list(itertools.accumulate(counts))
    return [
        Subset(dataset, order[end - count : end])
        for count, end in zip(counts, ends, strict=True)
    ]


def _counts(lengths: Sequence[int | float], total: int) -> list[int]:
    """Samples in each part of `total`."""
    values = list(lengths)
    if math.isclose(sum(values), 1):
        if any(not 0 <= v <= 1 for v in values):
            raise ValueError(
                f"random_split: expected fractions from 0 to 1, got {values}"
            )
        counts = [math.floor(total * v) for v in values]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                warnings.warn(f"random_split: part {i} is empty", stacklevel=3)
        return counts
    whole = all(isinstance(v, (int, np.integer)) and v >= 0 for v in values)
    if not whole or sum(values) != total:
        raise ValueError(
            f"random_split: expected lengths that add up to {total}, or fractions that "
            f"add up to 1, got {values}"
        )
    return [int(v) for v in values]
