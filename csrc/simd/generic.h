/* The vector layer in plain C: arrays in structs, one loop a function. See names.h.
 *
 * The correctness tier, and the definition that every other ISA must match bit for bit.
 * The only library functions are fma and sqrt, which IEEE 754 rounds exactly; integers
 * that may wrap are unsigned, so that no input is undefined behaviour. */

typedef struct {
    float x[16];
} vf32;
typedef struct {
    double x[8];
} vf64;
typedef struct {
    uint64_t x[8];
} vu64;
typedef struct {
    uint32_t x[16];
} mf32; /* 0 or 1 */
typedef struct {
    uint32_t x[8];
} mf64;

/* Not forced inline, nor are the math functions: 37 seconds of compiling otherwise. */
#define SI static inline __attribute__((unused))
#define FNN_MATH static __attribute__((noinline, unused))

/* One lane's bits. */
SI uint32_t bits32(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
SI float from32(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
SI uint64_t bits64(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
SI double from64(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Each macro defines one function for both families; `e` sees lanes a, b, c. */
#define UNARY(name, P, T, V, N, e)    \
    SI V P##_##name(V va) {           \
        V r;                          \
        for (int i = 0; i < N; i++) { \
            T a = va.x[i];            \
            r.x[i] = e;               \
        }                             \
        return r;                     \
    }
#define BINARY(name, P, T, V, R, N, e)  \
    SI R P##_##name(V va, V vb) {       \
        R r;                            \
        for (int i = 0; i < N; i++) {   \
            T a = va.x[i], b = vb.x[i]; \
            r.x[i] = e;                 \
        }                               \
        return r;                       \
    }
#define TERNARY(name, P, V, N, e)     \
    SI V P##_##name(V a, V b, V c) {  \
        V r;                          \
        for (int i = 0; i < N; i++) { \
            r.x[i] = e;               \
        }                             \
        return r;                     \
    }
#define UNARY2(name, e32, e64)             \
    UNARY(name, f32, float, vf32, 16, e32) \
    UNARY(name, f64, double, vf64, 8, e64)
#define BINARY2(name, e)                        \
    BINARY(name, f32, float, vf32, vf32, 16, e) \
    BINARY(name, f64, double, vf64, vf64, 8, e)
#define COMPARE2(name, e)                       \
    BINARY(name, f32, float, vf32, mf32, 16, e) \
    BINARY(name, f64, double, vf64, mf64, 8, e)
#define MASK2(name, e)                             \
    BINARY(name, f32, uint32_t, mf32, mf32, 16, e) \
    BINARY(name, f64, uint32_t, mf64, mf64, 8, e)

BINARY2(add, a + b)
BINARY2(sub, a - b)
BINARY2(mul, (a) * (b))
BINARY2(div, a / b)
BINARY2(maxnum, a > b ? a : b)
BINARY2(minnum, a < b ? a : b)
TERNARY(fma, f32, vf32, 16, fmaf(a.x[i], b.x[i], c.x[i]))
TERNARY(fma, f64, vf64, 8, fma(a.x[i], b.x[i], c.x[i]))
TERNARY(fnma, f32, vf32, 16, fmaf(-a.x[i], b.x[i], c.x[i]))
TERNARY(fnma, f64, vf64, 8, fma(-a.x[i], b.x[i], c.x[i]))
UNARY2(sqrt, sqrtf(a), sqrt(a))
UNARY2(neg, from32(bits32(a) ^ 0x80000000u), from64(bits64(a) ^ 0x8000000000000000u))
UNARY2(abs, from32(bits32(a) & 0x7fffffffu), from64(bits64(a) & 0x7fffffffffffffffu))
COMPARE2(lt, a < b)
COMPARE2(le, a <= b)
COMPARE2(eq, a == b)
MASK2(mand, (a) & (b))
MASK2(mor, a | b)
BINARY(copysign, f32, float, vf32, vf32, 16,
       from32((bits32(a) & 0x7fffffffu) | (bits32(b) & 0x80000000u)))
BINARY(copysign, f64, double, vf64, vf64, 8,
       from64((bits64(a) & 0x7fffffffffffffffu) | (bits64(b) & 0x8000000000000000u)))

/* Adding 2^23 to 0 <= m < 2^23 and taking it away again leaves the nearest integer;
 * larger m are integers. The sign is a's, for zeros too. */
SI float round1_32(float a) {
    float m = from32(bits32(a) & 0x7fffffffu);
    float r = (m + 8388608.0f) - 8388608.0f;
    r = m < 8388608.0f ? r : m;
    return from32(bits32(r) | (bits32(a) & 0x80000000u));
}
SI double round1_64(double a) {
    double m = from64(bits64(a) & 0x7fffffffffffffffu);
    double r = (m + 4503599627370496.0) - 4503599627370496.0;
    r = m < 4503599627370496.0 ? r : m;
    return from64(bits64(r) | (bits64(a) & 0x8000000000000000u));
}
UNARY2(round, round1_32(a), round1_64(a))

/* 2^n in two factors: the first product is exact wherever the result is not zero, the
 * second rounds. Adding 1.5 * 2^23 leaves n in the low bits (garbage, but defined, for
 * a NaN: v is then NaN too). */
SI float ldexp1_32(float a, float b) {
    uint32_t n = bits32(b + 12582912.0f) - 0x4b400000u;
    uint32_t half = (n >> 1) | (n & 0x80000000u);
    return a * from32((half + 127u) << 23) * from32((n - half + 127u) << 23);
}
SI double ldexp1_64(double a, double b) {
    uint64_t n = bits64(b + 6755399441055744.0) - 0x4338000000000000u;
    uint64_t half = (n >> 1) | (n & 0x8000000000000000u);
    return a * from64((half + 1023u) << 52) * from64((n - half + 1023u) << 52);
}
BINARY(ldexp, f32, float, vf32, vf32, 16, ldexp1_32(a, b))
BINARY(ldexp, f64, double, vf64, vf64, 8, ldexp1_64(a, b))

SI vf32 f32_lookup(const float *table, vf32 v) {
    vf32 r;
    for (int i = 0; i < 16; i++) {
        r.x[i] = table[bits32(v.x[i]) >> 21 & 15];
    }
    return r;
}
SI vf64 f64_lookup(const double *table, vf64 v) {
    vf64 r;
    for (int i = 0; i < 8; i++) {
        r.x[i] = table[bits64(v.x[i]) >> 51 & 7];
    }
    return r;
}

/* With the bits of sqrt(1/2) taken away, the exponent field is e. */
SI vf32 f32_split(vf32 v, vf32 *e) {
    vf32 r;
    for (int i = 0; i < 16; i++) {
        int tiny = v.x[i] < 1.17549435e-38f;
        uint32_t u = bits32(tiny ? v.x[i] * 16777216.0f : v.x[i]);
        uint32_t k = (u - 0x3f3504f3u + 0x3f800000u) >> 23; /* e + 127 */
        r.x[i] = from32(u - ((k - 127u) << 23));
        e->x[i] = (float)((int32_t)k - (tiny ? 127 + 24 : 127));
    }
    return r;
}
SI vf64 f64_split(vf64 v, vf64 *e) {
    vf64 r;
    for (int i = 0; i < 8; i++) {
        int tiny = v.x[i] < 2.2250738585072014e-308;
        uint64_t u = bits64(tiny ? v.x[i] * 18014398509481984.0 : v.x[i]);
        uint64_t k = (u - 0x3fe6a09e667f3bcdu + 0x3ff0000000000000u) >> 52;
        r.x[i] = from64(u - ((k - 1023u) << 52));
        e->x[i] = (double)((int32_t)k - (tiny ? 1023 + 54 : 1023));
    }
    return r;
}

/* The rest is the same text for both families. */
#define FAMILY(P, T, V, M, N)                                               \
    SI V P##_load(const T *p) {                                             \
        V r;                                                                \
        memcpy(r.x, p, sizeof r.x);                                         \
        return r;                                                           \
    }                                                                       \
    SI void P##_store(T *p, V v) { memcpy(p, v.x, sizeof v.x); }            \
    SI void P##_stream(T *p, V v) { P##_store(p, v); }                      \
    SI V P##_loadn(const T *p, ptrdiff_t n) {                               \
        V r;                                                                \
        for (int i = 0; i < N; i++) {                                       \
            r.x[i] = i < n ? p[i] : (T)0;                                   \
        }                                                                   \
        return r;                                                           \
    }                                                                       \
    SI void P##_storen(T *p, V v, ptrdiff_t n) {                            \
        for (int i = 0; i < N; i++) {                                       \
            if (i < n) {                                                    \
                p[i] = v.x[i];                                              \
            }                                                               \
        }                                                                   \
    }                                                                       \
    SI V P##_keep(V v) { return v; }                                        \
    SI V P##_set1(T x) {                                                    \
        V r;                                                                \
        for (int i = 0; i < N; i++) {                                       \
            r.x[i] = x;                                                     \
        }                                                                   \
        return r;                                                           \
    }                                                                       \
    SI V P##_zero(void) { return P##_set1(0); }                             \
    SI V P##_at(const T *p, ptrdiff_t ld, V row, V col, M m, V r) {         \
        for (int i = 0; i < N; i++) {                                       \
            if (m.x[i]) {                                                   \
                r.x[i] = p[(ptrdiff_t)row.x[i] * ld + (ptrdiff_t)col.x[i]]; \
            }                                                               \
        }                                                                   \
        return r;                                                           \
    }                                                                       \
    SI M P##_isnan(V v) {                                                   \
        M r;                                                                \
        for (int i = 0; i < N; i++) {                                       \
            r.x[i] = v.x[i] != v.x[i];                                      \
        }                                                                   \
        return r;                                                           \
    }                                                                       \
    SI M P##_mnot(M m) {                                                    \
        for (int i = 0; i < N; i++) {                                       \
            m.x[i] ^= 1u;                                                   \
        }                                                                   \
        return m;                                                           \
    }                                                                       \
    SI V P##_sel(M m, V a, V b) {                                           \
        V r;                                                                \
        for (int i = 0; i < N; i++) {                                       \
            r.x[i] = m.x[i] ? a.x[i] : b.x[i];                              \
        }                                                                   \
        return r;                                                           \
    }                                                                       \
    SI void P##_mstore(uint8_t *p, M m, ptrdiff_t n) {                      \
        for (int i = 0; i < N; i++) {                                       \
            if (i < n) {                                                    \
                p[i] = (uint8_t)m.x[i];                                     \
            }                                                               \
        }                                                                   \
    }                                                                       \
    SI M P##_mload(const uint8_t *p, ptrdiff_t n) {                         \
        M r;                                                                \
        for (int i = 0; i < N; i++) {                                       \
            r.x[i] = i < n ? p[i] != 0 : 0;                                 \
        }                                                                   \
        return r;                                                           \
    }                                                                       \
    PICK(P, V, N, even, 2 * i)                                              \
    PICK(P, V, N, odd, 2 * i + 1)                                           \
    PICK(P, V, N, zip_low, i / 2 + i % 2 * N)                               \
    PICK(P, V, N, zip_high, i / 2 + i % 2 * N + N / 2)                      \
    SI void P##_transpose(V *r) {                                           \
        for (int i = 0; i < N; i++) {                                       \
            for (int j = 0; j < i; j++) {                                   \
                T t = r[i].x[j];                                            \
                r[i].x[j] = r[j].x[i];                                      \
                r[j].x[i] = t;                                              \
            }                                                               \
        }                                                                   \
    }                                                                       \
    TREE(P, T, V, N, hsum, v.x[i] + v.x[i + h])                             \
    TREE(P, T, V, N, hmax, v.x[i] > v.x[i + h] ? v.x[i] : v.x[i + h])       \
    TREE(P, T, V, N, hmin, v.x[i] < v.x[i + h] ? v.x[i] : v.x[i + h])
