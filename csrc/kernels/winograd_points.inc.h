/* Winograd convolution in one dimension. Included by winograd.inc.h.
 *
 * Stride 1, F(4, 3), with d six neighbours of x, g a filter of three and y four results:
 *     y = A' ((G g) (B' d))
 * Points 0, a, -a, b, -b and infinity, a = 3/4 and b = 3/2. Row p of B' is the polynomial
 * that vanishes at the other points; a row of A' and G is a power of the points, and G
 * divides by what B' has at its own point. The textbook's points, 0, 1, -1, 2, -2, give
 * sums of less even size, and errors some four times as large. The gradient of a filter is
 * y = G' ((A gy) (B' d)) in the same letters.
 *
 * Stride 2: of nine neighbours of x, those at even places meet taps 0 and 2 of the filter,
 * a convolution of stride 1, F(4, 2), at points a, -a, b, -b and infinity, a = 1/2 and
 * b = 5/4; those at odd places meet tap 1 as they are. Nine products give four results,
 * where sums take twelve. All odd places share one point of the filter, which makes six.
 * The input gradient is the same in the other direction: five neighbours of gy give four
 * results of taps 2 and 0, and the first four of them times tap 1 lie between.
 *
 * Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015;
 * Barabasz and others, Error Analysis and Improving the Accuracy of Winograd Convolution
 * for Deep Neural Networks, 2018. */
#define WG_C(x) v_set1((float)(x))

/* ---- stride 1 -------------------------------------------------------------------- */

#define WG_A 0.75f
#define WG_B 1.5f
#define WG_A2 (WG_A * WG_A)
#define WG_B2 (WG_B * WG_B)
/* What rows of B' have at their own points: 0; a and -a; b and -b. */
#define WG_AT_0 (WG_A2 * WG_B2)
#define WG_AT_A (2 * WG_A2 * (WG_A2 - WG_B2))
#define WG_AT_B (2 * WG_B2 * (WG_B2 - WG_A2))

/* r = B' d: six of an image. */
GEMM_INLINE void FNN_NAME(winograd_b)(const V *d, V *r) {
    const V a = WG_C(WG_A), b = WG_C(WG_B), a2 = WG_C(WG_A2), b2 = WG_C(WG_B2);
    const V sum = WG_C(WG_A2 + WG_B2), product = WG_C(WG_AT_0);
    const V even_a = v_fnma(b2, d[2], d[4]), odd_a = v_fnma(b2, d[1], d[3]);
    const V even_b = v_fnma(a2, d[2], d[4]), odd_b = v_fnma(a2, d[1], d[3]);
    r[0] = v_fma(product, d[0], v_fnma(sum, d[2], d[4]));
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = v_fma(product, d[1], v_fnma(sum, d[3], d[5]));
}

/* y = A' m: four results of six points. */
GEMM_INLINE void FNN_NAME(winograd_a)(const V *m, V *y) {
    const V sum_a = v_add(m[1], m[2]), less_a = v_sub(m[1], m[2]);
    const V sum_b = v_add(m[3], m[4]), less_b = v_sub(m[3], m[4]);
    y[0] = v_add(v_add(m[0], sum_a), sum_b);
    y[1] = v_fma(WG_C(WG_B), less_b, v_mul(WG_C(WG_A), less_a));
    y[2] = v_fma(WG_C(WG_B2), sum_b, v_mul(WG_C(WG_A2), sum_a));
    y[3] = v_fma(WG_C(WG_B2 * WG_B), less_b, v_fma(WG_C(WG_A2 * WG_A), less_a, m[5]));
}

/* r = A y: six points of four of gy. */
GEMM_INLINE void FNN_NAME(winograd_a_turned)(const V *y, V *r) {
    const V a = WG_C(WG_A), b = WG_C(WG_B), a2 = WG_C(WG_A2), b2 = WG_C(WG_B2);
    const V even_a = v_fma(a2, y[2], y[0]), odd_a = v_fma(a2, y[3], y[1]);
    const V even_b = v_fma(b2, y[2], y[0]), odd_b = v_fma(b2, y[3], y[1]);
    r[0] = y[0];
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = y[3];
}

