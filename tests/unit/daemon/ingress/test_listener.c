/* SPDX-License-Identifier: MIT */
/*
 * test_listener.c - where producers connect
 *
 * Real sockets in a temporary folder, a real event loop,
 * and an owner that only keeps what it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/peer.h"
#include "daemon/ingress/listener.h"
#include "tests/support/files.h"

#define PATIENCE_US 10000000
#define KEPT_MAX    64

struct fixture {
    sd_event *event;
    struct listener *listener;
    struct listener_settings settings;
    char folder[64];
    char path[96];
    int kept[KEPT_MAX];
    struct peer peer; /* of the last connection */
    size_t accepted;
    int answer; /* what accepted() returns */
};

static int on_accepted(void *owner, int fd, const struct peer *peer)
{
    struct fixture *f = owner;

    if (f->accepted < KEPT_MAX)
        f->kept[f->accepted] = fd;
    else
        (void)close(fd);
    f->accepted++;
    f->peer = *peer;
    return f->answer;
}

static const struct listener_ops ops = {.accepted = on_accepted};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(sd_event_new(&f->event), 0);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/test_listener.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/publish.sock", f->folder);
    f->settings = (struct listener_settings){.path = f->path, .mode = 0660, .group = ""};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    listener_free(f->listener);
    for (size_t i = 0; i < f->accepted && i < KEPT_MAX; i++)
        (void)close(f->kept[i]);
    (void)sd_event_unref(f->event);
    (void)unlink(f->path);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static int start(struct fixture *f)
{
    return listener_new(f->event, &f->settings, &ops, f, &f->listener);
}

/* It does not start, and the log says why. */
static void assert_told(struct fixture *f, int wanted, const char *why)
{
    char said[1024] = "";
    int log[2], kept = dup(STDERR_FILENO);

    assert_true(kept >= 0);
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(dup2(log[1], STDERR_FILENO) >= 0);
    int r = start(f);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    assert_int_equal(r, wanted);
    assert_true(read(log[0], said, sizeof(said) - 1) > 0);
    assert_non_null(strstr(said, "listen_failed "));
    assert_non_null(strstr(said, why));
    assert_non_null(strstr(said, " remedy="));
    assert_null(f->listener);
    (void)close(log[0]);
    (void)close(log[1]);
    (void)close(kept);
}

