"""Groups of elementwise calls run block by block: the bits of running them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import arrays, assert_same_bits, tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ROWS, arguments
from samples._rows import EXTREMES

import fastnn
from fastnn import _core

pytestmark = [pytest.mark.bits, pytest.mark.usefixtures("as_before")]

TABLE = {o.name: o for o in _core.all_ops()}
FLOATS = [fastnn.float32, fastnn.float64]
THREADS = [1, 2, 3, 8]
# Those that one driver runs (csrc/ops/map.c); dropout and the like are no part of it.
# binary_cross_entropy checks its values first, which a group would leave out
MAPS = [
    n
    for n, o in TABLE.items()
    if o.flags == ["elementwise"] and n != "binary_cross_entropy"
]
BY_NAME = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name in MAPS
    for k in range(len(ROWS[name].samples) + len(ROWS[name].big))
]


def one_by_one(calls):
    """The same calls in order, each on its own."""
    results = []
    for op, inputs, attrs in calls:
        given = [results[x[1]] if isinstance(x, tuple) else x for x in inputs]
        results.append(op(*given, *attrs))
    return results


def call(name, *inputs, attrs=()):
    return TABLE[name], inputs, attrs


def result(i):
    return ("result", i)


def check(calls, scratch=()):
    """The group gives what its calls give, on any number of threads."""
    without = [i in scratch for i in range(len(calls))]
    expected = one_by_one(calls)
    for threads in (1, 2, 3):
        fastnn.set_num_threads(threads)
        got = _core.run_group(calls, without)
        assert got is not None
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert (a is None) == without[i]
            if a is not None:
                assert_same_bits(a, b, f"call {i}, {calls[i][0].name}")


def refused(*calls, scratch=()):
    return _core.run_group(calls, [i in scratch for i in range(len(calls))]) is None


def repeats_a_run(x, shape):
    """Whether x broadcast to shape is element i // r % x.size of it at i, for some r."""
    n = int(np.prod(shape))
    at = np.broadcast_to(np.arange(x.size).reshape(x.shape), shape).ravel()
    return n == 0 or any(
        n % r == 0 and np.array_equal(at, np.arange(n) // r % x.size)
        for r in {n, *(int(np.prod(shape[d:])) for d in range(len(shape) + 1))}
    )


# ---- every op of the table --------------------------------------------------------------


def test_the_table_is_covered():
    assert {"add", "where", "eq", "huber_backward", "copy", "floor_divide"} <= set(MAPS)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "k"), BY_NAME)
def test_every_map_alone(name, k, dtype):
    sample = (ROWS[name].samples + ROWS[name].big)[k]
    op, args = TABLE[name], arguments(name, sample, dtype)
    n_in = len(op.inputs)
    inputs, attrs = args[:n_in], (*args[n_in:], *sample.kwargs.values())
    expected = op(*inputs, *attrs)
    got = _core.run_group([(op, inputs, attrs)], [False])
    fits = all(repeats_a_run(np.asarray(a), expected.shape) for a in arrays(inputs))
    fits &= name != "copy" or expected.dtype == inputs[0].dtype
    whole = name in ("floor_divide", "remainder") and not expected.is_floating_point()
    if not fits or whole:
        assert got is None
    else:
        assert_same_bits(got, [expected], name)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", MAPS)
def test_every_map_in_the_middle_of_a_chain(name, dtype):
    """Its inputs are results in slots, and its result one for the next."""
    op = TABLE[name]
    sample = next(s for s in ROWS[name].samples if np.ndim(s.args[-1]) or len(s.args))
    rng = np.random.default_rng(len(name))
    shape = (37, 83)
    calls, inputs = [], []
    for i, a in enumerate(sample.args[: len(op.inputs)]):
        kind = np.asarray(a).dtype.kind
        if kind == "b" or name.startswith("bitwise"):
            x = tensors(rng.standard_normal(shape), dtype)
            calls.append(call("gt", x, 0.1))
        else:
            x = tensors(rng.uniform(0.05, 0.95, shape), dtype)
            calls.append(call("abs", x))
        inputs.append(result(i))
    attrs = (-1,) if name == "copy" else ()
    calls.append((op, tuple(inputs), attrs))
    made = len(calls) - 1
    calls.append(call("add", result(made), 1.5))
    check(calls)
    check(calls, scratch=range(made + 1))
    check([*calls, call("sum", result(made + 1), attrs=((0,), False))],
          scratch=range(made + 2))  # fmt: skip


