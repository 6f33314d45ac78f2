# Memory shared with the rest of the world: NumPy, DLPack; scalars out, copies, pickling.


@cython.final
cdef class Memory:
    """Keeps a storage alive for an array that shows it."""

    cdef fnn_storage *storage

    def __dealloc__(self):
        if self.storage != NULL:
            fnn_count_export(self.storage, -1)
            fnn_storage_release(self.storage)


cdef void release_object(void *context) noexcept with gil:
    Py_DECREF(<object> context)


cdef Tensor from_array(cnp.ndarray a):
    """A tensor over the array's memory. The dtype is known to fit."""
    cdef Tensor y = Tensor.__new__(Tensor)
    cdef int d, ndim = a.ndim
    cdef int64_t item = cnp.PyArray_ITEMSIZE(a)
    cdef int64_t low = 0, high = item
    cdef char *data = <char *> cnp.PyArray_DATA(a)
    y.t.dtype = (<dtype> DTYPE_OF_NUMPY[a.dtype]).code
    y.t.ndim = ndim
    y.t.data = data
    for d in range(ndim):
        y.t.shape[d] = a.shape[d]
        y.t.stride[d] = a.strides[d] // item
        if a.shape[d] == 0:
            high = low
        elif a.strides[d] > 0 and high > low:
            high += (a.shape[d] - 1) * a.strides[d]
        elif high > low:
            low += (a.shape[d] - 1) * a.strides[d]
    Py_INCREF(a)
    y.t.storage = fnn_storage_wrap(data + low, max(high - low, 0), release_object, <void *> a)
    if y.t.storage == NULL:
        Py_DECREF(a)
        raise MemoryError()
    y.t.storage.read_only = not cnp.PyArray_ISWRITEABLE(a)
    if recorder is not None:
        recorder.made(y, True)
    return y


def from_numpy(array not None):
    """A tensor that shares the array's memory; read-only arrays give read-only tensors.

    Raises: TypeError for anything but a NumPy array of a dtype that fastnn has; ValueError
    for memory that cannot be shared (byte-swapped, misaligned, more than 8 dimensions).
    """
    cdef cnp.ndarray a
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    a = <cnp.ndarray> array
    if a.dtype not in DTYPE_OF_NUMPY:
        raise TypeError(f"from_numpy: expected dtype float32, float64, bool, uint8, int32 or "
                        f"int64, got {a.dtype}")
    if a.ndim > FNN_MAX_DIMS:
        raise ValueError(f"from_numpy: expected at most {FNN_MAX_DIMS} dimensions, got "
                         f"{a.ndim}")
    if not a.flags.aligned or not a.dtype.isnative or \
            any([s % array.itemsize for s, n in zip(array.strides, array.shape) if n > 1]):
        raise ValueError("from_numpy: expected native, aligned memory with strides of whole "
                         "elements (hint: fastnn.tensor(array) copies)")
    return from_array(a)


cdef object numpy_dtype_for(object a):
    """The nearest fastnn dtype of what NumPy made of Python data."""
    native = a.dtype.newbyteorder("=")
    if native in DTYPE_OF_NUMPY:
        return native
    kind = a.dtype.kind
    if kind in "iu":
        return np.dtype(np.int64)
    if kind == "f" and a.itemsize == 2:
        return np.dtype(np.float32)
    raise TypeError(f"tensor: expected numbers or booleans, got {a.dtype}")


