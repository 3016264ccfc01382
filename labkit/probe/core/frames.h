/* SPDX-License-Identifier: BSD-3-Clause */
/* The frames that a generator sends: templates, their order, and the flows they are spread over. */
#ifndef LABKIT_FRAMES_H
#define LABKIT_FRAMES_H

#include <jansson.h>
#include <stdint.h>

#include "io.h"
#include "packet.h"

#define FRAMES_TEMPLATES_MAX 256U
#define FRAMES_ORDER_MAX 65536U
#define FRAMES_FLOWS_MAX 32768U
#define FRAMES_FIELDS_MAX 4U
#define FRAMES_VALUES_MAX 8192U /* of a field whose values are given one by one */

struct frame_template {
    uint8_t *data;
    uint32_t length;
    uint32_t signature_offset;
    int32_t checksum_offset; /* -1: the UDP checksum stays as it is */
    struct packet packet;
    uint32_t checksum_base;    /* ones' complement sum of all that never changes */
    uint32_t ip_checksum_base; /* of the IPv4 header's, likewise */
};

/* A field of the headers that differs from flow to flow: flow i has value i modulo count. */
struct frame_field {
    uint32_t offset;
    uint32_t bytes; /* 2 or 4 */
    uint32_t first;
    uint32_t count;
    uint32_t *values; /* NULL: from first up */
};

/* What the fields of a flow add to the checksums. */
struct flow_sums {
    uint32_t l4;
    uint32_t ip;
};

struct frame_set {
    unsigned count;
    struct frame_template *templates;
    unsigned order_count;
    uint16_t *order;
    uint32_t flows;
    unsigned field_count;
    struct frame_field fields[FRAMES_FIELDS_MAX];
    /* One field, of the UDP, TCP or ICMP header, that counts up from flow to flow: nothing is looked up. */
    bool plain;
    bool in_ip;       /* whether fields of IPv4 headers differ */
    uint32_t *values; /* by flow and field; NULL where plain */
    struct flow_sums *sums;
    /* The UDP or TCP destination port that replies are known by, in network order; mask 0: they have several.
     */
    uint16_t port;
    uint16_t port_mask;
    bool tagged; /* whether some templates have VLAN tags */
    uint32_t longest;
    uint32_t shortest;
};

/* Reads the arguments of the `frames` command. NULL with err set when they are not what PROTOCOL.md says. */
struct frame_set *frames_parse(const json_t *arguments, struct error *err);
void frames_free(struct frame_set *frames);

/* Writes the fields of a flow; returns what they add to the checksum of the UDP, TCP or ICMP header. */
uint32_t frames_stamp_fields(uint8_t *frame, const struct frame_template *template,
                             const struct frame_set *frames, uint32_t flow);

static inline uint32_t sum_u64(uint64_t value)
{
    return (uint32_t)(value & 0xffff) + (uint32_t)((value >> 16) & 0xffff) +
           (uint32_t)((value >> 32) & 0xffff) + (uint32_t)(value >> 48);
}

/* A checksum from the sum of all words, in network order. */
static inline uint16_t checksum_of(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return htobe16((uint16_t)~sum);
}

/* Writes what differs from frame to frame into a buffer that holds the template. */
static inline void frames_stamp(uint8_t *frame, const struct frame_template *template,
                                const struct frame_set *frames, uint32_t flow, uint16_t tag,
                                uint64_t sequence, uint64_t time_ns)
{
    uint32_t sum;

    if (__builtin_expect(frames->plain, 1)) {
        uint16_t value = (uint16_t)(frames->fields[0].first + flow);
        uint16_t value_be = htobe16(value);

        memcpy(frame + frames->fields[0].offset, &value_be, 2);
        sum = value;
    } else {
        sum = frames_stamp_fields(frame, template, frames, flow);
    }
    signature_write(frame + template->signature_offset, tag, sequence, time_ns);
    if (template->checksum_offset >= 0) {
        uint16_t checksum =
            checksum_of(template->checksum_base + sum + tag + sum_u64(sequence) + sum_u64(time_ns));

        /* UDP says "none" by zero. */
        if (checksum == 0 && template->packet.protocol == IPPROTO_UDP)
            checksum = 0xffff;
        memcpy(frame + template->checksum_offset, &checksum, 2);
    }
}

#endif
