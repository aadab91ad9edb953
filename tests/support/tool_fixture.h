/* SPDX-License-Identifier: MIT */
/*
 * tool_fixture.h - runs a verb of the tool in this process and keeps what it prints
 *
 * For the tests of cli/ only; each test program includes it once. The standard
 * descriptors are replaced while the verb runs, and only then, so an assertion
 * of a test is printed as always.
 */
#ifndef MQTT_SPOOLD_TESTS_TOOL_FIXTURE_H
#define MQTT_SPOOLD_TESTS_TOOL_FIXTURE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cli.h"

#define TOOL_WORDS_MAX  32
#define TOOL_OUTPUT_MAX (256 * 1024)

struct tool {
    const char *config_path; /* of -c */
    const char *input;       /* standard input; NULL: /dev/null */
    size_t input_size;       /* 0: input is a text */
    const char *output;      /* standard output goes to this file; NULL: to out */
    int code;
    bool output_failed; /* as main() sees it after the verb */
    char out[TOOL_OUTPUT_MAX];
    char err[TOOL_OUTPUT_MAX];
};

typedef int tool_verb(const struct cli *cli, int argc, char **argv);

struct tool_streams {
    int saved[3];
    int new[3];
};

static inline void tool_redirect(const struct tool *tool, struct tool_streams *streams)
{
    size_t size = 0;

    if (tool->input)
        size = tool->input_size > 0 ? tool->input_size : strlen(tool->input);
    streams->new[0] = memfd_create("stdin", MFD_CLOEXEC);
    streams->new[1] = tool->output ? open(tool->output, O_WRONLY | O_CLOEXEC)
                                   : memfd_create("stdout", MFD_CLOEXEC);
    streams->new[2] = memfd_create("stderr", MFD_CLOEXEC);
    if (size > 0)
        assert_int_equal(write(streams->new[0], tool->input, size), size);
    assert_int_equal(lseek(streams->new[0], 0, SEEK_SET), 0);
    (void)fflush(stdout);
    for (int fd = 0; fd < 3; fd++) {
        assert_true(streams->new[fd] >= 0);
        streams->saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        assert_true(streams->saved[fd] >= 0);
    }
    for (int fd = 0; fd < 3; fd++)
        (void)dup2(streams->new[fd], fd);
}

static inline void tool_read_back(int fd, char *text)
{
    ssize_t size = pread(fd, text, TOOL_OUTPUT_MAX - 1, 0);

    text[size > 0 ? size : 0] = '\0';
    assert_true(size < TOOL_OUTPUT_MAX - 1);
}

static inline void tool_restore(struct tool *tool, struct tool_streams *streams)
{
    tool->output_failed = fflush(stdout) != 0 || ferror(stdout);
    __fpurge(stdout); /* what could not be written */
    clearerr(stdout);
    for (int fd = 0; fd < 3; fd++) {
        (void)dup2(streams->saved[fd], fd);
        (void)close(streams->saved[fd]);
    }
    tool->out[0] = '\0';
    if (!tool->output)
        tool_read_back(streams->new[1], tool->out);
    tool_read_back(streams->new[2], tool->err);
    for (int fd = 0; fd < 3; fd++)
        (void)close(streams->new[fd]);
}

/* @words: the verb and its arguments, ended by NULL. */
static inline int tool_run(struct tool *tool, tool_verb *verb, const char *const *words)
{
    struct cli cli = {.config_path = tool->config_path};
    struct tool_streams streams;
    char *argv[TOOL_WORDS_MAX + 1] = {NULL};
    char *order[TOOL_WORDS_MAX + 1];
    int argc = 0;

    for (; words[argc]; argc++) {
        assert_true(argc < TOOL_WORDS_MAX);
        argv[argc] = strdup(words[argc]);
        assert_non_null(argv[argc]);
    }
    memcpy(order, argv, sizeof(order)); /* getopt changes the order */
    tool_redirect(tool, &streams);
    optind = 0;
    tool->code = verb(&cli, argc, argv);
    tool_restore(tool, &streams);
    for (int i = 0; i < argc; i++)
        free(order[i]);
    return tool->code;
}

#define TOOL_RUN(tool, verb, ...) tool_run(tool, verb, (const char *[]){__VA_ARGS__, NULL})

static inline void
tool_expect_text(const char *text, const char *part, bool wanted, const char *file, int line)
{
    if ((strstr(text, part) != NULL) == wanted)
        return;
    print_error("%s \"%s\" in:\n%s\n", wanted ? "there is no" : "there is", part, text);
    _fail(file, line);
}

#define assert_contains(text, part) tool_expect_text(text, part, true, __FILE__, __LINE__)
#define assert_lacks(text, part)    tool_expect_text(text, part, false, __FILE__, __LINE__)

static inline unsigned tool_count_lines(const char *text)
{
    unsigned count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static inline struct tool *tool_new(void)
{
    struct tool *tool = calloc(1, sizeof(*tool));

    assert_non_null(tool);
    return tool;
}

/* A file of @text in @directory, where that is made; returns @path. */
static inline char *
tool_write(char path[static 256], const char *directory, const char *name, const char *text)
{
    FILE *file;

    (void)snprintf(path, 256, "%s/%s", directory, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

#endif
