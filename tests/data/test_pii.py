"""Personal data and secrets: what is found, what is not, and the checksums behind it."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tidemill.data import checksums
from tidemill.data.phones import RegionUnknown, check_regions
from tidemill.data.pii import PiiFinder
from tidemill.data.types import PII_KINDS, PiiStep

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
        # accounts and cards in everyday spellings: dashes, dots, several spaces, and spaces as they come from a PDF
        ("Pay to DE89-3704-0044-0532-0130-00.", "Pay to [IBAN]."),
        ("Pay to DE89.3704.0044.0532.0130.00", "Pay to [IBAN]"),
        ("Pay to DE89  3704  0044  0532  0130  00", "Pay to [IBAN]"),
        ("Pay to DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "Pay to [IBAN]"),
        ("Pay to DE89\u202f3704\u202f0044\u202f0532\u202f0130\u202f00", "Pay to [IBAN]"),
        ("Card 4111\u00a01111\u00a01111\u00a01111", "Card [CARD]"),
        ("Card 4111.1111.1111.1111, 3782-822463-10005", "Card [CARD], [CARD]"),
        ("Card 4111\u200b1111\u200b1111\u200b1111!", "Card [CARD]!"),
        ("Card 4111\u20111111\u20111111\u20111111", "Card [CARD]"),
        ("カード：４１１１１１１１１１１１１１１１です", "カード：[CARD]です"),
        ("بطاقة ٤١١١ ١١١١ ١١١١ ١١١١", "بطاقة [CARD]"),
        # addresses in any script
        ("Write to jörg@example.com or ada@müller.de", "Write to [EMAIL] or [EMAIL]"),
        ("请写信给ada@example.com谢谢", "请写信给[EMAIL]谢谢"),
        ("иван@почта.рф, да", "[EMAIL], да"),
        ("用户@例子.公司 好", "[EMAIL] 好"),
        ("'o.neil@x.ie' <ada@xn--mller-kva.de>", "'[EMAIL]' <[EMAIL]>"),
        # phones: international, national with a trunk 0, in pairs, without separators, beside a word
        ("Call +44\u00a020\u00a07946\u00a00958", "Call [PHONE]"),
        ("Call 06 12 34 56 78 or 015123456789", "Call [PHONE] or [PHONE]"),
        ("award! Call 09061701461CLAIM", "award! Call [PHONE]CLAIM"),
        ("07946746291/07880867867", "[PHONE]/[PHONE]"),
        ("tel 2125550199", "tel [PHONE]"),
        ("ＴＥＬ：＋４４　２０　７９４６　０９５８", "ＴＥＬ：[PHONE]"),
        ("(0171) 123 45 67", "[PHONE]"),
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
        "Order 0012345678, 2125550199 and 7946746291, ref 20241130-0042",
        "uuid 550e8400-e29b-41d4-a716-446655440000 sha 0123456789abcdef01234567",
        "04/11/2026 12:30:07, 30.11.2026 22:15, 1764540000123, 01 02 2026 10",
        "[2026-11-30T22:15:07.123456] 10.0.0 took 0.0712345678 s, v0.2.3456789",
        "ISBN 978-0-306-40615-7, item 0-306-40615-2, 12 345 678 901",
        "sum 4,111.11 11.11 1111.11 1111.11, 41 1111 11 111111 1111",
        "a @ b.de, x@y, @b.de, a@.de, a..b@c.de",
    ],
)
def test_what_only_looks_so(text: str) -> None:
    assert FINDER.mask(text) == text


def test_only_the_wanted_kinds_are_found() -> None:
    assert PiiFinder(("email",)).mask("a@b.de 192.168.1.1") == "[EMAIL] 192.168.1.1"
    assert FINDER.kinds == list(PII_KINDS)


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


def test_a_national_number_is_found_where_its_region_is_declared() -> None:
    text = "ruf mich an: 090-1234-5678"
    assert PiiFinder(("phone",), ("JP",)).mask(text) == "ruf mich an: [PHONE]"
    assert PiiFinder(("phone",), ()).mask("06 12 34 56 78, +33 6 12 34 56 78") == "06 12 34 56 78, [PHONE]"
    assert check_regions(["us", "US", "de"]) == ("US", "DE")
    with pytest.raises(RegionUnknown, match="no region 'UK'"):
        check_regions(["UK"])
    with pytest.raises(ValidationError, match="no region 'UK'"):
        PiiStep(regions=["UK"])


@pytest.mark.parametrize(
    "evil", ["0 ", "+1", "call 0", "é@", "用", "４", "1\u200b", "1/", "0-", "DE12-", "a@b.", "(0", "@"]
)
def test_no_text_of_other_scripts_makes_it_slow(evil: str) -> None:
    text = evil * (50_000 // len(evil))
    began = time.process_time()
    FINDER.finds(text)
    assert time.process_time() - began < 5


def test_many_finds_in_a_long_text_take_no_longer_each() -> None:
    text = "ü ada@example.com 4111 1111 1111 1111 " * 5_000
    began = time.process_time()
    assert len(FINDER.finds(text)) == 10_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize("evil", ["1", "1 ", "a@", ":", "DE12", "AA11 ", "password=", "1.1.", "(", "+4 "])
def test_no_text_makes_it_slow(evil: str) -> None:
    text = evil * (50_000 // len(evil))
    began = time.process_time()
    FINDER.finds(text)
    assert time.process_time() - began < 5
