"""Gradients of rows: what .grad holds, steps against dense ones bit for bit, plans, the rest
of what reads gradients."""

import copy
import pickle
import time

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F

SIZE, WIDTH = 12, 5
EXACT = {
    "sgd": lambda p: optim.SGD(p, lr=0.5),
    "sgd_up": lambda p: optim.SGD(p, lr=0.5, maximize=True),
    "adagrad": lambda p: optim.Adagrad(
        p, lr=0.3, lr_decay=0.1, initial_accumulator_value=0.2
    ),
    "adagrad_up": lambda p: optim.Adagrad(p, lr=0.3, maximize=True),
}
LAZY = {
    "adam": lambda p: optim.Adam(p, lr=0.1),
    "adam_up": lambda p: optim.Adam(p, lr=0.1, maximize=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.0),
}
ALL = {**EXACT, **LAZY}


def network(sparse, **options):
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(SIZE, WIDTH, sparse=sparse, **options),
        nn.Flatten(),
        nn.Linear(4 * WIDTH, 3),
    )


def batches(count, n=6, high=SIZE):
    random = np.random.default_rng(0)
    return [
        (
            fastnn.tensor(random.integers(0, high, (n, 4))),
            fastnn.tensor(random.integers(0, 3, n)),
        )
        for _ in range(count)
    ]


def train(net, optimizer, data, *, compiled=False, clip=None, set_to_none=True):
    def step(x, y):
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        return loss

    run = fastnn.compile(step) if compiled else step
    for x, y in data:
        run(x, y)
    return run


def bits(net):
    return [p.detach().numpy().tobytes() for p in net.parameters()]


def table(sparse=True):
    made = fastnn.tensor(np.arange(8.0).reshape(4, 2), requires_grad=True)
    return made, lambda index: F.embedding(fastnn.tensor(index), made, sparse=sparse)


# ---- what .grad is ------------------------------------------------------------------------


