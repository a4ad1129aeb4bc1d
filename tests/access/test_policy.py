"""access/policy_reader.py, policy.py, decide.py: what a policy says, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.access import patterns
from edge_tunnel.access.decide import NOT_FOR_YOU, decide
from edge_tunnel.access.patterns import Names, exactly, matches
from edge_tunnel.access.policy import LIMITS, Allow, Limits, Policy, most_generous
from edge_tunnel.access.policy_diff import differences
from edge_tunnel.access.policy_reader import MAX_POLICY, read_policy
from edge_tunnel.access.rights import Denial, Grant, Principal
from edge_tunnel.reasons import Reason

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"
ANNA = Principal(role="remote", name="anna", via="a test")


def lists(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Few names, so that rules meet."""
    return st.lists(st.sampled_from(names), min_size=1, max_size=3).map(tuple)


USERS, THINGS = lists("anna", "?nna", "ben", "*"), lists("pump-1", "p*", "[a-p]*", "press")
SERVICES = lists("ssh", "s*", "vnc", "*")
TIMES = st.none() | st.integers(0, 200)
LIMIT = st.builds(Limits, **{name: st.none() | st.integers(1, 3) for name in LIMITS})
RULES = st.builds(Allow, users=USERS, things=THINGS, services=SERVICES, until=TIMES, limits=LIMIT)
POLICIES = st.builds(Policy, allows=st.lists(RULES, max_size=4).map(tuple), limits=LIMIT)


def good(text: str) -> Policy:
    found = read_policy(text)
    assert found.policy is not None, found.findings
    return found.policy


def asked(
    policy: Policy, thing: str, service: str, who: Principal = ANNA, now: float = 0
) -> Grant | Denial:
    return decide(policy, who, thing, service, now)


# -- the file


def test_the_example_says_what_its_comments_say() -> None:
    """Team: everything, with the policy's limits. Contractors: what is listed, until March."""
    policy = good(EXAMPLE.read_text())
    grant = asked(policy, "anything", "web", now=0)
    assert grant == Grant(
        session=28800, idle=1800, max_tunnels=20, max_streams=256, tunnels_per_minute=60
    )
    ext = Principal(role="remote", name="ext-7", via="a test")
    until = 1806516000.0  # date -u -d 2027-03-31T18:00:00Z +%s
    grant = asked(policy, "pump-31", "ssh", ext, now=until - 1)
    assert isinstance(grant, Grant)
    assert (grant.until, grant.session, grant.max_tunnels) == (until, 3600, 2)
    assert asked(policy, "pump-31", "ssh", ext, now=until) == NOT_FOR_YOU
    assert asked(policy, "pump-4", "ssh", ext) == NOT_FOR_YOU
    refused = asked(policy, "pump-31", "web", ext)
    assert isinstance(refused, Denial) and refused.reason is Reason.SERVICE_NOT_ALLOWED
    assert [offer.name for offer in policy.offers_of("pump-1")] == ["ssh", "vnc"]
    assert [offer.name for offer in policy.offers_of("press-1")] == ["ssh"]


