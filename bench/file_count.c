/* SPDX-License-Identifier: MIT */
/*
 * file_count.c - counts what a program writes to its files, by kind of file
 *
 * Preloaded. The counts are in the file that FILE_COUNT names, which is mapped, so that they
 * can be read at any time: for each kind, in the order of the enum, the bytes, the calls and
 * the syncs, as 64-bit numbers of the machine. Sockets, pipes and memory files do not count.
 */
/* The headers would give the calls with 64-bit offsets and times the plain names; both are
 * defined here. */
#undef _FILE_OFFSET_BITS
#undef _TIME_BITS
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    KIND_UNKNOWN,
    KIND_NONE, /* no regular file: not counted */
    KIND_LOG,
    KIND_DATABASE,
    KIND_AUDIT,
    KIND_MARK,
    KIND_STATUS,
    KIND_OTHER,
    KIND_COUNT,
};

enum { DESCRIPTORS = 4096 };

struct counts {
    uint64_t bytes, calls, syncs;
};

static struct counts own_counts[KIND_COUNT];
static struct counts *counts = own_counts;
static uint8_t kinds[DESCRIPTORS]; /* enum kind; set at the first use of a descriptor */

/* POSIX lets a pointer to an object be read as one to a function; ISO C does not. */
#define REAL(type, name, ...)                                                                  \
    static type (*real)(__VA_ARGS__);                                                          \
    if (!real)                                                                                 \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

static enum kind find_kind(int fd)
{
    static const struct {
        const char *part;
        enum kind kind;
    } names[] = {{"-wal", KIND_LOG},
                 {".db", KIND_DATABASE},
                 {".jsonl", KIND_AUDIT},
                 {"spool.mark", KIND_MARK},
                 {"status.json", KIND_STATUS}};
    char link[64], path[PATH_MAX];
    struct stat status;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return KIND_NONE;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size > 0 ? size : 0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strstr(path, names[i].part))
            return names[i].kind;
    }
    return KIND_OTHER;
}

static enum kind kind_of(int fd)
{
    if (fd < 0 || fd >= DESCRIPTORS)
        return KIND_NONE;
    if (kinds[fd] == KIND_UNKNOWN)
        kinds[fd] = (uint8_t)find_kind(fd);
    return (enum kind)kinds[fd];
}

static ssize_t count_write(int fd, ssize_t written)
{
    if (written > 0) {
        struct counts *of = &counts[kind_of(fd)];

        __atomic_add_fetch(&of->bytes, (uint64_t)written, __ATOMIC_RELAXED);
        __atomic_add_fetch(&of->calls, 1, __ATOMIC_RELAXED);
    }
    return written;
}

static int count_sync(int fd, int result)
{
    __atomic_add_fetch(&counts[kind_of(fd)].syncs, 1, __ATOMIC_RELAXED);
    return result;
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    return count_write(fd, real(fd, data, size));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return count_write(fd, real(fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return count_write(fd, real(fd, data, size, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return count_write(fd, real(fd, parts, count));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
    return count_write(fd, real(fd, parts, count, offset));
}

int fsync(int fd)
{
    REAL(int, fsync, int);
    return count_sync(fd, real(fd));
}

int fdatasync(int fd)
{
    REAL(int, fdatasync, int);
    return count_sync(fd, real(fd));
}

int close(int fd)
{
    REAL(int, close, int);
    if (fd >= 0 && fd < DESCRIPTORS)
        kinds[fd] = KIND_UNKNOWN;
    return real(fd);
}

__attribute__((constructor)) static void map_counts(void)
{
    const char *path = getenv("FILE_COUNT");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof(own_counts)) < 0)
        abort();
    void *shared = mmap(NULL, sizeof(own_counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    (void)close(fd);
    counts = shared;
}
