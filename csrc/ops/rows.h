/* Rows that a list of indices names, some of them more than once. */
#ifndef FNN_ROWS_H
#define FNN_ROWS_H

#include "ops.h"

typedef struct {
    int64_t index, position; /* position: in the list */
} fnn_row;

/* Bytes that sorting n indices needs. */
int64_t fnn_rows_bytes(int64_t n);
/* index[n], from 0 to below size, sorted; those of one index stay in order. Returns n rows
 * in room. */
const fnn_row *fnn_sort_rows(int64_t n, const int64_t *index, int64_t size, void *room);
/* The first row at or after i that begins a run of equal indices. */
static inline int64_t fnn_run_start(const fnn_row *rows, int64_t i, int64_t n) {
    while (i > 0 && i < n && rows[i].index == rows[i - 1].index) {
        i++;
    }
    return i;
}
/* The end of the run that begins at i < n. */
static inline int64_t fnn_run_end(const fnn_row *rows, int64_t i, int64_t n) {
    const int64_t index = rows[i].index;
    do {
        i++;
    } while (i < n && rows[i].index == index);
    return i;
}
/* y[m] = the rows [lo, hi) of values (n, inner) from column `at` on, added to 0 in order. */
void fnn_add_run(const fnn_row *rows, int64_t lo, int64_t hi, const fnn_tensor *values,
                 int64_t inner, int64_t at, int64_t m, void *y);

#endif
