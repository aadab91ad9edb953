/* SPDX-License-Identifier: MIT */
/*
 * test_filter.c - which topics two topic filters have in common, compared with the matcher
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

enum { TEXT_MAX = 32, TEXTS_MAX = 4096, WORDS = TEXTS_MAX / 64, FILTER_LEVELS = 3 };
/* A filter of these levels ends or is endless before one more. */
enum { TOPIC_LEVELS = FILTER_LEVELS + 1 };

struct texts {
    char all[TEXTS_MAX][TEXT_MAX];
    size_t count;
};

/* All texts of up to @depth of the @levels. */
static void make_texts(struct texts *texts, const char *const *levels, size_t depth)
{
    size_t from = 0;

    texts->count = 0;
    for (const char *const *level = levels; *level; level++)
        text_format(texts->all[texts->count++], TEXT_MAX, "%s", *level);
    for (size_t i = 1; i < depth; i++) {
        size_t to = texts->count;

        for (size_t j = from; j < to; j++) {
            for (const char *const *level = levels; *level; level++) {
                assert_true(texts->count < TEXTS_MAX);
                text_format(texts->all[texts->count++], TEXT_MAX, "%s/%s", texts->all[j],
                            *level);
            }
        }
        from = to;
    }
}

/* The topics that one filter matches, a bit each. */
struct matches {
    uint64_t words[WORDS];
};

static struct matches match_all(const char *filter, const struct texts *topics)
{
    struct matches matches = {.words = {0}};

    for (size_t i = 0; i < topics->count; i++) {
        struct view topic = view_of_text(topics->all[i]);

        if (topic.size > 0 && packet_topic_matches(filter, topic))
            matches.words[i / 64] |= UINT64_C(1) << (i % 64);
    }
    return matches;
}

static bool
are_covered(const struct matches *of, const struct matches *a, const struct matches *b)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (of->words[i] & ~(a->words[i] | b->words[i]))
            return false;
    }
    return true;
}

static bool do_meet(const struct matches *a, const struct matches *b)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (a->words[i] & b->words[i])
            return true;
    }
    return false;
}

static void
compare_with_pair(struct texts *filters, const struct matches *matches, size_t a, size_t b)
{
    char *covers[] = {filters->all[a], filters->all[b]};

    for (size_t f = 0; f < filters->count; f++) {
        bool is_covered = are_covered(&matches[f], &matches[a], &matches[b]);

        if (packet_filter_is_covered(filters->all[f], covers, 2) != is_covered)
            fail_msg("\"%s\" is %scovered by \"%s\" and \"%s\"", filters->all[f],
                     is_covered ? "" : "not ", filters->all[a], filters->all[b]);
    }
}

/* The levels x and $x are named by no filter, and stand for all others. */
static void the_matcher_agrees_on_all_short_filters(void **state)
{
    static const char *const topic_levels[] = {"a", "", "x", "$a", "$x", NULL};
    static const char *const filter_levels[] = {"a", "", "+", "#", "$a", NULL};
    struct texts *topics = calloc(1, sizeof(*topics));
    struct texts *filters = calloc(1, sizeof(*filters));
    struct matches *matches = calloc(TEXTS_MAX, sizeof(*matches));
    size_t count = 0;

    (void)state;
    assert_true(topics && filters && matches);
    make_texts(topics, topic_levels, TOPIC_LEVELS);
    make_texts(filters, filter_levels, FILTER_LEVELS);
    for (size_t i = 0; i < filters->count; i++) {
        if (!packet_filter_is_valid(view_of_text(filters->all[i])))
            continue;
        memmove(filters->all[count], filters->all[i], TEXT_MAX);
        matches[count] = match_all(filters->all[count], topics);
        count++;
    }
    filters->count = count;
    assert_int_equal(count, 4 + 4 * 5 + 4 * 4 * 5);
    for (size_t a = 0; a < count; a++) {
        for (size_t b = a; b < count; b++)
            compare_with_pair(filters, matches, a, b);
        for (size_t b = 0; b < count; b++)
            assert_int_equal(packet_filters_meet(filters->all[a], filters->all[b]),
                             do_meet(&matches[a], &matches[b]));
    }
    free(matches);
    free(filters);
    free(topics);
}

static bool covers(const char *cover, const char *filter)
{
    char text[TEXT_MAX];
    char *one[] = {text};

    text_format(text, sizeof(text), "%s", cover);
    return packet_filter_is_covered(filter, one, 1);
}

static void a_wildcard_covers_what_it_stands_for(void **state)
{
    (void)state;
    assert_true(covers("a/+", "a/b"));
    assert_true(covers("a/#", "a"));
    assert_true(covers("a/#", "a/+/c"));
    assert_true(covers("+/#", "#"));
    assert_true(covers("#", "+/b"));
    assert_false(covers("#", "$SYS/b"));
    assert_false(covers("+/b", "$SYS/b"));
    assert_true(covers("$SYS/#", "$SYS/+"));
    assert_false(covers("a/b", "a/+"));
    assert_false(covers("a/+", "a/#"));
    assert_false(covers("a/+/#", "a/#")); /* not "a" */
    assert_true(covers("/+/#", "/#"));    /* "" is no topic */
}

static void filters_cover_together_what_none_does_alone(void **state)
{
    char one[] = "a", two[] = "a/+", rest[] = "a/+/+/#";
    char *all[] = {rest, two, one};

    (void)state;
    assert_true(packet_filter_is_covered("a/#", all, 3));
    assert_false(packet_filter_is_covered("a/#", all, 2));
    assert_false(packet_filter_is_covered("a/#", all + 1, 2));
    assert_false(packet_filter_is_covered("a/#", NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wildcard_covers_what_it_stands_for),
        cmocka_unit_test(filters_cover_together_what_none_does_alone),
        cmocka_unit_test(the_matcher_agrees_on_all_short_filters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
