/* SPDX-License-Identifier: MIT */
/*
 * mqtt_load.c - a raw, pipelined MQTT 3.1.1 load generator and a counting subscriber
 *
 *   mqtt_load publish   ADDRESS COUNT SIZE WINDOW [TOPIC]
 *   mqtt_load pace      ADDRESS COUNT SIZE RATE [FIRST]
 *   mqtt_load greedy    ADDRESS PRODUCERS SIZE
 *   mqtt_load subscribe ADDRESS COUNT TIMEOUT_S
 *
 * ADDRESS is a TCP port on loopback or the path of a Unix socket. "publish" keeps WINDOW
 * messages without an acknowledgement; "pace" sends RATE a second whatever is acknowledged,
 * with numbers from FIRST on. "greedy" sends messages of QoS 0 from each producer as fast as
 * they are taken, prints "ready" when all are connected, and runs until it is ended.
 * "subscribe" prints "ready", and what arrived when it is all there.
 *
 * Each but "greedy" prints one JSON object.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "bench/bench.h"
#include "bench/stream.h"
#include "bench/tally.h"

#define PACKET_MAX   ((size_t)64 * 1024)
#define HEADER_MAX   512
#define TOPIC_MAX    256 /* a longer one is cut */
#define ACK_WAIT_MS  120000
#define NS_IN_SECOND INT64_C(1000000000)
#define NS_IN_MS     1000000
/* Of a greedy producer, of which each send() takes what it can. */
#define GREEDY_BLOCK ((size_t)64 * 1024)

/* What is published. */
struct load {
    struct stream *stream;
    const char *topic;
    size_t size;
    uint64_t first; /* the number of the first message */
    uint64_t count, sent, acked;
    int64_t *sent_ns, *latency_ns;
};

static size_t write_publish(const struct load *load, uint8_t *packet, int64_t now_ns)
{
    uint64_t sequence = load->first + load->sent;
    size_t topic_size = strnlen(load->topic, TOPIC_MAX);
    size_t length = 2 + topic_size + 2 + load->size, at = 0;

    packet[at++] = 0x32;
    for (size_t left = length; left > 0 || at == 1; left >>= 7)
        packet[at++] = (uint8_t)((left & 0x7F) | (left > 0x7F ? 0x80 : 0));
    packet[at++] = (uint8_t)(topic_size >> 8);
    packet[at++] = (uint8_t)topic_size;
    memcpy(packet + at, load->topic, topic_size);
    at += topic_size;
    uint16_t id = (uint16_t)(sequence % 65535 + 1);
    packet[at++] = (uint8_t)(id >> 8);
    packet[at++] = (uint8_t)id;
    tally_stamp(packet + at, load->size, sequence, now_ns);
    for (size_t i = TALLY_STAMP_SIZE; i < load->size; i++)
        packet[at + i] = (uint8_t)(sequence * 31 + i * 131); /* does not compress well */
    return at + load->size;
}

static void send_next(struct load *load)
{
    static uint8_t packet[PACKET_MAX];
    int64_t now_ns = bench_now_ns();

    stream_put(load->stream, packet, write_publish(load, packet, now_ns));
    load->sent_ns[load->sent++] = now_ns;
}

/* Acknowledgements come in order [MQTT-4.6.0-2]. */
static void count_acks(struct load *load)
{
    const uint8_t *packet;
    size_t at = 0, header, size;
    int64_t now_ns = bench_now_ns();

    while ((packet = stream_next_packet(load->stream, &at, &header, &size))) {
        if (packet[0] != 0x40 || load->acked >= load->sent)
            bench_die("not a PUBACK that is due");
        load->latency_ns[load->acked] = now_ns - load->sent_ns[load->acked];
        load->acked++;
    }
    stream_drop(load->stream, at);
}

