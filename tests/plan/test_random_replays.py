"""Random programs and random trainings, compiled: the bits of eager at every batch size
and thread count."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
import fastnn.nn.functional as F
from fastnn import nn, optim

# No size is a width of a tensor, which would let other programs run at that size alone.
SIZES = [8, 8, 12, 11, 33, 11, 700, 8, 1, 1, 1, 33, 0, 0, 12]
WIDTHS = [4, 5, 64]
ERRORS = (ValueError, TypeError, RuntimeError, IndexError, KeyError)


def weights(seed):
    rng = np.random.default_rng(seed)
    return {
        (k, m): fastnn.tensor(rng.standard_normal((k, m)).astype(np.float32) / 4)
        for k in WIDTHS
        for m in WIDTHS
    } | {k: fastnn.tensor(rng.standard_normal(k).astype(np.float32)) for k in WIDTHS}


def row(h, w):
    return w[h.shape[-1]]


def matrix(h, w, m):
    return w[h.shape[-1], m]


# name -> function of two tensors of the pool, the weights, and two small integers
STEPS = {
    "relu": lambda a, b, w, i, j: a.relu(),
    "exp": lambda a, b, w, i, j: (a * 0.1).exp(),
    "tanh": lambda a, b, w, i, j: a.tanh(),
    "gelu": lambda a, b, w, i, j: F.gelu(a),
    "chain": lambda a, b, w, i, j: ((a * 2.0 + 1.0).sigmoid() - a).abs(),
    "add": lambda a, b, w, i, j: a + b,
    "mul": lambda a, b, w, i, j: a * b,
    "maximum": lambda a, b, w, i, j: fastnn.maximum(a, b),
    "compare": lambda a, b, w, i, j: fastnn.where(a > b, a, 0.5),
    "row": lambda a, b, w, i, j: a * row(a, w) + row(a, w),
    "first row": lambda a, b, w, i, j: a * a[0] + a,
    "column": lambda a, b, w, i, j: a - a[:, i : i + 1],
    "matmul": lambda a, b, w, i, j: a @ matrix(a, w, WIDTHS[i]),
    "linear": lambda a, b, w, i, j: F.relu(
        F.linear(a, matrix(a, w, WIDTHS[i]).T, w[WIDTHS[i]])
    ),
    "residual": lambda a, b, w, i, j: F.tanh(a @ matrix(a, w, a.shape[1]) + b),
    "gram": lambda a, b, w, i, j: a.T @ b,
    "softmax": lambda a, b, w, i, j: F.softmax(a, -1),
    "log_softmax": lambda a, b, w, i, j: F.log_softmax(a, i % 2),
    "sum": lambda a, b, w, i, j: a.sum(i % 2, keepdim=bool(j)),
    "mean": lambda a, b, w, i, j: (a * a).mean(0) + a,
    "amax": lambda a, b, w, i, j: a - a.amax(1, keepdim=True),
    "dropout": lambda a, b, w, i, j: F.dropout(a, 0.25),
    "cat": lambda a, b, w, i, j: fastnn.cat([a, b], i % 2)[:, :4],
    "T": lambda a, b, w, i, j: a.T.contiguous().T,
    "columns": lambda a, b, w, i, j: a[:, ::2][:, : 2 + i],
    "flip": lambda a, b, w, i, j: a.flip(i % 2),
    "rows": lambda a, b, w, i, j: a[fastnn.tensor([0, 2, 1, 0])],
    "gather": lambda a, b, w, i, j: a.gather(1, a.argmax(1, keepdim=True)),
    "one_hot": lambda a, b, w, i, j: F.one_hot(a.argmax(1), 64).float() + a,
    "expand": lambda a, b, w, i, j: a[:, :1].expand(a.shape[0], 5) * 2,
    "reshape": lambda a, b, w, i, j: a.reshape(-1).reshape(a.shape),
    "zeros": lambda a, b, w, i, j: fastnn.zeros(*a.shape) + a,
    "fill": lambda a, b, w, i, j: a.clone().mul_(b).add_(1.0),
    "in place": lambda a, b, w, i, j: a.add_(b) if j else F.relu(a, inplace=True),
    "in a slice": lambda a, b, w, i, j: a[:, i:].mul_(-0.5),
    "copy_": lambda a, b, w, i, j: a.copy_(b),
    "cumsum": lambda a, b, w, i, j: a.cumsum(0),
    "std": lambda a, b, w, i, j: a.var(0) + a,
    "double": lambda a, b, w, i, j: (a.double() * 3.0).float(),
    "integers": lambda a, b, w, i, j: (a > 0).long() + i,
}


def program(seed):
    """A function of two batches: 5 to 30 random steps, what does not fit left out."""
    rng = np.random.default_rng(seed)
    names = list(STEPS)
    count = int(rng.integers(5, 30))
    steps = [
        (names[rng.integers(len(names))], *(int(v) for v in rng.integers(0, 99, 4)))
        for _ in range(count)
    ]
    chosen = [int(v) for v in rng.integers(0, 99, rng.integers(1, 5))]
    w = weights(seed)

    def run(x, y):
        # in place on what was made here: arguments stay as they are
        pool = [x + 0.5, y * 1.0]
        for name, a, b, i, j in steps:
            try:
                made = STEPS[name](
                    pool[-1 - a % min(6, len(pool))],
                    pool[b % len(pool)],
                    w,
                    i % 3,
                    j % 2,
                )
            except ERRORS:
                continue
            pool.append(made)
        found = [pool[-1 - c % len(pool)] for c in chosen]
        return {"last": found[0], "others": found[1:]}

    return run


def batches(seed, n):
    rng = np.random.default_rng([seed, n])
    return [
        fastnn.tensor(rng.standard_normal((n, k)).astype(np.float32)) for k in (64, 5)
    ]


def unpacked(result):
    return [result["last"], *result["others"]]


def check(seed, sizes):
    function = program(seed)
    passes = () if seed % 5 == 4 else None
    compiled = fastnn.compile(function, passes=passes, dynamic=True)  # len of a list
    for n in sizes:
        states = []
        given = batches(seed, n)
        results = []
        for f in (function, compiled):
            fastnn.manual_seed(7)
            results.append(unpacked(f(*given)))
            states.append(fastnn.get_rng_state())
        what = f"seed {seed}, batch {n}"
        assert_same_bits(results[1], results[0], what)
        assert_same_bits(states[1], states[0], f"{what}, generator")
        assert_same_bits(given, batches(seed, n), f"{what}, arguments")
    return compiled


@pytest.fixture(params=[1, 3])
def threads(request):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(request.param)
    yield request.param
    fastnn.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("block", range(8))
def test_random_programs(block, threads):
    with np.errstate(all="ignore"), fastnn.no_grad():
        dynamic = 0
        for seed in range(block * 12, block * 12 + 12):
            compiled = check(seed, SIZES)
            dynamic += any(p.batch for p in compiled.plans)
        assert dynamic > 1  # many serve all sizes with one plan


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_programs_into_memory_that_is_given():
    with np.errstate(all="ignore"), fastnn.no_grad():
        for seed in range(500, 550):
            function = program(seed)
            compiled = fastnn.compile(lambda x, y, f=function: tuple(unpacked(f(x, y))))
            for k, n in enumerate([8, 12, 8, 11, 33, 8]):
                given = batches(seed, n)
                fastnn.manual_seed(7)
                expected = [v.clone() for v in unpacked(function(*given))]
                room = [fastnn.zeros(v.numel() + 64, dtype=v.dtype) for v in expected]
                out = [
                    given[0] if k == 5 and v.shape == (n, 64) and i == 0 else
                    r[: v.numel()].reshape(v.shape)
                    for i, (r, v) in enumerate(zip(room, expected, strict=True))
                ]  # fmt: skip
                if any(
                    v.dtype is not o.dtype for v, o in zip(expected, out, strict=True)
                ):
                    continue
                fastnn.manual_seed(7)
                compiled(*given, out=tuple(out))
                assert_same_bits(out, expected, f"seed {seed}, batch {n}")
                for r, v in zip(room, expected, strict=True):
                    assert not r[v.numel() :].any().item()


# ---- training ---------------------------------------------------------------------------

OPTIMIZERS = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}),
    ("Adam", {"lr": 1e-2, "weight_decay": 1e-2}),
    ("AdamW", {"lr": 1e-2, "amsgrad": True}),
    ("RMSprop", {"lr": 1e-3, "momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr": 1e-2}),
    ("Adadelta", {}),
    ("NAdam", {"lr": 1e-2}),
    ("RAdam", {"lr": 1e-2}),
]
ACTIVATIONS = ["ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "ELU", "LeakyReLU", "Softplus",
               "Hardtanh", "Mish", "PReLU", "ReLU6", "SELU", "Hardswish"]  # fmt: skip
LOSSES = ["CrossEntropyLoss", "MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss",
          "BCEWithLogitsLoss"]  # fmt: skip


class Training:
    """A random network, optimizer, loss and clipping, drawn from a seed."""

    def __init__(self, seed, compiled):
        rng = np.random.default_rng(seed)
        fastnn.manual_seed(seed)
        widths = [int(v) for v in rng.choice([4, 7, 32, 65], rng.integers(2, 5))]
        layers = []
        for n, m in zip([6, *widths], widths, strict=False):
            layers += [nn.Linear(n, m, bias=bool(rng.integers(3)))]
            layers += [getattr(nn, ACTIVATIONS[rng.integers(len(ACTIVATIONS))])()]
            layers += [nn.Dropout(0.3)] if rng.integers(2) else []
        self.model = nn.Sequential(*layers, nn.Linear(widths[-1], 3))
        name, options = OPTIMIZERS[rng.integers(len(OPTIMIZERS))]
        self.optimizer = getattr(optim, name)(self.model.parameters(), **options)
        self.loss = LOSSES[rng.integers(len(LOSSES))]
        self.criterion = getattr(nn, self.loss)()
        self.clip = int(rng.integers(3))
        self.step = fastnn.compile(self.train) if compiled else self.train
        self.state = fastnn.get_rng_state()

    def train(self, x, y):
        self.optimizer.zero_grad()
        out = self.model(x)
        loss = self.criterion(out, y)
        loss.backward()
        norm = loss
        if self.clip == 1:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        elif self.clip == 2:
            nn.utils.clip_grad_value_(self.model.parameters(), 0.01)
        self.optimizer.step()
        return loss, out, norm

    def __call__(self, x, y):
        fastnn.set_rng_state(self.state)
        made = self.step(x, y)
        self.state = fastnn.get_rng_state()
        return [
            *made,
            self.state,
            *self.model.parameters(),
            *(p.grad for p in self.model.parameters()),
            *(v for s in self.optimizer.state.values() for v in s.values()),
        ]


@pytest.mark.parametrize("block", range(4))
def test_random_trainings(block, threads):
    for seed in range(block * 10, block * 10 + 10):
        runs = [Training(seed, False), Training(seed, True)]
        rng = np.random.default_rng(seed)
        for step, n in enumerate([9, 9, 9, 20, 9, 2, 300, 20, 1, 1, 1, 9]):
            x = fastnn.tensor(rng.standard_normal((n, 6)).astype(np.float32))
            y = fastnn.tensor(rng.uniform(0, 1, (n, 3)).astype(np.float32))
            if runs[0].loss == "CrossEntropyLoss":
                y = y.argmax(1)
            expected, got = (run(x, y) for run in runs)
            expected, got = (
                [v.detach() if isinstance(v, fastnn.Tensor) else v for v in r]
                for r in (expected, got)
            )
            assert_same_bits(got, expected, f"seed {seed}, step {step}")
        assert len(runs[1].step.plans) == 2  # batches of 1 have their own
