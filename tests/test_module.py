"""Modules: attributes, walking, modes, hooks, conversions, saving and loading."""

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


# ---- parts by name ----


def test_registering():
    net = nn.Module()
    weight, layer = nn.Parameter(fastnn.ones(2)), nn.Linear(1, 1)
    net.register_parameter("weight", weight)
    net.register_parameter("bias", None)
    net.add_module("fc", layer)
    net.register_module("act", nn.ReLU())
    net.add_module("none", None)
    assert (net.weight, net.bias, net.fc, net.none) == (weight, None, layer, None)
    net.register_parameter("bias", nn.Parameter(fastnn.zeros(2)))
    net.add_module("fc", nn.Linear(2, 2))  # in place of the other
    assert net.fc.in_features == 2
    assert list(net.state_dict()) == ["weight", "bias", "fc.weight", "fc.bias"]
    for call, name, value in (
        (net.register_parameter, "forward", weight),
        (net.register_parameter, "fc", weight),
        (net.add_module, "a.b", layer),
        (net.add_module, "", layer),
        (net.add_module, "weight", layer),
        (net.add_module, "training", layer),
        (net.register_buffer, "weight", fastnn.ones(1)),
        (net.register_buffer, "none", fastnn.ones(1)),
    ):
        with pytest.raises(KeyError, match=call.__name__):
            call(name, value)
    for call, value in (
        (net.register_parameter, fastnn.ones(1)),
        (net.add_module, nn.ReLU),
        (net.register_buffer, 3),
    ):
        with pytest.raises(TypeError, match=f"{call.__name__}: expected"):
            call("new", value)
    with pytest.raises(TypeError, match="add_module: expected a name"):
        net.add_module(0, layer)
    with pytest.raises(TypeError, match=r"Module\.fc: expected a Module or None"):
        net.fc = 3


def test_a_buffer_that_becomes_a_parameter_is_saved_once():
    net = Net()
    net.mean = nn.Parameter(fastnn.ones(2))
    assert [n for n, _ in net.named_buffers()] == ["scratch"]
    assert list(net.state_dict()).count("mean") == 1


def test_getting():
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("rest.1") is net.rest[1]
    assert net.get_parameter("rest.1.weight") is net.rest[1].weight
    assert net.get_parameter("scale") is net.scale
    assert net.get_buffer("mean") is net.mean
    for call, name in (
        (net.get_submodule, "rest.9"),
        (net.get_submodule, "scale"),
        (net.get_submodule, "number.x"),
        (net.get_parameter, "mean"),
        (net.get_parameter, "rest"),
        (net.get_buffer, "scale"),
        (net.get_buffer, "nothing"),
        (net.get_buffer, "rest.1.mean"),
        (net.get_buffer, "absent.mean"),
    ):
        with pytest.raises(AttributeError, match=r"get_\w+: "):
            call(name)


def test_apply_goes_from_the_leaves_to_the_root():
    net = Net()
    order = []
    assert net.apply(order.append) is net
    assert order == [net.first, net.rest[0], net.rest[1], net.rest, net]


def test_a_loop_over_parts_may_set_attributes():
    net = Net()
    for i, (_, p) in enumerate(net.named_parameters()):
        net.register_buffer(f"copy{i}", p.detach())
    for module in net.modules():
        module.note = 1
    for child in net.children():
        net.more = child
    assert len(list(net.buffers())) == 2 + 5


# ---- conversions ----


