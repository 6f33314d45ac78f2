"""Dropout: noise in training that evaluation leaves out."""

from __future__ import annotations

import math

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn.module import Module


class _Noise(Module):
    """A layer with a probability p, that may write its result into its input."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = checks.probability(type(self).__name__, p)
        self.inplace = inplace

    def noisy(self, input: Tensor) -> Tensor:
        """What training makes of the input; every subclass writes its own."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """Any shape to the same shape; the input itself in evaluation."""
        if not self.training or self.p == 0:
            return input
        y = self.noisy(input)
        return input.copy_(y) if self.inplace else y

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Noise):
    """In training each element is 0 with probability p, else divided by 1 - p.

    Parameters:
        p : float in [0, 1]: probability of an element to be zeroed.
        inplace : bool: write the result into the input.

    Raises: TypeError, ValueError for what is no probability.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15,
        2014 (inverted: evaluation then needs no scaling).

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Dropout(0.5)
        >>> set(layer(fastnn.ones(100)).tolist()) == {0.0, 2.0}
        True
        >>> layer.eval()(fastnn.ones(2)).tolist()
        [1.0, 1.0]
    """

    def noisy(self, input: Tensor) -> Tensor:
        """Zeros with probability p, the rest divided by 1 - p."""
        return F.dropout(input, self.p)


class Dropout1d(_Noise):
    """In training each channel is 0 with probability p, else divided by 1 - p.

    Parameters:
        p : float in [0, 1]: probability of a channel to be zeroed.
        inplace : bool: write the result into the input.

    Raises: TypeError, ValueError for what is no probability; in forward(), ValueError unless
        the input is (n, c, l) or (c, l).

    Source: Tompson, Goroshin, Jain, LeCun, Bregler, arXiv:1411.4280, section 3.2.

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.Dropout1d(0.5)(fastnn.ones(8, 4, 3))
        >>> set(y.sum(-1).flatten().tolist()) <= {0.0, 6.0}
        True
    """

    def noisy(self, input: Tensor) -> Tensor:
        """Whole channels zero with probability p, the rest divided by 1 - p."""
        return F.dropout1d(input, self.p)


class Dropout2d(_Noise):
    """In training each channel is 0 with probability p, else divided by 1 - p.

    Parameters:
        p : float in [0, 1]: probability of a channel to be zeroed.
        inplace : bool: write the result into the input.

    Raises: TypeError, ValueError for what is no probability; in forward(), ValueError unless
        the input is (n, c, h, w), or (n, c, l).

    Source: Tompson, Goroshin, Jain, LeCun, Bregler, arXiv:1411.4280, section 3.2.

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.Dropout2d(0.5)(fastnn.ones(8, 4, 3, 3))
        >>> set(y.sum((2, 3)).flatten().tolist()) <= {0.0, 18.0}
        True
    """

    def noisy(self, input: Tensor) -> Tensor:
        """Whole channels zero with probability p, the rest divided by 1 - p."""
        return F.dropout2d(input, self.p)


class AlphaDropout(_Noise):
    """Dropout for SELU networks: keeps mean 0 and variance 1 as they are.

    In training, with probability p an element becomes α' = -λα, what SELU gives for
    -∞; then all become a x + b with a = ((1 - p)(1 + p α'²))^-1/2, b = -a p α'.

    Parameters:
        p : float in [0, 1]: probability of an element to be dropped; 1 gives zeros.
        inplace : bool: write the result into the input.

    Raises: TypeError, ValueError for what is no probability.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks",
        2017, section "New dropout technique".

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.AlphaDropout(0.1)(fastnn.zeros(1000))
        >>> len(set(y.tolist()))
        2
    """

    def noisy(self, input: Tensor) -> Tensor:
        """Dropped elements at α', then all brought back to mean 0 and variance 1."""
        if self.p == 1:
            return input * 0
        low = -1.0507009873554805 * 1.6732632423543772  # -λα, of the paper's section 2
        a = 1 / math.sqrt((1 - self.p) * (1 + self.p * low * low))
        b = -a * self.p * low
        kept = F.dropout(fastnn.ones_like(input), self.p) != 0
        return fastnn.where(kept, input * a + b, a * low + b)
