-- SPDX-License-Identifier: Apache-2.0
-- The cache, version 8: derived from the journals, rebuilt at any time. Every row names the operation it came from
-- (run, writer, lamport), the loop's iteration and node that recorded it, and its place in that operation, so that the
-- order of reading does not matter. Numbers that records keep as text stay text: cast(value as real) to compute. Times
-- are UTC, as 2026-01-31T23:59:59Z; lists and mappings are JSON.
--
-- `git hmopt sql --tables` prints what follows: the comment above a table or view is about it, the comment that ends
-- a line about the last column on that line.

-- What the cache itself must know of its state.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- How far each journal was read.
CREATE TABLE journal_heads (
    ref TEXT PRIMARY KEY, run TEXT NOT NULL, writer TEXT NOT NULL,
    oid TEXT NOT NULL -- the journal commit that was read last
) STRICT, WITHOUT ROWID;

-- Records that this version could not read.
CREATE TABLE skipped (
    run TEXT NOT NULL, writer TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (run, writer, reason)
) STRICT, WITHOUT ROWID;

-- Every step that was recorded of a run; rows of the other tables belong to one by run, writer and lamport.
CREATE TABLE operations (
    run TEXT NOT NULL,
    writer TEXT NOT NULL, -- the clone whose journal it stands in
    lamport INTEGER NOT NULL, -- the order of a run's operations, over all writers
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    attempt INTEGER NOT NULL, -- tells a node's operations of one iteration and kind apart
    op TEXT NOT NULL, -- its kind, such as patch.judged
    at TEXT NOT NULL,
    status TEXT, -- what it set the run's status to
    reason TEXT, -- why, where it says so
    commit_oid TEXT NOT NULL, -- the journal commit
    PRIMARY KEY (run, writer, lamport),
    UNIQUE (run, writer, iteration, node, attempt, op)
) STRICT, WITHOUT ROWID;

