"""The layers: values, gradients, options, text, and what they refuse."""

import numpy as np
import pytest

import fastnn
from fastnn import nn


def test_linear():
    fastnn.manual_seed(0)
    layer = nn.Linear(50, 200, dtype=fastnn.float64)
    w, b = (p.detach().numpy() for p in layer.parameters())
    bound = 1 / np.sqrt(50)
    for values in (w, b):
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.9 * bound
    assert abs(w.std() - bound / np.sqrt(3)) < 0.01 * bound
    x = np.random.default_rng(0).standard_normal((2, 3, 50))
    np.testing.assert_allclose(
        layer(fastnn.tensor(x)).detach().numpy(), x @ w.T + b, rtol=1e-12, atol=1e-12
    )
    assert nn.Linear(2, 3, bias=False).bias is None
    assert nn.Linear(0, 3)(fastnn.ones(2, 0)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"linear: expected .* 50 .*got"):
        layer(fastnn.tensor(x[..., :4]))
    with pytest.raises(TypeError, match="linear"):
        layer(fastnn.tensor(x).float())
    fastnn.manual_seed(0)
    again = nn.Linear(50, 200, dtype=fastnn.float64)
    assert again.weight.tolist() == layer.weight.tolist()


def test_linear_like_torch():
    """Also as arguments by position."""
    layer = nn.Linear(3, 2, False, "cpu", fastnn.float64)
    assert layer.bias is None
    assert layer.weight.dtype is fastnn.float64
    assert nn.Linear(np.int64(3), 2).in_features == 3


@pytest.mark.parametrize("kind", [nn.Linear, nn.Maxout])
@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((3.0, 2), {}, TypeError, "expected in_features as an int, got 3.0"),
        ((3, "2"), {}, TypeError, "expected out_features as an int, got '2'"),
        ((True, 2), {}, TypeError, "in_features"),
        (((3,), 2), {}, TypeError, "in_features"),
        ((-1, 2), {}, ValueError, "expected in_features of at least 0, got -1"),
        ((3, -2), {}, ValueError, "out_features"),
        ((3, 2), {"dtype": fastnn.int64}, TypeError, "float32 or float64, got int64"),
        ((3, 2), {"dtype": "float16"}, TypeError, "dtype"),
        ((3, 2), {"device": "cuda"}, RuntimeError, "'cuda'"),
        ((3,), {}, TypeError, "out_features"),
    ],
)
def test_construction_errors(kind, args, options, error, match):
    with pytest.raises(error, match=match) as raised:
        kind(*args, **options)
    if match.startswith("expected"):
        assert str(raised.value).startswith(f"{kind.__name__}: ")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize("shape", [(4,), (6, 4), (2, 3, 4), (0, 4)])
def test_maxout(shape, pieces, bias):
    layer = nn.Maxout(4, 3, pieces, bias, dtype=fastnn.float64)
    x = np.random.default_rng(0).standard_normal(shape)
    w = layer.weight.detach().numpy().reshape(pieces, 3, 4)
    b = layer.bias.detach().numpy().reshape(pieces, 1, 3) if bias else 0
    rows = x.reshape(-1, 4)
    expected = (np.einsum("ni,poi->pno", rows, w) + b).max(0).reshape(*shape[:-1], 3)
    found = layer(fastnn.tensor(x)).detach().numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert list(layer.state_dict()) == (["weight", "bias"] if bias else ["weight"])
    if x.size:
        inputs = [fastnn.tensor(x, requires_grad=True)]
        assert fastnn.autograd.gradcheck(layer, inputs)
        x = inputs[0].detach()
        assert fastnn.autograd.gradcheck(lambda *_: layer(x), list(layer.parameters()))


def test_maxout_options():
    fastnn.manual_seed(0)
    layer = nn.Maxout(100, 50, 4)
    assert 0.099 < abs(layer.weight.detach()).max().item() <= 0.1
    assert 0.09 < abs(layer.bias.detach()).max().item() <= 0.1
    assert repr(nn.Maxout(3, 2, bias=False)) == (
        "Maxout(in_features=3, out_features=2, pieces=2, bias=False)"
    )
    for pieces, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="Maxout: expected pieces"):
            nn.Maxout(3, 2, pieces)
    with pytest.raises(ValueError, match="linear"):
        layer(fastnn.ones(3, 99))
    assert nn.Maxout(0, 2)(fastnn.ones(3, 0)).shape == (3, 2)
    tie = nn.Maxout(1, 1, bias=False)
    nn.init.ones_(tie.weight)
    x = fastnn.ones(1, requires_grad=True)
    tie(x).backward()
    assert x.grad.tolist() == [1]
    assert tie.weight.grad.tolist() == [[0.5], [0.5]]


