import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache.strings import texts

WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=200) | st.lists(st.sampled_from(["ok", "größe", "", "train"]), min_size=1))
def test_strings_come_back_as_they_were(words: list[str]) -> None:
    assert texts(np.array([word.encode() for word in words])) == words


def test_values_that_no_sample_of_the_column_shows_are_found() -> None:
    words = ["train"] * 500
    words[7], words[499] = "test", "鳥"
    assert texts(np.array([word.encode() for word in words])) == words


def test_equal_strings_are_one_object_where_there_are_few() -> None:
    found = texts(np.array([b"train", b"val"] * 300))
    assert len({id(text) for text in found}) == 2


def test_an_empty_column_is_an_empty_list() -> None:
    assert texts(np.empty(0, "S4")) == []
