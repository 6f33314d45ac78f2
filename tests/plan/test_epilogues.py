"""Epilogues of products, and packed weights: done where they may be, with the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits
from plan.keeping import only, rand, same
from plan.recorder import call, ops

import fastnn
import fastnn.nn.functional as F
from fastnn import nn
from fastnn.plan import cost
from fastnn.plan.graph import Buffer, Graph, Value
from fastnn.plan.passes import optimise

# ---- epilogue ----


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
@pytest.mark.parametrize("transposed", [False, True])
def test_epilogue_of_matmul(shape, transposed):
    w, b = rand(4, 6), rand(6)
    w = w.T.clone() if transposed else w

    def f(x):
        return (x @ (w.T if transposed else w) + b).relu()

    best = only("epilogue", f, (rand(*shape),))[1]
    assert ops(best) == 1 == ops(best, "linear_act")
    assert ops(only("epilogue", lambda x: x @ w.T + b if transposed else b + x @ w,
                    (rand(*shape),))[1], "linear") == 1  # fmt: skip


def test_epilogue_of_a_weight_made_within():
    def f(x):
        return (x @ (x.T * 2) + x.sum(1)).tanh()

    best = only("epilogue", f, (rand(3, 4),))[1]
    assert ops(best, "linear_act") == 1 and ops(best, "matmul", "add", "tanh") == 0


def test_epilogue_keeps_special_values():
    x = fastnn.tensor(
        [[np.nan, 1, 0], [np.inf, 0, 1], [-0.0, -0.0, -0.0]], dtype=fastnn.float32
    )
    w, b = (
        fastnn.tensor(np.eye(3, dtype=np.float32)),
        fastnn.tensor([-0.0, 1.0, np.inf]),
    )
    for act in ("relu", "sigmoid", "tanh"):
        same(lambda x, a=act: getattr(x @ w + b, a)(), (x,), passes=["epilogue"])
    same(lambda x: F.gelu(x @ w + b), (x,), passes=["epilogue"])


def test_epilogue_leaves_other_readers_writes_and_shapes():
    w, b, x = rand(4, 6), rand(6), rand(5, 4)

    def read_twice(x):
        y = x @ w
        return y.relu() * y

    def seen(x):
        y = x @ w
        return y, y.relu()

    def through_a_view(x):
        y = x @ w
        return y.relu() + y[0]

    def itself(x):
        y = x @ w
        return y + y

    def written(x):
        y = x @ w
        x.add_(1)
        return y.relu()

    def column(x):
        return x @ w + b[:1]

    def dtype(x):
        return x @ w + b.double()

    def strided(x):
        return x @ w + b.repeat(2)[::2]

    def second_bias(x):
        return F.linear(x, w.T, b) + b

    def overwritten(x):
        y = x @ w
        fastnn.exp(w[:1].expand(5, 6), out=y)
        return y.relu()

    def batch_of_weights(x):
        return (x.reshape(1, 5, 4) @ w.reshape(1, 4, 6)).relu()

    def activation_first(x):
        return (x @ w).relu() + b

    wanted = {"activation_first": 1}
    for f in (
        strided,
        second_bias,
        overwritten,
        read_twice,
        seen,
        through_a_view,
        itself,
        written,
        column,
        dtype,
        batch_of_weights,
        activation_first,
    ):
        graph, best = only("epilogue", f, (x,))
        assert ops(graph) - ops(best) == wanted.get(f.__name__, 0), f.__name__


def test_epilogue_in_place():
    w, b = rand(4, 6), rand(6)

    def f(x):
        y = x @ w
        y += b
        F.relu(y, inplace=True)
        return y, F.relu(x @ w, inplace=True).mul_(2)

    graph, best = only("epilogue", f, (rand(5, 4),))
    assert [c.op.name for c in best.calls if not c.is_view] == [
        "linear_act", "linear_act", "mul_"
    ]  # fmt: skip

    def part(x):
        y = x @ w
        y[1:].add_(b)
        return y

    def elsewhere(x):
        y, z = x @ w, x @ w + 1.0
        z.add_(y)
        fastnn.tanh(z, out=y)
        return y, z

    def before(x):
        y = x @ w
        z = y.reshape(-1)
        return y.add_(b), z

    def others(x):
        z = x @ w * 2.0
        z.add_(x @ w)
        fastnn.tanh(x @ w, out=z)
        return z

    for f in (part, elsewhere, before, others):
        graph, best = only("epilogue", f, (rand(5, 4),))
        assert ops(best) == ops(graph), f.__name__


@pytest.mark.parametrize("over", [False, True])
def test_epilogue_sees_the_product_written_in_between(over):
    x = Value(Buffer("argument", index=0), fastnn.float32, (2, 2), (2, 1))
    y, z = (Value(Buffer("internal"), fastnn.float32, (2, 2), (2, 1)) for _ in range(2))
    z = Value(y.buffer, y.dtype, y.shape, y.strides) if over else z
    z.buffer.escapes = True
    between = call("exp", [x], [y], into=True)
    calls = [call("matmul", [x, x], [y]), between, call("relu", [y], [z], into=over)]
    graph = Graph([x], calls, [z])
    assert ops(optimise(graph, inference=False, passes=["epilogue"])) == 3
    del calls[1]
    assert ops(optimise(graph, inference=False, passes=["epilogue"])) == 1
    calls.append(call("neg", [x], [y], into=True))
    assert ops(optimise(graph, inference=False, passes=["epilogue"])) == 3 - over


def test_epilogue_of_a_square_weight_in_two_orders():
    w, b = rand(4, 4), rand(4)
    for order in ((0, 1), (1, 0), (-1, -2)):
        f = lambda x, order=order: x @ w.permute(*order) + b  # noqa: E731
        assert ops(only("epilogue", f, (rand(3, 4),))[1], "linear") == 1


def test_epilogue_adds_a_residual_where_the_op_takes_one():
    residual = "residual" in fastnn._core.op_named("linear_act").inputs
    w, b = rand(4, 4), rand(4)

    def f(x):
        return (F.linear(x, w, b) + x).relu(), x + F.linear(x, w)

    best = only("epilogue", f, (rand(5, 4),))[1]
    assert ops(best) == (2 if residual else 5)

    def two(x):
        return F.linear(x, w) + x + b, F.linear(x, w) + x + x

    best = only("epilogue", two, (rand(5, 4),))[1]
    assert ops(best) == (4 if residual else 6)

    def strided(x):
        return F.linear(x, w) + x.T, F.linear(x, w) + w

    assert ops(only("epilogue", strided, (rand(4, 4),))[1]) == 4


# ---- pack ----


def test_pack_once_for_all_readers_and_not_in_vain():
    w, v = rand(6, 4), rand(4, 6)

    def f(x):
        return F.linear(x, w) + F.linear(x * 2, w) + x @ v + x @ w.T + F.linear(x, v.T)

    best = only("pack", f, (rand(3, 4),), inference=True)[1]
    assert len(best.prologue) == 1  # v lies as it is read; w's readers share one
    assert len(same(f, (rand(3, 4),), inference=True).prologue) == 1
    assert not only("pack", f, (rand(3, 4),))[1].prologue


def test_pack_of_parts_of_one_memory():
    w = rand(6, 4)

    def f(x):
        return F.linear(x, w[:3]) + F.linear(x, w[3:])

    assert len(same(f, (rand(3, 4),), inference=True).prologue) == 2


def test_pack_leaves_arguments_and_what_is_written():
    w = rand(6, 4)

    def f(x, v):
        y = F.linear(x, w) + F.linear(x, v)
        w.add_(1)
        return y

    assert not only("pack", f, (rand(3, 4), rand(6, 4)), inference=True)[1].prologue


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_pack_in_panels(rows):
    w, b, v, u = rand(130, 40), rand(130), rand(40, 130), rand(129, 130)

    def f(x):
        hidden = fastnn.relu(F.linear(x, w, b)) + F.linear(x, w)
        return F.linear(hidden + x @ v, u), x @ v

    best = same(f, (rand(rows, 40),), inference=True)
    names = [call.op.name for call in best.calls]
    assert names.count("linear_panels") >= 3 and "linear" not in names
    assert [call.op.name for call in best.prologue] == ["panels"] * 3
    only("pack", f, (rand(rows, 40),), inference=True)


def test_panels_are_made_again():
    model = nn.Sequential(nn.Linear(20, 200), nn.Tanh(), nn.Linear(200, 70)).eval()
    predict = fastnn.compile(model)
    for n in (1, 1, 4, 4, 7, 9, 9):
        x = rand(n, 20)
        for _ in range(3):
            assert_same_bits(predict(x), model(x).detach())
        with fastnn.no_grad():
            for p in model.parameters():
                p.mul_(-1.25)


@pytest.mark.parametrize("outputs", [130, 30])
@pytest.mark.parametrize(
    "turn",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::2],
        lambda a: np.broadcast_to(a[:1], a.shape),
    ],
    ids=["rows", "columns", "both", "every second", "expanded"],
)
def test_pack_of_weights_that_lie_otherwise(turn, outputs):
    """Also where elements lie before the first one."""
    whole = np.random.default_rng(0).standard_normal((80, outputs), np.float32)
    m = fastnn.from_numpy(turn(whole)).detach()

    def f(x):
        return x @ m, F.linear(x, m.T)

    x = rand(3, m.shape[0])
    predict = fastnn.compile(f)
    for _ in range(5):
        for got, expected in zip(predict(x), f(x), strict=True):
            assert_same_bits(got, expected)


def test_pack_leaves_what_numpy_may_write():
    """It would be packed again at every call."""
    own = np.random.default_rng(0).standard_normal((130, 40)).astype(np.float32)
    lent, ours = fastnn.from_numpy(own), rand(130, 40)
    x = rand(3, 40)
    assert not only("pack", lambda x: F.linear(x, lent), (x,), inference=True)[
        1
    ].prologue
    assert only("pack", lambda x: F.linear(x, ours), (x,), inference=True)[1].prologue
    predict = fastnn.compile(lambda x: F.linear(x, lent))
    for k in range(6):
        own[:] = k
        assert_same_bits(predict(x), F.linear(x, lent))


def test_what_a_packed_layer_costs():
    w = rand(65, 40)
    graph, best = only("pack", lambda x: F.linear(x, w), (rand(1, 40),), inference=True)
    (before,), (after,) = graph.calls, best.calls
    assert after.op.name == "linear_panels"
    assert cost.bytes_moved(after) == cost.bytes_moved(before)
    assert cost.flops(after) == cost.flops(before)
    assert cost.flops(best.prologue[0]) == 0


# ---- epilogues of convolutions ----


def conv(x, w, b=None):
    return F.conv2d(x, w, b, padding=1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("residual", [None, "before", "after"])
@pytest.mark.parametrize("act", [None, "relu", "tanh", "sigmoid"])
def test_epilogue_of_convolution(bias, residual, act):
    w, b, scale, shift = rand(5, 3, 3, 3), rand(5), rand(5), rand(5)
    scale_shift = fastnn._core.op_named("scale_shift")

    def f(x, r):
        y = scale_shift(conv(x, w, b if bias else None), scale, shift, None, 0)
        if residual:
            y = y + r if residual == "before" else r + y
        return getattr(y, act)() if act else y

    best = only("epilogue", f, (rand(2, 3, 6, 7), rand(2, 5, 6, 7)))[1]
    assert ops(best) == 1 == ops(best, "conv_act")
    (fused,) = (c for c in best.calls if c.op.name == "conv_act")
    assert [v is not None for v in fused.inputs[2:]] == [
        bias,
        True,
        True,
        bool(residual),
    ]


def test_epilogue_of_a_convolution_alone():
    w = rand(4, 4, 3, 3)
    x, r, columns = rand(2, 4, 6, 7), rand(2, 4, 6, 7), rand(7)
    for f, left in (
        (lambda x, r: conv(x, w).relu(), 1),
        (lambda x, r: conv(x, w) + r, 1),
        (lambda x, r: conv(x, w).relu() + r, 2),  # an activation ends it
        (lambda x, r: conv(x, w) + r + r, 2),
        (lambda x, r: conv(x, w) + columns, 2),  # no vector of channels
        (lambda x, r: conv(x, w) + r[:1], 2),
        (lambda x, r: conv(conv(x, w).relu(), w).relu(), 2),
    ):
        best = only("epilogue", f, (x, r))[1]
        assert ops(best) == left
        assert ops(best, "conv_act") >= 1 or left == 2


def test_networks_in_evaluation_become_convolutions():
    net = nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20), nn.ReLU(),
        nn.Conv2d(20, 20, 3, padding=1), nn.BatchNorm2d(20, affine=False),
    )  # fmt: skip
    x = rand(4, 3, 9, 9)
    net(x)
    net.eval()
    with fastnn.no_grad():
        expected = net(x).numpy()
        f = fastnn.compile(net)
        for _ in range(4):
            assert_same_bits(f(x).numpy(), expected)
        assert [c.op.name for c in f.plans[0].graph.calls] == ["conv_act", "conv_act"]
        net[1].running_mean.add_(0.5)  # what was folded is made again
        assert_same_bits(f(x).numpy(), net(x).numpy())
