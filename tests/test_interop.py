"""Memory shared with NumPy and over DLPack, and copies: pickle, copy, deepcopy."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import _core
from fastnn.nn import Parameter

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]


def dtype(name):
    return getattr(fastnn, name)


class Block(np.ndarray):
    """An array that can be watched."""


# ---- NumPy ----


@pytest.mark.parametrize("name", DTYPES)
def test_one_memory_both_ways(name):
    a = np.array([[0, 1, 0], [1, 1, 0]], dtype=name)
    x = fastnn.from_numpy(a)
    assert x.dtype is dtype(name)
    assert x.data_ptr() == a.ctypes.data
    a[0, 0] = 1
    assert bool(x[0, 0].item())
    b = x.numpy()
    assert b.dtype == a.dtype
    assert b.ctypes.data == a.ctypes.data
    b[0, 1] = 0
    assert not a[0, 1]
    x.fill_(1)
    assert a.all()


LAYOUTS = {
    "reversed": lambda a: a[::-1, :, ::-1],
    "steps": lambda a: a[::2, 1::2],
    "transposed": lambda a: a.T,
    "broadcast": lambda a: np.broadcast_to(a[:, :1], (4, 5, 6)),
    "window": lambda a: np.lib.stride_tricks.sliding_window_view(a[0, 0], 2),
    "empty": lambda a: a[:, :0],
    "empty reversed": lambda a: a[::-1, :0, ::-1],
    "0-d": lambda a: a[0, 0, 0, ...],
    "negative and one": lambda a: a[1:0:-1],
    "fortran": np.asfortranarray,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    a = LAYOUTS[layout](np.arange(4 * 5 * 6.0).reshape(4, 5, 6))
    x = fastnn.from_numpy(a)
    np.testing.assert_array_equal(x.numpy(), a)
    assert x.numpy().ctypes.data == a.ctypes.data
    np.testing.assert_array_equal((x * 2).numpy(), a * 2)
    np.testing.assert_array_equal(x.sum().item(), a.sum())
    np.testing.assert_array_equal(x.clone().numpy(), a)
    back = fastnn.from_dlpack(a) if a.flags.writeable else x
    np.testing.assert_array_equal(back.numpy(), a)


def test_lifetime():
    a = np.arange(10.0).view(Block)
    watched = weakref.ref(a)
    x = fastnn.from_numpy(a)[2:4]
    del a
    gc.collect()
    assert watched() is not None
    b = x.numpy()
    del x
    gc.collect()
    assert b.tolist() == [2.0, 3.0]
    del b
    gc.collect()
    assert watched() is None

    x = fastnn.arange(5)
    b = x.numpy()
    del x
    junk = [fastnn.zeros(5, dtype=fastnn.int64) for _ in range(10)]
    assert b.tolist() == [0, 1, 2, 3, 4]
    del junk


def test_read_only():
    a = np.arange(4.0)
    a.setflags(write=False)
    x = fastnn.from_numpy(a)
    assert _core.read_only(x)
    assert not x.numpy().flags.writeable
    assert not x[1:].numpy().flags.writeable
    assert (x + 1).tolist() == [1, 2, 3, 4]
    for change in (
        lambda: x.add_(1),
        lambda: x.zero_(),
        lambda: x[1:].mul_(2),
        lambda: x.__setitem__(0, 5.0),
        lambda: x.uniform_(),
        lambda: fastnn.add(x, 1, out=x),
    ):
        with pytest.raises(ValueError, match="read-only"):
            change()
    assert a.tolist() == [0, 1, 2, 3]
    assert not _core.read_only(x.clone())
    w = fastnn.from_numpy(a).requires_grad_()
    w.grad = fastnn.ones(4, dtype=fastnn.float64)
    with pytest.raises(ValueError, match="read-only"):
        fastnn.optim.SGD([w], lr=1.0).step()


def misaligned():
    raw = np.zeros(8 * 4 + 1, np.uint8)
    a = raw[1:].view(np.float64)
    a[...] = np.arange(4)
    return a


FOREIGN = {
    "byte-swapped": lambda: np.arange(4.0, dtype=">f8"),
    "misaligned": misaligned,
    "struct field": lambda: np.array(
        [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)], dtype=[("a", "i4"), ("b", "f8")]
    )["b"],
    "float16": lambda: np.arange(4, dtype=np.float16),
    "int16": lambda: np.arange(4, dtype=np.int16),
    "uint32": lambda: np.arange(4, dtype=np.uint32),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_memory_that_cannot_be_shared(name):
    a = FOREIGN[name]()
    with pytest.raises((TypeError, ValueError), match="from_numpy: expected"):
        fastnn.from_numpy(a)
    x = fastnn.tensor(a)  # a copy will do
    assert x.tolist() == [0, 1, 2, 3]
    assert fastnn.as_tensor(a).tolist() == [0, 1, 2, 3]
    assert (fastnn.ones(4) + a).tolist() == [1, 2, 3, 4]


def test_struct_field_of_even_strides_is_shared():
    a = np.zeros(3, dtype=[("a", "f4"), ("b", "f4")])
    x = fastnn.from_numpy(a["b"])
    assert x.stride() == (2,)
    x.fill_(3)
    assert a["a"].tolist() == [0, 0, 0]
    assert a["b"].tolist() == [3, 3, 3]


def test_what_is_no_number():
    for a in (
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, complex),
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("a", "f4")]),
    ):
        with pytest.raises(TypeError):
            fastnn.from_numpy(a)
        with pytest.raises(TypeError):
            fastnn.tensor(a)
    for other in ([1.0], 1.0, None, "a"):
        with pytest.raises(TypeError):
            fastnn.from_numpy(other)


def test_huge_strides():
    a = np.lib.stride_tricks.as_strided(np.zeros(1), (1, 1), (2**62, -(2**62)))
    x = fastnn.from_numpy(a)
    assert (x + 1).tolist() == [[1.0]]
    x = fastnn.from_numpy(np.broadcast_to(np.float32(2), (2**20, 2**20, 2**20)))
    assert x.numel() == 2**60
    with pytest.raises(MemoryError):
        x + 1
    assert x[0, :2, 3].tolist() == [2, 2]


def test_array_protocol():
    x = fastnn.arange(3)
    assert np.asarray(x).ctypes.data == x.data_ptr()
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    copied = np.array(x)
    copied[0] = 9
    assert x[0].item() == 0
    with pytest.raises(ValueError):
        np.asarray(x, dtype=np.float32, copy=False)
    assert np.add.reduce(np.asarray(x)) == 3
    w = fastnn.ones(2, requires_grad=True)
    for call in (lambda: np.asarray(w), w.numpy, lambda: (w * 2).numpy()):
        with pytest.raises(RuntimeError, match="detach"):
            call()
    assert w.numpy(force=True).tolist() == [1, 1]


@pytest.mark.parametrize(
    "operate",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: a**b,
        lambda a, b: a < b,
        lambda a, b: a == b,
    ],
)
def test_arrays_beside_tensors(operate):
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    expected = operate(a, b)
    for got in (operate(fastnn.tensor(a), b), operate(a, fastnn.tensor(b))):
        assert isinstance(got, fastnn.Tensor)
        np.testing.assert_array_equal(got.numpy(), expected)
    for scalar in (np.float64(2), np.float32(2), np.int64(2)):
        got = operate(scalar, fastnn.tensor(b))
        assert isinstance(got, fastnn.Tensor)
        np.testing.assert_array_equal(got.numpy(), operate(scalar, b))
    m = np.eye(3)
    assert isinstance(m @ fastnn.tensor(m), fastnn.Tensor)
    assert isinstance(fastnn.tensor(m) @ m, fastnn.Tensor)


# ---- DLPack ----


@pytest.mark.parametrize("name", DTYPES)
def test_dlpack_with_numpy(name):
    a = np.array([[0, 1, 1], [1, 0, 1]], dtype=name)
    for view in (a, a.T, a[:, ::-1], a[:0]):
        x = fastnn.from_dlpack(view)
        np.testing.assert_array_equal(x.numpy(), view)
        assert x.data_ptr() == view.ctypes.data
        b = np.from_dlpack(fastnn.from_numpy(view))
        assert b.ctypes.data == view.ctypes.data
        np.testing.assert_array_equal(b, view)


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    for name in DTYPES:
        t = torch.ones(2, 3, dtype=getattr(torch, name)).T
        x = fastnn.from_dlpack(t)
        assert x.stride() == t.stride()
        t[0, 0] = 0
        assert x[0, 0].item() == 0
        back = torch.from_dlpack(x)
        assert back.dtype == t.dtype
        assert back.data_ptr() == t.data_ptr()
    for foreign in (
        torch.ones(1, dtype=torch.bfloat16),
        torch.ones(1, dtype=torch.cfloat),
    ):
        with pytest.raises(TypeError, match="from_dlpack"):
            fastnn.from_dlpack(foreign)


def test_dlpack_lifetime():
    a = np.arange(6.0).view(Block)
    watched = weakref.ref(a)
    x = fastnn.from_numpy(a)
    capsule = x.__dlpack__()
    b = np.from_dlpack(x)
    del a, x
    gc.collect()
    assert watched() is not None
    del capsule  # never consumed
    gc.collect()
    assert b.tolist() == [0, 1, 2, 3, 4, 5]
    del b
    gc.collect()
    assert watched() is None

    a = np.arange(6.0).view(Block)
    watched = weakref.ref(a)
    x = fastnn.from_dlpack(a)[1:]
    del a
    gc.collect()
    assert x.sum().item() == 15
    del x
    gc.collect()
    assert watched() is None


class Capsule:
    """Hands out one capsule, over and over."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **options):
        return self.capsule