# ---- operands ---------------------------------------------------------------------------

SHAPES = [(), (1,), (7,), (5, 3), (2, 3, 5), (3, 100), (2, 300), (40, 2, 7), (2, 3, 70)]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(
    "shape", [*SHAPES, (0,), (0, 3), (3, 0), (1000, 33), (9, 3000)]
)
def test_operands_that_broadcast(shape, dtype):
    rng = np.random.default_rng(0)
    x = tensors(rng.standard_normal(shape), dtype)
    others = {shape, (), (1,) * len(shape)}
    for d in range(len(shape)):
        others |= {
            shape[d:],  # a row for all
            (*shape[: d + 1], *(1,) * (len(shape) - d - 1)),  # a column
            (shape[d], *(1,) * (len(shape) - d - 1)),  # a channel
        }
    for other in sorted(others):
        y = tensors(rng.standard_normal(other), dtype)
        calls = [
            call("mul", x, y),
            call("sub", y, result(0)),
            call("lt", result(1), y),
            call("where", result(2), result(0), y),
            call("maximum", result(3), 0.25),
        ]
        check(calls)
        check(calls, scratch=range(4))


def test_operands_that_repeat_in_long_runs():
    x = fastnn.randn(2, 3, 300)
    short, long = fastnn.randn(300), fastnn.randn(3, 300)
    channel = fastnn.randn(3, 1)  # wraps round, as the bias of a convolution
    check([call("hardtanh", x, short, long), call("hardtanh", result(0), long, short)])
    check([call("mul", channel, x), call("hardtanh", result(0), channel, short)])


@pytest.mark.parametrize("shape", [(11,), (33, 70), (4, 5, 6)])
def test_operands_of_other_dtypes(shape):
    rng = np.random.default_rng(1)
    x = fastnn.from_numpy(rng.standard_normal(shape).astype(np.float32))
    wide = fastnn.from_numpy(rng.standard_normal(shape))
    whole = fastnn.from_numpy(rng.integers(-5, 5, shape[-1:]))
    calls = [
        call("mul", x, whole),
        call("gt", result(0), wide),  # float64
        call("mul", result(1), result(0)),  # bool times float32
        call("add", result(2), fastnn.tensor(2.5, dtype=fastnn.float64)),
        call("bitwise_not", result(1)),
        call("where", result(4), result(3), True),
    ]
    check(calls)
    check(calls, scratch=range(5))


def test_an_operand_can_be_a_view():
    x = fastnn.randn(12, 40)
    check([call("mul", x[3:7], x[7:11]), call("add", result(0), x[1])], scratch=[0])
    check([call("mul", x.T.T, x[:, :1].expand(12, 40)[:1, :1]), call("neg", result(0))])
    check([call("mul", x, x[2].expand(12, 40))])  # a row by its strides


@pytest.mark.parametrize("shape", [(5,), (300, 70), (2, 9000)])
def test_a_result_can_lie_over_an_operand(shape):
    x, y = fastnn.randn(*shape), fastnn.randn(*shape)
    calls = [
        call("mul", x, y),
        call("add", result(0), x),
        call("tanh", result(1)),
        call("sub", result(2), y),
        call("sum", result(3), attrs=((0,), True)),
    ]
    expected = one_by_one(calls)
    scratch = [True, False, True, False, False]
    got = _core.run_group(calls, scratch, {1: x, 3: y})
    assert_same_bits(
        [got[1], got[3], got[4], x, y], [expected[i] for i in (1, 3, 4, 1, 3)]
    )


