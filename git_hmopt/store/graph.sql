-- SPDX-License-Identifier: Apache-2.0
-- The structure of one build of a source tree, version 1: derived from the tree and its build, made again at any time.
-- Indexes over the large tables are made by graph.py, once their first rows are in.
-- A page is what one file says as one unit sees it; pages are replaced whole, so that an update after an edit and a
-- build from nothing leave the same rows (but for their ids).

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- A file below the root (or absolute, outside it) and what it was when it was read; knobs are those it names.
CREATE TABLE files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL DEFAULT -1,
    mtime_ns INTEGER NOT NULL DEFAULT -1, digest TEXT NOT NULL DEFAULT '', knobs TEXT NOT NULL DEFAULT '',
    subsystem TEXT -- of MAINTAINERS; empty for none, NULL where it was not looked up
) STRICT;

-- The folders that were searched for headers, with their names as a JSON list.
CREATE TABLE folders (path TEXT PRIMARY KEY, names TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- A unit and the key of the facts that are in here; state: ok, errors, failed (nothing known), stale (facts of before).
CREATE TABLE units (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, command TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,
    problems TEXT NOT NULL, inputs TEXT NOT NULL, precompiled TEXT NOT NULL
) STRICT;
CREATE TABLE unit_files (
    file INTEGER NOT NULL, unit INTEGER NOT NULL, PRIMARY KEY (file, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX unit_files_by_unit ON unit_files (unit);

-- unit is 0 for what the file says read as text, without a compiler; digest is then the file's.
CREATE TABLE pages (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, unit INTEGER NOT NULL, digest TEXT NOT NULL, UNIQUE (file, unit)
) STRICT;
CREATE INDEX pages_by_unit ON pages (unit);
-- What is shown: where a changed file was read as text for a first answer, that stands in for what its units said.
CREATE VIEW shown AS SELECT * FROM pages p WHERE p.unit = 0 OR NOT EXISTS (
    SELECT 1 FROM pages q WHERE q.file = p.file AND q.unit = 0 AND q.digest = 'provisional'
);

CREATE TABLE symbols (id INTEGER PRIMARY KEY, symbol TEXT NOT NULL UNIQUE, name TEXT NOT NULL) STRICT;

CREATE TABLE definitions (
    page INTEGER NOT NULL, symbol INTEGER NOT NULL, kind TEXT NOT NULL,
    first_line INTEGER NOT NULL, last_line INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
    linkage TEXT NOT NULL, is_inline INTEGER NOT NULL, type TEXT NOT NULL, body_hash TEXT NOT NULL,
    attributes TEXT NOT NULL, PRIMARY KEY (page, symbol)
) STRICT, WITHOUT ROWID;

CREATE TABLE edges (
    page INTEGER NOT NULL, source INTEGER NOT NULL, target INTEGER NOT NULL, relation TEXT NOT NULL,
    detail TEXT NOT NULL, line INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (page, source, target, relation, detail)
) STRICT, WITHOUT ROWID;

-- Lines of a file that a config knob decides about; page is a page of unit 0.
CREATE TABLE guards (
    page INTEGER NOT NULL, knob TEXT NOT NULL, first_line INTEGER NOT NULL, last_line INTEGER NOT NULL,
    sense TEXT NOT NULL, PRIMARY KEY (page, knob, first_line, last_line, sense)
) STRICT, WITHOUT ROWID;
CREATE INDEX guards_by_knob ON guards (knob);

-- A config knob as a block of Kconfig defines it; lists are JSON.
CREATE TABLE knobs (
    page INTEGER NOT NULL, knob TEXT NOT NULL, first_line INTEGER NOT NULL, type TEXT NOT NULL, prompt TEXT NOT NULL,
    defaults TEXT NOT NULL, depends TEXT NOT NULL, selects TEXT NOT NULL, implies TEXT NOT NULL,
    PRIMARY KEY (page, knob, first_line)
) STRICT, WITHOUT ROWID;
CREATE INDEX knobs_by_name ON knobs (knob);
