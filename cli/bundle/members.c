/* SPDX-License-Identifier: MIT */
/*
 * members.c - what goes into a bundle, in memory until all of it is known
 */
#include "cli/bundle/members.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "base/text.h"
#include "base/view.h"
#include "cli/bundle/scrub.h"
#include "cli/bundle/topics.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bundle_note(struct bundle *bundle, const char *outside, const char *format, ...)
{
    struct note *note = &bundle->notes[bundle->note_count];
    va_list arguments;

    if (bundle->note_count == NOTES_MAX)
        return;
    bundle->note_count++;
    text_format(note->outside, sizeof(note->outside), "%s", outside ? outside : "");
    va_start(arguments, format);
    text_vformat(note->text, sizeof(note->text), format, arguments);
    va_end(arguments);
}

void bundle_add_scrubbed(struct bundle *bundle,
                         const char *name,
                         const char *what,
                         struct view data)
{
    struct member *member = &bundle->members[bundle->count];
    unsigned long removed = bundle->scrub.removed - bundle->removed;

    bundle->removed = bundle->scrub.removed;
    if (bundle->count == MEMBERS_MAX - (strcmp(name, "MANIFEST") != 0)) {
        bundle_note(bundle, name, "left out, there are too many files");
        return;
    }
    member->data = malloc(data.size + 1);
    if (!member->data) {
        bundle_note(bundle, name, "left out, out of memory");
        return;
    }
    if (data.size > 0)
        memcpy(member->data, data.data, data.size);
    member->size = data.size;
    member->removed = removed;
    text_format(member->name, sizeof(member->name), "%s", name);
    text_format(member->what, sizeof(member->what), "%s", what);
    bundle->count++;
}

void bundle_add(struct bundle *bundle, const char *name, const char *what, struct view data)
{
    AUTO_FREE char *clean = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&clean, &size);

    if (!to) {
        bundle_note(bundle, name, "left out, out of memory");
        return;
    }
    scrub_put(&bundle->scrub, to, data);
    if (fclose(to) == 0)
        bundle_add_scrubbed(bundle, name, what, view_of(clean, size));
    else
        bundle_note(bundle, name, "left out, out of memory");
}

char *bundle_read(struct bundle *bundle, const char *path, size_t *ret_size)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, path, O_RDONLY, 0);
    char *data = malloc((size_t)MEMBER_BYTES_MAX + 1);
    ssize_t size = fd < 0 ? fd : -ENOMEM;

    if (fd >= 0 && data)
        size = read_full(fd, data, (size_t)MEMBER_BYTES_MAX + 1);
    if (size < 0 || size > MEMBER_BYTES_MAX) {
        bundle_note(bundle, path, "left out, %s",
                    size < 0 ? regular_error((int)size) : "it is larger than 8 MiB");
        free(data);
        return NULL;
    }
    *ret_size = (size_t)size;
    return data;
}

static void put_outside(struct bundle *bundle, FILE *to, const char *text)
{
    AUTO_FREE char *clean = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&clean, &size);

    if (!stream)
        return;
    scrub_put(&bundle->scrub, stream, view_of_text(text));
    if (fclose(stream) == 0)
        text_put(to, clean);
}

static void put_note(struct bundle *bundle, FILE *to, const struct note *note)
{
    fputs("  ", to);
    if (note->outside[0] != '\0') {
        put_outside(bundle, to, note->outside);
        fputs(": ", to);
    }
    text_put(to, note->text);
    fputc('\n', to);
}

static void put_removed(const struct bundle *bundle, FILE *to)
{
    fprintf(to,
            "Replaced by " SCRUB_REMOVED ", because it is a secret by its name or form, or is\n"
            "the text of a password or of a line of a key of this gateway: %lu place%s%s\n",
            bundle->removed, cli_plural(bundle->removed), bundle->removed > 0 ? ", in" : ".");
    for (size_t i = 0; i < bundle->count; i++) {
        if (bundle->members[i].removed > 0)
            fprintf(to, "  %-28s %8lu\n", bundle->members[i].name, bundle->members[i].removed);
    }
}

static void write_manifest(struct bundle *bundle, FILE *to)
{
    char now[CLOCK_TEXT_MAX];

    clock_format(cli_now().wall_ms, now);
    fprintf(to,
            "mqtt-spool bundle, version " SPOOLD_VERSION ", %s\n"
            "\n"
            "For a bug report. READ IT BEFORE YOU SEND IT: secrets are removed as far as a\n"
            "program can recognize them. It has names of this machine: host names, paths,\n"
            "user names, client ids%s.\n"
            "\n"
            "Files:\n",
            now, bundle->topics.count > 0 || bundle->scrub.topics ? "" : ", topics");
    for (size_t i = 0; i < bundle->count; i++)
        fprintf(to, "  %-28s %8zu bytes  %s\n", bundle->members[i].name,
                bundle->members[i].size, bundle->members[i].what);
    fputs("\n"
          "Never included: payloads, user properties, the spool's database, passwords, keys\n"
          "and certificates.\n"
          "\n",
          to);
    put_removed(bundle, to);
    if (bundle->scrub.topics)
        fprintf(to, "Topics are numbers, the same in all files: %zu of them.\n",
                bundle->topics.count);
    fputs(bundle->note_count > 0 ? "\nLeft out or changed, and why:\n"
                                 : "\nNothing else was left out.\n",
          to);
    for (size_t i = 0; i < bundle->note_count; i++)
        put_note(bundle, to, &bundle->notes[i]);
}

int bundle_add_manifest(struct bundle *bundle)
{
    AUTO_FREE char *text = NULL;
    size_t before = bundle->count;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    struct member manifest;

    if (!to)
        return -ENOMEM;
    write_manifest(bundle, to);
    if (fclose(to) != 0)
        return -ENOMEM;
    bundle_add_scrubbed(bundle, "MANIFEST", "", view_of(text, size));
    if (bundle->count == before)
        return -ENOMEM;
    manifest = bundle->members[before];
    memmove(bundle->members + 1, bundle->members, before * sizeof(bundle->members[0]));
    bundle->members[0] = manifest;
    return 0;
}

void bundle_done(struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++)
        free(bundle->members[i].data);
    scrub_done(&bundle->scrub);
    topics_done(&bundle->topics);
}
