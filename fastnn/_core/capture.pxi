# What recording a function needs of tensors, and what plans depend on.

cdef uint64_t structure = 0


def touch_structure():
    """Says that a module, an optimizer or a leaf is no longer what it was: plans look again."""
    global structure
    structure += 1


def structure_version():
    """How often touch_structure was called (int)."""
    return structure


# ---- while a function is recorded -------------------------------------------------------


def shield(Tensor x not None):
    """Contiguous x's elements under a storage of their own, by which a recording knows an
    argument."""
    cdef Tensor y
    check_made(x)
    y = Tensor.__new__(Tensor)
    y.t = x.t
    fnn_storage_retain(x.t.storage)
    y.t.storage = fnn_storage_wrap(x.t.data, fnn_numel(&x.t) * fnn_dtype_size(x.t.dtype),
                                   release_storage, <void *> x.t.storage)
    if y.t.storage == NULL:
        fnn_storage_release(x.t.storage)
        raise MemoryError()
    y.t.storage.read_only = x.t.storage.read_only
    return y


cdef void release_storage(void *s) noexcept nogil:
    fnn_storage_release(<fnn_storage *> s)


def unshield(Tensor x not None, Tensor shielded not None):
    """x, whose storage is that of shielded's shield, over shielded's own storage again."""
    cdef Tensor y = Tensor.__new__(Tensor)
    y.t = x.t
    y.t.storage = shielded.t.storage
    fnn_storage_retain(y.t.storage)
    y.is_view = x.is_view
    y.view_history = y.t.storage.history
    return y


def bump_version(Tensor x not None):
    """Says that x's memory was written."""
    check_made(x)
    x.t.storage.version += 1


def layout(Tensor x not None):
    """(storage's address, offset in elements, dtype, shape, strides)."""
    check_made(x)
    return (<size_t> x.t.storage, x.storage_offset(), x.dtype, x.shape, x.stride())


def hooks_of(Tensor x not None):
    """The functions that are called with a leaf's gradient (tuple)."""
    return tuple(x.hooks.values()) if x.hooks else ()


def storage_elements(Tensor x not None):
    """How many elements of x's dtype its storage holds (int)."""
    check_made(x)
    return x.t.storage.nbytes // fnn_dtype_size(x.t.dtype)


def view_of(Tensor x not None, tuple shape, tuple strides, Py_ssize_t offset):
    """Elements of x's storage from `offset` on, seen with that shape and strides.

    Raises: ValueError where that leaves the storage.
    """
    cdef Tensor y = alias(x)
    cdef int d
    cdef const char *lo
    cdef const char *hi
    cdef const char *base = <const char *> x.t.storage.data
    if len(shape) != len(strides) or len(shape) > FNN_MAX_DIMS:
        raise ValueError(f"view_of: expected as many strides as sizes, at most 8, got {shape} "
                         f"and {strides}")
    y.t.ndim = <int32_t> len(shape)
    for d in range(y.t.ndim):
        y.t.shape[d] = shape[d]
        y.t.stride[d] = strides[d]
    y.t.data = <char *> base + offset * fnn_dtype_size(y.t.dtype)
    fnn_byte_range(&y.t, &lo, &hi)
    if lo < base or hi > base + x.t.storage.nbytes:
        raise ValueError(f"view_of: expected elements of the storage, got shape {shape}, "
                         f"strides {strides} from element {offset}")
    return y


cdef bint exposed(const fnn_storage *s):
    """Whether others may write this memory without a version that says so."""
    cdef PyObject *owner
    if s.exports > 0:
        return True
    if s.release == NULL:
        return False
    if s.release != release_object:
        return True
    owner = <PyObject *> s.context
    return Py_REFCNT(owner) > 1 or cnp.PyArray_BASE(<cnp.ndarray> owner) != NULL


def others_may_write(Tensor x not None):
    """Whether x's memory may change without a version that says so: NumPy has it (bool)."""
    return exposed(x.t.storage)


def variables_hold(list variables):
    """Whether variables (holder, name, value, size) are what they were (bool)."""
    cdef Py_ssize_t i
    for i in range(len(variables)):
        if not holds(<tuple> variables[i]):
            return False
    return True


cdef bint holds(tuple v) except -1:
    cdef object holder = v[0], value = v[2], now
    cdef PyObject *found
    if type(holder) is dict:
        found = PyDict_GetItem(holder, v[1])
        if found == NULL:
            return False
        now = <object> found
    else:
        try:
            now = holder.cell_contents
        except ValueError:
            return False
    if now is value:
        return v[3] < 0 or len(now) == v[3]
    return type(now) is type(value) and isinstance(now, (bool, int, float, str, bytes)) and \
        now == value
