"""A tool: what is read from a callable, and what is checked before it runs."""

import asyncio
import contextvars
import functools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

import dspex
from dspex.core.errors import BudgetExceeded, ConfigurationError, ToolError, ToolInputError
from dspex.program.types.tool import Tool
from dspex.runtime.callbacks import BaseCallback
from dspex.testing.virtual_time import simulate


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Tree(msgspec.Struct):
    name: str
    under: list["Tree"] = []


@dataclass
class Size:
    wide: float


class Guest(pydantic.BaseModel):
    name: str
    age: int = 0
    friends: list["Guest"] = []


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def add(x: int, y: int = 2) -> int:
    """Adds two numbers."""
    return x + y


async def double(text: str) -> str:
    """Says it twice."""
    await asyncio.sleep(0)
    return text * 2


# What a model is told of it


def test_name_description_and_arguments_come_from_a_function():
    tool = Tool(add)
    assert (tool.name, tool.desc) == ("add", "Adds two numbers.")
    assert tool.args == {"x": {"type": "integer"}, "y": {"type": "integer", "default": 2}}
    assert tool.arg_types == {"x": int, "y": int}
    assert tool.definition == {
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {"type": "object", "properties": tool.args, "required": ["x"]},
    }


def test_all_of_it_may_be_said_otherwise():
    tool = Tool(
        lambda **given: given,
        "look-up",
        "Looks up.",
        args={"q": {"type": "string"}, "n": {"type": "integer"}},
        arg_types={"n": int},
        arg_desc={"q": "What to look for."},
        required=["q"],
    )
    assert tool.definition["name"] == "look-up"
    assert tool.format_as_litellm_function_call() == {"type": "function", "function": tool.definition}
    assert tool.args["q"] == {"type": "string", "description": "What to look for."}
    assert tool.definition["parameters"]["required"] == ["q"]
    assert tool(q="a", n="3") == {"q": "a", "n": 3}


class Shop:
    """Sells."""

    def price(self, item: str) -> str:
        """The price."""
        return f"{item}: 3"

    def __call__(self, item: str) -> str:
        return f"sold {item}"


POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
    "required": ["x"],
}


@pytest.mark.parametrize(
    ("made_of", "name", "desc", "args"),
    [
        (Shop().price, "price", "The price.", ["item"]),
        (Shop(), "Shop", "Sells.", ["item"]),
        (functools.partial(add, y=5), "add", "Adds two numbers.", ["x", "y"]),
        (functools.partial(add, 1), "add", "Adds two numbers.", ["y"]),
        (Point, "Point", "", ["x", "y"]),
    ],
)
def test_methods_objects_partials_and_classes_are_tools(made_of: Callable[..., Any], name, desc, args):
    tool = Tool(made_of)
    assert (tool.name, list(tool.args)) == (name, args)
    assert tool.desc.startswith(desc)


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Colour, {"enum": ["red", "blue"]}),
        (Annotated[int, msgspec.Meta(ge=1)], {"type": "integer", "minimum": 1}),
        (Annotated[int, pydantic.Field(ge=1, description="n")], {"type": "integer", "minimum": 1, "description": "n"}),
        (Annotated[Point, pydantic.Field(description="a Struct is unknown to pydantic")], POINT),
        (Any, {}),
        (threading.Thread, {}),
        (Size, {"type": "object", "properties": {"wide": {"type": "number"}}, "required": ["wide"]}),
        (
            list[Point] | None,
            {
                "anyOf": [
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
                            "required": ["x"],
                        },
                    },
                    {"type": "null"},
                ]
            },
        ),
        (
            Tree,
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "under": {"type": "array", "items": {"type": "object"}, "default": []},
                },
                "required": ["name"],
            },
        ),
        (
            Guest,
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "age": {"type": "integer", "default": 0},
                    "friends": {"type": "array", "items": {"type": "object"}, "default": []},
                },
                "required": ["name"],
            },
        ),
    ],
)
def test_a_schema_stands_alone(kind, schema):
    def tool(value: kind) -> None: ...

    tool.__annotations__["value"] = kind
    assert Tool(tool).args["value"] == schema


