"""An operator settles posts, with a keyboard: what is held, and what nobody knows the outcome of."""

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.browser.planned import plan
from tests.browser.test_operator import tab_to
from tests.system import Database


@pytest.fixture(scope="module")
def planned(database: Database, sidecar: str) -> dict[str, uuid.UUID]:
    """Posts of each state; the sidecar is there."""
    assert sidecar
    return plan(database)


def test_by_keyboard_alone_a_post_of_unknown_outcome_is_settled(page: Page, planned: dict[str, uuid.UUID]) -> None:
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/posts")
    tab_to(page, "Unknown outcome")
    page.keyboard.press("Enter")
    page.wait_for_url("**/posts/list?state=unknown_outcome")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/posts/[0-9a-f-]{36}$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Nobody knows whether it is live")
    page.get_by_label("Its id on the platform").focus()
    page.keyboard.type("17895695668004550")
    tab_to(page, "It is live…")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Note that this 1 post is live?")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("it is on the page")
    tab_to(page, "It is live")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/posts/[0-9a-f-]{36}\?done=post-settle$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("It is live.")
    page.get_by_role("link", name="Who decided what of it").click()
    expect(page.locator("main")).to_contain_text("post.settle")
    expect(page.locator("main")).to_contain_text("it is on the page")


def test_a_held_post_is_approved_for_another_instant(page: Page, planned: dict[str, uuid.UUID]) -> None:
    page.goto(f"/posts/{planned['held']}")
    page.get_by_label("Approve it, to go out at").fill("2031-01-02 03:04")
    page.get_by_role("button", name="Approve…").click()
    expect(page.locator("main")).to_contain_text("2031-01-02 03:04:00 UTC")
    page.get_by_role("button", name="Approve 1 post").click()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.get_by_label("Reason").fill("it may go out later")
    page.get_by_role("button", name="Approve 1 post").click()
    page.wait_for_url(re.compile(r"\?done=post-approve$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("It waits for its instant.")
    expect(page.locator("main")).to_contain_text("2031-01-02 03:04:00")


def test_what_was_changed_by_somebody_else_is_not_changed_again(
    page: Page, planned: dict[str, uuid.UUID], database: Database
) -> None:
    page.goto(f"/posts/{planned['scheduled']}")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Reason").fill("not wanted any more")
    statement = "UPDATE penstock.scheduled_posts SET version = version + 1 WHERE post_id = %s"
    database.query(statement, planned["scheduled"])
    page.get_by_role("button", name="Cancel 1 post").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Somebody was faster")
    expect(page.locator("main")).to_contain_text("POST_CHANGED")


def test_accounts_that_need_a_person_stand_first(page: Page, planned: dict[str, uuid.UUID]) -> None:
    assert planned
    page.goto("/accounts")
    expect(page.get_by_role("heading", name="Must be authorised anew")).to_be_visible()
    row = page.get_by_role("row", name=re.compile("must be authorised anew")).first
    expect(row).to_contain_text("ACCOUNT_TOKEN_EXPIRED")
    expect(page.locator("main")).to_contain_text("penstock accounts reauthorize ID")
