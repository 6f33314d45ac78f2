"""Activations, and the fused forms of their gradients.

Every function takes tensors of any strides and returns a fresh tensor. Where PyTorch has
`inplace`, True writes the result over the input and returns it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core import is_grad_enabled
from fastnn.ops._checks import expect_tensors, number
from fastnn.ops._registry import (
    Gradients,
    Node,
    Op,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.views import reshape

_add, _sub, _mul, _div = op("add"), op("sub"), op("mul"), op("div")
_exp, _neg = op("exp"), op("neg")
_minimum, _where = op("minimum"), op("where")
_gt, _le, _copy, _copy_ = op("gt"), op("le"), op("copy"), op("copy_")
_relu, _relu_backward = op("relu"), op("relu_backward")
_sigmoid, _sigmoid_backward = op("sigmoid"), op("sigmoid_backward")
_tanh, _tanh_backward = op("tanh"), op("tanh_backward")
_gelu, _gelu_backward = op("gelu"), op("gelu_backward")
_gelu_tanh, _gelu_tanh_backward = op("gelu_tanh"), op("gelu_tanh_backward")
_silu, _silu_backward = op("silu"), op("silu_backward")
_leaky_relu, _leaky_relu_backward = op("leaky_relu"), op("leaky_relu_backward")
_hardtanh, _hardtanh_backward = op("hardtanh"), op("hardtanh_backward")
_elu, _elu_backward = op("elu"), op("elu_backward")
_celu, _celu_backward = op("celu"), op("celu_backward")
_softplus, _softplus_backward = op("softplus"), op("softplus_backward")

# Klambauer et al., arXiv:1706.02515, appendix 1: mean 0 and variance 1 are a fixed point.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _over(input: Tensor, function: Callable[[Tensor], Tensor], name: str) -> Tensor:
    """function(input), written over input. What the tape keeps of the input, where it
    records the change, is a copy."""
    expect_tensors(name, input=input)
    recorded = is_grad_enabled() and input.requires_grad
    result: Tensor = _copy_(input, function(_copy(input) if recorded else input))
    return result


def _run(row: Op, input: Tensor, inplace: bool, *numbers: float) -> Tensor:
    """row(input, *numbers), fresh or over the input."""
    if not inplace:
        fresh: Tensor = row(input, *numbers)
        return fresh
    if isinstance(input, Tensor) and not (is_grad_enabled() and input.requires_grad):
        return row.into(input, input, *numbers)
    return _over(input, lambda x: row(x, *numbers), row.name)


@public(method=True)
def relu(input: Tensor, inplace: bool = False, *, out: Tensor | None = None) -> Tensor:
    """max(input, 0); NaN stays. Gradient: gy where y > 0, else 0 (0 at the kink)."""
    if inplace:
        return _run(_relu, input, True)
    return _relu(input) if out is None else _relu.into(out, input)


@public()
def leaky_relu(
    input: Tensor, negative_slope: float = 0.01, inplace: bool = False
) -> Tensor:
    """input where it is positive, else negative_slope input.

    Parameters: input : float Tensor. negative_slope : number. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy where x > 0, else negative_slope gy (also at the kink).
    Raises: TypeError for integers, or a slope that is no number (hint: prelu).
    Source: Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic
        Models", ICML 2013.
    Example:
        >>> fastnn.leaky_relu(fastnn.tensor([-2.0, 3.0]), 0.1)
        tensor([-0.2,  3. ])
    """
    slope = number("leaky_relu", "negative_slope", negative_slope)
    return _run(_leaky_relu, input, inplace, slope)


@public(composite=True)
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input where it is positive, else weight input, with a slope for each channel.

    Parameters: input : float Tensor (n, channels, ...) or any shape for one slope.
        weight : float Tensor (channels,), (1,) or (); dimension 1 holds the channels.
    Returns: input's shape; fresh.
    Gradient: gy where x > 0, else weight gy; weight's: sum of gy min(x, 0).
    Raises: ValueError for a weight that is neither one slope nor one for each channel.
    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", arXiv:1502.01852.
    """
    expect_tensors("prelu", input=input, weight=weight)
    slopes, channels = weight.numel(), input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or slopes not in (1, channels):
        raise ValueError(
            f"prelu: expected weight of shape ({channels},) or (1,) for input of shape "
            f"{input.shape}, got {weight.shape}"
        )
    if slopes == 1:
        weight = reshape(weight, ())
    elif input.ndim > 2:
        weight = reshape(weight, (slopes,) + (1,) * (input.ndim - 2))
    result: Tensor = _leaky_relu(input, weight)
    return result


@public()
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """input held between min_val and max_val; NaN stays.

    Parameters: input : float Tensor. min_val, max_val : numbers. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy strictly between, else 0.
    Raises: ValueError for min_val above max_val; TypeError for integers.
    """
    low = number("hardtanh", "min_val", min_val)
    high = number("hardtanh", "max_val", max_val)
    if low > high:
        raise ValueError(
            f"hardtanh: expected min_val up to max_val, got {min_val} and {max_val}"
        )
    return _run(_hardtanh, input, inplace, low, high)


