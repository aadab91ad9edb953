/* SPDX-License-Identifier: MIT */
/*
 * publish_options.c - the arguments of `mqtt-spool publish`
 *
 * What can be found wrong without a connection is reported here, so that a
 * script's mistake does not depend on whether the daemon runs.
 */
#include "cli/cli.h"
#include "cli/verbs/publish.h"
#include "daemon/config/config.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS 30000

static const char help_text[] =
    "Usage: mqtt-spool publish -t TOPIC (-m TEXT | -f FILE | -l | -s) [OPTION]...\n"
    "\n"
    "Hands messages to the daemon. With QoS 1 it ends when each one is on the\n"
    "gateway's disk.\n"
    "\n"
    "  -t TOPIC              topic\n"
    "  -m TEXT               the message\n"
    "  -f FILE               the message is this file\n"
    "  -l                    one message for each line of standard input\n"
    "  -s                    the message is all of standard input\n"
    "  -q 0|1                quality of service (default 1)\n"
    "      --retain          ask the broker to keep the message for later subscribers\n"
    "  -i CLIENT_ID          client id, shown in outcome records\n"
    "  -V 4|5                MQTT version: 5 (default), or 4, also written 311\n"
    "      --expiry SPAN     it expires after so many seconds, or 10m, 2h, 1d\n"
    "      --content-type TEXT\n"
    "      --response-topic TOPIC\n"
    "      --correlation TEXT\n"
    "      --payload-format utf8\n"
    "      --user NAME=VALUE user property; may be repeated\n"
    "      --ref TEXT        your own reference: comes back in the outcome record\n"
    "      --timeout SPAN    longest wait for the daemon to answer (default 30s)\n"
    "      --socket PATH     the daemon's socket, instead of the configured one\n"
    "      --json            one JSON object for each message\n"
    "  -v                    print \"accepted id=N\" for each message\n"
    "\n"
    "Exit codes: 0 all accepted; 65 refused for its topic, size or format; 69 no\n"
    "daemon, or an answer cannot be printed; 75 try again; 77 not allowed. The first\n"
    "message that fails decides.\n";

enum {
    OPTION_RETAIN = 256,
    OPTION_EXPIRY,
    OPTION_CONTENT_TYPE,
    OPTION_RESPONSE_TOPIC,
    OPTION_CORRELATION,
    OPTION_PAYLOAD_FORMAT,
    OPTION_USER,
    OPTION_REF,
    OPTION_TIMEOUT,
    OPTION_SOCKET,
    OPTION_JSON
};

static const struct option long_options[] = {
    {"retain", no_argument, NULL, OPTION_RETAIN},
    {"expiry", required_argument, NULL, OPTION_EXPIRY},
    {"content-type", required_argument, NULL, OPTION_CONTENT_TYPE},
    {"response-topic", required_argument, NULL, OPTION_RESPONSE_TOPIC},
    {"correlation", required_argument, NULL, OPTION_CORRELATION},
    {"payload-format", required_argument, NULL, OPTION_PAYLOAD_FORMAT},
    {"user", required_argument, NULL, OPTION_USER},
    {"ref", required_argument, NULL, OPTION_REF},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"json", no_argument, NULL, OPTION_JSON},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"config", optional_argument, NULL, 'c'},
    {NULL, 0, NULL, 0},
};

static int
set_source(struct publish_options *options, enum publish_source source, const char *text)
{
    if (options->source != PUBLISH_NOTHING)
        return cli_usage("publish", "give just one of -m, -f, -l and -s");
    options->source = source;
    options->text_or_file = text;
    return CLI_CONTINUE;
}

static int set_qos(struct publish_options *options, const char *text)
{
    if (strcmp(text, "2") == 0) {
        cli_error("this tool does not publish with QoS 2: use -q 1, which is as durable, "
                  "a message can only arrive twice after a failure");
        return EX_DATAERR;
    }
    if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return cli_usage("publish", "-q is 0 or 1, not \"%s\"", text);
    options->qos = text[0] == '1';
    return CLI_CONTINUE;
}

static int set_version(struct publish_options *options, const char *text)
{
    if (strcmp(text, "5") == 0)
        options->version = 5;
    else if (strcmp(text, "4") == 0 || strcmp(text, "311") == 0)
        options->version = 4;
    else
        return cli_usage("publish", "-V is 5, or 4 (also 311) for MQTT 3.1.1, not \"%s\"",
                         text);
    return CLI_CONTINUE;
}

/* A span with its unit, or a bare number of seconds. */
static bool parse_span(const char *text, uint64_t *ret_ms)
{
    uint64_t seconds;

    if (!cli_parse_number(text, 0, UINT32_MAX, &seconds))
        return config_parse_time(text, ret_ms);
    *ret_ms = seconds * 1000;
    return true;
}

static int set_expiry(struct publish_options *options, const char *text)
{
    uint64_t span_ms;

    if (!parse_span(text, &span_ms) || span_ms < 1000 || span_ms / 1000 > UINT32_MAX)
        return cli_usage("publish",
                         "--expiry is 1 to %u seconds, or a span like 10m, not \"%s\"",
                         UINT32_MAX, text);
    options->expiry_s = (uint32_t)(span_ms / 1000);
    return CLI_CONTINUE;
}

