/* Depthwise convolution: every output channel sees one input channel.
 *
 * A plane, or a tile of it, is copied into scratch with its border of zeros, so that taps
 * are offsets and inner loops know no edge. Strides are taken out on the way: columns and
 * rows of the source that are a stride apart come to lie side by side, as a *phase*, and
 * every kernel then runs with stride 1. In the input gradient it is the result that has
 * phases: elements of one phase see the same taps. Each is computed by itself, from gy,
 * and those of a row are joined.
 *
 * Rows and columns are treated alike, each by an `axis`. Tiles, and with them the order of
 * the weight gradient's sums, follow from the layer and the size of a plane. Threads take
 * tiles of planes, or channels for the weight gradient; how many changes no bit. */
#include "conv/conv.h"
#include "conv/depthwise_axis.h"

#include <string.h>

#define TILE_BYTES (20 << 10) /* of scratch, to stay in L1 beside what streams by */
#define TILE_COLS 512         /* a multiple of LANES */
#define FETCH_FROM (4 << 20)  /* bytes of operands and result: less is near anyway */
#define FETCH_UNIT (12 << 10) /* of these, a unit's: what is shorter comes by itself */
#define GRAIN_WORK (1 << 18)  /* multiply-adds that are worth another thread */

typedef struct {
    const fnn_conv_args *g;
    fnn_conv_direction way;
    const char *a, *b;
    char *result;
    axis r, c;
    ptrdiff_t size, lanes, taps, multiplier;
    bool fetch;               /* what is next: where hardware would not */
    ptrdiff_t x_part, y_part; /* of x and y or their gradients, bytes to a unit */
    /* Of scratch, in elements: between rows, between columns' phases; where column 0 is. */
    ptrdiff_t row, pitch, origin;
    ptrdiff_t units, pieces;
    /* A piece's workspace, in bytes: scratch, results by phase, sums, taps in their order. */
    ptrdiff_t scratch, parts, sums, order, slice;
    ptrdiff_t *order_at; /* of the input gradient: all taps, by result phase */
    char *workspace;
} job;

/* ---- the plan --------------------------------------------------------------------- */

