"""Which dead letters are meant, which of them have one cause, and what one says once it is mended."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from fastapi_events import redaction
from fastapi_events.envelope import ORDERING_KEY
from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.storage.base import check_aware
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters

_FRAME = re.compile(r'^  File "(?P<file>.+)", line \d+, in (?P<function>.+)$', re.MULTILINE)
_ERROR = re.compile(r"[\w.]+")
_NOT_THE_APPLICATION = re.compile(
    r"[/\\](site-packages|dist-packages|lib[/\\]python[\d.]+t?|fastapi_events)[/\\]|^<"
)
_MISSING = object()
_SIMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ -]*")
"""What JSON writes in one way, a number without a fraction among it."""
_COLONS = (":", ": ", " : ")
"""As programs write JSON."""
_PAGE = 1_000
_GROUP_LENGTH = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterFilter:
    """Which dead letters are meant: those of which all of this is true.

    Parameters:
        subscription: They are to this subscription.
        event_name: They are about this event.
        error: This stands in their reason, such as the class of the error.
        group: The id of their group begins like this.
        before: They were given up before this time.
        since: They were given up then, or later.
        ordering_key: Their event has this ordering key.
        fields: Fields of the payload with their values; `card.holder` is a field inside of one, and `3` the
            fourth item of a list. Values are compared as JSON, or as text.
    """

    subscription: str | None = None
    event_name: str | None = None
    error: str | None = None
    group: str | None = None
    before: datetime | None = None
    since: datetime | None = None
    ordering_key: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("subscription", "event_name", "error", "group", "ordering_key"):
            if getattr(self, name) == "":  # it would mean none, or all
                raise InvalidSetting(f"{name}='': expected a text that is not empty, or None for any.")
        check_aware("before", self.before)
        check_aware("since", self.since)

    @property
    def is_empty(self) -> bool:
        """Whether all letters are meant."""
        return self == LetterFilter()

    @property
    def whole_group(self) -> str | None:
        """The group's id, where it is said as a whole: a store then knows its letters."""
        return self.group if self.group is not None and len(self.group) == _GROUP_LENGTH else None

    def __str__(self) -> str:
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        said["fields"] = " and ".join(self.fields)  # without their values, which nobody may be meant to see
        return ", ".join(f"{name}={value}" for name, value in said.items() if value) or "all dead letters"

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        return (
            self.subscription in (None, letter.subscription)
            and self.event_name in (None, letter.event_name)
            and (self.error is None or self.error in letter.reason)
            and (self.before is None or letter.last_at < self.before)
            and (self.since is None or letter.last_at >= self.since)
            and (self.group is None or group_id(letter).startswith(self.group))
            and self.means(letter.argument)
        )

    @property
    def looks_inside(self) -> bool:
        """Whether letters have to be read to know which are meant."""
        return bool(self.fields) or self.ordering_key is not None

    def means(self, argument: str) -> bool:
        """Whether the event in a letter's argument has the fields and the ordering key."""
        if not self.looks_inside:
            return True
        envelope = _envelope(argument) or {}
        key = self.ordering_key
        return (key is None or envelope.get(ORDERING_KEY) == key) and _has(envelope.get("data"), self.fields)

    @property
    def texts(self) -> Sequence[Sequence[str]]:
        """Of each of these, one text stands in the argument of each letter whose event is meant.

        A store that can look for texts reads fewer letters then. There are none of a field whose name or
        value JSON may write in more than one way.
        """
        key = {} if self.ordering_key is None else {ORDERING_KEY: self.ordering_key}
        return [
            texts for name, value in (key | dict(self.fields)).items() for texts in _texts_of(name, value)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterGroup:
    """Dead letters that seem to have one cause: one subscription, one class of error, one place in the code.

    Parameters:
        id: Its fingerprint.
        subscription: Whom the letters are to.
        error: The class of the error.
        place: The innermost function of the application in the traceback, as `file.py:function`.
        count: How many letters there are.
        first_at: When the first was given up.
        last_at: When the last was.
        sample: The id of the last one.
        reason: Why that one was given up.
    """

    id: str
    subscription: str
    error: str
    place: str
    count: int
    first_at: datetime
    last_at: datetime
    sample: str
    reason: str


def matching_letters(
    letters: DeadLetters, handler: str, matching: LetterFilter | None = None, *, after: str | None = None
) -> Iterator[DeadLetter]:
    """The letters of a handler that are meant, those first that were given up first.

    Parameters:
        matching: Which ones; all if not given.
        after: Begin behind the letter with this `cursor`.
    """
    wanted = matching or LetterFilter()
    while page := letters.list(
        limit=_PAGE, handler=handler, after=after, wanted=wanted,
        subscription=wanted.subscription, event_name=wanted.event_name, group=wanted.whole_group,
    ):  # fmt: skip
        yield from filter(wanted.matches, page)
        after = page[-1].cursor


def groups_of(letters: Iterable[DeadLetter]) -> list[LetterGroup]:
    """The groups of letters, each of one handler, the largest first."""
    found: dict[tuple[str, str], LetterGroup] = {}
    for each in letters:
        of = each.handler, group_id(each)
        known = found.get(of)
        if known is None:
            found[of] = group_like(each, count=1, first_at=each.last_at)
            continue
        latest = each if each.last_at >= known.last_at else None
        found[of] = replace(
            known,
            count=known.count + 1,
            first_at=min(known.first_at, each.last_at),
            last_at=known.last_at if latest is None else latest.last_at,
            sample=known.sample if latest is None else latest.id,
            reason=known.reason if latest is None else latest.reason,
        )
    return sorted(found.values(), key=lambda group: (-group.count, group.subscription, group.id))


def group_like(latest: DeadLetter, *, count: int, first_at: datetime) -> LetterGroup:
    """The group of which a letter is the last.

    Parameters:
        count: How many letters it has.
        first_at: When the first of them was given up.
    """
    error, place = _cause(latest.reason, latest.traceback)
    return LetterGroup(
        id=group_id(latest), subscription=latest.subscription, error=error, place=place, count=count,
        first_at=first_at, last_at=latest.last_at, sample=latest.id, reason=latest.reason,
    )  # fmt: skip


def group_id(letter: DeadLetter) -> str:
    """The fingerprint of a letter's cause; no number of a line is in it, so that a deploy splits no group."""
    return fingerprint(letter.subscription, letter.reason, letter.traceback)


def fingerprint(subscription: str, reason: str, traceback: str) -> str:
    """The id of a group, by what is said in a letter."""
    text = "\n".join((subscription, *_cause(reason, traceback)))
    return hashlib.sha256(text.encode()).hexdigest()[:_GROUP_LENGTH]


def payload_of(letter: DeadLetter) -> Any:
    """The payload in a letter, of its first event; None where it cannot be read."""
    return _payload_in(letter.argument)


def ordering_key_in(argument: str) -> str | None:
    """The ordering key of the event in a letter's argument; None where it has none, or cannot be read."""
    key = (_envelope(argument) or {}).get(ORDERING_KEY)
    return key if isinstance(key, str) else None


def _payload_in(argument: str) -> Any:
    envelope = _envelope(argument)
    return None if envelope is None else envelope.get("data")


def edited(letter: DeadLetter, payload: Any) -> DeadLetter:
    """The letter with another payload; where that says `***`, a sensitive value stays what it was.

    Raises:
        ConfigurationError: When the letter is not about one event that can be read, or a value is to be
            changed that is encrypted.
    """
    envelope = _envelope(letter.argument)
    if envelope is None:
        raise ConfigurationError(f"The dead letter {letter.id} is not about one event that can be read.")
    before = envelope.get("data")
    sensitive = redaction.read(envelope[redaction.SENSITIVE]) if redaction.SENSITIVE in envelope else ()
    encrypted = redaction.read(envelope[redaction.ENCRYPTED]) if redaction.ENCRYPTED in envelope else ()
    after = _merged(before, payload, sensitive, encrypted, ())
    text = json.dumps({**envelope, "data": after}, ensure_ascii=False, separators=(",", ":"))
    return replace(letter, argument=f"[{text}]" if letter.argument.lstrip().startswith("[") else text)


def _merged(
    before: Any, after: Any, sensitive: redaction.Places, encrypted: redaction.Places, steps: tuple[str, ...]
) -> Any:
    if after == redaction.MASK and redaction.are_among(steps, sensitive):
        return before
    if redaction.are_among(steps, encrypted) and after != before:
        raise ConfigurationError(
            f"{'.'.join(steps)} is encrypted: leave {redaction.MASK} there, which keeps its value."
        )
    if isinstance(after, dict):
        inside = before if isinstance(before, dict) else {}
        return {
            name: _merged(inside.get(name), value, sensitive, encrypted, (*steps, name))
            for name, value in after.items()
        }
    if isinstance(after, list):
        items = before if isinstance(before, list) and len(before) == len(after) else [None] * len(after)
        return [
            _merged(was, value, sensitive, encrypted, (*steps, str(at)))
            for at, (was, value) in enumerate(zip(items, after, strict=True))
        ]
    return after


def _envelope(argument: str) -> dict[str, Any] | None:
    try:
        value = from_json(argument, cache_strings="none")  # sooner than the other: there may be many
    except ValueError:
        try:
            value = json.loads(argument)  # which takes half of a surrogate pair
        except ValueError:
            return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else None


def _cause(reason: str, traceback: str) -> tuple[str, str]:
    """The class of the error, and the innermost function of the application on the way to it."""
    error = _ERROR.match(reason)
    frames = [(each["file"], each["function"]) for each in _FRAME.finditer(traceback)]
    own = [each for each in frames if not _NOT_THE_APPLICATION.search(each[0])]
    if not own:
        return error[0] if error else reason[:80], ""
    file, function = own[-1]
    name = "/".join(re.split(r"[/\\]", file)[-2:])
    return error[0] if error else "", f"{name}:{function}"


def _texts_of(name: str, value: Any) -> Iterator[Sequence[str]]:
    """What a field can be looked for by, what is looked for most quickly first."""
    key = name.rpartition(".")[2]
    if key.isdigit() or not _SIMPLE.fullmatch(key):  # the index of a list, or what may be escaped
        return
    written = value if isinstance(value, str) else json.dumps(value)
    yield (f'"{key}"',)
    if _SIMPLE.fullmatch(written):
        yield (written,)
        yield [f'"{key}"{colon}{quote}{written}' for colon in _COLONS for quote in ("", '"')]


def _has(payload: Any, wanted: Mapping[str, Any]) -> bool:
    return all(_equal(_at(payload, name), value) for name, value in wanted.items())


def _at(payload: Any, name: str) -> Any:
    for step in name.split("."):
        if isinstance(payload, dict) and step in payload:
            payload = payload[step]
        elif isinstance(payload, list) and step.isdigit() and int(step) < len(payload):
            payload = payload[int(step)]
        else:
            return _MISSING
    return payload


def _equal(found: Any, wanted: Any) -> bool:
    if found is _MISSING:
        return False
    if found == wanted and type(found) is type(wanted):
        return True
    return isinstance(wanted, str) and wanted == (found if isinstance(found, str) else json.dumps(found))
