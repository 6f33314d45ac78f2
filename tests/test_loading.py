"""A loader over time: resuming in the middle of an epoch, and reading ahead on a thread."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import Generator, data
from fastnn.data import DataLoader, Dataset, IterableDataset, TensorDataset

# ---- resuming ----


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(23))


class Own(data.Sampler):
    """A sampler of a user's own, that draws when it starts."""

    def __init__(self, generator=None):
        self.generator = generator

    def __iter__(self):
        yield from fastnn.randperm(23, generator=self.generator).tolist()

    def __len__(self):
        return 23


D = TensorDataset(fastnn.arange(23))
LOADERS = {
    "shuffle": lambda **o: DataLoader(D, 4, shuffle=True, **o),
    "drop_last": lambda **o: DataLoader(D, 4, shuffle=True, drop_last=True, **o),
    "generator": lambda **o: DataLoader(D, 4, True, generator=Generator(5), **o),
    "in order": lambda **o: DataLoader(D, 4, **o),
    "list": lambda **o: DataLoader(list(range(23)), 4, shuffle=True, **o),
    "singles": lambda **o: DataLoader(D, None, shuffle=True, **o),
    "replacement": lambda **o: DataLoader(
        D, 5, sampler=data.RandomSampler(D, True, 12, Generator(3)), **o
    ),
    "weighted": lambda **o: DataLoader(
        D, 5, sampler=data.WeightedRandomSampler([1.0, 2, 3], 12), **o
    ),
    "batch sampler": lambda **o: DataLoader(
        D,
        batch_sampler=data.BatchSampler(
            data.SubsetRandomSampler(range(5, 15), Generator(4)), 3, False
        ),
        **o,
    ),
    "own": lambda **o: DataLoader(D, 4, sampler=Own(), **o),
    "own generator": lambda **o: DataLoader(D, 4, sampler=Own(Generator(8)), **o),
    "stream": lambda **o: DataLoader(Stream(), 4, **o),
    "stream, drop_last": lambda **o: DataLoader(Stream(), 4, drop_last=True, **o),
    "stream of singles": lambda **o: DataLoader(Stream(), None, **o),
}
WORKERS = {
    "here": {},
    "ahead": {"num_workers": 1},
    "far ahead": {"num_workers": 1, "prefetch_factor": 9},
}


def as_list(batch):
    batch = batch[0] if isinstance(batch, list) else batch
    return batch.tolist() if isinstance(batch, fastnn.Tensor) else batch


def train(loader, epochs=3, stop=None, log=None):
    """Takes batches and, as dropout does, draws from the default generator meanwhile.

    Gives (epoch, batch, drawn) for each; stops after `stop` batches with both states.
    """
    log = [] if log is None else log
    for epoch in range(epochs):
        for batch in loader:
            log.append((epoch, as_list(batch), fastnn.rand(2).tolist()))
            if len(log) == stop:
                return log, loader.state_dict(), fastnn.get_rng_state()
    return log, loader.state_dict(), fastnn.get_rng_state()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", LOADERS)
def test_interrupted_after_any_batch_is_as_never_interrupted(kind, workers):
    make = lambda: LOADERS[kind](**WORKERS[workers])  # noqa: E731
    fastnn.manual_seed(1)
    whole, _, end = train(make())
    per_epoch = len(whole) // 3
    for stop in range(1, 2 * per_epoch + 1):
        fastnn.manual_seed(1)
        log, state, drawn = train(make(), stop=stop)
        assert log == whole[:stop]
        assert state["batches"] == (stop - 1) % per_epoch + 1

        fastnn.manual_seed(12345)  # another process, another loader
        loader = make()
        loader.load_state_dict(state)
        fastnn.set_rng_state(drawn)
        assert str(loader.state_dict()) == str(state)
        epoch = (stop - 1) // per_epoch
        rest, _, last = train(loader, 3 - epoch)
        assert [(e + epoch, *r) for e, *r in rest] == whole[stop:]
        assert last.tolist() == end.tolist()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", LOADERS)
