"""Metrics: numbers that say how good outputs are, gathered batch by batch.

update() only runs ops, compute() reads the result: watching a metric does not make the
training loop wait. Counts are exact and sums are kept in float64, so that many batches
give what the whole gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import fastnn
from fastnn._core import Tensor

Value = float | Tensor


class Metric:
    """Base of every metric: write update() with add(), and compute() from sums.

    Attributes:
        name : str: what the History calls it.
        sums : dict of name to Tensor or number: all that compute() needs.
        mode : "min" or "max", which is better; "" where neither is.
        is_tensor : bool: whether compute() gives a Tensor, which is no curve to draw.

    Example:
        >>> import fastnn
        >>> from fastnn.train import Accuracy
        >>> accuracy = Accuracy()
        >>> accuracy.update(fastnn.tensor([[2.0, 1.0], [0.0, 1.0]]), fastnn.tensor([0, 0]))
        >>> accuracy.compute()
        0.5
    """

    name: str = ""
    mode: str = ""
    is_tensor: bool = False

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in one batch of outputs and targets."""
        raise NotImplementedError(f"{type(self).__name__}: no method update()")

    def compute(self) -> Value:
        """The metric over all batches since reset(); NaN where there was none."""
        raise NotImplementedError(f"{type(self).__name__}: no method compute()")

    def reset(self) -> None:
        """Forget all batches."""
        self.sums = {}

    def add(self, **parts: Any) -> None:
        """Add each Tensor or number to the sum of its name."""
        for name, part in parts.items():
            self.sums[name] = self.sums[name] + part if name in self.sums else part

    def read(self, name: str) -> float:
        """A sum as a number; 0 where nothing was added."""
        value = self.sums.get(name, 0)
        return float(value.item() if isinstance(value, Tensor) else value)

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint in the middle of an epoch."""
        return dict(self.sums)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the sums that state_dict() gave."""
        self.sums = dict(state)


# ---- classes ----


