from harness.visible import block, visible
from reports.format.text import listed, short, uncapitalised


def test_hidden_characters_are_written_out():
    assert visible("a\x00b\x1b[31m\u202edcba\u200f\ud800\ufeff") == ("a\\x00b\\x1b[31m\\u202edcba\\u200f\\ud800\\ufeff")
    assert visible("two\nlines\tmi‍na, می‌خواهم, ünï, 日本, שלום") == (
        "two\\nlines\\tmi\\u200dna, می‌خواهم, ünï, 日本, שלום"
    )


def test_a_block_keeps_its_lines():
    assert block("one\r\n\ttwo\x07") == "one\n\ttwo\\x07"


def test_short_keeps_both_ends():
    assert short("abcdef", 6) == "abcdef"
    assert short("0123456789" * 1000 + "end", 12) == "0123456…9end"
    assert len(short("x" * 10_000, 60)) == 60


def test_listed():
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_title_in_a_sentence_keeps_its_capitals():
    shown = [uncapitalised(title) for title in ("Train time", "CPU time", "FLOPs", "Step", "")]
    assert shown == ["train time", "CPU time", "FLOPs", "step", ""]
