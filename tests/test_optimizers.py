"""Every optimizer: against NumPy and PyTorch in float64, moving between both, state, groups."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import optim
from fastnn.ops._record import recording
from fastnn.ops._registry import REFERENCES

DECAY = [{}, {"weight_decay": 0.1}]
APART = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled_weight_decay": True},
]
UP = [{}, {"maximize": True}]
TABLE = {
    "SGD": [
        [{"lr": 0.01}],
        DECAY,
        UP,
        [
            {},
            {"momentum": 0.9},
            {"momentum": 0.9, "dampening": 0.3},
            {"momentum": 0.9, "nesterov": True},
        ],
    ],
    "Adagrad": [
        [{"lr": 0.1}],
        DECAY,
        UP,
        [{}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.5}, {"eps": 0.1}],
    ],
    "Adadelta": [[{}, {"lr": 0.5, "rho": 0.8}, {"eps": 1e-2}], DECAY, UP],
    "RMSprop": [
        # Small steps: at the minimum sqrt(v - mean^2) is all rounding, in PyTorch too.
        [{"lr": 1e-3}, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-3}],
        DECAY,
        UP,
        [
            {},
            {"momentum": 0.9},
            {"centered": True},
            {"momentum": 0.5, "centered": True},
        ],
    ],
    "Adam": [
        [{}, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}],
        APART,
        UP,
        [{}, {"amsgrad": True}],
    ],
    "AdamW": [[{}, {"weight_decay": 0.5, "lr": 0.05}], UP, [{}, {"amsgrad": True}]],
    "NAdam": [[{}, {"momentum_decay": 0.1, "lr": 0.05}], APART, UP],
    "RAdam": [[{}, {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3}], APART, UP],
}
CASES = [
    pytest.param(name, {k: v for part in parts for k, v in part.items()})
    for name, axes in TABLE.items()
    for parts in itertools.product(*axes)
]
CASES = [
    pytest.param(
        *case.values,
        id=f"{case.values[0]}-" + ",".join(map(str, case.values[1].items())),
    )
    for case in CASES
]
EVERY = pytest.mark.parametrize("name", TABLE)


def problem(dtype=np.float64):
    """Parameters of two shapes, data, and the gradients of a squared error."""
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((5, 3)), rng.standard_normal(3)
    x, y = rng.standard_normal((7, 5)), rng.standard_normal((7, 3))

    def gradients(values):
        r = x @ values[0] + values[1] - y
        return [
            (x.T @ r * 2 / r.size).astype(dtype),
            (r.sum(0) * 2 / r.size).astype(dtype),
        ]

    return [w.astype(dtype), b.astype(dtype)], gradients


def make(name, values, **options):
    params = [fastnn.tensor(v, requires_grad=True) for v in values]
    return params, getattr(optim, name)(params, **options)


def run(params, optimizer, gradients, steps):
    for _ in range(steps):
        found = gradients([p.detach().numpy() for p in params])
        for p, g in zip(params, found, strict=True):
            p.grad = fastnn.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in params]


def close(got, expected, rtol=1e-12):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.fixture
def torch():
    """PyTorch in float64: it counts and keeps products in the default dtype."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def torch_run(torch, params, optimizer, gradients, steps):
    for _ in range(steps):
        found = gradients([p.detach().numpy() for p in params])
        for p, g in zip(params, found, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in params]


# ---- numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_hundred_steps_as_pytorch(torch, name, options):
    values, gradients = problem()
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    other = getattr(torch.optim, name)(theirs, **options)
    params, optimizer = make(name, values, **options)
    expected = torch_run(torch, theirs, other, gradients, 100)
    close(run(params, optimizer, gradients, 100), expected)


STATES = {
    "sgd": ["momentum_buffer"],
    "adagrad": ["sum", "step"],
    "adadelta": ["square_avg", "acc_delta", "step"],
    "rmsprop": ["square_avg", "momentum_buffer", "grad_avg", "step"],
    "adam": ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"],
    "nadam": ["exp_avg", "exp_avg_sq", "step", "mu_product"],
    "radam": ["exp_avg", "exp_avg_sq", "step"],
}


