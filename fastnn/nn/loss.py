"""Losses as modules: each calls the function of its name in nn.functional.

reduction is "mean", "sum" or "none" (the losses as they are) and is checked when the
module is made.
"""

from __future__ import annotations

from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module


class _Loss(Module):
    """Base of losses: a reduction, and what is shown of the options."""

    _reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str) -> None:
        super().__init__()
        if reduction not in self._reductions:
            names = ", ".join(repr(name) for name in self._reductions)
            raise ValueError(
                f"{type(self).__name__}: expected reduction {names}, got {reduction!r}"
            )
        self.reduction = reduction

    def _options(self) -> dict[str, tuple[object, object]]:
        """Each option beside the reduction: its value and its default."""
        return {}

    def extra_repr(self) -> str:
        """Options that differ from their defaults."""
        options = {**self._options(), "reduction": (self.reduction, "mean")}
        return ", ".join(
            f"{k}={v!r}" for k, (v, default) in options.items() if v != default
        )


class CrossEntropyLoss(_Loss):
    """-log softmax(logits)[target], averaged over the batch.

    Parameters:
        weight : Tensor (classes,), or None: the weight of each class.
        ignore_index : int: a target that counts for nothing.
        reduction : "mean" (over the weights of the targets), "sum" or "none".
        label_smoothing : float in [0, 1]: share of each target spread over all classes.

    The target is class indices (int), or class probabilities (float, input's shape).

    Raises: ValueError for another reduction or a label_smoothing outside [0, 1].

    Source: Szegedy et al., arXiv:1512.00567, section 7 (label smoothing).

    Example:
        >>> import fastnn
        >>> loss = fastnn.nn.CrossEntropyLoss()
        >>> logits = fastnn.tensor([[0.0, 0.0]])
        >>> round(loss(logits, fastnn.tensor([1])).item(), 4)
        0.6931
    """

    weight: Tensor | None  # (classes,)

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                "CrossEntropyLoss: expected label_smoothing from 0 to 1, got "
                f"{label_smoothing}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits (n, classes, ...) and indices (n, ...) or probabilities to a scalar."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def _options(self) -> dict[str, tuple[object, object]]:
        return {
            "ignore_index": (self.ignore_index, -100),
            "label_smoothing": (self.label_smoothing, 0.0),
        }


class NLLLoss(_Loss):
    """-weight[target] log_probabilities[target], averaged over the batch.

    Parameters:
        weight : Tensor (classes,), or None: the weight of each class.
        ignore_index : int: a target that counts for nothing.
        reduction : "mean" (over the weights of the targets), "sum" or "none".

    After LogSoftmax it is CrossEntropyLoss, which is faster and as accurate on logits.

    Example:
        >>> import fastnn
        >>> log_p = fastnn.tensor([[0.25, 0.75]]).log()
        >>> round(fastnn.nn.NLLLoss()(log_p, fastnn.tensor([0])).item(), 4)
        1.3863
    """

    weight: Tensor | None  # (classes,)

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities (n, classes, ...) and indices (n, ...) to a scalar."""
        return F.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def _options(self) -> dict[str, tuple[object, object]]:
        return {"ignore_index": (self.ignore_index, -100)}


class MSELoss(_Loss):
    """(input - target)², averaged over all elements.

    Parameters:
        reduction : "mean", "sum" or "none".

    Raises: ValueError, when called, for shapes that differ, which would broadcast unseen.

    Example:
        >>> import fastnn
        >>> fastnn.nn.MSELoss()(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
        2.5
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|, averaged over all elements.

    Parameters:
        reduction : "mean", "sum" or "none".

    Example:
        >>> import fastnn
        >>> fastnn.nn.L1Loss()(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
        1.5
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """z² / (2 beta) where z = |input - target| < beta, else z - beta / 2, averaged.

    Parameters:
        reduction : "mean", "sum" or "none".
        beta : float from 0: where the parabola ends; with 0 it is L1Loss.

    Source: Girshick, "Fast R-CNN", arXiv:1504.08083, equation 3.

    Example:
        >>> import fastnn
        >>> fastnn.nn.SmoothL1Loss()(fastnn.tensor([0.0]), fastnn.tensor([3.0])).item()
        2.5
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)

    def _options(self) -> dict[str, tuple[object, object]]:
        return {"beta": (self.beta, 1.0)}


class HuberLoss(_Loss):
    """z² / 2 where z = |input - target| <= delta, else delta (z - delta / 2), averaged.

    Parameters:
        reduction : "mean", "sum" or "none".
        delta : float above 0: where the parabola ends.

    Source: Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical
        Statistics 35 (1964), 73-101.

    Example:
        >>> import fastnn
        >>> fastnn.nn.HuberLoss(delta=2.0)(fastnn.zeros(1), fastnn.tensor([3.0])).item()
        4.0
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.huber_loss(input, target, self.reduction, self.delta)

    def _options(self) -> dict[str, tuple[object, object]]:
        return {"delta": (self.delta, 1.0)}


class BCELoss(_Loss):
    """-(t log p + (1 - t) log(1 - p)) of probabilities p, averaged over all elements.

    Parameters:
        weight : Tensor that broadcasts to p, or None: the weight of each element.
        reduction : "mean", "sum" or "none".

    A logarithm counts as -100 at least. BCEWithLogitsLoss on what goes into the sigmoid
    is more accurate.

    Raises: ValueError, when called, for p outside [0, 1] or shapes that differ.

    Example:
        >>> import fastnn
        >>> p, t = fastnn.tensor([0.25]), fastnn.tensor([0.0])
        >>> round(fastnn.nn.BCELoss()(p, t).item(), 4)
        0.2877
    """

    weight: Tensor | None  # broadcasts to the input

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.binary_cross_entropy(
            input, target, self.weight, reduction=self.reduction
        )


class BCEWithLogitsLoss(_Loss):
    """-(w t log s + (1 - t) log(1 - s)), s = sigmoid(input), averaged over all elements.

    Parameters:
        weight : Tensor that broadcasts to the input, or None: the weight of each element.
        reduction : "mean", "sum" or "none".
        pos_weight : Tensor w that broadcasts to the input, or None: the weight of the
            positive side; above 1 it raises recall.

    Example:
        >>> import fastnn
        >>> loss = fastnn.nn.BCEWithLogitsLoss()
        >>> round(loss(fastnn.tensor([0.0]), fastnn.tensor([1.0])).item(), 4)
        0.6931
    """

    weight: Tensor | None  # broadcasts to the input
    pos_weight: Tensor | None  # broadcasts to the input

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
        )


class KLDivLoss(_Loss):
    """t (log t - input): the divergence of a target from log-probabilities input.

    Parameters:
        reduction : "batchmean" (the sum over the batch size: the divergence itself),
            "mean" (over all elements, PyTorch's default), "sum" or "none".
        log_target : bool: the target is log-probabilities too.

    Source: Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical
        Statistics 22 (1951), 79-86.

    Example:
        >>> import fastnn
        >>> q, p = fastnn.tensor([[0.5, 0.5]]), fastnn.tensor([[1.0, 0.0]])
        >>> round(fastnn.nn.KLDivLoss(reduction="batchmean")(q.log(), p).item(), 4)
        0.6931
    """

    _reductions = ("mean", "sum", "none", "batchmean")

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, or to that shape for "none"."""
        return F.kl_div(
            input, target, reduction=self.reduction, log_target=self.log_target
        )

    def _options(self) -> dict[str, tuple[object, object]]:
        return {"log_target": (self.log_target, False)}
