"""Learning rate schedules: against PyTorch where it is installed, and by hand."""

import functools
import io
import math
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import optim
from fastnn.optim import lr_scheduler
from fastnn.optim.lr_scheduler.base import half_cosine


def decay(epoch):
    return 0.97**epoch


def damp(n):
    return 1 / (1 + n / 100)


# name: calls that make it, each with arguments; and the steps that are compared
CURVES = {
    "StepLR": [{"step_size": 1}, {"step_size": 7, "gamma": 0.5}],
    "MultiStepLR": [
        {"milestones": [3, 90, 91, 200], "gamma": 0.3},
        {"milestones": [30, 5, 5]},
        {"milestones": []},
    ],
    "ConstantLR": [{}, {"factor": 0.25, "total_iters": 40}, {"factor": 1}],
    "LinearLR": [
        {},
        {"start_factor": 0.01, "total_iters": 120},
        {"start_factor": 1, "end_factor": 0.05, "total_iters": 77},
        {"end_factor": 0.0, "total_iters": 30},
    ],
    "ExponentialLR": [{"gamma": 0.97}, {"gamma": 1.01}],
    "PolynomialLR": [{}, {"total_iters": 200, "power": 0.9}, {"power": 2}],
    "CosineAnnealingLR": [
        {"T_max": 50},
        {"T_max": 400, "eta_min": 0.003},
        {"T_max": 7, "eta_min": 0.4},
        {"T_max": 1},
    ],
    "LambdaLR": [{"lr_lambda": decay}, {"lr_lambda": [decay, math.sqrt]}],
    "MultiplicativeLR": [{"lr_lambda": lambda epoch: 0.9 + 0.2 / (1 + epoch)}],
    "CosineAnnealingWarmRestarts": [
        {"T_0": 1},
        {"T_0": 10},
        {"T_0": 5, "T_mult": 2, "eta_min": 0.01},
        {"T_0": 3, "T_mult": 3},
    ],
    "CyclicLR": [
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20},
        {
            "base_lr": [0.01, 0.02],
            "max_lr": [0.1, 0.3],
            "step_size_up": 7,
            "step_size_down": 30,
            "mode": "triangular2",
        },
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 13,
            "mode": "exp_range",
            "gamma": 0.99,
            "base_momentum": [0.7, 0.8],
        },
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 13,
            "scale_fn": damp,
            "scale_mode": "iterations",
            "cycle_momentum": False,
        },
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 13, "scale_fn": damp},
    ],
    "OneCycleLR": [
        {"max_lr": 0.5, "total_steps": 301},
        {"max_lr": [0.5, 0.1], "epochs": 43, "steps_per_epoch": 7},
        {"max_lr": 0.5, "total_steps": 301, "anneal_strategy": "linear"},
        {
            "max_lr": 0.5,
            "total_steps": 301,
            "three_phase": True,
            "pct_start": 0.37,
            "base_momentum": [0.5, 0.8],
            "div_factor": 7,
            "final_div_factor": 11,
        },
        {"max_lr": 0.5, "total_steps": 301, "pct_start": 0.0},
        {"max_lr": 0.5, "total_steps": 301, "pct_start": 1.0},
        {"max_lr": 0.5, "total_steps": 301, "cycle_momentum": False},
    ],
}
CASES = [(name, i) for name, calls in CURVES.items() for i in range(len(calls))]


def sgd(module=optim, tensors=None, **options):
    """An optimizer with two groups of different rates."""
    a, b = tensors or (fastnn.ones(1), fastnn.ones(1))
    return module.SGD(
        [{"params": [a]}, {"params": [b], "lr": 0.02, "momentum": 0.5}],
        lr=0.6,
        **options,
    )


@pytest.fixture
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("torch")


def torch_sgd(torch):
    return sgd(torch.optim, [torch.nn.Parameter(torch.ones(1)) for _ in "ab"])


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def momenta(optimizer):
    return [
        group["betas"][0] if "betas" in group else group["momentum"]
        for group in optimizer.param_groups
    ]


