/* Transposes rows in squares that are turned in registers. See kernels.h.
 *
 * A vector is a line of the caches. Where lines begin at whole vectors, each is read
 * and written once and in full, however far apart they lie and whichever they push
 * out. */
#ifndef FNN_TRANSPOSE_SQUARE
/* One square by loads and stores of the names given. */
#define FNN_TRANSPOSE_SQUARE(put)                              \
    _Pragma("GCC unroll 16") for (int l = 0; l < LANES; l++) { \
        r[l] = v_load(x + l * ldx);                            \
    }                                                          \
    v_transpose(r);                                            \
    _Pragma("GCC unroll 16") for (int l = 0; l < LANES; l++) { put(y + l * ldy, r[l]); }
#endif

static void FNN_NAME(transpose)(ptrdiff_t m, ptrdiff_t n, const void *x_, ptrdiff_t ldx,
                                void *y_, ptrdiff_t ldy, bool stream) {
    stream =
        stream && ((uintptr_t)y_ | (uintptr_t)(ldy * (ptrdiff_t)sizeof(T))) % 64 == 0;
    for (ptrdiff_t i = 0; i < m; i += LANES) {
        const ptrdiff_t rows = m - i < LANES ? m - i : LANES;
        const T *x = (const T *)x_ + i;
        T *y = (T *)y_ + i * ldy;
        for (ptrdiff_t j = 0; j < n; j += LANES, x += LANES * ldx, y += LANES) {
            const ptrdiff_t cols = n - j < LANES ? n - j : LANES;
            V r[LANES];
            if (rows < LANES || cols < LANES) {
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    r[l] = l < cols ? v_loadn(x + l * ldx, rows) : v_zero();
                }
                v_transpose(r);
                for (ptrdiff_t l = 0; l < rows; l++) {
                    v_storen(y + l * ldy, r[l], cols);
                }
            } else if (stream) {
                FNN_TRANSPOSE_SQUARE(v_stream)
            } else {
                FNN_TRANSPOSE_SQUARE(v_store)
            }
        }
    }
}
