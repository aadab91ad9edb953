/*
 * uplink_connect.c - the client and its connection
 *
 *   WAITING -> CONNECTING -> ONLINE -> (lost, or DROPPING by our own wish) -> WAITING
 *
 * Each attempt is an epoch. Its number travels as the context of the callbacks,
 * so an event of an epoch that is over is refused under the mailbox's lock.
 * There is one timer, and the phase says what it means: the next attempt, the
 * watchdog of an attempt or of a disconnect, the watchdog of the answers.
 *
 * Paho changes its options without a lock when it connects. So no attempt
 * begins before the last one was reported over, and each begins with
 * MQTTAsync_setCallbacks(): that waits for Paho's mutex, which its thread holds
 * until it has returned from the report and forgotten the old callbacks. An
 * attempt that is never reported over takes its client with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "log.h"
#include "packet.h"
#include "uplink-private.h"

#define TIMER_ACCURACY_US 10000
/* More than the window, so that Paho never has to think about its own limit. */
#define BUFFERED_MARGIN 8
#define STALLS_MAX      2
/* Of failures that repeat, one line at least this often, and one of so many. */
#define RETRY_LOG_MS   60000
#define RETRY_LOG_EACH 10
#define REASON_FAILURE 0x80
/* What MQTT can carry as a password. */
#define SECRET_MAX 65535

/* --- callbacks: any thread ------------------------------------------------ */

static bool accept_event(void *context)
{
    const struct uplink_event *news = context;
    struct uplink_event *event = &uplink_instance->events[news->epoch & 1][news->kind];

    if (news->epoch != uplink_instance->epoch || event->busy)
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
    struct uplink_event *event = &uplink->events[news->epoch & 1][news->kind];
    (void)mailbox_post_if(&uplink->mailbox, &event->post.mail, accept_event, news);
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

    if (response && (int)response->reasonCode >= REASON_FAILURE)
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
    struct uplink_text *text = &uplink_instance->text;

    (void)snprintf(text->text, sizeof(text->text), "%s", (const char *)context);
    return true;
}

void uplink_post_text(const char *text)
{
    char line[UPLINK_TEXT_MAX];
    struct uplink *uplink = uplink_instance;

    if (!uplink)
        return;
    (void)snprintf(line, sizeof(line), "%s", text);
    (void)mailbox_post_if(&uplink->mailbox, &uplink->text.post.mail, accept_text, line);
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
    uplink_post_text(text);
    return 1;
}

/* --- the timer ------------------------------------------------------------ */

static int on_timer(sd_event_source *source, uint64_t usec, void *owner);

int uplink_timer_init(struct uplink *uplink)
{
    int r = sd_event_add_time(uplink->event, &uplink->timer, CLOCK_BOOTTIME, 0,
                              TIMER_ACCURACY_US, on_timer, uplink);

    return r < 0 ? r : sd_event_source_set_enabled(uplink->timer, SD_EVENT_OFF);
}

void uplink_timer_set(struct uplink *uplink, int64_t due_boot_ms)
{
    /* Both fail for a source of a loop that has ended only, and then nothing is to come. */
    (void)sd_event_source_set_time(uplink->timer, (uint64_t)due_boot_ms * 1000);
    (void)sd_event_source_set_enabled(uplink->timer, SD_EVENT_ONESHOT);
    uplink->timer_armed = true;
}

void uplink_timer_off(struct uplink *uplink)
{
    (void)sd_event_source_set_enabled(uplink->timer, SD_EVENT_OFF);
    uplink->timer_armed = false;
}

static void set_timer_in(struct uplink *uplink, uint64_t ms)
{
    uplink_timer_set(uplink, uplink_now_ms(uplink) + (int64_t)ms);
}

/* --- the end of a connection ---------------------------------------------- */

uint64_t uplink_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned round, uint64_t random)
{
    uint64_t limit = min_ms < max_ms ? min_ms : max_ms;

    while (round-- > 0 && limit < max_ms)
        limit = limit > max_ms / 2 ? max_ms : limit * 2;
    return random % (limit + 1);
}

