/* SPDX-License-Identifier: MIT */
/*
 * check.c - checks all that the daemon assumes of a spool
 *
 * Each block of the files is read; the pages are checked by SQLite, each message
 * by its checksum, the ledger by counting, ids by comparing, records by their
 * numbers. Reads only. All of it in one snapshot, so that a daemon that runs
 * meanwhile changes nothing of it; its log cannot be used from the start again
 * until the check has ended, and grows until then.
 *
 * The mark is read before the snapshot is taken: it is never ahead of the
 * database as it was then.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/view.h"
#include "store/runs.h"
#include "store/salvage/mark.h"
#include "store/salvage/survey.h"
#include "store/spool-private.h"
#include "store/sum.h"
#include "store/tallies.h"

struct check {
    struct spool *spool;
    spool_finding_fn *fn;
    void *userdata;
    int version; /* of the schema: the daemon may not have migrated it yet */
    struct {
        int64_t key;
        uint64_t number; /* 0: it has none */
    } before;            /* the message before, in the order of keys */
    bool has_damage;     /* reported */
    bool has_bad_blocks; /* there are bad blocks, and they are reported */
    bool has_ends;       /* the two that follow were read */
    uint64_t last_id;
    uint64_t last_seq;
    unsigned faults;       /* lines of SQLite's about pages */
    unsigned pages;        /* that they name, as far as they follow each other */
    unsigned long page;    /* the one named last */
    char first_fault[200]; /* described */
};

#define FAULTS_MAX 100 /* then SQLite looks no further */

__attribute__((format(printf, 3, 4))) static void
report(const struct check *check, enum spool_part part, const char *format, ...)
{
    char text[SPOOL_ERRMSG_MAX * 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    check->fn(check->userdata, part, text);
}

typedef void row_fn(struct check *check, sqlite3_stmt *stmt);

#define SQL_MAX 1024

/* Damage is a finding, not a failure. One bad page fails many reads and is reported once. */
static int each_row(struct check *check, const char *sql, row_fn *fn)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(check->spool->conn.db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
            fn(check, stmt);
    }
    int r = 0;
    if (rc == SQLITE_IOERR && check->has_bad_blocks) {
        r = 0;
    } else if (rc != SQLITE_CORRUPT && rc != SQLITE_NOTADB) {
        r = spool_result(check->spool, rc);
    } else if (!check->has_damage) {
        check->has_damage = true;
        report(check, SPOOL_PART_DATABASE, "the database is damaged: %s",
               sqlite3_errmsg(check->spool->conn.db));
    }
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    return r;
}

static uint64_t number(sqlite3_stmt *stmt, int column)
{
    return (uint64_t)sqlite3_column_int64(stmt, column);
}

static unsigned long long printable(sqlite3_stmt *stmt, int column)
{
    return (unsigned long long)sqlite3_column_int64(stmt, column);
}

/* ---- pages and messages ---- */

/* "Page 500: ...", "On tree page 3 cell 7: ...": all that matters to the reader is the page. */
static void note_fault(struct check *check, const char *text, int length)
{
    char line[200];
    if (length == 0 || strncmp(text, "***", 3) == 0)
        return;
    (void)snprintf(line, sizeof(line), "%.*s", length, text);
    const char *page = strstr(line, "age ");
    unsigned long number = page ? strtoul(page + 4, NULL, 10) : 0;
    check->pages += number > 0 && number != check->page;
    check->page = number;
    if (check->faults++ > 0)
        return;
    if (number > 0)
        (void)snprintf(check->first_fault, sizeof(check->first_fault), "page %lu is not sound",
                       number);
    else
        memcpy(check->first_fault, line, sizeof(line));
}

static void check_page(struct check *check, sqlite3_stmt *stmt)
{
    const char *text = (const char *)sqlite3_column_text(stmt, 0);
    if (!text || strcmp(text, "ok") == 0 || check->has_bad_blocks)
        return;
    check->has_damage = true;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        note_fault(check, text, (int)length);
        text += length + (text[length] == '\n');
    }
}

