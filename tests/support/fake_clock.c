/* SPDX-License-Identifier: MIT */
/*
 * fake_clock.c - preloaded: the clocks of one process, moved by a test at any moment
 *
 * SPOOLD_FAKE_CLOCK names a file that is mapped and read at each call; the test
 * writes to it while the process runs. It can hold: how far the wall clock
 * and the boot clock are from the true ones, whether the kernel vouches for the
 * wall clock, and which boot this is. Timers on the boot clock are moved along,
 * so that a sleeper on them wakes up when it should.
 *
 * The true clock is read by the system call itself: no other library in between.
 */
/* The headers would give the calls with 64-bit offsets and times the plain names; both are
 * defined here. */
#undef _FILE_OFFSET_BITS
#undef _TIME_BITS
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define BOOT_FILE "/proc/sys/kernel/random/boot_id"
#define SYNC_FILE "/run/systemd/timesync/synchronized"
#define FDS_MAX   1024
#define SECOND_NS INT64_C(1000000000)

/* As struct.pack("=qqq40s") writes it. */
struct fake {
    int64_t wall_shift_ms;
    int64_t boot_shift_ms;
    int64_t synchronized;
    char boot_id[40]; /* with its newline; empty: the true one */
};

static volatile struct fake *fake;
static bool on_boot_clock[FDS_MAX];

static volatile const struct fake *get_fake(void)
{
    static struct fake none = {.synchronized = 1};
    const char *path = fake ? NULL : getenv("SPOOLD_FAKE_CLOCK");

    if (path) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);

        void *at = mmap(NULL, sizeof(none), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        (void)close(fd);
        if (at != MAP_FAILED)
            fake = at;
    }
    return fake ? fake : &none;
}

static int64_t shift_ns(clockid_t id)
{
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return get_fake()->wall_shift_ms * 1000000;
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
        return get_fake()->boot_shift_ms * 1000000;
    default:
        return 0;
    }
}

static struct timespec moved(struct timespec time, int64_t by_ns)
{
    int64_t ns = time.tv_sec * SECOND_NS + time.tv_nsec + by_ns;

    if (ns < 0)
        ns = 0;
    return (struct timespec){.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int r = (int)syscall(SYS_clock_gettime, id, ret);

    if (r == 0)
        *ret = moved(*ret, shift_ns(id));
    return r;
}

/* OpenSSL compares the dates of certificates with this one. */
time_t time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

int adjtimex(struct timex *state)
{
    bool synchronized = get_fake()->synchronized != 0;

    memset(state, 0, sizeof(*state));
    state->maxerror = synchronized ? 1000 : 16000000;
    state->status = synchronized ? 0 : STA_UNSYNC;
    return synchronized ? TIME_OK : TIME_ERROR;
}

int access(const char *path, int mode)
{
    if (strcmp(path, SYNC_FILE) == 0)
        return get_fake()->synchronized ? 0 : -1;
    return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

static int open_boot_id(void)
{
    volatile const struct fake *now = get_fake();
    char text[sizeof(now->boot_id)];
    int fd = memfd_create("boot_id", MFD_CLOEXEC);

    memcpy(text, (const char *)now->boot_id, sizeof(text));
    if (fd >= 0 &&
        (write(fd, text, strnlen(text, sizeof(text))) < 0 || lseek(fd, 0, SEEK_SET) < 0))
        return -1;
    return fd;
}

static int open_path(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, BOOT_FILE) == 0 && get_fake()->boot_id[0] != '\0')
        return open_boot_id();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_path(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_path(path, flags | O_LARGEFILE, mode);
}

int timerfd_create(clockid_t id, int flags)
{
    int fd = (int)syscall(SYS_timerfd_create, id, flags);

    if (fd >= 0 && fd < FDS_MAX)
        on_boot_clock[fd] = id == CLOCK_BOOTTIME || id == CLOCK_BOOTTIME_ALARM;
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *wanted, struct itimerspec *old)
{
    struct itimerspec true_one = *wanted;
    bool is_set = wanted->it_value.tv_sec != 0 || wanted->it_value.tv_nsec != 0;

    if (fd >= 0 && fd < FDS_MAX && on_boot_clock[fd] && (flags & TFD_TIMER_ABSTIME) && is_set) {
        true_one.it_value = moved(wanted->it_value, -shift_ns(CLOCK_BOOTTIME));
        if (true_one.it_value.tv_sec == 0 && true_one.it_value.tv_nsec == 0)
            true_one.it_value.tv_nsec = 1; /* 0 would disarm it */
    }
    return (int)syscall(SYS_timerfd_settime, fd, flags, &true_one, old);
}
