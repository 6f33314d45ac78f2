"""Tensor itself: creation, dtypes and promotion, views, Python's protocols.

Promotion is held against PyTorch's documented rules, written here once more as a table,
and against PyTorch where it is installed.
"""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import Tensor, _core

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]
NUMPY = {name: np.dtype(name) for name in DTYPES}


def dtype(name):
    return getattr(fastnn, name)


def shares(a, b):
    return np.shares_memory(a.numpy(force=True), b.numpy(force=True))


# ---- creation ----


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (1, "int64"),
        (True, "bool"),
        (1.5, "float32"),
        ([1, 2], "int64"),
        ([1, 2.5], "float32"),
        ([True, False], "bool"),
        ([True, 2], "int64"),
        ([], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        (np.float64(1), "float64"),
        (np.float32([1]), "float32"),
        (np.int32([1]), "int32"),
        (np.uint8([1]), "uint8"),
        (np.int16([1]), "int64"),
        (np.float16([1]), "float32"),
        (np.array([True]), "bool"),
        (range(3), "int64"),
        ((1.0, 2.0), "float32"),
    ],
)
def test_dtype_of_data(data, expected):
    x = fastnn.tensor(data)
    assert x.dtype is dtype(expected)
    array = np.asarray(data)
    assert x.shape == array.shape
    np.testing.assert_array_equal(x.numpy(), array)


def test_tensor_of_tensors():
    parts = [fastnn.tensor(1.0), 2.0, [3.0][0]]
    assert fastnn.tensor(parts).tolist() == [1.0, 2.0, 3.0]
    x = fastnn.tensor([1.0, 2.0])
    y = fastnn.tensor(x)
    assert not shares(x, y)
    assert fastnn.as_tensor(x) is x


@pytest.mark.parametrize(
    "data", [[[1], [1, 2]], "abc", ["a"], [None], object(), {}, [1j]]
)
def test_data_that_is_no_block_of_numbers(data):
    with pytest.raises((TypeError, ValueError), match="tensor: expected"):
        fastnn.tensor(data)


def test_integers_beyond_64_bits():
    with pytest.raises((TypeError, OverflowError)):
        fastnn.tensor(2**64)
    with pytest.raises((TypeError, OverflowError)):
        fastnn.tensor(np.uint64([2**63]))
    with pytest.raises(OverflowError):
        fastnn.ones(1) + 2**63


def test_fills():
    cases = [
        (fastnn.zeros(2, 3), np.zeros((2, 3), "f4")),
        (fastnn.ones((2,), dtype=fastnn.int32), np.ones(2, "i4")),
        (fastnn.full((2,), 7), np.full(2, 7)),
        (fastnn.full((), 1.5), np.full((), 1.5, "f4")),
        (fastnn.full((2,), True), np.full(2, True)),
        (fastnn.arange(5), np.arange(5)),
        (fastnn.arange(1, 2, 0.25), np.arange(1, 2, 0.25, "f4")),
        (fastnn.arange(5, 1, -2), np.arange(5, 1, -2)),
        (fastnn.arange(3, dtype=fastnn.float64), np.arange(3.0)),
        (fastnn.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype="f4")),
        (fastnn.eye(2, 3), np.eye(2, 3, dtype="f4")),
        (fastnn.zeros_like(fastnn.arange(2)), np.zeros(2, "i8")),
        (fastnn.ones_like(fastnn.arange(2), dtype=fastnn.float32), np.ones(2, "f4")),
        (fastnn.full_like(fastnn.ones(2), 3), np.full(2, 3, "f4")),
    ]
    for got, expected in cases:
        assert got.numpy().dtype == expected.dtype
        np.testing.assert_array_equal(got.numpy(), expected)
    assert fastnn.empty(3, 0).shape == (3, 0)
    assert fastnn.zeros(2**62, 0, 2**62).numel() == 0
    assert fastnn.ones(2, requires_grad=True).requires_grad


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: fastnn.zeros(-1), ValueError),
        (lambda: fastnn.zeros(2.5), TypeError),
        (lambda: fastnn.zeros(2**40, 2**40), (MemoryError, ValueError)),
        (lambda: fastnn.zeros(2**63), (TypeError, MemoryError, ValueError)),
        (lambda: fastnn.zeros(1, dtype="complex64"), TypeError),
        (lambda: fastnn.zeros(1, dtype=np.int8), TypeError),
        (lambda: fastnn.arange(0, 1, 0), ValueError),
        (lambda: fastnn.arange(0, 1, -1), ValueError),
        (lambda: fastnn.arange(float("nan")), ValueError),
        (lambda: fastnn.ones(2, dtype=fastnn.int64, requires_grad=True), RuntimeError),
        (lambda: fastnn.zeros(*[1] * 9), ValueError),
        (lambda: fastnn.tensor(np.zeros([1] * 9)), ValueError),
        (lambda: fastnn.zeros(*[1] * 8).unsqueeze(0), ValueError),
        (lambda: fastnn.float32.__class__("float32"), TypeError),
    ],
)
def test_creation_refuses(call, error):
    with pytest.raises(error):
        call()


