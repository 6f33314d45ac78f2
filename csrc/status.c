/* Failures: a status to branch on, and a sentence for the caller to read. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>

fnn_status fnn_fail(fnn_error *err, fnn_status status, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}
