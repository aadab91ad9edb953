/* SPDX-License-Identifier: MIT */
/*
 * mqtt_load.c - a raw, pipelined MQTT 3.1.1 load generator and a counting subscriber
 *
 *   mqtt_load publish   ADDRESS COUNT SIZE WINDOW [TOPIC]
 *   mqtt_load greedy    ADDRESS PRODUCERS SIZE
 *   mqtt_load subscribe ADDRESS COUNT TIMEOUT_S
 *
 * ADDRESS is a TCP port on loopback or the path of a Unix socket. Raw sockets,
 * because a client library would be the limit that is measured. Each payload
 * begins with its sequence number; the subscriber keeps a bitmap of what arrived,
 * so that lost and repeated messages are counted exactly.
 *
 * "greedy" sends messages of QoS 0 from each producer as fast as they are taken,
 * prints "ready" when all are connected, and runs until it is ended.
 *
 * The others print one JSON object: times are CLOCK_MONOTONIC nanoseconds, so that the
 * two programs' times compare.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (1024 * 1024)
#define PACKET_MAX  (64 * 1024)
#define TOPIC_MAX   256 /* a longer one is cut */
/* Of a greedy producer, of which each send() takes what it can. */
#define GREEDY_BLOCK ((size_t)64 * 1024)

struct stream {
    int fd;
    uint8_t in[BUFFER_SIZE];
    size_t in_used;
    uint8_t out[BUFFER_SIZE];
    size_t out_used;
    size_t out_sent;
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "mqtt_load: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
        die(path);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        die(path);
    return fd;
}

static int connect_tcp(const char *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        die(port);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void put(struct stream *stream, const void *data, size_t size)
{
    if (stream->out_used + size > sizeof(stream->out))
        die("output buffer full");
    memcpy(stream->out + stream->out_used, data, size);
    stream->out_used += size;
}

static void flush(struct stream *stream)
{
    while (stream->out_sent < stream->out_used) {
        ssize_t n = send(stream->fd, stream->out + stream->out_sent,
                         stream->out_used - stream->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die("send");
        stream->out_sent += (size_t)n;
    }
    stream->out_used = stream->out_sent = 0;
}

/* Waits until something can be read, writing meanwhile. False: nothing came for that long. */
static bool fill(struct stream *stream, int timeout_ms)
{
    struct pollfd wait = {.fd = stream->fd, .events = POLLIN};

    if (stream->out_sent < stream->out_used)
        wait.events |= POLLOUT;
    int r = poll(&wait, 1, timeout_ms);
    if (r < 0)
        die("poll");
    if (wait.revents & POLLOUT)
        flush(stream);
    if (!(wait.revents & (POLLIN | POLLHUP | POLLERR)))
        return r > 0;
    ssize_t n =
        recv(stream->fd, stream->in + stream->in_used, sizeof(stream->in) - stream->in_used, 0);
    if (n == 0)
        errno = ECONNRESET;
    if (n <= 0)
        die("recv");
    stream->in_used += (size_t)n;
    return true;
}

/* The next whole packet at *at, or NULL; moves *at behind it. */
static const uint8_t *
next_packet(const struct stream *stream, size_t *at, size_t *ret_header, size_t *ret_size)
{
    size_t length = 0, i = *at + 1;

    for (unsigned shift = 0;; shift += 7, i++) {
        if (i >= stream->in_used)
            return NULL;
        length |= (size_t)(stream->in[i] & 0x7F) << shift;
        if (!(stream->in[i] & 0x80))
            break;
    }
    *ret_header = i + 1 - *at;
    *ret_size = *ret_header + length;
    if (*at + *ret_size > stream->in_used)
        return NULL;
    const uint8_t *packet = stream->in + *at;
    *at += *ret_size;
    return packet;
}

static void drop_read(struct stream *stream, size_t size)
{
    memmove(stream->in, stream->in + size, stream->in_used - size);
    stream->in_used -= size;
}

static void handshake(struct stream *stream, const char *id)
{
    uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 0};
    size_t id_size = strnlen(id, sizeof(packet) - 14);

    packet[1] = (uint8_t)(12 + id_size);
    packet[13] = (uint8_t)id_size;
    memcpy(packet + 14, id, id_size);
    put(stream, packet, 14 + id_size);
    flush(stream);
    while (stream->in_used < 4)
        (void)fill(stream, 10000);
    if (stream->in[0] != 0x20 || stream->in[3] != 0)
        die("CONNACK refused");
    drop_read(stream, 4);
}

static struct stream *open_stream(const char *address, const char *role)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    char id[32];

    if (!stream)
        die("memory");
    stream->fd = address[0] == '/' ? connect_unix(address) : connect_tcp(address);
    (void)snprintf(id, sizeof(id), "%s-%d", role, (int)getpid());
    handshake(stream, id);
    return stream;
}

