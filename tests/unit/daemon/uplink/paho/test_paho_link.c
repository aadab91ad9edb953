/* SPDX-License-Identifier: MIT */
/*
 * test_paho_link.c - what the link seam does for Paho's threads and sockets
 *
 * What each replaced function corrects is proved in test_paho.c, except where the fault
 * occurs seldom or costs only time: that is here. That the archive's calls go to the
 * replacements is compared by tests/seam.py.
 *
 * All symbols are weak: a build against the shared library has none of them,
 * and an archive whose tracker is not called is linked without the tracker.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <MQTTAsync.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/uplink/paho/paho_link.h"

#define PATIENCE_MS 30000

int UTF8_validateString(const char *text) __attribute__((weak));
int Thread_signal_cond(void *condition) __attribute__((weak));
int Thread_wait_cond(void *condition, int timeout_ms) __attribute__((weak));

/* Of Paho's headers that are not installed. */
struct paho_heap {
    size_t current_size;
    size_t max_size;
};
struct paho_heap *Heap_get_info(void) __attribute__((weak));
void *Thread_create_cond(int *ret_code) __attribute__((weak));
void Thread_destroy_cond(void *condition) __attribute__((weak));

struct fixture {
    MQTTAsync client;
    int event_fd; /* the attempt was refused */
    int port_fd;  /* holds a port without a listener; -1: none */
    char uri[64];
};

static struct fixture fixture;

static void on_refused(void *context, MQTTAsync_failureData *data)
{
    (void)context;
    (void)data;
    (void)eventfd_write(fixture.event_fd, 1);
}

static int setup(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    fixture.port_fd = -1;
    fixture.event_fd = eventfd(0, EFD_CLOEXEC);
    return fixture.event_fd >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    MQTTAsync_destroy(&fixture.client);
    if (fixture.port_fd >= 0)
        (void)close(fixture.port_fd);
    return close(fixture.event_fd);
}

static int setup_library(void **state)
{
    MQTTAsync_init_options options = MQTTAsync_init_options_initializer;

    (void)state;
    (void)unsetenv("http_proxy");
    MQTTAsync_global_init(&options);
    return 0;
}

/* --- a connection that is refused ------------------------------------------ */

/* A port of loopback that is ours, without a listener. */
static void find_refusing_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(fixture.uri, sizeof(fixture.uri), "tcp://127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
    fixture.port_fd = fd;
}

static void begin_connect(void)
{
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;

    assert_int_equal(MQTTAsync_create(&fixture.client, fixture.uri, "test",
                                      MQTTCLIENT_PERSISTENCE_NONE, NULL),
                     MQTTASYNC_SUCCESS);
    options.MQTTVersion = MQTTVERSION_3_1_1;
    options.onFailure = on_refused;
    (void)paho_link_take_connect_error();
    assert_int_equal(MQTTAsync_connect(fixture.client, &options), MQTTASYNC_SUCCESS);
}

static bool is_refused_within(int timeout_ms)
{
    struct pollfd wait = {.fd = fixture.event_fd, .events = POLLIN};

    return poll(&wait, 1, timeout_ms) == 1;
}

static void need_seam(const char *lack)
{
    if (paho_link_limitations()) {
        print_message("skipped: linked to the shared library, %s\n", lack);
        skip();
    }
}

/* --- cases ----------------------------------------------------------------- */

static void the_heap_is_not_tracked(void **state)
{
    (void)state;
    need_seam("which tracks it");
    find_refusing_port();
    begin_connect();
    assert_true(is_refused_within(PATIENCE_MS));
    if (Heap_get_info)
        assert_int_equal(Heap_get_info()->max_size, 0);
}

