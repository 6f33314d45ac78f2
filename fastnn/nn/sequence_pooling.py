"""From a sequence to a vector: the last state, means, maxima and learned averages."""

from __future__ import annotations

from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module

MODES = ("last", "mean", "max")


def valid_steps(layer: str, x: Tensor, lengths: Any) -> tuple[Tensor, Tensor]:
    """lengths as a Tensor (batch,), and which steps they cover, as bool (steps, batch, 1)."""
    steps, batch = x.shape[:2]
    lengths = checks.lengths(layer, lengths, batch)
    times = fastnn.arange(steps).reshape(steps, 1, 1)
    return lengths, times < lengths.reshape(1, batch, 1)


def sequences(layer: str, x: Tensor, batch_first: bool) -> Tensor:
    """x with time first, checked."""
    if not isinstance(x, Tensor) or x.ndim != 3:
        got = x.shape if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{layer}: expected input of 3 dimensions, got {got}")
    x = x.transpose(0, 1) if batch_first else x
    if x.shape[0] == 0:
        raise ValueError(f"{layer}: expected at least one step, got {x.shape}")
    return x


class SequencePooling(Module):
    """The last step of each sequence, or the mean or maximum over its steps.

    Parameters:
        mode : "last", "mean" or "max".
        batch_first : bool: the input is (batch, steps, features).
        bidirectional : bool: of "last": the second half of the features comes from a reverse
            direction, which ends at step 0; it is taken there.

    forward(input, lengths=None): (steps, batch, features) to (batch, features). lengths
    (batch,) are integers: what lies past a sequence's end is not looked at, and more than there
    are steps means all of them. A sequence of no steps gives zeros.

    Raises: ValueError for another mode, input or lengths.

    Example:
        >>> import fastnn
        >>> x = fastnn.tensor([[[1.0], [3.0], [9.0]]])
        >>> fastnn.nn.SequencePooling("mean", batch_first=True)(x, [2]).tolist()
        [[2.0]]
    """

    def __init__(
        self,
        mode: str = "last",
        batch_first: bool = False,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(
                f"SequencePooling: expected mode out of {list(MODES)}, got {mode!r}"
            )
        self.mode = mode
        self.batch_first = batch_first
        self.bidirectional = bidirectional

    def forward(self, input: Tensor, lengths: Any = None) -> Tensor:
        """(steps, batch, features) to (batch, features)."""
        x = sequences("SequencePooling", input, self.batch_first)
        steps = x.shape[0]
        there = None
        if lengths is not None:
            lengths, there = valid_steps("SequencePooling", x, lengths)
        if self.mode == "max":
            if there is None:
                return x.amax(0)
            return self._filled(x.masked_fill(~there, -float("inf")).amax(0), lengths)
        if self.mode == "mean":
            if there is None:
                return x.mean(0)
            count = lengths.clamp(min=1).clamp(max=steps).to(x.dtype)
            mean: Tensor = fastnn.where(there, x, 0.0).sum(0) / count.reshape(-1, 1)
            return mean
        if lengths is None:
            last = x.select(0, steps - 1)
        else:
            at = (lengths.clamp(max=steps) - 1).clamp(min=0).reshape(1, -1, 1)
            last = x.take_along_dim(at.expand(1, *x.shape[1:]), 0).squeeze(0)
            last = self._filled(last, lengths)
        if not self.bidirectional:
            return last
        half = x.shape[2] // 2
        first = x.select(0, 0)
        if lengths is not None:
            first = self._filled(first, lengths)
        return fastnn.cat([last[:, :half], first[:, half:]], 1)

    @staticmethod
    def _filled(y: Tensor, lengths: Tensor) -> Tensor:
        """Zeros where there is no step."""
        return fastnn.where((lengths > 0).reshape(-1, 1), y, 0.0)

    def extra_repr(self) -> str:
        """The arguments of the layer that are not defaults."""
        text = repr(self.mode)
        for name in ("batch_first", "bidirectional"):
            text += f", {name}=True" if getattr(self, name) else ""
        return text


class AttentionPooling(Module):
    """Σ_t a_t x_t, a = softmax over the steps of v · tanh(W x_t + b).

    Parameters:
        features : int: of the input.
        hidden_size : int: rows of W; None: as many as features.
        batch_first : bool: the input is (batch, steps, features).
        device : "cpu" or None. dtype : of the parameters; None is float32.

    forward(input, lengths=None): (steps, batch, features) to (batch, features); lengths as in
    SequencePooling. weights(input, lengths=None): the a_t, (steps, batch).

    Source: Raffel, Ellis, "Feed-forward networks with attention can solve some long-term
        memory problems", 2016; W as in Bahdanau, Cho, Bengio, 2015.

    Example:
        >>> import fastnn
        >>> pool = fastnn.nn.AttentionPooling(4)
        >>> tuple(pool(fastnn.ones(7, 2, 4), [7, 3]).shape)
        (2, 4)
    """

    def __init__(
        self,
        features: int,
        hidden_size: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        hidden = features if hidden_size is None else hidden_size
        self.batch_first = batch_first
        self.hidden = Linear(features, hidden, device=device, dtype=dtype)
        self.score = Linear(hidden, 1, bias=False, device=device, dtype=dtype)

    def _weighed(self, input: Tensor, lengths: Any) -> tuple[Tensor, Tensor]:
        """The input that counts, and its weights, (steps, batch, 1)."""
        x = sequences("AttentionPooling", input, self.batch_first)
        there = None
        if lengths is not None:
            _, there = valid_steps("AttentionPooling", x, lengths)
            x = fastnn.where(there, x, 0.0)
        scores = self.score(F.tanh(self.hidden(x)))
        if there is None:
            return x, F.softmax(scores, 0)
        # Finite, so that a sequence of no steps has weights, which then become zeros.
        scores = scores.masked_fill(~there, -1e30)
        return x, fastnn.where(there, F.softmax(scores, 0), 0.0)

    def weights(self, input: Tensor, lengths: Any = None) -> Tensor:
        """How much each step counts: (steps, batch), or batch first; each sum is 1."""
        _, a = self._weighed(input, lengths)
        a = a.squeeze(2)
        return a.transpose(0, 1) if self.batch_first else a

    def forward(self, input: Tensor, lengths: Any = None) -> Tensor:
        """(steps, batch, features) to (batch, features)."""
        x, a = self._weighed(input, lengths)
        return (a * x).sum(0)
