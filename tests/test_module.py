"""Modules: attributes, walking, modes, copies, conversions, devices."""

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


# ---- copies ----


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


def test_copies_keep_what_is_shared():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net[0].weight.grad = fastnn.ones(2, 2)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other[1].weight is other[0].weight
        assert other[0].weight is not net[0].weight
        assert len(list(other.parameters())) == 3
    assert copy.deepcopy(net)[0].weight.grad.tolist() == [[1, 1], [1, 1]]


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


def test_a_part_may_decide_its_own_mode():
    """train() asks each part, so that a frozen one can stay in evaluation."""

    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout()

        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(Frozen(), nn.Dropout()).train()
    assert [m.training for m in net.modules()] == [True, False, False, True]
