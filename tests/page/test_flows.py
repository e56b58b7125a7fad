"""What people do on the page, in a real Chromium before a real service: in both languages, narrow and wide, light and dark."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, expect

from browsers import Browsers, Person
from limiar.edge_app.page.access import new_token
from limiar.edge_app.page.language import language
from limiar.edge_app.store.reader import Filter, Reader
from page_device import PageDevice

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
PEOPLE = [("en", {**DESK, "dark": False}), ("pt", {**PHONE, "dark": True})]
BOTH = pytest.mark.parametrize(("code", "window"), PEOPLE, ids=["en-wide-light", "pt-narrow-dark"])


class Visitor:
    """A person who reads one language."""

    def __init__(self, person: Person, code: str) -> None:
        self.page, self.goes = person.page, person.goes
        self.t = language(code).words
        self.counted = language(code).counted

    def link(self, key: str, **values: object) -> Locator:
        return self.page.get_by_role("link", name=self.t(key, **values), exact=True)

    def button(self, key: str, **values: object) -> Locator:
        return self.page.get_by_role("button", name=self.t(key, **values), exact=True)

    def verdict(self, label: str) -> Locator:
        return self.page.locator(f"button.verdict[value='{label}']")

    def name(self, text: str) -> None:
        self.page.get_by_label(self.t("review.by")).fill(text)

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()


@pytest.fixture
def visitor(people, device: PageDevice) -> Iterator[Callable[..., Visitor]]:
    """`visitor("pt", width=390)`: somebody at the device's page, who leaves it as the test ends."""
    with ExitStack() as leaving:
        yield lambda code, **more: Visitor(leaving.enter_context(people(device.url, code, **more)), code)


@pytest.fixture
def patches(device: PageDevice) -> Callable[[int], list[Path]]:
    """`patches(2)`: the next two that were not answered yet."""

    def taken(count: int) -> list[Path]:
        found = [patch for patch in device.patches if not (device.inbox / "done" / patch.name).exists()]
        assert len(found) >= count
        return found[:count]

    return taken


@BOTH
def test_a_new_image_appears_by_itself_is_opened_overruled_and_that_is_taken_back(
    visitor, device: PageDevice, patches, code: str, window: dict[str, object]
) -> None:
    device.answer(patches(1))
    someone = visitor(code, **window)
    someone.goes("/")
    before = device.rows("SELECT max(id) FROM entries")[0][0]
    patch, *_ = patches(1)
    device.answer([patch])
    someone.link("live.open", id=before + 1).click()
    expect(someone.page.get_by_role("heading", level=1)).to_contain_text(patch.name)
    with Reader(device.db) as reader:
        other = {"pos": "neg", "neg": "pos"}[str(reader.entry(before + 1).label)]
    someone.verdict(other).click()
    expect(someone.page.locator(".history")).to_have_count(0)  # without a name nothing is kept
    someone.name("Ana <b>")
    someone.verdict(other).click()
    expect(someone.page.locator(".history")).to_contain_text("Ana <b>")
    assert review_of(device, before + 1) == (other, "Ana <b>")
    someone.button("review.undo").click()
    someone.sees(someone.t("review.undid", id=before + 1))
    someone.sees(someone.t("review.undone", by="Ana <b>"))
    expect(someone.button("review.undo")).to_have_count(0)


def review_of(device: PageDevice, entry: int) -> tuple[object, ...]:
    return device.rows("SELECT label, by FROM reviews WHERE entry = ? ORDER BY id DESC", entry)[0]