@pytest.mark.parametrize(
    "convert",
    [
        lambda m: m.to(fastnn.float64),
        lambda m: m.to(dtype=fastnn.float64),
        lambda m: m.to("cpu", fastnn.float64),
        lambda m: m.to(fastnn.device("cpu"), fastnn.float64, True),
        lambda m: m.to(fastnn.zeros(1, dtype=fastnn.float64)),
        lambda m: m.double(),
        lambda m: m.type(fastnn.float64),
    ],
)
def test_to_keeps_the_parameters(convert):
    net = Net()
    net.register_buffer("count", fastnn.tensor(3))
    net.rest[1].weight = nn.Parameter(net.rest[1].weight.detach(), False)
    net.tied = nn.Linear(3, 4)
    net.tied.weight = net.first.weight
    optimizer = fastnn.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], lr=1.0
    )
    net(fastnn.ones(1, 3)).sum().backward()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    grads = {
        n: p.grad.numpy().copy()
        for n, p in net.named_parameters()
        if p.grad is not None
    }
    parameters = list(net.parameters())
    flags = [p.requires_grad for p in parameters]
    assert convert(net) is net
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert [p.requires_grad for p in parameters] == flags
    assert net.tied.weight is net.first.weight
    for name, value in net.state_dict().items():
        if name == "count" and "type" not in convert.__code__.co_names:
            assert value.dtype is fastnn.int64
        else:
            assert value.dtype is fastnn.float64
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert grads.keys() == {n for n, p in net.named_parameters() if p.grad is not None}
    for name, grad in grads.items():
        found = net.get_parameter(name).grad
        assert found.dtype is fastnn.float64
        np.testing.assert_array_equal(found.numpy(), grad)
    optimizer.step()  # on the very same parameters
    for name in grads:
        np.testing.assert_allclose(
            net.get_parameter(name).detach().numpy(),
            before[name].astype(np.float64) - grads[name],
        )
    net.zero_grad()
    net(fastnn.ones(1, 3, dtype=fastnn.float64)).sum().backward()
    assert net.scale.grad.dtype is fastnn.float64
    assert net.float().scale.dtype is fastnn.float32
    assert net.scale.grad.dtype is fastnn.float32
    assert net.scratch.dtype is fastnn.float32


def test_to_what_is_not_there():
    net = Net()
    assert net.to() is net
    assert net.to("cpu") is net
    assert net.to(None) is net
    assert net.cpu() is net
    for call in (
        lambda: net.to("cuda"),
        lambda: net.to(device="cuda:0"),
        lambda: net.cuda(),
        lambda: net.to("cuda", fastnn.float64),
    ):
        with pytest.raises(RuntimeError, match="expected 'cpu', got 'cuda"):
            call()
    for dtype in (fastnn.int64, np.int32, bool):
        with pytest.raises(TypeError, match="to: expected float32 or float64, got"):
            net.to(dtype)
    with pytest.raises(TypeError, match="dtype"):
        net.to(dtype="no such thing")
    assert all(p.dtype is fastnn.float32 for p in net.parameters())


def test_freezing():
    net = Net()
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    assert not net(fastnn.ones(1, 3)).requires_grad
    net.rest.requires_grad_()
    assert [n for n, p in net.named_parameters() if p.requires_grad] == NAMES[3:]
    with pytest.raises(ValueError, match="train: expected True or False"):
        net.train("yes")


# ---- hooks ----


def test_forward_hooks():
    layer = nn.Identity()
    calls = []
    x, y, z = (fastnn.tensor([v]) for v in (1.0, 2.0, 3.0))
    before = layer.register_forward_pre_hook(lambda m, args: calls.append((m, args)))
    after = layer.register_forward_hook(lambda m, args, out: calls.append((args, out)))
    assert layer(x) is x
    assert calls == [(layer, (x,)), ((x,), x)]
    replace = layer.register_forward_hook(lambda m, args, out: y)
    assert layer(x) is y
    last = layer.register_forward_hook(lambda m, args, out: z if out is y else None)
    assert layer(x) is z
    replace.remove()
    replace.remove()  # harmless
    assert layer(x) is x
    for handle in (before, after, last):
        handle.remove()
    calls.clear()
    assert layer(x) is x
    assert calls == []
    assert not layer._hooks
    with layer.register_forward_pre_hook(lambda m, args: y):  # one value for the tuple
        assert layer(x) is y
    with layer.register_forward_pre_hook(lambda m, args: (z,)):
        assert layer(x) is z
    assert layer(x) is x
    assert nn.Identity()._hooks == {}  # the class's own is untouched
    for register in (layer.register_forward_hook, layer.register_forward_pre_hook):
        with pytest.raises(TypeError, match="expected a function, got 3"):
            register(3)


