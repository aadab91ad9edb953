/* SPDX-License-Identifier: MIT */
/*
 * check.h - what the verification of audit files found
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_CHECK_H
#define MQTT_SPOOLD_CLI_AUDIT_CHECK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/json.h"
#include "cli/audit/id_set.h"
#include "cli/audit/question.h"
#include "cli/audit/seals.h"
#include "cli/audit/spans.h"
#include "cli/lines.h"
#include "daemon/seal/seal.h"
#include "store/spool.h"

#define AUDIT_PROBLEMS_MAX 20 /* more are only counted */
#define AUDIT_TEXT_MAX     512
#define AUDIT_GZIP_MAGIC   "\x1f\x8b"
/* While a rotation renames files one after the other, one has no name. */
#define AUDIT_RENAME_TRIES 100

/* Numbers that may be elsewhere in the files. */
enum audit_gap {
    AUDIT_GAP_NONE,
    AUDIT_GAP_SEQ,
    AUDIT_GAP_SEALS,      /* between two files */
    AUDIT_GAP_FILE_SEALS, /* within a file */
};

struct audit_problem {
    const char *file; /* NULL: it is not about a file */
    uint64_t line;    /* 0: it is not about a line */
    bool is_ahead;    /* as if the database were an older copy */
    enum audit_gap gap;
    uint64_t after; /* of a gap: the numbers before and after it */
    uint64_t before;
    char text[AUDIT_TEXT_MAX];
};

struct audit_order {
    struct spans spans; /* with deliveries: the numbers that were seen */
    uint64_t begin;     /* seq of the first line */
    uint64_t last;      /* of the line that the next one should follow: mostly the highest */
    uint64_t stray;     /* of the line above, if it stands elsewhere than it should; else 0 */
    const char *first_file; /* where the lowest seq is */
    uint64_t first_line;
};

/* Which numbers and messages the lines had. */
struct audit_seen {
    struct audit_order order;
    struct id_set numbers; /* without deliveries: the numbers */
    struct id_set ids;
};

/* The same history in the database. */
struct audit_database {
    bool compared;        /* the ledger was read */
    bool counts_compared; /* and each count of an outcome with the files */
    bool running;
    bool is_older; /* its history continues from an earlier line than the highest one */
    struct spool_ledger ledger;
    uint64_t ended;    /* all outcomes of the ledger */
    uint64_t exported; /* cursor as it stood before the files were read */
    uint64_t last_seq;
    uint64_t waiting; /* rows that are in the database and not in the files */
    uint64_t pruned;  /* numbers after the files' end whose rows were pruned */
};

/* The file that was read last. */
struct audit_last {
    bool is_open;
    bool is_stopped; /* what follows in it cannot be read */
    int fd;
    uint64_t limit;   /* no line behind this byte is read now */
    int next;         /* the file behind it, which was empty; -1: none is known */
    const char *name; /* of the last file: this one, or that behind it */
    struct lines lines;
    bool torn;      /* it ends in half a line, or in zeros: */
    uint64_t zeros; /* so many of them */
    uint64_t zeros_at;
};

/* @object: a line of a file, which may be unsound; @size: with its newline. */
struct json_t;
typedef void audit_line_fn(void *userdata, const struct json_t *object, size_t size);

struct audit_check {
    bool deliveries_omitted; /* gaps in seq are deliveries */
    bool ledger_known;       /* who calls knows already whether the ledger balances */
    uint64_t from;           /* the lowest seq must be this; 0: any */
    audit_line_fn *on_line;  /* NULL, or gets each line that is a JSON object */
    void *userdata;          /* of on_line */
    /* the place that is being read */
    const char *file;
    uint64_t line;
    struct audit_last open;
    /* found out */
    uint64_t files;
    uint64_t lines;
    uint64_t first_seq; /* the lowest; 0: no line has one */
    uint64_t last_seq;  /* the highest */
    int64_t first_ms;   /* of these two */
    int64_t last_ms;
    uint64_t clock_steps; /* lines whose time is long before that of the line above */
    uint64_t counts[SPOOL_OUTCOMES];
    uint64_t pruned; /* deliveries whose records were pruned: one line stands for a range */
    uint64_t admin;  /* lines about what operators changed, besides lines */
    bool is_rotated; /* no line was read, and rotated files beside the last one explain that */
    struct audit_seen seen;
    struct seals seals;
    struct question question;
    uint64_t problem_count;
    struct audit_problem problems[AUDIT_PROBLEMS_MAX];
    struct audit_database database;
};

