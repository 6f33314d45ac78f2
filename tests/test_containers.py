"""Containers: modules and parameters in a row, or by name."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import fastnn
from fastnn import nn


def names(module):
    return [name for name, _ in module.named_children()]


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    assert (len(net), net[0], net[-1], list(net)) == (3, a, c, [a, b, c])
    assert list(net[1:]) == [b, c]
    assert names(net[1:]) == ["1", "2"]  # as in PyTorch
    x = fastnn.ones(4, 2)
    assert net(x).tolist() == c(b(a(x))).tolist()
    assert nn.Sequential()(x) is x
    named = nn.Sequential(OrderedDict(one=a, two=c))
    assert names(named) == ["one", "two"]
    assert named.one is a
    assert names(named[:1]) == ["one"]
    assert net.append(nn.ReLU()) is net
    assert len(net) == 4
    for wrong, error in (
        ((1,), TypeError),
        ((None,), TypeError),
        ((nn.Linear,), TypeError),  # the class, not a layer
        (({"a.b": a},), KeyError),
        (({"": a},), KeyError),
        (({"forward": a},), KeyError),
    ):
        with pytest.raises(error, match="Sequential"):
            nn.Sequential(*wrong)
    for wrong, hint in ((nn.ReLU, r"ReLU\(...\) makes one"), ([a, b], "a star before")):
        with pytest.raises(TypeError, match=f"expected a Module at '0', got .*{hint}"):
            nn.Sequential(wrong)
    for index in (9, -9):
        with pytest.raises(IndexError, match="Sequential"):
            net[index]
    with pytest.raises(KeyError, match="taken"):
        nn.Sequential({"1": a}).append(b)


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_rows_change_as_lists_do(kind):
    def make(n):
        parts = [nn.Linear(i + 1, i + 1) for i in range(n)]
        return (kind(*parts) if kind is nn.Sequential else kind(parts)), parts

    def check(row, parts):
        assert list(row) == parts
        expected = [f"{i}.{w}" for i in range(len(parts)) for w in ("weight", "bias")]
        assert list(row.state_dict()) == expected

    new = nn.Linear(9, 9)
    row, parts = make(3)
    row[1] = parts[1] = new
    check(row, parts)
    row[-1] = parts[-1] = nn.Linear(8, 8)
    check(row, parts)
    del row[0]
    del parts[0]
    check(row, parts)
    row, parts = make(5)
    del row[1:4:2]
    del parts[1:4:2]
    check(row, parts)
    for index in (0, 2, 3, -1, -3):
        row, parts = make(3)
        assert row.insert(index, new) is row
        parts.insert(index, new)
        check(row, parts)
    assert row.pop(-1) is parts.pop(-1)
    check(row, parts)
    assert row.extend([new]) is row
    parts.append(new)
    check(row, parts)
    total = row + make(1)[0]
    assert len(total) == len(parts) + 1
    assert type(total) is kind
    check(row, parts)
    row += [nn.Linear(7, 7)]
    assert len(row) == len(parts) + 1
    for index in (9, -9):
        with pytest.raises(IndexError, match=kind.__name__):
            row.insert(index, new)
    before = list(row)
    with pytest.raises(TypeError, match=kind.__name__):
        row.insert(0, 3)
    with pytest.raises(TypeError, match=kind.__name__):
        row[0] = None
    assert list(row) == before
    assert row.__class__ is copy.deepcopy(row).__class__
    for wrong in (3, new):
        with pytest.raises(TypeError, match=kind.__name__):
            row.extend(wrong)


def test_a_row_knows_its_own_modules_by_position():
    row = nn.ModuleList([nn.ReLU()])
    row[np.int64(0)] = nn.Identity()
    assert repr(row[np.int64(0)]) == "Identity()"
    with pytest.raises(TypeError):
        row["0"]
    with pytest.raises(NotImplementedError, match="ModuleList"):
        row(1)
    assert nn.Sequential(nn.ReLU()).train(False)[0].training is False


def test_module_dict():
    a, b = nn.Linear(1, 1), nn.Linear(2, 2)
    table = nn.ModuleDict({"a": a})
    table["b"] = b
    assert (list(table), table.keys(), len(table)) == (["a", "b"], ["a", "b"], 2)
    assert table.values() == [a, b]
    assert table.items() == [("a", a), ("b", b)]
    assert "a" in table
    assert "training" not in table
    assert table["b"] is b
    assert table.pop("a") is a
    assert list(table.state_dict()) == ["b.weight", "b.bias"]
    del table["b"]
    assert len(table) == 0
    table.update([("x", a), ("y", b)])
    assert list(table) == ["x", "y"]
    table.clear()
    assert list(table.parameters()) == []
    for name in ("items", "type", "a.b", ""):
        with pytest.raises(KeyError, match="ModuleDict"):
            table[name] = a
    with pytest.raises(TypeError, match="ModuleDict"):
        table["a"] = fastnn.ones(1)
    with pytest.raises(KeyError, match=r"ModuleDict: expected one of .*got 'q'"):
        table["q"]


def test_parameter_list_and_dict():
    p = nn.Parameter(fastnn.ones(2))
    row = nn.ParameterList([p, fastnn.zeros(3)])
    assert row[0] is p
    assert isinstance(row[1], nn.Parameter)
    assert [n for n, _ in row.named_parameters()] == ["0", "1"]
    row.append(fastnn.ones(1))
    row[1] = fastnn.ones(4)
    assert [tuple(q.shape) for q in row] == [(2,), (4,), (1,)]
    assert len(row[:2]) == 2
    assert repr(row) == (
        "ParameterList(\n  (0): fastnn.float32 (2,)\n  (1): fastnn.float32 (4,)\n"
        "  (2): fastnn.float32 (1,)\n)"
    )
    table = nn.ParameterDict({"w": p, "v": fastnn.zeros(1)})
    assert [n for n, _ in table.named_parameters()] == ["w", "v"]
    assert table["w"] is p
    with pytest.raises(TypeError, match="ParameterDict"):
        table["x"] = 3.0
    with pytest.raises(RuntimeError, match="float"):
        row.append(fastnn.arange(3))


def test_text_and_names_as_in_torch():
    torch = pytest.importorskip("torch")

    def build(nn, ordered):
        return [
            nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Linear(2, 3), nn.ReLU()]),
            nn.ModuleList([nn.Sequential(nn.Linear(1, 1)) for _ in range(2)]),
            nn.ModuleDict({"a": nn.ReLU(), "b": nn.Sequential(nn.Identity())}),
            nn.ModuleList(),
            nn.Sequential(ordered(a=nn.ReLU(), b=nn.Linear(2, 2))).append(nn.ReLU()),
        ]

    for ours, theirs in zip(
        build(nn, OrderedDict), build(torch.nn, OrderedDict), strict=True
    ):
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
    ours, theirs = build(nn, OrderedDict)[-1], build(torch.nn, OrderedDict)[-1]
    del ours[0]
    del theirs[0]
    assert list(ours.state_dict()) == list(theirs.state_dict())
