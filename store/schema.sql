-- SPDX-License-Identifier: MIT
-- The schema of version 1. Later versions are migrations in schema.c, in order.

-- One row a lane: its number in the keys of its messages, and its ledger. One small table, so that a
-- commit dirties one page for all counters. What has been accepted is the sum of all that follows:
-- accepted = delivered + evicted + expired + rejected + dropped + damaged + messages.
CREATE TABLE lane (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    accepted INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    evicted INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    damaged INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    last_id INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The messages that have not ended. key = lane number << 48 | id: the messages of a lane lie side by
-- side in the order of acceptance. accepted is wall clock and only told; accepted_at and expires_at
-- are on the spool's clock and decide. flags = qos | retain << 2.
CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    accepted INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    expires_at INTEGER,
    charge INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    client TEXT NOT NULL,
    topic TEXT NOT NULL,
    properties BLOB,
    ref TEXT,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX message_expiry ON message (expires_at) WHERE expires_at IS NOT NULL;

-- How messages ended. seq is contiguous from 1. That no id is here twice is held by the transaction
-- that writes the row: it deletes the message, and fails when there was none to delete.
-- time is wall clock, ended_at the spool's clock; outcome and reason are the numbers of spool.h.
CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY,
    id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    time INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    code INTEGER,
    attempts INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    qos INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    age_ms INTEGER NOT NULL,
    client TEXT NOT NULL,
    topic TEXT NOT NULL,
    ref TEXT
) STRICT;

-- One row: the clock as spool_clock.c reads it, the export cursor, and how far outcomes are pruned.
CREATE TABLE spool (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot_id TEXT NOT NULL DEFAULT '',
    boot_ms INTEGER NOT NULL DEFAULT 0,
    clock_ms INTEGER NOT NULL DEFAULT 0,
    wall_ms INTEGER,
    wall_clock_ms INTEGER NOT NULL DEFAULT 0,
    absent_after INTEGER,
    exported_seq INTEGER NOT NULL DEFAULT 0,
    pruned_seq INTEGER NOT NULL DEFAULT 0,
    failures_pruned INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO spool (one) VALUES (1);
