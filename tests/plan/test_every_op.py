"""Every row of the op table and every composite gives its bits from a plan too: results,
what it writes, generators, gradients."""

from __future__ import annotations

import pytest
from helpers import assert_same_bits, flat
from samples import ROWS, arguments, callable_for

import fastnn
from fastnn import _core
from fastnn.ops._registry import COMPOSITES
from fastnn.plan import CaptureError

TABLE = {o.name: o for o in _core.all_ops()}
CASES = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    for k in range(len(row.samples))
]
# What cannot be in a plan: samples whose result's shape, or value in Python, depends on
# what tensors hold; None is all of them. What joins them has to be named here.
REFUSED = {
    "nonzero": None,
    "unique": None,
    "bincount": {0, 1, 2},
    "one_hot": {0, 3},  # without num_classes
    "repeat_interleave": {2, 3},  # repeats in a tensor
}
CALLS = 4  # two are recorded, the rest replayed
WAYS = [
    ("float32", "", None),
    ("float64", "", ()),
    ("float32", "strided", None),
]


def refused(name, k):
    return name in REFUSED and (REFUSED[name] is None or k in REFUSED[name])


def compiled_call(name, sample, args, passes):
    """The op compiled as a function of its tensors, and those tensors."""
    function = callable_for(name)

    def call(*given):
        given = iter(given)

        def filled(a):
            if isinstance(a, (tuple, list)):
                return type(a)(filled(v) for v in a)
            return next(given) if isinstance(a, fastnn.Tensor) else a

        return function(*filled(args), **sample.kwargs)

    return call, fastnn.compile(call, passes=passes)


@pytest.mark.parametrize(("dtype", "layout", "passes"), WAYS)
@pytest.mark.parametrize(("name", "k"), CASES)
def test_a_plan_gives_the_bits_of_eager(name, k, dtype, layout, passes):
    sample = ROWS[name].samples[k]

    def fresh():
        return arguments(name, sample, getattr(fastnn, dtype), layout=layout)

    call, compiled = compiled_call(name, sample, fresh(), passes)
    with fastnn.no_grad():
        plain = flat(fresh())
        try:
            expected = call(*plain)
        except ValueError as e:
            assert layout and "contiguous" in str(e)
            return
        for _ in range(CALLS):
            given = flat(fresh())
            if refused(name, k):
                with pytest.raises(CaptureError):
                    compiled(*given)
                return
            got = compiled(*given)
            assert_same_bits(got, expected, f"{name}: results")
            assert_same_bits(given, plain, f"{name}: arguments afterwards")
    assert len(compiled.plans) == 1


SMOOTH = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    if name in COMPOSITES or TABLE[name].differentiable
    for k in range(len(row.samples))
]


@pytest.mark.parametrize("passes", [None, ()], ids=["passes", "plain"])
@pytest.mark.parametrize(("name", "k"), SMOOTH)
def test_a_plan_gives_the_gradients_of_eager(name, k, passes):
    sample, function = ROWS[name].samples[k], callable_for(name)
    args = arguments(name, sample, fastnn.float32, grad=True)
    leaves = [a for a in flat(args) if a.requires_grad]
    state = [a for a in flat(args) if not a.requires_grad]
    before = [a.clone() for a in state]

    def call():
        given = args
        if name in TABLE and "inplace" in TABLE[name].flags:
            given = (args[0] * 1, *args[1:])  # a leaf may not be written
        results = flat([function(*given, **sample.kwargs)])
        results = [y for y in results if y.requires_grad]
        if not results:
            return None, None
        loss = sum((y * y).sum() + y.sum() for y in results)
        return loss.detach(), fastnn.autograd.grad(loss, leaves, allow_unused=True)

    def restored():
        with fastnn.no_grad():
            for a, b in zip(state, before, strict=True):
                if a._version:
                    a.copy_(b)

    try:
        expected = call()
    except RuntimeError as e:
        assert "where gradients flow" in str(e)
        return
    compiled = fastnn.compile(call, passes=passes)
    for _ in range(CALLS):
        restored()
        if refused(name, k):
            with pytest.raises(CaptureError):
                compiled()
            return
        got = compiled()
        assert_same_bits(got, expected, name)
    assert len(compiled.plans) == 1
