"""Generic tests: every row of the op table and every composite, from tests/samples/."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import arrays, assert_same_bits, flat, tensors
from samples import ROWS, arguments, callable_for

import fastnn
from fastnn import _core
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.ops._record import recording
from fastnn.ops._registry import COMPOSITES, NO_GRADIENT, PUBLIC, REFERENCES

TABLE = {o.name: o for o in _core.all_ops()}
CASES = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    for k in range(len(row.samples))
]
HOSTILE = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    for k in range(len(row.hostile))
]
FLOATS = [fastnn.float32, fastnn.float64]


def is_random(name):
    return name in TABLE and "random" in TABLE[name].flags


def is_inplace(name):
    """Whether the call's results are in its inputs."""
    return name in TABLE and ("inplace" in TABLE[name].flags or not TABLE[name].outputs)


def outcome(name, args, result):
    """What a call made: its result, or what it wrote where it has none."""
    if name in TABLE and not TABLE[name].outputs:
        return [args[TABLE[name].inputs.index(w)] for w in TABLE[name].written]
    return result


def differentiable(name):
    return name in COMPOSITES or TABLE[name].differentiable


def widened(value):
    """Tensors as arrays, float ones in float64."""
    if isinstance(value, (tuple, list)):
        return type(value)(widened(v) for v in value)
    if not isinstance(value, fastnn.Tensor):
        return value
    return (
        (value.double() if value.is_floating_point() else value.clone()).numpy().copy()
    )


# ---- the journey of an op ---------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_every_stop_of_the_journey_is_there(name):
    assert name in ROWS, f"tests/samples/ has no row for {name}"
    assert ROWS[name].samples and ROWS[name].hostile
    declared = TABLE[name].differentiable + (name in NO_GRADIENT)
    assert declared == 1, f"{name}: declare @gradient or no_gradient in fastnn/ops"
    if not is_random(name):
        assert name in REFERENCES, f"{name}: no NumPy reference in fastnn/ops"


@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_every_composite_has_samples_and_a_reference(name):
    assert name in ROWS and name in REFERENCES


def test_rows_name_ops_that_exist():
    assert set(ROWS) <= set(TABLE) | COMPOSITES


# ---- values -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "k"), CASES)
def test_reference(name, k, dtype):
    row, sample = ROWS[name], ROWS[name].samples[k]
    if is_random(name):
        pytest.skip("random numbers have no reference; see test_random.py")
    args = arguments(name, sample, dtype)
    exact = widened(args)
    with np.errstate(all="ignore"):
        expected = REFERENCES[name](*exact, **sample.kwargs)
        scale = row.scale(*exact, **sample.kwargs) if row.scale else None
    result = callable_for(name)(*args, **sample.kwargs)
    got = arrays(outcome(name, args, result))
    wanted = arrays(expected)
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        w = np.asarray(w)
        assert g.shape == w.shape
        if g.dtype.kind != "f":
            np.testing.assert_array_equal(g, w.astype(g.dtype))
            continue
        with np.errstate(all="ignore"):
            narrow = w.astype(g.dtype)
            special = ~np.isfinite(narrow)
            np.testing.assert_array_equal(g[special], narrow[special])
            limit = row.rtol[dtype.name] * (np.abs(w) if scale is None else scale)
            limit = limit + np.finfo(g.dtype).smallest_subnormal
            error = np.abs(g.astype(np.float64) - w)
        worst = np.where(special, 0, error - limit)
        assert (worst <= 0).all(), f"error {error.max()} above {np.max(limit)}"


@pytest.mark.parametrize(("name", "k"), CASES)
def test_result_dtype_and_fresh_memory(name, k):
    sample = ROWS[name].samples[k]
    if is_inplace(name):
        pytest.skip("writes its input")
    args = arguments(name, sample, fastnn.float32)
    before = [a.numpy().copy() for a in args if isinstance(a, fastnn.Tensor)]
    result = callable_for(name)(*args, **sample.kwargs)
    first = result if isinstance(result, fastnn.Tensor) else result[0]
    sources = [a for a in args if isinstance(a, fastnn.Tensor)]
    shares = any(_core.same_storage(first, a) for a in sources)
    assert shares == (name in TABLE and "view" in TABLE[name].flags)
    if not is_random(name):
        written = TABLE[name].written if name in TABLE else ()
        names = TABLE[name].inputs if written else ()
        changed = [id(a) for n, a in zip(names, args, strict=False) if n in written]
        for a, b in zip(sources, before, strict=True):
            if id(a) not in changed:
                np.testing.assert_array_equal(a.numpy(), b)


# ---- gradients --------------------------------------------------------------------------


def _functional(name, sample):
    """The op as a function of its float inputs, in-place ops on a copy."""
    function = callable_for(name)
    args = arguments(name, sample, fastnn.float64, grad=True)
    flat = [b for a in args for b in (a if isinstance(a, list) else [a])]
    leaves = [a for a in flat if isinstance(a, fastnn.Tensor) and a.requires_grad]

    def call(*_):
        fresh = [
            a() if callable(a) and not isinstance(a, fastnn.Tensor) else b
            for a, b in zip(sample.args, args, strict=True)
        ]
        if is_inplace(name):
            fresh[0] = fresh[0] * 1  # a result: leaves may not be written
        result = function(*fresh, **sample.kwargs)
        return result if isinstance(result, fastnn.Tensor) else result[0]

    return call, leaves


