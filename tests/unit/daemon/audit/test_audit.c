/* SPDX-License-Identifier: MIT */
/*
 * test_audit.c - the audit file: each row once, whatever breaks in between
 *
 * Over the fake spool: a cursor that was set and is not committed is what a
 * crash leaves behind. write(2), fdatasync(2) and the log pass through here, so
 * that a disk can fill up at a byte and a sync can fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/audit/admin_lines.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/tail.h"
#include "daemon/record/admin.h"
#include "store/spool.h"
#include "tests/support/audit_fixture.h"
#include "tests/support/files.h"
#include "tests/support/spool_fake.h"

#define LOG_LINES_MAX 64
#define PATH_SIZE     256
#define RECORD_TOPIC  65000

/* ---- what the module calls ---- */

struct outside {
    unsigned writes;
    size_t room; /* bytes that write(2) still takes */
    int error;   /* then; 0: ENOSPC */
    bool sync_fails;
    char log[LOG_LINES_MAX][512];
    size_t log_lines;
};
static struct outside outside;

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
void __wrap_log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    outside.writes++;
    if (outside.room == 0) {
        errno = outside.error ? outside.error : ENOSPC;
        return -1;
    }
    if (size > outside.room)
        size = outside.room;
    outside.room -= size;
    return __real_write(fd, data, size);
}

int __wrap_fdatasync(int fd)
{
    if (outside.sync_fails) {
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

void __wrap_log_write(enum log_level level, const char *format, ...)
{
    char *line = outside.log[outside.log_lines % LOG_LINES_MAX];
    va_list arguments;

    (void)level;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(outside.log[0]), format, arguments);
    va_end(arguments);
    outside.log_lines++;
}

/* Lines that were logged about @event since the last call of forget_log(). */
static unsigned logged(const char *event)
{
    unsigned count = 0;

    assert_true(outside.log_lines <= LOG_LINES_MAX);
    for (size_t i = 0; i < outside.log_lines; i++)
        count += strncmp(outside.log[i], event, strlen(event)) == 0;
    return count;
}

static bool log_has(const char *words)
{
    for (size_t i = 0; i < outside.log_lines; i++)
        if (strstr(outside.log[i], words))
            return true;
    return false;
}

/* ---- the fixture ---- */

/* As a process that dies before the cursor is committed, and one that starts after it. What the
 * first has reported and not written, the second reports again. */
static void crash(struct audit_fixture *fixture, uint64_t reported)
{
    audit_fixture_stop(fixture);
    fixture->reported = reported;
    audit_fixture_start(fixture);
}

static int setup(void **state)
{
    struct audit_fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    audit_fixture_setup(fixture);
    outside = (struct outside){.room = SIZE_MAX};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct audit_fixture *fixture = *state;

    outside = (struct outside){.room = SIZE_MAX};
    audit_fixture_teardown(fixture);
    free(fixture);
    return 0;
}

/* Commits the cursor of before, then exports, as the batch edge of the gateway does. */
static void edge(struct audit_fixture *fixture)
{
    spool_fake_commit(&fixture->spool);
    (void)audit_fixture_export(fixture);
}

static void sync_now(struct audit_fixture *fixture)
{
    audit_sync(fixture->audit, fixture->now_ms);
}

/* ---- the plain way ---- */

static void rows_become_lines_once_and_in_order(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 3);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 5);
    assert_int_equal(fixture->reported, 5);
    assert_true(audit_is_healthy(fixture->audit));
}

static void a_thousand_rows_leave_in_few_writes(void **state)
{
    struct audit_fixture *fixture = *state;
    off_t size;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 1000);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 1000);
    size = files_size(fixture->file);
    assert_true(outside.writes <= (unsigned)(size / (256 * 1024)) + 1);
}

static void many_rows_take_several_calls(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 2 * AUDIT_SYNC_ROWS + 1);
    assert_true(audit_fixture_export(fixture));
    audit_fixture_expect(fixture->file, 1, AUDIT_SYNC_ROWS);
    assert_int_equal(fixture->spool.set_exported,
                     AUDIT_SYNC_ROWS); /* so many are not left open */
    assert_true(audit_fixture_export(fixture));
    assert_false(audit_fixture_export(fixture));
    audit_fixture_expect(fixture->file, 1, 2 * AUDIT_SYNC_ROWS + 1);
}

/* However large they are: the loop has more to do. */
static void so_many_bytes_are_written_in_one_call_and_no_more(void **state)
{
    static char topic[RECORD_TOPIC + 1];
    struct audit_fixture *fixture = *state;
    unsigned calls = 1;

    memset(topic, 't', RECORD_TOPIC);
    for (unsigned i = 0; i < 200; i++)
        spool_fake_add(&fixture->spool, SPOOL_DELIVERED, SPOOL_REASON_NONE)->topic = topic;
    audit_fixture_start(fixture);
    while (audit_fixture_export(fixture))
        calls++;
    assert_int_equal(calls, 4);                     /* 13 MB, 4 MiB each */
    assert_true(fixture->spool.set_exported > 100); /* nor are so many left open */
    audit_fixture_expect(fixture->file, 1, 200);
}

static void the_longest_lines_are_written_whole(void **state)
{
    static char topic[65536];
    struct audit_fixture *fixture = *state;

    memset(topic, '\x01', sizeof(topic) - 1);
    audit_fixture_start(fixture);
    for (int i = 0; i < 5; i++) {
        struct spool_record *row =
            spool_fake_add(&fixture->spool, SPOOL_EVICTED, SPOOL_REASON_MAX_AGE);

        row->topic = topic;
        row->client = topic;
        row->ref = topic;
    }
    while (audit_fixture_export(fixture)) /* a few lines each */
        continue;
    audit_fixture_expect(fixture->file, 1, 5);
    assert_true(files_size(fixture->file) > (off_t)(5 * 3 * 6 * (sizeof(topic) - 1)));
    crash(fixture, 5); /* a line longer than the first look at the tail */
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 5);
}

static void the_cursor_advances_after_the_sync_and_not_before(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    assert_int_equal(audit_due_ms(fixture->audit), INT64_MAX);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    assert_int_equal(fixture->spool.set_calls, 0);
    assert_int_equal(audit_due_ms(fixture->audit), fixture->now_ms + AUDIT_SYNC_MS);
    fixture->now_ms += AUDIT_SYNC_MS - 1;
    edge(fixture);
    assert_int_equal(fixture->spool.set_calls, 0);
    fixture->now_ms += 1;
    edge(fixture);
    assert_int_equal(fixture->spool.set_exported, 3);
    assert_int_equal(audit_due_ms(fixture->audit), INT64_MAX);
}

static void a_spool_that_awaits_the_export_is_not_kept_waiting(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    fixture->spool.awaits_export = true;
    edge(fixture); /* there is nothing to sync */
    assert_int_equal(fixture->spool.set_calls, 0);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    assert_int_equal(fixture->spool.set_exported, 3);
    fixture->spool.awaits_export = false;
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    assert_int_equal(fixture->spool.set_exported, 3);
}

