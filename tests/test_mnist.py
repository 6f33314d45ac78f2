"""fastnn.datasets.mnist: files in every form, broken ones, and downloads from a server here."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.datasets import _mnist, mnist

TRUE_PARTS = _mnist.PARTS
# A thousandth of each, so that the tests take no time.
PARTS = tuple(p._replace(shape=(p.shape[0] // 1000, *p.shape[1:])) for p in TRUE_PARTS)
KEYS = [p.key for p in PARTS]


def made_up():
    """Arrays of uint8, labels below 10."""
    rng = np.random.default_rng(0)
    return {
        p.key: rng.integers(0, 256 if len(p.shape) == 3 else 10, p.shape, np.uint8)
        for p in PARTS
    }


ARRAYS = made_up()


def idx(part):
    """The original form of an array, written apart from the code under test."""
    a = ARRAYS[part.key]
    magic = (0x0803 if a.ndim == 3 else 0x0801).to_bytes(4, "big")
    return magic + np.array(a.shape, ">u4").tobytes() + a.tobytes()


PACKED = {p.name + ".gz": gzip.compress(idx(p), 1) for p in PARTS}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No data but a test's own, and no network."""
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_mnist, "MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(_mnist, "PARTS", PARTS)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def put(folder, form):
    folder.mkdir(parents=True, exist_ok=True)
    if form == "npz":
        np.savez_compressed(folder / "mnist.npz", **ARRAYS)
        return
    for part in PARTS:
        name = part.name.replace("-idx", ".idx") if "dotted" in form else part.name
        if "gz" in form:
            (folder / f"{name}.gz").write_bytes(PACKED[part.name + ".gz"])
        else:
            (folder / name).write_bytes(idx(part))


def check(splits, flatten=True):
    shape = (lambda n: (n, 784)) if flatten else (lambda n: (n, 1, 28, 28))
    for split, x, y in zip(splits, KEYS[::2], KEYS[1::2], strict=True):
        assert split.images.dtype is fastnn.float32
        assert split.labels.dtype is fastnn.int64
        expected = ARRAYS[x].astype(np.float32) / 255
        got = split.images.numpy()
        np.testing.assert_array_equal(got, expected.reshape(shape(len(expected))))
        np.testing.assert_array_equal(split.labels.numpy(), ARRAYS[y])


@pytest.mark.parametrize(
    ("form", "folder"),
    [
        *[(form, "") for form in ("npz", "idx", "idx gz", "idx dotted")],
        *[("idx gz", folder) for folder in _mnist.FOLDERS],
    ],
)
def test_every_form_of_file(form, folder, tmp_path):
    put(tmp_path / "root" / folder, form)
    check(mnist(tmp_path / "root", download=False))


def test_shape_of_images(tmp_path):
    put(tmp_path, "idx gz")
    splits = mnist(str(tmp_path), flatten=False, download=False)
    check(splits, flatten=False)
    splits.train.images.zero_()  # fresh, and writable
    splits.test.labels.zero_()
    assert splits._fields == ("train", "test")


def test_where_it_looks(tmp_path, monkeypatch):
    put(tmp_path / "data", "idx gz")
    with pytest.raises(FileNotFoundError, match="not asked for"):
        mnist(download=False)
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    check(mnist(download=False))
    check(mnist(tmp_path / "absent", download=False))
    monkeypatch.delenv("FASTNN_DATA")
    os.renames(tmp_path / "data", tmp_path / "cache" / "fastnn")
    check(mnist(download=False))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    os.renames(tmp_path / "cache" / "fastnn", tmp_path / "home" / ".cache" / "fastnn")
    check(mnist(download=False))


def test_nothing_there_says_what_to_put_where(tmp_path):
    put(tmp_path, "idx gz")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()  # three files are not enough
    for download in (False, True):  # the network is not there
        with pytest.raises(FileNotFoundError, match=r"mnist\.npz") as error:
            mnist(tmp_path, download=download)
        words = str(error.value)
        for word in (
            "t10k-labels-idx1-ubyte",
            str(tmp_path),
            str(tmp_path / "cache" / "fastnn"),
            "FASTNN_DATA",
            "downloading failed" if download else "downloading was not asked for",
        ):
            assert word in words


