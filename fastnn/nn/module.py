"""Module: the base class of layers and networks.

Parameters, buffers and children are the instance's own attributes, found by their type
in its __dict__ and in the order of assignment. There is no second registry to keep in
step, reading self.weight costs a plain attribute lookup, and a subclass that forgets
super().__init__() still works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import fastnn
from fastnn._core import Tensor, touch_structure
from fastnn.nn._state import LoadResult, load
from fastnn.nn.hooks import Hook, RemovableHandle, call_with_hooks
from fastnn.nn.parameter import Parameter, clear_grad, convert
from fastnn.ops import _record

if TYPE_CHECKING:
    from fastnn.nn.summary import Summary

Self = TypeVar("Self", bound="Module")
Member = TypeVar("Member")


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
    # A module that has hooks has a dict of its own; see hooks.py.
    _hooks: Mapping[int, Hook] = {}

    def __init__(self) -> None:
        super().__init__()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        name = type(self).__name__
        raise NotImplementedError(f"{name}: expected a method forward(), found none")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _record.active is not None:
            _record.active.uses(self)
        if self._hooks:
            return call_with_hooks(self, args, kwargs)
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
        if isinstance(old, Module) and not isinstance(value, Module | Parameter | None):
            raise TypeError(
                f"{type(self).__name__}.{name}: expected a Module or None, got "
                f"{type(value).__name__}"
            )
        if name in self._buffer_names:
            if isinstance(value, Parameter):
                self._forget_buffer(name)
            elif not isinstance(value, Tensor | None):
                raise TypeError(
                    f"{type(self).__name__}.{name}: expected a Tensor or None for a "
                    f"buffer, got {type(value).__name__}"
                )
        if old is not value or name not in self.__dict__:
            _changed(f"attribute {name!r} of {type(self).__name__} was set")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        _changed(f"attribute {name!r} of {type(self).__name__} was deleted")
        self._forget_buffer(name)

    def _forget_buffer(self, name: str) -> None:
        if name in self._buffer_names:
            self.__dict__["_buffer_names"] = {
                k: v for k, v in self._buffer_names.items() if k != name
            }

    def _check(self, what: str, name: Any, value: Any, kind: type) -> None:
        """Raise unless the name is free and the value of that kind, or None."""
        if not isinstance(name, str):
            raise TypeError(f"{what}: expected a name, got {name!r}")
        if not name or "." in name:
            raise KeyError(f"{what}: expected a name without dots, got {name!r}")
        if kind is Tensor:
            free = name in self._buffer_names
        else:  # one of the kind may be replaced, and one that was left out be filled in
            free = isinstance(self.__dict__.get(name), kind | None)
            free = free and name in self.__dict__
        if hasattr(self, name) and not free:
            raise KeyError(f"{what}: {name!r} is taken by another attribute")
        if not isinstance(value, kind | None):
            raise TypeError(
                f"{what}: expected a {kind.__name__} or None at {name!r}, got "
                f"{type(value).__name__}"
            )

    def register_buffer(
        self, name: str, tensor: Tensor | None, persistent: bool = True
    ) -> None:
        """Make `tensor` an attribute that is saved with the module but not trained.

        Parameters:
            name : str: attribute name, without a dot.
            tensor : Tensor or None.
            persistent : bool: whether state_dict() saves it.

        Raises: KeyError where the name is no attribute name, or taken; TypeError for what
            is no Tensor.

        Example:
            >>> import fastnn
            >>> m = fastnn.nn.Module()
            >>> m.register_buffer("mean", fastnn.zeros(3))
            >>> list(m.state_dict())
            ['mean']
        """
        self._check("register_buffer", name, tensor, Tensor)
        self.__dict__["_buffer_names"] = {**self._buffer_names, name: persistent}
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make `param` the attribute `name`; as assigning it, with the name checked.

        Parameters:
            name : str: attribute name, without a dot.
            param : Parameter, or None for one that is left out.

        Raises: KeyError where the name is no attribute name, or taken; TypeError for what
            is no Parameter.
        """
        self._check("register_parameter", name, param, Parameter)
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Make `module` the attribute `name`; as assigning it, with the name checked.

        Parameters:
            name : str: attribute name, without a dot.
            module : Module or None.

        Raises: KeyError where the name is no attribute name, or taken; TypeError for what
            is no Module.

        Example:
            >>> import fastnn
            >>> net = fastnn.nn.Module()
            >>> net.add_module("fc", fastnn.nn.Linear(2, 3))
            >>> net.fc.out_features
            3
        """
        self._check("add_module", name, module, Module)
        setattr(self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as add_module."""
        self.add_module(name, module)

    def _own(self, kind: type[Member]) -> Iterator[tuple[str, Member]]:
        for name, value in list(self.__dict__.items()):  # the loop may set attributes
            if isinstance(value, kind):
                yield name, value

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return self._own(Parameter)

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._buffer_names:
            if self.__dict__[name] is not None:
                yield name, self.__dict__[name]

    def _own_saved(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._own(Parameter)
        for name, value in self._own_buffers():
            if self._buffer_names[name]:
                yield name, value

    # ---- parts by their dotted names ----

    def get_submodule(self, target: str) -> Module:
        """The module of that dotted name, as named_modules() gives it; "" is this one.

        Parameters:
            target : str, such as "encoder.0".

        Raises: AttributeError where no module has that name.

        Example:
            >>> from fastnn import nn
            >>> nn.Sequential(nn.Sequential(nn.ReLU())).get_submodule("0.0")
            ReLU()
        """
        return self._get("get_submodule", target, Module) if target else self

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of that dotted name; AttributeError where there is none."""
        return self._get("get_parameter", target, Parameter)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of that dotted name; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        if name not in self.get_submodule(path)._buffer_names:
            raise AttributeError(f"get_buffer: no buffer {target!r}")
        return self._get("get_buffer", target, Tensor)

    def _get(self, what: str, target: str, kind: type[Member]) -> Member:
        value: Any = self
        for name in target.split("."):
            value = value.__dict__.get(name) if isinstance(value, Module) else None
        if not isinstance(value, kind):
            raise AttributeError(
                f"{what}: expected the name of a {kind.__name__} in "
                f"{type(self).__name__}, got {target!r}"
            )
        return value

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

    # ---- calls ----

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call hook(module, args, output) after each forward().

        Parameters:
            hook : function; what it returns replaces the output, unless it is None.
            prepend : bool: before the hooks that are there, not after them.
            with_kwargs : bool: hook(module, args, kwargs, output) instead.
            always_call : bool: also where forward() or another hook raises.

        Returns: a handle with remove(), which is also a context manager.

        Example:
            >>> import fastnn
            >>> layer = fastnn.nn.Linear(2, 3)
            >>> shapes = []
            >>> handle = layer.register_forward_hook(
            ...     lambda module, args, output: shapes.append(output.shape))
            >>> y = layer(fastnn.ones(4, 2))
            >>> handle.remove()
            >>> shapes
            [(4, 3)]
        """
        return self._hook(Hook(hook, False, with_kwargs, always_call), prepend)

    def register_forward_pre_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
    ) -> RemovableHandle:
        """Call hook(module, args) before each forward().

        Parameters:
            hook : function; what it returns, a tuple or a single value, replaces the
                arguments, unless it is None.
            prepend : bool: before the hooks that are there, not after them.
            with_kwargs : bool: hook(module, args, kwargs) instead, which returns None or
                (args, kwargs).

        Returns: a handle with remove(), which is also a context manager.
        """
        return self._hook(Hook(hook, True, with_kwargs), prepend)

    def _hook(self, hook: Hook, prepend: bool) -> RemovableHandle:
        if not callable(hook.function):
            raise TypeError(f"forward hook: expected a function, got {hook.function!r}")
        hooks: dict[int, Hook] = self.__dict__.setdefault("_hooks", {})
        return RemovableHandle(hooks, hook, prepend)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call fn(module) on every module below this one, then on this one.

        Parameters:
            fn : function of a Module; what it returns is dropped.

        Returns: the module.

        Example:
            >>> import fastnn
            >>> from fastnn import nn
            >>> def init(module):
            ...     if isinstance(module, nn.Linear):
            ...         nn.init.ones_(module.weight)
            >>> nn.Sequential(nn.Linear(1, 2)).apply(init)[0].weight.tolist()
            [[1.0], [1.0]]
        """
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- modes and gradients ----

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and, by their own train(), below; returns the module."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: expected True or False, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Set evaluation mode; the same as train(False)."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Whether backward() fills .grad of the parameters; returns the module.

        Parameters:
            requires_grad : bool: False freezes every parameter here and below.
        """
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    # ---- dtypes and devices ----

    def to(
        self: Self,
        *args: Any,
        device: Any = None,
        dtype: Any = None,
        non_blocking: bool = False,
    ) -> Self:
        """Convert floating parameters, their gradients and floating buffers, in place.

        The parameters stay the same objects, so an optimizer may be made before or after;
        but before its first step, for what it has gathered keeps its dtype.

        Parameters:
            args : a dtype, a device, or a Tensor whose dtype is meant, as in PyTorch.
            device : "cpu"; there is no other.
            dtype : float32 or float64; None keeps what is there.
            non_blocking : bool; nothing is ever moved, so there is nothing to wait for.

        Returns: the module.

        Raises: TypeError for a dtype that is not floating; RuntimeError for a device that
            is not there.

        Example:
            >>> import fastnn
            >>> layer = fastnn.nn.Linear(2, 2).to("cpu", fastnn.float64)
            >>> layer.weight.dtype
            fastnn.float64
        """
        for a in args:
            if isinstance(a, Tensor):
                dtype = a.dtype
            elif isinstance(a, str | fastnn.device):
                device = a
            elif not isinstance(a, bool | None):
                dtype = a
        if device is not None:
            fastnn.device(str(device))
        if dtype is not None:
            dtype = fastnn.empty(0, dtype=dtype).dtype
            if not dtype.is_floating_point:
                raise TypeError(f"to: expected float32 or float64, got {dtype.name}")
            for tensor in [*self.parameters(), *self.buffers()]:
                if tensor.is_floating_point():
                    convert(tensor, dtype)
        return self

    def type(self: Self, dst_type: Any) -> Self:
        """Convert all parameters and buffers, integer buffers too; returns the module."""
        self.to(dst_type)
        for buffer in self.buffers():
            convert(buffer, fastnn.empty(0, dtype=dst_type).dtype)
        return self

    def float(self: Self) -> Self:
        """The same as to(float32)."""
        return self.to(fastnn.float32)

    def double(self: Self) -> Self:
        """The same as to(float64)."""
        return self.to(fastnn.float64)

    def cpu(self: Self) -> Self:
        """The module: it lives on the CPU."""
        return self

    def cuda(self: Self, device: Any = None) -> Self:
        """Raises RuntimeError: this build has no backend but the CPU."""
        return self.to("cuda")

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

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> LoadResult:
        """Copy values into this module's parameters and buffers, in place.

        Parameters:
            state_dict : mapping of dotted name to Tensor or NumPy array.
            strict : bool: whether the names must be exactly this module's.
            assign : bool: take over the given tensors themselves, with their dtypes,
                instead of copying; whether a gradient is wanted stays as it was. Make
                the optimizer afterwards.

        Returns: LoadResult(missing_keys, unexpected_keys).

        Raises: RuntimeError that lists every name and shape that does not match; the
            module then is as it was.
        """
        return load(self, state_dict, strict, assign)

    # ---- text ----

    def extra_repr(self) -> str:
        """The arguments shown between the brackets of repr(); "" by default."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}" for name, child in self._own(Module)]
        return self._describe(children)

    def _describe(self, parts: list[str]) -> str:
        """The class and its arguments, and below them the parts, indented."""
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not parts:
            return f"{head})"
        return "\n  ".join([head, *(p.replace("\n", "\n  ") for p in parts)]) + "\n)"

    def summary(self, input_shape: Any, *, dtype: Any = None) -> Summary:
        """The layers of this network, with shapes, parameters and the work they do.

        One sample of zeros is run in evaluation mode, without gradients; modes and the
        generator are then as before.

        Parameters:
            input_shape : shape of one sample, without the batch dimension, such as
                (784,); a list of shapes where forward() takes several inputs.
            dtype : of the input, or a list of them; None is that of the first parameter,
                or float32.

        Returns: Summary; print() shows it as a table.

        Example:
            >>> from fastnn import nn
            >>> net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
            >>> summary = net.summary((784,))
            >>> summary.parameters, summary.multiply_adds
            (101770, 101632)
        """
        from fastnn.nn.summary import summarize  # here: it needs this file

        return summarize(self, input_shape, dtype)


def _changed(what: str) -> None:
    """Compiled functions look again at the modules that they use."""
    touch_structure()
    if _record.active is not None:
        _record.active.effect(what)
