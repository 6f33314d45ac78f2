# Op: the one way into the op table. A call is checked and shaped by the op's infer, given
# memory and workspace, run, and recorded on the tape.

cdef list OPS = []
cdef Op ADD, SUB, MUL, DIV, POW, NEG, ABS, EQ, NE, LT, LE, GT, GE, ADD_, MUL_, COPY, COPY_, SUM
cdef Op CAT, INDEX_ADD, SUM_REPEATS
cdef Op FLOOR_DIVIDE, REMAINDER, AND, OR, XOR, NOT

cdef object recorder = None

cdef enum:
    MANY = 16  # inputs that need no heap memory
    RELEASE_GIL = 8192  # elements from which a kernel runs without the GIL


@cython.final
cdef class Op:
    """A row of the op table, callable: op(*inputs, *attributes).

    An optional input that is absent is None; a list of tensors is given as a sequence, and
    all lists of a call have one length. Attributes may be left off from the right where
    they have defaults.
    """

    cdef fnn_op *op
    cdef readonly int id
    cdef readonly str name
    cdef readonly tuple inputs, outputs, attributes
    # the gradient, see set_gradient
    cdef object gradient
    cdef object composite
    cdef tuple saved      # ((index, mask), ...): inputs; index n_in + k is output k
    cdef tuple further    # outputs beside the first that gradients arrive for

    def __call__(self, *args):
        return run_op(self, args, None)

    cdef tuple all_attrs(self, tuple args, Py_ssize_t first):
        """The attributes of a call, defaults filled in."""
        cdef Py_ssize_t given = max(len(args) - first, 0)
        if given == self.op.n_attr:
            return args[first:] if given else ()
        defaults = []
        for i in range(given, self.op.n_attr):
            kind = self.op.attr[i].kind
            value = self.op.attr[i].default_value
            defaults.append(() if kind == FNN_ATTR_INTS else bool(value)
                            if kind == FNN_ATTR_BOOL else value
                            if kind == FNN_ATTR_FLOAT else int(value))
        return args[first:] + tuple(defaults)

    def into(self, Tensor out not None, *args):
        """Runs with the result written to `out`, which must have its shape and dtype."""
        if self.op.n_out != 1 or self.op.flags & (FNN_VIEW | FNN_INPLACE):
            raise TypeError(f"{self.name}: expected no out=: it has no single fresh result")
        return run_op(self, args, out)

    @property
    def flags(self):
        """Names of the op's flags (list of str)."""
        names = {"elementwise": FNN_ELEMENTWISE, "random": FNN_RANDOM,
                 "data_shape": FNN_DATA_SHAPE, "view": FNN_VIEW, "inplace": FNN_INPLACE}
        return [name for name, bit in names.items() if self.op.flags & bit]

    @property
    def written(self):
        """Names of the inputs that the op writes (tuple of str)."""
        return tuple([n for i, n in enumerate(self.inputs) if self.op.writes >> i & 1])

    @property
    def lists(self):
        """Names of the inputs that are lists of tensors (tuple of str)."""
        return tuple([n for i, n in enumerate(self.inputs) if self.op.many >> i & 1])

    def all_attributes(self, tuple args):
        """The attributes of a call op(*args), defaults filled in (tuple)."""
        return self.all_attrs(args, self.op.n_in)

    @property
    def differentiable(self):
        """Whether the op has a gradient (bool)."""
        return self.gradient is not None

    def set_gradient(self, gradient, saves, composite, outputs):
        """Declares the gradient: gradient(node, *output gradients) -> input gradients.

        outputs names those beside the first that are differentiable.

        saves maps names of inputs and outputs to the inputs whose gradient needs them, so
        that nothing is kept in vain. composite(*inputs, *attributes), written in other ops,
        is what create_graph differentiates where the gradient is a fused op.
        """
        names = list(self.inputs) + list(self.outputs)
        saved = []
        for name, needed_by in saves.items():
            mask = sum(1 << self.inputs.index(i) for i in needed_by.split())
            saved.append((names.index(name), mask))
        self.saved = tuple(saved)
        self.further = tuple([self.outputs.index(name) for name in outputs])
        self.gradient = gradient
        self.composite = composite

    def __repr__(self):
        return f"<op {self.name}>"

    def __reduce__(self):
        return op_named, (self.name,)


def op_named(str name):
    """The op of that name (Op). Raises: KeyError if there is none."""
    for op in OPS:
        if (<Op> op).name == name:
            return op
    raise KeyError(name)


def all_ops():
    """Every op, in the table's order (list of Op)."""
    return list(OPS)


def set_recorder(watcher):
    """Tells watcher (fastnn.ops._record.Recorder) of every op that runs, every value that is
    read and every gradient that comes or goes; None stops. Returns the one before."""
    global recorder
    before = recorder
    recorder = watcher
    return before


