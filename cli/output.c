/* SPDX-License-Identifier: MIT */
/*
 * output.c - a file that a verb writes: the whole file, or nothing
 *
 * The temporary file has no name while it is written, where the file system has such files, so
 * that nothing of it is left if the tool is killed. linkat(2) does not replace, so it gets a
 * name of its own for the instant before the rename.
 */
#include "cli/output.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "cli/cli.h"

/* Hidden, and without the name of the file: some folders are read by the end of the name. */
#define TEMPORARY_PREFIX ".mqtt-spool-"

enum { TEMPORARY_MAX = 64, TRIES = 100, OUTPUT_BEGINS_MAX = 256 };

struct output {
    char *path;       /* for texts */
    const char *name; /* the last part of it */
    int folder_fd;
    char temporary[TEMPORARY_MAX]; /* "": it has no name yet */
    FILE *stream;
};

static void output_free(struct output *output)
{
    if (output->stream)
        (void)fclose(output->stream); /* synced already, or not wanted */
    if (output->temporary[0] != '\0')
        (void)unlinkat(output->folder_fd, output->temporary, 0);
    if (output->folder_fd >= 0)
        (void)close(output->folder_fd);
    free(output->path);
    free(output);
}

static int output_fail(const struct output *output, const char *what, int error)
{
    cli_error("cannot %s %s: %s", what, output->path, strerror(error));
    return error == EACCES || error == EPERM || error == EROFS ? EX_NOPERM : EX_UNAVAILABLE;
}

static int name_temporary(char text[static TEMPORARY_MAX])
{
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -1;
    (void)snprintf(text, TEMPORARY_MAX, TEMPORARY_PREFIX "%016llx", (unsigned long long)random);
    return 0;
}

/* Where there are no files without a name. Return: the descriptor; negative: errno has why. */
static int create_named(struct output *output, mode_t mode)
{
    int fd = -1;

    for (int i = 0; i < TRIES && fd < 0; i++) {
        if (name_temporary(output->temporary) < 0)
            break;
        fd = openat(output->folder_fd, output->temporary,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        output->temporary[0] = '\0'; /* whatever has that name is another's */
    return fd;
}

static int create_temporary(struct output *output, mode_t mode)
{
    int fd = openat(output->folder_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, mode);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        fd = create_named(output, mode);
    return fd;
}

/* Return: 1: it does; 0: it does not; negative: errno has why. */
static int old_begins_with(const struct output *output, const char *begins)
{
    char text[OUTPUT_BEGINS_MAX];
    size_t size = strlen(begins);
    AUTO_CLOSE int fd =
        regular_openat(output->folder_fd, output->name, O_RDONLY | O_NOFOLLOW, 0);
    ssize_t read = fd < 0 ? -1 : read_full_at(fd, text, size, 0);

    if (read < 0)
        return -1;
    return (size_t)read == size && memcmp(text, begins, size) == 0;
}

/* Only a regular file is replaced: no device behind /dev/stdout, and no link to elsewhere. */
static int check_old(const struct output *output, const char *begins)
{
    struct stat st;
    int is_older;

    if (fstatat(output->folder_fd, output->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? EX_OK : output_fail(output, "look at", errno);
    if (!S_ISREG(st.st_mode)) {
        cli_error("%s is there and is no regular file: name another one", output->path);
        return EX_USAGE;
    }
    is_older = begins ? old_begins_with(output, begins) : 0;
    if (is_older < 0)
        return output_fail(output, "look at", errno);
    if (is_older)
        return EX_OK;
    cli_error("%s is there and %s: it is not replaced; name another file", output->path,
              begins ? "is none that this verb wrote" : "may be needed");
    return EX_USAGE;
}

/* Splits the path. Return: the folder's descriptor; negative: errno has why. */
static int open_folder(struct output *output)
{
    char *slash = strrchr(output->path, '/');
    int fd;

    output->name = slash ? slash + 1 : output->path;
    if (*output->name == '\0') {
        errno = EISDIR;
        return -1;
    }
    if (!slash || slash == output->path)
        return open(slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '\0';
    fd = open(output->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '/';
    return fd;
}

static int output_begin(struct output *output, const char *begins, mode_t mode)
{
    int fd;
    int code;

    output->folder_fd = open_folder(output);
    if (output->folder_fd < 0)
        return output_fail(output, "write", errno);
    code = check_old(output, begins);
    if (code != EX_OK)
        return code;
    fd = create_temporary(output, mode);
    if (fd < 0)
        return output_fail(output, "write", errno);
    output->stream = fdopen(fd, "w");
    if (output->stream)
        return EX_OK;
    code = output_fail(output, "write", errno);
    (void)close(fd);
    return code;
}

int output_open(const char *path, const char *begins, mode_t mode, struct output **ret)
{
    struct output *output = calloc(1, sizeof(*output));
    int code = EX_UNAVAILABLE;

    assert(!begins || strlen(begins) <= OUTPUT_BEGINS_MAX);
    if (output) {
        output->folder_fd = -1;
        output->path = strdup(path);
    }
    if (output && output->path)
        code = output_begin(output, begins, mode);
    else
        cli_error("out of memory");
    if (code == EX_OK)
        *ret = output;
    else if (output)
        output_free(output);
    return code;
}

FILE *output_stream(struct output *output)
{
    return output->stream;
}

/* Return: 0; negative: errno has why. */
static int give_temporary_name(struct output *output)
{
    char from[64];

    if (output->temporary[0] != '\0')
        return 0;
    (void)snprintf(from, sizeof(from), "/proc/self/fd/%d", fileno(output->stream));
    for (int i = 0; i < TRIES; i++) {
        char name[TEMPORARY_MAX];

        if (name_temporary(name) < 0)
            return -1;
        if (linkat(AT_FDCWD, from, output->folder_fd, name, AT_SYMLINK_FOLLOW) == 0) {
            memcpy(output->temporary, name, sizeof(name));
            return 0;
        }
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

static int output_finish(struct output *output)
{
    bool has_failed = ferror(output->stream);

    if (fflush(output->stream) != 0)
        return output_fail(output, "write", errno);
    if (has_failed) /* its errno is long gone, and mostly one more write fails for the same */
        return output_fail(output, "write",
                           write(fileno(output->stream), "", 1) < 0 ? errno : EIO);
    if (fsync(fileno(output->stream)) < 0 || give_temporary_name(output) < 0 ||
        renameat(output->folder_fd, output->temporary, output->folder_fd, output->name) < 0)
        return output_fail(output, "write", errno);
    output->temporary[0] = '\0';
    if (fsync(output->folder_fd) < 0)
        return output_fail(output, "sync the folder of", errno);
    return EX_OK;
}

int output_commit(struct output *output)
{
    int code = output_finish(output);

    output_free(output);
    return code;
}

void output_discard(struct output *output)
{
    if (output)
        output_free(output);
}
