/* What recurrent cells do beside their products, one step forward or backward. See
 * kernels.h; the order of gates is PyTorch's. */

#ifndef FNN_CELL_LOOPS
#define FNN_CELL_LOOPS
/* Each row by whole vectors, then what is left: BODY(LOAD, STORE) reads and writes lanes j
 * to j + w - 1. */
#define CELL_ROWS(s, BODY)                            \
    for (ptrdiff_t i = 0; i < (s)->rows; i++) {       \
        ptrdiff_t j = 0;                              \
        for (; j + LANES <= (s)->units; j += LANES) { \
            BODY(CELL_WHOLE, CELL_PUT_WHOLE)          \
        }                                             \
        if (j < (s)->units) {                         \
            const ptrdiff_t w = (s)->units - j;       \
            BODY(CELL_PART, CELL_PUT_PART)            \
        }                                             \
    }
#define CELL_WHOLE(p) v_load((const T *)(p) + j)
#define CELL_PART(p) v_loadn((const T *)(p) + j, w)
#define CELL_PUT_WHOLE(p, v) v_store((T *)(p) + j, v)
#define CELL_PUT_PART(p, v) v_storen((T *)(p) + j, v, w)
#endif

/* ---- forward --------------------------------------------------------------------- */

#define CELL_FETCH(gates)                                                    \
    for (int k = 0; k < (gates); k++) { /* to L2: rows may be pages apart */ \
        __builtin_prefetch(x + s->ahead + k * g + j, 0, 2);                  \
    }
#define CELL_SUM(LOAD, k) \
    v_add(v_add(LOAD(x + (k) * g), LOAD(bias + (k) * g)), LOAD(z + (k) * zg))
#define CELL_STATE(STORE, h)                        \
    STORE((T *)s->y + i * s->y_row, h);             \
    if (s->state != NULL) {                         \
        STORE((T *)s->state + i * s->state_row, h); \
    }

/* h = act(x + bias + z) */
static void FNN_NAME(rnn_cell)(const fnn_cell *s) {
    const bool relu = s->act == FNN_ACT_RELU;
    const ptrdiff_t g = s->gate, zg = s->z_gate;
    const T *bias = s->bias;
#define BODY(LOAD, STORE)                         \
    const T *z = (const T *)s->z + i * s->z_row;  \
    const T *x = (const T *)s->x + i * s->x_row;  \
    CELL_FETCH(1)                                 \
    const V sum = CELL_SUM(LOAD, 0);              \
    const V h = relu ? m_relu(sum) : m_tanh(sum); \
    CELL_STATE(STORE, h)
    CELL_ROWS(s, BODY)
#undef BODY
}

/* r, u = sigmoid(x + bias + z), n = tanh(x + bias + r (z + its bias)), h = n + u (h - n) */
static void FNN_NAME(gru_cell)(const fnn_cell *s) {
    const ptrdiff_t g = s->gate, zg = s->z_gate;
    const T *bias = s->bias;
#define BODY(LOAD, STORE)                                                       \
    const T *z = (const T *)s->z + i * s->z_row;                                \
    const T *x = (const T *)s->x + i * s->x_row;                                \
    CELL_FETCH(3)                                                               \
    const V r = m_sigmoid(CELL_SUM(LOAD, 0)), u = m_sigmoid(CELL_SUM(LOAD, 1)); \
    const V hidden = v_add(LOAD(z + 2 * zg), LOAD(bias + 3 * g));               \
    const V own = v_add(LOAD(x + 2 * g), LOAD(bias + 2 * g));                   \
    const V n = m_tanh(v_fma(r, hidden, own));                                  \
    const V before = LOAD((const T *)s->h + i * s->h_row);                      \
    const V h = v_fma(u, v_sub(before, n), n);                                  \
    CELL_STATE(STORE, h)                                                        \
    if (s->gates != NULL) {                                                     \
        T *to = (T *)s->gates + i * s->gates_row;                               \
        STORE(to, r);                                                           \
        STORE(to + g, u);                                                       \
        STORE(to + 2 * g, n);                                                   \
        STORE(to + 3 * g, hidden);                                              \
    }
    CELL_ROWS(s, BODY)
#undef BODY
}

/* i, f, o = sigmoid(x + bias + z), g = tanh of that, c = f c + i g, h = o tanh(c) */
static void FNN_NAME(lstm_cell)(const fnn_cell *s) {
    const ptrdiff_t g = s->gate, zg = s->z_gate;
    const T *bias = s->bias;
#define BODY(LOAD, STORE)                                                             \
    const T *z = (const T *)s->z + i * s->z_row;                                      \
    const T *x = (const T *)s->x + i * s->x_row;                                      \
    T *cells = (T *)s->c + i * s->c_row;                                              \
    CELL_FETCH(4)                                                                     \
    const V in = m_sigmoid(CELL_SUM(LOAD, 0)), forget = m_sigmoid(CELL_SUM(LOAD, 1)); \
    const V new = m_tanh(CELL_SUM(LOAD, 2)), out = m_sigmoid(CELL_SUM(LOAD, 3));      \
    const V before = LOAD(cells);                                                     \
    const V c = v_fma(forget, before, v_mul(in, new));                                \
    const V h = v_mul(out, m_tanh(c));                                                \
    STORE(cells, c);                                                                  \
    CELL_STATE(STORE, h)                                                              \
    if (s->gates != NULL) {                                                           \
        T *to = (T *)s->gates + i * s->gates_row;                                     \
        STORE(to, in);                                                                \
        STORE(to + g, forget);                                                        \
        STORE(to + 2 * g, new);                                                       \
        STORE(to + 3 * g, out);                                                       \
        STORE((T *)s->before + i * s->c_row, before);                                 \
    }
    CELL_ROWS(s, BODY)
#undef BODY
}
#undef CELL_FETCH
#undef CELL_SUM
#undef CELL_STATE

