/* Winograd convolution, forward and input gradient: see winograd.h.
 *
 * The input gradient is a forward convolution of gy, its filters turned by 180 degrees and
 * inputs and outputs exchanged; with stride 2 four, one for each place between pixels of
 * gy, whose results a tile of 8x8 interleaves. Two orders of the same arithmetic:
 *
 *   tiles outside     all filters are transformed; then each thread takes blocks of tiles,
 *                     few enough that they stay in L2, from the image to the result, past
 *                     filters that come from L2 or L3;
 *   filters outside   where filters are too many for that: all tiles are transformed, or as
 *                     many as L3 has room for; then each thread takes panels of 32 outputs,
 *                     whose filters are transformed block by block, just before their use,
 *                     into memory that stays in L2. */
#include "conv/winograd.h"

#define POINTS FNN_WINOGRAD_POINTS
#define LANES FNN_WINOGRAD_LANES
#define WIDTH FNN_WINOGRAD_WIDTH

#define FEW_FILTERS (1 << 20)   /* elements of U up to which tiles are outside */
#define BLOCK_BYTES (300 << 10) /* of V for a block of tiles */
#define MANY_BYTES (8 << 20)    /* of V where filters are outside */
#define SERIAL (1 << 18)        /* multiply-adds below which one thread does it all */
#define L1_PIXELS 384           /* of a rectangle of several rows: they stay in L1 */

typedef struct {
    const fnn_winograd *form;
    int64_t points;
    fnn_winograd_side side;    /* what is read */
    int64_t co, oh, ow, tiles; /* of the result; tiles of all images */
    int64_t above, before;     /* from its tile (0, 0) to its pixel (0, 0) */
    int64_t groups, blocks, panels;
    int64_t block; /* tiles that are transformed together */
    bool outside;  /* filters are */
    bool turned;
    int64_t lane,
        next; /* of weight: from one output's filters to the next, one input's */
    int64_t workers;
    int64_t u_size, v_size, m_size; /* elements of U, of V and M of a block */
    int64_t each;                   /* elements of a worker's own memory */
    const fnn_conv_epilogue *epilogue;
    const float *a, *weight;
    float *result, *u, *v, *own;
    int64_t lo, hi; /* tiles at work, where filters are outside */
} job;

/* Elements of U of a panel's block, and of the whole panel. */
static int64_t block_groups(const job *j, int64_t block) {
    return fnn_min64(FNN_WINOGRAD_GROUPS, j->groups - block * FNN_WINOGRAD_GROUPS);
}
static int64_t u_plane(int64_t groups, int64_t width) {
    return fnn_winograd_plane(groups * width);
}
static int64_t panel_size(const job *j, int64_t width) {
    int64_t last = u_plane(block_groups(j, j->blocks - 1), width);
    return POINTS * ((j->blocks - 1) * u_plane(FNN_WINOGRAD_GROUPS, width) + last);
}

static void plan_filters(job *j, const fnn_conv_args *g, bool turned) {
    j->turned = turned;
    j->side.channels = turned ? g->co : g->ci;
    j->co = turned ? g->ci : g->co;
    j->lane = turned ? 9 : g->ci * 9;
    j->next = turned ? g->ci * 9 : 9;
    j->groups = fnn_winograd_groups(j->side.channels);
    j->blocks = fnn_ceil_div(j->groups, FNN_WINOGRAD_GROUPS);
    j->panels = fnn_winograd_panels(j->co);
    j->u_size = 0;
    if (j->panels > 0) {
        j->u_size = (j->panels - 1) * panel_size(j, WIDTH) +
                    panel_size(j, fnn_winograd_width(j->co, j->panels - 1));
    }
}

/* Where tiles of the input gradient begin, along a dimension with so much padding: before
 * its pixel 0, and before that of gy. Those of stride 2 begin where gy meets tap 1. */
static void place_turned(const fnn_conv_args *g, int64_t padding, int64_t *result,
                         int64_t *gy) {
    *result = g->sh == 1 ? 0 : 1 - padding % 2;
    *gy = g->sh == 1 ? 2 - padding : -((padding - *result - 1) / 2);
}

static void plan_tiles(job *j, const fnn_conv_args *g, bool turned) {
    j->side.n = g->n;
    j->side.h = turned ? g->oh : g->h;
    j->side.w = turned ? g->ow : g->w;
    j->oh = turned ? g->h : g->oh;
    j->ow = turned ? g->w : g->ow;
    j->side.top = g->top;
    j->side.left = g->left;
    if (turned) {
        place_turned(g, g->top, &j->above, &j->side.top);
        place_turned(g, g->left, &j->before, &j->side.left);
    }
    const int64_t step = j->form->results[turned].step;
    j->side.rows = fnn_ceil_div(j->oh + j->above, step);
    j->side.cols = fnn_ceil_div(j->ow + j->before, step);
    j->side.span = fnn_winograd_span(g);
    j->tiles = j->side.n * j->side.rows * j->side.cols;
}

