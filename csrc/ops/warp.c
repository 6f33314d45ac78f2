/* Images (n, c, h, w) sampled at positions between their pixels (grid_sample, affine_sample),
 * the gradients of grid_sample, and filters along rows and columns (filter2).
 *
 * A position is kept in pixels, (0, 0) the middle of the first. affine_sample reads output
 * (i, j) at theta (j, i, 1). A grid's numbers become positions by `coordinates`: -1 and 1
 * are the outer edges of the outermost pixels, or their middles, or numbers are pixels. */
#include "ops.h"

#define BLOCK 512           /* positions computed at once */
#define GRAIN_ELEMENTS 4096 /* sampled values that pay for a thread */

enum { EDGES, MIDDLES, PIXELS };
enum { CONSTANT, BORDER, REFLECTION, SYMMETRIC };

typedef struct {
    const fnn_tensor *x, *y; /* (n, c, h, w) and what lies at the positions */
    const fnn_tensor *grid;  /* one of these */
    const fnn_tensor *theta;
    const fnn_tensor *slopes;  /* of the gradient by the grid */
    int64_t n, c, h, w;        /* of the images */
    int64_t rows, columns;     /* of the positions */
    double scale[2], shift[2]; /* from a grid's x and y to pixels */
    int mode, padding;
    double fill;
    fnn_warp_fn kernel;
} job;

/* ---- checks ------------------------------------------------------------------------- */

static fnn_status expect_images(const fnn_call *c, int input, const char *name) {
    const fnn_tensor *x = c->in[input];
    FNN_TRY(fnn_expect_float(c, input, name));
    if (x->ndim != 4) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected %s of shape (n, c, h, w), got %s", c->op->name,
                        name, FNN_SHAPE(x));
    }
    return FNN_OK;
}

/* Whether images of that shape can be sampled: kernels count pixels in 32 bits. */
static fnn_status expect_sides(const fnn_call *c, int64_t h, int64_t w, int64_t ld) {
    if (h < 1 || w < 1 || h > FNN_WARP_SIDE || w > FNN_WARP_SIDE ||
        (h - 1) * ld + w - 1 > INT32_MAX) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected images of 1 to %d pixels a side and below 2^31 in "
            "all, got %lld by %lld",
            c->op->name, FNN_WARP_SIDE, (long long)h, (long long)w);
    }
    return FNN_OK;
}

static fnn_status expect_readable(const fnn_call *c, int input, const char *name) {
    const fnn_tensor *x = c->in[input];
    FNN_TRY(expect_images(c, input, name));
    if (fnn_numel(x) > 0 &&
        ((x->shape[3] > 1 && x->stride[3] != 1) || x->stride[2] < 0)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected %s with contiguous rows (hint: contiguous())",
                        c->op->name, name);
    }
    return expect_sides(c, x->shape[2], x->shape[3],
                        x->shape[2] > 1 ? x->stride[2] : 0);
}

static fnn_status expect_options(const fnn_call *c, int mode, int padding,
                                 int coordinates) {
    if (mode < FNN_WARP_BILINEAR || mode > FNN_WARP_NEAREST || padding < CONSTANT ||
        padding > SYMMETRIC || coordinates < EDGES || coordinates > PIXELS) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected mode 0 or 1, padding 0 to 3 and coordinates 0 to "
                        "2, got %d, %d and %d",
                        c->op->name, mode, padding, coordinates);
    }
    return FNN_OK;
}

static fnn_status expect_grid(const fnn_call *c, int input, int64_t n) {
    const fnn_tensor *grid = c->in[input];
    if (grid->ndim != 4 || grid->shape[0] != n || grid->shape[3] != 2) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected grid of shape (%lld, h, w, 2), got %s",
                        c->op->name, (long long)n, FNN_SHAPE(grid));
    }
    return FNN_OK;
}

/* Attributes of the grid rows: mode, padding, coordinates, fill (not always). */
static fnn_status expect_grid_options(const fnn_call *c, int first) {
    const fnn_attr *a = c->attr + first;
    return expect_options(c, (int)a[0].i, (int)a[1].i, (int)a[2].i);
}

