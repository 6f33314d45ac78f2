/* Walks, and the planes that they read. See planes.h. */
#include "conv/planes.h"

/* ---- walks -------------------------------------------------------------------------- */

ptrdiff_t fnn_walks(const fnn_conv_args *g, fnn_conv_direction way) {
    return way == FNN_CONV_INPUT ? g->sh * g->sw : 1;
}

/* Forward: every tap, and as many planes as residues of u dilation by the stride. */
static fnn_taps all_taps(ptrdiff_t k, ptrdiff_t dilation, ptrdiff_t stride) {
    return (fnn_taps){.step = 1,
                      .count = k,
                      .dilation = dilation,
                      .stride = stride,
                      .sign = 1,
                      .planes = fnn_min64(k, stride / fnn_gcd(stride, dilation))};
}

/* Those with u dilation = t stride + a, which read the one plane t before their result. */
static fnn_taps some_taps(ptrdiff_t k, ptrdiff_t dilation, ptrdiff_t stride,
                          ptrdiff_t a) {
    fnn_taps taps = {.step = stride / fnn_gcd(stride, dilation),
                     .dilation = dilation,
                     .stride = stride,
                     .sign = -1,
                     .planes = 1};
    while (taps.first < fnn_min64(k, taps.step) &&
           taps.first * dilation % stride != a) {
        taps.first++;
    }
    if (taps.first < fnn_min64(k, taps.step)) {
        taps.count = (k - 1 - taps.first) / taps.step + 1;
        taps.far = (taps.first + (taps.count - 1) * taps.step) * dilation / stride;
    }
    return taps;
}

/* What tap i reads, rows or columns from the first on. */
static ptrdiff_t reach(const fnn_taps *t, ptrdiff_t i) {
    return t->far + t->sign * ((t->first + i * t->step) * t->dilation / t->stride);
}

static ptrdiff_t farthest(const fnn_taps *t) {
    return t->count == 0 ? 0 : reach(t, t->sign > 0 ? t->count - 1 : 0);
}

/* The first row or column of the source, or the one after its border, in plane i. */
static ptrdiff_t phase(const fnn_taps *t, ptrdiff_t i) {
    return t->sign > 0 ? i * t->dilation % t->stride : 0;
}

/* One dimension of an input gradient's walk: results at coordinates q s + a - before, q
 * from *first on, *count of them. */
static void results(ptrdiff_t size, ptrdiff_t s, ptrdiff_t a, ptrdiff_t before,
                    ptrdiff_t *first, ptrdiff_t *count) {
    *first = fnn_ceil_div(before - a, s);
    *count = fnn_max64(fnn_floor_div(size - 1 + before - a, s) - *first + 1, 0);
}

static void walk_forward(fnn_walk *walk, const fnn_conv_args *g) {
    walk->images = g->n;
    walk->channels = g->ci / g->groups;
    walk->all_channels = g->ci;
    walk->h = g->h;
    walk->w = g->w;
    walk->split_h = g->sh;
    walk->split_w = g->sw;
    walk->origin_h = g->top;
    walk->origin_w = g->left;
    walk->rows = g->oh;
    walk->cols = walk->out_w = g->ow;
    walk->out_image = g->oh * g->ow;
    walk->step_h = walk->step_w = 1;
    walk->u = all_taps(g->kh, g->dh, g->sh);
    walk->v = all_taps(g->kw, g->dw, g->sw);
}

/* gx at row q sh + a - top takes gy at row q - t from the taps u with u dh = t sh + a. */
static void walk_input(fnn_walk *walk, const fnn_conv_args *g, ptrdiff_t which) {
    const ptrdiff_t a = which / g->sw, b = which % g->sw;
    ptrdiff_t first_h, first_w;
    walk->images = g->n;
    walk->channels = g->co / g->groups;
    walk->all_channels = g->co;
    walk->h = g->oh;
    walk->w = g->ow;
    walk->split_h = walk->split_w = 1;
    results(g->h, g->sh, a, g->top, &first_h, &walk->rows);
    results(g->w, g->sw, b, g->left, &first_w, &walk->cols);
    walk->top = first_h * g->sh + a - g->top;
    walk->left = first_w * g->sw + b - g->left;
    walk->step_h = g->sh;
    walk->step_w = g->sw;
    walk->out_w = g->w;
    walk->out_image = g->h * g->w;
    walk->u = some_taps(g->kh, g->dh, g->sh, a);
    walk->v = some_taps(g->kw, g->dw, g->sw, b);
    walk->origin_h = walk->u.far - first_h;
    walk->origin_w = walk->v.far - first_w;
}

