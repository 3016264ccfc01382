/* SPDX-License-Identifier: BSD-3-Clause */
/* The frames that a generator sends: templates, their order, and the flows they are spread over. */
#ifndef LABKIT_FRAMES_H
#define LABKIT_FRAMES_H

#include <jansson.h>
#include <stdint.h>

#include "io.h"
#include "signature.h"

#define FRAMES_TEMPLATES_MAX 64U
#define FRAMES_ORDER_MAX 65536U
#define FRAMES_FLOWS_MAX 32768U

struct frame_template {
    uint8_t *data;
    uint32_t length;
    uint32_t signature_offset;
    int32_t checksum_offset; /* -1: the UDP checksum stays as it is */
    uint8_t ip_version;
    uint16_t source_port;      /* of flow 0 */
    uint16_t destination_port; /* that replies are known by */
    uint32_t checksum_base;    /* ones' complement sum of all that never changes */
};

struct frame_set {
    unsigned count;
    struct frame_template *templates;
    unsigned order_count;
    uint16_t *order;
    uint32_t flows;
    uint32_t flow_offset;
    uint32_t longest;
    uint32_t shortest;
};

/* Reads the arguments of the `frames` command. NULL with err set when they are not what PROTOCOL.md says. */
struct frame_set *frames_parse(const json_t *arguments, struct error *err);
void frames_free(struct frame_set *frames);

static inline uint32_t sum_u64(uint64_t value)
{
    return (uint32_t)(value & 0xffff) + (uint32_t)((value >> 16) & 0xffff) +
           (uint32_t)((value >> 32) & 0xffff) + (uint32_t)(value >> 48);
}

/* Writes what differs from frame to frame into a buffer that holds the template. */
static inline void frames_stamp(uint8_t *frame, const struct frame_template *template, uint32_t flow_offset,
                                uint32_t flow, uint16_t tag, uint64_t sequence, uint64_t time_ns)
{
    uint16_t port = (uint16_t)(template->source_port + flow);
    uint16_t port_be = htobe16(port);

    memcpy(frame + flow_offset, &port_be, 2);
    signature_write(frame + template->signature_offset, tag, sequence, time_ns);
    if (template->checksum_offset >= 0) {
        uint32_t sum = template->checksum_base + port + tag + sum_u64(sequence) + sum_u64(time_ns);

        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        uint16_t checksum = (uint16_t)~sum;
        checksum = htobe16(checksum == 0 ? 0xffff : checksum);
        memcpy(frame + template->checksum_offset, &checksum, 2);
    }
}

#endif
