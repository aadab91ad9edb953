/* SPDX-License-Identifier: MIT */
/*
 * publish_loop.c - sends messages to the daemon and waits for the answer to each
 *
 * A window of messages is in flight, each with its own answer. The loop ends
 * when each message has its answer, or when the connection ends first; then it
 * reports which messages have none. The first message that fails decides the
 * exit code; the others are still sent, because each is a message of its own, unless
 * they are to keep an order.
 */
#include "cli/cli.h"
#include "cli/verbs/daemon_client.h"
#include "cli/verbs/publish-private.h"

#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#define POLL_MS     1000
#define KEEPALIVE_S 60

/* Of a line that holds a message of the largest size: texts may need six characters a byte. */
static size_t publish_line_max(uint32_t max_packet)
{
    return (size_t)max_packet * 6 + 65536;
}

static void on_publish(struct mosquitto *client,
                       void *userdata,
                       int mid,
                       int reason,
                       const mosquitto_property *properties)
{
    struct publisher *publisher = userdata;

    (void)client;
    for (unsigned i = 0; i < PUBLISH_WINDOW; i++) {
        struct publish_message *message = &publisher->messages[i];

        if (!message->is_open || message->mid != mid)
            continue;
        if (reason >= PUBLISH_FIRST_REFUSAL) {
            publish_report_refused(publisher, message, reason,
                                   publish_is_too_large(properties));
            /* Where the order counts nothing is sent after it. */
            publisher->ended |= publisher->decode != NULL;
        } else {
            publish_report_accepted(publisher, message, publish_read_id(properties));
        }
        publish_close_message(publisher, message);
        return;
    }
}

static void on_connect(struct mosquitto *client,
                       void *userdata,
                       int code,
                       int flags,
                       const mosquitto_property *properties)
{
    struct publisher *publisher = userdata;
    uint32_t max_packet = MQTT_MAX_PAYLOAD;
    int reason = publish_connack_reason(publisher, code);

    (void)client;
    (void)flags;
    if (code != 0) {
        publisher->lost = true;
        publish_fail(publisher, publish_exit_code(reason));
        publisher->is_end_reported = true;
        cli_error("the daemon refused the connection: %s (0x%02X)",
                  publish_connack_text(reason), (unsigned)code);
        return;
    }
    (void)mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, &max_packet,
                                        false);
    if (max_packet > MQTT_MAX_PAYLOAD)
        max_packet = MQTT_MAX_PAYLOAD;
    lines_init(&publisher->lines, STDIN_FILENO,
               publisher->decode ? publish_line_max(max_packet) : max_packet);
    publisher->connected = true;
    publisher->progress_ms = publish_now_ms();
}

static void on_disconnect(struct mosquitto *client,
                          void *userdata,
                          int reason,
                          const mosquitto_property *properties)
{
    struct publisher *publisher = userdata;

    (void)client;
    (void)properties;
    publisher->connected = false;
    if (reason == 0 || publisher->lost) /* our own DISCONNECT, or reported already */
        return;
    publisher->lost = true;
    if (reason < PUBLISH_FIRST_REFUSAL) {
        /* A daemon that does not read from us does not see a ping either. */
        publisher->timed_out = reason == MOSQ_ERR_KEEPALIVE;
        publish_fail(publisher, EX_TEMPFAIL);
        return;
    }
    publisher->is_end_reported = true;
    publish_fail(publisher, publish_exit_code(reason));
    cli_error("the daemon ended the connection: %s (0x%02X)", publish_reason_text(reason),
              (unsigned)reason);
}

/* Waits until there is something to read or to write, and lets the library do it. */
static void poll_once(struct publisher *publisher)
{
    bool wants_input = publish_reads_lines(publisher->options) && publisher->connected &&
                       !publisher->ended && publish_has_room(publisher);
    struct pollfd fds[2] = {
        daemon_client_pollfd(publisher->client),
        {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
    };
    int result;

    if (fflush(stdout) != 0) /* a reader sees each answer now; main() makes it the exit code */
        (void)cli_report_write_error(errno);
    if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR) {
        publisher->lost = true;
        publish_fail(publisher, EX_UNAVAILABLE);
        cli_error("poll: %m");
        return;
    }
    result = daemon_client_serve(publisher->client, fds[0].revents);
    if (result != MOSQ_ERR_SUCCESS && !publisher->lost) {
        publisher->lost = true;
        publish_fail(publisher, EX_TEMPFAIL);
    }
    if (fds[1].revents)
        publish_read_lines(publisher);
}

static void check_timeout(struct publisher *publisher)
{
    if (publisher->connected && publisher->in_flight == 0)
        return;
    if (publish_now_ms() - publisher->progress_ms < (int64_t)publisher->options->timeout_ms)
        return;
    publisher->lost = true;
    publisher->timed_out = true;
    publish_fail(publisher, EX_TEMPFAIL);
    cli_error("the daemon did not answer for %" PRIu64 " ms (--timeout)",
              publisher->options->timeout_ms);
}

static void run_loop(struct publisher *publisher)
{
    publisher->progress_ms = publish_now_ms();
    while (!publisher->lost) {
        publish_send(publisher);
        if (publisher->ended && publisher->in_flight == 0)
            break;
        poll_once(publisher);
        check_timeout(publisher);
    }
    if (!publisher->lost)
        (void)mosquitto_disconnect(publisher->client); /* everything has its answer already */
}

int publish_exchange(struct publisher *publisher)
{
    const struct publish_options *options = publisher->options;
    int code = daemon_client_new(options->client_id, options->version, PUBLISH_WINDOW,
                                 publisher, &publisher->client);

    if (code != EX_OK)
        return code;
    mosquitto_connect_v5_callback_set(publisher->client, on_connect);
    mosquitto_disconnect_v5_callback_set(publisher->client, on_disconnect);
    mosquitto_publish_v5_callback_set(publisher->client, on_publish);
    code = daemon_client_connect(publisher->client, options->socket, KEEPALIVE_S,
                                 options->timeout_ms, "");
    if (code == EX_OK) {
        run_loop(publisher);
        publish_report_end(publisher);
        code = publisher->code;
    }
    mosquitto_destroy(publisher->client);
    publisher->client = NULL;
    lines_done(&publisher->lines);
    return code;
}
