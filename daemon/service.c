/*
 * service.c - what systemd sees: readiness, status, watchdog, sockets, journal
 *
 * Nothing here may stop the gateway: where systemd is not there, or does not
 * listen, messages are taken and forwarded all the same. Only sockets whose
 * number cannot be right are an error, for the administrator asked for them;
 * what they are is for the listener to judge.
 *
 * An outcome in the journal is a copy for people; the audit file is the record.
 * So a failure to write one is not reported, and the entry is built in fixed
 * memory: all texts of a record fit, since MQTT allows no longer ones. Readers of
 * the journal print what the fields hold, or "blob data" in their place, so texts
 * have the visible form of text.h there; the message quotes and cuts the topic.
 */
#include "service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

#include "clock.h"
#include "log.h"
#include "peer.h"
#include "text.h"

#define SERVICE_STATUS_MAX 512
#define SERVICE_FIELDS_MAX 24
#define SERVICE_TOPIC_MAX  256   /* of the message, quoted */
#define SERVICE_TEXT_MAX   65535 /* of a field; MQTT allows no longer text */
#define SERVICE_MEMORY_MAX (3 * SERVICE_TEXT_MAX + 4096)

/* Kinds of entries, the same as in mqtt-spoold.catalog and docs/audit.md; never to be changed.
 */
static const char *const service_message_ids[SPOOL_OUTCOMES] = {
    [SPOOL_DELIVERED] = "790b6e2d773d4a22afc1181ebdf8ff01",
    [SPOOL_EVICTED] = "2b0c9ea366a341c487eabe33c1e51bd3",
    [SPOOL_EXPIRED] = "a516e0f584134c03ac0aea1f5121867b",
    [SPOOL_REJECTED] = "cff33000606749c081a93ad2a1372d64",
    [SPOOL_DROPPED] = "20a02c192a8a41909aa895005e64e52b",
    [SPOOL_DAMAGED] = "d42016b9b64747c3bd107db0ff8fb84e",
};

/* ---- sockets ---- */

int service_sockets(int fds[static SERVICE_SOCKETS_MAX])
{
    int count = sd_listen_fds(1);

    if (count < 0) {
        log_error("sockets_refused error=\"%s\" remedy=\"LISTEN_FDS and LISTEN_PID are set by "
                  "something else than systemd: unset them\"",
                  strerror(-count));
        return -EINVAL;
    }
    if (count > SERVICE_SOCKETS_MAX)
        log_error("sockets_refused passed=%d limit=%d remedy=\"remove ListenStream= lines from "
                  "the socket unit\"",
                  count, SERVICE_SOCKETS_MAX);
    for (int i = 0; i < count; i++) {
        if (count <= SERVICE_SOCKETS_MAX)
            fds[i] = SD_LISTEN_FDS_START + i;
        else
            (void)close(SD_LISTEN_FDS_START + i); /* nobody owns it */
    }
    return count <= SERVICE_SOCKETS_MAX ? count : -E2BIG;
}

/* ---- state ---- */

void service_ready(void)
{
    (void)sd_notify(
        0, "READY=1"); /* a manager that does not listen stops nothing, here and below */
}

void service_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void service_need_time(uint64_t ms)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, ms * 1000);
}

void service_alive(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

void service_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_monotonic_us());
}

void service_status(const char *format, ...)
{
    char text[SERVICE_STATUS_MAX];
    char shown[SERVICE_STATUS_MAX];
    va_list arguments;

    va_start(arguments, format);
    text_vformat(text, sizeof text, format, arguments); /* what is too long is cut */
    va_end(arguments);
    (void)text_show(shown, sizeof shown, text, strlen(text));
    (void)sd_notifyf(0, "STATUS=%s", shown);
}

/* ---- journal ---- */

/* An entry being built; a field that does not fit is left out. */
struct service_entry {
    struct iovec fields[SERVICE_FIELDS_MAX];
    int count;
    char *at;
    char *end;
};