/* What of planes follows from the size of results, where they begin and what is read. */
static void shape_planes(fnn_walk *walk) {
    walk->in_place = walk->split_h == 1 && walk->split_w == 1 && walk->origin_h <= 0 &&
                     walk->origin_w <= 0 &&
                     walk->rows + walk->deepest - walk->origin_h <= walk->h &&
                     walk->cols + walk->rightmost - walk->origin_w <= walk->w;
    walk->pitch = walk->in_place ? walk->w : walk->cols + walk->rightmost;
}

void fnn_walk_set(fnn_walk *walk, const fnn_conv_args *g, fnn_conv_direction way,
                  ptrdiff_t which) {
    *walk = (fnn_walk){.size = g->dtype == FNN_FLOAT64 ? 8 : 4};
    if (way == FNN_CONV_INPUT) {
        walk_input(walk, g, which);
    } else {
        walk_forward(walk, g);
    }
    walk->taps = walk->u.count * walk->v.count;
    walk->phases = walk->u.planes * walk->v.planes;
    walk->deepest = farthest(&walk->u);
    walk->rightmost = farthest(&walk->v);
    shape_planes(walk);
}

void fnn_walk_joint(fnn_walk *all, const fnn_conv_args *g, fnn_conv_direction way) {
    const ptrdiff_t n = fnn_walks(g, way);
    ptrdiff_t h = PTRDIFF_MIN, w = PTRDIFF_MIN, rows = 0, cols = 0;
    for (ptrdiff_t i = 0; i < n; i++) { /* those without taps read nothing */
        fnn_walk_set(all, g, way, i);
        h = all->taps > 0 ? fnn_max64(h, all->origin_h) : h;
        w = all->taps > 0 ? fnn_max64(w, all->origin_w) : w;
        rows = fnn_max64(rows, all->rows);
        cols = fnn_max64(cols, all->cols);
    }
    ptrdiff_t deepest = 0, rightmost = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        fnn_walk_set(all, g, way, i);
        if (all->taps > 0) {
            deepest = fnn_max64(deepest, all->deepest + h - all->origin_h);
            rightmost = fnn_max64(rightmost, all->rightmost + w - all->origin_w);
        }
    }
    fnn_walk_set(all, g, way, 0);
    all->rows = rows;
    all->cols = cols;
    all->origin_h = h > PTRDIFF_MIN ? h : 0;
    all->origin_w = w > PTRDIFF_MIN ? w : 0;
    all->deepest = deepest;
    all->rightmost = rightmost;
    shape_planes(all);
}

void fnn_walk_fit(fnn_walk *walk, const fnn_walk *all) {
    walk->u.far += all->origin_h - walk->origin_h;
    walk->v.far += all->origin_w - walk->origin_w;
    walk->origin_h = all->origin_h;
    walk->origin_w = all->origin_w;
    walk->rows = all->rows;
    walk->cols = all->cols;
    walk->deepest = all->deepest;
    walk->rightmost = all->rightmost;
    walk->in_place = all->in_place;
    walk->pitch = all->pitch;
}

/* ---- bands -------------------------------------------------------------------------- */

ptrdiff_t fnn_band_images(const fnn_walk *walk, ptrdiff_t rows) {
    return fnn_min64(walk->images, (rows + walk->rows - 2) / walk->rows + 1);
}

/* Elements of one plane. */
static ptrdiff_t band_plane(const fnn_walk *walk, ptrdiff_t rows) {
    return (rows + fnn_band_images(walk, rows) * walk->deepest) * walk->pitch;
}

ptrdiff_t fnn_band_channel(const fnn_walk *walk, ptrdiff_t rows) {
    return walk->in_place ? 0 : walk->phases * band_plane(walk, rows);
}

void fnn_walk_offsets(const fnn_walk *walk, ptrdiff_t most_rows, ptrdiff_t *offset) {
    const ptrdiff_t plane = walk->in_place ? 0 : band_plane(walk, most_rows);
    const ptrdiff_t channel =
        walk->in_place ? walk->h * walk->w : fnn_band_channel(walk, most_rows);
    const fnn_taps *u = &walk->u, *v = &walk->v;
    for (ptrdiff_t c = 0; c < walk->channels; c++) {
        for (ptrdiff_t i = 0; i < u->count; i++) {
            for (ptrdiff_t j = 0; j < v->count; j++) {
                const ptrdiff_t p = i % u->planes * v->planes + j % v->planes;
                *offset++ =
                    c * channel + p * plane + reach(u, i) * walk->pitch + reach(v, j);
            }
        }
    }
}