static void load_init(struct load *load, const char *address)
{
    load->sent_ns = calloc((size_t)load->count, sizeof(*load->sent_ns));
    load->latency_ns = calloc((size_t)load->count, sizeof(*load->latency_ns));
    if (!load->sent_ns || !load->latency_ns || load->size < 8 ||
        load->size > PACKET_MAX - HEADER_MAX)
        bench_die("arguments");
    load->stream = stream_open(address, "load");
}

static void load_finish(struct load *load, int64_t start_ns)
{
    int64_t end_ns = bench_now_ns();

    (void)printf("{\"messages\":%" PRIu64 ",\"start_ns\":%" PRId64 ",\"end_ns\":%" PRId64
                 ",\"rate\":%.0f",
                 load->count, start_ns, end_ns,
                 (double)load->count * 1e9 / (double)(end_ns - start_ns));
    bench_print_percentiles(load->latency_ns, (size_t)load->count);
    (void)puts("}");
    free(load->sent_ns);
    free(load->latency_ns);
    free(load->stream);
}

static void publish(struct load *load, const char *address, uint64_t window)
{
    load_init(load, address);
    int64_t start_ns = bench_now_ns();
    while (load->acked < load->count) {
        while (load->sent < load->count && load->sent - load->acked < window &&
               load->stream->out_used + load->size + HEADER_MAX < STREAM_BUFFER_SIZE)
            send_next(load);
        stream_flush(load->stream);
        if (!stream_fill(load->stream, ACK_WAIT_MS))
            bench_die("no acknowledgement");
        count_acks(load);
    }
    load_finish(load, start_ns);
}

/* Sends what is due; returns for how long then nothing is. */
static int send_due(struct load *load, int64_t start_ns, uint64_t rate)
{
    while (load->sent < load->count) {
        int64_t due_ns = start_ns + (int64_t)(load->sent * (uint64_t)NS_IN_SECOND / rate);
        int64_t now_ns = bench_now_ns();

        if (due_ns > now_ns)
            return (int)((due_ns - now_ns) / NS_IN_MS) + 1;
        send_next(load);
        stream_flush(load->stream);
    }
    return ACK_WAIT_MS;
}

static void pace(struct load *load, const char *address, uint64_t rate)
{
    if (rate == 0)
        bench_die("arguments");
    load_init(load, address);
    int64_t start_ns = bench_now_ns();
    while (load->acked < load->count) {
        int timeout_ms = send_due(load, start_ns, rate);

        if (!stream_fill(load->stream, timeout_ms) && timeout_ms == ACK_WAIT_MS)
            bench_die("no acknowledgement");
        count_acks(load);
    }
    load_finish(load, start_ns);
}

/* ---- greedy ---- */

struct greedy {
    int fd;
    size_t sent; /* of the block; the rest comes first */
};

static int connect_greedy(const char *address, unsigned number)
{
    char id[32];

    (void)snprintf(id, sizeof(id), "greedy-%u", number);
    struct stream *stream = stream_open(address, id);
    int fd = stream->fd;
    free(stream);
    return fd;
}

/* As many whole packets as fit. */
static size_t fill_block(uint8_t block[static GREEDY_BLOCK], size_t size)
{
    static const char topic[] = "bench/greedy";
    size_t used = 0, body = 2 + sizeof(topic) - 1 + size;

    while (used + body + 2 <= GREEDY_BLOCK) {
        block[used] = 0x30;
        block[used + 1] = (uint8_t)body;
        block[used + 2] = 0;
        block[used + 3] = sizeof(topic) - 1;
        memcpy(block + used + 4, topic, sizeof(topic) - 1);
        memset(block + used + 4 + sizeof(topic) - 1, 'x', size);
        used += body + 2;
    }
    return used;
}

static void send_greedily(struct greedy *greedy, const uint8_t *block, size_t size)
{
    ssize_t n = send(greedy->fd, block + greedy->sent, size - greedy->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN)
        bench_die("send");
    if (n > 0)
        greedy->sent = (greedy->sent + (size_t)n) % size;
}

