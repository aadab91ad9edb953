/* SPDX-License-Identifier: MIT */
/*
 * main.c - arguments, configuration, signals, the loop, the exit code
 *
 * Exit codes: 0 clean stop, 1 failure (systemd restarts), 2 usage, 78 bad
 * configuration, or a spool or a socket that needs the operator (EX_CONFIG; systemd
 * does not restart at once, because no restart helps).
 *
 * Invariant: signals are blocked before a thread exists, so only the loop takes them.
 *
 * Diagnostics: start, ready, ended, not_started, config_invalid, config_not_read,
 * config_entry_unused, reload_refused, loop_failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/reload.h"
#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/config_job.h"
#include "daemon/gateway/gateway.h"
#include "daemon/host/service.h"
#include "daemon/named_files.h"

#define EXIT_USAGE 2

struct program {
    const char *config_path;
    bool is_test;
    bool is_print;
    bool is_output_closed; /* standard output was closed at the start */
    struct gateway *gateway;
    sd_event *event;
    struct config_job *reload; /* a HUP whose file is being read; NULL: none */
    sd_event_source *reload_io;
    bool is_reload_wanted; /* another HUP came meanwhile */
};

static void print_usage(FILE *to)
{
    (void)fputs("usage: mqtt-spoold [-c FILE] [--test-config | --print-config] [--version]\n"
                "                   [--help]\n"
                "\n"
                "Takes MQTT messages on a Unix socket, commits each to disk before it\n"
                "acknowledges, and forwards them to a remote broker. Runs in the foreground.\n"
                "\n"
                "  -c, --config FILE  read FILE instead of " CONFIG_DEFAULT_PATH "\n"
                "      --test-config  check the configuration, say what is wrong, and end\n"
                "      --print-config print the values of all keys, and where each is from\n"
                "      --version      print the version and end\n"
                "  -h, --help         print this and end\n"
                "\n"
                "See mqtt-spoold(8), mqtt-spoold.conf(5), mqtt-spool(1).\n",
                to);
}

/* For a person: @text in the visible form of text.h, then @rest. */
static void print_line(FILE *to, const char *text, const char *rest)
{
    text_put(to, text);
    (void)fprintf(to, "%s\n", rest);
}

static int refuse_argument(const char *what, const char *argument)
{
    (void)fprintf(stderr, "mqtt-spoold: %s \"", what);
    print_line(stderr, argument, "\"");
    print_usage(stderr);
    return EXIT_USAGE;
}

/* Whatever was printed must have got out. Return: the exit code. */
static int end_output(const struct program *program)
{
    int error = fflush(stdout) == 0 ? 0 : errno;

    if (error == 0 && !ferror(stdout) && !program->is_output_closed)
        return EXIT_SUCCESS;
    (void)fprintf(stderr, "mqtt-spoold: cannot write the output: %s\n",
                  strerror(program->is_output_closed ? EBADF
                           : error != 0              ? error
                                                     : EIO));
    return EXIT_FAILURE;
}

/* getopt() itself would print the argument as it is. */
static int refuse_option(int option, char **argv)
{
    const char letter[] = {'-', (char)optopt, '\0'};
    bool has_letter = optopt != 0 && optopt >= SCHAR_MIN && optopt <= UCHAR_MAX;

    return refuse_argument(option == ':' ? "no value for the option" : "wrong option",
                           has_letter ? letter : argv[optind - 1]);
}

/* Return: -1: continue; else the exit code. */
static int parse_arguments(struct program *program, int argc, char **argv)
{
    enum { OPTION_TEST = 256, OPTION_PRINT, OPTION_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"test-config", no_argument, NULL, OPTION_TEST},
        {"print-config", no_argument, NULL, OPTION_PRINT},
        {"version", no_argument, NULL, OPTION_VERSION},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            program->config_path = optarg;
            break;
        case OPTION_TEST:
            program->is_test = true;
            break;
        case OPTION_PRINT:
            program->is_print = true;
            break;
        case OPTION_VERSION:
            (void)puts("mqtt-spoold " SPOOLD_VERSION);
            return end_output(program);
        case 'h':
            print_usage(stdout);
            return end_output(program);
        default:
            return refuse_option(option, argv);
        }
    }
    return optind < argc ? refuse_argument("unexpected argument", argv[optind]) : -1;
}

static void log_config_error(const struct program *program, int result, const char *error)
{
    char text[2 * CONFIG_ERROR_MAX];

    (void)log_quote(text, sizeof(text), error, strlen(error));
    if (result == -ENOMEM)
        log_error("config_not_read error=%s remedy=\"free memory; systemd starts the daemon "
                  "again\"",
                  text);
    else
        log_error("config_invalid error=%s remedy=\"correct it, check it with mqtt-spoold "
                  "--test-config, then %s\"",
                  text, program->gateway ? RELOAD_REMEDY : "start the daemon again");
}

/* Return: 0, or an exit code. If memory is short the file is not at fault: systemd tries
 * again. */
