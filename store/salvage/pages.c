/* SPDX-License-Identifier: MIT */
/*
 * pages.c - SQLite's file format, read from a damaged file
 *
 * Three things make it more than a loop over pages:
 *
 * The newest image of a page is in the write-ahead log, where SQLite stops at
 * the first frame whose checksum is wrong, and with it forgets all commits
 * behind. Each frame's checksum continues that of the frame before, which the
 * header of that frame holds; so every frame can be judged by itself here.
 * Where the newest image of a page is unsound an older one is used and marked:
 * what it holds may have been deleted since.
 *
 * A leaf page that its tree no longer reaches, because an interior page is lost, is
 * found by looking at all pages. Pages on the list of free pages hold what was
 * deleted, so they are left out.
 *
 * A record that spans pages is whole only if its chain has exactly the length
 * that its size asks for.
 */
#include "store/salvage/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/regular.h"
#include "base/view.h"
#include "store/names.h"
#include "store/salvage/reads.h"

enum {
    WAL_HEADER = 32,
    FRAME_HEADER = 24,
    FRAME_BYTES = FRAME_HEADER + PAGES_BYTES,
    LEAF_TABLE = 0x0d,
    INTERIOR_TABLE = 0x05,
    DEPTH_MAX = 12,    /* 4096-byte pages: far above 2^31 pages */
    PAGES_ROOM = 4096, /* pages that a transaction may have added behind the end of the file */
};

enum page_flag {
    FLAG_STALE = 1, /* its newest image is unsound */
    FLAG_SEEN = 2,
    FLAG_FREE = 4,
};

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* False: it would go beyond @end. */
static bool get_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t value = 0;
    for (int i = 0; i < 9; i++) {
        if (*at >= end)
            return false;
        uint8_t byte = *(*at)++;
        if (i == 8) {
            *ret = value << 8 | byte;
            return true;
        }
        value = value << 7 | (byte & 0x7f);
        if (!(byte & 0x80))
            break;
    }
    *ret = value;
    return true;
}

/* What lies behind the end reads as zeros. */
static void
read_sound(struct pages *pages, enum survey_file file, uint8_t *to, size_t size, uint64_t from)
{
    int fd = file == SURVEY_DATABASE ? pages->fd : pages->wal_fd;
    ssize_t n = reads_at(fd, to, size, from);
    if (n < 0)
        pages->error = (int)n;
    size_t used = n < 0 ? 0 : (size_t)n;
    memset(to + used, 0, size - used);
}

/* And so do bad blocks, and everything after a stop; what lies beside a
 * bad block is read. */
static void
read_at(struct pages *pages, enum survey_file file, uint8_t *to, size_t size, uint64_t from)
{
    if (pages->error == 0 && reads_is_stopped())
        pages->error = -ECANCELED;
    if (pages->error == -ECANCELED) {
        memset(to, 0, size);
        return;
    }
    if (!survey_is_bad(pages->survey, file, from, size)) {
        read_sound(pages, file, to, size, from);
        return;
    }
    for (size_t used = 0, part; used < size; used += part) {
        part = SURVEY_BLOCK - (size_t)((from + used) % SURVEY_BLOCK);
        if (part > size - used)
            part = size - used;
        if (survey_is_bad(pages->survey, file, from + used, part))
            memset(to + used, 0, part);
        else
            read_sound(pages, file, to + used, part, from + used);
    }
}

/* ---- the write-ahead log ---- */

struct frame {
    uint32_t page;
    bool is_commit;
    bool is_ours; /* of this generation of the log, by its salts */
    bool is_sound;
};

struct wal {
    struct frame *frames;
    size_t count;
    bool is_big_endian;
    uint8_t salts[8];
    uint32_t sums[2]; /* that the next frame's checksum continues */
};

