/* SPDX-License-Identifier: MIT */
/*
 * slots.c - messages in flight
 *
 * A slot holds one message from uplink_send() to its answer. Its generation
 * and index are the context of Paho's callbacks. A callback compares the generation
 * under the mailbox's lock: if the slot was released before, it finds another
 * generation or no SENT slot, is counted and changes nothing.
 *
 * A generation never comes round, though a pointer has 32 bits on some processors. No
 * callback outlives its client, and generations begin again with each client. The slots are
 * used in turn, so all bits that the index leaves are used up together, after some 2^32
 * messages (2^64): before that the connection, and with it the client, is renewed. If
 * that comes too late, no message is sent with a generation that was used before.
 *
 * Where the broker did not answer, the library reports a failure before the loop knows why the
 * connection ended: the slot then waits for the end, which answers it with the cause.
 *
 * Invariant: a slot is released once, by the first of answer, refused send and sweep, whether
 * Paho loses a callback, calls it twice or too late. Paho's own queue stays empty: it is never
 * given more than the window, the bytes of the window and the broker's Receive Maximum.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

/* 1.3.12 sends integers of four bytes wrong from 2^31 on (upstream #1336). */
#define PAHO_INTEGER_MAX 0x7FFFFFFF
/* Out of memory; Paho's public header has no name for it. */
#define PAHO_MEMORY_ERROR (-99)
/* What an alias may add to a packet: the property, and a byte of each length. */
#define ALIAS_ROOM 5u
/* What a message expiry takes as a property. */
#define EXPIRY_BYTES 5u
/* The library's memory for a property besides its bytes: in two copies each a structure and the
 * blocks of its texts. A packet of 250 KB may hold 50,000 of them. */
#define PROPERTY_MEMORY 200u

#define PACE_RECHECK_MS 1000

/* Uses of a slot that are left when the connection is renewed. What is in flight then needs
 * none, and what announces the end needs few. */
#define GENERATIONS_KEPT 64

unsigned uplink_index_bits(unsigned count)
{
    unsigned bits = 1;

    while (count > 1u << bits)
        bits++;
    return bits;
}

uint64_t uplink_generation_max(unsigned pointer_bits, unsigned index_bits)
{
    return UINT64_MAX >> (64 - pointer_bits + index_bits);
}

void uplink_slots_restart(struct uplink *uplink)
{
    for (unsigned i = 0; i < uplink->slots.count; i++)
        uplink->slots.array[i].generation = 0;
}

int uplink_slots_init(struct uplink *uplink)
{
    uplink->slots.count = uplink->settings->window;
    uplink->slots.array = calloc(uplink->slots.count, sizeof(*uplink->slots.array));
    uplink->slots.topic = malloc(MQTT_TEXT_MAX + 1);
    if (!uplink->slots.array || !uplink->slots.topic)
        return -ENOMEM;
    uplink->slots.index_bits = uplink_index_bits(uplink->slots.count);
    uplink->slots.generation_max =
        uplink_generation_max(CHAR_BIT * sizeof(void *), uplink->slots.index_bits);
    STAILQ_INIT(&uplink->slots.free);
    TAILQ_INIT(&uplink->slots.sent);
    for (unsigned i = 0; i < uplink->slots.count; i++) {
        uplink->slots.array[i].post.kind = UPLINK_MAIL_SLOT;
        STAILQ_INSERT_TAIL(&uplink->slots.free, &uplink->slots.array[i], free);
    }
    return 0;
}

void uplink_slots_done(struct uplink *uplink)
{
    for (unsigned i = 0; uplink->slots.array && i < uplink->slots.count; i++)
        free(uplink->slots.array[i].text);
    free(uplink->slots.array);
    free(uplink->slots.topic);
}

/* --- the rate ------------------------------------------------------------- */

static int64_t pace_wait_ms(const struct uplink *uplink)
{
    const struct uplink_rate *rate = &uplink->settings->rate;

    if (rate->messages == 0 && rate->bytes == 0)
        return 0;
    return pacer_wait_ms(&uplink->pace.pacer, rate, uplink_now_ms());
}

bool uplink_is_paced(const struct uplink *uplink)
{
    return pace_wait_ms(uplink) > 0;
}

