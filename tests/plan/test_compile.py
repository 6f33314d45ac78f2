"""Compiled functions: the same bits as eager calls, whatever changes between calls."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.plan import CaptureError

RNG = np.random.default_rng(0)


def bits(x):
    """What an object holds, comparable to the last bit."""
    if isinstance(x, fastnn.Tensor):
        return (x.dtype, x.shape, np.ascontiguousarray(x.detach().numpy()).tobytes())
    if isinstance(x, (tuple, list)):
        return [bits(v) for v in x]
    if isinstance(x, dict):
        return {k: bits(v) for k, v in x.items()}
    return x


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def network(p=0.2):
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(16, 16),
        nn.Tanh(),
        nn.Linear(16, 3),
    )


def check(function, *calls):
    """function compiled gives what it gives, for each arguments of calls."""
    compiled = fastnn.compile(function)
    for args in calls:
        expected = bits(function(*args))
        assert bits(compiled(*args)) == expected
    return compiled


def call(function, x, times):
    for _ in range(times):
        function(x)


# ---- calls ------------------------------------------------------------------------------


def test_a_model_with_tensors_arrays_and_out():
    model = network().eval()
    predict = fastnn.compile(model)
    for n in (5, 5, 5, 7, 1, 1, 1, 5, 9):
        a = array(n, 8)
        y = model(fastnn.from_numpy(a))
        assert bits(predict(a)) == bits(y.detach())
        assert bits(predict(fastnn.from_numpy(a))) == bits(y.detach())
        out, tensor = np.zeros((n, 3), np.float32), fastnn.zeros(n, 3)
        assert predict(a, out=out) is out
        assert predict(a, out=tensor) is tensor
        assert out.tobytes() == y.detach().numpy().tobytes() == tensor.numpy().tobytes()
    assert len(predict.plans) == 2  # one for batches, one for single samples


def test_results_are_fresh():
    predict = fastnn.compile(lambda x: x * 2)
    a, b = fastnn.ones(3), fastnn.ones(3) * 5
    results = [predict(x) for x in (a, b, a, b, a)]
    assert [r.tolist()[0] for r in results] == [2, 10, 2, 10, 2]


def test_nested_arguments_and_results():
    def function(pair, *, scale, also):
        x, y = pair
        return {"sum": x + y, "parts": [x * scale, (y, also["z"] - 1)], "n": 3}

    compiled = fastnn.compile(function)
    for k in range(5):
        pair = (fastnn.from_numpy(array(4)), array(4))
        also = {"z": array(2, 2)}
        eager = function(
            (pair[0], fastnn.from_numpy(pair[1])),
            scale=2.0,
            also={"z": fastnn.tensor(also["z"])},
        )
        assert bits(compiled(pair, scale=2.0, also=also)) == bits(eager), k


def test_other_arguments_belong_to_the_key():
    compiled = fastnn.compile(lambda x, n: x * n)
    x = fastnn.ones(2)
    for n in (2, 3, 2, 3, 2, 3, 2.0, True):
        y = compiled(x, n)
        assert y.tolist() == [n, n]
    assert len(compiled.plans) == 2


def test_results_over_arguments_and_over_each_other():
    def function(x, y):
        z = x + y
        return x, x[1:], z, z.reshape(-1), y

    compiled = fastnn.compile(function)
    for _ in range(4):
        x, y = fastnn.ones(3, 2), fastnn.full((3, 2), 4.0)
        a, b, c, d, e = compiled(x, y)
        assert (a.data_ptr(), e.data_ptr()) == (x.data_ptr(), y.data_ptr())
        assert c.data_ptr() == d.data_ptr()
        b.copy_(7.0)
        d.copy_(9.0)
        assert x[1:].tolist() == [[7, 7], [7, 7]] and x[0].tolist() == [1, 1]
        assert c.tolist() == [[9, 9]] * 3


def test_strided_arguments():
    function = lambda x: x.sum(0) + x.reshape(-1)[:2]  # noqa: E731
    compiled = fastnn.compile(function)
    for _ in range(4):
        a = array(6, 4)
        for x in (a[::2, ::2], a.T[:2, :2], a[:, :2]):
            assert bits(compiled(x)) == bits(
                function(fastnn.tensor(np.ascontiguousarray(x)))
            )


def test_arguments_that_are_written():
    def function(x, y):
        x.add_(y)
        return x * 2

    compiled = fastnn.compile(function)
    for _ in range(5):
        x, y = fastnn.ones(4), fastnn.full((4,), 3.0)
        version = x._version
        assert compiled(x, y).tolist() == [8.0] * 4
        assert x.tolist() == [4.0] * 4 and x._version > version
        a = np.ones(4, np.float32)
        assert compiled(a, y).tolist() == [8.0] * 4 and a.tolist() == [4.0] * 4
        both = fastnn.ones(4)
        assert compiled(both, both).tolist() == [4.0] * 4  # one memory: still right
    frozen = np.ones(4, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="may be written"):
        compiled(frozen, y)


def test_constants_views_and_memory_made_inside():
    table = np.arange(6, dtype=np.float32).reshape(2, 3)

    def function(x):
        h = fastnn.zeros(x.shape[0], 3)
        h[:, 1:] = x[:, :2]
        c = fastnn.tensor(table)
        c[0, 0] += 1  # a constant that is written starts anew each time
        h += c.sum(0)
        return h.T * 2, c, fastnn.tensor([1.0, 2.0])

    check(function, *((fastnn.from_numpy(array(n, 2)),) for n in (4, 4, 4, 6, 6, 3, 4)))


def test_a_result_that_is_a_constant_cannot_be_spoilt():
    compiled = fastnn.compile(lambda x: (x + 1, fastnn.tensor([1.0, 2.0])))
    for _ in range(4):
        _, c = compiled(fastnn.ones(1))
        assert c.tolist() == [1.0, 2.0]
        c.add_(5.0)


def test_a_compiled_function_within_another():
    inner = fastnn.compile(lambda x: x * 2)
    outer = fastnn.compile(lambda x: inner(x) + 1)
    for k in range(5):
        assert outer(fastnn.full((2,), float(k))).tolist() == [2 * k + 1.0] * 2
        assert inner(fastnn.ones(2)).tolist() == [2.0, 2.0]


def test_errors_are_those_of_the_ops():
    criterion = nn.CrossEntropyLoss()
    compiled = fastnn.compile(lambda x, t: criterion(x, t))
    x = array(4, 3)
    for _ in range(4):
        compiled(x, np.array([0, 1, 2, 0]))
    with pytest.raises(IndexError, match="labels from 0 to 2"):
        compiled(x, np.array([0, 1, 3, 0]))
    compiled(x, np.array([0, 1, 2, 0]))
    model = fastnn.compile(nn.Linear(3, 2))
    for _ in range(3):
        model(x)
    with pytest.raises(ValueError, match="expected x with 3 features"):
        model(array(4, 5))
    with pytest.raises(TypeError, match="one dtype"):
        model(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"expected out of float32 \(4, 2\)"):
        model(x, out=np.zeros((4, 3), np.float32))
    with pytest.raises(TypeError, match="function or a Module"):
        fastnn.compile(3)
    with pytest.raises(RuntimeError, match="called often enough"):
        _ = fastnn.compile(nn.ReLU()).plan


def test_out_that_is_read():
    compiled = fastnn.compile(lambda x: (x.sum() + x).flip(0))
    x = fastnn.from_numpy(array(5))
    for _ in range(4):
        expected = bits((x.sum() + x).flip(0))
        compiled(x, out=x)
        assert bits(x) == expected


def test_results_carry_no_graph():
    model = nn.Linear(2, 2)
    predict = fastnn.compile(model)
    for _ in range(4):
        assert not predict(fastnn.ones(1, 2)).requires_grad
    w = fastnn.ones(2, requires_grad=True)
    with pytest.raises(CaptureError, match="outside any graph"):
        predict(w * 1)


# ---- training ---------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": {"lr": 0.1},
    "SGD, momentum": {
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-3,
    },
    "Adam": {"lr": 1e-2, "amsgrad": True},
    "AdamW": {"lr": 1e-2},
    "RMSprop": {"lr": 1e-2, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 1e-2},
    "Adadelta": {},
    "NAdam": {"lr": 1e-2},
    "RAdam": {"lr": 1e-2},
}


class Run:
    """A network in training, and all that a step leaves behind."""

    def __init__(self, compiled, name="Adam", options=None, clip=None):
        self.model = network()
        options = OPTIMIZERS[name] if options is None else options
        self.optimizer = getattr(optim, name.split(",")[0])(
            self.model.parameters(), **options
        )
        self.criterion = nn.CrossEntropyLoss()
        self.clip = clip
        self.step = fastnn.compile(self.train_step) if compiled else self.train_step
        fastnn.manual_seed(1)
        self.generator = fastnn.get_rng_state()

    def train_step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def trace(self, loss):
        return bits(
            [
                loss.detach(),
                list(self.model.parameters()),
                [p.grad for p in self.model.parameters()],
                [dict(s) for s in self.optimizer.state.values()],
                fastnn.get_rng_state(),
            ]
        )


def both(steps, change=None, **options):
    """Eager and compiled runs give the same after every step; change(run, step) in between."""
    runs = [Run(False, **options), Run(True, **options)]
    rng = np.random.default_rng(3)
    for k in range(steps):
        n = 5 if k % 7 == 6 else 12
        x = fastnn.from_numpy(rng.standard_normal((n, 8)).astype(np.float32))
        y = fastnn.from_numpy(rng.integers(0, 3, n))
        traces = []
        for run in runs:
            fastnn.set_rng_state(run.generator)
            if change is not None:
                change(run, k)
            traces.append(run.trace(run.step(x, y)))
            run.generator = fastnn.get_rng_state()
        assert traces[0] == traces[1], k
    return runs[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_equals_eager(name):
    run = both(60, name=name)
    assert len(run.step.plans) == 1  # both batch sizes


def test_training_for_hundreds_of_steps_with_everything_changing():
    def change(run, k):
        if k == 0:
            run.scheduler = optim.lr_scheduler.CosineAnnealingLR(run.optimizer, 100)
        group = run.optimizer.param_groups[0]
        if k % 10 == 0 and k < 200:
            run.scheduler.step()
        if k == 50:
            group["momentum"] = 0.5
        if k == 80:
            group["weight_decay"] = 0.01
        if k == 100:
            run.model[2].p = 0.5
        if k in (120, 150):
            run.model.train(k == 150)
        if k == 170:
            run.model[0].weight.requires_grad_(False)
        if k == 190:
            run.model[0].weight.requires_grad_(True)
        if k == 200:
            with fastnn.no_grad():
                run.model[3].weight.mul_(0.5)
        if k == 210:
            run.model[5] = nn.Linear(16, 3, bias=False)
            run.model[5].weight.data = fastnn.ones(3, 16) * 0.01
            run.optimizer.add_param_group({"params": [run.model[5].weight], "lr": 0.2})
        if k == 230:
            run.optimizer.load_state_dict(run.optimizer.state_dict())
        if k == 250:
            run.optimizer.state.clear()
        if k == 270:
            group["momentum"] = 0.0

    both(300, change, name="SGD", options={"lr": 0.1, "momentum": 0.9})


def test_gradients_that_add_up_over_calls():
    def make(compiled):
        fastnn.manual_seed(0)
        model = nn.Linear(4, 2)

        def accumulate(x):
            (model(x) ** 2).mean().backward()

        return model, fastnn.compile(accumulate) if compiled else accumulate

    runs = [make(False), make(True)]
    for k in range(30):
        x = fastnn.from_numpy(array(3, 4))
        for model, accumulate in runs:
            if k % 4 == 0:
                model.zero_grad(set_to_none=k % 8 == 0)
            accumulate(x)
        a, b = ([p.grad for p in model.parameters()] for model, _ in runs)
        assert bits(a) == bits(b), k


def test_gradients_that_are_kept_stay_as_they_were():
    model = nn.Linear(4, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @fastnn.compile
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    kept = []
    for k in range(8):
        step(fastnn.full((1, 4), float(k)))
        kept.append((model.weight.grad, model.weight.grad.numpy()))
    for k, (g, a) in enumerate(kept):
        assert g.tolist() == [[k] * 4] * 2 == a.tolist()
    assert len({id(model.weight.grad) for _ in range(3)}) == 1


def test_gradients_only_and_functions_of_leaves():
    w = fastnn.tensor([1.0, 2.0], requires_grad=True)

    @fastnn.compile
    def gradient(x):
        return fastnn.autograd.grad((w * x).sum(), w)[0]

    for k in range(5):
        x = fastnn.full((2,), float(k))
        assert bits(gradient(x)) == bits(x)
        assert w.grad is None

    @fastnn.compile
    def with_leaf(v, x):
        (v * x).sum().backward()

    for k in range(5):
        w.grad = None
        with_leaf(w, fastnn.full((2,), float(k)))
        assert w.grad.tolist() == [k, k]


def test_a_gradient_that_is_returned():
    w = fastnn.tensor([1.0, 2.0], requires_grad=True)

    @fastnn.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        return w.grad, x + 1

    for k in range(6):
        g, y = step(fastnn.full((2,), float(k)))
        assert g.tolist() == w.grad.tolist() == [k, k] and y.tolist() == [k + 1] * 2


def test_second_order():
    w = fastnn.tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        w.grad = None
        (g,) = fastnn.autograd.grad((w**3 * x).sum(), w, create_graph=True)
        (g * g).sum().backward()
        return w.grad

    check(step, *((fastnn.from_numpy(array(2)),) for _ in range(5)))


def test_a_failed_step_leaves_no_half_gradient():
    run = Run(True)
    x = array(4, 8)
    for _ in range(6):
        run.step(x, np.array([0, 1, 2, 0]))
    before = bits(list(run.model.parameters()))
    with pytest.raises(IndexError, match="labels"):
        run.step(x, np.array([0, 1, 9, 0]))
    assert bits(list(run.model.parameters())) == before
    assert all(p.grad is None for p in run.model.parameters())
    run.step(x, np.array([0, 1, 2, 0]))


def test_random_numbers_move_the_generator():
    def function(x):
        return nn.functional.dropout(x, 0.5) + fastnn.randn(*x.shape)

    compiled = fastnn.compile(function)
    for seed in range(6):
        states = []
        for f in (function, compiled):
            fastnn.manual_seed(seed)
            states.append(
                bits([f(fastnn.ones(9)), f(fastnn.ones(9)), fastnn.get_rng_state()])
            )
        assert states[0] == states[1]


# ---- what may change --------------------------------------------------------------------


def test_threads_isa_and_modes_may_change():
    model = network()
    predict = fastnn.compile(model)
    x = array(64, 8)
    threads, isa = fastnn.get_num_threads(), fastnn.isa()
    try:
        model.eval()
        expected = bits(model(fastnn.tensor(x)).detach())
        for n in (1, 2, 3, 1):
            for name in fastnn._core.isas():
                fastnn.set_num_threads(n)
                fastnn._core.set_isa(name)
                for _ in range(3):
                    assert bits(predict(x)) == expected
        model.train()
        assert any(bits(predict(x)) != expected for _ in range(4))
        model.eval()
        plans = len(predict.plans)
        assert bits(predict(x)) == expected and len(predict.plans) == plans
    finally:
        fastnn.set_num_threads(threads)
        fastnn._core.set_isa(isa)


def test_weights_that_are_changed_in_any_way_are_seen():
    model = network(0.0).eval()
    predict = fastnn.compile(model)
    x = array(2, 8)
    view = model[0].weight.detach().numpy()

    def unchanged():
        assert bits(predict(x)) == bits(model(fastnn.tensor(x)).detach())

    with fastnn.no_grad():
        for _ in range(4):
            unchanged()
        model[0].weight.mul_(2)
        unchanged()
        view[0, 0] = 100  # through NumPy: no version says so
        unchanged()
        del view
        unchanged()
        model[0].weight.data = fastnn.ones(16, 8)
        unchanged()
        model[3] = nn.Linear(16, 16)
        for _ in range(3):
            unchanged()
        model.load_state_dict(network().state_dict())
        unchanged()
        model.append(nn.ReLU())
        for _ in range(3):
            unchanged()
        own = array(16, 8)
        model[0].weight = nn.Parameter(fastnn.from_numpy(own))
        for k in range(5):
            own[:] = k
            unchanged()


def test_packed_weights_are_one_for_all_sizes():
    model = network(0.0).eval()
    predict = fastnn.compile(model)
    for n in (5, 5, 5, 7):  # a plan for all sizes, bound to 7 alone
        predict(array(n, 8))
    with fastnn.no_grad():
        for p in model.parameters():
            p.mul_(2)
    for n in (5, 9, 7):  # bound after the change, packed before
        x = array(n, 8)
        assert bits(predict(x)) == bits(model(fastnn.tensor(x)).detach())


def test_variables_that_change():
    class Config:
        beta = 1.0

    config, scale = Config(), 2.0
    config.beta = 1.0

    def function(x):
        return x * scale + config.beta + OFFSET[0] * 0 + LEVEL

    global LEVEL
    LEVEL = 1.0
    compiled = fastnn.compile(function)
    x = fastnn.ones(2)
    for k in range(16):
        if k == 4:
            scale = 3.0
        if k == 8:
            config.beta = 5.0
        if k == 12:
            LEVEL = 7.0
        assert bits(compiled(x)) == bits(function(x)), k
    count = 0

    def counting(x):
        nonlocal count
        count += 1
        return x + 1

    with pytest.raises(CaptureError, match="variable 'count' was changed"):
        call(fastnn.compile(counting), x, 3)
    seen = []
    with pytest.raises(CaptureError, match="variable 'seen' was changed"):
        call(fastnn.compile(lambda x: (seen.append(1), x + 1)[1]), x, 3)


OFFSET = [1.0]
LEVEL = 1.0


@pytest.mark.parametrize("change", ["in place", "NumPy", "array"])
@pytest.mark.parametrize("rows", [4, 9])
def test_changed_weights_are_seen_at_sizes_bound_before_and_after(change, rows):
    """Packed weights belong to all sizes of a plan; an array that came and went between
    two calls may have written."""
    layer = nn.Linear(8, 5)
    own = RNG.standard_normal((5, 8)).astype(np.float32)
    if change == "array":
        layer.weight = nn.Parameter(fastnn.from_numpy(own))
    predict = fastnn.compile(layer)
    for n in (2, 3, 4, 4):
        call(predict, array(n, 8), 1)
    for k in range(3):
        if change == "in place":
            with fastnn.no_grad():
                layer.weight.mul_(2)
        elif change == "NumPy":
            layer.weight.detach().numpy()[:] = k
        elif k == 0:
            own[:] = 7
            del own
        x = array(rows, 8)
        assert bits(predict(x)) == bits(layer(fastnn.tensor(x)).detach())
    assert len(predict.plans) == 1


def test_a_written_weight_is_seen_by_every_function_that_packed_it():
    layer = nn.Linear(8, 5)
    both = fastnn.compile(layer), fastnn.compile(lambda x: layer(x) * 2)
    x = array(4, 8)
    for f in both:
        call(f, x, 3)
    layer.weight.detach().numpy()[:] = 3
    expected = layer(fastnn.tensor(x)).detach()
    assert bits(both[0](x)) == bits(expected)
    assert bits(both[1](x)) == bits(expected * 2)


def test_many_sizes_in_bounded_memory():
    model = network().eval()
    predict = fastnn.compile(model)
    record, recorded = predict._record, []
    predict._record = lambda *args: (recorded.append(1), record(*args))[1]
    rng = np.random.default_rng(0)
    for n in rng.permutation(np.arange(2, 2002)):
        predict(array(int(n) % 997 + 2, 8))
    assert len(recorded) <= 4
    shape = fastnn.compile(lambda x: (x * 2).sum())
    for k in range(1, 301):
        with warnings.catch_warnings():  # 256 kinds of calls, none of them twice
            warnings.simplefilter("ignore", RuntimeWarning)
            assert shape(fastnn.ones(2, k)).item() == 4 * k
    assert len(shape.plans) <= 64
    assert len(shape._families) <= 128


def test_batches_of_one_and_none_are_their_own():
    def function(x):
        return (x - x.mean(0)).sum(), x.reshape(x.shape[0] * 2, 2)

    sizes = (3, 3, 3, 1, 1, 1, 5, 1, 3, 8, 2, 0, 0, 0, 4)
    compiled = check(function, *((fastnn.from_numpy(array(n, 4)),) for n in sizes))
    assert len(compiled.plans) == 3


def test_numbers_that_follow_the_batch():
    def function(x):
        n = x.shape[0]
        return (
            x.sum() / n,
            x.reshape(n, 2, 2).permute(1, 0, 2).reshape(2, 2 * n),
            x[: n - 1],
        )

    def sums(x):
        return x.sum() / x.shape[0], x.reshape(2 * x.shape[0], 2) + 1

    for f, plans in ((function, 5), (sums, 1)):
        compiled = check(
            f,
            *(
                (fastnn.from_numpy(array(n, 4)),)
                for n in (4, 4, 6, 6, 8, 3, 9, 4, 9, 3, 8)
            ),
        )
        assert len(compiled.plans) <= plans


@pytest.mark.parametrize("dynamic", [None, False])
def test_a_function_that_decides_by_the_batch(dynamic):
    def function(x):
        return x * 2 if x.shape[0] > 5 else x * 3

    compiled = fastnn.compile(function, dynamic=dynamic)
    for n in (3, 3, 3, 4, 4, 2, 2, 8, 8, 8, 4, 4, 3, 8, 9, 7, 5, 6):
        assert compiled(fastnn.ones(n)).tolist() == [2 if n > 5 else 3] * n
    promised = fastnn.compile(
        lambda x: x * 2 if x.ndim == len(x.shape) else x, dynamic=True
    )
    for n in (2, 3, 4, 5, 6):
        assert promised(fastnn.ones(n)).tolist() == [2] * n
    assert len(promised.plans) == 1


# ---- what cannot be ---------------------------------------------------------------------


class Lazy(nn.Module):
    def forward(self, x):
        self.last = x * 1
        return self.last


def counting():
    state = {"n": 0}

    def function(x):
        state["n"] += 1
        return x * state["n"]

    return function


HOSTILE = {
    "item": (
        lambda x: x * x.sum().item(),
        r"item\(\) reads a value at test_compile.py:\d+",
    ),
    "bool": (lambda x: x if x.sum() > 0 else -x, r"bool\(\) reads"),
    "numpy": (lambda x: x + x.numpy().max(), r"numpy\(\) reads"),
    "float": (lambda x: x * float(x[0]), r"float\(\) reads"),
    "tolist": (lambda x: x * len((x * 2).tolist()), "reads a value"),
    "nonzero": (lambda x: x.nonzero(), "shape depends on values"),
    "mask": (lambda x: x[x > 0], "shape depends on values"),
    "counter": (
        counting(),
        r"b of mul \(test_compile.py:\d+\) is the constant 3, then the",
    ),
    "attribute": (Lazy(), r"attribute 'last' of Lazy was set"),
    "random constant": (
        lambda x: x + fastnn.tensor(RNG.standard_normal(3).astype(np.float32)),
        "made anew for each call, with other values",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_replay_could_not_repeat_is_refused(name):
    function, message = HOSTILE[name]
    compiled = fastnn.compile(function)
    with pytest.raises(CaptureError, match=message):
        call(compiled, fastnn.ones(3), 5)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_fallback_is_told_once_and_calls_go_on(name):
    function, message = HOSTILE[name]
    told = []
    compiled = fastnn.compile(function, fallback=told.append)
    results = [compiled(fastnn.ones(3)) for _ in range(7)]
    assert len(told) == 1 and len(results) == 7
    with pytest.raises(CaptureError, match=message.split(" is the constant")[0]):
        raise told[0]


def test_hooks_are_refused_and_noticed_when_they_come():
    model = network(0.0)
    predict = fastnn.compile(model)
    x = array(2, 8)
    for _ in range(4):
        predict(x)
    seen = []
    handle = model[0].register_forward_hook(lambda *args: seen.append(1))
    with pytest.raises(CaptureError, match="a forward hook of Linear was called"):
        call(predict, x, 4)
    assert seen
    handle.remove()
    count = len(seen)
    predict(x)
    predict(x)
    assert len(seen) == count


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("StepLR", {"step_size": 1}),
        ("ReduceLROnPlateau", {}),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}),
    ],
)
def test_schedules_that_step_inside_are_refused(kind, options):
    w = fastnn.ones(3).requires_grad_()
    opt = fastnn.optim.SGD([w], lr=0.1)
    schedule = getattr(fastnn.optim.lr_scheduler, kind)(opt, **options)

    def step(x):
        opt.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        opt.step()
        schedule.step(*([loss] if kind == "ReduceLROnPlateau" else []))
        return loss

    before = schedule.last_epoch
    with pytest.raises(
        CaptureError, match=rf"{kind} steps at test_compile.py:\d+.*outside"
    ):
        fastnn.compile(step)(fastnn.ones(3))
    assert schedule.last_epoch == before


def test_options_set_inside_are_refused():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @fastnn.compile
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.9

    with pytest.raises(CaptureError, match="option 'lr' of an optimizer is set"):
        step(fastnn.ones(1, 2))


# ---- at the same time -------------------------------------------------------------------


def test_threads_may_predict_at_once():
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)).eval()
    predict = fastnn.compile(model)
    inputs = [array(200, 64) for _ in range(4)]
    expected = [bits(model(fastnn.tensor(x)).detach()) for x in inputs]
    for _ in range(3):
        predict(inputs[0])
    wrong = []

    def work(k):
        for _ in range(60):
            if bits(predict(inputs[k])) != expected[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