/* All but pointers. */
static void plan(job *j, const fnn_conv_args *g, fnn_conv_direction way) {
    const bool input = way == FNN_CONV_INPUT;
    *j = (job){.g = g, .way = way};
    axis *r = &j->r, *c = &j->c;
    j->size = fnn_dtype_size(g->dtype);
    j->lanes = FNN_ALIGN / j->size;
    j->taps = g->kh * g->kw;
    j->multiplier = g->groups > 0 ? g->co / g->groups : 0;
    *r = plan_axis(input, g->h, g->oh, g->kh, g->sh, g->dh, g->top);
    *c = plan_axis(input, g->w, g->ow, g->kw, g->sw, g->dw, g->left);

    /* Scratch. Data lie aligned where a row is copied as it is; the zeros behind a row are
     * those before the next. */
    c->tile = fnn_min64(c->grid, TILE_COLS);
    c->tiles = c->tile > 0 ? fnn_ceil_div(c->grid, c->tile) : 0;
    const ptrdiff_t width = c->tile + c->halo, before = -c->from,
                    after = width - before - c->source;
    j->pitch = fnn_round_up(width, j->lanes);
    if (c->tiles == 1 && c->stride == 1 && before > 0 && after > 0) {
        j->pitch = fnn_round_up(width - fnn_min64(before, after), j->lanes);
        j->origin = fnn_round_up(before, j->lanes) - before;
    }
    j->row = c->phases * j->pitch;
    c->apart = j->pitch;
    const ptrdiff_t fit = TILE_BYTES / (r->phases * j->row * j->size + 1) - r->halo;
    r->tile = fnn_min64(r->grid, fnn_max64(fit, fnn_max64(4, r->halo)));
    r->tiles = r->tile > 0 ? fnn_ceil_div(r->grid, r->tile) : 0;
    if (r->tiles > 1) { /* alike, and whole groups of four rows */
        r->tile = fnn_round_up(fnn_ceil_div(r->grid, r->tiles), 4);
        r->tiles = fnn_ceil_div(r->grid, r->tile);
    }
    r->apart = (r->tile + r->halo) * j->row;
    j->scratch =
        fnn_round_up(r->phases * r->apart + j->origin + 2 * j->lanes, j->lanes) *
        j->size;

    const ptrdiff_t tiles = r->tiles * c->tiles;
    if (way == FNN_CONV_WEIGHT) {
        j->units = g->co;
        j->sums = j->multiplier * j->taps * FNN_ALIGN;
    } else {
        j->units = g->n * g->ci * tiles * (input ? 1 : j->multiplier);
        j->order = fnn_round_up(j->taps * j->size, FNN_ALIGN);
    }
    if (input && c->results > 1) {
        j->parts = c->results * r->tile * fnn_round_up(c->tile, j->lanes) * j->size;
    }
    j->slice =
        j->scratch + j->parts + j->sums + j->order +
        fnn_round_up((r->phases + c->phases) * (ptrdiff_t)sizeof(extent), FNN_ALIGN);
    const int64_t x = g->n * g->ci * g->h * g->w * j->size;
    const int64_t y = g->n * g->co * g->oh * g->ow * j->size;
    j->fetch = x + y >= FETCH_FROM &&
               (way == FNN_CONV_WEIGHT || x + y >= FETCH_UNIT * j->units);
    j->x_part = x / fnn_max64(1, j->units);
    j->y_part = y / fnn_max64(1, j->units);
    const double work = (double)g->n * g->co * g->oh * g->ow * j->taps;
    j->pieces = fnn_min64(g->threads, j->units);
    j->pieces = work < (double)GRAIN_WORK * j->pieces ? (ptrdiff_t)(work / GRAIN_WORK)
                                                      : j->pieces;
    j->pieces = fnn_max64(1, j->pieces);
}

static ptrdiff_t table_bytes(const job *j) {
    const ptrdiff_t order = j->way == FNN_CONV_INPUT ? j->taps : 0;
    return fnn_round_up((table_length(&j->r) + table_length(&j->c) + order) *
                            (ptrdiff_t)sizeof(ptrdiff_t),
                        FNN_ALIGN);
}

static void fill_order(job *j, ptrdiff_t *table) {
    const axis *r = &j->r, *c = &j->c;
    j->order_at = table;
    for (ptrdiff_t pr = 0; pr < r->results; pr++) {
        for (ptrdiff_t pc = 0; pc < c->results; pc++) {
            for (ptrdiff_t u = r->first[pr]; u < r->first[pr + 1]; u++) {
                for (ptrdiff_t v = c->first[pc]; v < c->first[pc + 1]; v++) {
                    *table++ = r->tap[u] * c->taps + c->tap[v];
                }
            }
        }
    }
}

/* ---- a piece ---------------------------------------------------------------------- */

/* What a thread has: its workspace, and the window that lies in scratch: zeros around the
 * data stay where they are from one plane to the next. */
typedef struct {
    const job *j;
    char *scratch, *parts, *sums, *order;
    extent *r, *c;    /* by phase */
    ptrdiff_t r0, c0; /* -1: none */
} piece;

static piece piece_of(const job *j, int64_t number) {
    piece p = {.j = j, .r0 = -1, .c0 = -1};
    p.scratch = j->workspace + table_bytes(j) + number * j->slice;
    p.parts = p.scratch + j->scratch;
    p.sums = p.parts + j->parts;
    p.order = p.sums + j->sums;
    p.r = (extent *)(p.order + j->order);
    p.c = p.r + j->r.phases;
    return p;
}

/* Whether two phases of columns are every second element and those between them, the first
 * of which comes first. */
static bool pairs(const piece *p, const extent **even, const extent **odd) {
    if (p->j->c.stride != 2 || p->j->c.phases != 2) {
        return false;
    }
    const bool swapped = p->c[1].x < p->c[0].x;
    *even = &p->c[swapped];
    *odd = &p->c[!swapped];
    const ptrdiff_t more = (*even)->count - (*odd)->count;
    return (*odd)->x == (*even)->x + 1 && (more == 0 || more == 1);
}

