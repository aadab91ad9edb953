/* SPDX-License-Identifier: MIT */
/*
 * spool_open.c - opens the spool at the start, and what to do about one that does not open
 *
 * A spool that cannot be read is surveyed: an unavailable disk is not treated as
 * damage. A damaged one is salvaged: what can be read of it is served, and each
 * message that cannot is recorded. What else keeps it from opening is logged with
 * its remedy.
 *
 * Invariant: of a spool that does not open nothing is changed except by salvage,
 * and that keeps the damaged files under another name.
 *
 * Diagnostics: spool_not_opened, spool_unread, spool_reads_again, spool_damaged,
 * spool_salvaged, spool_lost, spool_set_aside.
 */
#include "daemon/gateway/spool_open.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/regular.h"
#include "daemon/audit/history.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/settings.h"
#include "daemon/host/service.h"
#include "store/spool.h"

#define SALVAGE_MS 3600000 /* some 10 s for a million messages on a fast disk */
#define SURVEY_MS  3600000 /* a bad sector may take a disk many seconds */

/* Besides the conditions of the spool. */
enum { NO_ROOM_TO_SALVAGE = 1000 };

/* It may be on a disk that is mounted later. What may not be created is missing, too. */
static bool is_missing(const char *directory)
{
    return access(directory, F_OK) < 0 && errno == ENOENT;
}

/* Does a restart not help? A full disk, a missing folder or another daemon that is about to end
 * may be gone by then. */
static bool needs_operator(const char *directory, int condition)
{
    switch (condition) {
    case SPOOL_E_NEWER:
    case SPOOL_E_FOREIGN:
    case SPOOL_E_LANES:
    case SPOOL_E_DAMAGED:
    case NO_ROOM_TO_SALVAGE:
    case -ENAMETOOLONG:
    case -REGULAR_OTHER:
    case -ENOTDIR:
    case -ELOOP:
        return true;
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return !is_missing(directory);
    default:
        return false;
    }
}

const char *gateway_spool_remedy(int condition)
{
    switch (condition) {
    case SPOOL_E_LOCKED:
        return "stop one of the two, or give each a spool.directory of its own";
    case SPOOL_E_NEWER:
        return "a newer version wrote this spool; install that version or a newer one";
    case SPOOL_E_DAMAGED:
        return "the new spool is damaged too: check the disk (journalctl -k), keep the folder, "
               "name another spool.directory on a sound disk";
    case SPOOL_E_FOREIGN:
        return "nothing was changed; name another spool.directory, or move that file away";
    case SPOOL_E_BUSY:
        return "another program holds the database locked; end it";
    case SPOOL_E_DISK:
        return "the disk is full; free some space (EDQUOT: raise the quota, EFBIG: the limit of "
               "the file size)";
    case NO_ROOM_TO_SALVAGE:
        return "nothing was changed; free so much space there, or move the folder to a larger "
               "disk and name it in spool.directory";
    case SPOOL_E_LANES:
        return "use the names of older lanes again, or wait until their records are gone "
               "(audit.keep)";
    case SPOOL_E_UNREAD:
    case -EIO:
        return "nothing was changed; look at the disk (journalctl -k): reads or writes fail, and "
               "an unavailable disk is not treated as a damaged spool";
    case -ECANCELED:
        return "nothing was changed; start the daemon again, it starts over";
    case -ENAMETOOLONG:
        return "name a folder with a shorter path in spool.directory";
    case -REGULAR_OTHER:
        return "another kind of file has that name in spool.directory: move it away";
    case -ENOTDIR:
        return "spool.directory, or a folder of its path, is a file: move that file away";
    case -ENOENT:
        return "create the folder that spool.directory is to be in, let the daemon's user write "
               "to it, or name another spool.directory; if it should be there, mount its disk";
    case -EACCES:
    case -EPERM:
        return "correct the permissions: the daemon's user must read and write spool.directory "
               "and the files in it, and enter the folders above it";
    case -EROFS:
        return "where systemd keeps the daemon from writing there, name the folder in "
               "ReadWritePaths= (systemctl edit mqtt-spoold)";
    default:
        return "see the folder's permissions and the disk";
    }
}

static int each_ended(void *userdata, spool_ended_fn *fn, void *fn_userdata)
{
    const struct config *config = userdata;

    return audit_history_each(config->audit.file, fn, fn_userdata);
}

const char *gateway_quote_directory(const struct config *config,
                                    char text[static GATEWAY_PATH_QUOTED_MAX])
{
    const char *directory = config->spool.directory;

    return log_quote(text, GATEWAY_PATH_QUOTED_MAX, directory, strlen(directory));
}

