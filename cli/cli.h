/* SPDX-License-Identifier: MIT */
/*
 * cli.h - what the verbs of mqtt-spool share
 *
 * Each verb is one function that gets its own arguments (argv[0] is the verb)
 * and returns an exit code of sysexits.h: 0, 64 usage, 65 bad data, 69
 * unavailable, 75 try again, 77 not allowed, 78 configuration; check has three
 * of its own. What goes wrong is reported once, on standard error, together
 * with what to do about it.
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_CLI_H
#define MQTT_SPOOLD_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/json.h"
#include "daemon/config/config.h"
#include "store/spool.h"

/* What a function that parses arguments returns unless the program is to exit. */
#define CLI_CONTINUE (-1)
/* The exit code of check if it could not check, or not print what it found. */
#define CLI_UNCHECKED 2

struct cli {
    const char *config_path; /* of -c; NULL: not given */
};

int cli_publish(const struct cli *cli, int argc, char **argv);
int cli_status(const struct cli *cli, int argc, char **argv);
int cli_metrics(const struct cli *cli, int argc, char **argv);
int cli_failures(const struct cli *cli, int argc, char **argv);
int cli_audit(const struct cli *cli, int argc, char **argv);
int cli_check(const struct cli *cli, int argc, char **argv);
int cli_list(const struct cli *cli, int argc, char **argv);
int cli_show(const struct cli *cli, int argc, char **argv);
int cli_shape(const struct cli *cli, int argc, char **argv);
int cli_export(const struct cli *cli, int argc, char **argv);
int cli_import(const struct cli *cli, int argc, char **argv);
int cli_flush(const struct cli *cli, int argc, char **argv);
int cli_hold(const struct cli *cli, int argc, char **argv);
int cli_release(const struct cli *cli, int argc, char **argv);
int cli_drop(const struct cli *cli, int argc, char **argv);
int cli_requeue(const struct cli *cli, int argc, char **argv);
int cli_log_level(const struct cli *cli, int argc, char **argv);
int cli_report(const struct cli *cli, int argc, char **argv);
int cli_rotate(const struct cli *cli, int argc, char **argv);
int cli_doctor(const struct cli *cli, int argc, char **argv);
int cli_bundle(const struct cli *cli, int argc, char **argv);