/* The first one is enough to know; how many there are says how bad it is. */
static void report_faults(struct check *check)
{
    char more[80] = "";
    if (check->faults == 0)
        return;
    if (check->pages > 1)
        (void)snprintf(more, sizeof(more), "; %u pages%s are not", check->pages,
                       check->faults >= FAULTS_MAX ? " or more" : "");
    report(check, SPOOL_PART_DATABASE, "the database is damaged: %s%s", check->first_fault,
           more);
}

static struct view column(sqlite3_stmt *stmt, int index)
{
    const void *data = sqlite3_column_blob(stmt, index);
    return view_of(data, (size_t)sqlite3_column_bytes(stmt, index));
}

/* Within its lane; 0: an earlier schema did not number it. */
static uint64_t message_number(sqlite3_stmt *stmt, int64_t key, int column_behind)
{
    if (sqlite3_column_type(stmt, column_behind) == SQLITE_NULL)
        return 0;
    return ((uint64_t)key & SPOOL_ID_MAX) - number(stmt, column_behind);
}

/* Numbers rise in a lane as ids do, and each has one message. */
static void check_message_number(struct check *check, const struct sum_facts *facts)
{
    bool is_same_lane = facts->key >> SPOOL_ID_BITS == check->before.key >> SPOOL_ID_BITS;
    if (is_same_lane && check->before.number > 0 && facts->number <= check->before.number)
        report(check, SPOOL_PART_IDS,
               "message %llu has number %llu in its lane, the one before it has %llu",
               (unsigned long long)((uint64_t)facts->key & SPOOL_ID_MAX),
               (unsigned long long)facts->number, (unsigned long long)check->before.number);
    check->before.key = facts->key;
    check->before.number = facts->number;
}

static void check_message(struct check *check, sqlite3_stmt *stmt)
{
    int64_t key = sqlite3_column_int64(stmt, MESSAGE_KEY);
    const struct sum_facts facts = {
        .number = message_number(stmt, key, MESSAGE_BEHIND),
        .key = key,
        .accepted = sqlite3_column_int64(stmt, MESSAGE_ACCEPTED),
        .uid = sqlite3_column_int64(stmt, MESSAGE_UID),
        .flags = sqlite3_column_int64(stmt, MESSAGE_FLAGS),
        .client = column(stmt, MESSAGE_CLIENT),
        .topic = column(stmt, MESSAGE_TOPIC),
        .properties = column(stmt, MESSAGE_PROPERTIES),
        .ref = column(stmt, MESSAGE_REF),
        .payload = column(stmt, MESSAGE_PAYLOAD),
    };
    if (sqlite3_column_type(stmt, MESSAGE_SUM) == SQLITE_NULL ||
        sqlite3_column_int64(stmt, MESSAGE_SUM) == (int64_t)sum_of(&facts)) {
        check_message_number(check, &facts);
        return;
    }
    report(check, SPOOL_PART_MESSAGE, "message %llu is not what was stored",
           (unsigned long long)((uint64_t)facts.key & SPOOL_ID_MAX));
}

/* A spool that the daemon has not yet migrated has messages without sums, or numbers. */
static int check_messages(struct check *check)
{
    if (check->version < 2)
        return 0;
    const char *sql = check->version < 8 ? "SELECT " MESSAGE_COLUMNS_OF_2
                                           ", NULL FROM message ORDER BY key"
                      : check->version < VERSION_OF_SEGMENTS
                          ? "SELECT " MESSAGE_COLUMNS " FROM message ORDER BY key"
                          : "SELECT " MESSAGE_COLUMNS " FROM spooled ORDER BY key";
    return each_row(check, sql, check_message);
}

/* ---- the ledger ---- */

static void take_ends(struct check *check, sqlite3_stmt *stmt)
{
    check->has_ends = true;
    check->last_id = number(stmt, 0);
    check->last_seq = number(stmt, 1);
}

