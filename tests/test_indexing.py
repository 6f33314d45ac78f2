"""Brackets: reading and writing by integers, slices, None, ... and integer arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import _core
from fastnn.autograd import gradcheck, gradgradcheck
from fastnn.ops._record import recording

SHAPE = (3, 4, 5)


def array():
    return np.arange(60.0).reshape(SHAPE)


BASIC = [
    0,
    -1,
    np.int64(1),
    slice(None),
    slice(1, None),
    slice(None, None, -1),
    slice(-1, None, -2),
    slice(5, 1),
    slice(-100, 100),
    None,
    ...,
    (),
    (0, 0, 0),
    (1, slice(None), -1),
    (slice(None), 2),
    (..., 0),
    (0, ...),
    (..., slice(None, None, 2)),
    (None, 0, None, ..., None),
    (slice(0, 0), slice(3, 0, -1)),
    (slice(None, None, -1),) * 3,
    (slice(1, 2), slice(1, 2), slice(1, 2), None),
    (slice(2, None, -1), slice(3, 0, -2), slice(0, 5, 3)),
]
ARRAYS = [
    [0, 2],
    [2, 2, 0, -1],
    [],
    [[0, 1], [1, 2]],
    np.array([1]),
    np.array(1),
    np.array([0, 2], dtype=np.uint8),
    np.array([-1, -3], dtype=np.int8),
    np.zeros((0, 3), dtype=np.int64),
    ([0, 1], [1, 2]),
    ([0, 1], [1, 2], [3, -4]),
    ([[0], [1]], [1, 2]),
    (slice(None), [0, 3]),
    (..., [4, 0]),
    (slice(1, None), [0, 3], slice(None, None, 2)),
    (slice(None), [0, 3], [1, 1]),
    ([0, 1], slice(None), [3, 4]),
    ([0, 1], None, [3, 2]),
    (None, [0, 1], [2, 3]),
    ([[0, 1], [2, 0]], slice(None), [0, 1]),
    (slice(None), [[1], [0]], [2, 3]),
    (..., [1, 2], [0, 3]),
]


def ours(index):
    """The same index with tensors where arrays stood."""
    if isinstance(index, tuple):
        return tuple(ours(i) for i in index)
    if isinstance(index, (list, np.ndarray)) and np.size(index):
        return fastnn.tensor(np.asarray(index))
    return index


@pytest.mark.parametrize("index", BASIC, ids=str)
def test_basic(index):
    a = array()
    x = fastnn.from_numpy(a)
    y = x[index]
    assert y.shape == a[index].shape
    np.testing.assert_array_equal(y.numpy(), a[index])
    assert _core.same_storage(x, y)
    assert y is not x
    # and on a view
    t = x.permute(2, 0, 1)
    np.testing.assert_array_equal(t[:3][index].numpy(), a.transpose(2, 0, 1)[:3][index])


@pytest.mark.parametrize("index", ARRAYS, ids=str)
def test_arrays(index):
    a = array()
    x = fastnn.from_numpy(a)
    expected = a[
        tuple(np.array(i, int) if isinstance(i, list) else i for i in index)
        if isinstance(index, tuple)
        else np.array(index, int)
    ]
    for i in (index, ours(index)):
        y = x[i]
        assert y.shape == expected.shape
        np.testing.assert_array_equal(y.numpy(), expected)
        if isinstance(index, tuple) or np.ndim(index):
            assert not np.shares_memory(y.numpy(), a)


def test_integers_beside_arrays_are_taken_first():
    """As in PyTorch; NumPy counts the integer among the arrays and moves the result's
    dimension to the front."""
    x = fastnn.from_numpy(array())
    y = x[0, :, [1, 2]]
    assert y.shape == (4, 2)
    np.testing.assert_array_equal(y.numpy(), array()[0][:, [1, 2]])


def test_as_in_pytorch():
    torch = pytest.importorskip("torch")
    a = array()
    x, t = fastnn.from_numpy(a), torch.from_numpy(a)

    def backwards(i):  # not in PyTorch
        return isinstance(i, slice) and (i.step or 1) < 0

    cases = [
        *BASIC,
        *ARRAYS,
        (0, slice(None), [1, 2]),
        ([0, 1], 1, [1, 2]),
        (slice(None), [0, 1], 1),
    ]
    for index in cases:
        flat = index if isinstance(index, tuple) else (index,)
        if any(backwards(i) or isinstance(i, np.ndarray) for i in flat):
            continue  # an array of uint8 is a mask there
        theirs = tuple(
            torch.tensor(i, dtype=torch.int64) if isinstance(i, list) else i
            for i in flat
        )
        assert x[index].shape == tuple(t[theirs].shape), index
        np.testing.assert_array_equal(x[index].numpy(), t[theirs].numpy())


@st.composite
def indices(draw):
    """An index of up to four entries, and the shape it is for."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    n = draw(st.integers(0, 4))
    entries = []
    for d in range(min(len(shape), draw(st.integers(0, len(shape))))):
        size = shape[d]
        bound = st.one_of(st.none(), st.integers(-7, 7))
        step = st.integers(-3, 3).filter(bool)
        number = st.integers(-size, size - 1)
        entries.append(
            draw(
                st.one_of(
                    st.builds(slice, bound, bound, st.one_of(st.none(), step)),
                    st.lists(number, min_size=n, max_size=n),
                    st.just(slice(None)),
                )
            )
        )
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), None)
    if draw(st.booleans()):  # without arrays, integers mean the same to all
        entries = [draw(number_for(e)) for e in entries]
    return tuple(shape), tuple(entries)


