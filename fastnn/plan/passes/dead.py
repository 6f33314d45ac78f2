"""Calls go whose results nobody reads."""

from __future__ import annotations

from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.passes._uses import OUTSIDE, checks_values, is_random


def dead(graph: Graph, inference: bool) -> None:
    """Drops what is neither read nor seen: no draw of random numbers, no write to memory
    outside, no call that eager would have raised in."""
    buffers = {v.buffer for v in graph.roots()}
    values = set(graph.roots())
    dropped = len(graph.calls)
    graph.calls = _live(graph.calls, buffers, values)
    dropped -= len(graph.calls)
    graph.prologue = _live(graph.prologue, buffers, values)
    if dropped:
        graph.notes.append(f"dead: {dropped} dropped, views included")


def _live(calls: list[Call], buffers: set[Buffer], values: set[Value]) -> list[Call]:
    """The calls that are needed for buffers and values, which grow by what these need."""
    kept = []
    for call in reversed(calls):
        if call.is_view:
            needed = call.outputs[0] in values
        else:
            needed = (
                is_random(call)
                or checks_values(call)
                or any(b in buffers or b.kind in OUTSIDE for b in call.writes)
            )
        if needed:
            kept.append(call)
            buffers.update(call.reads)
            values.update(v for v in call.inputs if v is not None)
            values.update(call.outputs)
    return kept[::-1]