static uint64_t next_backoff(struct uplink *uplink)
{
    uint64_t random = (uint64_t)rand(); /* for the machine that has no entropy yet */

    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return uplink_backoff_ms(uplink->settings.backoff_min_ms, uplink->settings.backoff_max_ms,
                             uplink->backoff_round++, random);
}

/*
 * A broker that takes the connection and closes it at once is no better than
 * one that refuses it. So a connection counts as good once the broker has
 * acknowledged something, or when it has lasted as long as the longest back-off.
 */
static bool was_good(const struct uplink *uplink)
{
    return uplink->online_ms > 0 &&
           (uplink->proven || uplink_now_ms(uplink) - uplink->online_ms >=
                                  (int64_t)uplink->settings.backoff_max_ms);
}

/* After a good connection the same broker, otherwise the next; a pause after each tour. */
static uint64_t plan_attempt(struct uplink *uplink)
{
    if (uplink->retry_at_once) {
        uplink->retry_at_once = false;
        return 0;
    }
    if (was_good(uplink)) {
        uplink->failed_attempts = 0;
        uplink->backoff_round = 0;
        return next_backoff(uplink);
    }
    uplink->failed_attempts++;
    uplink->broker = (uplink->broker + 1) % uplink->settings.broker_count;
    if (uplink->failed_attempts % uplink->settings.broker_count != 0)
        return 0;
    return next_backoff(uplink);
}

static void log_lost(const struct uplink *uplink, const char *broker)
{
    char uri[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];

    log_warning(
        "link_lost broker=%s reason=%s in_flight=%u",
        log_quote(uri, sizeof(uri), broker, strlen(broker)),
        log_quote(reason, sizeof(reason), uplink->last_error, strlen(uplink->last_error)),
        uplink->unanswered);
}

/* Each broker's first failure, then one line in a while. */
static void log_retry(struct uplink *uplink, const char *broker, uint64_t wait_ms)
{
    char uri[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];
    int64_t now_ms = uplink_now_ms(uplink);
    unsigned failed = uplink->failed_attempts;

    if (failed > uplink->settings.broker_count && failed % RETRY_LOG_EACH != 0 &&
        now_ms - uplink->retry_logged_ms < RETRY_LOG_MS)
        return;
    uplink->retry_logged_ms = now_ms;
    log_warning(
        "link_retry broker=%s reason=%s in_ms=%" PRIu64 " attempts=%u",
        log_quote(uri, sizeof(uri), broker, strlen(broker)),
        log_quote(reason, sizeof(reason), uplink->last_error, strlen(uplink->last_error)),
        wait_ms, failed);
}

static void end_for_good(struct uplink *uplink, const char *broker)
{
    char uri[UPLINK_TEXT_MAX];

    log_notice("link_closed broker=%s unanswered=%u",
               log_quote(uri, sizeof(uri), broker, strlen(broker)), uplink->unanswered);
    uplink_set_phase(uplink, PHASE_STOPPED);
}

void uplink_end_connection(struct uplink *uplink, const char *reason)
{
    const char *broker = uplink->brokers[uplink->broker];
    bool is_failure = !uplink->retry_at_once;

    uplink_timer_off(uplink);
    /* What Paho has queued and not written would go out first on its next connection, before
     * the messages that were sent earlier and are sent again. */
    if (uplink->in_flight > 0)
        uplink->must_destroy = true;
    uplink_sweep(uplink);
    uplink->limits = uplink_no_limits();
    if (uplink->phase == PHASE_STOPPING) {
        end_for_good(uplink, broker);
        return;
    }
    if (is_failure)
        (void)snprintf(uplink->last_error, sizeof(uplink->last_error), "%s", reason);
    uint64_t wait_ms = plan_attempt(uplink);
    if (uplink->online_ms > 0)
        log_lost(uplink, broker);
    else if (is_failure)
        log_retry(uplink, broker, wait_ms);
    uplink_set_phase(uplink, PHASE_WAITING);
    set_timer_in(uplink, wait_ms);
}

/* --- the client ----------------------------------------------------------- */

bool uplink_uri_is_tls(const char *uri)
{
    return strncasecmp(uri, "ssl://", 6) == 0 || strncasecmp(uri, "mqtts://", 8) == 0;
}

