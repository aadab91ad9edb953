/* SPDX-License-Identifier: MIT */
/*
 * paho_load.c - bare Paho through the same link seam: the ceiling of the uplink
 *
 *   paho_load PORT COUNT SIZE WINDOW
 *
 * Sends COUNT messages of QoS 1 with WINDOW in flight, refilling on each
 * answer, and keeps nothing on disk. What the daemon reaches is compared with
 * this, in the same run. Prints one JSON object with its start time.
 */
#include <MQTTAsync.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/tally.h"

#define SIZE_MAX_BENCH 65536

static sem_t connected;
static sem_t room;

static _Noreturn void die(const char *what, int code)
{
    (void)fprintf(stderr, "paho_load: %s: %d\n", what, code);
    exit(EXIT_FAILURE);
}

static void on_connected(void *context, MQTTAsync_successData *response)
{
    (void)context;
    (void)response;
    (void)sem_post(&connected);
}

static void on_connect_failed(void *context, MQTTAsync_failureData *response)
{
    (void)context;
    die("connect", response ? response->code : 0);
}

static void on_delivered(void *context, MQTTAsync_successData *response)
{
    (void)context;
    (void)response;
    (void)sem_post(&room);
}

static void on_failed(void *context, MQTTAsync_failureData *response)
{
    (void)context;
    die("publish", response ? response->code : 0);
}

static int on_message(void *context, char *topic, int size, MQTTAsync_message *message)
{
    (void)context;
    (void)size;
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static MQTTAsync open_client(const char *port, int window)
{
    MQTTAsync client;
    MQTTAsync_init_options library = MQTTAsync_init_options_initializer;
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    MQTTAsync_connectOptions connect = MQTTAsync_connectOptions_initializer;
    char uri[64];

    MQTTAsync_global_init(&library); /* the static archive does not run its own hook */
    (void)snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%s", port);
    create.maxBufferedMessages = window + 8;
    create.MQTTVersion = MQTTVERSION_3_1_1;
    int r = MQTTAsync_createWithOptions(&client, uri, "bare-paho", MQTTCLIENT_PERSISTENCE_NONE,
                                        NULL, &create);
    if (r == MQTTASYNC_SUCCESS)
        r = MQTTAsync_setCallbacks(client, NULL, NULL, on_message, NULL);
    connect.MQTTVersion = MQTTVERSION_3_1_1;
    connect.maxInflight = window;
    connect.onSuccess = on_connected;
    connect.onFailure = on_connect_failed;
    if (r == MQTTASYNC_SUCCESS)
        r = MQTTAsync_connect(client, &connect);
    if (r != MQTTASYNC_SUCCESS)
        die("open", r);
    (void)sem_wait(&connected);
    return client;
}

static void send_one(MQTTAsync client, uint64_t sequence, int size)
{
    static uint8_t payload[SIZE_MAX_BENCH];

    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;

    tally_stamp(payload, (size_t)size, sequence, bench_now_ns());
    response.onSuccess = on_delivered;
    response.onFailure = on_failed;
    int r = MQTTAsync_send(client, "bench/plant/line/7/temperature", size, payload, 1, 0,
                           &response);
    if (r != MQTTASYNC_SUCCESS)
        die("send", r);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        (void)fputs("usage: paho_load PORT COUNT SIZE WINDOW\n", stderr);
        return EXIT_FAILURE;
    }
    uint64_t count = strtoull(argv[2], NULL, 10);
    int size = atoi(argv[3]), window = atoi(argv[4]);
    if (size < 8 || size > SIZE_MAX_BENCH || window < 1)
        die("arguments", size);
    (void)sem_init(&connected, 0, 0);
    (void)sem_init(&room, 0, (unsigned)window);
    MQTTAsync client = open_client(argv[1], window);
    int64_t start = bench_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        (void)sem_wait(&room);
        send_one(client, i, size);
    }
    for (int i = 0; i < window; i++)
        (void)sem_wait(&room);
    int64_t end = bench_now_ns();
    (void)printf("{\"messages\":%" PRIu64 ",\"start_ns\":%" PRId64 ",\"end_ns\":%" PRId64
                 ",\"rate\":%.0f}\n",
                 count, start, end, (double)count * 1e9 / (double)(end - start));
    MQTTAsync_destroy(&client);
    return EXIT_SUCCESS;
}
