"""Pooling, resizing, margins and patches against PyTorch, where installed: values, indices,
gradients and the error in float32 over the range of arguments; what PyTorch refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastnn

torch = pytest.importorskip("torch")
functional = torch.nn.functional
ours = fastnn.nn.functional


def data(*shape, ties=False):
    rng = np.random.default_rng(sum(shape))
    x = rng.standard_normal(shape)
    return np.round(x) if ties else x


def check(name, shape, *args, ties=False, **options):
    """Values and gradients in float64; the error in float32 at most twice PyTorch's."""
    x = data(*shape, ties=ties)
    mine = fastnn.tensor(x, requires_grad=True)
    peer = torch.tensor(x, requires_grad=True)
    y = getattr(ours, name)(mine, *args, **options)
    z = getattr(functional, name)(peer, *args, **options)
    if isinstance(z, tuple):
        np.testing.assert_array_equal(y[1].numpy(), z[1].numpy())
        y, z = y[0], z[0]
    assert y.shape == tuple(z.shape)
    exact = z.detach().numpy()
    np.testing.assert_allclose(y.detach().numpy(), exact, rtol=1e-12, atol=1e-12)
    seed = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(fastnn.tensor(seed))
    z.backward(torch.tensor(seed))
    np.testing.assert_allclose(
        mine.grad.numpy(), peer.grad.numpy(), rtol=1e-12, atol=1e-12
    )
    narrow = x.astype(np.float32)
    wide = torch.tensor(narrow.astype(np.float64))
    exact = getattr(functional, name)(wide, *args, **options)
    got = getattr(ours, name)(fastnn.tensor(narrow), *args, **options)
    theirs = getattr(functional, name)(torch.tensor(narrow), *args, **options)
    if isinstance(exact, tuple):
        exact, got, theirs = exact[0], got[0], theirs[0]
    if exact.numel():
        exact = exact.numpy()
        worst = np.abs(got.numpy() - exact).max()
        peers = np.abs(theirs.numpy() - exact).max()
        assert worst <= max(2 * peers, np.abs(x).max() * 2.0**-24)  # one rounding


def both_refuse(name, x, *args, **options):
    with pytest.raises((ValueError, TypeError), match="expected"):
        getattr(ours, name)(fastnn.tensor(x), *args, **options)
    with pytest.raises(Exception):  # noqa: B017  RuntimeError, ValueError, TypeError
        getattr(functional, name)(torch.tensor(x), *args, **options)


# kernel, stride, padding
WINDOWS = [
    (1, None, 0),
    (1, 2, 0),
    (2, None, 0),
    (2, 1, 1),
    (3, 2, 1),
    (3, 1, 1),
    (3, 1, 0),
    (3, 3, 1),
    (3, 5, 1),
    (4, 2, 2),
    (5, 3, 2),
    (6, 4, 3),
]


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
def test_max_pool(kernel, stride, padding, dilation, ceil):
    most = dilation * (kernel - 1) + 1
    for size in {max(most - padding, 1), most + 3, 37}:
        args = (kernel, stride, padding, dilation, ceil, True)
        check("max_pool1d", (2, 3, size), *args)
        check("max_pool1d", (3, size), *args, ties=True)
        if size < 20:
            check("max_pool2d", (2, 2, size, size + 1), *args, ties=True)


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
def test_avg_pool(kernel, stride, padding, ceil, counted):
    for size in {max(kernel - padding, 1), kernel + 3, 37}:
        args = (kernel, stride, padding, ceil, counted)
        check("avg_pool1d", (2, 3, size), *args)
        check("avg_pool1d", (3, size), *args)
        if size < 20:
            check("avg_pool2d", (2, 2, size, size + 1), *args)
            check("avg_pool2d", (2, size, size), *args, 5)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 2), (2, 1), (1, 0), (1, 2)),
        ((1, 5), (3, 2), (0, 2), (1, 1)),
        ((2, 3), None, (1, 1), (3, 1)),
        ([4, 1], [1, 4], [2, 0], [1, 1]),
        ((5,), (2,), (1,), (1,)),
    ],
)
def test_sizes_for_each_dimension(kernel, stride, padding, dilation):
    for shape, ceil in itertools.product([(2, 2, 9, 11), (3, 8, 17)], [False, True]):
        check("max_pool2d", shape, kernel, stride, padding, dilation, ceil)
        check("avg_pool2d", shape, kernel, stride, padding, ceil)


