"""What must hold after every step and at the end, each as a named function.

They know the objects and what the actors were told, and nothing of the product's code but the
names of keys. Each says what it does not cover. ``Truth`` calls them at the steps that could
break them: the move of a pointer, a deletion, an announcement, an answer to an actor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chromaseal.object_store import StoredObject
from chromaseal.testing.simulation.dictionary import Rows

# What an actor may be told while stores, ledgers and children fail and nothing is damaged.
EXPECTED_KINDS = frozenset(
    {
        *("store-unavailable", "unknown-outcome", "child-killed", "too-many-races"),
        *("no-collection", "no-version", "removed-version", "already-newest"),
        *("tag-exists", "no-tag", "lease-lost", "interrupted"),
        *("already-merged", "run-cancelled", "no-run", "not-the-newest"),
        *("leased", "foreign-run", "upkeep-failed"),
    }
)


class Broken(AssertionError):  # noqa: N818 - named for what happened
    """An invariant that does not hold.

    Args:
        invariant: its name.
        message: what was found.
    """

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        """Cross process borders."""
        return (Broken, (self.invariant, self.message))


def _hold(invariant: str, holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise Broken(invariant, message)


def history_is_linear(
    line: Sequence[str], version_id: str, number: int, parent: str | None
) -> None:
    """A pointer moves from a version to a child of that very version; ids sort as they came.

    Not covered: whether the times in version ids are right; machines' clocks are not.
    """
    before = line[-1] if line else None
    in_order = before is None or before < version_id
    _hold("history-is-linear", in_order, f"{version_id} sorts before its parent {before}")
    message = f"{version_id} is a child of {parent}, but the pointer was at {before}"
    _hold("history-is-linear", (parent, number) == (before, len(line) + 1), message)


def history_is_whole(line: Sequence[str], listed: Sequence[str], version_id: str) -> None:
    """A manifest and its history pages list every version before it, in order.

    Not covered: what they say of a version's size.
    """
    message = f"{version_id} lists {len(listed)} versions before it, there were {len(line)}"
    _hold("history-is-whole", list(listed) == list(line), message)


def version_is_complete(
    version_id: str, needed: Mapping[str, int | None], objects: Mapping[str, StoredObject]
) -> None:
    """Whatever the pointer reaches is stored, with the size that the manifest says.

    Not covered: the bytes; readers and ``every_kept_version_is_whole`` look at those.
    """
    for key, size_bytes in needed.items():
        found = objects.get(key)
        there = found is not None and size_bytes in {None, len(found.body)}
        _hold("version-is-complete", there, f"{version_id} needs {key}")


def runs_are_merged_once(
    version_id: str, runs: Collection[str], merged: Collection[str], wanted: Collection[str]
) -> None:
    """No run is in two versions of a line, and none that nobody wrote is in any.

    Not covered: a run that is applied twice within one merge; ``records_are_the_dictionarys`` is.
    """
    again, unknown = sorted(set(runs) & set(merged)), sorted(set(runs) - set(wanted))
    _hold("runs-are-merged-once", len(set(runs)) == len(runs), f"{version_id} lists a run twice")
    _hold("runs-are-merged-once", not again, f"{version_id} merges {again} again")
    _hold("runs-are-merged-once", not unknown, f"{version_id} merges {unknown}, which nobody wrote")


def cancelled_stays_out(version_id: str, cancelled: Collection[str]) -> None:
    """A run of which somebody was told that it is cancelled is in no later version.

    Not covered: runs that were put back since, and collections without a version, whose pointer
    cannot be fenced.
    """
    message = f"{version_id} merges {sorted(cancelled)}, which were said to be cancelled"
    _hold("cancelled-stays-out", not cancelled, message)


def records_are_the_dictionarys(
    version_id: str, counted: int, hashed: str, expected: Rows, expected_hash: str
) -> None:
    """A version holds what a plain dictionary holds after all its runs, in the order of their age.

    By count and multiset hash, which the manifest states and ``verify`` took from the files.
    Not covered: records whose digests are equal though they differ.
    """
    message = f"{version_id} has {counted} records, the dictionary {len(expected)}"
    same = (counted, hashed) == (len(expected), expected_hash)
    _hold("records-are-the-dictionarys", same, message)


def nothing_reachable_is_deleted(  # noqa: PLR0917 - called by name of the invariant
    key: str,
    needed_by: Collection[str],
    newest: str,
    announced: Collection[str],
    tagged: Collection[str],
    listed: Collection[str],
) -> None:
    """What a version needs goes only after that version was announced to go, and went itself.

    Never the newest one's, never a tagged one's, and a manifest before its layers, so that what
    is still listed can be read. Not covered: objects that no version will ever need and that
    stay; ``nothing_is_left_over`` looks at those.
    """
    for version_id in needed_by:
        message = f"{key} went, which {version_id} needs"
        stays = version_id in tagged or version_id in listed or version_id == newest
        _hold("nothing-reachable-is-deleted", version_id in announced and not stays, message)


def rules_keep_versions(gone: Collection[str], line: Sequence[str], keep_last: int) -> None:
    """No version is announced to go that is among the newest ones that a rule keeps.

    Not covered: rules about days.
    """
    wrong = sorted(set(gone) & set(line[-max(keep_last, 1) :]))
    message = f"{wrong} are to go, and the newest {keep_last} stay"
    _hold("rules-keep-versions", not wrong, message)


def deltas_are_kept(
    run_id: str, merged_in: int | None, present: Collection[int], deltas_after: int | None
) -> None:
    """A delta goes only when enough versions that stay contain it.

    Not covered: whether deltas that may go do go.
    """
    containing = 0 if merged_in is None else sum(number >= merged_in for number in present)
    enough = deltas_after is not None and containing >= max(deltas_after, 1)
    message = f"the delta of {run_id} went, which {containing} versions contain"
    _hold("deltas-are-kept", enough, message)


def names_are_used_once(key: str, used: Collection[str]) -> None:
    """No immutable object's name is used again after it went; only pointers are replaced.

    Not covered: tags, whose names are people's.
    """
    _hold("names-are-used-once", key not in used, f"{key} was written again")


def completed_runs_are_contained(
    run_id: str, collection: str, version_id: str, line: Sequence[str], merged: Mapping[str, int]
) -> None:
    """The ledger is told that a run is done only when the pointer has reached its version.

    Not covered: a ledger that is behind; the vault is right then.
    """
    number = merged.get(run_id)
    contained = number is not None and line[number - 1] == version_id
    message = f"{run_id} of {collection} is told to be in {version_id or 'nothing'}"
    _hold("completed-runs-are-contained", contained, message)


def completed_runs_stay(collection: str, undone: Collection[str]) -> None:
    """What the ledger calls done and a version contains, no message calls open again.

    Not covered: runs that the ledger had not heard of as done.
    """
    message = f"{sorted(undone)} of {collection} were done, and are told not to be"
    _hold("completed-runs-stay", not undone, message)


def turns_do_not_overlap(
    collection: str, turn: tuple[str, int], before: tuple[str, int], *, is_over: bool
) -> None:
    """A collection is one owner's until its time is over or given back; each turn has a new number.

    Not covered: what an owner still does that has not noticed; the pointer sees to that.
    """
    message = f"{collection} is {turn[0]}'s, turn {turn[1]}, after turn {before[1]} of {before[0]}"
    _hold("turns-do-not-overlap", turn == before or (is_over and turn[1] > before[1]), message)


def acknowledged_is_durable(run_id: str, missing: Collection[str]) -> None:
    """A writer that is told that its run is stored has every delta of it in the store.

    Not covered: the ledger's row, which a ledger may lose and the sweep brings back.
    """
    message = f"{run_id} was acknowledged without its deltas for {sorted(missing)}"
    _hold("acknowledged-is-durable", not missing, message)


def a_tag_is_what_was_told(name: str, version_id: str, found: str) -> None:
    """A person who is told that a version has a name finds that version under it.

    Not covered: a tag whose writer was told nothing; it may be there or not.
    """
    _hold("a-tag-is-what-was-told", found == version_id, f"{name} is {found}, not {version_id}")


def reader_has_a_whole_version(version_id: str, found: Rows, expected: Rows | None) -> None:
    """What a reader opens is one version, record by record.

    Not covered: the order of records, which no version has.
    """
    message = f"{version_id} was read with {len(found)} records that are not its own"
    _hold("reader-has-a-whole-version", found == expected, message)


def reader_never_sees_less(version_id: str, number: int, at_least: int) -> None:
    """A reader gets the version that was the newest when it began, or a later one.

    Not covered: readers that name a version.
    """
    message = f"{version_id} was read when number {at_least} had been published"
    _hold("reader-never-sees-less", number >= at_least, message)


def a_copy_is_one_version(where: str, problem: str) -> None:
    """What pull leaves in a directory, whoever died when, is one published version.

    Not covered: a directory that its owner has changed since.
    """
    _hold("a-copy-is-one-version", not problem, f"{where}: {problem}")


def a_follower_never_goes_back(name: str, version_id: str, number: int, at_least: int) -> None:
    """What a follower leads its readers to is a later version each time, and is there whole.

    Not covered: how soon it is.
    """
    message = f"{name} leads to {version_id}, and has led to number {at_least} before"
    _hold("a-follower-never-goes-back", number >= at_least, message)


def a_push_is_published_once(version_id: str, earlier: str | None, *, is_known: bool) -> None:
    """A version without runs is a directory that somebody pushed, and no other version is.

    However often its owner asked again. Not covered: what a rollback brings back.
    """
    _hold("a-push-is-published-once", is_known, f"{version_id} is nobody's directory")
    message = f"{version_id} is the directory that {earlier} is already"
    _hold("a-push-is-published-once", earlier is None, message)


def a_push_follows_its_base(version_id: str, parent: str, *, follows: bool) -> None:
    """A directory is published on top of what it was made from, so that it undoes nothing.

    Not covered: those whose owners asked for it to be published whatever came since.
    """
    message = f"{version_id} was not made from {parent}, which came before it"
    _hold("a-push-follows-its-base", follows, message)


def a_push_is_a_version(version_id: str, found: Rows | None, pushed: Rows) -> None:
    """Whoever is told that a directory is a version finds its records in that very version.

    Not covered: pushes whose owner was told nothing; they may be there or not.
    """
    message = f"{version_id} was told to be a directory of {len(pushed)} other records"
    _hold("a-push-is-a-version", found == pushed, message)


def errors_say_what_happened(actor: str, kind: str, message: str) -> None:
    """Nobody hears of damage, loss or conflict where none is: only of what did not answer.

    Not covered: whether the words are right.
    """
    _hold("errors-say-what-happened", kind in EXPECTED_KINDS, f"{actor} was told {kind}: {message}")


def nothing_acknowledged_is_lost(collection: str, lost: Collection[str]) -> None:
    """At the end, every acknowledged run is in the line that leads to the newest version.

    Not covered: runs whose writer was told nothing; they may be there or not.
    """
    message = f"{sorted(lost)} of {collection} were acknowledged and are nowhere"
    _hold("nothing-acknowledged-is-lost", not lost, message)


def an_answered_message_is_done(run_id: str, collection: str, *, is_done: bool) -> None:
    """A message that a function answers for is of a run that a version has, or that is at rest.

    Not covered: whether who answers nothing should have.
    """
    message = f"{run_id} of {collection} was answered for, and is in no version"
    _hold("an-answered-message-is-done", is_done, message)


def what_is_passed_by_is_kept(number: str, *, is_kept: bool) -> None:
    """A record of the stream that nobody can understand is in the vault before it is passed by.

    Not covered: what is done with it then.
    """
    _hold("what-is-passed-by-is-kept", is_kept, f"record {number} cannot be told, and is nowhere")


def nothing_waits_untold(collection: str, waiting: Collection[str]) -> None:
    """At the end, functions alone, told by stream, queues and schedule, leave no run waiting.

    Not covered: how long that takes.
    """
    message = f"{sorted(waiting)} of {collection} wait, and nobody is told of them"
    _hold("nothing-waits-untold", not waiting, message)


def the_ledger_catches_up(run_id: str, collection: str, state: str) -> None:
    """At the end, every run that a version contains and that the ledger knows is COMPLETED.

    Not covered: the times and numbers of attempts that the ledger keeps.
    """
    message = f"{run_id} is in {collection}, and the ledger says {state}"
    _hold("the-ledger-catches-up", state == "COMPLETED", message)


def every_kept_version_is_whole(version_id: str, problem: str) -> None:
    """At the end, every version that is still there is fetched anew and is its dictionary's.

    Not covered: versions that garbage collection took.
    """
    _hold("every-kept-version-is-whole", not problem, f"{version_id}: {problem}")


def nothing_is_left_over(collection: str, orphans: Collection[str]) -> None:
    """At the end, after garbage collection, nothing is there that no version reaches.

    Not covered: deltas, and what is newer than the newest version.
    """
    message = f"{len(orphans)} objects of {collection} are of no use, {sorted(orphans)[:1]} first"
    _hold("nothing-is-left-over", not orphans, message)


def it_comes_to_rest(steps: int, limit: int) -> None:
    """Once nothing fails any more, everybody ends what they were at.

    Not covered: how long it takes on a clock.
    """
    _hold("it-comes-to-rest", steps < limit, f"still at work after {steps} steps without a fault")
