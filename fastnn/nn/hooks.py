"""Hooks: functions called before and after a module's forward().

All hooks of a module are one dict, its `_hooks`; a module without any shares the class's
empty one, so that calling it costs a single test.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn._core import touch_structure
from fastnn.ops import _record

if TYPE_CHECKING:
    from fastnn.nn.module import Module

_numbers = itertools.count()


class Hook(NamedTuple):
    """One registered hook: the function, and when and how it is called."""

    function: Callable[..., Any]
    before: bool
    with_kwargs: bool
    always_call: bool = False


class RemovableHandle:
    """What registering a hook returns; remove(), or the end of a with block, undoes it.

    Parameters:
        hooks : dict of number to Hook that gets one more entry.
        hook : the entry.
        prepend : bool: put it before those that are there.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.ReLU()
        >>> with layer.register_forward_hook(lambda module, args, y: print(y.tolist())):
        ...     y = layer(fastnn.tensor([-1.0, 1.0]))
        [0.0, 1.0]
        >>> y = layer(fastnn.tensor([-1.0, 1.0]))
    """

    def __init__(
        self, hooks: dict[int, Hook], hook: Hook, prepend: bool = False
    ) -> None:
        touch_structure()
        self._hooks, self._number = hooks, next(_numbers)
        others = list(hooks.items()) if prepend else []
        if prepend:
            hooks.clear()
        hooks[self._number] = hook
        hooks.update(others)

    def remove(self) -> None:
        """Take the hook off; more than once is harmless."""
        touch_structure()
        self._hooks.pop(self._number, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def call_with_hooks(
    module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """module.forward(*args, **kwargs) between the module's hooks.

    A hook before may return other arguments, one after another result.

    Raises: what forward() or a hook raises, once the hooks that are always called were
        called; RuntimeError for a hook before that returns no pair (args, kwargs).
    """
    if _record.active is not None:
        _record.active.effect(f"a forward hook of {type(module).__name__} was called")
    hooks = list(module._hooks.values())  # a hook may remove itself
    after = [hook for hook in hooks if not hook.before]
    result = None
    try:
        for hook in hooks:
            if hook.before:
                args, kwargs = _call_before(hook, module, args, kwargs)
        result = module.forward(*args, **kwargs)
        while after:
            new = _call_after(after.pop(0), module, args, kwargs, result)
            result = result if new is None else new
        return result
    except BaseException:
        for hook in after:
            if hook.always_call:
                try:
                    new = _call_after(hook, module, args, kwargs, result)
                    result = result if new is None else new
                except Exception as error:  # the first error is the one to tell
                    warnings.warn(
                        f"{type(module).__name__}: a forward hook raised {error!r} "
                        "while another error was on its way",
                        stacklevel=2,
                    )
        raise


def _call_before(
    hook: Hook, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not hook.with_kwargs:
        new = hook.function(module, args)
        if new is None:
            return args, kwargs
        return (new if isinstance(new, tuple) else (new,)), kwargs
    new = hook.function(module, args, kwargs)
    if new is None:
        return args, kwargs
    if not (isinstance(new, tuple) and len(new) == 2):
        raise RuntimeError(
            f"{type(module).__name__}: expected a forward pre-hook with kwargs to return "
            f"None or (args, kwargs), got {new!r}"
        )
    return new


def _call_after(
    hook: Hook,
    module: Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,
) -> Any:
    if hook.with_kwargs:
        return hook.function(module, args, kwargs, result)
    return hook.function(module, args, result)