PRINTF_LIKE(2, 3)
static void service_field(struct service_entry *entry, const char *format, ...)
{
    size_t room = (size_t)(entry->end - entry->at);
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(entry->at, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room || entry->count == SERVICE_FIELDS_MAX)
        return;
    entry->fields[entry->count++] = (struct iovec){entry->at, (size_t)length};
    entry->at += length;
}

/* In the visible form, cut at SERVICE_TEXT_MAX. */
static void service_text_field(struct service_entry *entry, const char *name, const char *value)
{
    static char shown[SERVICE_TEXT_MAX + 1]; /* loop thread only; too large for the stack */

    (void)text_show(shown, sizeof shown, value, strnlen(value, SERVICE_TEXT_MAX));
    service_field(entry, "%s=%s", name, shown);
}

static void service_message(struct service_entry *entry, const struct spool_record *record)
{
    const char *reason = spool_reason_name(record->reason);
    char topic[SERVICE_TOPIC_MAX];

    (void)log_quote(topic, sizeof topic, record->topic,
                    strnlen(record->topic, SERVICE_TEXT_MAX));
    service_field(entry, "MESSAGE=%s id=%" PRIu64 "%s%s topic=%s",
                  spool_outcome_name(record->outcome), record->id, *reason ? " reason=" : "",
                  reason, topic);
}

static void service_time_field(struct service_entry *entry, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_MAX];

    clock_format(wall_ms, text);
    service_field(entry, "%s=%s", name, text);
}

static void service_own_fields(struct service_entry *entry, const struct spool_record *record)
{
    service_field(entry, "MQTT_SPOOL_SEQ=%" PRIu64, record->seq);
    service_field(entry, "MQTT_SPOOL_ID=%" PRIu64, record->id);
    service_field(entry, "MQTT_SPOOL_OUTCOME=%s", spool_outcome_name(record->outcome));
    if (record->reason != SPOOL_REASON_NONE)
        service_field(entry, "MQTT_SPOOL_REASON=%s", spool_reason_name(record->reason));
    service_text_field(entry, "MQTT_SPOOL_LANE", record->lane);
    service_text_field(entry, "MQTT_SPOOL_CLIENT", record->client);
    if (record->uid == PEER_UID_UNKNOWN)
        service_field(entry, "MQTT_SPOOL_UID=unknown"); /* the catalog's texts name it */
    else
        service_field(entry, "MQTT_SPOOL_UID=%" PRIu32, record->uid);
    service_text_field(entry, "MQTT_SPOOL_TOPIC", record->topic);
    service_field(entry, "MQTT_SPOOL_QOS=%u", record->qos);
    service_field(entry, "MQTT_SPOOL_BYTES=%" PRIu64, record->bytes);
    service_time_field(entry, "MQTT_SPOOL_TIME", record->time_ms);
    service_time_field(entry, "MQTT_SPOOL_ACCEPTED", record->accepted_ms);
    service_field(entry, "MQTT_SPOOL_AGE_MS=%" PRId64, record->age_ms);
    service_field(entry, "MQTT_SPOOL_ATTEMPTS=%" PRIu32, record->attempts);
    if (record->code != SPOOL_NO_CODE)
        service_field(entry, "MQTT_SPOOL_CODE=%d", record->code);
    if (record->ref)
        service_text_field(entry, "MQTT_SPOOL_REF", record->ref);
}

void service_journal_outcome(const struct spool_record *record)
{
    static char memory[SERVICE_MEMORY_MAX]; /* loop thread only; too large for the stack */
    struct service_entry entry = {.at = memory, .end = memory + sizeof memory};
    bool failed = record->outcome != SPOOL_DELIVERED;

    service_message(&entry, record);
    service_field(&entry, "PRIORITY=%d", failed ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO);
    service_field(&entry, "SYSLOG_IDENTIFIER=mqtt-spoold");
    service_field(&entry, "MESSAGE_ID=%s", service_message_ids[record->outcome]);
    service_own_fields(&entry, record);
    (void)sd_journal_sendv(entry.fields, entry.count); /* without a journal there is no copy */
}
