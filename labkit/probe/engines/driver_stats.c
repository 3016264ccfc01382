/* SPDX-License-Identifier: BSD-3-Clause */
#include "driver_stats.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool ask(int fd, struct ifreq *request, void *question)
{
    request->ifr_data = question;
    return ioctl(fd, SIOCETHTOOL, request) == 0;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strnlen(name, ETH_GSTRING_LEN);
    size_t tail = strlen(suffix);

    return length >= tail && memcmp(name + length - tail, suffix, tail) == 0;
}

uint64_t driver_stats_sum(const char *interface, const char *suffix)
{
    struct ifreq request = {0};
    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    struct ethtool_gstrings *names = NULL;
    struct ethtool_stats *values = NULL;
    uint64_t sum = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return 0;
    (void)strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    if (!ask(fd, &request, &driver))
        goto out;
    names = calloc(1, sizeof(*names) + (size_t)driver.n_stats * ETH_GSTRING_LEN);
    values = calloc(1, sizeof(*values) + (size_t)driver.n_stats * sizeof(uint64_t));
    if (names == NULL || values == NULL)
        goto out;
    *names =
        (struct ethtool_gstrings){.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS, .len = driver.n_stats};
    *values = (struct ethtool_stats){.cmd = ETHTOOL_GSTATS, .n_stats = driver.n_stats};
    if (!ask(fd, &request, names) || !ask(fd, &request, values))
        goto out;
    for (uint32_t i = 0; i < driver.n_stats && i < values->n_stats; i++)
        if (ends_with((const char *)names->data + (size_t)i * ETH_GSTRING_LEN, suffix))
            sum += values->data[i];
out:
    free(names);
    free(values);
    close(fd);
    return sum;
}
