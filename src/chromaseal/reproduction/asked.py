"""What stock ChromaDB says of a copy, in a few words.

It is asked in a child with tight limits: a damaged directory can hang or kill whoever opens it, or
make it write without end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Unavailable
from chromaseal.reproduction.application import COLLECTION, Plan, State, state_of
from chromaseal.sandbox import Limits, Plain, Sandbox

# In this order; a question after which no answer comes is named.
QUESTIONS = ("open", "count", "search", "read all", "search for all", "read vectors")
ALL = "all records"
_NORMAL = ("open", "count", "search")
_MOST_LOST = 0.05
_LINKS = re.compile(r": (?!\d)")
_LIMITS = Limits(timeout_s=10, memory_bytes=8 << 30, file_size_bytes=1 << 30)


@dataclass(frozen=True, slots=True)
class Answer:
    """What ChromaDB said.

    Attributes:
        said: in a few words; the same words for the same kind of answer.
        detail: with numbers.
        state: which state of the application it found; None where it did not answer.
        right: whether it found all of that state, and could search all of it.
        ids: of the records that it gave.
    """

    said: str
    detail: str
    state: State | None
    right: bool
    ids: frozenset[str] = frozenset()


def ask(sandbox: Sandbox, copy: Path, plan: Plan, *, collection: str = COLLECTION) -> Answer:
    """Ask ChromaDB about a copy, which it changes.

    Args:
        sandbox: where ChromaDB runs.
        copy: nobody else's.
        plan: what the application wrote.
        collection: which collection of it.
    """
    reached = [0]
    request = {"directory": str(copy), "collection": collection, "plan": plan.as_plain()}
    try:
        answer = sandbox.run(
            "ask-stock", request, limits=_LIMITS, progress=lambda number, _: reached.append(number)
        )
    except Unavailable as error:
        return _without_answer(error, QUESTIONS[reached[-1]])
    return read_answer(answer, plan)


def read_answer(answer: Plain, plan: Plan) -> Answer:
    """Put an answer of the job into words."""
    errors, batches = answer["errors"], answer["batches"]
    state = state_of(batches, plan) if not errors.keys() & {"open", "read all"} else None
    said, detail = _in_words(answer, state)
    return Answer(said, detail, state, right=said == ALL, ids=frozenset(batches))


def _in_words(answer: Plain, state: State | None) -> tuple[str, str]:
    errors = answer["errors"]
    for name in _NORMAL:
        if name in errors:
            return f"error: {_last_words(errors[name])}", f"{name}: {errors[name]}"
    lost = answer["count"] - answer["found"] if "search for all" not in errors else 0
    # An index in which records were written anew never reaches quite all of them.
    lost = lost if lost > _MOST_LOST * answer["count"] else 0
    parts = {
        "missing": state.missing if state else 0,
        "in no search": lost,
        "of another time": state.others if state else 0,
        "with another vector": answer["wrong_vectors"],
    }
    detail = [f"{number} {what}" for what, number in parts.items() if number]
    detail += [f"{name}: {error}" for name, error in errors.items()]
    told = ", ".join([f"{answer['count']} records", *detail])
    if parts["missing"] or parts["in no search"]:
        return "normal answers, records missing", told
    if errors:
        error = _last_words(next(iter(errors.values())))
        return f"counts and searches; reading all of it fails: {error}", told
    return ("normal answers, records of two times" if detail else ALL), told


def _last_words(error: str) -> str:
    # Before them an error names every part of ChromaDB that it went through.
    return _LINKS.split(error)[-1]


def _without_answer(error: Unavailable, question: str) -> Answer:
    if error.kind == "child-timeout":
        said = f"no answer within {_LIMITS.timeout_s:.0f} s"
    else:
        how = error.message.splitlines()[0].rpartition(": ")[2]
        said = f"the process dies ({how})"
    return Answer(said, f"asked to {question}: {error.message.splitlines()[0]}", None, right=False)
