/* What batch, layer and group norm share. */
#ifndef FNN_NORMALISE_H
#define FNN_NORMALISE_H

#include "ops/ops.h"

#define FNN_NORM_GRAIN 16384 /* elements that pay for a thread */

/* Element i of a vector of floats; what is absent holds `none` everywhere. */
static inline double fnn_norm_get(const char *p, int dtype, int64_t i, double none) {
    return p == NULL              ? none
           : dtype == FNN_FLOAT64 ? ((const double *)(const void *)p)[i]
                                  : (double)((const float *)(const void *)p)[i];
}
static inline void fnn_norm_set(char *p, int dtype, int64_t i, double value) {
    if (dtype == FNN_FLOAT64) {
        ((double *)(void *)p)[i] = value;
    } else {
        ((float *)(void *)p)[i] = (float)value;
    }
}
/* The value as the dtype holds it. */
static inline double fnn_norm_round(double value, int dtype) {
    return dtype == FNN_FLOAT64 ? value : (double)(float)value;
}

/* Fails unless inputs i and 0 have one dtype and i (if there) has that shape. */
fnn_status fnn_norm_expect(const fnn_call *c, int i, const char *name, int ndim,
                           const int64_t *shape);
/* The same for statistics, which are float64. */
fnn_status fnn_norm_expect_statistics(const fnn_call *c, int i, const char *name,
                                      int ndim, const int64_t *shape);

/* From sums over n elements of d = x - center and of d^2. */
static inline double fnn_norm_mean(double center, const double *sums, double n) {
    return center + sums[0] / n;
}
static inline double fnn_norm_variance(const double *sums, double n) {
    double rest = sums[1] - sums[0] * (sums[0] / n);
    return (rest < 0 ? 0 : rest) / n; /* NaN stays */
}
/* The first element, or 0 where that is no number, so that infinities have their mean. */
double fnn_norm_center(const char *x, int dtype);

/* Constants of a forward pass, y = fma(x - center, scale, shift): center is the mean as the
 * dtype holds it, and shift makes up for what that leaves. */
typedef struct {
    double center, scale, shift;
} fnn_norm_line;
static inline fnn_norm_line fnn_norm_forward(double mean, double rstd, double weight,
                                             double bias, int dtype) {
    fnn_norm_line line = {fnn_norm_round(mean, dtype), weight * rstd, bias};
    double rest =
        line.center - mean; /* NaN where the mean is infinite, as y is anyway */
    line.shift += rest * line.scale;
    return line;
}
/* Of a backward pass, gx = scale (g + fma(x - center, slope, offset)), from means over the
 * group of g and of g (x - center). What g loses is taken off before anything is scaled:
 * little may be left. */
typedef struct {
    double slope, offset;
} fnn_norm_slope;
static inline fnn_norm_slope fnn_norm_backward(double mean, double center, double rstd,
                                               double g, double dot) {
    double rest = center - mean;
    double slope = -rstd * rstd * (dot + rest * g);
    return (fnn_norm_slope){slope, rest * slope - g};
}

/* t: shape, contiguous. */
void fnn_norm_output(fnn_tensor *t, int dtype, int ndim, const int64_t *shape);

#endif
