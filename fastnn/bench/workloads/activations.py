"""Activations in the terms of libraries that want more than the name."""

from __future__ import annotations

from typing import Any


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