/* Not for longer than a second, because the rates may change meanwhile. */
static void pace_arm(struct uplink *uplink)
{
    int64_t wait_ms = pace_wait_ms(uplink);

    if (wait_ms == 0)
        return;
    if (wait_ms > PACE_RECHECK_MS)
        wait_ms = PACE_RECHECK_MS;
    /* As for the timer of the link: both fail only if the loop has ended. */
    (void)sd_event_source_set_time(uplink->pace.source,
                                   (uint64_t)(uplink_now_ms() + wait_ms) * 1000);
    (void)sd_event_source_set_enabled(uplink->pace.source, SD_EVENT_ONESHOT);
}

/* Also one that is sent again: what counts is what the line carries. */
static void pace_charge(struct uplink *uplink, uint64_t bytes)
{
    if (!pacer_has_limit(&uplink->pace.pacer, &uplink->settings->rate))
        return;
    pacer_charge(&uplink->pace.pacer, &uplink->settings->rate, uplink_now_ms(), bytes);
    pace_arm(uplink);
}

void uplink_on_pace(struct uplink *uplink)
{
    pace_arm(uplink);
    if (!uplink_is_paced(uplink))
        uplink->owner.is_change_due = true;
}

unsigned uplink_room(const struct uplink *uplink)
{
    unsigned window = uplink_window(uplink);

    if (uplink->state != LINK_ONLINE || uplink->brokers.is_leaving ||
        uplink->slots.in_flight >= window ||
        uplink->slots.in_flight_bytes >= uplink->settings->window_bytes ||
        uplink_is_paced(uplink))
        return 0;
    return window - uplink->slots.in_flight;
}

static void *slot_context(const struct uplink *uplink, const struct uplink_slot *slot)
{
    uintptr_t index = (uintptr_t)(slot - uplink->slots.array);

    return (void *)((uintptr_t)slot->generation << uplink->slots.index_bits | index);
}

/* --- callbacks: any thread ------------------------------------------------ */

struct posted_answer {
    struct uplink *uplink;
    struct uplink_slot *slot;
    uint64_t generation;
    enum uplink_answer_kind answer;
    int code;
    int64_t boot_ms;
    char *text; /* taken over with the answer */
};

static bool accept_answer(void *userdata)
{
    struct posted_answer *posted = userdata;
    struct uplink_slot *slot = posted->slot;

    if (slot->state != SLOT_SENT || slot->generation != posted->generation) {
        if (!posted->uplink->client.is_destroying)
            atomic_fetch_add_explicit(&posted->uplink->slots.late_answers, 1,
                                      memory_order_relaxed);
        return false;
    }
    slot->state = SLOT_ANSWERED;
    slot->answer = posted->answer;
    slot->code = posted->code;
    slot->answered_ms = posted->boot_ms;
    slot->text = posted->text;
    posted->text = NULL;
    return true;
}

/* @text: owned by this function. */
static void post_answer(void *userdata, enum uplink_answer_kind answer, int code, char *text)
{
    struct uplink *uplink = uplink_instance;
    if (!uplink) {
        free(text);
        return;
    }
    unsigned index_bits = uplink->slots.index_bits;
    uintptr_t index = (uintptr_t)userdata & (((uintptr_t)1 << index_bits) - 1);

    if (index >= uplink->slots.count) {
        free(text);
        return;
    }
    struct posted_answer posted = {.uplink = uplink,
                                   .slot = &uplink->slots.array[index],
                                   .generation = (uintptr_t)userdata >> index_bits,
                                   .answer = answer,
                                   .code = code,
                                   .boot_ms = uplink_now_ms(),
                                   .text = text};
    FAILPOINT("answer.in_callback");
    /* Answers that came together wake the loop once. */
    if (paho_link_has_more())
        (void)mailbox_post_quietly_if(&uplink->inbox.mailbox, &posted.slot->post.mail,
                                      accept_answer, &posted);
    else
        (void)mailbox_post_if(&uplink->inbox.mailbox, &posted.slot->post.mail, accept_answer,
                              &posted);
    free(posted.text);
}

static void on_success(void *userdata, MQTTAsync_successData *response)
{
    (void)response;
    post_answer(userdata, UPLINK_DELIVERED, -1, NULL);
}