def test_what_is_special_stays_so():
    x = tensors(np.resize(EXTREMES, (23, 71)), fastnn.float32)
    calls = [
        call("mul", x, -1.0),
        call("maximum", result(0), x[5]),
        call("relu", result(1)),
        call("eq", result(2), x),
        call("where", result(3), x, result(0)),
    ]
    check(calls, scratch=[0, 1, 3])
    check([*calls, call("sum", result(2), attrs=((0,),))], scratch=[0, 1, 2, 3])


# ---- reductions -------------------------------------------------------------------------

ROWS_AND_COLS = [
    (rows, cols)
    for rows in (1, 2, 17, 255, 256, 257, 700)
    for cols in (1, 2, 3, 10, 16, 31, 64, 257, 400)
] + [
    (5000, 1),
    (3000, 2),
    (3000, 10),
    (5, 3000),
    (257, 4200),
    (2100, 130),
    (0, 3),
    (3, 0),
    (0, 0),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("rows", "cols"), ROWS_AND_COLS)
def test_sums_over_rows(rows, cols, dtype):
    rng = np.random.default_rng(rows + cols)
    gy, y = (tensors(rng.standard_normal((rows, cols)), dtype) for _ in range(2))
    calls = [
        call("relu_backward", gy, y),
        call("sum", result(0), attrs=((0,), rows % 2)),
    ]
    check(calls)
    check(calls, scratch=[0])
    bias = tensors(rng.standard_normal(cols), dtype)
    calls = [
        call("add", gy, bias),
        call("tanh", result(0)),
        call("tanh_backward", y, result(1)),
        call("sum", result(2), attrs=((0,),)),
        call("mean", result(1), attrs=((0,),)),
    ]
    check(calls, scratch=[0, 1])
    check(calls, scratch=[0, 1, 2])


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin"])
def test_reductions_over_leading_dimensions(name):
    x = fastnn.randn(3, 130, 5, 7)
    x[1, 2, 3, 4] = float("nan")
    for dims in [(0,), (0, 1), (1, 0), (0, 1, 2), (0, 1, 2, 3), (-4, -3), ()]:
        calls = [call("mul", x, 2.5), call(name, result(0), attrs=(dims, False))]
        check(calls, scratch=[0])
        check(calls)
    one = [
        call("mul", fastnn.randn(3, 1, 5, 7), 0.5),
        call(name, result(0), attrs=((0, 3),)),
    ]
    assert refused(*one)  # keeps 5 before it reduces 7
    check([one[0], call(name, result(0), attrs=((1,),))], scratch=[0])  # of one element


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_every_thread_count_and_isa(dtype):
    rng = np.random.default_rng(2)
    for shape in [(130, 257), (1500, 40), (300, 1100)]:
        x, y = (tensors(rng.standard_normal(shape), dtype) for _ in range(2))
        calls = [
            call("gelu", x),
            call("mul", result(0), y),
            call("gt", result(1), y),
            call("where", result(2), result(0), result(1)),
            call("sum", result(3), attrs=((0,),)),
        ]
        scratch = [True, False, True, True, False]
        _core.set_isa("generic")
        expected = arrays([r for r in _core.run_group(calls, scratch) if r is not None])
        for isa in _core.isas():
            _core.set_isa(isa)
            for threads in THREADS:
                fastnn.set_num_threads(threads)
                got = [r for r in _core.run_group(calls, scratch) if r is not None]
                for a, b in zip(arrays(got), expected, strict=True):
                    assert_same_bits([a], [b], f"{shape} on {isa}, {threads} threads")


# ---- what does not fit ------------------------------------------------------------------


