"""What `limiar check` says of DICOM images: which values become which grey, and how large a pixel is."""

from collections import Counter

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.text import counted
from limiar.train.check.check_report import Case, CheckFinding
from limiar.train.check.survey import Survey

_SPACING = 1.05  # the largest over the smallest; below, nothing looks larger than it is
_CASES = 20  # windows that are listed, the commonest first


def dicom_notes(seen: Survey) -> tuple[str, ...]:
    """One line on the DICOM images; none if there is none."""
    known = [one for one in seen.dicom if one]
    if not known:
        return ()
    spacings = sorted({value for one in known for value in one.spacing_mm or ()})
    told = f"{spacings[0]:g} mm" if spacings else "unknown"
    if len(spacings) > 1:
        told = f"{spacings[0]:g} to {spacings[-1]:g} mm"
    windows = {one.window for one in known} - {None}
    return (f"DICOM: {counted(len(known), 'image')}, pixel spacing {told}, {counted(len(windows), 'window')} in the files",)


def dicom_findings(seen: Survey, spec: InputSpec) -> list[CheckFinding]:
    """Windows and pixel spacings that differ."""
    found = []
    windows = Counter(one.window for one in seen.dicom if one and one.window)  # colours have none
    if spec.dicom and spec.dicom.window is None and len(windows) > 1:
        cases = []
        for window, count in windows.most_common(_CASES):
            files = tuple(
                image.file for image, one in zip(seen.images, seen.dicom, strict=True) if one and one.window == window
            )
            cases.append(Case(files, f"window {window[0]:g},{window[1]:g}: {counted(count, 'image')}"))
        met = f"the files have {len(windows)} different windows, so the same value becomes different greys"
        found.append(CheckFinding("dicom-window-mixed", "warning", f"{met}: give one with --dicom-window", tuple(cases)))
    spacings = [value for one in seen.dicom if one for value in one.spacing_mm or ()]
    if spacings and max(spacings) > _SPACING * min(spacings):
        least, most = min(spacings), max(spacings)
        met = f"a pixel is {least:g} to {most:g} mm wide, so the same lesion is up to {most / least:.2f} times as wide"
        found.append(CheckFinding("dicom-spacing-mixed", "note", f"{met}: resample the images if its size should tell"))
    return found
