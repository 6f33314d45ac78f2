# dtype, device, errors: the small types that everything else speaks.


@cython.final
cdef class dtype:
    """Element type of a tensor: fastnn.float32, float64, bool, uint8, int32 or int64.

    Attributes: name (str), itemsize (bytes), is_floating_point (bool), numpy (numpy.dtype).
    """

    cdef readonly int code
    cdef readonly str name
    cdef readonly int itemsize
    cdef readonly bint is_floating_point
    cdef readonly object numpy

    def __init__(self, name):
        raise TypeError("dtype: expected one of fastnn's own, such as fastnn.float32")

    def __repr__(self):
        return "fastnn." + self.name

    def __reduce__(self):
        return _dtype_named, (self.name,)


cdef list DTYPES = []
cdef dict DTYPE_OF_NUMPY = {}


def _dtype_named(str name):
    for d in DTYPES:
        if (<dtype> d).name == name:
            return d
    raise TypeError(f"dtype: expected one of {[d.name for d in DTYPES]}, got {name!r}")


cdef int make_dtypes() except -1:
    cdef dtype d
    cdef int code
    numbers = [cnp.NPY_BOOL, cnp.NPY_UINT8, cnp.NPY_INT32, cnp.NPY_INT64, cnp.NPY_FLOAT32,
               cnp.NPY_FLOAT64]
    for code in range(FNN_N_DTYPES):
        d = dtype.__new__(dtype)
        d.code = code
        d.name = fnn_dtype_name(code).decode()
        d.itemsize = fnn_dtype_size(code)
        d.is_floating_point = fnn_is_float(code)
        d.numpy = cnp.PyArray_DescrFromType(numbers[code])
        DTYPES.append(d)
        DTYPE_OF_NUMPY[d.numpy] = d
    return 0


cdef int NUMPY_NUMBER[6]
NUMPY_NUMBER[:] = [cnp.NPY_BOOL, cnp.NPY_UINT8, cnp.NPY_INT32, cnp.NPY_INT64,
                   cnp.NPY_FLOAT32, cnp.NPY_FLOAT64]


cdef int dtype_code(object d) except -1:
    """The code of a fastnn dtype, or of what NumPy takes for one."""
    if type(d) is dtype:
        return (<dtype> d).code
    try:
        return (<dtype> DTYPE_OF_NUMPY[np.dtype(d)]).code
    except (KeyError, TypeError):
        raise TypeError(f"expected a dtype out of float32, float64, bool, uint8, int32, "
                        f"int64, got {d!r}") from None


def dtype_number(d):
    """The code of a dtype (int), as op attributes take it."""
    return dtype_code(d)


def dtypes():
    """All dtypes, by code (list)."""
    return list(DTYPES)


@cython.final
cdef class device:
    """Where a tensor lives. Only device("cpu") exists so far."""

    cdef readonly str type

    def __init__(self, type="cpu"):
        if str(type) != "cpu":
            raise RuntimeError(f"device: expected 'cpu', got {str(type)!r}: this build has no "
                               "other backend")
        self.type = "cpu"

    def __repr__(self):
        return f"device(type='{self.type}')"

    def __str__(self):
        return self.type

    def __eq__(self, other):
        return str(self) == str(other)

    def __hash__(self):
        return hash(self.type)

    def __reduce__(self):
        return device, (self.type,)


cdef object CPU = device("cpu")


cdef object error(fnn_status status, const char *text):
    """Raises what the status stands for."""
    message = text.decode("utf-8", "replace")
    if status == FNN_ERR_TYPE:
        raise TypeError(message)
    if status == FNN_ERR_INDEX:
        raise IndexError(message)
    if status == FNN_ERR_MEMORY:
        raise MemoryError(message)
    if status == FNN_ERR_BUG:
        raise RuntimeError(message)
    raise ValueError(message)
