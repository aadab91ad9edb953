/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a report takes from the database
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_REPORT_H
#define MQTT_SPOOLD_CLI_VERBS_REPORT_H

#include "base/attr.h"
#include "cli/audit/check.h"
#include "cli/report/page.h"
#include "cli/report/summary.h"

/*
 * report_read_database() - ledger, what waits, and the records that the files lack
 * @check:   after the files were read
 * @summary: gets the messages and the records
 * @page:    gets ledger, stats and what the daemon wrote
 *
 * Return: EX_OK; the exit code, reported.
 */
MUST_CHECK int report_read_database(const char *directory,
                                    struct audit_check *check,
                                    struct summary *summary,
                                    struct page *page);

#endif
