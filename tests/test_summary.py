"""summary: what is counted, where, and how the table reads."""

import threading

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import functional as F


class Net(nn.Module):
    """Functional code, a shared parameter, a frozen one, a layer that is not called."""

    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(12, 8)
        self.drop = nn.Dropout(0.5)
        self.twice = nn.Linear(8, 8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.twice.weight
        self.mix = nn.Parameter(fastnn.ones(8, 5), requires_grad=False)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.drop(F.relu(self.fc(self.flatten(x))))
        x = self.again(self.twice(self.twice(x)))
        return x @ self.mix


def test_counts():
    net = Net()
    net.drop.eval()
    modes = [m.training for m in net.modules()]
    state = fastnn.get_rng_state().tolist()
    summary = net.summary((3, 4))
    assert [m.training for m in net.modules()] == modes
    assert fastnn.get_rng_state().tolist() == state
    assert not any(m._hooks for m in net.modules())
    rows = {row.name: row for row in summary.rows}
    assert list(rows) == ["", "flatten", "fc", "drop", "twice", "again", "unused"]
    assert [row.type for row in summary.rows][:2] == ["Net", "Flatten"]
    expected = {  # output, parameters, trainable, multiply-adds, bytes, activation bytes
        "": (("N", 5), 40, 0, 8 * 5, 160, 4 * (8 + 5)),  # relu and the product
        "flatten": (("N", 12), 0, 0, 0, 0, 0),
        "fc": (("N", 8), 104, 104, 96, 416, 32),
        "drop": (("N", 8), 0, 0, 0, 0, 0),
        "twice": (("N", 8), 72, 72, 2 * 64, 288, 2 * 32),
        "again": (("N", 8), 8, 8, 64, 32, 32),
        "unused": (None, 6, 6, 0, 24, 0),
    }
    for name, row in rows.items():
        assert (
            row.output_shape,
            row.parameters,
            row.trainable,
            row.multiply_adds,
            row.parameter_bytes,
            row.activation_bytes,
        ) == expected[name], name
    assert summary.parameters == sum(p.numel() for p in net.parameters()) == 230
    assert (summary.trainable, summary.frozen) == (190, 40)
    assert summary.multiply_adds == 96 + 3 * 64 + 40
    assert summary.parameter_bytes == 920
    assert summary.activation_bytes == 52 + 32 + 64 + 32
    assert net.double().summary((3, 4)).parameter_bytes == 1840


def test_the_table():
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    text = str(net.summary((784,)))
    assert text == repr(net.summary([784])) == str(net.summary(784))
    assert text == (
        "Sequential on float32 (N, 784)\n"
        "\n"
        "name   type    output    parameters  multiply-adds  memory  activations\n"
        "-----  ------  --------  ----------  -------------  ------  -----------\n"
        "0      Linear  (N, 128)     100,480        100,352  402 kB        512 B\n"
        "1      ReLU    (N, 128)           0              0     0 B        512 B\n"
        "2      Linear  (N, 10)        1,290          1,280  5.2 kB         40 B\n"
        "-----  ------  --------  ----------  -------------  ------  -----------\n"
        "total                       101,770        101,632  407 kB       1.1 kB\n"
        "\n"
        "101,770 trainable parameters, 0 frozen; multiply-adds and activations are per "
        "sample."
    )
    assert "(itself)  Net" in str(Net().summary((3, 4)))
    assert "not called" in str(Net().summary((3, 4)))


def test_what_forward_does_beside_the_network():
    """Draws are taken back, and another thread's ops are not this network's."""

    class Busy(nn.Module):
        def forward(self, x):
            other = threading.Thread(
                target=lambda: fastnn.ones(8, 8) @ x.T.expand(8, 1)
            )
            other.start()
            other.join()
            return x + fastnn.rand(8)

    state = fastnn.get_rng_state().tolist()
    (row,) = Busy().summary((8,)).rows
    assert fastnn.get_rng_state().tolist() == state
    assert (row.multiply_adds, row.activation_bytes) == (0, 2 * 32)


def test_products_of_every_kind():
    class Attend(nn.Module):
        def forward(self, x):  # (1, 6, 4)
            scores = F.softmax(x @ x.transpose(1, 2), dim=-1)  # 6 * 6 * 4
            y = scores @ x  # 6 * 4 * 6
            return fastnn.linear(y, fastnn.ones(3, 4), activation="relu")  # 6 * 3 * 4

    summary = Attend().summary((6, 4))
    assert summary.multiply_adds == 144 + 144 + 72
    assert [r.output_shape for r in summary.rows] == [("N", 6, 3)]


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def forward(self, x, index):
            assert index.dtype is fastnn.int64
            return x * 2, {"index": index}, x.sum()

    summary = Two().summary([(3,), (2, 2)], dtype=[fastnn.float64, fastnn.int64])
    assert summary.rows[0].output_shape == [("N", 3), [("N", 2, 2)], ()]
    assert summary.title == "Two on float64 (N, 3) and int64 (N, 2, 2)"
    assert "(N, 3), (N, 2, 2), ()" in str(summary)
    net = nn.Linear(3, 2).double()
    assert net.summary((3,)).title == "Linear on float64 (N, 3)"
    assert net.summary((3,)).rows[0].name == ""
    for wrong, error in (("784", TypeError), ([(3,), 4], TypeError), (None, TypeError)):
        with pytest.raises(error, match="summary: expected one sample's shape"):
            net.summary(wrong)
    with pytest.raises(ValueError, match="summary: expected 2 dtypes"):
        Two().summary([(3,), (2,)], dtype=[fastnn.float64])


def test_a_network_that_fails_is_left_as_it_was():
    net = Net()
    with pytest.raises(ValueError, match="linear"):
        net.summary((5,))
    assert all(m.training and not m._hooks for m in net.modules())
    seen = []
    handle = net.register_forward_hook(lambda *args: seen.append(1))
    net.summary((3, 4))
    assert seen == [1]  # hooks of one's own are called, and stay
    net(fastnn.ones(1, 3, 4))
    assert seen == [1, 1]
    handle.remove()
    x = fastnn.tensor(np.ones((2, 3, 4), np.float32))
    assert net(x).requires_grad


def test_recurrent_layers():
    model = nn.Sequential(nn.GRU(3, 5, batch_first=True, stateful=True))
    y, _ = model(fastnn.ones(2, 4, 3))
    (row,) = [r for r in model.summary((4, 3)).rows if r.type == "GRU"]
    assert row.multiply_adds == 4 * (15 * 3 + 15 * 5)
    again, _ = model(fastnn.ones(2, 4, 3))  # what is carried is not touched
    assert not (again == y).all().item()
    lstm = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2, batch_first=True)
    (row,) = lstm.summary((4, 3)).rows
    first, second = 20 * 3 + 20 * 2 + 10, 20 * 4 + 20 * 2 + 10
    assert row.multiply_adds == 4 * 2 * (first + second)
