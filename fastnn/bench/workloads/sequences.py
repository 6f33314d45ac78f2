"""Recurrent layers over whole sequences, a model that trains, attention."""

from __future__ import annotations

import math
from typing import Any

from fastnn.bench.workloads.layers import alike
from fastnn.bench.workloads.rows import (
    Form,
    Goal,
    Kernel,
    Layer,
    TokenTraining,
    Workload,
)

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
UNROLLS = ("compiled",)  # torch.compile: minutes for a layer's steps
# ONNX's order of gates in PyTorch's
ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


def forms_of(mode: str, units: int) -> dict[str, Form]:
    """A layer from zeros, on x (steps, batch, features), w_ih, w_hh, b_ih, b_hh."""

    def ours(f: Any, x: Any, *weights: Any) -> Any:
        from fastnn.ops.recurrent import recurrent_layer

        name = "RNN_TANH" if mode == "RNN" else mode
        return recurrent_layer(name, x, (*weights, None), None, None, None, False)[0]

    def torch(t: Any, x: Any, *weights: Any) -> Any:
        zeros = t.zeros(1, x.shape[1], units)
        start = (zeros, zeros) if mode == "LSTM" else zeros
        layer = getattr(t, "rnn_tanh" if mode == "RNN" else mode.lower())
        training = x.requires_grad
        return layer(x, start, weights, True, 1, 0.0, training, False, False)[0]

    def jax(j: Any, x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        n, batch = units, x.shape[1]
        zx = x @ w_ih.T + b_ih
        zeros = j.numpy.zeros((batch, n), x.dtype)

        def rnn(h: Any, z: Any) -> Any:
            h = j.numpy.tanh(z + h @ w_hh.T + b_hh)
            return h, h

        def gru(h: Any, z: Any) -> Any:
            q = h @ w_hh.T + b_hh
            ru = j.nn.sigmoid(z[:, : 2 * n] + q[:, : 2 * n])
            new = j.numpy.tanh(z[:, 2 * n :] + ru[:, :n] * q[:, 2 * n :])
            h = new + ru[:, n:] * (h - new)
            return h, h

        def lstm(state: Any, z: Any) -> Any:
            h, c = state
            z = z + h @ w_hh.T + b_hh
            i, f, o = (j.nn.sigmoid(z[:, k * n : (k + 1) * n]) for k in (0, 1, 3))
            c = f * c + i * j.numpy.tanh(z[:, 2 * n : 3 * n])
            h = o * j.numpy.tanh(c)
            return (h, c), h

        step: Any = {"RNN": rnn, "GRU": gru, "LSTM": lstm}[mode]
        start = (zeros, zeros) if mode == "LSTM" else zeros
        return j.lax.scan(step, start, zx)[1]

    def onnx(graph: Any, x: Any, *weights: Any) -> Any:
        def ordered(name: str) -> Any:
            parts = graph.split(name, GATES[mode])
            gates = [parts[k] for k in ORDER[mode]]
            return graph.node("Concat", *gates, axis=0)

        w_ih, w_hh, b_ih, b_hh = map(ordered, weights)
        bias = graph.node("Concat", b_ih, b_hh, axis=0)
        inputs = [graph.unsqueeze(w) for w in (w_ih, w_hh, bias)]
        more = {"linear_before_reset": 1} if mode == "GRU" else {}
        y = graph.node(mode, x, *inputs, hidden_size=units, **more)
        return graph.squeeze(y, 1)

    return {"fastnn": ours, "torch": torch, "jax": jax, "onnx": onnx}


def recurrent(
    mode: str,
    steps: int,
    batch: int,
    features: int,
    units: int,
    forward: float | None,
    both: float,
) -> list[Workload]:
    """Two rows, or one: a layer's outputs, and with the gradients of x and all weights.

    Parameters:
        forward, both : shares of the fastest other library's time; None: no such row.
    """
    wide = GATES[mode] * units
    shapes = (
        (steps, batch, features),
        (wide, features),
        (wide, units),
        (wide,),
        (wide,),
    )
    words = f"{mode}, {steps} steps, batch {batch}, {features} to {units}"
    flops = 2.0 * steps * batch * wide * (features + units)
    numbers = steps * batch * (features + units) + wide * (features + units + 2)
    both_row = Layer(
        name=f"{words}, with gradients",
        group="sequences",
        flops=3 * flops,
        bytes=8.0 * numbers,
        shapes=shapes,
        scales=(1.0, 0.06, 0.06, 0.06, 0.06),
        wanted=5,
        result=(steps, batch, units),
        forms=forms_of(mode, units),
        goals=[Goal(peer=both)],
        without=UNROLLS,
    )
    if forward is None:
        return [both_row]
    row = Kernel(
        name=f"{words}, forward",
        group="sequences",
        flops=flops,
        bytes=4.0 * numbers,
        shapes=shapes,
        scales=(1.0, 0.06, 0.06, 0.06, 0.06),
        forms=forms_of(mode, units),
        goals=[Goal(peer=forward)],
        without=UNROLLS,
    )
    return [row, both_row]


def characters(
    vocabulary: int, features: int, units: int, layers: int, steps: int, batch: int
) -> TokenTraining:
    """A row: a step of a character model, clipped."""

    def module(nn: Any) -> Any:
        class Characters(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(vocabulary, features)
                self.lstm = nn.LSTM(features, units, layers, batch_first=True)
                self.readout = nn.Linear(units, vocabulary)

            def forward(self, tokens: Any) -> Any:
                y = self.readout(self.lstm(self.embedding(tokens))[0])
                return y.reshape(-1, vocabulary)

        return Characters()

    inputs = [features] + [units] * (layers - 1)
    weights = sum(4 * units * (n + units) for n in inputs) + units * vocabulary
    numbers = weights + vocabulary * features + 8 * units * layers + vocabulary
    return TokenTraining(
        name=f"character model, LSTM {layers} x {units}, {steps} steps, batch {batch}, Adam",
        group="sequences",
        flops=6.0 * steps * batch * weights + 14 * numbers,
        bytes=4.0 * 6 * numbers,
        module=module,
        shape=(batch, steps),
        classes=vocabulary,
        optimizer="adam",
        clip=1.0,
        tolerance=1e-3,
        goals=[Goal(peer=0.70)],
        without=UNROLLS,
    )


def attention(n: int, heads: int, length: int, width: int, peer: float) -> Workload:
    """A row: causal, of float32 (n, heads, length, width)."""
    shape = (n, heads, length, width)
    forms = alike(
        lambda lib, F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    )
    forms["jax"] = causal_attention
    scores = n * heads * length * (length + 1) // 2
    return Layer(
        name=f"attention, causal, {shape}, with gradients",
        group="sequences",
        flops=scores * (14.0 * width + 18),
        bytes=4.0 * 8 * math.prod(shape),
        shapes=(shape,) * 3,
        wanted=3,
        result=shape,
        forms=forms,
        goals=[Goal(peer=peer)],
    )


def causal_attention(j: Any, q: Any, k: Any, v: Any) -> Any:
    """In JAX's terms."""
    length, width = q.shape[-2:]
    s = q @ j.numpy.swapaxes(k, -2, -1) / math.sqrt(width)
    seen = j.numpy.tri(length, dtype=bool)
    return j.nn.softmax(j.numpy.where(seen, s, -j.numpy.inf), axis=-1) @ v


ROWS: list[Workload] = [
    *recurrent("LSTM", 64, 32, 128, 256, 0.95, 0.90),
    *recurrent("GRU", 64, 32, 128, 256, 0.90, 0.42),
    *recurrent("RNN", 64, 32, 128, 256, 0.40, 0.42),
    *recurrent("LSTM", 100, 1, 64, 64, 0.62, 0.40),
    *recurrent("GRU", 100, 1, 64, 64, 0.70, 0.03),
    *recurrent("LSTM", 28, 64, 28, 128, None, 0.75),
    characters(65, 64, 256, 2, 64, 32),
    attention(8, 4, 256, 32, 0.80),
]
