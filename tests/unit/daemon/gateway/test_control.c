/* SPDX-License-Identifier: MIT */
/*
 * test_control.c - commands of operators: when they are acknowledged, recorded and answered
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/gateway/control.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define RESPONSE "$CONTROL/spool/v1/response"
/* spool_rollback() of store/batch.c, whose private header has names of the gateway. */
int lose_batch(struct spool *spool) __asm__("spool_rollback");

#define LANES "lanes = ( { name = \"alarms\"; topics = ( \"alarm/#\" ); } );\n"

static struct connection *operator_named(const char *client_id)
{
    struct connection *connection = fakes_connect(client_id, 0);

    assert_int_equal(fakes_subscribe(connection, RESPONSE, 1), 1);
    return connection;
}

static struct connection_verdict ask(struct connection *connection, const char *request)
{
    return fakes_publish(connection, CONTROL_TOPIC, request);
}

static const char *answer_of(const struct connection *connection)
{
    assert_true(connection->sent > 0);
    return fakes_message(connection)->payload;
}

/* After a pause, in which producers have their turns. */
static void later_edge(void)
{
    fakes_pass_time(100);
    fakes_edge();
}

/* It is acknowledged and answered by one edge, or by two. */
static void expect_done(struct connection *connection, const char *answer)
{
    unsigned acknowledged = connection->acknowledged;

    fakes_edge();
    assert_int_equal(connection->verdict.kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(connection->acknowledged, acknowledged + 1);
    assert_string_equal(answer_of(connection), answer);
}

static void fill(unsigned count)
{
    struct connection *producer = fakes_connect("producer", 1000);

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(fakes_publish(producer, "a/b", "payload").kind, CONNECTION_ACCEPT);
        if (i % 100 == 99)
            fakes_edge();
    }
    fakes_edge();
    fakes_leave(producer);
}

/* Nothing of it is sent. */
static void fill_and_keep(unsigned count)
{
    fakes.room = 0;
    fill(count);
    fakes_pass_time(1000);
}

static void a_change_is_acknowledged_after_its_commit_and_its_line(void **state)
{
    (void)state;
    (void)fakes_open(LANES);
    struct connection *connection = operator_named("root");
    fakes_edge();
    (void)fakes_take_trace();
    assert_int_equal(ask(connection, "{\"command\":\"hold\",\"lane\":\"alarms\"}").kind,
                     CONNECTION_BLOCK);
    assert_int_equal(connection->sent, 0);
    fakes_edge();
    const char *trace = fakes_take_trace();
    const char *commit = strstr(trace, "commit "), *admin = strstr(trace, "admin "),
               *written = strstr(trace, "export "), *resumed = strstr(trace, "resume-root ");
    assert_true(commit && admin && written && resumed);
    assert_true(commit < admin && admin < written && written < resumed);
    assert_int_equal(connection->verdict.kind, CONNECTION_ACCEPT);
    assert_int_equal(connection->verdict.spool_id, 0);
    assert_string_equal(answer_of(connection),
                        "{\"command\":\"hold\",\"ok\":true,\"last\":true}");
    assert_non_null(strstr(fakes.admin_line, "{\"admin\":\"hold\",\"time\":"));
    assert_non_null(strstr(fakes.admin_line, "\"uid\":0,\"lane\":\"alarms\"}"));
    assert_int_equal(fakes_logged("admin_change admin=hold uid=0 "), 1);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
    assert_true(spool_is_held(fakes.gateway->spool, "alarms"));
}

static void a_commit_without_room_is_waited_for(void **state)
{
    (void)state;
    (void)fakes_open(LANES);
    struct connection *connection = operator_named("root");
    fakes_edge();
    (void)ask(connection, "{\"command\":\"hold\"}");
    fakes.commit = (struct fake_result){.value = SPOOL_E_DISK, .count = 1};
    fakes_edge();
    assert_int_equal(fakes.admin_lines, 0);
    assert_int_equal(connection->sent, 0);
    assert_int_equal(connection->verdict.kind, CONNECTION_BLOCK);
    expect_done(connection, "{\"command\":\"hold\",\"ok\":true,\"last\":true}");
    assert_int_equal(fakes.admin_lines, 1);
}

