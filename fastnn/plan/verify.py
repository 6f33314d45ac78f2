"""Rules that a graph keeps; checked after recording and after every pass."""

from __future__ import annotations

from collections.abc import Iterator

from fastnn.plan.errors import PlanError
from fastnn.plan.graph import Buffer, Call, Graph, Value

_GIVEN = ("argument", "external", "constant", "folded")  # there before the first call
_OVERWRITTEN = ("copy_", "index_copy_")  # in-place ops that may be the first to write


def verify(graph: Graph) -> Graph:
    """The graph itself, if it keeps the rules.

    What is read was there or made before; a view, and what is written in place, lies in
    its input's buffer; a new result lies in a buffer of its own; constants are written by
    nobody, folded buffers by the prologue alone; inputs, lists and outputs are as many as
    the op's row says; groups lie in order, apart, and hold elementwise calls.

    Raises: PlanError naming the call and the rule.
    """
    check = _Check()
    for v in graph.arguments:
        if v.buffer.kind != "argument":
            check.fail(f"expected arguments in buffers of theirs, got {v.buffer.kind}")
        check.defined.add(v)
    for i, call in enumerate(graph.prologue):
        check.call(call, f"call {i} of the prologue", prologue=True)
    for i, call in enumerate(graph.calls):
        check.call(call, f"call {i}", prologue=False)
    check.where = "results"
    for v in graph.roots():
        check.readable(v, "result")
        if v.buffer.kind == "internal" and not v.buffer.escapes:
            check.fail("expected results in buffers that escape")
    _groups(graph, check)
    return graph


class _Check:
    """Walks the calls; knows what was made so far."""

    def __init__(self) -> None:
        self.where = "graph"
        self.defined: set[Value] = set()
        self.written: set[Buffer] = set()

    def fail(self, message: str) -> None:
        raise PlanError(f"plan: {self.where}: {message}")

    def readable(self, v: Value, name: str) -> None:
        """v is memory, and there is something in it."""
        self.reachable(v, name)
        internal = v.number is None and v.buffer.kind == "internal"
        if internal and v.buffer not in self.written:
            self.fail(f"expected {name} that was written before, got an empty buffer")

    def reachable(self, v: Value, name: str) -> None:
        """v is memory whose place is known: given, or laid out by a call before."""
        b = v.buffer
        if v.number is not None or v in self.defined:
            return
        if b.kind == "argument":
            self.fail(f"expected {name} to be an argument or made of one, got another")
        if b.kind != "internal" and b.tensor is None:
            self.fail(f"expected a tensor for {name}, in {b.kind} memory")
        if b.kind == "internal" and b in self.written:
            self.fail(f"expected {name} that a call before made, got one of no call")

    def call(self, call: Call, where: str, prologue: bool) -> None:
        at = f", {call.where}" if call.where else ""
        self.where = f"{where} ({call.op.name}{at})"
        self.counts(call)
        overwritten = call.op.written if call.op.name in _OVERWRITTEN else ()
        for name, v in call.spread():
            if v is None:
                continue
            if call.is_view or name in overwritten:
                self.reachable(v, name)
            else:
                self.readable(v, name)
        for b in self.inputs_written(call):
            self.writable(b, prologue)
        self.outputs(call, prologue)
        self.defined.update(v for v in call.inputs if v is not None)
        self.defined.update(call.outputs)
        self.written.update(call.writes)

    def counts(self, call: Call) -> None:
        op = call.op
        many = len(op.lists)
        expected = len(op.inputs) - many + many * call.count
        if len(call.inputs) != expected:
            self.fail(f"expected {expected} inputs, got {len(call.inputs)}")
        if call.count and not many:
            self.fail(f"expected no lists, got a count of {call.count}")
        if len(call.attrs) != len(op.attributes):
            self.fail(
                f"expected {len(op.attributes)} attributes, got {len(call.attrs)}"
            )
        if len(call.outputs) != len(op.outputs):
            self.fail(f"expected {len(op.outputs)} outputs, got {len(call.outputs)}")
        for attribute, _ in call.scales:
            if not 0 <= attribute < len(call.attrs):
                self.fail(f"expected scales of attributes, got attribute {attribute}")
        if call.into and (len(call.outputs) != 1 or call.is_view or call.in_place):
            self.fail("expected one fresh result to go into memory that was there")
        if (call.is_view or op.written) and any(
            v is not None and v.number is not None and (call.is_view or n in op.written)
            for n, v in call.spread()
        ):
            self.fail("expected tensors to look at or write, got a number")

    def inputs_written(self, call: Call) -> Iterator[Buffer]:
        for name, v in call.spread():
            if v is not None and name in call.op.written:
                yield v.buffer

    def writable(self, b: Buffer, prologue: bool) -> None:
        if b.kind in ("constant", "folded") or (prologue and b.kind != "internal"):
            self.fail(f"expected to write memory that may be written, got {b.kind}")

    def outputs(self, call: Call, prologue: bool) -> None:
        if call.is_view or call.in_place:
            first = call.inputs[0]
            if first is None or call.outputs[0].buffer is not first.buffer:
                self.fail("expected the output over the input's buffer, got another")
            return
        if call.into:
            self.writable(call.outputs[0].buffer, prologue)
            return
        buffers = [v.buffer for v in call.outputs]
        kind = "folded" if prologue else "internal"
        for b in buffers:
            if b.kind != kind:
                self.fail(f"expected new results in {kind} buffers, got {b.kind}")
            if b in self.written or buffers.count(b) > 1:
                self.fail("expected new results in new buffers, got one made before")


def _groups(graph: Graph, check: _Check) -> None:
    end = 0
    for first, stop in graph.groups:
        check.where = f"group [{first}, {stop})"
        if first < end or stop > len(graph.calls) or stop - first < 2:
            check.fail("expected groups of two calls or more, in order and apart")
        ended = False
        for call in graph.calls[first:stop]:
            ended |= call.op.name in ("sum", "mean", "amax", "amin")
            member = "elementwise" in call.op.flags and not call.in_place
            if call.into or member == ended:
                check.fail(
                    "expected elementwise calls into new memory, then reductions, got "
                    f"{call.op.name}"
                )
        end = stop