static void next_epoch(void *context)
{
    struct uplink *uplink = context;

    uplink->epoch++;
}

static void begin_destroy(void *context)
{
    struct uplink *uplink = context;

    uplink->epoch++;
    uplink->destroying = true;
}

static void end_destroy(void *context)
{
    struct uplink *uplink = context;

    uplink->destroying = false;
}

/* Its callbacks come on this thread; those of the connection are of no interest any more. */
void uplink_destroy_client(struct uplink *uplink)
{
    if (!uplink->client)
        return;
    mailbox_locked(&uplink->mailbox, begin_destroy, uplink);
    MQTTAsync_destroy(&uplink->client);
    mailbox_locked(&uplink->mailbox, end_destroy, uplink);
    uplink->client = NULL;
    uplink->must_destroy = false;
}

/*
 * With its last client the library ends its threads, which takes 0.1 s and more
 * of the caller's time and leaks a little with OpenSSL (upstream #1383). A client
 * that never connects keeps them, so that the other one may come and go.
 */
static int keep_library(struct uplink *uplink)
{
    int rc = MQTTASYNC_SUCCESS;

    if (!uplink->keeper)
        rc = MQTTAsync_create(&uplink->keeper, "tcp://127.0.0.1", "",
                              MQTTCLIENT_PERSISTENCE_NONE, NULL);
    if (rc != MQTTASYNC_SUCCESS)
        uplink->keeper = NULL;
    return rc;
}

void uplink_leave_library(struct uplink *uplink)
{
    uplink_destroy_client(uplink);
    MQTTAsync_destroy(&uplink->keeper); /* NULL is accepted */
}

static int create_client(struct uplink *uplink, const char *uri)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;

    options.MQTTVersion = (int)uplink->settings.protocol;
    options.sendWhileDisconnected = 0;
    options.maxBufferedMessages = (int)uplink->settings.window + BUFFERED_MARGIN;
    options.deleteOldestMessages = 0; /* 1.3.12 would delete without a word (upstream #1542) */
    options.restoreMessages = 0;
    options.persistQoS0 = 0;
    int rc = keep_library(uplink);
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_createWithOptions(&uplink->client, uri, uplink->settings.client_id,
                                         MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
    if (rc != MQTTASYNC_SUCCESS) {
        uplink->client = NULL;
        return rc;
    }
    uplink->client_is_tls = uplink_uri_is_tls(uri);
    return 0;
}

