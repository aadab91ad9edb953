/* SPDX-License-Identifier: MIT */
/*
 * test_salvage.c - damaged spools: nothing is lost silently, nothing is fabricated
 *
 * One history is stored once; then copies of it are damaged and opened. Of each
 * copy the same is asked: it opens, or says that it is damaged and is salvaged;
 * then the ledger balances, every id that was ever given out is accounted for
 * once, seqs have no gap, and each message that is handed out is byte for byte
 * what was stored.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support/spool_fixture.h"

#include "base/view.h"
#include "store/lane_set.h"
#include "store/salvage/mark.h"
#include "store/salvage/numbers.h"
#include "store/spool-private.h"
#include "store/spool.h"
#include "store/stmt.h"
#include "store/sum.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum {
    PAGE = 4096,
    MESSAGES = 600,
    ENDED = 200,     /* the oldest of them: delivered, each seventh rejected */
    EXPORTED = 150,  /* of their records */
    VERSION_AT = 60, /* PRAGMA user_version, in the head of the database */
    COPIES = 160,
};

static bool has_numbers = true; /* false: a spool of an earlier schema */
static uint64_t seed = UINT64_C(88172645463325252);

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static unsigned below(uint64_t limit)
{
    return (unsigned)(next_random() % limit);
}

/* ---- what was stored ---- */

static size_t payload_of(uint64_t id, char payload[static 16384])
{
    size_t size = (size_t)(id % 20 == 0 ? 9000 + id : 20 + id % 300); /* some span pages */
    for (size_t i = 0; i < size; i++)
        payload[i] = (char)(id * 31 + i * 7 + i / 256);
    return size;
}

static struct spool_message
message_of(uint64_t id, char payload[static 16384], char topic[static 64])
{
    size_t size = payload_of(id, payload);
    int length = snprintf(topic, 64, "plant/%llu/value", (unsigned long long)id);
    return (struct spool_message){
        .uid = (uint32_t)(1000 + id),
        .qos = (uint8_t)(id % 3),
        .retain = id % 5 == 0,
        .expiry_ms = id % 4 == 0 ? 500 * HOUR : SPOOL_NO_EXPIRY,
        .client = view_of("client", 6),
        .topic = view_of(topic, (size_t)length),
        .properties = view_of("\x26\x00", id % 2 == 0 ? 2 : 0),
        .ref = view_of("ref", id % 3 == 0 ? 3 : 0),
        .payload = view_of(payload, size),
    };
}

static void store_message(struct fixture *f, uint64_t id)
{
    static char payload[16384];
    char topic[64];
    struct spool_message message = message_of(id, payload, topic);
    uint64_t stored;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &stored), 0);
    assert_int_equal(stored, id);
}

static void end_oldest(struct fixture *f, unsigned count)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE};
    const struct spool_verdict rejected = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};
    for (unsigned i = 1; i <= count; i++) {
        uint64_t id = next_id(f);
        assert_int_equal(
            spool_settle(f->spool, id, id % 7 == 0 ? &rejected : &delivered, f->now.boot_ms),
            0);
        if (i % 20 == 0)
            commit(f);
    }
    commit(f);
}

static void store_history(struct fixture *f)
{
    open_spool(f);
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        store_message(f, id);
        if (id % 50 == 0)
            commit(f);
    }
    commit(f);
    end_oldest(f, ENDED);
    spool_set_exported(f->spool, EXPORTED);
    commit(f);
    pass_time(f, 1000);
    commit(f);
    close_spool(f);
}

/* ---- files ---- */

static void path_of(const char *directory, const char *name, char path[static 160])
{
    assert_true(snprintf(path, 160, "%s/%s", directory, name) < 160);
}

