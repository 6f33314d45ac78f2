/* Vector exp, log, tanh and their kin, written against v_* alone, so that every ISA
 * returns the same bits and no libm can change one.
 *
 * Included once for float64 and once for float32, in that order: pow of floats goes
 * through the doubles' log and exp. Largest errors seen, in units in the last place,
 * subnormal results included: float32 over all inputs from 2^-35 to 2^8 and every 37th
 * of the rest (log over all, pow over samples), float64 over 800 thousand samples (pow
 * over fewer):
 *
 *             exp   log   sigmoid  tanh  erf   gelu  gelu_tanh  silu  softplus  pow
 *   float32   0.90  0.81  2.00     1.06  0.93  2.83  2.14       2.00  2.08      0.51
 *   float64   0.85  0.8   1.98     0.80  0.77  2.49  2.28       1.92  1.92      1.2
 *
 * expm1 and log1p: 1.43 and 1.44 over every 37th float32, below 2 over samples of float64.
 *
 * The tables come from tools/polynomials.py, highest degree first; the power of two
 * above each is the fit's largest error, relative to the function that it serves;
 * rounding adds to it. NaN in, NaN out, except where C99's pow says 1. */

#ifndef m_exp
#define m_exp FNN_NAME(v_exp)
#define m_expm1 FNN_NAME(v_expm1)
#define m_log FNN_NAME(v_log)
#define m_log1p FNN_NAME(v_log1p)
#define m_log1p_exp FNN_NAME(v_log1p_exp)
#define m_sigmoid FNN_NAME(v_sigmoid)
#define m_tanh FNN_NAME(v_tanh)
#define m_erf FNN_NAME(v_erf)
#define m_relu FNN_NAME(v_relu)
#define m_gelu FNN_NAME(v_gelu)
#define m_gelu_tanh FNN_NAME(v_gelu_tanh)
#define m_gelu_slope FNN_NAME(v_gelu_slope)
#define m_gelu_tanh_slope FNN_NAME(v_gelu_tanh_slope)
#define m_silu FNN_NAME(v_silu)
#define m_silu_slope FNN_NAME(v_silu_slope)
#define m_pow FNN_NAME(v_pow)
#define m_round FNN_NAME(v_round_any)
#define m_trunc FNN_NAME(v_trunc)
#define m_floor FNN_NAME(v_floor)
#define m_ceil FNN_NAME(v_ceil)
#define m_sincospi FNN_NAME(v_sincospi)
#define FNN_TABLE __attribute__((aligned(64)))
#ifndef FNN_MATH /* simd/generic.h has its own */
#define FNN_MATH static inline __attribute__((always_inline, unused))
#endif
#define FNN_HORNER(x, table) \
    FNN_NAME(horner)((x), FNN_NAME(table), (int)(sizeof FNN_NAME(table) / sizeof(T)))
#endif

/* ---- constants ------------------------------------------------------------------- */

