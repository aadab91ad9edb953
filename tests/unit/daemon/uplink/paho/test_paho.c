/* SPDX-License-Identifier: MIT */
/*
 * test_paho.c - what the daemon assumes about Paho MQTT C
 *
 * Against the library that is linked and a scripted broker in a process of its own
 * (support/fake_broker.py). Some cases pin what the library does, so that a change is
 * noticed: they print which behaviour they found and accept a corrected library, too.
 * The others prove the link seam of daemon/uplink/paho/paho_link.c: without it they fail.
 * Only tokens are counted, never speed; see docs/paho.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <MQTTAsync.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/uplink/paho/paho_link.h"

#define PATIENCE_MS 60000
#define PAUSE_MS    200
/* The library looks for more of a proxy's answer for 250 ms. */
#define PROXY_PATIENCE_MS 3000
#define TOKENS_MAX        16384
#define TEXT_MAX          192

extern char **environ;

/* Exported by a library that tracks its heap; absent in others. */
struct paho_heap {
    size_t current_size;
    size_t max_size;
};
struct paho_heap *Heap_get_info(void) __attribute__((weak));

/* Present under a leak sanitizer. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* What became of each message; its number is the context of the callbacks. */
struct token {
    atomic_uint successes;
    atomic_uint failures;
    atomic_int code; /* of the last failure */
};

struct fixture {
    char folder[64];
    char ledger[96];
    pid_t broker;
    int broker_stdin;
    char uri[64];
    int event_fd; /* something was called back */
    MQTTAsync client;
    int version;
    bool is_clean;
    struct token tokens[TOKENS_MAX];
    unsigned sent;
    atomic_uint answered;
    atomic_uint connected; /* 0 or 1 */
    atomic_uint failed;    /* connection attempts */
    atomic_uint lost;
};

static struct fixture fixture;

/* --- callbacks ------------------------------------------------------------ */

static void wake(void)
{
    (void)eventfd_write(fixture.event_fd, 1); /* fails when it is set to the brim already */
}

static void count_success(void *context)
{
    atomic_fetch_add(&fixture.tokens[(uintptr_t)context].successes, 1);
    atomic_fetch_add(&fixture.answered, 1);
    wake();
}

static void count_failure(void *context, int code)
{
    atomic_store(&fixture.tokens[(uintptr_t)context].code, code);
    atomic_fetch_add(&fixture.tokens[(uintptr_t)context].failures, 1);
    atomic_fetch_add(&fixture.answered, 1);
    wake();
}

static void on_success(void *context, MQTTAsync_successData *response)
{
    (void)response;
    count_success(context);
}

static void on_success5(void *context, MQTTAsync_successData5 *response)
{
    (void)response;
    count_success(context);
}

static void on_failure(void *context, MQTTAsync_failureData *response)
{
    count_failure(context, response->code);
}

static void on_failure5(void *context, MQTTAsync_failureData5 *response)
{
    count_failure(context, response->code);
}

static void set_flag(atomic_uint *flag)
{
    atomic_fetch_add(flag, 1);
    wake();
}

static void on_connected(void *context, MQTTAsync_successData *response)
{
    (void)context;
    (void)response;
    set_flag(&fixture.connected);
}

static void on_connected5(void *context, MQTTAsync_successData5 *response)
{
    (void)context;
    (void)response;
    set_flag(&fixture.connected);
}

static void on_refused(void *context, MQTTAsync_failureData *response)
{
    (void)context;
    (void)response;
    set_flag(&fixture.failed);
}

static void on_refused5(void *context, MQTTAsync_failureData5 *response)
{
    (void)context;
    (void)response;
    set_flag(&fixture.failed);
}

static void on_lost(void *context, char *cause)
{
    (void)context;
    (void)cause;
    atomic_store(&fixture.connected, 0);
    set_flag(&fixture.lost);
}

