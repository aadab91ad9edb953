/* SPDX-License-Identifier: MIT */
/*
 * test_record_status.c - the status object, of an empty spool
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include "base/json.h"
#include "daemon/record/status.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static char memory[16384];

static const char *write_object(struct fixture *f, struct record_status status)
{
    struct spool_stats stats;
    struct json json;

    status.stats = &stats;
    status.full_after_s = -1;
    assert_int_equal(spool_get_stats(f->spool, &f->now, &stats), 0);
    json_init(&json, memory, sizeof(memory) - 1);
    assert_int_equal(record_write_status(&json, f->spool, &status, &f->now), 0);
    assert_false(json.failed);
    memory[json_used(&json)] = '\0';
    return memory;
}

static const char *write_with(struct fixture *f, struct record_link link)
{
    return write_object(f, (struct record_status){.link = link});
}

static void what_is_not_known_of_the_link_is_empty(void **state)
{
    const char *text = write_with(*state, (struct record_link){.state = "stopped"});

    assert_non_null(strstr(
        text,
        "\"link\":{\"state\":\"stopped\",\"broker\":\"\",\"since\":\"\","
        "\"connects\":0,\"last_error\":null,\"last_error_time\":null,\"remedy\":null,"
        "\"next_attempt\":null,"
        "\"acknowledged\":\"\",\"certificate_expires\":\"\",\"protocol\":\"\","
        "\"window\":0,\"late_answers\":0,\"refused_code\":null,\"refused_waiting\":0,"
        "\"no_subscriber\":0,\"held\":false,"
        "\"all_held\":false,\"presence_error\":null,\"rate\":{\"messages\":0,\"bytes\":0}}"));
}

static void the_link_has_the_hold_of_all_lanes_whatever_its_state(void **state)
{
    const struct fixture *f = *state;

    assert_int_equal(spool_set_hold(f->spool, "default", true), 0);
    assert_non_null(strstr(write_with(*state, (struct record_link){.state = "stopped"}),
                           "\"all_held\":false"));
    assert_int_equal(spool_set_hold(f->spool, NULL, true), 0);
    assert_non_null(strstr(write_with(*state, (struct record_link){.state = "stopped"}),
                           "\"all_held\":true"));
}

static void the_link_has_its_times(void **state)
{
    const char *text =
        write_with(*state, (struct record_link){.state = "online",
                                                .last_error = "no",
                                                .last_error_time = "2026-11-01T10:00:00.000Z",
                                                .remedy = "wait",
                                                .next_attempt = "2026-11-01T12:00:09.000Z",
                                                .presence_error = "no such topic",
                                                .rate_messages = 50,
                                                .rate_bytes = 1024,
                                                .acknowledged = "2026-11-01T11:59:57.000Z"});

    assert_non_null(
        strstr(text, "\"last_error\":\"no\",\"last_error_time\":\"2026-11-01T10:00:00.000Z\","
                     "\"remedy\":\"wait\",\"next_attempt\":\"2026-11-01T12:00:09.000Z\","
                     "\"acknowledged\":\"2026-11-01T11:59:57.000Z\","));
    assert_non_null(strstr(text, "\"presence_error\":\"no such topic\""));
    assert_non_null(strstr(text, "\"rate\":{\"messages\":50,\"bytes\":1024}}"));
}

static void texts_of_the_broker_are_text(void **state)
{
    const char *text = write_with(
        *state, (struct record_link){.broker = "tcp://\xE2\x80\xAE:1",
                                     .last_error = "no\x1b[2J\xC2\x9B\xE2\x80\xAE\xFFway"});

    assert_non_null(strstr(text, "\"broker\":\"tcp://\\u202e:1\""));
    assert_non_null(
        strstr(text, "\"last_error\":\"no\\u001b[2J\\u009b\\u202e\xEF\xBF\xBDway\""));
}

static void the_newest_rejected_message_has_its_cause(void **state)
{
    struct fixture *f = *state;
    const struct spool_verdict verdict = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};
    const struct spool_verdict poison = {SPOOL_REJECTED, SPOOL_REASON_POISON, SPOOL_NO_CODE};
    const char *text = write_with(f, (struct record_link){.state = "online"});

    assert_non_null(strstr(text, "\"rejected\":{\"messages\":0,\"bytes\":0,\"last\":null}"));
    spool_set_kept(f->spool, &(struct spool_kept_limits){10, 1 << 20, UINT64_MAX});
    append_many(f, 2);
    commit(f);
    assert_int_equal(spool_settle(f->spool, next_id(f), &verdict, f->now.boot_ms), 0);
    commit(f);
    text = write_with(f, (struct record_link){.state = "online"});
    assert_non_null(strstr(text, "\"last\":{\"time\":\"2"));
    assert_non_null(
        strstr(text, "Z\",\"topic\":\"plant/1\",\"reason\":\"reason_code\",\"code\":135}}"));
    assert_int_equal(spool_settle(f->spool, next_id(f), &poison, f->now.boot_ms), 0);
    commit(f);
    text = write_with(f, (struct record_link){.state = "online"});
    assert_non_null(strstr(text, "\"reason\":\"poison\",\"code\":null}}"));
}

static void a_lane_has_its_delays_and_reasons(void **state)
{
    struct fixture *f = *state;
    const struct spool_verdict refused = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};
    const char *text;

    append_many(f, 2);
    pass_time(f, 11);
    deliver(f, next_id(f));
    assert_int_equal(spool_settle(f->spool, next_id(f), &refused, f->now.boot_ms), 0);
    commit(f);
    text = write_with(f, (struct record_link){.state = "online"});
    assert_non_null(strstr(text, "\"delay_bounds_ms\":[10,25,50,"));
    assert_non_null(strstr(text, ",86400000,604800000]"));
    assert_non_null(
        strstr(text, "\"delays\":{\"sum_ms\":11,\"counts\":"
                     "[0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]},"
                     "\"reasons\":{\"max_messages\":0,\"max_bytes\":0,\"max_age\":0,\"disk\":0,"
                     "\"message_expiry\":0,\"reason_code\":1,"));
}

static void expect(const char *text, const char *part)
{
    if (!strstr(text, part))
        print_error("not in it: %s\n%s\n", part, text);
    assert_non_null(strstr(text, part));
}

static void a_lane_that_left_the_configuration_is_marked(void **state)
{
    struct fixture *f = *state;
    static const struct spool_lane lanes[] = {
        {.name = "default", .limits = {.max_messages = 5, .max_bytes = 1024}},
        {.name = "old", .limits = {.max_messages = 9, .max_bytes = 1024}}};
    const char *text;

    assert_int_equal(spool_set_lanes(f->spool, lanes, 2), 0);
    commit(f);
    text = write_object(f, (struct record_status){.intake = {.lanes = lanes, .lane_count = 2}});
    expect(text, "\"max_messages\":9,\"max_bytes\":1024,\"when_full\":\"evict-oldest\","
                 "\"full\":null,\"configured\":true,\"held\":false");
    assert_null(strstr(text, "\"configured\":false"));
    assert_int_equal(spool_set_lanes(f->spool, lanes, 1), 0);
    text = write_object(f, (struct record_status){.intake = {.lanes = lanes, .lane_count = 1}});
    expect(text, "\"name\":\"default\"");
    expect(text, "\"configured\":true");
    expect(strstr(text, "\"name\":\"old\""), "\"configured\":false");
    /* Without a configuration it is not known. */
    text = write_with(f, (struct record_link){.state = "stopped"});
    expect(strstr(text, "\"name\":\"old\""), "\"configured\":null");
}

static void what_a_hup_left_is_named(void **state)
{
    const char *text = write_with(*state, (struct record_link){.state = "stopped"});

    expect(text, "\"configuration\":{\"restart_keys\":null,\"refused\":null}");
    text = write_object(
        *state,
        (struct record_status){.configuration = {.restart_keys = "a.b,c", .refused = "lanes"}});
    expect(text, "\"configuration\":{\"restart_keys\":\"a.b,c\",\"refused\":\"lanes\"}");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_not_known_of_the_link_is_empty),
        CASE(the_link_has_the_hold_of_all_lanes_whatever_its_state),
        CASE(the_link_has_its_times),
        CASE(texts_of_the_broker_are_text),
        CASE(the_newest_rejected_message_has_its_cause),
        CASE(a_lane_has_its_delays_and_reasons),
        CASE(a_lane_that_left_the_configuration_is_marked),
        CASE(what_a_hup_left_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
