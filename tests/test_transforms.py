"""Augmentation: each transform against NumPy, its random numbers, batches and dtypes."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import transforms as t
from fastnn.transforms import geometry, mixing

PICTURES = np.random.default_rng(0).random((6, 3, 9, 12)).astype(np.float32)


def seeded(seed=7):
    return fastnn.Generator(seed)


def every():
    """One of each transform that takes images alone, drawing from a generator."""
    g = seeded
    return [
        t.RandomAffine(20, (0.2, 0.2), (0.8, 1.2), 10, "bilinear", generator=g()),
        t.RandomRotation(45, "bilinear", generator=g()),
        t.RandomHorizontalFlip(generator=g()),
        t.RandomVerticalFlip(generator=g()),
        t.ElasticTransform(20.0, 2.0, generator=g()),
        t.ElasticTransform((20.0, 5.0), (2.0, 0.0), generator=g()),
        t.RandomCrop(8, padding=2, padding_mode="reflect", generator=g()),
        t.CenterCrop(5),
        t.Pad(2),
        t.Resize(7),
        t.GaussianBlur(5, generator=g()),
        t.GaussianNoise(generator=g()),
        t.ColorJitter(0.4, 0.4, 0.4, 0.2, generator=g()),
        t.RandomErasing(1.0, generator=g()),
        t.Cutout(4, 2, generator=g()),
        t.Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
        t.RandomApply([t.GaussianNoise(generator=g())], generator=g()),
    ]


EVERY = pytest.mark.parametrize("k", range(len(every())))
RANDOM = [k for k, a in enumerate(every()) if a.generator]


def identical(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()


# ---- what all have in common ------------------------------------------------------------


@EVERY
def test_arrays_tensors_and_what_belongs_to_them(k):
    x = PICTURES.copy()
    y = every()[k](x)
    identical(x, PICTURES)  # left as it was
    assert isinstance(y, np.ndarray) and y.dtype == np.float32
    tensor = every()[k](fastnn.tensor(x))
    assert isinstance(tensor, fastnn.Tensor)
    identical(tensor.numpy(), y)
    pair = every()[k](x, "label")
    identical(pair[0], y)
    assert pair[1] == "label"
    identical(every()[k](x[:, :, ::-1][:, :, ::-1]), y)  # other strides
    assert every()[k](x.astype(np.float64)).dtype == np.float64
    frozen = PICTURES.copy()
    frozen.flags.writeable = False
    identical(every()[k](frozen), y)
    assert repr(every()[k]).startswith(type(every()[k]).__name__ + "(")


@EVERY
def test_a_batch_is_its_images_one_by_one(k):
    transform = every()[k]
    x = fastnn.tensor(PICTURES)
    if isinstance(transform, t.RandomApply):
        pytest.skip("its transforms draw for those chosen")
    params = transform.make_params(x.shape)
    whole = transform.apply(x, params).numpy()
    for i in range(len(PICTURES)):
        own = params
        if isinstance(transform, t.ColorJitter):
            own = (params[0], params[1][i : i + 1])
        elif isinstance(transform, t.RandomErasing):
            own = (params[0][i : i + 1], None)
        elif params is not None:
            own = params[i : i + 1]
        identical(transform.apply(x[i : i + 1], own).numpy(), whole[i : i + 1])


@pytest.mark.parametrize("k", RANDOM)
def test_the_seed_decides_and_images_differ(k, as_before):
    same = np.repeat(PICTURES[:1], 16, 0)
    first = every()[k]
    a, b = first(same), first(same)
    assert not np.array_equal(a, b)
    fastnn.set_num_threads(3)
    identical(every()[k](same), a)
    assert len({image.tobytes() for image in a}) > 1


@EVERY
def test_dimensions(k):
    if isinstance(every()[k], t.Normalize):
        grey = t.Normalize(0.5, 0.5)
        assert grey(PICTURES[0, 0]).shape == (9, 12)
        return
    whole, one, plane = (every()[k](x) for x in (PICTURES, PICTURES[0], PICTURES[0, 0]))
    assert one.shape == whole.shape[1:] and plane.shape == whole.shape[2:]
    assert every()[k](PICTURES[:0]).shape == (0, *whole.shape[1:])
    for wrong in (PICTURES[0, 0, 0], PICTURES[None]):
        with pytest.raises(ValueError, match="got shape"):
            every()[k](wrong)
    with pytest.raises(TypeError, match="NumPy array or a Tensor"):
        every()[k]([[1.0]])
    with pytest.raises(TypeError, match="float32, float64 or uint8"):
        every()[k](PICTURES.astype(np.int64))
    with pytest.raises(TypeError, match="got nothing"):
        every()[k]()


@EVERY
def test_bytes(k):
    x = (PICTURES * 255).round().astype(np.uint8)
    if isinstance(every()[k], t.Normalize):
        with pytest.raises(TypeError, match="ConvertImageDtype"):
            every()[k](x)
        return
    y = every()[k](x)
    assert y.dtype == np.uint8
    close = every()[k](x.astype(np.float32) / 255)
    assert np.abs(np.clip(close, 0, 1) * 255 - y).max() <= 0.502


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 1)])
@EVERY
def test_tiny_images(k, size):
    transform = every()[k]
    if isinstance(transform, t.RandomCrop):
        transform = t.RandomCrop(3, pad_if_needed=True)
    x = np.ones((2, 3, *size), np.float32)
    assert np.isfinite(transform(x)).all()


# ---- geometry ---------------------------------------------------------------------------

STILL = [
    t.RandomAffine(0),
    t.RandomAffine(0, (0, 0), (1, 1), 0, "bilinear"),
    t.RandomRotation(0, "bilinear"),
    t.RandomRotation((360, 360), "bilinear"),
    t.RandomHorizontalFlip(0.0),
    t.ElasticTransform(0.0),
    t.ElasticTransform(0.0, 0.0, "nearest"),
    t.RandomCrop((9, 12)),
    t.Pad(0),
    t.CenterCrop((9, 12)),
    t.Resize((9, 12)),
    t.GaussianNoise(0, 0, clip=False),
    t.ColorJitter(),
    t.RandomErasing(0.0),
    t.Cutout(3, p=0.0),
    t.RandomApply([t.GaussianNoise()], 0.0),
]


@pytest.mark.parametrize("transform", STILL, ids=repr)
def test_nothing_to_do_changes_no_bit(transform):
    identical(transform(PICTURES), PICTURES)


@pytest.mark.parametrize("transform", STILL[:10], ids=repr)
def test_not_even_where_pixels_are_no_numbers(transform):
    wild = PICTURES.copy()
    wild[0, 0, ::3, ::2] = np.nan
    wild[1, 1, 4, 5] = np.inf
    identical(transform(wild), wild)


def test_right_angles_and_flips_move_pixels_as_they_are():
    x = PICTURES[:, :, :, :9]
    for turns in range(-4, 5):
        for how in ("nearest", "bilinear"):
            y = t.RandomRotation((90 * turns, 90 * turns), how)(x)
            identical(y, np.ascontiguousarray(np.rot90(x, turns, (2, 3))))
    identical(t.RandomHorizontalFlip(1.0)(x), np.ascontiguousarray(x[..., ::-1]))
    identical(t.RandomVerticalFlip(1.0)(x), np.ascontiguousarray(x[..., ::-1, :]))


def test_sine_and_cosine():
    degrees = np.concatenate([np.linspace(-720, 720, 4321), [1e-9, 89.999999]])
    s, c = geometry.sine_and_cosine(degrees)
    np.testing.assert_allclose(s, np.sin(np.radians(degrees)), atol=3e-15)
    np.testing.assert_allclose(c, np.cos(np.radians(degrees)), atol=3e-15)
    right = geometry.sine_and_cosine(np.array([0.0, 90, 180, 270, -90]))
    assert right[0].tolist() == [0, 1, 0, -1, -1]
    assert right[1].tolist() == [1, 0, -1, 0, 0]


def forward_matrix(angle, translate, scale, shear, centre):
    """p -> A (p - c) + c + t as a product of 3 x 3 matrices, clockwise for y down."""
    a, sx, sy = np.radians([angle, *shear])
    place, back = np.eye(3), np.eye(3)
    place[:2, 2] = np.add(centre, translate)
    back[:2, 2] = np.negative(centre)
    turn = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    down = [[1, 0, 0], [-np.tan(sy), 1, 0], [0, 0, 1]]
    along = [[1, -np.tan(sx), 0], [0, 1, 0], [0, 0, 1]]
    zoom = np.diag([scale, scale, 1])
    return place @ turn @ down @ along @ zoom @ back


def bilinear(image, x, y, fill):
    """One pixel between four (image (h, w), float64)."""
    h, w = image.shape
    j, i = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for a in range(2):
        for b in range(2):
            weight = (1 - abs(y - i - a)) * (1 - abs(x - j - b))
            inside = 0 <= i + a < h and 0 <= j + b < w
            total += weight * (image[i + a, j + b] if inside else fill)
    return total


def test_affine_maps_against_a_product_of_matrices():
    rng = np.random.default_rng(3)
    n, centre = 6, (5.5, 4.0)
    angle, scale = rng.uniform(-180, 180, n), rng.uniform(0.5, 2, n)
    translate, shear = rng.integers(-3, 4, (n, 2)), rng.uniform(-40, 40, (n, 2))
    theta = geometry.inverse_affine(centre, angle, translate, scale, shear)
    x = PICTURES.astype(np.float64)
    y = geometry.warp(fastnn.tensor(x), theta, None, "bilinear", 0, 0.25).numpy()
    for k in range(n):
        inverse = np.linalg.inv(
            forward_matrix(angle[k], translate[k], scale[k], shear[k], centre)
        )
        np.testing.assert_allclose(theta[k], inverse[:2], atol=1e-12)
        for i, j in np.ndindex(9, 12):
            px, py, _ = inverse @ [j, i, 1]
            for c in range(3):
                wanted = bilinear(x[k, c], px, py, 0.25)
                assert abs(y[k, c, i, j] - wanted) < 1e-9


def test_directions():
    dot = np.zeros((21, 21), np.float32)
    dot[10, 18] = 1  # to the right of the middle

    def found(transform):
        return tuple(int(v) for v in np.argwhere(transform(dot) > 0.5)[0])

    assert found(t.RandomRotation((90, 90))) == (2, 10)  # counter-clockwise: up
    assert found(t.RandomAffine((90, 90))) == (18, 10)  # clockwise: down
    assert found(t.RandomAffine(0, scale=(0.5, 0.5), interpolation="bilinear")) == (
        10,
        14,
    )
    assert found(t.RandomAffine(0, shear=(0, 0, 45, 45))) == (2, 18)
    assert found(t.RandomRotation((90, 90), center=(18.5, 10.5))) == (10, 18)


def test_ranges_of_affine_maps():
    x = np.zeros((500, 1, 20, 30), np.float32)
    params = t.RandomAffine((-10, 20), (0.1, 0.3), (0.5, 2), (5, 6)).make_params(
        x.shape
    )
    det = params[:, 0, 0] * params[:, 1, 1] - params[:, 0, 1] * params[:, 1, 0]
    scale = det**-0.5
    assert 0.5 <= scale.min() < 0.6 and 1.9 < scale.max() <= 2
    shifts = t.RandomAffine(0, (0.1, 0.3)).make_params(x.shape)[:, :, 2]
    assert np.array_equal(shifts, np.round(shifts))
    assert np.abs(shifts).max(0).tolist() == [3, 6]


def test_elastic_against_numpy():
    transform = t.ElasticTransform((20.0, 10.0), (2.0, 1.0), generator=seeded())
    x = PICTURES.astype(np.float64)
    field = transform.make_params(x.shape)
    noise = fastnn.uniform((6, 2, 9, 12), -1, 1, generator=seeded()).numpy()
    for axis, (alpha, sigma, size) in enumerate(((20, 2.0, 17), (10, 1.0, 9))):
        places = np.arange(size) - size // 2
        taps = np.exp(-0.5 * (places / sigma) ** 2)
        taps /= taps.sum()
        r = size // 2
        wide = np.pad(noise[:, axis], ((0, 0), (r, r), (r, r)), mode="reflect")
        smooth = np.zeros((6, 9, 12))
        for a, b in np.ndindex(size, size):
            smooth += taps[a] * taps[b] * wide[:, a : a + 9, b : b + 12]
        np.testing.assert_allclose(
            field[:, axis].numpy(), smooth * alpha / 2, atol=1e-5
        )
    y = transform.apply(fastnn.tensor(x), field).numpy()
    moved = field.numpy().astype(np.float64)
    for i, j in np.ndindex(9, 12):
        dx, dy = moved[2, :, i, j]
        assert abs(y[2, 1, i, j] - bilinear(x[2, 1], j + dx, i + dy, 0.0)) < 1e-9


# ---- shape ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_and_crops_against_numpy(mode):
    width = ((0, 0), (0, 0), (2, 4), (1, 3))  # left 1, top 2, right 3, bottom 4
    how = {"constant_values": 0.5} if mode == "constant" else {}
    padded = np.pad(PICTURES, width, mode=mode, **how)
    identical(t.Pad((1, 2, 3, 4), 0.5, mode)(PICTURES), padded)
    crop = t.RandomCrop((7, 8), (1, 2, 3, 4), False, 0.5, mode, seeded())
    starts = crop.make_params(PICTURES.shape).astype(int)
    y = crop.apply(fastnn.tensor(PICTURES), starts).numpy()
    for k, (left, top) in enumerate(starts):
        window = padded[k, :, top + 2 : top + 9, left + 1 : left + 9]
        identical(y[k], np.ascontiguousarray(window))


def test_crops_reach_every_place():
    starts = t.RandomCrop(5, padding=1).make_params((2000, 1, 6, 5))
    assert np.unique(starts[:, 0]).tolist() == [-1, 0, 1]
    assert np.unique(starts[:, 1]).tolist() == [-1, 0, 1, 2]
    with pytest.raises(ValueError, match="pad_if_needed"):
        t.RandomCrop(10)(PICTURES)
    identical(t.CenterCrop((5, 4))(PICTURES), PICTURES[:, :, 2:7, 4:8].copy())


def test_resize():
    # an average of a whole number of pixels, weighted by a triangle
    x = np.arange(8.0)[None]
    weights = np.maximum(1 - np.abs(np.arange(8) - 3.5) / 8, 0)
    wanted = (weights * x).sum() / weights.sum()
    np.testing.assert_allclose(t.Resize((1, 1))(x), [[wanted]])
    line = t.Resize((1, 16))(x)[0]
    np.testing.assert_allclose(line[1:-1], np.arange(14) * 0.5 + 0.25)
    assert t.Resize(4)(PICTURES).shape == (6, 3, 4, 5)
    assert t.Resize(18, max_size=20)(PICTURES).shape == (6, 3, 15, 20)
    identical(
        t.Resize((18, 24), "nearest")(PICTURES), PICTURES.repeat(2, 2).repeat(2, 3)
    )


def test_conversions():
    x = np.random.default_rng(1).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    y = t.ToTensor()(x)
    identical(y.numpy(), np.ascontiguousarray((x / np.float32(255)).transpose(2, 0, 1)))
    assert t.ToTensor()(x[None]).shape == (1, 3, 5, 4)
    assert t.ToTensor()(x[..., 0]).shape == (1, 5, 4)
    floats = t.ConvertImageDtype(fastnn.float32)(x)
    identical(floats, x / np.float32(255))
    identical(t.ConvertImageDtype(fastnn.uint8)(floats), x)


# ---- colours ----------------------------------------------------------------------------


def test_normalize():
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 4.0])
    wanted = (PICTURES - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(t.Normalize(mean, std)(PICTURES), wanted, atol=1e-6)
    x = PICTURES.copy()
    assert t.Normalize(mean, std, inplace=True)(x) is x
    np.testing.assert_allclose(x, wanted, atol=1e-6)
    with pytest.raises(ValueError, match="3 channels"):
        t.Normalize((1, 2), 1)(PICTURES)


def test_colours_against_colorsys():
    import colorsys

    transform = t.ColorJitter(0.5, 0.5, 0.5, 0.5)
    x = PICTURES.astype(np.float64)
    x[0, :, 0] = 0.5  # grey has no hue
    factors = np.array([[1.3, 0.6, 1.4, 0.3]] * 6)
    y = transform.apply(fastnn.tensor(x), ([3, 0, 2, 1], factors)).numpy()
    for k in range(2):
        image = np.moveaxis(x[k], 0, -1).copy()
        for i, j in np.ndindex(9, 12):
            h, s, v = colorsys.rgb_to_hsv(*image[i, j])
            image[i, j] = colorsys.hsv_to_rgb((h + 0.3) % 1, s, v)
        image = np.clip(image * 1.3, 0, 1)
        grey = image @ [0.2989, 0.587, 0.114]
        image = np.clip(image * 1.4 - 0.4 * grey[..., None], 0, 1)
        grey = image @ [0.2989, 0.587, 0.114]
        image = np.clip(image * 0.6 + 0.4 * grey.mean(), 0, 1)
        np.testing.assert_allclose(np.moveaxis(y[k], 0, -1), image, atol=1e-9)


def test_noise_and_blur():
    zeros = np.zeros((50, 1, 40, 40), np.float32)
    noise = t.GaussianNoise(0.5, 0.1, clip=False, generator=seeded())(zeros)
    assert abs(noise.mean() - 0.5) < 0.002 and abs(noise.std() - 0.1) < 0.002
    assert t.GaussianNoise(sigma=5.0)(zeros).min() == 0
    dot = np.zeros((9, 9))
    dot[4, 4] = 1
    y = t.GaussianBlur((5, 3), 0.8)(dot)
    along, down = (np.exp(-0.5 * (np.arange(-r, r + 1) / 0.8) ** 2) for r in (2, 1))
    wanted = np.outer(down / down.sum(), along / along.sum())
    np.testing.assert_allclose(y[3:6, 2:7], wanted, rtol=1e-12)


def test_erasing():
    ones = np.ones((400, 2, 20, 30), np.float32)
    y = t.RandomErasing(0.5, (0.1, 0.2), (0.5, 2.0), (2.0, 3.0), generator=seeded())(
        ones
    )
    shares = (y != 1).any(1).mean((1, 2))
    assert 0.4 < (shares > 0).mean() < 0.6
    assert shares[shares > 0].min() > 0.08 and shares.max() < 0.22
    assert set(np.unique(y[:, 0])) == {1, 2} and set(np.unique(y[:, 1])) == {1, 3}
    holes = (t.Cutout(8, generator=seeded())(ones) == 0).all(1).sum((1, 2))
    assert holes.max() == 64 and 16 <= holes.min() < 64
    identical(t.RandomErasing(1.0, (1.0, 1.0))(ones), ones)  # none fits


# ---- mixing, composing ------------------------------------------------------------------


def test_mixup():
    labels = np.array([0, 1, 2, 0, 1, 2])
    mix = t.MixUp(0.4, 3, seeded())
    lam = mixing.beta(6, 0.4, seeded())[:, None]
    x, y = mix(PICTURES, labels)
    hot = np.eye(3)[labels]
    np.testing.assert_allclose(y, lam * hot + (1 - lam) * np.roll(hot, 1, 0), atol=1e-6)
    lam = lam[..., None, None]
    wanted = lam * PICTURES + (1 - lam) * np.roll(PICTURES, 1, 0)
    np.testing.assert_allclose(x, wanted, atol=1e-6)
    again = t.MixUp(0.4)(fastnn.tensor(PICTURES), fastnn.tensor(y))[1]
    np.testing.assert_allclose(again.numpy().sum(1), 1, atol=1e-6)
    for args, error in (
        ((PICTURES,), TypeError),
        ((PICTURES, labels[:3]), ValueError),
        ((PICTURES[0], labels), ValueError),
        ((PICTURES, [1]), TypeError),
    ):
        with pytest.raises(error, match="MixUp"):
            mix(*args)
    with pytest.raises(ValueError, match="num_classes"):
        t.MixUp()(PICTURES, labels)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 4.0])
def test_beta(alpha):
    lam = mixing.beta(20000, alpha, seeded())
    assert lam.min() >= 0 and lam.max() <= 1
    assert abs(lam.mean() - 0.5) < 0.015
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(lam.var() - variance) < 0.03 * variance + 1e-3


def test_compose_lambda_and_random_apply():
    double = t.Lambda(lambda x: x * 2)
    both = t.Compose([double, t.Pad(1), t.MixUp(1.0, 3)])
    x, y = t.Compose([t.Pad(1), t.MixUp(1.0, 3)])(PICTURES, np.zeros(6, int))
    assert x.shape == (6, 3, 11, 14) and y.shape == (6, 3)
    assert "Pad(padding=(1, 1, 1, 1)" in repr(both)
    some = t.RandomApply([double], 0.5, seeded())(PICTURES)
    changed = (some != PICTURES).any((1, 2, 3))
    assert 0 < changed.sum() < 6
    identical(some[changed], PICTURES[changed] * 2)
    with pytest.raises(ValueError, match="keep the shape"):
        t.RandomApply([t.Pad(1)], 1.0)(PICTURES)
    with pytest.raises(TypeError, match="sequence"):
        t.Compose(double)
    with pytest.raises(TypeError, match="can be called"):
        t.Compose([1])
    with pytest.raises(TypeError, match="a function"):
        t.Lambda(1)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: t.RandomRotation("x"), TypeError, "degrees"),
        (lambda: t.RandomRotation(-5), ValueError, "degrees"),
        (lambda: t.RandomRotation((5, -5)), ValueError, "low, high"),
        (lambda: t.RandomRotation(5, "cubic"), ValueError, "'nearest', 'bilinear'"),
        (lambda: t.RandomRotation(5, expand=True), ValueError, "hint: Pad"),
        (lambda: t.RandomAffine(0, (2, 0)), ValueError, "translate from 0 to 1"),
        (lambda: t.RandomAffine(0, scale=(0, 1)), ValueError, "scale"),
        (lambda: t.RandomAffine(0, shear=(0, 95, 0, 0)), ValueError, "shear"),
        (lambda: t.RandomHorizontalFlip(1.5), ValueError, "from 0 to 1"),
        (lambda: t.RandomCrop(0), ValueError, "size of at least 1"),
        (lambda: t.RandomCrop(1.5), TypeError, "integers"),
        (lambda: t.Pad(-1), ValueError, "at least 0"),
        (lambda: t.Pad((1, 2, 3)), TypeError, "one, two or four"),
        (lambda: t.Pad(1, padding_mode="wrap"), ValueError, "'symmetric'"),
        (lambda: t.ElasticTransform(-1.0), ValueError, "alpha"),
        (lambda: t.GaussianBlur(4), ValueError, "odd"),
        (lambda: t.GaussianBlur(3, 0.0), ValueError, "sigma"),
        (lambda: t.GaussianNoise(sigma=-1), ValueError, "sigma"),
        (lambda: t.ColorJitter(-1), ValueError, "brightness"),
        (lambda: t.ColorJitter(hue=0.7), ValueError, "hue"),
        (lambda: t.ColorJitter(1)(PICTURES[:, :2]), ValueError, "1 or 3 channels"),
        (lambda: t.RandomErasing(scale=(0, 2)), ValueError, "scale"),
        (lambda: t.RandomErasing(value="grey"), ValueError, "'random'"),
        (lambda: t.RandomErasing(inplace=True), ValueError, "inplace"),
        (lambda: t.Cutout(3, value=(1, 2))(PICTURES), ValueError, "3 channels"),
        (lambda: t.Cutout(3, 0), ValueError, "num_holes"),
        (lambda: t.MixUp(0), ValueError, "alpha"),
        (lambda: t.Normalize(0, 0), ValueError, "std"),
        (lambda: t.Resize(10, max_size=5), ValueError, "max_size"),
        (lambda: t.ConvertImageDtype(fastnn.int64), TypeError, "dtype"),
        (lambda: t.Cutout(3, generator=1), TypeError, "Generator"),
    ],
)
def test_what_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


# ---- in the loader ----------------------------------------------------------------------


def loader(workers, **options):
    x = fastnn.tensor(PICTURES).repeat(5, 1, 1, 1)
    data = fastnn.data.TensorDataset(x, fastnn.arange(30) % 3)
    augment = t.Compose([t.RandomCrop(9, 2), t.GaussianNoise(), t.MixUp(0.5, 3)])
    return fastnn.data.DataLoader(
        data,
        8,
        shuffle=True,
        num_workers=workers,
        batch_transform=augment,
        generator=fastnn.Generator(5),
        **options,
    )


def run(batches):
    return [[part.numpy().tobytes() for part in batch] for batch in batches]


def test_the_loader_augments_in_the_background_the_same():
    plain, ahead = loader(0), loader(1, prefetch_factor=3)
    first = run(plain)
    fastnn.rand(17)  # what others draw is nothing to it
    assert run(ahead) == first
    second = run(plain)
    assert run(ahead) == second
    assert not {b[0] for b in first} & {b[0] for b in second}
    assert all(isinstance(batch, list) for batch in plain)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_is_resumed_with_the_same_augmentation(workers):
    whole = loader(workers)
    run(whole)
    batches = iter(whole)
    next(batches)
    state = whole.state_dict()
    rest = run(batches)
    after = run(whole)
    again = loader(workers)
    again.load_state_dict(state)
    assert run(again) == rest
    assert run(again) == after


def test_other_batches_and_any_function():
    seen = []

    def jitter(x):
        seen.append(x.shape)
        return x + fastnn.rand(x.shape)

    data = fastnn.zeros(10, 4)
    load = fastnn.data.DataLoader(data, 4, batch_transform=jitter)
    before = fastnn.get_rng_state()
    a = run([[b] for b in load])
    assert [s[0] for s in seen] == [4, 4, 2]
    fastnn.set_rng_state(before)
    assert run([[b] for b in load]) == a
    with pytest.raises(TypeError, match="batch_transform"):
        fastnn.data.DataLoader(data, batch_transform=3)

    def broken(x):
        raise RuntimeError("in the transform")

    bad = fastnn.data.DataLoader(data, 4, num_workers=1, batch_transform=broken)
    with pytest.raises(RuntimeError, match="in the transform"):
        next(iter(bad))