cdef Tensor as_tensor(object data, object d):
    """data as a Tensor, sharing memory where that can be."""
    cdef bint from_python
    if isinstance(data, Tensor):
        if d is not None and dtype_code(d) != (<Tensor> data).t.dtype:
            return run_op(COPY, (data, dtype_code(d)), None)
        return <Tensor> data
    if isinstance(data, np.ndarray) and d is None and data.dtype in DTYPE_OF_NUMPY and \
            data.flags.aligned and data.dtype.isnative and data.ndim <= FNN_MAX_DIMS and \
            not any([s % data.itemsize for s in data.strides]):
        return from_array(<cnp.ndarray> data)
    from_python = not isinstance(data, (np.ndarray, np.generic)) and \
        not hasattr(data, "__array__")
    if from_python:
        data = unwrap(data)
    try:
        a = np.asarray(data)
    except ValueError as e:
        raise ValueError(f"tensor: expected a rectangular sequence of numbers ({e})") from None
    if d is not None:
        if a.dtype.kind not in "biuf":
            raise TypeError(f"tensor: expected numbers or booleans, got {a.dtype}")
        target = np.dtype((<dtype> DTYPES[dtype_code(d)]).numpy)
    elif from_python and a.dtype.kind == "f":
        target = np.dtype(np.float32)  # PyTorch's default for Python floats
    elif a.dtype.kind == "O":
        raise TypeError("tensor: expected numbers that fit 64 bits, got Python objects")
    else:
        target = numpy_dtype_for(a)
    if a.ndim > FNN_MAX_DIMS:
        raise ValueError(f"tensor: expected at most {FNN_MAX_DIMS} dimensions, got {a.ndim}")
    if a.dtype.kind == "u" and a.itemsize == 8 and target.kind == "i" and a.size and \
            a.max() > np.iinfo(np.int64).max:
        raise OverflowError("tensor: expected integers below 2^63")
    if from_python and d is not None and target.kind in "iu":
        check_fits(a, target)
    with np.errstate(over="ignore", invalid="ignore"):
        a = np.array(a, dtype=target, order="C", copy=True)
    return from_array(<cnp.ndarray> a)


cdef int check_fits(object a, object target) except -1:
    """OverflowError for Python numbers that an integer dtype cannot hold. Those below 0 wrap
    in uint8 down to -255, as in PyTorch."""
    limits = np.iinfo(target)
    least = -limits.max if target.kind == "u" else limits.min
    if a.size == 0 or a.dtype.kind == "b":
        return 0
    # the largest int64 is no float64: 2^63 must not pass for it
    fits = (a >= least) & (a <= limits.max if a.dtype.kind != "f" or target.itemsize < 8
                           else a < 2.0 ** 63)
    if not fits.all():
        raise OverflowError(f"tensor: expected numbers that fit {target.name}, from {least} to "
                            f"{limits.max}, got {a[~fits].flat[0]}")
    return 0


cdef object unwrap(object data):
    """Nested sequences with their tensors made numbers or lists."""
    if isinstance(data, Tensor):
        return (<Tensor> data).detach().numpy()
    if isinstance(data, (list, tuple)) and any([isinstance(v, (Tensor, list, tuple))
                                                for v in data]):
        return [unwrap(v) for v in data]
    return data


def tensor_from(data, d, bint copy):
    """as_tensor or, with copy, a leaf of its own memory."""
    cdef Tensor y = as_tensor(data, d)
    if copy and (isinstance(data, Tensor) or y.t.storage.refs > 1 or
                 isinstance(data, np.ndarray)):
        y = run_op(COPY, (alias(y),), None)
    return y


def _numpy(Tensor self, *, bint force=False):
    """This memory as a NumPy array; nothing is copied.

    Raises: RuntimeError if the tensor requires grad, unless force (then detach first).
    """
    cdef cnp.npy_intp shape[8]
    cdef cnp.npy_intp stride[8]
    cdef int d, flags
    cdef cnp.ndarray a
    cdef Memory owner
    check_made(self)
    if recorder is not None:
        recorder.read(self, "numpy()")
    if self.tracked and not force:
        raise RuntimeError("numpy: expected a tensor that does not require grad (hint: "
                           "detach().numpy())")
    cdef int64_t item = fnn_dtype_size(self.t.dtype)
    for d in range(self.t.ndim):
        shape[d] = self.t.shape[d]
        stride[d] = self.t.stride[d] * item
    flags = 0 if self.t.storage.read_only else cnp.NPY_ARRAY_WRITEABLE
    owner = Memory.__new__(Memory)
    owner.storage = self.t.storage
    fnn_storage_retain(self.t.storage)
    fnn_count_export(self.t.storage, 1)
    a = cnp.PyArray_New(np.ndarray, self.t.ndim, shape, NUMPY_NUMBER[self.t.dtype], stride,
                        self.t.data, 0, flags, None)
    cnp.set_array_base(a, owner)
    cnp.PyArray_UpdateFlags(a, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_F_CONTIGUOUS |
                            cnp.NPY_ARRAY_ALIGNED)
    return a


def _array(Tensor self, dtype=None, copy=None):
    """NumPy's protocol: np.asarray(tensor)."""
    a = _numpy(self)
    if dtype is not None and a.dtype != dtype:
        if copy is False:
            raise ValueError("__array__: expected the tensor's own dtype without a copy")
        return a.astype(dtype)
    return a.copy() if copy else a


