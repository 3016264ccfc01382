/* SPDX-License-Identifier: BSD-3-Clause */
#include "line_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int line_reader_init(struct line_reader *reader, int fd, size_t line_max)
{
    memset(reader, 0, sizeof(*reader));
    reader->fd = fd;
    reader->capacity = line_max + 1;
    reader->buffer = malloc(reader->capacity);
    return reader->buffer == NULL ? -1 : 0;
}

void line_reader_free(struct line_reader *reader)
{
    free(reader->buffer);
    reader->buffer = NULL;
}

static ssize_t refill(struct line_reader *reader)
{
    ssize_t got;

    if (reader->consumed > 0) {
        memmove(reader->buffer, reader->buffer + reader->consumed, reader->filled - reader->consumed);
        reader->filled -= reader->consumed;
        reader->consumed = 0;
    }
    do {
        got = read(reader->fd, reader->buffer + reader->filled, reader->capacity - reader->filled);
    } while (got < 0 && errno == EINTR);
    if (got > 0)
        reader->filled += (size_t)got;
    return got;
}

enum line_status line_reader_next(struct line_reader *reader, const char **line, size_t *length)
{
    for (;;) {
        char *start = reader->buffer + reader->consumed;
        size_t left = reader->filled - reader->consumed;
        char *newline = left == 0 ? NULL : memchr(start, '\n', left);

        if (newline != NULL) {
            reader->consumed += (size_t)(newline - start) + 1;
            if (reader->skipping) {
                reader->skipping = false;
                return LINE_TOO_LONG;
            }
            *line = start;
            *length = (size_t)(newline - start);
            return LINE_READY;
        }
        if (reader->skipping || left == reader->capacity) {
            reader->skipping = true;
            reader->consumed = reader->filled;
        }

        ssize_t got = refill(reader);
        if (got < 0)
            return LINE_ERROR;
        if (got > 0)
            continue;
        if (reader->skipping) {
            reader->skipping = false;
            return LINE_TOO_LONG;
        }
        if (reader->filled == reader->consumed)
            return LINE_END;
        *line = reader->buffer + reader->consumed;
        *length = reader->filled - reader->consumed;
        reader->consumed = reader->filled;
        return LINE_READY;
    }
}
