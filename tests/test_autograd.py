"""The tape: backward, grad, hooks, modes, depth and memory."""

import gc
import resource
import threading
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import autograd
from fastnn.autograd import Function, grad


def leaf(*values, dtype=fastnn.float64):
    return fastnn.tensor(values, dtype=dtype, requires_grad=True)


# ---- backward ----


def test_backward_of_one_element():
    x = leaf(1.0, 2.0, 3.0)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4, 6]
    (x * 2).sum().backward()  # added up
    assert x.grad.tolist() == [4, 6, 8]
    x.grad = None
    s = fastnn.tensor(2.0, requires_grad=True)
    (s**3).backward()
    assert s.grad.item() == 12
    assert s.grad.shape == ()
    one = fastnn.ones(1, 1, requires_grad=True)
    (one * 3).backward()
    assert one.grad.tolist() == [[3]]
    one.backward()
    assert one.grad.tolist() == [[4]]


def test_backward_with_gradient():
    x = leaf(1.0, 2.0)
    g = fastnn.tensor([3.0, 4.0], dtype=fastnn.float64)
    for _ in range(3):
        (x + 0).backward(g)
    assert x.grad.tolist() == [9, 12]
    assert g.tolist() == [3, 4]
    x.backward(g)  # the leaf itself
    x.backward(g)
    assert x.grad.tolist() == [15, 20]
    assert g.tolist() == [3, 4]
    for wrong, error in (
        (None, RuntimeError),
        (fastnn.ones(2), ValueError),
        (fastnn.ones(3, dtype=fastnn.float64), ValueError),
        ([1.0, 1.0], TypeError),
    ):
        with pytest.raises(error, match="backward: expected"):
            (x * 2).backward(wrong)
    with pytest.raises(RuntimeError, match="backward: expected"):
        fastnn.ones(1).backward()
    with fastnn.no_grad(), pytest.raises(RuntimeError, match="backward: expected"):
        (x * 2).sum().backward()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a + b,
        lambda a, b: fastnn.stack([a, b]).sum(0),
        lambda a, b: (a.view(2, 1) + b.view(2, 1)).view(2),
        lambda a, b: a - -b,
    ],
)
def test_gradients_share_no_memory(f, create_graph):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    g = leaf(1.0, 1.0) if create_graph else fastnn.ones(2, dtype=fastnn.float64)
    f(a, b).backward(g, create_graph=create_graph)
    tensors = [a.grad.detach(), b.grad.detach(), g.detach(), a.detach(), b.detach()]
    for i, x in enumerate(tensors):
        for y in tensors[:i]:
            assert not np.shares_memory(x.numpy(), y.numpy())
    with fastnn.no_grad():
        a.grad.zero_()
    assert b.grad.tolist() == [1, 1]
    assert g.tolist() == [1, 1]


def test_kept_gradient_does_not_change_unseen():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    seen = []
    y.register_hook(seen.append)
    (y + 0).sum().backward()
    y.grad.fill_(7)
    assert seen[0].tolist() == [1, 1]
    assert x.grad.tolist() == [2, 2]


def test_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == [8]
    z = (x.exp() * x).sum()
    grad(z, x)
    with pytest.raises(RuntimeError, match="freed"):
        grad(z, x)


def test_create_graph():
    x = leaf(0.5, -1.0)
    y = (x**3).sum()
    (first,) = grad(y, x, create_graph=True)
    (second,) = grad(first.sum(), x, create_graph=True)
    (third,) = grad(second.sum(), x)
    np.testing.assert_allclose(first.detach().numpy(), 3 * x.detach().numpy() ** 2)
    np.testing.assert_allclose(second.detach().numpy(), 6 * x.detach().numpy())
    assert third.tolist() == [6, 6]
    assert x.grad is None
    # gradient penalty, through .grad
    y = (x**3).sum()
    y.backward(create_graph=True)
    (x.grad**2).sum().backward()  # 9 x^4 -> 36 x^3
    expected = 3 * x.detach().numpy() ** 2 + 36 * x.detach().numpy() ** 3
    np.testing.assert_allclose(x.grad.detach().numpy(), expected)