/* Lanes of a, then of b. */
#define PICK(P, V, N, name, lane)                 \
    SI V P##_##name(V a, V b) {                   \
        V r;                                      \
        for (int i = 0; i < N; i++) {             \
            const int k = lane;                   \
            r.x[i] = k < N ? a.x[k] : b.x[k - N]; \
        }                                         \
        return r;                                 \
    }
#define TREE(P, T, V, N, name, e)            \
    SI T P##_##name(V v) {                   \
        for (int h = N / 2; h > 0; h /= 2) { \
            for (int i = 0; i < h; i++) {    \
                v.x[i] = e;                  \
            }                                \
        }                                    \
        return v.x[0];                       \
    }
FAMILY(f32, float, vf32, mf32, 16)
FAMILY(f64, double, vf64, mf64, 8)

SI void vf32_widen(vf32 v, vf64 *lo, vf64 *hi) {
    for (int i = 0; i < 8; i++) {
        lo->x[i] = v.x[i];
        hi->x[i] = v.x[i + 8];
    }
}
SI void vf32_load_wide(const float *p, vf64 *lo, vf64 *hi) {
    vf32_widen(f32_load(p), lo, hi);
}
SI vf32 vf32_narrow(vf64 lo, vf64 hi) {
    vf32 r;
    for (int i = 0; i < 8; i++) {
        r.x[i] = (float)lo.x[i];
        r.x[i + 8] = (float)hi.x[i];
    }
    return r;
}

