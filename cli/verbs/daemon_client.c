/* SPDX-License-Identifier: MIT */
/*
 * daemon_client.c - the client of libmosquitto, and its connection to the
 * daemon
 */
#include "cli/verbs/daemon_client.h"

#include "base/reload.h"
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"
#include "cli/verbs/socket_remedy.h"

#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
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

#define GENERATED_ID_MAX 32

int daemon_client_new(const char *client_id,
                      unsigned version,
                      unsigned send_maximum,
                      void *userdata,
                      struct mosquitto **ret)
{
    struct mosquitto *client;
    char generated[GENERATED_ID_MAX];
    uint64_t random = 0;

    if (publish_is_too_long(client_id)) {
        cli_error("the client id is not valid: it is longer than %u bytes", UINT16_MAX);
        return EX_DATAERR;
    }
    /* Two clients of one id would push each other out, so the id must be unlike any other. */
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        cli_error("no random numbers for a client id: name one with -i");
        return EX_UNAVAILABLE;
    }
    (void)snprintf(generated, sizeof(generated), "mqtt-spool-%012" PRIx64, random >> 16);
    client = mosquitto_new(client_id ? client_id : generated, true, userdata);
    if (!client) {
        cli_error("the client id is not valid: %s", client_id && publish_has_control(client_id)
                                                        ? "it has a control character"
                                                        : "it must be UTF-8 and not be empty");
        return EX_DATAERR;
    }
    (void)mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION,
                               version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    (void)mosquitto_int_option(client, MOSQ_OPT_SEND_MAXIMUM, (int)send_maximum);
    *ret = client;
    return EX_OK;
}

static int report_connect_error(const char *socket, int error, const char *remedy)
{
    char text[SOCKET_REMEDY_MAX];

    switch (error) {
    case EACCES:
        cli_error("may not open %s: %s%s", socket, remedy, socket_remedy(socket, text));
        return EX_NOPERM;
    case EINTR:
    case EAGAIN:
        cli_error("the daemon takes no connections at %s just now; try again", socket);
        return EX_TEMPFAIL;
    case ENOENT:
    case ECONNREFUSED:
        if (cli_restart_waits("listen.socket"))
            cli_error(
                "no daemon listens at %s: the one that runs has another socket, because a "
                "reload does not change listen.socket: " RESTART_REMEDY
                ", or name its socket with --socket",
                socket);
        else
            cli_error(
                "no daemon listens at %s: start the daemon (systemctl start mqtt-spoold), or name "
                "its socket with --socket or -c",
                socket);
        return EX_UNAVAILABLE;
    default:
        cli_error("cannot connect to %s: %s", socket, strerror(error));
        return EX_UNAVAILABLE;
    }
}

static void on_alarm(int signal_number)
{
    (void)signal_number; /* its only work is to interrupt connect(2) */
}

/* The library connects a Unix socket with a blocking connect(2), which waits as long as the
 * daemon's backlog is full: an alarm bounds it. */
int daemon_client_connect(struct mosquitto *client,
                          const char *socket,
                          int keepalive_s,
                          uint64_t timeout_ms,
                          const char *remedy)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    uint64_t ms = timeout_ms;
    struct itimerval timer = {
        .it_value = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)},
    };
    int result;
    int error;

    if (strlen(socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return report_connect_error(socket, ENAMETOOLONG, remedy);
    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    errno = 0;
    result = mosquitto_connect(client, socket, 0, keepalive_s);
    error = errno;
    timer.it_value = (struct timeval){0};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    if (result == MOSQ_ERR_SUCCESS)
        return EX_OK;
    return report_connect_error(socket, result == MOSQ_ERR_ERRNO && error ? error : EIO,
                                remedy);
}

struct pollfd daemon_client_pollfd(struct mosquitto *client)
{
    struct pollfd fd = {.fd = mosquitto_socket(client), .events = POLLIN};

    if (mosquitto_want_write(client))
        fd.events |= POLLOUT;
    return fd;
}

int daemon_client_serve(struct mosquitto *client, short revents)
{
    int result = MOSQ_ERR_SUCCESS;

    if (revents & POLLOUT)
        result = mosquitto_loop_write(client, 1);
    if (result == MOSQ_ERR_SUCCESS && revents & ~POLLOUT)
        result = mosquitto_loop_read(client, 1);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_loop_misc(client);
    return result;
}
