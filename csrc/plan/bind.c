/* Binding a program to shapes.
 *
 * It goes through the ops' own infer rules with addresses that nobody reads: each buffer
 * seems to start at BASE, so that the data pointers that views compute are offsets. */
#include "plan/exec.h"

#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

#define BASE ((char *)((uintptr_t)1 << 40))

void fnn_exec_free(fnn_exec *e) {
    if (e == NULL) {
        return;
    }
    free(e->slots);
    free(e->offsets);
    free(e->bytes);
    free(e->places);
    free(e->merged);
    free(e->calls);
    for (int i = 0; e->steps && i < e->facts.steps; i++) {
        free(e->steps[i].group);
    }
    free(e->steps);
    free(e->step_of);
    free(e->scratch);
    free(e->ins);
    free(e->attrs);
    free(e->numbers);
    free(e->by_home);
    free(e->argument);
    free(e->fresh);
    free(e->base);
    free(e);
}

static fnn_exec *allocate(const fnn_program *p) {
    fnn_exec *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return NULL;
    }
    size_t ins = 1, attrs = 1, values = (size_t)p->n_values + 1;
    size_t buffers = (size_t)p->n_buffers + 1, calls = (size_t)p->n_calls + 1;
    for (int i = 0; i < p->n_calls; i++) {
        ins += (size_t)p->calls[i].n_in;
        attrs += (size_t)p->calls[i].op->n_attr;
    }
    e->program = p;
    e->slots = calloc(values, sizeof *e->slots);
    e->offsets = calloc(values, sizeof *e->offsets);
    e->numbers = calloc(values, sizeof *e->numbers);
    e->by_home = calloc(values, sizeof *e->by_home);
    e->bytes = calloc(buffers, sizeof *e->bytes);
    e->places = calloc(buffers, sizeof *e->places);
    e->merged = calloc(buffers, sizeof *e->merged);
    e->base = calloc(buffers, sizeof *e->base);
    e->calls = calloc(calls, sizeof *e->calls);
    e->steps = calloc(calls, sizeof *e->steps);
    e->step_of = calloc(calls, sizeof *e->step_of);
    e->scratch = calloc(calls, sizeof *e->scratch);
    e->ins = calloc(ins, sizeof *e->ins);
    e->attrs = calloc(attrs, sizeof *e->attrs);
    e->argument = calloc((size_t)p->n_arguments + 2, sizeof *e->argument);
    e->fresh = calloc((size_t)p->n_fresh + 2, sizeof *e->fresh);
    if (!e->slots || !e->offsets || !e->numbers || !e->by_home || !e->bytes ||
        !e->places || !e->merged || !e->base || !e->calls || !e->steps || !e->step_of ||
        !e->scratch || !e->ins || !e->attrs || !e->argument || !e->fresh) {
        fnn_exec_free(e);
        return NULL;
    }
    return e;
}

/* ---- shapes ----------------------------------------------------------------------- */

/* factor times batch; false where that is too large. */
static bool follow(int64_t factor, int64_t batch, int64_t *n, fnn_error *err) {
    if (__builtin_mul_overflow(factor, batch, n)) {
        fnn_fail(err, FNN_ERR_MEMORY,
                 "plan: expected sizes below 2^62, got %lld times a batch of %lld",
                 (long long)factor, (long long)batch);
        return false;
    }
    return true;
}