static int load_config(const struct program *program, struct config **ret)
{
    char error[CONFIG_ERROR_MAX];
    int r = program->is_test ? config_test(program->config_path, ret, error)
                             : config_load(program->config_path, ret, error);

    if (r == 0)
        return 0;
    if (program->is_test) /* as a compiler would: for a person, or an editor */
        print_line(stderr, error, "");
    else
        log_config_error(program, r, error);
    return r == -ENOMEM ? EXIT_FAILURE : EX_CONFIG;
}

/* At each reading that applies: whether anyone has seen the lines of an earlier one is not
 * known. */
static void log_config_warnings(const struct config *config)
{
    for (size_t i = 0; i < config->warning_count; i++) {
        const struct config_warning *warning = &config->warnings[i];
        char place[2 * CONFIG_ERROR_MAX];
        char reason[2 * CONFIG_ERROR_MAX];
        char remedy[CONFIG_ERROR_MAX];

        (void)log_quote(place, sizeof(place), warning->place, strlen(warning->place));
        (void)log_quote(reason, sizeof(reason), warning->text, strlen(warning->text));
        (void)log_quote(remedy, sizeof(remedy), warning->remedy, strlen(warning->remedy));
        log_warning("config_entry_unused place=%s key=%s reason=%s remedy=%s", place,
                    warning->key, reason, remedy);
    }
}

/* No warnings: a file may be switched off by its ending. */
static void print_unread(const struct config_unread *unread)
{
    for (size_t i = 0; i < unread->count; i++) {
        char text[CONFIG_ERROR_MAX];

        config_describe_unread(unread, i, text);
        print_line(stderr, text, "");
    }
}

static void print_config_warnings(const struct config *config)
{
    for (size_t i = 0; i < config->warning_count; i++) {
        const struct config_warning *warning = &config->warnings[i];

        text_put(stderr, warning->place);
        (void)fprintf(stderr, ": %s: warning: ", warning->key);
        text_put(stderr, warning->text);
        (void)fprintf(stderr, "; %s\n", warning->remedy);
    }
}

static void refuse_reload(const struct program *program, int result, const char *error)
{
    log_config_error(program, result, error);
    gateway_refuse_reload(program->gateway);
    log_warning("reload_refused configuration=unchanged remedy=\"the line before has the "
                "error: correct it, then " RELOAD_REMEDY "\"");
}

/* What the daemon would start with, and then wait for. Return: the exit code. */
static int test_files(const struct program *program, const struct config *config)
{
    print_config_warnings(config);
    print_unread(&config->unread);
    if (!named_files_print(config))
        return EX_CONFIG;
    print_line(stdout, program->config_path, ": the configuration is good");
    return end_output(program);
}

/* Return: the exit code. */
static int print_config(const struct program *program)
{
    char error[CONFIG_ERROR_MAX];
    AUTO_FREE char *text = NULL;
    int r = config_print(program->config_path, &text, error);

    if (r != 0) {
        print_line(stderr, error, "");
        return r == -ENOMEM ? EXIT_FAILURE : EX_CONFIG;
    }
    (void)fputs(text, stdout);
    return end_output(program);
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct program *program = userdata;

    (void)source;
    (void)info;
    gateway_stop(program->gateway);
    return 0;
}

static void abandon_reload(struct program *program)
{
    program->reload_io = sd_event_source_disable_unref(program->reload_io);
    config_job_abandon(program->reload);
    program->reload = NULL;
}

static void start_reload(struct program *program);

/* What was read without an error applies, unless it names other files of the link than now, and
 * these cannot be used: the next start would be without a link. */
static void
take_over(struct program *program, struct config *config, const struct named_files *files)
{
    if (files->error[0] == '\0' ||
        !named_files_differ(gateway_config(program->gateway), config)) {
        log_config_warnings(config);
        gateway_reload(program->gateway, config);
        return;
    }
    config_free(config);
    refuse_reload(program, -EINVAL, files->error);
}

/* A file with an error changes nothing: the daemon continues with the settings that it has. */
static int on_reload_read(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct program *program = userdata;
    struct config *config = NULL;
    struct named_files files;
    char error[CONFIG_ERROR_MAX];

    (void)source;
    (void)fd;
    (void)events;
    program->reload_io = sd_event_source_disable_unref(program->reload_io);
    int r = config_job_finish(program->reload, &config, &files, error);
    program->reload = NULL;
    if (r == 0)
        take_over(program, config, &files);
    else
        refuse_reload(program, r, error);
    service_ready();
    if (program->is_reload_wanted)
        start_reload(program);
    return 0;
}

/* A name service may be slow, and producers must not wait for it: the file is read on a
 * thread. */
static void start_reload(struct program *program)
{
    program->is_reload_wanted = false;
    service_reloading();
    int r = config_job_start(program->config_path, named_files_check,
                             sizeof(struct named_files), &program->reload);

    if (r == 0)
        r = sd_event_add_io(program->event, &program->reload_io, config_job_fd(program->reload),
                            EPOLLIN, on_reload_read, program);
    if (r >= 0)
        return;
    abandon_reload(program);
    refuse_reload(program, r, strerror(-r));
    service_ready();
}

