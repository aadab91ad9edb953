/* SPDX-License-Identifier: MIT */
/*
 * test_handshake.c - a handshake of TLS that fails is described by its cause
 *
 * The server is one of OpenSSL's, in a thread; each case breaks one thing of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/socket.h>

#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/uplink_fixture.h"
#include "tests/support/uplink_settings.h"

#define DAY_S (24L * 3600)

/* What the server is like; zero: all is right. */
struct server_plan {
    long from_days; /* of its certificate; both 0: 1 day before now to 30 days after */
    long until_days;
    const char *names;   /* subjectAltName; NULL: IP:127.0.0.1 */
    const char *purpose; /* extendedKeyUsage; NULL: serverAuth */
    bool wants_certificate;
    bool has_other_alpn;
    bool resets; /* after a handshake that failed */
    int version; /* the newest of TLS; 0: any */
};

struct tls_server {
    SSL_CTX *context;
    bool is_gentle; /* it closes without a reset */
    pthread_t thread;
    int fd;
    char uri[64];
};

struct pair {
    X509 *certificate;
    EVP_PKEY *key;
};

static void add_extension(X509 *certificate, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* @issuer: NULL: it signs itself. */
static struct pair make_pair(const char *name, const struct pair *issuer, long from, long until)
{
    struct pair made = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
    X509_NAME *subject = X509_NAME_new();

    assert_non_null(made.certificate);
    assert_non_null(made.key);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    assert_int_equal(X509_set_version(made.certificate, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), 1), 1);
    assert_int_equal(X509_set_subject_name(made.certificate, subject), 1);
    assert_int_equal(
        X509_set_issuer_name(made.certificate,
                             issuer ? X509_get_subject_name(issuer->certificate) : subject),
        1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(made.certificate), from * DAY_S));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(made.certificate), until * DAY_S));
    assert_int_equal(X509_set_pubkey(made.certificate, made.key), 1);
    X509_NAME_free(subject);
    return made;
}

static void sign(struct pair *pair, const struct pair *issuer)
{
    assert_true(X509_sign(pair->certificate, issuer->key, EVP_sha256()) > 0);
}

static void free_pair(struct pair *pair)
{
    X509_free(pair->certificate);
    EVP_PKEY_free(pair->key);
}

static struct pair make_authority(void)
{
    struct pair made = make_pair("Authority", NULL, -1, 30);

    add_extension(made.certificate, made.certificate, NID_basic_constraints,
                  "critical,CA:TRUE");
    sign(&made, &made);
    return made;
}

static void write_certificate(const char *path, X509 *certificate)
{
    FILE *to = fopen(path, "we");

    assert_non_null(to);
    assert_int_equal(PEM_write_X509(to, certificate), 1);
    assert_int_equal(fclose(to), 0);
}

static void write_key(const char *path, EVP_PKEY *key)
{
    FILE *to = fopen(path, "we");

    assert_non_null(to);
    assert_int_equal(PEM_write_PrivateKey(to, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(to), 0);
}

/* --- the server ----------------------------------------------------------- */

static void *run_server(void *userdata)
{
    struct tls_server *server = userdata;
    char byte;
    int fd;

    while ((fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        SSL *ssl = SSL_new(server->context);

        if (ssl && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1)
            (void)SSL_read(ssl, &byte, 1); /* until the client closes, or begins to speak */
        SSL_free(ssl);
        /* A close with unread bytes would be a reset, and destroy the alert in transit. */
        (void)shutdown(fd, SHUT_WR);
        while (server->is_gentle && read(fd, &byte, 1) > 0)
            ;
        (void)close(fd);
    }
    return NULL;
}

static int select_no_protocol(SSL *ssl,
                              const unsigned char **ret,
                              unsigned char *ret_size,
                              const unsigned char *offered,
                              unsigned offered_size,
                              void *userdata)
{
    (void)ssl;
    (void)ret;
    (void)ret_size;
    (void)offered;
    (void)offered_size;
    (void)userdata;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void
prepare_context(SSL_CTX *context, const struct server_plan *plan, const struct pair *authority)
{
    bool has_dates = plan->from_days != 0 || plan->until_days != 0;
    struct pair own = make_pair("broker", authority, has_dates ? plan->from_days : -1,
                                has_dates ? plan->until_days : 30);

    add_extension(own.certificate, authority->certificate, NID_subject_alt_name,
                  plan->names ? plan->names : "IP:127.0.0.1");
    add_extension(own.certificate, authority->certificate, NID_ext_key_usage,
                  plan->purpose ? plan->purpose : "serverAuth");
    sign(&own, authority);
    assert_int_equal(SSL_CTX_use_certificate(context, own.certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, own.key), 1);
    free_pair(&own);
    assert_int_equal(
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority->certificate), 1);
    if (plan->wants_certificate)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (plan->has_other_alpn)
        SSL_CTX_set_alpn_select_cb(context, select_no_protocol, NULL);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, plan->version), 1);
}

