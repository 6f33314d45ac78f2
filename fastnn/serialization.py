"""save and load: tensors and what holds them, as safetensors files.

A safetensors file is a JSON header and the bytes of named tensors: it can hold no code,
unlike a pickle. A state dict is saved as a plain one, which every other reader takes. All
else keeps its shape as JSON in the header's metadata, where {"tensor": name} stands for
a tensor, and a checkpoint is then still a file that other readers find tensors in.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

import numpy as np

import fastnn
from fastnn._core import Tensor

File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
Array: TypeAlias = "np.ndarray[Any, Any]"

STRUCTURE = "fastnn"  # the metadata entry; its "version" counts changes of the encoding
VERSION = 1
HEADER_LIMIT = 100_000_000  # bytes; readers refuse more
PLAIN_INTEGERS = 2**63  # beyond, integers are written as hexadecimal strings


def _bfloat16(bits: Array) -> Array:
    """Its bits are the upper half of a float32's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


# safetensors' name: as stored, and the dtype that holds every value exactly.
_DTYPES: dict[str, tuple[Any, fastnn.dtype]] = {
    "F64": (np.float64, fastnn.float64),
    "F32": (np.float32, fastnn.float32),
    "F16": (np.float16, fastnn.float32),
    "BF16": (np.uint16, fastnn.float32),
    "I64": (np.int64, fastnn.int64),
    "I32": (np.int32, fastnn.int32),
    "I16": (np.int16, fastnn.int32),
    "I8": (np.int8, fastnn.int32),
    "U32": (np.uint32, fastnn.int64),
    "U16": (np.uint16, fastnn.int64),
    "U8": (np.uint8, fastnn.uint8),
    "BOOL": (np.uint8, fastnn.bool),
}
_SAVED = {np.dtype(kind) for kind, _ in _DTYPES.values()} | {np.dtype(np.bool_)}


def save(obj: Any, f: File) -> None:
    """Write tensors, and what holds them, to a safetensors file.

    A path is written aside in the same folder, synced to disk and renamed: whatever
    happens, there is the old file or the new one, whole.

    Parameters:
        obj : a Tensor or NumPy array; None, bool, int, float or str; or a dict (keys
            str or int), list or tuple of such, to any depth. A dict of str to Tensor,
            such as model.state_dict(), becomes a plain file that other readers take.
        f : path, or binary file object open for writing.

    Raises: TypeError for anything else, with its place in obj; ValueError where obj
        holds itself, or is more structure than a header holds (100 MB); OSError where
        the file cannot be written, as on a full disk.

    Notes: tensors that share memory are written each, and requires_grad is not kept.

    Example:
        >>> import fastnn, io
        >>> file = io.BytesIO()
        >>> fastnn.save({"epoch": 3, "w": fastnn.ones(2)}, file)
        >>> _ = file.seek(0)
        >>> fastnn.load(file)
        {'epoch': 3, 'w': tensor([1., 1.])}
    """
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    arrays, metadata = _pack(obj)
    if hasattr(f, "write"):
        data = safetensors.save(arrays, metadata)
        _check_header(data[:8])
        f.write(data)
        return

    path = _path(f, "save")

    def write(aside: str) -> None:
        try:
            safetensors.save_file(arrays, aside, metadata)
        except SafetensorError as e:  # all else was checked: the disk is full
            raise OSError(f"save: {path}: {e}") from e
        with open(aside, "rb") as file:
            _check_header(file.read(8))

    _replace(path, write)