static int on_message(void *context, char *topic, int size, MQTTAsync_message *message)
{
    (void)context;
    (void)size;
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

/* --- waiting -------------------------------------------------------------- */

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_us(void)
{
    return now_ns() / 1000;
}

static int64_t patience(void)
{
    return now_us() + (int64_t)PATIENCE_MS * 1000;
}

/* Until a callback came, or for a while: another wait may have taken the signal, so the caller
 * checks again. */
static void pause_until_called(int64_t deadline_us)
{
    struct pollfd wait = {.fd = fixture.event_fd, .events = POLLIN};
    eventfd_t count;
    int64_t left_us = deadline_us - now_us();

    if (left_us <= 0)
        fail_msg("nothing came back: sent %u, answered %u, lost %u", fixture.sent,
                 atomic_load(&fixture.answered), atomic_load(&fixture.lost));
    if (poll(&wait, 1, PAUSE_MS) > 0)
        (void)eventfd_read(fixture.event_fd, &count);
}

static void wait_at_least(atomic_uint *counter, unsigned wanted)
{
    int64_t deadline_us = patience();

    while (atomic_load(counter) < wanted)
        pause_until_called(deadline_us);
}

/* --- the broker ----------------------------------------------------------- */

static void read_port(int fd)
{
    char line[16] = "";
    size_t size = 0;
    ssize_t n = 1;

    while (n > 0 && size < sizeof(line) - 1 && !strchr(line, '\n')) {
        n = read(fd, line + size, sizeof(line) - 1 - size);
        if (n > 0)
            size += (size_t)n;
    }
    if (size == 0)
        fail_msg("fake_broker.py did not start");
    line[strcspn(line, "\n")] = '\0';
    (void)snprintf(fixture.uri, sizeof(fixture.uri), "tcp://127.0.0.1:%s", line);
}

/* @options: separated by blanks. */
static void start_broker(const char *options)
{
    char script[] = SPOOLD_SOURCE "/tests/support/fake_broker.py";
    char python[] = PYTHON;
    char text[TEXT_MAX];
    char *arguments[16] = {python, script};
    int in[2], out[2];
    size_t count = 2;
    char *rest = text;
    posix_spawn_file_actions_t actions;

    if (access(PYTHON, X_OK) != 0) {
        print_message("skipped: there is no %s for the scripted broker\n", PYTHON);
        skip();
    }
    (void)snprintf(text, sizeof(text), "--ledger %s --check %s", fixture.ledger, options);
    while ((arguments[count] = strsep(&rest, " ")))
        count += arguments[count][0] != '\0' && count < 14;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, in[0], 0), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out[1], 1), 0);
    assert_int_equal(posix_spawn(&fixture.broker, PYTHON, &actions, NULL, arguments, environ),
                     0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(in[0]);
    (void)close(out[1]);
    fixture.broker_stdin = in[1];
    read_port(out[0]);
    (void)close(out[0]);
}

/* The ledger is whole after this. */
static void stop_broker(void)
{
    int status;

    if (fixture.broker <= 0)
        return;
    (void)close(fixture.broker_stdin);
    assert_int_equal(waitpid(fixture.broker, &status, 0), fixture.broker);
    fixture.broker = 0;
}

/* --- the client ----------------------------------------------------------- */

static int setup(void **state)
{
    static bool is_prepared;
    MQTTAsync_init_options options = MQTTAsync_init_options_initializer;

    (void)state;
    (void)paho_link_limitations(); /* with the shared library this brings in the writev() */
    memset(&fixture, 0, sizeof(fixture));
    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/spoold-paho-XXXXXX");
    assert_non_null(mkdtemp(fixture.folder));
    (void)snprintf(fixture.ledger, sizeof(fixture.ledger), "%s/ledger", fixture.folder);
    fixture.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fixture.event_fd >= 0);
    fixture.version = MQTTVERSION_3_1_1;
    fixture.is_clean = true;
    if (!is_prepared)
        MQTTAsync_global_init(&options);
    is_prepared = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    MQTTAsync_destroy(&fixture.client);
    stop_broker();
    (void)close(fixture.event_fd);
    (void)unlink(fixture.ledger);
    return rmdir(fixture.folder);
}

static MQTTAsync_createOptions queueing(int buffered, bool deletes_oldest)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;

    options.sendWhileDisconnected = 1;
    options.allowDisconnectedSendAtAnyTime = 1;
    options.maxBufferedMessages = buffered;
    options.deleteOldestMessages = deletes_oldest;
    return options;
}

/* As the uplink does it. */
static MQTTAsync_createOptions strict(void)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;

    options.sendWhileDisconnected = 0;
    options.maxBufferedMessages = 1000;
    return options;
}

static void create(MQTTAsync_createOptions options)
{
    const char *uri = fixture.uri[0] ? fixture.uri : "tcp://127.0.0.1:1";

    options.MQTTVersion = fixture.version;
    assert_int_equal(MQTTAsync_createWithOptions(&fixture.client, uri, "test_paho",
                                                 MQTTCLIENT_PERSISTENCE_NONE, NULL, &options),
                     MQTTASYNC_SUCCESS);
}

