"""Whether two recordings are one program.

They are walked side by side. Values stand for each other where they were made by calls that
do; what was there before must be the same memory, and constants the same bits. Between two
batch sizes, integers may differ that are the same multiple of the batch in both.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from fastnn import _core
from fastnn.plan.capture import Recording
from fastnn.plan.graph import Call, Graph, Number, Value


class Difference(Exception):  # noqa: N818 (what it is, no failure)
    """What differs between two recordings, in words."""


def same_number(a: Any, b: Any) -> bool:
    """Equal type and bits: NaN is itself, and 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


class Comparison:
    """Walks two recordings. Sizes that follow the batch are noted in the second one's graph,
    which is to be kept.

    Parameters:
        old, new : Recordings of one function.
        batch : their batch sizes, or None where these are one.

    Raises: Difference.
    """

    def __init__(
        self, old: Recording, new: Recording, batch: tuple[int, int] | None = None
    ) -> None:
        self.batch = batch
        self._new_of: dict[Value, Value] = {}
        self._old_of: dict[Value, Value] = {}
        self._grads = list(old.guards.values())
        self._notes: list[Any] = []  # functions that note scales, run at the end
        self._graphs(old.graph, new.graph)
        self._surroundings(old, new)
        for note in self._notes:
            note()

    # ---- integers ----

    def factor(self, a: int, b: int) -> int | None:
        """0: equal. Else what the batch is multiplied by to give both; None: they differ."""
        if a == b:
            return 0
        if self.batch is not None:
            old, new = self.batch
            if a > 0 and a % old == 0 and b == a // old * new:
                return a // old
        return None

    # ---- graphs ----

    def _graphs(self, old: Graph, new: Graph) -> None:
        if len(old.arguments) != len(new.arguments):
            raise Difference("another number of tensor arguments")
        for a, b in zip(old.arguments, new.arguments, strict=True):
            self._bind(a, b)
        for k, (c, d) in enumerate(zip(old.calls, new.calls, strict=False)):
            if c.op is not d.op:
                raise Difference(
                    f"call {k} is {c.op.name} ({c.where}), then {d.op.name} ({d.where})"
                )
            self._call(c, d)
        if len(old.calls) != len(new.calls):
            longer = max(old.calls, new.calls, key=len)
            extra = longer[min(len(old.calls), len(new.calls))]
            raise Difference(
                f"{len(old.calls)} calls, then {len(new.calls)}: {extra.op.name} "
                f"({extra.where}) is in one alone"
            )
        if len(old.outputs) != len(new.outputs):
            raise Difference("another number of results")
        for a, b in zip(old.outputs, new.outputs, strict=True):
            self._match(a, b, "the result")
        if [p for p, _ in old.gradients] != [p for p, _ in new.gradients]:
            raise Difference("gradients of other tensors were set")
        for (_, g), (_, h) in zip(old.gradients, new.gradients, strict=True):
            if (g is None) != (h is None):
                raise Difference("a gradient is there in one alone")
            if g is not None and h is not None:
                self._match(g, h, "a gradient")

    def _call(self, c: Call, d: Call) -> None:
        name = f"{c.op.name} ({d.where})"
        if (c.count, c.into, len(c.inputs)) != (d.count, d.into, len(d.inputs)):
            raise Difference(f"{name} was given {c.count} tensors, then {d.count}")
        for (said, a), (_, b) in zip(c.spread(), d.spread(), strict=True):
            if (a is None) != (b is None):
                raise Difference(f"{name} was given {said} in one alone")
            if a is not None and b is not None:
                self._match(a, b, f"{said} of {name}")
        for i, (a, b) in enumerate(zip(c.attrs, d.attrs, strict=True)):
            self._attribute(name, d, i, a, b)
        for a, b in zip(c.outputs, d.outputs, strict=True):
            self._match(a, b, f"the result of {name}") if c.into else self._bind(a, b)

    def _attribute(self, name: str, d: Call, i: int, a: Any, b: Any) -> None:
        said = d.op.attributes[i].split(":")[0]
        wide = isinstance(a, tuple) and len(a) == len(b)
        pairs = enumerate(zip(a, b, strict=True)) if wide else [(-1, (a, b))]
        for at, (x, y) in pairs:
            if same_number(x, y):
                continue
            factor = None
            if type(x) is int and type(y) is int:
                factor = self.factor(x, y)
            if factor is None:
                raise Difference(f"{said} of {name} is {a}, then {b}")
            self._notes.append(lambda at=at, f=factor: d.scales.__setitem__((i, at), f))

    # ---- values ----

    def _bind(self, a: Value, b: Value) -> None:
        if a.dtype is not b.dtype or len(a.shape) != len(b.shape):
            raise Difference(
                f"a tensor of {a.dtype.name} {a.shape}, then {b.dtype.name} {b.shape}"
            )
        if self.batch is None and a.shape != b.shape:
            raise Difference(f"a tensor of shape {a.shape}, then {b.shape}")
        self._new_of[a], self._old_of[b] = b, a

    def _match(self, a: Value, b: Value, where: str) -> None:
        if a in self._new_of or b in self._old_of:
            if self._new_of.get(a) is not b:
                raise Difference(f"{where} is another tensor")
            return
        kinds = a.buffer.kind, b.buffer.kind
        if kinds[0] != kinds[1] or a.dtype is not b.dtype:
            raise Difference(
                f"{where}: {kinds[0]} {a.dtype.name}, then {kinds[1]} {b.dtype.name}"
            )
        if a.number is not None or b.number is not None:
            self._number(a, b, where)
        elif kinds[0] == "external":
            layouts = [(v.shape, v.strides, v.offset) for v in (a, b)]
            x, y = a.buffer.tensor, b.buffer.tensor
            assert x is not None and y is not None
            if layouts[0] != layouts[1] or not _core.same_storage(x, y):
                if any(g is not None and _core.same_storage(g, x) for g in self._grads):
                    raise Difference(
                        f"{where} is a gradient made anew outside for each call (hint: "
                        "call backward() inside, or zero_grad(set_to_none=False))"
                    )
                raise Difference(f"{where} is a tensor made anew for each call")
        elif kinds[0] == "constant":
            same_constant(a, b, where)
        else:
            self._sizes(a, b, where)
        self._bind(a, b)

    def _number(self, a: Value, b: Value, where: str) -> None:
        x, y = a.number, b.number
        if same_number(x, y):
            return
        factor = self.factor(x, y) if type(x) is int and type(y) is int else None
        if factor is None:
            raise Difference(f"{where} is {said(x)}, then {said(y)}")
        self._notes.append(lambda: setattr(b, "scale", factor))

    def _sizes(self, a: Value, b: Value, where: str) -> None:
        if len(a.shape) != len(b.shape):
            raise Difference(f"{where} has shape {a.shape}, then {b.shape}")
        for d, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)):
            factor = self.factor(m, n)
            if factor is None or (factor and not (a.contiguous and b.contiguous)):
                raise Difference(f"{where} has shape {a.shape}, then {b.shape}")
            if factor:
                self._notes.append(lambda d=d, f=factor: b.scales.__setitem__(d, f))

    # ---- the rest ----

    def _surroundings(self, old: Recording, new: Recording) -> None:
        if old.grad_mode != new.grad_mode:
            raise Difference("gradients were recorded in one alone")
        if old.guards.keys() != new.guards.keys():
            raise Difference("gradients of other tensors were read")
        for x, g in old.guards.items():
            h = new.guards[x]
            if (g is None) != (h is None):
                raise Difference("a gradient was there before one alone")
            if g is not None and h is not None and _core.layout(g) != _core.layout(h):
                raise Difference("a gradient was another tensor")
        if list(old.used) != list(new.used):
            raise Difference("other modules were called")


def same_constant(a: Value, b: Value, where: str) -> None:
    """Raises Difference unless two constants have the same bits."""
    x, y = a.buffer.tensor, b.buffer.tensor
    assert x is not None and y is not None
    p, q = (
        _core.view_of(t, v.shape, v.strides, v.offset).numpy()
        for t, v in ((x, a), (y, b))
    )
    if p.shape != q.shape:
        raise Difference(f"{where} is a constant of shape {p.shape}, then {q.shape}")
    if np.ascontiguousarray(p).tobytes() != np.ascontiguousarray(q).tobytes():
        raise Difference(
            f"{where} is a constant made anew for each call, with other values"
        )


def said(number: Number | None) -> str:
    """A constant, as an error says it."""
    return f"the constant {number!r}"
