# Plans as Python sees them: Program (a graph in C), Replay (a program bound to shapes, and
# what a call of it reads, makes and leaves behind), Compiled (the way in).

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


# ---- programs ---------------------------------------------------------------------------

HOMES = {"argument": FNN_ARGUMENT, "external": FNN_HELD, "constant": FNN_HELD,
         "folded": FNN_HELD, "internal": FNN_ARENA, "fresh": FNN_FRESH}


@cython.final
cdef class Program:
    """A graph in C, see csrc/plan/plan.h.

    Parameters:
        buffers : (home, index, Tensor or None); homes are HOMES' values.
        values : (buffer or -1, given, dtype code, shape, strides, offset in bytes, {position:
            factor} of sizes that follow the batch, number or None, factor of the number);
            a call's outputs stand one after another.
        calls : (Op, inputs (-1 where absent), outputs, attributes, count, into, {(attribute,
            position): factor}).
        arguments : values of the arguments.
        groups : (first call, one past the last).
    """

    cdef fnn_program *p
    cdef readonly list calls

    def __init__(self, list buffers, list values, list calls, list arguments, list groups):
        cdef Py_ssize_t i, k
        cdef fnn_plan_buffer *b
        cdef fnn_plan_value *v
        cdef fnn_plan_call *c
        cdef Tensor x
        cdef Op op
        if self.p != NULL:
            raise RuntimeError("Program: expected to be made once")
        self.p = fnn_program_new(<int> len(buffers), <int> len(values), <int> len(calls),
                                 <int> len(arguments), <int> len(groups))
        if self.p == NULL:
            raise MemoryError("plan: expected memory for the program")
        self.calls = calls
        for i in range(len(buffers)):
            home, index, tensor = buffers[i]
            b = &self.p.buffers[i]
            b.home = home
            b.index = index
            if home == FNN_HELD:
                x = <Tensor> tensor
                check_made(x)
                b.storage = x.t.storage
                fnn_storage_retain(b.storage)
            elif home == FNN_FRESH:
                self.p.n_fresh = max(self.p.n_fresh, b.index + 1)
        for i in range(len(values)):
            buffer, given, code, shape, strides, offset, scales, number, scale = values[i]
            v = &self.p.values[i]
            v.buffer = buffer
            v.given = given
            v.layout.dtype = code
            v.layout.ndim = <int32_t> len(shape)
            v.layout.data = <char *> <size_t> offset
            for k in range(len(shape)):
                v.layout.shape[k] = shape[k]
                v.layout.stride[k] = strides[k]
            for position, factor in scales.items():
                v.factor[position] = factor
            if number is not None:
                v.number_factor = scale
                if isinstance(number, bool):
                    v.number.b = number
                elif isinstance(number, int):
                    v.number.i = number
                else:
                    v.number.f = number
        for i in range(len(calls)):
            op, ins, outs, attrs, count, into, scales, weak = calls[i]
            if not fnn_program_call(self.p, <int> i, op.op, <int> len(ins),
                                    <int> len(scales)):
                raise MemoryError("plan: expected memory for the program")
            c = &self.p.calls[i]
            c.count = count
            c.into = into
            c.weak_in = weak
            for k in range(len(ins)):
                c.in_[k] = ins[k]
            for k in range(len(outs)):
                c.out[k] = outs[k]
            pack_attrs(op, attrs, 0, c.attr)
            for k, (place, factor) in enumerate(scales.items()):
                c.scales[k].attr = place[0]
                c.scales[k].at = place[1]
                c.scales[k].factor = factor
        for i in range(len(arguments)):
            self.p.arguments[i] = arguments[i]
        for i in range(len(groups)):
            self.p.groups[i][0] = groups[i][0]
            self.p.groups[i][1] = groups[i][1]

    def __dealloc__(self):
        fnn_program_free(self.p)


