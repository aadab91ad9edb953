/* SPDX-License-Identifier: MIT */
/*
 * fault_io.c - the Nth call that touches a folder fails
 *
 * SQLite's own test method, one level lower: fail the first call, then the
 * second, until a run has no failure. The functions of libc that the spool and
 * SQLite call stand here again and pass on what shall not fail. Which
 * descriptors count is noted when they are opened, by path, or by the folder
 * that openat() names.
 *
 * After the first failure each send() on a Unix stream socket is looked at: an
 * acknowledgement there is what must never be. That is exact where times of
 * arrival at a client would race.
 *
 * A bad sector is another thing: not the Nth call fails, but each that touches a
 * place of one file, which is known by its inode, so that it moves with a rename.
 *
 * A failing call does nothing. Calls of other files, of pipes and of sockets
 * pass untouched. One counter for all threads.
 */
/* On 32 bits the headers would give the functions with 64-bit offsets and times the plain
 * names; both are defined here. */
#undef _FILE_OFFSET_BITS
#undef _TIME_BITS
#include "tests/support/fault_io.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS = 4096, NAME_BYTES = 32, PLACES = 8, BLOCK = 4096 };

static struct {
    char under[256];
    unsigned classes;
    uint64_t at, times;
    int error;
    struct timespec delay;
    bool armed;
} plan;

static struct place {
    uint64_t inode, from, size, times, failed;
} places[PLACES];
static unsigned place_count;

static struct fault_report own_report;
static struct fault_report *report = &own_report;
static char watched[DESCRIPTORS]
                   [NAME_BYTES]; /* the name of the file, "" for what does not count */

#define NEXT(name) next_function(#name)