/* ---- backward -------------------------------------------------------------------- */

/* The next row is fetched while this one is computed. */
#define CELL_TOTAL(LOAD)                                \
    V total = LOAD((const T *)s->gh + i * s->gh_row);   \
    if (s->gy != NULL) {                                \
        const T *gy = (const T *)s->gy + i * s->gy_row; \
        __builtin_prefetch(gy + s->gy_row + j);         \
        total = v_add(LOAD(gy), total);                 \
    }
#define CELL_GATES                                            \
    const T *gates = (const T *)s->gates + i * s->gates_row;  \
    T *to = (T *)s->gz + i * s->gz_row;                       \
    for (int k = 0; k < 4; k++) {                             \
        __builtin_prefetch(gates + s->gates_row + k * g + j); \
        __builtin_prefetch(to + s->gz_row + k * g + j, 1);    \
    }

/* gz = total (1 - h^2), or total where h > 0 */
static void FNN_NAME(rnn_cell_back)(const fnn_cell_back *s) {
    const bool relu = s->act == FNN_ACT_RELU;
    const V one = v_set1(1), zero = v_zero();
#define BODY(LOAD, STORE)                             \
    CELL_TOTAL(LOAD)                                  \
    const V h = LOAD((const T *)s->h + i * s->h_row); \
    const V slope = v_fnma(h, h, one);                \
    STORE((T *)s->gz + i * s->gz_row,                 \
          relu ? v_sel(v_le(h, zero), zero, total) : v_mul(total, slope));
    CELL_ROWS(s, BODY)
#undef BODY
}

static void FNN_NAME(gru_cell_back)(const fnn_cell_back *s) {
    const ptrdiff_t g = s->gate;
    const V one = v_set1(1);
#define BODY(LOAD, STORE)                                                        \
    CELL_TOTAL(LOAD)                                                             \
    CELL_GATES                                                                   \
    const V r = LOAD(gates), u = LOAD(gates + g);                                \
    const V n = LOAD(gates + 2 * g), hidden = LOAD(gates + 3 * g);               \
    const V before = LOAD((const T *)s->h + i * s->h_row);                       \
    const V gn = v_mul(v_mul(total, v_sub(one, u)), v_fnma(n, n, one));          \
    const V gu = v_mul(v_mul(total, v_sub(before, n)), v_mul(u, v_sub(one, u))); \
    const V gr = v_mul(v_mul(gn, hidden), v_mul(r, v_sub(one, r)));              \
    STORE(to, gn);                                                               \
    STORE(to + g, gr);                                                           \
    STORE(to + 2 * g, gu);                                                       \
    STORE(to + 3 * g, v_mul(gn, r));                                             \
    STORE((T *)s->direct + i * s->gh_row, v_mul(total, u));
    CELL_ROWS(s, BODY)
#undef BODY
}

static void FNN_NAME(lstm_cell_back)(const fnn_cell_back *s) {
    const ptrdiff_t g = s->gate;
    const V one = v_set1(1);
#define BODY(LOAD, STORE)                                                       \
    CELL_TOTAL(LOAD)                                                            \
    CELL_GATES                                                                  \
    const V in = LOAD(gates), forget = LOAD(gates + g);                         \
    const V new = LOAD(gates + 2 * g), out = LOAD(gates + 3 * g);               \
    const T *was = (const T *)s->before + i * s->gc_row;                        \
    __builtin_prefetch(was + s->gc_row + j);                                    \
    const V before = LOAD(was);                                                 \
    T *cells = (T *)s->gc + i * s->gc_row;                                      \
    const V t = m_tanh(v_fma(forget, before, v_mul(in, new)));                  \
    const V gc = v_fma(v_mul(total, out), v_fnma(t, t, one), LOAD(cells));      \
    STORE(to, v_mul(v_mul(gc, new), v_mul(in, v_sub(one, in))));                \
    STORE(to + g, v_mul(v_mul(gc, before), v_mul(forget, v_sub(one, forget)))); \
    STORE(to + 2 * g, v_mul(v_mul(gc, in), v_fnma(new, new, one)));             \
    STORE(to + 3 * g, v_mul(v_mul(total, t), v_mul(out, v_sub(one, out))));     \
    STORE(cells, v_mul(gc, forget));
    CELL_ROWS(s, BODY)
#undef BODY
}
#undef CELL_TOTAL
#undef CELL_GATES
