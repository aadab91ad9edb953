/* SPDX-License-Identifier: MIT */
/*
 * rebuild_holds.c - which lanes the operator holds
 *
 * A lane that is held although it was released is visible, and released again by one
 * command; a lane that is sent although it is held cannot be called back. So each row that
 * can be read is copied, also one of an older image of its page.
 *
 * Sessions are not salvaged, nor what belongs to them. A packet id that was released in a
 * commit that is lost would make the next message with it look like a repetition: it would
 * be lost. A client whose session is gone is informed by Session Present 0.
 */
#include "store/salvage/pages.h"
#include "store/salvage/rebuild-private.h"

#include <stdint.h>

enum { HOLD_NUMBER, HOLD_LANE, HOLD_FIELDS };

static int copy_hold(void *userdata, const struct pages_row *row)
{
    sqlite3_stmt *insert = userdata;
    if (row->field_count != HOLD_FIELDS || row->fields[HOLD_NUMBER].kind != PAGES_NULL ||
        !rebuild_is_text(row, HOLD_LANE))
        return 0;
    int rc = rebuild_bind_fields(insert, row, HOLD_FIELDS);
    return rc == SQLITE_OK ? rebuild_run(insert) : rc;
}

int rebuild_copy_holds(struct rebuild *rebuild)
{
    sqlite3_stmt *insert = NULL;
    struct pages *pages = rebuild->task->pages;
    uint32_t root;
    int r = rebuild_find_table(pages, "hold", &root);
    if (r != 0 || root == 0)
        return r;
    r = sqlite3_prepare_v2(rebuild->task->db, "INSERT OR IGNORE INTO hold (lane) VALUES (?2)",
                           -1, &insert, NULL);
    pages_restart(pages);
    if (r == SQLITE_OK)
        r = pages_walk(pages, root, copy_hold, insert);
    (void)sqlite3_finalize(insert); /* repeats the error of the last step */
    return r;
}
