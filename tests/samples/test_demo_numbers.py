"""Numbers against lists written out by hand, and the property they are there for: places can be told apart."""

import re

import pytest

from xfeat.samples.demo.numbers import LANGUAGES, in_chinese, in_esperanto, in_korean, in_spanish


@pytest.mark.parametrize(
    ("number", "spanish", "esperanto", "chinese", "korean"),
    [
        (7, "siete", "sep", "七", "칠"),
        (10, "diez", "dek", "十", "십"),
        (15, "quince", "dek kvin", "十五", "십오"),
        (22, "veintidós", "dudek du", "二十二", "이십이"),
        (31, "treinta y uno", "tridek unu", "三十一", "삼십일"),
        (100, "cien", "cent", "一百", "백"),
        (101, "ciento uno", "cent unu", "一百零一", "백일"),
        (110, "ciento diez", "cent dek", "一百一十", "백십"),
        (216, "doscientos dieciséis", "ducent dek ses", "二百一十六", "이백십육"),
        (305, "trescientos cinco", "tricent kvin", "三百零五", "삼백오"),
        (314, "trescientos catorce", "tricent dek kvar", "三百一十四", "삼백십사"),
        (540, "quinientos cuarenta", "kvincent kvardek", "五百四十", "오백사십"),
        (777, "setecientos setenta y siete", "sepcent sepdek sep", "七百七十七", "칠백칠십칠"),
        (999, "novecientos noventa y nueve", "naŭcent naŭdek naŭ", "九百九十九", "구백구십구"),
    ],
)
def test_numbers_as_they_are_written(number: int, spanish: str, esperanto: str, chinese: str, korean: str) -> None:
    found = in_spanish(number), in_esperanto(number), in_chinese(number), in_korean(number)
    assert found == (spanish, esperanto, chinese, korean)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_has_words_of_its_own(language) -> None:  # type: ignore[no-untyped-def]
    assert len({language(number) for number in range(1, 1000)}) == 999


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_and_letter_pairs_tell_numbers_apart_without_their_order(language) -> None:  # type: ignore[no-untyped-def]
    def bag(text: str) -> tuple[str, ...]:
        return tuple(sorted([*re.findall(r"(?=(..))", f" {text} "), *text.split()]))

    assert len({bag(language(number)) for number in range(100, 1000)}) == 900
