/* SPDX-License-Identifier: MIT */
/*
 * control.c - requests to the daemon, as docs/control.md says
 *
 * A request is a message to a topic of the daemon's own, by MQTT 5 over its socket; answers are
 * messages that carry the correlation data of the request. One request is open at a time. It is
 * done when it has both its last answer and its PUBACK, which comes after the commit.
 */
#include "cli/verbs/control.h"

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

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/verbs/daemon_client.h"
#include "cli/verbs/publish-private.h"

#define CONTROL_TOPIC    "$CONTROL/spool/v1"
#define CONTROL_RESPONSE "$CONTROL/spool/v1/response"
#define STATUS_TOPIC     "$SYS/spool/status"

enum {
    POLL_MS = 1000,
    OPEN_MS = 30000, /* for CONNACK and SUBACK */
    BRIEF_MS = 2000, /* the same of the status, and for its message */
    ERROR_MS = 2000, /* for the answer that explains a refusal */
};

/* An access list holds for root as well. */
#define CONTROL_REMEDY                                                                         \
    "run this as an administrator: without access in the configuration that is root (sudo "    \
    "mqtt-spool ...), with it a user, root too, whose entry has admin = true"
/* Before what opens the socket, which is not enough then. */
#define CONTROL_OPEN_REMEDY CONTROL_REMEDY "; to open the socket as such a user: "

struct control {
    struct mosquitto *client;
    void (*before)(int); /* what SIGPIPE did */
    json_t **ret_status; /* only the status is read; NULL: requests are sent */
    int connack;         /* its reason code; -1: none came */
    bool is_ready;       /* the subscription was granted */
    int code;            /* of the first failure, reported; EX_OK: none */
    uint64_t number;     /* of the open request */
    bool has_ack;        /* it has its PUBACK, */
    bool has_answer;     /* its last answer, */
    int reason;          /* and the code of the PUBACK */
    bool is_refused;
    char error[512];    /* what the answer says then */
    int64_t give_up_ms; /* INT64_MAX: never */
    control_answer_fn *fn;
    void *userdata;
};

static void control_fail(struct control *control, int code)
{
    if (control->code == EX_OK)
        control->code = code;
}

static int not_admin(void)
{
    cli_error("only an administrator may ask the daemon for that: " CONTROL_REMEDY);
    return EX_NOPERM;
}

static void on_connect(struct mosquitto *client,
                       void *userdata,
                       int code,
                       int flags,
                       const mosquitto_property *properties)
{
    struct control *control = userdata;
    const char *topic = control->ret_status ? STATUS_TOPIC : CONTROL_RESPONSE;

    (void)flags, (void)properties;
    control->connack = code;
    if (code != 0) {
        control_fail(control, publish_exit_code(code));
        cli_error("the daemon refused the connection: %s (0x%02X)", publish_connack_text(code),
                  (unsigned)code);
    } else if (mosquitto_subscribe_v5(client, NULL, topic, 1, 0, NULL) != MOSQ_ERR_SUCCESS) {
        control_fail(control, EX_UNAVAILABLE);
        cli_error("cannot ask the daemon for answers");
    }
}

static void on_disconnect(struct mosquitto *client,
                          void *userdata,
                          int reason,
                          const mosquitto_property *properties)
{
    struct control *control = userdata;

    (void)client, (void)properties;
    if (reason == 0 || control->code != EX_OK) /* our own DISCONNECT, or reported already */
        return;
    if (reason < PUBLISH_FIRST_REFUSAL) {
        control_fail(control, EX_TEMPFAIL);
        cli_error("the connection to the daemon was lost; whether it did what was asked is in "
                  "its audit file");
        return;
    }
    control_fail(control, publish_exit_code(reason));
    cli_error("the daemon ended the connection: %s (0x%02X)", publish_reason_text(reason),
              (unsigned)reason);
}

static void on_subscribe(struct mosquitto *client,
                         void *userdata,
                         int mid,
                         int count,
                         const int *granted,
                         const mosquitto_property *properties)
{
    struct control *control = userdata;

    (void)client, (void)mid, (void)properties;
    if (count == 1 && granted[0] < PUBLISH_FIRST_REFUSAL)
        control->is_ready = true;
    else
        control_fail(control, not_admin());
}

