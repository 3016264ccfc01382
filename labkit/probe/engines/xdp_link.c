/* SPDX-License-Identifier: BSD-3-Clause */
#include "xdp_link.h"

#include "arguments.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ETHERNET_HEADER_BYTES 14

/* libbpf's own words (the verifier's too) are for people; only what went wrong,
 * not how it was tried. */
static int print_warnings(enum libbpf_print_level level, const char *format, va_list arguments)
{
    return level == LIBBPF_WARN ? vfprintf(stderr, format, arguments) : 0;
}

int xdp_choice(const json_t *options, const char *name, const char *const *choices, unsigned *value,
               struct error *err)
{
    char expected[128] = "";
    const char *text = NULL;

    if (arguments_string(options, name, false, &text, err))
        return -1;
    for (unsigned i = 0; choices[i] != NULL; i++) {
        size_t used = strlen(expected);

        if (text != NULL && strcmp(text, choices[i]) == 0) {
            *value = i;
            return 0;
        }
        (void)snprintf(expected + used, sizeof(expected) - used, "%s%s", i ? ", " : "", choices[i]);
    }
    if (text == NULL)
        return 0;
    error_set(err, "bad-argument", "%s: expected one of %s, got \"%.40s\"", name, expected, text);
    return -1;
}

int xdp_attach_option(const json_t *options, enum xdp_attach *attach, struct error *err)
{
    static const char *const choices[] = {
        [XDP_ATTACH_NATIVE] = "native", [XDP_ATTACH_GENERIC] = "generic", NULL};
    unsigned choice = XDP_ATTACH_NATIVE;

    if (xdp_choice(options, "attach", choices, &choice, err))
        return -1;
    *attach = (enum xdp_attach)choice;
    return 0;
}

int xdp_port_read(const json_t *description, struct io_port *port, int *ifindex, struct error *err)
{
    const char *name = json_string_value(json_object_get(description, "interface"));
    if (!name || !*name || strlen(name) >= IFNAMSIZ) {
        error_set(err, "bad-argument",
                  "ports.interface: expected the name of an interface (1 to %d "
                  "characters)",
                  IFNAMSIZ - 1);
        return -1;
    }
    *ifindex = (int)if_nametoindex(name);
    if (!*ifindex) {
        error_set(err, "refused", "interface %s: %s (in this network namespace)", name, strerror(errno));
        return -1;
    }
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(err, "refused", "socket: %s", strerror(errno));
        return -1;
    }
    memcpy(request.ifr_name, name, strlen(name) + 1);
    memcpy(port->name, name, strlen(name) + 1);
    int failed = ioctl(fd, SIOCGIFFLAGS, &request);
    bool up = !failed && (request.ifr_flags & IFF_UP);
    failed = failed || ioctl(fd, SIOCGIFMTU, &request);
    port->mtu_bytes = (uint32_t)request.ifr_mtu;
    port->frame_max = port->mtu_bytes + ETHERNET_HEADER_BYTES;
    failed = failed || ioctl(fd, SIOCGIFHWADDR, &request);
    int saved = errno;
    close(fd);
    if (failed) {
        error_set(err, "refused", "ioctl on interface %s: %s", name, strerror(saved));
        return -1;
    }
    if (!up) {
        error_set(err, "refused", "interface %s is down: set it up first (ip link set %s up)", name, name);
        return -1;
    }
    if (request.ifr_hwaddr.sa_family == ARPHRD_ETHER) {
        memcpy(port->mac, request.ifr_hwaddr.sa_data, sizeof(port->mac));
        port->has_mac = true;
    }
    return 0;
}

