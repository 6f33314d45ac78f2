/* The weight gradient as a GEMM: patches (k, pixels) times gy (pixels, co), k counting
 * channels and taps.
 *
 * Pixels are cut into blocks of at most FNN_GEMM_KC: several whole images where they are
 * small, else rows of one image, else parts of a row. A block is one FMA chain, blocks
 * are added in order, so threads share channels and taps, never pixels. gy is packed
 * with its channels as columns; patches are the rows of the tile, and a row of a tile may
 * lie anywhere: they are read from the planes as they are. The sum, (k, co), is turned
 * round at the end.
 *
 * With one tap and fewer channels of x than of gy it is x that is packed, and channels of
 * gy are the rows: packing is what costs. Each sum is the same. */
#include "conv/planes.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

typedef struct {
    const fnn_conv_args *g;
    fnn_walk walk;
    const fnn_gemm_tile *kernel;
    ptrdiff_t size, nr;
    ptrdiff_t channels, co; /* of a group */
    bool turned;            /* rows are channels of gy */
    /* Channels that are rows, `taps` of them each, and that are columns; pieces of them. */
    ptrdiff_t row_channels, taps, cols;
    ptrdiff_t row_parts, col_parts, row_most, col_most;
    ptrdiff_t together, per_image,
        per_row;           /* images a block, or blocks an image or row */
    ptrdiff_t bands, band; /* of rows: how many, and of how many at most */
    ptrdiff_t workers;
    ptrdiff_t slices_at, planes_bytes, panel_bytes, sums_bytes, slice, bytes;
    ptrdiff_t block; /* pixels, and so runs of them, at most */
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

/* Pieces of rows and of columns, so that the largest has the least to compute and pack. */
static void cut(job *j, ptrdiff_t parts) {
    double best = INFINITY;
    const ptrdiff_t panels = fnn_ceil_div(j->cols, j->nr);
    for (ptrdiff_t c = 1; c <= fnn_min64(parts, panels); c++) {
        const ptrdiff_t r = fnn_min64(fnn_ceil_div(parts, c), j->row_channels);
        const double m = (double)(fnn_ceil_div(j->row_channels, r) * j->taps);
        const double n = (double)(fnn_ceil_div(panels, c) * j->nr);
        const double cost = m * n + 24 * n + 4 * m;
        if (cost < best) {
            best = cost;
            j->col_parts = c;
            j->row_parts = r;
        }
    }
    j->row_most = fnn_ceil_div(j->row_channels, j->row_parts);
    j->col_most = fnn_min64(j->cols, fnn_ceil_div(panels, j->col_parts) * j->nr);
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
    j->turned = walk->taps == 1 && j->channels < j->co;
    j->row_channels = j->turned ? j->co : j->channels;
    j->cols = j->turned ? j->channels : j->co;
    j->taps = j->turned ? 1 : walk->taps;
    const double work = (double)g->ci * (double)walk->taps * (double)j->co *
                        (double)(walk->images * walk->rows) * (double)walk->cols;
    j->workers = work < FNN_GEMM_SERIAL ? 1 : g->threads;
    cut(j, fnn_ceil_div(j->workers, g->groups));
    j->workers = fnn_min64(j->workers, g->groups * j->row_parts * j->col_parts);

    const ptrdiff_t block = fnn_min64(j->band * walk->cols, FNN_GEMM_KC);
    const ptrdiff_t cols = fnn_round_up(j->col_most, j->nr);
    const ptrdiff_t channels = j->turned ? j->col_most : j->row_most;
    j->planes_bytes = fnn_round_up(
        fnn_band_channel(walk, j->band) * channels * j->size + FNN_CONV_MARGIN,
        FNN_ALIGN);
    j->panel_bytes = fnn_round_up(block * j->nr * j->size + FNN_GEMM_MARGIN, FNN_ALIGN);
    j->sums_bytes = fnn_round_up(j->row_most * j->taps * cols * j->size, FNN_ALIGN);
    j->block = block;
    j->slice = j->planes_bytes + j->panel_bytes + j->sums_bytes +
               fnn_round_up(4 * block * (ptrdiff_t)sizeof(ptrdiff_t), FNN_ALIGN);
    j->slices_at = fnn_round_up(
        j->row_channels * j->taps * (ptrdiff_t)sizeof(ptrdiff_t), FNN_ALIGN);
    j->bytes = j->slices_at + j->workers * j->slice;
    return true;
}

/* ---- one piece ------------------------------------------------------------------ */

/* Where each run of a block's pixels begins, and its length. */
typedef struct {
    ptrdiff_t count, *base, *length;
} run_list;

typedef struct {
    ptrdiff_t group, r0, r1, n0, n1; /* channels of rows and columns */
    ptrdiff_t ld;                    /* of the sums */
    char *planes, *panel, *sums;
    run_list of_x, of_gy;
} piece;

/* gy of the pixels [pixel, pixel + count) of a band, image by image, for the group's first
 * channel. */
static void find_gy(const job *j, const piece *x, const fnn_band *band, ptrdiff_t pixel,
                    ptrdiff_t count, run_list *runs) {
    const ptrdiff_t area = j->walk.out_image;
    ptrdiff_t at = band->first * j->walk.cols + pixel;
    for (runs->count = 0; count > 0; runs->count++) {
        const ptrdiff_t image = at / area, first = at % area;
        const ptrdiff_t length = fnn_min64(count, area - first);
        runs->base[runs->count] = (image * j->g->co + x->group * j->co) * area + first;
        runs->length[runs->count] = length;
        at += length;
        count -= length;
    }
}

/* Columns [c, c + n) at the pixels of the runs: a panel. */
static void pack_panel(const job *j, const char *source, ptrdiff_t channel, ptrdiff_t c,
                       ptrdiff_t n, const run_list *runs, char *to) {
    for (ptrdiff_t r = 0; r < runs->count; r++) {
        j->kernel->pack_b(n, runs->length[r],
                          source + (c * channel + runs->base[r]) * j->size, 1, channel,
                          to);
        to += runs->length[r] * fnn_round_up(n, j->kernel->lanes) * j->size;
    }
}

static void run_block(const job *j, piece *x, const fnn_band *band, bool first,
                      ptrdiff_t pixel, ptrdiff_t count) {
    const ptrdiff_t rows = (x->r1 - x->r0) * j->taps;
    const ptrdiff_t tiles = fnn_ceil_div(rows, j->kernel->mr);
    const ptrdiff_t *offset = (const ptrdiff_t *)(const void *)j->workspace;
    x->of_x.count = fnn_band_runs(band, pixel, count, x->of_x.base, x->of_x.length);
    find_gy(j, x, band, pixel, count, &x->of_gy);
    const run_list *packed = j->turned ? &x->of_x : &x->of_gy;
    const run_list *read = j->turned ? &x->of_gy : &x->of_x;
    const char *source = j->turned ? band->source : j->gy;
    const ptrdiff_t channel = j->turned ? band->channel : j->walk.out_image;
    fnn_conv_rows t = {.base = read->base,
                       .length = read->length,
                       .runs = read->count,
                       .x = j->turned ? j->gy : band->source,
                       .b = x->panel,
                       .ldc = x->ld,
                       .first = first};
    for (ptrdiff_t c = x->n0; c < x->n1; c += j->nr) {
        t.n = fnn_min64(x->n1 - c, j->nr);
        pack_panel(j, source, channel, c, t.n, packed, x->panel);
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const ptrdiff_t row = fnn_even_start(rows, tiles, i);
            t.m = fnn_even_start(rows, tiles, i + 1) - row;
            t.row = offset + x->r0 * j->taps + row;
            t.c = x->sums + (row * x->ld + c - x->n0) * j->size;
            fnn_k->conv_rows[j->size == 8](&t);
        }
    }
}

