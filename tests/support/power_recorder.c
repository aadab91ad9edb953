/* SPDX-License-Identifier: MIT */
/*
 * power_recorder.c - a library to preload: logs what a power cut could undo, and what left
 *
 * Everything that a process does to the files below one folder (create, write, truncate,
 * rename, unlink, sync of a file and of a folder) and every byte that it sends on a stream
 * socket of the Unix domain, where acknowledgements leave, becomes a record of one log: see
 * power_record.h.
 *
 *   SPOOLD_POWER_ROOT  the folder; what is in it when the log is still empty is recorded first,
 *                      as synced
 *   SPOOLD_POWER_LOG   the log; several processes, one after the other or at once, may share it
 *   SPOOLD_POWER_DIE   a file: once it is there the next write of a page or more is the last
 *                      record of this process, it dies of SIGKILL: with a commit not synced
 *   SPOOLD_POWER_NORMAL  the control: hands "synchronous = NORMAL" to SQLite where the program
 *                        sets FULL
 *
 * A call is made first and then logged with what it returned, both under one lock: so the order
 * of the log is true, and no death comes between, because the process kills itself.
 *
 * Each function is made of the kernel's call, not of the libc's function behind this one, so
 * that the recorder never calls itself.
 *
 * Left out: "-shm" files, which a power cut leaves nothing of (SQLite builds them anew). What
 * the model does not know is never passed over in silence: a failed write, a shared mapping
 * that can be written, an unknown way to allocate become a record that fails the test.
 */
#undef _FORTIFY_SOURCE /* it would have the functions defined here inlined */
/* The headers would give the calls with 64-bit offsets the plain names; both are defined. */
#undef _FILE_OFFSET_BITS
#undef _TIME_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "power_record.h"
#include "tests/support/power_record.h"

enum { FDS_MAX = 4096, LOG_FD_MIN = 900, WALK_FDS = 16, PAGE_BYTES = 4096 };

enum fd_kind { FD_UNKNOWN, FD_OTHER, FD_RECORDED, FD_PRODUCER };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_size;
static dev_t device; /* that the folder is on */
static const char *die_when;
static bool wants_normal;
static uint64_t connections;

static struct {
    enum fd_kind kind;
    uint64_t object;
} fds[FDS_MAX];

/* What the recorder does for itself goes to the kernel, past the functions below. */

static int own_open(int folder, const char *name, int flags)
{
    return (int)syscall(SYS_openat, folder, name, flags | O_CLOEXEC, 0600);
}

static void own_close(int fd)
{
    (void)syscall(SYS_close, fd);
}

/* ---- the log ---- */

static void give_up(const char *what)
{
    static const char words[] = "power_recorder: ";

    (void)syscall(SYS_write, STDERR_FILENO, words, sizeof(words) - 1);
    (void)syscall(SYS_write, STDERR_FILENO, what, strlen(what));
    (void)syscall(SYS_write, STDERR_FILENO, "\n", 1);
    abort();
}

enum { PARTS_MAX = 64 };

/* The first @size bytes of @parts. */
static void log_parts(enum power_kind kind,
                      uint64_t object,
                      uint64_t offset,
                      const struct iovec *parts,
                      int count,
                      size_t size)
{
    struct power_head head = {
        .magic = POWER_MAGIC,
        .kind = kind,
        .object = object,
        .offset = offset,
        .size = size,
    };
    struct iovec out[PARTS_MAX] = {{&head, sizeof(head)}};
    size_t left = size;

    if (count >= PARTS_MAX)
        give_up("a write of too many parts");
    for (int i = 0; i < count; i++) {
        out[i + 1] = parts[i];
        if (out[i + 1].iov_len > left)
            out[i + 1].iov_len = left;
        left -= out[i + 1].iov_len;
    }
    if (syscall(SYS_writev, log_fd, out, count + 1) != (long)(sizeof(head) + size))
        give_up("the log cannot be written");
    if (die_when && kind == POWER_WRITE && size >= PAGE_BYTES &&
        syscall(SYS_faccessat, AT_FDCWD, die_when, F_OK) == 0)
        (void)kill(getpid(), SIGKILL);
}

