"""Changes in place: gradients, version counters, refusals, overlapping memory."""

import numpy as np
import pytest

import fastnn
from fastnn import _core
from fastnn.autograd import grad, gradcheck, gradgradcheck


def leaf(*values):
    return fastnn.tensor(values, dtype=fastnn.float64, requires_grad=True)


A = [0.5, -1.5, 2.0]

# in place, the same without, and the operands' shapes
PAIRS = {
    "add_": (lambda x, y: x.add_(y), lambda x, y: x + y, (3,), (3,)),
    "add_ alpha": (lambda x, y: x.add_(y, alpha=3), lambda x, y: x + 3 * y, (3,), (3,)),
    "add_ broadcast": (lambda x, y: x.add_(y), lambda x, y: x + y, (2, 3), (3,)),
    "sub_": (lambda x, y: x.sub_(y), lambda x, y: x - y, (3,), (3,)),
    "sub_ alpha": (lambda x, y: x.sub_(y, alpha=2), lambda x, y: x - 2 * y, (3,), (3,)),
    "copy_": (lambda x, y: x.copy_(y), lambda x, y: x * 0 + y, (2, 3), (1, 3)),
    "mul_ number": (lambda x, y: x.mul_(3), lambda x, y: x * 3, (3,), (3,)),
    "mul_ constant": (
        lambda x, y: x.mul_(y.detach()),
        lambda x, y: x * y.detach(),
        (3,),
        (3,),
    ),
    "div_ constant": (
        lambda x, y: x.div_(y.detach()),
        lambda x, y: x / y.detach(),
        (3,),
        (3,),
    ),
    "fill_": (lambda x, y: x.fill_(2), lambda x, y: x * 0 + 2, (3,), (3,)),
    "zero_": (lambda x, y: x.zero_(), lambda x, y: x * 0, (3,), (3,)),
    "+=": (lambda x, y: x.__iadd__(y), lambda x, y: x + y, (3,), ()),
    "-=": (lambda x, y: x.__isub__(y), lambda x, y: x - y, (3,), (3,)),
    "*=": (lambda x, y: x.__imul__(2.0), lambda x, y: x * 2, (3,), (3,)),
    "/=": (lambda x, y: x.__itruediv__(4.0), lambda x, y: x / 4, (3,), (3,)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_as_without(name):
    inplace, functional, x_shape, y_shape = PAIRS[name]
    random = np.random.default_rng(0)
    x = fastnn.tensor(random.standard_normal(x_shape), requires_grad=True)
    y = fastnn.tensor(random.standard_normal(y_shape), requires_grad=True)

    def changed(x, y):
        z = x * 1
        assert inplace(z, y) is z
        return z * z

    def same(x, y):
        return functional(x, y) ** 2

    np.testing.assert_allclose(
        changed(x, y).detach().numpy(), same(x, y).detach().numpy(), rtol=1e-14
    )
    for got, expected in zip(
        grad(changed(x, y).sum(), [x, y], allow_unused=True),
        grad(same(x, y).sum(), [x, y], allow_unused=True),
        strict=True,
    ):
        got, expected = (0.0 if g is None else g.numpy() for g in (got, expected))
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)
    if "constant" in name:
        y = y.detach()
    assert gradcheck(changed, [x, y])
    assert gradgradcheck(changed, [x, y])


def test_versions():
    x = fastnn.tensor([1.0, 2.0, 3.0])
    assert x._version == 0
    x.add_(1)
    x[1:].mul_(2)
    x.detach().zero_()
    x.data.fill_(1)
    x[0] = 3
    fastnn.add(x, x, out=x)
    assert x._version == 6
    assert x.view(3, 1)._version == 6
    assert x.clone()._version == 0
    x.uniform_()
    x.normal_()
    assert x._version == 8


SAVING = {  # name: f(x, y), and which of x, y, result the gradient reads
    "mul": (lambda x, y: x * y, "xy"),
    "div": (lambda x, y: x / y, "yr"),
    "exp": (lambda x, y: x.exp(), "r"),
    "tanh": (lambda x, y: x.tanh(), "r"),
    "sigmoid": (lambda x, y: x.sigmoid(), "r"),
    "log": (lambda x, y: (x * x).log(), "x"),
    "pow": (lambda x, y: x**3, "x"),
    "abs": (lambda x, y: x.abs(), "x"),
    "matmul": (lambda x, y: x.view(1, 3) @ y.view(3, 1), "xy"),
    "softmax": (lambda x, y: x.softmax(0), "r"),
    "add": (lambda x, y: x + y, ""),
    "sum": (lambda x, y: x.sum(), ""),
    "maximum": (lambda x, y: fastnn.maximum(x, y), "xy"),
}


@pytest.mark.parametrize("name", SAVING)
def test_saved_tensors_that_changed_are_noticed(name):
    f, read = SAVING[name]
    for which in "xyr":
        a, b = leaf(*A), leaf(1.0, 2.0, 3.0)
        x, y = a * 1, b * 1
        r = f(x, y)
        target = {"x": x, "y": y, "r": r}[which]
        with fastnn.no_grad():
            target.mul_(1.5)
        if which in read:
            with pytest.raises(RuntimeError, match="changed in place"):
                r.sum().backward()
            assert a.grad is None
        else:
            r.sum().backward()


def test_changes_through_views_and_leaves_are_noticed():
    for change in (
        lambda x: x[:1].add_(1),
        lambda x: x.detach().add_(1),
        lambda x: x.data.add_(1),
        lambda x: x.view(3, 1).add_(1),
        lambda x: x.T.add_(1),
    ):
        w = leaf(*A)
        y = (w * w).sum()
        with fastnn.no_grad():
            change(w)
        with pytest.raises(RuntimeError, match="clone"):
            y.backward()


def test_operands_that_are_the_target():
    a = leaf(3.0)
    y = a * 1
    y.add_(y)
    y.sum().backward()
    assert a.grad.tolist() == [2]
    for other in (lambda y: y, lambda y: y.detach(), lambda y: y.view(1)):
        y = a * 1
        y.mul_(other(y))
        assert y.tolist() == [9]
        with pytest.raises(RuntimeError, match="changed in place"):
            y.sum().backward()
    y = a * 1
    y.mul_(y.detach().clone())
    a.grad = None
    y.sum().backward()
    assert a.grad.tolist() == [3]


def test_mul_keeps_the_old_values_for_its_factor():
    a, w = leaf(2.0), leaf(3.0)
    y = a * 1
    y.mul_(w)
    y.sum().backward()
    assert (a.grad.item(), w.grad.item()) == (3, 2)  # w's is what y was


# ---- refusals ----


def test_leaves_are_refused():
    x = leaf(*A)
    changes = [
        lambda: x.add_(1),
        lambda: x.mul_(2),
        lambda: x.zero_(),
        lambda: x.fill_(1),
        lambda: x.copy_(x.detach()),
        lambda: x.div_(2),
        lambda: x.sub_(1),
        lambda: x.__setitem__(0, 1.0),
        lambda: x.uniform_(),
    ]
    for change in changes:
        with pytest.raises(RuntimeError, match=r"leaf|view"):
            change()
    assert x.tolist() == A
    assert x._version == 0
    with fastnn.no_grad():
        x.add_(1)
    assert x.is_leaf
    assert x.requires_grad
    assert x.grad_fn is None


def test_a_leaf_without_gradient_joins_the_graph():
    x, w = fastnn.zeros(3, dtype=fastnn.float64), leaf(*A)
    x.add_(w)
    x.mul_(2)
    assert x.requires_grad
    assert not x.is_leaf
    x.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]
    with fastnn.no_grad():
        y = fastnn.zeros(3, dtype=fastnn.float64)
        y.add_(w)
    assert not y.requires_grad


