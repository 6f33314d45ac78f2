"""fastnn.data: data sets, collation, and what a loader hands out.

The oracle of a batch is the slow way: samples asked for one by one and joined in NumPy.
"""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest

import fastnn
from fastnn import Generator, data
from fastnn.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset


def arrays(batches):
    """Batches of (x, y) as lists of nested lists."""
    return [[t.tolist() for t in batch] for batch in batches]


def pairs(n, width=3):
    """A TensorDataset whose row i is recognisable: x[i] = i + 0, 0.1, ...; y[i] = i."""
    x = (
        np.arange(n, dtype=np.float32)[:, None]
        + np.arange(width, dtype=np.float32) / 10
    )
    return TensorDataset(fastnn.tensor(x), fastnn.arange(n))


class OneByOne(Dataset):
    """The same samples without what makes gathering whole batches possible."""

    def __init__(self, inner):
        self.inner = inner

    def __getitem__(self, index):
        return self.inner[index]

    def __len__(self):
        return len(self.inner)


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter((i, float(i)) for i in range(self.n))


Point = collections.namedtuple("Point", "x y")

# ---- data sets ----


def test_tensor_dataset():
    x, y = fastnn.rand(4, 2), np.arange(4)
    d = TensorDataset(x, y)
    assert len(d) == 4
    assert d.tensors[0] is x
    assert d[3][0].tolist() == x[3].tolist() and d[-1][1].item() == 3
    assert [t.shape for t in d[1:3]] == [(2, 2), (2,)]
    assert [t.tolist() for t in d[[2, 0]]][1] == [2, 0]
    with pytest.raises(IndexError):
        d[4]
    y[0] = 7  # arrays are shared, not copied
    assert d[0][1].item() == 7


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ((), "at least one tensor"),
        ((fastnn.zeros(2), fastnn.zeros(3)), r"equal length, got lengths \[2, 3\]"),
        ((fastnn.tensor(1.0),), "with dimensions"),
    ],
)
def test_tensor_dataset_refuses(tensors, words):
    with pytest.raises(ValueError, match=f"TensorDataset: expected .*{words}"):
        TensorDataset(*tensors)


def test_subset_and_concat():
    base = list("abcdefgh")
    for indices in (
        [5, 1, 1],
        (5, 1, 1),
        np.array([5, 1, 1]),
        fastnn.tensor([5, 1, 1]),
    ):
        part = Subset(base, indices)
        assert len(part) == 3
        assert [part[i] for i in range(3)] == ["f", "b", "b"]
        assert part[-1] == "b"
        assert part.__getitems__([0, 2]) == ["f", "b"]
    nested = Subset(Subset(base, [6, 4, 2]), [2, 0])
    assert [nested[i] for i in range(2)] == ["c", "g"]
    both = data.ConcatDataset([["a"], [], ["b", "c"]])
    assert [both[i] for i in range(-3, 3)] == list("abcabc")
    assert both.cumulative_sizes == [1, 1, 3]
    for i in (3, -4):
        with pytest.raises(IndexError, match="from -3 to 2"):
            both[i]
    assert len(pairs(2) + pairs(3)) == 5
    with pytest.raises(ValueError, match="at least one dataset"):
        data.ConcatDataset([])
    with pytest.raises(TypeError, match="IterableDataset Stream"):
        data.ConcatDataset([Stream(3)])


def test_getitems_of_the_inner_dataset_is_used():
    class Together(Dataset):
        def __getitems__(self, indices):
            return [("batch", i) for i in indices]

        def __len__(self):
            return 4

    (batch,) = DataLoader(Together(), batch_size=4)
    assert batch[0] == ("batch",) * 4 and batch[1].tolist() == [0, 1, 2, 3]
    (batch,) = DataLoader(Subset(Together(), [3, 1]), batch_size=2)
    assert batch[1].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("n", "lengths", "expected"),
    [
        (10, [7, 3], [7, 3]),
        (10, [0.33, 0.33, 0.34], [4, 3, 3]),
        (10, [0.7, 0.2, 0.1], [7, 2, 1]),  # adds up to 1 - 1e-16
        (10, [0.1] * 10, [1] * 10),
        (1, [1], [1]),
        (1, [1.0], [1]),
        (7, [1.0], [7]),
        (0, [0], [0]),
    ],
)
def test_random_split(n, lengths, expected):
    parts = data.random_split(range(n), lengths, generator=Generator(1))
    assert [len(p) for p in parts] == expected
    assert sorted(i for p in parts for i in p.indices) == list(range(n))
    again = data.random_split(range(n), lengths, generator=Generator(1))
    assert [p.indices for p in parts] == [p.indices for p in again]
    torch = pytest.importorskip("torch").utils.data
    if n > 0:
        assert [len(p) for p in torch.random_split(range(n), lengths)] == expected


