/* Convolution as a GEMM whose B is never made: weight (m, k) times patches (k, pixels),
 * k counting channels and, within one, taps. The weight gradient is in
 * implicit_weight.c, few channels of results are in direct.c.
 *
 * Rows of results of all images are one long list, cut into bands. For a band, the
 * channels of some k-blocks are laid out in planes (planes.h); patches are packed from
 * there, a panel of pixels at a time, and meet all packed rows of the weight. Sums lie in
 * scratch until the last k-block, then the epilogue puts them where they belong. So every
 * stride, border, group and image size is one path, and a panel may span images. With one
 * tap and no border, rows of the source are rows of panels: the first tile packs them while
 * it computes, and the next panel is fetched meanwhile.
 *
 * Each sum is what gemm.h promises: chains over k-blocks of FNN_GEMM_KC, added in order.
 */
#include "conv/planes.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

#define SCRATCH (1 << 20) /* bytes of sums that wait for their last k-block, about */

typedef struct {
    const fnn_conv_args *g;
    fnn_conv_direction way;
    fnn_walk walk;
    const fnn_gemm_tile *kernel;
    ptrdiff_t size, nr;
    ptrdiff_t m, k, blocks;     /* channels of results, products of a sum, k-blocks */
    ptrdiff_t m_parts, m_most;  /* rows of the weight that stay in L2 together */
    ptrdiff_t depth;            /* k-blocks of them that do */
    ptrdiff_t total, row_parts; /* rows of results; among how many pieces */
    ptrdiff_t band;             /* rows of results in a band */
    ptrdiff_t workers;
    /* Workspace: offsets of taps and packed weights are shared, then a slice each. */
    ptrdiff_t weights_at, slices_at, bytes;
    ptrdiff_t block_bytes, planes_bytes, panel_bytes, sums_bytes, slice;
    const char *x, *weight;
    char *y, *workspace;
} job;

/* ---- planning ------------------------------------------------------------------- */

/* Pieces of rows of results and of the weight, at least `parts`, so that the largest is
 * the least to compute and to pack. */
static void cut(job *j, ptrdiff_t parts) {
    const ptrdiff_t limit = fnn_gemm_band(j->size);
    const double packing = 8; /* multiply-adds that packing a number is worth */
    double best = INFINITY;
    for (ptrdiff_t rows = 1; rows <= fnn_min64(parts, j->total); rows++) {
        const ptrdiff_t tiles = fnn_ceil_div(j->m, j->kernel->mr);
        ptrdiff_t m_parts = fnn_min64(fnn_ceil_div(parts, rows), tiles);
        m_parts =
            fnn_ceil_div(j->m, limit) > m_parts ? fnn_ceil_div(j->m, limit) : m_parts;
        const double m = (double)fnn_ceil_div(j->m, m_parts);
        const double pixels =
            (double)fnn_round_up(fnn_ceil_div(j->total, rows) * j->walk.cols, j->nr);
        const double cost =
            (m + packing) * pixels * (double)fnn_ceil_div(m_parts * rows, parts);
        if (cost < best) {
            best = cost;
            j->row_parts = rows;
            j->m_parts = m_parts;
        }
    }
    j->m_most = fnn_ceil_div(j->m, j->m_parts);
}

/* Channels that the k-blocks of one pass may touch. */
static ptrdiff_t pass_channels(const job *j) {
    if (j->walk.taps == 0) {
        return 0;
    }
    return fnn_min64(j->walk.channels, j->depth * FNN_GEMM_KC / j->walk.taps + 2);
}

static ptrdiff_t sums_bytes(const job *j, ptrdiff_t rows) {
    const ptrdiff_t panels =
        j->depth < j->blocks ? fnn_ceil_div(rows * j->walk.cols, j->nr) : 1;
    return panels * j->m_most * j->nr * j->size;
}

static ptrdiff_t planes_bytes(const job *j, ptrdiff_t rows) {
    return fnn_band_channel(&j->walk, rows) * pass_channels(j) * j->size;
}

/* As many rows as keep planes in a quarter of L2, and sums in bounds; then those of them
 * that leave the least of the last panel empty. */
