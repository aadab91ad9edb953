/* SPDX-License-Identifier: MIT */
/*
 * client.c - Paho's client: made, connected, disconnected, destroyed
 *
 * Its callbacks come on Paho's threads, or on the caller's at destroy. Each
 * attempt is an epoch, whose number travels as their context: an event of an
 * epoch that is over is refused under the mailbox's lock.
 *
 * Paho changes its options without a lock when it connects. So no attempt
 * begins before the last one was reported over, and each begins with
 * MQTTAsync_setCallbacks(): that waits for Paho's mutex, which its thread holds
 * until it has returned from the report and forgotten the old callbacks. An
 * attempt that is never reported over takes its client with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/read_full.h"
#include "base/regular.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

/* More than the window, so that Paho never has to think about its own limit. */
#define BUFFERED_MARGIN 8
/* What MQTT can carry as a password. */
#define SECRET_MAX MQTT_TEXT_MAX
/* Of a file with a key, to see whether it is encrypted. */

/* --- callbacks: any thread ------------------------------------------------ */

static bool accept_event(void *context)
{
    const struct uplink_event *news = context;
    struct uplink_event *event = &uplink_instance->inbox.events[news->epoch & 1][news->kind];

    if (news->epoch != uplink_instance->client.epoch || event->busy)
        return false;
    event->busy = true;
    event->epoch = news->epoch;
    event->code = news->code;
    event->is_connack = news->is_connack;
    event->limits = news->limits;
    memcpy(event->text, news->text, sizeof(event->text));
    return true;
}

static void post_event(void *context, struct uplink_event *news)
{
    struct uplink *uplink = uplink_instance;

    if (!uplink)
        return;
    news->epoch = (uintptr_t)context;
    struct uplink_event *event = &uplink->inbox.events[news->epoch & 1][news->kind];
    (void)mailbox_post_if(&uplink->inbox.mailbox, &event->post.mail, accept_event, news);
}

/* Positive codes are the broker's, negative ones Paho's. */
static void post_failure(void *context, int code, const char *message)
{
    struct uplink_event news = {
        .kind = UPLINK_CONNECT_FAILED, .code = code, .is_connack = code > 0};

    (void)snprintf(news.text, sizeof(news.text), "%s", message ? message : "");
    post_event(context, &news);
}

static void on_connect_failure(void *context, MQTTAsync_failureData *response)
{
    post_failure(context, response ? response->code : MQTTASYNC_FAILURE,
                 response ? response->message : NULL);
}

static void on_connect_failure5(void *context, MQTTAsync_failureData5 *response)
{
    int code = response ? response->code : MQTTASYNC_FAILURE;

    if (response && (int)response->reasonCode >= MQTT_FIRST_FAILURE)
        code = (int)response->reasonCode;
    post_failure(context, code, response ? response->message : NULL);
}

static void on_connect_success(void *context, MQTTAsync_successData *response)
{
    struct uplink_event news = {.kind = UPLINK_CONNECTED, .limits = uplink_no_limits()};

    (void)response;
    post_event(context, &news);
}

/* Asks before it reads: 1.3.12 does not fill the properties of each CONNACK (upstream #1543).
 */
static bool
has_number(MQTTProperties *properties, enum MQTTPropertyCodes code, uint32_t *ret_number)
{
    if (!MQTTProperties_hasProperty(properties, code))
        return false;
    *ret_number = (uint32_t)MQTTProperties_getNumericValue(properties, code);
    return true;
}

static void on_connect_success5(void *context, MQTTAsync_successData5 *response)
{
    struct uplink_event news = {.kind = UPLINK_CONNECTED, .limits = uplink_no_limits()};
    struct uplink_limits *limits = &news.limits;
    uint32_t number;

    /* A zero is an error of the broker's in the first two; it must not stop the link for good.
     */
    if (has_number(&response->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, &number))
        limits->receive_maximum = number > 0 ? number : 1;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, &number) &&
        number > 0)
        limits->maximum_packet = number;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_MAXIMUM_QOS, &number))
        limits->maximum_qos = number;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_RETAIN_AVAILABLE, &number))
        limits->retain_available = number != 0;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, &number))
        limits->keepalive_s = number;
    post_event(context, &news);
}

