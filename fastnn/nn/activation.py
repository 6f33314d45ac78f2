"""Activations as modules: each calls the function of its name in nn.functional.

All take a float tensor of any shape and return one of that shape. With inplace=True the
result is written over the input, which saves memory, not time, while gradients are
recorded.
"""

from __future__ import annotations

from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class _InPlace(Module):
    """Base of activations whose one option is inplace."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """inplace, where it is set."""
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """y = max(x, 0); NaN stays.

    Parameters:
        inplace : bool: write the result over the input.

    Source: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann
        Machines", ICML 2010.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReLU()(fastnn.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.relu(x, self.inplace)


class ReLU6(_InPlace):
    """y = min(max(x, 0), 6).

    Parameters:
        inplace : bool: write the result over the input.

    Source: Howard et al., "MobileNets", arXiv:1704.04861.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReLU6()(fastnn.tensor([-1.0, 2.0, 8.0])).tolist()
        [0.0, 2.0, 6.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.relu6(x, self.inplace)


class LeakyReLU(Module):
    """y = x where x > 0, else negative_slope x.

    Parameters:
        negative_slope : float: the slope below 0.
        inplace : bool: write the result over the input.

    Source: Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic
        Models", ICML 2013.

    Example:
        >>> import fastnn
        >>> fastnn.nn.LeakyReLU(0.5)(fastnn.tensor([-1.0, 2.0])).tolist()
        [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The slope, and inplace where it is set."""
        return f"negative_slope={self.negative_slope}" + _inplace(self.inplace)


class PReLU(Module):
    """y = x where x > 0, else weight x: a leaky ReLU that learns its slopes.

    Parameters:
        num_parameters : int: 1, or the size of x's dimension 1 for a slope each.
        init : float: what the slopes start at.
        dtype : of the parameter; None is float32.

    Weight (num_parameters,). Weight decay draws it to 0; leave it out of it.

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", arXiv:1502.01852.

    Example:
        >>> import fastnn
        >>> fastnn.nn.PReLU()(fastnn.tensor([-1.0, 2.0])).tolist()
        [-0.25, 2.0]
    """

    weight: Parameter  # (num_parameters,)

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        dtype = fastnn.float32 if dtype is None else dtype
        self.weight = Parameter(
            fastnn.empty(num_parameters, dtype=dtype, device=device)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every slope to init."""
        with fastnn.no_grad():
            self.weight.fill_(self.init)

    def forward(self, x: Tensor) -> Tensor:
        """(n, num_parameters, ...) to the same shape; any shape for one parameter."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The number of slopes."""
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """y = x where x > 0, else alpha (e^x - 1).

    Parameters:
        alpha : float: minus the limit at minus infinity.
        inplace : bool: write the result over the input.

    Source: Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning
        by Exponential Linear Units", arXiv:1511.07289.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ELU()(fastnn.tensor([-1e9, 2.0])).tolist()
        [-1.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.elu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """alpha, and inplace where it is set."""
        return f"alpha={self.alpha}" + _inplace(self.inplace)


class CELU(Module):
    """y = x where x > 0, else alpha (e^(x / alpha) - 1): slope 1 at 0 for any alpha.

    Parameters:
        alpha : float: minus the limit at minus infinity; not 0.
        inplace : bool: write the result over the input.

    Source: Barron, "Continuously Differentiable Exponential Linear Units",
        arXiv:1704.07483.

    Example:
        >>> import fastnn
        >>> fastnn.nn.CELU()(fastnn.tensor([-1e9, 2.0])).tolist()
        [-1.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.celu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """alpha, and inplace where it is set."""
        return f"alpha={self.alpha}" + _inplace(self.inplace)


class SELU(_InPlace):
    """y = 1.0507 elu(x, alpha=1.6733): keeps activations at mean 0 and variance 1.

    Initialise with lecun_normal (kaiming_normal, nonlinearity "linear").

    Parameters:
        inplace : bool: write the result over the input.

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-Normalizing Neural
        Networks", arXiv:1706.02515.

    Example:
        >>> import fastnn
        >>> fastnn.nn.SELU()(fastnn.tensor([0.0])).tolist()
        [0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.selu(x, self.inplace)


class GELU(Module):
    """y = x Phi(x), Phi the normal distribution function.

    Parameters:
        approximate : "none", or "tanh" for x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.

    Example:
        >>> import fastnn
        >>> round(fastnn.nn.GELU()(fastnn.tensor(1.0)).item(), 4)
        0.8413
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The approximation."""
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """y = x sigmoid(x), also called swish.

    Parameters:
        inplace : bool: write the result over the input.

    Source: Elfwing, Uchibe and Doya, Neural Networks 107 (2018), 3-11.

    Example:
        >>> import fastnn
        >>> fastnn.nn.SiLU()(fastnn.tensor([0.0])).tolist()
        [0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.silu(x, self.inplace)


class Mish(_InPlace):
    """y = x tanh(softplus(x)).

    Parameters:
        inplace : bool: write the result over the input.

    Source: Misra, "Mish", arXiv:1908.08681.

    Example:
        >>> import fastnn
        >>> round(fastnn.nn.Mish()(fastnn.tensor(1.0)).item(), 4)
        0.8651
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.mish(x, self.inplace)


class Hardswish(_InPlace):
    """y = x min(max(x + 3, 0), 6) / 6, a SiLU of straight lines.

    Parameters:
        inplace : bool: write the result over the input.

    Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Hardswish()(fastnn.tensor([-4.0, 3.0])).tolist()
        [-0.0, 3.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.hardswish(x, self.inplace)


class Sigmoid(Module):
    """y = 1 / (1 + e^-x).

    Example:
        >>> import fastnn
        >>> fastnn.nn.Sigmoid()(fastnn.tensor([0.0])).tolist()
        [0.5]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.sigmoid(x)


class Hardsigmoid(_InPlace):
    """y = min(max(x + 3, 0), 6) / 6, a sigmoid of straight lines.

    Parameters:
        inplace : bool: write the result over the input.

    Source: Courbariaux, Bengio and David, "BinaryConnect", arXiv:1511.00363, with
        PyTorch's slope.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Hardsigmoid()(fastnn.tensor([-3.0, 0.0])).tolist()
        [0.0, 0.5]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.hardsigmoid(x, self.inplace)


class LogSigmoid(Module):
    """y = log(sigmoid(x)) = -log(1 + e^-x), accurate in both tails.

    Example:
        >>> import fastnn
        >>> fastnn.nn.LogSigmoid()(fastnn.tensor([-100.0])).tolist()
        [-100.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.logsigmoid(x)


class Tanh(Module):
    """y = (e^x - e^-x) / (e^x + e^-x).

    Example:
        >>> import fastnn
        >>> fastnn.nn.Tanh()(fastnn.tensor([0.0])).tolist()
        [0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.tanh(x)


class Hardtanh(Module):
    """y = min(max(x, min_val), max_val).

    Parameters:
        min_val : float: lower bound.
        max_val : float: upper bound, above min_val.
        inplace : bool: write the result over the input.

    Raises: ValueError unless min_val is below max_val.

    Source: Collobert, thesis, Université Paris VI, 2004.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Hardtanh()(fastnn.tensor([-2.0, 0.5, 2.0])).tolist()
        [-1.0, 0.5, 1.0]
    """

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(
                f"Hardtanh: expected min_val below max_val, got {min_val} and {max_val}"
            )
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.hardtanh(x, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The bounds, and inplace where it is set."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + _inplace(
            self.inplace
        )


class Softplus(Module):
    """y = log(1 + e^(beta x)) / beta, a smooth ReLU; y = x where beta x > threshold.

    Parameters:
        beta : float: sharpness; not 0.
        threshold : float: from where on y is x.

    Source: Dugas, Bengio, Bélisle, Nadeau and Garcia, "Incorporating Second-Order
        Functional Knowledge for Better Option Pricing", NIPS 2000.

    Example:
        >>> import fastnn
        >>> round(fastnn.nn.Softplus()(fastnn.tensor(0.0)).item(), 4)
        0.6931
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """beta and threshold."""
        return f"beta={self.beta}, threshold={self.threshold}"


class _AlongDim(Module):
    """Base of activations along one dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """y_i = e^x_i / sum_j e^x_j along dim: positive, with sum 1.

    Parameters:
        dim : int; None is the last of at most two dimensions.

    Raises: ValueError, when called, for None and more than two dimensions.

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.Softmax(dim=1)(fastnn.tensor([[0.0, 0.0]]))
        >>> [round(v, 4) for v in y[0].tolist()]
        [0.5, 0.5]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.softmax(x, self.dim)


class LogSoftmax(_AlongDim):
    """y_i = x_i - log sum_j e^x_j along dim: log-probabilities, for NLLLoss.

    Parameters:
        dim : int; None is the last of at most two dimensions.

    Raises: ValueError, when called, for None and more than two dimensions.

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.LogSoftmax(dim=1)(fastnn.tensor([[0.0, 0.0]]))
        >>> [round(v, 4) for v in y[0].tolist()]
        [-0.6931, -0.6931]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.log_softmax(x, self.dim)


class Softmin(_AlongDim):
    """y_i = e^-x_i / sum_j e^-x_j along dim.

    Parameters:
        dim : int; None is the last of at most two dimensions.

    Raises: ValueError, when called, for None and more than two dimensions.

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.Softmin(dim=1)(fastnn.tensor([[0.0, 0.0]]))
        >>> [round(v, 4) for v in y[0].tolist()]
        [0.5, 0.5]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.softmin(x, self.dim)


def _inplace(inplace: bool) -> str:
    return ", inplace=True" if inplace else ""
