"""Definitions of source code and keys of configuration as headings."""

from __future__ import annotations

import time
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokenizing import WORDPIECE

from ingestion.chunking.splitter import split
from ingestion.readers import read
from ingestion.readers.kinds import KIND_OF_SUFFIX
from ingestion.readers.text.source import code_headings

LANGUAGES = [
    (
        ".java",
        """\
package a.b;

/**
 * A pump.
 *
 * Blank above.
 */
@Deprecated
public final class Pump<T> extends Base implements X {
    private int x = 3;

    public Pump(int a) {
        this.x = a;
    }

    /** Opens. */
    @Override
    public void open(String name, int b) throws IOException {
        if (a) {
            foo(b);
        }
        return new Foo(a);
    }

    interface Inner {
        int size();
    }
}
""",
        [
            (1, "Pump", "/**"),
            (2, "Pump", "public Pump(int a) {"),
            (2, "open", "/** Opens. */"),
            (2, "Inner", "interface Inner {"),
        ],
    ),
    (
        ".c",
        """\
#include <a.h>

struct pump { int x; };

static struct pump *pumps;

/* Opens it. */
static int open_pump(struct pump *p, int x)
{
    if (x) {
        foo(x);
    }
    return bar(p);
}

void
close_pump(struct pump *p)
{
    free(p);
}
""",
        [
            (1, "open_pump", "/* Opens it. */"),
            (1, "close_pump", "void"),
        ],
    ),
    (
        ".go",
        """\
package main

type Pump struct {
	X int
}

// Open opens.
func (p *Pump) Open(a int) error {
	for i := range x {
	}
}

func main() {
}
""",
        [
            (1, "Pump", "type Pump struct {"),
            (1, "Pump.Open", "// Open opens."),
            (1, "main", "func main() {"),
        ],
    ),
    (
        ".rs",
        """\
use a;
/// A pump
#[derive(Debug)]
pub struct Pump { x: u32 }

impl Pump {
    pub fn open(&self) -> u32 { 3 }
}

impl<T> Display for Pump<T> {
    fn fmt(&self) {}
}

mod tests {
    #[test]
    fn a_test() {}
}
""",
        [
            (1, "Pump", "/// A pump"),
            (1, "Pump", "impl Pump {"),
            (2, "open", "pub fn open(&self) -> u32 { 3 }"),
            (1, "Pump", "impl<T> Display for Pump<T> {"),
            (2, "fmt", "fn fmt(&self) {}"),
            (1, "tests", "mod tests {"),
            (2, "a_test", "#[test]"),
        ],
    ),
    (
        ".ts",
        """\
import a from "b";
export interface Pump { x: number }
export default class Foo extends Bar {
  private x = 3;
  constructor(a: string) {
    super(a);
  }
  async open(name: string): Promise<void> {
    if (a) {
      b();
    }
  }
}
export const close = async (a: string): Promise<void> => {
};
function main() {}
type X = string | number;
""",
        [
            (1, "Pump", "export interface Pump { x: number }"),
            (1, "Foo", "export default class Foo extends Bar {"),
            (2, "constructor", "constructor(a: string) {"),
            (2, "open", "async open(name: string): Promise<void> {"),
            (1, "close", "export const close = async (a: string): Promise<void> => {"),
            (1, "main", "function main() {}"),
            (1, "X", "type X = string | number;"),
        ],
    ),
    (
        ".rb",
        """\
module A
  class Pump < Base
    def open(x)
    end
    def self.close; end
  end
end
""",
        [
            (1, "A", "module A"),
            (2, "Pump", "class Pump < Base"),
            (3, "open", "def open(x)"),
            (3, "self.close", "def self.close; end"),
        ],
    ),
    (
        ".sql",
        """\
-- ships
CREATE TABLE public.ships (
  id int
);
CREATE OR REPLACE FUNCTION f(a int) RETURNS int AS $$
begin
end $$;
INSERT INTO public.ships VALUES (1);
INSERT INTO public.ships VALUES (2);
COPY public.b (x) FROM stdin;
create unique index if not exists ix on ships(id);
""",
        [
            (1, "public.ships", "-- ships"),
            (1, "f", "CREATE OR REPLACE FUNCTION f(a int) RETURNS int AS $$"),
            (1, "public.ships", "INSERT INTO public.ships VALUES (1);"),
            (1, "public.b", "COPY public.b (x) FROM stdin;"),
            (1, "ix", "create unique index if not exists ix on ships(id);"),
        ],
    ),
    (
        ".yaml",
        """\
# c
version: "3"
services:
  web:
    image: x
volumes:
  a: {}
""",
        [
            (1, "version", "# c"),
            (1, "services", "services:"),
            (1, "volumes", "volumes:"),
        ],
    ),
    (
        ".toml",
        """\
[project]
name = "x"
[tool.ruff]
[tool.ruff.lint]
select = 1
[[a]]
""",
        [
            (1, "project", "[project]"),
            (1, "tool.ruff", "[tool.ruff]"),
            (1, "tool.ruff.lint", "[tool.ruff.lint]"),
            (1, "a", "[[a]]"),
        ],
    ),
    (
        ".sh",
        """\
#!/bin/sh
open_pump() {
  echo
}
function close {
}
""",
        [
            (1, "open_pump", "#!/bin/sh"),
            (1, "close", "function close {"),
        ],
    ),
    (
        ".cpp",
        """\
namespace a {
class Pump : public Base {
 public:
  Pump();
  void open(int x) {
    run(x);
  }
};
}
void a::Pump::close(const std::string& s) const {
}
template <typename T>
T largest(T a, T b) {
  return a;
}
""",
        [
            (1, "a", "namespace a {"),
            (1, "Pump", "class Pump : public Base {"),
            (2, "open", "void open(int x) {"),
            (1, "a::Pump::close", "void a::Pump::close(const std::string& s) const {"),
            (1, "largest", "template <typename T>"),
        ],
    ),
    (
        ".kt",
        """\
class Pump(val x: Int) : Base() {
    override fun open(): Int = 3
    companion object {
        fun make() = Pump(3)
    }
}
fun String.shout() = uppercase()
data class Point(val x: Int)
""",
        [
            (1, "Pump", "class Pump(val x: Int) : Base() {"),
            (2, "open", "override fun open(): Int = 3"),
            (1, "String.shout", "fun String.shout() = uppercase()"),
            (1, "Point", "data class Point(val x: Int)"),
        ],
    ),
    (
        ".php",
        """\
<?php
namespace App\\Models;
class Pump extends Base {
    public function open($x) { }
}
function main() {}
""",
        [
            (1, "Pump", "class Pump extends Base {"),
            (2, "open", "public function open($x) { }"),
            (1, "main", "function main() {}"),
        ],
    ),
    (
        ".cs",
        """\
namespace A.B
{
    public class Pump : Base
    {
        public int X { get; set; }
        public async Task<int> Open(string a)
        {
            foreach (var x in y) { }
        }
    }
}
""",
        [
            (1, "A.B", "namespace A.B"),
            (2, "Pump", "public class Pump : Base"),
            (3, "Open", "public async Task<int> Open(string a)"),
        ],
    ),
    (
        ".swift",
        """\
extension Pump {
  func open(_ x: Int) -> Int {
  }
}
""",
        [
            (1, "Pump", "extension Pump {"),
            (2, "open", "func open(_ x: Int) -> Int {"),
        ],
    ),
    (
        ".lua",
        """\
local function a(x)
end
function Pump.open:close(x)
end
""",
        [
            (1, "a", "local function a(x)"),
            (1, "Pump.open:close", "function Pump.open:close(x)"),
        ],
    ),
    (
        ".pl",
        """\
package A;
sub open_it {
}
""",
        [
            (1, "open_it", "sub open_it {"),
        ],
    ),
    (
        ".ex",
        """\
defmodule A.B do
  def open(x) do
  end
end
""",
        [
            (1, "A.B", "defmodule A.B do"),
            (2, "open", "def open(x) do"),
        ],
    ),
    (
        ".proto",
        """\
message Pump {
  int32 x = 1;
}
service S {
  rpc Open(Pump) returns (Pump);
}
""",
        [
            (1, "Pump", "message Pump {"),
            (1, "S", "service S {"),
            (2, "Open", "rpc Open(Pump) returns (Pump);"),
        ],
    ),
    (
        ".tf",
        """\
resource "aws_x" "y" {
  a = 1
}
variable "z" {
}
""",
        [
            (1, 'resource "aws_x" "y"', 'resource "aws_x" "y" {'),
            (1, 'variable "z"', 'variable "z" {'),
        ],
    ),
    (
        ".hs",
        """\
module A where
open :: Int -> Int
open x = x
""",
        [
            (1, "A", "module A where"),
            (1, "open", "open :: Int -> Int"),
        ],
    ),
    (
        ".r",
        """\
open <- function(x) {
}
""",
        [
            (1, "open", "open <- function(x) {"),
        ],
    ),
    (
        ".js",
        """\
class A {
  open(x) {
    while (y) {
    }
  }
}
module.exports.foo = function (x) {};
const b = x => 3;
""",
        [
            (1, "A", "class A {"),
            (2, "open", "open(x) {"),
            (1, "foo", "module.exports.foo = function (x) {};"),
            (1, "b", "const b = x => 3;"),
        ],
    ),
    (
        ".scala",
        """\
object Main extends App {
  def open(x: Int): Int = 3
}
case class P(x: Int)
""",
        [
            (1, "Main", "object Main extends App {"),
            (2, "open", "def open(x: Int): Int = 3"),
            (1, "P", "case class P(x: Int)"),
        ],
    ),
    (
        ".jl",
        """\
function open(x)
end
struct P
end
""",
        [
            (1, "open", "function open(x)"),
            (1, "P", "struct P"),
        ],
    ),
    (
        ".vb",
        """\
Public Class Pump
    Public Sub Open(x As Integer)
    End Sub
End Class
""",
        [
            (1, "Pump", "Public Class Pump"),
            (2, "Open", "Public Sub Open(x As Integer)"),
        ],
    ),
]


