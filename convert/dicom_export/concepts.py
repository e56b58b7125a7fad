"""The words of a report: codes of the standard where it has one, else of limiar's own scheme."""

from highdicom.sr import CodedConcept

from limiar.edge_app.bundle.manifest import REFER, Manifest
from limiar.edge_app.text import visible

NOTICE = "Research and education, not for diagnosis"
_SCHEME = "99LIMIAR"  # names that begin with 99 are private: PS3.16, section 8.2
_MEANING = 64  # characters of an LO: PS3.5, section 6.2

FINDINGS = CodedConcept("findings", _SCHEME, "Findings")
LISTED = CodedConcept("listed", _SCHEME, "Findings listed here, the likeliest ones")
ANSWERED = CodedConcept("answered", _SCHEME, "Pictures answered")
REFUSED = CodedConcept("refused", _SCHEME, "Pictures refused in the same run, of any series")
DECISION = CodedConcept("decision", _SCHEME, "Decision")
INTENDED_USE = CodedConcept("use", _SCHEME, "Intended use")
RESEARCH = CodedConcept("research", _SCHEME, NOTICE)


def decision(manifest: Manifest, word: str) -> CodedConcept:
    """A label, or "refer"."""
    if word == REFER:
        return CodedConcept("refer", _SCHEME, "Left to a person")
    return CodedConcept(f"label-{manifest.labels.index(word)}", _SCHEME, meaning(word))


def probability(manifest: Manifest, label: str) -> CodedConcept:
    """The name of the measurement."""
    return CodedConcept(f"score-{manifest.labels.index(label)}", _SCHEME, meaning(f"Probability of {label}"))


def meaning(text: str) -> str:
    """Text for an LO: one line of at most 64 characters, in which a backslash would start a second value."""
    return " ".join(visible(text).replace("\\", "/").split())[:_MEANING]