static fnn_status set_images(fnn_call *c, int64_t n, int64_t channels, int64_t h,
                             int64_t w) {
    fnn_tensor *y = &c->out[0];
    y->dtype = c->in[0]->dtype;
    y->ndim = 4;
    y->shape[0] = n;
    y->shape[1] = channels;
    y->shape[2] = h;
    y->shape[3] = w;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

/* ---- the job ------------------------------------------------------------------------ */

static void set_images_of(job *j, int64_t n, int64_t c, int64_t h, int64_t w) {
    j->n = n;
    j->c = c;
    j->h = h;
    j->w = w;
}

static void set_options(job *j, int mode, int padding, int coordinates, double fill) {
    const double size[2] = {(double)j->w, (double)j->h};
    for (int k = 0; k < 2; k++) {
        j->scale[k] = coordinates == EDGES     ? size[k] / 2
                      : coordinates == MIDDLES ? (size[k] - 1) / 2
                                               : 1;
        j->shift[k] = coordinates == PIXELS ? 0 : (size[k] - 1) / 2;
    }
    /* Reflection goes with what the grid calls the border. */
    static const int paddings[] = {FNN_WARP_FILL, FNN_WARP_BORDER, FNN_WARP_EDGES,
                                   FNN_WARP_EDGES};
    j->mode = mode;
    j->padding = padding == REFLECTION && coordinates != EDGES ? FNN_WARP_MIRROR
                                                               : paddings[padding];
    j->fill = fill;
}

static void copy_element(char *to, const char *from, ptrdiff_t size) {
    if (size == 4) {
        memcpy(to, from, 4);
    } else {
        memcpy(to, from, 8);
    }
}

/* Positions [start, start + n) of image k. */
static void positions(const job *j, int64_t k, int64_t start, ptrdiff_t n, void *at_x,
                      void *at_y) {
    const int dtype = j->x->dtype, f64 = FNN_F64(dtype);
    const ptrdiff_t size = fnn_dtype_size(dtype);
    double theta[6]; /* room for either dtype */
    if (j->theta) {
        fnn_gather(theta, dtype, j->theta, 6 * k, 6);
    }
    for (ptrdiff_t done = 0; done < n;) {
        const int64_t row = (start + done) / j->columns;
        const int64_t column = (start + done) % j->columns;
        const ptrdiff_t m = fnn_min64(n - done, j->columns - column);
        char *x = (char *)at_x + done * size, *y = (char *)at_y + done * size;
        if (j->theta) {
            fnn_k->warp_affine[f64](m, theta, row, column, x, y);
        } else {
            const fnn_tensor *g = j->grid;
            const ptrdiff_t at =
                k * g->stride[0] + row * g->stride[1] + column * g->stride[2];
            fnn_k->warp_grid[f64](m, g->data + at * size, g->stride[2], g->stride[3],
                                  j->scale, j->shift, x, y);
        }
        done += m;
    }
}

/* What a kernel is told of image k, channels [channel, channel + channels). */
static fnn_warp told(const job *j, int64_t k, int64_t channel, int64_t channels) {
    const fnn_tensor *x = j->x;
    const ptrdiff_t size = fnn_dtype_size(x->dtype), points = j->rows * j->columns;
    fnn_warp w = {.channels = channels,
                  .h = j->h,
                  .w = j->w,
                  .ld = x->stride[2],
                  .plane = x->stride[1],
                  .y_plane = points,
                  .mode = j->mode,
                  .padding = j->padding,
                  .fill = j->fill};
    w.x = x->data + (k * x->stride[0] + channel * x->stride[1]) * size;
    w.y = j->y->data + (k * j->c + channel) * points * size;
    return w;
}

static int64_t blocks(const job *j) {
    return (j->rows * j->columns + BLOCK - 1) / BLOCK;
}

/* Blocks of positions, all channels of them. */
static void sample_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const int dtype = j->x->dtype;
    const int64_t each = blocks(j), points = j->rows * j->columns;
    const ptrdiff_t size = fnn_dtype_size(dtype);
    double at[2][BLOCK], slopes[2][BLOCK]; /* room for either dtype */
    for (int64_t i = lo; i < hi; i++) {
        const int64_t k = i / each, start = i % each * BLOCK;
        fnn_warp w = told(j, k, 0, j->c);
        w.n = fnn_min64(BLOCK, points - start);
        w.y = (char *)w.y + start * size;
        w.at_x = at[0];
        w.at_y = at[1];
        w.slope_x = slopes[0];
        w.slope_y = slopes[1];
        positions(j, k, start, w.n, at[0], at[1]);
        j->kernel(&w);
        if (j->slopes) {
            char *out = j->slopes->data + (k * points + start) * 2 * size;
            const double shift[2] = {0, 0};
            fnn_k->warp_grid[FNN_F64(dtype)](w.n, slopes[0], 1,
                                             BLOCK * 8 / (ptrdiff_t)size, j->scale,
                                             shift, at[0], at[1]);
            for (ptrdiff_t e = 0; e < 2 * w.n; e++) {
                copy_element(out + e * size, (char *)at[e % 2] + e / 2 * size, size);
            }
        }
    }
}

