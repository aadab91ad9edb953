/* SPDX-License-Identifier: MIT */
/*
 * fuzz_pages.c - fuzz target of the reader of damaged databases
 *
 * The input makes two files, "spool.db" and its log, out of zeros and pieces that are
 * laid over them:
 *
 *   1 byte    modes, see enum mode
 *   1 byte    which of the first eight blocks of the database are bad
 *   1 byte    the same of the log
 *   3 bytes   size of the database, 3 bytes size of the log; both have a limit
 *   pieces:   1 byte file (odd: the log), 3 bytes offset, 2 bytes length, the bytes
 *
 * So a small input holds whole pages, and a mutation moves a pointer or a size. With
 * MODE_SUMS the checksums of the log are computed, because no mutation finds them.
 *
 * Whatever the files are, pages.h promises: rows name a page and a cell that are
 * there, their bytes can be read, a leaf is reported once, a second pass reports the
 * same rows, a row is found again by its place, and a callback can end the walk.
 *
 * Built twice: with libFuzzer, and with replay.c as a regression test over the
 * corpus, which pack_pages.py makes. A broken promise aborts in both.
 */
#include "tests/fuzz/promise.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/names.h"
#include "store/salvage/pages.h"
#include "store/salvage/survey.h"
#include "tests/fuzz/promise.h"

enum mode {
    MODE_USE = 3,     /* enum pages_wal; 3: as PAGES_WAL_SOUND */
    MODE_SUMS = 4,    /* compute the log's checksums */
    MODE_SURVEY = 8,  /* the bad blocks are known */
    MODE_NO_LOG = 16, /* there is no such file */
};

enum {
    HEAD_BYTES = 9,
    PIECE_BYTES = 6,
    DATABASE_MAX = 16 * PAGES_BYTES,
    LOG_MAX = 32 + 12 * (24 + PAGES_BYTES),
    ROWS_MAX = 4096,
    STOPPED = 77,
};

/* ---- the files ---- */

struct image {
    uint8_t bytes[DATABASE_MAX]; /* the larger one */
    size_t size;
};

static size_t get24(const uint8_t *at)
{
    return (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* As SQLite's file format says (4.2), with words in the order of the magic number's
 * last bit. */
static void add_sums(uint32_t sums[2], const uint8_t *bytes, size_t size, bool is_big_endian)
{
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word = get32(bytes + i);

        if (!is_big_endian)
            word = __builtin_bswap32(word);
        sums[i / 4 % 2] += word + sums[1 - i / 4 % 2];
    }
}

static void compute_sums(struct image *log)
{
    uint32_t sums[2] = {0, 0};

    if (log->size < 32)
        return;
    put32(log->bytes, UINT32_C(0x377f0682) | (log->bytes[3] & 1));
    bool is_big_endian = (log->bytes[3] & 1) != 0;

    add_sums(sums, log->bytes, 24, is_big_endian);
    put32(log->bytes + 24, sums[0]);
    put32(log->bytes + 28, sums[1]);
    for (size_t at = 32; at + 24 + PAGES_BYTES <= log->size; at += 24 + PAGES_BYTES) {
        uint8_t *frame = log->bytes + at;

        memcpy(frame + 8, log->bytes + 16, 8);
        add_sums(sums, frame, 8, is_big_endian);
        add_sums(sums, frame + 24, PAGES_BYTES, is_big_endian);
        put32(frame + 16, sums[0]);
        put32(frame + 20, sums[1]);
    }
}

static void
lay_pieces(const uint8_t *at, size_t left, struct image *database, struct image *log)
{
    while (left >= PIECE_BYTES) {
        struct image *image = at[0] & 1 ? log : database;
        size_t offset = get24(at + 1);
        size_t length = (size_t)at[4] << 8 | at[5];

        at += PIECE_BYTES;
        left -= PIECE_BYTES;
        if (length > left)
            length = left;
        if (offset < image->size)
            memcpy(image->bytes + offset, at,
                   length < image->size - offset ? length : image->size - offset);
        at += length;
        left -= length;
    }
}

static int folder_fd = -1;
static char folder[] = "/tmp/fuzz-pages-XXXXXX";

static void remove_folder(void)
{
    (void)unlinkat(folder_fd, DATABASE_NAME, 0);
    (void)unlinkat(folder_fd, LOG_NAME, 0);
    (void)rmdir(folder);
}

static void open_folder(void)
{
    if (folder_fd >= 0)
        return;
    PROMISE(mkdtemp(folder));
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    PROMISE(folder_fd >= 0 && atexit(remove_folder) == 0);
}

static void write_file(const char *name, const struct image *image)
{
    int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    PROMISE(fd >= 0);
    PROMISE(write(fd, image->bytes, image->size) == (ssize_t)image->size);
    PROMISE(close(fd) == 0);
}

/* ---- the promises ---- */

struct row_place {
    uint32_t page;
    unsigned cell;
    uint64_t digest;
};

struct pass {
    const struct pages *pages;
    struct row_place rows[ROWS_MAX];
    size_t count; /* also of those that are not kept */
    uint64_t digest;
    uint32_t page; /* of the newest row */
    bool reported[DATABASE_MAX / PAGES_BYTES + LOG_MAX / PAGES_BYTES + 8192];
};

static uint64_t mix(uint64_t digest, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++)
        digest = (digest ^ at[i]) * UINT64_C(0x100000001b3);
    return digest;
}

