# SPDX-License-Identifier: Apache-2.0
"""Start a run, go on with one, and close it whatever happens."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from git_hmopt.agents.proposer import Proposer
from git_hmopt.config.load import LoadedConfig, load_config
from git_hmopt.config.settings import with_settings
from git_hmopt.errors import HmoptError, InterruptedRunError, RepositoryError, StoreError
from git_hmopt.loop import ablation
from git_hmopt.loop.baseline import reuse
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.configuration import LocalOverlays, notes_on, ready
from git_hmopt.loop.lock import alone
from git_hmopt.loop.log import Listener, RunLog
from git_hmopt.loop.nodes.finish import closing, dropped_branches, told
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.plan import RunPlan
from git_hmopt.loop.proposers import NO_MODELS, Asking, habits_for, kept, make_proposer
from git_hmopt.loop.state import CheckpointRecord, RunState
from git_hmopt.loop.strategies import run_templates
from git_hmopt.process.runner import kill_live
from git_hmopt.records.run import RepositoryState, RunRecord
from git_hmopt.records.words import (
    RESUMED,
    Oid,
    RunId,
    RunStatus,
    Without,
    best_ref,
    journals_of,
    new_run_id,
    utc_now,
)
from git_hmopt.report.story import RunStory
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository

Handler = Callable[[int, FrameType | None], None] | signal.Handlers

# LangGraph asks langsmith, and langsmith asks the environment, whether to post every state to a server. The answer
# is no, whatever the shell says; set before either is imported.
_TRACING = (
    "LANGSMITH_TRACING",
    "LANGSMITH_TRACING_V2",
    "LANGCHAIN_TRACING",
    "LANGCHAIN_TRACING_V2",
    "LANGCHAIN_HANDLER",
)
_KEYS = (
    "LANGSMITH_API_KEY",
    "LANGCHAIN_API_KEY",
    "LANGSMITH_ENDPOINT",
    "LANGCHAIN_ENDPOINT",
    "LANGSMITH_RUNS_ENDPOINTS",
)


def forbid_tracing() -> None:
    """Switch LangSmith off in this process's environment; call before langgraph is imported."""
    for name in _TRACING:
        os.environ[name] = "false"
    for name in _KEYS:
        os.environ.pop(name, None)


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    workload: str
    base: str = "HEAD"
    proposer: str = "playbook"
    seed: int | None = None
    iterations: int | None = None
    wall_s: int | None = None
    sandboxed: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    """A person's own values above the configuration's, as `Settings.texts` gives them."""
    baseline: RunId | None = None
    """A run whose profile and noise floor are taken over."""
    without: tuple[Without, ...] = ()
    """What evidence to go without (`loop.ablation`)."""
    parent: RunId | None = None
    """A run of another clone that this one goes on with."""
    asking: Asking = NO_MODELS
    """What a person says about models."""
    run: RunId | None = None
    """The name of the run, for who must know it before it begins; default: one is made up."""


def start(
    repository: Repository,
    loaded: LoadedConfig,
    configuration: bytes,
    request: Request,
    *,
    local_root: Path,
    listener: Listener = lambda line: None,
) -> RunStory:
    """Run the loop from the beginning and return its story; the run is closed, or resumable, when this raises.

    `local_root` is the working tree: an overlay that the base commit has not may lie there.
    """
    artifacts = ArtifactStore.of(repository)
    base = repository.resolve(request.base)
    run = request.run or new_run_id(request.workload)
    _refuse_taken(repository, run)
    _refuse_namespace(repository, run)
    stored = artifacts.put_bytes(configuration, kind="configuration", name=".hmopt.yaml", media_type="application/yaml")
    with alone(repository, run):
        with _nothing_left(repository, run):
            plan = RunPlan(
                run=run,
                uuid=str(uuid.uuid4()),
                workload=request.workload,
                proposer=kept(request.proposer, _patches(repository, run)),
                base_commit=base,
                seed=secrets.randbits(31) if request.seed is None else request.seed,
                origin=loaded.origin,
                configuration=stored.sha256,
                sandboxed=request.sandboxed,
                iterations=request.iterations,
                wall_s=request.wall_s,
                settings={**habits_for(request.proposer, repository, request.asking), **request.settings},
                without=request.without,
                parent=request.parent,
                exemption=request.asking.exemption,
                started=utc_now(),
            )
            bench = _bench(repository, plan, loaded, local_root, listener, request.asking)
            ablation.refuse_unfounded(bench)
            record = _record(bench)
            reused = reuse(bench, record, request.baseline) if request.baseline else []
        return _drive(bench, *_beginning(bench, record, request.baseline, reused))