static int greedy(const char *address, unsigned count, size_t size)
{
    static uint8_t block[GREEDY_BLOCK];
    struct greedy *producers = calloc(count, sizeof(*producers));
    struct pollfd *polled = calloc(count, sizeof(*polled));

    if (!producers || !polled || count == 0 || size > 100)
        bench_die("arguments");
    size_t block_size = fill_block(block, size);
    for (unsigned i = 0; i < count; i++) {
        producers[i].fd = connect_greedy(address, i);
        polled[i] = (struct pollfd){.fd = producers[i].fd, .events = POLLOUT};
    }
    (void)puts("ready");
    (void)fflush(stdout);
    while (poll(polled, count, -1) > 0) {
        for (unsigned i = 0; i < count; i++) {
            if (polled[i].revents)
                send_greedily(&producers[i], block, block_size);
        }
    }
    bench_die("poll");
}

/* ---- subscribe ---- */

static void count_messages(struct stream *stream, struct tally *tally)
{
    const uint8_t *packet;
    size_t at = 0, header, size;
    int64_t now_ns = bench_now_ns();

    while ((packet = stream_next_packet(stream, &at, &header, &size))) {
        if (packet[0] >> 4 != 3)
            continue;
        size_t topic_size = (size_t)packet[header] << 8 | packet[header + 1];
        size_t body = header + 2 + topic_size + ((packet[0] >> 1 & 3) ? 2 : 0);
        tally_add(tally, packet + body, size - body, now_ns);
    }
    stream_drop(stream, at);
}

static int subscribe(const char *address, uint64_t count, int timeout_s)
{
    static const uint8_t everything[] = {0x82, 6, 0, 1, 0, 1, '#', 0};
    struct stream *stream = stream_open(address, "count");
    struct tally tally;
    int64_t deadline_ns = bench_now_ns() + timeout_s * NS_IN_SECOND;

    tally_init(&tally, count);
    stream_put(stream, everything, sizeof(everything));
    stream_flush(stream);
    while (stream->in_used < 5)
        (void)stream_fill(stream, 10000);
    stream_drop(stream, 5);
    (void)puts("ready");
    (void)fflush(stdout);
    while (tally.distinct < count && bench_now_ns() < deadline_ns) {
        if (stream_fill(stream, 100))
            count_messages(stream, &tally);
    }
    bool is_complete = tally.distinct == count;
    tally_print(&tally);
    tally_deinit(&tally);
    free(stream);
    return is_complete ? EXIT_SUCCESS : EXIT_FAILURE;
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    struct load load = {.topic = "bench/plant/line/7/temperature"};
    const char *verb = argc >= 5 ? argv[1] : "";

    if (argc >= 6) {
        load.count = number(argv[3]);
        load.size = (size_t)number(argv[4]);
    }
    if (argc >= 6 && strcmp(verb, "publish") == 0) {
        load.topic = argc > 6 ? argv[6] : load.topic;
        publish(&load, argv[2], number(argv[5]));
        return EXIT_SUCCESS;
    }
    if (argc >= 6 && strcmp(verb, "pace") == 0) {
        load.first = argc > 6 ? number(argv[6]) : 0;
        pace(&load, argv[2], number(argv[5]));
        return EXIT_SUCCESS;
    }
    if (argc == 5 && strcmp(verb, "greedy") == 0)
        return greedy(argv[2], (unsigned)number(argv[3]), (size_t)number(argv[4]));
    if (argc == 5 && strcmp(verb, "subscribe") == 0)
        return subscribe(argv[2], number(argv[3]), atoi(argv[4]));
    (void)fputs("usage: mqtt_load publish ADDRESS COUNT SIZE WINDOW [TOPIC]\n"
                "       mqtt_load pace ADDRESS COUNT SIZE RATE [FIRST]\n"
                "       mqtt_load greedy ADDRESS PRODUCERS SIZE\n"
                "       mqtt_load subscribe ADDRESS COUNT TIMEOUT_S\n",
                stderr);
    return EXIT_FAILURE;
}