/* The file may have been read before it was changed for this HUP: it is read once more. */
static int
on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct program *program = userdata;

    (void)source;
    (void)info;
    if (program->reload)
        program->is_reload_wanted = true;
    else
        start_reload(program);
    return 0;
}

/*
 * Before anything is written. SIGPIPE and SIGXFSZ become error codes of the call
 * concerned: a log whose reader is gone, or that may not grow, is no reason to
 * end. A terminal with `stty tostop` would stop a daemon in the background at
 * each line.
 */
static void ignore_signals(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* fails only for a number that is no signal */
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGTTOU, SIG_IGN);
}

/* Before Paho starts its threads, which inherit the mask: they must never take a signal. */
static int block_signals(void)
{
    sigset_t handled;

    (void)sigemptyset(&handled);
    (void)sigaddset(&handled, SIGTERM);
    (void)sigaddset(&handled, SIGINT);
    (void)sigaddset(&handled, SIGHUP);
    return sigprocmask(SIG_BLOCK, &handled, NULL) < 0 ? -errno : 0;
}

/* A shell allows 1,024 and a process may raise that; libraries with select(), which cannot
 * handle more, are not used. clients_fit() computes how many clients they are enough for. */
static void prepare_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* fails: then fewer clients are served */
}

static int add_signals(sd_event *event, struct program *program)
{
    int r = sd_event_add_signal(event, NULL, SIGTERM, on_stop, program);

    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGINT, on_stop, program);
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGHUP, on_reload, program);
    return r < 0 ? r : 0;
}

static int make_gateway(struct program *program, sd_event *event, struct config **config)
{
    int sockets[SERVICE_SOCKETS_MAX];
    int count = service_sockets(sockets);

    if (count < 0)
        return GATEWAY_E_OPERATOR;
    int r = gateway_new(event, *config, sockets, (size_t)count, &program->gateway);
    if (r == 0)
        *config = NULL;
    return r;
}

static void log_not_started(int error)
{
    log_error("not_started error=\"%s\" remedy=\"systemd starts the daemon again; if that "
              "repeats, look at the memory and the limits of the unit\"",
              strerror(-error));
}

/* Return: the exit code. */
static int serve(struct program *program, sd_event *event, struct config **config)
{
    int r = make_gateway(program, event, config);

    if (r == 0)
        r = add_signals(event, program);
    if (r == 0)
        r = service_start(event);
    if (r == 0)
        r = gateway_start(program->gateway);
    if (r == GATEWAY_E_STOPPED)
        return EXIT_SUCCESS; /* logged: what was not done */
    if (r != 0) {
        if (r < 0)
            log_not_started(r);
        else
            log_error("not_started"); /* logged before: why */
        return r == GATEWAY_E_OPERATOR ? EX_CONFIG : EXIT_FAILURE;
    }
    service_ready();
    log_notice("ready");
    r = sd_event_loop(event);
    if (r < 0)
        log_error("loop_failed error=\"%s\" remedy=\"systemd starts the daemon again; if that "
                  "repeats, look at the memory of the machine\"",
                  strerror(-r));
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(struct program *program, struct config *config)
{
    sd_event *event = NULL;
    int code = EXIT_FAILURE;
    int r = block_signals();

    prepare_descriptors();
    if (r == 0)
        r = sd_event_default(&event);
    program->event = event;
    if (r >= 0)
        code = serve(program, event, &config);
    else
        log_not_started(r);
    abandon_reload(program);
    if (gateway_free(program->gateway) < 0)
        code = EXIT_FAILURE;
    service_end();
    config_free(config);
    sd_event_unref(event);
    log_notice("ended code=%d", code);
    log_finish();
    return code;
}

/* If one of the three was closed, the next file that is opened would get its number, and the
 * log could be written into the spool. */
static bool keep_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    struct program program = {.config_path = CONFIG_DEFAULT_PATH,
                              .is_output_closed = fcntl(STDOUT_FILENO, F_GETFD) < 0};

    ignore_signals();
    if (!keep_standard_descriptors())
        return EXIT_FAILURE; /* there is nowhere to write why */
    int code = parse_arguments(&program, argc, argv);

    if (code >= 0)
        return code;
    if (program.is_print)
        return print_config(&program);
    struct config *config = NULL;
    log_open();
    code = load_config(&program, &config);
    if (code != 0) {
        log_finish();
        return code;
    }
    if (program.is_test) {
        code = test_files(&program, config);
        config_free(config);
        return code;
    }
    log_set_level((enum log_level)config->log_level);
    char text[1024];
    log_notice("start version=%s config=%s", SPOOLD_VERSION,
               log_quote(text, sizeof(text), program.config_path, strlen(program.config_path)));
    log_config_warnings(config);
    return run(&program, config);
}
