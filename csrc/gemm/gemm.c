/* The GEMM driver: which operands are packed, how loops nest, how threads share the
 * work.
 *
 *   few rows   at most gemv_m rows, or as few columns (then the product is transposed):
 *              the larger operand is streamed once, nothing is packed
 *              (a B laid out in advance is one stream: all its panels, one after another)
 *   panels     some k-blocks of all rows of A are small enough for L2: a few panels of
 *              B at a time, packed if its rows are not contiguous or many tiles read it,
 *              go past them, k-block after k-block
 *   blocked    a block of B (some k-blocks x NC) is packed for L3, blocks of A (MC
 *              rows) are packed for L2 or, where few panels of B repay it, read in
 *              place
 *
 * Which of these runs changes no bit: all of them form the sum that gemm.h promises.
 * Threads cut batch, rows and columns into pieces, never k; each piece packs for itself
 * in its own slice of the workspace.
 */
#include "gemm/gemm.h"
#include "gemm/blocking.h"

#define PANEL FNN_GEMM_PANEL
/* Columns of a transposed product that are turned round at a time. */
#define TURNED 1024

typedef enum { FEW_ROWS, PANELS, BLOCKED } gemm_path;

typedef struct {
    fnn_gemm_args g; /* folded, transposed where n is small */
    const fnn_gemm_tile *kernel;
    ptrdiff_t size; /* bytes of an element */
    gemm_path path;
    bool pack_a, pack_b;
    bool transposed;    /* each piece lies in the workspace until it is turned round */
    fnn_gemm_args turn; /* what it has to become */
    ptrdiff_t batches, rows, cols; /* pieces along batch, m, n */
    ptrdiff_t a_bytes, slice;      /* of a piece's workspace: packed A; all of it */
    ptrdiff_t band, depth; /* PANELS: rows, columns of A that go past B at a time */
    char *workspace;
} gemm_job;

/* ---- planning ------------------------------------------------------------------- */

/* Merges the batch into the rows where B is shared and rows of A and C run on. */
static void fold_batch(fnn_gemm_args *g) {
    if (g->m == 1) {
        g->a_row = g->a_batch;
        g->c_row = g->c_batch;
    }
    if (g->batch > 1 && g->b_batch == 0 && g->a_batch == g->m * g->a_row &&
        g->c_batch == g->m * g->c_row) {
        g->m *= g->batch;
        g->batch = 1;
    }
}

/* One matrix times many vectors: these are the rows of one product, the matrix its B. */
static void gather_vectors(fnn_gemm_args *g) {
    const fnn_gemm_args old = *g;
    g->m = old.batch;
    g->n = old.m;
    g->batch = 1;
    g->a = old.b;
    g->a_row = old.b_batch;
    g->a_col = old.b_row;
    g->b = old.a;
    g->b_row = old.a_col;
    g->b_col = old.a_row;
    g->c_row = old.c_batch;
}

/* c^T = b^T a^T, for few columns: the same chains, and n is long. */
static void transpose(gemm_job *job) {
    const fnn_gemm_args g = job->g;
    job->transposed = true;
    job->turn = g;
    job->g.bias = job->g.residual = NULL;
    job->g.act = FNN_ACT_NONE;
    job->g.m = g.n;
    job->g.n = g.m;
    job->g.a = g.b;
    job->g.a_batch = g.b_batch;
    job->g.a_row = g.b_col;
    job->g.a_col = g.b_row;
    job->g.b = g.a;
    job->g.b_batch = g.a_batch;
    job->g.b_row = g.a_col;
    job->g.b_col = g.a_row;
}

/* Multiply-adds that packing an element is worth: few where neighbours in a panel are
 * neighbours in memory, more where they have to be turned round, and many where they lie
 * a page apart: then cores that pack the same ones get in each other's way. */
static double packing_cost(ptrdiff_t stride, ptrdiff_t size) {
    return stride == 1 ? 6 : fnn_pages_apart(stride * size) ? 64 : 24;
}