/* The sums of a piece, rows and columns turned round if they are not yet. */
static void put_sums(const job *j, const piece *x) {
    const ptrdiff_t row = j->channels * j->walk.taps, n = x->n1 - x->n0;
    if (!j->turned) {
        fnn_k->transpose[j->size == 8](
            n, (x->r1 - x->r0) * j->taps, x->sums, x->ld,
            j->gw + ((x->group * j->co + x->n0) * row + x->r0 * j->taps) * j->size, row,
            false);
        return;
    }
    for (ptrdiff_t i = x->r0; i < x->r1; i++) {
        memcpy(j->gw + ((x->group * j->co + i) * row + x->n0) * j->size,
               x->sums + (i - x->r0) * x->ld * j->size, (size_t)(n * j->size));
    }
}

static void run_piece(const job *j, piece *x) {
    const fnn_walk *walk = &j->walk;
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
        fnn_band_fill(&band, walk, first, end - first, j->band, j->x, x->group,
                      j->turned ? x->n0 : x->r0, j->turned ? x->n1 : x->r1, x->planes);
        const ptrdiff_t pixels = (end - first) * walk->cols;
        for (ptrdiff_t b = 0; b < j->per_row; b++) {
            const ptrdiff_t pixel = fnn_even_start(pixels, j->per_row, b);
            run_block(j, x, &band, i + b == 0, pixel,
                      fnn_even_start(pixels, j->per_row, b + 1) - pixel);
        }
    }
    put_sums(j, x);
}

static void run_workers(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const ptrdiff_t panels = fnn_ceil_div(j->cols, j->nr);
    const ptrdiff_t pieces = j->g->groups * j->row_parts * j->col_parts;
    for (ptrdiff_t worker = lo; worker < hi; worker++) {
        piece x = {.planes = j->workspace + j->slices_at + worker * j->slice};
        x.panel = x.planes + j->planes_bytes;
        x.sums = x.panel + j->panel_bytes;
        ptrdiff_t *table = (ptrdiff_t *)(void *)(x.sums + j->sums_bytes);
        x.of_x = (run_list){0, table, table + j->block};
        x.of_gy = (run_list){0, table + 2 * j->block, table + 3 * j->block};
        for (ptrdiff_t i = fnn_even_start(pieces, j->workers, worker);
             i < fnn_even_start(pieces, j->workers, worker + 1); i++) {
            const ptrdiff_t r = i % j->row_parts, c = i / j->row_parts % j->col_parts;
            x.group = i / j->row_parts / j->col_parts;
            x.r0 = fnn_even_start(j->row_channels, j->row_parts, r);
            x.r1 = fnn_even_start(j->row_channels, j->row_parts, r + 1);
            x.n0 = fnn_even_start(panels, j->col_parts, c) * j->nr;
            x.n1 =
                fnn_min64(j->cols, fnn_even_start(panels, j->col_parts, c + 1) * j->nr);
            x.ld = fnn_round_up(x.n1 - x.n0, j->nr);
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
    ptrdiff_t *offset = workspace; /* of rows */
    if (j.turned) {
        for (ptrdiff_t i = 0; i < j.co; i++) {
            offset[i] = i * j.walk.out_image;
        }
    } else {
        fnn_walk_offsets(&j.walk, j.band, offset);
    }
    fnn_parallel_for(j.workers, 1, run_workers, &j);
}