def test_capsule_is_consumed_once():
    for version in (None, (1, 0)):
        source = Capsule(fastnn.ones(2).__dlpack__(max_version=version))
        assert fastnn.from_dlpack(source).tolist() == [1, 1]
        with pytest.raises(BufferError, match="fresh"):
            fastnn.from_dlpack(source)
    for source in (Capsule(None), Capsule(3)):
        with pytest.raises((BufferError, TypeError, ValueError)):
            fastnn.from_dlpack(source)
    with pytest.raises(TypeError, match="__dlpack__"):
        fastnn.from_dlpack([1.0])


def test_dlpack_refuses():
    w = fastnn.ones(2, requires_grad=True)
    with pytest.raises(BufferError, match="detach"):
        w.__dlpack__()
    x = fastnn.ones(2)
    assert x.__dlpack_device__() == (1, 0)
    for options in ({"dl_device": (2, 0)}, {"stream": 1}):
        with pytest.raises(BufferError):
            x.__dlpack__(**options)
    a = np.arange(2.0)
    a.setflags(write=False)
    x = fastnn.from_numpy(a)
    with pytest.raises(BufferError, match="read-only"):
        x.__dlpack__()
    assert not np.from_dlpack(x).flags.writeable
    assert _core.read_only(fastnn.from_dlpack(x))
    y = fastnn.ones(3)
    b = np.from_dlpack(y, copy=True)
    assert b.ctypes.data != y.data_ptr()


