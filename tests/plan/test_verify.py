"""verify names the call where a graph breaks a rule; interpret says what a graph means."""

from __future__ import annotations

import pytest
from helpers import assert_same_bits

import fastnn
from fastnn._core import op_named
from fastnn.plan.errors import PlanError
from fastnn.plan.graph import Buffer, Call, Graph, Value
from fastnn.plan.interpret import interpret
from fastnn.plan.verify import verify


def value(kind="internal", shape=(3,), tensor=None, **options):
    strides = tuple(1 for _ in shape)
    return Value(Buffer(kind, tensor, **options), fastnn.float32, shape, strides)


def call(name, inputs, outputs, *attrs, **options):
    return Call(op_named(name), list(inputs), attrs, list(outputs), **options)


def number(x):
    return Value(Buffer("constant"), fastnn.float32, (), (), 0, x)


def chain():
    """x + 1, then exp into a result."""
    x = value("argument", index=0)
    t, y = value(), value(escapes=True)
    calls = [
        call("add", [x, number(1.0)], [t], where="model.py:7"),
        call("exp", [t], [y]),
    ]
    return Graph([x], calls, [y])


def test_a_graph_that_keeps_the_rules():
    graph = chain()
    assert verify(graph) is graph
    x = fastnn.tensor([1.0, 2.0, 3.0])
    assert_same_bits(interpret(graph, [x])[0], [(x + 1.0).exp()])


def before_made(g):
    g.calls.reverse()


def of_no_call(g):
    t = g.calls[0].outputs[0]
    g.calls[1].inputs[0] = Value(t.buffer, t.dtype, t.shape, t.strides)


def not_made(g):
    del g.calls[0]


def writes_a_constant(g):
    c = value("constant", tensor=fastnn.zeros(3))
    g.calls.append(call("add_", [c, number(1.0)], [value()]))
    g.calls[-1].outputs[0].buffer = c.buffer


def writes_what_is_folded(g):
    c = value("folded", tensor=fastnn.zeros(3))
    g.calls.append(call("exp", [g.arguments[0]], [c], into=True))


def folds_into_internal(g):
    g.prologue = [call("exp", [value("external", tensor=fastnn.zeros(3))], [value()])]


def view_elsewhere(g):
    g.calls.append(call("reshape", [g.calls[0].outputs[0]], [value()], (3,)))


def in_place_elsewhere(g):
    g.calls.append(call("add_", [g.calls[0].outputs[0], number(1.0)], [value()]))


def made_twice(g):
    g.calls.append(call("neg", [g.arguments[0]], [g.calls[0].outputs[0]]))


def into_argument_unsaid(g):
    g.calls.append(call("neg", [g.arguments[0]], [value("argument", index=0)]))


def too_few_inputs(g):
    del g.calls[0].inputs[1]


def wrong_attributes(g):
    g.calls[1].attrs = (3,)


def wrong_outputs(g):
    g.calls[1].outputs.append(value())


def lists_in_vain(g):
    g.calls[1].count = 2


def wrong_list(g):
    g.calls.append(call("cat", [g.arguments[0]], [value()], 0, count=2))


def scales_of_nothing(g):
    g.calls[1].scales = {(0, -1): 1}


def number_viewed(g):
    g.calls.append(call("reshape", [number(1.0)], [value()], (1,)))


def argument_of_nobody(g):
    g.calls[0].inputs[0] = value("argument", index=1)


def external_of_nobody(g):
    g.calls[0].inputs[0] = value("external")


def result_kept(g):
    g.outputs[0].buffer.escapes = False


def result_not_made(g):
    g.outputs = [value(escapes=True)]


def argument_kind(g):
    g.arguments = [value()]


def group_outside(g):
    g.groups = [(0, 3)]


def group_of_one(g):
    g.groups = [(0, 1)]


def groups_overlap(g):
    g.groups = [(0, 2), (1, 3)]
    g.calls.append(call("exp", [g.arguments[0]], [value()]))


def group_of_products(g):
    g.calls[1] = call("softmax", g.calls[1].inputs, g.calls[1].outputs)
    g.groups = [(0, 2)]


def group_goes_on(g):
    t, y = value(), value(shape=())
    g.calls = [
        g.calls[0],
        call("sum", g.calls[0].outputs, [y], (), False),
        call("exp", g.calls[0].outputs, [t]),
    ]
    g.outputs = []
    g.groups = [(0, 3)]


