/* SPDX-License-Identifier: MIT */
/* mosquitto_fake.c - a daemon as libmosquitto shows it, which answers what a case says */
#include "tests/support/mosquitto_fake.h"

#include <assert.h>
#include <errno.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE_MAX  1024
#define IDLE_TURNS 64

struct answer {
    enum { ANSWER_CONNACK, ANSWER_SUBACK, ANSWER_MESSAGE, ANSWER_PUBACK, ANSWER_LOST } kind;
    int mid;
    int reason;
    size_t bytes;
    const char *text;               /* of a message */
    mosquitto_property *properties; /* owned */
};

struct mosquitto {
    void *userdata;
    void (*on_connect)(struct mosquitto *, void *, int, int, const mosquitto_property *);
    void (*on_disconnect)(struct mosquitto *, void *, int, const mosquitto_property *);
    void (*on_publish)(struct mosquitto *, void *, int, int, const mosquitto_property *);
    void (*on_subscribe)(
        struct mosquitto *, void *, int, int, const int *, const mosquitto_property *);
    void (*on_message)(struct mosquitto *,
                       void *,
                       const struct mosquitto_message *,
                       const mosquitto_property *);
    int fd;
    int mid;
    struct answer queue[QUEUE_MAX];
    unsigned first;
    unsigned released; /* those before it can be read */
    unsigned end;
    unsigned idle_turns; /* without a message */
    unsigned seen;
};

struct mosquitto_fake mosquitto_fake;

static void forget_payloads(void)
{
    for (unsigned i = 0; i < MOSQUITTO_FAKE_SENT_MAX; i++)
        free(mosquitto_fake.payloads[i]);
}

void mosquitto_fake_reset(void)
{
    forget_payloads();
    mosquitto_property_free_all(&mosquitto_fake.properties);
    memset(&mosquitto_fake, 0, sizeof(mosquitto_fake));
}

