"""Random numbers: a generator whose state is a tensor, and the ops that draw from it.

Numbers come from Philox4x32-10, indexed by element: a draw depends on the seed and on how
much was drawn before, never on threads or CPU.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn._core import dtype_number, float32, float64, int64, tensor_from
from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
)
from fastnn.ops.creation import full, on
from fastnn.ops.views import sizes

_uniform, _normal, _permutation = op("uniform"), op("normal"), op("permutation")
_bernoulli = op("bernoulli")
_dropout, _where, _mul, _copy_ = op("dropout"), op("where"), op("mul"), op("copy_")


class Generator:
    """A source of random numbers.

    Parameters: seed : int, taken modulo 2^64; None draws one from the system.
    Attributes: state : Tensor int64 (2,), seed and next counter block; the ops advance it.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.state: Tensor = tensor_from(np.zeros(2, np.int64), None, True)
        self.manual_seed(
            int.from_bytes(os.urandom(8), "little") if seed is None else seed
        )

    def manual_seed(self, seed: int) -> Generator:
        """Starts over from seed (int); returns self."""
        if not isinstance(seed, (int, np.integer)):
            raise TypeError(f"manual_seed: expected an integer, got {seed!r}")
        word = np.array([int(seed) % 2**64, 0], dtype=np.uint64).view(np.int64)
        _copy_(self.state, tensor_from(word, None, False))
        return self

    def initial_seed(self) -> int:
        """The seed in force (int)."""
        return int(self.state[0]) % 2**64

    def get_state(self) -> Tensor:
        """A copy of the state."""
        return self.state.clone()

    def set_state(self, state: Tensor) -> Generator:
        """Goes on from a state that get_state gave; returns self."""
        if state.dtype is not int64 or state.shape != (2,):
            raise ValueError(
                f"set_state: expected int64 of shape (2,), got {state.dtype.name} {state.shape}"
            )
        _copy_(self.state, state)
        return self


default_generator = Generator(0)


@public()
def manual_seed(seed: int) -> Generator:
    """Seeds the default generator (int); returns it. Without it the seed is 0."""
    return default_generator.manual_seed(seed)


@public()
def get_rng_state() -> Tensor:
    """A copy of the default generator's state (int64, (2,))."""
    return default_generator.get_state()


@public()
def set_rng_state(state: Tensor) -> None:
    """Sets the default generator's state to one that get_rng_state gave."""
    default_generator.set_state(state)


_here = threading.local()  # generator: what stands for the default one on a thread


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """What draws without a generator of its own on this thread takes this one."""
    before = getattr(_here, "generator", None)
    _here.generator = generator
    try:
        yield
    finally:
        _here.generator = before


def _state(generator: Generator | None) -> Tensor:
    if generator is None:
        generator = getattr(_here, "generator", None) or default_generator
    return generator.state


@public()
def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1) of shape size; float32 unless dtype says float64."""
    on(device)
    return uniform(sizes(size), generator=generator, dtype=dtype).requires_grad_(
        requires_grad
    )


@public()
def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers, mean 0 and deviation 1, of shape size; float32 unless float64."""
    on(device)
    return normal(
        0.0, 1.0, sizes(size), generator=generator, dtype=dtype
    ).requires_grad_(requires_grad)


@public()
def uniform(
    size: Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
) -> Tensor:
    """Uniform numbers in [low, high) of shape size; fresh. float32 unless float64."""
    if not (low <= high and high - low < math.inf):
        raise ValueError(
            f"uniform: expected finite limits, low <= high, got {low} and {high}"
        )
    code = dtype_number(float32 if dtype is None else dtype)
    return _uniform(_state(generator), tuple(size), low, high, code)


@public()
def normal(
    mean: float,
    std: float,
    size: Sequence[int],
    *,
    generator: Generator | None = None,
    dtype: Any = None,
) -> Tensor:
    """Normal numbers of that mean and standard deviation (Box and Muller); fresh.

    Raises: ValueError for a negative std.
    """
    if std < 0:
        raise ValueError(f"normal: expected std of at least 0, got {std}")
    code = dtype_number(float32 if dtype is None else dtype)
    return _normal(_state(generator), tuple(size), mean, std, code)


@public()
def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1) of input's shape, and dtype unless given."""
    dtype = input.dtype if dtype is None else dtype
    return rand(
        input.shape,
        generator=generator,
        dtype=dtype,
        device=device,
        requires_grad=requires_grad,
    )


