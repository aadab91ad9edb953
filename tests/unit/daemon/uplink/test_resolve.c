/* SPDX-License-Identifier: MIT */
/*
 * test_resolve.c - name lookups: the real Paho, a fake broker and a fake resolver
 *
 * The test decides what the resolver answers and when. No name server is ever queried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/broker_fake.h"
#include "tests/support/uplink_settings.h"

#define DEADLINE_MS 60000
/* Far more than a turn of the loop takes, far less than a resolver that hangs. */
#define AT_ONCE_MS    15000
#define ADDRESSES_MAX 3

/* --- the resolver ---------------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    const char *hangs_for; /* a host; NULL: none */
    int error;
    int system_error;
    const char *addresses[ADDRESSES_MAX]; /* up to the first NULL */
    bool rotates;                         /* by one at each lookup */
    unsigned begun;                       /* lookups */
    unsigned ended;
    pthread_t thread; /* of the newest */
} resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __real_paho_link_getaddrinfo(const char *host,
                                 const struct addrinfo *hints,
                                 struct addrinfo **ret_list);
int __wrap_paho_link_getaddrinfo(const char *host,
                                 const struct addrinfo *hints,
                                 struct addrinfo **ret_list);

static void make_list(const struct addrinfo *hints, struct addrinfo **ret_list)
{
    struct addrinfo numeric = *hints;
    size_t count = 0;

    numeric.ai_flags = AI_NUMERICHOST;
    while (count < ADDRESSES_MAX && resolver.addresses[count])
        count++;
    for (size_t i = 0; i < count; i++) {
        size_t at = resolver.rotates ? (i + resolver.begun) % count : i;
        int error = __real_paho_link_getaddrinfo(resolver.addresses[at], &numeric, ret_list);

        if (error != 0)
            abort(); /* cmocka's assertions work on its own thread only */
        ret_list = &(*ret_list)->ai_next;
    }
}

int __wrap_paho_link_getaddrinfo(const char *host,
                                 const struct addrinfo *hints,
                                 struct addrinfo **ret_list)
{
    if (hints->ai_flags & AI_NUMERICHOST)
        return __real_paho_link_getaddrinfo(host, hints, ret_list);
    (void)pthread_mutex_lock(&resolver.mutex);
    resolver.begun++;
    resolver.thread = pthread_self();
    while (resolver.hangs_for && strcmp(host, resolver.hangs_for) == 0)
        (void)pthread_cond_wait(&resolver.changed, &resolver.mutex);
    int error = resolver.error;
    int system_error = resolver.system_error;
    if (error == 0)
        make_list(hints, ret_list);
    resolver.ended++;
    (void)pthread_mutex_unlock(&resolver.mutex);
    errno = system_error;
    return error;
}

static unsigned lookups_begun(void)
{
    (void)pthread_mutex_lock(&resolver.mutex);
    unsigned count = resolver.begun;
    (void)pthread_mutex_unlock(&resolver.mutex);
    return count;
}

static unsigned lookups_ended(void)
{
    (void)pthread_mutex_lock(&resolver.mutex);
    unsigned count = resolver.ended;
    (void)pthread_mutex_unlock(&resolver.mutex);
    return count;
}

static void hang_for(const char *host)
{
    (void)pthread_mutex_lock(&resolver.mutex);
    resolver.hangs_for = host;
    (void)pthread_cond_broadcast(&resolver.changed);
    (void)pthread_mutex_unlock(&resolver.mutex);
}

/* --- the fixture ----------------------------------------------------------- */

struct fixture {
    sd_event *event;
    struct broker_fake broker;
    struct broker_fake second;
    char named[64]; /* the broker's URI with a host name */
    char other[64]; /* the second one's, with another name */
    char *uris[2];
    struct uplink_settings settings;
    struct uplink *uplink;
    unsigned answers;
    unsigned goal;
};

static void on_answered(void *owner, const struct uplink_answer *answer)
{
    struct fixture *f = owner;

    assert_int_equal(answer->kind, UPLINK_DELIVERED);
    f->answers++;
}

