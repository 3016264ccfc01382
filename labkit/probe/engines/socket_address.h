/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of sockets, as the two transports of the engine `socket` share them. */
#ifndef LABKIT_SOCKET_ADDRESS_H
#define LABKIT_SOCKET_ADDRESS_H

#include "../core/frames.h"
#include "../core/io.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* A receive that blocks returns after this long: the core looks whether it was stopped, or has something to
 * send.
 */
#define BLOCK_US 50000

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* What a port's owner asked of all sockets. */
struct socket_options {
    bool tcp;
    bool block; /* sleep in the kernel; else ask again and again */
    bool gso;
    int busy_poll_us;
};

static inline socklen_t address_length(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* The keys `bind` and `port` of a port. Returns 0, or -1 with err set. */
int address_parse(const json_t *object, union address *address, struct error *err);
void address_describe(const union address *address, char text[static 64]);
/* The addresses and ports in the headers of a flow. */
void addresses_of(const struct frame_set *frames, uint32_t flow, union address *from, union address *to);
/* Whether all templates are of this protocol, without tags, and have one pair of addresses. */
bool addresses_are_one_pair(const struct frame_set *frames, uint8_t protocol);
/* Sets err to what the system said of a call (errno). Returns -1. */
int system_refused(struct error *err, const char *call, const char *object);
/* As many descriptors as the system allows: a flow is one. */
void allow_descriptors(void);

#endif