/* u = G g: six points of a filter of three. */
GEMM_INLINE void FNN_NAME(winograd_g)(const V *g, V *u) {
    const V odd_a = v_mul(WG_C(WG_A / WG_AT_A), g[1]);
    const V odd_b = v_mul(WG_C(WG_B / WG_AT_B), g[1]);
    const V even_a = v_fma(WG_C(WG_A2 / WG_AT_A), g[2], v_mul(WG_C(1 / WG_AT_A), g[0]));
    const V even_b = v_fma(WG_C(WG_B2 / WG_AT_B), g[2], v_mul(WG_C(1 / WG_AT_B), g[0]));
    u[0] = v_mul(WG_C(1 / WG_AT_0), g[0]);
    u[1] = v_add(even_a, odd_a);
    u[2] = v_sub(even_a, odd_a);
    u[3] = v_add(even_b, odd_b);
    u[4] = v_sub(even_b, odd_b);
    u[5] = g[2];
}

/* g = G' m: the gradient of three from six points. */
GEMM_INLINE void FNN_NAME(winograd_g_turned)(const V *m, V *g) {
    const V sum_a = v_add(m[1], m[2]), less_a = v_sub(m[1], m[2]);
    const V sum_b = v_add(m[3], m[4]), less_b = v_sub(m[3], m[4]);
    const V zero = v_mul(WG_C(1 / WG_AT_0), m[0]);
    g[0] = v_fma(WG_C(1 / WG_AT_B), sum_b, v_fma(WG_C(1 / WG_AT_A), sum_a, zero));
    g[1] = v_fma(WG_C(WG_B / WG_AT_B), less_b, v_mul(WG_C(WG_A / WG_AT_A), less_a));
    g[2] =
        v_fma(WG_C(WG_B2 / WG_AT_B), sum_b, v_fma(WG_C(WG_A2 / WG_AT_A), sum_a, m[5]));
}

#undef WG_A
#undef WG_B
#undef WG_A2
#undef WG_B2
#undef WG_AT_0
#undef WG_AT_A
#undef WG_AT_B

/* ---- stride 2 -------------------------------------------------------------------- */

#define WG_A 0.5f
#define WG_B 1.25f
#define WG_A2 (WG_A * WG_A)
#define WG_B2 (WG_B * WG_B)
#define WG_AT_A (2 * WG_A * (WG_A2 - WG_B2))
#define WG_AT_B (2 * WG_B * (WG_B2 - WG_A2))

/* r = B' d: five points of five neighbours. */
GEMM_INLINE void FNN_NAME(winograd_2_b)(V d0, V d1, V d2, V d3, V d4, V *r) {
    const V a = WG_C(WG_A), b = WG_C(WG_B), a2 = WG_C(WG_A2), b2 = WG_C(WG_B2);
    const V even_a = v_fnma(b2, d0, d2), odd_a = v_fnma(b2, d1, d3);
    const V even_b = v_fnma(a2, d0, d2), odd_b = v_fnma(a2, d1, d3);
    r[0] = v_fma(a, even_a, odd_a);
    r[1] = v_fnma(a, even_a, odd_a);
    r[2] = v_fma(b, even_b, odd_b);
    r[3] = v_fnma(b, even_b, odd_b);
    r[4] = v_fma(WG_C(WG_A2 * WG_B2), d0, v_fnma(WG_C(WG_A2 + WG_B2), d2, d4));
}

/* y = A' m: four results of five points, those of -a and -b of the other sign. */
GEMM_INLINE void FNN_NAME(winograd_2_a)(const V *m, V *y) {
    const V sum_a = v_sub(m[0], m[1]), less_a = v_add(m[0], m[1]);
    const V sum_b = v_sub(m[2], m[3]), less_b = v_add(m[2], m[3]);
    y[0] = v_add(sum_a, sum_b);
    y[1] = v_fma(WG_C(WG_B), less_b, v_mul(WG_C(WG_A), less_a));
    y[2] = v_fma(WG_C(WG_B2), sum_b, v_mul(WG_C(WG_A2), sum_a));
    y[3] = v_fma(WG_C(WG_B2 * WG_B), less_b, v_fma(WG_C(WG_A2 * WG_A), less_a, m[4]));
}

