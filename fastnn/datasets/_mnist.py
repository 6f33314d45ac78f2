"""MNIST: 70,000 handwritten digits of 28x28 pixels, from files or the network.

Sizes are known in advance, so nothing is allocated on the word of a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnn
from fastnn.datasets._split import Split, Splits


class Part(NamedTuple):
    """One of the four arrays of uint8 that make up the data set."""

    key: str  # in mnist.npz
    name: str  # as a file of its own, maybe with .gz, maybe with a dot for the last -
    shape: tuple[int, ...]
    sha256: str  # of that file, unpacked

    @property
    def header(self) -> bytes:
        """What an idx file begins with: type and dimensions, then sizes, big-endian."""
        sizes = b"".join(n.to_bytes(4, "big") for n in self.shape)
        return bytes([0, 0, 8, len(self.shape)]) + sizes

    @property
    def size(self) -> int:
        """Bytes of the elements."""
        return int(np.prod(self.shape))


PARTS = (
    Part(
        "x_train",
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    Part(
        "y_train",
        "train-labels-idx1-ubyte",
        (60_000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    Part(
        "x_test",
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    Part(
        "y_test",
        "t10k-labels-idx1-ubyte",
        (10_000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 5.0  # seconds without an answer
DEADLINE = 120.0  # seconds for a file
MOST = 16 << 20  # bytes of a packed file; the largest has 9.9 million
FOLDERS = (
    "",
    "mnist",
    "MNIST",
    "MNIST/raw",
)  # within a root; the last is torchvision's


def mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    flatten: bool = True,
    download: bool = True,
) -> Splits:
    """The MNIST handwritten digits, scaled to [0, 1].

    Taken from the first place that has them: root, the folder that the environment
    variable FASTNN_DATA names, the cache folder ($XDG_CACHE_HOME or ~/.cache, /fastnn).
    That is mnist.npz with x_train, y_train, x_test and y_test, or the four original
    files, train-images-idx3-ubyte and its companions, plain or .gz; also in a folder
    mnist, MNIST or MNIST/raw. If no place has them they are downloaded to the cache.

    Parameters:
        root : folder to look in first.
        flatten : bool: images as rows (n, 784), or else as (n, 1, 28, 28).
        download : bool: whether the network may be used.

    Returns: Splits(train, test) of 60,000 and 10,000 images, each Split(images, labels),
        float32 (pixel / 255) and int64; fresh.

    Raises: FileNotFoundError that says what to put where; ValueError for a file that is
        not MNIST's.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied
        to document recognition", Proceedings of the IEEE 86 (1998), 2278-2324.

    Example:
        >>> from fastnn.datasets import mnist
        >>> train, test = mnist()  # doctest: +SKIP
        >>> tuple(train.images.shape), tuple(test.labels.shape)  # doctest: +SKIP
        ((60000, 784), (10000,))
    """
    cache = _cache_folder()
    places = [root, os.environ.get("FASTNN_DATA"), cache]
    roots = [Path(place) for place in places if place]
    arrays = next(filter(None, map(_find, roots)), None)
    if arrays is None:
        why = "no file was found, and downloading was not asked for"
        if download:
            why = _download(cache)
            arrays = _find(cache) if not why else None
    if arrays is None:
        raise FileNotFoundError(
            "mnist: expected mnist.npz, or the four files train-images-idx3-ubyte, "
            "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte "
            f"(plain or .gz), in one of {', '.join(map(str, roots))}; {why} (hint: put "
            "them there, or name their folder: root=, or FASTNN_DATA)"
        )
    x_train, y_train, x_test, y_test = arrays
    return Splits(
        _split("y_train", x_train, y_train, flatten),
        _split("y_test", x_test, y_test, flatten),
    )


def _split(name: str, pixels: Any, labels: Any, flatten: bool) -> Split:
    if labels.max() > 9:
        raise ValueError(
            f"mnist: expected labels {name} from 0 to 9, got {labels.max()}"
        )
    shape = (len(pixels), 784) if flatten else (len(pixels), 1, 28, 28)
    images = fastnn.from_numpy(pixels.reshape(shape)).to(fastnn.float32)
    return Split(images.div_(255.0), fastnn.from_numpy(labels).to(fastnn.int64))


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "fastnn"


# ---- reading ----


def _find(root: Path) -> list[Any] | None:
    """The four arrays in a place, or None where it does not have them."""
    for folder in (root / name for name in FOLDERS):
        if (folder / "mnist.npz").is_file():
            return [_read_npz(folder / "mnist.npz", part) for part in PARTS]
        files = [next(_files(folder, part), None) for part in PARTS]
        if None not in files:
            return [
                _read_idx(file, part)
                for file, part in zip(files, PARTS, strict=True)
                if file is not None
            ]
    return None


def _files(folder: Path, part: Part) -> Iterator[Path]:
    dotted = part.name.replace("-idx", ".idx")
    for name in (part.name, f"{part.name}.gz", dotted, f"{dotted}.gz"):
        if (folder / name).is_file():
            yield folder / name


def _exactly(stream: Any, size: int, what: str) -> bytes:
    """All that a stream holds: `size` bytes. Never reads more than one above that."""
    pieces = []
    left = size + 1
    while left > 0 and (piece := stream.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if left != 1:
        got = "more" if left < 1 else f"{size + 1 - left}"
        raise ValueError(f"mnist: expected {size} bytes in {what}, got {got}")
    return b"".join(pieces)


def _guarded(read: Callable[[], bytes], what: str) -> bytes:
    """read(), a broken archive reported in words."""
    import zipfile
    import zlib

    try:
        return read()
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise ValueError(f"mnist: expected {what} to be whole, got: {error}") from error


def _read_idx(path: Path, part: Part) -> Any:
    import gzip

    def read() -> bytes:
        packed = path.suffix == ".gz"
        with gzip.open(path) if packed else path.open("rb") as stream:
            return _exactly(stream, len(part.header) + part.size, str(path))

    return _parse_idx(_guarded(read, str(path)), part, str(path))


def _parse_idx(content: bytes, part: Part, what: str) -> Any:
    header = content[: len(part.header)]
    if header != part.header:
        raise ValueError(
            f"mnist: expected {what} to begin with {part.header.hex(' ', 4)} (idx, "
            f"uint8, shape {part.shape}), got {header.hex(' ', 4)}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(part.shape)


def _read_npz(path: Path, part: Part) -> Any:
    import zipfile

    what = f"{part.key} in {path}"

    def read() -> bytes:
        with zipfile.ZipFile(path) as archive:
            try:
                stream = archive.open(f"{part.key}.npy")
            except KeyError:
                raise ValueError(f"mnist: expected an array {what}, got none") from None
            with stream:
                _check_header(stream, part, what)
                return _exactly(stream, part.size, what)

    content = _guarded(read, what)
    return np.frombuffer(content, np.uint8).reshape(part.shape)


def _check_header(stream: Any, part: Part, what: str) -> None:
    """Reads the head of a .npy file, which must announce the part's array."""
    form = np.lib.format
    try:
        version = form.read_magic(stream)
        head = form.read_array_header_1_0 if version == (1, 0) else (
            form.read_array_header_2_0
        )  # fmt: skip
        shape, fortran, dtype = head(stream)
    except ValueError as error:
        raise ValueError(f"mnist: expected {what} as .npy, got: {error}") from None
    if shape != part.shape or dtype != np.uint8 or fortran:
        raise ValueError(
            f"mnist: expected {what} as uint8 of shape {part.shape}, got {dtype} of "
            f"shape {shape}{', in columns' if fortran else ''}"
        )


