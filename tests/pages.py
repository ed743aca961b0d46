"""What tests of web pages share: a reader of their structure, names that must be escaped, and measures in a browser."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

EVIL = "<script>document.title='owned'</script>"
QUOTES = "\"'><img src=x onerror=alert(1)>${style}"

# Texts that are too small, or too pale on what is behind them; and what is wider than the page.
FAULTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const article of document.querySelectorAll("article")) article.style.contentVisibility = "visible";
  const width = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (box.width < 2 || element.closest("svg, .scroll, thead")) continue;
    if (box.right > width + 0.5) faults.push(`${element.tagName}.${element.className} reaches to ${box.right}`);
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.matches("option")) continue;
    if (parseFloat(style.fontSize) < 11.5) faults.push(`${element.textContent.slice(0, 30)}: ${style.fontSize}`);
    const [one, other] = [light(rgb(style.color)), light(behind(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) faults.push(`${element.textContent.slice(0, 30)}: contrast ${contrast.toFixed(1)}`);
  }
  return faults;
}"""


class Structure(HTMLParser):
    """Collects start tags, and complains about ends that fit no start."""

    VOID = ("meta", "input", "img", "path", "col")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, Any]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def names(view: Any) -> list[str]:
    """Return the images that a page shows, in order."""
    return view.eval_on_selector_all("article:not([hidden])", "all => all.map(each => each.dataset.name)")


def faults(view: Any) -> list[str]:
    """Return what is wrong with the looks of a page, at two widths and in both themes."""
    found = []
    for width in (400, 1280):
        for scheme in ("light", "dark"):
            view.set_viewport_size({"width": width, "height": 800})
            view.emulate_media(color_scheme=scheme)
            found += [f"{width} {scheme}: {fault}" for fault in view.evaluate(FAULTS)]
            assert view.evaluate("document.documentElement.scrollWidth") == width
    return found