def assert_follows(ours, theirs, steps, *args):
    """Rates and momenta agree to 1e-12 before and after each of some steps."""
    scale = max(rates(theirs.optimizer))
    for i in range(steps):
        got, expected = rates(ours.optimizer), rates(theirs.optimizer)
        np.testing.assert_allclose(got, expected, 1e-12, 1e-12 * scale, err_msg=str(i))
        assert ours.get_last_lr() == got
        np.testing.assert_allclose(
            momenta(ours.optimizer), momenta(theirs.optimizer), 1e-12, err_msg=str(i)
        )
        for scheduler in (ours, theirs):
            scheduler.step(*(a(i) for a in args))


@pytest.mark.parametrize(("name", "i"), CASES)
def test_as_in_pytorch(name, i, torch):
    options = CURVES[name][i]
    ours = getattr(lr_scheduler, name)(sgd(), **options)
    theirs = getattr(torch.optim.lr_scheduler, name)(torch_sgd(torch), **options)
    assert_follows(ours, theirs, 300)
    assert ours.last_epoch == theirs.last_epoch == 300


def composed(module, optimizer):
    """Warm up, cosine, steps; and several at once; by name."""
    warm = functools.partial(module.LinearLR, optimizer, 0.1, total_iters=10)
    cosine = functools.partial(module.CosineAnnealingLR, optimizer, 50)
    return {
        "sequence": lambda: module.SequentialLR(
            optimizer, [warm(), cosine(), module.StepLR(optimizer, 9)], [10, 60]
        ),
        "restarts": lambda: module.SequentialLR(
            optimizer,
            [
                module.ConstantLR(optimizer, 0.1, 5),
                module.CosineAnnealingWarmRestarts(optimizer, 10, 2),
                module.LambdaLR(optimizer, decay),
            ],
            [5, 100],
        ),
        "restarts first": lambda: module.SequentialLR(
            optimizer,
            [
                module.CosineAnnealingWarmRestarts(optimizer, 3, 2),
                module.ExponentialLR(optimizer, 0.9),
            ],
            [31],
        ),
        "product": lambda: module.SequentialLR(
            optimizer,
            [
                module.MultiplicativeLR(optimizer, lambda _: 0.9),
                warm(),
                module.MultiplicativeLR(optimizer, lambda _: 0.99),
            ],
            [5, 9],
        ),
        "alone": lambda: module.SequentialLR(optimizer, [cosine()], []),
        "chain": lambda: module.ChainedScheduler(
            [warm(), module.ExponentialLR(optimizer, 0.99)], optimizer
        ),
        "chain of three": lambda: module.ChainedScheduler(
            [
                module.CosineAnnealingLR(optimizer, 50, eta_min=0.01),
                module.MultiStepLR(optimizer, [30, 70]),
                module.PolynomialLR(optimizer, 500),
            ]
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "sequence",
        "restarts",
        "restarts first",
        "product",
        "alone",
        "chain",
        "chain of three",
    ],
)
def test_composed_as_in_pytorch(case, torch):
    ours = composed(lr_scheduler, sgd())[case]()
    theirs = composed(torch.optim.lr_scheduler, torch_sgd(torch))[case]()
    assert_follows(ours, theirs, 200)


def test_changes_by_others_are_kept(torch):
    """What the caller or a second schedule does to the rate is scaled, not undone."""
    both = []
    for module, o in ((optim, sgd()), (torch.optim, torch_sgd(torch))):
        first = module.lr_scheduler.ExponentialLR(o, 0.9)
        second = module.lr_scheduler.LinearLR(o, 0.5, total_iters=7)
        seen = []
        for i in range(20):
            if i == 4:
                o.param_groups[0]["lr"] *= 3
            seen.append(rates(o))
            first.step()
            second.step()
        both.append(seen)
    np.testing.assert_allclose(*both, rtol=1e-12)
    assert both[0][5][0] > 2 * both[0][3][0]


PLATEAUS = [
    {},
    {"patience": 0, "factor": 0.5, "min_lr": 1e-3},
    {"mode": "max", "patience": 2, "cooldown": 3, "min_lr": [0.1, 0.001]},
    {"threshold_mode": "abs", "threshold": 0.05, "patience": 1},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 1},
    {"threshold": 0.3, "patience": 3, "eps": 1e-3},
]