static void on_publish(struct mosquitto *client,
                       void *userdata,
                       int mid,
                       int reason,
                       const mosquitto_property *properties)
{
    struct control *control = userdata;

    (void)client, (void)mid, (void)properties;
    control->has_ack = true;
    control->reason = reason;
    if (reason == MQTT_RC_NOT_AUTHORIZED)
        control_fail(control, not_admin());
    else if (reason >= PUBLISH_FIRST_REFUSAL && !control->has_answer)
        control->give_up_ms = publish_now_ms() + ERROR_MS;
}

/* Is it an answer to the open request? */
static bool is_for_request(const struct control *control, const mosquitto_property *properties)
{
    AUTO_FREE void *data = NULL;
    uint16_t size = 0;
    char number[32];
    int length = snprintf(number, sizeof(number), "%" PRIu64, control->number);

    (void)mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &data, &size,
                                         false);
    return data && size == length && memcmp(data, number, size) == 0;
}

static void take_answer(struct control *control, json_t *answer)
{
    control->has_answer = !json_is_false(json_object_get(answer, "last"));
    if (json_is_true(json_object_get(answer, "ok"))) {
        int code = control->fn(control->userdata, answer);

        if (code != EX_OK)
            control_fail(control, code);
        return;
    }
    const char *error = json_string_value(json_object_get(answer, "error"));

    if (json_object_get(answer, "matched")) /* what was done before it failed stays done */
        (void)control->fn(control->userdata, answer);
    control->has_answer = true;
    control->is_refused = true;
    text_format(control->error, sizeof(control->error), "%s",
                error ? error : "it gave no reason");
}

static void on_message(struct mosquitto *client,
                       void *userdata,
                       const struct mosquitto_message *message,
                       const mosquitto_property *properties)
{
    struct control *control = userdata;
    json_t *answer;

    (void)client;
    if (control->code != EX_OK || control->has_answer ||
        (!control->ret_status && !is_for_request(control, properties)))
        return;
    answer = json_loadb(message->payload, (size_t)message->payloadlen, 0, NULL);
    if (json_is_object(answer) && control->ret_status) {
        *control->ret_status = json_incref(answer);
        control->has_answer = true;
    } else if (json_is_object(answer)) {
        take_answer(control, answer);
    } else {
        control_fail(control, EX_UNAVAILABLE);
        cli_error("the answer of the daemon is no JSON object");
    }
    json_decref(answer);
}

/* Waits until there is something to read or to write, and lets the library do it. */
static void control_poll(struct control *control)
{
    struct pollfd fd = daemon_client_pollfd(control->client);
    int result;

    if (poll(&fd, 1, POLL_MS) < 0 && errno != EINTR) {
        control_fail(control, EX_UNAVAILABLE);
        cli_error("poll: %m");
        return;
    }
    result = daemon_client_serve(control->client, fd.revents);
    if (result != MOSQ_ERR_SUCCESS && control->code == EX_OK)
        on_disconnect(control->client, control, MOSQ_ERR_CONN_LOST, NULL);
}

/* Does the wait continue? */
static bool control_waits(struct control *control, bool is_done)
{
    if (control->code != EX_OK || is_done)
        return false;
    if (publish_now_ms() < control->give_up_ms)
        return true;
    control_fail(control, control->has_ack ? publish_exit_code(control->reason) : EX_TEMPFAIL);
    if (control->has_ack)
        cli_error("the daemon refused that: %s (0x%02X)", publish_reason_text(control->reason),
                  (unsigned)control->reason);
    else
        cli_error("the daemon does not answer: " PUBLISH_NO_ANSWER);
    return false;
}

