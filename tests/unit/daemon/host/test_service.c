/* SPDX-License-Identifier: MIT */
/*
 * test_service.c - what systemd sees
 *
 * Each test that changes what a process has one of (environment, descriptors
 * 3 and up, mounts) does so in a child; its exit code is the result.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/host/journal.h"
#include "daemon/host/service.h"
#include "store/spool.h"
#include "tests/support/child.h"
#include "tests/support/emulated.h"
#include "tests/support/files.h"
#include "tests/support/loop.h"

#define FIRST_FD      3
#define NOTICE_MAX    1024
#define ENTRY_MAX     (256 * 1024)
#define CHILD_SKIPPED 77

/* Of the sockets made from now on; 0: as the system has it. */
static int send_buffer;

int __wrap_socket(int domain, int type, int protocol);
int __real_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol)
{
    int fd = __real_socket(domain, type, protocol);

    if (fd >= 0 && send_buffer > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    return fd;
}

/* ---- children ---- */

typedef int child_fn(void *context);

/* Return: the exit code of @fn in a child. */
static int in_child(child_fn *fn, void *context)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        child_exit(fn(context));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- sockets ---- */

static int listening(int family, int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    int fd = socket(family, type, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (family == AF_INET)
        (void)bind(fd, (struct sockaddr *)&address, sizeof(address));
    else
        (void)bind(fd, (struct sockaddr *)&unnamed, sizeof(sa_family_t)); /* an abstract name */
    if (type == SOCK_STREAM)
        (void)listen(fd, 1);
    return fd;
}

struct passed {
    const int *fds;
    int count;
    const char *pid; /* NULL: the right one */
};

static void pass(const struct passed *passed)
{
    char number[16];

    for (int i = 0; i < passed->count; i++)
        (void)dup2(passed->fds[i], FIRST_FD + i);
    (void)snprintf(number, sizeof(number), "%d", passed->count);
    (void)setenv("LISTEN_FDS", number, 1);
    (void)snprintf(number, sizeof(number), "%d", (int)getpid());
    (void)setenv("LISTEN_PID", passed->pid ? passed->pid : number, 1);
}

/* Return: 100 and more: so many sockets, none of them for a child of ours; else the errno. */
static int take_sockets(void *context)
{
    int fds[SERVICE_SOCKETS_MAX];
    int count;

    (void)close(FIRST_FD); /* inherited from the process that runs the tests */
    pass(context);
    (void)close(STDERR_FILENO); /* what is refused is logged */
    count = service_sockets(fds);
    if (count < 0)
        return fcntl(FIRST_FD, F_GETFD) < 0 ? -count : 99; /* they must not stay open */
    for (int i = 0; i < count; i++)
        if (fds[i] != FIRST_FD + i || fcntl(fds[i], F_GETFD) != FD_CLOEXEC)
            return 98;
    return getenv("LISTEN_FDS") ? 97 : 100 + count;
}

/* Sources well above the descriptors that they are passed as. */
static int high(int fd)
{
    int copy = fcntl(fd, F_DUPFD, 64);

    assert_true(copy >= 64);
    (void)close(fd);
    return copy;
}

static void sockets_are_counted_and_handed_out(void **state)
{
    int fds[] = {high(listening(AF_UNIX, SOCK_STREAM)), high(listening(AF_INET, SOCK_STREAM))};
    struct passed passed = {.fds = fds, .count = 2};

    (void)state;
    assert_int_equal(in_child(take_sockets, &passed), 102);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void without_systemd_there_are_none(void **state)
{
    int fds[] = {high(listening(AF_UNIX, SOCK_STREAM))};
    struct passed other = {.fds = fds, .count = 1, .pid = "1"};
    int none[SERVICE_SOCKETS_MAX];

    (void)state;
    assert_int_equal(service_sockets(none), 0);
    assert_int_equal(in_child(take_sockets, &other), 100); /* they are for another process */
    (void)close(fds[0]);
}

static void too_many_sockets_are_refused(void **state)
{
    int fds[SERVICE_SOCKETS_MAX + 1];
    struct passed passed = {.fds = fds, .count = SERVICE_SOCKETS_MAX};

    (void)state;
    for (int i = 0; i <= SERVICE_SOCKETS_MAX; i++)
        fds[i] = high(listening(AF_UNIX, SOCK_STREAM));
    assert_int_equal(in_child(take_sockets, &passed), 100 + SERVICE_SOCKETS_MAX);
    passed.count++;
    assert_int_equal(in_child(take_sockets, &passed), E2BIG);
    for (int i = 0; i <= SERVICE_SOCKETS_MAX; i++)
        (void)close(fds[i]);
}

static void variables_that_make_no_sense_are_refused(void **state)
{
    struct passed passed = {.pid = "not-a-pid"};

    (void)state;
    assert_int_equal(in_child(take_sockets, &passed), EINVAL);
}

/* ---- state ---- */

/* A datagram socket at @path; if no process sends, the read ends with an error. */
static int receiver(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

struct manager {
    char folder[FILES_PATH_MAX];
    char path[FILES_PATH_MAX + 16];
    int fd;
    char text[NOTICE_MAX];
};

static int manager_setup(void **state)
{
    struct manager *manager = calloc(1, sizeof(*manager));

    assert_non_null(manager);
    files_make_folder(manager->folder, "test_service");
    (void)snprintf(manager->path, sizeof(manager->path), "%s/notify", manager->folder);
    manager->fd = receiver(manager->path);
    assert_int_equal(setenv("NOTIFY_SOCKET", manager->path, 1), 0);
    *state = manager;
    return 0;
}

static int manager_teardown(void **state)
{
    struct manager *manager = *state;

    (void)unsetenv("NOTIFY_SOCKET");
    (void)close(manager->fd);
    files_remove_folder(manager->folder);
    free(manager);
    return 0;
}

static const char *received(struct manager *manager)
{
    ssize_t n = recv(manager->fd, manager->text, NOTICE_MAX - 1, 0);

    assert_true(n > 0);
    manager->text[n] = '\0';
    return manager->text;
}

static void the_manager_receives_each_state(void **state)
{
    struct manager *manager = *state;

    service_ready();
    assert_string_equal(received(manager), "READY=1");
    service_stopping();
    assert_string_equal(received(manager), "STOPPING=1");
    service_status("link %s, %d spooled", "online", 7);
    assert_string_equal(received(manager), "STATUS=link online, 7 spooled");
}

static void a_status_is_one_line_of_text(void **state)
{
    struct manager *manager = *state;

    service_status("lane %s", "a\nMAINPID=1\x1b\xC2\x9B\xE2\x80\xAE\xFF\xC3\xBC");
    assert_string_equal(received(manager),
                        "STATUS=lane a\\x0AMAINPID=1\\x1B\\u{9B}\\u{202E}\\xFF\xC3\xBC");
}

static void a_status_that_is_too_long_is_cut(void **state)
{
    struct manager *manager = *state;

    service_status("%2000d", 7);
    assert_in_range(strlen(received(manager)), 200, 600);
}

static void a_reload_carries_the_monotonic_time(void **state)
{
    struct manager *manager = *state;
    uint64_t before = clock_monotonic_us();
    unsigned long long reported_us;
    int length = 0;

    service_reloading();
    assert_int_equal(
        sscanf(received(manager), "RELOADING=1\nMONOTONIC_USEC=%llu%n", &reported_us, &length),
        1);
    assert_int_equal(length, strlen(manager->text));
    assert_in_range(reported_us, before, clock_monotonic_us());
}

static void without_a_manager_nothing_happens(void **state)
{
    (void)state;
    assert_null(getenv("NOTIFY_SOCKET"));
    service_ready();
    service_reloading();
    service_status("no manager reads this");
    service_stopping();
}

/* Nothing more fits into the manager's queue. Returns how many messages that took. */
static unsigned fill_queue(const struct manager *manager)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    unsigned count = 0;

    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", manager->path);
    while (sendto(fd, "X=1", 3, MSG_DONTWAIT, (struct sockaddr *)&address, sizeof(address)) ==
           3)
        count++;
    assert_int_equal(errno, EAGAIN);
    (void)close(fd);
    (void)alarm(60); /* what waits for the manager ends the program */
    return count;
}

static bool has_message(void *userdata)
{
    struct manager *manager = userdata;
    ssize_t n = recv(manager->fd, manager->text, NOTICE_MAX - 1, MSG_DONTWAIT);

    if (n > 0)
        manager->text[n] = '\0';
    return n > 0;
}

/* Turns of the loop until the manager has a message; returns it. */
static const char *received_by_loop(sd_event *event, struct manager *manager)
{
    loop_run_until(event, has_message, manager, "a message to the manager");
    return manager->text;
}

static void a_manager_that_does_not_read_gets_each_state_later(void **state)
{
    struct manager *manager = *state;
    sd_event *event = NULL;
    unsigned count = fill_queue(manager);

    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(service_start(event), 0);
    service_extend_timeout(7000);
    service_ready();
    service_reloading();
    service_status("left out");
    service_ready();
    for (unsigned i = 0; i < count; i++)
        assert_string_equal(received(manager), "X=1");
    assert_memory_equal(received_by_loop(event, manager), "RELOADING=1\nMONOTONIC_USEC=", 27);
    assert_string_equal(received_by_loop(event, manager), "READY=1");
    service_status("received again");
    assert_string_equal(received_by_loop(event, manager), "STATUS=received again");

    count = fill_queue(manager);
    service_reloading();
    service_stopping(); /* the reload is of no interest any more */
    for (unsigned i = 0; i < count; i++)
        assert_string_equal(received(manager), "X=1");
    service_end(); /* sends what waits */
    assert_string_equal(received(manager), "STOPPING=1");
    (void)alarm(0);
    sd_event_unref(event);
}

static void a_longer_start_reaches_a_manager_that_did_not_read(void **state)
{
    struct manager *manager = *state;
    unsigned count = fill_queue(manager);

    service_extend_timeout(7000);
    for (unsigned i = 0; i < count; i++)
        assert_string_equal(received(manager), "X=1");
    service_status("a second line"); /* sends what waits before it */
    assert_string_equal(received(manager), "EXTEND_TIMEOUT_USEC=7000000");
    assert_string_equal(received(manager), "STATUS=a second line");
    (void)alarm(0);
}

static void a_manager_with_an_abstract_name_receives_it_too(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 10};
    char name[64], text[64] = "";
    int length = snprintf(name, sizeof(name), "@test_service-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    memcpy(address.sun_path + 1, name + 1, (size_t)length - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length)),
                     0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    service_ready();
    assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), 7);
    assert_string_equal(text, "READY=1");
    (void)unsetenv("NOTIFY_SOCKET");
    (void)close(fd);
}

static void the_loop_feeds_the_watchdog_and_never_waits(void **state)
{
    struct manager *manager = *state;
    sd_event *event = NULL;
    char number[16];

    (void)snprintf(number, sizeof(number), "%d", (int)getpid());
    assert_int_equal(setenv("WATCHDOG_USEC", "200000", 1), 0);
    assert_int_equal(setenv("WATCHDOG_PID", number, 1), 0);
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(service_start(event), 0);
    assert_null(getenv("WATCHDOG_USEC")); /* it is not for children */
    for (int i = 0; i < 3; i++)
        assert_string_equal(received_by_loop(event, manager), "WATCHDOG=1");
    unsigned count = fill_queue(manager);
    for (int i = 0; i < 5; i++)
        assert_true(sd_event_run(event, UINT64_MAX) > 0); /* pings that do not fit */
    for (unsigned i = 0; i < count; i++)
        assert_string_equal(received(manager), "X=1");
    assert_string_equal(received_by_loop(event, manager), "WATCHDOG=1");
    service_end();
    (void)alarm(0);
    sd_event_unref(event);
}

static void a_watchdog_of_another_process_is_not_fed(void **state)
{
    struct manager *manager = *state;
    sd_event *event = NULL;

    assert_int_equal(setenv("WATCHDOG_USEC", "100000", 1), 0);
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0);
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(service_start(event), 0);
    assert_int_equal(sd_event_run(event, 0) < 0, 0);
    service_ready();
    assert_string_equal(received(manager), "READY=1");
    service_end();
    sd_event_unref(event);
}

