"""One step of an RNN, LSTM or GRU, for loops that say themselves what comes next."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.nn.recurrent_base import nonlinearity_of
from fastnn.ops.recurrent import recurrent_layer


class RNNCellBase(Module):
    """What the cells share: weight_ih (gates hidden_size, input_size), weight_hh (gates
    hidden_size, hidden_size), bias_ih and bias_hh (gates hidden_size,) or None."""

    mode: str = ""
    gates: int = 1

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_size = checks.size(name, "input_size", input_size)
        self.hidden_size = checks.size(name, "hidden_size", hidden_size, 1)
        self.bias = bias
        like = {"device": device, "dtype": checks.floating(name, dtype)}
        wide = self.gates * self.hidden_size
        self.weight_ih = Parameter(fastnn.empty(wide, self.input_size, **like))
        self.weight_hh = Parameter(fastnn.empty(wide, self.hidden_size, **like))
        self.bias_ih = Parameter(fastnn.empty(wide, **like)) if bias else None
        self.bias_hh = Parameter(fastnn.empty(wide, **like)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform in ±1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _state(self, name: str, x: Tensor, state: Any) -> Tensor | None:
        """state as (batch, hidden_size), checked; None stays None."""
        if state is None:
            return None
        shape = (*x.shape[:-1], self.hidden_size)
        if not isinstance(state, Tensor) or state.shape != shape:
            got = state.shape if isinstance(state, Tensor) else type(state).__name__
            raise ValueError(
                f"{type(self).__name__}: expected {name} of shape {shape}, got {got}"
            )
        return state.unsqueeze(0) if x.ndim == 1 else state

    def _step(self, x: Any, h: Any, c: Any = None) -> tuple[Tensor, Tensor | None]:
        x = checks.steps(type(self).__name__, "input", x, (1, 2), self.input_size)
        h, c = self._state("hx", x, h), self._state("c_0", x, c)
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None)
        rows = x.reshape(1, -1, self.input_size) if x.ndim == 1 else x.unsqueeze(0)
        _, h, c = recurrent_layer(self.mode, rows, weights, h, c, None, False)
        if x.ndim == 1:
            return h.squeeze(0), None if c is None else c.squeeze(0)
        return h, c

    def extra_repr(self) -> str:
        """The arguments of the cell that are not defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias=False"


class RNNCell(RNNCellBase):
    """h' = act(W_ih x + b_ih + W_hh h + b_hh), act tanh or ReLU.

    Parameters:
        input_size, hidden_size : int: features of the input and of the state.
        bias : bool. nonlinearity : "tanh" or "relu". device, dtype : as in Linear.

    forward(input, hx=None): (batch, input_size) and (batch, hidden_size), or both without
    the batch, to the new state.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.RNNCell(3, 4)(fastnn.ones(2, 3)).shape)
        (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.nonlinearity = nonlinearity_of("RNNCell", nonlinearity)
        self.mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after one step; hx None: zeros before it."""
        return self._step(input, hx)[0]

    def extra_repr(self) -> str:
        """The arguments of the cell that are not defaults."""
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity=relu"


class GRUCell(RNNCellBase):
    """One step of a GRU.

    Parameters: as RNNCell, without nonlinearity.

    forward(input, hx=None): (batch, input_size) and (batch, hidden_size), or both without
    the batch, to the new state.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.GRUCell(3, 4)(fastnn.ones(3)).shape)
        (4,)
    """

    mode = "GRU"
    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after one step; hx None: zeros before it."""
        return self._step(input, hx)[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM.

    Parameters: as RNNCell, without nonlinearity.

    forward(input, hx=None): (batch, input_size) and (h, c), each (batch, hidden_size), or
    all without the batch, to the new (h, c).

    Example:
        >>> import fastnn
        >>> h, c = fastnn.nn.LSTMCell(3, 4)(fastnn.ones(2, 3))
        >>> tuple(h.shape), tuple(c.shape)
        ((2, 4), (2, 4))
    """

    mode = "LSTM"
    gates = 4

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        """The state and cells after one step; hx None: zeros before it."""
        if hx is not None and not (isinstance(hx, tuple | list) and len(hx) == 2):
            raise TypeError(f"LSTMCell: expected hx as (h, c), got {type(hx).__name__}")
        h, c = hx if hx is not None else (None, None)
        h, c = self._step(input, h, c)
        assert c is not None
        return h, c
