/* Packing for the GEMM, and the transposition under it and under the matrix-vector
 * product. Included by gemm.inc.h.
 *
 * Where memory runs the other way, a strip is read: LANES lines (rows of A, columns of
 * B) by STRIP elements, turned in registers into STRIP vectors across the lines. The
 * strips below assemble part of the pattern by loads of half or quarter registers,
 * which are cheaper than the shuffles they replace; everywhere else v_transpose does
 * it.
 */
#ifndef FNN_GEMM_STRIPS
#define FNN_GEMM_STRIPS
#if FNN_TIER == FNN_TIER_avx512 || FNN_TIER == FNN_TIER_avx2
#define STRIP (LANES / 2)
#else
#define STRIP LANES
#endif

#if FNN_TIER == FNN_TIER_avx512
/* r[i] = line l's element i in lane l, i < 8. */
GEMM_INLINE void gemm_strip_f32(const float *const *line, ptrdiff_t q, vf32 *r) {
    const __m512i even =
        _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    const __m512i odd =
        _mm512_setr_epi32(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    __m512 t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) { /* lines i and i + 8 */
        t[i] = _mm512_castpd_ps(_mm512_mask_broadcast_f64x4(
            _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(line[i] + q))),
            0xf0, _mm256_castps_pd(_mm256_loadu_ps(line[i + 8] + q))));
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) { /* elements 4h to 4h + 3 */
        __m512 u[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) { /* lines i, i + 4, i + 8, i + 12 */
            u[i] = _mm512_permutex2var_ps(t[i], h == 0 ? even : odd, t[i + 4]);
        }
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(u[0], u[1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(u[0], u[1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(u[2], u[3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(u[2], u[3]));
        r[4 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * h + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * h + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
}
/* The same, i < 4. */
GEMM_INLINE void gemm_strip_f64(const double *const *line, ptrdiff_t q, vf64 *r) {
    const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512d t[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* lines i and i + 4 */
        t[i] = _mm512_mask_broadcast_f64x4(
            _mm512_castpd256_pd512(_mm256_loadu_pd(line[i] + q)), 0xf0,
            _mm256_loadu_pd(line[i + 4] + q));
    }
    __m512d a = _mm512_unpacklo_pd(t[0], t[1]), b = _mm512_unpackhi_pd(t[0], t[1]);
    __m512d c = _mm512_unpacklo_pd(t[2], t[3]), d = _mm512_unpackhi_pd(t[2], t[3]);
    r[0] = _mm512_permutex2var_pd(a, even, c);
    r[1] = _mm512_permutex2var_pd(b, even, d);
    r[2] = _mm512_permutex2var_pd(a, odd, c);
    r[3] = _mm512_permutex2var_pd(b, odd, d);
}
#elif FNN_TIER == FNN_TIER_avx2
/* Four elements of 8 lines: x[i] = line l's element i in lane l. */
GEMM_INLINE void gemm_eight_lines(const float *const *line, ptrdiff_t q, __m256 *x) {
    __m256 t[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* lines i and i + 4 */
        t[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(line[i] + q)),
                                    _mm_loadu_ps(line[i + 4] + q), 1);
    }
    __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(t[0], t[1]));
    __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(t[0], t[1]));
    __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(t[2], t[3]));
    __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(t[2], t[3]));
    x[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    x[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    x[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    x[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
}
GEMM_INLINE void gemm_strip_f32(const float *const *line, ptrdiff_t q, vf32 *r) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256 a[4], b[4];
        gemm_eight_lines(line, q + 4 * h, a);
        gemm_eight_lines(line + 8, q + 4 * h, b);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            r[4 * h + i] = (vf32){a[i], b[i]};
        }
    }
}
/* Two elements of 4 lines. */
GEMM_INLINE void gemm_four_lines(const double *const *line, ptrdiff_t q, __m256d *x) {
    __m256d a = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(line[0] + q)),
                                     _mm_loadu_pd(line[2] + q), 1);
    __m256d b = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(line[1] + q)),
                                     _mm_loadu_pd(line[3] + q), 1);
    x[0] = _mm256_unpacklo_pd(a, b);
    x[1] = _mm256_unpackhi_pd(a, b);
}
GEMM_INLINE void gemm_strip_f64(const double *const *line, ptrdiff_t q, vf64 *r) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256d a[2], b[2];
        gemm_four_lines(line, q + 2 * h, a);
        gemm_four_lines(line + 4, q + 2 * h, b);
        r[2 * h] = (vf64){a[0], b[0]};
        r[2 * h + 1] = (vf64){a[1], b[1]};
    }
}
#else
#define GEMM_STRIP(P, T, V)                                                    \
    GEMM_INLINE void gemm_strip_##P(const T *const *line, ptrdiff_t q, V *r) { \
        for (size_t i = 0; i < sizeof(V) / sizeof(T); i++) {                   \
            r[i] = P##_load(line[i] + q);                                      \
        }                                                                      \
        P##_transpose(r);                                                      \
    }
GEMM_STRIP(f32, float, vf32)
GEMM_STRIP(f64, double, vf64)
#undef GEMM_STRIP
#endif
#define v_strip FNN_CAT(gemm_strip_, FNN_P)
#endif

/* ---- packing -------------------------------------------------------------------- */

/* One panel, dst[p*w + i] = src[i*line + p], i < m <= w, p < k: lines become
 * columns, in squares transposed in registers. Whole vectors are stored: what runs
 * over a row's end is overwritten by the next row, or lies in the next panel, packed
 * later, or in the margin behind the last. Lanes from m on hold copies. The next
 * panel's lines are fetched. Lines a page apart push each other out of L1: a line of
 * cache is then read at once, in whole squares. */
