/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LABKIT_AF_PACKET_GSO_H
#define LABKIT_AF_PACKET_GSO_H

#include "../core/io.h"

/* What precedes a frame on a socket with PACKET_VNET_HDR: struct virtio_net_hdr, whose header C libraries
 * lack at times. */
struct vnet_header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t header_bytes;
    uint16_t segment_bytes;
    uint16_t checksum_start;
    uint16_t checksum_offset;
};

#define SUPER_FRAME_BYTES 65000U
#define GSO_BUFFER_BYTES (sizeof(struct vnet_header) + SUPER_FRAME_BYTES + UINT8_MAX)

struct gso {
    uint8_t *frame; /* GSO_BUFFER_BYTES, where a super-frame is put together */
    bool refused;   /* the kernel refused a super-frame: it is too old for UDP in PACKET_VNET_HDR */
};

/* Sends frames on a packet socket with PACKET_VNET_HDR; those of one stream as one. How many were sent. */
unsigned gso_send(struct gso *gso, int fd, const struct io_frame *frames, unsigned n);

#endif
