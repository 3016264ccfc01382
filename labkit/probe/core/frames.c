/* SPDX-License-Identifier: BSD-3-Clause */
#include "frames.h"

#include <stdlib.h>

#include "arguments.h"
#include "frame_fields.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int read_hex(struct frame_template *template, const char *text, struct error *err)
{
    size_t digits = strlen(text);

    if (digits % 2 != 0 || digits / 2 < ETHERNET_BYTES || digits / 2 > IO_FRAME_MAX) {
        error_set(err, "bad-argument", "data: expected %u to %d bytes in hex, got %zu digits", ETHERNET_BYTES,
                  IO_FRAME_MAX, digits);
        return -1;
    }
    template->length = (uint32_t)(digits / 2);
    template->data = malloc(template->length);
    if (template->data == NULL) {
        error_set(err, "internal", "malloc: %u bytes for a frame template", template->length);
        return -1;
    }
    for (size_t i = 0; i < template->length; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            error_set(err, "bad-argument", "data: no hex digit at character %zu", 2 * i + (high < 0 ? 0 : 1));
            return -1;
        }
        template->data[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int parse_template(struct frame_template *template, const json_t *object, struct error *err)
{
    static const char *const known[] = {"data", "signature_offset", "checksum_offset", NULL};
    const char *data = NULL;
    int64_t signature_offset = 0;
    int64_t checksum_offset = 0;
    uint32_t checksum;

    if (!json_is_object(object)) {
        error_set(err, "bad-argument", "templates: expected objects");
        return -1;
    }
    if (arguments_known(object, "a template", known, err) ||
        arguments_string(object, "data", true, &data, err) || read_hex(template, data, err) ||
        arguments_integer(object, "signature_offset", true, 0, template->length, &signature_offset, err) ||
        arguments_integer(object, "checksum_offset", true, -1, template->length, &checksum_offset, err))
        return -1;
    if (!packet_find(template->data, template->length, &template->packet)) {
        error_set(err, "bad-argument",
                  "data: expected IPv4 or IPv6, UDP, TCP or an ICMP echo, and %u bytes for the signature",
                  SIGNATURE_BYTES);
        return -1;
    }
    if (signature_offset != template->packet.payload) {
        error_set(err, "bad-argument", "signature_offset: expected %u, where the payload starts, got %d",
                  template->packet.payload, (int)signature_offset);
        return -1;
    }
    checksum = packet_checksum_offset(template->packet);
    if (checksum_offset != checksum && checksum_offset != -1) {
        error_set(err, "bad-argument", "checksum_offset: expected -1 or %u, got %d", checksum,
                  (int)checksum_offset);
        return -1;
    }
    if (checksum_offset == -1 &&
        (template->packet.protocol != IPPROTO_UDP || template->packet.version == 6)) {
        error_set(err, "bad-argument", "checksum_offset: only UDP over IPv4 does without a checksum, got -1");
        return -1;
    }
    template->signature_offset = (uint32_t)signature_offset;
    template->checksum_offset = (int32_t)checksum_offset;
    return 0;
}

static int parse_templates(struct frame_set *frames, const json_t *list, struct error *err)
{
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > FRAMES_TEMPLATES_MAX) {
        error_set(err, "bad-argument", "templates: expected a list of 1 to %u objects", FRAMES_TEMPLATES_MAX);
        return -1;
    }
    frames->templates = calloc(json_array_size(list), sizeof(*frames->templates));
    if (frames->templates == NULL) {
        error_set(err, "internal", "calloc: %zu templates", json_array_size(list));
        return -1;
    }
    frames->shortest = UINT32_MAX;
    for (size_t i = 0; i < json_array_size(list); i++) {
        frames->count = (unsigned)i + 1;
        if (parse_template(&frames->templates[i], json_array_get(list, i), err))
            return -1;
        if (frames->templates[i].length > frames->longest)
            frames->longest = frames->templates[i].length;
        if (frames->templates[i].length < frames->shortest)
            frames->shortest = frames->templates[i].length;
    }
    return 0;
}

/* The port that all replies have, if there is one: a field may be it, and ICMP has none. */
static void find_port(struct frame_set *frames)
{
    const struct packet first = frames->templates[0].packet;
    const uint8_t *port = frames->templates[0].data + first.l4 + 2;

    memcpy(&frames->port, port, 2);
    frames->port_mask = 0xffff;
    for (unsigned i = 0; i < frames->count; i++) {
        const struct packet packet = frames->templates[i].packet;

        if ((packet.protocol != IPPROTO_UDP && packet.protocol != IPPROTO_TCP) ||
            memcmp(frames->templates[i].data + packet.l4 + 2, port, 2) != 0)
            frames->port_mask = 0;
    }
    for (unsigned i = 0; i < frames->field_count; i++)
        if (frames->fields[i].offset < first.l4 + 4U &&
            frames->fields[i].offset + frames->fields[i].bytes > first.l4 + 2U)
            frames->port_mask = 0;
}

static int parse_order(struct frame_set *frames, const json_t *list, struct error *err)
{
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > FRAMES_ORDER_MAX) {
        error_set(err, "bad-argument", "order: expected a list of 1 to %u template indices",
                  FRAMES_ORDER_MAX);
        return -1;
    }
    frames->order = calloc(json_array_size(list), sizeof(*frames->order));
    if (frames->order == NULL) {
        error_set(err, "internal", "calloc: order of %zu", json_array_size(list));
        return -1;
    }
    frames->order_count = (unsigned)json_array_size(list);
    for (unsigned i = 0; i < frames->order_count; i++) {
        const json_t *entry = json_array_get(list, i);

        if (!json_is_integer(entry) || json_integer_value(entry) < 0 ||
            json_integer_value(entry) >= (json_int_t)frames->count) {
            error_set(err, "bad-argument", "order[%u]: expected a template index from 0 to %u", i,
                      frames->count - 1);
            return -1;
        }
        frames->order[i] = (uint16_t)json_integer_value(entry);
    }
    return 0;
}

static int prepare(struct frame_set *frames, struct error *err)
{
    find_port(frames);
    for (unsigned i = 0; i < frames->count; i++)
        frames->tagged = frames->tagged || frames->templates[i].packet.ip != ETHERNET_BYTES;
    return frame_fields_prepare(frames, err);
}

struct frame_set *frames_parse(const json_t *arguments, struct error *err)
{
    int64_t flows = 0;
    struct frame_set *frames;

    if (arguments_integer(arguments, "flows", true, 1, FRAMES_FLOWS_MAX, &flows, err))
        return NULL;
    frames = calloc(1, sizeof(*frames));
    if (frames == NULL) {
        error_set(err, "internal", "calloc: frame set");
        return NULL;
    }
    frames->flows = (uint32_t)flows;
    if (parse_templates(frames, json_object_get(arguments, "templates"), err) ||
        parse_order(frames, json_object_get(arguments, "order"), err) ||
        frame_fields_parse(frames, json_object_get(arguments, "fields"), err) || prepare(frames, err)) {
        frames_free(frames);
        return NULL;
    }
    return frames;
}

void frames_free(struct frame_set *frames)
{
    if (frames == NULL)
        return;
    for (unsigned i = 0; i < frames->count; i++)
        free(frames->templates[i].data);
    for (unsigned i = 0; i < frames->field_count; i++)
        free(frames->fields[i].values);
    free(frames->templates);
    free(frames->order);
    free(frames->values);
    free(frames->sums);
    free(frames);
}
