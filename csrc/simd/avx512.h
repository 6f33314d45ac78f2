/* The vector layer on AVX-512 (F, DQ, BW, VL): one register a vector. See names.h. */
#include <immintrin.h>

typedef __m512 vf32;
typedef __m512d vf64;
typedef __m512i vu64;
typedef __mmask16 mf32;
typedef __mmask8 mf64;

#define SI static inline __attribute__((always_inline, unused))
#define LOW32(n) ((__mmask16)_bzhi_u32(0xffffu, (unsigned)(n)))
#define LOW64(n) ((__mmask8)_bzhi_u32(0xffu, (unsigned)(n)))

/* ---- float32 ---- */

SI vf32 f32_load(const float *p) { return _mm512_loadu_ps(p); }
SI void f32_store(float *p, vf32 v) { _mm512_storeu_ps(p, v); }
SI void f32_stream(float *p, vf32 v) { _mm512_stream_ps(p, v); }
SI vf32 f32_loadn(const float *p, ptrdiff_t n) {
    return _mm512_maskz_loadu_ps(LOW32(n), p);
}
SI void f32_storen(float *p, vf32 v, ptrdiff_t n) {
    _mm512_mask_storeu_ps(p, LOW32(n), v);
}
SI vf32 f32_keep(vf32 v) {
    __asm__("" : "+v"(v));
    return v;
}
SI vf32 f32_set1(float x) { return _mm512_set1_ps(x); }
SI vf32 f32_zero(void) { return _mm512_setzero_ps(); }
SI vf32 f32_add(vf32 a, vf32 b) { return _mm512_add_ps(a, b); }
SI vf32 f32_sub(vf32 a, vf32 b) { return _mm512_sub_ps(a, b); }
SI vf32 f32_mul(vf32 a, vf32 b) { return _mm512_mul_ps(a, b); }
SI vf32 f32_div(vf32 a, vf32 b) { return _mm512_div_ps(a, b); }
SI vf32 f32_fma(vf32 a, vf32 b, vf32 c) { return _mm512_fmadd_ps(a, b, c); }
SI vf32 f32_fnma(vf32 a, vf32 b, vf32 c) { return _mm512_fnmadd_ps(a, b, c); }
SI vf32 f32_sqrt(vf32 a) { return _mm512_sqrt_ps(a); }
SI vf32 f32_neg(vf32 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
SI vf32 f32_abs(vf32 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
SI vf32 f32_copysign(vf32 mag, vf32 sign) {
    __m512 s = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(s, mag), _mm512_and_ps(s, sign));
}
SI vf32 f32_maxnum(vf32 a, vf32 b) { return _mm512_max_ps(a, b); }
SI vf32 f32_minnum(vf32 a, vf32 b) { return _mm512_min_ps(a, b); }
SI vf32 f32_round(vf32 a) { return _mm512_roundscale_ps(a, 8); }
SI mf32 f32_lt(vf32 a, vf32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
SI mf32 f32_le(vf32 a, vf32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
SI mf32 f32_eq(vf32 a, vf32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
SI mf32 f32_isnan(vf32 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
SI mf32 f32_mand(mf32 a, mf32 b) { return (mf32)(a & b); }
SI mf32 f32_mor(mf32 a, mf32 b) { return (mf32)(a | b); }
SI mf32 f32_mnot(mf32 a) { return (mf32)~a; }
SI vf32 f32_sel(mf32 m, vf32 a, vf32 b) { return _mm512_mask_blend_ps(m, b, a); }
SI vf32 f32_ldexp(vf32 v, vf32 n) { return _mm512_scalef_ps(v, n); }
SI vf32 f32_split(vf32 v, vf32 *e) {
    /* getmant in [0.75, 1.5) would do, but the exponent must match [sqrt(1/2), sqrt(2)) */
    vf32 m = _mm512_getmant_ps(v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
    vf32 x = _mm512_getexp_ps(v);
    mf32 big = _mm512_cmp_ps_mask(m, _mm512_set1_ps(1.41421356f), _CMP_GE_OQ);
    *e = _mm512_mask_add_ps(x, big, x, _mm512_set1_ps(1.0f));
    return _mm512_mask_mul_ps(m, big, m, _mm512_set1_ps(0.5f));
}
SI vf32 f32_lookup(const float *table, vf32 v) {
    __m512i k = _mm512_srli_epi32(_mm512_castps_si512(v), 21); /* only 4 bits count */
    return _mm512_permutexvar_ps(k, _mm512_load_ps(table));
}
SI vf32 f32_at(const float *p, ptrdiff_t ld, vf32 row, vf32 col, mf32 m, vf32 other) {
    __m512i k =
        _mm512_mullo_epi32(_mm512_cvttps_epi32(row), _mm512_set1_epi32((int)ld));
    k = _mm512_add_epi32(k, _mm512_cvttps_epi32(col));
    return _mm512_mask_i32gather_ps(other, m, k, p, 4);
}
#define FNN_HTREE32(name, op)                                                          \
    SI float f32_##name(vf32 v) {                                                      \
        __m256 a =                                                                     \
            _mm256_##op##_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); \
        __m128 b =                                                                     \
            _mm_##op##_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));     \
        b = _mm_##op##_ps(b, _mm_movehl_ps(b, b));                                     \
        b = _mm_##op##_ss(b, _mm_shuffle_ps(b, b, 1));                                 \
        return _mm_cvtss_f32(b);                                                       \
    }
FNN_HTREE32(hsum, add)
FNN_HTREE32(hmax, max)
FNN_HTREE32(hmin, min)
#undef FNN_HTREE32
SI void f32_mstore(uint8_t *p, mf32 m, ptrdiff_t n) {
    _mm_mask_storeu_epi8(p, LOW32(n), _mm_maskz_set1_epi8(m, 1));
}
SI mf32 f32_mload(const uint8_t *p, ptrdiff_t n) {
    __m128i b = _mm_maskz_loadu_epi8(LOW32(n), p);
    return _mm_test_epi8_mask(b, b);
}
SI void f32_transpose(vf32 *r) {
    vf32 t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[4 * i + j]);
            __m512d b = _mm512_castps_pd(t[4 * i + 2 + j]);
            r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
        t[8 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xdd);
    }
}

/* ---- float64 ---- */

SI vf64 f64_load(const double *p) { return _mm512_loadu_pd(p); }
SI void f64_store(double *p, vf64 v) { _mm512_storeu_pd(p, v); }
SI void f64_stream(double *p, vf64 v) { _mm512_stream_pd(p, v); }
SI vf64 f64_loadn(const double *p, ptrdiff_t n) {
    return _mm512_maskz_loadu_pd(LOW64(n), p);
}
SI void f64_storen(double *p, vf64 v, ptrdiff_t n) {
    _mm512_mask_storeu_pd(p, LOW64(n), v);
}
SI vf64 f64_keep(vf64 v) {
    __asm__("" : "+v"(v));
    return v;
}
SI vf64 f64_set1(double x) { return _mm512_set1_pd(x); }
SI vf64 f64_zero(void) { return _mm512_setzero_pd(); }
SI vf64 f64_add(vf64 a, vf64 b) { return _mm512_add_pd(a, b); }
SI vf64 f64_sub(vf64 a, vf64 b) { return _mm512_sub_pd(a, b); }
SI vf64 f64_mul(vf64 a, vf64 b) { return _mm512_mul_pd(a, b); }
SI vf64 f64_div(vf64 a, vf64 b) { return _mm512_div_pd(a, b); }
SI vf64 f64_fma(vf64 a, vf64 b, vf64 c) { return _mm512_fmadd_pd(a, b, c); }
SI vf64 f64_fnma(vf64 a, vf64 b, vf64 c) { return _mm512_fnmadd_pd(a, b, c); }
SI vf64 f64_sqrt(vf64 a) { return _mm512_sqrt_pd(a); }
SI vf64 f64_neg(vf64 a) { return _mm512_xor_pd(a, _mm512_set1_pd(-0.0)); }
SI vf64 f64_abs(vf64 a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a); }
SI vf64 f64_copysign(vf64 mag, vf64 sign) {
    __m512d s = _mm512_set1_pd(-0.0);
    return _mm512_or_pd(_mm512_andnot_pd(s, mag), _mm512_and_pd(s, sign));
}
SI vf64 f64_maxnum(vf64 a, vf64 b) { return _mm512_max_pd(a, b); }
SI vf64 f64_minnum(vf64 a, vf64 b) { return _mm512_min_pd(a, b); }
SI vf64 f64_round(vf64 a) { return _mm512_roundscale_pd(a, 8); }
SI mf64 f64_lt(vf64 a, vf64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
SI mf64 f64_le(vf64 a, vf64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
SI mf64 f64_eq(vf64 a, vf64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
SI mf64 f64_isnan(vf64 a) { return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q); }
SI mf64 f64_mand(mf64 a, mf64 b) { return (mf64)(a & b); }
SI mf64 f64_mor(mf64 a, mf64 b) { return (mf64)(a | b); }
SI mf64 f64_mnot(mf64 a) { return (mf64)~a; }
SI vf64 f64_sel(mf64 m, vf64 a, vf64 b) { return _mm512_mask_blend_pd(m, b, a); }
SI vf64 f64_ldexp(vf64 v, vf64 n) { return _mm512_scalef_pd(v, n); }
SI vf64 f64_split(vf64 v, vf64 *e) {
    vf64 m = _mm512_getmant_pd(v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
    vf64 x = _mm512_getexp_pd(v);
    mf64 big = _mm512_cmp_pd_mask(m, _mm512_set1_pd(1.4142135623730951), _CMP_GE_OQ);
    *e = _mm512_mask_add_pd(x, big, x, _mm512_set1_pd(1.0));
    return _mm512_mask_mul_pd(m, big, m, _mm512_set1_pd(0.5));
}
SI vf64 f64_lookup(const double *table, vf64 v) {
    __m512i k = _mm512_srli_epi64(_mm512_castpd_si512(v), 51); /* only 3 bits count */
    return _mm512_permutexvar_pd(k, _mm512_load_pd(table));
}
SI vf64 f64_at(const double *p, ptrdiff_t ld, vf64 row, vf64 col, mf64 m, vf64 other) {
    __m256i k =
        _mm256_mullo_epi32(_mm512_cvttpd_epi32(row), _mm256_set1_epi32((int)ld));
    k = _mm256_add_epi32(k, _mm512_cvttpd_epi32(col));
    return _mm512_mask_i32gather_pd(other, m, k, p, 8);
}
#define FNN_HTREE64(name, op)                                                          \
    SI double f64_##name(vf64 v) {                                                     \
        __m256d a =                                                                    \
            _mm256_##op##_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1)); \
        __m128d b =                                                                    \
            _mm_##op##_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));     \
        b = _mm_##op##_sd(b, _mm_unpackhi_pd(b, b));                                   \
        return _mm_cvtsd_f64(b);                                                       \
    }
FNN_HTREE64(hsum, add)
FNN_HTREE64(hmax, max)
FNN_HTREE64(hmin, min)
#undef FNN_HTREE64
SI void f64_mstore(uint8_t *p, mf64 m, ptrdiff_t n) {
    _mm_mask_storeu_epi8(p, LOW64(n), _mm_maskz_set1_epi8(m, 1));
}
SI mf64 f64_mload(const uint8_t *p, ptrdiff_t n) {
    __m128i b = _mm_maskz_loadu_epi8(LOW64(n), p);
    return (mf64)_mm_test_epi8_mask(b, b);
}
SI void f64_transpose(vf64 *r) {
    vf64 t[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    for (int j = 0; j < 2; j++) {
        r[j] = _mm512_shuffle_f64x2(t[j], t[2 + j], 0x88);
        r[2 + j] = _mm512_shuffle_f64x2(t[j], t[2 + j], 0xdd);
        r[4 + j] = _mm512_shuffle_f64x2(t[4 + j], t[6 + j], 0x88);
        r[6 + j] = _mm512_shuffle_f64x2(t[4 + j], t[6 + j], 0xdd);
    }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_f64x2(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_f64x2(r[j], r[4 + j], 0xdd);
    }
    for (int j = 0; j < 8; j++) {
        r[j] = t[j];
    }
}

/* ---- every second lane ---- */

#define FNN_LANES32(l)                                                            \
    _mm512_setr_epi32(l(0), l(1), l(2), l(3), l(4), l(5), l(6), l(7), l(8), l(9), \
                      l(10), l(11), l(12), l(13), l(14), l(15))
#define FNN_LANES64(l) _mm512_setr_epi64(l(0), l(1), l(2), l(3), l(4), l(5), l(6), l(7))
#define FNN_EVEN(i) 2 * (i)
#define FNN_ODD(i) 2 * (i) + 1
#define FNN_ZIP32(i) (i) / 2 + (i) % 2 * 16 /* from b: lane 16 and up */
#define FNN_ZIP32_HIGH(i) (i) / 2 + (i) % 2 * 16 + 8
#define FNN_ZIP64(i) (i) / 2 + (i) % 2 * 8
#define FNN_ZIP64_HIGH(i) (i) / 2 + (i) % 2 * 8 + 4
#define FNN_PICK(name, lanes32, lanes64)                           \
    SI vf32 f32_##name(vf32 a, vf32 b) {                           \
        return _mm512_permutex2var_ps(a, FNN_LANES32(lanes32), b); \
    }                                                              \
    SI vf64 f64_##name(vf64 a, vf64 b) {                           \
        return _mm512_permutex2var_pd(a, FNN_LANES64(lanes64), b); \
    }
FNN_PICK(even, FNN_EVEN, FNN_EVEN)
FNN_PICK(odd, FNN_ODD, FNN_ODD)
FNN_PICK(zip_low, FNN_ZIP32, FNN_ZIP64)
FNN_PICK(zip_high, FNN_ZIP32_HIGH, FNN_ZIP64_HIGH)
#undef FNN_LANES32
#undef FNN_LANES64
#undef FNN_EVEN
#undef FNN_ODD
#undef FNN_ZIP32
#undef FNN_ZIP32_HIGH
#undef FNN_ZIP64
#undef FNN_ZIP64_HIGH
#undef FNN_PICK

/* ---- between ---- */

SI void vf32_widen(vf32 v, vf64 *lo, vf64 *hi) {
    *lo = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    *hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}
SI void vf32_load_wide(const float *p, vf64 *lo, vf64 *hi) {
    *lo = _mm512_cvtps_pd(_mm256_loadu_ps(p));
    *hi = _mm512_cvtps_pd(_mm256_loadu_ps(p + 8));
}
SI vf32 vf32_narrow(vf64 lo, vf64 hi) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lo)),
                              _mm512_cvtpd_ps(hi), 1);
}

