/* The vector layer on AVX2 and FMA: two registers a vector, low lanes first. A mask is
 * two registers as well, all ones where true. See names.h. */
#include <immintrin.h>

typedef struct {
    __m256 a, b;
} vf32;
typedef struct {
    __m256d a, b;
} vf64;
typedef struct {
    __m256i a, b;
} vu64;
typedef struct {
    __m256 a, b;
} mf32;
typedef struct {
    __m256d a, b;
} mf64;

#define SI static inline __attribute__((always_inline, unused))

/* Lane masks of the first n lanes. */
#define LOW32(n, from)                                                             \
    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n)),                                \
                       _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), \
                                        _mm256_set1_epi32(from)))
#define LOW64(n, from)                                     \
    _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)(n)), \
                       _mm256_setr_epi64x((from), (from) + 1, (from) + 2, (from) + 3))

#define UNARY(name, V, e)  \
    SI V name(V v) {       \
        V r;               \
        __typeof__(v.a) x; \
        x = v.a, r.a = e;  \
        x = v.b, r.b = e;  \
        return r;          \
    }
#define BINARY(name, V, R, e)      \
    SI R name(V v, V w) {          \
        R r;                       \
        __typeof__(v.a) x, y;      \
        x = v.a, y = w.a, r.a = e; \
        x = v.b, y = w.b, r.b = e; \
        return r;                  \
    }
#define TERNARY(name, V, e)                 \
    SI V name(V u, V v, V w) {              \
        V r;                                \
        __typeof__(v.a) x, y, z;            \
        x = u.a, y = v.a, z = w.a, r.a = e; \
        x = u.b, y = v.b, z = w.b, r.b = e; \
        return r;                           \
    }

/* ---- float32 ---- */

SI vf32 f32_load(const float *p) {
    return (vf32){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
SI void f32_store(float *p, vf32 v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
SI vf32 f32_loadn(const float *p, ptrdiff_t n) {
    return (vf32){_mm256_maskload_ps(p, LOW32(n, 0)),
                  _mm256_maskload_ps(p + 8, LOW32(n, 8))};
}
SI void f32_stream(float *p, vf32 v) {
    _mm256_stream_ps(p, v.a);
    _mm256_stream_ps(p + 8, v.b);
}
SI void f32_storen(float *p, vf32 v, ptrdiff_t n) {
    _mm256_maskstore_ps(p, LOW32(n, 0), v.a);
    _mm256_maskstore_ps(p + 8, LOW32(n, 8), v.b);
}
SI vf32 f32_keep(vf32 v) {
    __asm__("" : "+x"(v.a), "+x"(v.b));
    return v;
}
SI vf32 f32_set1(float x) { return (vf32){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SI vf32 f32_zero(void) { return (vf32){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
BINARY(f32_add, vf32, vf32, _mm256_add_ps(x, y))
BINARY(f32_sub, vf32, vf32, _mm256_sub_ps(x, y))
BINARY(f32_mul, vf32, vf32, _mm256_mul_ps(x, y))
BINARY(f32_div, vf32, vf32, _mm256_div_ps(x, y))
TERNARY(f32_fma, vf32, _mm256_fmadd_ps(x, y, z))
TERNARY(f32_fnma, vf32, _mm256_fnmadd_ps(x, y, z))
UNARY(f32_sqrt, vf32, _mm256_sqrt_ps(x))
UNARY(f32_neg, vf32, _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)))
UNARY(f32_abs, vf32, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x))
BINARY(f32_copysign, vf32, vf32,
       _mm256_or_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x),
                    _mm256_and_ps(_mm256_set1_ps(-0.0f), y)))
BINARY(f32_maxnum, vf32, vf32, _mm256_max_ps(x, y))
BINARY(f32_minnum, vf32, vf32, _mm256_min_ps(x, y))
UNARY(f32_round, vf32, _mm256_round_ps(x, 8))
BINARY(f32_lt, vf32, mf32, _mm256_cmp_ps(x, y, _CMP_LT_OQ))
BINARY(f32_le, vf32, mf32, _mm256_cmp_ps(x, y, _CMP_LE_OQ))
BINARY(f32_eq, vf32, mf32, _mm256_cmp_ps(x, y, _CMP_EQ_OQ))
SI mf32 f32_isnan(vf32 v) {
    return (mf32){_mm256_cmp_ps(v.a, v.a, _CMP_UNORD_Q),
                  _mm256_cmp_ps(v.b, v.b, _CMP_UNORD_Q)};
}
BINARY(f32_mand, mf32, mf32, _mm256_and_ps(x, y))
BINARY(f32_mor, mf32, mf32, _mm256_or_ps(x, y))
UNARY(f32_mnot, mf32, _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(-1))))
SI vf32 f32_sel(mf32 m, vf32 v, vf32 w) {
    return (vf32){_mm256_blendv_ps(w.a, v.a, m.a), _mm256_blendv_ps(w.b, v.b, m.b)};
}
/* 2^n in two factors: the first product is exact wherever the result is not zero, the
 * second rounds. */
