"""Network cameras that fail in every way: an old frame never becomes an answer."""

import pytest

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


@pytest.mark.parametrize("fault", ["frozen", "alternating", "late"])
def test_without_the_check_of_freshness_old_frames_are_answered(tiny_bundle: Bundle, fault: camera_faults.Does) -> None:
    with camera_faults.without_the_check():
        (case,) = camera_faults.campaign(Session(tiny_bundle).model, 1, seed=18, faults=(fault,))
    assert case.old > 0