def test_backward_inputs():
    a, b = leaf(1.0), leaf(2.0)
    y = a * b
    y.retain_grad()
    (y * a).sum().backward(inputs=[a], retain_graph=True)
    assert a.grad.tolist() == [4]
    assert b.grad is None
    c = a * b
    (c * c).sum().backward(inputs=[c])
    assert c.grad.tolist() == [4]
    assert b.grad is None
    autograd.backward([a * 2, b * 3], [fastnn.ones(1, dtype=fastnn.float64)] * 2)
    assert (a.grad.tolist(), b.grad.tolist()) == ([6], [3])
    with pytest.raises(ValueError, match="expected 2 gradients"):
        autograd.backward([a * 2, b * 3], [None])


# ---- grad ----


def test_grad():
    a, b = leaf(2.0), leaf(3.0)
    y = a * b
    z = y * y * a
    assert [g.tolist() for g in grad(z, [a, y, b])] == [[3 * 36], [24], [48]]
    assert a.grad is None
    assert [g.tolist() for g in grad(a * a, [a, a])] == [[4], [4]]
    (g,) = grad([a * 2, a * 3], a, [fastnn.ones(1, dtype=fastnn.float64)] * 2)
    assert g.tolist() == [5]
    y = a * 2
    assert grad(y, y)[0].tolist() == [1]
    assert grad(a, a)[0].tolist() == [1]


def test_unused_inputs():
    a, b = leaf(2.0), leaf(3.0)
    for unused in (b, b * 2):
        with pytest.raises(RuntimeError, match="allow_unused"):
            grad(a * 2, [a, unused])
        found = grad(a * 2, [a, unused], allow_unused=True)
        assert found[0].tolist() == [2]
        assert found[1] is None
    with pytest.raises(RuntimeError, match="require grad"):
        grad(a * 2, fastnn.ones(1))


def test_only_what_leads_to_the_inputs_is_run():
    a = leaf(1.0)
    calls = []

    class Watched(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gy):
            calls.append(1)
            return gy * 2

    mid = a * 3
    side = Watched.apply(a)
    grad((mid * side).sum(), mid)
    assert calls == []


# ---- hooks ----


def test_hooks():
    x = leaf(1.0, 2.0)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    handle = x.register_hook(lambda g: g + 1)
    y.sum().backward()
    assert seen == [("y", [1, 1]), ("x", [30, 30])]
    assert x.grad.tolist() == [31, 31]
    handle.remove()
    handle.remove()
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert grad((x * 2).sum(), x)[0].tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="requires grad"):
        fastnn.ones(1).register_hook(print)


def test_hooks_whose_handles_are_dropped():
    x = leaf(1.0)
    for factor in (2, 3, 5):
        x.register_hook(lambda g, factor=factor: g * factor)
    y = x * 1
    for factor in (7, 11):
        y.register_hook(lambda g, factor=factor: g * factor)
    y.sum().backward()
    assert x.grad.tolist() == [2 * 3 * 5 * 7 * 11]


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_run_once(create_graph):
    """Also before an op that is differentiated through its composite form."""
    x = leaf([1.0, 2.0])
    y = x * 1
    calls = []
    for t in (x, y):
        t.register_hook(lambda g: (calls.append(1), g * 2)[1])
    fastnn.cross_entropy(y, fastnn.tensor([0])).backward(create_graph=create_graph)
    p = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    np.testing.assert_allclose(x.grad.detach().numpy(), [4 * (p - [1, 0])], rtol=1e-12)
    assert len(calls) == 2


def test_retain_grad():
    x = leaf(2.0)
    y = x * 3
    assert not y.retains_grad
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad
    (y * y).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [12]
    x.retain_grad()  # a leaf: nothing to do
    y = x * 3
    (y * y).sum().backward()
    assert y.grad is None


def test_errors_leave_the_engine_usable():
    x = leaf(2.0)

    def fail(g):
        raise KeyError("hook")

    class Fails(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gy):
            raise KeyError("backward")

    for make in (lambda: Fails.apply(x).sum(), lambda: x.exp().sum()):
        y = make()
        if y.grad_fn.name != "Fails":
            y.register_hook(fail)
        for create_graph in (False, True):
            with pytest.raises(KeyError):
                y.backward(create_graph=create_graph)
            assert fastnn.is_grad_enabled()
    assert x.grad is None
    y = x * x
    y.register_hook(lambda g: "no tensor")
    with pytest.raises(TypeError, match="hook"):
        y.sum().backward()
    y = x * x
    y.register_hook(lambda g: fastnn.ones(5, dtype=fastnn.float64))
    with pytest.raises((RuntimeError, ValueError)):
        y.sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [4]


