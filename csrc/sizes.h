/* Arithmetic of sizes, for all that cuts, rounds and counts. Divisors are above 0. */
#ifndef FNN_SIZES_H
#define FNN_SIZES_H

#include <stddef.h>
#include <stdint.h>

static inline int64_t fnn_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fnn_max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* a / b towards minus and towards plus infinity. */
static inline int64_t fnn_floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}
static inline int64_t fnn_ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }

/* The least multiple of b that is not below a. */
static inline int64_t fnn_round_up(int64_t a, int64_t b) {
    return fnn_ceil_div(a, b) * b;
}

/* Where part i of `parts` even parts of n starts: 64 rows in 5 tiles are 13, 13, 13, 13,
 * 12. */
static inline int64_t fnn_even_start(int64_t n, int64_t parts, int64_t i) {
    return n / parts * i + fnn_min64(i, n % parts);
}

/* The greatest common divisor of a > 0 and b > 0. */
static inline int64_t fnn_gcd(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

#endif
