"""What is paid where there is nothing to compute: an op in a program, a call of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.bench.workloads.rows import Chain, Goal, Kernel, Workload


def _softmax(numpy: Any, x: Any) -> Any:
    e = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def chain(name: str, shapes: Any, flops: float, **forms: Any) -> Workload:
    """A row: the cost of one op among many."""
    size = sum(int(np.prod(s)) for s in shapes)
    return Chain(
        name=f"an op in a program: {name}",
        group="overhead",
        flops=flops,
        bytes=4.0 * size,
        shapes=shapes,
        forms=forms,
        goals=[Goal(seconds=100e-9)],
    )


def call(name: str, target: float, **options: Any) -> Workload:
    """A row: the cost of calling a program of one op on 8 numbers."""
    return Kernel(
        name=f"calling a program: {name}",
        group="overhead",
        flops=8,
        bytes=3 * 8 * 4,
        shapes=((8,), (8,)),
        forms={
            "fastnn": lambda f, x, w, **out: f.mul(x, w, **out),
            "numpy": lambda np, x, w, **out: np.multiply(x, w, **out),
            "torch": lambda t, x, w, **out: t.mul(x, w, **out),
            "jax": lambda j, x, w: x * w,
        },
        goals=[Goal(seconds=target)],
        **options,
    )


ROWS: list[Workload] = [
    chain(
        "multiply 8 numbers",
        ((8,), (8,)),
        8,
        fastnn=lambda f, x, w: x * w,
        numpy=lambda np, x, w: x * w,
        torch=lambda t, x, w: x * w,
        jax=lambda j, x, w: x * w,
    ),
    chain(
        "softmax of (2, 8)",
        ((2, 8), (1,)),
        16 * 10,
        fastnn=lambda f, x, w: f.softmax(x, dim=-1),
        numpy=lambda np, x, w: _softmax(np, x),
        torch=lambda t, x, w: t.softmax(x, dim=-1),
        jax=lambda j, x, w: j.nn.softmax(x),
    ),
    chain(
        "product (4, 8) (8, 8)",
        ((4, 8), (8, 8)),
        2 * 4 * 8 * 8,
        fastnn=lambda f, x, w: x @ w,
        numpy=lambda np, x, w: x @ w,
        torch=lambda t, x, w: x @ w,
        jax=lambda j, x, w: x @ w,
    ),
    call("tensors", 0.5e-6),
    call("tensors, out=", 0.5e-6, out=(8,)),
    call("arrays", 1e-6, arrays=True),
    call("arrays, out=", 1e-6, arrays=True, out=(8,)),
]