static void release_answers(struct mosquitto *client)
{
    const uint64_t one = 1;

    for (; client->released < client->end; client->released++) {
        if (write(client->fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
            abort();
    }
}

static void queue_answer(struct mosquitto *client, struct answer answer)
{
    assert(client->end < QUEUE_MAX);
    client->queue[client->end++] = answer;
    if (!mosquitto_fake.is_late || answer.kind == ANSWER_CONNACK)
        release_answers(client);
}

int mosquitto_lib_init(void)
{
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_lib_cleanup(void)
{
    return MOSQ_ERR_SUCCESS;
}

struct mosquitto *mosquitto_new(const char *id, bool clean_session, void *userdata)
{
    struct mosquitto *client;

    assert(clean_session);
    if (mosquitto_fake.client_fails)
        return NULL;
    client = calloc(1, sizeof(*client));
    assert(client);
    client->userdata = userdata;
    client->fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    (void)snprintf(mosquitto_fake.client_id, sizeof(mosquitto_fake.client_id), "%s", id);
    return client;
}

void mosquitto_destroy(struct mosquitto *client)
{
    if (!client)
        return;
    for (unsigned i = client->first; i < client->end; i++)
        mosquitto_property_free_all(&client->queue[i].properties);
    (void)close(client->fd);
    free(client);
    mosquitto_fake.is_destroyed = true;
}

void mosquitto_connect_v5_callback_set(
    struct mosquitto *client,
    void (*fn)(struct mosquitto *, void *, int, int, const mosquitto_property *))
{
    client->on_connect = fn;
}

void mosquitto_disconnect_v5_callback_set(
    struct mosquitto *client,
    void (*fn)(struct mosquitto *, void *, int, const mosquitto_property *))
{
    client->on_disconnect = fn;
}

void mosquitto_publish_v5_callback_set(
    struct mosquitto *client,
    void (*fn)(struct mosquitto *, void *, int, int, const mosquitto_property *))
{
    client->on_publish = fn;
}

void mosquitto_subscribe_v5_callback_set(
    struct mosquitto *client,
    void (*fn)(struct mosquitto *, void *, int, int, const int *, const mosquitto_property *))
{
    client->on_subscribe = fn;
}

void mosquitto_message_v5_callback_set(struct mosquitto *client,
                                       void (*fn)(struct mosquitto *,
                                                  void *,
                                                  const struct mosquitto_message *,
                                                  const mosquitto_property *))
{
    client->on_message = fn;
}

int mosquitto_subscribe_v5(struct mosquitto *client,
                           int *mid,
                           const char *filter,
                           int qos,
                           int options,
                           const mosquitto_property *properties)
{
    (void)mid, (void)qos, (void)options, (void)properties;
    (void)snprintf(mosquitto_fake.subscribed, sizeof(mosquitto_fake.subscribed), "%s", filter);
    queue_answer(client,
                 (struct answer){.kind = ANSWER_SUBACK, .reason = mosquitto_fake.suback});
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_int_option(struct mosquitto *client, enum mosq_opt_t option, int value)
{
    (void)client;
    if (option == MOSQ_OPT_PROTOCOL_VERSION)
        mosquitto_fake.version = value;
    else if (option == MOSQ_OPT_SEND_MAXIMUM)
        mosquitto_fake.send_maximum = value;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_connect(struct mosquitto *client, const char *host, int port, int keepalive)
{
    assert(port == 0 && keepalive > 0);
    (void)snprintf(mosquitto_fake.socket, sizeof(mosquitto_fake.socket), "%s", host);
    errno = mosquitto_fake.connect_errno;
    if (mosquitto_fake.connect_result == MOSQ_ERR_SUCCESS && mosquitto_fake.connack >= 0)
        queue_answer(client, (struct answer){.kind = ANSWER_CONNACK});
    return mosquitto_fake.connect_result;
}

int mosquitto_disconnect(struct mosquitto *client)
{
    mosquitto_fake.is_disconnected = true;
    client->on_disconnect(client, client->userdata, 0, NULL);
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_socket(struct mosquitto *client)
{
    return client->fd;
}

/* A counter can always be written: so a daemon that is silent or late is not waited for. */
bool mosquitto_want_write(struct mosquitto *client)
{
    (void)client;
    return mosquitto_fake.is_silent || mosquitto_fake.is_late;
}

int mosquitto_loop_write(struct mosquitto *client, int max_packets)
{
    (void)client, (void)max_packets;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_loop_misc(struct mosquitto *client)
{
    client->idle_turns = client->seen == mosquitto_fake.sent ? client->idle_turns + 1 : 0;
    client->seen = mosquitto_fake.sent;
    if (client->idle_turns > IDLE_TURNS)
        release_answers(client);
    return MOSQ_ERR_SUCCESS;
}

static void answer_connect(struct mosquitto *client)
{
    mosquitto_property *properties = NULL;

    if (mosquitto_fake.max_packet > 0)
        (void)mosquitto_property_add_int32(&properties, MQTT_PROP_MAXIMUM_PACKET_SIZE,
                                           mosquitto_fake.max_packet);
    client->on_connect(client, client->userdata, mosquitto_fake.connack, 0, properties);
    mosquitto_property_free_all(&properties);
}

static void
answer_publish(struct mosquitto *client, int mid, int reason, unsigned number, size_t bytes)
{
    mosquitto_property *properties = NULL;
    char id[32];

    mosquitto_fake.in_flight--;
    mosquitto_fake.in_flight_bytes -= bytes;
    (void)snprintf(id, sizeof(id), "%u", 100 + number);
    if (mosquitto_fake.id_name) {
        (void)mosquitto_property_add_string_pair(&properties, MQTT_PROP_USER_PROPERTY, "other",
                                                 "7");
        (void)mosquitto_property_add_string_pair(
            &properties, MQTT_PROP_USER_PROPERTY, mosquitto_fake.id_name,
            mosquitto_fake.id_value ? mosquitto_fake.id_value : id);
    }
    client->on_publish(client, client->userdata, mid, reason, properties);
    mosquitto_property_free_all(&properties);
}

static void deliver_message(struct mosquitto *client, struct answer *answer)
{
    char *text = strdup(answer->text);
    const struct mosquitto_message message = {.payload = text,
                                              .payloadlen = (int)strlen(answer->text)};

    client->on_message(client, client->userdata, &message, answer->properties);
    mosquitto_property_free_all(&answer->properties);
    free(text);
}

int mosquitto_loop_read(struct mosquitto *client, int max_packets)
{
    struct answer answer;
    uint64_t one;

    (void)max_packets;
    if (client->first == client->released)
        return MOSQ_ERR_SUCCESS;
    if (read(client->fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        abort();
    answer = client->queue[client->first++];
    if (answer.kind == ANSWER_CONNACK)
        answer_connect(client);
    else if (answer.kind == ANSWER_SUBACK)
        client->on_subscribe(client, client->userdata, 1, 1, &answer.reason, NULL);
    else if (answer.kind == ANSWER_MESSAGE)
        deliver_message(client, &answer);
    else if (answer.kind == ANSWER_PUBACK)
        answer_publish(client, answer.mid, answer.reason, (unsigned)answer.mid, answer.bytes);
    else if (answer.reason == 0)
        return MOSQ_ERR_CONN_LOST;
    else
        client->on_disconnect(client, client->userdata, answer.reason, NULL);
    return MOSQ_ERR_SUCCESS;
}

static void note_message(int size, const void *payload)
{
    unsigned at = mosquitto_fake.sent++;

    if (++mosquitto_fake.in_flight > mosquitto_fake.in_flight_peak)
        mosquitto_fake.in_flight_peak = mosquitto_fake.in_flight;
    mosquitto_fake.in_flight_bytes += (size_t)size;
    if (mosquitto_fake.in_flight_bytes > mosquitto_fake.in_flight_bytes_peak)
        mosquitto_fake.in_flight_bytes_peak = mosquitto_fake.in_flight_bytes;
    if (at >= MOSQUITTO_FAKE_SENT_MAX)
        return;
    mosquitto_fake.sizes[at] = (size_t)size;
    mosquitto_fake.payloads[at] = calloc(1, (size_t)size + 1);
    assert(mosquitto_fake.payloads[at]);
    if (size > 0)
        memcpy(mosquitto_fake.payloads[at], payload, (size_t)size);
}

static void answer_request(struct mosquitto *client, const mosquitto_property *properties)
{
    unsigned newest = mosquitto_fake.sent - 1;
    const char *const *answers = mosquitto_fake.control(mosquitto_fake.payloads[newest]);
    void *data = NULL;
    uint16_t size = 0;

    (void)mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &data, &size,
                                         false);
    for (; *answers; answers++) {
        struct answer answer = {.kind = ANSWER_MESSAGE, .text = *answers};

        (void)mosquitto_property_add_binary(&answer.properties, MQTT_PROP_CORRELATION_DATA,
                                            data, size);
        queue_answer(client, answer);
    }
    free(data);
}

int mosquitto_publish_v5(struct mosquitto *client,
                         int *mid,
                         const char *topic,
                         int payloadlen,
                         const void *payload,
                         int qos,
                         bool retain,
                         const mosquitto_property *properties)
{
    unsigned number = mosquitto_fake.sent + 1;
    int reason = mosquitto_fake.answer ? mosquitto_fake.answer(number) : 0;
    int result = mosquitto_fake.publish_result ? mosquitto_fake.publish_result(number)
                                               : MOSQ_ERR_SUCCESS;

    note_message(payloadlen, payload);
    ++client->mid;
    if (mid)
        *mid = client->mid;
    if (mosquitto_fake.control)
        answer_request(client, properties);
    (void)snprintf(mosquitto_fake.topic, sizeof(mosquitto_fake.topic), "%s", topic);
    mosquitto_fake.qos = qos;
    mosquitto_fake.retain = retain;
    mosquitto_property_free_all(&mosquitto_fake.properties);
    (void)mosquitto_property_copy_all(&mosquitto_fake.properties, properties);
    if (result == MOSQ_ERR_SUCCESS && qos == 0)
        answer_publish(client, client->mid, 0, number, (size_t)payloadlen);
    else if (result == MOSQ_ERR_SUCCESS && reason != MOSQUITTO_FAKE_NO_ANSWER &&
             !mosquitto_fake.is_silent)
        queue_answer(client, (struct answer){.kind = ANSWER_PUBACK,
                                             .mid = client->mid,
                                             .reason = reason,
                                             .bytes = (size_t)payloadlen});
    if (mosquitto_fake.lost_after == number)
        queue_answer(
            client, (struct answer){.kind = ANSWER_LOST, .reason = mosquitto_fake.lost_reason});
    return result;
}