@BOTH
def test_results_are_filtered_by_links_and_exported(
    visitor, device: PageDevice, patches, code: str, window: dict[str, object], tmp_path: Path
) -> None:
    device.answer(patches(6))
    someone = visitor(code, **window)
    someone.goes("/")
    someone.link("nav.results").click()
    someone.page.get_by_role("link", name="pos", exact=True).click()
    expect(someone.page.get_by_role("link", name="pos", exact=True)).to_have_attribute("aria-current", "true")
    shown = someone.page.locator(".row .badge")
    assert set(shown.all_inner_texts()) == {"pos"}
    someone.page.get_by_text(someone.t("results.export"), exact=True).click()
    with someone.page.expect_download() as coming:
        someone.link("results.export.csv").click()
    coming.value.save_as(tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + shown.count()
    someone.link("results.clear").click()
    expect(someone.page).to_have_url(f"{device.url}results")


@BOTH
def test_the_referred_images_are_reviewed_one_after_the_other(
    visitor, device: PageDevice, code: str, window: dict[str, object]
) -> None:
    refer(device, 3)
    someone = visitor(code, **window)
    someone.goes("/")
    someone.link("nav.review").click()
    left = waiting(device)
    someone.name("Bia")
    someone.verdict("pos").click()
    expect(someone.page).to_have_url(re.compile("[?]done="))
    reviewed = device.rows("SELECT entry FROM reviews ORDER BY id DESC")[0][0]
    someone.sees(someone.t("review.done", id=reviewed, label="pos"))
    someone.sees(someone.counted("review.left", left - 1))
    someone.button("review.undo").first.click()
    someone.sees(someone.t("review.undid", id=reviewed))
    someone.sees(someone.counted("review.left", left))
    someone.link("review.skip").click()
    someone.sees(someone.counted("review.left", left))
    assert waiting(device) == left


def refer(device: PageDevice, least: int) -> None:
    """Has images answered until so many wait for a person."""
    for patch in device.patches:
        if waiting(device) >= least:
            return
        if not (device.inbox / "done" / patch.name).exists():
            device.answer([patch])
    raise AssertionError("too few patches are referred")


def waiting(device: PageDevice) -> int:
    with Reader(device.db) as reader:
        return reader.count(Filter(kinds=("file",), decision="refer", reviewed=False))


@BOTH
def test_a_signed_bundle_is_installed_an_unsigned_one_refused_and_the_one_before_comes_back(
    visitor, device: PageDevice, code: str, window: dict[str, object]
) -> None:
    counter = {"en": 2, "pt": 3}[code]
    someone = visitor(code, **window, refused=(409,))
    someone.goes("/")
    someone.link("nav.bundle").click()
    someone.page.get_by_label(someone.t("bundle.install.file")).set_input_files(device.packed(counter))
    someone.button("bundle.install.do").click()
    someone.sees(someone.t("bundle.refused"))
    someone.page.get_by_label(someone.t("bundle.install.file")).set_input_files(device.packed(counter, device.key))
    someone.button("bundle.install.do").click()
    someone.sees(someone.t("bundle.installed", name="lung-nodule", version=f"0.{counter}.0"))
    someone.link("bundle.roll-back").click()
    someone.button("bundle.roll-back.do", name="lung-nodule 0.1.0").click()
    someone.sees(someone.t("bundle.back", name="lung-nodule", version="0.1.0"))


def follows_a_change(route: Route) -> None:
    """The bundle view, as it is while the service takes another bundle."""
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace("</h1>", "</h1><p data-changing></p>", 1))


def test_who_goes_elsewhere_while_a_change_is_followed_gets_there_however_slowly(visitor, device: PageDevice) -> None:
    someone = visitor("en")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    someone.page.route("**/bundle", follows_a_change)
    someone.page.route("**/health", hold)
    someone.goes("/bundle")
    with someone.page.expect_navigation(url="**/bundle"):  # it is followed
        pass
    someone.link("nav.health").click(no_wait_after=True)
    someone.page.wait_for_timeout(5000)
    held[0].continue_()
    someone.page.wait_for_url("**/health")


def test_a_file_that_was_chosen_while_a_change_is_followed_stays_chosen(visitor, device: PageDevice) -> None:
    someone = visitor("en")
    someone.page.route("**/bundle", follows_a_change)
    someone.goes("/bundle")
    field = someone.page.get_by_label(someone.t("bundle.install.file"))

    def stays() -> bool:
        field.set_input_files({"name": "new.limiar", "mimeType": "", "buffer": b"x"})
        someone.page.wait_for_timeout(5000)
        return field.evaluate("field => field.files.length") == 1

    assert stays() or stays() or stays()  # the view may come anew just as a file is chosen
    field.set_input_files([])
    with someone.page.expect_request("**/bundle"):
        pass


def test_a_link_that_is_held_down_while_news_come_is_followed(visitor, device: PageDevice, patches) -> None:
    device.answer(patches(1))
    someone = visitor("en")
    someone.goes("/")
    someone.page.keyboard.press("p")  # no news for now
    device.answer(patches(1))
    link = someone.page.locator(".source a:not([tabindex])").first
    link.hover()
    before = link.get_attribute("href")
    someone.page.mouse.down()
    someone.page.keyboard.press("p")
    someone.page.wait_for_timeout(2000)
    someone.page.mouse.up()
    someone.page.wait_for_url(f"**{before}")
    someone.goes("/")
    expect(link).not_to_have_attribute("href", before)


@BOTH
def test_health_says_what_is_wrong(visitor, device: PageDevice, code: str, window: dict[str, object]) -> None:
    someone = visitor(code, **window)
    someone.goes("/")
    someone.link("nav.health").click()
    expect(someone.page.get_by_role("heading", level=1)).to_have_text(someone.t("health.title"))


