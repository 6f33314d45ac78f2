"""Modules: attributes, walking, modes, saving and loading, text; the layers there are."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import nn


class Net(nn.Module):
    """Parameters, buffers and children of every kind."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(fastnn.ones(2))
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("mean", fastnn.zeros(2))
        self.register_buffer("scratch", fastnn.zeros(2), persistent=False)
        self.register_buffer("nothing", None)
        self.number = 3

    def forward(self, x):
        return self.rest(self.first(x)) * self.scale + self.mean


NAMES = ["scale", "first.weight", "first.bias", "rest.1.weight", "rest.1.bias"]


def test_walking():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert [n for n, _ in net.named_buffers()] == ["mean", "scratch"]
    assert [n for n, _ in net.named_modules()] == [
        "",
        "first",
        "rest",
        "rest.0",
        "rest.1",
    ]
    assert [n for n, _ in net.named_children()] == ["first", "rest"]
    assert list(net.children()) == [net.first, net.rest]
    assert len(list(net.modules())) == 5
    assert sum(p.numel() for p in net.parameters()) == 2 + 16 + 10
    assert all(
        isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters()
    )


def test_shared_parts_are_given_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3
    names = [n for n, _ in net.named_parameters(remove_duplicate=False)]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(net.state_dict()) == names
    layer = nn.Linear(2, 2)
    twice = nn.Sequential(layer, layer)
    assert len(list(twice.modules())) == 2
    assert len(twice) == 2
    loop = nn.Module()
    loop.self = loop  # ends all the same
    assert len(list(loop.modules())) == 1


def test_modes():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert net.train() is net
    net.rest.eval()
    assert [m.training for m in net.modules()] == [True, True, False, False, False]


def test_zero_grad():
    net = Net()
    net(fastnn.ones(5, 3)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all((p.grad == 0).numpy().all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_attributes():
    net = Net()
    with pytest.raises(TypeError, match=r"Net.scale: expected a Parameter or None"):
        net.scale = fastnn.ones(2)
    with pytest.raises(TypeError, match=r"Net.mean: expected a Tensor or None"):
        net.mean = 3.0
    net.scale = None
    net.mean = fastnn.ones(2)
    assert "scale" not in net.state_dict()
    assert net.state_dict()["mean"].tolist() == [1, 1]
    del net.mean
    assert "mean" not in net.state_dict()
    for name in ("", "a.b", "number"):
        with pytest.raises(KeyError):
            net.register_buffer(name, fastnn.ones(1))
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)

    class Forgetful(nn.Module):
        def __init__(self):  # no super().__init__()
            self.fc = nn.Linear(2, 2)

    assert len(list(Forgetful().parameters())) == 2


# ---- saving and loading ----


def test_state_dict():
    net = Net()
    state = net.state_dict()
    assert list(state) == [
        "scale",
        "mean",
        "first.weight",
        "first.bias",
        "rest.1.weight",
        "rest.1.bias",
    ]
    assert not any(v.requires_grad for v in state.values())
    assert np.shares_memory(state["scale"].numpy(), net.scale.detach().numpy())
    assert net.state_dict(keep_vars=True)["scale"] is net.scale
    assert next(iter(net.rest.state_dict(prefix="x."))) == "x.1.weight"

    other = Net()
    assert other.first.weight.tolist() != net.first.weight.tolist()
    parameters = list(other.parameters())
    assert other.load_state_dict(state) == ([], [])
    assert all(a is b for a, b in zip(parameters, other.parameters(), strict=True))
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name].numpy())
        assert not np.shares_memory(value.numpy(), state[name].numpy())
    x = fastnn.ones(1, 3)
    assert net(x).tolist() == other(x).tolist()
    arrays = {k: v.numpy().copy() for k, v in state.items()}
    assert Net().load_state_dict(arrays) == ([], [])


def test_a_state_that_does_not_fit():
    net = Net()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in net.state_dict().items()}
    state["extra"] = state.pop("scale")
    state["first.bias"] = fastnn.ones(5)
    with pytest.raises(RuntimeError) as raised:
        net.load_state_dict(state)
    for part in (
        "Net.load_state_dict",
        "missing: scale",
        "unexpected: extra",
        "first.bias: expected shape (4,), got (5,)",
        "strict=False",
    ):
        assert part in str(raised.value)
    with pytest.raises(RuntimeError, match=r"first\.bias"):
        net.load_state_dict(state, strict=False)
    for name, value in net.state_dict().items():  # nothing has changed
        np.testing.assert_array_equal(value.numpy(), before[name])
    del state["first.bias"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale", "first.bias"]
    assert result.unexpected_keys == ["extra"]
    np.testing.assert_array_equal(net.mean.numpy(), before["mean"] + 1)
    with pytest.raises((RuntimeError, TypeError, AttributeError)):
        net.load_state_dict({**before, "scale": "text"})


def test_copies():
    net = Net()
    net(fastnn.ones(1, 3)).sum().backward()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert [n for n, _ in other.named_parameters()] == NAMES
        assert all(type(p) is nn.Parameter for p in other.parameters())
        x = fastnn.ones(2, 3)
        assert other(x).tolist() == net(x).tolist()
        with fastnn.no_grad():
            other.scale.fill_(0)
        assert net.scale.tolist() == [1, 1]


def test_state_from_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )
    ours = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(
        ours(fastnn.tensor(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6
    )
    for mine, other in (
        (nn.Linear(3, 2), torch.nn.Linear(3, 2)),
        (nn.ReLU(), torch.nn.ReLU()),
        (ours, theirs),
        (nn.Linear(3, 2, bias=False), torch.nn.Linear(3, 2, bias=False)),
    ):
        assert repr(mine) == repr(other)


# ---- layers ----


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    assert (len(net), net[0], net[-1], list(net)) == (3, a, c, [a, b, c])
    assert list(net[1:]) == [b, c]
    x = fastnn.ones(4, 2)
    assert net(x).tolist() == c(b(a(x))).tolist()
    assert nn.Sequential()(x) is x
    named = nn.Sequential({"one": a, "two": c})
    assert [n for n, _ in named.named_children()] == ["one", "two"]
    assert named.one is a
    assert net.append(nn.ReLU()) is net
    assert len(net) == 4
    for wrong, error in (
        ((1,), TypeError),
        (({"a.b": a},), KeyError),
        (({"forward": a},), KeyError),
    ):
        with pytest.raises(error, match="Sequential"):
            nn.Sequential(*wrong)
    with pytest.raises(IndexError):
        net[9]


def test_parameter():
    data = fastnn.ones(2)
    p = nn.Parameter(data)
    assert p.requires_grad
    assert p.is_leaf
    assert isinstance(p, fastnn.Tensor)
    assert np.shares_memory(p.detach().numpy(), data.numpy())
    assert type(p * 2) is fastnn.Tensor
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    made = nn.Parameter(data * nn.Parameter(data))  # of a result: a leaf all the same
    assert made.is_leaf
    with pytest.raises(RuntimeError, match="float"):
        nn.Parameter(fastnn.arange(3))