static void check_lane(struct check *check, sqlite3_stmt *stmt)
{
    const char *name = (const char *)sqlite3_column_text(stmt, 0);
    uint64_t accepted = number(stmt, 1);
    uint64_t accounted = number(stmt, 2);
    if (accepted != accounted)
        report(
            check, SPOOL_PART_LEDGER,
            "the ledger of lane \"%.64s\" does not balance: %llu accepted, %llu accounted for",
            name, (unsigned long long)accepted, (unsigned long long)accounted);
    if (number(stmt, 3) != number(stmt, 6))
        report(check, SPOOL_PART_LEDGER, "lane \"%.64s\" counts %llu messages and holds %llu",
               name, printable(stmt, 3), printable(stmt, 6));
    else if (number(stmt, 4) != number(stmt, 7))
        report(check, SPOOL_PART_LEDGER, "lane \"%.64s\" counts %llu bytes and holds %llu",
               name, printable(stmt, 4), printable(stmt, 7));
    if (number(stmt, 8) > number(stmt, 5))
        report(check, SPOOL_PART_LEDGER,
               "lane \"%.64s\" holds message %llu, but ids were given out up to %llu only",
               name, printable(stmt, 8), printable(stmt, 5));
}

static void report_unknown_lane(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_LEDGER, "%llu messages are in lane %llu, which there is not",
           printable(stmt, 1), printable(stmt, 0));
}

static void report_numbered(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_LEDGER, "lane \"%.64s\" numbered %llu messages, and %s is %llu",
           (const char *)sqlite3_column_text(stmt, 0), printable(stmt, 1),
           sqlite3_column_text(stmt, 2), printable(stmt, 3));
}

/* No lane has a message above its newest number, or more of them than there are ids. */
static int check_numbered(struct check *check)
{
    if (check->version < 8)
        return 0;
    int r = each_row(check,
                     "SELECT name, accepted - unnumbered AS numbered, 'the newest id',"
                     " (SELECT max(last_id) FROM lane) AS n FROM lane"
                     " WHERE numbered NOT BETWEEN 0 AND n",
                     report_numbered);
    char sql[SQL_MAX];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT name, accepted - unnumbered AS numbered, 'a number', n FROM lane"
                   " JOIN (SELECT key >> 48 AS l, max((key & 0xffffffffffff) - behind) AS n"
                   " FROM %s GROUP BY 1) ON l = number WHERE n > numbered",
                   schema_pending_table(check->version));
    return r == 0 ? each_row(check, sql, report_numbered) : r;
}

static void check_tallies_of_lane(struct check *check, sqlite3_stmt *stmt)
{
    enum { FIRST = 2 }; /* of the outcomes */
    uint64_t ended[SPOOL_OUTCOMES];
    struct tallies tallies;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        ended[i] = number(stmt, FIRST + i);
    if (!tallies_decode(column(stmt, 1), &tallies))
        report(check, SPOOL_PART_LEDGER, "the tallies of lane \"%.64s\" cannot be read",
               (const char *)sqlite3_column_text(stmt, 0));
    else if (!tallies_fit(&tallies, ended))
        report(check, SPOOL_PART_LEDGER,
               "the tallies of lane \"%.64s\" count more than its ledger",
               (const char *)sqlite3_column_text(stmt, 0));
}

/* What ended before they were kept is in the ledger only. */
static int check_tallies(struct check *check)
{
    if (check->version < VERSION_OF_TALLIES)
        return 0;
    return each_row(check,
                    "SELECT name, tallies, delivered, evicted, expired, rejected, dropped,"
                    " damaged FROM lane",
                    check_tallies_of_lane);
}

static int check_ledger(struct check *check)
{
    char sql[SQL_MAX];
    const char *pending = schema_pending_table(check->version);
    int r = each_row(check, "SELECT max(last_id), max(last_seq) FROM lane", take_ends);
    (void)snprintf(
        sql, sizeof(sql),
        "SELECT name, accepted,"
        " delivered + evicted + expired + rejected + dropped + damaged + messages, messages,"
        " bytes, last_id, coalesce(n, 0), coalesce(b, 0), coalesce(i, 0) FROM lane LEFT JOIN"
        " (SELECT key >> 48 AS l, count(*) AS n, sum(charge) AS b,"
        " max(key & 0xffffffffffff) AS i FROM %s GROUP BY 1) ON l = number",
        pending);
    if (r == 0)
        r = each_row(check, sql, check_lane);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT key >> 48, count(*) FROM %s"
                   " WHERE key >> 48 NOT IN (SELECT number FROM lane) GROUP BY 1 LIMIT 10",
                   pending);
    if (r == 0)
        r = each_row(check, sql, report_unknown_lane);
    if (r == 0)
        r = check_numbered(check);
    if (r == 0)
        r = check_tallies(check);
    return r;
}

