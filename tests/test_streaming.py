"""step(): input that arrives bit by bit gives the bits of the whole sequence."""

import numpy as np
import pytest

import fastnn
from fastnn import nn

LAYERS = {
    "tanh": lambda **o: nn.RNN(7, 9, **o),
    "relu": lambda **o: nn.RNN(7, 9, 2, nonlinearity="relu", **o),
    "gru": lambda **o: nn.GRU(7, 33, **o),
    "gru, 3 layers": lambda **o: nn.GRU(7, 9, 3, bias=False, **o),
    "lstm": lambda **o: nn.LSTM(7, 33, **o),
    "lstm, 2 layers": lambda **o: nn.LSTM(7, 9, 2, forget_bias=1.0, **o),
    "projected": lambda **o: nn.LSTM(7, 9, 2, proj_size=4, **o),
}


def random(*shape, dtype=fastnn.float32):
    values = np.random.default_rng(0).standard_normal(shape)
    return fastnn.from_numpy(values.astype(dtype.numpy))


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def same(a, b):
    return a.numpy().tobytes() == b.numpy().tobytes()


def stepped(step, x, state=None):
    """The outputs of x (steps, ...) one after the other, and the last state."""
    ys = []
    for t in range(len(x)):
        y, state = step(x[t], state)
        ys.append(y)
    return fastnn.stack(ys, 0), state


@pytest.mark.parametrize("compiled", ["", "step", "whole", "both"])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_layers(kind, batch, compiled):
    dtype = fastnn.float64 if compiled == "both" else fastnn.float32
    layer = LAYERS[kind](dtype=dtype)
    whole = fastnn.compile(layer) if compiled in ("whole", "both") else layer
    step = fastnn.compile(layer.step) if compiled in ("step", "both") else layer.step
    x = random(23, batch, 7, dtype=dtype)
    with fastnn.no_grad():
        for _ in range(3):  # until there are plans
            y, last = whole(x)
        ys, state = stepped(step, x)
        assert same(ys, y)
        for a, b in zip(parts(state), parts(last), strict=True):
            assert same(a, b)
        # From the middle, and on as a whole.
        _, middle = stepped(step, x[:10])
        rest, _ = whole(x[10:], middle)
        assert same(rest, y[10:])
        ys, _ = stepped(step, x[10:], whole(x[:10])[1])
        assert same(ys, y[10:])


@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_layers_in_other_forms(kind):
    layer, first = LAYERS[kind](), LAYERS[kind](batch_first=True)
    first.load_state_dict(layer.state_dict())
    x = random(12, 3, 7)
    with fastnn.no_grad():
        y, _ = layer(x)
        assert same(stepped(first.step, x)[0], y)
        assert same(stepped(layer.step, x[:, 1])[0], y[:, 1].contiguous())
        stateful = LAYERS[kind](stateful=True)
        stateful.load_state_dict(layer.state_dict())
        once, _ = stateful(x[:5])
        assert same(stepped(stateful.step, x)[0], y)  # beside what is carried
        assert same(fastnn.cat([once, stateful(x[5:])[0]]), y)


@pytest.mark.parametrize("dtype", [fastnn.float32, fastnn.float64])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    "channels", [(1, 1, 1), (6, 4, 1), (6, 12, 2), (8, 8, 8), (6, 12, 6), (40, 33, 1)]
)
def test_causal_convolution(channels, size, dilation, dtype):
    inputs, outputs, groups = channels
    layer = nn.CausalConv1d(inputs, outputs, size, dilation, groups, dtype=dtype)
    plain = nn.Conv1d(
        inputs, outputs, size, dilation=dilation, groups=groups, dtype=dtype
    )
    plain.load_state_dict(layer.state_dict())
    whole, step = fastnn.compile(layer), fastnn.compile(layer.step)
    for batch in (1, 3):
        x = random(batch, inputs, 19, dtype=dtype)
        steps = x.permute(2, 0, 1).contiguous()
        with fastnn.no_grad():
            y = layer(x)
            assert y.shape == (batch, outputs, 19)
            padded = nn.functional.pad(x, (layer.memory, 0))
            assert same(plain(padded), y)
            for _ in range(3):
                assert same(whole(x), y)
            expected = y.permute(2, 0, 1).contiguous()
            for one in (layer.step, step):
                ys, state = stepped(one, steps)
                assert same(ys, expected)
                assert same(state, padded[:, :, 19:].contiguous())
            assert same(layer(x[0]), y[0])
            assert same(
                stepped(layer.step, steps[:, 0])[0], expected[:, 0].contiguous()
            )


