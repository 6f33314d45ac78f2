# What the extension uses of the C core (csrc/core.h, csrc/cpu.h).

cdef extern from *:
    """
    /* Whether calls are recorded for gradients: per thread, as in PyTorch. */
    static _Thread_local int fnn_grad_enabled = 1;
    """
    int fnn_grad_enabled

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *o)
    PyObject *PyDict_GetItem(object d, object key)

cdef extern from "core.h" nogil:
    int FNN_MAX_DIMS
    int FNN_MAX_ATTRS
    ctypedef int fnn_status
    int FNN_OK, FNN_ERR_VALUE, FNN_ERR_TYPE, FNN_ERR_INDEX, FNN_ERR_MEMORY, FNN_ERR_BUG
    ctypedef struct fnn_error:
        char text[512]
    int FNN_BOOL, FNN_UINT8, FNN_INT32, FNN_INT64, FNN_FLOAT32, FNN_FLOAT64, FNN_N_DTYPES
    const char *fnn_dtype_name(int dtype)
    ptrdiff_t fnn_dtype_size(int dtype)
    bint fnn_is_float(int dtype)
    ctypedef struct fnn_storage:
        int64_t refs
        void *data
        int64_t nbytes
        bint read_only
        int32_t exports
        uint64_t version
        uint32_t history
        uint32_t lent
        void (*release)(void *) noexcept
        void *context
    ctypedef struct fnn_tensor:
        fnn_storage *storage
        char *data
        int32_t dtype
        int32_t ndim
        int64_t shape[8]
        int64_t stride[8]
    int64_t fnn_numel(const fnn_tensor *t)
    bint fnn_is_contiguous(const fnn_tensor *t)
    void fnn_set_contiguous(fnn_tensor *t)
    bint fnn_same_shape(const fnn_tensor *a, const fnn_tensor *b)
    bint fnn_same_layout(const fnn_tensor *a, const fnn_tensor *b)
    ctypedef struct fnn_range:
        const char *lo
        const char *hi
        bint written
    bint fnn_any_overlap(fnn_range *ranges, int n)
    void fnn_byte_range(const fnn_tensor *t, const char **lo, const char **hi)
    ctypedef struct fnn_memory_stats:
        int64_t allocated_bytes, cached_bytes, peak_bytes
        int64_t allocations, cache_hits, cache_limit
    void *fnn_alloc(int64_t nbytes)
    void fnn_free(void *block)
    fnn_storage *fnn_storage_new(int64_t nbytes)
    fnn_storage *fnn_storage_wrap(void *data, int64_t nbytes,
                                  void (*release)(void *) noexcept, void *context)
    void fnn_storage_retain(fnn_storage *s)
    void fnn_storage_release(fnn_storage *s)
    void fnn_count_export(fnn_storage *s, int by)
    void fnn_memory_stats_read(fnn_memory_stats *out)
    void fnn_memory_empty_cache()
    int fnn_num_threads()
    void fnn_set_num_threads(int n)
    int FNN_ATTR_INT, FNN_ATTR_FLOAT, FNN_ATTR_BOOL, FNN_ATTR_INTS
    ctypedef struct fnn_attr:
        int64_t i
        double f
        int32_t n
        int64_t ints[8]
    ctypedef struct fnn_attr_spec:
        char name[24]
        int kind
        bint has_default
        double default_value
    ctypedef struct fnn_op
    ctypedef struct fnn_call:
        const fnn_op *op
        int n_in
        int count
        fnn_tensor **in_ "in"
        uint32_t weak_in
        const fnn_attr *attr
        fnn_tensor *out
        void *workspace
        int threads
        fnn_error *err
    ctypedef fnn_status (*fnn_infer_fn)(fnn_call *c)
    ctypedef int64_t (*fnn_workspace_fn)(const fnn_call *c)
    ctypedef struct fnn_op:
        const char *name
        const char *inputs
        const char *outputs
        const char *attributes
        fnn_infer_fn infer
        fnn_workspace_fn workspace
        fnn_infer_fn run[1]
        unsigned flags
        int n_in, min_in, n_out, n_attr
        uint32_t optional, writes, many
        fnn_attr_spec attr[8]
    unsigned FNN_ELEMENTWISE, FNN_RANDOM, FNN_DATA_SHAPE, FNN_VIEW, FNN_INPLACE
    int FNN_N_OPS
    fnn_op *fnn_ops()
    int fnn_input_of(const fnn_call *c, int i)
    fnn_status fnn_init(fnn_error *err)

