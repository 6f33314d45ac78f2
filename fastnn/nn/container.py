"""Sequential: modules one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastnn.nn.module import Module


class Sequential(Module):
    """y = f_n(... f_2(f_1(x))).

    Parameters:
        args : Modules in order, or one mapping of name to Module. Unnamed ones are
            called "0", "1", ...

    Example:
        >>> from fastnn import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> len(net), net[0].out_features, list(net.state_dict())[-1]
        (3, 8, '2.bias')
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            named = list(args[0].items())
        else:
            named = [(str(i), module) for i, module in enumerate(args)]
        for name, module in named:
            self._add(name, module)

    def _add(self, name: str, module: Any) -> None:
        if not isinstance(module, Module):
            raise TypeError(
                f"Sequential: expected a Module at {name!r}, got "
                f"{type(module).__name__}"
            )
        if not name or "." in name or hasattr(self, name):
            raise KeyError(f"Sequential: {name!r} is taken, or cannot name a module")
        setattr(self, name, module)

    def forward(self, x: Any) -> Any:
        """Each module on the result of the one before."""
        for module in self:
            x = module(x)
        return x

    def append(self, module: Module) -> Sequential:
        """Add a module at the end; returns self."""
        self._add(str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._own(Module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._own(Module))[index]))
        return list(self)[index]
