/* Images sampled between their pixels, and the gradients; sums of weighted rows. See
 * kernels.h for the signatures.
 *
 * A position (x, y) lies between the pixels of columns floor(x) and floor(x) + 1 and of rows
 * floor(y) and floor(y) + 1. They weigh 1 - d and d for the distance d from the first; a
 * second one of weight 0 is not read, so that whole positions give a pixel as it is. */

#define warp_place FNN_NAME(warp_place) /* vectors, so one type a dtype */
typedef struct {
    V first, second;  /* column (row) of the two pixels */
    V rest, rest_not; /* their distance from the position: d and 1 - d */
    M in_first, in_second;
    V slope; /* of the place that the image is read at, by the position */
} warp_place;

/* The position where an image of that size is read. *slope is its derivative: 0 where it was
 * moved to the border. What is not a number goes to the start. */
FNN_INLINE V FNN_NAME(warp_inside)(V at, ptrdiff_t size, int padding, V *slope) {
    const V one = v_set1((T)1), zero = v_zero(), last = v_set1((T)(size - 1));
    *slope = one;
    if (padding == FNN_WARP_FILL) { /* further out is as far */
        return v_minnum(v_maxnum(at, v_set1((T)-2)), v_set1((T)(size + 1)));
    }
    if (padding != FNN_WARP_BORDER) {
        /* A wave of triangles from `start`, a whole one 2 span long. */
        T start = padding == FNN_WARP_MIRROR ? 0 : (T)-0.5;
        V whole = v_set1((T)(2 * (size - (padding == FNN_WARP_MIRROR))));
        V from = v_sub(at, v_set1(start));
        V turned = v_fnma(whole, m_round(v_div(from, whole)), from);
        *slope = v_copysign(one, turned);
        at = v_add(v_abs(turned), v_set1(start));
    }
    *slope = v_sel(v_mand(v_lt(zero, at), v_lt(at, last)), *slope, zero);
    return v_minnum(v_maxnum(at, zero), last);
}

FNN_INLINE M FNN_NAME(warp_in)(V place, ptrdiff_t size) {
    return v_mand(v_le(v_zero(), place), v_lt(place, v_set1((T)size)));
}

FNN_INLINE warp_place FNN_NAME(warp_between)(V at, ptrdiff_t size, int padding) {
    warp_place p;
    const V one = v_set1((T)1);
    at = FNN_NAME(warp_inside)(at, size, padding, &p.slope);
    p.first = m_floor(at);
    p.second = v_add(p.first, one);
    p.rest = v_sub(at, p.first);
    p.rest_not = v_sub(one, p.rest);
    p.in_first = FNN_NAME(warp_in)(p.first, size);
    p.in_second = FNN_NAME(warp_in)(p.second, size);
    return p;
}

FNN_INLINE V FNN_NAME(warp_nearest)(V at, ptrdiff_t size, int padding, M *inside) {
    V slope;
    V place = m_round(FNN_NAME(warp_inside)(at, size, padding, &slope));
    *inside = FNN_NAME(warp_in)(place, size);
    return place;
}

static void FNN_NAME(warp)(const fnn_warp *job) {
    const V other = v_set1(job->padding == FNN_WARP_FILL ? (T)job->fill : 0);
    for (ptrdiff_t i = 0; i < job->n; i += LANES) {
        const ptrdiff_t n = job->n - i < LANES ? job->n - i : LANES, ld = job->ld;
        V x = v_loadn((const T *)job->at_x + i, n);
        V y = v_loadn((const T *)job->at_y + i, n);
        T *out = (T *)job->y + i;
        const T *in = job->x;
        if (job->mode == FNN_WARP_NEAREST) {
            M in_x, in_y;
            x = FNN_NAME(warp_nearest)(x, job->w, job->padding, &in_x);
            y = FNN_NAME(warp_nearest)(y, job->h, job->padding, &in_y);
            in_x = v_mand(in_x, in_y);
            for (ptrdiff_t c = 0; c < job->channels; c++) {
                v_storen(out + c * job->y_plane,
                         v_at(in + c * job->plane, ld, y, x, in_x, other), n);
            }
            continue;
        }
        warp_place px = FNN_NAME(warp_between)(x, job->w, job->padding);
        warp_place py = FNN_NAME(warp_between)(y, job->h, job->padding);
        px.in_second = v_mand(px.in_second, v_lt(v_zero(), px.rest));
        py.in_second = v_mand(py.in_second, v_lt(v_zero(), py.rest));
        const V w00 = v_mul(px.rest_not, py.rest_not),
                w01 = v_mul(px.rest, py.rest_not);
        const V w10 = v_mul(px.rest_not, py.rest), w11 = v_mul(px.rest, py.rest);
        const M m00 = v_mand(px.in_first, py.in_first);
        const M m01 = v_mand(px.in_second, py.in_first);
        const M m10 = v_mand(px.in_first, py.in_second);
        const M m11 = v_mand(px.in_second, py.in_second);
        for (ptrdiff_t c = 0; c < job->channels; c++, in += job->plane) {
            V sum = v_mul(w00, v_at(in, ld, py.first, px.first, m00, other));
            sum = v_fma(w01, v_at(in, ld, py.first, px.second, m01, other), sum);
            sum = v_fma(w10, v_at(in, ld, py.second, px.first, m10, other), sum);
            sum = v_fma(w11, v_at(in, ld, py.second, px.second, m11, other), sum);
            v_storen(out + c * job->y_plane, sum, n);
        }
    }
}