def test_between_epochs(kind, workers):
    make = lambda: LOADERS[kind](**WORKERS[workers])  # noqa: E731
    fastnn.manual_seed(2)
    loader = make()
    fresh = loader.state_dict()
    assert fresh["batches"] == 0 and fresh["order"] is None
    first, state, drawn = train(loader, 1)
    assert state["batches"] == 0 and state["order"] is None
    second, _, _ = train(loader, 1)
    loader = make()
    loader.load_state_dict(state)
    fastnn.set_rng_state(drawn)
    assert train(loader, 1)[0] == second
    loader.load_state_dict(fresh)
    fastnn.manual_seed(2)
    assert train(loader, 1)[0] == first


def test_before_the_first_batch_and_after_the_last():
    loader = DataLoader(D, 4, shuffle=True)
    batches = iter(loader)
    state = loader.state_dict()
    whole = [as_list(b) for b in itertools.islice(batches, 6)]
    last = loader.state_dict()  # all handed out, the end not seen yet
    loader.load_state_dict(state)
    assert [as_list(b) for b in loader] == whole
    loader.load_state_dict(last)
    assert last["batches"] == 6
    assert list(loader) == []
    assert len(list(loader)) == 6


@pytest.mark.parametrize("kind", ["shuffle", "own", "weighted"])
def test_the_order_is_drawn_where_iteration_starts(kind):
    """Also by a sampler that is a generator function, and begins when asked first."""
    fastnn.manual_seed(6)
    expected = [as_list(b) for b in LOADERS[kind]()]
    fastnn.manual_seed(6)
    loader = LOADERS[kind]()
    batches = iter(loader)
    state = loader.state_dict()
    fastnn.manual_seed(7)
    assert [as_list(b) for b in batches] == expected
    loader.load_state_dict(state)
    batches = iter(loader)
    fastnn.manual_seed(8)
    assert [as_list(b) for b in batches] == expected


def test_taking_up_a_position_leaves_the_default_generator_alone():
    for make in (LOADERS["shuffle"], LOADERS["own"], LOADERS["weighted"]):
        loader = make()
        next(iter(loader))
        state = loader.state_dict()
        before = fastnn.get_rng_state().tolist()
        loader.load_state_dict(state)
        assert fastnn.get_rng_state().tolist() == before
        next(iter(loader))
        assert fastnn.get_rng_state().tolist() == before
        next(iter(loader))  # a new epoch draws
        assert fastnn.get_rng_state().tolist() != before


def test_batches_passed_over_are_not_read():
    class Seen(Dataset):
        def __init__(self):
            self.indices = []

        def __getitem__(self, i):
            self.indices.append(i)
            return i

        def __len__(self):
            return 12

    loader = DataLoader(Seen(), 2)
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    state = loader.state_dict()
    other = DataLoader(Seen(), 2)
    other.load_state_dict(state)
    assert len(list(other)) == 2
    assert other.dataset.indices == [8, 9, 10, 11]


def test_the_position_is_that_of_the_latest_iterator():
    loader = DataLoader(D, 4)
    a, b = iter(loader), iter(loader)
    next(a), next(a), next(b)
    assert loader.state_dict()["batches"] == 1
    assert as_list(next(a)) == [8, 9, 10, 11]
    list(a)
    assert loader.state_dict()["batches"] == 1


def test_states_that_do_not_fit():
    state = DataLoader(D, 4, shuffle=True).state_dict()
    own = DataLoader(D, 4, shuffle=True, generator=Generator(0)).state_dict()
    loader = DataLoader(D, 4, shuffle=True)
    for wrong, words in (
        ({}, "expected entries"),
        ({**state, "extra": 1}, "expected entries"),
        ({**state, "batch_size": 5}, "batch_size 4, got 5"),
        ({**state, "length": 7}, "length 6, got 7"),
        (own, "the default generator"),
        ({**state, "batches": 2}, "an order with 2 batches"),
        ({**state, "batches": -1}, "batches of at least 0"),
        ({**state, "batches": 7, "order": own["generator"]}, "at most 6"),
        ({**state, "order": fastnn.zeros(2)}, "set_state"),
    ):
        with pytest.raises(ValueError, match=words):
            loader.load_state_dict(wrong)
        assert str(loader.state_dict()) == str(state)
    with pytest.raises(ValueError, match="a generator of its own"):
        DataLoader(D, 4, True, generator=Generator(0)).load_state_dict(state)


# ---- the thread ----


def threads():
    return [t for t in threading.enumerate() if t.name == "fastnn.data"]


def none_left():
    """Whether all threads end soon."""
    for _ in range(400):
        if not threads():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture(autouse=True)
