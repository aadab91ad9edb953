/* SPDX-License-Identifier: MIT */
/*
 * power_replay.c - disks as a power cut may have left them, out of a recorder's log
 *
 *   power_replay LOG
 *
 * reads orders from its standard input, one a line, and answers each with one line:
 *
 *   CUT SEED DISK FOLDER  ->  ok WORDS | error WORDS
 *
 * The first CUT records have happened; FOLDER, which is emptied first, then holds what the disk
 * may hold. The same order makes the same image. DISK is "honest" or one of the controls:
 *
 *   lying      confirms a sync and keeps what it was given in a cache for a while: the syncs
 *              among the last LIE_STEPS records did nothing
 *   deaf:NAME  as if the program had never synced this file or folder
 *
 * The model
 *
 * - What a file held at its last fsync or fdatasync is on the disk, with its size.
 * - Of what was written and cut since then, any part may be there. For each file one of six
 * ways: nothing, everything, the first so many calls, each call or not (so later calls without
 * earlier ones), each 512-byte sector of each call or not (torn), and the last once more with
 * the size of all calls, so that the file ends in zeros where data did not come. A sector that
 * is not there holds what it held before, or zeros behind the old end.
 * - A name is on the disk when its folder was synced, and not before: to sync the file itself
 * is not enough. Of the creations, renames and removals in a folder since then the first so
 * many have happened, in their order, as on every file system with a journal. Folders do not
 * wait for one another.
 * - A sector is whole or not there. Neighbours of what is written keep what they hold, as
 * SQLite supposes too (powersafe overwrite).
 *
 * All nodes of an image are built anew from the log, which is mapped: pending calls are indices
 * of records, so that only what is synced or kept is copied.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "power_record.h"
#include "tests/support/power_record.h"

enum {
    SECTOR = 512,
    NODES_MAX = 4096,
    NAME_MAX_BYTES = 256,
    ENTRIES_MAX = 64,
    LIE_STEPS = 100,
};

/* A record in the mapped log. */
struct step {
    struct power_head head;
    const unsigned char *data;
    char *name;     /* of what is made, renamed or removed */
    char *new_name; /* of a rename */
};

struct entry {
    char name[NAME_MAX_BYTES]; /* within its folder */
    struct node *node;
};

struct entries {
    struct entry all[ENTRIES_MAX];
    size_t count;
};

struct node {
    const char *name; /* the newest, for "deaf" */
    uint64_t inode;
    bool is_folder;
    /* a file: what is on the disk for certain */
    unsigned char *bytes;
    size_t size;
    size_t room;
    /* a folder: the names on the disk, and those that programs see */
    struct entries *synced;
    struct entries *seen;
    /* indices of steps since the last sync */
    size_t *pending;
    size_t pending_count;
    size_t pending_room;
    struct node **made; /* a folder: per pending step, the node it creates or NULL */
};

static struct step *steps;
static size_t step_count;
static struct node *nodes[NODES_MAX];
static size_t node_count;
static struct node *root;
static uint64_t dice;
static size_t lies_from;    /* steps from here on sync nothing */
static const char *deaf_to; /* or NULL */
static bool is_begun;
static char words[1024];

/* ---- small things ---- */

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "power_replay: %s: %s\n", what, name);
    exit(1);
}

static void *grown(void *old, size_t size)
{
    void *new = realloc(old, size);

    if (!new)
        fail("memory", "out of it");
    return new;
}

