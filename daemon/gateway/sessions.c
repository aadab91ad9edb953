/* SPDX-License-Identifier: MIT */
/*
 * sessions.c - which sessions of producers outlive their connections, and for how long
 *
 * A session belongs to a user and a client id. The spool has those that are kept, and
 * finds them by a hash table; here is decided what a CONNECT makes of them. The CONNACK
 * of a session that is new, or that replaces one, waits for the commit: with packet ids
 * of a session that the client believes to be gone, a crash would make its next message
 * a repetition.
 *
 * A session that is overdue is not resumed, even if very many are and its rows are not
 * dropped yet. At listen.max_sessions one of these goes first, then the oldest whose
 * client has left: one of the same user, or else of the user that has the most, if these
 * are two more than the newcomer's. If there is none, the new session is not kept. Then
 * the CONNACK of v5 has Session Expiry 0, and a client of 3.1.1, which could not be
 * notified, is rejected.
 *
 * Invariant: a session that is kept has at most one connection.
 *
 * Diagnostics: sessions_limited, sessions_expired.
 */
#include "daemon/gateway/sessions.h"

#include <inttypes.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/view.h"
#include "daemon/gateway/limits.h"
#include "daemon/mqtt/packet.h"

/* Users whose sessions are counted when there are too many. */
#define USERS_COUNTED_MAX 64

void client_sessions_init(struct client_sessions *sessions)
{
    TAILQ_INIT(&sessions->waiting);
    sessions->warnings = (struct log_limit){.interval_ms = 60000, .burst = 8};
}

static uint32_t limit_s(const struct client_sessions *sessions)
{
    return (uint32_t)(sessions->config->listen.session_expiry_ms / 1000);
}

static uint32_t uid_of(const struct client_session *session)
{
    return connection_peer(session->connection)->uid;
}

/* ---- until a commit ---- */

void session_wait_begin(struct session_waits *waits,
                        struct session_wait *wait,
                        struct connection *connection,
                        const struct spool *spool)
{
    wait->connection = connection;
    wait->change = spool_session_changes(spool);
    wait->is_pending = true;
    TAILQ_INSERT_TAIL(waits, wait, link);
}

void session_wait_end(struct session_waits *waits, struct session_wait *wait)
{
    if (wait->is_pending)
        TAILQ_REMOVE(waits, wait, link);
    wait->is_pending = false;
}

void session_waits_answer(struct session_waits *waits,
                          const struct spool *spool,
                          void (*answer)(struct connection *connection))
{
    struct session_wait *wait = TAILQ_FIRST(waits);

    while (wait) {
        if (spool_session_durable(spool) < wait->change) {
            wait = TAILQ_NEXT(wait, link);
            continue;
        }
        session_wait_end(waits, wait);
        answer(wait->connection);
        wait = TAILQ_FIRST(waits); /* what it sent may have ended another one */
    }
}

/* ---- room for one more ---- */

struct user_sessions {
    uint32_t uid;
    unsigned count;
    struct spool_session *oldest; /* of those whose client has left; NULL: none has */
};

struct census {
    struct user_sessions users[USERS_COUNTED_MAX];
    size_t count;
};

static struct user_sessions *census_find(struct census *census, uint32_t uid)
{
    size_t i = 0;

    while (i < census->count && census->users[i].uid != uid)
        i++;
    if (i == USERS_COUNTED_MAX)
        return NULL;
    if (i == census->count)
        census->users[census->count++] = (struct user_sessions){.uid = uid};
    return &census->users[i];
}

static void census_take(struct census *census, const struct spool *spool)
{
    struct spool_session *session;

    for (session = spool_session_next(spool, NULL); session;
         session = spool_session_next(spool, session)) {
        struct user_sessions *user = census_find(census, session->uid);

        if (!user)
            continue;
        user->count++;
        if (session->left_at != SPOOL_SESSION_CONNECTED &&
            (!user->oldest || session->left_at < user->oldest->left_at))
            user->oldest = session;
    }
}

/* NULL: none may go for a new one of @uid. */
static struct spool_session *choose_evicted(const struct spool *spool, uint32_t uid)
{
    struct census census = {0};
    const struct user_sessions *own = census_find(&census, uid);
    const struct user_sessions *most = own;

    census_take(&census, spool);
    if (own->oldest)
        return own->oldest;
    for (size_t i = 0; i < census.count; i++) {
        if (census.users[i].oldest && census.users[i].count > most->count)
            most = &census.users[i];
    }
    return most->count > own->count + 1 ? most->oldest : NULL;
}

