"""The last batch once more, op by op: what a step that went wrong did in each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import fastnn
from fastnn._core import Tensor
from fastnn.nn.utils import all_finite, carried_states, load_carried_states

if TYPE_CHECKING:
    from fastnn.nn import Module
    from fastnn.train.trainer import Trainer


@contextmanager
def again(trainer: Trainer) -> Iterator[None]:
    """The generator as it was before the batch, where the step changed nothing; parameters
    then are as they were too. All that the block draws, and the buffers that it changes,
    are put back."""
    state = fastnn.get_rng_state()
    kept = [(b, b.clone()) for b in trainer.model.buffers()]
    carried = carried_states(trainer.model)
    try:
        if not trainer.finite and trainer.generator is not None:
            fastnn.set_rng_state(trainer.generator)
        yield
    finally:
        fastnn.set_rng_state(state)
        load_carried_states(trainer.model, carried)
        with fastnn.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def first_not_finite(trainer: Trainer) -> str:
    """The layer whose output, or else the parameter whose gradient, is not finite first, as
    the batch runs again; "" where none is."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def look(module: Module, args: object, output: object) -> None:
            if isinstance(output, Tensor) and not finite(output):
                found.append(f"{name or 'the model'} ({type(module).__name__})")

        return look

    leaves = [
        (name, module)
        for name, module in trainer.model.named_modules()
        if next(module.children(), None) is None
    ]
    handles = [m.register_forward_hook(watch(name)) for name, m in leaves]
    try:
        with again(trainer), fastnn.enable_grad():
            output = trainer.model(*trainer.inputs)
            if found:
                return found[0]
            named = [
                (name, p)
                for name, p in trainer.model.named_parameters()
                if p.requires_grad
            ]
            grads = fastnn.autograd.grad(
                trainer.loss(output, trainer.target),
                [p for _, p in named],
                allow_unused=True,
            )
    finally:
        for handle in handles:
            handle.remove()
    # backwards: the gradient that is wrong first is the last layer's
    for (name, _), g in reversed(list(zip(named, grads, strict=True))):
        if g is not None and not finite(g):
            return f"the gradient of {name}"
    return ""


def finite(x: Tensor) -> bool:
    """Whether every element is."""
    return not x.is_floating_point() or bool(all_finite(x.detach()).item())
