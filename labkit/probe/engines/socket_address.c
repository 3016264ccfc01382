/* SPDX-License-Identifier: BSD-3-Clause */
#include "socket_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "../core/arguments.h"
#include "../core/packet.h"

int system_refused(struct error *err, const char *call, const char *object)
{
    error_set(err, "refused", "%s: %s: %s", call, object, strerror(errno));
    return -1;
}

int address_parse(const json_t *object, union address *address, struct error *err)
{
    static const char *const known[] = {"bind", "port", NULL};
    const char *bind_to = NULL;
    int64_t number = 0;

    if (arguments_known(object, "a port of the socket engine", known, err) ||
        arguments_string(object, "bind", true, &bind_to, err) ||
        arguments_integer(object, "port", false, 0, 65535, &number, err))
        return -1;
    memset(address, 0, sizeof(*address));
    if (inet_pton(AF_INET, bind_to, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)number);
    } else if (inet_pton(AF_INET6, bind_to, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons((uint16_t)number);
    } else {
        error_set(err, "bad-argument", "bind: expected an IPv4 or IPv6 address, got %.64s", bind_to);
        return -1;
    }
    return 0;
}

void address_describe(const union address *address, char text[static 64])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        (void)snprintf(text, 64, "%s:%u", host, ntohs(address->v4.sin_port));
    } else {
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, 64, "[%s]:%u", host, ntohs(address->v6.sin6_port));
    }
}

void addresses_of(const struct frame_set *frames, uint32_t flow, union address *from, union address *to)
{
    const struct frame_template *template = &frames->templates[0];
    const uint8_t *data = template->data;
    uint16_t from_port = htons((uint16_t)(frames->fields[0].first + flow));
    uint16_t to_port = frames->port;

    memset(from, 0, sizeof(*from));
    memset(to, 0, sizeof(*to));
    if (template->packet.version == 4) {
        from->v4.sin_family = to->v4.sin_family = AF_INET;
        from->v4.sin_port = from_port;
        to->v4.sin_port = to_port;
        memcpy(&from->v4.sin_addr, data + 26, 4);
        memcpy(&to->v4.sin_addr, data + 30, 4);
    } else {
        from->v6.sin6_family = to->v6.sin6_family = AF_INET6;
        from->v6.sin6_port = from_port;
        to->v6.sin6_port = to_port;
        memcpy(&from->v6.sin6_addr, data + 22, 16);
        memcpy(&to->v6.sin6_addr, data + 38, 16);
    }
}

bool addresses_are_one_pair(const struct frame_set *frames, uint8_t protocol)
{
    const struct frame_template *first = &frames->templates[0];

    for (unsigned i = 0; i < frames->count; i++) {
        const struct frame_template *template = &frames->templates[i];

        if (template->packet.protocol != protocol || template->packet.ip != ETHERNET_BYTES ||
            template->packet.version != first->packet.version ||
            memcmp(template->data + 26, first->data + 26, 8) != 0)
            return false;
    }
    return true;
}

void allow_descriptors(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}