def _beginning(
    bench: Bench, record: RunRecord, baseline: RunId | None, reused: Sequence[OpDraft]
) -> tuple[RunState, Outcome]:
    """Return the state a run begins with, and what is published with its first checkpoint."""
    state: RunState = {
        "run_id": bench.run,
        "iteration": 0,
        "best": bench.plan.base_commit,
        "baseline_run_id": baseline,
        "budget_remaining": int(bench.wall_s),
        "regressions": 0,
        "no_gain": 0,
    }
    data = {
        "run": record.model_dump(mode="json"),
        "plan": bench.plan.model_dump(mode="json"),
        "overlays": {overlay.name: overlay.digest for overlay in bench.overlays},
    }
    return state, Outcome(state, [OpDraft("run.created", "init_run", data=data), *reused])


@contextmanager
def _nothing_left(repository: Repository, run: RunId) -> Iterator[None]:
    """Delete the run's directory when the run is refused before it began: the copied patches of no run."""
    try:
        yield
    except HmoptError:
        shutil.rmtree(repository.home / "runs" / run, ignore_errors=True)
        raise


def resume(
    repository: Repository,
    run: RunId,
    *,
    local_root: Path,
    listener: Listener = lambda line: None,
    asking: Asking = NO_MODELS,
) -> RunStory:
    """Go on with a run from its last checkpoint: the run itself in the clone that made it, elsewhere a child of it.

    StoreError when it is closed; whatever `ready` raises when its configuration is not trusted in this clone.
    """
    journal = Journal(repository)
    book = Book(journal, run)
    _refuse_closed(book)
    if not any(entry.operation.writer == journal.writer for entry in book.entries):
        return _resumed_elsewhere(repository, book, listener, asking)
    plan = book.plan()
    configuration = ArtifactStore.of(repository).read(plan.configuration)
    if configuration is None:
        raise StoreError(
            f"the configuration of run {run} is not in this clone's artifact store",
            next_step=_another(plan, str(best_ref(run))),
        )
    with alone(repository, run):
        # Another process may have closed it until now.
        _refuse_closed(Book(journal, run))
        loaded = load_config(configuration, origin=plan.origin)
        bench = _bench(repository, plan, loaded, local_root, listener, asking)
        _refuse_other_overlays(bench, book)
        before = sum(one.writer == journal.writer and one.op == RESUMED for one in book.reading.operations)
        bench.journal.append(run, [OpDraft(RESUMED, "resume", attempt=before)])
        return _drive(bench, None, None)


def _resumed_elsewhere(repository: Repository, book: Book, listener: Listener, asking: Asking) -> RunStory:
    """Open a child run on the best so far: only a journal's one writer may append to it.

    What was tried is not tried again, and what is left of the budget is what the last checkpoint left.
    """
    plan = book.plan()
    last = Journal(repository).latest_checkpoint(book.run)
    state = CheckpointRecord.model_validate(last.data["checkpoint"]).state if last else None
    base = state.best if state else plan.base_commit
    found = ready(repository, base=base, allow_dirty=True)
    budget = with_settings(found.loaded.config, plan.settings).budget
    iterations = plan.iterations if plan.iterations is not None else budget.iterations
    request = Request(
        workload=plan.workload,
        base=base,
        proposer=plan.proposer,
        seed=plan.seed,
        iterations=max(0, iterations - len(book.attempts())),
        wall_s=max(1, int(state.budget_remaining)) if state else plan.wall_s,
        sandboxed=plan.sandboxed,
        settings=plan.settings,
        without=plan.without,
        parent=book.run,
        asking=asking,
    )
    return start(repository, found.loaded, found.raw, request, local_root=found.local_root, listener=listener)


def _refuse_closed(book: Book) -> None:
    closed = book.last("run.closed")
    if closed is None:
        return
    step = f"look at it with: git hmopt show {book.run}"
    if closed["status"] != RunStatus.SUCCEEDED:
        accepted = any(one.accepted for one in book.evaluations())
        step += f"; {_another(book.plan(), str(best_ref(book.run)) if accepted else None)}"
    raise StoreError(f"run {book.run} is closed ({closed['status']}: {closed['reason']})", next_step=step)


def _another(plan: RunPlan, best: str | None) -> str:
    """Return how to start a run that goes on where this one cannot."""
    base = best.removeprefix("refs/heads/") if best else plan.base_commit[:12]
    switches = "".join(f" --no-{one}" for one in plan.without)
    return f"start another from where it stood: git hmopt optimize --workload {plan.workload} --base {base}{switches}"


def _refuse_other_overlays(bench: Bench, book: Book) -> None:
    """Refuse to go on with another harness than the run began with: its numbers would be of two workloads."""
    then = book.need("run.created")["overlays"]
    now = {overlay.name: overlay.digest for overlay in bench.overlays}
    changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    if not changed:
        return
    raise StoreError(
        f"overlay '{changed[0]}' is not what it was when run {bench.run} began",
        next_step="put it back as it was, or start another run",
    )