static void copy_file(const char *from, const char *to, const char *name)
{
    static char bytes[1 << 16];
    char path[160];
    path_of(from, name, path);
    FILE *in = fopen(path, "rb");
    if (!in)
        return;
    path_of(to, name, path);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    for (size_t size; (size = fread(bytes, 1, sizeof(bytes), in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
    (void)fclose(in);
}

static void copy_spool(const char *from, const char *to)
{
    static const char *const names[] = {"spool.db", "spool.db-wal", MARK_NAME};
    for (size_t i = 0; i < COUNT(names); i++)
        copy_file(from, to, names[i]);
}

static void clear(const char *directory)
{
    static const char *const suffixes[] = {"spool.db", "spool.db-wal", "spool.db-shm",
                                           MARK_NAME};
    char path[160];
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        path_of(directory, suffixes[i], path);
        (void)unlink(path);
    }
}

static int64_t size_of(const char *directory, const char *name)
{
    struct stat status;
    char path[160];
    path_of(directory, name, path);
    return stat(path, &status) == 0 ? (int64_t)status.st_size : 0;
}

/* @fill: the byte to write, or -1 for noise. */
static void
overwrite(const char *directory, const char *name, int64_t from, int64_t size, int fill)
{
    char path[160];
    path_of(directory, name, path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int64_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)(fill >= 0 ? fill : (int)below(256));
        assert_int_equal(pwrite(fd, &byte, 1, from + i), 1);
    }
    assert_int_equal(close(fd), 0);
}

static void cut(const char *directory, const char *name, int64_t size)
{
    char path[160];
    path_of(directory, name, path);
    assert_int_equal(truncate(path, size), 0);
}

/* As a power cut leaves it: the newest commits are in the log alone. */
static void store_in_log(struct fixture *f, unsigned count, const char *copy)
{
    open_spool(f);
    for (uint64_t id = MESSAGES + 1; id <= MESSAGES + count; id++) {
        store_message(f, id);
        commit(f);
    }
    copy_spool(f->directory, copy);
    close_spool(f);
}

static void leave_in_log(struct fixture *f, unsigned count)
{
    char aside[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(aside));
    store_in_log(f, count, aside);
    clear(f->directory);
    copy_spool(aside, f->directory);
    clear(aside);
    assert_int_equal(rmdir(aside), 0);
}

/* ---- what is asked of each spool ---- */

struct account {
    unsigned char ends[2 * MESSAGES]; /* records by id, for those ever given out */
    uint64_t last_seq;
    uint64_t pruned_seq; /* up to here numbers may be missing: pruned deliveries */
    uint64_t damaged;
    bool is_contiguous;
};

static int account_for(void *context, const struct spool_record *record)
{
    struct account *account = context;
    if (account->last_seq > 0 && record->seq != account->last_seq + 1 &&
        record->seq - 1 > account->pruned_seq)
        account->is_contiguous = false;
    account->last_seq = record->seq;
    assert_true(record->id > 0);
    if (record->id < COUNT(account->ends))
        account->ends[record->id]++;
    account->damaged += record->outcome == SPOOL_DAMAGED;
    return 0;
}

/* There is one lane. */
static uint64_t number_of_id(int64_t id)
{
    return has_numbers ? (uint64_t)id : 0;
}

static void check_message(const struct spool_message *message)
{
    static char payload[16384];
    char topic[64];
    struct spool_message wanted = message_of(message->id, payload, topic);
    assert_int_equal(message->payload.size, wanted.payload.size);
    assert_memory_equal(message->payload.data, wanted.payload.data, wanted.payload.size);
    assert_int_equal(message->topic.size, wanted.topic.size);
    assert_memory_equal(message->topic.data, wanted.topic.data, wanted.topic.size);
    assert_int_equal(message->properties.size, wanted.properties.size);
    assert_int_equal(message->ref.size, wanted.ref.size);
    assert_int_equal(message->number, number_of_id((int64_t)message->id));
    assert_int_equal(message->uid, wanted.uid);
    assert_int_equal(message->qos, wanted.qos);
    assert_int_equal(message->retain, wanted.retain);
    assert_int_equal(message->expiry_ms > 0, wanted.expiry_ms > 0);
    assert_in_range(message->accepted_ms, INT64_C(1700000000000), INT64_C(1700000001000));
}

static struct view column_of(sqlite3_stmt *stmt, int index)
{
    return view_of(sqlite3_column_blob(stmt, index), (size_t)sqlite3_column_bytes(stmt, index));
}

/* Does its sum show that it is not what was stored? */
static bool is_kept_row_broken(sqlite3_stmt *stmt)
{
    const struct sum_facts facts = {
        .key = sqlite3_column_int64(stmt, KEPT_KEY),
        .accepted = sqlite3_column_int64(stmt, KEPT_ACCEPTED),
        .uid = sqlite3_column_int64(stmt, KEPT_UID),
        .flags = sqlite3_column_int64(stmt, KEPT_FLAGS),
        .number = number_of_id(sqlite3_column_int64(stmt, KEPT_KEY)),
        .client = column_of(stmt, KEPT_CLIENT),
        .topic = column_of(stmt, KEPT_TOPIC),
        .properties = column_of(stmt, KEPT_PROPERTIES),
        .ref = column_of(stmt, KEPT_REF),
        .payload = column_of(stmt, KEPT_PAYLOAD),
    };
    return sqlite3_column_int64(stmt, KEPT_SUM) != (int64_t)sum_of(&facts);
}

/* Rejected messages that are kept are as they were; there is no message twice. */
static unsigned check_kept(struct fixture *f)
{
    static char payload[16384];
    char path[160];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    unsigned count = 0;

    path_of(f->directory, "spool.db", path);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    int rc = sqlite3_prepare_v2(db, "SELECT " KEPT_COLUMNS " FROM rejected ORDER BY key", -1,
                                &stmt, NULL);
    if (rc != SQLITE_OK)
        print_error("%s\n", sqlite3_errmsg(db));
    assert_int_equal(rc, SQLITE_OK);
    for (uint64_t last = 0; sqlite3_step(stmt) == SQLITE_ROW; count++) {
        uint64_t id = (uint64_t)sqlite3_column_int64(stmt, KEPT_KEY) & SPOOL_ID_MAX;
        if (is_kept_row_broken(stmt)) /* noticed by nothing else, so there was no salvage */
            continue;
        size_t size = payload_of(id, payload);
        assert_true(id > last);
        last = id;
        assert_int_equal(id % 7, 0);
        assert_int_equal(sqlite3_column_int64(stmt, KEPT_SEQ), id);
        assert_int_equal(sqlite3_column_bytes(stmt, KEPT_PAYLOAD), size);
        assert_memory_equal(sqlite3_column_blob(stmt, KEPT_PAYLOAD), payload, size);
    }
    (void)sqlite3_finalize(stmt);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return count;
}

/* Every message from @ended + 1 to @last is handed out once as it was, or has its record. */
static void check_whole(struct fixture *f, unsigned ended, unsigned last)
{
    struct account account = {.pruned_seq = spool_pruned_seq(f->spool), .is_contiguous = true};
    unsigned char handed_out[2 * MESSAGES] = {0};
    struct spool_message message;
    (void)ledger_of(f);
    for (int r; (r = spool_next(f->spool, &f->now, &message)) != SPOOL_E_EMPTY;) {
        assert_int_equal(r, 0);
        assert_in_range(message.id, ended + 1, last);
        check_message(&message);
        handed_out[message.id]++;
        deliver(f, message.id);
    }
    commit(f); /* what turned out damaged ends here */
    (void)check_kept(f);
    assert_int_equal(
        spool_each_record(f->spool, spool_exported(f->spool), false, 0, account_for, &account),
        0);
    assert_true(account.is_contiguous);
    struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.spooled, 0);
    uint64_t sum = 0;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        sum += ledger.ended[i];
    assert_int_equal(sum, spool_last_seq(f->spool));
    for (unsigned id = ended + 1; id <= last; id++) {
        if (account.ends[id] != 1 || handed_out[id] > 1)
            print_error("id %u: %u records, handed out %u times\n", id, account.ends[id],
                        handed_out[id]);
        assert_int_equal(account.ends[id], 1);
        assert_true(handed_out[id] <= 1);
    }
    /* And a new one gets a new id. */
    uint64_t id;
    message = make_message("new");
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    assert_true(id > last);
    commit(f);
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    assert_int_equal(message.id, id);
    if (spool_lane_count(f->spool) == 1) /* else the name of the lane was damaged */
        assert_true(message.number > last && message.number <= id);
    close_spool(f);
}

/* Damage to the number of the version can make it a newer one: such a spool is refused,
 * whatever else is wrong with it, and nothing is changed. */
static void put_version_right(const char *directory)
{
    unsigned char version[4], right[4] = {0, 0, 0, (unsigned char)schema_newest_version()};
    char path[160];
    path_of(directory, "spool.db", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, version, sizeof(version), VERSION_AT), sizeof(version));
    assert_true(memcmp(version, right, sizeof(version)) > 0);
    assert_int_equal(pwrite(fd, right, sizeof(right), VERSION_AT), sizeof(right));
    assert_int_equal(close(fd), 0);
}

static bool open_or_salvage(struct fixture *f,
                            const struct spool_history *history,
                            struct spool_salvage *ret)
{
    f->options.now = f->now;
    int r = spool_open(&f->options, &f->spool);
    if (r == SPOOL_E_NEWER) {
        put_version_right(f->directory);
        r = spool_open(&f->options, &f->spool);
    }
    if (r == 0)
        return false;
    if (r != SPOOL_E_DAMAGED)
        print_error("spool_open: %d %s\n", r, spool_open_error());
    assert_int_equal(r, SPOOL_E_DAMAGED);
    assert_true(strlen(spool_open_error()) > 0);
    r = spool_salvage(&f->options, history, ret);
    if (r != 0)
        print_error("spool_salvage: %d %s\n", r, spool_open_error());
    assert_int_equal(r, 0);
    open_spool(f);
    return true;
}

/* Opens what is damaged in a way that shows at once. */
static struct spool_salvage must_salvage(struct fixture *f)
{
    struct spool_salvage salvage = {0};
    assert_true(open_or_salvage(f, NULL, &salvage));
    return salvage;
}

static uint64_t keep_aside(struct fixture *f, const struct spool_salvage *salvage)
{
    return (uint64_t)size_of(f->directory, salvage->moved_to);
}

/* ---- cases ---- */

static void a_sound_spool_is_salvaged_without_any_loss(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 0);
    assert_false(salvage.is_count_unknown);
    assert_true(keep_aside(f, &salvage) > 0);
    assert_int_equal(spool_count_damaged(f->directory), 1);
    open_spool(f);
    assert_int_equal(spool_last_seq(f->spool), ENDED);
    assert_int_equal(spool_exported(f->spool), EXPORTED);
    assert_int_equal(ledger_of(f).ended[SPOOL_REJECTED], ENDED / 7);
    assert_int_equal(ledger_of(f).accepted, MESSAGES);
    struct found found = records_of(f, 7);
    assert_int_equal(found.count, 1); /* a failure that was exported is kept */
    assert_int_equal(found.record.outcome, SPOOL_REJECTED);
    assert_int_equal(salvage.kept_lost, 0);
    assert_int_equal(check_kept(f), ENDED / 7);
    check_whole(f, EXPORTED, MESSAGES);
}

static void garbage_instead_of_a_database_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    clear(f->directory);
    char path[160];
    path_of(f->directory, "spool.db", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("this is no database", file) > 0);
    assert_int_equal(fclose(file), 0);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, 0);
    assert_true(salvage.is_count_unknown); /* no mark either: all may be lost */
    assert_int_equal(keep_aside(f, &salvage), 19);
    assert_int_equal(ledger_of(f).spooled, 0);
}

