"""What a function is called with, and what it returns, as tensors and the rest.

Containers are tuples, lists, dicts and dataclasses, nested as one likes. Everything else
that is no tensor or array is the same in every call of a plan: it belongs to the plan's key.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np

from fastnn._core import Tensor
from fastnn.plan.errors import CaptureError


class Leaf:
    """Where a tensor stands in a structure."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "tensor"


LEAF = Leaf()


class Same:
    """Key of what is known by being itself; keeps it, so that no other takes its id."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.x is self.x

    def __hash__(self) -> int:
        return id(self.x)


def fields_of(x: Any) -> Any:
    """Names of a dataclass instance's fields; None for anything else."""
    fields = getattr(type(x), "__dataclass_fields__", None)
    return None if fields is None else [f for f in fields if hasattr(x, f)]


def each(x: Any, change: Callable[[Any], Any]) -> Any:
    """A container like x with each part changed; None where x is none."""
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(change, x))
    if isinstance(x, tuple | list):
        return type(x)([change(v) for v in x])
    if isinstance(x, dict):
        if type(x) is dict:
            return {k: change(v) for k, v in x.items()}
        y: Any = copy.copy(x)
        for k in list(y):
            y[k] = change(x[k])
        return y
    fields = fields_of(x)
    if fields is not None:
        y = copy.copy(x)
        for name in fields:
            object.__setattr__(y, name, change(getattr(x, name)))
        return y
    return None


def flatten(x: Any, leaves: list[Any], is_leaf: Callable[[Any], bool]) -> Any:
    """x with its leaves taken out, into `leaves`, and LEAF in their places."""
    if is_leaf(x):
        leaves.append(x)
        return LEAF
    made = each(x, lambda v: flatten(v, leaves, is_leaf))
    return x if made is None else made


def rebuild(structure: Any, leaves: Any) -> Any:
    """The inverse of flatten; leaves is an iterator."""
    if structure is LEAF:
        return next(leaves)
    made = each(structure, lambda v: rebuild(v, leaves))
    return structure if made is None else made


def match(structure: Any, out: Any) -> list[Any]:
    """What stands in `out` where the structure has its leaves, in their order.

    Raises: ValueError where out is built in another way.
    """
    if structure is LEAF:
        return [out]
    return [v for part, of in pairs(structure, out) for v in match(part, of)]


def pairs(structure: Any, out: Any) -> Iterator[tuple[Any, Any]]:
    """The parts of a container, beside those of out."""
    if isinstance(structure, dict):
        if not isinstance(out, dict) or out.keys() != structure.keys():
            raise ValueError(
                f"compile: expected out as a dict with keys {list(structure)}, got "
                f"{list(out) if isinstance(out, dict) else type(out).__name__}"
            )
        yield from ((v, out[k]) for k, v in structure.items())
    elif isinstance(structure, tuple | list):
        if not isinstance(out, tuple | list) or len(out) != len(structure):
            count = len(out) if isinstance(out, tuple | list) else 1
            raise ValueError(
                f"compile: expected out with {len(structure)} parts, got {count}"
            )
        yield from zip(structure, out, strict=True)
    else:
        for name in fields_of(structure) or ():
            if not hasattr(out, name):
                raise ValueError(
                    f"compile: expected out with a field {name!r}, got "
                    f"{type(out).__name__}"
                )
            yield getattr(structure, name), getattr(out, name)


def is_value(x: Any) -> bool:
    """Whether x is a tensor or an array."""
    return isinstance(x, Tensor | np.ndarray)


def is_argument(x: Any) -> bool:
    """Whether x may change from call to call: tensors and arrays, but not leaves that
    gather gradients, which are what a call works on."""
    if isinstance(x, Tensor):
        if x.requires_grad and not x.is_leaf:
            raise CaptureError(
                "compile: expected arguments outside any graph, got the result of a "
                "recorded op (hint: detach() it, or compute it inside)"
            )
        return not x.requires_grad
    return isinstance(x, np.ndarray)


def key_of(x: Any) -> Hashable:
    """A hashable stand-in for what is no tensor: equal where a plan may be shared."""
    if isinstance(x, tuple | list):
        return type(x), *map(key_of, x)
    if isinstance(x, dict):
        return type(x), *((type(k), k, key_of(v)) for k, v in x.items())
    fields = fields_of(x)
    if fields is not None:
        return type(x), *((name, key_of(getattr(x, name))) for name in fields)
    if isinstance(x, float):
        return type(x), x.hex() if x == x else "nan"
    if isinstance(x, set):
        return set, frozenset(map(key_of, x))
    if isinstance(x, Tensor):
        return Same(x)
    try:
        hash(x)
    except TypeError:
        return Same(x)
    return type(x), x


def contiguous(x: Any) -> Any:
    """x where its elements lie row-major, else a copy."""
    if isinstance(x, Tensor):
        return x.detach().contiguous()
    if x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative:
        return x if type(x) is np.ndarray else np.asarray(x)
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C")


def copied(x: Any, flat: Any) -> bool:
    """Whether contiguous() had to copy x."""
    if isinstance(x, Tensor):
        return bool(x.data_ptr() != flat.data_ptr())
    return bool(x.ctypes.data != flat.ctypes.data)


def copies_overlap(leaves: list[Any], flat: list[Any]) -> bool:
    """Whether an argument that had to be copied shares memory with another: a write to
    one of them would not be seen in the other."""
    copies = [
        k for k, (x, y) in enumerate(zip(leaves, flat, strict=True)) if copied(x, y)
    ]
    if not copies:
        return False
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else x for x in leaves]
    return any(
        i != k and np.may_share_memory(arrays[k], a)
        for k in copies
        for i, a in enumerate(arrays)
    )