@pytest.mark.parametrize("options", PLATEAUS)
@pytest.mark.parametrize("sign", [1, -1])
def test_plateaus_as_in_pytorch(options, sign, torch):
    noise = np.random.default_rng(3).normal(size=200)
    losses = sign * (1 / (1 + np.arange(200) / 20) + 0.05 * noise)
    losses[[50, 51]] = np.nan, np.inf
    ours = lr_scheduler.ReduceLROnPlateau(sgd(), **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(torch_sgd(torch), **options)
    assert_follows(ours, theirs, 200, lambda i: float(losses[i]))
    for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_adam_cycles_its_first_beta(torch):
    if not hasattr(optim, "Adam"):
        pytest.skip("needs optim.Adam")
    for name, options in (
        ("OneCycleLR", {"max_lr": 0.5, "total_steps": 60}),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 9}),
    ):
        adam = optim.Adam([fastnn.ones(1)], betas=(0.8, 0.99))
        peer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], betas=(0.8, 0.99))
        ours = getattr(lr_scheduler, name)(adam, **options)
        theirs = getattr(torch.optim.lr_scheduler, name)(peer, **options)
        assert_follows(ours, theirs, 60)
        assert isinstance(adam.param_groups[0]["betas"], tuple)
        assert adam.param_groups[0]["betas"][1] == 0.99


# ---- without PyTorch ----


def formula(name, options, base, t):
    """The rate at step t in float64, written anew."""
    o = options
    if name == "StepLR":
        return base * o.get("gamma", 0.1) ** (t // o["step_size"])
    if name == "MultiStepLR":
        return base * o.get("gamma", 0.1) ** sum(m <= t for m in o["milestones"])
    if name == "ConstantLR":
        return base * (o.get("factor", 1 / 3) if t < o.get("total_iters", 5) else 1)
    if name == "LinearLR":
        n = o.get("total_iters", 5)
        ends = o.get("start_factor", 1 / 3), o.get("end_factor", 1.0)
        return base * float(np.interp(t, [0, n], ends))
    if name == "ExponentialLR":
        return base * o["gamma"] ** t
    if name == "PolynomialLR":
        return base * max(0, 1 - t / o.get("total_iters", 5)) ** o.get("power", 1)
    low = o.get("eta_min", 0)
    return low + (base - low) * (1 + math.cos(math.pi * t / o["T_max"])) / 2


FORMULAS = [c for c in CASES if c[0] in list(CURVES)[:7]]


@pytest.mark.parametrize(("name", "i"), FORMULAS)
def test_formulas(name, i):
    options = CURVES[name][i]
    optimizer = sgd()
    scheduler = getattr(lr_scheduler, name)(optimizer, **options)
    for t in range(300):
        expected = [formula(name, options, base, t) for base in (0.6, 0.02)]
        np.testing.assert_allclose(rates(optimizer), expected, 1e-13, 1e-15)
        assert scheduler.last_epoch == t
        scheduler.step()
    scheduler.step(17)  # and back
    expected = [formula(name, options, base, 17) for base in (0.6, 0.02)]
    np.testing.assert_allclose(rates(optimizer), expected, 1e-13, 1e-15)


def test_half_cosine():
    pi = np.arccos(np.longdouble(-1))
    for share in [0, 0.5, 1, 1.5, 2, *np.linspace(0, 6, 997).tolist()]:
        expected = float((1 + np.cos(pi * share)) / 2)
        assert half_cosine(share) == pytest.approx(expected, abs=2e-16)
    assert [half_cosine(x) for x in (0, 0.5, 1, 2)] == [1, 0.5, 0, 1]


def test_restarts_with_fractions():
    optimizer = sgd()
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 3)
    for epoch, place, period in (
        (0.0, 0.0, 2),
        (1.75, 1.75, 2),
        (2.0, 0.0, 6),
        (7.5, 5.5, 6),
        (8, 0, 18),
        (25.5, 17.5, 18),
        (0.5, 0.5, 2),
    ):
        scheduler.step(epoch)
        expected = 0.6 * (1 + math.cos(math.pi * place / period)) / 2
        assert rates(optimizer)[0] == pytest.approx(expected, rel=1e-13)
        assert (scheduler.T_cur, scheduler.T_i) == (place, period)
        assert scheduler.last_epoch == int(epoch)
    scheduler.step()
    assert scheduler.T_cur == 1.5
    with pytest.raises(ValueError, match="expected epoch >= 0, got -1"):
        scheduler.step(-1)


