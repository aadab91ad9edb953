/* SPDX-License-Identifier: MIT */
/*
 * moved.c - files of the spool were removed or renamed under the daemon
 *
 * Detected by a commit, before its acknowledgements, or by the tick, each once a
 * second. Producers whose messages are in that commit lose the connection, and send
 * them again: they cannot be refused, because the commit may return with the files.
 * Then there are two cases:
 *
 *   Files that live under another name are left as they are. The daemon ends
 *   with exit code 1, and the place is logged: only the operator knows why they
 *   were moved.
 *
 *   Files without a name are lost when the daemon ends. Their content is put
 *   back first, then it ends with exit code 1, and the next start opens the
 *   restored spool. As long as it cannot be put back the daemon stays, refuses
 *   everything and tries again.
 *
 * Invariant: from the detection on nothing is acknowledged, committed or forwarded.
 *
 * Diagnostics: spool_moved, spool_restored, spool_not_restored, spool_lost.
 */
#include "daemon/gateway/moved.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/config/config.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/spool_open.h"
#include "daemon/gateway/turn.h"
#include "daemon/host/service.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

#define RESTORE_RETRY_MS 5000
#define PATH_QUOTED_MAX  1024

static const char *what_name(enum spool_move what)
{
    static const char *const names[] = {
        [SPOOL_REMOVED] = "removed",
        [SPOOL_REPLACED] = "replaced",
        [SPOOL_RENAMED] = "renamed",
        [SPOOL_UNMOUNTED] = "unmounted",
    };

    return names[what];
}

static void log_moved(const struct spool_moved *files)
{
    char file[PATH_QUOTED_MAX], place[PATH_QUOTED_MAX];
    const char *remedy = "stop the daemon, move it back to where it was, start the daemon";

    if (files->is_restorable)
        remedy = "the next line says whether the spool is put back";
    else if (files->what == SPOOL_UNMOUNTED)
        remedy = "stop the daemon, mount that file system again, start the daemon";
    log_error(
        "spool_moved file=%s what=%s lives_at=%s acknowledged=no remedy=\"%s\"",
        log_quote(file, sizeof(file), files->file, strlen(files->file)), what_name(files->what),
        log_quote(place, sizeof(place), files->lives_at, strlen(files->lives_at)), remedy);
}

static void log_restored(const struct moved *moved, const struct spool_restored *restored)
{
    const char *directory = moved->config->spool.directory;
    char text[PATH_QUOTED_MAX];

    (void)log_quote(text, sizeof(text), directory, strlen(directory));
    if (*restored->set_aside == '\0')
        log_warning("spool_restored directory=%s lost=no remedy=\"find out what removed the "
                    "files\"",
                    text);
    else
        log_warning(
            "spool_restored directory=%s lost=no set_aside=%s remedy=\"another spool was "
            "there by then, it is kept under that name; to use it, stop the daemon, move all "
            "files of the folder away, spool.mark included, bring that one back as spool.db and "
            "its -wal as spool.db-wal, start the daemon\"",
            text, restored->set_aside);
}

/* Once, however often it is tried. */
static void log_not_restored(struct moved *moved, uint64_t bytes)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];
    struct spool_moved files;

    if (moved->is_failure_logged)
        return;
    moved->is_failure_logged = true;
    spool_get_moved(moved->spool, &files);
    log_error("spool_not_restored detail=%s bytes=%" PRIu64
              " retry_ms=%d database=/proc/%d/fd/%d "
              "log=/proc/%d/fd/%d remedy=\"do not end the daemon, only its open files hold the "
              "messages: make room, let it write to the folder, or copy both to spool.db and "
              "spool.db-wal\"",
              gateway_quote_error(spool_error(moved->spool), text), bytes, RESTORE_RETRY_MS,
              (int)getpid(), files.database_fd, (int)getpid(), files.log_fd);
}

static void log_lost(struct moved *moved)
{
    struct spool_ledger ledger = {0};
    char text[GATEWAY_ERROR_QUOTED_MAX];
    const char *remedy;

    (void)gateway_quote_error(spool_error(moved->spool), text);
    remedy = "compare with what the producers sent, and find out what removed the files";
    if (spool_get_ledger(moved->spool, &ledger) != 0)
        log_error("spool_lost count=unknown reason=\"removed, and not put back\" detail=%s "
                  "remedy=\"%s\"",
                  text, remedy);
    else
        log_error("spool_lost count=%" PRIu64 " records=%" PRIu64
                  " reason=\"removed, and not put "
                  "back\" detail=%s remedy=\"%s\"",
                  ledger.spooled, spool_waiting(moved->spool), text, remedy);
}

/* A large database takes long to copy, and the watchdog would end the only process that has
 * it. */
static void feed_watchdog(void *userdata)
{
    (void)userdata;
    service_feed_watchdog();
}

/* Return: true: nothing is left to be put back. */
static bool moved_restore(struct moved *moved)
{
    struct spool_restored restored;

    turn_read_clock(moved->turn);
    moved->retry_after_ms = moved->turn->now.boot_ms + RESTORE_RETRY_MS;
    service_status("putting back a spool that was removed");
    int r = spool_restore(moved->spool, feed_watchdog, NULL, &restored);
    gateway_log_set_aside();
    if (r == 0)
        log_restored(moved, &restored);
    if (r == 0 || r == SPOOL_E_MOVED) /* by now it lives elsewhere, as logged before */
        return true;
    log_not_restored(moved, restored.bytes);
    return false;
}

static void moved_end(struct moved *moved)
{
    turn_end(moved->turn);
}

/* Return: true: the daemon may end. */
static bool moved_begin(struct moved *moved)
{
    struct spool_moved files;

    moved->turn->has_moved = true;
    spool_get_moved(moved->spool, &files);
    log_moved(&files);
    return !files.is_restorable || moved_restore(moved);
}

void moved_note(struct moved *moved)
{
    if (moved->turn->has_moved || moved->turn->has_failed)
        return;
    moved->turn->has_moved = true;
    clients_drop_owed(moved->clients, MQTT_QUOTA_EXCEEDED, "the spool's files were moved");
    if (moved_begin(moved)) {
        moved_end(moved);
        return;
    }
    turn_read_clock(moved->turn);
    intake_note_full(moved->intake, INTAKE_FULL_MOVED);
    status_hasten(moved->status);
    edge_timer_arm(moved->edge_timer); /* those that wait are refused now */
}

void moved_check(struct moved *moved)
{
    if (moved->turn->has_failed)
        return;
    if (!moved->turn->has_moved && spool_verify_files(moved->spool) == SPOOL_E_MOVED)
        moved_note(moved);
    else if (moved->turn->has_moved && moved->turn->now.boot_ms >= moved->retry_after_ms &&
             moved_restore(moved))
        moved_end(moved);
}

void moved_give_up(struct moved *moved)
{
    if (!(moved->turn->has_moved ? moved_restore(moved) : moved_begin(moved)))
        log_lost(moved);
    moved_end(moved);
}