def number_for(entry):
    return st.just(-1 if isinstance(entry, list) else entry)


@settings(max_examples=300, deadline=None)
@given(indices())
def test_any_index(case):
    shape, index = case
    a = np.arange(float(np.prod(shape))).reshape(shape)
    expected = a[tuple(np.array(i, int) if isinstance(i, list) else i for i in index)]
    got = fastnn.from_numpy(a)[index]
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.numpy(), expected)


@settings(max_examples=200, deadline=None)
@given(indices(), st.booleans())
def test_any_assignment(case, spread):
    shape, index = case
    index = tuple(-1 if isinstance(i, list) else i for i in index)
    a = np.zeros(shape)
    x = fastnn.zeros(*shape, dtype=fastnn.float64)
    part = a[index].shape
    value = np.float64(5) if spread else np.random.default_rng(0).random(part)
    a[index] = value
    x[index] = value if spread else fastnn.tensor(value)
    np.testing.assert_array_equal(x.numpy(), a)


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        (fastnn.tensor([True, False]), IndexError, r"mask of shape \(3,\), got \(2,\)"),
        (np.ones((4, 3), bool), IndexError, r"mask of shape \(3, 4\), got \(4, 3\)"),
        ((0, [True, False, True]), IndexError, r"mask of shape \(4,\)"),
        (np.ones((3, 4, 5, 1), bool), IndexError, "at most 3 indices"),
        (True, TypeError, "one truth value"),
        ((0, fastnn.tensor(True)), TypeError, "one truth value"),
        (3, IndexError, "from -3 to 2, got 3"),
        (-4, IndexError, "got -4"),
        ((0, 4), IndexError, "got 4"),
        ([0, 3], IndexError, "from -3 to 2, got 3"),
        ([-4], IndexError, "got -4"),
        (fastnn.tensor([2**62]), IndexError, str(2**62)),
        ((0, 0, 0, 0), IndexError, "at most 3 indices"),
        ((..., ...), IndexError, "one ..."),
        (([0, 1], [0, 1, 2]), IndexError, "broadcast"),
        (1.0, TypeError, "float"),
        ([1.0], TypeError, "integers"),
        (fastnn.tensor([1.0]), TypeError, "integers"),
        (fastnn.tensor(1.0), TypeError, "integer"),
        ("a", TypeError, "str"),
        (slice(None, None, 0), ValueError, "zero"),
        (slice(1.0, None), TypeError, "slice"),
    ],
    ids=str,
)
def test_errors(index, error, text):
    x = fastnn.from_numpy(array())
    with pytest.raises(error, match=text.replace("...", r"\.\.\.")):
        x[index]
    with pytest.raises(error):
        x[index] = 0.0
    np.testing.assert_array_equal(x.numpy(), array())


def test_index_of_an_empty_dimension():
    x = fastnn.zeros(0, 2)
    assert x[[]].shape == (0, 2)
    assert x[:, [1, 0, 1]].shape == (0, 3)
    with pytest.raises(IndexError):
        x[[0]]
    with pytest.raises(IndexError):
        x[0]
    with pytest.raises(IndexError):
        fastnn.tensor(1.0)[0]


