/* SPDX-License-Identifier: MIT */
/*
 * listener.c - where producers connect
 *
 * A socket file of our own is never open to more than `mode` allows: Linux gives a
 * bound socket the mode of its descriptor, so fchmod(fd, 0) before bind() makes a
 * file that no program may use, which then gets its group and its mode and only
 * after that a backlog. No umask is changed and no second name is needed, so tools
 * show the socket under its own path.
 *
 * A leftover file is distinguished from one in use by connecting to it: refused
 * means that no process listens. Whether a file is still ours to remove is decided
 * by its device and inode, because another daemon may have taken the path over.
 *
 * A TCP socket carries no credentials, so it is adopted only when bound to
 * loopback.
 *
 * A file that is removed leaves a socket that no client can reach, without an error
 * anywhere. So listener_verify() checks it, and binds a new one.
 *
 * Without descriptors or memory the sources are switched off and a timer tries
 * again; level-triggered epoll would spin otherwise. Such a shortage is logged when
 * it begins, and when the backlog has been empty for a second.
 *
 * Invariant: a socket file that is open to clients has its group and its mode.
 *
 * Diagnostics: listening, listen_failed, listen_pausing, listen_resumed,
 * socket_moved.
 */
#include "daemon/ingress/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"

#define LISTEN_BACKLOG 4096
/* Connections taken in one dispatch, so that a storm does not keep the loop from the others. */
#define ACCEPT_BURST  256
#define RETRY_US      500000
#define NAME_MAX_SIZE 160
/* After so long without a sign of a TCP client its kernel is asked. */
#define PROBE_IDLE_S 60
/* Checks of a removed file between two attempts to bind that fail by another cause than its
 * folder: each logs a line. */
#define CHECKS_PER_TRY 60

union socket_address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

struct listener_socket {
    struct listener *listener;
    int fd;
    bool is_local; /* Unix: the kernel knows who is there */
    sd_event_source *io;
    bool has_file; /* these are known of it: */
    dev_t device;
    ino_t inode;
    bool is_moved; /* was logged */
};

struct listener {
    sd_event *event;
    sd_event_source *retry;
    const struct listener_ops *ops;
    void *userdata;
    struct condition shortage; /* out of descriptors or memory */
    bool paused;               /* for good */
    char *path;                /* of the file that we make, NULL if sockets are passed */
    char *group;
    gid_t gid; /* its number, once it is known: to ask again might wait for a server */
    mode_t mode;
    unsigned checks_to_wait; /* before the next try to bind */
    size_t count;
    struct listener_socket sockets[];
};

static const char *quote_path(char text[NAME_MAX_SIZE], const char *path)
{
    return log_quote(text, NAME_MAX_SIZE, path, strlen(path));
}

static void log_failed(const char *path, const char *what, const char *remedy, int error)
{
    char text[NAME_MAX_SIZE];

    log_error("listen_failed path=%s step=%s error=\"%s\" remedy=\"%s\"",
              quote_path(text, path), what, strerror(-error), remedy);
}

/* One line for each way to fail, so that the operator reads what to do. Permissions stay as
 * they are until the operator corrects them; another daemon may end, a folder may appear. */
static int fail_path(const char *path, const char *what, const char *remedy, int error)
{
    log_failed(path, what, remedy, error);
    return error == -EACCES || error == -EPERM || error == -EROFS || error == -ENOTDIR
               ? LISTENER_E_OPERATOR
               : LISTENER_E_LOGGED;
}

/* What stays as it is until it is mended by hand. */
static int fail_setting(const char *path, const char *what, const char *remedy, int error)
{
    log_failed(path, what, remedy, error);
    return LISTENER_E_OPERATOR;
}

/* ---- accepting ---- */

