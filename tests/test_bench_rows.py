"""The rows of fastnn bench: what they say, and that layers and networks work."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import test_bench
from test_bench import failures, ran

from fastnn import nn
from fastnn.bench import modules, report
from fastnn.bench.peers import ALWAYS, PEERS
from fastnn.bench.peers.ours import Compiled, Eager
from fastnn.bench.workloads import GROUPS, infer, layers, networks, sequences, train
from fastnn.bench.workloads.kernels import NUMPY
from fastnn.bench.workloads.rows import Goal

no_plans, known_machine = test_bench.no_plans, test_bench.known_machine

# as the rows are made, in sizes for tests
SLIM = functools.partial(networks.resnet18, channels=2)
IMAGE = functools.partial(networks.resnet18, channels=2, classes=5, stem=7)
LAYERS = [
    *layers.convolution((2, 4, 9, 9), 6, 3, 1.0, 1.0),
    *layers.convolution((2, 4, 9, 7), 6, 1, 1.0, 1.0, stride=2),
    *layers.convolution((2, 4, 9, 7), 4, 3, 1.0, 1.0, groups=4),
    layers.batch_norm((3, 4, 5, 5), 1.0),
    layers.batch_norm((3, 4, 5, 5), 1.0, relu=True),
    layers.layer_norm((6, 9), 1.0),
    layers.group_norm((2, 6, 5, 5), 3, 1.0),
    layers.max_pool((2, 3, 9, 8), 1.0),
    sequences.attention(2, 2, 9, 4, 1.0),
    *sequences.recurrent("LSTM", 3, 2, 4, 5, 1.0, 1.0),
    *sequences.recurrent("GRU", 3, 2, 4, 5, 1.0, 1.0),
    *sequences.recurrent("RNN", 3, 2, 4, 5, 1.0, 1.0),
    sequences.characters(7, 4, 5, 2, 6, 4),
]
NETWORKS = [
    train.modular("small", networks.small, (4, 1, 28, 28), "adam", 1.0),
    train.modular("slim", SLIM, (4, 3, 16, 16), "sgd", 1.0),
    infer.modular("image", IMAGE, (2, 3, 40, 40), 5, 1.0),
]


def test_rows_are_named_once_and_say_what_they_cost():
    for group, rows in GROUPS.items():
        names = [row.name for row in rows]
        assert len(names) == len(set(names))
        for row in rows:
            assert row.group == group and row.flops > 0 and row.bytes > 0
            for goal in row.goals:
                assert set(goal.against or {}) <= set(report.TITLES)
                assert any(promise is not None for promise in goal)
    keys = [c.key for c in ALWAYS + PEERS]
    assert len(keys) == len(set(keys)) and keys[0] == report.FIRST


def test_every_group_has_a_colour():
    from fastnn.bench.plot import COLORS

    assert list(COLORS) == list(GROUPS)


def test_promises_are_rows():
    """What the racing rows promise."""
    promised = {row.name: tuple(row.goals) for rows in GROUPS.values() for row in rows}
    assert promised["8-64-64-2, batch 32, Adam"] == (Goal(peer=0.25),)
    assert promised["784-2048-2048-2048-10, batch 1"] == (Goal(peer=0.95),)
    assert promised["product 1024 x 1024 x 1024"] == (
        Goal(peer=1.05, floor=(0.90, 0.87)),
    )
    assert Goal(peer=0.75) in promised["product 1 x 1024 x 1024"]
    assert Goal(peer=0.80) in promised["tanh, 10 million, existing output"]
    assert promised["Adam, 10 million parameters"] == (Goal(floor=(0.90, 0.90)),)
    image = "3x3, (8, 64, 56, 56) to 64, "
    assert promised[image + "forward"] == (Goal(peer=0.45),)
    assert promised[image + "with gradients"] == (Goal(peer=0.42),)
    assert promised["ResNet-18 at 224 x 224, batch 8"] == (Goal(peer=0.45),)


def test_numpys_gelu_is_gelu():
    x = np.linspace(-6, 6, 2001, dtype=np.float32)
    exact = [0.5 * v * (1 + math.erf(v / 2**0.5)) for v in x.tolist()]
    np.testing.assert_allclose(NUMPY["gelu"](np, x), exact, atol=2e-6)


@pytest.mark.parametrize("module", [networks.small, SLIM, IMAGE])
def test_networks_have_the_names_of_modules_everywhere(module):
    """What counts arithmetic and writes graphs has fastnn's modules' parameters."""
    state = module(nn).state_dict()
    shapes = {k: v.shape for k, v in state.items() if "num_batches" not in k}
    assert {k: tuple(v) for k, v in shapes.items()} == modules.state(module)


def test_sums_of_convolutions_are_counted():
    forward, back, *_ = layers.convolution((2, 4, 9, 7), 6, 3, 1.0, 1.0, stride=2)
    assert forward.flops == 2.0 * (2 * 6 * 5 * 4) * (4 * 9)
    assert forward.bytes == 4.0 * (2 * 4 * 9 * 7 + 6 * 4 * 9 + 2 * 6 * 5 * 4)
    assert (back.flops, back.bytes) == (3 * forward.flops, 2 * forward.bytes)
    assert back.result == (2, 6, 5, 4)
    depthwise, _ = layers.convolution((2, 4, 9, 7), 4, 3, 1.0, 1.0, groups=4)
    assert depthwise.flops == 2.0 * (2 * 4 * 9 * 7) * 9

    def network(nn):
        return nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8, 5),
        )

    count = modules.Shapes(modules.state(network))
    assert modules.run(count, network, (3, 1, 6, 6)) == (3, 5)
    assert count.first == 2.0 * (3 * 2 * 4 * 4) * 9
    assert count.flops == count.first + 2.0 * 3 * 5 * 8
    trained = train.modular("network", network, (3, 1, 6, 6), "sgd", 1.0, classes=5)
    numbers = 2 * 9 + 2 + 5 * 8 + 5
    assert trained.flops == 3 * count.flops - count.first + 4 * numbers
    assert trained.bytes == 4.0 * (4 * numbers + 3 * 36)


def test_a_network_starts_as_it_should():
    row = NETWORKS[2]
    shapes = {"1.running_var": (500,), "1.weight": (500,), "2.weight": (50, 8, 3, 3)}
    state = row.state({**shapes, "1.num_batches_tracked": ()})
    assert set(state) == set(shapes)
    assert 0.05 < state["1.running_var"].min() < 1 < state["1.running_var"].max() < 20
    assert state["1.weight"].mean() == pytest.approx(1, abs=0.03)
    assert state["2.weight"].std() == pytest.approx((2 / 72) ** 0.5, rel=0.1)
    again = row.state(shapes)
    assert all(np.array_equal(state[name], again[name]) for name in shapes)


def test_layers_and_networks(known_machine):
    """Plans and eager; their first losses agree too."""
    run = ran(LAYERS + NETWORKS, (Compiled, Eager))
    for row in run["rows"]:
        assert failures(row) == {}, row["name"]
        assert {*row["times"], *row["failed"]} == {"fastnn", "eager"}


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.key)
def test_layers_and_networks_with_a_peer(kind, no_plans, known_machine):
    if kind().version() is None or kind.key == "compiled":
        pytest.skip("not installed, or too slow to compile here")
    rows = [row for row in LAYERS + NETWORKS if hasattr(kind, row.kind)]
    if kind.key == "jax":
        rows.remove(NETWORKS[1])  # compiling takes long
    run = ran(rows, (Compiled, kind))
    for row in run["rows"]:
        assert failures(row) == {}, row["name"]
    took_part = {r["name"] for r in run["rows"] if kind.key in r["times"]}
    if kind.key in ("torch", "jax"):
        assert len(took_part) == len(rows)
    if kind.key == "onnx":
        assert len(took_part) == 7  # convolutions, recurrent layers, one network