def test_eight_dimensions():
    shape = (1, 2, 1, 3, 2, 1, 2, 2)
    a = np.arange(48.0).reshape(shape)
    x = fastnn.tensor(a)
    assert x.ndim == 8
    np.testing.assert_array_equal(
        (x + x.sum(dim=3, keepdim=True)).numpy(), a + a.sum(axis=3, keepdims=True)
    )
    np.testing.assert_array_equal(x.permute(7, 6, 5, 4, 3, 2, 1, 0).numpy(), a.T)


# ---- dtypes ----


def rank(name):
    return DTYPES.index(name)


def category(name):
    return 0 if name == "bool" else 1 if "int" in name else 2


def promoted(a, a_dims, b, b_dims):
    """PyTorch's rule: the higher category wins; within it tensors with dimensions win
    over those without; then the wider."""
    if category(a) != category(b):
        high, low = (a, b) if category(a) > category(b) else (b, a)
        return high, low
    if bool(a_dims) != bool(b_dims):
        return (a if a_dims else b), None
    return (a if rank(a) > rank(b) else b), None


def expected_dtype(a, a_dims, b, b_dims):
    return promoted(a, a_dims, b, b_dims)[0]


PAIRS = list(itertools.product(DTYPES, (0, 1), DTYPES, (0, 1)))


@pytest.mark.parametrize("op", ["add", "mul", "maximum", "where"])
def test_promotion(op):
    for a, a_dims, b, b_dims in PAIRS:
        x = fastnn.ones([2] * a_dims, dtype=dtype(a))
        y = fastnn.ones([2] * b_dims, dtype=dtype(b))
        if op == "where":
            got = fastnn.where(fastnn.tensor([True, False]), x, y)
        else:
            got = getattr(fastnn, op)(x, y)
        assert got.dtype is dtype(expected_dtype(a, a_dims, b, b_dims)), (
            a,
            a_dims,
            b,
            b_dims,
        )


@pytest.mark.parametrize("number", [True, 3, 2.5])
def test_promotion_of_python_numbers(number):
    kind = {bool: 0, int: 1, float: 2}[type(number)]
    default = {bool: "bool", int: "int64", float: "float32"}[type(number)]
    for name, dims in itertools.product(DTYPES, (0, 1)):
        x = fastnn.ones([2] * dims, dtype=dtype(name))
        expected = name if category(name) >= kind else default
        assert (x + number).dtype is dtype(expected), (name, dims)
        assert (number * x).dtype is dtype(expected), (name, dims)


def test_promotion_as_in_pytorch():
    torch = pytest.importorskip("torch")

    def name(t):
        return str(t.dtype).split(".")[1]

    for a, a_dims, b, b_dims in PAIRS:
        x, tx = (m.ones([2] * a_dims, dtype=getattr(m, a)) for m in (fastnn, torch))
        y, ty = (m.ones([2] * b_dims, dtype=getattr(m, b)) for m in (fastnn, torch))
        for f in ("add", "mul", "true_divide", "pow", "eq", "minimum"):
            mine = getattr(fastnn, "div" if f == "true_divide" else f)
            try:
                theirs = name(getattr(torch, f)(tx, ty))
            except RuntimeError:
                continue
            assert name(mine(x, y)) == theirs, (f, a, a_dims, b, b_dims)
    for a, dims, number in itertools.product(DTYPES, (0, 1), (True, 3, 2.5)):
        x, tx = (m.ones([2] * dims, dtype=getattr(m, a)) for m in (fastnn, torch))
        for f in (
            lambda t, n: t + n,
            lambda t, n: n * t,
            lambda t, n: t / n,
            lambda t, n: t**n,
            lambda t, n: t < n,
        ):
            assert name(f(x, number)) == name(f(tx, number)), (a, dims, number)
    for data in (
        1,
        1.5,
        True,
        [1, 2.0],
        [True, 1],
        [],
        np.float64(1),
        np.int32(1),
        np.zeros(2, "i4"),
    ):
        assert name(fastnn.tensor(data)) == name(torch.tensor(data)), data