RULE = '[[allow]]\nusers = ["a"]\nthings = ["t"]\nservices = ["s"]\n'


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("", 1, "", "no format"),
        ('format = "1"', 1, "format", "must be a number"),
        ("format = 1.5", 1, "format", "whole"),
        ("format = 1\nalow = []", 2, "alow", "did you mean allow"),
        (f"format = 1\n{RULE}sessions = 5", 6, "allow[0].sessions", "did you mean session"),
        (f"format = 1\n{RULE}session = '5'", 6, "allow[0].session", "must be a number"),
        (f"format = 1\n{RULE}session = 0", 6, "allow[0].session", "out of range"),
        (f"format = 1\n{RULE}max_tunnels = 1.5", 6, "allow[0].max_tunnels", "whole"),
        (f"format = 1\n{RULE}until = 2027-01-01T00:00:00", 6, "allow[0].until", "zone"),
        (f"format = 1\n{RULE}until = 'tomorrow'", 6, "allow[0].until", "date"),
        (
            'format = 1\n[[allow]]\nusers = ["@x"]\nthings=[]\nservices=[]',
            3,
            "allow[0].users[0]",
            "no group",
        ),
        ('format = 1\n[[allow]]\nusers = "a"\nthings=[]\nservices=[]', 3, "allow[0].users", "list"),
        ('format = 1\n[[allow]]\nusers = ["a"]\nthings=[]', 2, "allow[0]", "no services"),
        ('format = 1\n[groups.users]\na = ["@b"]', 3, "groups.users.a[0]", "groups"),
        ("format = 1\n[groups.user]\na = []", 2, "groups.user", "did you mean users"),
        ("format = 1\n[[services]]\nname = 's*'\nport = 1", 3, "services[0].name", "not a pattern"),
        ("format = 1\n[[services]]\nname = 's'\nport = 0", 4, "services[0].port", "out of range"),
        ("format = 1\nrevoked_certificates = ['ab']", 2, "revoked_certificates[0]", "SHA-256"),
        ("format = 1\n[fingerprints]\nd = 'ab'", 3, "fingerprints.d", "things --wide"),
        ("format = 1\nformat = 1", 2, "", "overwrite"),
        (
            "format = 1\n" + RULE.replace('"a"', '"' + "*a" * 9 + '"'),
            3,
            "allow[0].users[0]",
            "stars",
        ),
        ("#" * (MAX_POLICY + 1), 0, "", "larger"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, line: int, key: str, words: str) -> None:
    """Each with its line, its key and what to do; nothing is guessed."""
    found = read_policy(text)
    assert found.policy is None
    one = (
        found.findings[0]
        if len(found.findings) == 1
        else next(f for f in found.findings if words in str(f))
    )
    assert (one.line, one.key) == (line, key)
    assert words in str(one) and one.hint


def test_a_newer_format_is_not_read_any_further() -> None:
    """The program says that it is too old, and nothing about keys that it cannot know."""
    found = read_policy('format = 2\n[[deny]]\nusers = ["*"]')
    assert found.policy is None and found.too_new
    assert ["too old" in str(one) for one in found.findings] == [True]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_gets_an_answer(text: str) -> None:
    """Hostile text is refused with words, never with a traceback."""
    found = read_policy("format = 1\n" + text)
    assert (found.policy is None) == any(one.severity.value == "error" for one in found.findings)


# -- the decision


def test_no_limit_is_the_most_generous() -> None:
    """Of each limit alone; what no rule says is the policy's own, or none."""
    assert most_generous([Limits(idle=5, session=1), Limits(idle=3)]) == Limits(idle=5)
    assert Limits(idle=5).over(Limits(idle=9, session=7)) == Limits(idle=5, session=7)


@settings(max_examples=40, deadline=None)
@given(st.text(), st.text(), st.text(), st.floats(0, 100))
def test_no_rule_no_right(user: str, thing: str, service: str, now: float) -> None:
    """Default deny."""
    who = Principal(role="remote", name=user, via="a test")
    assert decide(Policy(), who, thing, service, now) == NOT_FOR_YOU


ASK = st.tuples(
    st.sampled_from(["anna", "ben"]),
    st.sampled_from(["pump-1", "pump-2"]),
    st.sampled_from(["ssh", "vnc"]),
    st.integers(0, 100),
)


@settings(max_examples=100, deadline=None)
@given(POLICIES, RULES, st.integers(0, 4), ASK)
def test_one_more_rule_never_takes_anything_away(
    policy: Policy, rule: Allow, at: int, ask: tuple[str, str, str, int]
) -> None:
    """Wherever it is inserted: no right is lost, no limit is tighter, nothing ends earlier."""
    more = Policy(allows=(*policy.allows[:at], rule, *policy.allows[at:]), limits=policy.limits)
    user, thing, service, now = ask
    who = Principal(role="remote", name=user, via="a test")
    before, after = decide(policy, who, thing, service, now), decide(more, who, thing, service, now)
    if isinstance(before, Denial):
        assert isinstance(after, Grant) or before in (after, NOT_FOR_YOU)
        return
    assert isinstance(after, Grant)
    for name in ("until", *LIMITS):
        old, new = getattr(before, name), getattr(after, name)
        assert new is None or (old is not None and new >= old), name


