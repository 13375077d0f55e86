"""What the shapes of a slide say, in the order in which they are read (PresentationML, ECMA-376 part 1, 19.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingestion.readers.assembly import Assembly
from ingestion.readers.office.drawing_text import paragraphs_of
from ingestion.readers.office.drawings import Pictures, alternative_text, chart_text, diagram_text, embedded, members
from ingestion.readers.office.ooxml import Element, Package, attribute, child, children, local, relation_id
from ingestion.readers.tables.table import as_markdown, tables_in

_BAND = 182_880  # EMU, a fifth of an inch: shapes that begin within it stand side by side
_MOST_SPAN = 200
_TITLES = frozenset({"title", "ctrTitle"})
_ODD = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)

Place = tuple[int, int]
_NOWHERE: Place = (1 << 40, 0)


@dataclass(frozen=True, slots=True)
class Said:
    """A shape's text, where it stands (its top in bands, its left), and its role: ``title``, ``ftr``."""

    text: str
    place: Place
    role: str = ""


class Shapes:
    """The shapes of one slide."""

    def __init__(self, package: Package, slide: str, pictures: Pictures, assembly: Assembly) -> None:
        self._package = package
        self._relations = package.relations(slide)
        self._pictures = pictures
        self._assembly = assembly
        self._layout = self._places(next(iter(package.related(slide, "slideLayout")), ""))

    def said(self, tree: Element) -> list[Said]:
        """Return what the shapes say, from the top left; the title first, wherever it stands."""
        found = [each for shape in tree for each in self._safely(shape)]
        return sorted(found, key=lambda each: (each.role not in _TITLES, each.place))

    def _safely(self, shape: Element) -> list[Said]:
        try:
            return [each for each in self._of(shape) if each.text.strip()]
        except _ODD:
            self._assembly.warn("part-unreadable", "A shape is not as it should be; its bare text is read.")
            bare = "\n".join(each.text for each in members(shape, "t") if each.text)
            return [Said(bare, _NOWHERE)] if bare else []

    def _of(self, shape: Element) -> Iterator[Said]:
        name = local(shape)
        if name in {"sp", "cxnSp"}:
            yield self._shape(shape)
        elif name == "grpSp":
            yield from self._group(shape)
        elif name == "graphicFrame":
            yield Said(self._frame(shape), _place(child(shape, "xfrm")))
        elif name == "pic":
            yield Said(self._picture(shape), _place(child(shape, "spPr", "xfrm")))
        elif name == "AlternateContent":
            form = next((each for each in children(shape, "Choice", "Fallback") if len(each)), None)
            for each in form if form is not None else ():
                yield from self._of(each)

    def _shape(self, shape: Element) -> Said:
        holder = _placeholder(shape)
        role = (holder.get("type") or "obj") if holder is not None else ""
        inherited = self._layout.get(_key(holder), _NOWHERE) if holder is not None else _NOWHERE
        body = child(shape, "txBody")
        text = "\n".join(paragraphs_of(body)) if body is not None else ""
        filled = [self._pictures.text(self._relations.get(each)) for each in embedded(shape)]
        place = _place(child(shape, "spPr", "xfrm"), inherited)
        return Said("\n".join(filter(None, [text, *filled])), place, role)

    def _group(self, group: Element) -> Iterator[Said]:
        """Yield the shapes of a group one after the other, where the group stands."""
        place = _place(child(group, "grpSpPr", "xfrm"))
        for each in sorted((said for shape in group for said in self._safely(shape)), key=lambda said: said.place):
            yield Said(each.text, place, each.role)

    def _frame(self, frame: Element) -> str:
        said = [_table(table) for table in members(frame, "tbl")]
        for reference in members(frame, "relIds"):
            relation = self._relations.get(attribute(reference, "dm") or "")
            said.append(diagram_text(self._package, relation.target) if relation is not None else "")
        for reference in members(frame, "chart"):
            relation = self._relations.get(relation_id(reference))
            if relation is None or relation.kind != "chart":
                self._assembly.warn("data-left-out", "A chart of a newer kind is not read.")
            else:
                said.append(chart_text(self._package, relation.target))
        if members(frame, "oleObj"):
            self._assembly.warn("data-left-out", "A document that is embedded in it is not read.")
        return "\n\n".join(filter(None, said)) or alternative_text(frame)

    def _picture(self, picture: Element) -> str:
        texts = [self._pictures.text(self._relations.get(each)) for each in embedded(picture)]
        return "\n".join(filter(None, [alternative_text(picture), *texts]))

    def _places(self, layout: str) -> dict[tuple[str, str], Place]:
        """Return where a layout has its placeholders: a shape without a place of its own stands there."""
        root = self._package.xml(layout) if layout else None
        places: dict[tuple[str, str], Place] = {}
        for shape in members(root, "sp") if root is not None else ():
            holder = _placeholder(shape)
            if holder is not None:
                places[_key(holder)] = _place(child(shape, "spPr", "xfrm"))
        return places


def _placeholder(shape: Element) -> Element | None:
    described = next(children(shape, "nvSpPr", "nvPicPr"), None)
    return child(described, "nvPr", "ph")


def _key(holder: Element) -> tuple[str, str]:
    role = holder.get("type") or "obj"
    return ("title", "") if role in _TITLES else (role, holder.get("idx") or "")


def _place(frame: Element | None, otherwise: Place = _NOWHERE) -> Place:
    offset = child(frame, "off")
    if offset is None:
        return otherwise
    try:
        return int(offset.get("y")) // _BAND, int(offset.get("x"))
    except (TypeError, ValueError):
        return otherwise


def _table(table: Element) -> str:
    """Return a table as Markdown, merged cells filled."""
    grid: list[list[str]] = []
    for row in children(table, "tr"):
        above = grid[-1] if grid else []
        cells: list[str] = []
        for cell in children(row, "tc"):
            body = child(cell, "txBody")
            text = "\n".join(paragraphs_of(body)) if body is not None else ""
            if cell.get("hMerge") in {"1", "true"} and cells:
                text = cells[-1]
            elif cell.get("vMerge") in {"1", "true"} and len(cells) < len(above):
                text = above[len(cells)]
            cells.append(text)
        grid.append(cells[:_MOST_SPAN])
    properties = child(table, "tblPr")
    headed = properties is not None and properties.get("firstRow") in {"1", "true"} and len(grid) > 1
    return "\n\n".join(as_markdown(each) for each in tables_in(grid, header_rows=1 if headed else None))