def test_square_is_one_product():
    x = fastnn.randn(10000, generator=fastnn.Generator(0))
    for y in (x**2, fastnn.pow(x, 2), x.pow(2.0)):
        assert (y == x * x).numpy().all()
    assert (fastnn.ones(2, dtype=fastnn.bool) ** 2).dtype is fastnn.int64
    assert fastnn.pow(2, fastnn.arange(4)).tolist() == [1, 2, 4, 8]


def test_conversions():
    x = fastnn.tensor([0.0, 1.7, -2.5, 300.0])
    methods = {
        "float": "float32",
        "double": "float64",
        "int": "int32",
        "long": "int64",
        "bool": "bool",
    }
    for method, name in methods.items():
        y = getattr(x, method)()
        assert y.dtype is dtype(name)
        np.testing.assert_array_equal(y.numpy(), x.numpy().astype(name))
    assert x.float() is x
    assert x.to(fastnn.float32) is x
    assert x.to(fastnn.float64).dtype is fastnn.float64
    assert x.to(dtype=fastnn.int64, device="cpu").dtype is fastnn.int64
    assert x.to(fastnn.tensor([1])).dtype is fastnn.int64
    assert not shares(x.to(fastnn.float32, copy=True), x)
    assert x.type(fastnn.int32).dtype is fastnn.int32
    assert x.type() == "fastnn.float32"
    assert x.cpu() is x


def test_dtype_objects():
    assert [d.name for d in _core.dtypes()] == DTYPES
    for name in DTYPES:
        d = dtype(name)
        assert repr(d) == f"fastnn.{name}"
        assert d.numpy == NUMPY[name]
        assert d.itemsize == NUMPY[name].itemsize
        assert d.is_floating_point == name.startswith("float")


def test_devices():
    x = fastnn.ones(2)
    assert x.device == fastnn.device("cpu")
    assert str(x.device) == "cpu"
    assert x.to("cpu") is x
    assert x.to(fastnn.device("cpu")) is x
    for call in (
        lambda: x.to("cuda"),
        lambda: fastnn.device("cuda:0"),
        lambda: x.to(device="meta"),
    ):
        with pytest.raises(RuntimeError, match="device: expected 'cpu'"):
            call()


# ---- views ----