/* Cuts the work into at most `threads` pieces, so that the largest is the least to
 * compute and pack. */
static void cut(gemm_job *job, ptrdiff_t threads) {
    const fnn_gemm_args *g = &job->g;
    const ptrdiff_t mr = job->path == FEW_ROWS ? g->m : job->kernel->mr;
    const ptrdiff_t nr =
        job->path == FEW_ROWS ? 4 * job->kernel->lanes : job->kernel->nr;
    const ptrdiff_t m_tiles = fnn_ceil_div(g->m, mr), n_tiles = fnn_ceil_div(g->n, nr);
    const double a_cost = packing_cost(g->a_row, job->size);
    const double b_cost = packing_cost(g->b_col, job->size);
    double best = INFINITY;
    for (ptrdiff_t batches = fnn_min64(g->batch, threads); batches >= 1; batches--) {
        const ptrdiff_t each = threads / batches;
        for (ptrdiff_t rows = 1; rows <= fnn_min64(each, m_tiles); rows++) {
            const ptrdiff_t cols = fnn_min64(each / rows, n_tiles);
            const double m = (double)fnn_ceil_div(g->m, rows);
            const double n = (double)(fnn_ceil_div(n_tiles, cols) * nr);
            const double packing = a_cost * m + b_cost * n;
            const double cost =
                (double)fnn_ceil_div(g->batch, batches) * (m * n + packing);
            if (cost < best) {
                best = cost;
                job->batches = batches;
                job->rows = rows;
                job->cols = cols;
            }
        }
    }
}

static void plan(const fnn_gemm_args *args, gemm_job *job) {
    job->g = *args;
    job->kernel = fnn_k->gemm_tile[FNN_F64(args->dtype)];
    job->size = args->dtype == FNN_FLOAT64 ? 8 : 4;
    job->transposed = false;
    fnn_gemm_args *g = &job->g;
    fold_batch(g);
    if (g->n == 1) {
        g->b_col = 1;
    }
    const bool streams = g->a_row == 1 || g->a_col == 1;
    if (g->b_panels) {
        /* it lies as it should */
    } else if (g->batch > 1 && g->n == 1 && g->a_batch == 0 && g->c_row == 1 &&
               g->bias == NULL && streams) {
        gather_vectors(g);
    } else if (g->n <= job->kernel->gemv_m && g->n < g->m && streams) {
        transpose(job);
    }

    const ptrdiff_t nr = job->kernel->nr;
    const ptrdiff_t kc = fnn_min64(g->k, FNN_GEMM_KC);
    const double work = (double)g->m * (double)g->n * (double)g->k * (double)g->batch;
    ptrdiff_t threads = 1;
    if (work >= FNN_GEMM_SERIAL) {
        threads = args->threads > 0 ? args->threads : fnn_num_threads();
    }

    job->batches = job->rows = job->cols = 1;
    job->pack_a = job->pack_b = false;
    if (g->m <= job->kernel->gemv_m && (g->b_col == 1 || g->b_row == 1)) {
        job->path = FEW_ROWS;
        if (threads > 1) {
            cut(job, threads);
        }
        job->a_bytes = job->slice = 0;
        if (job->transposed) {
            job->slice =
                fnn_round_up(g->m * fnn_min64(g->n, TURNED) * job->size, FNN_ALIGN);
        }
        return;
    }
    job->path = BLOCKED; /* for cut; settled below from the size of a piece */
    if (threads > 1) {
        cut(job, threads);
    }
    const ptrdiff_t m = fnn_ceil_div(g->m, job->rows);
    const ptrdiff_t n =
        fnn_min64(g->n, fnn_ceil_div(fnn_ceil_div(g->n, nr), job->cols) * nr);
    const ptrdiff_t mc = fnn_gemm_mc(job->size), nc = fnn_gemm_nc(job->size);
    job->pack_a =
        n > FNN_GEMM_PLACE_A_PANELS * nr ||
        (n > nr && m > 4 && g->a_row != 1 && fnn_pages_apart(g->a_row * job->size));
    job->band = m;
    if (g->b_panels) {
        job->band = fnn_ceil_div(m, fnn_ceil_div(m, fnn_gemm_band(job->size)));
    }
    job->depth =
        job->pack_a ? fnn_gemm_depth(job->band, job->size) : FNN_GEMM_ANY_DEPTH;
    const bool fits =
        job->pack_a ? job->depth > 0 : m <= fnn_gemm_panel_rows(job->size);
    if (g->b_panels || fits) {
        job->path = PANELS;
        const double b_bytes = (double)g->k * (double)n * (double)job->size;
        const bool in_place =
            g->b_col == 1 &&
            fnn_gemm_place_b(fnn_ceil_div(m, job->kernel->mr), b_bytes);
        job->pack_b = !g->b_panels && !in_place;
        job->a_bytes =
            job->pack_a ? job->band * fnn_min64(g->k, job->depth) * job->size : 0;
        const ptrdiff_t group =
            fnn_min64(fnn_round_up(n, nr), fnn_gemm_group(job->size));
        job->slice = job->pack_b ? fnn_round_up(group * kc * job->size, FNN_ALIGN) : 0;
    } else {
        job->pack_b = true;
        const ptrdiff_t kg = fnn_min64(g->k, FNN_GEMM_KG * FNN_GEMM_KC);
        job->a_bytes = job->pack_a ? fnn_min64(m, mc) * kg * job->size : 0;
        job->slice = fnn_round_up(fnn_min64(fnn_round_up(n, nr), nc) * kg * job->size,
                                  FNN_ALIGN);
    }
    if (job->pack_a) {
        job->a_bytes = fnn_round_up(job->a_bytes + FNN_GEMM_MARGIN, FNN_ALIGN);
    }
    job->slice += job->a_bytes;
}