static void on_changed(void *owner)
{
    (void)owner;
}

static const struct uplink_ops ops = {.answered = on_answered, .changed = on_changed};

static void reset_resolver(void)
{
    resolver.hangs_for = NULL;
    resolver.error = 0;
    resolver.addresses[0] = "127.0.0.1";
    resolver.addresses[1] = NULL;
    resolver.rotates = false;
    resolver.begun = 0;
    resolver.ended = 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    reset_resolver();
    assert_int_equal(sd_event_new(&f->event), 0);
    broker_start(&f->broker, f->event);
    broker_start(&f->second, f->event);
    (void)snprintf(f->named, sizeof(f->named), "tcp://broker.test:%u", f->broker.port);
    (void)snprintf(f->other, sizeof(f->other), "tcp://other.test:%u", f->second.port);
    f->uris[0] = f->named;
    f->uris[1] = f->other;
    f->settings = uplink_test_settings(f->uris);
    f->settings.backoff_min_ms = f->settings.backoff_max_ms = 1;
    *state = f;
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A detached thread must not see the next case's resolver. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    struct timespec pause = {.tv_nsec = 1000000};
    int64_t end_ms = now_ms() + DEADLINE_MS;

    uplink_free(f->uplink);
    broker_stop(&f->broker);
    broker_stop(&f->second);
    sd_event_unref(f->event);
    free(f);
    hang_for(NULL);
    while (lookups_ended() < lookups_begun() && now_ms() < end_ms)
        (void)nanosleep(&pause, NULL);
    return lookups_ended() == lookups_begun() ? 0 : -1;
}

typedef bool condition_fn(struct fixture *f);

/* Each turn of the loop is short, whatever the resolver does. */
static void wait_until(struct fixture *f, condition_fn *condition, const char *what)
{
    int64_t end_ms = now_ms() + DEADLINE_MS;

    while (!condition(f)) {
        int64_t began_ms = now_ms();
        assert_true(sd_event_run(f->event, 20000) >= 0);
        assert_true(now_ms() - began_ms < AT_ONCE_MS);
        if (now_ms() > end_ms)
            fail_msg("waited without effect for: %s", what);
    }
}
#define wait_for(f, condition) wait_until((f), (condition), #condition)

static struct uplink_link link_of(struct fixture *f)
{
    struct uplink_link link;

    uplink_get_link(f->uplink, &link);
    return link;
}

static bool is_online(struct fixture *f)
{
    return link_of(f).state == UPLINK_ONLINE;
}
static bool has_connects(struct fixture *f)
{
    return link_of(f).connects >= f->goal;
}
static bool has_error(struct fixture *f)
{
    return link_of(f).last_error[0] != '\0';
}
static bool has_failed(struct fixture *f)
{
    return f->uplink->retry.failed_attempts >= f->goal;
}
static bool has_lookups(struct fixture *f)
{
    return lookups_begun() >= f->goal;
}
static bool has_ended_lookups(struct fixture *f)
{
    return lookups_ended() >= f->goal;
}
static bool has_answer(struct fixture *f)
{
    return f->answers >= f->goal;
}
static bool is_resolving(struct fixture *f)
{
    return f->uplink->state == LINK_RESOLVING;
}

static void start(struct fixture *f)
{
    assert_int_equal(uplink_new(f->event, &f->settings, &ops, f, &f->uplink), 0);
    assert_int_equal(uplink_start(f->uplink), 0);
}

static void go_online(struct fixture *f)
{
    start(f);
    wait_for(f, is_online);
}

static void wait_failures(struct fixture *f, unsigned count)
{
    f->goal = count;
    wait_for(f, has_failed);
}

static void wait_lookups(struct fixture *f, unsigned count)
{
    f->goal = count;
    wait_for(f, has_lookups);
}

/* As if the deadline of the state had passed. */
static void make_due(struct fixture *f)
{
    f->uplink->retry.due_ms = 0;
    uplink_timer_set(&f->uplink->timer, uplink_now_ms());
}

