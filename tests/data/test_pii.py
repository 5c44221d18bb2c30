"""Personal data and secrets: what is found, what is not, and the checksums behind it."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.data import checksums
from tidemill.data.pii import PiiFinder
from tidemill.data.types import PII_KINDS

FINDER = PiiFinder()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail joe.doe+x@mail.example.co.uk now.", "Mail [EMAIL] now."),
        ("Ring +44 20 7946 0958 or (212) 555-0123.", "Ring [PHONE] or [PHONE]."),
        ("Tel: 0049 171 1234567, 030 1234567", "Tel: [PHONE], [PHONE]"),
        ("card 4111 1111 1111 1111 and 378282246310005", "card [CARD] and [CARD]"),
        ("no. 12 4111 1111 1111 1111", "no. 12 [CARD]"),
        ("DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432", "[IBAN] and [IBAN]"),
        ("from 192.168.1.1 or 2001:db8::1.", "from [IP] or [IP]."),
        ("password=hunter22xyz!Q9", "password=[SECRET]"),
        ("AKIAIOSFODNN7EXAMPLE", "[SECRET]"),
        ("token ghp_" + "a1B2" * 10, "token [SECRET]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[SECRET]"),
        ("Größe: äöü a@b.de – ✓ +49 171 1234567", "Größe: äöü [EMAIL] – ✓ [PHONE]"),
    ],
)
def test_what_is_found(text: str, expected: str) -> None:
    assert FINDER.mask(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "In 1999-2004 there were 1234567 people.",
        "2024-01-15 10:20:30, version 1.2.3.4.5, 12:30:45",
        "4111 1111 1111 1112 is not a card, DE89 3704 0044 0532 0130 01 not an IBAN.",
        "Order 123456789012, price $12,345,678.90, pi 3.14159265358979",
        "password: changeme please, token=placeholder",
        "@handle and a@b, 300.300.300.300",
        "call me maybe",
    ],
)
def test_what_only_looks_so(text: str) -> None:
    assert FINDER.mask(text) == text


def test_only_the_wanted_kinds_are_found() -> None:
    assert PiiFinder(("email",)).mask("a@b.de 192.168.1.1") == "[EMAIL] 192.168.1.1"
    assert {detector.kind for detector in FINDER.detectors} == set(PII_KINDS)


@given(st.text(max_size=200))
def test_finds_lie_in_the_text_and_do_not_overlap(text: str) -> None:
    finds = FINDER.finds(text)
    edges = [edge for find in finds for edge in (find.start, find.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(text) for edge in edges)


@given(st.text(alphabet="0123456789 +-.:@aA", max_size=60), st.text(alphabet="äé ✓", max_size=10))
def test_other_scripts_around_change_nothing(middle: str, outside: str) -> None:
    plain = [(find.kind, find.start, find.end) for find in FINDER.finds(f"  {middle}  ")]
    shift = len(outside)
    wrapped = FINDER.finds(f"{outside}  {middle}  ")
    assert [(find.kind, find.start - shift, find.end - shift) for find in wrapped] == plain


@given(st.text(alphabet="0123456789", min_size=15, max_size=15))
def test_luhn_accepts_one_check_digit_of_ten(body: str) -> None:
    right = [digit for digit in "0123456789" if checksums.luhn(body + digit)]
    assert len(right) == 1
    valid = body + right[0]
    changed = [valid[:p] + str((int(valid[p]) + 1) % 10) + valid[p + 1 :] for p in range(16)]
    assert not any(map(checksums.luhn, changed))  # every single wrong digit is noticed


@given(st.text(alphabet=string.digits, min_size=18, max_size=18), st.data())
def test_iban_check_digits(account: str, data: st.DataObject) -> None:
    number = int("".join(str(int(char, 36)) for char in account + "DE00"))
    valid = f"DE{98 - number % 97:02d}{account}"
    assert checksums.iban(valid)
    assert FINDER.mask(f"to {valid} please") == "to [IBAN] please"
    place = data.draw(st.integers(2, 21))
    wrong = valid[:place] + str((int(valid[place]) + data.draw(st.integers(1, 9))) % 10) + valid[place + 1 :]
    assert not checksums.iban(wrong)


def test_iban_of_every_country_has_its_length() -> None:
    assert not checksums.iban("DE8937040044053201300")
    assert not checksums.iban("XX89370400440532013000")
    for iban in ("NO9386011117947", "MT84MALT011000012345MTLCAST001S", "FR1420041010050500013M02606"):
        assert checksums.iban(iban)


@pytest.mark.parametrize("evil", ["1", "1 ", "a@", ":", "DE12", "AA11 ", "password=", "1.1.", "(", "+4 "])
def test_no_text_makes_it_slow(evil: str) -> None:
    text = evil * (50_000 // len(evil))
    began = time.process_time()
    FINDER.finds(text)
    assert time.process_time() - began < 5
