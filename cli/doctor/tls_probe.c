/* SPDX-License-Identifier: MIT */
/*
 * tls_probe.c - a TLS connection that is looked at, not only used
 */
#include "cli/doctor/tls_probe.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/doctor/net.h"
#include "daemon/tls/tls_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct tls_probe {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    char error[TLS_PROBE_TEXT_MAX];
};

/* ---- what the handshake shows ---- */

static void note_fault(struct tls_probe_seen *seen, int error)
{
    switch (error) {
    case X509_V_OK:
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        seen->is_expired = true;
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        seen->is_not_yet_valid = true;
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        seen->is_other_name = true;
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
        seen->is_unknown_issuer = true;
        break;
    default:
        text_format(seen->other_fault, sizeof(seen->other_fault), "%s",
                    X509_verify_cert_error_string(error));
    }
}

/* Continues in any case: further certificates may have further faults. */
static int on_verify(int is_good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_probe_seen *seen = ssl ? SSL_get_app_data(ssl) : NULL;

    if (!is_good && seen)
        note_fault(seen, X509_STORE_CTX_get_error(store));
    return 1;
}

static int64_t time_of(const ASN1_TIME *at)
{
    struct tm tm;

    return at && ASN1_TIME_to_tm(at, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void copy_name(const X509_NAME *name, char text[static TLS_PROBE_TEXT_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    long size = 0;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        size = BIO_get_mem_data(bio, &data);
    text_format(text, TLS_PROBE_TEXT_MAX, "%.*s", (int)size, data ? data : "");
    BIO_free(bio);
}

static void copy_alternative_names(const X509 *certificate,
                                   char text[static TLS_PROBE_TEXT_MAX])
{
    GENERAL_NAMES *names =
        X509_get_ext_d2i((X509 *)(uintptr_t)certificate, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;

    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        BIO *bio = BIO_new(BIO_s_mem());
        char *data = NULL;
        long size = 0;

        if (bio && GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i)) == 1)
            size = BIO_get_mem_data(bio, &data);
        text_append(text, TLS_PROBE_TEXT_MAX, "%s%.*s", i > 0 ? ", " : "", (int)size,
                    data ? data : "");
        BIO_free(bio);
    }
    GENERAL_NAMES_free(names);
}

static void note_chain(const SSL *ssl, struct tls_probe_seen *seen)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    int count = chain ? sk_X509_num(chain) : 0;

    for (int i = 0; i < count && i < TLS_PROBE_CHAIN_MAX; i++) {
        const X509 *certificate = sk_X509_value(chain, i);
        struct tls_probe_certificate *entry = &seen->chain[seen->chain_count++];

        copy_name(X509_get_subject_name(certificate), entry->subject);
        copy_name(X509_get_issuer_name(certificate), entry->issuer);
        entry->from_ms = time_of(X509_get0_notBefore(certificate));
        entry->until_ms = time_of(X509_get0_notAfter(certificate));
        if (i == 0)
            copy_alternative_names(certificate, seen->names);
    }
    text_format(seen->version, sizeof(seen->version), "%s", SSL_get_version(ssl));
    text_format(seen->cipher, sizeof(seen->cipher), "%s", SSL_get_cipher_name(ssl));
}

/* ---- settings ---- */

static void take_error(char text[static TLS_PROBE_TEXT_MAX], const char *otherwise)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    text_format(text, TLS_PROBE_TEXT_MAX, "%s", reason ? reason : otherwise);
    ERR_clear_error();
}

static bool
use_files(SSL_CTX *ctx, const struct uplink_tls_settings *settings, const char *key_password)
{
    SSL_CTX_set_default_passwd_cb(ctx, tls_give_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, (void *)(uintptr_t)key_password);
    if (settings->ca_file[0] != '\0'
            ? SSL_CTX_load_verify_locations(ctx, settings->ca_file, NULL) != 1
            : SSL_CTX_set_default_verify_paths(ctx) != 1)
        return false;
    if (settings->cert_file[0] != '\0' &&
        SSL_CTX_use_certificate_chain_file(ctx, settings->cert_file) != 1)
        return false;
    const char *key = settings->key_file[0] != '\0' ? settings->key_file : settings->cert_file;
    return key[0] == '\0' || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
}

static bool use_alpn(SSL *ssl, const char *alpn)
{
    unsigned char list[256];
    size_t size = strlen(alpn);

    if (size == 0)
        return true;
    if (size >= sizeof(list))
        return false;
    list[0] = (unsigned char)size;
    memcpy(list + 1, alpn, size);
    return SSL_set_alpn_protos(ssl, list, (unsigned)size + 1) == 0;
}

