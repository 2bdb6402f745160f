"""The documentation's site as its readers use it: every link by HTTP, and a walk through it in a real browser."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

import browser

ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Links(HTMLParser):
    """The addresses that a page refers to, and the anchors that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        address = values.get(ADDRESSES.get(tag, ""))
        if address and values.get("rel") != "canonical":
            self.addresses.append(address)
            if tag != "a":
                self.loaded.append(address)


def test_every_internal_link_and_anchor_is_there_and_nothing_is_loaded_from_elsewhere(site_url, site_folder):
    pages: dict[str, Links | None] = {}
    waiting, wanted = {site_url}, set()
    while waiting:
        url = waiting.pop()
        with urlopen(url) as response:  # raises HTTPError unless it answers 200
            is_page, body = response.headers.get_content_type() == "text/html", response.read()
        pages[url] = Links(body.decode()) if is_page else None
        links = pages[url]
        if links is None:
            continue
        assert [address for address in links.loaded if urlsplit(address).netloc] == [], (
            f"{url} loads from elsewhere"
        )
        for address in links.addresses:
            target = urljoin(url, address)
            if not target.startswith(site_url):
                assert urlsplit(target).scheme in ("http", "https"), f"{url} links to {address}"
                continue
            there, anchor = urldefrag(target)
            waiting |= {there} - pages.keys()
            if anchor:
                wanted.add((url, there, unquote(anchor)))
    built = {path.relative_to(site_folder).parent.as_posix() for path in site_folder.rglob("index.html")}
    assert {urlsplit(url).path.strip("/") or "." for url, links in pages.items() if links} == built
    missing = {
        f"{url} -> {there}#{anchor}"
        for url, there, anchor in wanted
        if (links := pages[there]) is not None and anchor not in links.anchors
    }
    assert missing == set()


def test_a_walk_through_the_site_in_a_browser(site_url):
    with browser.open_page() as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(site_url)
        assert page.locator("h1").inner_text().startswith("kerasrec")
        flow = page.locator("img[src$='flow.svg']")
        assert flow.evaluate("image => image.complete && image.naturalWidth > 0")

        page.get_by_role("link", name="User guide", exact=True).first.click()
        page.wait_for_url("**/etl/")
        page.get_by_role("link", name="API reference", exact=True).first.click()
        page.wait_for_url("**/api/")
        page.get_by_role("link", name="kr", exact=True).first.click()
        page.wait_for_url("**/api/kr/")
        page.locator("td a", has_text="kr.Loader").click()
        loader = page.locator("[id='kerasrec.Loader']")
        assert loader.is_visible()
        assert "kr.Loader" in loader.inner_text()
        assert page.locator("a[href*='kerasrec/data/loader.py#L']").count() >= 1

        page.wait_for_load_state("networkidle")  # the page's own script closes a search that began before it
        search = page.locator("input.md-search__input")
        search.click()
        search.press_sequentially("Categorify", delay=50)
        result = page.locator(".md-search-result__link").first
        result.wait_for()
        assert "Categorify" in page.locator(".md-search-result__list").inner_text()
        result.click()
        page.wait_for_function("document.body && document.body.innerText.includes('Categorify')")

        page.get_by_role("link", name="Gallery", exact=True).first.click()
        page.wait_for_url("**/gallery/")
        page.locator(".md-content a[href*='criteo_dlrm']").first.click()
        page.wait_for_url("**/gallery/criteo_dlrm/")
        assert "kr.models.DLRM" in page.locator(".highlight code", has_text="kr.models.DLRM").first.inner_text()

        page.locator("label[title='Dark']").click()
        assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
        assert [url for url in requests if not url.startswith((site_url, "data:"))] == []


def test_no_page_scrolls_sideways_on_a_phone(site_url, site_folder):
    widths = {}
    with browser.open_page(width=390, height=800) as page:
        for path in sorted(
            path.relative_to(site_folder).parent.as_posix() for path in site_folder.rglob("index.html")
        ):
            page.goto(f"{site_url}{path}/")
            widths[path] = page.evaluate("document.documentElement.scrollWidth")
    assert {path: width for path, width in widths.items() if width > 390} == {}
