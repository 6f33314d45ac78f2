"""What depends on constants alone is computed once; for inference, what depends on
parameters is computed when they change."""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor
from fastnn.plan.graph import Call, Graph
from fastnn.plan.interpret import Memory
from fastnn.plan.passes._uses import (
    Uses,
    follows_batch,
    is_fresh,
    is_static,
    said,
)

# What is kept may be larger than what it was made from (expand, outer products), and then
# costs memory bandwidth: up to this it is cheap, above it at most GROWTH times larger.
SMALL = 1 << 20  # bytes
GROWTH = 4


def fold(graph: Graph, inference: bool) -> None:
    """Calls on constants become constants of at most SMALL bytes. For inference, calls on
    parameters too move to the prologue, and their results become folded buffers.

    Views of memory that does not move need no call either.
    """
    uses = Uses(graph)
    memory = Memory([])
    kept: list[Call] = []
    made: dict[str, int] = {"constant": 0, "folded": 0}
    for i, call in enumerate(graph.calls):
        kind = _kind(call, i, uses, inference)
        if kind is None:
            kept.append(call)
        elif not call.is_view:
            results = memory.results(call)
            if _too_large(call, results, kind):
                kept.append(call)
                continue
            for v, tensor in zip(call.outputs, results, strict=True):
                v.buffer.kind, v.buffer.tensor = kind, tensor
            if kind == "folded":
                graph.prologue.append(call)
                graph.notes.append(f"fold: {said(call)} only when its inputs change")
            made[kind] += 1
    graph.calls = kept
    if made["constant"]:
        graph.notes.append(f"fold: {made['constant']} of constants alone done once")


def _fills(call: Call, uses: Uses) -> bool:
    """Whether the call fills all of what empty() gave, as zeros() and ones() do."""
    x = call.inputs[0] if call.op.name == "copy_" else None
    if x is None or x.buffer.kind != "internal" or x.scales:
        return False
    return x not in uses.makers


def _kind(call: Call, at: int, uses: Uses, inference: bool) -> Any:
    """What the call's results become: "constant", "folded" or None for neither."""
    fills = _fills(call, uses)
    inputs = [v for v in call.inputs[fills:] if v is not None]
    if follows_batch(call) or not all(is_static(v) for v in inputs):
        return None
    buffers = [v.buffer for v in inputs if v.number is None]
    if any(b.kind == "external" and uses.writes[b] for b in buffers):
        return None
    kind = "constant" if all(b.kind == "constant" for b in buffers) else "folded"
    if call.is_view:
        return kind
    if fills:
        b = call.outputs[0].buffer
        once = uses.writes[b] == [at] and not uses.escapes(b)
        return "constant" if once and kind == "constant" else None
    if not is_fresh(call) or (kind == "folded" and not inference):
        return None
    for v in call.outputs:
        if uses.escapes(v.buffer) or len(uses.writes[v.buffer]) > 1:
            return None
    return kind


def _too_large(call: Call, results: list[Tensor], kind: str) -> bool:
    size = sum(t.nbytes for t in results)
    given = sum(v.nbytes for v in call.inputs if v is not None and v.number is None)
    return size > (SMALL if kind == "constant" else max(SMALL, GROWTH * given))