static void deliver_one(struct fixture *f)
{
    struct uplink_message message = {.topic = {(const uint8_t *)"t", 1},
                                     .payload = {(const uint8_t *)"x", 1},
                                     .qos = 1,
                                     .expiry_ms = -1};

    assert_int_equal(uplink_send(f->uplink, &message), 0);
    f->goal = f->answers + 1;
    wait_for(f, has_answer);
}

/* --- names and addresses ---------------------------------------------------- */

static void assert_host(const char *uri, const char *wanted, bool is_address)
{
    char host[UPLINK_TEXT_MAX];

    uplink_host_of(uri, host);
    assert_string_equal(host, wanted);
    assert_int_equal(uplink_host_is_address(host), is_address);
}

static void the_host_of_each_form_of_uri_is_found(void **state)
{
    (void)state;
    assert_host("tcp://broker.example:1883", "broker.example", false);
    assert_host("mqtts://broker.example", "broker.example", false);
    assert_host("ssl://a:8883", "a", false);
    assert_host("tcp://localhost", "localhost", false);
    assert_host("tcp://10.1.2.3:1883", "10.1.2.3", true);
    assert_host("tcp://10.1.2.3", "10.1.2.3", true);
    assert_host("ssl://[2001:db8::1]:8883", "2001:db8::1", true);
    assert_host("ssl://[::1]", "::1", true);
}

static void a_host_name_is_looked_up_on_another_thread(void **state)
{
    struct fixture *f = *state;

    go_online(f);
    assert_int_equal(lookups_begun(), 1);
    assert_false(pthread_equal(resolver.thread, pthread_self()));
    assert_string_equal(link_of(f).broker, f->named);
    assert_string_equal(link_of(f).last_error, "");
    deliver_one(f);
}

static void an_address_is_not_looked_up(void **state)
{
    struct fixture *f = *state;

    f->uris[0] = f->broker.uri;
    go_online(f);
    assert_int_equal(lookups_begun(), 0);
}

static void each_attempt_looks_up_anew(void **state)
{
    struct fixture *f = *state;

    resolver.addresses[0] = "127.0.0.2";
    start(f);
    wait_failures(f, 2);
    (void)pthread_mutex_lock(&resolver.mutex);
    resolver.addresses[0] = "127.0.0.1";
    (void)pthread_mutex_unlock(&resolver.mutex);
    wait_for(f, is_online);
    assert_true(lookups_begun() >= 3);
    assert_true(lookups_begun() <= f->uplink->retry.failed_attempts + 1);
}

/* --- a resolver that hangs --------------------------------------------------- */

static void a_lookup_that_hangs_is_told_and_waited_for_by_the_next_attempts(void **state)
{
    struct fixture *f = *state;

    f->settings.connect_timeout_ms = 1000;
    resolver.hangs_for = "broker.test";
    start(f);
    wait_for(f, has_error);
    assert_string_equal(
        link_of(f).last_error,
        "name resolution of broker.test takes longer than 1 s: look at the name servers");
    assert_int_equal(link_of(f).state, UPLINK_CONNECTING);
    for (unsigned i = 2; i <= 5; i++) {
        wait_for(f, is_resolving);
        make_due(f);
        wait_failures(f, i);
    }
    assert_int_equal(lookups_begun(), 1);
    wait_for(f, is_resolving);
    f->settings.connect_timeout_ms = DEADLINE_MS; /* the attempt that has its answer succeeds */
    hang_for(NULL);
    wait_for(f, is_online);
    assert_int_equal(lookups_begun(), 1);
    deliver_one(f);
}

static void brokers_with_an_address_are_tried_while_a_lookup_hangs(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->uris[1] = f->second.uri;
    resolver.hangs_for = "broker.test";
    start(f);
    wait_lookups(f, 1);
    make_due(f);
    wait_for(f, is_online);
    assert_string_equal(link_of(f).broker, f->second.uri);
    assert_int_equal(lookups_begun(), 1);
    deliver_one(f);
}