/* Rows [q0, q0 + rows) of one plane of one channel. */
static void fill_plane(const fnn_walk *walk, const char *x, ptrdiff_t plane,
                       ptrdiff_t q0, ptrdiff_t rows, char *to) {
    const ptrdiff_t size = walk->size, pitch = walk->pitch;
    const ptrdiff_t down = phase(&walk->u, plane / walk->v.planes) - walk->origin_h;
    const ptrdiff_t skip = phase(&walk->v, plane % walk->v.planes) - walk->origin_w;
    const ptrdiff_t from =
        fnn_min64(fnn_max64(fnn_ceil_div(-skip, walk->split_w), 0), pitch);
    const ptrdiff_t end = fnn_max64(
        fnn_min64(fnn_floor_div(walk->w - 1 - skip, walk->split_w) + 1, pitch), from);
    for (ptrdiff_t q = q0; q < q0 + rows; q++, to += pitch * size) {
        const ptrdiff_t y = q * walk->split_h + down;
        if (y < 0 || y >= walk->h || end == from) {
            memset(to, 0, (size_t)(pitch * size));
            continue;
        }
        const char *row = x + (y * walk->w + from * walk->split_w + skip) * size;
        memset(to, 0, (size_t)(from * size));
        if (walk->split_w == 1) { /* take_rows may write past their end */
            memcpy(to + from * size, row, (size_t)((end - from) * size));
        } else {
            fnn_k->take_rows[size == 8](1, end - from, row, 0, walk->split_w,
                                        to + from * size, 0);
        }
        memset(to + end * size, 0, (size_t)((pitch - end) * size));
    }
}

void fnn_band_fill(fnn_band *band, const fnn_walk *walk, ptrdiff_t first,
                   ptrdiff_t rows, ptrdiff_t most_rows, const void *source,
                   ptrdiff_t group, ptrdiff_t c0, ptrdiff_t c1, void *to) {
    const ptrdiff_t size = walk->size, image = walk->h * walk->w;
    const char *x = (const char *)source + group * walk->channels * image * size;
    *band = (fnn_band){.walk = walk, .first = first, .rows = rows};
    if (walk->in_place) {
        band->channel = image;
        band->source = x;
        return;
    }
    band->plane = band_plane(walk, most_rows);
    band->channel = fnn_band_channel(walk, most_rows);
    band->source = to;
    band->margin = FNN_CONV_MARGIN / size;
    char *part = to; /* an image's part of the first plane */
    for (ptrdiff_t r = first; r < first + rows;) {
        const ptrdiff_t b = r / walk->rows, q = r % walk->rows;
        const ptrdiff_t n = fnn_min64(walk->rows - q, first + rows - r);
        for (ptrdiff_t c = c0; c < c1; c++) {
            for (ptrdiff_t p = 0; p < walk->phases; p++) {
                fill_plane(walk, x + (b * walk->all_channels + c) * image * size, p, q,
                           n + walk->deepest,
                           part + ((c - c0) * band->channel + p * band->plane) * size);
            }
        }
        part += (n + walk->deepest) * walk->pitch * size;
        r += n;
    }
    band->skipped = c0 * band->channel;
}

ptrdiff_t fnn_band_base(const fnn_band *band, ptrdiff_t row) {
    const fnn_walk *walk = band->walk;
    const ptrdiff_t image = row / walk->rows, q = row % walk->rows;
    if (walk->in_place) {
        return image * walk->all_channels * band->channel +
               (q - walk->origin_h) * walk->pitch - walk->origin_w;
    }
    const ptrdiff_t before = image - band->first / walk->rows;
    return (row - band->first + before * walk->deepest) * walk->pitch - band->skipped;
}

ptrdiff_t fnn_band_runs(const fnn_band *band, ptrdiff_t j, ptrdiff_t n, ptrdiff_t *base,
                        ptrdiff_t *length) {
    const fnn_walk *walk = band->walk;
    const bool joined = walk->pitch == walk->cols;
    ptrdiff_t runs = 0, row = band->first + j / walk->cols, col = j % walk->cols;
    while (n > 0) {
        const ptrdiff_t at = fnn_band_base(band, row);
        const ptrdiff_t rows = joined ? walk->rows - row % walk->rows : 1;
        const ptrdiff_t m = fnn_min64(n, rows * walk->cols - col);
        base[runs] = at + col;
        length[runs++] = m;
        n -= m;
        col += m;
        row += col / walk->cols;
        col %= walk->cols;
    }
    return runs;
}