static void begin_connect(void)
{
    bool is_v5 = fixture.version == MQTTVERSION_5;
    MQTTAsync_connectOptions options =
        is_v5 ? (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer5
              : (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer;

    options.MQTTVersion = fixture.version;
    options.maxInflight = 1000;
    if (is_v5) {
        options.cleanstart = fixture.is_clean;
        options.onSuccess5 = on_connected5;
        options.onFailure5 = on_refused5;
    } else {
        options.cleansession = fixture.is_clean;
        options.onSuccess = on_connected;
        options.onFailure = on_refused;
    }
    /* It waits for the library's lock, so that the last attempt has let go of everything. */
    assert_int_equal(MQTTAsync_setCallbacks(fixture.client, NULL, on_lost, on_message, NULL),
                     MQTTASYNC_SUCCESS);
    assert_int_equal(MQTTAsync_connect(fixture.client, &options), MQTTASYNC_SUCCESS);
}

static void connect_client(void)
{
    int64_t deadline_us = patience();

    while (atomic_load(&fixture.connected) == 0) {
        unsigned failed = atomic_load(&fixture.failed);
        unsigned lost = atomic_load(&fixture.lost); /* it may come and go unseen */

        begin_connect();
        while (atomic_load(&fixture.connected) == 0 && atomic_load(&fixture.failed) == failed &&
               atomic_load(&fixture.lost) == lost)
            pause_until_called(deadline_us);
    }
}

static uint32_t crc32_of(const char *text, size_t size)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++) {
        crc ^= (uint8_t)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
    }
    return ~crc;
}

/* A payload that proves itself, on a topic of its own: see fake_broker.py. */
static int send_next(int qos)
{
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    char topic[32];
    char payload[TEXT_MAX];

    assert_true(fixture.sent < TOKENS_MAX);
    (void)snprintf(topic, sizeof(topic), "storm/%u", fixture.sent);
    int size = snprintf(payload, sizeof(payload), "%u;%0*u", fixture.sent, 110, fixture.sent);
    size += snprintf(payload + size, sizeof(payload) - (size_t)size, ";%08" PRIx32,
                     crc32_of(payload, (size_t)size));
    options.context = (void *)(uintptr_t)fixture.sent;
    if (fixture.version == MQTTVERSION_5) {
        options.onSuccess5 = on_success5;
        options.onFailure5 = on_failure5;
    } else {
        options.onSuccess = on_success;
        options.onFailure = on_failure;
    }
    int rc = MQTTAsync_send(fixture.client, topic, size, payload, qos, 0, &options);
    if (rc == MQTTASYNC_SUCCESS)
        fixture.sent++;
    return rc;
}

/* Up to 1.3.13 a client that is destroyed leaks what it has queued (upstream #1474). */
static void send_what_leaks(int qos, int count)
{
    if (__lsan_disable)
        __lsan_disable();
    for (int i = 0; i < count; i++)
        assert_int_equal(send_next(qos), MQTTASYNC_SUCCESS);
    if (__lsan_enable)
        __lsan_enable();
}

struct tally {
    unsigned successes;
    unsigned evicted;    /* failures with -12 */
    unsigned incomplete; /* failures with -11 */
    unsigned others;     /* other failures */
    unsigned silent;     /* no callback came */
    unsigned repeated;   /* more than one callback came */
};

static struct tally count_tokens(void)
{
    struct tally tally = {0};

    for (unsigned i = 0; i < fixture.sent; i++) {
        const struct token *token = &fixture.tokens[i];
        unsigned failures = atomic_load(&token->failures);
        unsigned successes = atomic_load(&token->successes);
        int code = atomic_load(&token->code);

        tally.successes += successes > 0;
        tally.evicted += failures > 0 && code == MQTTASYNC_MAX_BUFFERED_MESSAGES;
        tally.incomplete += failures > 0 && code == MQTTASYNC_OPERATION_INCOMPLETE;
        tally.others += failures > 0 && code != MQTTASYNC_MAX_BUFFERED_MESSAGES &&
                        code != MQTTASYNC_OPERATION_INCOMPLETE;
        tally.silent += failures + successes == 0;
        tally.repeated += failures + successes > 1;
    }
    return tally;
}

/* --- queueing: what the daemon must not leave to the library -------------- */