/* What to do about a file that is ahead of its database: the daemon logs the same with
 * audit_ahead. */
#define AUDIT_AHEAD_REMEDY                                                                     \
    "stop the daemon, move the file away under another name (not FILE.1), start it, and keep " \
    "that file"

/* findings.c: notes a problem at the line being read. */
void audit_add_problem(struct audit_check *check, const char *format, ...) PRINTF_LIKE(2, 3);
/* At another line. */
void audit_add_problem_at(struct audit_check *check,
                          const char *file,
                          uint64_t line,
                          const char *format,
                          ...) PRINTF_LIKE(4, 5);
/* The problem noted last is one that an older copy of the database makes. */
void audit_mark_problem_ahead(struct audit_check *check);
/* The same for a problem that is not one of a line. */
void audit_add_general_problem(struct audit_check *check, const char *format, ...)
    PRINTF_LIKE(2, 3);

/* The problem noted last is a gap between these numbers. */
void audit_mark_problem_gap(struct audit_check *check,
                            enum audit_gap gap,
                            uint64_t after,
                            uint64_t before);

/* order.c: a line has the numbers @seq to @end. Return: 0; -ENOMEM. */
MUST_CHECK int audit_check_seq(struct audit_check *check, uint64_t seq, uint64_t end);
/* Up to this number the files have what the database wrote to them. */
uint64_t audit_reached(const struct audit_check *check);
/* After the last line: says of each jump what stands elsewhere, and what else is missing. */
void audit_explain_order(struct audit_check *check);
/* Frees what audit_check_files() kept. */
void audit_forget_seen(struct audit_check *check);

/* record.c: checks one line of a file, and notes its problems. Return: 0; -ENOMEM: what was
 * noted of it means nothing. */
MUST_CHECK int audit_check_line(struct audit_check *check, const struct line *line);

/* reading.c: descriptors of regular files, so that a rotation while some are read moves none
 * of them; negative for what is read by its name when its turn comes. */
void audit_open_files(char *const *names, int count, int *ret_fds);
void audit_close_files(int *fds, int count);
/* The lines of @file; - is standard input. @opened: its descriptor, taken, or negative.
 * @last: no other file comes after it. Return: EX_OK; another exit code, reported. */
MUST_CHECK int
audit_read_file(struct audit_check *check, const char *file, int *opened, bool last);
/* What was written since to that file, and to the one that has the last name now, up to a line
 * whose seq is at least @up_to. Return: as above. */
MUST_CHECK int audit_read_on(struct audit_check *check, uint64_t up_to);
void audit_close_last(struct audit_check *check);

/* rows.c: outcomes of the database that the files lack */
struct audit_rows {
    uint64_t up_to;      /* the newest that is asked for */
    uint64_t next;       /* the number that comes next, if none is missing */
    uint64_t exported;   /* numbers that are missing up to here went to the files meanwhile */
    uint64_t pruned_seq; /* and then up to here they are of pruned deliveries */
    uint64_t rows;
    uint64_t pruned;
    uint64_t counts[SPOOL_OUTCOMES];
    bool is_whole; /* with them the files have all outcomes up to up_to */
};
/* @begin: what was taken is void, each row is passed again; NULL: none.
 * @take:  as spool_record_fn, but a result above 0 is none; NULL: the rows are only counted */
struct audit_walk {
    void (*begin)(void *userdata);
    spool_record_fn *take;
    void *userdata;
};
/* A daemon that runs may write rows to the file and remove them: then the file is read on.
 * Return: EX_OK; another exit code, reported. */
