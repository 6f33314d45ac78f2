"""Decoders: recurrent networks that read what was said at the step before.

One mechanism for teacher forcing, scheduled sampling and free running. It drives the layers of
fastnn/nn/recurrent.py, and every cell or layer with their calls.

The wirings of Goodfellow, Bengio, Courville, "Deep learning", 2016, chapter 10, and what makes
them here:

    hidden to hidden, an output at each step    RNN, GRU or LSTM, and a readout of its output
    hidden to hidden, an output at the end      the same, and SequencePooling between them
    output to hidden alone                      Decoder(OutputRNN(...), readout)
    both                                        Decoder(RNN(...), readout)
    teacher forcing, or by chance               decoder(state, targets, teacher_forcing=p)
    free running                                decoder(state, steps=n), or generate
    vector to sequence                          decoder(inputs=vector.expand(n, -1, -1)), or
                                                the vector as state
    bidirectional                               bidirectional=True of a layer
    sequence to sequence                        EncoderDecoder(encoder, decoder)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.recurrent_base import nonlinearity_of


class OutputRNN(Linear):
    """h = act(W x + b) at each step: no weight leads from state to state.

    Within a Decoder, whose outputs are part of x, it is the network with recurrence from
    output to hidden layer alone. It remembers only what the outputs say; in return, all steps
    under teacher forcing are one product.

    Parameters:
        input_size, hidden_size : int: features of the input and of the hidden layer.
        nonlinearity : "tanh" or "relu".
        bias : bool. batch_first : bool: as the Decoder shall have it. device, dtype : as in
            Linear, whose parameters weight and bias it has.

    forward(input, hx=None): (..., input_size) to ((..., hidden_size), None); step is the same.

    Source: Jordan, "Serial order", 1986; Goodfellow, Bengio, Courville, "Deep learning",
        2016, section 10.2.1.

    Example:
        >>> import fastnn
        >>> y, state = fastnn.nn.OutputRNN(3, 4)(fastnn.ones(5, 2, 3))
        >>> tuple(y.shape), state
        ((5, 2, 4), None)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.input_size = checks.size("OutputRNN", "input_size", input_size)
        self.hidden_size = checks.size("OutputRNN", "hidden_size", hidden_size, 1)
        self.nonlinearity = nonlinearity_of("OutputRNN", nonlinearity)
        self.batch_first = batch_first
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """The hidden layer of every step, and the state, which is None."""
        act = F.relu if self.nonlinearity == "relu" else F.tanh
        return act(super().forward(input)), None

    step = forward

    def extra_repr(self) -> str:
        """The arguments of the layer that are not defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.nonlinearity != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text if self.bias is not None else f"{text}, bias=False"


class Decoder(Module):
    """A recurrent network whose input at a step is what was said at the step before.

        token_t = sample(y_t),  y_t = readout(h_t)
        h_t, state_t = rnn([embed(token_t-1), inputs_t], state_t-1)

    token_t-1 is the target (teacher forcing), the network's own (free running), or either by
    chance (scheduled sampling).

    Parameters:
        rnn : RNN, GRU, LSTM or OutputRNN, not bidirectional; or what is called like them and
            has their step(); or a cell: RNNCell, GRUCell, LSTMCell, or a callable
            (x, state) to the new state, a Tensor or a tuple that begins with h.
        readout : Module: h to y, such as Linear(hidden_size, outputs).
        sample : callable: y (batch, outputs) to what was said; None: y itself. For classes
            lambda y: y.argmax(-1), or one that draws. No gradient passes through integers;
            lambda y: y.detach() stops that of numbers.
        embed : callable or Module: what was said, of one or all steps, to the features that
            rnn reads; None: these are the same.

    Time comes first; or second, where rnn has batch_first.

    forward(state=None, targets=None, steps=None, *, start=None, inputs=None,
        teacher_forcing=1.0) returns (outputs, state); see there.
    generate(state=None, steps=None, *, start=None, inputs=None) returns (tokens, state).

    Teacher forcing throughout is one native call of a layer. All of it can be compiled.

    Source: Williams, Zipser, "A learning algorithm for continually running fully recurrent
        neural networks", 1989; Bengio, Vinyals, Jaitly, Shazeer, "Scheduled sampling for
        sequence prediction with recurrent neural networks", 2015.

    Example:
        >>> import fastnn
        >>> from fastnn import nn
        >>> decoder = nn.Decoder(nn.GRU(1, 8), nn.Linear(8, 1))
        >>> targets = fastnn.ones(5, 2, 1)  # steps, batch, features
        >>> y, state = decoder(fastnn.zeros(1, 2, 8), targets)
        >>> y, state = decoder(state, steps=3, start=targets[-1])  # goes on by itself
        >>> tuple(y.shape)
        (3, 2, 1)
    """

    def __init__(
        self,
        rnn: Any,
        readout: Module,
        sample: Callable[[Tensor], Tensor] | None = None,
        embed: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if getattr(rnn, "bidirectional", False):
            raise ValueError("Decoder: a bidirectional rnn needs to know all steps")
        self.rnn = rnn
        self.readout = readout
        self.sample = sample
        self.embed = embed

    @property
    def batch_first(self) -> bool:
        """Whether tensors are (batch, steps, ...), as rnn has it."""
        return bool(getattr(self.rnn, "batch_first", False))

    def forward(
        self,
        state: Any = None,
        targets: Tensor | None = None,
        steps: int | None = None,
        *,
        start: Tensor | None = None,
        inputs: Tensor | None = None,
        teacher_forcing: float | Tensor = 1.0,
    ) -> tuple[Tensor, Any]:
        """Outputs of all steps.

        Parameters:
            state : of rnn before the first step, as an encoder has left it; None: zeros.
            targets : (steps, batch, ...), what should be said at each step. None: the
                network runs freely. The last one is compared, and never read.
            steps : int: how many; None: as many as targets or inputs have.
            start : (batch, ...), what is read at the first step; None: zeros, in place of
                what embed would give.
            inputs : (steps, batch, extra): further features of each step, behind those fed
                back. A vector for all steps: vector.expand(steps, -1, -1).
            teacher_forcing : probability, for each sequence and step on its own, that the
                target is read, else the network's own; the same in training and evaluation.
                A Tensor of one element may change between the calls of a compiled function;
                a number that changes makes a new plan.

        Returns: outputs (steps, batch, outputs); rnn's state after the last step.
        """
        steps = self._steps(targets, steps, inputs)
        if targets is None:
            teacher_forcing = 0.0
        elif not isinstance(teacher_forcing, Tensor):
            checks.probability("Decoder", teacher_forcing)
        first = self._first(state, targets, start, inputs)
        if isinstance(teacher_forcing, int | float) and teacher_forcing == 1:
            assert targets is not None
            return self._forced(state, targets, steps, first, inputs)
        outputs, _, state = self._run(
            state, targets, steps, first, inputs, teacher_forcing
        )
        return outputs, state

    def generate(
        self,
        state: Any = None,
        steps: int | None = None,
        *,
        start: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """What the network says by itself: (steps, batch, ...); and its state afterwards.

        Without gradients. With the state and the last token as start it goes on.
        """
        steps = self._steps(None, steps, inputs)
        with fastnn.no_grad():
            first = self._first(state, None, start, inputs)
            _, tokens, state = self._run(state, None, steps, first, inputs, 0.0)
        return tokens, state

    # ---- what the calls share ----

    def _steps(
        self, targets: Tensor | None, steps: int | None, inputs: Tensor | None
    ) -> int:
        """How many; ValueError where arguments disagree, or none says it."""
        time = int(self.batch_first)
        said = {
            name: value.shape[time]
            for name, value in (("targets", targets), ("inputs", inputs))
            if value is not None
        }
        if steps is not None:
            said["steps"] = checks.size("Decoder", "steps", steps, 1)
        if not said:
            raise ValueError("Decoder: expected targets, inputs or steps")
        if len(set(said.values())) > 1:
            raise ValueError(f"Decoder: expected one number of steps, got {said}")
        if 0 in said.values():
            raise ValueError(f"Decoder: expected at least one step, got {said}")
        return next(iter(said.values()))

    def _first(
        self, state: Any, targets: Any, start: Tensor | None, inputs: Tensor | None
    ) -> Tensor:
        """What rnn is fed at the first step, without inputs: (batch, features)."""
        if start is not None:
            return self._embedded(start)
        known = targets if targets is not None else inputs
        while isinstance(state, tuple | list):
            state = state[0]
        if known is not None:
            batch = known.shape[0 if self.batch_first else 1]
        elif state is not None:
            batch = state.shape[-2]
        else:
            raise ValueError("Decoder: expected a state, start, targets or inputs")
        extra = 0 if inputs is None else inputs.shape[-1]
        dtype = next(self.parameters()).dtype
        return fastnn.zeros(batch, self.rnn.input_size - extra, dtype=dtype)

    def _embedded(self, token: Tensor) -> Tensor:
        return token if self.embed is None else self.embed(token)

    def _sampled(self, y: Tensor) -> Tensor:
        return y if self.sample is None else self.sample(y)

    def _forced(
        self,
        state: Any,
        targets: Tensor,
        steps: int,
        first: Tensor,
        inputs: Tensor | None,
    ) -> tuple[Tensor, Any]:
        """All steps read targets, so all that rnn reads is known."""
        time = int(self.batch_first)
        fed = first.unsqueeze(time)
        if steps > 1:
            told = self._embedded(targets.narrow(time, 0, steps - 1))
            fed = fastnn.cat([fed, told], time)
        if inputs is not None:
            fed = fastnn.cat([fed, inputs], -1)
        if hasattr(self.rnn, "step"):
            h, state = self.rnn(fed, state)
        else:
            hs = []
            for x in fed.unbind(0):
                state = self.rnn(x, state)
                hs.append(state[0] if isinstance(state, tuple) else state)
            h = fastnn.stack(hs, 0)
        return self.readout(h), state

    def _run(
        self,
        state: Any,
        targets: Tensor | None,
        steps: int,
        fed: Tensor,
        inputs: Tensor | None,
        teacher_forcing: float | Tensor,
    ) -> tuple[Tensor, Tensor, Any]:
        """Step by step: outputs, tokens and the last state."""
        time = int(self.batch_first)
        forced = isinstance(teacher_forcing, Tensor) or teacher_forcing > 0
        told = coins = None
        if forced and targets is not None and steps > 1:
            told = self._embedded(targets.narrow(time, 0, steps - 1))
            coins = fastnn.rand(steps - 1, fed.shape[0], 1) < teacher_forcing
        ys, tokens = [], []
        for t in range(steps):
            x = fed
            if inputs is not None:
                x = fastnn.cat([fed, inputs.select(time, t)], -1)
            if hasattr(self.rnn, "step"):
                h, state = self.rnn.step(x, state)
            else:
                state = self.rnn(x, state)
                h = state[0] if isinstance(state, tuple) else state
            ys.append(self.readout(h))
            tokens.append(self._sampled(ys[-1]))
            if t < steps - 1:
                fed = self._embedded(tokens[-1])
                if told is not None and coins is not None:
                    fed = fastnn.where(coins[t], told.select(time, t), fed)
        return fastnn.stack(ys, time), fastnn.stack(tokens, time), state


class EncoderDecoder(Module):
    """A sequence to another one, of another length: what the encoder has read is the state
    that the decoder begins with.

    Parameters:
        encoder : RNN, GRU or LSTM.
        decoder : Decoder.
        bridge : callable or Module: the encoder's state to the decoder's; None: they are the
            same. Sizes that differ, or a bidirectional encoder, need one.

    forward(input, targets=None, steps=None, *, lengths=None, start=None, inputs=None,
        teacher_forcing=1.0) returns the decoder's outputs; lengths are those of input, all
        else is as in Decoder.
    generate(input, steps=None, *, lengths=None, start=None, inputs=None) returns tokens.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for
        statistical machine translation", 2014; Sutskever, Vinyals, Le, "Sequence to sequence
        learning with neural networks", 2014.

    Example:
        >>> import fastnn
        >>> from fastnn import nn
        >>> decoder = nn.Decoder(nn.GRU(1, 8), nn.Linear(8, 1))
        >>> model = nn.EncoderDecoder(nn.GRU(3, 8), decoder)
        >>> tuple(model(fastnn.ones(20, 2, 3), steps=5).shape)
        (5, 2, 1)
    """

    def __init__(
        self,
        encoder: Module,
        decoder: Decoder,
        bridge: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.bridge = bridge

    def encode(self, input: Tensor, lengths: Any = None) -> Any:
        """The state that the decoder begins with."""
        _, state = self.encoder(input, lengths=lengths)
        return state if self.bridge is None else self.bridge(state)

    def forward(
        self,
        input: Tensor,
        targets: Tensor | None = None,
        steps: int | None = None,
        *,
        lengths: Any = None,
        start: Tensor | None = None,
        inputs: Tensor | None = None,
        teacher_forcing: float | Tensor = 1.0,
    ) -> Tensor:
        """The decoder's outputs, (steps, batch, outputs) or batch first."""
        outputs: Tensor
        outputs, _ = self.decoder(
            self.encode(input, lengths),
            targets,
            steps,
            start=start,
            inputs=inputs,
            teacher_forcing=teacher_forcing,
        )
        return outputs

    def generate(
        self,
        input: Tensor,
        steps: int | None = None,
        *,
        lengths: Any = None,
        start: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> Tensor:
        """What the decoder says by itself. Without gradients."""
        with fastnn.no_grad():
            state = self.encode(input, lengths)
        return self.decoder.generate(state, steps, start=start, inputs=inputs)[0]
