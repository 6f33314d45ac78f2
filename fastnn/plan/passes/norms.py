"""What follows a norm element by element moves into its last pass over memory, and what
its gradient is masked by into the first one of its backward."""

from __future__ import annotations

from fastnn._core import op_named
from fastnn.plan.graph import Call, Graph, Value
from fastnn.plan.passes._uses import STATIC, Uses, is_row_major, said

_BATCH_NORM, _BACKWARD = op_named("batch_norm"), op_named("batch_norm_backward")
_SCALE_SHIFT, _RELU_BACKWARD = op_named("scale_shift"), op_named("relu_backward")
_RELU = 1  # fnn_activation
_MEAN, _BIAS, _Y = 4, 3, 6  # inputs of batch_norm_backward; bias is 2 of batch_norm


def norms(graph: Graph, inference: bool) -> None:
    """batch_norm or scale_shift, then a residual of its shape, then relu, each the only
    reader of what was before: one call, where the last of them stood. And relu_backward
    that batch_norm_backward reads: one call, where the first stood."""
    _forward(graph)
    _backward(graph)


# ---- forward -----------------------------------------------------------------------------


def _forward(graph: Graph) -> None:
    uses = Uses(graph)
    calls: list[Call | None] = list(graph.calls)
    for i, call in enumerate(graph.calls):
        if call.op not in (_BATCH_NORM, _SCALE_SHIFT) or call.into or calls[i] is None:
            continue
        fused, at = call, [i]
        reads = [(v, i) for v in call.inputs if v is not None]
        while True:
            j = uses.only_reader(fused.outputs[0], at)
            follower = None if j is None else calls[j]
            longer = None if follower is None else _with(fused, follower)
            if j is None or follower is None or longer is None:
                break
            if any(uses.written_within(v.buffer, k + 1, j) for v, k in reads):
                break
            if not _may_wait(graph, uses, longer, at, j):
                break
            reads += [(v, j) for v in follower.inputs if v is not None]
            fused, at = longer, [*at, j]
        if len(at) > 1:
            for k in at:
                calls[k] = None
            calls[at[-1]] = fused
            parts = ", ".join(graph.calls[k].op.name for k in at[1:])
            graph.notes.append(f"norms: {parts} fused into {said(call)}")
    graph.calls = [call for call in calls if call is not None]


def _with(norm: Call, call: Call) -> Call | None:
    """The norm with the call as its next step."""
    at = norm.op.inputs.index("residual")
    if norm.attrs[-1]:
        return None  # after relu comes nothing
    inputs, attrs = list(norm.inputs), norm.attrs
    inputs += [None] * (len(norm.op.inputs) - len(inputs))
    if call.op.name == "relu":
        attrs = (*attrs[:-1], _RELU)
    elif call.op.name in ("add", "add_") and inputs[at] is None:
        y = norm.outputs[0]
        a, b = call.inputs
        other = b if a is y else a
        if other is None or other is y or not _fits(other, y):
            return None
        inputs[at] = other
    else:
        return None
    outputs = [call.outputs[0], *norm.outputs[1:]]
    return Call(norm.op, inputs, attrs, outputs, where=norm.where)


def _fits(other: Value, y: Value) -> bool:
    """Whether other can be a residual, at every batch: what lies still has y's shape by
    chance."""
    moves = other.number is None and other.buffer.kind not in STATIC
    same = other.shape == y.shape and other.dtype is y.dtype
    return moves and same and is_row_major(other)


def _may_wait(graph: Graph, uses: Uses, norm: Call, at: list[int], j: int) -> bool:
    """Whether nobody before position j looks at what else the norm writes."""
    written = {v.buffer for v in norm.outputs[1:]}
    names = zip(norm.op.inputs, norm.inputs, strict=True)
    written |= {v.buffer for n, v in names if v is not None and n in norm.op.written}
    written = {alias for b in written for alias in uses.aliases.of(b)}
    for k in range(at[0] + 1, j):
        touched = {v.buffer for v in graph.calls[k].inputs if v is not None}
        if k not in at and touched & written:
            return False
    return True