SI __m256 ldexp_ymm32(__m256 v, __m256 n) {
    __m256i e = _mm256_cvtps_epi32(n), one = _mm256_set1_epi32(127);
    __m256i half = _mm256_srai_epi32(e, 1);
    __m256i rest = _mm256_sub_epi32(e, half);
    half = _mm256_slli_epi32(_mm256_add_epi32(half, one), 23);
    rest = _mm256_slli_epi32(_mm256_add_epi32(rest, one), 23);
    v = _mm256_mul_ps(v, _mm256_castsi256_ps(half));
    return _mm256_mul_ps(v, _mm256_castsi256_ps(rest));
}
BINARY(f32_ldexp, vf32, vf32, ldexp_ymm32(x, y))
/* With the bits of sqrt(1/2) taken away, the exponent field is e. */
SI __m256 split_ymm32(__m256 v, __m256 *e) {
    __m256 tiny = _mm256_cmp_ps(v, _mm256_set1_ps(1.17549435e-38f), _CMP_LT_OQ);
    v = _mm256_blendv_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(16777216.0f)), tiny);
    __m256i u = _mm256_castps_si256(v);
    __m256i k =
        _mm256_srai_epi32(_mm256_sub_epi32(u, _mm256_set1_epi32(0x3f3504f3)), 23);
    *e = _mm256_sub_ps(_mm256_cvtepi32_ps(k),
                       _mm256_and_ps(tiny, _mm256_set1_ps(24.0f)));
    return _mm256_castsi256_ps(_mm256_sub_epi32(u, _mm256_slli_epi32(k, 23)));
}
/* Only 3 bits count in a permutation; the fourth, as a sign, chooses between two. */
SI __m256 lookup_ymm32(const float *table, __m256 v) {
    __m256i u = _mm256_castps_si256(v), k = _mm256_srli_epi32(u, 21);
    __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), k);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), k);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(u, 7)));
}
SI vf32 f32_lookup(const float *table, vf32 v) {
    return (vf32){lookup_ymm32(table, v.a), lookup_ymm32(table, v.b)};
}
SI vf32 f32_split(vf32 v, vf32 *e) {
    v.a = split_ymm32(v.a, &e->a);
    v.b = split_ymm32(v.b, &e->b);
    return v;
}
SI __m256 at_ymm32(const float *p, ptrdiff_t ld, __m256 row, __m256 col, __m256 m,
                   __m256 other) {
    __m256i k =
        _mm256_mullo_epi32(_mm256_cvttps_epi32(row), _mm256_set1_epi32((int)ld));
    k = _mm256_add_epi32(k, _mm256_cvttps_epi32(col));
    return _mm256_mask_i32gather_ps(other, p, k, m, 4);
}
SI vf32 f32_at(const float *p, ptrdiff_t ld, vf32 row, vf32 col, mf32 m, vf32 other) {
    return (vf32){at_ymm32(p, ld, row.a, col.a, m.a, other.a),
                  at_ymm32(p, ld, row.b, col.b, m.b, other.b)};
}
#define TREE32(name, op)                                                           \
    SI float f32_##name(vf32 v) {                                                  \
        __m256 x = _mm256_##op##_ps(v.a, v.b);                                     \
        __m128 y =                                                                 \
            _mm_##op##_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); \
        y = _mm_##op##_ps(y, _mm_movehl_ps(y, y));                                 \
        y = _mm_##op##_ss(y, _mm_shuffle_ps(y, y, 1));                             \
        return _mm_cvtss_f32(y);                                                   \
    }
