/* The vector layer on aarch64's NEON: four registers a vector, low lanes first. A mask
 * is four registers as well, all ones where true. See names.h. */
#include <arm_neon.h>

typedef struct {
    float32x4_t q[4];
} vf32;
typedef struct {
    float64x2_t q[4];
} vf64;
typedef struct {
    uint64x2_t q[4];
} vu64;
typedef struct {
    uint32x4_t q[4];
} mf32;
typedef struct {
    uint64x2_t q[4];
} mf64;

#define SI static inline __attribute__((always_inline, unused))

/* f(register) ... over the four, written out so that none lives in memory. */
#define UNARY(name, V, R, f) \
    SI R name(V v) { return (R){{f(v.q[0]), f(v.q[1]), f(v.q[2]), f(v.q[3])}}; }
#define BINARY(name, V, R, f)                                                \
    SI R name(V v, V w) {                                                    \
        return (R){{f(v.q[0], w.q[0]), f(v.q[1], w.q[1]), f(v.q[2], w.q[2]), \
                    f(v.q[3], w.q[3])}};                                     \
    }
#define TERNARY(name, U, V, R, f)                                           \
    SI R name(U u, V v, V w) {                                              \
        return (R){{f(u.q[0], v.q[0], w.q[0]), f(u.q[1], v.q[1], w.q[1]),   \
                    f(u.q[2], v.q[2], w.q[2]), f(u.q[3], v.q[3], w.q[3])}}; \
    }

/* One register's share of what NEON has no single instruction for. */
#define FMA32(x, y, z) vfmaq_f32(z, x, y)
#define FMA64(x, y, z) vfmaq_f64(z, x, y)
#define FNMA32(x, y, z) vfmsq_f32(z, x, y)
#define FNMA64(x, y, z) vfmsq_f64(z, x, y)
#define SIGN32(x, y) vbslq_f32(vdupq_n_u32(0x80000000u), y, x)
#define SIGN64(x, y) vbslq_f64(vdupq_n_u64(0x8000000000000000u), y, x)
#define MAX32(x, y) vbslq_f32(vcgtq_f32(x, y), x, y)
#define MAX64(x, y) vbslq_f64(vcgtq_f64(x, y), x, y)
#define MIN32(x, y) vbslq_f32(vcltq_f32(x, y), x, y)
#define MIN64(x, y) vbslq_f64(vcltq_f64(x, y), x, y)
#define NAN32(x) vmvnq_u32(vceqq_f32(x, x))
#define NOT64(x) veorq_u64(x, vdupq_n_u64(~(uint64_t)0))
#define NAN64(x) NOT64(vceqq_f64(x, x))

/* 2^n in two factors: the first product is exact wherever the result is not zero, the
 * second rounds. */
