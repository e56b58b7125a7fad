"""The phantom patches as CT files in Hounsfield units: signed 12-bit DICOM, of studies of several patches each."""

from collections.abc import Iterator

from limiar.train.data.ct_file import CtSlice, ct_file, rounded, uid
from limiar.train.data.phantoms import drawn_from, phantom_hu, phantom_name

PATCHES = 6  # of a study: each kind of nodule once, and as many without
SPACING_MM = (0.7, 0.7)  # 50 pixels are 35 mm, as in the lung data set
THICKNESS_MM = 1.0
APART_MM = 20.0  # between patches of a study: none continues another


def phantom_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(file name, DICOM) of the patches that `phantoms` draws from this seed."""
    for number in range(count):
        study, own = divmod(number, PATCHES)
        ct = CtSlice(
            hu=rounded(phantom_hu(*drawn_from(seed, number))),
            patient=f"phantom-{seed}-{study:06d}",
            study=uid("patches", seed, study),
            series=uid("patches", seed, study, "series"),
            number=own + 1,
            position_mm=(0.0, 0.0, APART_MM * own),
            spacing_mm=SPACING_MM,
            thickness_mm=THICKNESS_MM,
        )
        yield phantom_name(number, "dcm"), ct_file(ct)
