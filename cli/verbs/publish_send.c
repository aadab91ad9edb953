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

/* Of MQTT 5 the CONNACK has the limit and the library checks it; of 3.1.1 the connection would
 * end, and each other try would, too. */
static bool is_above_limit(const struct publish_options *options,
                           const struct publish_item *item)
{
    size_t rest = 2 + strlen(item->topic) + (item->qos > 0 ? 2 : 0) + item->payload.size;
    size_t whole = 2 + rest;

    for (size_t left = rest; left >= 128; left /= 128) /* the length, seven bits a byte */
        whole++;
    return options->version == 4 && options->max_packet > 0 && whole > options->max_packet;
}

/* @number: of the line, or of the message. */
static void
send_item(struct publisher *publisher, const struct publish_item *item, uint64_t number)
{
    struct publish_message *message = publisher->messages;
    int result;

    while (message->is_open)
        message++;
    if (publisher->in_flight == 0)
        publisher->progress_ms = publish_now_ms();
    /* Open before it is sent: of QoS 0 the answer comes inside the call. */
    *message = (struct publish_message){.is_open = true,
                                        .number = number,
                                        .bytes = item->payload.size,
                                        .qos = item->qos,
                                        .is_system_topic = item->topic[0] == '$'};
    publisher->sent++;
    publisher->in_flight++;
    publisher->in_flight_bytes += item->payload.size;
    if (is_above_limit(publisher->options, item))
        result = MOSQ_ERR_OVERSIZE_PACKET;
    else
        result = mosquitto_publish_v5(publisher->client, &message->mid, item->topic,
                                      (int)item->payload.size, item->payload.data,
                                      (int)item->qos, item->is_retained, item->properties);
    if (result == MOSQ_ERR_SUCCESS || !message->is_open)
        return;
    if (result == MOSQ_ERR_NO_CONN || result == MOSQ_ERR_CONN_LOST || result == MOSQ_ERR_ERRNO)
        return; /* stays open: the loop finds the connection lost */
    publish_report_refused(publisher, message, publish_library_reason(result), false);
    publish_close_message(publisher, message);
    publisher->ended |= publisher->decode != NULL;
}

/* With what the options say of each message. */
static struct publish_item item_of(const struct publisher *publisher, struct view payload)
{
    return (struct publish_item){.topic = publisher->options->topic,
                                 .payload = payload,
                                 .qos = publisher->options->qos,
                                 .is_retained = publisher->options->is_retained,
                                 .properties = publisher->properties};
}

static void send_line(struct publisher *publisher, const struct line *line)
{
    struct publish_item item;

    publisher->line++;
    if (!publisher->decode)
        item = item_of(publisher, view_of(line->text, line->size));
    else if (!publisher->decode(publisher, line, publisher->line, &item))
        return;
    send_item(publisher, &item, publisher->line);
}

static void send_lines(struct publisher *publisher)
{
    struct line line;

    while (publish_has_room(publisher) && publisher->connected && !publisher->ended) {
        if (lines_take(&publisher->lines, &line)) {
            send_line(publisher, &line);
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
    if (publish_reads_lines(publisher->options)) {
        send_lines(publisher);
        return;
    }
    publisher->ended = true;
    const struct publish_item item = item_of(publisher, publisher->single);
    send_item(publisher, &item, 1);
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
                  publisher->line + 1, publisher->lines.bytes.cap);
    } else {
        publish_fail(publisher, EX_UNAVAILABLE);
        cli_error("cannot read standard input: %s; what was read before was sent",
                  strerror(-result));
    }
}