/* The library drops a code that is none of failure; QoS 0 has none. */
static void on_success5(void *userdata, MQTTAsync_successData5 *response)
{
    uint8_t code = paho_link_answer_code();

    (void)response;
    post_answer(userdata, UPLINK_DELIVERED, code > 0 ? code : -1, NULL);
}

static void on_failure(void *userdata, MQTTAsync_failureData *response)
{
    (void)response;
    post_answer(userdata, UPLINK_UNKNOWN, -1, NULL);
}

/* Return: NULL: there is none, or no memory for it; owned by the caller. */
static char *copy_reason_string(MQTTProperties *properties)
{
    const MQTTProperty *property =
        MQTTProperties_getProperty(properties, MQTTPROPERTY_CODE_REASON_STRING);

    if (!property || property->value.data.len <= 0)
        return NULL;
    size_t size = (size_t)property->value.data.len;
    return strndup(property->value.data.data,
                   size < UPLINK_TEXT_MAX ? size : UPLINK_TEXT_MAX - 1);
}

/*
 * With code MQTTASYNC_SUCCESS the failure is the broker's reason code, with any
 * other it is the connection. Paho does not fill the whole structure on each path,
 * so the reason code is valid only in the first case.
 */
static void on_failure5(void *userdata, MQTTAsync_failureData5 *response)
{
    bool is_refused = response && response->code == MQTTASYNC_SUCCESS &&
                      response->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR;

    post_answer(userdata, is_refused ? UPLINK_REFUSED : UPLINK_UNKNOWN,
                is_refused ? (int)response->reasonCode : -1,
                is_refused ? copy_reason_string(&response->properties) : NULL);
}

/* --- the loop thread ------------------------------------------------------ */

struct slot_use {
    struct uplink_slot *slot;
    enum uplink_slot_state state;
    bool is_done;
};

static void mark_sent(void *userdata)
{
    struct slot_use *use = userdata;

    use->slot->generation++;
    use->slot->state = SLOT_SENT;
}

/* Back to FREE, if its state is still the one that the caller saw. */
static void mark_free(void *userdata)
{
    struct slot_use *use = userdata;

    use->is_done = use->slot->state == use->state;
    if (use->is_done)
        use->slot->state = SLOT_FREE;
}

/* Only the loop changes an ANSWERED slot. */
static void mark_ended(void *userdata)
{
    struct uplink_slot *slot = userdata;

    slot->state = SLOT_ENDED;
}

/* Are fewer than @kept uses of the slot left to this client? */
static bool is_worn(const struct uplink *uplink, const struct uplink_slot *slot, uint64_t kept)
{
    return uplink->slots.generation_max - slot->generation < kept;
}

static void slot_take(struct uplink *uplink, struct uplink_slot *slot)
{
    struct slot_use use = {.slot = slot};

    STAILQ_REMOVE_HEAD(&uplink->slots.free, free);
    TAILQ_INSERT_TAIL(&uplink->slots.sent, slot, order);
    mailbox_run_locked(&uplink->inbox.mailbox, mark_sent, &use);
    if (is_worn(uplink, slot, GENERATIONS_KEPT) && !uplink->brokers.is_leaving)
        uplink_renew(uplink, "all numbers of messages were used");
    if (uplink->slots.in_flight++ == 0)
        uplink_progress_expect(uplink);
    uplink->slots.in_flight_bytes += slot->size_bytes;
}

static bool
slot_release(struct uplink *uplink, struct uplink_slot *slot, enum uplink_slot_state state)
{
    struct slot_use use = {.slot = slot, .state = state};

    mailbox_run_locked(&uplink->inbox.mailbox, mark_free, &use);
    if (!use.is_done)
        return false;
    uplink->slots.in_flight--;
    uplink->slots.in_flight_bytes -= slot->size_bytes;
    TAILQ_REMOVE(&uplink->slots.sent, slot, order);
    STAILQ_INSERT_TAIL(&uplink->slots.free, slot, free);
    uplink->owner.is_change_due = true;
    return true;
}

/* Paho knows of a loss that was not reported: the report is under way, or was lost. */
static void suspect_loss(struct uplink *uplink)
{
    if (uplink->connection.is_loss_suspected)
        return;
    uplink->connection.is_loss_suspected = true;
    uplink_timer_set(&uplink->timer, uplink_now_ms() + UPLINK_GRACE_MS);
}

