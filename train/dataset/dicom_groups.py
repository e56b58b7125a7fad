"""DICOM images that no table puts into groups: those of one patient belong together.

The group that is written down is the hash of a study's UID. Identifiers of patients only join studies while images are read: a
UID cannot be guessed from its hash, an identifier of seven digits can.
"""

from collections.abc import Sequence
from dataclasses import replace

from limiar.edge_app.text import counted
from limiar.train.dataset.dicom_facts import DicomFacts
from limiar.train.dataset.listed import Listed
from limiar.train.dataset.splits import joined


def grouped(images: Sequence[Listed], facts: Sequence[DicomFacts | None]) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """The images, each DICOM one in a group, and notes for the person.

    A group is of one study, or of several that name the same patient. If every image names the same, as after a careless
    removal of names, it says nothing, and each study is a group. A group that is given stays, and is that of the patient's
    other images too.
    """
    several = len({one.patient for one in facts if one and one.patient}) > 1
    first: dict[str | bytes, int] = {}
    pairs = []
    for k, one in enumerate(facts):
        if one:
            known = (one.study, one.patient) if several else (one.study,)
            pairs += [(k, first.setdefault(key, k)) for key in known if key]
    found, bare = list(images), [k for k, one in enumerate(facts) if one and not images[k].group]
    if not bare:
        return tuple(images), ()
    sets = joined(len(images), pairs)
    for own in sets:
        given = [images[k].group for k in own if images[k].group]
        name = given[0] if given else min((one.study for k in own if (one := facts[k]) and one.study), default="")
        for k in own:
            if facts[k] and not images[k].group:
                found[k] = replace(images[k], group=name)
    return tuple(found), (_note(len(bare), facts, several),)


def _note(count: int, facts: Sequence[DicomFacts | None], several: bool) -> str:
    studies = len({one.study for one in facts if one})
    met = f"{counted(count, 'DICOM image')} without a group, of {counted(studies, 'study', 'studies')}"
    if several or studies == 1:
        return f"{met}: those of one study or patient stay in one split"
    return (
        f"{met} that do not tell patients apart: those of one study stay in one split; give --csv with groups if you know more"
    )