static void server_start(struct tls_server *server,
                         struct fixture *f,
                         const struct server_plan *plan,
                         const struct pair *authority)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    server->context = SSL_CTX_new(TLS_server_method());
    server->is_gentle = !plan->resets;
    assert_non_null(server->context);
    prepare_context(server->context, plan, authority);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->fd, 16), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(server->uri, sizeof(server->uri), "ssl://127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
    f->uris[0] = server->uri;
    assert_int_equal(pthread_create(&server->thread, NULL, run_server, server), 0);
}

static void server_stop(struct tls_server *server)
{
    assert_int_equal(shutdown(server->fd, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->fd);
    SSL_CTX_free(server->context);
}

/* --- cases ---------------------------------------------------------------- */

/* The client's files; @client_authority signs the certificate, NULL: there is none. */
struct client_files {
    char ca[96];
    char certificate[96];
    char key[96];
};

static void write_client(struct fixture *f,
                         struct client_files *files,
                         X509 *trusted,
                         const struct pair *client_authority)
{
    (void)snprintf(files->ca, sizeof(files->ca), "%s/ca", f->folder);
    (void)snprintf(files->certificate, sizeof(files->certificate), "%s/cert", f->folder);
    (void)snprintf(files->key, sizeof(files->key), "%s/key", f->folder);
    write_certificate(files->ca, trusted);
    f->settings.tls.ca_file = files->ca;
    if (!client_authority)
        return;
    struct pair own = make_pair("gateway", client_authority, -1, 30);
    add_extension(own.certificate, client_authority->certificate, NID_ext_key_usage,
                  "clientAuth");
    sign(&own, client_authority);
    write_certificate(files->certificate, own.certificate);
    write_key(files->key, own.key);
    free_pair(&own);
    f->settings.tls.cert_file = files->certificate;
    f->settings.tls.key_file = files->key;
}

static void remove_client(const struct client_files *files)
{
    (void)unlink(files->ca);
    (void)unlink(files->certificate); /* not every case has the other two */
    (void)unlink(files->key);
}

enum trust { TRUSTED, OTHER_AUTHORITY };
enum client { NO_CLIENT, OTHER_CLIENT };

/* The last error has @part. */
static void expect(struct fixture *f,
                   const struct server_plan *plan,
                   enum trust trust,
                   enum client client,
                   const char *part)
{
    need_seam("which has the line of OpenSSL only");
    struct pair authority = make_authority();
    struct pair other = make_authority();
    struct tls_server server;
    struct client_files files;

    server_start(&server, f, plan, &authority);
    write_client(f, &files, (trust == TRUSTED ? authority : other).certificate,
                 client == OTHER_CLIENT ? &other : NULL);
    start(f);
    wait_for(f, has_error);
    if (!strstr(link_of(f).last_error, part))
        fail_msg("\"%s\" is not in \"%s\"", part, link_of(f).last_error);
    assert_null(strstr(link_of(f).last_error, "unknown"));
    uplink_free(f->uplink);
    f->uplink = NULL;
    server_stop(&server);
    remove_client(&files);
    free_pair(&authority);
    free_pair(&other);
}

static void dates_are_named_with_the_clock(void **state)
{
    expect(*state, &(struct server_plan){.from_days = -9, .until_days = -1}, TRUSTED, NO_CLIENT,
           "TLS: the broker's certificate has expired (CN=broker): it ended at ");
    expect(*state, &(struct server_plan){.from_days = 1, .until_days = 9}, TRUSTED, NO_CLIENT,
           ": set the clock");
}

static void an_authority_that_is_not_trusted_is_named(void **state)
{
    expect(*state, &(struct server_plan){0}, OTHER_AUTHORITY, NO_CLIENT,
           "vouches for the broker's, whose chain ends at CN=broker, issued by CN=Authority: ");
}

static void the_names_of_the_certificate_are_named(void **state)
{
    expect(*state, &(struct server_plan){.names = "DNS:elsewhere.example,IP:192.0.2.1"},
           TRUSTED, NO_CLIENT, "it is for DNS:elsewhere.example, IP Address:192.0.2.1");
}

static void another_fault_of_the_certificate_has_openssl_s_reason(void **state)
{
    expect(*state, &(struct server_plan){.purpose = "clientAuth"}, TRUSTED, NO_CLIENT,
           "TLS: the broker's certificate (CN=broker) is not accepted: ");
}

static void a_client_certificate_that_is_missing_is_named_as_a_setting(void **state)
{
    expect(*state, &(struct server_plan){.wants_certificate = true}, TRUSTED, NO_CLIENT,
           "TLS: the broker wants a client certificate");
    expect(*state, &(struct server_plan){.wants_certificate = true, .version = TLS1_2_VERSION},
           TRUSTED, NO_CLIENT, "it may want a client certificate, see uplink.tls.cert_file");
}

static void a_client_certificate_that_is_rejected_is_named_with_its_file(void **state)
{
    expect(*state, &(struct server_plan){.wants_certificate = true}, TRUSTED, OTHER_CLIENT,
           "TLS: the broker rejects the certificate in /tmp/");
}

static void a_setting_that_the_broker_does_not_meet_is_named(void **state)
{
    struct fixture *f = *state;

    f->settings.tls.alpn = uplink_test_text("mqtt");
    expect(f, &(struct server_plan){.has_other_alpn = true}, TRUSTED, NO_CLIENT,
           "uplink.tls.alpn");
    f->settings.tls.alpn = uplink_test_text("");
    f->settings.tls.min_version = UPLINK_TLS_1_3;
    expect(f, &(struct server_plan){.version = TLS1_2_VERSION}, TRUSTED, NO_CLIENT,
           "uplink.tls.min_version");
}

/* Whatever of it arrives, the text is about the client's certificate. */
static void an_alert_that_a_reset_destroys_leaves_the_likely_cause(void **state)
{
    expect(*state, &(struct server_plan){.wants_certificate = true, .resets = true}, TRUSTED,
           NO_CLIENT, "a client certificate");
    expect(*state, &(struct server_plan){.wants_certificate = true, .resets = true}, TRUSTED,
           OTHER_CLIENT, "the certificate in /tmp/");
}

/* What was found before is no cause of it. */
static void without_a_check_a_failure_has_another_reason(void **state)
{
    struct fixture *f = *state;

    f->settings.tls.verify = false;
    expect(f,
           &(struct server_plan){.wants_certificate = true, .names = "DNS:elsewhere.example"},
           OTHER_AUTHORITY, NO_CLIENT, "the broker wants a client certificate");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(dates_are_named_with_the_clock),
        CASE(an_authority_that_is_not_trusted_is_named),
        CASE(the_names_of_the_certificate_are_named),
        CASE(another_fault_of_the_certificate_has_openssl_s_reason),
        CASE(a_client_certificate_that_is_missing_is_named_as_a_setting),
        CASE(a_client_certificate_that_is_rejected_is_named_with_its_file),
        CASE(a_setting_that_the_broker_does_not_meet_is_named),
        CASE(an_alert_that_a_reset_destroys_leaves_the_likely_cause),
        CASE(without_a_check_a_failure_has_another_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
