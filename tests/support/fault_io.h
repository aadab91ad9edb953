/* SPDX-License-Identifier: MIT */
/*
 * fault_io.h - the Nth call that touches a folder fails
 *
 * Two ways to use it: linked into a test program, whose definitions then stand
 * before those of libc, also for SQLite; or preloaded into the daemon
 * (libfault_io.so), where the environment selects what fails:
 *   FAULT_UNDER   the folder: only files below it count (and the folder itself)
 *   FAULT_CALLS   some of "write,sync,truncate,open,name,read,alloc"
 *   FAULT_AT      which call fails, from 1; 0: none, only count
 *   FAULT_TIMES   how many in a row fail from there on, 0: all
 *   FAULT_ERRNO   with which number
 *   FAULT_DELAY_MS  each of these calls takes so much longer, whether it fails or not
 *   FAULT_REPORT  a file that gets struct fault_report, kept while the process lives
 *   FAULT_PLACE   INODE:FROM:SIZE:TIMES, a bad sector: see fault_io_spoil()
 * "alloc" (malloc, calloc, realloc of the whole process) only where it is preloaded.
 * nanosleep() returns at once while anything of this is set: a pause between two tries is none.
 */
#ifndef MQTT_SPOOLD_TESTS_FAULT_IO_H
#define MQTT_SPOOLD_TESTS_FAULT_IO_H

#include <stdint.h>

enum fault_class {
    FAULT_WRITE = 1 << 0,    /* write, pwrite */
    FAULT_SYNC = 1 << 1,     /* fsync, fdatasync */
    FAULT_TRUNCATE = 1 << 2, /* ftruncate, fallocate */
    FAULT_OPEN = 1 << 3,     /* open, openat */
    FAULT_NAME = 1 << 4,     /* unlink, unlinkat, rename, renameat, mkdir */
    FAULT_READ = 1 << 5,     /* read, pread */
    FAULT_ALLOC = 1 << 6,
};

/* All in eight bytes each, for the reader of FAULT_REPORT. */
struct fault_report {
    uint64_t calls;     /* of the chosen classes so far */
    uint64_t failed;    /* of these */
    uint64_t failed_ns; /* CLOCK_MONOTONIC of the first failure */
    uint64_t
        acks_after; /* sends on a socket after it that begin with PUBACK, PUBREC or PUBCOMP */
    char what[32];  /* the first that failed, in words: "pwrite spool.db-wal" */
};

/* From the next call on; counts anew. */
void fault_io_arm(const char *under, unsigned classes, uint64_t at, uint64_t times, int error);
void fault_io_disarm(void);

/*
 * A bad sector: each read of the file with this inode that touches these bytes fails with EIO,
 * whatever is armed. So does a write that covers a block of it in part, because the kernel
 * must read the rest; one of whole blocks passes, and the place reads no better for it.
 * @times: so many calls fail, then it is sound; 0: it never is.
 */
void fault_io_spoil(uint64_t inode, uint64_t from, uint64_t size, uint64_t times);
/* All of them are sound again. */
void fault_io_heal(void);

const struct fault_report *fault_io_report(void);

/* For allocators that a test puts in: false when this one shall fail. */
int fault_io_may_allocate(void);

#endif
