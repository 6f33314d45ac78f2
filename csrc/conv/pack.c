/* The weight, packed for the products of a walk. See planes.h. */
#include "conv/planes.h"

/* Rows of channels of x, each with its taps; those of one product are output channels, so
 * that memory jumps from one to the next. `all`: channels of x of a group. */
static void pack_flipped(const fnn_walk *walk, const fnn_conv_args *g, ptrdiff_t all,
                         ptrdiff_t m, ptrdiff_t k0, ptrdiff_t k, const char *weight,
                         char *to) {
    const fnn_gemm_tile *kernel = fnn_k->gemm_tile[walk->size == 8];
    const ptrdiff_t area = g->kh * g->kw, channel = all * area;
    const ptrdiff_t tiles = fnn_ceil_div(m, kernel->mr);
    if (area == 1) {
        kernel->pack_a(m, tiles, k, weight + k0 * channel * walk->size, 1, channel, to);
        return;
    }
    for (ptrdiff_t t = 0, i0 = 0; t < tiles; t++) {
        const ptrdiff_t h = fnn_even_start(m, tiles, t + 1) - i0;
        for (ptrdiff_t p = 0; p < k; p++) {
            const ptrdiff_t c = (k0 + p) / walk->taps, tap = (k0 + p) % walk->taps;
            const ptrdiff_t u = walk->u.first + tap / walk->v.count * walk->u.step;
            const ptrdiff_t v = walk->v.first + tap % walk->v.count * walk->v.step;
            const ptrdiff_t from = c * channel + i0 * area + u * g->kw + v;
            if (walk->size == 4) {
                const float *w = (const float *)(const void *)weight + from;
                float *y = (float *)(void *)to + i0 * k + p * h;
                for (ptrdiff_t i = 0; i < h; i++) {
                    y[i] = w[i * area];
                }
            } else {
                const double *w = (const double *)(const void *)weight + from;
                double *y = (double *)(void *)to + i0 * k + p * h;
                for (ptrdiff_t i = 0; i < h; i++) {
                    y[i] = w[i * area];
                }
            }
        }
        i0 += h;
    }
}

void fnn_walk_pack(const fnn_walk *walk, const fnn_conv_args *g, fnn_conv_direction way,
                   ptrdiff_t group, ptrdiff_t m0, ptrdiff_t m, ptrdiff_t k0,
                   ptrdiff_t k, const void *weight, void *to) {
    const fnn_gemm_tile *kernel = fnn_k->gemm_tile[walk->size == 8];
    const ptrdiff_t area = g->kh * g->kw, length = walk->channels * walk->taps;
    const ptrdiff_t all = (way == FNN_CONV_INPUT ? g->ci : g->co) / g->groups;
    const char *from = weight;
    if (way == FNN_CONV_FORWARD) {
        from += ((group * all + m0) * length + k0) * walk->size;
        kernel->pack_a(m, fnn_ceil_div(m, kernel->mr), k, from, length, 1, to);
    } else {
        from += (group * walk->channels * all + m0) * area * walk->size;
        pack_flipped(walk, g, all, m, k0, k, from, to);
    }
}
