/* SPDX-License-Identifier: MIT */
/*
 * paho.c - publish one message with Eclipse Paho C, and wait for its outcome
 *
 *     cc -o publish paho.c -lpaho-mqtt3c
 *     ./publish URI CLIENT_ID TOPIC PAYLOAD
 *
 * Paho C 1.3.12 (Debian 12) cannot use a Unix socket: URI is tcp://127.0.0.1:1883, a
 * socket that systemd passes to the daemon. Exit status: 0 delivered, 1 refused or not
 * delivered, 2 no connection.
 */
#include <MQTTClient.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

struct producer {
    MQTTClient client;
    char topics[2][512]; /* where the outcomes of this client are published */
    int exit_code;
    sem_t end;
};

static void finish(struct producer *producer, int exit_code)
{
    producer->exit_code = exit_code;
    sem_post(&producer->end);
}

/* PUBACK: the message is on disk, or refused. MQTTAsync 1.3.12 calls onSuccess5 with the
 * properties of the PUBLISH instead, so that the id is not known there. */
static void on_published(void *context,
                         int token,
                         int packet,
                         MQTTProperties *properties,
                         enum MQTTReasonCodes reason)
{
    static const char name[] = "spool-id";

    (void)token;
    (void)packet;
    if (reason >= 0x80) {
        printf("refused 0x%02X\n", (unsigned)reason);
        finish(context, 1);
        return;
    }
    for (int i = 0; i < properties->count; i++) {
        const MQTTLenString *key = &properties->array[i].value.data;
        const MQTTLenString *value = &properties->array[i].value.value;

        if (properties->array[i].identifier == MQTTPROPERTY_CODE_USER_PROPERTY &&
            key->len == (int)sizeof(name) - 1 && memcmp(key->data, name, sizeof(name) - 1) == 0)
            printf("accepted id=%.*s\n", value->len, value->data);
    }
    fflush(stdout);
}

/* One JSON object: how the message ended. It may take days until it comes. */
static int on_message(void *context, char *topic, int topic_length, MQTTClient_message *message)
{
    struct producer *producer = context;

    (void)topic_length;
    printf("%.*s\n", message->payloadlen, (const char *)message->payload);
    int exit_code = strcmp(topic, producer->topics[1]) == 0 ? 0 : 1;
    MQTTClient_freeMessage(&message);
    MQTTClient_free(topic);
    finish(producer, exit_code);
    return 1;
}

/* A program that stays would connect again, and publish again what has no PUBACK. */
static void on_lost(void *context, char *cause)
{
    (void)cause;
    printf("connection lost\n");
    finish(context, 2);
}

/* What a call returned; the response is freed. */
static int code_of(MQTTResponse response)
{
    int code = response.reasonCode;

    MQTTResponse_free(response);
    return code;
}

/* First the subscription: an outcome is sent once, when the message ends. */
static int start(struct producer *producer, char *topic, char *payload)
{
    MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer5;
    char *topics[2] = {producer->topics[0], producer->topics[1]};
    int qos[2] = {1, 1};

    options.keepAliveInterval = 60;
    options.cleanstart = 1;
    int code = code_of(MQTTClient_connect5(producer->client, &options, NULL, NULL));
    if (code == 0)
        code = code_of(MQTTClient_subscribeMany5(producer->client, 2, topics, qos, NULL, NULL));
    if (code < 0 || code >= 0x80)
        return code;
    return code_of(MQTTClient_publish5(producer->client, topic, (int)strlen(payload), payload,
                                       1, 0, NULL, NULL));
}

int main(int argc, char **argv)
{
    static struct producer producer = {.exit_code = 2};
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;

    if (argc != 5)
        return fprintf(stderr, "usage: %s URI CLIENT_ID TOPIC PAYLOAD\n", argv[0]), 64;
    snprintf(producer.topics[0], sizeof(producer.topics[0]), "$SYS/spool/outcome/%s", argv[2]);
    snprintf(producer.topics[1], sizeof(producer.topics[1]), "$SYS/spool/delivered/%s",
             argv[2]);
    sem_init(&producer.end, 0, 0);
    create.MQTTVersion = MQTTVERSION_5;
    if (MQTTClient_createWithOptions(&producer.client, argv[1], argv[2],
                                     MQTTCLIENT_PERSISTENCE_NONE, NULL, &create) != 0)
        return 2;
    MQTTClient_setCallbacks(producer.client, &producer, on_lost, on_message, NULL);
    MQTTClient_setPublished(producer.client, &producer, on_published);
    int code = start(&producer, argv[3], argv[4]);
    if (code < 0 || code >= 0x80)
        printf("no connection or subscription: %d\n", code);
    else
        while (sem_wait(&producer.end) != 0)
            ;
    /* Not MQTTClient_destroy(): it would free what Paho's thread uses after on_message(). A
     * program that stays destroys a client only when none of its callbacks can be running. */
    MQTTClient_disconnect5(producer.client, 1000, MQTTREASONCODE_NORMAL_DISCONNECTION, NULL);
    return producer.exit_code;
}
