"""Random numbers: known answers, seeds and states, distributions, threads.

The oracle is a Philox4x32-10 of our own in NumPy, itself held against the published
known answers.
"""

import math
import pickle
import threading

import numpy as np
import pytest

import fastnn
from fastnn import Generator, _core

ROUNDS = 10


def philox(seed, first, count):
    """Blocks first to first + count - 1 of the key seed, (count, 4) uint32.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
    """
    low = np.uint64(0xFFFFFFFF)
    block = np.arange(count, dtype=np.uint64) + np.uint64(first)
    c = [
        block & low,
        block >> np.uint64(32),
        np.zeros_like(block),
        np.zeros_like(block),
    ]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0),
            p1 & low,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1),
            p0 & low,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1).astype(np.uint32)


def test_the_oracle():
    """The first known answer of the Random123 library: counter 0, key 0."""
    assert [hex(w) for w in philox(0, 0, 1)[0]] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**63 + 12345])
def test_uniform_bit_for_bit(seed):
    words = philox(seed, 0, 250).reshape(-1)
    expected = (words >> 8).astype(np.float32) * np.float32(2**-24)
    got = fastnn.rand(999, generator=Generator(seed)).numpy()
    np.testing.assert_array_equal(got, expected[:999])
    wide = words.astype(np.uint64)
    bits = (wide[0::2] << np.uint64(32) | wide[1::2]) >> np.uint64(11)
    got = fastnn.rand(499, dtype=fastnn.float64, generator=Generator(seed)).numpy()
    np.testing.assert_array_equal(got, bits[:499] * 2.0**-53)


