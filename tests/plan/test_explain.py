"""What a plan says of itself, and what it thinks a call costs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import fastnn
from fastnn._core import op_named
from fastnn.plan.cost import bytes_moved, flops
from fastnn.plan.explain import explain, quoted, short, to_dot
from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.passes import optimise
from fastnn.plan.report import Profile, Step


def value(kind, *shape, tensor=None, dtype=fastnn.float32, index=-1, escapes=False):
    strides, step = [], 1
    for n in reversed(shape):
        strides.insert(0, step)
        step *= n
    return Value(Buffer(kind, tensor, index, escapes), dtype, shape, tuple(strides))


def call(name, inputs, outputs, *attrs, **options):
    return Call(op_named(name), list(inputs), attrs, list(outputs), **options)


def model():
    """exp(relu(x w^T + b)) + 1."""
    x = value("argument", 8, 4, index=0)
    w = value("external", 6, 4, tensor=fastnn.zeros(6, 4))
    b = value("external", 6, tensor=fastnn.zeros(6))
    z, y, e = (value("internal", 8, 6) for _ in range(3))
    out = value("internal", 8, 6, escapes=True)
    one = Value(Buffer("constant"), fastnn.float32, (), (), 0, 1.0)
    return Graph(
        [x],
        [
            call("linear", [x, w, b], [z], where='a "b"\\c.py:3'),
            call("relu", [z], [y], where="model.py:4"),
            call("exp", [y], [e]),
            call("add", [e, one], [out]),
        ],
        [out],
    )


def test_explain_names_calls_memory_and_passes():
    text = explain(optimise(model(), inference=True))
    for part in (
        "linear_act",
        "(8x4) (6x4) (6) -> (8x6)",
        "activation=relu",
        "relu fused into linear",
        "group: exp, add",
        "prologue, run when",
        "3 calls and 0 views, 1 group;",
        "folded       1 buffer  96 B",
        "result       1 buffer  192 B",
    ):
        assert part in text, part
    assert all(line == line.rstrip() for line in text.splitlines())


def test_explain_shows_facts():
    graph = model()
    facts = [{"bytes": 7_000, "flops": 12, "offset": 64 * i} for i in range(4)]
    text = explain(graph, facts)
    assert "offset" in text and "192" in text
    assert "28 kB moved at least, 48 flops" in text


def test_codes_are_shown_by_name():
    x, y = value("argument", 3, index=0), value("internal", 3, escapes=True)
    kept = explain(Graph([x], [call("copy", [x], [y], -1)], [y]))
    assert "copy" in kept and "dtype=" not in kept
    code = fastnn._core.dtype_number(fastnn.float64)
    assert "dtype=float64" in explain(Graph([x], [call("copy", [x], [y], code)], [y]))
    target = value("argument", 3, index=1, dtype=fastnn.int64)
    some = call("nll", [x, target, None], [y, value("internal")], 2, -100)
    assert "reduction=sum ignore_index=-100" in explain(Graph([x, target], [some], [y]))


def test_explain_of_nothing():
    assert "0 calls" in explain(Graph())
    assert to_dot(Graph()).startswith("digraph plan {")


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (12_340_000, "12.3 MB"),
    ],
)
def test_short(n, text):
    assert short(n, "B") == text


def test_dot_escapes_names_and_has_groups_and_edges():
    text = to_dot(optimise(model(), inference=False))
    assert 'a \\"b\\"\\\\c.py:3' in text
    assert "subgraph cluster_0" in text and text.count("{") == text.count("}")
    assert 'c0 -> c1 [label="(8x6)"]' in text
    assert "c2 -> r0" in text
    assert quoted('a"\n\\') == '"a\\"\\n\\\\"'


def test_dot_shows_writes_in_place():
    x, t = value("argument", 3, index=0), value("internal", 3, escapes=True)
    t2 = Value(t.buffer, t.dtype, t.shape, t.strides)
    y = value("internal", 3)
    calls = [call("neg", [x], [t]), call("add_", [t, x], [t2]), call("exp", [t], [y])]
    graph = Graph([x], calls)
    assert "c1 -> c2 [style=dashed];" in to_dot(graph)


def test_a_profile_says_what_it_is_held_against():
    step = Step(("exp", "sum"), "a.py:3", 2e-6, 1200, 64, 0.5)
    text = str(Profile([step], SimpleNamespace(threads=2)))
    assert "2.00 100.0%       50%    1.2 k      64 B  exp + sum (a.py:3)" in text
    assert text.endswith(
        "2.00 µs in 1 step; the floor is what 2 threads can reach here"
    )


def test_costs():
    a, b = value("argument", 8, 4), value("argument", 4, 6)
    y = value("internal", 8, 6)
    assert flops(call("matmul", [a, b], [y])) == 2 * 8 * 4 * 6
    assert bytes_moved(call("matmul", [a, b], [y])) == 4 * (32 + 24 + 48)
    assert flops(call("permute", [a], [b], (1, 0))) == 0
    assert bytes_moved(call("permute", [a], [b], (1, 0))) == 0
    w, bias = value("external", 6, 4), value("external", 6)
    plain = flops(call("linear", [a, w, None], [y]))
    assert flops(call("linear", [a, w, bias], [y])) == plain + 48
    assert flops(call("linear_act", [a, w, bias], [y], 1)) == plain + 96
    total = value("internal")
    assert flops(call("sum", [a], [total], (), False)) == 32
    assert bytes_moved(call("sum", [a], [total], (), False)) == 4 * 33
    row = Value(Buffer("external"), fastnn.float32, (8, 4), (0, 1))
    assert bytes_moved(call("neg", [row], [a])) == 4 * (4 + 32)
    # in place: x is read and written; a step costs by its parameters
    assert bytes_moved(call("add_", [a, row], [a])) == 4 * (64 + 4)
    hyper = value("constant", 4, dtype=fastnn.float64)
    given = {"hyper": hyper, "parameters": a, "gradients": y}
    names = op_named("sgd_step").inputs
    inputs = [given.get(name) for name in names]
    step = call("sgd_step", inputs, [], False, False, True, count=1)
    assert flops(step) == 5 * 32
    assert bytes_moved(step) == 32 + 4 * (64 + 48)
    assert flops(call("cat", [a, a], [y], 0, count=2)) == 0


def test_every_op_has_a_cost():
    """No op is unknown to the estimates by a typing error in their tables."""
    from fastnn._core import all_ops
    from fastnn.plan import cost

    names = {o.name for o in all_ops()}
    assert set(cost._ELEMENT) | set(cost._STEP) | cost._INPUT <= names
    assert {n for n in names if n.endswith("_step")} == set(cost._STEP)