#if IS_F32
#define R(f32, f64) f32##f
/* exp32: 2^-28.25 */
static const T FNN_NAME(exp_p)[] = {
    0x1.6a489ep-10f, 0x1.12397ap-7f, 0x1.5558b2p-5f,
    0x1.555492p-3f,  0x1.fffffcp-2f, 0x1p+0f,
};
/* gauss32: 2^-28.22 */
static const T FNN_NAME(gauss_p)[] = {
    0x1.6a580ep-16f, -0x1.123988p-12f, 0x1.5558a8p-9f,
    -0x1.555492p-6f, 0x1.fffffcp-4f,   -0x1p-1f,
};
/* expm1_32: 2^-31.09 */
static const T FNN_NAME(exp_q)[] = {
    0x1.9e2dc4p-13f, 0x1.6d3c84p-10f, 0x1.1112f6p-7f,
    0x1.5554f6p-5f,  0x1.555554p-3f,  0x1p-1f,
};
/* log32: 2^-30.24 */
static const T FNN_NAME(log_p)[] = {
    0x1.13d2aap-4f,  -0x1.dda968p-4f, 0x1.e6ddfep-4f,  -0x1.fc3c28p-4f, 0x1.233ac4p-3f,
    -0x1.555b94p-3f, 0x1.99a47ap-3f,  -0x1.000008p-2f, 0x1.555548p-2f,
};
/* sin32: 2^-33.44 */
static const T FNN_NAME(sin_p)[] = {
    0x1.44a654p-4f, -0x1.32aefcp-1f, 0x1.466b7ap+1f, -0x1.4abbcep+2f, -0x1.7789e8p-24f,
};
/* cos32: 2^-31.09 */
static const T FNN_NAME(cos_p)[] = {
    0x1.d4e2f4p-3f,
    -0x1.55b298p+0f,
    0x1.03c1bp+2f,
    -0x1.3bd3ccp+2f,
};
#else
#define R(f32, f64) f64
/* exp64: 2^-57.89 */
static const T FNN_NAME(exp_p)[] = {
    0x1.ad9fee342a1cp-26,
    0x1.28ae0024f8f98p-22,
    0x1.71df0f7470698p-19,
    0x1.a019995b3efa8p-16,
    0x1.a01a0134d377fp-13,
    0x1.6c16c18478728p-10,
    0x1.1111111125a69p-7,
    0x1.55555555506b6p-5,
    0x1.5555555555503p-3,
    0x1.000000000000ap-1,
    0x1p+0,
};
/* gauss64: 2^-57.87 */
static const T FNN_NAME(gauss_p)[] = {
    -0x1.adb080490ab68p-37,
    0x1.28ae09e643bc2p-32,
    -0x1.71df0616abbdcp-28,
    0x1.a0199952de6f2p-24,
    -0x1.a01a0138876d4p-20,
    0x1.6c16c1847a888p-16,
    -0x1.11111111250e8p-12,
    0x1.55555555506b2p-9,
    -0x1.5555555555505p-6,
    0x1.000000000000ap-3,
    -0x1p-1,
};
/* expm1_64: 2^-61.55 */
static const T FNN_NAME(exp_q)[] = {
    0x1.1f2b00287fd93p-29,
    0x1.af5f1d158c2e7p-26,
    0x1.27e507671e80ep-22,
    0x1.71ddf8169de38p-19,
    0x1.a01a01940556ep-16,
    0x1.a01a01b0015a9p-13,
    0x1.6c16c16c196cap-10,
    0x1.111111110f658p-7,
    0x1.555555555555p-5,
    0x1.5555555555559p-3,
    0x1p-1,
};
/* log64: 2^-59.47 */
static const T FNN_NAME(log_r)[] = {
    0x1.2f00db1bd87adp-3, 0x1.39a22d8bcbd7bp-3, 0x1.74663a78272d4p-3,
    0x1.c71c521ef3681p-3, 0x1.24924941d69e3p-2, 0x1.999999997ff97p-2,
    0x1.5555555555592p-1,
};
/* pow64: 2^-77.45 */
static const T FNN_NAME(pow_q)[] = {
    -0x1.d360e0bbf0d9fp-1, 0x1.04080dcc78d8cp-2, 0x1.83188bc07a767p-4,
    0x1.e38dd1fcfa977p-4,  0x1.110c169ddef45p-3, 0x1.3b13c3f039a28p-3,
    0x1.745d1719f0675p-3,  0x1.c71c71c7597e3p-3, 0x1.249249249232cp-2,
    0x1.999999999999ap-2,
};
/* tail64: 2^-53.78 */
static const T FNN_NAME(tail_g)[] = {
    0x1.0003d9e7483e8p-29,  0x1.28280dff63543p-27,  0x1.e62e73fecd82p-31,
    -0x1.c3e1fc98754c5p-25, 0x1.3155fd137129bp-29,  0x1.57a06b0aa1b96p-22,
    -0x1.c2ce452d276dcp-22, -0x1.e4745376da772p-20, 0x1.c795eeedbdbap-18,
    0x1.21167ebabee36p-20,  -0x1.0f9345fee01dbp-14, 0x1.7c5710d8b89cep-13,
    0x1.13b9d3906f2d6p-15,  -0x1.1764cd826b303p-9,  0x1.48a83c273637fp-7,
    -0x1.fba9d52f0266cp-6,  0x1.33e77774f7ea8p-4,   -0x1.38b069dbb8571p-3,
    0x1.1267d73840f9ap-2,   -0x1.a7d6577269b33p-2,  0x1.234fe3fd92537p-1,
    -0x1.66eaa7d09640fp-1,  0x1.8e010d2b8a0eap-1,
};
/* sin64: 2^-63.5 */
static const T FNN_NAME(sin_p)[] = {
    -0x1.73c483c1c1f82p-16, 0x1.e908a3687712ep-12, -0x1.e3076e8c41a3fp-8,
    0x1.5078349d7f57fp-4,   -0x1.32d2cce63aecap-1, 0x1.466bc6775ab7cp+1,
    -0x1.4abbce625be53p+2,  0x1.1a5ef199452bp-53,
};
/* cos64: 2^-61.77 */
static const T FNN_NAME(cos_p)[] = {
    -0x1.78fe857306ca2p-16, -0x1.9abd11d94a2cep-14, 0x1.f9a5b5864063ep-10,
    -0x1.a6d1cbda1a628p-6,  0x1.e1f50664eb698p-3,   -0x1.55d3c7e3b9dc4p+0,
    0x1.03c1f081b5a39p+2,   -0x1.3bd3cc9be45dep+2,
};
#endif
#include "kernels/pieces.inc.h"
/* R(a, b) is a in float32, b in float64. ln 2 in two parts, the first ending in zeros
 * enough for a product with an exponent to be exact; 1 / ln 2; correctly rounded. */
