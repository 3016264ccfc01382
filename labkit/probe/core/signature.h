/* SPDX-License-Identifier: BSD-3-Clause */
/* The 18 bytes at the start of the UDP payload: tag, sequence, intended send time; network byte order. */
#ifndef LABKIT_SIGNATURE_H
#define LABKIT_SIGNATURE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define SIGNATURE_BYTES 18U

struct signature {
    uint16_t tag;
    uint64_t sequence;
    uint64_t time_ns;
};

static inline void signature_write(uint8_t *at, uint16_t tag, uint64_t sequence, uint64_t time_ns)
{
    uint16_t tag_be = htobe16(tag);
    uint64_t sequence_be = htobe64(sequence);
    uint64_t time_be = htobe64(time_ns);

    memcpy(at, &tag_be, 2);
    memcpy(at + 2, &sequence_be, 8);
    memcpy(at + 10, &time_be, 8);
}

static inline struct signature signature_read(const uint8_t *at)
{
    uint16_t tag;
    uint64_t sequence;
    uint64_t time_ns;

    memcpy(&tag, at, 2);
    memcpy(&sequence, at + 2, 8);
    memcpy(&time_ns, at + 10, 8);
    return (struct signature){be16toh(tag), be64toh(sequence), be64toh(time_ns)};
}

#endif
