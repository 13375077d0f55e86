"""Fidelity of the readers: what Footnote finds in files of each format, beside other tools.

`tools` are asked by `asking`, each in a process of its own, about documents whose text is known (`made_pdf`,
`made_office`, `made_web`), documents of Debian's packages (`packages`), and inputs from the field (`field`). `scores`
counts, `report` prints. The other tools are never dependencies: they come from the environments that ``--peers`` names.
"""

from benchmarks.readers.benchmark import run

__all__ = ["run"]