/* Copies what the tile at (r0, c0) of the grid reads of a plane. */
static void load_window(piece *p, const char *plane, ptrdiff_t r0, ptrdiff_t c0) {
    const job *j = p->j;
    const axis *r = &j->r, *c = &j->c;
    const fnn_take_rows_fn copy = fnn_k->take_rows[FNN_F64(j->g->dtype)];
    if (p->r0 != r0 || p->c0 != c0) {
        memset(p->scratch, 0, (size_t)j->scratch);
        p->r0 = r0;
        p->c0 = c0;
        clip(r, r0, c->source, j->row, p->r);
        clip(c, c0, 1, 1, p->c);
    }
    const extent *even, *odd;
    if (pairs(p, &even, &odd)) {
        for (ptrdiff_t a = 0; a < r->phases; a++) {
            const extent *rows = &p->r[a];
            char *to = p->scratch + (rows->y + j->origin) * j->size;
            fnn_k->take_pairs[FNN_F64(j->g->dtype)](
                rows->count, even->count, odd->count,
                plane + (rows->x + even->x) * j->size, r->stride * c->source,
                to + even->y * j->size, to + odd->y * j->size, j->row);
        }
        return;
    }
    for (ptrdiff_t a = 0; a < r->phases; a++) {
        for (ptrdiff_t b = 0; b < c->phases; b++) {
            const extent *rows = &p->r[a], *cols = &p->c[b];
            if (rows->count > 0 && cols->count > 0) {
                copy(rows->count, cols->count, plane + (rows->x + cols->x) * j->size,
                     r->stride * c->source, c->stride,
                     p->scratch + (rows->y + cols->y + j->origin) * j->size, j->row);
            }
        }
    }
}

/* Where in the order of all taps those of result phase (pr, pc) begin. */
static ptrdiff_t order_of(const job *j, ptrdiff_t pr, ptrdiff_t pc) {
    const ptrdiff_t *r = j->r.first + pr;
    return r[0] * j->c.taps + (r[1] - r[0]) * j->c.first[pc];
}

/* Taps of result phase (pr, pc). */
static fnn_depthwise_taps taps_of(const piece *p, ptrdiff_t pr, ptrdiff_t pc) {
    const job *j = p->j;
    const axis *r = &j->r, *c = &j->c;
    fnn_depthwise_taps t = {
        .x = p->scratch + j->origin * j->size,
        .x_row = j->row,
        .nu = r->first[pr + 1] - r->first[pr],
        .nv = c->first[pc + 1] - c->first[pc],
        .row_at = r->at + r->first[pr],
        .col_at = c->at + c->first[pc],
        .w = p->order + order_of(j, pr, pc) * j->size,
        .near = true,
        .first = true,
    };
    for (ptrdiff_t u = 1; u < t.nu; u++) {
        t.near = t.near && t.row_at[u] == t.row_at[u - 1] + j->row;
    }
    return t;
}

/* The weights of channel o in the order of all phases' taps. */
static void order_weights(const piece *p, ptrdiff_t o) {
    const job *j = p->j;
    const void *from = j->b + o * j->taps * j->size;
    void *to = p->order;
    for (ptrdiff_t k = 0; k < j->taps; k++) {
        if (j->size == 4) {
            ((float *)to)[k] = ((const float *)from)[j->order_at[k]];
        } else {
            ((double *)to)[k] = ((const double *)from)[j->order_at[k]];
        }
    }
}

/* The epilogue of a channel, for a result that begins at element `at`. */
static void set_epilogue(const job *j, fnn_depthwise_taps *t, ptrdiff_t channel,
                         ptrdiff_t at) {
    const fnn_conv_epilogue *e = &j->g->epilogue;
#define AT(pointer, i) \
    ((pointer) != NULL ? (const char *)(pointer) + (i) * j->size : NULL)
    t->bias = AT(e->bias, channel);
    t->scale = AT(e->scale, channel);
    t->shift = AT(e->shift, channel);
    t->residual = AT(e->residual, at);
#undef AT
    t->act = e->act;
}

