/* The weight gradient as a GEMM: patches (k, pixels) times gy (pixels, co), k counting
 * channels and taps.
 *
 * Pixels are cut into blocks of at most FNN_GEMM_KC: several whole images where they are
 * small, else rows of one image, else parts of a row. A block is one FMA chain, blocks
 * are added in order, so threads share channels and taps, never pixels. gy is packed
 * with its channels as columns; patches are the rows of the tile, and a row of a tile may
 * lie anywhere: they are read from the planes as they are. The sum, (k, co), is turned
 * round at the end. */
#include "conv/planes.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

typedef struct {
    const fnn_conv_args *g;
    fnn_walk walk;
    const fnn_gemm_tile *kernel;
    ptrdiff_t size, nr;
    ptrdiff_t channels, co;     /* of a group */
    ptrdiff_t c_parts, o_parts; /* pieces of them */
    ptrdiff_t c_most, o_most;
    ptrdiff_t together, per_image,
        per_row;           /* images a block, or blocks an image or row */
    ptrdiff_t bands, band; /* of rows: how many, and of how many at most */
    ptrdiff_t workers;
    ptrdiff_t slices_at, planes_bytes, panel_bytes, sums_bytes, slice, bytes;
    const char *x, *gy;
    char *gw, *workspace;
} job;

/* ---- planning ------------------------------------------------------------------- */

/* Blocks of pixels: part of the bits contract, so only the image's shape counts. */
static void choose_blocks(job *j) {
    const fnn_walk *walk = &j->walk;
    j->together = j->per_image = j->per_row = 1;
    if (walk->rows * walk->cols <= FNN_GEMM_KC) {
        j->together = FNN_GEMM_KC / (walk->rows * walk->cols);
        j->bands = fnn_ceil_div(walk->images, j->together);
        j->band = fnn_min64(walk->images, j->together) * walk->rows;
    } else {
        const ptrdiff_t rows = walk->cols < FNN_GEMM_KC ? FNN_GEMM_KC / walk->cols : 1;
        j->per_row = fnn_ceil_div(walk->cols, FNN_GEMM_KC);
        j->per_image = fnn_ceil_div(walk->rows, rows);
        j->bands = walk->images * j->per_image;
        j->band = fnn_ceil_div(walk->rows, j->per_image);
    }
}

/* Pieces of channels of x and of gy, so that the largest has the least to compute and
 * pack. */
static void cut(job *j, ptrdiff_t parts) {
    double best = INFINITY;
    const ptrdiff_t panels = fnn_ceil_div(j->co, j->nr);
    for (ptrdiff_t o = 1; o <= fnn_min64(parts, panels); o++) {
        const ptrdiff_t c = fnn_min64(fnn_ceil_div(parts, o), j->channels);
        const double m = (double)(fnn_ceil_div(j->channels, c) * j->walk.taps);
        const double n = (double)(fnn_ceil_div(panels, o) * j->nr);
        const double cost = m * n + 24 * n + 4 * m;
        if (cost < best) {
            best = cost;
            j->o_parts = o;
            j->c_parts = c;
        }
    }
    j->c_most = fnn_ceil_div(j->channels, j->c_parts);
    j->o_most = fnn_min64(j->co, fnn_ceil_div(panels, j->o_parts) * j->nr);
}

