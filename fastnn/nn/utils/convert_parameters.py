"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import fastnn
from fastnn._core import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all tensors in order, as one vector; gradients flow through it.

    Parameters:
        parameters : iterable of Tensors.

    Returns: Tensor (total number of elements,); fresh.

    Raises: ValueError where there are none.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Linear(4, 2)
        >>> tuple(fastnn.nn.utils.parameters_to_vector(layer.parameters()).shape)
        (10,)
    """
    return fastnn.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the elements of a vector into tensors, in order.

    Parameters:
        vec : Tensor (total number of elements,).
        parameters : iterable of Tensors, written in place.

    Raises: ValueError where the vector is longer or shorter than all of them; nothing
        then has changed.
    """
    targets = list(parameters)
    count = sum(p.numel() for p in targets)
    if not isinstance(vec, Tensor) or vec.shape != (count,):
        raise ValueError(
            f"vector_to_parameters: expected a Tensor of shape ({count},), got "
            f"{vec.shape if isinstance(vec, Tensor) else type(vec).__name__}"
        )
    with fastnn.no_grad():
        start = 0
        for p in targets:
            end = start + p.numel()
            p.copy_(vec[start:end].reshape(p.shape))
            start = end
