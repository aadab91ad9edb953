/* SPDX-License-Identifier: MIT */
/*
 * part_program.c - what other programs know: the log, the unit, versions of packages
 *
 * Each of them may be missing, and has its time.
 */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/view.h"
#include "cli/bundle/archive.h"
#include "cli/bundle/members.h"
#include "cli/bundle/subprocess.h"
#include "cli/doctor/tls_probe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { PROGRAM_MS = 30000 };

#define UNIT "mqtt-spoold.service"

static const char *reason_of(int result)
{
    switch (result) {
    case -ETIMEDOUT:
        return "it did not end within 30 s";
    case -ENOBUFS:
        return "it printed more than 8 MiB";
    case -ENOEXEC:
        return "it cannot be run, or failed";
    default:
        return strerror(-result);
    }
}

static void
add_output(struct bundle *bundle, const char *name, const char *what, const char *const argv[])
{
    struct bytes output;
    int result;

    bytes_init(&output, MEMBER_BYTES_MAX);
    result = subprocess_read(argv, PROGRAM_MS, &output);
    if (result < 0 && (result != -ENOEXEC || bytes_used(&output) == 0))
        bundle_note(bundle, NULL, "%s: %s: %s", name, argv[0], reason_of(result));
    else if (bytes_used(&output) == 0)
        bundle_note(bundle, NULL, "%s: left out, %s printed nothing", name, argv[0]);
    if (bytes_used(&output) > 0)
        bundle_add(bundle, name, what, bytes_view(&output));
    bytes_done(&output);
}

void part_add_log(struct bundle *bundle)
{
    char lines[32];
    const char *const argv[] = {"journalctl", "--unit",  UNIT,
                                "--no-pager", "--quiet", "--output=short-iso-precise",
                                lines,        NULL};
    const char *const unit[] = {"systemctl",
                                "show",
                                UNIT,
                                "--property=ActiveState,SubState,Result,ExecMainStatus",
                                "--property=NRestarts,User,UnitFileState,FragmentPath",
                                "--property=DropInPaths,ActiveEnterTimestamp",
                                NULL};

    (void)snprintf(lines, sizeof(lines), "--lines=%" PRIu64, bundle->log_lines);
    add_output(bundle, "log.txt", "the newest lines of the unit in the journal", argv);
    add_output(bundle, "unit.txt", "what systemd knows of the unit", unit);
}

static void put_distribution(FILE *to)
{
    FILE *from = fopen("/etc/os-release", "re");
    char line[512];

    while (from && fgets(line, sizeof(line), from)) {
        if (strncmp(line, "PRETTY_NAME=", 12) == 0)
            fprintf(to, "distribution %s", line + 12);
    }
    if (from)
        (void)fclose(from); /* it was only read */
}

/* It has the version of Paho, which is linked statically. */
static void add_bill(struct bundle *bundle)
{
    size_t size = 0;
    AUTO_FREE char *text = bundle_read(bundle, SPOOLD_SBOM, &size);

    if (text)
        bundle_add(bundle, "sbom.cdx.json", "what the programs are made of",
                   view_of(text, size));
}

void part_add_versions(struct bundle *bundle)
{
    const char *const packages[] = {
        "dpkg-query",    "--show",       "mqtt-spoold", "libc6",  "libconfig9", "libjansson4",
        "libmosquitto1", "libsqlite3-0", "libsystemd0", "zlib1g", "systemd",    NULL};
    AUTO_FREE char *text = NULL;
    struct utsname system;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    if (!to)
        return;
    fprintf(to, "mqtt-spool   " SPOOLD_VERSION "\ntls          %s\nzlib         %s\n",
            tls_probe_library(), archive_library());
    if (uname(&system) == 0)
        fprintf(to, "kernel       %s %s\nmachine      %s\n", system.release, system.version,
                system.machine);
    put_distribution(to);
    if (fclose(to) == 0)
        bundle_add(bundle, "versions.txt", "program, libraries, kernel, distribution",
                   view_of(text, size));
    add_output(bundle, "packages.txt", "versions of the packages that are used", packages);
    add_bill(bundle);
}