TREE32(hsum, add)
TREE32(hmax, max)
TREE32(hmin, min)
#undef TREE32
SI void f32_mstore(uint8_t *p, mf32 m, ptrdiff_t n) {
    /* 16 words of 0 or -1, packed to bytes; packing works in 128-bit halves */
    __m256i w = _mm256_packs_epi32(_mm256_castps_si256(m.a), _mm256_castps_si256(m.b));
    w = _mm256_permute4x64_epi64(w, 0xd8);
    __m128i b =
        _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    b = _mm_and_si128(b, _mm_set1_epi8(1));
    if (n >= 16) {
        _mm_storeu_si128((__m128i *)(void *)p, b);
    } else {
        uint8_t t[16];
        _mm_storeu_si128((__m128i *)(void *)t, b);
        for (ptrdiff_t i = 0; i < n; i++) {
            p[i] = t[i];
        }
    }
}
SI mf32 f32_mload(const uint8_t *p, ptrdiff_t n) {
    __m128i b;
    if (n >= 16) {
        b = _mm_loadu_si128((const __m128i *)(const void *)p);
    } else {
        uint8_t t[16] = {0};
        for (ptrdiff_t i = 0; i < n; i++) {
            t[i] = p[i];
        }
        b = _mm_loadu_si128((const __m128i *)(const void *)t);
    }
    __m256i lo = _mm256_cvtepu8_epi32(b),
            hi = _mm256_cvtepu8_epi32(_mm_srli_si128(b, 8));
    __m256i zero = _mm256_setzero_si256();
    return (mf32){_mm256_castsi256_ps(_mm256_cmpgt_epi32(lo, zero)),
                  _mm256_castsi256_ps(_mm256_cmpgt_epi32(hi, zero))};
}
SI void transpose_ymm32(__m256 *r) {
    __m256 t[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = t[i];
    }
}
SI void f32_transpose(vf32 *r) {
    __m256 q[4][8]; /* the quadrants: top left, top right, bottom left, bottom right */
    for (int i = 0; i < 8; i++) {
        q[0][i] = r[i].a, q[1][i] = r[i].b;
        q[2][i] = r[i + 8].a, q[3][i] = r[i + 8].b;
    }
    for (int k = 0; k < 4; k++) {
        transpose_ymm32(q[k]);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = (vf32){q[0][i], q[2][i]};
        r[i + 8] = (vf32){q[1][i], q[3][i]};
    }
}

/* ---- float64 ---- */