static void log_limited(struct client_sessions *sessions,
                        uint32_t uid,
                        struct view client,
                        const char *done)
{
    char text[128];
    uint64_t suppressed = 0;

    if (log_limit_pass(&sessions->warnings, sessions->turn->now.boot_ms, &suppressed))
        log_warning("sessions_limited max_sessions=%u session=%s client=%s uid=%d"
                    " suppressed=%" PRIu64
                    " remedy=\"raise listen.max_sessions, or correct programs that take"
                    " another client id each time\"",
                    sessions->config->listen.max_sessions, done,
                    log_quote(text, sizeof(text), client.data, client.size), (int)uid,
                    suppressed);
}

static void drop_overdue(struct client_sessions *sessions, struct spool_session *overdue)
{
    spool_session_drop(sessions->spool, overdue);
    sessions->expired++;
}

static bool make_room(struct client_sessions *sessions, const struct client_session *session)
{
    struct spool *spool = sessions->spool;
    struct spool_time now = turn_spool_time(sessions->turn);
    struct spool_session *evicted = NULL;

    if (spool_session_count(spool) < sessions->config->listen.max_sessions)
        return true;
    if (sessions->config->listen.max_sessions > 0) {
        evicted = spool_session_find_overdue(spool, &now, limit_s(sessions));
        if (evicted) {
            drop_overdue(sessions, evicted);
            return true;
        }
        evicted = choose_evicted(spool, uid_of(session));
    }
    if (!evicted) {
        log_limited(sessions, uid_of(session), connection_client_id(session->connection),
                    "not_kept");
        return false;
    }
    log_limited(sessions, evicted->uid, evicted->client, "dropped");
    spool_session_drop(spool, evicted);
    return true;
}

/* ---- packet ids ---- */

struct reload {
    struct connection *connection;
    int r;
};

static void reload_one(void *userdata, uint16_t packet_id, uint64_t message)
{
    struct reload *reload = userdata;

    (void)message;
    if (reload->r == 0)
        reload->r = connection_set_unreleased(reload->connection, packet_id);
}

/* Return: 0; SPOOL_E_BUSY; -ENOMEM for the ids; a failure of the spool has been noted. */
static int reload_ids(struct client_sessions *sessions, const struct client_session *session)
{
    struct reload reload = {.connection = session->connection};

    connection_clear_unreleased(session->connection);
    int r = spool_each_unreleased(sessions->spool, session->kept, reload_one, &reload);
    if (r < 0)
        turn_fail(sessions->turn, r, "session");
    return r == 0 ? reload.r : r;
}

void client_session_reload(struct client_sessions *sessions, struct client_session *session)
{
    if (session->kept && reload_ids(sessions, session) != 0)
        connection_close(session->connection, MQTT_UNSPECIFIED_ERROR,
                         "its packet ids could not be read");
}

uint64_t client_session_find_message(struct client_sessions *sessions,
                                     const struct client_session *session,
                                     uint16_t packet_id)
{
    uint64_t message = 0;

    if (!session->kept)
        return 0;
    int r = spool_find_unreleased(sessions->spool, session->kept, packet_id, &message);
    if (r < 0)
        turn_fail(sessions->turn, r, "session");
    return message;
}

bool client_session_release(struct client_sessions *sessions,
                            struct client_session *session,
                            uint16_t packet_id)
{
    if (!session->kept)
        return false;
    if (spool_release_packet(sessions->spool, session->kept, packet_id) != 0)
        connection_close(session->connection, MQTT_UNSPECIFIED_ERROR, "no memory to release");
    return true;
}

/* ---- CONNECT ---- */

static uint8_t resume_session(struct client_sessions *sessions,
                              struct client_session *session,
                              struct spool_session *kept,
                              uint32_t expiry_s)
{
    spool_session_connect(sessions->spool, kept, expiry_s);
    session->kept = kept;
    session->admission.has_session = true;
    if (reload_ids(sessions, session) == 0)
        return MQTT_SUCCESS;
    client_session_leave(sessions, session);
    return MQTT_SERVER_UNAVAILABLE;
}

static uint8_t create_session(struct client_sessions *sessions,
                              struct client_session *session,
                              uint32_t expiry_s)
{
    struct connection *connection = session->connection;

    if (!make_room(sessions, session))
        return connection_version(connection) == MQTT_5 ? MQTT_SUCCESS : MQTT_QUOTA_EXCEEDED;
    if (spool_session_create(sessions->spool, uid_of(session), connection_client_id(connection),
                             expiry_s, &session->kept) != 0)
        return MQTT_SERVER_UNAVAILABLE;
    return MQTT_SUCCESS;
}

static void wait_for_commit(struct client_sessions *sessions, struct client_session *session)
{
    session_wait_begin(&sessions->waiting, &session->wait, session->connection,
                       sessions->spool);
    edge_timer_arm(sessions->edge_timer);
}

