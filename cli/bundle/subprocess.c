/* SPDX-License-Identifier: MIT */
/*
 * subprocess.c - the output of a program, within a time and a size
 */
#include "cli/bundle/subprocess.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 65536, NOT_RUN = 127 };

_Noreturn static void run_program(const char *const argv[], int output)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* never fails for a valid signal */
    if (nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
        dup2(nothing, STDERR_FILENO) >= 0)
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(NOT_RUN);
}

/* Return: 0: the end; negative errno. */
static int read_all(int fd, unsigned timeout_ms, struct bytes *bytes)
{
    int64_t end_ms = (int64_t)(clock_monotonic_us() / 1000) + timeout_ms;

    while (true) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int64_t left_ms = end_ms - (int64_t)(clock_monotonic_us() / 1000);
        uint8_t *to;
        int count = left_ms > 0 ? poll(&poll_fd, 1, (int)left_ms) : 0;
        int result;
        ssize_t got;

        if (count == 0)
            return -ETIMEDOUT;
        if (count < 0 && errno == EINTR)
            continue;
        result = bytes_reserve(bytes, CHUNK, &to);
        if (result < 0)
            return result;
        got = read(fd, to, CHUNK);
        if (got <= 0)
            return got < 0 ? -errno : 0;
        bytes_commit(bytes, (size_t)got);
    }
}

/* Its output has ended. Return: 0: so has the program; -ETIMEDOUT. */
static int wait_for_end(pid_t pid, unsigned timeout_ms)
{
    struct pollfd poll_fd = {.events = POLLIN};
    AUTO_CLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int count;

    if (fd < 0)
        return 0; /* an old kernel: waitpid() waits */
    poll_fd.fd = fd;
    do {
        count = poll(&poll_fd, 1, (int)timeout_ms);
    } while (count < 0 && errno == EINTR);
    return count == 0 ? -ETIMEDOUT : 0;
}

int subprocess_read(const char *const argv[], unsigned timeout_ms, struct bytes *ret)
{
    int ends[2];
    int status = 0;
    int result;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        run_program(argv, ends[1]);
    (void)close(ends[1]);
    AUTO_CLOSE int fd = ends[0];
    if (pid < 0)
        return -EAGAIN;
    result = read_all(fd, timeout_ms, ret);
    if (result == 0)
        result = wait_for_end(pid, timeout_ms);
    if (result < 0)
        (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        return -ENOEXEC;
    return result;
}
