"""junit.xml: the gate as a build reads it. A suite for each model file, a case for each of its checks on each runtime."""

from xml.etree import ElementTree

from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import GateFinding
from limiar.convert.report.release_report import ReleaseReport
from limiar.edge_app.bundle.manifest import CHANCE
from limiar.edge_app.text import visible

JUNIT = "junit.xml"


def junit_xml(report: ReleaseReport) -> bytes:
    """What did not pass is a failure in a required file; it is skipped in one that is left out, or undecided and allowed."""
    suites = ElementTree.Element("testsuites", name=f"{report.name} {report.version}")
    for file in report.files:
        suite = ElementTree.SubElement(suites, "testsuite", name=file.name)
        for finding in file.findings:
            _case(suite, f"{report.name}.{file.name}", file, finding, report)
        _count(suite)
    if CHANCE in report.run:  # it concerns every file
        suite = ElementTree.SubElement(suites, "testsuite", name="Keras")
        case = ElementTree.SubElement(suite, "testcase", classname=f"{report.name}.Keras", name="better than chance")
        ElementTree.SubElement(case, "skipped", message=visible(report.run[CHANCE]))
        _count(suite)
    _count(suites)
    ElementTree.indent(suites, " ")
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ElementTree.Element, classname: str, file: FileReport, finding: GateFinding, report: ReleaseReport) -> None:
    name = f"{finding.check} on {finding.runtime}" if finding.runtime else finding.check
    case = ElementTree.SubElement(suite, "testcase", classname=classname, name=visible(name))
    if finding.verdict == "PASS":
        return
    message = visible(f"{finding.verdict}: {finding.message}")
    if file.required and not file.passed:
        ElementTree.SubElement(case, "failure", type=finding.verdict, message=message).text = message
    else:
        why = "the file is left out"
        if file.allowed and report.not_proven:
            why = f"in the bundle, allowed by {report.not_proven.allowed_by}"
        ElementTree.SubElement(case, "skipped", message=f"{message} ({visible(why)})")


def _count(element: ElementTree.Element) -> None:
    counts = {"tests": "testcase", "failures": "failure", "skipped": "skipped"}
    for attribute, tag in counts.items():
        element.set(attribute, str(len(list(element.iter(tag)))))
    element.set("errors", "0")
