"""Addresses are plain values, made from an id in either spelling."""

import copy
import pickle

import attrs
import pytest

from actorstream import Address, address


def test_both_spellings_of_an_id_make_the_same_address() -> None:
    assert address("actor-id") == address("@(actor-id)")


def test_an_address_is_returned_unchanged() -> None:
    to = address("actor-id")
    assert address(to) is to


def test_its_str_is_the_long_spelling() -> None:
    assert str(address("actor-id")) == "@(actor-id)"


def test_its_str_makes_an_equal_address() -> None:
    to = address("workers/a")
    assert address(str(to)) == to


def test_its_repr_is_the_call_that_makes_it() -> None:
    assert repr(address("it's")) == """address("it's")"""


def test_its_id_is_bare_in_either_spelling() -> None:
    assert address("@(actor-id)").id == "actor-id"


@pytest.mark.parametrize(
    "actor_id", ["workers/a", "a.b", "ünïcode", "with space", "(a)", "@a", "@(", ")", "@(a", "a)"]
)
def test_an_id_may_be_any_text(actor_id: str) -> None:
    assert address(actor_id).id == actor_id


def test_only_the_outer_spelling_is_removed() -> None:
    assert address("@(@(a))").id == "@(a)"


def test_ids_differ_by_case() -> None:
    assert address("A") != address("a")


@pytest.mark.parametrize("empty", ["", " ", "\n", "@()", "@( )"])
def test_an_empty_id_is_a_value_error_that_shows_it(empty: str) -> None:
    with pytest.raises(ValueError, match="empty") as caught:
        address(empty)
    assert repr(empty) in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 7, b"actor", ("a",), Address])
def test_anything_but_a_str_is_a_type_error_that_names_its_type(wrong: object) -> None:
    with pytest.raises(TypeError, match="an address is a str or an Address") as caught:
        address(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert type(wrong).__name__ in str(caught.value)


def test_an_error_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r'write address\("actor-id"\)'):
        address(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_equal_addresses_are_the_same_key() -> None:
    assert {address("a"): 1}[address("@(a)")] == 1


def test_it_does_not_equal_its_str() -> None:
    to: object = address("a")
    assert to != "a"


def test_it_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        address("a").id = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_it_takes_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        address("a").other = 1  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_it_survives_copying_and_pickling() -> None:
    to = address("a")
    assert copy.deepcopy(to) == pickle.loads(pickle.dumps(to)) == to


def test_its_str_is_one_line_whatever_the_id() -> None:
    assert str(address("a\nb")) == r"@('a\nb')"
