/* SPDX-License-Identifier: MIT */
/*
 * uplink.c - creates, starts, stops and frees the uplink; dispatches its mail and its timer
 *
 * Paho's callbacks post mail; the loop takes it here and passes each item to the
 * file that it concerns. Changes are reported to the owner once, after the last
 * item, so that ops->changed, which sends, never runs inside the walk over the mail.
 *
 * Invariant: there is one uplink in a process. Paho has two threads for all clients, and
 * some of its callbacks have no context, so they find the uplink in uplink_instance and never
 * through a pointer that may be dangling.
 *
 * Diagnostics: uplink_file_unusable, uplink_file_suspect, uplink_insecure,
 * uplink_setting_unusable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/file_check.h"
#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"

/* Answers come before timers: what has been answered is no stall. */
#define MAIL_PRIORITY (SD_EVENT_PRIORITY_NORMAL - 1)
/* Indices have 16 bits, in slots as in MQTT's packet ids. */
#define WINDOW_MAX 65535u

#define TIMER_ACCURACY_US 10000
/* So long the broker may take to answer the offline message. */
#define PARTING_MS       1000
#define PACE_ACCURACY_US 1000

/* --- mail ----------------------------------------------------------------- */

_Static_assert(offsetof(struct uplink_mail, mail) == 0 &&
                   offsetof(struct uplink_slot, post) == 0 &&
                   offsetof(struct uplink_event, post) == 0 &&
                   offsetof(struct uplink_text, post) == 0,
               "the mail is the first member of what it belongs to");

static struct uplink_mail *mail_of(struct mail *mail)
{
    return (struct uplink_mail *)mail;
}

static void read_mail(struct uplink *uplink)
{
    struct mail *next;

    for (struct mail *mail = mailbox_take(&uplink->inbox.mailbox); mail; mail = next) {
        /* The slot may be in use again, and the lookup freed, before the next step. */
        next = mail->next;
        switch (mail_of(mail)->kind) {
        case UPLINK_MAIL_SLOT:
            uplink_on_slot(uplink, (struct uplink_slot *)mail);
            break;
        case UPLINK_MAIL_EVENT:
            uplink_on_event(uplink, (struct uplink_event *)mail);
            break;
        case UPLINK_MAIL_TEXT:
            uplink_on_text(uplink);
            break;
        case UPLINK_MAIL_LOOKUP:
            uplink_on_lookup(uplink, (struct uplink_lookup *)mail);
            break;
        }
    }
}

static void continue_presence(struct uplink *uplink)
{
    if (uplink->state == LINK_PARTING && uplink->presence.in_flight == 0)
        uplink_disconnect(uplink, LINK_STOPPING, MQTT_SUCCESS);
    uplink_birth_continue(uplink);
}

static int on_mail(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct uplink *uplink = userdata;

    (void)source;
    (void)fd;
    (void)events;
    read_mail(uplink);
    continue_presence(uplink);
    uplink_leave_if_due(uplink);
    uplink_report(&uplink->owner);
    return 0;
}

/* Paho's receiving thread. */
static void wake_loop(void *userdata)
{
    struct uplink *uplink = userdata;

    mailbox_wake(&uplink->inbox.mailbox);
}

static int watch_mail(struct uplink *uplink)
{
    int r = mailbox_init(&uplink->inbox.mailbox);

    if (r < 0)
        return r;
    uplink->inbox.is_ready = true;
    r = sd_event_add_io(uplink->event, &uplink->inbox.source,
                        mailbox_fd(&uplink->inbox.mailbox), EPOLLIN, on_mail, uplink);
    if (r < 0)
        return r;
    return sd_event_source_set_priority(uplink->inbox.source, MAIL_PRIORITY);
}

/* --- the timer ------------------------------------------------------------ */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct uplink *uplink = userdata;

    (void)source;
    uplink->timer.is_armed = false;
    read_mail(uplink); /* an answer in time is not late because the loop was */
    if (!uplink->timer.is_armed && !uplink_extend_deadline(uplink, usec))
        uplink_on_deadline(uplink);
    continue_presence(uplink);
    uplink_report(&uplink->owner);
    return 0;
}

