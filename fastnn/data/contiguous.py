"""Batches of one long sequence, each going on where the one before has ended."""

from __future__ import annotations

from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.data.dataset import Dataset
from fastnn.data.loader import DataLoader
from fastnn.data.sampler import check_positive


class Streams(Dataset[tuple[Tensor, Tensor]]):
    """A sequence cut into streams side by side: item k is a batch (x, y) of the steps from
    k steps on; y is one step ahead."""

    def __init__(
        self,
        tokens: Any,
        batch_size: int,
        steps: int,
        batch_first: bool,
        drop_last: bool,
    ) -> None:
        name = "ContiguousBatches"
        check_positive(name, "batch_size", batch_size)
        check_positive(name, "steps", steps)
        tokens = fastnn.as_tensor(tokens)
        if tokens.ndim == 0:
            raise ValueError(f"{name}: expected a sequence of tokens, got a scalar")
        length = max(len(tokens) - 1, 0) // batch_size
        if length == 0:
            raise ValueError(
                f"{name}: expected more than {batch_size} tokens for batch_size="
                f"{batch_size}, got {len(tokens)}"
            )
        if drop_last and length < steps:
            raise ValueError(
                f"{name}: {len(tokens)} tokens make {length} steps of {batch_size} streams, "
                f"less than one batch of steps={steps}"
            )
        self._sides = [
            self._cut(tokens, start, batch_size, length, batch_first)
            for start in (0, 1)
        ]
        self._dim = int(batch_first)
        self._steps, self._length = steps, length
        self._batches = length // steps if drop_last else -(-length // steps)

    @staticmethod
    def _cut(
        tokens: Tensor, start: int, batch: int, length: int, first: bool
    ) -> Tensor:
        """(length, batch, ...), or with the batch first."""
        part = tokens[start : start + batch * length]
        part = part.reshape(batch, length, *tokens.shape[1:])
        return part if first else part.transpose(0, 1).contiguous()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self._batches:
            raise IndexError(f"batch {index} of {self._batches}")
        at = index * self._steps
        n = min(self._steps, self._length - at)
        x, y = (side.narrow(self._dim, at, n).clone() for side in self._sides)
        return x.contiguous(), y.contiguous()

    def __len__(self) -> int:
        return self._batches


class ContiguousBatches(DataLoader[tuple[Tensor, Tensor]]):
    """Batches of one long sequence for truncated backpropagation through time: the sequence
    is cut into batch_size streams of equal length, and every batch goes on in each of them
    where the one before has ended.

    With layers that carry their state from batch to batch (stateful=True) a network so
    reads whole streams, though gradients reach back no further than a batch. As a
    DataLoader it is resumable, and Trainer takes it as it is.

    Parameters:
        tokens : Tensor, array or list (n,), or (n, ...) for steps of features; the last
            ones, fewer than batch_size, are left out.
        batch_size : int >= 1: streams.
        steps : int >= 1: of each batch.
        batch_first : bool: batches are (batch_size, steps, ...) instead of (steps,
            batch_size, ...), as with the recurrent layers.
        drop_last : bool: leave out a last batch that has fewer steps.
        num_workers, prefetch_factor, batch_transform : as of DataLoader.

    Each batch is (x, y), y being the tokens one step ahead of x: fresh Tensors.

    Raises: TypeError, ValueError for arguments out of range, or too few tokens.

    Source: Mikolov, Karafiát, Burget, Černocký, Khudanpur, "Recurrent neural network based
        language model", 2010.

    Example:
        >>> from fastnn.data import ContiguousBatches
        >>> for x, y in ContiguousBatches(list(range(9)), batch_size=2, steps=3):
        ...     print(x.T.tolist(), y.T.tolist())
        [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
        [[3], [7]] [[4], [8]]
    """

    def __init__(
        self,
        tokens: Any,
        batch_size: int,
        steps: int,
        *,
        batch_first: bool = False,
        drop_last: bool = False,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        batch_transform: Any = None,
    ) -> None:
        super().__init__(
            Streams(tokens, batch_size, steps, batch_first, drop_last),
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
            batch_transform=batch_transform,
        )
