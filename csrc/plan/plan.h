/* Plans: a recorded list of calls, and what replays it.
 *
 * A program is the list over values in buffers, without sizes that follow the batch. An
 * executable is a program bound to the shapes of its arguments: the ops' own infer rules
 * gave every shape, every internal buffer has its place in one arena, and running it is a
 * loop over calls: no lock, no system call, no allocation, no Python. */
#ifndef FNN_PLAN_H
#define FNN_PLAN_H

#include "core.h"

/* ---- programs --------------------------------------------------------------------- */

typedef enum {
    FNN_ARGUMENT, /* an argument's memory */
    FNN_HELD,     /* memory that outlives the call: parameters, states, constants */
    FNN_ARENA,    /* used within the call */
    FNN_FRESH,    /* seen after the call: outputs, gradients; bound before each run */
} fnn_home;

typedef struct {
    fnn_home home;
    int index;            /* argument: which; fresh: which */
    fnn_storage *storage; /* held */
} fnn_plan_buffer;

/* A value that no call makes; the others come from infer. Also a number's place. */
typedef struct {
    int buffer; /* -1: a number, whose bytes are here */
    bool given; /* no call makes it */
    /* dtype, shape, strides; data is NULL plus the offset in its buffer. An argument's
     * shape comes with the arguments. */
    fnn_tensor layout;
    int64_t factor[FNN_MAX_DIMS]; /* not 0: the size is factor times the batch */
    int64_t number_factor;        /* not 0: the integer is factor times the batch */
    union {
        int64_t i;
        double f;
        uint8_t b;
    } number;
} fnn_plan_value;

/* An integer of an attribute that is factor times the batch; at -1 it is the scalar. */
typedef struct {
    int attr, at;
    int64_t factor;
} fnn_plan_scale;

typedef struct {
    const fnn_op *op;
    int n_in, count, n_scales;
    uint32_t weak_in;
    bool into;                /* out 0's memory was there: the value is given */
    int *in;                  /* [n_in] values, -1 where absent */
    int out[FNN_MAX_OUTPUTS]; /* values */
    fnn_attr *attr;           /* [op->n_attr] */
    fnn_plan_scale *scales;   /* [n_scales] */
} fnn_plan_call;

typedef struct {
    int n_buffers, n_values, n_calls, n_arguments, n_fresh, n_groups;
    fnn_plan_buffer *buffers;
    fnn_plan_value *values;
    fnn_plan_call *calls;
    int *arguments;   /* [n_arguments] values */
    int (*groups)[2]; /* [n_groups] first call, and the one after the last */
} fnn_program;

/* All arrays allocated and zero, but what hangs off the calls; NULL: no memory. */
fnn_program *fnn_program_new(int buffers, int values, int calls, int arguments,
                             int groups);
/* in, attr and scales of a call; false: no memory. */
bool fnn_program_call(fnn_program *p, int call, const fnn_op *op, int n_in,
                      int n_scales);
void fnn_program_free(fnn_program *p);

/* ---- executables ------------------------------------------------------------------ */

typedef struct fnn_exec fnn_exec;

typedef struct {
    int64_t arena_bytes;     /* buffers of the call and workspace */
    int64_t workspace_bytes; /* of which workspace */
    int64_t unshared_bytes;  /* what the buffers would need side by side */
    int64_t fresh_bytes;
    int64_t touched; /* elements that the calls read or write: what a run costs */
    int steps;       /* calls or groups that run */
} fnn_exec_facts;

/* Binds a program to its arguments' layouts and a batch size (0 where it has none).
 * *out is NULL after an error. */
fnn_status fnn_exec_new(const fnn_program *program, const fnn_tensor *arguments,
                        int64_t batch, int threads, fnn_exec **out, fnn_error *err);
void fnn_exec_free(fnn_exec *e);
const fnn_exec_facts *fnn_exec_facts_of(const fnn_exec *e);
/* A value as the executable sees it; data is right once all is bound. */
const fnn_tensor *fnn_exec_value(const fnn_exec *e, int value);
/* Bytes of a value from the start of its buffer. */
int64_t fnn_exec_offset(const fnn_exec *e, int value);
/* Bytes of a fresh buffer. */
int64_t fnn_exec_fresh_bytes(const fnn_exec *e, int fresh);
/* Place of a buffer in the arena; -1 for other homes, and where it needs no memory. */
int64_t fnn_exec_place(const fnn_exec *e, int buffer);

/* Memory for this and later runs. All must be bound before a run. */
void fnn_exec_bind_arena(fnn_exec *e, char *arena);
void fnn_exec_bind_argument(fnn_exec *e, int argument, char *data);
void fnn_exec_bind_fresh(fnn_exec *e, int fresh, char *data);

/* Runs the calls in order. At an error the rest is not run; *failed is the call. */
fnn_status fnn_exec_run(fnn_exec *e, int *failed, fnn_error *err);
/* The same, with the nanoseconds of each step [steps]; first_call [steps] says which
 * call a step begins with. */
fnn_status fnn_exec_profile(fnn_exec *e, int64_t *nanoseconds, int *first_call,
                            fnn_error *err);
int64_t fnn_now(void); /* nanoseconds, monotonic */

#endif
