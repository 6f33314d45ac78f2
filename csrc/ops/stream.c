/* Results too large for the caches.
 *
 * A line that is written is read first, and pushes out one that might be needed. Where the
 * operands of a call, each as often as it is read, are larger than the last cache, its results go past the caches: the
 * kernel fills a small buffer, which is copied by stores that read nothing. The next
 * stretch of the inputs is fetched meanwhile. Below that size the next call would miss
 * them. */
#include "cpu.h"
#include "ops.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define PIECE 4096 /* bytes: a buffer and as much of every input fit L1 */

bool fnn_streams(double bytes) { return bytes > (double)fnn_cpu_get()->l3; }

void fnn_stream_end(void) {
#if defined(__x86_64__)
    _mm_sfence(); /* such stores are not in order with others */
#endif
}

void fnn_stream_map(fnn_map_fn kernel, int dtype, ptrdiff_t n, void *y,
                    const void *const *x, const ptrdiff_t *step, int n_in) {
    _Alignas(64) char buffer[PIECE];
    const ptrdiff_t size = fnn_dtype_size(dtype);
    const void *at[FNN_MAP_INPUTS], *ahead[FNN_MAP_INPUTS];
    for (int k = 0; k < n_in; k++) {
        if (x[k] == y) { /* its lines are there anyway */
            kernel(n, y, x, step);
            return;
        }
        at[k] = x[k];
    }
    char *to = y;
    ptrdiff_t m = (ptrdiff_t)(-(uintptr_t)to % FNN_ALIGN) / size;
    if (m > 0) {
        m = m < n ? m : n;
        kernel(m, to, at, step);
    }
    for (;;) {
        int n_ahead = 0;
        n -= m;
        to += m * size;
        for (int k = 0; k < n_in; k++) {
            at[k] = (const char *)at[k] + step[k] * m * size;
        }
        if (n == 0) {
            return;
        }
        m = n < PIECE / size ? n : PIECE / size;
        kernel(m, buffer, at, step);
        for (int k = 0; k < n_in && n >= 2 * m; k++) {
            if (step[k] != 0) {
                ahead[n_ahead++] = (const char *)at[k] + m * size;
            }
        }
        fnn_k->stream[FNN_F64(dtype)](m, to, buffer, ahead, n_ahead);
    }
}
