"""What of a page is not its content: menus, banners, footers, dialogs.

An element is judged by where it stands, what it is and what its text is, above all by how much of the text is links.
Classes and ids are believed only of what is nearly all links: an API's manual has a section ``pagination``, a
restaurant's page a ``menu``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.readers.html.tree import INLINE, drop, tag_of

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_NEVER = frozenset("script style template iframe embed link meta base source track param area map frame head".split())
_OF_HEAD = frozenset(("title", "meta", "link", "base", "script", "style", "template", "noscript"))
_MAIN = "//main|//*[@role='main']|//body//article[not(ancestor::article)]"
_MAIN_LENGTH = 200  # characters: less is a teaser
_SECTIONS = frozenset(("main", "article", "section", "blockquote", "figure", "td", "details"))
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_NAVIGATION_ROLES = frozenset(("navigation", "menu", "menubar", "search"))
_NAMES = re.compile(
    r"(?:(?:site|page|main|global|top|bottom|left|right|post|sphinx|md|wy|bd|td)[-_]?)?"
    r"(?:nav|navbar|navheader|navfooter|navigation|menu|breadcrumbs?|sidebar|toc|table-of-contents|share|sharing|"
    r"social|related|skip-?link|edit-?page|pagination|pager|footer)"
    r"(?:[-_]?(?:wrapper|container|links?|bar|list|inner|box|buttons?|posts?|tree))?",
    re.IGNORECASE,
)
_STEERING = re.compile(
    r"(?:(?:skip|jump) to [\w ]{1,30}|(?:prev(?:ious)?|next)(?: (?:page|chapter|post|article))?|up|home|top|contents|"
    r"back(?: to top)?|menu|toggle [\w ]{1,30}|(?:open|close|show|hide) (?:menu|navigation|sidebar)|search|"
    r"print|share|tweet|edit(?: this page| on github)?|copy(?: code| link)?|close|login|log in|sign (?:in|up)|"
    r"permalink|zurück|weiter|nach oben|drucken|teilen|suche|menü|anmelden|kopieren|"
    r"précédent|suivant|haut de page|imprimer|partager|rechercher|anterior|siguiente|[<>«»‹›←→↑|·•/×☰⋮¶#§🔗\s-]+)",
    re.IGNORECASE,
)
_CONSENT = re.compile(r"cookie|consent|datenschutz|privacy|tracking|rgpd|gdpr", re.IGNORECASE)
_AGREE = re.compile(
    r"accept|agree|allow|reject|decline|got it|^\W*ok|understand|akzept|zustimm|einverstanden|ablehn|verstanden|"
    r"accepter|refuser|aceptar|rechazar|accetta|rifiuta|zgadzam|akceptuj|souhlas|принять|settings|preferences|manage",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?。！？…:][\s\"'”’»)]*$|\w\W+\w+\W+\w+\W+\w+\W+\w+\W+\w+\W+\w+\W+\w")


@dataclass(slots=True)
class Measure:
    """Characters of an element's text, of that inside links, and the number of links."""

    text: int = 0
    linked: int = 0
    links: int = 0

    @property
    def own(self) -> int:
        """Characters that are in no link."""
        return self.text - self.linked

    def mostly_links(self, share: float) -> bool:
        """Tell whether at least this share of the text is links."""
        return self.links > 0 and self.linked >= share * self.text


def remove_surroundings(root: HtmlElement) -> HtmlElement:
    """Remove from a page what is not its content; return what is left of its body."""
    body = _body_of(root)
    for element in list(body.iter(*_NEVER)):
        if element.get("shadowrootmode") is None:
            drop(element)
    _settle_noscript(body)
    _Page(body).prune()
    return body


def _body_of(root: HtmlElement) -> HtmlElement:
    """Return the body; libxml2 leaves what it does not know, ``<main>`` say, in the head if no body is marked."""
    head, body = root.find("head"), root.find("body")
    strays = [child for child in (() if head is None else head) if child.tag not in _OF_HEAD]
    if body is None and not strays:
        return root
    if body is None:
        body = root.makeelement("body")
        root.append(body)
    for place, stray in enumerate(strays):
        body.insert(place, stray)
    return body


def _settle_noscript(body: HtmlElement) -> None:
    """Keep what is there for readers without scripts only where there is nothing else."""
    found = list(body.iter("noscript"))
    inside = sum(len("".join(element.itertext()).split()) for element in found)
    if found and len("".join(body.itertext()).split()) - inside > 5:  # noqa: PLR2004 (words: "Loading, please wait")
        for element in found:
            drop(element)