def by_references(name, options, values, gradients, steps):
    """The rows' references in NumPy, which know one step, led through many."""
    _, optimizer = make(name, values, **options)
    group, row = optimizer.param_groups[0], optimizer.algorithm
    absent = {
        "momentum_buffer": not group.get("momentum"),
        "grad_avg": not group.get("centered"),
        "max_exp_avg_sq": not group.get("amsgrad"),
    }
    start = {"mu_product": 1.0, "sum": group.get("initial_accumulator_value")}
    state = [
        None
        if absent.get(key)
        else [
            np.full(() if key in optimizer.counters else v.shape, start.get(key, 0.0))
            for v in values
        ]
        for key in STATES[row]
    ]
    for t in range(steps):
        if row == "sgd":
            flags = group["nesterov"], group["maximize"], t == 0
        elif "decoupled_weight_decay" in group:
            flags = group["decoupled_weight_decay"], group["maximize"]
        else:
            flags = (group["maximize"],)
        values, *state = REFERENCES[f"{row}_step"](
            group.hyper.numpy(), None, values, gradients(values), *state, *flags
        )
        state = [None if s[0] is None else s for s in state]
    return values


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_hundred_steps_as_numpy(name, options):
    values, gradients = problem()
    params, optimizer = make(name, values, **options)
    expected = by_references(name, options, values, gradients, 100)
    close(run(params, optimizer, gradients, 100), expected)