/* What follows part k of p. */
static fnn_fetch part_after(const char *p, ptrdiff_t length, int64_t k) {
    return (fnn_fetch){p + (k + 1) * length, length};
}

/* ---- where a unit lies ------------------------------------------------------------ */

/* Units run over images, channels of x, tiles, and outputs of a channel where these are
 * `inner` ones. Counted on, as divisions would cost as much as a small plane. */
typedef struct {
    ptrdiff_t b, c, r, s, m; /* tile r, s of the grid */
    ptrdiff_t inner;
} place;

static place place_of(const job *j, int64_t unit, ptrdiff_t inner) {
    place at = {.inner = inner};
    at.m = unit % inner;
    unit /= inner;
    at.s = unit % j->c.tiles;
    unit /= j->c.tiles;
    at.r = unit % j->r.tiles;
    unit /= j->r.tiles;
    at.c = unit % j->g->ci;
    at.b = unit / j->g->ci;
    return at;
}

/* The next unit; returns whether it reads another window. */
static bool go_on(const job *j, place *at) {
    if (++at->m < at->inner) {
        return false;
    }
    at->m = 0;
    if (++at->s == j->c.tiles) {
        at->s = 0;
        if (++at->r == j->r.tiles) {
            at->r = 0;
            if (++at->c == j->g->ci) {
                at->c = 0;
                at->b++;
            }
        }
    }
    return true;
}

/* ---- forward ---------------------------------------------------------------------- */

static void forward(const job *j, piece *p, int64_t lo, int64_t hi) {
    const fnn_conv_args *g = j->g;
    const ptrdiff_t x_plane = g->h * g->w, y_plane = g->oh * g->ow;
    fnn_depthwise_taps t = taps_of(p, 0, 0);
    t.y_row = g->ow;
    place at = place_of(j, lo, j->multiplier);
    bool fresh = true;
    for (int64_t unit = lo; unit < hi; unit++, fresh = go_on(j, &at)) {
        const ptrdiff_t r0 = at.r * j->r.tile, c0 = at.s * j->c.tile;
        const ptrdiff_t o = at.c * j->multiplier + at.m;
        const ptrdiff_t y = (at.b * g->co + o) * y_plane + r0 * g->ow + c0;
        if (fresh) {
            load_window(p, j->a + (at.b * g->ci + at.c) * x_plane * j->size, r0, c0);
        }
        t.w = j->b + o * j->taps * j->size; /* in order as they are */
        t.rows = fnn_min64(j->r.tile, g->oh - r0);
        t.cols = fnn_min64(j->c.tile, g->ow - c0);
        t.y = j->result + y * j->size;
        const fnn_fetch next[2] = {part_after(j->a, j->x_part, unit),
                                   part_after(j->result, j->y_part, unit)};
        set_epilogue(j, &t, o, y);
        fnn_k->depthwise[FNN_F64(g->dtype)](&t, j->fetch ? next : NULL);
    }
}

/* ---- the input gradient ----------------------------------------------------------- */

/* A phase of the tile's result, into parts or, where columns have no phases, in place. */
static void input_phase(piece *p, const fnn_depthwise_taps *only, ptrdiff_t pr,
                        ptrdiff_t pc, ptrdiff_t o, ptrdiff_t m, ptrdiff_t rows,
                        ptrdiff_t c0, ptrdiff_t at, const fnn_fetch *next) {
    const job *j = p->j;
    const fnn_conv_args *g = j->g;
    fnn_depthwise_taps t = only != NULL ? *only : taps_of(p, pr, pc);
    t.first = m == 0;
    t.rows = rows;
    if (j->c.results == 1) {
        t.y = j->result + at * j->size;
        t.y_row = g->sh * g->w;
        t.cols = fnn_min64(j->c.tile, g->w - c0);
        if (m == j->multiplier - 1) {
            set_epilogue(j, &t, o / j->multiplier, at);
        }
    } else { /* whole vectors: there is room */
        t.cols = fnn_round_up(j->c.tile, j->lanes);
        t.y_row = j->c.results * t.cols;
        t.y = p->parts + pc * t.cols * j->size;
    }
    fnn_k->depthwise[FNN_F64(g->dtype)](&t, next);
}