static void to_free_is_to_sync(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    audit_fixture_stop(fixture);
    assert_int_equal(fixture->spool.set_exported, 3);
}

static void an_error_of_the_spool_is_passed_on(void **state)
{
    struct audit_fixture *fixture = *state;
    bool more;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    fixture->spool.fail_each = -EIO;
    assert_int_equal(audit_export(fixture->audit, fixture->now_ms, &more), -EIO);
    audit_fixture_expect(fixture->file, 1, 1); /* what was read before is true */
}

static void without_deliveries_only_failures_are_written_and_all_are_reported(void **state)
{
    struct audit_fixture *fixture = *state;
    struct files_text text;
    uint64_t seq;

    fixture->settings.has_deliveries = false;
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    (void)spool_fake_add(&fixture->spool, SPOOL_EVICTED, SPOOL_REASON_MAX_BYTES);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    text = files_read(fixture->file);
    assert_true(audit_line_seq(text.memory, text.size - 1, &seq));
    assert_int_equal(seq, 4);
    assert_ptr_equal(strchr(text.memory, '\n'), text.memory + text.size - 1);
    free(text.memory);
    assert_int_equal(fixture->reported, 6);
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 6);
}

static void without_a_file_rows_are_reported_once_and_count_as_exported(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.file = "";
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    edge(fixture);
    assert_int_equal(fixture->reported, 3);
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 3);
    assert_true(audit_is_healthy(fixture->audit));
    assert_int_equal(outside.writes, 0);
}

/* ---- after a crash ---- */

static void rows_that_the_file_holds_beyond_the_cursor_are_not_written_again(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 5);
    edge(fixture);
    crash(fixture, 5);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 7);
    assert_int_equal(fixture->spool.exported, 5); /* set at the start, committed since */
    assert_int_equal(logged("audit_"), 0);
}

/* As a copy from a backup, or from a folder in memory, is put back while no daemon runs: the
 * file ends after row @lines of @rows that were synced, and @rest. */
static void
restore_older(struct audit_fixture *fixture, unsigned lines, unsigned rows, const char *rest)
{
    struct files_text text;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, lines);
    edge(fixture);
    sync_now(fixture);
    text = files_read(fixture->file);
    audit_fixture_add_rows(fixture, rows - lines);
    edge(fixture);
    sync_now(fixture);
    spool_fake_commit(&fixture->spool);
    audit_fixture_stop(fixture);
    assert_int_equal(unlink(fixture->file), 0);
    files_append(fixture->file, text.memory, text.size);
    files_append(fixture->file, rest, strlen(rest));
    free(text.memory);
}

static void an_older_copy_of_the_file_is_reported_with_the_records_it_lacks(void **state)
{
    struct audit_fixture *fixture = *state;
    struct files_text text;

    restore_older(fixture, 3, 6, "");
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_behind"), 1);
    assert_true(log_has("file_seq=3 spool_seq=6 missing_from=4 missing_to=6"));
    assert_int_equal(logged("audit_"), 1);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    sync_now(fixture);
    spool_fake_commit(&fixture->spool);
    text = files_read(fixture->file);
    assert_non_null(strstr(text.memory, "}\n{\"seq\":3,"));
    assert_null(strstr(text.memory, "{\"seq\":4,")); /* the gap stays visible */
    assert_non_null(strstr(text.memory, "}\n{\"seq\":7,"));
    free(text.memory);
    audit_fixture_stop(fixture);
    audit_fixture_start(fixture); /* the file reaches the cursor again */
    assert_int_equal(logged("audit_behind"), 1);
}

static void an_older_copy_cut_within_a_line_claims_no_record_written_again(void **state)
{
    struct audit_fixture *fixture = *state;

    restore_older(fixture, 3, 6, "{\"seq\":4,\"time\":\"2026-");
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_mended"), 1);
    assert_false(log_has("records=written_again"));
    assert_true(log_has("missing_from=4 missing_to=6"));
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 3);
}

static void an_older_rotated_file_is_reported_where_the_new_one_is_empty(void **state)
{
    struct audit_fixture *fixture = *state;

    restore_older(fixture, 3, 6, "");
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_behind"), 1);
    assert_true(log_has("missing_from=4 missing_to=6"));
}

/* What was never to be in the file is not missing there. */
static void without_deliveries_only_failures_can_be_missing(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.has_deliveries = false;
    (void)spool_fake_add(&fixture->spool, SPOOL_EXPIRED, SPOOL_REASON_MESSAGE_EXPIRY);
    audit_fixture_start(fixture);
    edge(fixture);
    audit_fixture_add_rows(fixture, 4);
    edge(fixture);
    sync_now(fixture);
    spool_fake_commit(&fixture->spool);
    audit_fixture_stop(fixture);
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_"), 0);
    (void)spool_fake_add(&fixture->spool, SPOOL_EXPIRED, SPOOL_REASON_MESSAGE_EXPIRY);
    (void)spool_fake_add(&fixture->spool, SPOOL_EVICTED, SPOOL_REASON_DISK);
    audit_fixture_add_rows(fixture, 1);
    struct files_text text = files_read(fixture->file);
    edge(fixture);
    sync_now(fixture);
    spool_fake_commit(&fixture->spool);
    audit_fixture_stop(fixture);
    assert_int_equal(unlink(fixture->file), 0);
    files_append(fixture->file, text.memory, text.size);
    free(text.memory);
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_behind"), 1);
    assert_true(log_has("file_seq=1 spool_seq=8 missing_from=6 missing_to=7"));
}

static void records_left_out_until_a_reload_are_not_missing_after_it(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.has_deliveries = false;
    (void)spool_fake_add(&fixture->spool, SPOOL_EXPIRED, SPOOL_REASON_MESSAGE_EXPIRY);
    audit_fixture_add_rows(fixture, 4);
    audit_fixture_start(fixture);
    edge(fixture);
    sync_now(fixture);
    fixture->settings.has_deliveries = true;
    audit_reopen(fixture->audit, &fixture->settings);
    assert_int_equal(logged("audit_"), 0);
}

static void an_older_copy_that_takes_its_place_at_work_is_reported(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    sync_now(fixture);
    struct files_text text = files_read(fixture->file);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    sync_now(fixture);
    files_append(fixture->rotated, text.memory, text.size);
    free(text.memory);
    assert_int_equal(rename(fixture->rotated, fixture->file), 0);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    assert_int_equal(logged("audit_"), 0);
    sync_now(fixture);
    edge(fixture);
    assert_int_equal(logged("audit_deleted"), 1);
    assert_true(log_has("lost=\"its lines from seq 1 to 6, except those that the file has that "
                        "took its name\" next=that_file"));
    assert_int_equal(logged("audit_behind"), 1);
    assert_true(log_has("missing_from=4 missing_to=6"));
    text = files_read(fixture->file);
    assert_non_null(strstr(text.memory, "}\n{\"seq\":7,")); /* was not synced: written again */
    free(text.memory);
}

