/* SPDX-License-Identifier: MIT */
/*
 * page.h - a summary and its proof as one page of HTML
 *
 * The page needs nothing besides itself: no script, no file, no font. Its size is bounded,
 * whatever was read: at most BUCKETS_MAX rows of a table, twenty of the others, texts cut.
 * Each figure that a program may want has its number in data-value, under a name in
 * data-key.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_PAGE_H
#define MQTT_SPOOLD_CLI_REPORT_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/audit/check.h"
#include "cli/report/summary.h"
#include "store/spool.h"

#define PAGE_ROWS_MAX 20 /* of the longest lists */
/* By which a page of this verb is known. */
#define PAGE_BEGINS                                                                            \
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"                        \
    "<meta name=\"generator\" content=\"mqtt-spool\">"

enum page_verdict {
    PAGE_SOUND,
    PAGE_NOT_SOUND,
    PAGE_UNPROVED, /* no audit file was read, or none that has a record */
};

/* What one process wrote, as the kernel counts it. */
struct page_writes {
    bool is_known;
    uint64_t bytes;
    int64_t span_ms;
};

struct page {
    FILE *stream;
    const struct summary *summary;
    const struct audit_check *check;
    bool has_files;    /* audit files were read */
    bool has_database; /* ledger and stats are set */
    struct spool_ledger ledger;
    struct spool_stats stats;
    struct page_writes writes;
    char *const *files;
    int file_count;
    const char *host;
    int64_t now_ms; /* when all was read: no record of this machine is later */
    int64_t zone_ms;
};

/* verdict.c: are the records sound, and do they explain every message? */
#define PAGE_SENTENCE_MAX 512
enum page_verdict page_judge(const struct page *page,
                             char ret_sentence[static PAGE_SENTENCE_MAX]);
/* "SOUND", "NOT SOUND", "NOT PROVED". */
const char *page_verdict_word(enum page_verdict verdict);

/* page_charts.c, page_tables.c: the sections. */
void page_put_traffic(const struct page *page);
void page_put_wear(const struct page *page);
void page_put_pauses(const struct page *page);
void page_put_delays(const struct page *page);
void page_put_failures(const struct page *page);
void page_put_proof(const struct page *page);

/* style.c: the style sheet. */
extern const char page_style[];

/* All of it. What cannot be written shows in ferror() of the stream. */
void page_put(const struct page *page);

#endif
