"""Transforms of a batch and its labels together."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import Tensor
from fastnn.nn import _checks as checks
from fastnn.transforms import _options as options
from fastnn.transforms.base import Images, Transform, as_tensor


class MixUp(Transform):
    """Each sample mixed with the one before it: lam x_i + (1 - lam) x_(i-1), labels likewise.

    lam is drawn from Beta(alpha, alpha) for each sample; the first one's partner is the last.
    Called with (x, y), it gives (mixed x, mixed y); cross_entropy takes the mixed labels.

    Parameters:
        alpha : number above 0; the smaller, the nearer lam is to 0 or 1.
        num_classes : int, of integer labels; not needed for soft ones.
        generator : see Transform.

    x is a batch (n, c, h, w); y integers (n,), or floats (n, classes).

    Source: Zhang et al., "mixup: beyond empirical risk minimization", 2018.

    Example:
        >>> import fastnn
        >>> from fastnn import transforms
        >>> mix = transforms.MixUp(alpha=0.2, num_classes=10)
        >>> x, y = mix(fastnn.rand(8, 1, 28, 28), fastnn.arange(8))
        >>> x.shape, y.shape, y.sum(1).allclose(fastnn.ones(8))
        ((8, 1, 28, 28), (8, 10), True)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        num_classes: int | None = None,
        generator: fastnn.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.alpha = options.number("MixUp", "alpha", alpha, 1e-6)
        self.num_classes = (
            None
            if num_classes is None
            else checks.size("MixUp", "num_classes", num_classes, 1)
        )

    def make_params(self, shape: tuple[int, ...]) -> Any:
        """lam (NumPy, (n,), float64)."""
        return beta(shape[0], self.alpha, self.generator)

    def apply(self, x: Tensor, params: Any) -> Tensor:
        """lam x_i + (1 - lam) x_(i-1), whatever dimensions x has after the first."""
        lam = fastnn.tensor(params, dtype=x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        return x * lam + x.roll(1, 0) * (1 - lam)

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) != 2:
            raise TypeError(
                f"MixUp: expected a batch and its labels, got {len(inputs)} arguments"
            )
        images, (_, y) = Images("MixUp", inputs[0]), inputs
        if images.ndim != 4:
            raise ValueError(
                f"MixUp: expected a batch (n, c, h, w), got {images.ndim} dimensions"
            )
        with fastnn.no_grad():
            soft = self._soft(y, len(images.batch))
            lam = self.make_params(images.batch.shape)
            x = images.back(self.apply(images.batch, lam))
            soft = self.apply(soft, lam)
        return x, soft.numpy() if isinstance(y, np.ndarray) else soft

    def _soft(self, y: Any, n: int) -> Tensor:
        """Labels as floats (n, classes)."""
        if not isinstance(y, Tensor | np.ndarray):
            raise TypeError(
                f"MixUp: expected labels as an array or a Tensor, got {type(y).__name__}"
            )
        labels = as_tensor(y).detach()
        if len(labels.shape) not in (1, 2) or labels.shape[0] != n:
            raise ValueError(
                f"MixUp: expected {n} labels, (n,) or (n, classes), got shape "
                f"{tuple(labels.shape)}"
            )
        if labels.is_floating_point():
            return labels
        if labels.ndim != 1 or self.num_classes is None:
            raise ValueError(
                "MixUp: expected num_classes for integer labels (n,), got num_classes="
                f"{self.num_classes} and shape {tuple(labels.shape)}"
            )
        return fastnn.nn.functional.one_hot(labels.long(), self.num_classes).float()


def beta(n: int, alpha: float, generator: fastnn.Generator | None) -> Any:
    """n numbers of Beta(alpha, alpha) (NumPy, float64): G / (G + H), of two Gammas.

    In logarithms, as small alphas give numbers below any float.
    """
    first, second = (_log_gamma_variates(n, alpha, generator) for _ in range(2))
    return fastnn.sigmoid(fastnn.from_numpy(first - second)).numpy()


def _log_gamma_variates(
    n: int, alpha: float, generator: fastnn.Generator | None
) -> Any:
    """Logarithms of n numbers of Gamma(alpha, 1).

    Source: Marsaglia, Tsang, "A simple method for generating gamma variables", ACM
        Transactions on Mathematical Software 26 (2000), 363-372; below 1 by its note on
        Gamma(alpha + 1) u^(1 / alpha).
    """

    def log(a: Any) -> Any:
        return fastnn.log(fastnn.from_numpy(a)).numpy()

    d = (alpha + 1 if alpha < 1 else alpha) - 1 / 3
    c = 1 / (9 * d) ** 0.5
    result, left = np.zeros(n), np.arange(n)
    while len(left):  # nearly all are taken at once
        size, wide = (len(left),), fastnn.float64
        x = fastnn.normal(0.0, 1.0, size, generator=generator, dtype=wide).numpy()
        u = 1 - fastnn.uniform(size, generator=generator, dtype=wide).numpy()
        v = (1 + c * x) ** 3
        log_v = log(np.where(v > 0, v, 1.0))
        good = (v > 0) & (log(u) < 0.5 * x * x + d - d * v + d * log_v)
        result[left[good]] = log_v[good] + float(log(np.array([d]))[0])
        left = left[~good]
    if alpha < 1:
        u = 1 - fastnn.uniform((n,), generator=generator, dtype=fastnn.float64).numpy()
        result = result + log(u) / alpha
    return result
