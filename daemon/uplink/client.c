/* SPDX-License-Identifier: MIT */
/*
 * client.c - Paho's client: create, disconnect, destroy, and its callbacks
 *
 * Paho runs the callbacks on its own threads, or on the caller's at destroy. Each
 * attempt is an epoch, whose number is their context.
 *
 * Invariant: an event of an older epoch is refused under the mailbox's lock. No attempt
 * begins before the end of the last one was reported, because Paho changes its options
 * without a lock when it connects; each begins with MQTTAsync_setCallbacks(), which waits
 * for Paho's mutex: Paho's thread holds it until it has returned from the report and dropped
 * the old callbacks. If the end of an attempt is never reported, its client is destroyed.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/paho/paho_words.h"
#include "daemon/uplink/uplink-private.h"

/* More than the window, so that Paho never reaches its own limit. */
#define BUFFERED_MARGIN 8

/* --- callbacks: any thread ------------------------------------------------ */

static bool accept_event(void *userdata)
{
    const struct uplink_event *posted = userdata;
    struct uplink_event *event =
        &uplink_instance->inbox.events[posted->epoch & 1][posted->kind];

    if (posted->epoch != uplink_instance->client.epoch || event->is_unread)
        return false;
    event->is_unread = true;
    event->epoch = posted->epoch;
    event->code = posted->code;
    event->is_connack = posted->is_connack;
    event->limits = posted->limits;
    memcpy(event->text, posted->text, sizeof(event->text));
    memcpy(event->words, posted->words, sizeof(event->words));
    return true;
}

static void post_event(void *userdata, struct uplink_event *posted)
{
    struct uplink *uplink = uplink_instance;

    if (!uplink)
        return;
    posted->epoch = (uintptr_t)userdata;
    struct uplink_event *event = &uplink->inbox.events[posted->epoch & 1][posted->kind];
    (void)mailbox_post_if(&uplink->inbox.mailbox, &event->post.mail, accept_event, posted);
}

/* What the broker said besides its code, to be put behind it. */
static void put_words(char text[static UPLINK_TEXT_MAX], const struct paho_words *words)
{
    if (words->reason[0] != '\0')
        text_append(text, UPLINK_TEXT_MAX, ": \"%s\"", words->reason);
    if (words->reference[0] != '\0')
        text_append(text, UPLINK_TEXT_MAX, "; it refers to %s", words->reference);
}

/* Positive codes are the broker's, negative ones Paho's. */
static void post_failure(void *userdata, int code, const char *message)
{
    struct uplink_event posted = {
        .kind = UPLINK_CONNECT_FAILED, .code = code, .is_connack = code > 0};
    struct paho_words words;

    (void)snprintf(posted.text, sizeof(posted.text), "%s", message ? message : "");
    paho_words_take(&words);
    put_words(posted.words, &words);
    post_event(userdata, &posted);
}

static void on_connect_failure(void *userdata, MQTTAsync_failureData *response)
{
    post_failure(userdata, response ? response->code : MQTTASYNC_FAILURE,
                 response ? response->message : NULL);
}

static void on_connect_failure5(void *userdata, MQTTAsync_failureData5 *response)
{
    int code = response ? response->code : MQTTASYNC_FAILURE;

    if (response && (int)response->reasonCode >= MQTT_FIRST_FAILURE)
        code = (int)response->reasonCode;
    post_failure(userdata, code, response ? response->message : NULL);
}

static void on_connect_success(void *userdata, MQTTAsync_successData *response)
{
    struct uplink_event posted = {.kind = UPLINK_CONNECTED, .limits = uplink_no_limits()};

    (void)response;
    post_event(userdata, &posted);
}

/* Checks before it reads: 1.3.12 does not always fill the properties (upstream #1543). */
static bool
has_number(MQTTProperties *properties, enum MQTTPropertyCodes code, uint32_t *ret_number)
{
    if (!MQTTProperties_hasProperty(properties, code))
        return false;
    *ret_number = (uint32_t)MQTTProperties_getNumericValue(properties, code);
    return true;
}