def test_a_default_without_a_json_form_is_left_to_the_function():
    lock = threading.Lock()

    def wait(lock: Any = lock) -> bool:
        return lock.locked()

    tool = Tool(wait)
    assert tool.args == {"lock": {}}
    assert tool.definition["parameters"]["required"] == []
    assert tool() is False


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tool(3), "made of a callable, not of 3"),
        (lambda: Tool(Tool(add)), "made of a callable, not of Tool"),
        (lambda: Tool(lambda x: x), "'<lambda>' cannot be a tool's name"),
        (lambda: Tool(add, "two words"), "'two words' cannot be a tool's name"),
        (lambda: Tool(add, arg_desc={"z": "?"}), "has no argument 'z'"),
        (lambda: Tool(add, arg_types={"xx": int}), "has no argument 'xx'. Did you mean 'x'?"),
        (lambda: Tool(add, required=["z"]), "has no argument 'z'"),
        (lambda: Tool(dict.fromkeys), None),
        (lambda: Tool(min), "signature of min cannot be read"),
        (lambda: Tool(lost), "The types of x of lost cannot be looked up"),
        (lambda: Tool(add, timeout_s=0), "timeout_s is a number above 0"),
        (lambda: Tool(add, timeout_s=float("nan")), "timeout_s is a number above 0"),
        (lambda: Tool(add, timeout_s="5"), "timeout_s is a number above 0"),
        (lambda: Tool(add, max_output_chars=-1), "max_output_chars is a number above 0"),
        (lambda: Tool(add, confirm="ask"), "confirm is called with the tool"),
    ],
)
def test_what_cannot_be_a_tool_is_named(make, words):
    if words is None:
        assert list(make().args) == ["iterable", "value"]
        return
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        make()


def lost(x: "Nowhere") -> None:  # noqa: F821
    ...


def test_types_that_cannot_be_looked_up_may_be_given():
    assert Tool(lost, arg_types={"x": int}).args == {"x": {"type": "integer"}}


# What it is called with


@pytest.mark.parametrize(
    ("kind", "given", "got"),
    [
        (int, 3, 3),
        (int, "3", 3),
        (int, 3.0, 3),
        (float, 3, 3.0),
        (str, "3", "3"),
        (bool, "true", True),
        (list[int], ["1", 2], [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (int | str, "3", "3"),
        (Any, "3", "3"),
        (date, "2024-02-29", date(2024, 2, 29)),
        (Colour, "red", Colour.RED),
        (Colour, "BLUE", Colour.BLUE),
        (Literal["a", "b"], "a", "a"),
        (Point, {"x": 1}, Point(1)),
        (Point, Point(3), Point(3)),
        (list[Point], [{"x": 1}, {"x": 2, "y": 3}], [Point(1), Point(2, 3)]),
        (dict[str, list[Point]], {"a": [{"x": 1}]}, {"a": [Point(1)]}),
        (Size, {"wide": 2}, Size(2.0)),
        (Guest, {"name": "A", "friends": [{"name": "B"}]}, Guest(name="A", friends=[Guest(name="B")])),
        (list[Guest], [{"name": "A"}], [Guest(name="A")]),
        (Point | None, None, None),
    ],
)
def test_a_value_becomes_what_the_function_wants(kind, given, got):
    value = Tool(lambda value: value, "same", arg_types={"value": kind})(value=given)
    assert value == got
    assert type(value) is type(got)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (int, "many", "'value' should be int: expected an integer, got 'many'"),
        (int, True, "'value' should be int"),
        (int, None, "'value' should be int"),
        (str, 5, "'value' should be str: Expected `str`, got `int`"),
        (str | None, 5, "'value' should be str | None"),
        (bool, 7, "'value' should be bool"),
        (date, 2024, "'value' should be date"),
        (list[int], ["a"], "'value' should be list[int]"),
        (Point, {"y": 1}, "missing required field `x`"),
        (list[Point], [{"x": "far"}], "[0].x"),
        (Guest, {"name": 1}, "'value' should be Guest: name: Input should be a valid string"),
        (Literal["a"], "b", "one of a"),
        (threading.Thread, "x", "'value' should be Thread"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_was_wanted(kind, given, words):
    ran = []
    tool = Tool(lambda **given: ran.append(given), "same", args={"value": {}}, arg_types={"value": kind})
    with pytest.raises(ToolInputError) as caught:
        tool(value=given)
    assert words in str(caught.value)
    assert "http" not in str(caught.value)
    assert isinstance(caught.value, (ValueError, dspex.InputError))
    assert not ran


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 0}, "'n' should be int: expected int, got '0': Input should be greater than or equal to 1"),
        ({"n": 1, "word": "long"}, "String should have at most 3 characters"),
        ({"n": 1, "word": 3}, "'word' should be str"),
    ],
)
def test_the_constraints_of_pydantics_field_hold(given, words):
    def repeated(
        n: Annotated[int, pydantic.Field(ge=1)], word: Annotated[str, pydantic.Field(max_length=3)] | None = None
    ) -> str:
        return f"{word}" * n

    tool = Tool(repeated)
    assert tool(n="2", word="ab") == "abab"
    with pytest.raises(ToolInputError, match=re.escape(words)):
        tool(**given)


