"""Which of two similar rows may go: only one that teaches nothing that the other does not."""

import functools
import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from tidemill.core.tokens import is_word, tokens
from tidemill.data.groups import MinHashIndex, NearPair, Signatures
from tidemill.data.shingles import I64, U64, digests

LONG_TEXT = 800
"""Characters from which a text without an answer is a document, in which single words decide nothing."""
_PASSES = 20
_CANDIDATES, _EARLIER = 4, 1024
_REMEMBERED = 500_000
_KEPT = -1
_MAX_CACHED = 5_000
_SIGNS = re.compile(r"[0-9#%&@*/\\$+<=>|^~]")
_NEGATIONS = frozenset(
    re.findall(
        r"\S+",
        """
        no not never without none nor neither cannot nothing nobody nicht kein keine keinen keiner keinem nie niemals
        ohne ne pas jamais sans aucun aucune rien nunca sin ni jamás non mai senza não nem sem niet geen nooit zonder
        inte aldrig utan ikke aldri uten ei eikä bez žádný není nem soha nélkül nu fără не нет без ни никогда немає
        ні değil yok hiç δεν μην όχι χωρίς không chưa tidak bukan tanpa hindi walang hapana si
        """,
    )
)


def meaning_keys(texts: list[str], answers: list[str], *, documents: bool) -> U64:
    """Return one number per row: equal where rows have the same answer, numbers and symbols.

    `documents`: the rows have no answer, and of long ones the text alone counts.
    """
    parts = []
    for text, answer in zip(texts, answers, strict=True):
        plain = documents and len(text) > LONG_TEXT
        plain = plain or (text.isascii() and _SIGNS.search(text) is None)
        deciding = [] if plain else [token for token in _tokens(text) if not is_word(token)]
        parts.append("\x00".join((" ".join(answer.split()), *deciding)).encode("utf-8", "surrogatepass"))
    keys: U64 = digests(parts)[:, 0].copy()
    return keys


def same_meaning(left: str, right: str, *, documents: bool) -> bool:
    """Return whether one text is the other with words left out that decide nothing.

    Case, spaces and punctuation do not count; one word in place of another does, and so does the spelling of a decimal
    (version 3.10 is not 3.1). In scripts without capitals every word may be a name, so none may be left out.
    """
    if documents and min(len(left), len(right)) > LONG_TEXT:
        return True
    short, long, long_text = _tokens(left), _tokens(right), right
    if len(short) > len(long):
        short, long, long_text = long, short, left
    rest = iter(short)
    expected = next(rest, None)
    extra = []
    for token in long:
        if token == expected:
            expected = next(rest, None)
        else:
            extra.append(token)
    if expected is not None or any(_decides(token) for token in extra):
        return False
    return not extra or _names(long_text).isdisjoint(extra)


def _tokens(text: str) -> tuple[str, ...]:
    return _cached_tokens(text) if len(text) < _MAX_CACHED else tuple(tokens(text, keep_zeros=True))


@functools.lru_cache(maxsize=4_000)
def _cached_tokens(text: str) -> tuple[str, ...]:
    return tuple(tokens(text, keep_zeros=True))


def _decides(token: str) -> bool:
    if token in _NEGATIONS or token.endswith("n't") or not is_word(token) or token.upper() == token:
        return True
    return len(token) == 1 and token not in "ai"


def _names(text: str) -> set[str]:
    """Return the words that stand in the text with a capital where no sentence begins, in folded case."""
    names: set[str] = set()
    if text.isupper():
        return names
    before = ""
    for word in text.split():
        bare = word.strip("\"'()[]{}.,;:!?*_`“”‘’\xab\xbb¿¡")
        if bare[:1].isupper() and before and before[-1] not in ".!?:":
            names.add(bare.casefold())
        before = word
    return names


def find_duplicates(index: MinHashIndex, same: Callable[[int, int], bool], checkpoint: Callable[[], None]) -> I64:
    """Return for each row the earlier kept row that it duplicates, or -1 for a kept row.

    A dropped row is near to the kept one itself, never only through others. `same` tells of two rows whether they
    mean the same.
    """
    different: set[tuple[int, int]] = set()

    def is_near(other: int, row: int) -> bool:
        if (other, row) in different:
            return False
        if same(other, row) and index.similarity(other, row) >= index.threshold:
            return True
        if len(different) < _REMEMBERED:
            different.add((other, row))
        return False

    like: I64 = np.full(index.count, _KEPT, dtype=np.int64)
    active = np.ones(index.count, dtype=bool)
    for number in range(_PASSES):
        for rows, signatures in index.runs():
            _mark(rows, signatures, index, is_near, like, active)
            checkpoint()
        # A row whose model was dropped later is looked at again, beside the rows that are left.
        dropped = np.flatnonzero(like != _KEPT)
        orphans = dropped[like[like[dropped]] != _KEPT]
        like[orphans] = _KEPT
        if not len(orphans) or number == _PASSES - 1:
            break
        active = np.zeros(index.count, dtype=bool)
        active[orphans] = True
    return like


def _mark(
    rows: I64,
    signatures: Signatures,
    index: MinHashIndex,
    is_near: Callable[[int, int], bool],
    like: I64,
    active: npt.NDArray[np.bool_],
) -> None:
    """Mark the duplicates among rows that share a band. Two rows that are not active were compared before."""
    kept_rows: list[int] = []
    for row in rows.tolist():
        if like[row] != _KEPT:
            continue
        earlier = np.array(kept_rows[-_EARLIER:], dtype=np.int64)
        others = earlier if active[row] else earlier[active[earlier]]
        like[row] = next((o for o in _nearest(row, others, signatures, index) if is_near(o, row)), _KEPT)
        if like[row] == _KEPT:
            kept_rows.append(row)


def _nearest(row: int, others: I64, signatures: Signatures, index: MinHashIndex) -> Iterator[int]:
    """Yield the most similar candidates first, few of them: in a run of thousands more would take long."""
    likely = np.array(index.likely(row, others, signatures) if len(others) else [], dtype=np.int64)
    if len(likely) > _CANDIDATES:
        agreeing = (signatures[likely] == signatures[row]).sum(axis=1)
        likely = likely[np.argsort(-agreeing, kind="stable")[:_CANDIDATES]]
    yield from likely.tolist()


def near_pairs(like: I64, index: MinHashIndex, limit: int) -> list[NearPair]:
    """Return the least similar of the first hundred dropped rows, with the kept row of each."""
    dropped = np.flatnonzero(like != _KEPT)[:100].tolist()
    pairs = [NearPair(row, int(like[row]), index.similarity(row, int(like[row]))) for row in dropped]
    return sorted(pairs, key=lambda pair: (pair.similarity, pair.row))[:limit]