static uint32_t get_word(const uint8_t *at, bool is_big_endian)
{
    if (is_big_endian)
        return get32(at);
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void add_sums(uint32_t sums[2], const uint8_t *bytes, size_t size, bool is_big_endian)
{
    for (size_t i = 0; i < size; i += 8) {
        sums[0] += get_word(bytes + i, is_big_endian) + sums[1];
        sums[1] += get_word(bytes + i + 4, is_big_endian) + sums[0];
    }
}

static void read_frame(struct wal *wal, struct frame *frame, const uint8_t *bytes)
{
    uint32_t sums[2] = {wal->sums[0], wal->sums[1]};
    frame->page = get32(bytes);
    frame->is_commit = get32(bytes + 4) != 0;
    frame->is_ours = memcmp(bytes + 8, wal->salts, sizeof(wal->salts)) == 0;
    add_sums(sums, bytes, 8, wal->is_big_endian);
    add_sums(sums, bytes + FRAME_HEADER, PAGES_BYTES, wal->is_big_endian);
    wal->sums[0] = get32(bytes + 16);
    wal->sums[1] = get32(bytes + 20);
    frame->is_sound =
        frame->is_ours && frame->page > 0 && sums[0] == wal->sums[0] && sums[1] == wal->sums[1];
}

/* Those of the first frame whose header reads. */
static void guess_salts(struct pages *pages, struct wal *wal)
{
    uint8_t bytes[FRAME_HEADER] = {0};
    for (size_t i = 0; i < wal->count && get32(bytes) == 0; i++)
        read_at(pages, SURVEY_LOG, bytes, sizeof(bytes), WAL_HEADER + i * FRAME_BYTES);
    memcpy(wal->salts, bytes + 8, sizeof(wal->salts));
}

/* A header that is lost is guessed from a frame: the checksum of the first then fails, no
 * other. */
static void read_wal_header(struct pages *pages, struct wal *wal)
{
    uint8_t bytes[WAL_HEADER];
    uint32_t sums[2] = {0, 0};
    read_at(pages, SURVEY_LOG, bytes, sizeof(bytes), 0);
    uint32_t magic = get32(bytes);
    bool has_magic = (magic & ~UINT32_C(1)) == UINT32_C(0x377f0682);
    wal->is_big_endian = has_magic && (magic & 1) != 0;
    add_sums(sums, bytes, 24, wal->is_big_endian);
    bool is_whole = has_magic && sums[0] == get32(bytes + 24) && sums[1] == get32(bytes + 28);
    if (is_whole)
        memcpy(wal->salts, bytes + 16, sizeof(wal->salts));
    else
        guess_salts(pages, wal);
    wal->sums[0] = get32(bytes + 24);
    wal->sums[1] = get32(bytes + 28);
}

static int read_wal(struct pages *pages, struct wal *wal)
{
    struct stat status;
    if (fstat(pages->wal_fd, &status) < 0)
        return -errno;
    if (status.st_size < WAL_HEADER + FRAME_BYTES)
        return 0;
    wal->count = ((size_t)status.st_size - WAL_HEADER) / FRAME_BYTES;
    wal->frames = calloc(wal->count, sizeof(*wal->frames));
    if (!wal->frames)
        return -ENOMEM;
    read_wal_header(pages, wal);
    for (size_t i = 0; i < wal->count && pages->error != -ECANCELED; i++) {
        uint8_t bytes[FRAME_BYTES];
        read_at(pages, SURVEY_LOG, bytes, sizeof(bytes), WAL_HEADER + i * FRAME_BYTES);
        read_frame(wal, &wal->frames[i], bytes);
    }
    return 0;
}

/* How many frames count: up to the last commit before the first unsound one, or of all. */
static size_t find_end(struct pages *pages, const struct wal *wal, enum pages_wal use)
{
    size_t sound = 0;
    size_t all = 0;
    bool is_broken = false;
    for (size_t i = 0; i < wal->count; i++) {
        const struct frame *frame = &wal->frames[i];
        is_broken |= !frame->is_sound;
        if (!frame->is_ours || !frame->is_commit)
            continue;
        all = i + 1;
        if (!is_broken)
            sound = i + 1;
        else
            pages->commits_beyond++;
    }
    return use == PAGES_WAL_ALL ? all : sound;
}

static uint32_t highest_page(const struct wal *wal, size_t end, uint32_t limit)
{
    uint32_t highest = 0;
    for (size_t i = 0; i < end; i++) {
        const struct frame *frame = &wal->frames[i];
        if (frame->is_sound && frame->page > highest && frame->page < limit)
            highest = frame->page;
    }
    return highest;
}

static void apply_frames(struct pages *pages, const struct wal *wal, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        const struct frame *frame = &wal->frames[i];
        if (!frame->is_ours) {
            pages->are_all_uncertain = true;
        } else if (frame->page > 0 && frame->page <= pages->count) {
            if (frame->is_sound) {
                pages->frames[frame->page] = WAL_HEADER + i * FRAME_BYTES + FRAME_HEADER;
                pages->flags[frame->page] &= (uint8_t)~FLAG_STALE;
            } else {
                pages->flags[frame->page] |= FLAG_STALE;
            }
        }
    }
}

/* ---- the pages ---- */

static void read_page(struct pages *pages, uint32_t page, uint8_t to[static PAGES_BYTES])
{
    if (pages->frames[page] > 0)
        read_at(pages, SURVEY_LOG, to, PAGES_BYTES, pages->frames[page]);
    else if (pages->fd >= 0)
        read_at(pages, SURVEY_DATABASE, to, PAGES_BYTES, (uint64_t)(page - 1) * PAGES_BYTES);
    else
        memset(to, 0, PAGES_BYTES);
}

