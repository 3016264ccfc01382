/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages in a byte stream: the signature, the message's length (32 bits, network byte order), the rest.
 * Pure: a reader that finds them in bytes that came in pieces of any size, and a queue of bytes that could
 * not be written yet.
 */
#ifndef LABKIT_MESSAGE_H
#define LABKIT_MESSAGE_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "io.h"
#include "signature.h"

#define MESSAGE_LENGTH_OFFSET SIGNATURE_BYTES
#define MESSAGE_BYTES_MIN (SIGNATURE_BYTES + 4U)
#define MESSAGE_BYTES_MAX ((uint32_t)IO_FRAME_MAX)

static inline uint32_t message_length(const uint8_t *message)
{
    uint32_t length;

    memcpy(&length, message + MESSAGE_LENGTH_OFFSET, sizeof(length));
    return be32toh(length);
}

struct message_reader {
    uint8_t *data;
    uint32_t capacity; /* at least MESSAGE_BYTES_MAX */
    uint32_t begin;    /* of what was read and not handed out */
    uint32_t end;
};

enum message_state { MESSAGE_NONE, MESSAGE_READY, MESSAGE_BROKEN };

/* The next whole message. BROKEN: no message begins where one must; nothing in this stream means anything any
 * more. It stays where it is until the next message_room. */
static inline enum message_state message_next(struct message_reader *reader, uint8_t **message,
                                              uint32_t *length)
{
    uint32_t left = reader->end - reader->begin;

    if (left < MESSAGE_BYTES_MIN)
        return MESSAGE_NONE;
    *message = reader->data + reader->begin;
    *length = message_length(*message);
    if (*length < MESSAGE_BYTES_MIN || *length > MESSAGE_BYTES_MAX)
        return MESSAGE_BROKEN;
    if (left < *length)
        return MESSAGE_NONE;
    reader->begin += *length;
    return MESSAGE_READY;
}

/* Where the next bytes of the stream belong, and how many there is room for: never none once all whole
 * messages were handed out. Moves what is left of them to the front. */
uint8_t *message_room(struct message_reader *reader, uint32_t *bytes);

struct message_queue {
    uint8_t *data; /* NULL until something had to wait */
    uint32_t capacity;
    uint32_t begin;
    uint32_t end;
};

static inline uint32_t message_queued(const struct message_queue *queue)
{
    return queue->end - queue->begin;
}

/* Takes all of it, or nothing: false where there is no room, or no memory. */
bool message_queue_add(struct message_queue *queue, const uint8_t *data, uint32_t bytes);
/* So many bytes of its front were written. */
void message_queue_written(struct message_queue *queue, uint32_t bytes);

#endif
