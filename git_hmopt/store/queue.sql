-- SPDX-License-Identifier: Apache-2.0
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of arrival
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    subject TEXT,
    payload BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'taken', 'done', 'dead', 'superseded')),
    due REAL NOT NULL, -- seconds since the epoch, as all times here
    attempts INTEGER NOT NULL DEFAULT 0,
    takes INTEGER NOT NULL DEFAULT 0, -- only ever grows: who holds an older one holds nothing
    worker TEXT,
    lease_until REAL,
    overtaken INTEGER NOT NULL DEFAULT 0, -- a newer one of its subject came while it was taken
    reason TEXT,
    created REAL NOT NULL,
    ended REAL,
    UNIQUE (kind, key)
) STRICT;
CREATE INDEX waiting_jobs ON jobs (id) WHERE state = 'waiting';
CREATE INDEX taken_jobs ON jobs (lease_until) WHERE state = 'taken';
CREATE INDEX open_subjects ON jobs (subject, id) WHERE state IN ('waiting', 'taken');
CREATE INDEX ended_jobs ON jobs (state, ended) WHERE state IN ('done', 'dead', 'superseded');
CREATE TABLE seen (
    key TEXT PRIMARY KEY,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_until ON seen (until);
