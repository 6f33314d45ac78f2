"""Weights are laid out once as the product reads them: for inference."""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor, op_named, others_may_write
from fastnn.ops.products import ACTIVATIONS, PANEL
from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.interpret import Memory
from fastnn.plan.passes._uses import STATIC, Uses, said

_COPY, _PANELS = op_named("copy"), op_named("panels")
_LINEAR_PANELS = op_named("linear_panels")
_LAYERS = ("linear", "linear_act")


def pack(graph: Graph, inference: bool) -> None:
    """The prologue makes a copy of each two-dimensional weight in panels of outputs, in
    which the weights of one input are neighbours, and so is what is read next; products
    read that. It costs the weights' memory again, in whole panels. Up to one panel of
    outputs is enough to be turned round, and costs nothing where it lies so already. What
    NumPy may write at any time stays where it is: the copy would be made at every call."""
    if not inference:
        return
    uses = Uses(graph)
    packed: dict[Any, Buffer] = {}
    for call in graph.calls:
        w = _weight(call, uses)
        if w is None:
            continue
        n, k = w.shape
        wide = n > PANEL
        if not wide and w.strides[0] == 1:
            continue
        step = (
            Call(_PANELS, [w], (), []) if wide else Call(_COPY, [_turned(w)], (-1,), [])
        )
        key = (step.op, w.buffer, w.dtype, w.shape, w.strides, w.offset)
        if key not in packed:
            packed[key] = _made(graph, step, call)
            graph.notes.append(f"pack: weight of {said(call)}")
        buffer = packed[key]
        if wide:
            shape = (-(-n // PANEL), k, PANEL)
            _read_panels(call, Value(buffer, w.dtype, shape, (k * PANEL, PANEL, 1)), n)
        else:
            inner = Value(buffer, w.dtype, (k, n), (n, 1))
            call.inputs[1] = inner if call.op.name == "matmul" else _turned(inner)


def _weight(call: Call, uses: Uses) -> Value | None:
    """What the call multiplies by, as (out, in), where that stays as it is."""
    if call.op.name != "matmul" and call.op.name not in _LAYERS:
        return None
    w = call.inputs[1]
    if w is None or w.buffer.kind not in STATIC or w.scales or uses.writes[w.buffer]:
        return None
    if len(w.shape) != 2 or min(w.shape) < 2:
        return None
    if w.buffer.tensor is not None and others_may_write(w.buffer.tensor):
        return None
    return _turned(w) if call.op.name == "matmul" else w


def _turned(v: Value) -> Value:
    return Value(v.buffer, v.dtype, v.shape[::-1], v.strides[::-1], v.offset)


def _read_panels(call: Call, panels: Value, out: int) -> None:
    """Makes the call a linear_panels; what follows the batch stays in its place."""
    x, _, bias, residual = [*call.inputs, None, None][:4]
    activation = call.attrs[0] if call.op.name == "linear_act" else ACTIVATIONS[None]
    call.op = _LINEAR_PANELS
    call.inputs = [x, panels, bias, residual]
    call.attrs = (activation, out)


def _made(graph: Graph, step: Call, call: Call) -> Buffer:
    step.where = call.where
    result: Tensor = Memory([]).results(step)[0]
    buffer = Buffer("folded", result)
    (source,) = step.inputs
    assert source is not None
    step.outputs = [Value(buffer, source.dtype, result.shape, result.stride())]
    graph.prologue.append(step)
    return buffer