SI float32x4_t ldexp_q32(float32x4_t v, float32x4_t n) {
    int32x4_t e = vcvtnq_s32_f32(n), one = vdupq_n_s32(127);
    int32x4_t half = vshrq_n_s32(e, 1), rest = vsubq_s32(e, half);
    half = vshlq_n_s32(vaddq_s32(half, one), 23);
    rest = vshlq_n_s32(vaddq_s32(rest, one), 23);
    v = vmulq_f32(v, vreinterpretq_f32_s32(half));
    return vmulq_f32(v, vreinterpretq_f32_s32(rest));
}
SI float64x2_t ldexp_q64(float64x2_t v, float64x2_t n) {
    int64x2_t e = vcvtnq_s64_f64(n), one = vdupq_n_s64(1023);
    int64x2_t half = vshrq_n_s64(e, 1), rest = vsubq_s64(e, half);
    half = vshlq_n_s64(vaddq_s64(half, one), 52);
    rest = vshlq_n_s64(vaddq_s64(rest, one), 52);
    v = vmulq_f64(v, vreinterpretq_f64_s64(half));
    return vmulq_f64(v, vreinterpretq_f64_s64(rest));
}
/* With the bits of sqrt(1/2) taken away, the exponent field is e. */
SI float32x4_t split_q32(float32x4_t v, float32x4_t *e) {
    uint32x4_t tiny = vcltq_f32(v, vdupq_n_f32(1.17549435e-38f));
    v = vbslq_f32(tiny, vmulq_f32(v, vdupq_n_f32(16777216.0f)), v);
    int32x4_t u = vreinterpretq_s32_f32(v);
    int32x4_t k = vshrq_n_s32(vsubq_s32(u, vdupq_n_s32(0x3f3504f3)), 23);
    int32x4_t shift = vandq_s32(vreinterpretq_s32_u32(tiny), vdupq_n_s32(24));
    *e = vcvtq_f32_s32(vsubq_s32(k, shift));
    return vreinterpretq_f32_s32(vsubq_s32(u, vshlq_n_s32(k, 23)));
}
SI float64x2_t split_q64(float64x2_t v, float64x2_t *e) {
    uint64x2_t tiny = vcltq_f64(v, vdupq_n_f64(2.2250738585072014e-308));
    v = vbslq_f64(tiny, vmulq_f64(v, vdupq_n_f64(18014398509481984.0)), v);
    int64x2_t u = vreinterpretq_s64_f64(v);
    int64x2_t k = vshrq_n_s64(vsubq_s64(u, vdupq_n_s64(0x3fe6a09e667f3bcd)), 52);
    int64x2_t shift = vandq_s64(vreinterpretq_s64_u64(tiny), vdupq_n_s64(54));
    *e = vcvtq_f64_s64(vsubq_s64(k, shift));
    return vreinterpretq_f64_s64(vsubq_s64(u, vshlq_n_s64(k, 52)));
}

