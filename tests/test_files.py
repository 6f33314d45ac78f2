"""fastnn.save and fastnn.load: round trips, other writers' files, damaged files."""

import io
import json
import os
import pickle
import re
import signal
import stat
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from helpers import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import Tensor, nn, optim

safetensors = pytest.importorskip("safetensors.numpy")

NAN = struct.unpack(">d", bytes.fromhex("fff8000000001234"))[0]  # sign and payload


def again(obj):
    """Through a file object and back."""
    file = io.BytesIO()
    fastnn.save(obj, file)
    file.seek(0)
    return fastnn.load(file)


def assert_same(got, expected):
    """Equal in value, type and bits; arrays are expected as tensors."""
    if isinstance(expected, (Tensor, np.ndarray)):
        assert type(got) is Tensor and not got.requires_grad
        expected = np.asarray(expected)
        assert_same_bits(got, fastnn.tensor(expected.copy()))
    elif isinstance(expected, (list, tuple)):
        assert type(got) is (tuple if isinstance(expected, tuple) else list)
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            assert_same(g, e)
    elif isinstance(expected, dict):
        assert type(got) is dict
        assert [(type(k), k) for k in got] == [(type(k), k) for k in expected]
        for key, e in expected.items():
            assert_same(got[key], e)
    elif isinstance(expected, float):
        assert type(got) is float
        assert struct.pack("d", got) == struct.pack("d", expected)
    else:
        assert type(got) is type(expected) and got == expected


PLAIN = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    2**63,
    -(2**200),
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    NAN,
    "",
    "ünï\x00code \ud800 \U0001f600",
]
TENSORS = [
    fastnn.tensor(3.5),
    fastnn.empty(0),
    fastnn.empty(2, 0, 3, dtype=fastnn.int64),
    fastnn.arange(7)[::2],
    fastnn.rand(3, 4).T,
    fastnn.rand(1, 3).expand(2, 3),
    fastnn.tensor([1.0, float("nan"), float("-inf"), -0.0], dtype=fastnn.float64),
    fastnn.tensor([2**63 - 1, -(2**63)]),
    fastnn.tensor([True, False, True]),
    fastnn.tensor([0, 255], dtype=fastnn.uint8),
    fastnn.tensor([-(2**31)], dtype=fastnn.int32),
    np.arange(6.0).reshape(2, 3)[:, ::-1],
    np.array(7, dtype=np.int32),
    np.arange(3, dtype=">f4"),
]


@pytest.mark.parametrize("value", [*PLAIN, *TENSORS], ids=lambda v: type(v).__name__)
def test_values_come_back(value):
    assert_same(again(value), value)
    assert_same(again([value, (value,), {"k": value}]), [value, (value,), {"k": value}])


SHARED = [1, fastnn.ones(1)]  # at several places, but not within itself


@pytest.mark.parametrize(
    "obj",
    [
        {},
        [],
        (),
        [[], {}, ((),)],
        {"1": fastnn.ones(2), 1: fastnn.zeros(2), -1: "x"},
        {"a.b": fastnn.ones(1), "a": {"b": fastnn.zeros(1), "b'": fastnn.ones(2)}},
        {"__metadata__": fastnn.ones(1)},
        {"": fastnn.ones(1), "é": fastnn.ones(2)},
        {"tensor": {"tensor": [1]}, "dict": [["a", 1]]},
        [[[[[[[[[[fastnn.ones(1)]]]]]]]]]],
        [SHARED, {"a": SHARED}, SHARED],
    ],
    ids=repr,
)
def test_structures_come_back(obj):
    assert_same(again(obj), obj)