static int64_t now_us(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Run the loop until @count connections came in all. */
static void run_until_accepted(struct fixture *f, size_t count)
{
    int64_t deadline = now_us() + PATIENCE_US;

    while (f->accepted < count && now_us() < deadline)
        assert_true(sd_event_run(f->event, 100000) >= 0);
    assert_int_equal(f->accepted, count);
}

/* What spins is ready each time; a timer can come due in between once, if we were kept
 * waiting. */
static void assert_loop_is_idle(struct fixture *f)
{
    int ready = 0;

    while (sd_event_run(f->event, 0) > 0)
        ;
    for (int i = 0; i < 10; i++)
        ready += sd_event_run(f->event, 0) != 0;
    assert_true(ready <= 1);
}

static struct sockaddr_un local_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static int local_socket(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    return fd;
}

/* Return: a connected descriptor or negative errno. */
static int try_connect(const char *path, int flags)
{
    struct sockaddr_un address = local_address(path);
    int fd = local_socket(SOCK_STREAM | flags);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    return -error;
}

static int bound_socket(const char *path, int type)
{
    struct sockaddr_un address = local_address(path);
    int fd = local_socket(type);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static mode_t mode_of(const char *path)
{
    struct stat status;

    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode;
}

static bool exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

static void a_connection_reaches_its_owner_with_the_kernels_credentials(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    int client = try_connect(f->path, 0);
    assert_true(client >= 0);
    run_until_accepted(f, 1);
    assert_int_equal(f->peer.uid, getuid());
    assert_int_equal(f->peer.gid, getgid());
    assert_int_equal(f->peer.pid, getpid());
    assert_true(fcntl(f->kept[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(f->kept[0], F_GETFD) & FD_CLOEXEC);
    (void)close(client);
}

static void the_socket_file_has_the_mode_that_was_asked_for(void **state)
{
    struct fixture *f = *state;
    mode_t old = umask(0777);

    f->settings.mode = 0622;
    assert_int_equal(start(f), 0);
    (void)umask(old);
    assert_int_equal(mode_of(f->path), S_IFSOCK | 0622);
}

static void the_socket_file_is_given_to_the_group(void **state)
{
    struct fixture *f = *state;
    struct group *group = getgrgid(getgid());
    struct stat status;

    if (getuid() == 0)
        group = getgrnam("daemon");
    if (!group)
        skip();
    gid_t wanted = group->gr_gid;
    char name[64]; /* the entry is overwritten by the next look-up */
    (void)snprintf(name, sizeof(name), "%s", group->gr_name);
    f->settings.group = name;
    assert_int_equal(start(f), 0);
    assert_int_equal(lstat(f->path, &status), 0);
    assert_int_equal(status.st_gid, wanted);
}

static void an_unknown_group_is_an_error_and_leaves_no_file(void **state)
{
    struct fixture *f = *state;

    f->settings.group = "no-such-group-here";
    assert_told(f, LISTENER_E_OPERATOR, strerror(ENOENT));
    assert_false(exists(f->path));
}

/* What the listener builds on: no moment with a wider mode than asked for, whatever the umask.
 */
static void the_kernel_gives_a_bound_socket_the_mode_of_its_descriptor(void **state)
{
    struct fixture *f = *state;
    mode_t old = umask(0);
    int fd = local_socket(SOCK_STREAM);
    struct sockaddr_un address = local_address(f->path);

    assert_int_equal(fchmod(fd, 0), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)umask(old);
    assert_int_equal(mode_of(f->path), S_IFSOCK);
    (void)close(fd);
}

static void a_socket_file_left_behind_is_replaced(void **state)
{
    struct fixture *f = *state;
    int dead = bound_socket(f->path, SOCK_STREAM);

    assert_int_equal(listen(dead, 1), 0);
    (void)close(dead);
    assert_int_equal(start(f), 0);
    int client = try_connect(f->path, 0);
    assert_true(client >= 0);
    run_until_accepted(f, 1);
    (void)close(client);
}

static void a_socket_on_which_somebody_listens_is_left_alone(void **state)
{
    struct fixture *f = *state;
    int other = bound_socket(f->path, SOCK_STREAM);

    assert_int_equal(listen(other, 1), 0);
    assert_told(f, LISTENER_E_LOGGED, strerror(EADDRINUSE));
    int client = try_connect(f->path, 0);
    assert_true(client >= 0);
    (void)close(client);
    (void)close(other);
}

static void a_full_backlog_counts_as_somebody(void **state)
{
    struct fixture *f = *state;
    int waiting[8];
    size_t count = 0;
    int other = bound_socket(f->path, SOCK_STREAM);

    assert_int_equal(listen(other, 0), 0);
    while (count < 8 && (waiting[count] = try_connect(f->path, SOCK_NONBLOCK)) >= 0)
        count++;
    assert_true(count < 8);
    assert_int_equal(waiting[count], -EAGAIN);
    assert_told(f, LISTENER_E_LOGGED, strerror(EADDRINUSE));
    assert_true(exists(f->path));
    while (count > 0)
        (void)close(waiting[--count]);
    (void)close(other);
}

static void a_datagram_socket_in_use_is_left_alone(void **state)
{
    struct fixture *f = *state;
    int other = bound_socket(f->path, SOCK_DGRAM);

    assert_told(f, LISTENER_E_LOGGED, strerror(EADDRINUSE));
    assert_true(exists(f->path));
    (void)close(other);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    int file = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(file >= 0);
    (void)close(file);
    assert_told(f, LISTENER_E_OPERATOR, strerror(EEXIST));
    assert_true(S_ISREG(mode_of(f->path)));
}

static void a_symbolic_link_is_not_followed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(symlink("elsewhere.sock", f->path), 0);
    assert_told(f, LISTENER_E_OPERATOR, strerror(EEXIST));
    assert_true(S_ISLNK(mode_of(f->path)));
}

static void a_missing_folder_is_an_error(void **state)
{
    struct fixture *f = *state;
    char path[96];

    (void)snprintf(path, sizeof(path), "%s/no/publish.sock", f->folder);
    f->settings.path = path;
    assert_told(f, LISTENER_E_LOGGED, strerror(ENOENT));
}

static void a_folder_without_permission_needs_the_operator(void **state)
{
    struct fixture *f = *state;
    char file[96], path[128];

    (void)snprintf(file, sizeof(file), "%s/file", f->folder);
    files_write(file, "", 0);
    (void)snprintf(path, sizeof(path), "%s/publish.sock", file);
    f->settings.path = path;
    assert_told(f, LISTENER_E_OPERATOR, strerror(ENOTDIR));
    assert_int_equal(unlink(file), 0);
    f->settings.path = "/sys/publish.sock"; /* no user may create a file there */
    assert_told(f, LISTENER_E_OPERATOR, "step=bind");
}

static void a_path_that_no_socket_can_have_is_an_error(void **state)
{
    struct fixture *f = *state;
    char path[128];

    memset(path, 'x', sizeof(path));
    memcpy(path, f->folder, strlen(f->folder));
    path[strlen(f->folder)] = '/';
    path[108] = '\0';
    f->settings.path = path;
    assert_told(f, LISTENER_E_OPERATOR, strerror(ENAMETOOLONG));
    f->settings.path = "";
    assert_told(f, LISTENER_E_OPERATOR, strerror(ENAMETOOLONG));
}

static void the_longest_path_of_a_socket_works(void **state)
{
    struct fixture *f = *state;
    char path[128];

    memset(path, 'x', sizeof(path));
    memcpy(path, f->folder, strlen(f->folder));
    path[strlen(f->folder)] = '/';
    path[107] = '\0';
    f->settings.path = path;
    assert_int_equal(start(f), 0);
    int client = try_connect(path, 0);
    assert_true(client >= 0);
    run_until_accepted(f, 1);
    (void)close(client);
    listener_free(f->listener);
    f->listener = NULL;
    assert_false(exists(path));
}

static void free_removes_the_file_that_was_made(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    assert_true(exists(f->path));
    listener_free(f->listener);
    f->listener = NULL;
    assert_false(exists(f->path));
}

static void free_keeps_the_file_of_a_successor(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    assert_int_equal(unlink(f->path), 0);
    int successor = bound_socket(f->path, SOCK_STREAM);
    listener_free(f->listener);
    f->listener = NULL;
    assert_true(exists(f->path));
    (void)close(successor);
}

static void free_accepts_null(void **state)
{
    (void)state;
    listener_free(NULL);
}

static void a_passed_socket_is_used_as_it_is(void **state)
{
    struct fixture *f = *state;
    int passed = bound_socket(f->path, SOCK_STREAM);

    assert_int_equal(chmod(f->path, 0600), 0);
    assert_int_equal(listen(passed, 16), 0);
    assert_int_equal(fcntl(passed, F_SETFD, 0), 0);
    f->settings.passed = &passed;
    f->settings.passed_count = 1;
    assert_int_equal(start(f), 0);
    assert_true(fcntl(passed, F_GETFL) & O_NONBLOCK);
    assert_int_equal(fcntl(passed, F_GETFD), FD_CLOEXEC);
    int client = try_connect(f->path, 0);
    assert_true(client >= 0);
    run_until_accepted(f, 1);
    assert_int_equal(f->peer.pid, getpid());
    assert_int_equal(mode_of(f->path), S_IFSOCK | 0600);
    listener_free(f->listener);
    f->listener = NULL;
    assert_true(exists(f->path));
    assert_int_equal(fcntl(passed, F_GETFD), -1);
    (void)close(client);
}

/* A TCP socket on a port that the kernel chose, and its address. */
static int
tcp_socket(const struct sockaddr *wanted, socklen_t size, struct sockaddr_storage *ret)
{
    socklen_t got = sizeof(*ret);
    int fd = socket(wanted->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, wanted, size) != 0 || listen(fd, 16) != 0) {
        (void)close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &got), 0);
    return fd;
}

static void accept_over_tcp(struct fixture *f, const struct sockaddr *wanted, socklen_t size)
{
    struct sockaddr_storage address;
    int passed = tcp_socket(wanted, size, &address);

    if (passed < 0)
        skip(); /* no such loopback on this machine */
    f->settings.passed = &passed;
    f->settings.passed_count = 1;
    assert_int_equal(start(f), 0);
    int client = socket(wanted->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
    run_until_accepted(f, 1);
    assert_int_equal(f->peer.uid, PEER_UID_UNKNOWN);
    assert_int_equal(f->peer.pid, 0);
    (void)close(client);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

/* Its end may stand behind more than we ever read of it. */
static void a_tcp_client_that_has_died_is_found_out(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    accept_over_tcp(f, (struct sockaddr *)&address, sizeof(address));
    assert_int_equal(option_of(f->kept[0], SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(f->kept[0], IPPROTO_TCP, TCP_KEEPIDLE), 60);
}

static void tcp_on_loopback_has_no_known_user(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    accept_over_tcp(*state, (struct sockaddr *)&address, sizeof(address));
}

static void tcp_on_the_loopback_of_ipv6_has_no_known_user(void **state)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};

    accept_over_tcp(*state, (struct sockaddr *)&address, sizeof(address));
}

static void assert_refused(struct fixture *f, int passed, const char *why)
{
    f->settings.passed = &passed;
    f->settings.passed_count = 1;
    assert_told(f, LISTENER_E_OPERATOR, why);
    assert_int_equal(close(passed), 0); /* it stayed ours */
}

static void tcp_that_is_open_to_others_is_refused(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    struct sockaddr_storage bound;
    int passed = tcp_socket((struct sockaddr *)&address, sizeof(address), &bound);

    assert_true(passed >= 0);
    assert_refused(*state, passed, "any host could publish");
}

static void what_does_not_listen_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_refused(f, bound_socket(f->path, SOCK_STREAM), "not listening");
    (void)unlink(f->path);
    assert_refused(f, bound_socket(f->path, SOCK_DGRAM), "not a stream socket");
    assert_refused(f, open("/dev/null", O_RDONLY | O_CLOEXEC), "not a socket");
}

static void several_passed_sockets_serve_together(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage bound;
    int passed[2] = {bound_socket(f->path, SOCK_STREAM), -1};

    assert_int_equal(listen(passed[0], 16), 0);
    passed[1] = tcp_socket((struct sockaddr *)&address, sizeof(address), &bound);
    f->settings.passed = passed;
    f->settings.passed_count = 2;
    assert_int_equal(start(f), 0);
    int one = try_connect(f->path, 0);
    run_until_accepted(f, 1);
    int two = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(two, (struct sockaddr *)&bound, sizeof(address)), 0);
    run_until_accepted(f, 2);
    (void)close(one);
    (void)close(two);
}

