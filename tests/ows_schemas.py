"""The OGC schemas of WMTS 1.0.0 and OWS Common 1.1.0, from the copies that MapProxy's package brings for its own tests."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

CAPABILITIES, EXCEPTIONS = "wmts/1.0/wmtsGetCapabilities_response.xsd", "ows/1.1.0/owsExceptionReport.xsd"
NAMES = {
    "wmts": "http://www.opengis.net/wmts/1.0",
    "ows": "http://www.opengis.net/ows/1.1",
    "xlink": "http://www.w3.org/1999/xlink",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
# The OGC's erratum to the first edition, in 1.0.1 of the schema: rows and columns count from 0.
_LIMIT = re.compile(r'(name="M(?:in|ax)Tile(?:Row|Col)" type=")positiveInteger"')


@functools.cache
def schema_folder() -> Path:
    """A folder with the schemas, their imports relative; skips the test where the package is absent."""
    found = importlib.util.find_spec("mapproxy")
    folder = None if found is None or found.origin is None else Path(found.origin).parent / "test" / "schemas"
    if folder is None or not (folder / CAPABILITIES).is_file():
        pytest.skip("the OGC schemas are not there (PyPI: mapproxy)")
    copy = Path(tempfile.mkdtemp(prefix="ogc-schemas-")) / "schemas"
    shutil.copytree(folder, copy)
    path = copy / CAPABILITIES
    path.write_text(_LIMIT.sub(r'\1nonNegativeInteger"', path.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


@functools.cache
def _schema(name: str) -> Any:
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed (PyPI: lxml)")
    return etree.XMLSchema(etree.parse(str(schema_folder() / name)))


def valid(content: bytes, name: str) -> Any:
    """The root element of `content`, which must be valid by the schema `name`."""
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed (PyPI: lxml)")
    schema = _schema(name)
    root = etree.fromstring(content)
    assert schema.validate(root), f"{schema.error_log}\n{content.decode()[:2000]}"
    return root


def texts(root: Any, path: str) -> list[str]:
    """What an XPath finds, as text."""
    return [found if isinstance(found, str) else (found.text or "") for found in root.xpath(path, namespaces=NAMES)]


def exception(content: bytes) -> tuple[str, str | None, str]:
    """exceptionCode, locator and text of a schema-valid exception report with a single exception."""
    report = valid(content, EXCEPTIONS)
    (found,) = report.findall("ows:Exception", NAMES)
    (text,) = texts(found, "ows:ExceptionText")
    return found.get("exceptionCode"), found.get("locator"), text
