"""An operator at 3 a.m., with a keyboard."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Send

pytestmark = pytest.mark.usefixtures("sidecar")


def test_by_keyboard_alone_a_failed_batch_is_found_mended_replayed_and_done(page: Page, send: Send) -> None:
    send("night-0001", "a heron", form="wildlife-2027")
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/dead-letters")
    # The group, and its first letter.
    expect(page.get_by_role("row", name=re.compile("wildlife-2027"))).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dead-letters/groups/*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("wildlife-2027")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/dead-letters/[0-9a-f-]{36}$"))
    expect(page.get_by_text("Apply the form first")).to_be_visible()
    expect(page.locator("pre")).not_to_contain_text("a heron")
    # The payload names a form that nobody knows: correct it.
    tab_to(page, "Edit the payload…")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("the form is called wildlife")
    tab_to(page, "Show the payload")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Edit the payload")
    text = page.get_by_label("Payload, JSON").input_value()
    assert "a heron" in text
    tab_to(page, "", tag="TEXTAREA")
    retype(page, text.replace('"wildlife-2027"', "7"))
    tab_to(page, "Check and show the difference")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("form_id")
    tab_to(page, "", tag="TEXTAREA")
    retype(page, text.replace("wildlife-2027", "wildlife"))
    tab_to(page, "Check and show the difference")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="form_id")).to_be_visible()
    # What sends is pressed on purpose: no key does it.
    tab_to(page, "Replay 1 letter")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/dead-letters/[0-9a-f-]{36}\?done=requeued$"))
    for _ in range(60):
        if page.get_by_text("Its job is done.").count():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.get_by_text("Its job is done.")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/audit")
    expect(page.locator("main")).to_contain_text("dead_letter.requeue")
    expect(page.locator("main")).to_contain_text("the form is called wildlife")


def test_a_group_is_replayed_after_a_dry_run_and_told_live(page: Page, send: Send) -> None:
    for number in range(3):
        send(f"group-{number}", form="never-applied")
    page.goto("/dead-letters")
    # Quoted names are no part of what makes a group: the same cause in another form is the same group.
    page.locator("tr[data-row] a").first.click()
    page.get_by_role("link", name=re.compile(r"Replay \d letters")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Replay \d letters\?"))
    page.get_by_label("Canary").fill("1")
    page.get_by_label("Reason").fill("to see whether it stops")
    page.get_by_role("button", name=re.compile(r"Replay \d letters")).click()
    page.wait_for_url(re.compile(r"/replays/[0-9a-f-]{36}$"))
    # Its cause is not mended: the canary dies again, and the rest is not sent. The page says so without a reload.
    expect(page.get_by_role("heading", level=1)).to_contain_text("died again", timeout=30_000)
    expect(page.locator("main")).to_contain_text("stopped")


def test_a_question_mark_shows_the_keys_and_a_slash_searches(page: Page) -> None:
    page.goto("/queues")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("submissions")
    page.keyboard.press("Enter")
    page.wait_for_url("**/queues/submissions")


def test_a_pause_says_what_will_be_done_and_needs_a_reason(page: Page) -> None:
    page.goto("/queues/posts")
    page.get_by_role("button", name="Pause…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pause the queue posts?")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.get_by_label("Reason").fill("an upgrade")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_url("**/queues/posts?done=paused")
    expect(page.locator("main")).to_contain_text("an upgrade")
    page.get_by_role("button", name="Resume…").click()
    page.get_by_label("Reason").fill("it is over")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url("**/queues/posts?done=resumed")


def tab_to(page: Page, name: str, tag: str = "") -> None:
    """Press Tab until the focus is on what has this text, or is such an element."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate("[document.activeElement.innerText || '', document.activeElement.tagName]")
        if (tag and focused[1] == tag) or (name and focused[0].strip() == name):
            return
    raise AssertionError(f"Tab does not come to {name or tag}")


def retype(page: Page, text: str) -> None:
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)