@public(composite=True)
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6). As hardtanh from 0 to 6."""
    return _run(_hardtanh, input, inplace, 0.0, 6.0)


@public()
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha (e^input - 1).

    Parameters: input : float Tensor. alpha : number. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy where x > 0, else gy alpha e^x.
    Raises: TypeError for integers, or an alpha that is no number.
    Source: Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning
        by Exponential Linear Units", arXiv:1511.07289.
    Example:
        >>> fastnn.elu(fastnn.tensor([-1.0, 2.0]))
        tensor([-0.6321,  2.    ])
    """
    return _run(_elu, input, inplace, number("elu", "alpha", alpha), 1.0)


@public(composite=True)
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale elu(input, alpha), its constants such that mean 0 and variance 1 stay.

    Parameters: input : float Tensor. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy scale where x > 0, else gy scale alpha e^x.
    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-Normalizing Neural
        Networks", arXiv:1706.02515: alpha 1.67326..., scale 1.05070...
    """
    return _run(_elu, input, inplace, SELU_ALPHA, SELU_SCALE)


@public()
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha (e^(input / alpha) - 1): slope 1 at 0.

    Parameters: input : float Tensor. alpha : number other than 0. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy where x > 0, else gy e^(x / alpha).
    Raises: ValueError for alpha 0; TypeError for integers.
    Source: Barron, "Continuously Differentiable Exponential Linear Units",
        arXiv:1704.07483.
    """
    a = number("celu", "alpha", alpha)
    if a == 0:
        raise ValueError("celu: expected alpha other than 0")
    return _run(_celu, input, inplace, a)


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
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input sigmoid(input), also called swish; -0, its limit, at minus infinity.

    Parameters: input : float Tensor. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy s (1 + x (1 - s)), s = sigmoid(x).
    Raises: TypeError for integers.
    Source: Elfwing, Uchibe and Doya, Neural Networks 107 (2018), 3-11.
    """
    return _run(_silu, input, inplace)


@public()
def softplus(
    input: Tensor,
    beta: float = 1.0,
    threshold: float = 20.0,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """log(1 + e^(beta input)) / beta, a smooth relu, accurate in both tails.

    Parameters: input : float Tensor. beta : number other than 0.
        threshold : number; where beta input is above it, the result is the input.
    Returns: input's shape and dtype; fresh, or out.
    Gradient: gy sigmoid(beta x); gy above the threshold.
    Raises: TypeError for integers; ValueError for beta 0.
    """
    b = number("softplus", "beta", beta)
    t = number("softplus", "threshold", threshold)
    if b == 0:
        raise ValueError("softplus: expected beta other than 0")
    return _softplus(input, b, t) if out is None else _softplus.into(out, input, b, t)


@public(composite=True)
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)) = -softplus(-input), accurate in both tails.

    Parameters: input : float Tensor.
    Returns: input's shape and dtype; fresh.
    Gradient: gy sigmoid(-x).
    """
    result: Tensor = _neg(_softplus(_neg(input), 1.0, math.inf))
    return result


@public(composite=True)
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(input + 3) / 6, a sigmoid of straight lines.

    Parameters: input : float Tensor. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy / 6 strictly between -3 and 3, else 0.
    Source: Courbariaux, Bengio and David, arXiv:1511.00363, with PyTorch's slope.
    """
    if inplace:
        return _over(input, hardsigmoid, "hardsigmoid")
    result: Tensor = _div(_hardtanh(_add(input, 3.0), 0.0, 6.0), 6.0)
    return result


@public(composite=True)
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input relu6(input + 3) / 6, a silu of straight lines.

    Parameters: input : float Tensor. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: 0 up to -3, gy from 3 on, gy (x / 3 + 1 / 2) between.
    Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244.
    """
    if inplace:
        return _over(input, hardswish, "hardswish")
    result: Tensor = _mul(input, hardsigmoid(input))
    return result


