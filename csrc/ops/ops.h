/* What the op families share: the launchers that ops.def names, and helpers. */
#ifndef FNN_OPS_H
#define FNN_OPS_H

#include "core.h"
#include "kernels.h"

/* ---- named in ops.def --------------------------------------------------------------- */

#define INFER(name) fnn_status fnn_infer_##name(fnn_call *c);
INFER(arith)
INFER(arith_no_bool)
INFER(bound)
INFER(sub)
INFER(pow)
INFER(bits)
INFER(compare)
INFER(where)
INFER(to_float)
INFER(float)
INFER(copy)
INFER(inplace)
INFER(reshape)
INFER(permute)
INFER(expand)
INFER(slice)
INFER(sum)
INFER(mean)
INFER(extremum)
INFER(arg)
INFER(total_norm)
INFER(scale)
INFER(all_finite)
INFER(matmul)
INFER(linear)
INFER(panels)
INFER(linear_panels)
INFER(conv)
INFER(conv_transpose)
INFER(conv_weight)
INFER(cat)
INFER(index_select)
INFER(index_add)
INFER(unslice)
INFER(as_index)
INFER(gather)
INFER(scatter)
INFER(index_copy)
INFER(nonzero)
INFER(argsort)
INFER(cumsum)
INFER(softmax)
INFER(softmax_backward)
INFER(cross_entropy)
INFER(cross_entropy_backward)
INFER(nll)
INFER(nll_backward)
INFER(attention)
INFER(attention_backward)
INFER(batch_norm)
INFER(batch_norm_backward)
INFER(scale_shift)
INFER(layer_norm)
INFER(layer_norm_backward)
INFER(group_norm)
INFER(group_norm_backward)
INFER(max_pool)
INFER(max_pool_backward)
INFER(max_pool_index)
INFER(max_pool_gather)
INFER(avg_pool)
INFER(avg_pool_backward)
INFER(resize)
INFER(resize_backward)
INFER(pad)
INFER(pad_backward)
INFER(unfold)
INFER(fold)
INFER(random)
INFER(permutation)
INFER(dropout)
INFER(bernoulli)
INFER(step)
INFER(embedding)
INFER(sum_repeats)
INFER(grid_sample)
INFER(grid_sample_input)
INFER(grid_sample_grid)
INFER(affine_sample)
INFER(filter2)
INFER(rnn)
INFER(rnn_backward)
#undef INFER

#define WORKSPACE(name) int64_t fnn_workspace_##name(const fnn_call *c);
WORKSPACE(reduce)
WORKSPACE(total_norm)
WORKSPACE(argsort)
WORKSPACE(matmul)
WORKSPACE(index_select)
WORKSPACE(linear)
WORKSPACE(conv)
WORKSPACE(cross_entropy)
WORKSPACE(cross_entropy_backward)
WORKSPACE(nll)
WORKSPACE(attention)
WORKSPACE(attention_backward)
WORKSPACE(batch_norm)
WORKSPACE(layer_norm)
WORKSPACE(layer_norm_backward)
WORKSPACE(resize)
WORKSPACE(resize_backward)
WORKSPACE(max_pool)
WORKSPACE(max_pool_backward)
WORKSPACE(avg_pool)
WORKSPACE(avg_pool_backward)
WORKSPACE(filter2)
WORKSPACE(rnn)
WORKSPACE(rnn_backward)
WORKSPACE(step)
WORKSPACE(sum_repeats)
#undef WORKSPACE