/* ---- one piece ------------------------------------------------------------------ */

typedef struct {
    const char *a, *b;
    char *c;
    const char *bias;
    ptrdiff_t m, n, first; /* first: its first column, where B lies in panels */
    char *pa, *pb;         /* packed A and B */
} gemm_part;

/* Column j of a piece. */
static const char *column(const gemm_job *job, const gemm_part *x, ptrdiff_t j) {
    const fnn_gemm_args *g = &job->g;
    if (!g->b_panels) {
        return x->b + j * g->b_col * job->size;
    }
    j += x->first;
    return x->b + (j / PANEL * g->k * PANEL + j % PANEL) * job->size;
}

/* What lies in the residual, which may be NULL, where c lies in the result. */
static const void *residual_at(const gemm_job *job, const void *residual,
                               const char *c) {
    return residual == NULL ? NULL
                            : (const char *)residual + (c - (const char *)job->g.c);
}

static fnn_tile tile_of(const gemm_job *job) {
    const fnn_gemm_args *g = &job->g;
    return (fnn_tile){.a_row = g->a_row,
                      .a_k = g->a_col,
                      .b_k = g->b_row,
                      .b_col = 1,
                      .ldc = g->c_row,
                      .act = g->act,
                      .packed = job->pack_a && job->pack_b,
                      .b_padded = job->pack_b || g->b_panels};
}

static void run_few_rows(const gemm_job *job, const gemm_part *x) {
    const fnn_gemm_args *g = &job->g;
    fnn_tile t = {.m = x->m,
                  .k = g->k,
                  .a = x->a,
                  .a_row = g->a_row,
                  .a_k = g->a_col,
                  .b_k = g->b_row,
                  .b_col = g->b_col,
                  .ldc = g->c_row,
                  .act = g->act};
    const double b_bytes = (double)g->k * (double)g->n * (double)job->size;
    t.ahead_step = g->b_panels && fnn_gemm_far(b_bytes);
    for (ptrdiff_t j = 0; j < x->n; j += t.n) {
        char *c = x->c + j * job->size;
        t.n = x->n - j;
        if (g->b_panels) {
            t.n = fnn_min64(t.n, PANEL - (x->first + j) % PANEL);
        }
        t.b = column(job, x, j);
        t.c = c;
        t.bias = x->bias == NULL ? NULL : x->bias + j * job->size;
        t.residual = residual_at(job, g->residual, c);
        job->kernel->gemv(&t);
    }
}