/* ---- ids ---- */

static void report_duplicate_message(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS, "message %llu is spooled %llu times", printable(stmt, 0),
           printable(stmt, 1));
}

static void report_duplicate_outcome(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS, "message %llu has %llu outcomes", printable(stmt, 0),
           printable(stmt, 1));
}

static void report_ended_message(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS, "message %llu has an outcome and is still spooled",
           printable(stmt, 0));
}

static void report_unissued_id(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS,
           "outcome %llu is of message %llu, but ids were given out from 1 to %llu only",
           printable(stmt, 1), printable(stmt, 0), (unsigned long long)check->last_id);
}

static int check_ids(struct check *check)
{
    static const struct {
        const char *sql;
        row_fn *fn;
    } questions[] = {
        {"SELECT key & 0xffffffffffff AS id, count(*) FROM %s GROUP BY id"
         " HAVING count(*) > 1 LIMIT 10",
         report_duplicate_message},
        {"SELECT id, count(*) FROM outcome GROUP BY id HAVING count(*) > 1 LIMIT 10",
         report_duplicate_outcome},
        {"SELECT o.id FROM outcome AS o JOIN %s AS m ON m.key = (o.lane << 48 | o.id)"
         " LIMIT 10",
         report_ended_message},
        {"SELECT id, seq FROM outcome WHERE id < 1 OR id > (SELECT max(last_id) FROM lane)"
         " LIMIT 10",
         report_unissued_id},
    };
    int r = 0;
    for (size_t i = 0; i < sizeof(questions) / sizeof(*questions) && r == 0; i++) {
        char *sql = sqlite3_mprintf(questions[i].sql, schema_pending_table(check->version));
        r = sql ? each_row(check, sql, questions[i].fn) : spool_fail_memory(check->spool);
        sqlite3_free(sql);
    }
    return r;
}

/* ---- records ---- */

static uint64_t check_higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t find_newest_run_seq(const struct check *check)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < check->spool->lanes.count; i++) {
        const struct run *newest = runs_newest(&check->spool->lanes.all[i].runs);
        if (newest)
            seq = check_higher(seq, run_last_seq(newest));
    }
    return seq;
}

static void check_records(struct check *check, sqlite3_stmt *stmt)
{
    uint64_t exported = number(stmt, 0);
    uint64_t newest = check_higher(number(stmt, 1), find_newest_run_seq(check));
    uint64_t waiting = number(stmt, 2);
    uint64_t ended = number(stmt, 3);
    uint64_t pruned = number(stmt, 4); /* beyond exported where too many waited */
    uint64_t whole_from = exported > pruned ? exported : pruned;
    if (newest != check->last_seq)
        report(check, SPOOL_PART_OUTCOMES,
               "the newest outcome is %llu, the ledger has come to %llu",
               (unsigned long long)newest, (unsigned long long)check->last_seq);
    if (exported > check->last_seq)
        report(check, SPOOL_PART_OUTCOMES,
               "outcomes up to %llu were exported, but there are %llu only", printable(stmt, 0),
               (unsigned long long)check->last_seq);
    else if (newest >= whole_from && waiting != newest - whole_from)
        report(
            check, SPOOL_PART_OUTCOMES,
            "of the outcomes from %llu to %llu, which are not in the audit file yet, %llu are "
            "missing",
            (unsigned long long)whole_from + 1, (unsigned long long)newest,
            (unsigned long long)(newest - whole_from - waiting));
    if (ended != check->last_seq)
        report(check, SPOOL_PART_OUTCOMES,
               "the ledger counts %llu outcomes, they are numbered up to %llu",
               printable(stmt, 3), (unsigned long long)check->last_seq);
}

static void check_record_bytes(struct check *check, sqlite3_stmt *stmt)
{
    if (number(stmt, 0) != number(stmt, 1))
        report(check, SPOOL_PART_OUTCOMES, "the outcomes take %llu bytes, %llu are counted",
               printable(stmt, 1), printable(stmt, 0));
}