/* Rows of phase pr of a tile's result that there are; where they begin is `to`. `only`: the
 * taps, where there is one phase. */
static void input_rows(piece *p, const fnn_depthwise_taps *only, const place *at,
                       ptrdiff_t pr, ptrdiff_t rows, ptrdiff_t to, fnn_fetch *next) {
    const job *j = p->j;
    const fnn_conv_args *g = j->g;
    const axis *c = &j->c;
    const ptrdiff_t y_plane = g->oh * g->ow;
    const ptrdiff_t r0 = at->r * j->r.tile, c0 = at->s * c->tile;
    for (ptrdiff_t m = 0; m < j->multiplier; m++) {
        const ptrdiff_t o = at->c * j->multiplier + m;
        if (pr == 0 || j->multiplier > 1) { /* else it is there */
            load_window(p, j->a + (at->b * g->co + o) * y_plane * j->size, r0, c0);
            order_weights(p, o);
        }
        for (ptrdiff_t pc = 0; pc < c->results; pc++) {
            input_phase(p, only, pr, pc, o, m, rows, c0, to, next);
            for (int k = 0; next != NULL && k < 2; k++) {
                next[k].at += next[k].bytes;
            }
        }
    }
    if (c->results > 1) {
        const ptrdiff_t pitch = fnn_round_up(c->tile, j->lanes);
        fnn_depthwise_taps t = {
            .rows = rows,
            .cols = fnn_min64(c->tile * c->results, g->w - c0 * c->results),
            .x = p->parts,
            .x_row = c->results * pitch,
            .y = j->result + to * j->size,
            .y_row = g->sh * g->w,
        };
        set_epilogue(j, &t, at->c, to);
        fnn_k->depthwise_join[FNN_F64(g->dtype)](&t, c->results, pitch);
    }
}

static void input(const job *j, piece *p, int64_t lo, int64_t hi) {
    const fnn_conv_args *g = j->g;
    const axis *r = &j->r;
    const ptrdiff_t phases = r->results * j->c.results;
    const ptrdiff_t calls = fnn_max64(1, phases * j->multiplier); /* of the kernel */
    const fnn_depthwise_taps only = taps_of(p, 0, 0);
    place at = place_of(j, lo, 1);
    for (int64_t unit = lo; unit < hi; unit++, go_on(j, &at)) {
        const ptrdiff_t plane = (at.b * g->ci + at.c) * g->h * g->w;
        const ptrdiff_t top = at.r * r->tile * r->results; /* and rows of all phases */
        const ptrdiff_t height = fnn_min64(r->tile * r->results, g->h - top);
        fnn_fetch next[2] = {part_after(j->a, j->y_part, unit),
                             part_after(j->result, j->x_part, unit)};
        next[0].bytes /= calls;
        next[1].bytes /= calls;
        for (ptrdiff_t pr = 0; pr < r->results && pr < height; pr++) {
            const ptrdiff_t rows =
                r->results == 1 ? height : (height - pr + r->results - 1) / r->results;
            input_rows(p, phases == 1 ? &only : NULL, &at, pr, rows,
                       plane + (top + pr) * g->w + at.s * j->c.tile * j->c.results,
                       j->fetch ? next : NULL);
        }
    }
}

/* ---- the weight gradient ---------------------------------------------------------- */

