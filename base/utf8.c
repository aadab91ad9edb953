/* SPDX-License-Identifier: MIT */
/*
 * utf8.c - where well-formed UTF-8 ends
 *
 * Table 3-7 of the Unicode standard: the first byte decides the length and the
 * range of the second byte, and that range alone excludes overlong forms,
 * surrogates and values above U+10FFFF. All further bytes are 80..BF.
 */
#include "base/utf8.h"

#include <string.h>

#define UTF8_NOT_ASCII UINT64_C(0x8080808080808080)

struct utf8_form {
    uint8_t first_low;
    uint8_t first_high;
    uint8_t second_low;
    uint8_t second_high;
    uint8_t length;
};

static const struct utf8_form utf8_forms[] = {
    {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
    {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
    {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
};

static bool utf8_fits(const struct utf8_form *form, const uint8_t *data, size_t size)
{
    if (size < form->length || data[1] < form->second_low || data[1] > form->second_high)
        return false;
    for (size_t i = 2; i < form->length; i++)
        if ((data[i] & 0xC0) != 0x80)
            return false;
    return true;
}

size_t utf8_character_size(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof(utf8_forms) / sizeof(utf8_forms[0]); i++) {
        const struct utf8_form *form = &utf8_forms[i];

        if (data[0] >= form->first_low && data[0] <= form->first_high)
            return utf8_fits(form, data, size) ? form->length : 0;
    }
    return 0;
}

uint32_t utf8_code_point(const uint8_t *character, size_t size)
{
    static const uint8_t lead_masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = character[0] & lead_masks[size];

    for (size_t i = 1; i < size; i++)
        code = code << 6 | (character[i] & 0x3F);
    return code;
}

/* Nearly all text is ASCII, which is checked a word at a time; the rest of a word likewise. */
static struct view utf8_skip_ascii(struct view text)
{
    uint64_t word;

    for (; text.size >= sizeof(word); text = view_skip(text, sizeof(word))) {
        memcpy(&word, text.data, sizeof(word));
        if (word & UTF8_NOT_ASCII)
            return text;
    }
    if (text.size == 0)
        return text;
    word = 0;
    memcpy(&word, text.data, text.size);
    return word & UTF8_NOT_ASCII ? text : view_skip(text, text.size);
}

bool utf8_is_well_formed(struct view text)
{
    for (text = utf8_skip_ascii(text); text.size > 0; text = utf8_skip_ascii(text)) {
        size_t size = utf8_character_size(text.data, text.size);

        if (size == 0)
            return false;
        text = view_skip(text, size);
    }
    return true;
}
