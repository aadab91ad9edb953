/* SPDX-License-Identifier: MIT */
/*
 * uml_xstate.c - preloaded into a user-mode Linux kernel: lets it run on a processor with AMX
 *
 * The kernel keeps the registers of its processes by ptrace, the vector registers in a buffer
 * of 2,696 bytes (Linux 6.1). On a processor whose state is larger, that of the host refuses to
 * take back a part of it ("ptrace set fp regs failed", and init is killed). So what the buffer
 * has no room for is given back here as never used, which it is: a guest cannot ask for AMX.
 */
#undef _FORTIFY_SOURCE /* it has a say in how ptrace() is declared */
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { STATE_MAX = 65536, IN_USE_AT = 512, FIRST_EXTENDED = 2, COMPONENTS = 63 };
enum { CPUID_XSTATE = 0xd };

typedef long ptrace_call(enum __ptrace_request request, pid_t pid, void *address, void *data);

static uint8_t state[STATE_MAX]; /* the kernel traces from one thread */
static size_t state_size;        /* that of the processor, once seen */

/* A mask of those parts that end within @size bytes. */
static uint64_t parts_within(size_t size)
{
    static uint64_t mask;
    unsigned part_size = 0, offset = 0, c = 0, d = 0;

    if (mask != 0)
        return mask; /* cpuid is slow in a virtual machine, and @size is always the same */
    mask = UINT64_MAX;
    for (unsigned part = FIRST_EXTENDED; part < COMPONENTS; part++) {
        __cpuid_count(CPUID_XSTATE, part, part_size, offset, c, d);
        if (offset + part_size > size)
            mask &= ~(UINT64_C(1) << part);
    }
    return mask;
}

static long state_get(ptrace_call *next, pid_t pid, struct iovec *wanted)
{
    struct iovec all = {state, sizeof(state)};

    if (next(PTRACE_GETREGSET, pid, (void *)(uintptr_t)NT_X86_XSTATE, &all) < 0)
        return -1;
    state_size = all.iov_len;
    if (wanted->iov_len > state_size)
        wanted->iov_len = state_size;
    memcpy(wanted->iov_base, state, wanted->iov_len);
    return 0;
}

static long state_set(ptrace_call *next, pid_t pid, const struct iovec *part)
{
    struct iovec all = {state, state_size};
    uint64_t in_use = 0;

    memset(state, 0, state_size);
    memcpy(state, part->iov_base, part->iov_len);
    memcpy(&in_use, state + IN_USE_AT, sizeof(in_use));
    in_use &= parts_within(part->iov_len);
    memcpy(state + IN_USE_AT, &in_use, sizeof(in_use));
    return next(PTRACE_SETREGSET, pid, (void *)(uintptr_t)NT_X86_XSTATE, &all);
}

/* The libc's form of it has no names for what follows the request. */
long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_call *next;
    va_list rest;
    pid_t pid = 0;

    void *address = NULL, *data = NULL;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "ptrace");
    va_start(rest, request);
    pid = va_arg(rest, pid_t);
    address = va_arg(rest, void *);
    data = va_arg(rest, void *);
    va_end(rest);
    if ((uintptr_t)address == NT_X86_XSTATE) {
        if (request == PTRACE_GETREGSET)
            return state_get(next, pid, data);
        if (request == PTRACE_SETREGSET && ((struct iovec *)data)->iov_len < state_size)
            return state_set(next, pid, data);
    }
    return next(request, pid, address, data);
}
