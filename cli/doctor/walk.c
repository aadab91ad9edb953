/* SPDX-License-Identifier: MIT */
/*
 * walk.c - all steps of the doctor, within a time
 *
 * A worker process makes the steps. If one takes longer than it may, the worker is ended and
 * another one continues behind it. A process that waits for a broken disk cannot be ended:
 * it is left behind, and its parent does not wait for it.
 */
#include "cli/doctor/walk.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/net.h"
#include "cli/doctor/record.h"
#include "cli/doctor/worker.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct walk {
    const struct doctor_request *request;
    struct doctor_findings *findings;
    int64_t end_ms;              /* of everything */
    int64_t step_end_ms;         /* of the step under way */
    unsigned step_ms;            /* what it was given */
    struct doctor_finding under; /* the step under way: step and target */
    unsigned group;              /* the first one that has not ended */
    unsigned group_count;
    pid_t pid;
};

static void walk_add(struct walk *walk, const struct doctor_finding *finding)
{
    if (doctor_findings_add(walk->findings, finding) < 0)
        return; /* it is counted; the verdict is right */
}

_Noreturn static void run_worker(const struct walk *walk, int pipe_fd)
{
    struct doctor_work work = {
        .config_path = walk->request->config_path,
        .client_id = walk->request->client_id,
        .probe = walk->request->probe,
        .pipe_fd = pipe_fd,
        .target = "",
    };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* not inherited from the parent: it never fails */
    (void)signal(SIGPIPE, SIG_IGN);
    doctor_worker_run(&work, walk->group);
    config_free(work.config);
    json_decref(work.status);
    _exit(EXIT_SUCCESS);
}

/* Return: the end of the pipe to read; negative errno. */
static int start_worker(struct walk *walk)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    (void)fflush(NULL); /* what is buffered would be written twice */
    walk->pid = fork();
    if (walk->pid == 0) {
        (void)close(ends[0]);
        run_worker(walk, ends[1]);
    }
    (void)close(ends[1]);
    if (walk->pid > 0)
        return ends[0];
    (void)close(ends[0]);
    return -EAGAIN;
}

static void take_record(struct walk *walk, const struct doctor_record *record)
{
    switch (record->kind) {
    case DOCTOR_RECORD_BEGIN:
        walk->under = record->finding;
        walk->step_ms = record->number;
        walk->step_end_ms = net_now_ms() + record->number;
        break;
    case DOCTOR_RECORD_FINDING:
        walk_add(walk, &record->finding);
        break;
    case DOCTOR_RECORD_BROKERS:
        walk->group_count = doctor_worker_local_groups() + record->number;
        break;
    case DOCTOR_RECORD_GROUP:
        walk->group = record->number + 1;
        break;
    }
}

/* Return: 0: the worker has ended by itself; -ETIMEDOUT; negative errno. */
static int read_records(struct walk *walk, int fd)
{
    while (true) {
        int64_t until_ms = walk->end_ms < walk->step_end_ms ? walk->end_ms : walk->step_end_ms;
        struct doctor_record record;
        int result = net_wait(fd, POLLIN, until_ms);
        ssize_t got;

        if (result < 0)
            return result;
        got = read(fd, &record, sizeof(record));
        if (got < 0)
            return -errno;
        if (got != (ssize_t)sizeof(record))
            return 0;
        take_record(walk, &record);
    }
}

/* The rest of the group needs the step that has not ended. */
static void skip_group(struct walk *walk)
{
    struct doctor_finding skipped = walk->under;

    skipped.result = DOCTOR_SKIPPED;
    skipped.remedy[0] = '\0';
    if (walk->group < doctor_worker_local_groups())
        return;
    while (++skipped.step < DOCTOR_STEPS) {
        text_format(skipped.seen, sizeof(skipped.seen), "because of the step %s",
                    doctor_step_name(walk->under.step));
        walk_add(walk, &skipped);
    }
}

static void report_hang(struct walk *walk, int result)
{
    struct doctor_finding finding = walk->under;

    finding.result = DOCTOR_FAILED;
    text_format(finding.remedy, sizeof(finding.remedy), "%s",
                doctor_step_hang_remedy(finding.step));
    if (result == -ETIMEDOUT && net_now_ms() >= walk->end_ms)
        text_format(finding.seen, sizeof(finding.seen),
                    "it had not ended when the time for all steps was over (--timeout)");
    else if (result == -ETIMEDOUT)
        text_format(finding.seen, sizeof(finding.seen), "it has not ended within %u ms",
                    walk->step_ms);
    else
        text_format(finding.seen, sizeof(finding.seen),
                    "the process of this step ended: report this as a fault of mqtt-spool");
    walk_add(walk, &finding);
    skip_group(walk);
}

/* Those for which there is no time. */
static void skip_groups(struct walk *walk)
{
    struct doctor_finding skipped = {.result = DOCTOR_SKIPPED};

    text_format(skipped.seen, sizeof(skipped.seen), "the time for all steps is over");
    for (; walk->group < walk->group_count; walk->group++) {
        skipped.step = doctor_worker_first_step(walk->group);
        if (walk->group >= doctor_worker_local_groups())
            text_format(skipped.target, sizeof(skipped.target), "broker %u",
                        walk->group - doctor_worker_local_groups() + 1);
        walk_add(walk, &skipped);
    }
}

static int walk_once(struct walk *walk)
{
    AUTO_CLOSE int fd = start_worker(walk);
    int result;

    if (fd < 0)
        return fd;
    walk->step_ms = DOCTOR_STEP_MS;
    walk->step_end_ms = net_now_ms() + DOCTOR_STEP_MS;
    result = read_records(walk, fd);
    if (result < 0)
        (void)kill(walk->pid, SIGKILL);
    (void)waitpid(walk->pid, NULL, result < 0 ? WNOHANG : 0);
    if (walk->group < walk->group_count) {
        report_hang(walk, result);
        walk->group++;
    }
    return 0;
}

int doctor_walk(const struct doctor_request *request, struct doctor_findings *ret)
{
    struct walk walk = {
        .request = request,
        .findings = ret,
        .end_ms = net_now_ms() + (int64_t)request->timeout_ms,
        .group_count = doctor_worker_local_groups(),
    };
    int result = 0;

    *ret = (struct doctor_findings){.all = NULL};
    while (result == 0 && walk.group < walk.group_count && net_now_ms() < walk.end_ms)
        result = walk_once(&walk);
    skip_groups(&walk);
    return result;
}
