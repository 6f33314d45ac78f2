/* Pooling. See kernels.h for the signatures, windows.h for what windows are.
 *
 * Largest elements: every row of x is reduced along w once and kept in a ring of rows; then
 * the rows of a window are reduced. In this order the first of equal elements, and the last
 * NaN, is that of the window. Averages: along h first, then along w.
 *
 * So that windows side by side along w are reduced in vectors, a row is split into phases:
 * phase q has the elements k stride + q - padding, and tap j of window o is element
 * o + j dilation / stride of phase j dilation % stride. Backward, phases are summed up, then
 * interleaved. Strides above 2 and adaptive windows are gone through one by one. */

/* Places what a kernel needs in scratch memory, rows of p->pitch. */
#define FNN_ROWS(name, n) T *const name = (next += (n) * pitch) - (n) * pitch

/* The phases of a row of x; `outside` where there is no element. s is the stride. */
FNN_INLINE void FNN_NAME(pool_split)(const fnn_pool *p, const ptrdiff_t s, const T *x,
                                     T outside, T *phase) {
    const fnn_axis *a = &p->w;
    const ptrdiff_t need = a->out + (a->kernel - 1) * a->dilation / s;
    for (ptrdiff_t q = 0; q < p->phases; q++) {
        T *to = phase + q * p->pitch;
        const ptrdiff_t before = a->padding - q, after = a->in + before;
        ptrdiff_t from = before > 0 ? (before + s - 1) / s : 0;
        ptrdiff_t end = after > 0 ? (after + s - 1) / s : 0;
        from = from < need ? from : need;
        end = end < need ? end : need;
        ptrdiff_t k = 0;
        for (; k < from; k++) {
            to[k] = outside;
        }
        if (end > from) {
            const T *in = x + from * s - before;
            if (s == 1) {
                memcpy(to + from, in, (size_t)(end - from) * sizeof(T));
            } else {
                FNN_NAME(take_half)(end - from, in, to + from);
            }
            k = end;
        }
        for (; k < need; k++) {
            to[k] = outside;
        }
    }
}

FNN_INLINE void FNN_NAME(pool_phases)(const fnn_pool *p, const T *x, T outside,
                                      T *phase) {
    if (p->w.stride == 1) { /* loads that the compiler knows */
        FNN_NAME(pool_split)(p, 1, x, outside, phase);
    } else {
        FNN_NAME(pool_split)(p, 2, x, outside, phase);
    }
}

/* Where windows lie along w. Few and short steps of the stride: tap j of window 0 in the
 * phases. Else, window by window: where it starts, and its taps that lie in the row. */
typedef struct {
    ptrdiff_t start, lo, hi;
} FNN_NAME(pool_span);

FNN_INLINE bool FNN_NAME(pool_one_by_one)(const fnn_pool *p) {
    return p->w.adaptive || p->w.stride > 2;
}

