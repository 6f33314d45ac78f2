"""A small recorder for the tests of graphs: what ops ran, as a Graph."""

from __future__ import annotations

import sys

import fastnn
from fastnn import Tensor, _core
from fastnn._core import op_named
from fastnn.ops._record import recording
from fastnn.plan.graph import Buffer, Call, Graph, Value

_EMPTY = _core.empty
VALUES = {"int": int, "bool": lambda text: bool(int(text)), "float": float}


def record(f, arguments=(), *, externals=None):
    """(graph, result) of f(*arguments). Tensors that nobody made are externals; only what
    is in the list, if there is one, and constants otherwise. Gradients are those that f
    left in the externals' .grad."""
    return Recorder(arguments, externals).run(f)


class Recorder:
    def __init__(self, arguments, externals):
        self.graph = Graph()
        self.given = arguments
        self.externals = externals
        self.buffers = {}  # address of the storage -> Buffer
        self.values = {}  # layout -> the newest Value
        self.alive = []  # so that addresses and ids stay theirs
        for i, x in enumerate(arguments):
            self.graph.arguments.append(self.value(x, "argument", i))

    def key(self, x):
        return x.data_ptr() - x.storage_offset() * x.element_size()

    def layout(self, x):
        return self.key(x), x.dtype, x.shape, x.stride(), x.storage_offset()

    def value(self, x, kind=None, index=-1):
        key, layout = self.key(x), self.layout(x)
        if layout in self.values:
            return self.values[layout]
        self.alive.append(x.detach())
        if key not in self.buffers:
            if kind is None:
                known = self.externals is None or any(
                    self.key(e) == key for e in self.externals
                )
                kind = "external" if known else "constant"
            tensor = x.detach() if kind in ("external", "constant") else None
            self.buffers[key] = Buffer(kind, tensor, index)
        v = Value(self.buffers[key], x.dtype, x.shape, x.stride(), x.storage_offset())
        self.values[layout] = v
        return v

    def input(self, x, kind=None):
        if x is None or isinstance(x, Tensor):
            return None if x is None else self.value(x, kind)
        d = fastnn.float32 if isinstance(x, float) else fastnn.int64
        return Value(Buffer("constant"), d, (), (), 0, x)

    def call(self, op, args, result):
        n = len(op.inputs)
        args = list(args) + [None] * (n - len(args))
        attrs = list(args[n:])
        for declared in op.attributes[len(attrs) :]:
            kind, default = declared.split(":")[1].split("=")
            attrs.append(() if kind == "ints" else VALUES[kind](default))
        inputs, count = [], 0
        for name, x in zip(op.inputs, args, strict=False):
            if name in op.lists and x is not None:
                count = len(x)
        for name, x in zip(op.inputs, args, strict=False):
            if name in op.lists:
                kind = "external" if name in op.written else None
                inputs += [self.input(e, kind) for e in (x or [None] * count)]
            else:
                kind = "external" if name in op.written else None
                inputs.append(self.input(x, kind))
        c = Call(op, inputs, tuple(attrs), [], count)
        outs = (
            []
            if not op.outputs
            else list(result)
            if isinstance(result, tuple)
            else [result]
        )
        for k, out in enumerate(outs):
            known = self.key(out) in self.buffers
            if not c.is_view and not c.in_place and known and k == 0:
                c.into = True
            self.values.pop(self.layout(out), None)
            c.outputs.append(self.value(out, None if known else "internal"))
        frame = sys._getframe(4)
        c.where = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
        self.graph.calls.append(c)

    def empty(self, *args):
        x = _EMPTY(*args)
        self.value(x, "internal")
        return x

    def run(self, f):
        _core.empty = self.empty
        try:
            with recording(self.call):
                result = f(*self.given)
        finally:
            _core.empty = _EMPTY
        results = list(result) if isinstance(result, tuple) else [result]
        self.graph.outputs = [self.value(x) for x in results]
        for x in self.externals or ():
            grad = x.grad
            if grad is not None:
                self.graph.gradients.append((x, self.value(grad)))
        for v in self.graph.roots():
            if v.buffer.kind == "internal":
                v.buffer.escapes = True
        return self.graph, results


def ops(graph, *names):
    """How many calls the graph has, views left out; only of these names, if any."""
    return sum(not c.is_view if not names else c.op.name in names for c in graph.calls)


def call(name, inputs, outputs, *attrs, **options):
    return Call(op_named(name), list(inputs), attrs, list(outputs), **options)