@public()
def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers, mean 0 and deviation 1, of input's shape, and dtype unless given."""
    dtype = input.dtype if dtype is None else dtype
    return randn(
        input.shape,
        generator=generator,
        dtype=dtype,
        device=device,
        requires_grad=requires_grad,
    )


@public()
def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers, each of low to high - 1 as likely; randint(high, size) counts from 0.

    Parameters: low, high : int, high - low from 1 to 2^53. size : shape. dtype : int64
        unless given.
    Raises: ValueError where high is not above low.
    Example:
        >>> fastnn.randint(10, (2, 3)).shape
        (2, 3)
    """
    on(device)
    if size is None or isinstance(high, (tuple, list)):
        if size is not None:
            raise TypeError("randint: expected low, high, size or high, size")
        low, high, size = 0, low, high
    whole = all(isinstance(n, (int, np.integer)) for n in (low, high))
    if not whole or not isinstance(size, (tuple, list)):
        raise TypeError(
            "randint: expected integers low and high, and a size as a tuple"
        )
    if not 1 <= high - low <= 2**53:
        raise ValueError(
            f"randint: expected high above low, by at most 2^53, got {low} and {high}"
        )
    # u n with u below 1 stays below n: u is a multiple of 2^-53, and n fits 53 bits
    u = _uniform(_state(generator), tuple(size), 0.0, 1.0, float64.code)
    y: Tensor = _mul(u, float(high - low)).long()
    y = y + low if low else y
    return y.to(int64 if dtype is None else dtype).requires_grad_(requires_grad)


@public(method=True)
def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with probability input, else 0, for each element.

    Parameters: input : float Tensor, 0 to 1. Returns: input's shape and dtype; fresh.
    Raises: ValueError for a probability out of range; TypeError for integers.
    """
    if not input.is_floating_point():
        raise TypeError(
            f"bernoulli: expected probabilities as floats, got {input.dtype.name}"
        )
    return _bernoulli(_state(generator), input.detach())


@public(method=True, function=False)
def bernoulli_(
    self: Tensor, p: Tensor | float = 0.5, *, generator: Generator | None = None
) -> Tensor:
    """Fills self with 1 with probability p (number or Tensor, 0 to 1), else 0; returns self."""
    if not isinstance(p, Tensor):
        p = full(self.shape, float(p), dtype=float64)
    return _copy_(self, bernoulli(p.expand(self.shape), generator=generator))


@public(method=True)
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """num_samples classes for each row of weights, each as likely as its weight says.

    Parameters: input : float Tensor (n,) or (rows, n), weights of at least 0, not all 0;
        they need not add up to 1. replacement : whether a class may come again.
    Returns: (num_samples,) or (rows, num_samples), int64; fresh.
    Raises: ValueError for bad weights, or more samples than classes with a weight.
    Source: without replacement, the largest of weight / exponential variate (Efraimidis
        and Spirakis, Inf. Process. Lett. 97 (2006), 181-185).
    """
    if not input.is_floating_point() or input.ndim not in (1, 2):
        raise ValueError(
            "multinomial: expected float weights (n,) or (rows, n), got "
            f"{input.dtype.name} {input.shape}"
        )
    w = input.detach().double()
    good = w.ge(0).mul(w.lt(math.inf))
    if not bool(good.all()) or not bool(w.sum(-1).gt(0).all()):
        raise ValueError(
            "multinomial: expected finite weights of at least 0, with a sum above 0"
        )
    if num_samples < 1:
        raise ValueError(f"multinomial: expected 1 sample at least, got {num_samples}")
    if replacement:
        running = w.cumsum(-1)
        size = (*w.shape[:-1], num_samples, 1)
        u = rand(*size, generator=generator, dtype=float64)
        return u.mul(running[..., None, -1:]).ge(running.unsqueeze(-2)).sum(-1)
    if num_samples > int(w.gt(0).sum(-1).amin()):
        raise ValueError(
            "multinomial: expected no more samples than classes with a weight above 0, "
            f"got {num_samples} (hint: replacement=True)"
        )
    variate = rand_like(w, generator=generator).neg().log1p().neg()
    chosen: Tensor = w.div(variate.clamp_min(1e-300)).topk(num_samples, -1).indices
    return chosen


