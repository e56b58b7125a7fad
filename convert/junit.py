"""junit.xml: the gate as a build reads it. A suite for each model file, a case for each of its checks on each runtime."""

import re
from xml.etree import ElementTree

from convert.gate import Finding
from convert.report import FileReport, Report

JUNIT = "junit.xml"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit_xml(report: Report) -> bytes:
    """What did not pass is a failure in a required file, and skipped in one that is left out or that gate.toml lets pass."""
    suites = ElementTree.Element("testsuites", name=f"{report.name} {report.version}")
    for file in report.files:
        suite = ElementTree.SubElement(suites, "testsuite", name=file.name)
        for finding in file.findings:
            _case(suite, f"{report.name}.{file.name}", file, finding)
        _count(suite)
    _count(suites)
    ElementTree.indent(suites, " ")
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ElementTree.Element, classname: str, file: FileReport, finding: Finding) -> None:
    name = f"{finding.check} on {finding.runtime}" if finding.runtime else finding.check
    case = ElementTree.SubElement(suite, "testcase", classname=classname, name=_text(name))
    if finding.verdict == "PASS":
        return
    message = _text(f"{finding.verdict}: {finding.message}")
    if file.required and not file.passed:
        ElementTree.SubElement(case, "failure", type=finding.verdict, message=message).text = message
    else:
        ElementTree.SubElement(case, "skipped", message=message)


def _count(element: ElementTree.Element) -> None:
    counts = {"tests": "testcase", "failures": "failure", "skipped": "skipped"}
    for attribute, tag in counts.items():
        element.set(attribute, str(len(list(element.iter(tag)))))
    element.set("errors", "0")


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
