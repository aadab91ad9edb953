/* SPDX-License-Identifier: MIT */
/*
 * publish_connect.c - the client of libmosquitto, and its connection to the
 * daemon
 */
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"

#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>

#define KEEPALIVE_S      60
#define GENERATED_ID_MAX 32

int publish_make_client(struct publisher *publisher)
{
    const struct publish_options *options = publisher->options;
    char generated[GENERATED_ID_MAX];
    uint64_t random = 0;

    if (publish_is_too_long(options->client_id)) {
        cli_error("the client id is not valid: it is longer than %u bytes", UINT16_MAX);
        return EX_DATAERR;
    }
    /* Two clients of one id would push each other out, so the id must be unlike any other. */
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        cli_error("no random numbers for a client id: name one with -i");
        return EX_UNAVAILABLE;
    }
    (void)snprintf(generated, sizeof(generated), "mqtt-spool-%012" PRIx64, random >> 16);
    publisher->client =
        mosquitto_new(options->client_id ? options->client_id : generated, true, publisher);
    if (!publisher->client) {
        cli_error("the client id is not valid: %s",
                  options->client_id && publish_has_control(options->client_id)
                      ? "it has a control character"
                      : "it must be UTF-8 and not be empty");
        return EX_DATAERR;
    }
    (void)mosquitto_int_option(publisher->client, MOSQ_OPT_PROTOCOL_VERSION,
                               options->version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    (void)mosquitto_int_option(publisher->client, MOSQ_OPT_SEND_MAXIMUM, PUBLISH_WINDOW);
    return EX_OK;
}

static int report_connect_error(const struct publisher *publisher, int error)
{
    switch (error) {
    case EACCES:
        cli_error(
            "may not open %s: run this as a member of the socket's group (ls -l shows it)",
            publisher->options->socket);
        return EX_NOPERM;
    case EINTR:
    case EAGAIN:
        cli_error("the daemon takes no connections at %s just now; try again",
                  publisher->options->socket);
        return EX_TEMPFAIL;
    case ENOENT:
    case ECONNREFUSED:
        cli_error(
            "no daemon listens at %s: start the daemon (systemctl start mqtt-spoold), or name "
            "its socket with --socket or -c",
            publisher->options->socket);
        return EX_UNAVAILABLE;
    default:
        cli_error("cannot connect to %s: %s", publisher->options->socket, strerror(error));
        return EX_UNAVAILABLE;
    }
}

static void on_alarm(int signal_number)
{
    (void)signal_number; /* its only work is to interrupt connect(2) */
}

/* The library connects a Unix socket with a blocking connect(2), which waits as long as the
 * daemon's backlog is full: an alarm bounds it. */
int publish_connect(struct publisher *publisher)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    uint64_t ms = publisher->options->timeout_ms;
    struct itimerval timer = {
        .it_value = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)},
    };
    int result;
    int error;

    if (strlen(publisher->options->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return report_connect_error(publisher, ENAMETOOLONG);
    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    errno = 0;
    result = mosquitto_connect(publisher->client, publisher->options->socket, 0, KEEPALIVE_S);
    error = errno;
    timer.it_value = (struct timeval){0};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    if (result == MOSQ_ERR_SUCCESS)
        return EX_OK;
    return report_connect_error(publisher, result == MOSQ_ERR_ERRNO && error ? error : EIO);
}