static void on_lost(void *context, char *cause)
{
    struct uplink_event news = {.kind = UPLINK_LOST};

    (void)cause; /* 1.3.12 never names one */
    post_event(context, &news);
}

static void
on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes code)
{
    struct uplink_event news = {.kind = UPLINK_DISCONNECTED_BY_BROKER, .code = (int)code};

    (void)properties;
    post_event(context, &news);
}

static void post_closed(void *context)
{
    struct uplink_event news = {.kind = UPLINK_CLOSED};

    post_event(context, &news);
}

static void on_closed(void *context, MQTTAsync_successData *response)
{
    (void)response;
    post_closed(context);
}

static void on_closed5(void *context, MQTTAsync_successData5 *response)
{
    (void)response;
    post_closed(context);
}

static void on_close_failure(void *context, MQTTAsync_failureData *response)
{
    (void)response;
    post_closed(context);
}

static void on_close_failure5(void *context, MQTTAsync_failureData5 *response)
{
    (void)response;
    post_closed(context);
}

/* The uplink subscribes to nothing; what a broker sends all the same is let go. */
static int on_message(void *context, char *topic, int topic_size, MQTTAsync_message *message)
{
    (void)context;
    (void)topic_size;
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static bool accept_text(void *context)
{
    struct uplink_text *text = &uplink_instance->inbox.text;

    (void)snprintf(text->text, sizeof(text->text), "%s", (const char *)context);
    return true;
}

static void post_text(const char *text)
{
    char line[UPLINK_TEXT_MAX];
    struct uplink *uplink = uplink_instance;

    if (!uplink)
        return;
    (void)snprintf(line, sizeof(line), "%s", text);
    (void)mailbox_post_if(&uplink->inbox.mailbox, &uplink->inbox.text.post.mail, accept_text,
                          line);
}

/* thread:error:number:library:function:reason:file:line:more */
void uplink_tls_text(const char *line, size_t size, char text[static UPLINK_TEXT_MAX])
{
    const char *end = line + size;
    const char *at = line;

    for (int fields = 0; fields < 5 && at < end; fields++) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        at = colon ? colon + 1 : end;
    }
    if (at >= end)
        at = line; /* another form: all of it */
    size_t length = strcspn(at, ":\n");
    if (length > (size_t)(end - at))
        length = (size_t)(end - at);
    (void)snprintf(text, UPLINK_TEXT_MAX, "TLS: %.*s", (int)length, at);
}

static int on_tls_error(const char *line, size_t size, void *context)
{
    char text[UPLINK_TEXT_MAX];

    (void)context;
    uplink_tls_text(line, size, text);
    post_text(text);
    return 1;
}

/* --- the client ----------------------------------------------------------- */

static void begin_destroy(void *context)
{
    struct uplink *uplink = context;

    uplink->client.epoch++;
    uplink->client.is_destroying = true;
}

static void end_destroy(void *context)
{
    struct uplink *uplink = context;

    uplink->client.is_destroying = false;
}

/* Its callbacks come on this thread; those of the connection are of no interest any more. */
void uplink_destroy_client(struct uplink *uplink)
{
    if (!uplink->client.handle)
        return;
    mailbox_run_locked(&uplink->inbox.mailbox, begin_destroy, uplink);
    MQTTAsync_destroy(&uplink->client.handle);
    mailbox_run_locked(&uplink->inbox.mailbox, end_destroy, uplink);
    uplink->client.handle = NULL;
    uplink->client.is_unusable = false;
}

/*
 * With its last client the library ends its threads, which takes 0.1 s and more
 * of the caller's time and leaks a little with OpenSSL (upstream #1383). A client
 * that never connects keeps them, so that the other one may come and go.
 */
static MQTTAsync keeper;

static int keep_library(void)
{
    int rc = MQTTASYNC_SUCCESS;

    if (!keeper)
        rc =
            MQTTAsync_create(&keeper, "tcp://127.0.0.1", "", MQTTCLIENT_PERSISTENCE_NONE, NULL);
    if (rc != MQTTASYNC_SUCCESS)
        keeper = NULL;
    return rc;
}

/* With its last client the library waits 10 s for a thread that was never made: then that client
 * stays, for the next uplink or until the process ends. */