# ---- modes ----


def test_modes():
    x = leaf(1.0)

    @fastnn.no_grad()
    def quiet():
        return (x * 2).requires_grad

    @fastnn.no_grad
    def bare():
        return (x * 2).requires_grad

    @fastnn.enable_grad()
    def loud():
        return (x * 2).requires_grad

    assert not quiet()
    assert not bare()
    with fastnn.no_grad():
        assert loud()
        assert not fastnn.is_grad_enabled()
        with fastnn.enable_grad():
            assert (x * 2).requires_grad
            with fastnn.no_grad():
                assert not (x * 2).requires_grad
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with fastnn.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert fastnn.is_grad_enabled()
    with pytest.raises(KeyError), fastnn.no_grad():
        raise KeyError
    assert fastnn.is_grad_enabled()


def test_modes_are_per_thread():
    seen = []
    with fastnn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(fastnn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_and_requires_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    d = y.detach()
    assert (d.requires_grad, d.is_leaf, y.is_leaf, x.is_leaf) == (
        False,
        True,
        False,
        True,
    )
    assert np.shares_memory(d.numpy(), y.detach().numpy())
    assert y.grad_fn.name == "mul"
    assert x.grad_fn is None
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad_(False)
    assert y.detach_() is y
    assert not y.requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad
    assert not (fastnn.ones(2, requires_grad=True) > 0).requires_grad
    with pytest.raises(ValueError, match="grad: expected"):
        x.grad = fastnn.ones(3, dtype=fastnn.float64)
    with pytest.raises(TypeError):
        x.grad = 1.0


def test_broadcast_and_dtypes():
    a, b = fastnn.ones(3, 1, requires_grad=True), leaf(1.0, 2.0)
    y = a * b  # float32 with float64
    assert y.dtype is fastnn.float64
    y.sum().backward()
    assert a.grad.dtype is fastnn.float32
    assert a.grad.tolist() == [[3]] * 3
    assert b.grad.tolist() == [3, 3]


# ---- depth and memory ----


def chain(x, n):
    for _ in range(n):
        x = x * 1.0
    return x


def test_deep_graph():
    def work():
        x = leaf(1.0)
        chain(x, 10_000).sum().backward()
        y = chain(x, 10_000)
        assert grad(chain(y, 100).sum(), x)[0].tolist() == [1]
        for _ in range(10_000):
            y = y.tanh()  # each node keeps its result
        del y
        z = x
        for _ in range(10_000):
            z = z * z + z.detach() * 0
        z.backward(fastnn.zeros(1, dtype=fastnn.float64))
        grad(chain(x, 10_000).sum(), x, create_graph=True)
        done.append(x.grad.tolist())

    done = []
    old = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old)
    assert len(done) == 1


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.unsanitized
def test_a_million_small_ops_leave_memory_flat():
    x, w = fastnn.ones(8), fastnn.ones(8, requires_grad=True)

    def run(n):
        y = x
        for _ in range(n):
            y = x + y * 0.5
            y = y * w.detach()
        for _ in range(n // 10):
            (w * 2 + x).sum().backward()

    run(20_000)
    gc.collect()
    before = resident()
    run(450_000)
    assert resident() - before < 2 << 20


def test_clamp_passes_the_gradient_at_its_limits():
    """Where maximum and minimum would share it."""
    x = fastnn.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    x.clamp(-1, 1).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    low = fastnn.tensor([-1.0, -1.0, 0.5, 1.0, 1.0], requires_grad=True)
    x.detach().clamp(low).sum().backward()
    assert low.grad.tolist() == [1, 0, 1, 0, 0]


def test_the_root_in_std_and_norm_is_flat_at_zero():
    x = fastnn.ones(2, 3, requires_grad=True)
    (x.std(1).sum() + (x * 0).norm()).backward()
    assert x.grad.tolist() == [[0] * 3] * 2
