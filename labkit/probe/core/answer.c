/* SPDX-License-Identifier: BSD-3-Clause */
#include "answer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void write_line(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    size_t length;
    size_t done = 0;

    json_decref(object);
    if (text == NULL) {
        /* The controller would block forever; exit so that it sees EOF. */
        (void)fputs("labkit-probe: out of memory for an answer\n", stderr);
        _exit(1);
    }
    length = strlen(text);
    text[length++] = '\n'; /* in place of the terminator: written by length */
    (void)pthread_mutex_lock(&mutex);
    while (done < length) {
        ssize_t n = write(STDOUT_FILENO, text + done, length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            _exit(1); /* nobody listens any more */
        done += (size_t)n;
    }
    (void)pthread_mutex_unlock(&mutex);
    free(text);
}

void answer_result(json_int_t id, json_t *result)
{
    struct error err;

    if (result == NULL) {
        error_set(&err, "internal", "out of memory for an answer");
        answer_error(&id, &err);
        return;
    }
    write_line(json_pack("{s:I, s:b, s:o}", "id", id, "ok", 1, "result", result));
}

void answer_error(const json_int_t *id, const struct error *err)
{
    json_t *detail =
        json_pack("{s:s, s:s%}", "code", err->code, "message", err->message, strlen(err->message));

    /* A message may quote bytes that are cut in the middle of a character. */
    if (detail == NULL)
        detail = json_pack("{s:s, s:s}", "code", err->code, "message", "(the message was not valid UTF-8)");
    write_line(
        json_pack("{s:o, s:b, s:o}", "id", id ? json_integer(*id) : json_null(), "ok", 0, "error", detail));
}