# ---- copies ----


def parameter():
    p = Parameter(fastnn.tensor([[1.0, 2.0]]))
    p.note = {"a": [1]}
    return p


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    for x in (
        fastnn.arange(6).reshape(2, 3).T,
        fastnn.tensor(True),
        fastnn.zeros(0, 2),
        fastnn.ones(2, dtype=fastnn.float64, requires_grad=True),
        fastnn.ones(2, requires_grad=True) * 2,
    ):
        y = pickle.loads(pickle.dumps(x, protocol))
        assert (y.dtype, y.shape, y.requires_grad) == (
            x.dtype,
            x.shape,
            x.requires_grad,
        )
        assert y.is_leaf
        np.testing.assert_array_equal(y.numpy(force=True), x.numpy(force=True))
    for thing in (fastnn.float32, fastnn.device("cpu"), _core.op_named("add")):
        assert pickle.loads(pickle.dumps(thing, protocol)) == thing
    if protocol >= 2:  # what any class with __dict__ and __new__ asks for
        p = pickle.loads(pickle.dumps(parameter(), protocol))
        assert type(p) is Parameter
        assert p.requires_grad
        assert p.note == {"a": [1]}
        assert p.tolist() == [[1.0, 2.0]]


def test_a_view_pickles_its_own_elements():
    x = fastnn.zeros(10**6)[:2]
    assert len(pickle.dumps(x)) < 1000


def test_deepcopy():
    p = parameter()
    p.grad = fastnn.ones(1, 2)
    q = copy.deepcopy(p)
    assert type(q) is Parameter
    assert q.requires_grad
    q.note["a"].append(2)
    assert p.note == {"a": [1]}
    q.data.fill_(9)
    q.grad.fill_(9)
    assert p.tolist() == [[1, 2]]
    assert p.grad.tolist() == [[1, 1]]
    both = copy.deepcopy([p, p])
    assert both[0] is both[1]
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(p * 2)
    x = fastnn.arange(4)[::2]
    assert copy.deepcopy(x).tolist() == [0, 2]


def test_copy_shares_memory():
    x = fastnn.ones(2, requires_grad=True)
    y = copy.copy(x)
    assert _core.same_storage(x, y)
    assert y.requires_grad
    assert y is not x
    q = copy.copy(parameter())
    assert type(q) is Parameter
    assert q.note == {"a": [1]}
