/* SPDX-License-Identifier: MIT */
/*
 * fuzz_audit_tail.c - fuzz target of the readers of the audit file
 *
 * The input is an audit file after a crash or a slip: the first byte selects what
 * comes before it (more than the window that is read first), the next two are the
 * cursor, the rest is the end of the file. Promises of tail.h: only an audit file
 * is cut, only from unsound bytes on, never a line that was synced, and a second
 * call changes nothing. Promises of history.h: only heads of lines are reported,
 * in order, and a line that record_write() wrote is reported whatever its texts.
 * Lines about operators and seals are sound lines without a number.
 *
 * Built twice: with libFuzzer, and with replay.c over the corpus.
 */
#include "tests/fuzz/promise.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/read_full.h"
#include "daemon/audit/history.h"
#include "daemon/audit/tail.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

#define HEADER_SIZE   3
#define PREFIX_SIZE   ((size_t)300 * 1024) /* more than the first window of tail.c */
#define CONTENT_MAX   ((size_t)64 * 1024)
#define OWN_LINE_ID   UINT64_C(123456789)
#define OWN_LINE_SEQ  UINT64_C(987654321)
#define OWN_LINE_LANE "alarms"

/* Other values of the first byte: none, which is fast. */
enum prefix { PREFIX_NONE, PREFIX_LINES, PREFIX_OTHER, PREFIX_ZEROS, PREFIXES };

/* A file in memory, and its bytes before the call. */
struct input {
    int fd;
    uint64_t cursor;
    size_t size;
    char content[PREFIX_SIZE + CONTENT_MAX];
};

/* ---- the file ---- */

static size_t put_prefix(uint8_t prefix, char *memory)
{
    size_t used = 0;

    if (prefix == PREFIX_NONE || prefix >= PREFIXES)
        return 0;
    memset(memory, prefix == PREFIX_ZEROS ? 0 : 'x', PREFIX_SIZE);
    for (unsigned seq = 1; prefix == PREFIX_LINES && used < PREFIX_SIZE - 64; seq++)
        used += (size_t)sprintf(memory + used, "{\"seq\":%u,\"id\":%u}\n", seq, seq);
    return prefix == PREFIX_LINES ? used : PREFIX_SIZE;
}

static void input_open(struct input *input, const uint8_t *data, size_t size)
{
    input->fd = memfd_create("fuzz", MFD_CLOEXEC);
    input->cursor = (uint64_t)data[1] << 8 | data[2];
    input->size = put_prefix(data[0], input->content);
    data += HEADER_SIZE;
    size -= HEADER_SIZE;
    if (size > CONTENT_MAX)
        size = CONTENT_MAX;
    memcpy(input->content + input->size, data, size);
    input->size += size;
    PROMISE(input->fd >= 0);
    PROMISE(write(input->fd, input->content, input->size) == (ssize_t)input->size);
}

/* How many bytes the file has now, all of which are as they were. */
static size_t input_kept(const struct input *input)
{
    static char now[sizeof(input->content) + 1];
    ssize_t size = read_full_at(input->fd, now, sizeof(now), 0);

    PROMISE(size >= 0 && (size_t)size <= input->size);
    PROMISE(memcmp(now, input->content, (size_t)size) == 0);
    return (size_t)size;
}

/* ---- a second opinion on lines ---- */

/* Fewer than 19 digits: larger numbers may be refused. 0: not a line of an audit file. */
static uint64_t line_seq(const char *line, size_t size)
{
    static const char start[] = "{\"seq\":";
    char digits[20] = "";
    size_t count = 0;

    if (size < sizeof(start) || memcmp(line, start, sizeof(start) - 1) != 0 ||
        line[size - 1] != '}')
        return 0;
    line += sizeof(start) - 1;
    size -= sizeof(start) - 1;
    while (count < size && count < sizeof(digits) - 1 && line[count] >= '0' &&
           line[count] <= '9') {
        digits[count] = line[count];
        count++;
    }
    if (count == 19 || count == size || line[count] != ',' || digits[0] == '0')
        return 0;
    return strtoull(digits, NULL, 10);
}