FNN_INLINE void FNN_NAME(pool_places)(const fnn_pool *p, ptrdiff_t *offset,
                                      FNN_NAME(pool_span) * span) {
    const fnn_axis *a = &p->w;
    if (FNN_NAME(pool_one_by_one)(p)) {
        for (ptrdiff_t o = 0; o < a->out; o++) {
            span[o].start = fnn_window(a, o, &span[o].lo, &span[o].hi);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < a->kernel; j++) {
        const ptrdiff_t at = j * a->dilation;
        offset[j] = at % a->stride * p->pitch + at / a->stride;
    }
}

/* ---- maxima ----------------------------------------------------------------------- */

/* The larger of *best and v; `tapped`: and which, v's tap being t. */
FNN_INLINE void FNN_NAME(pool_larger)(const bool tapped, V *best, V *tap, V v, V t) {
    const M take = v_mor(v_lt(*best, v), v_isnan(v));
    *best = v_sel(take, v, *best);
    if (tapped) {
        *tap = v_sel(take, t, *tap);
    }
}

/* Largest elements along w, and which taps they are. */
FNN_INLINE void FNN_NAME(max_along_w)(const fnn_pool *p, const bool tapped,
                                      const ptrdiff_t kernel, const T *phase,
                                      const ptrdiff_t *offset, const T *first, T *value,
                                      T *tap) {
    for (ptrdiff_t o = 0; o < p->w.out; o += LANES) {
        V best = v_load(phase + offset[0] + o), t = v_load(first + o);
        for (ptrdiff_t j = 1; j < kernel; j++) {
            const V v = v_load(phase + offset[j] + o);
            FNN_NAME(pool_larger)(tapped, &best, &t, v, v_set1((T)j));
        }
        v_store(value + o, best);
        if (tapped) {
            v_store(tap + o, t);
        }
    }
}

FNN_INLINE void FNN_NAME(max_row)(const fnn_pool *p, const bool tapped, const T *x,
                                  T *phase, const ptrdiff_t *offset, const T *first,
                                  T *value, T *tap) {
    FNN_NAME(pool_phases)(p, x, -(T)INFINITY, phase);
    switch (p->w.kernel) {
    case 2:
        FNN_NAME(max_along_w)(p, tapped, 2, phase, offset, first, value, tap);
        break;
    case 3:
        FNN_NAME(max_along_w)(p, tapped, 3, phase, offset, first, value, tap);
        break;
    default:
        FNN_NAME(max_along_w)
        (p, tapped, p->w.kernel, phase, offset, first, value, tap);
    }
}

/* Windows one by one: along h first, in vectors, taps of h from `begin` on; x is the row of
 * the first. */
FNN_INLINE void FNN_NAME(max_down)(const fnn_pool *p, const bool tapped, const T *x,
                                   ptrdiff_t begin, ptrdiff_t end, T *value, T *tap) {
    const ptrdiff_t n = p->w.in, step = n * p->h.dilation;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t m = n - i < LANES ? n - i : LANES;
        V best = v_loadn(x + i, m), t = v_set1((T)begin);
        for (ptrdiff_t k = begin + 1; k < end; k++) {
            const V v = v_loadn(x + (k - begin) * step + i, m);
            FNN_NAME(pool_larger)(tapped, &best, &t, v, v_set1((T)k));
        }
        v_store(value + i, best);
        if (tapped) {
            v_store(tap + i, t);
        }
    }
}

/* Then along w. Of equal elements the highest one is the first, of NaN the lowest the last;
 * at equal height the left one, and the right one. */
FNN_INLINE void FNN_NAME(max_across)(const fnn_pool *p, const bool tapped,
                                     const FNN_NAME(pool_span) * span, const T *value,
                                     const T *tap, T *y, T *found) {
    const ptrdiff_t step = p->w.dilation;
    for (ptrdiff_t o = 0; o < p->w.out; o++) {
        ptrdiff_t j = span[o].lo, at = span[o].start + j * step;
        T most = value[at], down = tapped ? tap[at] : 0, across = (T)j;
        for (j++; j < span[o].hi; j++) {
            at += step;
            const T v = value[at];
            bool take = (v > most) | (v != v);
            if (tapped) {
                const T u = tap[at];
                take = (v > most) | ((v == most) & (u < down)) |
                       ((v != v) & ((most == most) | (u >= down)));
                down = take ? u : down;
                across = take ? (T)j : across;
            }
            most = take ? v : most;
        }
        y[o] = most;
        if (tapped) {
            found[o] = down * (T)p->w.kernel + across;
        }
    }
}

/* n taps from number `at` on, as whole numbers of their type. */
FNN_INLINE void FNN_NAME(put_taps)(const fnn_pool *p, const T *found, ptrdiff_t at,
                                   ptrdiff_t n, void *tap) {
    if (p->wide_taps) {
        int32_t *to = (int32_t *)tap + at;
        for (ptrdiff_t i = 0; i < n; i++) {
            to[i] = (int32_t)found[i];
        }
    } else {
        uint8_t *to = (uint8_t *)tap + at;
        for (ptrdiff_t i = 0; i < n; i++) {
            to[i] = (uint8_t)(int32_t)found[i];
        }
    }
}