@pytest.mark.parametrize(
    "value",
    [
        7,
        7.5,
        True,
        [1, 2, 3, 4, 5],
        np.arange(5, dtype=np.int32),
        np.arange(4.0)[:, None],
    ],
    ids=str,
)
def test_assignment(value):
    a = array()
    x = fastnn.tensor(a)
    for index in (0, (slice(None), 1), (..., slice(None, None, -2), slice(None)), ...):
        try:
            a[index] = value
        except ValueError:
            with pytest.raises(ValueError):
                x[index] = value
            continue
        x[index] = value
        np.testing.assert_array_equal(x.numpy(), a)


def test_assignment_keeps_the_dtype_and_refuses_what_does_not_fit():
    x = fastnn.arange(3)
    x[0] = fastnn.tensor(True)
    assert x.tolist() == [1, 1, 2]
    with pytest.raises(ValueError):
        x[:2] = fastnn.arange(3)
    leaf = fastnn.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError):
        leaf[0] = 1
    with fastnn.no_grad():
        leaf[0] = 5
    assert leaf.tolist() == [5, 1]


def test_overlapping_assignment():
    for index, source in (
        ((slice(1, None),), (slice(None, -1),)),
        ((slice(None, -1),), (slice(1, None),)),
        ((slice(None, None, -1),), (slice(None),)),
    ):
        a = np.arange(100.0)
        x = fastnn.tensor(a)
        a[index] = a[source].copy()
        x[index] = x[source]
        np.testing.assert_array_equal(x.numpy(), a)


@pytest.mark.parametrize(
    "index",
    [
        1,
        (slice(None, None, -2), 1),
        (None, ..., 0),
        [0, 2, 0],
        ([0, 1], [1, 1]),
        (slice(None), [0, 3, 3]),
        ([2, 0], slice(1, 3), [0, 0]),
        (slice(0, 0),),
    ],
    ids=str,
)
def test_gradients(index):
    a = np.random.default_rng(0).standard_normal(SHAPE)
    x = fastnn.tensor(a, requires_grad=True)
    assert gradcheck(lambda x: x[index] * 2, [x])
    assert gradgradcheck(lambda x: x[index] ** 3, [x])
    x[index].sum().backward()
    expected = np.zeros(SHAPE)
    np.add.at(expected, index if not isinstance(index, list) else np.array(index), 1)
    np.testing.assert_array_equal(x.grad.numpy(), expected)


# ---- masks, and writing through arrays ---------------------------------------------------

MASK = array() % 7 > 2
CHOICES = [
    MASK,
    MASK[:, :, 0],
    MASK[:, 0, 0],
    np.zeros(3, bool),
    np.ones(SHAPE, bool),
    (slice(None), MASK[0, :, 1]),
    (slice(1, None), MASK[0]),
    (..., MASK[0, 0]),
    (0, MASK[0]),
    (MASK[:, 0, 0], 1),
    (None, MASK[:, :, 1]),
    *[i for i in ARRAYS if not isinstance(i, list) or i],
]
NO_REPEATS = [i for i in CHOICES if "2, 2" not in str(i)]


def numpys(index):
    """The index for NumPy: lists as arrays."""
    if isinstance(index, tuple):
        return tuple(np.array(i, int) if isinstance(i, list) else i for i in index)
    return np.array(index, int) if isinstance(index, list) else index


@pytest.mark.parametrize("index", CHOICES, ids=lambda i: str(i)[:40])
def test_masks_and_arrays_choose(index):
    a = array()
    expected = a[numpys(index)]
    for x in (fastnn.from_numpy(a), fastnn.tensor(a.T.copy()).permute(2, 1, 0)):
        for i in (index, ours(index)):
            assert x[i].shape == expected.shape
            np.testing.assert_array_equal(x[i].numpy(), expected)


@pytest.mark.parametrize("layout", ["plain", "transposed", "strided", "int64"])
@pytest.mark.parametrize("index", NO_REPEATS, ids=lambda i: str(i)[:40])
def test_masks_and_arrays_are_written(index, layout):
    def fresh():
        a = array().astype(np.int64) if layout == "int64" else array()
        if layout == "transposed":
            a = a.T.copy().T
        if layout == "strided":
            wide = np.zeros((3, 8, 5))
            wide[:, ::2] = a
            a = wide[:, ::2]
        return a, fastnn.from_numpy(a.copy(order="K") if layout != "strided" else a)

    shape = array()[numpys(index)].shape
    rng = np.random.default_rng(1)
    for value in (7, np.float64(-2), rng.integers(100, 200, shape)):
        for i in (index, ours(index)):
            a, x = fresh()
            expected = np.array(a)
            expected[numpys(index)] = value
            x[i] = fastnn.tensor(value) if isinstance(value, np.ndarray) else value
            np.testing.assert_array_equal(x.numpy(), expected)