/* With the mark left, nothing is forgotten: not even how many there were. */
static void a_database_that_is_gone_is_not_taken_for_a_new_spool(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    char path[160];
    path_of(f->directory, "spool.db", path);
    assert_int_equal(unlink(path), 0);
    path_of(f->directory, "spool.db-wal", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(spool_open_reader(f->directory, &f->spool), SPOOL_E_DAMAGED);
    assert_non_null(strstr(spool_open_error(), "spool.db is missing, and ids up to 600"));
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, 0);
    assert_int_equal(salvage.damaged, MESSAGES - ENDED);
    assert_string_equal(salvage.moved_to, ""); /* there was nothing to move */
    assert_int_equal(spool_count_damaged(f->directory), 0);
    assert_false(salvage.is_count_unknown);
    assert_int_equal(spool_last_seq(f->spool), MESSAGES);
    assert_int_equal(records_of(f, MESSAGES).count, 1);
    check_whole(f, ENDED, MESSAGES);
}

static void a_database_gone_with_its_log_left_is_salvaged_from_the_log(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    char path[160];
    path_of(f->directory, "spool.db", path);
    assert_int_equal(unlink(path), 0);
    int64_t log_bytes = size_of(f->directory, "spool.db-wal");
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(keep_aside(f, &salvage), log_bytes);
    assert_int_equal(spool_count_damaged(f->directory), 1); /* its log is one, too */
    check_whole(f, ENDED, MESSAGES);
    path_of(f->directory, "spool.db", path);
    assert_int_equal(unlink(path), 0);
    struct spool_salvage second = must_salvage(f); /* in the same second, mostly */
    assert_string_not_equal(second.moved_to, salvage.moved_to);
    assert_int_equal(size_of(f->directory, salvage.moved_to), log_bytes);
    assert_int_equal(spool_count_damaged(f->directory), 2);
}

/* SQLite takes what is left for a sound database of an earlier time. */
static void a_log_that_is_gone_is_noticed(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    leave_in_log(f, 30);
    char path[160];
    path_of(f->directory, "spool.db-wal", path);
    assert_int_equal(unlink(path), 0);

    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 30);
    check_whole(f, ENDED, MESSAGES + 30);
}

/* A log that was cut: whole commits are gone, the rest is in order. */
static void a_log_that_was_cut_is_noticed(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    leave_in_log(f, 30);
    cut(f->directory, "spool.db-wal", 32 + 24 * (24 + PAGE) + 77);
    struct spool_salvage salvage = must_salvage(f);
    assert_true(salvage.damaged > 0);
    assert_true(salvage.damaged <= 30);
    check_whole(f, ENDED, MESSAGES + 30);
}

/* One frame in the middle of the log: SQLite forgets all commits behind it. */
static void commits_behind_an_unsound_frame_are_found(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    leave_in_log(f, 30);
    overwrite(f->directory, "spool.db-wal", 32 + 3 * (24 + PAGE) + 24 + 100, 50, -1);
    struct spool_salvage salvage = must_salvage(f);
    /* The page was written again by later commits, so nothing is lost at all. */
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED + 30);
    assert_int_equal(salvage.damaged, 0);
    check_whole(f, ENDED, MESSAGES + 30);
}

/* A log of an older copy makes SQLite see an older database, in order or not. */
static void a_log_of_an_older_copy_is_noticed(void **state)
{
    struct fixture *f = *state;
    char aside[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(aside));
    open_spool(f);
    for (uint64_t id = 1; id <= 20; id++)
        store_message(f, id);
    commit(f);
    copy_file(f->directory, aside, "spool.db-wal");
    for (uint64_t id = 21; id <= 300; id++) {
        store_message(f, id);
        if (id % 10 == 0)
            commit(f);
    }
    close_spool(f);
    copy_file(aside, f->directory, "spool.db-wal");
    clear(aside);
    assert_int_equal(rmdir(aside), 0);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, 300);
    assert_int_equal(salvage.damaged, 0);
    check_whole(f, 0, 300);
}

/* The root of the messages is lost, and with it the way to all leaves. */
static void leaves_that_no_tree_reaches_are_found(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    overwrite(f->directory, "spool.db", 3 * PAGE, PAGE, -1);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 0);
    check_whole(f, ENDED, MESSAGES);
}

static uint32_t number_at(const char *directory, int64_t at)
{
    char path[160];
    unsigned char bytes[4];
    path_of(directory, "spool.db", path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), at), sizeof(bytes));
    (void)close(fd);
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           bytes[3];
}

/* What was deleted there does not take the place of the messages that the pointer led to. */
static void a_pointer_that_leads_to_a_free_page_costs_no_message(void **state)
{
    struct fixture *f = *state;
    char whole[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(whole));
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    copy_spool(f->directory, whole);
    const int64_t root = 3 * PAGE; /* of table message: an inner page, its cells by offset */
    int64_t list = (int64_t)(number_at(whole, 32) - 1) * PAGE;
    int64_t cell = root + (number_at(whole, root + 12 + 2 * 5) >> 16);
    unsigned tried = 0;
    for (uint32_t i = 0; i < number_at(whole, list + 4); i++) {
        uint32_t page = number_at(whole, list + 8 + 4 * i);
        if (number_at(whole, (int64_t)(page - 1) * PAGE) >> 24 != 13)
            continue; /* no leaf of a table */
        clear(f->directory);
        copy_spool(whole, f->directory);
        for (int j = 0; j < 4; j++)
            overwrite(f->directory, "spool.db", cell + j, 1,
                      (int)(page >> (24 - 8 * j) & 0xff));
        struct spool_salvage salvage = must_salvage(f);
        assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
        assert_int_equal(salvage.damaged, 0);
        check_whole(f, ENDED, MESSAGES);
        tried++;
    }
    assert_true(tried > 0);
    clear(whole);
    assert_int_equal(rmdir(whole), 0);
}

static void a_lost_first_page_costs_nothing(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    overwrite(f->directory, "spool.db", 0, PAGE, 0);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    check_whole(f, ENDED, MESSAGES);
}

/* Neither counters nor mark: what is readable is kept anyway, ids are not used again. */
static void lost_counters_are_counted_anew(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    overwrite(f->directory, "spool.db", PAGE, PAGE, 0);
    char path[160];
    path_of(f->directory, MARK_NAME, path);
    assert_int_equal(unlink(path), 0);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 0);
    assert_int_equal(ledger_of(f).accepted, MESSAGES);
    check_whole(f, ENDED, MESSAGES);
}

/* Deliveries whose records were pruned because too many waited are no damage. */
static void pruned_records_are_not_taken_for_lost_ones(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    open_spool(f);
    spool_set_waiting_max(f->spool, 20);
    commit(f);
    uint64_t pruned_seq = spool_pruned_seq(f->spool);
    assert_true(pruned_seq > EXPORTED);
    struct spool_ledger before = ledger_of(f);
    close_spool(f);
    struct spool_salvage salvage;
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.damaged, 0);
    open_spool(f);
    struct spool_ledger after = ledger_of(f);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(spool_pruned_seq(f->spool), pruned_seq);
    assert_int_equal(spool_exported(f->spool), EXPORTED);
    assert_int_equal(spool_waiting(f->spool), 19);
}

/* Records that were not exported are lost: their seqs are still there, once. */
static void lost_records_leave_no_hole_in_the_numbers(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    overwrite(f->directory, "spool.db", 5 * PAGE, PAGE, -1);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    check_whole(f, EXPORTED, MESSAGES);
}

/* What the audit file says has ended is not sent again, whatever an older database says. */
struct lines {
    uint64_t first;
    uint64_t last;
};

static int each_line(void *owner, spool_ended_fn *fn, void *context)
{
    const struct lines *lines = owner;
    int r = 0;
    for (uint64_t i = lines->first; i <= lines->last && r == 0; i++) {
        const struct spool_ended ended = {
            .seq = i, .id = i, .outcome = SPOOL_DELIVERED, .lane = "default"};
        r = fn(context, &ended);
    }
    return r;
}