static bool plan(job *j, const fnn_conv_args *g) {
    *j = (job){.g = g, .kernel = fnn_k->gemm_tile[FNN_F64(g->dtype)]};
    j->size = g->dtype == FNN_FLOAT64 ? 8 : 4;
    j->nr = j->kernel->nr;
    j->channels = g->ci / g->groups;
    j->co = g->co / g->groups;
    fnn_walk_set(&j->walk, g, FNN_CONV_WEIGHT, 0);
    const fnn_walk *walk = &j->walk;
    if (walk->images * walk->rows * walk->cols == 0 || j->channels * j->co == 0) {
        return false;
    }
    choose_blocks(j);
    const double work = (double)g->ci * (double)walk->taps * (double)j->co *
                        (double)(walk->images * walk->rows) * (double)walk->cols;
    const ptrdiff_t threads = g->threads > 0 ? g->threads : fnn_num_threads();
    j->workers = work < FNN_GEMM_SERIAL ? 1 : threads;
    cut(j, fnn_ceil_div(j->workers, g->groups));
    j->workers = fnn_min64(j->workers, g->groups * j->c_parts * j->o_parts);

    const ptrdiff_t block = fnn_min64(j->band * walk->cols, FNN_GEMM_KC);
    const ptrdiff_t cols = fnn_round_up(j->o_most, j->nr);
    j->planes_bytes = fnn_round_up(
        fnn_band_channel(walk, j->band) * j->c_most * j->size + FNN_CONV_MARGIN,
        FNN_ALIGN);
    j->panel_bytes = fnn_round_up(block * j->nr * j->size + FNN_GEMM_MARGIN, FNN_ALIGN);
    j->sums_bytes = fnn_round_up(j->c_most * walk->taps * cols * j->size, FNN_ALIGN);
    j->slice = j->planes_bytes + j->panel_bytes + j->sums_bytes +
               fnn_round_up(2 * block * (ptrdiff_t)sizeof(ptrdiff_t), FNN_ALIGN);
    j->slices_at = fnn_round_up(j->channels * walk->taps * (ptrdiff_t)sizeof(ptrdiff_t),
                                FNN_ALIGN);
    j->bytes = j->slices_at + j->workers * j->slice;
    return true;
}

/* ---- one piece ------------------------------------------------------------------ */

typedef struct {
    ptrdiff_t group, c0, c1, o0, o1;
    ptrdiff_t ld; /* of the sums, (channels and taps, o1 - o0) */
    char *planes, *panel, *sums;
    ptrdiff_t *base, *length;
} piece;

/* gy of channels [o, o + n) at the pixels [pixel, pixel + count) of a band: a panel. */
static void pack_panel(const job *j, const piece *x, const fnn_band *band, ptrdiff_t o,
                       ptrdiff_t n, ptrdiff_t pixel, ptrdiff_t count) {
    const ptrdiff_t area = j->walk.out_image, width = fnn_round_up(n, j->kernel->lanes);
    ptrdiff_t at =
        band->first * j->walk.cols + pixel; /* among the pixels of all images */
    char *to = x->panel;
    while (count > 0) {
        const ptrdiff_t image = at / area, first = at % area;
        const ptrdiff_t k = fnn_min64(count, area - first);
        const ptrdiff_t channel = image * j->g->co + x->group * j->co + o;
        j->kernel->pack_b(n, k, j->gy + (channel * area + first) * j->size, 1, area,
                          to);
        to += k * width * j->size;
        at += k;
        count -= k;
    }
}

static void run_block(const job *j, const piece *x, const fnn_band *band, bool first,
                      ptrdiff_t pixel, ptrdiff_t count) {
    const ptrdiff_t rows = (x->c1 - x->c0) * j->walk.taps;
    const ptrdiff_t tiles = fnn_ceil_div(rows, j->kernel->mr);
    const ptrdiff_t *offset = (const ptrdiff_t *)(const void *)j->workspace;
    fnn_conv_rows t = {.runs = fnn_band_runs(band, pixel, count, x->base, x->length),
                       .base = x->base,
                       .length = x->length,
                       .x = band->source,
                       .b = x->panel,
                       .ldc = x->ld,
                       .first = first};
    for (ptrdiff_t o = x->o0; o < x->o1; o += j->nr) {
        t.n = fnn_min64(x->o1 - o, j->nr);
        pack_panel(j, x, band, o, t.n, pixel, count);
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const ptrdiff_t row = fnn_even_start(rows, tiles, i);
            t.m = fnn_even_start(rows, tiles, i + 1) - row;
            t.row = offset + x->c0 * j->walk.taps + row;
            t.c = x->sums + (row * x->ld + o - x->o0) * j->size;
            fnn_k->conv_rows[j->size == 8](&t);
        }
    }
}