@cython.final
cdef class Arena:
    """Memory that replays run in, one at a time. It grows, and never moves while busy."""

    cdef char *data
    cdef readonly int64_t nbytes
    cdef bint busy

    def __dealloc__(self):
        fnn_free(self.data)

    cdef int reach(self, int64_t nbytes) except -1:
        cdef char *more
        if nbytes > self.nbytes or self.data == NULL:
            more = <char *> fnn_alloc(nbytes)
            if more == NULL:
                raise MemoryError(f"plan: expected {nbytes} bytes of memory")
            fnn_free(self.data)
            self.data = more
            self.nbytes = nbytes
        return 0


@cython.final
cdef class Folded:
    """What was made ahead from tensors that outlive calls; all replays of a plan share it.

    Parameters:
        sources : the Tensors that it was made from, as they are now.
        refold : callable(): makes it again.
    """

    cdef readonly list sources
    cdef uint64_t *versions  # of the sources, when they were looked at
    cdef uint64_t *lent      # how often they were lent to NumPy and others by then
    cdef bint was_lent       # others could write a source then
    cdef bint done           # nothing went wrong when it was made
    cdef object refold

    def __init__(self, list sources, refold):
        if self.versions != NULL:
            raise RuntimeError("Folded: expected to be made once")
        self.versions = <uint64_t *> PyMem_Malloc(2 * (len(sources) + 1) * sizeof(uint64_t))
        if self.versions == NULL:
            raise MemoryError()
        self.lent = self.versions + len(sources) + 1
        self.sources, self.refold = sources, refold
        self.look()
        self.done = True

    def __dealloc__(self):
        PyMem_Free(self.versions)

    cdef bint look(self):
        """Takes down how the sources are; whether one has changed, or may have."""
        cdef Py_ssize_t i
        cdef bint moved = self.was_lent, lent = False
        cdef fnn_storage *s
        for i in range(len(self.sources)):
            s = (<Tensor> self.sources[i]).t.storage
            moved = moved or s.version != self.versions[i] or s.lent != self.lent[i]
            lent = lent or exposed(s)
            self.versions[i] = s.version
            self.lent[i] = s.lent
        self.was_lent = lent
        return moved or lent

    cdef int renew(self) except -1:
        """Makes it again where a source has changed, or may have."""
        if self.look() or not self.done:
            self.done = False  # until it is, whatever happens
            self.refold()
            self.done = True
        return 0


# ---- replay -----------------------------------------------------------------------------

cdef list NO_OUTPUTS = [None]

cdef enum:
    FEW = 16      # arguments and outputs that need no heap memory
    SHORT_RUN = 16384  # elements below which a run keeps the GIL


