"""What RNN, LSTM and GRU share: parameters, layers, directions, states, and how they are
called."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn import init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.nn.utils.rnn import PackedSequence, padded, repacked
from fastnn.nn.utils.stateful import Carried, reset_states
from fastnn.ops.recurrent import recurrent_layer

INITIALISATIONS = ("uniform", "orthogonal")
BATCH_SIZES = 8  # of which a layer keeps room for a state


def nonlinearity_of(layer: str, name: str) -> str:
    """name, where it is one that an RNN has; ValueError that names the layer if not."""
    if name not in ("tanh", "relu"):
        raise ValueError(
            f"{layer}: expected nonlinearity 'tanh' or 'relu', got {name!r}"
        )
    return name


class RNNBase(Module):
    """What RNN, LSTM and GRU share: parameters, layers and directions.

    Attributes: weight_ih_l0 (gates hidden_size, input_size), weight_hh_l0 (gates
        hidden_size, hidden_size), bias_ih_l0, bias_hh_l0 (gates hidden_size,), the same for
        each further layer, with "_reverse" behind the second direction's.
    """

    mode: str = ""  # as recurrent_layer takes it
    gates: int = 1
    carried: Carried  # of a stateful layer; see nn/utils/stateful.py

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
        recurrent_init: str = "uniform",
        stateful: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_size = checks.size(name, "input_size", input_size)
        self.hidden_size = checks.size(name, "hidden_size", hidden_size, 1)
        self.num_layers = checks.size(name, "num_layers", num_layers, 1)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = checks.probability(name, dropout)
        self.bidirectional = bidirectional
        self.proj_size = checks.size(name, "proj_size", proj_size)
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"{name}: expected proj_size below hidden_size, got {proj_size} and "
                f"{hidden_size}"
            )
        if recurrent_init not in INITIALISATIONS:
            raise ValueError(
                f"{name}: expected recurrent_init out of {list(INITIALISATIONS)}, got "
                f"{recurrent_init!r}"
            )
        if stateful and bidirectional:
            raise ValueError(
                f"{name}: a bidirectional layer begins at both ends, so it carries no state"
            )
        self.recurrent_init = recurrent_init
        self.stateful = stateful
        if stateful:
            self.carried = {}
        like = {"device": device, "dtype": checks.floating(name, dtype)}
        wide, out = self.gates * self.hidden_size, self.output_size
        for layer in range(self.num_layers):
            features = self.input_size if layer == 0 else out * self.directions
            for end in self._ends(layer):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (wide, features),
                    "weight_hh": (wide, out),
                }
                if bias:
                    shapes |= {"bias_ih": (wide,), "bias_hh": (wide,)}
                if self.proj_size:
                    shapes["weight_hr"] = (out, self.hidden_size)
                for part, shape in shapes.items():
                    setattr(self, part + end, Parameter(fastnn.empty(shape, **like)))
        self.reset_parameters()

    @property
    def directions(self) -> int:
        """2 where it is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Features of a state in one direction."""
        return self.proj_size or self.hidden_size

    def _ends(self, layer: int) -> tuple[str, ...]:
        """What the names of a layer's parameters end with, direction by direction."""
        ends = (f"_l{layer}", f"_l{layer}_reverse")
        return ends[: self.directions]

    def _weights(self, end: str) -> tuple[Tensor | None, ...]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return tuple(getattr(self, name + end, None) for name in names)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction, in PyTorch's order."""
        return [
            [w for w in self._weights(end) if isinstance(w, Parameter)]
            for layer in range(self.num_layers)
            for end in self._ends(layer)
        ]

    def flatten_parameters(self) -> None:
        """Nothing: weights are laid out anew in each call. For PyTorch's programs."""

    def reset_parameters(self) -> None:
        """Draw all parameters anew: uniform in ±1/√hidden_size; recurrent weights
        orthogonal, gate by gate, where recurrent_init says so."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)
        if self.recurrent_init == "orthogonal":
            for weights in self.all_weights:
                with fastnn.no_grad():
                    for gate in weights[1].chunk(self.gates, 0):
                        gate.copy_(init.orthogonal_(fastnn.empty_like(gate)))

    # ---- states ----

    def _state_sizes(self) -> tuple[int, ...]:
        """Features of each part of a state."""
        sizes = (self.output_size, self.hidden_size)
        return sizes if self.mode == "LSTM" else sizes[:1]

    def _zeros(self, x: Tensor, batch: int) -> tuple[Tensor, ...]:
        """First states of all layers."""
        rows = self.num_layers * self.directions
        return tuple(
            fastnn.zeros(rows, batch, n, dtype=x.dtype) for n in self._state_sizes()
        )

    def _parts(self, hx: Any) -> tuple[Tensor, ...]:
        """hx as a tuple, () for None."""
        name, lstm = type(self).__name__, self.mode == "LSTM"
        if hx is None:
            return ()
        if lstm and not (isinstance(hx, tuple | list) and len(hx) == 2):
            raise TypeError(
                f"{name}: expected hx as (h_0, c_0), got {type(hx).__name__}"
            )
        parts = tuple(hx) if lstm else (hx,)
        for said, part in zip(("h_0", "c_0"), parts, strict=False):
            if not isinstance(part, Tensor):
                raise TypeError(
                    f"{name}: expected {said} as a Tensor, got {type(part).__name__}"
                )
        return parts

    def _whole(self, parts: tuple[Tensor, ...]) -> Any:
        """The parts of a state as they are handed out."""
        return parts if self.mode == "LSTM" else parts[0]

    def _checked(self, parts: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
        """States of all layers and so many sequences."""
        rows = self.num_layers * self.directions
        for said, part, n in zip(
            ("h_0", "c_0"), parts, self._state_sizes(), strict=False
        ):
            if part.shape != (rows, batch, n):
                raise ValueError(
                    f"{type(self).__name__}: expected {said} of shape "
                    f"{(rows, batch, n)}, got {part.shape}"
                )
        return parts

    def reset_state(self) -> None:
        """Forget the state that a stateful layer carries: the next call starts from
        zeros."""
        reset_states(self)

    def _carried(self, x: Tensor, batch: int) -> tuple[Tensor, ...]:
        """Where the state of such a batch is, and the next one goes.

        There is one for each batch size, and all but that of the call before are zeros:
        what compile() has recorded is then right whatever comes between.
        """
        key = f"{batch} {x.dtype.name}"
        if key not in self.carried:
            made = tuple(
                # Not by an op, as compile() would count it as the call's own.
                fastnn.from_numpy(np.zeros((self.num_layers, batch, n), x.dtype.numpy))
                for n in self._state_sizes()
            )
            kept = list(self.carried.items())[1 - BATCH_SIZES :]
            self.carried = {**dict(kept), key: made}
        for other, states in self.carried.items():
            if other != key:
                for state in states:
                    state.zero_()
        return self.carried[key]

    # ---- calls ----

    def forward(
        self,
        input: Any,
        hx: Any = None,
        *,
        lengths: Any = None,
    ) -> tuple[Any, Any]:
        """All steps of all sequences.

        Parameters:
            input : (steps, batch, input_size), or (batch, steps, input_size) with
                batch_first, or (steps, input_size), or a PackedSequence.
            hx : first states, (num_layers directions, batch, output_size), or without the
                batch where input has none; of an LSTM (h_0, c_0), c_0 with hidden_size.
                None: zeros, or what a stateful layer carries.
            lengths : integers (batch,): how many steps each sequence has. What lies past
                its end is not read, and 0 in the output; the second direction begins at
                its end. No order is asked for.

        Returns: (output, states): the last layer's states of all steps, like input but
            with directions output_size features; the last states, like hx.

        Raises: ValueError, TypeError for what does not fit.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths)
        name = type(self).__name__
        x = checks.steps(name, "input", input, (2, 3), self.input_size)
        states, single = self._parts(hx), x.ndim == 2
        if single:
            x, states = x.unsqueeze(1), tuple(s.unsqueeze(1) for s in states)
        elif self.batch_first:
            x = x.transpose(0, 1)
        batch = x.shape[1]
        held: tuple[Tensor, ...] = ()
        if self.stateful and hx is None:
            held = self._carried(x, batch)
            states = tuple(state.clone() for state in held)
        if lengths is not None:
            lengths = checks.lengths(name, lengths, batch)
        y, last = self._run(x, self._checked(states, batch), lengths)
        for carried, state in zip(held, last, strict=False):
            carried.copy_(state.detach())
        if single:
            y, last = y.squeeze(1), tuple(state.squeeze(1) for state in last)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, self._whole(last)

    def _run(
        self, x: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All layers; states () for zeros."""
        last: list[list[Tensor]] = [[], []]
        row = 0
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            ys = []
            for reverse, end in enumerate(self._ends(layer)):
                h0, c0 = ([s.select(0, row) for s in states] + [None, None])[:2]
                y, h, c = recurrent_layer(
                    self.mode, x, self._weights(end), h0, c0, lengths, bool(reverse)
                )
                ys.append(y)
                last[0].append(h)
                if c is not None:
                    last[1].append(c)
                row += 1
            x = ys[0] if len(ys) == 1 else fastnn.cat(ys, -1)
        return x, tuple(fastnn.stack(part, 0) for part in last if part)

    def _packed(self, input: PackedSequence, hx: Any, lengths: Any) -> tuple[Any, Any]:
        name = type(self).__name__
        if lengths is not None:
            raise ValueError(f"{name}: a PackedSequence has its own lengths")
        if self.stateful and hx is None:
            raise ValueError(
                f"{name}: a stateful layer takes Tensors, got a PackedSequence (hint: "
                "lengths=, or hx)"
            )
        x, n = padded(input)
        states = self._parts(hx)
        if input.sorted_indices is not None:
            states = tuple(s.index_select(1, input.sorted_indices) for s in states)
        x = checks.steps(name, "input", x, (2, 3), self.input_size)
        y, last = self._run(x, self._checked(states, x.shape[1]), n)
        if input.unsorted_indices is not None:
            last = tuple(s.index_select(1, input.unsorted_indices) for s in last)
        return repacked(y, input), self._whole(last)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One step, for what arrives bit by bit: step after step gives the bits of the
        whole sequence.

        Parameters:
            x : (batch, input_size) or (input_size,).
            state : what the step before has returned; None: zeros. It is a Tensor, or
                (h, c) of an LSTM, and fastnn.save keeps it.

        Returns: (output, state): the last layer's output (batch, output_size); the state
            (num_layers, batch, output_size), without the batch where x has none.

        Raises: RuntimeError for a bidirectional layer, which reads its input to the end.
        """
        name = type(self).__name__
        if self.bidirectional:
            raise RuntimeError(
                f"{name}.step: a bidirectional layer needs whole sequences"
            )
        x = checks.steps(f"{name}.step", "x", x, (1, 2), self.input_size)
        single = x.ndim == 1
        if state is None:
            zeros = self._zeros(x, 1 if single else x.shape[0])
            state = self._whole(tuple(s.squeeze(1) for s in zeros) if single else zeros)
        time = int(self.batch_first and not single)
        y, state = self.forward(x.unsqueeze(time), state)
        return y.squeeze(time), state

    def extra_repr(self) -> str:
        """The arguments of the layer that are not defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
        for name, default in (
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
            ("stateful", False),
        ):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text