cdef int make_ops() except -1:
    global ADD, SUB, MUL, DIV, POW, NEG, ABS, EQ, NE, LT, LE, GT, GE, ADD_, MUL_, COPY, COPY_
    global CAT, INDEX_ADD, SUM_REPEATS
    global SUM, RESHAPE, FLOOR_DIVIDE, REMAINDER, AND, OR, XOR, NOT
    cdef Op op
    cdef int i
    for i in range(FNN_N_OPS):
        op = Op.__new__(Op)
        op.op = fnn_ops() + i
        op.id = i
        op.name = op.op.name.decode()
        op.inputs = tuple([n.rstrip("?*!") for n in op.op.inputs.decode().split()])
        op.outputs = tuple(op.op.outputs.decode().split())
        op.attributes = tuple(op.op.attributes.decode().split())
        op.saved = ()
        OPS.append(op)
    ADD, SUB, MUL = op_named("add"), op_named("sub"), op_named("mul")
    DIV, POW, NEG, ABS = op_named("div"), op_named("pow"), op_named("neg"), op_named("abs")
    EQ, NE, LT = op_named("eq"), op_named("ne"), op_named("lt")
    LE, GT, GE = op_named("le"), op_named("gt"), op_named("ge")
    FLOOR_DIVIDE, REMAINDER = op_named("floor_divide"), op_named("remainder")
    AND, OR = op_named("bitwise_and"), op_named("bitwise_or")
    XOR, NOT = op_named("bitwise_xor"), op_named("bitwise_not")
    ADD_, MUL_, COPY_ = op_named("add_"), op_named("mul_"), op_named("copy_")
    COPY, SUM, RESHAPE = op_named("copy"), op_named("sum"), op_named("reshape")
    CAT, INDEX_ADD = op_named("cat"), op_named("index_add")
    SUM_REPEATS = op_named("sum_repeats")
    return 0


cdef int64_t integer(Op op, int i, object value) except? -1:
    try:
        return PyNumber_Index(value)
    except (TypeError, OverflowError):
        pass
    name = op.op.attr[i].name.decode()
    raise TypeError(f"{op.name}: expected {name} as an integer below 2^63, got {value!r}")


cdef int pack_attrs(Op op, tuple args, Py_ssize_t first, fnn_attr *attrs) except -1:
    """args[first:] into attrs, as the op's attribute kinds ask."""
    cdef int i, k
    cdef int n = op.op.n_attr
    cdef fnn_attr_spec *spec
    cdef fnn_attr *a
    cdef Py_ssize_t n_args = len(args)
    if n_args - first > n:
        raise TypeError(f"{op.name}: expected at most {n} attributes, got {n_args - first}")
    for i in range(n):
        spec = &op.op.attr[i]
        a = &attrs[i]
        if first + i >= n_args:
            if not spec.has_default:
                raise TypeError(f"{op.name}: expected attribute {spec.name.decode()}")
            a.i = <int64_t> spec.default_value
            a.f = spec.default_value
            a.n = 0
            continue
        value = args[first + i]
        if spec.kind == FNN_ATTR_FLOAT:
            try:
                a.f = value
            except TypeError:
                raise TypeError(f"{op.name}: expected {spec.name.decode()} as a number, got "
                                f"{value!r}") from None
        elif spec.kind == FNN_ATTR_INTS:
            if not isinstance(value, (tuple, list)):
                value = (value,)
            if len(value) > FNN_MAX_DIMS:
                raise ValueError(f"{op.name}: expected at most {FNN_MAX_DIMS} "
                                 f"{spec.name.decode()}, got {len(value)}")
            a.n = <int32_t> len(value)
            for k in range(a.n):
                a.ints[k] = integer(op, i, value[k])
        elif spec.kind == FNN_ATTR_BOOL:
            a.i = bool(value)
        else:
            a.i = integer(op, i, value)
    return 0


cdef inline bint takes_tensor(const fnn_op *op, Py_ssize_t i):
    """Whether input i must have memory of its own: it is written, or viewed."""
    return op.writes >> i & 1 or op.flags & FNN_VIEW


cdef object run_converted(Op op, tuple args, Py_ssize_t n_in, Tensor out):
    """run_op with NumPy arrays and scalars among the inputs made tensors."""
    converted = list(args)
    for i in range(min(n_in, len(args))):
        written = takes_tensor(op.op, i)
        if isinstance(args[i], Tensor):
            continue
        if isinstance(args[i], (np.ndarray, np.generic)) and not written:
            converted[i] = as_tensor(args[i], None)
        elif written or i >= 4 or not isinstance(args[i], (float, int)):
            if args[i] is None and op.op.optional >> i & 1:
                continue
            raise TypeError(f"{op.name}: expected {op.inputs[i]} as a tensor"
                            f"{'' if written else ' or number'}, got "
                            f"{class_of(args[i])}")
    return run_op(op, tuple(converted), out)