static void half_a_line_is_cut_and_its_row_written_again(void **state)
{
    static const char half[] = "{\"seq\":4,\"time\":\"2026-";
    struct audit_fixture *fixture = *state;

    for (size_t size = 1; size < sizeof(half); size++) {
        outside.log_lines = 0;
        spool_fake_reset(&fixture->spool);
        audit_fixture_add_rows(fixture, 3);
        fixture->reported = 0;
        audit_fixture_start(fixture);
        edge(fixture);
        files_append(fixture->file, half, size);
        audit_fixture_add_rows(fixture, 1);
        crash(fixture, 3);
        edge(fixture);
        audit_fixture_expect(fixture->file, 1, 4);
        assert_int_equal(logged("audit_mended"), 1);
        assert_true(log_has("records=written_again"));
        audit_fixture_stop(fixture);
        assert_int_equal(unlink(fixture->file), 0);
    }
}

static void half_a_line_in_an_otherwise_empty_file_is_cut(void **state)
{
    struct audit_fixture *fixture = *state;

    files_append(fixture->file, "{\"seq\":", 7);
    audit_fixture_add_rows(fixture, 2);
    audit_fixture_start(fixture);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 2);
}

static void blocks_that_a_power_cut_left_as_zeros_are_written_again(void **state)
{
    static const char zeros[4096];
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 4);
    edge(fixture);
    sync_now(fixture);
    spool_fake_commit(&fixture->spool);
    files_append(fixture->file, zeros, sizeof(zeros));
    files_append(fixture->file, "\n", 1);
    /* A later block that did reach the disk. */
    files_append(fixture->file, "{\"seq\":9,\"id\":1}\n", strlen("{\"seq\":9,\"id\":1}\n"));
    audit_fixture_add_rows(fixture, 6);
    crash(fixture, 4);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 10);
}

/* A file system may keep the length of what was appended and none of its bytes. */
static void more_zeros_than_are_examined_at_once_are_cut(void **state)
{
    static const char *const torn[] = {"", "{\"seq\":5,\"ti"};
    struct audit_fixture *fixture = *state;

    for (unsigned i = 0; i < 2; i++) {
        audit_fixture_start(fixture);
        audit_fixture_add_rows(fixture, 4);
        edge(fixture);
        sync_now(fixture);
        spool_fake_commit(&fixture->spool);
        files_append(fixture->file, torn[i], strlen(torn[i]));
        assert_int_equal(truncate(fixture->file, files_size(fixture->file) + 20 * 1024 * 1024),
                         0);
        audit_fixture_add_rows(fixture, 2);
        crash(fixture, 4 + 6 * i);
        assert_true(audit_is_healthy(fixture->audit));
        edge(fixture);
        audit_fixture_expect(fixture->file, 1, 6 + 6 * i);
        sync_now(fixture);
        spool_fake_commit(&fixture->spool);
        audit_fixture_stop(fixture);
    }
}

static void a_file_of_zeros_and_lines_behind_them_is_written_again(void **state)
{
    static const char zeros[100];
    struct audit_fixture *fixture = *state;

    files_append(fixture->file, zeros, sizeof(zeros));
    files_append(fixture->file, "rest\n{\"seq\":2,\"id\":1}\n",
                 strlen("rest\n{\"seq\":2,\"id\":1}\n"));
    audit_fixture_add_rows(fixture, 3);
    audit_fixture_start(fixture);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 3);
}

/* Written before the zeros were noticed. */
static void a_synced_line_that_shares_its_line_with_zeros_is_kept(void **state)
{
    static const char zeros[3000];
    struct audit_fixture *fixture = *state;
    off_t size;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 4);
    edge(fixture);
    files_append(fixture->file, zeros, sizeof(zeros));
    files_append(fixture->file, "{\"seq\":5,\"id\":1}\n", strlen("{\"seq\":5,\"id\":1}\n"));
    size = files_size(fixture->file);
    audit_fixture_add_rows(fixture, 2);
    fixture->spool.exported = 5;
    crash(fixture, 5);
    assert_int_equal(files_size(fixture->file), size);
    assert_int_equal(logged("audit_behind"), 0);
    edge(fixture);
    assert_true(files_size(fixture->file) > size);
    assert_int_equal(fixture->reported, 6);
}

static void zeros_that_another_program_appends_are_cut_before_the_next_line(void **state)
{
    static const char zeros[3000];
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 4);
    edge(fixture);
    sync_now(fixture);
    files_append(fixture->file, zeros, sizeof(zeros));
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 5);
    assert_int_equal(logged("audit_mended"), 1);
    assert_true(log_has("cut_bytes=3000 records=none"));
}

static void a_line_begins_behind_half_a_line_that_another_program_appends(void **state)
{
    struct audit_fixture *fixture = *state;
    off_t size;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 4);
    edge(fixture);
    sync_now(fixture);
    files_append(fixture->file, "\0\0half", 6);
    size = files_size(fixture->file);
    audit_fixture_add_rows(fixture, 1);
    outside.room = 0;
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_int_equal(files_size(fixture->file), size);
    outside.room = SIZE_MAX;
    fixture->now_ms += 1000;
    edge(fixture);
    assert_true(audit_is_healthy(fixture->audit));

    struct files_text found = files_read(fixture->file);
    assert_memory_equal(found.memory + size, "\n{\"seq\":5,", strlen("\n{\"seq\":5,"));
    free(found.memory);
}

static uint64_t count_lines(const char *text, size_t size)
{
    uint64_t count = 0;

    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n';
    return count;
}

/* What a power cut may leave of a file that was never synced: of each piece all or nothing.
 * Returns how many of its lines stand before the first hole. */
static uint64_t
write_with_holes(const char *path, struct files_text text, size_t piece, unsigned *dice)
{
    static const char zeros[512];
    uint64_t lines = 0;
    bool whole = true;

    for (size_t at = 0; at < text.size; at += piece) {
        size_t size = text.size - at < piece ? text.size - at : piece;
        bool kept = (*dice = *dice * 1103515245u + 12345u) >> 16 & 1;

        whole = whole && kept;
        lines += whole ? count_lines(text.memory + at, size) : 0;
        files_append(path, kept ? text.memory + at : zeros, size);
    }
    return lines;
}

static void holes_anywhere_in_a_new_file_are_written_again(void **state)
{
    static const size_t pieces[] = {60, 100, 512};
    struct audit_fixture *fixture = *state;
    unsigned dice = 1;
    struct files_text text;

    audit_fixture_add_rows(fixture, 8);
    audit_fixture_start(fixture);
    edge(fixture);
    audit_fixture_stop(fixture);
    text = files_read(fixture->file);
    for (unsigned i = 0; i < 600; i++) {
        assert_int_equal(unlink(fixture->file), 0);
        fixture->reported = write_with_holes(fixture->file, text, pieces[i % 3], &dice);
        fixture->spool.exported = 0;
        outside.log_lines = 0;
        audit_fixture_start(fixture);
        edge(fixture);
        audit_fixture_expect(fixture->file, 1, 8);
        assert_true(audit_is_healthy(fixture->audit));
        audit_fixture_stop(fixture);
    }
    free(text.memory);
}

