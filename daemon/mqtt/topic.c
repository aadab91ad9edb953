/* SPDX-License-Identifier: MIT */
/*
 * topic.c - text of MQTT: UTF-8 strings, topic names and topic filters
 *
 * The standard forbids more than RFC 3629 does: a string must not hold U+0000
 * [MQTT-1.5.4-2]. A payload with the format indicator for text may.
 *
 * It only advises against control characters and non-characters, but lets a
 * receiver close the connection for them. Brokers do that: mosquitto answers
 * such a PUBLISH with DISCONNECT 0x81, and the message would be sent again after
 * each reconnect, with all others waiting behind it. So strings that are forwarded
 * must not hold them; all other strings may.
 *
 * A topic is matched level by level and byte by byte, without normalization
 * [MQTT-4.7.3-4]; neither recursion nor memory is needed, because "#" is only
 * allowed at the end.
 */
#include "daemon/mqtt/packet-private.h"

#include <string.h>

#include "base/cursor.h"
#include "base/utf8.h"
#include "base/view.h"

enum { TOPIC_MAX_BYTES = UINT16_MAX };
/* A word of eight such bytes. */
#define TOPIC_EACH(BYTE) (UINT64_C(0x0101010101010101) * (BYTE))

static bool topic_has_byte(struct view text, char byte)
{
    return text.size > 0 && memchr(text.data, byte, text.size) != NULL;
}

bool packet_utf8_is_valid(struct view text)
{
    return utf8_is_well_formed(text) && !topic_has_byte(text, '\0');
}

struct view packet_read_text(struct reader *reader)
{
    struct view text = reader_block(reader);

    if (!packet_utf8_is_valid(text))
        reader->failed = true;
    return text;
}

static bool topic_is_disallowed(uint32_t point)
{
    return point <= 0x1F || (point >= 0x7F && point <= 0x9F) ||
           (point >= 0xFDD0 && point <= 0xFDEF) || (point & 0xFFFE) == 0xFFFE;
}

static bool topic_is_printable_ascii(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7F;
}

/* Nearly all text is that, which is checked a word at a time. */
static struct view topic_skip_printable_ascii(struct view text)
{
    for (uint64_t word; text.size >= sizeof(word); text = view_skip(text, sizeof(word))) {
        memcpy(&word, text.data, sizeof(word));
        uint64_t other = word | (word - TOPIC_EACH(0x20)) | (word + TOPIC_EACH(0x01));
        if (other & TOPIC_EACH(0x80))
            break;
    }
    return text;
}

bool packet_text_is_forwardable(struct view text)
{
    for (text = topic_skip_printable_ascii(text); text.size > 0;) {
        size_t size = 1;

        if (!topic_is_printable_ascii(text.data[0])) {
            size = utf8_character_size(text.data, text.size);
            if (size == 0 || topic_is_disallowed(utf8_code_point(text.data, size)))
                return false;
        }
        text = view_skip(text, size);
    }
    return true;
}

bool packet_text_is_topic(struct view text)
{
    return text.size > 0 && text.size <= TOPIC_MAX_BYTES && !topic_has_byte(text, '+') &&
           !topic_has_byte(text, '#');
}

bool packet_topic_is_valid(struct view topic)
{
    return packet_text_is_topic(topic) && packet_text_is_forwardable(topic);
}

bool packet_topic_is_of_broker(const char *topic)
{
    return strncmp(topic, "$SYS", 4) == 0 && (topic[4] == '/' || topic[4] == '\0');
}

bool packet_filter_is_valid(struct view filter)
{
    if (filter.size == 0 || filter.size > TOPIC_MAX_BYTES || !packet_utf8_is_valid(filter))
        return false;
    for (size_t i = 0; i < filter.size; i++) {
        uint8_t byte = filter.data[i];

        if (byte != '+' && byte != '#')
            continue;
        bool starts = i == 0 || filter.data[i - 1] == '/';
        bool last = i + 1 == filter.size;
        if (!starts || (!last && (byte == '#' || filter.data[i + 1] != '/')))
            return false;
    }
    return true;
}

bool packet_topic_matches(const char *filter, struct view topic)
{
    const uint8_t *at = topic.data;
    const uint8_t *end = topic.size > 0 ? at + topic.size : at;

    if ((*filter == '+' || *filter == '#') && at < end && *at == '$')
        return false; /* [MQTT-4.7.2-1] */
    for (;; filter++, at++) {
        if (*filter == '#')
            return true;
        if (*filter == '+') {
            filter++;
            while (at < end && *at != '/')
                at++;
        } else {
            while (*filter != '/' && at < end && *at != '/' && (uint8_t)*filter == *at) {
                filter++;
                at++;
            }
        }
        if (at == end) /* "a/#" also matches "a" */
            return *filter == '\0' || strcmp(filter, "/#") == 0;
        if (*filter != '/' || *at != '/')
            return false;
    }
}