def test_causal_convolution_sees_no_future():
    layer = nn.CausalConv1d(2, 3, 3, dilation=2)
    x = random(1, 2, 12)
    y = layer(x)
    x[:, :, 6:] = float("nan")
    after = layer(x)
    assert same(
        after[:, :, :6].detach().contiguous(), y[:, :, :6].detach().contiguous()
    )
    assert after[:, :, 6].isnan().all().item()


def test_gradients_of_causal_convolution():
    layer = nn.CausalConv1d(2, 3, 3, dilation=2, dtype=fastnn.float64)
    x = random(2, 2, 9, dtype=fastnn.float64).requires_grad_()
    plain = nn.Conv1d(2, 3, 3, dilation=2, dtype=fastnn.float64)
    plain.load_state_dict(layer.state_dict())
    (layer(x) ** 2).sum().backward()
    found, x.grad = x.grad, None
    (plain(nn.functional.pad(x, (4, 0))) ** 2).sum().backward()
    np.testing.assert_allclose(found.numpy(), x.grad.numpy(), rtol=1e-12)
    for a, b in zip(layer.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)
    # step by step the graph is the same
    x.grad, state, ys = None, None, []
    for t in range(9):
        y, state = layer.step(x[:, :, t], state)
        ys.append(y)
    (fastnn.stack(ys, -1) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), found.numpy(), rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_state_can_be_saved(compiled, tmp_path):
    """In the middle of a stream, of layers one upon the other."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.CausalConv1d(7, 6, 3)
            self.lstm = nn.LSTM(6, 5, 2)
            self.gru = nn.GRU(5, 4)

        def forward(self, x):
            y = self.conv(x.permute(1, 2, 0)).permute(2, 0, 1)
            return self.gru(self.lstm(y)[0])[0]

        def step(self, x, state):
            a, b, c = state or (None, None, None)
            x, a = self.conv.step(x, a)
            x, b = self.lstm.step(x, b)
            x, c = self.gru.step(x, c)
            return x, (a, b, c)

    net = Net()
    step = fastnn.compile(net.step) if compiled else net.step
    x = random(20, 2, 7)
    with fastnn.no_grad():
        whole = net(x)
        first, state = stepped(step, x[:11])
        fastnn.save({"model": net.state_dict(), "state": state}, tmp_path / "stream.st")
        saved = fastnn.load(tmp_path / "stream.st")
        other = Net()
        other.load_state_dict(saved["model"])
        rest, _ = stepped(other.step, x[11:], saved["state"])
    assert same(fastnn.cat([first, rest]), whole)


def test_refusals():
    layer = nn.CausalConv1d(2, 3, 3)
    with pytest.raises(
        ValueError, match=r"CausalConv1d\.step: expected x of 1 or 2 dim"
    ):
        layer.step(fastnn.ones(1, 2, 3))
    with pytest.raises(ValueError, match=r"step: expected x with 2 channels"):
        layer.step(fastnn.ones(1, 3))
    for state in (fastnn.ones(1, 2, 3), 3):
        with pytest.raises(ValueError, match=r"expected state of shape \(1, 2, 2\)"):
            layer.step(fastnn.ones(1, 2), state)
    with pytest.raises(TypeError, match="stride"):
        nn.CausalConv1d(2, 3, 3, stride=2)
    with pytest.raises(
        RuntimeError, match=r"GRU\.step: a bidirectional layer needs whole"
    ):
        nn.GRU(2, 3, bidirectional=True).step(fastnn.ones(1, 2))
    assert repr(layer) == "CausalConv1d(2, 3, kernel_size=(3,), stride=(1,))"
    repr(nn.CausalConv1d(2, 4, 3, dilation=2, groups=2, bias=False))
