"""Containers: modules or parameters in a row, or by name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from fastnn._core import Tensor
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter

Self = TypeVar("Self", bound="_Row")


class _Container(Module):
    """Attributes of one kind, Module or Parameter, as the parts of a container."""

    _kind: ClassVar[type] = Module

    def _parts(self) -> list[Any]:
        kind = self._kind
        return [value for value in self.__dict__.values() if isinstance(value, kind)]

    def _names(self) -> list[str]:
        return [name for name, _ in self._own(self._kind)]

    def _put(self, name: Any, part: Any) -> None:
        setattr(self, name, self._fit(name, part))

    def _fit(self, name: Any, part: Any) -> Any:
        """The part, made a Parameter where one is wanted; raises where it does not fit."""
        what = type(self).__name__
        if self._kind is Parameter and isinstance(part, Tensor):
            part = part if isinstance(part, Parameter) else Parameter(part)
        if not isinstance(part, self._kind):
            hint = ""
            if isinstance(part, type) and issubclass(part, Module):
                hint = f"; {part.__name__}(...) makes one of the class"
            elif isinstance(part, list | tuple):
                hint = "; a star before a list gives its parts"
            raise TypeError(
                f"{what}: expected a {self._kind.__name__} at {name!r}, got "
                f"{type(part).__name__}{hint}"
            )
        self._check(what, name, part, self._kind)
        return part

    def __len__(self) -> int:
        return len(self._parts())

    def __repr__(self) -> str:
        if self._kind is Module:
            return super().__repr__()
        return self._describe(
            [f"({name}): {p.dtype!r} {p.shape}" for name, p in self._own(Parameter)]
        )


# ---- in a row ----


class _Row(_Container):
    """Parts called "0", "1", ... that are counted, cut and changed as a list's."""

    def __init__(self, parts: Iterable[Any] | None = None) -> None:
        super().__init__()
        if parts is not None:
            self.extend(parts)

    def append(self: Self, part: Any) -> Self:
        """Add one at the end; returns self."""
        name = str(len(self))
        if name in self.__dict__:  # a name of one's choice
            raise KeyError(f"{type(self).__name__}: {name!r} is taken by another part")
        self._put(name, part)
        return self

    def extend(self: Self, parts: Iterable[Any]) -> Self:
        """Add all, in order; returns self."""
        if not isinstance(parts, Iterable) or isinstance(parts, Tensor | str):
            raise TypeError(
                f"{type(self).__name__}: expected a list of {self._kind.__name__}, got "
                f"{type(parts).__name__}"
            )
        for part in list(parts):
            self.append(part)
        return self

    def _replace(self, parts: list[Any]) -> None:
        for name in self._names():
            delattr(self, name)
        self.extend(parts)

    def _at(self, index: Any) -> str:
        names = self._names()
        try:
            return names[operator.index(index)]
        except IndexError:
            raise IndexError(
                f"{type(self).__name__}: expected an index below {len(names)}, got "
                f"{index}"
            ) from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self._parts()[index])
        return self.__dict__[self._at(index)]

    def __setitem__(self, index: int, part: Any) -> None:
        self._put(self._at(index), part)

    def __iadd__(self: Self, parts: Iterable[Any]) -> Self:
        return self.extend(parts)


class _ModuleRow(_Row):
    """What Sequential and ModuleList share, and ParameterList lacks."""

    def insert(self: Self, index: int, module: Module) -> Self:
        """Put a module before the one at index, and number all anew; returns self."""
        parts = self._parts()
        if not -len(parts) <= index <= len(parts):
            raise IndexError(
                f"{type(self).__name__}: expected an index up to {len(parts)}, got "
                f"{index}"
            )
        parts.insert(index, self._fit("0", module))
        self._replace(parts)
        return self

    def pop(self, key: int) -> Module:
        """Take out the module at key, and number the others anew; returns it."""
        module: Module = self[key]
        del self[key]
        return module

    def __delitem__(self, index: int | slice) -> None:
        parts = self._parts()
        if not isinstance(index, slice):
            index = self._names().index(self._at(index))
        del parts[index]
        self._replace(parts)

    def __add__(self: Self, other: Iterable[Module]) -> Self:
        return type(self)().extend([*self, *other])


