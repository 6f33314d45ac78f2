/* Executables: a program bound to shapes, and the loop that runs it.
 *
 * Binding goes through the ops' own infer rules with addresses that nobody reads: each
 * buffer seems to start at BASE, so that the data pointers that views compute are offsets.
 * Then internal buffers get their places, and the calls lie ready: bind_* adds an offset
 * to a pointer for each value of a buffer, and a run is calls alone. */
#include "plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ops/ops.h"
#include "plan/arena.h"
#include "plan/group.h"

#define BASE ((char *)((uintptr_t)1 << 40))

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

static fnn_home home_of(const fnn_exec *e, int value) {
    int buffer = e->program->values[value].buffer;
    return e->program->buffers[buffer].home;
}

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
        if (beside[0].dtype != out->dtype || beside[0].ndim != out->ndim ||
            memcmp(beside[0].shape, out->shape, sizeof(int64_t) * (size_t)out->ndim) !=
                0) {
            return fnn_fail(err, FNN_ERR_VALUE, "%s: expected out of %s %s, got %s %s",
                            op->name, fnn_dtype_name(beside[0].dtype),
                            FNN_SHAPE(&beside[0]), fnn_dtype_name(out->dtype),
                            FNN_SHAPE(out));
        }
        c->out = out;
    }
    return FNN_OK;
}

static bool runs(const fnn_call *c) { return !(c->op->flags & FNN_VIEW); }

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

/* ---- memory ----------------------------------------------------------------------- */

static int owner(const fnn_exec *e, int buffer) {
    while (e->merged[buffer] != buffer) {
        buffer = e->merged[buffer];
    }
    return buffer;
}

static bool in_arena(const fnn_exec *e, int buffer) {
    return buffer >= 0 && e->program->buffers[buffer].home == FNN_ARENA;
}

static bool same_layout(const fnn_tensor *a, const fnn_tensor *b) {
    return a->dtype == b->dtype && a->ndim == b->ndim && a->data == b->data &&
           memcmp(a->shape, b->shape, sizeof(int64_t) * (size_t)a->ndim) == 0 &&
           memcmp(a->stride, b->stride, sizeof(int64_t) * (size_t)a->ndim) == 0;
}

/* Whether call i, and those of its group before it, read a buffer nowhere but where i
 * writes: in a group, what i writes of one block comes before what they read of the next. */
static bool read_alike(const fnn_exec *e, int i, int buffer) {
    const fnn_tensor *to = e->calls[i].out;
    for (int j = e->steps[e->step_of[i]].first; j <= i; j++) {
        const fnn_plan_call *given = &e->program->calls[j];
        for (int k = 0; k < given->n_in; k++) {
            int v = given->in[k];
            if (v >= 0 && e->program->values[v].buffer == buffer &&
                !same_layout(e->calls[j].in[k], to)) {
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
            e->bytes[from] != e->bytes[to] || !same_layout(c->in[k], c->out)) {
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
            return fnn_fail(err, FNN_ERR_VALUE,
                            "plan: buffer %d of %lld bytes at %lld lies over another",
                            a, (long long)bytes, (long long)from);
        }
    }
    return FNN_OK;
}
#endif

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
    usage *u = malloc(((size_t)program->n_buffers + 1) * sizeof *u);
    if (status == FNN_OK && u == NULL) {
        status = fnn_fail(err, FNN_ERR_MEMORY, "plan: expected memory to bind it");
    }
    if (status == FNN_OK) {
        measure(e);
        find_usage(e, u);
        status = make_steps(e, u, err);
    }
    if (status == FNN_OK) {
        status = place(e, u, err);
    }
#ifdef FNN_DEBUG
    if (status == FNN_OK) {
        status = check_places(e, u, err);
    }
#endif
    free(u);
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
                err, FNN_ERR_VALUE,
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
