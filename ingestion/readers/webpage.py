"""HTML: the content of a page as Markdown, without its navigation.

html-to-markdown converts the page to Markdown after everything but the content has been removed from the tree.
Trafilatura was measured first, on the PostgreSQL manual: it drops every ``<h2>`` and ``<h3>`` of a DocBook page
(they stand in ``class="titlepage"``), ends a code block at the first ``<em>`` inside it and takes 30 to 130 ms for a
large page; this takes 2 to 10 ms and loses nothing there. Trafilatura remains for pages that are mostly links and do
not mark their content: telling articles from their surroundings is what it is best at.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, decode, one_line
from ingestion.readers.markdown import from_markdown
from ingestion.types import Extracted, ReadOptions

if TYPE_CHECKING:
    from lxml.html import HtmlElement

MAX_DEPTH = 250
_CHARSET = re.compile(
    rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})|<\?xml[^>]{0,100}encoding=[\"']([\w.-]{1,40})",
    re.IGNORECASE,
)
_NO_CONTENT = re.compile(
    "script|style|noscript|template|iframe|object|embed|svg|canvas|button|input|select|textarea|dialog|nav"
)
_NO_CONTENT_ROLES = re.compile("navigation|banner|contentinfo|search|complementary|menu|menubar|dialog|alertdialog")
# classes and ids of navigation and the like, matched whole: "for-update-share" is a section of a manual
_NO_CONTENT_NAMES = re.compile(
    r"(?:(?:site|page|main|global|top|bottom|left|right|post|sphinx|md|wy|bd|td)[-_]?)?"
    r"(?:nav|navbar|navheader|navfooter|navigation|menu|breadcrumbs?|sidebar|toc|table-of-contents|cookies?|consent|newsletter|"
    r"subscribe|share|sharing|social|related|advert|ads|promo|skip-?link|headerlink|anchorjs-link|edit-?page|pagination|"
    r"pager|footer|indexterm|sr-only)"
    r"(?:[-_]?(?:wrapper|container|links?|bar|list|menu|inner|box|banner|buttons?|posts?|tree))?",
    re.IGNORECASE,
)
_MAIN = "//main|//*[@role='main']|//body//article[not(ancestor::article)]"
_UNWRAPPED = (
    "a",
    "abbr",
    "acronym",
    "span",
    "font",
    "em",
    "i",
    "b",
    "strong",
    "u",
    "big",
    "small",
    "tt",
    "center",
    "mark",
)


def read_html(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a page; its title is that of its ``<title>``, else its first heading."""
    text, title = markdown_of(decode_page(data))
    return from_markdown(text, title=title, name=name)


def decode_page(data: bytes) -> str:
    """Decode a page by its byte order mark, by the encoding it names, else like any text."""
    named = _CHARSET.search(data[:2048])
    if named and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            return data.decode((named[1] or named[2]).decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # the named encoding is wrong or unknown
    return decode(data)


def markdown_of(page: str) -> tuple[str, str]:
    """Return the page's content as cleaned Markdown, and its title, which may be empty.

    Raises:
        Unreadable: the page cannot be parsed, or is nested too deeply.

    """
    root = _parsed(page)
    title = one_line(root.findtext(".//head/title") or root.findtext(".//title") or "")
    content = _content(root)
    if content is None:
        return _by_trafilatura(page), title
    return _markdown(content), title


def _parsed(page: str) -> HtmlElement:
    from lxml import etree, html

    # libxml2 stops at 256 levels of nesting and silently leaves out what is deeper
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root: HtmlElement | None = html.document_fromstring(clean(page).encode(), parser=parser)
    except (etree.LxmlError, AssertionError, ValueError) as exc:
        msg = "a damaged HTML page, or one without content"
        raise Unreadable(msg) from exc
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            msg = "an HTML page that is nested too deeply"
            raise Unreadable(msg)
    return root


def _content(root: HtmlElement) -> HtmlElement | None:
    """Return the content element without navigation; None if Trafilatura should find it."""
    body = root.find("body")
    if body is None:
        return root
    _prune(body)
    marked = [element for element in body.xpath(_MAIN) if _length(element) > 200]  # noqa: PLR2004 (characters: a teaser)
    if len(marked) == 1:
        return marked[0]
    linked = sum(_length(link) for link in body.iter("a"))
    return body if marked or 2 * linked < _length(body) else None


def _prune(body: HtmlElement) -> None:
    whole = _length(body)
    for element in list(body.iterdescendants()):
        if not isinstance(element.tag, str) or element.getparent() is None:
            continue
        names = f"{element.get('class', '')} {element.get('id', '')}".split()
        doomed = _no_content(element)
        named = element.tag != "main" and any(map(_NO_CONTENT_NAMES.fullmatch, names))
        page_frame = element.tag in {"header", "footer", "aside"} and not any(
            above.tag in {"article", "main"} for above in element.iterancestors()
        )
        # a wrapper called "sidebar-layout" contains the page itself
        if doomed or ((named or page_frame) and 2 * _length(element) < whole):
            element.drop_tree()


def _no_content(element: HtmlElement) -> bool:
    return (
        _NO_CONTENT.fullmatch(element.tag) is not None
        or _NO_CONTENT_ROLES.fullmatch(element.get("role", "")) is not None
        or element.get("hidden") is not None
    )


def _length(element: HtmlElement) -> int:
    return sum(len(text.strip()) for text in element.itertext())


def _markdown(content: HtmlElement) -> str:
    from html_to_markdown import ConversionOptions, convert
    from lxml import etree

    for code in content.iter("pre"):
        code.text = code.text_content()
        for child in list(code):
            code.remove(child)
    for image in list(content.iter("img")):
        image.tail = f"{image.get('alt') or ''}{image.tail or ''}"
        image.drop_tag()
    etree.strip_tags(content, *_UNWRAPPED)
    source = etree.tostring(content, encoding="unicode", method="html", with_tail=False)
    options = ConversionOptions(compact_tables=True, extract_metadata=False, autolinks=False, max_depth=2 * MAX_DEPTH)
    return clean(convert(source, options).content or "").strip("\n")


def _by_trafilatura(page: str) -> str:
    import trafilatura

    found = trafilatura.extract(
        page, output_format="markdown", favor_recall=True, include_comments=False, deduplicate=False
    )
    return clean(found or "")