def test_the_order_of_hooks():
    layer, calls = nn.Identity(), []

    def hook(name):
        return lambda *args: calls.append(name)

    layer.register_forward_hook(hook("b"))
    layer.register_forward_hook(hook("c"))
    layer.register_forward_hook(hook("a"), prepend=True)
    layer.register_forward_pre_hook(hook("2"))
    layer.register_forward_pre_hook(hook("1"), prepend=True)
    layer(1)
    assert "".join(calls) == "12abc"


def test_hooks_with_keywords():
    class Add(nn.Module):
        def forward(self, a, *, b=0):
            return a + b

    layer, seen = Add(), []
    layer.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((args, kwargs, out)), with_kwargs=True
    )
    assert layer(1, b=2) == 3
    handle = layer.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"b": 10}), with_kwargs=True
    )
    assert layer(1, b=2) == 11
    assert seen == [((1,), {"b": 2}, 3), ((1,), {"b": 10}, 11)]
    handle.remove()
    layer.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"None or \(args, kwargs\), got 3"):
        layer(1)


def test_hooks_that_are_always_called():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("forward")

    layer, seen = Fails(), []
    layer.register_forward_hook(lambda *args: seen.append("no"))
    layer.register_forward_hook(lambda *args: seen.append("yes"), always_call=True)
    with pytest.raises(ValueError, match="forward"):
        layer(1)
    assert seen == ["yes"]
    good = nn.Identity()
    good.register_forward_hook(lambda *args: seen.append("once"), always_call=True)
    good.register_forward_hook(lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        good(1)
    assert seen == ["yes", "once"]
    layer.register_forward_hook(lambda *args: 1 / 0, always_call=True)
    with (
        pytest.warns(UserWarning, match="Fails: a forward hook raised Zero"),
        pytest.raises(ValueError, match="forward"),
    ):
        layer(1)


def test_a_hook_may_remove_itself():
    layer, seen = nn.Identity(), []

    def once(*args):
        seen.append(1)
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer.register_forward_hook(lambda *args: seen.append(2))
    layer(1)
    layer(1)
    assert seen == [1, 2, 2]


def double(module, args, output):
    return output * 2


def test_copies_with_hooks():
    net = nn.Sequential(nn.Identity())
    net[0].handle = net[0].register_forward_hook(double)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other(fastnn.ones(1)).item() == 2
        other[0].handle.remove()  # the copy's own
        assert other(fastnn.ones(1)).item() == 1
        assert net(fastnn.ones(1)).item() == 2


def test_copies_keep_what_is_shared():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net[0].weight.grad = fastnn.ones(2, 2)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other[1].weight is other[0].weight
        assert other[0].weight is not net[0].weight
        assert len(list(other.parameters())) == 3
    assert copy.deepcopy(net)[0].weight.grad.tolist() == [[1, 1], [1, 1]]


# ---- loading what does not quite fit ----


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
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    tied.load_state_dict({k: v + 1 for k, v in tied.state_dict().items()}, assign=True)
    assert tied[1].weight is tied[0].weight
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


# ---- devices ----


def test_there_is_no_accelerator():
    assert not fastnn.cuda.is_available()
    assert fastnn.cuda.device_count() == 0
    assert not fastnn.accelerator.is_available()
    assert fastnn.accelerator.current_accelerator() is None
    assert fastnn.accelerator.device_count() == 0
    for call in (
        lambda: fastnn.device("cuda"),
        lambda: fastnn.ones(1).to("cuda"),
        lambda: fastnn.ones(1).cuda(),
        lambda: fastnn.zeros(1, device="cuda:0"),
        lambda: nn.Linear(1, 1, device="cuda"),
    ):
        with pytest.raises(RuntimeError, match="expected 'cpu', got 'cuda"):
            call()
