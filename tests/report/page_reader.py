"""A page as a reader without JavaScript, and a browser, meet it: elements, text and tables."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link", "mspace"}


@dataclass
class Element:
    """An element of the page, with what it holds."""

    name: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside, blanks collapsed."""
        return " ".join("".join(self.pieces).split())

    def all(self, name: str, **attributes: str) -> list["Element"]:
        """Every element of that name inside; an attribute may hold the word among others."""
        found = []
        for child in self.children:
            if child.name == name and all(
                value in child.attributes.get(key.rstrip("_"), "").split()
                for key, value in attributes.items()
            ):
                found.append(child)
            found += child.all(name, **attributes)
        return found

    def everything(self) -> list["Element"]:
        """Every element inside."""
        return [e for child in self.children for e in (child, *child.everything())]

    def one(self, name: str, **attributes: str) -> "Element":
        """The only such element inside."""
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} elements {name} with {attributes}, expected one"
        return found[0]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack[-1].children.append(Element(tag, {n: v or "" for n, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].name == tag, f"</{tag}> closes <{self.stack[-1].name}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        for element in self.stack:
            element.pieces.append(data)


def read_page(html: str) -> Element:
    """The page as a tree. Asserts that every element is closed where it should be."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.stack) == 1, f"<{reader.stack[-1].name}> is never closed"
    return reader.stack[0]


def cells(table: Element) -> dict[tuple[str, str], str]:
    """(row name, column name) to the text of the cell."""
    header = [cell.text for cell in table.one("thead").all("th")]
    found = {}
    for row in table.one("tbody").all("tr"):
        name, *values = [child.text for child in row.children]
        found |= {(name, column): text for column, text in zip(header[1:], values, strict=True)}
    return found