cdef tuple flatten_lists(Op op, tuple args, int *count):
    """The tensors of an op with lists, one after another; count is the lists' length."""
    cdef list flat = []
    cdef int i
    cdef Py_ssize_t n = -1
    if len(args) < op.op.min_in:
        raise TypeError(f"{op.name}: expected {op.op.min_in} inputs, got {len(args)}")
    for i in range(min(op.op.n_in, <int> len(args))):
        if op.op.many >> i & 1 and args[i] is not None:
            if not isinstance(args[i], (tuple, list)):
                raise TypeError(f"{op.name}: expected {op.inputs[i]} as a sequence of tensors, "
                                f"got {type(args[i]).__name__}")
            if n >= 0 and len(args[i]) != n:
                raise ValueError(f"{op.name}: expected {n} {op.inputs[i]}, got {len(args[i])}")
            n = len(args[i])
    n = max(n, 0)
    for i in range(op.op.n_in):
        entry = args[i] if i < len(args) else None
        if entry is None and op.op.optional >> i & 1:
            flat.extend([None] * (n if op.op.many >> i & 1 else 1))
            continue
        for x in entry if op.op.many >> i & 1 and entry is not None else (entry,):
            if not isinstance(x, Tensor):
                raise TypeError(f"{op.name}: expected {op.inputs[i]} as tensors, got "
                                f"{class_of(x)} at position {len(flat)}")
            flat.append(x)
    count[0] = <int> n
    return tuple(flat)


