"""What the tests of passes share: functions and what passes make of them, seen to be the
same bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
from helpers import assert_same_bits
from plan.recorder import record

import fastnn
from fastnn.plan.interpret import interpret
from fastnn.plan.passes import PASSES, optimise
from fastnn.plan.verify import verify

RNG = np.random.default_rng(3)


def rand(*shape, dtype=np.float32):
    return fastnn.tensor(RNG.standard_normal(shape).astype(dtype))


def outside(graph, arguments):
    """The tensors that a run may change: arguments and externals."""
    found = {id(x): x for x in arguments}
    for c in graph.calls:
        for v in c.inputs:
            if v is not None and v.buffer.kind == "external":
                found[id(v.buffer.tensor)] = v.buffer.tensor
    return list(found.values())


def same(f, arguments=(), *, externals=None, inference=False, passes=None):
    """The optimised graph of f, after the graph, and it after each pass and after all,
    were seen to do what f does: results, gradients, and what they leave outside."""
    graph, _ = record(f, arguments, externals=externals)
    verify(graph)
    state = outside(graph, arguments)
    before = [x.detach().numpy().copy() for x in state]
    expected = f(*arguments)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    expected = [x.detach().numpy().copy() for x in expected]
    grads = [p.grad.numpy().copy() for p in externals or () if p.grad is not None]
    after = [x.detach().numpy().copy() for x in state]

    def restore():
        with fastnn.no_grad():
            for x, value in zip(state, before, strict=True):
                x.detach().copy_(fastnn.from_numpy(value))

    runs = [[]] + (
        [[name] for name in PASSES] + [list(PASSES)] if passes is None else []
    )
    runs += [] if passes is None else [list(passes)]
    for wanted in runs:
        restore()
        better = optimise(graph, inference=inference, passes=wanted)
        outputs, gradients = interpret(better, arguments)
        what = f"passes {wanted}"
        assert_same_bits([x.detach() for x in outputs], expected, what)
        assert_same_bits(gradients, grads, what)
        assert_same_bits([x.detach() for x in state], after, what)
    return better


def network(*sizes, act=fastnn.nn.ReLU, dropout=0.0):
    layers = []
    for n, m in itertools.pairwise(sizes):
        layers += [fastnn.nn.Linear(n, m), act()]
        if dropout:
            layers.append(fastnn.nn.Dropout(dropout))
    return fastnn.nn.Sequential(*layers[: -1 - bool(dropout)])


def only(name, f, arguments=(), **options):
    """f's graph before and after one pass, seen to be the same."""
    graph, _ = record(f, arguments, externals=options.get("externals"))
    return graph, same(f, arguments, passes=[name], **options)
