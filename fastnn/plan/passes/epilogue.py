"""What follows a matrix product element by element moves into its last pass."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn._core import op_named
from fastnn.ops.products import ACTIVATIONS
from fastnn.plan.graph import Call, Graph, Value
from fastnn.plan.passes._uses import STATIC, Uses, said

_LINEAR, _LINEAR_ACT = op_named("linear"), op_named("linear_act")
_PERMUTE = op_named("permute")
_RESIDUAL = "residual" in _LINEAR_ACT.inputs


def epilogue(graph: Graph, inference: bool) -> None:
    """A product and then a bias, a residual of its shape, an activation, in this order,
    each the only reader of what was before: one linear_act. It stands where the last of
    them stood, if nothing in between writes what it reads."""
    uses = Uses(graph)
    calls: list[Call | None] = list(graph.calls)
    views: dict[int, Call] = {}
    for i, call in enumerate(graph.calls):
        fused = _start(call) if calls[i] is call else None
        if fused is None:
            continue
        last, parts = i, []
        reads = [(v, i) for v in call.inputs if v is not None]  # and where it was read
        while True:
            j = _only_reader(uses, fused.result, last)
            follower = None if j is None else calls[j]
            if j is None or follower is None or not _take(fused, follower):
                break
            if any(uses.written_within(v.buffer, at + 1, j) for v, at in reads):
                break
            calls[last], last = None, j
            fused.result = follower.outputs[0]
            fused.commit()
            reads += [(v, j) for v in follower.inputs if v is not None]
            parts.append(follower.op.name)
        if not parts:
            continue
        weight, view = _weight(graph, uses, fused)
        if view is not None:
            views[last] = view
        calls[last] = fused.call(weight, call.where)
        graph.notes.append(f"epilogue: {', '.join(parts)} fused into {said(call)}")
    graph.calls = []
    for k, slot in enumerate(calls):
        if slot is not None:
            graph.calls += [views[k], slot] if k in views else [slot]


@dataclass(slots=True)
class _Product:
    """A product and its epilogue so far; `next_` is what is being tried."""

    x: Value
    weight: Value
    transposed: bool  # weight is (in, out), matmul's second operand
    bias: Value | None
    residual: Value | None
    activation: int
    result: Value
    next_: tuple[Value | None, Value | None, int] | None = None

    def commit(self) -> None:
        assert self.next_ is not None
        self.bias, self.residual, self.activation = self.next_

    def call(self, weight: Value, where: str) -> Call:
        inputs = [self.x, weight, self.bias]
        if self.activation == 0 and self.residual is None:
            return Call(_LINEAR, inputs, (), [self.result], where=where)
        if _RESIDUAL:
            inputs.append(self.residual)
        attrs = (self.activation,)
        return Call(_LINEAR_ACT, inputs, attrs, [self.result], where=where)


def _start(call: Call) -> _Product | None:
    """The product that the call is, if more can follow it."""
    name = call.op.name
    if name not in ("matmul", "linear", "linear_act") or call.into:
        return None
    x, weight = call.inputs[:2]
    assert x is not None and weight is not None
    if len(weight.shape) != 2 or (name == "linear_act" and call.attrs[0] != 0):
        return None
    rest = [*call.inputs[2:], None, None]
    y = call.outputs[0]
    return _Product(x, weight, name == "matmul", rest[0], rest[1], 0, y)


def _only_reader(uses: Uses, v: Value, at: int) -> int | None:
    """The one call that reads v, whose memory nobody else uses."""
    if uses.escapes(v.buffer) or v.buffer.kind != "internal":
        return None
    if len(uses.values[v]) != 1 or uses.writes[v.buffer] != [at]:
        return None
    reader = uses.values[v][0]
    return reader if uses.reads[v.buffer] == [reader] else None


def _take(product: _Product, call: Call) -> bool:
    """Whether the call can be the product's next step; it is then in product.next_."""
    if call.into or call.in_place or product.activation:
        return False
    y, bias, residual = product.result, product.bias, product.residual
    result = call.outputs[0] if call.outputs else y
    if result.shape != y.shape or result.dtype is not y.dtype:
        return False
    if call.op.name in ACTIVATIONS:
        product.next_ = bias, residual, ACTIVATIONS[call.op.name]
        return True
    if call.op.name != "add":
        return False
    a, b = call.inputs
    other = b if a is y else a
    if other is None or other is y or other.number is not None:
        return False
    if other.dtype is not y.dtype or residual is not None:
        return False
    vector = other.shape == y.shape[-1:] and other.strides == (1,)
    if bias is None and vector and len(y.shape) > 1:
        product.next_ = other, None, 0
        return True
    if _RESIDUAL and other.shape == y.shape:
        product.next_ = bias, other, 0
        return True
    return False


def _weight(graph: Graph, uses: Uses, product: _Product) -> tuple[Value, Call | None]:
    """The weight as linear takes it, (out, in), and the view that makes it if need be."""
    w = product.weight
    if not product.transposed:
        return w, None
    maker = uses.makers.get(w)
    if maker is not None:
        view = graph.calls[maker]
        before = view.inputs[0]
        swaps = view.op.name == "permute" and [d % 2 for d in view.attrs[0]] == [1, 0]
        if swaps and before is not None:
            return before, None
    flipped = Value(w.buffer, w.dtype, w.shape[::-1], w.strides[::-1], w.offset)
    if w.buffer.kind in STATIC and not w.scales:
        return flipped, None
    return flipped, Call(_PERMUTE, [w], ((1, 0),), [flipped])
