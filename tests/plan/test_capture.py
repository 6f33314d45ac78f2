"""Recording: what it refuses, and that nothing is left of it."""

from __future__ import annotations

import sys
import threading
import types
from collections import deque

import numpy as np
import pytest
from plan.alike import alike, bits, tensor

import fastnn
from fastnn import nn
from fastnn.ops import _record
from fastnn.plan import CaptureError


def calls(f, n=6):
    for k in range(n):
        f(tensor(3, seed=k))


def keep_in_list():
    kept = []

    def function(x):
        y = x * 2
        kept.append(y.sum().detach())
        return y

    return function


def keep_in_object():
    box = types.SimpleNamespace()

    def function(x):
        box.h = x * 2
        return x + 1

    return function


def return_an_object():
    box = types.SimpleNamespace()

    def function(x):
        box.h = x * 2
        return box

    return function


def keep_the_result():
    box = types.SimpleNamespace()

    def function(x):
        box.h = x * 2
        return box.h

    return function


KEPT = [keep_in_list, keep_in_object, return_an_object, keep_the_result]


@pytest.mark.parametrize("make", KEPT)
def test_tensors_that_outlive_the_call_are_refused(make):
    with pytest.raises(
        CaptureError,
        match=r"tensor of the call is kept outside it \(test_capture.py:\d+\)",
    ):
        calls(fastnn.compile(make()))


def test_what_is_made_once_may_be_kept():
    cache = {}

    def function(x):
        if "c" not in cache:
            cache["c"] = fastnn.ones(3) * 2
        return x * cache["c"]

    compiled = fastnn.compile(function)
    for k in range(6):
        x = tensor(3, seed=k)
        assert bits(compiled(x)) == bits(x * 2)
    assert compiled.plan


def test_cycles_of_the_function_are_no_leak():
    def function(x):
        ring = [x * 2]
        ring.append(ring)
        return ring[0] + 1

    calls(compiled := fastnn.compile(function))
    assert compiled.plan


def test_a_refusal_that_is_swallowed_still_counts():
    def function(x):
        try:
            factor = x.sum().item()
        except Exception:
            factor = 0
        return x * factor

    compiled = fastnn.compile(function)
    for _ in range(3):
        with pytest.raises(CaptureError, match=r"item\(\) reads a value"):
            compiled(tensor(3))


def test_a_constant_written_behind_its_back_is_refused():
    def function(x):
        array = np.zeros(3, np.float32)
        c = fastnn.from_numpy(array)
        y = c + x
        array[:] = 1
        return y, c + x

    with pytest.raises(CaptureError, match="memory of a constant was written by no op"):
        calls(fastnn.compile(function))


def test_a_gradient_made_anew_outside_is_named():
    w = nn.Parameter(fastnn.ones(3))
    optimizer = fastnn.optim.SGD([w], lr=0.1)
    step = fastnn.compile(lambda: optimizer.step())

    def anew(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        step()

    with pytest.raises(CaptureError, match=r"gradient made anew.*set_to_none=False"):
        calls(anew)

    def program(compile):
        w = nn.Parameter(fastnn.ones(3))
        optimizer = fastnn.optim.SGD([w], lr=0.1)
        step = compile(lambda: optimizer.step())
        for k in range(8):
            optimizer.zero_grad(set_to_none=False)
            (w * tensor(3, seed=k)).sum().backward()
            step()
            yield w

    alike(program)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_leaves_no_recorder(error):
    now = deque()  # what is in it is not looked at

    def function(x):
        x.add_(1)
        if now:
            raise error
        return x * 2

    compiled = fastnn.compile(function)
    for k in range(8):
        now.clear()
        now.extend([1] * (k % 2))
        x = fastnn.zeros(3, 2).T  # a copy is made, and must come back
        if now and k < 3:
            with pytest.raises(error):
                compiled(x)
        else:
            compiled(x)
        assert x.tolist() == [[1] * 3] * 2
        assert _record.active is None


def test_a_fallback_serves_what_a_plan_cannot_take():
    w = nn.Parameter(fastnn.ones(3))
    told = []
    compiled = fastnn.compile(lambda x: x * w, fallback=told.append)
    for _ in range(3):  # arguments within a graph, and results that can be read
        assert compiled(w * 2).numpy().tolist() == [2, 2, 2]
    assert len(told) == 1
    reads = fastnn.compile(lambda x: x * w * x.sum().item(), fallback=told.append)
    for _ in range(3):
        assert reads(fastnn.ones(3)).numpy().tolist() == [3, 3, 3]


def test_ever_new_numbers_are_warned_of():
    compiled = fastnn.compile(lambda x, k: x * k)

    def all_of_them():
        for k in range(300):
            compiled(fastnn.ones(2), k)

    with pytest.warns(RuntimeWarning, match="none was replayed"):
        all_of_them()


def test_threads_may_record_at_once():
    wrong = []
    x = tensor(4, 8)

    def work(f, expected):
        try:
            for _ in range(12):
                if bits(f(x)) != expected:
                    wrong.append("bits")
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(25):
            model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
            expected = bits(model(x))
            one = fastnn.compile(model)
            functions = [one, one, fastnn.compile(model), fastnn.compile(model)]
            threads = [
                threading.Thread(target=work, args=(f, expected)) for f in functions
            ]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong and _record.active is None