/* to[i * step] = from[i], i < n */
static void spread(ptrdiff_t n, ptrdiff_t size, const char *from, char *to,
                   ptrdiff_t step) {
    if (size == 4) {
        for (ptrdiff_t i = 0; i < n; i++) {
            ((float *)(void *)to)[i * step] = ((const float *)(const void *)from)[i];
        }
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            ((double *)(void *)to)[i * step] = ((const double *)(const void *)from)[i];
        }
    }
}

/* A piece of the transposed product, turned round into c. Bias and activation come before
 * that, while a column is a row; a residual lies as c does, so they come after it. */
static void run_turned(const gemm_job *job, const gemm_part *x, char *c) {
    const fnn_gemm_args *g = &job->turn;
    const ptrdiff_t size = job->size;
    const fnn_finish_fn finish = job->kernel->finish;
    for (ptrdiff_t i = 0; i < x->n; i += TURNED) {
        const ptrdiff_t n = fnn_min64(x->n - i, TURNED);
        gemm_part block = *x;
        gemm_job here = *job;
        here.g.c = block.c = x->pa;
        here.g.c_row = block.n = n;
        block.b = x->b + i * job->g.b_col * size;
        run_few_rows(&here, &block);
        char *to = c + i * g->c_row * size;
        for (ptrdiff_t j = 0; j < x->m; j++) {
            const char *bias =
                g->bias == NULL ? NULL : (const char *)g->bias + j * size;
            char *row = x->pa + j * n * size;
            if (g->residual == NULL) {
                finish(1, n, row, n, bias, 0, NULL, g->act);
            }
            spread(n, size, row, to + j * size, g->c_row);
        }
        if (g->residual != NULL) {
            finish(n, x->m, to, g->c_row, g->bias, 1,
                   (const char *)g->residual + (to - (const char *)g->c), g->act);
        }
    }
}

/* What will be packed next, line by line of cache; tiles fetch it while they compute. */
typedef struct {
    const char *at;
    ptrdiff_t step;  /* elements from one run of memory to the next */
    ptrdiff_t lines; /* of cache that each run has left */
} gemm_ahead;

/* Where rows of B are contiguous a run is a row of a group of panels, elsewhere a
 * column of a k-block. */
static gemm_ahead ahead_of(const gemm_job *job, const char *b, ptrdiff_t n,
                           ptrdiff_t k) {
    const bool rows = job->g.b_col == 1;
    const ptrdiff_t into = (ptrdiff_t)((uintptr_t)b % FNN_ALIGN);
    return (gemm_ahead){
        .at = b,
        .step = rows ? job->g.b_row : job->g.b_col,
        .lines = fnn_ceil_div((rows ? n : k) * job->size + into, FNN_ALIGN)};
}

/* Hands the next two lines of every run to the tile. */
static void look_ahead(gemm_ahead *next, fnn_tile *t) {
    t->ahead = next->lines > 0 ? next->at : (const char *)t->b;
    t->ahead_step = next->lines > 0 ? next->step : 0;
    next->at += 2 * FNN_ALIGN;
    next->lines -= 2;
}

/* Tiles of rows [0, m) against one panel of B, for one k-block of length t->k. a
 * points at the block in place, or at its packed panels. */
