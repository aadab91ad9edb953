/* SPDX-License-Identifier: MIT */
/*
 * test_scrub.c - secrets are taken out of texts and configurations, and nothing else is
 */
#include <setjmp.h> /* cmocka needs these three before it */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/view.h"
#include "cli/bundle/conf_scrub.h"
#include "cli/bundle/scrub.h"
#include "cli/bundle/topics.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *scrubbed(struct scrub *scrub, const char *text)
{
    char *clean = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&clean, &size);

    assert_non_null(to);
    scrub_put(scrub, to, view_of_text(text));
    assert_int_equal(fclose(to), 0);
    return clean;
}

static void assert_text(struct scrub *scrub, const char *text, const char *wanted)
{
    char *clean = scrubbed(scrub, text);

    assert_string_equal(clean, wanted);
    free(clean);
}

static void
assert_conf(struct topics *topics, const char *text, const char *wanted, bool is_whole)
{
    struct scrub scrub = {.topics = topics};
    char *clean = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&clean, &size);

    assert_non_null(to);
    assert_int_equal(conf_scrub(&scrub, to, view_of_text(text)), is_whole);
    assert_int_equal(fclose(to), 0);
    assert_string_equal(clean, wanted);
    free(clean);
    scrub_done(&scrub);
}

static void what_is_no_secret_stays_as_it_is(void **state)
{
    static const char text[] =
        "time=1 event link_up broker=tcp://host:1883/x reason=\"a b\" "
        "uplink.password_file /etc/a: cannot be read\n{\"id\": 5, \"tokens\": {\"peak\": 1}}\n"
        "time=2 event listening passed=yes bypassed=no not authorized: x username=\"\"\n";
    struct scrub scrub = {0};

    (void)state;
    assert_text(&scrub, text, text);
    assert_int_equal(scrub.removed, 0);
}

static void forms_of_secrets_are_removed(void **state)
{
    struct scrub scrub = {0};

    (void)state;
    assert_text(&scrub, "ssl://user:pw@host:8883/a?token=x end",
                "ssl://(removed)@host:8883/a?(removed) end");
    assert_text(&scrub, "ssl://host/a@b", "ssl://host/a@b");
    assert_text(&scrub, "password=hunter2 next", "password=(removed) next");
    assert_text(&scrub, "pass=a pass_2=b mqttPass=c userpass: d PASSWD=e keyPassphrase=f",
                "pass=(removed) pass_2=(removed) mqttPass=(removed) userpass: (removed) "
                "PASSWD=(removed) keyPassphrase=(removed)");
    assert_text(&scrub, "Authorization: x", "Authorization: (removed)");
    assert_text(&scrub, "{\"apiToken\": \"a\\\"b\", \"x\": 1}",
                "{\"apiToken\": \"(removed)\", \"x\": 1}");
    assert_text(&scrub,
                "a -----BEGIN RSA PRIVATE KEY-----\nAAA\n-----END RSA PRIVATE KEY----- b",
                "a (removed) b");
    assert_text(&scrub, "-----BEGIN PRIVATE KEY-----\nAAA", "(removed)");
    assert_text(&scrub, "-----BEGIN CERTIFICATE-----\nAAA", "-----BEGIN CERTIFICATE-----\nAAA");
}

static void known_secrets_are_found_wherever_they_stand(void **state)
{
    struct scrub scrub = {0};

    (void)state;
    scrub_add(&scrub, view_of_text("canary"));
    scrub_add(&scrub, view_of_text("canary-longer"));
    scrub_add(&scrub, view_of_text("abc")); /* too short */
    assert_text(&scrub, "canary xcanaryx canary-longer abc cana",
                "(removed) x(removed)x (removed) abc cana");
    scrub_done(&scrub);
}

static void topics_are_numbered_the_same_everywhere(void **state)
{
    static struct topics topics;
    struct scrub scrub = {.topics = &topics};

    (void)state;
    assert_text(&scrub, "topic=a/b {\"topic\":\"a/c\"} filter=a/b",
                "topic=topic-1 {\"topic\":\"topic-2\"} filter=topic-1");
    assert_conf(&topics, "lanes = ( { topics = ( \"a/c\", \"x\" ); name = \"n\"; } );",
                "lanes = ( { topics = ( \"topic-2\", \"topic-3\" ); name = \"n\"; } );", true);
    topics_done(&topics);
}

static void a_configuration_keeps_all_but_secrets_and_comments(void **state)
{
    (void)state;
    assert_conf(NULL, "a = { b = 5L; c : true; d = ( \"x\", \"y\" ); };",
                "a = { b = 5L; c : true; d = ( \"x\", \"y\" ); };", true);
    assert_conf(NULL, "# s\na = 1; // s\n/* s\ns */ b = \"#no // comment\";",
                "\na = 1; \n b = \"#no // comment\";", true);
    assert_conf(NULL, "password_file = \"/etc/p\"; key_password_file=\"hunter2\";",
                "password_file = \"/etc/p\"; key_password_file=\"(removed)\";", true);
    assert_conf(NULL, "password = hunter2!x; u = 1;", "password = \"(removed)\"; u = 1;", true);
    assert_conf(NULL, "username = \"a\" \"b\"; x = \"c\";",
                "username = \"(removed)\" ; x = \"c\";", true);
    assert_conf(NULL, "username = \"\"; x = \"c\";", "username = \"\"; x = \"c\";", true);
    assert_conf(NULL, "username = \"\" \"b\";", "username = \"\" \"(removed)\";", true);
    assert_conf(NULL, "secret = { a = \"s1\"; b = ( s2 ); }; c = \"d\";",
                "secret = { a = \"(removed)\"; b = ( \"(removed)\" ); }; c = \"d\";", true);
    assert_conf(NULL, "brokers = ( \"ssl://u:p@h\" );", "brokers = ( \"ssl://(removed)@h\" );",
                true);
}

static void what_does_not_end_is_left_out(void **state)
{
    (void)state;
    assert_conf(NULL, "a = 1; b = \"secret", "a = 1; b = ", false);
    assert_conf(NULL, "a = 1; /* secret", "a = 1; ", false);
    assert_conf(NULL, "", "", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_secret_stays_as_it_is),
        cmocka_unit_test(forms_of_secrets_are_removed),
        cmocka_unit_test(known_secrets_are_found_wherever_they_stand),
        cmocka_unit_test(topics_are_numbered_the_same_everywhere),
        cmocka_unit_test(a_configuration_keeps_all_but_secrets_and_comments),
        cmocka_unit_test(what_does_not_end_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
