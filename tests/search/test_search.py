# SPDX-License-Identifier: Apache-2.0
"""Search: what is found, that only what changed is embedded again, and what a spoilt index or a bad question does."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import apsw
import pytest

import git_hmopt.store.search as store_search
from git_hmopt.errors import UsageError
from git_hmopt.records.words import RunId, RunStatus
from git_hmopt.search.retrieval import LARGEST, Answer, Question, search
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import Kind, SearchFile
from tests.store.repositories import RUN, Shell, evaluation_record, in_processes, run_record
from tests.store.test_store_cache import HOTSPOT, PATCH, record_run

SORT = """/**
 * sort_r - sort an array of elements
 */
void sort_r(void *base, int num)
{
\tswap_words(base, num);
}
"""
CRC = """/* Take the checksum of a buffer. */
unsigned crc_update(unsigned crc, const char *buffer)
{
\treturn crc_table[crc ^ *buffer];
}
"""
CODE = (Kind.CODE,)


def with_code(shell: Shell) -> Repository:
    """Commit two files with a function each and return the repository."""
    shell.write("lib/sort.c", SORT)
    shell.write("drivers/crc.c", CRC)
    shell.commit("code")
    return Repository.open(shell.cwd)


def ask(repository: Repository, text: str, *paths: str, kinds: tuple[Kind, ...] = CODE, limit: int = 10) -> Answer:
    """Search."""
    return search(repository, Question(text, kinds, limit, paths=paths))


def symbols(answer: Answer) -> list[object]:
    """Return the functions that were found."""
    return [hit["symbol"] for hit in answer.hits[Kind.CODE]]


def test_a_function_is_found_by_its_summary_in_both_object_formats(any_shell: Shell) -> None:
    answer = ask(with_code(any_shell), "sort arrays")
    first = answer.hits[Kind.CODE][0]
    summary = "sort an array of elements"
    assert first == {
        "file": "lib/sort.c", "symbol": "sort_r", "first_line": 4, "last_line": 7, "summary": summary,
    }  # fmt: skip


def test_a_word_is_found_by_its_abbreviation_only_with_vectors(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write("a.c", "void init_addr(void) { alloc_buf(); }\n")
    repository = with_code(shell)
    answer = ask(repository, "initialise addresses")
    assert symbols(answer)[0] == "init_addr"
    assert answer.indexed.without_vectors is None
    monkeypatch.setattr(store_search, "load_vectors", lambda database: "sqlite-vec is not installed")
    assert symbols(ask(repository, "initialise addresses")) == []


def test_only_the_files_that_changed_are_embedded_again(shell: Shell) -> None:
    repository = with_code(shell)
    assert ask(repository, "sort").indexed.embedded == {Kind.CODE: 2}
    assert ask(repository, "checksum").indexed.embedded == {}
    shell.write("drivers/crc.c", CRC + CRC.replace("crc_update", "crc_again"))
    shell.commit("one file")
    answer = ask(repository, "crc_again")
    assert answer.indexed.embedded == {Kind.CODE: 2}
    assert symbols(answer)[0] == "crc_again"
    shell.git("rm", "-q", "drivers/crc.c")
    shell.commit("gone")
    answer = ask(repository, "checksum buffer crc_update")
    assert answer.indexed.embedded == {} or answer.indexed.embedded == {Kind.CODE: 0}
    assert "crc_update" not in symbols(answer)


def test_paths_restrict_what_is_found_and_what_is_indexed(shell: Shell) -> None:
    repository = with_code(shell)
    answer = ask(repository, "checksum of a buffer, sorted", "lib")
    assert (symbols(answer), answer.indexed.embedded) == (["sort_r"], {Kind.CODE: 1})
    assert symbols(ask(repository, "checksum of a buffer, sorted", "drivers/crc.c")) == ["crc_update"]
    # The rest is indexed when it is asked about, and what is known is not embedded again.
    whole = ask(repository, "checksum of a buffer, sorted")
    assert set(symbols(whole)) == {"sort_r", "crc_update"}
    assert whole.indexed.embedded.get(Kind.CODE, 0) == 0
    with pytest.raises(UsageError, match="'nowhere' is not in"):
        ask(repository, "sort", "nowhere")


def test_a_commit_is_searched_as_it_was(shell: Shell) -> None:
    repository = with_code(shell)
    ask(repository, "sort")
    shell.git("rm", "-q", "lib/sort.c")
    shell.commit("gone")
    assert "sort_r" not in symbols(ask(repository, "sort array"))
    old = search(repository, Question("sort array", CODE, rev="HEAD~1"))
    assert symbols(old)[0] == "sort_r"


@pytest.mark.parametrize(
    "text",
    ["AND OR NEAR(", '"', "'", "the of and", "", "\0", "* - ^", "sort:array", "{a b}: c", "\udcff", "x" * 100_000],
)
def test_no_question_is_an_error(shell: Shell, text: str) -> None:
    answer = ask(with_code(shell), text, kinds=tuple(Kind))
    assert set(answer.hits) == set(Kind)


def test_operators_of_fts5_are_words(shell: Shell) -> None:
    shell.write("near.c", "/* near miss */\nvoid near_miss(void) { }\n")
    repository = with_code(shell)
    assert symbols(ask(repository, "AND OR NEAR("))[0] == "near_miss"


def test_an_empty_repository_has_nothing(tmp_path: Path) -> None:
    empty = Shell(tmp_path)
    empty.git("init", "-q")
    answer = ask(Repository.open(tmp_path), "sort", kinds=tuple(Kind))
    assert (answer.commit, answer.hits) == (None, {kind: [] for kind in Kind})


def test_a_tree_without_c_has_nothing(shell: Shell) -> None:
    shell.git("rm", "-q", "-r", "lib")
    shell.commit("no C")
    answer = ask(Repository.open(shell.cwd), "sort")
    assert (symbols(answer), answer.indexed.embedded.get(Kind.CODE, 0)) == ([], 0)


def test_a_bare_repository_is_searched(shell: Shell, tmp_path: Path) -> None:
    with_code(shell)
    shell.git("clone", "-q", "--bare", str(shell.cwd), str(tmp_path / "bare"))
    assert symbols(ask(Repository.open(tmp_path / "bare"), "sort array"))[0] == "sort_r"


def test_sources_in_other_encodings_and_under_other_names_are_found(shell: Shell) -> None:
    name = b"lib/\xe4.c".decode("utf-8", "surrogateescape")
    (shell.cwd / name).write_bytes("/* gr\xf6\xdfer */\nint bigger(void) { return 1; }\n".encode("latin-1"))
    repository = with_code(shell)
    hit = ask(repository, "bigger").hits[Kind.CODE][0]
    assert hit["symbol"] == "bigger"
    assert str(hit["file"]).encode()  # what is shown can be written
    assert ask(repository, "bigger").indexed.embedded == {}


def test_links_are_not_followed_and_huge_files_are_counted(shell: Shell) -> None:
    (shell.cwd / "linked.c").symlink_to("lib/sort.c")
    shell.write("huge.c", SORT + "/*" + "x" * LARGEST + "*/\n")
    answer = ask(with_code(shell), "sort array")
    assert symbols(answer).count("sort_r") == 1
    assert answer.indexed.skipped == {f"larger than {LARGEST >> 20} MiB": 1}


# -- the file ----------------------------------------------------------------------------------------------------------


def index_path(repository: Repository) -> Path:
    """Return where the index lies."""
    return SearchFile(repository, "", 0).path


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)


def overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def of_another_version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")


def of_another_model(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = 'word2vec' WHERE key = 'model'")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (truncated, "damaged"),
        (no_database, "damaged"),
        (overwritten, "damaged"),
        (of_another_version, "of version 99"),
        (of_another_model, "of the model word2vec with 1024 dimensions"),
    ],
)
def test_a_spoilt_index_is_made_again(shell: Shell, spoil: object, word: str) -> None:
    repository = with_code(shell)
    ask(repository, "sort")
    assert callable(spoil)
    spoil(index_path(repository))
    answer = ask(repository, "sort array")
    assert answer.indexed.rebuilt is not None and word in answer.indexed.rebuilt
    assert answer.indexed.embedded == {Kind.CODE: 2}
    assert symbols(answer)[0] == "sort_r"
    assert ask(repository, "sort array").indexed.rebuilt is None


def test_a_deleted_index_loses_nothing(shell: Shell) -> None:
    repository = with_code(shell)
    before = ask(repository, "sort array").hits
    index_path(repository).unlink()
    after = ask(repository, "sort array")
    assert (after.hits, after.indexed.rebuilt) == (before, None)


def test_model_and_dimension_stand_with_each_vector(shell: Shell) -> None:
    repository = with_code(shell)
    answer = ask(repository, "sort")
    with sqlite3.connect(index_path(repository)) as database:
        rows = database.execute("SELECT model, dimension, length(embedding) FROM code_chunks").fetchall()
    assert rows == [(answer.model, answer.dimension, answer.dimension)] * 2


def test_what_is_current_is_read_only(shell: Shell) -> None:
    repository = with_code(shell)
    answer = ask(repository, "sort")
    written = index_path(repository).stat().st_mtime_ns
    with SearchFile(repository, answer.model, answer.dimension).reading() as index:
        assert index is not None
        with pytest.raises(apsw.ReadOnlyError):
            index.remember("code", None)
    assert symbols(ask(repository, "sort"))[0] == "sort_r"
    assert index_path(repository).stat().st_mtime_ns == written


def test_without_sqlite_vec_words_are_searched_and_vectors_come_later(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = with_code(shell)
    with monkeypatch.context() as patch:
        patch.setattr(store_search, "load_vectors", lambda database: "sqlite-vec is not installed")
        answer = ask(repository, "sort array")
        assert answer.indexed.without_vectors == "sqlite-vec is not installed"
        assert symbols(answer) == ["sort_r"]
        assert symbols(ask(repository, "checksummed buffers")) == ["crc_update"]
    shell.write("a.c", "void init_addr(void) { alloc_buf(); }\n")
    shell.commit("more")
    answer = ask(repository, "checksums")
    assert (answer.indexed.without_vectors, answer.indexed.embedded) == (None, {Kind.CODE: 1})
    with sqlite3.connect(index_path(repository)) as database:
        bits = database.execute("SELECT count(*) FROM code_chunks_bits_rowids").fetchone()
        assert bits == database.execute("SELECT count(*) FROM code_chunks").fetchone() == (3,)


def test_searches_at_once_index_once(shell: Shell) -> None:
    repository = with_code(shell)

    def one(number: int) -> None:
        assert symbols(ask(repository, "sort array"))[0] == "sort_r"

    in_processes(6, one)
    with sqlite3.connect(index_path(repository)) as database:
        assert database.execute("SELECT count(*) FROM code_chunks").fetchone() == (2,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_searches_of_two_commits_at_once_each_see_their_own(shell: Shell) -> None:
    repository = with_code(shell)
    shell.git("mv", "lib/sort.c", "lib/order.c")
    shell.commit("moved")
    wrong: list[object] = []

    def look(rev: str, file: str) -> None:
        for _ in range(8):
            answer = search(repository, Question("sort array elements", CODE, rev=rev))
            wrong.extend(hit["file"] for hit in answer.hits[Kind.CODE][:1] if hit["file"] != file)

    lookers = [threading.Thread(target=look, args=both) for both in (("HEAD", "lib/order.c"), ("HEAD~1", "lib/sort.c"))]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join(120)
    assert wrong == []


# -- runs --------------------------------------------------------------------------------------------------------------


def test_runs_and_verdicts_are_found_by_what_they_say(shell: Shell) -> None:
    repository = with_code(shell)
    record_run(Journal(repository), RUN)
    answer = ask(repository, "swap words of do_swap", kinds=tuple(Kind))
    (trace,) = answer.hits[Kind.TRACES]
    assert (trace["run"], trace["symbols"]) == (RUN, HOTSPOT.symbol)
    (fix,) = answer.hits[Kind.FIXES]
    assert (fix["run"], fix["iteration"], fix["summary"], fix["strategy"]) == (RUN, 1, PATCH.title, PATCH.strategy)
    assert (fix["symbol"], fix["verdict"]) == ("do_swap", "improved")
    assert answer.indexed.embedded[Kind.FIXES] == answer.indexed.embedded[Kind.TRACES] == 1
    assert ask(repository, "swap", kinds=tuple(Kind)).indexed.embedded == {}


def test_a_retracted_verdict_says_so(shell: Shell) -> None:
    repository = with_code(shell)
    journal = Journal(repository)
    run = RunId("20260131-lib-sort-aaaaaa")
    journal.append(run, [OpDraft("run.created", "init_run", data={"run": run_record(run).model_dump(mode="json")})])
    data = {
        "patch": PATCH.model_dump(mode="json"),
        "evaluation": evaluation_record(run=run).model_dump(mode="json"),
    }
    journal.append(run, [OpDraft("judged", "evaluate", iter=1, data=data)])
    assert ask(repository, "swap words", kinds=(Kind.FIXES,)).hits[Kind.FIXES][0]["verdict"] == "improved"
    retract = {"v": 1, "of_iteration": 1, "reason": "the clock was wrong"}
    journal.append(run, [OpDraft("retract", "review", data={"retract": retract, "status": RunStatus.RUNNING})])
    answer = ask(repository, "swap words", kinds=(Kind.FIXES,))
    assert answer.hits[Kind.FIXES][0]["verdict"] == "retracted"
    assert answer.indexed.embedded == {Kind.FIXES: 1}
