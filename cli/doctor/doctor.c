/* SPDX-License-Identifier: MIT */
/*
 * doctor.c - mqtt-spool doctor: what is wrong on the way of a message, and what to do
 *
 * The exit code is for a script: 0 nothing failed, 1 something did, 2 it could not be looked
 * at, whatever the cause; there is no other, as with check.
 */
#include "base/cleanup.h"
#include "base/json.h"
#include "base/view.h"
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/walk.h"
#include "daemon/config/config.h"
#include "daemon/mqtt/packet.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define EXIT_FAILED 1

static const char help_text[] =
    "Usage: mqtt-spool doctor [OPTION]...\n"
    "\n"
    "Walks the path of a message and reports for each step whether it is good, what\n"
    "was seen, and what to do: configuration, rights, daemon, sync time and space of\n"
    "the disk, clock, audit file; then for each broker name, TCP, TLS, CONNECT and\n"
    "what the broker announces. Changes nothing in the spool. Run it as root: what\n"
    "this user may not see is skipped.\n"
    "\n"
    "It connects with the configured client id and \"-doctor\", so that the daemon\n"
    "stays connected.\n"
    "\n"
    "      --probe TOPIC    also publish a message of QoS 1 there, as is (no prefix)\n"
    "      --client-id ID   connect with this id; the daemon's own only while it is\n"
    "                       stopped\n"
    "      --timeout S      seconds for all steps together (default 120)\n"
    "      --json           one JSON object with the result\n"
    "\n"
    "Exit codes: 0 nothing failed (there may be warnings); 1 something failed; 2 it\n"
    "could not be looked at (wrong usage and an output that cannot be written\n"
    "included). No other.\n";

struct doctor {
    struct doctor_request request;
    uint64_t timeout_s;
    bool is_json;
};

static int doctor_parse(struct doctor *doctor, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "probe", .text = &doctor->request.probe},
        {.name = "client-id", .text = &doctor->request.client_id},
        {.name = "timeout", .number = &doctor->timeout_s},
        {.name = "json", .flag = &doctor->is_json},
        {.name = NULL},
    };
    int code = cli_parse_all("doctor", help_text, options, argc, argv);
    const char *probe = doctor->request.probe;

    if (code != CLI_CONTINUE)
        return code;
    if (probe && (probe[0] == '$' || !packet_topic_is_valid(view_of_text(probe))))
        return cli_usage("doctor", "--probe is a topic without wildcards, not \"%s\"", probe);
    if (doctor->timeout_s > 3600)
        return cli_usage("doctor", "--timeout is a number of seconds from 1 to 3600");
    doctor->request.timeout_ms = doctor->timeout_s * 1000;
    return CLI_CONTINUE;
}

static int print_json(const struct doctor_findings *findings)
{
    AUTO_FREE char *memory = NULL;
    struct json json;
    int code = cli_open_json(&json, doctor_findings_json_size(findings), &memory);

    if (code != EX_OK)
        return code;
    doctor_findings_write(&json, findings);
    json_close_object(&json);
    return cli_print_json(&json);
}

int cli_doctor(const struct cli *cli, int argc, char **argv)
{
    struct doctor doctor = {.timeout_s = DOCTOR_TIMEOUT_S};
    struct doctor_findings findings;
    int code = doctor_parse(&doctor, argc, argv);

    if (code != CLI_CONTINUE)
        return code == EX_OK ? EX_OK : CLI_UNCHECKED;
    doctor.request.config_path = cli->config_path ? cli->config_path : CONFIG_DEFAULT_PATH;
    int result = doctor_walk(&doctor.request, &findings);
    if (result < 0) {
        cli_error("cannot start a process for the steps: %s", strerror(-result));
        code = CLI_UNCHECKED;
    } else {
        code = EX_OK;
        if (doctor.is_json)
            code = print_json(&findings);
        else
            doctor_findings_print(stdout, &findings);
        if (code != EX_OK)
            code = CLI_UNCHECKED;
        else if (findings.failed > 0)
            code = EXIT_FAILED;
    }
    doctor_findings_done(&findings);
    return code;
}
