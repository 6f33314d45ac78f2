"""Embedding and the steps on its rows against PyTorch, where installed."""

import copy
import itertools

import numpy as np
import pytest

import fastnn

torch = pytest.importorskip("torch")

OPTIONS = [
    {
        "padding_idx": padding,
        "max_norm": longest,
        "norm_type": p,
        "scale_grad_by_freq": by_frequency,
        "sparse": sparse,
    }
    for padding, longest, p, by_frequency, sparse in itertools.product(
        (None, 0, -2), (None, 1.5), (2.0, 1.0, 3.0), (False, True), (False, True)
    )
    if not (by_frequency and sparse) and (longest or p == 2.0)
]
SHAPES = [(), (0,), (6,), (3, 5), (2, 3, 4)]


def pair(dtype=np.float64, size=9, width=5, **options):
    table = np.random.default_rng(0).standard_normal((size, width)).astype(dtype)
    mine = fastnn.nn.Embedding.from_pretrained(fastnn.tensor(table), False, **options)
    peer = torch.nn.Embedding.from_pretrained(torch.tensor(table), False, **options)
    return mine, peer


def dense(g):
    g = g.to_dense() if g.is_sparse else g
    return g.numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "-".join(map(str, o.values()))
)
def test_values_and_gradients(options, shape):
    index = np.random.default_rng(1).integers(0, 9, shape)
    mine, peer = pair(**options)
    assert repr(mine) == repr(peer)
    if shape == () and options["padding_idx"] is not None:
        peer.sparse = False  # theirs fails there
    y, z = mine(fastnn.tensor(index)), peer(torch.tensor(index))
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(
        mine.weight.detach().numpy(), peer.weight.detach().numpy(), rtol=1e-12
    )
    seed = np.random.default_rng(2).standard_normal(y.shape)
    y.backward(fastnn.tensor(seed))
    z.backward(torch.tensor(seed))
    np.testing.assert_allclose(
        dense(mine.weight.grad), dense(peer.weight.grad), rtol=1e-12, atol=1e-14
    )


def test_the_error_in_float32_is_at_most_twice_theirs():
    index = np.random.default_rng(1).integers(0, 9, 4000)
    mine, peer = pair(np.float32)
    seed = np.random.default_rng(2).standard_normal((4000, 5)).astype(np.float32)
    mine(fastnn.tensor(index)).backward(fastnn.tensor(seed))
    peer(torch.tensor(index)).backward(torch.tensor(seed))
    exact = np.zeros((9, 5))
    np.add.at(exact, index, seed.astype(np.float64))
    ours = np.abs(mine.weight.grad.numpy() - exact).max()
    assert ours <= 2 * np.abs(peer.weight.grad.numpy() - exact).max()


STEPS = [
    ("SGD", {"lr": 0.3}),
    ("SGD", {"lr": 0.3, "maximize": True}),
    ("Adagrad", {"lr": 0.2}),
    ("Adagrad", {"lr": 0.2, "lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.2, "eps": 0.1}),
    ("SparseAdam", {}),
    ("SparseAdam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 0.01}),
    ("SparseAdam", {"lr": 0.1, "maximize": True}),
]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize(("name", "options"), STEPS)
def test_steps_on_rows(name, options, padding):
    mine, peer = pair(padding_idx=padding, sparse=True)
    a = getattr(fastnn.optim, name)(mine.parameters(), **options)
    b = getattr(torch.optim, name)(peer.parameters(), **options)
    random = np.random.default_rng(3)
    for n in (7, 1, 0, 12, 3):
        index, seed = random.integers(0, 9, n), random.standard_normal((n, 5))
        for layer, optimizer, library in ((mine, a, fastnn), (peer, b, torch)):
            optimizer.zero_grad()
            layer(library.tensor(index)).backward(library.tensor(seed))
            optimizer.step()
        np.testing.assert_allclose(
            mine.weight.detach().numpy(), peer.weight.detach().numpy(), rtol=1e-11
        )
    if name == "SparseAdam":  # states move over, and both go on alike
        saved = copy.deepcopy(b.state_dict())
        saved["state"] = {
            k: {n: fastnn.tensor(np.asarray(v)) for n, v in s.items()}
            for k, s in saved["state"].items()
        }
        a.load_state_dict(saved)
        np.testing.assert_array_equal(
            a.state[mine.weight]["exp_avg"].numpy(),
            b.state[peer.weight]["exp_avg"].numpy(),
        )


def test_state_dicts_have_the_same_names():
    mine, peer = pair()
    assert list(mine.state_dict()) == list(peer.state_dict())


@pytest.mark.parametrize("index", [[9], [-1], [2**40]])
def test_both_refuse_an_index(index):
    mine, peer = pair()
    with pytest.raises(IndexError, match="embedding"):
        mine(fastnn.tensor(index))
    with pytest.raises(IndexError):
        peer(torch.tensor(index))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "NAdam", "RAdam"])
def test_optimizers_that_refuse_rows_there_do_so_here_but_for_adam(name):
    mine, peer = pair(sparse=True)
    mine(fastnn.tensor([1])).sum().backward()
    peer(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError):
        getattr(torch.optim, name)(peer.parameters()).step()
    optimizer = getattr(fastnn.optim, name)(mine.parameters())
    if name == "Adam":
        optimizer.step()
        return
    with pytest.raises(RuntimeError, match=name):
        optimizer.step()
