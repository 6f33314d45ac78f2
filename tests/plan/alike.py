"""What the tests of compiled functions share: a program run eagerly and compiled."""

from __future__ import annotations

import dataclasses

import numpy as np

import fastnn
from fastnn import nn


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


RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def network(p=0.2):
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(16, 16),
        nn.Tanh(),
        nn.Linear(16, 3),
    )


def check(function, *calls):
    """function compiled gives what it gives, for each arguments of calls."""
    compiled = fastnn.compile(function)
    for args in calls:
        expected = bits(function(*args))
        assert bits(compiled(*args)) == expected
    return compiled


def call(function, x, times):
    for _ in range(times):
        function(x)
