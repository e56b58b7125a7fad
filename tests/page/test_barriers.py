"""Every view, looked at by Chromium and axe-core: no barrier of WCAG 2.2 A and AA, at any width, light and dark."""

import pytest

from page_device import PageDevice

WINDOWS = (  # width in px, and scheme: colours do not change with the width
    (320, "light"),
    (390, "light"),
    (390, "dark"),
    (1280, "light"),
    (1280, "dark"),
    (2560, "light"),
)
VIEWS = [
    "/",
    "/results",
    "/results?decision=refer&reviewed=no",
    "/results/1",
    "/results/2",
    "/review",
    "/health",
    "/bundle",
    "/no",
]


@pytest.fixture(scope="module")
def answered(device: PageDevice) -> PageDevice:
    """1 is refused, 2 and more are answered."""
    device.put("cut.png", device.patches[0].read_bytes()[:300])
    device.wait(device.quarantined)
    device.answer(device.patches[:8])
    return device


@pytest.mark.parametrize("language", ["en", "pt"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_no_barrier(people, answered: PageDevice, view: str, language: str) -> None:
    with people(answered.url, language, refused=(404,)) as person:
        person.goes(view)
        for width, scheme in WINDOWS:
            person.page.set_viewport_size({"width": width, "height": 900})
            person.page.emulate_media(color_scheme=scheme)
            assert (width, scheme, person.barriers()) == (width, scheme, [])


def test_what_is_not_for_everyone_is_found(people, answered: PageDevice) -> None:
    """The control."""
    with people(answered.url, refused=(404,)) as person:
        person.goes("/review")
        person.page.locator("label").evaluate_all("labels => labels.forEach(one => one.remove())")
        person.page.locator("h1").evaluate("one => { one.style.minWidth = '5000px'; one.style.color = 'silver'; }")
        found = " ".join(person.barriers())
        assert all(barrier in found for barrier in ("label:", "color-contrast:", "px wider")), found


def test_what_goes_wrong_in_a_browser_is_noticed(browsers, answered: PageDevice) -> None:
    """The control of what every test here asserts: another origin, an inline script and an error are all noticed."""
    with browsers.person(answered.url) as person:
        person.goes("/")
        person.page.evaluate("""() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'ran'";
            document.body.append(script);
            const image = new Image();
            image.src = "http://127.0.0.1:9/x.png";
            document.body.append(image);
            setTimeout(() => { throw new Error("of mine"); });
        }""")
        faults = ("Executing inline script violates", "http://127.0.0.1:9/x.png", "error: of mine")
        for _ in range(600):
            if all(fault in " ".join(person.faults) for fault in faults):
                break
            person.page.wait_for_timeout(100)
        assert all(fault in " ".join(person.faults) for fault in faults), person.faults
        assert person.page.title() != "ran"