static job plan(const fnn_conv_args *g, bool turned) {
    job j = {.epilogue = &g->epilogue, .form = fnn_winograd_form(g)};
    j.points = j.form->side * j.form->side;
    plan_filters(&j, g, turned);
    plan_tiles(&j, g, turned);
    j.outside = j.u_size > FEW_FILTERS && j.panels > 1;
    const int64_t bytes = j.points * LANES * j.groups * (int64_t)sizeof(float);
    int64_t most = fnn_max64((j.outside ? MANY_BYTES : BLOCK_BYTES) / bytes, 1);
    const int64_t mr = j.form->mr;
    if (j.side.cols > 0 && j.side.cols <= most) { /* whole rows, or whole products */
        most -= most % j.side.cols;
    } else if (mr <= most) {
        most -= most % mr;
    }
    j.block = fnn_min64(most, j.tiles);
    const double work = (double)(j.tiles * j.points) * (double)(j.co * j.side.channels);
    j.workers = work < SERIAL ? 1 : g->threads;
    if (j.outside) {
        j.workers = fnn_min64(j.workers, j.panels);
    } else if (j.workers > 1) { /* few blocks: as many for each */
        const int64_t blocks = fnn_ceil_div(j.tiles, j.block);
        if (blocks < 4 * j.workers) {
            j.block =
                fnn_ceil_div(j.tiles, fnn_ceil_div(blocks, j.workers) * j.workers);
        }
        j.workers = fnn_min64(j.workers, fnn_ceil_div(j.tiles, j.block));
    }
    j.v_size = j.points * fnn_winograd_plane(j.groups * j.block);
    j.m_size = j.points * fnn_winograd_plane(j.block * WIDTH / LANES);
    j.each = FNN_WINOGRAD_SCRATCH + j.m_size;
    if (!j.outside) {
        j.each += j.v_size;
    } else {
        j.each += POINTS * u_plane(FNN_WINOGRAD_GROUPS, WIDTH);
    }
    return j;
}

int64_t fnn_winograd_workspace(const fnn_conv_args *g, fnn_conv_direction way) {
    if (way == FNN_CONV_WEIGHT) {
        return fnn_winograd_weight_workspace(g);
    }
    job j = plan(g, way == FNN_CONV_INPUT);
    int64_t shared = j.outside ? j.v_size : j.u_size;
    return (shared + j.workers * j.each) * (int64_t)sizeof(float);
}

/* ---- tiles ---------------------------------------------------------------------- */

fnn_winograd_rectangle fnn_winograd_next(const fnn_winograd_side *s, int64_t at,
                                         int64_t hi) {
    const int64_t per = s->rows * s->cols, in = at % per;
    fnn_winograd_rectangle r = {at / per, in / s->cols, in % s->cols, 1, 0};
    r.cols = fnn_min64(s->cols - r.col, hi - at);
    r.cols = fnn_min64(r.cols, (FNN_WINOGRAD_COLUMNS - 2) / s->span);
    if (r.cols == s->cols) {
        const int64_t rows = fnn_min64(s->rows - r.row, (hi - at) / s->cols);
        const int64_t wide = r.cols * s->span + 2;
        while (r.rows < rows && ((r.rows + 1) * s->span + 2) * wide <= L1_PIXELS) {
            r.rows++;
        }
    }
    return r;
}

void fnn_winograd_transform(const fnn_winograd_side *s, const float *x, int64_t group,
                            int64_t lo, int64_t hi, const fnn_winograd_cut *cut,
                            float *to, int64_t plane, int64_t tile, float *scratch) {
    const int64_t pixels = s->h * s->w, first = group * LANES;
    const int64_t channels = fnn_max64(fnn_min64(LANES, s->channels - first), 0);
    while (lo < hi) {
        const fnn_winograd_rectangle r = fnn_winograd_next(s, lo, hi);
        const fnn_winograd_in in = {
            .x = channels == 0 ? x : x + (r.image * s->channels + first) * pixels,
            .channels = channels,
            .x_channel = pixels,
            .h = s->h,
            .w = s->w,
            .y0 = cut->step * r.row - s->top,
            .x0 = cut->step * r.col - s->left,
            .rows = r.rows,
            .cols = r.cols,
            .to = to,
            .plane = plane,
            .tile = tile,
            .scratch = scratch,
        };
        cut->run(&in);
        lo += r.rows * r.cols;
        to += r.rows * r.cols * tile;
    }
}

