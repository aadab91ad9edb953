/* SPDX-License-Identifier: MIT */
/*
 * libmosquitto.c - publish one message with libmosquitto, and wait for its outcome
 *
 *     cc -o publish libmosquitto.c -lmosquitto
 *     ./publish SOCKET CLIENT_ID TOPIC PAYLOAD
 *
 * Prints what the gateway answers. Exit status: 0 delivered, 1 refused or not
 * delivered, 2 no connection.
 */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct producer {
    char *topics[2]; /* where the outcomes of this client are published */
    const char *topic, *payload;
    int exit_code;
};

static void finish(struct mosquitto *client, struct producer *producer, int exit_code)
{
    producer->exit_code = exit_code;
    mosquitto_disconnect_v5(client, 0, NULL);
}

static void on_connect(struct mosquitto *client, void *userdata, int code)
{
    struct producer *producer = userdata;

    if (code != 0) {
        printf("connection refused 0x%02X\n", (unsigned)code);
        finish(client, producer, 2);
        return;
    }
    /* First the subscription: an outcome is sent once, when the message ends. */
    mosquitto_subscribe_multiple(client, NULL, 2, producer->topics, 1, 0, NULL);
}

static void
on_subscribe(struct mosquitto *client, void *userdata, int mid, int count, const int *granted)
{
    struct producer *producer = userdata;

    (void)mid;
    for (int i = 0; i < count; i++) {
        if (granted[i] >= 0x80) {
            printf("subscription refused 0x%02X\n", (unsigned)granted[i]);
            finish(client, producer, 2);
            return;
        }
    }
    mosquitto_publish_v5(client, NULL, producer->topic, (int)strlen(producer->payload),
                         producer->payload, 1, false, NULL);
}

/* PUBACK: the message is on disk, or refused. */
static void on_publish(struct mosquitto *client,
                       void *userdata,
                       int mid,
                       int reason,
                       const mosquitto_property *properties)
{
    char *name = NULL, *value = NULL;

    (void)mid;
    if (reason >= 0x80) {
        printf("refused 0x%02X\n", (unsigned)reason);
        finish(client, userdata, 1);
        return;
    }
    mosquitto_property_read_string_pair(properties, MQTT_PROP_USER_PROPERTY, &name, &value,
                                        false);
    if (name && value && strcmp(name, "spool-id") == 0)
        printf("accepted id=%s\n", value);
    fflush(stdout);
    free(name);
    free(value);
}

/* One JSON object: how the message ended. It may take days until it comes. */
static void
on_message(struct mosquitto *client, void *userdata, const struct mosquitto_message *message)
{
    bool is_delivered = strstr(message->topic, "/delivered/");

    printf("%.*s\n", message->payloadlen, (const char *)message->payload);
    finish(client, userdata, is_delivered ? 0 : 1);
}

/* DISCONNECT with a reason, or the end of the daemon. A program that stays would let
 * mosquitto_loop_forever() connect again: the library then repeats what has no PUBACK. */
static void on_disconnect(struct mosquitto *client,
                          void *userdata,
                          int reason,
                          const mosquitto_property *none)
{
    (void)none;
    if (reason != 0) {
        printf("disconnected 0x%02X\n", (unsigned)reason);
        finish(client, userdata, 2);
    }
}

int main(int argc, char **argv)
{
    char outcome[512], delivered[512];
    struct producer producer = {.topics = {outcome, delivered}, .exit_code = 2};
    struct mosquitto *client;

    if (argc != 5)
        return fprintf(stderr, "usage: %s SOCKET CLIENT_ID TOPIC PAYLOAD\n", argv[0]), 64;
    snprintf(outcome, sizeof(outcome), "$SYS/spool/outcome/%s", argv[2]);
    snprintf(delivered, sizeof(delivered), "$SYS/spool/delivered/%s", argv[2]);
    producer.topic = argv[3];
    producer.payload = argv[4];
    mosquitto_lib_init();
    client = mosquitto_new(argv[2], true, &producer);
    if (!client)
        return 2;
    mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_publish_v5_callback_set(client, on_publish);
    mosquitto_message_callback_set(client, on_message);
    mosquitto_disconnect_v5_callback_set(client, on_disconnect);
    /* Port 0: the host is the path of a Unix socket. */
    if (mosquitto_connect(client, argv[1], 0, 60) == MOSQ_ERR_SUCCESS)
        mosquitto_loop_forever(client, -1, 1);
    else
        perror(argv[1]);
    mosquitto_destroy(client);
    mosquitto_lib_cleanup();
    return producer.exit_code;
}