/* A spool that the daemon has not yet migrated does not count them. */
static int check_record_sizes(struct check *check)
{
    if (check->version < 3)
        return 0;
    return each_row(check,
                    "SELECT record_bytes, (SELECT"
                    " coalesce(sum(record_charge(client, topic, ref)), 0) FROM outcome)"
                    " FROM spool",
                    check_record_bytes);
}

/* ---- deliveries that have no rows ---- */

/* That its messages are all there, from which the export makes its lines. */
static int check_run(struct check *check, const struct lane *lane, const struct run *run)
{
    uint64_t rows = 0;
    int r = segments_count_rows(check->spool, run->segment,
                                lane_first_key(lane) + (int64_t)run->first_id,
                                lane_first_key(lane) + (int64_t)run->last_id, &rows);
    if (r == 0 && rows != run->messages)
        report(check, SPOOL_PART_OUTCOMES,
               "outcomes %llu to %llu are of %llu messages, of which %llu are there",
               (unsigned long long)run->first_seq, (unsigned long long)run_last_seq(run),
               (unsigned long long)run->messages, (unsigned long long)rows);
    return r;
}

/* Those behind the export; of the others the messages may be gone. */
static int check_runs_of_lane(struct check *check, const struct lane *lane)
{
    uint64_t gone = progress_gone_seq(&check->spool->committed.progress);
    int r = 0;
    for (unsigned i = 0; i < lane->runs.count && r == 0; i++) {
        if (run_last_seq(&lane->runs.all[i]) > gone)
            r = check_run(check, lane, &lane->runs.all[i]);
    }
    return r;
}

static void report_uncounted(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS,
           "message %llu lies in a segment, but ids were given out up to %llu only",
           printable(stmt, 0), (unsigned long long)check->last_id);
}

static int check_runs(struct check *check)
{
    int r = 0;
    if (check->version < VERSION_OF_SEGMENTS || check->has_damage)
        return 0;
    for (size_t i = 0; i < check->spool->lanes.count && r == 0; i++)
        r = check_runs_of_lane(check, &check->spool->lanes.all[i]);
    for (unsigned i = 0; i < TABLE_SEGMENTS && r == 0; i++) {
        char sql[SQL_MAX];
        (void)snprintf(sql, sizeof(sql),
                       "SELECT key & 0xffffffffffff FROM segment%u WHERE key & 0xffffffffffff >"
                       " (SELECT max(last_id) FROM lane) LIMIT 10",
                       i);
        r = each_row(check, sql, report_uncounted);
    }
    return r;
}

/* ---- rejected messages that are kept ---- */

static void check_kept_row(struct check *check, sqlite3_stmt *stmt)
{
    const struct sum_facts facts = {
        .key = sqlite3_column_int64(stmt, KEPT_KEY),
        .accepted = sqlite3_column_int64(stmt, KEPT_ACCEPTED),
        .uid = sqlite3_column_int64(stmt, KEPT_UID),
        .flags = sqlite3_column_int64(stmt, KEPT_FLAGS),
        .number = message_number(stmt, sqlite3_column_int64(stmt, KEPT_KEY), KEPT_BEHIND),
        .client = column(stmt, KEPT_CLIENT),
        .topic = column(stmt, KEPT_TOPIC),
        .properties = column(stmt, KEPT_PROPERTIES),
        .ref = column(stmt, KEPT_REF),
        .payload = column(stmt, KEPT_PAYLOAD),
    };
    if (sqlite3_column_type(stmt, KEPT_SUM) == SQLITE_NULL ||
        sqlite3_column_int64(stmt, KEPT_SUM) == (int64_t)sum_of(&facts))
        return;
    report(check, SPOOL_PART_MESSAGE, "rejected message %llu is not what was stored",
           (unsigned long long)((uint64_t)facts.key & SPOOL_ID_MAX));
}

static void check_kept_counters(struct check *check, sqlite3_stmt *stmt)
{
    if (number(stmt, 0) != number(stmt, 2) || number(stmt, 1) != number(stmt, 3))
        report(check, SPOOL_PART_OUTCOMES,
               "%llu rejected messages of %llu bytes are kept, %llu of %llu bytes are counted",
               printable(stmt, 2), printable(stmt, 3), printable(stmt, 0), printable(stmt, 1));
    if (number(stmt, 4) > check->last_seq)
        report(check, SPOOL_PART_OUTCOMES,
               "a rejected message is kept for outcome %llu, but there are %llu only",
               printable(stmt, 4), (unsigned long long)check->last_seq);
}

