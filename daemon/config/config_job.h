/* SPDX-License-Identifier: MIT */
/*
 * config_job.h - reads and checks the configuration on a thread
 *
 * For a daemon that serves meanwhile: config_test() may wait for a name service, or for the
 * file system of the files. Logs nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_JOB_H
#define MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_JOB_H

#include <stddef.h>

#include "base/attr.h"
#include "daemon/config/config.h"

struct config_job;

/* What else is to be asked of a configuration that was read, on the thread. @findings: of the
 * size that was given to config_job_start(), all zero before. */
typedef void config_job_check_fn(const struct config *config, void *findings);

/*
 * config_job_start() - begin to read
 * @path:          copied
 * @check:         called if the files have no error; NULL: nothing else is asked
 * @findings_size: of its findings
 *
 * Return: 0 or negative errno.
 */
MUST_CHECK int config_job_start(const char *path,
                                config_job_check_fn *check,
                                size_t findings_size,
                                struct config_job **ret);
/* Readable when the files have been read. Owned by the job. */
int config_job_fd(const struct config_job *job);
/* Only when that is readable, and once; frees the job. @findings: gets those of the check, with
 * 0. Return: as config_test(). */
MUST_CHECK int config_job_finish(struct config_job *job,
                                 struct config **ret,
                                 void *findings,
                                 char error[static CONFIG_ERROR_MAX]);
/* The result is not needed any more: the job frees itself when it is done. NULL is accepted. */
void config_job_abandon(struct config_job *job);

#endif