/* ---- journal ---- */

static const struct spool_record evicted = {
    .seq = 12,
    .id = 7,
    .outcome = SPOOL_EVICTED,
    .reason = SPOOL_REASON_MAX_MESSAGES,
    .lane = "default",
    .client = "press-7",
    .topic = "plant/7/\"hot\"",
    .uid = 1001,
    .qos = 1,
    .bytes = 128,
    .time_ms = INT64_C(1793536496789),
    .accepted_ms = INT64_C(1793536490000),
    .age_ms = 6789,
    .attempts = 2,
    .code = SPOOL_NO_CODE,
};

struct entry {
    char text[ENTRY_MAX + 1];
    size_t size;
};
static struct entry entry;
static int entry_seals; /* of the last that came as a file */

/* A field as the journal's protocol has it: NAME=value, or NAME, size and bytes. */
static bool has_field(const char *field)
{
    const char *at = memmem(entry.text, entry.size, field, strlen(field));

    return at && at[strlen(field)] == '\n' && (at == entry.text || at[-1] == '\n');
}

static bool has_name(const char *name)
{
    return memmem(entry.text, entry.size, name, strlen(name)) != NULL;
}

/* A journal of our own in a mount namespace of this child. */
static bool make_journal(int *ret_fd)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/run", "tmpfs", 0, "size=1m") < 0)
        return false;
    if (mkdir("/run/systemd", 0755) < 0 || mkdir("/run/systemd/journal", 0755) < 0)
        return false;
    *ret_fd = receiver("/run/systemd/journal/socket");
    return true;
}