void uplink_leave_library(struct uplink *uplink)
{
    uplink_destroy_client(uplink);
    if (paho_link_start_threads() == 0)
        MQTTAsync_destroy(&keeper); /* NULL is accepted */
}

static int create_client(struct uplink *uplink, const char *uri)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;

    options.MQTTVersion = (int)uplink->settings->protocol;
    options.sendWhileDisconnected = 0;
    options.maxBufferedMessages = (int)uplink->settings->window + BUFFERED_MARGIN;
    options.deleteOldestMessages = 0; /* 1.3.12 would delete without a word (upstream #1542) */
    options.restoreMessages = 0;
    options.persistQoS0 = 0;
    int rc = keep_library();
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_createWithOptions(&uplink->client.handle, uri,
                                         uplink->settings->client_id,
                                         MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
    if (rc != MQTTASYNC_SUCCESS) {
        uplink->client.handle = NULL;
        return rc;
    }
    uplink->client.is_tls = uplink_uri_is_tls(uri);
    return 0;
}

/* Waits for Paho's mutex, see above. */
static int set_callbacks(struct uplink *uplink)
{
    void *epoch = (void *)uplink->client.epoch;
    int rc = MQTTAsync_setCallbacks(uplink->client.handle, epoch, on_lost, on_message, NULL);

    if (rc == MQTTASYNC_SUCCESS && uplink->settings->protocol == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(uplink->client.handle, epoch, on_disconnected);
    return rc;
}

/* --- an attempt ----------------------------------------------------------- */

struct secret {
    size_t size;
    char text[SECRET_MAX + 2]; /* and a newline, and the end of a C string */
};

static void wipe(struct secret *secret)
{
    explicit_bzero(secret, sizeof(*secret));
}

/* Return: 0 or negative errno. */
static int read_secret(const char *path, struct secret *secret)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, path, O_RDONLY, 0);
    ssize_t n;

    secret->size = 0;
    if (fd < 0)
        return fd;
    n = read_full(fd, secret->text, SECRET_MAX + 1);
    if (n < 0)
        return (int)n;
    secret->size = (size_t)n;
    if (secret->size > 0 && secret->text[secret->size - 1] == '\n')
        secret->size--;
    secret->text[secret->size] = '\0';
    return secret->size > SECRET_MAX ? -EFBIG : 0;
}

struct attempt {
    struct secret password;
    struct secret key_password;
    MQTTAsync_SSLOptions tls;
    char uri[UPLINK_TEXT_MAX + 1];
    char *uris[1];
};

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void
set_tls(const struct uplink *uplink, struct attempt *attempt, MQTTAsync_connectOptions *options)
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
    tls->privateKeyPassword =
        attempt->key_password.text; /* without one OpenSSL asks the terminal */
    tls->enableServerCertAuth = settings->tls.verify;
    tls->verify = settings->tls.verify; /* the host name, which Paho leaves out otherwise */
    tls->ssl_error_cb = on_tls_error;
    options->ssl = tls;
}

static void set_answers(const struct uplink *uplink, MQTTAsync_connectOptions *options)
{
    options->context = (void *)uplink->client.epoch;
    if (uplink->settings->protocol == MQTTVERSION_5) {
        options->cleanstart =
            1; /* no session expiry is sent, so the session ends with the link */
        options->onSuccess5 = on_connect_success5;
        options->onFailure5 = on_connect_failure5;
    } else {
        options->cleansession = 1;
        options->onSuccess = on_connect_success;
        options->onFailure = on_connect_failure;
    }
}

/* Brokers that demanded less are asked again when the setting changed. */
static unsigned choose_keepalive(struct uplink_client *client, uint64_t keepalive_ms)
{
    if (client->keepalive_set_ms != keepalive_ms) {
        client->keepalive_set_ms = keepalive_ms;
        client->keepalive_s = (unsigned)((keepalive_ms + 999) / 1000);
    }
    return client->keepalive_s;
}