FNN_INLINE void FNN_NAME(max_rows)(const fnn_pool *p, const bool tapped, ptrdiff_t lo,
                                   ptrdiff_t hi, const T *x_, T *y_, void *tap,
                                   void *scratch) {
    const fnn_axis *h = &p->h, *w = &p->w;
    const ptrdiff_t pitch = p->pitch;
    T *next = scratch;
    FNN_ROWS(phase, p->phases);
    FNN_ROWS(values, p->ring);
    FNN_ROWS(taps, p->ring);
    FNN_ROWS(first, 1); /* the first tap of a window that lies in the row */
    FNN_ROWS(found, 1);
    T *const down = next; /* w->in, rounded up, and the taps of these */
    T *const down_taps = down + (w->in + LANES) / LANES * LANES;
    next = down_taps + (w->in + LANES) / LANES * LANES;
    FNN_NAME(pool_span) *const span = (void *)next;
    ptrdiff_t *const offset = (void *)next;
    FNN_NAME(pool_places)(p, offset, span);
    for (ptrdiff_t o = 0; o < pitch; o++) {
        ptrdiff_t from = 0, to;
        if (o < w->out) {
            fnn_window(w, o, &from, &to);
        }
        first[o] = (T)from;
    }
    ptrdiff_t plane = lo / h->out, o = lo % h->out,
              done = 0; /* rows of x in the ring */
    for (ptrdiff_t row = lo; row < hi; row++, o++) {
        if (o == h->out) {
            o = done = 0;
            plane++;
        }
        const T *x = x_ + plane * h->in * w->in;
        ptrdiff_t begin, end;
        const ptrdiff_t start = fnn_window(h, o, &begin, &end);
        const ptrdiff_t from = start + begin * h->dilation;
        const ptrdiff_t stop = start + (end - 1) * h->dilation + 1;
        if (FNN_NAME(pool_one_by_one)(p)) {
            FNN_NAME(max_down)
            (p, tapped, x + from * w->in, begin, end, down, down_taps);
            FNN_NAME(max_across)
            (p, tapped, span, down, down_taps, y_ + row * w->out, found);
            if (tapped) {
                FNN_NAME(put_taps)(p, found, row * w->out, w->out, tap);
            }
            continue;
        }
        /* dilated, a later window may want an earlier row; none before it starts */
        done = done > start ? done : start;
        done = done > 0 ? done : 0;
        ptrdiff_t slot = done % p->ring;
        for (; done < stop; done++) {
            FNN_NAME(max_row)
            (p, tapped, x + done * w->in, phase, offset, first, values + slot * pitch,
             taps + slot * pitch);
            slot = slot + 1 == p->ring ? 0 : slot + 1;
        }
        T *y = y_ + row * w->out;
        const ptrdiff_t top = from % p->ring;
        for (ptrdiff_t at = 0; at < w->out; at += LANES) {
            V best = v_load(values + top * pitch + at), t = best;
            if (tapped) {
                t = v_add(v_load(taps + top * pitch + at),
                          v_set1((T)(begin * w->kernel)));
            }
            slot = top;
            for (ptrdiff_t k = begin + 1; k < end; k++) {
                slot += h->dilation;
                slot -= slot >= p->ring ? p->ring : 0;
                const V v = v_load(values + slot * pitch + at);
                V u = v;
                if (tapped) {
                    u = v_add(v_load(taps + slot * pitch + at),
                              v_set1((T)(k * w->kernel)));
                }
                FNN_NAME(pool_larger)(tapped, &best, &t, v, u);
            }
            v_store(found + at, t);
            if (at + LANES <= w->out) {
                v_store(y + at, best);
            } else {
                v_storen(y + at, best, w->out - at);
            }
        }
        if (tapped) {
            FNN_NAME(put_taps)(p, found, row * w->out, w->out, tap);
        }
    }
}

/* Windows of 2x2 side by side, none of which leaves x: nothing is kept from row to row. */
FNN_INLINE bool FNN_NAME(pool_pairs)(const fnn_axis *a) {
    return a->kernel == 2 && a->stride == 2 && a->padding == 0 && a->dilation == 1 &&
           !a->adaptive && 2 * a->out <= a->in;
}

/* The larger of each pair of n / 2, and which. */
FNN_INLINE V FNN_NAME(pool_pair)(const bool tapped, const T *x, ptrdiff_t n, T first,
                                 V *tap) {
    V low, high;
    if (n == 2 * LANES) {
        low = v_load(x);
        high = v_load(x + LANES);
    } else {
        low = v_loadn(x, n < LANES ? n : LANES);
        high = n > LANES ? v_loadn(x + LANES, n - LANES) : v_zero();
    }
    V best = v_even(low, high);
    *tap = v_set1(first);
    FNN_NAME(pool_larger)(tapped, &best, tap, v_odd(low, high), v_set1(first + 1));
    return best;
}

