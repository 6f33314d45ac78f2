"""Loading a state into a module: what fits, what does not, and what may have been meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastnn
from fastnn._core import Tensor
from fastnn.nn.parameter import Parameter

if TYPE_CHECKING:
    from fastnn.nn.module import Module


class LoadResult(NamedTuple):
    """What load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(
    module: Module, state_dict: Mapping[str, Any], strict: bool, assign: bool
) -> LoadResult:
    """Module.load_state_dict."""
    name = f"{type(module).__name__}.load_state_dict"
    if not isinstance(state_dict, Mapping):
        hint = "; fastnn.load reads files" if isinstance(state_dict, str) else ""
        raise TypeError(
            f"{name}: expected a mapping of names to tensors, got "
            f"{type(state_dict).__name__}{hint}"
        )
    own = module.state_dict(keep_vars=True)
    values = {
        key: fastnn.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in state_dict.items()
    }
    missing = [key for key in own if key not in values]
    unexpected = [key for key in values if key not in own]
    problems = []
    if strict and missing:
        problems.append(f"missing: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
    for key, target in own.items():
        if key in values:
            problems += _misfit(key, target, values[key])
    if problems:
        if strict and (missing or unexpected):
            problems += _hints(missing, unexpected)
            problems.append("(strict=False loads what matches by name)")
        raise RuntimeError("\n  ".join([f"{name}: the state does not fit:", *problems]))
    if assign:
        _assign(module, values)
    else:
        with fastnn.no_grad():
            for key, target in own.items():
                if key in values:
                    target.copy_(values[key])
    return LoadResult(missing, unexpected)


def _misfit(key: str, target: Tensor, value: Any) -> list[str]:
    if not isinstance(value, Tensor):
        return [f"{key}: expected a Tensor or array, got {type(value).__name__}"]
    if value.shape != target.shape:
        return [f"{key}: expected shape {target.shape}, got {value.shape}"]
    if target.requires_grad and not value.is_floating_point():
        return [f"{key}: expected float32 or float64, got {value.dtype.name}"]
    return []


def _hints(missing: list[str], unexpected: list[str]) -> list[str]:
    """What may have been meant: a prefix too many or too few, or names alike."""
    names = [key for key in unexpected if isinstance(key, str)]
    if missing and names:
        for longer, shorter, hint in (
            (names, missing, "the state's names begin with {0!r}; take it off: "
             "{{k.removeprefix({0!r}): v for k, v in state_dict.items()}}"),
            (missing, names, "the module's names begin with {0!r}; put it before the "
             "state's: {{{0!r} + k: v for k, v in state_dict.items()}}"),
        ):  # fmt: skip
            # The longest of one side ends as one of the other side does, or none does.
            ends = [k for k in shorter if longer[0].endswith("." + k)]
            prefix = longer[0][: -len(max(ends, key=len))] if ends else ""
            if prefix and {k.removeprefix(prefix) for k in longer} & set(shorter):
                return [f"hint: {hint.format(prefix)}"]
    from difflib import get_close_matches  # here: only an error needs it

    near = [(key, get_close_matches(key, names, 1, 0.8)) for key in missing]
    alike = [f"{found[0]!r} for {key!r}" for key, found in near if found]
    return [f"hint: is it {', '.join(alike)}?"] if alike else []


def _assign(module: Module, values: dict[str, Any]) -> None:
    """Make the values themselves the module's; what was shared stays shared."""
    new: dict[int, Tensor] = {}
    found = [
        (owner, name, target, values[f"{path}.{name}" if path else name])
        for path, owner in module.named_modules(remove_duplicate=False)
        for name, target in owner._own_saved()
        if (f"{path}.{name}" if path else name) in values
    ]
    for _, _, target, value in found:
        if isinstance(target, Parameter):
            if not isinstance(value, Parameter):
                value = Parameter(value.detach(), target.requires_grad)
            value.requires_grad_(target.requires_grad)
        new[id(target)] = value
    for owner, name, target, _ in found:
        setattr(owner, name, new[id(target)])