#define SEED_SENDS 20
#define SEED_LIMIT 5
#define SEED_OVER  (SEED_SENDS - SEED_LIMIT)

static void seed_queue(int qos)
{
    create(queueing(SEED_LIMIT, true));
    send_what_leaks(qos, SEED_SENDS);
}

/* Upstream #1542: up to 1.3.13 unreported, from 1.3.14 on with code -12. */
static void check_evictions(const struct tally *tally)
{
    print_message("the installed library %s: of %d sends with room for %d, %u tokens never "
                  "got a callback, %u were reported evicted\n",
                  tally->silent > 0 ? "evicts in silence (before 1.3.14)" : "reports evictions",
                  SEED_SENDS, SEED_LIMIT, tally->silent, tally->evicted);
    assert_int_equal(tally->silent + tally->evicted, SEED_OVER);
    assert_true(tally->silent == 0 || tally->evicted == 0);
    assert_int_equal(tally->repeated, 0);
}

static void seed_ends_with_destroy(int qos)
{
    seed_queue(qos);
    MQTTAsync_destroy(&fixture.client);
    struct tally tally = count_tokens();
    check_evictions(&tally);
    assert_int_equal(tally.incomplete, SEED_LIMIT);
    assert_int_equal(tally.successes, 0);
}

static void seed_ends_with_a_broker(int qos)
{
    start_broker("");
    seed_queue(qos);
    unsigned reported = atomic_load(&fixture.answered);
    connect_client();
    wait_at_least(&fixture.answered, reported + SEED_LIMIT);
    MQTTAsync_destroy(&fixture.client);
    struct tally tally = count_tokens();
    check_evictions(&tally);
    assert_int_equal(tally.successes, SEED_LIMIT);
    assert_int_equal(tally.incomplete, 0);
}

static void evicted_qos0_tokens_of_a_destroyed_client(void **state)
{
    (void)state;
    seed_ends_with_destroy(0);
}

static void evicted_qos1_tokens_of_a_destroyed_client(void **state)
{
    (void)state;
    seed_ends_with_destroy(1);
}

static void evicted_qos0_tokens_of_a_drained_client(void **state)
{
    (void)state;
    seed_ends_with_a_broker(0);
}

static void evicted_qos1_tokens_of_a_drained_client(void **state)
{
    (void)state;
    seed_ends_with_a_broker(1);
}

static void a_full_queue_that_may_not_delete_refuses_the_send(void **state)
{
    (void)state;
    create(queueing(SEED_LIMIT, false));
    send_what_leaks(1, SEED_LIMIT);
    assert_int_equal(send_next(1), MQTTASYNC_MAX_BUFFERED_MESSAGES);
    MQTTAsync_destroy(&fixture.client);
    struct tally tally = count_tokens();
    assert_int_equal(tally.incomplete, SEED_LIMIT);
    assert_int_equal(atomic_load(&fixture.answered), SEED_LIMIT);
}

static void a_send_while_disconnected_is_refused_without_a_callback(void **state)
{
    (void)state;
    create(strict());
    assert_int_equal(send_next(1), MQTTASYNC_DISCONNECTED);
    MQTTAsync_destroy(&fixture.client);
    assert_int_equal(atomic_load(&fixture.answered), 0);
}

/* --- what a lost connection leaves ---------------------------------------- */

static void what_is_in_flight_fails_before_the_loss_is_told(void **state)
{
    (void)state;
    start_broker("--noack --reset-after 10");
    create(strict());
    connect_client();
    for (int i = 0; i < 9; i++)
        assert_int_equal(send_next(1), MQTTASYNC_SUCCESS);
    (void)send_next(1); /* the last one brings the RST */
    wait_at_least(&fixture.lost, 1);
    assert_int_equal(atomic_load(&fixture.answered), fixture.sent);
    struct tally tally = count_tokens();
    assert_int_equal(tally.incomplete, fixture.sent);
    assert_int_equal(tally.repeated, 0);
}

static void destroy_answers_everything_on_the_calling_thread(void **state)
{
    (void)state;
    start_broker("--noack");
    create(strict());
    connect_client();
    send_what_leaks(1, 50);
    MQTTAsync_destroy(&fixture.client);
    struct tally tally = count_tokens();
    assert_int_equal(tally.incomplete, 50);
    assert_int_equal(tally.repeated, 0);
}

/* --- the seam: allocator -------------------------------------------------- */

