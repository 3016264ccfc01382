/* SPDX-License-Identifier: BSD-3-Clause */
#include "message.h"

#include <stdlib.h>

uint8_t *message_room(struct message_reader *reader, uint32_t *bytes)
{
    uint32_t left = reader->end - reader->begin;

    if (left == 0) {
        reader->begin = reader->end = 0;
    } else if (reader->begin > 0) {
        memmove(reader->data, reader->data + reader->begin, left);
        reader->begin = 0;
        reader->end = left;
    }
    *bytes = reader->capacity - reader->end;
    return reader->data + reader->end;
}

bool message_queue_add(struct message_queue *queue, const uint8_t *data, uint32_t bytes)
{
    uint32_t left = message_queued(queue);

    if (queue->data == NULL)
        queue->data = malloc(queue->capacity);
    if (queue->data == NULL || bytes > queue->capacity - left)
        return false;
    if (bytes > queue->capacity - queue->end) {
        memmove(queue->data, queue->data + queue->begin, left);
        queue->begin = 0;
        queue->end = left;
    }
    memcpy(queue->data + queue->end, data, bytes);
    queue->end += bytes;
    return true;
}

void message_queue_written(struct message_queue *queue, uint32_t bytes)
{
    queue->begin += bytes;
    if (queue->begin == queue->end)
        queue->begin = queue->end = 0;
}