def no_thread_outlives_a_test():
    yield
    gc.collect()
    assert none_left()


class Slow(Dataset):
    """Says which samples were asked for, and where; may fail or wait."""

    def __init__(self, n=20, fail=None, error=None):
        self.n, self.fail, self.error = n, fail, error
        self.asked, self.names, self.gate = [], set(), threading.Event()
        self.gate.set()

    def __getitem__(self, i):
        self.gate.wait(10)
        self.asked.append(i)
        self.names.add(threading.current_thread().name)
        if i == self.fail:
            raise self.error
        return i

    def __len__(self):
        return self.n


def settle(d, n):
    for _ in range(400):
        if len(d.asked) >= n:
            break
        time.sleep(0.005)
    time.sleep(0.02)
    return len(d.asked)


@pytest.mark.parametrize("ahead", [None, 1, 2, 5])
def test_it_stays_that_far_ahead(ahead):
    d = Slow()
    loader = DataLoader(d, num_workers=1, prefetch_factor=ahead)
    assert loader.prefetch_factor == (ahead or 2)
    batches = iter(loader)
    for taken in range(1, 6):
        assert next(batches).tolist() == [taken - 1]
        assert settle(d, taken + (ahead or 2)) == taken + (ahead or 2)
    assert d.names == {"fastnn.data"}
    assert len(threads()) == 1
    assert [b.item() for b in batches] == list(range(5, 20))
    assert d.asked == list(range(20))


def test_indices_are_drawn_on_the_caller():
    names = set()

    class Watched(data.Sampler):
        def __iter__(self):
            for i in range(6):
                names.add(threading.current_thread().name)
                yield i

    list(DataLoader(range(6), 2, sampler=Watched(), num_workers=1))
    assert names == {"MainThread"}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [ValueError, KeyError, StopIteration, SystemExit])
def test_errors_reach_the_consumer(kind, workers):
    loader = DataLoader(Slow(fail=3, error=kind("sample 3")), num_workers=workers)
    batches = iter(loader)
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    # A StopIteration would end the loop as if nothing had happened.
    with pytest.raises(RuntimeError if kind is StopIteration else kind) as error:
        next(batches)
    text = "".join(traceback.format_exception(error.value))
    assert "sample 3" in text and "__getitem__" in text
    assert list(batches) == []
    assert loader.state_dict()["batches"] == 3
    assert none_left()


def test_errors_of_collate_fn_and_sampler():
    def refuse(samples):
        raise OverflowError("no")

    with pytest.raises(OverflowError):
        list(DataLoader(range(3), collate_fn=refuse, num_workers=1))

    def indices():
        yield 0
        raise LookupError("no more")

    batches = iter(DataLoader(range(3), 1, sampler=indices(), num_workers=1))
    with pytest.raises(LookupError):
        list(batches)


def test_abandoned_iterators_end_their_thread():
    loader = DataLoader(Slow(1000), num_workers=1)
    for _ in loader:
        assert len(threads()) == 1
        break
    assert none_left()  # without garbage collection
    batches = iter(loader)
    assert threads() == []  # it starts with the first batch
    next(batches)
    batches.close()
    assert none_left() and list(batches) == []
    cycle = [iter(loader)]
    cycle.append(cycle)
    next(cycle[0])
    del cycle
    gc.collect()
    assert none_left()

    def consume():
        for _ in loader:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()


def test_a_dropped_iterator_frees_dataset_and_batches():
    d = Slow()
    batches = iter(DataLoader(d, num_workers=1))
    batch = next(batches)
    dead = weakref.ref(d)
    del d, batches
    assert none_left()
    gc.collect()
    assert dead() is None and batch.item() == 0


def test_a_thread_in_the_middle_of_a_batch_stops_after_it():
    d = Slow(1000)
    batches = iter(DataLoader(d, num_workers=1))
    next(batches)
    settle(d, 3)
    d.gate.clear()
    next(batches)  # the thread now waits within sample 3
    before = len(d.asked)
    start = time.perf_counter()
    del batches
    assert time.perf_counter() - start < 1  # nobody waits for it
    d.gate.set()
    assert none_left()
    assert len(d.asked) <= before + 1