#define LN2_HI R(0x1.62e4p-1, 0x1.62e42fefa38p-1)
#define LN2_LO R(0x1.7f7d1cp-20, 0x1.ef35793c7673p-45)
#define LOG2_E R(0x1.715476p+0, 0x1.71547652b82fep+0)
/* Where exp is surely zero and infinite. */
#define EXP_MIN R(-104.0, -746.0)
#define EXP_MAX R(89.0, 710.0)
#define ONE_MIN R(40.0, 80.0) /* 1 + exp(-x) is surely 1 from here */
#define RSQRT_2PI 0x1.9884533d43651p-2

FNN_MATH V FNN_NAME(horner)(V x, const T *c, int n) {
    V y = v_set1(c[0]);
#pragma GCC unroll 32
    for (int i = 1; i < n; i++) {
        y = v_fma(y, x, v_set1(c[i]));
    }
    return y;
}

/* f(a) by pieces, a >= 0: see tools/polynomials.py. The key, a scale + offset, is in
 * [1, 16); what rounding does to it moves the ends of the pieces, that is all, as a - m
 * is exact. */
FNN_MATH V FNN_NAME(pieces)(V key, V a, const T (*table)[LANES], int rows) {
    V d = v_sub(a, v_lookup(table[0], key)), y = v_lookup(table[1], key);
#pragma GCC unroll 32
    for (int i = 2; i < rows; i++) {
        y = v_fma(y, d, v_lookup(table[i], key));
    }
    return y;
}
#define FNN_PIECES(key, a, table)                 \
    FNN_NAME(pieces)((key), (a), FNN_NAME(table), \
                     (int)(sizeof FNN_NAME(table) / sizeof FNN_NAME(table)[0]))

/* ---- whole numbers --------------------------------------------------------------- */

/* To the nearest, ties to even, any x: where |x| is below big, the sum with it has no
 * room for a fraction. Keeps the sign of zero. */
FNN_MATH V FNN_NAME(v_round_any)(V x) {
    V big = v_set1(R(0x1p23, 0x1p52)), a = v_abs(x);
    V y = v_copysign(v_sub(v_add(a, big), big), x);
    return v_sel(v_lt(a, big), y, x);
}
FNN_MATH V FNN_NAME(v_floor)(V x) {
    V y = m_round(x);
    return v_copysign(v_sel(v_lt(x, y), v_sub(y, v_set1(1)), y), x);
}
FNN_MATH V FNN_NAME(v_ceil)(V x) { return v_neg(m_floor(v_neg(x))); }
FNN_MATH V FNN_NAME(v_trunc)(V x) { return v_copysign(m_floor(v_abs(x)), x); }

/* ---- exp and what follows from it ------------------------------------------------ */

/* x = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite). */
FNN_MATH V FNN_NAME(exp_reduce)(V x, V *n) {
    *n = v_round(v_mul(x, v_set1(LOG2_E)));
    return v_fnma(*n, v_set1(LN2_LO), v_fnma(*n, v_set1(LN2_HI), x));
}
/* exp(r) for a reduced r. */
FNN_MATH V FNN_NAME(exp_reduced)(V r) {
    return v_fma(r, FNN_HORNER(r, exp_p), v_set1(1));
}

FNN_MATH V FNN_NAME(v_exp)(V x) {
    V n;
    x = v_maxnum(v_set1(EXP_MIN), v_minnum(v_set1(EXP_MAX), x));
    V r = FNN_NAME(exp_reduce)(x, &n);
    return v_ldexp(FNN_NAME(exp_reduced)(r), n);
}

/* exp(x), x <= 0, saves a clamp. */
FNN_MATH V FNN_NAME(exp_negative)(V x) {
    V n, r = FNN_NAME(exp_reduce)(v_maxnum(v_set1(EXP_MIN), x), &n);
    return v_ldexp(FNN_NAME(exp_reduced)(r), n);
}