static void run_panel(const gemm_job *job, fnn_tile *t, ptrdiff_t m, const char *a,
                      char *c, gemm_ahead *next) {
    const ptrdiff_t tiles = fnn_ceil_div(m, job->kernel->mr);
    const ptrdiff_t height = m / tiles, extra = m % tiles;
    const ptrdiff_t a_step = (job->pack_a ? t->k : job->g.a_row) * job->size;
    const ptrdiff_t c_step = t->ldc * job->size;
    for (ptrdiff_t i = 0; i < tiles; i++) {
        t->m = height + (i < extra);
        t->a = a;
        t->c = c;
        t->residual = residual_at(job, job->g.residual, c);
        if (job->pack_a) {
            t->a_row = 1;
            t->a_k = t->m;
        }
        look_ahead(next, t);
        job->kernel->tile(t);
        if (t->panel != NULL) { /* the first tile has made it */
            t->b = t->panel;
            t->panel = NULL;
        }
        a += t->m * a_step;
        c += t->m * c_step;
    }
}

/* Rows [0, m) of A, columns [0, k), into panels as run_panel reads them. */
static void pack_rows(const gemm_job *job, ptrdiff_t m, ptrdiff_t k, const char *a,
                      char *to) {
    job->kernel->pack_a(m, fnn_ceil_div(m, job->kernel->mr), k, a, job->g.a_row,
                        job->g.a_col, to);
}

/* Columns [p0, p1) of A past all panels of B. */
static void run_depth(const gemm_job *job, const gemm_part *x, ptrdiff_t p0,
                      ptrdiff_t p1) {
    const fnn_gemm_args *g = &job->g;
    const ptrdiff_t nr = job->kernel->nr, size = job->size;
    const ptrdiff_t a_step = g->a_col * size, b_step = g->b_row * size;
    for (ptrdiff_t p = p0; job->pack_a && p < p1; p += FNN_GEMM_KC) {
        pack_rows(job, x->m, fnn_min64(p1 - p, FNN_GEMM_KC), x->a + p * a_step,
                  x->pa + (p - p0) * x->m * size);
    }
    fnn_tile t = tile_of(job);
    const ptrdiff_t group = fnn_gemm_group(size);
    for (ptrdiff_t j0 = 0; j0 < x->n; j0 += group) {
        const ptrdiff_t n = fnn_min64(x->n - j0, group);
        const char *b = column(job, x, j0);
        ptrdiff_t p = p0;
        do {
            t.k = fnn_min64(p1 - p, FNN_GEMM_KC);
            t.first = p == 0;
            t.last = p + t.k == g->k;
            gemm_ahead next = {.lines = 0};
            /* Whole panels of contiguous rows are made by their first tile. */
            const bool on_the_way = job->pack_a && job->pack_b && g->b_col == 1;
            const ptrdiff_t whole = on_the_way ? n / nr * nr : 0;
            if (job->pack_b) {
                job->kernel->pack_b(n - whole, t.k,
                                    b + p * b_step + whole * g->b_col * size, g->b_row,
                                    g->b_col, x->pb + whole * t.k * size);
                if (p + t.k < p1) {
                    next = ahead_of(job, b + (p + t.k) * b_step, n,
                                    fnn_min64(p1 - p - t.k, FNN_GEMM_KC));
                } else if (j0 + n < x->n) {
                    next = ahead_of(job, b + n * g->b_col * size + p0 * b_step,
                                    fnn_min64(x->n - j0 - n, group),
                                    fnn_min64(p1 - p0, FNN_GEMM_KC));
                }
            }
            for (ptrdiff_t j = 0; j < n; j += nr) {
                t.n = fnn_min64(n - j, nr);
                t.bias = x->bias == NULL ? NULL : x->bias + (j0 + j) * size;
                t.b = column(job, x, j0 + j) + p * b_step;
                if (j < whole) {
                    t.panel = x->pb + j * t.k * size;
                    t.b_k = g->b_row;
                } else if (job->pack_b) {
                    t.b = x->pb + j * t.k * size;
                    t.b_k = fnn_round_up(t.n, job->kernel->lanes);
                }
                run_panel(
                    job, &t, x->m,
                    job->pack_a ? x->pa + (p - p0) * x->m * size : x->a + p * a_step,
                    x->c + (j0 + j) * size, &next);
            }
            p += t.k;
        } while (p < p1);
    }
}