GEMM_INLINE void FNN_NAME(gemm_pack_across)(ptrdiff_t m, ptrdiff_t w, ptrdiff_t k,
                                            const T *src, ptrdiff_t line, T *dst) {
    const ptrdiff_t next = m * line;
    const bool whole = fnn_pages_apart(line * (ptrdiff_t)sizeof(T));
    for (ptrdiff_t i = (m - 1) / LANES * LANES; i >= 0; i -= LANES) {
        const ptrdiff_t rows = m - i < LANES ? m - i : LANES;
        const T *from[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) {
            from[l] = src + (i + (l < rows ? l : rows - 1)) * line;
        }
        T *to = dst + i;
        V r[LANES];
        ptrdiff_t p = 0;
        for (; whole && p + LANES <= k; p += LANES, to += LANES * w) {
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++) {
                r[l] = v_load(from[l] + p);
                __builtin_prefetch(from[l] + p + next, 0, 2);
            }
            v_transpose(r);
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++) {
                v_store(to + l * w, r[l]);
            }
        }
        for (; p + STRIP <= k; p += STRIP, to += STRIP * w) {
            if (p % LANES == 0) {
#pragma GCC unroll 16
                for (int l = 0; l < LANES; l++) {
                    __builtin_prefetch(from[l] + p + next, 0, 2);
                }
            }
            v_strip(from, p, r);
#pragma GCC unroll 16
            for (int l = 0; l < STRIP; l++) {
                v_store(to + l * w, r[l]);
            }
        }
        if (p < k) {
            for (int l = 0; l < LANES; l++) {
                r[l] = v_loadn(from[l] + p, k - p);
            }
            v_transpose(r);
            for (int l = 0; l < k - p; l++, to += w) {
                v_store(to, r[l]);
            }
        }
    }
}

static void FNN_NAME(gemm_pack_a)(ptrdiff_t m, ptrdiff_t tiles, ptrdiff_t k,
                                  const void *a, ptrdiff_t row, ptrdiff_t col,
                                  void *dst) {
    const ptrdiff_t height = m / tiles, extra = m % tiles;
    const T *src = a;
    T *to = dst;
    if (row == 1 && col != 1) {
        /* Along the rows of memory, across all panels; masked at a panel's end, for the
         * next one's first row is already there. */
        for (ptrdiff_t p = 0; p < k; p++, src += col) {
            const T *from = src;
            T *panel = to;
            for (ptrdiff_t t = 0; t < tiles; t++) {
                const ptrdiff_t h = height + (t < extra);
                for (ptrdiff_t i = 0; i < h; i += LANES) {
                    const ptrdiff_t w = h - i < LANES ? h - i : LANES;
                    const V x = v_loadn(from + i, w);
                    __builtin_prefetch(from + i + 4 * col, 0, 3);
                    if (p * h + i + LANES <= k * h) {
                        v_store(panel + p * h + i, x);
                    } else {
                        v_storen(panel + p * h + i, x, w);
                    }
                }
                from += h;
                panel += h * k;
            }
        }
        return;
    }
    for (ptrdiff_t t = 0; t < tiles; t++) {
        const ptrdiff_t h = height + (t < extra);
        if (col == 1) {
            FNN_NAME(gemm_pack_across)(h, h, k, src, row, to);
        } else {
            for (ptrdiff_t p = 0; p < k; p++) {
                for (ptrdiff_t i = 0; i < h; i++) {
                    to[p * h + i] = src[i * row + p * col];
                }
            }
        }
        src += h * row;
        to += h * k;
    }
}

static void FNN_NAME(gemm_pack_b)(ptrdiff_t n, ptrdiff_t k, const void *b,
                                  ptrdiff_t row, ptrdiff_t col, void *dst) {
    enum { NR = GEMM_NV * LANES, SPAN = 4 * NR };
    if (col == 1) {
        /* Along the rows of memory, four panels at a time. */
        for (ptrdiff_t j0 = 0; j0 < n; j0 += SPAN) {
            const ptrdiff_t end = n - j0 < SPAN ? n : j0 + SPAN;
            const T *src = b;
            for (ptrdiff_t p = 0; p < k; p++, src += row) {
                ptrdiff_t j = j0;
                for (; j + NR <= end; j += NR) {
                    T *to = (T *)dst + j * k + p * NR;
                    for (ptrdiff_t l = 0; l < NR; l += LANES) {
                        __builtin_prefetch(src + j + l + 8 * row, 0, 3);
                        v_store(to + l, v_load(src + j + l));
                    }
                }
                if (j < end) {
                    const ptrdiff_t w = (end - j + LANES - 1) / LANES * LANES;
                    T *to = (T *)dst + j * k + p * w;
                    for (; j < end; j += LANES, to += LANES) {
                        v_store(to,
                                v_loadn(src + j, end - j < LANES ? end - j : LANES));
                    }
                }
            }
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j += NR) {
        const ptrdiff_t cols = n - j < NR ? n - j : NR;
        const ptrdiff_t w = (cols + LANES - 1) / LANES * LANES;
        const T *src = (const T *)b + j * col;
        T *to = (T *)dst + j * k;
        if (row == 1) {
            FNN_NAME(gemm_pack_across)(cols, w, k, src, col, to);
        } else {
            for (ptrdiff_t p = 0; p < k; p++, src += row, to += w) {
                for (ptrdiff_t i = 0; i < w; i++) {
                    to[i] = i < cols ? src[i * col] : 0;
                }
            }
        }
    }
}