/* x[row * ld + column] += weight y for the lanes inside, in order: several may meet. */
FNN_INLINE void FNN_NAME(warp_add)(const fnn_warp *job, ptrdiff_t i, ptrdiff_t n, V row,
                                   V column, M inside, V weight) {
    T rows[LANES], columns[LANES], add[LANES];
    uint8_t in[LANES];
    v_store(rows, row);
    v_store(columns, column);
    v_mstore(in, inside, LANES);
    for (ptrdiff_t c = 0; c < job->channels; c++) {
        T *x = (T *)job->x + c * job->plane;
        const T *y = (const T *)job->y + c * job->y_plane + i;
        v_store(add, v_mul(weight, v_loadn(y, n)));
        for (ptrdiff_t k = 0; k < n; k++) {
            if (in[k]) {
                x[(ptrdiff_t)rows[k] * job->ld + (ptrdiff_t)columns[k]] += add[k];
            }
        }
    }
}

static void FNN_NAME(warp_scatter)(const fnn_warp *job) {
    for (ptrdiff_t i = 0; i < job->n; i += LANES) {
        const ptrdiff_t n = job->n - i < LANES ? job->n - i : LANES;
        V x = v_loadn((const T *)job->at_x + i, n);
        V y = v_loadn((const T *)job->at_y + i, n);
        if (job->mode == FNN_WARP_NEAREST) {
            M in_x, in_y;
            x = FNN_NAME(warp_nearest)(x, job->w, job->padding, &in_x);
            y = FNN_NAME(warp_nearest)(y, job->h, job->padding, &in_y);
            FNN_NAME(warp_add)(job, i, n, y, x, v_mand(in_x, in_y), v_set1((T)1));
            continue;
        }
        const warp_place px = FNN_NAME(warp_between)(x, job->w, job->padding);
        const warp_place py = FNN_NAME(warp_between)(y, job->h, job->padding);
        FNN_NAME(warp_add)(job, i, n, py.first, px.first,
                           v_mand(px.in_first, py.in_first),
                           v_mul(px.rest_not, py.rest_not));
        FNN_NAME(warp_add)(job, i, n, py.first, px.second,
                           v_mand(px.in_second, py.in_first),
                           v_mul(px.rest, py.rest_not));
        FNN_NAME(warp_add)(job, i, n, py.second, px.first,
                           v_mand(px.in_first, py.in_second),
                           v_mul(px.rest_not, py.rest));
        FNN_NAME(warp_add)(job, i, n, py.second, px.second,
                           v_mand(px.in_second, py.in_second), v_mul(px.rest, py.rest));
    }
}

/* Of bilinear sampling: that of the nearest pixel has none. */
static void FNN_NAME(warp_slopes)(const fnn_warp *job) {
    const V other = v_set1(job->padding == FNN_WARP_FILL ? (T)job->fill : 0);
    for (ptrdiff_t i = 0; i < job->n; i += LANES) {
        const ptrdiff_t n = job->n - i < LANES ? job->n - i : LANES, ld = job->ld;
        V x = v_loadn((const T *)job->at_x + i, n);
        V y = v_loadn((const T *)job->at_y + i, n);
        const warp_place px = FNN_NAME(warp_between)(x, job->w, job->padding);
        const warp_place py = FNN_NAME(warp_between)(y, job->h, job->padding);
        const M m00 = v_mand(px.in_first, py.in_first);
        const M m01 = v_mand(px.in_second, py.in_first);
        const M m10 = v_mand(px.in_first, py.in_second);
        const M m11 = v_mand(px.in_second, py.in_second);
        const T *in = job->x, *gy = (const T *)job->y + i;
        V gx = v_zero(), gy_sum = v_zero();
        for (ptrdiff_t c = 0; c < job->channels; c++, in += job->plane) {
            V g = v_loadn(gy + c * job->y_plane, n);
            V v00 = v_at(in, ld, py.first, px.first, m00, other);
            V v01 = v_at(in, ld, py.first, px.second, m01, other);
            V v10 = v_at(in, ld, py.second, px.first, m10, other);
            V v11 = v_at(in, ld, py.second, px.second, m11, other);
            V along = v_mul(py.rest_not, v_sub(v01, v00));
            along = v_fma(py.rest, v_sub(v11, v10), along);
            V down = v_mul(px.rest_not, v_sub(v10, v00));
            down = v_fma(px.rest, v_sub(v11, v01), down);
            gx = v_fma(g, along, gx);
            gy_sum = v_fma(g, down, gy_sum);
        }
        v_storen((T *)job->slope_x + i, v_mul(gx, px.slope), n);
        v_storen((T *)job->slope_y + i, v_mul(gy_sum, py.slope), n);
    }
}