static void choose_band(job *j) {
    const ptrdiff_t l2 = fnn_gemm_l2(), rows = fnn_ceil_div(j->total, j->row_parts);
    ptrdiff_t low = 1, high = rows;
    while (low < high) {
        const ptrdiff_t mid = (low + high + 1) / 2;
        if (planes_bytes(j, mid) <= l2 / 4 && sums_bytes(j, mid) <= SCRATCH) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    j->band = low;
    double best = 0;
    for (ptrdiff_t r = low; r > low / 2; r--) {
        const ptrdiff_t bands = fnn_ceil_div(rows, r), last = rows - (bands - 1) * r;
        const double used =
            (double)(rows * j->walk.cols) /
            (double)((bands - 1) * fnn_round_up(r * j->walk.cols, j->nr) +
                     fnn_round_up(last * j->walk.cols, j->nr));
        if (used > best + 1e-3) {
            best = used;
            j->band = r;
        }
        if (low - r > 256) {
            break;
        }
    }
}

/* Whether there is anything to do. */
static bool plan(job *j, const fnn_conv_args *g, fnn_conv_direction way,
                 ptrdiff_t which) {
    *j = (job){.g = g, .way = way, .kernel = fnn_k->gemm_tile[FNN_F64(g->dtype)]};
    j->size = g->dtype == FNN_FLOAT64 ? 8 : 4;
    j->nr = j->kernel->nr;
    fnn_walk_set(&j->walk, g, way, which);
    j->m = (way == FNN_CONV_INPUT ? g->ci : g->co) / g->groups;
    j->k = j->walk.channels * j->walk.taps;
    j->blocks = fnn_ceil_div(j->k, FNN_GEMM_KC);
    j->total = j->walk.images * j->walk.rows;
    if (j->m == 0 || j->total == 0 || j->walk.cols == 0) {
        return false;
    }
    const double work = (double)j->m * (double)j->k * (double)j->total *
                        (double)j->walk.cols * (double)g->groups;
    j->workers = work < FNN_GEMM_SERIAL ? 1 : g->threads;
    cut(j, fnn_ceil_div(j->workers, g->groups));
    j->workers = fnn_min64(j->workers, g->groups * j->row_parts * j->m_parts);
    j->depth = fnn_gemm_band(j->size) / j->m_most;
    j->depth = j->depth > 1 ? fnn_min64(j->depth, j->blocks) : 1;
    choose_band(j);

    const ptrdiff_t kc = fnn_min64(j->k, FNN_GEMM_KC);
    j->block_bytes =
        fnn_round_up(j->m_most * kc * j->size + FNN_GEMM_MARGIN, FNN_ALIGN);
    j->planes_bytes =
        fnn_round_up(planes_bytes(j, j->band) + FNN_CONV_MARGIN, FNN_ALIGN);
    j->panel_bytes = fnn_round_up(kc * j->nr * j->size + FNN_CONV_MARGIN, FNN_ALIGN);
    j->sums_bytes = fnn_round_up(sums_bytes(j, j->band), FNN_ALIGN);
    j->slice = j->planes_bytes + j->panel_bytes + j->sums_bytes +
               fnn_round_up(2 * j->nr * (ptrdiff_t)sizeof(ptrdiff_t), FNN_ALIGN);
    j->weights_at = fnn_round_up(j->k * (ptrdiff_t)sizeof(ptrdiff_t), FNN_ALIGN);
    j->slices_at = j->weights_at + g->groups * j->m_parts * j->blocks * j->block_bytes;
    j->bytes = j->slices_at + j->workers * j->slice;
    return true;
}

/* ---- the weight, packed ------------------------------------------------------------- */

/* Where block `block` of rows part `part` of a group lies. */
static char *packed(const job *j, ptrdiff_t group, ptrdiff_t part, ptrdiff_t block) {
    return j->workspace + j->weights_at +
           ((group * j->m_parts + part) * j->blocks + block) * j->block_bytes;
}

static void pack_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (ptrdiff_t i = lo; i < hi; i++) {
        const ptrdiff_t block = i % j->blocks, part = i / j->blocks % j->m_parts;
        const ptrdiff_t group = i / j->blocks / j->m_parts;
        const ptrdiff_t m0 = fnn_even_start(j->m, j->m_parts, part);
        const ptrdiff_t m = fnn_even_start(j->m, j->m_parts, part + 1) - m0;
        const ptrdiff_t k0 = block * FNN_GEMM_KC, k = fnn_min64(j->k - k0, FNN_GEMM_KC);
        fnn_walk_pack(&j->walk, j->g, j->way, group, m0, m, k0, k, j->weight,
                      packed(j, group, part, block));
    }
}