def test_random_split_draws_from_the_default_generator():
    state = fastnn.get_rng_state()
    order = fastnn.randperm(9).tolist()
    fastnn.set_rng_state(state)
    a, b = data.random_split(range(9), [4, 5])
    assert a.indices + b.indices == order
    with pytest.warns(UserWarning, match="part 1 is empty"):
        assert [len(p) for p in data.random_split(range(1), [0.5, 0.5])] == [1, 0]
    for wrong in ([3, 3], [0.5, 0.6], [-1, 11], [5.0, 5.0], []):
        with pytest.raises(ValueError, match="random_split: expected lengths"):
            data.random_split(range(10), wrong)
    with pytest.raises(ValueError, match="fractions from 0 to 1"):
        data.random_split(range(10), [1.5, -0.5])


# ---- collation ----

SAMPLES = [
    [1, 2],
    [1.0, 2.0],
    [True, False],
    [1, 2.5],
    ["a", "b"],
    [b"a", b"b"],
    [np.float32(1), np.float32(2)],
    [np.int64(1), np.int64(2)],
    [np.ones((2, 3)), np.zeros((2, 3))],
    [np.array([1, 2], np.uint8)],
    [(1, 2.0), (3, 4.0)],
    [[1, "a"], [2, "b"]],
    [Point(1, 2.0), Point(3, 4.0)],
    [{"a": 1, "b": [1.0]}, {"a": 2, "b": [3.0]}],
    [collections.OrderedDict(a=1)],
    [collections.defaultdict(list, a=1)],
    [range(2), range(2)],
    [((1, (2, "c")), {"d": 1.0})] * 3,
]


