"""Decides whether the workers of a supervisor are alive, and really consume."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fastapi_events.worker_reports import Report, Verdict

_COMPUTES = 0.1
"""The share of a CPU above which a process computes. One whose threads wait for each other uses less."""

_MISSED_AFTER = 15.0
"""Seconds after which an engine should have noticed that a process has ended. Dramatiq waits ten for
one that starts, and without end where that is killed just while it says that it has started."""

NOT_STARTED = "no worker has started yet"
_NOT_BOOTED = "it does not consume yet"
STARTS = (NOT_STARTED, _NOT_BOOTED)
"""How problems end that every start has."""

Waiting = Mapping[str, int]
"""How many messages are ready, by queue."""


@dataclass(frozen=True, slots=True)
class _SignOfLife:
    """When a process was last seen to report or to compute, and what it had reported and used by then."""

    seen_at: float
    report_at: float
    cpu: float | None


@dataclass(slots=True)
class Judge:
    """Decides how the workers of some engines are. It asks nobody, and is told everything.

    A process stands still where it neither reports nor computes. Its consumer stands still where messages
    wait in a queue, the process has room for one, and it takes none; or where it no longer looks for
    messages, and has some in hand.

    Parameters:
        engines: Whose workers there should be.
        silent_after: Seconds after which a worker that stands still is not ready; after twice as many it is
            not live.
    """

    engines: Sequence[str]
    silent_after: float
    _waiting_since: dict[tuple[str, str], float] = field(default_factory=dict)
    _answers_since: dict[str, float] = field(default_factory=dict)
    _alive: dict[tuple[str, int], _SignOfLife] = field(default_factory=dict)

    def decide(
        self,
        reports: Iterable[Report],
        waiting: Mapping[str, Waiting | None],
        *,
        now: float,
        cpu: Mapping[int, float | None] | None = None,
        ended: Collection[int] = (),
    ) -> tuple[Verdict, dict[str, str]]:
        """The verdict; and for each engine whose worker has to be started again, why.

        Parameters:
            reports: Of the processes that are alive.
            waiting: For each engine what waits in its queues; None where its broker does not answer.
            cpu: The CPU seconds that each process has used, by pid; None for one of which it is not known.
            ended: The pids of those that have ended, which their engine has not noticed yet.
        """
        every = list(reports)
        self._note(waiting, now)
        self._note_life(every, cpu or {}, now)
        problems: list[str] = []
        dead: dict[str, str] = {}
        for engine in self.engines:
            if waiting.get(engine) is None:
                problems.append(f"{engine}: the broker does not answer")
            own = [each for each in every if each["engine"] == engine]
            if not own:
                problems.append(f"{engine}: {NOT_STARTED}")
            for report in own:
                has_ended = report["pid"] in ended
                found, still = (self._missed if has_ended else self._problems_of)(report, now)
                found = [f"{engine}, pid {report['pid']}: {each}" for each in found]
                problems += found
                if still > (_MISSED_AFTER if has_ended else 2 * self.silent_after):
                    dead[engine] = found[-1]
        verdict: Verdict = {
            "at": now, "live": not dead, "ready": not problems, "problems": problems,
            "workers": [
                {
                    "engine": each["engine"], "pid": each["pid"], "in_hand": each["in_hand"],
                    "silent_for": round(now - each["at"], 1),
                }
                for each in every
            ],
        }  # fmt: skip
        return verdict, dead

    def begin_anew(self, engines: Iterable[str]) -> None:
        """Give the workers of some engines their time: they start again, or nobody has looked at them."""
        anew = set(engines)
        self._answers_since = {key: at for key, at in self._answers_since.items() if key not in anew}
        self._waiting_since = {key: at for key, at in self._waiting_since.items() if key[0] not in anew}
        self._alive = {key: sign for key, sign in self._alive.items() if key[0] not in anew}

    def _note(self, waiting: Mapping[str, Waiting | None], now: float) -> None:
        """Note since when brokers have answered, and messages have been waiting, without a break."""
        there = {
            (engine, queue)
            for engine, found in waiting.items()
            for queue, count in (found or {}).items()
            if count
        }
        self._waiting_since = {each: self._waiting_since.get(each, now) for each in there}
        self._answers_since = {
            engine: self._answers_since.get(engine, now)
            for engine, found in waiting.items()
            if found is not None
        }

    def _note_life(self, reports: Iterable[Report], cpu: Mapping[int, float | None], now: float) -> None:
        """Note which processes have reported or computed since they were last seen to."""
        alive: dict[tuple[str, int], _SignOfLife] = {}
        for report in reports:
            process = _process_of(report)
            known, used = self._alive.get(process), cpu.get(report["pid"])
            if known is None or known.report_at != report["at"] or _has_computed(known, used, now):
                known = _SignOfLife(now, report["at"], used)
            alive[process] = known
        self._alive = alive

    def _missed(self, report: Report, now: float) -> tuple[list[str], float]:
        """What is wrong with a process that has ended, and since when its engine should have noticed."""
        since = now - self._alive[_process_of(report)].seen_at
        return [f"it has ended, which {report['engine']} has not noticed for {since:.0f} s"], since

    def _problems_of(self, report: Report, now: float) -> tuple[list[str], float]:
        """What is wrong with a process, the worst last, and for how long it has stood still."""
        if now - report["at"] > self.silent_after:
            still = now - self._alive[_process_of(report)].seen_at
            return [f"it has not reported for {now - report['at']:.0f} s"], still
        if not report["booted"]:
            return [_NOT_BOOTED], 0.0
        problems = [f"the consumer of {each} has stopped" for each in report["stopped"]]
        room_since = report["room_since"]
        if room_since is None:
            return problems, 0.0
        longest = 0.0
        looped_at = report["looped_at"]
        if looped_at is not None and now - looped_at > self.silent_after:
            problems.append(f"its consumer has not looked for messages for {now - looped_at:.0f} s")
            if report["in_hand"]:
                # Without its broker a consumer cannot look: it gets its time when the broker is back.
                longest = now - max(looped_at, room_since, self._answers_since.get(report["engine"], now))
        for queue, took in report["took"].items():
            since = self._waiting_since.get((report["engine"], queue))
            still = 0.0 if since is None else now - max(since, took, room_since)
            if still > self.silent_after:
                problems.append(f"messages wait in {queue}, and it has taken none for {still:.0f} s")
            longest = max(longest, still)
        return problems, longest


def _process_of(report: Report) -> tuple[str, int]:
    return report["engine"], report["pid"]


def _has_computed(known: _SignOfLife, used: float | None, now: float) -> bool:
    return known.cpu is not None and used is not None and used - known.cpu > _COMPUTES * (now - known.seen_at)
