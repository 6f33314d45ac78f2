# Gradients of a table's rows: indices and values, in place of a dense gradient.
#
# A leaf holds the values where a dense gradient is, and the indices where the gradient of a
# second tensor is, its `row_leaf`. So whatever records, compares and replays gradients of
# leaves carries both, and knows nothing of rows.

@cython.final
cdef class RowGradient:
    """The gradient of a tensor (size, ...) of which few rows took part: .grad of what
    embedding(..., sparse=True) read.

    Row indices[i] has values[i] added to it; rows may be named more than once, and those
    that are not named are zero. The shape depends on how much was read, not on values, so
    plans can hold it.

    Parameters:
        indices : int64 Tensor (n,), from 0 to size - 1; checked where they are used.
        values : Tensor (n, ...), of the gradient's dtype.
        shape : tuple, of the dense gradient.

    Raises: TypeError, ValueError for dtypes or shapes that do not fit.

    Example:
        >>> import fastnn
        >>> table = fastnn.nn.Embedding(4, 2, sparse=True)
        >>> table(fastnn.tensor([3, 1, 3])).sum().backward()
        >>> table.weight.grad.indices.tolist()
        [3, 1, 3]
        >>> table.weight.grad.to_dense().tolist()
        [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
    """

    cdef readonly Tensor indices
    cdef readonly Tensor values
    cdef readonly tuple shape

    def __init__(self, Tensor indices not None, Tensor values not None, shape):
        self.indices, self.values, self.shape = indices, values, tuple(shape)
        if indices.t.dtype != FNN_INT64 or not fnn_is_float(values.t.dtype):
            raise TypeError("RowGradient: expected int64 indices and float values, got "
                            f"{indices.dtype.name} and {values.dtype.name}")
        if indices.t.ndim != 1 or not self.shape or \
                values.shape != (indices.t.shape[0], *self.shape[1:]):
            raise ValueError("RowGradient: expected indices (n,) and values (n, ...) for shape "
                             f"{self.shape}, got {indices.shape} and {values.shape}")

    @property
    def dtype(self):
        """dtype of the values."""
        return self.values.dtype

    @property
    def device(self):
        """Where it lies: the CPU."""
        return self.values.device

    @property
    def ndim(self):
        """Number of dimensions of the dense gradient (int)."""
        return len(self.shape)

    @property
    def is_sparse(self):
        """True; that of a Tensor is False."""
        return True

    def is_floating_point(self):
        """True."""
        return True

    @property
    def requires_grad(self):
        """False: under create_graph gradients are dense."""
        return False

    def to_dense(self):
        """The gradient as a Tensor of the whole shape, repeats added up in order; fresh."""
        return dense_rows(self)

    def summed(self):
        """The same gradient with repeats added up, in order, where a row is first named;
        values are zero where it is named again (RowGradient). Every row's gradient then
        stands in one place, as what is not linear in it needs."""
        return RowGradient(self.indices, run_op(SUM_REPEATS, (self.indices, self.values),
                                                None), self.shape)

    def detach(self):
        """Itself: it has no graph."""
        return self

    def clone(self):
        """A copy of indices and values."""
        return RowGradient(run_op(COPY, (self.indices,), None),
                           run_op(COPY, (self.values,), None), self.shape)

    def to(self, dtype):
        """With values of another dtype."""
        return RowGradient(self.indices, run_op(COPY, (self.values, dtype_code(dtype)), None),
                           self.shape)

    def __reduce__(self):
        return RowGradient, (self.indices, self.values, self.shape)

    def __repr__(self):
        return (f"RowGradient(indices={self.indices!r}, values={self.values!r}, "
                f"shape={self.shape})")


cdef RowGradient rows_for(RowGradient g, Node node, int i):
    """g as the gradient of a node's input i, checked, and not a custom function's own."""
    if g.shape != node.shape(i) or g.dtype is not node.dtype(i):
        raise RuntimeError(f"backward of {node.name}: expected a gradient of "
                           f"{node.dtype(i).name} {node.shape(i)} for input {i}, got "
                           f"{g.dtype.name} {g.shape}")
    return g.clone() if node.op is None else g


cdef Tensor dense_rows(RowGradient g):
    return run_op(INDEX_ADD, (g.values, g.indices, 0, g.shape[0]), None)


cdef RowGradient join_rows(list parts):
    """Several gradients of one tensor as one: those of the first come first."""
    cdef RowGradient g = <RowGradient> parts[0]
    if len(parts) == 1:
        return g
    return RowGradient(run_op(CAT, ([(<RowGradient> p).indices for p in parts], 0), None),
                       run_op(CAT, ([(<RowGradient> p).values for p in parts], 0), None),
                       g.shape)


cdef object add_to_either(object a, object b):
    """The sum of a leaf's gradients: a list of RowGradients while there are no others."""
    if isinstance(b, RowGradient):
        if a is None:
            return [b]
        if type(a) is list:
            (<list> a).append(b)
            return a
        b = dense_rows(<RowGradient> b)
    elif type(a) is list:
        a = dense_rows(join_rows(<list> a))
    return add_up(a, <Tensor> b)


cdef Tensor new_row_leaf():
    """A tensor of no elements, whose gradient will be indices; no recorder hears of it."""
    cdef Tensor y = Tensor.__new__(Tensor)
    y.t.storage = fnn_storage_new(0)
    if y.t.storage == NULL:
        raise MemoryError()
    y.t.data = <char *> y.t.storage.data
    y.t.dtype = FNN_INT64
    y.t.ndim = 1
    y.t.stride[0] = 1
    return y


cdef object held_gradient(Tensor leaf):
    """.grad: None, a Tensor or a RowGradient."""
    if leaf.row_leaf is None or leaf.row_leaf.gradient is None or leaf.gradient is None:
        return leaf.gradient
    return RowGradient(leaf.row_leaf.gradient, leaf.gradient, leaf.shape)


cdef int hold_gradient(Tensor leaf, object g) except -1:
    """Makes g the gradient of leaf, and says so."""
    cdef Tensor indices = None
    if isinstance(g, RowGradient):
        indices, g = (<RowGradient> g).indices, (<RowGradient> g).values
        if leaf.row_leaf is None:
            leaf.row_leaf = new_row_leaf()
            touch_structure()  # plans that set the gradient now have to set both parts
    leaf.gradient = <Tensor> g
    if leaf.row_leaf is not None:
        leaf.row_leaf.gradient = indices
    if recorder is not None:
        recorder.gradient_set(leaf)
        if leaf.row_leaf is not None:
            recorder.gradient_set(leaf.row_leaf)
    return 0


cdef int tell_read(Tensor leaf) except -1:
    if recorder is not None:
        recorder.gradient_read(leaf, leaf.gradient)
        if leaf.row_leaf is not None:
            recorder.gradient_read(leaf.row_leaf, leaf.row_leaf.gradient)
    return 0


def gradient_part(Tensor x not None):
    """What a leaf holds as its gradient: a dense one, or the values of rows, whose indices
    are the part of another tensor. None: nothing."""
    return x.gradient


def holds_rows(Tensor x not None):
    """Whether x's gradient has been one of rows (bool)."""
    return x.row_leaf is not None