class _Page:
    def __init__(self, body: HtmlElement) -> None:
        self._body = body
        self._measures = _measures(body)
        self._whole = self._measures[body]
        marked = [element for element in body.xpath(_MAIN) if self._of(element).text > _MAIN_LENGTH]
        self._main = marked[0] if len(marked) == 1 else None
        self._frame = set(self._main.iterancestors()) if self._main is not None else set()
        self._targets = _targets(self._main)
        self._read = 0  # characters in no link, in what was kept so far
        self._headed = len(list(body.iter("h1")))

    def prune(self) -> None:
        """Visit the elements in their order; do not look into what was removed or lies inside the content."""
        stack: list[tuple[HtmlElement, bool]] = [(child, False) for child in reversed(self._body)]
        while stack:
            element, inside = stack.pop()
            if not isinstance(element.tag, str):
                continue
            inside = inside or element is self._main or element.tag in {"main", "article"}
            if self._is_surrounding(element, inside=inside):
                drop(element)
                continue
            inside = inside or self._starts_content(element)
            self._read += len((element.text or "").strip()) * (element.tag != "a") + len((element.tail or "").strip())
            stack += [(child, inside) for child in reversed(element)]

    def _of(self, element: HtmlElement) -> Measure:
        return self._measures.get(element) or Measure()

    def _is_surrounding(self, element: HtmlElement, *, inside: bool) -> bool:  # noqa: PLR0911 (a list of rules)
        tag, role, size = element.tag, element.get("role", ""), self._of(element)
        if tag in INLINE:
            return _is_decoration(element, tag)
        if element is self._main or element in self._frame:
            return False
        if _is_consent(element, size) and not inside:
            return True
        if tag == "dialog" or role in {"dialog", "alertdialog"}:
            return not inside
        if tag == "nav" or role in _NAVIGATION_ROLES:
            return size.mostly_links(0.5) or not self._is_prose(element)
        if tag == "header" or role == "banner":
            return self._is_page_level(element, inside=inside) and not self._introduces(element)
        if tag == "footer" or role == "contentinfo":
            return self._is_footer(element, inside=inside)
        if tag == "aside" or role == "complementary":
            return size.mostly_links(0.5) or (not inside and not self._is_prose(element) and _has_controls(element))
        return (
            self._is_steering(element, size)
            or self._turns_pages(element, size)
            or self._is_list_of_links(element, size, inside=inside)
            or (self._main is not None and not inside and not self._is_kept_outside(element))
        )

    def _is_page_level(self, element: HtmlElement, *, inside: bool) -> bool:
        return not inside and not any(above.tag in _SECTIONS for above in element.iterancestors())

    def _introduces(self, element: HtmlElement) -> bool:
        """Tell whether a page's header is more than the site's name: the page's only h1, or a paragraph of prose."""
        size = self._of(element)
        if size.mostly_links(0.5):
            return False
        heading = next(element.iter("h1"), None)
        in_main = self._main is not None and next(self._main.iter("h1"), None) is not None
        named = heading is not None and not in_main and self._headed == 1 and self._of(heading).own > 0
        return named or (size.own > _MAIN_LENGTH and self._is_prose(element))

    def _is_footer(self, element: HtmlElement, *, inside: bool) -> bool:
        size = self._of(element)
        if 2 * size.text > self._whole.text and not size.mostly_links(0.5):
            return False
        return self._is_page_level(element, inside=inside) or size.mostly_links(0.6)

    def _is_steering(self, element: HtmlElement, size: Measure) -> bool:
        """Tell whether the text is no more than words that steer: previous, next, skip to content."""
        if not 0 < size.text <= 80 or element.tag in _HEADINGS or element.tag in {"pre", "td", "th", "dt", "dd", "tr"}:  # noqa: PLR2004
            return False
        if not (size.mostly_links(0.8) or element.getparent() is self._body or _hinted(element)):
            return False
        parts = [part.strip() for part in element.itertext() if part.strip()]
        return all(map(_all_steering, parts))

    def _turns_pages(self, element: HtmlElement, size: Measure) -> bool:
        """Tell whether it leads to the pages before and after, with their titles: all its links are such words."""
        if element.getparent() is not self._body or size.text > 300 or size.links < 2:  # noqa: PLR2004
            return False
        links = [link.text_content().strip() for link in element.iter("a") if link.get("href") is not None]
        if any(len(part.split()) > 8 for part in element.itertext()):  # noqa: PLR2004 (words: more than a title)
            return False
        return all(links) and all(map(_all_steering, links)) and next(element.iter(*_HEADINGS), None) is None

    def _is_list_of_links(self, element: HtmlElement, size: Measure, *, inside: bool) -> bool:
        if not size.mostly_links(0.6) or any(True for _ in element.iter(*_HEADINGS)):
            return False
        if _hinted(element) and size.mostly_links(0.6):
            return self._whole.own > size.own
        if inside or size.links < 4 or not size.mostly_links(0.8) or _follows_heading(element):  # noqa: PLR2004
            return False
        if any(True for _ in element.iter("dl")):  # a glossary
            return False
        left = self._whole.own - size.own
        around = min(self._read, left - self._read)
        return left > _MAIN_LENGTH and around < 100  # noqa: PLR2004 (before the prose begins, or after it has ended)

    def _is_prose(self, element: HtmlElement) -> bool:
        size = self._of(element)
        text = " ".join(element.text_content().split())
        return size.own > 15 and not size.mostly_links(0.5) and _SENTENCE.search(text) is not None  # noqa: PLR2004

    def _is_kept_outside(self, element: HtmlElement) -> bool:
        """Tell whether an element outside the part that is marked as the page's content belongs to it all the same."""
        if self._main is not None and self._of(self._main).own < self._whole.own - self._of(self._main).own:
            return True
        return self._starts_content(element) or any(map(_is_aside, element.iter()))

    def _is_referred_to(self, element: HtmlElement) -> bool:
        """Tell whether the content has links into it, as to its notes, and it is more than links."""
        if self._main is None or self._of(element).mostly_links(0.5):
            return False
        return any(f"#{each.get('id')}" in self._targets for each in element.iter() if each.get("id"))

    def _starts_content(self, element: HtmlElement) -> bool:
        """Tell whether an element outside the marked part is content with all that is in it: an aside, or prose."""
        if self._main is None or element in self._frame or element.tag in INLINE:
            return False
        size = self._of(element)
        prose = size.own > 120 and not size.mostly_links(0.3) and self._is_prose(element)  # noqa: PLR2004
        return bool(
            prose or _is_aside(element) or element.tag == "header" or (self._targets and self._is_referred_to(element))
        )