/* As the library's own check, which accepts "" and rejects no text at all. */
static void a_text_is_accepted_if_it_is_well_formed(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "plant/7/temperature",
                                       "\x01\x7F",
                                       "f\xC9\xB1",
                                       "A\xE2\x89\xA2\xCE\x91.",
                                       "\xEF\xBB\xBF\xF0\xA3\x8E\xB4",
                                       "seven/b\xC3\xBC/\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {
        "\xC0\x80",         "/\xC0\xAE./",      "\xED\xA1\x8C\xED\xBE\xB4", "\xF4",
        "plant/seven/\xFF", "plant/7/\xE2\x89", "\xF4\x90\x80\x80",         "\x80plant/7"};

    (void)state;
    need_seam("which checks by itself");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(UTF8_validateString(good[i]), 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(UTF8_validateString(bad[i]), 0);
    assert_int_equal(UTF8_validateString(NULL), 0);
}

/* The error comes by getsockopt(SO_ERROR), after a connect() that was under way. */
static void a_refused_connection_says_why(void **state)
{
    (void)state;
    need_seam("which keeps the reason to itself");
    find_refusing_port();
    begin_connect();
    assert_true(is_refused_within(PATIENCE_MS));
    assert_int_equal(paho_link_take_connect_error(), ECONNREFUSED);
    assert_int_equal(paho_link_take_connect_error(), 0);
}

/* connect() itself has the error, for TCP knows no broadcast; nothing is sent. */
static void a_network_that_cannot_be_reached_says_so(void **state)
{
    (void)state;
    need_seam("which keeps the reason to itself");
    (void)snprintf(fixture.uri, sizeof(fixture.uri), "tcp://255.255.255.255:1883");
    begin_connect();
    assert_true(is_refused_within(PATIENCE_MS));
    assert_int_equal(paho_link_take_connect_error(), ENETUNREACH);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

/* As Paho's receiving thread: it waits for input only, although a connect is under way. */
static void a_wait_for_input_ends_when_a_connection_was_made(void **state)
{
    struct sockaddr_in address;
    int error = -1;
    socklen_t size = sizeof(error);

    (void)state;
    need_seam("which waits up to 1 s");
    int listener = listen_on_loopback(&address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), -1);
    assert_int_equal(errno, EINPROGRESS);

    struct pollfd wait[2] = {{.fd = fixture.event_fd, .events = POLLIN},
                             {.fd = fd, .events = POLLIN}};
    int64_t began_ms = now_ms();
    assert_int_equal(poll(wait, 2, PATIENCE_MS), 0);
    assert_true(now_ms() - began_ms < PATIENCE_MS);
    assert_int_equal(wait[1].events, POLLIN);
    assert_int_equal(wait[1].revents, 0);

    /* Known to be made: input alone counts again. */
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    assert_int_equal(error, 0);
    began_ms = now_ms();
    assert_int_equal(poll(wait, 2, 50), 0);
    assert_true(now_ms() - began_ms >= 49);
    (void)close(fd);
    (void)close(listener);
}

/* How many waits until one is not ended early. */
static unsigned count_waits(void)
{
    struct sockaddr_in address;
    struct pollfd wait = {.events = POLLIN};
    int64_t began_ms;
    unsigned ended = 0;

    int listener = listen_on_loopback(&address);
    wait.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(wait.fd, (struct sockaddr *)&address, sizeof(address)), -1);
    do {
        began_ms = now_ms();
        assert_int_equal(poll(&wait, 1, 50), 0);
        ended++;
    } while (now_ms() - began_ms < 49 && ended < 100);
    (void)close(wait.fd);
    (void)close(listener);
    return ended;
}

/* Were Paho not to look at the connection, its thread must not turn for ever. A first wait that
 * ends early, but on a machine that stands still, looks like one that does not: tried again. */
static void a_connection_that_nobody_looks_at_ends_few_waits(void **state)
{
    unsigned ended = 1;

    (void)state;
    need_seam("which waits up to 1 s");
    for (unsigned try = 0; try < 10 && ended == 1; try++)
        ended = count_waits();
    assert_true(ended > 1 && ended < 10);
}