def test_everything_can_be_done_by_keyboard(visitor, device: PageDevice, patches) -> None:
    refer(device, 2)
    someone = visitor("en")
    press = someone.page.keyboard.press
    someone.goes("/")
    press("Tab")
    expect(someone.page.locator(".skip")).to_be_focused()
    press("Enter")
    expect(someone.page.locator("#main")).to_be_focused()
    someone.goes("/results")
    press("j")
    press("j")
    second = someone.page.locator(".row a").nth(1)
    expect(second).to_be_focused()
    name = second.inner_text()
    press("Enter")
    expect(someone.page.get_by_role("heading", level=1)).to_contain_text(name)
    someone.page.wait_for_load_state()  # only then are there shortcuts
    press("k")
    expect(someone.page.get_by_role("heading", level=1)).not_to_contain_text(name)
    someone.goes("/review")
    left = waiting(device)
    press("1")  # the name is missing
    expect(someone.page.get_by_label("Your name")).to_be_focused()
    someone.page.keyboard.type("Caio 12")  # figures are text here
    press("Enter")  # which chooses no label
    press("Tab")
    press("Tab")
    expect(someone.page.locator(".verdict").first).to_be_focused()
    assert waiting(device) == left
    press("2")
    someone.sees(someone.counted("review.left", left - 1))
    someone.page.wait_for_load_state()
    press("u")
    someone.sees(someone.counted("review.left", left))


def test_shortcuts_can_be_switched_off(visitor, device: PageDevice, patches) -> None:
    device.answer(patches(2))
    someone = visitor("en")
    someone.goes("/results")
    switch = someone.button("keys")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false")
    someone.goes("/results")
    someone.page.keyboard.press("j")
    expect(someone.page.locator(".row a").first).not_to_be_focused()


def test_without_javascript_results_are_read_and_reviewed_on_a_phone(visitor, device: PageDevice, patches) -> None:
    device.answer(patches(1))
    refer(device, 2)
    someone = visitor("pt", **PHONE, java_script_enabled=False)
    someone.goes("/")
    someone.link("live.reload").click()
    someone.link("nav.results").click()
    name = someone.page.locator(".row a").first.inner_text()
    someone.page.locator(".row a").first.click()
    expect(someone.page.get_by_role("heading", level=1)).to_contain_text(name)
    someone.name("Davi")
    someone.verdict("neg").click()
    someone.sees("Davi")
    someone.link("nav.review").click()
    left = waiting(device)
    someone.verdict("pos").click()
    someone.sees(someone.counted("review.left", left - 1))
    someone.button("review.undo").first.click()
    someone.sees(someone.counted("review.left", left))


def test_the_language_can_be_switched(visitor) -> None:
    someone = visitor("en")
    someone.goes("/results")
    someone.page.get_by_role("button", name="PT").click()
    expect(someone.page.get_by_role("heading", level=1)).to_have_text("Resultados")


def test_the_token_lets_a_person_in(people, browsers: Browsers, project: Path, tmp_path: Path) -> None:
    with PageDevice(tmp_path / "device", project / "models" / "lung-nodule", page="token = true", patches=1) as locked:
        token = new_token(locked.state)
        locked.ready()
        with people(locked.url, "en", refused=(403,)) as person:
            someone = Visitor(person, "en")
            someone.goes("/results")
            for text in ("wrong", token):
                someone.page.get_by_label(someone.t("login.token")).fill(text)
                someone.button("login").click()
            expect(someone.page.get_by_role("heading", level=1)).to_have_text(someone.t("live.title"))
            someone.goes("/results")  # which, unlike the live view, does not go to the login by itself
            new_token(locked.state)  # it ends all sessions
            someone.goes("/results")
            expect(someone.page.get_by_role("heading", level=1)).to_have_text(someone.t("login.title"))
            assert person.barriers() == []


def test_a_wall_screen_shows_and_changes_nothing(people, browsers: Browsers, project: Path, tmp_path: Path) -> None:
    with PageDevice(tmp_path / "wall", project / "models" / "lung-nodule", page="read_only = true", patches=1) as wall:
        wall.ready()
        wall.answer(wall.patches)
        with people(wall.url, "en", width=1920, height=1080) as person:
            for path in ("/", "/results/1", "/bundle"):
                person.goes(path)
                assert person.page.locator("main form").count() == 0
            person.goes("/")
            biggest = person.page.locator(".source .big").evaluate("one => parseFloat(getComputedStyle(one).fontSize)")
            assert biggest >= 48  # px: a letter of 12 mm on a screen of 24 inches, seen from 3 m
            assert person.barriers() == []
