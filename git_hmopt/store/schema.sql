-- SPDX-License-Identifier: Apache-2.0
-- The cache, version 3: derived from the journals, rebuilt at any time. Every row names the operation it came from
-- (run, writer, lamport) and its place in that operation, so that the order of reading does not matter.
-- Numbers that records keep as text stay text: cast(value as real) to compute.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE journal_heads (
    ref TEXT PRIMARY KEY, run TEXT NOT NULL, writer TEXT NOT NULL, oid TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE skipped (
    run TEXT NOT NULL, writer TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (run, writer, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL, attempt INTEGER NOT NULL, op TEXT NOT NULL,
    at TEXT NOT NULL, status TEXT, commit_oid TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport),
    UNIQUE (run, writer, iteration, node, attempt, op)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    name TEXT PRIMARY KEY, writer TEXT NOT NULL, lamport INTEGER NOT NULL,
    uuid TEXT NOT NULL, workload TEXT NOT NULL, base_commit TEXT NOT NULL, base_tree TEXT NOT NULL,
    proposer TEXT NOT NULL, device TEXT NOT NULL, toolchain TEXT NOT NULL, configuration TEXT NOT NULL,
    environment TEXT NOT NULL, repository TEXT NOT NULL, seed INTEGER NOT NULL, parent TEXT,
    status TEXT NOT NULL, created TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (created, name);

CREATE TABLE artifacts (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    uris TEXT NOT NULL, redacted TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE metrics (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    commit_oid TEXT NOT NULL, tree TEXT NOT NULL, patch_id TEXT, scope TEXT NOT NULL, workload TEXT NOT NULL,
    name TEXT NOT NULL, value TEXT NOT NULL, unit TEXT NOT NULL, n INTEGER NOT NULL, low TEXT, high TEXT,
    layouts INTEGER, samples TEXT, tags TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_tree ON metrics (tree, workload, name);

CREATE TABLE hotspots (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    symbol TEXT NOT NULL, file TEXT, first_line INTEGER, last_line INTEGER, score TEXT NOT NULL,
    ranker TEXT NOT NULL, unit TEXT NOT NULL, evidence TEXT NOT NULL, resolved_by TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE graphs (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    kind TEXT NOT NULL, artifact TEXT NOT NULL, nodes INTEGER NOT NULL, edges INTEGER NOT NULL, skipped TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE patches (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    parent TEXT NOT NULL, commit_oid TEXT, tree TEXT, patch_id TEXT, title TEXT NOT NULL, rationale TEXT NOT NULL,
    strategy TEXT NOT NULL, proposer TEXT NOT NULL, symbol TEXT, files TEXT NOT NULL, diff TEXT,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    workload TEXT NOT NULL, commit_oid TEXT, tree TEXT, patch_id TEXT, baseline TEXT NOT NULL, best TEXT NOT NULL,
    verdict TEXT NOT NULL, rule TEXT, reason TEXT NOT NULL, smallest_detectable TEXT, accepted INTEGER NOT NULL,
    deltas TEXT NOT NULL, checks TEXT NOT NULL, text_bytes INTEGER, samples TEXT,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_messages (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    agent TEXT NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- A verdict that was taken back; no iteration: all that the run claims.
CREATE TABLE retractions (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    of_iteration INTEGER, reason TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- Runs that are expired: `run`, as in every table, is that of the operation; `of_run` the one that is cut off.
CREATE TABLE cutoffs (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    of_run TEXT NOT NULL, before TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX cutoffs_by_run ON cutoffs (of_run);