static void another_name_does_not_wait_behind_a_lookup_that_hangs(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    resolver.hangs_for = "broker.test";
    start(f);
    wait_lookups(f, 1);
    make_due(f);
    wait_for(f, is_online);
    assert_string_equal(link_of(f).broker, f->other);
    assert_int_equal(lookups_begun(), 2);
}

static bool is_waiting(struct fixture *f)
{
    return f->uplink->state == LINK_WAITING;
}

/* Otherwise a resolver that is slower than connect_timeout would never do. */
static void what_is_found_too_late_serves_the_next_attempt_once(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_min_ms = 600000;
    f->settings.backoff_max_ms = 600000;
    resolver.hangs_for = "broker.test";
    start(f);
    wait_lookups(f, 1);
    make_due(f);
    wait_for(f, is_waiting);
    hang_for(NULL);
    f->goal = 1;
    wait_for(f, has_ended_lookups);
    for (unsigned i = 0; i < 5; i++) /* for its mail */
        assert_true(sd_event_run(f->event, 20000) >= 0);
    make_due(f);
    wait_for(f, is_online);
    assert_int_equal(lookups_begun(), 1);
    broker_reset(&f->broker);
    wait_for(f, is_waiting);
    make_due(f);
    f->goal = 2;
    wait_for(f, has_connects);
    assert_int_equal(lookups_begun(), 2);
}

static void a_failure_that_comes_too_late_is_forgotten(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_min_ms = 600000;
    f->settings.backoff_max_ms = 600000;
    resolver.error = EAI_AGAIN;
    resolver.hangs_for = "broker.test";
    start(f);
    wait_lookups(f, 1);
    make_due(f);
    wait_for(f, is_waiting);
    hang_for(NULL);
    f->goal = 1;
    wait_for(f, has_ended_lookups);
    (void)pthread_mutex_lock(&resolver.mutex);
    resolver.error = 0;
    (void)pthread_mutex_unlock(&resolver.mutex);
    for (unsigned i = 0; i < 500 && lookups_begun() < 2; i++) { /* its mail may be under way */
        if (is_waiting(f))
            make_due(f);
        assert_true(sd_event_run(f->event, 20000) >= 0);
    }
    wait_for(f, is_online);
    assert_int_equal(lookups_begun(), 2);
}

static void stop_and_free_do_not_wait_for_a_lookup(void **state)
{
    struct fixture *f = *state;
    int64_t began_ms = now_ms();

    resolver.hangs_for = "broker.test";
    start(f);
    wait_lookups(f, 1);
    uplink_stop(f->uplink);
    assert_int_equal(link_of(f).state, UPLINK_IDLE);
    assert_int_equal(uplink_start(f->uplink), 0);
    wait_for(f, is_resolving);
    assert_int_equal(lookups_begun(), 1);
    uplink_free(f->uplink);
    f->uplink = NULL;
    assert_true(now_ms() - began_ms < AT_ONCE_MS);
    assert_int_equal(lookups_ended(), 0);

    /* One that comes after it is not disturbed by the answer to the first. */
    start(f);
    wait_lookups(f, 2);
    hang_for(NULL);
    wait_for(f, is_online);
}

/* --- failures ---------------------------------------------------------------- */

static void expect_error(struct fixture *f, int error, int system_error, const char *text)
{
    resolver.error = error;
    resolver.system_error = system_error;
    start(f);
    wait_for(f, has_error);
    assert_string_equal(link_of(f).last_error, text);
    assert_int_equal(link_of(f).state, UPLINK_CONNECTING);
    uplink_free(f->uplink);
    f->uplink = NULL;
}

static void what_the_resolver_says_is_told(void **state)
{
    struct fixture *f = *state;

    f->settings.backoff_min_ms = 600000; /* no attempt while the script is changed */
    f->settings.backoff_max_ms = 600000;
    expect_error(f, EAI_NONAME, 0, "cannot resolve broker.test: name or service not known");
    expect_error(f, EAI_AGAIN, 0,
                 "cannot resolve broker.test: temporary failure in name resolution");
    expect_error(f, EAI_SYSTEM, EMFILE, "cannot resolve broker.test: too many open files");
}

