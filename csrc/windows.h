/* Windows of pooling: which elements of an axis belong to which output.
 *
 * Window o of an axis starts at o stride - padding and has an element every `dilation`. An
 * adaptive axis is cut into `out` windows that cover it: window o is from floor(o in / out)
 * to ceil((o + 1) in / out), and `kernel` is the longest. Element t of a window is its tap
 * t, whether it lies in the input or not; a tap of the plane is t_h kernel_w + t_w. */
#ifndef FNN_WINDOWS_H
#define FNN_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>

#include "sizes.h"

typedef struct {
    ptrdiff_t in, out, kernel, stride, padding, dilation;
    bool adaptive; /* then stride and dilation are 1, padding 0 */
} fnn_axis;

/* Planes of h.in rows and w.in columns, contiguous, to h.out rows and w.out columns.
 * pitch: elements of a padded row in scratch memory; phases: rows that a row of x is split
 * into, at most 2, one for each remainder of a tap by the stride; ring: rows in scratch. */
typedef struct {
    fnn_axis h, w;
    ptrdiff_t pitch, phases, ring;
    bool wide_taps; /* int32_t; else uint8_t */
    /* averages: what a sum is divided by, or 0 for the size of the window, which counts
     * padding or not */
    double divisor;
    bool count_padding;
} fnn_pool;

/* Where window o starts; its taps from *lo to *hi - 1 lie in the input. */
static inline ptrdiff_t fnn_window(const fnn_axis *a, ptrdiff_t o, ptrdiff_t *lo,
                                   ptrdiff_t *hi) {
    if (a->adaptive) {
        const ptrdiff_t first = o * a->in / a->out;
        *lo = 0;
        *hi = fnn_ceil_div((o + 1) * a->in, a->out) - first;
        return first;
    }
    const ptrdiff_t first = o * a->stride - a->padding;
    ptrdiff_t low = 0, high = a->kernel;
    if (first < 0) {
        low = fnn_ceil_div(-first, a->dilation);
    }
    if (first + (a->kernel - 1) * a->dilation >= a->in) {
        high = first < a->in ? fnn_ceil_div(a->in - first, a->dilation) : 0;
    }
    *lo = low < a->kernel ? low : a->kernel;
    *hi = high > *lo ? high : *lo;
    return first;
}

/* The windows that reach over element i, from *lo to *hi - 1; with dilation they may have
 * no tap there. */
static inline void fnn_windows_over(const fnn_axis *a, ptrdiff_t i, ptrdiff_t *lo,
                                    ptrdiff_t *hi) {
    if (a->adaptive) {
        *lo = i * a->out / a->in;
        *hi = fnn_ceil_div((i + 1) * a->out, a->in);
        return;
    }
    const ptrdiff_t reach = (a->kernel - 1) * a->dilation, at = i + a->padding;
    const ptrdiff_t end = at / a->stride + 1;
    *lo = at > reach ? fnn_ceil_div(at - reach, a->stride) : 0;
    *hi = end < a->out ? end : a->out;
}

/* How many elements an average of window o divides by, along this axis. */
static inline ptrdiff_t fnn_window_count(const fnn_axis *a, ptrdiff_t o,
                                         bool count_padding) {
    ptrdiff_t lo, hi;
    const ptrdiff_t first = fnn_window(a, o, &lo, &hi);
    if (!count_padding || a->adaptive) {
        return hi - lo;
    }
    const ptrdiff_t end = a->in + a->padding;
    return first + a->kernel < end ? a->kernel : end - first;
}

#endif