static int begin(struct uplink *uplink, struct attempt *attempt)
{
    const struct uplink_settings *settings = uplink->settings;
    MQTTAsync_connectOptions options =
        settings->protocol == MQTTVERSION_5
            ? (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer5
            : (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer;

    options.MQTTVersion = (int)settings->protocol;
    options.keepAliveInterval = (int)choose_keepalive(&uplink->client, settings->keepalive_ms);
    options.connectTimeout = (int)((settings->connect_timeout_ms + 999) / 1000);
    options.maxInflight = (int)settings->window;
    options.automaticReconnect = 0;
    options.username = or_null(settings->username);
    if (settings->password_file[0] != '\0') {
        options.binarypwd.len = (int)attempt->password.size;
        options.binarypwd.data = attempt->password.text;
    }
    options.serverURIcount = 1;
    options.serverURIs = attempt->uris;
    set_tls(uplink, attempt, &options);
    set_answers(uplink, &options);
    return MQTTAsync_connect(uplink->client.handle, &options);
}

/* Paho would only say that the TLS context failed. */
static int open_files(struct uplink *uplink, const char **ret_path)
{
    const struct uplink_settings *settings = uplink->settings;
    const char *const paths[TLS_FILES] = {
        [TLS_CA] = settings->tls.ca_file,
        [TLS_CERTIFICATE] = settings->tls.cert_file,
        [TLS_KEY] = settings->tls.key_file,
    };

    return tls_files_open(&uplink->client.tls_files, paths, ret_path);
}

/* It cannot be used without the password that is not set. */
static bool key_is_locked(const struct uplink *uplink)
{
    return uplink->settings->tls.key_password_file[0] == '\0' &&
           tls_files_key_is_encrypted(&uplink->client.tls_files);
}

/* Secrets are read anew each time, so that a changed one needs no restart. */
static int
read_secrets(const struct uplink *uplink, struct attempt *attempt, const char **ret_path)
{
    const char *path = uplink->settings->password_file;
    int r = path[0] != '\0' ? read_secret(path, &attempt->password) : 0;

    if (r == 0) {
        path = uplink->settings->tls.key_password_file;
        r = path[0] != '\0' ? read_secret(path, &attempt->key_password) : 0;
    }
    if (r < 0)
        *ret_path = path;
    return r;
}

/* Made with the first connection; one that is missing is asked for with each. */
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

bool uplink_client_connect(struct uplink *uplink, char reason[static UPLINK_TEXT_MAX])
{
    const char *uri = uplink_broker_uri(uplink);
    const char *path;
    AUTO_FREE struct attempt *attempt = calloc(1, sizeof(*attempt));
    int rc = MQTTASYNC_FAILURE;

    if (!attempt) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "out of memory");
        return false;
    }
    int r = read_secrets(uplink, attempt, &path);
    if (r == 0 && uplink_uri_is_tls(uri))
        r = open_files(uplink, &path);
    if (r < 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "cannot read %s: %s", path, regular_error(r));
    } else if (uplink_uri_is_tls(uri) && key_is_locked(uplink)) {
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       "the key in %s is encrypted: set uplink.tls.key_password_file",
                       uplink->settings->tls.key_file);
    } else {
        (void)snprintf(attempt->uri, sizeof(attempt->uri), "%s", uri);
        attempt->uris[0] = attempt->uri;
        rc = uplink->client.handle ? 0 : create_client(uplink, uri);
        if (rc == 0)
            rc = set_callbacks(uplink);
        if (rc == 0)
            rc = begin(uplink, attempt);
        if (rc != 0) {
            uplink->client.is_unusable = true;
            (void)snprintf(reason, UPLINK_TEXT_MAX, "Paho refuses to connect (%d): %s", rc,
                           uri);
        }
    }
    wipe(&attempt->password);
    wipe(&attempt->key_password);
    return rc == 0 && has_threads(uplink, reason);
}

bool uplink_client_disconnect(struct uplink *uplink)
{
    MQTTAsync_disconnectOptions options =
        (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer;

    if (uplink->settings->protocol == MQTTVERSION_5) {
        options = (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer5;
        options.onSuccess5 = on_closed5;
        options.onFailure5 = on_close_failure5;
    } else {
        options.onSuccess = on_closed;
        options.onFailure = on_close_failure;
    }
    options.timeout = 0;
    options.context = (void *)uplink->client.epoch;
    return MQTTAsync_disconnect(uplink->client.handle, &options) == MQTTASYNC_SUCCESS;
}
