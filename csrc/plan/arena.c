#include "plan/arena.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b) {
    const fnn_lifetime *x = *(fnn_lifetime *const *)a, *y = *(fnn_lifetime *const *)b;
    if (x->bytes != y->bytes) {
        return x->bytes > y->bytes ? -1 : 1;
    }
    return (x > y) - (x < y); /* the order in which they were given */
}

static int by_place(const void *a, const void *b) {
    const fnn_lifetime *x = *(fnn_lifetime *const *)a, *y = *(fnn_lifetime *const *)b;
    return (x->place > y->place) - (x->place < y->place);
}

int64_t fnn_arena_layout(fnn_lifetime *buffers, int n) {
    fnn_lifetime **order = malloc((size_t)(2 * n + 1) * sizeof *order);
    if (order == NULL) {
        return -1;
    }
    fnn_lifetime **rivals = order + n; /* placed, and alive at the same time */
    int live = 0;
    for (int i = 0; i < n; i++) {
        buffers[i].place = -1;
        if (buffers[i].first <= buffers[i].last) {
            order[live++] = &buffers[i];
        }
    }
    qsort(order, (size_t)live, sizeof *order, by_size);
    int64_t total = 0;
    for (int i = 0; i < live; i++) {
        fnn_lifetime *b = order[i];
        int m = 0;
        for (int k = 0; k < i; k++) {
            if (order[k]->first <= b->last && b->first <= order[k]->last) {
                rivals[m++] = order[k];
            }
        }
        qsort(rivals, (size_t)m, sizeof *rivals, by_place);
        int64_t place = 0;
        for (int k = 0; k < m; k++) {
            if (rivals[k]->place - place >= fnn_aligned(b->bytes)) {
                break;
            }
            int64_t end = rivals[k]->place + fnn_aligned(rivals[k]->bytes);
            place = end > place ? end : place;
        }
        b->place = place;
        if (place + fnn_aligned(b->bytes) > total) {
            total = place + fnn_aligned(b->bytes);
        }
    }
    free(order);
    return total;
}
