/* SPDX-License-Identifier: MIT */
/*
 * sink.c - an ideal broker: answers what it has read in one go, and counts what arrived
 *
 *   sink PORT COUNT [CERTIFICATE KEY]
 *
 * MQTT 3.1.1 and 5, QoS 0 to 2, on loopback; with a certificate over TLS. It knows no topics
 * and passes nothing on, so that a gateway is measured, not the broker behind it.
 *
 * Prints "ready", then "connected" for each client, a JSON object when COUNT different messages
 * have arrived, and another one at SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/stream.h"
#include "bench/tally.h"

#define BUFFER_SIZE ((size_t)1024 * 1024)
#define OUT_RESERVE 64 /* more than one answer needs */
#define EVENTS_MAX  16

enum {
    TYPE_CONNECT = 1,
    TYPE_PUBLISH = 3,
    TYPE_PUBREL = 6,
    TYPE_SUBSCRIBE = 8,
    TYPE_UNSUBSCRIBE = 10,
    TYPE_PINGREQ = 12,
    TYPE_DISCONNECT = 14,
};

struct client {
    LIST_ENTRY(client) link;
    int fd;
    SSL *tls; /* NULL: plain */
    bool is_v5;
    size_t in_used, out_used;
    uint8_t in[BUFFER_SIZE];
    uint8_t out[BUFFER_SIZE];
};

struct packet {
    uint8_t first;
    const uint8_t *body;
    size_t size;
};

static struct tally tally;
static LIST_HEAD(, client) clients = LIST_HEAD_INITIALIZER(clients);
static volatile sig_atomic_t is_ended;

static void on_signal(int number)
{
    (void)number;
    is_ended = 1;
}

/* ---- bytes ---- */

static bool would_block(const struct client *client, ssize_t n)
{
    if (!client->tls)
        return errno == EAGAIN || errno == EINTR;
    int error = SSL_get_error(client->tls, (int)n);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* > 0: so many bytes; 0: nothing is there now; -1: the connection has ended. */
static ssize_t client_read(struct client *client)
{
    size_t room = sizeof(client->in) - client->in_used;
    uint8_t *at = client->in + client->in_used;
    ssize_t n =
        client->tls ? SSL_read(client->tls, at, (int)room) : recv(client->fd, at, room, 0);

    if (n > 0)
        return n;
    if (n == 0 && !client->tls)
        return -1;
    return would_block(client, n) ? 0 : -1;
}

static bool client_flush(struct client *client)
{
    for (size_t at = 0; at < client->out_used;) {
        size_t left = client->out_used - at;
        const uint8_t *from = client->out + at;
        ssize_t n = client->tls ? SSL_write(client->tls, from, (int)left)
                                : send(client->fd, from, left, MSG_NOSIGNAL);

        if (n > 0) {
            at += (size_t)n;
        } else if (would_block(client, n)) {
            struct pollfd wait = {.fd = client->fd, .events = POLLOUT};
            (void)poll(&wait, 1, -1);
        } else {
            return false;
        }
    }
    client->out_used = 0;
    return true;
}

static void answer(struct client *client, const void *bytes, size_t size)
{
    memcpy(client->out + client->out_used, bytes, size);
    client->out_used += size;
}

/* ---- packets ---- */

/* The next whole packet at *at; moves *at behind it. */
static bool next_packet(const struct client *client, size_t *at, struct packet *ret_packet)
{
    const uint8_t *start = client->in + *at;
    size_t header;
    size_t size = stream_packet_size(start, client->in_used - *at, &header);

    if (size == 0)
        return false;
    *ret_packet = (struct packet){*start, start + header, size - header};
    *at += size;
    return true;
}

/* Of MQTT 5: the length of the properties at the beginning, with the bytes that encode it. */
static size_t properties_size(const uint8_t *bytes, size_t size)
{
    size_t length = 0;

    for (size_t i = 0; i < size && i < 4; i++) {
        length |= (size_t)(bytes[i] & 0x7F) << 7 * i;
        if (!(bytes[i] & 0x80))
            return i + 1 + length;
    }
    return size;
}

static void on_publish(struct client *client, const struct packet *packet, int64_t now_ns)
{
    unsigned qos = packet->first >> 1 & 3;
    const uint8_t *body = packet->body;
    size_t at = 2 + ((size_t)body[0] << 8 | body[1]);

    if (qos > 0) {
        uint8_t ack[] = {qos == 1 ? 0x40 : 0x50, 2, body[at], body[at + 1]};
        answer(client, ack, sizeof(ack));
        at += 2;
    }
    if (client->is_v5)
        at += properties_size(body + at, packet->size - at);
    tally_add(&tally, body + at, packet->size - at, now_ns);
}

static void on_connect(struct client *client, const struct packet *packet)
{
    static const uint8_t accepted_v5[] = {0x20, 3, 0, 0, 0}, accepted[] = {0x20, 2, 0, 0};

    client->is_v5 = packet->size > 6 && (packet->body[6] & 0x7F) == 5;
    if (client->is_v5)
        answer(client, accepted_v5, sizeof(accepted_v5));
    else
        answer(client, accepted, sizeof(accepted));
    (void)puts("connected");
    (void)fflush(stdout);
}

/* A packet that begins with its identifier; a bridge unsubscribes from what it does not want.
 * False: this broker does not know the packet. */
static bool acknowledge(struct client *client, const struct packet *packet)
{
    const uint8_t *id = packet->body;
    bool is_v5 = client->is_v5;
    uint8_t pubcomp[] = {0x70, 2, id[0], id[1]};
    uint8_t suback_v5[] = {0x90, 4, id[0], id[1], 0, 1}, suback[] = {0x90, 3, id[0], id[1], 1};
    uint8_t unsuback_v5[] = {0xB0, 4, id[0], id[1], 0, 0}, unsuback[] = {0xB0, 2, id[0], id[1]};

    switch (packet->first >> 4) {
    case TYPE_PUBREL:
        answer(client, pubcomp, sizeof(pubcomp));
        return true;
    case TYPE_SUBSCRIBE:
        answer(client, is_v5 ? suback_v5 : suback, is_v5 ? sizeof(suback_v5) : sizeof(suback));
        return true;
    case TYPE_UNSUBSCRIBE:
        answer(client, is_v5 ? unsuback_v5 : unsuback,
               is_v5 ? sizeof(unsuback_v5) : sizeof(unsuback));
        return true;
    default:
        return false;
    }
}

/* False: the client has said DISCONNECT, or what this broker does not know. */
static bool on_packet(struct client *client, const struct packet *packet, int64_t now_ns)
{
    static const uint8_t pingresp[] = {0xD0, 0};
    unsigned type = packet->first >> 4;

    if (type == TYPE_PINGREQ)
        answer(client, pingresp, sizeof(pingresp));
    else if (type == TYPE_DISCONNECT || packet->size < 2)
        return false;
    else if (type == TYPE_PUBLISH)
        on_publish(client, packet, now_ns);
    else if (type == TYPE_CONNECT)
        on_connect(client, packet);
    else
        return acknowledge(client, packet);
    return true;
}

static bool handle_packets(struct client *client)
{
    struct packet packet;
    size_t at = 0;
    int64_t now_ns = bench_now_ns();

    while (next_packet(client, &at, &packet)) {
        if (!on_packet(client, &packet, now_ns))
            return false;
        if (client->out_used + OUT_RESERVE > sizeof(client->out) && !client_flush(client))
            return false;
    }
    memmove(client->in, client->in + at, client->in_used - at);
    client->in_used -= at;
    return client->in_used < sizeof(client->in);
}

static bool handle_and_answer(struct client *client)
{
    uint64_t before = tally.distinct;

    if (!handle_packets(client) || !client_flush(client))
        return false;
    if (before < tally.expected && tally.distinct == tally.expected)
        tally_print(&tally);
    return true;
}

/* Reads what is there; answers it at once. False: the connection has ended. Of TLS all records
 * are read, because what OpenSSL holds already makes no event. */
static bool serve(struct client *client)
{
    for (;;) {
        ssize_t n = client_read(client);

        if (n < 0)
            return false;
        client->in_used += (size_t)n;
        if (n > 0 && client->tls && client->in_used < sizeof(client->in) / 2)
            continue;
        if (!handle_and_answer(client))
            return false;
        if (n == 0 || !client->tls)
            return true;
    }
}

/* ---- connections ---- */

static SSL_CTX *load_certificate(const char *certificate, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (!context || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        bench_die(certificate);
    }
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

static int listen_at(const char *port)
{
    struct sockaddr_in address = bench_loopback(port);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, EVENTS_MAX) < 0)
        bench_die(port);
    return fd;
}

