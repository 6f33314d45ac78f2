"""Recording a call of a function as a graph.

The function runs eagerly, and the core tells the recorder of every op. Memory is known by
its storage: that of an argument (shielded, so that no two arguments are one), of a result
of the recording, or of something that was there before, a parameter for instance. What no
op did, such as reading a value, a replay cannot repeat: it is refused.
"""

from __future__ import annotations

import gc
import os
import sys
import weakref
from typing import Any

import fastnn
from fastnn import _core
from fastnn._core import Op, Tensor
from fastnn.ops._record import Recorder
from fastnn.plan.errors import CaptureError
from fastnn.plan.graph import Buffer, Call, Graph, Number, Value

PACKAGE = os.path.dirname(os.path.abspath(fastnn.__file__)) + os.sep
READ_HINT = (
    "hint: return the tensor and read it outside; where() chooses without reading"
)

Key = tuple[int, int, Any, tuple[int, ...], tuple[int, ...]]


def user_line() -> str:
    """ "file:line" of the innermost frame outside this package."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "?"
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def attributes(op: Op, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The attributes of a call as plain numbers and tuples, defaults filled in."""
    found: list[Any] = []
    for spec, value in zip(op.attributes, op.all_attributes(args), strict=True):
        kind = spec.split(":")[1].split("=")[0]
        if kind == "ints":
            value = value if isinstance(value, tuple | list) else (value,)
            found.append(tuple(int(v) for v in value))
        elif kind == "float":
            found.append(float(value))
        else:
            found.append(bool(value) if kind == "bool" else int(value))
    return tuple(found)


def number_value(number: Number) -> Value:
    """A Python number as an op sees it: a tensor without dimensions, promoting weakly."""
    code = (
        fastnn.bool
        if isinstance(number, bool)
        else fastnn.int64
        if isinstance(number, int)
        else fastnn.float64
    )
    return Value(Buffer("constant"), code, (), (), number=number)