def test_identity():
    layer = nn.Identity(3, "anything", bias=False)
    x = fastnn.ones(2)
    assert layer(x) is x
    assert repr(layer) == "Identity()"
    assert list(layer.state_dict()) == []


def test_flatten_and_unflatten():
    x = fastnn.tensor(np.arange(120.0).reshape(2, 3, 4, 5))
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Flatten(-2)(x).shape == (2, 3, 20)
    assert nn.Flatten(0)(fastnn.ones(())).shape == (1,)
    assert np.shares_memory(nn.Flatten()(x).numpy(), x.numpy())
    with pytest.raises(ValueError, match="flatten"):
        nn.Flatten(2, 1)(x)
    with pytest.raises(IndexError, match="flatten"):
        nn.Flatten(7)(x)
    for dim, sizes, shape in (
        (1, (3, 1), (2, 3, 1, 4, 5)),
        (-1, [5, -1], (2, 3, 4, 5, 1)),
        (0, (-1,), (2, 3, 4, 5)),
    ):
        y = nn.Unflatten(dim, sizes)(x)
        assert y.shape == shape
        np.testing.assert_array_equal(y.numpy().reshape(-1), np.arange(120.0))
    assert nn.Unflatten(1, (-1, 2))(fastnn.ones(0, 6)).shape == (0, 3, 2)
    assert nn.Unflatten(1, (0, 3))(fastnn.ones(4, 0)).shape == (4, 0, 3)
    for sizes in ((4, 2), (-1, -1), (5, -1), (0, -1)):
        with pytest.raises(ValueError, match="Unflatten: expected sizes that multiply"):
            nn.Unflatten(1, sizes)(x)
    with pytest.raises(ValueError, match="Unflatten: expected sizes that multiply"):
        nn.Unflatten(0, (-1, -1))(fastnn.ones(1))
    with pytest.raises(IndexError, match="Unflatten"):
        nn.Unflatten(4, (1,))(x)
    for sizes, error in ((3, TypeError), ((1.0,), TypeError), ((-2,), ValueError)):
        with pytest.raises(error, match="Unflatten: expected unflattened_size"):
            nn.Unflatten(1, sizes)


# ---- dropout ----


def test_dropout():
    fastnn.manual_seed(0)
    x = fastnn.tensor(np.random.default_rng(0).standard_normal((200, 100)) + 5)
    x.requires_grad_()
    layer = nn.Dropout(0.3)
    y = layer(x)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.7) < 0.015
    np.testing.assert_allclose(
        y.detach().numpy(), np.where(kept, x.detach().numpy() / 0.7, 0), rtol=1e-14
    )
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), kept / 0.7, rtol=1e-14)
    assert (layer(x).detach().numpy() != y.detach().numpy()).any()
    assert layer.eval()(x) is x
    assert nn.Dropout(0)(x) is x
    assert not nn.Dropout(1)(x).detach().numpy().any()
    fastnn.manual_seed(3)
    first = nn.Dropout()(x).tolist()
    fastnn.manual_seed(3)
    assert nn.Dropout()(x).tolist() == first


def test_alpha_dropout():
    fastnn.manual_seed(0)
    x = fastnn.randn(400, 500, dtype=fastnn.float64)
    for p in (0.1, 0.5, 0.9):
        y = nn.AlphaDropout(p)(x).numpy()
        low = -1.7580993408473766
        a = ((1 - p) * (1 + p * low**2)) ** -0.5
        b = -a * p * low
        dropped = np.abs(y - (a * low + b)) < 1e-12
        assert abs(dropped.mean() - p) < 0.01
        np.testing.assert_allclose(y[~dropped], (a * x.numpy() + b)[~dropped])
        assert abs(y.mean()) < 0.02
        assert abs(y.std() - 1) < 0.02
    assert not nn.AlphaDropout(1.0)(x).numpy().any()
    assert nn.AlphaDropout(0.5).eval()(x) is x
    fastnn.manual_seed(1)
    z = fastnn.ones(3, 5, dtype=fastnn.float64, requires_grad=True)
    y = nn.AlphaDropout(0.5)(z)
    y.sum().backward()
    kept = y.detach().numpy() > 0
    a = (0.5 * (1 + 0.5 * 1.7580993408473766**2)) ** -0.5
    np.testing.assert_allclose(z.grad.numpy(), kept * a, rtol=1e-12)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
