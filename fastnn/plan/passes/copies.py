"""Copies go where reading the original is the same."""

from __future__ import annotations

from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.passes._uses import Uses, is_fresh, rename, said


def copies(graph: Graph, inference: bool) -> None:
    """Drops copies of whole internal buffers into the same dtype, where the original is
    used by nobody afterwards, or neither is written and at most one of them is seen after
    the call: the copy's readers read the original."""
    uses = Uses(graph)
    values: dict[Value, Value] = {}
    buffers: dict[Buffer, Buffer] = {}
    kept = []
    for i, call in enumerate(graph.calls):
        source = call.inputs[0] if call.inputs else None
        while source in values:
            source = values[source]
        if source is None or not _applies(graph, uses, call, source):
            kept.append(call)
            continue
        result = call.outputs[0]
        old, new = result.buffer, _final(source.buffer, buffers)
        later = any(j > i for j in uses.reads[new] + uses.writes[new])
        written = any(j > i for j in uses.writes[old] + uses.writes[new])
        both = uses.escapes(old) and uses.escapes(new)
        if both or (written and (later or uses.escapes(new))):
            kept.append(call)
            continue
        values[result], buffers[old] = source, new
        uses.reads[new] = [j for j in uses.reads[new] if j != i] + uses.reads[old]
        uses.writes[new] += [j for j in uses.writes[old] if j != i]
        new.escapes = uses.escapes(old) or uses.escapes(new)
        graph.notes.append(f"copies: {said(call)} reads the original")
    graph.calls = kept
    rename(graph, values, buffers)


def _final(b: Buffer, buffers: dict[Buffer, Buffer]) -> Buffer:
    while b in buffers:
        b = buffers[b]
    return b


def _applies(graph: Graph, uses: Uses, call: Call, source: Value) -> bool:
    """Whether the call copies a whole fresh result, perhaps reshaped, as it lies."""
    if call.op.name != "copy" or not is_fresh(call) or source.number is not None:
        return False
    if source.dtype is not call.outputs[0].dtype:
        return False
    while True:
        maker = uses.makers.get(source)
        if maker is None:
            return False
        made_by = graph.calls[maker]
        if made_by.op.name != "reshape":
            return is_fresh(made_by)
        before = made_by.inputs[0]
        if before is None:
            return False
        source = before