static bool is_page(const struct pages *pages, uint32_t page)
{
    return page >= 1 && page <= pages->count;
}

/* Pages of the list hold deleted rows. A list that makes no sense is followed no further. */
static void mark_free_pages(struct pages *pages)
{
    uint8_t bytes[PAGES_BYTES];
    read_page(pages, 1, bytes);
    if (memcmp(bytes, DATABASE_MAGIC, sizeof(DATABASE_MAGIC)) != 0)
        return;
    uint32_t trunk = get32(bytes + 32);
    while (is_page(pages, trunk) && !(pages->flags[trunk] & FLAG_FREE)) {
        read_page(pages, trunk, bytes);
        uint32_t leaves = get32(bytes + 4);
        if (leaves > PAGES_BYTES / 4 - 2)
            return;
        pages->flags[trunk] |= FLAG_FREE;
        for (uint32_t i = 0; i < leaves; i++) {
            uint32_t leaf = get32(bytes + 8 + (size_t)i * 4);
            if (is_page(pages, leaf))
                pages->flags[leaf] |= FLAG_FREE;
        }
        trunk = get32(bytes);
    }
}

static int open_one(int directory_fd, const char *name, int *ret)
{
    *ret = regular_openat(directory_fd, name, O_RDONLY, 0);
    return *ret < 0 && *ret != -ENOENT ? *ret : 0;
}

static int make_room(struct pages *pages, const struct wal *wal, size_t end)
{
    struct stat status = {0};
    if (pages->fd >= 0 && fstat(pages->fd, &status) < 0)
        return -errno;
    uint64_t in_file = ((uint64_t)status.st_size + PAGES_BYTES - 1) / PAGES_BYTES;
    if (in_file > UINT32_MAX / 2)
        return -EFBIG;
    /* Every page behind the end of the file is in the log, but not every number is to be
     * believed. */
    uint32_t limit = (uint32_t)(in_file + wal->count + PAGES_ROOM);
    uint32_t in_wal = highest_page(wal, end, limit);
    pages->count = in_file > in_wal ? (uint32_t)in_file : in_wal;
    pages->frames = calloc((size_t)pages->count + 2, sizeof(*pages->frames));
    pages->flags = calloc((size_t)pages->count + 2, sizeof(*pages->flags));
    return pages->frames && pages->flags ? 0 : -ENOMEM;
}

int pages_open(struct pages *pages,
               int directory_fd,
               enum pages_wal use,
               const struct survey *survey)
{
    struct wal wal = {0};
    *pages = (struct pages){.fd = -1, .wal_fd = -1, .survey = survey};
    int r = open_one(directory_fd, DATABASE_NAME, &pages->fd);
    if (r == 0 && use != PAGES_WAL_NONE)
        r = open_one(directory_fd, LOG_NAME, &pages->wal_fd);
    if (r == 0 && pages->wal_fd >= 0)
        r = read_wal(pages, &wal);
    if (r == 0) {
        size_t end = wal.frames ? find_end(pages, &wal, use) : 0;
        r = make_room(pages, &wal, end);
        if (r == 0)
            apply_frames(pages, &wal, end);
    }
    free(wal.frames);
    if (r == 0) {
        mark_free_pages(pages);
        r = pages->error;
    }
    if (r != 0)
        pages_close(pages);
    return r;
}

void pages_close(struct pages *pages)
{
    if (pages->fd >= 0)
        (void)close(pages->fd); /* only read from */
    if (pages->wal_fd >= 0)
        (void)close(pages->wal_fd);
    free(pages->frames);
    free(pages->flags);
    free(pages->payload);
    *pages = (struct pages){.fd = -1, .wal_fd = -1};
}

uint64_t pages_in_use(const struct pages *pages)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i <= pages->count; i++)
        count += !(pages->flags[i] & FLAG_FREE);
    return count;
}

void pages_restart(struct pages *pages)
{
    for (uint32_t i = 1; i <= pages->count; i++)
        pages->flags[i] &= (uint8_t)~FLAG_SEEN;
}

bool pages_application_id(struct pages *pages, uint32_t *ret)
{
    uint8_t bytes[PAGES_BYTES];
    if (pages->count < 1)
        return false;
    read_page(pages, 1, bytes);
    if (memcmp(bytes, DATABASE_MAGIC, sizeof(DATABASE_MAGIC)) != 0)
        return false;
    *ret = get32(bytes + DATABASE_APPLICATION_ID_AT);
    return true;
}