SMOOTH = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    if differentiable(name)
    for k, s in enumerate(row.samples)
    if s.smooth
]


@pytest.mark.parametrize(("name", "k"), SMOOTH)
def test_gradient(name, k):
    call, leaves = _functional(name, ROWS[name].samples[k])
    assert gradcheck(call, leaves)


@pytest.mark.parametrize(("name", "k"), SMOOTH)
def test_second_gradient(name, k):
    call, leaves = _functional(name, ROWS[name].samples[k])
    assert gradgradcheck(call, leaves, atol=2e-5)


@pytest.mark.parametrize("name", sorted(n for n in ROWS if not differentiable(n)))
def test_no_gradient_means_no_graph(name):
    sample = ROWS[name].samples[0]
    if is_inplace(name):
        pytest.skip("an update in place of leaves is refused while recording")
    result = callable_for(name)(
        *arguments(name, sample, fastnn.float64, grad=True), **sample.kwargs
    )
    first = result if isinstance(result, fastnn.Tensor) else result[0]
    assert not first.requires_grad


# ---- memory layouts, out=, replay -------------------------------------------------------


@pytest.mark.parametrize("layout", ["strided", "reversed", "transposed", "misaligned"])
@pytest.mark.parametrize(("name", "k"), CASES)
def test_layout_changes_no_bit(name, k, layout):
    sample = ROWS[name].samples[k]
    function = callable_for(name)
    plain = arguments(name, sample, fastnn.float32)
    other = arguments(name, sample, fastnn.float32, layout=layout)
    try:
        got = function(*other, **sample.kwargs)
    except ValueError as e:
        assert "contiguous" in str(e)  # said in words; the public function copies
        return
    expected = function(*plain, **sample.kwargs)
    got, expected = outcome(name, other, got), outcome(name, plain, expected)
    assert_same_bits(got, expected, f"{name} {layout}")


@pytest.mark.parametrize(("name", "k"), CASES)
def test_into_an_existing_output(name, k):
    sample = ROWS[name].samples[k]
    function = TABLE.get(name)
    if function is None:
        pytest.skip("the public function says what it takes")
    if is_inplace(name) or "view" in function.flags or len(function.outputs) != 1:
        with pytest.raises(TypeError, match="out"):
            function.into(fastnn.zeros(3), *arguments(name, sample, fastnn.float32))
        return
    expected = function(*arguments(name, sample, fastnn.float32))
    first = expected if isinstance(expected, fastnn.Tensor) else expected[0]
    out = fastnn.full(first.shape, 1, dtype=first.dtype)
    assert function.into(out, *arguments(name, sample, fastnn.float32)) is out
    assert_same_bits(out, first, name)
    if first.numel() > 1 and first.ndim:
        wide = fastnn.zeros(*first.shape, 2, dtype=first.dtype)[..., 0]
        function.into(wide, *arguments(name, sample, fastnn.float32))
        assert_same_bits(wide, first, f"{name} into strided memory")
    with pytest.raises(ValueError, match="out"):
        function.into(
            fastnn.zeros(3, 1, 4, 1, dtype=first.dtype),
            *arguments(name, sample, fastnn.float32),
        )


@pytest.mark.parametrize(("name", "k"), CASES)
def test_a_recorded_call_can_be_replayed(name, k):
    sample = ROWS[name].samples[k]
    tape = []
    args = arguments(name, sample, fastnn.float32)
    given = flat(args)
    copies = [a.clone() for a in given]
    with recording(lambda *call: tape.append(call)):
        result = callable_for(name)(*args, **sample.kwargs)
    assert tape
    kept = [fastnn.tensor(a) for a in arrays(outcome(name, args, result))]
    for a, b in zip(
        given, copies, strict=True
    ):  # put back what was advanced or written
        if a._version:
            a.copy_(b)
    made = [[a.copy() for a in arrays(r)] for _, _, r in tape]
    for (op, call_args, _), before in zip(tape, made, strict=True):
        again = op(*call_args)
        if name in COMPOSITES:  # gives back more, or less, than its last call made
            assert_same_bits(again, [fastnn.from_numpy(a) for a in before], op.name)
        else:
            assert_same_bits(outcome(name, args, again), kept, name)


# ---- bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "k"), HOSTILE)
def test_hostile_input_raises_and_leaves_operands_alone(name, k):
    hostile = ROWS[name].hostile[k]
    args = tensors(hostile.args)
    before = arrays(args)
    before = [a.copy() for a in before]
    with pytest.raises(hostile.error, match=hostile.match):
        callable_for(name)(*args, **hostile.kwargs)
    for a, b in zip(arrays(args), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_wrong_kinds_of_argument(name):
    op = TABLE[name]
    for args in [
        (),
        (None,) * 9,
        ("x",) * max(1, len(op.inputs)),
        (object(),),
        ([],),
        (fastnn.ones(2),) * 12,
        ({},) * 3,
    ]:
        if args == ([],) and name in ("total_norm", "all_finite"):
            continue  # of no tensors: 0, and True
        with pytest.raises((TypeError, ValueError, IndexError)) as caught:
            op(*args)
        assert name.rstrip("_") in str(caught.value) or "expected" in str(caught.value)


def test_every_public_function_is_exported():
    for name in PUBLIC:
        assert hasattr(fastnn, name), name