def test_dropout_in_place_and_errors(kind):
    x = fastnn.ones(100)
    layer = kind(0.5, True)
    fastnn.manual_seed(0)
    assert layer(x) is x
    fastnn.manual_seed(0)
    assert kind(0.5)(fastnn.ones(100)).tolist() == x.tolist()
    assert layer.eval()(x) is x
    leaf = fastnn.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        layer.train()(leaf)
    fastnn.manual_seed(0)
    y = layer(leaf * 1)  # recorded: the same gradient as out of place
    y.sum().backward()
    got = leaf.grad.tolist()
    leaf.grad = None
    fastnn.manual_seed(0)
    kind(0.5)(leaf).sum().backward()
    assert got == leaf.grad.tolist()
    for p, error in ((-0.1, ValueError), (1.1, ValueError), (float("nan"), ValueError),
                     ("half", TypeError), (None, TypeError)):  # fmt: skip
        with pytest.raises(error, match=f"{kind.__name__}: expected p"):
            kind(p)
    with pytest.raises(TypeError, match="dropout"):
        kind(0.5)(fastnn.ones(3, dtype=fastnn.int64))


def test_text_as_in_torch():
    torch = pytest.importorskip("torch")

    def build(nn):
        return [
            nn.Linear(3, 2, bias=False),
            nn.Identity(1),
            nn.Flatten(),
            nn.Unflatten(1, (2, 3)),
            nn.Dropout(0.2),
            nn.Dropout(p=0.5, inplace=True),
            nn.AlphaDropout(0.1),
        ]

    for ours, theirs in zip(build(nn), build(torch.nn), strict=True):
        assert repr(ours) == repr(theirs)


def test_repr():
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.ReLU())) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): ReLU()\n"
        ")"
    )
    assert (
        repr(nn.CrossEntropyLoss(ignore_index=3)) == "CrossEntropyLoss(ignore_index=3)"
    )
    assert repr(nn.Parameter(fastnn.ones(1))).startswith(
        "Parameter containing:\ntensor("
    )


def test_cross_entropy_loss():
    random = np.random.default_rng(0)
    x = random.standard_normal((6, 4))
    t = np.array([0, 3, 1, 2, 3, 3])
    w = np.array([1.0, 2.0, 0.5, 3.0])
    logp = x - np.log(np.exp(x).sum(1, keepdims=True))
    each = -logp[np.arange(6), t]
    logits, target = fastnn.tensor(x, requires_grad=True), fastnn.tensor(t)
    cases = [
        (nn.CrossEntropyLoss(), each.mean()),
        (nn.CrossEntropyLoss(reduction="sum"), each.sum()),
        (nn.CrossEntropyLoss(reduction="none"), each),
        (nn.CrossEntropyLoss(fastnn.tensor(w)), (each * w[t]).sum() / w[t].sum()),
        (nn.CrossEntropyLoss(ignore_index=3), each[t != 3].mean()),
        (
            nn.CrossEntropyLoss(label_smoothing=0.2),
            (0.8 * each - 0.2 * logp.mean(1)).mean(),
        ),
    ]
    for loss, expected in cases:
        np.testing.assert_allclose(
            loss(logits, target).detach().numpy(), expected, rtol=1e-13
        )
    cases[0][0](logits, target).backward()
    p = np.exp(logp)
    p[np.arange(6), t] -= 1
    np.testing.assert_allclose(logits.grad.numpy(), p / 6, rtol=1e-12, atol=1e-15)
    assert list(nn.CrossEntropyLoss(fastnn.tensor(w)).state_dict()) == ["weight"]
    with pytest.raises(ValueError, match="reduction"):
        nn.CrossEntropyLoss(reduction="avg")
    with pytest.raises(IndexError, match="cross_entropy"):
        nn.CrossEntropyLoss()(logits, fastnn.tensor([0, 1, 2, 3, 4, 0]))
