/* SPDX-License-Identifier: MIT */
/*
 * moved.c - files of the spool were removed or renamed under the daemon
 *
 * Found at a commit, before its acknowledgements, or by the tick, each once a second. Nothing is
 * acknowledged, committed or forwarded from then on. Producers whose messages are
 * in that commit lose the connection, and send them again: they cannot be refused,
 * because the commit may come back with the files. Two ways lead on:
 *
 *   Files that live under another name are left as they are. The daemon ends
 *   with exit code 1, and the log names the place: only the operator knows why
 *   they were moved.
 *
 *   Files without a name are lost when the daemon ends. Their content is put
 *   back first, then it ends with exit code 1, and the next start opens the
 *   restored spool. As long as it cannot be put back the daemon stays, refuses
 *   everything and tries again.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "daemon/gateway/gateway-private.h"
#include "daemon/mqtt/packet.h"

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

static void log_moved(const struct spool_moved *moved)
{
    char file[PATH_QUOTED_MAX], place[PATH_QUOTED_MAX];
    const char *remedy = "stop the daemon, move it back to where it was, start the daemon";

    if (moved->is_restorable)
        remedy = "the next line says whether the spool is put back";
    else if (moved->what == SPOOL_UNMOUNTED)
        remedy = "stop the daemon, mount that file system again, start the daemon";
    log_error(
        "spool_moved file=%s what=%s lives_at=%s acknowledged=no remedy=\"%s\"",
        log_quote(file, sizeof(file), moved->file, strlen(moved->file)), what_name(moved->what),
        log_quote(place, sizeof(place), moved->lives_at, strlen(moved->lives_at)), remedy);
}

static void log_restored(const struct gateway *gateway, const struct spool_restored *restored)
{
    const char *directory = gateway->config->spool.directory;
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

/* Once: it is tried again for as long as it takes. */
static void log_not_restored(struct gateway *gateway, uint64_t bytes)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];
    struct spool_moved moved;

    if (gateway->restore_logged)
        return;
    gateway->restore_logged = true;
    spool_get_moved(gateway->spool, &moved);
    log_error("spool_not_restored detail=%s bytes=%" PRIu64
              " retry_ms=%d database=/proc/%d/fd/%d "
              "log=/proc/%d/fd/%d remedy=\"do not end the daemon, only its open files hold the "
              "messages: make room, let it write to the folder, or copy both to spool.db and "
              "spool.db-wal\"",
              gateway_quote_error(spool_error(gateway->spool), text), bytes, RESTORE_RETRY_MS,
              (int)getpid(), moved.database_fd, (int)getpid(), moved.log_fd);
}

static void log_lost(struct gateway *gateway)
{
    struct spool_ledger ledger = {0};
    char text[GATEWAY_ERROR_QUOTED_MAX];

    (void)gateway_quote_error(spool_error(gateway->spool), text);
    if (spool_get_ledger(gateway->spool, &ledger) != 0)
        log_error("spool_lost count=unknown reason=\"removed, and not put back\" detail=%s",
                  text);
    else
        log_error("spool_lost count=%" PRIu64 " records=%" PRIu64
                  " reason=\"removed, and not put "
                  "back\" detail=%s",
                  ledger.spooled, spool_waiting(gateway->spool), text);
}

/* A large database takes long to copy, and the watchdog would end the only process that has it. */
static void keep_alive(void *context)
{
    (void)context;
    service_feed_watchdog();
}

/* Return: is nothing left to be put back? */
static bool restore(struct gateway *gateway)
{
    struct spool_restored restored;

    gateway_read_clock(gateway);
    gateway->restore_due_ms = gateway->now.boot_ms + RESTORE_RETRY_MS;
    service_status("putting back a spool that was removed");
    int r = spool_restore(gateway->spool, keep_alive, NULL, &restored);
    gateway_log_set_aside();
    if (r == 0)
        log_restored(gateway, &restored);
    if (r == 0 || r == SPOOL_E_MOVED) /* by now it lives elsewhere, as the line before says */
        return true;
    log_not_restored(gateway, restored.bytes);
    return false;
}

static void end(struct gateway *gateway)
{
    gateway->failed = true;
    (void)sd_event_exit(gateway->event, EXIT_FAILURE);
}

/* Return: may the daemon end? */
static bool take_notice(struct gateway *gateway)
{
    struct spool_moved moved;

    gateway->moved = true;
    spool_get_moved(gateway->spool, &moved);
    log_moved(&moved);
    return !moved.is_restorable || restore(gateway);
}

void gateway_on_moved(struct gateway *gateway)
{
    if (gateway->moved || gateway->failed)
        return;
    gateway->moved = true;
    gateway_drop_owed(gateway, MQTT_QUOTA_EXCEEDED, "the spool's files were moved");
    if (take_notice(gateway)) {
        end(gateway);
        return;
    }
    gateway_read_clock(gateway);
    gateway_note_full(gateway, GATEWAY_FULL_MOVED);
    gateway_hasten_status(gateway);
    gateway_arm_edge(gateway); /* for those who wait: they are refused now */
}

void gateway_verify_files(struct gateway *gateway)
{
    if (gateway->failed)
        return;
    if (!gateway->moved && spool_verify_files(gateway->spool) == SPOOL_E_MOVED)
        gateway_on_moved(gateway);
    else if (gateway->moved && gateway->now.boot_ms >= gateway->restore_due_ms &&
             restore(gateway))
        end(gateway);
}

void gateway_give_moved_up(struct gateway *gateway)
{
    if (!(gateway->moved ? restore(gateway) : take_notice(gateway)))
        log_lost(gateway);
    end(gateway);
}