static void answer_owner(struct uplink *uplink, const struct uplink_answer *answer)
{
    if (answer->id == UPLINK_OWN_ID)
        uplink_presence_on_answer(uplink, answer);
    else
        uplink->owner.ops->answered(uplink->owner.userdata, answer);
}

static void answer_unknown(struct uplink *uplink, const struct uplink_slot *slot)
{
    const struct uplink_connection *connection = &uplink->connection;
    const struct uplink_answer answer = {
        .id = slot->id,
        .tag = slot->tag,
        .kind = UPLINK_UNKNOWN,
        .code = connection->end_code,
        .cause = connection->cause,
        .was_written = paho_link_is_taken(slot->packet_id),
        .was_oldest = slot == connection->oldest,
        .was_passed = slot->number < connection->answered,
        .text = connection->end_reason,
    };

    answer_owner(uplink, &answer);
}

/* The library reports what is in flight before it reports the loss, and thus the cause: what is
 * still connected waits for it. */
static void on_unanswered(struct uplink *uplink, struct uplink_slot *slot)
{
    bool is_ended = uplink->connection.cause != UPLINK_CAUSE_NONE;

    if (is_ended && !uplink_is_connected(uplink)) {
        if (slot_release(uplink, slot, SLOT_ANSWERED))
            answer_unknown(uplink, slot);
        return;
    }
    mailbox_run_locked(&uplink->inbox.mailbox, mark_ended, slot);
    if (uplink->state == LINK_ONLINE)
        suspect_loss(uplink);
}

/* A window that was small at first doubles with each time that all of it was acknowledged. */
static void note_acknowledged(struct uplink *uplink)
{
    struct uplink_connection *connection = &uplink->connection;

    if (connection->acknowledged < uplink->slots.count)
        connection->acknowledged++;
    if (connection->window > 0 && connection->window < uplink->slots.count)
        connection->window++;
}

/* @text: NULL: the broker gave none. */
static void
answer_known(struct uplink *uplink, const struct uplink_slot *slot, const char *text)
{
    struct uplink_answer answer = {
        .id = slot->id,
        .tag = slot->tag,
        .kind = slot->answer,
        .code = slot->code,
        .boot_ms = slot->answered_ms,
        .text = text ? text : "",
    };

    if (answer.kind == UPLINK_REFUSED)
        uplink_set_error(&uplink->last_error, UPLINK_CHECK_RIGHTS,
                         "the broker refused a message: %s (code 0x%02X)",
                         packet_reason_text(answer.code), (unsigned)answer.code);
    if (slot->qos > 0) { /* no broker answers QoS 0 */
        if (slot->number > uplink->connection.answered && slot->id != UPLINK_OWN_ID)
            uplink->connection.answered = slot->number;
        uplink->connection.is_proven = true;
        note_acknowledged(uplink);
        uplink->connection.has_accepted |=
            answer.kind == UPLINK_DELIVERED && slot->id != UPLINK_OWN_ID;
        uplink->retry.stalls = 0;
        answer.acknowledged_boot_ms = answer.boot_ms;
    }
    answer_owner(uplink, &answer);
}

/* @slot has its answer, or none follows. */
static void note_alias(struct uplink *uplink, struct uplink_slot *slot, bool is_delivered)
{
    if (slot->alias != 0)
        uplink_alias_answer(&uplink->aliases, slot->alias, slot->id, is_delivered);
    slot->alias = 0;
}

void uplink_on_slot(struct uplink *uplink, struct uplink_slot *slot)
{
    /* Only this function changes an ANSWERED slot. */
    if (slot->answer == UPLINK_UNKNOWN) {
        on_unanswered(uplink, slot);
        return;
    }
    if (slot == TAILQ_FIRST(&uplink->slots.sent))
        uplink_progress_note_answer(uplink, uplink_now_ms());
    AUTO_FREE char *text = slot->text;
    slot->text = NULL;
    note_alias(uplink, slot, slot->answer == UPLINK_DELIVERED);
    if (slot_release(uplink, slot, SLOT_ANSWERED))
        answer_known(uplink, slot, text);
}

/* One whose answer is not read yet may still be open at the broker. */
bool uplink_has_open_qos2(const struct uplink *uplink)
{
    const struct uplink_slot *slot;

    TAILQ_FOREACH(slot, &uplink->slots.sent, order) {
        if (slot->qos == 2)
            return true;
    }
    return false;
}

