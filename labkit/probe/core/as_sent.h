/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether what a generator receives is what it sent. Pure, and inlined into its loop. */
#ifndef LABKIT_AS_SENT_H
#define LABKIT_AS_SENT_H

#include "frames.h"
#include "io.h"
#include "packet.h"

/* Whether a frame is ours, and where its headers are; of a payload alone, its signature. */
static inline bool is_ours(const struct io_frame *frame, const struct frame_set *frames,
                           const bool payload_only, struct packet *packet)
{
    uint16_t ports[2];

    if (payload_only) {
        packet->payload = 0;
        return frame->length >= SIGNATURE_BYTES;
    }
    if (!packet_find(frame->data, frame->length, packet))
        return false;
    memcpy(ports, frame->data + packet->l4, sizeof(ports));
    return __builtin_expect(((ports[0] ^ frames->port) & frames->port_mask) == 0 ||
                                ((ports[1] ^ frames->port) & frames->port_mask) == 0,
                            1);
}

/* What was sent under this sequence number. */
static inline const struct frame_template *sent_as(const struct frame_set *frames, uint64_t sequence)
{
    return &frames->templates[frames->order[sequence % frames->order_count]];
}

/* Whether a frame has the VLAN tags that it was sent with, byte for byte. */
static inline bool has_its_tags(const uint8_t *data, struct packet packet, const struct frame_set *frames,
                                uint64_t sequence)
{
    const struct frame_template *sent = sent_as(frames, sequence);

    return packet.ip == sent->packet.ip && memcmp(data + 12, sent->data + 12, packet.ip - 12U) == 0;
}

/* Whether a frame is as long as it was: it may be longer, as a link pads short ones. */
static inline bool has_its_length(uint32_t length, const struct frame_set *frames, uint64_t sequence)
{
    if (__builtin_expect(frames->longest == frames->shortest, 1))
        return length >= frames->shortest;
    return length >= sent_as(frames, sequence)->length;
}

/* Whether what follows the signature is as it was sent. */
static inline bool has_its_payload(const uint8_t *signature, const struct frame_set *frames,
                                   uint64_t sequence)
{
    const struct frame_template *sent = sent_as(frames, sequence);
    const uint32_t from = sent->signature_offset + SIGNATURE_BYTES;

    return memcmp(signature + SIGNATURE_BYTES, sent->data + from, sent->length - from) == 0;
}

/* Whether a frame has all its bytes, and its tags. */
static inline bool is_as_sent(const struct io_frame *frame, struct packet packet,
                              const struct frame_set *frames, uint64_t sequence, bool verify)
{
    if (!packet_is_whole(frame->data, frame->length, packet) ||
        !has_its_length(frame->length, frames, sequence))
        return false;
    if (__builtin_expect(verify, 0) && (frame->length < packet.payload + sent_as(frames, sequence)->length -
                                                            sent_as(frames, sequence)->signature_offset ||
                                        !has_its_payload(frame->data + packet.payload, frames, sequence)))
        return false;
    if (__builtin_expect(!frames->tagged, 1))
        return packet.ip == ETHERNET_BYTES;
    return has_its_tags(frame->data, packet, frames, sequence);
}

/* Whether a message of a stream is as it was sent. */
static inline bool is_message_as_sent(const struct io_frame *frame, const struct frame_set *frames,
                                      uint64_t sequence, bool verify)
{
    const struct frame_template *sent = sent_as(frames, sequence);

    return frame->length == sent->length - sent->signature_offset &&
           (!verify || has_its_payload(frame->data, frames, sequence));
}

#endif