def test_a_check_that_fails_in_its_own_way_is_a_value_that_does_not_fit():
    class Picky(msgspec.Struct):
        key: str

        def __post_init__(self) -> None:
            raise KeyError(self.key)

    with pytest.raises(ToolInputError, match="'value' should be Picky"):
        Tool(lambda value: value, "same", arg_types={"value": Picky})(value={"key": "k"})


def test_all_faults_of_a_call_are_told_at_once():
    with pytest.raises(ToolInputError) as caught:
        Tool(add)(yy=1)
    assert str(caught.value) == "Tool 'add': 'x' is missing; 'yy' is unknown. Did you mean 'y'?. It takes: x=, y="


def test_arguments_have_names():
    with pytest.raises(ToolInputError, match=r"by keyword: add\(x=, y=\)"):
        Tool(add)(1, 2)


def test_arguments_that_a_function_takes_by_place_only_are_given_by_name_too():
    def power(base: int, /, exponent: int = 2) -> int:
        return base**exponent

    assert Tool(power)(base=3) == 9


def test_more_keywords_pass_where_the_function_takes_them():
    def tool(x: int, **more: Any) -> dict[str, Any]:
        return {"x": x, **more}

    assert Tool(tool)(x="1", other="2") == {"x": 1, "other": "2"}


@pytest.mark.parametrize(
    "given",
    [
        {"x" * 5_000: 1},
        {"x": "9" * 100_000},
        {"x": "[" * 100_000},
        {"x": [[[[]]]] * 10_000},
        {"x": "\ud800"},
        {"self": 1},
        {"x": float("nan")},
    ],
)
def test_hostile_arguments_are_a_bounded_error(given):
    with pytest.raises(ToolInputError) as caught:
        Tool(add)(**given)
    assert len(str(caught.value)) <= 1_000


# How it runs


async def test_sync_and_async_functions_run_both_ways():
    assert await Tool(add).acall(x=1) == 3
    assert await Tool(double).acall(text="a") == "aa"
    assert await asyncio.to_thread(Tool(double), text="a") == "aa"
    assert Tool(double)(text="a") == "aa"  # inside a running loop


def test_what_a_sync_function_returns_to_be_awaited_is_awaited():
    assert Tool(lambda: double("a"), "later")() == "aa"


def test_a_sync_call_of_an_async_tool_may_be_refused():
    with (
        dspex.context(allow_tool_async_sync_conversion=False),
        pytest.raises(ValueError, match="allow_tool_async_sync_conversion"),
    ):
        Tool(double)(text="a")


WHO = contextvars.ContextVar("who", default="nobody")


async def test_a_sync_function_has_its_callers_context_and_leaves_the_loop_free():
    def who() -> tuple[str, int, int]:
        return WHO.get(), dspex.settings.num_threads, threading.get_ident()

    WHO.set("me")
    with dspex.context(num_threads=3):
        name, threads, place = await Tool(who).acall()
    assert (name, threads) == ("me", 3)
    assert place != threading.get_ident()


@pytest.mark.parametrize("call", [lambda tool: tool(), lambda tool: asyncio.run(tool.acall())], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("division by zero"), "Tool 'fail' failed: ZeroDivisionError: division by zero"),
        (KeyError(), "Tool 'fail' failed: KeyError"),
        (SystemExit(3), "Tool 'fail' failed: SystemExit: 3"),
        (StopIteration(), "Tool 'fail' failed: "),
        (FileNotFoundError(2, "No such file", "/home/me/keys"), "Tool 'fail' failed: FileNotFoundError: No such file"),
        (ValueError("x" * 5_000), "Tool 'fail' failed: ValueError: xxx"),
    ],
)
def test_what_a_function_raises_is_its_tools_error(call, error, words):
    def fail() -> None:
        raise error

    with pytest.raises(ToolError) as caught:
        call(Tool(fail))
    assert str(caught.value).startswith(words)
    assert len(str(caught.value)) <= 1_000
    assert "/home" not in str(caught.value)
    assert ".py" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value, ToolInputError)


def test_a_spent_budget_is_no_fault_of_the_tool():
    def ask() -> None:
        raise BudgetExceeded("spent")

    with pytest.raises(BudgetExceeded):
        Tool(ask)()


# Its limits