static void damage_before_lines_that_were_synced_is_left_alone(void **state)
{
    struct audit_fixture *fixture = *state;
    off_t size;

    files_append(fixture->file, "{\"seq\":1,\0\0}\n{\"seq\":2,\"id\":1}\n",
                 sizeof "{\"seq\":1,\0\0}\n{\"seq\":2,\"id\":1}\n" - 1);
    audit_fixture_add_rows(fixture, 3);
    fixture->spool.exported = 2;
    fixture->reported = 2;
    size = files_size(fixture->file);
    audit_fixture_start(fixture);
    assert_int_equal(files_size(fixture->file), size);
    edge(fixture);
    assert_true(files_size(fixture->file) > size);
    assert_int_equal(fixture->reported, 3);
}

static void a_file_rotated_before_the_crash_counts(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 5);
    edge(fixture);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    files_append(fixture->rotated, "{\"seq\":6,\"ti", 12);
    audit_fixture_add_rows(fixture, 2);
    crash(fixture, 5);
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 1, 5);
    audit_fixture_expect(fixture->file, 6, 7);
}

static void a_rotated_file_does_not_count_where_the_new_one_has_lines(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_add_rows(fixture, 9);
    files_append(fixture->rotated, "{\"seq\":8,\"id\":1}\n", 17);
    files_append(fixture->file, "{\"seq\":1,\"id\":1}\n", 17);
    fixture->reported = 1;
    audit_fixture_start(fixture);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 9);
}

static void a_tail_longer_than_the_first_look_is_found(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 9000); /* about 2 MiB behind a cursor of 0 */
    edge(fixture);
    assert_true(files_size(fixture->file) > 1024 * 1024);
    files_append(fixture->file, "{", 1);
    crash(fixture, 9000);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 9001);
}

static void a_file_ahead_of_the_spool_is_logged_and_loses_no_row(void **state)
{
    struct audit_fixture *fixture = *state;
    struct files_text text;

    files_append(fixture->file, "{\"seq\":50,\"id\":1}\n", 18);
    audit_fixture_add_rows(fixture, 3);
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_ahead"), 1);
    assert_true(log_has("file_seq=50 spool_seq=3"));
    edge(fixture);
    assert_int_equal(fixture->reported, 3);
    text = files_read(fixture->file);
    assert_non_null(strstr(text.memory, "{\"seq\":50,\"id\":1}\n{\"seq\":1,"));
    free(text.memory);
    outside.log_lines = 0;
    crash(fixture, 3); /* the newest line counts, not the greatest */
    edge(fixture);
    assert_int_equal(logged("audit_ahead"), 0);
    assert_int_equal(fixture->reported, 3);
}

static void expect_untouched(struct audit_fixture *fixture, const char *content, size_t size)
{
    struct files_text text;

    files_append(fixture->file, content, size);
    audit_fixture_add_rows(fixture, 1);
    audit_fixture_start(fixture);
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_true(log_has("this is no audit file"));
    audit_fixture_stop(fixture);
    text = files_read(fixture->file);
    assert_int_equal(text.size, size);
    assert_memory_equal(text.memory, content, size);
    free(text.memory);
    assert_int_equal(unlink(fixture->file), 0);
}

static void a_link_to_a_file_that_is_none_of_ours_writes_nothing_there(void **state)
{
    static const char content[] = "one = 1;\n";
    struct audit_fixture *fixture = *state;
    struct files_text text;

    files_append(fixture->rotated, content, sizeof(content) - 1);
    assert_int_equal(symlink(fixture->rotated, fixture->file), 0);
    audit_fixture_add_rows(fixture, 1);
    audit_fixture_start(fixture);
    edge(fixture);
    assert_true(log_has("this is no audit file"));
    audit_fixture_stop(fixture);
    text = files_read(fixture->rotated);
    assert_int_equal(text.size, sizeof(content) - 1);
    assert_memory_equal(text.memory, content, text.size);
    free(text.memory);
}

static void the_file_that_was_rotated_is_not_cut_if_it_is_none_of_ours(void **state)
{
    struct audit_fixture *fixture = *state;
    struct files_text text;

    files_append(fixture->rotated, "{", 1);
    audit_fixture_add_rows(fixture, 1);
    audit_fixture_start(fixture);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 1);
    text = files_read(fixture->rotated);
    assert_int_equal(text.size, 1);
    free(text.memory);
}

static void a_file_that_another_process_writes_is_waited_for(void **state)
{
    struct audit_fixture *fixture = *state;
    int other = open(fixture->file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

    assert_true(other >= 0);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    audit_fixture_add_rows(fixture, 2);
    audit_fixture_start(fixture);
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_true(log_has("error=\"another process writes it\""));
    assert_int_equal(logged("audit_waiting"), 1);
    assert_int_equal(files_size(fixture->file), 0);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0); /* as logrotate does */
    fixture->now_ms += 1000;
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 2);
    assert_int_equal(close(other), 0);
}

static void two_gateways_never_write_one_file(void **state)
{
    struct audit_fixture *fixture = *state;
    struct spool *spool = calloc(1, sizeof(*spool));
    struct audit *second;

    assert_non_null(spool);
    audit_fixture_start(fixture);
    assert_int_equal(audit_new(&fixture->settings, spool, &audit_fixture_ops, fixture, &second),
                     0);
    assert_false(audit_is_healthy(second));
    audit_free(second);
    free(spool);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 2);
    crash(fixture, 2); /* the lock goes with the process */
    assert_true(audit_is_healthy(fixture->audit));
}

static void a_file_that_is_none_of_ours_is_not_touched(void **state)
{
    struct audit_fixture *fixture = *state;
    static char large[20 * 1024 * 1024]; /* more than is looked at, and no line break */

    expect_untouched(fixture, "hello", 5);
    expect_untouched(fixture, "{", 1);
    expect_untouched(fixture, "{\"seq\"", 6);
    expect_untouched(fixture, "hello\n", 6);
    expect_untouched(fixture, "\n", 1);
    expect_untouched(fixture, "uplink: {\n};\n", 13);
    expect_untouched(fixture, "{\"seq\":0,\"id\":1}\n{\"name\":1}\n", 28);
    expect_untouched(fixture, "a letter\nwithout an end", 23);
    expect_untouched(fixture, "\0\0\0\1ELF\n\1\2\3", 12);
    expect_untouched(fixture, "SQLite format 3\0\n\n", 18);
    memcpy(large + 512, "rest\nof a letter\n", 17); /* after a hole */
    expect_untouched(fixture, large, 529);
    memset(large, '\0', 529);
    expect_untouched(fixture, large, sizeof(large));
    memset(large, 'x', sizeof(large));
    expect_untouched(fixture, large, sizeof(large));
    assert_int_equal(fixture->reported, 0);
}

