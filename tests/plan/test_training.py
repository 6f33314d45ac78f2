"""Compiled training: the same bits as eager steps, whatever changes between them."""

from __future__ import annotations

import numpy as np
import pytest
from plan.alike import array, bits, check, network

import fastnn
from fastnn import nn, optim

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