/* If the link seam has an address for a host name, Paho gets it without a name server. */
static void paho_gets_the_address_that_is_known_for_a_host(void **state)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char text[64];

    (void)state;
    paho_link_set_address("broker.invalid", "127.0.0.77");
    assert_int_equal(getaddrinfo("broker.invalid", NULL, &hints, &list), 0);
    assert_null(list->ai_next);
    assert_int_equal(getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof(text), NULL, 0,
                                 NI_NUMERICHOST),
                     0);
    assert_string_equal(text, "127.0.0.77");
    freeaddrinfo(list);

    find_refusing_port();
    long port = strtol(strrchr(fixture.uri, ':') + 1, NULL, 10);
    (void)snprintf(fixture.uri, sizeof(fixture.uri), "tcp://broker.invalid:%ld", port);
    begin_connect();
    assert_true(is_refused_within(PATIENCE_MS));
    if (!paho_link_limitations())
        assert_int_equal(paho_link_take_connect_error(), ECONNREFUSED);
}

/* "localhost" would be found; an address needs no lookup. */
static void no_name_but_the_known_one_is_looked_up_for_paho(void **state)
{
    struct addrinfo *list = NULL;

    (void)state;
    need_seam("where the name service's modules may ask for others");
    paho_link_set_address("broker.invalid", "127.0.0.77");
    assert_int_equal(getaddrinfo("::1", NULL, NULL, &list), 0);
    freeaddrinfo(list);
    assert_int_equal(getaddrinfo("localhost", NULL, NULL, &list), EAI_NONAME);
    if (paho_link_getaddrinfo("localhost", NULL, &list) != 0)
        skip(); /* no /etc/hosts: the name could not be found */
    freeaddrinfo(list);
}

/*
 * What Paho's send thread meets when a command comes after its look at the queue:
 * the signal is there before the wait. No client, so that its thread takes none.
 */
static void a_signal_before_the_wait_ends_it(void **state)
{
    int code = 0;

    (void)state;
    need_seam("which loses it");
    void *condition = Thread_create_cond(&code);
    assert_int_equal(code, 0);
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_wait_cond(condition, 1), 0);
    assert_int_equal(Thread_wait_cond(condition, 1), ETIMEDOUT);
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_wait_cond(condition, 1), 0);
    Thread_destroy_cond(condition);
}

/* A run of sends: held, no signal comes through; released, one does, if there was any. */
static void a_held_signal_comes_when_it_is_released(void **state)
{
    int code = 0;

    (void)state;
    need_seam("where the condition is inside the library");
    void *condition = Thread_create_cond(&code);
    assert_int_equal(code, 0);
    paho_link_hold_wake();
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_wait_cond(condition, 1), ETIMEDOUT);
    paho_link_release_wake();
    assert_int_equal(Thread_wait_cond(condition, 1), 0);
    assert_int_equal(Thread_wait_cond(condition, 1), ETIMEDOUT);
    paho_link_hold_wake();
    paho_link_release_wake();
    assert_int_equal(Thread_wait_cond(condition, 1), ETIMEDOUT);
    Thread_destroy_cond(condition);
}

#define link_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        link_test(a_signal_before_the_wait_ends_it),
        link_test(a_held_signal_comes_when_it_is_released),
        cmocka_unit_test(a_text_is_accepted_if_it_is_well_formed),
        link_test(the_heap_is_not_tracked),
        link_test(a_refused_connection_says_why),
        link_test(a_network_that_cannot_be_reached_says_so),
        link_test(a_wait_for_input_ends_when_a_connection_was_made),
        link_test(a_connection_that_nobody_looks_at_ends_few_waits),
        link_test(paho_gets_the_address_that_is_known_for_a_host),
        link_test(no_name_but_the_known_one_is_looked_up_for_paho),
    };

    return cmocka_run_group_tests(tests, setup_library, NULL);
}
