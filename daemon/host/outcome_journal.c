/* SPDX-License-Identifier: MIT */
/*
 * outcome_journal.c - outcomes as journal entries
 *
 * An outcome in the journal is a copy for people; the audit file is the record.
 * So copies may be left out: journald never delays the loop, and an outage that
 * ends thousands of messages does not evict the rest of the machine's log. What
 * exceeds SERVICE_JOURNAL_PER_S, and what journald does not read in time, is left
 * out and counted: one line is logged when that begins, one with the number each
 * minute, and one when it has been over for a second.
 *
 * An entry is built in fixed memory: all texts of a record fit, because MQTT
 * allows no longer ones. Readers of the journal print what the fields hold, or
 * "blob data" instead, so texts have the visible form of text.h; the message
 * quotes and cuts the topic.
 *
 * Diagnostics: journal_limited, journal_dropped, journal_left_out.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/peer.h"
#include "base/text.h"
#include "daemon/host/journal.h"
#include "daemon/host/service-private.h"
#include "daemon/host/service.h"
#include "store/spool.h"

#define SERVICE_FIELDS_MAX 24
#define SERVICE_TOPIC_MAX  256   /* of the message, quoted */
#define SERVICE_TEXT_MAX   65535 /* of a field; MQTT allows no longer text */
#define SERVICE_MEMORY_MAX (3 * SERVICE_TEXT_MAX + 4096)

/* Delay of a retry; doubled while journald reads nothing. */
#define SERVICE_FLUSH_MIN_US UINT64_C(5000)
#define SERVICE_FLUSH_MAX_US UINT64_C(640000)
#define SERVICE_ACCURACY_US  1000

#define SERVICE_OVER_MS  1000
#define SERVICE_COUNT_MS 60000

/* A period in which outcomes are left out. */
struct service_shortage {
    uint64_t limited;
    uint64_t dropped;
    bool is_limit_logged;
    bool is_drop_logged;
    int64_t since_ms;
    int64_t newest_ms;
    int64_t logged_ms;
};

static struct {
    sd_event_source *flush;
    uint64_t flush_us;
    size_t waiting;
    unsigned allowance; /* entries that may be written now */
    int64_t allowed_ms;
    struct service_shortage shortage;
} service_journal = {.allowance = SERVICE_JOURNAL_BURST, .flush_us = SERVICE_FLUSH_MIN_US};

/* Kinds of entries, as in mqtt-spoold.catalog and docs/audit.md; never to be changed. */
static const char *const service_message_ids[SPOOL_OUTCOMES] = {
    [SPOOL_DELIVERED] = "790b6e2d773d4a22afc1181ebdf8ff01",
    [SPOOL_EVICTED] = "2b0c9ea366a341c487eabe33c1e51bd3",
    [SPOOL_EXPIRED] = "a516e0f584134c03ac0aea1f5121867b",
    [SPOOL_REJECTED] = "cff33000606749c081a93ad2a1372d64",
    [SPOOL_DROPPED] = "20a02c192a8a41909aa895005e64e52b",
    [SPOOL_DAMAGED] = "d42016b9b64747c3bd107db0ff8fb84e",
};

/* ---- an entry ---- */

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

    (void)text_show(shown, sizeof(shown), value, strnlen(value, SERVICE_TEXT_MAX));
    service_field(entry, "%s=%s", name, shown);
}