/* ---- one piece ---------------------------------------------------------------------- */

typedef struct {
    ptrdiff_t group, part, m0, m;
    char *planes, *panel, *sums;
    ptrdiff_t *base, *length; /* of runs */
} piece;

/* All rows of the weight against a panel of n pixels: sums[i * ld + l]. from: where the
 * panel is in the source, if the first tile makes it; else NULL. next: what is to be
 * fetched meanwhile, rows as far apart, or NULL. */
static void run_tiles(const job *j, const piece *x, ptrdiff_t block, ptrdiff_t n,
                      char *sums, ptrdiff_t ld, const char *from, const char *next) {
    const ptrdiff_t tiles = fnn_ceil_div(x->m, j->kernel->mr), k0 = block * FNN_GEMM_KC;
    const char *a = packed(j, x->group, x->part, block);
    const ptrdiff_t channel = j->walk.h * j->walk.w;
    if (next != NULL) { /* a line's last number: the line of the first is here often */
        next += FNN_ALIGN - j->size;
    }
    fnn_tile t = {.k = fnn_min64(j->k - k0, FNN_GEMM_KC),
                  .n = n,
                  .a_row = 1,
                  .b = from != NULL ? from : x->panel,
                  .b_k = from != NULL ? channel : fnn_round_up(n, j->kernel->lanes),
                  .b_col = 1,
                  .panel = from != NULL ? x->panel : NULL,
                  .ldc = ld,
                  .first = block == 0,
                  .packed = true,
                  .b_padded = true};
    for (ptrdiff_t i = 0, at = 0; i < tiles; i++) {
        t.m = fnn_even_start(x->m, tiles, i + 1) - at;
        t.a = a + at * t.k * j->size;
        t.a_k = t.m;
        t.c = sums + at * ld * j->size;
        t.ahead = next != NULL ? next : t.b;
        t.ahead_step = next != NULL ? channel : 0;
        j->kernel->tile(&t);
        t.b = x->panel; /* the first tile has made it */
        t.panel = NULL;
        next = NULL;
        at += t.m;
    }
}

/* Whether results lie in the order in which they are computed. */
static bool is_whole(const fnn_walk *walk) {
    return walk->step_h == 1 && walk->step_w == 1 &&
           walk->rows * walk->cols == walk->out_image;
}

/* The results of n pixels from number `pixel` of the band on go where they belong, stretch
 * by stretch; sums is NULL where they are there already, and lack the epilogue. */
static void finish(const job *j, const piece *x, const fnn_band *band, ptrdiff_t pixel,
                   ptrdiff_t n, const char *sums) {
    const fnn_walk *walk = &j->walk;
    const ptrdiff_t channels = j->m * j->g->groups, channel = x->group * j->m + x->m0;
    ptrdiff_t row = band->first + pixel / walk->cols, col = pixel % walk->cols;
    fnn_conv_finish f = {.m = x->m,
                         .channel = channel,
                         .c = sums,
                         .ldc = sums == NULL ? walk->out_image : j->nr,
                         .ldy = walk->out_image,
                         .step = walk->step_w,
                         .epilogue = &j->g->epilogue};
    while (n > 0) {
        const ptrdiff_t image = row / walk->rows, q = row % walk->rows;
        f.n = fnn_min64(n, (is_whole(walk) ? walk->rows - q : 1) * walk->cols - col);
        f.at = (image * channels + channel) * walk->out_image +
               (walk->top + q * walk->step_h) * walk->out_w + walk->left +
               col * walk->step_w;
        f.y = j->y + f.at * j->size;
        f.c = sums == NULL ? f.y : f.c;
        fnn_k->conv_finish[j->size == 8](&f);
        f.c = (const char *)f.c + f.n * j->size;
        n -= f.n;
        col += f.n;
        row += col / walk->cols;
        col %= walk->cols;
    }
}

