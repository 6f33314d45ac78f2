"""Equal calls become one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.passes._uses import STATIC, Uses, is_fresh, rename


def merge(graph: Graph, inference: bool) -> None:
    """Of calls of one op with equal attributes, on the same values in the same state,
    the first stays, where no result escapes or is written later."""
    uses = Uses(graph)
    written: dict[Buffer, int] = defaultdict(int)  # how often, so far
    values: dict[Value, Value] = {}
    buffers: dict[Buffer, Buffer] = {}
    first: dict[Any, Call] = {}
    kept = []

    def look(v: Value | None) -> Any:
        """What v is. Layouts tell values apart where no batch changes them."""
        if v is None:
            return None
        if v.number is not None:
            return repr(v.number), v.scale
        v = values.get(v, v)
        if v.buffer.kind in STATIC and not v.scales:
            where = (v.buffer, v.dtype, v.shape, v.strides, v.offset)
            return where, written[v.buffer]
        return v, written[v.buffer]

    def shareable(call: Call) -> bool:
        return call.is_view or (
            is_fresh(call)
            and not any(
                uses.escapes(v.buffer) or len(uses.writes[v.buffer]) > 1
                for v in call.outputs
            )
        )

    for call in graph.calls:
        key = None
        if shareable(call):
            key = (
                call.op.id,
                repr(call.attrs),
                call.count,
                tuple(sorted(call.scales.items())),
                # a view is where its input is, whatever is written there
                tuple(
                    v and look(v)[0] if call.is_view else look(v) for v in call.inputs
                ),
            )
            earlier = first.setdefault(key, call)
            if earlier is not call:
                for old, new in zip(call.outputs, earlier.outputs, strict=True):
                    values[old] = new
                    if not call.is_view:
                        buffers[old.buffer] = new.buffer
                continue
        kept.append(call)
        for b in set(call.writes):
            for a in uses.aliases.of(b):
                written[a] += 1
    dropped = [c for c in graph.calls if not c.is_view]
    count = len(dropped) - len([c for c in kept if not c.is_view])
    graph.calls = kept
    rename(graph, values, buffers)
    if count:
        graph.notes.append(f"merge: {count} equal to earlier ones dropped")