static void what_the_audit_file_knows_has_ended_is_not_sent_again(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    struct lines lines = {1, ENDED + 40};
    const struct spool_history history = {each_line, &lines};
    struct spool_salvage salvage;
    assert_int_equal(spool_salvage(&f->options, &history, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED - 40);
    assert_int_equal(salvage.damaged, 0);
    open_spool(f);
    assert_int_equal(spool_last_seq(f->spool), ENDED + 40);
    assert_int_equal(spool_exported(f->spool), ENDED + 40);
    assert_int_equal(next_id(f), ENDED + 41);
    assert_int_equal(ledger_of(f).accepted, MESSAGES);
}

static void the_database_of_another_program_is_left_alone(void **state)
{
    struct fixture *f = *state;
    tamper(f, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
    int64_t size = size_of(f->directory, "spool.db");
    struct spool_salvage salvage;
    assert_int_equal(spool_open(&f->options, &f->spool), SPOOL_E_FOREIGN);
    assert_int_equal(spool_open_reader(f->directory, &f->spool), SPOOL_E_FOREIGN);
    assert_non_null(strstr(spool_open_error(), "of another program"));
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), SPOOL_E_FOREIGN);
    assert_int_equal(size_of(f->directory, "spool.db"), size);
    assert_int_equal(spool_count_damaged(f->directory), 0);
}

/* A cut between the moves: the next opening finishes them. */
static void moves_that_were_cut_short_are_finished(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    char from[160];
    char to[160];
    path_of(f->directory, "spool.db", from);
    path_of(f->directory, "spool.db.salvaged", to);
    assert_int_equal(rename(from, to), 0);
    path_of(f->directory, salvage.moved_to, to);
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(spool_count_damaged(f->directory), 0);
    open_spool(f);
    assert_int_equal(spool_count_damaged(f->directory), 1);
    check_whole(f, EXPORTED, MESSAGES);
}

/* The same where the log alone was left: before it was moved, and after. */
static void a_log_left_alone_is_moved_once_wherever_that_was_cut_short(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    char database[160], whole[160], log[160], aside[160];
    store_history(f);
    path_of(f->directory, "spool.db", database);
    path_of(f->directory, "spool.db.salvaged", whole);
    path_of(f->directory, "spool.db-wal", log);
    assert_int_equal(unlink(database), 0);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    path_of(f->directory, salvage.moved_to, aside);
    assert_int_equal(rename(database, whole), 0);
    assert_int_equal(rename(aside, log), 0);
    open_spool(f);
    assert_int_equal(spool_count_damaged(f->directory), 1);
    close_spool(f);
    assert_int_equal(unlink(log), 0); /* the new database's own, and empty of anything new */
    assert_int_equal(rename(database, whole), 0);
    open_spool(f);
    assert_int_equal(spool_count_damaged(f->directory), 1);
    check_whole(f, ENDED, MESSAGES);
}

/* The page reads well, the message is not what was stored: its record names it. */
static void a_message_that_changed_is_not_salvaged_but_named(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    tamper(f, "UPDATE message SET payload = zeroblob(length(payload)) WHERE key = 305");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED - 1);
    assert_int_equal(salvage.damaged, 1);
    open_spool(f);
    struct found found = records_of(f, 305);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.outcome, SPOOL_DAMAGED);
    assert_int_equal(found.record.qos, 305 % 3);
    assert_int_equal(found.record.uid, 1305);
    check_whole(f, EXPORTED, MESSAGES);
}

/* Bytes that are no UTF-8, though each but the first looks like a further byte of a
 * character. */
static void a_record_whose_topic_is_no_text_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    tamper(f, "UPDATE outcome SET topic = CAST(x'80808080808080908080' AS TEXT)"
              " WHERE seq = (SELECT exported_seq FROM spool) + 2");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 1);
    open_spool(f);
    struct found found = records_of(f, EXPORTED + 2);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.outcome, SPOOL_DAMAGED);
    check_whole(f, EXPORTED, MESSAGES);
}

/* A number that became something else: the new database would not take it. */
static void a_damaged_expiry_or_sum_costs_its_message_alone(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    tamper(f,
           "PRAGMA writable_schema = ON;"
           "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'message';"
           "PRAGMA writable_schema = RESET;"
           "UPDATE message SET expires_at = x'0102' WHERE key = 305;"
           "UPDATE message SET expires_at = 0.5 WHERE key = 306;"
           "UPDATE message SET sum = 'x' WHERE key = 307");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED - 3);
    assert_int_equal(salvage.damaged, 3);
    open_spool(f);
    for (uint64_t id = 305; id <= 307; id++)
        assert_int_equal(records_of(f, id).record.outcome, SPOOL_DAMAGED);
    check_whole(f, EXPORTED, MESSAGES);
}

/* As a program of the first schema stored it, and an early one counted its sizes. */
static void a_spool_of_the_first_schema_is_salvaged_without_any_loss(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    tamper(f, "UPDATE message SET charge = length(client) + length(topic)"
              " + coalesce(length(properties), 0) + coalesce(length(ref), 0)"
              " + length(payload) + 64;"
              "UPDATE lane SET bytes = (SELECT sum(charge) FROM message);" TO_SECOND_SCHEMA
              "ALTER TABLE message DROP COLUMN sum; PRAGMA user_version = 1");
    reopen_spool(f); /* migrates it */
    uint64_t bytes = stats_of(f).bytes;
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 0);
    open_spool(f);
    assert_int_equal(stats_of(f).bytes, bytes);
    has_numbers = false;
    check_whole(f, EXPORTED, MESSAGES);
    has_numbers = true;
}

/* What is held stays held. Sessions go as a whole: which of their packet ids were released in
 * the commits that are lost is not known. */
static void holds_are_salvaged_and_sessions_are_not(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    tamper(f, "INSERT INTO hold (lane) VALUES (''), ('alarms');"
              "INSERT INTO session (id, uid, client, expiry_s) VALUES (1, 0, 'c', 60);"
              "INSERT INTO unreleased VALUES (1 << 16 | 7, 5);"
              "INSERT INTO outbox VALUES (1, 2, 1, '{}')");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(query_number(f, "SELECT count(*) FROM hold WHERE lane IN ('', 'alarms')"),
                     2);
    assert_int_equal(query_number(f, "SELECT count(*) FROM session"), 0);
    assert_int_equal(query_number(f, "SELECT count(*) FROM unreleased"), 0);
    assert_int_equal(query_number(f, "SELECT count(*) FROM outbox"), 0);
    open_spool(f);
    assert_int_equal(next_id(f), 0); /* all lanes are held */
    assert_int_equal(spool_set_hold(f->spool, NULL, false), 0);
    commit(f);
    check_whole(f, EXPORTED, MESSAGES);
}

/* What a message counts is no part of it: where the rest is sound, it is counted anew. */
static void a_lost_charge_costs_no_message_that_has_a_sum(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    open_spool(f);
    uint64_t bytes = stats_of(f).bytes;
    close_spool(f);
    tamper(f, "UPDATE message SET charge = 4000000000 WHERE key = 300;"
              "UPDATE message SET charge = 3 WHERE key = 301");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    open_spool(f);
    assert_int_equal(stats_of(f).bytes, bytes);
    close_spool(f);
    tamper(f, "UPDATE message SET sum = NULL; UPDATE message SET charge = 3 WHERE key = 301");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.damaged, 1); /* nothing else speaks for it */
    open_spool(f);
    assert_int_equal(records_of(f, 301).record.outcome, SPOOL_DAMAGED);
}

