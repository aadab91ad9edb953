/* SPDX-License-Identifier: MIT */
/*
 * clock.c - the only place that reads clocks
 *
 * Times of records are formatted and parsed here without the C library's
 * calendar: each outcome record has two of them, and gmtime() takes a lock and
 * reads the time zone. The calendar is counted in years that begin in March, so
 * that the leap day is the last day of its year and needs no special case.
 *
 * The wall clock is credible if the kernel reports that NTP disciplines it. The
 * measure is the maximum error, as in timedatectl: the kernel lets it grow
 * without NTP (it reaches 16 s in nine hours) and raises it at once when the
 * clock is set by hand; the flag STA_UNSYNC is left set by some daemons. A clock
 * from before this program was written is always wrong: an isolated network may
 * have a time server that booted in 1970 itself.
 *
 * adjtimex() is called once a second, because a message should not pay a system
 * call for it, and after each step of the wall clock, because the answer from
 * before a step is worthless after it.
 */
#include "base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CLOCK_SECOND_MS INT64_C(1000)
#define CLOCK_MINUTE_MS (60 * CLOCK_SECOND_MS)
#define CLOCK_HOUR_MS   (60 * CLOCK_MINUTE_MS)
#define CLOCK_DAY_MS    (24 * CLOCK_HOUR_MS)
#define CLOCK_MINUTE_S  INT64_C(60)
#define CLOCK_HOUR_S    (60 * CLOCK_MINUTE_S)
#define CLOCK_DAY_S     (24 * CLOCK_HOUR_S)
#define CLOCK_KEPT      8                        /* seconds */
#define CLOCK_WALL_MAX  INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */
#define CLOCK_TEXT_SIZE 24
#define CLOCK_QUERY_MS  CLOCK_SECOND_MS
#define CLOCK_STEP_MS   100                    /* two readings in one turn differ by less */
#define CLOCK_ERROR_MAX 16000000L              /* us: what the kernel reports when unsure */
#define CLOCK_EARLIEST  INT64_C(1735689600000) /* 2025-01-01 */
#define CLOCK_SYNC_FILE "/run/systemd/timesync/synchronized"
#define CLOCK_BOOT_FILE "/proc/sys/kernel/random/boot_id"

_Static_assert(sizeof(time_t) == 8, "clock_gettime() works beyond 2038: see cmake/flags.cmake");

static int64_t clock_ms(clockid_t id)
{
    struct timespec now = {0};

    (void)clock_gettime(id, &now); /* cannot fail for these two clocks */
    return (int64_t)now.tv_sec * CLOCK_SECOND_MS + now.tv_nsec / 1000000;
}

/* The file decides only where a sandbox forbids adjtimex(): it stays when the clock is set by
 * hand. */
static bool clock_query_disciplined(void)
{
    struct timex state = {0};

    if (adjtimex(&state) >= 0)
        return state.maxerror < CLOCK_ERROR_MAX;
    return access(CLOCK_SYNC_FILE, F_OK) == 0;
}

static bool clock_is_disciplined(int64_t wall_ms, int64_t boot_ms)
{
    static bool is_disciplined;
    static int64_t queried_ms = -CLOCK_QUERY_MS;
    static int64_t queried_wall_ms;
    int64_t passed_ms = boot_ms - queried_ms;
    int64_t stepped_ms = wall_ms - queried_wall_ms - passed_ms;

    if (passed_ms >= CLOCK_QUERY_MS || passed_ms < 0 || stepped_ms > CLOCK_STEP_MS ||
        stepped_ms < -CLOCK_STEP_MS) {
        is_disciplined = clock_query_disciplined();
        queried_ms = boot_ms;
        queried_wall_ms = wall_ms;
    }
    return is_disciplined;
}

void clock_read(struct clock_reading *ret)
{
    ret->wall_ms = clock_ms(CLOCK_REALTIME);
    ret->boot_ms = clock_ms(CLOCK_BOOTTIME);
    ret->synchronized =
        clock_is_disciplined(ret->wall_ms, ret->boot_ms) && ret->wall_ms >= CLOCK_EARLIEST;
}

