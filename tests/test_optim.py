"""SGD against NumPy and PyTorch in float64; groups, state, refusals; a small problem."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.ops.optim import optimizer_step

OPTIONS = [
    {
        "lr": 0.01,
        "momentum": m,
        "dampening": d,
        "weight_decay": w,
        "nesterov": n,
        "maximize": x,
    }
    for m, d, w, n, x in itertools.product(
        (0.0, 0.9), (0.0, 0.3), (0.0, 0.1), (False, True), (False, True)
    )
    if not (n and (m == 0 or d != 0))
]


def problem():
    """Two parameters and a smooth loss of them, written in NumPy and by operators."""
    random = np.random.default_rng(0)
    w, b = random.standard_normal((5, 3)), random.standard_normal(3)
    x, y = random.standard_normal((7, 5)), random.standard_normal((7, 3))

    def gradients(w, b):
        r = x @ w + b - y
        return x.T @ r * 2 / r.size, r.sum(0) * 2 / r.size

    return [w, b], gradients, x, y


def reference(values, gradients, steps, options):
    """SGD as its definition has it."""
    values = [v.copy() for v in values]
    buffers = [None] * len(values)
    lr, momentum = options["lr"], options["momentum"]
    for _ in range(steps):
        for i, g in enumerate(gradients(*values)):
            g = -g if options["maximize"] else g
            g = g + options["weight_decay"] * values[i]
            if momentum:
                buffers[i] = (
                    g
                    if buffers[i] is None
                    else momentum * buffers[i] + (1 - options["dampening"]) * g
                )
                g = g + momentum * buffers[i] if options["nesterov"] else buffers[i]
            values[i] = values[i] - lr * g
    return values


def close(got, expected, rtol=1e-12):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_against_numpy(options):
    values, gradients, _, _ = problem()
    close(ours(options), reference(values, gradients, 100, options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_against_torch(options):
    torch = pytest.importorskip("torch")
    values, _, x, y = problem()
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    other = torch.optim.SGD(theirs, **options)
    for _ in range(100):
        other.zero_grad()
        torch.nn.functional.mse_loss(
            torch.tensor(x) @ theirs[0] + theirs[1], torch.tensor(y)
        ).backward()
        other.step()
    close(ours(options), [p.detach().numpy() for p in theirs])


def ours(options):
    """The parameters after 100 steps."""
    values, _, x, y = problem()
    params = [fastnn.tensor(v, requires_grad=True) for v in values]
    sgd = optim.SGD(params, **options)
    fx, fy = fastnn.tensor(x), fastnn.tensor(y)
    for _ in range(100):
        sgd.zero_grad()
        fastnn.mse_loss(fx @ params[0] + params[1], fy).backward()
        sgd.step()
    return [p.detach().numpy() for p in params]


def test_layouts_and_float32():
    for make in (
        lambda a: fastnn.tensor(a),
        lambda a: fastnn.tensor(a.T.copy()).T,
        lambda a: fastnn.tensor(np.repeat(a, 2, 0))[::2],
    ):
        p = make(np.arange(6.0, dtype=np.float32).reshape(2, 3)).detach()
        p.requires_grad_()
        sgd = optim.SGD([p], lr=0.5, momentum=0.5)
        for _ in range(2):
            p.grad = fastnn.ones(3, 2).T
            sgd.step()
        np.testing.assert_array_equal(
            p.detach().numpy(), np.arange(6.0).reshape(2, 3) - 1.25
        )


def leaf(*values):
    return fastnn.tensor(values, dtype=fastnn.float64, requires_grad=True)


def test_groups():
    a, b, c = leaf(1.0), leaf(1.0), leaf(1.0)
    sgd = optim.SGD([{"params": [a], "name": "one"}, {"params": b, "lr": 0.1}], lr=1.0)
    sgd.add_param_group({"params": [c], "lr": 0.01})
    assert [g["lr"] for g in sgd.param_groups] == [1.0, 0.1, 0.01]
    assert sgd.param_groups[0]["name"] == "one"

    def step():
        (a + b + c).sum().backward()
        sgd.step()
        sgd.zero_grad()

    step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0, 0.9, 0.99])
    for group in sgd.param_groups:  # written through to what the kernel reads
        group["lr"] *= 10
        group["weight_decay"] = 0.0
        assert group.hyper.tolist()[0] == group["lr"]
    step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [-10, -0.1, 0.89])
    sgd.param_groups[0].update(lr=0.0)
    step()
    assert a.item() == -10
    group = sgd.param_groups[0]
    assert set(group) == {
        "params",
        "lr",
        "momentum",
        "dampening",
        "weight_decay",
        "nesterov",
        "maximize",
        "name",
    }
    assert len(group) == 8
    with pytest.raises(TypeError, match="deleted"):
        del group["lr"]
    with pytest.raises((TypeError, ValueError)):
        group["lr"] = "fast"
    assert group["lr"] == 0.0
    assert "lr" in repr(sgd)


def test_momentum_switched_on_later():
    p = leaf(1.0)
    sgd = optim.SGD([p], lr=1.0)
    for momentum, expected in ((0.0, 0.0), (0.5, -1.0), (0.5, -2.5)):
        sgd.param_groups[0]["momentum"] = momentum
        p.grad = fastnn.ones(1, dtype=fastnn.float64)
        sgd.step()
        assert p.item() == expected


def test_parameters_without_gradient_stay():
    a, b = leaf(1.0), leaf(1.0)
    sgd = optim.SGD([a, b], lr=1.0, momentum=0.9, weight_decay=1.0)
    a.sum().backward()
    sgd.step()
    assert b.item() == 1
    assert b not in sgd.state
    sgd.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0]
    sgd.zero_grad()
    assert a.grad is None


def test_step_and_graphs():
    a = leaf(2.0)
    sgd = optim.SGD([a], lr=0.5)
    calls = []

    def closure():
        calls.append(fastnn.is_grad_enabled())
        sgd.zero_grad()
        loss = (a * a).sum()
        loss.backward()
        return loss

    with fastnn.no_grad():
        assert sgd.step(closure).item() == 4
    assert calls == [True]
    assert a.item() == 0
    assert a.is_leaf
    y = (a * a).sum()
    a.grad = fastnn.ones(1, dtype=fastnn.float64)
    sgd.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    (a * a).sum().backward(create_graph=True)  # .grad that carries a graph
    sgd.step()
    sgd.zero_grad(set_to_none=False)
    assert not a.grad.requires_grad


def train(sgd, params, steps):
    for _ in range(steps):
        sgd.zero_grad()
        sum(((p - 1) ** 2).sum() for p in params).backward()
        sgd.step()


def test_state_dict():
    a, b = leaf(1.0, 5.0), leaf(3.0)
    sgd = optim.SGD(
        [{"params": [a]}, {"params": [b], "lr": 0.05}], lr=0.1, momentum=0.9
    )
    train(sgd, [a, b], 3)
    state = copy.deepcopy(sgd.state_dict())
    assert list(state) == ["state", "param_groups"]
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert list(state["state"][0]) == ["momentum_buffer"]
    saved = [p.detach().clone() for p in (a, b)]
    train(sgd, [a, b], 3)
    expected = [p.tolist() for p in (a, b)]

    for dumped in (state, pickle.loads(pickle.dumps(state))):
        c, d = (fastnn.tensor(s, requires_grad=True) for s in saved)
        other = optim.SGD([{"params": [c]}, {"params": [d]}], lr=7.0)
        other.load_state_dict(dumped)
        assert [g["lr"] for g in other.param_groups] == [0.1, 0.05]
        train(other, [c, d], 3)
        assert [p.tolist() for p in (c, d)] == expected

    for wrong in ([a], [{"params": [a]}, {"params": [b, leaf(1.0)]}]):
        with pytest.raises(ValueError, match="load_state_dict: expected groups"):
            optim.SGD(wrong, lr=1.0).load_state_dict(state)
    with pytest.raises(ValueError, match="momentum_buffer"):
        optim.SGD([{"params": [leaf(1.0)]}, {"params": [leaf(1.0)]}]).load_state_dict(
            state
        )


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda p: optim.SGD([]), ValueError),
        (lambda p: optim.SGD(p), TypeError),
        (lambda p: optim.SGD([1.0]), TypeError),
        (lambda p: optim.SGD([p * 2]), ValueError),
        (lambda p: optim.SGD([p, p]), ValueError),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError),
        (lambda p: optim.SGD([p], lr=-1), ValueError),
        (lambda p: optim.SGD([p], lr=float("nan")), ValueError),
        (lambda p: optim.SGD([p], momentum=-0.1), ValueError),
        (lambda p: optim.SGD([p], weight_decay=-1), ValueError),
        (lambda p: optim.SGD([p], nesterov=True), ValueError),
        (
            lambda p: optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True),
            ValueError,
        ),
    ],
)
def test_refused(make, error):
    with pytest.raises(error, match="SGD: "):
        make(leaf(1.0))


@pytest.mark.parametrize(
    "wrong", [lambda: fastnn.ones(2), lambda: fastnn.ones(3, dtype=fastnn.float64)]
)
def test_step_with_what_does_not_fit(wrong):
    p = leaf(1.0, 2.0)
    hyper = fastnn.zeros(4, dtype=fastnn.float64)
    with fastnn.no_grad(), pytest.raises((TypeError, ValueError), match="sgd_step"):
        optimizer_step("sgd", hyper, [p], [wrong()], [None])
    with fastnn.no_grad(), pytest.raises((TypeError, ValueError), match="sgd_step"):
        optimizer_step("sgd", hyper, [p], [p.detach().clone()], [[wrong()]])
    assert p.tolist() == [1, 2]


def test_learning():
    """Two spirals, which no linear model parts."""
    fastnn.manual_seed(0)
    angle = np.linspace(0.5, 6.0, 100)
    arms = [
        np.stack([s * angle * np.cos(angle), s * angle * np.sin(angle)], 1)
        for s in (1, -1)
    ]
    x = fastnn.tensor(np.concatenate(arms).astype(np.float32) / 3)
    t = fastnn.tensor([0] * 100 + [1] * 100)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    sgd = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(400):
        sgd.zero_grad()
        loss = fastnn.cross_entropy(model(x), t)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    right = (model(x).argmax(dim=1) == t).sum().item()
    assert losses[-1] < 0.02 < 0.6 < losses[0]
    assert right == 200