static struct iovec part_of(const void *data, size_t size)
{
    union {
        const void *from;
        void *to;
    } cast = {data};

    return (struct iovec){cast.to, size};
}

static void log_record(
    enum power_kind kind, uint64_t object, uint64_t offset, const void *data, size_t size)
{
    const struct iovec part = part_of(data, size);

    log_parts(kind, object, offset, &part, 1, size);
}

static void log_blind(const char *what)
{
    log_record(POWER_BLIND, 0, 0, what, strlen(what));
}

/* ---- names ---- */

static bool ends_in(const char *name, const char *end)
{
    size_t size = strlen(name);

    return size >= strlen(end) && strcmp(name + size - strlen(end), end) == 0;
}

/* The part of @path below the recorded folder, or NULL. */
static const char *recorded_name(const char *path)
{
    if (root_size == 0 || strncmp(path, root, root_size) != 0 || ends_in(path, "-shm"))
        return NULL;
    if (path[root_size] == '\0')
        return path + root_size;
    return path[root_size] == '/' ? path + root_size + 1 : NULL;
}

static bool path_of_fd(int fd, char path[static PATH_MAX])
{
    char link[64];
    ssize_t size;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, PATH_MAX - 1);
    if (size < 0)
        return false;
    path[size] = '\0';
    return true;
}

/* The real path of the folder that @name is in, and the last part behind it. */
static bool resolve(int folder, const char *name, char path[static PATH_MAX])
{
    const char *slash = strrchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    char parent[PATH_MAX] = ".";
    size_t used;
    int fd;

    if (slash)
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - name + 1), name);
    fd = own_open(folder, parent, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return false;
    bool known = path_of_fd(fd, path);
    own_close(fd);
    if (!known)
        return false;
    used = strlen(path);
    return snprintf(path + used, PATH_MAX - used, "/%s", last) < (int)(PATH_MAX - used);
}

static uint64_t inode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

static dev_t device_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) < 0 ? 0 : st.st_dev;
}

/* ---- the start ---- */

static void log_content(const char *path, uint64_t inode)
{
    static char bytes[1 << 16];
    int fd = own_open(AT_FDCWD, path, O_RDONLY);
    uint64_t offset = 0;
    ssize_t n;

    if (fd < 0)
        give_up("a file that was there already cannot be read");
    while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
        log_record(POWER_WRITE, inode, offset, bytes, (size_t)n);
        offset += (uint64_t)n;
    }
    own_close(fd);
    log_record(POWER_SYNC, inode, 0, "", 0);
}

/* Called for a folder before what is in it. */
static int log_found(const char *path, const struct stat *st, int type, struct FTW *at)
{
    const char *name = recorded_name(path);

    (void)at;
    if (!name)
        return 0;
    log_record(type == FTW_D ? POWER_MKDIR : POWER_CREATE, st->st_ino, 0, name, strlen(name));
    if (type == FTW_F)
        log_content(path, st->st_ino);
    return 0;
}

static int sync_found(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    if (type == FTW_D && recorded_name(path))
        log_record(POWER_SYNC, st->st_ino, 0, "", 0);
    return 0;
}

__attribute__((constructor)) static void start(void)
{
    const char *folder = getenv("SPOOLD_POWER_ROOT");
    const char *log = getenv("SPOOLD_POWER_LOG");
    int fd;

    if (!folder || !log || !realpath(folder, root))
        return;
    fd = own_open(AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT);
    log_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, LOG_FD_MIN);
    if (log_fd < 0)
        give_up("the log cannot be opened");
    own_close(fd);
    root_size = strlen(root);
    device = device_of(root);
    if (lseek(log_fd, 0, SEEK_END) == 0 && (nftw(root, log_found, WALK_FDS, FTW_PHYS) != 0 ||
                                            nftw(root, sync_found, WALK_FDS, FTW_PHYS) != 0))
        give_up("the folder cannot be read");
    log_record(POWER_START, (uint64_t)getpid(), 0, "", 0);
    die_when = getenv("SPOOLD_POWER_DIE");
    wants_normal = getenv("SPOOLD_POWER_NORMAL") != NULL;
    connections = (uint64_t)getpid() << 32;
}

/* ---- descriptors ---- */