cdef object run_op(Op self, tuple args, Tensor out):
    """Runs an op on (*inputs, *attributes). See Op."""
    cdef fnn_op *op = self.op
    cdef Py_ssize_t n_args = len(args)
    cdef Py_ssize_t n_in = op.n_in
    cdef Py_ssize_t i, first_attr
    cdef fnn_tensor *few[MANY]
    cdef fnn_tensor **ins = few
    cdef fnn_tensor scalar[4]
    cdef double number[4]
    cdef fnn_attr attrs[8]
    cdef fnn_tensor outs[8]  # FNN_MAX_OUTPUTS
    cdef fnn_call c
    cdef fnn_error err
    cdef fnn_status status
    cdef Tensor x, y, target = out
    cdef PyObject *item
    cdef tuple inputs = args
    cdef bint track = False
    cdef int64_t bytes, work
    cdef int made = 0
    cdef void *workspace = NULL
    cdef fnn_tensor few_held[MANY]
    cdef fnn_tensor *held = few_held
    cdef uint32_t found
    cdef fnn_tensor *written
    cdef Tensor before = None

    # inputs
    first_attr = n_in
    c.count = 0
    if op.many:
        inputs = flatten_lists(self, args, &c.count)
        n_in = len(inputs)
    elif n_args < op.min_in:
        raise TypeError(f"{self.name}: expected {op.min_in} inputs, got {n_args}")
    if n_in > MANY:
        ins = <fnn_tensor **> PyMem_Malloc(n_in * (sizeof(fnn_tensor *) +
                                                   sizeof(fnn_tensor)))
        if ins == NULL:
            raise MemoryError()
        held = <fnn_tensor *> (ins + n_in)
    c.op = op
    c.n_in = <int> n_in
    c.in_ = ins
    c.weak_in = 0
    c.attr = attrs
    c.out = outs
    c.workspace = NULL
    c.threads = fnn_num_threads()
    c.err = &err
    try:
        for i in range(n_in):
            if i >= n_args and not op.many:
                ins[i] = NULL
                continue
            obj = inputs[i]
            if isinstance(obj, Tensor):
                x = <Tensor> obj
                if x.t.storage == NULL:
                    check_made(x)
                ins[i] = &x.t
                if x.tracked:
                    track = True
                if x.is_view and fnn_grad_enabled:
                    check_view(self.name, x)
            elif obj is None and (op.many or op.optional >> i & 1):
                ins[i] = NULL
            elif i < 4 and isinstance(obj, (float, int)) and not isinstance(obj, np.generic) \
                    and not takes_tensor(op, i):
                ins[i] = &scalar[i]
                scalar[i].storage = NULL
                scalar[i].data = <char *> &number[i]
                scalar[i].ndim = 0
                c.weak_in |= 1u << i
                if isinstance(obj, float):
                    scalar[i].dtype = FNN_FLOAT64
                    number[i] = <double> obj
                else:
                    set_integer(self, &scalar[i], obj)
            else:
                return run_converted(self, args, n_in, out)
        if op.n_attr or n_args > first_attr:
            pack_attrs(self, args, first_attr, attrs)

        # shapes, dtypes
        for i in range(op.n_out):
            outs[i].storage = NULL
        status = op.infer(&c)
        if status != FNN_OK:
            error(status, err.text)

        # memory
        if op.flags & FNN_INPLACE:
            target = <Tensor> args[0]
        if target is not None:
            if out is not None:
                check_out(self, out, &outs[0], track)
                if not (op.flags & FNN_ELEMENTWISE or fnn_is_contiguous(&out.t)):
                    run_op(COPY_, (out, run_op(self, args, None)), None)
                    return out
            outs[0] = target.t
        if op.writes or target is not None:
            check_writes(self, &c, target, track)
            written = &target.t if target is not None else NULL
            if op.many:
                if lists_overlap(&c, written, False):
                    return with_lists_apart(self, &c, args, out)
            else:
                found = collisions(&c, written)
                if found:
                    return without_collisions(self, args, found, out)
            if track and fnn_grad_enabled and op.flags & FNN_INPLACE:
                before = before_write(self, target, inputs)
        if op.flags & FNN_VIEW:
            fnn_storage_retain(outs[0].storage)
            made = 1
        else:
            for i in range(op.n_out):
                if i == 0 and target is not None:
                    fnn_storage_retain(outs[0].storage)
                else:
                    bytes = fnn_numel(&outs[i]) * fnn_dtype_size(outs[i].dtype)
                    outs[i].storage = fnn_storage_new(bytes)
                    if outs[i].storage == NULL:
                        raise MemoryError(f"{self.name}: expected {bytes} bytes of memory")
                    outs[i].data = <char *> outs[i].storage.data
                made += 1

            # run
            if recorder is not None:
                recorder.before(self, args)
            if op.workspace != NULL:
                bytes = op.workspace(&c)
                if bytes > 0:
                    workspace = fnn_alloc(bytes)
                    if workspace == NULL:
                        raise MemoryError(f"{self.name}: expected {bytes} bytes of workspace")
                c.workspace = workspace
            work = fnn_numel(&outs[0]) if op.n_out > 0 else 0
            for i in range(n_in if op.many else min(n_in, 2)):
                if ins[i] != NULL:
                    work = max(work, fnn_numel(ins[i]))
            if work > RELEASE_GIL:
                hold(ins, n_in, held)
                with nogil:
                    status = op.run[0](&c)
            else:
                status = op.run[0](&c)
            if op.writes or target is not None:
                bump_versions(&c, target)
            if work > RELEASE_GIL:
                let_go(n_in, held)
            if status != FNN_OK:
                error(status, err.text)
        if target is not None:
            result = target
            fnn_storage_release(outs[0].storage)
            made = 0
            first = target
        elif op.n_out == 1:
            y = wrap(&outs[0])
            made = 0
            first = result = y
        else:
            result = tuple([wrap(&outs[i]) for i in range(op.n_out)])
            made = 0
            first = result[0] if op.n_out else None
    finally:
        if workspace != NULL:
            fnn_free(workspace)
        if ins != few:
            PyMem_Free(ins)
        for i in range(made):
            fnn_storage_release(outs[i].storage)

    # record
    if op.flags & FNN_VIEW:
        y.is_view = True
        y.view_history = y.t.storage.history
        x = <Tensor> inputs[0]
        y.unrecorded = x.unrecorded or (track and not fnn_grad_enabled)
    if track and fnn_grad_enabled and self.gradient is not None and out is None:
        record(self, inputs, n_in, self.all_attrs(args, first_attr), result, <Tensor> first,
               before)
    if recorder is not None:
        recorder.after(self, args, result, out is not None)
    return result


cdef void hold(fnn_tensor **ins, Py_ssize_t n_in, fnn_tensor *held) noexcept:
    """Points the call at copies of its inputs that own their storage: without the GIL,
    another thread may give a tensor other memory (x.data = y)."""
    cdef Py_ssize_t i
    for i in range(n_in):
        held[i].storage = NULL
        if ins[i] != NULL:
            held[i] = ins[i][0]
            ins[i] = &held[i]
            if held[i].storage != NULL:
                fnn_storage_retain(held[i].storage)


cdef void let_go(Py_ssize_t n_in, fnn_tensor *held) noexcept:
    """Gives up what hold took; versions are bumped first, while they are ours to reach."""
    cdef Py_ssize_t i
    for i in range(n_in):
        if held[i].storage != NULL:
            fnn_storage_release(held[i].storage)


cdef int set_integer(Op op, fnn_tensor *t, object value) except -1:
    """A Python bool or int into a 0-d tensor whose data is already set."""
    if isinstance(value, bool):
        t.dtype = FNN_BOOL
        (<uint8_t *> t.data)[0] = value
        return 0
    t.dtype = FNN_INT64
    try:
        (<int64_t *> t.data)[0] = value
    except OverflowError:
        raise OverflowError(f"{op.name}: expected an integer within 64 bits, got "
                            f"{value}") from None
    return 0
