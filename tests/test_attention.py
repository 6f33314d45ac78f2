"""Attention beyond its samples: oracle, masks, extremes, decoding, and the layers on it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.nn import functional as F


def numbers(*shape, seed=0, scale=1.0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape) * scale


def tensors(*arrays, dtype=fastnn.float64, grad=False):
    return [fastnn.tensor(a, dtype=dtype, requires_grad=grad) for a in arrays]


def oracle(q, k, v, mask=None, causal=False, scale=None):
    s = q @ np.swapaxes(k, -2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(s - s.max(-1, keepdims=True))
    e = np.where(np.isnan(e), 0, e)
    return e @ v / np.maximum(e.sum(-1, keepdims=True), 1e-300)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("batch", "length", "size", "e", "f"),
    [((), 1, 1, 1, 1), ((2, 3), 5, 7, 3, 2), ((2,), 29, 65, 17, 5), ((1,), 2, 513, 4, 40),
     ((), 130, 70, 260, 3)],
)  # fmt: skip
@pytest.mark.parametrize("how", ["plain", "causal", "bool", "float", "rows", "scale"])
def test_values(batch, length, size, e, f, how, dtype):
    q, k, v = (numbers(*batch, *s) for s in ((length, e), (size, e), (size, f)))
    options = {"causal": how == "causal", "scale": 0.3 if how == "scale" else None}
    mask = {
        "bool": numbers(length, size) > -0.5,
        "float": numbers(*batch, length, size),
        "rows": numbers(size) > -1,
    }.get(how)
    want = oracle(q, k, v, mask, **options)
    own = getattr(fastnn, dtype)
    given = None if mask is None else fastnn.tensor(mask)
    if how == "float":
        given = given.to(own)
    got = F.scaled_dot_product_attention(
        *tensors(q, k, v, dtype=own), given, 0.0, options["causal"], options["scale"]
    )
    assert got.shape == want.shape and got.dtype is own
    within = 2e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=within * 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_query_at_a_time_is_the_whole_sequence(dtype):
    """Of a causal sequence a row depends on the keys up to its own, whatever follows."""
    own, length = getattr(fastnn, dtype), 300
    q, k, v = tensors(*(numbers(2, length, 24, seed=i) for i in range(3)), dtype=own)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    for i in (0, 1, 27, 28, 63, 64, 255, 256, 299):
        alone = F.scaled_dot_product_attention(
            q[:, i : i + 1], k[:, : i + 1], v[:, : i + 1]
        )
        assert (alone == y[:, i : i + 1]).all().item()
        prefix = F.scaled_dot_product_attention(
            q[:, : i + 1], k[:, : i + 1], v[:, : i + 1], is_causal=True
        )
        assert (prefix == y[:, : i + 1]).all().item()


def test_later_keys_reach_no_earlier_query():
    q, k, v = tensors(*(numbers(1, 70, 8, seed=i) for i in range(3)), grad=True)
    F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :33].sum().backward()
    for x in (q, k, v):
        assert (x.grad[:, 33:] == 0).all().item()
        assert (x.grad[:, 5:33] != 0).any().item()


def test_extremes():
    one = fastnn.tensor([[1.0, -1.0]])
    assert F.scaled_dot_product_attention(one, one, one).tolist() == [[1.0, -1.0]]
    q, k, v = tensors(numbers(5, 4), numbers(6, 4), numbers(6, 3), grad=True)
    mask = np.ones((5, 6), bool)
    mask[2] = False
    for given in (fastnn.tensor(mask), fastnn.tensor(np.where(mask, 0.0, -np.inf))):
        y = F.scaled_dot_product_attention(q, k, v, given)
        assert y[2].tolist() == [0.0] * 3 and (y[3] != 0).all().item()
        made = fastnn.autograd.grad(y.sum(), [q, k, v])
        assert made[0][2].tolist() == [0.0] * 4
        assert all(g.isfinite().all().item() for g in made)
    for shape in ((0, 3, 4), (2, 0, 4)):
        x = fastnn.zeros(shape, requires_grad=True)
        y = F.scaled_dot_product_attention(x, x, x)
        assert y.shape == shape
        y.sum().backward()
        assert x.grad.shape == shape
    nothing = F.scaled_dot_product_attention(
        fastnn.ones(2, 4), fastnn.ones(0, 4), fastnn.ones(0, 3)
    )
    assert nothing.tolist() == [[0.0] * 3] * 2
    # big scores, infinities and NaN stay in their rows
    big = F.scaled_dot_product_attention(
        fastnn.tensor([[1e18, 0.0]]), fastnn.tensor([[1e18, 0.0], [-1e18, 0.0]]),
        fastnn.tensor([[3.0], [5.0]]),
    )  # fmt: skip
    assert big.tolist() == [[3.0]]
    wild = numbers(4, 4)
    wild[1, 2], wild[3, 0] = np.nan, np.inf
    y = F.scaled_dot_product_attention(*tensors(wild, numbers(6, 4), numbers(6, 3)))
    assert y.isnan().all(1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("how", ["plain", "causal", "bool", "float", "gqa", "heads"])
def test_gradients(how):
    shapes = [(2, 4, 3, 2), (2, 2 if how == "gqa" else 4, 4, 2)]
    q, k = (numbers(*s) for s in shapes)
    inputs = tensors(q, k, numbers(*shapes[1], seed=2), grad=True)
    options = {"is_causal": how == "causal", "enable_gqa": how == "gqa"}
    if how == "bool":
        options["attn_mask"] = fastnn.tensor(numbers(3, 4) > -0.5)
    if how == "float":
        inputs += tensors(numbers(4, 1, 4), grad=True)
        options = {}

    def f(*xs):
        if how == "heads":  # views, as a layer makes them
            xs = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in xs]
        return F.scaled_dot_product_attention(*xs, **options)

    assert gradcheck(f, inputs)
    if how in ("plain", "causal"):
        assert gradgradcheck(f, inputs)


def test_grouped_heads_are_repeated_heads():
    q, k, v = tensors(
        numbers(2, 6, 5, 4), numbers(2, 3, 7, 4), numbers(2, 3, 7, 4, seed=1)
    )
    mask = fastnn.tensor(numbers(2, 6, 5, 7) > 0)
    got = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    k, v = (fastnn.tensor(np.repeat(x.numpy(), 2, axis=1)) for x in (k, v))
    assert (got == F.scaled_dot_product_attention(q, k, v, mask)).all().item()


def test_any_strides_are_one_result():
    """Expanded keys, of stride 0, and views whose columns lie apart."""
    shapes = [(2, 30, 40), (2, 1, 40), (1, 40, 6)]
    q, k, v = tensors(*(numbers(*s) for s in shapes), dtype=fastnn.float32)
    k, v = k.expand(2, 40, 40), v.expand(2, 40, 6)
    q, apart = (
        x.transpose(1, 2).contiguous().transpose(1, 2)
        for x in (q, fastnn.ones(2, 30, 6))
    )
    mask = fastnn.tensor(numbers(30, 1)).expand(30, 40) > -1
    made = []
    for xs in ((q, k, v), tuple(x.contiguous() for x in (q, k, v))):
        xs = tuple(x.detach().requires_grad_() for x in xs)
        y = F.scaled_dot_product_attention(*xs, mask)
        y.backward(apart)
        made.append((y, *(x.grad for x in xs)))
        mask = mask.contiguous()
    for a, b in zip(*made, strict=True):
        assert (a == b).all().item()


def test_dropout():
    x = fastnn.ones(1, 200, 4)
    v = fastnn.ones(1, 200, 1)
    fastnn.manual_seed(3)
    y = F.scaled_dot_product_attention(x, x, v, dropout_p=0.25)
    assert 0.97 < y.mean().item() < 1.03 and y.std().item() > 0.01
    fastnn.manual_seed(3)
    again = F.scaled_dot_product_attention(x, x, v, dropout_p=0.25)
    assert (y == again).all().item()
    assert F.scaled_dot_product_attention(x, x, v, dropout_p=1.0).tolist()[0][0] == [
        0.0
    ]


def test_refused():
    x = fastnn.ones(2, 3, 4)
    wrong = [
        ((x, x, x, fastnn.ones(3, 3), 0.0, True), ValueError, "attn_mask or is_causal"),
        ((x, x, x, None, 1.5), ValueError, "dropout_p from 0 to 1"),
        ((x, x, x, None, 0.0, False, "1"), TypeError, "scale"),
        ((fastnn.ones(3), x, x), ValueError, "query with at least 2"),
        ((x, x[..., :2], x), ValueError, "same batch"),
        (
            (x, x, x, fastnn.ones(3, 3, dtype=fastnn.float64)),
            TypeError,
            "mask of dtype",
        ),
        ((x, x, x, fastnn.ones(2, 3)), ValueError, "broadcasts to"),
        (([1.0], x, x), TypeError, "query"),
        ((x, x, x, [[True]]), TypeError, "attn_mask"),
    ]
    for arguments, error, words in wrong:
        with pytest.raises(error, match=f"attention.*{words}"):
            F.scaled_dot_product_attention(*arguments)
    y = fastnn.ones(3, 3, 4)
    with pytest.raises(ValueError, match="multiple of them in query, got 2, 3 and 3"):
        F.scaled_dot_product_attention(x, y, y, enable_gqa=True)


# ---- layers ------------------------------------------------------------------------------


def attention(**options):
    fastnn.manual_seed(1)
    return nn.MultiheadAttention(8, 2, dtype=fastnn.float64, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_first": True}, {"bias": False}, {"kdim": 3, "vdim": 5},
     {"add_bias_kv": True, "add_zero_attn": True}],
)  # fmt: skip
@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_weights_or_not_is_one_result(options, mask):
    layer = attention(**options)
    first = options.get("batch_first")
    x, k, v = (
        fastnn.tensor(numbers(*((2, 5) if first else (5, 2)), width))
        for width in (8, layer.kdim, layer.vdim)
    )
    how = {
        "key_padding_mask": fastnn.tensor(
            [[False] * 5, [False, True, False] + [True] * 2]
        )
    }
    if mask == "bool":
        how["attn_mask"] = fastnn.tensor(np.triu(np.ones((5, 5), bool), 2))
    elif mask == "float":
        how["attn_mask"] = fastnn.tensor(numbers(4, 5, 5))
    how["is_causal"] = mask == "causal"
    y, w = layer(x, k, v, **how)
    y2, none = layer(x, k, v, need_weights=False, **how)
    each = layer(x, k, v, average_attn_weights=False, **how)[1]
    np.testing.assert_allclose(y.detach().numpy(), y2.detach().numpy(), atol=1e-14)
    extra = 2 if "add_bias_kv" in options else 0
    assert none is None and w.shape == (2, 5, 5 + extra)
    assert each.shape == (2, 2, 5, 5 + extra)
    np.testing.assert_allclose(w.sum(-1).detach().numpy(), 1, atol=1e-14)
    assert (w[1, :, 3] == 0).all().item()
    if mask == "causal":
        assert (
            w.detach().numpy()[:, :, :5][:, np.triu(np.ones((5, 5), bool), 1)] == 0
        ).all()
    inputs = [t.requires_grad_() for t in (x, k, v)]
    assert gradcheck(lambda *xs: layer(*xs, need_weights=False, **how)[0], inputs)


def test_recorded_or_not_is_one_result():
    """One product for all three maps has the bits of three."""
    layer = attention(batch_first=True)
    x = fastnn.tensor(numbers(2, 5, 8))
    y = layer(x, x, x, need_weights=False)[0]
    with fastnn.no_grad():
        assert (layer(x, x, x, need_weights=False)[0] == y).all().item()
    alone = layer(x[0], x[0], x[0])
    assert alone[0].shape == (5, 8) and alone[1].shape == (5, 5)
    np.testing.assert_allclose(
        alone[0].detach().numpy(), y[0].detach().numpy(), atol=1e-14
    )


def test_attention_layer_names_and_text():
    assert list(attention().state_dict()) == [
        "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias",
    ]  # fmt: skip
    other = attention(kdim=3, add_bias_kv=True)
    assert list(other.state_dict()) == [
        "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k",
        "bias_v", "out_proj.weight", "out_proj.bias",
    ]  # fmt: skip
    assert "embed_dim=8, num_heads=2, kdim=3, vdim=8" in repr(other)
    for arguments, error, words in (
        ((8, 3), ValueError, "num_heads to divide embed_dim"),
        ((0, 1), ValueError, "embed_dim of at least 1"),
        ((8, "2"), TypeError, "num_heads as an int"),
        ((8, 2, 1.5), ValueError, "p from 0 to 1"),
    ):
        with pytest.raises(error, match=words):
            nn.MultiheadAttention(*arguments)
    layer = nn.MultiheadAttention(8, 2)
    x = fastnn.ones(5, 2, 8)
    for given, how, error, words in (
        ((x, x[..., :4], x), {}, ValueError, "query of shape"),
        ((x, x[0], x[0]), {}, ValueError, "query of shape"),
        ((x, x, x[:4]), {}, ValueError, "query of shape"),
        ((x, x, x), {"attn_mask": fastnn.ones(5, 4)}, ValueError, "attn_mask of shape"),
        (
            (x, x, x),
            {"key_padding_mask": fastnn.ones(5)},
            ValueError,
            "key_padding_mask",
        ),
        (
            (x, x, x),
            {"attn_mask": fastnn.ones(5, 5, dtype=fastnn.int64)},
            TypeError,
            "attn_mask as bool or float",
        ),
    ):
        with pytest.raises(error, match=words):
            layer(*given, **how)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", fastnn.tanh])
def test_encoder_layer(norm_first, activation):
    fastnn.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 12, 0.0, activation, batch_first=True, norm_first=norm_first,
        dtype=fastnn.float64,
    )  # fmt: skip
    x = fastnn.tensor(numbers(2, 5, 8))

    def attended(z):
        return layer.self_attn(z, z, z, is_causal=True)[0]

    def fed(z):
        act = getattr(F, activation) if isinstance(activation, str) else activation
        return layer.linear2(act(layer.linear1(z)))

    if norm_first:
        z = x + attended(layer.norm1(x))
        want = z + fed(layer.norm2(z))
    else:
        z = layer.norm1(x + attended(x))
        want = layer.norm2(z + fed(z))
    y = layer(x, is_causal=True)
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), atol=1e-13)
    mask = fastnn.tensor(np.triu(np.ones((5, 5), bool), 1))
    y = layer(x, mask)
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), atol=1e-13)


def test_encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 12)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    names = list(encoder.state_dict())
    assert len(names) == 2 * 12 + 2 and names[-1] == "norm.bias"
    assert names[0] == "layers.0.self_attn.in_proj_weight"
    one, two = (p.linear1.weight for p in encoder.layers)
    assert one is not two and (one == two).all().item()
    x = fastnn.tensor(numbers(5, 2, 8), dtype=fastnn.float32)
    encoder.train()
    assert (encoder(x) != encoder(x)).any().item()  # dropout
    encoder.eval()
    want = x
    for part in encoder.layers:
        want = part(want, src_key_padding_mask=None, is_causal=True)
    got = encoder(x, is_causal=True)
    assert (got == encoder.norm(want)).all().item()
    with pytest.raises(ValueError, match='"relu", "gelu" or a function'):
        nn.TransformerEncoderLayer(8, 2, activation="tan")
    with pytest.raises(ValueError, match="num_layers of at least 0"):
        nn.TransformerEncoder(layer, -1)


def test_positions():
    layer = nn.SinusoidalPositions(5, 20, dtype=fastnn.float64)
    t, i = np.arange(20)[:, None], np.arange(5)
    angle = t / 10000 ** (2 * (i // 2) / 5)
    table = np.where(i % 2 == 0, np.sin(angle), np.cos(angle))
    np.testing.assert_allclose(layer.table.numpy(), table, atol=1e-15)
    assert list(layer.state_dict()) == []
    x = fastnn.tensor(numbers(4, 2, 5))
    want = x.numpy() + table[3:7, None]
    np.testing.assert_allclose(layer(x, start=3).numpy(), want, atol=1e-15)
    layer.batch_first = True
    np.testing.assert_allclose(layer(x).numpy(), x.numpy() + table[:2], atol=1e-15)
    np.testing.assert_allclose(
        layer(x[0]).numpy(), x[0].numpy() + table[:2], atol=1e-15
    )
    assert "5, max_length=20, batch_first=True" in repr(layer)
    for given, words in (
        ((fastnn.ones(2, 3, 4),), "expected input"),
        ((x, 19), "times from 0 to 19, got 19 to 20"),
        ((x, -1), "times from 0"),
    ):
        with pytest.raises(ValueError, match=words):
            layer(*given)
    with pytest.raises(ValueError, match="base above 0"):
        nn.SinusoidalPositions(4, base=0)


# ---- compiled ----------------------------------------------------------------------------


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = nn.SinusoidalPositions(8, 12, batch_first=True)
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, 0.2, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x, keep):
        y = self.encoder(self.positions(x), None, keep, is_causal=True)
        y = y + self.cross(y, x, x, is_causal=True)[0]
        return self.out(y)


def test_compiled_inference_and_training_are_eager():
    fastnn.manual_seed(0)
    eager = Network()
    x = fastnn.tensor(numbers(3, 6, 8), dtype=fastnn.float32)
    keep = fastnn.tensor(np.arange(6) >= np.array([6, 4, 2])[:, None])
    compiled = copy.deepcopy(eager)
    quick = fastnn.compile(compiled)
    with fastnn.no_grad():
        for net in (eager, compiled):
            net.eval()
        for _ in range(3):
            assert (quick(x, keep) == eager(x, keep)).all().item()
    nets = [(eager, eager), (compiled, quick)]
    losses = []
    for net, call in nets:
        net.train()
        step = fastnn.optim.Adam(net.parameters(), lr=0.01)

        def train(x, keep, call=net, step=step):
            step.zero_grad()
            loss = (call(x, keep) ** 2).mean()
            loss.backward()
            step.step()
            return loss

        run = train if call is net else fastnn.compile(train)
        fastnn.manual_seed(5)
        losses.append([run(x, keep).item() for _ in range(4)])
    assert losses[0] == losses[1] and all(map(math.isfinite, losses[0]))
    for a, b in zip(eager.parameters(), compiled.parameters(), strict=True):
        assert (a == b).all().item()
