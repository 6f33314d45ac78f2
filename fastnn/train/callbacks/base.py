"""Callback: what a fit tells those who watch it, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer


class Callback:
    """Base of every callback: override what is needed; each method gets the Trainer.

    Of the trainer it may read epoch (from 1), epochs, batch (done in this epoch), batches,
    history, logs, model, optimizer, verbose, and after a batch inputs, target,
    output and batch_loss. trainer.stop(reason) ends the fit after the batch or epoch,
    trainer.say(text) prints a line where the fit is verbose.

    Attributes:
        order : int: callbacks are called in this order, and then as they were given.
        watches_finite : bool: whether it wants trainer.finite: steps whose loss or gradients
            are not finite then change nothing.

    Example:
        >>> from fastnn.train import Callback
        >>> class Impatient(Callback):
        ...     def on_epoch_end(self, trainer):
        ...         if sum(trainer.history.seconds) > 60:
        ...             trainer.stop("a minute is over")
    """

    order: ClassVar[int] = 0
    watches_finite: ClassVar[bool] = False

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch; start over, unless load_state_dict() follows."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """At the end, however it came; trainer.outcome says how. Close what is open."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before an epoch's first batch."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After training and validation; the history has the epoch's values."""

    def on_batch_begin(self, trainer: Trainer) -> None:
        """Before a training step; inputs and target are there."""

    def on_batch_end(self, trainer: Trainer) -> None:
        """After a training step; gradients are still there."""

    def on_validation_end(self, trainer: Trainer) -> None:
        """After validation; logs has its values."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on: tensors, numbers, strings, lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what state_dict() gave; called after on_fit_begin()."""


EVENTS = (
    "on_fit_begin",
    "on_fit_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_batch_begin",
    "on_batch_end",
    "on_validation_end",
)


class CallbackList:
    """The callbacks of a fit, in order; calls only those that override an event."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                what = "the class" if isinstance(callback, type) else "an object of"
                name = getattr(callback, "__name__", type(callback).__name__)
                raise TypeError(f"callbacks: expected Callbacks, got {what} {name}")
            for method in dir(callback):
                if method.startswith("on_") and method not in EVENTS:
                    raise TypeError(
                        f"callbacks: {type(callback).__name__} has {method}, which "
                        f"nothing calls; there are {', '.join(EVENTS)}"
                    )
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        self._methods = {
            event: [
                getattr(callback, event)
                for callback in self.callbacks
                if getattr(type(callback), event) is not getattr(Callback, event)
                or event in vars(callback)
            ]
            for event in EVENTS
        }

    def __getitem__(self, event: str) -> list[Any]:
        return self._methods[event]

    def call(self, event: str, trainer: Trainer) -> None:
        """Call one event on all."""
        for method in self._methods[event]:
            method(trainer)

    def close(self, trainer: Trainer) -> None:
        """on_fit_end on all, also where one of them raises; the first error then goes on."""
        error: BaseException | None = None
        for method in self._methods["on_fit_end"]:
            try:
                method(trainer)
            except BaseException as raised:
                error = error or raised
        if error is not None:
            raise error

    # ---- states, by class and by the place among those of the class ----

    def named(self) -> list[tuple[str, Callback]]:
        """A name for each callback: its class, numbered from the second on."""
        seen: dict[str, int] = {}
        named = []
        for callback in self.callbacks:
            kind = type(callback).__name__
            seen[kind] = seen.get(kind, 0) + 1
            number = "" if seen[kind] == 1 else f" {seen[kind]}"
            named.append((kind + number, callback))
        return named

    def state_dict(self) -> dict[str, Any]:
        """The states of those that have one, by name."""
        states = {name: callback.state_dict() for name, callback in self.named()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Give each callback its state back."""
        for name, callback in self.named():
            if name in states:
                callback.load_state_dict(states[name])


def best_mode(who: str, name: str, mode: str, trainer: Trainer) -> str:
    """ "min" or "max" for a monitored value; "auto" asks the metric of that name."""
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise ValueError(f"{who}: expected mode 'min', 'max' or 'auto', got {mode!r}")
    key = name.removeprefix("val_")
    metric = trainer.metrics.get(key)
    found = "min" if key == "loss" else metric.mode if metric is not None else ""
    if not found:
        raise ValueError(f"{who}: cannot tell whether {name!r} should fall: give mode=")
    return found


def check_monitored(who: str, name: str, trainer: Trainer) -> None:
    """Raise where the fit will have no value of that name."""
    if name not in trainer.names:
        hint = (
            "; fit(validation=...) is not given"
            if name.startswith("val_") and name[4:] in trainer.names
            else ""
        )
        raise ValueError(
            f"{who}: expected one of {', '.join(trainer.names)} to monitor, got "
            f"{name!r}{hint}"
        )
