"""What the generic tests share: arguments made tensors, results made arrays, bits."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor


def tensors(
    value: Any, dtype: Any = None, *, grad: bool = False, layout: str = ""
) -> Any:
    """NumPy arrays as tensors, float ones in dtype; generator states made; lists too."""
    if isinstance(value, (tuple, list)):
        return type(value)(tensors(v, dtype, grad=grad, layout=layout) for v in value)
    if callable(value) and not isinstance(value, Tensor):
        return value()
    if not isinstance(value, np.ndarray):
        return value
    is_float = value.dtype.kind == "f"
    with np.errstate(over="ignore"):
        array = (
            value.astype(dtype.numpy)
            if is_float and dtype is not None
            else value.copy()
        )
    x = fastnn.from_numpy(laid_out(array, layout))
    return x.requires_grad_() if grad and is_float else x


def laid_out(array: Any, layout: str) -> Any:
    """The same values in other memory: strided, reversed, transposed or off alignment."""
    if array.ndim == 0:
        return array
    if layout == "strided":
        wide = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
        view = wide[tuple(slice(1, 2 * n + 1, 2) for n in array.shape)]
    elif layout == "reversed":
        view = np.zeros(array.shape, array.dtype)[
            tuple(slice(None, None, -1) for _ in array.shape)
        ]
    elif layout == "transposed":
        view = np.zeros(array.shape[::-1], array.dtype).T
    elif layout == "misaligned":
        raw = np.zeros(array.nbytes + 128, np.uint8)
        start = -raw.ctypes.data % 64 + array.itemsize
        view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    else:
        return array
    view[...] = array
    return view


def arrays(result: Any) -> list[Any]:
    """The tensors, arrays and numbers of a result, lists in it too, as arrays."""
    if isinstance(result, Tensor):
        return [result.numpy(force=True)]
    if isinstance(result, (tuple, list)):
        return [a for r in result for a in arrays(r)]
    return [] if result is None else [np.asarray(result)]


def flat(args: Any) -> list[Tensor]:
    """The tensors among arguments, those in lists too."""
    if isinstance(args, (tuple, list)):
        return [x for a in args for x in flat(a)]
    return [args] if isinstance(args, Tensor) else []


def assert_same_bits(got: Any, expected: Any, what: str = "") -> None:
    """Equal shape, dtype and bits; NaNs equal NaNs."""
    for a, b in zip(arrays(got), arrays(expected), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, what
        if a.dtype.kind == "f":
            a, b = (np.where(np.isnan(v), np.nan, v) for v in (a, b))
        same = np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
        if not same:
            bad = np.argwhere(~((a == b) | ((a != a) & (b != b))))
            at = tuple(bad[0]) if len(bad) else ()
            raise AssertionError(
                f"{what}: {len(bad)} of {a.size} differ, first at {at}: "
                f"{a[at]!r} and {b[at]!r}"
            )