/* The values that no call makes. */
static fnn_status set_given(fnn_exec *e, const fnn_tensor *arguments, int64_t batch,
                            fnn_error *err) {
    const fnn_program *p = e->program;
    for (int v = 0; v < p->n_values; v++) {
        const fnn_plan_value *given = &p->values[v];
        fnn_tensor *t = &e->slots[v];
        if (!given->given) {
            continue;
        }
        *t = given->layout;
        if (given->buffer < 0) {
            t->data = (char *)(uintptr_t)&given->number;
            if (given->number_factor != 0) {
                if (!follow(given->number_factor, batch, &e->numbers[v], err)) {
                    return FNN_ERR_MEMORY;
                }
                t->data = (char *)&e->numbers[v];
            }
            continue;
        }
        const fnn_plan_buffer *b = &p->buffers[given->buffer];
        int64_t offset = (int64_t)((uintptr_t)given->layout.data);
        if (b->home == FNN_HELD) {
            t->storage = b->storage;
            t->data = (char *)b->storage->data + offset;
            continue;
        }
        bool follows = false;
        for (int d = 0; d < t->ndim; d++) {
            if (given->factor[d] != 0) {
                if (!follow(given->factor[d], batch, &t->shape[d], err)) {
                    return FNN_ERR_MEMORY;
                }
                follows = true;
            }
        }
        if (follows) {
            fnn_set_contiguous(t);
        }
        t->data = BASE + offset;
    }
    for (int a = 0; a < p->n_arguments; a++) {
        fnn_tensor *t = &e->slots[p->arguments[a]];
        *t = arguments[a];
        t->storage = NULL;
        t->data = BASE;
    }
    return FNN_OK;
}

/* Runs infer for call i; gives it its operands. */
static fnn_status infer(fnn_exec *e, int i, int64_t batch, int threads,
                        fnn_tensor ***ins, fnn_attr **attrs, fnn_error *err) {
    const fnn_plan_call *given = &e->program->calls[i];
    const fnn_op *op = given->op;
    fnn_call *c = &e->calls[i];
    fnn_tensor beside[FNN_MAX_OUTPUTS];
    fnn_tensor *out = &e->slots[given->out[0]];
    *c = (fnn_call){.op = op,
                    .n_in = given->n_in,
                    .count = given->count,
                    .in = *ins,
                    .weak_in = given->weak_in,
                    .attr = *attrs,
                    .out = given->into ? beside : out,
                    .threads = threads,
                    .err = err};
    for (int k = 0; k < given->n_in; k++) {
        (*ins)[k] = given->in[k] < 0 ? NULL : &e->slots[given->in[k]];
    }
    for (int k = 0; k < op->n_attr; k++) {
        (*attrs)[k] = given->attr[k];
    }
    for (int k = 0; k < given->n_scales; k++) {
        const fnn_plan_scale *s = &given->scales[k];
        fnn_attr *a = &(*attrs)[s->attr];
        if (!follow(s->factor, batch, s->at < 0 ? &a->i : &a->ints[s->at], err)) {
            return FNN_ERR_MEMORY;
        }
    }
    *ins += given->n_in;
    *attrs += op->n_attr;
    for (int k = 0; k < op->n_out; k++) {
        c->out[k].storage = NULL;
        c->out[k].data = BASE;
    }
    FNN_TRY(op->infer(c));
    if (given->into) {
        if (beside[0].dtype != out->dtype || !fnn_same_shape(&beside[0], out)) {
            return fnn_fail(err, FNN_ERR_VALUE, "%s: expected out of %s %s, got %s %s",
                            op->name, fnn_dtype_name(beside[0].dtype),
                            FNN_SHAPE(&beside[0]), fnn_dtype_name(out->dtype),
                            FNN_SHAPE(out));
        }
        c->out = out;
    }
    return FNN_OK;
}

/* What every value needs of its buffer, once all shapes are known. */
static void measure(fnn_exec *e) {
    const fnn_program *p = e->program;
    for (int v = 0; v < p->n_values; v++) {
        const fnn_plan_value *given = &p->values[v];
        if (given->buffer < 0) {
            continue;
        }
        const fnn_plan_buffer *b = &p->buffers[given->buffer];
        const fnn_tensor *t = &e->slots[v];
        const char *from = b->home == FNN_HELD ? b->storage->data : BASE;
        e->offsets[v] = t->data - from;
        const char *lo, *hi;
        fnn_byte_range(t, &lo, &hi);
        if (hi - from > e->bytes[given->buffer]) {
            e->bytes[given->buffer] = hi - from;
        }
    }
}

/* ---- all of it -------------------------------------------------------------------- */

