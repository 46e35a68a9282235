"""What hostile requests are made of."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import quote

# An answer that carries this header was split by something that we sent.
INJECTED = "X-Injected"
LINE = "INJECTED-LOG-LINE"
# What stands where a number, a name or a file was expected.
TOKENS = (
    *("", " ", "0", "-0", "+1", "-1", "1e3", "1.5", "01", "0x10", "1_0", "٣", "³", "½", "21", "99", "4294967296", "9" * 400),
    *("NaN", "nan", "inf", "-Infinity", "1e309", "-1e309", "1e-320", "null", "None", "true", "undefined", "[]", "{}"),
    *(
        "..",
        "../..",
        "../../../../etc/passwd",
        "..\\..\\windows\\win.ini",
        "%2e%2e%2f",
        "%252e%252e%252f",
        ".git/config",
        "~root",
    ),
    *("%00", "a%00b", "%", "%zz", "%c0%af", "%ff%fe", "%ed%a0%80", "%f0%9f%8c%8d", "%E2%80%AE", "%0a", "%0d", "%09", "%7f"),
    *(f"%0d%0a{INJECTED}:%201", f"%0a{LINE}", f"%0d%0a{LINE}%20%1b[31m", f"%c4%8d%c4%8a{INJECTED}:1"),
    *("'", "''", "' OR '1'='1", "1;DROP TABLE entry", "${jndi:ldap://x/a}", "{{7*7}}", "<script>alert(1)</script>", "$(id)"),
    *("`id`", "|id", "&", "=", ";", "?", "#", "*", "@2x", "@3x", "a" * 300, "/" * 50, "," * 100, "\\", ":", "::1", "[", "]"),
    *("png", "tiff", "png8", "jpeg", "svg", "earth", "mars", "__class__", "constructor", "WebMercatorQuad", "WorldCRS84Quad"),
    *(
        "EPSG:4326",
        "EPSG:3857",
        "EPSG:0",
        "EPSG:99999999",
        "CRS:84",
        "+proj=longlat",
        "+proj=utm +zone=99",
        "urn:ogc:def:crs:EPSG::4326",
    ),
    *("PROJCS[", 'GEOGCS["x"]', "http://127.0.0.1:1/x", "file:///etc/passwd", "-180,-90,180,90", "0,0,0,0", "1,1,-1,-1"),
    *(
        "nan,nan,nan,nan",
        "1e400,0,1,1",
        "Lat(0:1),Lon(0:1)",
        "Lat(1:0",
        "2",
        "64",
        "256",
        "1",
        "http",
        "json",
        "html",
        "0xff0000",
    ),
)
METHODS = (
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "G" * 300,
    "GET\t",
    "\x00GET",
    "M-SEARCH",
)
MEDIA = (
    *("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"),
    *("application/json; charset=utf-16", "application/xml", "application/geo+json", "a/" + "b" * 2000),
)
CHARSET = "".join(map(chr, range(256)))
# What leads to cheap tiles, by the names of placeholders.
CHEAP = {
    **dict.fromkeys(("z", "tileMatrix", "tile_matrix"), "2"),
    **dict.fromkeys(("x", "y", "tileRow", "tileCol", "tile_row", "tile_col"), "1"),
    **dict.fromkeys(("planet_name", "collectionId", "layer"), "earth"),
    **dict.fromkeys(("tileMatrixSetId", "tile_matrix_set"), "WebMercatorQuad"),
    **dict.fromkeys(("ext", "extension"), "png"),
    **dict(zip(("minx", "miny", "maxx", "maxy"), ("-170", "-60", "170", "60"), strict=True)),
    "version": "1.0.0",
    "style": "default",
}


def token(draw: random.Random) -> str:
    """One of `TOKENS` as it may stand in a request line: mostly escaped rightly, sometimes not at all."""
    text = draw.choice(TOKENS)
    if "%" in text and draw.random() < 0.9:
        return text.replace(" ", "%20")
    return quote(text, safe=draw.choice(("", "/:,@", "/:,@!$&'()*+;=")))


def hostile_value(draw: random.Random) -> Any:
    """A JSON value of a kind that nobody asked for."""
    values: tuple[Any, ...] = (
        *(None, True, -1, 0, 1e308, 10**30, 2**63, 1.5, "", [], {}, [[]], [None] * 4, {"type": "Polygon"}, "\x00", "🌍" * 50),
        *(
            [1, 2, 3],
            [1, 2, 3, 4, 5],
            [8, 46, 7, 45],
            [float("nan")] * 4,
            [float("inf"), 0, 1, 1],
            ["a", "b", "c", "d"],
            [10**400] * 4,
        ),
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1e300, 1], [1, 1], [0, 0]]]},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}]},
        {"type": "MultiPolygon", "coordinates": [[["a"]]]},
        draw.choice(TOKENS),
        draw.choice(TOKENS),
    )
    return draw.choice(values)
