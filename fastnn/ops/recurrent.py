"""Recurrent layers over whole sequences: tanh or ReLU networks, GRU and LSTM.

One call is one layer in one direction. Its products with the inputs of all steps are one
GEMM; what the steps do is fused behind their products with the states (csrc/rnn).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    reference,
    saved_for,
    wanted,
)
from fastnn.ops.products import ACTIVATIONS, linear

_rnn, _gru, _lstm = op("rnn"), op("gru"), op("lstm")
_rnn_backward, _gru_backward = op("rnn_backward"), op("gru_backward")
_lstm_backward = op("lstm_backward")
_add, _sub, _mul, _gt, _where = op("add"), op("sub"), op("mul"), op("gt"), op("where")
_sigmoid, _tanh, _relu = op("sigmoid"), op("tanh"), op("relu")
_slice, _reshape, _cat = op("slice"), op("reshape"), op("cat")


def recurrent_layer(
    mode: str,
    x: Tensor,
    weights: tuple[Tensor | None, ...],
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer in one direction.

    Parameters:
        mode : "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        x : float Tensor (steps, batch, features), any strides.
        weights : w_ih (gates units, features), w_hh (gates units, state), b_ih and b_hh
            (gates units,) or None, w_hr (state, units) or None.
        h0, c0 : (batch, state) and (batch, units), or None for zeros.
        lengths : integer Tensor (batch,), or None: all steps of all sequences.
        reverse : from each sequence's end to its beginning.
    Returns: y (steps, batch, state), zeros past a sequence's end; its last state, in the
        order of steps taken; the last cells of an LSTM, else None. Fresh.
    """
    from fastnn.autograd import is_grad_enabled

    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    if mode in ("RNN_TANH", "RNN_RELU"):
        act = ACTIVATIONS[mode[4:].lower()]
        y, hn = _rnn(x, w_ih, w_hh, b_ih, b_hh, h0, lengths, act, reverse)
        return y, hn, None
    given = (x, w_ih, w_hh, b_ih, b_hh, h0, c0, w_hr)
    save = is_grad_enabled() and any(t is not None and t.requires_grad for t in given)
    if mode == "GRU":
        y, hn, _ = _gru(x, w_ih, w_hh, b_ih, b_hh, h0, lengths, save, reverse)
        return y, hn, None
    y, hn, _, cn = _lstm(
        x, w_ih, w_hh, b_ih, b_hh, h0, lengths, c0, w_hr, save, reverse
    )
    return y, hn, cn


# ---- in plain ops, for gradients of gradients ---------------------------------------------


def _parts(z: Tensor, gates: int) -> list[Tensor]:
    units = z.shape[-1] // gates
    return [_slice(z, 1, g * units, (g + 1) * units, 1) for g in range(gates)]


def rnn_step(x: Tensor, h: Tensor, weights: tuple[Any, ...], activation: str) -> Tensor:
    """act(W_ih x + b_ih + W_hh h + b_hh): (batch, features), (batch, units)."""
    w_ih, w_hh, b_ih, b_hh = weights
    z = _add(linear(x, w_ih, b_ih), linear(h, w_hh, b_hh))
    result: Tensor = _relu(z) if activation == "relu" else _tanh(z)
    return result


def gru_step(x: Tensor, h: Tensor, weights: tuple[Any, ...]) -> Tensor:
    """n + u (h - n): (batch, features), (batch, units)."""
    w_ih, w_hh, b_ih, b_hh = weights
    a, b = _parts(linear(x, w_ih, b_ih), 3), _parts(linear(h, w_hh, b_hh), 3)
    r, u = _sigmoid(_add(a[0], b[0])), _sigmoid(_add(a[1], b[1]))
    n = _tanh(_add(a[2], _mul(r, b[2])))
    result: Tensor = _add(n, _mul(u, _sub(h, n)))
    return result