/* exp(x) - 1 = 2 (2^(n-1) p + (2^(n-1) - 1/2)), p = exp(r) - 1 = r + r^2 q(r); the factor
 * 2 stays outside, as 2^n may not fit. What the roundings of r and p drop counts where
 * n is not zero, and p alone is right to its last subnormal where n is. */
FNN_MATH V FNN_NAME(v_expm1)(V x) {
    V half = v_set1((T)0.5), one = v_set1(1); /* -1 from -17.4, -37.5 */
    V a = v_maxnum(v_set1(R(-40.0, -80.0)), v_minnum(v_set1(EXP_MAX), x));
    V n = v_round(v_mul(a, v_set1(LOG2_E)));
    V r1 = v_fnma(n, v_set1(LN2_HI), a), r = v_fnma(n, v_set1(LN2_LO), r1);
    V r_low = v_fnma(n, v_set1(LN2_LO), v_sub(r1, r));
    V w = v_mul(v_mul(r, r), FNN_HORNER(r, exp_q));
    V p = v_add(r, w), p_low = v_add(v_add(v_sub(r, p), w), r_low);
    V s = v_ldexp(one, v_sub(n, one));
    V t = v_fma(s, p, v_fma(s, p_low, v_sub(s, half)));
    return v_copysign(v_sel(v_eq(n, v_zero()), p, v_add(t, t)), x); /* -0 stays */
}

/* With x = n ln 2 - r, 1 / (1 + e^-x) = 2^n / (2^n + e^r), for either sign. The sum: e^r
 * = 1 + r p(r), and its 1 goes last, as the rest is rounded less where it is small. */
FNN_MATH V FNN_NAME(sigmoid_reduce)(V x, V *n) {
    *n = v_round(v_mul(x, v_set1(LOG2_E)));
    return v_fma(*n, v_set1(LN2_LO), v_fma(*n, v_set1(LN2_HI), v_neg(x)));
}
FNN_MATH V FNN_NAME(sigmoid_sum)(V r, V power) {
    return v_add(v_set1(1), v_fma(r, FNN_HORNER(r, exp_p), power));
}
/* A subnormal 2^n is exact, and the quotient is rounded once. */
FNN_MATH V FNN_NAME(v_sigmoid)(V x) {
    x = v_maxnum(v_set1(EXP_MIN), v_minnum(v_set1(ONE_MIN), x));
    V n, r = FNN_NAME(sigmoid_reduce)(x, &n), power = v_ldexp(v_set1(1), n);
    return v_div(power, FNN_NAME(sigmoid_sum)(r, power));
}

#if IS_F32
/* By pieces; 1 from 9.02. */
FNN_MATH V FNN_NAME(v_tanh)(V x) {
    V a = v_minnum(v_set1(9.03125f), v_abs(x));
    V key = v_fma(a, v_set1(1.66015625f), v_set1(1));
    return v_copysign(FNN_PIECES(key, a, tanh_pieces), x);
}
#else
/* t / (t + 2), t = exp(2 |x|) - 1 = 2^n p + (2^n - 1), p = r + r^2 q(r). r, p and t are
 * unevaluated sums: what each rounding drops is kept (Dekker's fast sum, the larger
 * term first) and put back into the quotient by one step with the same reciprocal. */
FNN_MATH V FNN_NAME(v_tanh)(V x) {
    V one = v_set1(1), two = v_set1(2);
    V a = v_minnum(v_set1(20), v_abs(x)); /* tanh is 1 from 19.07 */
    V u = v_add(a, a), n = v_round(v_mul(u, v_set1(LOG2_E)));
    V r1 = v_fnma(n, v_set1(LN2_HI), u), r = v_fnma(n, v_set1(LN2_LO), r1);
    V r_low = v_fnma(n, v_set1(LN2_LO), v_sub(r1, r));
    V w = v_mul(v_mul(r, r), FNN_HORNER(r, exp_q));
    V p = v_add(r, w), p_low = v_add(v_add(v_sub(r, p), w), r_low);
    V s = v_ldexp(one, n), s1 = v_sub(s, one);
    V t = v_fma(s, p, s1), t_low = v_fma(s, p_low, v_fma(s, p, v_sub(s1, t)));
    V d = v_add(t, two);
    V d_low = v_sub(v_minnum(t, two), v_sub(d, v_maxnum(t, two)));
    V inverse = v_div(one, d), y = v_mul(t, inverse);
    V rest = v_add(v_fnma(y, d, t), v_fnma(y, v_add(d_low, t_low), t_low));
    return v_copysign(v_fma(rest, inverse, y), x);
}
#endif

/* -0 stays, NaN stays. */
FNN_MATH V FNN_NAME(v_relu)(V x) { return v_maxnum(v_zero(), x); }

