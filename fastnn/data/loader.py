"""DataLoader: a data set in batches, shuffled, read ahead, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, repeat
from typing import Any, Generic, TypeVar

import fastnn
from fastnn.data._gather import index_batches, reader
from fastnn.data._prefetch import read_ahead
from fastnn.data.collate import default_collate, default_convert
from fastnn.data.dataset import IterableDataset
from fastnn.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
)
from fastnn.ops.random import drawing_from

T_co = TypeVar("T_co", covariant=True)
_END = object()  # what reading gives after the last sample of an IterableDataset


class _Position:
    """Where an epoch stands."""

    def __init__(self, order: fastnn.Tensor | None, batches: int) -> None:
        self.order = order  # the generator's state before the epoch's order was drawn
        self.batches = batches  # handed out


class DataLoader(Generic[T_co]):
    """Batches of a data set: iterate over it, once for each epoch.

    With a TensorDataset, a Tensor or a NumPy array, and with Subsets of them, each batch
    is gathered by one native call for each tensor. Batches are always copies: writing
    into one changes no sample. (batch_size=None hands out samples as the data set gives
    them.) Other data sets are asked for their samples one by one, or for a batch of them
    by __getitems__(indices) where they have it.

    The order of an epoch is drawn where its iteration starts, on the caller's thread.

    Parameters:
        dataset : what has __getitem__ and __len__, or an IterableDataset.
        batch_size : int >= 1, or None for single samples.
        shuffle : bool: a new random order for each epoch.
        sampler : iterable of indices, instead of shuffle.
        batch_sampler : iterable of lists of indices, instead of batch_size, shuffle,
            sampler and drop_last.
        num_workers : int: 0 reads on the caller's thread; any more reads ahead, on one
            background thread. A thread, never processes: nothing has to be pickled, and
            native code runs beside the training; data sets in pure Python gain little. A
            data set that draws random numbers there should have a Generator of its own.
        collate_fn : callable: list of samples -> batch; None: default_collate (without
            batches default_convert).
        drop_last : bool: leave out a last batch that is smaller.
        generator : Generator of the shuffling; None: the default one.
        batch_transform : callable, given each batch where it is read (on the background
            thread, with num_workers): f(x, y) for a batch [x, y], f(batch) for one that is
            no list or tuple; a tuple that it gives back becomes a list. Random numbers that
            it draws without a generator of its own, as fastnn.transforms do, come from one
            for each batch, seeded from the loader's generator where an epoch starts. So
            they differ from epoch to epoch, and are the same with num_workers, without,
            and where an epoch is resumed.
        prefetch_factor : int >= 1: batches read ahead, with num_workers; None: 2.
        pin_memory, persistent_workers : PyTorch's hints for devices and processes that
            are not there: either value is true of this loader.
        timeout, worker_init_fn, multiprocessing_context, pin_memory_device, in_order :
            PyTorch's, at their defaults only: there are no worker processes, and no
            device memory.

    Raises: TypeError or ValueError for arguments that exclude each other, or have no
        meaning here.

    Example:
        >>> import fastnn
        >>> from fastnn.data import DataLoader, TensorDataset
        >>> data = TensorDataset(fastnn.arange(5), fastnn.arange(5) * 10)
        >>> for x, y in DataLoader(data, batch_size=2):
        ...     print(x.tolist(), y.tolist())
        [0, 1] [0, 10]
        [2, 3] [20, 30]
        [4] [40]
    """

    _made = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: fastnn.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        batch_transform: Callable[..., Any] | None = None,
    ) -> None:
        _refuse(
            pin_memory_device=(pin_memory_device, "", "there is no device memory"),
            timeout=(timeout, 0, "the thread that reads ahead is waited for"),
            worker_init_fn=(worker_init_fn, None, "there are no worker processes"),
            multiprocessing_context=(
                multiprocessing_context,
                None,
                "there are no worker processes",
            ),
            in_order=(in_order, True, "batches always come in order"),
        )
        self.dataset = dataset
        self.num_workers = _count("num_workers", num_workers, 0)
        if prefetch_factor is not None and self.num_workers == 0:
            raise ValueError(
                "DataLoader: expected prefetch_factor=None with num_workers=0, which "
                f"reads nothing ahead, got {prefetch_factor}"
            )
        self.prefetch_factor = (
            None
            if self.num_workers == 0
            else 2
            if prefetch_factor is None
            else _count("prefetch_factor", prefetch_factor, 1)
        )
        self._choose_samplers(
            batch_size, shuffle, sampler, batch_sampler, drop_last, generator
        )
        self.generator = generator
        self._may_gather = collate_fn is None or collate_fn is default_collate
        batched = self.batch_size is not None or self.batch_sampler is not None
        default = default_collate if batched else default_convert
        self.collate_fn = default if collate_fn is None else collate_fn
        if batch_transform is not None and not callable(batch_transform):
            raise TypeError(
                "DataLoader: expected batch_transform as a function, got "
                f"{batch_transform!r}"
            )
        self.batch_transform = batch_transform
        self._position = _Position(None, 0)
        self._resuming = False
        self._made = True

    def _choose_samplers(
        self,
        batch_size: int | None,
        shuffle: bool | None,
        sampler: Iterable[Any] | None,
        batch_sampler: Iterable[Any] | None,
        drop_last: bool,
        generator: fastnn.Generator | None,
    ) -> None:
        """Sets sampler, batch_sampler, batch_size and drop_last, or says what clashes."""
        stream = isinstance(self.dataset, IterableDataset)
        own_order = sampler is not None or batch_sampler is not None
        if stream and (shuffle or own_order):
            raise ValueError(
                "DataLoader: expected no shuffle, sampler or batch_sampler with an "
                "IterableDataset, which gives its samples in its own order"
            )
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: expected a sampler or shuffle=True, got both")
        if generator is not None and not isinstance(generator, fastnn.Generator):
            raise TypeError(
                f"DataLoader: expected generator as a Generator, got {generator!r}"
            )
        if own_order and generator is not None:
            raise ValueError(
                "DataLoader: expected no generator with a sampler or batch_sampler, "
                "which draws by itself (hint: give the generator to the sampler)"
            )
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "DataLoader: expected a batch_sampler alone, got it with batch_size, "
                    "shuffle, sampler or drop_last"
                )
            batch_size = None
        elif batch_size is None:
            if drop_last:
                raise ValueError(
                    "DataLoader: expected drop_last=False with batch_size=None, which "
                    "makes no batches"
                )
        else:
            batch_size = _count("batch_size", batch_size, 1)
        if sampler is None and not stream:
            sampler = (
                RandomSampler(self.dataset, generator=generator)
                if shuffle
                else SequentialSampler(self.dataset)
            )
        if batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, bool(drop_last))
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.batch_size = batch_size
        self.drop_last = bool(drop_last)

    def __setattr__(self, name: str, value: Any) -> None:
        fixed = ("dataset", "sampler", "batch_sampler", "batch_size", "drop_last")
        if self._made and name in fixed:
            raise ValueError(
                f"DataLoader: expected {name} to stay as it is (hint: make another loader)"
            )
        super().__setattr__(name, value)

    def __len__(self) -> int:
        """Batches in an epoch. Raises: TypeError where samplers or data do not know."""
        n: int
        if self.batch_sampler is not None:
            n = len(self.batch_sampler)  # type: ignore[arg-type]
            return n
        n = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    # ---- iterating ----

    def __iter__(self) -> Iterator[Any]:
        source = self._source()
        if self._resuming:
            position = self._position
            self._resuming = False
        else:
            position = _Position(None, 0)
        self._position = position
        if position.order is None:
            position.order = source.get_state()
            read, tasks = self._plan(0)
        else:  # draw as then, and leave the generator as it is now
            now = source.get_state()
            source.set_state(position.order)
            try:
                read, tasks = self._plan(position.batches)
            finally:
                source.set_state(now)
        if self.prefetch_factor is not None:
            tasks, read = read_ahead(read, tasks, self.prefetch_factor), _as_it_is
        return _batches(read, tasks, position)

    def _plan(self, skip: int) -> tuple[Callable[[Any], Any], Iterator[Any]]:
        """How to read a batch, and of what, batch for batch; the first `skip` left out."""
        read, tasks = self._reading(skip)
        transform = self.batch_transform
        if transform is None:
            return read, tasks
        seed = int(fastnn.randint(0, 2**53, (), generator=self._source()))
        return (
            lambda task: _transformed(read(task[1]), transform, seed, task[0]),
            enumerate(tasks, skip),
        )

    def _reading(self, skip: int) -> tuple[Callable[[Any], Any], Iterator[Any]]:
        """The same, without batch_transform."""
        collate, size = self.collate_fn, self.batch_size
        if isinstance(self.dataset, IterableDataset):
            samples = iter(self.dataset)
            for _ in islice(samples, skip * (size or 1)):
                pass
            if size is None:
                return lambda _: _next(samples, collate), repeat(None)
            least = size if self.drop_last else 1
            return lambda _: _take(samples, size, least, collate), repeat(None)
        dataset = self.dataset
        if self.batch_sampler is None:
            assert self.sampler is not None
            return lambda i: collate(dataset[i]), index_batches(
                self.sampler, skip, False
            )
        gather = reader(dataset) if self._may_gather else None
        tasks = index_batches(self.batch_sampler, skip, gather is not None)
        if gather is not None:
            return gather, tasks
        together = getattr(dataset, "__getitems__", None)
        if callable(together):
            return lambda batch: collate(together(batch)), tasks
        return lambda batch: collate([dataset[i] for i in batch]), tasks

    # ---- the position ----

    def _source(self) -> fastnn.Generator:
        """The generator that the order is drawn from."""
        within = getattr(self.batch_sampler, "sampler", None)
        for holder in (self, self.sampler, self.batch_sampler, within):
            found = getattr(holder, "generator", None)
            if isinstance(found, fastnn.Generator):
                return found
        return fastnn.default_generator

    def _shape(self) -> dict[str, Any]:
        """What must be equal for a position to mean the same."""
        try:
            length = len(self)
        except TypeError:
            length = None
        return {"batch_size": self.batch_size, "length": length}

    def state_dict(self) -> dict[str, Any]:
        """The position within the epoch, of the iterator made last.

        Counted are the batches handed out, not those read ahead. Between epochs it says
        that none was; the next order is then drawn from the generator as it stands: one
        of the loader's own is part of the state, the default one has to be kept beside
        it (get_rng_state, set_rng_state).

        Returns: dict of ints, None, and tensors int64 (2,); fastnn.save takes it.

        Example:
            >>> from fastnn.data import DataLoader
            >>> loader = DataLoader(range(4), shuffle=True)
            >>> batches = iter(loader)
            >>> first, state = next(batches), loader.state_dict()
            >>> rest = [x.item() for x in batches]
            >>> loader.load_state_dict(state)
            >>> [x.item() for x in loader] == rest
            True
        """
        source, order = self._source(), self._position.order
        own = source is not fastnn.default_generator
        return {
            "batches": self._position.batches,
            "order": None if order is None else order.clone(),
            "generator": source.get_state() if own else None,
            **self._shape(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a position: the next iteration goes on exactly there.

        It goes through the rest of that epoch, in the order that was drawn then; those
        after it are whole. The default generator is left as it is. Batches are passed
        over without being read; of an IterableDataset the samples are read and dropped.

        Parameters: state_dict : what state_dict() of such a loader gave.

        Raises: ValueError for the state of another kind of loader.
        """
        source = self._source()
        own = source is not fastnn.default_generator
        expected = {"batches", "order", "generator", "batch_size", "length"}
        if set(state_dict) != expected:
            raise ValueError(
                f"load_state_dict: expected entries {sorted(expected)}, got "
                f"{sorted(state_dict)}"
            )
        for name, value in self._shape().items():
            if state_dict[name] != value:
                raise ValueError(
                    f"load_state_dict: expected the state of a loader with {name} "
                    f"{value}, got {state_dict[name]}"
                )
        if (state_dict["generator"] is not None) != own:
            raise ValueError(
                "load_state_dict: expected the state of a loader with "
                f"{'a generator of its own' if own else 'the default generator'}"
            )
        batches = _count("batches", state_dict["batches"], 0)
        if batches > (state_dict["length"] or batches):
            raise ValueError(
                f"load_state_dict: expected batches of at most {state_dict['length']}, "
                f"got {batches}"
            )
        order = state_dict["order"]
        if order is None and batches > 0:
            raise ValueError(
                f"load_state_dict: expected an order with {batches} batches, got None"
            )
        if order is not None:  # checked, and a copy
            order = fastnn.Generator(0).set_state(fastnn.as_tensor(order)).get_state()
        if own:
            source.set_state(fastnn.as_tensor(state_dict["generator"]))
        self._position = _Position(order, batches)
        self._resuming = True