BROKEN = {
    before_made: r"call 0 \(exp\): expected x .*empty",
    of_no_call: r"call 1 \(exp\): expected x that a call before made",
    not_made: r"call 0 \(exp\)",
    writes_a_constant: r"call 2 \(add_\): .* got constant",
    writes_what_is_folded: r"call 2 \(exp\): .* got folded",
    folds_into_internal: r"call 0 of the prologue \(exp\): .* got internal",
    view_elsewhere: r"call 2 \(reshape\): expected the output over",
    in_place_elsewhere: r"call 2 \(add_\): expected the output over",
    made_twice: r"call 2 \(neg\): .* got one made before",
    into_argument_unsaid: r"call 2 \(neg\): expected new results in internal",
    too_few_inputs: r"call 0 \(add, model.py:7\): expected 2 inputs, got 1",
    wrong_attributes: r"call 1 \(exp\): expected 0 attributes, got 1",
    wrong_outputs: r"call 1 \(exp\): expected 1 outputs, got 2",
    lists_in_vain: r"call 1 \(exp\): expected no lists",
    wrong_list: r"call 2 \(cat\): expected 2 inputs, got 1",
    scales_of_nothing: r"call 1 \(exp\): expected scales",
    number_viewed: r"call 2 \(reshape\): .*got a number",
    argument_of_nobody: r"call 0 \(add, model.py:7\): .*an argument",
    external_of_nobody: r"call 0 \(add, model.py:7\): expected a tensor for a",
    result_kept: r"results: expected results in buffers that escape",
    result_not_made: r"results: expected result",
    argument_kind: r"graph: expected arguments in buffers",
    group_outside: r"group \[0, 3\): expected groups",
    group_of_one: r"group \[0, 1\): expected groups",
    groups_overlap: r"group \[1, 3\): expected groups",
    group_of_products: r"group \[0, 2\): expected elementwise",
    group_goes_on: r"group \[0, 3\): expected elementwise",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda f: f.__name__)
def test_broken_graphs(broken):
    graph = chain()
    broken(graph)
    with pytest.raises(PlanError, match=f"plan: {BROKEN[broken]}"):
        verify(graph)


def test_interpret_reads_parts_of_externals_and_writes_them():
    w = fastnn.tensor([[1.0, 2.0], [3.0, 4.0]])
    b = Buffer("external", w)
    column = Value(b, fastnn.float32, (2,), (2,), 1)
    flipped = Value(b, fastnn.float32, (2, 2), (1, 2))
    y = Value(Buffer("internal", escapes=True), fastnn.float32, (2,), (1,))
    z = Value(b, fastnn.float32, (2,), (2,), 1)
    g = Graph([], [call("neg", [column], [y]), call("add_", [column, y], [z])])
    g.outputs = [y, flipped, z]
    outputs, _ = interpret(verify(g), [])
    assert [x.tolist() for x in outputs] == [[-2, -4], [[1, 3], [0, 0]], [0, 0]]
    assert w.tolist() == [[1, 0], [3, 0]]


def test_interpret_lists_gradients_and_into():
    a = value("argument", index=0)
    x, y = value(), value(shape=(9,), escapes=True)
    graph = Graph(
        [a],
        [
            call("neg", [a], [x]),
            call("cat", [a, x, a], [y], 0, count=3),
            call("exp", [a], [Value(x.buffer, x.dtype, (3,), (1,))], into=True),
        ],
        [y],
        [(fastnn.zeros(3), graph_out := value(escapes=True)), (fastnn.zeros(1), None)],
    )
    graph.calls.append(call("copy", [x], [graph_out], -1))
    t = fastnn.tensor([0.0, 1.0, 2.0])
    outputs, gradients = interpret(verify(graph), [t])
    assert outputs[0].tolist() == [0, 1, 2, 0, -1, -2, 0, 1, 2]
    assert_same_bits(gradients[0], t.exp())
    assert gradients[1] is None


def test_interpret_refuses_other_shapes():
    with pytest.raises(PlanError, match=r"expected float32 \(3,\), got float32 \(4,\)"):
        interpret(chain(), [fastnn.zeros(4)])
