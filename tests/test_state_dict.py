"""Modules: what is saved, loading it, and what is said of a state that does not fit."""

import numpy as np
import pytest
from test_module import Net

import fastnn
from fastnn import nn


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


# ---- hints, and assigning ----


def state_of(module):
    return module.state_dict().items()


def test_assign():
    net = Net()
    net.first.weight.requires_grad_(False)
    state = {
        k: fastnn.tensor(v.numpy(), dtype=fastnn.float64) + 1
        for k, v in net.state_dict().items()
    }
    assert net.load_state_dict(state, assign=True) == ([], [])
    for name, value in net.state_dict(keep_vars=True).items():
        assert value.dtype is fastnn.float64
        assert np.shares_memory(value.detach().numpy(), state[name].numpy())
    assert isinstance(net.scale, nn.Parameter)
    assert net.scale.requires_grad
    assert not net.first.weight.requires_grad
    assert net.mean is state["mean"]
    given = nn.Parameter(fastnn.zeros(2))
    net.load_state_dict({"scale": given}, strict=False, assign=True)
    assert net.scale is given
    frozen = nn.Parameter(fastnn.zeros(2), requires_grad=False)
    net.load_state_dict({"scale": frozen}, strict=False, assign=True)
    assert net.scale.requires_grad  # as it was
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    tied.load_state_dict({k: v + 1 for k, v in tied.state_dict().items()}, assign=True)
    assert tied[1].weight is tied[0].weight
    state = {
        k: fastnn.full(v.shape, float(i)) for i, (k, v) in enumerate(state_of(tied))
    }
    for assign in (False, True):  # of two values for one parameter, the later counts
        tied.load_state_dict(state, assign=assign)
        assert tied[0].weight.tolist() == [[2, 2], [2, 2]]
    with pytest.raises(RuntimeError, match="expected float32 or float64, got int64"):
        net.load_state_dict({"scale": fastnn.tensor([1, 2])}, False, True)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (
            lambda k: "module." + k,
            "the state's names begin with 'module.'; take it off",
        ),
        (lambda k: "a.b." + k, "the state's names begin with 'a.b.'"),
        (lambda k: k.replace("first", "fisrt"), "is it 'fisrt.weight' for 'first.weig"),
    ],
)
def test_hints_at_what_was_meant(change, hint):
    state = {change(k): v for k, v in Net().state_dict().items()}
    with pytest.raises(RuntimeError) as raised:
        Net().load_state_dict(state)
    assert f"hint: {hint}" in str(raised.value)


def test_a_hint_at_a_prefix_too_few():
    inner = Net()
    outer = nn.Sequential({"net": inner})
    with pytest.raises(RuntimeError, match=r"names begin with 'net\.'; put it before"):
        outer.load_state_dict(inner.state_dict())
    with pytest.raises(RuntimeError) as raised:
        inner.load_state_dict({"quite": fastnn.ones(1)})
    assert "hint" not in str(raised.value)
    for wrong in ("file.safetensors", [1], None):
        with pytest.raises(TypeError, match="expected a mapping of names to tensors"):
            inner.load_state_dict(wrong)


def test_a_hint_works_as_written():
    state_dict = {"module." + k: v for k, v in Net().state_dict().items()}
    with pytest.raises(RuntimeError) as raised:
        Net().load_state_dict(state_dict)
    code = str(raised.value).split("take it off: ")[1].splitlines()[0]
    Net().load_state_dict(eval(code, {"state_dict": state_dict}))
