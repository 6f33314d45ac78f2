"""Sequences of different lengths in one tensor: padded, or packed step by step.

PyTorch's names and order. fastnn's layers also take lengths=, with which padded sequences
need no packing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastnn
from fastnn._core import Tensor


class PackedSequence(NamedTuple):
    """The elements of several sequences, without padding.

    Attributes:
        data : (sum of lengths, ...): the first step of all sequences, then the second of
            those that have one, and so on; longer sequences come first.
        batch_sizes : int64 (steps,): how many sequences each step has.
        sorted_indices : int64 (batch,) or None: which sequence each one of data is.
        unsorted_indices : its inverse, or None.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


def _places(sizes: Any, batch: int) -> Any:
    """Where the packed elements are among steps times batch, in order."""
    return np.concatenate(
        [
            np.zeros(0, np.int64),
            *(t * batch + np.arange(n) for t, n in enumerate(sizes)),
        ]
    ).astype(np.int64)


def _lengths(sizes: Any) -> Any:
    """Of each sequence, the longest first, from how many each step has."""
    return (np.arange(int(sizes[0]))[:, None] < sizes[None, :]).sum(1)


def padded(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """(steps, batch, ...), zeros past the ends, in the order of data; lengths (batch,)."""
    sizes = packed.batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0])
    data = packed.data
    at = fastnn.tensor(_places(sizes, batch))
    x = fastnn.index_add(data, at, 0, steps * batch)
    x = x.reshape(steps, batch, *data.shape[1:])
    return x, fastnn.tensor(_lengths(sizes))


def repacked(x: Tensor, like: PackedSequence) -> PackedSequence:
    """The inverse of padded, for x (steps, batch, ...)."""
    sizes = like.batch_sizes.numpy()
    at = fastnn.tensor(_places(sizes, int(sizes[0])))
    data = x.reshape(-1, *x.shape[2:]).index_select(0, at)
    return PackedSequence(data, *like[1:])


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences, packed.

    Parameters:
        input : (steps, batch, ...), or (batch, steps, ...) with batch_first.
        lengths : integers (batch,), each of at least 1.
        enforce_sorted : bool: raise unless longer sequences come first; False sorts them.

    Raises: ValueError for lengths that do not fit.
    """
    name = "pack_padded_sequence"
    x = input.transpose(0, 1) if batch_first else input
    n = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths)
    if n.ndim != 1 or len(n) != x.shape[1] or n.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected {x.shape[1]} integers as lengths, got shape {n.shape}"
        )
    if len(n) == 0 or n.min() < 1 or n.max() > x.shape[0]:
        raise ValueError(
            f"{name}: expected lengths from 1 to {x.shape[0]}, got {n.tolist()}"
        )
    order = back = None
    if enforce_sorted:
        if (np.diff(n) > 0).any():
            raise ValueError(
                f"{name}: expected the longest sequence first, got lengths {n.tolist()} "
                "(hint: enforce_sorted=False)"
            )
    else:
        found = np.argsort(-n, kind="stable")
        order = fastnn.tensor(found.astype(np.int64))
        back = fastnn.tensor(np.argsort(found).astype(np.int64))
        x, n = x.index_select(1, order), n[found]
    sizes = (n[None, :] > np.arange(int(n[0]))[:, None]).sum(1)
    at = fastnn.tensor(_places(sizes, len(n)))
    data = x.reshape(-1, *x.shape[2:]).index_select(0, at)
    return PackedSequence(data, fastnn.tensor(sizes.astype(np.int64)), order, back)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Packed sequences, padded.

    Returns: (steps, batch, ...), or (batch, steps, ...) with batch_first; lengths (batch,).
    Raises: ValueError for a total_length below the longest sequence's.
    """
    x, n = padded(sequence)
    steps = x.shape[0]
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                f"pad_packed_sequence: expected total_length of at least {steps}, got "
                f"{total_length}"
            )
        rest = fastnn.zeros(total_length - steps, *x.shape[1:], dtype=x.dtype)
        x = fastnn.cat([x, rest], 0)
        steps = total_length
    if padding_value != 0:
        there = np.arange(steps)[:, None] < n.numpy()[None, :]
        mask = fastnn.tensor(there).reshape(steps, x.shape[1], *(1,) * (x.ndim - 2))
        x = fastnn.where(mask, x, padding_value)
    if sequence.unsorted_indices is not None:
        x = x.index_select(1, sequence.unsorted_indices)
        n = n.index_select(0, sequence.unsorted_indices)
    return (x.transpose(0, 1) if batch_first else x), n


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (steps, ...) of different lengths as one tensor (steps, batch, ...)."""
    if not sequences:
        raise ValueError("pad_sequence: expected at least one sequence, got none")
    if padding_side not in ("left", "right"):
        raise ValueError(
            f"pad_sequence: expected padding_side 'left' or 'right', got {padding_side!r}"
        )
    steps = max(len(x) for x in sequences)
    whole = []
    for x in sequences:
        rest = fastnn.full((steps - len(x), *x.shape[1:]), padding_value, dtype=x.dtype)
        whole.append(fastnn.cat([x, rest] if padding_side == "right" else [rest, x], 0))
    return fastnn.stack(whole, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The inverse of pad_sequence: views of each sequence up to its length."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    n = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    return [x[i, : int(length)] for i, length in enumerate(n)]


def pack_sequence(
    sequences: Sequence[Tensor], enforce_sorted: bool = True
) -> PackedSequence:
    """Sequences (steps, ...) of different lengths, packed."""
    lengths = [len(x) for x in sequences]
    return pack_padded_sequence(
        pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted
    )
