"""Products of matrices: square, skinny, transposed, batched, and as layers."""

from __future__ import annotations

from typing import Any

from fastnn.bench.workloads.activations import JAX, NUMPY
from fastnn.bench.workloads.rows import Goal, Kernel, Workload

SIZES = {"float32": 4.0, "float64": 8.0}
LARGE = (Goal(peer=1.05, floor=(0.90, 0.87)),)
MIDDLE = (Goal(floor=(0.80, 0.70)),)
SMALL = (Goal(peer=0.75), Goal(floor=(0.85, 0.85)))


def product(
    m: int,
    k: int,
    n: int,
    form: str = "",
    *,
    batch: int = 1,
    dtype: str = "float32",
    goals: tuple[Goal, ...] = (),
) -> Workload:
    """A row: (m, k) times (k, n), that often, or one operand stored transposed ("A^T",
    "B^T")."""

    def multiply(lib: Any, a: Any, b: Any, **out: Any) -> Any:
        return lib.matmul(
            a.T if form == "A^T" else a, b.T if form == "B^T" else b, **out
        )

    many = () if batch == 1 else (batch,)
    words = [f"product {m} x {k} x {n}"]
    words += [form] if form else []
    words += [f"{batch} of them"] if many else []
    words += [dtype] if dtype != "float32" else []
    return Kernel(
        name=", ".join(words),
        group="products",
        flops=2.0 * m * k * n * batch,
        bytes=SIZES[dtype] * (m * k + k * n + m * n) * batch,
        dtype=dtype,
        shapes=(
            (k, m) if form == "A^T" else (*many, m, k),
            (n, k) if form == "B^T" else (*many, k, n),
        ),
        out=(*many, m, n),
        forms={
            "fastnn": multiply,
            "numpy": multiply,
            "torch": multiply,
            "jax": lambda j, a, b: multiply(j.numpy, a, b),
        },
        goals=goals,
    )


def linear(m: int, k: int, n: int, act: str) -> Workload:
    """A row: act(x W^T + b)."""
    return Kernel(
        name=f"linear and {act}, {m} x {k} x {n}",
        group="products",
        flops=2.0 * m * k * n,
        bytes=4.0 * (m * k + k * n + m * n),
        shapes=((m, k), (n, k), (n,)),
        forms={
            "fastnn": lambda f, x, w, b: getattr(f, act)(
                f.nn.functional.linear(x, w, b)
            ),
            "numpy": lambda np, x, w, b: NUMPY[act](np, x @ w.T + b),
            "torch": lambda t, x, w, b: getattr(t.nn.functional, act)(
                t.nn.functional.linear(x, w, b)
            ),
            "jax": lambda j, x, w, b: JAX[act](j, x @ w.T + b),
        },
    )


ROWS: list[Workload] = [
    product(8, 8, 8),
    product(32, 32, 32),
    product(64, 64, 64, goals=SMALL),
    product(128, 128, 128, goals=SMALL),
    product(256, 256, 256, goals=MIDDLE),
    *(product(n, n, n, goals=LARGE) for n in (512, 1024, 2048)),
    product(512, 512, 512, "A^T", goals=LARGE),
    product(512, 512, 512, "B^T", goals=LARGE),
    product(64, 784, 128, goals=SMALL),
    product(64, 784, 128, "B^T"),
    product(128, 512, 512, goals=SMALL),
    product(32, 1024, 4096, goals=SMALL),
    product(1, 1024, 1024, goals=SMALL),
    product(1, 1024, 1024, "B^T"),
    product(64, 64, 64, batch=64),
    product(256, 64, 256, batch=16),
    product(256, 256, 256, dtype="float64", goals=MIDDLE),
    product(1024, 1024, 1024, dtype="float64", goals=LARGE),
    linear(64, 784, 128, "relu"),
    linear(128, 512, 512, "gelu"),
    linear(1, 784, 128, "relu"),
]