def _item(Tensor self):
    """The one element as a Python number. Raises: ValueError unless there is exactly one."""
    return one_element(self, "item")


cdef object one_element(Tensor self, str name):
    check_made(self)
    if recorder is not None:
        recorder.read(self, f"{name}()")
    if fnn_numel(&self.t) != 1:
        hint = " (hint: any() or all())" if name == "bool" else ""
        raise ValueError(f"{name}: expected one element, got shape {self.shape}{hint}")
    if self.t.dtype == FNN_FLOAT32:
        return <double> (<float *> self.t.data)[0]
    if self.t.dtype == FNN_FLOAT64:
        return (<double *> self.t.data)[0]
    if self.t.dtype == FNN_INT64:
        return (<int64_t *> self.t.data)[0]
    if self.t.dtype == FNN_INT32:
        return (<int32_t *> self.t.data)[0]
    if self.t.dtype == FNN_UINT8:
        return (<uint8_t *> self.t.data)[0]
    return bool((<uint8_t *> self.t.data)[0])


def empty(tuple shape, d, str name="empty"):
    """Fresh memory of that shape and dtype, not initialised; name is for errors."""
    cdef Tensor y = Tensor.__new__(Tensor)
    cdef int i
    cdef int64_t size
    cdef object total = 1
    y.t.dtype = dtype_code(d)
    if len(shape) > FNN_MAX_DIMS:
        raise ValueError(f"{name}: expected at most {FNN_MAX_DIMS} dimensions, got "
                         f"{len(shape)}")
    for i, n in enumerate(shape):
        try:
            size = PyNumber_Index(n)
        except (TypeError, OverflowError):
            raise TypeError(f"{name}: expected sizes as integers, got {shape!r}") from None
        if size < 0:
            raise ValueError(f"{name}: expected sizes of at least 0, got {shape!r}")
        y.t.shape[i] = size
        total *= size
    y.t.ndim = <int32_t> len(shape)
    total *= fnn_dtype_size(y.t.dtype)
    if total >= 1 << 62:
        raise MemoryError(f"{name}: expected less than 2^62 bytes, got shape {shape!r}")
    fnn_set_contiguous(&y.t)
    y.t.storage = fnn_storage_new(total)
    if y.t.storage == NULL:
        raise MemoryError(f"{name}: expected {total} bytes of memory")
    y.t.data = <char *> y.t.storage.data
    if recorder is not None:
        recorder.made(y, False)
    return y


def same_storage(Tensor a not None, Tensor b not None):
    """Whether two tensors share their storage (bool)."""
    return a.t.storage == b.t.storage


def read_only(Tensor x not None):
    """Whether the memory may not be written (bool)."""
    return x.t.storage != NULL and x.t.storage.read_only


# ---- DLPack (v1.0 layout, https://dmlc.github.io/dlpack/latest/c_api.html) --------------

cdef struct DLDevice:
    int32_t device_type
    int32_t device_id

cdef struct DLDataType:
    uint8_t code
    uint8_t bits
    uint16_t lanes

cdef struct DLTensor:
    void *data
    DLDevice device
    int32_t ndim
    DLDataType dtype
    int64_t *shape
    int64_t *strides
    uint64_t byte_offset

cdef struct DLManaged:
    DLTensor tensor
    void *context
    void (*deleter)(DLManaged *) noexcept

cdef struct DLVersioned:
    uint32_t major
    uint32_t minor
    void *context
    void (*deleter)(DLVersioned *) noexcept
    uint64_t flags
    DLTensor tensor

cdef struct Export:  # one block: both capsule kinds, sizes, and the storage they hold
    DLManaged plain
    DLVersioned versioned
    int64_t shape[8]
    int64_t strides[8]
    fnn_storage *storage

cdef enum:
    READ_ONLY = 1


cdef void free_export(Export *e) noexcept:
    fnn_count_export(e.storage, -1)
    fnn_storage_release(e.storage)
    fnn_free(e)


cdef void delete_plain(DLManaged *m) noexcept:
    free_export(<Export *> m.context)


cdef void delete_versioned(DLVersioned *m) noexcept:
    free_export(<Export *> m.context)


cdef void drop_plain(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, b"dltensor"):  # nobody took it
        delete_plain(<DLManaged *> PyCapsule_GetPointer(capsule, b"dltensor"))