static void the_heap_is_not_tracked(void **state)
{
    (void)state;
    if (paho_link_limitations() || !Heap_get_info) {
        print_message("skipped: %s\n", Heap_get_info ? paho_link_limitations()
                                                     : "a library without heap tracking");
        skip();
        return;
    }
    start_broker("");
    create(strict());
    connect_client();
    assert_int_equal(send_next(1), MQTTASYNC_SUCCESS);
    wait_at_least(&fixture.answered, 1);
    assert_int_equal(Heap_get_info()->max_size, 0);
}

/* --- the seam: wake-ups --------------------------------------------------- */

#define LONE_SENDS 3000
#define LONE_TRIES 3
#define SLOW_US    100000
#define HELD_US    900000 /* a lost wake-up sleeps for one second */

/*
 * The send thread calls back, finds its queue empty and goes to sleep, within a
 * microsecond or two. So the test polls for the answer, and passes the next message
 * to the library at a moment after it that moves through that time.
 */
#define POLL_US 200
#define STEP_NS INT64_C(50)
#define STEPS   64

static void poll_for_answer(unsigned wanted)
{
    int64_t until_us = now_us() + POLL_US;

    while (atomic_load(&fixture.answered) < wanted && now_us() < until_us)
        ;
    wait_at_least(&fixture.answered, wanted);
}

static void spin_a_moment(unsigned round)
{
    int64_t until_ns = now_ns() + round % STEPS * STEP_NS;

    while (now_ns() < until_ns)
        ;
}

/* A thread that only sleeps: others may be delayed as long as it is. */
#define NAP_US INT64_C(5000)

static struct {
    pthread_t thread;
    atomic_bool ends;
    atomic_llong late_us; /* at the most, since it was last set to 0 */
} delays;

static void *measure_delays(void *context)
{
    struct timespec nap = {.tv_nsec = NAP_US * 1000};

    while (!atomic_load(&delays.ends)) {
        int64_t begin_us = now_us();

        (void)nanosleep(&nap, NULL);
        long long late_us = now_us() - begin_us - NAP_US;
        if (late_us > atomic_load(&delays.late_us))
            atomic_store(&delays.late_us, late_us);
    }
    return context;
}

/* Did the machine not run for most of the last @took_us? */
static bool was_machine_late(int64_t took_us)
{
    struct timespec nap = {.tv_nsec = 4 * NAP_US * 1000};

    (void)nanosleep(&nap, NULL); /* what is under way is noted, too */
    return atomic_load(&delays.late_us) > took_us / 2;
}

static void send_lone_messages(int qos, unsigned *ret_slow, unsigned *ret_held)
{
    *ret_slow = 0;
    *ret_held = 0;
    for (unsigned i = 0; i < LONE_SENDS; i++) {
        unsigned answered = atomic_load(&fixture.answered);
        int64_t begin_us = now_us();

        atomic_store(&delays.late_us, 0);
        assert_int_equal(send_next(qos), MQTTASYNC_SUCCESS);
        poll_for_answer(answered + 1);
        int64_t took_us = now_us() - begin_us;
        bool counts = took_us > SLOW_US && !was_machine_late(took_us);
        *ret_slow += counts;
        *ret_held += counts && took_us > HELD_US;
        spin_a_moment(i);
    }
}

/*
 * If the machine does not run for a moment, messages are slow, too: the thread
 * that only sleeps notices it. Because one of the threads may be delayed alone, one of a few
 * tries must be without any. None may be delayed by the whole second that a lost
 * wake-up takes.
 */
static void no_lone_message_is_held_back(int qos)
{
    unsigned slow = 1, held = 0;

    if (paho_link_limitations()) {
        print_message("skipped: %s\n", paho_link_limitations());
        skip();
    }
    start_broker("--ledger /dev/null"); /* which never waits for a disk */
    create(strict());
    connect_client();
    atomic_store(&delays.ends, false);
    assert_int_equal(pthread_create(&delays.thread, NULL, measure_delays, NULL), 0);
    for (int try = 0; try < LONE_TRIES && slow > 0 && held == 0; try++) {
        send_lone_messages(qos, &slow, &held);
        print_message("%d lone messages of QoS %d: %u above 100 ms, %u above 900 ms\n",
                      LONE_SENDS, qos, slow, held);
    }
    atomic_store(&delays.ends, true);
    assert_int_equal(pthread_join(delays.thread, NULL), 0);
    assert_int_equal(held, 0);
    assert_int_equal(slow, 0);
}

