/* SPDX-License-Identifier: MIT */
/*
 * paho_tls.c - certificates of a broker without a name; the connection's bytes in few records
 *
 * With TLS each packet would be a record of its own, with 22 bytes and more beside it. Here the
 * packets that are gathered share records, and all records that are here are read together.
 *
 * Invariant: a certificate is checked by OpenSSL alone; what changes is how the address is
 * written. What OpenSSL could not write is repeated with the same bytes, before all others.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <sys/uio.h>

#include "daemon/uplink/paho/in_buffer.h"
#include "daemon/uplink/paho/out_buffer.h"

/* A record has no more. */
#define RECORD_BYTES ((size_t)16 << 10)

int __wrap_X509_check_ip_asc(X509 *certificate, const char *address, unsigned flags);
int __wrap_SSL_read(SSL *ssl, void *to, int size);
int __wrap_SSL_write(SSL *ssl, const void *from, int size);
int __wrap_SSL_pending(const SSL *ssl);
int __wrap_SSL_get_error(const SSL *ssl, int result);
int __wrap_SSL_shutdown(SSL *ssl);

int __real_X509_check_ip_asc(X509 *certificate, const char *address, unsigned flags);
int __real_SSL_read(SSL *ssl, void *to, int size);
int __real_SSL_write(SSL *ssl, const void *from, int size);
int __real_SSL_pending(const SSL *ssl);
int __real_SSL_get_error(const SSL *ssl, int result);
int __real_SSL_shutdown(SSL *ssl);

/*
 * The broker without a name: of an IPv6 address in the URI Paho leaves the opening bracket, and
 * OpenSSL finds no address in that (upstream: none known). So no certificate was right.
 */
int __wrap_X509_check_ip_asc(X509 *certificate, const char *address, unsigned flags)
{
    char text[PAHO_LINK_ADDRESS_MAX];

    if (address[0] != '[' || strlen(address) > sizeof(text))
        return __real_X509_check_ip_asc(certificate, address, flags);
    size_t size = strcspn(address + 1, "]");
    memcpy(text, address + 1, size);
    text[size] = '\0';
    return __real_X509_check_ip_asc(certificate, text, flags);
}

/* --- the connection's bytes -------------------------------------------------- */

/* OpenSSL allows one thread at a time; Paho's mutex is not held when what was gathered is
 * written. */
static struct {
    pthread_mutex_t mutex;
    SSL *ssl;
    unsigned connection; /* for which ssl is used */
} tls = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* How the last call of this thread ended: another thread may have called meanwhile. */
static _Thread_local struct {
    const SSL *ssl;
    unsigned connection;
    int error;
} last_call;

/* The mutex is held. A handshake in the middle of a connection ends it, as with Paho. */
static ssize_t write_record(SSL *ssl, const void *data, size_t size)
{
    int fd = SSL_get_fd(ssl);

    ERR_clear_error();
    paho_traffic_before_write(fd, BIO_number_written(SSL_get_wbio(ssl)));
    ssize_t n = __real_SSL_write(ssl, data, (int)size);
    if (n <= 0)
        n = __real_SSL_get_error(ssl, (int)n) == SSL_ERROR_WANT_WRITE ? -EAGAIN : -EPIPE;
    paho_traffic_after_tls(n, BIO_number_written(SSL_get_wbio(ssl)));
    return n;
}

static ssize_t write_gathered(void *userdata, const uint8_t *data, size_t size)
{
    (void)pthread_mutex_lock(&tls.mutex);
    ssize_t n = write_record(userdata, data, size);
    (void)pthread_mutex_unlock(&tls.mutex);
    return n;
}

static ssize_t write_packet(const struct paho_packet *packet)
{
    return write_gathered(packet->userdata, packet->parts->iov_base, packet->parts->iov_len);
}

static ssize_t read_record(void *userdata, uint8_t *data, size_t size)
{
    (void)pthread_mutex_lock(&tls.mutex);
    ERR_clear_error();
    ssize_t n = __real_SSL_read(userdata, data, (int)size);
    int error = n > 0 ? SSL_ERROR_NONE : __real_SSL_get_error(userdata, (int)n);
    (void)pthread_mutex_unlock(&tls.mutex);
    if (n > 0)
        return n;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -ECONNRESET;
}

static bool has_record(void *userdata)
{
    (void)pthread_mutex_lock(&tls.mutex);
    bool has_pending = SSL_has_pending(userdata) == 1;
    (void)pthread_mutex_unlock(&tls.mutex);
    return has_pending;
}

/* The mutex is held. */
static bool is_used(const SSL *ssl)
{
    return tls.ssl == ssl && tls.connection == paho_traffic_connection();
}

/* Return: is it the connection that Paho made last? The handshake was before the first call. */
static bool use(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    if (fd < 0 || fd != paho_traffic_fd())
        return false;
    (void)pthread_mutex_lock(&tls.mutex);
    bool is_new = !is_used(ssl);
    if (is_new) {
        tls.ssl = ssl;
        tls.connection = paho_traffic_connection();
        SSL_set_read_ahead(ssl, 1);
    }
    (void)pthread_mutex_unlock(&tls.mutex);
    if (is_new) {
        const struct in_source source = {
            .read = read_record, .has_more = has_record, .userdata = ssl};
        const struct out_sink sink = {
            .write = write_gathered, .piece_max = RECORD_BYTES, .userdata = ssl};

        paho_traffic_use_tls();
        paho_stream_use(&source, &sink);
    }
    return true;
}

/* Return: as a function of OpenSSL; @wanted: with -EAGAIN. */
static int as_openssl(const SSL *ssl, ssize_t n, int wanted)
{
    last_call.ssl = ssl;
    last_call.connection = paho_traffic_connection();
    if (n > 0)
        last_call.error = SSL_ERROR_NONE;
    else if (n == 0)
        last_call.error = SSL_ERROR_ZERO_RETURN;
    else
        last_call.error = n == -EAGAIN ? wanted : SSL_ERROR_SYSCALL;
    return n >= 0 ? (int)n : -1;
}

int __wrap_SSL_write(SSL *ssl, const void *from, int size)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)from, .iov_len = (size_t)size};
    const struct paho_packet packet = {
        .parts = &part, .count = 1, .write = write_packet, .userdata = ssl};

    if (!use(ssl))
        return __real_SSL_write(ssl, from, size);
    return as_openssl(ssl, paho_stream_write(&packet), SSL_ERROR_WANT_WRITE);
}

int __wrap_SSL_read(SSL *ssl, void *to, int size)
{
    if (!use(ssl))
        return __real_SSL_read(ssl, to, size);
    return as_openssl(ssl, paho_stream_read(to, (size_t)size), SSL_ERROR_WANT_READ);
}

int __wrap_SSL_get_error(const SSL *ssl, int result)
{
    return last_call.ssl == ssl && last_call.connection == paho_traffic_connection()
               ? last_call.error
               : __real_SSL_get_error(ssl, result);
}

/* Paho's own list of what has more to read is not needed, see paho_wait.c. */
int __wrap_SSL_pending(const SSL *ssl)
{
    (void)pthread_mutex_lock(&tls.mutex);
    int pending = is_used(ssl) ? 0 : __real_SSL_pending(ssl);
    (void)pthread_mutex_unlock(&tls.mutex);
    return pending;
}

/* Paho's way to close; then it frees it. */
int __wrap_SSL_shutdown(SSL *ssl)
{
    if (use(ssl))
        paho_stream_close();
    last_call.ssl = NULL;
    return __real_SSL_shutdown(ssl);
}
