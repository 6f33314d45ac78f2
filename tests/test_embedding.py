"""nn.Embedding and functional.embedding: values, gradients, options, refusals."""

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.nn import functional as F

TABLE = np.random.default_rng(0).standard_normal((7, 4))
SHAPES = [(), (0,), (5,), (3, 2), (2, 0, 3), (2, 1, 2, 3)]


def named(shape, dtype=np.int64):
    return np.random.default_rng(len(shape)).integers(0, 7, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape, dtype):
    index = named(shape, dtype)
    layer = nn.Embedding(7, 4, dtype=fastnn.float64)
    layer.load_state_dict({"weight": TABLE})
    y = layer(fastnn.tensor(index))
    np.testing.assert_array_equal(y.detach().numpy(), TABLE[index])
    gy = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(fastnn.tensor(gy))
    wanted = np.zeros_like(TABLE)
    np.add.at(wanted, index, gy)
    np.testing.assert_allclose(layer.weight.grad.numpy(), wanted, atol=1e-14)


def test_indices_and_tables_of_any_strides():
    index = fastnn.tensor(named((4, 6)))[::2, ::-3]
    table = fastnn.tensor(np.ascontiguousarray(TABLE.T)).T
    y = F.embedding(index, table)
    np.testing.assert_array_equal(y.numpy(), TABLE[index.numpy()])
    y = F.embedding(index, fastnn.tensor(TABLE)[:, 1:3])
    np.testing.assert_array_equal(y.numpy(), TABLE[index.numpy()][..., 1:3])


def test_gradients_of_gradients():
    table = fastnn.tensor(TABLE, requires_grad=True)
    index = fastnn.tensor([[1, 6], [1, 0]])
    assert gradcheck(lambda w: F.embedding(index, w) ** 3, [table])
    assert gradgradcheck(lambda w: F.embedding(index, w) ** 3, [table])
    for options in ({"padding_idx": 1}, {"sparse": True}):
        y = F.embedding(index, table, **options)
        (g,) = fastnn.autograd.grad((y**3).sum(), [table], create_graph=True)
        (second,) = fastnn.autograd.grad(g.sum(), [table])
        if "sparse" in options:  # that pass is not recorded
            second = second.to_dense()
        wanted = np.zeros_like(TABLE)
        np.add.at(wanted, index.numpy(), 6 * TABLE[index.numpy()])
        if "padding_idx" in options:
            wanted[1] = 0
        np.testing.assert_allclose(second.numpy(), wanted, rtol=1e-13)


@pytest.mark.parametrize("padding", [2, -5])
@pytest.mark.parametrize("sparse", [False, True])
def test_padding_rows_get_no_gradient(padding, sparse):
    layer = nn.Embedding(7, 4, padding_idx=padding, sparse=sparse)
    assert layer.padding_idx == 2
    assert layer.weight[2].tolist() == [0.0] * 4
    assert bool((layer.weight.detach() != 0).any(1).sum() == 6)
    y = layer(fastnn.tensor([2, 1, 2]))
    y.backward(fastnn.tensor([[np.nan] * 4, [1.0] * 4, [np.inf] * 4]))
    g = layer.weight.grad
    g = g.to_dense() if sparse else g
    assert g.sum(1).tolist() == [0, 4, 0, 0, 0, 0, 0]


def test_scale_grad_by_freq():
    table = fastnn.tensor(TABLE, requires_grad=True)
    index = fastnn.tensor([[3, 1], [3, 3]])
    F.embedding(index, table, padding_idx=1, scale_grad_by_freq=True).sum().backward()
    wanted = np.zeros(7)
    wanted[3] = 4
    np.testing.assert_allclose(table.grad.sum(1).numpy(), wanted, rtol=1e-15)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
def test_max_norm_scales_the_rows_that_are_read(p):
    table = fastnn.tensor(TABLE, requires_grad=True)
    index = fastnn.tensor([3, 1, 3, 3])
    y = F.embedding(index, table, max_norm=0.7, norm_type=p)
    now = table.detach().numpy()
    length = np.linalg.norm(TABLE, p, axis=1)
    wanted = TABLE.copy()
    for row in (1, 3):
        wanted[row] *= min(1.0, 0.7 / (length[row] + 1e-7))
    np.testing.assert_allclose(now, wanted, rtol=1e-14)
    np.testing.assert_array_equal(y.detach().numpy(), now[index.numpy()])
    y.sum().backward()
    assert table.grad.sum(1).tolist() == [0, 4, 0, 12, 0, 0, 0]
    # rows that are short enough keep their bits, in whatever order they are named
    again = fastnn.tensor(TABLE)
    F.embedding(fastnn.tensor([3, 3, 1]), again, max_norm=0.7, norm_type=p)
    np.testing.assert_array_equal(again.numpy(), now)
    F.embedding(fastnn.arange(7), again, max_norm=1e9)
    np.testing.assert_array_equal(again.numpy(), now)


