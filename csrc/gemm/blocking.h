/* How the GEMM cuts its operands to fit the caches. Only speed depends on these
 * numbers.
 */
#ifndef FNN_GEMM_BLOCKING_H
#define FNN_GEMM_BLOCKING_H

#include "cpu.h"
#include "kernels.h"

#define FNN_L3_BYTES (4 << 20) /* one core's share; who else uses it, nobody knows */

/* The second level's size, within what is believable. */
static inline ptrdiff_t fnn_gemm_l2(void) {
    const int64_t l2 = fnn_cpu_get()->l2;
    return (ptrdiff_t)(l2 < 256 << 10 ? 256 << 10 : l2 > 2 << 20 ? 2 << 20 : l2);
}

/* k-blocks packed together: c is fetched once for all of them. */
#define FNN_GEMM_KG 2

/* Rows of a packed block of A: half of L2, less a margin that makes it a multiple of
 * many tile heights. Of 1 MB: 248 float32, 124 float64. */
static inline ptrdiff_t fnn_gemm_mc(ptrdiff_t size) {
    return (fnn_gemm_l2() / 2 - (16 << 10)) / (FNN_GEMM_KG * FNN_GEMM_KC * size);
}

/* Columns of a packed block of B: the share of L3. 2048 float32, 1024 float64. */
static inline ptrdiff_t fnn_gemm_nc(ptrdiff_t size) {
    return FNN_L3_BYTES / (FNN_GEMM_KG * FNN_GEMM_KC * size);
}

/* Rows of A read in place of which a k-block stays in L2 while panels of B pass by. */
static inline ptrdiff_t fnn_gemm_panel_rows(ptrdiff_t size) {
    return fnn_gemm_mc(size);
}

/* Rows of A of which one k-block, packed, takes less than half of L2. Of 1 MB: 448 and 224. */
static inline ptrdiff_t fnn_gemm_band(ptrdiff_t size) {
    return fnn_gemm_l2() * 7 / 16 / (size * FNN_GEMM_KC);
}

/* Columns of A, whole k-blocks, of which all m rows, packed, stay in L2 while single
 * panels of B pass by; 0 where not even one k-block does. */
static inline ptrdiff_t fnn_gemm_depth(ptrdiff_t m, ptrdiff_t size) {
    return fnn_gemm_band(size) / m * FNN_GEMM_KC;
}
#define FNN_GEMM_ANY_DEPTH (PTRDIFF_MAX / 2)

/* Columns of B packed together where A stays in L2: enough that rows of B are read in
 * long runs. 128 and 64. */
static inline ptrdiff_t fnn_gemm_group(ptrdiff_t size) { return 512 / size; }

/* Whether B is read in place where its rows are contiguous: few tiles read each panel,
 * and B is small. */
static inline bool fnn_gemm_place_b(ptrdiff_t tiles, double b_bytes) {
    return tiles <= 12 && b_bytes <= (double)fnn_gemm_l2();
}

/* Whether B comes from memory every time: what else a network reads lies in L3 too. */
static inline bool fnn_gemm_far(double b_bytes) {
    return b_bytes >= (double)fnn_cpu_get()->l3 / 2;
}

/* Panels of B up to which A is read in place: more of them repay the packing. */
#define FNN_GEMM_PLACE_A_PANELS 16

/* Multiply-adds below which one thread does it all. */
#define FNN_GEMM_SERIAL (1 << 19)

#endif
