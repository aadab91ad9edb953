/* SPDX-License-Identifier: MIT */
/*
 * replay.c - feeds every file of a folder to a fuzz target: "replay FOLDER"
 *
 * So the corpus is a regression test in each build, with any compiler. Prints TAP;
 * the target aborts at a broken promise, and the plan then shows that files are
 * missing.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/fuzz/promise.h"

enum { FILE_MAX_BYTES = 1 << 20 };

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Copies the input to memory of its exact size, so that the address sanitizer detects a read
 * beyond it. */
static void feed(const uint8_t *content, size_t size)
{
    AUTO_FREE uint8_t *exact = malloc(size > 0 ? size : 1);

    if (!exact)
        abort();
    memcpy(exact, content, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
}

static bool replay(const char *folder, const char *name)
{
    static uint8_t content[FILE_MAX_BYTES];
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return false;
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    size_t size = fread(content, 1, sizeof(content), file);
    bool whole = ferror(file) == 0 && feof(file) != 0;
    if (fclose(file) != 0 || !whole)
        return false;
    feed(content, size);
    return true;
}

int main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    int count = argc == 2 ? scandir(argv[1], &entries, is_visible, alphasort) : -1;

    if (count <= 0) {
        (void)fprintf(stderr, "replay: no files; give one folder that has some\n");
        return 2;
    }
    (void)printf("1..%d\n", count);
    int failed = 0;
    for (int i = 0; i < count; i++) {
        bool ok = replay(argv[1], entries[i]->d_name);

        (void)printf("%s %d - %s\n", ok ? "ok" : "not ok", i + 1, entries[i]->d_name);
        (void)fflush(stdout);
        failed += ok ? 0 : 1;
        free(entries[i]);
    }
    free(entries);
    return failed == 0 ? 0 : 1;
}