static int switch_sources(struct listener *listener, int enabled)
{
    for (size_t i = 0; i < listener->count; i++) {
        int r = sd_event_source_set_enabled(listener->sockets[i].io, enabled);

        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static int set_retry(struct listener *listener)
{
    int r = sd_event_source_set_time(listener->retry, clock_monotonic_us() + RETRY_US);

    if (r >= 0)
        r = sd_event_source_set_enabled(listener->retry, SD_EVENT_ONESHOT);
    return r;
}

static int64_t boot_ms(void)
{
    struct clock_reading now;

    clock_read(&now);
    return now.boot_ms;
}

static int pause_for_shortage(struct listener *listener, int error)
{
    if (condition_set(&listener->shortage, boot_ms()))
        log_warning(
            "listen_pausing error=\"%s\" retry_ms=%d remedy=\"raise LimitNOFILE= of the "
            "unit (ENFILE: fs.file-max), lower listen.max_clients, or free memory\"",
            strerror(error), RETRY_US / 1000);
    int r = switch_sources(listener, SD_EVENT_OFF);
    return r < 0 ? r : set_retry(listener);
}

/* The backlog is empty. The timer asks again until that is reported. */
static int on_backlog_empty(struct listener *listener)
{
    if (!listener->shortage.reported)
        return 0;
    if (condition_clear(&listener->shortage, boot_ms())) {
        log_notice("listen_resumed");
        return 0;
    }
    return set_retry(listener);
}

/*
 * Acknowledgements are small and wait for nothing: Nagle would hold them up. And the end of a
 * client that has died may never come when we did not read it for long, since it stands behind
 * all that it sent; the probes find out.
 */
static void tune_tcp(int fd)
{
    int on = 1;
    int idle_s = PROBE_IDLE_S;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));    /* slower without */
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0) /* else 2 hours */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
}

static int identify(const struct listener_socket *socket, int fd, struct peer *ret_peer)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (!socket->is_local) {
        tune_tcp(fd);
        *ret_peer = (struct peer){.uid = PEER_UID_UNKNOWN, .gid = (gid_t)-1};
        return 0;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return -errno;
    *ret_peer =
        (struct peer){.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
    return 0;
}

static int accept_one(struct listener_socket *socket, int fd)
{
    struct listener *listener = socket->listener;
    struct peer peer;

    if (identify(socket, fd, &peer) != 0) {
        (void)close(fd); /* its user is not known: nothing to log */
        return 0;
    }
    return listener->ops->accepted(listener->userdata, fd, &peer);
}

/* Return: 0 or a fatal error of ours or of the owner. */
static int accept_some(struct listener_socket *socket)
{
    struct listener *listener = socket->listener;

    for (int i = 0; i < ACCEPT_BURST && !listener->paused; i++) {
        int fd = accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && errno == EAGAIN)
            return on_backlog_empty(listener);
        if (fd < 0 && is_shortage(errno))
            return pause_for_shortage(listener, errno);
        if (fd < 0 && (errno == EBADF || errno == EINVAL || errno == ENOTSOCK))
            return -errno;
        if (fd < 0)
            continue; /* an error of one connection, see accept(2) */
        int r = accept_one(socket, fd);
        if (r < 0)
            return r;
    }
    return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct listener_socket *socket = userdata;

    (void)source;
    (void)fd;
    (void)events;
    int r = accept_some(socket);
    if (r < 0)
        (void)sd_event_exit(socket->listener->event, r); /* fails only when it has ended */
    return r;
}

static int on_retry(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct listener *listener = userdata;

    (void)source;
    (void)at_us;
    int r = listener->paused ? 0 : switch_sources(listener, SD_EVENT_ON);
    for (size_t i = 0; i < listener->count && r >= 0 && !listener->paused; i++)
        r = accept_some(&listener->sockets[i]);
    if (r < 0)
        (void)sd_event_exit(listener->event, r); /* fails only when it has ended */
    return r;
}

/* ---- sockets that systemd passed ---- */

static bool is_loopback(const union socket_address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->in4.sin_addr.s_addr) >> 24 == 127;
    if (address->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&address->in6.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr) &&
                address->in6.sin6_addr.s6_addr[12] == 127);
    return false;
}