@EVERY
def test_float32_stays_near_float64(name):
    values, gradients = problem()
    wide = run(*make(name, values), gradients, 100)
    values, gradients = problem(np.float32)
    got = run(*make(name, values), gradients, 100)
    assert all(g.dtype == np.float32 for g in got)
    for a, b in zip(got, wide, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@EVERY
def test_the_bias_corrections_of_late_steps(name):
    """A million steps on; PyTorch's own powers of beta are the limit, which is 1."""
    values, gradients = problem()
    params, optimizer = make(name, values)
    run(params, optimizer, gradients, 1)
    state = optimizer.state_dict()
    for entry in state["state"].values():
        if "step" in entry:
            entry["step"] = 1_000_000
    optimizer.load_state_dict(state)
    before = [p.detach().numpy().copy() for p in params]
    run(params, optimizer, gradients, 1)
    for p, b in zip(params, before, strict=True):
        moved = np.abs(p.detach().numpy() - b)
        assert np.isfinite(moved).all() and moved.max() < 0.1


# ---- steps that are not taken -------------------------------------------------------------


def everything(params, optimizer):
    """The bits of parameters and states."""
    states = [optimizer.state[p] for p in params]
    return [p.detach().numpy().tobytes() for p in params] + [
        (key, x.numpy().tobytes()) for state in states for key, x in state.items()
    ]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_step_that_is_not_active_changes_no_bit(name, options):
    values, gradients = problem()
    params, optimizer = make(name, values, **options)
    assert optimizer.active is None
    run(params, optimizer, gradients, 3)
    before = everything(params, optimizer)
    optimizer.active = fastnn.tensor(False)
    run(params, optimizer, gradients, 2)
    assert everything(params, optimizer) == before
    optimizer.active.fill_(True)
    run(params, optimizer, gradients, 2)
    peers, other = make(name, values, **options)
    run(peers, other, gradients, 5)
    assert everything(params, optimizer) == everything(peers, other)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_first_step_may_be_one_that_is_not_active(name, options):
    values, gradients = problem()
    params, optimizer = make(name, values, **options)
    optimizer.active = fastnn.tensor(False)
    run(params, optimizer, gradients, 2)
    optimizer.active = fastnn.tensor(True)
    run(params, optimizer, gradients, 3)
    peers, other = make(name, values, **options)
    run(peers, other, gradients, 3)
    assert everything(params, optimizer) == everything(peers, other)


@EVERY
def test_active_is_a_bool_tensor_of_one(name):
    values, gradients = problem()
    params, optimizer = make(name, values)
    for wrong in (True, fastnn.tensor(1.0), fastnn.tensor([True])):
        optimizer.active = wrong
        with pytest.raises((TypeError, ValueError), match="_step: expected active"):
            run(params, optimizer, gradients, 1)


# ---- one call for all tensors -----------------------------------------------------------


@EVERY
def test_one_call_of_the_kernel_for_a_group(name):
    values, gradients = problem()
    params, optimizer = make(name, values)
    run(params, optimizer, gradients, 2)
    calls = []
    with recording(lambda op, *rest: calls.append(op.name)):
        optimizer.step()
    assert calls == [f"{optimizer.algorithm}_step"]


@EVERY
def test_threads_and_company_change_no_bit(name):
    """Each tensor's step is its own, whatever else is in the call."""
    rng = np.random.default_rng(1)
    shapes = [(300, 170), (), (17,), (0,), (33, 2000)]
    values = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    grads = [np.asarray(rng.standard_normal(s), np.float32) for s in shapes]
    before = fastnn.get_num_threads()
    outcomes = []
    try:
        for threads in (1, 2, 3, 8):
            fastnn.set_num_threads(threads)
            params, optimizer = make(name, values)
            outcomes.append(run(params, optimizer, lambda _: grads, 3))
        alone = []
        for v, g in zip(values, grads, strict=True):
            params, optimizer = make(name, [v])
            alone += run(params, optimizer, lambda _, g=g: [g], 3)
        outcomes.append(alone)
    finally:
        fastnn.set_num_threads(before)
    for other in outcomes[1:]:
        for a, b in zip(outcomes[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


@EVERY
def test_parameters_without_gradients_and_late_ones(name):
    values, gradients = problem()
    params, optimizer = make(name, values)
    first = fastnn.tensor(gradients(values)[0])
    params[0].grad = first
    optimizer.step()
    np.testing.assert_array_equal(params[1].detach().numpy(), values[1])
    alone, other = make(name, values[:1])
    alone[0].grad = first
    other.step()
    np.testing.assert_array_equal(params[0].detach().numpy(), alone[0].detach().numpy())
    params[1].grad = fastnn.tensor(gradients(values)[1])  # joins a step later
    optimizer.step()
    late, other = make(name, values[1:])
    late[0].grad = params[1].grad
    other.step()
    np.testing.assert_array_equal(params[1].detach().numpy(), late[0].detach().numpy())


@EVERY
def test_strided_parameters(name):
    value = np.arange(1.0, 13.0).reshape(3, 4)
    (plain,), other = make(name, [value])
    strided = fastnn.tensor(np.repeat(value.T, 2, 0))[::2].T.detach().requires_grad_()
    assert not strided.is_contiguous()
    optimizer = getattr(optim, name)([strided])
    for _ in range(3):
        plain.grad = fastnn.tensor(np.cos(value))
        strided.grad = fastnn.tensor(np.cos(value).T.copy()).T
        optimizer.step()
        other.step()
    np.testing.assert_array_equal(strided.detach().numpy(), plain.detach().numpy())


@EVERY
def test_non_finite_gradients_stay_where_they_are(name):
    values, gradients = problem()
    params, optimizer = make(name, values)
    g = gradients(values)
    g[0][1, 2] = np.nan
    g[0][4, 0] = np.inf
    got = run(params, optimizer, lambda _: g, 1)
    spoilt = ~np.isfinite(got[0])
    assert spoilt[1, 2] and spoilt.sum() <= 2
    assert np.isfinite(got[1]).all()


@EVERY
def test_a_model_that_changes_its_dtype(name):
    model = fastnn.nn.Linear(5, 3)
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(optim, name)(model.parameters(), **options)
    for dtype in (fastnn.float32, fastnn.float64, fastnn.float32):
        model.to(dtype)
        for p in model.parameters():
            p.grad = fastnn.ones(p.shape, dtype=dtype)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        for p, old in zip(model.parameters(), before, strict=True):
            assert p.dtype is dtype
            assert (p.detach() < old).numpy().all()


def test_a_closure():
    for name in TABLE:
        (p,), optimizer = make(name, [np.array([2.0])])

        def closure(p=p, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 4
        assert p.item() < 2


# ---- groups and hyperparameters ---------------------------------------------------------


def test_hyperparameters_write_through():
    values, _ = problem()
    _, optimizer = make("Adam", values)
    group = optimizer.param_groups[0]
    assert group["betas"] == (0.9, 0.999)
    assert group.hyper.tolist() == [1e-3, 0.9, 0.999, 1e-8, 0]
    group["betas"] = [0.5, 0.75]
    group["lr"] = fastnn.tensor(0.25)
    assert group["betas"] == (0.5, 0.75) and group["lr"] == 0.25
    assert group.hyper.tolist() == [0.25, 0.5, 0.75, 1e-8, 0]
    with pytest.raises(ValueError, match="expected 2 numbers for 'betas'"):
        group["betas"] = (0.1, 0.2, 0.3)
    assert group["betas"] == (0.5, 0.75)


@EVERY
def test_a_rate_that_changes(name):
    """As another optimizer that had the new rate: with lr 0 nothing moves."""
    values, gradients = problem()
    params, optimizer = make(name, values)
    optimizer.param_groups[0]["lr"] = 0
    for got, v in zip(run(params, optimizer, gradients, 3), values, strict=True):
        np.testing.assert_array_equal(got, v)
    optimizer.param_groups[0]["lr"] = 0.01
    assert not np.array_equal(run(params, optimizer, gradients, 1)[0], values[0])


@EVERY
def test_groups_with_options_of_their_own(name):
    values, gradients = problem()
    (w, b), _ = make(name, values)
    optimizer = getattr(optim, name)([{"params": [w]}, {"params": [b], "lr": 0.02}])
    got = run([w, b], optimizer, gradients, 1)
    first = gradients(values)
    for options, v, g, result in zip(
        ({}, {"lr": 0.02}), values, first, got, strict=True
    ):
        alone, other = make(name, [v], **options)
        close(run(alone, other, lambda _, g=g: [g], 1), [result], rtol=0)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("SGD", {"lr": -1}, "SGD: expected lr >= 0, got -1"),
        ("SGD", {"lr": "a"}, "SGD: expected lr as a number, got 'a'"),
        ("SGD", {"lr": "0.1"}, "SGD: expected lr as a number, got '0.1'"),
        ("Adam", {"eps": b"1"}, "Adam: expected eps as a number"),
        ("Adam", {"betas": "ab"}, "Adam: expected betas as 2 numbers, got 'ab'"),
        ("Adam", {"betas": (0.9, 1.0)}, r"Adam: expected betas in \[0, 1\)"),
        ("Adam", {"betas": 0.9}, "Adam: expected betas as 2 numbers, got 0.9"),
        ("Adam", {"betas": (0.9,)}, "Adam: expected betas as 2 numbers"),
        ("AdamW", {"eps": float("nan")}, "AdamW: expected eps >= 0, got nan"),
        ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value"),
        ("Adadelta", {"rho": 1.5}, "Adadelta: expected rho"),
        ("RMSprop", {"momentum": -1}, "RMSprop: expected momentum >= 0"),
        ("NAdam", {"momentum_decay": -1}, "NAdam: expected momentum_decay >= 0"),
        ("RAdam", {"weight_decay": None}, "RAdam: expected weight_decay as a number"),
    ],
)
def test_refused(name, options, words):
    values, _ = problem()
    with pytest.raises((TypeError, ValueError), match=words):
        make(name, values, **options)


# ---- state ------------------------------------------------------------------------------

ONE_EACH = [pytest.param(c.values[0], c.values[1], id=c.id) for c in CASES[::3]]


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy", "file"])
def test_going_on_from_saved_state(name, options, way, tmp_path):
    values, gradients = problem()
    params, optimizer = make(name, values, **options)
    run(params, optimizer, gradients, 3)
    middle = [p.detach().numpy().copy() for p in params]
    if way == "deepcopy":
        params, optimizer = copy.deepcopy((params, optimizer))
    else:
        state = optimizer.state_dict()
        if way == "pickle":
            state = pickle.loads(pickle.dumps(state))
        if way == "file":
            fastnn.save(state, tmp_path / "state.safetensors")
            state = fastnn.load(tmp_path / "state.safetensors")
        params, optimizer = make(name, middle, **options)
        optimizer.load_state_dict(state)
    whole = run(*make(name, values, **options), gradients, 6)
    for a, b in zip(run(params, optimizer, gradients, 3), whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adadelta"])
def test_state_of_another_optimizer_is_refused(name):
    values, gradients = problem()
    params, adam = make("Adam", values)
    run(params, adam, gradients, 1)
    _, other = make(name, values)
    with pytest.raises(
        ValueError, match=f"{name}.load_state_dict: .*another optimizer"
    ):
        other.load_state_dict(adam.state_dict())
    assert not other.state or name == "Adagrad"


def test_parameters_that_were_not_called():
    with pytest.raises(
        TypeError, match=r"Adam: .*got method; write model.parameters\(\)"
    ):
        optim.Adam(fastnn.nn.Linear(2, 2).parameters)


def test_a_rate_that_is_no_number_is_refused_later_too():
    _, optimizer = make("Adam", problem()[0])
    for value in ("0.1", None, [0.1]):
        with pytest.raises(TypeError, match="param_groups: expected lr as a number"):
            optimizer.param_groups[0]["lr"] = value
    assert optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_state_moves_to_pytorch_and_back(torch, name, options):
    values, gradients = problem()
    params, optimizer = make(name, values, **options)
    run(params, optimizer, gradients, 5)
    theirs = [
        torch.tensor(p.detach().numpy().copy(), requires_grad=True) for p in params
    ]
    other = getattr(torch.optim, name)(theirs, **options)
    state = optimizer.state_dict()
    there = other.state_dict()
    there["state"] = {
        i: {
            k: torch.tensor(v.numpy().copy()) if isinstance(v, fastnn.Tensor) else v
            for k, v in entry.items()
        }
        for i, entry in state["state"].items()
    }
    other.load_state_dict(there)
    expected = torch_run(torch, theirs, other, gradients, 5)
    back = other.state_dict()
    back["state"] = {
        i: {
            k: fastnn.tensor(v.numpy()) if isinstance(v, torch.Tensor) else v
            for k, v in entry.items()
        }
        for i, entry in back["state"].items()
    }
    close(run(params, optimizer, gradients, 5), expected)
    optimizer.load_state_dict(back)  # and the names and shapes are the same
    close(
        run(params, optimizer, gradients, 5),
        torch_run(torch, theirs, other, gradients, 5),
    )
