"""Bounds on gradients: on their norm, all together, or on each element; are they finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import fastnn
from fastnn._core import RowGradient, Tensor
from fastnn.nn.module import Module
from fastnn.ops import lists

Tensors = Tensor | Iterable[Tensor]  # a RowGradient wherever gradients are meant


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients by one factor where their common norm exceeds max_norm.

    g = g max_norm / (norm + 1e-6) where that is less than g. The norm is that of all
    gradients as one vector.

    Parameters:
        parameters : Tensor, or iterable of Tensors; those without .grad are passed over.
        max_norm : float >= 0.
        norm_type : float > 0, infinity included: p of the p-norm.
        error_if_nonfinite : bool: raise where the norm is infinite or NaN, instead of
            scaling by it.
        foreach : None, True or False ask for the same: there is one implementation.

    Returns: Tensor (): the norm before; 0 where there is no gradient.

    Raises: RuntimeError for a norm that is not finite, if asked; ValueError for a
        norm_type or max_norm out of range.

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural
        networks", 2013, section 3.2; the 1e-6 is PyTorch's.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.zeros(2))
        >>> w.grad = fastnn.tensor([3.0, 4.0])
        >>> fastnn.nn.utils.clip_grad_norm_([w], 1.0)
        tensor(5.)
        >>> w.grad
        tensor([0.6, 0.8])
    """
    grads = _gradients(_listed("clip_grad_norm_", parameters))
    norm = _norm("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    _scale("clip_grad_norm_", grads, max_norm, norm)
    return norm


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The p-norm of all tensors as one vector; see clip_grad_norm_.

    Parameters:
        tensors : Tensor, or iterable of Tensors.
        norm_type : float > 0, infinity included: p of the p-norm.
        error_if_nonfinite : bool: raise where the norm is infinite or NaN.
        foreach : None, True or False ask for the same: there is one implementation.

    Returns: Tensor (), in the widest dtype among the tensors; 0 where there are none.

    Raises: RuntimeError for a norm that is not finite, if asked; ValueError for a
        norm_type out of range.
    """
    found = _listed("get_total_norm", tensors)
    return _norm("get_total_norm", found, norm_type, error_if_nonfinite)


def clip_grads_with_norm_(
    parameters: Tensors,
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale all gradients as clip_grad_norm_ does, by a norm that is known.

    Parameters:
        parameters : Tensor, or iterable of Tensors; those without .grad are passed over.
        max_norm : float >= 0.
        total_norm : Tensor (), as get_total_norm gives it.
        foreach : None, True or False ask for the same: there is one implementation.
    """
    grads = _gradients(_listed("clip_grads_with_norm_", parameters))
    _scale("clip_grads_with_norm_", grads, max_norm, total_norm)


def all_finite(tensors: Tensors) -> Tensor:
    """Whether no element of any tensor is infinite or NaN; nothing is read out.

    Parameters:
        tensors : Tensor, or iterable of Tensors.

    Returns: Tensor (), bool; True where there are none.

    Example:
        >>> import fastnn
        >>> fastnn.nn.utils.all_finite([fastnn.ones(2), fastnn.tensor([float("inf")])])
        tensor(False)
    """
    return lists.all_finite(_listed("all_finite", tensors))


def clip_grad_value_(
    parameters: Tensors, clip_value: float, foreach: bool | None = None
) -> None:
    """Bring every element of every gradient into [-clip_value, clip_value]; NaN stays.

    Parameters:
        parameters : Tensor, or iterable of Tensors; those without .grad are passed over.
        clip_value : float >= 0.
        foreach : None, True or False ask for the same: there is one implementation.

    Raises: ValueError for a negative clip_value.

    Example:
        >>> import fastnn
        >>> w = fastnn.nn.Parameter(fastnn.zeros(2))
        >>> w.grad = fastnn.tensor([0.5, -7.0])
        >>> fastnn.nn.utils.clip_grad_value_(w, 1.0)
        >>> w.grad.tolist()
        [0.5, -1.0]
    """
    if not clip_value >= 0:
        raise ValueError(
            f"clip_grad_value_: expected clip_value of at least 0, got {clip_value}"
        )
    with fastnn.no_grad():
        for g in _gradients(_listed("clip_grad_value_", parameters)):
            g.detach().clamp_(-clip_value, clip_value)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    """What to measure and to change in place. Where rows took part more than once, their
    gradients are first added up, for neither norm nor bounds are linear."""
    found: list[Tensor] = []
    for p in parameters:
        g = p.grad
        if isinstance(g, RowGradient):
            p.grad = summed = g.summed()
            found.append(summed.values)
        elif g is not None:
            found.append(g)
    return found


def _listed(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Module):
        raise TypeError(
            f"{name}: expected Tensors, got a {type(tensors).__name__}; its parameters() "
            "are meant"
        )
    one = isinstance(tensors, Tensor | RowGradient)
    found: list[Any] = [tensors] if one else list(tensors)
    found = [x.summed().values if isinstance(x, RowGradient) else x for x in found]
    for x in found:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected Tensors, got {type(x).__name__}")
    return found


def _norm(
    name: str, tensors: list[Tensor], norm_type: float, error_if_nonfinite: bool
) -> Tensor:
    p = float(norm_type)
    if not p > 0:
        raise ValueError(f"{name}: expected norm_type above 0, got {norm_type}")
    with fastnn.no_grad():
        norm = lists.total_norm(tensors, p)
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise RuntimeError(
            f"{name}: expected gradients with a finite norm, got {norm.item()}; "
            "error_if_nonfinite=False scales by it all the same"
        )
    return norm


def _scale(name: str, grads: list[Tensor], max_norm: float, norm: Tensor) -> None:
    """Times max_norm / norm where that is below 1: a tensor, so that nothing is read. A
    factor of 1 changes no bit; a NaN goes into all gradients, as in PyTorch."""
    if not max_norm >= 0:
        raise ValueError(f"{name}: expected max_norm of at least 0, got {max_norm}")
    with fastnn.no_grad():
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        once = len({id(g) for g in grads}) == len(grads)
        for several in [grads] if once else [[g] for g in grads]:
            lists.scale_(several, factor)