static void after_a_failed_lookup_the_next_broker_is_tried(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->settings.backoff_min_ms = 600000;
    f->settings.backoff_max_ms = 600000;
    f->uris[1] = f->second.uri;
    resolver.error = EAI_NONAME;
    go_online(f);
    assert_string_equal(link_of(f).broker, f->second.uri);
}

/* --- several addresses ------------------------------------------------------- */

/* No socket listens on 127.0.0.2. */
static void use_two_addresses(bool rotates)
{
    resolver.addresses[0] = "127.0.0.2";
    resolver.addresses[1] = "127.0.0.1";
    resolver.addresses[2] = NULL;
    resolver.rotates = rotates;
}

static void the_next_attempt_takes_the_next_address(void **state)
{
    struct fixture *f = *state;

    use_two_addresses(false);
    go_online(f);
    assert_int_equal(f->uplink->retry.failed_attempts, 1);
}

/* A name server that rotates its answers must not make every attempt meet the dead one. */
static void a_rotating_answer_leads_to_each_address(void **state)
{
    struct fixture *f = *state;

    use_two_addresses(true);
    resolver.begun = 1; /* so that the dead one is first at the first lookup */
    resolver.ended = 1;
    go_online(f);
    assert_int_equal(f->uplink->retry.failed_attempts, 1);
}

static void after_a_good_connection_its_address_comes_first(void **state)
{
    struct fixture *f = *state;

    use_two_addresses(false);
    go_online(f);
    for (unsigned i = 2; i <= 4; i++) {
        deliver_one(f);
        broker_reset(&f->broker);
        f->goal = i;
        wait_for(f, has_connects);
        assert_int_equal(f->uplink->retry.failed_attempts, 0);
    }
}

static void ipv4_comes_before_ipv6_as_paho_has_it(void **state)
{
    struct fixture *f = *state;

    resolver.addresses[0] = "::1";
    resolver.addresses[1] = "127.0.0.1";
    resolver.addresses[2] = NULL;
    go_online(f);
    assert_int_equal(f->uplink->retry.failed_attempts, 0);
    assert_string_equal(f->uplink->brokers.list[0].address, "127.0.0.1");
}

static void a_name_with_a_dead_ipv6_address_alone_is_tried_and_left(void **state)
{
    struct fixture *f = *state;

    f->settings.broker_count = 2;
    f->uris[1] = f->second.uri;
    resolver.addresses[0] = "::1";
    go_online(f);
    assert_string_equal(f->uplink->brokers.list[0].address, "::1");
    assert_string_equal(link_of(f).broker, f->second.uri);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_host_of_each_form_of_uri_is_found),
        CASE(a_host_name_is_looked_up_on_another_thread),
        CASE(an_address_is_not_looked_up),
        CASE(each_attempt_looks_up_anew),
        CASE(a_lookup_that_hangs_is_told_and_waited_for_by_the_next_attempts),
        CASE(brokers_with_an_address_are_tried_while_a_lookup_hangs),
        CASE(another_name_does_not_wait_behind_a_lookup_that_hangs),
        CASE(what_is_found_too_late_serves_the_next_attempt_once),
        CASE(a_failure_that_comes_too_late_is_forgotten),
        CASE(stop_and_free_do_not_wait_for_a_lookup),
        CASE(what_the_resolver_says_is_told),
        CASE(after_a_failed_lookup_the_next_broker_is_tried),
        CASE(the_next_attempt_takes_the_next_address),
        CASE(a_rotating_answer_leads_to_each_address),
        CASE(after_a_good_connection_its_address_comes_first),
        CASE(ipv4_comes_before_ipv6_as_paho_has_it),
        CASE(a_name_with_a_dead_ipv6_address_alone_is_tried_and_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