def plain(value):
    """A batch with its tensors made (dtype name, list), whatever they are tensors of."""
    if hasattr(value, "dtype") and not isinstance(value, np.ndarray):
        return str(value.dtype).split(".")[-1], value.tolist()
    if isinstance(value, dict):
        return type(value), {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


@pytest.mark.parametrize("samples", SAMPLES, ids=repr)
def test_collate_and_convert_as_pytorch(samples):
    torch = pytest.importorskip("torch").utils.data
    expected = plain(torch.default_collate(samples))
    assert plain(data.default_collate(samples)) == expected
    for sample in samples:
        got, expected = data.default_convert(sample), torch.default_convert(sample)
        assert plain(got) == plain(expected)


def test_collate_tensors():
    x = [fastnn.rand(2, 3) for _ in range(4)]
    y = data.default_collate(x)
    np.testing.assert_array_equal(y.numpy(), np.stack([t.numpy() for t in x]))
    assert data.default_collate([t[0, 0] for t in x]).shape == (4,)
    assert data.default_collate([t[:, 1] for t in x]).shape == (4, 2)
    assert data.default_collate([t[:, :0] for t in x]).shape == (4, 2, 0)
    assert data.default_collate([fastnn.tensor([1]), fastnn.tensor([2])]).dtype is (
        fastnn.int64
    )
    for dtype in ("bool", "uint8", "int64", "float32", "float64"):
        values = fastnn.tensor([0, 1, 3, 200]).to(getattr(fastnn, dtype))
        values = values if dtype in ("bool", "uint8", "int64") else values / 3
        assert plain(data.default_collate(list(values))) == plain(values)
    big = fastnn.tensor([2**62 + 1, -(2**63)])
    assert data.default_collate([big[0], big[1]]).tolist() == big.tolist()
    mixed = data.default_collate([fastnn.tensor(1), fastnn.tensor(2.5)])
    assert mixed.tolist() == [1.0, 2.5]
    w = fastnn.ones(3, requires_grad=True)
    data.default_collate([w[0], w[2], w[2]]).sum().backward()
    assert w.grad.tolist() == [1, 0, 2]
    x[0].requires_grad_()
    data.default_collate(x).sum().backward()
    assert x[0].grad.tolist() == np.ones((2, 3)).tolist()


@pytest.mark.parametrize(
    ("samples", "error", "words"),
    [
        ([], ValueError, "at least one sample"),
        ([None, None], TypeError, "NoneType"),
        ([object()], TypeError, "collate_fn"),
        ([np.array("a")], TypeError, "arrays of numbers"),
        ([(1,), (1, 2)], ValueError, r"lengths \[1, 2\]"),
        ([fastnn.zeros(2), fastnn.zeros(3)], ValueError, r"\(2,\), \(3,\)"),
        ([np.zeros(2), np.zeros((2, 1))], ValueError, "equal shape"),
    ],
)
def test_collate_refuses(samples, error, words):
    with pytest.raises(error, match=f"default_collate: expected .*{words}"):
        data.default_collate(samples)


# ---- loading ----


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
def test_batches(size, drop_last, workers):
    for inner in (pairs(10), OneByOne(pairs(10)), Subset(pairs(20), range(10))):
        loader = DataLoader(inner, size, drop_last=drop_last, num_workers=workers)
        rows = [list(range(10))[i : i + size] for i in range(0, 10, size)]
        rows = [r for r in rows if len(r) == size or not drop_last]
        assert len(loader) == len(rows)
        for _ in range(2):
            got = list(loader)
            assert [y.tolist() for _, y in got] == rows
            for x, y in got:
                np.testing.assert_array_equal(x.numpy()[:, 0], y.numpy())


KINDS = {
    "tensors": lambda: pairs(23),
    "subset": lambda: Subset(pairs(40), list(range(30, 7, -1))),
    "split": lambda: data.random_split(pairs(30), [23, 7], Generator(5))[0],
    "tensor": lambda: fastnn.arange(23),
    "array": lambda: np.arange(46, dtype=np.float64).reshape(23, 2),
    "strided": lambda: np.arange(46, dtype=np.int32).reshape(2, 23).T,
    "read only": lambda: np.broadcast_to(np.float32(3), (23, 2)),
    "half": lambda: np.arange(23).astype(np.float16),
    "bools": lambda: TensorDataset(np.arange(23) % 2 == 0, np.zeros((23, 0))),
    "samples": lambda: [(i, {"name": str(i)}) for i in range(23)],
    "one by one": lambda: OneByOne(pairs(23)),
    "concat": lambda: pairs(11) + pairs(12),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_reading_gives_the_same(kind, workers):
    """Gathered natively or not, a batch is default_collate of its samples."""
    dataset = KINDS[kind]()
    loader = DataLoader(
        dataset, 4, shuffle=True, generator=Generator(7), num_workers=workers
    )
    g = Generator(7)
    for _ in range(2):
        order = fastnn.randperm(23, generator=g).tolist()
        parts = [order[i : i + 4] for i in range(0, 23, 4)]
        expected = [data.default_collate([dataset[i] for i in p]) for p in parts]
        assert plain(list(loader)) == plain(expected)


def test_the_default_generator_shuffles_at_iter():
    loader = DataLoader(range(20), 5, shuffle=True)
    state = fastnn.get_rng_state()
    order = fastnn.randperm(20).tolist()
    fastnn.set_rng_state(state)
    batches = iter(loader)
    fastnn.manual_seed(99)  # too late to matter
    assert [i for b in batches for i in b.tolist()] == order
    fastnn.set_rng_state(state)
    assert [i for b in loader for i in b.tolist()] == order
    assert [i for b in loader for i in b.tolist()] != order


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", ["tensors", "subset", "tensor", "array", "one by one"])
def test_writing_into_a_batch_changes_no_sample(kind, shuffle):
    dataset = KINDS[kind]()
    before = plain([data.default_convert(dataset[i]) for i in range(23)])
    for size in (5, 23):
        for batch in DataLoader(dataset, size, shuffle=shuffle):
            for t in batch if isinstance(batch, list) else [batch]:
                t.zero_()
    assert plain([data.default_convert(dataset[i]) for i in range(23)]) == before


def test_samplers_in_a_loader():
    d = pairs(10)
    y = lambda loader: [b[1].tolist() for b in loader]  # noqa: E731
    assert y(DataLoader(d, 2, sampler=[3, 1, 2])) == [[3, 1], [2]]
    assert y(DataLoader(d, 2, sampler=iter([3, -1]))) == [[3, 9]]
    assert y(DataLoader(d, batch_sampler=[[1], [2, 3]])) == [[1], [2, 3]]
    assert y(DataLoader(d, batch_sampler=[fastnn.tensor([1, 2]), (3,)])) == [
        [1, 2],
        [3],
    ]
    assert y(DataLoader(d, batch_sampler=[np.array([4, 4])])) == [[4, 4]]
    assert y(DataLoader(d, batch_sampler=[[]])) == [[]]
    s = data.BatchSampler(data.RandomSampler(d, generator=Generator(2)), 4, True)
    order = fastnn.randperm(10, generator=Generator(2)).tolist()
    loader = DataLoader(d, batch_sampler=s)
    assert y(loader) == [order[:4], order[4:8]]
    assert len(loader) == 2 and loader.batch_size is None and loader.drop_last is False

    class Backwards(data.SequentialSampler):
        def __iter__(self):
            return iter(range(len(self) - 1, -1, -1))

    assert y(DataLoader(d, 5, sampler=Backwards(d)))[0] == [9, 8, 7, 6, 5]

    class Twice(data.BatchSampler):
        def __iter__(self):
            return itertools.chain(super().__iter__(), super().__iter__())

    twice = Twice(data.SequentialSampler(d), 5, False)
    assert len(y(DataLoader(d, batch_sampler=twice))) == 4


def test_subclasses_keep_what_they_change():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return tuple(t * 2 for t in super().__getitem__(index))

    (batch,) = DataLoader(Doubled(fastnn.arange(3)), 3)
    assert batch[0].tolist() == [0, 2, 4]

    class Named(TensorDataset):
        pass

    assert len(DataLoader(Named(fastnn.arange(3)), 3)) == 1

    class Together(TensorDataset):
        def __getitems__(self, indices):
            return [("own", i) for i in indices]

    (batch,) = DataLoader(Together(fastnn.arange(2)), 2)
    assert batch[0] == ("own", "own")


def test_collate_fn_gets_the_samples():
    seen = []
    loader = DataLoader(pairs(3), 2, collate_fn=lambda s: seen.append(s) or len(s))
    assert list(loader) == [2, 1]
    assert [type(s) for s in seen] == [list, list] and type(seen[0][0]) is tuple
    assert arrays(DataLoader(pairs(3), 2, collate_fn=data.default_collate)) == arrays(
        DataLoader(pairs(3), 2)
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_without_batches(workers):
    rows = np.arange(6.0).reshape(3, 2)
    loader = DataLoader(rows, None, num_workers=workers)
    assert len(loader) == 3
    assert [r.tolist() for r in loader] == rows.tolist()
    got = list(DataLoader(pairs(3), None, shuffle=True, generator=Generator(0)))
    assert [g[1].item() for g in got] == fastnn.randperm(
        3, generator=Generator(0)
    ).tolist()
    s = data.BatchSampler(range(6), 4, False)  # the data set itself takes lists
    assert [b[1].tolist() for b in DataLoader(pairs(6), None, sampler=s)] == [
        [0, 1, 2, 3],
        [4, 5],
    ]
    assert list(DataLoader(["a", "b"], None, collate_fn=str.upper)) == ["A", "B"]
    assert list(DataLoader(Stream(2), None)) == [[0, 0.0], [1, 1.0]]


@pytest.mark.parametrize("workers", [0, 1])
def test_streams(workers):
    loader = DataLoader(Stream(5), 2, num_workers=workers)
    for _ in range(2):
        assert arrays(loader) == [
            [[0, 1], [0.0, 1.0]],
            [[2, 3], [2.0, 3.0]],
            [[4], [4.0]],
        ]
    with pytest.raises(TypeError):
        len(loader)
    short = DataLoader(Stream(5), 2, drop_last=True, num_workers=workers)
    assert len(arrays(short)) == 2
    assert list(DataLoader(Stream(0), 2, num_workers=workers)) == []


def test_nothing_to_load():
    empty = TensorDataset(fastnn.zeros(0, 3))
    for options in ({}, {"shuffle": True}, {"num_workers": 1}, {"drop_last": True}):
        loader = DataLoader(empty, 4, **options)
        assert list(loader) == [] and len(loader) == 0


def test_gradients_flow_into_a_dataset_that_wants_them():
    x = fastnn.ones(4, 2, requires_grad=True)
    for workers in (0, 1):
        x.grad = None
        for (batch,) in DataLoader(TensorDataset(x), 3, num_workers=workers):
            batch.sum().backward()
        assert x.grad.tolist() == [[1, 1]] * 4
        with fastnn.no_grad():
            for (batch,) in DataLoader(TensorDataset(x), 3, num_workers=workers):
                assert not batch.requires_grad


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"batch_size": 0}, ValueError, "batch_size of at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size as an integer"),
        ({"batch_size": True}, TypeError, "batch_size as an integer"),
        ({"shuffle": True, "sampler": [0]}, ValueError, "a sampler or shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, ValueError, "batch_sampler alone"),
        ({"batch_sampler": [[0]], "shuffle": True}, ValueError, "batch_sampler alone"),
        ({"batch_sampler": [[0]], "sampler": [0]}, ValueError, "batch_sampler alone"),
        (
            {"batch_sampler": [[0]], "drop_last": True},
            ValueError,
            "batch_sampler alone",
        ),
        ({"batch_size": None, "drop_last": True}, ValueError, "drop_last=False"),
        ({"sampler": [0], "generator": Generator(0)}, ValueError, "no generator"),
        ({"num_workers": -1}, ValueError, "num_workers of at least 0"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor=None"),
        ({"prefetch_factor": 0, "num_workers": 1}, ValueError, "prefetch_factor"),
        ({"timeout": 5}, ValueError, "timeout=0"),
        ({"worker_init_fn": print}, ValueError, "worker_init_fn=None"),
        ({"multiprocessing_context": "fork"}, ValueError, "no worker processes"),
        ({"in_order": False}, ValueError, "in_order=True"),
        ({"generator": 5}, TypeError, "generator"),
    ],
)
def test_arguments_refused(options, error, words):
    with pytest.raises(error, match=f"DataLoader: expected .*{words}"):
        DataLoader(range(3), **options)


def test_hints_for_devices_and_processes_may_stay():
    loader = DataLoader(
        range(3), 2, num_workers=4, pin_memory=True, persistent_workers=True
    )
    assert [b.tolist() for b in loader] == [[0, 1], [2]]


def test_streams_refuse_orders():
    for options in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="IterableDataset"):
            DataLoader(Stream(3), **options)
    assert len(list(DataLoader(Stream(3), shuffle=False))) == 3


