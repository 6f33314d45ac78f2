"""States that layers carry from batch to batch, for truncated backpropagation through time.

A module that carries has them in an attribute `carried`: a dict of names to tuples of
Tensors, which its calls write in place, zeros where there is no state. nn.RNN, LSTM and GRU
do with stateful=True; so can modules of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn.module import Module

Carried = dict[str, tuple[Tensor, ...]]
States = dict[str, dict[str, list[Tensor]]]


def _carriers(model: Module) -> Iterator[tuple[str, Any]]:
    """Every module that carries, with its dotted name."""
    for path, module in model.named_modules():
        if isinstance(getattr(module, "carried", None), dict):
            yield path, module


def reset_states(model: Module) -> None:
    """Let every layer that carries a state from batch to batch begin anew, from zeros.

    Trainer does so before each epoch, and keeps apart what evaluation carries.

    Parameters: model : Module, looked through with all below it.

    Example:
        >>> import fastnn
        >>> from fastnn import nn
        >>> layer = nn.GRU(2, 3, stateful=True)
        >>> first, _ = layer(fastnn.ones(4, 1, 2))
        >>> second, _ = layer(fastnn.ones(4, 1, 2))
        >>> nn.utils.reset_states(layer)
        >>> again, _ = layer(fastnn.ones(4, 1, 2))
        >>> (first == second).all().item(), (first == again).all().item()
        (False, True)
    """
    with fastnn.no_grad():
        for _, module in _carriers(model):
            for states in module.carried.values():
                for state in states:
                    state.zero_()


def carried_states(model: Module) -> States:
    """Copies of what the layers of a model carry, for load_carried_states(). state_dict()
    leaves it out: it belongs to the data that come next, not to the model.

    Parameters: model : Module, looked through with all below it.
    Returns: dict of a layer's dotted name to what it carries; fastnn.save takes it.
    """
    return {
        path: {
            key: [state.detach().clone() for state in states]
            for key, states in module.carried.items()
        }
        for path, module in _carriers(model)
    }


def load_carried_states(
    model: Module, states: Mapping[str, Mapping[str, Sequence[Tensor]]]
) -> None:
    """Let a model go on with what carried_states() has given.

    Parameters:
        model : Module with the same layers.
        states : what carried_states() has given; copied.

    Raises: ValueError for other layers; nothing has changed then.
    """
    own = dict(_carriers(model))
    if set(own) != set(states):
        raise ValueError(
            f"load_carried_states: expected states of {sorted(own) or 'no layer'}, got "
            f"{sorted(states) or 'none'}"
        )
    with fastnn.no_grad():
        for path, module in own.items():
            held = {
                key: tuple(state.detach().clone() for state in given)
                for key, given in states[path].items()
            }
            if {k: _form(v) for k, v in held.items()} != {
                k: _form(v) for k, v in module.carried.items()
            }:
                module.carried = held
                continue
            for key, tensors in module.carried.items():  # plans write into these
                for tensor, state in zip(tensors, held[key], strict=True):
                    tensor.copy_(state)


def _form(states: Sequence[Tensor]) -> list[tuple[tuple[int, ...], str]]:
    return [(tuple(state.shape), state.dtype.name) for state in states]


class Apart:
    """What a model carries while it is evaluated, besides what it carries in training.

    The tensors themselves are exchanged, the same ones every time, so that plans which
    write into either stay right.
    """

    def __init__(self) -> None:
        self._held: dict[Module, Carried] = {}

    @contextmanager
    def within(self, model: Module) -> Iterator[None]:
        """Have these in the model meanwhile, zeros at the beginning."""
        own = [(module, module.carried) for _, module in _carriers(model)]
        for module, _ in own:
            module.carried = self._held.get(module, {})
        reset_states(model)
        try:
            yield
        finally:
            self._held = {module: module.carried for module, _ in own}
            for module, carried in own:
                module.carried = carried