/* Every image and channel for itself, whose positions may meet in a pixel. */
static void scatter_planes(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const int64_t points = j->rows * j->columns;
    const ptrdiff_t size = fnn_dtype_size(j->x->dtype);
    double at[2][BLOCK];
    for (int64_t i = lo; i < hi; i++) {
        fnn_warp w = told(j, i / j->c, i % j->c, 1);
        memset(w.x, 0, (size_t)(j->h * j->w * size));
        for (int64_t start = 0; start < points; start += BLOCK) {
            w.n = fnn_min64(BLOCK, points - start);
            w.at_x = at[0];
            w.at_y = at[1];
            positions(j, i / j->c, start, w.n, at[0], at[1]);
            j->kernel(&w);
            w.y = (char *)w.y + w.n * size;
        }
    }
}

static fnn_status sample(job *j) {
    j->rows = j->y->shape[2];
    j->columns = j->y->shape[3];
    const int64_t items = j->n * blocks(j);
    if (items > 0 && j->c > 0) {
        fnn_parallel_for(items, GRAIN_ELEMENTS / (BLOCK * j->c) + 1, sample_blocks, j);
    }
    return FNN_OK;
}

static job images_job(const fnn_tensor *x, const fnn_tensor *y) {
    job j = {.x = x, .y = y};
    set_images_of(&j, x->shape[0], x->shape[1], x->shape[2], x->shape[3]);
    return j;
}

/* ---- grid_sample -------------------------------------------------------------------- */

fnn_status fnn_infer_grid_sample(fnn_call *c) {
    FNN_TRY(expect_readable(c, 0, "x"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "x and grid"));
    FNN_TRY(expect_grid(c, 1, c->in[0]->shape[0]));
    FNN_TRY(expect_grid_options(c, 0));
    const int64_t *at = c->in[1]->shape;
    return set_images(c, at[0], c->in[0]->shape[1], at[1], at[2]);
}

fnn_status fnn_run_grid_sample(fnn_call *c) {
    const fnn_attr *a = c->attr;
    job j = images_job(c->in[0], &c->out[0]);
    j.grid = c->in[1];
    j.kernel = fnn_k->warp[FNN_F64(j.x->dtype)];
    set_options(&j, (int)a[0].i, (int)a[1].i, (int)a[2].i, a[3].f);
    return sample(&j);
}

static fnn_status expect_gradient(const fnn_call *c, int grid, int64_t channels) {
    const fnn_tensor *gy = c->in[0], *g = c->in[grid];
    FNN_TRY(expect_images(c, 0, "gy"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, grid, "gy and grid"));
    FNN_TRY(expect_grid(c, grid, gy->shape[0]));
    if (gy->shape[1] != channels || gy->shape[2] != g->shape[1] ||
        gy->shape[3] != g->shape[2] || !fnn_is_contiguous(gy)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected gy of grid's shape, contiguous, got %s and %s",
                        c->op->name, FNN_SHAPE(gy), FNN_SHAPE(g));
    }
    return FNN_OK;
}

fnn_status fnn_infer_grid_sample_input(fnn_call *c) {
    FNN_TRY(expect_images(c, 0, "gy"));
    FNN_TRY(expect_gradient(c, 1, c->in[0]->shape[1]));
    FNN_TRY(expect_grid_options(c, 2));
    const int64_t h = c->attr[0].i, w = c->attr[1].i;
    FNN_TRY(expect_sides(c, h, w, w));
    return set_images(c, c->in[0]->shape[0], c->in[0]->shape[1], h, w);
}

