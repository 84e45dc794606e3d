"""The comparison finds what differs, and only that."""

import pytest

from tests.docs.pages import Page
from tests.docs.reader import commands_of, hold_schema
from tests.docs.shown import Shown

PAY = "pay_01m7xymr1mfnzbqf5r8f0krvww"
OTHER = "pay_01m7yy6jpkfys96w87xkhjav8x"
THIRD = "pay_01m7yy2z2qe8e9y4z21vhjav8x"

JSON_EQUAL = [
    ('{"a": 1, "b": [true, null]}', '{"b":[true,null],"a":1}'),
    ('{"a": 1, …}', '{"a":1,"b":2}'),
    ('{\n  "a": 1,\n  …\n}', '{"a":1}'),
    ('{…, "b": {…}}', '{"a":1,"b":{"c":3}}'),
    ("[1, …]", "[1,2,3]"),
    ("[…]", "[]"),
    ('{"a": …, "b": 2}', '{"a":[1],"b":2}'),
    ('{"at": "2026-11-21T10:10:00Z"}', '{"at":"2027-01-02T03:04:05.123456Z"}'),
    ('{"url": "https://hooks.example/…"}', '{"url":"https://hooks.example/x?y=1"}'),
    (f'["{PAY}", "{PAY}"]', f'["{OTHER}","{OTHER}"]'),
    ('["a … in a string", …]', '["a short one in a string"]'),
]
JSON_DIFFERENT = [
    ('{"a": 1}', '{"a":2}'),
    ('{"a": 1}', '{"a":"1"}'),
    ('{"a": 1}', '{"a":true}'),
    ('{"a": 1}', '{"a":1,"b":2}'),
    ('{"a": 1, "b": 2, …}', '{"a":1}'),
    ("[1]", "[1,2]"),
    ("[1, 2, …]", "[1]"),
    ('{"at": "2026-11-21T10:10:00Z"}', '{"at":"yesterday"}'),
    (f'["{PAY}", "{PAY}"]', f'["{OTHER}","{THIRD}"]'),
    (f'["{PAY}"]', '["ref_01m7xyn2v0ezjtqf5r8f0krvww"]'),
    ('{"a": null}', '{"a":0}'),
    ('{"a": …}', '{"b":0}'),
    ('{"a": …}', '{"a":0,"b":0}'),
    ('{"a": 1}', "a: 1"),
]
TEXT_EQUAL = [
    ("revoked", "revoked\n"),
    ("first\n…\nlast", "first\nsecond\nthird\nlast\n"),
    ("first\n...\nlast", "first\nlast\n"),
    ("took 1.5 ms, in 2 s", "took 20189.2 ms, in 0.4 s"),
    ("status     succeeded", "status              succeeded"),
    ("events_…", "events_2028_11"),
    (f"{PAY}  2026-11-21T10:10:00Z", f"{OTHER}  2026-11-22T10:10:00.123456Z"),
]
TEXT_DIFFERENT = [
    ("revoked", "revoked\nand more\n"),
    ("first\nlast", "first\nsecond\nlast"),
    ("HTTP/1.1 200 OK", "HTTP/1.1 201 Created"),
    ("19.99 EUR", "29.99 EUR"),
    ("key_not_checked", "key_not_found"),
    (f"{PAY}\n{PAY}", f"{OTHER}\n{THIRD}"),
]
HTTP = "HTTP/1.1 200 OK\r\nDate: today\r\nidempotent-replayed: true\r\n\r\n" + '{"a":1}'


@pytest.mark.parametrize(("shown", "said"), JSON_EQUAL)
def test_json_is_as_shown(shown: str, said: str) -> None:
    Shown().hold_json(shown, said)


@pytest.mark.parametrize(("shown", "said"), JSON_DIFFERENT)
def test_json_that_differs_is_found(shown: str, said: str) -> None:
    with pytest.raises(AssertionError):
        Shown().hold_json(shown, said)


@pytest.mark.parametrize(("shown", "said"), TEXT_EQUAL)
def test_text_is_as_shown(shown: str, said: str) -> None:
    Shown().hold_text(shown, said)


@pytest.mark.parametrize(("shown", "said"), TEXT_DIFFERENT)
def test_text_that_differs_is_found(shown: str, said: str) -> None:
    with pytest.raises(AssertionError):
        Shown().hold_text(shown, said)


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ('HTTP/1.1 200 OK\nIdempotent-Replayed: true\n…\n\n{"a": 1}', True),
        ("HTTP/1.1 200 OK\n…\n", True),
        ("HTTP/1.1 200 OK\ndate: …\nidempotent-replayed: true\n", True),
        ("HTTP/1.1 202 Accepted\n…\n", False),
        ("HTTP/1.1 200 OK\nidempotent-replayed: false\n…\n", False),
        ("HTTP/1.1 200 OK\nlocation: …\n…\n", False),
        ("HTTP/1.1 200 OK\ndate: …\n", False),
        ('HTTP/1.1 200 OK\n…\n\n{"a": 2}', False),
    ],
)
def test_an_answer_with_its_head(shown: str, same: bool) -> None:
    if same:
        Shown().hold_http(shown, HTTP)
    else:
        with pytest.raises(AssertionError):
            Shown().hold_http(shown, HTTP)


def test_an_id_that_was_learnt_is_typed_and_expected_from_then_on() -> None:
    shown = Shown()
    shown.hold_json(f'{{"id": "{PAY}"}}', f'{{"id": "{OTHER}"}}')
    assert shown.typed(f"explain {PAY}") == f"explain {OTHER}"
    shown.hold_text(f"payment  {PAY}", f"payment  {OTHER}")
    with pytest.raises(AssertionError):
        shown.hold_text(f"payment  {PAY}", f"payment  {THIRD}")


def test_a_document_is_held_against_its_schema() -> None:
    with pytest.raises(AssertionError, match="is a required property"):
        hold_schema("Problem", {"status": 409})
    with pytest.raises(AssertionError, match="there is no schema"):
        hold_schema("Poem", {})


PAGE = """
Prose with `strongroom up`, and ``double`` ones.

```sh
first
```

<!-- not run: it takes a day -->

```sh
second
```

- an item

    of two parts

    alone
  ```json schema=Problem
  {}
  ```

And `a span
over lines`.

    indented
"""


def test_a_page_is_taken_apart() -> None:
    page = Page("x.md", PAGE)
    assert [(block.line, block.language, block.text) for block in page.blocks] == [
        (5, "sh", "first\n"), (11, "sh", "second\n"), (20, "json", "{}\n"),
    ]  # fmt: skip
    assert [block.not_run for block in page.blocks] == [None, "it takes a day", None]
    assert page.blocks[2].schema == "Problem"
    assert page.spans == ((2, "strongroom up"), (23, "a span over lines"))
    assert page.indented == (26,)


def test_a_fence_that_is_never_closed_is_found() -> None:
    with pytest.raises(ValueError, match=r"x\.md:2: this fence is never closed"):
        _ = Page("x.md", "\n```sh\nfirst\n").blocks


def test_a_console_is_taken_apart() -> None:
    page = Page("x.md", "```console\n$ one \\\n  more\nsaid\n$ two\n$ three\nsaid\nmore\n```\n")
    assert commands_of(page.blocks[0]) == [
        ("one \\\n  more\n", "said\n"), ("two\n", ""), ("three\n", "said\nmore\n"),
    ]  # fmt: skip