/* More may be sent again. */
static int on_pace(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct uplink *uplink = userdata;

    (void)source;
    (void)usec;
    uplink_on_pace(uplink);
    continue_presence(uplink);
    uplink_report(&uplink->owner);
    return 0;
}

static int init_pace(struct uplink *uplink)
{
    int r = sd_event_add_time(uplink->event, &uplink->pace.source, CLOCK_BOOTTIME, 0,
                              PACE_ACCURACY_US, on_pace, uplink);

    return r < 0 ? r : sd_event_source_set_enabled(uplink->pace.source, SD_EVENT_OFF);
}

static int on_online_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct uplink *uplink = userdata;

    (void)source;
    (void)usec;
    uplink->retry.online_timer.is_armed = false;
    uplink_on_online_timer(uplink);
    uplink_leave_if_due(uplink);
    uplink_report(&uplink->owner);
    return 0;
}

static int
init_timer(struct uplink *uplink, struct uplink_timer *timer, sd_event_time_handler_t handler)
{
    int r = sd_event_add_time(uplink->event, &timer->source, CLOCK_BOOTTIME, 0,
                              TIMER_ACCURACY_US, handler, uplink);

    return r < 0 ? r : sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
}

/* --- settings ------------------------------------------------------------- */

/* A missing file does not keep local programs from publishing, and may be created later. Dates
 * are logged by certificates.c, and once a day from then on. */
static void log_finding(void *userdata, const struct uplink_finding *finding)
{
    char file[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];
    char remedy[UPLINK_TEXT_MAX];
    bool *are_usable = userdata;

    (void)log_quote(file, sizeof(file), finding->file, strlen(finding->file));
    (void)log_quote(reason, sizeof(reason), finding->text, strlen(finding->text));
    (void)log_quote(remedy, sizeof(remedy), finding->remedy, strlen(finding->remedy));
    switch (finding->kind) {
    case UPLINK_FINDING_UNUSABLE:
    case UPLINK_FINDING_UNCHECKED: /* the daemon itself has no access */
        *are_usable = false;
        log_error("uplink_file_unusable key=%s file=%s reason=%s messages=kept remedy=%s",
                  finding->key, file, reason, remedy);
        break;
    case UPLINK_FINDING_SUSPECT:
        log_warning("uplink_file_suspect key=%s file=%s reason=%s remedy=%s", finding->key,
                    file, reason, remedy);
        break;
    case UPLINK_FINDING_INSECURE:
        log_warning("uplink_insecure key=%s reason=%s remedy=%s", finding->key, reason, remedy);
        break;
    case UPLINK_FINDING_DATES:
        break;
    }
}

/* Return: can they all be used? */
static bool log_files(const struct uplink_settings *settings)
{
    struct clock_reading now;
    bool are_usable = true;

    clock_read(&now);
    uplink_check_files(settings, now.wall_ms, log_finding, &are_usable);
    return are_usable;
}

static bool is_known_scheme(const char *uri)
{
    return strncmp(uri, "tcp://", 6) == 0 || strncmp(uri, "mqtt://", 7) == 0 ||
           uplink_uri_is_tls(uri);
}

/* Without the replaced call they would change nothing. */
static bool tls_settings_are_usable(const struct uplink_tls_settings *settings)
{
    bool is_default = settings->min_version == UPLINK_TLS_1_2 && settings->alpn[0] == '\0';

    if (is_default || paho_handshake_is_replaced())
        return true;
    log_error("uplink_setting_unusable key=%s reason=\"this build links Paho's shared library, "
              "which cannot do that\" remedy=\"leave it out, or build with the static one\"",
              settings->alpn[0] != '\0' ? "uplink.tls.alpn" : "uplink.tls.min_version");
    return false;
}