/* Waits for Paho's mutex, see above. */
static int set_callbacks(struct uplink *uplink)
{
    void *epoch = (void *)uplink->epoch;
    int rc = MQTTAsync_setCallbacks(uplink->client, epoch, on_lost, on_message, NULL);

    if (rc == MQTTASYNC_SUCCESS && uplink->settings.protocol == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(uplink->client, epoch, on_disconnected);
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
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    secret->size = 0;
    if (fd < 0)
        return -errno;
    while (n > 0 && secret->size <= SECRET_MAX) {
        n = read(fd, secret->text + secret->size, SECRET_MAX + 1 - secret->size);
        if (n > 0)
            secret->size += (size_t)n;
    }
    if (n < 0)
        return -errno;
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
    const struct uplink_settings *settings = &uplink->settings;
    MQTTAsync_SSLOptions *tls = &attempt->tls;

    if (!uplink_uri_is_tls(uplink->brokers[uplink->broker]))
        return;
    *tls = (MQTTAsync_SSLOptions)MQTTAsync_SSLOptions_initializer;
    tls->trustStore = or_null(settings->ca_file);
    tls->disableDefaultTrustStore = tls->trustStore != NULL;
    tls->keyStore = or_null(settings->cert_file);
    tls->privateKey = or_null(settings->key_file);
    tls->privateKeyPassword =
        settings->key_password_file[0] != '\0' ? attempt->key_password.text : NULL;
    tls->enableServerCertAuth = settings->verify;
    tls->verify = settings->verify; /* the host name, which Paho leaves out otherwise */
    tls->ssl_error_cb = on_tls_error;
    options->ssl = tls;
}

static void set_answers(const struct uplink *uplink, MQTTAsync_connectOptions *options)
{
    options->context = (void *)uplink->epoch;
    if (uplink->settings.protocol == MQTTVERSION_5) {
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

static int begin(struct uplink *uplink, struct attempt *attempt)
{
    const struct uplink_settings *settings = &uplink->settings;
    MQTTAsync_connectOptions options =
        settings->protocol == MQTTVERSION_5
            ? (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer5
            : (MQTTAsync_connectOptions)MQTTAsync_connectOptions_initializer;

    options.MQTTVersion = (int)settings->protocol;
    options.keepAliveInterval = (int)uplink->keepalive_s;
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
    return MQTTAsync_connect(uplink->client, &options);
}

/* Secrets are read anew each time, so that a changed one needs no restart. */
static int
read_secrets(const struct uplink *uplink, struct attempt *attempt, const char **ret_path)
{
    const char *path = uplink->settings.password_file;
    int r = path[0] != '\0' ? read_secret(path, &attempt->password) : 0;

    if (r == 0) {
        path = uplink->settings.key_password_file;
        r = path[0] != '\0' ? read_secret(path, &attempt->key_password) : 0;
    }
    if (r < 0)
        *ret_path = path;
    return r;
}

/* Return: is it under way? If not, @reason says why. */
static bool try_broker(struct uplink *uplink, char reason[static UPLINK_TEXT_MAX])
{
    const char *uri = uplink->brokers[uplink->broker];
    const char *path;
    AUTO_FREE struct attempt *attempt = calloc(1, sizeof(*attempt));
    int rc = MQTTASYNC_FAILURE;

    if (!attempt) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "out of memory");
        return false;
    }
    int r = read_secrets(uplink, attempt, &path);
    if (r < 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "cannot read %s: %s", path, strerror(-r));
    } else {
        (void)snprintf(attempt->uri, sizeof(attempt->uri), "%s", uri);
        attempt->uris[0] = attempt->uri;
        rc = uplink->client ? 0 : create_client(uplink, uri);
        if (rc == 0)
            rc = set_callbacks(uplink);
        if (rc == 0)
            rc = begin(uplink, attempt);
        if (rc != 0) {
            uplink->must_destroy = true;
            (void)snprintf(reason, UPLINK_TEXT_MAX, "Paho refuses to connect (%d): %s", rc,
                           uri);
        }
    }
    wipe(&attempt->password);
    wipe(&attempt->key_password);
    return rc == 0;
}

void uplink_connect(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];
    bool is_tls = uplink_uri_is_tls(uplink->brokers[uplink->broker]);

    if (uplink->must_destroy || uplink->client_is_tls != is_tls)
        uplink_destroy_client(uplink);
    mailbox_locked(&uplink->mailbox, next_epoch, uplink);
    (void)paho_link_take_connect_error();
    uplink->tried = true;
    uplink->online_ms = 0;
    uplink->proven = false;
    uplink->retry_at_once = false;
    uplink->doubt = false;
    uplink->unanswered = 0;
    uplink->foreign_text[0] = '\0';
    uplink->drop_reason[0] = '\0';
    uplink_set_phase(uplink, PHASE_CONNECTING);
    set_timer_in(uplink, uplink->settings.connect_timeout_ms + UPLINK_GRACE_MS);
    if (!try_broker(uplink, reason))
        uplink_end_connection(uplink, reason);
}

/* --- our own disconnect --------------------------------------------------- */