@public(composite=True)
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input tanh(softplus(input)).

    Parameters: input : float Tensor. inplace : write input.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy (t + x (1 - t^2) sigmoid(x)), t = tanh(softplus(x)).
    Source: Misra, "Mish", arXiv:1908.08681.
    """
    if inplace:
        return _over(input, mish, "mish")
    result: Tensor = _mul(input, _tanh(_softplus(input, 1.0, math.inf)))
    return result


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


@gradient("silu", saves={"x": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return (_silu_backward(gy, node.saved[0]),)


@gradient("silu_backward", saves={"gy": "x", "x": "gy x"})
def _(node: Node, g: Tensor) -> Gradients:
    # silu'' = s (1 - s) (2 + x (1 - 2 s))
    gy, x = node.saved
    gx = None
    if node.needs(1):
        s = _sigmoid(x)
        bend = _add(_mul(x, _sub(1, _mul(s, 2))), 2)
        gx = _mul(_sigmoid_backward(_mul(g, gy), s), bend)
    return _silu_backward(g, x) if node.needs(0) else None, gx


@gradient("leaky_relu", saves={"x": "x slope", "slope": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    x, slope = node.saved
    return (
        _leaky_relu_backward(gy, x, slope) if node.needs(0) else None,
        _mul(gy, _minimum(x, 0.0)) if node.needs(1) else None,
    )


@gradient("leaky_relu_backward", saves={"gy": "slope", "x": "gy slope", "slope": "gy"})
def _(node: Node, g: Tensor) -> Gradients:
    gy, x, slope = node.saved
    return (
        _leaky_relu_backward(g, x, slope) if node.needs(0) else None,
        None,
        _where(_gt(x, 0), 0.0, _mul(g, gy)) if node.needs(2) else None,
    )


# The numbers of what follows are numbers: nobody asks for their gradient.


@gradient("hardtanh", saves={"x": "x", "low": "x", "high": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _hardtanh_backward(gy, *node.saved), None, None


@gradient("hardtanh_backward", saves={"x": "gy", "low": "gy", "high": "gy"})
def _(node: Node, g: Tensor) -> Gradients:
    gx = _hardtanh_backward(g, *node.saved) if node.needs(0) else None
    return gx, None, None, None


@gradient("elu", saves={"x": "x", "alpha": "x", "scale": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _elu_backward(gy, *node.saved), None, None


@gradient(
    "elu_backward", saves={"gy": "x", "x": "gy x", "alpha": "gy x", "scale": "gy x"}
)
def _(node: Node, g: Tensor) -> Gradients:
    # elu'' = elu' where it bends
    gy, x, alpha, scale = node.saved
    gx = None
    if node.needs(1):
        bend = _elu_backward(_mul(g, gy), x, alpha, scale)
        gx = _where(_le(x, 0), bend, 0.0)
    return (
        _elu_backward(g, x, alpha, scale) if node.needs(0) else None,
        gx,
        None,
        None,
    )


@gradient("celu", saves={"x": "x", "alpha": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _celu_backward(gy, *node.saved), None


@gradient("celu_backward", saves={"gy": "x", "x": "gy x", "alpha": "gy x"})
def _(node: Node, g: Tensor) -> Gradients:
    # celu'' = celu' / alpha where it bends
    gy, x, alpha = node.saved
    gx = None
    if node.needs(1):
        bend = _div(_celu_backward(_mul(g, gy), x, alpha), alpha)
        gx = _where(_le(x, 0), bend, 0.0)
    return _celu_backward(g, x, alpha) if node.needs(0) else None, gx, None


@gradient("softplus", saves={"x": "x", "beta": "x", "threshold": "x"})
def _(node: Node, gy: Tensor) -> Gradients:
    return _softplus_backward(gy, *node.saved), None, None


@gradient(
    "softplus_backward",
    saves={"gy": "x", "x": "gy x", "beta": "gy x", "threshold": "gy x"},
)
def _(node: Node, g: Tensor) -> Gradients:
    # softplus'' = beta s (1 - s) where it bends
    gy, x, beta, threshold = node.saved
    gx = None
    if node.needs(1):
        z = _mul(x, beta)
        bend = _mul(_sigmoid_backward(_mul(g, gy), _sigmoid(z)), beta)
        gx = _where(_gt(z, threshold), 0.0, bend)
    return (
        _softplus_backward(g, x, beta, threshold) if node.needs(0) else None,
        gx,
        None,
        None,
    )


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


def _in_numpy_softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _stable_sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x, beta, threshold: np.where(
        x * beta > threshold, x, _in_numpy_softplus(x * beta) / beta
    ),
    "softplus_backward": lambda gy, x, beta, threshold: np.where(
        x * beta > threshold, gy, gy * _stable_sigmoid(x * beta)
    ),
    "logsigmoid": lambda x: -_in_numpy_softplus(-x),
    "silu": lambda x: np.where(  # the logarithm keeps the digits of subnormal results
        x < -80,
        -np.exp(np.log(-(y := np.clip(x, -1e3, -1))) + y),
        x * _stable_sigmoid(x),
    ),
    "silu_backward": lambda gy, x: (
        gy * _stable_sigmoid(x) * (1 + x * _stable_sigmoid(-x))
    ),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "leaky_relu_backward": lambda gy, x, slope: np.where(x > 0, gy, slope * gy),
    "prelu": lambda x, w: np.where(
        x > 0,
        x,
        x * w.reshape(w.shape[: w.size > 1] + (1,) * max(x.ndim - 2, 0) * (w.size > 1)),
    ),
    "hardtanh": lambda x, low, high: np.clip(x, low, high),
    "hardtanh_backward": lambda gy, x, low, high: np.where(
        (x <= low) | (x >= high), 0, gy
    ),
    "relu6": lambda x: np.clip(x, 0, 6),
    "elu": lambda x, alpha, scale: scale * np.where(x > 0, x, alpha * np.expm1(x)),
    "elu_backward": lambda gy, x, alpha, scale: (
        gy * scale * np.where(x <= 0, alpha * np.exp(x), 1)
    ),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "celu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x / alpha)),
    "celu_backward": lambda gy, x, alpha: gy * np.where(x <= 0, np.exp(x / alpha), 1),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "mish": lambda x: x * np.tanh(_in_numpy_softplus(x)),
    "hardswish": lambda x: x * (np.clip(x + 3, 0, 6) / 6),
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