/* Without the name and the text behind it: enough for lines that are damaged nowhere. */
static bool is_admin(const char *line, size_t size)
{
    bool claims = audit_line_is_admin(line, size);
    uint64_t seq;

    if (claims) {
        PROMISE(size > strlen("{\"admin\":\"") && memcmp(line, "{\"admin\":\"", 10) == 0);
        PROMISE(line[size - 1] == '}' && !audit_line_seq(line, size, &seq));
    }
    return claims;
}

/* The prefix and a digest at the end: enough, as above. */
static bool is_seal(const char *line, size_t size)
{
    static const char start[] = "{\"seal\":";
    bool claims = audit_line_is_seal(line, size);
    uint64_t seq;

    if (claims) {
        PROMISE(size > sizeof(start) && memcmp(line, start, sizeof(start) - 1) == 0);
        PROMISE(line[size - 1] == '}' && !audit_line_seq(line, size, &seq));
        PROMISE(!audit_line_is_admin(line, size));
    }
    return claims;
}

static bool is_damaged(const char *line, size_t size)
{
    return memchr(line, '\0', size) != NULL;
}

struct facts {
    uint64_t last_seq;    /* of the last sound line within the file as it is now */
    size_t synced_end;    /* of the last line that was synced */
    bool has_early_line;  /* a sound line before any damage */
    bool has_huge_number; /* of which line_seq() says nothing */
};

/* @kept: how much of the content the file has now. */
static struct facts examine(const struct input *input, size_t kept)
{
    struct facts facts = {0};
    bool is_sound = true;

    for (size_t at = 0; at < input->size;) {
        const char *line = input->content + at;
        const char *newline = memchr(line, '\n', input->size - at);
        size_t size = newline ? (size_t)(newline - line) : input->size - at;
        const char *nul = memrchr(line, '\0', size);
        const char *text = nul ? nul + 1 : line; /* a record may share its line with a hole */
        size_t text_size = size - (size_t)(text - line);
        uint64_t seq = newline ? line_seq(text, text_size) : 0;
        uint64_t theirs = UINT64_MAX;

        if (audit_line_seq(text, text_size, &theirs)) {
            facts.has_huge_number |= theirs > 999999999999999999;
            PROMISE(theirs > 0);
        } else {
            PROMISE(theirs == UINT64_MAX && seq == 0);
        }
        if (nul && seq > input->cursor) /* it is cut, and written again */
            seq = 0;
        at += size + (newline != NULL);
        is_sound = is_sound && newline && !is_damaged(line, size);
        facts.has_early_line |=
            (seq > 0 || is_admin(line, size) || is_seal(line, size)) && is_sound;
        if (seq > 0 && seq <= input->cursor)
            facts.synced_end = at;
        if (seq > 0 && at <= kept)
            facts.last_seq = seq;
    }
    return facts;
}

/* ---- tail.h ---- */

static void expect_cut_at_damage(const struct input *input, size_t kept)
{
    const char *line = input->content + kept;
    const char *newline = memchr(line, '\n', input->size - kept);

    PROMISE(!newline || is_damaged(line, (size_t)(newline - line)));
}

static void expect_stable(const struct input *input, size_t kept, uint64_t seq)
{
    uint64_t again = 0;
    off_t cut = -1;

    PROMISE(audit_tail_mend(input->fd, input->cursor, &again, &cut) == 0);
    PROMISE(cut == 0 && again == seq);
    PROMISE(input_kept(input) == kept);
}

static void check_tail(const struct input *input)
{
    uint64_t seq = UINT64_MAX;
    off_t cut = -1;
    int r = audit_tail_mend(input->fd, input->cursor, &seq, &cut);
    size_t kept = input_kept(input);
    struct facts facts = examine(input, kept);

    PROMISE(r == 0 || r == -EBADMSG);
    if (r != 0) {
        PROMISE(kept == input->size && kept > 0);
        PROMISE(seq == UINT64_MAX && cut == -1);
        PROMISE(facts.synced_end == 0 && !facts.has_early_line);
        return;
    }
    PROMISE(cut >= 0 && kept + (size_t)cut == input->size);
    PROMISE(kept == 0 || input->content[kept - 1] == '\n');
    PROMISE(kept >= facts.synced_end);
    PROMISE(facts.has_huge_number || seq == facts.last_seq);
    if (cut > 0)
        expect_cut_at_damage(input, kept);
    expect_stable(input, kept, seq);
}

/* ---- history.h ---- */

