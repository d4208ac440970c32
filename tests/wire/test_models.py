"""Models of every make: dispatched, written as JSON, read by a worker, and equal to what they were."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import re
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pydantic.dataclasses
import pytest
from dramatiq.brokers.stub import StubBroker
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    computed_field,
    field_serializer,
)
from sqlalchemy import create_engine
from sqlmodel import Field as Column
from sqlmodel import Session, SQLModel
from typing_extensions import TypedDict

from fastapi_events.dispatcher import dispatch
from fastapi_events.envelope import read_batch, unseal
from fastapi_events.errors import ConfigurationError, InvalidPayload, UnserialisablePayload
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.model_dumps import BY_EITHER_NAME
from fastapi_events.registry.payload_schema import EventPayloadSchemaRegistry
from fastapi_events.scope import collect_events
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.runner import InThread, drive, run

T = TypeVar("T")

NAME = "thing"
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(-(10**9), 10**9)


def travel(*args: Any, **kwargs: Any) -> Event:
    """Dispatch to a queue; what arrives is read from the message's JSON."""
    broker = StubBroker()
    broker.queues.clear()
    handler = DramatiqHandler(broker, flush_deadline=30.0)
    with collect_events([handler], raise_errors=True):
        dispatch(*args, **kwargs)
    [argument] = json.loads(broker.queues["events"].get_nowait())["args"]
    [envelope] = read_batch(argument)
    return unseal(envelope)


def given_to(annotation: Any, event: Event) -> Any:
    """What a function of a queue handler gets that asks for its payload as this type."""
    got: list[Any] = []

    def work(payload: Any) -> None:
        got.append(payload)

    work.__annotations__["payload"] = annotation
    drive(run(plan(work), event, caller=InThread(), overrides={}, from_wire=True))
    return got[0]


class Defaults(BaseModel):
    id: uuid.UUID = Field(default_factory=uuid.uuid4)
    tags: list[str] = []
    count: int = 3


def with_tags(tags: list[str]) -> Defaults:
    made = Defaults()
    made.tags.extend(tags)
    return made


class Aliased(BaseModel):
    plain: int = Field(alias="plainAlias")
    read: int = Field(validation_alias=AliasChoices("readAs", AliasPath("deep", 0)))
    written: int = Field(serialization_alias="writtenAs")


class ByAlias(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    first: int = Field(serialization_alias="written_as")
    inner: Aliased


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str] = []


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Owner(BaseModel):
    pet: Pet
    others: list[Pet] = []


class WithJson(BaseModel):
    raw: Json[dict[str, int]]
    anything: Json[Any] = None


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: int

    @computed_field  # type: ignore[prop-decorator]  # mypy does not know this order
    @property
    def area(self) -> int:
        return self.side**2


class Excluded(BaseModel):
    shown: int
    hidden: int = Field(default=0, exclude=True)


class Written(BaseModel):
    token: SecretStr

    @field_serializer("token", when_used="json")
    def write(self, token: SecretStr) -> str:
        return token.get_secret_value()


class Box(BaseModel, Generic[T]):
    item: T


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Numbers(RootModel[list[int]]):
    pass


class Colour(enum.Enum):
    RED = "red"
    DEEP = 2


class Everything(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime.datetime
    took: datetime.timedelta
    price: decimal.Decimal
    raw: bytes
    colour: Colour
    names: frozenset[str]
    by_number: dict[int, str]
    pair: tuple[int, str]
    maybe: int | None = None


class Size(enum.Enum):
    SMALL = (1, 2)
    SINCE = datetime.date(2026, 1, 1)
    RAW = b"\xff"
    PLAIN = "plain"


class Sized(BaseModel):
    size: Size
    sizes: dict[str, list[Size | None]] = {}


class Crossed(BaseModel):
    kind: int = Field(alias="type")
    type: int
    there: int = Field(alias="back", default=1)
    back: int = Field(alias="there", default=2)


def crossed(one: int, other: int) -> Crossed:
    made = Crossed(type=one)
    made.type = made.there = other
    return made


@dataclasses.dataclass
class Plain:
    number: int
    words: list[str] = dataclasses.field(default_factory=list)
    inner: Defaults | None = None


@pydantic.dataclasses.dataclass
class Checked:
    number: int = Field(serialization_alias="numberAs")
    at: datetime.date = datetime.date(2026, 1, 1)


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="forbid"))
class Counting:
    number: int
    double: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.double = 2 * self.number