/* The lane has been quiet while others had 70 million messages. */
static void messages_far_behind_the_newest_are_salvaged(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    tamper(f, "UPDATE lane SET accepted = accepted + 70000000,"
              " delivered = delivered + 70000000, last_id = 70000600, last_seq = 70000200;"
              "INSERT INTO outcome SELECT 70000200, 70000600, lane, time, ended_at, outcome,"
              " reason, code, attempts, uid, qos, bytes, accepted, age_ms, client, topic, ref"
              " FROM outcome WHERE seq = 200;"
              "DELETE FROM outcome WHERE seq > 150 AND seq < 70000200 AND outcome = 0;"
              "UPDATE spool SET exported_seq = 70000200, pruned_seq = 70000199");
    reopen_spool(f);
    struct spool_ledger before = ledger_of(f);
    unsigned records = records_of(f, 7).all;
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    assert_int_equal(salvage.damaged, 0);
    open_spool(f);
    struct spool_ledger after = ledger_of(f);
    assert_memory_equal(&before, &after, sizeof(before));
    struct found found = records_of(f, 7);
    assert_int_equal(found.count, 1); /* a failure as far behind is kept, too */
    assert_int_equal(found.all, records);
    for (uint64_t id = ENDED + 1; id <= MESSAGES; id++) {
        struct spool_message message;
        assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
        assert_int_equal(message.id, id);
        check_message(&message);
    }
}

static void numbers_are_kept_wherever_they_lie(void **state)
{
    (void)state;
    enum { MODEL = 1 << 16 };
    static bool model[MODEL];
    struct numbers numbers = {0};
    assert_true(numbers_has(&numbers, 0));
    assert_false(numbers_has(&numbers, 1));
    for (unsigned i = 0; i < MODEL; i++) {
        unsigned number = 1 + below(MODEL - 1);
        /* Side by side, or each alone. */
        uint64_t far = (uint64_t)number * SPOOL_ID_MAX / MODEL;
        numbers_add(&numbers, number);
        numbers_add(&numbers, far);
        model[number] = true;
        assert_true(numbers_has(&numbers, number) && numbers_has(&numbers, far));
    }
    for (unsigned number = 1; number < MODEL; number++) {
        uint64_t far = (uint64_t)number * SPOOL_ID_MAX / MODEL;
        assert_int_equal(numbers_has(&numbers, number), model[number]);
        assert_int_equal(numbers_has(&numbers, far), model[number]);
        assert_false(numbers_has(&numbers, far + 1));
    }
    assert_false(numbers.is_short);
    numbers_done(&numbers);
}

/* Every page with these bytes, free ones too. */
static void overwrite_pages_with(const char *directory, const void *bytes, size_t size)
{
    static char page[PAGE];
    char path[160];
    unsigned found = 0;
    path_of(directory, "spool.db", path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (int64_t at = 0; fread(page, 1, PAGE, file) == PAGE; at += PAGE) {
        if (!memmem(page, PAGE, bytes, size))
            continue;
        overwrite(directory, "spool.db", at, PAGE, -1);
        found++;
    }
    (void)fclose(file);
    assert_true(found > 0);
}

/* Without a checksum, as the first schema stored it: the chain of pages has to be whole. */
static void a_payload_whose_last_page_is_lost_is_not_fabricated(void **state)
{
    struct fixture *f = *state;
    static char payload[16384];
    struct spool_salvage salvage;
    store_history(f);
    tamper(f, "UPDATE message SET sum = NULL");
    size_t size = payload_of(300, payload);
    overwrite_pages_with(f->directory, payload + size - 200, 200);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_in_range(salvage.damaged, 1, 5); /* payloads resemble each other */
    open_spool(f);
    struct found found = records_of(f, 300);
    assert_int_equal(found.record.outcome, SPOOL_DAMAGED);
    check_whole(f, EXPORTED, MESSAGES);
}

/* Twice in one second: the names differ. */
static void what_was_moved_aside_is_never_written_over(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage first;
    struct spool_salvage second;
    store_history(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &first), 0);
    int64_t size = size_of(f->directory, first.moved_to);
    assert_int_equal(spool_salvage(&f->options, NULL, &second), 0);
    assert_string_not_equal(first.moved_to, second.moved_to);
    assert_int_equal(size_of(f->directory, first.moved_to), size);
    assert_int_equal(spool_count_damaged(f->directory), 2);
    open_spool(f);
    check_whole(f, EXPORTED, MESSAGES);
}

/* No page is damaged, but a message is gone from the middle. */
static void wrong_counts_are_noticed_in_a_small_spool(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    tamper(f, "DELETE FROM message WHERE key = 400");
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.damaged, 1);
    assert_int_equal(records_of(f, 400).record.outcome, SPOOL_DAMAGED);
    close_spool(f);
    tamper(f, "DELETE FROM outcome WHERE seq = 180");
    salvage = must_salvage(f);
    check_whole(f, ENDED, MESSAGES);
}

/* It would be believed, and with it records be removed that were never exported. */
static void a_cursor_outside_of_the_outcomes_is_damage(void **state)
{
    static const char *const wrong[] = {
        "UPDATE spool SET exported_seq = -32618", "UPDATE spool SET exported_seq = 201",
        "UPDATE spool SET pruned_seq = -1", "UPDATE spool SET pruned_seq = 1 << 40",
        "UPDATE spool SET failures_pruned = -1"};
    struct fixture *f = *state;
    char whole[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(whole));
    store_history(f);
    copy_spool(f->directory, whole);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        clear(f->directory);
        copy_spool(whole, f->directory);
        tamper(f, wrong[i]);
        (void)must_salvage(f);
        check_whole(f, ENDED, MESSAGES);
    }
    clear(whole);
    assert_int_equal(rmdir(whole), 0);
}

