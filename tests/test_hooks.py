"""Forward hooks of modules: when they are called, with what, and what they change."""

import copy
import pickle

import pytest

import fastnn
from fastnn import nn


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