class Classification(Metric):
    """Base of the metrics that compare the class chosen with the true one.

    Parameters:
        threshold : float: makes outputs of the target's shape binary: class 1 where they
            are above it, 0.0 for logits and 0.5 for probabilities.
        ignore_index : int: a target that counts for nothing; None is none.
        num_classes : int: number of classes where the outputs are classes themselves.

    Outputs are scores (n, classes) or (n, classes, ...) with integer targets (n,) or
    (n, ...); or scores and one-hot or soft targets of one shape; or, with a threshold,
    (n, ...) or (n, 1) with targets 0 and 1; or integers, the classes chosen.
    """

    def __init__(
        self,
        *,
        threshold: float | None = None,
        ignore_index: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.ignore_index = ignore_index
        self.num_classes = num_classes

    def chosen(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, int]:
        """The classes chosen and the true ones, flat, and how many classes there are."""
        who = self.name or type(self).__name__
        floating = output.is_floating_point()
        if output.ndim == target.ndim + 1 and output.shape[1] == 1:
            output = output.squeeze(1)  # (n, 1) and (n,): one binary output
        elif target.ndim == output.ndim + 1 and target.shape[1] == 1:
            target = target.squeeze(1)
        same = tuple(output.shape) == tuple(target.shape)
        if floating and same and self.threshold is not None:
            choice, classes = (output > self.threshold).long(), 2
        elif floating and same and output.ndim > 1 and output.shape[1] > 1:
            choice, classes = output.argmax(dim=1), output.shape[1]
            target = target.argmax(dim=1)
        elif floating and same:
            raise ValueError(
                f"{who}: outputs of the targets' shape {tuple(output.shape)} are binary, "
                "and need threshold=0.0 where they are logits, 0.5 for probabilities"
            )
        elif floating and output.ndim == target.ndim + 1 and output.shape[1] > 0:
            choice, classes = output.argmax(dim=1), output.shape[1]
            if tuple(choice.shape) != tuple(target.shape):
                raise self._misfit(who, output, target)
        elif not floating and same:
            choice, classes = output.long(), self.num_classes or 0
        else:
            raise self._misfit(who, output, target)
        if target.dtype is not fastnn.int64:
            target = target.long()
        if target.ndim != 1:
            choice, target = choice.reshape(-1), target.reshape(-1)
        return choice, target, classes

    @staticmethod
    def _misfit(who: str, output: Tensor, target: Tensor) -> ValueError:
        return ValueError(
            f"{who}: expected scores (n, classes) and classes (n,), got outputs "
            f"{output.dtype.name} {tuple(output.shape)} and targets "
            f"{target.dtype.name} {tuple(target.shape)}"
        )

    def one_hot(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen and true classes as bool (n, classes); rows that do not count are 0."""
        choice, true, classes = self.chosen(output, target)
        who = self.name or type(self).__name__
        if classes == 0:
            raise ValueError(f"{who}: outputs that are classes need num_classes=...")
        number = fastnn.arange(classes)
        true_hot = true.unsqueeze(1) == number
        choice_hot = choice.unsqueeze(1) == number
        if self.ignore_index is not None:
            keep = true != self.ignore_index
            true_hot, choice_hot = (
                hot * keep.unsqueeze(1) for hot in (true_hot, choice_hot)
            )
            self.add(samples=keep.sum())
        else:
            self.add(samples=len(true))
        return choice_hot, true_hot

    def check_labels(self, found: float, classes: int) -> None:
        """Raise where targets, or classes chosen, lay outside of 0 ... classes - 1."""
        if found != self.read("samples"):
            raise ValueError(
                f"{self.name or type(self).__name__}: expected classes from 0 to "
                f"{classes - 1}, got {self.read('samples') - found:.0f} outside of them; "
                "ignore_index= names a target that does not count"
            )


class Accuracy(Classification):
    """Share of samples whose class is right.

    Parameters: as Classification. With several outputs for a sample each one counts.
    """

    name = "accuracy"
    mode = "max"

    def update(self, output: Tensor, target: Tensor) -> None:
        """Count the right ones."""
        choice, true, _ = self.chosen(output, target)
        right = choice == true
        if self.ignore_index is None:
            self.add(right=right.sum(), samples=len(true))
        else:
            keep = true != self.ignore_index
            self.add(right=(right * keep).sum(), samples=keep.sum())

    def compute(self) -> float:
        """Right ones over all."""
        samples = self.read("samples")
        return self.read("right") / samples if samples else math.nan


class TopK(Classification):
    """Share of samples whose class is among the k of the highest score.

    Of equal scores the first counts as higher, so that k = 1 is the accuracy.

    Parameters:
        k : int of at least 1.
        ignore_index : int: a target that counts for nothing; None is none.
    """

    mode = "max"

    def __init__(self, k: int = 5, *, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        if k < 1:
            raise ValueError(f"TopK: expected k of at least 1, got {k}")
        self.k = k
        self.name = f"top{k}"

    def update(self, output: Tensor, target: Tensor) -> None:
        """Count the right ones."""
        if output.ndim != 2 or target.ndim != 1 or len(output) != len(target):
            raise self._misfit(self.name, output, target)
        n, classes = output.shape
        if classes < self.k:
            raise ValueError(
                f"{self.name}: expected at least {self.k} classes, got {classes}"
            )
        true = target.long()
        number = fastnn.arange(classes)
        hot = true.unsqueeze(1) == number
        score = fastnn.where(hot, output, 0.0).sum(dim=1, keepdim=True)
        # At and below the true class: a NaN lies below nothing, and so is never right.
        later = number >= true.unsqueeze(1)
        below = fastnn.where(output == score, later, output < score)
        right = below.sum(dim=1) >= classes - self.k + 1
        right = right * (hot.sum(dim=1) == 1)
        if self.ignore_index is None:
            self.add(right=right.sum(), samples=n)
        else:
            keep = true != self.ignore_index
            self.add(right=(right * keep).sum(), samples=keep.sum())

    def compute(self) -> float:
        """Right ones over all."""
        samples = self.read("samples")
        return self.read("right") / samples if samples else math.nan


class ConfusionMatrix(Classification):
    """How many samples of each true class (row) were given each class (column).

    Parameters: as Classification.

    Example:
        >>> import fastnn
        >>> from fastnn.train import ConfusionMatrix
        >>> matrix = ConfusionMatrix(num_classes=2)
        >>> matrix.update(fastnn.tensor([0, 1, 1]), fastnn.tensor([0, 1, 0]))
        >>> matrix.compute().tolist()
        [[1, 1], [0, 1]]
    """

    name = "confusion_matrix"
    is_tensor = True

    def update(self, output: Tensor, target: Tensor) -> None:
        """Count the pairs."""
        choice, true = self.one_hot(output, target)
        # Counts are whole numbers below 2^53, so float64 is exact.
        self.add(pairs=true.double().T @ choice.double())

    def compute(self) -> Tensor:
        """The counts, int64 (classes, classes)."""
        if "pairs" not in self.sums:
            return fastnn.zeros(self.num_classes or 0, self.num_classes or 0).long()
        pairs: Tensor = self.sums["pairs"].long()
        self.check_labels(pairs.sum().item(), len(pairs))
        return pairs


class _ByClass(Classification):
    """What precision, recall and F1 share: counts per class, and the averages.

    Parameters:
        average : "macro", the mean over the classes that occur among targets or
            choices; "weighted", weighted by how often each is true; "micro", over all
            counts together; "binary", class 1 alone; None, a Tensor of every class.
        zero_division : float: the value of a class whose denominator is 0; NaN leaves it
            out of the average.
        threshold, ignore_index, num_classes : as in Classification.
    """

    mode = "max"

    def __init__(
        self,
        average: str | None = "macro",
        *,
        zero_division: float = 0.0,
        threshold: float | None = None,
        ignore_index: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(
            threshold=threshold, ignore_index=ignore_index, num_classes=num_classes
        )
        if average not in ("macro", "micro", "weighted", "binary", None):
            raise ValueError(
                f"{type(self).__name__}: expected average 'macro', 'micro', 'weighted', "
                f"'binary' or None, got {average!r}"
            )
        self.average = average
        self.is_tensor = average is None
        self.zero_division = float(zero_division)

    def ratio(self, right: float, chosen: float, true: float) -> tuple[float, float]:
        """Numerator and denominator from the counts of a class."""
        raise NotImplementedError

    def update(self, output: Tensor, target: Tensor) -> None:
        """Count per class: right, chosen, true."""
        choice, true = self.one_hot(output, target)
        self.add(
            right=(choice * true).sum(dim=0),
            chosen=choice.sum(dim=0),
            true=true.sum(dim=0),
        )

    def compute(self) -> Value:
        """The average over the classes, or a Tensor (classes,) float64."""
        if "true" not in self.sums:
            return fastnn.zeros(0).double() if self.is_tensor else math.nan
        rows = list(
            zip(
                *(self.sums[k].tolist() for k in ("right", "chosen", "true")),
                strict=True,
            )
        )
        self.check_labels(sum(true for *_, true in rows), len(rows))
        self.check_labels(sum(chosen for _, chosen, _ in rows), len(rows))
        if self.average == "micro":
            return self._value(*(sum(column) for column in zip(*rows, strict=True)))
        values = [self._value(*row) for row in rows]
        if self.average is None:
            return fastnn.tensor(values, dtype=fastnn.float64)
        if self.average == "binary":
            if len(values) != 2:
                raise ValueError(
                    f"{self.name}: average='binary' expects 2 classes, got {len(values)}"
                )
            return values[1]
        weights = [
            true if self.average == "weighted" else float(chosen + true > 0)
            for _, chosen, true in rows
        ]
        kept = [
            (v, w) for v, w in zip(values, weights, strict=True) if not math.isnan(v)
        ]
        total = sum(w for _, w in kept)
        if not total:
            return self.zero_division
        return float(sum(v * w for v, w in kept) / total)

    def _value(self, right: float, chosen: float, true: float) -> float:
        over, under = self.ratio(right, chosen, true)
        return over / under if under else self.zero_division


class Precision(_ByClass):
    """Of the samples given a class, the share that is of it: right / chosen.

    Parameters: as Recall.
    """

    name = "precision"

    def ratio(self, right: float, chosen: float, true: float) -> tuple[float, float]:
        """right / chosen."""
        return right, chosen


class Recall(_ByClass):
    """Of the samples of a class, the share that was given it: right / true.

    Parameters:
        average : "macro", the mean over the classes that occur among targets or
            choices; "weighted", weighted by how often each is true; "micro", over all
            counts together; "binary", class 1 alone; None, a Tensor of every class.
        zero_division : float: the value of a class whose denominator is 0; NaN leaves it
            out of the average.
        threshold, ignore_index, num_classes : as in Classification.

    Example:
        >>> import fastnn
        >>> from fastnn.train import Recall
        >>> recall = Recall("binary", threshold=0.5)
        >>> recall.update(fastnn.tensor([0.9, 0.2, 0.1]), fastnn.tensor([1, 1, 0]))
        >>> recall.compute()
        0.5
    """

    name = "recall"

    def ratio(self, right: float, chosen: float, true: float) -> tuple[float, float]:
        """right / true."""
        return right, true


class F1(_ByClass):
    """The harmonic mean of precision and recall: 2 right / (chosen + true).

    Parameters: as Recall.
    """

    name = "f1"

    def ratio(self, right: float, chosen: float, true: float) -> tuple[float, float]:
        """2 right / (chosen + true)."""
        return 2 * right, chosen + true


# ---- numbers ----


def _difference(who: str, output: Tensor, target: Tensor) -> Tensor:
    if tuple(output.shape) != tuple(target.shape):
        raise ValueError(
            f"{who}: expected outputs and targets of one shape, got "
            f"{tuple(output.shape)} and {tuple(target.shape)}"
        )
    return output.double() - target.double()


class MSE(Metric):
    """The mean of (output - target)^2, over all elements."""

    name = "mse"
    mode = "min"

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add the squares."""
        apart = _difference(self.name, output, target)
        self.add(total=(apart * apart).sum(), count=apart.numel())

    def compute(self) -> float:
        """Sum over count."""
        count = self.read("count")
        return self.read("total") / count if count else math.nan


class MAE(MSE):
    """The mean of |output - target|, over all elements."""

    name = "mae"

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add the distances."""
        apart = _difference(self.name, output, target)
        self.add(total=apart.abs().sum(), count=apart.numel())


class R2(Metric):
    """1 - sum of (output - target)^2 / sum of (target - mean target)^2.

    For targets (n, ...) the mean over the columns. A column whose targets are all equal
    counts 1 where it is met exactly, else 0. NaN with fewer than two samples.

    Source: the spread is joined batch to batch as in Chan, Golub, LeVeque, "Updating
        formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    name = "r2"
    mode = "max"

    def update(self, output: Tensor, target: Tensor) -> None:
        """Join this batch's residuals and spread to those before."""
        apart = _difference(self.name, output, target)
        n = len(target) if target.ndim else 1
        if n == 0:
            return
        y = target.double().reshape(n, -1)
        # From the first one on: equal targets then have that mean exactly.
        mean = y[0] + (y - y[0]).mean(dim=0)
        spread = ((y - mean) * (y - mean)).sum(dim=0)
        self.add(residual=(apart * apart).reshape(n, -1).sum(dim=0))
        before = self.sums.get("count", 0)
        if before:
            step = mean - self.sums["mean"]
            spread = (
                self.sums["spread"] + spread + step * step * (before * n / (before + n))
            )
            mean = self.sums["mean"] + step * (n / (before + n))
        self.sums.update(count=before + n, mean=mean, spread=spread)

    def compute(self) -> float:
        """The mean over the columns."""
        if self.read("count") < 2:
            return math.nan
        pairs = zip(
            self.sums["residual"].tolist(), self.sums["spread"].tolist(), strict=True
        )
        scores = [1 - r / s if s else float(r == 0) for r, s in pairs]
        return sum(scores) / len(scores)


# ---- by name ----

KINDS: dict[str, type[Metric]] = {
    kind.name: kind
    for kind in (Accuracy, Precision, Recall, F1, ConfusionMatrix, MSE, MAE, R2)
}

# The losses that say what a binary output is: the value above which it means class 1.
THRESHOLDS = {
    "BCELoss": 0.5,
    "binary_cross_entropy": 0.5,
    "BCEWithLogitsLoss": 0.0,
    "binary_cross_entropy_with_logits": 0.0,
}


def named(
    metrics: Mapping[str, Metric | str] | Iterable[Metric | str] | str | Metric,
    loss: Any = None,
) -> dict[str, Metric]:
    """The metrics by the name under which the History keeps them.

    Parameters:
        metrics : names ("accuracy", "top5", ...) or Metric objects, or a mapping to them.
        loss : the loss function; a binary one gives named metrics their threshold.

    Returns: dict of name to Metric.

    Raises: ValueError for a name that is not known, or is there twice.
    """
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    found: dict[str, Metric] = {}
    threshold = THRESHOLDS.get(getattr(loss, "__name__", type(loss).__name__))
    entries = (
        list(metrics.items())
        if isinstance(metrics, Mapping)
        else [(None, metric) for metric in metrics]
    )
    for key, entry in entries:
        metric = _by_name(entry, threshold) if isinstance(entry, str) else entry
        if not isinstance(metric, Metric):
            raise TypeError(
                f"metrics: expected names or Metric objects, got {type(metric).__name__}"
            )
        name = key or metric.name or type(metric).__name__
        if name in found or name == "loss":
            raise ValueError(
                f"metrics: the name {name!r} is taken; give a mapping of names to metrics"
            )
        found[name] = metric
    return found


def _by_name(name: str, threshold: float | None) -> Metric:
    if top := re.fullmatch(r"top([1-9]\d*)", name):
        return TopK(int(top[1]))
    kind = KINDS.get(name)
    if kind is None:
        known = ", ".join([*sorted(KINDS), "top1, top2, ..."])
        raise ValueError(f"metrics: expected one of {known}, got {name!r}")
    if threshold is None or not issubclass(kind, Classification):
        return kind()
    if issubclass(kind, _ByClass):
        return kind("binary", threshold=threshold)
    return kind(threshold=threshold)