static void report_kept_and_spooled(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS, "message %llu is kept as rejected and is still spooled",
           printable(stmt, 0));
}

static void report_lost_suspect(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS, "closings are counted of message %llu, which is not spooled",
           printable(stmt, 0));
}

/* A spool that the daemon has not yet migrated has none. */
static int check_suspects(struct check *check)
{
    char sql[SQL_MAX];
    if (check->version < 5)
        return 0;
    (void)snprintf(sql, sizeof(sql),
                   "SELECT key & 0xffffffffffff FROM suspect"
                   " WHERE key NOT IN (SELECT key FROM %s) LIMIT 10",
                   schema_pending_table(check->version));
    return each_row(check, sql, report_lost_suspect);
}

static void report_lost_origin(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS,
           "message %llu was requeued, but is not spooled and has no end", printable(stmt, 0));
}

/* A spool that the daemon has not yet migrated has none. */
static int check_origins(struct check *check)
{
    if (check->version < VERSION_OF_REQUEUED)
        return 0;
    return each_row(check,
                    "SELECT key & 0xffffffffffff FROM requeued WHERE seq IS NULL"
                    " AND key NOT IN (SELECT key FROM spooled) LIMIT 10",
                    report_lost_origin);
}

/* A spool that the daemon has not yet migrated keeps none. */
static int check_kept(struct check *check)
{
    char sql[SQL_MAX];
    if (check->version < 4)
        return 0;
    int r = each_row(check,
                     check->version < 8 ? "SELECT " KEPT_COLUMNS_OF_4 ", NULL FROM rejected"
                                        : "SELECT " KEPT_COLUMNS " FROM rejected",
                     check_kept_row);
    if (r == 0)
        r = each_row(
            check,
            "SELECT rejected_messages, rejected_bytes, (SELECT count(*) FROM rejected),"
            " (SELECT coalesce(sum(charge), 0) FROM rejected),"
            " (SELECT coalesce(max(seq), 0) FROM rejected) FROM spool",
            check_kept_counters);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT key & 0xffffffffffff FROM rejected"
                   " WHERE key IN (SELECT key FROM %s) LIMIT 10",
                   schema_pending_table(check->version));
    if (r == 0)
        r = each_row(check, sql, report_kept_and_spooled);
    return r;
}

/* ---- sessions ---- */

static void report_session(struct check *check, sqlite3_stmt *stmt)
{
    report(check, SPOOL_PART_IDS, "%s", sqlite3_column_text(stmt, 0));
}

/* Each SELECT makes the texts of its findings. */
static int check_sessions(struct check *check)
{
    static const char *const questions[] = {
        "SELECT 'session ' || id || ' has no client, or an expiry that no client can ask for' FROM session"
        " WHERE id < 1 OR client = '' OR expiry_s NOT BETWEEN 0 AND 0xffffffff"
        " OR uid NOT BETWEEN 0 AND 0xffffffff OR missed < 0 LIMIT 10",
        "SELECT 'packet id ' || (key & 0xffff) || ' is unreleased in session ' || (key >> 16)"
        " || ', which does not exist' FROM unreleased"
        " WHERE key >> 16 NOT IN (SELECT id FROM session) LIMIT 10",
        "SELECT 'session ' || (key >> 16) || ' has unreleased packet id ' || (key & 0xffff)"
        " || ' for message ' || id || ', which was not accepted' FROM unreleased"
        " WHERE key & 0xffff = 0 OR id < 1 OR id > (SELECT max(last_id) FROM lane) LIMIT 10",
        "SELECT 'outcome ' || seq || ' waits for session ' || session ||"
        " ', which does not exist' FROM outbox"
        " WHERE session NOT IN (SELECT id FROM session) LIMIT 10",
        "SELECT 'outcome ' || seq || ' waits for session ' || session ||"
        " ' and was not recorded' FROM outbox WHERE kind NOT IN (0, 1) OR"
        " seq < 1 OR seq > (SELECT max(last_seq) FROM lane) LIMIT 10",
    };
    int r = 0;
    for (size_t i = 0; i < sizeof(questions) / sizeof(*questions) && r == 0; i++)
        r = each_row(check, questions[i], report_session);
    return r;
}

