/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines from a file descriptor, bounded: one that is too long is skipped whole and reported once. */
#ifndef LABKIT_LINE_READER_H
#define LABKIT_LINE_READER_H

#include <stdbool.h>
#include <stddef.h>

enum line_status { LINE_READY, LINE_TOO_LONG, LINE_END, LINE_ERROR };

struct line_reader {
    int fd;
    char *buffer;
    size_t capacity; /* longest line, newline included */
    size_t filled;
    size_t consumed;
    bool skipping;
};

/* Returns 0, or -1 when out of memory. */
int line_reader_init(struct line_reader *reader, int fd, size_t line_max);
void line_reader_free(struct line_reader *reader);
/* On LINE_READY *line (not terminated, newline cut) is good until the next call. A last line without a
 * newline counts. LINE_ERROR: errno says why. */
enum line_status line_reader_next(struct line_reader *reader, const char **line, size_t *length);

#endif
