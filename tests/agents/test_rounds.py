"""Refining, judging, checking, aggregating and routing. The model is scripted, all else is real."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.scripted import Asked, ScriptedModel, Turn, tool_call
from agents.test_run import finished, happen, of
from polymnia.agents import events
from polymnia.agents.team import LEVELS, TeamConfig, needs_one_agent
from polymnia.data.chat import message
from polymnia.errors import EndpointError, InputError
from polymnia.tools import Toolbox, ToolResult, default_tools, tool

TEAM = TeamConfig(aggregate=False)


def role(asked: Asked) -> str:
    """Told from the words that each role is asked with."""
    text = asked.messages[-1].text if asked.messages[-1].role == "user" else ""
    for words, name in (
        ("give your own answer", "refine"),
        ("give the final answer", "aggregate"),
        ("mean the same?", "same"),
        ("Is this answer right?", "check"),
    ):
        if words in text:
            return name
    return "propose"


def acting(**roles: Callable[[int, Asked], Turn | str] | str) -> ScriptedModel:
    """A model that answers by role; a function gets how often the role was played before."""
    played: dict[str, int] = {}

    def script(_: int, asked: Asked) -> Turn:
        name = role(asked)
        count = played[name] = played.get(name, -1) + 1
        given = roles[name]
        said = given if isinstance(given, str) else given(count, asked)
        return Turn(said) if isinstance(said, str) else said

    return ScriptedModel(script)


def asked_as(name: str, model: ScriptedModel) -> list[Asked]:
    return [asked for asked in model.asked if role(asked) == name]


def in_turn(*answers: str) -> Callable[[int, Asked], str]:
    return lambda count, _: answers[min(count, len(answers) - 1)]


FIVE_THREE = in_turn("7", "8", "7", "8", "7", "8", "7", "7")


# --- the stopping rule


@settings(max_examples=20, deadline=None)
@given(right=st.sampled_from([(4, 0), (6, 1), (8, 2)]), seed=st.integers(0, 99))
def test_leads_that_are_sure_stop_all_others(right: tuple[int, int], seed: int) -> None:
    """4-0, 6-1 and 8-2 stop whatever the order; who still works is cancelled."""
    leaders, others = right
    turns = ["8"] * others + ["7"] * leaders
    model = ScriptedModel.saying(*turns, Turn("9", hangs=True))
    agents = leaders + others + 2
    done = finished(happen(model, team=replace(TEAM, agents=agents, first_wave=None, rounds=1), seed=seed))
    assert (done.reason, done.answer) == ("consensus", "7")
    assert model.cancelled == 2


def test_three_to_nothing_does_not_stop() -> None:
    model = ScriptedModel.saying("7", "7", "7", Turn("8", seconds=0.05))
    happened = happen(model, team=replace(TEAM, agents=4, rounds=1))
    assert not of(events.Consensus, happened)
    assert len(of(events.AgentFinished, happened)) == 4


def test_the_events_tell_how_the_vote_stands() -> None:
    model = acting(propose=FIVE_THREE, refine="7")
    happened = happen(model, team=TEAM)
    rounds = [(one.round, one.answers, one.distinct) for one in of(events.RoundFinished, happened)]
    assert rounds[0] == (1, 8, 2)
    assert [one.agents for one in of(events.RoundStarted, happened)] == [8, 8]
    (consensus,) = of(events.Consensus, happened)
    assert (consensus.round, consensus.answer) == (2, "7")
    assert consensus.posterior >= 0.95
    assert [(one.answer, len(one.agents)) for one in of(events.Disagreement, happened)[0].sides] == [("7", 5), ("8", 3)]


# --- refining


def test_a_refining_agent_sees_drafts_and_neither_names_nor_votes() -> None:
    model = acting(propose=FIVE_THREE, refine="7")
    happened = happen(model, team=replace(TEAM, early_stop=False))
    workspaces = [asked.messages[-1].text for asked in asked_as("refine", model)]
    assert workspaces
    for text in workspaces:
        assert text.startswith("How many?\n\nDraft 1:\n")
        assert text.count("Draft ") == 4
        assert "gent" not in text
        assert "vote" not in text
    roles = {one.agent: one.role for one in of(events.AgentStarted, happened) if one.round == 2}
    assert list(roles.values()).count("propose") == 1  # one draft is drawn anew
    assert 0 not in roles  # the best one stays as it is


@settings(max_examples=25, deadline=None)
@given(agents=st.integers(2, 16), drafts=st.integers(2, 4), seed=st.integers(0, 99))
def test_every_draft_is_read_in_a_round(agents: int, drafts: int, seed: int) -> None:
    model = acting(propose=lambda count, _: f"draft number {count}", refine="7", same="?")
    team = TeamConfig(agents=agents, drafts=drafts, early_stop=False, aggregate=False, judge=False, strategies=False)
    happen(model, team=team, seed=seed, tools=())
    read = "\n".join(asked.messages[-1].text + "\n" for asked in asked_as("refine", model))
    assert all(f"Answer: draft number {number}\n" in read for number in range(agents))


def test_agents_whose_workspace_agrees_with_them_cost_no_call() -> None:
    team = replace(TEAM, early_stop=False, elite_and_fresh=False)
    model = acting(propose="7", refine="7")
    happened = happen(model, team=team)
    assert len(model.asked) == 8
    assert [one.answers for one in of(events.RoundFinished, happened)] == [8, 8]
    divided = acting(propose=in_turn("7", "7", "7", "7", "7", "7", "7", "8"), refine="7")
    happen(divided, team=team, seed=1)
    assert 1 <= len(asked_as("refine", divided)) < 8
    everybody = acting(propose=in_turn("7", "7", "7", "7", "7", "7", "7", "8"), refine="7")
    happen(everybody, team=replace(team, skip_agreeing=False), seed=1)
    assert len(asked_as("refine", everybody)) == 8


def test_long_drafts_keep_their_end() -> None:
    def long(count: int, asked: Asked) -> Turn:
        return Turn(str(count), reasoning=f"beginning of {count} " + "and so on " * 600 + "the end")

    model = acting(propose=long, refine="7")
    happen(model, team=replace(TEAM, agents=2, draft_tokens=50))
    workspace = asked_as("refine", model)[0].messages[-1].text
    assert "beginning" not in workspace
    assert workspace.count("the end\nAnswer: ") == 2
    assert len(workspace) < 700


def test_rounds_end_when_they_move_nothing() -> None:
    model = acting(propose=lambda count, _: str(count), refine=lambda count, asked: Turn(error=EndpointError("gone")))
    team = replace(TEAM, agents=3, rounds=5, least_rounds=3)
    happened = happen(model, team=team)
    assert [one.round for one in of(events.RoundFinished, happened)] == [1, 2, 3]
    assert finished(happened).answer == "0"  # drafts outlive those who fail to improve them


def test_each_rounds_calls_have_their_own_seeds() -> None:
    model = acting(propose=lambda count, _: str(count), refine=lambda count, _: str(count))
    happen(model, team=replace(TEAM, rounds=3, least_rounds=3))
    seeds = [asked.sampling.seed for asked in model.asked]
    assert len(set(seeds)) == len(seeds) > 16


def test_the_critical_path_is_the_sum_of_the_rounds() -> None:
    model = acting(propose=lambda count, _: str(count), refine=lambda count, _: str(count), aggregate="7")
    done = finished(happen(model, team=TeamConfig(agents=4)))
    assert done.critical_path_tokens == 30
    assert done.usage.completion_tokens == 10 * len(model.asked)


# --- a model's judgement


def test_answers_that_only_a_reader_finds_equal_are_joined() -> None:
    words = in_turn("Paris", "the city of Paris", "Paris, France", "It is Paris")
    model = acting(propose=words, same="1 2 3 4")
    happened = happen(model, level="quick")
    assert len(asked_as("same", model)) == 1
    (consensus,) = of(events.Consensus, happened)
    assert (consensus.count, consensus.distinct) == (4, 1)
    assert finished(happened).reason == "consensus"
    assert [one.role for one in of(events.AgentStarted, happened)][-1] == "judge"


@pytest.mark.parametrize("answers", [("7", "8", "7", "9"), ("A", "B", "(C)", "A"), ("yes", "no", "No.", "yes")])
def test_plain_answers_need_no_judge(answers: tuple[str, ...]) -> None:
    model = acting(propose=in_turn(*answers), aggregate="7")
    happen(model, level="quick")
    assert not asked_as("same", model)


@pytest.mark.parametrize("judgement", [Turn("they look alike to me"), Turn(error=EndpointError("gone")), Turn("")])
def test_a_judge_that_is_of_no_use_changes_nothing(judgement: Turn) -> None:
    model = acting(propose=in_turn("red", "green", "red", "blue"), same=lambda *_: judgement, aggregate="red")
    done = finished(happen(model, level="quick"))
    assert [side.agents for side in done.votes] == [(0, 2), (1,), (3,)]


# --- an independent check


DEEP = replace(LEVELS["deep"], agents=8, rounds=2, aggregate=False)


def test_the_winner_of_a_deep_run_is_checked_by_one_who_saw_no_draft() -> None:
    model = acting(propose="7", check="It is 7: yes")
    done = finished(happen(model, team=DEEP))
    (check,) = asked_as("check", model)
    assert "Draft" not in check.messages[-1].text
    assert (done.reason, done.answer) == ("consensus", "7")
    assert len(model.asked) == 9  # two waves of four, and the check


def test_a_rejected_winner_has_to_win_again() -> None:
    model = acting(propose="7", check="no", refine="8")
    done = finished(happen(model, team=DEEP))
    assert len(asked_as("check", model)) == 1
    assert asked_as("refine", model)
    assert done.answer == "8"


# --- the final agent


def test_a_majority_of_short_answers_needs_no_final_agent() -> None:
    model = acting(propose=in_turn("7", "7", "8", "7"))
    done = finished(happen(model, level="quick"))
    assert (done.reason, done.answer, done.winner) == ("rounds", "7", 0)


def test_a_final_agent_is_told_where_the_drafts_disagree() -> None:
    model = acting(propose=in_turn("7", "7", "8", "9"), aggregate="8")
    happened = happen(model, level="quick")
    done = finished(happened)
    (last,) = asked_as("aggregate", model)
    assert "The drafts disagree:\n- 7\n- 8\n- 9\n" in last.messages[-1].text
    assert last.messages[-1].text.count("Draft ") == 4
    assert (done.answer, done.winner, done.reason) == ("8", 4, "rounds")
    assert [len(side.agents) for side in done.votes] == [2, 1, 1]
    answers = [one.text for one in of(events.AnswerDelta, happened)]
    assert answers == ["8"]


def test_long_answers_get_a_final_agent() -> None:
    texts = [f"{word} " * 30 for word in ("one", "two", "one", "one")]
    model = acting(propose=in_turn(*texts), same="?", aggregate="all of it")
    assert finished(happen(model, level="quick")).answer == "all of it"


def test_a_final_agent_that_fails_leaves_it_to_the_vote() -> None:
    model = acting(propose=in_turn("7", "7", "8", "9"), aggregate=lambda *_: Turn(error=EndpointError("gone")))
    done = finished(happen(model, level="quick"))
    assert (done.answer, done.winner) == ("7", 0)


def test_a_final_agent_reads_what_the_others_did() -> None:
    looked = tool_call("python", '{"code": "6*7"}', "a")

    def propose(count: int, asked: Asked) -> Turn | str:
        return str(count) if asked.messages[-1].role == "tool" else Turn(calls=(looked,))

    def script(number: int, asked: Asked) -> Turn:
        last = asked.messages[-1]
        names = [spec.name for spec in asked.tools]
        if role(asked) == "aggregate":
            assert names[-3:] == ["get_solution", "search", "get_segment"]
            return Turn(calls=(tool_call("search", '{"text": "42"}'), tool_call("get_solution", '{"draft": 9}')))
        if last.role == "tool" and last.name == "get_solution":
            found, wrong = asked.messages[-2].text, last.text
            return Turn(f"{'draft 1, position' in found} {'there is no draft 9: choose 1 to 4' in wrong}")
        said = propose(number, asked)
        return said if isinstance(said, Turn) else Turn(said)

    assert finished(happen(ScriptedModel(script), level="quick")).answer == "True True"


# --- who plays which role


class Trained(ScriptedModel):
    async def known_roles(self) -> tuple[str, ...]:
        return ("propose",)


def test_a_model_that_was_not_trained_for_a_role_does_not_get_it() -> None:
    model = Trained(lambda number, asked: Turn("some words " + role(asked) * (number % 4)))
    happened = happen(model, team=TeamConfig())
    assert {role(asked) for asked in model.asked} == {"propose"}
    assert [one.round for one in of(events.RoundFinished, happened)] == [1]
    assert finished(happened).reason == "rounds"


def test_roles_may_have_their_own_models() -> None:
    proposers = acting(propose=lambda count, _: f"word {count}")
    others = acting(refine=lambda count, _: f"thing {count}", same="?", aggregate="7")
    roles: dict[Any, Any] = {"refine": others, "judge": others, "aggregate": others}
    done = finished(happen(proposers, team=replace(TeamConfig(), agents=4), roles=roles))
    assert done.answer == "7"
    assert {role(asked) for asked in proposers.asked} == {"propose"}
    assert {role(asked) for asked in others.asked} == {"refine", "same", "aggregate"}


# --- levels, router, ablation


def test_levels() -> None:
    sizes = {name: (one.agents, one.rounds, one.sure) for name, one in LEVELS.items()}
    assert sizes == {"quick": (4, 1, 0.95), "normal": (8, 2, 0.95), "deep": (16, 5, 0.99)}
    assert LEVELS["deep"].least_rounds == 3
    model = acting(propose=lambda count, _: str(count), aggregate="7")
    happen(model, level="quick", agents=6)
    assert len(asked_as("propose", model)) == 6
    with pytest.raises(InputError, match="unknown level 'huge': choose one of quick, normal, deep"):
        happen(model, level="huge")


@tool
def book(flight: str) -> ToolResult:
    """Book a flight."""
    return ToolResult(f"booked {flight}")


def test_plans_with_tools_that_act_get_one_agent() -> None:
    acts, ours = Toolbox([*default_tools().tools, book]), default_tools()
    plan = "Find a flight, then book it, and finally tell me."
    assert needs_one_agent(plan, acts)
    assert not needs_one_agent(plan, ours)
    assert not needs_one_agent("Book a flight to Rome.", acts)
    for router, agents in ((True, 1), (False, 4)):
        model = acting(propose="booked")
        happen(model, [message("user", plan)], team=TeamConfig(router=router), tools=acts)
        assert len(model.asked) == agents


def test_without_early_stop_everybody_works() -> None:
    model = acting(propose="7")
    done = finished(happen(model, team=replace(TEAM, early_stop=False, rounds=1, first_wave=None, strategies=False)))
    assert len(model.asked) == model.most == 8
    assert done.reason == "rounds"
    assert {asked.messages[0].role for asked in model.asked} == {"user"}


@pytest.mark.parametrize(
    "wrong", [{"agents": 0}, {"rounds": 0}, {"rounds": 99}, {"sure": 0.5}, {"drafts": 1}, {"first_wave": 0}]
)
def test_a_team_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        TeamConfig(**wrong)