static void the_line_is_waited_for_unless_the_file_is_broken(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = operator_named("root");
    fakes.does_admin_wait = true;
    (void)ask(connection, "{\"command\":\"hold\"}");
    fakes_edge();
    assert_int_equal(fakes.admin_lines, 1);
    assert_int_equal(connection->sent, 0);
    fakes.is_audit_broken = true;
    expect_done(connection, "{\"command\":\"hold\",\"ok\":true,\"last\":true}");
    fakes.is_audit_broken = false;
    (void)ask(connection, "{\"command\":\"release\"}");
    fakes_edge();
    assert_int_equal(connection->sent, 1);
    fakes.does_admin_wait = false;
    expect_done(connection, "{\"command\":\"release\",\"ok\":true,\"last\":true}");
}

static void what_fails_is_refused_and_explained(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = operator_named("root");
    struct connection_verdict verdict = ask(connection, "{\"command\":\"explode\"}");
    assert_int_equal(verdict.kind, CONNECTION_REFUSE);
    assert_int_equal(verdict.code, MQTT_PAYLOAD_FORMAT_INVALID);
    fakes_edge();
    assert_non_null(strstr(answer_of(connection), "{\"command\":\"\",\"ok\":false,\"error\":"));
    verdict = ask(connection, "{\"command\":\"hold\",\"lane\":\"none\"}");
    assert_int_equal(verdict.kind, CONNECTION_REFUSE);
    assert_int_equal(verdict.code, MQTT_IMPLEMENTATION_SPECIFIC);
    fakes_edge();
    assert_non_null(strstr(answer_of(connection), "there is no lane \\\"none\\\""));
    assert_int_equal(fakes.admin_lines, 0);
}

static void others_than_administrators_are_refused(void **state)
{
    (void)state;
    (void)fakes_open("access = ( { user = 1000; } );");
    struct connection *connection = fakes_connect("user", 1000);
    const struct connection_verdict verdict = ask(connection, "{\"command\":\"flush\"}");
    assert_int_equal(verdict.kind, CONNECTION_REFUSE);
    assert_int_equal(verdict.code, MQTT_NOT_AUTHORIZED);
    assert_int_equal(fakes.retries, 0);
    assert_int_equal(fakes.gateway->counters.refused, 0); /* no message was */
    assert_int_equal(fakes_logged("message_refused reason=\"not an administrator (19 bytes, "
                                  "topic $CONTROL/spool/v1)\" client=\"user\" uid=1000 "),
                     1);
    assert_int_equal(fakes_logged("set admin in the entry of access that fits it"), 1);
}

static void a_command_while_files_are_moved_is_no_refused_message(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("root", 0);
    fakes.gateway->turn.has_moved = true;
    assert_int_equal(ask(connection, "{\"command\":\"flush\"}").code, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes.gateway->counters.refused, 0);
    fakes.gateway->turn.has_moved = false;
}

/* An entry for this user alone would refuse every other producer. */
static void without_an_access_list_the_remedy_is_root(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("user", 1000);
    assert_int_equal(ask(connection, "{\"command\":\"flush\"}").code, MQTT_NOT_AUTHORIZED);
    assert_int_equal(fakes_logged("set admin in the entry"), 0);
    assert_int_equal(fakes_logged("remedy=\"give commands as root (sudo)"), 1);
    assert_int_equal(fakes_logged("has to name root and every user that publishes"), 1);
}

static void without_a_subscription_there_is_no_answer(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("root", 0);
    assert_int_equal(ask(connection, "{\"command\":\"flush\"}").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(fakes.retries, 1);
    assert_int_equal(connection->sent, 0);
    assert_int_equal(fakes.gateway->control.count, 0);
}

static void a_drop_takes_steps_and_others_are_served_between_them(void **state)
{
    (void)state;
    (void)fakes_open("");
    fill_and_keep(9000);
    struct connection *connection = operator_named("root");
    struct connection *other = fakes_connect("other", 1000);
    assert_int_equal(ask(connection, "{\"command\":\"drop\",\"all\":true}").kind,
                     CONNECTION_BLOCK);
    fakes_edge();
    uint64_t dropped = fakes_ledger().ended[SPOOL_DROPPED];
    assert_in_range(dropped, 1, 8999);
    assert_int_equal(fakes.admin_lines, 0);
    assert_int_equal(fakes_publish(other, "a/b", "new").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(other->acknowledged, 1);
    for (unsigned i = 0; i < 100 && connection->keeps; i++)
        later_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], 9000);
    assert_int_equal(fakes_ledger().spooled, 1); /* the new one is no part of it */
    assert_string_equal(answer_of(connection),
                        "{\"command\":\"drop\",\"ok\":true,\"matched\":9000,"
                        "\"dropped\":9000,\"in_flight\":0,\"last\":true}");
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"all\":true,\"matched\":9000,\"dropped\":9000"));
}