/* Results of tiles lo to hi, a panel of them. */
static void put_out(const job *j, int64_t panel, int64_t lo, int64_t hi, const float *m,
                    int64_t plane, float *scratch) {
    const int64_t width = fnn_winograd_width(j->co, panel), pixels = j->oh * j->ow;
    const fnn_conv_epilogue *e = j->epilogue;
    const fnn_winograd_join *join = &j->form->results[j->turned];
    while (lo < hi) {
        const fnn_winograd_rectangle r = fnn_winograd_next(&j->side, lo, hi);
        for (int64_t half = 0; half < width; half += LANES) {
            const int64_t o = panel * WIDTH + half;
            const int64_t at = (r.image * j->co + o) * pixels;
#define OF(p, k) ((p) == NULL ? NULL : (const float *)(p) + (k))
            const fnn_winograd_out out = {
                .from = m + half,
                .plane = plane,
                .tile = width,
                .y = j->result + at,
                .residual = OF(e->residual, at),
                .channels = fnn_min64(LANES, j->co - o),
                .y_channel = pixels,
                .h = j->oh,
                .w = j->ow,
                .y0 = join->step * r.row - j->above,
                .x0 = join->step * r.col - j->before,
                .rows = r.rows,
                .cols = r.cols,
                .bias = OF(e->bias, o),
                .scale = OF(e->scale, o),
                .shift = OF(e->shift, o),
                .act = e->act,
                .scratch = scratch,
            };
#undef OF
            join->run(&out);
        }
        lo += r.rows * r.cols;
        m += r.rows * r.cols * width;
    }
}

/* ---- filters ---------------------------------------------------------------------- */

/* A block of a panel of U. */
static void make_filters(const job *j, int64_t panel, int64_t block, float *u,
                         float *scratch) {
    const int64_t width = fnn_winograd_width(j->co, panel);
    const int64_t first = block * FNN_WINOGRAD_BLOCK;
    for (int64_t half = 0; half < width; half += LANES) {
        const int64_t o = panel * WIDTH + half;
        const fnn_winograd_filters f = {
            .weight = j->weight + o * j->lane + first * j->next,
            .lanes = fnn_min64(LANES, j->co - o),
            .c = fnn_min64(FNN_WINOGRAD_BLOCK, j->side.channels - first),
            .lane = j->lane,
            .next = j->next,
            .turned = j->turned,
            .to = u + half,
            .plane = u_plane(block_groups(j, block), width),
            .row = width,
            .scratch = scratch,
        };
        j->form->filters(&f);
    }
}

static float *place_of(const job *j, int64_t panel, int64_t block) {
    const int64_t width = fnn_winograd_width(j->co, panel);
    return j->u + panel * panel_size(j, WIDTH) +
           block * POINTS * u_plane(FNN_WINOGRAD_GROUPS, width);
}

static float *own_memory(const job *j, int64_t worker) {
    return j->own + worker * j->each;
}

static void share_filters(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const int64_t tasks = j->panels * j->blocks;
    for (int64_t worker = lo; worker < hi; worker++) {
        for (int64_t i = worker * tasks / j->workers;
             i < (worker + 1) * tasks / j->workers; i++) {
            const int64_t panel = i / j->blocks, block = i % j->blocks;
            make_filters(j, panel, block, place_of(j, panel, block),
                         own_memory(j, worker));
        }
    }
}

/* ---- products --------------------------------------------------------------------- */

/* A block of inputs: M of `tiles` (+)= V U. */
static void multiply(const job *j, int64_t block, int64_t width, int64_t tiles,
                     const float *v, const float *u, float *m) {
    const int64_t mr = j->form->mr, pieces = fnn_ceil_div(tiles, mr);
    const int64_t groups = block_groups(j, block);
    const int64_t v_plane = fnn_winograd_plane(j->groups * tiles);
    const int64_t m_plane = fnn_winograd_plane(tiles * width / LANES);
    v += block * FNN_WINOGRAD_GROUPS * tiles * LANES;
    fnn_winograd_product p = {
        .width = width, .outer = groups, .next = tiles * LANES, .first = block == 0};
    for (int64_t point = 0; point < j->points; point++) {
        p.b = u + fnn_winograd_filter(j->form, point) * u_plane(groups, width);
        int64_t at = 0;
        for (int64_t i = 0; i < pieces; i++, at += p.m) {
            p.m = tiles / pieces + (i < tiles % pieces);
            p.a = v + point * v_plane + at * LANES;
            p.c = m + point * m_plane + at * width;
            j->form->product(&p);
        }
    }
}