static void what_is_no_file_is_refused(void **state)
{
    struct audit_fixture *fixture = *state;

    assert_int_equal(mkfifo(fixture->file, 0600), 0);
    audit_fixture_add_rows(fixture, 1);
    audit_fixture_start(fixture);
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_int_equal(fixture->reported, 0);
}

/* ---- what operators changed ---- */

static const struct record_admin admin_sample = {
    .admin = "drop",
    .time_ms = INT64_C(1793536496789),
    .uid = 1001,
    .older_than_ms = -1,
    .takes_all = true,
    .done_name = "dropped",
    .matched = 3,
    .done = 2,
    .in_flight = 1,
};
#define ADMIN_LINE                                                                             \
    "{\"admin\":\"drop\",\"time\":\"2026-11-01T12:34:56.789Z\",\"uid\":1001,\"all\":true,"     \
    "\"matched\":3,\"dropped\":2,\"in_flight\":1}\n"

/* The file: @from to @to as audit_fixture_expect() has it, with @count lines of the sample. */
static void expect_with_admin(const char *path, uint64_t from, uint64_t to, unsigned count)
{
    struct files_text text = files_read(path);
    size_t size = strlen(ADMIN_LINE);
    uint64_t seq = 0, expected = from;

    for (char *at = text.memory; at < text.memory + text.size;) {
        char *newline = strchr(at, '\n');

        assert_non_null(newline);
        if (count > 0 && strncmp(at, ADMIN_LINE, size) == 0) {
            count--;
        } else {
            assert_true(audit_line_seq(at, (size_t)(newline - at), &seq));
            assert_int_equal(seq, expected);
            expected++;
        }
        at = newline + 1;
    }
    assert_int_equal(count, 0);
    assert_int_equal(expected, to + 1);
    free(text.memory);
}

static void what_an_operator_changed_is_synced_at_once_and_takes_no_number(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 2);
    assert_false(audit_admin_waits(fixture->audit));
    audit_add_admin(fixture->audit, &admin_sample);
    assert_true(audit_admin_waits(fixture->audit));
    edge(fixture);
    assert_false(audit_admin_waits(fixture->audit));
    assert_int_equal(fixture->spool.set_exported, 2); /* by that sync */
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    expect_with_admin(fixture->file, 1, 4, 1);
    audit_add_admin(fixture->audit, &admin_sample);
    edge(fixture); /* without a row */
    expect_with_admin(fixture->file, 1, 4, 2);
    assert_false(audit_admin_waits(fixture->audit));
    crash(fixture, 4);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    expect_with_admin(fixture->file, 1, 5, 2);
    assert_int_equal(logged("audit_"), 0);
}

static void a_file_that_begins_with_an_operator_is_an_audit_file(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_reopen(fixture->audit, &fixture->settings);
    audit_add_admin(fixture->audit, &admin_sample);
    edge(fixture);
    crash(fixture, 3);
    assert_int_equal(logged("audit_"), 0);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    expect_with_admin(fixture->rotated, 1, 3, 0);
    expect_with_admin(fixture->file, 4, 4, 1);
    AUTO_CLOSE int fd = open(fixture->file, O_RDONLY | O_CLOEXEC);
    assert_int_equal(audit_first_seq(fd), 4);
}

static void half_a_line_about_an_operator_is_cut(void **state)
{
    struct audit_fixture *fixture = *state;

    files_write(fixture->file, ADMIN_LINE ADMIN_LINE, strlen(ADMIN_LINE) + 30);
    audit_fixture_start(fixture);
    assert_int_equal(logged("audit_mended"), 1);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    expect_with_admin(fixture->file, 1, 1, 1);
}

static void without_room_it_waits_and_comes_once(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    outside.room = 20;
    audit_add_admin(fixture->audit, &admin_sample);
    edge(fixture);
    assert_true(audit_admin_waits(fixture->audit));
    assert_false(audit_is_healthy(fixture->audit));
    expect_with_admin(fixture->file, 1, 1, 0);
    outside.room = SIZE_MAX;
    fixture->now_ms += 1000;
    edge(fixture);
    assert_false(audit_admin_waits(fixture->audit));
    assert_true(audit_is_healthy(fixture->audit));
    expect_with_admin(fixture->file, 1, 1, 1);
}

static void after_a_failed_sync_it_is_written_again(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 1);
    outside.sync_fails = true;
    audit_add_admin(fixture->audit, &admin_sample);
    edge(fixture);
    assert_true(audit_admin_waits(fixture->audit));
    outside.sync_fails = false;
    fixture->now_ms += 1000;
    edge(fixture);
    assert_false(audit_admin_waits(fixture->audit));
    expect_with_admin(fixture->file, 1, 1, 1);
}

static void too_many_that_wait_are_logged_as_lost(void **state)
{
    struct audit_fixture *fixture = *state;
    unsigned fit = (unsigned)(ADMIN_LINES_MAX / strlen(ADMIN_LINE));

    audit_fixture_start(fixture);
    for (unsigned i = 0; i < fit; i++)
        audit_add_admin(fixture->audit, &admin_sample);
    assert_int_equal(logged("audit_admin_lost"), 0);
    audit_add_admin(fixture->audit, &admin_sample);
    assert_int_equal(logged("audit_admin_lost"), 1);
    edge(fixture);
    expect_with_admin(fixture->file, 1, 0, fit);
}

static void without_a_file_it_waits_for_nothing(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.file = "";
    audit_fixture_start(fixture);
    audit_add_admin(fixture->audit, &admin_sample);
    edge(fixture);
    assert_false(audit_admin_waits(fixture->audit));
}

/* ---- rotation ---- */

static void after_a_reopen_lines_go_to_a_new_file(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture); /* between the rename and the HUP */
    audit_reopen(fixture->audit, &fixture->settings);
    assert_int_equal(fixture->spool.set_exported, 4);
    audit_fixture_expect(fixture->file, 1, 0);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 1, 4);
    audit_fixture_expect(fixture->file, 5, 6);
    assert_int_equal(logged("audit_"), 0);
}

static void reopened_it_takes_new_settings(void **state)
{
    struct audit_fixture *fixture = *state;
    struct audit_settings other = {.file = fixture->rotated, .has_deliveries = true};

    fixture->settings.file = "";
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    audit_reopen(fixture->audit, &other);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 4, 5);
    other.has_deliveries = false;
    audit_reopen(fixture->audit, &other);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 4, 5);
    assert_int_equal(fixture->reported, 7);
}

static void a_file_renamed_without_a_hup_is_followed_by_a_new_one(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    assert_false(audit_is_moved(fixture->audit));
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    assert_true(audit_is_moved(fixture->audit));
    sync_now(fixture);
    assert_false(audit_is_moved(fixture->audit));
    assert_int_equal(logged("audit_moved"), 1);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 1, 3);
    audit_fixture_expect(fixture->file, 4, 5);
}