SI vf64 f64_load(const double *p) {
    return (vf64){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}
SI void f64_store(double *p, vf64 v) {
    _mm256_storeu_pd(p, v.a);
    _mm256_storeu_pd(p + 4, v.b);
}
SI vf64 f64_loadn(const double *p, ptrdiff_t n) {
    return (vf64){_mm256_maskload_pd(p, LOW64(n, 0)),
                  _mm256_maskload_pd(p + 4, LOW64(n, 4))};
}
SI void f64_stream(double *p, vf64 v) {
    _mm256_stream_pd(p, v.a);
    _mm256_stream_pd(p + 4, v.b);
}
SI void f64_storen(double *p, vf64 v, ptrdiff_t n) {
    _mm256_maskstore_pd(p, LOW64(n, 0), v.a);
    _mm256_maskstore_pd(p + 4, LOW64(n, 4), v.b);
}
SI vf64 f64_keep(vf64 v) {
    __asm__("" : "+x"(v.a), "+x"(v.b));
    return v;
}
SI vf64 f64_set1(double x) { return (vf64){_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
SI vf64 f64_zero(void) { return (vf64){_mm256_setzero_pd(), _mm256_setzero_pd()}; }
BINARY(f64_add, vf64, vf64, _mm256_add_pd(x, y))
BINARY(f64_sub, vf64, vf64, _mm256_sub_pd(x, y))
BINARY(f64_mul, vf64, vf64, _mm256_mul_pd(x, y))
BINARY(f64_div, vf64, vf64, _mm256_div_pd(x, y))
TERNARY(f64_fma, vf64, _mm256_fmadd_pd(x, y, z))
TERNARY(f64_fnma, vf64, _mm256_fnmadd_pd(x, y, z))
UNARY(f64_sqrt, vf64, _mm256_sqrt_pd(x))
UNARY(f64_neg, vf64, _mm256_xor_pd(x, _mm256_set1_pd(-0.0)))
UNARY(f64_abs, vf64, _mm256_andnot_pd(_mm256_set1_pd(-0.0), x))
BINARY(f64_copysign, vf64, vf64,
       _mm256_or_pd(_mm256_andnot_pd(_mm256_set1_pd(-0.0), x),
                    _mm256_and_pd(_mm256_set1_pd(-0.0), y)))
BINARY(f64_maxnum, vf64, vf64, _mm256_max_pd(x, y))
BINARY(f64_minnum, vf64, vf64, _mm256_min_pd(x, y))
UNARY(f64_round, vf64, _mm256_round_pd(x, 8))
BINARY(f64_lt, vf64, mf64, _mm256_cmp_pd(x, y, _CMP_LT_OQ))
BINARY(f64_le, vf64, mf64, _mm256_cmp_pd(x, y, _CMP_LE_OQ))
BINARY(f64_eq, vf64, mf64, _mm256_cmp_pd(x, y, _CMP_EQ_OQ))
SI mf64 f64_isnan(vf64 v) {
    return (mf64){_mm256_cmp_pd(v.a, v.a, _CMP_UNORD_Q),
                  _mm256_cmp_pd(v.b, v.b, _CMP_UNORD_Q)};
}
BINARY(f64_mand, mf64, mf64, _mm256_and_pd(x, y))
BINARY(f64_mor, mf64, mf64, _mm256_or_pd(x, y))
UNARY(f64_mnot, mf64, _mm256_xor_pd(x, _mm256_castsi256_pd(_mm256_set1_epi32(-1))))
SI vf64 f64_sel(mf64 m, vf64 v, vf64 w) {
    return (vf64){_mm256_blendv_pd(w.a, v.a, m.a), _mm256_blendv_pd(w.b, v.b, m.b)};
}
SI __m256d ldexp_ymm64(__m256d v, __m256d n) {
    __m128i e = _mm256_cvtpd_epi32(n), one = _mm_set1_epi32(1023);
    __m128i half = _mm_srai_epi32(e, 1);
    __m128i rest = _mm_sub_epi32(e, half);
    __m256i h = _mm256_cvtepi32_epi64(_mm_add_epi32(half, one));
    __m256i r = _mm256_cvtepi32_epi64(_mm_add_epi32(rest, one));
    v = _mm256_mul_pd(v, _mm256_castsi256_pd(_mm256_slli_epi64(h, 52)));
    return _mm256_mul_pd(v, _mm256_castsi256_pd(_mm256_slli_epi64(r, 52)));
}
BINARY(f64_ldexp, vf64, vf64, ldexp_ymm64(x, y))
/* As lookup_ymm32, by pairs of words: 2 k and 2 k + 1, of which 3 bits count. */
SI __m256d lookup_ymm64(const double *table, __m256d v) {
    __m256i u = _mm256_castpd_si256(v), k = _mm256_srli_epi64(u, 51);
    k = _mm256_slli_epi32(_mm256_shuffle_epi32(k, 0xa0), 1);
    k = _mm256_or_si256(k, _mm256_set1_epi64x((long long)1 << 32));
    __m256 low = _mm256_castpd_ps(_mm256_load_pd(table));
    __m256 high = _mm256_castpd_ps(_mm256_load_pd(table + 4));
    low = _mm256_permutevar8x32_ps(low, k);
    high = _mm256_permutevar8x32_ps(high, k);
    __m256d sign = _mm256_castsi256_pd(_mm256_slli_epi64(u, 10));
    return _mm256_blendv_pd(_mm256_castps_pd(low), _mm256_castps_pd(high), sign);
}
SI __m256d at_ymm64(const double *p, ptrdiff_t ld, __m256d row, __m256d col, __m256d m,
                    __m256d other) {
    __m128i k = _mm_mullo_epi32(_mm256_cvttpd_epi32(row), _mm_set1_epi32((int)ld));
    k = _mm_add_epi32(k, _mm256_cvttpd_epi32(col));
    return _mm256_mask_i32gather_pd(other, p, k, m, 8);
}
SI vf64 f64_at(const double *p, ptrdiff_t ld, vf64 row, vf64 col, mf64 m, vf64 other) {
    return (vf64){at_ymm64(p, ld, row.a, col.a, m.a, other.a),
                  at_ymm64(p, ld, row.b, col.b, m.b, other.b)};
}
SI vf64 f64_lookup(const double *table, vf64 v) {
    return (vf64){lookup_ymm64(table, v.a), lookup_ymm64(table, v.b)};
}
SI __m256d split_ymm64(__m256d v, __m256d *e) {
    __m256d tiny =
        _mm256_cmp_pd(v, _mm256_set1_pd(2.2250738585072014e-308), _CMP_LT_OQ);
    v = _mm256_blendv_pd(v, _mm256_mul_pd(v, _mm256_set1_pd(18014398509481984.0)),
                         tiny);
    __m256i u = _mm256_castpd_si256(v);
    /* e + 1023, for want of a signed shift; read as the low bits of 2^52 + k */
    __m256i bias = _mm256_set1_epi64x(0x3ff0000000000000 - 0x3fe6a09e667f3bcd);
    __m256i k = _mm256_srli_epi64(_mm256_add_epi64(u, bias), 52);
    __m256d big =
        _mm256_castsi256_pd(_mm256_or_si256(k, _mm256_set1_epi64x(0x4330000000000000)));
    *e = _mm256_sub_pd(_mm256_sub_pd(big, _mm256_set1_pd(4503599627370496.0 + 1023.0)),
                       _mm256_and_pd(tiny, _mm256_set1_pd(54.0)));
    k = _mm256_slli_epi64(_mm256_sub_epi64(k, _mm256_set1_epi64x(1023)), 52);
    return _mm256_castsi256_pd(_mm256_sub_epi64(u, k));
}
SI vf64 f64_split(vf64 v, vf64 *e) {
    v.a = split_ymm64(v.a, &e->a);
    v.b = split_ymm64(v.b, &e->b);
    return v;
}
#define TREE64(name, op)                                                           \
    SI double f64_##name(vf64 v) {                                                 \
        __m256d x = _mm256_##op##_pd(v.a, v.b);                                    \
        __m128d y =                                                                \
            _mm_##op##_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1)); \
        y = _mm_##op##_sd(y, _mm_unpackhi_pd(y, y));                               \
        return _mm_cvtsd_f64(y);                                                   \
    }
TREE64(hsum, add)
TREE64(hmax, max)
TREE64(hmin, min)
#undef TREE64
SI void f64_mstore(uint8_t *p, mf64 m, ptrdiff_t n) {
    unsigned bits =
        (unsigned)_mm256_movemask_pd(m.a) | (unsigned)_mm256_movemask_pd(m.b) << 4;
    uint64_t bytes = _pdep_u64(bits, 0x0101010101010101u);
    if (n >= 8) {
        memcpy(p, &bytes, 8);
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            p[i] = (uint8_t)(bytes >> (8 * i));
        }
    }
}
SI mf64 f64_mload(const uint8_t *p, ptrdiff_t n) {
    uint64_t bytes = 0;
    if (n >= 8) {
        memcpy(&bytes, p, 8);
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            bytes |= (uint64_t)p[i] << (8 * i);
        }
    }
    __m128i b = _mm_cvtsi64_si128((long long)bytes);
    __m256i lo = _mm256_cvtepu8_epi64(b),
            hi = _mm256_cvtepu8_epi64(_mm_srli_si128(b, 4));
    __m256i zero = _mm256_setzero_si256();
    return (mf64){_mm256_castsi256_pd(_mm256_cmpgt_epi64(lo, zero)),
                  _mm256_castsi256_pd(_mm256_cmpgt_epi64(hi, zero))};
}
SI void transpose_ymm64(__m256d *r) {
    __m256d t[4];
    for (int i = 0; i < 2; i++) {
        t[2 * i] = _mm256_unpacklo_pd(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[i] = _mm256_permute2f128_pd(t[i], t[i + 2], 0x20);
        r[i + 2] = _mm256_permute2f128_pd(t[i], t[i + 2], 0x31);
    }
}
SI void f64_transpose(vf64 *r) {
    __m256d q[4][4];
    for (int i = 0; i < 4; i++) {
        q[0][i] = r[i].a, q[1][i] = r[i].b;
        q[2][i] = r[i + 4].a, q[3][i] = r[i + 4].b;
    }
    for (int k = 0; k < 4; k++) {
        transpose_ymm64(q[k]);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = (vf64){q[0][i], q[2][i]};
        r[i + 4] = (vf64){q[1][i], q[3][i]};
    }
}

/* ---- every second lane ---- */

/* Of two registers: 128-bit halves by themselves, then these in their order. */
#define EVEN32(x, y)  \
    _mm256_castpd_ps( \
        _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(x, y, 0x88)), 0xd8))
