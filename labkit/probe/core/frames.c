/* SPDX-License-Identifier: BSD-3-Clause */
#include "frames.h"

#include <stdlib.h>

#include "arguments.h"
#include "packet.h"

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

static uint32_t read_u16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* The sum of all that stays: the checksum's complement, less what every frame writes anew. */
static void prepare_checksum(struct frame_template *template, uint32_t flow_offset)
{
    uint32_t sum = 0xffff - read_u16(template->data + template->checksum_offset);

    sum += 0xffff - read_u16(template->data + flow_offset);
    for (uint32_t i = 0; i < SIGNATURE_BYTES; i += 2)
        sum += 0xffff - read_u16(template->data + template->signature_offset + i);
    sum = (sum & 0xffff) + (sum >> 16);
    template->checksum_base = (sum & 0xffff) + (sum >> 16);
}

static int parse_template(struct frame_template *template, const json_t *object, uint32_t flow_offset,
                          uint32_t flows, struct error *err)
{
    static const char *const known[] = {"data", "signature_offset", "udp_checksum_offset", "ip_version",
                                        NULL};
    const char *data = NULL;
    int64_t signature_offset = 0;
    int64_t checksum_offset = 0;
    int64_t ip_version = 0;

    if (!json_is_object(object)) {
        error_set(err, "bad-argument", "templates: expected objects");
        return -1;
    }
    if (arguments_known(object, "a template", known, err) ||
        arguments_string(object, "data", true, &data, err) || read_hex(template, data, err) ||
        arguments_integer(object, "signature_offset", true, ETHERNET_BYTES + UDP_BYTES,
                          (int64_t) template->length - SIGNATURE_BYTES, &signature_offset, err) ||
        arguments_integer(object, "udp_checksum_offset", true, -1, (int64_t) template->length - 2,
                          &checksum_offset, err) ||
        arguments_integer(object, "ip_version", true, 4, 6, &ip_version, err))
        return -1;
    template->signature_offset = (uint32_t)signature_offset;
    template->checksum_offset = (int32_t)checksum_offset;
    template->ip_version = (uint8_t)ip_version;
    if (packet_udp_offset(template->data, template->length) + UDP_BYTES != template->signature_offset) {
        error_set(err, "bad-argument",
                  "signature_offset: expected the start of the payload of an IPv4 or IPv6 UDP frame, got %u",
                  template->signature_offset);
        return -1;
    }
    if (template->data[12] != (ip_version == 4 ? 0x08 : 0x86)) {
        error_set(err, "bad-argument", "ip_version: expected the version in the data's headers, got %d",
                  (int)ip_version);
        return -1;
    }
    if (flow_offset != template->signature_offset - UDP_BYTES) {
        error_set(err, "bad-argument", "flow_offset: expected %u, where the UDP source port stands, got %u",
                  template->signature_offset - UDP_BYTES, flow_offset);
        return -1;
    }
    if (checksum_offset != -1 && checksum_offset != signature_offset - 2) {
        error_set(err, "bad-argument", "udp_checksum_offset: expected -1 or %u, got %d",
                  template->signature_offset - 2, (int)checksum_offset);
        return -1;
    }
    if (checksum_offset == -1 && ip_version == 6) {
        error_set(err, "bad-argument", "udp_checksum_offset: UDP over IPv6 needs a checksum, got -1");
        return -1;
    }
    template->source_port = (uint16_t)read_u16(template->data + flow_offset);
    template->destination_port = (uint16_t)read_u16(template->data + flow_offset + 2);
    if (template->source_port + flows - 1 > 65535) {
        error_set(err, "bad-argument", "flows: source port %u + %u flows is more than 65535",
                  template->source_port, flows);
        return -1;
    }
    if (checksum_offset >= 0)
        prepare_checksum(template, flow_offset);
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
        if (parse_template(&frames->templates[i], json_array_get(list, i), frames->flow_offset, frames->flows,
                           err))
            return -1;
        if (frames->templates[i].destination_port != frames->templates[0].destination_port) {
            error_set(err, "bad-argument", "templates: expected one UDP destination port in all of them");
            return -1;
        }
        if (frames->templates[i].length > frames->longest)
            frames->longest = frames->templates[i].length;
        if (frames->templates[i].length < frames->shortest)
            frames->shortest = frames->templates[i].length;
    }
    return 0;
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

struct frame_set *frames_parse(const json_t *arguments, struct error *err)
{
    int64_t flows = 0;
    int64_t flow_offset = 0;
    struct frame_set *frames;

    if (arguments_integer(arguments, "flows", true, 1, FRAMES_FLOWS_MAX, &flows, err) ||
        arguments_integer(arguments, "flow_offset", true, ETHERNET_BYTES, IO_FRAME_MAX, &flow_offset, err))
        return NULL;
    frames = calloc(1, sizeof(*frames));
    if (frames == NULL) {
        error_set(err, "internal", "calloc: frame set");
        return NULL;
    }
    frames->flows = (uint32_t)flows;
    frames->flow_offset = (uint32_t)flow_offset;
    if (parse_templates(frames, json_object_get(arguments, "templates"), err) ||
        parse_order(frames, json_object_get(arguments, "order"), err)) {
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
    free(frames->templates);
    free(frames->order);
    free(frames);
}