/* ---- log ------------------------------------------------------------------------- */

/* log(x), 0 < x < inf: x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2). float32: f - f^2
 * / 2 + f^3 P(f). float64: with s = f / (2 + f), h = f^2 / 2, log(1 + f) = 2 atanh(s)
 * = f - (h - s (h + s^2 R(s^2))). */
FNN_MATH V FNN_NAME(log_finite)(V x) {
    V e, f = v_sub(v_split(x, &e), v_set1(1));
    V ff = v_mul(f, f), half = v_set1((T)0.5);
    V low = v_mul(e, v_set1(LN2_LO));
#if IS_F32
    V y = v_fma(v_mul(ff, f), FNN_HORNER(f, log_p), low);
    y = v_add(f, v_fnma(ff, half, y));
#else
    V s = v_div(f, v_add(v_set1(2), f));
    V z = v_mul(s, s), h = v_mul(ff, half);
    V y = v_fma(s, v_fma(z, FNN_HORNER(z, log_r), h), low);
    y = v_add(f, v_sub(y, h));
#endif
    return v_fma(e, v_set1(LN2_HI), y);
}
/* Infinity stays; -infinity at zero; NaN below. */
FNN_MATH V FNN_NAME(v_log)(V x) {
    V inf = v_set1((T)INFINITY);
    V below = v_sel(v_eq(x, v_zero()), v_neg(inf), v_set1((T)NAN));
    V y = v_sel(v_lt(x, inf), FNN_NAME(log_finite)(x), x);
    return v_sel(v_lt(v_zero(), x), y, below);
}

/* log(1 + x) = log(u) + (x - (u - 1)) / u, u = 1 + x rounded: gives back what rounding u
 * took (Kahan, HP-15C handbook, appendix). */
FNN_MATH V FNN_NAME(v_log1p)(V x) {
    V one = v_set1(1), u = v_add(one, x), y = m_log(u);
    V full = v_add(y, v_div(v_sub(x, v_sub(u, one)), u));
    M inside = v_mand(v_lt(v_zero(), u), v_lt(u, v_set1((T)INFINITY)));
    return v_copysign(v_sel(inside, full, y), x); /* -0 stays */
}

/* log(1 + e^-a), a >= 0. float32: e^-a H(a), H by pieces, 1 from 17.4. */
FNN_MATH V FNN_NAME(v_log1p_exp)(V a) {
#if IS_F32
    V b = v_minnum(v_set1(17.5f), a), n;
    V h = FNN_PIECES(v_fma(b, v_set1(0.84375f), v_set1(1)), b, softplus_pieces);
    a = v_minnum(v_set1(-EXP_MIN), a);
    V p = FNN_NAME(exp_reduced)(FNN_NAME(exp_reduce)(v_neg(a), &n));
    return v_ldexp(v_mul(p, h), n);
#else
    return m_log1p(m_exp(v_neg(a)));
#endif
}

/* ---- erf and gelu ---------------------------------------------------------------- */

#define TAIL_MAX R(14.5, 38.8125) /* past it a Phi(-a) is zero */
/* p * 2^-n = exp(-a^2 / 2), a^2 = n 2 ln 2 + u. a^2 is not rounded before it is reduced:
 * in the tail that would cost all relative accuracy. */
FNN_MATH V FNN_NAME(exp_square)(V a, V *n) {
    V k = v_round(v_mul(v_mul(a, a), v_set1(LOG2_E / 2)));
    V u = v_fma(a, a, v_mul(k, v_set1(-2 * LN2_HI))); /* the product by k is exact */
    u = v_fnma(k, v_set1(2 * LN2_LO), u);
    *n = v_neg(k);
    return v_fma(u, FNN_HORNER(u, gauss_p), v_set1(1));
}

/* By pieces, the first x + x P(x); 1 from 3.92, 5.92. */
FNN_MATH V FNN_NAME(v_erf)(V x) {
    V a = v_minnum(v_set1(R(3.953125, 5.953125)), v_abs(x));
    V key = v_fma(a, v_set1(R(3.78125, 2.5)), v_set1(1));
    V y = FNN_PIECES(key, a, erf_pieces);
    M first = v_lt(key, v_set1(R(1.25, 1.5)));
    return v_copysign(v_sel(first, v_add(a, y), y), x);
}
/* x Phi(x) = max(x, 0) - a Phi(-a), a = |x|, with a left tail that is good to its last
 * subnormal: a Phi(-a) = exp(-a^2 / 2) G(a), G by pieces. gelu(-inf) is the limit, -0. */