#define ODD32(x, y)   \
    _mm256_castpd_ps( \
        _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(x, y, 0xdd)), 0xd8))
#define EVEN64(x, y) _mm256_permute4x64_pd(_mm256_unpacklo_pd(x, y), 0xd8)
#define ODD64(x, y) _mm256_permute4x64_pd(_mm256_unpackhi_pd(x, y), 0xd8)
SI vf32 f32_even(vf32 x, vf32 y) { return (vf32){EVEN32(x.a, x.b), EVEN32(y.a, y.b)}; }
SI vf32 f32_odd(vf32 x, vf32 y) { return (vf32){ODD32(x.a, x.b), ODD32(y.a, y.b)}; }
SI vf64 f64_even(vf64 x, vf64 y) { return (vf64){EVEN64(x.a, x.b), EVEN64(y.a, y.b)}; }
SI vf64 f64_odd(vf64 x, vf64 y) { return (vf64){ODD64(x.a, x.b), ODD64(y.a, y.b)}; }
#undef EVEN32
#undef ODD32
#undef EVEN64
#undef ODD64
#define ZIP(P, V, s, half)                                                            \
    SI V P##_zip_##half(V x, V y) {                                                   \
        const __typeof__(x.a) low = _mm256_unpacklo_##s(x.ZIP_##half, y.ZIP_##half),  \
                              high = _mm256_unpackhi_##s(x.ZIP_##half, y.ZIP_##half); \
        return (V){_mm256_permute2f128_##s(low, high, 0x20),                          \
                   _mm256_permute2f128_##s(low, high, 0x31)};                         \
    }