# ---- backward ----------------------------------------------------------------------------


def _backward(graph: Graph) -> None:
    uses = Uses(graph)
    calls: list[Call | None] = list(graph.calls)
    for i, call in enumerate(graph.calls):
        if call.op is not _RELU_BACKWARD or call.into:
            continue
        gz = call.outputs[0]
        readers = sorted(set(uses.values[gz]))
        j = next((k for k in readers if _reads_plainly(graph.calls[k], gz)), None)
        if j is None or not _may_hurry(uses, call, graph.calls[j], i, j):
            continue
        shared = readers != [j] or gz in uses.roots or _viewed(graph, gz)
        calls[i] = _masked(graph, uses, call, graph.calls[j], j, shared)
        calls[j] = None
        graph.notes.append(f"norms: relu_backward fused into {said(graph.calls[j])}")
    graph.calls = [call for call in calls if call is not None]


def _reads_plainly(call: Call, gz: Value) -> bool:
    """Whether the call is a batch_norm_backward of gz that masks nothing yet."""
    inputs = call.inputs
    return call.op is _BACKWARD and inputs[0] is gz and not any(call.attrs)


def _viewed(graph: Graph, v: Value) -> bool:
    """Whether others look at v's memory in another way."""
    return any(
        other is not v and other is not None and other.buffer is v.buffer
        for call in graph.calls
        for other in (*call.inputs, *call.outputs)
    )


def _may_hurry(uses: Uses, relu: Call, norm: Call, i: int, j: int) -> bool:
    """Whether the norm's gradient can be computed at position i already: what it reads is
    there and stays as it is until j, and so does what it masks."""
    gy, y = relu.inputs
    gz = relu.outputs[0]
    if gy is None or y is None or gy.number is not None or y.number is not None:
        return False
    same = gy.shape == y.shape == gz.shape and gy.dtype is y.dtype is gz.dtype
    if not same or uses.written_within(gz.buffer, i + 1, j):
        return False
    for v in norm.inputs[1:]:
        if v is None:
            continue
        if uses.makers.get(v, -1) > i or uses.written_within(v.buffer, i + 1, j):
            return False
    return True


def _masked(
    graph: Graph, uses: Uses, relu: Call, norm: Call, at: int, shared: bool
) -> Call:
    """The norm's gradient that masks gy itself; shared: and says what it masked."""
    inputs = [*norm.inputs, *[None] * (len(_BACKWARD.inputs) - len(norm.inputs))]
    gy, y = relu.inputs
    inputs[0], inputs[_Y] = gy, y
    assert y is not None
    maker = uses.makers.get(y)
    forward = None if maker is None else graph.calls[maker]
    if maker is not None and forward is not None and _made_of(forward, inputs):
        bias = forward.inputs[2]
        unchanged = bias is None or not uses.written_within(bias.buffer, maker, at)
        if unchanged and not uses.written_within(y.buffer, maker + 1, at):
            inputs[_BIAS], inputs[_Y] = bias, None  # it is made again: nothing to read
    outputs = [*norm.outputs[:3], relu.outputs[0] if shared else norm.outputs[3]]
    return Call(_BACKWARD, inputs, (_RELU, shared), outputs, where=norm.where)


def _made_of(forward: Call, inputs: list[Value | None]) -> bool:
    """Whether y is relu of the batch norm whose gradient is asked for, and of no more."""
    if forward.op is not _BATCH_NORM or forward.attrs[-1] != _RELU:
        return False
    x, weight, _, residual = forward.inputs[:4]
    same = forward.outputs[1:] == inputs[_MEAN : _MEAN + 2]
    return same and residual is None and x is inputs[1] and weight is inputs[2]