@pytest.mark.parametrize(
    "shape", [(2, 3, 7, 5), (4, 9, 12), (1, 2, 1, 1), (0, 2, 5, 6)]
)
@pytest.mark.parametrize(
    "out", [1, 2, 3, 5, 8, (3, None), (None, 2), (1, 4), [6, 5], (7, 5)]
)
def test_adaptive_pool2d(shape, out):
    check("adaptive_avg_pool2d", shape, out)
    check("adaptive_max_pool2d", shape, out)
    check("adaptive_max_pool2d", shape, out, return_indices=True)


@pytest.mark.parametrize("shape", [(2, 3, 7), (4, 12), (1, 2, 1)])
@pytest.mark.parametrize("out", [1, 2, 3, 5, 12, 17])
def test_adaptive_pool1d(shape, out):
    check("adaptive_avg_pool1d", shape, out)
    check("adaptive_max_pool1d", shape, out, return_indices=True)


def test_maxima_of_what_is_not_finite():
    """NaN wins, the last one; the first of infinities."""
    rng = np.random.default_rng(3)
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])
    for trial in range(40):
        few = values[rng.integers(0, 6, 3)]
        x = few[rng.integers(0, 3, (1, 9, 10))]
        for args in ((3, 2, 1), (2, 1, 0, 2), (4, 4, 2), (3, 1, 1, 1, True)):
            if len(args) < 4:
                args = (*args, 1)
            if len(args) < 5:
                args = (*args, False)
            y, i = ours.max_pool2d(fastnn.tensor(x), *args, True)
            z, j = functional.max_pool2d(torch.tensor(x), *args, True)
            np.testing.assert_array_equal(y.numpy(), z.numpy())
            np.testing.assert_array_equal(i.numpy(), j.numpy(), f"{trial} {args}")
            plain = ours.max_pool2d(fastnn.tensor(x), *args)
            np.testing.assert_array_equal(plain.numpy(), z.numpy())
        y, i = ours.adaptive_max_pool2d(fastnn.tensor(x), (4, 3), True)
        z, j = functional.adaptive_max_pool2d(torch.tensor(x), (4, 3), True)
        np.testing.assert_array_equal(y.numpy(), z.numpy())
        np.testing.assert_array_equal(i.numpy(), j.numpy())


@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("max_pool2d", (2, 4, 4), (0,)),
        ("max_pool2d", (2, 4, 4), (2, -1)),
        ("max_pool2d", (2, 4, 4), (2, 2, 2)),
        ("max_pool2d", (2, 4, 4), (5,)),
        ("max_pool2d", (2, 4, 4), (2, 1, 0, 0)),
        ("max_pool2d", (2, 4, 4), ((2, 2, 2),)),
        ("max_pool2d", (4, 4), (2,)),
        ("max_pool2d", (1, 2, 0, 4), (2,)),
        ("max_pool1d", (4,), (2,)),
        ("max_pool1d", (2, 3, 4, 4), (2,)),
        ("avg_pool2d", (2, 4, 4), (0,)),
        ("avg_pool2d", (2, 4, 4), (2, 2, 2)),
        ("avg_pool2d", (2, 4, 4), (5,)),
        ("avg_pool2d", (2, 4, 4), (2, 2, 0, False, True, 0)),
        ("avg_pool1d", (4,), (2,)),
        ("adaptive_avg_pool2d", (2, 4, 4), ((1, 2, 3),)),
        ("adaptive_avg_pool2d", (2, 4, 4), (-1,)),
        ("adaptive_max_pool2d", (4, 4), (1,)),
        ("adaptive_max_pool2d", (2, 0, 4), (1,)),
        ("interpolate", (1, 2, 3), ()),
        ("interpolate", (1, 2, 3), (4, 2.0)),
        ("interpolate", (2, 3), (4,)),
        ("interpolate", (1, 2, 3), ((4, 4),)),
        ("interpolate", (1, 2, 3), (4, None, "bilinear")),
        ("interpolate", (1, 2, 3, 3), (4, None, "linear")),
        ("interpolate", (1, 2, 3, 3), (4, None, "nearest", True)),
        ("interpolate", (1, 2, 3, 3), (0,)),
        ("interpolate", (1, 2, 3, 3), (4, None, "cubic")),
        ("pad", (2, 3, 4), ((1, 4), "reflect")),
        ("pad", (2, 3, 4), ((5, 0), "circular")),
        ("pad", (2, 3, 4), ((1, 1, 1), "reflect")),
        ("pad", (2, 3, 4), ((1, 1), "mirror")),
        ("pad", (2, 3, 4), ((1, 1), "replicate", 2.0)),
        ("pad", (2, 3, 4), ((-3, -3),)),
        ("unfold", (2, 3, 4), (5,)),
        ("unfold", (3, 4), (2,)),
        ("unfold", (2, 3, 4), (0,)),
        ("fold", (2, 8, 5), (3, 2)),
        ("fold", (2, 7, 4), (3, 2)),
        ("dropout1d", (3,), (0.5,)),
        ("dropout2d", (2, 3, 4, 4), (1.5,)),
    ],
)
def test_what_is_refused(name, shape, args):
    both_refuse(name, np.zeros(shape), *args)


