/* SPDX-License-Identifier: MIT */
/*
 * paho_handshake.c - the handshake of TLS: what Paho has no setting for, and does not report
 *
 * SSL_connect() is called by one function of Paho's (SSLSocket.c), again and again until the
 * handshake is over, on a thread of Paho's. Nothing else of OpenSSL is replaced, and
 * whether a certificate is accepted is not changed: the function that is called for each
 * error returns what it was given.
 *
 * Invariant: what is shared with the loop is read and written under the mutex.
 */
#include "daemon/uplink/paho/paho_handshake.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct {
    pthread_mutex_t mutex;
    enum paho_handshake_minimum minimum;
    unsigned char alpn[1 + PAHO_HANDSHAKE_ALPN_MAX]; /* with its length in front; 0: none */
    struct paho_handshake_failure failure;           /* the first of an attempt counts */
    bool is_complete;
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void paho_handshake_begin(enum paho_handshake_minimum minimum, const char *alpn)
{
    size_t size = strnlen(alpn, PAHO_HANDSHAKE_ALPN_MAX);

    (void)pthread_mutex_lock(&shared.mutex);
    shared.minimum = minimum;
    shared.alpn[0] = (unsigned char)size;
    memcpy(shared.alpn + 1, alpn, size);
    shared.failure = (struct paho_handshake_failure){.fault = PAHO_HANDSHAKE_NONE};
    shared.is_complete = false;
    (void)pthread_mutex_unlock(&shared.mutex);
}

bool paho_handshake_get_failure(struct paho_handshake_failure *ret)
{
    (void)pthread_mutex_lock(&shared.mutex);
    bool is_known = shared.failure.fault != PAHO_HANDSHAKE_NONE;
    if (is_known)
        *ret = shared.failure;
    (void)pthread_mutex_unlock(&shared.mutex);
    return is_known;
}

bool paho_handshake_is_complete(void)
{
    (void)pthread_mutex_lock(&shared.mutex);
    bool is_complete = shared.is_complete;
    (void)pthread_mutex_unlock(&shared.mutex);
    return is_complete;
}

bool paho_handshake_is_replaced(void)
{
    return true;
}

int __real_SSL_connect(SSL *ssl);
int __wrap_SSL_connect(SSL *ssl);

static void keep_failure(const struct paho_handshake_failure *failure)
{
    (void)pthread_mutex_lock(&shared.mutex);
    if (shared.failure.fault == PAHO_HANDSHAKE_NONE)
        shared.failure = *failure;
    (void)pthread_mutex_unlock(&shared.mutex);
}

/* --- the broker's certificate --------------------------------------------- */

static void put_name(const X509_NAME *name, char text[static PAHO_HANDSHAKE_NAME_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    int size = 0;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        size = BIO_read(bio, text, PAHO_HANDSHAKE_NAME_MAX - 1);
    text[size > 0 ? size : 0] = '\0';
    BIO_free(bio);
}

/* 0: it is no time. */
static int64_t time_ms(const ASN1_TIME *at)
{
    struct tm tm;

    return at && ASN1_TIME_to_tm(at, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static enum paho_handshake_fault fault_of(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return PAHO_HANDSHAKE_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return PAHO_HANDSHAKE_NOT_YET_VALID;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        return PAHO_HANDSHAKE_UNTRUSTED;
    default:
        return PAHO_HANDSHAKE_UNVERIFIED;
    }
}

static int on_verified(int is_good, X509_STORE_CTX *context)
{
    X509 *certificate = X509_STORE_CTX_get_current_cert(context);
    int error = X509_STORE_CTX_get_error(context);
    struct paho_handshake_failure failure = {.fault = fault_of(error)};

    if (is_good)
        return is_good;
    (void)snprintf(failure.detail, sizeof(failure.detail), "%s",
                   X509_verify_cert_error_string(error));
    if (certificate) {
        put_name(X509_get_subject_name(certificate), failure.subject);
        put_name(X509_get_issuer_name(certificate), failure.issuer);
        failure.date_ms =
            time_ms(failure.fault == PAHO_HANDSHAKE_EXPIRED ? X509_get0_notAfter(certificate)
                                                            : X509_get0_notBefore(certificate));
    }
    keep_failure(&failure);
    return is_good;
}

/* The names that the certificate is for, as many as there is room for. */
static void put_alternatives(const X509 *certificate, char text[static PAHO_HANDSHAKE_NAME_MAX])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    int count = sk_GENERAL_NAME_num(names); /* -1: there are none */
    int size = 0;

    for (int i = 0; bio && i < count; i++) {
        (void)BIO_puts(bio, i > 0 ? ", " : "");
        (void)GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i));
    }
    if (bio)
        size = BIO_read(bio, text, PAHO_HANDSHAKE_NAME_MAX - 1);
    text[size > 0 ? size : 0] = '\0';
    BIO_free(bio);
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
}

