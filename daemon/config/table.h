/* SPDX-License-Identifier: MIT */
/*
 * table.h - inside the configuration module: the table of keys, and the checks
 *
 * Only the sources of the module include this. Logs nothing. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_TABLE_H
#define MQTT_SPOOLD_DAEMON_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "daemon/config/config.h"

/* In brackets: the type of the member of struct config. */
enum config_kind {
    CONFIG_KIND_SIZE,    /* "64k", or a plain number of bytes [uint64_t] */
    CONFIG_KIND_TIME,    /* "10s" [uint64_t, milliseconds] */
    CONFIG_KIND_COUNT,   /* whole number [uint64_t] */
    CONFIG_KIND_UINT,    /* whole number [unsigned] */
    CONFIG_KIND_INT,     /* whole number that may be negative [int] */
    CONFIG_KIND_MODE,    /* "0660" [mode_t] */
    CONFIG_KIND_BOOL,    /* [bool] */
    CONFIG_KIND_CHOICE,  /* one of a few words [an enumeration or int] */
    CONFIG_KIND_STRING,  /* [char *] */
    CONFIG_KIND_STRINGS, /* list of strings [char ** and its count, a size_t] */
    CONFIG_KIND_GROUPS   /* list of groups [none: lanes.c and access.c read them] */
};

enum {
    CONFIG_REQUIRED = 1 << 0,   /* no default: the file must set it */
    CONFIG_RELOADS = 1 << 1,    /* HUP applies a new value */
    CONFIG_NOT_YET = 1 << 2,    /* only its default is accepted; has no member */
    CONFIG_OR_ZERO = 1 << 3,    /* 0 is accepted besides the range: none, or never */
    CONFIG_HIDES_USER = 1 << 4, /* of a wrong text only what begins with @ is shown */
    CONFIG_OR_NUMBER = 1 << 5,  /* of a text: a number may stand without quotes */
    CONFIG_EXPANDS = 1 << 6     /* of a text: %H, %m and %% are replaced */
};

struct config_choice {
    const char *word;
    int value;
};

/* Return: NULL, or what is wrong with @text: "must ...". */
typedef const char *config_check_fn(const char *text);

struct config_key {
    const char *path;
    enum config_kind kind;
    unsigned flags;
    const char *value; /* the default in the form of the file; NULL: none */
    uint64_t min;      /* of the value; bytes of a string, elements of a list */
    uint64_t max;
    size_t offset;       /* of the member in struct config, or that of its list */
    size_t count_offset; /* of the number of strings */
    const struct config_choice *choices;
    const char *note; /* shown behind the choices; NULL: none */
    config_check_fn *check;
};

#define CONFIG_KEYS_MAX  80 /* rows of the table */
#define CONFIG_PATH_MAX  64 /* of a dotted key, with its terminator */
#define CONFIG_FILE_MAX  ((size_t)1024 * 1024)
#define CONFIG_DEPTH_MAX 10 /* of nested includes */

extern const struct config_key config_keys[];
extern const size_t config_key_count;
/* The keys of one lane, "lanes.name" and so on. */
extern const struct config_key config_lane_keys[];
extern const size_t config_lane_key_count;
/* The keys of one entry of the access list, "access.user" and so on. */
extern const struct config_key config_access_keys[];
extern const size_t config_access_key_count;

/* NULL: there is no such key. */
const struct config_key *config_key_find(const char *path);
/* Of one of the tables of lists. */
const struct config_key *
config_key_find_in(const struct config_key *keys, size_t count, const char *path);
size_t config_key_index(const struct config_key *key);
/* Is the key @path in @group, such as "uplink" or "uplink.tls"? */
bool config_key_is_in(const char *path, const char *group);
/* Is it a group of keys? */
bool config_key_is_group(const char *path);
/* The key or group that @path may be a misspelling of. False: nothing is near. */
bool config_key_nearest(const char *path, char ret_near[static CONFIG_PATH_MAX]);
/* The value of @word. False: not one of the choices. */
bool config_key_choice(const struct config_key *key, const char *word, int *ret_value);
/* "must be ...": the form of the values of @key. */
void config_key_demand(const struct config_key *key, char *text, size_t size);
/* A number of @key in the form of the file: 65536 as 64k, 10000 as 10s. */
void config_key_number(const struct config_key *key, uint64_t number, char *text, size_t size);

