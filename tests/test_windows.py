"""Layers of pooling, resizing, margins, patches and whole channels dropped: values, options,
text, what they refuse, and that one plan serves every batch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_bits

import fastnn
from fastnn import nn
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.nn import functional as F


def image(*shape):
    return fastnn.tensor(np.random.default_rng(0).standard_normal(shape))


LAYERS = {
    "MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)": (
        nn.MaxPool2d(3, 2, 1),
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "MaxPool2d(kernel_size=(3, 2), stride=(3, 2), padding=0, dilation=1, ceil_mode=True)": (
        nn.MaxPool2d([3, 2], ceil_mode=True),
        lambda x: F.max_pool2d(x, (3, 2), ceil_mode=True),
    ),
    "AvgPool2d(kernel_size=3, stride=3, padding=1)": (
        nn.AvgPool2d(3, padding=1, count_include_pad=False, divisor_override=4),
        lambda x: F.avg_pool2d(x, 3, None, 1, False, False, 4),
    ),
    "AdaptiveAvgPool2d(output_size=1)": (
        nn.AdaptiveAvgPool2d(1),
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    "AdaptiveAvgPool2d(output_size=(3, None))": (
        nn.AdaptiveAvgPool2d([3, None]),
        lambda x: F.adaptive_avg_pool2d(x, (3, 9)),
    ),
    "AdaptiveMaxPool2d(output_size=2)": (
        nn.AdaptiveMaxPool2d(2),
        lambda x: F.adaptive_max_pool2d(x, 2),
    ),
    "Upsample(scale_factor=2.0, mode='nearest')": (
        nn.Upsample(scale_factor=2),
        lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3),
    ),
    "Upsample(size=(9, 4), mode='bilinear')": (
        nn.Upsample([9, 4], mode="bilinear"),
        lambda x: F.interpolate(x, (9, 4), mode="bilinear"),
    ),
    "UpsamplingNearest2d(size=5, mode='nearest')": (
        nn.UpsamplingNearest2d(5),
        lambda x: F.interpolate(x, 5),
    ),
    "UpsamplingBilinear2d(scale_factor=(1.5, 2.0), mode='bilinear')": (
        nn.UpsamplingBilinear2d(scale_factor=(1.5, 2)),
        lambda x: F.interpolate(x, None, (1.5, 2), "bilinear", True),
    ),
    "ConstantPad2d(padding=(1, 2, 0, -1), value=3)": (
        nn.ConstantPad2d((1, 2, 0, -1), 3),
        lambda x: F.pad(x, (1, 2, 0, -1), value=3),
    ),
    "ZeroPad2d((1, 1, 1, 1))": (nn.ZeroPad2d(1), lambda x: F.pad(x, (1,) * 4)),
    "ReflectionPad2d((2, 2, 2, 2))": (
        nn.ReflectionPad2d(2),
        lambda x: F.pad(x, (2,) * 4, "reflect"),
    ),
    "ReplicationPad2d((2, 1, 0, 3))": (
        nn.ReplicationPad2d((2, 1, 0, 3)),
        lambda x: F.pad(x, (2, 1, 0, 3), "replicate"),
    ),
    "CircularPad2d((1, 1, 1, 1))": (
        nn.CircularPad2d(1),
        lambda x: F.pad(x, (1,) * 4, "circular"),
    ),
    "Unfold(kernel_size=3, dilation=1, padding=1, stride=2)": (
        nn.Unfold(3, padding=1, stride=2),
        lambda x: F.unfold(x, 3, 1, 1, 2),
    ),
}
SEQUENCES = {
    "MaxPool1d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)": (
        nn.MaxPool1d(3, 2, 1),
        lambda x: F.max_pool1d(x, 3, 2, 1),
    ),
    "AvgPool1d(kernel_size=(2,), stride=(1,), padding=(0,))": (
        nn.AvgPool1d(2, 1),
        lambda x: (x[..., 1:] + x[..., :-1]) / 2,
    ),
    "AdaptiveAvgPool1d(output_size=4)": (
        nn.AdaptiveAvgPool1d(4),
        lambda x: F.adaptive_avg_pool1d(x, 4),
    ),
    "AdaptiveMaxPool1d(output_size=1)": (
        nn.AdaptiveMaxPool1d(1),
        lambda x: x.amax(-1, keepdim=True),
    ),
    "ConstantPad1d(padding=(1, 1), value=2.0)": (
        nn.ConstantPad1d(1, 2.0),
        lambda x: F.pad(x, (1, 1), value=2),
    ),
    "ZeroPad1d((0, 3))": (nn.ZeroPad1d((0, 3)), lambda x: F.pad(x, (0, 3))),
    "ReflectionPad1d((3, 1))": (
        nn.ReflectionPad1d((3, 1)),
        lambda x: F.pad(x, (3, 1), "reflect"),
    ),
    "ReplicationPad1d((2, 2))": (
        nn.ReplicationPad1d(2),
        lambda x: F.pad(x, (2, 2), "replicate"),
    ),
    "CircularPad1d((2, 2))": (
        nn.CircularPad1d(2),
        lambda x: F.pad(x, (2, 2), "circular"),
    ),
}


@pytest.mark.parametrize("text", [*LAYERS, *SEQUENCES])
def test_layers(text):
    layer, function = (LAYERS | SEQUENCES)[text]
    assert repr(layer) == text
    assert not list(layer.state_dict())
    x = image(2, 3, 7, 9) if text in LAYERS else image(2, 3, 11)
    y = layer(x)
    np.testing.assert_allclose(y.numpy(), function(x).numpy(), rtol=1e-14, atol=1e-14)
    if "amp" not in text:  # one sample, without a batch
        assert_same_bits(layer(x[1]), y[1])


def test_fold():
    layer = nn.Fold((7, 9), 3, padding=1, stride=2)
    assert repr(layer) == (
        "Fold(output_size=(7, 9), kernel_size=3, dilation=1, padding=1, stride=2)"
    )
    x = image(2, 3, 7, 9)
    columns = F.unfold(x, 3, 1, 1, 2)
    counts = F.fold(F.unfold(x * 0 + 1, 3, 1, 1, 2), (7, 9), 3, 1, 1, 2)
    np.testing.assert_allclose(layer(columns).numpy(), (x * counts).numpy(), rtol=1e-14)


def test_indices():
    x = image(2, 3, 6, 8)
    for layer in (
        nn.MaxPool2d(3, 2, 1, return_indices=True),
        nn.AdaptiveMaxPool2d((4, 3), return_indices=True),
    ):
        y, index = layer(x)
        assert index.dtype is fastnn.int64 and index.shape == y.shape
        found = x.flatten(2).gather(2, index.flatten(2))
        assert_same_bits(found.reshape(y.shape), y)
    with fastnn.no_grad():
        assert_same_bits(nn.MaxPool2d(3, 2, 1)(x), nn.MaxPool2d(3, 2, 1)(x))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.MaxPool2d(0), ValueError, "MaxPool2d: expected kernel_size"),
        (lambda: nn.MaxPool2d(2.0), TypeError, "MaxPool2d: expected kernel_size"),
        (lambda: nn.MaxPool1d(2, 0), ValueError, "MaxPool1d: expected stride"),
        (
            lambda: nn.AvgPool2d(2, padding=-1),
            ValueError,
            "AvgPool2d: expected padding",
        ),
        (lambda: nn.AvgPool1d("2"), TypeError, "AvgPool1d: expected kernel_size"),
        (lambda: nn.AdaptiveAvgPool2d(1.5), TypeError, "output_size"),
        (lambda: nn.AdaptiveMaxPool1d(-1), ValueError, "output_size"),
        (
            lambda: nn.ReflectionPad2d((1, 2)),
            ValueError,
            "ReflectionPad2d: .*4 of them",
        ),
        (lambda: nn.ZeroPad1d(0.5), TypeError, "ZeroPad1d: expected padding"),
        (lambda: nn.Unfold((0, 1)), ValueError, "Unfold: expected kernel_size"),
        (lambda: nn.Fold(4, True), TypeError, "Fold: expected kernel_size"),
        (lambda: nn.Dropout2d(2), ValueError, "Dropout2d: expected p"),
        (lambda: nn.MaxPool2d(2)(image(4, 4)), ValueError, "max_pool2d: .*c, h, w"),
        (lambda: nn.MaxPool2d(9)(image(1, 4, 4)), ValueError, "windows of 9"),
        (lambda: nn.CircularPad1d(1)(image(3)), ValueError, "CircularPad1d: .*c, l"),
        (lambda: nn.MaxPool2d(2)(image(1, 4, 4).long()), TypeError, "input.float"),
        (lambda: nn.Upsample()(image(1, 1, 4)), ValueError, "either size or scale"),
    ],
)
def test_errors(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_gradients_of_public_functions():
    rng = np.random.default_rng(2)
    x = rng.permutation(np.arange(70) * 0.1).reshape(1, 2, 5, 7)
    x = fastnn.tensor(x, requires_grad=True)
    for f in (
        lambda x: F.max_pool2d(x.transpose(2, 3), 3, 2, 1),
        lambda x: F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)[0],
        lambda x: F.avg_pool2d(x, (5, 7)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        lambda x: F.pad(x.unsqueeze(0), (1, 0, 0, 1, 1, 1, 0, 2, 1, 0), value=2),
        lambda x: F.interpolate(x.transpose(2, 3), (3, 9), mode="bilinear"),
        lambda x: F.unfold(x.transpose(2, 3), 2),
    ):
        assert gradcheck(f, x) and gradgradcheck(f, x, atol=2e-5)


def test_pad_of_many_dimensions():
    x = np.arange(2 * 2 * 3 * 2 * 2 * 2).reshape(2, 2, 3, 2, 2, 2)
    widths = (1, 0, 0, 1, 0, 0, 1, 1, -1, 2, 0, 1)
    y = F.pad(fastnn.tensor(x), widths, value=7)
    pairs = [(0, 1), (0, 2), (1, 1), (0, 0), (0, 1), (1, 0)]
    expected = np.pad(x[:, 1:], pairs, constant_values=7)
    np.testing.assert_array_equal(y.numpy(), expected)


# ---- whole channels -----------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_channels_are_dropped_whole(p):
    fastnn.manual_seed(1)
    for layer, shape in (
        (nn.Dropout2d(p), (60, 20, 3, 4)),
        (nn.Dropout2d(p), (60, 20, 3)),
        (nn.Dropout1d(p), (60, 20, 3)),
        (nn.Dropout1d(p), (1200, 3)),
    ):
        x = fastnn.ones(*shape, requires_grad=True)
        y = layer(x)
        rows = y.detach().numpy().reshape(1200, -1)
        assert (rows == rows[:, :1]).all()
        kept = rows[:, 0] != 0
        assert abs(kept.mean() - (1 - p)) < 0.05
        if p < 1:
            np.testing.assert_allclose(rows[kept], 1 / (1 - p), rtol=1e-6)
        y.sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
        assert layer.eval()(x) is x


def test_dropped_channels_in_place_and_seeded():
    x = fastnn.full((4, 6, 5), 3.0)
    a = F.dropout1d(x, 0.5, generator=fastnn.Generator(3))
    b = F.dropout2d(x, 0.5, generator=fastnn.Generator(3))
    c = fastnn.feature_dropout(x, 0.5, generator=fastnn.Generator(3))
    assert_same_bits(a, b)
    assert_same_bits(a, c)
    assert set(a.flatten().tolist()) == {0.0, 6.0}
    assert F.dropout1d(x, 0.5, True, True, generator=fastnn.Generator(3)) is x
    assert_same_bits(x, a)
    assert nn.Dropout2d(0.5, inplace=True)(x) is x
    assert F.dropout1d(x, 0.5, False) is x
    with pytest.raises(ValueError, match=r"dropout1d: expected input of shape"):
        F.dropout1d(fastnn.ones(3))
    with pytest.raises(ValueError, match="expected p from 0 to 1"):
        F.dropout2d(x, -1)
    with pytest.raises(TypeError, match="dropout2d: expected input of dtype"):
        F.dropout2d(x.long())


# ---- plans --------------------------------------------------------------------------------


def network():
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.MaxPool2d(3, 2, 1),
        nn.Dropout2d(0.3),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Unfold(2),
        nn.Fold((4, 5), 2),
        nn.CircularPad2d(1),
        nn.AdaptiveMaxPool2d((3, 4)),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def test_one_plan_serves_every_batch():
    def step(model, x):
        x = x.detach().requires_grad_()
        y = model(x)
        return y.detach(), fastnn.autograd.grad((y * y).sum(), x)[0]

    model = network()

    def run(x):
        return step(model, x)

    compiled = fastnn.compile(run)
    for n in (4, 4, 6, 6, 3, 9, 5):
        x = fastnn.tensor(image(n, 3, 6, 7).numpy())
        fastnn.manual_seed(n)
        expected = step(model, fastnn.tensor(x.numpy()))
        fastnn.manual_seed(n)
        got = compiled(x)
        assert_same_bits(got, expected, f"batch {n}")
    assert len(compiled.plans) == 1


def test_inference_in_a_plan():
    model = network().eval()
    compiled = fastnn.compile(model)
    with fastnn.no_grad():
        for n in (4, 4, 6, 6, 3, 9):
            x = image(n, 3, 6, 7)
            assert_same_bits(compiled(x), model(x), f"batch {n}")
    assert len(compiled.plans) == 1
