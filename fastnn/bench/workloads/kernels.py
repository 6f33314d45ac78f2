"""Single functions at sizes where the kernel counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.bench.workloads.activations import JAX, NUMPY, TORCH
from fastnn.bench.workloads.rows import Goal, Gradient, Kernel, Update, Workload

MILLIONS = 10_000_000
INTO = (Goal(peer=1.05, floor=(0.85, 0.85)), Goal(peer=0.80))
FRESH = (Goal(peer=0.25),)
STREAM = (Goal(floor=(0.90, 0.90)),)


def elementwise(name: str, *, existing: bool) -> Workload:
    """A row: ten million numbers, into an existing output or a fresh one."""
    return Kernel(
        name=f"{name}, 10 million, {'existing' if existing else 'fresh'} output",
        group="kernels",
        flops=MILLIONS,
        bytes=8.0 * MILLIONS,
        shapes=((MILLIONS,),),
        out=(MILLIONS,) if existing else None,
        forms={
            "fastnn": lambda f, x, **out: getattr(f, name)(x, **out),
            "numpy": NUMPY[name],
            "torch": TORCH.get(name, lambda t, x, **out: getattr(t, name)(x, **out)),
            "jax": JAX[name],
        },
        goals=INTO if existing else FRESH,
    )


def reduction(name: str, shape: tuple[int, ...], dim: int | None) -> Workload:
    """A row: a sum or an extremum over all or one dimension."""
    size = int(np.prod(shape))
    over = "all" if dim is None else f"dimension {dim}"
    dims = {} if dim is None else {"dim": dim}
    axis = {} if dim is None else {"axis": dim}
    return Kernel(
        name=f"{name} of {shape} over {over}",
        group="kernels",
        flops=size,
        bytes=4.0 * size,
        shapes=(shape,),
        tolerance=1e-3,  # sums of many signs
        forms={
            "fastnn": lambda f, x: getattr(f, name)(x, **dims),
            "numpy": lambda np, x: getattr(np, name)(x, **axis),
            "torch": lambda t, x: getattr(t, name)(x, **dims),
            "jax": lambda j, x: getattr(j.numpy, name)(x, **axis),
        },
    )


def _log_softmax(np: Any, x: Any) -> Any:
    z = x - x.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _softmax(np: Any, x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


def _cross_entropy(np: Any, x: Any, t: Any) -> Any:
    return -_log_softmax(np, x)[np.arange(len(x)), t].mean()


def _cross_entropy_gradient(np: Any, x: Any, t: Any) -> Any:
    g = _softmax(np, x)
    g[np.arange(len(x)), t] -= 1
    g /= len(x)
    return g


def _jax_cross_entropy(j: Any, x: Any, t: Any) -> Any:
    rows = j.numpy.arange(x.shape[0])
    return -j.nn.log_softmax(x)[rows, t].mean()


def softmax(n: int, classes: int, *goals: Goal) -> list[Workload]:
    """Rows: softmax, cross entropy, and its gradient."""
    size = n * classes
    labels = ((n,), classes)
    loss: dict[str, Any] = {
        "fastnn": lambda f, x, t: f.nn.functional.cross_entropy(x, t),
        "numpy": _cross_entropy,
        "torch": lambda t, x, y: t.nn.functional.cross_entropy(x, y),
        "jax": _jax_cross_entropy,
    }
    return [
        Kernel(
            name=f"softmax of ({n}, {classes})",
            group="kernels",
            flops=3.0 * size,
            bytes=8.0 * size,
            shapes=((n, classes),),
            forms={
                "fastnn": lambda f, x: f.softmax(x, dim=1),
                "numpy": _softmax,
                "torch": lambda t, x: t.softmax(x, dim=1),
                "jax": lambda j, x: j.nn.softmax(x),
            },
        ),
        Kernel(
            name=f"cross entropy of ({n}, {classes})",
            group="kernels",
            flops=3.0 * size,
            bytes=4.0 * size,
            shapes=((n, classes), labels),
            forms=loss,
        ),
        Gradient(
            name=f"cross entropy of ({n}, {classes}), forward and backward",
            group="kernels",
            flops=4.0 * size,
            bytes=8.0 * size,
            shapes=((n, classes), labels),
            forms={**loss, "numpy": _cross_entropy_gradient},
            goals=goals,
        ),
    ]


def _numpy_dropout(np: Any, x: Any) -> Any:
    kept = np.random.default_rng(0).random(x.shape, np.float32) >= 0.5
    return x * kept * np.float32(2)


def update(optimizer: str, arrays: int, flops: int, **options: float) -> Workload:
    """A row: a step on ten million parameters; arrays that it reads or writes."""
    momentum = ", momentum" if "momentum" in options else ""
    return Update(
        name=f"{optimizer}{momentum}, 10 million parameters",
        group="kernels",
        flops=float(flops) * MILLIONS,
        bytes=4.0 * arrays * MILLIONS,
        optimizer=optimizer,
        options=options,
        size=MILLIONS,
        goals=STREAM,
    )


ROWS: list[Workload] = [
    *(
        elementwise(n, existing=True)
        for n in ("relu", "gelu", "tanh", "sigmoid", "exp")
    ),
    *(
        elementwise(n, existing=False)
        for n in ("relu", "gelu", "tanh", "sigmoid", "exp")
    ),
    reduction("sum", (MILLIONS,), None),
    reduction("sum", (4096, 1024), 0),
    reduction("sum", (4096, 1024), 1),
    reduction("amax", (4096, 1024), 1),
    *softmax(64, 10),
    *softmax(1024, 1000),
    *softmax(4096, 1000, Goal(peer=0.40)),
    update("SGD", 3, 2, lr=0.01),
    update("SGD", 5, 4, lr=0.01, momentum=0.9),
    update("Adagrad", 5, 6, lr=0.01),
    update("Adadelta", 7, 12, lr=1.0),
    update("RMSprop", 5, 7, lr=0.01),
    update("Adam", 7, 12, lr=1e-3),
    update("AdamW", 7, 13, lr=1e-3),
    update("NAdam", 7, 14, lr=2e-3),
    update("RAdam", 7, 14, lr=1e-3),
    Kernel(
        name="dropout of (1024, 1024)",
        group="kernels",
        flops=2.0 * 2**20,
        bytes=8.0 * 2**20,
        shapes=((1024, 1024),),
        tolerance=None,  # everyone draws other numbers
        forms={
            "fastnn": lambda f, x: f.nn.functional.dropout(x, 0.5),
            "numpy": _numpy_dropout,
            "torch": lambda t, x: t.nn.functional.dropout(x, 0.5),
            # the seed follows x, or XLA would draw the numbers once and for all
            "jax": lambda j, x: j.numpy.where(
                j.random.bernoulli(
                    j.random.key(x[0, 0].astype(j.numpy.int32)), 0.5, x.shape
                ),
                2 * x,
                0,
            ),
        },
    ),
]
