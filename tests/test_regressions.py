"""Bugs that were found, one test each; every one was seen failing."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fastnn
from fastnn import Tensor, _core, autograd
from fastnn.ops.optim import optimizer_step


def in_threads(n, function):
    errors = []

    def run():
        try:
            function()
        except Exception as e:  # handed to the test below
            errors.append(e)

    threads = [threading.Thread(target=run) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


@pytest.mark.parametrize("bad", [None, 1.0, Tensor.__new__(Tensor)])
def test_what_is_no_tensor_in_a_pass_is_refused(bad):
    x = fastnn.ones(2, requires_grad=True)
    y = (x * x).sum()
    for call in (
        lambda: autograd.grad(y, [bad]),
        lambda: autograd.grad(bad, [x]),
        lambda: y.backward(inputs=[bad]),
        lambda: autograd.backward([bad]),
    ):
        with pytest.raises((TypeError, RuntimeError), match="expected"):
            call()


def test_labels_written_while_they_are_read():
    x = fastnn.randn(3000, 50)
    t = fastnn.zeros(3000, dtype=fastnn.int64)
    stop = []

    def spoil():
        while not stop:
            t.fill_(10**12)
            t.fill_(0)

    writer = threading.Thread(target=spoil)
    writer.start()
    try:
        for _ in range(60):
            try:
                fastnn.cross_entropy(x, t)
            except IndexError as e:
                assert "labels" in str(e)
    finally:
        stop.append(True)
        writer.join()


def test_memory_swapped_while_it_is_read():
    x = fastnn.ones(300_000)
    stop = []

    def swap():
        while not stop:
            x.data = fastnn.ones(300_000)

    writer = threading.Thread(target=swap)
    writer.start()
    try:
        for _ in range(200):
            assert fastnn.exp(x).shape == (300_000,)
    finally:
        stop.append(True)
        writer.join()


def test_threads_never_draw_the_same_numbers():
    draws = []
    in_threads(4, lambda: draws.append(fastnn.rand(500_000).numpy()))
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(draws[i], draws[j])


def test_threads_add_to_one_gradient():
    w = fastnn.ones(100_000, requires_grad=True)

    def passes():
        for _ in range(50):
            w.sum().backward()

    in_threads(4, passes)
    assert w.grad.numpy().min() == w.grad.numpy().max() == 200


def test_cat_into_its_own_operands():
    out = fastnn.arange(4.0)
    _core.op_named("cat").into(out, [out[2:], out[:2]], 0)
    assert out.tolist() == [2, 3, 0, 1]


def test_views_taken_before_a_recorded_change():
    w = fastnn.ones(2, requires_grad=True)
    buffer = fastnn.zeros(2)
    view = buffer[0:2]
    buffer.add_(w)
    with pytest.raises(RuntimeError, match="take the view again"):
        view * 2
    x = w * 2
    view = x[:1].reshape(())
    x.mul_(10.0)
    with pytest.raises(RuntimeError, match="take the view again"):
        view.backward()


def test_views_taken_without_recording_are_not_written_while_recording():
    w = fastnn.ones(2, requires_grad=True)
    with fastnn.no_grad():
        view = w[:1]
    with pytest.raises(RuntimeError, match="no_grad"):
        view.zero_()
    with fastnn.no_grad():
        view.zero_()
    assert w.tolist() == [0, 1]


def test_a_vector_product_into_the_wrong_output():
    for out in (fastnn.zeros(3, 2), fastnn.zeros(2, dtype=fastnn.float64)):
        with pytest.raises(ValueError, match=r"matmul.*out"):
            fastnn.matmul(fastnn.ones(4), fastnn.ones(4, 2), out=out)


def test_an_optimizer_step_over_shared_memory():
    hyper = fastnn.tensor([0.5, 0, 0, 0], dtype=fastnn.float64)
    b = fastnn.ones(2000)
    optimizer_step("sgd", hyper, [b[1:]], [b[:-1]], [None])
    assert b[1:].numpy().min() == b[1:].numpy().max() == 0.5
    for params, buffers in (([b[1:]], [b[:-1]]), ([b, b[3:]], None)):
        grads = [fastnn.ones(*p.shape) for p in params]
        with pytest.raises(ValueError, match="overlap"):
            optimizer_step("sgd", hyper, params, grads, [buffers])


def test_a_square_has_the_same_bits_however_it_is_asked_for():
    x = fastnn.randn(10_000)
    square = (x * x).numpy()
    for y in (
        x**2,
        fastnn.pow(x, 2),
        fastnn.pow(x, 2, out=fastnn.zeros(10_000)),
        x ** fastnn.tensor([2.0]),
    ):
        np.testing.assert_array_equal(y.numpy(), square)


def test_pow_takes_no_modulus():
    with pytest.raises(TypeError):
        pow(fastnn.ones(2), 3, 7)


def test_grad_leaves_the_rest_of_the_graph_alone():
    x = fastnn.ones(3, requires_grad=True)
    w = fastnn.ones(3, requires_grad=True)
    fired = []
    w.register_hook(fired.append)
    h = x * w
    y = (h * h).sum()
    autograd.grad(y, h)
    assert not fired
    h.sum().backward()  # its own graph was not freed
    assert x.grad.tolist() == [1, 1, 1]


def test_gradients_of_class_weights_are_not_recorded_unasked():
    x = fastnn.randn(4, 3, requires_grad=True)
    weight = fastnn.ones(3, requires_grad=True)
    loss = fastnn.cross_entropy(x, fastnn.tensor([0, 1, 2, 0]), weight)
    for g in autograd.grad(loss, [x, weight]):
        assert not g.requires_grad


def test_checks_of_gradients_do_not_pass_in_vain():
    class Cube(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return (gy * x * x * 3).detach()

    x = fastnn.tensor([0.5, 2.0], dtype=fastnn.float64, requires_grad=True)
    assert autograd.gradcheck(Cube.apply, x)
    with pytest.raises(AssertionError, match="gradcheck"):
        autograd.gradgradcheck(Cube.apply, x)
    with pytest.raises(ValueError, match="float result"):
        autograd.gradcheck(lambda v: v.argmax(), x)


def test_sign_has_the_gradient_zero():
    x = fastnn.tensor([-1.0, 2.0], requires_grad=True)
    fastnn.sign(x).sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_a_label_that_is_no_tensor():
    with pytest.raises(TypeError, match="cross_entropy: expected target as a tensor"):
        fastnn.cross_entropy(fastnn.ones(3), 1)


def test_limits_of_uniform_numbers():
    for low, high in ((1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(ValueError, match="uniform"):
            fastnn.uniform((3,), low, high)


def test_set_grad_enabled_decorates():
    @autograd.set_grad_enabled(False)
    def f(x):
        return x * 2

    x = fastnn.ones(2, requires_grad=True)
    assert autograd.is_grad_enabled()
    assert not f(x).requires_grad


def test_optimizer_state_of_the_wrong_kind():
    p = fastnn.nn.Parameter(fastnn.ones(3))
    optimizer = fastnn.optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = fastnn.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    (key,) = state["state"][0]
    for bad in (np.ones(3, np.float32), "x"):
        with pytest.raises(TypeError, match="tensor or number"):
            optimizer.load_state_dict({**state, "state": {0: {key: bad}}})
    wrong = {0: {key: fastnn.ones(3).double()}}
    with pytest.raises(ValueError, match="float64"):
        optimizer.load_state_dict({**state, "state": wrong})
    optimizer.load_state_dict(state)


def test_the_slope_of_a_power_by_a_number_is_as_precise_as_the_tensor():
    """The exponent less one was taken in float32."""
    x = fastnn.tensor([2.0, 3.0], dtype=fastnn.float64, requires_grad=True)
    (x ** (1 / 3)).sum().backward()
    expected = np.array([2.0, 3.0]) ** (-2 / 3) / 3
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-15)


def test_sums_have_the_dtype_asked_for():
    for f in (fastnn.sum, fastnn.cumsum):
        y = f(fastnn.tensor([250, 9]), 0, dtype=fastnn.uint8)
        assert y.dtype is fastnn.uint8
        assert y.tolist() in (3, [250, 3])


def test_cat_into_a_tensor_that_many_of_its_pieces_view():
    """Pieces from the 65th on were overwritten before they were read."""
    x = fastnn.arange(80.0)
    pieces = [x[i : i + 1] for i in reversed(range(80))]
    _core.op_named("cat").into(x, pieces)
    assert x.tolist() == list(range(79, -1, -1))


@pytest.mark.parametrize("out_features", [0, 2])
@pytest.mark.parametrize("in_features", [0, 3])
def test_products_of_batches_without_elements_have_gradients(in_features, out_features):
    """reshape(gy, (-1, 0)) has no size to take for -1."""
    x = fastnn.ones(4, 2, in_features, requires_grad=True)
    w = fastnn.ones(in_features, out_features, requires_grad=True)
    v = fastnn.ones(out_features, in_features, requires_grad=True)
    (x @ w).sum().backward()
    fastnn.nn.functional.linear(x, v).sum().backward()
    assert x.grad.shape == x.shape
    assert w.grad.tolist() == [[8] * out_features] * in_features
    assert v.grad.tolist() == [[8] * in_features] * out_features


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_rows_that_are_all_ignored_have_the_gradient_zero_in_any_pass(smoothing):
    """The gradient that can be differentiated again was NaN."""
    x = fastnn.tensor([[1.0, 2.0]], requires_grad=True)
    loss = fastnn.cross_entropy(
        x, fastnn.tensor([0]), ignore_index=0, label_smoothing=smoothing
    )
    assert loss.isnan()
    for again in (False, True):
        (g,) = autograd.grad(loss, [x], retain_graph=True, create_graph=again)
        assert g.tolist() == [[0, 0]]


def test_scalars_take_the_dimensions_0_and_minus_1():
    x = fastnn.tensor(5.0)
    for d in (0, -1):
        assert x.squeeze(d).shape == x.flip(d).shape == ()
        assert x.movedim(d, 0).item() == 5
        for f in (x.squeeze, x.flip, lambda d: x.movedim(d, 0)):
            with pytest.raises(IndexError, match="from -1 to 0"):
                f(d + 2 if d < 0 else 1)


def test_masked_select_names_itself():
    with pytest.raises(ValueError, match=r"masked_select: .*\(2,\) and \(3,\)"):
        fastnn.masked_select(fastnn.ones(2), fastnn.ones(3) > 0)


def test_optimizers_say_what_is_wrong_with_a_group():
    p = fastnn.nn.Parameter(fastnn.ones(2))
    for bad in (
        [{"lr": 0.1}],
        [{"params": [p]}, fastnn.ones(2)],
        [{"params": [p]}, [p]],
    ):
        with pytest.raises(TypeError, match=r'SGD: expected a group.*"params"'):
            fastnn.optim.SGD(bad)


def test_optimizer_state_that_cannot_be_used_is_refused_in_words():
    p = fastnn.nn.Parameter(fastnn.ones(2))
    p.grad = fastnn.ones(2)
    adam = fastnn.optim.Adam([p], lr=0.5)
    state = adam.state_dict()
    other = fastnn.optim.Adam([p], lr=0.25).state_dict()["param_groups"]
    with pytest.raises(ValueError, match="step of parameter 0: expected one number"):
        adam.load_state_dict({"state": {0: {"step": None}}, "param_groups": other})
    assert adam.param_groups[0]["lr"] == 0.5
    adam.load_state_dict({**state, "state": {0: {"step": 1, "exp_avg": 1.0}}})
    with pytest.raises(TypeError, match="Adam: expected state 'exp_avg' as a tensor"):
        adam.step()


def test_a_hyperparameter_that_is_no_number():
    p = fastnn.nn.Parameter(fastnn.ones(2))
    group = fastnn.optim.Adam([p]).param_groups[0]
    for name, bad in (("lr", None), ("lr", "x"), ("betas", 0.9), ("betas", ("a", 1))):
        before = group[name]
        words = f"param_groups: expected .*{name}.*number|numbers for '{name}'"
        with pytest.raises((TypeError, ValueError), match=words):
            group[name] = bad
        assert group[name] == before


@pytest.mark.parametrize(
    ("dtype", "bound"), [("uint8", 300), ("uint8", -300), ("int32", 1 << 40)]
)
def test_bounds_that_the_dtype_does_not_hold(dtype, bound):
    """They wrapped: clamp(max=300) of uint8 was clamp(max=44)."""
    x = fastnn.tensor([3, 200]).to(getattr(fastnn, dtype))
    for f in (
        lambda: x.clamp(min=bound),
        lambda: x.clamp(max=bound),
        lambda: fastnn.maximum(x, bound),
        lambda: fastnn.minimum(x, bound),
    ):
        with pytest.raises(ValueError, match=f"number that {dtype} holds, got {bound}"):
            f()
    assert x.clamp(4, 100).tolist() == [4, 100]


def test_extrema_of_nothing_for_more_outputs_than_64_bits_count():
    """The number of outputs overflowed to 0."""
    with pytest.raises(ValueError, match="amax: expected at least one element"):
        fastnn.zeros(0, 2**32, 2**32).amax(0)


def test_a_number_that_the_dtype_does_not_hold_is_not_wrapped():
    x = fastnn.zeros(3, dtype=fastnn.uint8)
    mask = fastnn.tensor([True, False, True])
    for call in (
        lambda: fastnn.full((2,), 300, dtype=fastnn.uint8),
        lambda: fastnn.full((2,), 2**40, dtype=fastnn.int32),
        lambda: x.fill_(300),
        lambda: x.masked_fill(mask, 300),
        lambda: fastnn.where(mask, x, -300),
        lambda: x.__setitem__(0, 300),
        lambda: x.fill_(float("nan")),
    ):
        with pytest.raises(
            ValueError, match=r"expected a number that (uint8|int32) holds"
        ):
            call()
    assert x.tolist() == [0, 0, 0]
    assert x.fill_(-1).tolist() == [255] * 3  # as in PyTorch
    assert fastnn.zeros(2, dtype=fastnn.bool).fill_(5).tolist() == [True, True]
    assert fastnn.full((1,), 2**40).tolist() == [2**40]
