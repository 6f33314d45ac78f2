"""The graph of a plan: what a recording saw, as calls over values over buffers.

A buffer is memory, a value is a tensor in it, a call is one op. Buffers are written in
place, so the graph is a list of calls in their order and not a tree: a call may move or go
only where no other call would see the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastnn._core import Op, Tensor, dtype

Kind = Literal["argument", "external", "constant", "folded", "internal"]
Number = bool | int | float
# Sizes that follow the batch: {position: factor}, the size being factor times the batch.
Scales = dict[int, int]


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory.

    kind says whose:
        "argument" : an argument's, number `index` of them.
        "external" : `tensor`'s; lives outside the plan, which reads or writes it where it
            lies: parameters, optimizer states, generators.
        "constant" : `tensor`'s, frozen when the plan was made.
        "folded" : `tensor`'s; the graph's prologue fills it from constants and externals.
        "internal" : made within the call, its content undefined at first; `escapes` says
            that it is seen after the call, as an output or a gradient, and gets memory of
            its own each time.
    """

    kind: Kind
    tensor: Tensor | None = None
    index: int = -1
    escapes: bool = False


@dataclass(eq=False, slots=True)
class Value:
    """A tensor: elements of a buffer. strides and offset count elements.

    number is a Python number that stands for a tensor of no dimensions and promotes
    weakly; scale is its factor where it follows the batch, else 0. scales says the same
    of shape, where nothing infers it: an internal buffer's first value.
    """

    buffer: Buffer
    dtype: dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    number: Number | None = None
    scale: int = 0
    scales: Scales = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        size = self.dtype.itemsize
        for n in self.shape:
            size *= n
        return size

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie row-major without gaps."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != step:
                return False
            step *= n
        return True


@dataclass(eq=False, slots=True)
class Call:
    """One op on values.

    Attributes:
        inputs : in the row's order, lists in full; None where one is absent.
        count : length of the call's lists, 0 where it has none.
        attrs : every attribute, defaults filled in.
        outputs : new values; of a view or an in-place op over its input's buffer.
        into : the output's memory was there before (out=): the call writes it.
        where : "file:line" of the user's code.
        scales : {(attribute, position): factor} of integers that follow the batch;
            position is -1 for an attribute that is one integer.
    """

    op: Op
    inputs: list[Value | None]
    attrs: tuple[Any, ...]
    outputs: list[Value]
    count: int = 0
    into: bool = False
    where: str = ""
    scales: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def is_view(self) -> bool:
        """Whether nothing runs: the output is another look at the input."""
        return "view" in self.op.flags

    @property
    def in_place(self) -> bool:
        """Whether output 0 is input 0, written."""
        return "inplace" in self.op.flags

    def spread(self) -> Iterator[tuple[str, Value | None]]:
        """Each input value with the name of the input that it belongs to."""
        values = iter(self.inputs)
        for name in self.op.inputs:
            for _ in range(self.count if name in self.op.lists else 1):
                yield name, next(values)

    @property
    def reads(self) -> list[Buffer]:
        """Buffers whose content matters to the call; a view reads nothing."""
        if self.is_view:
            return []
        return [v.buffer for v in self.inputs if v is not None]

    @property
    def writes(self) -> list[Buffer]:
        """Buffers that the call writes: outputs, and inputs marked so."""
        if self.is_view:
            return []
        written = self.op.written
        found = [v.buffer for n, v in self.spread() if v is not None and n in written]
        return found + [v.buffer for v in self.outputs]


@dataclass(eq=False, slots=True)
class Graph:
    """A whole recording.

    Attributes:
        arguments : the tensor arguments, in order.
        calls : in the order of execution.
        outputs : the tensors that the function returned, in order.
        gradients : (leaf, value): what .grad of leaves is afterwards; None is none.
        prologue : calls that fill folded buffers; run again when a source has changed.
        groups : runs of calls, (first, stop), that execute block by block.
        notes : what passes did, for explain(): one line each.
    """

    arguments: list[Value] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    gradients: list[tuple[Tensor, Value | None]] = field(default_factory=list)
    prologue: list[Call] = field(default_factory=list)
    groups: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def roots(self) -> list[Value]:
        """The values that are read after the last call."""
        return self.outputs + [v for _, v in self.gradients if v is not None]

    def values(self) -> list[Value]:
        """Every value, once, in an order that a copy shares."""
        found: dict[Value, None] = dict.fromkeys(self.arguments)
        for call in self.prologue + self.calls:
            for v in (*call.inputs, *call.outputs):
                if v is not None:
                    found[v] = None
        found.update(dict.fromkeys(self.roots()))
        return list(found)

    def copy(self) -> Graph:
        """The same graph in new buffers, values and calls; tensors are shared."""
        buffers: dict[Buffer, Buffer] = {}
        values: dict[Value, Value] = {}

        def buffer(b: Buffer) -> Buffer:
            if b not in buffers:
                buffers[b] = Buffer(b.kind, b.tensor, b.index, b.escapes)
            return buffers[b]

        def value(v: Value) -> Value:
            if v not in values:
                values[v] = Value(
                    buffer(v.buffer),
                    v.dtype,
                    v.shape,
                    v.strides,
                    v.offset,
                    v.number,
                    v.scale,
                    dict(v.scales),
                )
            return values[v]

        def calls(every: Sequence[Call]) -> list[Call]:
            return [
                Call(
                    c.op,
                    [None if v is None else value(v) for v in c.inputs],
                    c.attrs,
                    [value(v) for v in c.outputs],
                    c.count,
                    c.into,
                    c.where,
                    dict(c.scales),
                )
                for c in every
            ]

        return Graph(
            [value(v) for v in self.arguments],
            calls(self.calls),
            [value(v) for v in self.outputs],
            [(p, None if v is None else value(v)) for p, v in self.gradients],
            calls(self.prologue),
            list(self.groups),
            list(self.notes),
        )
