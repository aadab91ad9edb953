/* SPDX-License-Identifier: MIT */
/*
 * names.h - the files of a spool, and the head of an SQLite database
 */
#ifndef MQTT_SPOOLD_STORE_NAMES_H
#define MQTT_SPOOLD_STORE_NAMES_H

#define DATABASE_NAME "spool.db"
#define LOG_NAME      DATABASE_NAME "-wal"
#define INDEX_NAME    DATABASE_NAME "-shm" /* of the log */
/* Whole new databases that are about to take the place of the other one. */
#define SALVAGED_NAME   DATABASE_NAME ".salvaged"
#define RESTORED_NAME   DATABASE_NAME ".restored"
#define JOURNAL_NAME    DATABASE_NAME "-journal" /* no spool has one: SQLite looks for it */
#define LONE_LOG_SUFFIX "-log" /* of a log whose database was gone and that moved aside */

/* The first bytes of each database, with the NUL, and where its application's id stands. */
#define DATABASE_MAGIC "SQLite format 3"
enum {
    DATABASE_WRITE_FORMAT_AT = 18,
    DATABASE_FORMAT_WAL = 2,
    DATABASE_APPLICATION_ID_AT = 68,
};

#endif