def test_one_cycle_ends_at_the_lowest_rate():
    optimizer = sgd()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=5)
    for _ in range(5):
        scheduler.step()
    assert rates(optimizer)[0] == pytest.approx(4e-6)
    assert momenta(optimizer) == [0.95, 0.95]
    with pytest.raises(ValueError, match="at most total_steps=5 calls of step"):
        scheduler.step()


def test_the_kernel_sees_the_rate():
    w = fastnn.nn.Parameter(fastnn.tensor([1.0], dtype=fastnn.float64))
    optimizer = optim.SGD([w], lr=0.5)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for expected in (0.5, 0.25, 0.125):
        before = w.item()
        w.grad = fastnn.ones(1, dtype=fastnn.float64)
        optimizer.step()
        assert before - w.item() == expected
        scheduler.step()


# ---- resuming ----


def saved(state):
    """Through a file."""
    file = io.BytesIO()
    fastnn.save(state, file)
    file.seek(0)
    return fastnn.load(file)


RESUMED = [
    *((name, i) for name, i in CASES),
    *((name, 0) for name in ("sequence", "restarts", "chain of three")),
]


def make(name, i, optimizer):
    if name in CURVES:
        return getattr(lr_scheduler, name)(optimizer, **CURVES[name][i])
    return composed(lr_scheduler, optimizer)[name]()


@pytest.mark.parametrize(("name", "i"), RESUMED)
def test_resumed_from_its_state(name, i):
    first = sgd()
    scheduler = make(name, i, first)
    for _ in range(33):
        scheduler.step()
    state = saved([first.state_dict(), scheduler.state_dict()])
    second = sgd()
    resumed = make(name, i, second)
    second.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert resumed.get_last_lr() == scheduler.get_last_lr()
    for _ in range(70):
        assert rates(second) == rates(first)  # the same bits
        assert momenta(second) == momenta(first)
        scheduler.step()
        resumed.step()


@pytest.mark.parametrize(("name", "i"), CASES)
def test_resumed_from_last_epoch(name, i):
    first = sgd()
    scheduler = make(name, i, first)
    for _ in range(33):
        scheduler.step()
    second = sgd()
    with pytest.raises(KeyError, match=r"'initial_lr' in param_groups\[0\] to resume"):
        getattr(lr_scheduler, name)(second, **CURVES[name][i], last_epoch=33)
    second.load_state_dict(saved(first.state_dict()))
    options = {**CURVES[name][i], "last_epoch": 33}
    resumed = getattr(lr_scheduler, name)(second, **options)
    for _ in range(70):
        scheduler.step()
        assert resumed.last_epoch == scheduler.last_epoch
        np.testing.assert_allclose(rates(second), rates(first), 1e-13, 1e-15)
        resumed.step()


def test_plateau_resumes():
    for patience in (0, 2):
        runs = []
        for stop in (None, 5):
            optimizer = sgd()
            scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience)
            for i, loss in enumerate([5, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2]):
                if i == stop:
                    state = saved(scheduler.state_dict())
                    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)
                    scheduler.load_state_dict(state)
                scheduler.step(fastnn.tensor(float(loss)))
            runs.append(rates(optimizer))
        assert runs[0] == runs[1]