def test_written_values_broadcast_and_the_last_of_several_stays():
    x = fastnn.zeros(3, 4)
    x[[0, 2]] = fastnn.arange(4)
    assert x.tolist() == [[0, 1, 2, 3], [0] * 4, [0, 1, 2, 3]]
    x[:, [1, 3]] = fastnn.tensor([[7], [8], [9]])
    assert x[:, 1].tolist() == x[:, 3].tolist() == [7, 8, 9]
    x[[1, 1]] = fastnn.tensor([[5], [6]])
    assert x[1].tolist() == [6] * 4
    x[x > 6] = -1
    assert x.max().item() == 6
    x[fastnn.tensor([True, False, True])] += 1
    assert x[1].tolist() == [6] * 4
    with pytest.raises(ValueError, match=r"broadcasts to \(2, 4\), got \(3,\)"):
        x[[0, 2]] = fastnn.ones(3)
    with pytest.raises(IndexError, match="got 3"):
        x[[0, 3]] = 0
    assert x[1].tolist() == [6] * 4


def test_writing_through_arrays_and_masks_is_recorded():
    leaf = fastnn.ones(3, 4, dtype=fastnn.float64, requires_grad=True)
    value = fastnn.ones(2, 4, dtype=fastnn.float64, requires_grad=True)

    def write(index):
        def f(x, v):
            y = x * 2
            y[index] = v[0, 0] if isinstance(index, fastnn.Tensor) else v
            return y

        return f

    for index in (
        [0, 2],
        ([2, 0],),
        fastnn.tensor([[True, False, True, False]] * 3),
    ):
        assert gradcheck(write(index), [leaf, value])
        assert gradgradcheck(write(index), [leaf, value])
    with pytest.raises(RuntimeError, match="leaf"):
        leaf[[0, 2]] = 1
    y = leaf * 2
    with pytest.raises(RuntimeError, match="view"):
        y[0][[1, 2]] = 1
    with fastnn.no_grad():
        leaf[[0, 2]] = 5
    assert leaf.sum().item() == 44


def test_a_mask_of_nothing():
    x = fastnn.ones(2, 3)
    none = fastnn.zeros(2, 3, dtype=fastnn.bool)
    assert x[none].shape == (0,)
    x[none] = 5
    x[none] = fastnn.zeros(0)
    assert x.sum().item() == 6
    assert fastnn.zeros(0, 3)[fastnn.zeros(0, dtype=fastnn.bool)].shape == (0, 3)


def test_index_tensors_are_not_read():
    """What is recorded holds for other indices: no value of theirs is in it."""
    x = fastnn.arange(12.0).reshape(3, 4)
    rows, columns = fastnn.tensor([0, -1]), fastnn.tensor([3, 1])
    hot, tape = fastnn.tensor([0, 2]), []
    with recording(lambda op, args, result: tape.append((op, args, result))):
        found = [x[rows], x[rows, columns], fastnn.one_hot(hot, 4)]
    rows.copy_(fastnn.tensor([-3, 1]))
    columns.copy_(fastnn.tensor([2, -1]))
    hot.copy_(fastnn.tensor([3, 1]))
    values = {}
    for op, args, result in tape:
        again = [
            [values.get(id(a), a) for a in arg]
            if isinstance(arg, list)
            else values.get(id(arg), arg)
            for arg in args
        ]
        values[id(result)] = op(*again)
    expected = [x[rows], x[rows, columns], fastnn.one_hot(hot, 4)]
    for before, now in zip(found, expected, strict=True):
        assert values[id(before)].tolist() == now.tolist() != before.tolist()


def test_an_index_out_of_range():
    x = fastnn.zeros(3, 4)
    for bad in (3, -4, 2**62):
        with pytest.raises(IndexError, match=f"indices from -3 to 2, got {bad}"):
            x[fastnn.tensor([0, bad])]
    with pytest.raises(IndexError, match="indices from -4 to 3, got 4"):
        x[:, [4]]
    with pytest.raises(IndexError, match="got 9"):
        x[[0, 9]] = 1.0
