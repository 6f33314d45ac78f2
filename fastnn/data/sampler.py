"""Samplers: in which order the samples of a data set are taken.

Any iterable of indices will do. Those here draw their whole order when iteration starts,
so that it depends on nothing that is drawn later; the loader takes it as one tensor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

import fastnn
from fastnn._core import Tensor

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Indices of samples: subclass it, and write __iter__() and, if known, __len__().

    A sampler of one's own that draws random numbers should draw them where iteration
    starts, and from an attribute `generator` if not from the default one: then a loader
    can take up its order again (DataLoader.load_state_dict).
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(
            f"{type(self).__name__}: expected a method __iter__()"
        )


class OrderedSampler(Sampler[int]):
    """A sampler that knows its order in advance; subclasses write order()."""

    def order(self) -> Tensor:
        """The indices of an epoch, drawn now: Tensor (n,) of integers."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method order()")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())


class SequentialSampler(OrderedSampler):
    """0, 1, ..., len(data_source) - 1.

    Example:
        >>> from fastnn.data import SequentialSampler
        >>> list(SequentialSampler("abc"))
        [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def order(self) -> Tensor:
        """0, 1, ..., len(data_source) - 1."""
        return fastnn.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(OrderedSampler):
    """The samples in random order, a new one each time.

    Parameters:
        data_source : what has a length.
        replacement : bool: each draw is from all samples.
        num_samples : int >= 1: draws; None: len(data_source). Without replacement and
            above the length, every sample comes once before any comes again.
        generator : Generator, or None for the default one.

    Raises: TypeError or ValueError for arguments out of range.

    Example:
        >>> import fastnn
        >>> from fastnn.data import RandomSampler
        >>> sorted(RandomSampler("abc", generator=fastnn.Generator(0)))
        [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: fastnn.Generator | None = None,
    ) -> None:
        _check_flag("RandomSampler", replacement)
        if num_samples is not None:
            check_positive("RandomSampler", "num_samples", num_samples)
        self.data_source = data_source
        self.replacement = replacement
        self.generator = generator
        self._num_samples = num_samples

    @property
    def num_samples(self) -> int:
        """How many indices an epoch has."""
        n = self._num_samples
        return len(self.data_source) if n is None else n

    def order(self) -> Tensor:
        """A permutation, or independent draws, from the generator."""
        n, draws = len(self.data_source), self.num_samples
        if n == 0 and draws > 0:
            raise ValueError("RandomSampler: expected samples to draw from, got none")
        if self.replacement:
            return _draws(n, draws, self.generator)
        if draws == n:
            return fastnn.randperm(n, generator=self.generator)
        rounds = [
            fastnn.randperm(n, generator=self.generator) for _ in range(-(-draws // n))
        ]
        return fastnn.cat(rounds).narrow(0, 0, draws)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(OrderedSampler):
    """The given indices in random order, each once.

    Parameters:
        indices : sequence of int.
        generator : Generator, or None for the default one.

    Example:
        >>> from fastnn.data import SubsetRandomSampler
        >>> sorted(SubsetRandomSampler([7, 3, 5]))
        [3, 5, 7]
    """

    def __init__(
        self, indices: Sequence[int], generator: fastnn.Generator | None = None
    ) -> None:
        self.indices = indices
        self.generator = generator

    def order(self) -> Tensor:
        """The indices, permuted."""
        chosen = index_tensor("SubsetRandomSampler", self.indices)
        drawn = fastnn.randperm(len(chosen), generator=self.generator)
        return fastnn.index_select(chosen, 0, drawn)

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(OrderedSampler):
    """Index i with probability weights[i] / sum(weights).

    Parameters:
        weights : sequence of float >= 0, not all 0.
        num_samples : int >= 1: draws.
        replacement : bool: False draws each index once at most.
        generator : Generator, or None for the default one.

    Raises: TypeError or ValueError for weights or counts that cannot be drawn.

    Source: without replacement, P. Efraimidis, P. Spirakis, "Weighted random sampling
        with a reservoir", Information Processing Letters 97 (2006), 181-185.

    Example:
        >>> from fastnn.data import WeightedRandomSampler
        >>> list(WeightedRandomSampler([0, 1, 0], num_samples=3))
        [1, 1, 1]
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: fastnn.Generator | None = None,
    ) -> None:
        name = "WeightedRandomSampler"
        check_positive(name, "num_samples", num_samples)
        _check_flag(name, replacement)
        values = np.array(weights, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"{name}: expected finite weights (n,) of at least 0")
        if not values.any():
            raise ValueError(f"{name}: expected a weight above 0, got none")
        if not replacement and num_samples > np.count_nonzero(values):
            raise ValueError(
                f"{name}: expected at most {np.count_nonzero(values)} draws without "
                f"replacement, the number of weights above 0, got {num_samples}"
            )
        self.weights = fastnn.from_numpy(values)
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def order(self) -> Tensor:
        """num_samples draws from the generator."""
        weights = self.weights.numpy()
        size = self.num_samples if self.replacement else len(weights)
        uniform = fastnn.uniform(
            (size,), generator=self.generator, dtype=fastnn.float64
        )
        if self.replacement:
            # The sum is one running addition, the same on every machine.
            total = np.cumsum(weights / weights.max())
            drawn = np.searchsorted(total, uniform.numpy() * total[-1], side="right")
            last = np.flatnonzero(weights)[-1]  # where rounding reached the end
            return fastnn.from_numpy(np.minimum(drawn, last).astype(np.int64))
        # The largest of u^(1/w): the smallest of -log(1 - u) / w, u in [0, 1).
        exponential = -fastnn.log(1 - uniform).numpy()
        key = np.full(len(weights), np.inf)
        np.divide(exponential, weights, out=key, where=weights > 0)
        first = np.argsort(key, kind="stable")[:size]
        return fastnn.from_numpy(first[: self.num_samples].astype(np.int64))

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The indices of another sampler in lists of batch_size.

    Parameters:
        sampler : iterable of int.
        batch_size : int >= 1.
        drop_last : bool: leave out a last list that is shorter.

    Example:
        >>> from fastnn.data import BatchSampler
        >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, sampler: Iterable[Any], batch_size: int, drop_last: bool
    ) -> None:
        check_positive("BatchSampler", "batch_size", batch_size)
        _check_flag("BatchSampler", drop_last, "drop_last")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        n: int = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def index_tensor(name: str, indices: Any) -> Tensor:
    """Indices of any kind as a Tensor (n,) of integers; `name` is who says what is wrong."""
    array = indices.numpy() if isinstance(indices, Tensor) else np.asarray(indices)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: expected a sequence of integers, got {array.dtype} of shape "
            f"{array.shape}"
        )
    return fastnn.as_tensor(array)


def _draws(n: int, draws: int, generator: fastnn.Generator | None) -> Tensor:
    """Integers below n, independent of each other."""
    uniform = fastnn.uniform((draws,), generator=generator, dtype=fastnn.float64)
    # 53 random bits: u n stays below n, and no index is favoured by more than n / 2^53.
    return fastnn.from_numpy((uniform.numpy() * n).astype(np.int64))


def check_positive(name: str, what: str, value: Any) -> None:
    """Raises unless value is an integer of at least 1; `name` is who asks."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {what} as an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected {what} of at least 1, got {value}")


def _check_flag(name: str, value: Any, what: str = "replacement") -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected {what} as True or False, got {value!r}")