def _batches(
    read: Callable[[Any], Any], tasks: Iterator[Any], position: _Position
) -> Iterator[Any]:
    """read(task) for each task, counted when it is handed out; the position ends too."""
    for task in tasks:
        batch = read(task)
        if batch is _END:
            break
        position.batches += 1
        yield batch
    position.order, position.batches = None, 0


def _transformed(
    batch: Any, transform: Callable[..., Any], seed: int, number: int
) -> Any:
    """A batch after the transform, which draws from the seed's numbers for that batch."""
    if batch is _END:
        return batch
    # a batch has 2^40 blocks of random numbers to itself
    state = fastnn.tensor([seed, number << 40], dtype=fastnn.int64)
    with drawing_from(fastnn.Generator(seed).set_state(state)):
        if not isinstance(batch, list | tuple):
            return transform(batch)
        result = transform(*batch)
    return list(result) if isinstance(result, tuple) else result


def _as_it_is(batch: Any) -> Any:
    return batch


def _next(samples: Iterator[Any], collate: Callable[[Any], Any]) -> Any:
    """The next sample, or _END."""
    sample = next(samples, _END)
    return sample if sample is _END else collate(sample)


def _take(
    samples: Iterator[Any], size: int, least: int, collate: Callable[[Any], Any]
) -> Any:
    """A batch of the next samples, or _END where there are fewer than `least`."""
    batch = list(islice(samples, size))
    return collate(batch) if len(batch) >= least else _END


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"DataLoader: expected {name} as an integer, got {value!r}")
    if value < least:
        raise ValueError(
            f"DataLoader: expected {name} of at least {least}, got {value}"
        )
    return int(value)


def _refuse(**arguments: tuple[Any, Any, str]) -> None:
    """Raises for an argument (value, the only one taken, why) with another value."""
    for name, (value, only, why) in arguments.items():
        if value != only:
            raise ValueError(
                f"DataLoader: expected {name}={only!r}, got {value!r}: {why}"
            )