class Recording(Recorder):
    """A call while it runs, and what it was once it has.

    Parameters:
        arguments : shielded tensors, in order.
        strict : whether what cannot be repeated raises at once; else the first such thing
            is kept as `problem`, and the call goes on.

    Attributes:
        graph : Graph, complete after finish().
        guards : what .grad of tensors was, where the call read it before it set it.
        used : the modules and optimizers that took part, in order.
        variables : the Variables that the function uses, as they were after the call.
        outside : tensors that were there before, as objects.
        problem : CaptureError or None.
        is_cut : whether a slice was cut off by a size, and so tells nothing of others.
    """

    def __init__(self, arguments: list[Tensor], *, strict: bool) -> None:
        super().__init__()
        self.strict = strict
        self.graph = Graph()
        self.guards: dict[Tensor, Tensor | None] = {}
        self.used: dict[Any, None] = {}
        self.variables: list[Any] = []
        self.outside: dict[Tensor, None] = {}
        self.changed = ""  # one of them that the call changed
        self._effects: list[str] = []
        self.problem: CaptureError | None = None
        self.is_cut = False
        self.grad_mode = fastnn.is_grad_enabled()
        self._buffers: dict[int, Buffer] = {}
        self._values: dict[Key, Value] = {}
        self._set: dict[Tensor, None] = {}
        self._constants: dict[Buffer, Tensor] = {}
        self._first: dict[Buffer, Any] = {}  # what constants held at first
        self._kept: set[Buffer] = set()  # constants that ops write
        self._made: list[tuple[Any, str]] = []  # weak references, and lines
        for i, x in enumerate(arguments):
            self._buffers[_core.layout(x)[0]] = Buffer("argument", index=i)
            self.graph.arguments.append(self.value(x))

    # ---- what the core tells ----

    def before(self, op: Op, args: tuple[Any, ...]) -> None:
        """Refuses shapes that depend on values; keeps constants that are to be written."""
        if not self.is_mine():
            return
        if "data_shape" in op.flags:
            self.refuse(
                f"{op.name} gives a result whose shape depends on values",
                "hint: where() or a product with the mask keeps the shape",
            )
        for name, given in zip(op.inputs, args, strict=False):
            if name in op.written and given is not None:
                for x in given if name in op.lists else (given,):
                    self._keep(x)

    def after(self, op: Op, args: tuple[Any, ...], result: Any, into: bool) -> None:
        """Takes the call down."""
        if not self.is_mine():
            return
        count = 0
        inputs: list[Value | None] = []
        for i, name in enumerate(op.inputs):
            given = args[i] if i < len(args) else None
            if name in op.lists and given is not None:
                count = len(given)
        for i, name in enumerate(op.inputs):
            given = args[i] if i < len(args) else None
            if name in op.lists:
                inputs += [None] * count if given is None else map(self.value, given)
            else:
                inputs.append(None if given is None else self.operand(given))
        call = Call(op, inputs, attributes(op, args), [], count, into, user_line())
        results = result if isinstance(result, tuple) else (result,)
        first = inputs[0] if inputs else None
        for k, y in enumerate(results[: len(op.outputs)]):
            if not (into or (call.in_place and k == 0)):
                self._made.append((weakref.ref(y), call.where))
            if into:
                call.outputs.append(self.value(y))
            elif call.in_place and k == 0 and first is not None:
                call.outputs.append(
                    Value(
                        first.buffer,
                        first.dtype,
                        first.shape,
                        first.strides,
                        first.offset,
                    )
                )
            else:
                call.outputs.append(self._result(call, y))
        self.graph.calls.append(call)

    def made(self, x: Tensor, filled: bool) -> None:
        """A constant, or memory to be written."""
        if not self.is_mine():
            return
        buffer = Buffer("constant", x) if filled else Buffer("internal")
        self._buffers[_core.layout(x)[0]] = buffer
        self._remember(x, buffer)
        if filled:
            self._constants[buffer] = x
            self._first[buffer] = x.detach().numpy().copy()
        self._made.append((weakref.ref(x), user_line()))

    def seen(self, x: Tensor) -> None:
        """Where it is of this call's own memory, it must not outlive the call either."""
        if self.is_mine():
            self._made.append((weakref.ref(x), user_line()))

    def read(self, x: Tensor, how: str) -> None:
        """Refuses, unless the values are constants."""
        if not self.is_mine():
            return
        buffer = self._buffers.get(_core.layout(x)[0])
        if buffer is None or buffer.kind != "constant":
            self.refuse(f"{how} reads a value", READ_HINT)

    def gradient_read(self, x: Tensor, gradient: Tensor | None) -> None:
        """What .grad was before the call, where that matters."""
        if self.is_mine() and x not in self._set:
            self.guards.setdefault(x, gradient)

    def gradient_set(self, x: Tensor) -> None:
        """x.grad is part of what the call leaves behind."""
        if self.is_mine():
            self._set[x] = None

    def effect(self, what: str) -> None:
        """Kept: a replay would leave it out."""
        if self.is_mine():
            self._effects.append(f"{what} ({user_line()})")

    def effects(self) -> list[str]:
        """What no op did, in words; tensors that outlive the call, of which a replay would
        make no others."""
        for leaf, _ in self.graph.gradients:
            g = _core.gradient_part(leaf)
            if g is not None and g.requires_grad:
                return self._effects  # create_graph=True: it has kept its graph
        left = [where for tensor, where in self._made if self._is_left(tensor())]
        if left:
            gc.collect()
            left = [where for tensor, where in self._made if self._is_left(tensor())]
        kept = [f"a tensor of the call is kept outside it ({where})" for where in left]
        last = [f"variable {self.changed!r} was changed"] if self.changed else []
        return self._effects + kept + last

    def _is_left(self, x: Tensor | None) -> bool:
        if x is None:
            return False
        buffer = self._buffers.get(_core.layout(x)[0])
        if buffer is None or buffer.kind == "external":
            return False
        return all(v is None or v.buffer is not buffer for _, v in self.graph.gradients)

    def uses(self, thing: Any) -> None:
        """A module that was called, an optimizer that stepped."""
        if self.is_mine():
            self.used[thing] = None

    def cut(self) -> None:
        """What is recorded is of these sizes alone."""
        self.is_cut = self.is_cut or self.is_mine()

    def refuse(self, why: str, hint: str) -> None:
        """The call cannot be repeated."""
        if not self.is_mine():
            return
        error = CaptureError(f"compile: {why} at {user_line()} ({hint})")
        self.problem = self.problem or error
        if self.strict:
            raise error

    # ---- values ----

    def operand(self, x: Any) -> Value:
        """The value of an op's operand: a tensor or a number."""
        return self.value(x) if isinstance(x, Tensor) else number_value(x)

    def value(self, x: Tensor) -> Value:
        """The value of a tensor; one that was never seen was there before the call."""
        address, offset, dtype, shape, strides = _core.layout(x)
        buffer = self._buffers.get(address)
        if buffer is None:
            buffer = self._buffers[address] = Buffer("external", x)
        if buffer.kind == "external":
            self.outside[x] = None
        found = self._values.get((id(buffer), offset, dtype, shape, strides))
        return self._remember(x, buffer) if found is None else found

    def _remember(self, x: Tensor, buffer: Buffer) -> Value:
        _, offset, dtype, shape, strides = _core.layout(x)
        value = Value(buffer, dtype, shape, strides, offset)
        self._values[id(buffer), offset, dtype, shape, strides] = value
        return value

    def _result(self, call: Call, y: Tensor) -> Value:
        first = call.inputs[0] if call.inputs else None
        if call.is_view and first is not None:
            return self._remember(y, first.buffer)
        buffer = self._buffers[_core.layout(y)[0]] = Buffer("internal")
        return self._remember(y, buffer)

    def _keep(self, x: Tensor) -> None:
        buffer = self._buffers.get(_core.layout(x)[0])
        if buffer in self._constants:
            self._kept.add(buffer)

    # ---- the end ----

    def finish(self, results: list[Tensor]) -> None:
        """Completes the graph with what the call returned and left behind."""
        graph = self.graph
        self.guards = {x: g for x, g in self.guards.items() if self._was_there(x)}
        graph.outputs = [self.value(y) for y in results]
        for leaf in self._set:
            if self._was_there(leaf):
                g = _core.gradient_part(leaf)
                if g is None or g is not self.guards.get(leaf, leaf):
                    graph.gradients.append((leaf, None if g is None else self.value(g)))
        self._settle_constants()
        for own in (self._set, self._constants, self._first, self._kept):
            own.clear()  # so that what is left of the call is others'
        for value in graph.roots():
            value.buffer.escapes = value.buffer.kind == "internal"

    def _was_there(self, x: Tensor) -> bool:
        """Whether x existed before the call."""
        buffer = self._buffers.get(_core.layout(x)[0])
        return buffer is None or buffer.kind == "external"

    def _settle_constants(self) -> None:
        """Constants that are written begin as a copy of what they were; those that are
        returned are copied, so that nobody can change ours."""
        graph = self.graph
        copy_ = _core.op_named("copy_")
        first: list[Call] = []
        for buffer, x in self._constants.items():
            if buffer not in self._kept:
                buffer.tensor = own_memory(x)
                now = x.detach().numpy()
                if now.tobytes() != self._first[buffer].tobytes():
                    self.problem = self.problem or CaptureError(
                        "compile: the memory of a constant was written by no op (hint: "
                        "write the tensor, not the array that it was made from)"
                    )
                continue
            whole = next(v for k, v in self._values.items() if k[0] == id(buffer))
            buffer.kind, buffer.tensor = "internal", None
            kept = fastnn.tensor(self._first[buffer])
            source = Value(Buffer("constant", kept), x.dtype, kept.shape, kept.stride())
            out = Value(buffer, whole.dtype, whole.shape, whole.strides, whole.offset)
            first.append(Call(copy_, [whole, source], (), [out]))
        graph.calls[:0] = first
        graph.outputs = [self._own(v) for v in graph.outputs]
        graph.gradients = [
            (leaf, None if v is None else self._own(v)) for leaf, v in graph.gradients
        ]

    def _own(self, v: Value) -> Value:
        """v, or a copy of it where it is a constant."""
        if v.buffer.kind != "constant":
            return v
        strides = contiguous_strides(v.shape)
        out = Value(Buffer("internal"), v.dtype, v.shape, strides)
        self.graph.calls.append(
            Call(_core.op_named("copy"), [v], (-1,), [out], where=user_line())
        )
        return out


def own_memory(x: Tensor) -> Tensor:
    """A copy of all of x's storage, in which offsets and strides mean the same."""
    return _core.view_of(x, (_core.storage_elements(x),), (1,), 0).clone()


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))
