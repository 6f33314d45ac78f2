/* How the GEMM cuts its operands to fit the caches. Only speed depends on these numbers.
 *
 * The cache sizes are those of a small current core; larger caches gain little, and asking
 * the machine would make timings, not results, differ from one to the next.
 */
#ifndef FNN_GEMM_BLOCKING_H
#define FNN_GEMM_BLOCKING_H

#include "kernels.h"

#define FNN_L2_BYTES (512 << 10)
#define FNN_L3_BYTES (4 << 20) /* one core's share */

/* Rows of a packed block of A: half of L2. 240 float32, 120 float64 (less a margin that
 * makes it a multiple of many tile heights). */
static inline ptrdiff_t fnn_gemm_mc(ptrdiff_t size) {
    return (FNN_L2_BYTES / 2 - (16 << 10)) / (FNN_GEMM_KC * size);
}

/* Columns of a packed block of B: half of the share of L3. 2048 float32, 1024 float64. */
static inline ptrdiff_t fnn_gemm_nc(ptrdiff_t size) {
    return FNN_L3_BYTES / 2 / (FNN_GEMM_KC * size);
}

/* All of A, packed, may stay in L2 while single panels of B pass by. */
#define FNN_GEMM_WHOLE_A_BYTES FNN_L2_BYTES

/* Panels of B packed together where all of A stays in L2: enough that rows of B are read in
 * long runs. */
#ifndef FNN_GEMM_GROUP
#define FNN_GEMM_GROUP 4
#endif

/* Rows of a product up to which B is read in place where its rows are contiguous: few
 * tiles read each panel of it. */
#ifndef FNN_GEMM_PLACE_B_ROWS
#define FNN_GEMM_PLACE_B_ROWS 140
#endif
/* Columns, in panels, up to which A is read in place. */
#define FNN_GEMM_PLACE_A_PANELS 16
/* Multiply-adds below which one thread does it all. */
#define FNN_GEMM_SERIAL (1 << 19)

#endif
