"""A page as a browser would take it apart."""

import base64
from html.parser import HTMLParser
from pathlib import Path

UNCLOSED = {"meta", "img", "input"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps what the page shows and holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.pictures: list[bytes] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in UNCLOSED:
            self.open.append(tag)
        for name, value in attributes:
            if name == "src":
                self.pictures.append(base64.b64decode(value.removeprefix("data:image/png;base64,"), validate=True))
            if name == "href":
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))