def test_grad_is_indices_and_values():
    w, read = table()
    (read([3, 1, 3]) * fastnn.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    g = w.grad
    assert isinstance(g, fastnn.RowGradient) and g.is_sparse and not w.is_sparse
    assert (g.shape, g.ndim, g.dtype) == ((4, 2), 2, fastnn.float64)
    assert g.indices.tolist() == [3, 1, 3]
    assert g.values.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert g.to_dense().tolist() == [[0, 0], [2, 2], [0, 0], [4, 4]]
    assert g.summed().values.tolist() == [[4, 4], [2, 2], [0, 0]]
    assert "indices=tensor([3, 1, 3])" in repr(g)
    assert g.to(fastnn.float32).values.dtype is fastnn.float32
    for other in (copy.deepcopy(g), pickle.loads(pickle.dumps(g)), g.clone()):
        assert other.to_dense().tolist() == g.to_dense().tolist()
        assert other.values.data_ptr() != g.values.data_ptr()
    other = copy.deepcopy(w)
    assert other.grad.to_dense().tolist() == g.to_dense().tolist()
    (direct,) = fastnn.autograd.grad(read([2]).sum(), [w])
    assert direct.indices.tolist() == [2] and w.grad.indices.tolist() == [3, 1, 3]


def test_gradients_are_their_own_memory():
    w, _ = table()
    index, gy = fastnn.tensor([3, 1]), fastnn.ones(2, 2, dtype=fastnn.float64)
    F.embedding(index, w, sparse=True).backward(gy)
    index.fill_(0)
    gy.fill_(7.0)
    assert w.grad.to_dense().sum(1).tolist() == [0, 2, 0, 2]


def test_passes_and_uses_add_up():
    w, read = table()
    (read([0, 1]).sum() + 2 * read([1]).sum()).backward()
    assert w.grad.to_dense().sum(1).tolist() == [2, 6, 0, 0]
    read([3, 3]).sum().backward()
    assert w.grad.indices.shape == (5,)
    assert w.grad.to_dense().sum(1).tolist() == [2, 6, 0, 4]
    # with a dense gradient the sum is dense, in whatever order
    (w * 1.0).sum().backward()
    assert isinstance(w.grad, fastnn.Tensor)
    assert w.grad.sum(1).tolist() == [4, 8, 2, 6]
    read([2]).sum().backward()
    assert w.grad.sum(1).tolist() == [4, 8, 4, 6]
    for order in (0, 1):
        w.grad = None
        parts = [read([2, 2]).sum(), (w * 1.0).sum()]
        (parts[order] + parts[1 - order]).backward()
        assert w.grad.sum(1).tolist() == [2, 2, 6, 2]


def test_many_uses_in_one_pass_are_joined_once():
    w, read = table()
    sum(read([k % 4]).sum() for k in range(300)).backward()
    assert w.grad.indices.shape == (300,)
    assert w.grad.to_dense().sum(1).tolist() == [150.0] * 4


def test_a_table_that_is_a_result_gets_a_dense_gradient():
    w, _ = table()
    F.embedding(fastnn.tensor([1, 1]), w * 3.0, sparse=True).sum().backward()
    assert w.grad.sum(1).tolist() == [0, 12, 0, 0]


def test_functions_may_return_it():
    class Rows(fastnn.autograd.Function):
        @staticmethod
        def forward(ctx, w, shape):
            ctx.shape = shape
            return w[1] * 1.0

        @staticmethod
        def backward(ctx, gy):
            Rows.made = fastnn.RowGradient(
                fastnn.tensor([1]), gy.reshape(1, 2).clone(), ctx.shape
            )
            return Rows.made, None

    w, _ = table()
    Rows.apply(w, (4, 2)).sum().backward()
    Rows.made.values.fill_(9.0)
    assert w.grad.to_dense().sum(1).tolist() == [0, 2, 0, 0]
    with pytest.raises(RuntimeError, match=r"Rows: expected .*\(4, 2\).*\(5, 2\)"):
        Rows.apply(w, (5, 2)).sum().backward()


def test_hooks_see_and_replace_it():
    w, read = table()
    seen = []
    handle = w.register_hook(seen.append)
    read([1]).sum().backward()
    handle.remove()
    assert isinstance(seen[0], fastnn.RowGradient)
    w.grad = None
    handle = w.register_hook(
        lambda g: fastnn.RowGradient(g.indices, g.values * 2.0, g.shape)
    )
    read([1]).sum().backward()
    handle.remove()
    assert w.grad.to_dense().sum(1).tolist() == [0, 4, 0, 0]
    w.register_hook(lambda g: g.to_dense())
    with pytest.raises(TypeError, match="hook: expected a RowGradient or None"):
        read([1]).sum().backward()


def test_assigning_and_clearing():
    w, read = table()
    g = fastnn.RowGradient(
        fastnn.tensor([1]), fastnn.ones(1, 2, dtype=fastnn.float64), (4, 2)
    )
    w.grad = g
    assert w.grad.to_dense().sum(1).tolist() == [0, 2, 0, 0]
    w.grad = fastnn.zeros(4, 2, dtype=fastnn.float64)
    assert isinstance(w.grad, fastnn.Tensor)
    w.grad = None
    assert w.grad is None
    read([1]).sum().backward()
    optim.SGD([w]).zero_grad(set_to_none=False)
    assert w.grad is None
    for wrong, error in (
        (3.0, TypeError),
        (g.to(fastnn.float32), ValueError),
        (fastnn.RowGradient(g.indices, g.values, (5, 2)), ValueError),
    ):
        with pytest.raises(error, match="grad: expected"):
            w.grad = wrong
    with pytest.raises(TypeError, match="RowGradient: expected int64 indices"):
        fastnn.RowGradient(g.indices.int(), g.values, (4, 2))
    for indices, values, shape in (
        (g.indices, g.values, (4, 3)),
        (fastnn.tensor([1, 2]), g.values, (4, 2)),
        (fastnn.tensor(1), g.values, (4, 2)),
        (g.indices, g.values, ()),
    ):
        with pytest.raises(ValueError, match="RowGradient: expected indices"):
            fastnn.RowGradient(indices, values, shape)


def test_a_change_of_dtype_takes_it_along():
    net = network(True)
    net(batches(1)[0][0]).sum().backward()
    g = net[0].weight.grad
    before = g.to(fastnn.float64).to_dense().tolist()
    net.double()
    assert net[0].weight.grad.dtype is fastnn.float64
    assert net[0].weight.grad.to_dense().tolist() == before


# ---- steps --------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("name", EXACT)
def test_steps_have_the_bits_of_dense_ones(name, padding, threads):
    made = []
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        for sparse in (False, True):
            net = network(sparse, padding_idx=padding)
            train(net, EXACT[name](net.parameters()), batches(5, high=9))
            made.append(bits(net))
    finally:
        fastnn.set_num_threads(before)
    assert made[0] == made[1]


@pytest.mark.parametrize("name", LAZY)
def test_adam_where_every_row_took_part_is_adam(name):
    made = []
    data = [(fastnn.arange(SIZE).reshape(3, 4), y[:3]) for _, y in batches(4)]
    for sparse in (False, True):
        net = network(sparse)
        train(net, LAZY[name](net.parameters()), data)
        made.append(bits(net))
    assert made[0] == made[1]


@pytest.mark.parametrize("make", [optim.Adam, optim.SparseAdam])
def test_rows_that_rest_stay_with_their_moments(make):
    layer = nn.Embedding(6, 3, sparse=True)
    optimizer = make(layer.parameters(), lr=0.1)
    for index in ([1, 2, 1], [2]):
        before = layer.weight.detach().clone()
        moments = [
            x.clone() for k, x in optimizer.state[layer.weight].items() if k != "step"
        ]
        optimizer.zero_grad()
        layer(fastnn.tensor(index)).sum().backward()
        optimizer.step()
        moved = (layer.weight.detach() != before).all(1).nonzero().flatten().tolist()
        assert moved == sorted(set(index))
    state = optimizer.state[layer.weight]
    assert state["step"].item() == 2
    for old, new in zip(moments, (state["exp_avg"], state["exp_avg_sq"]), strict=True):
        assert (old != new).any(1).nonzero().flatten().tolist() == [2]


def test_sparse_adam_refuses_dense_gradients_and_wrong_options():
    net = network(False)
    optimizer = optim.SparseAdam(net.parameters())
    with pytest.raises(RuntimeError, match=r"SparseAdam.*dense one.*\(12, 5\)"):
        train(net, optimizer, batches(1))
    with pytest.raises(ValueError, match="SparseAdam: expected lr >= 0"):
        optim.SparseAdam(network(True).parameters(), lr=-1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: optim.SGD(p, momentum=0.9), "SGD: expected no momentum"),
        (lambda p: optim.SGD(p, weight_decay=0.1), "SGD: expected no weight_decay"),
        (lambda p: optim.Adagrad(p, weight_decay=0.1), "Adagrad.*no weight_decay"),
        (lambda p: optim.Adam(p, amsgrad=True), "Adam: expected no amsgrad"),
        (optim.AdamW, "AdamW: expected no weight_decay.*got 0.01"),
        (optim.RMSprop, r"RMSprop: expected dense gradients.*\(12, 5\).*SparseAdam"),
        (optim.Adadelta, "Adadelta: expected dense"),
        (optim.NAdam, "NAdam: expected dense"),
        (optim.RAdam, "RAdam: expected dense"),
    ],
)
def test_what_a_step_on_rows_cannot_do_is_refused(make, said):
    net = network(True)
    with pytest.raises(RuntimeError, match=said):
        train(net, make(net[0].parameters()), batches(1))


