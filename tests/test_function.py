"""autograd.Function, gradcheck and gradgradcheck; nothing leaks from a training step."""

import gc
import tracemalloc
import weakref

import pytest

import fastnn
from fastnn import _core
from fastnn.autograd import Function, grad, gradcheck, gradgradcheck


def leaf(*values):
    return fastnn.tensor(values, dtype=fastnn.float64, requires_grad=True)


# ---- custom functions ----


class Double(Function):
    """Two results, one of them saved."""

    @staticmethod
    def forward(ctx, x, factor=2):
        y, z = x * factor, x.exp()
        ctx.factor = factor
        ctx.save_for_backward(x, z)
        return y, z

    @staticmethod
    def backward(ctx, gy, gz):
        _, z = ctx.saved_tensors
        return (gy * ctx.factor + gz * z, None)[: 2 if ctx.factor != 2 else 1]


def test_function():
    x = leaf(0.5, -1.0)
    y, z = Double.apply(x)
    assert y.grad_fn is z.grad_fn
    assert gradcheck(lambda x: Double.apply(x), [x])
    assert gradcheck(lambda x: Double.apply(x, 3), [x])
    assert gradgradcheck(lambda x: Double.apply(x), [x])
    assert gradgradcheck(lambda x: Double.apply(x)[1], [x])
    y, z = Double.apply(x)
    y.sum().backward()  # z's gradient is zeros
    assert x.grad.tolist() == [2, 2]
    with fastnn.no_grad():
        assert not Double.apply(x)[0].requires_grad
    assert not Double.apply(x.detach())[0].requires_grad


def test_function_notices_changes_in_place():
    x = leaf(0.5)
    w = x * 1
    _, z = Double.apply(w)
    with fastnn.no_grad():
        z.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward(fastnn.ones(1, dtype=fastnn.float64))


def test_function_dies_with_its_results():
    gc.collect()
    gc.disable()  # so that nothing but the reference counts can free them
    try:
        x = leaf(0.5)
        y, z = Double.apply(x)
        node, result = weakref.ref(y.grad_fn), weakref.ref(z)
        del y, z
        assert node() is None
        assert result() is None
    finally:
        gc.enable()


def test_function_that_returns_its_argument_or_nothing_useful():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, gy):
            return gy * 5

    x = leaf(1.0)
    Same.apply(x).sum().backward()
    assert x.grad.tolist() == [5]
    assert x.is_leaf

    class Wrong(Function):
        result = None

        @staticmethod
        def forward(ctx, a, b):
            assert ctx.needs_input_grad == (True, False)
            return a * b

        @staticmethod
        def backward(ctx, gy):
            return Wrong.result

    x, b = leaf(1.0, 2.0), fastnn.ones(2, dtype=fastnn.float64)
    for Wrong.result in ((b,), (b, b, b), (1.0, None), (fastnn.ones(7), None)):
        with pytest.raises((RuntimeError, TypeError), match="backward of Wrong"):
            Wrong.apply(x, b).sum().backward()
    Wrong.result = (None, None)
    assert grad(Wrong.apply(x, b).sum(), x, allow_unused=True) == (None,)
    for missing in (Function.forward, Function.backward):
        with pytest.raises(NotImplementedError):
            missing(None)


@pytest.mark.unsanitized
def test_training_leaks_nothing():
    model = fastnn.nn.Sequential(
        fastnn.nn.Linear(8, 16), fastnn.nn.ReLU(), fastnn.nn.Linear(16, 4)
    )
    optimizer = fastnn.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, t = fastnn.ones(5, 8), fastnn.tensor([0, 1, 2, 3, 0])

    def step():
        optimizer.zero_grad()
        y = model(x)
        y.register_hook(lambda g: g * 1)
        fastnn.cross_entropy(Double.apply(y)[0], t).backward(create_graph=False)
        optimizer.step()

    gc.collect()
    gc.disable()  # nothing may wait for the cycle collector
    for _ in range(
        3000
    ):  # until Python's own free lists (2,000 tuples of a size) are full
        step()
    bytes_before = _core.memory_stats()["allocated_bytes"]
    tracemalloc.start()
    step()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(500):
        step()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    gc.enable()
    assert after - before < 4000
    assert _core.memory_stats()["allocated_bytes"] <= bytes_before
    assert gc.collect() == 0


# ---- checks ----


def test_gradcheck_catches():
    class Off(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, gy):
            return gy * ctx.saved_tensors[0] * 2.01

    x = leaf(1.0, 2.0)
    with pytest.raises(AssertionError, match="output 0, input 0"):
        gradcheck(Off.apply, [x])
    assert not gradcheck(Off.apply, [x], raise_exception=False)

    class OffTwice(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, gy):
            return gy * ctx.saved_tensors[0].detach() * 2

    assert gradcheck(OffTwice.apply, [x])
    with pytest.raises(AssertionError):
        gradgradcheck(OffTwice.apply, [x])
    assert gradcheck(lambda x: x.detach() * 0, [x])
    with pytest.raises(AssertionError):
        gradcheck(lambda x: x.detach(), [x])
    for wrong in ([fastnn.ones(2, requires_grad=True)], [fastnn.ones(2)], []):
        with pytest.raises(ValueError, match="float64"):
            gradcheck(lambda *x: x, wrong)
