"""Every page, light and dark: no serious fault of accessibility, no layout that breaks, readable without scripts."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import HOSTILE, SCRIPT, SHOTS, Send, watched
from tests.browser.planned import plan
from tests.system import Database

#: Where a page is reached, by its name; `*` is the first link of the page before that leads on.
PAGES = {
    "overview": "/",
    "queues": "/queues",
    "queue": "/queues/submissions",
    "groups": "/dead-letters",
    "group": "/dead-letters > a[href^='/dead-letters/groups/']",
    "letters": "/dead-letters/list",
    "letter": "/dead-letters/list > th a[href^='/dead-letters/']",
    "replay-new": "/replays/new?state=open",
    "replays": "/replays",
    "circuits": "/circuits",
    "posts": "/posts",
    "post-list": "/posts/list",
    "post": "/posts/list?state=unknown_outcome > tr[data-row] a[href^='/posts/']",
    "post-held": "/posts/list?state=held > tr[data-row] a[href^='/posts/']",
    "accounts": "/accounts",
    "audit": "/audit",
    "search": "/search?q=nobody-knows-this",
    "code": "/codes/FORM_NOT_FOUND",
    "not-found": "/there-is-nothing",
    "log-in": "/log-in",
}


@pytest.fixture(scope="module")
def hostile(send: Send, database: Database) -> None:
    """Letters and posts of ordinary and of hostile content."""
    plan(database, HOSTILE)
    send("plain-0001")
    send("hostile-0001", HOSTILE, "x" * 1_000_000, "\u0627\u0644\u0639\u0631\u0628\u064a\u0629")


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, chromium: Browser, sidecar: str, hostile: None) -> Iterator[Page]:
    context = chromium.new_context(
        base_url=sidecar, viewport={"width": 1280, "height": 860}, color_scheme=request.param
    )
    page = watched(context.new_page())
    page.theme = request.param  # type: ignore[attr-defined]
    yield page
    complaints = page.complaints  # type: ignore[attr-defined]
    context.close()
    assert complaints == []


def reach(page: Page, way: str) -> None:
    address, _, link = way.partition(" > ")
    page.goto(address)
    if link:
        page.locator(link).first.click()
        page.wait_for_load_state()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_fault(themed: Page, name: str) -> None:
    reach(themed, PAGES[name])
    SHOTS.mkdir(parents=True, exist_ok=True)
    themed.screenshot(path=SHOTS / f"{name}-{themed.theme}.png", full_page=True)  # type: ignore[attr-defined]
    found = Axe().run(themed).response["violations"]
    serious = [
        (fault["id"], [node["target"] for node in fault["nodes"]][:3])
        for fault in found
        if fault["impact"] in {"serious", "critical"}
    ]
    assert serious == []
    assert is_within(themed)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(chromium: Browser, sidecar: str, hostile: None, name: str) -> None:
    context = chromium.new_context(base_url=sidecar, viewport={"width": 360, "height": 740})
    page = context.new_page()
    reach(page, PAGES[name])
    page.screenshot(path=SHOTS / f"{name}-phone.png", full_page=True)
    assert is_within(page)
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_without_scripts(chromium: Browser, sidecar: str, hostile: None, name: str) -> None:
    context = chromium.new_context(base_url=sidecar, java_script_enabled=False)
    page = context.new_page()
    reach(page, PAGES[name])
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    # What only a script could do is not offered.
    assert page.locator("button[data-copy]:visible, #theme:visible").count() == 0
    context.close()


def test_hostile_content_is_shown_and_does_nothing(page: Page, hostile: None) -> None:
    page.goto("/search?q=hostile-0001")
    page.locator("main a[href^='/dead-letters/']").first.click()
    page.get_by_text("Reveal what is redacted").click()
    page.get_by_label("Why you need to see it").fill("to look at hostile content")
    page.get_by_role("button", name="Reveal on this page").click()
    payload = page.locator("pre")
    expect(payload).to_contain_text(SCRIPT)
    expect(payload).to_contain_text(re.compile("characters more"))
    shown = payload.inner_text()
    assert "\u202e" not in shown
    assert "\\u202e" in shown
    assert page.evaluate("document.images.length + document.querySelectorAll('main script').length") == 0
    assert is_within(page)
    for address in (f"/search?q={SCRIPT}", f"/dead-letters/list?text={SCRIPT}", f"/audit?actor={SCRIPT}"):
        page.goto(address)
        assert is_within(page)
    page.wait_for_timeout(300)


def test_hostile_contents_of_posts_are_shown_and_do_nothing(page: Page, hostile: None) -> None:
    for state in ("held", "unknown_outcome"):
        page.goto(f"/posts/list?state={state}")
        page.locator("tr[data-row] a[href^='/posts/']").first.click()
        page.get_by_text("Reveal what is redacted").click()
        page.get_by_label("Why you need to see it").fill("to look at hostile content")
        page.get_by_role("button", name="Reveal on this page").click()
        expect(page.locator("pre")).to_contain_text(SCRIPT)
        assert page.evaluate("document.images.length + document.querySelectorAll('main script').length") == 0
        assert is_within(page)
    for address in (f"/posts/list?owner={SCRIPT}", f"/accounts?owner={SCRIPT}"):
        page.goto(address)
        assert is_within(page)


def is_within(page: Page) -> bool:
    """Whether nothing makes the page wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