/* Only the send thread waits, and there is none: these are the library's calls of it. */
int Thread_signal_cond(void *condition) __attribute__((weak));
int Thread_wait_cond(void *condition, int timeout_ms) __attribute__((weak));
void *Thread_create_cond(int *ret) __attribute__((weak));
int Thread_destroy_cond(void *condition) __attribute__((weak));

static void a_signal_before_the_wait_ends_the_wait(void **state)
{
    int rc;

    (void)state;
    if (paho_link_limitations() || !Thread_create_cond) {
        print_message("skipped: the functions are inside of the library\n");
        skip();
        return;
    }
    void *condition = Thread_create_cond(&rc);
    assert_non_null(condition);
    (void)Thread_wait_cond(condition, 0); /* what an earlier client left */
    assert_int_equal(Thread_wait_cond(condition, 1), ETIMEDOUT);
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_signal_cond(condition), 0);
    assert_int_equal(Thread_wait_cond(condition, 2000), 0);
    assert_int_equal(Thread_wait_cond(condition, 1), ETIMEDOUT);
    assert_int_equal(Thread_destroy_cond(condition), 0);
}

static void no_lone_qos0_message_is_held_back(void **state)
{
    (void)state;
    no_lone_message_is_held_back(0);
}

static void no_lone_qos1_message_is_held_back(void **state)
{
    (void)state;
    no_lone_message_is_held_back(1);
}

/* --- the seam: resets ----------------------------------------------------- */

#define STORM_RESETS 10
/* The broker resets after 300: most of what was sent is still to be written. */
#define WIDE_WINDOW 900
/* With a kept session a reset must not meet what is sent again at the start of a connection:
 * the library then forgets to report the attempt now and then. */
#define NARROW_WINDOW 100

static void fill_window(int qos, unsigned window)
{
    while (atomic_load(&fixture.connected) > 0 &&
           fixture.sent - atomic_load(&fixture.answered) < window) {
        if (send_next(qos) != MQTTASYNC_SUCCESS)
            return;
    }
}

/* Something gets through: each reset may have come before the first delivery. */
static void deliver_after_the_storm(int qos)
{
    int64_t deadline_us = patience();

    while (count_tokens().successes == 0) {
        assert_true(now_us() < deadline_us);
        connect_client();
        if (send_next(qos) == MQTTASYNC_SUCCESS)
            wait_at_least(&fixture.answered, fixture.sent);
    }
}

static bool storm_is_over(void)
{
    return atomic_load(&fixture.lost) >= STORM_RESETS &&
           atomic_load(&fixture.answered) >= fixture.sent;
}

/* The last connections take what is left, so that the client ends with nothing queued. */
static void storm(int qos, unsigned window)
{
    int64_t deadline_us = patience();

    create(strict());
    while (!storm_is_over()) {
        connect_client();
        if (atomic_load(&fixture.lost) < STORM_RESETS)
            fill_window(qos, window);
        if (!storm_is_over()) /* the last call may have come while it connected */
            pause_until_called(deadline_us);
    }
    deliver_after_the_storm(qos);
    MQTTAsync_destroy(&fixture.client);
}

struct ledger {
    unsigned publishes;
    unsigned damaged;
    unsigned malformed;
    bool seen[TOKENS_MAX];
};

static void read_line(struct ledger *ledger, const char *line)
{
    const char *seq = strstr(line, "\"seq\": ");
    unsigned number;

    ledger->malformed += strstr(line, "\"of\": \"form\"") != NULL;
    if (!strstr(line, "\"intact\": "))
        return;
    ledger->publishes++;
    if (!strstr(line, "\"intact\": true") || !seq || sscanf(seq, "\"seq\": %u", &number) != 1 ||
        number >= fixture.sent)
        ledger->damaged++;
    else
        ledger->seen[number] = true;
}

static void read_ledger(struct ledger *ledger)
{
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(fixture.ledger, "re");

    assert_non_null(file);
    while (getline(&line, &size, file) > 0)
        read_line(ledger, line);
    (void)fclose(file);
}