static void log_salvaged(const struct config *config, const struct spool_salvage *salvage)
{
    char path[PATH_MAX + SPOOL_NAME_MAX], text[GATEWAY_PATH_QUOTED_MAX];

    if (salvage->is_count_unknown)
        log_error("spool_lost count=unknown reason=\"neither the counters nor spool.mark could "
                  "be read\" remedy=\"what was stored may be lost, beyond what is recorded as "
                  "damaged: compare what the producers sent\"");
    if (*salvage->moved_to == '\0') {
        log_warning("spool_salvaged salvaged=%" PRIu64 " damaged=%" PRIu64
                    " rejected_lost=%" PRIu64 " remedy=\"the "
                    "daemon continues; no file was left to be kept: find out who removed it\"",
                    salvage->salvaged, salvage->damaged, salvage->kept_lost);
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", config->spool.directory, salvage->moved_to);
    log_warning("spool_salvaged salvaged=%" PRIu64 " damaged=%" PRIu64 " rejected_lost=%" PRIu64
                " moved_to=%s "
                "remedy=\"the daemon continues; check the disk (journalctl -k), run mqtt-spool "
                "check, then move that file elsewhere\"",
                salvage->salvaged, salvage->damaged, salvage->kept_lost,
                log_quote(text, sizeof(text), path, strlen(path)));
}

/* The loop does not run yet, and main() has these signals blocked. */
static bool is_stop_pending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/* What can be read of a damaged spool is kept, and every message that cannot is recorded; the
 * damaged files stay, under another name. */
static int salvage_spool(struct config *config,
                         struct turn *turn,
                         const struct spool_options *options,
                         struct salvaged *ret)
{
    const struct spool_history history = {.each = each_ended, .owner = config};
    char text[GATEWAY_PATH_QUOTED_MAX], error[GATEWAY_ERROR_QUOTED_MAX];

    log_error("spool_damaged directory=%s error=%s salvaging=yes",
              gateway_quote_directory(config, text),
              gateway_quote_error(spool_open_error(), error));
    service_extend_timeout(SALVAGE_MS);
    service_status("salvaging a damaged spool");
    int r = spool_salvage(options, &history, &ret->result);
    if (r != 0)
        return r;
    turn_read_clock(turn); /* it may have taken long */
    ret->wall_ms = turn->now.wall_ms;
    log_salvaged(config, &ret->result);
    return 0;
}

/* A read failed. If everything can be read by now, the spool is as it was. If blocks stay bad
 * and the rest can be read, that is damage. If nothing can be read, the disk is at fault, and
 * the next start tries again. */
static int survey_spool(const struct config *config,
                        const struct spool_options *options,
                        struct spool **ret)
{
    char text[GATEWAY_PATH_QUOTED_MAX], error[GATEWAY_ERROR_QUOTED_MAX];

    log_error("spool_unread directory=%s error=%s reading_all=yes remedy=\"look at the disk "
              "(journalctl -k); wait for the next line\"",
              gateway_quote_directory(config, text),
              gateway_quote_error(spool_open_error(), error));
    service_extend_timeout(SURVEY_MS);
    service_status("looking for what the disk does not read");
    int r = spool_survey(options->directory);
    if (r != 0)
        return r;
    log_notice("spool_reads_again directory=%s found=%s remedy=\"look at the disk "
               "(journalctl -k)\"",
               gateway_quote_directory(config, text),
               gateway_quote_error(spool_open_error(), error));
    return spool_open(options, ret);
}

static int log_not_opened(const struct config *config, int condition)
{
    char text[GATEWAY_PATH_QUOTED_MAX], error[GATEWAY_ERROR_QUOTED_MAX];

    log_error("spool_not_opened directory=%s error=%s remedy=\"%s\"",
              gateway_quote_directory(config, text),
              gateway_quote_error(spool_open_error(), error), gateway_spool_remedy(condition));
    if (condition == -ECANCELED)
        return GATEWAY_E_STOPPED;
    return needs_operator(config->spool.directory, condition) ? GATEWAY_E_OPERATOR
                                                              : GATEWAY_E_LOGGED;
}

void gateway_log_set_aside(void)
{
    char words[SPOOL_SET_ASIDE_MAX], text[GATEWAY_ERROR_QUOTED_MAX];

    if (spool_take_set_aside(words))
        log_warning("spool_set_aside detail=%s remedy=\"it is no part of the spool and was not "
                    "used; look at what it is, then move it out of spool.directory\"",
                    gateway_quote_error(words, text));
}

_Static_assert(CLOCK_BOOT_ID_MAX == SPOOL_BOOT_ID_MAX, "the clock writes it into the options");

int gateway_open_spool(struct config *config,
                       struct turn *turn,
                       struct salvaged *salvaged,
                       struct spool **ret)
{
    struct spool_lane lanes[SPOOL_LANES_MAX];
    struct spool_options options = {
        .directory = config->spool.directory,
        .disk_reserve = config->spool.disk_reserve,
        .keep_failures_ms = config->audit.keep_ms,
        .keep_failures_count = GATEWAY_FAILURES_KEPT,
        .kept = gateway_kept_limits(config),
        .lanes = lanes,
        .lane_count = config_spool_lanes(config, lanes),
        .now = turn_spool_time(turn),
    };

    clock_boot_id(options.boot_id);
    spool_stop_if(is_stop_pending);
    int r = spool_open(&options, ret);
    if (r == SPOOL_E_UNREAD)
        r = survey_spool(config, &options, ret);
    bool is_salvage = r == SPOOL_E_DAMAGED;
    if (is_salvage)
        r = salvage_spool(config, turn, &options, salvaged);
    if (is_salvage && r == SPOOL_E_DISK)
        return log_not_opened(config, NO_ROOM_TO_SALVAGE);
    if (is_salvage && r == 0)
        r = spool_open(&options, ret);
    gateway_log_set_aside();
    if (r != 0)
        return log_not_opened(config, r);
    spool_set_busy_wait(*ret, GATEWAY_BUSY_MS);
    return 0;
}