def test_the_layer():
    fastnn.manual_seed(3)
    drawn = nn.Embedding(5, 2).weight
    fastnn.manual_seed(3)
    np.testing.assert_array_equal(
        drawn.detach().numpy(), nn.init.normal_(fastnn.empty(5, 2)).numpy()
    )
    assert list(nn.Sequential(nn.Embedding(5, 2)).state_dict()) == ["0.weight"]
    assert repr(nn.Embedding(5, 2)) == "Embedding(5, 2)"
    layer = nn.Embedding(5, 2, -1, 1.5, 1.0, True)
    assert repr(layer) == (
        "Embedding(5, 2, padding_idx=4, max_norm=1.5, norm_type=1.0, "
        "scale_grad_by_freq=True)"
    )
    assert repr(nn.Embedding(5, 2, sparse=True)) == "Embedding(5, 2, sparse=True)"


def test_from_pretrained():
    table = fastnn.tensor(TABLE)
    layer = nn.Embedding.from_pretrained(table, padding_idx=1)
    assert not layer.weight.requires_grad
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (7, 4, 1)
    assert layer.weight.data_ptr() == table.data_ptr()
    np.testing.assert_array_equal(layer.weight.numpy(), TABLE)
    layer = nn.Embedding.from_pretrained(table, freeze=False, sparse=True)
    assert layer.weight.requires_grad and layer.sparse
    with pytest.raises(ValueError, match=r"from_pretrained.*got shape \(7,\)"):
        nn.Embedding.from_pretrained(fastnn.ones(7))
    with pytest.raises(ValueError, match=r"from_pretrained.*got list"):
        nn.Embedding.from_pretrained([[1.0]])


def test_refusals():
    layer = nn.Embedding(7, 4)
    for index, said in ([3, 7], "got 7 at position 1"), ([-1], "got -1 at position 0"):
        with pytest.raises(IndexError, match=f"embedding.*from 0 to 6, {said}"):
            layer(fastnn.tensor(index))
    with pytest.raises(TypeError, match=r"embedding.*input.*float32"):
        layer(fastnn.ones(2))
    with pytest.raises(TypeError, match=r"embedding.*input.*list"):
        layer([1, 2])
    with pytest.raises(ValueError, match="num_embeddings, embedding_dim"):
        F.embedding(fastnn.tensor([0]), fastnn.ones(3))
    with pytest.raises(ValueError, match="padding_idx from -7 to 6, got 7"):
        F.embedding(fastnn.tensor([0]), layer.weight, 7)
    with pytest.raises(ValueError, match="padding_idx from -7 to 6, got -8"):
        nn.Embedding(7, 4, -8)
    with pytest.raises(TypeError, match=r"padding_idx as an int, got 1\.5"):
        nn.Embedding(7, 4, 1.5)
    with pytest.raises(TypeError, match="num_embeddings as an int"):
        nn.Embedding(7.0, 4)
    with pytest.raises(ValueError, match=r"_weight of shape \(7, 4\), got \(4, 7\)"):
        nn.Embedding(7, 4, _weight=fastnn.ones(4, 7))
    with pytest.raises(TypeError, match="_weight as a tensor"):
        nn.Embedding(7, 4, _weight=TABLE)
    for make in (
        lambda: nn.Embedding(7, 4, sparse=True, scale_grad_by_freq=True),
        lambda: F.embedding(
            fastnn.tensor([0]), layer.weight, None, None, 2, True, True
        ),
    ):
        with pytest.raises(ValueError, match="sparse or scale_grad_by_freq"):
            make()


def test_an_index_that_changes_before_the_backward_pass_is_noticed():
    index = fastnn.tensor([1, 2])
    y = nn.Embedding(7, 4)(index)
    index.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    "options", [{}, {"scale_grad_by_freq": True}, {"sparse": True}]
)
def test_indices_and_gradients_of_any_strides(options):
    table = nn.Embedding(5, 3, max_norm=1.0, **options)
    index, weights = fastnn.tensor([[1, 2, 3], [3, 4, 1]]), fastnn.rand(3, 2, 3)

    def gradient(y):
        table.weight.grad = None
        (y * weights).sum().backward()
        grad = table.weight.grad
        return grad.to_dense() if options.get("sparse") else grad

    expected = gradient(table(index.T.contiguous()))
    assert (gradient(table(index.T)) == expected).all().item()
    assert (gradient(table(index).transpose(0, 1)) == expected).all().item()


def test_gradients_may_lie_anyhow():
    """As behind a layer that takes time first."""
    table = fastnn.randn(5, 3).requires_grad_()
    index = fastnn.tensor([[0, 1, 2, 1], [4, 4, 0, 3]])
    seed = fastnn.randn(4, 2, 3)
    fastnn.nn.functional.embedding(index, table).transpose(0, 1).backward(seed)
    found = table.grad.numpy().copy()
    table.grad = None
    fastnn.nn.functional.embedding(index.t(), table).backward(seed)
    np.testing.assert_allclose(found, table.grad.numpy(), rtol=1e-6)