class Typed(TypedDict):
    number: int
    at: datetime.date


class Pair(NamedTuple):
    number: int
    at: datetime.date


class Row(SQLModel, table=True):
    id: int | None = Column(default=None, primary_key=True)
    name: str
    born: datetime.date | None = None


dates = st.dates()
cats, dogs = st.builds(Cat, lives=integers), st.builds(Dog, tricks=st.lists(text, max_size=3))
trees: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Tree, name=text),
    lambda inner: st.builds(Tree, name=text, children=st.lists(inner, max_size=3)),
    max_leaves=6,
)
MODELS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "defaults by factory": (Defaults, st.builds(Defaults)),
    "defaults that were changed": (Defaults, st.builds(with_tags, st.lists(text))),
    "aliases of three kinds": (
        Aliased,
        st.builds(lambda a, b, c: Aliased(plainAlias=a, readAs=b, written=c), integers, integers, integers),
    ),
    "serialize_by_alias": (
        ByAlias,
        st.builds(lambda a: ByAlias(first=a, inner=Aliased(plainAlias=a, readAs=a, written=a)), integers),
    ),
    "a tag that has its default": (Owner, st.builds(Owner, pet=cats | dogs, others=st.lists(cats | dogs))),
    "Json": (WithJson, st.builds(lambda n: WithJson(raw=json.dumps({"n": n}), anything="[1]"), integers)),
    "computed fields": (Computed, st.builds(Computed, side=integers)),
    "excluded fields at their default": (Excluded, st.builds(Excluded, shown=integers, hidden=st.just(0))),
    "a secret that is written out": (Written, st.builds(Written, token=text.map(SecretStr))),
    "generics": (Box[Owner], st.builds(Box[Owner], item=st.builds(Owner, pet=cats))),
    "recursive models": (Tree, trees),
    "a root model": (Numbers, st.builds(Numbers, st.lists(integers))),
    "members whose values JSON does not know": (
        Sized,
        st.builds(
            Sized, size=st.sampled_from(Size),
            sizes=st.dictionaries(text, st.lists(st.none() | st.sampled_from(Size), max_size=3)),
        ),
    ),
    "strict, with many types": (
        Everything,
        st.builds(
            Everything, at=st.datetimes(timezones=st.just(datetime.UTC)), took=st.timedeltas(
                datetime.timedelta(days=-999), datetime.timedelta(days=999)
            ),
            price=st.decimals(allow_nan=False, allow_infinity=False), raw=st.binary(),
            colour=st.sampled_from(Colour), names=st.frozensets(text),
            by_number=st.dictionaries(integers, text),
            pair=st.tuples(integers, text), maybe=st.none() | integers,
        ),
    ),
    "a dataclass": (
        Plain, st.builds(Plain, number=integers, words=st.lists(text), inner=st.none() | st.builds(Defaults))
    ),
    "a dataclass of pydantic": (Checked, st.builds(Checked, number=integers, at=dates)),
    "a dataclass that sets a field itself": (Counting, st.builds(Counting, number=integers)),
    "a row of SQLModel": (Row, st.builds(Row, id=st.none() | integers, name=text, born=st.none() | dates)),
}  # fmt: skip

if BY_EITHER_NAME:  # before pydantic 2.11 it is refused
    MODELS["aliases that are names of other fields"] = (Crossed, st.builds(crossed, integers, integers))