def shown(code: str, suffix: str) -> list[tuple[int, str, str]]:
    """Return level, name and first line of each definition."""
    found = code_headings(code, suffix)
    return [(each.level, each.text, code[each.offset :].partition("\n")[0].strip()) for each in found]


@pytest.mark.parametrize(("suffix", "code", "expected"), LANGUAGES, ids=[suffix for suffix, *_ in LANGUAGES])
def test_definitions_are_headings_from_the_comment_above_them(
    suffix: str, code: str, expected: list[tuple[int, str, str]]
) -> None:
    found = code_headings(code, suffix)
    assert [
        (each.level, each.text, code[each.offset :].split("\n", maxsplit=1)[0].strip()) for each in found
    ] == expected


PYTHON = '''import x

# about pumps
@dec
class Pump(Base):
    """Doc, with what is no definition:

    def documented(): ...
    """

    def open(self):
        def inner(): pass
        return 1

    async def close(self): ...

LIMIT = 3

def main() -> None:
    pass

if __name__ == "__main__":
    main()
'''


def test_python_is_parsed() -> None:
    assert [
        (each.level, each.text, PYTHON[each.offset :].split("\n", maxsplit=1)[0].strip())
        for each in code_headings(PYTHON, ".py")
    ] == [
        (1, "Pump", "# about pumps"),
        (2, "open", "def open(self):"),
        (2, "close", "async def close(self): ..."),
        (1, "", "LIMIT = 3"),
        (1, "main", "def main() -> None:"),
        (1, "", 'if __name__ == "__main__":'),
    ]


