/* Convolution of images, (n, ci, h, w) to (n, co, oh, ow), and its two gradients.
 *
 *     y[b][o][i][j] = sum over c, u, v of
 *         weight[o][c][u][v] * x[b][c][i sh - top + u dh][j sw - left + v dw]
 *
 * where x is 0 outside of the image. Dimension 1 is cut into `groups`: output channels of
 * a group see the input channels of that group, and weight is (co, ci / groups, kh, kw). A
 * sequence is an image of height 1.
 *
 * Three directions share one description of the layer:
 *     forward   y  (n, co, oh, ow) from x and weight, then the epilogue
 *     input     gx (n, ci, h, w) from gy, of y's shape, and weight, then the epilogue;
 *               this is transposed convolution
 *     weight    gw (co, ci / groups, kh, kw) from x and gy
 *
 * All tensors are contiguous and none that is written overlaps another. */
#ifndef FNN_CONV_H
#define FNN_CONV_H

#include "core.h"
#include "kernels.h"

typedef struct {
    int dtype;   /* FNN_FLOAT32 or FNN_FLOAT64 */
    int threads; /* most to use; the workspace is made for them */
    int64_t n, groups;
    int64_t ci, h, w;   /* of x */
    int64_t co, oh, ow; /* of y */
    int64_t kh, kw, sh, sw, dh, dw;
    /* Zeros before, at least 0. Those behind follow from oh and ow, and may be negative,
     * which crops. */
    int64_t top, left;
    fnn_conv_epilogue epilogue; /* of forward and input */
} fnn_conv_args;

/* Which algorithm computes a direction. The choice depends on dtype and on what a sample
 * and the layer are like, never on n, threads or ISA: another one rounds differently. */
typedef enum {
    FNN_CONV_AUTO,
    FNN_CONV_GEMM,      /* implicit GEMM: every layer */
    FNN_CONV_WINOGRAD,  /* 3x3, stride 1 or 2, dilation 1, one group */
    FNN_CONV_DEPTHWISE, /* one input channel a group */
} fnn_conv_algorithm;

typedef enum { FNN_CONV_FORWARD, FNN_CONV_INPUT, FNN_CONV_WEIGHT } fnn_conv_direction;

/* Each algorithm, in its file: bytes of workspace, and the run. a and b are what the
 * direction reads: x and weight; gy and weight; x and gy. Sizes may be 0: the result is
 * then zeros, past the epilogue. */
#define FNN_CONV_ALGORITHM(name)                                                    \
    int64_t fnn_##name##_workspace(const fnn_conv_args *g, fnn_conv_direction way); \
    void fnn_##name##_run(const fnn_conv_args *g, fnn_conv_direction way,           \
                          const void *a, const void *b, void *result,               \
                          void *workspace);
FNN_CONV_ALGORITHM(implicit)
FNN_CONV_ALGORITHM(winograd)
FNN_CONV_ALGORITHM(depthwise)
#undef FNN_CONV_ALGORITHM

#endif