/* Upstream #1621, #1622, #1532. The allocator of a sanitizer sees a double free at once. */
static void check_storm(void)
{
    static struct ledger ledger;
    struct tally tally = count_tokens();

    memset(&ledger, 0, sizeof(ledger));
    stop_broker();
    read_ledger(&ledger);
    print_message("%u resets: %u delivered, %u failed with code -11, %u otherwise; the broker "
                  "saw %u\n",
                  atomic_load(&fixture.lost), tally.successes, tally.incomplete, tally.others,
                  ledger.publishes);
    assert_int_equal(tally.silent, 0);
    assert_int_equal(tally.repeated, 0);
    assert_int_equal(tally.others, 0);
    assert_true(tally.successes > 0);
    assert_int_equal(ledger.malformed, 0);
    assert_int_equal(ledger.damaged, 0);
    for (unsigned i = 0; i < fixture.sent; i++)
        assert_true(ledger.seen[i] || atomic_load(&fixture.tokens[i].successes) == 0);
}

static void resets_in_mid_stream_free_and_damage_nothing(void **state)
{
    (void)state;
    start_broker("--reset-after 300");
    storm(1, WIDE_WINDOW);
    check_storm();
}

static void resets_in_mid_stream_of_version_5_free_and_damage_nothing(void **state)
{
    (void)state;
    start_broker("--reset-after 300");
    fixture.version = MQTTVERSION_5;
    storm(2, WIDE_WINDOW);
    check_storm();
}

/* The daemon keeps no session, but this is where freed memory went to the broker. */
static void resets_with_a_kept_session_resend_no_freed_memory(void **state)
{
    (void)state;
    start_broker("--reset-after 300 --session-present");
    fixture.is_clean = false;
    storm(1, NARROW_WINDOW);
    check_storm();
}

#define paho_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* --- proxies -------------------------------------------------------------- */

/* The other end of the client's connection to a proxy that listens at @fd. */
static int accept_proxied(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char request[512];
    int peer;

    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    ssize_t size = recv(peer, request, sizeof(request) - 1, 0);
    assert_true(size > 0);
    request[size] = '\0';
    assert_non_null(strstr(request, "CONNECT 127.0.0.1:1 HTTP/1.1\r\n"));
    return peer;
}

static int listen_as_proxy(char *uri, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(uri, size, "http://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/*
 * The reason why there is no uplink.proxy: the first line of the proxy's answer counts as all
 * of it, and what follows is read as MQTT or TLS. A correct client waits for the empty line.
 */
static void the_answer_of_a_proxy_is_not_read_to_its_end(void **state)
{
    static const char line[] = "HTTP/1.1 200 Connection established\r\n";
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    char proxy[64];
    int fd = listen_as_proxy(proxy, sizeof(proxy));
    struct pollfd peer = {.events = POLLIN};

    (void)state;
    assert_int_equal(MQTTAsync_create(&fixture.client, "tcp://127.0.0.1:1", "client",
                                      MQTTCLIENT_PERSISTENCE_NONE, NULL),
                     0);
    options.httpProxy = proxy;
    options.MQTTVersion = MQTTVERSION_3_1_1;
    assert_int_equal(MQTTAsync_connect(fixture.client, &options), 0);
    peer.fd = accept_proxied(fd);
    assert_int_equal(send(peer.fd, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
    bool is_early = poll(&peer, 1, PROXY_PATIENCE_MS) == 1;
    print_message("# an answer of a proxy in two parts: %s\n",
                  is_early ? "MQTT begins after the first" : "is waited for; uplink.proxy?");
    (void)close(peer.fd);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        paho_test(evicted_qos0_tokens_of_a_destroyed_client),
        paho_test(evicted_qos1_tokens_of_a_destroyed_client),
        paho_test(evicted_qos0_tokens_of_a_drained_client),
        paho_test(evicted_qos1_tokens_of_a_drained_client),
        paho_test(a_full_queue_that_may_not_delete_refuses_the_send),
        paho_test(a_send_while_disconnected_is_refused_without_a_callback),
        paho_test(what_is_in_flight_fails_before_the_loss_is_told),
        paho_test(destroy_answers_everything_on_the_calling_thread),
        paho_test(the_heap_is_not_tracked),
        paho_test(a_signal_before_the_wait_ends_the_wait),
        paho_test(no_lone_qos0_message_is_held_back),
        paho_test(no_lone_qos1_message_is_held_back),
        paho_test(resets_in_mid_stream_free_and_damage_nothing),
        paho_test(resets_in_mid_stream_of_version_5_free_and_damage_nothing),
        paho_test(resets_with_a_kept_session_resend_no_freed_memory),
        paho_test(the_answer_of_a_proxy_is_not_read_to_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
