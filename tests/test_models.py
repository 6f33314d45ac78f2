"""Networks by name: sizes, names of parameters, shapes, first values, and that they learn."""

import numpy as np
import pytest

import fastnn
from fastnn import models, nn, optim
from fastnn.nn import functional as F

# Published numbers of parameters: torchvision's documentation; for CIFAR, the papers'
# tables give 0.27, 0.85 and 1.7 millions (residual) and 36.5, 2.7 and 2.2 (wide).
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "mobilenet_v2": 3_504_872,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
}


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture
def no_draws(monkeypatch):
    """Large networks without their first values, which take most of the time."""
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda tensor, **_: tensor)
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, **_: tensor)
    monkeypatch.setattr(nn.init, "uniform_", lambda tensor, *_, **__: tensor)


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters(name, no_draws):
    assert count(getattr(models, name)()) == COUNTS[name]


def test_number_of_parameters_of_options(no_draws):
    assert count(models.LeNet()) == 61_706
    assert count(models.wide_resnet(28, 10)) == 36_479_194
    assert count(models.wide_resnet(16, 4)) == 2_748_890
    assert count(models.wide_resnet(40, 2)) == 2_243_546
    plain = models.cifar_resnet(20, residual=False)
    assert count(plain) == COUNTS["resnet20"]  # padding shortcuts learn nothing
    learned = models.cifar_resnet(20, shortcut="projection")
    assert count(learned) == COUNTS["resnet20"] + 16 * 32 + 64 + 32 * 64 + 128
    bare = models.cifar_resnet(20, batch_norm=False)  # one bias for two of a norm
    assert count(bare) == COUNTS["resnet20"] - (16 * 7 + 32 * 6 + 64 * 6)


def test_names_are_torchvisions(no_draws):
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]

    def block(prefix, convs, downsample):
        names = []
        for k in range(1, convs + 1):
            names.append(f"{prefix}.conv{k}.weight")
            names += [f"{prefix}.bn{k}.{n}" for n in norm]
        if downsample:
            names.append(f"{prefix}.downsample.0.weight")
            names += [f"{prefix}.downsample.1.{n}" for n in norm]
        return names

    for make, convs, layers, first in (
        (models.resnet18, 2, [2, 2, 2, 2], False),
        (models.resnet50, 3, [3, 4, 6, 3], True),
    ):
        names = ["conv1.weight", *(f"bn1.{n}" for n in norm)]
        for i, blocks in enumerate(layers):
            for k in range(blocks):
                down = k == 0 and (i > 0 or first)
                names += block(f"layer{i + 1}.{k}", convs, down)
        names += ["fc.weight", "fc.bias"]
        assert list(make().state_dict()) == names

    names = list(models.mobilenet_v2().state_dict())
    assert names[:6] == ["features.0.0.weight", *(f"features.0.1.{n}" for n in norm)]
    assert [
        n for n in names if n.startswith("features.1.") and n.endswith("weight")
    ] == [
        "features.1.conv.0.0.weight",
        "features.1.conv.0.1.weight",
        "features.1.conv.1.weight",
        "features.1.conv.2.weight",
    ]
    assert [
        n for n in names if n.startswith("features.2.") and n.endswith("weight")
    ] == [
        "features.2.conv.0.0.weight",
        "features.2.conv.0.1.weight",
        "features.2.conv.1.0.weight",
        "features.2.conv.1.1.weight",
        "features.2.conv.2.weight",
        "features.2.conv.3.weight",
    ]
    assert names[-3:] == [
        "features.18.1.num_batches_tracked",
        "classifier.1.weight",
        "classifier.1.bias",
    ]


