/* SPDX-License-Identifier: BSD-3-Clause */
#include "frame_fields.h"

#include <stdlib.h>

#include "arguments.h"

static int parse_values(struct frame_field *field, const json_t *list, uint32_t most, struct error *err)
{
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > FRAMES_VALUES_MAX) {
        error_set(err, "bad-argument", "values: expected a list of 1 to %u integers", FRAMES_VALUES_MAX);
        return -1;
    }
    field->count = (uint32_t)json_array_size(list);
    field->values = calloc(field->count, sizeof(*field->values));
    if (field->values == NULL) {
        error_set(err, "internal", "calloc: %u values", field->count);
        return -1;
    }
    for (uint32_t i = 0; i < field->count; i++) {
        const json_t *value = json_array_get(list, i);

        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > most) {
            error_set(err, "bad-argument", "values[%u]: expected an integer from 0 to %u", i, most);
            return -1;
        }
        field->values[i] = (uint32_t)json_integer_value(value);
    }
    return 0;
}

/* A field is in the headers behind Ethernet and its tags, at a whole word, and is no checksum. */
static int check_place(const struct frame_field *field, const struct frame_template *template,
                       struct error *err)
{
    const struct packet *packet = &template->packet;
    const uint32_t end = field->offset + field->bytes;
    const uint32_t checksums[] = {packet_checksum_offset(*packet),
                                  packet->version == 4 ? packet->ip + 10U : 0U};

    if (field->offset % 2 == 0 && field->offset >= packet->ip && end <= packet->payload) {
        bool clear = true;

        for (unsigned i = 0; i < 2; i++)
            clear = clear && (end <= checksums[i] || field->offset >= checksums[i] + 2);
        if (clear)
            return 0;
    }
    error_set(err, "bad-argument",
              "offset: expected a field of the headers from byte %u to %u, no checksum, got %u", packet->ip,
              packet->payload, field->offset);
    return -1;
}

static int parse_field(struct frame_set *frames, struct frame_field *field, const json_t *object,
                       struct error *err)
{
    static const char *const known[] = {"offset", "bytes", "first", "count", "values", NULL};
    const json_t *values = json_object_get(object, "values");
    int64_t offset = 0;
    int64_t bytes = 0;
    int64_t first = 0;
    int64_t count = 0;
    uint32_t most;

    if (!json_is_object(object)) {
        error_set(err, "bad-argument", "fields: expected objects");
        return -1;
    }
    if (arguments_known(object, "a field", known, err) ||
        arguments_integer(object, "offset", true, 0, IO_FRAME_MAX, &offset, err) ||
        arguments_integer(object, "bytes", true, 2, 4, &bytes, err))
        return -1;
    if (bytes == 3) {
        error_set(err, "bad-argument", "bytes: expected 2 or 4, got 3");
        return -1;
    }
    field->offset = (uint32_t)offset;
    field->bytes = (uint32_t)bytes;
    most = bytes == 2 ? UINT16_MAX : UINT32_MAX;
    if (values != NULL) {
        if (json_object_get(object, "first") != NULL || json_object_get(object, "count") != NULL) {
            error_set(err, "bad-argument", "values: expected either values, or first and count");
            return -1;
        }
        if (parse_values(field, values, most, err))
            return -1;
    } else {
        if (arguments_integer(object, "first", true, 0, most, &first, err) ||
            arguments_integer(object, "count", true, 1, FRAMES_FLOWS_MAX, &count, err))
            return -1;
        if (first + count - 1 > most) {
            error_set(err, "bad-argument", "count: expected values up to %u, got %lld from %lld", most,
                      (long long)count, (long long)first);
            return -1;
        }
        field->first = (uint32_t)first;
        field->count = (uint32_t)count;
    }
    if (frames->flows % field->count != 0) {
        error_set(err, "bad-argument", "flows: expected a multiple of each field's values, got %u and %u",
                  frames->flows, field->count);
        return -1;
    }
    for (unsigned i = 0; i < frames->count; i++) {
        if (memcmp(&frames->templates[i].packet, &frames->templates[0].packet, sizeof(struct packet)) != 0) {
            error_set(err, "bad-argument", "fields: expected the same headers in all templates");
            return -1;
        }
        if (check_place(field, &frames->templates[i], err))
            return -1;
    }
    return 0;
}

int frame_fields_parse(struct frame_set *frames, const json_t *list, struct error *err)
{
    uint32_t most = 1;

    if (!json_is_array(list) || json_array_size(list) > FRAMES_FIELDS_MAX) {
        error_set(err, "bad-argument", "fields: expected a list of up to %u objects", FRAMES_FIELDS_MAX);
        return -1;
    }
    for (unsigned i = 0; i < json_array_size(list); i++) {
        struct frame_field *field = &frames->fields[i];

        frames->field_count = i + 1;
        if (parse_field(frames, field, json_array_get(list, i), err))
            return -1;
        for (unsigned j = 0; j < i; j++) {
            const struct frame_field *other = &frames->fields[j];

            if (field->offset < other->offset + other->bytes &&
                other->offset < field->offset + field->bytes) {
                error_set(err, "bad-argument", "fields: expected fields apart, got two at byte %u",
                          field->offset);
                return -1;
            }
        }
        if (field->count > most)
            most = field->count;
    }
    if (frames->flows > 1 && most == 1) {
        error_set(err, "bad-argument", "flows: expected fields that differ between %u flows, got none",
                  frames->flows);
        return -1;
    }
    return 0;
}