#define ZIP_low a
#define ZIP_high b
ZIP(f32, vf32, ps, low)
ZIP(f32, vf32, ps, high)
ZIP(f64, vf64, pd, low)
ZIP(f64, vf64, pd, high)
#undef ZIP
#undef ZIP_low
#undef ZIP_high

/* ---- between ---- */

SI void vf32_widen(vf32 v, vf64 *lo, vf64 *hi) {
    lo->a = _mm256_cvtps_pd(_mm256_castps256_ps128(v.a));
    lo->b = _mm256_cvtps_pd(_mm256_extractf128_ps(v.a, 1));
    hi->a = _mm256_cvtps_pd(_mm256_castps256_ps128(v.b));
    hi->b = _mm256_cvtps_pd(_mm256_extractf128_ps(v.b, 1));
}
SI void vf32_load_wide(const float *p, vf64 *lo, vf64 *hi) {
    lo->a = _mm256_cvtps_pd(_mm_loadu_ps(p));
    lo->b = _mm256_cvtps_pd(_mm_loadu_ps(p + 4));
    hi->a = _mm256_cvtps_pd(_mm_loadu_ps(p + 8));
    hi->b = _mm256_cvtps_pd(_mm_loadu_ps(p + 12));
}
SI vf32 vf32_narrow(vf64 lo, vf64 hi) {
    return (vf32){_mm256_set_m128(_mm256_cvtpd_ps(lo.b), _mm256_cvtpd_ps(lo.a)),
                  _mm256_set_m128(_mm256_cvtpd_ps(hi.b), _mm256_cvtpd_ps(hi.a))};
}

