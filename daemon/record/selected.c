/* SPDX-License-Identifier: MIT */
/*
 * selected.c - a message that an operator looks at, as an object of JSON
 */
#include "daemon/record/selected.h"

#include <string.h>

#include "base/cursor.h"
#include "base/text.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"
#include "daemon/record/members.h"

static void
selected_write_view(struct json *json, const char *name, struct view view, size_t max)
{
    size_t size = view.size <= max ? view.size : text_whole_size(view_chars(view), max);

    json_bytes(json, name, view.data, size);
}

static const char *selected_state_name(const struct spool_selected *selected, bool is_held)
{
    switch (selected->state) {
    case SPOOL_IN_FLIGHT:
        return "in_flight";
    case SPOOL_KEPT:
        return "rejected";
    case SPOOL_PENDING:
        break;
    }
    return is_held ? "held" : "pending";
}

void record_write_selected(struct json *json,
                           const struct spool_selected *selected,
                           bool is_held,
                           size_t text_max)
{
    const struct spool_message *message = &selected->message;

    json_unsigned(json, "id", message->id);
    selected_write_view(json, "lane", view_of_text(message->lane_name), text_max);
    selected_write_view(json, "client", message->client, text_max);
    record_write_uid(json, message->uid);
    selected_write_view(json, "topic", message->topic, text_max);
    json_unsigned(json, "qos", message->qos);
    json_unsigned(json, "bytes", selected->bytes);
    record_write_time(json, "accepted", message->accepted_ms);
    json_signed(json, "age_ms", selected->age_ms);
    json_unsigned(json, "attempts", message->attempts);
    json_text(json, "state", selected_state_name(selected, is_held));
    if (message->ref.size > 0)
        selected_write_view(json, "ref", message->ref, text_max);
}

static void write_user_properties(struct json *json, struct view properties)
{
    struct reader reader;
    struct packet_property property;

    json_open_array(json, "user_properties");
    reader_init(&reader, properties.data, properties.size);
    while (packet_property_next(&reader, &property)) {
        if (property.id != PROPERTY_USER)
            continue;
        json_open_array(json, NULL);
        json_bytes(json, NULL, property.name.data, property.name.size);
        json_bytes(json, NULL, property.value.data, property.value.size);
        json_close_array(json);
    }
    json_close_array(json);
}

static void write_property(struct json *json, const struct packet_property *property)
{
    const struct view *value = &property->value;

    if (property->id == PROPERTY_PAYLOAD_FORMAT)
        json_unsigned(json, "payload_format", property->number);
    else if (property->id == PROPERTY_CONTENT_TYPE)
        json_bytes(json, "content_type", value->data, value->size);
    else if (property->id == PROPERTY_RESPONSE_TOPIC)
        json_bytes(json, "response_topic", value->data, value->size);
    else if (property->id == PROPERTY_CORRELATION_DATA)
        json_base64(json, "correlation_data", value->data, value->size);
}

void record_write_details(struct json *json, const struct spool_selected *selected)
{
    const struct spool_message *message = &selected->message;
    struct packet_property property;
    struct reader reader;

    json_bool(json, "retain", message->retain);
    if (message->expiry_ms != SPOOL_NO_EXPIRY)
        json_signed(json, "expiry_ms", message->expiry_ms);
    if (selected->state == SPOOL_KEPT) {
        json_unsigned(json, "seq", selected->seq);
        record_write_time(json, "ended", selected->ended_ms);
        json_text(json, "reason", spool_reason_name(selected->reason));
        if (selected->code != SPOOL_NO_CODE)
            json_signed(json, "code", selected->code);
    }
    reader_init(&reader, message->properties.data, message->properties.size);
    while (packet_property_next(&reader, &property))
        write_property(json, &property);
    write_user_properties(json, message->properties);
}
