"""Rows of attention and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples._rows import ROWS, Hostile, Row, Sample, integers, normal


def _mask(*shape: int) -> Any:
    """Takes part, mostly; no query is left with nothing."""
    mask = integers(0, 4, *shape) > 0
    mask[..., 0] = True
    return mask


def _qkv(
    batch: tuple[int, ...], length: int, size: int, e: int, f: int, heads: int = 0
) -> tuple[Any, Any, Any]:
    middle = (heads,) * bool(heads)
    return (
        normal(*batch, length, *middle, e),
        normal(*batch, size, *middle, e, key=1),
        normal(*batch, size, *middle, f, key=2),
    )


def _wild() -> tuple[Any, ...]:
    q, k, v = (x.copy() for x in _qkv((4,), 2, 3, 2, 2))
    q[0, 0], k[1, 0], v[2, 0], q[3, 1] = np.inf, np.nan, np.inf, 1e30
    return q, k, v


_none = np.array([[True, False], [False, False]])
_calls: list[tuple[Any, ...]] = [
    (*_qkv((), 3, 4, 2, 3), None, 0.5),
    (*_qkv((2,), 3, 3, 2, 2), None, 1.0, True),
    (*_qkv((2, 2), 2, 3, 1, 2), _mask(2, 3), 0.7),
    (*_qkv((2,), 2, 3, 2, 1), normal(2, 1, 3, key=3), -0.7),
    (*_qkv((2,), 3, 2, 2, 2, heads=2), _mask(2, 1, 1, 2), 0.7, True, True),
    (normal(1, 3, 2), normal(2, 1, 2, 2), normal(2, 2, 2), normal(3, 1), 0.5),
    (*_qkv((), 2, 2, 2, 2), _none, 1.0),
    (*_qkv((2,), 1, 1, 1, 1), None, 1.0),
    (*_qkv((0,), 2, 3, 2, 2), None, 1.0),
    (*_qkv((2,), 0, 3, 2, 2), None, 1.0),
    (*_qkv((2,), 2, 0, 2, 3), None, 1.0, True),
    (*_qkv((2,), 2, 3, 0, 2), None, 1.0),
    (*_qkv((2,), 2, 3, 2, 0), None, 1.0),
]
_large: list[tuple[Any, ...]] = [
    (*_qkv((3,), 70, 70, 17, 9), None, 0.3, True),
    (*_qkv((2,), 3, 270, 5, 3), None, 0.5),
    (*_qkv((1,), 66, 130, 3, 33, heads=2), _mask(66, 130), 0.3, False, True),
    (normal(2, 5, 4) * 300, normal(2, 6, 4) * 300, normal(2, 6, 2), None, 1.0),
]
_big: list[tuple[Any, ...]] = [
    (*_qkv((3, 3), 150, 140, 16, 20), None, 0.25, True),
    (*_qkv((1,), 130, 300, 16, 16), normal(130, 300, key=3), 0.25),
]
_shared = [(0, 1, 2) if i in (1, 7) else None for i in range(len(_calls))]
_few = [Hostile(c, e, m) for c, e, m in (
    ((normal(3), normal(3), normal(3), None, 1.0), ValueError, "at least 2 dim"),
    ((normal(3, 2), normal(4, 3), normal(4, 2), None, 1.0), ValueError, "same batch"),
    ((normal(3, 2), normal(4, 2), normal(3, 2), None, 1.0), ValueError, "same batch"),
    (
        (normal(2, 3, 2), normal(3, 4, 2), normal(3, 4, 2), None, 1.0),
        ValueError,
        "same batch",
    ),
    (
        (normal(3, 2), normal(4, 2), normal(4, 2), None, 1.0, False, True),
        ValueError,
        "at least 3 dim",
    ),
    ((normal(3, 2), normal(4, 2), normal(4, 2), _mask(3, 3), 1.0), ValueError, "mask"),
    (
        (normal(3, 2), normal(4, 2), normal(4, 2), integers(0, 2, 3, 4), 1.0),
        TypeError,
        "mask of dtype",
    ),
    ((integers(0, 2, 3, 2), normal(4, 2), normal(4, 2), None, 1.0), TypeError, "q"),
    ((normal(3, 2), normal(4, 2), integers(0, 2, 4, 2), None, 1.0), TypeError, "v"),
)]  # fmt: skip


def _weight(q: Any, k: Any, v: Any, *_rest: Any) -> Any:
    """Of rounded scores in exponents."""
    del v
    if min(q.size, k.size) == 0:
        return 1.0
    return 1 + np.abs(q[np.isfinite(q)]).max() * np.abs(k[np.isfinite(k)]).max()


ROWS["attention"] = Row(
    [Sample(c, rows=r) for c, r in zip(_calls, _shared, strict=True)]
    + [Sample(c, rows=(0, 1, 2), smooth=False) for c in _large]
    + [Sample((*_wild(), None, 1.0), smooth=False)],
    big=[Sample(c) for c in _big],
    hostile=_few,
    rtol={"float32": 3e-6, "float64": 1e-14},
    scale=_weight,
)


def _backward(call: tuple[Any, ...]) -> tuple[Any, ...]:
    from fastnn.ops._registry import REFERENCES

    y, top, total = REFERENCES["attention"](*call)
    q, k, v, mask, *attributes = call
    return (normal(*y.shape, key=5), q, k, v, mask, y, top, total, *attributes)


def _gradient_scale(gy: Any, q: Any, k: Any, v: Any, *rest: Any) -> Any:
    largest = [np.abs(x).max(initial=1) for x in (gy, q, k, v)]
    return np.prod(largest) * 10 * max(q.shape[-2:] + k.shape[-2:])


ROWS["attention_backward"] = Row(
    [Sample(_backward(c)) for c in _calls]
    + [Sample(_backward(c), smooth=False) for c in _large[:3]],
    big=[Sample(_backward(c)) for c in _big],
    hostile=[
        Hostile((normal(3, 4), *_backward(_calls[0])[1:]), ValueError, "expected gy"),
        Hostile(
            (*_backward(_calls[0])[:6], normal(4), normal(3), 0.5),
            ValueError,
            "as attention gives",
        ),
        *(
            Hostile((normal(3, 2), *h.args[:4], normal(3, 2), normal(3), normal(3), 1.0),
                    h.error, h.match)
            for h in _few[1:4]
        ),
    ],
    rtol={"float32": 3e-6, "float64": 1e-14},
    scale=_gradient_scale,
)  # fmt: skip