/* Of plane (b, c) tile `tile`; past the last one, the first of the plane that follows. */
static fnn_fetch next_tile(const job *j, const char *p, ptrdiff_t channels,
                           ptrdiff_t plane, ptrdiff_t b, ptrdiff_t c, ptrdiff_t tile) {
    const ptrdiff_t tiles = j->r.tiles * j->c.tiles, length = plane / tiles;
    if (tile == tiles) {
        tile = 0;
        c += b + 1 == j->g->n;
        b = b + 1 == j->g->n ? 0 : b + 1;
    }
    const ptrdiff_t at = (b * channels + c) * plane + tile * length;
    return (fnn_fetch){p + at * j->size, length * j->size};
}

/* Unit o. Images in their order, and the tiles of each. */
static void weight(const job *j, piece *p, int64_t lo, int64_t hi) {
    const fnn_conv_args *g = j->g;
    const ptrdiff_t x_plane = g->h * g->w, y_plane = g->oh * g->ow;
    const int f64 = FNN_F64(g->dtype);
    fnn_depthwise_taps t = taps_of(p, 0, 0);
    t.y_row = g->ow;
    for (int64_t o = lo; o < hi;) {
        const ptrdiff_t c = o / j->multiplier;
        const ptrdiff_t end = fnn_min64(hi, (c + 1) * j->multiplier);
        memset(p->sums, 0, (size_t)((end - o) * j->taps * FNN_ALIGN));
        for (ptrdiff_t b = 0; b < g->n; b++) {
            const char *x = j->a + (b * g->ci + c) * x_plane * j->size;
            ptrdiff_t tile = 0;
            for (ptrdiff_t r0 = 0; r0 < g->oh; r0 += j->r.tile) {
                for (ptrdiff_t c0 = 0; c0 < g->ow; c0 += j->c.tile) {
                    load_window(p, x, r0, c0);
                    tile++;
                    t.rows = fnn_min64(j->r.tile, g->oh - r0);
                    t.cols = fnn_min64(j->c.tile, g->ow - c0);
                    for (ptrdiff_t k = o; k < end; k++) {
                        const ptrdiff_t at =
                            (b * g->co + k) * y_plane + r0 * g->ow + c0;
                        t.y = (char *)j->b + at * j->size;
                        fnn_fetch next[2] = {{NULL, 0}, {NULL, 0}};
                        if (j->fetch) {
                            next[0] = next_tile(j, j->a, g->ci, x_plane, b, c, tile);
                            next[1] = next_tile(j, j->b, g->co, y_plane, b, k, tile);
                        }
                        fnn_k->depthwise_weight[f64](
                            &t, p->sums + (k - o) * j->taps * FNN_ALIGN, next);
                    }
                }
            }
        }
        fnn_k->depthwise_sum[f64]((end - o) * j->taps, p->sums,
                                  j->result + o * j->taps * j->size);
        o = end;
    }
}

/* ---- the run ---------------------------------------------------------------------- */

static void run_pieces(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t k = lo; k < hi; k++) {
        piece p = piece_of(j, k);
        const int64_t from = j->units * k / j->pieces,
                      to = j->units * (k + 1) / j->pieces;
        if (j->way == FNN_CONV_FORWARD) {
            forward(j, &p, from, to);
        } else if (j->way == FNN_CONV_INPUT) {
            input(j, &p, from, to);
        } else {
            weight(j, &p, from, to);
        }
    }
}

int64_t fnn_depthwise_workspace(const fnn_conv_args *g, fnn_conv_direction way) {
    job j;
    plan(&j, g, way);
    return table_bytes(&j) + j.pieces * j.slice;
}

void fnn_depthwise_run(const fnn_conv_args *g, fnn_conv_direction way, const void *a,
                       const void *b, void *result, void *workspace) {
    job j;
    plan(&j, g, way);
    if (j.units == 0) {
        return;
    }
    j.a = a;
    j.b = b;
    j.result = result;
    j.workspace = workspace;
    const bool back = way == FNN_CONV_INPUT;
    ptrdiff_t *rest = fill_tables(&j.r, back, g->top, j.row, workspace);
    rest = fill_tables(&j.c, back, g->left, 1, rest);
    if (back) {
        fill_order(&j, rest);
    }
    fnn_parallel_for(j.pieces, 1, run_pieces, &j);
}