def _targets(content: HtmlElement | None) -> set[str]:
    """Return the places on the page to which the content refers, not those of links that steer, as to the top."""
    links = content.iter("a") if content is not None else ()
    return {
        target
        for link in links
        if (target := link.get("href", "")).startswith("#") and not _all_steering(link.text_content())
    }


def _has_controls(element: HtmlElement) -> bool:
    """Tell whether there is something to click or to fill in."""
    return next(element.iter("a", "button", "input", "form", "select"), None) is not None


def _is_aside(element: HtmlElement) -> bool:
    return bool(element.tag == "aside" or element.get("role") == "complementary")


def _measures(body: HtmlElement) -> Mapping[HtmlElement, Measure]:
    measures: dict[HtmlElement, Measure] = {}
    for element in reversed(list(body.iter())):
        if not isinstance(element.tag, str):
            continue
        size = Measure(len((element.text or "").strip()))
        for child in element:
            inner = measures.get(child)
            if inner is not None:
                size.text += inner.text
                size.linked += inner.linked
                size.links += inner.links
            size.text += len((child.tail or "").strip())
        if element.tag == "a" and element.get("href") is not None:
            size.linked, size.links = size.text, 1
        measures[element] = size
    return measures


def _is_decoration(element: HtmlElement, tag: str) -> bool:
    """Tell whether an inline element is an icon, an anchor's mark or a control without words."""
    if element.get("aria-hidden") == "true":
        return tag == "svg" or len(element.text_content().split()) <= 1 or _beside_math(element)
    if tag == "a":
        text = element.text_content().strip()
        skips = text[:20].lower().startswith(("skip to ", "jump to ", "zum inhalt", "aller au contenu"))
        return text in {"¶", "#", "§", "🔗"} or (skips and element.get("href", "").startswith("#"))
    if tag == "button":
        text = " ".join(element.text_content().split())
        return not any(map(str.isalnum, text)) or (_all_steering(text) and not _in_heading(element))
    return False


def _in_heading(element: HtmlElement) -> bool:
    return any(above.tag in _HEADINGS or above.tag in {"summary", "dt"} for above in element.iterancestors())


def _beside_math(element: HtmlElement) -> bool:
    parent = element.getparent()
    return parent is not None and next(parent.iter("math"), None) is not None


def _is_consent(element: HtmlElement, size: Measure) -> bool:
    """Tell whether it asks for consent to cookies: a short text about them and a button, or link, to agree."""
    if not 20 < size.text < 1500 or not _CONSENT.search(text := element.text_content()):  # noqa: PLR2004
        return False
    controls = [*element.iter("button"), *element.iter("a"), *element.iter("input")]
    agrees = any(_AGREE.search(control.text_content() or control.get("value", "")) for control in controls)
    return agrees and len(text) < 3000 and not any(tag_of(inner) in {"pre", "table", "h1"} for inner in element.iter())  # noqa: PLR2004


def _hinted(element: HtmlElement) -> bool:
    names = f"{element.get('class', '')} {element.get('id', '')}".split()
    return any(map(_NAMES.fullmatch, names[:20]))


def _all_steering(text: str) -> bool:
    words = text.split()
    if _STEERING.fullmatch(" ".join(words)):
        return True
    return 0 < len(words) <= 6 and all(_STEERING.fullmatch(word) for word in words)  # noqa: PLR2004


def _follows_heading(element: HtmlElement) -> bool:
    before = element.getprevious()
    return before is not None and (
        before.tag in _HEADINGS or (before.tag == "p" and before.text_content().rstrip().endswith(":"))
    )