static uint32_t value_of(const struct frame_field *field, uint32_t flow)
{
    uint32_t index = flow % field->count;

    return field->values != NULL ? field->values[index] : field->first + index;
}

/* Whether the checksum of UDP, TCP or ICMP covers a field: its own header, and addresses by the
 * pseudo-header. */
static bool in_l4_sum(const struct frame_field *field, struct packet packet)
{
    const uint32_t addresses = packet.ip + (packet.version == 4 ? 12U : 8U);

    return field->offset >= packet.l4 || (field->offset >= addresses && packet.protocol != IPPROTO_ICMP);
}

static bool in_ip_sum(const struct frame_field *field, struct packet packet)
{
    return packet.version == 4 && field->offset < packet.l4;
}

static uint32_t words(uint32_t value)
{
    return (value >> 16) + (value & 0xffff);
}

/* The values of each flow, and what they add to the checksums. */
static int prepare_flows(struct frame_set *frames, struct error *err)
{
    const struct packet packet = frames->templates[0].packet;

    frames->values = calloc((size_t)frames->flows * (frames->field_count + 1), sizeof(*frames->values));
    frames->sums = calloc(frames->flows, sizeof(*frames->sums));
    if (frames->values == NULL || frames->sums == NULL) {
        error_set(err, "internal", "calloc: %u flows", frames->flows);
        return -1;
    }
    for (uint32_t flow = 0; flow < frames->flows; flow++) {
        for (unsigned i = 0; i < frames->field_count; i++) {
            const struct frame_field *field = &frames->fields[i];
            uint32_t value = value_of(field, flow);

            frames->values[flow * frames->field_count + i] = value;
            if (in_l4_sum(field, packet))
                frames->sums[flow].l4 += words(value);
            if (in_ip_sum(field, packet))
                frames->sums[flow].ip += words(value);
        }
    }
    return 0;
}

static uint32_t less_words(uint32_t sum, const uint8_t *at, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 2)
        sum += 0xffff - packet_u16(at + i);
    return sum;
}

static uint32_t folded(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/* The sum of all that stays: the checksum's complement, less what every frame writes anew. */
static void prepare_checksums(const struct frame_set *frames, struct frame_template *template)
{
    const uint8_t *data = template->data;
    uint32_t l4 = 0;
    uint32_t ip = 0;

    if (template->checksum_offset >= 0)
        l4 = less_words(less_words(0, data + template->checksum_offset, 2), data + template->signature_offset,
                        SIGNATURE_BYTES);
    if (template->packet.version == 4)
        ip = less_words(0, data + template->packet.ip + 10, 2);
    for (unsigned i = 0; i < frames->field_count; i++) {
        const struct frame_field *field = &frames->fields[i];

        if (in_l4_sum(field, template->packet))
            l4 = less_words(l4, data + field->offset, field->bytes);
        if (in_ip_sum(field, template->packet))
            ip = less_words(ip, data + field->offset, field->bytes);
    }
    template->checksum_base = folded(l4);
    template->ip_checksum_base = folded(ip);
}

int frame_fields_prepare(struct frame_set *frames, struct error *err)
{
    const struct packet packet = frames->templates[0].packet;

    for (unsigned i = 0; i < frames->field_count; i++)
        frames->in_ip = frames->in_ip || in_ip_sum(&frames->fields[i], packet);
    frames->plain = frames->field_count == 1 && frames->fields[0].offset >= packet.l4 &&
                    frames->fields[0].bytes == 2 && frames->fields[0].values == NULL &&
                    frames->fields[0].count == frames->flows;
    for (unsigned i = 0; i < frames->count; i++)
        prepare_checksums(frames, &frames->templates[i]);
    return frames->plain ? 0 : prepare_flows(frames, err);
}

uint32_t frames_stamp_fields(uint8_t *frame, const struct frame_template *template,
                             const struct frame_set *frames, uint32_t flow)
{
    const uint32_t *values = frames->values + flow * frames->field_count;
    const struct flow_sums *sums = &frames->sums[flow];

    for (unsigned i = 0; i < frames->field_count; i++) {
        const struct frame_field *field = &frames->fields[i];
        uint32_t value = htobe32(field->bytes == 2 ? values[i] << 16 : values[i]);

        memcpy(frame + field->offset, &value, field->bytes);
    }
    if (frames->in_ip) {
        uint16_t checksum = checksum_of(template->ip_checksum_base + sums->ip);

        memcpy(frame + template->packet.ip + 10, &checksum, 2);
    }
    return sums->l4;
}
