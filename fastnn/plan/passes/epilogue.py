"""What follows a product or a convolution element by element moves into its last pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastnn._core import op_named
from fastnn.ops.products import ACTIVATIONS
from fastnn.plan.graph import Call, Graph, Value
from fastnn.plan.passes._uses import STATIC, Uses, is_row_major, said

_MATMUL, _PERMUTE = op_named("matmul"), op_named("permute")
_LINEAR, _LINEAR_ACT = op_named("linear"), op_named("linear_act")
_CONV, _CONV_ACT = op_named("conv"), op_named("conv_act")
_HEADS = (_MATMUL, _LINEAR, _LINEAR_ACT, _CONV, _CONV_ACT)
_LAYER = len(_CONV.attributes)  # attributes that both rows have


def epilogue(graph: Graph, inference: bool) -> None:
    """A product and then a bias, a residual of its shape, an activation, in this order,
    each the only reader of what was before, or written over it: one linear_act. Likewise a
    convolution, scale and shift of its channels, a residual, an activation: one conv_act.
    It stands where the last of them stood, if nothing in between writes what it reads."""
    uses = Uses(graph)
    calls: list[Call | None] = list(graph.calls)
    views: dict[int, Call] = {}
    for i, call in enumerate(graph.calls):
        product = _start(call) if calls[i] is call else None
        if product is None:
            continue
        at = [i]  # where what is fused stood
        reads = [(v, i) for v in call.inputs if v is not None]
        while True:
            j = uses.only_reader(product.result, at)
            follower = None if j is None else calls[j]
            if j is None or follower is None or not _take(product, follower):
                break
            if any(uses.written_within(v.buffer, k + 1, j) for v, k in reads):
                break
            product.commit(follower.outputs[0])
            reads += [(v, j) for v in follower.inputs if v is not None]
            at.append(j)
        if len(at) == 1:
            continue
        weight, view = _weight(graph, uses, product)
        if view is not None:
            views[at[-1]] = view
        for k in at:
            calls[k] = None
        calls[at[-1]] = product.call(weight, call.where)
        parts = ", ".join(graph.calls[k].op.name for k in at[1:])
        graph.notes.append(f"epilogue: {parts} fused into {said(call)}")
    graph.calls = []
    for k, slot in enumerate(calls):
        if slot is not None:
            graph.calls += [views[k], slot] if k in views else [slot]


@dataclass(frozen=True, slots=True)
class _Epilogue:
    """activation(fma(sum + bias, scale, shift) + residual); scale and shift are those of
    channels, after a convolution alone."""

    bias: Value | None = None
    scale: Value | None = None
    shift: Value | None = None
    residual: Value | None = None
    activation: int = 0


@dataclass(slots=True)
class _Product:
    """A product or convolution and its epilogue so far; `following` is what it would be
    with one more."""

    head: Call
    epilogue: _Epilogue
    result: Value
    following: _Epilogue

    @property
    def is_convolution(self) -> bool:
        return self.head.op in (_CONV, _CONV_ACT)

    @property
    def transposed(self) -> bool:
        """Whether weight is (in, out), matmul's second operand."""
        return self.head.op is _MATMUL

    @property
    def weight(self) -> Value:
        weight = self.head.inputs[1]
        assert weight is not None
        return weight

    def commit(self, result: Value) -> None:
        self.epilogue, self.result = self.following, result

    def call(self, weight: Value, where: str) -> Call:
        e = self.epilogue
        inputs: list[Value | None] = [self.head.inputs[0], weight, e.bias]
        attrs: tuple[Any, ...] = ()
        plain, fused = _LINEAR, _LINEAR_ACT
        more = [e.residual]
        if self.is_convolution:
            plain, fused = _CONV, _CONV_ACT
            attrs = tuple(self.head.attrs[:_LAYER])
            more = [e.scale, e.shift, e.residual]
        if e.activation == 0 and all(v is None for v in more):
            return Call(plain, inputs, attrs, [self.result], where=where)
        return Call(
            fused, inputs + more, (*attrs, e.activation), [self.result], where=where
        )


def _start(call: Call) -> _Product | None:
    """The product that the call is, if more can follow it."""
    if call.op not in _HEADS or call.into:
        return None
    given: list[Value | None] = [*call.inputs[2:], None, None, None, None]
    if call.op in (_CONV, _CONV_ACT):
        bias, scale, shift, residual = given[:4]
        start = _Epilogue(bias, scale, shift, residual)
    else:
        weight = call.inputs[1]
        if weight is None or len(weight.shape) != 2:
            return None
        start = _Epilogue(given[0], residual=given[1])
    if call.op in (_LINEAR_ACT, _CONV_ACT) and call.attrs[-1] != 0:
        return None
    return _Product(call, start, call.outputs[0], start)


def _take(product: _Product, call: Call) -> bool:
    """Whether the call can be the product's next step; it is then in product.following."""
    y, e = product.result, product.epilogue
    if e.activation:
        return False
    if call.op.name in ACTIVATIONS:
        product.following = replace(e, activation=ACTIVATIONS[call.op.name])
        return True
    if e.residual is not None:
        return False
    if call.op.name == "scale_shift":
        x, scale, shift, residual = call.inputs
        if not product.is_convolution or x is not y or e.scale is not None:
            return False
        if residual is not None and not is_row_major(residual):
            return False
        product.following = _Epilogue(e.bias, scale, shift, residual, call.attrs[0])
        return True
    if call.op.name not in ("add", "add_"):
        return False
    a, b = call.inputs
    other = b if a is y else a
    if other is None or other.number is not None or other.dtype is not y.dtype:
        return False
    vector = other.shape == y.shape[-1:] and other.strides == (1,)
    if e == _Epilogue() and vector and len(y.shape) > 1 and not product.is_convolution:
        product.following = _Epilogue(bias=other)
        return True
    # what lies still, whatever the batch, has y's shape by chance
    moves = other.buffer.kind not in STATIC
    if moves and other.shape == y.shape and is_row_major(other):
        product.following = replace(e, residual=other)
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
