/* An axis of a depthwise convolution, rows or columns: its phases, tiles and taps. See
 * conv/depthwise.c, which alone includes this. */
#ifndef FNN_DEPTHWISE_AXIS_H
#define FNN_DEPTHWISE_AXIS_H

#include "core.h"

typedef struct {
    ptrdiff_t source, grid; /* lengths of what is read, and of a phase of the result */
    ptrdiff_t from, stride; /* grid i reads from + i stride + phase, and what follows */
    ptrdiff_t taps, dilation;
    ptrdiff_t phases, results; /* of the source, those that are read; of the result */
    ptrdiff_t halo;            /* what a tile reads more than it has */
    ptrdiff_t tile, tiles;
    ptrdiff_t apart; /* elements of scratch between phases */
    /* Taps of result phase p, in their order, are first[p] .. first[p + 1]: which, and where
     * in scratch they read. */
    ptrdiff_t *first, *tap, *at;
} axis;

/* What of a phase a tile reads exists, along an axis: how much, and how far on it lies in
 * the plane and in scratch. */
typedef struct {
    ptrdiff_t count, x, y;
} extent;

/* The remainder of a / b in [0, b). */
static ptrdiff_t floor_mod(ptrdiff_t a, ptrdiff_t b) {
    return a - fnn_floor_div(a, b) * b;
}

/* Forward and weight gradient, from x. Tap u reads at u dilation = phase + along stride.
 * Phases come round again after `period` taps; phase p of scratch is that of tap p. */
static ptrdiff_t period(const axis *s) {
    return s->stride / fnn_gcd(s->stride, s->dilation);
}

/* Input gradient, from gy: result q stride + p takes gy[q + e] by tap u where
 * p + before - u dilation = e stride, so there is one p for each u. */
static ptrdiff_t input_along(const axis *s, ptrdiff_t before, ptrdiff_t u) {
    return -fnn_floor_div(u * s->dilation - before, s->results);
}

static axis plan_axis(bool input, ptrdiff_t x, ptrdiff_t y, ptrdiff_t taps,
                      ptrdiff_t stride, ptrdiff_t dilation, ptrdiff_t before) {
    axis s = {.taps = taps, .dilation = dilation};
    if (input) {
        s.source = y;
        s.grid = fnn_ceil_div(x, stride);
        s.stride = s.phases = 1;
        s.results = stride;
        s.from = input_along(&s, before, taps - 1);
        s.halo = input_along(&s, before, 0) - s.from;
    } else {
        s.source = x;
        s.grid = y;
        s.stride = stride;
        s.phases = fnn_min64(taps, period(&s));
        s.results = 1;
        s.from = -before;
        s.halo = (taps - 1) * dilation / stride;
    }
    return s;
}

static ptrdiff_t table_length(const axis *s) { return 2 * s->taps + s->results + 1; }

/* `step`: elements of scratch between neighbours in a phase. */
static ptrdiff_t *fill_tables(axis *s, bool input, ptrdiff_t before, ptrdiff_t step,
                              ptrdiff_t *table) {
    s->tap = table;
    s->at = table + s->taps;
    s->first = s->at + s->taps;
    ptrdiff_t n = 0;
    if (input) {
        for (ptrdiff_t p = 0; p < s->results; p++) {
            s->first[p] = n;
            for (ptrdiff_t u = s->taps - 1; u >= 0; u--) {
                if (floor_mod(u * s->dilation - before, s->results) == p) {
                    s->tap[n] = u;
                    s->at[n++] = (input_along(s, before, u) - s->from) * step;
                }
            }
        }
    } else {
        s->first[0] = 0;
        for (ptrdiff_t again = period(s); n < s->taps; n++) {
            s->tap[n] = n;
            s->at[n] = n % again * s->apart + n * s->dilation / s->stride * step;
        }
    }
    s->first[s->results] = n;
    return table + table_length(s);
}

/* The extents of a tile from grid element `start` on; `wide` and `step`: elements of the
 * plane and of scratch between neighbours. */
static void clip(const axis *s, ptrdiff_t start, ptrdiff_t wide, ptrdiff_t step,
                 extent *e) {
    for (ptrdiff_t p = 0; p < s->phases; p++) {
        const ptrdiff_t at = s->from + p * s->dilation % s->stride + start * s->stride;
        const ptrdiff_t first = at < 0 ? fnn_ceil_div(-at, s->stride) : 0;
        const ptrdiff_t left = s->source - at; /* to the end */
        const ptrdiff_t end = left > 0 ? fnn_ceil_div(left, s->stride) : 0;
        e[p].count = fnn_max64(0, fnn_min64(s->tile + s->halo, end) - first);
        e[p].x = (at + first * s->stride) * wide;
        e[p].y = p * s->apart + first * step;
    }
}

#endif