def load(f: File, *, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read a safetensors file: what save() was given, or a dict of its tensors.

    Types that fastnn lacks are widened, exactly: float16 and bfloat16 to float32, int8
    and int16 to int32, uint16 and uint32 to int64.

    Parameters:
        f : path, or binary file object open for reading; it is read to its end.
        map_location : None or the CPU, where all tensors are.
        weights_only : True: no file can run code.

    Returns: as saved, NumPy arrays as Tensors; from other writers a dict of name to
        Tensor, in the file's order.

    Raises: ValueError that names the file and what is wrong with it, also for a pickle
        or a zip file, such as torch.save writes; OSError as open() does.

    Source: the safetensors format, https://github.com/huggingface/safetensors

    Example:
        >>> import fastnn, os, tempfile
        >>> model = fastnn.nn.Linear(2, 1)
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> fastnn.save(model.state_dict(), path)
        >>> model.load_state_dict(fastnn.load(path)).missing_keys
        []
    """
    if weights_only is not True:
        raise ValueError(
            f"load: expected weights_only=True, got {weights_only!r}: files hold tensors "
            "and plain values, never pickled objects"
        )
    if map_location is not None:
        fastnn.device(map_location)  # raises for all but the CPU
    with _opened(f) as (name, stream):
        try:
            return _read(stream)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as e:
            raise ValueError(f"load: {name}: {e}") from e


# ---- an object as arrays and JSON, and back ----


def _pack(obj: Any) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays by name, and the metadata that says how to put them together."""
    import json

    arrays: dict[str, Array] = {}
    metadata = {"format": "pt"}  # what PyTorch's tools look for
    try:
        if _is_state_dict(obj):
            arrays |= {name: _array(value, repr(name)) for name, value in obj.items()}
        else:
            value = _encode(obj, (), arrays, set())
            text = json.dumps({"version": VERSION, "value": value}, allow_nan=False)
            metadata[STRUCTURE] = text
        for name in arrays:
            name.encode()
    except RecursionError:
        raise ValueError("save: the object is nested too deeply") from None
    except UnicodeEncodeError as e:
        raise ValueError(f"save: a name of a tensor is not Unicode: {e}") from e
    return arrays, metadata


def _is_state_dict(obj: Any) -> bool:
    return isinstance(obj, Mapping) and all(
        isinstance(name, str) and name != "__metadata__" and isinstance(value, Tensor)
        for name, value in obj.items()
    )


def _encode(
    obj: Any, path: tuple[Any, ...], arrays: dict[str, Array], above: set[int]
) -> Any:
    """The object as JSON; an object there has one entry, whose key says what it is."""
    if isinstance(obj, np.bool_ | np.integer | np.floating):
        obj = obj.item()
    if obj is None or isinstance(obj, bool):
        return obj
    if isinstance(obj, str):
        return str(obj)
    if isinstance(obj, int):
        obj = int(obj)
        return obj if abs(obj) < PLAIN_INTEGERS else {"int": hex(obj)}
    if isinstance(obj, float):
        if math.isfinite(obj):
            return float(obj)
        return {"float": struct.pack(">d", obj).hex()}
    if isinstance(obj, Tensor | np.ndarray):
        unique = ".".join(map(str, path)) or "tensor"
        while unique in arrays or unique == "__metadata__":  # {"a.b": x, "a": {"b": y}}
            unique += "'"
        arrays[unique] = _array(obj, _place(path))
        return {"tensor": unique}
    if not isinstance(obj, Mapping | list | tuple):
        raise TypeError(
            f"save: expected tensors, arrays, numbers, strings, None, dicts, lists and "
            f"tuples, got {type(obj).__name__} at {_place(path)}"
        )
    if id(obj) in above:
        raise ValueError(f"save: the object at {_place(path)} contains itself")
    above.add(id(obj))
    result: Any
    if isinstance(obj, Mapping):
        for key in obj:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise TypeError(
                    f"save: expected keys that are str or int, got "
                    f"{type(key).__name__} in the dict at {_place(path)}"
                )
        result = {
            "dict": [
                [
                    _encode(key, (), arrays, above),
                    _encode(value, (*path, key), arrays, above),
                ]
                for key, value in obj.items()
            ]
        }
    else:
        result = [_encode(v, (*path, i), arrays, above) for i, v in enumerate(obj)]
        if isinstance(obj, tuple):
            result = {"tuple": result}
    above.discard(id(obj))
    return result


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What _encode wrote as an object again."""
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
    if kind == "tuple":
        return tuple(_decode(v, tensors) for v in content)
    if kind == "int":
        return int(content, 16)
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    raise ValueError(f"unknown kind {kind!r}")


def _array(value: Tensor | Array, place: str) -> Array:
    """The values, contiguous: safetensors reads bare memory."""
    array = value.detach().numpy() if isinstance(value, Tensor) else value
    if array.dtype.newbyteorder("=") not in _SAVED:
        raise TypeError(f"save: dtype {array.dtype} at {place} is not supported")
    return np.asarray(array, order="C")


def _place(path: tuple[Any, ...]) -> str:
    return "the top" if not path else "".join(f"[{key!r}]" for key in path)


def _check_header(start: bytes) -> None:
    """Refuse to leave behind what no reader would take."""
    size = int.from_bytes(start, "little")
    if size > HEADER_LIMIT:
        raise ValueError(
            f"save: expected names and plain values of at most {HEADER_LIMIT:,} bytes, "
            f"got {size:,}; long lists of numbers belong in an array"
        )


# ---- reading ----


@contextmanager
def _opened(f: File) -> Iterator[tuple[str, IO[bytes]]]:
    """The file's name and its bytes as a stream, once safetensors has checked them."""
    import io

    from safetensors import SafetensorError, deserialize, safe_open

    if hasattr(f, "read"):
        data = f.read()
        if not isinstance(data, bytes):
            raise TypeError(
                f"load: expected a file open in binary mode, got {type(data).__name__} "
                "from its read()"
            )
        name = str(getattr(f, "name", "the file object"))
        try:
            deserialize(data)  # type: ignore[no-untyped-call]
        except SafetensorError as e:
            raise ValueError(f"load: {name}: {_diagnosis(data[:8], e)}") from e
        yield name, io.BytesIO(data)
        return
    path = _path(f, "load")
    with open(path, "rb") as stream:
        try:
            with safe_open(path, framework="np"):
                pass
        except SafetensorError as e:
            raise ValueError(f"load: {path}: {_diagnosis(stream.read(8), e)}") from e
        yield path, stream


def _diagnosis(start: bytes, error: Exception) -> str:
    """What a file that is no safetensors file looks like from its first bytes."""
    expected = "expected a safetensors file, got "
    if start == b"":
        return expected + "an empty file"
    pickled = start[:1] == b"\x80" and start[1:2] <= b"\5" and any(start[2:])
    if pickled or start[:4] == b"PK\3\4":
        kind = "a pickle" if pickled else "a zip file"
        return (
            f"{expected}{kind}, such as torch.save writes, which can run code; convert "
            "it where PyTorch is: safetensors.torch.save_file(torch.load(old), new)"
        )
    return f"{expected}something else, or a damaged one ({error})"


def _read(stream: IO[bytes]) -> Any:
    """The object in a stream whose header safetensors has found right."""
    import json

    size = int.from_bytes(stream.read(8), "little")
    header = json.loads(stream.read(size))
    metadata = header.pop("__metadata__", None) or {}
    entries = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"])
    tensors = {name: _read_tensor(stream, name, entry) for name, entry in entries}
    if STRUCTURE not in metadata:
        return tensors
    try:
        structure = json.loads(metadata[STRUCTURE])
        version = structure["version"]
        if version != VERSION:
            raise ValueError(f"its version is {version}, this fastnn reads {VERSION}")
        return _decode(structure["value"], tensors)
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as e:
        raise ValueError(f"its metadata {STRUCTURE!r} cannot be read ({e!r})") from e


def _read_tensor(stream: IO[bytes], name: str, entry: Mapping[str, Any]) -> Tensor:
    """The tensor that comes next in the stream, read into its own memory."""
    code, shape = entry["dtype"], entry["shape"]
    if code not in _DTYPES:
        raise ValueError(
            f"tensor {name!r} is of dtype {code}, which fastnn has not and cannot widen"
        )
    stored, dtype = _DTYPES[code]
    tensor = fastnn.empty(shape, dtype=dtype)
    same = dtype.numpy == stored
    raw = tensor.numpy() if same else np.empty(shape, stored)
    if stream.readinto(raw.reshape(-1).view(np.uint8)) != raw.nbytes:  # type: ignore[attr-defined]
        raise ValueError(f"the file ends within tensor {name!r}")
    if not same:
        tensor.numpy()[...] = _bfloat16(raw) if code == "BF16" else raw
    return tensor


# ---- writing ----


def _path(f: Any, op: str) -> str:
    try:
        return os.fsdecode(f)
    except TypeError:
        raise TypeError(
            f"{op}: expected a path or a binary file object, got {type(f).__name__}"
        ) from None


def _replace(path: str, write: Callable[[str], None]) -> None:
    """Have write() fill a file aside, then put it in the place of `path` in one step."""
    path = os.path.realpath(path)  # behind a link lies the file to replace
    if os.path.exists(path) and not os.path.isfile(path):
        kind = IsADirectoryError if os.path.isdir(path) else ValueError
        raise kind(f"save: expected the path of a file, got {path}, which is none")
    folder = os.path.dirname(path)
    aside = os.path.join(folder, f".fastnn-{os.urandom(8).hex()}.tmp")
    try:
        # Made by open(), so that it gets the permissions that open() gives here.
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as e:
        e.filename = path  # what the caller asked for
        raise
    try:
        mode = os.stat(path if os.path.exists(path) else aside).st_mode & 0o7777
        write(aside)  # safetensors may put another file there
        os.chmod(aside, mode)
        _sync(aside)
        os.replace(aside, path)
    except BaseException:
        if os.path.exists(aside):
            os.unlink(aside)
        raise
    _sync(folder)


def _sync(path: str) -> None:
    """Wait until a file or folder is on disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