def test_an_index_out_of_range_changes_nothing():
    w, _ = table()
    optimizer = optim.Adagrad([w])
    w.grad = fastnn.RowGradient(
        fastnn.tensor([0, 4]), fastnn.ones(2, 2, dtype=fastnn.float64), (4, 2)
    )
    with pytest.raises(IndexError, match="from 0 to 3, got 4"):
        optimizer.step()
    assert w.tolist() == np.arange(8.0).reshape(4, 2).tolist()
    assert optimizer.state[w]["step"].item() == 0


def test_an_inactive_step_changes_nothing():
    net = network(True)
    optimizer = optim.Adam(net.parameters())
    optimizer.active = fastnn.tensor(False)
    before = bits(net)
    train(net, optimizer, batches(2))
    assert bits(net) == before
    assert optimizer.state[net[0].weight]["step"].item() == 0


# ---- plans, clipping, resuming ------------------------------------------------------------


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", ALL)
def test_a_compiled_step_has_the_bits_of_eager(name, clip, set_to_none):
    made, grads = [], []
    for compiled in (False, True):
        net = network(True, padding_idx=2)
        data = batches(6) + batches(2, n=9) + batches(2, n=3)
        run = train(
            net,
            ALL[name](net.parameters()),
            data,
            compiled=compiled,
            clip=clip,
            set_to_none=set_to_none,
        )
        made.append(bits(net))
        grads.append(net[0].weight.grad)
    assert made[0] == made[1]
    assert grads[0].indices.tolist() == grads[1].indices.tolist()
    assert grads[0].values.tolist() == grads[1].values.tolist()
    assert run.plans and run.plans[0].recorded.gradients