VIEWS = {
    "reshape": (lambda x: x.reshape(4, 6), lambda a: a.reshape(4, 6)),
    "reshape -1": (lambda x: x.reshape(-1, 2), lambda a: a.reshape(-1, 2)),
    "view": (lambda x: x.view(24), lambda a: a.reshape(24)),
    "permute": (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    "transpose": (lambda x: x.transpose(0, -1), lambda a: a.swapaxes(0, -1)),
    "T": (lambda x: x.T, lambda a: a.T),
    "mT": (lambda x: x.mT, lambda a: a.swapaxes(-1, -2)),
    "expand": (
        lambda x: x[:, :1].expand(2, 5, 4),
        lambda a: np.broadcast_to(a[:, :1], (2, 5, 4)),
    ),
    "expand in front": (
        lambda x: x.expand(3, -1, -1, -1),
        lambda a: np.broadcast_to(a, (3, 2, 3, 4)),
    ),
    "squeeze": (lambda x: x[:, :1].squeeze(1), lambda a: a[:, 0]),
    "squeeze all": (lambda x: x[:1, :1].squeeze(), lambda a: a[0, 0]),
    "unsqueeze": (lambda x: x.unsqueeze(-1), lambda a: a[..., None]),
    "flatten": (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
    "narrow": (lambda x: x.narrow(1, 1, 2), lambda a: a[:, 1:3]),
    "select": (lambda x: x.select(1, -1), lambda a: a[:, -1]),
    "slice": (lambda x: x[:, ::-2, 1:], lambda a: a[:, ::-2, 1:]),
    "split": (lambda x: x.split(2, 1)[1], lambda a: a[:, 2:]),
    "chunk": (lambda x: x.chunk(2, 2)[0], lambda a: a[..., :2]),
    "detach": (lambda x: x.detach(), lambda a: a),
    "data": (lambda x: x.data, lambda a: a),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_move_no_data(name):
    ours, theirs = VIEWS[name]
    a = np.arange(24.0).reshape(2, 3, 4)
    x = fastnn.from_numpy(a)
    y = ours(x)
    expected = theirs(a)
    assert _core.same_storage(x, y)
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.numpy(), expected)
    a += 100
    np.testing.assert_array_equal(y.numpy(), theirs(a))
    start = y.storage_offset() * 8 + a.ctypes.data
    assert y.numel() == 0 or start == y.data_ptr()


def test_reshape_copies_only_where_it_must():
    x = fastnn.arange(6).reshape(2, 3)
    assert shares(x.reshape(3, 2), x)
    assert not shares(x.T.reshape(6), x)
    assert x.T.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
    with pytest.raises(ValueError, match="view"):
        x.T.view(6)
    for shape in ((4,), (-1, -1), (-1, 4), (0, -1)):
        with pytest.raises(ValueError, match="reshape"):
            x.reshape(*shape)
    assert x.contiguous() is x
    assert x.T.contiguous().stride() == (2, 1)


# ---- description and protocols ----


def test_description():
    x = fastnn.zeros(2, 3, dtype=fastnn.float64)
    assert (x.shape, x.size(), x.size(-1), len(x)) == ((2, 3), (2, 3), 3, 2)
    assert (x.stride(), x.stride(0), x.T.stride()) == ((3, 1), 3, (1, 3))
    assert (x.ndim, x.dim(), x.numel(), x.element_size(), x.nbytes) == (2, 2, 6, 8, 48)
    assert x.is_contiguous()
    assert not x.T.is_contiguous()
    assert x.is_floating_point()
    assert x[1].storage_offset() == 3
    assert x.data_ptr() % 64 == 0
    with pytest.raises(IndexError):
        x.size(2)


def test_numbers():
    assert int(fastnn.tensor(3.7)) == 3
    assert float(fastnn.tensor([[2]])) == 2.0
    assert bool(fastnn.tensor([0.0])) is False
    assert fastnn.tensor(True).item() is True
    assert [10, 20, 30][fastnn.tensor(1)] == 20
    assert f"{fastnn.tensor(1.5):.3f}" == "1.500"
    assert fastnn.tensor(2**53 + 1).item() == 2**53 + 1
    with pytest.raises(TypeError, match="integer"):
        [1][fastnn.tensor(0.0)]
    for convert in (bool, float, int):
        with pytest.raises((ValueError, RuntimeError), match="one element"):
            convert(fastnn.ones(2))
    with pytest.raises((ValueError, RuntimeError), match="one element"):
        fastnn.ones(0).item()


def test_sequence():
    x = fastnn.arange(6).reshape(3, 2)
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    assert 5 in x[2]
    assert x.tolist() == [[0, 1], [2, 3], [4, 5]]
    for call in (len, iter, list):
        with pytest.raises(TypeError, match="dimensions"):
            call(fastnn.tensor(1))


def test_hash_and_comparison():
    x, y = fastnn.ones(2), fastnn.ones(2)
    assert {x: 1, y: 2}[x] == 1
    assert (x == y).tolist() == [True, True]
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    with pytest.raises(TypeError):
        x + "a"
    with pytest.raises(TypeError):
        None + x


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fastnn.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: fastnn.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (lambda: fastnn.tensor(True), "tensor(True)"),
        (
            lambda: fastnn.ones(1, dtype=fastnn.float64),
            "tensor([1.], dtype=fastnn.float64)",
        ),
        (
            lambda: fastnn.ones(1, requires_grad=True),
            "tensor([1.], requires_grad=True)",
        ),
        (lambda: fastnn.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
        (lambda: fastnn.zeros(0), "tensor([])"),
        (lambda: fastnn.zeros(2, 0), "tensor([], size=(2, 0))"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == text
    assert len(repr(fastnn.zeros(1000, 1000))) < 2000


def test_empty_and_0d():
    x = fastnn.zeros(0, 3)
    assert (x + 1).shape == (0, 3)
    assert x.sum().item() == 0
    assert x.sum(dim=0).tolist() == [0, 0, 0]
    assert (x.T @ x).tolist() == [[0.0] * 3] * 3
    assert x.reshape(3, 0, 5).shape == (3, 0, 5)
    s = fastnn.tensor(2.0)
    assert (s * s).shape == ()
    assert s.reshape(1, 1).shape == (1, 1)
    assert s.T.shape == ()
    assert s.expand(2, 2).tolist() == [[2, 2], [2, 2]]


# ---- not initialised ----


def test_uninitialised_never_crashes():
    """Tensor.__new__ alone gives an object whose use raises or answers."""
    made = fastnn.ones(2)
    names = [
        n for n in dir(Tensor) if n not in ("__init_subclass__", "__subclasshook__")
    ]
    for name in names:
        for target, args in (
            (Tensor.__new__(Tensor), ()),
            (Tensor.__new__(Tensor), (made,)),
            (made.clone(), (Tensor.__new__(Tensor),)),
        ):
            try:
                value = getattr(target, name)
                if callable(value):
                    value(*args)
            except Exception as e:
                assert str(e) or isinstance(e, (TypeError, AttributeError))
    x = Tensor.__new__(Tensor)
    for use in (
        lambda: setattr(made, "data", x),
        lambda: Tensor(x),
        lambda: made + x,
        lambda: fastnn.nn.Parameter(x),
        lambda: made.copy_(x),
        lambda: x.backward(),
        lambda: fastnn.cat([x, made]),
        lambda: np.asarray(x),
        lambda: repr(x),
        lambda: fastnn.tensor([x]),
    ):
        with pytest.raises((TypeError, RuntimeError, ValueError)):
            use()


def test_initialised_once():
    with pytest.raises(RuntimeError, match="once"):
        fastnn.ones(2).__init__(fastnn.ones(3))
    with pytest.raises(TypeError):
        Tensor()
    x = Tensor(np.arange(3.0))
    assert x.tolist() == [0, 1, 2]


def test_assigning_data():
    x = fastnn.ones(2, requires_grad=True)
    x.data = x  # must not free what it is about to take
    assert x.tolist() == [1, 1]
    y = fastnn.zeros(3)
    x.data = y
    assert shares(x, y)
    with pytest.raises(ValueError, match="float32"):
        x.data = fastnn.arange(3)


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_factories_take_a_device(name):
    make = getattr(fastnn, name)
    assert make(2, 3, device="cpu").device == fastnn.device("cpu")
    assert make(2, device=fastnn.device("cpu"), requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match=r"cpu.*cuda"):
        make(2, device="cuda")
    with pytest.raises(RuntimeError, match=r"cpu.*cuda"):
        make(2).cuda()


def test_the_class_makes_tensors_as_in_pytorch():
    assert Tensor([1, 2]).dtype is fastnn.float32
    assert Tensor(np.array([1.5])).dtype is fastnn.float32
    assert Tensor(2, 3).shape == (2, 3)
    assert Tensor(fastnn.tensor([1])).dtype is fastnn.int64
    with pytest.raises(ValueError, match="Tensor: expected sizes"):
        Tensor(-1)
    with pytest.raises(TypeError, match="Tensor"):
        Tensor([1], [2])


def test_numbers_format_and_tensors_of_several_say_so():
    loss = fastnn.tensor(0.123456, requires_grad=True) * 1
    assert f"{loss:.4f}|{loss:>9.2e}|{fastnn.tensor(7):>3d}" == "0.1235| 1.23e-01|  7"
    assert f"{fastnn.tensor([1])}" == "tensor([1])"
    with pytest.raises(TypeError, match=r"format.*\(1,\).*item"):
        f"{fastnn.tensor([1.0]):.2f}"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: fastnn.ones(-1), ValueError, "ones: expected sizes"),
        (lambda x: fastnn.zeros(2, 1.5), TypeError, "zeros: expected sizes"),
        (lambda x: fastnn.full((-1,), 2.0), ValueError, "full: expected sizes"),
        (lambda x: bool(x), ValueError, r"bool: expected one element.*any\(\)"),
        (lambda x: int(x), ValueError, "int: expected one element"),
        (lambda x: float(x), ValueError, "float: expected one element"),
        (lambda x: x.view(5), ValueError, "view: expected"),
        (lambda x: x.view("a"), TypeError, "view: expected"),
        (lambda x: x.to("cuda"), RuntimeError, "device: expected 'cpu'"),
        (lambda x: x.cuda(), RuntimeError, "device: expected 'cpu'"),
        (lambda x: x.to(fastnn.zeros), TypeError, "to: expected a dtype"),
        (lambda x: x.to("cpu", "cpu"), TypeError, "to: expected a dtype"),
        (lambda x: x.to(fastnn.int32, True, True, True), TypeError, "to: expected"),
        (lambda x: x.long().clamp_(0.5), TypeError, "clamp_: .*int64.*float32"),
        (lambda x: x.long().__itruediv__(2), TypeError, "div_: .*int64.*float32"),
        (lambda x: (x > 0).add_(1), TypeError, "add_: .*bool.*int64"),
        (lambda x: x.bool().__iand__(3), TypeError, "bitwise_and_: .*bool.*int64"),
        (lambda x: x @ x.double().T, TypeError, r"matmul.*one dtype.*\.float\(\)"),
        (lambda x: fastnn.linear(x, x.double()), TypeError, r"linear.*\.float\(\)"),
        (lambda x: x.div(2, rounding_mode="up"), ValueError, "div: .*rounding_mode"),
        (lambda x: x.long() + 2**63, OverflowError, "add: .*64 bits"),
        (lambda x: x.fill_(2**63), OverflowError, "fill_: .*64 bits"),
        (lambda x: x.long().fill_("a"), TypeError, "fill_: expected"),
        (lambda x: fastnn.equal(x, 1), TypeError, "equal"),
    ],
)
def test_errors_name_what_was_called(call, error, text):
    with pytest.raises(error, match=text):
        call(fastnn.ones(2, 3))


def test_operators_in_place_keep_the_tensor():
    x = fastnn.tensor([7.0, -7.0])
    same = x
    x //= 2
    assert x.tolist() == [3, -4]
    x %= 3
    assert x.tolist() == [0, 2]
    x **= 2
    assert x.tolist() == [0, 4]
    assert x is same
    flags = kept = fastnn.tensor([True, True, False])
    flags &= fastnn.tensor([True, False, True])
    flags |= fastnn.tensor([False, False, True])
    flags ^= fastnn.tensor([True, False, False])
    assert flags is kept
    assert flags.tolist() == [False, False, True]
    assert (~flags).tolist() == [True, True, False]
    assert (1 | fastnn.tensor([2, 4])).tolist() == [3, 5]
    assert (7 // fastnn.tensor([2, -2])).tolist() == [3, -4]
    assert (7 % fastnn.tensor([4, -4])).tolist() == [3, -1]
    with pytest.raises(TypeError):
        fastnn.tensor([1]) & "a"


def test_every_function_with_a_form_in_place_agrees_with_it():
    for name in fastnn.ops._registry.METHODS:
        plain = getattr(Tensor, name.rstrip("_"), None)
        if not name.endswith("_") or name.startswith("_") or plain is None:
            continue
        x = fastnn.tensor([0.5, 2.25, -1.5]).abs()
        for arguments in ((), (2,), (fastnn.tensor([True, False, True]), 5)):
            try:
                expected = plain(x, *arguments)
            except (TypeError, ValueError):
                continue
            if not isinstance(expected, Tensor) or expected.dtype is not x.dtype:
                continue
            if name in ("bernoulli_", "requires_grad_"):
                continue
            y = x.clone()
            assert getattr(y, name)(*arguments) is y
            np.testing.assert_array_equal(y.numpy(), expected.numpy())


def test_inference_mode():
    x = fastnn.ones(2, requires_grad=True)
    with fastnn.inference_mode():
        assert not (x * 2).requires_grad
    with fastnn.inference_mode(False):
        assert (x * 2).requires_grad

    @fastnn.inference_mode
    def plain(v):
        return v * 2

    @fastnn.inference_mode()
    def called(v):
        return v * 2

    @fastnn.inference_mode(mode=False)
    def off(v):
        return v * 2

    assert not plain(x).requires_grad
    assert not called(x).requires_grad
    assert off(x).requires_grad
    with fastnn.no_grad(), fastnn.inference_mode(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_names_of_dtypes():
    assert fastnn.float is fastnn.float32
    assert fastnn.double is fastnn.float64
    assert fastnn.int is fastnn.int32
    assert fastnn.long is fastnn.int64
