/* SPDX-License-Identifier: MIT */
/*
 * test_paho_tls.c - a connection over TLS carries what Paho wrote and what the peer sent
 *
 * The cases call as Paho does, by the names of OpenSSL: the linker redirects them. The peer is
 * a server of OpenSSL's in this thread; its calls pass, because its connection is not Paho's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/uplink/paho/out_buffer.h"
#include "daemon/uplink/paho/paho_link-private.h"
#include "daemon/uplink/paho/paho_link.h"
#include "tests/support/emulated.h"
#include "tests/support/stream_fixture.h"

#define PACKET 1000u
/* More than the kernel's buffers of both ends and the gathered bytes. */
#define MOST           (64u << 20)
#define TLS_RECORD_MAX 16384

int SSLSocket_getPendingRead(void);
void *Thread_create_cond(int *ret_code);
void Thread_destroy_cond(void *condition);
int Thread_wait_cond(void *condition, int timeout_ms);

static void *condition;
static SSL_CTX *contexts[2];
static SSL *ours;
static SSL *theirs;
static int version; /* of TLS; 0: any */

static void self_sign(SSL_CTX *context)
{
    X509 *certificate = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");

    assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void shake_hands(struct fixture *f)
{
    int r = -1;
    int s = -1;

    assert_int_equal(fcntl(f->peer, F_SETFL, O_NONBLOCK), 0);
    ours = SSL_new(contexts[0]);
    theirs = SSL_new(contexts[1]);
    assert_int_equal(SSL_set_fd(ours, f->fd), 1);
    assert_int_equal(SSL_set_fd(theirs, f->peer), 1);
    while (r != 1 || s != 1) {
        struct pollfd waits[2] = {{.fd = f->fd, .events = POLLIN},
                                  {.fd = f->peer, .events = POLLIN}};

        if (r != 1)
            r = SSL_connect(ours);
        if (s != 1)
            s = SSL_accept(theirs);
        if (r != 1 || s != 1)
            assert_true(poll(waits, 2, PATIENCE_MS) > 0);
    }
}

static int setup_tls(void **state)
{
    int code = -1;

    condition = Thread_create_cond(&code);
    contexts[0] = SSL_CTX_new(TLS_client_method());
    contexts[1] = SSL_CTX_new(TLS_server_method());
    self_sign(contexts[1]);
    assert_int_equal(SSL_CTX_set_max_proto_version(contexts[1], version), 1);
    /* As Paho does. */
    (void)SSL_CTX_set_mode(contexts[0], SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int r = setup(state);
    shake_hands(*state);
    (void)Thread_wait_cond(condition, 0); /* from now on this thread may gather */
    return r;
}

static int setup_1_2(void **state)
{
    version = TLS1_2_VERSION;
    int r = setup_tls(state);
    version = 0;
    return r;
}

static int teardown_tls(void **state)
{
    paho_stream_gather(false);
    (void)SSL_shutdown(ours);
    SSL_free(ours);
    SSL_free(theirs);
    SSL_CTX_free(contexts[0]);
    SSL_CTX_free(contexts[1]);
    Thread_destroy_cond(condition);
    return teardown(state);
}

/* Return: as SSL_write(). */
static int put(struct fixture *f, size_t size)
{
    static uint8_t bytes[2 * OUT_BUFFER_BYTES];

    fill_bytes(f, bytes, size);
    int n = SSL_write(ours, bytes, (int)size);
    if (n > 0)
        f->written += (uint64_t)n;
    return n;
}

static void publish(struct fixture *f, size_t size)
{
    paho_stream_gather(true);
    assert_int_equal(put(f, size), size);
    paho_stream_gather(false);
}

/* Return: bytes of one record; 0: none is here. */
static int peer_read(struct fixture *f)
{
    uint8_t bytes[TLS_RECORD_MAX];
    int n = SSL_read(theirs, bytes, sizeof(bytes));

    if (n <= 0)
        return 0;
    take_bytes(f, bytes, (size_t)n);
    return n;
}

static void expect_arrived(struct fixture *f, uint64_t bytes)
{
    while (f->arrived < bytes) {
        if (peer_read(f) == 0)
            wait_readable(f->peer);
    }
    assert_int_equal(f->arrived, bytes);
    assert_int_equal(peer_read(f), 0);
}

static void tls_send(const char *text)
{
    assert_int_equal(SSL_write(theirs, text, (int)strlen(text)), strlen(text));
}

/* Until all is here that the peer has written. */
static void wait_all_received(const struct fixture *f)
{
    wait_received(f->fd, (int)(BIO_number_written(SSL_get_wbio(theirs)) -
                               BIO_number_read(SSL_get_rbio(ours))));
}

/* What comes with TLS 1.3 after the handshake is no byte of a packet. */
static void tls_expect(struct fixture *f, const char *text)
{
    while (*text != '\0') {
        char c = 0;
        int n = SSL_read(ours, &c, 1);

        if (n == 1) {
            assert_int_equal(c, *text++);
            continue;
        }
        assert_int_equal(SSL_get_error(ours, n), SSL_ERROR_WANT_READ);
        wait_readable(f->fd);
    }
}

/* The peer reads nothing: until the kernel takes no more and the buffer is full. */
static void fill(struct fixture *f)
{
    int64_t deadline_ms = now_ms() + PATIENCE_MS;
    bool was_stuck;

    paho_stream_gather(true);
    do {
        was_stuck = is_stuck(f);
        while (put(f, PACKET) > 0) {
            assert_true(f->written < MOST);
            was_stuck = false;
        }
        assert_int_equal(SSL_get_error(ours, -1), SSL_ERROR_WANT_WRITE);
        assert_true(now_ms() < deadline_ms);
    } while (!was_stuck);
    paho_stream_gather(false);
}

/* --- what is written --------------------------------------------------------- */

static void what_is_gathered_shares_a_record(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 10; i++)
        publish(f, 100);
    assert_int_equal(paho_stream_position(), 1000);
    assert_int_equal(paho_traffic_wire_end(1), UINT64_MAX);
    assert_int_equal(peer_read(f), 0);
    assert_int_equal(Thread_wait_cond(condition, 0), ETIMEDOUT);
    int n = 0;
    while (n == 0) {
        wait_readable(f->peer);
        n = peer_read(f);
    }
    assert_int_equal(n, 1000);
    assert_true(paho_traffic_wire_end(1) > 1000);
    assert_int_equal(paho_traffic_wire_end(1000), paho_traffic_written());
}

static void all_else_is_written_at_once_behind_what_was_gathered(void **state)
{
    struct fixture *f = *state;

    publish(f, 100);
    assert_int_equal(put(f, 20), 20);
    expect_arrived(f, 120);
    assert_int_equal(paho_traffic_wire_end(120), paho_traffic_written());
    assert_true(paho_traffic_wire_end(100) < paho_traffic_written());
}

/* Its bytes are on the wire when the peer has taken all of its record. */
static void the_peer_takes_what_is_on_the_wire(void **state)
{
    struct fixture *f = *state;
    struct paho_link_traffic traffic = {.taken = 0};

    need_tcp_info();
    publish(f, 5000);
    (void)Thread_wait_cond(condition, 0);
    expect_arrived(f, 5000);
    while (traffic.taken < paho_traffic_wire_end(5000))
        assert_true(paho_link_get_traffic(&traffic));
    assert_int_equal(traffic.taken, paho_traffic_written());
}

static void a_peer_that_reads_nothing_makes_writes_incomplete(void **state)
{
    struct fixture *f = *state;

    fill(f);
    assert_true(paho_stream_has_pending_write());
    assert_int_equal(paho_stream_flush_before_wait(), f->fd);
    assert_int_equal(put(f, PACKET), -1);
    assert_int_equal(SSL_get_error(ours, -1), SSL_ERROR_WANT_WRITE);
    while (!paho_stream_flush()) {
        wait_moved(f);
        (void)peer_read(f);
    }
    assert_int_equal(paho_stream_flush_before_wait(), -1);
    assert_int_equal(put(f, 100), 100);
    assert_false(paho_stream_has_pending_write());
    expect_arrived(f, f->written);
}

static void a_packet_larger_than_the_buffer_arrives(void **state)
{
    struct fixture *f = *state;
    size_t before = 100;
    size_t size = OUT_BUFFER_BYTES + 5000;
    int n;

    publish(f, before);
    paho_stream_gather(true);
    while ((n = put(f, size)) < 0) {
        assert_int_equal(SSL_get_error(ours, n), SSL_ERROR_WANT_WRITE);
        (void)peer_read(f);
    }
    paho_stream_gather(false);
    expect_arrived(f, before + size);
}

static void the_reading_side_finds_a_write_that_failed(void **state)
{
    struct fixture *f = *state;
    char c;

    publish(f, 100);
    reset_by_peer(f);
    wait_reset(f->fd);
    (void)Thread_wait_cond(condition, 0);
    assert_int_equal(paho_stream_position(), UINT64_MAX);
    int n = SSL_read(ours, &c, 1);
    assert_true(n <= 0 && SSL_get_error(ours, n) != SSL_ERROR_WANT_READ);
    assert_int_equal(put(f, 100), -1);
    assert_int_equal(SSL_get_error(ours, -1), SSL_ERROR_SYSCALL);
}

/* --- what is read ------------------------------------------------------------ */

static void all_records_that_are_here_are_read_together(void **state)
{
    struct fixture *f = *state;
    char c;

    for (unsigned i = 0; i < 3; i++)
        tls_send("abcd");
    wait_all_received(f);
    tls_expect(f, "ab");
    assert_int_equal(SSL_pending(ours), 0); /* so that Paho keeps no list of its own */
    assert_int_equal(SSLSocket_getPendingRead(), f->fd);
    wait_readable(f->fd);
    tls_expect(f, "cdabcdabcd");
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    assert_int_equal(SSL_read(ours, &c, 1), -1);
    assert_int_equal(SSL_get_error(ours, -1), SSL_ERROR_WANT_READ);
}

/* The record that a packet begins in is not complete yet. */
static void a_part_of_a_record_waits_for_the_rest(void **state)
{
    struct fixture *f = *state;
    BIO *memory = BIO_new(BIO_s_mem());
    BIO *wire = SSL_get_wbio(theirs);
    char record[200];
    char c;

    assert_int_equal(BIO_up_ref(wire), 1);
    SSL_set0_wbio(theirs, memory);
    tls_send("abcd");
    tls_send("efgh");
    int size = BIO_read(memory, record, sizeof(record));
    SSL_set0_wbio(theirs, wire);
    assert_true(size > 20);
    assert_int_equal(send(f->peer, record, (size_t)size - 10, MSG_NOSIGNAL), size - 10);
    wait_readable(f->fd);
    tls_expect(f, "abcd");
    assert_int_equal(SSL_read(ours, &c, 1), -1);
    assert_int_equal(SSL_get_error(ours, -1), SSL_ERROR_WANT_READ);
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    assert_int_equal(send(f->peer, record + size - 10, 10, MSG_NOSIGNAL), 10);
    wait_readable(f->fd);
    tls_expect(f, "efgh");
}

static void the_end_comes_behind_what_was_read(void **state)
{
    struct fixture *f = *state;
    char c;

    tls_send("abcd");
    (void)SSL_shutdown(theirs);
    wait_all_received(f);
    tls_expect(f, "abcd");
    assert_int_equal(SSLSocket_getPendingRead(), f->fd);
    assert_int_equal(SSL_read(ours, &c, 1), 0);
    assert_int_equal(SSL_get_error(ours, 0), SSL_ERROR_ZERO_RETURN);
}

static void nothing_is_read_while_a_write_is_incomplete(void **state)
{
    struct fixture *f = *state;

    tls_send("abcd");
    wait_readable(f->fd);
    tls_expect(f, "a");
    fill(f);
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    wait_readable(f->fd);
    while (!paho_stream_flush()) {
        wait_moved(f);
        (void)peer_read(f);
    }
    assert_int_equal(put(f, 100), 100);
    assert_int_equal(SSLSocket_getPendingRead(), f->fd);
    tls_expect(f, "bcd");
}

/* --- two threads, and the end ------------------------------------------------ */

#define PINGS 2000u

static void *read_pings(void *userdata)
{
    struct fixture *f = userdata;
    char c = 0;

    for (unsigned got = 0; got < PINGS;) {
        int n = SSL_read(ours, &c, 1);

        if (n == 1) {
            got++;
            continue;
        }
        /* Were the other thread's call taken for this one, it would be an error. */
        assert_int_equal(SSL_get_error(ours, n), SSL_ERROR_WANT_READ);
        wait_readable(f->fd);
    }
    return NULL;
}

static void one_thread_reads_while_another_writes(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, read_pings, f), 0);
    for (unsigned i = 0; i < PINGS; i++) {
        publish(f, 100);
        (void)Thread_wait_cond(condition, 0);
        while (f->arrived < f->written)
            (void)peer_read(f);
        tls_send("x");
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *write_packet(void *userdata)
{
    assert_int_equal(put(userdata, 100), 100);
    return NULL;
}

/* OpenSSL knows only how the last call of all threads ended. */
static void an_error_is_that_of_the_thread_s_own_call(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    char c;

    tls_send("x");
    tls_expect(f, "x");
    assert_int_equal(SSL_read(ours, &c, 1), -1);
    assert_int_equal(pthread_create(&thread, NULL, write_packet, f), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(SSL_get_error(ours, -1), SSL_ERROR_WANT_READ);
}

static void the_end_of_a_connection_writes_what_was_gathered(void **state)
{
    struct fixture *f = *state;

    publish(f, 100);
    assert_int_equal(SSL_shutdown(ours), 0);
    expect_arrived(f, 100);
    while (SSL_get_shutdown(theirs) != SSL_RECEIVED_SHUTDOWN) {
        wait_readable(f->peer);
        assert_int_equal(peer_read(f), 0);
    }
}

/* OpenSSL may make it at the same address. */
static void a_new_connection_has_nothing_of_the_last_one(void **state)
{
    struct fixture *f = *state;

    tls_send("abcd");
    wait_readable(f->fd);
    tls_expect(f, "a");
    fill(f);
    (void)SSL_shutdown(ours);
    SSL_free(ours);
    SSL_free(theirs);
    (void)shutdown(f->fd, SHUT_WR);
    (void)close(f->fd);
    (void)close(f->peer);
    open_connection(f);
    shake_hands(f);
    assert_false(paho_stream_has_input());
    assert_false(paho_stream_has_pending_write());
    publish(f, 100);
    (void)Thread_wait_cond(condition, 0);
    expect_arrived(f, 100);
    tls_send("x");
    wait_readable(f->fd);
    tls_expect(f, "x");
    assert_int_equal(paho_traffic_wire_end(100), paho_traffic_written());
}

#define CASE(name)     cmocka_unit_test_setup_teardown(name, setup_tls, teardown_tls)
#define CASE_1_2(name) cmocka_unit_test_setup_teardown(name, setup_1_2, teardown_tls)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_gathered_shares_a_record),
        CASE_1_2(what_is_gathered_shares_a_record),
        CASE(all_else_is_written_at_once_behind_what_was_gathered),
        CASE(the_peer_takes_what_is_on_the_wire),
        CASE_1_2(the_peer_takes_what_is_on_the_wire),
        CASE(a_peer_that_reads_nothing_makes_writes_incomplete),
        CASE_1_2(a_peer_that_reads_nothing_makes_writes_incomplete),
        CASE(a_packet_larger_than_the_buffer_arrives),
        CASE(the_reading_side_finds_a_write_that_failed),
        CASE(all_records_that_are_here_are_read_together),
        CASE_1_2(all_records_that_are_here_are_read_together),
        CASE(a_part_of_a_record_waits_for_the_rest),
        CASE_1_2(a_part_of_a_record_waits_for_the_rest),
        CASE(the_end_comes_behind_what_was_read),
        CASE(nothing_is_read_while_a_write_is_incomplete),
        CASE(one_thread_reads_while_another_writes),
        CASE(an_error_is_that_of_the_thread_s_own_call),
        CASE(the_end_of_a_connection_writes_what_was_gathered),
        CASE(a_new_connection_has_nothing_of_the_last_one),
    };

    return cmocka_run_group_tests(tests, setup_library, teardown_library);
}