static void beside_traffic_a_batch_that_is_waited_for_takes_no_step(void **state)
{
    (void)state;
    (void)fakes_open("");
    fill_and_keep(4500);
    struct connection *connection = operator_named("root");
    struct connection *producer = fakes_connect("producer", 1000);
    (void)ask(connection, "{\"command\":\"drop\",\"all\":true}");
    assert_int_equal(fakes_publish(producer, "a/b", "new").kind, CONNECTION_ACCEPT);
    fakes_edge(); /* the first one */
    uint64_t dropped = fakes_ledger().ended[SPOOL_DROPPED];
    assert_in_range(dropped, 1, 256);
    fakes_pass_time(20);
    assert_int_equal(fakes_publish(producer, "a/b", "new").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], dropped);
    fakes_pass_time(20);
    fakes_edge(); /* no producer waits for it */
    assert_true(fakes_ledger().ended[SPOOL_DROPPED] > dropped);
    dropped = fakes_ledger().ended[SPOOL_DROPPED];
    fakes_pass_time(60);
    assert_int_equal(fakes_publish(producer, "a/b", "new").kind, CONNECTION_ACCEPT);
    fakes_edge(); /* it is long ago */
    assert_true(fakes_ledger().ended[SPOOL_DROPPED] > dropped);
}

static void a_lost_batch_of_a_drop_is_done_again(void **state)
{
    (void)state;
    (void)fakes_open("");
    fill_and_keep(10);
    struct connection *connection = operator_named("root");
    (void)ask(connection, "{\"command\":\"drop\",\"all\":true}");
    fakes.commit = (struct fake_result){.value = SPOOL_E_BUSY, .count = 1};
    fakes_edge();
    assert_int_equal(lose_batch(fakes.gateway->spool), 0); /* as that commit would have */
    assert_int_equal(fakes.admin_lines, 0);
    for (unsigned i = 0; i < 10 && connection->keeps; i++)
        later_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], 10);
    assert_non_null(strstr(answer_of(connection), "\"dropped\":10,\"in_flight\":0"));
}

static void one_drop_at_a_time_and_short_commands_meanwhile(void **state)
{
    (void)state;
    (void)fakes_open("");
    fill_and_keep(4500);
    struct connection *first = operator_named("first"), *second = operator_named("second"),
                      *third = operator_named("third");
    (void)ask(first, "{\"command\":\"drop\",\"all\":true}");
    (void)ask(second, "{\"command\":\"drop\",\"topic\":\"none\"}");
    (void)ask(third, "{\"command\":\"hold\"}");
    fakes_edge();
    assert_false(third->keeps);
    assert_true(first->keeps && second->keeps);
    for (unsigned i = 0; i < 100 && first->keeps; i++) {
        assert_true(second->keeps);
        later_edge();
    }
    for (unsigned i = 0; i < 100 && second->keeps; i++)
        later_edge();
    assert_non_null(strstr(answer_of(second), "\"matched\":0"));
}

static void a_client_that_leaves_ends_its_steps(void **state)
{
    (void)state;
    (void)fakes_open("");
    fill_and_keep(4500);
    struct connection *first = operator_named("first"), *second = operator_named("second");
    (void)ask(first, "{\"command\":\"drop\",\"all\":true}");
    (void)ask(second, "{\"command\":\"drop\",\"all\":true}");
    fakes_edge();
    fakes_leave(second); /* it waits for its turn: nothing was done for it */
    fakes_leave(first);
    uint64_t dropped = fakes_ledger().ended[SPOOL_DROPPED];
    for (unsigned i = 0; i < 5; i++)
        later_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], dropped);
    assert_int_equal(fakes.gateway->control.count, 0);
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"cut_short\":true}"));
}

static void the_stop_ends_steps_with_their_line(void **state)
{
    (void)state;
    struct gateway *gateway = fakes_open("");
    fill_and_keep(4500);
    struct connection *connection = operator_named("root");
    struct connection *second = operator_named("second");
    (void)ask(connection, "{\"command\":\"drop\",\"all\":true}");
    (void)ask(second, "{\"command\":\"drop\",\"all\":true}");
    fakes_edge();
    uint64_t dropped = fakes_ledger().ended[SPOOL_DROPPED];
    gateway_stop(gateway);
    later_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], dropped);
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"cut_short\":true}"));
}