def _bench(
    repository: Repository, plan: RunPlan, loaded: LoadedConfig, local_root: Path, listener: Listener, asking: Asking
) -> Bench:
    log = RunLog(repository.home / "runs" / plan.run / "logs" / "log.jsonl", plan.run, listener)
    base, run = Oid(plan.base_commit), RunId(plan.run)
    proposer: Proposer = make_proposer(plan, repository, _patches(repository, run), asking)
    places = LocalOverlays(repository, base, plan.origin, local_root)
    bench = Bench(repository, plan, loaded, proposer, log=log, places=places)
    bench.templates = run_templates(repository, Oid(plan.base_commit), loaded)
    others = (*notes_on(loaded, local_root), *dict.fromkeys(places.notes))
    bench.notes = (*ablation.notes_on(plan.without), *bench.notes, *others)
    return bench


def _patches(repository: Repository, run: RunId) -> Path:
    return repository.home / "runs" / run / "patches"


def _refuse_taken(repository: Repository, run: RunId) -> None:
    if repository.list_refs(journals_of(run)):
        raise StoreError(f"there is a run '{run}' already", next_step=f"go on with it: git hmopt resume {run}")


def _refuse_namespace(repository: Repository, run: RunId) -> None:
    blocking = repository.user_branch_blocking_namespace(run)
    if blocking is not None:
        short = blocking.removeprefix("refs/heads/")
        raise RepositoryError(
            f"your branch '{short}' stands where the branches of runs go (hmopt/<run>/best)",
            next_step=f"rename it: git branch -m {short} {short}-mine",
        )


def _record(bench: Bench) -> RunRecord:
    from git_hmopt.process.host import host_name

    plan, repository = bench.plan, bench.repository
    return RunRecord(
        uuid=plan.uuid,
        name=plan.run,
        workload=plan.workload,
        base_commit=plan.base_commit,
        base_tree=repository.tree_of(Oid(plan.base_commit)),
        proposer=plan.proposer,
        device=host_name(),
        toolchain={},
        configuration=plan.configuration,
        environment={
            "cpus": ",".join(map(str, bench.cpus)) or "not pinned",
            "sandbox": bench.missing_sandbox() or "bwrap",
            **({"without": ", ".join(plan.without)} if plan.without else {}),
        },
        repository=RepositoryState(
            uri=repository.config_get("remote.origin.url") or "local",
            revision=plan.base_commit,
            dirty=repository.worktree is not None and repository.is_dirty(),
        ),
        seed=plan.seed,
        parent=plan.parent,
        created=plan.started,
    )


def _drive(bench: Bench, state: RunState | None, first: Outcome | None) -> RunStory:
    """Invoke the graph and close the run when it is interrupted or fails; a kill leaves it to `resume`."""
    forbid_tracing()
    # langgraph costs 0.8 s and a thousand modules; nothing else of the tool needs it.
    from git_hmopt.loop.graph import compiled
    from git_hmopt.loop.saver import JournalSaver

    saver = JournalSaver(bench.journal, bench.run)
    saver.pending = first
    limit = 16 + 12 * (bench.iterations + 2)
    with _handling({signal.SIGTERM: _interrupt}):
        try:
            compiled(bench, saver).invoke(
                state, {"configurable": {"thread_id": bench.run}, "recursion_limit": limit}, durability="sync"
            )
        except KeyboardInterrupt:
            raise _interrupted(bench) from None
        except (StoreError, OSError) as error:
            # What cannot be written or read now may be later, and closing would have to write: the run stays open.
            raise _resumable(bench, error) from error
        except HmoptError as error:
            _close(bench, RunStatus.FAILED, error.what)
            raise
    return told(bench)


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Have signals handled so, and as before afterwards; a thread that is not the main one is sent none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # `kill`, a service's stop and CI's cancel mean what Ctrl-C means.
    raise KeyboardInterrupt


def _interrupted(bench: Bench) -> InterruptedRunError:
    """Close the run as stopped, and return what is to be told."""
    # Who presses Ctrl-C again means the same run, and would only leave it open.
    with _handling({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}):
        # What worker threads started (relinks) does not see Ctrl-C.
        kill_live()
        if not bench.journal.read(bench.run).entries:
            return InterruptedRunError("interrupted before anything of the run was recorded")
        _close(bench, RunStatus.STOPPED, "interrupted")
    return InterruptedRunError(
        f"run {bench.run} was interrupted and is closed as stopped",
        next_step=f"what it found so far: git hmopt show {bench.run}",
    )


def _resumable(bench: Bench, error: StoreError | OSError) -> StoreError:
    """Return the error with the command that goes on with the run."""
    if isinstance(error, StoreError):
        what, first = error.what, f"{error.next_step}; " if error.next_step else ""
    else:
        what, first = f"'{error.filename or bench.repository.home}' cannot be used: {error.strerror}", ""
    return StoreError(what, next_step=f"{first}then go on with: git hmopt resume {bench.run}")


def _close(bench: Bench, status: RunStatus, reason: str) -> None:
    draft = closing(bench.log.iteration, status, reason)
    # A node that ended well left its time with its checkpoint.
    if bench.log.took is not None and bench.log.took.outcome != "ok":
        draft = replace(draft, data={**draft.data, "took": bench.log.took.model_dump(mode="json")})
    bench.journal.append(bench.run, [draft], refs=dropped_branches(bench))