/* Where the results of n pixels lie, if they are one stretch for each channel and final
 * after one k-block; else NULL. */
static char *in_place(const job *j, const piece *x, const fnn_band *band,
                      ptrdiff_t pixel, ptrdiff_t n) {
    const fnn_walk *walk = &j->walk;
    const ptrdiff_t at = band->first * walk->cols + pixel, area = walk->out_image;
    if (j->blocks != 1 || !is_whole(walk) || at / area != (at + n - 1) / area) {
        return NULL;
    }
    const ptrdiff_t channel = at / area * j->m * j->g->groups + x->group * j->m + x->m0;
    return j->y + (channel * area + at % area) * j->size;
}

/* What a product reads at a base. */
static const char *number_at(const fnn_band *band, ptrdiff_t offset, ptrdiff_t base) {
    return band->source + (offset + base) * band->walk->size;
}

static bool has_epilogue(const fnn_conv_epilogue *e) {
    return e->bias != NULL || e->scale != NULL || e->residual != NULL ||
           e->act != FNN_ACT_NONE;
}

static void run_band(const job *j, const piece *x, ptrdiff_t first, ptrdiff_t rows) {
    const fnn_walk *walk = &j->walk;
    const ptrdiff_t pixels = rows * walk->cols, nr = j->nr;
    const ptrdiff_t *offset = (const ptrdiff_t *)(const void *)j->workspace;
    fnn_band band = {.walk = walk, .first = first, .rows = rows};
    fnn_conv_pack pack = {.base = x->base, .length = x->length, .y = x->panel};
    ptrdiff_t b0 = 0;
    do {
        const ptrdiff_t b1 = fnn_min64(b0 + j->depth, j->blocks);
        const ptrdiff_t k1 = fnn_min64(b1 * FNN_GEMM_KC, j->k);
        if (j->k > 0) {
            fnn_band_fill(&band, walk, first, rows, j->band, j->x, x->group,
                          b0 * FNN_GEMM_KC / walk->taps, fnn_ceil_div(k1, walk->taps),
                          x->planes);
        }
        char *sums = x->sums;
        for (ptrdiff_t p = 0; p < pixels; p += nr) {
            const ptrdiff_t n = fnn_min64(pixels - p, nr);
            if (j->k == 0) {
                memset(sums, 0, (size_t)(x->m * nr * j->size));
            } else {
                pack.runs = fnn_band_runs(&band, p, n, x->base, x->length);
            }
            char *there = in_place(j, x, &band, p, n);
            for (ptrdiff_t b = b0; b < b1; b++) {
                const char *from = NULL, *next = NULL;
                if (walk->in_place && walk->taps == 1 && n == nr && pack.runs == 1) {
                    from = number_at(&band, offset[b * FNN_GEMM_KC], *x->base);
                    if (b + 1 < b1) {
                        next =
                            number_at(&band, offset[(b + 1) * FNN_GEMM_KC], *x->base);
                    } else if (p + 2 * nr <= pixels) {
                        next =
                            number_at(&band, offset[b0 * FNN_GEMM_KC], *x->base + nr);
                    }
                } else {
                    pack.k = fnn_min64(j->k - b * FNN_GEMM_KC, FNN_GEMM_KC);
                    pack.width = fnn_round_up(n, j->kernel->lanes);
                    pack.offset = offset + b * FNN_GEMM_KC;
                    pack.x = band.source;
                    pack.margin = band.margin > 0;
                    fnn_k->conv_pack[j->size == 8](&pack);
                }
                run_tiles(j, x, b, n, there == NULL ? sums : there,
                          there == NULL ? nr : walk->out_image, from, next);
            }
            if (b1 == j->blocks && (there == NULL || has_epilogue(&j->g->epilogue))) {
                finish(j, x, &band, p, n, there == NULL ? sums : NULL);
            }
            sums += j->depth < j->blocks ? x->m * nr * j->size : 0;
        }
        b0 = b1;
    } while (b0 < j->blocks);
}

