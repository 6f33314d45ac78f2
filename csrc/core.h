/* Internal types: what a tensor, an op, an attribute and a call are.
 *
 * Three rules hold everywhere below this header:
 *   - a kernel gets pointers, sizes and steps; it never allocates, locks, prints, exits,
 *     touches globals, calls Python or starts threads;
 *   - an op asks for its workspace in advance, so that a plan knows its memory;
 *   - a failure is an fnn_status, with a sentence in the call's fnn_error.
 */
#ifndef FNN_CORE_H
#define FNN_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sizes.h"

#define FNN_MAX_DIMS 8
#define FNN_MAX_OUTPUTS 8
#define FNN_MAX_ATTRS 8
#define FNN_ALIGN 64
#define FNN_ERROR_LEN 512
#define FNN_CPU_DEVICE 0
#define FNN_N_DEVICES 1

/* Bytes, up to whole lines of cache. */
static inline int64_t fnn_aligned(int64_t bytes) {
    return fnn_round_up(bytes, FNN_ALIGN);
}

/* ---- status ------------------------------------------------------------------------- */

typedef enum {
    FNN_OK = 0,
    FNN_ERR_VALUE,  /* wrong shape or value        -> ValueError */
    FNN_ERR_TYPE,   /* wrong dtype                 -> TypeError */
    FNN_ERR_INDEX,  /* index or label out of range -> IndexError */
    FNN_ERR_MEMORY, /* no memory                   -> MemoryError */
    FNN_ERR_BUG,    /* a rule of ours is broken    -> RuntimeError */
} fnn_status;

typedef struct {
    char text[FNN_ERROR_LEN];
} fnn_error;

/* Writes "<message>" into err and returns status: `return fnn_fail(c->err, FNN_ERR_VALUE,
 * "matmul: expected ..., got ...")`. err may be NULL. */
__attribute__((format(printf, 3, 4))) fnn_status fnn_fail(fnn_error *err,
                                                          fnn_status status,
                                                          const char *format, ...);

/* ---- dtypes ------------------------------------------------------------------------- */

/* In promotion order. */
typedef enum {
    FNN_BOOL = 0,
    FNN_UINT8,
    FNN_INT32,
    FNN_INT64,
    FNN_FLOAT32,
    FNN_FLOAT64,
    FNN_N_DTYPES
} fnn_dtype;

const char *fnn_dtype_name(int dtype);
ptrdiff_t fnn_dtype_size(int dtype);
static inline bool fnn_is_float(int dtype) { return dtype >= FNN_FLOAT32; }

/* ---- storage and tensor ------------------------------------------------------------- */

typedef struct fnn_storage {
    _Atomic int64_t refs;
    void *data;
    int64_t nbytes;
    int16_t device;
    bool read_only;
    int32_t exports;  /* views that others write through: NumPy, DLPack */
    uint64_t version; /* bumped by every write; checked by the tape */
    uint32_t history; /* bumped by writes that the tape recorded */
    uint32_t lent; /* bumped when an export begins or ends: memory may change between */
    void (*release)(void *context); /* NULL: the allocator's own block */
    void *context;
} fnn_storage;

typedef struct {
    fnn_storage *storage;
    char *data; /* the first element, inside storage->data */
    int32_t dtype;
    int32_t ndim;
    int64_t shape[FNN_MAX_DIMS];
    int64_t stride[FNN_MAX_DIMS]; /* in elements; zero or negative is legal */
} fnn_tensor;

int64_t fnn_numel(const fnn_tensor *t);
bool fnn_is_contiguous(const fnn_tensor *t);
void fnn_set_contiguous(fnn_tensor *t); /* fills stride from shape */
bool fnn_same_shape(const fnn_tensor *a, const fnn_tensor *b);
/* Whether a and b are the same elements: of one dtype and shape, lying alike. */
bool fnn_same_layout(const fnn_tensor *a, const fnn_tensor *b);
/* "(2, 3)" into buffer; returns buffer. */
const char *fnn_shape_text(const fnn_tensor *t, char *buffer, size_t size);
#define FNN_SHAPE(t) fnn_shape_text((t), (char[160]){0}, 160)

/* A tensor's bytes, and whether they are written. */
typedef struct {
    const char *lo, *hi;
    bool written;
} fnn_range;
/* Whether a written range overlaps another one; sorts them. */
bool fnn_any_overlap(fnn_range *ranges, int n);

/* Lowest and highest byte that t touches, [*lo, *hi); empty tensors give lo == hi. */
void fnn_byte_range(const fnn_tensor *t, const char **lo, const char **hi);

/* ---- memory ------------------------------------------------------------------------- */