def test_several_iterators_at_once():
    loader = DataLoader(D, 4, shuffle=True, num_workers=1)
    fastnn.manual_seed(3)
    expected = [[as_list(b) for b in DataLoader(D, 4, shuffle=True)] for _ in range(3)]
    fastnn.manual_seed(3)
    iterators = [iter(loader) for _ in range(3)]
    got = [[as_list(b) for b in row] for row in zip(*iterators, strict=True)]
    assert [list(column) for column in zip(*got, strict=True)] == expected


def test_consumed_on_another_thread():
    batches, got = iter(DataLoader(D, 4, num_workers=1)), []
    got.append(as_list(next(batches)))
    t = threading.Thread(target=lambda: got.extend(as_list(b) for b in batches))
    t.start()
    t.join()
    assert got == [as_list(b) for b in DataLoader(D, 4)]


@pytest.mark.bits
def test_training_beside_the_thread_gives_the_same_bits():
    def run(workers):
        fastnn.manual_seed(0)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((500, 300)).astype(np.float32)
        d = TensorDataset(x, rng.integers(0, 5, 500))
        model = fastnn.nn.Sequential(
            fastnn.nn.Linear(300, 64), fastnn.nn.ReLU(), fastnn.nn.Linear(64, 5)
        )
        sgd = fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            for a, b in DataLoader(d, 32, shuffle=True, num_workers=workers):
                sgd.zero_grad()
                fastnn.nn.functional.cross_entropy(
                    model(fastnn.dropout(a, 0.2)), b
                ).backward()
                sgd.step()
        return [p.detach().numpy().tobytes() for p in model.parameters()]

    assert run(0) == run(1)


# ---- the process ----


def run_python(program, *, wait=30):
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=wait,
        cwd=os.path.dirname(__file__),
    )


HEAD = """
import os, sys, time, threading
import fastnn
from fastnn.data import DataLoader, Dataset, TensorDataset
d = TensorDataset(fastnn.rand(4000, 500))
"""


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "raise ValueError('the end')", "del loader, batches"]
)
def test_the_interpreter_ends_while_it_reads_ahead(end):
    program = f"""{HEAD}
loader = DataLoader(d, 64, num_workers=1, prefetch_factor=50)
batches = [iter(loader) for _ in range(3)]
for b in batches: next(b)
{end}
"""
    for _ in range(3):
        start = time.perf_counter()
        result = run_python(program)
        assert result.returncode == {"s": 3, "r": 1}.get(end[:1], 0), result.stderr
        assert ("the end" in result.stderr) == ("the end" in end)
        assert "Fatal" not in result.stderr
        assert time.perf_counter() - start < 20


def test_the_interpreter_ends_although_a_dataset_hangs():
    program = f"""{HEAD}
class Hangs(Dataset):
    def __getitem__(self, i):
        if i > 1: time.sleep(1000)
        return i
    def __len__(self): return 9
batches = iter(DataLoader(Hangs(), num_workers=1))
print(next(batches).item())
"""
    assert run_python(program).stdout == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.unsanitized
def test_fork():
    program = f"""{HEAD}
import warnings
warnings.simplefilter("ignore")
batches = iter(DataLoader(d, 64, num_workers=1))
next(batches)
child = os.fork()
if child == 0:
    try:
        next(batches)
        os._exit(1)
    except RuntimeError as e:
        assert "fork" in str(e), e
    n = sum(1 for _ in DataLoader(d, 64, num_workers=1))
    os._exit(0 if n == 63 else 2)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), sum(1 for _ in batches))
child = os.fork()
if child == 0:
    sys.exit(0)  # the whole way out, with an iterator that has no thread
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    result = run_python(program)
    assert result.stdout == "0 62\n0\n", result.stderr


def test_ctrl_c_while_waiting():
    """The wait for a batch can be interrupted, and nothing hangs or is lost after it."""
    program = f"""{HEAD}
class Slow(Dataset):
    def __getitem__(self, i):
        if i == 3: time.sleep(0.5)
        return i
    def __len__(self): return 9
loader = DataLoader(Slow(), num_workers=1)
got = []
print("ready", flush=True)
try:
    for b in loader:
        got.append(b.item())
        if len(got) == 3: print("waiting", flush=True)
except KeyboardInterrupt:
    state = loader.state_dict()
    assert state["batches"] == len(got) == 3, (state, got)
    loader.load_state_dict(state)
    print(got + [b.item() for b in loader])
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
        cwd=os.path.dirname(__file__),
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    assert child.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert out == f"{list(range(9))}\n"