static void run_piece(const job *j, const piece *x) {
    const fnn_walk *walk = &j->walk;
    const ptrdiff_t row = j->channels * walk->taps;
    for (ptrdiff_t i = 0; i < j->bands; i++) {
        ptrdiff_t first, end;
        if (j->per_image > 1 || j->together == 1) {
            const ptrdiff_t image = i / j->per_image, part = i % j->per_image;
            first = image * walk->rows + fnn_even_start(walk->rows, j->per_image, part);
            end =
                image * walk->rows + fnn_even_start(walk->rows, j->per_image, part + 1);
        } else {
            first = i * j->together * walk->rows;
            end =
                fnn_min64(first + j->together * walk->rows, walk->images * walk->rows);
        }
        fnn_band band;
        fnn_band_fill(&band, walk, first, end - first, j->band, j->x, x->group, x->c0,
                      x->c1, x->planes);
        const ptrdiff_t pixels = (end - first) * walk->cols;
        for (ptrdiff_t b = 0; b < j->per_row; b++) {
            const ptrdiff_t pixel = fnn_even_start(pixels, j->per_row, b);
            run_block(j, x, &band, i + b == 0, pixel,
                      fnn_even_start(pixels, j->per_row, b + 1) - pixel);
        }
    }
    fnn_k->transpose[j->size == 8](
        x->o1 - x->o0, (x->c1 - x->c0) * walk->taps, x->sums, x->ld,
        j->gw + ((x->group * j->co + x->o0) * row + x->c0 * walk->taps) * j->size, row,
        false);
}

static void run_workers(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const ptrdiff_t panels = fnn_ceil_div(j->co, j->nr);
    const ptrdiff_t pieces = j->g->groups * j->c_parts * j->o_parts;
    for (ptrdiff_t worker = lo; worker < hi; worker++) {
        piece x = {.planes = j->workspace + j->slices_at + worker * j->slice};
        x.panel = x.planes + j->planes_bytes;
        x.sums = x.panel + j->panel_bytes;
        x.base = (ptrdiff_t *)(void *)(x.sums + j->sums_bytes);
        x.length =
            x.base + (j->slice - j->planes_bytes - j->panel_bytes - j->sums_bytes) / 2 /
                         (ptrdiff_t)sizeof(ptrdiff_t);
        for (ptrdiff_t i = fnn_even_start(pieces, j->workers, worker);
             i < fnn_even_start(pieces, j->workers, worker + 1); i++) {
            const ptrdiff_t c = i % j->c_parts, o = i / j->c_parts % j->o_parts;
            x.group = i / j->c_parts / j->o_parts;
            x.c0 = fnn_even_start(j->channels, j->c_parts, c);
            x.c1 = fnn_even_start(j->channels, j->c_parts, c + 1);
            x.o0 = fnn_even_start(panels, j->o_parts, o) * j->nr;
            x.o1 = fnn_min64(j->co, fnn_even_start(panels, j->o_parts, o + 1) * j->nr);
            x.ld = fnn_round_up(x.o1 - x.o0, j->nr);
            run_piece(j, &x);
        }
    }
}

int64_t fnn_implicit_weight_workspace(const fnn_conv_args *g) {
    job j;
    return plan(&j, g) ? j.bytes : 0;
}

void fnn_implicit_weight(const fnn_conv_args *g, const void *x, const void *gy,
                         void *gw, void *workspace) {
    job j;
    if (!plan(&j, g)) {
        memset(gw, 0, (size_t)(g->co * (g->ci / g->groups) * g->kh * g->kw * j.size));
        return;
    }
    j.x = x;
    j.gy = gy;
    j.gw = gw;
    j.workspace = workspace;
    fnn_walk_offsets(&j.walk, j.band, workspace);
    fnn_parallel_for(j.workers, 1, run_workers, &j);
}
