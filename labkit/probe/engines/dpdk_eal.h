/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing the EAL up, once a process, and what it says of its memory. */
#ifndef LABKIT_DPDK_EAL_H
#define LABKIT_DPDK_EAL_H

#include "io.h"

#include <rte_mempool.h>

struct dpdk_eal {
    int core;          /* -1: not pinned */
    bool huge;         /* hugepages; else ordinary memory in a memfd, so that it can be shared all the same */
    bool pci;          /* whether PCI devices are looked for */
    int64_t memory_mb; /* without hugepages: all the memory there is */
    const json_t *extra;
};

int dpdk_eal_start(const struct dpdk_eal *eal, struct error *err);

/* `hugepages`, `page_bytes` (of the pool's memory, as the kernel maps it), `iova`, `eal_version`. New
 * reference.
 */
json_t *dpdk_eal_proof(const struct rte_mempool *pool);

/* Until dpdk_stdout_back, what is printed to stdout goes to stderr. */
int dpdk_stdout_to_stderr(void);
void dpdk_stdout_back(int kept);

#endif