struct reports {
    const char *at; /* behind the line that was reported last */
    const char *end;
    size_t count;
    size_t stop_after;
    struct spool_ended last;
    char lane[RECORD_LANE_MAX + 1];
};

/* The head of a line that begins at the start or behind a line break, after the last one. */
static void expect_head(struct reports *reports, uint64_t seq)
{
    char head[64];
    size_t size = (size_t)snprintf(head, sizeof(head), "{\"seq\":%" PRIu64 ",", seq);

    for (const char *at = reports->at; at < reports->end; at++) {
        bool is_start = at == reports->at || at[-1] == '\n';

        if (is_start && (size_t)(reports->end - at) > size && memcmp(at, head, size) == 0) {
            const char *newline = memchr(at, '\n', (size_t)(reports->end - at));

            reports->at = newline ? newline + 1 : reports->end;
            return;
        }
    }
    PROMISE(false); /* a line that is not in the file */
}

static int on_ended(void *userdata, const struct spool_ended *ended)
{
    struct reports *reports = userdata;

    PROMISE(ended->seq > 0 && ended->seq < INT64_MAX);
    PROMISE(ended->id > 0 && ended->id < INT64_MAX);
    PROMISE(ended->outcome < SPOOL_OUTCOMES);
    PROMISE(strlen(ended->lane) <= RECORD_LANE_MAX && !strchr(ended->lane, '\n'));
    expect_head(reports, ended->seq);
    reports->last = *ended;
    (void)snprintf(reports->lane, sizeof(reports->lane), "%s", ended->lane);
    return ++reports->count == reports->stop_after ? 42 : 0;
}

static struct reports read_history(const struct input *input, size_t stop_after)
{
    struct reports reports = {
        .at = input->content, .end = input->content + input->size, .stop_after = stop_after};
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", input->fd);
    int r = audit_history_each(path, on_ended, &reports);
    PROMISE(r == (stop_after > 0 && reports.count == stop_after ? 42 : 0));
    return reports;
}

/* Replaces what is left of the file by one line, whose texts are the input. */
static void put_own_line(struct input *input, const uint8_t *data, size_t size)
{
    static char memory[RECORD_LINE_MAX + 1];
    AUTO_FREE char *text = strndup((const char *)data, size);
    struct spool_record record = {.seq = OWN_LINE_SEQ,
                                  .id = OWN_LINE_ID,
                                  .outcome = (enum spool_outcome)(data[0] % SPOOL_OUTCOMES),
                                  .lane = OWN_LINE_LANE,
                                  .client = text,
                                  .topic = text,
                                  .ref = text,
                                  .code = SPOOL_NO_CODE};
    uint64_t seq = 0;
    struct json json;

    PROMISE(text);
    json_init(&json, memory, sizeof(memory));
    record_write(&json, &record);
    PROMISE(!json.failed);
    PROMISE(audit_line_seq(memory, json_used(&json), &seq) && seq == OWN_LINE_SEQ);
    json_raw(&json, "\n");
    input->size = json_used(&json);
    memcpy(input->content, memory, input->size);
    PROMISE(ftruncate(input->fd, 0) == 0);
    PROMISE(pwrite(input->fd, memory, input->size, 0) == (ssize_t)input->size);
}

static void check_history(struct input *input, const uint8_t *data, size_t size)
{
    struct reports reports = read_history(input, 0);
    size_t count = reports.count;

    if (count > 0)
        PROMISE(read_history(input, 1 + data[1] % count).count == 1 + data[1] % count);
    put_own_line(input, data, size < 512 ? size : 512);
    reports = read_history(input, 0);
    PROMISE(reports.count == 1 && reports.last.id == OWN_LINE_ID);
    PROMISE(reports.last.seq == OWN_LINE_SEQ);
    PROMISE(reports.last.outcome == data[0] % SPOOL_OUTCOMES);
    PROMISE(strcmp(reports.lane, OWN_LINE_LANE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct input input;

    if (size < HEADER_SIZE)
        return 0;
    input_open(&input, data, size);
    if (input.size < PREFIX_SIZE)      /* it has no window, and reads byte by byte */
        (void)read_history(&input, 0); /* before anything is cut */
    check_tail(&input);
    input.size = input_kept(&input);
    if (input.size < PREFIX_SIZE)
        check_history(&input, data, size);
    (void)close(input.fd);
    return 0;
}