static void copy_client_id(MQTTProperties *properties, char client_id[static CLIENT_ID_MAX])
{
    const MQTTProperty *property =
        MQTTProperties_getProperty(properties, MQTTPROPERTY_CODE_ASSIGNED_CLIENT_IDENTIFER);

    if (property)
        (void)snprintf(client_id, CLIENT_ID_MAX, "%.*s", property->value.data.len,
                       property->value.data.data);
}

static void on_connect_success5(void *userdata, MQTTAsync_successData5 *response)
{
    struct uplink_event posted = {.kind = UPLINK_CONNECTED, .limits = uplink_no_limits()};
    struct uplink_limits *limits = &posted.limits;
    uint32_t number;

    if (has_number(&response->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, &number))
        limits->receive_maximum = number;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, &number))
        limits->maximum_packet = number;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_MAXIMUM_QOS, &number))
        limits->maximum_qos = number;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_RETAIN_AVAILABLE, &number))
        limits->retain_available = number != 0;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, &number))
        limits->keepalive_s = number;
    if (has_number(&response->properties, MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM, &number))
        limits->alias_maximum = number;
    copy_client_id(&response->properties, limits->client_id);
    post_event(userdata, &posted);
}

static void on_lost(void *userdata, char *cause)
{
    struct uplink_event posted = {.kind = UPLINK_LOST};

    (void)cause; /* 1.3.12 never names one */
    post_event(userdata, &posted);
}

static void
on_disconnected(void *userdata, MQTTProperties *properties, enum MQTTReasonCodes code)
{
    struct uplink_event posted = {.kind = UPLINK_DISCONNECTED_BY_BROKER, .code = (int)code};
    struct paho_words words;

    paho_words_of(properties, &words);
    put_words(posted.words, &words);
    post_event(userdata, &posted);
}

static void post_closed(void *userdata)
{
    struct uplink_event posted = {.kind = UPLINK_CLOSED};

    post_event(userdata, &posted);
}

static void on_closed(void *userdata, MQTTAsync_successData *response)
{
    (void)response;
    post_closed(userdata);
}

static void on_closed5(void *userdata, MQTTAsync_successData5 *response)
{
    (void)response;
    post_closed(userdata);
}

static void on_close_failure(void *userdata, MQTTAsync_failureData *response)
{
    (void)response;
    post_closed(userdata);
}

static void on_close_failure5(void *userdata, MQTTAsync_failureData5 *response)
{
    (void)response;
    post_closed(userdata);
}