/* ---- integers ---- */

SI vu64 u64_load(const uint64_t *p) {
    return (vu64){_mm256_loadu_si256((const __m256i *)(const void *)p),
                  _mm256_loadu_si256((const __m256i *)(const void *)(p + 4))};
}
SI void u64_store(uint64_t *p, vu64 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, v.a);
    _mm256_storeu_si256((__m256i *)(void *)(p + 4), v.b);
}
SI vu64 u64_set1(uint64_t x) {
    return (vu64){_mm256_set1_epi64x((long long)x), _mm256_set1_epi64x((long long)x)};
}
BINARY(u64_add, vu64, vu64, _mm256_add_epi64(x, y))
BINARY(u64_mul32, vu64, vu64, _mm256_mul_epu32(x, y))
UNARY(u64_high, vu64, _mm256_srli_epi64(x, 32))
BINARY(u64_xor, vu64, vu64, _mm256_xor_si256(x, y))
BINARY(u64_join, vu64, vu64, _mm256_blend_epi32(x, _mm256_slli_epi64(y, 32), 0xaa))
BINARY(u64_even, vu64, vu64, _mm256_unpacklo_epi64(x, y))
BINARY(u64_odd, vu64, vu64, _mm256_unpackhi_epi64(x, y))
BINARY(u64_ge32, vu64, mf32,
       _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(x, y), x)))
/* 24 bits fit the signed conversion. */
SI __m256 unit_ymm32(__m256i v) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(v, 8)),
                         _mm256_set1_ps(0x1p-24f));
}
/* The halves of v >> 11 under the exponents of 2^84 and 2^52; no step rounds. */
SI __m256d unit_ymm64(__m256i v) {
    v = _mm256_srli_epi64(v, 11);
    __m256i hi = _mm256_or_si256(_mm256_srli_epi64(v, 32),
                                 _mm256_set1_epi64x(0x4530000000000000));
    __m256i lo = _mm256_blend_epi32(v, _mm256_set1_epi64x(0x4330000000000000), 0xaa);
    __m256d high =
        _mm256_sub_pd(_mm256_castsi256_pd(hi), _mm256_set1_pd(0x1p84 + 0x1p52));
    return _mm256_mul_pd(_mm256_add_pd(high, _mm256_castsi256_pd(lo)),
                         _mm256_set1_pd(0x1p-53));
}
SI vf32 f32_unit(vu64 v) { return (vf32){unit_ymm32(v.a), unit_ymm32(v.b)}; }
SI vf64 f64_unit(vu64 v) { return (vf64){unit_ymm64(v.a), unit_ymm64(v.b)}; }
SI vu64 f32_bits(vf32 v) {
    return (vu64){_mm256_castps_si256(v.a), _mm256_castps_si256(v.b)};
}
SI vf32 f32_from(vu64 v) {
    return (vf32){_mm256_castsi256_ps(v.a), _mm256_castsi256_ps(v.b)};
}
SI vu64 f64_bits(vf64 v) {
    return (vu64){_mm256_castpd_si256(v.a), _mm256_castpd_si256(v.b)};
}
SI vf64 f64_from(vu64 v) {
    return (vf64){_mm256_castsi256_pd(v.a), _mm256_castsi256_pd(v.b)};
}
#undef SI
#undef LOW32
#undef LOW64
#undef UNARY
#undef BINARY
#undef TERNARY