/* What does not fit into a datagram comes as a sealed file. */
static ssize_t receive_entry(int fd)
{
    union {
        struct cmsghdr header;
        char memory[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec into = {entry.text, ENTRY_MAX};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = n == 0 ? CMSG_FIRSTHDR(&message) : NULL;
    int file;

    if (!header)
        return n;
    memcpy(&file, CMSG_DATA(header), sizeof(file));
    entry_seals = fcntl(file, F_GET_SEALS);
    n = pread(file, entry.text, ENTRY_MAX, 0);
    (void)close(file);
    return n;
}

static int in_journal(const struct spool_record *record)
{
    int fd = -1;
    ssize_t n;

    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    service_journal_outcome(record, 1000);
    n = receive_entry(fd);
    (void)close(fd);
    if (n <= 0)
        return 1;
    entry.size = (size_t)n;
    entry.text[n] = '\0';
    return 0;
}

#define EXPECT(what)                                                                           \
    do {                                                                                       \
        if (!(what)) {                                                                         \
            (void)printf("# missing: %s in\n%s\n", #what, entry.text);                         \
            (void)fflush(stdout);                                                              \
            return 1;                                                                          \
        }                                                                                      \
    } while (0)

static int check_evicted(void *context)
{
    static const char *const fields[] = {
        "MESSAGE=evicted id=7 reason=max_messages topic=\"plant/7/\\\"hot\\\"\"",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=mqtt-spoold",
        "MESSAGE_ID=2b0c9ea366a341c487eabe33c1e51bd3",
        "MQTT_SPOOL_SEQ=12",
        "MQTT_SPOOL_ID=7",
        "MQTT_SPOOL_OUTCOME=evicted",
        "MQTT_SPOOL_REASON=max_messages",
        "MQTT_SPOOL_LANE=default",
        "MQTT_SPOOL_CLIENT=press-7",
        "MQTT_SPOOL_UID=1001",
        "MQTT_SPOOL_TOPIC=plant/7/\"hot\"",
        "MQTT_SPOOL_QOS=1",
        "MQTT_SPOOL_BYTES=128",
        "MQTT_SPOOL_TIME=2026-11-01T12:34:56.789Z",
        "MQTT_SPOOL_ACCEPTED=2026-11-01T12:34:50.000Z",
        "MQTT_SPOOL_AGE_MS=6789",
        "MQTT_SPOOL_ATTEMPTS=2",
    };
    int r = in_journal(context);

    if (r != 0)
        return r;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        EXPECT(has_field(fields[i]));
    EXPECT(!has_name("MQTT_SPOOL_CODE=") && !has_name("MQTT_SPOOL_REF="));
    return 0;
}

static int check_rejected(void *context)
{
    int r = in_journal(context);

    if (r != 0)
        return r;
    EXPECT(has_field("MQTT_SPOOL_CODE=135"));
    EXPECT(has_field("MQTT_SPOOL_REF=order/1"));
    EXPECT(has_field("MQTT_SPOOL_REQUEUED_FROM=17"));
    EXPECT(has_field("PRIORITY=4"));
    EXPECT(has_field("MQTT_SPOOL_UID=unknown"));
    return 0;
}

static int check_delivered(void *context)
{
    int r = in_journal(context);

    if (r != 0)
        return r;
    EXPECT(has_field("MESSAGE=delivered id=7 topic=\"plant/7/\\\"hot\\\"\""));
    EXPECT(has_field("PRIORITY=6"));
    EXPECT(!has_name("MQTT_SPOOL_REASON="));
    return 0;
}

static int check_longest(void *context)
{
    int r = in_journal(context);

    if (r != 0)
        return r;
    EXPECT(entry.size > 3 * 65535);
    EXPECT(has_name("MQTT_SPOOL_REF=xxx"));
    EXPECT(has_field("MQTT_SPOOL_ATTEMPTS=2"));
    return 0;
}

static int check_forged(void *context)
{
    int r = in_journal(context);

    if (r != 0)
        return r;
    EXPECT(!has_field("PRIORITY=0"));
    EXPECT(has_field("MQTT_SPOOL_TOPIC=a\\x0APRIORITY=0\\x0A"));
    return 0;
}

#define HIDDEN "\x1b]\n\x7F\xC2\x85\xC2\x9B\xE2\x80\xAE\xEF\xBB\xBF\xF3\xA0\x81\x81\xFF\xC3\xBC"
#define SHOWN  "\\x1B]\\x0A\\x7F\\u{85}\\u{9B}\\u{202E}\\u{FEFF}\\u{E0041}\\xFF\xC3\xBC"

/* A field in the protocol's binary form is one that the reader may show as "blob data". */
static int check_shown(void *context)
{
    int r = in_journal(context);

    if (r != 0)
        return r;
    EXPECT(has_field("MQTT_SPOOL_LANE=l" SHOWN));
    EXPECT(has_field("MQTT_SPOOL_CLIENT=c" SHOWN));
    EXPECT(has_field("MQTT_SPOOL_TOPIC=t" SHOWN));
    EXPECT(has_field("MQTT_SPOOL_REF=r\\" SHOWN));
    EXPECT(has_field("MESSAGE=evicted id=7 reason=max_messages topic=\"t" SHOWN "\""));
    for (size_t i = 0; i < entry.size; i++)
        EXPECT(entry.text[i] == '\n' || (unsigned char)entry.text[i] >= 0x20);
    return 0;
}

static int check_longest_shown(void *context)
{
    int r = in_journal(context);

    if (r != 0)
        return r;
    EXPECT(entry.size > 3 * 65520);
    EXPECT(has_name("MQTT_SPOOL_REF=\\u{202E}\\u{202E}"));
    EXPECT(has_field("MQTT_SPOOL_ATTEMPTS=2"));
    return 0;
}

static void expect_entry(child_fn *check, const struct spool_record *record)
{
    struct spool_record copy = *record;
    int code = in_child(check, &copy);

    if (code == CHILD_SKIPPED)
        skip();
    assert_int_equal(code, 0);
}

static void a_failure_is_a_warning_with_all_its_fields(void **state)
{
    (void)state;
    expect_entry(check_evicted, &evicted);
}

static void code_and_ref_are_there_where_they_are_known(void **state)
{
    struct spool_record record = evicted;

    (void)state;
    record.outcome = SPOOL_REJECTED;
    record.reason = SPOOL_REASON_REASON_CODE;
    record.code = 135;
    record.uid = UINT32_MAX; /* not known */
    record.ref = "order/1";
    record.requeued_from = 17;
    expect_entry(check_rejected, &record);
}

static void a_delivery_is_no_warning(void **state)
{
    struct spool_record record = evicted;

    (void)state;
    record.outcome = SPOOL_DELIVERED;
    record.reason = SPOOL_REASON_NONE;
    expect_entry(check_delivered, &record);
}

static void the_longest_texts_arrive_whole(void **state)
{
    static char longest[65536];
    struct spool_record record = evicted;

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    record.client = longest;
    record.topic = longest;
    record.ref = longest;
    expect_entry(check_longest, &record);
}

static void a_line_break_in_a_text_forges_no_field(void **state)
{
    struct spool_record record = evicted;

    (void)state;
    record.topic = "a\nPRIORITY=0\n";
    expect_entry(check_forged, &record);
}

static void no_character_of_a_text_is_more_than_text(void **state)
{
    struct spool_record record = evicted;

    (void)state;
    record.lane = "l" HIDDEN;
    record.client = "c" HIDDEN;
    record.topic = "t" HIDDEN;
    record.ref = "r\\" HIDDEN;
    expect_entry(check_shown, &record);
}

static void texts_that_grow_by_escapes_are_cut_and_all_fields_stay(void **state)
{
    static char longest[65536];
    struct spool_record record = evicted;

    (void)state;
    for (size_t i = 0; i + 3 < sizeof(longest); i += 3)
        memcpy(longest + i, "\xE2\x80\xAE", 3);
    record.client = longest;
    record.topic = longest;
    record.ref = longest;
    expect_entry(check_longest_shown, &record);
}

/* ---- a journal that does not read, or reads slowly ---- */

#define LOG_MAX 65536

/* The log of this child goes to a file; stdout is for what EXPECT() misses. */
static int catch_log(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
    return STDERR_FILENO;
}

static const char *logged(int fd)
{
    static char text[LOG_MAX];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

/* How many entries are there; each has the number that follows. 0 and @ret_next untouched where
 * none is. */
static unsigned read_entries(int fd, uint64_t *next)
{
    unsigned count = 0;
    ssize_t n;

    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    while ((n = recv(fd, entry.text, ENTRY_MAX, 0)) > 0) {
        const char *seq;

        entry.text[n] = '\0';
        seq = strstr(entry.text, "MQTT_SPOOL_SEQ=");
        if (!seq || strtoull(seq + 15, NULL, 10) < *next || entry.text[n - 1] != '\n')
            return 0;
        *next = strtoull(seq + 15, NULL, 10) + 1;
        count++;
    }
    return count;
}

static void send_outcomes(unsigned from, unsigned count, int64_t from_ms, unsigned per_ms)
{
    struct spool_record record = evicted;

    for (unsigned i = 0; i < count; i++) {
        record.seq = from + i;
        service_journal_outcome(&record, from_ms + i / per_ms);
    }
}

static int check_stalled(void *context)
{
    unsigned long long limited = 0, dropped = 0;
    uint64_t next = 1;
    unsigned seen = 0;
    sd_event *event = NULL;
    int fd, log;

    (void)context;
    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    log = catch_log();
    (void)alarm(60); /* what waits for the journal ends the child */
    EXPECT(sd_event_new(&event) >= 0 && service_start(event) == 0);
    send_outcomes(1, 5000, 100000, 1); /* at the rate that is allowed */
    service_tick(105000);
    EXPECT(strstr(logged(log), " warning journal_dropped "));
    EXPECT(!strstr(logged(log), "journal_limited") && !strstr(logged(log), "journal_left_out"));
    service_tick(105500);
    EXPECT(!strstr(logged(log), "journal_left_out"));
    service_tick(106000);
    EXPECT(sscanf(strstr(logged(log), "journal_left_out"),
                  "journal_left_out limited=%llu dropped=%llu", &limited, &dropped) == 2);
    EXPECT(limited == 0 && dropped > 0 && dropped < 5000);
    for (int i = 0; i < 600 && seen + dropped < 5000; i++) { /* it reads again */
        seen += read_entries(fd, &next);
        EXPECT(sd_event_run(event, 100000) >= 0);
    }
    EXPECT(seen + dropped == 5000);
    send_outcomes(6000, 1, 200000, 1);
    EXPECT(read_entries(fd, &next) == 1 && next == 6001);
    service_end();
    sd_event_unref(event);
    return 0;
}

static void a_journal_that_does_not_read_holds_nothing_up(void **state)
{
    (void)state;
    expect_entry(check_stalled, &evicted);
}

static int check_limited(void *context)
{
    unsigned long long limited = 0, dropped = 0;
    uint64_t next = 1;
    unsigned seen = 0;
    int fd, log;

    (void)context;
    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    log = catch_log();
    for (unsigned i = 0; i < 2000; i++) { /* 20,000 in a second, read at once */
        send_outcomes(1 + 10 * i, 10, 100000 + i / 2, 10);
        seen += read_entries(fd, &next);
    }
    EXPECT(seen >= 1000 && seen <= SERVICE_JOURNAL_PER_S + SERVICE_JOURNAL_BURST);
    EXPECT(strstr(logged(log), "warning journal_limited per_s=1000 "));
    service_tick(102000);
    EXPECT(sscanf(strstr(logged(log), "journal_left_out"),
                  "journal_left_out limited=%llu dropped=%llu", &limited, &dropped) == 2);
    EXPECT(limited + seen == 20000 && dropped == 0);
    service_tick(103000);
    send_outcomes(30000, 10, 103000, 10);
    EXPECT(read_entries(fd, &next) == 10);
    EXPECT(!strstr(strstr(logged(log), "journal_left_out") + 1, "journal_l")); /* each once */
    return 0;
}

static void an_outage_leaves_the_journal_to_the_rest_of_the_machine(void **state)
{
    (void)state;
    expect_entry(check_limited, &evicted);
}

static int check_absent(void *context)
{
    int fd, log;

    (void)context;
    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    EXPECT(unlink("/run/systemd/journal/socket") == 0);
    log = catch_log();
    send_outcomes(1, 3000, 100000, 10);
    service_tick(102000);
    service_end();
    EXPECT(*logged(log) == '\0');
    return 0;
}

static void where_there_is_no_journal_nothing_is_left_out(void **state)
{
    (void)state;
    expect_entry(check_absent, &evicted);
}

static int check_counted_at_the_end(void *context)
{
    unsigned long long limited, dropped = 0;
    uint64_t next = 1;
    int fd, log;

    (void)context;
    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    log = catch_log();
    (void)alarm(60);
    send_outcomes(1, 500, 100000, 1);
    service_end();
    EXPECT(strstr(logged(log), "journal_left_out"));
    EXPECT(sscanf(strstr(logged(log), "journal_left_out"),
                  "journal_left_out limited=%llu dropped=%llu", &limited, &dropped) == 2);
    EXPECT(dropped > 0 && read_entries(fd, &next) + dropped == 500);
    return 0;
}

static void what_still_waits_at_the_end_is_counted(void **state)
{
    (void)state;
    expect_entry(check_counted_at_the_end, &evicted);
}

/* No text of a record has one in its visible form, but the protocol allows it. */
static int check_binary(void *context)
{
    char priority[] = "PRIORITY=6";
    char text[] = "MQTT_SPOOL_REF=a\nPRIORITY=0";
    struct iovec fields[] = {{text, strlen(text)}, {priority, strlen(priority)}};
    static const char wanted[] =
        "MQTT_SPOOL_REF\n\x0C\0\0\0\0\0\0\0a\nPRIORITY=0\nPRIORITY=6\n";
    int fd = -1;

    (void)context;
    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    EXPECT(journal_put(fields, 2) && journal_flush() == 0);
    EXPECT(receive_entry(fd) == sizeof(wanted) - 1);
    EXPECT(memcmp(entry.text, wanted, sizeof(wanted) - 1) == 0);
    return 0;
}

static void a_value_with_a_line_break_has_its_size_before_it(void **state)
{
    (void)state;
    expect_entry(check_binary, &evicted);
}

static int check_large(void *context)
{
    int fd = -1;

    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    send_buffer = 4096; /* no datagram has room for it */
    service_journal_outcome(context, 1000);
    ssize_t n = receive_entry(fd);
    EXPECT(n > 3 * 65535);
    entry.size = (size_t)n;
    EXPECT(has_name("MQTT_SPOOL_REF=xxx") && has_field("MQTT_SPOOL_ATTEMPTS=2"));
    EXPECT(entry_seals == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
    return 0;
}

static int check_refused(void *context)
{
    unsigned long long limited, dropped = 0;
    struct rlimit limit;
    uint64_t next = 13;
    int fd = -1, log;

    if (!make_journal(&fd))
        return CHILD_SKIPPED;
    log = catch_log();
    send_buffer = 4096;
    EXPECT(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    EXPECT(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = 1000; /* no file has room for it, either */
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    service_journal_outcome(context, 1000);
    send_outcomes(13, 1, 1000, 1);
    EXPECT(read_entries(fd, &next) == 1 && next == 14);
    limit.rlim_cur = limit.rlim_max;
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    service_tick(2000);
    EXPECT(strstr(logged(log), "journal_left_out"));
    EXPECT(sscanf(strstr(logged(log), "journal_left_out"),
                  "journal_left_out limited=%llu dropped=%llu", &limited, &dropped) == 2);
    EXPECT(limited == 0 && dropped == 1);
    return 0;
}

static void what_cannot_be_sent_at_all_does_not_stop_the_rest(void **state)
{
    static char longest[65536];
    struct spool_record record = evicted;

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    record.client = record.topic = record.ref = longest;
    expect_entry(check_refused, &record);
}

static void what_no_datagram_holds_goes_as_a_sealed_file(void **state)
{
    static char longest[65536];
    struct spool_record record = evicted;

    (void)state;
    need_kernel("which does not pass it on");
    memset(longest, 'x', sizeof(longest) - 1);
    record.client = record.topic = record.ref = longest;
    expect_entry(check_large, &record);
}

static bool contains_id(const char *path, const char *id)
{
    static char text[65536];
    FILE *file = fopen(path, "re");
    size_t size;

    if (!file)
        return false;
    size = fread(text, 1, sizeof(text) - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    return strstr(text, id) != NULL;
}

/* One kind of entry for each outcome, explained in the catalog and named in the manual. */
static int check_kind(void *context)
{
    struct spool_record *record = context;
    const char *id;
    int r = in_journal(record);

    if (r != 0)
        return r;
    id = memmem(entry.text, entry.size, "\nMESSAGE_ID=", 12);
    EXPECT(id && id[12 + 32] == '\n');
    entry.text[id + 12 + 32 - entry.text] = '\0';
    EXPECT(contains_id(SPOOLD_SOURCE "/systemd/mqtt-spoold.catalog", id + 12));
    EXPECT(contains_id(SPOOLD_SOURCE "/docs/audit.md", id + 12));
    return 0;
}

static void each_outcome_has_its_entry_in_the_catalog_and_the_manual(void **state)
{
    struct spool_record record = evicted;

    (void)state;
    for (int i = 0; i < SPOOL_OUTCOMES; i++) {
        record.outcome = (enum spool_outcome)i;
        expect_entry(check_kind, &record);
    }
}

static void without_a_journal_nothing_happens(void **state)
{
    (void)state;
    if (access("/run/systemd/journal/socket", F_OK) == 0)
        skip(); /* the entries of a test have no place in a real one */
    service_journal_outcome(&evicted, 1000);
}

int main(void)
{
#define WITH_MANAGER(name)                                                                     \
    cmocka_unit_test_setup_teardown(name, manager_setup, manager_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_are_counted_and_handed_out),
        cmocka_unit_test(without_systemd_there_are_none),
        cmocka_unit_test(too_many_sockets_are_refused),
        cmocka_unit_test(variables_that_make_no_sense_are_refused),
        WITH_MANAGER(the_manager_receives_each_state),
        WITH_MANAGER(a_status_is_one_line_of_text),
        WITH_MANAGER(a_status_that_is_too_long_is_cut),
        WITH_MANAGER(a_reload_carries_the_monotonic_time),
        cmocka_unit_test(without_a_manager_nothing_happens),
        WITH_MANAGER(a_manager_that_does_not_read_gets_each_state_later),
        WITH_MANAGER(a_longer_start_reaches_a_manager_that_did_not_read),
        WITH_MANAGER(a_manager_with_an_abstract_name_receives_it_too),
        WITH_MANAGER(the_loop_feeds_the_watchdog_and_never_waits),
        WITH_MANAGER(a_watchdog_of_another_process_is_not_fed),
        cmocka_unit_test(a_failure_is_a_warning_with_all_its_fields),
        cmocka_unit_test(code_and_ref_are_there_where_they_are_known),
        cmocka_unit_test(a_delivery_is_no_warning),
        cmocka_unit_test(the_longest_texts_arrive_whole),
        cmocka_unit_test(a_line_break_in_a_text_forges_no_field),
        cmocka_unit_test(no_character_of_a_text_is_more_than_text),
        cmocka_unit_test(texts_that_grow_by_escapes_are_cut_and_all_fields_stay),
        cmocka_unit_test(each_outcome_has_its_entry_in_the_catalog_and_the_manual),
        cmocka_unit_test(a_journal_that_does_not_read_holds_nothing_up),
        cmocka_unit_test(an_outage_leaves_the_journal_to_the_rest_of_the_machine),
        cmocka_unit_test(where_there_is_no_journal_nothing_is_left_out),
        cmocka_unit_test(what_still_waits_at_the_end_is_counted),
        cmocka_unit_test(a_value_with_a_line_break_has_its_size_before_it),
        cmocka_unit_test(what_cannot_be_sent_at_all_does_not_stop_the_rest),
        cmocka_unit_test(what_no_datagram_holds_goes_as_a_sealed_file),
        cmocka_unit_test(without_a_journal_nothing_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