typedef struct {
    int64_t allocated_bytes; /* in use now */
    int64_t cached_bytes;    /* kept for reuse */
    int64_t peak_bytes;      /* most ever in use */
    int64_t allocations;     /* blocks handed out */
    int64_t cache_hits;      /* of which from the cache */
    int64_t cache_limit;     /* bytes the cache may keep */
} fnn_memory_stats;

/* 64-byte aligned block from the bounded cache; NULL when there is no memory.
 * nbytes 0 is legal. Thread safe. */
void *fnn_alloc(int64_t nbytes);
void fnn_free(void *block);
fnn_storage *fnn_storage_new(
    int64_t nbytes); /* refs 1, data aligned; NULL: no memory */
fnn_storage *fnn_storage_wrap(void *data, int64_t nbytes, void (*release)(void *),
                              void *context); /* foreign memory; refs 1 */
void fnn_storage_retain(fnn_storage *s);
void fnn_storage_release(fnn_storage *s);
void fnn_count_export(fnn_storage *s, int by); /* +1, -1; thread safe */
void fnn_memory_stats_read(fnn_memory_stats *out);
void fnn_memory_empty_cache(void);

/* ---- threads ------------------------------------------------------------------------ */

/* Calls fn(context, lo, hi) over [0, n) cut into at most fnn_num_threads() even pieces of
 * at least `grain`; runs on the caller where one piece is enough, in a forked child, or
 * while another caller holds the team. Results must not depend on the cut. */
void fnn_parallel_for(int64_t n, int64_t grain, void (*fn)(void *, int64_t, int64_t),
                      void *context);
int fnn_num_threads(void);
void fnn_set_num_threads(int n);

/* ---- ops ---------------------------------------------------------------------------- */

typedef enum {
    FNN_ATTR_INT,
    FNN_ATTR_FLOAT,
    FNN_ATTR_BOOL,
    FNN_ATTR_INTS
} fnn_attr_kind;

typedef struct {
    int64_t i; /* int, bool */
    double f;  /* float */
    int32_t n; /* ints: how many */
    int64_t ints[FNN_MAX_DIMS];
} fnn_attr;

typedef struct {
    char name[24];
    fnn_attr_kind kind;
    bool has_default;
    double default_value; /* ints default to the empty list */
} fnn_attr_spec;

typedef struct fnn_op fnn_op;

typedef struct {
    const fnn_op *op;
    int n_in;
    int count;             /* tensors in each list, where op->many is not 0 */
    fnn_tensor *const *in; /* NULL where an optional input is absent */
    uint32_t weak_in;      /* bit i: input i was a Python number (promotes weakly) */
    const fnn_attr *attr;
    fnn_tensor *out; /* [op->n_out]; infer fills dtype, shape, stride; run reads all */
    void *workspace;
    int threads; /* that workspace is made for; set before it is asked */
    fnn_error *err;
} fnn_call;

enum {
    FNN_ELEMENTWISE = 1, /* out may be exactly one of the inputs */
    FNN_RANDOM = 2,     /* draws from (and advances) generator state, its first input */
    FNN_DATA_SHAPE = 4, /* output shapes depend on values: eager only */
    FNN_VIEW = 8,       /* output 0 is a view of input 0: infer sets data too; no run */
    FNN_INPLACE = 16,   /* output 0 is input 0, written */
};

struct fnn_op {
    const char *name;
    const char *inputs;  /* "a b?", "xs*", "p!": '?' optional, '*' list, '!' written */
    const char *outputs; /* "y mask" */
    const char *attributes; /* "dim:int keepdim:bool=0 axes:ints=" */
    fnn_status (*infer)(fnn_call *c);
    int64_t (*workspace)(const fnn_call *c); /* NULL: none */
    fnn_status (*run[FNN_N_DEVICES])(fnn_call *c);
    int kernel; /* which row of kernels.def a shared launcher uses */
    unsigned flags;
    /* parsed from the strings above by fnn_ops_init */
    int n_in, min_in, n_out, n_attr;
    uint32_t optional, writes, many; /* bit i: input i may be absent, is written, is a
                                        list; all lists of a call have one length */
    fnn_attr_spec attr[FNN_MAX_ATTRS];
};

/* A call's tensors stand in the order of the row, each list in full: where input `input`
 * begins, and which input tensor i belongs to. */
int fnn_first(const fnn_call *c, int input);
int fnn_input_of(const fnn_call *c, int i);

enum {
#define OP(name, ...) FNN_OP_##name,
#include "ops.def"
#undef OP
    FNN_N_OPS
};

fnn_op *fnn_ops(void); /* [FNN_N_OPS], ready after fnn_init */

/* Detects the CPU (capped by FASTNN_ISA), fills kernel and op tables, reads the thread
 * default. Idempotent. err says what was wrong with the environment. */
fnn_status fnn_init(fnn_error *err);

#endif
