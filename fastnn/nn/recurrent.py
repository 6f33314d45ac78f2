"""RNN, LSTM and GRU: layers over whole sequences, or step by step.

A layer is one native call for each direction; see fastnn/ops/recurrent.py.
"""

from __future__ import annotations

from typing import Any

import fastnn
from fastnn.nn.recurrent_base import RNNBase, nonlinearity_of


class RNN(RNNBase):
    """h = act(W_ih x + b_ih + W_hh h + b_hh) at each step, act tanh or ReLU.

    weight_ih_l0 (hidden_size, input_size), weight_hh_l0 (hidden_size, hidden_size), biases
    (hidden_size,); uniform in ±1/√hidden_size.

    Parameters:
        input_size : int: features of the input at a step.
        hidden_size : int: features of the state.
        num_layers : int: layers, each of which reads the states of the one before.
        nonlinearity : "tanh" or "relu".
        bias : bool: whether b_ih and b_hh are there.
        batch_first : bool: input and output are (batch, steps, features).
        dropout : float in [0, 1]: of each layer's output but the last one's, in training.
        bidirectional : bool: a second set of weights reads from the end; the outputs of
            both stand side by side.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.
        recurrent_init : "uniform", or "orthogonal": weight_hh begins as orthogonal
            matrices, gate by gate.
        stateful : bool: a call without hx begins with the states that the call before has
            left, detached, as truncated backpropagation wants; reset_state() forgets them.

    forward(input, hx=None, *, lengths=None) takes whole sequences, step(x, state) one step.

    Raises: TypeError, ValueError for arguments out of range.

    Source: Elman, "Finding structure in time", 1990.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.RNN(3, 4, batch_first=True)
        >>> y, h = layer(fastnn.ones(2, 5, 3))
        >>> tuple(y.shape), tuple(h.shape)
        ((2, 5, 4), (1, 2, 4))
    """

    mode = "RNN_TANH"
    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_init: str = "uniform",
        stateful: bool = False,
    ) -> None:
        self.nonlinearity = nonlinearity_of("RNN", nonlinearity)
        self.mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            recurrent_init=recurrent_init,
            stateful=stateful,
        )

    def extra_repr(self) -> str:
        """The arguments of the layer that are not defaults."""
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity=relu"


class LSTM(RNNBase):
    """Long short-term memory.

    At each step, with z = W_ih x + b_ih + W_hh h + b_hh cut into four gates:
    i, f, o = σ(z_i), σ(z_f), σ(z_o), g = tanh(z_g); c = f c + i g; h = o tanh(c), or
    W_hr (o tanh(c)) with proj_size.

    weight_ih_l0 (4 hidden_size, input_size), weight_hh_l0 (4 hidden_size, output_size),
    biases (4 hidden_size,), gates in the order i, f, g, o; weight_hr_l0 (proj_size,
    hidden_size); uniform in ±1/√hidden_size.

    Parameters:
        input_size : int: features of the input at a step.
        hidden_size : int: features of the state.
        num_layers : int: layers, each of which reads the states of the one before.
        bias : bool: whether b_ih and b_hh are there.
        batch_first : bool: input and output are (batch, steps, features).
        dropout : float in [0, 1]: of each layer's output but the last one's, in training.
        bidirectional : bool: a second set of weights reads from the end; the outputs of
            both stand side by side.
        proj_size : int: features that states are projected to; 0: they are not.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.
        forget_bias : float or None: the sum of the forget gate's biases at the beginning;
            1 or more lets memory last from the start.
        recurrent_init : "uniform", or "orthogonal": weight_hh begins as orthogonal
            matrices, gate by gate.
        stateful : bool: a call without hx begins with the states that the call before has
            left, detached, as truncated backpropagation wants; reset_state() forgets them.

    forward(input, hx=None, *, lengths=None) takes whole sequences, step(x, state) one step.

    Raises: TypeError, ValueError for arguments out of range.

    Source: Hochreiter, Schmidhuber, "Long short-term memory", 1997; Gers, Schmidhuber,
        Cummins, "Learning to forget", 2000; Jozefowicz, Zaremba, Sutskever, "An empirical
        exploration of recurrent network architectures", 2015 (forget_bias).

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.LSTM(3, 4, num_layers=2, forget_bias=1.0)
        >>> y, (h, c) = layer(fastnn.ones(5, 2, 3), lengths=[5, 3])
        >>> tuple(y.shape), tuple(c.shape), y[4, 1].tolist()
        ((5, 2, 4), (2, 2, 4), [0.0, 0.0, 0.0, 0.0])
    """

    mode = "LSTM"
    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        forget_bias: float | None = None,
        recurrent_init: str = "uniform",
        stateful: bool = False,
    ) -> None:
        if forget_bias is not None and not bias:
            raise ValueError("LSTM: forget_bias needs bias=True")
        self.forget_bias = forget_bias
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            recurrent_init=recurrent_init,
            stateful=stateful,
        )

    def reset_parameters(self) -> None:
        """Draw all parameters anew, and set forget biases where forget_bias says so."""
        super().reset_parameters()
        if self.forget_bias is None:
            return
        n = self.hidden_size
        with fastnn.no_grad():
            for weights in self.all_weights:
                weights[2][n : 2 * n].fill_(self.forget_bias)
                weights[3][n : 2 * n].fill_(0.0)


class GRU(RNNBase):
    """Gated recurrent unit.

    At each step r, u = σ(W_ih x + b_ih + W_hh h + b_hh), n = tanh(W_in x + b_in +
    r (W_hn h + b_hn)), h = (1 - u) n + u h.

    weight_ih_l0 (3 hidden_size, input_size), weight_hh_l0 (3 hidden_size, hidden_size),
    biases (3 hidden_size,), gates in the order r, u, n; uniform in ±1/√hidden_size.

    Parameters:
        input_size : int: features of the input at a step.
        hidden_size : int: features of the state.
        num_layers : int: layers, each of which reads the states of the one before.
        bias : bool: whether b_ih and b_hh are there.
        batch_first : bool: input and output are (batch, steps, features).
        dropout : float in [0, 1]: of each layer's output but the last one's, in training.
        bidirectional : bool: a second set of weights reads from the end; the outputs of
            both stand side by side.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.
        recurrent_init : "uniform", or "orthogonal": weight_hh begins as orthogonal
            matrices, gate by gate.
        stateful : bool: a call without hx begins with the states that the call before has
            left, detached, as truncated backpropagation wants; reset_state() forgets them.

    forward(input, hx=None, *, lengths=None) takes whole sequences, step(x, state) one step.

    Raises: TypeError, ValueError for arguments out of range.

    Source: Cho et al., arXiv:1406.1078, with r applied behind the product as in
        PyTorch.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.GRU(3, 4, bidirectional=True)
        >>> y, h = layer(fastnn.ones(5, 2, 3))
        >>> tuple(y.shape), tuple(h.shape)
        ((5, 2, 8), (2, 2, 4))
    """

    mode = "GRU"
    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_init: str = "uniform",
        stateful: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            recurrent_init=recurrent_init,
            stateful=stateful,
        )