-- One row a run, expired ones too (see cutoffs).
CREATE TABLE runs (
    name TEXT PRIMARY KEY, writer TEXT NOT NULL, lamport INTEGER NOT NULL,
    uuid TEXT NOT NULL, workload TEXT NOT NULL,
    base_commit TEXT NOT NULL, base_tree TEXT NOT NULL, -- what candidates were built on
    proposer TEXT NOT NULL, -- what wrote the candidates
    device TEXT NOT NULL, -- the host that measured
    toolchain TEXT NOT NULL, -- versions by program
    configuration TEXT NOT NULL, -- sha256 of the configuration's bytes
    environment TEXT NOT NULL, -- what else the numbers depend on: CPU, kernel, sandbox
    repository TEXT NOT NULL, -- where the source came from
    seed INTEGER NOT NULL, -- of layouts and inputs
    parent TEXT, -- the run that this one goes on from
    status TEXT NOT NULL, -- created, running, succeeded, failed or stopped
    created TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (created, name);

-- Stored bytes: logs, profiles, samples, reports.
CREATE TABLE artifacts (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, -- bytes
    media_type TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    uris TEXT NOT NULL, -- where else they are
    redacted TEXT NOT NULL, -- how often each rule removed something
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- Measured numbers; each counts only for the tree it was measured on. KPIs of ingested captures are here too: of those
-- a run knows only that it had them, so their commit is its base.
CREATE TABLE metrics (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    tree TEXT NOT NULL, -- what was measured
    patch_id TEXT, -- git patch-id --stable of the commit against what it was held against
    scope TEXT NOT NULL, -- system, process, thread or frame
    workload TEXT NOT NULL,
    name TEXT NOT NULL, value TEXT NOT NULL, unit TEXT NOT NULL,
    n INTEGER NOT NULL, -- readings behind the value
    low TEXT, high TEXT, -- the ends of the value's interval
    layouts INTEGER, -- code layouts behind the value
    samples TEXT, -- sha256 of the raw samples
    tags TEXT NOT NULL, -- of a KPI of a capture: artifact (its sha256), of (all, a process, ...), per (cpu), rule
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_tree ON metrics (tree, workload, name);

-- Symbols worth looking at, as a run ranked them.
CREATE TABLE hotspots (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    symbol TEXT NOT NULL, file TEXT, first_line INTEGER, last_line INTEGER,
    score TEXT, -- share of the profile's cost, 0..1; null is unmeasured
    distance INTEGER, -- calls from the workload's harness, where that ranked it
    ranker TEXT NOT NULL, -- how they were ranked
    unit TEXT NOT NULL, -- of the profile's cost, or of the distance
    evidence TEXT NOT NULL, -- sha256 of the artifacts the score was computed from
    resolved_by TEXT NOT NULL, -- how file and lines were found
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- Call graphs that were stored.
CREATE TABLE graphs (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    kind TEXT NOT NULL, -- psg: from the source; pcg: from a profile
    artifact TEXT NOT NULL, -- sha256 of its bytes
    nodes INTEGER NOT NULL, edges INTEGER NOT NULL,
    skipped TEXT NOT NULL, -- what is not in it, by reason
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- Proposed changes.
CREATE TABLE patches (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    parent TEXT NOT NULL, -- the commit it changes
    commit_oid TEXT, tree TEXT, patch_id TEXT, -- null when the edit did not apply
    title TEXT NOT NULL, rationale TEXT NOT NULL, strategy TEXT NOT NULL, proposer TEXT NOT NULL,
    symbol TEXT, -- the function it is about
    files TEXT NOT NULL,
    diff TEXT, -- sha256 of the unified diff
    touches TEXT NOT NULL, -- what it touches, how hot that is, and who reaches it
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- What the gate said about candidates, as recorded; the view `verdicts` says what of it still stands.
CREATE TABLE evaluations (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    workload TEXT NOT NULL, commit_oid TEXT, tree TEXT,
    patch_id TEXT, -- of the candidate against best
    baseline TEXT NOT NULL, -- the run's base commit
    best TEXT NOT NULL, -- the commit the candidate was held against
    verdict TEXT NOT NULL, -- improved, improved(count only), no-change, regressed, incorrect, rejected or cannot-tell
    rule TEXT, -- the named rule of a rejection
    reason TEXT NOT NULL,
    smallest_detectable TEXT, -- the smallest change that would have shown, as a ratio
    accepted INTEGER NOT NULL, -- 1 when it moved best
    deltas TEXT NOT NULL, -- the changes with their intervals
    checks TEXT NOT NULL, -- the gates it went through
    text_bytes INTEGER, -- change of the text section
    samples TEXT, -- sha256 of the raw samples
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- The changes that runs claim: best against base, measured afresh at the end.
CREATE TABLE confirmations (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    metric TEXT NOT NULL, -- its name
    kind TEXT NOT NULL, -- time, count, kpi or size
    against TEXT NOT NULL, -- baseline: the run's base commit
    estimate TEXT NOT NULL, -- the change, as a ratio minus one
    low TEXT NOT NULL, high TEXT NOT NULL, -- the ends of the change's interval
    layouts INTEGER NOT NULL, -- code layouts behind it
    boots INTEGER NOT NULL, -- starts of the workload in each layout
    layout_controlled INTEGER NOT NULL, -- 1 when both sides were measured over the same code layouts
    confidence TEXT, -- of the interval, 0..1
    floor TEXT, -- what this machine called a difference when nothing differed
    layout_sd TEXT, -- standard deviation between layouts
    boot_sd TEXT, -- standard deviation between boots of a layout
    ratios TEXT NOT NULL, -- the points under the interval
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- What agents said, and their exchanges with models.
CREATE TABLE agent_messages (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    agent TEXT NOT NULL,
    role TEXT NOT NULL, -- decision, proposal, refusal, end or review; answer or no-answer for an exchange with a model
    text TEXT NOT NULL, -- what was said, or what came of the exchange
    data TEXT NOT NULL, -- of an exchange model, prompt_tokens, completion_tokens, counted_by, seconds, cost, currency
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- What the loop's nodes took; nothing of a node that was killed.
CREATE TABLE node_times (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL, -- unlike elsewhere those that were timed
    outcome TEXT NOT NULL, -- ok, failed or interrupted
    wall_s TEXT NOT NULL, -- seconds by the clock
    cpu_s TEXT NOT NULL, -- CPU seconds of the tool itself, without the programs it ran
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- Verdicts that were taken back.
CREATE TABLE retractions (
    run TEXT NOT NULL, writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    of_iteration INTEGER, -- null: all that the run claims
    reason TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;

-- Runs that are expired.
CREATE TABLE cutoffs (
    run TEXT NOT NULL, -- as in every table that of the operation: care, no run at all
    writer TEXT NOT NULL, lamport INTEGER NOT NULL, place INTEGER NOT NULL,
    iteration INTEGER NOT NULL, node TEXT NOT NULL,
    of_run TEXT NOT NULL, -- the run that is cut off
    before TEXT NOT NULL, -- what was recorded of it up to then is to be forgotten
    reason TEXT NOT NULL,
    PRIMARY KEY (run, writer, lamport, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX cutoffs_by_run ON cutoffs (of_run);

-- The evaluations of runs that are not expired, with whether each was taken back.
CREATE VIEW verdicts (
    run, iteration, workload, commit_oid, tree, patch_id, baseline, best, verdict, rule, reason, accepted,
    retracted -- 1 when it, or all that its run claims, was retracted
) AS SELECT
    e.run, e.iteration, e.workload, e.commit_oid, e.tree, e.patch_id, e.baseline, e.best, e.verdict, e.rule, e.reason,
    e.accepted, EXISTS (
        SELECT 1 FROM retractions AS r WHERE r.run = e.run AND coalesce(r.of_iteration, e.iteration) = e.iteration
    )
FROM evaluations AS e WHERE NOT EXISTS (
    SELECT 1 FROM cutoffs AS c JOIN runs AS of ON of.name = c.of_run
    WHERE c.of_run = e.run AND c.before >= of.created
);
