/* SPDX-License-Identifier: MIT */
/*
 * attempt.c - one attempt to connect: secrets, TLS files and options for Paho
 *
 * Invariant: passwords and files are read each time, so that a changed one needs no
 * restart; a password is wiped before the attempt returns, because Paho has copied it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/regular.h"
#include "base/text.h"
#include "daemon/tls/tls_check.h"
#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/secret.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"

struct attempt {
    struct secret password;
    struct secret key_password;
    MQTTAsync_SSLOptions tls;
    MQTTAsync_willOptions will;
    char uri[UPLINK_TEXT_MAX + 1];
    char *uris[1];
};

static const char *text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void attempt_set_tls(const struct uplink *uplink,
                            struct attempt *attempt,
                            MQTTAsync_connectOptions *options)
{
    const struct uplink_settings *settings = uplink->settings;
    MQTTAsync_SSLOptions *tls = &attempt->tls;

    if (!uplink_uri_is_tls(uplink_broker_uri(uplink)))
        return;
    *tls = (MQTTAsync_SSLOptions)MQTTAsync_SSLOptions_initializer;
    tls->trustStore = tls_files_name(&uplink->client.tls_files, TLS_CA);
    tls->disableDefaultTrustStore = tls->trustStore != NULL;
    tls->keyStore = tls_files_name(&uplink->client.tls_files, TLS_CERTIFICATE);
    tls->privateKey = tls_files_name(&uplink->client.tls_files, TLS_KEY);
    /* Without one OpenSSL reads it from the terminal. */
    tls->privateKeyPassword = attempt->key_password.text;
    tls->enableServerCertAuth = settings->tls.verify;
    tls->verify = settings->tls.verify; /* the host name, too: Paho does not by itself */
    options->ssl = tls;
    paho_handshake_begin(settings->tls.min_version == UPLINK_TLS_1_3 ? PAHO_HANDSHAKE_1_3
                                                                     : PAHO_HANDSHAKE_1_2,
                         settings->tls.alpn);
}

/* What a broker may send: the seam enforces the first one, whatever the broker does. */
static int add_limits(MQTTProperties *properties)
{
    MQTTProperty size = {.identifier = MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE,
                         .value.integer4 = PAHO_LINK_PACKET_MAX};
    MQTTProperty count = {.identifier = MQTTPROPERTY_CODE_RECEIVE_MAXIMUM,
                          .value.integer2 = PAHO_LINK_INBOUND_MAX};
    int rc = MQTTProperties_add(properties, &size);

    return rc == 0 ? MQTTProperties_add(properties, &count) : rc;
}

static int connect_with_properties(struct uplink *uplink, MQTTAsync_connectOptions *options)
{
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperties will = MQTTProperties_initializer;
    int rc = add_limits(&properties);

    if (rc == 0)
        rc = uplink_presence_add_properties(uplink, &properties, &will);
    options->connectProperties = &properties;
    if (options->will)
        options->willProperties = &will;
    if (rc == 0)
        rc = MQTTAsync_connect(uplink->client.handle, options); /* copies them */
    options->connectProperties = options->willProperties = NULL;
    MQTTProperties_free(&properties);
    MQTTProperties_free(&will);
    return rc;
}