static int socket_option(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* NULL when @fd can be used, else why not. */
static const char *why_unusable(int fd, bool *ret_is_local)
{
    union socket_address address = {0};
    socklen_t size = sizeof(address);

    if (getsockname(fd, &address.any, &size) != 0)
        return "not a socket";
    if (socket_option(fd, SO_TYPE) != SOCK_STREAM)
        return "not a stream socket (use ListenStream=)";
    if (socket_option(fd, SO_ACCEPTCONN) != 1)
        return "not listening (use Accept=no)";
    if (address.any.sa_family != AF_UNIX && !is_loopback(&address))
        return "neither a Unix socket nor bound to loopback: any host could publish";
    *ret_is_local = address.any.sa_family == AF_UNIX;
    return NULL;
}

static int make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static int check_passed(const struct listener_settings *settings, struct listener *listener)
{
    for (size_t i = 0; i < settings->passed_count; i++) {
        int fd = settings->passed[i];
        const char *why = why_unusable(fd, &listener->sockets[i].is_local);
        int r = why ? -EINVAL : make_nonblocking(fd);

        if (r < 0) {
            log_error("listen_failed passed=%zu fd=%d error=\"%s\" "
                      "remedy=\"correct the socket unit\"",
                      i, fd, why ? why : strerror(-r));
            return LISTENER_E_OPERATOR;
        }
    }
    return 0;
}

/* @ret: its address. Return: the length of its path; 0: it is no Unix socket. */
static size_t path_of_passed(const struct listener_socket *socket, union socket_address *ret)
{
    socklen_t size = sizeof(*ret);

    *ret = (union socket_address){0};
    (void)getsockname(socket->fd, &ret->any, &size); /* has worked before */
    if (ret->any.sa_family != AF_UNIX || size <= offsetof(struct sockaddr_un, sun_path))
        return 0;
    size_t length = size - offsetof(struct sockaddr_un, sun_path);
    /* An abstract name begins with a zero and has none at its end. */
    return ret->local.sun_path[0] != '\0' ? strnlen(ret->local.sun_path, length) : length;
}

static void log_passed(const struct listener_socket *socket)
{
    union socket_address address;
    char text[NAME_MAX_SIZE];
    size_t length = path_of_passed(socket, &address);

    if (address.any.sa_family == AF_UNIX) {
        log_notice("listening path=%s passed=yes",
                   log_quote(text, sizeof(text), address.local.sun_path, length));
        return;
    }
    in_port_t port =
        address.any.sa_family == AF_INET ? address.in4.sin_port : address.in6.sin6_port;
    log_notice("listening address=loopback port=%u passed=yes", (unsigned)ntohs(port));
}

/* ---- a socket of our own ---- */

static int address_of(const char *path, union socket_address *ret)
{
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(ret->local.sun_path))
        return fail_setting(path, "path", "use a path of 1 to 107 bytes", -ENAMETOOLONG);
    *ret = (union socket_address){.local = {.sun_family = AF_UNIX}};
    memcpy(ret->local.sun_path, path, size + 1);
    return 0;
}

/* Does another process listen there? EAGAIN is a full backlog, so it does. */
static int probe(const union socket_address *address)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, &address->any, sizeof(address->local)) == 0 || errno == EAGAIN)
        return -EADDRINUSE;
    if (errno == EPROTOTYPE) /* a socket of another type is in use, too */
        return -EADDRINUSE;
    return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

static int remove_leftover(const union socket_address *address)
{
    const char *path = address->local.sun_path;
    struct stat status;

    if (lstat(path, &status) != 0)
        return errno == ENOENT ? 0
                               : fail_path(path, "check", "check the parent folders", -errno);
    if (!S_ISSOCK(status.st_mode))
        return fail_setting(path, "check", "it is no socket: remove it or change listen.socket",
                            -EEXIST);
    int r = probe(address);
    if (r == -EADDRINUSE)
        return fail_path(path, "check", "another daemon listens there: stop it", r);
    if (r < 0)
        return fail_path(path, "check", "check who owns the socket", r);
    if (unlink(path) != 0 && errno != ENOENT)
        return fail_path(path, "replace", "check the rights on the folder", -errno);
    return 0;
}

static int give_to_group(struct listener *listener)
{
    const char *path = listener->path;

    if (listener->group[0] == '\0')
        return 0;
    if (listener->gid == (gid_t)-1) {
        errno = 0;
        const struct group *entry = getgrnam(listener->group);
        if (!entry)
            return fail_setting(path, "group", "no such group: correct listen.group",
                                errno != 0 ? -errno : -ENOENT);
        listener->gid = entry->gr_gid;
    }
    if (lchown(path, (uid_t)-1, listener->gid) != 0)
        return fail_setting(path, "group", "run the daemon as a member of listen.group",
                            -errno);
    return 0;
}

static bool note_file(struct listener_socket *socket, const char *path)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return false;
    socket->device = status.st_dev;
    socket->inode = status.st_ino;
    socket->has_file = true;
    return true;
}

