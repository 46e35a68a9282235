"""Run by Debian's Python, which has QGIS: opens a raster layer, renders a part of it, and says how it went as JSON.

Standard input: {"layers": [{"uri", "extent": [west, south, east, north], "crs", "width", "height", "out"}]}; the extent is in
`crs`, and the picture goes to the file `out`. Standard output: a list of {"valid", "error", "crs", "extent"}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from qgis.core import (  # type: ignore[import-not-found]
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QSize  # type: ignore[import-not-found]


def render(wanted: dict[str, Any]) -> dict[str, Any]:
    """Renders one layer as `wanted`."""
    layer = QgsRasterLayer(wanted["uri"], "layer", "wms")
    if not layer.isValid():
        return {"valid": False, "error": layer.error().message()}
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem(wanted["crs"]))
    settings.setExtent(QgsRectangle(*wanted["extent"]))
    settings.setOutputSize(QSize(wanted["width"], wanted["height"]))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(wanted["out"])
    extent = layer.extent()
    return {
        "valid": True,
        "error": "; ".join(error.message for error in job.errors()),
        "crs": layer.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
    }


def main() -> None:
    """Renders all layers that standard input names."""
    wanted = json.load(sys.stdin)
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps([render(layer) for layer in wanted["layers"]]))
    sys.stdout.flush()
    application.exitQgis()


if __name__ == "__main__":
    main()