static int attempt_connect(struct uplink *uplink, struct attempt *attempt)
{
    const struct uplink_settings *settings = uplink->settings;
    MQTTAsync_connectOptions options =
        uplink->client.protocol == MQTTVERSION_5
            ? (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer5
            : (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer;

    options.MQTTVersion = (int)uplink->client.protocol;
    options.keepAliveInterval = (int)uplink->client.keepalive_s;
    paho_link_set_keepalive_ms((uint64_t)options.keepAliveInterval * 1000);
    /* Later than the link's own timer, because Paho looks at it only every 3 s. */
    options.connectTimeout =
        (int)((settings->connect_timeout_ms + UPLINK_GRACE_MS + 999) / 1000);
    options.maxInflight = (int)settings->window;
    options.automaticReconnect = 0;
    options.username = text_or_null(settings->username);
    if (settings->password_file[0] != '\0') {
        options.binarypwd.len = (int)attempt->password.size;
        options.binarypwd.data = attempt->password.text;
    }
    options.serverURIcount = 1;
    options.serverURIs = attempt->uris;
    attempt_set_tls(uplink, attempt, &options);
    uplink_presence_set_will(uplink, &attempt->will, &options);
    /* Without a will no session expiry is sent, so the session ends with the connection. */
    if (uplink->client.protocol == MQTTVERSION_5)
        options.cleanstart = !uplink_presence_resumes(uplink);
    else
        options.cleansession = 1;
    uplink_set_connect_callbacks(uplink, &options);
    return uplink->client.protocol == MQTTVERSION_5
               ? connect_with_properties(uplink, &options)
               : MQTTAsync_connect(uplink->client.handle, &options);
}

static int attempt_open_files(struct uplink *uplink, const char **ret_path)
{
    const char *paths[TLS_FILES];

    uplink_tls_paths(uplink->settings, paths);
    return tls_files_open(&uplink->client.tls_files, paths, ret_path);
}

/* Paho would only report that the TLS context failed. Return: are they usable? */
static bool attempt_check_files(struct uplink *uplink,
                                const struct attempt *attempt,
                                char reason[static UPLINK_TEXT_MAX])
{
    const char *paths[TLS_FILES];
    struct tls_report report;
    struct clock_reading now;

    clock_read(&now);
    tls_check(&uplink->client.tls_files, &uplink->settings->tls, attempt->key_password.text,
              now.wall_ms, &report);
    const struct tls_problem *problem = tls_report_fatal(&report);
    if (!problem)
        return true;
    uplink_tls_paths(uplink->settings, paths);
    text_format(reason, UPLINK_TEXT_MAX, "%s %s", paths[problem->file], problem->text);
    uplink->connection.remedy = problem->remedy;
    return false;
}

static int attempt_read_secrets(const struct uplink *uplink,
                                struct attempt *attempt,
                                const char **ret_path)
{
    const char *path = uplink->settings->password_file;
    int r = path[0] != '\0' ? secret_read(path, &attempt->password) : 0;

    if (r == 0) {
        path = uplink->settings->tls.key_password_file;
        r = path[0] != '\0' ? secret_read(path, &attempt->key_password) : 0;
    }
    if (r < 0)
        *ret_path = path;
    return r;
}

/* They are created with the first connection; a missing one is created with a later one. */
static bool has_threads(struct uplink *uplink, char reason[static UPLINK_TEXT_MAX])
{
    int r = paho_link_start_threads();

    if (r == 0)
        return true;
    uplink->client.is_unusable = true;
    (void)snprintf(reason, UPLINK_TEXT_MAX,
                   "cannot start a thread: %s; look at TasksMax= and at the memory",
                   strerror(-r));
    return false;
}

/* Return: has the attempt all that it needs? If not, @reason is set. */
static bool attempt_prepare(struct uplink *uplink,
                            struct attempt *attempt,
                            char reason[static UPLINK_TEXT_MAX])
{
    const char *uri = uplink_broker_uri(uplink);
    const char *path;
    int r = attempt_read_secrets(uplink, attempt, &path);

    if (r == 0 && uplink_uri_is_tls(uri))
        r = attempt_open_files(uplink, &path);
    if (r < 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "cannot read %s: %s", path, regular_error(r));
        return false;
    }
    if (uplink_uri_is_tls(uri) && !attempt_check_files(uplink, attempt, reason))
        return false;
    (void)snprintf(attempt->uri, sizeof(attempt->uri), "%s", uri);
    attempt->uris[0] = attempt->uri;
    return true;
}

static bool
attempt_run(struct uplink *uplink, struct attempt *attempt, char reason[static UPLINK_TEXT_MAX])
{
    int rc = uplink->client.handle ? 0 : uplink_create_client(uplink, attempt->uri);

    if (rc == 0)
        rc = uplink_set_callbacks(uplink);
    if (rc == 0)
        rc = attempt_connect(uplink, attempt);
    if (rc == 0)
        return has_threads(uplink, reason);
    uplink->client.is_unusable = true;
    (void)snprintf(reason, UPLINK_TEXT_MAX, "Paho refuses to connect (%d): %s", rc,
                   uplink_broker_uri(uplink));
    return false;
}

static void attempt_free(struct attempt *attempt)
{
    explicit_bzero(attempt, sizeof(*attempt));
    free(attempt);
}

bool uplink_attempt(struct uplink *uplink, char reason[static UPLINK_TEXT_MAX])
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));

    if (!attempt) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "out of memory");
        return false;
    }
    bool is_under_way =
        attempt_prepare(uplink, attempt, reason) && attempt_run(uplink, attempt, reason);
    attempt_free(attempt);
    return is_under_way;
}