def test_views_are_refused_where_it_would_have_to_be_recorded():
    a = leaf(*A)
    y = a * 1
    v = y[1:]
    with pytest.raises(RuntimeError, match="view"):
        v.mul_(2)
    base = fastnn.zeros(3, dtype=fastnn.float64)
    with pytest.raises(RuntimeError, match="view"):
        base[1:] = v
    assert base.tolist() == [0, 0, 0]
    # a view of something that changed since is refused too
    y.mul_(2)
    with pytest.raises(RuntimeError, match="take the view again"):
        v * 1
    (y[1:] * 1).sum().backward()
    assert a.grad.tolist() == [0, 2, 2]


def test_a_view_of_which_nothing_else_is_left_is_a_tensor_like_any():
    w = fastnn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = w @ fastnn.ones(2)  # ends in a reshape
    y += 1
    y.mul_(2)
    y.sum().backward()
    assert w.grad.tolist() == [[2, 2], [2, 2]]
    w.grad = None
    z = w[[1, 1]]
    z *= 3
    z.sum().backward()
    assert w.grad.tolist() == [[0, 0], [6, 6]]


def test_retained_gradient_is_of_what_the_tensor_is_now():
    a = leaf(*A)
    y = a * 2
    y.retain_grad()
    y.mul_(3)
    assert y.retains_grad
    y.sum().backward()
    assert y.grad.tolist() == [1, 1, 1]
    assert a.grad.tolist() == [6, 6, 6]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda x: x.add_(fastnn.ones(4)), ValueError),
        (lambda x: x.add_(fastnn.ones(2, 3)), ValueError),
        (lambda x: x.copy_(fastnn.ones(2)), ValueError),
        (lambda x: x.copy_("a"), TypeError),
        (lambda x: x.mul_(None), TypeError),
        (lambda x: x.long().add_(0.5), (TypeError, ValueError, RuntimeError)),
        (lambda x: x.long().div_(2), TypeError),
        (lambda x: x.bool().add_(2), (TypeError, ValueError, RuntimeError)),
        (lambda x: x[:1].expand(3).add_(1), ValueError),
        (lambda x: x[:1].expand(3).copy_(x), ValueError),
        (lambda x: fastnn.add(x, x, out=fastnn.ones(2)), ValueError),
        (
            lambda x: fastnn.add(x, x, out=fastnn.ones(3, dtype=fastnn.float64)),
            ValueError,
        ),
        (lambda x: fastnn.add(x, x, out=x[:1].expand(3)), ValueError),
    ],
)
def test_refused(change, error):
    x = fastnn.tensor([1.0, 2.0, 3.0])
    with pytest.raises(error):
        change(x)
    assert x.tolist() == [1, 2, 3]
    assert x._version == 0


