"""Documents out of Debian's packages: what they are, and how they come into a folder."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

_DOC = "usr/share/doc"
_SIL = f"{_DOC}/fonts-sil"
_SITE = "usr/lib/R/site-library"

DOCUMENTS: dict[str, tuple[str, ...]] = {
    "debian-faq": (
        f"{_DOC}/debian/FAQ/debian-faq.en.pdf.gz",
        f"{_DOC}/debian/FAQ/[b-k]*.en.html",
    ),
    "debian-policy": (
        f"{_DOC}/debian-policy/fhs/fhs-3.0.pdf.gz",
        f"{_DOC}/debian-policy/policy.epub",
        f"{_DOC}/debian-policy/policy.html/ch-*.html",
    ),
    "developers-reference": (
        "usr/share/developers-reference/developers-reference.pdf",
        "usr/share/developers-reference/developers-reference.epub",
    ),
    "maint-guide": (f"{_DOC}/maint-guide/maint-guide.en.pdf",),
    "fonts-sil-abyssinica": (f"{_SIL}-abyssinica/documentation/AbyssinicaSILFontFeatures.*",),
    "fonts-sil-andika": (f"{_SIL}-andika/documentation/pdf/[fh]*.pdf.gz",),
    "fonts-sil-padauk": (f"{_SIL}-padauk/documentation/Padauk-features.*",),
    "fonts-sil-scheherazade": (f"{_SIL}-scheherazade/documentation/*-features.*",),
    "r-cran-officer": (
        f"{_SITE}/officer/doc_examples/example.*x",
        f"{_SITE}/officer/doc_examples/landscape.docx",
        f"{_DOC}/r-cran-officer/tests/testthat/docs_dir/table-complex.*.gz",
    ),
    "r-cran-readxl": (f"{_SITE}/readxl/extdata/[dg]*.xlsx", f"{_SITE}/readxl/extdata/type-me.xlsx"),
    "r-cran-openxlsx": (f"{_SITE}/openxlsx/extdata/namedRegions3.xlsx",),
}  # fmt: skip
"""Package: patterns of files."""
MOST_PAGES = 6  # of one package's HTML pages


def documents(folder: Path) -> list[Path]:
    """Return the documents, downloading the packages that the folder has not; those that cannot be had are left out."""
    found = (path for package in DOCUMENTS for path in _of_package(package, folder / package))
    return list(dict.fromkeys(found))  # a pattern also finds what was unpacked before


def _of_package(package: str, folder: Path) -> Iterator[Path]:
    if not folder.exists() and not _download(package, folder):
        print(f"{package}: left out; apt-get download cannot get it", flush=True)
        return
    for pattern in DOCUMENTS[package]:
        for path in sorted(folder.glob(pattern))[:MOST_PAGES]:
            yield _unpacked(path)


def _download(package: str, folder: Path) -> bool:
    archives = folder.parent / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(["apt-get", "download", "-q", package], cwd=archives, capture_output=True, check=False)
    found = sorted(archives.glob(f"{package}_*.deb"))
    if got.returncode or not found:
        return False
    subprocess.run(["dpkg", "-x", str(found[-1]), str(folder)], check=True)
    return True


def _unpacked(path: Path) -> Path:
    if path.suffix != ".gz":
        return path
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain
