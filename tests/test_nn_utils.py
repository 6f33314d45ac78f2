"""nn.utils: clipping gradients, parameters as one vector. NumPy is the oracle."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import utils
from fastnn.ops._record import recording

F32, F64 = fastnn.float32, fastnn.float64


def parameters(*grads, dtypes=None):
    made = []
    for i, g in enumerate(grads):
        dtype = dtypes[i] if dtypes else F64
        if g is None:
            made.append(nn.Parameter(fastnn.zeros(2, dtype=dtype)))
            continue
        p = nn.Parameter(fastnn.zeros(np.shape(g), dtype=dtype))
        p.grad = fastnn.tensor(np.asarray(g), dtype=dtype)
        made.append(p)
    return made


def flat(made):
    return np.concatenate(
        [
            p.grad.numpy().astype(np.float64).reshape(-1)
            for p in made
            if p.grad is not None
        ]
    )


RANDOM = np.random.default_rng(0)
GRADS = [RANDOM.standard_normal(s) for s in ((3, 4), (5,), (), (0, 2), (1, 1))]


@pytest.mark.parametrize("p", [1, 2, 2.0, 3, 0.5, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.0, 0.1, 2.0, 6.5, 100.0, math.inf])
def test_clip_grad_norm(p, max_norm):
    made = parameters(*GRADS, None)
    before = flat(made)
    power = float(p)
    if power == math.inf:
        norm = np.abs(before).max()
    else:
        norm = (np.abs(before) ** power).sum() ** (1 / power)
    found = utils.clip_grad_norm_(iter(made), max_norm, p)
    assert found.shape == ()
    assert found.dtype is F64
    assert found.item() == pytest.approx(norm, rel=1e-13)
    scale = min(1.0, max_norm / (norm + 1e-6))
    np.testing.assert_allclose(flat(made), before * scale, rtol=1e-13)
    if scale == 1:
        np.testing.assert_array_equal(flat(made), before)
    assert made[-1].grad is None


def test_without_gradients():
    for given in ([], parameters(None, None), iter([])):
        assert utils.clip_grad_norm_(given, 1.0).item() == 0
    assert utils.clip_grad_norm_(parameters(np.zeros((0, 3))), 1.0).item() == 0
    made = parameters(np.zeros(3))
    assert utils.clip_grad_norm_(made, 1.0, error_if_nonfinite=True).item() == 0
    assert flat(made).tolist() == [0, 0, 0]


def test_one_tensor_and_mixed_dtypes():
    (one,) = parameters([3.0, 4.0], dtypes=[F32])
    found = utils.clip_grad_norm_(one, 2.5)
    assert found.dtype is F32
    assert found.item() == 5
    np.testing.assert_allclose(flat([one]), [1.5, 2.0], rtol=1e-6)
    made = parameters([3.0], [4.0], dtypes=[F32, F64])
    found = utils.clip_grad_norm_(made, 1.0)
    assert found.dtype is F64
    assert [p.grad.dtype for p in made] == [F32, F64]
    np.testing.assert_allclose(flat(made), [0.6, 0.8], rtol=1e-6)


def test_large_and_small_gradients():
    """Whose squares leave float32, though the norm is in it."""
    for size in (1e25, 1e-25):
        made = parameters([3 * size, 4 * size], dtypes=[F32])
        found = utils.clip_grad_norm_(made, 1.0, error_if_nonfinite=True)
        assert found.item() == pytest.approx(5 * size, rel=1e-6)
        if size > 1:
            np.testing.assert_allclose(flat(made), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_not_finite(bad, p):
    made = parameters([1.0, bad], [2.0])
    with pytest.raises(
        RuntimeError, match="clip_grad_norm_: expected gradients with a"
    ):
        utils.clip_grad_norm_(made, 1.0, p, error_if_nonfinite=True)
    np.testing.assert_array_equal(flat(made), [1.0, bad, 2.0])
    norm = utils.clip_grad_norm_(made, 1.0, p).item()
    if math.isnan(bad):  # it shows everywhere, as in PyTorch
        assert math.isnan(norm)
        assert np.isnan(flat(made)).all()
    else:
        assert norm == math.inf
        np.testing.assert_array_equal(flat(made), [0, math.nan, 0])


def test_a_norm_that_is_known():
    made = parameters(*GRADS)
    before = flat(made)
    norm = utils.get_total_norm([p.grad for p in made])
    assert norm.item() == pytest.approx(np.linalg.norm(before), rel=1e-13)
    assert utils.clip_grads_with_norm_(made, 1.0, norm) is None
    np.testing.assert_allclose(flat(made), before / (norm.item() + 1e-6), rtol=1e-13)
    assert utils.get_total_norm(made[0].grad, foreach=False).item() > 0


def test_clipping_reads_no_value():
    """So that a whole training step can be recorded: every number stays in a tensor."""
    made = parameters(*GRADS)
    tape = []
    with recording(lambda op, args, result: tape.append((op, args, result))):
        norm = utils.clip_grad_norm_(made, 0.5)
        finite = utils.all_finite(p.grad for p in made)
    names = [op.name for op, _, _ in tape]
    assert names == ["total_norm", "add", "div", "clamp_max", "scale_", "all_finite"]
    expected = [p.grad.clone() for p in made]
    values = {}  # the same calls again, on other gradients of the same size
    for p, g in zip(made, GRADS, strict=True):
        p.grad.copy_(fastnn.tensor(g))
    for op, args, result in tape:
        values[id(result)] = op(*[values.get(id(a), a) for a in args])
    assert values[id(norm)].item() == norm.item() > 0.5
    assert values[id(finite)].item() is True
    for p, e in zip(made, expected, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), e.numpy())


def test_a_parameter_given_twice_is_scaled_twice():
    """As in PyTorch, whose loop scales what it is given."""
    (w,) = parameters([3.0, 4.0])
    norm = utils.clip_grad_norm_([w, w], 1.0)
    assert norm.item() == pytest.approx(math.sqrt(50))
    np.testing.assert_allclose(w.grad.numpy(), np.array([3, 4]) / 50, rtol=1e-5)


def test_strided_gradients():
    w = nn.Parameter(fastnn.zeros(3, 2))
    w.grad = fastnn.arange(12.0).reshape(2, 6)[:, ::2].T
    expected = w.grad.numpy().copy()
    norm = utils.clip_grad_norm_(w, 1.0)
    assert norm.item() == pytest.approx(np.linalg.norm(expected), rel=1e-6)
    np.testing.assert_allclose(w.grad.numpy(), expected / norm.item(), rtol=1e-5)


def test_all_finite():
    assert utils.all_finite([]).item() is True
    made = [fastnn.zeros(5), fastnn.zeros(3, 4, dtype=F64)]
    assert utils.all_finite(made).item() is True
    assert utils.all_finite(made[0]).shape == ()
    made[1][2, 3] = math.nan
    assert utils.all_finite(iter(made)).item() is False
    with pytest.raises(TypeError, match="all_finite: expected Tensors, got float"):
        utils.all_finite([1.0])


def test_clip_grad_value():
    made = parameters([-3.0, 0.5, math.nan, math.inf], None, [[0.2]])
    assert utils.clip_grad_value_(made, 0.3) is None
    np.testing.assert_array_equal(flat(made), [-0.3, 0.3, math.nan, 0.3, 0.2])
    utils.clip_grad_value_(made[0], 0)
    np.testing.assert_array_equal(flat(made[:1]), [0, 0, math.nan, 0])


def test_the_gradients_are_changed_in_place():
    made = parameters([3.0, 4.0])
    grad = made[0].grad
    utils.clip_grad_norm_(made, 1.0)
    assert made[0].grad is grad
    w = nn.Parameter(fastnn.ones(2))
    (w * w * w).sum().backward(create_graph=True)  # a gradient with a graph
    utils.clip_grad_norm_([w], 1.0)
    np.testing.assert_allclose(np.linalg.norm(w.grad.detach().numpy()), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda g: utils.clip_grad_norm_(g, -1.0),
            ValueError,
            "max_norm of at least 0",
        ),
        (lambda g: utils.clip_grad_norm_(g, math.nan), ValueError, "max_norm"),
        (lambda g: utils.clip_grad_norm_(g, 1.0, 0), ValueError, "norm_type above 0"),
        (lambda g: utils.clip_grad_norm_(g, 1.0, -math.inf), ValueError, "norm_type"),
        (lambda g: utils.clip_grad_value_(g, -1), ValueError, "clip_value"),
        (lambda g: utils.clip_grad_norm_([3], 1.0), TypeError, "Tensors, got int"),
        (
            lambda g: utils.clip_grad_norm_(nn.ReLU(), 1.0),
            TypeError,
            r"its parameters\(\)",
        ),
    ],
)
def test_what_is_refused(call, error, match):
    made = parameters([3.0, 4.0])
    with pytest.raises(error, match=match):
        call(made)
    assert flat(made).tolist() == [3, 4]


def test_like_torch():
    torch = pytest.importorskip("torch")
    import inspect

    for name in set(utils.__all__) - {"all_finite"}:
        ours = inspect.signature(getattr(utils, name)).parameters.values()
        theirs = inspect.signature(getattr(torch.nn.utils, name)).parameters.values()
        assert [(p.name, p.default) for p in ours] == [
            (p.name, p.default) for p in theirs
        ]
    for p in (1, 2, 3, math.inf):
        made = parameters(*GRADS)
        peers = []
        for g in GRADS:
            peer = torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64))
            peer.grad = torch.tensor(g)
            peers.append(peer)
        if p == math.inf:  # it refuses empty ones
            del made[3], peers[3]
        ours = utils.clip_grad_norm_(made, 0.7, p).item()
        theirs = torch.nn.utils.clip_grad_norm_(peers, 0.7, p).item()
        assert ours == pytest.approx(theirs, rel=1e-14)
        for a, b in zip(made, peers, strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-14)


# ---- one vector ----


def test_vectors():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1, bias=False))
    vec = utils.parameters_to_vector(net.parameters())
    expected = np.concatenate(
        [p.detach().numpy().reshape(-1) for p in net.parameters()]
    )
    np.testing.assert_array_equal(vec.detach().numpy(), expected)
    (vec * vec).sum().backward()
    np.testing.assert_allclose(net[0].bias.grad.numpy(), 2 * expected[6:8])
    held = list(net.parameters())
    new = fastnn.arange(10).float()
    assert utils.vector_to_parameters(new, net.parameters()) is None
    assert all(a is b for a, b in zip(held, net.parameters(), strict=True))
    assert net[0].weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert net[1].weight.tolist() == [[8, 9]]
    new.fill_(0)  # the values were copied
    assert net[1].weight.tolist() == [[8, 9]]
    for wrong in (fastnn.zeros(9), fastnn.zeros(11), fastnn.zeros(10, 1), [0.0] * 10):
        with pytest.raises(ValueError, match=r"vector_to_parameters: .*\(10,\), got"):
            utils.vector_to_parameters(wrong, net.parameters())
    with pytest.raises(ValueError, match="cat"):
        utils.parameters_to_vector([])