def test_what_a_loader_is_made_of_stays():
    loader = DataLoader(range(3), 2)
    assert loader.dataset == range(3) and loader.batch_size == 2
    for name in ("dataset", "batch_size", "sampler", "batch_sampler", "drop_last"):
        with pytest.raises(ValueError, match=f"expected {name} to stay"):
            setattr(loader, name, None)
    loader.num_workers  # noqa: B018
    loader.note = "one's own"


def test_indices_out_of_range():
    for d in (pairs(3), fastnn.arange(3), OneByOne(pairs(3))):
        with pytest.raises(IndexError):
            list(DataLoader(d, 2, sampler=[0, 3]))
    with pytest.raises(TypeError, match="DataLoader: expected a sequence of integers"):
        list(DataLoader(pairs(3), 2, sampler=[0.5]))


# ---- gathering rows ----


@pytest.mark.bits
@pytest.mark.parametrize("width", [1, 127, 128, 129, 784, 785, 1500, 16_384, 16_385])
def test_rows_of_a_table_larger_than_the_caches(width):
    """Rows fetched ahead by hand and rows that are not, on both sides of the limits."""
    rng = np.random.default_rng(width)
    table = rng.random((max(6_000_000 // width, 40), width), dtype=np.float32)
    assert table.nbytes > 20 << 20  # above any second-level cache
    x, threads = fastnn.from_numpy(table), fastnn.get_num_threads()
    try:
        for n in (1, 2, 5, 64, 3000 if width < 1024 else 70):
            index = rng.integers(-len(table), len(table), n)
            for t in (1, 3):
                fastnn.set_num_threads(t)
                got = fastnn.index_select(x, 0, fastnn.from_numpy(index)).numpy()
                np.testing.assert_array_equal(got, table[index])
                if n > 64:
                    continue
                pages = table[: len(table) // 4 * 4].reshape(4, -1, width)
                near = index % pages.shape[1]
                for kind in (np.int32, np.int64):
                    chosen = fastnn.from_numpy(near.astype(kind))
                    got = fastnn.index_select(fastnn.from_numpy(pages), 1, chosen)
                    np.testing.assert_array_equal(got.numpy(), pages[:, near])
        bad = fastnn.tensor([0] * 63 + [len(table)])
        with pytest.raises(IndexError, match="at position 63"):
            fastnn.index_select(x, 0, bad)
    finally:
        fastnn.set_num_threads(threads)