struct bpf_object *xdp_object_load(const char *name, const void *data, size_t bytes, struct error *err)
{
    libbpf_set_print(print_warnings);
    LIBBPF_OPTS(bpf_object_open_opts, open_options, .object_name = name);
    struct bpf_object *object = bpf_object__open_mem(data, bytes, &open_options);
    if (!object) {
        error_set(err, "internal", "BPF object %s cannot be read: %s", name, strerror(errno));
        return NULL;
    }
    int failed = bpf_object__load(object);
    if (failed) {
        const char *meaning = "";
        if (failed == -EPERM) {
            meaning = ": loading BPF programs and maps needs root or CAP_BPF and "
                      "CAP_NET_ADMIN";
        } else if (failed == -ENOMEM) {
            meaning = ": not enough memory (on kernels before 5.11 raise `ulimit -l`)";
        }
        error_set(err, "refused", "bpf(BPF_PROG_LOAD) of %s: %s%s", name, strerror(-failed), meaning);
        bpf_object__close(object);
        return NULL;
    }
    return object;
}

int xdp_link_attach(struct xdp_link *link, const struct io_port *port, int ifindex, int program_fd,
                    enum xdp_attach attach, struct error *err)
{
    const char *mode = attach == XDP_ATTACH_NATIVE ? "native" : "generic";
    LIBBPF_OPTS(bpf_link_create_opts, options,
                .flags = attach == XDP_ATTACH_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
    link->ifindex = ifindex;
    link->fd = bpf_link_create(program_fd, ifindex, BPF_XDP, &options);
    if (link->fd >= 0) {
        return 0;
    }
    const char *meaning = "";
    switch (errno) {
    case EBUSY:
    case EEXIST:
        meaning = ": another XDP program is attached there (see `bpftool net`)";
        break;
    case EOPNOTSUPP:
        meaning = ": this driver has no native XDP";
        break;
    case ERANGE:
        meaning = ": the MTU of the interface or its peer is too large for native "
                  "XDP (on veth about 3500 bytes)";
        break;
    case ENOSPC:
        meaning = ": native XDP on veth needs at least as many RX queues as the "
                  "peer has TX queues";
        break;
    case EPERM:
        meaning = ": attaching needs root or CAP_NET_ADMIN and CAP_BPF";
        break;
    default:
        break;
    }
    error_set(err, "refused", "attach XDP (%s) to %s: %s%s", mode, port->name, strerror(errno), meaning);
    return -1;
}

void xdp_link_close(struct xdp_link *link)
{
    if (link->fd >= 0) {
        close(link->fd);
        link->fd = -1;
    }
}

json_t *xdp_link_proof(const struct xdp_link *link)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, query);
    int failed = bpf_xdp_query(link->ifindex, 0, &query);
    const char *attach = "none";
    if (!failed && query.attach_mode == XDP_ATTACHED_DRV) {
        attach = "native";
    } else if (!failed && query.attach_mode == XDP_ATTACHED_SKB) {
        attach = "generic";
    } else if (!failed && query.attach_mode == XDP_ATTACHED_HW) {
        attach = "offload";
    } else if (!failed && query.attach_mode == XDP_ATTACHED_MULTI) {
        attach = "multi";
    }
    struct bpf_link_info link_info = {0};
    __u32 length = sizeof(link_info);
    bool held = link->fd >= 0 && !bpf_obj_get_info_by_fd(link->fd, &link_info, &length);

    struct bpf_prog_info program_info = {0};
    length = sizeof(program_info);
    int fd = failed ? -1 : bpf_prog_get_fd_by_id(query.prog_id);
    if (fd >= 0) {
        (void)bpf_obj_get_info_by_fd(fd, &program_info, &length);
        close(fd);
    }
    json_t *proof = json_pack("{s:s, s:I, s:s}", "attach", attach, "program_id",
                              (json_int_t)(failed ? 0 : query.prog_id), "program", program_info.name);
    json_object_set_new(proof, "link_id", held ? json_integer(link_info.id) : json_null());
    json_object_set_new(proof, "own_link",
                        json_boolean(held && !failed && link_info.prog_id == query.prog_id));
    return proof;
}