@cython.final
cdef class Replay:
    """A program bound to its arguments' shapes.

    Parameters:
        program : Program.
        arguments : (dtype code, shape) of each.
        batch : int, 0 where nothing follows it.
        arena : Arena, shared with other replays of one function.
        outputs : values that are returned.
        rebuild : callable(list of Tensors) -> what the function returned; None where that
            is the one tensor itself.
        targets : its inverse, for out= too; raises ValueError for what is built otherwise.
        gradients : (leaf, value or None): .grad afterwards.
        guards : (leaf, Tensor or None): what .grad must be before.
        written : held tensors whose memory is written.
        arguments_written : numbers of arguments that are.
        folded : Folded, or None.
        grad_mode : whether gradients were recorded.
        variables : what the function uses besides its arguments, see plan/variables.py.
    """

    cdef readonly Program program
    cdef readonly Arena arena
    cdef fnn_exec *e
    cdef int n_args, n_out, n_grads
    cdef fnn_tensor *layouts   # of the arguments
    cdef int *out_values
    cdef int *grad_values
    cdef char *bound           # the arena that it is bound to
    cdef list leaves           # of gradients
    cdef list grads            # our tensors for them, or None
    cdef list guards
    cdef list written
    cdef readonly tuple arguments_written
    cdef Folded folded
    cdef object rebuild, targets
    cdef char *lowest          # of held memory that is written, and
    cdef char *highest         # one past the last
    cdef int threads
    cdef const void *kernels   # in force when it was bound
    cdef bint grad_mode, changes
    cdef list variables        # that the function uses besides its arguments
    cdef public uint64_t structure  # the version at which modules were last looked at
    cdef list spares           # for calls at the same time
    cdef tuple recipe

    def __init__(self, Program program not None, list arguments, int64_t batch,
                 Arena arena not None, list outputs, rebuild, targets, list gradients,
                 list guards, list written, tuple arguments_written, Folded folded,
                 bint grad_mode, list variables):
        cdef fnn_error err
        cdef fnn_status status
        cdef Py_ssize_t i, d
        cdef Tensor x
        if self.e != NULL:
            raise RuntimeError("Replay: expected to be made once")
        self.recipe = (program, arguments, batch, outputs, rebuild, targets, gradients, guards,
                       written, arguments_written, folded, grad_mode, variables)
        self.variables = variables
        self.program, self.arena = program, arena
        self.n_args, self.n_out = <int> len(arguments), <int> len(outputs)
        self.n_grads = <int> len(gradients)
        self.layouts = <fnn_tensor *> PyMem_Malloc(
            (self.n_args + 1) * sizeof(fnn_tensor) +
            (self.n_out + self.n_grads + 1) * sizeof(int))
        if self.layouts == NULL:
            raise MemoryError()
        self.out_values = <int *> (self.layouts + self.n_args + 1)
        self.grad_values = self.out_values + self.n_out
        for i in range(self.n_args):
            self.layouts[i].dtype = arguments[i][0]
            self.layouts[i].ndim = <int32_t> len(arguments[i][1])
            for d in range(self.layouts[i].ndim):
                self.layouts[i].shape[d] = arguments[i][1][d]
            fnn_set_contiguous(&self.layouts[i])
        self.threads = fnn_num_threads()
        self.kernels = fnn_k
        status = fnn_exec_new(program.p, self.layouts, batch, self.threads, &self.e, &err)
        if status != FNN_OK:
            error(status, err.text)
        for i in range(self.n_out):
            self.out_values[i] = outputs[i]
        self.leaves = [leaf for leaf, _ in gradients]
        self.grads = [None] * self.n_grads
        for i in range(self.n_grads):
            self.grad_values[i] = -1 if gradients[i][1] is None else gradients[i][1]
        self.guards = guards
        self.written, self.arguments_written = written, arguments_written
        for x in self.written:
            if self.lowest == NULL or <char *> x.t.storage.data < self.lowest:
                self.lowest = <char *> x.t.storage.data
            self.highest = max(self.highest, <char *> x.t.storage.data + x.t.storage.nbytes)
        self.folded = folded
        self.rebuild, self.targets = rebuild, targets
        self.grad_mode = grad_mode
        self.changes = bool(written or arguments_written or gradients)
        self.structure = structure
        self.spares = []

    def __dealloc__(self):
        fnn_exec_free(self.e)
        PyMem_Free(self.layouts)

    cdef bint current(self):
        """Whether nothing around it has changed since it was bound."""
        cdef Py_ssize_t i
        cdef Tensor leaf, expected
        if self.structure != structure or self.threads != fnn_num_threads() or \
                self.kernels != fnn_k or self.grad_mode != fnn_grad_enabled:
            return False
        for i in range(len(self.guards)):
            leaf, expected = <Tensor> (<tuple> self.guards[i])[0], (<tuple> self.guards[i])[1]
            if expected is None:
                if leaf.gradient is not None:
                    return False
            elif leaf.gradient is None or not same_look(&leaf.gradient.t, &expected.t):
                return False
        for i in range(len(self.variables)):
            if not holds(<tuple> self.variables[i]):
                return False
        return True

    @property
    def is_current(self):
        """Whether threads, kernels, gradient mode, guards and structure are as they were."""
        return self.current()

    cdef bint take(self, tuple args, char **data):
        """Whether args are what it was bound to; data gets their addresses."""
        cdef Py_ssize_t i
        cdef int d
        cdef Tensor x
        cdef cnp.ndarray a
        cdef fnn_tensor *want
        cdef fnn_tensor *got
        if len(args) != self.n_args:
            return False
        for i in range(self.n_args):
            want = &self.layouts[i]
            if isinstance(args[i], Tensor):
                x = <Tensor> args[i]
                got = &x.t
                if got.storage == NULL or x.tracked or got.dtype != want.dtype or \
                        got.ndim != want.ndim:
                    return False
                for d in range(want.ndim):
                    if got.shape[d] != want.shape[d] or \
                            (got.stride[d] != want.stride[d] and want.shape[d] > 1):
                        return False
                data[i] = got.data
            elif cnp.PyArray_CheckExact(args[i]):
                a = <cnp.ndarray> args[i]
                if cnp.PyArray_TYPE(a) != NUMPY_NUMBER[want.dtype] or \
                        cnp.PyArray_NDIM(a) != want.ndim or not cnp.PyArray_ISCARRAY_RO(a):
                    return False
                for d in range(want.ndim):
                    if cnp.PyArray_DIM(a, d) != want.shape[d]:
                        return False
                data[i] = <char *> cnp.PyArray_DATA(a)
            else:
                return False
            if self.lowest <= data[i] < self.highest and self.is_written(i, data[i]):
                return False
        if self.arguments_written:
            return self.may_write(args)
        return True

    cdef bint is_written(self, Py_ssize_t argument, char *data):
        """Whether an argument lies in held memory that is written."""
        cdef fnn_tensor one = self.layouts[argument]
        cdef Tensor x
        one.data = data
        for x in self.written:
            if within(&one, x.t.storage):
                return True
        return False

    def fits(self, *args):
        """Whether it can run on these arguments (bool)."""
        cdef char *few[FEW]
        cdef char **many = room(few, len(args))
        try:
            return self.take(args, many)
        finally:
            leave_room(few, many)

    cdef bint may_write(self, tuple args):
        """Whether the arguments that it writes may be written, and share no memory with
        others or with what it holds."""
        cdef fnn_tensor one, other
        cdef Py_ssize_t i, k
        cdef int b
        for i in self.arguments_written:
            if isinstance(args[i], Tensor):
                if (<Tensor> args[i]).t.storage.read_only:
                    return False
            elif not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> args[i]):
                return False
            one = self.layouts[i]
            one.data = address(args[i])
            for k in range(self.n_args):
                if k != i:
                    other = self.layouts[k]
                    other.data = address(args[k])
                    if overlap(&one, &other):
                        return False
            for b in range(self.program.p.n_buffers):
                if self.program.p.buffers[b].home == FNN_HELD and \
                        within(&one, self.program.p.buffers[b].storage):
                    return False
        return True

    def __call__(self, *args, out=None):
        """Runs it. Raises: ValueError for arguments that it was not bound to."""
        cdef char *few[FEW]
        cdef char **many = room(few, len(args))
        try:
            if not self.take(args, many):
                raise ValueError("plan: expected the arguments that it was made for")
            return self.run(args, many, out)
        finally:
            leave_room(few, many)

    cdef object run(self, tuple args, char **data, object out):
        cdef Replay other
        if self.arena.busy:
            if self.changes:
                raise RuntimeError(
                    "compile: a function that trains, or writes anything, was called while "
                    "another thread was in it (hint: one call at a time)")
            other = self.spare()
            return other.run(args, data, out)
        self.arena.busy = True
        try:
            return self.run_alone(args, data, out)
        finally:
            self.arena.busy = False

    cdef Replay spare(self):
        cdef Replay r
        for r in self.spares:
            if not r.arena.busy:
                return r
        (program, arguments, batch, outputs, rebuild, targets, gradients, guards, written,
         arguments_written, folded, grad_mode, variables) = self.recipe
        r = Replay(program, arguments, batch, Arena(), outputs, rebuild, targets, gradients,
                   guards, written, arguments_written, folded, grad_mode, variables)
        self.spares.append(r)
        return r

    cdef object run_alone(self, tuple args, char **data, object out):
        cdef fnn_error err
        cdef fnn_status status = FNN_OK
        cdef int failed = -1, i
        cdef fnn_storage *few[FEW]
        cdef fnn_storage **held = few
        cdef int n_held = 0
        cdef Tensor x
        cdef list given = None
        cdef const fnn_exec_facts *facts = fnn_exec_facts_of(self.e)
        if self.folded is not None:
            self.folded.renew()
        if self.bound == NULL or self.bound != self.arena.data or \
                facts.arena_bytes > self.arena.nbytes:
            self.arena.reach(facts.arena_bytes)
            self.bound = self.arena.data
            fnn_exec_bind_arena(self.e, self.bound)
        for i in range(self.n_args):
            fnn_exec_bind_argument(self.e, i, data[i])
        if self.n_grads:
            self.bind_gradients()
        if out is not None:
            given = self.outs(out)
            for i in range(self.n_out):
                if self.clashes(i, given, args):
                    self.finish(self.run_alone(args, data, None), given)
                    return out
        cdef list made = None
        cdef Tensor only = None
        if self.n_out == 1 and given is None and self.rebuild is None:
            only = self.make(self.out_values[0], args, NO_OUTPUTS if self.n_grads else None)
        elif self.n_out:
            made = [given[i] if given is not None and self.is_whole(self.out_values[i])
                    else None for i in range(self.n_out)]
            for i in range(self.n_out):
                if made[i] is None:
                    made[i] = self.make(self.out_values[i], args, made)
                else:
                    fnn_exec_bind_fresh(self.e, self.fresh_of(self.out_values[i]),
                                        address(made[i]))
        if facts.touched > SHORT_RUN:
            if self.n_args > FEW:
                held = <fnn_storage **> PyMem_Malloc(self.n_args * sizeof(fnn_storage *))
                if held == NULL:
                    raise MemoryError()
            for i in range(self.n_args):
                if isinstance(args[i], Tensor):  # x.data = y meanwhile takes it away
                    held[n_held] = (<Tensor> args[i]).t.storage
                    fnn_storage_retain(held[n_held])
                    n_held += 1
            with nogil:
                status = fnn_exec_run(self.e, &failed, &err)
            for i in range(n_held):
                fnn_storage_release(held[i])
            if held != few:
                PyMem_Free(held)
        else:
            status = fnn_exec_run(self.e, &failed, &err)
        if self.changes:
            self.leave(args, status == FNN_OK)
        if status != FNN_OK:
            error(status, err.text)
        if given is not None:
            for i in range(self.n_out):
                if made[i] is not given[i]:
                    copy_out(given[i], made[i])
                else:
                    written_to(given[i])
            return out
        if only is not None:
            return only
        return self.rebuild(made if made is not None else [])

    cdef int finish(self, result, list given) except -1:
        for to, y in zip(given, self.targets(result)):
            copy_out(to, y)
        return 0

    cdef int bind_gradients(self) except -1:
        """.grad of leaves: our own tensors again where nobody else holds them."""
        cdef int i, v
        cdef Tensor leaf
        cdef PyObject *ours
        for i in range(self.n_grads):
            v = self.grad_values[i]
            if v < 0 or self.home(v) != FNN_FRESH:
                continue
            leaf = <Tensor> self.leaves[i]
            ours = <PyObject *> self.grads[i]
            if self.grads[i] is None or \
                    Py_REFCNT(ours) > 1 + (<PyObject *> leaf.gradient == ours) or \
                    (<Tensor> ours).t.storage.refs > 1 or (<Tensor> ours).tracked:
                self.grads[i] = self.make(v, ())
            else:
                fnn_exec_bind_fresh(self.e, self.fresh_of(v),
                                    <char *> (<Tensor> ours).t.storage.data)
        return 0

    cdef int leave(self, tuple args, bint good) except -1:
        """What a call leaves behind: gradients, versions."""
        cdef int i, v
        cdef Tensor x
        for i in range(self.n_grads):
            x = <Tensor> self.leaves[i]
            v = self.grad_values[i]
            if v < 0 or not good:
                x.gradient = None
            elif self.home(v) == FNN_FRESH:
                x.gradient = <Tensor> self.grads[i]
                x.gradient.t.storage.version += 1
            elif x.gradient is None or \
                    x.gradient.t.data != fnn_exec_value(self.e, v).data:
                x.gradient = self.make(v, args)
        for x in self.written:
            x.t.storage.version += 1
        for i in self.arguments_written:
            written_to(args[i])
        return 0

    cdef inline int home(self, int value):
        return self.program.p.buffers[self.program.p.values[value].buffer].home

    cdef inline int fresh_of(self, int value):
        return self.program.p.buffers[self.program.p.values[value].buffer].index

    cdef bint is_whole(self, int value):
        """Whether a value is all of a fresh buffer, row-major."""
        cdef const fnn_tensor *t = fnn_exec_value(self.e, value)
        return self.home(value) == FNN_FRESH and fnn_exec_offset(self.e, value) == 0 and \
            fnn_is_contiguous(t) and not self.shared(value) and \
            fnn_numel(t) * fnn_dtype_size(t.dtype) == \
            fnn_exec_fresh_bytes(self.e, self.fresh_of(value))

    cdef bint shared(self, int value):
        """Whether another output lies over the same buffer."""
        cdef int i, count = 0
        for i in range(self.n_out):
            count += self.program.p.values[self.out_values[i]].buffer == \
                self.program.p.values[value].buffer
        return count > 1

    cdef fnn_storage *storage_of(self, int buffer, list made):
        """That of a tensor over a fresh buffer which this call has made before, or NULL."""
        cdef int i
        if made is None:
            return NULL
        for i in range(self.n_out):
            if made[i] is not None and isinstance(made[i], Tensor) and \
                    self.program.p.values[self.out_values[i]].buffer == buffer:
                return (<Tensor> made[i]).t.storage
        for i in range(self.n_grads):
            if self.grad_values[i] >= 0 and \
                    self.program.p.values[self.grad_values[i]].buffer == buffer:
                return (<Tensor> self.grads[i]).t.storage
        return NULL

    cdef Tensor make(self, int value, tuple args, list made=None):
        """A tensor for a value: in fresh memory, which it binds, or over what is there;
        `made` are the outputs so far."""
        cdef Tensor y = Tensor.__new__(Tensor)
        cdef int buffer = self.program.p.values[value].buffer
        cdef fnn_plan_buffer *b = &self.program.p.buffers[buffer]
        cdef Tensor x
        cdef fnn_storage *s = NULL
        if b.home == FNN_FRESH:
            s = self.storage_of(buffer, made)
            if s != NULL:
                fnn_storage_retain(s)
            else:
                s = fnn_storage_new(fnn_exec_fresh_bytes(self.e, b.index))
                if s == NULL:
                    raise MemoryError("plan: expected memory for an output")
                fnn_exec_bind_fresh(self.e, b.index, <char *> s.data)
        elif b.home == FNN_HELD:
            s = b.storage
            fnn_storage_retain(s)
        elif b.home == FNN_ARGUMENT:
            x = args[b.index] if isinstance(args[b.index], Tensor) else \
                from_array(<cnp.ndarray> args[b.index])
            s = x.t.storage
            fnn_storage_retain(s)
        else:
            raise RuntimeError("plan: expected an output with memory of its own")
        y.t = fnn_exec_value(self.e, value)[0]
        y.t.storage = s
        return y

    # ---- out= ----

    cdef list outs(self, out):
        """out as a list of what is written, checked."""
        cdef int i, d
        cdef const fnn_tensor *want
        cdef fnn_tensor got
        cdef list given = self.targets(out)
        for i in range(self.n_out):
            want = fnn_exec_value(self.e, self.out_values[i])
            y = given[i]
            if isinstance(y, Tensor):
                check_made(<Tensor> y)
                good = not (<Tensor> y).tracked and not (<Tensor> y).t.storage.read_only
            elif isinstance(y, np.ndarray):
                good = cnp.PyArray_ISWRITEABLE(<cnp.ndarray> y)
                if not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> y):
                    from_numpy(y)  # whether its memory can be shared at all
            else:
                raise TypeError(f"compile: expected out as a tensor or array, got "
                                f"{class_of(y)}")
            got = tensor_at(y)
            if got.dtype != want.dtype or not same_shape(&got, want):
                raise ValueError(f"compile: expected out of {DTYPES[want.dtype].name} "
                                 f"{shape_tuple(want)}, got {y.dtype} {tuple(y.shape)}")
            if not good:
                raise ValueError("compile: expected out that may be written and does not "
                                 "require grad")
        return given

    cdef bint clashes(self, int k, list given, tuple args):
        """Whether the run cannot write given[k]: it is strided, or doing so could change
        what is still read."""
        cdef fnn_tensor one, other
        cdef Py_ssize_t i
        cdef int b
        to = given[k]
        if not (fnn_is_contiguous(&(<Tensor> to).t) if isinstance(to, Tensor) else
                cnp.PyArray_ISCARRAY(<cnp.ndarray> to)):
            return True
        one = tensor_at(to)
        for i in range(self.n_out):
            if i != k:
                other = tensor_at(given[i])
                if overlap(&one, &other):
                    return True
        for i in range(self.n_args):
            other = self.layouts[i]
            other.data = address(args[i])
            if overlap(&one, &other):
                return True
        for b in range(self.program.p.n_buffers):
            if self.program.p.buffers[b].home == FNN_HELD and \
                    within(&one, self.program.p.buffers[b].storage):
                return True
        return False

    # ---- facts ----

    @property
    def facts(self):
        """Bytes and counts of the bound program (dict of str to int)."""
        cdef const fnn_exec_facts *f = fnn_exec_facts_of(self.e)
        return {"arena_bytes": f.arena_bytes, "workspace_bytes": f.workspace_bytes,
                "unshared_bytes": f.unshared_bytes, "fresh_bytes": f.fresh_bytes,
                "touched": f.touched, "steps": f.steps}

    def shape_of(self, int value):
        """Shape of a value (tuple of int)."""
        return shape_tuple(fnn_exec_value(self.e, value))

    def place_of(self, int buffer):
        """Where a buffer lies in the arena (int, bytes); -1 where it does not."""
        return fnn_exec_place(self.e, buffer)

    def profile(self, *args, int rounds=20):
        """(first call of each step, nanoseconds of each step in each round).

        It computes into memory of its own, and leaves no trace but in what it writes.
        """
        cdef char *few[FEW]
        cdef fnn_error err
        cdef int steps = fnn_exec_facts_of(self.e).steps, r, i
        cdef int64_t *times
        cdef int *first
        cdef list found = []
        if len(args) > FEW:
            raise ValueError(f"profile: expected at most {FEW} tensors and arrays, got {len(args)}")
        if not self.take(args, few):
            raise ValueError("profile: expected the arguments that it was made for")
        if self.arena.busy:
            raise RuntimeError("profile: expected no other call at the same time")
        times = <int64_t *> PyMem_Malloc((steps + 1) * (sizeof(int64_t) + sizeof(int)))
        if times == NULL:
            raise MemoryError()
        first = <int *> (times + steps + 1)
        try:
            for r in range(rounds):
                result = self.run(args, few, None)  # binds everything, and warms up
                status = fnn_exec_profile(self.e, times, first, &err)
                if self.changes:
                    self.leave(args, status == FNN_OK)
                if status != FNN_OK:
                    error(status, err.text)
                found.append([times[i] for i in range(steps)])
            return [first[i] for i in range(steps)], found
        finally:
            PyMem_Free(times)


    def repeat(self, *args, int64_t times=1):
        """Runs the calls that often, from C alone; returns the nanoseconds that took (int)."""
        cdef char *few[FEW]
        cdef fnn_error err
        cdef fnn_status status = FNN_OK
        cdef int failed = -1
        cdef int64_t i, took
        if len(args) > FEW:
            raise ValueError(f"repeat: expected at most {FEW} tensors and arrays, got {len(args)}")
        if not self.take(args, few):
            raise ValueError("repeat: expected the arguments that it was made for")
        result = self.run(args, few, None)  # binds everything, and keeps what it bound
        self.arena.busy = True
        try:
            with nogil:
                took = fnn_now()
                for i in range(times):
                    status = fnn_exec_run(self.e, &failed, &err)
                    if status != FNN_OK:
                        break
                took = fnn_now() - took
        finally:
            self.arena.busy = False
        if self.changes:
            self.leave(args, status == FNN_OK)
        if status != FNN_OK:
            error(status, err.text)
        return took