/*
 * config_read_text() - read a whole text file
 * @ret_text: terminated; the caller frees it
 *
 * Return: NULL, or what is wrong with the file (a literal or of strerror());
 * config_no_memory, compared as a pointer, is not an error of the file.
 */
extern const char config_no_memory[];
const char *config_read_text(const char *path, char **ret_text);

/*
 * config_scan() - find in @text what libconfig would misread without an error, or exit on
 * @file: name of @text in errors; @folder: of its includes
 * @error: set unless 0 is returned
 *
 * Follows @include.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
MUST_CHECK int config_scan(const char *file,
                           const char *folder,
                           const char *text,
                           char error[static CONFIG_ERROR_MAX]);

/* Such a number is refused everywhere but in a mode: it may be meant as octal. */
static inline bool config_has_leading_zero(const char *text)
{
    return text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

/* The number of a user or group: decimal, in the 32 bits of the kernel, in which -1 is none.
 * False: @text is something else; @ret_id is untouched. */
bool config_parse_account(const char *text, unsigned *ret_id);

/* Checks of single texts, for the table. */
const char *config_check_absolute(const char *text);
const char *config_check_read_file(const char *text);
const char *config_check_alpn(const char *text);
const char *config_check_directory(const char *text);
const char *config_check_socket(const char *text);
const char *config_check_broker(const char *text);
const char *config_check_mqtt_text(const char *text);
/* Of no proxy at all: says why. */
const char *config_check_proxy(const char *text);
const char *config_check_prefix(const char *text);
const char *config_check_lane_name(const char *text);
const char *config_check_filter(const char *text);
const char *config_check_account(const char *text);

/* Changes SSL:// to ssl://, so that no other module needs to know that both are equal. */
void config_lower_schemes(struct config *config);

/* Takes the errors of the checks below: @refuse gets the key at fault, another one that it does
 * not go together with (NULL: none), and what is wrong. The place of the error is that of the
 * other key if no file sets the first. It returns 0 if the error is passed over, and the check
 * continues; else the check returns what it returned. */
struct config_errors {
    int (*refuse)(void *userdata, const char *key, const char *other, const char *why);
    void *userdata;
};

/* Do the values go together? */
MUST_CHECK int config_check_all(const struct config *config,
                                const struct config_errors *errors);

/* Does what @config names exist in the system? */
MUST_CHECK int config_check_system(const struct config *config,
                                   const struct config_errors *errors);

/* paths.c: are the files different that the keys name, and @sources, those of the
 * configuration, the main one first? Return: also -ENOMEM. */
MUST_CHECK int config_check_paths(const struct config *config,
                                  char *const *sources,
                                  size_t source_count,
                                  const struct config_errors *errors);

/*
 * config_expand() - replace %H (host name), %m (machine id) and %% in *@text
 * @check: of the result; NULL: none
 * @why:   what is wrong, unless 0 is returned
 *
 * Return: 0; -EINVAL; -ENOMEM. *@text is replaced only with 0.
 */
MUST_CHECK int
config_expand(char **text, config_check_fn *check, char why[static CONFIG_ERROR_MAX]);

/* The same for the texts of the table that may hold them; without those of the lanes. A text
 * that is passed over stays as it is. Return: also -ENOMEM. */
MUST_CHECK int config_expand_all(struct config *config, const struct config_errors *errors);
/* credentials.c: replaces %d in the paths of files that are read. Return: 0; -ENOMEM. */
MUST_CHECK int config_expand_credentials(struct config *config);

#endif
