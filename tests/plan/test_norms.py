"""What follows a norm moves into it, and relu's gradient into the norm's: where that may
be, and with the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits
from plan.keeping import only, rand, same
from plan.recorder import ops

import fastnn
import fastnn.nn.functional as F
from fastnn import nn


def training(x, w=None, b=None, mean=None, var=None):
    return F.batch_norm(x, mean, var, w, b, training=True)


def statistics(n):
    return fastnn.zeros(n), fastnn.ones(n)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (2, 3, 5, 5)])
def test_relu_and_residual_move_into_batch_norm(shape):
    w, b, (mean, var) = rand(3), rand(3), statistics(3)
    x, r = rand(*shape), rand(*shape)

    def relu(x, r):
        return training(x, w, b, mean, var).relu()

    def added(x, r):
        return r.exp() + training(x, w, b, mean, var)

    def both(x, r):
        z = r * 2.0
        return (training(x, w, b, mean, var) + z.exp()).relu()

    def in_place(x, r):
        z = r * 2.0
        y = training(x, w, b, mean, var)
        y += z.exp()
        return F.relu(y, inplace=True)

    def later(x, r):  # the residual is made after the norm
        z = r * 2.0
        y = training(x, w, b, mean, var)
        return (y + training(z, w)).relu()

    def argument(x, r):  # which may be any memory, running statistics too
        return training(x, w, b, mean, var) + r.exp()

    for f, before, after in (
        (relu, 2, 1),
        (added, 3, 2),
        (both, 5, 3),
        (in_place, 5, 3),
        (later, 5, 3),
        (argument, 3, 3),
    ):
        graph, best = only("norms", f, (x, r))
        assert (ops(graph), ops(best)) == (before, after), f.__name__


def test_relu_and_residual_move_into_scale_shift():
    w, b, (mean, var) = rand(3), rand(3), statistics(3)
    x, r = rand(4, 3, 7), rand(4, 3, 7)

    def f(x, r):
        return (F.batch_norm(x, mean, var, w, b) + r).relu()

    graph, best = only("norms", f, (x, r))
    assert ops(graph, "add", "relu") - ops(best, "add", "relu") == 2
    assert ops(best, "scale_shift") == 1


def test_norms_keep_special_values():
    x = rand(4, 3, 7).numpy().copy()
    x[0, 0, 0], x[1, 1, 1] = np.inf, np.nan
    x[:, 2] = -0.0
    x, r = fastnn.tensor(x), fastnn.tensor(-x)
    scale, shift = fastnn.ones(3), fastnn.zeros(3)
    same(lambda x, r: (training(x) + r).relu(), (x, r), passes=["norms"])

    def f(x, r):
        return F.batch_norm(x, shift, scale, scale, shift, eps=0.0).relu()

    same(f, (x, r), passes=["norms"])


def test_norms_leave_other_readers_writes_and_shapes():
    w, b, (mean, var) = rand(3), rand(3), statistics(3)
    x, fixed = rand(4, 3, 7), rand(4, 3, 7)

    def read_twice(x):
        y = training(x)
        return y.relu() * y

    def seen(x):
        y = training(x)
        return y, y.relu()

    def itself(x):
        y = training(x)
        return y + y

    def written(x):
        y = training(x)
        x.add_(1)
        return y.relu()

    def weight_written(x):
        y = training(x, w, b)
        w.add_(1)
        return y.relu()

    def statistics_read(x):
        y = training(x, w, b, mean, var)
        z = mean.exp()
        return y.relu(), z

    def statistics_written(x):
        y = training(x, w, b, mean, var)
        mean.mul_(0.5)
        return y.relu()

    def broadcast(x):
        return training(x) + x[:1].exp()

    def constant(x):
        return training(x) + fixed

    def other_activation(x):
        return training(x).tanh()

    def twice(x):
        return training(x).relu().relu()

    def after_relu(x):
        return training(x).relu() + x.exp()

    wanted = {"twice": 1, "after_relu": 1}
    for f in (
        read_twice,
        seen,
        itself,
        written,
        weight_written,
        statistics_read,
        statistics_written,
        broadcast,
        constant,
        other_activation,
        twice,
        after_relu,
    ):
        graph, best = only("norms", f, (x,))
        assert ops(graph) - ops(best) == wanted.get(f.__name__, 0), f.__name__


# ---- backward ----


def gradients(f, *leaves):
    """A function of nothing that leaves gradients of f's sum of squares."""

    def step():
        for p in leaves:
            p.grad = None
        y = f()
        (y * y).sum().backward()
        return y.detach()

    return step