static void a_storm_of_impatient_clients_finds_room_in_the_backlog(void **state)
{
    struct fixture *f = *state;
    enum { STORM = 400 };
    int clients[STORM];

    assert_int_equal(start(f), 0);
    for (int i = 0; i < STORM; i++) {
        clients[i] = try_connect(f->path, SOCK_NONBLOCK);
        assert_true(clients[i] >= 0);
    }
    run_until_accepted(f, STORM);
    for (int i = 0; i < STORM; i++)
        (void)close(clients[i]);
}

static void out_of_descriptors_it_pauses_without_spinning_and_resumes(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    struct rlimit none;

    assert_int_equal(start(f), 0);
    int client = try_connect(f->path, 0);
    int next = dup(client);
    assert_true(next >= 0);
    (void)close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_loop_is_idle(f);
    assert_int_equal(f->accepted, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    run_until_accepted(f, 1);
    int another = try_connect(f->path, 0);
    run_until_accepted(f, 2);
    (void)close(client);
    (void)close(another);
}

static void a_paused_listener_accepts_nothing_and_keeps_its_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    int client = try_connect(f->path, 0);
    listener_pause(f->listener);
    assert_loop_is_idle(f);
    assert_int_equal(f->accepted, 0);
    assert_true(exists(f->path));
    (void)close(client);
}