cdef void drop_versioned(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        delete_versioned(<DLVersioned *> PyCapsule_GetPointer(capsule, b"dltensor_versioned"))


def _dlpack(Tensor self, *, stream=None, max_version=None, dl_device=None, copy=None):
    """The DLPack capsule of this memory.

    Raises: BufferError for a tensor that requires grad, read-only memory asked for in the
    old format, or another device.
    """
    cdef Export *e
    cdef DLTensor *t
    cdef int d
    check_made(self)
    if self.tracked:
        raise BufferError("__dlpack__: expected a tensor that does not require grad (hint: "
                          "detach())")
    if stream is not None or (dl_device is not None and tuple(dl_device) != (1, 0)):
        raise BufferError("__dlpack__: expected the CPU and no stream")
    if copy:
        self = run_op(COPY, (self,), None)
    new = max_version is not None and max_version[0] >= 1
    if self.t.storage.read_only and not new:
        raise BufferError("__dlpack__: expected a consumer of DLPack 1.0 for read-only memory")
    e = <Export *> fnn_alloc(sizeof(Export))
    if e == NULL:
        raise MemoryError()
    e.storage = self.t.storage
    fnn_storage_retain(e.storage)
    fnn_count_export(e.storage, 1)
    if recorder is not None:
        recorder.read(self, "__dlpack__()")
    for d in range(self.t.ndim):
        e.shape[d] = self.t.shape[d]
        e.strides[d] = self.t.stride[d]
    t = &e.versioned.tensor
    t.data = self.t.data
    t.device.device_type = 1
    t.device.device_id = 0
    t.ndim = self.t.ndim
    t.dtype.code = 6 if self.t.dtype == FNN_BOOL else 1 if self.t.dtype == FNN_UINT8 else \
        2 if fnn_is_float(self.t.dtype) else 0
    t.dtype.bits = <uint8_t> (8 * fnn_dtype_size(self.t.dtype))
    t.dtype.lanes = 1
    t.shape = e.shape
    t.strides = e.strides
    t.byte_offset = 0
    e.plain.tensor = t[0]
    e.plain.context = e.versioned.context = e
    e.plain.deleter = delete_plain
    e.versioned.deleter = delete_versioned
    e.versioned.major = 1
    e.versioned.minor = 0
    e.versioned.flags = READ_ONLY if self.t.storage.read_only else 0
    if new:
        return PyCapsule_New(&e.versioned, b"dltensor_versioned", drop_versioned)
    return PyCapsule_New(&e.plain, b"dltensor", drop_plain)


def _dlpack_device(Tensor self):
    """(1, 0): the CPU."""
    return (1, 0)


cdef void release_plain(void *m) noexcept with gil:
    if (<DLManaged *> m).deleter != NULL:
        (<DLManaged *> m).deleter(<DLManaged *> m)


cdef void release_versioned(void *m) noexcept with gil:
    if (<DLVersioned *> m).deleter != NULL:
        (<DLVersioned *> m).deleter(<DLVersioned *> m)


cdef int code_of_dlpack(DLDataType t) except -1:
    cdef int code
    if t.lanes == 1:
        for code in range(FNN_N_DTYPES):
            kind = 6 if code == FNN_BOOL else 1 if code == FNN_UINT8 else \
                2 if fnn_is_float(code) else 0
            if kind == t.code and fnn_dtype_size(code) * 8 == t.bits:
                return code
    raise TypeError(f"from_dlpack: expected a dtype that fastnn has, got code {t.code} with "
                    f"{t.bits} bits and {t.lanes} lanes")


cdef object class_of(object value):
    """The class of an argument that is no tensor of ours, said so that it is understood."""
    kind = type(value)
    if hasattr(value, "__dlpack__") and not isinstance(value, (np.ndarray, np.generic, Tensor)):
        return (f"{kind.__module__.partition('.')[0]}.{kind.__name__} "
                "(hint: fastnn.from_dlpack)")
    return kind.__name__


def from_dlpack(source):
    """A tensor over the memory of any object with __dlpack__ (NumPy, PyTorch, JAX, ...).

    Raises: TypeError, BufferError or ValueError for memory that cannot be shared.
    """
    cdef Tensor y = Tensor.__new__(Tensor)
    cdef DLManaged *plain = NULL
    cdef DLVersioned *versioned = NULL
    cdef DLTensor *t
    cdef int64_t low = 0, high, item, span
    cdef int d
    if not hasattr(source, "__dlpack__"):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__, got "
                        f"{type(source).__name__}")
    try:
        capsule = source.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = source.__dlpack__()
    if PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        versioned = <DLVersioned *> PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        t = &versioned.tensor
        if versioned.major != 1:
            raise BufferError(f"from_dlpack: expected DLPack 1.x, got {versioned.major}")
    elif PyCapsule_IsValid(capsule, b"dltensor"):
        plain = <DLManaged *> PyCapsule_GetPointer(capsule, b"dltensor")
        t = &plain.tensor
    else:
        raise BufferError("from_dlpack: expected a fresh DLPack capsule")
    if t.device.device_type != 1:
        raise BufferError("from_dlpack: expected memory on the CPU")
    if t.ndim < 0 or t.ndim > FNN_MAX_DIMS:
        raise ValueError(f"from_dlpack: expected at most {FNN_MAX_DIMS} dimensions, got "
                         f"{t.ndim}")
    y.t.dtype = code_of_dlpack(t.dtype)
    item = fnn_dtype_size(y.t.dtype)
    y.t.ndim = t.ndim
    y.t.data = <char *> t.data + t.byte_offset
    if <size_t> y.t.data % item:
        raise ValueError("from_dlpack: expected aligned memory")
    for d in range(t.ndim):
        if t.shape[d] < 0:
            raise ValueError(f"from_dlpack: expected sizes of at least 0, got {t.shape[d]}")
        y.t.shape[d] = t.shape[d]
    fnn_set_contiguous(&y.t)
    high = item
    for d in range(t.ndim):
        if t.strides != NULL:
            y.t.stride[d] = t.strides[d]
        span = (y.t.shape[d] - 1) * y.t.stride[d] * item
        low += min(span, 0)
        high += max(span, 0)
    if fnn_numel(&y.t) == 0:
        low, high = 0, 0
    if versioned != NULL:
        y.t.storage = fnn_storage_wrap(y.t.data + low, high - low, release_versioned,
                                       versioned)
    else:
        y.t.storage = fnn_storage_wrap(y.t.data + low, high - low, release_plain, plain)
    if y.t.storage == NULL:
        raise MemoryError()
    if versioned != NULL:
        y.t.storage.read_only = (versioned.flags & READ_ONLY) != 0
        PyCapsule_SetName(capsule, b"used_dltensor_versioned")
    else:
        PyCapsule_SetName(capsule, b"used_dltensor")
    if recorder is not None:
        recorder.made(y, True)
    return y


