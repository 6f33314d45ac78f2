# Tensor: a C tensor, and its place on the tape.

from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, Py_NE

cdef extern from "Python.h":
    void PyType_Modified(type t)
    ctypedef struct PyTypeObject:
        PyObject *tp_dict


cdef dict installed = {}  # hooks that Python parts supply: getitem, setitem, repr


@cython.freelist(256)
cdef class Tensor:
    """An n-dimensional array (at most 8 dimensions) that can record gradients.

    Made by fastnn.tensor, zeros, from_numpy and the ops. Tensor(x) shares a tensor's
    memory; Tensor([1, 2]) is float32 whatever the data; Tensor(2, 3) is empty(2, 3). Names, promotion and views follow PyTorch. Methods come from the
    ops: x.sum(dim=0) is fastnn.sum(x, dim=0).
    """

    cdef fnn_tensor t
    cdef bint tracked        # requires_grad
    cdef bint is_view        # shares storage with a tensor that it was made from
    cdef bint unrecorded     # a view of a recorded tensor, taken under no_grad
    cdef uint64_t view_history  # the storage's, when the view was taken
    cdef Node node           # the call that made it; None for a leaf
    cdef int output          # which of the node's outputs it is
    cdef Tensor gradient
    cdef Tensor row_leaf     # whose gradient is the indices, where self's is of rows
    cdef dict hooks
    cdef object __weakref__

    def __init__(self, *data, dtype=None):
        if len(data) == 1 and isinstance(data[0], Tensor):
            adopt(self, as_tensor(data[0], dtype))
        elif data and all([isinstance(n, int) and not isinstance(n, bool) for n in data]):
            adopt(self, empty(data, DTYPES[FNN_FLOAT32] if dtype is None else dtype,
                              "Tensor"))
        elif len(data) == 1:
            adopt(self, as_tensor(data[0], DTYPES[FNN_FLOAT32] if dtype is None else dtype))
        else:
            raise TypeError(f"Tensor: expected data or sizes, got {len(data)} arguments")

    def __dealloc__(self):
        if self.t.storage != NULL:
            fnn_storage_release(self.t.storage)

    # ---- description ----

    @property
    def shape(self):
        """Sizes of the dimensions (tuple of int)."""
        return shape_tuple(&self.t)

    def size(self, dim=None):
        """shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def stride(self, dim=None):
        """Elements between neighbours along each dimension (tuple of int), or one."""
        cdef int d
        strides = tuple([self.t.stride[d] for d in range(self.t.ndim)])
        return strides if dim is None else strides[dim]

    def storage_offset(self):
        """Elements from the start of the storage to the first element (int)."""
        if self.t.storage == NULL:
            return 0
        return (self.t.data - <char *> self.t.storage.data) // fnn_dtype_size(self.t.dtype)

    def data_ptr(self):
        """Address of the first element (int)."""
        return <size_t> self.t.data

    @property
    def ndim(self):
        """Number of dimensions (int)."""
        return self.t.ndim

    def dim(self):
        """Number of dimensions (int)."""
        return self.t.ndim

    def numel(self):
        """Number of elements (int)."""
        return fnn_numel(&self.t)

    def element_size(self):
        """Bytes of an element (int)."""
        return fnn_dtype_size(self.t.dtype)

    @property
    def nbytes(self):
        """Bytes of all elements (int)."""
        return fnn_numel(&self.t) * fnn_dtype_size(self.t.dtype)

    @property
    def dtype(self):
        """Element type (fastnn.dtype)."""
        return DTYPES[self.t.dtype]

    @property
    def device(self):
        """Where the tensor lives (fastnn.device)."""
        return CPU

    def is_contiguous(self):
        """Whether the elements lie row-major without gaps (bool)."""
        return fnn_is_contiguous(&self.t)

    def is_floating_point(self):
        """Whether the dtype is float32 or float64 (bool)."""
        return fnn_is_float(self.t.dtype)

    @property
    def _version(self):
        """How often the storage was written in place (int)."""
        return self.t.storage.version if self.t.storage != NULL else 0

    # ---- autograd ----

    @property
    def requires_grad(self):
        """Whether calls on this tensor are recorded for gradients (bool)."""
        return self.tracked

    @requires_grad.setter
    def requires_grad(self, bint value):
        self.requires_grad_(value)

    def requires_grad_(self, bint requires_grad=True):
        """Sets requires_grad and returns self.

        Raises: RuntimeError for an integer tensor, or to switch it off for a result.
        """
        if requires_grad and not fnn_is_float(self.t.dtype):
            raise RuntimeError(f"requires_grad_: expected float32 or float64, got "
                               f"{self.dtype.name}")
        if self.node is not None and not requires_grad:
            raise RuntimeError("requires_grad_: expected a leaf, got a result of "
                               f"{self.node.name} (hint: detach())")
        if self.tracked != requires_grad and self.node is None:
            touch_structure()
        self.tracked = requires_grad
        return self

    @property
    def is_leaf(self):
        """Whether no recorded call made this tensor (bool)."""
        return self.node is None

    @property
    def grad_fn(self):
        """The recorded call that made this tensor, or None."""
        return self.node

    @property
    def grad(self):
        """Gradient accumulated by backward, or None.

        A Tensor; a RowGradient where embedding(..., sparse=True) alone used this one.
        """
        tell_read(self)
        return held_gradient(self)

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, (Tensor, RowGradient)):
                raise TypeError("grad: expected a Tensor, a RowGradient or None, got "
                                f"{type(value).__name__}")
            if value.shape != self.shape or value.dtype is not self.dtype:
                raise ValueError(f"grad: expected {self.dtype.name} {self.shape}, got "
                                 f"{value.dtype.name} {value.shape}")
        hold_gradient(self, value)

    @property
    def is_sparse(self):
        """False; that of a RowGradient is True."""
        return False

    @property
    def retains_grad(self):
        """Whether retain_grad was called on this result (bool)."""
        return self.node is not None and self.node.keeps(self)

    def retain_grad(self):
        """Makes backward fill .grad of a tensor that is not a leaf."""
        if not self.tracked:
            raise RuntimeError("retain_grad: expected a tensor that requires grad")
        if self.node is not None:
            self.node.keep(self)

    def register_hook(self, hook):
        """Calls hook(gradient) whenever this tensor's gradient is known.

        hook may return a tensor that replaces the gradient. Returns a handle with
        remove(). Raises: RuntimeError if the tensor does not require grad.
        """
        if not self.tracked:
            raise RuntimeError("register_hook: expected a tensor that requires grad")
        if self.node is not None:
            return HookHandle(self.node.hooks_of(self.output), hook)
        if self.hooks is None:
            self.hooks = {}
        return HookHandle(self.hooks, hook)

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Adds d self / d leaf into .grad of every leaf that self depends on.

        Parameters:
            gradient : Tensor of self's shape; may be absent for one element (then 1).
            retain_graph : bool, keep saved tensors for another pass (default:
                create_graph).
            create_graph : bool, record the pass itself, for higher derivatives.
            inputs : leaves to fill; None means all.
        Raises: RuntimeError if self was not recorded, or the graph was freed.
        """
        run_backward([self], [gradient], retain_graph, create_graph,
                     None if inputs is None else list(inputs), True)

    def detach(self):
        """The same memory, outside the graph; a view."""
        return seen(alias(self))

    def detach_(self):
        """Leaves the graph; returns self."""
        self.node = None
        self.output = 0
        self.tracked = False
        return self

    @property
    def data(self):
        """The same memory outside the graph; assigning swaps this tensor's memory."""
        return seen(alias(self))

    @data.setter
    def data(self, Tensor value not None):
        cdef fnn_storage *old = self.t.storage
        check_made(value)
        if self.tracked and value.t.dtype != self.t.dtype:
            raise ValueError(f"data: expected {self.dtype.name} for a tensor that requires "
                             f"grad, got {value.dtype.name}")
        fnn_storage_retain(value.t.storage)  # first: value may be self
        self.t = value.t
        self.is_view = False
        touch_structure()
        if old != NULL:
            fnn_storage_release(old)

    # ---- Python protocols ----

    def __len__(self):
        if self.t.ndim == 0:
            raise TypeError("len: expected a tensor with dimensions, got shape ()")
        return self.t.shape[0]

    def __bool__(self):
        return bool(one_element(self, "bool"))

    def __int__(self):
        return int(one_element(self, "int"))

    def __float__(self):
        return float(one_element(self, "float"))

    def __index__(self):
        if fnn_is_float(self.t.dtype):
            raise TypeError(f"index: expected an integer tensor, got {self.dtype.name}")
        return int(one_element(self, "index"))

    def __hash__(self):
        return <Py_ssize_t> <void *> self >> 4

    def __repr__(self):
        return installed["repr"](self)

    def __format__(self, spec):
        if self.t.ndim == 0:
            return format(one_element(self, "format"), spec)
        if spec:
            raise TypeError(f"format: expected no format for shape {self.shape}, got "
                            f"{spec!r} (hint: item() makes a number)")
        return repr(self)

    def __iter__(self):
        if self.t.ndim == 0:
            raise TypeError("iter: expected a tensor with dimensions, got shape ()")
        return (self[i] for i in range(self.t.shape[0]))

    def __getitem__(self, index):
        return installed["getitem"](self, index)

    def __setitem__(self, index, value):
        installed["setitem"](self, index, value)

    def __add__(self, other):
        return operate(ADD, self, other)

    def __radd__(self, other):
        return operate(ADD, other, self)

    def __sub__(self, other):
        return operate(SUB, self, other)

    def __rsub__(self, other):
        return operate(SUB, other, self)

    def __mul__(self, other):
        return operate(MUL, self, other)

    def __rmul__(self, other):
        return operate(MUL, other, self)

    def __truediv__(self, other):
        return operate(DIV, self, other)

    def __rtruediv__(self, other):
        return operate(DIV, other, self)

    def __pow__(self, other, modulo):
        if modulo is not None:
            return NotImplemented
        if isinstance(other, (int, float)) and other == 2 and fnn_is_float(self.t.dtype):
            return run_op(MUL, (self, self), None)  # what the kernel does, faster
        return operate(POW, self, other)

    def __rpow__(self, other, modulo):
        if modulo is not None:
            return NotImplemented
        return operate(POW, other, self)

    def __floordiv__(self, other):
        return operate(FLOOR_DIVIDE, self, other)

    def __rfloordiv__(self, other):
        return operate(FLOOR_DIVIDE, other, self)

    def __mod__(self, other):
        return operate(REMAINDER, self, other)

    def __rmod__(self, other):
        return operate(REMAINDER, other, self)

    def __and__(self, other):
        return operate(AND, self, other)

    def __rand__(self, other):
        return operate(AND, other, self)

    def __or__(self, other):
        return operate(OR, self, other)

    def __ror__(self, other):
        return operate(OR, other, self)

    def __xor__(self, other):
        return operate(XOR, self, other)

    def __rxor__(self, other):
        return operate(XOR, other, self)

    def __invert__(self):
        return run_op(NOT, (self,), None)

    def __neg__(self):
        return run_op(NEG, (self,), None)

    def __abs__(self):
        return run_op(ABS, (self,), None)

    def __matmul__(self, other):
        return installed["matmul"](self, other)

    def __rmatmul__(self, other):
        return installed["matmul"](other, self)

    def __iadd__(self, other):
        return run_op(ADD_, (self, other), None)

    def __isub__(self, other):
        return self.sub_(other)

    def __imul__(self, other):
        return run_op(MUL_, (self, other), None)

    def __itruediv__(self, other):
        return self.div_(other)

    def __ifloordiv__(self, other):
        return self.floor_divide_(other)

    def __imod__(self, other):
        return self.remainder_(other)

    def __ipow__(self, other, modulo):
        return self.pow_(other)

    def __iand__(self, other):
        return self.bitwise_and_(other)

    def __ior__(self, other):
        return self.bitwise_or_(other)

    def __ixor__(self, other):
        return self.bitwise_xor_(other)

    def __richcmp__(self, other, int op):
        cdef Op which
        if op == Py_EQ:
            which = EQ
        elif op == Py_NE:
            which = NE
        elif op == Py_LT:
            which = LT
        elif op == Py_LE:
            which = LE
        elif op == Py_GT:
            which = GT
        else:
            which = GE
        return operate(which, self, other)

    # NumPy leaves `array + tensor` to the tensor
    __array_priority__ = 1000