cdef char **room(char **few, Py_ssize_t n) except NULL:
    """Place for n addresses: few, or memory for more."""
    cdef char **data = few
    if n > FEW:
        data = <char **> PyMem_Malloc(n * sizeof(char *))
        if data == NULL:
            raise MemoryError()
    return data


cdef void leave_room(char **few, char **data):
    if data != few:
        PyMem_Free(data)


cdef char *address(object x):
    if isinstance(x, Tensor):
        return (<Tensor> x).t.data
    return <char *> cnp.PyArray_DATA(<cnp.ndarray> x)


cdef fnn_tensor tensor_at(object x):
    """The layout of a tensor or contiguous array."""
    cdef fnn_tensor t
    cdef int d
    if isinstance(x, Tensor):
        return (<Tensor> x).t
    cdef cnp.ndarray a = <cnp.ndarray> x
    if not cnp.PyArray_ISCARRAY_RO(a):
        t = from_array(a).t  # only its layout
        t.storage = NULL
        return t
    t.data = <char *> cnp.PyArray_DATA(a)
    t.dtype = -1
    for d in range(FNN_N_DTYPES):
        if NUMPY_NUMBER[d] == cnp.PyArray_TYPE(a):
            t.dtype = d
    t.ndim = min(cnp.PyArray_NDIM(a), FNN_MAX_DIMS)
    for d in range(t.ndim):
        t.shape[d] = cnp.PyArray_DIM(a, d)
    fnn_set_contiguous(&t)
    return t