MUST_CHECK int audit_walk_rows(struct audit_check *check,
                               struct spool *spool,
                               uint64_t up_to,
                               const struct audit_walk *walk,
                               struct audit_rows *ret);

/* seals.c: before the first line; after lines that could not be read. */
void audit_begin_seals(struct seals *seals);
void audit_lose_seals(struct seals *seals);
/* Is @line a seal? Then it is verified, else it is one of those that the next seal covers. */
bool audit_take_seal_line(struct audit_check *check, const struct line *line);
/* After the last line: says of seals that are missing between others what stands elsewhere. */
void audit_explain_seals(struct audit_check *check);

/* far.c: before the files are read. Return: EX_OK; another exit code, reported. */
MUST_CHECK int audit_read_far(struct audit_check *check, const char *file);
/* @seal is in the files. @is_proved: and the lines that it seals are what was sealed. */
void audit_find_far(struct audit_check *check, const struct seal *seal, bool is_proved);
/* After the files were read. */
void audit_compare_far(struct audit_check *check);
void audit_free_far(struct audit_check *check);

/* question.c: checks the options. Return: CLI_CONTINUE; the exit code, reported. */
MUST_CHECK int audit_prepare_question(struct question *question);
/* @record is of the files, and sound. */
void audit_ask_record(struct audit_check *check, json_t *record);
/* question_spool.c: after the files, what is spooled, and what ended and is not in them.
 * Return: EX_OK; the exit code, reported. */
MUST_CHECK int audit_ask_spool(struct audit_check *check, const char *directory);
enum question_verdict {
    QUESTION_ALL,       /* each was delivered, or it is explained why not */
    QUESTION_SPOOLED,   /* not yet */
    QUESTION_NOT_FOUND, /* there is no message with that id or ref */
    QUESTION_UNSOUND,   /* the files are not what they were */
};
enum question_verdict audit_answer(const struct audit_check *check);
int audit_answer_code(const struct audit_check *check);
void audit_free_question(struct question *question);

/* answer.c */
void audit_print_answer(const struct audit_check *check);
void audit_write_answer(struct json *json, const struct audit_check *check);

/* compare.c: before the files are read, the export cursor; after it, everything else. The exit
 * code is that of opening the spool, or of what is read then. */
MUST_CHECK int audit_compare_before(struct audit_check *check, const char *directory);
MUST_CHECK int audit_compare_after(struct audit_check *check, const char *directory);

/* rotated.c: @ret is the name of the file that was rotated before @file, FILE.1. False: there
 * is none, it may not be read, or it is compressed. */
bool audit_find_rotated(const char *file, char ret[static PATH_MAX]);
/* The same of FILE.2, rotated before that, and so on. */
bool audit_find_numbered(const char *file, unsigned number, char ret[static PATH_MAX]);
/* Was @file rotated, under any of the names that logrotate gives? */
bool audit_is_rotated(const char *file);
/* The file that was begun after that of @fd, which is now @file, FILE.1, FILE.2, and so on.
 * Return: 0: *ret is its descriptor, or negative: there is none yet; -ESTALE: @fd has none of
 * these names. */
MUST_CHECK int audit_find_successor(int fd, const char *file, int *ret);

/* check.c: all of that in order; prints nothing on standard output. Of @files the names and the
 * directory are used. audit_forget_seen() is the caller's. */
struct audit_files;
MUST_CHECK int audit_check_files(struct audit_check *check, const struct audit_files *files);

/* report.c: how the last file ends, if it is torn. */
const char *audit_describe_end(const struct audit_check *check,
                               char text[static AUDIT_TEXT_MAX]);
/* On standard output. */
void audit_print_page(const struct audit_check *check);
/* Return: EX_OK; EX_UNAVAILABLE, reported: it could not be printed. */
MUST_CHECK int audit_print_json(const struct audit_check *check);

#endif