static bool settings_are_usable(const struct uplink_settings *settings)
{
    bool is_usable = tls_settings_are_usable(&settings->tls);

    if (settings->broker_count == 0) {
        log_error(
            "uplink_setting_unusable key=uplink.brokers reason=\"names no broker\" remedy=\"name at least one\"");
        is_usable = false;
    }
    for (size_t i = 0; i < settings->broker_count; i++) {
        if (is_known_scheme(settings->brokers[i]))
            continue;
        log_error("uplink_setting_unusable key=uplink.brokers reason=\"broker %zu is none of "
                  "tcp:// mqtt:// ssl:// mqtts://\" remedy=\"correct its scheme\"",
                  i + 1);
        is_usable = false;
    }
    if (settings->window == 0 || settings->window > WINDOW_MAX) {
        log_error("uplink_setting_unusable key=uplink.window reason=\"must be 1 to %u\" "
                  "remedy=\"correct it\"",
                  WINDOW_MAX);
        is_usable = false;
    }
    return is_usable;
}

const char *uplink_build_limitations(void)
{
    return paho_link_limitations();
}

/* --- create, start, stop, free -------------------------------------------- */

/* 1.3.12 takes a proxy from the environment even for plain MQTT (upstream #1344). */
static void ignore_proxies(void)
{
    (void)unsetenv("http_proxy");
    (void)unsetenv("https_proxy");
    (void)unsetenv("HTTP_PROXY");
    (void)unsetenv("HTTPS_PROXY");
}

/* A static library does not run its own initializer, hence the explicit call. */
static void prepare_paho(void)
{
    static bool is_prepared;
    MQTTAsync_init_options options = MQTTAsync_init_options_initializer;
    unsigned seed = (unsigned)clock_monotonic_us(); /* for a machine that has no entropy yet */

    if (is_prepared)
        return;
    (void)!getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
    ignore_proxies();
    options.do_openssl_init = 1;
    MQTTAsync_global_init(&options);
    srand(seed); /* Paho seeds nothing when clients are created with options */
    is_prepared = true;
}

static void init_inbox(struct uplink *uplink)
{
    uplink->inbox.text.post.kind = UPLINK_MAIL_TEXT;
    for (unsigned parity = 0; parity < 2; parity++) {
        for (unsigned kind = 0; kind < UPLINK_EVENT_COUNT; kind++) {
            uplink->inbox.events[parity][kind].post.kind = UPLINK_MAIL_EVENT;
            uplink->inbox.events[parity][kind].kind = (enum uplink_event_kind)kind;
        }
    }
}

static int prepare(struct uplink *uplink)
{
    struct uplink_brokers *brokers = &uplink->brokers;
    int r = uplink_slots_init(uplink);

    if (r == 0) {
        brokers->count = uplink->settings->broker_count;
        brokers->list = calloc(brokers->count, sizeof(*brokers->list));
        r = brokers->list ? 0 : -ENOMEM;
    }
    if (r == 0)
        r = uplink_presence_init(uplink);
    if (r == 0)
        r = watch_mail(uplink);
    if (r >= 0)
        r = init_timer(uplink, &uplink->timer, on_timer);
    if (r >= 0)
        r = init_timer(uplink, &uplink->retry.online_timer, on_online_timer);
    if (r >= 0)
        r = init_pace(uplink);
    if (r >= 0)
        r = uplink_watch_certificates(uplink);
    if (r >= 0)
        prepare_paho();
    return r < 0 ? r : 0;
}

int uplink_new(sd_event *event,
               const struct uplink_settings *settings,
               const struct uplink_ops *ops,
               void *userdata,
               struct uplink **ret)
{
    if (uplink_instance)
        return -EBUSY;
    if (!settings_are_usable(settings))
        return UPLINK_E_SETTINGS;
    (void)log_files(settings);
    uplink_log_protocol(settings);
    struct uplink *uplink = calloc(1, sizeof(*uplink));
    if (!uplink)
        return -ENOMEM;
    tls_files_init(&uplink->client.tls_files);
    uplink->event = sd_event_ref(event);
    uplink->settings = settings;
    uplink->owner.ops = ops;
    uplink->owner.userdata = userdata;
    uplink->connection.limits = uplink_no_limits();
    uplink->connection.end_code = -1;
    uplink->since_boot_ms = uplink_now_ms();
    uplink->resolver.mailbox = &uplink->inbox.mailbox;
    init_inbox(uplink);

