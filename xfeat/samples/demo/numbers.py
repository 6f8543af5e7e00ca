"""Numbers from 1 to 999 in words, in languages whose words say the place of a digit.

A bag of words or of letter n-grams forgets the order of words; "trescientos" and "cuarenta" need none.
"""

# One to twenty-nine, thirty to ninety, one hundred to nine hundred.
_SPANISH = """
uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho \
diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve
treinta cuarenta cincuenta sesenta setenta ochenta noventa
ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos
"""
SPANISH_SMALL, SPANISH_TENS, SPANISH_HUNDREDS = (line.split() for line in _SPANISH.strip().splitlines())
ESPERANTO = ("", "unu", "du", "tri", "kvar", "kvin", "ses", "sep", "ok", "naŭ")
CHINESE = "零一二三四五六七八九"
KOREAN = "영일이삼사오육칠팔구"


def in_spanish(number: int) -> str:
    """``trescientos catorce`` for 314."""
    hundreds, rest = divmod(number, 100)
    if number == 100:
        return "cien"
    words = [SPANISH_HUNDREDS[hundreds - 1]] if hundreds else []
    if 0 < rest < 30:
        words.append(SPANISH_SMALL[rest - 1])
    elif rest:
        words.append(SPANISH_TENS[rest // 10 - 3])
        words += ["y", SPANISH_SMALL[rest % 10 - 1]] if rest % 10 else []
    return " ".join(words)


def in_esperanto(number: int) -> str:
    """``tricent dek kvar`` for 314."""
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    words = [_many(hundreds, "cent"), _many(tens, "dek"), ESPERANTO[ones]]
    return " ".join(word for word in words if word)


def in_chinese(number: int) -> str:
    """``三百一十四`` for 314."""
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    text = f"{CHINESE[hundreds]}百" if hundreds else ""
    if tens:
        # Ten to nineteen leave the one out where nothing stands before it.
        text += "十" if tens == 1 and not hundreds else f"{CHINESE[tens]}十"
    elif hundreds and ones:
        text += "零"
    return text + (CHINESE[ones] if ones else "")


def in_korean(number: int) -> str:
    """``삼백십사`` for 314 (Sino-Korean)."""
    text = ""
    for digit, unit in ((number // 100, "백"), (number // 10 % 10, "십")):
        if digit:
            text += unit if digit == 1 else KOREAN[digit] + unit
    return text + (KOREAN[number % 10] if number % 10 else "")


def _many(count: int, unit: str) -> str:
    if not count:
        return ""
    return unit if count == 1 else ESPERANTO[count] + unit


LANGUAGES = (in_spanish, in_esperanto, in_chinese, in_korean)