static int open_to(struct listener *listener, struct listener_socket *ours)
{
    const char *path = listener->path;

    if (!note_file(ours, path))
        return fail_path(path, "bind", "something removed it at once", -errno);
    int r = give_to_group(listener);
    if (r != 0)
        return r;
    if (chmod(path, listener->mode) != 0)
        return fail_path(path, "mode", "check the rights on the folder", -errno);
    if (listen(ours->fd, LISTEN_BACKLOG) != 0)
        return fail_path(path, "listen", "check the rights on the folder", -errno);
    return 0;
}

static int make_socket(struct listener *listener)
{
    struct listener_socket *ours = &listener->sockets[0];
    union socket_address address;
    char text[NAME_MAX_SIZE];
    int r = address_of(listener->path, &address);

    if (r == 0)
        r = remove_leftover(&address);
    if (r != 0)
        return r;
    ours->is_local = true;
    ours->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ours->fd < 0 || fchmod(ours->fd, 0) != 0)
        return fail_path(listener->path, "socket", "raise the limit of open files", -errno);
    if (bind(ours->fd, &address.any, sizeof(address.local)) != 0)
        return fail_path(listener->path, "bind",
                         errno == ENOENT ? "make the folder" : "check the rights on the folder",
                         -errno);
    r = open_to(listener, ours);
    if (r != 0)
        return r;
    log_notice("listening path=%s mode=%04o", quote_path(text, listener->path),
               (unsigned)listener->mode);
    return 0;
}

static int make_first_socket(struct listener *listener,
                             const struct listener_settings *settings)
{
    listener->path = strdup(settings->path);
    listener->group = strdup(settings->group ? settings->group : "");
    listener->gid = (gid_t)-1;
    listener->mode = settings->mode;
    if (!listener->path || !listener->group)
        return -ENOMEM;
    return make_socket(listener);
}

/* ---- life ---- */

static int add_source(struct listener_socket *socket)
{
    return sd_event_add_io(socket->listener->event, &socket->io, socket->fd, EPOLLIN,
                           on_connection, socket);
}

static int add_sources(struct listener *listener)
{
    for (size_t i = 0; i < listener->count; i++) {
        int r = add_source(&listener->sockets[i]);

        if (r < 0)
            return r;
    }
    int r = sd_event_add_time(listener->event, &listener->retry, CLOCK_MONOTONIC, 0, 0,
                              on_retry, listener);
    if (r >= 0)
        r = sd_event_source_set_enabled(listener->retry, SD_EVENT_OFF);
    return r < 0 ? r : 0;
}

static struct listener *listener_alloc(sd_event *event, size_t count)
{
    struct listener *listener =
        calloc(1, sizeof(*listener) + count * sizeof(listener->sockets[0]));

    if (!listener)
        return NULL;
    listener->event = sd_event_ref(event);
    listener->count = count;
    for (size_t i = 0; i < count; i++) {
        listener->sockets[i].listener = listener;
        listener->sockets[i].fd = -1;
    }
    return listener;
}

/* From here on the passed descriptors are ours. */
static void adopt_passed(struct listener *listener, const struct listener_settings *settings)
{
    for (size_t i = 0; i < settings->passed_count; i++) {
        struct listener_socket *socket = &listener->sockets[i];
        union socket_address address;

        socket->fd = settings->passed[i];
        log_passed(socket);
        if (path_of_passed(socket, &address) > 0 && address.local.sun_path[0] == '/')
            (void)note_file(socket, address.local.sun_path); /* else it is not checked */
    }
}

static void give_back(struct listener *listener)
{
    for (size_t i = 0; i < listener->count; i++)
        listener->sockets[i].fd = -1;
}

int listener_new(sd_event *event,
                 const struct listener_settings *settings,
                 const struct listener_ops *ops,
                 void *userdata,
                 struct listener **ret)
{
    size_t passed = settings->passed_count;
    struct listener *listener = listener_alloc(event, passed > 0 ? passed : 1);

    if (!listener)
        return -ENOMEM;
    listener->ops = ops;
    listener->userdata = userdata;
    int r =
        passed > 0 ? check_passed(settings, listener) : make_first_socket(listener, settings);
    if (r == 0 && passed > 0)
        adopt_passed(listener, settings);
    if (r == 0)
        r = add_sources(listener);
    if (r != 0) {
        if (passed > 0)
            give_back(listener);
        listener_free(listener);
        return r;
    }
    *ret = listener;
    return 0;
}

