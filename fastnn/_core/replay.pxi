# Replay: a program bound to shapes, and what a call of it reads, makes and leaves behind.

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
            elif leaf.gradient is None or \
                    leaf.gradient.t.storage != expected.t.storage or \
                    not fnn_same_layout(&leaf.gradient.t, &expected.t):
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
        cdef int i
        cdef const fnn_tensor *want
        cdef fnn_tensor got
        cdef list given = [out] if self.rebuild is None else self.targets(out)
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
            if got.dtype != want.dtype or not fnn_same_shape(&got, want):
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

    cdef int take_for(self, str who, tuple args, char **few) except -1:
        """take(), or an error."""
        if len(args) > FEW:
            raise ValueError(f"{who}: expected at most {FEW} tensors and arrays, got "
                             f"{len(args)}")
        if not self.take(args, few):
            raise ValueError(f"{who}: expected the arguments that it was made for")
        return 0

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
        self.take_for("profile", args, few)
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
        self.take_for("repeat", args, few)
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
