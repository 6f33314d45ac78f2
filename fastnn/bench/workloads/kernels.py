"""Single functions at sizes where the kernel counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.bench.workloads.rows import Gradient, Kernel, Update, Workload

MILLIONS = 10_000_000


def product(m: int, k: int, n: int, form: str = "") -> Workload:
    """A row: (m, k) times (k, n), or one operand stored transposed ("A^T", "B^T")."""

    def multiply(lib: Any, a: Any, b: Any, **out: Any) -> Any:
        return lib.matmul(
            a.T if form == "A^T" else a, b.T if form == "B^T" else b, **out
        )

    return Kernel(
        name=f"product {m} x {k} x {n}{', ' + form if form else ''}",
        group="kernels",
        flops=2.0 * m * k * n,
        bytes=4.0 * (m * k + k * n + m * n),
        shapes=(
            (k, m) if form == "A^T" else (m, k),
            (n, k) if form == "B^T" else (k, n),
        ),
        out=(m, n),
        forms={
            "fastnn": multiply,
            "numpy": multiply,
            "torch": multiply,
            "jax": lambda j, a, b: multiply(j.numpy, a, b),
        },
    )


def linear(m: int, k: int, n: int, act: str) -> Workload:
    """A row: act(x W^T + b)."""
    return Kernel(
        name=f"linear and {act}, {m} x {k} x {n}",
        group="kernels",
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


def _into(function: Any) -> Any:
    """function(x) into out= where there is one, else fresh: NumPy's steps in place."""

    def run(np: Any, x: Any, out: Any = None) -> Any:
        return function(np, x, np.empty_like(x) if out is None else out)

    return run


def _sigmoid(np: Any, x: Any, y: Any) -> Any:
    np.negative(x, out=y)
    np.exp(y, out=y)
    np.add(y, 1, out=y)
    return np.divide(1, y, out=y)


def _gelu(np: Any, x: Any, y: Any) -> Any:
    """NumPy has no erf; Abramowitz and Stegun 7.1.26 is right to 1.5e-7."""
    t = 1 / (1 + np.float32(0.3275911 / 2**0.5) * np.abs(x))
    np.multiply(t, np.float32(1.061405429), out=y)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        np.add(y, np.float32(c), out=y)
        np.multiply(y, t, out=y)
    np.multiply(y, np.exp(np.float32(-0.5) * x * x), out=y)
    np.subtract(1, y, out=y)
    np.copysign(y, x, out=y)
    np.add(y, 1, out=y)
    np.multiply(y, x, out=y)
    return np.multiply(y, np.float32(0.5), out=y)


NUMPY: dict[str, Any] = {
    "relu": lambda np, x, **out: np.maximum(x, 0, **out),
    "exp": lambda np, x, **out: np.exp(x, **out),
    "tanh": lambda np, x, **out: np.tanh(x, **out),
    "sigmoid": _into(_sigmoid),
    "gelu": _into(_gelu),
}
TORCH: dict[str, Any] = {
    "relu": lambda t, x, **out: t.clamp_min(x, 0, **out) if out else t.relu(x),
    "gelu": lambda t, x, **out: (
        t.ops.aten.gelu.out(x, **out) if out else t.nn.functional.gelu(x)
    ),
}
JAX: dict[str, Any] = {
    "relu": lambda j, x: j.numpy.maximum(x, 0),
    "gelu": lambda j, x: j.nn.gelu(x, approximate=False),
    "exp": lambda j, x: j.numpy.exp(x),
    "tanh": lambda j, x: j.numpy.tanh(x),
    "sigmoid": lambda j, x: j.nn.sigmoid(x),
}


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


def softmax(n: int, classes: int) -> list[Workload]:
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
    )


ROWS: list[Workload] = [
    *(product(n, n, n) for n in (8, 32, 64, 256, 512, 1024)),
    product(512, 512, 512, "A^T"),
    product(512, 512, 512, "B^T"),
    product(64, 784, 128),
    product(64, 784, 128, "B^T"),
    product(1, 1024, 1024),
    product(1, 1024, 1024, "B^T"),
    linear(64, 784, 128, "relu"),
    linear(128, 512, 512, "gelu"),
    linear(1, 784, 128, "relu"),
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