SMALL = {
    "basic": lambda **k: models.resnet18(base_channels=4, **k),
    "bottleneck": lambda **k: models.resnet50(base_channels=4, **k),
    "groups": lambda **k: models.ResNet(
        models.Bottleneck, [1, 1], groups=4, width_per_group=32, base_channels=8, **k
    ),
    "wide": lambda **k: models.ResNet(
        models.Bottleneck, [1, 2], width_per_group=128, base_channels=4, **k
    ),
    "preact": lambda **k: models.preact_resnet18(base_channels=4, **k),
    "preact bottleneck": lambda **k: models.preact_resnet50(base_channels=4, **k),
    "cifar stem": lambda **k: models.resnet18(base_channels=4, stem="cifar", **k),
    "padding": lambda **k: models.resnet18(base_channels=4, shortcut="padding", **k),
    "preact padding": lambda **k: models.preact_resnet18(
        base_channels=4, shortcut="padding", **k
    ),
    "dilated": lambda **k: models.resnet18(
        base_channels=4, replace_stride_with_dilation=[False, True, True], **k
    ),
    "resnet8": lambda **k: models.cifar_resnet(8, **k),
    "plain": lambda **k: models.cifar_resnet(8, residual=False, **k),
    "plain, no norm": lambda **k: models.cifar_resnet(
        8, residual=False, batch_norm=False, **k
    ),
    "no norm": lambda **k: models.cifar_resnet(8, batch_norm=False, **k),
    "preact resnet8": lambda **k: models.cifar_resnet(8, pre_activation=True, **k),
    "wide 10": lambda **k: models.wide_resnet(10, 1, dropout=0.1, **k),
    "mobilenet": lambda **k: models.mobilenet_v2(width_mult=0.25, **k),
}


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_gradients(name):
    """Odd sizes, too; and every parameter has a part in the result."""
    fastnn.manual_seed(0)
    net = SMALL[name](num_classes=7)
    x = fastnn.randn(2, 3, 32, 40)
    y = net(x)
    assert y.shape == (2, 7)
    y.square().sum().backward()
    for key, p in net.named_parameters():
        assert p.grad is not None, key
        assert np.isfinite(p.grad.numpy()).all(), key
    net.eval()
    with fastnn.no_grad():
        assert net(fastnn.randn(1, 3, 33, 47)).shape == (1, 7)
        assert net(fastnn.randn(0, 3, 32, 32)).shape == (0, 7)


def test_sizes_of_stages():
    x = fastnn.zeros(1, 3, 64, 64)
    net = models.resnet18(base_channels=4).eval()
    assert net.features(x).shape == (1, 32, 2, 2)
    net = models.resnet18(base_channels=4, stem="cifar").eval()
    assert net.features(x).shape == (1, 32, 8, 8)
    net = models.resnet18(
        base_channels=4, replace_stride_with_dilation=[False, True, True]
    ).eval()
    assert net.features(x).shape == (1, 32, 8, 8)
    assert net.layer4[1].conv2.dilation == (4, 4)
    assert net.layer4[0].conv1.dilation == (2, 2)
    net = models.mobilenet_v2(width_mult=0.25).eval()
    assert net.features(x).shape == (1, 1280, 2, 2)


def test_lenet():
    for size, options in (
        (28, {}),
        (32, {"pool": "max"}),
        (20, {"activation": nn.ReLU}),
    ):
        net = models.LeNet(5, 2, size, **options)
        assert net(fastnn.zeros(3, 2, size, size)).shape == (3, 5)
    with pytest.raises(ValueError, match="LeNet: expected images of 16"):
        models.LeNet(image_size=15)
    with pytest.raises(ValueError, match="LeNet: expected pool"):
        models.LeNet(pool="median")


def test_first_values():
    fastnn.manual_seed(0)
    net = models.resnet18(base_channels=32)
    weight = net.layer3[0].conv1.weight.detach().numpy()  # fan out: 128 * 9
    assert abs(weight.std() / np.sqrt(2 / (128 * 9)) - 1) < 0.02
    fastnn.manual_seed(0)
    again = models.resnet18(base_channels=32).state_dict()
    assert all(np.array_equal(a, again[k]) for k, a in net.state_dict().items())
    net = models.mobilenet_v2(width_mult=0.25)
    assert abs(net.classifier[1].weight.detach().numpy().std() / 0.01 - 1) < 0.02
    assert not net.classifier[1].bias.detach().numpy().any()


