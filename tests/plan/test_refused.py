"""What a replay could not repeat is refused, in words."""

from __future__ import annotations

import numpy as np
import pytest
from plan.alike import RNG, array, call, network

import fastnn
from fastnn import nn, optim
from fastnn.plan import CaptureError


class Lazy(nn.Module):
    def forward(self, x):
        self.last = x * 1
        return self.last


def counting():
    state = {"n": 0}

    def function(x):
        state["n"] += 1
        return x * state["n"]

    return function


HOSTILE = {
    "item": (
        lambda x: x * x.sum().item(),
        r"item\(\) reads a value at test_refused.py:\d+",
    ),
    "bool": (lambda x: x if x.sum() > 0 else -x, r"bool\(\) reads"),
    "numpy": (lambda x: x + x.numpy().max(), r"numpy\(\) reads"),
    "float": (lambda x: x * float(x[0]), r"float\(\) reads"),
    "tolist": (lambda x: x * len((x * 2).tolist()), "reads a value"),
    "nonzero": (lambda x: x.nonzero(), "shape depends on values"),
    "mask": (lambda x: x[x > 0], "shape depends on values"),
    "counter": (
        counting(),
        r"b of mul \(test_refused.py:\d+\) is the constant 3, then the",
    ),
    "attribute": (Lazy(), r"attribute 'last' of Lazy was set"),
    "random constant": (
        lambda x: x + fastnn.tensor(RNG.standard_normal(3).astype(np.float32)),
        "made anew for each call, with other values",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_replay_could_not_repeat_is_refused(name):
    function, message = HOSTILE[name]
    compiled = fastnn.compile(function)
    with pytest.raises(CaptureError, match=message):
        call(compiled, fastnn.ones(3), 5)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_fallback_is_told_once_and_calls_go_on(name):
    function, message = HOSTILE[name]
    told = []
    compiled = fastnn.compile(function, fallback=told.append)
    results = [compiled(fastnn.ones(3)) for _ in range(7)]
    assert len(told) == 1 and len(results) == 7
    with pytest.raises(CaptureError, match=message.split(" is the constant")[0]):
        raise told[0]


def test_hooks_are_refused_and_noticed_when_they_come():
    model = network(0.0)
    predict = fastnn.compile(model)
    x = array(2, 8)
    for _ in range(4):
        predict(x)
    seen = []
    handle = model[0].register_forward_hook(lambda *args: seen.append(1))
    with pytest.raises(CaptureError, match="a forward hook of Linear was called"):
        call(predict, x, 4)
    assert seen
    handle.remove()
    count = len(seen)
    predict(x)
    predict(x)
    assert len(seen) == count


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("StepLR", {"step_size": 1}),
        ("ReduceLROnPlateau", {}),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}),
    ],
)
def test_schedules_that_step_inside_are_refused(kind, options):
    w = fastnn.ones(3).requires_grad_()
    opt = fastnn.optim.SGD([w], lr=0.1)
    schedule = getattr(fastnn.optim.lr_scheduler, kind)(opt, **options)

    def step(x):
        opt.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        opt.step()
        schedule.step(*([loss] if kind == "ReduceLROnPlateau" else []))
        return loss

    before = schedule.last_epoch
    with pytest.raises(
        CaptureError, match=rf"{kind} steps at test_refused.py:\d+.*outside"
    ):
        fastnn.compile(step)(fastnn.ones(3))
    assert schedule.last_epoch == before


def test_options_set_inside_are_refused():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @fastnn.compile
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.9

    with pytest.raises(CaptureError, match="option 'lr' of an optimizer is set"):
        step(fastnn.ones(1, 2))
