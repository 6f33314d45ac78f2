"""A Trainer's steps as plans: training, evaluation and prediction, compiled when first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import fastnn
from fastnn._core import Tensor

if TYPE_CHECKING:
    from fastnn.train.trainer import Trainer


def one_step(
    trainer: Trainer, inputs: tuple[Any, ...], target: Any
) -> tuple[Tensor, Any, Tensor | None]:
    """A step of train_step(): (loss, output, whether all was finite if that is watched)."""
    trainer.flag = None
    loss, output = trainer.train_step(inputs, target)
    flag, trainer.flag = trainer.flag, None  # nothing of a step may be kept beside it
    return loss, output, flag


class Plans:
    """Compiled functions by name, each with the objects that it was made for."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._made: dict[str, tuple[tuple[Any, ...], Any]] = {}
        self._said = False

    def begin(self) -> None:
        """Try again what ran eagerly in the fit before."""
        self._said = False
        self._made = {k: v for k, v in self._made.items() if not v[1].eager}

    def step(self, inputs: tuple[Any, ...], target: Any) -> Any:
        """one_step(), compiled."""
        trainer = self._trainer
        parts = (
            trainer.model,
            trainer.loss,
            trainer.optimizer,
            trainer.clip_grad_norm,
            trainer.watched,
        )

        def step(*batch: Any) -> Any:
            return one_step(trainer, batch[:-1], batch[-1])

        return self._get("step", parts, step)(*inputs, target)

    def evaluate(self, inputs: tuple[Any, ...], target: Any) -> Any:
        """The output and the loss of a batch."""
        model, loss = self._trainer.model, self._trainer.loss

        def outputs(*batch: Any) -> Any:
            output = model(*batch[:-1])
            return output, loss(output, batch[-1])

        return self._get("evaluate", (model, loss), outputs)(*inputs, target)

    def predict(self, *inputs: Any) -> Any:
        """The output for a batch."""
        model = self._trainer.model
        return self._get("predict", (model,), model)(*inputs)

    def _get(
        self, name: str, parts: tuple[Any, ...], function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """The compiled function for these objects; function itself without plans."""
        if not self._trainer.compile:
            return function
        made = self._made.get(name)
        if made is None or not all(map(same, made[0], parts)):
            made = self._made[name] = (
                parts,
                fastnn.compile(function, fallback=self._say),
            )
        return made[1]

    def _say(self, why: Exception) -> None:
        if not self._said:
            self._trainer.say(f"Trainer: runs op by op instead of as a plan. {why}")
        self._said = True


def same(a: Any, b: Any) -> bool:
    """One object, or equal numbers."""
    return a is b or (isinstance(a, float | int) and a == b)
