"""K of N frames must agree."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.camera.voting import Vote, Voting


def answer(decision: str, nodule: float = 0.9) -> Answer:
    shares = {"normal": 1 - nodule, "nodule": nodule}
    label = decision if decision in shares else max(shares, key=shares.__getitem__)
    return Answer(decision, label, shares[label], shares, Timing(0, 0, 0), "", "")


def votes(voting: Voting, *decisions: str) -> list[Vote | None]:
    return [voting.add(answer(decision), number, number / 10) for number, decision in enumerate(decisions, 1)]


def decisions(voting: Voting, *given: str) -> list[str | None]:
    return [vote and vote.decision for vote in votes(voting, *given)]


def test_k_frames_that_agree_are_a_decision_without_waiting_for_all_n() -> None:
    assert decisions(Voting(3, 5), "nodule", "nodule", "nodule") == [None, None, "nodule"]


def test_a_single_frame_that_differs_does_not_change_the_decision() -> None:
    assert decisions(Voting(3, 5), *["nodule"] * 3, "normal", "nodule") == [None, None, "nodule", "nodule", "nodule"]


def test_without_k_equal_frames_among_the_last_n_there_is_no_decision() -> None:
    assert decisions(Voting(3, 4), "nodule", "nodule", "normal", "normal", "nodule", "refer") == [None] * 6


def test_a_frame_that_is_referred_agrees_with_no_label_and_enough_of_them_are_referred() -> None:
    given = ["refer", "nodule", "refer", "nodule", "refer"]
    assert decisions(Voting(3, 5), *given) == [None] * 4 + ["refer"]


def test_after_a_change_of_the_decision_only_the_frames_of_the_new_scene_count() -> None:
    last = votes(Voting(3, 5), *["normal"] * 4, *["nodule"] * 3)[-1]
    assert (last.decision, last.frames, last.agreeing, last.first, last.last) == ("nodule", 3, 3, 5, 7)


def test_after_a_gap_the_frames_before_it_do_not_count() -> None:
    voting = Voting(3, 5)
    assert decisions(voting, "nodule", "nodule") == [None, None]
    voting.gap()
    assert decisions(voting, "nodule", "nodule", "nodule") == [None, None, "nodule"]


def test_frames_further_apart_than_the_limit_are_two_scenes() -> None:
    voting = Voting(2, 3, apart_s=5.0)
    assert voting.add(answer("nodule"), 1, 100.0) is None
    assert voting.add(answer("nodule"), 2, 105.1) is None
    assert voting.add(answer("nodule"), 3, 110.1).frames == 2


def test_the_confidence_is_the_median_of_the_agreeing_frames_and_the_spread_is_over_all_frames() -> None:
    voting = Voting(3, 5)
    for number, (decision, share) in enumerate([("nodule", 0.7), ("refer", 0.5), ("nodule", 0.9)]):
        assert voting.add(answer(decision, share), number, 0.0) is None
    vote = voting.add(answer("nodule", 0.8), 3, 0.0)
    assert (vote.confidence, vote.frames, vote.agreeing) == (0.8, 4, 3)
    assert vote.spread == pytest.approx(0.4)


def test_referred_frames_report_the_label_that_most_of_them_have() -> None:
    voting = Voting(3, 3)
    given = [("refer", 0.45), ("refer", 0.55), ("refer", 0.6)]
    vote = [voting.add(answer(decision, share), 0, 0.0) for decision, share in given][-1]
    assert (vote.decision, vote.label, vote.confidence) == ("refer", "nodule", 0.55)


@pytest.mark.parametrize(("agree", "of"), [(0, 3), (4, 3)])
def test_more_frames_than_are_looked_at_cannot_agree(agree: int, of: int) -> None:
    with pytest.raises(ValueError, match="cannot agree"):
        Voting(agree, of)


@given(
    st.lists(st.sampled_from(["nodule", "normal", "refer", "gap"]), max_size=60),
    st.integers(1, 6).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))),
)
def test_a_vote_always_has_k_equal_frames_among_the_last_n_since_a_gap(given: list[str], k_of_n: tuple[int, int]) -> None:
    voting, since = Voting(*k_of_n), list[str]()
    for decision in given:
        if decision == "gap":
            voting.gap()
            since.clear()
            continue
        since.append(decision)
        vote = voting.add(answer(decision), len(since), 0.0)
        if vote:
            window = since[vote.first - 1 : vote.last]
            assert vote.last == len(since)
            assert len(window) == vote.frames <= k_of_n[1]
            assert window.count(vote.decision) == vote.agreeing >= k_of_n[0]
        elif len(since) >= k_of_n[0]:
            assert len(list(itertools.groupby(since[-k_of_n[0] :]))) > 1