cdef bint same_shape(const fnn_tensor *a, const fnn_tensor *b):
    cdef int d
    if a.ndim != b.ndim:
        return False
    for d in range(a.ndim):
        if a.shape[d] != b.shape[d]:
            return False
    return True


cdef bint same_look(const fnn_tensor *a, const fnn_tensor *b):
    """Whether two tensors are the same elements of one storage."""
    cdef int d
    if a.storage != b.storage or a.data != b.data or not same_shape(a, b):
        return False
    for d in range(a.ndim):
        if a.stride[d] != b.stride[d]:
            return False
    return True


cdef bint within(const fnn_tensor *t, const fnn_storage *s):
    cdef const char *lo
    cdef const char *hi
    cdef const char *base = <const char *> s.data
    fnn_byte_range(t, &lo, &hi)
    return lo < base + s.nbytes and base < hi


cdef int written_to(object x) except -1:
    if isinstance(x, Tensor):
        (<Tensor> x).t.storage.version += 1
    return 0


cdef int copy_out(object to, Tensor y) except -1:
    run_op(COPY_, (to if isinstance(to, Tensor) else from_array(<cnp.ndarray> to), y), None)
    return 0


cdef class Compiled:
    """The way into a compiled function: the last replay if it fits, else dispatch()."""

    cdef list replays  # that were used last, newest first
    cdef object __weakref__

    def __cinit__(self):
        self.replays = []

    def __call__(self, *args, out=None, **kwargs):
        cdef char *few[FEW]
        cdef Replay r
        cdef Py_ssize_t i
        if not kwargs and recorder is None and len(args) <= FEW:
            for i in range(len(self.replays)):
                r = <Replay> self.replays[i]
                if r.take(args, few) and r.current():
                    return r.run(args, few, out)
        return self.dispatch(args, kwargs, out)

    def dispatch(self, tuple args, dict kwargs, out):
        """Finds or makes what a call needs, and calls it."""
        raise NotImplementedError

    def remember(self, Replay r not None):
        """Makes r the first to be tried."""
        if r in self.replays:
            self.replays.remove(r)
        self.replays.insert(0, r)
        del self.replays[8:]

    def forget(self):
        """Tries none before dispatch."""
        self.replays.clear()