def test_normal_is_box_muller():
    words = philox(7, 0, 1000).reshape(-1)
    u = (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    got = fastnn.randn(3999, generator=Generator(7)).numpy()
    np.testing.assert_allclose(got, normals(u)[:3999], rtol=2e-6, atol=2e-6)


def test_golden():
    """The first numbers of seed 0: who changes them changes every user's results."""
    g = Generator(0)
    assert fastnn.rand(4, generator=g).numpy().tolist() == [
        0.3990464210510254,
        0.8805201649665833,
        0.7357127666473389,
        0.6054818034172058,
    ]
    g.manual_seed(0)
    assert fastnn.randperm(10, generator=g).tolist() == [8, 2, 1, 9, 5, 0, 4, 7, 6, 3]
    g.manual_seed(0)
    assert fastnn.randn(4, generator=g).numpy().tolist() == [
        0.9911374449729919,
        -0.9246627688407898,
        -0.6176090836524963,
        -0.48206833004951477,
    ]
    g.manual_seed(0)
    kept = fastnn.dropout(fastnn.ones(10), 0.5, generator=g) > 0
    assert kept.int().tolist() == [0, 1, 1, 1, 1, 0, 1, 0, 0, 0]


def test_seeds():
    fastnn.manual_seed(3)
    a = fastnn.rand(5)
    b = fastnn.rand(5)
    assert fastnn.manual_seed(3) is fastnn.default_generator
    assert fastnn.rand(5).tolist() == a.tolist()
    assert a.tolist() != b.tolist()
    assert fastnn.default_generator.initial_seed() == 3
    for seed, same in ((-1, 2**64 - 1), (2**64 + 3, 3), (np.int64(4), 4)):
        assert Generator(seed).initial_seed() == same
    assert Generator().initial_seed() != Generator().initial_seed()
    for seed in ("a", 1.5, None):
        with pytest.raises(TypeError, match="manual_seed"):
            Generator(0).manual_seed(seed)


def test_state():
    g = Generator(1)
    fastnn.rand(3, generator=g)
    state = g.get_state()
    a = fastnn.randn(3, generator=g)
    assert g.get_state().tolist() != state.tolist()
    assert fastnn.randn(3, generator=g.set_state(state)).tolist() == a.tolist()
    assert (
        fastnn.randn(3, generator=Generator(9).set_state(state)).tolist() == a.tolist()
    )
    restored = pickle.loads(pickle.dumps(g))
    assert (
        fastnn.rand(3, generator=restored).tolist()
        == fastnn.rand(3, generator=g).tolist()
    )
    saved = fastnn.get_rng_state()
    a = fastnn.rand(2)
    fastnn.set_rng_state(saved)
    assert fastnn.rand(2).tolist() == a.tolist()
    for wrong in (fastnn.zeros(2), fastnn.arange(3)):
        with pytest.raises(ValueError, match="set_state"):
            g.set_state(wrong)


def test_generators_are_independent():
    g, h = Generator(5), Generator(5)
    before = fastnn.get_rng_state().tolist()
    a = [fastnn.rand(3, generator=g).tolist() for _ in range(2)]
    assert [fastnn.rand(3, generator=h).tolist() for _ in range(2)] == a
    assert fastnn.get_rng_state().tolist() == before


@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
@pytest.mark.parametrize("draw", [fastnn.rand, fastnn.randn])
def test_numbers_belong_to_elements(draw, dtype):
    long = draw(10_000, dtype=dtype, generator=Generator(2)).numpy()
    for n in (0, 1, 3, 255, 256, 257, 1023, 4097):
        short = draw(n, dtype=dtype, generator=Generator(2)).numpy()
        np.testing.assert_array_equal(short, long[:n])
    shaped = draw(100, 100, dtype=dtype, generator=Generator(2)).numpy()
    np.testing.assert_array_equal(shaped.reshape(-1), long)


@pytest.mark.bits
def test_same_numbers_on_any_machine():
    def draw():
        g = Generator(11)
        drawn = [
            fastnn.rand(100_003, generator=g),
            fastnn.randn(100_003, generator=g),
            fastnn.randn(50_001, dtype=fastnn.float64, generator=g),
            fastnn.randperm(1000, generator=g),
            fastnn.dropout(fastnn.ones(100_003), 0.3, generator=g),
        ]
        return [x.numpy().tobytes() for x in drawn]

    threads, isa = fastnn.get_num_threads(), fastnn.isa()
    expected = draw()
    try:
        for name in _core.isas():
            _core.set_isa(name)
            for n in (1, 2, 3, 8):
                fastnn.set_num_threads(n)
                assert draw() == expected, (name, n)
    finally:
        fastnn.set_num_threads(threads)
        _core.set_isa(isa)


def at(seed, block):
    """A generator whose next block is the one given."""
    state = np.array([seed, block], np.uint64).view(np.int64)
    return Generator().set_state(fastnn.tensor(state))


def doubles(words):
    """The lanes of float64: of each two words the first is the upper half."""
    wide = words.astype(np.uint64)
    return wide[0::2] << np.uint64(32) | wide[1::2]


def normals(u):
    """Box and Muller's, of uniforms of either dtype, in float64."""
    step = 2.0**-24 if u.dtype == np.float32 else 2.0**-53
    radius = np.sqrt(-2 * np.log(u[0::2].astype(np.float64) + step))
    angle = 2 * math.pi * u[1::2].astype(np.float64)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)


# None, one, what fills a vector and a draw of eight blocks (32 or 16 elements), one less,
# one more; then more than a chunk of 256.
LENGTHS = [*range(36), 47, 48, 49, 63, 64, 65, 127, 129, 255, 256, 257, 511, 515, 1029]
# Within a draw, and eight blocks that carry into the counter's second word in each lane.
STARTS = [0, 1, 5, *range(2**32 - 9, 2**32 + 1), 2**33 - 3, 2**63 - 1, 2**64 - 3]