static void *next_function(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

/* POSIX lets a pointer to an object be read as one to a function; ISO C does not. */
#define REAL(type, name)                                                                       \
    static type (*real)(PARAMETERS_##name);                                                    \
    if (!real)                                                                                 \
    *(void **)&real = NEXT(name)

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void note_failure(const char *call, const char *name)
{
    if (__atomic_fetch_add(&report->failed, 1, __ATOMIC_SEQ_CST) == 0) {
        report->failed_ns = now_ns();
        (void)strncpy(report->what, call, sizeof(report->what) - 1);
        size_t used = strlen(report->what);
        if (name[0] && used + 1 < sizeof(report->what)) {
            report->what[used] = ' ';
            (void)strncpy(report->what + used + 1, name, sizeof(report->what) - used - 2);
        }
    }
}

static bool fails(unsigned class, const char *call, const char *name)
{
    if (!plan.armed || !(plan.classes & class))
        return false;
    uint64_t number = __atomic_add_fetch(&report->calls, 1, __ATOMIC_SEQ_CST);
    if (plan.delay.tv_sec > 0 || plan.delay.tv_nsec > 0)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &plan.delay, NULL);
    if (plan.at == 0 || number < plan.at)
        return false;
    if (plan.times > 0 && number >= plan.at + plan.times)
        return false;
    note_failure(call, name);
    errno = plan.error;
    return true;
}

/* What a write needs that begins or ends within a block: the rest of it, from the disk. */
static bool covers_in_part(const struct place *place, uint64_t from, uint64_t size)
{
    uint64_t first = place->from / BLOCK * BLOCK;
    uint64_t end = (place->from + place->size + BLOCK - 1) / BLOCK * BLOCK;

    return from < end && from + size > first && (from > first || from + size < end);
}

static bool meets_place(int fd, bool is_write, uint64_t from, uint64_t size)
{
    struct stat64 status;

    if (place_count == 0 || fstat64(fd, &status) < 0)
        return false;
    for (unsigned i = 0; i < place_count; i++) {
        struct place *place = &places[i];
        bool touches = from < place->from + place->size && from + size > place->from;

        if (is_write)
            touches = covers_in_part(place, from, size);
        if (place->inode != status.st_ino || !touches ||
            (place->times > 0 && place->failed >= place->times))
            continue;
        place->failed++;
        note_failure(is_write ? "write" : "read", "bad block");
        errno = EIO;
        return true;
    }
    return false;
}

/* Where read() and write() are. */
static uint64_t place_of(int fd, bool is_write)
{
    struct stat64 status;

    if (place_count == 0)
        return 0;
    if (is_write && (fcntl(fd, F_GETFL) & O_APPEND) && fstat64(fd, &status) == 0)
        return (uint64_t)status.st_size;
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    return at < 0 ? 0 : (uint64_t)at;
}

/* The name below the folder, or NULL when @path is elsewhere. */
static const char *below(const char *path)
{
    size_t length = strlen(plan.under);

    if (!plan.armed || length == 0 || strncmp(path, plan.under, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return "folder";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *below_at(int directory_fd, const char *path)
{
    if (path[0] == '/' || directory_fd == AT_FDCWD)
        return below(path);
    bool counts = directory_fd >= 0 && directory_fd < DESCRIPTORS && watched[directory_fd][0];
    return counts ? path : NULL;
}

static const char *watched_name(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS && watched[fd][0] ? watched[fd] : NULL;
}

static int note_opened(int fd, const char *name)
{
    if (fd >= 0 && fd < DESCRIPTORS) {
        watched[fd][0] = '\0';
        if (name)
            (void)strncpy(watched[fd], name, NAME_BYTES - 1);
    }
    return fd;
}

/* ---- what fails ---- */

#define PARAMETERS_open        const char *, int, ...
#define PARAMETERS_open64      const char *, int, ...
#define PARAMETERS_openat      int, const char *, int, ...
#define PARAMETERS_openat64    int, const char *, int, ...
#define PARAMETERS_close       int
#define PARAMETERS_write       int, const void *, size_t
#define PARAMETERS_pwrite      int, const void *, size_t, off_t
#define PARAMETERS_pwrite64    int, const void *, size_t, off64_t
#define PARAMETERS_read        int, void *, size_t
#define PARAMETERS_pread       int, void *, size_t, off_t
#define PARAMETERS_pread64     int, void *, size_t, off64_t
#define PARAMETERS_fsync       int
#define PARAMETERS_fdatasync   int
#define PARAMETERS_ftruncate   int, off_t
#define PARAMETERS_ftruncate64 int, off64_t
#define PARAMETERS_fallocate   int, int, off_t, off_t
#define PARAMETERS_fallocate64 int, int, off64_t, off64_t
#define PARAMETERS_unlink      const char *
#define PARAMETERS_unlinkat    int, const char *, int
#define PARAMETERS_rename      const char *, const char *
#define PARAMETERS_renameat    int, const char *, int, const char *
#define PARAMETERS_mkdir       const char *, mode_t
#define PARAMETERS_send        int, const void *, size_t, int
#define PARAMETERS_nanosleep   const struct timespec *, struct timespec *

static unsigned mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, unsigned) : 0;
}

#define OPEN(name)                                                                             \
    int name(const char *path, int flags, ...)                                                 \
    {                                                                                          \
        REAL(int, name);                                                                       \
        va_list arguments;                                                                     \
        va_start(arguments, flags);                                                            \
        unsigned mode = mode_of(flags, arguments);                                             \
        va_end(arguments);                                                                     \
        const char *file = below(path);                                                        \
        if (file && fails(FAULT_OPEN, #name, file))                                            \
            return -1;                                                                         \
        return note_opened(real(path, flags, mode), file);                                     \
    }

OPEN(open)
OPEN(open64)

#define OPEN_AT(name)                                                                          \
    int name(int directory_fd, const char *path, int flags, ...)                               \
    {                                                                                          \
        REAL(int, name);                                                                       \
        va_list arguments;                                                                     \
        va_start(arguments, flags);                                                            \
        unsigned mode = mode_of(flags, arguments);                                             \
        va_end(arguments);                                                                     \
        const char *file = below_at(directory_fd, path);                                       \
        if (file && fails(FAULT_OPEN, #name, file))                                            \
            return -1;                                                                         \
        return note_opened(real(directory_fd, path, flags, mode), file);                       \
    }

OPEN_AT(openat)
OPEN_AT(openat64)

int close(int fd)
{
    REAL(int, close);
    (void)note_opened(fd, NULL);
    return real(fd);
}

/* A call on a descriptor, named as libc has it. */
#define ON_DESCRIPTOR(result, class, name, parameters, arguments)                              \
    result name parameters                                                                     \
    {                                                                                          \
        REAL(result, name);                                                                    \
        const char *file = watched_name(fd);                                                   \
        if (file && fails(class, #name, file))                                                 \
            return -1;                                                                         \
        return real arguments;                                                                 \
    }

/* The same for bytes at a place. */
#define ON_BYTES(class, name, at, parameters, arguments)                                       \
    ssize_t name parameters                                                                    \
    {                                                                                          \
        REAL(ssize_t, name);                                                                   \
        const char *file = watched_name(fd);                                                   \
        if ((file && fails(class, #name, file)) ||                                             \
            meets_place(fd, (class) == FAULT_WRITE, at, size))                                 \
            return -1;                                                                         \
        return real arguments;                                                                 \
    }

ON_BYTES(FAULT_WRITE,
         write,
         place_of(fd, true),
         (int fd, const void *data, size_t size),
         (fd, data, size))
ON_BYTES(FAULT_WRITE,
         pwrite,
         (uint64_t)offset,
         (int fd, const void *data, size_t size, off_t offset),
         (fd, data, size, offset))
ON_BYTES(FAULT_WRITE,
         pwrite64,
         (uint64_t)offset,
         (int fd, const void *data, size_t size, off64_t offset),
         (fd, data, size, offset))
ON_BYTES(
    FAULT_READ, read, place_of(fd, false), (int fd, void *data, size_t size), (fd, data, size))
ON_BYTES(FAULT_READ,
         pread,
         (uint64_t)offset,
         (int fd, void *data, size_t size, off_t offset),
         (fd, data, size, offset))
ON_BYTES(FAULT_READ,
         pread64,
         (uint64_t)offset,
         (int fd, void *data, size_t size, off64_t offset),
         (fd, data, size, offset))
ON_DESCRIPTOR(int, FAULT_SYNC, fsync, (int fd), (fd))
ON_DESCRIPTOR(int, FAULT_SYNC, fdatasync, (int fd), (fd))
ON_DESCRIPTOR(int, FAULT_TRUNCATE, ftruncate, (int fd, off_t size), (fd, size))
ON_DESCRIPTOR(int, FAULT_TRUNCATE, ftruncate64, (int fd, off64_t size), (fd, size))

ON_DESCRIPTOR(int,
              FAULT_TRUNCATE,
              fallocate,
              (int fd, int mode, off_t offset, off_t size),
              (fd, mode, offset, size))
ON_DESCRIPTOR(int,
              FAULT_TRUNCATE,
              fallocate64,
              (int fd, int mode, off64_t offset, off64_t size),
              (fd, mode, offset, size))

/* A call on a name. */
#define ON_NAME(name, where, parameters, arguments)                                            \
    int name parameters                                                                        \
    {                                                                                          \
        REAL(int, name);                                                                       \
        const char *file = where;                                                              \
        if (file && fails(FAULT_NAME, #name, file))                                            \
            return -1;                                                                         \
        return real arguments;                                                                 \
    }

ON_NAME(unlink, below(path), (const char *path), (path))
ON_NAME(unlinkat, below_at(at, path), (int at, const char *path, int flags), (at, path, flags))
ON_NAME(rename, below(from), (const char *from, const char *to), (from, to))
ON_NAME(renameat,
        below_at(from_at, from),
        (int from_at, const char *from, int to_at, const char *to),
        (from_at, from, to_at, to))
ON_NAME(mkdir, below(path), (const char *path, mode_t mode), (path, mode))

/* ---- what must not happen afterwards ---- */

static bool is_acknowledgement(unsigned char first)
{
    return first >> 4 == 4 || first >> 4 == 5 || first >> 4 == 7;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    REAL(ssize_t, send);
    struct sockaddr name = {0};
    socklen_t length = sizeof(name);
    if (report->failed > 0 && plan.armed && size > 0 && getsockname(fd, &name, &length) == 0 &&
        name.sa_family == AF_UNIX && is_acknowledgement(*(const unsigned char *)data))
        __atomic_add_fetch(&report->acks_after, 1, __ATOMIC_SEQ_CST);
    return real(fd, data, size, flags);
}

/* ---- time ---- */

int nanosleep(const struct timespec *pause, struct timespec *left)
{
    REAL(int, nanosleep);
    return plan.armed || place_count > 0 ? 0 : real(pause, left);
}

#if __TIMESIZE == 32
/* The name for programs with 64-bit times; their structure passes through unread. */
#define PARAMETERS___nanosleep64 const void *, void *
int __nanosleep64(const void *pause, void *left);

int __nanosleep64(const void *pause, void *left)
{
    REAL(int, __nanosleep64);
    return plan.armed || place_count > 0 ? 0 : real(pause, left);
}
#endif

/* ---- memory ---- */

int fault_io_may_allocate(void)
{
    return !fails(FAULT_ALLOC, "allocation", "");
}

#ifdef FAULT_IO_PRELOADED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return fault_io_may_allocate() ? __libc_malloc(size) : NULL;
}

void *calloc(size_t count, size_t size)
{
    return fault_io_may_allocate() ? __libc_calloc(count, size) : NULL;
}

void *realloc(void *old, size_t size)
{
    return fault_io_may_allocate() ? __libc_realloc(old, size) : NULL;
}
#endif

/* ---- setting it up ---- */

void fault_io_arm(const char *under, unsigned classes, uint64_t at, uint64_t times, int error)
{
    plan.armed = false;
    memset(report, 0, sizeof(*report));
    plan.under[0] = '\0';
    (void)strncat(plan.under, under, sizeof(plan.under) - 1);
    plan.classes = classes;
    plan.at = at;
    plan.times = times;
    plan.error = error;
    plan.armed = true;
}

void fault_io_disarm(void)
{
    plan.armed = false;
    memset(watched, 0, sizeof(watched));
}

void fault_io_spoil(uint64_t inode, uint64_t from, uint64_t size, uint64_t times)
{
    if (place_count == PLACES)
        abort();
    places[place_count++] =
        (struct place){.inode = inode, .from = from, .size = size, .times = times};
}

void fault_io_heal(void)
{
    place_count = 0;
}

const struct fault_report *fault_io_report(void)
{
    return report;
}

#ifdef FAULT_IO_PRELOADED
static unsigned parse_classes(const char *words)
{
    static const char *const names[] = {"write", "sync", "truncate", "open",
                                        "name",  "read", "alloc"};
    unsigned classes = 0;

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strstr(words, names[i]))
            classes |= 1u << i;
    }
    return classes;
}

static uint64_t number_of(const char *variable)
{
    const char *text = getenv(variable);

    return text ? strtoull(text, NULL, 10) : 0;
}

static void map_report(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, sizeof(*report)) < 0)
        abort();
    void *shared = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    (void)close(fd);
    report = shared;
}

/* INODE:FROM:SIZE:TIMES */
static void spoil_by_environment(const char *text)
{
    uint64_t numbers[4] = {0};
    char *end = NULL;

    for (int i = 0; i < 4; i++, text = end + 1) {
        numbers[i] = strtoull(text, &end, 10);
        if (*end != (i < 3 ? ':' : '\0'))
            abort();
    }
    fault_io_spoil(numbers[0], numbers[1], numbers[2], numbers[3]);
}

__attribute__((constructor)) static void arm_by_environment(void)
{
    const char *under = getenv("FAULT_UNDER");
    const char *calls = getenv("FAULT_CALLS");
    const char *path = getenv("FAULT_REPORT");

    if (!under || !calls || !path)
        return;
    map_report(path);
    fault_io_arm(under, parse_classes(calls), number_of("FAULT_AT"), number_of("FAULT_TIMES"),
                 (int)number_of("FAULT_ERRNO"));
    uint64_t delay_ms = number_of("FAULT_DELAY_MS");
    plan.delay = (struct timespec){.tv_sec = (time_t)(delay_ms / 1000),
                                   .tv_nsec = (long)(delay_ms % 1000) * 1000000};
    if (getenv("FAULT_PLACE"))
        spoil_by_environment(getenv("FAULT_PLACE"));
}
#endif