FNN_MATH V FNN_NAME(v_gelu)(V x) {
    V a = v_minnum(v_set1(TAIL_MAX), v_abs(x)), n;
    V key = IS_F32 ? v_add(a, v_set1((T)1.125))
                   : v_fma(a, v_set1((T)0.384765625), v_set1(1));
    V g = FNN_PIECES(key, a, gelu_pieces), p = FNN_NAME(exp_square)(a, &n);
    V left = v_ldexp(v_mul(p, g), n);
    return v_sub(v_maxnum(v_set1((T)-0.0), x), left); /* -0 keeps left's sign at -inf */
}
#if !IS_F32
/* The normal distribution's tail: Phi(-a) = exp(-a^2 / 2) * tail(a), a >= 0, to
 * a = TAIL_MAX: G((a - K) / (a + K)) / (a + K). */
#define TAIL_K 6.0
FNN_MATH V FNN_NAME(tail)(V a) {
    V inverse = v_div(v_set1(1), v_add(a, v_set1(TAIL_K)));
    V t = v_mul(v_sub(a, v_set1(TAIL_K)), inverse);
    return v_mul(FNN_HORNER(t, tail_g), inverse);
}
#endif
/* Its derivative d(x) = Phi(x) + x phi(x): d(-a) = exp(-a^2 / 2) D(a), d(a) = 1 - d(-a).
 * Near its zero, -0.75, the error is absolute, as in any such sum. */
FNN_MATH V FNN_NAME(v_gelu_slope)(V x) {
    V a = v_minnum(v_set1(TAIL_MAX), v_abs(x)), n, one = v_set1(1);
    V p = FNN_NAME(exp_square)(a, &n);
#if IS_F32
    V d = FNN_PIECES(v_add(a, one), a, slope_pieces);
#else
    V d = v_fnma(a, v_set1(RSQRT_2PI), FNN_NAME(tail)(a));
#endif
    d = v_ldexp(v_mul(p, d), n);
    return v_sel(v_lt(x, v_zero()), d, v_sub(one, d));
}

/* The tanh form: x sigmoid(v), v = c1 x + c2 x^3, with c1 = 2 sqrt(2 / pi) and
 * c2 = 0.044715 c1. In the left tail v nears 100 or 700, and its rounding would cost as
 * many units in the last place: v = x (q + low), the constants' low parts in low, and
 * x q is not rounded before n ln 2 is taken from it. C1 has so few bits that q - C1 is
 * exact. Left of -TANH_MAX the product is zero; its exponential is from TANH_ONE on. */
#define TANH_MAX R(11.0, 22.0)
#define TANH_ONE R(6.0, 8.0)
#define TANH_C1 R(0x1.988p+0, 0x1.988453p+0)
#define TANH_C2 R(0x1.2444f2p-4, 0x1.2444f2a4d8b4bp-4)
#define TANH_C1_LOW R(0x1.14cf5p-14, 0x1.ea1b284687e5ap-27)
#define TANH_C2_LOW R(0x1.49b16ap-29, -0x1.6c843a29d1c7p-61)
/* v = n ln 2 - r. */
FNN_MATH V FNN_NAME(cubic_reduce)(V x, V *n) {
    V c1 = v_set1(TANH_C1), c2 = v_set1(TANH_C2);
    V s = v_mul(x, x), s_low = v_fma(x, x, v_neg(s)), q = v_fma(c2, s, c1);
    V low = v_fma(s, v_set1(TANH_C2_LOW), v_set1(TANH_C1_LOW));
    low = v_add(v_fma(c2, s_low, low), v_fma(c2, s, v_sub(c1, q)));
    *n = v_round(v_mul(v_mul(x, q), v_set1(LOG2_E)));
    V r = v_fnma(x, q, v_mul(*n, v_set1(LN2_HI))); /* the product by n is exact */
    return v_fma(*n, v_set1(LN2_LO), v_fnma(x, low, r));
}
/* gelu_tanh(-inf) is the limit, -0. */
FNN_MATH V FNN_NAME(v_gelu_tanh)(V x) {
    V n;
    x = v_maxnum(v_set1(-TANH_MAX), x);
    V r = FNN_NAME(cubic_reduce)(v_minnum(v_set1(TANH_ONE), x), &n);
    V d = FNN_NAME(sigmoid_sum)(r, v_ldexp(v_set1(1), n));
    return v_ldexp(v_div(x, d), n);
}
/* g (1 + x v'(x) (1 - g)), g = sigmoid(v), 1 - g = e^r / (2^n + e^r). Near its zero the
 * error is absolute. */