static void damage_met_at_work_is_salvaged_by_the_next_open(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    open_spool(f);
    close_spool(f);
    /* A database of this size is always verified; a larger one because its mark is suspect. */
    struct mark mark;
    int fd = open(f->directory, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(mark_read(fd, &mark), 0);
    assert_true(mark.is_known);
    assert_int_equal(mark.last_id, MESSAGES);
    mark.is_suspect = true;
    int mark_fd = mark_open(fd);
    assert_int_equal(mark_write(mark_fd, &mark), 0);
    (void)close(mark_fd);
    (void)close(fd);
    struct spool_salvage salvage = must_salvage(f);
    assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
    reopen_spool(f); /* the suspicion is gone */
    check_whole(f, EXPORTED, MESSAGES);
}

/* ---- one flipped bit ---- */

/* Of one number, by SQL: what nothing else vouches for is not believed. */
static void a_number_that_nothing_vouches_for_makes_up_no_message(void **state)
{
    static const char *const flips[] = {
        "UPDATE lane SET last_seq = last_seq + (1 << 22)",
        "UPDATE lane SET last_seq = last_seq + (1 << 19)",
        "UPDATE lane SET last_seq = last_seq + (1 << 45)",
        "UPDATE lane SET last_seq = last_seq - 128",
        "UPDATE lane SET last_id = last_id - 512, last_seq = last_seq + 1",
        "UPDATE lane SET last_id = last_id + (1 << 40), last_seq = last_seq + 1",
        "UPDATE lane SET last_id = last_id + (1 << 47), last_seq = last_seq + 1",
        "UPDATE outcome SET seq = seq + (1 << 19) WHERE seq = 200",
        "UPDATE outcome SET seq = seq + (1 << 30) WHERE seq = 200",
        ("UPDATE outcome SET id = id + (1 << 19) WHERE seq = 200;"
         "DELETE FROM outcome WHERE seq = 190"),
        "UPDATE spool SET exported_seq = 1 << 20",
        "UPDATE spool SET pruned_seq = 1 << 20; DELETE FROM outcome WHERE seq = 190",
    };
    struct fixture *f = *state;
    char whole[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(whole));
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    copy_spool(f->directory, whole);
    for (size_t i = 0; i < 2 * COUNT(flips); i++) {
        clear(f->directory);
        copy_spool(whole, f->directory);
        tamper(f, flips[i / 2]);
        char path[160];
        path_of(f->directory, MARK_NAME, path);
        if (i % 2)
            assert_int_equal(unlink(path), 0);
        struct spool_salvage salvage = must_salvage(f);
        if (salvage.damaged > 2 || salvage.salvaged != MESSAGES - ENDED)
            print_error("%s: %llu salvaged, %llu damaged\n", flips[i / 2],
                        (unsigned long long)salvage.salvaged,
                        (unsigned long long)salvage.damaged);
        if (getenv("SPOOL_TEST_VERBOSE"))
            print_message("%s%s\n", flips[i / 2], i % 2 ? ", without the mark" : "");
        assert_int_equal(salvage.salvaged, MESSAGES - ENDED);
        assert_in_range(salvage.damaged, 0, 2);
        assert_true(stats_of(f).last_id <= MESSAGES + (i % 2 ? 2 << 20 : 2));
        check_whole(f, ENDED, MESSAGES);
    }
    clear(whole);
    assert_int_equal(rmdir(whole), 0);
}

/* Beyond these an id would be one of the next lane. */
static void ids_that_no_spool_comes_to_are_damage(void **state)
{
    struct fixture *f = *state;
    store_history(f);
    tamper(f, "UPDATE lane SET last_id = (1 << 48) - 1");
    assert_int_equal(must_salvage(f).damaged, 0);
    assert_int_equal(append(f, "new"), MESSAGES + 1);
    commit(f);
    reopen_spool(f);
    close_spool(f);
    tamper(f, "UPDATE lane SET last_id = 1 << 40"); /* many more than were ever accepted */
    assert_int_equal(must_salvage(f).damaged, 0);
    assert_int_equal(append(f, "new"), MESSAGES + 2);
}

/* Nothing is left but a mark that claims more messages than there can have been. */
static void no_more_is_fabricated_than_lanes_may_hold(void **state)
{
    struct fixture *f = *state;
    const struct mark mark = {.last_id = UINT64_C(1) << 40, .last_seq = 100};
    int fd = open(f->directory, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    int mark_fd = mark_open(fd);
    assert_int_equal(mark_write(mark_fd, &mark), 0);
    (void)close(mark_fd);
    (void)close(fd);
    f->lane.limits.max_messages = 10;
    struct spool_salvage salvage = must_salvage(f);
    assert_in_range(salvage.damaged, 10, 10 + SPOOL_IDS_LEFT_OUT);
    assert_true(salvage.is_count_unknown);
    assert_int_equal(append(f, "new"), mark.last_id + 1);
    commit(f);
    (void)ledger_of(f);
}

static void flip_bit(const char *directory, int64_t at, unsigned bit)
{
    unsigned char byte;
    char path[160];
    path_of(directory, "spool.db", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= (unsigned char)(1U << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

/* ---- what has the name of a new database ---- */

static void put_copy(const struct fixture *f, const char *from, const char *to)
{
    char source[160], target[160];
    path_of(f->directory, from, source);
    path_of(f->directory, to, target);
    assert_int_equal(rename(source, target), 0);
}

static void assert_set_aside(const char *name, const char *why)
{
    char words[SPOOL_SET_ASIDE_MAX] = "";
    (void)spool_take_set_aside(words);
    if (!strstr(words, name) || !strstr(words, why))
        print_error("set aside: \"%s\", wanted %s %s\n", words, name, why);
    assert_non_null(strstr(words, name));
    assert_non_null(strstr(words, why));
}

static void copy_to(const struct fixture *f, const char *aside, const char *name)
{
    copy_file(aside, f->directory, "spool.db");
    put_copy(f, "spool.db", name);
}

static void a_new_database_is_looked_at_before_it_takes_the_place(void **state)
{
    static const char *const names[] = {"spool.db.salvaged", "spool.db.restored"};
    static const struct {
        const char *why;
        int64_t from, size, fill;
        int64_t cut;
    } faults[] = {
        {"is not a sound spool database", 0, 16, 0, 0},
        {"is not a sound spool database", 68, 4, 7, 0}, /* another program's */
        {"schema version", VERSION_AT, 4, 7, 0},
        {"", 2 * PAGE, 8 * PAGE, 0xff, 0},
        {"", 0, 0, 0, 3 * PAGE},
        {"is not a sound spool database", 0, 0, 0, 50},
    };
    struct fixture *f = *state;
    char aside[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(aside));
    store_history(f);
    copy_file(f->directory, aside, "spool.db");
    for (size_t i = 0; i < COUNT(faults) * COUNT(names); i++) {
        const char *name = names[i % COUNT(names)];
        copy_to(f, aside, name);
        copy_file(aside, f->directory, "spool.db");
        if (faults[i / 2].cut > 0)
            cut(f->directory, name, faults[i / 2].cut);
        overwrite(f->directory, name, faults[i / 2].from, faults[i / 2].size,
                  (int)faults[i / 2].fill);
        open_spool(f);
        assert_int_equal(ledger_of(f).accepted, MESSAGES);
        close_spool(f);
        assert_set_aside(name, faults[i / 2].why);
        assert_int_equal(spool_count_damaged(f->directory), 0);
    }
    clear(aside);
    assert_int_equal(rmdir(aside), 0);
}

static void an_older_copy_takes_the_place_of_nothing_but_a_missing_database(void **state)
{
    struct fixture *f = *state;
    char aside[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(aside));
    store_history(f);
    copy_file(f->directory, aside, "spool.db");
    open_spool(f);
    for (uint64_t id = MESSAGES + 1; id <= MESSAGES + 10; id++)
        store_message(f, id);
    commit(f);
    close_spool(f);
    char path[160], kept[160];
    path_of(f->directory, "spool.db", path);
    path_of(f->directory, "kept", kept);
    assert_int_equal(rename(path, kept), 0);
    copy_to(f, aside, "spool.db.salvaged");
    assert_int_equal(rename(kept, path), 0);
    open_spool(f);
    assert_int_equal(ledger_of(f).accepted, MESSAGES + 10);
    close_spool(f);
    assert_set_aside("spool.db.salvaged", "the newest commits are missing");
    clear(f->directory); /* the mark, too */
    copy_to(f, aside, "spool.db.restored");
    open_spool(f);
    assert_int_equal(ledger_of(f).accepted, MESSAGES);
    check_whole(f, EXPORTED, MESSAGES);
    clear(aside);
    assert_int_equal(rmdir(aside), 0);
}

/* As a crash leaves it: the damaged one is still in its place, or moved already. */
static void a_whole_new_database_takes_the_place_whatever_its_folder_is_called(void **state)
{
    struct fixture *f = *state;
    char directory[160];
    path_of(f->directory, "a %41?b#c", directory);
    f->options.directory = directory;
    open_spool(f);
    for (uint64_t id = 1; id <= 20; id++)
        store_message(f, id);
    commit(f);
    close_spool(f);
    for (int is_there = 0; is_there < 2; is_there++) {
        char from[200], to[200];
        (void)snprintf(from, sizeof(from), "%s/spool.db", directory);
        (void)snprintf(to, sizeof(to), "%s/spool.db.salvaged", directory);
        assert_int_equal(rename(from, to), 0);
        if (is_there) {
            FILE *file = fopen(from, "w");
            assert_non_null(file);
            assert_int_equal(fclose(file), 0);
        }
        open_spool(f);
        assert_int_equal(ledger_of(f).spooled, 20);
        close_spool(f);
        assert_int_equal(spool_count_damaged(directory), is_there + 1); /* a lone log */
        char words[SPOOL_SET_ASIDE_MAX];
        if (spool_take_set_aside(words))
            fail_msg("set aside: %s", words);
    }
}

static unsigned stop_after, stop_asked;

static bool is_to_stop(void)
{
    return stop_asked++ >= stop_after;
}

/* Wherever it comes, until one is not asked any more. */
static void a_stop_ends_a_salvage_and_a_survey_with_nothing_changed(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    store_history(f);
    cut(f->directory, "spool.mark", 0);
    overwrite(f->directory, "spool.db", 0, 100, 0);
    stop_after = stop_asked = 0;
    spool_stop_if(is_to_stop);
    assert_int_equal(spool_survey(f->directory), -ECANCELED);
    assert_non_null(strstr(spool_open_error(), "stopped"));
    int r = -ECANCELED;
    for (unsigned stops = 0; r == -ECANCELED; stops++) {
        stop_after = stops;
        stop_asked = 0;
        r = spool_salvage(&f->options, NULL, &salvage);
        if (r == 0) {
            assert_true(stops > 3);
            break;
        }
        assert_int_equal(r, -ECANCELED);
        assert_non_null(strstr(spool_open_error(), "stopped"));
        assert_int_equal(spool_count_damaged(f->directory), 0);
        assert_int_equal(size_of(f->directory, "spool.db.new"), 0);
        assert_int_equal(size_of(f->directory, "spool.db.salvaged"), 0);
    }
    spool_stop_if(NULL);
    open_spool(f);
    check_whole(f, EXPORTED, MESSAGES);
}

static void make_long_directory(const struct fixture *f, size_t size, char path[static 600])
{
    size_t used = (size_t)snprintf(path, 600, "%s", f->directory);
    while (used < size) {
        size_t part = size - used > 120 ? 100 : size - used;
        path[used] = '/';
        memset(path + used + 1, 'x', part - 1);
        used += part;
        path[used] = '\0';
        (void)mkdir(path, 0700);
    }
}

/* SQLite's limit of names holds for the longest name and suffix, and behind symbolic links. */
static void the_longest_path_serves_for_everything_and_a_longer_one_is_refused(void **state)
{
    struct fixture *f = *state;
    char directory[600], from[640], link[160];
    struct spool_salvage salvage;
    make_long_directory(f, SPOOL_DIRECTORY_MAX, directory);
    f->options.directory = directory;
    open_spool(f);
    for (uint64_t id = 1; id <= 20; id++)
        store_message(f, id);
    commit(f);
    (void)snprintf(from, sizeof(from), "%s/spool.db", directory);
    assert_int_equal(unlink(from), 0);
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    struct spool_restored put_back;
    assert_int_equal(spool_restore(f->spool, NULL, NULL, &put_back), 0);
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, 20);
    char to[640];
    (void)snprintf(to, sizeof(to), "%s/spool.db.restored", directory);
    assert_int_equal(rename(from, to), 0);
    open_spool(f);
    assert_int_equal(ledger_of(f).spooled, 20);
    close_spool(f);
    struct spool *reader;
    assert_int_equal(spool_open_reader(directory, &reader), 0);
    spool_close(reader);

    make_long_directory(f, SPOOL_DIRECTORY_MAX + 1, directory);
    path_of(f->directory, "link", link);
    assert_int_equal(symlink(directory, link), 0);
    f->options.directory = link;
    assert_int_equal(spool_open(&f->options, &f->spool), -ENAMETOOLONG);
    assert_non_null(strstr(spool_open_error(), "has 487 bytes"));
    assert_int_equal(spool_open_reader(link, &reader), -ENAMETOOLONG);
}

/* ---- damage by chance ---- */

static void damage(const char *directory, char what[static 96])
{
    static const char *const names[] = {"spool.db", "spool.db", "spool.db-wal"};
    const char *name = names[below(COUNT(names))];
    int64_t size = size_of(directory, name);
    int64_t pages = size / PAGE;
    unsigned kind = below(6);
    unsigned times = 1 + below(4);
    (void)snprintf(what, 96, "%s kind %u times %u", name, kind, times);
    if (size == 0)
        return;
    for (unsigned i = 0; i < times; i++) {
        int64_t page = below((uint64_t)pages);
        int fill = below(2) ? -1 : (int)below(2) * 0xff;
        switch (kind) {
        case 0:
        case 1:
            overwrite(directory, name, page * PAGE, PAGE, fill);
            break;
        case 2: /* sectors */
            overwrite(directory, name, page * PAGE + 512 * below(8), 512, fill);
            break;
        case 3: /* a few bytes */
            overwrite(directory, name, below((uint64_t)size - 8), 1 + below(8), -1);
            break;
        case 4:
            cut(directory, name, size - below((uint64_t)size));
            return;
        default:
            overwrite(directory, name, page * PAGE, PAGE * (pages - page), fill);
            return;
        }
    }
}

/* At work: damage that the open did not find must end it, never send anything else. */
static bool drain_or_meet_damage(struct fixture *f)
{
    struct spool_message message;
    int r;
    while ((r = spool_next(f->spool, &f->now, &message)) == 0) {
        check_message(&message);
        int returned = spool_return(f->spool, message.id, f->now.boot_ms + HOUR);
        assert_int_equal(returned, 0);
    }
    bool is_met = r == -EBADMSG || spool_commit(f->spool, &f->now) == -EBADMSG;
    struct account account = {.pruned_seq = spool_pruned_seq(f->spool), .is_contiguous = true};
    if (!is_met) /* as the audit file asks for them */
        is_met = spool_each_record(f->spool, spool_exported(f->spool), false, 0, account_for,
                                   &account) == -EBADMSG;
    close_spool(f);
    return is_met;
}

enum { SEED = 1 }; /* the same damage each time; SPOOL_TEST_SEED draws other */

static void each_damaged_copy_opens_or_is_salvaged_and_nothing_is_fabricated(void **state)
{
    struct fixture *f = *state;
    unsigned copies, salvaged = 0;
    uint64_t kept = 0, lost = 0;
    struct lines exported = {1, EXPORTED}; /* the audit file is as it was */
    const struct spool_history history = {each_line, &exported};
    enum { IN_LOG = 100 };
    char whole[] = "/tmp/spool-test-XXXXXX";
    char live[] = "/tmp/spool-test-XXXXXX";
    const char *given = getenv("SPOOL_TEST_SEED");
    seed = given ? strtoull(given, NULL, 10) : SEED;
    print_message("SPOOL_TEST_SEED=%llu\n", (unsigned long long)seed);
    assert_non_null(mkdtemp(whole));
    assert_non_null(mkdtemp(live));
    store_history(f);
    copy_spool(f->directory, whole);
    store_in_log(f, IN_LOG, live);
    /* Three of ten damages hit what is read; should it happen to be few, more are drawn. */
    for (copies = 0; copies < COPIES || (salvaged <= copies / 8 && copies < 5 * COPIES);
         copies++) {
        char what[96];
        struct spool_salvage salvage = {0};
        clear(f->directory);
        copy_spool(copies % 2 ? live : whole, f->directory);
        uint64_t start = seed;
        damage(f->directory, what);
        if (getenv("SPOOL_TEST_VERBOSE"))
            print_message("copy %u, seed %llu: %s\n", copies, (unsigned long long)start, what);
        bool was_salvaged = open_or_salvage(f, &history, &salvage);
        if (drain_or_meet_damage(f)) {
            assert_false(was_salvaged);
            was_salvaged = open_or_salvage(f, &history, &salvage);
            assert_true(was_salvaged);
        } else {
            open_spool(f);
        }
        salvaged += was_salvaged;
        kept += salvage.salvaged;
        lost += salvage.damaged;
        check_whole(f, ENDED, MESSAGES + (copies % 2 ? IN_LOG : 0));
    }
    print_message("%u of %u copies salvaged, %llu messages kept, %llu damaged\n", salvaged,
                  copies, (unsigned long long)kept, (unsigned long long)lost);
    assert_true(salvaged > copies / 8);
    clear(whole);
    clear(live);
    assert_int_equal(rmdir(whole), 0);
    assert_int_equal(rmdir(live), 0);
}

/* What an open does not find may show when messages end. */
static bool end_all_or_meet_damage(struct fixture *f)
{
    struct spool_message message;
    int r;
    while ((r = spool_next(f->spool, &f->now, &message)) == 0) {
        check_message(&message);
        deliver(f, message.id);
    }
    bool is_met = r == -EBADMSG || spool_commit(f->spool, &f->now) == -EBADMSG;
    struct account account = {.pruned_seq = spool_pruned_seq(f->spool), .is_contiguous = true};
    if (!is_met) /* as the audit file asks for them */
        is_met = spool_each_record(f->spool, spool_exported(f->spool), false, 0, account_for,
                                   &account) == -EBADMSG;
    close_spool(f);
    return is_met;
}

static void a_flipped_bit_of_the_version_is_refused_or_salvaged(void **state)
{
    struct fixture *f = *state;
    char whole[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(whole));
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    copy_spool(f->directory, whole);
    for (unsigned bit = 0; bit < 32; bit++) {
        struct spool_salvage salvage = {0};
        clear(f->directory);
        copy_spool(whole, f->directory);
        flip_bit(f->directory, VERSION_AT + bit / 8, bit % 8);
        (void)open_or_salvage(f, NULL, &salvage);
        assert_int_equal(salvage.damaged, 0);
        check_whole(f, ENDED, MESSAGES);
    }
    clear(whole);
    assert_int_equal(rmdir(whole), 0);
}

/* A bit costs no more than the rows of a page, wherever it lies, and makes no spool grow. Other
 * seeds find flips that cost a message its record: docs/reliability.md, "Flipped bits". */
static void one_flipped_bit_costs_a_page_at_the_most(void **state)
{
    struct fixture *f = *state;
    struct lines exported = {1, EXPORTED};
    const struct spool_history history = {each_line, &exported};
    char whole[] = "/tmp/spool-test-XXXXXX";
    unsigned salvaged = 0;
    uint64_t most = 0;
    enum { FLIPS = 400, SMALL = 8 };
    assert_non_null(mkdtemp(whole));
    store_history(f);
    cut(f->directory, "spool.db-wal", 0);
    copy_spool(f->directory, whole);
    int64_t size = size_of(whole, "spool.db");
    for (unsigned i = 0; i < FLIPS; i++) {
        struct spool_salvage salvage = {0};
        clear(f->directory);
        copy_spool(whole, f->directory);
        char path[160];
        path_of(f->directory, MARK_NAME, path);
        if (i % 4 == 3)
            assert_int_equal(unlink(path), 0);
        uint64_t start = seed;
        unsigned pages = i % 2 ? SMALL : (unsigned)(size / PAGE);
        /* Half of them where the small tables lie, at the ends of pages: there are the rows. */
        int64_t at = below(pages) * PAGE + (i % 4 == 1 ? PAGE - 1 - below(100) : below(PAGE));
        flip_bit(f->directory, at, below(8));
        if (getenv("SPOOL_TEST_VERBOSE"))
            print_message("flip %u, seed %llu: at %lld\n", i, (unsigned long long)start,
                          (long long)at);
        bool was_salvaged = open_or_salvage(f, i % 3 ? &history : NULL, &salvage);
        if (end_all_or_meet_damage(f))
            was_salvaged = open_or_salvage(f, i % 3 ? &history : NULL, &salvage);
        else
            open_spool(f);
        if (salvage.damaged > 120 || size_of(f->directory, "spool.db") > 2 * size)
            print_error("flip %u, seed %llu: at %lld: %llu damaged\n", i,
                        (unsigned long long)start, (long long)at,
                        (unsigned long long)salvage.damaged);
        assert_in_range(salvage.damaged, 0, 120);
        assert_true(size_of(f->directory, "spool.db") <= 2 * size);
        salvaged += was_salvaged;
        most = salvage.damaged > most ? salvage.damaged : most;
        check_whole(f, ENDED, MESSAGES);
    }
    print_message("%u of %d copies salvaged, %llu damaged at the most\n", salvaged, FLIPS,
                  (unsigned long long)most);
    clear(whole);
    assert_int_equal(rmdir(whole), 0);
}

static bool is_without_segments;

static int setup_keeping(void **state)
{
    int r = setup_closed(state);
    struct fixture *f = *state;

    if (r != 0)
        return r;
    f->options.kept =
        (struct spool_kept_limits){1000, UINT64_C(1) << 30, 1000 * (uint64_t)HOUR};
    if (is_without_segments)
        use_no_segments(f);
    return 0;
}

static int setup_in_table(void **state)
{
    int r = setup_keeping(state);

    if (r == 0)
        use_no_segments(*state);
    return r;
}

#define ON_FOLDER(case) cmocka_unit_test_setup_teardown(case, setup_keeping, teardown)
#define IN_TABLE(case)  cmocka_unit_test_setup_teardown(case, setup_in_table, teardown)

/* Most of it is so with messages in segments, and without: with SPOOLD_LONG=1. The others
 * change rows by SQL, or pages by their place; test_segments.c has the same of segments. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(a_sound_spool_is_salvaged_without_any_loss),
        ON_FOLDER(garbage_instead_of_a_database_is_moved_aside),
        ON_FOLDER(a_database_that_is_gone_is_not_taken_for_a_new_spool),
        ON_FOLDER(a_database_gone_with_its_log_left_is_salvaged_from_the_log),
        ON_FOLDER(a_new_database_is_looked_at_before_it_takes_the_place),
        ON_FOLDER(an_older_copy_takes_the_place_of_nothing_but_a_missing_database),
        ON_FOLDER(a_whole_new_database_takes_the_place_whatever_its_folder_is_called),
        ON_FOLDER(the_longest_path_serves_for_everything_and_a_longer_one_is_refused),
        ON_FOLDER(a_stop_ends_a_salvage_and_a_survey_with_nothing_changed),
        ON_FOLDER(a_log_that_is_gone_is_noticed),
        ON_FOLDER(a_log_that_was_cut_is_noticed),
        ON_FOLDER(commits_behind_an_unsound_frame_are_found),
        ON_FOLDER(a_log_of_an_older_copy_is_noticed),
        ON_FOLDER(leaves_that_no_tree_reaches_are_found),
        ON_FOLDER(a_lost_first_page_costs_nothing),
        ON_FOLDER(pruned_records_are_not_taken_for_lost_ones),
        ON_FOLDER(what_the_audit_file_knows_has_ended_is_not_sent_again),
        ON_FOLDER(the_database_of_another_program_is_left_alone),
        ON_FOLDER(moves_that_were_cut_short_are_finished),
        ON_FOLDER(a_log_left_alone_is_moved_once_wherever_that_was_cut_short),
        ON_FOLDER(holds_are_salvaged_and_sessions_are_not),
        ON_FOLDER(a_lost_charge_costs_no_message_that_has_a_sum),
        ON_FOLDER(a_payload_whose_last_page_is_lost_is_not_fabricated),
        ON_FOLDER(what_was_moved_aside_is_never_written_over),
        ON_FOLDER(a_cursor_outside_of_the_outcomes_is_damage),
        ON_FOLDER(damage_met_at_work_is_salvaged_by_the_next_open),
        ON_FOLDER(ids_that_no_spool_comes_to_are_damage),
        ON_FOLDER(no_more_is_fabricated_than_lanes_may_hold),
        ON_FOLDER(each_damaged_copy_opens_or_is_salvaged_and_nothing_is_fabricated),
        ON_FOLDER(a_flipped_bit_of_the_version_is_refused_or_salvaged),
        ON_FOLDER(one_flipped_bit_costs_a_page_at_the_most),
    };
    const struct CMUnitTest without_segments[] = {
        cmocka_unit_test(numbers_are_kept_wherever_they_lie),
        IN_TABLE(a_pointer_that_leads_to_a_free_page_costs_no_message),
        IN_TABLE(lost_counters_are_counted_anew),
        IN_TABLE(lost_records_leave_no_hole_in_the_numbers),
        IN_TABLE(a_message_that_changed_is_not_salvaged_but_named),
        IN_TABLE(a_record_whose_topic_is_no_text_is_not_kept),
        IN_TABLE(a_damaged_expiry_or_sum_costs_its_message_alone),
        IN_TABLE(a_spool_of_the_first_schema_is_salvaged_without_any_loss),
        IN_TABLE(messages_far_behind_the_newest_are_salvaged),
        IN_TABLE(wrong_counts_are_noticed_in_a_small_spool),
        IN_TABLE(a_number_that_nothing_vouches_for_makes_up_no_message),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += cmocka_run_group_tests(without_segments, NULL, NULL);
    is_without_segments = true;
    if (getenv("SPOOLD_LONG"))
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
