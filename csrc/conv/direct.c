/* Implicit GEMM where few channels of results are left to a group: packing patches would
 * cost as much as the product. The tile reads them in place, by whole vectors, from planes
 * (planes.h).
 *
 * The walks of an input gradient share one set of planes and are computed side by side, a
 * *phase* each, so that rows of results are joined from phases and written once.
 *
 * Results of a band are numbered along the rows of the planes, borders between rows
 * included, or along rows filled up to whole vectors, whichever are fewer: what lies
 * between rows is computed and left. Each image's part is a *stretch* of whole vectors.
 *
 * Each sum is what implicit.c makes of it: chains over k-blocks of FNN_GEMM_KC, added in
 * order. */
#include "conv/planes.h"
#include "gemm/blocking.h"

#define MOST_TILES 2 /* of the register, that all channels of results make */
#define MOST_PHASES 1024

typedef struct {
    ptrdiff_t k, offset, weight; /* products of a sum; where their numbers begin */
} phase;

typedef struct {
    const fnn_conv_args *g;
    fnn_conv_direction way;
    fnn_walk walk; /* all of them */
    const fnn_gemm_tile *kernel;
    ptrdiff_t size, lanes;
    ptrdiff_t m, tiles;           /* channels of results of a group */
    ptrdiff_t h, w;               /* of a result */
    ptrdiff_t phases_h, phases_w; /* that have a row, a column */
    ptrdiff_t length;             /* positions of a row */
    ptrdiff_t total, parts, band; /* rows of all images; pieces; at most at a time */
    ptrdiff_t positions;          /* of a band, at most */
    ptrdiff_t workers;
    /* Workspace: phases, offsets and weights are shared, then a slice each. */
    ptrdiff_t offsets_at, weights_at, slices_at, bytes;
    ptrdiff_t planes_bytes, sums_bytes, slice;
    ptrdiff_t weights; /* elements of a group's */
    const char *x, *weight;
    char *y, *workspace;
} job;

/* ---- planning ----------------------------------------------------------------------- */

/* Positions of `rows` rows of one image, in whole vectors. */
static ptrdiff_t stretch_of(const job *j, ptrdiff_t rows) {
    return fnn_round_up((rows - 1) * j->length + j->walk.cols, j->lanes);
}

static ptrdiff_t positions_of(const job *j, ptrdiff_t rows) {
    const ptrdiff_t images = fnn_band_images(&j->walk, rows);
    const ptrdiff_t vectors =
        (rows * j->length) / j->lanes + images; /* and what fills each image's last */
    return fnn_round_up(vectors, FNN_CONV_GROUP) * j->lanes;
}

static ptrdiff_t planes_bytes(const job *j, ptrdiff_t rows) {
    return fnn_band_channel(&j->walk, rows) * j->walk.channels * j->size;
}

static ptrdiff_t sums_bytes(const job *j, ptrdiff_t rows) {
    return j->phases_h * j->phases_w * j->m * positions_of(j, rows) * j->size;
}

/* As many rows as keep planes in half of L2 and sums in a quarter; then bands of even
 * height. */