/* Taps of many rows are converted at once: rows may be short. */
FNN_INLINE void FNN_NAME(max_pairs)(const fnn_pool *p, const bool tapped, ptrdiff_t lo,
                                    ptrdiff_t hi, const T *x, T *y, void *tap) {
    enum { ROOM = 512 };
    T found[ROOM + LANES];
    const fnn_axis *h = &p->h, *w = &p->w;
    const ptrdiff_t n = w->out;
    ptrdiff_t plane = lo / h->out, o = lo % h->out, count = 0;
    for (ptrdiff_t row = lo; row < hi; row++, o++) {
        if (o == h->out) {
            o = 0;
            plane++;
        }
        const T *from = x + (plane * h->in + 2 * o) * w->in;
        for (ptrdiff_t k = 0; k < n; k += LANES) {
            const ptrdiff_t m = n - k < LANES ? n - k : LANES, at = row * n + k;
            V t, u, best = FNN_NAME(pool_pair)(tapped, from + 2 * k, 2 * m, 0, &t);
            const V below =
                FNN_NAME(pool_pair)(tapped, from + w->in + 2 * k, 2 * m, 2, &u);
            FNN_NAME(pool_larger)(tapped, &best, &t, below, u);
            if (m == LANES) {
                v_store(y + at, best);
            } else {
                v_storen(y + at, best, m);
            }
            if (tapped) {
                v_store(found + count, t);
                count += m;
                if (count > ROOM - LANES || at + m == hi * n) {
                    FNN_NAME(put_taps)(p, found, at + m - count, count, tap);
                    count = 0;
                }
            }
        }
    }
}

static void FNN_NAME(max_pool)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                               const void *x, void *y, void *tap, void *scratch) {
    if (FNN_NAME(pool_pairs)(&p->h) && FNN_NAME(pool_pairs)(&p->w)) {
        if (tap != NULL) {
            FNN_NAME(max_pairs)(p, true, lo, hi, x, y, tap);
        } else {
            FNN_NAME(max_pairs)(p, false, lo, hi, x, y, NULL);
        }
        return;
    }
    if (tap != NULL) {
        FNN_NAME(max_rows)(p, true, lo, hi, x, y, tap, scratch);
    } else {
        FNN_NAME(max_rows)(p, false, lo, hi, x, y, NULL, scratch);
    }
}

/* What a phase of gx is the sum of: elements of a row of gy, moved, those whose tap is
 * `code`. */
typedef struct {
    const T *g, *tap;
    T code;
} FNN_NAME(pool_term);

/* The phases of a row of gx, interleaved; those that no tap has are zeros. */
FNN_INLINE void FNN_NAME(pool_join)(const fnn_pool *p, const T *phase, T *gx) {
    const fnn_axis *a = &p->w;
    const ptrdiff_t s = a->stride, n = a->in;
    if (s == 1) {
        memcpy(gx, phase + a->padding, (size_t)n * sizeof(T));
        return;
    }
    if (p->phases == 2) {
        const bool odd = a->padding & 1;
        const T *even = phase + (odd ? p->pitch : 0) + a->padding / 2;
        const T *other = phase + (odd ? 0 : p->pitch) + (a->padding + 1) / 2;
        for (ptrdiff_t k = 0; k < n / 2; k++) {
            gx[2 * k] = even[k];
            gx[2 * k + 1] = other[k];
        }
        if (n & 1) {
            gx[n - 1] = even[n / 2];
        }
        return;
    }
    memset(gx, 0, (size_t)n * sizeof(T)); /* one phase of two: a kernel of 1 */
    const ptrdiff_t from = a->padding & 1;
    for (ptrdiff_t i = from; i < n; i += 2) {
        gx[i] = phase[(i + a->padding) / 2];
    }
}

/* Elements of gy and taps that are not there: before, as far as a tap reaches; behind, to
 * the end of the row. */
