/* What implicit GEMM reads: images with their borders, cut into planes so that
 * neighbouring results read neighbouring numbers, whatever the stride.
 *
 * A *walk* is a convolution of stride 1 over such planes. Result (i, j) of it reads, for
 * each channel and tap, the source at row (i + down) * split_h + phase_h - origin_h, and
 * at a column likewise. Forward, x is split by the stride into sh * sw planes; the input
 * gradient is one walk over gy for each of the sh * sw planes of gx. */
#ifndef FNN_CONV_PLANES_H
#define FNN_CONV_PLANES_H

#include "conv/conv.h"

/* Bytes past planes that may be read. */
#define FNN_CONV_MARGIN 128

/* Taps along one dimension: u = first + i step, i < count, of which tap i reads plane
 * i % planes at far + sign * (u dilation / stride). */
typedef struct {
    ptrdiff_t first, step, count;
    ptrdiff_t dilation, stride;
    ptrdiff_t far, sign;
    ptrdiff_t planes;
} fnn_taps;

typedef struct {
    ptrdiff_t size;               /* bytes of an element */
    ptrdiff_t images, channels;   /* of the source, channels of one group */
    ptrdiff_t all_channels;       /* of all groups */
    ptrdiff_t h, w;               /* of the source */
    ptrdiff_t split_h, split_w;   /* rows and columns from one of a plane to the next */
    ptrdiff_t origin_h, origin_w; /* where the source begins in the planes */
    ptrdiff_t rows, cols;         /* of the result */
    ptrdiff_t top, left, step_h, step_w; /* where the result lies in an image of it */
    ptrdiff_t out_w, out_image;          /* its row length, its image size */
    fnn_taps u, v;
    ptrdiff_t taps, phases;       /* taps and planes of a channel */
    ptrdiff_t deepest, rightmost; /* what a tap reads below and right of the first */
    ptrdiff_t pitch;              /* of a plane's row */
    bool in_place;                /* the source serves as it is: one plane, no border */
} fnn_walk;

/* How many walks a direction takes. */
ptrdiff_t fnn_walks(const fnn_conv_args *g, fnn_conv_direction way);
/* Walk number `which`; the weight direction walks as forward does. */
void fnn_walk_set(fnn_walk *walk, const fnn_conv_args *g, fnn_conv_direction way,
                  ptrdiff_t which);
/* All walks of a direction in one: planes that serve each of them, and as many rows and
 * columns as the largest has. fnn_walk_fit makes a walk read those planes. */
void fnn_walk_joint(fnn_walk *all, const fnn_conv_args *g, fnn_conv_direction way);
void fnn_walk_fit(fnn_walk *walk, const fnn_walk *all);
/* Rows [m0, m0 + m) of the weight of a group, products [k0, k0 + k), as pack_a lays them
 * out. */
void fnn_walk_pack(const fnn_walk *walk, const fnn_conv_args *g, fnn_conv_direction way,
                   ptrdiff_t group, ptrdiff_t m0, ptrdiff_t m, ptrdiff_t k0,
                   ptrdiff_t k, const void *weight, void *to);

/* A band: rows [first, first + rows) of the results of all images, one after another. */
typedef struct {
    const fnn_walk *walk;
    ptrdiff_t first, rows;
    ptrdiff_t plane, channel; /* elements from one plane, channel, to the next */
    ptrdiff_t skipped;        /* elements of the channels before those that are here */
    const char *source;       /* planes, or the source itself */
    ptrdiff_t margin; /* elements that may be read past the last one: 0, or plenty */
} fnn_band;

/* Images that `rows` rows of results may touch. */
ptrdiff_t fnn_band_images(const fnn_walk *walk, ptrdiff_t rows);
/* Elements of the planes of one channel for so many rows of results. */
ptrdiff_t fnn_band_channel(const fnn_walk *walk, ptrdiff_t rows);
/* The band, and the planes of channels [c0, c1) of `group` in `to`, unless it is in
 * place. What fnn_walk_offsets gives, added to the base of a run, leads to a number. */
void fnn_band_fill(fnn_band *band, const fnn_walk *walk, ptrdiff_t first,
                   ptrdiff_t rows, ptrdiff_t most_rows, const void *source,
                   ptrdiff_t group, ptrdiff_t c0, ptrdiff_t c1, void *to);
/* offset[c * taps + t] of channels [0, channels), for bands of at most most_rows rows. */
void fnn_walk_offsets(const fnn_walk *walk, ptrdiff_t most_rows, ptrdiff_t *offset);
/* The base of the first result of a row, which is of the band, as below. */
ptrdiff_t fnn_band_base(const fnn_band *band, ptrdiff_t row);
/* Runs of neighbours among n results from number j of the band on: where each begins in
 * the source for the first channel that is there, and its length. Returns how many. */
ptrdiff_t fnn_band_runs(const fnn_band *band, ptrdiff_t j, ptrdiff_t n, ptrdiff_t *base,
                        ptrdiff_t *length);

/* Forward and input directions of few channels of results (direct.c): whether it is
 * faster there, with the same bits. */
bool fnn_direct_pays(const fnn_conv_args *g, fnn_conv_direction way);
int64_t fnn_direct_workspace(const fnn_conv_args *g, fnn_conv_direction way);
void fnn_direct_run(const fnn_conv_args *g, fnn_conv_direction way, const void *source,
                    const void *weight, void *result, void *workspace);

/* The weight direction of implicit GEMM (implicit_weight.c). */
int64_t fnn_implicit_weight_workspace(const fnn_conv_args *g);
void fnn_implicit_weight(const fnn_conv_args *g, const void *x, const void *gy,
                         void *gw, void *workspace);

#endif
