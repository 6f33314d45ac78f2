"""Every op that computes, against its NumPy reference: result asserted, then timed.

    python -m pytest benchmarks --benchmark-only       some minutes, one thread
    python -m pytest benchmarks --benchmark-disable    each once, results asserted

extra_info of each: percent of what the machine allows (its peak or its bandwidth), and the
time as a ratio to NumPy's, the two taking turns. An elementwise op gets its case from its
first sample in tests/samples, others from CASES or else their big samples; an op with
neither fails.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import arrays, flat, tensors
from samples import ROWS, Sample
from samples.embedding import ROW_STEPS, rows_call
from samples.optim import FLAGS, HYPER, STATES, call
from samples.products import in_panels

import fastnn
from fastnn import _core, bench
from fastnn.ops._registry import REFERENCES

pytestmark = pytest.mark.benchmark(max_time=0.2, min_rounds=5, warmup=True)

TABLE = {o.name: o for o in _core.all_ops() if "view" not in o.flags}
F32 = fastnn.float32

# ---- the shapes, in one list ------------------------------------------------------------

MAPS = [(64,), (256, 1024)]
PRODUCT_ROWS = ("matmul", "linear", "linear_act", "linear_panels")
PRODUCTS = [(64, 784, 128), (256, 256, 256), (1, 784, 128)]  # m, k, n
REDUCTIONS = [((512, 1024), (0,)), ((512, 1024), (1,)), ((512, 1024), ())]
TABLES = (512, 1024)  # what is selected from, sorted, summed up
LOGITS = [(64, 10), (512, 1000)]
PARAMETERS = [(512, 784), (512,)]
RANDOM = (256, 1024)
WARPED = (64, 28, 28)  # images

# NumPy's counterpart of what has no reference
DRAWS: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda rng: rng.random(RANDOM, np.float32),
    "normal": lambda rng: rng.standard_normal(RANDOM, np.float32),
    "permutation": lambda rng: rng.permutation(RANDOM[0] * RANDOM[1]),
    "bernoulli": lambda rng: rng.random(RANDOM, np.float32) < np.float32(0.25),
    "dropout": lambda rng: (rng.random(RANDOM, np.float32) < 0.5) * np.float32(2),
}


def state() -> fastnn.Tensor:
    """Fresh generator state."""
    return fastnn.tensor([1, 0], dtype=fastnn.int64)


def normal(*shape: int, key: int = 0) -> Any:
    """Normal numbers."""
    return np.random.default_rng(key).standard_normal(shape)


def below(limit: int, *shape: int) -> Any:
    """int64 from 0 to limit - 1."""
    return np.random.default_rng(1).integers(0, limit, shape)


def order(n: int) -> Any:
    """int64 0 to n - 1, shuffled."""
    return np.random.default_rng(2).permutation(n)


def cross_entropies() -> dict[str, list[Sample]]:
    """Forward and backward, of logits and of log-probabilities."""
    cases: dict[str, list[Sample]] = {
        name: []
        for name in ("cross_entropy", "cross_entropy_backward", "nll", "nll_backward")
    }
    one = np.array(1.0)
    for n, classes in LOGITS:
        x, t = normal(n, classes), below(classes, n)
        _, lse, norm = REFERENCES["cross_entropy"](x, t, None, 1, -100, 0.0)
        cases["cross_entropy"].append(Sample((x, t, None)))
        cases["cross_entropy_backward"].append(
            Sample((one, x, t, None, lse, np.array(norm)))
        )
        cases["nll"].append(Sample((-np.abs(x), t, None)))
        cases["nll_backward"].append(
            Sample((one, t, None, np.array(float(n)), classes))
        )
    return cases


def warps() -> dict[str, list[Sample]]:
    """Images of MNIST's size, turned, moved by a grid and blurred."""
    n, h, w = WARPED
    x = normal(n, 1, h, w)
    theta = np.array([[0.9, 0.31, 0.13], [-0.27, 1.1, 0.37]]) + 0.1 * normal(n, 2, 3)
    i, j = np.mgrid[:h, :w]
    grid = np.einsum("nkp,phw->nhwk", theta, np.stack([j, i, np.ones_like(i)]))
    grid[:] = np.floor(grid) + 0.1 + 0.8 * (grid - np.floor(grid))  # at no kink
    taps = np.ones((n, 9)) / 9
    return {
        "affine_sample": [Sample((x, theta, h, w))],
        "grid_sample": [Sample((x, grid, 0, 0, 2))],
        "grid_sample_input": [Sample((x, grid, h, w, 0, 0, 2))],
        "grid_sample_grid": [Sample((x, x, grid, 0, 0, 2))],
        "filter2": [Sample((x, taps, taps))],
    }


