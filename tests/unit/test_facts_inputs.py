"""The inputs notation: what each form means, and the line that each mistake gets."""

from __future__ import annotations

import random
import time

import pytest

from numel.errors import InputsError
from numel.facts import dtype
from numel.facts.inputs import Inputs, InputSpec, parse


def spec(*shape: int, kind: str | None = None, below: int | None = None) -> InputSpec:
    return InputSpec(shape, None if kind is None else dtype(kind), below)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f32[1,3,224,224]", Inputs((spec(1, 3, 224, 224, kind="f32"),))),
        ("[2, 5]", Inputs((spec(2, 5),))),
        ("[]", Inputs((spec(),))),
        ("bf16 [ 2 ]", Inputs((spec(2, kind="bf16"),))),
        ("torch_is_not_a_dtype: i64[1] < 10", Inputs((), {"torch_is_not_a_dtype": spec(1, kind="i64", below=10)})),
        ("f32[1], mask: bool[1,4],", Inputs((spec(1, kind="f32"),), {"mask": spec(1, 4, kind="bool")})),
        ("i64[b,s], b=8, s=2048", Inputs((spec(8, 2048, kind="i64"),))),
        ("s=4, [s], s: [s]", Inputs((spec(4),), {"s": spec(4)})),
        ("x: None, y: True, z: false", Inputs((), {"x": None, "y": True, "z": False})),
        ("3, -2, 0.5, -1e-3, 2., 007", Inputs((3, -2, 0.5, -0.001, 2.0, 7))),
        ("""'a, b', "it's" """, Inputs(("a, b", "it's"))),
        ("([1], 2, ()), [[1], [2]], [None], [1.5]", Inputs(((spec(1), 2, ()), [spec(1), spec(2)], [None], [1.5]))),
        ("batch: {x: [1], 'y z': {}, \"it's\": (1,)}", Inputs((), {"batch": {"x": spec(1), "y z": {}, "it's": (1,)}})),
        ("\n f32[\n1,\t2]\n,\nx : [3]\n", Inputs((spec(1, 2, kind="f32"),), {"x": spec(3)})),
    ],
)
def test_a_notation_says_these_arguments(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [("b*s", 24), ("b + s", 11), ("s//b", 2), ("s//b*b", 6), ("b*s - 4", 20), ("2*b+3*s-1", 29), ("s-b*2", 2),
     ("s//b//2", 1), ("b-b", 0), ("10-2-3", 5), ("b*s//5*2", 8)],
)  # fmt: skip
def test_sizes_are_reckoned_as_python_does(size, expected):
    assert expected == eval(size, {"b": 3, "s": 8})
    assert parse(f"[{size}], b=3, s=8").args[0].shape == (expected,)


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("", 1, "nothing given; expected a tensor such as"),
        ("   ", 1, "nothing given"),
        ("f33[1]", 1, "'f33' is no element type; did you mean f32?"),
        ("zzzzzz[1]", 1, "'zzzzzz' is no element type; expected one such as f32"),
        ("f32[1", 4, "not closed; expected ]"),
        ("f32[1, ,2]", 7, "an empty size; expected an integer or a symbol"),
        ("f32[1, 2 3]", 8, "'2 3' is no size; expected an integer, a symbol or b*s"),
        ("f32[2, b]", 8, "the symbol b has no value; expected one such as b=16"),
        ("f32[2, 1-3]", 8, "'1-3' is -2; expected a size from 0"),
        ("f32[7//0]", 5, "'7//0' divides by zero; expected a size"),
        ("f32[9223372036854775808]", 5, "too large; expected at most 2^63 - 1"),
        ("f32[b*b*b], b=4000000000", 5, "b*b*b is too large"),
        ("i64[2] < 0", 10, "0; expected a positive integer after <"),
        ("i64[2] < b", 10, "got 'b'; expected a positive integer"),
        ("i64[2] <", 9, "the text ends; expected a positive integer"),
        ("f32[2] f32[3]", 8, "got 'f'; expected ,"),
        ("x: [1], x: [2]", 9, "x is given twice; expected each name once"),
        ("x: [1], [2]", 9, "an unnamed input after a named one"),
        ("x:", 3, "the text ends; expected a tensor such as"),
        ("[1], b=2, b=3", 11, "the symbol b is set twice; expected each symbol once"),
        ("[b], b=x", 8, "got 'x'; expected an integer for the symbol b"),
        ("[b], b=-1", 8, "got '-'; expected an integer for the symbol b"),
        ("ids", 1, "'ids' is no value; expected a tensor such as f32[1,3,224,224], a number, None"),
        ("12_000", 1, "'12_000' is no value; expected"),
        ("1.2.3", 1, "'1.2.3' is no value; expected"),
        ("1e999", 1, "1e999 is too large; expected a finite number"),
        ("'open", 1, '"\'" is no value; expected'),
        ("(1, 2", 6, "the text ends; expected , or )"),
        ("(1 2)", 4, "got '2'; expected , or )"),
        ("[None, 1 2]", 10, "got '2'; expected , or ]"),
        ("{1: 2}", 2, "got '1'; expected a name or }"),
        ("{a 2}", 4, "got '2'; expected :"),
        ("{a: 1, a: 2}", 8, "a is given twice; expected each name once"),
        ("{a: 1", 6, "the text ends; expected , or }"),
        ("\0", 1, "is no value; expected"),
        ("(" * 40, 34, "nested too deep; expected at most 32 levels"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_what_was_expected_there(text, at, what):
    with pytest.raises(InputsError) as caught:
        parse(text)
    assert f"at character {at}, " in str(caught.value)
    assert what in str(caught.value)
    assert str(caught.value).isprintable()


MANY = 100_000


@pytest.mark.parametrize(
    "text",
    ["[" * MANY, "(" * MANY, "{a:" * MANY, "[1," * MANY, "9" * MANY, f"[{'9' * MANY}]", f"[2], b={'9' * MANY}",
     f"[2] < {'9' * MANY}", f"-{'9' * MANY}e{'9' * MANY}", "a" * MANY, "a" * MANY + "[1]", " " * MANY, "a" + " " * MANY,
     "'" + "x" * MANY, "\0" * MANY, f"[{'9*' * MANY}9]", f"[{'9-' * MANY}9]", f"[{'a' * MANY}]",
     f"[{'/' * MANY}]", f"[{',' * MANY}]", "," * MANY, ":" * MANY, "[]" * MANY, f"{'x' * MANY}: [1], {'x' * MANY}: [1]",
     "\u2028" * MANY, "\ud800", "٣[1]", "[٣]", "²", f"[{'0//' * MANY}1]", "é: [1]", "\uff41: [1]"],
    ids=lambda text: ascii(text[:12]),
)  # fmt: skip
def test_hostile_text_is_refused_in_one_short_line_and_soon(text):
    start = time.perf_counter()
    with pytest.raises(InputsError) as caught:
        parse(text)
    assert time.perf_counter() - start < 2
    assert len(str(caught.value)) < 800
    assert str(caught.value).isprintable()


def test_long_text_that_is_well_formed_is_read():
    assert parse("[1]," * 10_000).args == (spec(1),) * 10_000
    assert parse(f"[{'1+' * 50_000}1]").args == (spec(50_001),)
    assert parse("(" * 32 + ")" * 32).args
    assert parse("[" + "0" * MANY + "3]").args == (spec(3),)


def test_text_of_the_notations_own_marks_is_read_or_refused_and_nothing_else():
    """20,000 draws from its alphabet: whatever is no notation is an InputsError of one line."""
    draw = random.Random(0)
    pieces = ["f32", "i64", "[", "]", "(", ")", "{", "}", ",", ":", "=", "<", "*", "//", "-", "+", "b", "x", "1", "23",
              "None", "True", "'s'", '"', " ", ".", "e5", "\n", "\0"]  # fmt: skip
    refusals = []
    for _ in range(20_000):
        try:
            parse("".join(draw.choices(pieces, k=draw.randrange(1, 9))))
        except InputsError as error:
            refusals.append(str(error))
    assert 10_000 < len(refusals) < 19_800
    assert all(each.isprintable() for each in refusals)


@pytest.mark.parametrize(
    ("one", "text"),
    [(spec(1, 2), "[1,2]"), (spec(kind="bool"), "bool[]"), (spec(3, kind="int64", below=9), "i64[3] < 9")],
)
def test_a_spec_prints_as_the_notation_that_makes_it(one, text):
    assert str(one) == text
    assert parse(text).args == (one,)
