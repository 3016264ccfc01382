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

/* Where the checksum of the header stands that a signature follows. */
static uint32_t checksum_place(struct packet packet)
{
    if (packet.protocol == IPPROTO_UDP)
        return packet.l4 + 6U;
    return packet.l4 + (packet.protocol == IPPROTO_TCP ? 16U : 2U);
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
    checksum = checksum_place(template->packet);
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
    const uint32_t checksums[] = {checksum_place(*packet), packet->version == 4 ? packet->ip + 10U : 0U};

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

static int parse_fields(struct frame_set *frames, const json_t *list, struct error *err)
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
    const struct packet packet = frames->templates[0].packet;

    for (unsigned i = 0; i < frames->field_count; i++)
        frames->in_ip = frames->in_ip || in_ip_sum(&frames->fields[i], packet);
    frames->plain = frames->field_count == 1 && frames->fields[0].offset >= packet.l4 &&
                    frames->fields[0].bytes == 2 && frames->fields[0].values == NULL &&
                    frames->fields[0].count == frames->flows;
    for (unsigned i = 0; i < frames->count; i++)
        prepare_checksums(frames, &frames->templates[i]);
    find_port(frames);
    frames->ip = packet.ip;
    for (unsigned i = 1; i < frames->count; i++)
        if (frames->templates[i].packet.ip != packet.ip)
            frames->ip = 0;
    return frames->plain ? 0 : prepare_flows(frames, err);
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
        parse_fields(frames, json_object_get(arguments, "fields"), err) || prepare(frames, err)) {
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