static void a_file_that_was_removed_is_made_again_and_who_waits_is_not_lost(void **state)
{
    struct fixture *f = *state;

    f->settings.mode = 0600;
    assert_int_equal(start(f), 0);
    listener_verify(f->listener);
    int waiting = try_connect(f->path, 0);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(try_connect(f->path, 0), -ENOENT);
    listener_verify(f->listener);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(mode_of(f->path), S_IFSOCK | 0600);
    int next = try_connect(f->path, 0);
    run_until_accepted(f, 2);
    assert_loop_is_idle(f);
    listener_free(f->listener);
    f->listener = NULL;
    assert_false(exists(f->path));
    (void)close(waiting);
    (void)close(next);
}

static void a_socket_of_another_process_in_its_place_is_left_alone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    assert_int_equal(unlink(f->path), 0);
    int other = bound_socket(f->path, SOCK_STREAM);
    assert_int_equal(listen(other, 100), 0);
    for (int i = 0; i < 200; i++)
        listener_verify(f->listener);
    int client = try_connect(f->path, 0);
    assert_true(client >= 0); /* the other's */
    assert_loop_is_idle(f);
    assert_int_equal(f->accepted, 0);
    (void)close(other);
    for (int i = 0; i < 200; i++)
        listener_verify(f->listener);
    int next = try_connect(f->path, 0);
    run_until_accepted(f, 1);
    (void)close(client);
    (void)close(next);
}