@pytest.mark.bits
@pytest.mark.parametrize("isa", _core.isas())
def test_every_isa_draws_what_the_oracle_draws(isa):
    seed, before = 0x9E3779B97F4A7C15, fastnn.isa()
    x = np.linspace(-3, 3, 2 * max(LENGTHS))
    try:
        _core.set_isa(isa)
        for start in STARTS:
            words = philox(seed, start, max(LENGTHS) // 2 + 1).reshape(-1)
            for n in LENGTHS:
                check_floats(seed, start, n, words, x)
                order = list(range(n))
                steps = range(n - 1, 0, -1)
                for i, r in zip(steps, doubles(words[: 2 * n]).tolist(), strict=False):
                    k = r * (i + 1) >> 64
                    order[i], order[k] = order[k], order[i]
                got = fastnn.randperm(n, generator=at(seed, start)).tolist()
                assert got == order, (start, n)
    finally:
        _core.set_isa(before)


def check_floats(seed, start, n, words, x):
    def same(expected, draw, *args, **kwargs):
        got = draw(*args, generator=at(seed, start), **kwargs).numpy()
        assert got.tobytes() == expected.tobytes(), (draw, start, n, got.dtype)

    narrow = (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    wide = (doubles(words) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    for dtype, u in ((fastnn.float32, narrow), (fastnn.float64, wide)):
        kind = u.dtype.type
        same(u[:n], fastnn.rand, n, dtype=dtype)
        scaled = kind(-3.7) + u[:n] * kind(2.1 - -3.7)
        same(scaled, fastnn.uniform, (n,), -3.7, 2.1, dtype=dtype)
        z = fastnn.randn(n, dtype=dtype, generator=at(seed, start)).numpy()
        close = {"rtol": 2e-6, "atol": 2e-6} if kind is np.float32 else {"atol": 1e-14}
        np.testing.assert_allclose(z, normals(u)[:n], **close)
        z = fastnn.tensor(x.astype(u.dtype))
        for y in (z[:n], z[: 2 * n : 2]):  # read in place, and gathered
            chance = y.div(6).add(0.5).clamp(0, 1)
            below = (u[:n] < chance.numpy()).astype(u.dtype)
            same(below, fastnn.bernoulli, chance)
            for p in (0.1, 0.9, 1.0):
                kept = words[:n].astype(np.uint64) >= np.uint64(p * 2**32)
                scaled = y.numpy() * kind(1 / (1 - p) if p < 1 else 0)
                same(np.where(kept, scaled, kind(0)), fastnn.dropout, y, p)


def test_dropout_drops_what_is_not_finite():
    x = fastnn.tensor([math.nan, math.inf, -math.inf, -1.0] * 64)
    for p in (0.999, 1.0):
        y = fastnn.dropout(x, p, generator=Generator(1)).numpy()
        dropped = fastnn.dropout(fastnn.ones(256), p, generator=Generator(1)).numpy()
        assert (y[dropped == 0] == 0).all()
        assert not np.signbit(y[dropped == 0]).any()


# ---- distributions ----

N = 100_000


def distance(sample, cdf):
    """Kolmogorov and Smirnov's statistic, times sqrt(n); 1.95 is passed once in 1,000."""
    x = np.sort(sample.astype(np.float64))
    steps = np.arange(len(x) + 1) / len(x)
    y = cdf(x)
    return max((y - steps[:-1]).max(), (steps[1:] - y).max()) * math.sqrt(len(x))


@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
def test_distributions(dtype):
    g = Generator(42)
    u = fastnn.rand(N, dtype=dtype, generator=g).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert distance(u, lambda x: x) < 1.95
    u = fastnn.uniform((N,), -3, 5, dtype=dtype, generator=g).numpy()
    assert u.min() >= -3
    assert u.max() < 5
    assert distance(u, lambda x: (x + 3) / 8) < 1.95
    z = fastnn.normal(1.0, 2.0, (N,), dtype=dtype, generator=g).numpy()
    erf = np.vectorize(math.erf)
    assert distance(z, lambda x: (1 + erf((x - 1) / 2 / math.sqrt(2))) / 2) < 1.95
    z = ((z - 1) / 2).astype(np.float64)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / N)
    assert abs((z[0::2] * z[1::2]).mean()) < 5 * math.sqrt(2 / N)


def test_ends_of_the_range():
    g = Generator(0)
    x = fastnn.uniform((N,), 1.0, 1.0 + 2**-20, generator=g).numpy()
    assert x.min() >= 1
    assert x.max() < 1 + 2**-20
    assert (fastnn.uniform((5,), 2.0, 2.0, generator=g) == 2).numpy().all()
    assert (fastnn.normal(3.0, 0.0, (5,), generator=g) == 3).numpy().all()
    assert np.isfinite(fastnn.randn(10 * N, generator=g).numpy()).all()


def test_permutation():
    g = Generator(0)
    for n in (0, 1, 2, 3, 1000):
        p = fastnn.randperm(n, generator=g)
        assert p.dtype is fastnn.int64
        assert sorted(p.tolist()) == list(range(n))
    counts = np.zeros((4, 4))
    for _ in range(6000):
        p = fastnn.randperm(4, generator=g).numpy()
        counts[np.arange(4), p] += 1
    chi2 = ((counts - 1500) ** 2 / 1500).sum()
    assert chi2 < 40  # 9 degrees of freedom
    with pytest.raises(ValueError, match="permutation"):
        fastnn.randperm(-1)


def test_dropout():
    x = fastnn.randn(N, generator=Generator(1))
    for p in (0.1, 0.5, 0.9):
        y = fastnn.dropout(x, p, generator=Generator(2)).numpy()
        kept = y != 0
        np.testing.assert_allclose(y[kept], x.numpy()[kept] / (1 - p), rtol=3e-7)
        assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / N)
    assert fastnn.dropout(x, 0.0) is x
    assert fastnn.dropout(x, 0.5, training=False) is x
    assert (fastnn.dropout(x, 1.0) == 0).numpy().all()
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            fastnn.dropout(x, p)
    with pytest.raises(TypeError):
        fastnn.dropout(fastnn.arange(3), 0.5)


def test_dropout_gradient():
    for p in (0.3, 1.0):
        x = fastnn.ones(1000, requires_grad=True)
        y = fastnn.dropout(x, p, generator=Generator(3))
        y.sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())