def test_a_plan_after_the_gradient_became_one_of_rows():
    w = fastnn.tensor(np.ones((4, 2)), requires_grad=True)

    @fastnn.compile
    def dense(x):
        w.grad = None
        F.embedding(x, w).sum().backward()

    x = fastnn.tensor([1, 1])
    for _ in range(4):
        dense(x)
    w.grad = None
    F.embedding(x, w, sparse=True).sum().backward()
    dense(x)
    assert isinstance(w.grad, fastnn.Tensor)
    assert w.grad.sum(1).tolist() == [0, 4, 0, 0]


def test_accumulating_in_a_plan_without_clearing_is_refused():
    w, _ = table()

    @fastnn.compile
    def grow(x):
        F.embedding(x, w, sparse=True).sum().backward()

    def often():
        for _ in range(8):
            grow(fastnn.tensor([1, 2]))

    with pytest.raises(fastnn.plan.CaptureError, match="gradient"):
        often()


def test_norms_and_bounds_are_those_of_the_dense_gradient():
    for p in (1.0, 2.0, np.inf):
        norms, grads = [], []
        for sparse in (False, True):
            w, read = table(sparse)
            (read([3, 1, 3]) * fastnn.tensor([[1.0], [-2.0], [3.0]])).sum().backward()
            norms.append(nn.utils.get_total_norm([w.grad], p).item())
            norms.append(nn.utils.clip_grad_norm_([w], 0.5, p).item())
            assert bool(nn.utils.all_finite([w.grad]))
            grads.append((w.grad.to_dense() if sparse else w.grad).tolist())
        np.testing.assert_allclose(norms, norms[0], rtol=1e-15)
        np.testing.assert_allclose(grads[0], grads[1], rtol=1e-15)
    w, read = table()
    (read([3, 1, 3]) * fastnn.tensor([[2.0], [-5.0], [2.5]])).sum().backward()
    nn.utils.clip_grad_value_([w], 4.0)
    assert w.grad.to_dense().tolist() == [[0, 0], [-4, -4], [0, 0], [4, 4]]
    w.grad = None
    read([1, 2]).backward(fastnn.tensor([[1, np.inf], [1, 1]], dtype=fastnn.float64))
    assert not bool(nn.utils.all_finite(w.grad))


@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_a_resumed_run_has_the_bits_of_one_that_did_not_stop(name):
    data = batches(6)
    whole = network(True)
    train(whole, ALL[name](whole.parameters()), data)
    first = network(True)
    optimizer = ALL[name](first.parameters())
    train(first, optimizer, data[:3])
    saved = pickle.loads(pickle.dumps((first.state_dict(), optimizer.state_dict())))
    again = network(True)
    again.load_state_dict(saved[0])
    optimizer = ALL[name](again.parameters())
    optimizer.load_state_dict(saved[1])
    train(again, optimizer, data[3:])
    assert bits(again) == bits(whole)


@pytest.mark.parametrize("compiled", [False, True])
def test_trainer(compiled, tmp_path):
    x = np.random.default_rng(0).integers(0, SIZE, (40, 4))
    y = x.sum(1) % 3
    made = []
    for sparse in (False, True):
        net = network(sparse)
        trainer = fastnn.train.Trainer(
            net,
            nn.CrossEntropyLoss(),
            optim.Adagrad(net.parameters(), lr=0.1),
            compile=compiled,
        )
        trainer.fit(
            (x, y),
            epochs=3,
            batch_size=16,
            shuffle=False,
            callbacks=[
                fastnn.train.Monitor(),
                fastnn.train.ModelCheckpoint(tmp_path / str(sparse)),
            ],
            verbose=False,
        )
        made.append(bits(net))
    assert made[0] == made[1]


# ---- cost ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_the_cost_is_that_of_the_rows(name):
    """A table of 200,000 rows, 64 of them: a dense step alone would move 50 MB and more."""
    layer = nn.Embedding.from_pretrained(
        fastnn.zeros(200_000, 64), freeze=False, sparse=True
    )
    optimizer = ALL[name](layer.parameters())
    index = fastnn.tensor(np.random.default_rng(0).integers(0, 200_000, 64))

    def step():
        optimizer.zero_grad()
        layer(index).sum().backward()
        optimizer.step()

    step()  # the states begin
    before = fastnn.memory_stats()["allocated_bytes"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2e-3
    assert fastnn.memory_stats()["allocated_bytes"] <= before + 200_000
