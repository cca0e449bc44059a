"""The comment of a pull request: what it says, and that nothing in it can do anything."""

import re

from harness.gate.markdown import LIMIT_CHARACTERS, MARKER, markdown
from harness.gate.verdict import Verdict

NAME = "tests/benchmarks/test_methods.py::test_step[{}]"
PASSED = [
    Verdict(benchmark=NAME.format(m), figure="flops", outcome="pass", base=1_234_567, head=1_234_567) for m in "abc"
]
SLOWER = Verdict(benchmark=NAME.format("d"), figure="seconds", outcome="regression", base=0.0125, head=2.5, slowdown_percent=20.04,
                 interval_percent=(15.0, 25.5), pairs=20, why="Slower by more than 5 %.")  # fmt: skip
UNSURE = Verdict(benchmark=NAME.format("e"), figure="seconds", outcome="inconclusive", why="Raise --budget.")
GONE = Verdict(benchmark=NAME.format("f"), figure="", outcome="unusable", why="Missing.")


def shown(text):
    """What a reader sees: entities and zero-width blanks resolved, tags left."""
    return re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), text).replace("\u200b", "")


def test_what_did_not_pass_comes_first_and_passes_are_folded():
    text = shown(markdown([*PASSED, UNSURE, SLOWER, GONE], base="main"))
    assert text.startswith(f"{MARKER}\n### ⛔ Performance gate: unusable\n")
    assert "\n1 unusable, 1 regression, 1 inconclusive, 3 pass against <code>main</code>.\n" in text
    order = [text.index(f"[{letter}]") for letter in "fdeabc"]
    assert order == sorted(order)
    assert order[2] < text.index("<details><summary>What passed: 3</summary>") < order[3]


def test_a_row_holds_the_figures_with_their_units():
    rows = [
        line.split(" | ")
        for line in shown(markdown([SLOWER, *PASSED], base=None)).splitlines()
        if line.startswith("| ")
    ]
    assert rows[1] == ["| ❌", f"<code>{NAME.format('d')}</code>", "<code>seconds</code>", "12.5 ms", "2.5 s",
                       "+20.0 % (+15.0 to +25.5)", "Slower by more than 5 %. |"]  # fmt: skip
    assert rows[3][1:5] == [f"<code>{NAME.format('a')}</code>", "<code>flops</code>", "1,234,567", "1,234,567"]
    assert " against " not in markdown([SLOWER], base=None)


def test_no_verdict_at_all_is_said_to_be_unusable():
    text = markdown([], base="main")
    assert "Performance gate: unusable" in text
    assert "Nothing was compared" in text


HOSTILE = (
    "a|b`c`\n| x |<script>alert(1)</script><!-- @someone #12 [l](https://example.com) www.example.com "
    "**b** _i_ ~s~ $m$ :+1: \\ \u202e\x07"
)


def test_nothing_in_a_name_or_a_reason_can_format_link_mention_or_end_the_table():
    bad = Verdict(benchmark=HOSTILE, figure=HOSTILE, outcome="regression", base=HOSTILE, head=HOSTILE, why=HOSTILE)
    text = markdown([bad], base=HOSTILE)
    (row,) = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert row.count("|") == 8
    inside = re.sub(r"</?code>", "", row.replace("&#8203;", "")).replace("|", "")
    assert re.sub(r"&#\d+;", "", inside).isascii() is False  # the sign of the outcome
    assert not set("<>`*_~[]@$\\:/!-") & set(re.sub(r"&#\d+;", "", inside))
    assert "@" not in text.replace(MARKER, "")
    assert "www." not in text
    assert "&#64;&#8203;someone &#35;&#8203;12" in row
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "script" in shown(row)


def test_the_comment_is_never_longer_than_a_comment_may_be():
    many = [
        Verdict(benchmark=f"{i}{'[' * 300}", figure="seconds", outcome="regression", why="[" * 600) for i in range(300)
    ]
    text = markdown([*many, *PASSED * 300], base="main")
    assert len(text) <= LIMIT_CHARACTERS
    rows = sum(line.startswith("| ❌") for line in text.splitlines())
    assert f"And {300 - rows} more." in text
    assert text.rstrip().endswith("</details>")


def test_text_that_only_formats_is_kept_as_it_was_written():
    verdict = Verdict(benchmark="x", figure="", outcome="unusable", why="Run: adaptbench gate --base main, then look.")
    assert "Run: adaptbench gate --base main, then look." in shown(markdown([verdict], base=None))