# ---- files that are not what they should be ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:-1], "68 bytes in .*, got 67"),
        (lambda b: b + b"\0", "got more"),
        (lambda b: b"", "got 0"),
        (lambda b: b"\0\0\x0d\1" + b[4:], "begin with 00000801 0000003c"),
        (lambda b: b[:4] + b"\xff" * 4 + b[8:], "got 00000801 ffffffff"),
        (lambda b: b[:-1] + b"\x0a", "labels y_train from 0 to 9, got 10"),
    ],
)
def test_broken_idx(change, words, tmp_path):
    put(tmp_path, "idx")
    file = tmp_path / "train-labels-idx1-ubyte"
    content = change(file.read_bytes())
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"mnist: expected .*{words}"):
        mnist(tmp_path, download=False)
    file.unlink()
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=f"mnist: expected .*{words}"):
        mnist(tmp_path, download=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:30],
        lambda b: b[:-4],
        lambda b: b"PK" + b[2:],
        lambda b: b[:20] + bytes([b[20] ^ 255]) + b[21:],
        lambda b: b[:-8] + b"\0\0\0\0" + b[-4:],  # the checksum of what it holds
    ],
)
def test_broken_gz(change, tmp_path):
    put(tmp_path, "idx gz")
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ValueError, match=r"mnist: expected .*train-labels"):
        mnist(tmp_path, download=False)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    put(tmp_path, "idx gz")
    bomb = gzip.compress(idx(PARTS[1]) + bytes(300 << 20), 1)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(bomb)
    read = []

    class Counting(gzip.GzipFile):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    monkeypatch.setattr(gzip, "open", lambda path: Counting(path))
    with pytest.raises(ValueError, match="got more"):
        mnist(tmp_path, download=False)
    assert sum(read) < 1 << 20


def npy(array, **changes):
    """A .npy file, its head changed."""
    head = {"descr": "|u1", "fortran_order": False, "shape": array.shape, **changes}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, head)
    return file.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "an array y_train in .*, got none"),
        (b"", "as .npy"),
        (b"\x93NUMPY\1\0\xff\xff", "as .npy"),
        (
            npy(ARRAYS["y_train"], shape=(2**40,)),
            r"got uint8 of shape \(1099511627776,",
        ),
        (npy(ARRAYS["y_train"], descr="<f8"), "got float64"),
        (npy(ARRAYS["y_train"], descr="|O"), "got object"),
        (npy(ARRAYS["y_train"], fortran_order=True), "in columns"),
        (npy(ARRAYS["y_train"])[:-1], "60 bytes in .*, got 59"),
        (npy(ARRAYS["y_train"]) + b"1", "got more"),
        (npy(ARRAYS["y_train"] + np.uint8(1)), "from 0 to 9, got 10"),
    ],
)
def test_broken_npz(content, words, tmp_path):
    with zipfile.ZipFile(
        tmp_path / "mnist.npz", "w", zipfile.ZIP_DEFLATED, True, 1
    ) as z:
        for key in KEYS:
            part = npy(ARRAYS[key]) if key != "y_train" else content
            if part is not None:
                z.writestr(f"{key}.npy", part)
    with pytest.raises(ValueError, match=f"mnist: expected .*{words}"):
        mnist(tmp_path, download=False)


def test_an_npz_that_is_no_zip(tmp_path):
    for content in (b"", b"PK\3\4", os.urandom(1000)):
        (tmp_path / "mnist.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"mnist: expected x_train in .*whole"):
            mnist(tmp_path, download=False)


# ---- downloading ----


class Server:
    """Serves files as answer(name, request) says; None gives them as they are."""

    def __init__(self, answer=None):
        self.asked = []
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                served.asked.append(name)
                if answer is not None and answer(name, self):
                    return
                self.give(PACKED[name], len(PACKED[name]))

            def give(self, content, length):
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,)).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def checksums(monkeypatch):
    """The checksums of what is served here."""
    parts = [p._replace(sha256=hashlib.sha256(idx(p)).hexdigest()) for p in PARTS]
    monkeypatch.setattr(_mnist, "PARTS", tuple(parts))


