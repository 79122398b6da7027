-- SPDX-License-Identifier: Apache-2.0
-- What is searched by meaning and by words, version 2: derived from a commit's tree and from the cache, made again at
-- any time. `source` and `digest` say what an entry was made of: the same digest is never embedded twice.
-- An embedding is `dimension` signed bytes of `model`; ids are never used twice, since the index of bits keeps them.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE sources (
    kind TEXT NOT NULL, source TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (kind, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE code_chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL,
    symbol TEXT NOT NULL, first_line INTEGER NOT NULL, last_line INTEGER NOT NULL, summary TEXT NOT NULL,
    model TEXT NOT NULL, dimension INTEGER NOT NULL, embedding BLOB NOT NULL
) STRICT;
CREATE INDEX code_chunks_by_source ON code_chunks (source);
CREATE VIRTUAL TABLE code_chunks_words USING fts5 (
    words, content = '', contentless_delete = 1, tokenize = 'porter unicode61'
);
CREATE VIRTUAL TABLE code_chunks_terms USING fts5vocab ('code_chunks_words', 'row');

CREATE TABLE trace_summaries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL,
    run TEXT NOT NULL, commit_oid TEXT NOT NULL, workload TEXT NOT NULL, symbols TEXT NOT NULL, summary TEXT NOT NULL,
    model TEXT NOT NULL, dimension INTEGER NOT NULL, embedding BLOB NOT NULL
) STRICT;
CREATE INDEX trace_summaries_by_source ON trace_summaries (source);
CREATE VIRTUAL TABLE trace_summaries_words USING fts5 (
    words, content = '', contentless_delete = 1, tokenize = 'porter unicode61'
);
CREATE VIRTUAL TABLE trace_summaries_terms USING fts5vocab ('trace_summaries_words', 'row');

CREATE TABLE fix_cases (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL,
    run TEXT NOT NULL, iteration INTEGER NOT NULL, commit_oid TEXT, symbol TEXT, strategy TEXT NOT NULL, verdict TEXT NOT NULL,
    summary TEXT NOT NULL, reason TEXT NOT NULL, deltas TEXT NOT NULL,
    model TEXT NOT NULL, dimension INTEGER NOT NULL, embedding BLOB NOT NULL
) STRICT;
CREATE INDEX fix_cases_by_source ON fix_cases (source);
CREATE VIRTUAL TABLE fix_cases_words USING fts5 (
    words, content = '', contentless_delete = 1, tokenize = 'porter unicode61'
);
CREATE VIRTUAL TABLE fix_cases_terms USING fts5vocab ('fix_cases_words', 'row');
