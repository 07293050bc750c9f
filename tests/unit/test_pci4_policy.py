"""The policy file: what it means, and how a mistake in it is told."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from rumpci.errors import BadPolicy
from rumpci.host import Address, Function
from rumpci.pci4.policy import Limits, Peer, Policy, load, parse

NVME = Function(Address(0, 0, 2, 0), 0x0010_1B36, 0x0108_0202, 0)
EDU = Function(Address(0, 1, 0, 0), 0x11E8_1234, 0x00FF_0010, 0)
STRANGER = 4_000_000
RULE = "[[allow]]\nusers = [4000000]\n"


def may(patterns: str, function: Function) -> bool:
    rights = parse(f"{RULE}devices = [{patterns}]").rights(Peer(1, STRANGER, STRANGER))
    assert rights is not None
    return rights.may_claim(function)


def test_without_a_file_only_the_servers_user_may() -> None:
    rights = Policy().rights(Peer(1, os.geteuid(), 0))
    assert rights is not None
    assert rights.inspect
    assert rights.may_claim(EDU)
    assert Policy().rights(Peer(1, STRANGER, STRANGER)) is None


@pytest.mark.parametrize(
    ("patterns", "nvme", "edu"),
    [
        ('"*"', True, True), ("", False, False), ('"id:1234:11e8"', False, True),
        ('"id:1B36:*"', True, False), ('"id:*:11E8"', False, True), ('"class:01"', True, False),
        ('"class:010802"', True, False), ('"class:0109"', False, False),
        ('"address:0000:00:*"', True, False), ('"address:*:00.0", "class:01"', True, True),
        ('"name:red hat*"', True, False), ('"name:*"', True, True),
    ],
)  # fmt: skip
def test_patterns(patterns: str, nvme: bool, edu: bool) -> None:
    assert (may(patterns, NVME), may(patterns, EDU)) == (nvme, edu)


def test_groups_count_and_rules_add_up() -> None:
    policy = parse(
        '[limits]\nclaims = 3\n'
        '[[allow]]\ngroups = [77]\ndevices = ["class:01"]\nlimits = {bytes = "1M", claims = 9}\n'
        '[[allow]]\nusers = [5]\ndevices = ["id:1234:*"]\ninspect = true\nlimits = {bytes = 9}\n'
    )  # fmt: skip
    both = policy.rights(Peer(1, 5, 6, frozenset({77})))
    assert both is not None
    assert (both.may_claim(NVME), both.may_claim(EDU), both.inspect) == (True, True, True)
    assert (both.limits.bytes, both.limits.claims) == (1 << 20, 9)
    one = policy.rights(Peer(1, 9, 77))
    assert one is not None
    assert (one.may_claim(EDU), one.inspect) == (False, False)
    assert one.limits.connections == Limits().connections


def test_names_of_users_and_groups() -> None:
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(0).gr_name
    policy = parse(f'[[allow]]\nusers = ["{user}"]\ngroups = ["{group}"]')
    assert policy.rules[0].users == {os.getuid()}
    assert policy.rules[0].groups == {0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\n[limits] x", "line 2"), ("limit = 3", "the file: limit"), ("limits = 3", "limits"),
        ("allow = 3", "allow"), ("allow = [3]", "allow[0]"), ("[[allow]]", "allow[0]"),
        ("[limits]\nclaims = -1", "limits.claims"), ("[limits]\nclaims = true", "limits.claims"),
        ('[limits]\nclaims = "1M"', "limits.claims"), ('[limits]\nbytes = "x"', "limits.bytes"),
        ("[limits]\nfoo = 1", "limits: foo"), (RULE + "device = []", "allow[0]: device"),
        (RULE + 'devices = "x"', "allow[0].devices"), (RULE + "devices = [3]", "allow[0].devices"),
        (RULE + 'devices = ["nvme"]', "allow[0].devices"),
        (RULE + 'devices = ["class:1"]', "allow[0].devices"),
        (RULE + 'devices = ["id:12:34"]', "allow[0].devices"),
        (RULE + 'inspect = "yes"', "allow[0].inspect"), (RULE + "limits = 3", "allow[0].limits"),
        ('[[allow]]\nusers = ["nobody knows"]', "allow[0].users"),
        ("[[allow]]\nusers = [true]", "allow[0].users"),
        (RULE + '[[allow]]\ngroups = ["no such"]', "allow[1].groups"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_or_key(text: str, told: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        parse(text)
    assert told in str(caught.value)


def test_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPolicy, match=r"none\.toml"):
        load(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff")
    with pytest.raises(BadPolicy, match=r"bad\.toml"):
        load(bad)
    bad.write_text("[limits]\nfoo = 1")
    with pytest.raises(BadPolicy, match=r"bad\.toml: limits: foo"):
        load(bad)