static void accept_client(int poll_fd, int listening_fd, SSL_CTX *context)
{
    int on = 1;
    int fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    struct client *client = calloc(1, sizeof(*client));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (!client)
        bench_die("memory");
    client->fd = fd;
    LIST_INSERT_HEAD(&clients, client, link);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (context) {
        client->tls = SSL_new(context);
        if (!client->tls || SSL_set_fd(client->tls, fd) != 1)
            bench_die("TLS");
        SSL_set_accept_state(client->tls);
    }
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        bench_die("epoll");
}

static void close_client(struct client *client)
{
    LIST_REMOVE(client, link);
    SSL_free(client->tls);
    (void)close(client->fd);
    free(client);
}

static void run(int listening_fd, SSL_CTX *context)
{
    struct epoll_event events[EVENTS_MAX];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listening_fd, &event) < 0)
        bench_die("epoll");
    (void)puts("ready");
    (void)fflush(stdout);
    while (!is_ended) {
        int count = epoll_wait(poll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;

            if (!client)
                accept_client(poll_fd, listening_fd, context);
            else if (!serve(client))
                close_client(client);
        }
    }
    tally_print(&tally);
    while (!LIST_EMPTY(&clients))
        close_client(LIST_FIRST(&clients));
    (void)close(poll_fd);
}

int main(int argc, char **argv)
{
    const struct sigaction end = {.sa_handler = on_signal};

    if (argc != 3 && argc != 5) {
        (void)fputs("usage: sink PORT COUNT [CERTIFICATE KEY]\n", stderr);
        return EXIT_FAILURE;
    }
    (void)sigaction(SIGTERM, &end, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    SSL_CTX *context = argc == 5 ? load_certificate(argv[3], argv[4]) : NULL;
    int listening_fd = listen_at(argv[1]);
    tally_init(&tally, strtoull(argv[2], NULL, 10));
    run(listening_fd, context);
    tally_deinit(&tally);
    SSL_CTX_free(context);
    (void)close(listening_fd);
    return EXIT_SUCCESS;
}
