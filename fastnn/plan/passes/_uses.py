"""Who reads and writes what: the questions that every pass asks before it acts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from fastnn.plan.graph import Buffer, Call, Graph, Value

OUTSIDE = ("argument", "external")  # memory that others see, before and after
STATIC = (
    "constant",
    "external",
    "folded",
)  # memory that lies where it is between calls

# Ops that raise for what a tensor holds: eager would have raised, read or not.
_CHECKS = {
    "cross_entropy", "cross_entropy_backward", "nll", "nll_backward", "index_select",
    "index_add", "index_copy_", "gather", "scatter", "scatter_add", "as_index",
    "binary_cross_entropy", "embedding", "sum_repeats",
    "rnn", "gru", "lstm", "rnn_backward", "gru_backward", "lstm_backward",
}  # fmt: skip
_CHECKS_INTEGERS = {"floor_divide", "remainder"}  # division by zero


def checks_values(call: Call) -> bool:
    """Whether the call may raise for what its inputs hold."""
    name = call.op.name
    if name in _CHECKS_INTEGERS:
        return not call.outputs[0].dtype.is_floating_point
    return name in _CHECKS


def is_random(call: Call) -> bool:
    """Whether the call draws from a generator, and so moves it on."""
    return "random" in call.op.flags


def is_fresh(call: Call) -> bool:
    """Whether all that the call does is to fill new memory: a function of its inputs."""
    return not (
        call.is_view
        or call.in_place
        or call.into
        or call.op.written
        or is_random(call)
        or not call.outputs
    )


def follows_batch(call: Call) -> bool:
    """Whether an attribute or a number of the call follows the batch."""
    numbers = any(v is not None and v.scale for v in call.inputs)
    return bool(call.scales) or numbers


def all_values(graph: Graph) -> Iterator[Value]:
    """Every value of the graph once, numbers too."""
    seen: set[Value] = set()
    calls = graph.prologue + graph.calls
    rows = [graph.arguments, graph.roots()]
    rows += [[v for v in c.inputs if v is not None] + c.outputs for c in calls]
    for row in rows:
        for v in row:
            if v not in seen:
                seen.add(v)
                yield v


def is_row_major(v: Value) -> bool:
    """Whether v lies row-major with the strides of fresh memory, sizes of 1 included, so
    that it also does at another batch."""
    step = 1
    for n, stride in zip(reversed(v.shape), reversed(v.strides), strict=True):
        if stride != step:
            return False
        step *= max(n, 1)
    return True


def is_static(v: Value) -> bool:
    """Whether v is a number that never changes, or memory that plans do not lay out."""
    if v.number is not None:
        return not v.scale
    return v.buffer.kind in STATIC and not v.scales


class Aliases:
    """Which buffers share bytes: those of one storage do, and those that may.

    Externals are compared by address. An argument may be any memory of its dtype.
    """

    def __init__(self, graph: Graph) -> None:
        self._arguments: dict[str, set[Buffer]] = defaultdict(set)
        self._externals: dict[str, set[Buffer]] = defaultdict(set)
        self._dtypes: dict[Buffer, set[str]] = defaultdict(set)
        ranges: dict[Buffer, tuple[int, int]] = {}
        for v in all_values(graph):
            b = v.buffer
            if v.number is not None or b.kind not in OUTSIDE:
                continue
            self._dtypes[b].add(v.dtype.name)
            kind = self._arguments if b.kind == "argument" else self._externals
            kind[v.dtype.name].add(b)
            if b.tensor is not None and b.kind == "external":
                lo, hi = _bytes(v)
                old = ranges.get(b, (lo, hi))
                ranges[b] = min(lo, old[0]), max(hi, old[1])
        self._same = _clusters(ranges)

    def of(self, buffer: Buffer) -> set[Buffer]:
        """The buffers that a write to this one may change, itself included."""
        found = {buffer}
        if buffer.kind not in OUTSIDE:
            return found
        found |= self._same.get(buffer, set())
        for name in self._dtypes[buffer]:
            found |= self._arguments[name]
            if buffer.kind == "argument":
                found |= self._externals[name]
        return found


def _bytes(v: Value) -> tuple[int, int]:
    """Lowest and highest address that a value over an external touches."""
    tensor = v.buffer.tensor
    assert tensor is not None
    size = v.dtype.itemsize
    start = tensor.data_ptr() + (v.offset - tensor.storage_offset()) * size
    if math.prod(v.shape) == 0:
        return start, start
    steps = [(n - 1) * s * size for n, s in zip(v.shape, v.strides, strict=True)]
    low = start + sum(s for s in steps if s < 0)
    return low, start + sum(s for s in steps if s > 0) + size


def _clusters(ranges: dict[Buffer, tuple[int, int]]) -> dict[Buffer, set[Buffer]]:
    """Buffers whose ranges overlap, directly or through others."""
    same: dict[Buffer, set[Buffer]] = {}
    cluster: set[Buffer] = set()
    end = -1
    for b, (lo, hi) in sorted(ranges.items(), key=lambda item: item[1]):
        if lo >= end:
            cluster = set()
        cluster.add(b)
        same[b] = cluster
        end = max(end, hi)
    return same


class Uses:
    """Positions in graph.calls by what the calls there use.

    Attributes:
        values : value -> calls that have it as an input, once for each time.
        reads, writes : buffer -> calls; writes through an alias included.
        makers : value -> the call that it is an output of.
        escaping : buffers that are seen after the call, or outside of it.
    """

    def __init__(self, graph: Graph) -> None:
        self._calls = graph.calls
        self.values: dict[Value, list[int]] = defaultdict(list)
        self.reads: dict[Buffer, list[int]] = defaultdict(list)
        self.writes: dict[Buffer, list[int]] = defaultdict(list)
        self.makers: dict[Value, int] = {}
        self.roots = set(graph.roots())
        self.aliases = Aliases(graph)
        self._seen = {v.buffer for v in self.roots}
        for i, call in enumerate(graph.calls):
            for v in call.inputs:
                if v is not None:
                    self.values[v].append(i)
            for b in set(call.reads):
                self.reads[b].append(i)
            written = {a for b in set(call.writes) for a in self.aliases.of(b)}
            for b in written:
                self.writes[b].append(i)
            for v in call.outputs:
                self.makers.setdefault(v, i)

    def escapes(self, buffer: Buffer) -> bool:
        """Whether the buffer is seen after the call, or from outside."""
        return buffer.escapes or buffer in self._seen or buffer.kind in OUTSIDE

    def written_within(self, buffer: Buffer, first: int, stop: int) -> bool:
        """Whether a call in [first, stop) writes the buffer."""
        return any(first <= i < stop for i in self.writes[buffer])

    def only_reader(self, v: Value, at: list[int]) -> int | None:
        """The one call that uses v, where the calls in `at` and it alone wrote its
        memory."""
        b = v.buffer
        if len(self.values[v]) != 1 or v in self.roots or b.kind != "internal":
            return None
        reader = self.values[v][0]
        call = self._calls[reader]
        over = any(o.buffer is b for o in call.outputs)
        if not over and (call.into or call.in_place):
            return None
        # what happens to the memory later happens to what was written over it
        others = [i for i in self.writes[b] if i not in at and i != reader]
        return None if any(i < reader or not over for i in others) else reader


def rename(
    graph: Graph, values: dict[Value, Value], buffers: dict[Buffer, Buffer]
) -> None:
    """Puts other values and buffers in the place of some, also through chains."""

    def value(v: Value) -> Value:
        while v in values:
            v = values[v]
        return v

    for v in list(all_values(graph)):
        while v.buffer in buffers:
            v.buffer = buffers[v.buffer]
    for call in graph.prologue + graph.calls:
        call.inputs = [None if v is None else value(v) for v in call.inputs]
        call.outputs = [value(v) for v in call.outputs]
    graph.outputs = [value(v) for v in graph.outputs]
    graph.gradients = [(p, None if v is None else value(v)) for p, v in graph.gradients]


def said(call: Call) -> str:
    """The op and where it was called, for notes and errors."""
    return f"{call.op.name} ({call.where})" if call.where else call.op.name