struct oldest_search {
    const struct uplink_slots *slots;
    const struct uplink_slot *oldest;
    unsigned unanswered; /* of the owner */
};

/* An answer that is not read yet is one, too; a failure that is not read yet is none. */
static void find_oldest(void *userdata)
{
    struct oldest_search *search = userdata;
    const struct uplink_slot *slot;

    TAILQ_FOREACH(slot, &search->slots->sent, order) {
        if (slot->state == SLOT_ANSWERED && slot->answer != UPLINK_UNKNOWN)
            continue;
        if (!search->oldest)
            search->oldest = slot;
        if (slot->id != UPLINK_OWN_ID)
            search->unanswered++;
    }
}

void uplink_sweep(struct uplink *uplink)
{
    struct oldest_search search = {.slots = &uplink->slots};
    struct uplink_slot *next;

    mailbox_run_locked(&uplink->inbox.mailbox, find_oldest, &search);
    uplink->connection.oldest = search.oldest;
    uplink->connection.unanswered += search.unanswered; /* an end may sweep twice */
    for (struct uplink_slot *slot = TAILQ_FIRST(&uplink->slots.sent); slot; slot = next) {
        next = TAILQ_NEXT(slot, order);
        /* If it is answered, its mail is queued. */
        if (slot_release(uplink, slot, SLOT_SENT) || slot_release(uplink, slot, SLOT_ENDED))
            answer_unknown(uplink, slot);
    }
}

struct sent_search {
    const struct uplink_slots *slots;
    bool is_found;
};

static void find_sent(void *userdata)
{
    struct sent_search *search = userdata;
    const struct uplink_slot *slot;

    TAILQ_FOREACH(slot, &search->slots->sent, order)
        search->is_found = search->is_found || slot->state != SLOT_ANSWERED;
}

bool uplink_is_swept(struct uplink *uplink)
{
    struct sent_search search = {.slots = &uplink->slots};

    if (uplink->slots.in_flight > 0)
        mailbox_run_locked(&uplink->inbox.mailbox, find_sent, &search);
    return !search.is_found;
}

/* --- checks, and conversion for Paho -------------------------------------- */

static uint8_t forwarded_qos(const struct uplink *uplink, const struct uplink_message *message)
{
    unsigned qos = message->qos;

    if (qos > uplink->settings->max_qos)
        qos = uplink->settings->max_qos;
    if (qos > uplink->connection.limits.maximum_qos)
        qos = uplink->connection.limits.maximum_qos;
    return (uint8_t)qos;
}

static uint64_t remaining_length(const struct uplink *uplink,
                                 const struct uplink_message *message,
                                 size_t topic_size)
{
    uint64_t size = 2 + topic_size + message->payload.size;

    if (forwarded_qos(uplink, message) > 0)
        size += 2;
    if (uplink->client.protocol != MQTTVERSION_5)
        return size;
    uint64_t properties = message->properties.size + message->stamp.size +
                          (message->expiry_ms >= 0 ? EXPIRY_BYTES : 0);
    return size + properties +
           varint_size(properties < MQTT_VARINT_MAX ? (uint32_t)properties : MQTT_VARINT_MAX);
}

static uint64_t memory_of_properties(struct view encoded)
{
    struct reader reader;
    struct packet_property property;
    uint64_t memory = 0;

    reader_init(&reader, encoded.data, encoded.size);
    while (packet_property_next(&reader, &property))
        memory += PROPERTY_MEMORY;
    return memory;
}

/* The packet, and the memory of its properties. */
static uint64_t size_in_window(const struct uplink *uplink,
                               const struct uplink_message *message,
                               uint64_t packet)
{
    if (uplink->client.protocol != MQTTVERSION_5)
        return packet;
    return packet + memory_of_properties(message->properties) +
           memory_of_properties(message->stamp);
}

struct message_size {
    uint64_t packet;
    uint64_t in_window;
};

