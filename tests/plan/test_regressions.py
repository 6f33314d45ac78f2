"""What plans once got wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn import nn, optim

RNG = np.random.default_rng(1)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def tensor(*shape):
    return fastnn.tensor(array(*shape))


def same(function, *calls):
    compiled = fastnn.compile(function)
    for args in calls:
        assert_same_bits(compiled(*args), function(*args))
    return compiled


def test_a_strided_argument_that_is_written_is_written_each_time():
    add = fastnn.compile(lambda x: x.add_(1.0))
    for base in (fastnn.zeros(4, 4) for _ in range(5)):
        add(base[:, ::2])
        assert base.sum().item() == 8
    for base in (np.zeros((4, 4), np.float32) for _ in range(5)):
        add(base[:, ::2])
        assert base.sum() == 8


def test_a_strided_argument_over_another_that_is_written():
    def both(x, y):
        x.add_(1.0)
        return y * 2

    compiled = fastnn.compile(both)
    for _ in range(5):
        base = fastnn.zeros(4, 4)
        assert compiled(base[:, ::2], base).sum().item() == 16


@dataclasses.dataclass
class Options:  # unhashable
    factor: float


def test_options_that_die_do_not_leave_their_plan_to_the_next():
    scale = fastnn.compile(lambda x, options: x * options.factor)
    x = fastnn.ones(1)
    for i in range(12):
        for _ in range(3 if i == 0 else 1):
            assert scale(x, Options(float(i))).item() == i


def test_leaves_that_die_do_not_leave_their_plan_to_the_next():
    double = fastnn.compile(lambda w: w.detach() * 2)
    for i in range(12):
        w = fastnn.full((1,), float(i)).requires_grad_()
        assert double(w).item() == 2 * i
        del w


def test_in_place_over_what_others_of_the_group_read_elsewhere():
    w, u = tensor(64, 64), tensor(64, 64)

    def rows(x):
        h = x @ w
        return (h * h[0]) @ u, (h + 2.0) @ u

    def columns(x):
        h = x @ w
        return (h * h[:, :1]) @ u, (h + 2.0) @ u

    def last(x):
        h = x @ w
        return (h - h[-1]) @ u, (h.exp() + 2.0) @ u, h.sigmoid() @ u

    x = tensor(64, 64)
    for f in (rows, columns, last):
        same(f, *[(x,)] * 4)


def test_more_arguments_than_there_is_room_for_are_replayed():
    def add(*xs):
        return sum(xs[1:], xs[0])

    compiled = fastnn.compile(add)
    for n in (4, 4, 4, 20000, 20000):
        xs = [tensor(n) for _ in range(20)]
        assert_same_bits(compiled(*xs), add(*xs))
    compiled._record = None  # another recording would fail
    xs = [tensor(20000) for _ in range(20)]
    assert_same_bits(compiled(*xs), add(*xs))


CUTS = {
    "[:4]": lambda x: x[:4] * 2,
    "[-4:]": lambda x: x[-4:] * 2,
    "[3:]": lambda x: x[3:] * 2,
    "split": lambda x: x.split(4)[0] * 2,
    "columns": lambda x: x[:, : 8 * 3 // 2] * 2,
}


@pytest.mark.parametrize("name", sorted(CUTS))
@pytest.mark.parametrize("sizes", [(2, 3), (2, 4), (3, 4), (4, 8), (8, 12)])
def test_slices_that_a_size_cuts_off(name, sizes):
    f = CUTS[name]
    compiled = same(f, *[(tensor(n, 12),) for n in (*sizes, *sizes, 8, 2, 5, 9, 4, 8)])
    if min(sizes) >= 8 and name in ("[:4]", "columns"):
        assert len(compiled.plans) == 1


def test_a_batch_that_a_plan_cannot_serve_is_recorded():
    sizes = (6, 7, 3, 3, 8, 9, 6, 7, 3)  # at 6 and 7 it looks as if the row stayed
    same(lambda x: x[x.shape[0] // 2] * 2, *[(tensor(n, 2),) for n in sizes])


def test_sizes_beyond_all_memory_are_refused():
    many = fastnn.compile(lambda x: fastnn.zeros(x.shape[0] * 16) + 1)
    for n in (2, 3, 4):
        assert many(np.zeros((n, 0), np.float32)).shape == (16 * n,)
    for n in (1 << 40, 1 << 53, 1 << 60):
        with pytest.raises((MemoryError, ValueError)):
            many(np.zeros((n, 0), np.float32))


def test_weights_moved_by_a_profile_are_seen():
    model = nn.Linear(4, 3)
    optimizer = optim.SGD(model.parameters(), 0.1)

    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    train, predict = fastnn.compile(step), fastnn.compile(model)
    x = fastnn.ones(2, 4)
    for _ in range(4):
        train(x)
        assert_same_bits(predict(x), model(x).detach())
    before = model.weight._version
    train.plan._bound()[0].profile(x, rounds=2)
    assert model.weight._version >= before + 4
    assert_same_bits(predict(x), model(x).detach())


def test_out_for_the_beginning_of_a_larger_result():
    """The whole result was written there, beyond the end of out."""
    compiled = fastnn.compile(lambda x: (x * 2)[:2])
    x = tensor(6, 4)
    for _ in range(4):
        room = fastnn.zeros(6, 4)
        compiled(x, out=room[:2])
        assert_same_bits(room[:2], (x * 2)[:2])
        assert room[2:].abs().sum().item() == 0