PLAIN: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "a TypedDict": (Typed, st.fixed_dictionaries({"number": integers, "at": dates})),
    "a NamedTuple": (Pair, st.builds(Pair, number=integers, at=dates)),
    "a union of models": (Cat | Dog, cats | dogs),
    "an optional model": (Cat | None, st.none() | cats),
    "a list of models": (list[Pet], st.lists(cats | dogs, max_size=3)),
    "a dict of models": (dict[str, Cat], st.dictionaries(text, cats, max_size=3)),
    "a number": (int, integers),
}


def data_of(model: Any) -> Any:
    """A row compares by identity; its columns say whether it is the same."""
    return model.model_dump() if isinstance(model, SQLModel) else model


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_is_dispatched_is_rebuilt_equal(kind: str) -> None:
    annotation, models = MODELS[kind]

    @settings(max_examples=20, deadline=None)
    @given(models)
    def check(model: Any) -> None:
        arrived = given_to(annotation, travel(model, event_name=NAME))
        assert type(arrived) is type(model)
        assert data_of(arrived) == data_of(model)

    check()


@pytest.mark.parametrize("kind", {**MODELS, **PLAIN})
def test_so_is_one_that_is_the_payload_or_is_inside_of_it(kind: str) -> None:
    annotation, models = {**MODELS, **PLAIN}[kind]

    @settings(max_examples=20, deadline=None)
    @given(models)
    def check(model: Any) -> None:
        assert data_of(given_to(annotation, travel(NAME, model))) == data_of(model)
        arrived = given_to(dict[str, list[annotation]], travel(NAME, {"inside": [model]}))  # type: ignore[valid-type]
        assert [data_of(each) for each in arrived["inside"]] == [data_of(model)]

    check()


def test_every_function_gets_the_same_id_and_what_was_appended() -> None:
    made = with_tags(["new"])
    event = travel(made, event_name=NAME)

    assert given_to(Defaults, event) == given_to(Defaults, event) == made
    assert event.payload == {"id": str(made.id), "tags": ["new"], "count": 3}


def test_a_dict_that_a_schema_has_validated_travels_as_the_schema_does() -> None:
    schemas = EventPayloadSchemaRegistry()
    schemas.register(Defaults, event_name=NAME)

    event = travel(NAME, {"tags": ["a"]}, payload_schema_registry=schemas)

    assert event.payload.keys() == {"id", "tags", "count"}
    assert given_to(Defaults, event) == given_to(Defaults, event)


def test_local_functions_get_the_reduced_dict_or_the_model_itself() -> None:
    handler = LocalHandler()
    got: list[Any] = []
    handler.register(lambda event: got.append(event.payload), event_name=NAME)
    handler.register(Defaults, event_name=NAME)(got.append)
    made = Defaults(count=5)

    with collect_events([handler], raise_errors=True):
        dispatch(made, event_name=NAME)

    assert got[0] == {"count": 5}
    assert got[1] is made


def test_what_is_said_of_the_dump_holds_for_what_travels() -> None:
    arguments = {"exclude": {"tags"}, "by_alias": True}
    event = travel(Defaults(), event_name=NAME, payload_schema_cls_dict_args=arguments)
    assert event.payload.keys() == {"id", "count"}


def test_an_event_that_a_hook_dispatches_has_a_payload_of_its_own() -> None:
    class Chatty(LocalHandler):
        def on_dispatch(self, event: Event) -> None:
            if event.name == NAME:
                dispatch("another", {"count": 5})

    events: list[Event] = []
    handler = Chatty()
    handler.register(events.append)
    with collect_events([handler], raise_errors=True):
        dispatch(Defaults(count=5), event_name=NAME)

    assert {str(event.name): event.model is None for event in events} == {NAME: False, "another": True}


def test_an_excluded_field_comes_back_as_its_default() -> None:
    assert given_to(Excluded, travel(Excluded(shown=1, hidden=2), event_name=NAME)) == Excluded(shown=1)


class Base(BaseModel):
    number: int


class Derived(Base):
    more: int = 5


