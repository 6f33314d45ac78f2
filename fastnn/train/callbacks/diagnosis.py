"""What a Monitor's numbers mean, in words.

The thresholds are far from what a healthy network shows: layers initialised for their
activation keep activations and gradients within a factor of ten of each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import fastnn
from fastnn._core import Tensor
from fastnn.train.callbacks.replay import finite

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer

DIVERGED, BATCHES = 10.0, 5  # times the first loss, for so many batches
GROWN = 1e4  # activations, first layer to last; gradients, last layer to first
RISEN = 1e3  # the whole gradient, against the first ones
VANISHED = 1e-3  # the first layer's gradient over the last's
DEAD = 0.95  # share of silent units
MOSTLY, FEW = 0.5, 8  # the same, of a layer to blame for divergence; samples
LEARNED = 0.98  # of a constant guess's loss
FALLEN = 0.75  # of the first loss: something was learned, if only the mean
JUDGED_AFTER = 30  # batches
GUESSED_FROM = 16  # samples at least

HE = "nn.init.kaiming_normal_"


class Message(NamedTuple):
    """One thing that a Monitor said."""

    kind: str
    layer: str  # "" where no layer is to blame
    epoch: int
    batch: int
    text: str


class Layer(NamedTuple):
    """What was measured of a layer in one batch."""

    name: str
    kind: str
    rms: float  # of its output
    silent: list[bool] | None  # which units gave nothing; None: cannot be said
    parameters: tuple[str, ...]
    weighted: bool  # whether it multiplies by a matrix
    zero: bool  # whether that matrix is all zeros

    @property
    def dead(self) -> float | None:
        """The share of silent units."""
        return sum(self.silent) / len(self.silent) if self.silent else None

    @property
    def title(self) -> str:
        """Name and kind."""
        return f"{self.name} ({self.kind})"


class Diagnosis:
    """Goes through the measurements of a fit, and writes messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.learned = False
        self.first_loss = math.nan
        self.above = 0
        self.peak = 0.0
        self.gradients: list[float] = []  # the first norms of the whole gradient
        self.pending: list[str] = []  # what the measurement before this one showed
        # Units silent in all the batches since a judgement; how many, of what samples.
        self.silent: dict[str, tuple[list[bool], int, int]] = {}
        self.zero: list[str] = []
        self._guesses: list[tuple[Tensor, Tensor]] = []

    def say(self, trainer: Trainer, kind: str, layer: str, text: str) -> None:
        """Add a message, unless it was there."""
        if not any(m.kind == kind and m.layer == layer for m in self.messages):
            self.messages.append(
                Message(kind, layer, trainer.epoch, trainer.batch, text)
            )

    def said(self, kind: str) -> bool:
        """Whether there is a message of that kind."""
        return any(message.kind == kind for message in self.messages)

    @property
    def suspects(self) -> bool:
        """Whether the next batch should be measured: the loss has just become large."""
        return self.above > 0 and not self.said("diverging")

    # ---- every batch ----

    def look_at_loss(self, trainer: Trainer, record: Mapping[str, Any] | None) -> str:
        """Whether the fit diverges: in what way, or ""."""
        loss = trainer.batch_loss
        if math.isnan(self.first_loss):
            self.first_loss = loss
        self.above = self.above + 1 if loss > DIVERGED * self.first_loss > 0 else 0
        if math.isfinite(loss):
            self.peak = max(self.peak, loss)
        if self.said("diverging"):
            return ""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if record is not None:
            for name, value in record["gradients"].items():
                if not math.isfinite(value):
                    return f"the gradient of {name} is not finite"
        if not trainer.finite:
            return "a gradient is not finite"
        if self.above >= BATCHES:
            return (
                f"the loss has been above ten times its first value, "
                f"{self.first_loss:.4g}, for five batches, and is {loss:.4g}"
            )
        return ""

    def diverging(
        self, trainer: Trainer, trouble: str, layers: Sequence[Layer]
    ) -> None:
        """Say so, and name the first layer whose values are not finite, or dead."""
        # A layer that is mostly silent is to blame only where none is worse; in a batch
        # of few samples half the units of a healthy one are.
        few = len(trainer.inputs[0]) < FEW
        worst = [
            layer
            for least in (DEAD, *([] if few else [MOSTLY]))
            for layer in layers
            if not math.isfinite(layer.rms) or (layer.dead or 0) >= least
        ]
        first, what = "", ""
        if worst:
            layer = worst[0]
            first, what = layer.name, f"{layer.title} gives values that are not finite"
            if math.isfinite(layer.rms):
                what = f"{layer.title} is dead or dying: {silence(layer.silent)}"
        if not all(finite(x) for x in trainer.inputs if isinstance(x, Tensor)):
            first, what = "", "The batch's inputs hold values that are not finite"
        self.say(trainer, "diverging", first, divergence(trainer, trouble, what))

    # ---- measured batches ----

    def look_at_layers(
        self, trainer: Trainer, record: Mapping[str, Any], layers: Sequence[Layer]
    ) -> None:
        """Compare the layers with each other and with the measurement before."""
        weighted = [layer for layer in layers if layer.weighted]
        self.zero = [layer.name for layer in weighted if layer.zero]
        dead = self._dead(trainer, layers)
        if not self.learned:
            self._keep_guess(trainer)
        if len(weighted) < 2 or self.zero:
            return
        first, last = weighted[0], weighted[-1]
        start, end = (
            math.hypot(*(record["gradients"].get(p, 0.0) for p in layer.parameters))
            for layer in (first, last)
        )
        whole = math.hypot(*record["gradients"].values())
        if len(self.gradients) < 3:
            self.gradients.append(whole)
        before = max(self.gradients)
        initial = record["step"] == 1
        seen: dict[str, tuple[str, Layer, str]] = {}
        if initial and not dead and first.rms and math.isfinite(last.rms):
            sizes = (
                f"from layer to layer: {first.rms:.2g} in {first.title}, {last.rms:.2g} "
                f"in {last.title}"
            )
            if last.rms > GROWN * first.rms:
                text = (
                    f"activations grow {sizes}. Smaller initial weights, such as {HE}"
                )
                seen["activations"] = ("exploding", last, text)
            elif last.rms * GROWN < first.rms:
                text = (
                    f"activations shrink {sizes}. Larger initial weights, such as {HE}"
                )
                seen["activations"] = ("vanishing", last, text)
        if end and not dead and math.isfinite(start) and math.isfinite(end):
            norms = (
                f"towards the first layer: norm {start:.2g} in {first.title}, {end:.2g} "
                f"in {last.title}"
            )
            if start > GROWN * end:
                text = f"gradients grow {norms}. Smaller initial weights, or clip_grad_norm"
                seen["gradients"] = ("exploding", first, text)
            elif start < VANISHED * end:
                text = f"gradients shrink {norms}. ReLU, with weights such as {HE}"
                seen["gradients"] = ("vanishing", first, text)
        if math.isfinite(whole) and whole > RISEN * before > 0:
            text = (
                f"the norm of the gradient is {whole:.2g}, {before:.2g} at first. A lower "
                "learning rate, or clip_grad_norm"
            )
            seen["rise"] = ("exploding", first, text)
        # The first batch shows the initialisation itself; later, once may be chance.
        for sight, (kind, layer, text) in seen.items():
            if (initial or sight in self.pending) and not self.said(kind):
                self.say(trainer, kind, layer.name, f"{kind}: {text}, may help.")
        self.pending = list(seen)

    def _dead(self, trainer: Trainer, layers: Sequence[Layer]) -> bool:
        """Name dead layers; returns whether this batch shows one."""
        any_dead = False
        for layer in layers:
            if layer.silent is None:
                continue
            any_dead = any_dead or (layer.dead or 0) >= DEAD
            start = (layer.silent, 0, 0)
            before, batches, samples = self.silent.get(layer.name, start)
            both = [a and b for a, b in zip(layer.silent, before, strict=True)]
            batches, samples = batches + 1, samples + len(trainer.inputs[0])
            self.silent[layer.name] = (both, batches, samples)
            # In a few samples most units of a healthy layer may be silent.
            if batches < 2 or samples < 2 * FEW:
                continue
            self.silent[layer.name] = (layer.silent, 1, len(trainer.inputs[0]))
            # Where signals vanish, units fall silent for want of them.
            if self.zero or self.said("vanishing") or sum(both) < DEAD * len(both):
                continue
            silent = f"{layer.title}: {silence(both)} in {batches} measured batches"
            if self.peak > DIVERGED * self.first_loss > 0 and not self.said(
                "diverging"
            ):
                # It may take fewer than five batches for a layer to die.
                trouble = (
                    f"the loss rose from {self.first_loss:.4g} to {self.peak:.4g}, and a "
                    "layer died of it"
                )
                text = divergence(trainer, trouble, silent)
                self.say(trainer, "diverging", layer.name, text)
            self.say(
                trainer,
                "dead layer",
                layer.name,
                f"dead layer: {silent}. A lower learning rate, or LeakyReLU, may help.",
            )
        return any_dead

    # ---- epochs ----

    def _keep_guess(self, trainer: Trainer) -> None:
        """Remember outputs and targets from the later half of the epoch."""
        output, target = trainer.output, trainer.target
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return
        if trainer.batches is not None and 2 * trainer.batch < trainer.batches:
            return
        self._guesses = [*self._guesses[-7:], (output.detach(), target)]

    def look_at_epoch(self, trainer: Trainer) -> None:
        """Whether the outputs say more of the targets than their own mean does."""
        samples = sum(len(target) for _, target in self._guesses)
        batches = len(trainer.history.batch_losses)
        if self.learned or batches < JUDGED_AFTER or samples < GUESSED_FROM:
            return
        with fastnn.no_grad():
            output, target = (
                fastnn.cat(part) for part in zip(*self._guesses, strict=True)
            )
            mean = output.mean(dim=0, keepdim=True).expand_as(output).contiguous()
            loss, constant = (
                float(trainer.loss(guess, target).item()) for guess in (output, mean)
            )
        self._guesses = []
        if not math.isfinite(loss) and self.said("diverging"):
            return
        start = trainer.history.batch_losses[0]
        if loss < LEARNED * constant or loss < FALLEN * start:
            self.learned = True
            return
        why = ""
        if self.zero:
            why = (
                f". All weights of {', '.join(self.zero)} are zero, so no unit can become "
                "different from its neighbours; nn.init has better beginnings"
            )
        self.say(
            trainer,
            "nothing learned",
            self.zero[0] if self.zero else "",
            f"nothing learned after epoch {trainer.epoch}: the outputs have a loss of "
            f"{loss:.4g}, and {constant:.4g} is that of their mean, a constant guess; the "
            f"first loss was {start:.4g}{why}",
        )

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        """All that later messages depend on."""
        return {
            "messages": [list(message) for message in self.messages],
            "learned": self.learned,
            "first_loss": self.first_loss,
            "above": self.above,
            "peak": self.peak,
            "gradients": list(self.gradients),
            "pending": list(self.pending),
            "silent": {name: list(seen) for name, seen in self.silent.items()},
            "zero": list(self.zero),
            "guesses": [list(pair) for pair in self._guesses],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.messages = [Message(*fields) for fields in state["messages"]]
        for name in (
            "learned",
            "first_loss",
            "above",
            "peak",
            "gradients",
            "pending",
            "zero",
        ):
            setattr(self, name, state[name])
        self.silent = {name: tuple(seen) for name, seen in state["silent"].items()}
        self._guesses = [(output, target) for output, target in state["guesses"]]


def divergence(trainer: Trainer, trouble: str, layer: str) -> str:
    """The text of a message: what was seen, the layer, and what may help."""
    rate = trainer.optimizer.param_groups[0]["lr"]
    hint = f"The learning rate is {rate:.3g}; a lower one, or clip_grad_norm, may help."
    return ". ".join(part for part in (f"diverging: {trouble}", layer, hint) if part)


def silence(units: Sequence[bool] | None) -> str:
    """So many of so many units."""
    units = units or []
    count = "all" if all(units) else f"{sum(units)} of"
    return f"{count} {len(units)} units give nothing"