/* ---- integers: 16 words lie in 8 lanes as memory has them, the low half first ---- */

#define INTEGER(name, e)                       \
    SI vu64 u64_##name(vu64 va, vu64 vb) {     \
        vu64 r;                                \
        for (int i = 0; i < 8; i++) {          \
            uint64_t a = va.x[i], b = vb.x[i]; \
            r.x[i] = e;                        \
        }                                      \
        return r;                              \
    }
INTEGER(add, a + b)
INTEGER(mul32, (a & 0xffffffffu) * (b & 0xffffffffu))
INTEGER(xor, a ^ b)
INTEGER(join, (a & 0xffffffffu) | b << 32)
SI vu64 u64_load(const uint64_t *p) {
    vu64 r;
    memcpy(r.x, p, sizeof r.x);
    return r;
}
SI void u64_store(uint64_t *p, vu64 v) { memcpy(p, v.x, sizeof v.x); }
SI vu64 u64_set1(uint64_t x) { return (vu64){{x, x, x, x, x, x, x, x}}; }
SI vu64 u64_high(vu64 v) {
    for (int i = 0; i < 8; i++) {
        v.x[i] >>= 32;
    }
    return v;
}
SI vu64 u64_even(vu64 a, vu64 b) {
    for (int i = 0; i < 8; i += 2) {
        a.x[i + 1] = b.x[i];
    }
    return a;
}
SI vu64 u64_odd(vu64 a, vu64 b) {
    for (int i = 0; i < 8; i += 2) {
        b.x[i] = a.x[i + 1];
    }
    return b;
}
SI mf32 u64_ge32(vu64 a, vu64 b) {
    mf32 r;
    for (int i = 0; i < 8; i++) {
        r.x[2 * i] = (uint32_t)a.x[i] >= (uint32_t)b.x[i];
        r.x[2 * i + 1] = a.x[i] >> 32 >= b.x[i] >> 32;
    }
    return r;
}
SI vf32 f32_unit(vu64 v) {
    vf32 r;
    for (int i = 0; i < 8; i++) {
        r.x[2 * i] = (float)((uint32_t)v.x[i] >> 8) * 0x1p-24f;
        r.x[2 * i + 1] = (float)(v.x[i] >> 40) * 0x1p-24f;
    }
    return r;
}
SI vf64 f64_unit(vu64 v) {
    vf64 r;
    for (int i = 0; i < 8; i++) {
        r.x[i] = (double)(v.x[i] >> 11) * 0x1p-53;
    }
    return r;
}
#define CAST(P, V)                    \
    SI vu64 P##_bits(V v) {           \
        vu64 r;                       \
        memcpy(r.x, v.x, sizeof r.x); \
        return r;                     \
    }                                 \
    SI V P##_from(vu64 v) {           \
        V r;                          \
        memcpy(r.x, v.x, sizeof r.x); \
        return r;                     \
    }
CAST(f32, vf32)
CAST(f64, vf64)

#undef SI
#undef UNARY
#undef BINARY
#undef TERNARY
#undef UNARY2
#undef BINARY2
#undef COMPARE2
#undef MASK2
#undef FAMILY
#undef INTEGER
#undef CAST
#undef PICK
#undef TREE