def test_in_place():
    x = fastnn.zeros(3, 4)
    assert x.uniform_(2, 3, generator=Generator(0)) is x
    assert (x >= 2).numpy().all()
    y = fastnn.uniform((3, 4), 2, 3, generator=Generator(0))
    assert x.tolist() == y.tolist()
    x.T.normal_(5, 0.1, generator=Generator(0))
    z = fastnn.normal(5, 0.1, (4, 3), generator=Generator(0))
    assert x.T.tolist() == z.tolist()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: fastnn.rand(-1), ValueError),
        (lambda: fastnn.rand(2, dtype=fastnn.int64), TypeError),
        (lambda: fastnn.rand(2**40, 2**40), (MemoryError, ValueError)),
        (lambda: fastnn.rand(*[1] * 9), ValueError),
        (lambda: fastnn.normal(0, -1, (2,)), ValueError),
        (lambda: fastnn.rand(2.5), TypeError),
        (lambda: fastnn.rand(2, generator=3), (TypeError, AttributeError)),
        (lambda: fastnn.randperm(2.5), TypeError),
        (lambda: fastnn.zeros(2, dtype=fastnn.int32).normal_(), TypeError),
    ],
)
def test_refused(call, error):
    before = fastnn.get_rng_state().tolist()
    with pytest.raises(error):
        call()
    assert fastnn.get_rng_state().tolist() == before


def test_threads_with_generators_of_their_own():
    expected = [fastnn.randn(50_000, generator=Generator(i)).numpy() for i in range(4)]
    got = [None] * 4

    def work(i):
        g = Generator(i)
        for _ in range(10):
            got[i] = fastnn.randn(50_000, generator=g.manual_seed(i)).numpy()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_randint():
    g = Generator(3)
    x = fastnn.randint(-3, 4, (7000,), generator=g)
    assert x.dtype is fastnn.int64
    counts = np.bincount(x.numpy() + 3, minlength=7)
    assert counts.min() > 850
    assert counts.max() < 1150
    assert counts.size == 7
    assert fastnn.randint(1, (5,)).tolist() == [0] * 5
    assert fastnn.randint(high=9, low=8, size=(2, 1)).tolist() == [[8], [8]]
    assert fastnn.randint(5, [3], dtype=fastnn.float32).dtype is fastnn.float32
    again = fastnn.randint(-3, 4, (7000,), generator=Generator(3))
    np.testing.assert_array_equal(x.numpy(), again.numpy())
    for bad in ((3, 3, (2,)), (0, (2,)), (-(2**62), 2**62, (1,))):
        with pytest.raises(ValueError, match="randint: expected high above low"):
            fastnn.randint(*bad)
    for bad in ((3,), (1.5, (2,)), (1, 2)):
        with pytest.raises(TypeError, match="randint"):
            fastnn.randint(*bad)