static void keep_rejected(unsigned count)
{
    struct connection *producer = fakes_connect("producer", 1000);

    fakes.gateway->config->uplink.on_refusal = UPLINK_ON_REFUSAL_REJECT;
    for (unsigned id = 1; id <= count; id++) {
        assert_int_equal(fakes_publish(producer, "a/b", "payload").kind, CONNECTION_ACCEPT);
        fakes_edge();
        fakes_answer(id, UPLINK_REFUSED, MQTT_NOT_AUTHORIZED);
        fakes_edge();
    }
    fakes_leave(producer);
    fakes_pass_time(1000);
}

static const char no_room[] = "\"error\":\"a lane has no room for more: ";

static void a_requeue_without_room_has_its_error_in_its_line(void **state)
{
    (void)state;
    (void)fakes_open("retention: { max_messages = 1; when_full = \"refuse\"; };");
    keep_rejected(2);
    fakes.room = 0;
    struct connection *connection = operator_named("root");
    (void)ask(connection, "{\"command\":\"requeue\",\"all\":true}");
    for (unsigned i = 0; i < 5; i++)
        later_edge();
    assert_non_null(strstr(answer_of(connection), no_room));
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"requeued\":1,\"in_flight\":0,"));
    assert_non_null(strstr(fakes.admin_line, no_room));
    assert_int_equal(fakes_logged("requeued=1 in_flight=0 error=\"a lane has no room"), 1);
}

/* With the batch what was found in it is lost. */
static void a_requeue_that_finds_room_after_a_lost_batch_has_no_error(void **state)
{
    (void)state;
    struct gateway *gateway =
        fakes_open("retention: { max_messages = 1; when_full = \"refuse\"; };");
    keep_rejected(1);
    fakes.room = 0;
    fill(1);
    struct connection *connection = operator_named("root");
    (void)ask(connection, "{\"command\":\"requeue\",\"all\":true}");
    lose_batch(gateway->spool);
    fakes.commit = (struct fake_result){.value = SPOOL_E_DISK, .count = 1};
    fakes_edge();
    assert_int_equal(fakes.admin_lines, 0);
    fakes.room = 100;
    fakes_edge();
    fakes_answer(2, UPLINK_DELIVERED, -1);
    for (unsigned i = 0; i < 5; i++)
        later_edge();
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"requeued\":1,\"in_flight\":0}"));
    assert_non_null(strstr(answer_of(connection), "\"ok\":true,\"matched\":1,"));
}