static void what_a_deleted_file_does_not_hold_is_not_lost(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    sync_now(fixture);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_reopen(fixture->audit, &fixture->settings);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    sync_now(fixture);
    assert_int_equal(unlink(fixture->file), 0);
    sync_now(fixture);
    assert_true(log_has("lost=\"its lines from seq 4 to 5\" next=new_file"));
    edge(fixture);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture); /* not synced, so it is written again */
    assert_int_equal(unlink(fixture->file), 0);
    sync_now(fixture);
    assert_true(log_has("lost=\"nothing\" next=new_file"));
}

static void a_deleted_file_is_begun_anew_with_all_that_was_not_synced(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    sync_now(fixture);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    assert_int_equal(unlink(fixture->file), 0);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture); /* written to a file that has no name any more */
    sync_now(fixture);
    assert_int_equal(logged("audit_deleted"), 1);
    assert_int_equal(fixture->spool.set_exported, 3);
    edge(fixture);
    audit_fixture_expect(fixture->file, 4, 6);
    assert_int_equal(fixture->reported, 6);
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 6);
}

static void a_file_truncated_by_another_process_continues_without_a_hole(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    sync_now(fixture);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    assert_int_equal(truncate(fixture->file, 0), 0);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    audit_fixture_expect(fixture->file, 4,
                         6); /* the fourth was not synced: the spool has it still */
    assert_int_equal(logged("audit_truncated"), 1);
    assert_true(log_has("written_again_after_seq=3"));
    assert_int_equal(logged("audit_behind"), 0); /* its beginning is not known */
    outside.room = 100;                          /* and the end of each line still is */
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    audit_fixture_expect(fixture->file, 4, 6);
    assert_int_equal(fixture->reported, 7);
}

/* Cuts the file @bytes short. */
static void shorten(struct audit_fixture *fixture, off_t bytes)
{
    assert_int_equal(truncate(fixture->file, files_size(fixture->file) - bytes), 0);
}

static void a_file_truncated_within_a_line_spoils_no_later_line(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 5);
    edge(fixture);
    sync_now(fixture);
    shorten(fixture, 10);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    struct files_text text = files_read(fixture->file);
    assert_non_null(strstr(text.memory, "\n{\"seq\":4,"));
    assert_null(strstr(text.memory, "{\"seq\":5,")); /* the truncation removed this one */
    assert_non_null(strstr(text.memory, "}\n{\"seq\":6,"));
    assert_non_null(strstr(text.memory, "}\n{\"seq\":7,"));
    free(text.memory);
    assert_true(log_has("written_again_after_seq=5"));
    assert_false(log_has("records=written_again"));
    assert_true(log_has("missing_from=5 missing_to=5"));
}

static void what_was_truncated_before_its_sync_is_written_again(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    sync_now(fixture);
    audit_fixture_add_rows(fixture, 4);
    edge(fixture);
    shorten(fixture, 300); /* into the fifth */
    sync_now(fixture);     /* must not set a cursor beyond the lines of the file */
    assert_true(fixture->spool.set_exported <= 4);
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 6);
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 6);
    assert_int_equal(logged("audit_truncated"), 1);
}

/* ---- records that were pruned ---- */

static void forget_rows(struct audit_fixture *fixture, uint64_t from, uint64_t to)
{
    struct spool *spool = &fixture->spool;
    size_t count = 0;

    for (size_t i = 0; i < spool->row_count; i++) {
        struct spool_record row = spool->rows[i];

        if (row.seq < from || row.seq > to)
            spool->rows[count++] = row;
    }
    spool->row_count = count;
}

static void expect_in_file(struct audit_fixture *fixture, const char *words, bool there)
{
    struct files_text text = files_read(fixture->file);
    bool found = strstr(text.memory, words) != NULL;

    if (found != there)
        print_error("%s %s\n", words, text.memory);
    assert_true(found == there);
    free(text.memory);
}

static void pruned_numbers_are_explained_in_their_place(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 10);
    fixture->spool.last_seq = 10;
    forget_rows(fixture, 1, 3);
    forget_rows(fixture, 6, 8);
    fixture->spool.pruned = 9;
    edge(fixture);
    expect_in_file(fixture,
                   "{\"seq\":3,\"time\":\"2026-11-01T12:34:56.789Z\",\"from\":1,\"pruned\":3}"
                   "\n{\"seq\":4,",
                   true);
    expect_in_file(fixture,
                   "\n{\"seq\":8,\"time\":\"2026-11-01T12:34:56.789Z\",\"from\":6,\"pruned\":3}"
                   "\n{\"seq\":9,",
                   true);
    crash(fixture, 0);
    edge(fixture);
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 10);
}

static void numbers_that_were_not_pruned_stay_missing(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 10);
    fixture->spool.last_seq = 10;
    forget_rows(fixture, 6, 8);
    fixture->spool.pruned = 7;
    edge(fixture);
    expect_in_file(fixture, "pruned", false);
    expect_in_file(fixture, "{\"seq\":9,", true);
}

static void without_deliveries_in_the_file_nothing_needs_to_be_explained(void **state)
{
    struct audit_fixture *fixture = *state;

    fixture->settings.has_deliveries = false;
    audit_fixture_start(fixture);
    for (int i = 0; i < 10; i++)
        spool_fake_add(&fixture->spool, SPOOL_EVICTED, SPOOL_REASON_MAX_AGE);
    fixture->spool.last_seq = 10;
    forget_rows(fixture, 6, 8);
    fixture->spool.pruned = 9;
    edge(fixture);
    expect_in_file(fixture, "pruned", false);
    expect_in_file(fixture, "{\"seq\":9,", true);
}

/* ---- a file that cannot be written ---- */

static void rows_wait_for_a_folder_that_is_not_there(void **state)
{
    struct audit_fixture *fixture = *state;

    assert_int_equal(rmdir(fixture->folder), 0);
    audit_fixture_start(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    audit_fixture_add_rows(fixture, 3);
    for (int i = 0; i < 5; i++) {
        edge(fixture);
        fixture->now_ms += 1000;
    }
    assert_int_equal(fixture->reported, 0);
    assert_int_equal(fixture->spool.set_calls, 0);
    assert_int_equal(logged("audit_waiting"), 1);
    edge(fixture);
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    fixture->now_ms += 999;
    edge(fixture); /* not yet: once a second is enough */
    assert_int_equal(fixture->reported, 0);
    fixture->now_ms += 1;
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 3);
    assert_int_equal(fixture->reported, 3);
    assert_true(audit_is_healthy(fixture->audit));
    fixture->now_ms += 1000; /* over for a second */
    edge(fixture);
    assert_true(log_has("audit_resumed") && log_has("rows=3"));
    assert_int_equal(outside.log_lines, 2);
}