static void service_message(struct service_entry *entry, const struct spool_record *record)
{
    const char *reason = spool_reason_name(record->reason);
    char topic[SERVICE_TOPIC_MAX];

    (void)log_quote(topic, sizeof(topic), record->topic,
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

static void service_record_fields(struct service_entry *entry,
                                  const struct spool_record *record)
{
    service_field(entry, "MQTT_SPOOL_SEQ=%" PRIu64, record->seq);
    service_field(entry, "MQTT_SPOOL_ID=%" PRIu64, record->id);
    service_field(entry, "MQTT_SPOOL_OUTCOME=%s", spool_outcome_name(record->outcome));
    if (record->reason != SPOOL_REASON_NONE)
        service_field(entry, "MQTT_SPOOL_REASON=%s", spool_reason_name(record->reason));
    service_text_field(entry, "MQTT_SPOOL_LANE", record->lane);
    service_text_field(entry, "MQTT_SPOOL_CLIENT", record->client);
    if (record->uid == PEER_UID_UNKNOWN)
        service_field(entry,
                      "MQTT_SPOOL_UID=unknown"); /* the texts of the catalog refer to it */
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
    if (record->requeued_from != 0)
        service_field(entry, "MQTT_SPOOL_REQUEUED_FROM=%" PRIu64, record->requeued_from);
}

/* Return: was there room for it? */
static bool service_put_outcome(const struct spool_record *record)
{
    static char memory[SERVICE_MEMORY_MAX]; /* loop thread only; too large for the stack */
    struct service_entry entry = {.at = memory, .end = memory + sizeof(memory)};
    bool failed = record->outcome != SPOOL_DELIVERED;

    service_message(&entry, record);
    service_field(&entry, "PRIORITY=%d", failed ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO);
    service_field(&entry, "SYSLOG_IDENTIFIER=mqtt-spoold");
    service_field(&entry, "MESSAGE_ID=%s", service_message_ids[record->outcome]);
    service_record_fields(&entry, record);
    return journal_put(entry.fields, (size_t)entry.count);
}

/* ---- what is left out ---- */

static void service_log_left_out(int64_t now_ms, const char *is_over)
{
    struct service_shortage *shortage = &service_journal.shortage;

    log_warning(
        "journal_left_out limited=%" PRIu64 " dropped=%" PRIu64 " during_ms=%" PRId64
        " over=%s records=audit_file remedy=\"mqtt-spool failures and the audit file name "
        "each\"",
        shortage->limited, shortage->dropped, now_ms - shortage->since_ms, is_over);
    shortage->logged_ms = now_ms;
}

static void service_count_left_out(int64_t now_ms)
{
    struct service_shortage *shortage = &service_journal.shortage;

    if (shortage->limited + shortage->dropped == 0)
        shortage->since_ms = shortage->logged_ms = now_ms;
    shortage->newest_ms = now_ms;
}

static void service_count_limited(int64_t now_ms)
{
    struct service_shortage *shortage = &service_journal.shortage;

    service_count_left_out(now_ms);
    shortage->limited++;
    if (shortage->is_limit_logged)
        return;
    shortage->is_limit_logged = true;
    log_warning(
        "journal_limited per_s=%d records=audit_file remedy=\"none is needed: the audit "
        "file has all of them; or set audit.journal to copy less\"",
        SERVICE_JOURNAL_PER_S);
}

static void service_count_dropped(int64_t now_ms)
{
    struct service_shortage *shortage = &service_journal.shortage;

    service_count_left_out(now_ms);
    shortage->dropped++;
    if (shortage->is_drop_logged)
        return;
    shortage->is_drop_logged = true;
    log_warning(
        "journal_dropped cause=\"journald does not take them\" records=audit_file remedy=\"see "
        "whether journald runs (systemctl status systemd-journald)\"");
}

void service_tick(int64_t now_ms)
{
    struct service_shortage *shortage = &service_journal.shortage;

    if (shortage->limited + shortage->dropped == 0)
        return;
    if (now_ms - shortage->newest_ms >= SERVICE_OVER_MS) {
        service_log_left_out(now_ms, "yes");
        *shortage = (struct service_shortage){0};
    } else if (now_ms - shortage->logged_ms >= SERVICE_COUNT_MS) {
        service_log_left_out(now_ms, "no");
    }
}

/* ---- sending ---- */

static void service_flush_journal(void)
{
    size_t before = service_journal.waiting;

    service_journal.waiting = journal_flush();
    for (unsigned lost = journal_take_lost(); lost > 0; lost--)
        service_count_dropped(service_journal.allowed_ms);
    if (service_journal.waiting == 0)
        return;
    if (service_journal.waiting != before)
        service_journal.flush_us = SERVICE_FLUSH_MIN_US;
    else if (service_journal.flush_us < SERVICE_FLUSH_MAX_US)
        service_journal.flush_us *= 2;
    service_timer_start(service_journal.flush, service_journal.flush_us);
}

static int service_on_flush(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    (void)userdata;
    service_flush_journal();
    return 0;
}

/* A token bucket: SERVICE_JOURNAL_PER_S a second, SERVICE_JOURNAL_BURST at once. */
static bool service_may_write(int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - service_journal.allowed_ms;
    int64_t allowance = service_journal.allowance;

    if (elapsed_ms > 1000)
        elapsed_ms = 1000;
    if (elapsed_ms > 0) {
        allowance += elapsed_ms * SERVICE_JOURNAL_PER_S / 1000;
        service_journal.allowed_ms = now_ms;
    }
    if (allowance > SERVICE_JOURNAL_BURST)
        allowance = SERVICE_JOURNAL_BURST;
    service_journal.allowance = (unsigned)(allowance > 0 ? allowance - 1 : 0);
    return allowance > 0;
}

void service_journal_outcome(const struct spool_record *record, int64_t now_ms)
{
    if (service_may_write(now_ms)) {
        if (!service_put_outcome(record))
            service_count_dropped(now_ms);
        else if (service_journal.waiting == 0)
            service_flush_journal(); /* otherwise the timer does, which keeps the order */
    } else if (!journal_is_absent()) {
        service_count_limited(now_ms);
    }
}

int service_journal_start(sd_event *event)
{
    int r = sd_event_add_time_relative(event, &service_journal.flush, CLOCK_MONOTONIC, 0,
                                       SERVICE_ACCURACY_US, service_on_flush, NULL);

    return r < 0 ? r : 0;
}

/* What journald has not read by now is left out. */
void service_journal_end(void)
{
    struct service_shortage *shortage = &service_journal.shortage;

    service_flush_journal();
    if (service_journal.waiting > 0 && shortage->limited + shortage->dropped == 0)
        shortage->since_ms = service_journal.allowed_ms;
    shortage->dropped += service_journal.waiting;
    if (shortage->limited + shortage->dropped > 0)
        service_log_left_out(service_journal.allowed_ms, "yes");
    service_journal.flush = sd_event_source_disable_unref(service_journal.flush);
}