/* Values in the order of their homes, for binding. */
static void sort_by_home(fnn_exec *e) {
    const fnn_program *p = e->program;
    int n = 0;
    for (int a = 0; a <= p->n_arguments; a++) {
        e->argument[a] = n;
        for (int v = 0; v < p->n_values && a < p->n_arguments; v++) {
            int b = p->values[v].buffer;
            if (b >= 0 && p->buffers[b].home == FNN_ARGUMENT &&
                p->buffers[b].index == a) {
                e->by_home[n++] = v;
            }
        }
    }
    for (int f = 0; f <= p->n_fresh; f++) {
        e->fresh[f] = n;
        for (int v = 0; v < p->n_values && f < p->n_fresh; v++) {
            int b = p->values[v].buffer;
            if (b >= 0 && p->buffers[b].home == FNN_FRESH && p->buffers[b].index == f) {
                e->by_home[n++] = v;
            }
        }
    }
    e->arena = n;
    for (int v = 0; v < p->n_values; v++) {
        if (p->values[v].buffer >= 0 && home_of(e, v) == FNN_ARENA) {
            e->by_home[n++] = v;
        }
    }
    e->arena_end = n;
}

/* What the steps need and touch. */
static void sum_up(fnn_exec *e) {
    int64_t most = 0;
    for (int s = 0; s < e->facts.steps; s++) {
        const exec_step *step = &e->steps[s];
        int64_t bytes = step->group ? fnn_group_workspace(step->group)
                        : step->call->op->workspace
                            ? step->call->op->workspace(step->call)
                            : 0;
        most = bytes > most ? bytes : most;
    }
    e->facts.workspace_bytes = most;
    e->facts.arena_bytes += most;
    for (int i = 0; i < e->program->n_calls; i++) {
        const fnn_call *c = &e->calls[i];
        for (int k = 0; runs(c) && k < c->n_in; k++) {
            e->facts.touched += c->in[k] ? fnn_numel(c->in[k]) : 0;
        }
        for (int k = 0; runs(c) && k < c->op->n_out; k++) {
            e->facts.touched += fnn_numel(&c->out[k]);
        }
    }
    for (int b = 0; b < e->program->n_buffers; b++) {
        bool fresh = e->program->buffers[b].home == FNN_FRESH;
        e->facts.fresh_bytes += fresh ? e->bytes[b] : 0;
    }
}

fnn_status fnn_exec_new(const fnn_program *program, const fnn_tensor *arguments,
                        int64_t batch, int threads, fnn_exec **out, fnn_error *err) {
    *out = NULL;
    fnn_exec *e = allocate(program);
    if (e == NULL) {
        return fnn_fail(err, FNN_ERR_MEMORY, "plan: expected memory to bind it");
    }
    fnn_tensor **ins = e->ins;
    fnn_attr *attrs = e->attrs;
    fnn_status status = set_given(e, arguments, batch, err);
    for (int i = 0; i < program->n_calls && status == FNN_OK; i++) {
        status = infer(e, i, batch, threads, &ins, &attrs, err);
    }
    if (status == FNN_OK) {
        measure(e);
        status = fnn_exec_lay_out(e, err);
    }
    if (status != FNN_OK) {
        fnn_exec_free(e);
        return status;
    }
    sort_by_home(e);
    sum_up(e);
    *out = e;
    return FNN_OK;
}

/* ---- facts ------------------------------------------------------------------------ */

const fnn_exec_facts *fnn_exec_facts_of(const fnn_exec *e) { return &e->facts; }

const fnn_tensor *fnn_exec_value(const fnn_exec *e, int value) {
    return &e->slots[value];
}

int64_t fnn_exec_offset(const fnn_exec *e, int value) { return e->offsets[value]; }

int64_t fnn_exec_fresh_bytes(const fnn_exec *e, int fresh) {
    for (int b = 0; b < e->program->n_buffers; b++) {
        const fnn_plan_buffer *buffer = &e->program->buffers[b];
        if (buffer->home == FNN_FRESH && buffer->index == fresh) {
            return e->bytes[b];
        }
    }
    return 0;
}

int64_t fnn_exec_place(const fnn_exec *e, int buffer) {
    return in_arena(e, buffer) ? e->places[owner(e, buffer)].place : -1;
}