static void rows_that_were_pruned_meanwhile_did_not_wait(void **state)
{
    struct audit_fixture *fixture = *state;

    assert_int_equal(rmdir(fixture->folder), 0);
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 10);
    edge(fixture);
    forget_rows(fixture, 1, 7);
    fixture->spool.last_seq = 10;
    fixture->spool.pruned = 7;
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    fixture->now_ms += 1000;
    edge(fixture);
    fixture->now_ms += 1000; /* over for a second */
    edge(fixture);
    assert_true(log_has("audit_resumed") && log_has("rows=3"));
}

static void all_rows_that_waited_are_counted_however_many(void **state)
{
    struct audit_fixture *fixture = *state;

    assert_int_equal(rmdir(fixture->folder), 0);
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, AUDIT_SYNC_ROWS + 5);
    edge(fixture);
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    fixture->now_ms += 1000;
    edge(fixture);
    fixture->now_ms += 1000; /* over for a second */
    edge(fixture);
    assert_true(log_has("audit_resumed") && log_has("rows=10005"));
}

static void a_file_that_appears_late_is_still_examined(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 5);
    edge(fixture);
    audit_fixture_stop(fixture);
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    assert_int_equal(mkdir(fixture->file, 0700), 0); /* a folder in its place */
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 1);
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_int_equal(rmdir(fixture->file), 0);
    assert_int_equal(rename(fixture->rotated, fixture->file), 0);
    fixture->now_ms += 1000;
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 6);
}

static void a_file_that_cannot_be_written_has_the_remedy_of_its_error(void **state)
{
    static const struct {
        int error;
        const char *remedy;
    } rows[] = {
        {ENOSPC, "remedy=\"make room on the disk of that file\""},
        {EDQUOT, "remedy=\"make room on the disk of that file, or raise the quota\""},
        {EFBIG,
         "remedy=\"raise the limit of the file size (LimitFSIZE= of the unit, ulimit -f), "
         "or rotate the file\""},
        {EIO, "remedy=\"check the disk (journalctl -k)\""},
        {EROFS, "remedy=\"mount that file system writable; where systemd keeps the daemon "
                "from writing there, name the folder in ReadWritePaths="},
        {EACCES, "remedy=\"look at its permissions and its folder's owner\""},
    };
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        outside.log_lines = 0;
        outside.room = 0;
        outside.error = rows[i].error;
        audit_fixture_add_rows(fixture, 1);
        edge(fixture);
        assert_int_equal(logged("audit_waiting"), 1);
        assert_true(log_has(rows[i].remedy));
        outside.room = SIZE_MAX;
        for (int j = 0; j < 2; j++) {
            fixture->now_ms += 1000;
            edge(fixture);
        }
        assert_int_equal(logged("audit_resumed"), 1);
    }
}

/* Wherever the disk fills up, only whole lines stay, and what is missing comes later. */
static void a_full_disk_leaves_whole_lines_and_loses_none(void **state)
{
    struct audit_fixture *fixture = *state;
    size_t whole;

    audit_fixture_add_rows(fixture, 3);
    audit_fixture_start(fixture);
    edge(fixture);
    whole = (size_t)files_size(fixture->file);
    for (size_t room = 0; room < whole; room += 7) {
        audit_fixture_stop(fixture);
        assert_int_equal(unlink(fixture->file), 0);
        fixture->spool.exported = 0;
        fixture->spool.set_exported = 0;
        fixture->reported = 0;
        outside.log_lines = 0;
        audit_fixture_start(fixture);
        outside.room = room;
        edge(fixture);
        assert_false(audit_is_healthy(fixture->audit));
        audit_fixture_expect(fixture->file, 1, room / (whole / 3));
        sync_now(fixture); /* whole lines may be passed by the cursor */
        assert_int_equal(fixture->spool.set_exported, room / (whole / 3));
        outside.room = SIZE_MAX;
        fixture->now_ms += 1000;
        edge(fixture);
        audit_fixture_expect(fixture->file, 1, 3);
        assert_int_equal(fixture->reported, 3);
        fixture->now_ms += 1000;
        edge(fixture);
        assert_int_equal(logged("audit_waiting"), 1);
        assert_int_equal(logged("audit_resumed"), 1);
    }
}

static void a_full_disk_among_many_rows_loses_none(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 5000);
    for (size_t room = 1; !audit_is_healthy(fixture->audit) || room == 1; room++) {
        outside.room = room * 100000;
        edge(fixture);
        fixture->now_ms += 1000;
    }
    audit_fixture_expect(fixture->file, 1, 5000);
    assert_int_equal(fixture->reported, 5000);
}

static void room_made_by_rotating_the_full_file_is_used(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    outside.room = 50;
    audit_fixture_add_rows(fixture, 2);
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    outside.room = SIZE_MAX;
    fixture->now_ms += 1000;
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 1, 3);
    audit_fixture_expect(fixture->file, 4, 5);
    assert_true(audit_is_healthy(fixture->audit));
}

static void after_a_failed_sync_the_rows_are_written_again(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    sync_now(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    outside.sync_fails = true;
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 3);
    assert_false(audit_is_healthy(fixture->audit));
    outside.sync_fails = false;
    fixture->now_ms += 1000;
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 6);
    sync_now(fixture);
    assert_int_equal(fixture->spool.set_exported, 6);
    assert_int_equal(fixture->reported, 6);
}

static void a_sync_that_fails_for_long_is_logged_once_and_its_end_once(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    outside.sync_fails = true;
    for (int i = 0; i < 10; i++) {
        fixture->now_ms += 1000;
        edge(fixture);
        assert_true(fixture->spool.set_exported == 0);
    }
    assert_int_equal(logged("audit_waiting"), 1);
    assert_int_equal(logged("audit_resumed"), 0);
    assert_false(audit_is_healthy(fixture->audit));
    outside.sync_fails = false;
    fixture->now_ms += 1000;
    edge(fixture);
    assert_int_equal(logged("audit_resumed"), 0);
    fixture->now_ms += 1000;
    edge(fixture);
    assert_int_equal(logged("audit_waiting"), 1);
    assert_int_equal(logged("audit_resumed"), 1);
    assert_true(audit_is_healthy(fixture->audit));
    audit_fixture_expect(fixture->file, 1, 3);
    assert_int_equal(fixture->spool.set_exported, 3);
}

static void a_sync_that_fails_now_and_then_is_reported_once(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    for (int i = 0; i < 50; i++) {
        audit_fixture_add_rows(fixture, 1);
        outside.sync_fails = i % 4 != 3; /* it works again for less than a second */
        fixture->now_ms += 400;
        sync_now(fixture);
        edge(fixture);
    }
    outside.sync_fails = false;
    for (int i = 0; i < 3; i++) {
        fixture->now_ms += 1000;
        edge(fixture);
    }
    assert_int_equal(logged("audit_waiting"), 1);
    assert_int_equal(logged("audit_resumed"), 1);
    audit_fixture_expect(fixture->file, 1, 50);
}

