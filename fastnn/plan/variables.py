"""The variables that a function uses besides its arguments: captured ones, globals, and the
attributes of plain objects. A plan is right while they are what they were.

They are read off the code: names in the function, in those that it captures or calls by
name, and in the forward() of modules that took part. What is reached in other ways, such as
the elements of a list, is not looked at.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fastnn._core import Tensor
from fastnn.nn import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.plan.capture import PACKAGE

CONTAINERS = (list, dict, set)
MANY = 64  # parts of a container that are looked at


class Variable(NamedTuple):
    """holder: a cell, or a dict with the variable at `name`; size: of a container."""

    holder: Any
    name: str
    value: Any
    size: int


def variables(function: Any, modules: Iterable[Any] = ()) -> list[Variable]:
    """Every variable that function, and the forward() of modules, use now."""
    return _walked(function, modules).found


def weighs_sizes(function: Any, modules: Iterable[Any] = ()) -> bool:
    """Whether the code compares, bounds or divides where it also asks for sizes: it may do
    other things at another batch size."""
    return any(map(_weighs, _walked(function, modules).codes))


def reachable(*roots: Any) -> list[Any]:
    """Modules and Optimizers that functions name, or hold as defaults or bound arguments,
    whether they take part or not."""
    walk = _Walk()
    for root in roots:
        walk.visit(root)
    return list(walk.things)


def _walked(function: Any, modules: Iterable[Any]) -> _Walk:
    walk = _Walk()
    walk.visit(function)
    for module in modules:
        if isinstance(module, Module):
            walk.visit(vars(module).get("forward", type(module).forward))
    return walk


def difference(before: list[Variable], after: list[Variable]) -> str:
    """The name of a variable that a call has changed, or ""."""
    now = {(id(v.holder), v.name): v for v in after}
    for v in before:
        w = now.get((id(v.holder), v.name))
        if w is not None and not same(v, w):
            return v.name
    return ""


def same(v: Variable, w: Variable) -> bool:
    """One object that has not grown or shrunk, or equal plain values."""
    if v.value is w.value:
        return v.size == w.size
    plain = isinstance(v.value, bool | int | float | complex | str | bytes)
    return plain and type(v.value) is type(w.value) and bool(v.value == w.value)


class _Walk:
    def __init__(self) -> None:
        self.found: list[Variable] = []
        self.codes: list[types.CodeType] = []
        self.things: dict[Any, None] = {}
        self._seen: set[int] = set()
        self._held: list[Any] = []  # so that no id comes twice

    def visit(self, x: Any, names: frozenset[str] = frozenset()) -> None:
        """Looks into a function, method, partial or object, of which `names` are used."""
        if id(x) in self._seen:
            return
        self._seen.add(id(x))
        self._held.append(x)
        if isinstance(x, Module | Optimizer):
            self.things[x] = None
        if isinstance(x, functools.partial):
            self._all([x.func, *x.args, *x.keywords.values()])
        elif isinstance(x, types.MethodType):
            used = (
                frozenset(_names(x.__func__.__code__))
                if _is_python(x.__func__)
                else names
            )
            self._all([x.__func__, x.__self__])
            self._attributes(x.__self__, used)
        elif isinstance(x, types.FunctionType):
            self._function(x)
        elif isinstance(x, Module):
            self.visit(vars(x).get("forward", type(x).forward))
        elif isinstance(x, tuple | list) and len(x) <= MANY:
            self._all(x)
        elif isinstance(x, dict) and len(x) <= MANY:
            self._all(x.values())
        elif not isinstance(x, Tensor | Optimizer | type | types.ModuleType):
            call = vars(type(x)).get("__call__")
            if isinstance(call, types.FunctionType):
                self._function(call)
                names = names | frozenset(_names(call.__code__))
            self._attributes(x, names)

    def _all(self, parts: Iterable[Any]) -> None:
        for part in parts:
            self.visit(part)

    def _function(self, f: types.FunctionType) -> None:
        code = f.__code__
        if code.co_filename.startswith(PACKAGE):
            return
        self.codes.append(code)
        self._all([*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()])
        names = frozenset(_names(code))
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            try:
                self._add(cell, name, cell.cell_contents, names)
            except ValueError:  # not bound yet
                continue
        for name in names:
            if name in f.__globals__:
                self._add(f.__globals__, name, f.__globals__[name], names)

    def _attributes(self, x: Any, names: frozenset[str]) -> None:
        held = getattr(x, "__dict__", None)
        if isinstance(x, Module | Tensor | Optimizer | type | types.ModuleType):
            return
        if type(x).__module__.partition(".")[0] == "fastnn" or not isinstance(
            held, dict
        ):
            return
        for name in names & held.keys():
            self._add(held, name, held[name], names)

    def _add(self, holder: Any, name: str, value: Any, names: frozenset[str]) -> None:
        if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType):
            return
        ours = type(value).__module__.partition(".")[0] == "fastnn" and callable(value)
        if ours and not isinstance(value, Module | Tensor | Optimizer):
            return  # what it depends on is known
        size = len(value) if isinstance(value, CONTAINERS) else -1
        self.found.append(Variable(holder, name, value, size))
        self.visit(value, names)


def _is_python(f: Any) -> bool:
    return isinstance(f, types.FunctionType)


def _names(code: types.CodeType) -> Iterator[str]:
    """Names of globals and attributes in a function and in those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


SIZES = {"shape", "size", "len", "numel"}
WEIGHING = {"min", "max", "divmod", "round"}


def _weighs(code: types.CodeType) -> bool:
    names = set(_names(code))
    if not names & SIZES:
        return False
    return bool(names & WEIGHING) or any(
        i.opname == "COMPARE_OP"
        or "FLOOR_DIVIDE" in i.opname
        or "MODULO" in i.opname
        or (i.opname == "BINARY_OP" and i.argrepr.strip("=") in ("//", "%"))
        for i in _instructions(code)
    )


def _instructions(code: types.CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)