@public()
def randperm(
    n: int, *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """The integers 0 to n - 1 in random order (int64, (n,)); fresh."""
    on(device)
    return _permutation(_state(generator), n)


@public(method=True, function=False)
def uniform_(
    self: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills self with uniform numbers in [a, b); returns self."""
    return _copy_(
        self, uniform(self.shape, a, b, generator=generator, dtype=self.dtype)
    )


@public(method=True, function=False)
def normal_(
    self: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Fills self with normal numbers; returns self."""
    return _copy_(
        self, normal(mean, std, self.shape, generator=generator, dtype=self.dtype)
    )


@public()
def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Each element 0 with probability p, else divided by 1 - p; input itself in evaluation.

    Parameters: input : float Tensor. p : probability, 0 to 1.
    Returns: input's shape and dtype; fresh.
    Gradient: gy / (1 - p) where kept, else 0.
    Raises: ValueError for p out of range; TypeError for integers.
    Source: Srivastava et al., JMLR 15 (2014), 1929-1958 (inverted).
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected p from 0 to 1, got {p}")
    if not training or p == 0:
        return input
    return _dropout(_state(generator), input, p)[0]


def _channels(
    input: Tensor,
    p: float,
    inplace: bool,
    generator: Generator | None,
) -> Tensor:
    """input (n, c, ...) with each channel 0 with probability p, else over 1 - p."""
    each = full((*input.shape[:2], *(1,) * (input.ndim - 2)), 1, dtype=input.dtype)
    y: Tensor = _mul(input, _dropout(_state(generator), each, p)[0])
    return _copy_(input, y) if inplace else y


@public()
def dropout1d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Each channel 0 with probability p, else divided by 1 - p; input itself in evaluation.

    Parameters: input : float Tensor (n, c, l) or (c, l). p : probability, 0 to 1. inplace :
        whether the result is written into input.
    Returns: input's shape and dtype; fresh, or input. A product with 0, as in PyTorch:
        infinities that are dropped become NaN.
    Gradient: gy / (1 - p) where kept, else 0.
    Raises: ValueError for p out of range or another shape; TypeError for integers.
    Source: Tompson et al., arXiv:1411.4280, section 3.2.
    """
    _check_channels("dropout1d", input, p, (2, 3), "(n, c, l) or (c, l)")
    if not training or p == 0:
        return input
    if input.ndim == 3:
        return _channels(input, p, inplace, generator)
    y = _channels(input.unsqueeze(0), p, False, generator).squeeze(0)
    return _copy_(input, y) if inplace else y


@public()
def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Each channel 0 with probability p, else divided by 1 - p; input itself in evaluation.

    Parameters: input : float Tensor (n, c, h, w); (n, c, l) has channels there too, as in
        PyTorch. The rest as in dropout1d.
    Returns: input's shape and dtype; fresh, or input.
    Gradient: gy / (1 - p) where kept, else 0.
    Raises: ValueError for p out of range or another shape; TypeError for integers.
    Source: Tompson et al., arXiv:1411.4280, section 3.2.
    """
    _check_channels("dropout2d", input, p, (3, 4), "(n, c, h, w) or (n, c, l)")
    if not training or p == 0:
        return input
    return _channels(input, p, inplace, generator)


@public()
def feature_dropout(
    input: Tensor,
    p: float = 0.5,
    train: bool = True,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """dropout2d for any input (n, c, ...): whole channels 0 with probability p."""
    several = tuple(range(2, 9))
    _check_channels("feature_dropout", input, p, several, "(n, c, ...)")
    if not train or p == 0:
        return input
    return _channels(input, p, False, generator)


def _check_channels(
    name: str, input: Any, p: float, ndims: tuple[int, ...], shape: str
) -> None:
    expect_tensors(name, input=input)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected p from 0 to 1, got {p}")
    if not input.is_floating_point():
        raise TypeError(
            f"{name}: expected input of dtype float32 or float64, got "
            f"{input.dtype.name} (hint: input.float())"
        )
    if input.ndim not in ndims:
        raise ValueError(f"{name}: expected input of shape {shape}, got {input.shape}")


@gradient("dropout", saves={"mask": "x"})
def _(node: Node, gy: Tensor, *_unused: None) -> Gradients:
    (p,) = node.attrs
    scale = 1 / (1 - p) if p < 1 else 0.0
    return None, _where(node.saved[0], _mul(gy, scale), 0.0)


no_gradient("uniform", "normal", "permutation", "bernoulli")