static void run_panels(const gemm_job *job, const gemm_part *x) {
    const fnn_gemm_args *g = &job->g;
    for (ptrdiff_t i = 0; i < x->m; i += job->band) {
        gemm_part band = *x;
        band.m = fnn_min64(x->m - i, job->band);
        band.a = x->a + i * g->a_row * job->size;
        band.c = x->c + i * g->c_row * job->size;
        ptrdiff_t p = 0;
        do {
            const ptrdiff_t end = fnn_min64(g->k, p + job->depth);
            run_depth(job, &band, p, end);
            p = end;
        } while (p < g->k);
    }
}

static void run_blocked(const gemm_job *job, const gemm_part *x) {
    const fnn_gemm_args *g = &job->g;
    const ptrdiff_t mr = job->kernel->mr, nr = job->kernel->nr, size = job->size;
    const ptrdiff_t nc = fnn_gemm_nc(size), kg = FNN_GEMM_KG * FNN_GEMM_KC;
    const ptrdiff_t tiles = fnn_ceil_div(x->m, mr);
    const ptrdiff_t blocks = fnn_ceil_div(tiles, fnn_gemm_mc(size) / mr);
    fnn_tile t = tile_of(job);
    for (ptrdiff_t j0 = 0; j0 < x->n; j0 += nc) {
        const ptrdiff_t n = fnn_min64(x->n - j0, nc);
        for (ptrdiff_t p0 = 0; p0 < g->k || p0 == 0; p0 += kg) {
            const ptrdiff_t p1 = fnn_min64(g->k, p0 + kg);
            const char *b = x->b + j0 * g->b_col * size;
            for (ptrdiff_t p = p0; p < p1; p += FNN_GEMM_KC) {
                job->kernel->pack_b(n, fnn_min64(p1 - p, FNN_GEMM_KC),
                                    b + p * g->b_row * size, g->b_row, g->b_col,
                                    x->pb + (p - p0) * fnn_round_up(n, nr) * size);
            }
            for (ptrdiff_t i = 0; i < blocks; i++) {
                const ptrdiff_t i0 = fnn_even_start(x->m, blocks, i);
                const ptrdiff_t m = fnn_even_start(x->m, blocks, i + 1) - i0;
                const char *a = x->a + i0 * g->a_row * size;
                for (ptrdiff_t p = p0; job->pack_a && p < p1; p += FNN_GEMM_KC) {
                    pack_rows(job, m, fnn_min64(p1 - p, FNN_GEMM_KC),
                              a + p * g->a_col * size, x->pa + (p - p0) * m * size);
                }
                for (ptrdiff_t j = 0; j < n; j += nr) {
                    t.n = fnn_min64(n - j, nr);
                    t.b_k = fnn_round_up(t.n, job->kernel->lanes);
                    t.bias = x->bias == NULL ? NULL : x->bias + (j0 + j) * size;
                    char *c = x->c + (i0 * g->c_row + j0 + j) * size;
                    ptrdiff_t p = p0;
                    do {
                        t.k = fnn_min64(p1 - p, FNN_GEMM_KC);
                        t.first = p == 0;
                        t.last = p + t.k == g->k;
                        t.b = x->pb + ((p - p0) * fnn_round_up(n, nr) + j * t.k) * size;
                        gemm_ahead next = {.lines = 0};
                        run_panel(job, &t, m,
                                  job->pack_a ? x->pa + (p - p0) * m * size
                                              : a + p * g->a_col * size,
                                  c, &next);
                        p += t.k;
                    } while (p < p1);
                }
            }
        }
    }
}

/* ---- pieces --------------------------------------------------------------------- */

