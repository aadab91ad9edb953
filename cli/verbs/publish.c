/* SPDX-License-Identifier: MIT */
/*
 * publish.c - mqtt-spool publish: hand messages to the daemon
 *
 * The tool speaks to the daemon as any other producer does, with a client
 * library that is not ours: libmosquitto, which only the files of this verb
 * know.
 *
 * A window of messages is in flight, each with its own answer. The program ends
 * when each message has its answer, or when the connection ends first; then it
 * reports which messages have none. The first message that fails decides the
 * exit code; the others are still sent, because each is a message of its own.
 */
#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define REASON_REFUSED 0x80 /* from here on a v5 reason code is a refusal */
#define POLL_MS        1000

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
        if (reason >= REASON_REFUSED)
            publish_report_refused(publisher, message, reason);
        else
            publish_report_accepted(publisher, message, publish_read_id(properties));
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
        cli_error("the daemon refused the connection: %s (0x%02X)",
                  publish_connack_text(reason), (unsigned)reason);
        return;
    }
    (void)mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, &max_packet,
                                        false);
    if (max_packet > MQTT_MAX_PAYLOAD)
        max_packet = MQTT_MAX_PAYLOAD;
    lines_init(&publisher->lines, STDIN_FILENO, max_packet);
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
    if (reason < REASON_REFUSED) {
        /* A daemon that does not read from us does not see a ping either. */
        publisher->timed_out = reason == MOSQ_ERR_KEEPALIVE;
        publish_fail(publisher, EX_TEMPFAIL);
        return;
    }
    publish_fail(publisher, publish_exit_code(reason));
    cli_error("the daemon ended the connection: %s (0x%02X)", publish_reason_text(reason),
              (unsigned)reason);
}

/* Waits until there is something to read or to write, and lets the library do it. */
static void poll_once(struct publisher *publisher)
{
    bool wants_input = publisher->options->source == PUBLISH_LINES && publisher->connected &&
                       !publisher->ended && publish_has_room(publisher);
    struct pollfd fds[2] = {
        {.fd = mosquitto_socket(publisher->client), .events = POLLIN},
        {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
    };
    int result = MOSQ_ERR_SUCCESS;

    if (mosquitto_want_write(publisher->client))
        fds[0].events |= POLLOUT;
    if (fflush(stdout) != 0) /* a reader sees each answer now; main() makes it the exit code */
        (void)cli_report_write_error(errno);
    if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR) {
        publisher->lost = true;
        publish_fail(publisher, EX_UNAVAILABLE);
        cli_error("poll: %m");
        return;
    }
    if (fds[0].revents & POLLOUT)
        result = mosquitto_loop_write(publisher->client, 1);
    if (result == MOSQ_ERR_SUCCESS && fds[0].revents & ~POLLOUT)
        result = mosquitto_loop_read(publisher->client, 1);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_loop_misc(publisher->client);
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

static int publish_exchange(struct publisher *publisher)
{
    int code = publish_check_topic(publisher->options->topic);

    if (code == EX_OK)
        code = publish_make_properties(publisher);
    if (code == EX_OK)
        code = publish_make_client(publisher);
    if (code != EX_OK)
        return code;
    mosquitto_connect_v5_callback_set(publisher->client, on_connect);
    mosquitto_disconnect_v5_callback_set(publisher->client, on_disconnect);
    mosquitto_publish_v5_callback_set(publisher->client, on_publish);
    code = publish_connect(publisher);
    if (code != EX_OK)
        return code;
    run_loop(publisher);
    publish_report_end(publisher);
    return publisher->code;
}

static int publish_run(const struct publish_options *options)
{
    struct publisher publisher = {.options = options};
    struct bytes bytes;
    int code;

    publisher.json_size = 6 * strlen(options->topic) + 1024;
    publisher.json_memory = malloc(publisher.json_size);
    if (!publisher.json_memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    (void)signal(SIGPIPE, SIG_IGN);         /* a lost connection is an answer, not an end */
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a script reads each answer when it comes */
    (void)mosquitto_lib_init();
    bytes_init(&bytes, (size_t)MQTT_MAX_PAYLOAD + 1);
    code = publish_read_payload(options, &bytes, &publisher.single);
    if (code == EX_OK)
        code = publish_exchange(&publisher);
    mosquitto_destroy(publisher.client);
    mosquitto_property_free_all(&publisher.properties);
    (void)mosquitto_lib_cleanup();
    lines_done(&publisher.lines);
    bytes_done(&bytes);
    free(publisher.json_memory);
    return code;
}

static int publish_configured(const struct cli *cli, struct publish_options *options)
{
    AUTO_CONFIG struct config *config = NULL;
    int code;

    if (!options->socket) {
        code = cli_load_config(cli, "--socket PATH", &config);
        if (code != EX_OK)
            return code;
        options->socket = config->listen.socket;
    }
    return publish_run(options);
}

int cli_publish(const struct cli *cli, int argc, char **argv)
{
    struct publish_options options;
    int code = publish_parse(argc, argv, &options);

    if (code == CLI_CONTINUE)
        code = publish_configured(cli, &options);
    free(options.user_properties);
    return code;
}
