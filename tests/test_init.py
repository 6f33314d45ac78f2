"""nn.init: fans, distributions, structure. Oracles are formulas in float64."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import init
from fastnn.nn._normal import erfinv, truncated

N = 40_000


def draw(function, shape=(200, 200), *args, seed=0, dtype=None, **options):
    generator = fastnn.Generator(seed)
    x = fastnn.empty(shape, dtype=dtype)
    assert function(x, *args, generator=generator, **options) is x
    return x.numpy().astype(np.float64).reshape(-1)


def normal_cdf(x):
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def distance(values, cdf):
    """Kolmogorov's distance between a sample and a distribution, times √n: above 1.95
    once in a thousand samples."""
    x = np.sort(values)
    n = len(x)
    f = cdf(x)
    up, down = np.arange(1, n + 1) / n - f, f - np.arange(n) / n
    return max(up.max(), down.max()) * math.sqrt(n)


# ---- constants ----


def test_constants():
    p = nn.Parameter(fastnn.empty(2, 3))
    for function, args, value in (
        (init.zeros_, (), 0),
        (init.ones_, (), 1),
        (init.constant_, (0.25,), 0.25),
    ):
        assert function(p, *args) is p
        assert p.tolist() == [[value] * 3] * 2
    assert init.eye_(p) is p
    assert p.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert p.requires_grad
    assert p.is_leaf
    view = fastnn.zeros(4, 4)
    init.ones_(view[::2, 1:3])
    assert view.sum().item() == 4
    assert init.zeros_(fastnn.ones(3, dtype=fastnn.int64)).tolist() == [0, 0, 0]


# ---- distributions ----

# weight shape (fan_out, fan_in, *kernel) = (20, 100, 3, 2): fan_in 600, fan_out 120
SHAPE, FAN_IN, FAN_OUT = (20, 100, 3, 2), 600, 120
XAVIER = math.sqrt(2 / (FAN_IN + FAN_OUT))
LEAKY = math.sqrt(2 / (1 + 0.2**2))
SCALES = [  # function, options, standard deviation
    ("xavier", {}, XAVIER),
    ("xavier", {"gain": 5 / 3}, XAVIER * 5 / 3),
    ("kaiming", {}, math.sqrt(2 / FAN_IN)),
    ("kaiming", {"nonlinearity": "relu"}, math.sqrt(2 / FAN_IN)),
    ("kaiming", {"mode": "fan_out", "a": 0.2}, LEAKY / math.sqrt(FAN_OUT)),
    ("kaiming", {"nonlinearity": "linear"}, 1 / math.sqrt(FAN_IN)),
    ("kaiming", {"nonlinearity": "selu"}, 0.75 / math.sqrt(FAN_IN)),
    ("lecun", {}, 1 / math.sqrt(FAN_IN)),
]


@pytest.mark.parametrize(("name", "options", "std"), SCALES)
@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
def test_scales(name, options, std, dtype):
    x = draw(getattr(init, f"{name}_normal_"), SHAPE, dtype=dtype, **options)
    assert distance(x / std, normal_cdf) < 1.95
    bound = std * math.sqrt(3)
    x = draw(getattr(init, f"{name}_uniform_"), SHAPE, dtype=dtype, **options)
    assert np.abs(x).max() <= bound * (1 + 1e-6)
    assert np.abs(x).max() > 0.999 * bound
    assert distance(x / bound, lambda v: (v + 1) / 2) < 1.95


def test_uniform_and_normal():
    x = draw(init.uniform_, (N,), -2.0, 3.0)
    assert distance(x, lambda v: (v + 2) / 5) < 1.95
    x = draw(init.normal_, (N,), 1.0, 0.5)
    assert distance((x - 1) / 0.5, normal_cdf) < 1.95
    assert draw(init.uniform_, (N,)).min() >= 0


def test_the_distance_sees_a_wrong_scale():
    x = draw(init.normal_, (N,))
    assert distance(x * 1.05, normal_cdf) > 1.95
    assert distance(x + 0.02, normal_cdf) > 1.95


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0, 1, -2, 2),
        (0, 0.02, -2, 2),  # limits in the tensor's units: as good as none
        (1, 2, 0, 1.5),
        (0, 1, 3, 3.5),
        (5, 1, -1, 1),  # four deviations away
        (0, 1, -0.001, 0.001),
        (0, 1, -math.inf, 0),
    ],
)
def test_trunc_normal(mean, std, a, b):
    x = draw(init.trunc_normal_, (N,), mean, std, a, b, dtype=fastnn.float64)
    assert x.min() >= a
    assert x.max() <= b
    low, high = normal_cdf(np.array([(a - mean) / std, (b - mean) / std]))

    def cdf(v):
        return (normal_cdf((v - mean) / std) - low) / (high - low)

    assert distance(x, cdf) < 1.95


@pytest.mark.parametrize(
    ("a", "b"), [(9, 10), (-10, -9), (4, 40), (30, 31), (37, 37.5)]
)
def test_trunc_normal_far_in_a_tail(a, b):
    """The density by quadrature, scaled by its value at the near end."""
    x = np.abs(draw(init.trunc_normal_, (N,), 0, 1, a, b, dtype=fastnn.float64))
    low, high = sorted((abs(a), abs(b)))
    assert low <= x.min()
    assert x.max() <= high
    grid = np.linspace(low, min(high, low + 10), 200_001)
    density = np.exp((low - grid) * (low + grid) / 2)
    total = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    assert distance(x, lambda v: np.interp(v, grid, total / total[-1])) < 1.95


def test_erfinv():
    x = np.concatenate([np.linspace(-5.2, 5.2, 2001), [1e-300, 1e-20, 1e-5]])
    y = np.vectorize(math.erf)(x)
    found = erfinv(fastnn.tensor(y)).numpy()
    # y keeps what float64 can of x: its spacing over the slope of erf
    spacing = 1.2e-16 * np.exp(x * x) * math.sqrt(math.pi) / 2
    near = np.abs(x) < 4.8
    assert (np.abs(found - x) <= 4 * np.abs(x) * 2.3e-16 + 2 * spacing)[near].all()
    assert (np.abs(found - x) <= 1e-3)[np.abs(x) < 5.2].all()
    edge = fastnn.tensor([1 - 2.0**-53, -1 + 2.0**-53, 0.0], dtype=fastnn.float64)
    assert np.isfinite(erfinv(edge).numpy()).all()


def test_truncated_is_monotonic_across_its_methods():
    u = fastnn.tensor(np.linspace(0, 1, 1001)[:-1])
    for low, high in ((-2, 2), (3.9, 9), (4, 9), (4.1, 9), (0, math.inf), (8, 8.5)):
        x = truncated(u, low, high).numpy()
        assert (np.diff(x) > 0).all()
        assert x[0] == pytest.approx(low, rel=1e-9)
    ends = [truncated(u, low, 9).numpy() for low in (4 - 1e-12, 4)]
    np.testing.assert_allclose(*ends, rtol=1e-9)


# ---- structure ----


@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (40, 100), (100, 40), (65, 65), (6, 4, 3, 2)]
)
def test_orthogonal(shape, dtype):
    q = draw(init.orthogonal_, shape, 2.0, dtype=dtype).reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-6)


def test_orthogonal_favours_no_direction():
    """First and last entries are even in sign and of equal size on average; the rotation's
    determinant is 1 as often as -1."""
    qs = np.array([draw(init.orthogonal_, (3, 3), seed=s) for s in range(2000)])
    assert np.abs(qs.mean(0)).max() < 4 * math.sqrt(1 / 3 / 2000)
    np.testing.assert_allclose((qs**2).mean(0), 1 / 3, atol=0.03)
    signs = np.sign(np.linalg.det(qs.reshape(-1, 3, 3)))
    assert abs(signs.mean()) < 4 / math.sqrt(2000)
    # an entry of a point on the sphere in three dimensions is uniform in [-1, 1]
    for entry in (0, 4, 8):
        assert distance(qs[:, entry], lambda v: (v + 1) / 2) < 1.95


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.95, 1])
def test_sparse(sparsity):
    x = draw(init.sparse_, (50, 400), sparsity, 0.3).reshape(50, 400)
    zeros = math.ceil(sparsity * 50)
    assert ((x == 0).sum(0) == zeros).all()
    if zeros < 50:
        assert distance(x[x != 0] / 0.3, normal_cdf) < 1.95
    if 0 < zeros < 50:  # every row has its share
        counts = (x == 0).sum(1)
        assert abs(counts - zeros * 8).max() < 5 * math.sqrt(zeros * 8)


# ---- what holds of all ----

ALL = {
    "uniform_": (),
    "normal_": (),
    "trunc_normal_": (),
    "xavier_uniform_": (),
    "xavier_normal_": (),
    "kaiming_uniform_": (),
    "kaiming_normal_": (),
    "lecun_uniform_": (),
    "lecun_normal_": (),
    "orthogonal_": (),
    "sparse_": (0.5,),
}


@pytest.mark.parametrize("name", ALL)
def test_every_function(name):
    function, args = getattr(init, name), ALL[name]
    first = draw(function, (7, 5), *args)
    np.testing.assert_array_equal(draw(function, (7, 5), *args), first)
    assert (draw(function, (7, 5), *args, seed=1) != first).any()
    fastnn.manual_seed(0)
    p = nn.Parameter(fastnn.zeros(7, 5))
    assert function(p, *args) is p
    np.testing.assert_array_equal(p.detach().numpy().reshape(-1), first)
    assert p.is_leaf
    assert p.requires_grad
    wide = fastnn.zeros(10, 7)
    with fastnn.no_grad():  # a view takes the same numbers
        function(wide.T[:, ::2], *args, generator=fastnn.Generator(0))
    np.testing.assert_array_equal(wide.numpy().T[:, ::2].reshape(-1), first)
    assert wide.numpy().T[:, 1::2].sum() == 0
    for shape in ((0, 4), (4, 0)):
        assert function(fastnn.empty(shape), *args).shape == shape
    with pytest.raises(TypeError, match=f"{name}: expected float32 or .*got int64"):
        function(fastnn.zeros(3, 3, dtype=fastnn.int64), *args)


@pytest.mark.bits
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("trunc_normal_", ()),
        ("trunc_normal_", (0, 1, 9, 10)),
        ("orthogonal_", ()),
        ("xavier_normal_", ()),
        ("kaiming_uniform_", ()),
        ("sparse_", (0.5,)),
    ],
)
def test_bits(name, args):
    from fastnn import _core

    was, threads = fastnn.isa(), fastnn.get_num_threads()
    drawn = []
    try:
        for isa in _core.isas():
            for count in (1, 3):
                _core.set_isa(isa)
                fastnn.set_num_threads(count)
                drawn.append(draw(getattr(init, name), (130, 97), *args).tobytes())
    finally:
        _core.set_isa(was)
        fastnn.set_num_threads(threads)
    assert len(set(drawn)) == 1


@pytest.mark.parametrize(
    "name", [n for n in ALL if n not in ("uniform_", "normal_", "trunc_normal_")]
)
@pytest.mark.parametrize("shape", [(), (5,)])
def test_fewer_than_two_dimensions(name, shape):
    with pytest.raises(ValueError, match=f"{name}: expected .*2 dim.*got shape"):
        getattr(init, name)(fastnn.empty(shape), *ALL[name])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: init.eye_(x[0]), "eye_: expected 2 dim"),
        (lambda x: init.sparse_(x.reshape(1, 3, 3), 0.1), "sparse_: expected 2 dim"),
        (lambda x: init.sparse_(x, 1.5), "sparse_: expected sparsity from 0 to 1"),
        (lambda x: init.trunc_normal_(x, std=0), "trunc_normal_: expected std > 0"),
        (lambda x: init.trunc_normal_(x, a=2, b=1), "trunc_normal_: .* a <= b"),
        (lambda x: init.trunc_normal_(x, a=math.nan), "trunc_normal_: .* a <= b"),
        (
            lambda x: init.kaiming_normal_(x, mode="fan"),
            "kaiming_normal_: expected mode",
        ),
        (lambda x: init.kaiming_normal_(x, mode="fan_sum"), "expected mode 'fan_in'"),
        (lambda x: init.kaiming_normal_(x, nonlinearity="reLU"), "calculate_gain"),
        (lambda x: init.calculate_gain("leaky_relu", True), "expected a slope"),
        (lambda x: init.normal_(x, std=-1), "std"),
        (lambda x: init.uniform_(x, 2, 1), "low <= high"),
    ],
)
def test_what_is_refused(call, match):
    x = fastnn.zeros(3, 3)
    with pytest.raises(ValueError, match=match):
        call(x)
    assert x.tolist() == [[0] * 3] * 3


def test_gains():
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "sigmoid",
                 "tanh", "relu", "leaky_relu", "selu"):  # fmt: skip
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    for slope in (0, 0.2, 3):
        theirs = torch.nn.init.calculate_gain("leaky_relu", slope)
        assert init.calculate_gain("leaky_relu", slope) == theirs


def test_the_same_arguments_as_torch():
    torch = pytest.importorskip("torch")
    import inspect

    for name in [*ALL, "zeros_", "ones_", "eye_", "constant_", "calculate_gain"]:
        if name.startswith("lecun"):
            continue
        ours = inspect.signature(getattr(init, name)).parameters
        theirs = inspect.signature(getattr(torch.nn.init, name)).parameters
        assert [(p.name, p.default) for p in ours.values()] == [
            (p.name, p.default) for p in theirs.values()
        ]
