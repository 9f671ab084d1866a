from __future__ import annotations

import pytest

from rejoin import ProtocolError
from rejoin._sse import RETRY_MS_MAX, Block, Comment, Parser, Piece, Retry


def parse(*chunks: bytes) -> list[Piece]:
    parser = Parser(1000)
    return [piece for chunk in chunks for piece in parser.feed(chunk)]


CASES: list[tuple[bytes, list[Piece]]] = [
    # The examples of the standard.
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Block("YHOO\n+2\n10", "", None)]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [
            Comment("test stream"),
            Block("first event", "", "1"),
            Block("second event", "", ""),
            Block(" third event", "", None),
        ],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [Block("", "", None), Block("\n", "", None)]),
    (b"data:test\n\ndata: test\n\n", [Block("test", "", None)] * 2),
    # Rejoin's own frames: the id is the last line of its block, and comments have no block of their own.
    (
        b": connected\nretry: 3000\nevent: stream.position\ndata: {}\nid: 7-0\n\ndata: x\nid: 7-1\n\n",
        [Comment("connected"), Retry(3000), Block("{}", "stream.position", "7-0"), Block("x", "", "7-1")],
    ),
    (b"id: 5\n\n", [Block(None, "", "5")]),
    (b"event: only\n\n", []),
    (b"event: a\n\ndata: x\n\n", [Block("x", "", None)]),
    (b"id: a\0b\ndata: x\n\n", [Block("x", "", None)]),
    (b"retry: 1s\nretry: -1\nretry:\nretry: \xd9\xa1\nnonsense: 1\n\n", []),
    (b"retry: 00050\nretry: " + b"9" * 40 + b"\n", [Retry(50), Retry(RETRY_MS_MAX)]),
    (b"\xef\xbb\xbfdata: x\n\n", [Block("x", "", None)]),
    (b"data: \xef\xbb\xbfx\n\n", [Block("\ufeffx", "", None)]),
    (b"data: \xc3\xa9\xff\n\n", [Block("\u00e9\ufffd", "", None)]),
    (b"data: a:b\nDATA: c\n\n", [Block("a:b", "", None)]),
    (
        b"data: a\x85b\x0cc\n\n".replace(b"\x85", "\u0085\u2028".encode()),
        [Block("a\x85\u2028b\x0cc", "", None)],
    ),
    # What has no blank line behind it has not come.
    (b"data: x\nid: 3\n", []),
    (b"data: x\n\ndata: y\nid: 3", [Block("x", "", None)]),
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_stream_is_read_whatever_its_line_ends_are_and_however_it_arrives(
    text: bytes, expected: list[Piece], line_end: bytes
) -> None:
    text = text.replace(b"\n", line_end)
    assert parse(text) == expected
    assert parse(*(bytes([byte]) for byte in text)) == expected
    for at in range(len(text)):
        assert parse(text[:at], b"", text[at:]) == expected


def test_line_ends_may_be_mixed() -> None:
    assert parse(b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r") == [
        Block("a\nb\nc", "", None),
        Block("d", "", None),
    ]


@pytest.mark.parametrize("text", [b"data: " + b"x" * 2000, b"data: x\n" * 200, b":" * 2000, b"data:\n" * 300])
def test_no_more_than_one_event_is_held(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="larger than 1000 bytes"):
        parse(*(text[at : at + 10] for at in range(0, len(text), 10)))


def test_any_number_of_small_ones_is_read() -> None:
    pieces = parse(*[b"data: " + b"x" * 500 + b"\n: comment\nid: 1\n\n"] * 100)
    assert pieces == [Comment("comment"), Block("x" * 500, "", "1")] * 100
    assert parse(*[b": " + b"k" * 500 + b"\n"] * 100) == [Comment("k" * 500)] * 100