    int r = prepare(uplink);
    if (r < 0) {
        uplink_free(uplink);
        return r;
    }
    uplink_instance = uplink;
    paho_link_set_before_wait(wake_loop, uplink);
    /* No callback reads the trace; at lower levels the library would still write it. */
    MQTTAsync_setTraceLevel(MQTTASYNC_TRACE_ERROR);
    *ret = uplink;
    return 0;
}

int uplink_start(struct uplink *uplink)
{
    if (uplink->state != LINK_STOPPED)
        return -EALREADY;
    uplink->retry.due_ms = 0;
    uplink_timer_set(&uplink->timer, uplink_now_ms());
    uplink_set_state(uplink, LINK_WAITING);
    return 0;
}

/* A good connection is not given up for files that cannot work. */
static void renew_connection(struct uplink *uplink)
{
    if (!uplink_has_old_files(uplink) || !log_files(uplink->settings))
        return;
    uplink_renew(uplink, "files were replaced");
    uplink_leave_if_due(uplink);
}

void uplink_retry_now(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];
    const char *remedy = NULL;
    int code;

    uplink_end_pauses(uplink);
    if (uplink->state == LINK_ONLINE)
        remedy = uplink_recheck_limits(uplink, reason, &code);
    if (remedy) {
        uplink->connection.remedy = remedy;
        uplink_note_end(&uplink->connection, UPLINK_CAUSE_DROPPED, reason);
        uplink_disconnect(uplink, LINK_DROPPING, code);
    } else {
        uplink_plan_leave(uplink);
        renew_connection(uplink);
    }
    uplink_report(&uplink->owner);
}

static void stop_at_once(struct uplink *uplink)
{
    uplink_timer_off(&uplink->timer);
    uplink_timer_off(&uplink->retry.online_timer);
    uplink_set_state(uplink, LINK_STOPPED);
}

static void begin_parting(struct uplink *uplink)
{
    if (!uplink_birth_leave(uplink)) {
        uplink_disconnect(uplink, LINK_STOPPING, MQTT_SUCCESS);
        return;
    }
    uplink_timer_set_in(&uplink->timer, PARTING_MS);
    uplink_set_state(uplink, LINK_PARTING);
}

/*
 * An attempt under way cannot be cancelled: its outcome is ignored, and the
 * client is destroyed by uplink_free() or before the next attempt.
 */
void uplink_stop(struct uplink *uplink)
{
    switch (uplink->state) {
    case LINK_ONLINE:
        begin_parting(uplink);
        break;
    case LINK_DROPPING:
        uplink_set_state(uplink, LINK_STOPPING);
        break;
    case LINK_CONNECTING:
        uplink->client.is_unusable = true;
        stop_at_once(uplink);
        break;
    case LINK_WAITING:
    case LINK_RESOLVING:
        stop_at_once(uplink);
        break;
    case LINK_STOPPED:
    case LINK_PARTING:
    case LINK_STOPPING:
    case LINK_FREED:
    case LINK_STATES:
        break;
    }
    if (uplink->state == LINK_STOPPED)
        uplink_report(&uplink->owner);
}

void uplink_free(struct uplink *uplink)
{
    if (!uplink)
        return;
    uplink_set_state(uplink, LINK_FREED);
    uplink_note_end(&uplink->connection, UPLINK_CAUSE_DROPPED, "disconnected by the daemon");
    uplink_release_library(uplink); /* calls back on this thread: fills the mailbox */
    tls_files_close(&uplink->client.tls_files);
    if (uplink_instance == uplink) {
        read_mail(uplink);
        uplink_sweep(uplink);
        paho_link_set_before_wait(NULL, NULL);
        uplink_instance = NULL;
    }
    sd_event_source_disable_unref(uplink->timer.source);
    sd_event_source_disable_unref(uplink->retry.online_timer.source);
    sd_event_source_disable_unref(uplink->pace.source);
    sd_event_source_disable_unref(uplink->inbox.source);
    sd_event_source_disable_unref(uplink->certificates.timer);
    uplink_detach_lookups(&uplink->resolver);
    if (uplink->inbox.is_ready)
        mailbox_done(&uplink->inbox.mailbox);
    sd_event_unref(uplink->event);
    uplink_slots_done(uplink);
    uplink_presence_done(uplink);
    free(uplink->brokers.list);
    free(uplink);
}
