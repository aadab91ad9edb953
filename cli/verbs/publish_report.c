/* SPDX-License-Identifier: MIT */
/*
 * publish_report.c - what `mqtt-spool publish` prints of each message, and at
 * the end
 *
 * The first failure decides the exit code. Refusals are printed up to a limit
 * and then only counted; with --json there is one object for each message.
 */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sysexits.h>

#define REFUSALS_SHOWN_MAX 10 /* more are only counted */

void publish_fail(struct publisher *publisher, int code)
{
    if (publisher->code == EX_OK)
        publisher->code = code;
}

/* One line of --json. @id 0 and @reason 0: there is none. If it cannot be written,
 * the messages are sent anyway. */
static void print_result(struct publisher *publisher,
                         const struct publish_message *message,
                         const char *result,
                         uint64_t id,
                         int reason,
                         const char *text)
{
    struct json json;
    int code;

    json_init(&json, publisher->json_memory, publisher->json_size);
    json_open_object(&json, NULL);
    if (id != 0)
        json_unsigned(&json, "id", id);
    if (publisher->options->topic)
        json_text(&json, "topic", publisher->options->topic);
    if (publish_reads_lines(publisher->options))
        json_unsigned(&json, "line", message->number);
    json_text(&json, "result", result);
    if (reason != 0)
        json_signed(&json, "code", reason);
    if (text)
        json_text(&json, "text", text);
    json_close_object(&json);
    code = cli_print_json(&json);
    if (code != EX_OK)
        publish_fail(publisher, code);
}

static void print_accepted(const char *result, uint64_t id)
{
    int printed = id != 0 ? printf("%s id=%" PRIu64 "\n", result, id) : printf("%s\n", result);

    if (printed < 0)
        (void)cli_report_write_error(errno);
}

void publish_report_accepted(struct publisher *publisher,
                             const struct publish_message *message,
                             uint64_t id)
{
    /* A message of QoS 0 has no acknowledgement: it was handed over, no more is known. */
    const char *result = message->qos == 0 ? "sent" : "accepted";

    publisher->accepted++;
    if (publisher->order.first_refused > 0 &&
        message->number > publisher->order.first_refused) {
        publisher->order.accepted_after++;
        publisher->order.last_accepted = message->number;
    }
    if (publisher->options->is_json)
        print_result(publisher, message, result, id, 0, NULL);
    else if (publisher->options->is_verbose)
        print_accepted(result, id);
}

void publish_report_refused(struct publisher *publisher,
                            const struct publish_message *message,
                            int reason,
                            bool is_too_large)
{
    const char *text = is_too_large ? "it is larger than max_bytes of its lane, so every other "
                                      "try is refused, too"
                                    : publish_puback_text(message, reason);

    if (publisher->order.first_refused == 0)
        publisher->order.first_refused = message->number;
    publish_fail(publisher, is_too_large ? EX_DATAERR : publish_exit_code(reason));
    if (publisher->options->is_json)
        print_result(publisher, message, "refused", 0, reason, text);
    if (publisher->refusals++ >= REFUSALS_SHOWN_MAX)
        return;
    if (publish_reads_lines(publisher->options))
        cli_error("line %" PRIu64 " was refused: %s (0x%02X)", message->number, text,
                  (unsigned)reason);
    else
        cli_error("the message was refused: %s (0x%02X)", text, (unsigned)reason);
}

/* Messages that were sent and never answered: whether they are on disk is not known here. */
static void report_unanswered(struct publisher *publisher)
{
    if (publisher->options->is_json) {
        for (unsigned i = 0; i < PUBLISH_WINDOW; i++) {
            if (publisher->messages[i].is_open)
                print_result(publisher, &publisher->messages[i], "unknown", 0, 0, NULL);
        }
    }
    if (publisher->in_flight > 0)
        cli_error(
            "%u sent without an answer: the daemon may have taken them, sending them again "
            "may double them",
            publisher->in_flight);
}

/* What may have been the cause, and what to do. */
static void report_lost(struct publisher *publisher)
{
    report_unanswered(publisher);
    if (publisher->code != EX_TEMPFAIL || publisher->is_end_reported)
        return;
    if (publisher->timed_out && publisher->in_flight > 0)
        cli_error("the daemon did not take the message%s in time: a lane is full and "
                  "blocks its producers (when_full = \"block\"), or the daemon is busy; see "
                  "mqtt-spool status, and try again",
                  publisher->in_flight > 1 ? "s" : "");
    else if (publisher->timed_out)
        cli_error("the daemon does not answer: " PUBLISH_NO_ANSWER);
    else if (publisher->options->version == 4)
        cli_error("the connection ended: it may be a restart or a refusal; MQTT 3.1.1 has no "
                  "reason codes, -V 5 shows the reason; try again");
    else
        cli_error("the connection to the daemon was lost; it may be restarting, try again");
}

void publish_report_end(struct publisher *publisher)
{
    if (publisher->code == EX_OK)
        return;
    if (publisher->refusals > REFUSALS_SHOWN_MAX)
        cli_error("%u more %s refused", publisher->refusals - REFUSALS_SHOWN_MAX,
                  cli_counted(publisher->refusals - REFUSALS_SHOWN_MAX, "was", "were"));
    if (publisher->decode && publisher->order.accepted_after > 0)
        cli_error("%" PRIu64 " message%s sent already %s accepted after it, up to line "
                  "%" PRIu64 ": --json shows which",
                  publisher->order.accepted_after,
                  publisher->order.accepted_after == 1 ? " that was" : "s that were",
                  publisher->order.accepted_after == 1 ? "was" : "were",
                  publisher->order.last_accepted);
    if (publisher->lost)
        report_lost(publisher);
    if (publisher->is_end_reported && publisher->sent == 0)
        return; /* the connection was refused */
    if (publisher->sent == 0 && !publisher->ended) {
        cli_error("%s", publish_reads_lines(publisher->options)
                            ? "no message was accepted: the input was not read"
                            : "the message was not accepted");
        return;
    }
    /* Of those without an answer some may have been accepted, too. */
    cli_error("%" PRIu64 " of %" PRIu64 " message%s %s%s", publisher->accepted, publisher->sent,
              cli_counted(publisher->sent, " was", "s were"),
              publisher->in_flight > 0 ? "confirmed as accepted" : "accepted",
              publisher->ended ? "" : "; the rest of the input was not read");
}