static bool use_host(SSL *ssl, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    AUTO_FREE char *name = NULL; /* OpenSSL's macro takes no const */

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    name = strdup(host);
    return name && SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static bool probe_prepare(struct tls_probe *probe,
                          const char *host,
                          const struct uplink_tls_settings *settings,
                          const char *key_password,
                          struct tls_probe_seen *seen)
{
    probe->ctx = SSL_CTX_new(TLS_client_method());
    if (!probe->ctx ||
        SSL_CTX_set_min_proto_version(probe->ctx, settings->min_version == UPLINK_TLS_1_3
                                                      ? TLS1_3_VERSION
                                                      : TLS1_2_VERSION) != 1 ||
        !use_files(probe->ctx, settings, key_password))
        return false;
    SSL_CTX_set_verify(probe->ctx, SSL_VERIFY_PEER, on_verify);
    probe->ssl = SSL_new(probe->ctx);
    if (!probe->ssl)
        return false;
    SSL_set_app_data(probe->ssl, seen);
    return use_host(probe->ssl, host) && use_alpn(probe->ssl, settings->alpn) &&
           SSL_set_fd(probe->ssl, probe->fd) == 1;
}

/* ---- the connection ---- */

/* After a call that returned @result. Return: 0: try again; negative errno. */
static int wait_for_more(struct tls_probe *probe, int result, int64_t give_up_ms)
{
    int error = SSL_get_error(probe->ssl, result);

    if (error == SSL_ERROR_WANT_READ)
        return net_wait(probe->fd, POLLIN, give_up_ms);
    if (error == SSL_ERROR_WANT_WRITE)
        return net_wait(probe->fd, POLLOUT, give_up_ms);
    take_error(probe->error, "the other side closed the connection");
    return -EPROTO;
}

int tls_probe_open(int fd,
                   const char *host,
                   const struct uplink_tls_settings *settings,
                   const char *key_password,
                   int64_t give_up_ms,
                   struct tls_probe **ret,
                   struct tls_probe_seen *seen)
{
    struct tls_probe *probe = calloc(1, sizeof(*probe));
    int result = 0;

    *seen = (struct tls_probe_seen){.is_complete = false};
    if (!probe)
        return -ENOMEM;
    probe->fd = fd;
    ERR_clear_error();
    if (!probe_prepare(probe, host, settings, key_password, seen)) {
        take_error(seen->error, "the files of uplink.tls are not usable");
        tls_probe_close(probe);
        return -EINVAL;
    }
    while (result == 0) {
        ERR_clear_error();
        int done = SSL_connect(probe->ssl);
        if (done == 1)
            break;
        result = wait_for_more(probe, done, give_up_ms);
    }
    if (result == 0) {
        note_chain(probe->ssl, seen);
        seen->is_complete = true;
        SSL_set_app_data(probe->ssl, NULL);
        *ret = probe;
        return 0;
    }
    text_format(seen->error, sizeof(seen->error), "%s", probe->error);
    tls_probe_close(probe);
    return result;
}

void tls_probe_close(struct tls_probe *probe)
{
    if (!probe)
        return;
    SSL_free(probe->ssl);
    SSL_CTX_free(probe->ctx);
    free(probe);
}

ssize_t tls_probe_read(struct tls_probe *probe, void *to, size_t size, int64_t give_up_ms)
{
    int result = 0;

    while (result == 0) {
        size_t done;

        ERR_clear_error();
        int got = SSL_read_ex(probe->ssl, to, size, &done);
        if (got == 1)
            return (ssize_t)done;
        if (SSL_get_error(probe->ssl, got) == SSL_ERROR_ZERO_RETURN)
            return 0;
        result = wait_for_more(probe, got, give_up_ms);
    }
    return result;
}

ssize_t
tls_probe_write(struct tls_probe *probe, const void *from, size_t size, int64_t give_up_ms)
{
    int result = 0;

    while (result == 0) {
        size_t done;

        ERR_clear_error();
        int got = SSL_write_ex(probe->ssl, from, size, &done);
        if (got == 1)
            return (ssize_t)done;
        result = wait_for_more(probe, got, give_up_ms);
    }
    return result;
}

const char *tls_probe_error(const struct tls_probe *probe)
{
    return probe->error;
}

const char *tls_probe_library(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