/* Return: 0; UPLINK_E_*, with UPLINK_E_OTHER_BROKER that one. */
static int check_message(const struct uplink *uplink,
                         const struct uplink_message *message,
                         size_t topic_size,
                         struct message_size *ret,
                         size_t *ret_other)
{
    uint64_t remaining = remaining_length(uplink, message, topic_size);

    if (topic_size > MQTT_TEXT_MAX || remaining > MQTT_VARINT_MAX)
        return UPLINK_E_IMPOSSIBLE;
    uint64_t packet = 1 + varint_size((uint32_t)remaining) + remaining;
    int r = uplink_check_limits(uplink, packet, message->retain, ret_other);
    if (r != 0)
        return r;
    if (uplink->slots.in_flight >= uplink_window(uplink) || uplink_is_paced(uplink) ||
        is_worn(uplink, STAILQ_FIRST(&uplink->slots.free), 1))
        return UPLINK_E_FULL;
    /* A message larger than window_bytes is sent alone. */
    uint64_t size = size_in_window(uplink, message, packet);
    if (uplink->slots.in_flight > 0 &&
        uplink->slots.in_flight_bytes + size > uplink->settings->window_bytes)
        return UPLINK_E_FULL;
    *ret = (struct message_size){.packet = packet, .in_window = size};
    return 0;
}

static MQTTLenString borrow_view(struct view view)
{
    /* Paho copies the bytes and does not write them; its type has no const. */
    return (MQTTLenString){.len = (int)view.size, .data = (char *)(uintptr_t)view.data};
}

/* Return: 0 or an MQTTASYNC_* or other negative code of Paho. */
static int add_property(MQTTProperties *properties, const struct packet_property *property)
{
    MQTTProperty out = {.identifier = (enum MQTTPropertyCodes)property->id};

    switch (MQTTProperty_getType(out.identifier)) {
    case MQTTPROPERTY_TYPE_BYTE:
        out.value.byte = (unsigned char)property->number;
        break;
    case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER:
        out.value.integer4 =
            property->number > PAHO_INTEGER_MAX ? PAHO_INTEGER_MAX : property->number;
        break;
    case MQTTPROPERTY_TYPE_BINARY_DATA:
    case MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING:
        out.value.data = borrow_view(property->value);
        break;
    case MQTTPROPERTY_TYPE_UTF_8_STRING_PAIR:
        out.value.data = borrow_view(property->name);
        out.value.value = borrow_view(property->value);
        break;
    default:
        return MQTTASYNC_BAD_MQTT_OPTION; /* not one that is kept of a PUBLISH */
    }
    return MQTTProperties_add(properties, &out);
}

static int add_encoded(MQTTProperties *properties, struct view encoded)
{
    struct reader reader;
    struct packet_property property;
    int rc = 0;

    reader_init(&reader, encoded.data, encoded.size);
    while (rc == 0 && packet_property_next(&reader, &property))
        rc = add_property(properties, &property);
    return rc == 0 && reader.failed ? MQTTASYNC_BAD_MQTT_OPTION : rc;
}

static int add_properties(MQTTProperties *properties, const struct uplink_message *message)
{
    struct packet_property property;
    int rc = add_encoded(properties, message->properties);

    if (rc == 0)
        rc = add_encoded(properties, message->stamp);
    if (rc != 0 || message->expiry_ms < 0)
        return rc;

    int64_t seconds = (message->expiry_ms + 999) / 1000;
    property = (struct packet_property){.id = PROPERTY_MESSAGE_EXPIRY};
    property.number = seconds > PAHO_INTEGER_MAX ? PAHO_INTEGER_MAX : (uint32_t)seconds;
    if (property.number == 0)
        property.number = 1; /* 0 would mean that it has expired: the caller decides that */
    return add_property(properties, &property);
}

