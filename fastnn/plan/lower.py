"""From a graph to the program that C runs: everything by number."""

from __future__ import annotations

from typing import Any

from fastnn._core import HOMES, Program, dtype_number
from fastnn.plan.graph import Buffer, Graph, Value


class Lowered:
    """A program, and the numbers of the graph's values and buffers in it.

    Attributes:
        program : _core.Program.
        values : dict of Value to int.
        buffers : dict of Buffer to int.
    """

    def __init__(self, graph: Graph) -> None:
        self.values: dict[Value, int] = {}
        self.buffers: dict[Buffer, int] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._homes: list[tuple[int, int, Any]] = []
        self._fresh = 0
        arguments = [self._value(v, given=True) for v in graph.arguments]
        calls = []
        for call in graph.calls:
            ins = [-1 if v is None else self._value(v, given=True) for v in call.inputs]
            outs = [self._value(v, given=call.into) for v in call.outputs]
            weak = sum(
                1 << i
                for i, v in enumerate(call.inputs)
                if v is not None and v.number is not None
            )
            calls.append(
                (
                    call.op,
                    ins,
                    outs,
                    call.attrs,
                    call.count,
                    call.into,
                    call.scales,
                    weak,
                )
            )
        for value in graph.roots():
            self._value(value, given=True)
        self.program = Program(
            self._homes, self._rows, calls, arguments, list(graph.groups)
        )

    def _value(self, v: Value, *, given: bool) -> int:
        if v not in self.values:
            buffer = -1 if v.number is not None else self._buffer(v.buffer)
            self.values[v] = len(self._rows)
            self._rows.append(
                (
                    buffer,
                    given,
                    dtype_number(v.dtype),
                    v.shape,
                    v.strides,
                    v.offset * v.dtype.itemsize,
                    v.scales,
                    v.number,
                    v.scale,
                )
            )
        return self.values[v]

    def _buffer(self, b: Buffer) -> int:
        if b not in self.buffers:
            home = "fresh" if b.escapes else b.kind
            index = b.index
            if b.escapes:
                index, self._fresh = self._fresh, self._fresh + 1
            self.buffers[b] = len(self._homes)
            self._homes.append((HOMES[home], index, b.tensor))
        return self.buffers[b]