def test_pytorch_states_load(torch):
    for name in ("StepLR", "MultiStepLR", "OneCycleLR", "CosineAnnealingWarmRestarts"):
        options = CURVES[name][0]
        theirs = getattr(torch.optim.lr_scheduler, name)(torch_sgd(torch), **options)
        for _ in range(20):
            theirs.step()
        optimizer = sgd()
        ours = getattr(lr_scheduler, name)(optimizer, **options)
        ours.load_state_dict(theirs.state_dict())
        for group, other in zip(
            optimizer.param_groups, theirs.optimizer.param_groups, strict=True
        ):
            group["lr"], group["momentum"] = other["lr"], other["momentum"]
        assert_follows(ours, theirs, 100)


class Falling:
    """A callable with a state."""

    def __init__(self, by):
        self.by = by

    def __call__(self, epoch):
        return self.by**epoch


def test_states_of_functions():
    scheduler = lr_scheduler.LambdaLR(sgd(), [decay, Falling(0.5)])
    state = saved(scheduler.state_dict())
    assert state["lr_lambdas"] == [None, {"by": 0.5}]
    other = lr_scheduler.LambdaLR(sgd(), [decay, Falling(0.9)])
    other.load_state_dict(state)
    assert other.lr_lambdas[1].by == 0.5 and other.lr_lambdas[0] is decay
    for f in (math.sqrt, functools.partial(pow, 2)):
        scheduler = lr_scheduler.LambdaLR(sgd(), f)
        scheduler.load_state_dict(saved(scheduler.state_dict()))
        assert scheduler.lr_lambdas[0] is f


def test_the_state_of_another_schedule():
    step = lr_scheduler.StepLR(sgd(), 3)
    state = lr_scheduler.ExponentialLR(sgd(), 0.5).state_dict()
    before = step.state_dict()
    with pytest.raises(KeyError, match=r"StepLR.load_state_dict: missing: \['step_s"):
        step.load_state_dict(state)
    assert step.state_dict() == before
    cosine = lr_scheduler.CosineAnnealingLR(sgd(), 3).state_dict()
    with pytest.raises(KeyError, match=r"unexpected: .*'T_max'"):
        step.load_state_dict({**before, **cosine})


def test_your_own_schedule():
    class Halving(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base * 0.5**self.last_epoch for base in self.base_lrs]

    scheduler = Halving(sgd())
    scheduler.step()
    assert scheduler.get_last_lr() == [0.3, 0.01]
    assert isinstance(scheduler, lr_scheduler.LRScheduler)
    with pytest.raises(NotImplementedError, match="LRScheduler: no method get_lr"):
        lr_scheduler.LRScheduler(sgd())


# ---- errors ----

BAD = [
    ("StepLR", {"step_size": 0}, "StepLR: expected step_size to be an int >= 1, got 0"),
    ("StepLR", {"step_size": 2.5}, "step_size to be an int"),
    ("MultiStepLR", {"milestones": [3, "x"]}, "each milestone to be an int >= 0"),
    ("MultiStepLR", {"milestones": [-1]}, "got -1"),
    ("MultiStepLR", {"milestones": 3}, "milestones to be a list"),
    ("ConstantLR", {"factor": 2}, r"factor in \[0, 1\], got 2"),
    ("ConstantLR", {"total_iters": -1}, "total_iters"),
    ("LinearLR", {"start_factor": 0}, r"start_factor in \(0, 1\], got 0"),
    ("LinearLR", {"end_factor": 1.1}, "end_factor"),
    ("LinearLR", {"total_iters": 0}, "total_iters to be an int >= 1, got 0"),
    ("PolynomialLR", {"total_iters": 0}, "total_iters"),
    ("CosineAnnealingLR", {"T_max": 0}, "T_max to be an int >= 1"),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}, "T_0 to be an int >= 1"),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 1.5}, "T_mult"),
    ("LambdaLR", {"lr_lambda": [decay]}, "functions for 2 param_groups, got 1"),
    ("LambdaLR", {"lr_lambda": 0.5}, "expected functions, got 0.5"),
    ("CyclicLR", {"base_lr": 1, "max_lr": [1]}, "max_lr for 2 param_groups, got 1"),
    ("CyclicLR", {"base_lr": 1, "max_lr": 2, "mode": "up"}, "expected mode in"),
    ("CyclicLR", {"base_lr": 1, "max_lr": 2, "step_size_up": 0}, "step_size_up"),
    ("CyclicLR", {"base_lr": 1, "max_lr": 2, "step_size_down": 0}, "step_size_down"),
    ("CyclicLR", {"base_lr": 1, "max_lr": 2, "scale_mode": "x"}, "scale_mode"),
    ("OneCycleLR", {"max_lr": 1}, "total_steps, or epochs and steps_per_epoch"),
    ("OneCycleLR", {"max_lr": 1, "epochs": 3}, "steps_per_epoch"),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 0}, "total_steps to be an int >= 1"),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9, "pct_start": 2}, "pct_start"),
    (
        "OneCycleLR",
        {"max_lr": 1, "total_steps": 9, "anneal_strategy": "sin"},
        "anneal_strategy 'cos' or 'linear', got 'sin'",
    ),
    ("ReduceLROnPlateau", {"factor": 1}, "factor < 1, got 1"),
    ("ReduceLROnPlateau", {"mode": "up"}, "mode 'min' or 'max', got 'up'"),
    ("ReduceLROnPlateau", {"threshold_mode": "x"}, "threshold_mode"),
    ("ReduceLROnPlateau", {"min_lr": [1]}, "min_lr for 2 param_groups, got 1"),
]