rows, columns = TABLES
CASES: dict[str, list[Sample]] = {
    **{
        name: [Sample((normal(*shape), dims)) for shape, dims in REDUCTIONS]
        for name in ("sum", "mean", "amax", "amin", "argmax", "argmin")
    },
    "matmul": [
        *(Sample((normal(m, k), normal(k, n))) for m, k, n in PRODUCTS),
        *(Sample((normal(m, k), normal(n, k).T)) for m, k, n in PRODUCTS),
        *(Sample((normal(k, m).T, normal(k, n))) for m, k, n in PRODUCTS),
    ],
    "linear": [Sample((normal(m, k), normal(n, k), normal(n))) for m, k, n in PRODUCTS],
    "linear_panels": [
        Sample((normal(m, k), in_panels(normal(n, k)), normal(n), None, 1, n))
        for m, k, n in PRODUCTS
    ],
    "linear_act": [
        Sample((normal(m, k), normal(n, k), normal(n), residual, act))
        for m, k, n in PRODUCTS
        for act, residual in ((1, None), (4, None), (1, normal(m, n)))
    ],
    "cat": [Sample(([normal(*TABLES)] * 3,))],
    "as_index": [Sample((below(rows, *TABLES), rows))],
    "index_select": [Sample((normal(*TABLES), below(rows, rows)))],
    "index_add": [Sample((normal(*TABLES), below(rows, rows), 0, rows))],
    "unslice": [Sample((normal(*TABLES), 2 * rows, 0, 0, 2))],
    "gather": [Sample((normal(*TABLES), below(rows, *TABLES), 0))],
    "scatter": [Sample((normal(*TABLES), below(rows, *TABLES), normal(*TABLES), 0))],
    "scatter_add": [
        Sample((normal(*TABLES), below(rows, *TABLES), normal(*TABLES), 0))
    ],
    "index_copy_": [Sample((normal(*TABLES), order(rows), normal(*TABLES, key=1), 0))],
    "nonzero": [Sample((np.maximum(normal(*TABLES), 0),))],
    "argsort": [Sample((normal(*TABLES),))],
    "cumsum": [Sample((normal(*TABLES), 1)), Sample((normal(*TABLES), 0))],
    **{
        name: [Sample((normal(*s),)) for s in LOGITS]
        for name in ("softmax", "log_softmax")
    },
    **{
        name: [Sample((normal(*s), normal(*s, key=1))) for s in LOGITS]
        for name in ("softmax_backward", "log_softmax_backward")
    },
    **cross_entropies(),
    **warps(),
    "uniform": [Sample((state, RANDOM))],
    "normal": [Sample((state, RANDOM))],
    "permutation": [Sample((state, RANDOM[0] * RANDOM[1]))],
    "dropout": [Sample((state, normal(*RANDOM), 0.5))],
    "bernoulli": [Sample((state, np.full(RANDOM, 0.25)))],
    **{
        f"{name}_step": [call(name, STATES[name], *FLAGS[name][0], shapes=PARAMETERS)]
        for name in HYPER
    },
    # an embedding of text: more rows than the caches hold, some tokens often
    "embedding": [Sample((normal(20000, 256), below(20000, 32, 64)))],
    "sum_repeats": [Sample((below(200, 2048), normal(2048, 256)))],
    **{
        f"{name}_step": [
            rows_call(name, tables=[(20000, 64)], named=[below(20000, 2048)])
        ]
        for name in ROW_STEPS
    },
    # over and over in place: a factor of 1 or -1 keeps the numbers as they are
    "mul_": [Sample((normal(*s), np.sign(normal(*s, key=1)))) for s in MAPS],
}


def cases(name: str) -> list[Sample]:
    """The op's samples; empty where nobody has said any."""
    if name in CASES:
        return CASES[name]
    if "elementwise" in TABLE[name].flags:
        sample = ROWS[name].samples[0]
        return [
            Sample(tuple(enlarged(a, shape) for a in sample.args), sample.kwargs)
            for shape in MAPS
        ]
    return ROWS[name].big if name in ROWS else []


def enlarged(value: Any, shape: tuple[int, ...]) -> Any:
    """An array's values over and over in that shape; numbers as they are."""
    if isinstance(value, np.ndarray) and value.ndim:
        return np.resize(value, shape)
    return value