FNN_MATH V FNN_NAME(v_gelu_tanh_slope)(V x) {
    V one = v_set1(1), n;
    x = v_maxnum(v_set1(-TANH_MAX), v_minnum(v_set1(TANH_ONE), x));
    V p = FNN_NAME(exp_reduced)(FNN_NAME(cubic_reduce)(x, &n));
    V inverse = v_div(one, v_add(p, v_ldexp(one, n)));
    V v1 = v_fma(v_mul(x, x), v_set1(3 * TANH_C2), v_set1(TANH_C1 + TANH_C1_LOW));
    V d = v_fma(v_mul(x, v1), v_mul(p, inverse), one);
    return v_ldexp(v_mul(inverse, d), n);
}

/* x s(x) and its derivative s(x) (1 + x s(-x)), s the sigmoid. In the left tail 2^n goes
 * last, so that what is subnormal is rounded once; past SILU_MAX, a e^-a is zero.
 * silu(-inf) is the limit, -0. */
#define SILU_MAX R(110.0, 760.0)
FNN_MATH V FNN_NAME(v_silu)(V x) {
    V n;
    x = v_maxnum(v_set1(-SILU_MAX), x);
    V r = FNN_NAME(sigmoid_reduce)(v_minnum(v_set1(ONE_MIN), x), &n);
    V d = FNN_NAME(sigmoid_sum)(r, v_ldexp(v_set1(1), n));
    return v_ldexp(v_div(x, d), n);
}
FNN_MATH V FNN_NAME(v_silu_slope)(V x) {
    V one = v_set1(1), n;
    x = v_maxnum(v_set1(-SILU_MAX), v_minnum(v_set1(ONE_MIN), x));
    V p = FNN_NAME(exp_reduced)(FNN_NAME(sigmoid_reduce)(x, &n));
    V inverse = v_div(one, v_add(p, v_ldexp(one, n)));
    V d = v_fma(x, v_mul(p, inverse), one);
    return v_ldexp(v_mul(inverse, d), n);
}

/* ---- pow ------------------------------------------------------------------------- */

/* y clamped to where x^y is 0, 1 or infinite for every x, so that infinity times zero
 * is not met on the way. */
FNN_MATH V FNN_NAME(pow_clamp)(V y) {
    V big = v_set1((T)0x1p65);
    return v_maxnum(v_neg(big), v_minnum(big, y));
}
/* C99's table (annex F.9.4.4) around r = exp(y log|x|), 0 < |x| < inf. */
FNN_MATH V FNN_NAME(pow_limits)(V x, V y, V r) {
    V zero = v_zero(), one = v_set1(1), inf = v_set1((T)INFINITY), a = v_abs(x);
    M x_zero = v_eq(a, zero), x_inf = v_eq(a, inf), y_below = v_lt(y, zero);
    r = v_sel(x_zero, v_sel(y_below, inf, zero), r);
    r = v_sel(x_inf, v_sel(y_below, zero, inf), r);
    V half = v_mul(y, v_set1((T)0.5));
    M whole = v_eq(v_round(y), y); /* infinity is even */
    M odd = v_mand(whole, v_mnot(v_eq(v_round(half), half)));
    M minus = v_lt(v_copysign(one, x), zero);
    r = v_sel(v_mand(minus, odd), v_neg(r), r);
    M no_root = v_mand(v_mand(v_lt(x, zero), v_lt(a, inf)), v_mnot(whole));
    M nan = v_mor(no_root, v_mor(v_isnan(x), v_isnan(y)));
    r = v_sel(nan, v_set1((T)NAN), r);
    return v_sel(v_mor(v_eq(y, zero), v_eq(x, one)), one, r);
}

#if !IS_F32
/* float32's x^y, x > 0, through this: some 20 bits to spare. */
FNN_MATH V FNN_NAME(pow_of_floats)(V x, V y) {
    return FNN_NAME(v_exp)(v_mul(y, FNN_NAME(log_finite)(x)));
}

/* exp(y log|x|) with the logarithm as an unevaluated sum of two doubles, good to some
 * 65 bits: its error is multiplied by y log|x|, up to 745. With s = f / (2 + f), as in
 * v_log, log(1 + f) = 2 s + s^3 (2/3 + s^2 Q(s^2)). */
