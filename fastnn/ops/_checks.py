"""Checks of arguments that activations and losses share, and their words."""

from __future__ import annotations

from typing import Any

from fastnn._core import Tensor

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def class_of(value: Any) -> str:
    """The class of an argument that is no tensor of ours, said so that it is understood."""
    kind = type(value)
    if hasattr(value, "__dlpack__") and kind.__module__ != "numpy":
        module = kind.__module__.partition(".")[0]
        return f"{module}.{kind.__name__} (hint: fastnn.from_dlpack)"
    return kind.__name__


def number(name: str, argument: str, value: Any) -> float:
    """value as a float; TypeError unless it is a real number (a tensor is none)."""
    if type(value) is float:
        return value
    if isinstance(value, Tensor) or not hasattr(value, "__float__"):
        raise TypeError(
            f"{name}: expected {argument} as a number, got {type(value).__name__}"
        )
    return float(value)


def whole(name: str, argument: str, value: Any) -> int:
    """value as an int; TypeError unless it is an integer (bool is none)."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{name}: expected {argument} as an int, or one for each dimension, got "
            f"{class_of(value)}"
        )
    return int(value.__index__())


def each(
    name: str, argument: str, value: Any, dims: int, least: int | None = None
) -> tuple[int, ...]:
    """One int for each of `dims` dimensions, from one for all or a tuple or list; TypeError
    for others, ValueError for another number of them or one below `least`."""
    several = value if isinstance(value, tuple | list) else (value,)
    if len(several) == 1:
        several = (several[0],) * dims
    if len(several) != dims:
        raise ValueError(
            f"{name}: expected {argument} of {dims} numbers, got {len(several)}"
        )
    found = tuple(whole(name, argument, v) for v in several)
    for v in found:
        if least is not None and v < least:
            raise ValueError(
                f"{name}: expected {argument} of at least {least}, got {v}"
            )
    return found


def reduction_code(name: str, reduction: str) -> int:
    """The table's code of a reduction; ValueError for another word."""
    code = REDUCTIONS.get(reduction)
    if code is None:
        raise ValueError(
            f"{name}: expected reduction 'none', 'mean' or 'sum', got {reduction!r}"
        )
    return code


def expect_tensors(name: str, **arguments: Any) -> None:
    """TypeError unless every argument is a Tensor."""
    hint = " (hint: fastnn.from_numpy or fastnn.tensor)"
    for argument, value in arguments.items():
        if not isinstance(value, Tensor):
            got = class_of(value)
            got += "" if "hint" in got else hint
            raise TypeError(f"{name}: expected {argument} as a tensor, got {got}")


def expect_pair(name: str, input: Any, target: Any) -> None:
    """TypeError unless input is a float tensor and target a tensor; ValueError where
    their shapes differ, which would broadcast unseen."""
    if not (isinstance(input, Tensor) and isinstance(target, Tensor)):
        expect_tensors(name, input=input, target=target)
    if not input.is_floating_point():
        raise TypeError(
            f"{name}: expected input of dtype float32 or float64, got "
            f"{input.dtype.name} (hint: input.float())"
        )
    if input.shape != target.shape:
        fits = input.numel() == target.numel()
        raise ValueError(
            f"{name}: expected input and target of equal shapes, got {input.shape} and "
            f"{target.shape} (hint: target."
            f"{'reshape' if fits else 'expand'}(input.shape))"
        )