static void a_folder_that_was_removed_is_waited_for(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(rmdir(f->folder), 0);
    listener_verify(f->listener);
    assert_int_equal(mkdir(f->folder, 0755), 0);
    listener_verify(f->listener);
    int client = try_connect(f->path, 0);
    run_until_accepted(f, 1);
    (void)close(client);
}

static void the_file_of_a_passed_socket_is_not_made_again(void **state)
{
    struct fixture *f = *state;
    int passed = bound_socket(f->path, SOCK_STREAM);

    assert_int_equal(listen(passed, 1), 0);
    f->settings.passed = &passed;
    f->settings.passed_count = 1;
    assert_int_equal(start(f), 0);
    listener_verify(f->listener);
    assert_int_equal(unlink(f->path), 0);
    listener_verify(f->listener);
    listener_verify(f->listener);
    assert_false(exists(f->path));
}

static void an_owner_that_fails_ends_the_loop(void **state)
{
    struct fixture *f = *state;

    f->answer = -EIO;
    assert_int_equal(start(f), 0);
    int client = try_connect(f->path, 0);
    assert_int_equal(sd_event_loop(f->event), -EIO);
    assert_int_equal(f->accepted, 1);
    (void)close(client);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_connection_reaches_its_owner_with_the_kernels_credentials),
        CASE(the_socket_file_has_the_mode_that_was_asked_for),
        CASE(the_socket_file_is_given_to_the_group),
        CASE(an_unknown_group_is_an_error_and_leaves_no_file),
        CASE(the_kernel_gives_a_bound_socket_the_mode_of_its_descriptor),
        CASE(a_socket_file_left_behind_is_replaced),
        CASE(a_socket_on_which_somebody_listens_is_left_alone),
        CASE(a_full_backlog_counts_as_somebody),
        CASE(a_datagram_socket_in_use_is_left_alone),
        CASE(a_file_that_is_no_socket_is_left_alone),
        CASE(a_symbolic_link_is_not_followed),
        CASE(a_missing_folder_is_an_error),
        CASE(a_folder_without_permission_needs_the_operator),
        CASE(a_path_that_no_socket_can_have_is_an_error),
        CASE(the_longest_path_of_a_socket_works),
        CASE(free_removes_the_file_that_was_made),
        CASE(free_keeps_the_file_of_a_successor),
        CASE(free_accepts_null),
        CASE(a_passed_socket_is_used_as_it_is),
        CASE(a_tcp_client_that_has_died_is_found_out),
        CASE(tcp_on_loopback_has_no_known_user),
        CASE(tcp_on_the_loopback_of_ipv6_has_no_known_user),
        CASE(tcp_that_is_open_to_others_is_refused),
        CASE(what_does_not_listen_is_refused),
        CASE(several_passed_sockets_serve_together),
        CASE(a_storm_of_impatient_clients_finds_room_in_the_backlog),
        CASE(out_of_descriptors_it_pauses_without_spinning_and_resumes),
        CASE(a_paused_listener_accepts_nothing_and_keeps_its_file),
        CASE(a_file_that_was_removed_is_made_again_and_who_waits_is_not_lost),
        CASE(a_socket_of_another_process_in_its_place_is_left_alone),
        CASE(a_folder_that_was_removed_is_waited_for),
        CASE(the_file_of_a_passed_socket_is_not_made_again),
        CASE(an_owner_that_fails_ends_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