/* --- publish ---------------------------------------------------------------------------------
 */

static size_t write_publish(uint8_t *packet, const char *topic, uint64_t sequence, size_t size)
{
    size_t topic_size = strnlen(topic, TOPIC_MAX), length = 2 + topic_size + 2 + size, at = 0;
    uint64_t big = htobe64(sequence);

    packet[at++] = 0x32;
    for (size_t left = length; left > 0 || at == 1; left >>= 7)
        packet[at++] = (uint8_t)((left & 0x7F) | (left > 0x7F ? 0x80 : 0));
    packet[at++] = (uint8_t)(topic_size >> 8);
    packet[at++] = (uint8_t)topic_size;
    memcpy(packet + at, topic, topic_size);
    at += topic_size;
    uint16_t id = (uint16_t)(sequence % 65535 + 1);
    packet[at++] = (uint8_t)(id >> 8);
    packet[at++] = (uint8_t)id;
    memcpy(packet + at, &big, sizeof(big));
    for (size_t i = sizeof(big); i < size; i++)
        packet[at + i] = (uint8_t)(sequence * 31 + i * 131); /* does not compress well */
    return at + size;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t
count_acks(struct stream *stream, uint64_t acked, const int64_t *sent, int64_t *latency)
{
    const uint8_t *packet;
    size_t at = 0, header, size;
    int64_t now = now_ns();

    while ((packet = next_packet(stream, &at, &header, &size))) {
        if (packet[0] != 0x40)
            die("not a PUBACK");
        latency[acked] = now - sent[acked]; /* acknowledgements come in order [MQTT-4.6.0-2] */
        acked++;
    }
    drop_read(stream, at);
    return acked;
}

static int
publish(const char *address, uint64_t count, size_t size, uint64_t window, const char *topic)
{
    static uint8_t packet[PACKET_MAX];
    struct stream *stream = open_stream(address, "load");
    int64_t *sent_ns = calloc(count, sizeof(*sent_ns));
    int64_t *latency_ns = calloc(count, sizeof(*latency_ns));
    uint64_t sent = 0, acked = 0;

    if (!sent_ns || !latency_ns || size < 8 || size > PACKET_MAX - 512)
        die("arguments");
    int64_t start = now_ns();
    while (acked < count) {
        while (sent < count && sent - acked < window &&
               stream->out_used + size + 512 < sizeof(stream->out)) {
            put(stream, packet, write_publish(packet, topic, sent, size));
            sent_ns[sent++] = now_ns();
        }
        flush(stream);
        if (!fill(stream, 120000))
            die("no acknowledgement for 120 s");
        acked = count_acks(stream, acked, sent_ns, latency_ns);
    }
    int64_t end = now_ns();
    size_t half = count / 2, most = count * 99 / 100;
    qsort(latency_ns, count, sizeof(*latency_ns), compare);
    (void)printf("{\"messages\":%" PRIu64 ",\"start_ns\":%" PRId64 ",\"end_ns\":%" PRId64
                 ",\"rate\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
                 count, start, end, (double)count * 1e9 / (double)(end - start),
                 (double)latency_ns[half] / 1e3, (double)latency_ns[most] / 1e3);
    free(sent_ns);
    free(latency_ns);
    free(stream);
    return EXIT_SUCCESS;
}

/* --- greedy
 * ----------------------------------------------------------------------------------- */

struct greedy {
    int fd;
    size_t sent; /* of the block; the rest comes first */
};

static int connect_greedy(const char *address, unsigned number)
{
    char id[32];

    (void)snprintf(id, sizeof(id), "greedy-%u", number);
    struct stream *stream = open_stream(address, id);
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
        die("send");
    if (n > 0)
        greedy->sent = (greedy->sent + (size_t)n) % size;
}

static int greedy(const char *address, unsigned count, size_t size)
{
    static uint8_t block[GREEDY_BLOCK];
    struct greedy *producers = calloc(count, sizeof(*producers));
    struct pollfd *polled = calloc(count, sizeof(*polled));

    if (!producers || !polled || count == 0 || size > 100)
        die("arguments");
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
    die("poll");
}

/* --- subscribe
 * -------------------------------------------------------------------------------- */

struct tally {
    uint8_t *seen;
    uint64_t expected, distinct, repeated, foreign;
    int64_t first_ns, last_ns;
};

static void
count_message(struct tally *tally, const uint8_t *packet, size_t header, size_t size)
{
    size_t topic_size = (size_t)packet[header] << 8 | packet[header + 1];
    size_t at = header + 2 + topic_size + ((packet[0] >> 1 & 3) ? 2 : 0);
    uint64_t sequence;

    if (at + sizeof(sequence) > size) {
        tally->foreign++;
        return;
    }
    memcpy(&sequence, packet + at, sizeof(sequence));
    sequence = be64toh(sequence);
    if (sequence >= tally->expected) {
        tally->foreign++;
    } else if (tally->seen[sequence / 8] & 1u << sequence % 8) {
        tally->repeated++;
    } else {
        tally->seen[sequence / 8] |= (uint8_t)(1u << sequence % 8);
        tally->distinct++;
        tally->last_ns = now_ns();
        if (!tally->first_ns)
            tally->first_ns = tally->last_ns;
    }
}

static void count_messages(struct stream *stream, struct tally *tally)
{
    const uint8_t *packet;
    size_t at = 0, header, size;

    while ((packet = next_packet(stream, &at, &header, &size)))
        if (packet[0] >> 4 == 3)
            count_message(tally, packet, header, size);
    drop_read(stream, at);
}

static int subscribe(const char *address, uint64_t count, int timeout_s)
{
    static const uint8_t everything[] = {0x82, 6, 0, 1, 0, 1, '#', 0};
    struct stream *stream = open_stream(address, "count");
    struct tally tally = {.seen = calloc(count / 8 + 1, 1), .expected = count};
    int64_t deadline = now_ns() + (int64_t)timeout_s * 1000000000;

    if (!tally.seen)
        die("memory");
    put(stream, everything, sizeof(everything));
    flush(stream);
    while (stream->in_used < 5)
        (void)fill(stream, 10000);
    drop_read(stream, 5);
    (void)puts("ready");
    (void)fflush(stdout);
    while (tally.distinct < count && now_ns() < deadline) {
        (void)fill(stream, 100);
        count_messages(stream, &tally);
    }
    (void)printf("{\"distinct\":%" PRIu64 ",\"repeated\":%" PRIu64 ",\"foreign\":%" PRIu64
                 ",\"first_ns\":%" PRId64 ",\"last_ns\":%" PRId64 "}\n",
                 tally.distinct, tally.repeated, tally.foreign, tally.first_ns, tally.last_ns);
    free(tally.seen);
    free(stream);
    return tally.distinct == count ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc >= 6 && strcmp(argv[1], "publish") == 0)
        return publish(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
                       strtoull(argv[5], NULL, 10),
                       argc > 6 ? argv[6] : "bench/plant/line/7/temperature");
    if (argc == 5 && strcmp(argv[1], "greedy") == 0)
        return greedy(argv[2], (unsigned)strtoul(argv[3], NULL, 10),
                      strtoull(argv[4], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "subscribe") == 0)
        return subscribe(argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]));
    (void)fputs("usage: mqtt_load publish ADDRESS COUNT SIZE WINDOW [TOPIC]\n"
                "       mqtt_load greedy ADDRESS PRODUCERS SIZE\n"
                "       mqtt_load subscribe ADDRESS COUNT TIMEOUT_S\n",
                stderr);
    return EXIT_FAILURE;
}