static void run_pieces(void *context, int64_t lo, int64_t hi) {
    const gemm_job *job = context;
    const fnn_gemm_args *g = &job->g;
    const ptrdiff_t size = job->size;
    const ptrdiff_t unit = job->path == FEW_ROWS ? job->kernel->lanes : job->kernel->nr;
    const ptrdiff_t units = fnn_ceil_div(g->n, unit);
    for (int64_t piece = lo; piece < hi; piece++) {
        const ptrdiff_t jn = piece % job->cols, im = piece / job->cols % job->rows;
        const ptrdiff_t ib = piece / job->cols / job->rows;
        const ptrdiff_t i0 = fnn_even_start(g->m, job->rows, im);
        const ptrdiff_t j0 = fnn_even_start(units, job->cols, jn) * unit;
        const ptrdiff_t j1 =
            fnn_min64(fnn_even_start(units, job->cols, jn + 1) * unit, g->n);
        const ptrdiff_t end = fnn_even_start(g->batch, job->batches, ib + 1);
        gemm_part x = {.m = fnn_even_start(g->m, job->rows, im + 1) - i0, .n = j1 - j0};
        x.pa = job->workspace + piece * job->slice;
        x.pb = x.pa + job->a_bytes;
        x.bias = g->bias == NULL ? NULL : (const char *)g->bias + j0 * size;
        for (ptrdiff_t z = fnn_even_start(g->batch, job->batches, ib); z < end; z++) {
            x.a = (const char *)g->a + (z * g->a_batch + i0 * g->a_row) * size;
            x.b = (const char *)g->b + z * g->b_batch * size;
            x.b += g->b_panels ? 0 : j0 * g->b_col * size;
            x.first = j0;
            x.c = (char *)g->c + (z * g->c_batch + i0 * g->c_row + j0) * size;
            if (job->transposed) {
                const fnn_gemm_args *to = &job->turn;
                run_turned(job, &x,
                           (char *)to->c + (z * to->c_batch + j0 * to->c_row) * size);
                continue;
            }
            switch (job->path) {
            case FEW_ROWS:
                run_few_rows(job, &x);
                break;
            case PANELS:
                run_panels(job, &x);
                break;
            case BLOCKED:
                run_blocked(job, &x);
            }
        }
    }
}

int64_t fnn_gemm_workspace(const fnn_gemm_args *g) {
    if (g->batch == 0 || g->m == 0 || g->n == 0) {
        return 0;
    }
    gemm_job job;
    plan(g, &job);
    return job.slice * job.batches * job.rows * job.cols;
}

/* Each path's packed A is bounded by the second level of cache, its packed B by n and the
 * third one's share, see blocking.h and plan(). */
int64_t fnn_gemm_workspace_any(const fnn_gemm_args *g) {
    const fnn_gemm_tile *kernel = fnn_k->gemm_tile[FNN_F64(g->dtype)];
    const ptrdiff_t size = g->dtype == FNN_FLOAT64 ? 8 : 4;
    const ptrdiff_t n = fnn_round_up(g->n, kernel->nr), kc = FNN_GEMM_KC;
    const ptrdiff_t few = fnn_max64(1, kernel->gemv_m) * TURNED * size;
    const ptrdiff_t panels =
        (fnn_gemm_band(size) + fnn_min64(n, fnn_gemm_group(size))) * kc * size;
    const ptrdiff_t blocked =
        (fnn_gemm_mc(size) + fnn_min64(n, fnn_gemm_nc(size))) * FNN_GEMM_KG * kc * size;
    const ptrdiff_t most = fnn_max64(few, fnn_max64(panels, blocked));
    const int threads = g->threads > 0 ? g->threads : fnn_num_threads();
    return threads * fnn_aligned(most + FNN_GEMM_MARGIN + 2 * FNN_ALIGN);
}

void fnn_gemm(const fnn_gemm_args *g, void *workspace) {
    if (g->batch == 0 || g->m == 0 || g->n == 0) {
        return;
    }
    gemm_job job;
    plan(g, &job);
    job.workspace = workspace;
    const ptrdiff_t pieces = job.batches * job.rows * job.cols;
    if (pieces == 1) {
        run_pieces(&job, 0, 1);
    } else {
        fnn_parallel_for(pieces, 1, run_pieces, &job);
    }
}
