"""Messages survive every way there is, and order is that of the table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chromaseal.stream.changes import run_id_of
from chromaseal.stream.messages import FieldChange, Message, attributes_of, body_of, read
from chromaseal.stream.table import EntityType, entity_of
from chromaseal.stream.translation import TableChange, messages_of
from chromaseal.testing.event_names import event_name

VALUES = st.none() | st.text(max_size=20) | st.integers() | st.booleans()
ITEMS = st.dictionaries(
    st.sampled_from(["merchant_name", "place_id", "address", "label", "validation_status"]), VALUES
)
SORTS = st.sampled_from(
    [
        "RECEIPT#00001",
        "RECEIPT#00001#PLACE",
        "RECEIPT#00001#METADATA",
        "RECEIPT#00001#LINE#00002",
        "RECEIPT#00001#LINE#00002#WORD#00003",
        "RECEIPT#00001#LINE#00002#WORD#00003#LABEL#TAX",
    ]
)
MESSAGES = st.builds(
    Message,
    collection=st.sampled_from(["lines", "words"]),
    entity_type=st.just(EntityType.RECEIPT_PLACE),
    event_name=st.sampled_from(["INSERT", "MODIFY", "REMOVE"]),
    entity_data=st.fixed_dictionaries(
        {"image_id": st.text(max_size=8), "receipt_id": st.integers(1, 99999)}
    ),
    timestamp=st.datetimes().map(lambda at: f"{at.isoformat()}+00:00"),
    record_id=st.text(max_size=8),
    changes=st.dictionaries(st.text(max_size=8), st.builds(FieldChange, VALUES, VALUES)),
    region=st.just("us-east-1"),
    sequence_number=st.just("") | st.integers(0, 10**40 - 1).map(str),
)


@given(MESSAGES)
def test_what_is_written_is_read(message: Message) -> None:
    """Body and attributes together are the whole message."""
    assert read(body_of(message), attributes_of(message)) == message


@given(st.integers(0, 10**40 - 1), st.integers(0, 10**40 - 1), MESSAGES)
def test_runs_sort_as_the_stream_does(one: int, other: int, message: Message) -> None:
    """Of two changes within one second the later one has the greater run id."""

    def numbered(number: int) -> str:
        body, attributes = body_of(message), attributes_of(message)
        return run_id_of(read(body, {**attributes, "sequence_number": str(number)}))

    assert (one < other) == (numbered(one) < numbered(other))


@given(SORTS, st.none() | ITEMS, st.none() | ITEMS)
def test_every_change_gives_messages_that_can_be_read(
    sort: str, before: dict[str, object] | None, after: dict[str, object] | None
) -> None:
    """For one item at most one per collection, and all about that item."""
    name = event_name(before, after)
    change = TableChange(name, "IMAGE#i", sort, before, after, "e", "1", 1, "us-east-1")
    told = messages_of(change)
    assert len({message.collection for message in told}) == len(told)
    entity = entity_of("IMAGE#i", sort)
    for message in told:
        assert entity is not None
        assert read(body_of(message), attributes_of(message)) == message
        assert message.entity_data == {"entity_type": entity.type.value, **entity.ids}


@given(st.text(), st.text())
def test_no_key_is_too_strange(partition: str, sort: str) -> None:
    """Other programs put what they like into the table."""
    entity_of(partition, sort)
    assert messages_of(TableChange("REMOVE", partition, sort, {}, None, "e", "1", 1, "")) == []