@pytest.mark.parametrize("name", ["basic", "bottleneck", "preact", "preact bottleneck"])
def test_zero_init_residual(name):
    """A block without a projection is then the identity, up to its last relu."""
    net = SMALL[name](zero_init_residual=True)
    x = fastnn.rand(2, net.layer1[1].bn1.weight.shape[0], 6, 6)
    x = x if name != "bottleneck" else fastnn.rand(2, 16, 6, 6)
    assert np.array_equal(net.layer1[1](x).detach(), x)


def test_padding_shortcut():
    x = np.arange(2 * 2 * 3 * 3, dtype=np.float32).reshape(2, 2, 3, 3)
    y = models.ZeroPadShortcut(2, 3)(fastnn.from_numpy(x)).numpy()
    assert y.shape == (2, 5, 2, 2)
    assert np.array_equal(y[:, :2], x[:, :, ::2, ::2])
    assert not y[:, 2:].any()


def test_widths_are_rounded():
    from fastnn.models.mobilenetv2 import _rounded

    # The multiple of 8 that is nearest, never below 90%.
    for channels, expected in (
        (32, 32),
        (24 * 1.4, 32),
        (16 * 0.35, 8),
        (11, 16),
        (20, 24),
    ):
        assert _rounded(channels, 8) == expected


@pytest.mark.parametrize("name", ["cifar stem", "no norm", "wide 10", "mobilenet"])
def test_learns(name):
    """Eight images by heart."""
    fastnn.manual_seed(0)
    net = SMALL[name](num_classes=4)
    x, labels = fastnn.randn(8, 3, 16, 16), fastnn.tensor([0, 1, 2, 3] * 2)
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_compiled_is_eager():
    """A plan of a training step, and one of inference, give the same bits."""

    def trained(compiled):
        fastnn.manual_seed(0)
        net = models.cifar_resnet(8)
        optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

        def step(x, labels):
            loss = F.cross_entropy(net(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        step = fastnn.compile(step) if compiled else step
        x, labels = fastnn.randn(4, 3, 16, 16), fastnn.tensor([0, 1, 2, 3])
        losses = [step(x, labels).item() for _ in range(5)]
        net.eval()
        with fastnn.no_grad():
            predict = fastnn.compile(net) if compiled else net
            results = [predict(x).numpy() for _ in range(3)]
        return losses, results, {k: v.numpy() for k, v in net.state_dict().items()}

    eager, compiled = trained(False), trained(True)
    assert eager[0] == compiled[0]
    for a, b in zip(eager[1], compiled[1], strict=True):
        assert a.tobytes() == b.tobytes()
    for key, value in eager[2].items():
        assert value.tobytes() == compiled[2][key].tobytes(), key


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.resnet18(stem="mnist"), "ResNet: expected stem 'imagenet' or"),
        (lambda: models.resnet18(shortcut="none"), "ResNet: expected shortcut"),
        (lambda: models.resnet18(groups=2), "BasicBlock: expected groups 1"),
        (lambda: models.preact_resnet18(width_per_group=128), "PreActBlock: expected"),
        (lambda: models.resnet50(dropout=0.5), "Bottleneck: expected dropout 0"),
        (lambda: models.ResNet(models.BasicBlock, []), "ResNet: expected layers"),
        (
            lambda: models.resnet18(replace_stride_with_dilation=[True]),
            "ResNet: expected replace_stride_with_dilation for 3 stages",
        ),
        (
            lambda: models.ResNet(
                models.BasicBlock,
                [1],
                stem_channels=8,
                base_channels=4,
                shortcut="padding",
            ),
            "expected stages that grow",
        ),
        (lambda: models.cifar_resnet(21), "cifar_resnet: expected depth 6 n"),
        (lambda: models.wide_resnet(20), "wide_resnet: expected depth 6 n"),
        (
            lambda: models.InvertedResidual(8, 8, 3, 6),
            "InvertedResidual: expected stride",
        ),
        (
            lambda: models.mobilenet_v2(inverted_residual_setting=[(1, 2, 3)]),
            "MobileNetV2: expected inverted_residual_setting",
        ),
    ],
)
def test_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