cdef tuple shape_tuple(const fnn_tensor *t):
    cdef int d
    return tuple([t.shape[d] for d in range(t.ndim)])


cdef inline Tensor wrap(const fnn_tensor *t):
    """A new Tensor that takes over t's reference to its storage."""
    cdef Tensor y = Tensor.__new__(Tensor)
    y.t = t[0]
    return y


cdef Tensor alias(Tensor x):
    cdef Tensor y = Tensor.__new__(Tensor)
    check_made(x)
    y.t = x.t
    fnn_storage_retain(y.t.storage)
    return y


cdef Tensor seen(Tensor y):
    """y, a look at memory that no op made; a recording is told."""
    if recorder is not None:
        recorder.seen(y)
    return y


cdef int adopt(Tensor self, Tensor source) except -1:
    """self := source's memory, outside the graph."""
    if self.t.storage != NULL:
        raise RuntimeError("Tensor: expected to be initialised once")
    check_made(source)
    self.t = source.t
    fnn_storage_retain(self.t.storage)
    return 0


cdef inline int check_made(Tensor x) except -1:
    if x is None:
        raise TypeError("expected a tensor, got None")
    if x.t.storage == NULL:
        raise TypeError("expected an initialised tensor, got Tensor.__new__'s result")
    return 0


cdef object operate(Op op, a, b):
    """A binary operator: NotImplemented for operands that are no numbers."""
    if not (isinstance(a, (Tensor, float, int, np.ndarray, np.generic)) and
            isinstance(b, (Tensor, float, int, np.ndarray, np.generic))):
        return NotImplemented
    return run_op(op, (a, b), None)


def install(str name, value):
    """Makes value an attribute of Tensor, or one of the hooks getitem, setitem, repr,
    matmul. Extension types take no new attributes from Python; this is how
    the op families in fastnn/ops add their methods, so that an op is declared in one place.
    """
    if name in ("getitem", "setitem", "repr", "matmul"):
        installed[name] = value
        if name != "matmul":  # the one hook that is a method too
            return
    (<dict> (<PyTypeObject *> Tensor).tp_dict)[name] = value
    PyType_Modified(Tensor)


cdef uint64_t hook_count = 0


class HookHandle:
    """What register_hook returns; remove() takes the hook off."""

    def __init__(self, hooks, hook):
        global hook_count
        hook_count += 1
        self._hooks, self._key = hooks, hook_count  # the handle itself may be dropped
        hooks[hook_count] = hook
        touch_structure()

    def remove(self):
        """Takes the hook off; more than once is harmless."""
        if self._hooks.pop(self._key, None) is not None:
            touch_structure()
