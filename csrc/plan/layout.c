/* How an executable uses memory: which calls are one step, which results lie where an
 * operand was, and where in the arena everything else lies. */
#include "plan/exec.h"

#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

/* ---- in place ----------------------------------------------------------------------- */

/* Whether call i, and those of its group before it, read a buffer nowhere but where i
 * writes: in a group, what i writes of one block comes before what they read of the next. */
static bool read_alike(const fnn_exec *e, int i, int buffer) {
    const fnn_tensor *to = e->calls[i].out;
    for (int j = e->steps[e->step_of[i]].first; j <= i; j++) {
        const fnn_plan_call *given = &e->program->calls[j];
        for (int k = 0; k < given->n_in; k++) {
            int v = given->in[k];
            if (v >= 0 && e->program->values[v].buffer == buffer &&
                !fnn_same_layout(e->calls[j].in[k], to)) {
                return false;
            }
        }
    }
    return true;
}

/* An elementwise call may write where an operand lies that dies in it, if both lie
 * alike and it reads that memory in no other way. last: the last call that uses each
 * buffer. Only the first definition of a result may move: begun [buffers]. */
static void share_with_operand(fnn_exec *e, int i, const int *last, const bool *begun) {
    const fnn_plan_call *given = &e->program->calls[i];
    const fnn_plan_value *values = e->program->values;
    const fnn_call *c = &e->calls[i];
    if (!(c->op->flags & FNN_ELEMENTWISE) || (c->op->flags & FNN_INPLACE) ||
        given->into || c->op->n_out != 1) {
        return;
    }
    int to = values[given->out[0]].buffer;
    if (!in_arena(e, to) || begun[to] || e->bytes[to] == 0 || e->scratch[i]) {
        return;
    }
    for (int k = 0; k < c->n_in; k++) {
        int from = given->in[k] < 0 ? -1 : values[given->in[k]].buffer;
        if (!in_arena(e, from) || e->places[from].bytes < 0 || last[from] != i ||
            e->bytes[from] != e->bytes[to] || !fnn_same_layout(c->in[k], c->out)) {
            continue;
        }
        if (read_alike(e, i, from) && owner(e, from) != to) {
            e->merged[to] = owner(e, from);
            return;
        }
    }
}

/* ---- steps ------------------------------------------------------------------------ */

typedef struct {
    int first, last; /* calls that use it; first < 0: none */
    int values;      /* how many values lie in it */
} usage;

static void use(usage *u, int buffer, int call) {
    if (buffer >= 0) {
        u[buffer].first = u[buffer].first < 0 ? call : u[buffer].first;
        u[buffer].last = call;
    }
}

/* Visits the buffers of a call that runs. */
static void use_all(const fnn_exec *e, int i, usage *u) {
    const fnn_plan_call *c = &e->program->calls[i];
    for (int k = 0; k < c->n_in; k++) {
        use(u, c->in[k] < 0 ? -1 : e->program->values[c->in[k]].buffer, i);
    }
    for (int k = 0; k < c->op->n_out; k++) {
        use(u, e->program->values[c->out[k]].buffer, i);
    }
}

static void find_usage(const fnn_exec *e, usage *u) {
    const fnn_program *p = e->program;
    for (int b = 0; b < p->n_buffers; b++) {
        u[b] = (usage){-1, -1, 0};
    }
    for (int v = 0; v < p->n_values; v++) {
        if (p->values[v].buffer >= 0) {
            u[p->values[v].buffer].values++;
        }
    }
    for (int i = 0; i < p->n_calls; i++) {
        if (runs(&e->calls[i])) {
            use_all(e, i, u);
        }
    }
}

/* Calls [from, to) as one step that runs in blocks; false where that cannot be. */
static bool add_group(fnn_exec *e, int from, int to, const usage *u, fnn_call **calls) {
    const fnn_program *p = e->program;
    for (int i = from; i < to; i++) {
        if (!runs(&e->calls[i]) || e->calls[i].op->n_out != 1) {
            return false;
        }
    }
    for (int i = from; i < to; i++) {
        int b = p->values[p->calls[i].out[0]].buffer;
        e->scratch[i] = in_arena(e, b) && u[b].first == i && u[b].last < to &&
                        u[b].last > i && u[b].values == 1;
        calls[i - from] = &e->calls[i];
    }
    fnn_group group = {calls, to - from, e->scratch + from};
    fnn_group_plan *plan = malloc((size_t)fnn_group_bytes(to - from));
    if (plan == NULL || !fnn_group_prepare(plan, &group, e->calls[from].threads)) {
        free(plan);
        memset(e->scratch + from, 0, (size_t)(to - from));
        return false;
    }
    e->steps[e->facts.steps++] =
        (exec_step){.call = calls[0], .group = plan, .first = from, .end = to};
    return true;
}

/* Each call that runs is a step, each group one; an elementwise call alone is a group of
 * one, since that is prepared once. */
