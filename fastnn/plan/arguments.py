"""What a function is called with, and what it returns, as tensors and the rest.

Containers are tuples, lists and dicts, nested as one likes. Everything else that is no
tensor or array is the same in every call of a plan: it belongs to the plan's key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
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


def flatten(x: Any, leaves: list[Any], is_leaf: Callable[[Any], bool]) -> Any:
    """x with its leaves taken out, into `leaves`, and LEAF in their places."""
    if is_leaf(x):
        leaves.append(x)
        return LEAF
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(flatten(v, leaves, is_leaf) for v in x))
    if isinstance(x, tuple | list):
        return type(x)([flatten(v, leaves, is_leaf) for v in x])
    if isinstance(x, dict):
        return {k: flatten(v, leaves, is_leaf) for k, v in x.items()}
    return x


def rebuild(structure: Any, leaves: Any) -> Any:
    """The inverse of flatten; leaves is an iterator."""
    if structure is LEAF:
        return next(leaves)
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(rebuild(v, leaves) for v in structure))
    if isinstance(structure, tuple | list):
        return type(structure)([rebuild(v, leaves) for v in structure])
    if isinstance(structure, dict):
        return {k: rebuild(v, leaves) for k, v in structure.items()}
    return structure


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


class Itself:
    """Something that is equal to itself alone. It keeps it, so that nothing else can come
    to have its id."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def key_of(x: Any) -> Hashable:
    """A hashable stand-in for what is no tensor: equal where a plan may be shared."""
    if isinstance(x, tuple | list):
        return type(x), *map(key_of, x)
    if isinstance(x, dict):
        return dict, *((k, key_of(v)) for k, v in x.items())
    if isinstance(x, float):
        return float, x.hex() if x == x else "nan"
    if isinstance(x, Tensor):
        return Itself(x)
    try:
        hash(x)
    except TypeError:
        return Itself(x)
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
