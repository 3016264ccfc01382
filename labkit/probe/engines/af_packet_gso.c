/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Super-frames of the engine `af_packet`: frames of one flow and size leave as one that the kernel cuts
 * before the device (PACKET_VNET_HDR).
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/packet.h"
#include "af_packet_gso.h"

#define VNET_NEEDS_CHECKSUM 1
#define VNET_GSO_UDP_L4 5

/* Bytes of headers when the frame can be part of a super-frame: plain UDP without tags and padding; else 0.
 */
static uint32_t headers_of(const struct io_frame *frame)
{
    const uint8_t *data = frame->data;
    struct packet packet;

    if (!packet_find(data, frame->length, &packet) || packet.protocol != IPPROTO_UDP ||
        packet.ip != ETHERNET_BYTES)
        return 0;
    if (packet.version == 4 && (data[14] != 0x45 || (data[20] & 0x3f) != 0 || data[21] != 0))
        return 0;
    return packet.l4 + packet_u16(data + packet.l4 + 4) == frame->length ? packet.payload : 0;
}

/* Whether two frames differ in payload, IPv4 identification and checksums alone. */
static bool same_stream(const struct io_frame *a, const struct io_frame *b, uint32_t headers)
{
    if (a->length != b->length)
        return false;
    if (a->data[12] != 0x08)
        return memcmp(a->data, b->data, headers - 2) == 0;
    return memcmp(a->data, b->data, 18) == 0 && memcmp(a->data + 20, b->data + 20, 4) == 0 &&
           memcmp(a->data + 26, b->data + 26, headers - 2 - 26) == 0;
}

static uint32_t sum_words(const uint8_t *data, uint32_t length, uint32_t sum)
{
    for (uint32_t i = 0; i < length; i += 2)
        sum += (uint32_t)data[i] << 8 | data[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Sends n frames of one stream as one; all or nothing. */
static bool send_super_frame(struct gso *gso, int fd, const struct io_frame *frames, unsigned n,
                             uint32_t headers)
{
    const uint32_t payload = frames[0].length - headers;
    const uint32_t udp = headers - UDP_BYTES;
    const uint32_t udp_bytes = UDP_BYTES + n * payload;
    struct vnet_header vnet = {
        .flags = VNET_NEEDS_CHECKSUM,
        .gso_type = VNET_GSO_UDP_L4,
        .header_bytes = (uint16_t)headers,
        .segment_bytes = (uint16_t)payload,
        .checksum_start = (uint16_t)udp,
        .checksum_offset = 6,
    };
    uint8_t *data = gso->frame + sizeof(vnet);
    ssize_t sent;

    memcpy(gso->frame, &vnet, sizeof(vnet));
    memcpy(data, frames[0].data, headers);
    for (unsigned i = 0; i < n; i++)
        memcpy(data + headers + i * payload, frames[i].data + headers, payload);
    put_u16(data + udp + 4, udp_bytes);
    /* The kernel completes the checksum from the sum of the pseudo-header. */
    if (data[12] == 0x08) {
        put_u16(data + 16, 20 + udp_bytes);
        put_u16(data + 24, 0);
        put_u16(data + 24, ~sum_words(data + 14, 20, 0));
        put_u16(data + udp + 6, sum_words(data + 26, 8, IPPROTO_UDP + udp_bytes));
    } else {
        put_u16(data + 18, udp_bytes);
        put_u16(data + udp + 6, sum_words(data + 22, 32, IPPROTO_UDP + udp_bytes));
    }
    sent = send(fd, gso->frame, sizeof(vnet) + headers + (size_t)n * payload, MSG_DONTWAIT);
    if (sent < 0 && errno == EINVAL)
        gso->refused = true;
    return sent > 0;
}

static bool send_with_vnet(int fd, const struct io_frame *frame)
{
    static struct vnet_header plain;
    struct iovec parts[2] = {{&plain, sizeof(plain)}, {frame->data, frame->length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    return sendmsg(fd, &message, MSG_DONTWAIT) > 0;
}

unsigned gso_send(struct gso *gso, int fd, const struct io_frame *frames, unsigned n)
{
    unsigned done = 0;

    while (done < n) {
        uint32_t headers = gso->refused ? 0 : headers_of(&frames[done]);
        uint32_t bytes = headers == 0 ? 0 : 2 * frames[done].length - headers;
        unsigned run = 1;

        while (headers != 0 && done + run < n && bytes <= SUPER_FRAME_BYTES &&
               same_stream(&frames[done], &frames[done + run], headers)) {
            bytes += frames[done].length - headers;
            run++;
        }
        if (run > 1 && !send_super_frame(gso, fd, &frames[done], run, headers)) {
            if (gso->refused)
                continue; /* again, one by one */
            break;
        }
        if (run == 1 && !send_with_vnet(fd, &frames[done]))
            break;
        done += run;
    }
    return done;
}
