/* What an executable is made of; for the files of csrc/plan that make and run it. */
#ifndef FNN_EXEC_H
#define FNN_EXEC_H

#include "plan/arena.h"
#include "plan/group.h"
#include "plan/plan.h"

typedef struct {
    fnn_status (*run)(fnn_call *c);
    fnn_call *call;
    fnn_group_plan *group; /* runs instead, where there is one */
    int first, end;        /* its calls, by number */
} exec_step;

struct fnn_exec {
    const fnn_program *program;
    fnn_exec_facts facts;
    fnn_tensor *slots;    /* [values] */
    int64_t *offsets;     /* [values], bytes from the start of the buffer */
    int64_t *bytes;       /* [buffers] */
    fnn_lifetime *places; /* [buffers], of internal ones */
    int *merged;          /* [buffers]: whose memory it uses; itself where its own */
    fnn_call *calls;      /* [calls] */
    exec_step *steps;
    int *step_of;          /* [calls]: -1 for views */
    bool *scratch;         /* [calls]: the result has no memory but the group's */
    fnn_tensor **ins;      /* of all calls */
    fnn_attr *attrs;       /* of all calls */
    int64_t *numbers;      /* [values], those that follow the batch */
    int *by_home;          /* values in the order of their homes */
    int *argument, *fresh; /* [n + 1]: where each one's values begin in by_home */
    int arena, arena_end;  /* the same of the arena */
    char **base;           /* [buffers]: where it is bound, for checks */
    char *workspace;
};

/* Steps, results in place, and places in the arena (layout.c): shapes are known. */
fnn_status fnn_exec_lay_out(fnn_exec *e, fnn_error *err);

static inline fnn_home home_of(const fnn_exec *e, int value) {
    int buffer = e->program->values[value].buffer;
    return e->program->buffers[buffer].home;
}

static inline bool runs(const fnn_call *c) { return !(c->op->flags & FNN_VIEW); }

static inline bool in_arena(const fnn_exec *e, int buffer) {
    return buffer >= 0 && e->program->buffers[buffer].home == FNN_ARENA;
}

/* Whose memory a buffer uses. */
static inline int owner(const fnn_exec *e, int buffer) {
    while (e->merged[buffer] != buffer) {
        buffer = e->merged[buffer];
    }
    return buffer;
}

#endif
