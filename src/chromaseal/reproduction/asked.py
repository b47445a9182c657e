"""What stock ChromaDB says of a copy, in a few words.

It is asked in a child with tight limits, on a copy of the copy: opening a directory changes it,
and a damaged one can hang or kill whoever opens it, or make it write without end.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Unavailable
from chromaseal.reproduction.application import COLLECTION, Plan, State, state_of
from chromaseal.sandbox import Limits, Plain, Sandbox

# In this order; a question after which no answer comes is named.
QUESTIONS = ("open", "count", "search", "read all", "search for all", "read vectors")
_NORMAL = ("open", "count", "search")
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


def ask(
    sandbox: Sandbox, directory: Path, plan: Plan, scratch: Path, *, collection: str = COLLECTION
) -> Answer:
    """Ask ChromaDB about a directory, which stays as it is.

    Args:
        sandbox: where ChromaDB runs.
        directory: what to ask about.
        plan: what the application wrote.
        scratch: a folder for the copy that ChromaDB opens.
        collection: which collection of it.
    """
    copy = scratch / "asked"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    reached = [0]
    request = {"directory": str(copy), "collection": collection, "plan": plan.as_plain()}
    try:
        answer = sandbox.run(
            "ask-stock", request, limits=_LIMITS, progress=lambda number, _: reached.append(number)
        )
    except Unavailable as error:
        return _without_answer(error, QUESTIONS[reached[-1]])
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return read_answer(answer, plan)


def read_answer(answer: Plain, plan: Plan) -> Answer:
    """Put an answer of the job into words."""
    errors = answer["errors"]
    state = state_of(answer["batches"], plan) if not errors.keys() & {"open", "read all"} else None
    lost = answer["count"] - answer["found"]
    if any(name in errors for name in _NORMAL):
        name = next(name for name in _NORMAL if name in errors)
        return Answer(f"error: {errors[name]}", f"{name}: {errors[name]}", state, right=False)
    if errors:
        name, error = next(iter(errors.items()))
        said = "opens, counts and searches; reading all of it fails"
        return Answer(said, f"{name}: {error}", state, right=False)
    if state is not None and state.whole and not lost and not answer["wrong_vectors"]:
        return Answer("all records", f"{answer['count']} records", state, right=True)
    parts = {
        "missing": state.missing if state else 0,
        "not found by a search for all": lost,
        "of another time": state.others if state else 0,
        "with another vector": answer["wrong_vectors"],
    }
    detail = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
    few = "missing" if parts["missing"] or lost > 0 else "of two times"
    return Answer(
        f"normal answers, records {few}",
        f"{answer['count']} records, {detail}",
        state,
        right=False,
    )


def _without_answer(error: Unavailable, question: str) -> Answer:
    if error.kind == "child-timeout":
        said = f"no answer within {_LIMITS.timeout_s:.0f} s"
    else:
        how = error.message.splitlines()[0].rpartition(": ")[2]
        said = f"the process dies ({how})"
    return Answer(said, f"asked to {question}: {error.message.splitlines()[0]}", None, right=False)
