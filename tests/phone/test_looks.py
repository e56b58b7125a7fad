"""What people see of the phone page, on a phone and on a desk, in both languages, light and dark: no barrier, no fault.

The worker is a stub (stub_page.js), which answers by the names of files. LIMIAR_PICTURES=DIR leaves screenshots there.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from limiar.edge_app.phone.words import WORDS, words_json
from phone_modules import PHONE, served

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers, Code, Person

UI = PHONE / "web" / "ui"
NAMES = ("a-pos-sure.png", "b-neg.png", "c-pos-refer.png", "d-neg-outside.png", "e-cut.png")
HEADS = {
    "{{head}}": "",
    "{{parts}}": "",
    "{{links}}": '<link rel="stylesheet" href="/web/app.css"><link rel="icon" href="/web/icon-192.png">',
    "{{script}}": '<script type="module" src="/made/stub_page.js"></script>',
}
LOOKS = [  # language, width and height of the window in px, dark
    pytest.param("en", 390, 844, False, id="phone-en-light"),
    pytest.param("pt", 390, 844, True, id="phone-pt-dark"),
    pytest.param("en", 1280, 900, True, id="desk-en-dark"),
    pytest.param("pt", 1280, 900, False, id="desk-pt-light"),
]
See = Callable[[str], None]
PRESS_MS = 120
TWO_CAMERAS = """() => {
  const get = navigator.mediaDevices.getUserMedia;
  globalThis.opened = [];
  navigator.mediaDevices.getUserMedia = asked => { opened.push(asked.video); return get(asked); };
  navigator.mediaDevices.enumerateDevices = async () =>
    ["a1", "b2"].map(deviceId => ({kind: "videoinput", deviceId, label: deviceId}));
  MediaStreamTrack.prototype.getSettings = () => ({deviceId: opened.at(-1).deviceId?.exact ?? "b2"});
}"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a person chooses: the stub looks at names alone."""
    folder = tmp_path_factory.mktemp("chosen")
    names = (*NAMES, *(f"a study with a long name, part {part}-neg.png" for part in range(3)), "fault.png")
    for name in names:
        (folder / name).write_text(name)
    return {name: folder / name for name in names}


