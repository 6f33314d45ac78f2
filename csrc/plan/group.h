/* A group: consecutive elementwise calls over one index space, run block by block, so
 * that what one makes the next still finds in cache; at the end there may be reductions
 * over the leading dimensions, as of a bias gradient. Every element sees the arithmetic
 * of its calls one by one: the bits are those of running them in order.
 *
 * Prepared once, where the shapes are known; then run with whatever data the tensors
 * point to. */
#ifndef FNN_GROUP_H
#define FNN_GROUP_H

#include "core.h"

typedef struct {
    /* Inferred calls: inputs and outputs have dtypes, shapes and strides. A call reads
     * the result of an earlier one where c->in[k] == &earlier->out[0], the same pointer. */
    fnn_call *const *calls;
    int n;
    /* [n]: result i is read by this group alone and has no memory: its data is unused. */
    const bool *scratch;
} fnn_group;

/* A group cut into blocks. It keeps pointers to the tensors, c->in[k] and &c->out[0], but
 * not to the fnn_group or its arrays. */
typedef struct fnn_group_plan fnn_group_plan;

/* Bytes of the plan of n calls. */
int64_t fnn_group_bytes(int n);
/* Fills p, for as many threads at most. Data pointers are not read. False where the group
 * cannot run in blocks: the caller then gives scratch results memory and runs the calls
 * one after another. It can where
 *   - every call is elementwise (fnn_run_map and its kin; a copy to its own dtype; not in
 *     place), with a result of the group's shape, contiguous; or a sum, mean, amax or amin
 *     of a float result of such a call over leading dimensions, the same number of
 *     elements in each, which no call of the group reads and which is not scratch;
 *   - every operand is a result of an earlier call, or one element for all, or, broadcast
 *     to the shape, repeats a contiguous run: all of it (the same shape), a row for all, a
 *     column, a channel. Other dtypes than the kernel's are converted on the way. */
bool fnn_group_prepare(fnn_group_plan *p, const fnn_group *g, int threads);
/* Bytes that run needs, aligned to FNN_ALIGN. */
int64_t fnn_group_workspace(const fnn_group_plan *p);
/* Runs it; nothing can fail. The tensors have the dtypes, shapes and strides that they had
 * then, and data now. No memory that a call writes may overlap an operand or another
 * result, save that a result may lie exactly over an operand of its own shape and element
 * size that is not read by a later call. */
void fnn_group_run(const fnn_group_plan *p, void *workspace);

#endif
