"""The owner of a lease can be found by people, and missed by its machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from chromaseal.adapters.linux.process_name import is_gone, own_name
from chromaseal.ids import SystemIds
from chromaseal.run.owner import Owner, parse_owner, shown_owner

NAME = "from chromaseal.adapters.linux.process_name import own_name as name;"
SAY = f"{NAME} from chromaseal.ids import SystemIds as I; print(name(I()), flush=True)"


def own() -> Owner:
    """Give this process's name in its parts."""
    owner = parse_owner(own_name(SystemIds()))
    assert owner is not None
    return owner


def test_a_name_says_where_the_process_is() -> None:
    """People get host and number; no two names are alike."""
    owner = own()
    assert owner.pid == os.getpid()
    assert shown_owner(str(owner)) == f"process {os.getpid()} on {owner.host}"
    assert parse_owner(str(owner)) == owner
    assert own() != owner


def test_another_kind_of_name_is_shown_as_it_is() -> None:
    """And nobody believes it to be gone."""
    assert shown_owner("me") == "me"
    assert parse_owner("a|b|c|d|e|f") is None
    assert not is_gone("me")


def test_a_living_process_is_not_gone() -> None:
    """Neither this one nor its child."""
    assert not is_gone(str(own()))
    child = subprocess.Popen(
        [sys.executable, "-c", f"{SAY}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    name = child.stdout.readline().decode().strip()
    assert not is_gone(name)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    # It has ended, though its number is still taken.
    assert is_gone(name)
    child.communicate()
    assert is_gone(name)


def test_a_number_that_came_again_is_another_process() -> None:
    """The kernel tells when each began."""
    assert is_gone(str(replace(own(), started="1")))


def test_nobody_knows_of_other_machines_boots_and_containers() -> None:
    """What cannot be seen is not gone."""
    gone = replace(own(), started="1")
    assert is_gone(str(gone))
    assert not is_gone(str(replace(gone, boot="another")))
    assert not is_gone(str(replace(gone, boot="")))
    assert not is_gone(str(replace(gone, namespace="pid:[1]")))
