"""Whatever changes around a compiled function, it does what the function would."""

from __future__ import annotations

import functools
from collections import deque

import numpy as np
import pytest
from plan.alike import alike, bits, tensor

import fastnn
from fastnn import nn, optim
from fastnn.plan import CaptureError

F = nn.functional


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(fastnn.ones(4))
        self.p = 0.5

    def forward(self, x):
        return F.dropout(x * self.w, self.p, self.training)

    def double(self, x):
        return self.forward(x) * 2


class Holder:
    def __init__(self, model):
        self.parts = {"model": model}

    def run(self, x):
        return self.parts["model"].double(x)


def by_closure(model):
    return lambda x: model.forward(x) + 0


def by_inner(model):
    inner = by_closure(model)
    return lambda x: inner(x) * 1


NAMED = {
    "method": lambda m: m.forward,
    "other method": lambda m: m.double,
    "closure": by_closure,
    "closure of a closure": by_inner,
    "partial": lambda m: functools.partial(Scaled.double, m),
    "default": lambda m: lambda x, model=m: model.double(x),
    "object": lambda m: Holder(m).run,
}


@pytest.mark.parametrize("name", NAMED)
def test_modules_that_are_named_and_never_called(name):
    def program(compile):
        model = Scaled()
        f = compile(NAMED[name](model))
        for k in range(16):
            if k == 4:
                model.p = 0.25
            if k == 7:
                model.eval()
            if k == 10:
                model.w = nn.Parameter(fastnn.ones(4) * 3)
            if k == 13:
                model.train()
            fastnn.manual_seed(k)
            yield f(tensor(2, 4, seed=k))

    alike(program)


def trained(compile, optimizer, change, steps=12):
    w = nn.Parameter(fastnn.ones(3))
    o = optimizer([w])

    def step(x):
        o.zero_grad()
        (w * x).sum().backward()
        o.step()

    f = compile(step)
    for k in range(steps):
        change(o, w, k)
        f(tensor(3, seed=k))
        yield w


def test_active_may_come_and_go():
    def change(o, w, k):
        if k == 5:
            o.active = fastnn.tensor(False)
        if k == 8:
            o.active = None

    sgd = functools.partial(optim.SGD, lr=0.1)
    alike(lambda compile: trained(compile, sgd, change))


class InPython(optim.SGD):
    """A step of Python, which sees the numbers themselves."""

    def step(self):
        with fastnn.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad * group["lr"] * getattr(self, "extra", 1.0))


def test_an_optimizer_that_reads_its_numbers_in_python():
    def change(o, w, k):
        if k == 4:
            o.param_groups[0]["lr"] = 0.5
        if k == 7:
            o.param_groups[0]["lr"] *= 0.1
        if k == 10:
            o.extra = 3.0

    alike(
        lambda compile: trained(
            compile, functools.partial(InPython, lr=0.1), change, steps=14
        )
    )


def test_a_schedule_costs_no_recording():
    calls = deque()  # a list that grows would be refused
    w = nn.Parameter(fastnn.ones(3))
    o = optim.SGD([w], lr=0.1, momentum=0.9)

    @fastnn.compile
    def step(x):
        calls.append(1)
        o.zero_grad()
        (w * x).sum().backward()
        o.step()

    for k in range(20):
        o.param_groups[0]["lr"] = 0.1 / (k + 1)
        step(tensor(3))
    assert len(calls) <= 3


def test_a_hook_on_a_leaf_is_noticed():
    w = nn.Parameter(fastnn.ones(3))

    @fastnn.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()

    x = tensor(3)
    for _ in range(4):
        step(x)
    handle = w.register_hook(lambda g: g * 2)
    step(x)
    assert bits(w.grad) == bits(x * 2)
    with pytest.raises(CaptureError, match="a hook on a gradient was called"):
        step(x)
    handle.remove()
    for _ in range(4):
        step(x)
        assert bits(w.grad) == bits(x)


def weights():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    with fastnn.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(tensor(*p.shape, seed=i))
    return model


def test_packed_weights_written_by_others_between_calls():
    def program(compile):
        model = weights()
        f, x, w = compile(model), tensor(2, 8), model[0].weight
        for _ in range(4):
            yield f(x)
        view = w.detach().numpy()
        yield f(x)
        view[:] = 5
        del view  # nobody holds it when the plan looks
        yield f(x)
        view = w.detach().numpy()
        view[:] = 7
        del view
        yield f(x)
        other = np.from_dlpack(w.detach())
        if other.flags.writeable:
            other[:] = 9
        del other
        yield f(x)

    alike(program)


def test_packed_weights_over_an_array_that_is_let_go():
    def program(compile):
        model = weights()
        array = tensor(8, 8).numpy().copy()
        model[0].weight = nn.Parameter(fastnn.from_numpy(array))
        f, x = compile(model), tensor(2, 8)
        for _ in range(4):
            yield f(x)
        array[:] = 3
        del array
        yield f(x)
        yield f(x)

    alike(program)


def test_packed_weights_are_current_at_a_new_batch_size():
    def program(compile):
        model = weights()
        f = compile(model)
        for n in (4, 4, 6, 6, 4):
            yield f(tensor(n, 8, seed=n))
        for k, n in enumerate((7, 4, 9, 7, 11)):
            with fastnn.no_grad():
                model[0].weight.mul_(1.0 + k)
            yield f(tensor(n, 8, seed=n))

    alike(program)


def test_a_gradient_seen_in_another_way():
    def program(compile):
        w = nn.Parameter(fastnn.ones(3, 3))
        w.grad = tensor(3, 3)
        f = compile(lambda x: w.grad * x)
        for k in range(9):
            if k in (4, 7):
                w.grad = w.grad.T
            yield f(tensor(3, 3, seed=k))

    alike(program)


def test_arguments_that_lie_in_what_is_written():
    def program(compile):
        w = fastnn.ones(3)

        def function(x):
            a = (x * 2).sum()
            w.add_(1)
            return a + (x * 2).sum() * 10

        f = compile(function)
        for k in range(5):
            yield f(tensor(3, seed=k))
        for _ in range(3):
            yield f(w)
            yield f(fastnn.from_numpy(w.numpy()))
            yield f(w[:])

    alike(program)


BY_SIZE = {
    "chunk": lambda x: x.chunk(2)[0],
    "split": lambda x: x.split(2),
    "arange": lambda x: fastnn.arange(0, len(x), 2),
    "even": lambda x: x[: len(x) // 2 * 2],
    "at most": lambda x: x[: min(len(x), 7)] * 2,
    "half": lambda x: x[: (len(x) + 1) // 2],
}


@pytest.mark.parametrize("name", BY_SIZE)
def test_two_sizes_that_agree_by_chance(name):
    def program(compile):
        f = compile(BY_SIZE[name])
        for n in (6, 5, 6, 5, 8, 9, 4, 3, 12, 7, 6, 5, 8, 10, 2):
            yield f(tensor(n, 4, seed=n))

    alike(program)


def test_a_size_that_differs_is_not_forgotten():
    def program(compile):
        f = compile(lambda x: x[: min(len(x), 7)] * 2)
        for n in (4, 6, 9, 5, 3, 7, 6, 10, 20):
            yield f(tensor(n, 4, seed=n))

    alike(program)


def test_a_strided_argument_that_is_written():
    def program(compile):
        def function(x, y):
            x.add_(y)
            return x.sum(0)

        f = compile(function)
        for k in range(6):
            base = tensor(4, 6, seed=k)
            x = base.T if k % 2 else base.T[::2]
            yield f(x, tensor(4, seed=k)), base

    alike(program)