static int control_subscribe(struct control *control, const char *socket)
{
    unsigned open_ms = control->ret_status ? BRIEF_MS : OPEN_MS;
    int code = daemon_client_new(NULL, 5, 1, control, &control->client);

    if (code != EX_OK)
        return code;
    mosquitto_connect_v5_callback_set(control->client, on_connect);
    mosquitto_disconnect_v5_callback_set(control->client, on_disconnect);
    mosquitto_subscribe_v5_callback_set(control->client, on_subscribe);
    mosquitto_publish_v5_callback_set(control->client, on_publish);
    mosquitto_message_v5_callback_set(control->client, on_message);
    code = daemon_client_connect(control->client, socket, UINT16_MAX, open_ms,
                                 control->ret_status ? "" : CONTROL_OPEN_REMEDY);
    if (code != EX_OK)
        return code;
    control->give_up_ms = publish_now_ms() + open_ms;
    while (control_waits(control, control->is_ready))
        control_poll(control);
    control->give_up_ms = INT64_MAX;
    return control->code;
}

static struct control *control_new(void)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control) {
        cli_error("out of memory");
        return NULL;
    }
    control->connack = -1;
    control->before = signal(SIGPIPE, SIG_IGN); /* a lost connection is an answer */
    (void)mosquitto_lib_init();
    return control;
}

int control_open(const char *socket, struct control **ret)
{
    struct control *control = control_new();
    int code;

    if (!control)
        return EX_UNAVAILABLE;
    code = control_subscribe(control, socket);
    if (code == EX_OK)
        *ret = control;
    else
        control_close(control);
    return code;
}

int control_get_status(const char *socket, json_t **ret, int *ret_connack)
{
    struct control *control = control_new();
    json_t *root = NULL;
    int code;

    if (ret_connack)
        *ret_connack = -1;
    if (!control)
        return EX_UNAVAILABLE;
    control->ret_status = &root;
    code = control_subscribe(control, socket);
    control->give_up_ms = publish_now_ms() + BRIEF_MS;
    while (code == EX_OK && control_waits(control, control->has_answer))
        control_poll(control);
    if (control->code != EX_OK)
        code = control->code;
    if (ret_connack)
        *ret_connack = control->connack;
    control_close(control);
    if (code == EX_OK)
        *ret = root;
    else
        json_decref(root);
    return code;
}

void control_close(struct control *control)
{
    if (!control)
        return;
    if (control->client && control->is_ready && control->code == EX_OK)
        (void)mosquitto_disconnect(control->client);
    mosquitto_destroy(control->client);
    (void)mosquitto_lib_cleanup();
    (void)signal(SIGPIPE, control->before);
    free(control);
}

static int make_properties(const struct control *control, mosquitto_property **ret)
{
    char number[32];
    int length = snprintf(number, sizeof(number), "%" PRIu64, control->number);
    int result = mosquitto_property_add_string(ret, MQTT_PROP_RESPONSE_TOPIC, CONTROL_RESPONSE);

    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_property_add_binary(ret, MQTT_PROP_CORRELATION_DATA, number,
                                               (uint16_t)length);
    return result;
}

int control_request(struct control *control,
                    struct view request,
                    control_answer_fn *fn,
                    void *userdata)
{
    mosquitto_property *properties = NULL;
    int result;

    control->number++;
    control->has_ack = false;
    control->has_answer = false;
    control->is_refused = false;
    control->give_up_ms = INT64_MAX;
    control->fn = fn;
    control->userdata = userdata;
    result = make_properties(control, &properties);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_publish_v5(control->client, NULL, CONTROL_TOPIC, (int)request.size,
                                      request.data, 1, false, properties);
    mosquitto_property_free_all(&properties);
    if (result != MOSQ_ERR_SUCCESS) {
        control_fail(control, EX_TEMPFAIL);
        cli_error("cannot send the request to the daemon: %s", mosquitto_strerror(result));
    }
    while (control_waits(control, control->has_ack && control->has_answer))
        control_poll(control);
    if (control->code == EX_OK && control->is_refused) {
        int code = control->reason >= PUBLISH_FIRST_REFUSAL ? publish_exit_code(control->reason)
                                                            : EX_DATAERR;

        cli_error("the daemon refused that: %s", control->error);
        return code == EX_UNAVAILABLE ? EX_DATAERR : code;
    }
    return control->code;
}
