/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"
#include "message.h"

#include <stdlib.h>

static uint8_t buffer[4 * MESSAGE_BYTES_MAX];

static void write_message(uint8_t *at, uint32_t length, uint64_t sequence)
{
    uint32_t length_be = htobe32(length);

    memset(at, 0, length);
    signature_write(at, 1, sequence, 0);
    memcpy(at + MESSAGE_LENGTH_OFFSET, &length_be, sizeof(length_be));
}

static void put(struct message_reader *reader, const uint8_t *data, uint32_t bytes)
{
    uint32_t room;
    uint8_t *at = message_room(reader, &room);

    CHECK(room >= bytes);
    memcpy(at, data, bytes);
    reader->end += bytes;
}

/* Whatever the pieces, the same messages come out. */
static void messages_come_out_of_pieces_of_any_size(void)
{
    enum { COUNT = 300 };
    static uint8_t stream[COUNT * 200];
    uint32_t total = 0;

    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t length = MESSAGE_BYTES_MIN + i * 7 % 170;

        write_message(stream + total, length, i);
        total += length;
    }
    for (uint32_t piece = 1; piece < 400; piece += 13) {
        struct message_reader reader = {.data = buffer, .capacity = sizeof(buffer)};
        uint64_t next = 0;

        for (uint32_t at = 0; at < total; at += piece) {
            uint8_t *message;
            uint32_t length;

            put(&reader, stream + at, total - at < piece ? total - at : piece);
            while (message_next(&reader, &message, &length) == MESSAGE_READY) {
                CHECK_EQUAL(signature_read(message).sequence, next);
                CHECK_EQUAL(length, MESSAGE_BYTES_MIN + next * 7 % 170);
                next++;
            }
        }
        CHECK_EQUAL(next, COUNT);
        CHECK_EQUAL(reader.end - reader.begin, 0);
    }
}

static void the_largest_message_always_finds_room(void)
{
    static uint8_t tight[MESSAGE_BYTES_MAX];
    static uint8_t message[MESSAGE_BYTES_MAX];
    struct message_reader reader = {.data = tight, .capacity = sizeof(tight)};
    uint8_t *found;
    uint32_t length = 0;

    write_message(message, MESSAGE_BYTES_MAX, 5);
    for (unsigned round = 0; round < 3; round++) {
        uint32_t done = 0;

        while (done < MESSAGE_BYTES_MAX) {
            uint32_t room;
            uint8_t *at = message_room(&reader, &room);

            CHECK(room > 0);
            if (room > 5000)
                room = 5000;
            memcpy(at, message + done, room);
            reader.end += room;
            done += room;
        }
        CHECK_EQUAL(message_next(&reader, &found, &length), MESSAGE_READY);
        CHECK_EQUAL(length, MESSAGE_BYTES_MAX);
        CHECK_EQUAL(message_next(&reader, &found, &length), MESSAGE_NONE);
    }
}

static void what_is_no_message_breaks_the_stream(void)
{
    const uint32_t wrong[] = {0, MESSAGE_BYTES_MIN - 1, MESSAGE_BYTES_MAX + 1, UINT32_MAX};

    for (unsigned i = 0; i < 4; i++) {
        uint8_t message[MESSAGE_BYTES_MIN];
        uint32_t length_be = htobe32(wrong[i]);
        struct message_reader reader = {.data = buffer, .capacity = sizeof(buffer)};
        uint8_t *found;
        uint32_t length;

        write_message(message, MESSAGE_BYTES_MIN, 0);
        memcpy(message + MESSAGE_LENGTH_OFFSET, &length_be, sizeof(length_be));
        put(&reader, message, MESSAGE_BYTES_MIN - 1);
        CHECK_EQUAL(message_next(&reader, &found, &length), MESSAGE_NONE);
        put(&reader, message + MESSAGE_BYTES_MIN - 1, 1);
        CHECK_EQUAL(message_next(&reader, &found, &length), MESSAGE_BROKEN);
        CHECK_EQUAL(message_next(&reader, &found, &length), MESSAGE_BROKEN);
    }
}

static void a_queue_keeps_the_order_and_refuses_what_does_not_fit(void)
{
    struct message_queue queue = {.capacity = 1000};
    uint8_t next_in = 0;
    uint8_t next_out = 0;
    uint32_t refused = 0;

    for (unsigned round = 0; round < 5000; round++) {
        uint8_t bytes[300];
        uint32_t size = 1 + round * 37 % 300;
        uint32_t taken;

        for (uint32_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(next_in + i);
        if (message_queue_add(&queue, bytes, size)) {
            next_in = (uint8_t)(next_in + size);
        } else {
            CHECK(message_queued(&queue) + size > queue.capacity);
            refused++;
        }
        taken = message_queued(&queue) < round % 250 ? message_queued(&queue) : round % 250;
        for (uint32_t i = 0; i < taken; i++)
            CHECK_EQUAL(queue.data[queue.begin + i], next_out++);
        message_queue_written(&queue, taken);
    }
    CHECK(refused > 0);
    free(queue.data);
}

int main(void)
{
    messages_come_out_of_pieces_of_any_size();
    the_largest_message_always_finds_room();
    what_is_no_message_breaks_the_stream();
    a_queue_keeps_the_order_and_refuses_what_does_not_fit();
    return CHECKS_DONE();
}