# ---- resizing -----------------------------------------------------------------------------

SIZES = [(5, 7), (1, 1), (10, 14), (3, 20), (25, 2), (15, 21)]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "area"])
@pytest.mark.parametrize("size", SIZES)
def test_interpolate_to_sizes(size, mode):
    for shape in [(2, 3, 5, 7), (1, 1, 1, 1), (1, 2, 16, 3)]:
        check("interpolate", shape, size, mode=mode)
        if mode == "bilinear":
            check("interpolate", shape, size, mode=mode, align_corners=True)
    check("interpolate", (2, 3, 9), size[0], mode=mode.replace("bi", ""))
    if mode == "bilinear":
        check("interpolate", (2, 3, 9), size[0], None, "linear", True)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
@pytest.mark.parametrize("scale", [2, 0.5, 1.5, 1.3, 0.7, 3, (2.5, 0.6), 1 / 3])
def test_interpolate_by_scales(scale, mode):
    for shape in [(2, 3, 5, 7), (1, 2, 11, 6)]:
        for again in (None, True):
            options = {"mode": mode, "recompute_scale_factor": again}
            check("interpolate", shape, None, scale, **options)


def test_nearest_neighbours_of_every_size():
    """Positions are rounded as PyTorch rounds them."""
    for n in range(1, 40):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, n)
        for m in range(1, 60):
            for mode in ("nearest", "nearest-exact"):
                y = ours.interpolate(fastnn.tensor(x), m, mode=mode)
                z = functional.interpolate(torch.tensor(x), m, mode=mode)
                assert y.tolist() == z.tolist(), (n, m, mode)


# ---- margins ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "widths", [(1, 2), (0, 3), (2, 0), (-1, 1), (1, -2), (3, 3), (-2, -2)]
)
def test_pad(widths, mode):
    for shape in [(2, 3, 5), (3, 6)]:
        if mode == "circular" and min(widths) < 0 < max(widths):
            continue  # PyTorch's margin comes from what was cut off, partly unset
        check("pad", shape, widths, mode)
    check("pad", (2, 3, 4, 6), (*widths, 1, 1), mode)
    check("pad", (2, 6, 5), (2, 1, *widths), mode)
    check("pad", (1, 2, 4, 6, 5), (1, 2, *widths, 1, 0), mode)


# ---- patches ------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 2, 3, (2, 3)])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("padding", [0, 1, (0, 4)])
@pytest.mark.parametrize("dilation", [1, 2, (1, 2)])
def test_unfold_and_fold(kernel, stride, padding, dilation):
    args = (kernel, dilation, padding, stride)
    for shape in [(2, 2, 6, 7), (3, 5, 5)]:
        check("unfold", shape, *args)
        columns = functional.unfold(torch.zeros(shape), *args).shape
        check("fold", tuple(columns), shape[-2:], *args)
