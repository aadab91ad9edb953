/* SPDX-License-Identifier: MIT */
/*
 * config_job.h - reads the configuration file on a thread
 *
 * For a daemon that serves meanwhile: config_load() may wait for a name service, or for the
 * file system of the file. Logs nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_JOB_H
#define MQTT_SPOOLD_DAEMON_CONFIG_CONFIG_JOB_H

#include "base/attr.h"
#include "daemon/config/config.h"

struct config_job;

/* @path: copied. Return: 0 or negative errno. */
MUST_CHECK int config_job_start(const char *path, struct config_job **ret);
/* Readable when the file has been read. Owned by the job. */
int config_job_fd(const struct config_job *job);
/* Only when that is readable, and once; frees the job. Return: as config_load(). */
MUST_CHECK int config_job_finish(struct config_job *job,
                                 struct config **ret,
                                 char error[static CONFIG_ERROR_MAX]);
/* The result is not needed any more: the job frees itself when it is done. NULL is accepted. */
void config_job_abandon(struct config_job *job);

#endif