void uplink_disconnect(struct uplink *uplink, enum uplink_phase phase)
{
    MQTTAsync_disconnectOptions options =
        (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer;

    if (uplink->settings.protocol == MQTTVERSION_5) {
        options = (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer5;
        options.onSuccess5 = on_closed5;
        options.onFailure5 = on_close_failure5;
    } else {
        options.onSuccess = on_closed;
        options.onFailure = on_close_failure;
    }
    options.timeout = 0;
    options.context = (void *)uplink->epoch;
    uplink_set_phase(uplink, phase);
    set_timer_in(uplink, UPLINK_GRACE_MS);
    /* Refused: the connection has gone by itself. */
    if (MQTTAsync_disconnect(uplink->client, &options) != MQTTASYNC_SUCCESS)
        uplink_end_connection(uplink, uplink->drop_reason);
}

/* The client does not answer any more: take a new one. */
static void give_client_up(struct uplink *uplink, const char *reason)
{
    uplink_destroy_client(uplink);
    uplink_end_connection(uplink, reason);
}

/* --- watchdogs ------------------------------------------------------------ */

static void on_stall(struct uplink *uplink)
{
    (void)snprintf(uplink->drop_reason, sizeof(uplink->drop_reason),
                   "no answer for %" PRIu64 " s",
                   (uplink->settings.ack_timeout_ms + 999) / 1000);
    if (++uplink->stalls >= STALLS_MAX)
        give_client_up(uplink, uplink->drop_reason);
    else
        uplink_disconnect(uplink, PHASE_DROPPING);
}

static void watch_answers(struct uplink *uplink)
{
    int64_t due_ms = uplink->progress_ms + (int64_t)uplink->settings.ack_timeout_ms;

    if (uplink->doubt)
        give_client_up(uplink, "broker closed the connection");
    else if (uplink->in_flight == 0 || uplink->settings.ack_timeout_ms == 0)
        return; /* the next message arms the timer */
    else if (uplink_now_ms(uplink) >= due_ms)
        on_stall(uplink);
    else
        uplink_timer_set(uplink, due_ms);
}

static void on_due(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    switch (uplink->phase) {
    case PHASE_WAITING:
        uplink_connect(uplink);
        break;
    case PHASE_CONNECTING:
        (void)snprintf(reason, sizeof(reason), "no connection within %" PRIu64 " s",
                       (uplink->settings.connect_timeout_ms + 999) / 1000);
        give_client_up(uplink, reason);
        break;
    case PHASE_ONLINE:
        watch_answers(uplink);
        break;
    case PHASE_DROPPING:
    case PHASE_STOPPING:
        give_client_up(uplink, uplink->drop_reason);
        break;
    case PHASE_STOPPED:
        break;
    }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *owner)
{
    struct uplink *uplink = owner;

    (void)source;
    (void)usec;
    uplink->timer_armed = false;
    uplink_read_mail(uplink); /* what arrived in time is not late because the loop was */
    if (!uplink->timer_armed)
        on_due(uplink);
    uplink_report(uplink);
    return 0;
}

/* --- events --------------------------------------------------------------- */

static const char *connack_text(const struct uplink *uplink, int code)
{
    static const char *const texts[] = {"",
                                        "protocol version not accepted",
                                        "client id not accepted",
                                        "server unavailable",
                                        "bad user name or password",
                                        "not authorized"};

    if (uplink->settings.protocol == MQTTVERSION_5)
        return packet_reason_text(code);
    return code < 6 ? texts[code] : "unknown";
}

static void explain_silence(const struct uplink *uplink,
                            const struct uplink_event *event,
                            char reason[static UPLINK_TEXT_MAX])
{
    if (strstr(event->text, "timeout"))
        (void)snprintf(reason, UPLINK_TEXT_MAX, "no connection within %" PRIu64 " s",
                       (uplink->settings.connect_timeout_ms + 999) / 1000);
    else if (uplink->client_is_tls)
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       "TLS connection failed: is this a TLS port, and is the broker's "
                       "certificate for this host name?");
    else
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s",
                       uplink_build_lacks()
                           ? "connection refused or closed before an answer"
                           : "broker closed the connection before it answered");
}

static void explain_failure(const struct uplink *uplink,
                            const struct uplink_event *event,
                            char reason[static UPLINK_TEXT_MAX])
{
    int error = paho_link_take_connect_error();

    if (event->is_connack) {
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       uplink->settings.protocol == MQTTVERSION_5 ? "%s (code 0x%02X)"
                                                                  : "%s (code %d)",
                       connack_text(uplink, event->code), (unsigned)event->code);
    } else if (error != 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", strerror(error));
        if (reason[0] >= 'A' && reason[0] <= 'Z')
            reason[0] = (char)(reason[0] - 'A' + 'a');
    } else if (uplink->foreign_text[0] != '\0') {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", uplink->foreign_text);
    } else {
        explain_silence(uplink, event, reason);
    }
}

