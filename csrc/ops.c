/* The op table made from ops.def, and the library's start. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "conv/conv.h"
#include "cpu.h"
#include "kernels.h"
#include "ops/ops.h"

static fnn_op table[FNN_N_OPS] = {
#define OP(op_name, ins, outs, attrs, infer_fn, workspace_fn, run_fn, kernel_row, \
           op_flags)                                                              \
    [FNN_OP_##op_name] = {                                                        \
        .name = #op_name,                                                         \
        .inputs = ins,                                                            \
        .outputs = outs,                                                          \
        .attributes = attrs,                                                      \
        .infer = infer_fn,                                                        \
        .workspace = workspace_fn,                                                \
        .run = {run_fn},                                                          \
        .kernel = kernel_row,                                                     \
        .flags = op_flags,                                                        \
    },
#include "ops.def"
#undef OP
};

fnn_op *fnn_ops(void) { return table; }

/* The next space-separated word of *s into word; false at the end. */
static bool next_word(const char **s, char *word, size_t size) {
    const char *p = *s;
    while (*p == ' ') {
        p++;
    }
    size_t n = 0;
    while (*p != ' ' && *p != '\0') {
        if (n + 1 < size) {
            word[n++] = *p;
        }
        p++;
    }
    word[n] = '\0';
    *s = p;
    return n > 0;
}

int fnn_first(const fnn_call *c, int input) {
    int at = 0;
    for (int k = 0; k < input; k++) {
        at += c->op->many >> k & 1 ? c->count : 1;
    }
    return at;
}

int fnn_input_of(const fnn_call *c, int i) {
    int input = 0;
    for (; input + 1 < c->op->n_in; input++) {
        int n = c->op->many >> input & 1 ? c->count : 1;
        if (i < n) {
            break;
        }
        i -= n;
    }
    return input;
}

static void parse_op(fnn_op *op) {
    char word[64];
    const char *s = op->inputs;
    while (next_word(&s, word, sizeof word)) {
        uint32_t bit = 1u << op->n_in++;
        op->optional |= strchr(word, '?') ? bit : 0;
        op->writes |= strchr(word, '!') ? bit : 0;
        op->many |= strchr(word, '*') ? bit : 0;
        op->min_in += !strchr(word, '?');
    }
    s = op->outputs;
    while (next_word(&s, word, sizeof word)) {
        op->n_out++;
    }
    s = op->attributes;
    while (next_word(&s, word, sizeof word)) {
        fnn_attr_spec *a = &op->attr[op->n_attr++];
        char *kind = strchr(word, ':');
        *kind++ = '\0';
        char *value = strchr(kind, '=');
        if (value) {
            *value++ = '\0';
            a->has_default = true;
            a->default_value = atof(value);
        }
        memset(a->name, 0, sizeof a->name);
        memcpy(a->name, word, strnlen(word, sizeof a->name - 1));
        a->kind = strcmp(kind, "int") == 0     ? FNN_ATTR_INT
                  : strcmp(kind, "float") == 0 ? FNN_ATTR_FLOAT
                  : strcmp(kind, "bool") == 0  ? FNN_ATTR_BOOL
                                               : FNN_ATTR_INTS;
    }
}

fnn_status fnn_init(fnn_error *err) {
    static bool done = false;
    if (done) {
        return FNN_OK;
    }
    FNN_TRY(fnn_dispatch_init(err));
    FNN_TRY(fnn_parallel_init(err));
    FNN_TRY(fnn_memory_init(err));
    for (int i = 0; i < FNN_N_OPS; i++) {
        parse_op(&table[i]);
    }
    done = true;
    return FNN_OK;
}