/* Return: 0; a positive errno: why it is not there; EEXIST: another one is. */
static int check_file(const struct listener_socket *socket, const char *path)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return errno;
    return status.st_dev == socket->device && status.st_ino == socket->inode ? 0 : EEXIST;
}

static void remove_our_file(const struct listener *listener)
{
    const struct listener_socket *ours = &listener->sockets[0];

    if (listener->path && ours->has_file && check_file(ours, listener->path) == 0)
        (void)unlink(listener->path); /* a leftover is replaced at the next start */
}

/* ---- a file that was removed ---- */

/* Once, until it is there again. */
static void log_moved(struct listener_socket *socket, const char *path, int error)
{
    char text[NAME_MAX_SIZE];
    const char *remedy = "find out what removes it; a new one is made as soon as its folder is "
                         "there and the name is free";

    if (!socket->listener->path)
        remedy = "systemctl restart mqtt-spoold.socket mqtt-spoold.service";
    if (!socket->is_moved)
        log_error("socket_moved path=%s what=%s new_clients=none remedy=\"%s\"",
                  quote_path(text, path), error == EEXIST ? "replaced" : "removed", remedy);
    socket->is_moved = true;
}

static bool has_folder(const char *path)
{
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const char *slash = strrchr(path, '/');

    (void)snprintf(folder, sizeof(folder), "%.*s/", slash ? (int)(slash - path) : 0, path);
    return !slash || access(folder, F_OK) == 0;
}

/* Who waits in the backlog of the old one is taken first. */
static int use_instead(struct listener *listener, int old_fd)
{
    struct listener_socket *ours = &listener->sockets[0];
    int new_fd = ours->fd;

    ours->fd = old_fd;
    int r = accept_some(ours);
    ours->io = sd_event_source_disable_unref(ours->io);
    cleanup_close(&ours->fd);
    ours->fd = new_fd;
    ours->is_moved = false;
    return r == 0 ? add_source(ours) : r;
}

static void bind_again(struct listener *listener)
{
    struct listener_socket *ours = &listener->sockets[0];
    int old_fd = ours->fd;

    if (!has_folder(listener->path))
        return;
    if (listener->checks_to_wait > 0) {
        listener->checks_to_wait--;
        return;
    }
    ours->fd = -1;
    ours->has_file = false;
    int r = make_socket(listener);
    if (r == 0) {
        r = use_instead(listener, old_fd);
        if (r < 0)
            (void)sd_event_exit(listener->event, r); /* fails only when it has ended */
        return;
    }
    remove_our_file(listener);
    cleanup_close(&ours->fd);
    ours->fd = old_fd;
    ours->has_file = true; /* of the old one, which is gone: checked again */
    listener->checks_to_wait = CHECKS_PER_TRY;
}

void listener_verify(struct listener *listener)
{
    for (size_t i = 0; i < listener->count && !listener->paused; i++) {
        struct listener_socket *socket = &listener->sockets[i];
        union socket_address address;
        const char *path = listener->path;

        if (!socket->has_file)
            continue;
        if (!path && path_of_passed(socket, &address) > 0)
            path = address.local.sun_path;
        if (!path)
            continue; /* it has no name any more */
        int error = check_file(socket, path);
        if (error == 0) {
            socket->is_moved = false;
        } else if (error == ENOENT || error == ENOTDIR || error == EEXIST) {
            log_moved(socket, path, error);
            if (listener->path)
                bind_again(listener);
        } /* else it cannot be examined: nothing is known */
    }
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    remove_our_file(listener);
    for (size_t i = 0; i < listener->count; i++) {
        (void)sd_event_source_disable_unref(listener->sockets[i].io); /* NULL, always */
        cleanup_close(&listener->sockets[i].fd);
    }
    (void)sd_event_source_disable_unref(listener->retry); /* NULL, always */
    (void)sd_event_unref(listener->event);                /* NULL, always */
    free(listener->path);
    free(listener->group);
    free(listener);
}

void listener_pause(struct listener *listener)
{
    listener->paused = true;
    (void)switch_sources(listener, SD_EVENT_OFF); /* switching off cannot fail */
}