fnn_status fnn_run_grid_sample_input(fnn_call *c) {
    const fnn_attr *a = c->attr;
    const fnn_tensor *gy = c->in[0];
    job j = images_job(&c->out[0], gy);
    j.grid = c->in[1];
    j.kernel = fnn_k->warp_scatter[FNN_F64(gy->dtype)];
    set_options(&j, (int)a[2].i, (int)a[3].i, (int)a[4].i, 0);
    j.rows = gy->shape[2];
    j.columns = gy->shape[3];
    if (j.n * j.c > 0) {
        fnn_parallel_for(j.n * j.c, GRAIN_ELEMENTS / (j.rows * j.columns + 1) + 1,
                         scatter_planes, &j);
    }
    return FNN_OK;
}

fnn_status fnn_infer_grid_sample_grid(fnn_call *c) {
    FNN_TRY(expect_readable(c, 1, "x"));
    FNN_TRY(expect_gradient(c, 2, c->in[1]->shape[1]));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "gy and x"));
    FNN_TRY(expect_grid_options(c, 0));
    fnn_like(&c->out[0], c->in[2], c->in[2]->dtype);
    if (c->in[1]->shape[0] != c->in[2]->shape[0]) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected as many images in x as in gy, got %s and %s",
                        c->op->name, FNN_SHAPE(c->in[1]), FNN_SHAPE(c->in[0]));
    }
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_run_grid_sample_grid(fnn_call *c) {
    const fnn_attr *a = c->attr;
    const fnn_tensor *out = &c->out[0];
    job j = images_job(c->in[1], c->in[0]);
    j.grid = c->in[2];
    j.slopes = out;
    j.kernel = fnn_k->warp_slopes[FNN_F64(out->dtype)];
    set_options(&j, (int)a[0].i, (int)a[1].i, (int)a[2].i, a[3].f);
    if (j.c == 0 || j.mode == FNN_WARP_NEAREST) {
        memset(out->data, 0, (size_t)(fnn_numel(out) * fnn_dtype_size(out->dtype)));
        return FNN_OK;
    }
    return sample(&j);
}

/* ---- affine_sample ------------------------------------------------------------------ */

fnn_status fnn_infer_affine_sample(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *theta = c->in[1];
    const int64_t h = c->attr[0].i, w = c->attr[1].i;
    FNN_TRY(expect_readable(c, 0, "x"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "x and theta"));
    if (theta->ndim != 3 || theta->shape[0] != x->shape[0] || theta->shape[1] != 2 ||
        theta->shape[2] != 3) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected theta of shape (%lld, 2, 3), got %s", c->op->name,
                        (long long)x->shape[0], FNN_SHAPE(theta));
    }
    FNN_TRY(expect_options(c, (int)c->attr[2].i, (int)c->attr[3].i, PIXELS));
    if (h < 0 || w < 0 || h > FNN_WARP_SIDE || w > FNN_WARP_SIDE) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a size from 0 to %d, got %lld by %lld",
                        c->op->name, FNN_WARP_SIDE, (long long)h, (long long)w);
    }
    return set_images(c, x->shape[0], x->shape[1], h, w);
}

fnn_status fnn_run_affine_sample(fnn_call *c) {
    const fnn_attr *a = c->attr;
    job j = images_job(c->in[0], &c->out[0]);
    j.theta = c->in[1];
    j.kernel = fnn_k->warp[FNN_F64(j.x->dtype)];
    set_options(&j, (int)a[2].i, (int)a[3].i, PIXELS, a[4].f);
    return sample(&j);
}

/* ---- filter2 ------------------------------------------------------------------------ */

typedef struct {
    const fnn_tensor *x, *along, *down, *y;
    char *workspace;
    ptrdiff_t each; /* bytes of it that a plane has */
} filter_job;