def test_out_takes_no_part_in_graphs():
    w, out = fastnn.ones(3, requires_grad=True), fastnn.zeros(3)
    with pytest.raises(RuntimeError, match="out="):
        fastnn.add(w, 1, out=out)
    with fastnn.no_grad():
        assert fastnn.add(w, 1, out=out) is out
    assert out.tolist() == [2, 2, 2]
    strided = fastnn.zeros(6)[::2]
    fastnn.mul(out, 2, out=strided)
    assert strided.tolist() == [4, 4, 4]
    eye = fastnn.eye(2)
    fastnn.matmul(eye, 2 * eye, out=eye)
    assert eye.tolist() == [[2, 0], [0, 2]]


# ---- overlapping memory ----

SHIFTS = [
    (slice(1, None), slice(None, -1)),
    (slice(None, -1), slice(1, None)),
    (slice(None, None, -1), slice(None)),
    (slice(None), slice(None, None, -1)),
    (slice(0, 50), slice(0, 100, 2)),
    (slice(50, 100), slice(0, 100, 2)),
]


@pytest.mark.parametrize(("to", "of"), SHIFTS)
def test_overlap(to, of):
    for change, numpy in (
        (lambda x, y: x.copy_(y), lambda a, b: b),
        (lambda x, y: x.add_(y), lambda a, b: a + b),
        (lambda x, y: x.mul_(y), lambda a, b: a * b),
        (lambda x, y: fastnn.sub(y, x, out=x), lambda a, b: b - a),
    ):
        a = np.arange(100.0)
        x = fastnn.tensor(a)
        a[to] = numpy(a[to].copy(), a[of].copy())
        change(x[to], x[of])
        np.testing.assert_array_equal(x.numpy(), a)
        # one array under two tensors that know nothing of each other
        a = np.arange(100.0)
        expected = a.copy()
        expected[to] = numpy(expected[to].copy(), expected[of].copy())
        change(fastnn.from_numpy(a[to]), fastnn.from_numpy(a[of]))
        np.testing.assert_array_equal(a, expected)


def test_overlap_of_a_matrix_with_its_transpose():
    a = np.arange(9.0).reshape(3, 3)
    x = fastnn.tensor(a)
    x.add_(x.T)
    np.testing.assert_array_equal(x.numpy(), a + a.T)
    x.copy_(x.T)
    np.testing.assert_array_equal(x.numpy(), a + a.T)
    x.copy_(x[0])
    np.testing.assert_array_equal(x.numpy(), np.tile((a + a.T)[0], (3, 1)))


def test_an_op_that_fails_leaves_its_operands():
    x = fastnn.tensor([1.0, 2.0])
    for call in (
        lambda: x.index_select(0, fastnn.tensor([0, 5])),
        lambda: fastnn.cross_entropy(x, fastnn.tensor(7)),
        lambda: x.add_(fastnn.ones(3)),
    ):
        with pytest.raises((IndexError, ValueError)):
            call()
    assert x.tolist() == [1, 2]
    assert x._version == 0
    assert _core.memory_stats()["allocated_bytes"] >= 0


def test_a_view_kept_across_an_optimizer_step_stays_usable():
    """A change that is not recorded leaves the view's history true."""
    w = fastnn.ones(2, 3, requires_grad=True)
    kept = w.t()
    with fastnn.no_grad():
        w.mul_(2)
    kept.sum().backward()
    assert kept.detach().numpy().tolist() == [[2, 2]] * 3
    assert w.grad.tolist() == [[1, 1, 1]] * 2
