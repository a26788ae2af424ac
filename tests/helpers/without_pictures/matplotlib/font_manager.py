"""No font is installed."""

from types import SimpleNamespace

fontManager = SimpleNamespace(ttflist=())