def test_rand_like_and_randn_like():
    x = fastnn.zeros(2, 3, dtype=fastnn.float64)
    for f, plain in (
        (fastnn.rand_like, fastnn.rand),
        (fastnn.randn_like, fastnn.randn),
    ):
        y = f(x, generator=Generator(1))
        assert y.dtype is fastnn.float64
        expected = plain(2, 3, generator=Generator(1), dtype=fastnn.float64)
        np.testing.assert_array_equal(y.numpy(), expected.numpy())
        assert f(x, dtype=fastnn.float32).dtype is fastnn.float32


def test_bernoulli():
    p = fastnn.tensor([0.0, 0.25, 1.0])
    x = p.expand(4000, 3).bernoulli(generator=Generator(5))
    assert x.dtype is p.dtype
    assert x[:, 0].sum().item() == 0
    assert x[:, 2].sum().item() == 4000
    assert abs(x[:, 1].mean().item() - 0.25) < 0.03
    y = fastnn.zeros(1000, dtype=fastnn.int64)
    assert y.bernoulli_(0.5, generator=Generator(2)) is y
    assert 400 < y.sum().item() < 600
    with pytest.raises(ValueError, match="from 0 to 1"):
        fastnn.bernoulli(fastnn.tensor([1.5]))
    with pytest.raises(ValueError, match="from 0 to 1"):
        fastnn.bernoulli(fastnn.tensor([math.nan]))
    with pytest.raises(TypeError, match="bernoulli"):
        fastnn.bernoulli(fastnn.tensor([1]))


@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
def test_bernoulli_compares_uniform_numbers(dtype):
    """One draw an element, from the numbers of rand; what is refused draws nothing."""
    p = fastnn.rand(70, 300, dtype=dtype, generator=Generator(1))
    for x in (p, p.T, p[::3, ::-1], p[0, 0]):
        ours, theirs = Generator(7), Generator(7)
        got = fastnn.bernoulli(x, generator=ours)
        u = fastnn.rand(x.shape, dtype=dtype, generator=theirs)
        np.testing.assert_array_equal(got.numpy(), u.numpy() < x.numpy())
        assert got.dtype is dtype
        assert ours.state.tolist() == theirs.state.tolist()
        with pytest.raises(ValueError, match="from 0 to 1, got values from"):
            fastnn.bernoulli(x + 1.5, generator=ours)
        assert ours.state.tolist() == theirs.state.tolist()


def test_multinomial():
    w = fastnn.tensor([[0.0, 1.0, 3.0, 0.0], [2.0, 0.0, 0.0, 0.0]])
    x = w.multinomial(4000, replacement=True, generator=Generator(4))
    assert x.shape == (2, 4000)
    assert x.dtype is fastnn.int64
    counts = np.bincount(x[0].numpy(), minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(counts[2] / 4000 - 0.75) < 0.03
    assert x[1].max().item() == 0
    first = [
        tuple(fastnn.multinomial(w[0], 2, generator=Generator(k)).tolist())
        for k in range(400)
    ]
    assert set(first) == {(1, 2), (2, 1)}
    assert abs(first.count((2, 1)) / 400 - 0.75) < 0.08
    for bad in (w[0], w[1]):
        with pytest.raises(ValueError, match="no more samples"):
            bad.multinomial(3)
    for bad in ([1.0, -1.0], [0.0, 0.0], [math.inf, 1.0], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="finite weights"):
            fastnn.multinomial(fastnn.tensor(bad), 1)