static void choose_band(job *j) {
    const ptrdiff_t l2 = fnn_gemm_l2(), rows = fnn_ceil_div(j->total, j->parts);
    ptrdiff_t low = 1, high = rows;
    while (low < high) {
        const ptrdiff_t mid = (low + high + 1) / 2;
        if (planes_bytes(j, mid) <= l2 / 2 && sums_bytes(j, mid) <= l2 / 4) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    j->band = fnn_ceil_div(rows, fnn_ceil_div(rows, low));
}

static ptrdiff_t channels_of(const fnn_conv_args *g, fnn_conv_direction way) {
    return (way == FNN_CONV_INPUT ? g->ci : g->co) / g->groups;
}

/* The walk and the length of its rows; whether there is anything to do. */
static bool plan_walk(job *j, const fnn_conv_args *g, fnn_conv_direction way) {
    *j = (job){.g = g, .way = way, .kernel = fnn_k->gemm_tile[FNN_F64(g->dtype)]};
    const bool input = way == FNN_CONV_INPUT;
    j->size = g->dtype == FNN_FLOAT64 ? 8 : 4;
    j->lanes = j->kernel->lanes;
    j->m = channels_of(g, way);
    j->tiles = fnn_ceil_div(j->m, j->kernel->mr);
    j->h = input ? g->h : g->oh;
    j->w = input ? g->w : g->ow;
    fnn_walk *walk = &j->walk;
    fnn_walk_joint(walk, g, way);
    j->phases_h = fnn_min64(walk->step_h, j->h);
    j->phases_w = fnn_min64(walk->step_w, j->w);
    j->total = walk->images * walk->rows;
    if (j->m == 0 || j->total == 0 || walk->cols == 0) {
        return false;
    }
    if (walk->in_place && walk->cols < j->lanes) { /* no whole vector to read */
        walk->in_place = false;
        walk->pitch = walk->cols + walk->rightmost;
    }
    const ptrdiff_t filled = fnn_round_up(walk->cols, j->lanes);
    j->length = walk->in_place || walk->pitch < filled ? walk->pitch : filled;
    return true;
}

static bool plan(job *j, const fnn_conv_args *g, fnn_conv_direction way) {
    if (!plan_walk(j, g, way)) {
        return false;
    }
    fnn_walk *walk = &j->walk;
    j->weights = j->m * walk->channels * g->kh * g->kw;
    const double work =
        (double)j->weights * (double)j->total * (double)walk->cols * (double)g->groups;
    j->workers = work < FNN_GEMM_SERIAL ? 1 : g->threads;
    j->parts = fnn_min64(fnn_ceil_div(j->workers, g->groups), j->total);
    j->workers = fnn_min64(j->workers, g->groups * j->parts);
    choose_band(j);
    j->positions = positions_of(j, j->band);

    const ptrdiff_t number = (ptrdiff_t)sizeof(ptrdiff_t);
    const ptrdiff_t phases = j->phases_h * j->phases_w;
    j->planes_bytes =
        fnn_round_up(planes_bytes(j, j->band) + FNN_CONV_MARGIN, FNN_ALIGN);
    j->sums_bytes = fnn_round_up(sums_bytes(j, j->band) + FNN_CONV_MARGIN, FNN_ALIGN);
    j->slice = j->planes_bytes + j->sums_bytes +
               fnn_round_up(j->positions / j->lanes * number, FNN_ALIGN);
    j->offsets_at = fnn_round_up(phases * (ptrdiff_t)sizeof(phase), FNN_ALIGN);
    j->weights_at = j->offsets_at +
                    fnn_round_up(walk->channels * g->kh * g->kw * number, FNN_ALIGN);
    j->slices_at =
        j->weights_at +
        fnn_round_up(g->groups * j->weights * j->size + FNN_GEMM_MARGIN, FNN_ALIGN);
    j->bytes = j->slices_at + j->workers * j->slice;
    return true;
}

/* ---- what all workers read ---------------------------------------------------------- */

static phase *phases_of(const job *j) { return (phase *)(void *)j->workspace; }

/* Phases in the order of their rows and columns; offsets and weights of all groups. */
static void prepare(const job *j) {
    ptrdiff_t offset = 0, weight = 0;
    for (ptrdiff_t i = 0; i < fnn_walks(j->g, j->way); i++) {
        fnn_walk walk;
        fnn_walk_set(&walk, j->g, j->way, i);
        if (walk.rows == 0 || walk.cols == 0) {
            continue;
        }
        fnn_walk_fit(&walk, &j->walk);
        phase *at = &phases_of(j)[walk.top * j->phases_w + walk.left];
        *at = (phase){.k = walk.channels * walk.taps, offset, weight};
        fnn_walk_offsets(&walk, j->band,
                         (ptrdiff_t *)(void *)(j->workspace + j->offsets_at) + offset);
        for (ptrdiff_t group = 0; group < j->g->groups; group++) {
            for (ptrdiff_t k0 = 0; k0 < at->k; k0 += FNN_GEMM_KC) {
                fnn_walk_pack(&walk, j->g, j->way, group, 0, j->m, k0,
                              fnn_min64(at->k - k0, FNN_GEMM_KC), j->weight,
                              j->workspace + j->weights_at +
                                  (group * j->weights + weight + k0 * j->m) * j->size);
            }
        }
        offset += at->k;
        weight += at->k * j->m;
    }
}

/* ---- one band ----------------------------------------------------------------------- */

typedef struct {
    ptrdiff_t group;
    char *planes, *sums;
    ptrdiff_t *base; /* of vectors */
    fnn_band band;
    ptrdiff_t vectors;
} piece;

/* Rows of the band that are one image's, from row `row` on. */
static ptrdiff_t rows_of(const job *j, const fnn_band *band, ptrdiff_t row) {
    return fnn_min64(j->walk.rows - row % j->walk.rows, band->first + band->rows - row);
}

/* Where each vector begins in the source. In place, the last one of a stretch ends where
 * the stretch does; see move_ends. */
static void set_bases(const job *j, piece *x) {
    const fnn_band *band = &x->band;
    ptrdiff_t v = 0;
    for (ptrdiff_t row = band->first; row < band->first + band->rows;) {
        const ptrdiff_t rows = rows_of(j, band, row);
        const ptrdiff_t n = (rows - 1) * j->length + j->walk.cols;
        const ptrdiff_t start = fnn_band_base(band, row);
        for (ptrdiff_t at = 0; at < n; at += j->lanes) {
            const ptrdiff_t from = j->walk.in_place ? fnn_min64(at, n - j->lanes) : at;
            x->base[v++] = start + from / j->length * j->walk.pitch + from % j->length;
        }
        row += rows;
    }
    for (; v % FNN_CONV_GROUP != 0; v++) {
        x->base[v] = x->base[v - 1];
    }
    x->vectors = v;
}

static char *sums_of(const job *j, const piece *x, ptrdiff_t phase_,
                     ptrdiff_t channel) {
    return x->sums + (phase_ * j->m + channel) * j->positions * j->size;
}

static void run_phase(const job *j, const piece *x, ptrdiff_t number) {
    const phase *p = &phases_of(j)[number];
    if (p->k == 0) {
        memset(sums_of(j, x, number, 0), 0, (size_t)(j->m * j->positions * j->size));
        return;
    }
    const ptrdiff_t *offset =
        (const ptrdiff_t *)(const void *)(j->workspace + j->offsets_at) + p->offset;
    const char *a =
        j->workspace + j->weights_at + (x->group * j->weights + p->weight) * j->size;
    /* A group of vectors stays in L1 for all tiles. */
    const ptrdiff_t step = j->tiles == 1 ? x->vectors : FNN_CONV_GROUP;
    for (ptrdiff_t k0 = 0; k0 < p->k; k0 += FNN_GEMM_KC) {
        fnn_conv_direct t = {.k = fnn_min64(p->k - k0, FNN_GEMM_KC),
                             .vectors = step,
                             .x = x->band.source,
                             .offset = offset + k0,
                             .ldc = j->positions,
                             .first = k0 == 0};
        for (ptrdiff_t v = 0; v < x->vectors; v += step) {
            t.base = x->base + v;
            for (ptrdiff_t i = 0, row = 0; i < j->tiles; i++, row += t.m) {
                t.m = fnn_even_start(j->m, j->tiles, i + 1) - row;
                t.a = a + (k0 * j->m + row * t.k) * j->size;
                t.c = sums_of(j, x, number, row) + v * j->lanes * j->size;
                fnn_k->conv_direct[j->size == 8](&t);
            }
        }
    }
}

/* In place, the results of the last vector of a stretch go to their positions. */
static void move_ends(const job *j, const piece *x, ptrdiff_t at, ptrdiff_t n) {
    const ptrdiff_t slot = n / j->lanes * j->lanes;
    if (!j->walk.in_place || slot == n) {
        return;
    }
    for (ptrdiff_t i = 0; i < j->phases_h * j->phases_w * j->m; i++) {
        char *row = sums_of(j, x, 0, i) + at * j->size;
        memmove(row + (n - j->lanes) * j->size, row + slot * j->size,
                (size_t)(j->lanes * j->size));
    }
}

/* Rows of one image, from row q on, whose results begin at position `at`: those of phase
 * row `top`. */
static void finish_rows(const job *j, const piece *x, ptrdiff_t image, ptrdiff_t q,
                        ptrdiff_t rows, ptrdiff_t at, ptrdiff_t top) {
    const fnn_walk *walk = &j->walk;
    const fnn_conv_epilogue *e = &j->g->epilogue;
    const ptrdiff_t channel = x->group * j->m, area = j->h * j->w;
    const ptrdiff_t y =
        ((image * j->g->groups * j->m + channel) * j->h + q * walk->step_h + top) *
        j->w;
    const ptrdiff_t first = top * j->phases_w;
    if (walk->step_w == 1) {
        fnn_conv_finish f = {.m = j->m,
                             .channel = channel,
                             .ldc = j->positions,
                             .ldy = area,
                             .step = 1,
                             .epilogue = e};
        const bool whole = walk->step_h == 1 && j->length == j->w;
        f.n = whole ? rows * j->w : j->w;
        for (ptrdiff_t i = 0; i < (whole ? 1 : rows); i++) {
            f.c = sums_of(j, x, first, 0) + (at + i * j->length) * j->size;
            f.at = y + i * walk->step_h * j->w;
            f.y = j->y + f.at * j->size;
            fnn_k->conv_finish[j->size == 8](&f);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < j->m; i++) {
        const ptrdiff_t to = y + i * area, c = channel + i;
        const char *bias = e->bias, *scale = e->scale, *shift = e->shift;
        const char *residual = e->residual;
        const fnn_depthwise_taps t = {
            .rows = rows,
            .cols = j->w,
            .x = sums_of(j, x, first, i) + at * j->size,
            .x_row = j->length,
            .y = j->y + to * j->size,
            .y_row = walk->step_h * j->w,
            .bias = bias == NULL ? NULL : bias + c * j->size,
            .scale = scale == NULL ? NULL : scale + c * j->size,
            .shift = scale == NULL ? NULL : shift + c * j->size,
            .residual = residual == NULL ? NULL : residual + to * j->size,
            .act = e->act};
        fnn_k->depthwise_join[j->size == 8](&t, j->phases_w, j->m * j->positions);
    }
}

static void run_band(const job *j, piece *x, ptrdiff_t first, ptrdiff_t rows) {
    const fnn_walk *walk = &j->walk;
    fnn_band_fill(&x->band, walk, first, rows, j->band, j->x, x->group, 0,
                  walk->channels, x->planes);
    set_bases(j, x);
    for (ptrdiff_t i = 0; i < j->phases_h * j->phases_w; i++) {
        run_phase(j, x, i);
    }
    ptrdiff_t at = 0;
    for (ptrdiff_t row = first; row < first + rows;) {
        const ptrdiff_t n = rows_of(j, &x->band, row), q = row % walk->rows;
        move_ends(j, x, at, (n - 1) * j->length + walk->cols);
        for (ptrdiff_t top = 0; top < j->phases_h; top++) {
            const ptrdiff_t all = fnn_ceil_div(j->h - top, walk->step_h);
            if (q < all) {
                finish_rows(j, x, row / walk->rows, q, fnn_min64(n, all - q), at, top);
            }
        }
        at += stretch_of(j, n);
        row += n;
    }
}

static void run_workers(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const ptrdiff_t pieces = j->g->groups * j->parts;
    for (ptrdiff_t worker = lo; worker < hi; worker++) {
        piece x = {.planes = j->workspace + j->slices_at + worker * j->slice};
        x.sums = x.planes + j->planes_bytes;
        x.base = (ptrdiff_t *)(void *)(x.sums + j->sums_bytes);
        for (ptrdiff_t i = fnn_even_start(pieces, j->workers, worker);
             i < fnn_even_start(pieces, j->workers, worker + 1); i++) {
            const ptrdiff_t part = i % j->parts;
            const ptrdiff_t end = fnn_even_start(j->total, j->parts, part + 1);
            x.group = i / j->parts;
            for (ptrdiff_t r = fnn_even_start(j->total, j->parts, part); r < end;
                 r += j->band) {
                run_band(j, &x, r, fnn_min64(end - r, j->band));
            }
        }
    }
}

/* ---- what others call --------------------------------------------------------------- */

bool fnn_direct_pays(const fnn_conv_args *g, fnn_conv_direction way) {
    const fnn_gemm_tile *kernel = fnn_k->gemm_tile[FNN_F64(g->dtype)];
    const bool input = way == FNN_CONV_INPUT;
    /* One tap: implicit.c packs the source on the way. */
    const bool one = g->kh * g->kw == 1;
    const ptrdiff_t tiles = one ? 1 : MOST_TILES;
    const ptrdiff_t rows = g->n * (input ? fnn_ceil_div(g->h, g->sh) : g->oh);
    if (channels_of(g, way) > tiles * kernel->mr || (one && g->ow < kernel->lanes) ||
        fnn_walks(g, way) > MOST_PHASES ||
        rows * g->groups < g->threads) { /* they are what threads share */
        return false;
    }
    job j; /* small images leave most of a vector empty, where panels span images */
    return !plan_walk(&j, g, way) ||
           2 * j.walk.rows * j.walk.cols >= stretch_of(&j, j.walk.rows);
}

int64_t fnn_direct_workspace(const fnn_conv_args *g, fnn_conv_direction way) {
    job j;
    return plan(&j, g, way) ? j.bytes : 0;
}

void fnn_direct_run(const fnn_conv_args *g, fnn_conv_direction way, const void *source,
                    const void *weight, void *result, void *workspace) {
    job j;
    if (!plan(&j, g, way)) {
        return;
    }
    j.x = source;
    j.weight = weight;
    j.y = result;
    j.workspace = workspace;
    prepare(&j);
    fnn_parallel_for(j.workers, 1, run_workers, &j);
}