static int translate_rc(int rc)
{
    switch (rc) {
    case MQTTASYNC_SUCCESS:
        return 0;
    case MQTTASYNC_DISCONNECTED:
        return UPLINK_E_OFFLINE;
    case MQTTASYNC_MAX_BUFFERED_MESSAGES:
    case MQTTASYNC_NO_MORE_MSGIDS:
        return UPLINK_E_FULL;
    case MQTTASYNC_BAD_UTF8_STRING:
    case MQTTASYNC_BAD_MQTT_OPTION:
        return UPLINK_E_IMPOSSIBLE; /* no packet can hold this topic or these properties */
    case PAHO_MEMORY_ERROR:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static int add_alias(MQTTProperties *properties, unsigned number)
{
    MQTTProperty alias = {.identifier = MQTTPROPERTY_CODE_TOPIC_ALIAS,
                          .value.integer2 = (unsigned short)number};

    return MQTTProperties_add(properties, &alias);
}

/* Adds the alias of the topic, if it has one. Return: 0 or a code of Paho's; @topic is "" if
 * the alias stands for it. */
static int use_alias(struct uplink *uplink,
                     struct uplink_slot *slot,
                     const struct message_size *size,
                     const char **topic,
                     MQTTProperties *properties)
{
    bool has_room = size->packet + ALIAS_ROOM <= uplink->connection.limits.maximum_packet;
    struct uplink_alias_use use =
        uplink_alias_choose(&uplink->aliases, *topic, slot->qos > 0 && has_room, slot->id);

    if (use.number == 0)
        return 0;
    if (use.omits_topic)
        *topic = "";
    else
        slot->alias = use.number;
    return add_alias(properties, use.number);
}

static int pass_to_paho(struct uplink *uplink,
                        const struct uplink_message *message,
                        const char *topic,
                        MQTTAsync_responseOptions *options)
{
    const void *payload = message->payload.size > 0 ? (const void *)message->payload.data : "";

    return MQTTAsync_send(uplink->client.handle, topic, (int)message->payload.size, payload,
                          forwarded_qos(uplink, message), message->retain, options);
}

static int send_in_slot(struct uplink *uplink,
                        const struct uplink_message *message,
                        const char *topic,
                        const struct message_size *size)
{
    struct uplink_slot *slot = STAILQ_FIRST(&uplink->slots.free);
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    int rc = 0;

    slot->id = message->id;
    slot->tag = message->tag;
    slot->size_bytes = size->in_window;
    slot->number = ++uplink->connection.sent;
    slot->qos = forwarded_qos(uplink, message);
    slot->packet_id = 0;
    slot->alias = 0;
    slot->is_taken = false;
    slot_take(uplink, slot);
    options.context = slot_context(uplink, slot);
    if (uplink->client.protocol == MQTTVERSION_5) {
        options.onSuccess5 = on_success5;
        options.onFailure5 = on_failure5;
        rc = add_properties(&options.properties, message);
        if (rc == 0)
            rc = use_alias(uplink, slot, size, &topic, &options.properties);
    } else {
        options.onSuccess = on_success;
        options.onFailure = on_failure;
    }
    FAILPOINT("send.before");
    if (rc == 0)
        rc = pass_to_paho(uplink, message, topic, &options);
    FAILPOINT("send.after");
    MQTTProperties_free(&options.properties);
    slot->packet_id = (uint16_t)options.token;
    if (rc != 0) {
        note_alias(uplink, slot, false);
        (void)slot_release(uplink, slot, SLOT_SENT); /* no callback follows */
    } else {
        pace_charge(uplink, size->packet);
    }
    if (rc == MQTTASYNC_DISCONNECTED)
        suspect_loss(uplink);
    return translate_rc(rc);
}

int uplink_send(struct uplink *uplink, const struct uplink_message *message)
{
    size_t topic_size = message->prefix.size + message->topic.size;
    struct message_size size;
    size_t other;

    if (uplink->state != LINK_ONLINE)
        return UPLINK_E_OFFLINE;
    int r = check_message(uplink, message, topic_size, &size, &other);
    /* Without its stamp this broker may take it. */
    if (r == UPLINK_E_OTHER_BROKER && message->stamp.size == 0)
        uplink_want_other(uplink, other);
    if (r != 0)
        return r;
    if (message->topic.size == 0 || memchr(message->topic.data, 0, message->topic.size))
        return UPLINK_E_IMPOSSIBLE; /* Paho takes a C string, and no topic may hold U+0000 */

    char *topic = uplink->slots.topic;
    if (message->prefix.size > 0)
        memcpy(topic, message->prefix.data, message->prefix.size);
    memcpy(topic + message->prefix.size, message->topic.data, message->topic.size);
    topic[topic_size] = '\0';
    return send_in_slot(uplink, message, topic, &size);
}

void uplink_cork(struct uplink *uplink)
{
    (void)uplink;
    paho_link_hold_wake();
}

void uplink_uncork(struct uplink *uplink)
{
    (void)uplink;
    paho_link_release_wake();
}