/* The table is 64 bytes: a lane's four have the places 4 k to 4 k + 3. */
SI float32x4_t lookup_q32(const float *table, float32x4_t v) {
    const uint8_t *p = (const uint8_t *)table;
    uint8x16x4_t t = {
        {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
    uint32x4_t k =
        vandq_u32(vshrq_n_u32(vreinterpretq_u32_f32(v), 21), vdupq_n_u32(15));
    k = vmlaq_n_u32(vdupq_n_u32(0x03020100u), k, 0x04040404u);
    return vreinterpretq_f32_u8(vqtbl4q_u8(t, vreinterpretq_u8_u32(k)));
}
SI vf32 f32_lookup(const float *table, vf32 v) {
    return (vf32){{lookup_q32(table, v.q[0]), lookup_q32(table, v.q[1]),
                   lookup_q32(table, v.q[2]), lookup_q32(table, v.q[3])}};
}

/* A lane's eight have the places 8 k to 8 k + 7. */
SI float64x2_t lookup_q64(const double *table, float64x2_t v) {
    static const uint8_t first[16] = {0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8};
    static const uint8_t place[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    const uint8_t *p = (const uint8_t *)table;
    uint8x16x4_t t = {
        {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
    uint64x2_t k = vshrq_n_u64(vreinterpretq_u64_f64(v), 51);
    k = vandq_u64(k, vdupq_n_u64(7));
    uint8x16_t b = vqtbl1q_u8(vreinterpretq_u8_u64(k), vld1q_u8(first));
    b = vaddq_u8(vshlq_n_u8(b, 3), vld1q_u8(place));
    return vreinterpretq_f64_u8(vqtbl4q_u8(t, b));
}
SI vf64 f64_lookup(const double *table, vf64 v) {
    return (vf64){{lookup_q64(table, v.q[0]), lookup_q64(table, v.q[1]),
                   lookup_q64(table, v.q[2]), lookup_q64(table, v.q[3])}};
}

/* What both families share: T the C type, s its suffix, W lanes a register. */
#define FAMILY(P, T, V, M, s, W, bits)                                                \
    SI V P##_load(const T *p) {                                                       \
        return (V){{vld1q_##s(p), vld1q_##s(p + W), vld1q_##s(p + 2 * W),             \
                    vld1q_##s(p + 3 * W)}};                                           \
    }                                                                                 \
    SI void P##_store(T *p, V v) {                                                    \
        vst1q_##s(p, v.q[0]);                                                         \
        vst1q_##s(p + W, v.q[1]);                                                     \
        vst1q_##s(p + 2 * W, v.q[2]);                                                 \
        vst1q_##s(p + 3 * W, v.q[3]);                                                 \
    }                                                                                 \
    SI void P##_stream(T *p, V v) { P##_store(p, v); }                                \
    SI V P##_loadn(const T *p, ptrdiff_t n) {                                         \
        T t[4 * W] = {0};                                                             \
        for (ptrdiff_t i = 0; i < n && i < 4 * W; i++) {                              \
            t[i] = p[i];                                                              \
        }                                                                             \
        return P##_load(t);                                                           \
    }                                                                                 \
    SI void P##_storen(T *p, V v, ptrdiff_t n) {                                      \
        T t[4 * W];                                                                   \
        P##_store(t, v);                                                              \
        for (ptrdiff_t i = 0; i < n && i < 4 * W; i++) {                              \
            p[i] = t[i];                                                              \
        }                                                                             \
    }                                                                                 \
    SI V P##_keep(V v) { return v; }                                                  \
    SI V P##_set1(T x) {                                                              \
        return (V){{vdupq_n_##s(x), vdupq_n_##s(x), vdupq_n_##s(x), vdupq_n_##s(x)}}; \
    }                                                                                 \
    SI V P##_zero(void) { return P##_set1(0); }                                       \
    BINARY(P##_add, V, V, vaddq_##s)                                                  \
    BINARY(P##_sub, V, V, vsubq_##s)                                                  \
    BINARY(P##_mul, V, V, vmulq_##s)                                                  \
    BINARY(P##_div, V, V, vdivq_##s)                                                  \
    TERNARY(P##_fma, V, V, V, FMA##bits)                                              \
    TERNARY(P##_fnma, V, V, V, FNMA##bits)                                            \
    UNARY(P##_sqrt, V, V, vsqrtq_##s)                                                 \
    UNARY(P##_neg, V, V, vnegq_##s)                                                   \
    UNARY(P##_abs, V, V, vabsq_##s)                                                   \
    UNARY(P##_round, V, V, vrndnq_##s)                                                \
    BINARY(P##_copysign, V, V, SIGN##bits)                                            \
    BINARY(P##_maxnum, V, V, MAX##bits)                                               \
    BINARY(P##_minnum, V, V, MIN##bits)                                               \
    BINARY(P##_lt, V, M, vcltq_##s)                                                   \
    BINARY(P##_le, V, M, vcleq_##s)                                                   \
    BINARY(P##_eq, V, M, vceqq_##s)                                                   \
    UNARY(P##_isnan, V, M, NAN##bits)                                                 \
    BINARY(P##_mand, M, M, vandq_u##bits)                                             \
    BINARY(P##_mor, M, M, vorrq_u##bits)                                              \
    TERNARY(P##_sel, M, V, V, vbslq_##s)                                              \
    BINARY(P##_ldexp, V, V, ldexp_q##bits)                                            \
    SI V P##_split(V v, V *e) {                                                       \
        return (V){{split_q##bits(v.q[0], &e->q[0]), split_q##bits(v.q[1], &e->q[1]), \
                    split_q##bits(v.q[2], &e->q[2]),                                  \
                    split_q##bits(v.q[3], &e->q[3])}};                                \
    }
FAMILY(f32, float, vf32, mf32, f32, 4, 32)
FAMILY(f64, double, vf64, mf64, f64, 2, 64)
UNARY(f32_mnot, mf32, mf32, vmvnq_u32)
UNARY(f64_mnot, mf64, mf64, NOT64)

/* Lane i with i + LANES / 2, then with LANES / 4, ... */
#define TREE32(name, f, last)                                     \
    SI float f32_##name(vf32 v) {                                 \
        float32x4_t x = f(v.q[0], v.q[2]), y = f(v.q[1], v.q[3]); \
        x = f(x, y);                                              \
        x = f(x, vextq_f32(x, x, 2));                             \
        float a = vgetq_lane_f32(x, 0), b = vgetq_lane_f32(x, 1); \
        return last;                                              \
    }
#define TREE64(name, f, last)                                      \
    SI double f64_##name(vf64 v) {                                 \
        float64x2_t x = f(v.q[0], v.q[2]), y = f(v.q[1], v.q[3]);  \
        x = f(x, y);                                               \
        double a = vgetq_lane_f64(x, 0), b = vgetq_lane_f64(x, 1); \
        return last;                                               \
    }
TREE32(hsum, vaddq_f32, a + b)
TREE32(hmax, MAX32, a > b ? a : b)
TREE32(hmin, MIN32, a < b ? a : b)
TREE64(hsum, vaddq_f64, a + b)
TREE64(hmax, MAX64, a > b ? a : b)
TREE64(hmin, MIN64, a < b ? a : b)

/* ---- masks as bytes ---- */

SI void f32_mstore(uint8_t *p, mf32 m, ptrdiff_t n) {
    uint16x8_t lo = vcombine_u16(vmovn_u32(m.q[0]), vmovn_u32(m.q[1]));
    uint16x8_t hi = vcombine_u16(vmovn_u32(m.q[2]), vmovn_u32(m.q[3]));
    uint8x16_t b = vcombine_u8(vmovn_u16(lo), vmovn_u16(hi));
    b = vandq_u8(b, vdupq_n_u8(1));
    if (n >= 16) {
        vst1q_u8(p, b);
    } else {
        uint8_t t[16];
        vst1q_u8(t, b);
        for (ptrdiff_t i = 0; i < n; i++) {
            p[i] = t[i];
        }
    }
}
SI void f64_mstore(uint8_t *p, mf64 m, ptrdiff_t n) {
    uint32x4_t lo = vcombine_u32(vmovn_u64(m.q[0]), vmovn_u64(m.q[1]));
    uint32x4_t hi = vcombine_u32(vmovn_u64(m.q[2]), vmovn_u64(m.q[3]));
    uint8x8_t b = vmovn_u16(vcombine_u16(vmovn_u32(lo), vmovn_u32(hi)));
    uint8_t t[8];
    vst1_u8(t, vand_u8(b, vdup_n_u8(1)));
    for (ptrdiff_t i = 0; i < n && i < 8; i++) {
        p[i] = t[i];
    }
}
SI mf32 f32_mload(const uint8_t *p, ptrdiff_t n) {
    uint8_t t[16] = {0};
    for (ptrdiff_t i = 0; i < n && i < 16; i++) {
        t[i] = p[i];
    }
    uint8x16_t b = n >= 16 ? vld1q_u8(p) : vld1q_u8(t);
    uint16x8_t lo = vmovl_u8(vget_low_u8(b)), hi = vmovl_u8(vget_high_u8(b));
    uint32x4_t zero = vdupq_n_u32(0);
    return (mf32){{vcgtq_u32(vmovl_u16(vget_low_u16(lo)), zero),
                   vcgtq_u32(vmovl_u16(vget_high_u16(lo)), zero),
                   vcgtq_u32(vmovl_u16(vget_low_u16(hi)), zero),
                   vcgtq_u32(vmovl_u16(vget_high_u16(hi)), zero)}};
}
SI mf64 f64_mload(const uint8_t *p, ptrdiff_t n) {
    uint64_t t[8] = {0};
    for (ptrdiff_t i = 0; i < n && i < 8; i++) {
        t[i] = p[i];
    }
    uint64x2_t zero = vdupq_n_u64(0);
    return (mf64){{vcgtq_u64(vld1q_u64(t), zero), vcgtq_u64(vld1q_u64(t + 2), zero),
                   vcgtq_u64(vld1q_u64(t + 4), zero),
                   vcgtq_u64(vld1q_u64(t + 6), zero)}};
}

/* ---- transposes: blocks of one register a side ---- */

SI void f32_transpose(vf32 *r) {
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) { /* within each block */
            float64x2_t a, b, c, d;
            a = vreinterpretq_f64_f32(vtrn1q_f32(r[4 * i].q[j], r[4 * i + 1].q[j]));
            b = vreinterpretq_f64_f32(vtrn2q_f32(r[4 * i].q[j], r[4 * i + 1].q[j]));
            c = vreinterpretq_f64_f32(vtrn1q_f32(r[4 * i + 2].q[j], r[4 * i + 3].q[j]));
            d = vreinterpretq_f64_f32(vtrn2q_f32(r[4 * i + 2].q[j], r[4 * i + 3].q[j]));
            r[4 * i].q[j] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
            r[4 * i + 1].q[j] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
            r[4 * i + 2].q[j] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
            r[4 * i + 3].q[j] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
        }
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < i; j++) {
            for (int k = 0; k < 4; k++) { /* then blocks change places */
                float32x4_t t = r[4 * i + k].q[j];
                r[4 * i + k].q[j] = r[4 * j + k].q[i];
                r[4 * j + k].q[i] = t;
            }
        }
    }
}
SI void f64_transpose(vf64 *r) {
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            float64x2_t a = r[2 * i].q[j], b = r[2 * i + 1].q[j];
            r[2 * i].q[j] = vtrn1q_f64(a, b);
            r[2 * i + 1].q[j] = vtrn2q_f64(a, b);
        }
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < i; j++) {
            for (int k = 0; k < 2; k++) {
                float64x2_t t = r[2 * i + k].q[j];
                r[2 * i + k].q[j] = r[2 * j + k].q[i];
                r[2 * j + k].q[i] = t;
            }
        }
    }
}

/* ---- elements by place ---- */

#define AT(P, T, V, M, N)                                                        \
    SI V P##_at(const T *p, ptrdiff_t ld, V row, V col, M m, V other) {          \
        T i[N], j[N], r[N];                                                      \
        uint8_t inside[N];                                                       \
        P##_store(i, row);                                                       \
        P##_store(j, col);                                                       \
        P##_store(r, other);                                                     \
        P##_mstore(inside, m, N);                                                \
        for (int k = 0; k < N; k++) {                                            \
            r[k] = inside[k] ? p[(ptrdiff_t)i[k] * ld + (ptrdiff_t)j[k]] : r[k]; \
        }                                                                        \
        return P##_load(r);                                                      \
    }
AT(f32, float, vf32, mf32, 16)
AT(f64, double, vf64, mf64, 8)
#undef AT

/* ---- every second lane ---- */

#define PICK(P, V, s)                                                         \
    SI V P##_even(V a, V b) {                                                 \
        return (V){{vuzp1q_##s(a.q[0], a.q[1]), vuzp1q_##s(a.q[2], a.q[3]),   \
                    vuzp1q_##s(b.q[0], b.q[1]), vuzp1q_##s(b.q[2], b.q[3])}}; \
    }                                                                         \
    SI V P##_odd(V a, V b) {                                                  \
        return (V){{vuzp2q_##s(a.q[0], a.q[1]), vuzp2q_##s(a.q[2], a.q[3]),   \
                    vuzp2q_##s(b.q[0], b.q[1]), vuzp2q_##s(b.q[2], b.q[3])}}; \
    }                                                                         \
    SI V P##_zip_low(V a, V b) {                                              \
        return (V){{vzip1q_##s(a.q[0], b.q[0]), vzip2q_##s(a.q[0], b.q[0]),   \
                    vzip1q_##s(a.q[1], b.q[1]), vzip2q_##s(a.q[1], b.q[1])}}; \
    }                                                                         \
    SI V P##_zip_high(V a, V b) {                                             \
        return (V){{vzip1q_##s(a.q[2], b.q[2]), vzip2q_##s(a.q[2], b.q[2]),   \
                    vzip1q_##s(a.q[3], b.q[3]), vzip2q_##s(a.q[3], b.q[3])}}; \
    }
PICK(f32, vf32, f32)
PICK(f64, vf64, f64)
#undef PICK

/* ---- between ---- */

SI void vf32_widen(vf32 v, vf64 *lo, vf64 *hi) {
    *lo = (vf64){{vcvt_f64_f32(vget_low_f32(v.q[0])), vcvt_high_f64_f32(v.q[0]),
                  vcvt_f64_f32(vget_low_f32(v.q[1])), vcvt_high_f64_f32(v.q[1])}};
    *hi = (vf64){{vcvt_f64_f32(vget_low_f32(v.q[2])), vcvt_high_f64_f32(v.q[2]),
                  vcvt_f64_f32(vget_low_f32(v.q[3])), vcvt_high_f64_f32(v.q[3])}};
}
SI void vf32_load_wide(const float *p, vf64 *lo, vf64 *hi) {
    vf32_widen(f32_load(p), lo, hi);
}
SI vf32 vf32_narrow(vf64 lo, vf64 hi) {
    return (vf32){{vcvt_high_f32_f64(vcvt_f32_f64(lo.q[0]), lo.q[1]),
                   vcvt_high_f32_f64(vcvt_f32_f64(lo.q[2]), lo.q[3]),
                   vcvt_high_f32_f64(vcvt_f32_f64(hi.q[0]), hi.q[1]),
                   vcvt_high_f32_f64(vcvt_f32_f64(hi.q[2]), hi.q[3])}};
}

/* ---- integers ---- */

#define WORDS(x) vreinterpretq_u32_u64(x)
#define MUL32(x, y) vmull_u32(vmovn_u64(x), vmovn_u64(y))
#define HIGH(x) vshrq_n_u64(x, 32)
#define JOIN(x, y) vsliq_n_u64(x, y, 32)
#define GE32(x, y) vcgeq_u32(WORDS(x), WORDS(y))
#define UNIT32(x) \
    vmulq_f32(vcvtq_f32_u32(vshrq_n_u32(WORDS(x), 8)), vdupq_n_f32(0x1p-24f))
#define UNIT64(x) vmulq_f64(vcvtq_f64_u64(vshrq_n_u64(x, 11)), vdupq_n_f64(0x1p-53))
SI vu64 u64_load(const uint64_t *p) {
    return (vu64){{vld1q_u64(p), vld1q_u64(p + 2), vld1q_u64(p + 4), vld1q_u64(p + 6)}};
}
SI void u64_store(uint64_t *p, vu64 v) {
    vst1q_u64(p, v.q[0]);
    vst1q_u64(p + 2, v.q[1]);
    vst1q_u64(p + 4, v.q[2]);
    vst1q_u64(p + 6, v.q[3]);
}
SI vu64 u64_set1(uint64_t x) {
    return (vu64){{vdupq_n_u64(x), vdupq_n_u64(x), vdupq_n_u64(x), vdupq_n_u64(x)}};
}
BINARY(u64_add, vu64, vu64, vaddq_u64)
BINARY(u64_mul32, vu64, vu64, MUL32)
UNARY(u64_high, vu64, vu64, HIGH)
BINARY(u64_xor, vu64, vu64, veorq_u64)
BINARY(u64_join, vu64, vu64, JOIN)
BINARY(u64_even, vu64, vu64, vtrn1q_u64)
BINARY(u64_odd, vu64, vu64, vtrn2q_u64)
BINARY(u64_ge32, vu64, mf32, GE32)
UNARY(f32_unit, vu64, vf32, UNIT32)
UNARY(f64_unit, vu64, vf64, UNIT64)
UNARY(f32_bits, vf32, vu64, vreinterpretq_u64_f32)
UNARY(f32_from, vu64, vf32, vreinterpretq_f32_u64)
UNARY(f64_bits, vf64, vu64, vreinterpretq_u64_f64)
UNARY(f64_from, vu64, vf64, vreinterpretq_f64_u64)

#undef SI
#undef UNARY
#undef BINARY
#undef TERNARY
#undef FMA32
#undef FMA64
#undef FNMA32
#undef FNMA64
#undef SIGN32
#undef SIGN64
#undef MAX32
#undef MAX64
#undef MIN32
#undef MIN64
#undef NAN32
#undef NOT64
#undef NAN64
#undef FAMILY
#undef WORDS
#undef MUL32
#undef HIGH
#undef JOIN
#undef GE32
#undef UNIT32
#undef UNIT64
#undef TREE32
#undef TREE64
