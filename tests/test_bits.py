"""The bits contract: the same bits on every ISA and thread count, run after run, for a row
alone and in a batch, over every op.

Within a process the kernels are switched (set_isa), so one run covers the tiers that this
CPU has; CI also runs this file under FASTNN_ISA and FASTNN_NUM_THREADS. Hard-coded
digests tie the results to other machines and other days.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from helpers import arrays, assert_same_bits, flat
from samples import ROWS, arguments, callable_for

import fastnn
from fastnn import _core

pytestmark = [pytest.mark.bits, pytest.mark.usefixtures("as_before")]

FLOATS = [fastnn.float32, fastnn.float64]
THREADS = [1, 2, 3, 8]
EVERY = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    for k in range(len(row.samples) + len(row.big))
]
BIG = [
    pytest.param(name, k, id=f"{name}-big{k}")
    for name, row in ROWS.items()
    for k in range(len(row.big))
]
BATCHED = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, row in ROWS.items()
    for k, s in enumerate(row.samples + row.big)
    if s.rows
]


def outcome(name, sample, dtype):
    """The call's results, and its arguments where it writes them."""
    args = arguments(name, sample, dtype)
    result = callable_for(name)(*args, **sample.kwargs)
    written = [a for a in flat(args) if a._version]
    return [*([] if result is None else arrays(result)), *arrays(written)]


def same(got, expected, what):
    assert len(got) == len(expected)
    assert_same_bits(
        [fastnn.from_numpy(a) for a in got],
        [fastnn.from_numpy(a) for a in expected],
        what,
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "k"), EVERY)
def test_every_isa(name, k, dtype):
    sample = (ROWS[name].samples + ROWS[name].big)[k]
    _core.set_isa("generic")
    expected = outcome(name, sample, dtype)
    for isa in _core.isas()[1:]:
        _core.set_isa(isa)
        same(outcome(name, sample, dtype), expected, f"{name} on {isa} against generic")


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "k"), BIG)
def test_every_thread_count_and_run_after_run(name, k, dtype):
    sample = ROWS[name].big[k]
    fastnn.set_num_threads(1)
    expected = outcome(name, sample, dtype)
    same(outcome(name, sample, dtype), expected, f"{name} again")
    for threads in THREADS[1:]:
        fastnn.set_num_threads(threads)
        same(outcome(name, sample, dtype), expected, f"{name} on {threads} threads")


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "k"), BATCHED)
def test_a_row_alone_and_in_a_batch(name, k, dtype):
    sample = (ROWS[name].samples + ROWS[name].big)[k]
    whole = outcome(name, sample, dtype)
    n = sample.args[sample.rows[0]].shape[0]
    for i in sorted({0, n // 2, n - 1}):
        for length in (1, 2):
            one = type(sample)(
                tuple(
                    a[i : i + length] if j in sample.rows else a
                    for j, a in enumerate(sample.args)
                ),
                sample.kwargs,
            )
            expected = [a[i : i + length] for a in whole]
            same(outcome(name, one, dtype), expected, f"{name} row {i}")


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["matmul", "linear"])
@pytest.mark.parametrize("k", [1, 7, 64, 255, 256, 257, 300, 1000])
def test_gemm_paths_keep_one_chain(name, k, dtype):
    """Small, skinny and packed paths, transposed or not, over every size of m and n."""
    rng = np.random.default_rng(k)
    a = rng.standard_normal((150, k)).astype(dtype.numpy)
    b = rng.standard_normal((k, 140)).astype(dtype.numpy)
    x, y = fastnn.from_numpy(a), fastnn.from_numpy(b)
    whole = (x @ y).numpy()
    transposed = fastnn.from_numpy(np.ascontiguousarray(b.T))
    for m in (1, 2, 3, 5, 8, 13, 14, 15, 31, 64, 150):
        for n in (1, 2, 7, 16, 17, 33, 64, 140):
            plain = name == "matmul"
            got = x[:m] @ y[:, :n] if plain else fastnn.linear(x[:m], transposed[:n])
            same([got.numpy()], [whole[:m, :n]], f"{m} x {n} x {k}")


def test_training_gives_these_very_bits():
    """Ten steps of a small network, digested: the same on every machine."""
    fastnn.manual_seed(7)
    model = fastnn.nn.Sequential(
        fastnn.nn.Linear(20, 37), fastnn.nn.ReLU(), fastnn.nn.Linear(37, 5)
    )
    optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, t = fastnn.randn(33, 20), fastnn.randperm(33) * 5
    t = fastnn.tensor(t.numpy() % 5)
    for _ in range(10):
        optimizer.zero_grad()
        loss = fastnn.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
    digest = hashlib.sha256()
    for p in model.parameters():
        digest.update(p.detach().numpy().tobytes())
    assert digest.hexdigest()[:16] == DIGEST


DIGEST = "b534faf5d10b9b4c"
