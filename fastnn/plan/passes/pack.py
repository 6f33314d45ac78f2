"""Weights are laid out once as the product reads them: for inference."""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor, op_named
from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.interpret import Memory
from fastnn.plan.passes._uses import STATIC, Uses, said

_COPY = op_named("copy")


def pack(graph: Graph, inference: bool) -> None:
    """The prologue makes a copy of each two-dimensional weight in which the weights of one
    input, to all outputs, are neighbours; products read that. It costs the weights' memory
    again, and nothing where they lie so already."""
    if not inference:
        return
    uses = Uses(graph)
    packed: dict[Any, Buffer] = {}
    for call in graph.calls:
        if call.op.name not in ("matmul", "linear", "linear_act"):
            continue
        w = call.inputs[1]
        if w is None or not _worth(w, call.op.name == "matmul", uses):
            continue
        rows = w if call.op.name == "matmul" else _flipped(w, w.buffer)  # (in, out)
        key = (w.buffer, w.dtype, rows.shape, rows.strides, rows.offset)
        if key not in packed:
            packed[key] = _pack(graph, rows, call.where)
            graph.notes.append(f"pack: weight of {said(call)}")
        k, n = rows.shape
        inner = Value(packed[key], w.dtype, (k, n), (n, 1))
        call.inputs[1] = (
            inner if call.op.name == "matmul" else _flipped(inner, inner.buffer)
        )


def _worth(w: Value, transposed: bool, uses: Uses) -> bool:
    if w.buffer.kind not in STATIC or w.scales or uses.writes[w.buffer]:
        return False
    if len(w.shape) != 2 or min(w.shape) < 2:
        return False
    return w.strides[1 if transposed else 0] != 1


def _flipped(v: Value, buffer: Buffer) -> Value:
    return Value(buffer, v.dtype, v.shape[::-1], v.strides[::-1], v.offset)


def _pack(graph: Graph, rows: Value, where: str) -> Buffer:
    step = Call(_COPY, [rows], (-1,), [], where=where)
    result: Tensor = Memory([]).results(step)[0]
    buffer = Buffer("folded", result)
    step.outputs = [Value(buffer, rows.dtype, rows.shape, result.stride())]
    graph.prologue.append(step)
    return buffer