@pytest.mark.parametrize("name", TABLE)
def test_every_op_has_a_case(name: str) -> None:
    assert cases(name), f"{name}: no case in benchmarks, no big sample in tests/samples"
    assert name in REFERENCES or name in DRAWS, f"{name}: nothing to compare it with"


# ---- the benchmark ----------------------------------------------------------------------


def made(name: str, sample: Sample) -> list[Any]:
    """The sample's arguments as tensors."""
    fixed = ROWS[name].float64 if name in ROWS else ()
    return [
        tensors(a, fastnn.float64 if i in fixed else F32)
        for i, a in enumerate(sample.args)
    ]


def as_arrays(value: Any) -> Any:
    """Tensors as arrays of their own, in lists too."""
    if isinstance(value, (tuple, list)):
        return type(value)(as_arrays(v) for v in value)
    return value.numpy().copy() if isinstance(value, fastnn.Tensor) else value


def outcome(name: str, args: list[Any], result: Any) -> list[Any]:
    """What a call made, or wrote, as arrays."""
    op = TABLE[name]
    if op.outputs:
        return arrays(result)
    return arrays([args[op.inputs.index(w)] for w in op.written])


def check(name: str, got: list[Any], expected: Any) -> None:
    """Equal to what float32 and the other order of additions leave open."""
    wanted = [np.asarray(w) for w in arrays(expected)]
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert g.shape == w.shape
        if g.dtype.kind != "f":
            np.testing.assert_array_equal(g, w.astype(g.dtype))
            continue
        scale = float(np.abs(w[np.isfinite(w)]).max(initial=1e-6))
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


def work(name: str, args: list[Any], result: Any) -> tuple[float, float]:
    """(flops, bytes): 2 m k n of a product, else one for each number; all read, written."""
    inputs, outputs = flat(args), flat(result)
    size = sum(t.numel() * t.element_size() for t in inputs + outputs)
    if name in PRODUCT_ROWS:
        return 2.0 * outputs[0].numel() * args[0].shape[-1], size
    return float(max(t.numel() for t in inputs + outputs)), size


def shown(t: fastnn.Tensor) -> str:
    """Its shape, and whether it lies otherwise than in rows."""
    return f"{tuple(t.shape)}{'' if t.is_contiguous() else ' not contiguous'}"


def against_numpy(name: str, args: list[Any]) -> Callable[[], Any]:
    """NumPy's way of it, on arrays of the same dtypes."""
    if name in DRAWS:
        return functools.partial(DRAWS[name], np.random.default_rng(0))
    return functools.partial(REFERENCES[name], *as_arrays(args))


@pytest.mark.parametrize(
    ("name", "k"),
    [pytest.param(n, k, id=f"{n}-{k}") for n in TABLE for k in range(len(cases(n)))],
)
def test_kernel(name: str, k: int, benchmark: Any) -> None:
    fastnn.set_num_threads(1)
    op, sample = TABLE[name], cases(name)[k]
    benchmark.group = name
    args = made(name, sample)
    reference = against_numpy(name, args)
    first = op(*args, **sample.kwargs)
    if name not in DRAWS:
        with np.errstate(all="ignore"):
            check(name, outcome(name, args, first), reference())
    elif name != "permutation":
        some = arrays(first)[0]
        kept = some[some != 0] if name == "dropout" else some
        if name == "bernoulli":
            assert set(np.unique(some)) == {0, 1} and abs(some.mean() - 0.25) < 0.01
        else:
            assert np.isfinite(some).all() and len(np.unique(kept)) > 1000

    # into an existing output where that exists, so that no allocation is timed
    if len(op.outputs) == 1 and not op.written and "data_shape" not in op.flags:
        run = functools.partial(op.into, first, *args)
    else:
        run = functools.partial(op, *args)
    benchmark(run)
    if benchmark.disabled:
        return
    flops, size = work(name, args, first)
    with np.errstate(all="ignore"):
        times = bench.race({"fastnn": run, "numpy": reference}, rounds=5, budget=2e-3)
    ours, theirs = times["fastnn"].median, times["numpy"].median
    floor = bench.measure(1).floor(flops, size)
    benchmark.extra_info["shapes"] = [shown(t) for t in flat(args)]
    benchmark.extra_info["percent_of_peak"] = round(100 * floor / ours, 2)
    benchmark.extra_info["ratio_to_numpy"] = round(ours / theirs, 4)