@pytest.fixture(scope="module")
def url(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    made = tmp_path_factory.mktemp("made")
    page = (PHONE / "web" / "index.html").read_text()
    for place, text in HEADS.items():
        page = page.replace(place, text)
    (made / "page.html").write_text(page)
    (made / "words.json").write_bytes(words_json())
    (made / "stub_page.js").write_bytes((project / "tests" / "phone" / "stub_page.js").read_bytes())
    (made / "MODEL_CARD.md").write_bytes((project / "models" / "lung-nodule" / "MODEL_CARD.md").read_bytes())
    (made / "LICENSES.txt").write_text("limiar: Apache-2.0\n")
    with served(("/web/", PHONE / "web"), ("/made/", made)) as address:
        yield address + "/"


@pytest.fixture
def person(browsers: "Browsers", url: str) -> Iterator["Person"]:
    with browsers.person(url, width=390, height=844, reduced_motion="reduce") as someone:
        yield someone
        assert someone.faults == []


def opens(person: "Person", query: str = "", view: str = "") -> None:
    person.page.goto("about:blank")  # another address after # alone would not load the page again
    person.goes(f"made/page.html?{query}#/{view}")
    person.page.wait_for_selector("h1")


def answers(person: "Person", files: dict[str, Path], *names: str) -> None:
    """Chooses files, and waits until they are answered."""
    person.page.set_input_files("#choose-images", [files[name] for name in names])
    person.page.wait_for_selector(".notices + .stack .notice:is(.good, .bad)")


@pytest.mark.parametrize(("code", "width", "height", "dark"), LOOKS)
def test_no_view_has_a_barrier_or_a_fault(
    browsers: "Browsers", url: str, files: dict[str, Path], code: "Code", width: int, height: int, dark: bool
) -> None:
    found: list[str] = []
    with browsers.person(url, code, width=width, height=height, dark=dark, reduced_motion="reduce") as someone:

        def see(name: str) -> None:
            found.extend(f"{name}: {barrier}" for barrier in someone.barriers())
            if "LIMIAR_PICTURES" in os.environ:
                someone.page.screenshot(path=Path(os.environ["LIMIAR_PICTURES"]) / f"{width}-{code}-{name}.png")

        look_around(someone, files, see)
        assert someone.faults == []
    assert found == []


def look_around(person: "Person", files: dict[str, Path], see: See) -> None:
    """Every view, in every state that it has."""
    page = person.page
    opens(person, "start=slow")
    see("start")
    opens(person, "start=fail")
    page.wait_for_selector("[role=alert]")
    see("refused-start")
    opens(person, "map=1")
    page.wait_for_selector(".empty:not([hidden])")
    see("empty")
    answers(person, files, *(name for name in files if "fault" not in name))
    see("answers")
    page.click("button.export")
    see("export")
    page.keyboard.press("Escape")
    for name in ("a-pos-sure.png", "c-pos-refer.png", "d-neg-outside.png", "e-cut.png"):
        page.click(f".row a:text-is('{name}')")
        page.wait_for_selector(".one")
        if name.startswith("a-"):
            page.wait_for_selector("figure + figure canvas")
            page.click("summary")
        see(name)
        page.click(".back")
        page.wait_for_selector(".row")
    opens(person, "map=1", "model")
    page.wait_for_selector(".prose h3")
    see("model")
    opens(person, "", "settings")
    page.click("button.danger")
    see("delete")
    page.keyboard.press("Escape")
    see("settings")
    opens(person, "denied=1", "camera")
    page.click(".dock .primary")
    page.wait_for_selector("[role=alert]")
    see("no-camera")
    for seen in ("pos", "refer", "cut"):
        opens(person, f"sees={seen}", "camera")
        page.wait_for_selector(".dock .primary:enabled")
        see("camera")
        page.click(".dock .primary")
        page.wait_for_selector(".said:not(.none)")
        see(f"camera-{seen}")
    opens(person, "ms=3000")
    page.set_input_files("#choose-images", [files[NAMES[0]], files[NAMES[1]]])
    page.wait_for_selector("progress")
    see("working")


def test_not_for_diagnosis_is_in_sight_wherever_one_scrolls(person: "Person") -> None:
    opens(person, "", "model")
    person.page.wait_for_selector(".prose h3")
    person.page.mouse.wheel(0, 2500)
    person.page.wait_for_function("scrollY > 1000")
    top = person.page.locator(".use strong").bounding_box()
    assert top
    assert 0 <= top["y"] < 60
    assert "Not for diagnosis" in person.page.inner_text(".use")


def test_the_buttons_are_within_a_thumb_s_reach_and_large_enough(person: "Person") -> None:
    opens(person)
    for button in person.page.locator(".dock button").all():
        box = button.bounding_box()
        assert box
        assert box["height"] >= 48
        assert box["y"] > 844 * 0.7


def test_stopping_in_the_middle_keeps_what_was_answered(person: "Person", files: dict[str, Path]) -> None:
    opens(person, "until=2")
    person.page.set_input_files("#choose-images", list(files.values()))
    person.page.wait_for_selector(".row >> nth=1")
    person.page.click(".work button")
    person.page.evaluate("globalThis.goesOn()")  # the answer that was being made when it was stopped
    person.page.wait_for_selector(".notice.warn")
    said = person.page.inner_text(".notice.warn p")
    answered = person.page.locator(".row").count()
    assert answered == 3
    assert said.startswith(f"Stopped: {answered} of {len(files)} ")
    opens(person)
    person.page.wait_for_selector(".row")
    assert person.page.locator(".row").count() == answered


def pressed(person: "Person", selector: str) -> None:
    """A press of a finger takes a tenth of a second: what is made anew meanwhile is not pressed."""
    middle = """node => {
      node.scrollIntoView({block: "center"});
      const {x, y, width, height} = node.getClientRects()[0]; // of its first line
      return [x + width / 2, y + height / 2];
    }"""
    x, y = person.page.eval_on_selector(selector, middle)
    person.page.mouse.move(x, y)
    person.page.mouse.down()
    person.page.wait_for_timeout(PRESS_MS)
    person.page.mouse.up()


def test_a_press_stops_it_however_fast_the_answers_come(person: "Person", tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number}-neg.png").write_text(str(number))
    opens(person)
    person.page.set_input_files("#choose-images", sorted(tmp_path.iterdir()))
    person.page.wait_for_selector(".row >> nth=9")
    assert person.page.locator(".dock button:enabled").count() == 0  # what would be chosen now would be answered by nobody
    pressed(person, ".work button")
    person.page.wait_for_selector(".notice:is(.good, .warn)")
    assert person.page.inner_text(".notice p").startswith("Stopped")
    person.page.wait_for_function("document.querySelectorAll('.dock button:enabled').length === 2")


def test_files_that_are_dropped_while_others_are_answered_are_not_lost_without_a_word(
    person: "Person", files: dict[str, Path]
) -> None:
    opens(person, "ms=1000")
    person.page.set_input_files("#choose-images", list(files.values()))
    person.page.wait_for_selector("progress")
    made = "() => { const made = new DataTransfer(); made.items.add(new File(['x'], 'late-neg.png')); return made; }"
    person.page.dispatch_event("body", "drop", {"dataTransfer": person.page.evaluate_handle(made)})
    person.page.wait_for_selector(".notices .warn")
    assert "were not taken" in person.page.inner_text(".notices .warn")


def test_a_press_leads_to_what_the_camera_kept_while_frames_come(person: "Person") -> None:
    opens(person, "", "camera")
    person.page.click(".dock .primary")
    person.page.wait_for_selector(".live a:not([hidden])")
    pressed(person, ".live a")
    person.page.wait_for_selector(".one")
    assert "#/answer/" in person.page.url


def test_of_several_cameras_the_one_that_sees_is_chosen(person: "Person") -> None:
    """A phone lists the front one first and opens the rear one; the front one can then be chosen."""
    opens(person, "", "camera")
    person.page.evaluate(TWO_CAMERAS)
    person.page.click(".dock .primary")
    assert person.page.locator(".dock select").input_value() == "b2"
    person.page.select_option(".dock select", "a1")
    person.page.wait_for_function("globalThis.opened.at(-1).deviceId?.exact === 'a1'")


def test_a_bundle_that_fails_in_the_middle_ends_the_answers_with_its_code(person: "Person", files: dict[str, Path]) -> None:
    opens(person)
    answers(person, files, "fault.png", "b-neg.png")
    assert "E-BUNDLE-HASH" in (person.page.text_content(".notice.bad") or "")
    assert person.page.locator(".row").count() == 0


def test_a_start_that_fails_says_why_and_nothing_can_be_chosen(person: "Person") -> None:
    opens(person, "start=fail")
    alert = person.page.text_content("[role=alert]") or ""
    assert "E-BUNDLE-HASH" in alert
    assert "This page does not answer" in alert
    assert person.page.locator(".dock button:enabled").count() == 0
    opens(person, "start=fail", "camera")
    person.page.wait_for_selector("[role=alert]")
    assert person.page.locator(".dock button:enabled").count() == 0


def test_all_answers_are_deleted_only_once_a_person_says_so_again(person: "Person", files: dict[str, Path]) -> None:
    opens(person)
    answers(person, files, *NAMES)
    opens(person, "", "settings")
    person.page.click("button.danger")
    person.page.click("dialog button:not(.danger)")
    assert "5 answers" in person.page.inner_text("main")
    person.page.click("button.danger")
    person.page.click("dialog button.danger")
    person.page.wait_for_selector(".notice.good")
    person.page.wait_for_selector("main:has-text('0 answers')")  # which are counted again after they were deleted
    opens(person)
    person.page.wait_for_selector(".empty:not([hidden])")


def test_a_name_that_looks_like_html_is_shown_as_it_is(person: "Person", files: dict[str, Path], tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>-neg.png"
    (tmp_path / name).write_text(name)
    opens(person)
    answers(person, {**files, name: tmp_path / name}, name)
    assert person.page.inner_text(".row a") == name
    person.page.click(".row a")
    person.page.wait_for_selector(".one")
    assert name in person.page.inner_text("h1")
    assert person.page.locator("img[src=x]").count() == 0


def test_language_and_colours_that_were_chosen_are_there_the_next_time(person: "Person") -> None:
    opens(person, "", "settings")
    person.page.click("#say-pt")
    person.page.select_option("#theme", "dark")
    opens(person)
    assert person.page.inner_text("h1").startswith("Respostas")
    assert person.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert person.page.evaluate("document.documentElement.lang") == "pt-BR"


def test_where_the_browser_keeps_nothing_the_page_says_so_before_anything_is_answered(person: "Person") -> None:
    opens(person, "lost=1")
    person.page.wait_for_selector(".notice.warn")
    assert "Export them before" in person.page.inner_text(".notice.warn")


def test_an_export_is_a_file_with_the_kept_lines(person: "Person", files: dict[str, Path]) -> None:
    opens(person)
    answers(person, files, *NAMES)
    person.page.click("button.export")
    with person.page.expect_download() as loading:
        person.page.click("dialog .row-of-buttons button >> nth=0")
    assert re.fullmatch(r"limiar-d1f3c0de-\d{4}-\d\d-\d\d\.jsonl", loading.value.suggested_filename)
    lines = Path(loading.value.path()).read_text().splitlines()
    assert [re.findall(r'"path":"([^"]*)"', line) for line in lines] == [[name] for name in NAMES]


def keys_in_use() -> tuple[set[str], set[str]]:
    """The keys that the JavaScript names, and the beginnings of those that it puts together."""
    source = "".join(path.read_text() for path in sorted(UI.glob("*.js")))
    named = set(re.findall(r'"([a-z]+(?:[.-][a-z0-9-]+)+|use|nav|theme|language|confidence|skip|details|footer)"', source))
    return named, set(re.findall(r"`([a-z.]+\.)\$\{", source))


def test_every_word_is_used_and_every_word_that_is_used_is_there() -> None:
    named, beginnings = keys_in_use()
    unused = {key for key in WORDS if key not in named and not key.startswith(tuple(beginnings))}
    assert {key for key in unused if re.sub(r"\.(one|other)$", "", key) not in named} == set()
    called = set(re.findall(r'\bt\("([^"]+)"', "".join(path.read_text() for path in UI.glob("*.js"))))
    assert called - set(WORDS) == set()


@pytest.mark.parametrize("key", sorted(WORDS))
def test_both_languages_have_the_same_places_to_fill_in(key: str) -> None:
    english, portuguese = (sorted(re.findall(r"\{\w+\}", text)) for text in WORDS[key])
    assert english == portuguese


def test_the_colours_are_those_of_the_page_of_a_device(project: Path) -> None:
    """Each token of both schemes has the value that edge_app/page/static/page.css gives it."""
    token = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6})")
    ours, theirs = (
        sorted(set(token.findall(path.read_text())))
        for path in (PHONE / "web" / "app.css", project / "edge_app" / "page" / "static" / "page.css")
    )
    assert ours == theirs