static void on_connected(struct uplink *uplink, const struct uplink_event *event)
{
    char uri[UPLINK_TEXT_MAX];
    const char *broker = uplink->brokers[uplink->broker];

    uplink->limits = event->limits;
    if (event->limits.keepalive_s > 0 && event->limits.keepalive_s < uplink->keepalive_s) {
        /* 1.3.12 would go on with ours (upstream #1421), and the broker would hang up. */
        uplink->keepalive_s = event->limits.keepalive_s;
        uplink->retry_at_once = true;
        log_info("link_keepalive broker=%s lowered_to_s=%u",
                 log_quote(uri, sizeof(uri), broker, strlen(broker)), uplink->keepalive_s);
        uplink_disconnect(uplink, PHASE_DROPPING);
        return;
    }
    uplink_timer_off(uplink);
    uplink->connects++;
    uplink->online_ms = uplink_now_ms(uplink);
    uplink_set_phase(uplink, PHASE_ONLINE);
    log_notice("link_online broker=%s window=%u",
               log_quote(uri, sizeof(uri), broker, strlen(broker)), uplink_window(uplink));
}

/* Paho's own keep-alive ends a connection without telling, hence the second text. */
static const char *loss_reason(const struct uplink *uplink)
{
    int64_t since_ms =
        uplink->progress_ms > uplink->online_ms ? uplink->progress_ms : uplink->online_ms;

    if (uplink->drop_reason[0] != '\0')
        return uplink->drop_reason;
    if (uplink->keepalive_s > 0 &&
        uplink_now_ms(uplink) - since_ms > (int64_t)uplink->keepalive_s * 2000)
        return "broker closed the connection or no longer answers";
    return "broker closed the connection";
}

static void on_goodbye(struct uplink *uplink, int code)
{
    if (uplink->drop_reason[0] == '\0')
        (void)snprintf(uplink->drop_reason, sizeof(uplink->drop_reason),
                       "broker closed the connection: %s (code 0x%02X)",
                       packet_reason_text(code), (unsigned)code);
}

static void free_event(void *context)
{
    struct uplink_event *event = context;

    event->busy = false;
}

static bool is_connected(const struct uplink *uplink)
{
    return uplink->phase == PHASE_ONLINE || uplink->phase == PHASE_DROPPING ||
           uplink->phase == PHASE_STOPPING;
}

void uplink_on_event(struct uplink *uplink, struct uplink_event *event)
{
    char reason[UPLINK_TEXT_MAX];
    struct uplink_event news = *event; /* nobody writes while it is busy */

    mailbox_locked(&uplink->mailbox, free_event, event);
    if (news.epoch != uplink->epoch)
        return;
    switch (news.kind) {
    case UPLINK_CONNECTED:
        if (uplink->phase == PHASE_CONNECTING)
            on_connected(uplink, &news);
        break;
    case UPLINK_CONNECT_FAILED:
        if (uplink->phase != PHASE_CONNECTING)
            break;
        explain_failure(uplink, &news, reason);
        uplink_end_connection(uplink, reason);
        break;
    case UPLINK_DISCONNECTED_BY_BROKER:
        on_goodbye(uplink, news.code); /* Paho reports no loss after this */
        if (is_connected(uplink))
            uplink_end_connection(uplink, uplink->drop_reason);
        break;
    case UPLINK_LOST:
    case UPLINK_CLOSED:
        if (is_connected(uplink))
            uplink_end_connection(uplink, loss_reason(uplink));
        break;
    case UPLINK_EVENT_COUNT:
        break;
    }
}

static void take_text(void *context)
{
    struct uplink *uplink = context;

    memcpy(uplink->foreign_text, uplink->text.text, sizeof(uplink->foreign_text));
}

void uplink_on_text(struct uplink *uplink)
{
    if (uplink->foreign_text[0] == '\0')
        mailbox_locked(&uplink->mailbox, take_text, uplink);
}