# ---- downloading ----


def _download(folder: Path) -> str:
    """Puts the four files into folder, checked. Returns "" or why it could not."""
    problems: list[str] = []
    for part in PARTS:
        if next(_files(folder, part), None) is not None:
            continue  # kept from before; reading checks it
        for mirror in MIRRORS:
            url = f"{mirror}{part.name}.gz"
            try:
                packed = _fetch(url)
                _check(packed, part, url)
                _put(folder, f"{part.name}.gz", packed)
                break
            except (OSError, ValueError) as error:  # a URLError is an OSError
                problems.append(f"{url}: {error}")
        else:
            return "downloading failed: " + "; ".join(problems)
    return ""


def _fetch(url: str) -> bytes:
    """What a URL gives, within limits of time and size."""
    import http.client
    import time
    import urllib.request

    pieces: list[bytes] = []
    end, size = time.monotonic() + DEADLINE, 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            expected = answer.headers.get("Content-Length")
            while piece := answer.read1(1 << 16):
                pieces.append(piece)
                size += len(piece)
                if size > MOST or time.monotonic() > end:
                    raise ValueError("more bytes or seconds than the file can need")
    except http.client.HTTPException as error:
        raise ValueError(f"the connection broke: {error!r}") from error
    if expected is not None and size != int(expected):
        raise ValueError(f"the connection broke after {size} of {expected} bytes")
    return b"".join(pieces)


def _check(packed: bytes, part: Part, what: str) -> None:
    """Raises ValueError unless it is the part, packed by gzip."""
    import gzip
    import hashlib
    import io

    def read() -> bytes:
        with gzip.open(io.BytesIO(packed)) as stream:
            return _exactly(stream, len(part.header) + part.size, what)

    found = hashlib.sha256(_guarded(read, what)).hexdigest()
    if found != part.sha256:
        raise ValueError(f"expected SHA-256 {part.sha256} unpacked, got {found}")


def _put(folder: Path, name: str, content: bytes) -> None:
    """Writes a file whole or not at all."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f"{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, folder / name)
    except BaseException:
        os.unlink(aside)
        raise
