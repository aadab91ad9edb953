/* SPDX-License-Identifier: MIT */
/*
 * import.c - mqtt-spool import: publish what export wrote
 *
 * As any producer does, over the daemon's socket, so access, limits and lanes hold. All goes
 * over one connection, and nothing is sent after a message that was refused: so the order is
 * kept, and the line is named at which to continue.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/verbs/import_message.h"
#include "cli/verbs/publish-private.h"
#include "daemon/config/config.h"

static const char help_text[] =
    "Usage: mqtt-spool import [OPTION]... < FILE\n"
    "\n"
    "Publishes what export wrote: JSON Lines on standard input. Payload, properties,\n"
    "QoS, retain, order and what is left of the expiry are kept; ids, clients and\n"
    "times are new. What has expired is left out. Ends at the first message that is\n"
    "refused.\n"
    "\n"
    "      --client-id ID    shown in records; else one is generated\n"
    "      --json            one object for each message: line, id, result, code,\n"
    "                        text\n"
    "      --socket PATH     the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 all were accepted; 65 a line or a message is wrong; 69 no daemon\n"
    "runs; 75 try again; 77 not allowed; 78 configuration.\n";

enum { TIMEOUT_MS = 30000, JSON_BYTES = 4096 };

struct import {
    struct import_message message; /* the newest */
    struct progress progress;
    uint64_t expired;
    uint64_t unacknowledged; /* QoS 0 */
};

static bool import_decode(struct publisher *publisher,
                          const struct line *line,
                          uint64_t number,
                          struct publish_item *ret)
{
    struct import *import = publisher->userdata;
    char error[IMPORT_ERROR_MAX] = "";

    import_message_done(&import->message);
    if (line->size == 0)
        return false;
    int r = import_message_parse(view_of(line->text, line->size), &import->message, error);
    if (r != 0) {
        publisher->ended = true;
        publish_fail(publisher, r == -ENOMEM ? EX_UNAVAILABLE : EX_DATAERR);
        cli_error("line %" PRIu64 ": %s; it and what follows was not sent", number,
                  r == -ENOMEM ? "out of memory" : error);
        return false;
    }
    progress_show(&import->progress, "imported", publisher->accepted);
    if (import->message.has_expired) {
        import->expired++;
        return false;
    }
    import->unacknowledged += import->message.qos == 0;
    *ret = (struct publish_item){
        .topic = import->message.topic,
        .payload = view_of(import->message.payload, import->message.payload_size),
        .qos = import->message.qos,
        .is_retained = import->message.is_retained,
        .properties = import->message.properties,
    };
    return true;
}

static void import_report(const struct publisher *publisher, const struct import *import)
{
    if (!publisher->options->is_json && publisher->code == EX_OK)
        printf("%" PRIu64 " message%s accepted\n", publisher->accepted,
               publisher->accepted == 1 ? " was" : "s were");
    if (import->expired > 0)
        cli_error("left out because expired: %" PRIu64, import->expired);
    if (import->unacknowledged > 0)
        cli_error("%" PRIu64 " message%s of QoS 0, which the daemon does not acknowledge",
                  import->unacknowledged, import->unacknowledged == 1 ? " is" : "s are");
}

static int import_run(const struct publish_options *options)
{
    AUTO_FREE char *memory = malloc(JSON_BYTES);
    struct import import = {0};
    struct publisher publisher = {.options = options,
                                  .decode = import_decode,
                                  .userdata = &import,
                                  .json_memory = memory,
                                  .json_size = JSON_BYTES};
    int code;

    if (!memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)mosquitto_lib_init();
    progress_init(&import.progress, options->is_json);
    code = publish_exchange(&publisher);
    progress_end(&import.progress);
    import_report(&publisher, &import);
    import_message_done(&import.message);
    (void)mosquitto_lib_cleanup();
    return code;
}

int cli_import(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct publish_options publish = {
        .source = PUBLISH_IMPORT, .version = 5, .qos = 1, .timeout_ms = TIMEOUT_MS};
    const struct cli_option options[] = {
        {.name = "client-id", .text = &publish.client_id},
        {.name = "json", .flag = &publish.is_json},
        {.name = "socket", .text = &publish.socket},
        {.name = NULL},
    };
    int code = cli_parse_all("import", help_text, options, argc, argv);

    if (code == CLI_CONTINUE)
        code = publish_configure(cli, &publish, &config);
    return code == CLI_CONTINUE ? import_run(&publish) : code;
}
