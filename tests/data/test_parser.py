"""Whatever a model emits is read the same in any pieces, never raises, and renders back to the same tokens."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymnia.data.chat import Message, ToolCall, ToolSpec, message
from polymnia.data.parser import MALFORMED, ParsedDelta, StreamParser
from polymnia.data.template import encode_chat
from polymnia.data.tokenizer import MARKUP, SPECIAL_TOKENS, Tokenizer

TYPES = {"image": "integer", "x0": "number", "box": "array", "on": "boolean"}
CROP = ToolSpec("crop", "", {"properties": {name: {"type": kind} for name, kind in TYPES.items()}})
PYTHON = ToolSpec("python", "", {"properties": {"code": {"type": "string"}}})


def parameter(name: str, value: str) -> str:
    return f'<atem:parameter name="{name}">{value}</atem:parameter>\n'


def invoke(name: str, *parameters: str) -> str:
    return f'<atem:invoke name="{name}">\n{"".join(parameters)}</atem:invoke>'


def block(*invokes: str) -> str:
    return "<atem:function_calls>\n" + "\n".join(invokes) + "\n</atem:function_calls>"


def joined(deltas: Sequence[ParsedDelta]) -> list[ParsedDelta]:
    """Neighbours of one kind as one, so that only what was read is compared and not its pieces."""
    out: list[ParsedDelta] = []
    for one in deltas:
        if out and one.reasoning and out[-1].reasoning:
            out[-1] = ParsedDelta(reasoning=out[-1].reasoning + one.reasoning)
        elif out and one.text and out[-1].text:
            out[-1] = ParsedDelta(text=out[-1].text + one.text)
        else:
            out.append(one)
    return out


def parse(text: str, tools: Sequence[ToolSpec] = ()) -> list[ParsedDelta]:
    parser = StreamParser(tools)
    return joined(parser.feed(text) + parser.close())


def as_message(deltas: Sequence[ParsedDelta]) -> Message:
    return message(
        "assistant",
        "".join(one.text for one in deltas),
        reasoning="".join(one.reasoning for one in deltas),
        tool_calls=tuple(one.tool_call for one in deltas if one.tool_call),
    )


def only_call(text: str, tools: Sequence[ToolSpec] = ()) -> ToolCall:
    (delta,) = parse(text, tools)
    assert delta.tool_call is not None
    return delta.tool_call


def arguments(text: str, tools: Sequence[ToolSpec] = (CROP, PYTHON)) -> object:
    return json.loads(only_call(text, tools).arguments)


# ------------------------------------------------------------------------------------- channels


def test_reasoning_answer_and_call_are_told_apart() -> None:
    call = block(invoke("crop", parameter("image", "1"), parameter("x0", "0.5")))
    text = (
        " to=self<|message|>look<|eom|><|start|>assistant to=user<|message|>wait<|eom|>"
        f"<|start|>assistant to=crop<|message|>{call}<|eot|>"
    )
    assert parse(text, (CROP,)) == [
        ParsedDelta(reasoning="look"),
        ParsedDelta(text="wait"),
        ParsedDelta(tool_call=ToolCall("call_0", "crop", '{"image": 1, "x0": 0.5}')),
    ]


def test_markup_in_reasoning_and_answer_is_text() -> None:
    call = block(invoke("crop", parameter("image", "1")))
    for channel in ("self", "user"):
        (delta,) = parse(f" to={channel}<|message|>{call}<|eot|>")
        assert (delta.reasoning or delta.text) == call


def test_text_comes_at_once_and_a_possible_marker_waits() -> None:
    parser = StreamParser()
    assert parser.feed(" to=user<|message|>ab") == [ParsedDelta(text="ab")]
    assert parser.feed("c<|e") == [ParsedDelta(text="c")]
    assert parser.feed("x") == [ParsedDelta(text="<|ex")]
    assert parser.feed("<|eot|>more") == []
    assert parser.ended
    assert parser.close() == []
    assert not StreamParser().ended


@pytest.mark.parametrize(
    ("emitted", "read"),
    [
        ("", []),
        (" to=us", []),
        (" to=user<|message|>", []),
        ("Hello there", [ParsedDelta(text="Hello there")]),
        ("Hello<|eot|>", [ParsedDelta(text="Hello")]),
        ("x" * 300, [ParsedDelta(text="x" * 300)]),
        ("<|message|>Hi<|eot|>", [ParsedDelta(text="Hi")]),
        ("<|start|>assistant to=user<|message|>Hi", [ParsedDelta(text="Hi")]),
        (" to=self<|message|>a<|eom|> to=user<|message|>b", [ParsedDelta(reasoning="a"), ParsedDelta(text="b")]),
        (" to=user<|message|>a<|eom|><|start|>user<|message|>b<|eot|>", [ParsedDelta(text="a")]),
        (" to=user<|message|>a<|patch|>b<|end_of_text|>c", [ParsedDelta(text="ab")]),
        (" to=user<|message|>a<|", [ParsedDelta(text="a<|")]),
    ],
)
def test_turns_that_are_cut_off_or_odd(emitted: str, read: list[ParsedDelta]) -> None:
    assert parse(emitted) == read


# ----------------------------------------------------------------------------------------- calls


def test_several_calls_in_one_message_and_in_several() -> None:
    both = block(invoke("crop"), invoke("python", parameter("code", "1")))
    found = parse(f" to=crop<|message|>{both}<|eom|><|start|>assistant to=python<|message|>{both}<|eot|>")
    assert [one.tool_call.name for one in found if one.tool_call] == ["crop", "python", "crop", "python"]
    assert [one.tool_call.id for one in found if one.tool_call] == [f"call_{place}" for place in range(4)]


def test_a_call_is_out_before_its_message_ends() -> None:
    parser = StreamParser()
    (delta,) = parser.feed(" to=crop<|message|><atem:function_calls>\n" + invoke("crop"))
    assert delta.tool_call == ToolCall("call_0", "crop", "{}")
    assert parser.close() == []


def test_a_finished_call_survives_a_turn_cut_off_in_the_next() -> None:
    cut = block(invoke("crop"), invoke("python", parameter("code", "1")))[:-60]
    first, second = parse(f" to=crop<|message|>{cut}")
    assert (first.error, first.tool_call) == ("", ToolCall("call_0", "crop", "{}"))
    assert "cut off" in second.error


def test_arguments_have_their_schemas_types() -> None:
    values = {"image": "2", "x0": " 1e2 ", "box": '[1, {"a": null}]', "on": "true", "other": "7"}
    call = invoke("crop", *(parameter(name, value) for name, value in values.items()))
    assert arguments(f" to=crop<|message|>{call}<|eot|>") == {
        "image": 2,
        "x0": 100.0,
        "box": [1, {"a": None}],
        "on": True,
        "other": "7",
    }
    assert arguments(f" to=crop<|message|>{call}<|eot|>", ()) == values


@pytest.mark.parametrize("value", ["two", "", "NaN", "[" * 5000, "9" * 5000])
def test_a_value_of_the_wrong_type_stays_text_for_the_tool_to_refuse(value: str) -> None:
    call = only_call(f" to=crop<|message|>{invoke('crop', parameter('image', value))}", (CROP,))
    found = json.loads(call.arguments)
    assert found.get("image") == value or "[" in value  # too deep to be decoded at all


def test_schemas_with_alternatives() -> None:
    schema = {
        "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "b": {"type": ["string", "null"]},
        "c": {"$ref": "#"},
    }
    tool = ToolSpec("t", "", {"properties": schema})
    call = invoke("t", parameter("a", "null"), parameter("b", "null"), parameter("c", '{"d": 1}'))
    assert arguments(f" to=t<|message|>{call}", (tool,)) == {"a": None, "b": "null", "c": {"d": 1}}


def test_code_keeps_its_spaces_and_may_quote_markup() -> None:
    code = '\n  print("</atem:parameter>", "</atem:invoke>", "<|eot", \'<atem:invoke name="x">\')\n'
    assert arguments(f" to=python<|message|>{block(invoke('python', parameter('code', code)))}") == {"code": code}


def test_a_json_object_in_place_of_parameters_is_understood() -> None:
    assert arguments(' to=crop<|message|><atem:invoke name="crop">{"image": 1}</atem:invoke>') == {"image": 1}


@pytest.mark.parametrize(
    ("markup", "says"),
    [
        ("", "holds no"),
        ("please", "holds no"),
        ('<atem:invoke name="crop">', "cut off"),
        ('<atem:invoke name="crop">\n<atem:parameter name="image">1', "cut off in parameter image"),
        ('<atem:invoke name="crop">\n<atem:parameter name="image">1</atem:parameter>\n', "cut off"),
        ('<atem:invoke name="crop">image 1</atem:invoke>', "expected <atem:parameter"),
        (f'<atem:invoke name="crop">{parameter("image", "1")} and </atem:invoke>', "outside of its parameters"),
        ('<atem:invoke name="cr<op"></atem:invoke>', "broken"),
        (invoke("crop", parameter("image", "1"), parameter("image", "2")), "twice"),
        (invoke("crop", parameter("x0", "1e999")), "JSON"),
    ],
)
def test_malformed_calls_say_what_is_wrong(markup: str, says: str) -> None:
    (delta,) = parse(f" to=crop<|message|>{markup}<|eot|>", (CROP,))
    assert says in delta.error
    assert delta.tool_call is not None
    assert delta.tool_call.name == "crop"
    assert json.loads(delta.tool_call.arguments) == {MALFORMED: delta.error}


# ------------------------------------------------------------------------------ anything at all

SNIPPETS = st.sampled_from(
    [
        *SPECIAL_TOKENS,
        *MARKUP,
        " to=self",
        " to=user",
        " to=crop",
        "assistant",
        "<|start|>assistant to=crop<|message|>",
        invoke("crop", parameter("image", "1")),
        '<atem:parameter name="',
        "</atem:parameter>",
        "<atem:invoke",
        ">",
        '{"image": 1}',
    ]
)
EMITTED = st.lists(st.one_of(SNIPPETS, st.text(max_size=5)), max_size=14).map("".join)


@settings(max_examples=600, deadline=None)
@given(text=EMITTED, data=st.data())
def test_any_pieces_give_what_the_whole_gives(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parser = StreamParser((CROP,))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [delta for piece in pieces for delta in parser.feed(piece)] + parser.close()
    one_by_one = StreamParser((CROP,))
    letters = [delta for letter in text for delta in one_by_one.feed(letter)] + one_by_one.close()
    assert joined(found) == joined(letters) == parse(text, (CROP,))
    for delta in found:
        assert bool(delta.reasoning) + bool(delta.text) + bool(delta.tool_call) == 1
        if delta.tool_call:
            assert isinstance(json.loads(delta.tool_call.arguments), dict)


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 900), max_size=40))
def test_any_ids_are_read(tokenizer: Tokenizer, ids: list[int]) -> None:
    parser = StreamParser((CROP,), tokenizer=tokenizer)
    one_by_one = [delta for token in ids for delta in parser.feed_ids([token])] + parser.close()
    whole = StreamParser((CROP,), tokenizer=tokenizer)
    assert joined(one_by_one) == joined(whole.feed_ids(ids) + whole.close())


# ------------------------------------------------------------------------------ there and back

TEXT = st.lists(
    st.one_of(st.text(max_size=6), st.sampled_from([*SPECIAL_TOKENS, *MARKUP, "\n", " b3", "<"])), max_size=5
).map("".join)
# A closing tag in a value cannot be told from the value's end in every case; the format has no escape for it.
VALUE = TEXT.filter(lambda text: "</atem:" not in text)
CALL = st.one_of(
    st.builds(lambda code: ToolCall("", "python", json.dumps({"code": code}, ensure_ascii=False)), VALUE),
    st.builds(
        lambda image, x0, on: ToolCall("", "crop", json.dumps({"image": image, "x0": x0, "on": on})),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
    ),
)
TURN = st.builds(
    lambda text, reasoning, calls: message("assistant", text, reasoning=reasoning, tool_calls=tuple(calls)),
    TEXT,
    TEXT,
    st.lists(CALL, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(turn=TURN)
def test_what_is_emitted_renders_back_to_the_same_ids(tokenizer: Tokenizer, turn: Message) -> None:
    """Or the next turn of an agent would not find its own words in the engine's prefix cache."""
    question = message("user", "How many?")
    prompt = encode_chat(tokenizer, [question])
    whole = encode_chat(tokenizer, [question, turn], add_generation_prompt=False)
    parser = StreamParser((CROP, PYTHON), tokenizer=tokenizer)
    read = as_message(parser.feed_ids(whole[len(prompt) :]))
    assert parser.ended
    assert encode_chat(tokenizer, [question, read], add_generation_prompt=False) == whole
    assert (read.text, read.reasoning) == (turn.text, turn.reasoning)
    assert [json.loads(one.arguments) for one in read.tool_calls] == [
        json.loads(one.arguments) for one in turn.tool_calls
    ]


def test_spelled_markers_are_text_where_there_are_ids(tokenizer: Tokenizer) -> None:
    emitted = [*tokenizer.encode(" to=user<|message|>", specials=True), *tokenizer.encode("use <|eot|> to end")]
    parser = StreamParser(tokenizer=tokenizer)
    assert as_message(parser.feed_ids([*emitted, tokenizer.eot_id])).text == "use <|eot|> to end"
    with pytest.raises(ValueError, match="tokenizer"):
        StreamParser().feed_ids([1])