static void answers_wait_for_room(void **state)
{
    (void)state;
    (void)fakes_open("");
    fill(500);
    struct connection *connection = operator_named("root");
    connection->room = 0;
    assert_int_equal(ask(connection, "{\"command\":\"list\"}").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(connection->sent, 0);
    assert_int_equal(fakes.gateway->control.count, 1);
    fakes_give_room(connection, 1);
    assert_int_equal(connection->sent, 1);
    fakes_give_room(connection, 100);
    assert_true(connection->sent > 2);
    fakes_edge();
    assert_int_equal(fakes.gateway->control.count, 0);
}

static void too_many_jobs_of_a_client_are_refused_and_answered(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = operator_named("root");
    connection->room = 0;
    for (unsigned i = 0; i < CONTROL_CLIENT_JOBS_MAX; i++)
        assert_int_equal(ask(connection, "{\"command\":\"status\"}").kind, CONNECTION_ACCEPT);
    connection->room = 1;
    const struct connection_verdict verdict = ask(connection, "{\"command\":\"flush\"}");
    assert_int_equal(verdict.kind, CONNECTION_REFUSE);
    assert_int_equal(verdict.code, MQTT_QUOTA_EXCEEDED);
    assert_non_null(
        strstr(answer_of(connection), "{\"command\":\"flush\",\"ok\":false,\"error\":\""));
    assert_int_equal(fakes.retries, 0);
    fakes_leave(connection);
    fakes_edge();
    assert_int_equal(fakes.gateway->control.count, 0);
}

static void expect_that_short_commands_work(struct connection *connection)
{
    assert_int_equal(ask(connection, "{\"command\":\"flush\"}").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(ask(connection, "{\"command\":\"status\"}").kind, CONNECTION_ACCEPT);
    fakes_edge();
    (void)ask(connection, "{\"command\":\"hold\"}");
    expect_done(connection, "{\"command\":\"hold\",\"ok\":true,\"last\":true}");
    (void)ask(connection, "{\"command\":\"release\"}");
    expect_done(connection, "{\"command\":\"release\",\"ok\":true,\"last\":true}");
}

static void unread_answers_of_a_client_take_no_place_of_others(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *slow = operator_named("slow"), *other = operator_named("other");
    slow->room = 0;
    for (unsigned i = 0; i < 40; i++)
        (void)ask(slow, "{\"command\":\"list\"}");
    assert_int_equal(slow->verdict.kind, CONNECTION_REFUSE);
    expect_that_short_commands_work(other);
    assert_int_equal(ask(other, "{\"command\":\"list\"}").kind, CONNECTION_ACCEPT);
    (void)ask(other, "{\"command\":\"drop\",\"all\":true}");
    for (unsigned i = 0; i < 10 && other->keeps; i++)
        later_edge();
    assert_int_equal(other->verdict.kind, CONNECTION_ACCEPT);
    assert_false(slow->is_closed);
}

/* One that is being read is not, and no longer than its place is needed. */
static void the_place_of_an_answer_that_is_unread_for_long_is_taken(void **state)
{
    struct connection *slow[16];
    unsigned closed = 0;

    (void)state;
    (void)fakes_open("");
    for (unsigned i = 0; i < 16; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "slow%u", i);
        slow[i] = operator_named(id);
        slow[i]->room = 0;
        (void)ask(slow[i], "{\"command\":\"list\"}");
    }
    struct connection *other = operator_named("other");
    expect_that_short_commands_work(other);
    const struct connection_verdict verdict = ask(other, "{\"command\":\"list\"}");
    assert_int_equal(verdict.kind, CONNECTION_REFUSE);
    assert_int_equal(verdict.code, MQTT_QUOTA_EXCEEDED);
    fakes_pass_time(60000);
    fakes_edge();
    assert_int_equal(fakes_logged("client_refused"), 0);
    assert_int_equal(ask(other, "{\"command\":\"list\"}").kind, CONNECTION_ACCEPT);
    for (unsigned i = 0; i < 16; i++)
        closed += slow[i]->is_closed && slow[i]->code == MQTT_QUOTA_EXCEEDED;
    assert_int_equal(closed, 1);
    assert_int_equal(
        fakes_logged("client_refused reason=answers_unread client=\"slow0\" uid=0"), 1);
    fakes_edge();
    assert_non_null(strstr(answer_of(other), "\"last\":true"));
}

static void who_is_no_administrator_any_more_ends_its_steps(void **state)
{
    (void)state;
    (void)fakes_open("access = ( { user = 1000; admin = true; } );\n");
    fill_and_keep(4500);
    struct connection *first = fakes_connect("first", 1000);
    struct connection *second = fakes_connect("second", 1000);
    struct connection *reader = fakes_connect("reader", 1000);
    assert_int_equal(fakes_subscribe(first, RESPONSE, 1), 1);
    assert_int_equal(fakes_subscribe(reader, RESPONSE, 1), 1);
    reader->room = 0;
    (void)ask(reader, "{\"command\":\"list\"}");
    (void)ask(first, "{\"command\":\"drop\",\"all\":true}");
    (void)ask(second, "{\"command\":\"drop\",\"all\":true}");
    fakes_edge();
    uint64_t dropped = fakes_ledger().ended[SPOOL_DROPPED];
    assert_in_range(dropped, 1, 4499);
    fakes_reload("access = ( { user = 1000; admin = false; } );\n");
    for (unsigned i = 0; i < 5; i++)
        later_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], dropped);
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"cut_short\":true"));
    assert_int_equal(first->verdict.kind, CONNECTION_REFUSE);
    assert_int_equal(first->verdict.code, MQTT_IMPLEMENTATION_SPECIFIC);
    assert_non_null(strstr(answer_of(first), "{\"command\":\"drop\",\"ok\":false,\"error\":"
                                             "\"you are no administrator any more"));
    assert_int_equal(second->verdict.kind, CONNECTION_REFUSE); /* it had not begun */
    assert_int_equal(second->verdict.code, MQTT_NOT_AUTHORIZED);
    fakes_give_room(reader, 1);
    assert_non_null(strstr(answer_of(reader), "{\"command\":\"list\",\"ok\":false,"));
    assert_int_equal(fakes_logged("message_refused"), 0);
    assert_int_equal(ask(first, "{\"command\":\"flush\"}").code, MQTT_NOT_AUTHORIZED);
}