def lstm_step(
    x: Tensor, h: Tensor, c: Tensor, weights: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """(o tanh(c), c = f c + i g): (batch, features), (batch, state), (batch, units)."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    z = _add(linear(x, w_ih, b_ih), linear(h, w_hh, b_hh))
    i, f, g, o = _parts(z, 4)
    c = _add(_mul(_sigmoid(f), c), _mul(_sigmoid(i), _tanh(g)))
    h = _mul(_sigmoid(o), _tanh(c))
    return (h if w_hr is None else linear(h, w_hr)), c


def _unrolled(
    kind: str, activation: str, reverse: bool, *inputs: Any
) -> tuple[Tensor, ...]:
    """y, the last state and, of an LSTM, the last cells; inputs are the row's."""
    from fastnn.ops.creation import zeros

    x, w_ih, w_hh, b_ih, b_hh, h0, lengths = inputs[:7]
    c0, w_hr = inputs[7:] if kind == "lstm" else (None, None)
    steps, batch = x.shape[:2]
    if lengths is not None:
        lengths = _reshape(lengths, (batch, 1))
    h, c = h0, c0
    if h is None:
        h = zeros(batch, w_hh.shape[1], dtype=x.dtype)
    if c is None:
        c = zeros(batch, w_hh.shape[0] // 4, dtype=x.dtype)
    weights = (w_ih, w_hh, b_ih, b_hh)
    ys: list[Any] = [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        at = _reshape(_slice(x, 0, t, t + 1, 1), x.shape[1:])
        new_c = c
        if kind == "rnn":
            new = rnn_step(at, h, weights, activation)
        elif kind == "gru":
            new = gru_step(at, h, weights)
        else:
            new, new_c = lstm_step(at, h, c, (*weights, w_hr))
        ys[t] = new
        if lengths is not None:
            there = _gt(lengths, t)
            ys[t] = _where(there, new, 0.0)
            new, new_c = _where(there, new, h), _where(there, new_c, c)
        h, c = new, new_c
    ys = [_reshape(v, (1, *v.shape)) for v in ys]
    y = _cat(ys, 0) if ys else zeros(0, *h.shape, dtype=x.dtype)
    return (y, h, c) if kind == "lstm" else (y, h)


def _unrolled_rnn(*inputs: Any) -> Any:
    act, reverse = inputs[7:]
    name = "relu" if act == ACTIVATIONS["relu"] else "tanh"
    return _unrolled("rnn", name, reverse, *inputs[:7])


def _unrolled_gru(*inputs: Any) -> Any:
    y, hn = _unrolled("gru", "", inputs[8], *inputs[:7])
    return y, hn, hn


def _unrolled_lstm(*inputs: Any) -> Any:
    y, hn, cn = _unrolled("lstm", "", inputs[10], *inputs[:9])
    return y, hn, hn, cn


# ---- gradients ----------------------------------------------------------------------------

_INPUTS = "x w_ih w_hh b_ih b_hh h0"


def _needs(node: Node, *inputs: int) -> int:
    """A bit for each input, of those that are wanted, in the order of backward's outputs."""
    return sum(1 << bit for bit, i in enumerate(inputs) if i >= 0 and node.needs(i))


@gradient("rnn", saves=saved_for(_INPUTS + " lengths y", _INPUTS), outputs="hn")
def _(node: Node, gy: Tensor | None, ghn: Tensor | None) -> Gradients:
    from fastnn.autograd import composite_gradient, is_grad_enabled

    *inputs, y = node.saved
    if is_grad_enabled():
        return composite_gradient(node, _unrolled_rnn, tuple(inputs), (gy, ghn))
    act, reverse = node.attrs
    x, w_ih, w_hh, _, _, h0, lengths = inputs
    needs = _needs(node, 0, 5, 1, 2) | (node.needs(3) or node.needs(4)) << 4
    gx, gh0, gw_ih, gw_hh, gb = _rnn_backward(
        gy, ghn, x, w_ih, w_hh, h0, lengths, y, act, reverse, needs
    )
    return wanted(node, gx, gw_ih, gw_hh, gb, gb, gh0, None)


@gradient("gru", saves=saved_for(_INPUTS + " lengths y saved", _INPUTS), outputs="hn")
def _(node: Node, gy: Tensor | None, ghn: Tensor | None, _saved: None) -> Gradients:
    from fastnn.autograd import composite_gradient, is_grad_enabled

    *inputs, y, saved = node.saved
    if is_grad_enabled():
        return composite_gradient(node, _unrolled_gru, tuple(inputs), (gy, ghn, None))
    save, reverse = node.attrs
    x, w_ih, w_hh, _, _, h0, lengths = inputs
    if not save:
        y, _, saved = _gru(*inputs, True, reverse)
    needs = _needs(node, 0, 5, 1, 2) | (node.needs(3) or node.needs(4)) << 4
    gx, gh0, gw_ih, gw_hh, gb_ih, gb_hh = _gru_backward(
        gy, ghn, x, w_ih, w_hh, h0, lengths, y, saved, reverse, needs
    )
    return wanted(node, gx, gw_ih, gw_hh, gb_ih, gb_hh, gh0, None)


@gradient(
    "lstm",
    saves=saved_for(_INPUTS + " lengths c0 w_hr y saved", _INPUTS + " c0 w_hr"),
    outputs="hn cn",
)
def _(
    node: Node, gy: Tensor | None, ghn: Tensor | None, _saved: None, gcn: Tensor | None
) -> Gradients:
    from fastnn.autograd import composite_gradient, is_grad_enabled

    *inputs, y, saved = node.saved
    if is_grad_enabled():
        given = (gy, ghn, None, gcn)
        return composite_gradient(node, _unrolled_lstm, tuple(inputs), given)
    save, reverse = node.attrs
    x, w_ih, w_hh, _, _, h0, lengths, c0, w_hr = inputs
    if not save:
        y, _, saved, _ = _lstm(*inputs, True, reverse)
    needs = _needs(node, 0, 5, 1, 2, -1, 7, 8) | (node.needs(3) or node.needs(4)) << 4
    gx, gh0, gw_ih, gw_hh, gb, gc0, gw_hr = _lstm_backward(
        gy, ghn, x, w_ih, w_hh, h0, lengths, y, saved, gcn, c0, w_hr, reverse, needs
    )
    return wanted(node, gx, gw_ih, gw_hh, gb, gb, gh0, None, gc0, gw_hr)


no_gradient("rnn_backward", "gru_backward", "lstm_backward")

# ---- references ---------------------------------------------------------------------------


def _logistic(z: Any) -> Any:
    return np.exp(-np.logaddexp(0, -z))


_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def _active(lengths: Any, steps: int, batch: int) -> list[Any]:
    """The sequences that are there at each step, the longest first."""
    n = np.full(batch, steps) if lengths is None else lengths
    order = np.argsort(-n, kind="stable")
    return [order[: np.count_nonzero(n > t)] for t in range(steps)]


def _forward(
    kind: str,
    act: int,
    reverse: bool,
    x: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    h0: Any = None,
    lengths: Any = None,
    c0: Any = None,
    w_hr: Any = None,
) -> Any:
    """y, the last states and cells, and what forward saves of each step."""
    steps, batch = x.shape[:2]
    gates = _GATES[kind]
    h = np.zeros((batch, w_hh.shape[1]), x.dtype) if h0 is None else h0.copy()
    c = np.zeros((batch, len(w_hh) // gates), x.dtype) if c0 is None else c0.copy()
    y = np.zeros((steps, *h.shape), x.dtype)
    kept: dict[int, list[Any]] = {}
    active = _active(lengths, steps, batch)
    for t in reversed(range(steps)) if reverse else range(steps):
        there = active[t]
        a = x[t, there] @ w_ih.T + (0 if b_ih is None else b_ih)
        b = h[there] @ w_hh.T + (0 if b_hh is None else b_hh)
        a, b = (np.split(v, gates, axis=1) for v in (a, b))
        if kind == "rnn":
            z = a[0] + b[0]
            new = np.where(z < 0, 0, z) if act == ACTIVATIONS["relu"] else np.tanh(z)
        elif kind == "gru":
            r, u = _logistic(a[0] + b[0]), _logistic(a[1] + b[1])
            n = np.tanh(a[2] + r * b[2])
            new = (1 - u) * n + u * h[there]
            kept[t] = [np.hstack([r, u, n, b[2]])]
        else:
            i, f, g, o = (p + q for p, q in zip(a, b, strict=True))
            i, f, g, o = _logistic(i), _logistic(f), np.tanh(g), _logistic(o)
            raw = o * np.tanh(f * c[there] + i * g)
            kept[t] = [np.hstack([i, f, g, o]), c[there], raw]
            c[there] = f * c[there] + i * g
            new = raw if w_hr is None else raw @ w_hr.T
        h[there] = y[t, there] = new
    return y, h, c, kept


def _packed(kept: dict[int, list[Any]], wanted: int, x: Any, units: int) -> Any:
    """What forward saves: one part after the other, each of all steps."""
    rows = x.shape[0] * x.shape[1]
    parts = []
    for k in range(wanted):
        width = units if k else 4 * units
        part = np.zeros((rows, width), x.dtype)
        if kept:
            found = np.concatenate([kept[t][k] for t in sorted(kept)])
            part[: len(found)] = found
        parts.append(part.reshape(-1))
    return np.concatenate(parts).reshape(*x.shape[:2], (3 + wanted) * units)


@reference("rnn")
def _(*inputs: Any) -> Any:
    return _forward("rnn", inputs[7], inputs[8], *inputs[:7])[:2]


@reference("gru")
def _(*inputs: Any) -> Any:
    x, units, save = inputs[0], inputs[2].shape[1], inputs[7]
    y, h, _, kept = _forward("gru", 0, inputs[8], *inputs[:7])
    saved = _packed(kept, 1, x, units) if save else np.zeros((0, x.shape[1], 4 * units))
    return y, h, saved


@reference("lstm")
def _(*inputs: Any) -> Any:
    x, units, save = inputs[0], len(inputs[2]) // 4, inputs[9]
    parts = 2 if inputs[8] is None else 3
    y, h, c, kept = _forward("lstm", 0, inputs[10], *inputs[:9])
    saved = np.zeros((0, x.shape[1], (3 + parts) * units))
    return y, h, _packed(kept, parts, x, units) if save else saved, c


def _unpacked(saved: Any, active: list[Any], units: int) -> list[list[Any]]:
    """The parts of what forward saved, step by step."""
    flat, rows = saved.reshape(-1), saved.shape[0] * saved.shape[1]
    starts = np.cumsum([0, *map(len, active)])
    parts, at = [], 0
    for k in range(saved.shape[2] // units - 3):
        width = units if k else 4 * units
        parts.append(flat[at : at + rows * width].reshape(rows, width))
        at += rows * width
    return [[part[a:b] for part in parts] for a, b in pairwise(starts)]


def _backward(
    kind: str,
    act: int,
    reverse: bool,
    needs: int,
    gy: Any,
    ghn: Any,
    x: Any,
    w_ih: Any,
    w_hh: Any,
    h0: Any,
    lengths: Any,
    y: Any,
    saved: Any = None,
    gcn: Any = None,
    c0: Any = None,
    w_hr: Any = None,
) -> list[Any]:
    """gx, gh0, gw_ih, gw_hh, gb_ih, then gb_hh of a GRU, or gc0 and gw_hr of an LSTM."""
    steps, batch = x.shape[:2]
    units = len(w_hh) // _GATES[kind]
    active = _active(lengths, steps, batch)
    kept = _unpacked(saved, active, units) if kind != "rnn" else []
    gh = np.zeros((batch, w_hh.shape[1])) if ghn is None else ghn.astype(float)
    gc = np.zeros((batch, units)) if gcn is None else gcn.astype(float)
    first = np.zeros_like(gh) if h0 is None else h0
    gx, gw_ih, gw_hh = np.zeros(x.shape), np.zeros(w_ih.shape), np.zeros(w_hh.shape)
    gb_ih, gb_hh = np.zeros(len(w_hh)), np.zeros(len(w_hh))
    gw_hr = np.zeros((0, units) if w_hr is None else w_hr.shape)
    for t in range(steps) if reverse else reversed(range(steps)):
        there = active[t]
        last = t + 1 if reverse else t - 1
        before = first[there].copy()
        if 0 <= last < steps:
            both = np.isin(there, active[last])
            before[both] = y[last, there[both]]
        total = gh[there] + (0 if gy is None else gy[t, there])
        if kind == "rnn":
            h = y[t, there]
            gz = total * (h > 0 if act == ACTIVATIONS["relu"] else 1 - h * h)
            hidden = gz
            gh[there] = hidden @ w_hh
        elif kind == "gru":
            r, u, n, q = np.split(kept[t][0], 4, axis=1)
            gn = total * (1 - u) * (1 - n * n)
            gu, gr = total * (before - n) * u * (1 - u), gn * q * r * (1 - r)
            gz, hidden = np.hstack([gr, gu, gn]), np.hstack([gr, gu, gn * r])
            gh[there] = hidden @ w_hh + total * u
        else:
            i, f, g, o = np.split(kept[t][0], 4, axis=1)
            c = kept[t][1]
            if w_hr is not None:
                gw_hr += total.T @ kept[t][2]
                total = total @ w_hr
            e = np.tanh(f * c + i * g)
            d = gc[there] + total * o * (1 - e * e)
            gz = hidden = np.hstack(
                [
                    d * g * i * (1 - i),
                    d * c * f * (1 - f),
                    d * i * (1 - g * g),
                    total * e * o * (1 - o),
                ]
            )
            gc[there] = d * f
            gh[there] = hidden @ w_hh
        gx[t, there] = gz @ w_ih
        gw_ih += gz.T @ x[t, there]
        gw_hh += hidden.T @ before
        gb_ih += gz.sum(0)
        gb_hh += hidden.sum(0)
    made = [gx, gh, gw_ih, gw_hh, gb_ih]
    made += [gb_hh] if kind == "gru" else [gc, gw_hr] if kind == "lstm" else []
    bits = [0, 1, 2, 3, 4, 4] if kind == "gru" else range(len(made))
    return [g if needs >> b & 1 else g[:0] for g, b in zip(made, bits, strict=True)]


@reference("rnn_backward")
def _(*inputs: Any) -> Any:
    return _backward("rnn", *inputs[8:], *inputs[:8])


@reference("gru_backward")
def _(*inputs: Any) -> Any:
    return _backward("gru", 0, *inputs[9:], *inputs[:9])


@reference("lstm_backward")
def _(*inputs: Any) -> Any:
    return _backward("lstm", 0, *inputs[12:], *inputs[:12])
