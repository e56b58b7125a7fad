"""Network cameras that fail in every way: an old frame never becomes an answer."""

import camera_faults
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.inference.session import Session


def test_no_old_frame_is_answered_and_every_loss_is_noticed_and_overcome(tiny_bundle: Bundle) -> None:
    count = len(camera_faults.FAULTS)
    cases = camera_faults.campaign(Session(tiny_bundle).model, count, seed=18, at_once=count)
    assert len(cases) == count
    assert sum(case.old for case in cases) == 0
    assert all(case.answers for case in cases)
    assert {case.does for case in cases if case.noticed_s is None} <= {"late"}
    assert all(case.back_s < camera_faults.PATIENCE_S for case in cases)


def test_without_the_check_of_freshness_old_frames_are_answered(tiny_bundle: Bundle) -> None:
    faults: tuple[camera_faults.Does, ...] = ("frozen", "alternating", "late")
    with camera_faults.without_the_check():
        cases = camera_faults.campaign(Session(tiny_bundle).model, len(faults), seed=18, faults=faults, at_once=len(faults))
    assert {case.does for case in cases if case.old} == set(faults)
