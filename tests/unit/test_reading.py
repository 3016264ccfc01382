"""Several texts of a host by one command: what is sent there, and what its answer is taken for."""

from __future__ import annotations

import base64

import pytest

from labkit.errors import ToolFailed
from labkit.machine.reading import file, parse, script

TEXTS = [
    "",
    "plain\n",
    "no end of line",
    "\n\n",
    "----\n",
    "labkit: next\nQUFBQQ==\n",
    "a" * 100_000,
    "\0\x01\x1c\r\n",
]
"""Also what an answer is made of, ends of lines, and what Python takes for them."""


def answer(*texts: str) -> str:
    """As the script prints it."""
    return "".join(f"{base64.b64encode(text.encode()).decode()}\n" for text in texts)


def test_each_text_comes_whole_whatever_is_in_it() -> None:
    assert parse(answer(*TEXTS), len(TEXTS), "them") == TEXTS
    for text in TEXTS:
        assert parse(answer(text), 1, "it") == [text]
    assert parse("", 0, "nothing") == []


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert parse(base64.b64encode(b"a\xff\n").decode() + "\n", 1, "it") == ["a\ufffd\n"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "what reads the sockets answered 0 of 2 parts: ''"),
        (answer("one"), "answered 1 of 2 parts"),
        (answer("one", "two")[:-1], "answered 2 of 2 parts"),
        (answer("one", "two", "three"), "answered 3 of 2 parts"),
        ("warning: x\n" + answer("two"), "no base64: 'warning: x"),
        (answer("one") + "QUJ\n", "no base64"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(text: str, says: str) -> None:
    with pytest.raises(ToolFailed) as raised:
        parse(text, 2, "the sockets")
    assert says in str(raised.value)


def test_the_script_has_a_line_for_each_and_quotes_paths() -> None:
    assert script([]) == ""
    assert script(["echo one", "echo two # not more"]).count("base64") == 2
    assert file("/a b/$(c)") == "cat -- '/a b/$(c)' 2>/dev/null"