/* splitmix64 */
static uint64_t throw_dice(void)
{
    uint64_t z = dice += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(size_t limit)
{
    return (size_t)(throw_dice() % limit);
}

static bool toss(void)
{
    return throw_dice() >> 63;
}

/* ---- the log ---- */

static void read_names(struct step *step)
{
    const char *names = (const char *)step->data;

    switch (step->head.kind) {
    case POWER_RENAME:
        step->name = strndup(names, step->head.size);
        step->new_name =
            strndup(names + strlen(step->name) + 1, step->head.size - strlen(step->name) - 1);
        break;
    case POWER_CREATE:
    case POWER_MKDIR:
    case POWER_UNLINK:
        step->name = strndup(names, step->head.size);
        break;
    default:
        break;
    }
}

static void read_log(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t at = 0, room = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        fail(path, strerror(errno));
    const unsigned char *log = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (log == MAP_FAILED)
        fail(path, strerror(errno));
    while (at + sizeof(steps->head) <= (size_t)st.st_size) {
        struct step step = {0};

        memcpy(&step.head, log + at, sizeof(step.head));
        step.data = log + at + sizeof(step.head);
        at += sizeof(step.head) + step.head.size;
        if (step.head.magic != POWER_MAGIC || at > (size_t)st.st_size)
            fail(path, "not a log of the recorder");
        if (step_count == room) {
            room = room ? room * 2 : 1024;
            steps = grown(steps, room * sizeof(*steps));
        }
        read_names(&step);
        steps[step_count++] = step;
    }
    (void)close(fd);
}

/* ---- nodes ---- */

static struct node *new_node(uint64_t inode, const char *name, bool is_folder)
{
    if (node_count == NODES_MAX)
        fail("nodes", "too many");
    struct node *node = grown(NULL, sizeof(*node));
    *node = (struct node){.name = name, .inode = inode, .is_folder = is_folder};
    if (is_folder) {
        node->synced = grown(NULL, sizeof(*node->synced));
        node->seen = grown(NULL, sizeof(*node->seen));
        node->synced->count = node->seen->count = 0;
    }
    return nodes[node_count++] = node;
}

static void forget_nodes(void)
{
    for (size_t i = 0; i < node_count; i++) {
        free(nodes[i]->bytes);
        free(nodes[i]->synced);
        free(nodes[i]->seen);
        free(nodes[i]->pending);
        free(nodes[i]->made);
        free(nodes[i]);
    }
    node_count = 0;
    root = NULL;
}

/* The newest: an inode's number may be used again. */
static struct node *node_of(uint64_t inode)
{
    for (size_t i = node_count; i-- > 0;) {
        if (nodes[i]->inode == inode)
            return nodes[i];
    }
    fail("a record", "of a file whose creation is not in the log");
    return NULL;
}

static struct node *file_of(uint64_t inode)
{
    struct node *node = node_of(inode);

    if (node->is_folder)
        fail("a record", "that writes into a folder");
    return node;
}

static void add_pending(struct node *node, size_t index, struct node *made)
{
    if (node->pending_count == node->pending_room) {
        node->pending_room = node->pending_room ? node->pending_room * 2 : 64;
        node->pending = grown(node->pending, node->pending_room * sizeof(*node->pending));
        if (node->is_folder)
            node->made = grown(node->made, node->pending_room * sizeof(struct node *));
    }
    if (node->is_folder)
        node->made[node->pending_count] = made;
    node->pending[node->pending_count++] = index;
}

/* ---- names ---- */

static struct entry *find(struct entries *entries, const char *name)
{
    for (size_t i = 0; i < entries->count; i++) {
        if (strcmp(entries->all[i].name, name) == 0)
            return &entries->all[i];
    }
    return NULL;
}

static void put(struct entries *entries, const char *name, struct node *node)
{
    struct entry *entry = find(entries, name);

    if (!entry) {
        if (entries->count == ENTRIES_MAX || strlen(name) >= NAME_MAX_BYTES)
            fail("a folder", "too many or too long names");
        entry = &entries->all[entries->count++];
        memcpy(entry->name, name, strlen(name) + 1);
    }
    entry->node = node;
}

static void take_away(struct entries *entries, const char *name)
{
    struct entry *entry = find(entries, name);

    if (entry)
        *entry = entries->all[--entries->count];
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The folder that @path lies in, as programs see it. */
static struct node *folder_of(const char *path)
{
    struct node *folder = root;
    char part[NAME_MAX_BYTES];
    const char *slash;

    while (folder && (slash = strchr(path, '/'))) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        struct entry *entry = find(folder->seen, part);
        folder = entry ? entry->node : NULL;
        path = slash + 1;
    }
    if (!folder || !folder->is_folder)
        fail("a folder that is not in the log", path);
    return folder;
}

/* What a step does to the names of its folder. */
static void change_names(struct entries *entries, const struct step *step, struct node *made)
{
    const char *name = last_part(step->name);
    struct entry *entry = find(entries, name);

    if (step->head.kind == POWER_UNLINK) {
        take_away(entries, name);
    } else if (step->head.kind == POWER_RENAME) {
        if (!entry)
            fail("a rename of what is not there", name);
        struct node *moved = entry->node;
        take_away(entries, name);
        put(entries, last_part(step->new_name), moved);
    } else {
        put(entries, name, made);
    }
}

static void do_names(size_t index)
{
    const struct step *step = &steps[index];
    struct node *made = NULL;

    if (step->head.kind == POWER_CREATE || step->head.kind == POWER_MKDIR)
        made = new_node(step->head.object, step->name, step->head.kind == POWER_MKDIR);
    if (*step->name == '\0') { /* the recorded folder itself */
        root = made;
        return;
    }
    struct node *folder = folder_of(step->name);
    struct entry *entry = find(folder->seen, last_part(step->name));
    if (step->head.kind == POWER_RENAME && folder_of(step->new_name) != folder)
        fail("a rename into another folder", step->new_name);
    if (step->head.kind == POWER_RENAME && entry)
        entry->node->name = step->new_name;
    change_names(folder->seen, step, made);
    add_pending(folder, index, made);
}

/* ---- content ---- */

static void set_size(struct node *node, size_t size)
{
    if (size > node->room) {
        node->room = size + size / 2 + 4096;
        node->bytes = grown(node->bytes, node->room);
    }
    if (size > node->size)
        memset(node->bytes + node->size, 0, size - node->size);
    node->size = size;
}

static void write_part(struct node *node, const struct step *step, size_t from, size_t size)
{
    size_t end = step->head.offset + from + size;

    if (end > node->size)
        set_size(node, end);
    memcpy(node->bytes + step->head.offset + from, step->data + from, size);
}

static void write_whole(struct node *node, const struct step *step)
{
    if (step->head.kind == POWER_TRUNCATE)
        set_size(node, step->head.offset);
    else
        write_part(node, step, 0, step->head.size);
}

static void write_torn(struct node *node, const struct step *step)
{
    size_t from = 0;

    if (step->head.kind == POWER_TRUNCATE) {
        if (toss())
            write_whole(node, step);
        return;
    }
    while (from < step->head.size) {
        size_t size = SECTOR - (step->head.offset + from) % SECTOR;

        if (size > step->head.size - from)
            size = step->head.size - from;
        if (toss())
            write_part(node, step, from, size);
        from += size;
    }
}

/* Where the file ends for who wrote it. */
static size_t size_seen(const struct node *node)
{
    size_t size = node->size;

    for (size_t i = 0; i < node->pending_count; i++) {
        const struct power_head *head = &steps[node->pending[i]].head;

        if (head->kind == POWER_TRUNCATE)
            size = head->offset;
        else if (head->offset + head->size > size)
            size = head->offset + head->size;
    }
    return size;
}

static void sync_names(struct node *folder, size_t count)
{
    for (size_t i = 0; i < count; i++)
        change_names(folder->synced, &steps[folder->pending[i]], folder->made[i]);
    folder->pending_count = 0;
}

static void sync_node(struct node *node, size_t index)
{
    /* What was there when the recording began is on the disk in any case. */
    if (index >= lies_from || (deaf_to && strcmp(node->name, deaf_to) == 0 && is_begun))
        return;
    if (node->is_folder) {
        sync_names(node, node->pending_count);
        return;
    }
    for (size_t i = 0; i < node->pending_count; i++)
        write_whole(node, &steps[node->pending[i]]);
    node->pending_count = 0;
}

/* ---- the cut ---- */

static void say(const char *name, const char *way, size_t count)
{
    size_t used = strlen(words);

    if (count > 0)
        (void)snprintf(words + used, sizeof(words) - used, " %s:%s/%zu", *name ? name : ".",
                       way, count);
}

static void cut_file(struct node *node, const char *name)
{
    static const char *const ways[] = {"none", "all", "first", "some", "torn", "torn+size"};
    size_t way = below(sizeof(ways) / sizeof(*ways));
    size_t first = below(node->pending_count + 1);
    size_t size = size_seen(node);

    say(name, ways[way], node->pending_count);
    for (size_t i = 0; i < node->pending_count; i++) {
        const struct step *step = &steps[node->pending[i]];

        if (way == 1 || (way == 2 && i < first) || (way == 3 && toss()))
            write_whole(node, step);
        else if (way >= 4)
            write_torn(node, step);
    }
    if (way == 5)
        set_size(node, size);
}

static void cut_folder(struct node *folder, const char *name)
{
    size_t count = folder->pending_count;
    size_t first = toss() ? below(count + 1) : toss() ? count : 0;

    say(name, "names", count);
    sync_names(folder, first);
}

/* Over what is there already: new pages cost more than the bytes in them. */
static void write_file(int folder_fd, const char *name, const struct node *node)
{
    int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    size_t done = 0;

    if (fd < 0)
        fail(name, strerror(errno));
    while (done < node->size) {
        ssize_t n = write(fd, node->bytes + done, node->size - done);

        if (n <= 0)
            fail(name, strerror(errno));
        done += (size_t)n;
    }
    if (ftruncate(fd, (off_t)node->size) < 0)
        fail(name, strerror(errno));
    (void)close(fd);
}

static int open_folder(int folder_fd, const char *name)
{
    return openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* @wanted: what stays; NULL: nothing. */
static void clean_folder(int folder_fd, struct entries *wanted)
{
    int fd = open_folder(folder_fd, ".");

    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *found;

    if (!list)
        fail("the folder of the image", strerror(errno));
    while ((found = readdir(list))) {
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0 ||
            (wanted && find(wanted, found->d_name)))
            continue;
        int inner = open_folder(fd, found->d_name);
        if (inner >= 0) {
            clean_folder(inner, NULL);
            (void)close(inner);
        }
        if (unlinkat(fd, found->d_name, inner >= 0 ? AT_REMOVEDIR : 0) < 0)
            fail(found->d_name, strerror(errno));
    }
    (void)closedir(list);
}

static void write_folder(int folder_fd, struct node *folder, const char *name)
{
    cut_folder(folder, name);
    clean_folder(folder_fd, folder->synced);
    for (size_t i = 0; i < folder->synced->count; i++) {
        const struct entry *entry = &folder->synced->all[i];

        if (!entry->node->is_folder) {
            cut_file(entry->node, entry->name);
            write_file(folder_fd, entry->name, entry->node);
            continue;
        }
        if (mkdirat(folder_fd, entry->name, 0700) < 0 && errno != EEXIST)
            fail(entry->name, strerror(errno));
        int fd = open_folder(folder_fd, entry->name);
        if (fd < 0)
            fail(entry->name, strerror(errno));
        write_folder(fd, entry->node, entry->name);
        (void)close(fd);
    }
}

static void replay(size_t cut)
{
    for (size_t i = 0; i < cut; i++) {
        switch (steps[i].head.kind) {
        case POWER_CREATE:
        case POWER_MKDIR:
        case POWER_RENAME:
        case POWER_UNLINK:
            do_names(i);
            break;
        case POWER_WRITE:
        case POWER_TRUNCATE:
            add_pending(file_of(steps[i].head.object), i, NULL);
            break;
        case POWER_SYNC:
            sync_node(node_of(steps[i].head.object), i);
            break;
        case POWER_START:
            is_begun = true;
            break;
        default:
            break; /* it concerns no disk */
        }
    }
}

static void make_image(size_t cut, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        fail(path, strerror(errno));
    words[0] = '\0';
    is_begun = false;
    replay(cut);
    if (root)
        write_folder(fd, root, "");
    else
        clean_folder(fd, NULL);
    forget_nodes();
    (void)close(fd);
    printf("ok%s\n", words);
}

int main(int argc, char **argv)
{
    char line[4096], disk[NAME_MAX_BYTES], path[3072];
    uint64_t cut, seed;

    if (argc != 2) {
        fprintf(stderr, "usage: power_replay LOG\n");
        return 2;
    }
    read_log(argv[1]);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %255s %3071s", &cut, &seed, disk, path) !=
                4 ||
            cut > step_count) {
            printf("error cannot do this: %s", line);
        } else {
            dice = seed;
            lies_from = cut;
            if (strcmp(disk, "lying") == 0)
                lies_from = cut > LIE_STEPS ? cut - LIE_STEPS : 0;
            deaf_to = strncmp(disk, "deaf:", 5) == 0 ? disk + 5 : NULL;
            make_image((size_t)cut, path);
        }
        (void)fflush(stdout);
    }
    return 0;
}