static int set_timeout(struct publish_options *options, const char *text)
{
    uint64_t span_ms;

    if (!parse_span(text, &span_ms) || span_ms == 0 || span_ms > INT32_MAX)
        return cli_usage("publish", "--timeout is a span like 30s, not \"%s\"", text);
    options->timeout_ms = span_ms;
    return CLI_CONTINUE;
}

static int add_user_option(struct publish_options *options, const char *text)
{
    const char *equals = strchr(text, '=');

    if (!equals || equals == text)
        return cli_usage("publish", "--user takes NAME=VALUE, not \"%s\"", text);
    options->user_properties[options->user_property_count++] = text;
    return CLI_CONTINUE;
}

static int set_property(struct publish_options *options, int option, const char *text)
{
    switch (option) {
    case OPTION_EXPIRY:
        return set_expiry(options, text);
    case OPTION_USER:
        return add_user_option(options, text);
    case OPTION_PAYLOAD_FORMAT:
        if (strcmp(text, "utf8") != 0)
            return cli_usage("publish", "--payload-format is utf8, not \"%s\"", text);
        options->is_utf8 = true;
        return CLI_CONTINUE;
    case OPTION_CONTENT_TYPE:
        options->content_type = text;
        return CLI_CONTINUE;
    case OPTION_RESPONSE_TOPIC:
        options->response_topic = text;
        return CLI_CONTINUE;
    case OPTION_CORRELATION:
        options->correlation = text;
        return CLI_CONTINUE;
    case OPTION_REF:
        options->ref = text;
        return CLI_CONTINUE;
    default:
        return cli_usage("publish", "wrong option");
    }
}

static int set_option(struct publish_options *options, int option, const char *text)
{
    switch (option) {
    case 't':
        options->topic = text;
        return CLI_CONTINUE;
    case 'm':
        return set_source(options, PUBLISH_TEXT, text);
    case 'f':
        return set_source(options, PUBLISH_FILE, text);
    case 'l':
        return set_source(options, PUBLISH_LINES, NULL);
    case 's':
        return set_source(options, PUBLISH_INPUT, NULL);
    case 'q':
        return set_qos(options, text);
    case 'i':
        options->client_id = text;
        return CLI_CONTINUE;
    case 'V':
        return set_version(options, text);
    case OPTION_TIMEOUT:
        return set_timeout(options, text);
    case OPTION_SOCKET:
        options->socket = text;
        return CLI_CONTINUE;
    case OPTION_RETAIN:
        options->is_retained = true;
        return CLI_CONTINUE;
    case OPTION_JSON:
        options->is_json = true;
        return CLI_CONTINUE;
    case 'v':
        options->is_verbose = true;
        return CLI_CONTINUE;
    case 'h':
        return cli_help(help_text);
    case 'c':
        return cli_misplaced_config("publish");
    default:
        return set_property(options, option, text);
    }
}

static bool has_properties(const struct publish_options *options)
{
    return options->expiry_s > 0 || options->content_type || options->response_topic ||
           options->correlation || options->is_utf8 || options->ref ||
           options->user_property_count > 0;
}

static int check_options(const struct publish_options *options)
{
    if (!options->topic)
        return cli_usage("publish", "-t TOPIC is missing");
    if (options->source == PUBLISH_NOTHING)
        return cli_usage("publish", "nothing to publish: give one of -m, -f, -l and -s");
    if (options->version == 4 && has_properties(options))
        return cli_usage("publish",
                         "--expiry, --ref and the other properties need MQTT 5 (-V 5)");
    return CLI_CONTINUE;
}

int publish_parse(int argc, char **argv, struct publish_options *ret)
{
    int option;

    *ret = (struct publish_options){
        .version = 5,
        .qos = 1,
        .timeout_ms = DEFAULT_TIMEOUT_MS,
        .user_properties = calloc((size_t)argc, sizeof(char *)),
    };
    if (!ret->user_properties) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    while ((option = getopt_long(argc, argv, ":t:m:f:lsq:i:V:vhc", long_options, NULL)) != -1) {
        int code = option == ':' || option == '?' ? cli_invalid_option("publish", option, argv)
                                                  : set_option(ret, option, optarg);

        if (code != CLI_CONTINUE)
            return code;
    }
    if (optind < argc)
        return cli_usage("publish", "what is \"%s\"? A message is given with -m", argv[optind]);
    return check_options(ret);
}

int publish_configure(const struct cli *cli,
                      struct publish_options *options,
                      struct config **ret_config)
{
    static const char *const needed[] = {"listen.socket", NULL};
    int code;

    if (options->socket)
        return CLI_CONTINUE;
    code = cli_find_socket(cli, needed, "--socket PATH", CLI_IF_LISTENING, ret_config,
                           &options->socket);
    if (code != EX_OK)
        return code;
    if (*ret_config)
        options->max_packet = (*ret_config)->listen.max_packet;
    return CLI_CONTINUE;
}
