/* A group: consecutive elementwise calls over one index space, run block by block, so
 * that what one makes the next still finds in cache; at the end there may be a sum over
 * rows. Every element sees the arithmetic of its calls one by one: the bits are those of
 * running them in order. */
#ifndef FNN_GROUP_H
#define FNN_GROUP_H

#include "core.h"

typedef struct {
    /* Bound calls: inputs and outputs have shapes, strides and data. A member reads the
     * result of an earlier one where c->in[k] == &earlier->out[0], the same pointer. */
    fnn_call *const *calls;
    int n;
    /* [n]: result i is read by this group alone and has no memory: out[0].data is NULL. */
    const bool *scratch;
} fnn_group;

/* Whether the group can run in blocks: known kernels, one shape, operands that lie
 * linear, constant, or as one row for all. If not, the caller gives scratch results
 * memory and runs the calls one after another. */
bool fnn_group_fits(const fnn_group *g);
int64_t fnn_group_workspace(const fnn_group *g, int threads);
fnn_status fnn_group_run(const fnn_group *g, void *workspace, int threads,
                         fnn_error *err);

#endif
