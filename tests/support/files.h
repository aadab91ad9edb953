/* SPDX-License-Identifier: MIT */
/*
 * files.h - a folder for the files of one test, and what is in them
 *
 * For unit tests only; include it after cmocka.h. Every failure is one of the
 * test. write(2) and read(2) are not called here, because tests replace them.
 */
#ifndef MQTT_SPOOLD_TESTS_FILES_H
#define MQTT_SPOOLD_TESTS_FILES_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#define FILES_PATH_MAX 64 /* so that a socket in it has room for its name */

struct files_text {
    char *memory; /* terminated; free() it */
    size_t size;
};

/* A new folder /tmp/@name.XXXXXX. */
static inline void files_make_folder(char folder[static FILES_PATH_MAX], const char *name)
{
    (void)snprintf(folder, FILES_PATH_MAX, "/tmp/%s.XXXXXX", name);
    assert_non_null(mkdtemp(folder));
}

static inline int
files_remove_one(const char *path, const struct stat *status, int type, struct FTW *level)
{
    (void)status;
    (void)type;
    (void)level;
    return remove(path);
}

/* With all that is in it. */
static inline void files_remove_folder(const char *folder)
{
    assert_int_equal(nftw(folder, files_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline off_t files_size(const char *path)
{
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    return status.st_size;
}

static inline struct files_text files_read(const char *path)
{
    struct files_text text = {.size = (size_t)files_size(path)};
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    text.memory = malloc(text.size + 1);
    assert_non_null(text.memory);
    assert_int_equal(fread(text.memory, 1, text.size, file), text.size);
    text.memory[text.size] = '\0';
    (void)fclose(file);
    return text;
}

static inline void files_put(const char *path, const char *mode, const void *data, size_t size)
{
    FILE *file = fopen(path, mode);

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void files_append(const char *path, const void *data, size_t size)
{
    files_put(path, "ae", data, size);
}

static inline void files_write(const char *path, const void *data, size_t size)
{
    files_put(path, "we", data, size);
}

#endif
