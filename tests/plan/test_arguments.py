"""What compiled functions are called with, what they return, and out=."""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
from collections import deque

import numpy as np
import pytest
from plan.alike import alike, bits, tensor

import fastnn
from fastnn import nn
from fastnn.plan import CaptureError
from fastnn.plan.arguments import key_of


@dataclasses.dataclass
class Pair:
    a: object
    b: object
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: object
    b: object


def test_dataclasses_are_containers():
    def program(compile):
        f = compile(lambda p: (Pair(p.a * 2, [p.b * p.scale]), Frozen(p.b, p.a)))
        for k in range(8):
            scale = 2.0 if k in (3, 6, 7) else 1.0
            yield f(Pair(tensor(3, seed=k), tensor(2, seed=k + 9), scale))

    alike(program)


def test_dicts_keep_their_class():
    def program(compile):
        f = compile(lambda d: type(d)((k, v * 2) for k, v in reversed(d.items())))
        for k in range(4):
            yield f(collections.OrderedDict(a=tensor(3, seed=k), b=tensor(2, seed=k)))

    alike(program)


def test_sets_and_other_things_belong_to_the_key():
    def program(compile):
        f = compile(lambda x, s: x * sum(s))
        for k in range(24):
            yield f(tensor(3, seed=k), {k % 5, 7})

    alike(program)
    first = key_of([bytearray(1)])  # what has no hash is kept, so that its id stays its
    assert all(key_of([bytearray(1)]) != first for _ in range(50))
    assert key_of({1: 0}) != key_of({True: 0}) and key_of(0.0) != key_of(-0.0)


def test_more_arguments_than_the_stack_has_room_for():
    calls = deque()  # a list that grows would be refused

    def function(*xs):
        calls.append(1)
        return sum(xs[1:], xs[0])

    compiled = fastnn.compile(function)
    for n in (3, 5000):  # the second lets go of the GIL
        for k in range(6):
            xs = [tensor(n, seed=k + i) for i in range(40)]
            assert bits(compiled(*xs)) == bits(sum(xs[1:], xs[0]))
    assert len(calls) <= 4


def test_a_decorated_method_knows_its_object():
    class Thing:
        def __init__(self, value):
            self.w = fastnn.full((3,), value)

        @fastnn.compile
        def run(self, x):
            return x * self.w

    a, b = Thing(1.0), Thing(2.0)
    for k in range(5):
        x = tensor(3, seed=k)
        assert bits(a.run(x)) == bits(x * 1)
        assert bits(b.run(x)) == bits(x * 2)


def test_copies_and_pickles_have_no_plans():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.fast = fastnn.compile(self.fc, cache_size=7)

        def forward(self, x):
            return self.fast(x)

    net = Net()
    x = tensor(2, 3)
    for _ in range(4):
        net(x)
    twin = copy.deepcopy(net)
    with fastnn.no_grad():
        twin.fc.weight.zero_()
        twin.fc.bias.zero_()
    for _ in range(4):
        assert twin(x).tolist() == [[0, 0], [0, 0]]
    assert twin.fast.cache_size == 7
    again = pickle.loads(pickle.dumps(net.fast))
    assert again.plans == [] and bits(again(x)) == bits(net(x))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda d: d.update(y=d["x"] * 2), "was changed"),
        (lambda d: d.pop("x"), "was changed"),
        (lambda d: d["x"].requires_grad_(), "made to require grad"),
    ],
)
def test_arguments_that_are_changed_by_no_op_are_refused(function, message):
    with pytest.raises(CaptureError, match=message):
        fastnn.compile(function)({"x": tensor(3)})


def test_a_gradient_of_an_argument_is_not_lost():
    def function(x):
        x.requires_grad_()
        (x * x).sum().backward()

    for fallback in (None, lambda problem: None):
        compiled = fastnn.compile(function, fallback=fallback)
        for k in range(3):
            x = tensor(3, seed=k)
            if fallback is None:
                with pytest.raises(CaptureError, match="made to require grad"):
                    compiled(x)
            else:
                compiled(x)
            assert bits(x.grad) == bits((x * 2).detach())


def test_generators_and_coroutines_are_refused():
    def generator(x):
        yield x

    async def coroutine(x):
        return x

    for f in (generator, coroutine):
        with pytest.raises(TypeError, match="function that returns its results"):
            fastnn.compile(f)


# ---- out= -------------------------------------------------------------------------------


def test_out_is_matched_by_its_structure():
    compiled = fastnn.compile(lambda x: {"a": x * 2, "b": [x + 1, x * 3], "n": None})
    for k in range(6):
        x = tensor(3, seed=k)
        out = {
            "n": None,
            "b": [fastnn.zeros(3), np.zeros(3, np.float32)],
            "a": x.clone(),
        }
        assert compiled(x, out=out) is out
        expected = {"n": None, "b": [x + 1, (x * 3).numpy()], "a": x * 2}
        assert bits(out) == bits(expected), k


def test_out_in_strided_memory_and_twice_the_same():
    compiled = fastnn.compile(lambda x: ((x * 2).exp(), x + 1))
    for k in range(6):
        x, wide = tensor(3, seed=k), np.zeros((3, 2), np.float32)
        compiled(x, out=(wide[:, 0], fastnn.from_numpy(wide)[:, 1]))
        assert bits(wide) == bits(fastnn.stack([(x * 2).exp(), x + 1], 1).numpy())
        both = fastnn.zeros(3)
        compiled(x, out=(both, both))
        assert bits(both) == bits(x + 1)


BAD_OUT = {
    "number": (3, TypeError, "expected out as a tensor or array, got int"),
    "dtype": (np.zeros(3), ValueError, "expected out of float32"),
    "shape": (fastnn.zeros(4), ValueError, "expected out of float32"),
    "order": (np.zeros(3, ">f4"), TypeError, "from_numpy"),
    "leaf": (fastnn.zeros(3, requires_grad=True), ValueError, "may be written"),
    "frozen": (np.broadcast_to(np.float32(0), 3), ValueError, "may be written"),
}


@pytest.mark.parametrize("name", BAD_OUT)
def test_bad_out_is_refused_at_every_call(name):
    out, error, message = BAD_OUT[name]
    compiled = fastnn.compile(lambda x: x * 2)
    for _ in range(5):
        with pytest.raises(error, match=message):
            compiled(fastnn.ones(3), out=out)
    nested = fastnn.compile(lambda x: {"y": (x, x * 2)})
    for _ in range(5):
        for wrong in ({"z": (out, out)}, {"y": (out,)}, [out, out]):
            with pytest.raises(ValueError, match="expected out"):
                nested(fastnn.ones(3), out=wrong)
