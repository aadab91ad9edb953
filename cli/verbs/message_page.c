/* SPDX-License-Identifier: MIT */
/*
 * message_page.c - a message for a person, from its object of JSON
 *
 * Every text of it comes from outside and is printed in the visible form of text.h.
 */
#include "cli/verbs/message_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"

enum { CELL_MAX = 128 };

static const char *text_of(const json_t *message, const char *name)
{
    const char *text = json_string_value(json_object_get(message, name));

    return text ? text : "";
}

static json_int_t number_of(const json_t *message, const char *name)
{
    return json_integer_value(json_object_get(message, name)); /* 0: there is none */
}

void message_page_heading(void)
{
    printf("%10s %-12s %-9s %10s %10s %3s %-23s %s\n", "ID", "LANE", "STATE", "AGE", "BYTES",
           "QOS", "CLIENT", "TOPIC");
}

void message_page_row(const json_t *message)
{
    char lane[CELL_MAX], state[CELL_MAX], span[CLOCK_SPAN_MAX], client[CELL_MAX];
    char topic[1024];

    clock_format_span(number_of(message, "age_ms"), span);
    printf("%10" JSON_INTEGER_FORMAT " %-12s %-9s %10s %10" JSON_INTEGER_FORMAT
           " %3" JSON_INTEGER_FORMAT " %-23s %s\n",
           number_of(message, "id"),
           cli_printable(lane, sizeof(lane), text_of(message, "lane")),
           cli_printable(state, sizeof(state), text_of(message, "state")), span,
           number_of(message, "bytes"), number_of(message, "qos"),
           cli_printable(client, sizeof(client), text_of(message, "client")),
           cli_printable(topic, sizeof(topic), text_of(message, "topic")));
}

static void print_value(const json_t *value)
{
    if (json_is_string(value)) {
        text_put(stdout, json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

    text_put(stdout, text ? text : "");
    free(text);
}

static void print_span(json_int_t ms)
{
    char span[CLOCK_SPAN_MAX];

    clock_format_span(ms, span);
    fputs(span, stdout);
}

/* ["NAME","VALUE"] each. */
static void print_user_properties(const json_t *list)
{
    size_t i;
    json_t *pair;

    json_array_foreach(list, i, pair) {
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));

        printf("%-17s ", "user property");
        text_put(stdout, name ? name : "");
        fputs(" = ", stdout);
        text_put(stdout, value ? value : "");
        putchar('\n');
    }
}

void message_page(json_t *message)
{
    const char *name;
    json_t *value;

    json_object_foreach(message, name, value)
    {
        if (strcmp(name, "user_properties") == 0) {
            print_user_properties(value);
            continue;
        }
        bool is_span = strcmp(name, "age_ms") == 0 || strcmp(name, "expiry_ms") == 0;
        char shown[CELL_MAX];

        (void)cli_printable(shown, sizeof(shown), name);
        for (char *at = shown; *at; at++) {
            if (*at == '_')
                *at = ' ';
        }
        if (is_span)
            shown[strlen(shown) - 3] = '\0';
        printf("%-17s ", strcmp(name, "payload") == 0            ? "payload (base64)"
                         : strcmp(name, "correlation_data") == 0 ? "correlation data (base64)"
                                                                 : shown);
        if (is_span)
            print_span(json_integer_value(value));
        else if (strcmp(name, "code") == 0)
            printf("0x%02X", (unsigned)json_integer_value(value));
        else
            print_value(value);
        putchar('\n');
    }
}