/* ---- integers ---- */

SI vu64 u64_load(const uint64_t *p) { return _mm512_loadu_si512(p); }
SI void u64_store(uint64_t *p, vu64 v) { _mm512_storeu_si512(p, v); }
SI vu64 u64_set1(uint64_t x) { return _mm512_set1_epi64((long long)x); }
SI vu64 u64_add(vu64 a, vu64 b) { return _mm512_add_epi64(a, b); }
SI vu64 u64_mul32(vu64 a, vu64 b) { return _mm512_mul_epu32(a, b); }
SI vu64 u64_high(vu64 v) { return _mm512_srli_epi64(v, 32); }
SI vu64 u64_xor(vu64 a, vu64 b) { return _mm512_xor_si512(a, b); }
SI vu64 u64_join(vu64 lo, vu64 hi) {
    return _mm512_mask_blend_epi32(0xaaaa, lo, _mm512_slli_epi64(hi, 32));
}
SI vu64 u64_even(vu64 a, vu64 b) { return _mm512_unpacklo_epi64(a, b); }
SI vu64 u64_odd(vu64 a, vu64 b) { return _mm512_unpackhi_epi64(a, b); }
SI mf32 u64_ge32(vu64 a, vu64 b) { return _mm512_cmpge_epu32_mask(a, b); }
SI vf32 f32_unit(vu64 v) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(v, 8)),
                         _mm512_set1_ps(0x1p-24f));
}
SI vf64 f64_unit(vu64 v) {
    return _mm512_mul_pd(_mm512_cvtepi64_pd(_mm512_srli_epi64(v, 11)),
                         _mm512_set1_pd(0x1p-53));
}
SI vu64 f32_bits(vf32 v) { return _mm512_castps_si512(v); }
SI vf32 f32_from(vu64 v) { return _mm512_castsi512_ps(v); }
SI vu64 f64_bits(vf64 v) { return _mm512_castpd_si512(v); }
SI vf64 f64_from(vu64 v) { return _mm512_castsi512_pd(v); }
#undef SI
#undef LOW32
#undef LOW64
