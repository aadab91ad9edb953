/* SPDX-License-Identifier: MIT */
/*
 * text.c - how text from outside is escaped where it is shown
 *
 * The table has the general categories Cc, Cf, Zl, Zp and Cs of Unicode 15, and
 * the contiguous non-characters; those at the end of each plane are recognized by
 * their last 16 bits. Unassigned code points between format characters are
 * included. Letters without a shape (fillers, variation selectors) are letters:
 * they move nothing and are shown.
 */
#include "base/text.h"

#include <string.h>

#include "base/utf8.h"

struct text_range {
    uint32_t first;
    uint32_t last;
};

/* Sorted by code point, for the binary search. */
static const struct text_range text_hidden[] = {
    {0x00000, 0x0001F}, /* C0 */
    {0x0007F, 0x0009F}, /* DEL and C1 */
    {0x000AD, 0x000AD}, /* soft hyphen */
    {0x00600, 0x00605}, /* Arabic signs that span numbers */
    {0x0061C, 0x0061C}, /* Arabic letter mark */
    {0x006DD, 0x006DD}, /* Arabic end of ayah */
    {0x0070F, 0x0070F}, /* Syriac abbreviation mark */
    {0x00890, 0x00891}, /* Arabic pound and piastre marks above */
    {0x008E2, 0x008E2}, /* Arabic disputed end of ayah */
    {0x0180E, 0x0180E}, /* Mongolian vowel separator */
    {0x0200B, 0x0200F}, /* zero width, directional marks */
    {0x02028, 0x0202E}, /* separators, directional embeddings and overrides */
    {0x02060, 0x0206F}, /* joiners, invisible operators, directional isolates */
    {0x0D800, 0x0DFFF}, /* surrogates */
    {0x0FDD0, 0x0FDEF}, /* non-characters */
    {0x0FEFF, 0x0FEFF}, /* byte order mark */
    {0x0FFF9, 0x0FFFB}, /* interlinear annotations */
    {0x110BD, 0x110BD}, /* Kaithi number sign */
    {0x110CD, 0x110CD}, /* Kaithi number sign above */
    {0x13430, 0x1343F}, /* Egyptian hieroglyph format controls */
    {0x1BCA0, 0x1BCA3}, /* shorthand format controls */
    {0x1D173, 0x1D17A}, /* musical format controls */
    {0xE0000, 0xE007F}, /* tags */
};
#define TEXT_HIDDEN (sizeof(text_hidden) / sizeof(text_hidden[0]))

bool text_is_hidden(uint32_t code)
{
    size_t low = 0;
    size_t high = TEXT_HIDDEN;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (code > text_hidden[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return (low < TEXT_HIDDEN && code >= text_hidden[low].first) || (code & 0xFFFE) == 0xFFFE;
}

struct text_character text_next(const uint8_t *data, size_t size)
{
    struct text_character character = {.code = data[0],
                                       .size = utf8_character_size(data, size)};

    character.is_valid = character.size > 0;
    if (!character.is_valid)
        character.size = 1;
    else if (character.size > 1)
        character.code = utf8_code_point(data, character.size);
    character.is_shown = character.is_valid && !text_is_hidden(character.code);
    return character;
}

size_t text_show_character(const struct text_character *character,
                           const uint8_t *data,
                           char *ret_shown)
{
    int length = (int)character->size;

    if (!character->is_shown) {
        bool is_byte = !character->is_valid || character->code < 0x80;

        length = snprintf(ret_shown, TEXT_SHOWN_MAX, is_byte ? "\\x%02X" : "\\u{%02X}",
                          (unsigned)character->code);
        return (size_t)length;
    }
    memcpy(ret_shown, data, character->size);
    ret_shown[length] = '\0';
    return character->size;
}

/* How many bytes from the start are printable ASCII; usually all of them. */
static size_t text_plain(const uint8_t *data, size_t size)
{
    size_t n = 0;

    while (n < size && data[n] >= 0x20 && data[n] < 0x7F)
        n++;
    return n;
}

size_t text_show(char *text, size_t text_size, const void *data, size_t size)
{
    const uint8_t *from = data;
    size_t room = text_size - 1;
    size_t used = 0;
    size_t at = 0;

    while (used < size) {
        size_t plain = text_plain(from + used, size - used);
        struct text_character character;
        char shown[TEXT_SHOWN_MAX];

        if (plain > room - at)
            plain = room - at;
        memcpy(text + at, from + used, plain);
        used += plain;
        at += plain;
        if (used == size || at == room)
            break;
        character = text_next(from + used, size - used);
        size_t length = text_show_character(&character, from + used, shown);
        if (length > room - at)
            break;
        memcpy(text + at, shown, length);
        used += character.size;
        at += length;
    }
    text[at] = '\0';
    return used;
}

void text_put(FILE *stream, const char *text)
{
    size_t size = strlen(text);
    char shown[1024];

    while (size > 0) {
        size_t used = text_show(shown, sizeof(shown), text, size);

        (void)fputs(shown, stream); /* the caller checks the stream's error */
        text += used;
        size -= used;
    }
}

size_t text_whole_size(const char *text, size_t size)
{
    size_t start = size;

    while (start > 0 && size - start < 3 && ((uint8_t)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0 || (uint8_t)text[start - 1] < 0xC0)
        return size;
    start--;
    return utf8_character_size((const uint8_t *)text + start, size - start) > 0 ? size : start;
}

int text_prefix_size(const char *text, size_t max)
{
    size_t size = strnlen(text, max + 1);

    return (int)(size > max ? text_whole_size(text, max) : size);
}

void text_vformat(char *text, size_t size, const char *format, va_list arguments)
{
    int length = vsnprintf(text, size, format, arguments);

    if (length < 0)
        text[0] = '\0';
    else if ((size_t)length >= size - 1) /* cut here, or before in a buffer of the same size */
        text[text_whole_size(text, size - 1)] = '\0';
}

void text_format(char *text, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text_vformat(text, size, format, arguments);
    va_end(arguments);
}

void text_append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    text_vformat(text + used, size - used, format, arguments);
    va_end(arguments);
}