/* Nine points of nine of an image. */
GEMM_INLINE void FNN_NAME(winograd_strided_b)(const V *d, V *r) {
    FNN_NAME(winograd_2_b)(d[0], d[2], d[4], d[6], d[8], r);
    r[5] = d[1], r[6] = d[3], r[7] = d[5], r[8] = d[7];
}

/* Nine points of five of gy, for the input gradient. */
GEMM_INLINE void FNN_NAME(winograd_strided_b_turned)(const V *d, V *r) {
    FNN_NAME(winograd_2_b)(d[0], d[1], d[2], d[3], d[4], r);
    r[5] = d[0], r[6] = d[1], r[7] = d[2], r[8] = d[3];
}

/* Four results of nine points. */
GEMM_INLINE void FNN_NAME(winograd_strided_a)(const V *m, V *y) {
    FNN_NAME(winograd_2_a)(m, y);
    y[0] = v_add(y[0], m[5]);
    y[1] = v_add(y[1], m[6]);
    y[2] = v_add(y[2], m[7]);
    y[3] = v_add(y[3], m[8]);
}

/* Eight results of the input gradient of nine points: those of tap 1 come first. */
GEMM_INLINE void FNN_NAME(winograd_strided_a_both)(const V *m, V *y) {
    V even[4];
    FNN_NAME(winograd_2_a)(m, even);
    WG_UNROLL(4)
    for (int k = 0; k < 4; k++) {
        y[2 * k] = m[5 + k];
        y[2 * k + 1] = even[k];
    }
}

/* r = A y: nine points of four of gy. */
GEMM_INLINE void FNN_NAME(winograd_strided_a_turned)(const V *y, V *r) {
    const V a = WG_C(WG_A), b = WG_C(WG_B), a2 = WG_C(WG_A2), b2 = WG_C(WG_B2);
    const V even_a = v_fma(a2, y[2], y[0]), odd_a = v_fma(a2, y[3], y[1]);
    const V even_b = v_fma(b2, y[2], y[0]), odd_b = v_fma(b2, y[3], y[1]);
    r[0] = v_fma(a, odd_a, even_a);
    r[1] = v_fnma(a, odd_a, even_a);
    r[2] = v_fma(b, odd_b, even_b);
    r[3] = v_fnma(b, odd_b, even_b);
    r[4] = y[3];
    r[5] = y[0], r[6] = y[1], r[7] = y[2], r[8] = y[3];
}

/* u = G g: six points of a filter of three, those of -a and -b of the other sign. */
GEMM_INLINE void FNN_NAME(winograd_strided_g)(const V *g, V *u) {
    const V zero_a = v_mul(WG_C(1 / WG_AT_A), g[0]);
    const V zero_b = v_mul(WG_C(1 / WG_AT_B), g[0]);
    const V two_a = WG_C(WG_A / WG_AT_A), two_b = WG_C(WG_B / WG_AT_B);
    u[0] = v_fma(two_a, g[2], zero_a);
    u[1] = v_fnma(two_a, g[2], zero_a);
    u[2] = v_fma(two_b, g[2], zero_b);
    u[3] = v_fnma(two_b, g[2], zero_b);
    u[4] = g[2];
    u[5] = g[1];
}

/* g = G' m: the gradient of three from six points. */
GEMM_INLINE void FNN_NAME(winograd_strided_g_turned)(const V *m, V *g) {
    const V sum_a = v_add(m[0], m[1]), less_a = v_sub(m[0], m[1]);
    const V sum_b = v_add(m[2], m[3]), less_b = v_sub(m[2], m[3]);
    g[0] = v_fma(WG_C(1 / WG_AT_B), less_b, v_mul(WG_C(1 / WG_AT_A), less_a));
    g[1] = m[5];
    g[2] = v_fma(WG_C(WG_B / WG_AT_B), sum_b, v_fma(WG_C(WG_A / WG_AT_A), sum_a, m[4]));
}

#undef WG_A
#undef WG_B
#undef WG_A2
#undef WG_B2
#undef WG_AT_A
#undef WG_AT_B
#undef WG_C