static void run_workers(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const ptrdiff_t pieces = j->g->groups * j->row_parts * j->m_parts;
    for (ptrdiff_t worker = lo; worker < hi; worker++) {
        piece x = {.planes = j->workspace + j->slices_at + worker * j->slice};
        x.panel = x.planes + j->planes_bytes;
        x.sums = x.panel + j->panel_bytes;
        x.base = (ptrdiff_t *)(void *)(x.sums + j->sums_bytes);
        x.length = x.base + j->nr;
        for (ptrdiff_t i = fnn_even_start(pieces, j->workers, worker);
             i < fnn_even_start(pieces, j->workers, worker + 1); i++) {
            const ptrdiff_t rows = i % j->row_parts;
            x.part = i / j->row_parts % j->m_parts;
            x.group = i / j->row_parts / j->m_parts;
            x.m0 = fnn_even_start(j->m, j->m_parts, x.part);
            x.m = fnn_even_start(j->m, j->m_parts, x.part + 1) - x.m0;
            const ptrdiff_t end = fnn_even_start(j->total, j->row_parts, rows + 1);
            for (ptrdiff_t r = fnn_even_start(j->total, j->row_parts, rows); r < end;
                 r += j->band) {
                run_band(j, &x, r, fnn_min64(end - r, j->band));
            }
        }
    }
}

/* ---- what others call --------------------------------------------------------------- */

int64_t fnn_implicit_workspace(const fnn_conv_args *g, fnn_conv_direction way) {
    if (way == FNN_CONV_WEIGHT) {
        return fnn_implicit_weight_workspace(g);
    }
    if (fnn_direct_pays(g, way)) {
        return fnn_direct_workspace(g, way);
    }
    int64_t bytes = 0;
    for (ptrdiff_t i = 0; i < fnn_walks(g, way); i++) {
        job j;
        if (plan(&j, g, way, i) && j.bytes > bytes) {
            bytes = j.bytes;
        }
    }
    return bytes;
}

static void clear(void *result, int64_t lo, int64_t hi) {
    memset((char *)result + lo, 0, (size_t)(hi - lo));
}

/* Where some results have no taps and nothing follows the sum, sets all to 0 at once;
 * returns whether. */
static bool set_zeros(const fnn_conv_args *g, fnn_conv_direction way, void *result) {
    for (ptrdiff_t i = 0; !has_epilogue(&g->epilogue) && i < fnn_walks(g, way); i++) {
        fnn_walk walk;
        fnn_walk_set(&walk, g, way, i);
        if (walk.channels * walk.taps == 0) {
            const ptrdiff_t channels = way == FNN_CONV_INPUT ? g->ci : g->co;
            fnn_parallel_for(walk.images * channels * walk.out_image * walk.size,
                             1 << 20, clear, result);
            return true;
        }
    }
    return false;
}

void fnn_implicit_run(const fnn_conv_args *g, fnn_conv_direction way, const void *a,
                      const void *b, void *result, void *workspace) {
    if (way == FNN_CONV_WEIGHT) {
        fnn_implicit_weight(g, a, b, result, workspace);
        return;
    }
    if (fnn_direct_pays(g, way)) {
        fnn_direct_run(g, way, a, b, result, workspace);
        return;
    }
    const bool zeros = set_zeros(g, way, result);
    for (ptrdiff_t i = 0; i < fnn_walks(g, way); i++) {
        job j;
        if (!plan(&j, g, way, i) || (zeros && j.k == 0)) {
            continue;
        }
        j.x = a;
        j.weight = b;
        j.y = result;
        j.workspace = workspace;
        fnn_walk_offsets(&j.walk, j.band, workspace);
        if (j.blocks > 0) {
            const ptrdiff_t pieces = g->groups * j.m_parts * j.blocks;
            const ptrdiff_t grain = 1 + 65536 / (j.m_most * FNN_GEMM_KC);
            fnn_parallel_for(pieces, j.workers == 1 ? pieces : grain, pack_blocks, &j);
        }
        fnn_parallel_for(j.workers, 1, run_workers, &j);
    }
}