static int check_outcomes(struct check *check)
{
    char sql[SQL_MAX];
    struct spool_clock_state state;
    int r = ledger_refresh(check->spool); /* the runs as they are in this snapshot */
    if (r == 0)
        r = ledger_load_state(check->spool, &state);
    if (r != 0)
        return check->has_damage ? 0 : r;
    (void)snprintf(sql, sizeof(sql),
                   "SELECT exported_seq, (SELECT coalesce(max(seq), 0) FROM outcome),"
                   " (SELECT count(*) FROM outcome WHERE seq > max(exported_seq, pruned_seq))"
                   " + (%s),"
                   " (SELECT sum(delivered + evicted + expired + rejected + dropped + damaged)"
                   " FROM lane), pruned_seq FROM spool",
                   schema_runs_behind_sql(check->version));
    return each_row(check, sql, check_records);
}

/* ---- all of it ---- */

static void compare_with_mark(const struct check *check, const struct mark *mark)
{
    if (mark->is_suspect)
        report(check, SPOOL_PART_DATABASE, "the daemon found damage when it last ran");
    if (!check->has_ends)
        return;
    if (mark->last_id > check->last_id || mark->last_seq > check->last_seq)
        report(
            check, SPOOL_PART_DATABASE,
            "the newest commits are missing: the database ends at id %llu and outcome %llu, it "
            "was at id %llu and outcome %llu",
            (unsigned long long)check->last_id, (unsigned long long)check->last_seq,
            (unsigned long long)mark->last_id, (unsigned long long)mark->last_seq);
}

/* Also of what holds nothing now: the daemon will write there. */
static int check_disk(struct check *check)
{
    struct survey survey;
    char errmsg[SPOOL_ERRMSG_MAX];
    int r = survey_take(check->spool->files.directory_fd, &survey, errmsg);
    survey_done(&survey);
    if (r != 0)
        return spool_fail(check->spool, r, "%s", errmsg);
    if (*errmsg == '\0')
        return 0;
    check->has_damage = check->has_bad_blocks = true;
    report(check, SPOOL_PART_DISK, "%s", errmsg);
    return 0;
}

static int check_all(struct check *check)
{
    struct mark mark = {0};
    int r = check_disk(check);
    if (r != 0)
        return r;
    r = mark_read(check->spool->files.directory_fd, &mark);
    if (r != 0 && !check->has_bad_blocks)
        return spool_fail(check->spool, r, MARK_NAME ": %s", strerror(-r));
    r = spool_result(check->spool,
                     sqlite3_exec(check->spool->conn.db, "BEGIN", NULL, NULL, NULL));
    if (r == 0)
        r = spool_result(check->spool, schema_check(check->spool->conn.db, &check->version));
    if (r == 0)
        r = each_row(check, "PRAGMA integrity_check(100)", check_page);
    report_faults(check);
    if (r == 0)
        r = check_messages(check);
    if (r == 0)
        r = check_ledger(check);
    if (r == 0)
        r = check_ids(check);
    if (r == 0 && check->has_ends)
        r = check_outcomes(check);
    if (r == 0 && check->has_ends)
        r = check_runs(check);
    if (r == 0)
        r = check_record_sizes(check);
    if (r == 0 && check->has_ends)
        r = check_kept(check);
    if (r == 0)
        r = check_suspects(check);
    if (r == 0 && check->version >= VERSION_OF_SESSIONS)
        r = check_sessions(check);
    if (r == 0)
        r = check_origins(check);
    if (r == 0)
        compare_with_mark(check, &mark);
    if (!sqlite3_get_autocommit(check->spool->conn.db))
        (void)sqlite3_exec(check->spool->conn.db, "ROLLBACK", NULL, NULL, NULL); /* only read */
    return r;
}

int spool_check(struct spool *spool, spool_finding_fn *fn, void *userdata)
{
    struct check check = {.spool = spool, .fn = fn, .userdata = userdata};
    int r = check_all(&check);
    return r > 0 ? -EBUSY : r;
}