def test_download(checksums, tmp_path, monkeypatch):
    cache = tmp_path / "cache" / "fastnn"
    with Server() as server:
        monkeypatch.setattr(_mnist, "MIRRORS", ("http://127.0.0.1:9/", server.url))
        check(mnist(tmp_path / "root"))  # by way of the second mirror
        assert server.asked == list(PACKED)
        assert sorted(f.name for f in cache.iterdir()) == sorted(PACKED)
        (cache / server.asked[2]).unlink()
        check(mnist())  # only what is missing
        assert server.asked == [*PACKED, list(PACKED)[2]]
    check(mnist())  # from the cache, no server


BAD = {
    "another file": lambda n, r: r.give(gzip.compress(b"hello"), 25) or True,
    "changed": lambda n, r: (
        r.give(PACKED[n][:20] + b"?" + PACKED[n][21:], len(PACKED[n])) or True
    ),
    "cut": lambda n, r: r.give(PACKED[n][:-20], len(PACKED[n])) or True,
    "absent": lambda n, r: r.send_error(404) or True,
    "silent": lambda n, r: threading.Event().wait(1) and False,
    "endless": lambda n, r: r.give(bytes(3 << 20), 1 << 40) or True,
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answers_leave_nothing_behind(kind, checksums, tmp_path, monkeypatch):
    monkeypatch.setattr(_mnist, "TIMEOUT", 0.3)
    monkeypatch.setattr(_mnist, "MOST", 2 << 20)
    cache = tmp_path / "cache" / "fastnn"
    with Server(lambda n, r: n == list(PACKED)[1] and BAD[kind](n, r)) as server:
        monkeypatch.setattr(_mnist, "MIRRORS", (server.url,))
        with pytest.raises(FileNotFoundError, match=r"downloading failed: .*labels"):
            mnist()
    assert [f.name for f in cache.iterdir()] == [next(iter(PACKED))]  # the good one


def test_the_true_checksum_is_asked_for(tmp_path, monkeypatch):
    with Server() as server:
        monkeypatch.setattr(_mnist, "MIRRORS", (server.url,))
        with pytest.raises(FileNotFoundError, match="expected SHA-256 ba891046"):
            mnist()
    assert list((tmp_path / "cache").glob("**/*ubyte*")) == []


def test_a_cache_that_cannot_be_written(checksums, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    with Server() as server:
        monkeypatch.setattr(_mnist, "MIRRORS", (server.url,))
        with pytest.raises(FileNotFoundError, match="downloading failed"):
            mnist()


# ---- the true data, where it is ----

TRUE = Path(os.environ.get("FASTNN_DATA") or "nowhere")


@pytest.mark.skipif(
    not (TRUE / "mnist.npz").is_file(),
    reason="FASTNN_DATA names no folder with mnist.npz",
)
def test_the_true_data(tmp_path, monkeypatch):
    monkeypatch.setattr(_mnist, "PARTS", TRUE_PARTS)
    with np.load(TRUE / "mnist.npz") as archive:
        arrays = {key: archive[key] for key in KEYS}
    for part in TRUE_PARTS:
        content = part.header + arrays[part.key].tobytes()
        assert hashlib.sha256(content).hexdigest() == part.sha256
        (tmp_path / part.name).write_bytes(content)
    from_npz, from_idx = mnist(TRUE), mnist(tmp_path)
    for a, b in zip(from_npz, from_idx, strict=True):
        assert a.images.numpy().tobytes() == b.images.numpy().tobytes()
        assert a.labels.tolist() == b.labels.tolist()
    expected = arrays["x_train"].astype(np.float32) / 255
    assert from_npz.train.images.numpy().tobytes() == expected.tobytes()
    assert abs(from_npz.train.images.numpy().mean() - 0.1307) < 1e-4
    assert np.bincount(from_npz.test.labels.numpy()).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