FNN_INLINE void FNN_NAME(pool_widen)(const fnn_pool *p, const T *gy, const void *tap_,
                                     ptrdiff_t row, T *g, T *tap) {
    const ptrdiff_t n = p->w.out;
    const ptrdiff_t margin = (p->w.kernel - 1) * p->w.dilation / p->w.stride;
    memset(g, 0, (size_t)margin * sizeof(T));
    memcpy(g + margin, gy + row * n, (size_t)n * sizeof(T));
    memset(g + margin + n, 0, (size_t)(p->pitch - margin - n) * sizeof(T));
    for (ptrdiff_t i = 0; i < margin; i++) {
        tap[i] = -1;
    }
    if (p->wide_taps) {
        const int32_t *in = (const int32_t *)tap_ + row * n;
        for (ptrdiff_t i = 0; i < n; i++) {
            tap[margin + i] = (T)in[i];
        }
    } else {
        const uint8_t *in = (const uint8_t *)tap_ + row * n;
        for (ptrdiff_t i = 0; i < n; i++) {
            tap[margin + i] = (T)in[i];
        }
    }
    for (ptrdiff_t i = margin + n; i < p->pitch; i++) {
        tap[i] = -1;
    }
}

/* A row of gx by scattering, where windows do not lie side by side in vectors. */
FNN_INLINE void FNN_NAME(max_scatter)(const fnn_pool *p, ptrdiff_t plane, ptrdiff_t i,
                                      const FNN_NAME(pool_span) * span, const T *gy,
                                      const void *tap, T *gx) {
    const fnn_axis *h = &p->h, *w = &p->w;
    ptrdiff_t from, to, lo, hi;
    memset(gx, 0, (size_t)w->in * sizeof(T));
    fnn_windows_over(h, i, &from, &to);
    for (ptrdiff_t o = from; o < to; o++) {
        const ptrdiff_t down = i - fnn_window(h, o, &lo, &hi);
        if (down % h->dilation != 0) {
            continue;
        }
        const ptrdiff_t code = down / h->dilation * w->kernel;
        for (ptrdiff_t k = 0; k < w->out; k++) {
            const ptrdiff_t at = (plane * h->out + o) * w->out + k;
            const ptrdiff_t t = (p->wide_taps ? (ptrdiff_t)((const int32_t *)tap)[at]
                                              : (ptrdiff_t)((const uint8_t *)tap)[at]) -
                                code;
            if (t >= 0 && t < w->kernel) {
                const ptrdiff_t x = span[k].start + t * w->dilation;
                if (x >= 0 && x < w->in) {
                    gx[x] += gy[at];
                }
            }
        }
    }
}

/* A row of gx where windows are pairs; taps: of the row of gy, beginning with `code`. */
FNN_INLINE void FNN_NAME(max_unpair)(const fnn_pool *p, const T *gy, const T *taps,
                                     T code, T *gx) {
    const ptrdiff_t n = p->w.out;
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t m = n - k < LANES ? n - k : LANES;
        const V g = m == LANES ? v_load(gy + k) : v_loadn(gy + k, m);
        const V t = v_load(taps + k);
        /* + 0, as sums are: no -0 */
        const V left = v_add(v_zero(), v_sel(v_eq(t, v_set1(code)), g, v_zero()));
        const V right = v_add(v_zero(), v_sel(v_eq(t, v_set1(code + 1)), g, v_zero()));
        const V low = v_zip_low(left, right), high = v_zip_high(left, right);
        if (m == LANES) {
            v_store(gx + 2 * k, low);
            v_store(gx + 2 * k + LANES, high);
        } else {
            v_storen(gx + 2 * k, low, 2 * m < LANES ? 2 * m : LANES);
            v_storen(gx + 2 * k + LANES, high, 2 * m < LANES ? 0 : 2 * m - LANES);
        }
    }
    for (ptrdiff_t k = 2 * n; k < p->w.in; k++) {
        gx[k] = 0;
    }
}

/* Taps of many rows are converted at once, as above. */
FNN_INLINE void FNN_NAME(max_pairs_bwd)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                                        const T *gy, const uint8_t *tap, T *gx,
                                        T *scratch) {
    enum { ROOM = 512 };
    T few[ROOM + LANES];
    const ptrdiff_t n = p->w.out, in = p->w.in, rows = p->h.out;
    T *const taps = n <= ROOM ? few : scratch;
    const ptrdiff_t room = n <= ROOM ? ROOM : n;
    ptrdiff_t plane = (hi - 1) / p->h.in, i = (hi - 1) % p->h.in;
    const ptrdiff_t all = (plane * rows + (i / 2 < rows ? i / 2 + 1 : rows)) * n;
    ptrdiff_t from = 0, end = 0; /* the taps that are converted */
    plane = lo / p->h.in;
    i = lo % p->h.in;
    memset(taps, 0, (size_t)(room + LANES) * sizeof(T));
    for (ptrdiff_t row = lo; row < hi; row++, i++) {
        if (i == p->h.in) {
            i = 0;
            plane++;
        }
        const ptrdiff_t o = i >> 1, at = (plane * rows + o) * n;
        if (o >= rows) {
            memset(gx + row * in, 0, (size_t)in * sizeof(T));
            continue;
        }
        if (at + n > end) {
            from = at;
            end = at + room < all ? at + room : all;
            for (ptrdiff_t k = from; k < end; k++) {
                taps[k - from] = (T)tap[k];
            }
        }
        FNN_NAME(max_unpair)(p, gy + at, taps + at - from, (T)((i & 1) * 2),
                             gx + row * in);
    }
}

