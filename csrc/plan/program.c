/* Programs: arrays, and nothing else. */
#include "plan/plan.h"

#include <stdlib.h>

fnn_program *fnn_program_new(int buffers, int values, int calls, int arguments,
                             int groups) {
    fnn_program *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    p->n_buffers = buffers;
    p->n_values = values;
    p->n_calls = calls;
    p->n_arguments = arguments;
    p->n_groups = groups;
    p->buffers = calloc((size_t)buffers + 1, sizeof *p->buffers);
    p->values = calloc((size_t)values + 1, sizeof *p->values);
    p->calls = calloc((size_t)calls + 1, sizeof *p->calls);
    p->arguments = calloc((size_t)arguments + 1, sizeof *p->arguments);
    p->groups = calloc((size_t)groups + 1, sizeof *p->groups);
    if (!p->buffers || !p->values || !p->calls || !p->arguments || !p->groups) {
        fnn_program_free(p);
        return NULL;
    }
    return p;
}

bool fnn_program_call(fnn_program *p, int call, const fnn_op *op, int n_in,
                      int n_scales) {
    fnn_plan_call *c = &p->calls[call];
    c->op = op;
    c->n_in = n_in;
    c->n_scales = n_scales;
    c->in = calloc((size_t)n_in + 1, sizeof *c->in);
    c->attr = calloc((size_t)op->n_attr + 1, sizeof *c->attr);
    c->scales = calloc((size_t)n_scales + 1, sizeof *c->scales);
    return c->in && c->attr && c->scales;
}

void fnn_program_free(fnn_program *p) {
    if (p == NULL) {
        return;
    }
    for (int i = 0; p->calls && i < p->n_calls; i++) {
        free(p->calls[i].in);
        free(p->calls[i].attr);
        free(p->calls[i].scales);
    }
    for (int i = 0; p->buffers && i < p->n_buffers; i++) {
        fnn_storage_release(p->buffers[i].storage);
    }
    free(p->buffers);
    free(p->values);
    free(p->calls);
    free(p->arguments);
    free(p->groups);
    free(p);
}
