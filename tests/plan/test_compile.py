"""Compiled functions: arguments and results, and what may change between calls."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from plan.alike import RNG, array, bits, call, check, network

import fastnn
from fastnn import nn
from fastnn.plan import CaptureError

# ---- calls ------------------------------------------------------------------------------


def test_a_model_with_tensors_arrays_and_out():
    model = network().eval()
    predict = fastnn.compile(model)
    for n in (5, 5, 5, 7, 1, 1, 1, 5, 9):
        a = array(n, 8)
        y = model(fastnn.from_numpy(a))
        assert bits(predict(a)) == bits(y.detach())
        assert bits(predict(fastnn.from_numpy(a))) == bits(y.detach())
        out, tensor = np.zeros((n, 3), np.float32), fastnn.zeros(n, 3)
        assert predict(a, out=out) is out
        assert predict(a, out=tensor) is tensor
        assert out.tobytes() == y.detach().numpy().tobytes() == tensor.numpy().tobytes()
    assert len(predict.plans) == 2  # one for batches, one for single samples


def test_results_are_fresh():
    predict = fastnn.compile(lambda x: x * 2)
    a, b = fastnn.ones(3), fastnn.ones(3) * 5
    results = [predict(x) for x in (a, b, a, b, a)]
    assert [r.tolist()[0] for r in results] == [2, 10, 2, 10, 2]


def test_nested_arguments_and_results():
    def function(pair, *, scale, also):
        x, y = pair
        return {"sum": x + y, "parts": [x * scale, (y, also["z"] - 1)], "n": 3}

    compiled = fastnn.compile(function)
    for k in range(5):
        pair = (fastnn.from_numpy(array(4)), array(4))
        also = {"z": array(2, 2)}
        eager = function(
            (pair[0], fastnn.from_numpy(pair[1])),
            scale=2.0,
            also={"z": fastnn.tensor(also["z"])},
        )
        assert bits(compiled(pair, scale=2.0, also=also)) == bits(eager), k


def test_other_arguments_belong_to_the_key():
    compiled = fastnn.compile(lambda x, n: x * n)
    x = fastnn.ones(2)
    for n in (2, 3, 2, 3, 2, 3, 2.0, True):
        y = compiled(x, n)
        assert y.tolist() == [n, n]
    assert len(compiled.plans) == 2


def test_results_over_arguments_and_over_each_other():
    def function(x, y):
        z = x + y
        return x, x[1:], z, z.reshape(-1), y

    compiled = fastnn.compile(function)
    for _ in range(4):
        x, y = fastnn.ones(3, 2), fastnn.full((3, 2), 4.0)
        a, b, c, d, e = compiled(x, y)
        assert (a.data_ptr(), e.data_ptr()) == (x.data_ptr(), y.data_ptr())
        assert c.data_ptr() == d.data_ptr()
        b.copy_(7.0)
        d.copy_(9.0)
        assert x[1:].tolist() == [[7, 7], [7, 7]] and x[0].tolist() == [1, 1]
        assert c.tolist() == [[9, 9]] * 3


def test_strided_arguments():
    function = lambda x: x.sum(0) + x.reshape(-1)[:2]  # noqa: E731
    compiled = fastnn.compile(function)
    for _ in range(4):
        a = array(6, 4)
        for x in (a[::2, ::2], a.T[:2, :2], a[:, :2]):
            assert bits(compiled(x)) == bits(
                function(fastnn.tensor(np.ascontiguousarray(x)))
            )


def test_arguments_that_are_written():
    def function(x, y):
        x.add_(y)
        return x * 2

    compiled = fastnn.compile(function)
    for _ in range(5):
        x, y = fastnn.ones(4), fastnn.full((4,), 3.0)
        version = x._version
        assert compiled(x, y).tolist() == [8.0] * 4
        assert x.tolist() == [4.0] * 4 and x._version > version
        a = np.ones(4, np.float32)
        assert compiled(a, y).tolist() == [8.0] * 4 and a.tolist() == [4.0] * 4
        both = fastnn.ones(4)
        assert compiled(both, both).tolist() == [4.0] * 4  # one memory: still right
    frozen = np.ones(4, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="may be written"):
        compiled(frozen, y)


def test_constants_views_and_memory_made_inside():
    table = np.arange(6, dtype=np.float32).reshape(2, 3)

    def function(x):
        h = fastnn.zeros(x.shape[0], 3)
        h[:, 1:] = x[:, :2]
        c = fastnn.tensor(table)
        c[0, 0] += 1  # a constant that is written starts anew each time
        h += c.sum(0)
        return h.T * 2, c, fastnn.tensor([1.0, 2.0])

    check(function, *((fastnn.from_numpy(array(n, 2)),) for n in (4, 4, 4, 6, 6, 3, 4)))


def test_a_result_that_is_a_constant_cannot_be_spoilt():
    compiled = fastnn.compile(lambda x: (x + 1, fastnn.tensor([1.0, 2.0])))
    for _ in range(4):
        _, c = compiled(fastnn.ones(1))
        assert c.tolist() == [1.0, 2.0]
        c.add_(5.0)


def test_a_compiled_function_within_another():
    inner = fastnn.compile(lambda x: x * 2)
    outer = fastnn.compile(lambda x: inner(x) + 1)
    for k in range(5):
        assert outer(fastnn.full((2,), float(k))).tolist() == [2 * k + 1.0] * 2
        assert inner(fastnn.ones(2)).tolist() == [2.0, 2.0]


def test_errors_are_those_of_the_ops():
    criterion = nn.CrossEntropyLoss()
    compiled = fastnn.compile(lambda x, t: criterion(x, t))
    x = array(4, 3)
    for _ in range(4):
        compiled(x, np.array([0, 1, 2, 0]))
    with pytest.raises(IndexError, match="labels from 0 to 2"):
        compiled(x, np.array([0, 1, 3, 0]))
    compiled(x, np.array([0, 1, 2, 0]))
    model = fastnn.compile(nn.Linear(3, 2))
    for _ in range(3):
        model(x)
    with pytest.raises(ValueError, match="expected x with 3 features"):
        model(array(4, 5))
    with pytest.raises(TypeError, match="one dtype"):
        model(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"expected out of float32 \(4, 2\)"):
        model(x, out=np.zeros((4, 3), np.float32))
    with pytest.raises(TypeError, match="function or a Module"):
        fastnn.compile(3)
    with pytest.raises(RuntimeError, match="called often enough"):
        _ = fastnn.compile(nn.ReLU()).plan


def test_out_that_is_read():
    compiled = fastnn.compile(lambda x: (x.sum() + x).flip(0))
    x = fastnn.from_numpy(array(5))
    for _ in range(4):
        expected = bits((x.sum() + x).flip(0))
        compiled(x, out=x)
        assert bits(x) == expected


def test_results_carry_no_graph():
    model = nn.Linear(2, 2)
    predict = fastnn.compile(model)
    for _ in range(4):
        assert not predict(fastnn.ones(1, 2)).requires_grad
    w = fastnn.ones(2, requires_grad=True)
    with pytest.raises(CaptureError, match="outside any graph"):
        predict(w * 1)


# ---- what may change --------------------------------------------------------------------


def test_threads_isa_and_modes_may_change():
    model = network()
    predict = fastnn.compile(model)
    x = array(64, 8)
    threads, isa = fastnn.get_num_threads(), fastnn.isa()
    try:
        model.eval()
        expected = bits(model(fastnn.tensor(x)).detach())
        for n in (1, 2, 3, 1):
            for name in fastnn._core.isas():
                fastnn.set_num_threads(n)
                fastnn._core.set_isa(name)
                for _ in range(3):
                    assert bits(predict(x)) == expected
        model.train()
        assert any(bits(predict(x)) != expected for _ in range(4))
        model.eval()
        plans = len(predict.plans)
        assert bits(predict(x)) == expected and len(predict.plans) == plans
    finally:
        fastnn.set_num_threads(threads)
        fastnn._core.set_isa(isa)


def test_weights_that_are_changed_in_any_way_are_seen():
    model = network(0.0).eval()
    predict = fastnn.compile(model)
    x = array(2, 8)
    view = model[0].weight.detach().numpy()

    def unchanged():
        assert bits(predict(x)) == bits(model(fastnn.tensor(x)).detach())

    with fastnn.no_grad():
        for _ in range(4):
            unchanged()
        model[0].weight.mul_(2)
        unchanged()
        view[0, 0] = 100  # through NumPy: no version says so
        unchanged()
        del view
        unchanged()
        model[0].weight.data = fastnn.ones(16, 8)
        unchanged()
        model[3] = nn.Linear(16, 16)
        for _ in range(3):
            unchanged()
        model.load_state_dict(network().state_dict())
        unchanged()
        model.append(nn.ReLU())
        for _ in range(3):
            unchanged()
        own = array(16, 8)
        model[0].weight = nn.Parameter(fastnn.from_numpy(own))
        for k in range(5):
            own[:] = k
            unchanged()


def test_packed_weights_are_one_for_all_sizes():
    model = network(0.0).eval()
    predict = fastnn.compile(model)
    for n in (5, 5, 5, 7):  # a plan for all sizes, bound to 7 alone
        predict(array(n, 8))
    with fastnn.no_grad():
        for p in model.parameters():
            p.mul_(2)
    for n in (5, 9, 7):  # bound after the change, packed before
        x = array(n, 8)
        assert bits(predict(x)) == bits(model(fastnn.tensor(x)).detach())


def test_variables_that_change():
    class Config:
        beta = 1.0

    config, scale = Config(), 2.0
    config.beta = 1.0

    def function(x):
        return x * scale + config.beta + OFFSET[0] * 0 + LEVEL

    global LEVEL
    LEVEL = 1.0
    compiled = fastnn.compile(function)
    x = fastnn.ones(2)
    for k in range(16):
        if k == 4:
            scale = 3.0
        if k == 8:
            config.beta = 5.0
        if k == 12:
            LEVEL = 7.0
        assert bits(compiled(x)) == bits(function(x)), k
    count = 0

    def counting(x):
        nonlocal count
        count += 1
        return x + 1

    with pytest.raises(CaptureError, match="variable 'count' was changed"):
        call(fastnn.compile(counting), x, 3)
    seen = []
    with pytest.raises(CaptureError, match="variable 'seen' was changed"):
        call(fastnn.compile(lambda x: (seen.append(1), x + 1)[1]), x, 3)


OFFSET = [1.0]
LEVEL = 1.0


@pytest.mark.parametrize("change", ["in place", "NumPy", "array"])
@pytest.mark.parametrize("rows", [4, 9])
def test_changed_weights_are_seen_at_sizes_bound_before_and_after(change, rows):
    """Packed weights belong to all sizes of a plan; an array that came and went between
    two calls may have written."""
    layer = nn.Linear(8, 5)
    own = RNG.standard_normal((5, 8)).astype(np.float32)
    if change == "array":
        layer.weight = nn.Parameter(fastnn.from_numpy(own))
    predict = fastnn.compile(layer)
    for n in (2, 3, 4, 4):
        call(predict, array(n, 8), 1)
    for k in range(3):
        if change == "in place":
            with fastnn.no_grad():
                layer.weight.mul_(2)
        elif change == "NumPy":
            layer.weight.detach().numpy()[:] = k
        elif k == 0:
            own[:] = 7
            del own
        x = array(rows, 8)
        assert bits(predict(x)) == bits(layer(fastnn.tensor(x)).detach())
    assert len(predict.plans) == 1


def test_a_written_weight_is_seen_by_every_function_that_packed_it():
    layer = nn.Linear(8, 5)
    both = fastnn.compile(layer), fastnn.compile(lambda x: layer(x) * 2)
    x = array(4, 8)
    for f in both:
        call(f, x, 3)
    layer.weight.detach().numpy()[:] = 3
    expected = layer(fastnn.tensor(x)).detach()
    assert bits(both[0](x)) == bits(expected)
    assert bits(both[1](x)) == bits(expected * 2)


def test_many_sizes_in_bounded_memory():
    model = network().eval()
    predict = fastnn.compile(model)
    record, recorded = predict._record, []
    predict._record = lambda *args: (recorded.append(1), record(*args))[1]
    rng = np.random.default_rng(0)
    for n in rng.permutation(np.arange(2, 2002)):
        predict(array(int(n) % 997 + 2, 8))
    assert len(recorded) <= 4
    shape = fastnn.compile(lambda x: (x * 2).sum())
    for k in range(1, 301):
        with warnings.catch_warnings():  # 256 kinds of calls, none of them twice
            warnings.simplefilter("ignore", RuntimeWarning)
            assert shape(fastnn.ones(2, k)).item() == 4 * k
    assert len(shape.plans) <= 64
    assert len(shape._families) <= 128


def test_batches_of_one_and_none_are_their_own():
    def function(x):
        return (x - x.mean(0)).sum(), x.reshape(x.shape[0] * 2, 2)

    sizes = (3, 3, 3, 1, 1, 1, 5, 1, 3, 8, 2, 0, 0, 0, 4)
    compiled = check(function, *((fastnn.from_numpy(array(n, 4)),) for n in sizes))
    assert len(compiled.plans) == 3


def test_numbers_that_follow_the_batch():
    def function(x):
        n = x.shape[0]
        return (
            x.sum() / n,
            x.reshape(n, 2, 2).permute(1, 0, 2).reshape(2, 2 * n),
            x[: n - 1],
        )

    def sums(x):
        return x.sum() / x.shape[0], x.reshape(2 * x.shape[0], 2) + 1

    for f, plans in ((function, 5), (sums, 1)):
        compiled = check(
            f,
            *(
                (fastnn.from_numpy(array(n, 4)),)
                for n in (4, 4, 6, 6, 8, 3, 9, 4, 9, 3, 8)
            ),
        )
        assert len(compiled.plans) <= plans


@pytest.mark.parametrize("dynamic", [None, False])
def test_a_function_that_decides_by_the_batch(dynamic):
    def function(x):
        return x * 2 if x.shape[0] > 5 else x * 3

    compiled = fastnn.compile(function, dynamic=dynamic)
    for n in (3, 3, 3, 4, 4, 2, 2, 8, 8, 8, 4, 4, 3, 8, 9, 7, 5, 6):
        assert compiled(fastnn.ones(n)).tolist() == [2 if n > 5 else 3] * n
    promised = fastnn.compile(
        lambda x: x * 2 if x.ndim == len(x.shape) else x, dynamic=True
    )
    for n in (2, 3, 4, 5, 6):
        assert promised(fastnn.ones(n)).tolist() == [2] * n
    assert len(promised.plans) == 1


# ---- at the same time -------------------------------------------------------------------


def test_threads_may_predict_at_once():
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)).eval()
    predict = fastnn.compile(model)
    inputs = [array(200, 64) for _ in range(4)]
    expected = [bits(model(fastnn.tensor(x)).detach()) for x in inputs]
    for _ in range(3):
        predict(inputs[0])
    wrong = []

    def work(k):
        for _ in range(60):
            if bits(predict(inputs[k])) != expected[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