cdef extern from "plan/group.h" nogil:
    ctypedef bint cbool "bool"
    ctypedef struct fnn_group:
        fnn_call **calls
        int n
        cbool *scratch
    ctypedef struct fnn_group_plan
    int64_t fnn_group_bytes(int n)
    bint fnn_group_prepare(fnn_group_plan *p, const fnn_group *g, int threads)
    int64_t fnn_group_workspace(const fnn_group_plan *p)
    void fnn_group_run(const fnn_group_plan *p, void *workspace)

cdef extern from "ops/ops.h" nogil:
    fnn_status fnn_run_conv(fnn_call *c)
    int fnn_conv_chosen(const fnn_call *c)

cdef extern from "cpu.h" nogil:
    const char *fnn_isa_name()
    fnn_status fnn_isa_select(const char *name, fnn_error *err)
    const char *fnn_isa_available(int i)
    int fnn_cgroup_cpu_limit(const char *proc_self_cgroup, const char *cgroup_root)

cdef extern from "kernels.h" nogil:
    ctypedef double (*fnn_peak_fn)(ptrdiff_t n, void *sink)
    ctypedef struct fnn_kernels:
        fnn_peak_fn peak[2]
    const fnn_kernels *fnn_k

cdef extern from "plan/plan.h" nogil:
    int FNN_ARGUMENT, FNN_HELD, FNN_ARENA, FNN_FRESH
    ctypedef struct fnn_plan_buffer:
        int home
        int index
        fnn_storage *storage
    ctypedef union fnn_plan_number:
        int64_t i
        double f
        uint8_t b
    ctypedef struct fnn_plan_value:
        int buffer
        bint given
        fnn_tensor layout
        int64_t factor[8]
        int64_t number_factor
        fnn_plan_number number
    ctypedef struct fnn_plan_scale:
        int attr
        int at
        int64_t factor
    ctypedef struct fnn_plan_call:
        int count
        uint32_t weak_in
        bint into
        int *in_ "in"
        int out[8]
        fnn_attr *attr
        fnn_plan_scale *scales
    ctypedef struct fnn_program:
        int n_buffers, n_values, n_calls, n_arguments, n_fresh, n_groups
        fnn_plan_buffer *buffers
        fnn_plan_value *values
        fnn_plan_call *calls
        int *arguments
        int (*groups)[2]
    fnn_program *fnn_program_new(int buffers, int values, int calls, int arguments, int groups)
    bint fnn_program_call(fnn_program *p, int call, const fnn_op *op, int n_in, int n_scales)
    void fnn_program_free(fnn_program *p)
    ctypedef struct fnn_exec
    ctypedef struct fnn_exec_facts:
        int64_t arena_bytes, workspace_bytes, unshared_bytes, fresh_bytes, touched
        int steps
    fnn_status fnn_exec_new(const fnn_program *program, const fnn_tensor *arguments,
                            int64_t batch, int threads, fnn_exec **out, fnn_error *err)
    void fnn_exec_free(fnn_exec *e)
    const fnn_exec_facts *fnn_exec_facts_of(const fnn_exec *e)
    const fnn_tensor *fnn_exec_value(const fnn_exec *e, int value)
    int64_t fnn_exec_offset(const fnn_exec *e, int value)
    int64_t fnn_exec_fresh_bytes(const fnn_exec *e, int fresh)
    int64_t fnn_exec_place(const fnn_exec *e, int buffer)
    void fnn_exec_bind_arena(fnn_exec *e, char *arena)
    void fnn_exec_bind_argument(fnn_exec *e, int argument, char *data)
    void fnn_exec_bind_fresh(fnn_exec *e, int fresh, char *data)
    fnn_status fnn_exec_run(fnn_exec *e, int *failed, fnn_error *err)
    fnn_status fnn_exec_profile(fnn_exec *e, int64_t *nanoseconds, int *first_call,
                                fnn_error *err)
    int64_t fnn_now()