@settings(max_examples=40, deadline=None)
@given(POLICIES, ASK)
def test_an_answer_holds_until_its_review(policy: Policy, ask: tuple[str, str, str, int]) -> None:
    """Between now and `review` the answer stays; the right is over at `until`, not before."""
    user, thing, service, now = ask
    who = Principal(role="remote", name=user, via="a test")
    grant = decide(policy, who, thing, service, now)
    if isinstance(grant, Denial):
        return
    assert (
        decide(
            policy, who, thing, service, now if grant.review is None else (now + grant.review) / 2
        )
        == grant
    )
    if grant.until is not None:
        assert grant.review is not None and now < grant.review <= grant.until
        assert isinstance(decide(policy, who, thing, service, grant.until), Denial)


@settings(max_examples=40, deadline=None)
@given(st.permutations(["a", "b", "c"]))
def test_names_of_groups_mean_nothing(names: list[str]) -> None:
    """Renaming groups changes no decision."""
    text = """format = 1
[groups.users]
{0} = ["anna"]
{1} = ["ben"]
[groups.things]
{2} = ["pump-*"]
[[allow]]
users = ["@{0}"]
things = ["@{2}"]
services = ["ssh"]
"""
    policy, other = good(text.format("a", "b", "c")), good(text.format(*names))
    assert policy.allows == other.allows
    assert not differences(policy, other)


@pytest.mark.parametrize(
    ("who", "now"),
    [
        (Principal(role="edge", name="anna", via=""), 0),
        (Principal(role="remote", name="Anna", via=""), 0),
        (Principal(role="remote", name="anna", via="", until=5.0), 5),
        (Principal(role="remote", name="anna", via="", scope=("pump-1", "vnc")), 0),
        (Principal(role="remote", name="anna", via="", scope=("pump-2", "ssh")), 0),
    ],
)
def test_who_is_not_meant_learns_nothing(who: Principal, now: float) -> None:
    """Another role, another case, over, or outside of a ticket's scope: the one answer."""
    policy = Policy(allows=(Allow(users=("anna",), things=("*",), services=("*",)),))
    assert decide(policy, who, "pump-1", "ssh", now) == NOT_FOR_YOU
    assert isinstance(decide(policy, ANNA, "pump-1", "ssh", now), Grant)


def test_a_forbidden_thing_looks_like_none_at_all() -> None:
    """The decision does not even know what exists."""
    policy = Policy(allows=(Allow(users=("anna",), things=("mine",), services=("ssh",)),))
    assert asked(policy, "theirs", "ssh") is asked(policy, "nowhere", "ssh") is NOT_FOR_YOU
    assert "mine" not in NOT_FOR_YOU.text


def test_differences_are_said_in_words() -> None:
    """What comes and what goes; nothing if only the text was laid out anew."""
    old = good(f"format = 1\n{RULE}")
    new = good(f"format = 1\n{RULE}session = 60\n[limits]\nidle = 5\n")
    assert differences(old, new) == (
        "- allow a to use s of t",
        "+ allow a to use s of t, session 60",
        "+ limits: idle 5",
    )
    assert differences(old, good(f"# a comment\nformat   = 1\n{RULE}")) == ()


@settings(max_examples=100, deadline=None)
@given(st.text("ab*?[]!-", max_size=6), st.text("ab*?[]!-", max_size=6))
def test_patterns_are_those_of_the_shell(name: str, pattern: str) -> None:
    """As `fnmatch` has them, and an escaped name fits itself alone."""
    assert matches(name, (pattern,)) == fnmatchcase(name, pattern)
    assert matches(name, (exactly(pattern),)) == (name == pattern)


TEXTS = st.text("ab*?[]!-", max_size=6)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=5))
def test_many_patterns_at_once_are_each_of_them(name: str, patterns: list[str]) -> None:
    """`Names` is `matches`, made for many names."""
    assert (name in Names(patterns)) == matches(name, patterns)


def test_a_name_meets_few_of_a_thousand_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists ask of each name: those patterns are tried that have a part of it."""
    tried: list[str] = []

    def fits(name: str, some: Iterable[str]) -> bool:
        tried.extend(some)
        return matches(name, some)

    monkeypatch.setattr(patterns, "matches", fits)
    for form in ("*-{}-*", "?lant-{}-*", "plant-*-{}-*", "plant-{}*-x", "[op]*-{}-?"):
        names = Names(form.format(number) for number in range(1000))
        tried.clear()
        assert ("plant-3-77-x" in names) == matches(
            "plant-3-77-x", [form.format(number) for number in range(1000)]
        )
        assert len(tried) < 10, form
