"""What the tests of compiled functions share: a program run eagerly and compiled."""

from __future__ import annotations

import dataclasses

import numpy as np

import fastnn


def bits(x):
    """What an object holds, comparable to the last bit."""
    if isinstance(x, fastnn.Tensor):
        return x.dtype, x.shape, np.ascontiguousarray(x.detach().numpy()).tobytes()
    if isinstance(x, np.ndarray):
        return x.dtype, x.shape, x.tobytes()
    if isinstance(x, tuple | list):
        return type(x).__name__, [bits(v) for v in x]
    if isinstance(x, dict):
        return type(x).__name__, {k: bits(v) for k, v in x.items()}
    if dataclasses.is_dataclass(x):
        return type(x).__name__, bits(vars(x))
    return x


def tensor(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return fastnn.tensor(rng.standard_normal(shape).astype(np.float32))


def alike(program):
    """program(compile) yields what it sees; the same whether compile compiles or not."""
    expected = [bits(x) for x in program(lambda f: f)]
    got = [bits(x) for x in program(fastnn.compile)]
    assert len(expected) == len(got) > 0
    wrong = [k for k, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b]
    assert not wrong