static uint64_t clock_us(clockid_t id)
{
    struct timespec now = {0};

    (void)clock_gettime(id, &now); /* cannot fail for these two clocks */
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_boot_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

uint64_t clock_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

struct clock_date {
    int64_t year;
    int64_t month; /* 1..12 */
    int64_t day;   /* 1..31 */
};

/* Days before the month that is @month months after March: 0, 31, 61, 92, 122, 153 ... */
static int64_t clock_month_days(int64_t month)
{
    return (153 * month + 2) / 5;
}

/* Days from 0000-03-01 to the first of March of @year. */
static int64_t clock_year_days(int64_t year)
{
    return 365 * year + year / 4 - year / 100 + year / 400;
}

#define CLOCK_EPOCH_DAY 719468 /* 1970-01-01, counted from 0000-03-01 */

static struct clock_date clock_date_of(int64_t days)
{
    int64_t year;
    int64_t month;
    int64_t rest;

    days += CLOCK_EPOCH_DAY;
    year = days * 400 / 146097; /* one too many at most, on the last days of a year */
    if (clock_year_days(year + 1) <= days)
        year++;
    if (clock_year_days(year) > days)
        year--;
    rest = days - clock_year_days(year);
    month = (5 * rest + 2) / 153;
    return (struct clock_date){
        .year = month < 10 ? year : year + 1,
        .month = month < 10 ? month + 3 : month - 9,
        .day = rest - clock_month_days(month) + 1,
    };
}

static int64_t clock_days_of(const struct clock_date *date)
{
    int64_t year = date->month > 2 ? date->year : date->year - 1;
    int64_t month = date->month > 2 ? date->month - 3 : date->month + 9;

    return clock_year_days(year) + clock_month_days(month) + date->day - 1 - CLOCK_EPOCH_DAY;
}

static void clock_digits(char *text, int64_t value, int count)
{
    while (count-- > 0) {
        text[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

static void clock_format_second(int64_t second, char text[static CLOCK_TEXT_MAX])
{
    struct clock_date date = clock_date_of(second / CLOCK_DAY_S);
    int64_t rest = second % CLOCK_DAY_S;

    memcpy(text, "0000-00-00T00:00:00.000Z", CLOCK_TEXT_SIZE + 1);
    clock_digits(text, date.year, 4);
    clock_digits(text + 5, date.month, 2);
    clock_digits(text + 8, date.day, 2);
    clock_digits(text + 11, rest / CLOCK_HOUR_S, 2);
    clock_digits(text + 14, rest % CLOCK_HOUR_S / CLOCK_MINUTE_S, 2);
    clock_digits(text + 17, rest % CLOCK_MINUTE_S, 2);
}

/* Times of records lie in few seconds: their texts are kept. */
void clock_format(int64_t wall_ms, char text[static CLOCK_TEXT_MAX])
{
    static _Thread_local struct {
        int64_t count; /* seconds from 1970 to the end of this one; 0: none yet */
        char text[CLOCK_TEXT_MAX];
    } kept[CLOCK_KEPT];

    if (wall_ms < 0)
        wall_ms = 0;
    if (wall_ms > CLOCK_WALL_MAX)
        wall_ms = CLOCK_WALL_MAX;
    int64_t second = wall_ms / CLOCK_SECOND_MS;
    size_t i = (size_t)second % CLOCK_KEPT;
    if (kept[i].count != second + 1) {
        clock_format_second(second, kept[i].text);
        kept[i].count = second + 1;
    }
    memcpy(text, kept[i].text, CLOCK_TEXT_SIZE + 1);
    clock_digits(text + 20, wall_ms % CLOCK_SECOND_MS, 3);
}

static int64_t clock_number(const char *text, int count)
{
    int64_t value = 0;

    while (count-- > 0)
        value = value * 10 + (*text++ - '0');
    return value;
}

bool clock_parse(const char *text, int64_t *ret_wall_ms)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    char again[CLOCK_TEXT_MAX];
    struct clock_date date;
    int64_t wall_ms;

    if (strlen(text) != CLOCK_TEXT_SIZE)
        return false;
    for (size_t i = 0; i < CLOCK_TEXT_SIZE; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    date = (struct clock_date){
        .year = clock_number(text, 4),
        .month = clock_number(text + 5, 2),
        .day = clock_number(text + 8, 2),
    };
    if (date.month < 1 || date.month > 12)
        return false;
    wall_ms = clock_days_of(&date) * CLOCK_DAY_MS + clock_number(text + 11, 2) * CLOCK_HOUR_MS +
              clock_number(text + 14, 2) * CLOCK_MINUTE_MS +
              clock_number(text + 17, 2) * CLOCK_SECOND_MS + clock_number(text + 20, 3);
    /* A time that does not exist, such as 30 February or 24:00, comes back as another text. */
    clock_format(wall_ms, again);
    if (strcmp(text, again) != 0)
        return false;
    *ret_wall_ms = wall_ms;
    return true;
}

void clock_boot_id(char text[static CLOCK_BOOT_ID_MAX])
{
    AUTO_CLOSE int fd = open(CLOCK_BOOT_FILE, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, CLOCK_BOOT_ID_MAX - 1);

    text[size < 0 ? 0 : size] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

struct clock_unit {
    const char *name;
    uint64_t size_ms;
};

void clock_format_span(int64_t span_ms, char text[static CLOCK_SPAN_MAX])
{
    static const struct clock_unit units[] = {
        {"d", CLOCK_DAY_MS},
        {"h", CLOCK_HOUR_MS},
        {"min", CLOCK_MINUTE_MS},
        {"s", CLOCK_SECOND_MS},
        {"ms", 1},
    };
    const char *sign = span_ms < 0 ? "-" : "";
    uint64_t span = span_ms < 0 ? 0 - (uint64_t)span_ms : (uint64_t)span_ms;
    size_t i = 0;
    uint64_t rest;

    while (units[i].size_ms > 1 && span < units[i].size_ms)
        i++;
    rest = span % units[i].size_ms;
    /* Milliseconds beside seconds are noise. */
    if (units[i].size_ms > CLOCK_SECOND_MS && rest >= units[i + 1].size_ms)
        (void)snprintf(text, CLOCK_SPAN_MAX, "%s%" PRIu64 " %s %" PRIu64 " %s", sign,
                       span / units[i].size_ms, units[i].name, rest / units[i + 1].size_ms,
                       units[i + 1].name);
    else
        (void)snprintf(text, CLOCK_SPAN_MAX, "%s%" PRIu64 " %s", sign, span / units[i].size_ms,
                       units[i].name);
}

uint64_t clock_round_up_s(double seconds)
{
    uint64_t whole = (uint64_t)seconds;

    return (double)whole < seconds ? whole + 1 : whole;
}
