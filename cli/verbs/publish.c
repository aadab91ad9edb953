/* SPDX-License-Identifier: MIT */
/*
 * publish.c - mqtt-spool publish: hand messages to the daemon
 *
 * The tool speaks to the daemon as any other producer does, with a client
 * library that is not ours: libmosquitto, which only the files of this verb
 * know.
 */
#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"
#include "daemon/config/config.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int publish_prepare(struct publisher *publisher)
{
    int code = publish_check_topic(publisher->options->topic);

    return code == EX_OK ? publish_make_properties(publisher) : code;
}

static int publish_run(const struct publish_options *options)
{
    struct publisher publisher = {.options = options};
    struct bytes bytes;
    int code;

    publisher.json_size = 6 * strlen(options->topic) + 1024;
    publisher.json_memory = malloc(publisher.json_size);
    if (!publisher.json_memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    (void)signal(SIGPIPE, SIG_IGN);         /* a lost connection is an answer, not an end */
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a script reads each answer when it comes */
    (void)mosquitto_lib_init();
    bytes_init(&bytes, (size_t)MQTT_MAX_PAYLOAD + 1);
    code = publish_read_payload(options, &bytes, &publisher.single);
    if (code == EX_OK)
        code = publish_prepare(&publisher);
    if (code == EX_OK)
        code = publish_exchange(&publisher);
    mosquitto_property_free_all(&publisher.properties);
    (void)mosquitto_lib_cleanup();
    bytes_done(&bytes);
    free(publisher.json_memory);
    return code;
}

int cli_publish(const struct cli *cli, int argc, char **argv)
{
    AUTO_CONFIG struct config *config = NULL;
    struct publish_options options;
    int code = publish_parse(argc, argv, &options);

    if (code == CLI_CONTINUE)
        code = publish_configure(cli, &options, &config);
    if (code == CLI_CONTINUE)
        code = publish_run(&options);
    free(options.user_properties);
    return code;
}
