"""Activations, and the fused forms of their gradients.

Every function takes tensors of any strides and returns a fresh tensor, or writes `out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.elementwise import div

_add, _sub, _mul, _exp = op("add"), op("sub"), op("mul"), op("exp")
_relu, _sigmoid, _tanh = op("relu"), op("sigmoid"), op("tanh")
_gelu, _gelu_tanh, _softplus = op("gelu"), op("gelu_tanh"), op("softplus")
_relu_backward, _sigmoid_backward = op("relu_backward"), op("sigmoid_backward")
_tanh_backward, _gelu_backward = op("tanh_backward"), op("gelu_backward")
_gelu_tanh_backward = op("gelu_tanh_backward")


@public(method=True)
def relu(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """max(input, 0); NaN stays. Gradient: gy where y > 0, else 0 (0 at the kink)."""
    return _relu(input) if out is None else _relu.into(out, input)


@public(method=True)
def sigmoid(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """1 / (1 + e^-input), within 2 units in the last place. Gradient: gy y (1 - y)."""
    return _sigmoid(input) if out is None else _sigmoid.into(out, input)


@public(method=True)
def tanh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Hyperbolic tangent, within 2 units in the last place. Gradient: gy (1 - y^2)."""
    return _tanh(input) if out is None else _tanh.into(out, input)


@public()
def gelu(
    input: Tensor, *, approximate: str = "none", out: Tensor | None = None
) -> Tensor:
    """input Phi(input), Phi the normal distribution function.

    Parameters: input : float Tensor. approximate : "none", or "tanh" for
        input/2 (1 + tanh(sqrt(2/pi) (input + 0.044715 input^3))).
    Returns: input's shape and dtype; fresh, or out.
    Gradient: gy (Phi(x) + x phi(x)); the approximation's own for "tanh".
    Raises: ValueError for another approximate; TypeError for integers.
    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(
            f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}"
        )
    row = _gelu if approximate == "none" else _gelu_tanh
    return row(input) if out is None else row.into(out, input)


@public()
def softplus(input: Tensor, beta: float = 1.0, *, out: Tensor | None = None) -> Tensor:
    """log(1 + e^(beta input)) / beta, a smooth relu, accurate in both tails.

    Parameters: input : float Tensor. beta : number other than 0.
    Returns: input's shape and dtype; fresh, or out.
    Gradient: gy sigmoid(beta x).
    Raises: TypeError for integers; ValueError for beta 0.
    """
    if beta == 0:
        raise ValueError("softplus: expected beta other than 0")
    if beta == 1:
        return _softplus(input) if out is None else _softplus.into(out, input)
    return div(_softplus(_mul(input, beta)), beta, out=out)


@public(composite=True)
def silu(input: Tensor) -> Tensor:
    """input sigmoid(input), also called swish.

    Parameters: input : float Tensor.
    Returns: input's shape and dtype; fresh.
    Gradient: gy s (1 + x (1 - s)), s = sigmoid(x).
    Source: Elfwing, Uchibe and Doya, Neural Networks 107 (2018), 3-11.
    """
    return _mul(input, _sigmoid(input))


@gradient("relu", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_relu_backward(gy, node.saved[0]),)


@gradient("relu_backward", saves={"y": "gy"})
def _(node: Node, g: Tensor) -> Gradients:
    return _relu_backward(g, node.saved[0]) if node.needs(0) else None, None


@gradient("sigmoid", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_sigmoid_backward(gy, node.saved[0]),)


@gradient("sigmoid_backward", saves={"gy": "y", "y": "gy y"})
def _(node: Node, g: Tensor) -> Gradients:
    gy, y = node.saved
    return (
        _sigmoid_backward(g, y) if node.needs(0) else None,
        _mul(_mul(g, gy), _sub(1, _mul(2, y))) if node.needs(1) else None,
    )


@gradient("tanh", saves={"y": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_tanh_backward(gy, node.saved[0]),)


@gradient("tanh_backward", saves={"gy": "y", "y": "gy y"})
def _(node: Node, g: Tensor) -> Gradients:
    gy, y = node.saved
    return (
        _tanh_backward(g, y) if node.needs(0) else None,
        _mul(_mul(g, gy), _mul(-2, y)) if node.needs(1) else None,
    )


@gradient("softplus", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_mul(gy, _sigmoid(node.saved[0])),)


@gradient("gelu", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_gelu_backward(gy, node.saved[0]),)


@gradient("gelu_backward", saves={"gy": "x", "x": "gy x"})
def _(node: Node, g: Tensor) -> Gradients:
    # gelu'' = phi(x) (2 - x^2)
    gy, x = node.saved
    gx = None
    if node.needs(1):
        xx = _mul(x, x)
        phi = _mul(_exp(_mul(xx, -0.5)), 1 / math.sqrt(2 * math.pi))
        gx = _mul(_mul(g, gy), _mul(phi, _sub(2, xx)))
    return _gelu_backward(g, x) if node.needs(0) else None, gx


@gradient("gelu_tanh", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_gelu_tanh_backward(gy, node.saved[0]),)


@gradient("gelu_tanh_backward", saves={"gy": "x", "x": "gy x"})
def _(node: Node, g: Tensor) -> Gradients:
    # y = x/2 (1 + t), t = tanh(u), u = k (x + c x^3), s = 1 - t^2 = dt/du:
    # y'' = s u' + x/2 (s u'' - 2 t s u'^2)
    gy, x = node.saved
    gx = None
    if node.needs(1):
        k, c = math.sqrt(2 / math.pi), 0.044715
        xx = _mul(x, x)
        t = _tanh(_mul(_mul(x, k), _add(_mul(xx, c), 1)))
        s = _sub(1, _mul(t, t))
        du = _mul(_add(_mul(xx, 3 * c), 1), k)
        bend = _sub(_mul(x, 6 * k * c), _mul(_mul(t, 2), _mul(du, du)))
        second = _mul(s, _add(du, _mul(_mul(x, 0.5), bend)))
        gx = _mul(_mul(g, gy), second)
    return _gelu_tanh_backward(g, x) if node.needs(0) else None, gx


# ---- references --------------------------------------------------------------------------


def _phi(x: Any) -> Any:
    return np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), otypes=[float])(x)


def _stable_sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _stable_sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "silu": lambda x: x * _stable_sigmoid(x),
    "gelu": lambda x: np.where(x == -np.inf, 0, x * _phi(x)),
    "gelu_tanh": lambda x: np.where(
        x == -np.inf,
        0,
        x * _stable_sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    ),
    "relu_backward": lambda gy, y: np.where(y > 0, gy, 0),
    "sigmoid_backward": lambda gy, y: gy * (1 - y) * y,
    "tanh_backward": lambda gy, y: gy * (1 - y * y),
    "gelu_backward": lambda gy, x: (
        gy * (_phi(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))
    ),
}
for _name, _function in _IN_NUMPY.items():
    reference(_name)(_function)


@reference("gelu_tanh_backward")
def _(gy: Any, x: Any) -> Any:
    k, c = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(k * (x + c * x**3))
    return gy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * c * x * x))