# ---- copies and pickling ----------------------------------------------------------------


def _rebuild(cls, array, bint requires_grad):
    """A tensor of class cls from its elements; what pickle calls."""
    cdef Tensor y = cls.__new__(cls)
    adopt(y, from_array(<cnp.ndarray> np.ascontiguousarray(array).reshape(array.shape)))
    y.tracked = requires_grad
    return y


def _reduce(Tensor self, protocol):
    """Pickles the elements, requires_grad and attributes; not the graph."""
    array = np.array(_numpy(self, force=True))
    state = getattr(self, "__dict__", None)
    return _rebuild, (type(self), array, self.tracked), state or None


def _setstate(Tensor self, state):
    """Puts back a subclass's attributes."""
    self.__dict__.update(state)


def _copy(Tensor self):
    """Another tensor over the same memory, a leaf, with the same attributes."""
    cdef Tensor y = (type(self)).__new__(type(self))
    adopt(y, self)
    y.tracked = self.tracked
    getattr(y, "__dict__", {}).update(getattr(self, "__dict__", {}))
    return y


def _deepcopy(Tensor self, memo):
    """A leaf of its own memory. Raises: RuntimeError for a result in a graph."""
    if self.node is not None:
        raise RuntimeError("deepcopy: expected a leaf, got a result of "
                           f"{self.node.name} (hint: detach() it)")
    import copy
    y = _rebuild(type(self), np.array(_numpy(self, force=True)), self.tracked)
    memo[id(self)] = y
    hold_gradient(<Tensor> y, copy.deepcopy(held_gradient(self), memo))
    for name, value in getattr(self, "__dict__", {}).items():
        setattr(y, name, copy.deepcopy(value, memo))
    return y


for _name, _function in (("numpy", _numpy), ("__array__", _array), ("item", _item),
                         ("__dlpack__", _dlpack), ("__dlpack_device__", _dlpack_device),
                         ("__reduce_ex__", _reduce), ("__setstate__", _setstate),
                         ("__copy__", _copy), ("__deepcopy__", _deepcopy)):
    install(_name, _function)