/* One line on standard error, led by the program's name, in the visible form of text.h. */
void cli_error(const char *format, ...) PRINTF_LIKE(1, 2);
/* While it is set nothing is printed by it: for what may fail. */
void cli_silence_errors(bool is_silent);
/* The same for wrong arguments of @verb, followed by where to read more. Returns EX_USAGE. */
int cli_usage(const char *verb, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same after getopt_long(), whose option string begins with ':', returned @option: ':'
 * or '?'. getopt() itself would print the argument as it is. */
int cli_invalid_option(const char *verb, int option, char **argv);
/* The same for -c after the verb: it stands before it. */
int cli_misplaced_config(const char *verb);
/* Prints a verb's help. Returns EX_OK. */
int cli_help(const char *text);

/* Reports, once, that standard output cannot be written, because of @error; 0: not known.
 * Returns EX_UNAVAILABLE. */
int cli_report_write_error(int error);
/* The daemon has done what was asked: cli_report_write_error() reports that from now on. */
void cli_note_change(void);

/*
 * cli_open_json() - memory for one object of at most @size bytes, and its beginning
 * @ret: set on success; free with free()
 *
 * Return: EX_OK; EX_UNAVAILABLE, reported: out of memory.
 */
MUST_CHECK int cli_open_json(struct json *json, size_t size, char **ret);

/*
 * cli_print_json() - one finished object, as a line on standard output
 *
 * main() writes what stays in the stream's buffer, and checks that.
 * Return: EX_OK; EX_UNAVAILABLE, reported: it cannot be written, or the memory of @json
 * was too small.
 */
MUST_CHECK int cli_print_json(struct json *json);

/* An option of a verb, and where it goes: one of the four is not NULL. */
struct cli_option {
    const char *name; /* without the dashes */
    bool *flag;       /* set if the option is given */
    const char **text;
    uint64_t *number; /* from 1 on */
    /* For an option that may be repeated. Return: CLI_CONTINUE; the exit code, reported. */
    int (*take)(void *userdata, const char *verb, const char *text);
    void *userdata;
};

/*
 * cli_parse() - the options of a verb, and --help
 * @help:    the verb's page
 * @options: at most CLI_OPTIONS_MAX, the last one's name is NULL
 *
 * optind is then that of the first argument that is no option.
 * Return: CLI_CONTINUE; EX_OK after --help; EX_USAGE, reported.
 */
#define CLI_OPTIONS_MAX 16
MUST_CHECK int cli_parse(const char *verb,
                         const char *help,
                         const struct cli_option *options,
                         int argc,
                         char **argv);
/* The same for a verb that takes nothing but options. */
MUST_CHECK int cli_parse_all(const char *verb,
                             const char *help,
                             const struct cli_option *options,
                             int argc,
                             char **argv);

/*
 * cli_load_config() - the configuration of -c or of the default place
 * @needed:  the keys that the verb cannot do without, up to NULL; another one that is wrong is
 *           reported and passed over, see config_load_needed()
 * @instead: the arguments that make a configuration unnecessary, for the text
 * @ret:     set on success; free with config_free()
 *
 * Return: EX_OK; EX_CONFIG or EX_NOPERM, reported.
 */
MUST_CHECK int cli_load_config(const struct cli *cli,
                               const char *const *needed,
                               const char *instead,
                               struct config **ret);

/* The sign by which a verb does with the default socket, for want of a configuration. */
enum cli_fallback {
    CLI_IF_RUNNING,  /* a daemon that runs has its status beside it */
    CLI_IF_LISTENING /* or it is there: systemd may listen */
};

/*
 * cli_find_socket() - the daemon's socket, for a verb that can do with it alone
 * @needed:     as for cli_load_config(), listen.socket among them
 * @ret_config: set if there is a configuration; free with config_free()
 * @ret_socket: borrowed from it, or constant
 *
 * An edit that the daemon has not read keeps no producer from a daemon that runs: if the
 * configuration of the default place cannot be read, the default socket is used, with a
 * warning.
 *
 * Return: EX_OK; EX_CONFIG or EX_NOPERM, reported.
 */
MUST_CHECK int cli_find_socket(const struct cli *cli,
                               const char *const *needed,
                               const char *instead,
                               enum cli_fallback when,
                               struct config **ret_config,
                               const char **ret_socket);
/* May @socket be used although there is no configuration, and @why? @code is the exit code that
 * this has otherwise. Warns if so. From then on the status file is the one beside it. */
bool cli_fall_back(const char *socket, enum cli_fallback when, int code, const char *why);
/* The default socket, if a daemon runs with it and the configuration in @config_path, which
 * cannot be read, is the default one (NULL too); else NULL. */
const char *cli_find_default_daemon(const char *config_path);

/*
 * cli_open_spool() - open the spool for reading
 * @ret: set on success; free with spool_close()
 *
 * Return: EX_OK; EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM or EX_DATAERR, reported.
 */
MUST_CHECK int cli_open_spool(const char *directory, struct spool **ret);
/* Reports why spool_open_reader() did not open the spool in @directory, from its @result;
 * returns the exit code. */
MUST_CHECK int cli_report_open_error(const char *directory, int result);
/*
 * cli_spool_is_moved() - does a running daemon report that the spool's files were moved?
 *
 * Its status file reports it, which lies beside the socket of the configuration that was read,
 * or that cli_find_socket() or cli_set_socket() has set. Then the messages may be in its
 * open files alone.
 */
bool cli_spool_is_moved(void);
/* The status file is beside @socket; a path that is too long has none. */
void cli_set_socket(const char *socket);
/* Its path; "": not known. */
const char *cli_status_file(void);
/* All of it, terminated, free with free(); NULL: it cannot be read. Waits for no other
 * process. */
#define CLI_STATUS_MAX ((size_t)1024 * 1024)
char *cli_read_status(void);
struct json_t;
/* The object in it, owned; NULL: it cannot be read, or is none. */
struct json_t *cli_parse_status(void);
/* The id of the daemon's process, from that file; 0: it does not run, or is not known. */
pid_t cli_daemon_pid(void);
/* Does the daemon run, and is @key one that the last HUP did not change? From that file: false
 * if it is not known. */
bool cli_restart_waits(const char *key);
#define CLI_MOVED_REMEDY                                                                       \
    "a daemon runs and holds the messages in its open files: do not end it, and start no "     \
    "other one; its log says what it needs (spool_moved, spool_not_restored)"
/* May this user read in @directory? False too when it is not there (errno says which). */
bool cli_may_read(const char *directory);
/* Is there a folder at @path? False: errno says why not, ENOTDIR of something else. */
bool cli_is_folder(const char *path);
/*
 * cli_process_runs() - does the process with this id run?
 *
 * One that has ended and that its parent has not waited for keeps its id, but does not run.
 */
bool cli_process_runs(int64_t pid);
/* Reports that reading the spool failed; returns the exit code. */
int cli_report_read_error(const struct spool *spool, int error);

/* What to do about SPOOL_E_FOREIGN. */
#define CLI_FOREIGN_REMEDY                                                                     \
    "name another directory, or move that file away (and put the spool's own back where "      \
    "there was one)"

struct spool_time cli_now(void);

/* The end of a word that is counted. */
static inline const char *cli_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* The word that agrees with what is counted. */
static inline const char *cli_counted(uint64_t count, const char *one, const char *others)
{
    return count == 1 ? one : others;
}

/* "3.4 MiB", for people. */
#define CLI_SIZE_MAX 32
const char *cli_size(uint64_t bytes, char text[static CLI_SIZE_MAX]);
/* A whole number from @minimum to @maximum, digits only. */
bool cli_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret);
/* RFC 3339, with up to nine digits of a second's fraction (those after the third have no
 * meaning here) and with any offset, since 1970; no leap second. UTC, in milliseconds. */
bool cli_parse_time(const char *text, int64_t *ret_wall_ms);
/*
 * cli_parse_moment() - the value of an option: such a time, or an age such as 1h
 *
 * @text: NULL: it was not given, and @ret_ms stays
 * @ret_ms: wall clock, UTC; an age is counted back from now
 *
 * Return: CLI_CONTINUE; EX_USAGE: neither, reported as one of @verb and @option.
 */
int cli_parse_moment(const char *verb, const char *option, const char *text, int64_t *ret_ms);
/* Copies @from for a terminal, in the visible form of text.h, cut where @size ends. Returns
 * @text. */
const char *cli_printable(char *text, size_t size, const char *from);

static inline void cli_cleanup_config(struct config **config)
{
    config_free(*config);
}

static inline void cli_cleanup_spool(struct spool **spool)
{
    spool_close(*spool);
}

#define AUTO_CONFIG CLEANUP(cli_cleanup_config)
#define AUTO_SPOOL  CLEANUP(cli_cleanup_spool)

#endif