static void FNN_NAME(warp_affine)(ptrdiff_t n, const void *theta, ptrdiff_t row,
                                  ptrdiff_t column, void *at_x, void *at_y) {
    const T *t = theta;
    const V lane = v_load(FNN_NAME(reduce_lane)), down = v_set1((T)row);
    const V x0 = v_fma(v_set1(t[1]), down, v_set1(t[2])), dx = v_set1(t[0]);
    const V y0 = v_fma(v_set1(t[4]), down, v_set1(t[5])), dy = v_set1(t[3]);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const V j = v_add(v_set1((T)(column + i)), lane);
        v_storen((T *)at_x + i, v_fma(dx, j, x0), n - i < LANES ? n - i : LANES);
        v_storen((T *)at_y + i, v_fma(dy, j, y0), n - i < LANES ? n - i : LANES);
    }
}

static void FNN_NAME(warp_grid)(ptrdiff_t n, const void *grid, ptrdiff_t step,
                                ptrdiff_t second, const double *scale,
                                const double *shift, void *at_x, void *at_y) {
    const T *g = grid;
    T *out[2] = {at_x, at_y};
    for (int k = 0; k < 2; k++, g += second) {
        const V factor = v_set1((T)scale[k]), offset = v_set1((T)shift[k]);
        if (step == 2) { /* as grids mostly lie; the compiler then shuffles */
            for (ptrdiff_t i = 0; i < n; i++) {
                out[k][i] = g[i * 2];
            }
        } else if (step != 1) {
            for (ptrdiff_t i = 0; i < n; i++) {
                out[k][i] = g[i * step];
            }
        }
        const T *from = step == 1 ? g : out[k];
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const ptrdiff_t m = n - i < LANES ? n - i : LANES;
            v_storen(out[k] + i, v_fma(v_loadn(from + i, m), factor, offset), m);
        }
    }
}

/* Columns [j, j + n) in `wide` vectors. */
FNN_INLINE void FNN_NAME(weighted_block)(ptrdiff_t j, ptrdiff_t n, ptrdiff_t m,
                                         const T *weights, const void *const *rows,
                                         T *y, const int wide) {
    V sum[4];
    const ptrdiff_t tail = n - (wide - 1) * LANES;
    for (int k = 0; k < wide; k++) {
        sum[k] = v_zero();
    }
    for (ptrdiff_t i = 0; i < m; i++) {
        const V weight = v_set1(weights[i]);
        const T *row = (const T *)rows[i] + j;
        for (int k = 0; k < wide - 1; k++) {
            sum[k] = v_fma(weight, v_load(row + k * LANES), sum[k]);
        }
        const V last = v_loadn(row + (wide - 1) * LANES, tail);
        sum[wide - 1] = v_fma(weight, last, sum[wide - 1]);
    }
    for (int k = 0; k < wide; k++) {
        v_storen(y + j + k * LANES, sum[k], k == wide - 1 ? tail : LANES);
    }
}
static void FNN_NAME(weighted_rows)(ptrdiff_t n, ptrdiff_t m, const void *weights,
                                    const void *const *rows, void *y) {
    for (ptrdiff_t j = 0; j < n; j += 4 * LANES) {
        const ptrdiff_t left = n - j;
        if (left > 3 * LANES) {
            const ptrdiff_t count = left < 4 * LANES ? left : 4 * LANES;
            FNN_NAME(weighted_block)(j, count, m, weights, rows, y, 4);
        } else if (left > 2 * LANES) {
            FNN_NAME(weighted_block)(j, left, m, weights, rows, y, 3);
        } else if (left > LANES) {
            FNN_NAME(weighted_block)(j, left, m, weights, rows, y, 2);
        } else {
            FNN_NAME(weighted_block)(j, left, m, weights, rows, y, 1);
        }
    }
}
#undef warp_place