/* The name for which Paho asked, without the brackets of an address; "": not known. */
static void get_host(const SSL *ssl, char host[static PAHO_HANDSHAKE_ALPN_MAX + 1])
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    bool has_bracket = name && name[0] == '[';

    (void)snprintf(host, PAHO_HANDSHAKE_ALPN_MAX + 1, "%s", name ? name + has_bracket : "");
    if (has_bracket)
        host[strcspn(host, "]")] = '\0';
}

/* Paho closes the connection if this is so, without a reason. */
static void check_name(const SSL *ssl)
{
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    struct paho_handshake_failure failure = {.fault = PAHO_HANDSHAKE_NAME};
    char host[PAHO_HANDSHAKE_ALPN_MAX + 1];

    if (!certificate)
        return;
    get_host(ssl, host);
    if (X509_check_host(certificate, host, strlen(host), 0, NULL) != 1 &&
        X509_check_ip_asc(certificate, host, 0) != 1) {
        put_name(X509_get_subject_name(certificate), failure.subject);
        put_alternatives(certificate, failure.detail);
        keep_failure(&failure);
    }
    X509_free(certificate);
}

/* --- the handshake -------------------------------------------------------- */

/* With TLS 1.3 a broker refuses the client's certificate after the handshake. */
static void on_info(const SSL *ssl, int where, int value)
{
    struct paho_handshake_failure failure = {.fault = PAHO_HANDSHAKE_ALERT,
                                             .alert = value & 0xFF};

    (void)ssl;
    if ((where & SSL_CB_READ_ALERT) != SSL_CB_READ_ALERT || value >> 8 != SSL3_AL_FATAL)
        return;
    (void)snprintf(failure.detail, sizeof(failure.detail), "%s",
                   SSL_alert_desc_string_long(value));
    keep_failure(&failure);
}

static void prepare(SSL *ssl)
{
    (void)pthread_mutex_lock(&shared.mutex);
    bool is_1_3 = shared.minimum == PAHO_HANDSHAKE_1_3;
    unsigned char alpn[sizeof(shared.alpn)];
    memcpy(alpn, shared.alpn, sizeof(alpn));
    (void)pthread_mutex_unlock(&shared.mutex);

    /* Without a check the function would be called too, and nothing come of it. */
    if (SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
        SSL_set_verify(ssl, SSL_get_verify_mode(ssl), on_verified);
    SSL_set_info_callback(ssl, on_info);
    /* Both fail only without memory: then the handshake fails as well. */
    (void)SSL_set_min_proto_version(ssl, is_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (alpn[0] > 0)
        (void)SSL_set_alpn_protos(ssl, alpn, 1U + alpn[0]);
}

static void note_complete(void)
{
    (void)pthread_mutex_lock(&shared.mutex);
    shared.is_complete = true;
    (void)pthread_mutex_unlock(&shared.mutex);
}

int __wrap_SSL_connect(SSL *ssl)
{
    if (SSL_in_before(ssl))
        prepare(ssl);
    int r = __real_SSL_connect(ssl);
    if (r == 1)
        note_complete();
    if (r == 1 && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
        check_name(ssl);
    return r;
}