def test_what_does_not_fit_is_refused():
    x = fastnn.randn(6, 8)
    neg = call("neg", x)
    assert not refused(neg)
    assert refused()
    assert refused(call("neg", x.T))
    assert refused(call("neg", x[:, ::2]))
    assert refused(call("neg", x[:, :4]))
    assert refused(call("add", fastnn.randn(2, 3, 4), fastnn.randn(2, 1, 4)))
    assert refused(neg, call("neg", x[:3]))  # another shape
    assert refused(neg, call("add", result(0), fastnn.randn(2, 6, 8)))
    assert refused(call("matmul", x, x.T))
    assert refused(neg, call("softmax", result(0)))
    assert refused(neg, call("copy", result(0), attrs=(fastnn.float64.code,)))
    sum_ = call("sum", result(0), attrs=((0,),))
    assert not refused(neg, sum_, scratch=[0])
    assert refused(neg, sum_, scratch=[0, 1])
    assert refused(call("sum", x, attrs=((0,),)))
    assert refused(neg, call("sum", x, attrs=((0,),)))
    assert refused(neg, call("sum", result(0), attrs=((1,),)))
    assert refused(neg, call("argmax", result(0), attrs=((0,),)))
    assert refused(neg, sum_, call("add", result(0), result(1)))  # reads the sum
    assert refused(neg, sum_, call("sum", result(0)))  # other rows
    assert refused(call("gt", x, 0.0), sum_)  # counts integers


# ---- chains at random -------------------------------------------------------------------

UNARY = ["neg", "abs", "relu", "tanh", "exp", "sign", "copy"]
BINARY = ["add", "mul", "sub", "maximum", "div", "relu_backward", "pow"]
COMPARE = ["lt", "ge", "eq", "ne"]


@st.composite
def groups(draw):
    """Calls of one shape, with the operands that fit, and perhaps reductions."""
    shape = tuple(
        draw(st.lists(st.sampled_from([1, 2, 3, 16, 33, 64, 300]), max_size=3))
    )
    while np.prod(shape) > 40000:
        shape = shape[1:]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dtype = draw(st.sampled_from(FLOATS))
    made: list[str] = []  # "float" or "bool"
    calls = []

    def operand(kind="float"):
        past = [i for i, k in enumerate(made) if k == kind]
        if past and draw(st.booleans()):
            return result(draw(st.sampled_from(past)))
        where = draw(st.integers(0, 3))
        if where == 0 and kind == "float":
            return draw(st.sampled_from([0.5, -2.0, 3, float("nan"), float("inf")]))
        d = draw(st.integers(0, len(shape)))
        size = shape[d:] if where == 1 else shape
        if where == 2:
            size = (*shape[:d], *(1,) * (len(shape) - d))
        values = np.asarray(rng.standard_normal(size))
        return tensors(np.asarray(values > 0) if kind == "bool" else values, dtype)

    def whole():
        return tensors(np.asarray(rng.standard_normal(shape)), dtype)

    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.integers(0, 9))
        past = [i for i, k in enumerate(made) if k == "float"]
        first = result(draw(st.sampled_from(past))) if past else whole()
        if kind < 3:
            calls.append(call(draw(st.sampled_from(UNARY)), first))
        elif kind < 7:
            calls.append(call(draw(st.sampled_from(BINARY)), first, operand()))
        elif kind < 8:
            calls.append(call(draw(st.sampled_from(COMPARE)), operand(), first))
        elif kind < 9:
            calls.append(call("where", operand("bool"), operand(), first))
        else:
            calls.append(call("hardtanh", first, operand(), operand()))
        made.append("bool" if 7 <= kind < 8 else "float")
    scratch = [draw(st.booleans()) for _ in made]
    dims = tuple(range(draw(st.integers(1, len(shape))))) if shape else ()
    for _ in range(draw(st.integers(0, 2))):
        past = [i for i, k in enumerate(made) if k == "float"]
        if past:
            name = draw(st.sampled_from(["sum", "mean", "amax"]))
            at = draw(st.sampled_from(past))
            calls.append(call(name, result(at), attrs=(dims, draw(st.booleans()))))
            scratch.append(False)
    return calls, [i for i, s in enumerate(scratch) if s]


@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@given(groups())
def test_chains_at_random(group):
    check(*group)