/* Reads each byte of the row. */
static uint64_t digest_of(const struct pages_row *row)
{
    uint64_t digest = mix(UINT64_C(0xcbf29ce484222325), &row->rowid, sizeof(row->rowid));

    PROMISE(row->field_count <= PAGES_FIELDS_MAX);
    for (size_t i = 0; i < row->field_count; i++) {
        const struct pages_field *field = &row->fields[i];

        digest = mix(digest, &field->kind, sizeof(field->kind));
        if (field->kind == PAGES_TEXT || field->kind == PAGES_BLOB)
            digest = mix(digest, field->bytes.data, field->bytes.size);
        else if (field->kind == PAGES_NUMBER)
            digest = mix(digest, &field->number, sizeof(field->number));
        else
            PROMISE(field->kind == PAGES_LOST || field->kind == PAGES_NULL ||
                    field->kind == PAGES_REAL);
    }
    return digest;
}

static int take_row(void *userdata, const struct pages_row *row)
{
    struct pass *pass = userdata;
    const struct row_place place = {row->page, row->cell, digest_of(row)};

    PROMISE(row->page >= 1 && row->page <= pass->pages->count);
    PROMISE(row->cell < PAGES_BYTES / 2);
    if (row->page != pass->page) {
        PROMISE(!pass->reported[row->page]); /* a leaf is reported once, and as a whole */
        pass->reported[row->page] = true;
        pass->page = row->page;
    }
    if (pass->count < ROWS_MAX)
        pass->rows[pass->count] = place;
    pass->count++;
    pass->digest = mix(pass->digest, &place.digest, sizeof(place.digest));
    return 0;
}

static void read_all(struct pages *pages, struct pass *pass)
{
    *pass = (struct pass){.pages = pages};
    pages_restart(pages);
    for (uint32_t root = 1; root <= 8; root++)
        PROMISE(pages_walk(pages, root, take_row, pass) == 0);
    PROMISE(pages_walk(pages, 0, take_row, pass) == 0);
    PROMISE(pages_walk(pages, UINT32_MAX, take_row, pass) == 0);
    PROMISE(pages_orphans(pages, take_row, pass) == 0);
}

struct again {
    struct row_place wanted;
    unsigned count;
};

static int take_again(void *userdata, const struct pages_row *row)
{
    struct again *again = userdata;

    PROMISE(row->page == again->wanted.page && row->cell == again->wanted.cell);
    PROMISE(row->is_uncertain);
    PROMISE(digest_of(row) == again->wanted.digest);
    again->count++;
    return 0;
}

static int stop_at_once(void *userdata, const struct pages_row *row)
{
    unsigned *count = userdata;

    (void)row;
    ++*count;
    return STOPPED;
}

static void check_pages(struct pages *pages)
{
    static struct pass first, second;
    uint32_t application_id;
    unsigned stops = 0;

    PROMISE(pages->count < sizeof(first.reported));
    PROMISE(pages_in_use(pages) <= pages->count);
    (void)pages_application_id(pages, &application_id);
    read_all(pages, &first);
    read_all(pages, &second);
    PROMISE(first.count == second.count && first.digest == second.digest);
    for (size_t i = 0; i < first.count && i < ROWS_MAX; i++) {
        struct again again = {.wanted = first.rows[i]};

        PROMISE(pages_one(pages, again.wanted.page, again.wanted.cell, take_again, &again) ==
                0);
        PROMISE(again.count == 1);
    }
    pages_restart(pages);
    int r = pages_orphans(pages, stop_at_once, &stops);
    PROMISE(stops <= 1 && r == (stops == 1 ? STOPPED : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct image database, log;
    struct survey survey = {0};
    struct pages pages;
    uint8_t bad[2];

    if (size < HEAD_BYTES)
        return 0;
    unsigned mode = data[0];
    memset(&database, 0, sizeof(database));
    memset(&log, 0, sizeof(log));
    database.size = get24(data + 3) % (DATABASE_MAX + 1);
    log.size = get24(data + 6) % (LOG_MAX + 1);
    lay_pieces(data + HEAD_BYTES, size - HEAD_BYTES, &database, &log);
    if (mode & MODE_SUMS)
        compute_sums(&log);
    open_folder();
    write_file(DATABASE_NAME, &database);
    (void)unlinkat(folder_fd, LOG_NAME, 0);
    if (!(mode & MODE_NO_LOG))
        write_file(LOG_NAME, &log);
    memcpy(bad, data + 1, sizeof(bad));
    survey.files[SURVEY_DATABASE] = (struct survey_blocks){
        .bad = &bad[0], .count = 8, .bad_count = (uint64_t)__builtin_popcount(bad[0])};
    survey.files[SURVEY_LOG] = (struct survey_blocks){
        .bad = &bad[1], .count = 8, .bad_count = (uint64_t)__builtin_popcount(bad[1])};
    enum pages_wal use =
        (mode & MODE_USE) == 3 ? PAGES_WAL_SOUND : (enum pages_wal)(mode & MODE_USE);

    PROMISE(pages_open(&pages, folder_fd, use, mode & MODE_SURVEY ? &survey : NULL) == 0);
    check_pages(&pages);
    pages_close(&pages);
    return 0;
}