class Kept(BaseModel):
    as_annotated: Base
    as_it_is: SerializeAsAny[Base]


class Stamped(BaseModel):
    day: datetime.date

    @field_serializer("day")
    def write(self, day: datetime.date) -> str:
        return f"{day:%d.%m.%Y}"


def test_of_a_subclass_what_is_annotated_travels_unless_all_is_asked_for() -> None:
    event = travel(Kept(as_annotated=Derived(number=1), as_it_is=Derived(number=2)), event_name=NAME)

    assert event.payload == {"as_annotated": {"number": 1}, "as_it_is": {"number": 2, "more": 5}}
    assert given_to(Kept, event).as_it_is == Base(number=2)


def test_what_a_serialiser_of_its_own_writes_is_what_the_model_has_to_read() -> None:
    event = travel(Stamped(day=datetime.date(2026, 1, 2)), event_name=NAME)

    assert event.payload == {"day": "02.01.2026"}
    with pytest.raises(InvalidPayload, match="day"):
        given_to(Stamped, event)


def test_json_text_fits_several_types_of_a_union() -> None:
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    assert given_to(datetime.datetime | str, travel(NAME, at.isoformat())) == at
    assert given_to(datetime.datetime | int, travel(NAME, at)) == at


class Unbuildable(BaseModel):
    shown: int
    hidden: int = Field(exclude=True)


class Around(BaseModel):
    inside: list[Unbuildable] = []


@dataclasses.dataclass
class WithInit:
    number: int
    seed: dataclasses.InitVar[int]


@pytest.mark.parametrize(
    ("annotation", "field"),
    [
        (Unbuildable, "Unbuildable.hidden"),
        (Around, "Unbuildable.hidden"),
        (list[Around] | None, "Unbuildable.hidden"),
        (WithInit, "WithInit.seed"),
    ],
)
def test_a_required_field_that_does_not_travel_is_refused_at_registration(
    annotation: Any, field: str
) -> None:
    handler = DramatiqHandler(StubBroker())

    def work(payload: Any) -> None: ...

    work.__annotations__["payload"] = annotation
    with pytest.raises(ConfigurationError, match=f"{re.escape(field)} must be given, and is excluded"):
        handler.register(work, event_name=NAME)
    LocalHandler().register(work, event_name=NAME)


def test_local_functions_get_such_a_model_as_it_is() -> None:
    handler = LocalHandler()
    got: list[Any] = []
    handler.register(Unbuildable, event_name=NAME)(got.append)
    made = Unbuildable(shown=1, hidden=2)

    with collect_events([handler], raise_errors=True):
        dispatch(made, event_name=NAME)

    assert got == [made]


def _expired() -> Row:
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        row = Row(name="Tom")
        session.add(row)
        session.commit()  # after which its attributes are gone until somebody asks for one
        session.expunge(row)
    engine.dispose()
    return row


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Unbuildable(shown=1, hidden=2), "required field 'hidden' is excluded"),
        (lambda: Around(inside=[Unbuildable(shown=1, hidden=2)]), "required field 'hidden' is excluded"),
        (_expired, "is a Row that lacks born, id, name: its row has expired"),
        (lambda: Box[Row].model_construct(item=_expired()), "is a Row that lacks"),
        (lambda: Defaults.model_construct().model_copy(), None),
        (lambda: Box[int].model_construct(), "lacks item"),
        (lambda: Box[SecretBytes](item=SecretBytes(b"x")), "would travel masked"),
    ],
)
def test_what_nobody_could_rebuild_is_refused_where_it_is_dispatched(
    make: Callable[[], Any], reason: str | None
) -> None:
    for arguments in ((make(),), (NAME, make()), (NAME, {"inside": [make()]})):
        name = {"event_name": NAME} if len(arguments) == 1 else {}
        if reason is None:
            travel(*arguments, **name)
            continue
        with pytest.raises(UnserialisablePayload, match=reason):
            travel(*arguments, **name)