def test_a_tool_ends_in_its_time():
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def run() -> None:
        with pytest.raises(ToolError, match=r"'slow' did not end within 2 s"):
            await Tool(slow, timeout_s=2).acall()
        assert asyncio.get_running_loop().time() == pytest.approx(2)

    simulate(run)
    assert ended


def test_a_timeout_of_the_functions_own_is_its_own_error():
    def fail() -> None:
        raise TimeoutError("the database")

    with pytest.raises(ToolError, match="failed: TimeoutError: the database"):
        Tool(fail, timeout_s=60)()


def test_a_sync_function_is_left_when_its_time_is_over():
    go_on = threading.Event()
    try:
        with pytest.raises(ToolError, match="did not end within"):
            Tool(lambda: go_on.wait(30), "wait", timeout_s=0.01)()
    finally:
        go_on.set()


async def test_cancelling_a_call_cancels_its_function():
    began, ended = asyncio.Event(), []

    async def slow() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(Tool(slow).acall())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


@pytest.mark.parametrize(
    ("result", "got"),
    [
        ("short", "short"),
        ("a" * 12, "aaaaaaaaaa ... (2 more characters were cut)"),
        ([1, 2], [1, 2]),
        (list(range(10)), "[0,1,2,3,4 ... (11 more characters were cut)"),
    ],
)
def test_a_long_result_is_cut(result, got):
    assert Tool(lambda: result, "tell", max_output_chars=10)() == got


# Approval


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("call", [lambda tool: tool(x="1"), lambda tool: asyncio.run(tool.acall(x="1"))])
def test_a_call_waits_for_approval(is_async, answer, call):
    asked, ran = [], []

    def confirm(tool: Tool, arguments: Any) -> bool:
        asked.append((tool.name, dict(arguments)))
        return answer

    async def later(tool: Tool, arguments: Any) -> bool:
        return confirm(tool, arguments)

    def run(x: int) -> None:
        ran.append(x)

    tool = Tool(run, confirm=later if is_async else confirm)
    if answer:
        call(tool)
    else:
        with pytest.raises(ToolError, match="was not approved"):
            call(tool)
    assert asked == [("run", {"x": 1})]
    assert ran == ([1] if answer else [])


def test_approval_that_is_itself_to_be_awaited_is_awaited():
    async def no() -> bool:
        return False

    with pytest.raises(ToolError, match="was not approved"):
        Tool(add, confirm=lambda tool, arguments: no())(x=1)


# Callbacks


class Heard(BaseCallback):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.told.append(("start", instance.name, inputs))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None) -> None:
        self.told.append(("end", outputs, type(exception)))


@pytest.mark.parametrize("call", [lambda t, **a: t(**a), lambda t, **a: asyncio.run(t.acall(**a))])
def test_callbacks_hear_of_start_and_end(call):
    heard = Heard()
    with dspex.context(callbacks=[heard]):
        call(Tool(add), x=1)
        with pytest.raises(ToolInputError):
            call(Tool(add))
    assert heard.told == [
        ("start", "add", {"x": 1}),
        ("end", 3, type(None)),
        ("start", "add", {}),
        ("end", None, ToolInputError),
    ]


# As a value


def test_tools_are_frozen_and_compare_by_what_they_are():
    assert Tool(add) == Tool(add)
    assert len({Tool(add), Tool(add)}) == 1
    assert Tool(add) != Tool(add, "plus")
    assert Tool(add) != Tool(add, timeout_s=1)
    assert Tool(add) != "add"
    assert repr(Tool(add)) == "Tool(add(x, y))"
    with pytest.raises(AttributeError, match="frozen"):
        Tool(add).name = "plus"
    with pytest.raises(AttributeError, match="frozen"):
        del Tool(add).name


def test_a_tool_in_a_demo_is_saved_as_its_definition(tmp_path):
    program = dspex.Predict("question, tools: list[Tool] -> answer")
    program.demos = [dspex.Example(question="1+1?", tools=[Tool(add)], answer="2")]
    assert program.deepcopy().demos[0].tools == [Tool(add)]
    program.save(tmp_path / "program.json")
    loaded = dspex.Predict("question, tools: list[Tool] -> answer")
    loaded.load(tmp_path / "program.json")
    assert loaded.demos[0]["tools"] == [
        {
            "name": "add",
            "desc": "Adds two numbers.",
            "args": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 2}},
        }
    ]
    [_, shown, *_] = dspex.ChatAdapter().format(loaded.signature, loaded.demos, {"question": "?"})
    assert '"name":"add"' in shown["content"]
