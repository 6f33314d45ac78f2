"""How an op family declares itself: public functions, methods, gradients, references.

The op table in C says which ops there are. A family file adds to each row what only Python
needs, and nothing else has to be told:

    exp = op("exp")                              the row, callable
    @public(method=True)                         fastnn.exp and Tensor.exp
    @gradient("exp", saves={"y": "x"})           d loss / d inputs, written in ops
    @reference("exp")                            NumPy oracle for the tests
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastnn._core import Node, Op, Tensor, install
from fastnn._core import op_named as op

__all__ = [
    "COMPOSITES",
    "PUBLIC",
    "REFERENCES",
    "gradient",
    "no_gradient",
    "op",
    "public",
    "reference",
    "saved_for",
    "wanted",
]

F = TypeVar("F", bound=Callable[..., Any])
Gradients = tuple[Tensor | None, ...]

PUBLIC: dict[str, Callable[..., Any]] = {}
REFERENCES: dict[str, Callable[..., Any]] = {}
COMPOSITES: set[str] = set()
NO_GRADIENT: set[str] = set()
METHODS: dict[str, Callable[..., Any]] = {}


def public(
    *, method: bool | str = False, function: bool = True, composite: bool = False
) -> Callable[[F], F]:
    """Declares a public function: fastnn.<name>, and Tensor.<name> if method.

    Parameters:
        method : True, or the method's name where it differs; its first argument is self.
        function : False for a method alone.
        composite : the function is its own op, written in others; the tests ask for
            samples of it.
    """

    def declare(f: F) -> F:
        if function:
            PUBLIC[f.__name__] = f
        if composite:
            COMPOSITES.add(f.__name__)
        if method:
            name = method if isinstance(method, str) else f.__name__
            METHODS[name] = f
            install(name, f)
        return f

    return declare


def gradient(
    name: str,
    *,
    saves: dict[str, str] | None = None,
    composite: Callable[..., Tensor] | None = None,
    outputs: str = "",
) -> Callable[[F], F]:
    """Declares the gradient of a table row: f(node, *gy) -> gradient of every input.

    Parameters:
        saves : maps each input or output that the gradient reads to the inputs whose
            gradient reads it ("a b"); f finds them in node.saved, in this order.
        composite : the op written in other ops, f(*inputs, *attributes), differentiated
            instead under create_graph where f calls a fused op. Then saves must begin with
            every input.
        outputs : those beside the first that are differentiable ("hn cn"). Where there are
            any, each gy may be None.
    """

    def declare(f: F) -> F:
        op(name).set_gradient(f, saves or {}, composite, outputs.split())
        return f

    return declare


def saved_for(names: str, readers: str) -> dict[str, str]:
    """saves of a gradient that reads all of these for each of the readers."""
    return dict.fromkeys(names.split(), readers)


def wanted(node: Node, *grads: Tensor | None) -> Gradients:
    """Of the gradients of all inputs, those that the pass asks for."""
    return tuple(g if node.needs(i) else None for i, g in enumerate(grads))


def no_gradient(*names: str) -> None:
    """Declares rows whose result does not depend smoothly on the inputs."""
    NO_GRADIENT.update(names)


def reference(name: str) -> Callable[[F], F]:
    """Declares the NumPy form of a row or composite, f(*arrays, *attributes)."""

    def declare(f: F) -> F:
        REFERENCES[name] = f
        return f

    return declare


__all__ += ["Gradients", "Node", "Op", "Tensor"]