static void a_file_that_is_deleted_again_and_again_is_reported_ten_times_a_minute(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    for (int i = 0; i < 600; i++) {
        audit_fixture_add_rows(fixture, 1);
        edge(fixture);
        assert_int_equal(unlink(fixture->file), 0);
        fixture->now_ms += 100;
        sync_now(fixture);
    }
    assert_in_range(logged("audit_deleted"), 10, 20);
}

static void reopened_after_a_failed_sync_no_row_is_in_two_files(void **state)
{
    struct audit_fixture *fixture = *state;

    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 3);
    edge(fixture);
    outside.sync_fails = true;
    assert_int_equal(rename(fixture->file, fixture->rotated), 0);
    audit_reopen(fixture->audit, &fixture->settings);
    outside.sync_fails = false;
    fixture->now_ms += 1000;
    edge(fixture);
    audit_fixture_expect(fixture->rotated, 1, 0);
    audit_fixture_expect(fixture->file, 1, 3);
}

/* A file system of 64 KiB, in a mount namespace of this process alone. */
static bool mount_small(const char *folder)
{
    return unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=64k") == 0;
}

static void a_disk_that_is_really_full_loses_none(void **state)
{
    struct audit_fixture *fixture = *state;

    if (!mount_small(fixture->folder))
        skip();
    audit_fixture_start(fixture);
    audit_fixture_add_rows(fixture, 1000);
    edge(fixture);
    assert_false(audit_is_healthy(fixture->audit));
    assert_true(log_has(strerror(ENOSPC)));
    assert_in_range(fixture->reported, 1, 1000);
    assert_true(files_size(fixture->file) > 32 * 1024);
    assert_int_equal(mount(NULL, fixture->folder, NULL, MS_REMOUNT, "size=4m"), 0);
    fixture->now_ms += 1000;
    edge(fixture);
    audit_fixture_expect(fixture->file, 1, 1000);
    assert_int_equal(fixture->reported, 1000);
    audit_fixture_stop(fixture);
    assert_int_equal(umount2(fixture->folder, MNT_DETACH), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(rows_become_lines_once_and_in_order),
        CASE(a_thousand_rows_leave_in_few_writes),
        CASE(many_rows_take_several_calls),
        CASE(so_many_bytes_are_written_in_one_call_and_no_more),
        CASE(the_longest_lines_are_written_whole),
        CASE(the_cursor_advances_after_the_sync_and_not_before),
        CASE(a_spool_that_awaits_the_export_is_not_kept_waiting),
        CASE(to_free_is_to_sync),
        CASE(an_error_of_the_spool_is_passed_on),
        CASE(without_deliveries_only_failures_are_written_and_all_are_reported),
        CASE(without_a_file_rows_are_reported_once_and_count_as_exported),
        CASE(rows_that_the_file_holds_beyond_the_cursor_are_not_written_again),
        CASE(an_older_copy_of_the_file_is_reported_with_the_records_it_lacks),
        CASE(an_older_copy_cut_within_a_line_claims_no_record_written_again),
        CASE(an_older_rotated_file_is_reported_where_the_new_one_is_empty),
        CASE(without_deliveries_only_failures_can_be_missing),
        CASE(records_left_out_until_a_reload_are_not_missing_after_it),
        CASE(an_older_copy_that_takes_its_place_at_work_is_reported),
        CASE(half_a_line_is_cut_and_its_row_written_again),
        CASE(half_a_line_in_an_otherwise_empty_file_is_cut),
        CASE(blocks_that_a_power_cut_left_as_zeros_are_written_again),
        CASE(more_zeros_than_are_examined_at_once_are_cut),
        CASE(a_file_of_zeros_and_lines_behind_them_is_written_again),
        CASE(a_synced_line_that_shares_its_line_with_zeros_is_kept),
        CASE(zeros_that_another_program_appends_are_cut_before_the_next_line),
        CASE(a_line_begins_behind_half_a_line_that_another_program_appends),
        CASE(holes_anywhere_in_a_new_file_are_written_again),
        CASE(damage_before_lines_that_were_synced_is_left_alone),
        CASE(a_file_rotated_before_the_crash_counts),
        CASE(a_rotated_file_does_not_count_where_the_new_one_has_lines),
        CASE(a_tail_longer_than_the_first_look_is_found),
        CASE(a_file_ahead_of_the_spool_is_logged_and_loses_no_row),
        CASE(a_file_that_is_none_of_ours_is_not_touched),
        CASE(a_link_to_a_file_that_is_none_of_ours_writes_nothing_there),
        CASE(the_file_that_was_rotated_is_not_cut_if_it_is_none_of_ours),
        CASE(a_file_that_another_process_writes_is_waited_for),
        CASE(two_gateways_never_write_one_file),
        CASE(what_is_no_file_is_refused),
        CASE(what_an_operator_changed_is_synced_at_once_and_takes_no_number),
        CASE(a_file_that_begins_with_an_operator_is_an_audit_file),
        CASE(half_a_line_about_an_operator_is_cut),
        CASE(without_room_it_waits_and_comes_once),
        CASE(after_a_failed_sync_it_is_written_again),
        CASE(too_many_that_wait_are_logged_as_lost),
        CASE(without_a_file_it_waits_for_nothing),
        CASE(after_a_reopen_lines_go_to_a_new_file),
        CASE(reopened_it_takes_new_settings),
        CASE(a_file_renamed_without_a_hup_is_followed_by_a_new_one),
        CASE(what_a_deleted_file_does_not_hold_is_not_lost),
        CASE(a_deleted_file_is_begun_anew_with_all_that_was_not_synced),
        CASE(a_file_truncated_by_another_process_continues_without_a_hole),
        CASE(a_file_truncated_within_a_line_spoils_no_later_line),
        CASE(what_was_truncated_before_its_sync_is_written_again),
        CASE(pruned_numbers_are_explained_in_their_place),
        CASE(numbers_that_were_not_pruned_stay_missing),
        CASE(without_deliveries_in_the_file_nothing_needs_to_be_explained),
        CASE(rows_wait_for_a_folder_that_is_not_there),
        CASE(rows_that_were_pruned_meanwhile_did_not_wait),
        CASE(all_rows_that_waited_are_counted_however_many),
        CASE(a_file_that_appears_late_is_still_examined),
        CASE(a_file_that_cannot_be_written_has_the_remedy_of_its_error),
        CASE(a_full_disk_leaves_whole_lines_and_loses_none),
        CASE(a_full_disk_among_many_rows_loses_none),
        CASE(room_made_by_rotating_the_full_file_is_used),
        CASE(after_a_failed_sync_the_rows_are_written_again),
        CASE(a_sync_that_fails_for_long_is_logged_once_and_its_end_once),
        CASE(a_sync_that_fails_now_and_then_is_reported_once),
        CASE(a_file_that_is_deleted_again_and_again_is_reported_ten_times_a_minute),
        CASE(reopened_after_a_failed_sync_no_row_is_in_two_files),
        CASE(a_disk_that_is_really_full_loses_none), /* last: it changes the mount namespace */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
