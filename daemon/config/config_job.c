/* SPDX-License-Identifier: MIT */
/*
 * config_job.c - reads and checks the configuration on a thread
 *
 * A lookup of a name cannot be cancelled. So a job has two owners, its thread and the loop,
 * and the last one that leaves it frees it.
 *
 * Invariant: the result is written by the thread before the descriptor is readable, and read
 * by the loop after that.
 */
#include "daemon/config/config_job.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

struct config_job {
    atomic_uint owners;
    int fd;
    int result;
    struct config *config;
    config_job_check_fn *check;
    void *findings;
    size_t findings_size;
    char error[CONFIG_ERROR_MAX];
    char path[];
};

static void config_job_leave(struct config_job *job)
{
    if (atomic_fetch_sub(&job->owners, 1) > 1)
        return;
    (void)close(job->fd);
    config_free(job->config);
    free(job->findings);
    free(job);
}

static void *config_job_run(void *userdata)
{
    struct config_job *job = userdata;

    job->result = config_test(job->path, &job->config, job->error);
    if (job->result == 0 && job->check)
        job->check(job->config, job->findings);
    (void)eventfd_write(job->fd, 1); /* the counter is 0: cannot fail */
    config_job_leave(job);
    return NULL;
}

/* Before the thread has it. */
static int config_job_discard(struct config_job *job, int error)
{
    if (job->fd >= 0)
        (void)close(job->fd);
    free(job->findings);
    free(job);
    return error;
}

int config_job_start(const char *path,
                     config_job_check_fn *check,
                     size_t findings_size,
                     struct config_job **ret)
{
    size_t size = strlen(path) + 1;
    struct config_job *job = calloc(1, sizeof(*job) + size);
    int r;

    if (!job)
        return -ENOMEM;
    memcpy(job->path, path, size);
    job->check = check;
    job->findings = calloc(1, findings_size + 1);
    job->findings_size = findings_size;
    job->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (job->fd < 0 || !job->findings)
        return config_job_discard(job, job->fd < 0 ? -errno : -ENOMEM);
    atomic_init(&job->owners, 2);
    r = thread_start_detached(config_job_run, job);
    if (r < 0)
        return config_job_discard(job, r);
    *ret = job;
    return 0;
}

int config_job_fd(const struct config_job *job)
{
    return job->fd;
}

int config_job_finish(struct config_job *job,
                      struct config **ret,
                      void *findings,
                      char error[static CONFIG_ERROR_MAX])
{
    eventfd_t count;
    int result;

    (void)eventfd_read(job->fd, &count); /* it is readable */
    result = job->result;
    memcpy(error, job->error, CONFIG_ERROR_MAX);
    if (result == 0) {
        *ret = job->config;
        job->config = NULL;
        if (job->findings_size > 0)
            memcpy(findings, job->findings, job->findings_size);
    }
    config_job_leave(job);
    return result;
}

void config_job_abandon(struct config_job *job)
{
    if (job)
        config_job_leave(job);
}
