/* SPDX-License-Identifier: BSD-3-Clause */
#include "dpdk_eal.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>
#include <rte_version.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX 48
#define ARGUMENT_MAX 256

/* The EAL keeps pointers into them. */
static char argument[ARGUMENTS_MAX][ARGUMENT_MAX];
static char *argument_list[ARGUMENTS_MAX + 1];
static int argument_count;
static bool started;

int dpdk_stdout_to_stderr(void)
{
    int kept;

    (void)fflush(stdout);
    kept = dup(STDOUT_FILENO);
    if (kept >= 0)
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    return kept;
}

void dpdk_stdout_back(int kept)
{
    if (kept < 0)
        return;
    (void)fflush(stdout);
    (void)dup2(kept, STDOUT_FILENO);
    (void)close(kept);
}

static int __attribute__((format(printf, 1, 2))) add(const char *format, ...)
{
    va_list values;
    int length;

    if (argument_count == ARGUMENTS_MAX)
        return -1;
    va_start(values, format);
    length = vsnprintf(argument[argument_count], ARGUMENT_MAX, format, values);
    va_end(values);
    if (length >= ARGUMENT_MAX)
        return -1;
    argument_list[argument_count] = argument[argument_count];
    argument_count++;
    return 0;
}

static int add_extra(const json_t *extra, struct error *err)
{
    size_t i;
    json_t *value;

    if (extra != NULL && !json_is_array(extra)) {
        error_set(err, "bad-argument", "eal: expected a list of strings");
        return -1;
    }
    json_array_foreach ((json_t *)(uintptr_t)extra, i, value) {
        if (!json_is_string(value) || add("%s", json_string_value(value))) {
            error_set(err, "bad-argument",
                      "eal: expected a list of at most 32 strings, each below %d characters", ARGUMENT_MAX);
            return -1;
        }
    }
    return 0;
}

static int build_arguments(const struct dpdk_eal *eal, struct error *err)
{
    argument_count = 0;
    (void)add("labkit-probe");
    (void)add("--file-prefix=labkit-%d", (int)getpid());
    (void)add("--no-telemetry");
    if (eal->core >= 0)
        (void)add("--lcores=0@%d", eal->core);
    else
        (void)add("--lcores=0@(0-%ld)", sysconf(_SC_NPROCESSORS_CONF) - 1);
    if (eal->pci) {
        /* Where no device is allowed, the EAL takes all that are bound to vfio-pci, also those of others.
         * This one is the host bridge, which it has no driver for; ports are allowed by being probed later.
         */
        (void)add("-a");
        (void)add("0000:00:00.0");
    } else {
        (void)add("--no-pci");
    }
    if (eal->huge) {
        (void)add("--in-memory");
        (void)add("--single-file-segments"); /* few enough files for vhost-user and memif to share */
    } else {
        (void)add("--no-huge");
        (void)add("--no-shconf");
        (void)add("-m");
        (void)add("%d", (int)eal->memory_mb);
    }
    return add_extra(eal->extra, err);
}

/* The first number of a line "name: number" of a file in /proc; -1: not there. */
static long proc_number(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long number = -1;

    if (file == NULL)
        return -1;
    while (number < 0 && fgets(line, sizeof(line), file))
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            number = strtol(line + strlen(name) + 1, NULL, 10);
    (void)fclose(file);
    return number;
}

/* The EAL's helper threads (memif's and vhost's handshakes) run where the process may run, not on the
 * worker's core. */
static void widen_affinity(void)
{
    cpu_set_t process;

    if (sched_getaffinity(getpid(), sizeof(process), &process) == 0)
        (void)sched_setaffinity(0, sizeof(process), &process);
}

int dpdk_eal_start(const struct dpdk_eal *eal, struct error *err)
{
    if (started) {
        error_set(err, "state", "the EAL can be started once in a process: start a new probe");
        return -1;
    }
    if (build_arguments(eal, err))
        return -1;
    started = true;
    widen_affinity();
    int code = rte_eal_init(argument_count, argument_list);
    /* Neither memory nor configuration is shared: the EAL made a directory to keep nothing in, and leaves it.
     */
    (void)rmdir(rte_eal_get_runtime_dir());
    if (code >= 0)
        return 0;
    long free_pages = proc_number("/proc/meminfo", "HugePages_Free");
    error_set(err, "refused", "rte_eal_init: %s%s", rte_strerror(rte_errno),
              eal->huge && free_pages <= 0 ? ": no hugepages are free: write a number to "
                                             "/proc/sys/vm/nr_hugepages (256 of 2 MB are plenty), "
                                             "or use huge: false"
                                           : ": see the EAL's log");
    return -1;
}

/* How large the pages are that the kernel maps at `address` (/proc/self/smaps); 0 when it does not say. */
static long page_bytes(const void *address)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool inside = false;
    long kib = 0;

    if (file == NULL)
        return 0;
    while (kib == 0 && fgets(line, sizeof(line), file)) {
        uintptr_t low;
        uintptr_t high;

        if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
            inside = (uintptr_t)address >= low && (uintptr_t)address < high;
        else if (inside && strncmp(line, "KernelPageSize:", 15) == 0)
            kib = strtol(line + 15, NULL, 10);
    }
    (void)fclose(file);
    return kib * 1024;
}

json_t *dpdk_eal_proof(const struct rte_mempool *pool)
{
    long bytes = page_bytes(STAILQ_FIRST(&pool->mem_list)->addr);

    return json_pack("{s:b, s:I, s:s, s:s}", "hugepages", bytes > sysconf(_SC_PAGESIZE), "page_bytes",
                     (json_int_t)bytes, "iova", rte_eal_iova_mode() == RTE_IOVA_VA ? "va" : "pa",
                     "eal_version", rte_version());
}
