"""Module: the base class of layers and networks.

Parameters, buffers and children are the instance's own attributes, found by their type
in its __dict__ and in the order of assignment. There is no second registry to keep in
step, reading self.weight costs a plain attribute lookup, and a subclass that forgets
super().__init__() still works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.nn.parameter import Parameter

Self = TypeVar("Self", bound="Module")
Member = TypeVar("Member")


class LoadResult(NamedTuple):
    """What load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of every layer: subclass it, assign parts in __init__, write forward().

    Attributes that are a Parameter are its parameters, those that are a Module its
    children; register_buffer() names tensors that are saved but not trained.

    Example:
        >>> import fastnn
        >>> class Net(fastnn.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = fastnn.nn.Linear(4, 2)
        ...     def forward(self, x):
        ...         return self.fc(x).relu()
        >>> Net()
        Net(
          (fc): Linear(in_features=4, out_features=2, bias=True)
        )
        >>> [name for name, _ in Net().named_parameters()]
        ['fc.weight', 'fc.bias']
    """

    training: bool = True
    # Name of each buffer, and whether state_dict() saves it.
    _buffer_names: Mapping[str, bool] = {}

    def __init__(self) -> None:
        super().__init__()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        name = type(self).__name__
        raise NotImplementedError(f"{name}: expected a method forward(), found none")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # ---- attributes ----

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, Parameter) and not isinstance(value, Parameter | None):
            raise TypeError(
                f"{type(self).__name__}.{name}: expected a Parameter or None, got "
                f"{type(value).__name__}; to change its values use "
                f"{name}.copy_(...) under no_grad()"
            )
        if name in self._buffer_names and not isinstance(value, Tensor | None):
            raise TypeError(
                f"{type(self).__name__}.{name}: expected a Tensor or None for a "
                f"buffer, got {type(value).__name__}"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in self._buffer_names:
            self.__dict__["_buffer_names"] = {
                k: v for k, v in self._buffer_names.items() if k != name
            }

    def register_buffer(
        self, name: str, tensor: Tensor | None, persistent: bool = True
    ) -> None:
        """Make `tensor` an attribute that is saved with the module but not trained.

        Parameters:
            name : str: attribute name, without a dot.
            tensor : Tensor or None.
            persistent : bool: whether state_dict() saves it.

        Raises: KeyError where the name is no attribute name, or taken.

        Example:
            >>> import fastnn
            >>> m = fastnn.nn.Module()
            >>> m.register_buffer("mean", fastnn.zeros(3))
            >>> list(m.state_dict())
            ['mean']
        """
        if not name or "." in name:
            raise KeyError(
                f"register_buffer: expected a name without dots, got {name!r}"
            )
        if hasattr(self, name) and name not in self._buffer_names:
            raise KeyError(f"register_buffer: attribute {name!r} already exists")
        self.__dict__["_buffer_names"] = {**self._buffer_names, name: persistent}
        setattr(self, name, tensor)

    def _own(self, kind: type[Member]) -> Iterator[tuple[str, Member]]:
        for name, value in self.__dict__.items():
            if isinstance(value, kind):
                yield name, value

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return self._own(Parameter)

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._buffer_names:
            if self.__dict__[name] is not None:
                yield name, self.__dict__[name]

    # ---- walking ----

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names; a parent comes first.

        Parameters:
            prefix : str: put before each name.
            remove_duplicate : bool: a module reached twice is given once.
        """
        seen: set[int] = set()

        def walk(module: Module, path: str) -> Iterator[tuple[str, Module]]:
            if remove_duplicate:
                if id(module) in seen:
                    return
                seen.add(id(module))
            yield path, module
            for name, child in module._own(Module):
                yield from walk(child, f"{path}.{name}" if path else name)

        return walk(self, prefix)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, each once, with their names."""
        seen: set[int] = set()
        for name, child in self._own(Module):
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one, each once."""
        return (child for _, child in self.named_children())

    def _members(
        self,
        own: Callable[[Module], Iterator[tuple[str, Any]]],
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix, remove_duplicate)
        for path, module in walk if recurse else [(prefix, self)]:
            for name, value in own(module):
                if remove_duplicate:
                    if id(value) in seen:
                        continue
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters of this module and of all below it, with dotted names.

        Parameters:
            prefix : str: put before each name.
            recurse : bool: False gives this module's own only.
            remove_duplicate : bool: a parameter reached twice is given once.
        """
        own = Module._own_parameters
        return self._members(own, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and of all below it, each once."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers of this module and of all below it; as named_parameters."""
        return self._members(Module._own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and of all below it, each once."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    # ---- modes and gradients ----

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode on this module and all below it; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Set evaluation mode; the same as train(False)."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    # ---- saving and loading ----

    def state_dict(
        self, *, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Every parameter and persistent buffer by its dotted name.

        Parameters:
            prefix : str: put before each name, dot included.
            keep_vars : bool: the parameters themselves, not detached.

        Returns: dict of tensors that share memory with the module's.
        """
        out: dict[str, Tensor] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            start = f"{prefix}{path}." if path else prefix
            for name, value in module._own_saved():
                out[start + name] = value if keep_vars else value.detach()
        return out

    def _own_saved(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._own(Parameter)
        for name, value in self._own_buffers():
            if self._buffer_names[name]:
                yield name, value

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> LoadResult:
        """Copy values into this module's parameters and buffers, in place.

        Parameters:
            state_dict : mapping of dotted name to Tensor or NumPy array.
            strict : bool: whether the names must be exactly this module's.

        Returns: LoadResult(missing_keys, unexpected_keys).

        Raises: RuntimeError that lists every name and shape that does not match; the
            module then is as it was.
        """
        own = self.state_dict(keep_vars=True)
        values = {
            name: fastnn.from_numpy(v) if isinstance(v, np.ndarray) else v
            for name, v in state_dict.items()
        }
        missing = [name for name in own if name not in values]
        unexpected = [name for name in values if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        for name, target in own.items():
            value = values.get(name)
            if name not in values:
                continue
            if not isinstance(value, Tensor):
                problems.append(
                    f"{name}: expected a Tensor or array, got {type(value).__name__}"
                )
            elif tuple(value.shape) != tuple(target.shape):
                problems.append(
                    f"{name}: expected shape {tuple(target.shape)}, "
                    f"got {tuple(value.shape)}"
                )
        if problems:
            hint = (
                ""
                if len(missing) + len(unexpected) == 0 or not strict
                else ("\n  (strict=False loads what matches by name)")
            )
            raise RuntimeError(
                f"{type(self).__name__}.load_state_dict: the state does not fit:\n  "
                + "\n  ".join(problems)
                + hint
            )
        with fastnn.no_grad():
            for name, target in own.items():
                if name in values:
                    target.copy_(values[name])
        return LoadResult(missing, unexpected)

    # ---- text ----

    def extra_repr(self) -> str:
        """The arguments shown between the brackets of repr(); "" by default."""
        return ""

    def __repr__(self) -> str:
        head, extra = type(self).__name__, self.extra_repr()
        children = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._own(Module)
        ]
        if not children:
            return f"{head}({extra})"
        return "\n".join([f"{head}({extra}", *children, ")"])


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drop a tensor's gradient, or fill it with zeros."""
    grad = parameter.grad
    if grad is None:
        return
    if set_to_none:
        parameter.grad = None
    else:
        with fastnn.no_grad():
            grad.detach_().zero_()