#define RUN(name) fnn_status fnn_run_##name(fnn_call *c);
RUN(map)
RUN(divide)
RUN(binary_cross_entropy)
RUN(copy)
RUN(copy_)
RUN(reduce)
RUN(mean)
RUN(arg)
RUN(total_norm)
RUN(scale)
RUN(all_finite)
RUN(matmul)
RUN(linear)
RUN(panels)
RUN(conv)
RUN(cat)
RUN(index_select)
RUN(index_add)
RUN(unslice)
RUN(as_index)
RUN(gather)
RUN(scatter)
RUN(index_copy)
RUN(nonzero)
RUN(argsort)
RUN(cumsum)
RUN(softmax)
RUN(softmax_backward)
RUN(cross_entropy)
RUN(cross_entropy_backward)
RUN(nll)
RUN(nll_backward)
RUN(attention)
RUN(attention_backward)
RUN(batch_norm)
RUN(batch_norm_backward)
RUN(scale_shift)
RUN(layer_norm)
RUN(layer_norm_backward)
RUN(max_pool)
RUN(max_pool_backward)
RUN(max_pool_index)
RUN(max_pool_gather)
RUN(avg_pool)
RUN(avg_pool_backward)
RUN(resize)
RUN(resize_backward)
RUN(pad)
RUN(pad_backward)
RUN(unfold)
RUN(fold)
RUN(uniform)
RUN(normal)
RUN(permutation)
RUN(dropout)
RUN(bernoulli)
RUN(step)
RUN(embedding)
RUN(sum_repeats)
RUN(grid_sample)
RUN(grid_sample_input)
RUN(grid_sample_grid)
RUN(affine_sample)
RUN(filter2)
RUN(rnn)
RUN(rnn_backward)
#undef RUN

/* Optimizers, see optim.c. */
enum {
    FNN_SGD,
    FNN_ADAGRAD,
    FNN_ADADELTA,
    FNN_RMSPROP,
    FNN_ADAM,
    FNN_NADAM,
    FNN_RADAM,
    FNN_SGD_ROWS, /* from here on, of rows: see rows.c */
    FNN_ADAGRAD_ROWS,
    FNN_ADAM_ROWS,
    FNN_SPARSE_ADAM_ROWS
};

/* ---- shapes and dtypes (infer.c) ---------------------------------------------------- */

/* The dtype of mixing the inputs [first, n_in): tensors with dimensions decide within
 * their category, then zero-dimensional tensors, then Python numbers (PyTorch's rule). */
int fnn_promote(const fnn_call *c, int first);
/* out 0 = broadcast shape of all inputs, contiguous. */
fnn_status fnn_broadcast(fnn_call *c);
/* Fails unless shape has a size below 2^62 bytes. */
fnn_status fnn_check_size(const fnn_call *c, const fnn_tensor *t);
/* *dim into [0, ndim), from [-ndim, ndim). */
fnn_status fnn_check_dim(const fnn_call *c, const fnn_tensor *t, int64_t *dim);
fnn_status fnn_expect_float(const fnn_call *c, int input, const char *name);
fnn_status fnn_expect_same_dtype(const fnn_call *c, int a, int b, const char *names);
fnn_status fnn_expect_integer(const fnn_call *c, int input, const char *name);
/* Fails unless the input lies contiguous. */
fnn_status fnn_expect_contiguous(const fnn_call *c, int input, const char *name);
/* Fails where x is written and elements of it share memory. */
fnn_status fnn_expect_own_memory(const fnn_call *c, const fnn_tensor *x);
/* t = x without its storage: dtype, shape, contiguous. */
void fnn_like(fnn_tensor *t, const fnn_tensor *x, int dtype);

/* Which fnn_conv_algorithm a convolution takes, its result being inferred (conv.c). */
int fnn_conv_chosen(const fnn_call *c);

/* ---- moving data (convert.c, map.c) ------------------------------------------------- */

/* dst[i] = (dst dtype) src[i], i < n; strides in bytes. Floats go to integers by
 * truncation; what does not fit, and NaN, becomes the lowest int64, then wraps. */
void fnn_convert(void *dst, int dst_dtype, ptrdiff_t dst_step, const void *src,
                 int src_dtype, ptrdiff_t src_step, ptrdiff_t n);
/* n elements from logical (row-major) position pos of t into contiguous dst. */
void fnn_gather(void *dst, int dst_dtype, const fnn_tensor *t, int64_t pos,
                ptrdiff_t n);