def leaf(*shape):
    x = rand(*shape)
    x.requires_grad_(True)
    return x


def backward_calls(graph):
    return [c for c in graph.calls if c.op.name == "batch_norm_backward"]


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7)])
def test_relu_backward_moves_into_the_norms(shape):
    x, w, b = leaf(*shape), leaf(3), leaf(3)
    f = gradients(lambda: training(x * 1.5, w, b).relu(), x, w, b)
    best = only("norms", f, externals=[x, w, b])[1]
    assert ops(best, "relu", "relu_backward") == 0
    (call,) = backward_calls(best)
    assert call.attrs == (1, False)
    assert call.inputs[6] is None and call.inputs[3] is not None  # y is made again


def test_a_residual_reads_the_masked_gradient():
    x, r, w = leaf(4, 3, 7), leaf(4, 3, 7), leaf(3)
    f = gradients(lambda: (training(x * 1.5, w) + r * 2.0).relu(), x, r, w)
    best = only("norms", f, externals=[x, r, w])[1]
    assert ops(best, "relu", "relu_backward") == 0
    (call,) = backward_calls(best)
    assert call.attrs == (1, True)
    assert call.inputs[6] is not None  # y has a residual in it

    def two():  # a residual that is normed too
        return (training(x * 1.5, w) + training(r * 2.0, w)).relu()

    graph, best = only("norms", gradients(two, x, r, w), externals=[x, r, w])
    assert ops(best, "relu", "relu_backward", "add") == ops(graph, "add") - 1
    assert sorted(c.attrs for c in backward_calls(best)) == [(0, False), (1, True)]


def test_the_mask_of_another_relu():
    """relu_backward of what the norm did not make: y is given."""
    relu_backward = fastnn._core.op_named("relu_backward")
    backward = fastnn._core.op_named("batch_norm_backward")
    forward = fastnn._core.op_named("batch_norm")

    def f(x, y, gy):
        _, mean, rstd = forward(x, None, None)
        gz = relu_backward(gy, y)
        return backward(gz, x, None, None, mean, rstd)[0]

    tensors = rand(4, 3, 7), rand(4, 3, 7), rand(4, 3, 7)
    best = only("norms", f, tensors)[1]
    assert ops(best, "relu_backward") == 0
    assert backward_calls(best)[0].inputs[6] is not None

    def late(x, y, gy):  # the statistics come after the mask
        gz = relu_backward(gy, y)
        _, mean, rstd = forward(x, None, None)
        return backward(gz, x, None, None, mean, rstd)[0]

    def changed(x, y, gy):
        _, mean, rstd = forward(x, None, None)
        gz = relu_backward(gy, y)
        gz.mul_(2.0)
        return backward(gz, x, None, None, mean, rstd)[0]

    def seen(x, y, gy):
        _, mean, rstd = forward(x, None, None)
        gz = relu_backward(gy, y)
        return backward(gz, x, None, None, mean, rstd)[0], gz

    assert ops(only("norms", late, tensors)[1], "relu_backward") == 1
    assert ops(only("norms", changed, tensors)[1], "relu_backward") == 1
    best = only("norms", seen, tensors)[1]
    assert backward_calls(best)[0].attrs == (1, True)


# ---- compiled ----


def block():
    fastnn.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.BatchNorm1d(8, momentum=None),
        nn.ReLU(),
        nn.Linear(8, 4),
    )


def test_training_a_compiled_network_gives_eagers_bits():
    x, t = rand(12, 6), fastnn.tensor(np.arange(12) % 4)
    states = []
    for compiled in (False, True):
        model = block()
        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x, t, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            return loss

        run = fastnn.compile(step) if compiled else step
        for n in (12, 12, 12, 12, 7, 7, 5, 12):
            run(x[:n], t[:n])
        assert int(model[1].num_batches_tracked) == 8
        if compiled:
            assert "norms: relu fused" in str(run.plans[0].explain())
        model.eval()
        predict = fastnn.compile(model) if compiled else model
        with fastnn.no_grad():
            for _ in range(4):
                y = predict(x)
        states.append([y, *model.state_dict().values()])
    assert_same_bits(states[1], states[0], "compiled against eager")


def test_a_plan_counts_versions_of_running_statistics():
    layer = nn.BatchNorm1d(3)
    run = fastnn.compile(lambda x: layer(x))
    x = rand(5, 3)
    with fastnn.no_grad():
        for k in range(1, 6):
            before = layer.running_mean._version
            run(x)
            assert int(layer.num_batches_tracked) == k
            assert layer.running_mean._version > before
