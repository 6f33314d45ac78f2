/* Winograd convolution, weight gradient: see winograd.h.
 *
 * For each point, tiles of x (V) times tiles of gy (Y), summed over tiles of all images,
 * and over points that meet the same point of the filter:
 *     S [panel][16 inputs][point][input][32]
 * which is transformed once, at the end. Y lies as [point][panel][tile][32]. Tiles come in
 * parts for which L3 has room, whole chains each; threads share the transforms and then
 * the sums, never a sum's tiles. Where one part is all, each block of S, 16 inputs by a
 * panel, becomes gradients at once, and S is never in memory. */
#include "conv/winograd.h"

#define POINTS FNN_WINOGRAD_POINTS
#define LANES FNN_WINOGRAD_LANES
#define WIDTH FNN_WINOGRAD_WIDTH
#define CHAIN FNN_WINOGRAD_CHAIN
#define STEPS FNN_WINOGRAD_STEPS

#define PART_BYTES (4 << 20) /* of V and Y */
#define SERIAL (1 << 18)     /* multiply-adds below which one thread does it all */

typedef struct {
    const fnn_winograd *form;
    int64_t points; /* of a tile */
    fnn_winograd_side x, gy;
    int64_t tiles, part; /* all, and those of a part */
    int64_t x_groups, gy_groups, panels;
    int64_t x_plane, gy_plane, s_plane; /* elements */
    int64_t sums;                       /* elements of a block of S */
    int64_t workers, each;
    bool once; /* one part is all */
    const float *a, *b;
    float *gw, *v, *y, *s, *own;
    int64_t lo, hi; /* of the part at work */
} job;

static job plan(const fnn_conv_args *g) {
    const int64_t span = fnn_winograd_span(g);
    job j = {.form = fnn_winograd_form(g),
             .x = {g->n, g->ci, g->h, g->w, g->top, g->left, 0, 0, span},
             .gy = {g->n, g->co, g->oh, g->ow, 0, 0, 0, 0, span}};
    j.points = j.form->side * j.form->side;
    j.x.rows = j.gy.rows = fnn_ceil_div(g->oh, 4);
    j.x.cols = j.gy.cols = fnn_ceil_div(g->ow, 4);
    j.tiles = g->n * j.x.rows * j.x.cols;
    j.x_groups = fnn_winograd_groups(g->ci);
    j.gy_groups = fnn_winograd_groups(g->co);
    j.panels = fnn_winograd_panels(g->co);
    const int64_t chain =
        CHAIN * j.points * LANES * (j.x_groups + j.gy_groups) * (int64_t)sizeof(float);
    const int64_t all = fnn_ceil_div(j.tiles, STEPS) * STEPS; /* filled with 0 */
    j.part = fnn_min64(CHAIN * fnn_max64(PART_BYTES / chain, 1), all);
    j.once = j.part >= j.tiles;
    j.x_plane = fnn_winograd_plane(j.x_groups * j.part);
    j.gy_plane = fnn_winograd_plane(j.gy_groups * j.part);
    j.s_plane = fnn_winograd_plane(LANES * WIDTH / LANES);
    j.sums = POINTS * j.s_plane;
    const double work = (double)(j.tiles * j.points) * (double)(g->co * g->ci);
    j.workers = work < SERIAL ? 1 : g->threads;
    j.workers = fnn_max64(fnn_min64(j.workers, j.panels * j.x_groups), 1);
    j.each = FNN_WINOGRAD_SCRATCH + (j.once ? j.sums : 0);
    return j;
}

int64_t fnn_winograd_weight_workspace(const fnn_conv_args *g) {
    const job j = plan(g);
    const int64_t sums = j.once ? 0 : j.panels * j.x_groups * j.sums;
    return (j.points * (j.x_plane + j.gy_plane) + sums + j.workers * j.each) *
           (int64_t)sizeof(float);
}

/* Where panel's tiles begin within a plane of Y. */
static float *panel_of(const job *j, int64_t panel) {
    return j->y + panel * j->part * WIDTH;
}

static void fill(const job *j, float *to, int64_t plane, int64_t tile, int64_t lo,
                 int64_t hi) {
    for (int64_t point = 0; point < j->points; point++) {
        for (int64_t t = lo; t < hi; t++) {
            memset(to + point * plane + t * tile, 0, LANES * sizeof(float));
        }
    }
}

