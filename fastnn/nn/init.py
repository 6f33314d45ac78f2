"""First values of parameters: constants, random numbers, and how far these should spread.

Every function writes into its tensor, records no gradient and returns the tensor. Numbers
come from `generator`, or from fastnn's own where that is None. A weight is
(fan_out, fan_in, *kernel): fan_in counts the inputs of one output, fan_out the outputs that
one input has, each times the kernel's size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.nn._normal import truncated

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_LINEAR = ("linear", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the weights' deviation that keeps variance through a nonlinearity.

    1 for "linear", convolutions and "sigmoid"; 5/3 for "tanh"; √2 for "relu";
    √(2 / (1 + a²)) for "leaky_relu" of slope a; 3/4 for "selu".

    Parameters:
        nonlinearity : str: its name.
        param : float: the slope a, 0.01 by default; only "leaky_relu" has one.

    Raises: ValueError for another name.

    Example:
        >>> from fastnn import nn
        >>> round(nn.init.calculate_gain("leaky_relu", 0.2), 4)
        1.3868
    """
    if nonlinearity == "leaky_relu":
        if param is not None and (
            isinstance(param, bool) or not isinstance(param, int | float)
        ):
            raise ValueError(f"calculate_gain: expected a slope, got {param!r}")
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope * slope))
    gains = {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity in _LINEAR:
        return 1.0
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: expected one of {[*_LINEAR, *gains, 'leaky_relu']}, got "
            f"{nonlinearity!r}"
        )
    return gains[nonlinearity]


# ---- constants ----


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element val."""
    with fastnn.no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere: inputs pass where they can.

    Raises: ValueError for other than two dimensions.
    """
    _matrix("eye_", tensor)
    with fastnn.no_grad():
        return tensor.copy_(fastnn.eye(*tensor.shape))


