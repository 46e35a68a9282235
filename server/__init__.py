"""HTTP and the command line: settings, routes, encoding, the viewer's pages. Pixels come from `model`, caches
from `cache`."""
