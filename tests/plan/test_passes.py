"""Every pass keeps every bit, does its work, and leaves alone what it must."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits
from plan.keeping import RNG, network, only, rand, same
from plan.recorder import call, ops, record

import fastnn
import fastnn.nn.functional as F
from fastnn.plan.graph import Buffer, Graph, Value
from fastnn.plan.interpret import interpret
from fastnn.plan.passes import optimise

# ---- whole functions ----


@pytest.mark.parametrize("act", ["ReLU", "Tanh", "Sigmoid", "GELU"])
@pytest.mark.parametrize("inference", [False, True])
def test_forward_becomes_products_alone(act, inference):
    net = network(6, 9, 9, 3, act=getattr(fastnn.nn, act))
    with fastnn.no_grad():
        best = same(net, (rand(5, 6),), inference=inference)
    assert ops(best) == 3 == ops(best, "linear", "linear_act")
    assert ops(best, "linear_act") == 2
    assert len(best.prologue) == (3 if inference else 0)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_training_step(optimizer, dropout):
    net = network(6, 9, 7, 3, act=fastnn.nn.Tanh, dropout=dropout)
    opt = getattr(fastnn.optim, optimizer)(net.parameters(), lr=0.1)
    x, y = rand(5, 6), fastnn.tensor(np.arange(5) % 3)

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    step(x, y)
    best = same(step, (x, y), externals=list(net.parameters()))
    assert ops(best, "copy") == 0  # neither the seed nor gradients
    assert ops(best, "dropout") == (2 if dropout else 0)
    assert ops(best, "matmul") == 5  # three weights' gradients, two inputs'
    assert ops(best, "relu", "tanh") == 0
    assert len(best.groups) == 2
    for first, stop in best.groups:  # activation backward with the bias gradient
        names = [c.op.name for c in best.calls[first:stop]]
        assert names[-2:] == ["tanh_backward", "sum"]


def test_gradients_that_nobody_asked_for_are_dead():
    net = network(4, 5, 2)
    x = rand(3, 4).requires_grad_()

    def f(x):
        grads = fastnn.autograd.grad(net(x).sum(), [x, *net.parameters()])
        return grads[1:]

    graph, _ = record(f, (x,))
    best = optimise(graph, inference=False, passes=["dead"])
    assert ops(graph, "matmul") == 4 and ops(best, "matmul") == 3
    same(f, (x,))


# ---- dead ----


def test_dead_keeps_random_draws_checks_and_writes_outside():
    x, w, labels = rand(4, 3), rand(3), fastnn.tensor([0, 1, 2, 0])

    def f(x):
        F.dropout(x, 0.5)  # moves the generator on
        F.cross_entropy(x, labels)  # raises for labels that are none
        w.mul_(0.5)
        (x + 1).exp()
        t = x * 2
        t.add_(1)
        return x - w

    graph, best = only("dead", f, (x,))
    names = [c.op.name for c in best.calls]
    assert names == ["dropout", "cross_entropy", "mul_", "sub"]
    assert ops(graph) == 8


def test_dead_keeps_writes_through_views():
    def f(x):
        y = x * 1
        y[1:].add_(x[1:])
        return y.sum()

    graph, best = only("dead", f, (rand(4, 3),))
    assert ops(best) == ops(graph) == 3


def test_dead_views_go_and_draws_stay_wherever_the_state_lies():
    best = only("dead", lambda x: (x.T, x * 2)[1], (rand(3, 4),))[1]
    assert [c.op.name for c in best.calls] == ["mul"]
    state = Value(Buffer("internal"), fastnn.int64, (2,), (1,))
    start = Value(Buffer("constant", fastnn.tensor([1, 0])), fastnn.int64, (2,), (1,))
    drawn = Value(Buffer("internal"), fastnn.float32, (3,), (1,))
    draw = call("uniform", [state], [drawn], (3,), 0.0, 1.0, 4)
    graph = Graph([], [call("copy", [start], [state], -1), draw])
    assert ops(optimise(graph, inference=False)) == 2


# ---- fold ----


def test_fold_of_constants():
    table = rand(3, 2)

    def f(x):
        return x * (table.exp() + fastnn.ones(3, 2))

    graph, best = only("fold", f, (rand(3, 2),), externals=[])
    assert ops(graph) == 4 and ops(best) == 1
    assert not best.prologue


def test_fold_leaves_large_escaping_and_written_results():
    row = fastnn.tensor([1.0])

    def large(x):
        return x + row.expand(600, 600).exp()

    def escaping(x):
        return x, row.exp()

    def written(x):
        return row.exp().add_(x)

    for f, x in ((large, rand(600, 600)), (escaping, rand(1)), (written, rand(1))):
        graph, best = only("fold", f, (x,), externals=[])
        assert ops(best) == ops(graph), f.__name__


def test_fold_of_parameters_is_for_inference_and_follows_them():
    w = rand(4, 3)

    def f(x):
        return x @ (w * 2).T

    assert ops(only("fold", f, (rand(2, 3),))[1]) == 2
    best = only("fold", f, (rand(2, 3),), inference=True)[1]
    assert ops(best) == 1 and len(best.prologue) == 1
    w.add_(1)
    x = rand(2, 3)
    assert_same_bits(interpret(best, [x])[0], [f(x)])


def test_fold_leaves_what_the_plan_writes():
    w = rand(3)

    def f(x):
        y = x * w.exp()
        w.add_(1)
        return y

    assert ops(only("fold", f, (rand(2, 3),), inference=True)[1]) == 3


def test_fold_fills_only_what_is_whole_and_filled_once():
    def twice(x):
        y = fastnn.zeros(3)
        y.copy_(1.0)
        return x + y

    def seen(x):
        y = fastnn.zeros(3)
        return y, x + y

    def part(x):
        y = fastnn.empty(2, 3)
        y[0].copy_(1.0)
        y[1].copy_(x)
        return y * 2

    def once(x):
        y = fastnn.empty(2, 3)
        y[0].copy_(1.0)
        return x + y[0]

    def transposed(x):
        y = fastnn.empty(2, 3)
        y.T.copy_(1.0)
        return x + y

    def whole(x):
        return x + fastnn.zeros(3)

    for f in (twice, seen, part, once, transposed, whole):
        graph, best = only("fold", f, (rand(3),), externals=[])
        assert ops(graph) - ops(best) == (f is whole), f.__name__


def test_fold_leaves_what_follows_the_batch():
    one = Value(Buffer("constant", fastnn.ones(1)), fastnn.float32, (1,), (1,))
    wide = Value(one.buffer, fastnn.float32, (4,), (0,))
    out = Value(Buffer("internal"), fastnn.float32, (4,), (1,))
    x = Value(Buffer("argument", index=0), fastnn.float32, (4,), (1,))
    y = Value(Buffer("internal", escapes=True), fastnn.float32, (4,), (1,))
    expand = call("expand", [one], [wide], (4,), scales={(0, 0): 1})
    wide.scales = {0: 1}
    add = call("add", [x, out], [y])
    graph = Graph([x], [expand, call("exp", [wide], [out]), add], [y])
    assert len(optimise(graph, inference=True, passes=["fold"]).calls) == 3
    expand.scales, wide.scales = {}, {}
    assert len(optimise(graph, inference=True, passes=["fold"]).calls) == 1


# ---- merge ----


def test_merge_of_equal_calls_and_views():
    def f(x):
        return (x.T.exp() + x.T.exp()) * x.T.exp()

    graph, best = only("merge", f, (rand(3, 4),))
    assert ops(graph, "exp") == 3 and ops(best, "exp") == 1
    assert sum(c.is_view for c in best.calls) == 1


def test_merge_tells_numbers_apart():
    def f(x):
        return (x * 0.0) / (x * -0.0), (x + 1) * (x + True), x.clone() + x.clone()

    graph, best = only("merge", f, (fastnn.tensor([1.0, 2.0]),))
    assert ops(best, "mul") == ops(graph, "mul") and ops(best, "add") == 3
    assert ops(best, "copy") == 1


def test_merge_leaves_draws_states_writes_and_results():
    x = rand(3, 4)

    def draws(x):
        return F.dropout(x, 0.5) + F.dropout(x, 0.5)

    def states(x):
        t = x * 1
        a = t.exp()
        t.add_(1)
        return a + t.exp()

    def writes(x):
        a, b = x.exp(), x.exp()
        a.add_(1)
        return a + b

    def results(x):
        return x.exp(), x.exp()

    for f in (draws, states, writes, results):
        graph, best = only("merge", f, (x,))
        assert ops(best) == ops(graph), f.__name__


def test_merge_tells_attributes_apart():
    def f(x):
        return x.sum(0) + x.sum(1), x[1:] + x[:-1]

    graph, best = only("merge", f, (rand(3, 3),))
    assert len(best.calls) == len(graph.calls)
    one = Value(Buffer("argument", index=0), fastnn.float32, (1,), (1,))
    a, b = (Value(one.buffer, fastnn.float32, (4,), (0,)) for _ in range(2))
    y = Value(Buffer("internal", escapes=True), fastnn.float32, (4,), (1,))
    views = [call("expand", [one], [v], (4,)) for v in (a, b)]
    views[0].scales = {(0, 0): 1}
    graph = Graph([one], [*views, call("add", [a, b], [y])], [y])
    assert len(optimise(graph, inference=False, passes=["merge"]).calls) == 3
    views[0].scales = {}
    assert len(optimise(graph, inference=False, passes=["merge"]).calls) == 2


def test_merge_sees_writes_through_other_tensors_of_the_memory():
    array = RNG.standard_normal(3).astype(np.float32)
    w, same_memory = fastnn.from_numpy(array), fastnn.from_numpy(array[1:])

    def f(x):
        a = w.exp()
        same_memory.add_(1)
        return x + a + w.exp()

    assert ops(only("merge", f, (rand(3),))[1], "exp") == 2


def test_merge_sees_writes_through_an_argument_that_may_be_the_same():
    w = rand(3)

    def f(x):
        a = w.exp()
        x.mul_(2.0)
        return a + w.exp()

    assert ops(only("merge", f, (rand(3),))[1], "exp") == 2


# ---- copies ----


def test_copies_of_what_is_not_used_again():
    def f(x):
        return (x * 2).reshape(2, 6).clone(), (x + 1).clone().mul_(3)

    assert ops(only("copies", f, (rand(3, 4),))[1], "copy") == 0


def test_copies_of_copies():
    assert (
        ops(only("copies", lambda x: x.exp().clone().clone() + 1, (rand(3),))[1]) == 2
    )


def test_copies_of_copies_that_are_written():
    def last(x):
        a = (x * 2).clone()
        b = a.clone()
        b.add_(1)
        return a * b

    def first(x):
        a = (x * 2).clone()
        b = a.clone()
        a.add_(1)
        return a * b

    for f in (last, first):
        assert ops(only("copies", f, (rand(3),))[1], "copy") == 1


def test_copies_that_stay():
    w = rand(3, 4)

    def both_seen(x):
        y = x * 2
        return y, y.clone()

    def original_written(x):
        y = x * 2
        z = y.clone()
        y.add_(1)
        return z * y

    def copy_written(x):
        y = x * 2
        z = y.clone()
        z.add_(1)
        return z * y

    def view(x):
        return (x * 2).T.clone(), (x * 2)[1:].clone(), (x * 2).double()

    def others(x):
        return x.clone(), w.clone()

    for f in (both_seen, original_written, copy_written, view, others):
        graph, best = only("copies", f, (rand(3, 4),))
        assert ops(best) == ops(graph), f.__name__


def test_copies_may_share_a_result_that_nobody_writes():
    def f(x):
        y = x * 2
        return y.clone(), y.exp()

    assert ops(only("copies", f, (rand(3, 4),))[1], "copy") == 0


# ---- optimise ----


def test_optimise_works_on_a_copy_and_knows_its_passes():
    graph, _ = record(lambda x: (x + 1).exp() * 1, (rand(3),))
    before = len(graph.calls), list(graph.notes)
    optimise(graph, inference=True)
    assert (len(graph.calls), graph.notes) == before
    with pytest.raises(ValueError, match=r"optimise: expected passes out of .*'nope'"):
        optimise(graph, inference=False, passes=["nope"])


def test_what_follows_the_batch_is_not_frozen():
    """A factor that is the batch's size, and a view by it, tell calls apart."""
    x = Value(Buffer("argument", index=0), fastnn.float32, (4,), (1,))
    n = Value(Buffer("constant"), fastnn.int64, (), (), 0, 4, scale=1)
    four = Value(Buffer("constant"), fastnn.int64, (), (), 0, 4)
    out = [
        Value(Buffer("internal", escapes=k == 2), fastnn.float32, (4,), (1,))
        for k in range(3)
    ]
    graph = Graph(
        [x],
        [
            call("mul", [x, n], out[:1]),
            call("mul", [x, four], out[1:2]),
            call("add", out[:2], out[2:]),
        ],
        [out[2]],
    )
    assert ops(optimise(graph, inference=True), "mul") == 2
    graph.calls[1].inputs[1] = n
    assert ops(optimise(graph, inference=True), "mul") == 1
    both = Graph([], [call("mul", [four, n], out[2:])], [out[2]])
    out[2].buffer.escapes = False
    both.outputs = []
    assert ops(optimise(both, inference=True, passes=["fold"])) == 1