values = st.recursive(
    st.sampled_from([*PLAIN, *TENSORS]) | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
            | st.integers(-3, 3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_anything_comes_back(obj):
    assert_same(again(obj), obj)


def test_integers_that_python_will_not_print():
    assert again([10**5000, -(16**5000)]) == [10**5000, -(16**5000)]


def test_what_stands_for_something_else():
    assert_same(again(np.float32(0.1)), float(np.float32(0.1)))
    assert_same(again([np.int64(3), np.bool_(True), np.float64(2)]), [3, True, 2.0])
    assert_same(again(OrderedDict(a=1)), {"a": 1})
    weight = nn.Linear(2, 2).weight
    assert_same(again(weight), weight.detach())
    a = fastnn.ones(2)
    x, y = again([a, a])  # written each
    x.add_(1)
    assert y.tolist() == [1, 1]


def test_names_are_paths():
    """Other readers find the tensors of a checkpoint by readable names."""
    file = io.BytesIO()
    model = {"weight": fastnn.ones(2)}
    fastnn.save({"model": model, "state": {0: [fastnn.zeros(1)]}, "epoch": 3}, file)
    assert set(safetensors.load(file.getvalue())) == {"model.weight", "state.0.0"}


def test_a_checkpoint_resumes(tmp_path):
    fastnn.manual_seed(0)
    x, y = fastnn.rand(8, 4), fastnn.rand(8, 2)

    def make():
        net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
        return net, optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def train(net, sgd):
        for _ in range(3):
            sgd.zero_grad()
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward()
            sgd.step()

    net, sgd = make()
    train(net, sgd)
    state = {"net": net.state_dict(), "sgd": sgd.state_dict(), "loss": (0.5, None)}
    state["generator"] = fastnn.default_generator.get_state()
    path = tmp_path / "checkpoint"
    fastnn.save(state, path)
    train(net, sgd)
    draw = fastnn.rand(3)

    other, adam = make()
    state = fastnn.load(path)
    other.load_state_dict(state["net"])
    adam.load_state_dict(state["sgd"])
    fastnn.default_generator.set_state(state["generator"])
    train(other, adam)
    assert_same_bits(list(other.parameters()), list(net.parameters()))
    assert_same_bits(fastnn.rand(3), draw)


# ---- other writers and readers ----


def test_a_state_dict_is_a_plain_file(tmp_path):
    net = nn.Linear(3, 2)
    path = tmp_path / "model.safetensors"
    fastnn.save(net.state_dict(), path)
    theirs = safetensors.load_file(path)
    assert set(theirs) == {"weight", "bias"}
    assert_same_bits(fastnn.tensor(theirs["weight"]), net.weight)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
    safetensors.save_file(theirs, tmp_path / "theirs.safetensors")
    other = nn.Linear(3, 2)
    other.load_state_dict(fastnn.load(tmp_path / "theirs.safetensors"))
    assert_same_bits(list(other.parameters()), list(net.parameters()))


def raw(header, data=b"", spaces=0):
    """A safetensors file, byte by byte."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * spaces
    return struct.pack("<Q", len(text)) + text + data


WIDENED = [
    ("F16", np.float16, np.float32, [0.1, -0.0, 65504.0, 6e-8, np.inf, np.nan]),
    ("I8", np.int8, np.int32, [-128, 127]),
    ("I16", np.int16, np.int32, [-32768, 32767]),
    ("U16", np.uint16, np.int64, [0, 65535]),
    ("U32", np.uint32, np.int64, [0, 2**32 - 1]),
    ("U8", np.uint8, np.uint8, [0, 255]),
    ("F64", np.float64, np.float64, [0.1]),
]


@pytest.mark.parametrize(("code", "stored", "wide", "numbers"), WIDENED)
def test_types_are_widened_exactly(code, stored, wide, numbers):
    array = np.array(numbers, stored)
    entry = {"dtype": code, "shape": [len(array)], "data_offsets": [0, array.nbytes]}
    got = fastnn.load(io.BytesIO(raw({"x": entry}, array.tobytes())))["x"]
    assert_same_bits(got, fastnn.tensor(array.astype(wide)))
    assert_same(again({"x": array})["x"], array.astype(wide))


def test_every_bfloat16():
    bits = np.arange(2**16, dtype=np.uint16)
    entry = {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, 2**17]}
    got = fastnn.load(io.BytesIO(raw({"x": entry}, bits.tobytes())))["x"].numpy()
    assert got.dtype == np.float32 and got.shape == (256, 256)
    sign = np.where(bits >> 15, -1.0, 1.0)
    exponent, fraction = (bits >> 7 & 255).astype(int), (bits & 127) / 128
    value = np.where(
        exponent == 0, fraction * 2.0**-126, (1 + fraction) * 2.0 ** (exponent - 127)
    )
    value = np.where(exponent == 255, np.where(fraction == 0, np.inf, np.nan), value)
    np.testing.assert_array_equal(got.ravel(), sign * value)


def test_booleans_of_any_byte():
    entry = {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}
    got = fastnn.load(io.BytesIO(raw({"x": entry}, b"\0\1\2")))["x"]
    assert got.dtype is fastnn.bool and got.tolist() == [False, True, True]
    assert got.numpy().view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize("code", ["F8_E4M3", "U64"])
def test_types_that_cannot_be_widened(code):
    size = 8 if code == "U64" else 1
    entry = {"dtype": code, "shape": [1], "data_offsets": [0, size]}
    with pytest.raises(ValueError, match=f"'layer.w' is of dtype {code}"):
        fastnn.load(io.BytesIO(raw({"layer.w": entry}, b"\0" * size)))


def test_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = net.state_dict() | {
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "half": torch.tensor([0.1, -2.0], dtype=torch.float16),
        "brain": torch.tensor([0.1, 1e38], dtype=torch.bfloat16),
        "double": torch.tensor([0.1], dtype=torch.float64),
    }
    assert state["1.num_batches_tracked"].ndim == 0  # int64, no dimension
    path = tmp_path / "model.safetensors"
    theirs.save_file(state, path)
    ours = fastnn.load(path)
    assert set(ours) == set(state)
    for name, value in state.items():
        expected = value.float() if value.dtype.itemsize == 2 else value
        assert_same_bits(ours[name], fastnn.tensor(expected.numpy()))
    fastnn.save(ours, path)
    back = theirs.load_file(path)
    for name, value in state.items():
        assert torch.equal(back[name], value.to(back[name].dtype))
        assert back[name].dtype == value.dtype or value.dtype.itemsize == 2
    net.load_state_dict({k: v for k, v in back.items() if k in net.state_dict()})

    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, kind in (("new.pt", "a zip file"), ("old.pt", "a pickle")):
        with pytest.raises(
            ValueError, match=rf"{name}.*{kind}.*save_file\(torch\.load"
        ):
            fastnn.load(tmp_path / name)


# ---- bad files ----


def small():
    file = io.BytesIO()
    fastnn.save({"a": fastnn.arange(2), "b": [fastnn.ones(1), 2.5]}, file)
    return file.getvalue()


def f32(start, stop, shape=(1,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]}


def structure(text):
    return raw({"__metadata__": {"fastnn": text}})


BAD = {
    "empty": (b"", "an empty file"),
    "zeros": (bytes(100), "damaged"),
    "huge header": (b"\xff" * 8 + b"{}", "damaged"),
    "header beyond the file": (struct.pack("<Q", 1000) + b"{}", "damaged"),
    "longer": (small() + b"\0", "damaged"),
    "no JSON": (raw(b"certainly not"), "damaged"),
    "a list": (raw([]), "damaged"),
    "a hole": (raw({"a": f32(0, 4), "b": f32(8, 12)}, bytes(12)), "damaged"),
    "overlap": (raw({"a": f32(0, 4), "b": f32(2, 6)}, bytes(6)), "damaged"),
    "wrong size": (raw({"a": f32(0, 4, (2,))}, bytes(4)), "damaged"),
    "overflow": (raw({"a": f32(0, 4, (2**62, 8))}, bytes(4)), "damaged"),
    "negative": (raw({"a": f32(0, 4, (-1,))}, bytes(4)), "damaged"),
    "100 dimensions": (raw({"a": f32(0, 4, (1,) * 100)}, bytes(4)), "dim"),
    "unknown type": (
        raw({"a": f32(0, 4) | {"dtype": "F31"}}, bytes(4)),
        "damaged",
    ),
    "structure: no JSON": (structure("{"), "metadata 'fastnn'"),
    "structure: a list": (structure("[]"), "metadata 'fastnn'"),
    "structure: deep": (
        structure('{"version": 1, "value": ' + "[" * 10**5 + "]" * 10**5 + "}"),
        "metadata 'fastnn'",
    ),
    "structure: newer": (structure('{"version": 2, "value": 1}'), "version is 2"),
    "structure: no tensor": (
        structure('{"version": 1, "value": {"tensor": "x"}}'),
        "metadata 'fastnn'",
    ),
    "structure: kind": (
        structure('{"version": 1, "value": {"code": "x"}}'),
        "unknown kind 'code'",
    ),
    "structure: two kinds": (
        structure('{"version": 1, "value": {"int": "1", "tuple": []}}'),
        "metadata 'fastnn'",
    ),
    "structure: dict": (
        structure('{"version": 1, "value": {"dict": [[[], 1]]}}'),
        "metadata 'fastnn'",
    ),
    "structure: float": (
        structure('{"version": 1, "value": {"float": "00"}}'),
        "metadata 'fastnn'",
    ),
    "pickle": (pickle.dumps({"a": 1}, 4), "a pickle.*torch.load"),
    "pickle 2": (pickle.dumps({"a": 1}, 2), "a pickle.*torch.load"),
    "pickle 5": (pickle.dumps({"a": 1}, 5), "a pickle.*torch.load"),
    "text": (b"hello, this is a text file\n", "damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, tmp_path):
    data, words = BAD[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"load: .*bad\.safetensors: .*{words}"):
        fastnn.load(path)
    with pytest.raises(ValueError, match=rf"load: the file object: .*{words}"):
        fastnn.load(io.BytesIO(data))


def test_a_zip_file(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(ValueError, match=r"model\.pt: expected a safetensors.*a zip"):
        fastnn.load(path)


def test_truncated_at_every_byte(tmp_path):
    data, path = small(), tmp_path / "cut"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        for file in (path, io.BytesIO(data[:size])):
            with pytest.raises(ValueError, match="expected a safetensors file"):
                fastnn.load(file)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_anywhere(data):
    """Loads something, or says in words that it cannot."""
    file = bytearray(small())
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        fastnn.load(io.BytesIO(bytes(file)))
    except ValueError as e:
        assert str(e).startswith("load: the file object: ")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fastnn.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere/model'"):
        fastnn.save({}, tmp_path / "nowhere" / "model")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        fastnn.load(tmp_path)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        fastnn.save({}, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="expected the path of a file"):
        fastnn.save({}, tmp_path / "pipe")


def test_bad_arguments(tmp_path):
    for f, error in ((3, "expected a path"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"load: .*{error}"):
            fastnn.load(f)
        with pytest.raises(TypeError, match=f"save: .*{error}"):
            fastnn.save({}, f)
    with pytest.raises(TypeError, match="binary mode, got str"):
        fastnn.load(io.StringIO("x"))
    path = tmp_path / "x"
    fastnn.save(fastnn.ones(1), path)
    for where in (None, "cpu", fastnn.device("cpu")):
        assert fastnn.load(path, map_location=where).tolist() == [1]
    for where in ("cuda", "tpu", {"cuda:0": "cpu"}, lambda storage, _: storage):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            fastnn.load(path, map_location=where)
    with pytest.raises(ValueError, match="weights_only=True, got False"):
        fastnn.load(path, weights_only=False)


def looped():
    obj = [1]
    obj.append({"x": obj})
    return obj


def deep():
    obj = []
    for _ in range(10**5):
        obj = [obj]
    return obj


@pytest.mark.parametrize(
    ("obj", "error", "words"),
    [
        ({"a": [1, {2, 3}]}, TypeError, r"got set at \['a'\]\[1\]"),
        (object(), TypeError, "got object at the top"),
        ({"f": print}, TypeError, "builtin_function"),
        ({"a": b"bytes"}, TypeError, "bytes"),
        (1j, TypeError, "complex"),
        ({"a": {None: 1}}, TypeError, r"NoneType in the dict at \['a'\]"),
        ({True: 1}, TypeError, "keys that are str or int, got bool"),
        ({"w": np.ones(2, complex)}, TypeError, r"complex128 at \['w'\]"),
        (np.array(["a"]), TypeError, "dtype <U1 at the top"),
        (np.array([object()]), TypeError, "object"),
        ({"\ud800": fastnn.ones(1)}, ValueError, "not Unicode"),
        ({"\ud800": [fastnn.ones(1)]}, ValueError, "not Unicode"),
        (looped(), ValueError, r"at \[1\]\['x'\] contains itself"),
        (deep(), ValueError, "nested too deeply"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_cannot_be_saved(obj, error, words, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error, match=f"^save: .*{words}"):
        fastnn.save(obj, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


# ---- writing aside ----


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    fastnn.save(fastnn.ones(2), path)
    before = path.read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails)
            with pytest.raises(OSError, match="No space left"):
                fastnn.save(fastnn.zeros(2), path)
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["model"]
    monkeypatch.setattr(fastnn.serialization, "HEADER_LIMIT", 1000)
    for file in (path, io.BytesIO()):
        with pytest.raises(ValueError, match="at most 1,000 bytes, got"):
            fastnn.save(list(range(1000)), file)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model"]


def test_the_file_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    seen = []
    sync, replace = os.fsync, os.replace

    def is_folder(fd):
        return stat.S_ISDIR(os.fstat(fd).st_mode)

    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(is_folder(fd)), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda *a: (seen.append("r"), replace(*a)))
    fastnn.save(fastnn.ones(2), tmp_path / "model")
    assert seen == [False, "r", True]


def test_permissions_are_those_of_open(tmp_path):
    path = tmp_path / "model"
    before = os.umask(0o027)
    try:
        fastnn.save({}, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)  # a file that is there keeps its own
        fastnn.save({}, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_names_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plain", b"bytes", "ü" * 100, os.fsdecode(b"\xff"), "x" * 255):
        fastnn.save(fastnn.ones(2), name)
        assert fastnn.load(name).tolist() == [1, 1]
    os.mkdir("folder")
    os.symlink("folder/target", "link")  # as open() does: through the link
    fastnn.save(fastnn.ones(3), "link")
    assert os.path.islink("link") and fastnn.load("folder/target").numel() == 3


@pytest.mark.unsanitized
def test_a_full_disk(tmp_path):
    """OSError, as from open(), and the old file stays."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.st"
    fastnn.save({"a": fastnn.zeros(1)}, path)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OSError, match=f"save: {re.escape(str(path))}: .*rror"):
            fastnn.save({"a": fastnn.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert fastnn.load(path)["a"].tolist() == [0]
    assert os.listdir(tmp_path) == ["a.st"]
