"""Random programs, with views, writes and draws, keep every bit under every pass."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan.keeping import same
from plan.recorder import record

import fastnn
import fastnn.nn.functional as F

UNARY = ["relu", "exp", "tanh", "sigmoid", "neg", "abs", "clone", "gelu"]
BINARY = ["add", "mul", "sub", "maximum"]
INPLACE = ["add_", "mul_", "copy_", "relu_"]
STEPS = st.tuples(
    st.sampled_from(
        [*UNARY, *BINARY, *BINARY, *INPLACE, "T", "slice", "reshape", "expand", "sum",
         "mean", "matmul", "linear", "dropout", "where", "zeros", "number", "softmax", "residual"]
    ),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 3),
)  # fmt: skip
ERRORS = (ValueError, TypeError, RuntimeError)


def run_step(pool, name, i, j, k):
    """One instruction on the pool of tensors; what does not fit does nothing."""
    x, y = pool[i % len(pool)], pool[j % len(pool)]
    if name in UNARY:
        return F.gelu(x) if name == "gelu" else getattr(x, name)()
    if name in BINARY:
        return getattr(fastnn, name)(x, y)
    if name == "relu_":
        F.relu(x, inplace=True)
    elif name in INPLACE:
        getattr(x, name)(y if k else 0.5)
    elif name == "T":
        return x.T if x.ndim == 2 else None
    elif name == "slice":
        return x[k % 2 :] if x.ndim else None
    elif name == "reshape":
        return x.reshape(-1)
    elif name == "expand":
        return x.expand(4, 4)
    elif name in ("sum", "mean"):
        return getattr(x, name)(k % 2) if x.ndim == 2 else getattr(x, name)()
    elif name == "matmul":
        return x @ y if x.ndim > 1 and y.ndim > 1 else None
    elif name == "linear":
        return F.linear(x, y, None)
    elif name == "dropout":
        return F.dropout(x, 0.5)
    elif name == "where":
        return fastnn.where(x > 0, y, 0.25)
    elif name == "zeros":
        return fastnn.zeros(*x.shape)
    elif name == "number":
        return x * (0.5, -0.0, 2.0, 1.0)[k]
    elif name == "softmax":
        return F.softmax(x, -1) if x.ndim == 2 else None
    elif name == "residual":
        z = F.linear(pool[0], pool[2], pool[3])
        return (z + x if k else x + z) + y
    return None


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(STEPS, min_size=3, max_size=24),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.booleans(),
)
def test_random_programs_keep_every_bit(steps, results, inference):
    rng = np.random.default_rng(len(steps))
    start = [
        rng.standard_normal(s).astype(np.float32)
        for s in ((4, 4), (4,), (4, 4), (4, 4))
    ]
    w, v, x, z = (fastnn.tensor(a) for a in start)

    def program(x, z):
        pool = [x, z, w, v]
        with fastnn.no_grad():
            for step in steps:
                try:
                    new = run_step(pool, *step)
                except ERRORS:
                    new = None
                if new is not None:
                    pool.append(new)
            made = pool[4:] or [x + 1]
        return tuple(made[r % len(made)] for r in results)

    with np.errstate(all="ignore"):
        graph, _ = record(program, (x, z))
        writes = any(b.kind == "external" for c in graph.calls for b in c.writes)
        for t, a in zip((w, v, x, z), start, strict=True):
            t.copy_(fastnn.from_numpy(a))
        same(program, (x, z), inference=inference and not writes)