# ---- random numbers ----


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None
) -> Tensor:
    """Uniform in [a, b)."""
    _float("uniform_", tensor)
    with fastnn.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None
) -> Tensor:
    """Normal, N(mean, std²)."""
    _float("normal_", tensor)
    with fastnn.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Normal, N(mean, std²), of what lies within [a, b].

    Parameters:
        tensor : float Tensor, any shape.
        mean, std : float: of the distribution that is cut; std > 0.
        a, b : float: limits, in the tensor's units, a <= b; far in a tail they work, too.
        generator : Generator or None.

    Raises: ValueError where a > b or std <= 0; TypeError for an integer tensor.

    Example:
        >>> import fastnn
        >>> x = fastnn.nn.init.trunc_normal_(fastnn.empty(1000), a=9.0, b=10.0)
        >>> 9 <= x.min().item(), x.max().item() <= 10
        (True, True)
    """
    if not std > 0 or not a <= b:
        raise ValueError(
            f"trunc_normal_: expected std > 0 and a <= b, got std {std}, a {a}, b {b}"
        )
    _float("trunc_normal_", tensor)
    if a == b:
        return constant_(tensor, a)
    with fastnn.no_grad():
        u = fastnn.rand(tensor.shape, generator=generator, dtype=fastnn.float64)
        x = truncated(u, (a - mean) / std, (b - mean) / std) * std + mean
        return tensor.copy_(fastnn.minimum(fastnn.maximum(x, a), b))


# ---- random numbers, spread as the fans ask ----


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in ±gain √(6 / (fan_in + fan_out)).

    Parameters:
        tensor : float Tensor (fan_out, fan_in, *kernel).
        gain : float: see calculate_gain.
        generator : Generator or None.

    Raises: ValueError for fewer than two dimensions.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward
        neural networks", 2010, section 4.2.
    """
    return _scaled_uniform("xavier_uniform_", tensor, gain, "fan_sum", generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal, std = gain √(2 / (fan_in + fan_out)). As xavier_uniform_."""
    return _scaled_normal("xavier_normal_", tensor, gain, "fan_sum", generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """He's: uniform in ±gain √(3 / fan).

    Parameters:
        tensor : float Tensor (fan_out, fan_in, *kernel).
        a : float: slope of a leaky ReLU; 0 is ReLU's.
        mode : "fan_in" keeps variance in the forward pass, "fan_out" in the backward.
        nonlinearity : str: see calculate_gain.
        generator : Generator or None.

    Raises: ValueError for fewer than two dimensions, another mode or nonlinearity.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015, section 2.2.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.init.kaiming_uniform_(fastnn.empty(128, 600))
        >>> abs(w).max().item() < 0.1
        True
    """
    gain = calculate_gain(nonlinearity, a)
    return _scaled_uniform("kaiming_uniform_", tensor, gain, mode, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """He's: normal, std = gain / √fan. As kaiming_uniform_."""
    gain = calculate_gain(nonlinearity, a)
    return _scaled_normal("kaiming_normal_", tensor, gain, mode, generator)


def lecun_uniform_(tensor: Tensor, generator: Any = None) -> Tensor:
    """Uniform in ±√(3 / fan_in): variance 1 / fan_in, which SELU asks for.

    Parameters:
        tensor : float Tensor (fan_out, fan_in, *kernel).
        generator : Generator or None.

    Raises: ValueError for fewer than two dimensions.

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 4.6.
    """
    return _scaled_uniform("lecun_uniform_", tensor, 1.0, "fan_in", generator)


def lecun_normal_(tensor: Tensor, generator: Any = None) -> Tensor:
    """Normal, std = 1 / √fan_in. As lecun_uniform_."""
    return _scaled_normal("lecun_normal_", tensor, 1.0, "fan_in", generator)


def _deviation(name: str, tensor: Tensor, gain: float, mode: str) -> float:
    """gain / √fan, where the fan of mode "fan_sum" is the mean of both."""
    _float(name, tensor)
    if tensor.ndim < 2:
        raise ValueError(
            f"{name}: expected a weight of at least 2 dimensions, got shape "
            f"{tensor.shape}"
        )
    kernel = math.prod(tensor.shape[2:])
    fan_out, fan_in = (n * kernel for n in tensor.shape[:2])
    fans: dict[str, float] = {"fan_in": fan_in, "fan_out": fan_out}
    if mode == "fan_sum" and not name.startswith("kaiming"):
        fans[mode] = (fan_in + fan_out) / 2
    if mode not in fans:
        raise ValueError(f"{name}: expected mode 'fan_in' or 'fan_out', got {mode!r}")
    return gain / math.sqrt(fans[mode]) if fans[mode] else 0.0


def _scaled_uniform(
    name: str, tensor: Tensor, gain: float, mode: str, generator: Any
) -> Tensor:
    bound = math.sqrt(3) * _deviation(name, tensor, gain, mode)
    return uniform_(tensor, -bound, bound, generator)


def _scaled_normal(
    name: str, tensor: Tensor, gain: float, mode: str, generator: Any
) -> Tensor:
    return normal_(tensor, 0.0, _deviation(name, tensor, gain, mode), generator)


# ---- matrices with a structure ----


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """gain times a random matrix with orthonormal rows, or columns where there are fewer.

    Parameters:
        tensor : float Tensor (rows, *columns); all but the first dimension count as one.
        gain : float.
        generator : Generator or None.

    Raises: ValueError for fewer than two dimensions; TypeError for an integer tensor.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks", 2013. Gram and Schmidt's process on
        normal numbers, which gives every rotation the same chance; done twice, so that
        rounding leaves nothing: Giraud, Langou, Rozložník, van den Eshof, "Rounding error
        analysis of the classical Gram-Schmidt orthogonalization process", 2005.

    Example:
        >>> import fastnn
        >>> q = fastnn.nn.init.orthogonal_(fastnn.empty(3, 5, dtype=fastnn.float64))
        >>> abs(q @ q.T - fastnn.eye(3)).max().item() < 1e-6
        True
    """
    _float("orthogonal_", tensor)
    if tensor.ndim < 2:
        raise ValueError(
            f"orthogonal_: expected at least 2 dimensions, got shape {tensor.shape}"
        )
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    with fastnn.no_grad():
        a = fastnn.randn(rows, columns, generator=generator, dtype=fastnn.float64)
        q = _orthonormal(a) if rows <= columns else _orthonormal(a.T.contiguous()).T
        return tensor.copy_((q * gain).reshape(tensor.shape))


def _orthonormal(a: Tensor, block: int = 32) -> Tensor:
    """a with its rows made orthonormal, in place and in order: products of blocks of rows
    first, then row by row within the block."""

    def without(x: Tensor, q: Tensor) -> Tensor:
        """x less its part along the rows of q."""
        for _ in range(2 if len(q) else 0):
            x = x - (x @ q.T) @ q
        return x

    for start in range(0, len(a), block):
        new = a[start : start + block]
        new.copy_(without(new, a[:start]))
        for i in range(len(new)):
            row = without(new[i : i + 1], new[:i])
            new[i : i + 1].copy_(row / fastnn.sqrt((row * row).sum()))
    return a


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None
) -> Tensor:
    """Normal, N(0, std²), with a share of each column zero.

    Parameters:
        tensor : float Tensor (rows, columns).
        sparsity : float in [0, 1]: share of zeros in each column, rounded up to rows.
        std : float >= 0.
        generator : Generator or None.

    Raises: ValueError for other than two dimensions, or sparsity out of range.

    Source: Martens, "Deep learning via Hessian-free optimization", 2010, section 5.
    """
    _float("sparse_", tensor)
    _matrix("sparse_", tensor)
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: expected sparsity from 0 to 1, got {sparsity}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    keep = np.ones((rows, columns), bool)
    for column in range(columns):
        order = fastnn.randperm(rows, generator=generator)
        keep[order[:zeros].numpy(), column] = False
    normal_(tensor, 0.0, std, generator)
    with fastnn.no_grad():
        return tensor.copy_(fastnn.where(fastnn.from_numpy(keep), tensor, 0.0))


def _matrix(name: str, tensor: Tensor) -> None:
    if tensor.ndim != 2:
        raise ValueError(f"{name}: expected 2 dimensions, got shape {tensor.shape}")


def _float(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: expected float32 or float64, got {tensor.dtype.name}")