/* The uplink subscribes to nothing; what a broker sends anyway is dropped. */
static int on_message(void *userdata, char *topic, int topic_size, MQTTAsync_message *message)
{
    (void)userdata;
    (void)topic_size;
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static bool accept_text(void *userdata)
{
    struct uplink_text *text = &uplink_instance->inbox.text;

    (void)snprintf(text->text, sizeof(text->text), "%s", (const char *)userdata);
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

static int on_tls_error(const char *line, size_t size, void *userdata)
{
    char text[UPLINK_TEXT_MAX];

    (void)userdata;
    uplink_tls_text(line, size, text);
    post_text(text);
    return 1;
}

/* --- the client ----------------------------------------------------------- */

static void mark_destroying(void *userdata)
{
    struct uplink *uplink = userdata;

    uplink->client.epoch++;
    uplink->client.is_destroying = true;
}

static void unmark_destroying(void *userdata)
{
    struct uplink *uplink = userdata;

    uplink->client.is_destroying = false;
}

/* Runs the callbacks on this thread; those of the connection are ignored. */
void uplink_destroy_client(struct uplink *uplink)
{
    uplink->client.is_unusable = false;
    if (!uplink->client.handle)
        return;
    /* Destroyed while connected, it would remove the will by its DISCONNECT. */
    if (uplink_presence_is_unfinished(uplink))
        paho_link_cut();
    mailbox_run_locked(&uplink->inbox.mailbox, mark_destroying, uplink);
    MQTTAsync_destroy(&uplink->client.handle);
    mailbox_run_locked(&uplink->inbox.mailbox, unmark_destroying, uplink);
    uplink->client.handle = NULL;
}

/*
 * With its last client the library ends its threads, which takes 0.1 s and more
 * of the caller's time and leaks a little with OpenSSL (upstream #1383). A client
 * that never connects holds them, so that the other one can be replaced at any time.
 */
static MQTTAsync placeholder;

static int hold_library(void)
{
    int rc = MQTTASYNC_SUCCESS;

    if (!placeholder)
        rc = MQTTAsync_create(&placeholder, "tcp://127.0.0.1", "", MQTTCLIENT_PERSISTENCE_NONE,
                              NULL);
    if (rc != MQTTASYNC_SUCCESS)
        placeholder = NULL;
    return rc;
}

/* With its last client the library waits 10 s for a thread that was never created: then the
 * placeholder stays, for the next uplink or until the process ends. */
void uplink_release_library(struct uplink *uplink)
{
    uplink_destroy_client(uplink);
    if (paho_link_start_threads() == 0)
        MQTTAsync_destroy(&placeholder); /* NULL is accepted */
    /* A thread that has ended did not wait, so it may not have woken the loop. */
    if (uplink->inbox.is_ready)
        mailbox_wake(&uplink->inbox.mailbox);
}

int uplink_create_client(struct uplink *uplink, const char *uri)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;

    options.MQTTVersion = (int)uplink->client.protocol;
    options.sendWhileDisconnected = 0;
    options.maxBufferedMessages = (int)uplink->settings->window + BUFFERED_MARGIN;
    options.deleteOldestMessages = 0; /* 1.3.12 would delete them unreported (upstream #1542) */
    options.restoreMessages = 0;
    options.persistQoS0 = 0;
    int rc = hold_library();
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_createWithOptions(&uplink->client.handle, uri,
                                         uplink->settings->client_id,
                                         MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
    if (rc != MQTTASYNC_SUCCESS) {
        uplink->client.handle = NULL;
        return rc;
    }
    uplink->client.is_tls = uplink_uri_is_tls(uri);
    uplink_slots_restart(uplink);
    return 0;
}

/* Waits for Paho's mutex, see above. */
int uplink_set_callbacks(struct uplink *uplink)
{
    void *epoch = (void *)uplink->client.epoch;
    int rc = MQTTAsync_setCallbacks(uplink->client.handle, epoch, on_lost, on_message, NULL);

    if (rc == MQTTASYNC_SUCCESS && uplink->client.protocol == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(uplink->client.handle, epoch, on_disconnected);
    return rc;
}

void uplink_set_connect_callbacks(const struct uplink *uplink,
                                  MQTTAsync_connectOptions *options)
{
    options->context = (void *)uplink->client.epoch;
    if (uplink->client.protocol == MQTTVERSION_5) {
        options->onSuccess5 = on_connect_success5;
        options->onFailure5 = on_connect_failure5;
    } else {
        options->onSuccess = on_connect_success;
        options->onFailure = on_connect_failure;
    }
    if (options->ssl)
        options->ssl->ssl_error_cb = on_tls_error;
}

bool uplink_client_disconnect(struct uplink *uplink, int code)
{
    MQTTAsync_disconnectOptions options =
        (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer;

    if (uplink->client.protocol == MQTTVERSION_5) {
        options = (MQTTAsync_disconnectOptions)MQTTAsync_disconnectOptions_initializer5;
        options.reasonCode = (enum MQTTReasonCodes)code;
        options.onSuccess5 = on_closed5;
        options.onFailure5 = on_close_failure5;
        if (code == MQTT_SUCCESS && uplink_presence_wants_will(uplink))
            options.reasonCode = MQTTREASONCODE_DISCONNECT_WITH_WILL_MESSAGE;
    } else {
        options.onSuccess = on_closed;
        options.onFailure = on_close_failure;
    }
    options.timeout = 0;
    options.context = (void *)uplink->client.epoch;
    return MQTTAsync_disconnect(uplink->client.handle, &options) == MQTTASYNC_SUCCESS;
}