/*
 * The one that the client may resume; NULL: there is none.
 *
 * @ret_is_replaced: there was one, and its rows go with the next commit
 */
static struct spool_session *find_kept(struct client_sessions *sessions,
                                       const struct client_session *session,
                                       bool is_clean,
                                       bool *ret_is_replaced)
{
    struct spool *spool = sessions->spool;
    struct spool_time now = turn_spool_time(sessions->turn);
    struct spool_session *kept =
        spool_session_find(spool, uid_of(session), connection_client_id(session->connection));
    bool is_overdue = kept && spool_session_is_overdue(spool, kept, &now, limit_s(sessions));

    *ret_is_replaced = kept && (is_clean || is_overdue);
    if (is_overdue)
        drop_overdue(sessions, kept);
    else if (*ret_is_replaced)
        spool_session_drop(spool, kept);
    return *ret_is_replaced ? NULL : kept;
}

static uint8_t begin_session(struct client_sessions *sessions,
                             struct client_session *session,
                             const struct connection_connect *connect)
{
    uint8_t code = MQTT_SUCCESS;
    bool is_replaced;
    struct spool_session *kept = find_kept(sessions, session, connect->is_clean, &is_replaced);

    session->has_begun = true;
    if (kept)
        code = resume_session(sessions, session, kept, connect->session_expiry_s);
    else if (connect->session_expiry_s > 0)
        code = create_session(sessions, session, connect->session_expiry_s);
    if (code != MQTT_SUCCESS)
        return code;
    if (session->kept)
        session->admission.session_expiry_s = connect->session_expiry_s < limit_s(sessions)
                                                  ? connect->session_expiry_s
                                                  : limit_s(sessions);
    if (is_replaced || (session->kept && !session->kept->is_stored))
        wait_for_commit(sessions, session);
    return MQTT_SUCCESS;
}

uint8_t client_session_connect(struct client_sessions *sessions,
                               struct client_session *session,
                               const struct connection_connect *connect,
                               struct connection_admission *ret)
{
    uint8_t code = MQTT_SUCCESS;

    if (!session->has_begun)
        code = begin_session(sessions, session, connect);
    if (session->is_refused)
        code = MQTT_QUOTA_EXCEEDED;
    *ret = session->admission;
    ret->is_waiting = session->wait.is_pending;
    return code;
}

void client_session_set_expiry(struct client_sessions *sessions,
                               struct client_session *session,
                               uint32_t expiry_s)
{
    if (session->kept)
        spool_session_connect(sessions->spool, session->kept, expiry_s);
}

uint32_t client_session_life_s(const struct client_sessions *sessions,
                               const struct client_session *session)
{
    uint32_t expiry_s = session->kept ? session->kept->expiry_s : 0;

    return expiry_s < limit_s(sessions) ? expiry_s : limit_s(sessions);
}

void client_session_leave(struct client_sessions *sessions, struct client_session *session)
{
    struct spool *spool = sessions->spool;
    struct spool_time now;

    session_wait_end(&sessions->waiting, &session->wait);
    if (!session->kept)
        return;
    now = turn_spool_time(sessions->turn);
    if (session->kept->expiry_s == 0)
        spool_session_drop(spool, session->kept);
    else
        spool_session_leave(spool, session->kept, &now);
    session->kept = NULL;
    edge_timer_arm_later(sessions->edge_timer, GATEWAY_SETTLE_LATEST_MS);
}

/* ---- after a commit, or without one ---- */

void client_sessions_confirm(struct client_sessions *sessions)
{
    session_waits_answer(&sessions->waiting, sessions->spool, connection_resume);
}

static struct client_session *session_of(struct session_wait *wait)
{
    return (struct client_session *)((char *)wait - offsetof(struct client_session, wait));
}

void client_sessions_refuse(struct client_sessions *sessions)
{
    struct session_wait *wait;

    TAILQ_FOREACH(wait, &sessions->waiting, link) {
        struct client_session *session = session_of(wait);

        if (!session->kept || session->kept->is_stored)
            continue; /* it waits for what needs no room */
        spool_session_drop(sessions->spool, session->kept);
        session->kept = NULL;
        session->is_refused = true;
        wait->change = 0;
    }
}

void client_sessions_expire(struct client_sessions *sessions)
{
    struct spool_time now = turn_spool_time(sessions->turn);

    sessions->expired += spool_session_expire(sessions->spool, &now, limit_s(sessions));
    if (sessions->expired > 0)
        log_info("sessions_expired sessions=%u kept=%zu", sessions->expired,
                 spool_session_count(sessions->spool));
    sessions->expired = 0;
}