/* ---- records ---- */

/* The bytes of a record that could be read; more than that its size asks for are never needed.
 */
struct record {
    const uint8_t *bytes;
    size_t size; /* how many could be read */
};

static size_t local_size(uint64_t size)
{
    enum { LOCAL_MAX = PAGES_BYTES - 35, LOCAL_MIN = (PAGES_BYTES - 12) * 32 / 255 - 23 };
    if (size <= LOCAL_MAX)
        return (size_t)size;
    size_t local = LOCAL_MIN + (size_t)((size - LOCAL_MIN) % (PAGES_BYTES - 4));
    return local <= LOCAL_MAX ? local : LOCAL_MIN;
}

static int grow_payload(struct pages *pages, size_t size)
{
    if (size <= pages->payload_size)
        return 0;
    uint8_t *grown = realloc(pages->payload, size);
    if (!grown)
        return -ENOMEM;
    pages->payload = grown;
    pages->payload_size = size;
    return 0;
}

/* Follows the chain from @next as far as it is one. */
static int gather(struct pages *pages,
                  const uint8_t *local,
                  size_t local_bytes,
                  uint64_t size,
                  uint32_t next,
                  struct record *ret)
{
    *ret = (struct record){local, local_bytes};
    if (size > (uint64_t)pages->count * PAGES_BYTES)
        return 0;
    int r = grow_payload(pages, (size_t)size);
    if (r != 0)
        return r;
    memcpy(pages->payload, local, local_bytes);
    size_t used = local_bytes;
    while (used < size && is_page(pages, next) && next > 1) {
        uint8_t bytes[PAGES_BYTES];
        size_t part = (size_t)size - used;
        if (part > PAGES_BYTES - 4)
            part = PAGES_BYTES - 4;
        read_page(pages, next, bytes);
        uint32_t after = get32(bytes);
        bool is_last = used + part == size;
        if (is_last != (after == 0))
            break;
        pages->flags[next] |= FLAG_SEEN;
        memcpy(pages->payload + used, bytes + 4, part);
        used += part;
        next = after;
    }
    *ret = (struct record){pages->payload, used};
    return 0;
}

static int64_t read_number(const uint8_t *at, size_t size)
{
    uint64_t value = size > 0 && (at[0] & 0x80) ? UINT64_MAX : 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | at[i];
    return (int64_t)value;
}

static size_t size_of_type(uint64_t type)
{
    static const uint8_t sizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};
    if (type < 12)
        return sizes[type];
    return type < UINT64_C(1) << 40 ? (size_t)((type - 12) / 2) : SIZE_MAX / 4;
}

static void read_field(struct pages_field *field, uint64_t type, const uint8_t *at, size_t size)
{
    if (type == 0) {
        field->kind = PAGES_NULL;
    } else if (type == 7 || type == 10 || type == 11) {
        field->kind = PAGES_REAL;
    } else if (type < 12) {
        field->kind = PAGES_NUMBER;
        field->number = type == 8 ? 0 : type == 9 ? 1 : read_number(at, size);
    } else {
        field->kind = type & 1 ? PAGES_TEXT : PAGES_BLOB;
        field->bytes = view_of(at, size);
    }
}

/* False: this is no record. */
static bool split(const struct record *record, uint64_t size, struct pages_row *row)
{
    const uint8_t *at = record->bytes;
    const uint8_t *end = record->bytes + record->size;
    uint64_t header;
    if (!get_varint(&at, end, &header) || header > record->size || header < 2)
        return false;
    const uint8_t *types_end = record->bytes + header;
    uint64_t used = header;
    while (at < types_end) {
        uint64_t type;
        if (row->field_count == PAGES_FIELDS_MAX || !get_varint(&at, types_end, &type))
            return false;
        struct pages_field *field = &row->fields[row->field_count++];
        size_t bytes = size_of_type(type);
        if (used + bytes > size)
            return false;
        *field = (struct pages_field){.kind = PAGES_LOST};
        if (used + bytes <= record->size)
            read_field(field, type, record->bytes + used, bytes);
        used += bytes;
    }
    return used == size;
}

/* ---- leaves and trees ---- */

static unsigned cell_count(const uint8_t *page, uint32_t number, unsigned header)
{
    unsigned start = number == 1 ? 100 : 0;
    unsigned count = get16(page + start + 3);
    return start + header + 2 * count <= PAGES_BYTES ? count : 0;
}