class Sequential(_ModuleRow):
    """y = f_n(... f_2(f_1(x))).

    Parameters:
        args : Modules in order, or one mapping of name to Module. Unnamed ones are
            called "0", "1", ...; taking one out or putting one between numbers all anew.

    Example:
        >>> from fastnn import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> len(net), net[0].out_features, list(net.state_dict())[-1]
        (3, 8, '2.bias')
        >>> net[:2].append(nn.Linear(8, 3))
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=3, bias=True)
        )
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self._put(name, module)
        else:
            self.extend(args)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._own(Module))[index]))
        return super().__getitem__(index)

    def forward(self, x: Any) -> Any:
        """Each module on the result of the one before."""
        for module in list(self.__dict__.values()):
            if isinstance(module, Module):
                x = module(x)
        return x


class ModuleList(_ModuleRow):
    """Modules in a list, whose parameters are found; forward() is for you to write.

    Parameters:
        modules : iterable of Module, or None.

    Example:
        >>> from fastnn import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        ...     def forward(self, x):
        ...         for layer in self.layers:
        ...             x = layer(x).relu() + x
        ...         return x
        >>> Net()
        Net(
          (layers): ModuleList(
            (0-2): 3 x Linear(in_features=4, out_features=4, bias=True)
          )
        )
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__(modules)

    def __repr__(self) -> str:
        runs: list[list[Any]] = []  # first number, last number, text
        for i, module in enumerate(self):
            if runs and runs[-1][2] == repr(module):
                runs[-1][1] = i
            else:
                runs.append([i, i, repr(module)])
        return self._describe(
            [
                f"({a}): {text}" if a == b else f"({a}-{b}): {b - a + 1} x {text}"
                for a, b, text in runs
            ]
        )


class ParameterList(_Row):
    """Parameters in a list, found as any attribute's; other float tensors become some.

    Parameters:
        values : iterable of Parameter or Tensor, or None.

    Example:
        >>> import fastnn
        >>> from fastnn import nn
        >>> scales = nn.ParameterList([fastnn.ones(3), fastnn.ones(4)])
        >>> [name for name, _ in scales.named_parameters()]
        ['0', '1']
    """

    _kind = Parameter

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__(values)


# ---- by name ----


class _Names(_Container):
    """Parts by names of one's choice, as a dict's."""

    def __init__(self, parts: Any = None) -> None:
        super().__init__()
        if parts is not None:
            self.update(parts)

    def update(self, parts: Any) -> None:
        """Add all of a mapping, or of pairs (name, part)."""
        for name, part in dict(parts).items():
            self._put(name, part)

    def keys(self) -> list[str]:
        """The names, in order."""
        return self._names()

    def values(self) -> list[Any]:
        """The parts, in order."""
        return self._parts()

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of name and part, in order."""
        return list(self._own(self._kind))

    def pop(self, key: str) -> Any:
        """Take out the part of that name; returns it."""
        part = self[key]
        delattr(self, key)
        return part

    def clear(self) -> None:
        """Take out all."""
        for name in self._names():
            delattr(self, name)

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(
                f"{type(self).__name__}: expected one of {self._names()}, got {key!r}"
            )
        return self.__dict__[key]

    def __setitem__(self, key: str, part: Any) -> None:
        self._put(key, part)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __contains__(self, key: object) -> bool:
        return key in self._names()


class ModuleDict(_Names):
    """Modules by name, whose parameters are found; forward() is for you to write.

    Parameters:
        modules : mapping of name to Module, pairs, or None.

    Example:
        >>> from fastnn import nn
        >>> heads = nn.ModuleDict({"digit": nn.Linear(8, 10), "parity": nn.Linear(8, 2)})
        >>> heads["parity"].out_features, list(heads)
        (2, ['digit', 'parity'])
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__(modules)


class ParameterDict(_Names):
    """Parameters by name, found as any attribute's; other float tensors become some.

    Parameters:
        parameters : mapping of name to Parameter or Tensor, pairs, or None.

    Example:
        >>> import fastnn
        >>> from fastnn import nn
        >>> nn.ParameterDict({"scale": fastnn.ones(3)})
        ParameterDict(
          (scale): fastnn.float32 (3,)
        )
    """

    _kind = Parameter

    def __init__(self, parameters: Any = None) -> None:
        super().__init__(parameters)