def test_python_that_cannot_be_parsed_is_read_line_by_line() -> None:
    code = "class Pump:\n    def open(self):\n        print 'old'\n\ndef main():\n    pass\n"
    assert [(each.level, each.text) for each in code_headings(code, ".py")] == [(1, "Pump"), (2, "open"), (1, "main")]


def test_a_function_is_a_passage_under_its_qualified_name() -> None:
    body = "\n".join(f"        value_{n} = self.pump.pressure({n})" for n in range(14))
    code = "import pumps\n\n\nclass Pump:\n" + "\n".join(
        f"    # About {name}.\n    def {name}(self):\n{body}\n" for name in ("open", "close", "drain")
    )
    extracted = read(PurePath("pumps.py"), data=code.encode())
    made = split(extracted, tokenizer=WORDPIECE, max_tokens=256, overlap=32)
    assert [chunk.heading for chunk in made][-3:] == ["Pump > open", "Pump > close", "Pump > drain"]
    for chunk, name in zip(made[-3:], ("open", "close", "drain"), strict=True):
        assert f"# About {name}.\n    def {name}(" in chunk.text
        assert chunk.text.count("# About") == 1
        assert chunk.text.endswith("pressure(13)")


LINES = [line for _, code, _ in LANGUAGES for line in code.split("\n")]


@given(
    code=st.lists(
        st.one_of(
            st.sampled_from([line for _, code, _ in LANGUAGES for line in code.split("\n")]), st.text(max_size=40)
        )
    ).map("\n".join),
    suffix=st.sampled_from([suffix for suffix, kind in KIND_OF_SUFFIX.items() if kind == "source"]),
)
def test_headings_of_any_code_are_in_order_and_begin_lines(code: str, suffix: str) -> None:
    found = code_headings(code, suffix)
    assert [each.offset for each in found] == sorted({each.offset for each in found})
    assert all(each.offset == 0 or code[each.offset - 1] == "\n" for each in found)
    assert all(each.text or suffix in {".py", ".pyi"} for each in found)


@pytest.mark.parametrize("suffix", [".c", ".ts", ".sql", ".py", ".java", ".hs", ".mk", ".rs"])
@pytest.mark.parametrize(
    "line",
    ["a " * 190, "a*" * 190, "(" * 390, "public " * 50, "CREATE " * 50, "x = (" * 70, "/* " * 100, "a, " * 120 + "("],
)
def test_odd_lines_take_little_time(suffix: str, line: str) -> None:
    began = time.process_time()
    code_headings((line + "\n") * 300, suffix)
    assert time.process_time() - began < 3


def test_code_nested_too_deeply_is_read_line_by_line() -> None:
    code = "x = " + "(" * 100_000 + "\n\ndef main():\n    pass\n"
    assert [each.text for each in code_headings(code, ".py")] == ["main"]
