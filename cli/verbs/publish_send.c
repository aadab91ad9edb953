/* SPDX-License-Identifier: MIT */
/*
 * publish_send.c - the window of messages in flight
 *
 * Standard input is read only while the window has room, so memory depends
 * neither on the length of the input nor on how slowly the daemon answers.
 */
#include "cli/verbs/publish-private.h"

#include "base/clock.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <string.h>
#include <sysexits.h>

#define PUBLISH_WINDOW_BYTES ((size_t)4 * 1024 * 1024)

int64_t publish_now_ms(void)
{
    struct clock_reading reading;

    clock_read(&reading);
    return reading.boot_ms;
}

bool publish_has_room(const struct publisher *publisher)
{
    return publisher->in_flight < PUBLISH_WINDOW &&
           publisher->in_flight_bytes < PUBLISH_WINDOW_BYTES;
}

void publish_close_message(struct publisher *publisher, struct publish_message *message)
{
    message->is_open = false;
    publisher->in_flight--;
    publisher->in_flight_bytes -= message->bytes;
    publisher->progress_ms = publish_now_ms();
}

static void send_message(struct publisher *publisher, const void *payload, size_t size)
{
    const struct publish_options *options = publisher->options;
    struct publish_message *message = publisher->messages;
    int result;

    while (message->is_open)
        message++;
    if (publisher->in_flight == 0)
        publisher->progress_ms = publish_now_ms();
    /* Open before it is sent: of QoS 0 the answer comes inside the call. */
    *message =
        (struct publish_message){.is_open = true, .number = ++publisher->sent, .bytes = size};
    publisher->in_flight++;
    publisher->in_flight_bytes += size;
    result = mosquitto_publish_v5(publisher->client, &message->mid, options->topic, (int)size,
                                  payload, (int)options->qos, options->is_retained,
                                  publisher->properties);
    if (result == MOSQ_ERR_SUCCESS || !message->is_open)
        return;
    if (result == MOSQ_ERR_NO_CONN || result == MOSQ_ERR_CONN_LOST || result == MOSQ_ERR_ERRNO)
        return; /* stays open: the loop finds the connection lost */
    publish_report_refused(publisher, message, publish_library_reason(result));
    publish_close_message(publisher, message);
}

static void send_lines(struct publisher *publisher)
{
    struct line line;

    while (publish_has_room(publisher) && publisher->connected) {
        if (lines_take(&publisher->lines, &line)) {
            send_message(publisher, line.text, line.size);
            continue;
        }
        publisher->ended = publisher->lines.ended;
        return;
    }
}

void publish_send(struct publisher *publisher)
{
    if (!publisher->connected || publisher->ended)
        return;
    if (publisher->options->source == PUBLISH_LINES) {
        send_lines(publisher);
        return;
    }
    publisher->ended = true;
    send_message(publisher, publisher->single.data, publisher->single.size);
}

void publish_read_lines(struct publisher *publisher)
{
    int result = lines_fill(&publisher->lines);

    if (result == 0)
        return;
    publisher->ended = true;
    if (result == -ENOBUFS) {
        publish_fail(publisher, EX_DATAERR);
        cli_error("line %" PRIu64 " is longer than the %zu bytes that the daemon takes; it and "
                  "what follows was not sent",
                  publisher->sent + 1, publisher->lines.bytes.cap);
    } else {
        publish_fail(publisher, EX_UNAVAILABLE);
        cli_error("cannot read standard input: %s; what was read before was sent",
                  strerror(-result));
    }
}
