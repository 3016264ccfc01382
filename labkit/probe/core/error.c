/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors as the protocol answers them: a code for programs, a sentence for people. */
#include <stdarg.h>
#include <stdio.h>

#include "io.h"

void error_set(struct error *err, const char *code, const char *format, ...)
{
    va_list arguments;

    (void)snprintf(err->code, sizeof(err->code), "%s", code);
    va_start(arguments, format);
    (void)vsnprintf(err->message, sizeof(err->message), format, arguments);
    va_end(arguments);
}