static void set_fd(int fd, enum fd_kind kind, uint64_t object)
{
    if (fd < 0 || fd >= FDS_MAX)
        return;
    fds[fd].kind = kind;
    fds[fd].object = object;
}

static bool is_producer(int fd)
{
    int domain = 0, type = 0;
    socklen_t size = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* A file that was opened by a call that is not wrapped here is found anyway. */
static enum fd_kind kind_of(int fd)
{
    char path[PATH_MAX];
    struct stat st;

    if (log_fd < 0 || fd < 0 || fd >= FDS_MAX)
        return FD_OTHER;
    if (fds[fd].kind == FD_RECORDED &&
        (fstat(fd, &st) < 0 || st.st_ino != fds[fd].object || st.st_dev != device))
        set_fd(fd, FD_UNKNOWN, 0); /* closed inside the libc, and used again */
    if (fds[fd].kind != FD_UNKNOWN)
        return fds[fd].kind;
    if (is_producer(fd))
        set_fd(fd, FD_PRODUCER, ++connections);
    else if (path_of_fd(fd, path) && recorded_name(path) && fstat(fd, &st) == 0)
        set_fd(fd, FD_RECORDED, st.st_ino);
    else
        set_fd(fd, FD_OTHER, 0);
    return fds[fd].kind;
}

static void note_opened(int fd, int flags, bool existed)
{
    char path[PATH_MAX];

    set_fd(fd, FD_UNKNOWN, 0);
    if ((flags & O_PATH) || kind_of(fd) != FD_RECORDED || !path_of_fd(fd, path))
        return;
    const char *name = recorded_name(path);
    if ((flags & O_CREAT) && !existed)
        log_record(POWER_CREATE, fds[fd].object, 0, name, strlen(name));
    else if (flags & O_TRUNC)
        log_record(POWER_TRUNCATE, fds[fd].object, 0, "", 0);
}

static int open_logged(int folder, const char *name, int flags, mode_t mode)
{
    int error, fd;
    bool existed;

    (void)pthread_mutex_lock(&lock);
    existed = faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    error = errno;
    if (fd >= 0)
        note_opened(fd, flags, existed);
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE_ARGUMENT(flags, mode)                                                             \
    mode_t mode = 0;                                                                           \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                     \
        va_list arguments;                                                                     \
        va_start(arguments, flags);                                                            \
        mode = (mode_t)va_arg(arguments, unsigned);                                            \
        va_end(arguments);                                                                     \
    }

#define DEFINE_OPEN(name)                                                                      \
    int name(const char *path, int flags, ...)                                                 \
    {                                                                                          \
        MODE_ARGUMENT(flags, mode)                                                             \
        return open_logged(AT_FDCWD, path, flags, mode);                                       \
    }

#define DEFINE_OPENAT(name)                                                                    \
    int name(int folder, const char *path, int flags, ...)                                     \
    {                                                                                          \
        MODE_ARGUMENT(flags, mode)                                                             \
        return open_logged(folder, path, flags, mode);                                         \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int close(int fd)
{
    (void)pthread_mutex_lock(&lock);
    set_fd(fd, FD_UNKNOWN, 0);
    int r = (int)syscall(SYS_close, fd);
    (void)pthread_mutex_unlock(&lock);
    return r;
}

/* The number may have been that of something that was closed inside the libc, where no wrapper
 * sees it. */
static int accept_anew(int fd)
{
    (void)pthread_mutex_lock(&lock);
    set_fd(fd, FD_UNKNOWN, 0);
    (void)pthread_mutex_unlock(&lock);
    return fd;
}

int accept(int fd, struct sockaddr *address, socklen_t *size)
{
    return accept_anew((int)syscall(SYS_accept4, fd, address, size, 0));
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    return accept_anew((int)syscall(SYS_accept4, fd, address, size, flags));
}

/* ---- what is written and what is sent ---- */

/* Nothing but recorded files and producers waits for the lock, which is held while a disk
 * syncs. */
static bool concerns_us(int fd)
{
    if (log_fd < 0)
        return false;
    if (fd >= 0 && fd < FDS_MAX && __atomic_load_n(&fds[fd].kind, __ATOMIC_RELAXED) == FD_OTHER)
        return false;
    (void)pthread_mutex_lock(&lock);
    if (kind_of(fd) != FD_OTHER)
        return true;
    (void)pthread_mutex_unlock(&lock);
    return false;
}

/* @offset below 0: at the file's own position, which with O_APPEND is its end. */
static ssize_t
end_write(int fd, const struct iovec *parts, int count, int64_t offset, ssize_t written)
{
    int error = errno;

    if (fds[fd].kind == FD_PRODUCER) {
        if (written > 0)
            log_parts(POWER_SENT, fds[fd].object, 0, parts, count, (size_t)written);
    } else if (written < 0) {
        log_blind("a write failed");
    } else {
        if (offset < 0)
            offset = lseek(fd, 0, SEEK_CUR) - written;
        log_parts(POWER_WRITE, fds[fd].object, (uint64_t)offset, parts, count, (size_t)written);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

ssize_t write(int fd, const void *data, size_t size)
{
    const struct iovec part = part_of(data, size);

    if (!concerns_us(fd))
        return syscall(SYS_write, fd, data, size);
    return end_write(fd, &part, 1, -1, syscall(SYS_write, fd, data, size));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!concerns_us(fd))
        return syscall(SYS_writev, fd, parts, count);
    return end_write(fd, parts, count, -1, syscall(SYS_writev, fd, parts, count));
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    const struct iovec part = part_of(data, size);

    if (!concerns_us(fd))
        return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
    return end_write(fd, &part, 1, -1, syscall(SYS_sendto, fd, data, size, flags, NULL, 0));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (!concerns_us(fd))
        return syscall(SYS_sendmsg, fd, message, flags);
    return end_write(fd, message->msg_iov, (int)message->msg_iovlen, -1,
                     syscall(SYS_sendmsg, fd, message, flags));
}

#define DEFINE_PWRITE(name, offset_type)                                                       \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset)                    \
    {                                                                                          \
        const struct iovec part = part_of(data, size);                                         \
        if (!concerns_us(fd))                                                                  \
            return syscall(SYS_pwrite64, fd, data, size, offset);                              \
        return end_write(fd, &part, 1, offset, syscall(SYS_pwrite64, fd, data, size, offset)); \
    }

DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

#define DEFINE_FTRUNCATE(name, offset_type)                                                    \
    int name(int fd, offset_type size)                                                         \
    {                                                                                          \
        if (!concerns_us(fd))                                                                  \
            return (int)syscall(SYS_ftruncate, fd, size);                                      \
        int r = (int)syscall(SYS_ftruncate, fd, size);                                         \
        if (r == 0)                                                                            \
            log_record(POWER_TRUNCATE, fds[fd].object, (uint64_t)size, "", 0);                 \
        (void)pthread_mutex_unlock(&lock);                                                     \
        return r;                                                                              \
    }

DEFINE_FTRUNCATE(ftruncate, off_t)
DEFINE_FTRUNCATE(ftruncate64, off64_t)

static int sync_logged(int fd, long number)
{
    if (!concerns_us(fd))
        return (int)syscall(number, fd);
    int r = (int)syscall(number, fd);
    if (r == 0)
        log_record(POWER_SYNC, fds[fd].object, 0, "", 0);
    (void)pthread_mutex_unlock(&lock);
    return r;
}

int fsync(int fd)
{
    return sync_logged(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_logged(fd, SYS_fdatasync);
}

/* ---- what the model does not know: said aloud, so that a rig is never blind ---- */

static void note_unknown(int fd, const char *what)
{
    if (!concerns_us(fd))
        return;
    if (fds[fd].kind == FD_RECORDED)
        log_blind(what);
    (void)pthread_mutex_unlock(&lock);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    note_unknown(fd, "pwritev()");
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

/* To allocate behind the end changes neither size nor content. */
int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (mode != FALLOC_FL_KEEP_SIZE)
        note_unknown(fd, "fallocate() that changes the file");
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    note_unknown(fd, "posix_fallocate()");
    return syscall(SYS_fallocate, fd, 0, offset, size) < 0 ? errno : 0;
}

static void *map_logged(void *at, size_t size, int access, int flags, int fd, off_t offset)
{
    if (fd >= 0 && (flags & MAP_SHARED) && (access & PROT_WRITE))
        note_unknown(fd, "mmap() of a file for writing");
    /* The kernel answers with an address or a negated error, which syscall() turns into -1. */
    union {
        long number;
        void *address;
    } mapped = {syscall(SYS_mmap, at, size, access, flags, fd, offset)};
    return mapped.address;
}

void *mmap(void *at, size_t size, int access, int flags, int fd, off_t offset)
{
    return map_logged(at, size, access, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int access, int flags, int fd, off64_t offset)
{
    return map_logged(at, size, access, flags, fd, offset);
}

/* ---- names ---- */

static int
rename_logged(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char from_path[PATH_MAX] = "", to_path[PATH_MAX] = "", names[2 * PATH_MAX];
    const char *from_name = NULL, *to_name = NULL;

    (void)pthread_mutex_lock(&lock);
    if (resolve(from_folder, from, from_path) && resolve(to_folder, to, to_path)) {
        from_name = recorded_name(from_path);
        to_name = recorded_name(to_path);
    }
    int r = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    int error = errno;
    if (r == 0 && from_name && to_name) {
        int size = snprintf(names, sizeof(names), "%s%c%s", from_name, '\0', to_name);

        log_record(POWER_RENAME, 0, 0, names, (size_t)size);
    } else if (r == 0 && (from_name || to_name)) {
        log_blind("a rename into or out of the folder");
    }
    if (r == 0 && from_name && (flags & ~(unsigned)RENAME_NOREPLACE))
        log_blind("an exchange of names");
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int rename(const char *from, const char *to)
{
    return rename_logged(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return rename_logged(from_folder, from, to_folder, to, 0);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    return rename_logged(from_folder, from, to_folder, to, flags);
}

static int unlink_logged(int folder, const char *name, int flags)
{
    char path[PATH_MAX];

    (void)pthread_mutex_lock(&lock);
    const char *recorded = resolve(folder, name, path) ? recorded_name(path) : NULL;
    int r = (int)syscall(SYS_unlinkat, folder, name, flags);
    int error = errno;
    if (r == 0 && recorded)
        log_record(POWER_UNLINK, 0, 0, recorded, strlen(recorded));
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int unlink(const char *name)
{
    return unlink_logged(AT_FDCWD, name, 0);
}

int unlinkat(int folder, const char *name, int flags)
{
    return unlink_logged(folder, name, flags);
}

int rmdir(const char *name)
{
    return unlink_logged(AT_FDCWD, name, AT_REMOVEDIR);
}

static int mkdir_logged(int folder, const char *name, mode_t mode)
{
    char path[PATH_MAX];

    (void)pthread_mutex_lock(&lock);
    int r = (int)syscall(SYS_mkdirat, folder, name, mode);
    int error = errno;
    if (r == 0 && resolve(folder, name, path)) {
        const char *recorded = recorded_name(path);

        if (recorded)
            log_record(POWER_MKDIR, inode_of(path), 0, recorded, strlen(recorded));
    }
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int mkdir(const char *name, mode_t mode)
{
    return mkdir_logged(AT_FDCWD, name, mode);
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    return mkdir_logged(folder, name, mode);
}

/* ---- the control ---- */

/* The one function of SQLite that sets pragmas here; declared by hand, for the library that is
 * preloaded is not linked against SQLite. */
typedef int row_fn(void *, int, char **, char **);
typedef int exec_fn(void *, const char *, row_fn *, void *, char **);
exec_fn sqlite3_exec;

int sqlite3_exec(void *db, const char *sql, row_fn *row, void *context, char **ret_error)
{
    static exec_fn *next;
    char changed[1024];
    const char *full = wants_normal ? strstr(sql, "synchronous = FULL") : NULL;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sqlite3_exec");
    if (full) {
        if (snprintf(changed, sizeof(changed), "%.*ssynchronous = NORMAL%s", (int)(full - sql),
                     sql, full + strlen("synchronous = FULL")) >= (int)sizeof(changed))
            give_up("the pragmas have outgrown the control");
        sql = changed;
    }
    return next(db, sql, row, context, ret_error);
}