static void FNN_NAME(max_pool_bwd)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                                   const void *gy_, const void *tap, void *gx_,
                                   void *scratch) {
    const fnn_axis *h = &p->h, *w = &p->w;
    const ptrdiff_t pitch = p->pitch, s = w->stride;
    const ptrdiff_t margin = (w->kernel - 1) * w->dilation / s;
    const ptrdiff_t length = (w->in + w->padding - 1) / s + 1; /* of a phase */
    const T *gy = gy_;
    T *next = scratch;
    FNN_ROWS(phase, p->phases);
    FNN_ROWS(values, p->ring);
    FNN_ROWS(taps, p->ring);
    if (FNN_NAME(pool_pairs)(h) && FNN_NAME(pool_pairs)(w)) {
        FNN_NAME(max_pairs_bwd)(p, lo, hi, gy, tap, gx_, taps);
        return;
    }
    FNN_NAME(pool_term) *const terms = (void *)next;
    FNN_NAME(pool_span) *const span = (void *)next;
    const bool scatter = h->adaptive || FNN_NAME(pool_one_by_one)(p);
    for (ptrdiff_t o = 0; scatter && o < w->out; o++) {
        span[o].start = fnn_window(w, o, &span[o].lo, &span[o].hi);
    }
    ptrdiff_t plane = lo / h->in, i = lo % h->in, done = 0; /* rows of gy in the ring */
    for (ptrdiff_t row = lo; row < hi; row++, i++) {
        if (i == h->in) {
            i = done = 0;
            plane++;
        }
        T *gx = (T *)gx_ + row * w->in;
        if (scatter) {
            FNN_NAME(max_scatter)(p, plane, i, span, gy, tap, gx);
            continue;
        }
        ptrdiff_t from, to;
        fnn_windows_over(h, i, &from, &to);
        for (ptrdiff_t o = done > from ? done : from; o < to; o++) {
            FNN_NAME(pool_widen)
            (p, gy, tap, plane * h->out + o, values + o % p->ring * pitch,
             taps + o % p->ring * pitch);
        }
        done = to > done ? to : done;
        for (ptrdiff_t q = 0; q < p->phases; q++) {
            ptrdiff_t n = 0;
            for (ptrdiff_t o = from; o < to; o++) {
                const ptrdiff_t down = i + h->padding - o * h->stride;
                if (h->dilation != 1 && down % h->dilation != 0) {
                    continue;
                }
                const ptrdiff_t tap_h = h->dilation == 1 ? down : down / h->dilation;
                const ptrdiff_t slot = o % p->ring * pitch;
                for (ptrdiff_t j = w->kernel - 1; j >= 0; j--) {
                    const ptrdiff_t right = j * w->dilation;
                    const ptrdiff_t shift =
                        s == 2 ? right >> 1 : right; /* s is 1 or 2 */
                    if (right - shift * s == q) {
                        terms[n++] = (FNN_NAME(pool_term)){
                            values + slot + margin - shift,
                            taps + slot + margin - shift, (T)(tap_h * w->kernel + j)};
                    }
                }
            }
            for (ptrdiff_t k = 0; k < length; k += LANES) {
                V sum = v_zero();
                for (ptrdiff_t m = 0; m < n; m++) {
                    const M hit = v_eq(v_load(terms[m].tap + k), v_set1(terms[m].code));
                    sum = v_add(sum, v_sel(hit, v_load(terms[m].g + k), v_zero()));
                }
                v_store(phase + q * pitch + k, sum);
            }
        }
        FNN_NAME(pool_join)(p, phase, gx);
    }
}
