/* What both halves of Winograd convolution share: winograd.c has forward and input,
 * winograd_weight.c the weight gradient, kernels/winograd.inc.h the arithmetic.
 *
 * y is computed in tiles of 4x4 pixels, numbered image by image, row by row. A tile has 36
 * points with stride 1 and 81 with stride 2, a filter 36 with both: fnn_winograd_filter
 * says which of them a tile's point meets. All memory is in vectors of 16 channels, the
 * last one filled up with zeros:
 *     V [point][16 channels][tile][16]       of the image
 *     U [panel][block][point][channel][32]   of filters
 *     M [point][tile][32]                    of results: for each point, V times U
 * where a panel is 32 outputs (the last one 16 where no more are left), and a block
 * FNN_WINOGRAD_BLOCK inputs. Planes of points are an odd number of cache lines apart, as
 * others would share sets of the first level.
 *
 * Bits. A product is one chain over a block of inputs, blocks added in their order. For
 * the weight gradient it is one over FNN_WINOGRAD_CHAIN tiles, and chains are added in order of
 * their tiles, and for the same tiles of the points that meet one of the filter. Nothing else
 * that is decided here shows in a result. */
#ifndef FNN_WINOGRAD_H
#define FNN_WINOGRAD_H

#include "conv/conv.h"

#define FNN_WINOGRAD_BLOCK 64 /* part of the bits contract, as is the next */
#define FNN_WINOGRAD_CHAIN 128
#define FNN_WINOGRAD_GROUPS (FNN_WINOGRAD_BLOCK / FNN_WINOGRAD_LANES)

/* The tiles of a side of a layer, and where their channels come from. */
typedef struct {
    int64_t n, channels, h, w; /* of the images */
    int64_t top, left;         /* from tile (0, 0) to pixel (0, 0) */
    int64_t rows, cols;        /* tiles of an image */
    int64_t span; /* most pixels between tiles, here or on the other side */
} fnn_winograd_side;

/* The form of a layer, by its stride. */
static inline const fnn_winograd *fnn_winograd_form(const fnn_conv_args *g) {
    return &fnn_k->winograd[0][g->sh - 1];
}
static inline int64_t fnn_winograd_span(const fnn_conv_args *g) { return 4 * g->sh; }

/* The point of a filter that point p of a tile meets. */
static inline int64_t fnn_winograd_filter(const fnn_winograd *form, int64_t p) {
    const int64_t last = FNN_WINOGRAD_FILTER - 1;
    return fnn_min64(p / form->side, last) * FNN_WINOGRAD_FILTER +
           fnn_min64(p % form->side, last);
}

/* Groups of 16 channels; one of zeros where there is none. */
static inline int64_t fnn_winograd_groups(int64_t channels) {
    return channels == 0 ? 1 : fnn_ceil_div(channels, FNN_WINOGRAD_LANES);
}
/* Panels of outputs, and how wide one is. */
static inline int64_t fnn_winograd_panels(int64_t channels) {
    return fnn_ceil_div(channels, FNN_WINOGRAD_WIDTH);
}
static inline int64_t fnn_winograd_width(int64_t channels, int64_t panel) {
    return channels - panel * FNN_WINOGRAD_WIDTH > FNN_WINOGRAD_LANES
               ? FNN_WINOGRAD_WIDTH
               : FNN_WINOGRAD_LANES;
}
/* Elements from a plane of so many vectors to the next. */
static inline int64_t fnn_winograd_plane(int64_t vectors) {
    return (vectors | 1) * FNN_WINOGRAD_LANES;
}

/* Tiles lo to hi of the 16 channels from `group` on, as `cut` has it, to `to` and on. */
void fnn_winograd_transform(const fnn_winograd_side *s, const float *x, int64_t group,
                            int64_t lo, int64_t hi, const fnn_winograd_cut *cut,
                            float *to, int64_t plane, int64_t tile, float *scratch);

/* The rectangle of tiles that follows tile `at`, up to tile `hi`. */
typedef struct {
    int64_t image, row, col, rows, cols;
} fnn_winograd_rectangle;
fnn_winograd_rectangle fnn_winograd_next(const fnn_winograd_side *s, int64_t at,
                                         int64_t hi);

int64_t fnn_winograd_weight_workspace(const fnn_conv_args *g);
void fnn_winograd_weight_run(const fnn_conv_args *g, const float *x, const float *gy,
                             float *gw, float *workspace);

#endif