FNN_MATH V FNN_NAME(v_pow)(V x, V y) {
    V one = v_set1(1), e, m = v_split(v_abs(x), &e);
    V f = v_sub(m, one), g = v_add(m, one), g_low = v_sub(m, v_sub(g, one));
    V s = v_div(f, g);
    V s_low = v_fnma(s, g_low, v_fnma(s, g, f)); /* times 1 / (m + 1) = (1 - s) / 2 */
    s_low = v_mul(s_low, v_fnma(s, v_set1(0.5), v_set1(0.5)));
    V z = v_mul(s, s), z_low = v_fma(v_add(s, s), s_low, v_fma(s, s, v_neg(z)));
    V q = v_mul(z, FNN_HORNER(z, pow_q)), third = v_set1(0x1.5555555555555p-1);
    V c = v_add(third, q), c_low = v_add(v_sub(third, c), q);
    c_low = v_add(c_low, v_set1(0x1.5555555555555p-55)); /* 2/3, the rest */
    V d = v_mul(z, c), d_low = v_fma(z, c, v_neg(d));
    d_low = v_fma(z_low, c, v_fma(z, c_low, d_low));
    V t = v_mul(s, d), t_low = v_fma(s, d, v_neg(t));
    t_low = v_fma(s_low, d, v_fma(s, d_low, t_low));
    V s2 = v_add(s, s), l = v_add(s2, t), l_low = v_add(v_sub(s2, l), t);
    l_low = v_add(l_low, v_add(t_low, v_add(s_low, s_low)));
    /* + e ln 2: e LN2_HI is exact, and larger than l where e is not zero */
    V k = v_mul(e, v_set1(LN2_HI)), h = v_add(k, l);
    V h_low = v_fma(e, v_set1(LN2_LO), v_add(v_add(v_sub(k, h), l), l_low));
    V sum = v_add(h, h_low);
    h_low = v_add(v_sub(h, sum), h_low);
    /* times y; the low part is below 1e-13 where the result is finite and not zero */
    y = FNN_NAME(pow_clamp)(y);
    V p = v_mul(y, sum), p_low = v_fma(y, h_low, v_fma(y, sum, v_neg(p))), n;
    V tiny = v_set1(1e-12);
    p_low = v_maxnum(v_neg(tiny), v_minnum(tiny, p_low));
    p = v_maxnum(v_set1(EXP_MIN), v_minnum(v_set1(EXP_MAX), p));
    V r = v_add(FNN_NAME(exp_reduce)(p, &n), p_low);
    r = v_ldexp(FNN_NAME(exp_reduced)(r), n);
    return FNN_NAME(pow_limits)(x, y, r);
}
#else
FNN_MATH V FNN_NAME(v_pow)(V x, V y) {
    vf64 x_lo, x_hi, y_lo, y_hi;
    vf32_widen(v_abs(x), &x_lo, &x_hi);
    vf32_widen(FNN_NAME(pow_clamp)(y), &y_lo, &y_hi);
    V r = vf32_narrow(FNN_JOIN3(pow_of_floats, f64, FNN_ISA)(x_lo, y_lo),
                      FNN_JOIN3(pow_of_floats, f64, FNN_ISA)(x_hi, y_hi));
    return FNN_NAME(pow_limits)(x, y, r);
}
#endif

/* ---- sine and cosine ------------------------------------------------------------- */

/* sin(pi u) and cos(pi u), |u| <= 1: u = k / 2 + r exactly, |r| <= 1/4, then a table of
 * signs and swaps by k. */
FNN_MATH void FNN_NAME(v_sincospi)(V u, V *sine, V *cosine) {
    V half = v_set1((T)0.5), zero = v_zero();
    V k = v_round(v_add(u, u));
    V r = v_fnma(k, half, u), z = v_mul(r, r);
    V s = v_mul(r, FNN_HORNER(z, sin_p));
    s = v_fma(r, v_set1(R(0x1.921fb6p+1, 0x1.921fb54442d18p+1)), s); /* pi r + ... */
    V c = v_fma(z, FNN_HORNER(z, cos_p), v_set1(1));
    V h = v_mul(k, half);
    M even = v_eq(v_round(h), h);
    V a = v_sel(even, s, c), b = v_sel(even, c, s);
    M a_minus = v_mor(v_lt(k, zero), v_lt(v_set1((T)1.5), k));
    M b_minus = v_mor(v_lt(zero, k), v_lt(k, v_set1((T)-1.5)));
    *sine = v_sel(a_minus, v_neg(a), a);
    *cosine = v_sel(b_minus, v_neg(b), b);
}

#undef R
#undef LN2_HI
#undef LN2_LO
#undef LOG2_E
#undef EXP_MIN
#undef EXP_MAX
#undef ONE_MIN
#undef RSQRT_2PI
#undef TAIL_MAX
#undef TAIL_K
#undef TANH_C1
#undef TANH_C2
#undef TANH_C1_LOW
#undef TANH_C2_LOW
#undef TANH_MAX
#undef TANH_ONE
#undef SILU_MAX
