"""The mistakes that are planted to see whether they are found: each is one a good engineer makes.

Those of the last group were in the product until the simulator found them.
"""

from __future__ import annotations

from chromaseal.testing.simulation.planting import Bug

_POINTER = (
    Bug(
        "the pointer is put without If-Match",
        "settle.swap",
        "store.replace(key, body, etag=etag)",
        "store.replace(key, body, etag=store.get(key).etag)",
    ),
    Bug(
        "the pointer's tag is taken after the version was read",
        "snapshot.history.head",
        "return Head(load(store, collection, version_id), etag)",
        "return Head(load(store, collection, version_id), pointer(store, collection)[1])",
    ),
    Bug(
        "the pointer moves before the manifest is stored",
        "snapshot.publish.commit",
        "    put_once(store, keys.manifest(draft.collection, version.version_id), body)\n"
        "    _move_pointer(store, draft, version)\n",
        "    _move_pointer(store, draft, version)\n"
        "    put_once(store, keys.manifest(draft.collection, version.version_id), body)\n",
    ),
    Bug(
        "a lost reply is taken for a lost race",
        "settle.swap",
        "mine = found is not None and found.body == body",
        "mine = False",
        test="tests/unit/test_settle.py::test_a_swap_whose_reply_lies_has_moved",
    ),
    Bug(
        "a clock that is behind makes ids that sort before their parent's",
        "snapshot.version_id.stamp_after",
        "return max(now, parse(parent).created_at + _TICK)",
        "return now",
    ),
)
_OBJECTS = (
    Bug(
        "a write without an answer is taken for done, without reading back",
        "settle.put_once",
        "        if found is None:\n            raise Unavailable(",
        "        if found is None and isinstance(error, Conflict):\n            raise Unavailable(",
    ),
    Bug(
        "whatever has the name is taken for what was to be stored",
        "settle.put_once",
        "mine = found is not None and found.body == bytes(body)",
        "mine = found is not None",
    ),
    Bug(
        "a page of the history is stored and not linked",
        "snapshot.history.extend",
        "return Extension((*manifest.pages, page), ())",
        "return Extension(manifest.pages, ())",
    ),
    Bug(
        "a fold takes the place of one layer too few",
        "snapshot.publish._Attempt.store",
        "self._store_fold(layers[start:], sizes)",
        "self._store_fold(layers[start + 1 :], sizes)",
    ),
)
_CANCELLED = (
    Bug(
        "a cancelled run is looked for without a fence",
        "cancelling._take_off",
        "lease = None if fence(parts.store, name) else parts.leases.holder(name)",
        "lease = None",
        test="tests/simulation/test_cancelled.py::"
        "test_who_was_stopped_before_the_commit_brings_in_nothing",
    ),
    Bug(
        "the ledger alone says what is cancelled",
        "compaction.marked.without_cancelled",
        "marked = read_marks(parts.store, collection) if runs else frozenset()",
        "marked: frozenset[str] = frozenset()",
        test="tests/simulation/test_cancelled.py::test_a_ledger_that_forgets_merges_no_cancelled_run",
    ),
)
_RUNS = (
    Bug(
        "runs are marked before the commit",
        "compaction.attempt.Attempt._publish_merge",
        "self._move(ids, RunState.MERGING)",
        "self._move(ids, RunState.COMPLETED)",
    ),
    Bug(
        "a late run wins",
        "compaction.plan.runs_to_repeat",
        "return [run for run in merged if run.order > oldest]",
        "return []",
    ),
    Bug(
        "a repeated run is applied again",
        "compaction.plan.sort_runs",
        "waiting=tuple(run for run in runs if run.run_id not in known)",
        "waiting=tuple(runs)",
    ),
    Bug(
        "runs are folded in the order in which they come",
        "compaction.fold.fold",
        "for delta in sorted(deltas, key=lambda delta: delta.header.order):",
        "for delta in deltas:",
    ),
    Bug(
        "what a rollback has undone is repeated",
        "snapshot.history.merged_runs",
        "number = version.restores",
        "number -= 1",
    ),
    Bug(
        "runs of a compactor that died are not completed",
        "compaction.attempt.Attempt._move",
        "states=_UNDONE if to is RunState.COMPLETED else WAITING_STATES",
        "states=(RunState.PENDING,)",
    ),
    Bug(
        "a late message moves a run out of any state",
        "adapters.sqlalchemy.ledger.SqlLedger.move",
        "            states=states,\n            to=to,\n            at=at,",
        "            states=list(RunState),\n            to=to,\n            at=at,",
        test="tests/contracts/test_ledgers.py::TestMemory::test_moves_only_from_the_named_states",
    ),
)
_GARBAGE = (
    Bug(
        "garbage is collected by age alone: what nothing reaches yet goes",
        "snapshot.retention.doomed_objects",
        "if key in needed or number is None or number > head.number:",
        "if key in needed or number is None:",
    ),
    Bug(
        "nobody looks for tags after the announcement",
        "snapshot.garbage._announced",
        "if set(ids_to_go) & set(read_tags(store, collection).values()):",
        "if not ids_to_go:",
    ),
    Bug(
        "layers go before the versions that need them",
        "snapshot.garbage._remove",
        "for group in (manifests, others):",
        "for group in (others, manifests):",
    ),
    Bug(
        "a rule keeps one version less than it says",
        "snapshot.retention.versions_to_keep",
        "kept.update(ids[-policy.keep_last :])",
        "kept.update(ids[1 - policy.keep_last :])",
    ),
    Bug(
        "deltas go by all versions, not by those that stay",
        "snapshot.retention.doomed_deltas",
        "for version_id in kept)",
        "for version_id in (past.version_id for past in line))",
    ),
    Bug(
        "what the newest version needs goes when another collector has announced it",
        "snapshot.garbage._plan",
        "    needed = reached(newest)\n",
        "    needed: set[str] = set()\n",
        test="tests/unit/test_rival_collectors.py::test_what_an_overtaken_head_needs_stays",
    ),
    Bug(
        "a version that went meanwhile is called damaged",
        "snapshot.history.head",
        'if error.kind != "missing-object" or (version_id, etag) == seen:',
        'if error.kind != "missing-object" or seen:',
    ),
)
_SWEEP = (
    Bug(
        "a sweep brings back only what a version has",
        "sweep.plan._unknown",
        "for run_id in {*holding.stored, *holding.contained}:",
        "for run_id in holding.contained:",
    ),
    Bug(
        "a sweep looks at the vault before the ledger",
        "sweep.ledger.sweep_ledger",
        "    plan = plan_ledger(known, vault,",
        "    known = parts.ledger.newest(limit=_ALL)\n    plan = plan_ledger(known, vault,",
    ),
)
_TURNS = (
    Bug(
        "a lease is had before the one before is over",
        "adapters.sqlalchemy.ledger.SqlLedger.acquire",
        "where=mine | (schema.lease.c.expires_us <= now_us),",
        "where=mine | (schema.lease.c.expires_us <= expires_us),",
    ),
    Bug(
        "a new turn has the number of the one before",
        "adapters.sqlalchemy.ledger.SqlLedger.acquire",
        "else_=schema.lease.c.epoch + 1)",
        "else_=schema.lease.c.epoch)",
    ),
)
_REPLICAS = (
    Bug(
        "a late run has those repeated that came before a push",
        "snapshot.history.merged_runs",
        "            break\n",
        "            number -= 1\n",
    ),
    Bug(
        "a directory whose push was not answered is published once more",
        "replication.push.Commit._same",
        "return self._restores is None and entries == version.manifest.files",
        "return False",
    ),
    Bug(
        "a directory is published whatever came since it was made",
        "replication.push.push",
        "if found.version is None or replace or origins.made(directory, found.version):",
        "if found.version is None or replace or origin is not None:",
    ),
    Bug(
        "a follower leads on to a copy before it is there",
        "replication.follow._move",
        "        found = newest_readable(",
        "        _point(parts, folder, version_id)\n        found = newest_readable(",
    ),
)
_REPAIRS = (
    Bug(
        "a repair publishes over whatever has come meanwhile",
        "repair.collection._Work._publish",
        "head=self._found,",
        "head=Head(self._found.version, pointer(parts.store, self._collection)[1]),",
    ),
    Bug(
        "a repair lets a late run win",
        "repair.collection._Work._deltas",
        "return [*deltas, *repeated]",
        "return deltas",
    ),
    Bug(
        "a version made again counts as a push",
        "repair.collection._Work._publish",
        "restores=manifest.number,",
        "restores=None,",
    ),
    Bug(
        "a repair looks at the vault before the ledger",
        "repair.collection._lost_runs",
        "    merged = {",
        "    done = _done_runs(parts, collection)\n    merged = {",
    ),
)
_FUNCTIONS = (
    Bug(
        "a message is answered for before the commit",
        "stream.batch.work_off",
        "finished = {run_id for done in turns.done for run_id in (*done.merged, *done.contained)}",
        "finished = {run_id for run_id, _ in runs.values()}",
    ),
    Bug(
        "a message is answered for because somebody has begun with its run",
        "stream.batch._why_left",
        "if run.parts[name].state not in WAITING_STATES:",
        "if run.parts[name].state not in WAITING_STATES or run.parts[name].attempts:",
    ),
    Bug(
        "a change that is delivered again is a new run",
        "stream.batch._written",
        "run_id = run_id_of(message)",
        "run_id = vault.parts.ids.run_id()",
    ),
    Bug(
        "a warm checkout is trusted without a look",
        "snapshot.kept.read_kept",
        "if _is_touched(kept, plain):",
        "if not plain:",
    ),
    Bug(
        "who was refused the lease gives its message up",
        "stream.batch._why_left",
        "if name in leases:\n        return Conflict(",
        "if name in leases:\n        return None\n        return Conflict(",
    ),
    Bug(
        "a record of which a message was not taken is passed by",
        "stream.announcing.announce",
        "left |= dict(not_sent)",
        "left |= dict(not_sent[:0])",
        test="tests/integration/test_stream_function.py"
        "::test_what_no_queue_took_is_delivered_again",
    ),
    Bug(
        "a record that cannot be told is passed by before it is kept",
        "stream.announcing._without_what_is_kept",
        "again[number] = trouble",
        "del trouble",
        test="tests/integration/test_stream_function.py"
        "::test_what_cannot_be_set_aside_is_delivered_again",
    ),
    Bug(
        "a record that can never be told holds up all that come after it",
        "stream.announcing._without_what_is_kept",
        "if not isinstance(error, RefusedInput):",
        "if error.kind:",
    ),
    Bug(
        "a run of another program that is there already is answered for before it is done",
        "stream.adopting.message_adopter",
        "return not is_there or parts.ledger.get(message.run_id) is not None",
        "return not is_there",
        test="tests/unit/test_adopting.py::test_what_is_not_to_be_taken_over_may_wait_all_the_same",
    ),
    Bug(
        "a message is answered for as soon as its run is taken over",
        "stream.batch._known_or_adopted",
        'return message.run_id if adopt(message) else ""',
        'return "" if adopt(message) else message.run_id',
    ),
    Bug(
        "where there is time for no run, none is taken",
        "compaction.portion.portion",
        "max(1, count), delta_bytes",
        "count, delta_bytes",
    ),
    Bug(
        "a run whose merge has died is not told of again",
        "stream.reminder.reminder_of",
        "    if part.state is RunState.MERGING and (age_s(part.started_at, now) or 0.0) < (\n"
        "        AFTER.total_seconds()\n    ):\n",
        "    if part.state is RunState.MERGING:\n",
        test="tests/unit/test_stream_translation.py::test_a_run_that_waits_for_long_is_told_again",
    ),
    Bug(
        "a collection that fails stops those after it",
        "stream.rounds.for_each",
        "            tell(name, error)\n            errors.append(error)\n",
        "            raise\n",
        test="tests/integration/test_functions.py::test_a_broken_collection_stops_no_other",
    ),
)
_FOUND = (
    Bug(
        "a pointer that comes while it is looked for is called lost",
        "snapshot.history._pointer_object",
        "        return store.get(key)\n    except NotFound:\n        raise",
        "        raise NotFound(key)\n    except NotFound:\n        raise",
    ),
    Bug(
        "a ledger that is ahead of an old look accuses the pointer",
        "compaction.attempt.Attempt._head",
        "            found = head(self._parts.store, self._collection)\n"
        "            if found.version is None:\n",
        "            if found.version is None:\n",
    ),
    Bug(
        "a first version that has just come is named and not copied",
        "vault.Vault._copy",
        "        copy(version)\n        return version\n",
        "        if at:\n            copy(version)\n        return version\n",
    ),
    Bug(
        "a run whose delta went after another had merged it is set aside",
        "compaction.attempt.Attempt._read_deltas",
        "if isinstance(error, NotFound):",
        "if isinstance(error, KeyError):",
        test="tests/simulation/test_overtaken.py"
        "::test_a_run_whose_delta_has_gone_since_it_was_merged_is_not_set_aside",
    ),
    Bug(
        "what a version is compared with may not go meanwhile",
        "seal.verify._changes",
        "    except FILE_CHANGED:\n",
        "    except KeyError:\n",
        test="tests/simulation/test_overtaken.py"
        "::test_what_is_kept_may_go_while_it_is_compared_with",
    ),
)
BUGS = (
    *_POINTER,
    *_OBJECTS,
    *_CANCELLED,
    *_RUNS,
    *_GARBAGE,
    *_SWEEP,
    *_TURNS,
    *_REPLICAS,
    *_REPAIRS,
    *_FUNCTIONS,
    *_FOUND,
)