/* V and Y of a part; then zeros up to whole steps of the product. */
static void share_images(void *context, int64_t first, int64_t last) {
    const job *j = context;
    const int64_t n = j->x_groups + j->gy_groups, tiles = j->hi - j->lo;
    const int64_t filled = fnn_ceil_div(tiles, STEPS) * STEPS;
    for (int64_t worker = first; worker < last; worker++) {
        float *scratch = j->own + worker * j->each;
        for (int64_t i = worker * n / j->workers; i < (worker + 1) * n / j->workers;
             i++) {
            if (i < j->x_groups) {
                float *to = j->v + i * j->part * LANES;
                fnn_winograd_transform(&j->x, j->a, i, j->lo, j->hi,
                                       &j->form->patches[0], to, j->x_plane, LANES,
                                       scratch);
                fill(j, to, j->x_plane, LANES, tiles, filled);
            } else {
                const int64_t group = i - j->x_groups, panel = group / 2;
                const int64_t width = fnn_winograd_width(j->gy.channels, panel);
                float *to = panel_of(j, panel) + group % 2 * LANES;
                fnn_winograd_transform(&j->gy, j->b, group, j->lo, j->hi,
                                       &j->form->tiles, to, j->gy_plane, width,
                                       scratch);
                fill(j, to, j->gy_plane, width, tiles, filled);
            }
        }
    }
}

static void add_up(const job *j, int64_t panel, int64_t group, float *s) {
    const int64_t width = fnn_winograd_width(j->gy.channels, panel);
    const int64_t tiles = j->hi - j->lo;
    fnn_winograd_product p = {.m = LANES, .width = width, .next = STEPS * LANES};
    for (int64_t t = 0; t < tiles; t += CHAIN) {
        p.outer = fnn_ceil_div(fnn_min64(CHAIN, tiles - t), STEPS);
        int64_t met = 0; /* points of the filter so far */
        for (int64_t point = 0; point < j->points; point++) {
            const int64_t filter = fnn_winograd_filter(j->form, point);
            p.a = j->v + point * j->x_plane + (group * j->part + t) * LANES;
            p.b = panel_of(j, panel) + point * j->gy_plane + t * width;
            p.c = s + filter * j->s_plane;
            p.first = j->lo + t == 0 && filter == met;
            met += filter == met;
            j->form->turned(&p);
        }
    }
}

static void put_gradient(const job *j, int64_t panel, int64_t group, const float *s,
                         float *scratch) {
    const int64_t width = fnn_winograd_width(j->gy.channels, panel);
    for (int64_t half = 0; half < width; half += LANES) {
        const int64_t o = panel * WIDTH + half, c = group * LANES;
        const fnn_winograd_gradient out = {
            .from = s + half,
            .plane = j->s_plane,
            .row = width,
            .weight = j->gw + (o * j->x.channels + c) * 9,
            .lanes = fnn_min64(LANES, j->gy.channels - o),
            .channels = fnn_min64(LANES, j->x.channels - c),
            .lane = j->x.channels * 9,
            .scratch = scratch,
        };
        j->form->gradient(&out);
    }
}

static void share_sums(void *context, int64_t first, int64_t last) {
    const job *j = context;
    const int64_t n = j->panels * j->x_groups;
    for (int64_t worker = first; worker < last; worker++) {
        float *scratch = j->own + worker * j->each;
        for (int64_t i = worker * n / j->workers; i < (worker + 1) * n / j->workers;
             i++) {
            float *s = j->once ? scratch + FNN_WINOGRAD_SCRATCH : j->s + i * j->sums;
            const int64_t panel = i / j->x_groups, group = i % j->x_groups;
            add_up(j, panel, group, s);
            if (j->hi == j->tiles) {
                put_gradient(j, panel, group, s, scratch);
            }
        }
    }
}

void fnn_winograd_weight_run(const fnn_conv_args *g, const float *x, const float *gy,
                             float *gw, float *workspace) {
    job j = plan(g);
    if (g->ci == 0 || g->co == 0) {
        return;
    }
    if (j.tiles == 0) {
        memset(gw, 0, (size_t)(g->co * g->ci * 9) * sizeof(float));
        return;
    }
    j.a = x, j.b = gy, j.gw = gw;
    j.v = workspace;
    j.y = j.v + j.points * j.x_plane;
    j.s = j.y + j.points * j.gy_plane;
    j.own = j.s + (j.once ? 0 : j.panels * j.x_groups * j.sums);
    for (; j.lo < j.tiles; j.lo = j.hi) {
        j.hi = fnn_min64(j.lo + j.part, j.tiles);
        fnn_parallel_for(j.workers, 1, share_images, &j);
        fnn_parallel_for(j.workers, 1, share_sums, &j);
    }
}
