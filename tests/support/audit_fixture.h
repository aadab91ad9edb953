/* SPDX-License-Identifier: MIT */
/*
 * audit_fixture.h - an audit file over the fake spool, as the gateway drives it
 *
 * For unit tests only; include it after cmocka.h.
 */
#ifndef MQTT_SPOOLD_TESTS_AUDIT_FIXTURE_H
#define MQTT_SPOOLD_TESTS_AUDIT_FIXTURE_H

#include "daemon/audit/audit.h"
#include "daemon/audit/tail.h"
#include "store/spool.h"
#include "tests/support/files.h"
#include "tests/support/spool_fake.h"

struct audit_fixture {
    struct spool spool;
    struct audit *audit;
    struct audit_settings settings;
    char folder[FILES_PATH_MAX];
    char file[FILES_PATH_MAX + 16];
    char rotated[FILES_PATH_MAX + 32];
    char aside[FILES_PATH_MAX + 32]; /* what a file with media errors is renamed to */
    int64_t now_ms;
    uint64_t reported; /* seq that was reported last */
};

static inline void audit_fixture_on_exported(void *userdata, const struct spool_record *record)
{
    struct audit_fixture *fixture = userdata;

    if (fixture->spool.last_seq == 0) /* none was pruned */
        assert_int_equal(record->seq, fixture->reported + 1);
    fixture->reported = record->seq;
}

static const struct audit_ops audit_fixture_ops = {.exported = audit_fixture_on_exported};

static inline void audit_fixture_setup(struct audit_fixture *fixture)
{
    files_make_folder(fixture->folder, "test_audit");
    (void)snprintf(fixture->file, sizeof(fixture->file), "%s/audit.jsonl", fixture->folder);
    (void)snprintf(fixture->rotated, sizeof(fixture->rotated), "%s.1", fixture->file);
    (void)snprintf(fixture->aside, sizeof(fixture->aside), "%s.unread-1", fixture->file);
    fixture->settings = (struct audit_settings){.file = fixture->file, .has_deliveries = true};
    fixture->now_ms = 1000000;
}

static inline void audit_fixture_teardown(struct audit_fixture *fixture)
{
    audit_free(fixture->audit);
    files_remove_folder(fixture->folder);
}

static inline void audit_fixture_start(struct audit_fixture *fixture)
{
    assert_int_equal(audit_new(&fixture->settings, &fixture->spool, &audit_fixture_ops, fixture,
                               &fixture->audit),
                     0);
}

static inline void audit_fixture_stop(struct audit_fixture *fixture)
{
    audit_free(fixture->audit);
    fixture->audit = NULL;
}

static inline void audit_fixture_add_rows(struct audit_fixture *fixture, unsigned count)
{
    while (count-- > 0)
        (void)spool_fake_add(&fixture->spool, SPOOL_DELIVERED, SPOOL_REASON_NONE);
}

/* Return: are there more? */
static inline bool audit_fixture_export(struct audit_fixture *fixture)
{
    bool more = false;

    assert_int_equal(audit_export(fixture->audit, fixture->now_ms, &more), 0);
    return more;
}

/* The file holds whole lines of @from to @to and nothing else; to < from: it is empty. */
static inline void audit_fixture_expect(const char *path, uint64_t from, uint64_t to)
{
    struct files_text text = files_read(path);
    char *at = text.memory;
    uint64_t expected = from;
    uint64_t seq = 0;

    while (at < text.memory + text.size) {
        char *newline = strchr(at, '\n');

        assert_non_null(newline);
        assert_true(audit_line_seq(at, (size_t)(newline - at), &seq));
        assert_int_equal(seq, expected);
        expected++;
        at = newline + 1;
    }
    assert_int_equal(expected, to + 1);
    free(text.memory);
}

#endif
