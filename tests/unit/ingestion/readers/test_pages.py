# ruff: noqa: E501 (samples, as they are written)
"""Pages of many makes: content stays wherever it stands, surroundings go."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.readers import read
from ingestion.types import Extracted

PROSE = "<p>The harbour was dug in 1611 by the town itself, and has been deepened three times since then.</p>" * 3


def page(body: str) -> Extracted:
    whole = f"<!DOCTYPE html><html><head><meta charset=utf-8><title>T</title></head><body>{body}</body></html>"
    return read(Path("a.html"), data=whole.replace("PROSE", PROSE).encode())


@pytest.mark.parametrize(
    ("body", "there", "not_there"),
    [
        (
            "<main><h1>A</h1>PROSE<section id=cookies><h2>Cookies</h2><p>We set two cookies. Accept them with the header.</p></section></main>",
            ["two cookies"],
            [],
        ),
        (
            "<div class=page><h1>A</h1>PROSE<div id=cookies><h2 id=cookies>Cookies</h2><p>The API sets a session cookie named sid.</p></div></div>",
            ["named sid"],
            [],
        ),
        (
            "<main><h1>A</h1>PROSE</main><div class=cookie-banner><p>We use cookies to improve things on this site.</p><button>Accept all</button></div>",
            [],
            ["improve things"],
        ),
        (
            "<h1>A</h1>PROSE<div id=cc><p>We use cookies to improve things on this site. Privacy.</p><button>Accept all</button><a href=/p>Read more</a></div>",
            ["harbour"],
            ["improve things"],
        ),
        (
            "<article><h1>Inn</h1>PROSE<div class=menu><h2>Dinner</h2><ul><li>Herring 12 €</li><li>Eel 14 €</li></ul></div></article>",
            ["Herring 12", "Eel 14"],
            [],
        ),
        (
            "<article><h1>Inn</h1>PROSE<ul class=menu><li>Herring</li><li>Eel</li></ul></article>",
            ["- Herring\n- Eel"],
            [],
        ),
        ('<main><h1>A</h1>PROSE</main><aside class="note"><p>Warning: hot kiln.</p></aside>', ["hot kiln"], []),
        (
            "<main><h1>A</h1>PROSE</main><div><aside><h3>Tip</h3><p>Keep dry at all times.</p></aside></div>",
            ["Keep dry", "Tip"],
            [],
        ),
        (
            "<main><h1>A</h1>PROSE</main><aside><h3>Related</h3><ul><li><a href=a>One more story</a><li><a href=b>Two more stories</a></ul></aside>",
            [],
            ["One more"],
        ),
        (
            "<nav><a href=/>Home</a><a href=/b>Blog</a></nav><h1>A</h1>PROSE<h2>See also</h2><ul><li><a href=x>Cranes of old</a><li><a href=y>Boats of old</a></ul><footer>© 2024 Town. All rights reserved.</footer>",
            ["Cranes of old", "See also"],
            ["Home", "rights"],
        ),
        (
            "<div class=sidebar><ul><li><a href=1>Alpha item</a><li><a href=2>Beta item</a><li><a href=3>Gamma</a><li><a href=4>Delta</a></ul></div><div class=content><h1>A</h1>PROSE</div>",
            [],
            ["Alpha item"],
        ),
        (
            '<main><h1>T</h1>PROSE<div class=tabs><button>Linux</button><button>macOS</button></div><div hidden><pre>brew install x</pre></div><div style="display:none"><p>apt install x</p></div></main>',
            ["brew install", "apt install", "Linux", "macOS"],
            [],
        ),
        ("<h1>T</h1>PROSE<div role=tabpanel hidden>Run winget now please.</div>", ["winget"], []),
        (
            "<main><h1>T</h1>PROSE<details><summary>More</summary><p>Secret text.</p></details></main>",
            ["More", "Secret text"],
            [],
        ),
        (
            "<main>PROSE<pre><div>a = 1</div><div>b = 2</div></pre><pre><code><span>x</span>\n<span>y</span></code></pre><pre>one<br>two<br/>three</pre><pre><table><tr><td>1</td><td>code1</td></tr><tr><td>2</td><td>code2</td></tr></table></pre></main>",
            ["a = 1\nb = 2", "x\ny", "one\ntwo\nthree"],
            [],
        ),
        (
            "<main>PROSE<ol class=linenums><li><code>import a</code></li><li><code>import b</code></li></ol><pre><ol><li>import c</li><li>  import d</li></ol></pre></main>",
            ["import c\n  import d"],
            [],
        ),
        (
            "<main>PROSE<p>x<sup>2</sup> + y<sup>n+1</sup>, 1<sup>st</sup>, CO<sub>2</sub>, x<sub>i</sub>, a<sub>n+1</sub>, Ca<sup>2+</sup>, m<sup>-1</sup> 10<sup>−6</sup> Foo<sup>TM</sup> word<sup>1</sup> <sup>a</sup>note (x+y)<sup>2</sup> 2<sup>nd</sup> H<sub>2</sub>SO<sub>4</sub> <i>x</i><sup>2</sup> 10<sup><em>24</em></sup> log<sub>2</sub> 5</p></main>",
            [
                "x^2",
                "y^(n+1)",
                "1st",
                "CO2",
                "x_i",
                "a_(n+1)",
                "m^-1",
                "10^−6",
                "(x+y)^2",
                "2nd",
                "H2SO4",
                "10^24",
                "log2",
            ],
            [],
        ),
        (
            "<main>PROSE<table><caption>Loads</caption><thead><tr><th rowspan=2>Ship<th colspan=2>2024<tr><th>Q1<th>Q2</thead><tr><td rowspan=2>Alba<td>1<td>2<tr><td>3<td>4<tr><th colspan=3>Sum</table></main>",
            ["| Ship | 2024 Q1 | 2024 Q2 |", "| Alba | 3 | 4 |", "Loads"],
            [],
        ),
        (
            "<main>PROSE<table><tr><td><table><tr><th>k<th>v<tr><td>a<td>b</table></td><td>beside</td></tr><tr><td>x<td>y</table></main>",
            ["| k | v |", "| a | b |", "beside"],
            [],
        ),
        (
            "<table width=100%><tr><td><a href=/>Home</a> <a href=/x>X</a></td></tr><tr><td><h1>Old page</h1>PROSE</td><td width=200>Side words here.</td></tr></table>",
            ["# Old page", "Side words"],
            [],
        ),
        (
            '<main>PROSE<ruby>漢<rt>kan</rt></ruby> <math><msup><mi>x</mi><mn>2</mn></msup><mo>=</mo><mfrac><mi>a</mi><mi>b</mi></mfrac></math> <math alttext="E=mc^2"><mi>E</mi></math> <math><semantics><mi>q</mi><annotation encoding="application/x-tex">\\frac{1}{2}</annotation></semantics></math></main>',
            ["漢(kan)", "x^2 = a/b", "E=mc^2", "\\frac{1}{2}"],
            [],
        ),
        (
            "<main>PROSE<form><label>Name <input value=Ada></label><label for=a>Agree</label><input type=checkbox id=a checked><select><option>Red<option selected>Blue</select><textarea>long text</textarea><button>Submit</button></form></main>",
            ["Name", "Ada", "Agree", "Blue", "long text"],
            [],
        ),
        (
            "<main>PROSE<x-card><template shadowrootmode=open><p>Shadow words.</p></template></x-card><template><p>inert</p></template></main>",
            ["Shadow words"],
            ["inert"],
        ),
        (
            "<div id=root></div><noscript><h1>Only here</h1><p>Without scripts there is this text.</p></noscript>",
            ["Only here", "there is this"],
            [],
        ),
        (
            '<main>PROSE<figure><img src=a alt="A crane at work"><figcaption>The crane of 1911</figcaption></figure></main>',
            ["A crane at work", "The crane of 1911"],
            [],
        ),
        (
            "<main>PROSE<dl><dt>pump<dd>Moves water.<dt>quay<dt>pier<dd>Of stone.</dl></main>",
            ["pump\n\nMoves water.", "quay", "pier", "Of stone."],
            [],
        ),
        (
            "<main>PROSE<blockquote><p>One</p><p>Two</p><ul><li>a</ul></blockquote><ul><li><p>First</p><p>Second para</p><ul><li>Deep<ol start=3><li>three</ol></ul></li></ul></main>",
            ["> One", "- First", "  Second para", "  - Deep", "3. three"],
            [],
        ),
        (
            "<header><h1>Only title</h1><p>By Ada, on quays.</p></header>PROSE<footer><p>Contact: 12 Quay Road, open Mon–Fri.</p></footer>",
            ["Only title"],
            [],
        ),
        (
            "<main><article><header><h1>Post</h1><p>Lead paragraph.</p></header>PROSE<footer>Filed by Ada at noon.</footer></article></main>",
            ["Lead paragraph", "Filed by Ada"],
            [],
        ),
        (
            '<main>PROSE<div role=alert>Never mix oils.</div><div class="admonition sidebar">Sidebar note in prose.</div><div class=share>Share the catch equally.</div><div id=related>Related to this is the tide.</div><section class=newsletter><p>The newsletter table has ten columns.</p></section><div class=social>Social insurance is due.</div><div class=ads>Ads table</div><div id=search><h2>Search</h2><p>Search takes a query.</p></div><div class=pager>Use pager less.</div><div class=footer>Footer height is 3.</div><div id=toc>The toc module.</div></main>',
            [
                "Never mix",
                "Sidebar note",
                "catch equally",
                "the tide",
                "ten columns",
                "insurance is due",
                "Ads table",
                "takes a query",
                "pager less",
                "Footer height",
                "toc module",
            ],
            [],
        ),
        (
            "<div><h1>A</h1>PROSE<div role=complementary><p>Complement is prose here.</p></div><div role=search><p>Search</p><input type=search></div></div>",
            ["Complement is prose"],
            [],
        ),
        (
            "<main>PROSE<p>a&nbsp;b &amp; &lt;tag&gt; &#x1F600; &hellip;</p><p>un<wbr>break so<b>bo</b>ld</p><p>line<br>two</p></main>",
            ["a\xa0b & <tag> 😀 …", "unbreak sobold", "line\ntwo"],
            [],
        ),
        (
            "<main>PROSE<button>Copy</button><p>Press <button>Save As</button> to keep.</p><h3><button aria-expanded=false>FAQ one?</button></h3><div class=acc><button>How deep is it?</button><div>Nine metres.</div></div></main>",
            ["Press Save As to keep", "FAQ one?", "How deep is it?", "Nine metres."],
            ["Copy"],
        ),
        (
            "<main>PROSE<svg><title>Chart</title><text>42 tons</text></svg><object><p>fallback</p></object><video>Old browser</video></main>",
            ["42 tons"],
            [],
        ),
        (
            "<main>PROSE<h2>Heading<a class=headerlink href=#h>¶</a></h2><h2><a href=#x>Linked heading</a></h2><h3></h3><div role=heading aria-level=2>Aria head</div></main>",
            ["## Heading", "## Linked heading", "Aria head"],
            ["¶"],
        ),
        (
            '<main>PROSE<span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi><annotation encoding="application/x-tex">x^2</annotation></semantics></math></span><span class="katex-html" aria-hidden="true"><span>x</span><span>2</span></span></span></main>',
            ["x^2"],
            [],
        ),
        (
            "<ul><li><a href=1>Index entry one</a><li><a href=2>Index entry two</a><li><a href=3>Third</a><li><a href=4>Fourth</a></ul>",
            ["Index entry one", "Fourth"],
            [],
        ),
        (
            "<body><div>Welcome</div><nav><p>This nav has real prose about the harbour and its rules, in full.</p></nav>PROSE",
            ["real prose"],
            [],
        ),
        (
            "<main>PROSE<dialog open><p>Dialog text stays.</p></dialog><del>old</del> <ins>new</ins> <q>quoted</q> <kbd>Ctrl</kbd>+<kbd>C</kbd></main>",
            ["Dialog text", "~~old~~", "“quoted”", "`Ctrl`+`C`"],
            [],
        ),
    ],
)
def test_content_stays_and_surroundings_go(body: str, there: list[str], not_there: list[str]) -> None:
    text = page(body).text
    assert [part for part in there if part not in text] == []
    assert [part for part in not_there if part in text] == []


def test_the_parts_of_a_page_stand_in_their_order_once() -> None:
    words = [f"word{number}" for number in range(12)]
    body = (
        "<main>PROSE<h2>{}</h2><p>{}</p><ul><li>{}<ul><li>{}</ul><li>{}</ul><table><tr><th>{}<tr><td>{}</table>"
        "<dl><dt>{}<dd>{}</dl><blockquote>{}</blockquote><pre>{}</pre><figure><figcaption>{}</figcaption></figure></main>"
    ).format(*words)
    text = page(body).text
    assert [text.count(word + "\n") + text.count(word + " ") + text.endswith(word) for word in words] == [1] * 12
    assert sorted(words, key=text.index) == words


def test_a_line_that_leads_to_the_pages_around_goes_with_their_titles() -> None:
    turns = """<div class="x"><table><tr><th colspan="3">Appendix K. Limits</th></tr><tr><td><a href="j.html">Prev</a>
        </td><th>Part VIII. Appendixes</th><td><a href="l.html">Next</a></td></tr></table></div>"""
    text = page(f"<body>{turns}<div><h2>Limits</h2><p>A table has 1,600 columns at most.</p></div>{turns}</body>").text
    assert text.split("\n\n") == ["## Limits", "A table has 1,600 columns at most."]


def test_a_short_table_of_links_to_other_things_stays() -> None:
    links = "<div><table><tr><td><a href='a'>Boats</a></td><td><a href='b'>Home</a></td></tr></table></div>"
    assert "Boats" in page(f"<body>{links}<div><p>{'The harbour has boats. ' * 20}</p></div></body>").text


def test_a_page_without_a_body_is_read() -> None:
    bare = (
        b"<html><title>Bread</title><nav>Home</nav><main><h1>Bread</h1><p>Sourdough rises for hours.</p></main></html>"
    )
    found = read(Path("a.html"), data=bare)
    assert (found.title, found.text) == ("Bread", "# Bread\n\nSourdough rises for hours.")