fnn_status fnn_infer_filter2(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    FNN_TRY(expect_images(c, 0, "x"));
    for (int k = 1; k < 3; k++) {
        const fnn_tensor *weights = c->in[k];
        FNN_TRY(fnn_expect_same_dtype(c, 0, k, "x and weights"));
        if (weights->ndim != 2 || weights->shape[0] != x->shape[0] ||
            weights->shape[1] % 2 != 1 || !fnn_is_contiguous(weights)) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected contiguous weights of shape (%lld, odd), got %s",
                c->op->name, (long long)x->shape[0], FNN_SHAPE(weights));
        }
    }
    fnn_like(&c->out[0], x, x->dtype);
    return fnn_check_size(c, &c->out[0]);
}

/* Of a plane: where the rows begin that each filter adds up, the rows filtered, and one with
 * its ends. */
static ptrdiff_t plane_room(const fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    const ptrdiff_t h = x->shape[2], w = x->shape[3], size = fnn_dtype_size(x->dtype);
    const ptrdiff_t along = c->in[1]->shape[1], down = c->in[2]->shape[1];
    const ptrdiff_t elements = ((h + 1) * w + along) * size;
    return (along + h + down) * (ptrdiff_t)sizeof(void *) + (elements + 7) / 8 * 8;
}

int64_t fnn_workspace_filter2(const fnn_call *c) {
    return c->in[0]->shape[0] * c->in[0]->shape[1] * plane_room(c);
}

/* i in [0, n), mirrored at the middles of the first and last as often as it takes */
static int64_t mirrored(int64_t i, int64_t n) {
    if (i >= 0 && i < n) {
        return i;
    }
    if (n == 1) {
        return 0;
    }
    i %= 2 * (n - 1);
    i += i < 0 ? 2 * (n - 1) : 0;
    return i < n ? i : 2 * (n - 1) - i;
}

static void filter_plane(const filter_job *j, int64_t image, int64_t plane) {
    const fnn_tensor *x = j->x;
    const int dtype = x->dtype;
    const ptrdiff_t size = fnn_dtype_size(dtype), h = x->shape[2], w = x->shape[3];
    const ptrdiff_t along = j->along->shape[1], down = j->down->shape[1];
    const ptrdiff_t side = along / 2, row = w * size;
    const bool direct = fnn_is_contiguous(x);
    const void **shifted = (const void **)(void *)(j->workspace + plane * j->each);
    const void **below = shifted + along;
    char *rows = (char *)(below + h + down), *wide = rows + h * row;
    fnn_weighted_rows_fn sum = fnn_k->weighted_rows[FNN_F64(dtype)];
    for (ptrdiff_t k = 0; k < along; k++) {
        shifted[k] = wide + k * size;
    }
    for (ptrdiff_t i = 0; i < h + down - 1; i++) {
        below[i] = rows + mirrored(i - down / 2, h) * row;
    }
    char *inner = wide + side * size;
    for (ptrdiff_t i = 0; i < h; i++) {
        if (direct) {
            memcpy(inner, x->data + (plane * h + i) * row, (size_t)row);
        } else {
            fnn_gather(inner, dtype, x, (plane * h + i) * w, w);
        }
        for (ptrdiff_t k = 1; k <= side; k++) {
            copy_element(inner - k * size, inner + mirrored(-k, w) * size, size);
            copy_element(inner + (w - 1 + k) * size,
                         inner + mirrored(w - 1 + k, w) * size, size);
        }
        sum(w, along, j->along->data + image * along * size, shifted, rows + i * row);
    }
    for (ptrdiff_t i = 0; i < h; i++) {
        sum(w, down, j->down->data + image * down * size, below + i,
            j->y->data + (plane * h + i) * row);
    }
}

static void filter_planes(void *context, int64_t lo, int64_t hi) {
    const filter_job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        filter_plane(j, i / j->x->shape[1], i);
    }
}

fnn_status fnn_run_filter2(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    filter_job j = {x, c->in[1], c->in[2], &c->out[0], c->workspace, plane_room(c)};
    if (fnn_numel(x) > 0) {
        const int64_t taps = j.along->shape[1] + j.down->shape[1];
        fnn_parallel_for(x->shape[0] * x->shape[1],
                         8 * GRAIN_ELEMENTS / (x->shape[2] * x->shape[3] * taps) + 1,
                         filter_planes, &j);
    }
    return FNN_OK;
}
