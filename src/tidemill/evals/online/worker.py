"""The service that runs online evaluators while a server runs."""

import logging
import time

from anyio import to_thread

from tidemill.core.actors import SYSTEM
from tidemill.core.background import REST_S, BackgroundLoop
from tidemill.core.kernel import Kernel
from tidemill.core.plugins import PluginMissing
from tidemill.core.wire import utc_now
from tidemill.evals.online import service, store
from tidemill.evals.online.judge import judge
from tidemill.evals.scorers import Scorer, build
from tidemill.evals.types import OnlineEvaluator, ScorerInvalid
from tidemill.feedback.collections.selection import corrected_span
from tidemill.traces import service as traces
from tidemill.traces.types import TraceFilter

log = logging.getLogger("tidemill.evals.online")

TICK_S = 0.5
STOP_S = 10.0
PAGE = 200
"""Spans, or corrections, that are judged between two commits."""
MARK_S = 30.0
"""A position that moved on without anything to judge is written down this often."""


class OnlineEvaluation:
    """Reads the tail of the traces for every active evaluator, judges, and commits scores and position together.

    Whatever ends the process, the next one goes on at the last commit: nothing is scored twice, nothing is left out.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._loop: BackgroundLoop | None = None
        self._ahead: dict[str, tuple[str, str, float]] = {}
        """Evaluator -> position as written, position read on to, and when it was last written."""
        self._scorers: dict[str, Scorer] = {}
        self._busy = True

    async def start(self) -> None:
        """Start judging; every evaluator resumes at its position."""
        self._loop = BackgroundLoop(
            "tidemill-online-evals", self.round, self._rest_s, self._kernel.db.changes, log, tick_s=TICK_S, busy_s=0
        )
        self._loop.start()
        self._kernel.loops["online-evals"] = self._loop.is_alive

    async def stop(self) -> None:
        """Finish the current page, then stop."""
        if self._loop is not None:
            await to_thread.run_sync(self._loop.stop, STOP_S)

    def _rest_s(self) -> float:
        """Spans come in without a commit that tells of them, so the tail is read again soon."""
        return TICK_S if self._busy else REST_S

    def round(self) -> bool:
        """Judge one page for every active evaluator; return whether any of them has more to read."""
        with self._kernel.read(SYSTEM) as ctx:
            now = utc_now()
            running = [e for e in store.list_evaluators(ctx.conn) if e.state == "active"]
            active = [e for e in running if e.resumes_at is None or e.resumes_at <= now]
        self._busy = bool(running)
        return any([self._process(evaluator) for evaluator in active])

    def _process(self, evaluator: OnlineEvaluator) -> bool:
        """Judge a page for one evaluator; return whether there is more. An error is noted in it and stops no other."""
        try:
            return self._corrections(evaluator) if evaluator.spec.expected == "correction" else self._page(evaluator)
        except (PluginMissing, ScorerInvalid) as error:
            if evaluator.last_error != error.message:
                log.error("%s cannot go on: %s", evaluator.author, error.message)
                with self._kernel.write(SYSTEM) as ctx:
                    service.record_error(ctx, evaluator.id, error.message)
            return False

    def _scorer(self, evaluator: OnlineEvaluator) -> Scorer:
        if evaluator.id not in self._scorers:
            self._scorers[evaluator.id] = build(self._kernel.plugins, evaluator.spec.scorer)
        return self._scorers[evaluator.id]

    def _page(self, evaluator: OnlineEvaluator) -> bool:
        with self._kernel.read(SYSTEM) as ctx:
            written = store.get_position(ctx.conn, evaluator.id)
            if written is None:  # deleted a moment ago
                return False
            progress = self._ahead.get(evaluator.id)
            if progress is None or progress[0] != written:
                progress = (written, written, time.monotonic())
            _, begin, marked = progress
            where = evaluator.spec.filter
            span_filter = where if where.kind is not None else where.model_copy(update={"kind": "llm", "calls": True})
            page = traces.read_tail(ctx, after=begin or None, limit=PAGE, where=span_filter)
        if not page.spans and time.monotonic() - marked < MARK_S:
            self._ahead[evaluator.id] = (written, page.position, marked)
            return page.more
        pairs = [(span, None) for span in page.spans]
        budget = service.budget_left(evaluator, utc_now().date().isoformat())
        page_result = judge(evaluator, self._scorer(evaluator), pairs, budget)
        stopped = page_result.examined < len(pairs)
        after = self._position_behind(begin, page_result.examined, span_filter) if stopped else page.position
        with self._kernel.write(SYSTEM) as ctx:
            stored = service.record_page(ctx, evaluator.id, written, after, page_result, stopped=stopped)
        self._ahead.pop(evaluator.id, None)
        return (page.more or not stored) and not stopped

    def _position_behind(self, begin: str, count: int, where: TraceFilter) -> str:
        """Return the tail's position after the first `count` spans, where the next day resumes."""
        if count == 0:
            return begin
        with self._kernel.read(SYSTEM) as ctx:
            return traces.read_tail(ctx, after=begin or None, limit=count, where=where).position

    def _corrections(self, evaluator: OnlineEvaluator) -> bool:
        with self._kernel.read(SYSTEM) as ctx:
            queue = store.list_pending(ctx.conn, evaluator.id, PAGE)
            pairs, places = [], []
            for place, entry in enumerate(queue):
                pair = corrected_span(ctx, entry.score_id, evaluator.spec.filter)
                if pair is not None:
                    pairs.append(pair)
                    places.append(place)
        if not queue:
            return False
        budget = service.budget_left(evaluator, utc_now().date().isoformat())
        page_result = judge(evaluator, self._scorer(evaluator), pairs, budget)
        stopped = page_result.examined < len(pairs)
        done = queue[: places[page_result.examined]] if stopped else queue
        with self._kernel.write(SYSTEM) as ctx:
            service.record_corrections(ctx, evaluator.id, [entry.id for entry in done], page_result, stopped=stopped)
        return len(queue) == PAGE and not stopped