static fnn_status make_steps(fnn_exec *e, const usage *u, fnn_error *err) {
    const fnn_program *p = e->program;
    fnn_call **calls = malloc(((size_t)p->n_calls + 1) * sizeof *calls);
    if (calls == NULL) {
        return fnn_fail(err, FNN_ERR_MEMORY, "plan: expected memory to bind it");
    }
    for (int i = 0, g = 0; i < p->n_calls;) {
        fnn_call *c = &e->calls[i];
        while (g < p->n_groups && p->groups[g][0] < i) {
            g++;
        }
        int end = i + 1;
        if (g < p->n_groups && p->groups[g][0] == i &&
            add_group(e, i, p->groups[g][1], u, calls)) {
            end = p->groups[g][1];
        } else if (runs(c) && !((c->op->flags & FNN_ELEMENTWISE) &&
                                add_group(e, i, i + 1, u, calls))) {
            e->steps[e->facts.steps++] = (exec_step){
                .run = c->op->run[FNN_CPU_DEVICE], .call = c, .first = i, .end = end};
        }
        for (; i < end; i++) {
            e->step_of[i] = runs(&e->calls[i]) ? e->facts.steps - 1 : -1;
        }
    }
    free(calls);
    return FNN_OK;
}

/* ---- places ----------------------------------------------------------------------- */

/* In-place results, lifetimes in steps, places. */
static fnn_status place(fnn_exec *e, const usage *u, fnn_error *err) {
    const fnn_program *p = e->program;
    size_t n = (size_t)p->n_buffers + 1;
    int *last = malloc(n * sizeof *last);
    bool *begun = calloc(n, sizeof *begun);
    if (!last || !begun) {
        free(last);
        free(begun);
        return fnn_fail(err, FNN_ERR_MEMORY, "plan: expected memory to lay it out");
    }
    for (int b = 0; b < p->n_buffers; b++) {
        last[b] = u[b].last;
        e->merged[b] = b;
        e->places[b] = (fnn_lifetime){.bytes = e->bytes[b], .first = 1, .last = 0};
    }
    for (int i = 0; i < p->n_calls; i++) {
        if (e->scratch[i]) {
            e->places[p->values[p->calls[i].out[0]].buffer].bytes = -1; /* no memory */
        }
    }
    for (int i = 0; i < p->n_calls; i++) {
        const fnn_plan_call *c = &p->calls[i];
        if (!runs(&e->calls[i])) {
            continue;
        }
        share_with_operand(e, i, last, begun);
        for (int k = 0; k < c->n_in; k++) {
            if (c->in[k] >= 0 && p->values[c->in[k]].buffer >= 0) {
                begun[p->values[c->in[k]].buffer] = true;
            }
        }
        for (int k = 0; k < c->op->n_out; k++) {
            begun[p->values[c->out[k]].buffer] = true;
        }
    }
    for (int b = 0; b < p->n_buffers; b++) {
        if (!in_arena(e, b) || u[b].first < 0 || e->places[b].bytes < 0) {
            continue;
        }
        fnn_lifetime *life = &e->places[owner(e, b)];
        int from = e->step_of[u[b].first], to = e->step_of[u[b].last];
        bool empty = life->first > life->last;
        life->first = empty || from < life->first ? from : life->first;
        life->last = empty || to > life->last ? to : life->last;
        e->facts.unshared_bytes += e->bytes[b];
    }
    free(last);
    free(begun);
    e->facts.arena_bytes = fnn_arena_layout(e->places, p->n_buffers);
    return e->facts.arena_bytes >= 0
               ? FNN_OK
               : fnn_fail(err, FNN_ERR_MEMORY, "plan: expected memory to lay it out");
}

#ifdef FNN_DEBUG
/* Fails where two buffers share bytes while both are in use: neither lifetimes nor places
 * are taken from what laid them out. In one memory, one may begin in the call in which
 * another ends. */
static fnn_status check_places(const fnn_exec *e, const usage *u, fnn_error *err) {
    for (int a = 0; a < e->program->n_buffers; a++) {
        int64_t from = fnn_exec_place(e, a), bytes = e->bytes[a];
        if (from < 0 || bytes == 0) {
            continue;
        }
        bool apart = from + bytes <= e->facts.arena_bytes;
        for (int b = 0; b < a && apart; b++) {
            int64_t at = fnn_exec_place(e, b);
            if (at < 0 || at + e->bytes[b] <= from || from + bytes <= at) {
                continue;
            }
            bool one = owner(e, a) == owner(e, b);
            const int *when = e->step_of;
            apart = one ? u[a].last <= u[b].first || u[b].last <= u[a].first
                        : when[u[a].last] < when[u[b].first] ||
                              when[u[b].last] < when[u[a].first];
        }
        if (!apart) {
            return fnn_fail(err, FNN_ERR_BUG,
                            "plan: buffer %d of %lld bytes at %lld lies over another",
                            a, (long long)bytes, (long long)from);
        }
    }
    return FNN_OK;
}
#endif

fnn_status fnn_exec_lay_out(fnn_exec *e, fnn_error *err) {
    usage *u = malloc(((size_t)e->program->n_buffers + 1) * sizeof *u);
    if (u == NULL) {
        return fnn_fail(err, FNN_ERR_MEMORY, "plan: expected memory to bind it");
    }
    find_usage(e, u);
    fnn_status status = make_steps(e, u, err);
    if (status == FNN_OK) {
        status = place(e, u, err);
    }
#ifdef FNN_DEBUG
    if (status == FNN_OK) {
        status = check_places(e, u, err);
    }
#endif
    free(u);
    return status;
}