static void a_lost_batch_is_not_done_again_without_the_right(void **state)
{
    (void)state;
    (void)fakes_open("access = ( { user = 1000; admin = true; } );\n");
    fill_and_keep(10);
    struct connection *connection = fakes_connect("first", 1000);
    (void)ask(connection, "{\"command\":\"drop\",\"all\":true}");
    fakes.commit = (struct fake_result){.value = SPOOL_E_BUSY, .count = 1};
    fakes_edge();
    fakes_reload("access = ( { user = 1000; admin = false; } );\n");
    assert_int_equal(lose_batch(fakes.gateway->spool), 0); /* as that commit would have */
    for (unsigned i = 0; i < 10 && connection->keeps; i++)
        later_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_DROPPED], 0);
    assert_int_equal(connection->verdict.code, MQTT_IMPLEMENTATION_SPECIFIC);
    assert_int_equal(fakes.admin_lines, 1);
    assert_non_null(strstr(fakes.admin_line, "\"dropped\":0,"));
    assert_non_null(strstr(fakes.admin_line, "\"cut_short\":true"));
}

static void what_is_done_when_the_right_is_withdrawn_is_acknowledged_so(void **state)
{
    (void)state;
    (void)fakes_open("access = ( { user = 1000; admin = true; } );\n");
    struct connection *connection = fakes_connect("first", 1000);
    (void)ask(connection, "{\"command\":\"hold\"}");
    fakes_reload("access = ( { user = 1000; admin = false; } );\n");
    fakes_edge();
    assert_int_equal(connection->verdict.kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes.admin_lines, 1);
    assert_int_equal(fakes_logged("message_refused"), 0);
}

static void what_is_held_is_not_sent_and_the_link_is_held(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = operator_named("root");
    fakes_link_state(UPLINK_ONLINE);
    (void)ask(connection, "{\"command\":\"hold\"}");
    fakes_edge();
    fakes_edge();
    fill(3);
    fakes_edge();
    assert_int_equal(fakes.sent_count, 0);
    (void)ask(connection, "{\"command\":\"list\",\"limit\":1}");
    fakes_edge();
    assert_non_null(strstr(answer_of(connection), "\"state\":\"held\""));
    (void)ask(connection, "{\"command\":\"release\"}");
    fakes_edge();
    assert_int_equal(fakes.sent_count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(a_change_is_acknowledged_after_its_commit_and_its_line),
        FAKES_TEST(a_commit_without_room_is_waited_for),
        FAKES_TEST(the_line_is_waited_for_unless_the_file_is_broken),
        FAKES_TEST(what_fails_is_refused_and_explained),
        FAKES_TEST(others_than_administrators_are_refused),
        FAKES_TEST(a_command_while_files_are_moved_is_no_refused_message),
        FAKES_TEST(without_an_access_list_the_remedy_is_root),
        FAKES_TEST(without_a_subscription_there_is_no_answer),
        FAKES_TEST(a_drop_takes_steps_and_others_are_served_between_them),
        FAKES_TEST(beside_traffic_a_batch_that_is_waited_for_takes_no_step),
        FAKES_TEST(a_lost_batch_of_a_drop_is_done_again),
        FAKES_TEST(one_drop_at_a_time_and_short_commands_meanwhile),
        FAKES_TEST(a_client_that_leaves_ends_its_steps),
        FAKES_TEST(a_requeue_without_room_has_its_error_in_its_line),
        FAKES_TEST(a_requeue_that_finds_room_after_a_lost_batch_has_no_error),
        FAKES_TEST(the_stop_ends_steps_with_their_line),
        FAKES_TEST(answers_wait_for_room),
        FAKES_TEST(too_many_jobs_of_a_client_are_refused_and_answered),
        FAKES_TEST(unread_answers_of_a_client_take_no_place_of_others),
        FAKES_TEST(the_place_of_an_answer_that_is_unread_for_long_is_taken),
        FAKES_TEST(who_is_no_administrator_any_more_ends_its_steps),
        FAKES_TEST(a_lost_batch_is_not_done_again_without_the_right),
        FAKES_TEST(what_is_done_when_the_right_is_withdrawn_is_acknowledged_so),
        FAKES_TEST(what_is_held_is_not_sent_and_the_link_is_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
