/* SPDX-License-Identifier: MIT */
/*
 * lane_set.c - see lane_set.h
 */
#include "store/lane_set.h"

#include <stdlib.h>
#include <string.h>

struct lane *lane_set_find(const struct lane_set *lanes, const char *name)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (strcmp(lanes->all[i].name, name) == 0)
            return &lanes->all[i];
    }
    return NULL;
}

struct lane *lane_set_find_number(const struct lane_set *lanes, int64_t number)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (lanes->all[i].number == number)
            return &lanes->all[i];
    }
    return NULL;
}

uint64_t lane_set_committed_id(const struct lane_set *lanes)
{
    uint64_t last_id = 0;

    for (size_t i = 0; i < lanes->count; i++) {
        if (lanes->all[i].committed.last_id > last_id)
            last_id = lanes->all[i].committed.last_id;
    }
    return last_id;
}

void lane_set_reset_due_times(struct lane_set *lanes)
{
    lanes->expiry_due_ms = INT64_MIN;
    for (size_t i = 0; i < lanes->count; i++)
        lanes->all[i].age_due_ms = INT64_MIN;
}

void lane_set_done(struct lane_set *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        plan_done(&lanes->all[i].plan);
        runs_done(&lanes->all[i].runs);
        free(lanes->all[i].name);
    }
    free(lanes->all);
    turns_done(&lanes->turns);
    *lanes = (struct lane_set){0};
}