/* dst = src with conversion and broadcasting; any strides; may run in parallel. */
void fnn_copy(const fnn_tensor *dst, const fnn_tensor *src);
/* Bytes for copies of the inputs that do not lie contiguous, but for those that are written.
 */
int64_t fnn_dense_bytes(const fnn_call *c);
/* Input i's elements, contiguous: where they are, or copied to *room, which moves on; NULL
 * where the input is absent. */
const char *fnn_dense(const fnn_call *c, int i, char **room);
/* x = x factor, for a factor of shape (); any strides; may run in parallel. */
void fnn_multiply(const fnn_tensor *x, const fnn_tensor *factor);
/* Narrows t to [start, start + size) of dim. */
void fnn_narrow(fnn_tensor *t, int64_t dim, int64_t start, int64_t size);
/* Merges neighbouring dimensions that are one run in memory; drops size 1. */
void fnn_coalesce(fnn_tensor *t);
/* Integer and bool forms of the map kernels; NULL where there is none. */
fnn_map_fn fnn_map_int(int kernel, int dtype);
/* The kernel for a dtype. */
fnn_map_fn fnn_map_kernel(int kernel, int dtype);
/* The dtype that an elementwise call calculates in, and what the kernel then wants its
 * output (k = 0) and its inputs (from 1 on) to be. */
int fnn_map_dtype(const fnn_call *c);
int fnn_map_operand_dtype(int kernel, int dtype, int k);
/* Whether results of a call whose operands have so many bytes had better go past the
 * caches (stream.c). */
bool fnn_streams(double bytes);
/* kernel(n, y, x, step) past the caches; y and x are of dtype. */
void fnn_stream_map(fnn_map_fn kernel, int dtype, ptrdiff_t n, void *y,
                    const void *const *x, const ptrdiff_t *step, int n_in);
/* After the last of these, before another thread may read. */
void fnn_stream_end(void);
#define FNN_MAP_INPUTS 4    /* of a kernel, at most */
#define FNN_MAP_GRAIN 16384 /* elements that pay for a thread */

/* ---- reductions (reduce.c) ---------------------------------------------------------- */

/* Sum of n contiguous floats in the fixed tree; scratch: fnn_chunks(n) elements. */
static inline int64_t fnn_chunks(int64_t n) { return (n + FNN_CHUNK - 1) / FNN_CHUNK; }
void fnn_sum_contiguous(int dtype, int64_t n, const void *x, void *y, void *scratch);
/* The kept and the reduced dimensions of c->in[0], as c's dims say. */
void fnn_reduce_split(const fnn_call *c, fnn_tensor *kept, fnn_tensor *reduced);
/* y[j] = reduction of one chunk: x[i * ld + j], i < n <= FNN_CHUNK, for j < cols. */
void fnn_reduce_chunk(int op, int dtype, int64_t n, int64_t cols, const char *x,
                      int64_t ld, char *y);
/* y[outputs] from its chunks: nothing to do for one (it is in y), zeros for none, else
 * partial[chunks][outputs] joined in the tree; partial is used up. */
void fnn_reduce_join_chunks(int op, int dtype, int64_t chunks, int64_t outputs,
                            char *partial, char *y);
/* y /= count: a sum becomes a mean. */
void fnn_reduce_divide(const fnn_tensor *y, int64_t count);

/* Whether every element of x is in [0, 1]; if not, *low and *high are its least and largest
 * element, NaN where one is (losses.c). */
bool fnn_in_unit(const fnn_tensor *x, double *low, double *high);

/* y = reduction of integers or bool over the reduced dimensions, some elements each; both
 * coalesced, y contiguous in kept's order (reduce_int.c). */
void fnn_reduce_integers(int op, const fnn_tensor *kept, const fnn_tensor *reduced,
                         const fnn_tensor *y);

#define FNN_TRY(expression)                \
    do {                                   \
        fnn_status status_ = (expression); \
        if (status_ != FNN_OK) {           \
            return status_;                \
        }                                  \
    } while (0)

#endif
