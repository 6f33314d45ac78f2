/* The loop that runs an executable. The calls lie ready: bind_* adds an offset to a pointer
 * for each value of a buffer, and a run is calls alone. */
#include "plan/exec.h"

#include <time.h>

#include "ops/ops.h"

/* ---- binding ---------------------------------------------------------------------- */

static void bind(fnn_exec *e, int from, int to, char *data) {
    for (int i = from; i < to; i++) {
        int v = e->by_home[i];
        e->slots[v].data = data + e->offsets[v];
        e->base[e->program->values[v].buffer] = data;
    }
}

void fnn_exec_bind_argument(fnn_exec *e, int argument, char *data) {
    bind(e, e->argument[argument], e->argument[argument + 1], data);
}

void fnn_exec_bind_fresh(fnn_exec *e, int fresh, char *data) {
    bind(e, e->fresh[fresh], e->fresh[fresh + 1], data);
}

void fnn_exec_bind_arena(fnn_exec *e, char *arena) {
    for (int i = e->arena; i < e->arena_end; i++) {
        int v = e->by_home[i], b = e->program->values[v].buffer;
        int64_t at = e->places[owner(e, b)].place;
        e->base[b] = arena + (at < 0 ? 0 : at);
        e->slots[v].data = e->base[b] + e->offsets[v];
    }
    e->workspace = arena + e->facts.arena_bytes - e->facts.workspace_bytes;
    for (int i = 0; i < e->program->n_calls; i++) {
        e->calls[i].workspace = e->workspace;
    }
}

/* ---- running ---------------------------------------------------------------------- */

#ifdef FNN_DEBUG
/* Every operand of call i lies within its buffer, and somewhere at all. */
static fnn_status check_operands(const fnn_exec *e, int i, fnn_error *err) {
    const fnn_program *p = e->program;
    const fnn_plan_call *c = &p->calls[i];
    for (int k = 0; k < c->n_in + c->op->n_out; k++) {
        int v = k < c->n_in ? c->in[k] : c->out[k - c->n_in];
        int b = v < 0 ? -1 : p->values[v].buffer;
        bool scratch = b >= 0 && e->places[b].bytes < 0;
        if (b < 0 || scratch || fnn_numel(&e->slots[v]) == 0) {
            continue;
        }
        const char *base =
            p->buffers[b].home == FNN_HELD ? p->buffers[b].storage->data : e->base[b];
        int64_t bytes = p->buffers[b].home == FNN_HELD ? p->buffers[b].storage->nbytes
                                                       : e->bytes[b];
        const char *lo, *hi;
        fnn_byte_range(&e->slots[v], &lo, &hi);
        if (base == NULL || lo < base || hi > base + bytes) {
            return fnn_fail(
                err, FNN_ERR_BUG,
                "plan: call %d, %s: operand %d of shape %s lies outside its "
                "buffer of %lld bytes",
                i, c->op->name, k, FNN_SHAPE(&e->slots[v]), (long long)bytes);
        }
    }
    return FNN_OK;
}
#endif

static inline fnn_status run_step(fnn_exec *e, const exec_step *s, fnn_error *err) {
#ifdef FNN_DEBUG
    for (int i = s->first; i < s->end; i++) {
        FNN_TRY(check_operands(e, i, err));
    }
#endif
    if (s->group) {
        fnn_group_run(s->group, e->workspace);
        return FNN_OK;
    }
    s->call->err = err;
    return s->run(s->call);
}

fnn_status fnn_exec_run(fnn_exec *e, int *failed, fnn_error *err) {
    const exec_step *end = e->steps + e->facts.steps;
    for (const exec_step *s = e->steps; s < end; s++) {
        fnn_status status = run_step(e, s, err);
        if (status != FNN_OK) {
            *failed = s->first;
            return status;
        }
    }
    return FNN_OK;
}

int64_t fnn_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

fnn_status fnn_exec_profile(fnn_exec *e, int64_t *nanoseconds, int *first_call,
                            fnn_error *err) {
    int64_t before = fnn_now();
    for (int i = 0; i < e->facts.steps; i++) {
        FNN_TRY(run_step(e, &e->steps[i], err));
        int64_t after = fnn_now();
        nanoseconds[i] = after - before;
        first_call[i] = e->steps[i].first;
        before = after;
    }
    return FNN_OK;
}