static const uint8_t *
cell_at(const uint8_t *page, uint32_t number, unsigned header, unsigned cell)
{
    unsigned start = number == 1 ? 100 : 0;
    size_t offset = get16(page + start + header + (size_t)cell * 2);
    size_t least = start + header + 2 * cell_count(page, number, header);
    return offset >= least && offset < PAGES_BYTES ? page + offset : NULL;
}

/* Reads the row; *ret_is_row is false where there is none that parses. */
static int read_cell(struct pages *pages,
                     const uint8_t *page,
                     uint32_t number,
                     unsigned cell,
                     struct pages_row *row,
                     bool *ret_is_row)
{
    const uint8_t *end = page + PAGES_BYTES;
    const uint8_t *at = cell_at(page, number, 8, cell);
    uint64_t size, rowid;
    *ret_is_row = false;
    if (!at || !get_varint(&at, end, &size) || !get_varint(&at, end, &rowid))
        return 0;
    size_t local = local_size(size);
    size_t tail = local < size ? 4 : 0;
    if (local + tail > (size_t)(end - at))
        return 0;
    struct record record = {at, local};
    if (tail > 0) {
        int r = gather(pages, at, local, size, get32(at + local), &record);
        if (r != 0)
            return r;
    }
    row->rowid = (int64_t)rowid;
    row->page = number;
    row->cell = cell;
    row->field_count = 0;
    *ret_is_row = split(&record, size, row);
    return 0;
}

static int report_leaf(struct pages *pages,
                       const uint8_t *page,
                       uint32_t number,
                       bool is_uncertain,
                       pages_row_fn *fn,
                       void *userdata)
{
    unsigned count = cell_count(page, number, 8);
    struct pages_row row;
    for (unsigned i = 0; i < count; i++) {
        bool is_row;
        int r = read_cell(pages, page, number, i, &row, &is_row);
        row.is_uncertain = is_uncertain || pages->are_all_uncertain;
        if (r == 0 && is_row)
            r = fn(userdata, &row);
        if (r != 0)
            return r;
    }
    return 0;
}

struct walk {
    struct pages *pages;
    pages_row_fn *fn;
    void *userdata;
};

static int
walk_page(const struct walk *walk, uint32_t number, unsigned depth, bool is_uncertain)
{
    struct pages *pages = walk->pages;
    uint8_t page[PAGES_BYTES];
    if (!is_page(pages, number) || (pages->flags[number] & FLAG_SEEN) || depth > DEPTH_MAX)
        return 0;
    read_page(pages, number, page);
    if (pages->error < 0)
        return pages->error;
    const uint8_t *header = page + (number == 1 ? 100 : 0);
    /* A free page holds what was deleted: a damaged pointer leads there. */
    is_uncertain |= (pages->flags[number] & (FLAG_STALE | FLAG_FREE)) != 0;
    if (header[0] != LEAF_TABLE && header[0] != INTERIOR_TABLE)
        return 0;
    pages->flags[number] |= FLAG_SEEN;
    if (header[0] == LEAF_TABLE)
        return report_leaf(pages, page, number, is_uncertain, walk->fn, walk->userdata);
    unsigned count = cell_count(page, number, 12);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *cell = cell_at(page, number, 12, i);
        if (!cell || cell + 4 > page + PAGES_BYTES)
            continue;
        int r = walk_page(walk, get32(cell), depth + 1, is_uncertain);
        if (r != 0)
            return r;
    }
    return walk_page(walk, get32(header + 8), depth + 1, is_uncertain);
}

int pages_walk(struct pages *pages, uint32_t root, pages_row_fn *fn, void *userdata)
{
    const struct walk walk = {pages, fn, userdata};
    int r = walk_page(&walk, root, 0, false);
    return r == 0 ? pages->error : r;
}

int pages_orphans(struct pages *pages, pages_row_fn *fn, void *userdata)
{
    for (uint32_t number = 2; number <= pages->count; number++) {
        uint8_t page[PAGES_BYTES];
        if (pages->flags[number] & (FLAG_SEEN | FLAG_FREE))
            continue;
        read_page(pages, number, page);
        if (pages->error < 0)
            return pages->error;
        if (page[0] != LEAF_TABLE)
            continue;
        int r = report_leaf(pages, page, number, true, fn, userdata);
        if (r != 0)
            return r;
    }
    return pages->error;
}

int pages_one(
    struct pages *pages, uint32_t number, unsigned cell, pages_row_fn *fn, void *userdata)
{
    uint8_t page[PAGES_BYTES];
    struct pages_row row;
    bool is_row;
    read_page(pages, number, page);
    int r = read_cell(pages, page, number, cell, &row, &is_row);
    row.is_uncertain = true;
    if (r == 0)
        r = pages->error;
    return r == 0 && is_row ? fn(userdata, &row) : r;
}