static void run_tiles(void *context, int64_t first, int64_t last) {
    const job *j = context;
    const int64_t tasks = fnn_ceil_div(j->tiles, j->block);
    for (int64_t worker = first; worker < last; worker++) {
        float *scratch = own_memory(j, worker);
        float *m = scratch + FNN_WINOGRAD_SCRATCH, *v = m + j->m_size;
        for (int64_t i = worker * tasks / j->workers;
             i < (worker + 1) * tasks / j->workers; i++) {
            const int64_t lo = i * j->block;
            const int64_t hi = fnn_min64(lo + j->block, j->tiles);
            for (int64_t group = 0; group < j->groups; group++) {
                fnn_winograd_transform(
                    &j->side, j->a, group, lo, hi, &j->form->patches[j->turned],
                    v + group * (hi - lo) * LANES,
                    fnn_winograd_plane(j->groups * (hi - lo)), LANES, scratch);
            }
            for (int64_t panel = 0; panel < j->panels; panel++) {
                const int64_t width = fnn_winograd_width(j->co, panel);
                for (int64_t block = 0; block < j->blocks; block++) {
                    multiply(j, block, width, hi - lo, v, place_of(j, panel, block), m);
                }
                put_out(j, panel, lo, hi, m,
                        fnn_winograd_plane((hi - lo) * width / LANES), scratch);
            }
        }
    }
}

/* V of all tiles at work. */
static void share_images(void *context, int64_t first, int64_t last) {
    const job *j = context;
    const int64_t tiles = j->hi - j->lo;
    for (int64_t worker = first; worker < last; worker++) {
        /* Workers split what is longer. */
        const bool by_group = j->groups >= j->workers;
        const int64_t n = by_group ? j->groups : tiles;
        const int64_t from = worker * n / j->workers;
        const int64_t to = (worker + 1) * n / j->workers;
        const int64_t lo = by_group ? 0 : from, hi = by_group ? tiles : to;
        for (int64_t group = by_group ? from : 0; group < (by_group ? to : j->groups);
             group++) {
            fnn_winograd_transform(
                &j->side, j->a, group, j->lo + lo, j->lo + hi,
                &j->form->patches[j->turned], j->v + (group * tiles + lo) * LANES,
                fnn_winograd_plane(j->groups * tiles), LANES, own_memory(j, worker));
        }
    }
}

static void run_panels(void *context, int64_t first, int64_t last) {
    const job *j = context;
    const int64_t tiles = j->hi - j->lo;
    for (int64_t worker = first; worker < last; worker++) {
        float *scratch = own_memory(j, worker);
        float *m = scratch + FNN_WINOGRAD_SCRATCH, *u = m + j->m_size;
        for (int64_t panel = worker * j->panels / j->workers;
             panel < (worker + 1) * j->panels / j->workers; panel++) {
            const int64_t width = fnn_winograd_width(j->co, panel);
            for (int64_t block = 0; block < j->blocks; block++) {
                make_filters(j, panel, block, u, scratch);
                multiply(j, block, width, tiles, j->v, u, m);
            }
            put_out(j, panel, j->lo, j->hi, m,
                    fnn_winograd_plane(tiles * width / LANES), scratch);
        }
    }
}

void fnn_winograd_run(const fnn_conv_args *g, fnn_conv_direction way, const void *a,
                      const void *b, void *result, void *workspace) {
    if (way == FNN_CONV_WEIGHT) {
        fnn_winograd_weight_run(g, a, b, result, workspace);
        return;
    }
    job j = plan(g, way == FNN_CONV_INPUT);
    if (j.tiles == 0 || j.co == 0) {
        return;
    }
    float *next = workspace;
    j.a = a, j.weight = b, j.result = result;
    if (j.outside) {
        j.v = next, next += j.v_size;
    } else {
        j.u = next, next += j.u_size;
    }
    j.own = next;
    if (!j.outside) {
        fnn_parallel_for(j.workers, 1, share_filters, &j);
        fnn_parallel_for(j.workers, 1, run_tiles, &j);
        return;
    }
    for (; j.lo < j.tiles; j.lo = j.hi) {
        j.hi = fnn_min64(j.lo + j.block, j.tiles);
        fnn_parallel_for(j.workers, 1, share_images, &j);
        fnn_parallel_for(j.workers, 1, run_panels, &j);
    }
}