@pytest.mark.parametrize(("name", "options", "words"), BAD)
def test_bad_arguments(name, options, words):
    optimizer = sgd()
    with pytest.raises((ValueError, TypeError), match=words):
        getattr(lr_scheduler, name)(optimizer, **options)
    assert rates(optimizer) == [0.6, 0.02]


@pytest.mark.parametrize("name", [*CURVES, "ReduceLROnPlateau"])
def test_no_optimizer(name):
    options = CURVES.get(name, [{}])[0]
    with pytest.raises(TypeError, match=f"{name}: expected an Optimizer, got list"):
        getattr(lr_scheduler, name)([0.1], **options)


def test_bad_compositions():
    optimizer = sgd()
    one, two = (lr_scheduler.StepLR(optimizer, 3) for _ in range(2))
    other = lr_scheduler.StepLR(sgd(), 3)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    chain = lr_scheduler.ChainedScheduler([one])
    for schedulers, milestones, words in (
        ([], [], "at least one scheduler"),
        ([one], [3], "expected 0 milestones between 1 schedulers, got 1"),
        ([one, other], [3], "schedulers of one optimizer, got another SGD at 1"),
        ([one, plateau], [3], "ReduceLROnPlateau at 1; step it apart"),
        ([one, chain], [3], "can start anew, got ChainedScheduler at 1"),
        ([one, 3], [3], "expected a scheduler at 1, got int"),
        ([one, two], [0], "next milestone to be an int >= 1, got 0"),
        ([one, two, one], [5, 5], "next milestone to be an int >= 6, got 5"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            lr_scheduler.SequentialLR(optimizer, schedulers, milestones)
    with pytest.raises(ValueError, match="last_epoch=-1, got 3"):
        lr_scheduler.SequentialLR(optimizer, [one, two], [3], last_epoch=3)
    with pytest.raises(ValueError, match="at least one scheduler"):
        lr_scheduler.ChainedScheduler([])
    with pytest.raises(ValueError, match="schedulers of one optimizer"):
        lr_scheduler.ChainedScheduler([one], sgd())


def test_a_group_more():
    optimizer = sgd()
    scheduler = lr_scheduler.StepLR(optimizer, 3)
    optimizer.add_param_group({"params": [fastnn.ones(1)]})
    with pytest.raises(ValueError, match=r"expected the 2 param_groups .*got 3"):
        scheduler.step()


def test_cycling_the_momentum_of_none():
    class Plain(optim.Optimizer):
        def update(self, p, grad, state, group):
            pass

    plain = Plain([fastnn.ones(1)], {"lr": 0.1})
    with pytest.raises(ValueError, match=r"momentum or betas, got Plain; .*=False"):
        lr_scheduler.OneCycleLR(plain, 1.0, total_steps=3)
    lr_scheduler.OneCycleLR(plain, 1.0, total_steps=3, cycle_momentum=False)
